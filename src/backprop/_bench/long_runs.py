"""Training for long: whether a step takes the same time at the end as at the beginning.

Moments of units that no longer learn decay, and weights with weight decay do, until they are denormal numbers, with which most
processors compute ten to a hundred times more slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import NamedTuple

from .. import datasets
from .._types import Array, Labels
from ..optimizers import Adam
from ..training import Trainer
from .network_cases import NetworkCase, on_backend
from .timing import Contestant, Run


class LongRun(NamedTuple):
    """A network that learns the handwritten digits with Adam."""

    weight_decay: float = 0.0
    epochs: int = 500
    network: NetworkCase = NetworkCase((64, 128, 64, 10), "relu", 32, lr=1e-3)

    @property
    def name(self) -> str:
        """What is trained, and how."""
        return f"digits, {self.network.name}" + (f", weight_decay={self.weight_decay}" if self.weight_decay else "")

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return -(-len(self.data()[0]) // self.network.batch)

    def data(self) -> tuple[Array, Labels]:
        """Return the training rows in the network's dtype, and their labels."""
        (x, y), _ = datasets.digits()
        return x.astype(self.network.dtype), y


LONG_RUNS = [LongRun(), LongRun(weight_decay=0.01)]


def epoch_run(case: LongRun, backend: str) -> Run:
    """One epoch of `Trainer.fit`, which continues where the last one ended."""
    x, y = case.data()
    trainer = Trainer(case.network.network(), loss="cross_entropy", optimizer=Adam(case.network.lr, weight_decay=case.weight_decay))
    return on_backend(backend, lambda: trainer.fit(x, y, batch_size=case.network.batch, verbose=False))


def first_and_last(contestants: Mapping[str, Contestant], epochs: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the time of a step of each contestant in the first and in the last epochs: the least of a twentieth of them.

    They take turns, epoch by epoch.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(epochs):
        for name, contestant in contestants.items():
            start = perf_counter()
            contestant.run()
            times[name].append((perf_counter() - start) / contestant.steps)
    some = max(3, epochs // 20)
    return {name: min(seen[:some]) for name, seen in times.items()}, {name: min(seen[-some:]) for name, seen in times.items()}
