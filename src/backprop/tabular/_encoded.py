"""The matrix of an encoded table in little memory: numbers as they are, categories as positions that become columns when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._training.rows import LazyMatrix
from .._types import AnyArray
from ..data import Indices

Matrix = AnyArray | LazyMatrix

LARGE = 32_000_000  # bytes: a matrix beyond is made row by row
PART = 8192  # rows that are made together


class OneHot(NamedTuple):
    """The columns of one categorical column: where they begin, the position of each row's category, and the flag."""

    start: int
    positions: npt.NDArray[np.signedinteger]  # -1 for a value that has no column
    flag: int | None
    missing: npt.NDArray[np.bool_]


class EncodedRows(LazyMatrix):
    """Rows of the matrix that `TableEncoder.transform` gives.

    Parameters
    ----------
    dense : array (n, k)
        The columns of all features that are not categorical.
    places : sequence of int
        The columns of the matrix that these are.
    hot : sequence of OneHot
        The others.
    """

    def __init__(self, dense: AnyArray, places: Sequence[int], hot: Sequence[OneHot], width: int) -> None:
        self.dtype = dense.dtype
        self.shape = (len(dense), width)
        self._dense, self._places, self._hot = dense, list(places), tuple(hot)
        self._rows: Indices | None = None

    def part(self, rows: Indices) -> EncodedRows:
        """Return the rows with these positions; nothing is copied."""
        part = copy(self)
        part._rows = rows if self._rows is None else self._rows[rows]
        part.shape = (len(rows), self.shape[1])
        return part

    def __getitem__(self, rows: Indices | slice) -> Any:
        """Return these rows as an array."""
        index = rows if self._rows is None else self._rows[rows]
        dense = self._dense[index]
        matrix = np.zeros((len(dense), self.shape[1]), self.dtype)
        matrix[:, self._places] = dense
        for hot in self._hot:
            positions = hot.positions[index]
            known = np.flatnonzero(positions >= 0)
            matrix[known, hot.start + positions[known].astype(np.intp)] = 1.0
            if hot.flag is not None:
                matrix[:, hot.flag] = hot.missing[index]
        return matrix


def parts(x: Matrix) -> Iterator[AnyArray]:
    """Yield the rows of a matrix, some thousands at a time."""
    for start in range(0, max(1, len(x)), PART):
        yield x[start : start + PART]


def by_parts(function: Callable[[AnyArray], AnyArray], x: Matrix) -> AnyArray:
    """Apply a function of rows to a matrix; to one that is made row by row, a part at a time."""
    return np.concatenate([function(part) for part in parts(x)]) if isinstance(x, LazyMatrix) else function(x)
