"""What a kernel demands of its arrays, and the decorator that checks it before the NumPy twin computes.

The demands of a kernel are one line in the notation of the contract::

    @checked("x (n, p), weight (p, k), bias? (k,) -> z? (n, k), a (n, k)")

Inputs stand before the arrow, arrays that the kernel writes after it. ``?`` marks what may be None; ``int64`` behind a shape, and
``span``, ask for those dtypes; a letter means the same number wherever it stands. Arguments that are not named are not arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from ._types import SPAN, Labels, Spans

P = ParamSpec("P")
R = TypeVar("R")
AnyArray = npt.NDArray[Any]

_FLOATS = (np.dtype("float32"), np.dtype("float64"))
_OTHER_DTYPES = {"int64": (np.dtype("int64"), "int64"), "span": (SPAN, "kernels.SPAN")}
_DEMAND = re.compile(r"(\w+)(\??) \(([^)]*)\)(?: (int64|span))?")


class Demand(NamedTuple):
    """What is asked of one array; ``dtype`` is empty for the floating dtype that all such arrays of the call share."""

    name: str
    optional: bool
    shape: tuple[str, ...]
    dtype: str
    written: bool


def checked(demands: str, may_be_same: tuple[str, str] | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the arrays of a kernel before it runs, and let it compute with infinities and NaN without NumPy's warnings.

    ``may_be_same`` names two arguments that may be the same array; any other overlap with an array that is written is refused.
    """
    inputs, outputs = demands.split("->")
    wanted = [
        Demand(name, optional == "?", tuple(shape.replace(",", " ").split()), dtype, written)
        for side, written in ((inputs, False), (outputs, True))
        for name, optional, shape, dtype in _DEMAND.findall(side)
    ]

    def decorate(kernel: Callable[P, R]) -> Callable[P, R]:
        names = kernel.__code__.co_varnames[: kernel.__code__.co_argcount]

        @wraps(kernel)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            given = dict(zip(names, args, strict=False))
            given.update(kwargs)
            if len(given) == len(names):  # otherwise the call below says which argument is missing
                _check(wanted, given, may_be_same)
            with np.errstate(all="ignore"):
                return kernel(*args, **kwargs)

        return run

    return decorate


def _check(wanted: list[Demand], given: dict[str, object], may_be_same: tuple[str, str] | None) -> None:
    sizes: dict[str, int] = {}
    seen: dict[str, AnyArray] = {}
    first: str | None = None
    for demand in wanted:
        array = given[demand.name]
        if array is None and demand.optional:
            continue
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{demand.name} must be a NumPy array, got {type(array).__name__}")
        if demand.dtype:
            _check_other_dtype(demand, array)
        elif first is None:
            first = demand.name
            if array.dtype not in _FLOATS:
                raise TypeError(f"{first} must be float32 or float64, got {array.dtype}")
        elif array.dtype != seen[first].dtype:
            raise TypeError(f"{demand.name} must be {seen[first].dtype} like {first}, got {array.dtype}")
        if not (array.flags.c_contiguous and array.flags.aligned):
            raise ValueError(f"{demand.name} must be C-contiguous and aligned")
        _check_shape(demand, array, sizes)
        if demand.written:
            _check_output(demand.name, array, seen, may_be_same)
        seen[demand.name] = array
    if "labels" in seen:
        _check_labels(seen["labels"], sizes["k"])
    if "spans" in seen:
        _check_spans(seen["spans"], sizes["s"])


def _check_other_dtype(demand: Demand, array: AnyArray) -> None:
    dtype, words = _OTHER_DTYPES[demand.dtype]
    if array.dtype != dtype:
        raise TypeError(f"{demand.name} must be {words}, got {array.dtype}")


def _check_shape(demand: Demand, array: AnyArray, sizes: dict[str, int]) -> None:
    """Compare with the sizes known so far, and learn those that are new."""
    fits = array.ndim == len(demand.shape)
    if fits:
        known = [sizes.get(letter, size) for letter, size in zip(demand.shape, array.shape, strict=True)]
        fits = tuple(known) == array.shape
    if not fits:
        shape = ", ".join(str(sizes.get(letter, "any")) for letter in demand.shape)
        shape += "," if len(demand.shape) == 1 else ""
        raise ValueError(f"{demand.name} must have shape ({shape}), got {array.shape}")
    sizes.update(zip(demand.shape, array.shape, strict=True))


def _check_output(name: str, array: AnyArray, earlier: dict[str, AnyArray], may_be_same: tuple[str, str] | None) -> None:
    """Refuse an array that cannot be written, or that lies where an earlier argument lies."""
    if not array.flags.writeable:
        raise ValueError(f"{name} must be writeable")
    for other, there in earlier.items():
        if np.may_share_memory(array, there) and not (may_be_same == (other, name) and _address(array) == _address(there)):
            raise ValueError(f"{name} must not overlap {other}")


def _address(array: AnyArray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _check_labels(labels: Labels, n_classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if wrong.size:
        raise ValueError(f"labels must be in [0, {n_classes}), got {labels[wrong[0]]} in row {wrong[0]}")


def _check_spans(spans: Spans, size: int) -> None:
    end = 0
    for offset, length in zip(spans["offset"].tolist(), spans["length"].tolist(), strict=True):
        if not (end <= offset and length >= 0 and offset + length <= size):
            raise ValueError(f"spans must ascend without overlap inside the {size} entries of the buffer")
        end = offset + length
