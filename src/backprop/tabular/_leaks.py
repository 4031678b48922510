"""What makes a model look better than it is: a column that gives the target away, copies of columns and of rows, rare classes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from .._training.rows import LazyMatrix
from .._types import AnyArray
from ..metrics import auc
from ._encoded import Matrix
from ._encoder import TableEncoder
from ._targets import ClassTarget, Target

_GIVES_AWAY = 0.995  # of the naive error, that one column takes away
_MIN_ROWS = 50
_ROWS_PER_GROUP = 8
_MOST = 100  # groups of a column
_MIN_SAMPLE, _MOST_NUMBERS = 5000, 1_000_000  # rows of the sample of a large table, and numbers in it
_HASHED = 1024  # rows that are hashed together
_SHARED = 0.01  # of the rows to judge by
_RARE = 0.1  # share of a class


def warnings(
    encoder: TableEncoder, target: Target, x_learn: Matrix, y_learn: AnyArray, x_judge: Matrix, y_judge: AnyArray
) -> list[str]:
    """Return a sentence about each finding to check before the model is trusted."""
    x, y = _sampled(x_learn, y_learn)
    found = _giving_away(encoder, target, x, y)
    found += _copies_of_columns(encoder, x)
    found += shared_rows(x_learn, y_learn, x_judge, y_judge)
    return found + _rare_classes(target)


def _sampled(x: Matrix, y: AnyArray) -> tuple[AnyArray, AnyArray]:
    """All rows, or of a large table a sample."""
    if not isinstance(x, LazyMatrix):
        return x, y
    rows = np.sort(np.random.default_rng(0).permutation(len(x))[: max(_MIN_SAMPLE, _MOST_NUMBERS // x.shape[1])])
    return x[rows], y[rows]


def _giving_away(encoder: TableEncoder, target: Target, x: AnyArray, y: AnyArray) -> list[str]:
    if len(y) < _MIN_ROWS:
        return []
    found = []
    for name, columns in encoder.columns.items():
        if not columns:
            continue
        groups = _groups(x[:, columns], min(_MOST, len(y) // _ROWS_PER_GROUP))
        n_groups = int(groups.max()) + 1
        if n_groups * _ROWS_PER_GROUP > len(y):
            continue
        if isinstance(target, ClassTarget):
            counts = np.zeros((n_groups, target.n_outputs))
            np.add.at(counts, (groups, y), 1)
            wrong = 1 - counts.max(axis=1).sum() / len(y)
            naive = 1 - np.bincount(y).max() / len(y)
            if target.n_outputs == 2 and len(columns) <= 2 and len(np.unique(y)) == 2 and _overlap(x[:, columns[0]], y) < 1e-4:
                wrong = 0.0
        else:
            values = y[:, 0]
            sizes = np.bincount(groups, minlength=n_groups)
            means = np.bincount(groups, values, minlength=n_groups) / np.maximum(sizes, 1)
            wrong, naive = float(np.mean((values - means[groups]) ** 2)), float(np.var(values))
        if naive > 0 and wrong <= (1 - _GIVES_AWAY) * naive:
            found.append(f"{name} alone tells the target ({1 - wrong / naive:.1%}): is it known when the prediction is to be made?")
    return found


def _overlap(values: AnyArray, labels: AnyArray) -> float:
    """How far two classes are from being told apart by one threshold: 0 where all values of one lie above those of the other."""
    area = auc(values, labels)
    return min(area, 1 - area)


def _groups(part: AnyArray, most: int) -> npt.NDArray[np.intp]:
    """The rows in groups of equal values; numbers with many values in groups of equal size."""
    if part.shape[1] <= 2:  # a number or a truth value, and its flag
        values = part[:, 0]
        distinct = np.unique(values)
        if len(distinct) > most:
            edges = np.unique(np.quantile(values, np.linspace(0, 1, most + 1)[1:-1]))
            return np.searchsorted(edges, values, side="right")
        return np.searchsorted(distinct, values)
    _, groups = np.unique(_keys(part), return_inverse=True)
    return groups


def _copies_of_columns(encoder: TableEncoder, x: AnyArray) -> list[str]:
    same: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name, columns in encoder.columns.items():
        if not columns:
            continue
        part = np.round(x[:, columns].astype(np.float64), 4) + 0.0
        if len(columns) <= 2 and part.size and part[np.flatnonzero(part[:, 0])[:1], 0].sum() < 0:  # the same with another sign
            part[:, 0] = -part[:, 0] + 0.0
        same[(len(columns), hash(part.tobytes()))].append(name)
    return [f"{', '.join(names[1:])} says the same as {names[0]}" for names in same.values() if len(names) > 1]


def shared_rows(x_learn: Matrix, y_learn: AnyArray, x_judge: Matrix, y_judge: AnyArray) -> list[str]:
    """Return a sentence if many of the rows to judge by are among those to learn from."""
    if not len(x_judge):
        return []
    known, judged = _hashes(x_learn, y_learn), _hashes(x_judge, y_judge)
    known.sort()
    shared = int((known[np.minimum(np.searchsorted(known, judged), len(known) - 1)] == judged).sum())
    if shared < max(1, _SHARED * len(x_judge)):
        return []
    return [f"{shared:,} of the {len(x_judge):,} rows to judge by are also among those to learn from: the result is too good"]


def _hashes(x: Matrix, y: AnyArray) -> npt.NDArray[np.int64]:
    """A hash of 64 bits for each row."""
    found = np.empty(len(x), np.int64)
    for start in range(0, len(x), _HASHED):
        part = slice(start, start + _HASHED)
        found[part] = list(map(hash, _keys(np.column_stack((x[part], y[part]))).tolist()))
    return found


def _keys(rows: AnyArray) -> npt.NDArray[Any]:
    """Each row as one value that equals that of an equal row."""
    rows = np.ascontiguousarray(rows + 0.0)  # -0 and 0 are equal
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()


def _rare_classes(target: Target) -> list[str]:
    if not isinstance(target, ClassTarget) or target.n_outputs > 10:
        return []
    rare = [
        (share, name) for share, name in zip(target.shares, target.classes, strict=False) if share < _RARE / target.n_outputs * 2
    ]
    return [
        f"class {name!r} has {share:.1%} of the rows: look at its recall rather than at the accuracy; "
        "--class-weight balanced gives it more weight"
        for share, name in sorted(rare)[:3]
    ]
