"""The columns of any table as plain numbers or text, with one idea of what is missing, a number, true or false."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

MISSING = frozenset({"", "?", "na", "n/a", "#n/a", "<na>", "nan", "nat", "none", "null"})
"""Words that stand for a missing value, in lower case."""

TRUE = frozenset({"true", "yes", "t", "y", "1"})
FALSE = frozenset({"false", "no", "f", "n", "0"})

Numbers = npt.NDArray[np.float64]  # NaN where missing
Texts = list[str | None]  # None where missing
Column = Numbers | Texts


def columns(table: Any, wanted: Iterable[str] | None = None) -> dict[str, Column]:
    """The columns of a DataFrame or of a mapping, all or those wanted, in that order.

    Raises
    ------
    TypeError
        When it is neither, or a column holds something else than text, numbers and booleans.
    ValueError
        When a wanted column is missing, a column is not one-dimensional, or their lengths differ.
    """
    if isinstance(table, Mapping):
        found = {str(name): values for name, values in table.items()}
    elif hasattr(table, "columns") and hasattr(table, "__getitem__"):
        found = {str(name): table[name].to_numpy() for name in table.columns}
    else:
        raise TypeError(f"table must be a DataFrame or a mapping of columns, got {type(table).__name__}")
    names = list(found) if wanted is None else list(wanted)
    check_names(found, names)
    taken = {name: _column(name, found[name]) for name in names}
    lengths = {name: len(column) for name, column in taken.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns must have equal lengths, got {lengths}")
    return taken


def check_names(table: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse names that are no columns of the table, with the nearest ones that are."""
    missing = [name for name in names if name not in table]
    if missing:
        near = get_close_matches(missing[0], list(table), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        listed = ", ".join(map(repr, list(table)[:20])) + (", ..." if len(table) > 20 else "")
        raise ValueError(f"the table has no column {', '.join(map(repr, missing))}{hint}; its columns are {listed}")


def texts(column: Column) -> Texts:
    """The values as text; whole numbers without a point, so that 3 and 3.0 are one category."""
    return column if isinstance(column, list) else [_text(value) for value in column.tolist()]


def numbers(column: Column) -> Numbers | None:
    """The values as numbers, or None when some are not."""
    if not isinstance(column, list):
        return column
    values = [_number(value) for value in column]
    return None if None in values else np.array(values, np.float64)


def booleans(column: Column) -> Numbers | None:
    """1 for true, 0 for false and NaN where missing, or None when some values are something else."""
    if not isinstance(column, list):
        return column if np.isin(column[~np.isnan(column)], (0.0, 1.0)).all() else None
    values = [_boolean(value) for value in column]
    return None if None in values else np.array(values, np.float64)


def require_numbers(name: str, column: Column) -> Numbers:
    """The values as numbers; a ValueError that names the first row where there is none, or an infinite one."""
    values = _require(name, column, numbers, "a number")
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        raise ValueError(f"column {name!r} must hold finite numbers, row {infinite[0] + 1} holds {values[infinite[0]]}")
    return values


def require_booleans(name: str, column: Column) -> Numbers:
    """1 for true and 0 for false; a ValueError that names the first row where there is neither."""
    return _require(name, column, booleans, "true or false (or yes, no, t, f, y, n, 1, 0)")


def mean_and_scale(name: str, values: Numbers) -> tuple[float, float]:
    """Mean and standard deviation; 1 in place of a deviation that is 0 but for rounding."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(values.mean()), float(values.std())
    if not math.isfinite(mean + scale):
        raise ValueError(f"column {name!r} holds numbers that are too large to standardise")
    return mean, scale if scale > 1e-12 * abs(mean) else 1.0


def present(column: Column) -> npt.NDArray[np.bool_]:
    """Where values are not missing."""
    return np.array([value is not None for value in column], bool) if isinstance(column, list) else ~np.isnan(column)


def _require(name: str, column: Column, parse: Callable[[Column], Numbers | None], what: str) -> Numbers:
    values = parse(column)
    if values is None:
        row, odd = next((row, text) for row, text in enumerate(texts(column), 1) if parse([text]) is None)
        raise ValueError(f"column {name!r} must hold {what} in every row, row {row} holds {odd!r}")
    return values


def _column(name: str, values: Any) -> Column:
    array = np.asarray(values if hasattr(values, "dtype") else _objects(values))
    if array.ndim != 1:
        raise ValueError(f"column {name!r} must be one-dimensional, has shape {array.shape}")
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    if array.dtype.kind not in "bOUS":
        raise TypeError(f"column {name!r} must hold numbers, booleans or text, has dtype {array.dtype} (convert it first)")
    items = array.tolist()
    there = [item for item in items if not _is_missing(item)]
    if there and all(isinstance(item, Real) and not isinstance(item, bool) for item in there):
        return np.array([np.nan if _is_missing(item) else item for item in items], np.float64)
    odd = next((item for item in there if not isinstance(item, (str, bytes, Real, np.bool_))), None)
    if odd is not None:
        raise TypeError(f"column {name!r} must hold numbers, booleans or text, holds a {type(odd).__name__}")
    return [None if _is_missing(item) else _text(item) for item in items]


def _objects(values: Iterable[Any]) -> npt.NDArray[np.object_]:
    """A list as an array of its items, not of their letters, and with None and 1 kept apart from "None" and "1"."""
    items = list(values)
    array = np.empty(len(items), object)
    array[:] = items
    return array


def _is_missing(item: Any) -> bool:
    return item is None or (isinstance(item, float) and item != item) or type(item).__name__ in ("NAType", "NaTType")


def _text(item: Any) -> str | None:
    if isinstance(item, float):
        return None if item != item else str(int(item)) if item.is_integer() else repr(item)
    text = (item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)).strip()
    return None if text.lower() in MISSING else text


def _number(text: str | None) -> float | None:
    if text is None:
        return np.nan
    try:
        return None if "_" in text else float(text)  # float takes 1_000
    except ValueError:
        return None


def _boolean(text: str | None) -> float | None:
    if text is None:
        return np.nan
    word = text.lower()
    return 1.0 if word in TRUE else 0.0 if word in FALSE else None
