"""Data frames and their columns as arrays. Frames of pandas, polars and pyarrow are told by what they can do; none is imported."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from ._types import AnyArray

NUMERIC = "biuf"
_ENCODE = "backprop.tabular.TableEncoder makes numbers of words, dates are to be converted, or leave the column out"


def column_names(x: Any) -> list[str] | None:
    """Return the names of the columns of a data frame, None for anything else."""
    if isinstance(x, np.ndarray | list | tuple):
        return None
    names = getattr(x, "column_names", None)  # pyarrow
    if names is None and hasattr(x, "columns") and hasattr(x, "shape") and not callable(x.columns):
        names = x.columns
    return None if names is None else [str(name) for name in names]


def as_array(x: Any, name: str) -> AnyArray | None:
    """Return a data frame (2-D) or a column of one (1-D) as an array of booleans, integers or floats; None for anything else.

    A missing value is NaN.

    Raises
    ------
    TypeError
        For a column that holds no real numbers, naming it, and for objects that hold tables in other ways.
    """
    if isinstance(x, np.ndarray | list | tuple):
        if isinstance(x, list | tuple) and x and isinstance(x[0], Mapping):
            raise TypeError(f"{name} is a {type(x).__name__} of mappings; backprop.tabular.TableEncoder takes named columns")
        return None
    if isinstance(x, Mapping):
        raise TypeError(f"{name} is a mapping; backprop.tabular.TableEncoder takes named columns")
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        raise TypeError(f"{name} is a sparse matrix; {name}.toarray() makes a dense array of it, or pass dense batches")
    if hasattr(x, "collect") and not hasattr(x, "to_numpy"):
        raise TypeError(f"{name} is a lazy frame; pass {name}.collect()")
    names = column_names(x)
    if names is not None:
        if _is_plain(x):
            return np.asarray(x)
        columns = [_column(_nth(x, index), name, f"column {label!r}") for index, label in enumerate(names)]
        if not columns:
            return np.empty((x.shape[0], 0))
        table = np.empty((len(columns[0]), len(columns)), np.result_type(*columns))
        for index, column in enumerate(columns):
            table[:, index] = column
        return table
    if hasattr(x, "to_numpy") and hasattr(x, "__len__") and np.ndim(x) <= 1:
        return _column(x, name, "it")
    return None


def _is_plain(frame: Any) -> bool:
    """Whether all columns of a pandas frame have one numeric NumPy dtype: such a frame is an array already."""
    dtypes = getattr(frame, "dtypes", None)
    if dtypes is None:
        return False
    kinds = set(dtypes)
    return len(kinds) == 1 and all(isinstance(dtype, np.dtype) and dtype.kind in NUMERIC for dtype in kinds)


def _nth(frame: Any, index: int) -> Any:
    """The column of this number; names may occur twice."""
    if hasattr(frame, "iloc"):
        return frame.iloc[:, index]
    return frame.column(index) if hasattr(frame, "column_names") else frame.to_series(index)


def _column(column: Any, name: str, place: str) -> AnyArray:
    """A column as an array of numbers."""
    dtype = getattr(column, "dtype", getattr(column, "type", None))
    kind = getattr(dtype, "kind", None)
    if not isinstance(dtype, np.dtype) and isinstance(kind, str) and kind in NUMERIC:  # a nullable or arrow-backed column of pandas
        if bool(column.isna().any()):
            missing: AnyArray = column.to_numpy(dtype=np.float64, na_value=np.nan)
            return missing
        full: AnyArray = column.to_numpy(dtype={"b": np.bool_, "i": np.int64, "u": np.uint64, "f": np.float64}[kind])
        return full
    array = np.asarray(column)
    if isinstance(dtype, np.dtype) and dtype.kind == "O" and all(value is None or isinstance(value, Real) for value in array):
        array = np.array([np.nan if value is None else float(value) for value in array])
    if not isinstance(dtype, np.dtype) and isinstance(kind, str) and kind not in NUMERIC:
        array = array.astype(object)  # categories, even of numbers, are not numbers
    if array.dtype.kind == "O" and str(dtype).lower() in ("boolean", "bool"):  # with missing values
        array = np.array([np.nan if value is None else float(value) for value in array])
    if array.dtype.kind not in NUMERIC:
        whose = f"but {place} is" if place != "it" else "got"
        raise TypeError(f"{name} must hold real numbers, {whose} of dtype {dtype}: {_ENCODE}")
    return array
