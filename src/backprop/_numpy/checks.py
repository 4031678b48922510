"""What a kernel demands of its arrays, and the decorator that checks it before the NumPy twin computes.

The demands of a kernel are one line, which becomes the last one of its docstring::

    @checked("x (n, p), weight (p, k), bias? (k,) -> z? (n, k), a (n, k)")

Inputs stand before the arrow, arrays that the kernel writes after it. ``?`` marks what may be None; ``int64`` behind a shape, and
``span``, ask for those dtypes; a letter means the same number wherever it stands. Arguments that are not named are not arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from inspect import cleandoc
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np

from .._types import SPAN, AnyArray, Labels, Spans

P = ParamSpec("P")
R = TypeVar("R")

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


DEMANDS: dict[str, list[Demand]] = {}
"""What every kernel of the twin demands of its arrays, in the order of its arguments."""


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
        DEMANDS[kernel.__name__] = wanted
        kernel.__doc__ = f"{cleandoc(kernel.__doc__ or '')}\n\nArrays: ``{demands.strip()}``{_aliases(may_be_same)}."

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


def _aliases(may_be_same: tuple[str, str] | None) -> str:
    return "" if may_be_same is None else f"; {may_be_same[0]} and {may_be_same[1]} may be the same array"


def _check(wanted: list[Demand], given: dict[str, object], may_be_same: tuple[str, str] | None) -> None:
    sizes: dict[str, int] = {}
    seen: dict[str, AnyArray] = {}
    first: str | None = None
    for name, optional, shape, dtype, written in wanted:
        array = given[name]
        if array is None and optional:
            continue
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} must be a NumPy array, got {type(array).__name__}")
        if dtype:
            _check_other_dtype(name, array, dtype)
        elif first is None:
            first = name
            if array.dtype not in _FLOATS:
                raise TypeError(f"{first} must be float32 or float64, got {array.dtype}")
        elif array.dtype != seen[first].dtype:
            raise TypeError(f"{name} must be {seen[first].dtype} like {first}, got {array.dtype}")
        flags = array.flags
        if not (flags.c_contiguous and flags.aligned):
            raise ValueError(f"{name} must be C-contiguous and aligned")
        _check_shape(name, array.shape, shape, sizes)
        if written:
            if not flags.writeable:
                raise ValueError(f"{name} must be writeable")
            _check_overlap(name, array, seen, may_be_same)
        seen[name] = array
    if "labels" in seen:
        _check_labels(seen["labels"], sizes["k"])
    if "spans" in seen:
        _check_spans(seen["spans"], sizes["s"])


def _check_other_dtype(name: str, array: AnyArray, wanted: str) -> None:
    dtype, words = _OTHER_DTYPES[wanted]
    if array.dtype != dtype:
        raise TypeError(f"{name} must be {words}, got {array.dtype}")


def _check_shape(name: str, shape: tuple[int, ...], letters: tuple[str, ...], sizes: dict[str, int]) -> None:
    """Compare a shape with the sizes that letters have so far; let it be the size of those that have none."""
    known = len(sizes)
    fits = len(shape) == len(letters)
    for letter, size in zip(letters, shape, strict=False):
        fits = fits and sizes.setdefault(letter, size) == size
    if not fits:
        before = dict(list(sizes.items())[:known])
        wanted = ", ".join(str(before.get(letter, "any")) for letter in letters) + ("," if len(letters) == 1 else "")
        raise ValueError(f"{name} must have shape ({wanted}), got {shape}")


def _check_overlap(name: str, array: AnyArray, earlier: dict[str, AnyArray], may_be_same: tuple[str, str] | None) -> None:
    """Refuse an array that lies where an earlier argument lies."""
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
