"""Every kernel at four sizes.

A kernel's arrays are made from what its NumPy twin demands of them, and filled with numbers between 0 and 1, which suit every
argument there is: weights, variances, probabilities. Calls repeat on the same arrays; no scalar below lets numbers run away.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from .._numpy import NAMES, REFERENCE
from .._numpy.checks import DEMANDS, Demand
from .._types import SPAN, Array, Labels, Spans
from ..activations import NAMES as ACTIVATIONS


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
    "tiny": Size(3, 4, 6, 20),
    "small": Size(32, 32, 32, 1_000),
    "medium": Size(128, 784, 256, 100_000),
    "large": Size(512, 4096, 4096, 10_000_000),
}


class Work(NamedTuple):
    """How much a call does: multiplications and additions of matrix products (GFLOP), elements, or memory traffic (GB)."""

    amount: float
    unit: str


class KernelCase(NamedTuple):
    """A kernel with some of its arguments; the others come from `_SCALARS`, or are arrays."""

    name: str
    kernel: str
    arguments: dict[str, Any]
    columns: int | None = None  # instead of the size's

    def letters(self, size: str) -> Size:
        """The numbers behind the letters of the arrays' shapes."""
        return SIZES[size] if self.columns is None else SIZES[size]._replace(k=self.columns)

    def arrays(self) -> list[Demand]:
        """The arrays that a call is given."""
        return [demand for demand in DEMANDS[self.kernel] if demand.name not in self.arguments]

    def work(self, size: str) -> Work:
        """Count operations of products, elements of activations and losses, bytes of all else: read once, written once."""
        letters = self.letters(size)
        if self.kernel == "dense_forward":
            return Work(2e-9 * prod(letters[:3]), "GFLOP")
        if self.kernel == "dense_backward":
            products = sum(name not in self.arguments for name in ("grad_weight", "grad_x"))
            return Work(2e-9 * prod(letters[:3]) * products, "GFLOP")
        arrays = [(demand, make_array(demand, letters)) for demand in self.arrays()]
        if self.kernel.startswith("activation_") or any(demand.name in ("logits", "outputs") for demand in self.arrays()):
            return Work(letters.n * letters.k, "element")
        traffic = sum(array.nbytes * (2 if demand.name in _READ_AND_WRITTEN and demand.written else 1) for demand, array in arrays)
        return Work(1e-9 * traffic, "GB")


_READ_AND_WRITTEN = {"grad", "param", "velocity", "v", "grad_mean", "u", "m", "v_max", "previous", "step_size"}
_READ_AND_WRITTEN |= {"running_mean", "running_var"}

_SCALARS: dict[str, Any] = {
    "activation": "relu", "alpha": 0.5, "label_smoothing": 0.0, "gamma": 2.0, "threshold": 0.5, "factor": 1.0, "limit": 0.5,
    "lr": 1e-6, "momentum": 0.9, "dampening": 0.0, "nesterov": False, "first": False, "decoupled": False, "eps": 1e-3, "rho": 0.9,
    "beta1": 0.9, "beta2": 0.999, "bias1": 0.5, "bias2": 0.5, "grad_factor": 0.5, "m_factor": 0.5, "rectification": 0.5,
    "eta_minus": 0.5, "eta_plus": 1.2, "step_min": 1e-6, "step_max": 1e-3, "rate": 0.5, "seed": 1, "step": 1, "layer": 1,
}  # fmt: skip

_LEFT_OUT: dict[str, dict[str, Any]] = {  # arrays that most calls do without
    "dense_forward": {"z": None},
    "rmsprop": {"grad_mean": None, "velocity": None, "momentum": 0.0},
    "adam": {"v_max": None},
    "binary_cross_entropy": {"pos_weight": None},
}


def _cases(kernel: str) -> list[KernelCase]:
    without: dict[str, Any] = dict(_LEFT_OUT.get(kernel, {}))
    if "sample_weight" in signature(getattr(REFERENCE, kernel)).parameters:
        without["sample_weight"] = None
    if kernel.startswith("activation_"):
        return [
            KernelCase(f"{kernel} {name}", kernel, without | {"activation": name}) for name in ACTIVATIONS if name != "identity"
        ]
    if kernel == "dense_backward":
        return [
            KernelCase(f"{kernel} x.T @ delta", kernel, {"grad_bias": None, "grad_x": None}),
            KernelCase(f"{kernel} delta @ weight.T", kernel, {"grad_weight": None, "grad_bias": None}),
        ]
    if kernel == "cross_entropy":
        return [KernelCase(kernel, kernel, without), KernelCase(f"{kernel} of 10 classes", kernel, without, columns=10)]
    return [KernelCase(kernel, kernel, without)]


KERNELS = [case for kernel in NAMES for case in _cases(kernel)]


def make_array(demand: Demand, letters: Size, dtype: str = "float32") -> Array | Labels | Spans:
    """An array of the shape and dtype that a kernel demands, in this one where it has the choice."""
    rng = np.random.default_rng(0)
    numbers = letters._asdict() | {"r": 1}
    shape = [numbers[letter] for letter in demand.shape]
    if demand.dtype == "span":
        return np.array([(0, letters.s, 1.0, 0.0, 0.0)], SPAN)
    if demand.dtype == "int64":
        return rng.integers(0, letters.k, size=shape)
    return rng.uniform(0.05, 0.95, size=shape).astype(dtype)


def call_of(case: KernelCase, core: Any, letters: Size, dtype: str = "float32") -> Callable[[], object]:
    """A call of the kernel in a module that has it, on arrays of these sizes."""
    arrays = {demand.name: make_array(demand, letters, dtype) for demand in case.arrays()}
    given = _SCALARS | arrays | case.arguments
    return partial(getattr(core, case.kernel), *(given[name] for name in signature(getattr(REFERENCE, case.kernel)).parameters))


def kernel_run(case: KernelCase, size: str, backend: str) -> Callable[[], object]:
    """A call of the kernel on one backend, ready to be timed."""
    with kernels.use_backend(backend):
        return call_of(case, kernels.active(), case.letters(size))
