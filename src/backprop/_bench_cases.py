"""What is measured: every kernel at four sizes, and training steps of five networks.

A kernel's arrays are made from what its NumPy twin demands of them, and filled with numbers between 0 and 1, which suit every
argument there is: weights, variances, probabilities. Calls repeat on the same arrays; no scalar below lets numbers run away.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from . import _reference, kernels
from ._reference_checks import DEMANDS, Demand
from ._types import SPAN, Array, Labels, Spans
from .activations import NAMES
from .network import Network, mlp
from .optimizers import Adam
from .training import Trainer


class Size(NamedTuple):
    """The letters of the contract: n rows, p and k columns, s parameters."""

    n: int
    p: int
    k: int
    s: int

    @property
    def text(self) -> str:
        """The letters with their numbers."""
        return f"batch {self.n}, {self.p} x {self.k}; {self.s:,} parameters"


SIZES = {
    "tiny": Size(3, 4, 5, 20),
    "small": Size(32, 32, 32, 1_000),
    "medium": Size(128, 784, 256, 100_000),
    "large": Size(512, 2048, 2048, 4_000_000),
}


class Work(NamedTuple):
    """How much a call does, in units of which a rate can be told: GFLOP or GB."""

    amount: float
    unit: str


class KernelCase(NamedTuple):
    """A kernel with some of its arguments; the others come from `_SCALARS`, or are arrays."""

    name: str
    kernel: str
    arguments: dict[str, Any]

    def arrays(self) -> list[Demand]:
        """The arrays that a call is given."""
        return [demand for demand in DEMANDS[self.kernel] if demand.name not in self.arguments]

    def work(self, size: str) -> Work:
        """Count multiplications and additions for matrix products, and memory traffic for all else: read once, written once."""
        n, p, k, _ = SIZES[size]
        if self.kernel == "dense_forward":
            return Work(2e-9 * n * p * k, "GFLOP")
        if self.kernel == "dense_backward":
            return Work(4e-9 * n * p * k, "GFLOP")
        arrays = [(demand, _make(demand, size)) for demand in self.arrays()]
        traffic = sum(array.nbytes * (2 if demand.name in _READ_AND_WRITTEN and demand.written else 1) for demand, array in arrays)
        return Work(1e-9 * traffic, "GB")


_READ_AND_WRITTEN = {"grad", "param", "velocity", "v", "grad_mean", "u", "m", "v_max", "previous", "step_size"}
_READ_AND_WRITTEN |= {"running_mean", "running_var"}

_SCALARS: dict[str, Any] = {
    "activation": "relu", "alpha": 0.5, "label_smoothing": 0.0, "threshold": 0.5, "factor": 1.0, "limit": 0.5, "lr": 1e-6,
    "momentum": 0.9, "dampening": 0.0, "nesterov": False, "first": False, "decoupled": False, "eps": 1e-3, "rho": 0.9, "beta1": 0.9,
    "beta2": 0.999, "bias1": 0.5, "bias2": 0.5, "grad_factor": 0.5, "m_factor": 0.5, "rectification": 0.5, "eta_minus": 0.5,
    "eta_plus": 1.2, "step_min": 1e-6, "step_max": 1e-3, "rate": 0.5, "seed": 1, "step": 1, "layer": 1,
}  # fmt: skip

_LEFT_OUT: dict[str, dict[str, Any]] = {  # arrays that most calls do without
    "dense_forward": {"z": None},
    "rmsprop": {"grad_mean": None, "velocity": None, "momentum": 0.0},
    "adam": {"v_max": None},
    "binary_cross_entropy": {"pos_weight": None},
}


def _cases(kernel: str) -> list[KernelCase]:
    without: dict[str, Any] = dict(_LEFT_OUT.get(kernel, {}))
    if "sample_weight" in signature(getattr(_reference, kernel)).parameters:
        without["sample_weight"] = None
    if kernel.startswith("activation_"):
        return [KernelCase(f"{kernel} {name}", kernel, without | {"activation": name}) for name in NAMES if name != "identity"]
    return [KernelCase(kernel, kernel, without)]


KERNELS = [case for kernel in DEMANDS for case in _cases(kernel)]


def _make(demand: Demand, size: str) -> Array | Labels | Spans:
    rng = np.random.default_rng(0)
    letters = SIZES[size]._asdict() | {"r": 1}
    shape = [letters[letter] for letter in demand.shape]
    if demand.dtype == "span":
        return np.array([(0, letters["s"], 1.0, 0.0, 0.0)], SPAN)
    if demand.dtype == "int64":
        return rng.integers(0, letters["k"], size=shape)
    return rng.uniform(0.05, 0.95, size=shape).astype(np.float32)


def kernel_run(case: KernelCase, size: str, backend: str) -> Callable[[], object]:
    """A call of the kernel on one backend, ready to be timed."""
    given = _SCALARS | {demand.name: _make(demand, size) for demand in case.arrays()} | case.arguments
    with kernels.use_backend(backend):
        function = getattr(kernels.active(), case.kernel)
    return partial(function, *(given[name] for name in signature(getattr(_reference, case.kernel)).parameters))


# --- training steps ---------------------------------------------------------------------------------------------------------------


class StepCase(NamedTuple):
    """One update of a network by Adam, cross entropy over its outputs."""

    sizes: tuple[int, ...]
    activation: str
    batch: int

    @property
    def name(self) -> str:
        """The widths and the activation."""
        return f"{'-'.join(map(str, self.sizes))} {self.activation}"

    def data(self, rows: int | None = None) -> tuple[Array, Labels]:
        """Rows of numbers with labels, the same every time."""
        rng = np.random.default_rng(0)
        n = self.batch if rows is None else rows
        return rng.normal(size=(n, self.sizes[0])).astype(np.float32), rng.integers(0, self.sizes[-1], size=n)

    def network(self) -> Network:
        """The network that all contestants train."""
        return mlp(list(self.sizes), activation=self.activation, seed=0)


STEPS = [
    StepCase((4, 32, 32, 2), "tanh", 1),
    StepCase((4, 32, 32, 2), "tanh", 32),
    StepCase((64, 128, 64, 10), "relu", 32),
    StepCase((784, 256, 128, 10), "relu", 128),
    StepCase((1024, 4096, 4096, 10), "relu", 512),
]


def step_run(case: StepCase, backend: str) -> Callable[[], object]:
    """One `Trainer.step` on one backend, ready to be timed."""
    x, y = case.data()
    trainer = Trainer(case.network(), loss="cross_entropy", optimizer=Adam(lr=1e-3))
    return _on(backend, lambda: trainer.step(x, y))


def predict_run(case: StepCase, backend: str) -> Callable[[], object]:
    """The prediction of one row on one backend, ready to be timed."""
    x, _ = case.data(rows=1)
    net = case.network()
    return _on(backend, lambda: net.predict(x))


def _on(backend: str, run: Callable[[], object]) -> Callable[[], object]:
    """The run itself where the backend is the one in use, so that the choice of another costs nothing in the measurement."""
    if kernels.backend().name == backend:
        return run

    def chosen() -> object:
        with kernels.use_backend(backend):
            return run()

    return chosen
