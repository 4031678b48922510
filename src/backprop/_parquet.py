"""Batches from Parquet files that are larger than memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ._arrays import check_count, check_flag, check_list, check_seed
from ._frames import as_array
from ._types import AnyArray

StrPath = str | os.PathLike[str]
WINDOW = 1 << 16


class Encoder(Protocol):
    """Makes an array of columns, such as a `backprop.tabular.TableEncoder` or the ``transform`` of a target."""

    def transform(self, table: Any) -> Any:
        """Return an array with a row for each row of the table."""


class _Options(NamedTuple):
    """The arguments of `parquet`."""

    paths: StrPath | Sequence[StrPath]
    target: str | Sequence[str]
    columns: Sequence[str] | None
    weight: str | None
    encoder: Encoder | None
    target_encoder: Encoder | None
    batch_size: int
    shuffle: bool
    window: int
    seed: int | None
    drop_last: bool
    rank: int
    ranks: int


class _Group(NamedTuple):
    """A row group: its file, its number there, its rows."""

    path: str
    number: int
    rows: int


class ParquetBatches:
    """Batches of the rows of Parquet files, read as they are needed; `backprop.data.parquet` makes one.

    ``len()`` is the number of batches, from the files' metadata. It can be iterated over any number of times, in a new order each
    time: pass it to `Trainer.fit` in place of x, without y.

    Attributes
    ----------
    columns : tuple of str
        The columns of x.
    rows : int
        The number of rows of this rank.
    """

    def __init__(self, options: _Options) -> None:
        paths, target, columns, weight, encoder, target_encoder, batch_size, shuffle, window, seed, drop_last, rank, ranks = options
        self._arrow = _library()
        self._batch_size = check_count("batch_size", batch_size)
        self._window = check_count("window", window)
        self._drop_last = check_flag("drop_last", drop_last)
        self._seed = check_seed(seed) if check_flag("shuffle", shuffle) else None
        ranks = check_count("ranks", ranks)
        rank = check_count("rank", rank, minimum=0, maximum=ranks - 1)
        self._encoder, self._target_encoder, self._weight = encoder, target_encoder, weight
        for name, given in (("encoder", encoder), ("target_encoder", target_encoder)):
            if given is not None and not callable(getattr(given, "transform", None)):
                raise TypeError(f"{name} must be an object with a method transform, got {given!r}")
        self._targets = [target] if isinstance(target, str) else check_list("target", target, "names of columns")
        if columns is not None:
            columns = check_list("columns", columns, "names of columns")
        if not self._targets:
            raise ValueError("target must name at least one column")
        if target_encoder is not None and len(self._targets) > 1:
            raise ValueError(f"target_encoder takes one column, but target names {len(self._targets)}")
        files = _files(paths)
        described = [self._arrow.ParquetFile(path) for path in files]
        names = described[0].schema_arrow.names
        others = {*self._targets, *([] if weight is None else [weight])}
        self.columns = tuple(name for name in names if name not in others) if columns is None else tuple(columns)
        self._needed = list(dict.fromkeys([*self.columns, *self._targets, *([] if weight is None else [weight])]))
        if not self.columns:
            raise ValueError("columns must name at least one column of x")
        groups = []
        for path, file in zip(files, described, strict=True):
            _check_columns(path, file.schema_arrow.names, self._needed)
            groups += [_Group(path, index, file.metadata.row_group(index).num_rows) for index in range(file.num_row_groups)]
            file.close()
        filled = [group for group in groups if group.rows]
        if len(filled) < ranks:
            raise ValueError(f"each of the {ranks} ranks needs a row group of its own, but the files have {len(filled)} with rows")
        self._groups = filled[rank::ranks]
        self.rows = sum(group.rows for group in self._groups)
        self._passes = 0

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.rows // self._batch_size if self._drop_last else -(-self.rows // self._batch_size)

    def __repr__(self) -> str:
        """Return the number of batches, rows and row groups."""
        order = "in order" if self._seed is None else f"seed={self._seed}"
        what = f"{len(self)} of {self.rows} rows in {len(self._groups)} row groups"
        return f"ParquetBatches({what}, batch_size={self._batch_size}, {order})"

    def __iter__(self) -> Iterator[tuple[AnyArray, ...]]:
        """Yield ``(x, y)``, or ``(x, y, sample_weight)``, for each batch."""
        rng = None
        if self._seed is not None:
            rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(2, self._passes)))
        self._passes += 1
        left: tuple[AnyArray, ...] = ()
        for arrays in self._windows(rng):
            joined = tuple(np.concatenate(pair) for pair in zip(left, arrays, strict=True)) if left else arrays
            whole = len(joined[0]) - len(joined[0]) % self._batch_size
            for start in range(0, whole, self._batch_size):
                yield tuple(array[start : start + self._batch_size] for array in joined)
            left = tuple(array[whole:] for array in joined)
        if left and len(left[0]) and not self._drop_last:
            yield left

    def sample(self, rows: int = WINDOW, *, seed: int = 0) -> Any:
        """Return some rows of all row groups, drawn at random, as a table of pyarrow.

        For a first look, or a quick fit of an encoder; `tables` has all rows.

        Parameters
        ----------
        rows : int
            How many rows at most. Every row group gives its share.
        seed : int
            Fixes which.

        Returns
        -------
        pyarrow.Table
            The columns of x, the targets and the weight.
        """
        rows = check_count("rows", rows)
        rng = np.random.default_rng(np.random.SeedSequence(check_seed(seed), spawn_key=(3,)))
        share = min(1.0, rows / self.rows)
        kept, due = [], 0.0
        for group in self._groups:
            due += share * group.rows
            count = min(group.rows, round(due))
            due -= count
            if count:
                chosen = np.sort(rng.choice(group.rows, count, replace=False))
                kept.append(self._read(group).take(chosen))
        return import_module("pyarrow").concat_tables(kept, promote_options="permissive").combine_chunks()

    def tables(self) -> Iterator[Any]:
        """Yield the columns of x of one row group after another, as tables of pyarrow.

        An encoder is fitted to all rows by ``TableEncoder.fit_chunks(source.tables)``.
        """
        for group in self._groups:
            yield self._read(group).select(list(self.columns))

    def _windows(self, rng: np.random.Generator | None) -> Iterator[tuple[AnyArray, ...]]:
        """Yield the arrays of some row groups at a time; random numbers shuffle the groups, and the rows of each window."""
        order = range(len(self._groups)) if rng is None else rng.permutation(len(self._groups))
        waiting: list[tuple[AnyArray, ...]] = []
        count = 0
        for position in order:
            group = self._groups[position]
            waiting.append(self._arrays(self._read(group)))
            count += group.rows
            if count >= self._window:
                yield _shuffled(waiting, rng)
                waiting, count = [], 0
        if waiting:
            yield _shuffled(waiting, rng)

    def _read(self, group: _Group) -> Any:
        with self._arrow.ParquetFile(group.path) as file:
            return file.read_row_group(group.number, columns=self._needed)

    def _arrays(self, table: Any) -> tuple[AnyArray, ...]:
        x = _matrix(table.select(list(self.columns)), "x") if self._encoder is None else self._encoder.transform(table)
        if self._target_encoder is not None:
            y = np.asarray(self._target_encoder.transform(table.column(self._targets[0])))
        else:
            y = _matrix(table.select(self._targets), "y")
            y = y[:, 0] if len(self._targets) == 1 else y
        if self._weight is None:
            return x, y
        return x, y, _matrix(table.select([self._weight]), "sample_weight")[:, 0]


def parquet(
    paths: StrPath | Sequence[StrPath],
    *,
    target: str | Sequence[str],
    columns: Sequence[str] | None = None,
    weight: str | None = None,
    encoder: Encoder | None = None,
    target_encoder: Encoder | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    window: int = WINDOW,
    seed: int | None = None,
    drop_last: bool = False,
    rank: int = 0,
    ranks: int = 1,
) -> ParquetBatches:
    """Return batches of the rows of Parquet files, which may be larger than memory.

    Row groups are read one after another, and dropped when their rows have been used. Needs pyarrow:
    ``pip install "backprop[parquet]"``.

    Parameters
    ----------
    paths : str, path or sequence of these
        A file, a folder, whose ``.parquet`` files are taken in the order of their names, or several of either.
    target : str or sequence of str
        The column, or the columns, of y.
    columns : sequence of str, optional
        The columns of x; by default all others.
    weight : str, optional
        A column of sample weights.
    encoder : TableEncoder, optional
        Makes x of the columns, which without it have to be numbers. Any object with ``transform(table)`` will do.
    target_encoder : ClassTarget or NumberTarget, optional
        Makes y of the target.
    batch_size : int
        Rows of a batch; the last one has what is left over.
    shuffle : bool
        Whether the row groups come in a new random order each time, and their rows are shuffled within a window.
    window : int
        How many rows are shuffled together, rounded up to whole row groups: what is in memory at a time.
    seed : int, optional
        Fixes the order of each pass.
    drop_last : bool
        Whether to leave out a last batch that is not full.
    rank, ranks : int
        The number of ranks, and which of them this one is: it gets every ``ranks``-th row group.

    Returns
    -------
    ParquetBatches

    Raises
    ------
    ImportError
        Without pyarrow.
    ValueError
        When a file lacks a column, naming both; when there are fewer row groups than ranks; for options that make no sense.
    TypeError
        When a column holds no numbers and there is no encoder, naming it.
    OSError
        When a file cannot be read.

    Examples
    --------
    >>> import backprop as bp
    >>> batches = bp.data.parquet("trips/", target="minutes", batch_size=256, seed=0)  # doctest: +SKIP
    >>> net.fit(batches, loss="mse", epochs=3)  # doctest: +SKIP
    """
    options = _Options(
        paths, target, columns, weight, encoder, target_encoder, batch_size, shuffle, window, seed, drop_last, rank, ranks
    )
    return ParquetBatches(options)


def _library() -> Any:
    try:
        return import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError('reading Parquet files needs pyarrow: pip install "backprop[parquet]"') from error


def _files(paths: StrPath | Sequence[StrPath]) -> list[str]:
    found: list[str] = []
    for given in [paths] if isinstance(paths, str | os.PathLike) else list(paths):
        path = Path(given)
        if path.is_dir():
            inside = sorted(str(file) for file in path.glob("*.parquet"))
            if not inside:
                raise ValueError(f"{path} has no .parquet files")
            found += inside
        else:
            found.append(str(path))
    if not found:
        raise ValueError("paths must name at least one file")
    return found


def _check_columns(path: str, names: Sequence[str], needed: Sequence[str]) -> None:
    for name in needed:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"{path} has no column {name!r}{hint}; its columns are {', '.join(map(repr, names[:20]))}")
        if names.count(name) > 1:
            raise ValueError(f"{path} has the column {name!r} more than once: rename one of them")


def _matrix(table: Any, name: str) -> AnyArray:
    array = as_array(table, name)
    assert array is not None
    return array


def _shuffled(parts: list[tuple[AnyArray, ...]], rng: np.random.Generator | None) -> tuple[AnyArray, ...]:
    arrays = tuple(np.concatenate(columns) for columns in zip(*parts, strict=True)) if len(parts) > 1 else parts[0]
    if rng is None:
        return arrays
    order = rng.permutation(len(arrays[0]))
    return tuple(array[order] for array in arrays)
