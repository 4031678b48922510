"""Many small fits on one thread and on all: the numbers of docs/howto/many.md. ``python benchmarks/many_fits.py`` prints them."""

from __future__ import annotations

from time import perf_counter

import numpy as np

import backprop as bp

NETWORKS, EPOCHS, ROWS = 64, 20, 2048


def run_seconds() -> float:
    """The time of all fits."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 8)).astype(np.float32)
    y = np.sin(x.sum(axis=1, keepdims=True))
    trainers = [bp.Trainer(bp.mlp([8, 64, 64, 1], seed=seed), loss="mse", optimizer="adam") for seed in range(NETWORKS)]
    began = perf_counter()
    bp.fit_many(trainers, x, y, epochs=EPOCHS, batch_size=32, verbose=False)
    return perf_counter() - began


def main() -> None:
    """Time the fits with one thread and with as many as there are."""
    most = bp.backend().threads
    for threads in sorted({1, most}):
        bp.set_num_threads(threads)
        print(f"{NETWORKS} networks, {EPOCHS} epochs, {threads} threads: {min(run_seconds() for _ in range(3)):.2f} s")


if __name__ == "__main__":
    main()
