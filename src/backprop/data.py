"""Rows of data on their way to training: batches, their order, and splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import kernels
from ._arrays import as_real_array, check_count, check_flag, check_number, check_seed
from ._parquet import ParquetBatches, parquet

__all__ = ["Batches", "ParquetBatches", "batches", "parquet", "split"]


def __dir__() -> list[str]:
    return sorted(__all__)


Indices = npt.NDArray[np.intp]
BLOCK = 1 << 22  # rows that are shuffled at a time: their order takes 32 MB


class Batches:
    """Batches of the rows of arrays, in a new random order for each iteration; `batches` makes one.

    ``len()`` is the number of batches. With a seed, the first pass is always the same, and so are the second and all others.

    Parameters
    ----------
    arrays : tuple of array
        With the same number of rows each.
    batch_size : int
        Rows of a batch; the last one has what is left over.
    seed : int or None
        Fixes the order of each pass.
    shuffle : bool
        False keeps the rows in their order.
    drop_last : bool
        Whether to leave out a last batch that is not full.

    Examples
    --------
    >>> import backprop as bp
    >>> made = bp.batches([[1.0], [2.0], [3.0]], batch_size=2, shuffle=False)
    >>> len(made), [x.ravel().tolist() for x, in made]
    (2, [[1.0, 2.0], [3.0]])
    """

    def __init__(
        self, arrays: tuple[npt.NDArray[Any], ...], batch_size: int, seed: int | None, shuffle: bool, drop_last: bool
    ) -> None:
        self._arrays = arrays
        self._batch_size = batch_size
        self._seed = check_seed(seed) if shuffle else None
        self._drop_last = drop_last
        self._passes = 0

    def __len__(self) -> int:
        """Return the number of batches."""
        return count_batches(len(self._arrays[0]), self._batch_size, self._drop_last)

    def __repr__(self) -> str:
        """Return the number of batches and their arguments."""
        order = "in order" if self._seed is None else f"seed={self._seed}"
        return f"Batches({len(self)} of {len(self._arrays[0])} rows, batch_size={self._batch_size}, {order})"

    def __iter__(self) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """Yield tuples of arrays, each a copy of the rows of one batch."""
        rng = None if self._seed is None else epoch_rng(self._seed, self._passes)
        self._passes += 1
        for order in row_order(len(self._arrays[0]), self._batch_size, rng, self._drop_last):
            for start in range(0, len(order), self._batch_size):
                rows = order[start : start + self._batch_size]
                yield tuple([array[rows] for array in self._arrays])


def batches(
    x: npt.ArrayLike,
    y: npt.ArrayLike | None = None,
    *,
    batch_size: int = 32,
    seed: int | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> Batches:
    """Return batches of rows to loop over.

    Parameters
    ----------
    x, y, sample_weight : array-like
        Arrays with the same number of rows. Every batch has those that are given, in this order: without y, a batch of
        ``(x, sample_weight)`` is for a custom loop, as `fit` would take it for ``(x, y)``. A memory map is read batch by batch.
    batch_size : int
        Rows of a batch; the last one has what is left over.
    seed : int, optional
        Fixes the order. Each pass over the result has an order of its own.
    shuffle : bool
        False keeps the rows in their order.
    drop_last : bool
        Whether to leave out a last batch that is not full.

    Raises
    ------
    ValueError
        If row counts differ, or there is no row.

    Examples
    --------
    >>> for x, y in batches([[1.0], [2.0], [3.0]], [0, 1, 1], batch_size=2, shuffle=False):
    ...     print(x.ravel(), y)
    [1. 2.] [0 1]
    [3.] [1]
    """
    optional = {"y": y, "sample_weight": sample_weight}
    given = {"x": x} | {name: array for name, array in optional.items() if array is not None}
    arrays = tuple(as_real_array(array, name) for name, array in given.items())
    for name, array in zip(given, arrays, strict=True):
        if array.ndim == 0:
            raise ValueError(f"{name} must have rows, got the single number {array!r}")
    check_same_rows(arrays, tuple(given))
    if len(arrays[0]) == 0:
        raise ValueError(f"x must have at least one row, got shape {arrays[0].shape}")
    return Batches(
        arrays, check_count("batch_size", batch_size), seed, check_flag("shuffle", shuffle), check_flag("drop_last", drop_last)
    )


def split(rows: int, share: float, *, stratify: npt.ArrayLike | None = None, seed: int | None = None) -> tuple[Indices, Indices]:
    """Split rows at random into two parts, such as training and test set.

    Parameters
    ----------
    rows : int
        How many rows there are; at least two.
    share : float
        The share of them that goes to the second part, in (0, 1); at least one row is in either.
    stratify : array (rows,), optional
        Classes, each of which gets its share in both parts.
    seed : int, optional
        Fixes the split.

    Returns
    -------
    first, second : array of int
        Row numbers, ascending.

    Examples
    --------
    >>> y = np.array([0, 0, 1, 1])
    >>> train, test = split(len(y), 0.5, stratify=y, seed=0)
    >>> y[train], y[test]
    (array([0, 1]), array([0, 1]))
    """
    if not 0 < check_number("share", share) < 1:
        raise ValueError(f"share must be in (0, 1), got {share!r}")
    rows = check_count("rows", rows, 2)
    count = min(max(round(rows * share), 1), rows - 1)
    rng = np.random.default_rng(np.random.SeedSequence(check_seed(seed), spawn_key=(0,)))
    shuffled = rng.permutation(rows)
    if stratify is None:
        chosen = shuffled[:count]
    else:
        classes = np.asarray(stratify)
        if classes.shape != (rows,):
            raise ValueError(f"stratify must have one class per row, shape ({rows},), got shape {classes.shape}")
        _, class_of, class_counts = np.unique(classes[shuffled], return_inverse=True, return_counts=True)
        # Rows ordered by how far into their class they come: any first part of this order has its share of each class.
        depth = _place_in_class(class_of, class_counts) + 0.5
        depth /= class_counts[class_of]
        del class_of
        chosen = shuffled[np.argsort(depth, kind="stable")[:count]]
    second = np.zeros(rows, np.bool_)
    second[chosen] = True
    return np.flatnonzero(~second), np.flatnonzero(second)


def hold_out(rows: int, validation_split: float, *, stratify: npt.ArrayLike | None, seed: int | None) -> tuple[Indices, Indices]:
    """Return the row numbers to train on and to validate on, as `split` draws them."""
    if rows < 2:
        raise ValueError(f"validation_split needs at least two rows, one to train on and one to hold out, got {rows}")
    return split(rows, validation_split, stratify=stratify, seed=seed)


def check_same_rows(arrays: Sequence[npt.NDArray[Any]], names: Sequence[str]) -> None:
    """Raise a ValueError, with all shapes, unless the arrays of these names have the same number of rows."""
    if any(array.ndim == 0 for array in arrays) or len({len(array) for array in arrays}) > 1:
        raise rows_differ(names, [array.shape for array in arrays])


def rows_differ(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> ValueError:
    """Return the error to raise for arrays with different numbers of rows."""
    listed = ", ".join(names[:-1])
    return ValueError(f"{listed} and {names[-1]} must have the same number of rows, got shapes {' and '.join(map(str, shapes))}")


def count_batches(rows: int, batch_size: int, drop_last: bool) -> int:
    """Return how many batches there are."""
    return rows // batch_size if drop_last else -(-rows // batch_size)


def epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """Return the random numbers for the order of one epoch: the same for every run that has come this far."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, epoch)))


def row_order(
    rows: int, batch_size: int, rng: np.random.Generator | None, drop_last: bool = False, block: int = BLOCK
) -> Iterator[Indices]:
    """Yield the order of one epoch in parts: index arrays that, but for the last, are multiples of the batch size long.

    Up to ``block`` rows it is one permutation. Beyond, blocks of neighbouring rows come in random order and are shuffled each
    in itself, and where the blocks begin is drawn anew each epoch: a permutation of 50 million rows would take 400 MB.
    """
    last = rows - rows % batch_size if drop_last else rows
    left = np.empty(0, np.intp)
    done = 0
    for part in _blocks(rows, rng, block):
        part = np.concatenate([left, part]) if len(left) else part
        whole = last - done if done + len(part) == rows else len(part) - len(part) % batch_size
        ready, left = part[:whole], part[whole:]
        if len(ready):
            yield ready
        done += len(ready)


def _blocks(rows: int, rng: np.random.Generator | None, block: int) -> Iterator[Indices]:
    if rows <= block:
        yield _neighbours(0, rows, rng)
        return
    first = 0 if rng is None else int(rng.integers(1, block + 1))
    starts = np.array([0, *range(first, rows, block)] if first else range(0, rows, block), np.intp)
    ends = np.append(starts[1:], rows)
    for i in range(len(starts)) if rng is None else rng.permutation(len(starts)):
        yield _neighbours(starts[i], ends[i], rng)


def _neighbours(start: int, end: int, rng: np.random.Generator | None) -> Indices:
    """Return the rows from ``start`` to ``end``, shuffled if there are random numbers; either way of shuffling gives one order."""
    order = np.arange(start, end)
    core = kernels.compiled()
    if rng is not None and core is not None:
        core.shuffle(order, rng.bit_generator)
    elif rng is not None:
        rng.shuffle(order)
    return order


def _place_in_class(class_of: npt.NDArray[np.intp], class_counts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return for each row how many rows of its class come before it."""
    place = np.empty_like(class_of)
    first = np.repeat(np.cumsum(class_counts) - class_counts, class_counts)
    place[np.argsort(class_of, kind="stable")] = np.arange(len(class_of)) - first
    return place
