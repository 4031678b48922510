"""What comes from outside, checked and converted: arrays to matrices, arguments to numbers in their range.

Every message names the argument, what was given and what is allowed.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._frames import as_array, column_names
from ._types import Array

ALIGNMENT = 64  # bytes: a cache line, and the widest vector; NumPy itself promises 16
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def as_matrix(
    x: npt.ArrayLike,
    name: str,
    dtype: npt.DTypeLike,
    n_features: int | None = None,
    check_finite: bool = True,
    columns: Sequence[str] | None = None,
) -> Array:
    """`x` as kernels take it: 2-D, C-contiguous, aligned, in native byte order, of `dtype`.

    An array that is so already is returned as it is, without a copy.

    Parameters
    ----------
    x
        Anything NumPy reads as a table of booleans, integers or floats: an array of any layout, a memory map, a list; a data frame
        of pandas or polars, or a table of pyarrow, whose missing values become NaN.
    name
        What messages call it.
    dtype
        float32 or float64.
    n_features
        The number of columns it must have.
    check_finite
        Refuse NaN and infinity.
    columns
        The names of the columns for messages; by default those of a data frame.

    Raises
    ------
    TypeError
        For complex numbers, text, dates and objects.
    ValueError
        When x is not 2-D, has another number of columns, is not finite, or holds a number too large for `dtype` (that one
        whatever `check_finite` says).
    """
    dtype = np.dtype(dtype)
    if type(x) is not np.ndarray and columns is None:
        columns = column_names(x)
    if type(x) is not np.ndarray or x.dtype != dtype or x.ndim != 2 or (n_features is not None and x.shape[1] != n_features):
        x = as_table(x, name, n_features)
    x = as_contiguous(x, name, dtype)
    if check_finite:
        require_finite(x, name, columns=columns)
    return x


def as_table(x: npt.ArrayLike, name: str, n_features: int | None = None) -> npt.NDArray[Any]:
    """`x` as a 2-D array of real numbers, in whatever dtype and layout it has: nothing is copied that is an array already."""
    table = as_real_array(x, name)
    if table.ndim != 2:
        hint = f"; {name}.reshape(1, -1) makes one row of it" if table.ndim == 1 else ""
        columns = "n_features" if n_features is None else str(n_features)
        raise ValueError(f"{name} must be 2-D with shape (rows, {columns}), got shape {table.shape}{hint}")
    if n_features is not None and table.shape[1] != n_features:
        raise ValueError(f"{name} must have shape (rows, {n_features}), got {table.shape}")
    return table


def as_real_array(x: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """`x` as an array of booleans, integers or floats, of any number of dimensions."""
    if "numpy.ma" in sys.modules and np.ma.isMaskedArray(x):
        raise TypeError(f"{name} is a masked array, whose mask would be lost; pass {name}.filled(value) instead")
    framed = None if type(x) is np.ndarray else as_array(x, name)
    try:
        array = np.asarray(x) if framed is None else framed
    except ValueError as error:
        raise ValueError(f"{name} is not a table of numbers: its rows have different lengths ({error})") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {type(x).__name__} of dtype {array.dtype}")
    return array


def as_parameter(value: npt.ArrayLike, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """`value` as an array of exactly this shape and dtype, to be copied into a parameter or buffer."""
    array = as_real_array(value, name)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return as_contiguous(array, name, np.dtype(dtype))


def require_finite(x: Array, name: str, first_row: int = 0, columns: Sequence[str] | None = None) -> None:
    """Raise ValueError naming the first entry of `x` that is NaN or infinite; its first row is number `first_row` of `name`."""
    with np.errstate(invalid="ignore", over="ignore"):
        if math.isfinite(np.add.reduce(x, axis=None)):
            return  # a sum is finite only when its terms are; the reverse fails when the sum itself overflows
    bad = ~np.isfinite(x)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        value = "NaN" if np.isnan(x[index]) else "infinity"
        alone = f"index {index[0] if len(index) == 1 else index}"
        column = repr(columns[index[1]]) if columns and len(index) == 2 else index[-1]
        place = f"row {first_row + index[0]}, column {column}" if len(index) == 2 else alone
        raise ValueError(f"{name} contains {value} at {place}; only finite numbers are allowed")


def as_contiguous(x: npt.NDArray[Any], name: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """`x` C-contiguous, aligned and of `dtype`; a number too large for it is an error, not infinity."""
    flags = x.flags
    if x.dtype == dtype and flags.c_contiguous and flags.aligned:
        return x
    try:
        with np.errstate(over="raise"):
            return np.array(x, dtype=dtype, order="C")
    except FloatingPointError:
        raise ValueError(f"{name} holds a number too large for {dtype} (largest {np.finfo(dtype).max:.3g})") from None


def aligned_zeros(size: int, dtype: npt.DTypeLike) -> Array:
    """Return a flat array of zeros whose memory starts at a multiple of `ALIGNMENT` bytes."""
    dtype = np.dtype(dtype)
    n_bytes = size * dtype.itemsize
    try:
        memory = np.zeros(n_bytes + ALIGNMENT, np.uint8)
    except (ValueError, OverflowError):  # NumPy's answer to sizes past its index type
        raise MemoryError(f"cannot allocate an array of {size} numbers of {dtype}") from None
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[start : start + n_bytes].view(dtype)


def check_in(name: str, value: Any, low: float, high: float, closed: str = "both") -> float:
    """`value` as a float inside an interval; `closed` says which ends belong to it: "both", "left", "right" or "neither".

    Raises
    ------
    TypeError
        When it is not a number.
    ValueError
        When it lies outside, or is NaN.
    """
    number = check_number(name, value)
    above = number >= low if closed in ("both", "left") else number > low
    below = number <= high if closed in ("both", "right") else number < high
    if not (above and below):
        brackets = ("[" if closed in ("both", "left") else "(", "]" if closed in ("both", "right") else ")")
        raise ValueError(f"{name} must be in {brackets[0]}{low:g}, {high:g}{brackets[1]}, got {value!r}")
    return number


def check_positive(name: str, value: Any) -> float:
    """`value` as a float that is positive and finite."""
    number = check_number(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    return number


def check_nonnegative(name: str, value: Any) -> float:
    """`value` as a float that is zero or positive, and finite."""
    number = check_number(name, value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be zero or positive, and finite, got {value!r}")
    return number


def check_number(name: str, value: Any) -> float:
    """`value` as a float; booleans and text are not numbers."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            bits = int(value).bit_length()
            raise ValueError(f"{name} must be a number that a float can hold, got an integer of {bits} bits") from None
    raise TypeError(f"{name} must be a number, got {value!r}")


def check_count(name: str, value: Any, minimum: int = 1, maximum: int | None = None) -> int:
    """`value` as an int of at least `minimum`, and at most `maximum` if given; floats are refused, even whole ones."""
    try:
        number = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    if maximum is not None and number > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {number}")
    return number


def check_flag(name: str, value: Any) -> bool:
    """`value` as a bool; only True and False (NumPy's too) are taken."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {value!r}")


def check_list(name: str, value: Any, items: str) -> list[Any]:
    """The items of `value`, which may be any iterable but text."""
    refusal = TypeError(f"{name} must be a list of {items}, got {value!r}")
    if isinstance(value, str | bytes):
        raise refusal
    try:
        iterator = iter(value)
    except TypeError:
        raise refusal from None
    return list(iterator)


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """`value`, which must be one of `choices`; a near miss is named."""
    choices = tuple(choices)
    if isinstance(value, str) and value in choices:
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    from difflib import get_close_matches

    near = get_close_matches(value, choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}{hint}")


def refuse_class(name: str, value: Any, allowed: str) -> None:
    """Raise a TypeError if `value` is a class where an object of it is meant: classes are callable, like functions."""
    if isinstance(value, type):
        raise TypeError(f"{name} must be {allowed}, got the class {value.__name__}: make one, {value.__name__}(...)")


def check_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """`dtype` as float32 or float64 in native byte order."""
    try:
        if dtype is not None and (checked := np.dtype(dtype)) in DTYPES:  # None would mean float64
            return checked
    except (TypeError, ValueError):
        pass
    raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")


def check_seed(seed: int | None) -> int:
    """`seed` as an int in [0, 2**64); None draws one from the operating system."""
    if seed is None:
        import os

        return int.from_bytes(os.urandom(8), "little")
    checked = check_count("seed", seed, minimum=0)
    if checked >= 2**64:
        raise ValueError(f"seed must be in [0, 2**64), got {seed!r}")
    return checked
