"""Which networks are trained and asked for predictions, and how we do it ourselves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .. import kernels
from .._types import Array, Labels
from ..network import Network, mlp
from ..optimizers import Adam
from ..training import Trainer
from .timing import Contestant, Run


class NetworkCase(NamedTuple):
    """A network, and how many rows it is given at a time; trained with Adam on the cross entropy of its outputs.

    The step is so small that the network stays what it is however often it is trained on the same rows: gradients that have
    vanished would take another time than those that training meets.
    """

    sizes: tuple[int, ...]
    activation: str
    batch: int
    dtype: str = "float32"
    lr: float = 1e-6

    @property
    def name(self) -> str:
        """The widths, the activation and the batch."""
        return f"{'-'.join(map(str, self.sizes))} {self.activation}, {self.batch} {'row' if self.batch == 1 else 'rows'}"

    @property
    def training_flops(self) -> float:
        """Multiplications and additions of the matrix products of a step: three per layer, but two for the first."""
        products = [2.0 * self.batch * p * k for p, k in pairwise(self.sizes)]
        return 3 * sum(products) - products[0]

    @property
    def prediction_flops(self) -> float:
        """Those of the forward pass."""
        return sum(2.0 * self.batch * p * k for p, k in pairwise(self.sizes))

    def data(self, batches: int = 1) -> tuple[Array, Labels]:
        """Rows of numbers with labels, the same every time."""
        rng = np.random.default_rng(0)
        n = self.batch * batches
        return rng.standard_normal((n, self.sizes[0]), np.float32).astype(self.dtype), rng.integers(0, self.sizes[-1], size=n)

    def network(self) -> Network:
        """The network that all contestants begin with."""
        return mlp(list(self.sizes), activation=self.activation, dtype=self.dtype, seed=0)


NETWORKS = [
    NetworkCase((4, 32, 32, 2), "tanh", 1),
    NetworkCase((4, 32, 32, 2), "tanh", 32),
    NetworkCase((64, 128, 64, 10), "relu", 32),
    NetworkCase((784, 256, 128, 10), "relu", 128),
    NetworkCase((512, 1024, 1024, 10), "relu", 256),
    NetworkCase((1024, 4096, 4096, 10), "relu", 512),
]
TRAINING = [
    *NETWORKS,
    NETWORKS[2]._replace(batch=8192),
    *(NETWORKS[number]._replace(dtype="float64") for number in (0, 2, 3)),
]
PREDICTION = [NETWORKS[number]._replace(batch=rows) for number in (0, 3) for rows in (1, 32, 4096)]


def step_run(case: NetworkCase, backend: str) -> Run:
    """One call of `Trainer.step`; returns the loss."""
    x, y = case.data()
    trainer = _trainer(case)
    return on_backend(backend, lambda: trainer.step(x, y))


def fit_run(case: NetworkCase, backend: str, most_steps: int = 2_000) -> Contestant:
    """An epoch of `Trainer.fit`, from shuffling to the history: enough steps to take some milliseconds, at least two."""
    steps = int(np.clip(1e9 / case.training_flops, 2, most_steps))
    x, y = case.data(steps)
    trainer = _trainer(case)
    return Contestant(on_backend(backend, lambda: trainer.fit(x, y, batch_size=case.batch, verbose=False)), steps)


def predict_run(case: NetworkCase, backend: str) -> Run:
    """One call of `Network.predict`; returns the outputs."""
    x, _ = case.data()
    net = case.network()
    return on_backend(backend, lambda: net.predict(x))


def _trainer(case: NetworkCase) -> Trainer:
    return Trainer(case.network(), loss="cross_entropy", optimizer=Adam(lr=case.lr))


def on_backend(backend: str, run: Callable[[], object]) -> Run:
    """Return the run itself where the backend is the one in use, so that the choice of another costs nothing in the measurement."""
    if kernels.backend().name == backend:
        return run

    def chosen() -> object:
        with kernels.use_backend(backend):
            return run()

    return chosen
