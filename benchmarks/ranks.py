"""A step of one process and of all ranks, measured, and of many machines, by a model: the tables of docs/howto/machines.md.

``mpiexec -n 2 python benchmarks/ranks.py`` prints them.
"""

from __future__ import annotations

from itertools import pairwise
from math import log2
from time import perf_counter
from typing import Any

import numpy as np

import backprop as bp

CASES = [((4, 32, 32, 2), 32, 200), ((64, 128, 64, 10), 64, 100), ((784, 256, 128, 10), 256, 16), ((784, 1024, 1024, 10), 512, 4)]
LATENCY, BANDWIDTH = 20e-6, 1.25e9  # seconds of a message; bytes in a second, of a network of 10 Gbit/s


def step_seconds(sizes: tuple[int, ...], rows: int, steps: int, comm: Any = None) -> float:
    """The time of a step of ``rows`` rows, over all ranks."""
    share = rows if comm is None else rows // comm.Get_size()
    rng = np.random.default_rng(0 if comm is None else comm.Get_rank())
    x, y = rng.normal(size=(steps * share, sizes[0])).astype(np.float32), rng.integers(0, sizes[-1], steps * share)
    trainer = bp.Trainer(bp.mlp(list(sizes), seed=0), loss="cross_entropy", metrics=[], **({} if comm is None else {"comm": comm}))
    times = []
    for _ in range(6):
        began = perf_counter()
        trainer.fit(x, y, batch_size=share, verbose=False)
        times.append((perf_counter() - began) / steps)
    return min(times)


def modelled(alone: float, sizes: tuple[int, ...], ranks: int) -> float:
    """The time of a step of ranks on one machine each: what it takes ``alone``, and the sum of the gradients in float32."""
    numbers = sum((before + 1) * width for before, width in pairwise(sizes))
    return alone + 2 * log2(ranks) * LATENCY + 2 * (ranks - 1) / ranks * 4 * numbers / BANDWIDTH


def main() -> None:
    """Time each case alone on rank 0, and on all ranks."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    bp.set_num_threads(1)
    for sizes, rows, steps in CASES:
        alone = step_seconds(sizes, rows, steps) if comm.Get_rank() == 0 else 0.0
        comm.Barrier()
        together = step_seconds(sizes, rows, steps, comm)
        if comm.Get_rank() == 0:
            name = "-".join(map(str, sizes))
            print(
                f"{name:20} {rows:4} rows: {1e6 * alone:9.0f} us alone, {1e6 * together:9.0f} us on {comm.Get_size()} ranks",
                flush=True,
            )
            steps_of = {ranks: modelled(alone, sizes, ranks) for ranks in (2, 16, 128, 1024)}
            print("by the model:", *(f"{1e3 * s:.3g} ms ({alone / s:.0%}) on {ranks}" for ranks, s in steps_of.items()))


if __name__ == "__main__":
    main()
