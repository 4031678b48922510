"""From the columns of a table to the columns of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .._arrays import check_list
from . import _columns, _kinds
from ._chunks import fit_features
from ._columns import Column
from ._encoded import EncodedRows, OneHot
from ._features import FEATURES, BooleanFeature, CategoricalFeature, DateFeature, Feature, NumericFeature, Writer, why_empty
from ._kinds import Kind, Settings
from ._rows import check_names, named_columns
from ._saved import restored, saved

Matrix = npt.NDArray[np.floating]


class TableEncoder:
    """Turns the columns of a table into the columns of a matrix, the same way each time.

    Made by `fit` from training data, or by `from_config` from a saved model.

    Parameters
    ----------
    features : iterable of Feature
        What is done with each column that is used.
    ignored : mapping of str to str, optional
        The columns of the training table that are not used, and why.
    missing : iterable of str, optional
        The words that stand for a missing value, in any case; by default those of the module.

    Attributes
    ----------
    features : tuple of Feature
        The columns that are used, in the order of the table: `NumericFeature`, `BooleanFeature`, `CategoricalFeature` and
        `DateFeature`. Each has a ``kind``, the ``name`` of its column, the ``names`` of its columns of the matrix, and what its
        encoding needs: centre, scale, categories, what takes the place of a missing value.
    ignored : dict of str to str
        See the parameter.
    missing : frozenset of str
        In lower case.
    notes : tuple of str
        What `fit` found and a person should know, a sentence each; not saved.

    Examples
    --------
    >>> from backprop.tabular import TableEncoder
    >>> encoder = TableEncoder.fit({"age": [30, 40, 50], "city": ["Rome", "Oslo", None]})
    >>> encoder.names
    ('age', 'city=Oslo', 'city=Rome', 'city missing')
    >>> encoder.transform({"age": [40, 40], "city": ["Rome", "Paris"]})
    array([[0., 0., 1., 0.],
           [0., 0., 0., 0.]], dtype=float32)
    """

    def __init__(
        self, features: Iterable[Feature], ignored: Mapping[str, str] | None = None, missing: Iterable[str] | None = None
    ) -> None:
        self.features = tuple(features)
        self.ignored = dict(ignored or {})
        self.missing = _columns.missing_words(missing)
        self.notes: tuple[str, ...] = ()
        self._writers: tuple[tuple[str, Writer], ...] | None = None
        self._width = 0

    @classmethod
    def fit(
        cls,
        table: Any,
        *,
        kinds: Mapping[str, str] | None = None,
        ignore: Iterable[str] = (),
        max_categories: int = _kinds.MAX_CATEGORIES,
        dates: Mapping[str, str] | None = None,
        missing: Iterable[str] | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        rows: npt.ArrayLike | None = None,
    ) -> Self:
        """Find out the kind of every column and what its encoding needs.

        Text that reads as numbers throughout is numeric, also with decimal commas, groups of thousands, currencies or percent
        signs; numbers with leading zeros, columns that a frame declares categorical and few whole numbers in a column whose name
        has "code" or "zip" in it, or "id" where they repeat, are categories. Columns that hold one value only, text that hardly
        ever repeats (names, identifiers), and whole numbers that rise by one or identify the rows are ignored, unless their kind is
        given; so are those of a column without a name, where pandas and R write row names.

        Parameters
        ----------
        table : data frame, mapping of str to column, or list of dicts
            The training rows.
        kinds : mapping of str to str, optional
            The kinds of some columns, by name, instead of those found: ``{"zip": "categorical"}``; "numeric", "boolean",
            "categorical" or "date".
        ignore : iterable of str
            Names of columns not to use; they are not looked at.
        max_categories : int
            How many categories of a column get a column of their own: the most frequent ones.
        dates : mapping of str to str, optional
            The format of columns of dates, as `datetime.datetime.strptime` takes it: ``{"sold": "%d/%m/%Y"}``.
        missing : iterable of str, optional
            The words that stand for a missing value, in any case, in place of those of the module. An empty field always does.
        decimal, thousands : str, optional
            The characters that separate decimals and groups of thousands in text; recognised where that is possible.
        rows : array of int, optional
            The positions of the rows that the encoding is fitted to, from 0; by default all. The kinds come from all rows.

        Raises
        ------
        ValueError
            When the table has no rows, no column that can be used, columns of different lengths, or infinite numbers; when a column
            is not of the kind given for it, or can be read in two ways; when an argument names a column that is not there.
        TypeError
            When a column holds something else than numbers, booleans, text, dates and times; when `rows` are not integers.
        """
        settings = _settings(kinds, dates, max_categories, decimal, thousands)
        ignored = _ignored(ignore)
        given = named_columns(table)
        check_names(given, [*settings.kinds, *settings.dates, *ignored])
        words = _columns.missing_words(missing) if missing is not None else _columns.words_of(given, _columns.MISSING)
        columns = _columns.columns(given, [name for name in given if name not in ignored], words)
        if not any(len(column) for column in columns.values()) and not ignored:
            raise ValueError("table must have at least one row and one column")
        encoder = cls((), ignored, words)
        encoder._learn(columns, settings, None if rows is None else _positions(rows, len(next(iter(columns.values()), ()))))
        return encoder

    @classmethod
    def fit_chunks(
        cls,
        chunks: Iterable[Any] | Callable[[], Iterable[Any]],
        *,
        kinds: Mapping[str, str] | None = None,
        ignore: Iterable[str] = (),
        max_categories: int = _kinds.MAX_CATEGORIES,
        dates: Mapping[str, str] | None = None,
        missing: Iterable[str] | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
    ) -> Self:
        """Do what `fit` does for a table that comes in chunks of rows, and may be larger than memory.

        Each chunk is read several times, four to six as a rule. The result is that of `fit` on all rows together: the same
        kinds, categories, medians and quantiles, and means and standard deviations but for rounding (1e-12 of their size). Of a
        column with more than 65,536 different values, the categories are the most frequent ones among those that were counted,
        and whether the values are all different is judged by a part of them.

        Parameters
        ----------
        chunks : list of tables, or callable that returns an iterable of them
            Tables as `fit` takes them, with the same columns. A function is called anew for each pass: ``source.tables`` of
            `backprop.data.parquet`, or ``lambda: pandas.read_csv(path, chunksize=100_000)``.
        kinds, ignore, max_categories, dates, missing, decimal, thousands : mapping, iterable of str, int, str, optional
            As for `fit`.

        Raises
        ------
        ValueError, TypeError
            As `fit` does; also when the chunks differ in their columns, or are seen to have other rows when they are read again.

        Examples
        --------
        >>> from backprop.tabular import TableEncoder
        >>> chunks = [{"age": [30, 40], "city": ["Rome", "Oslo"]}, {"age": [50], "city": [None]}]
        >>> TableEncoder.fit_chunks(chunks).names
        ('age', 'city=Oslo', 'city=Rome', 'city missing')
        """
        settings = _settings(kinds, dates, max_categories, decimal, thousands)
        ignored = _ignored(ignore)
        if isinstance(chunks, Iterator):
            raise TypeError(
                "chunks must be a list, or a function that returns an iterable: an iterator can be iterated over only once"
            )
        source: Callable[[], Iterable[Any]] = chunks if callable(chunks) else lambda: chunks
        features, notes, words = fit_features(source, ignored, settings, missing)
        if not features:
            why = "; ".join(f"{name!r} {reason}" for name, reason in ignored.items())
            raise ValueError(f"chunks have no column to learn from: {why}")
        encoder = cls(features, ignored, words)
        encoder.notes = notes
        return encoder

    def _learn(self, columns: dict[str, Column], settings: Settings, rows: npt.NDArray[np.intp] | None) -> None:
        features: list[Feature] = []
        notes: list[str] = []
        identifiers: list[tuple[Column, Kind]] = []
        for name, column in columns.items():
            given = name in settings.kinds or name in settings.dates
            kind = _kinds.kind_of(column, settings)
            column.learned = kind.spelling
            fitted = column if rows is None else column.take(rows)
            reason = _kinds.why_useless(fitted, kind.name, given)
            if reason is None and not given and kind.name == "numeric":
                reason = _kinds.why_identifier(column, kind.spelling)
                identifiers += [(fitted, kind)] if reason else []
            if reason:
                self.ignored[name] = reason
                continue
            feature = _fitted(fitted, column, kind, settings)
            reason = why_empty(feature)
            if reason:
                self.ignored[name] = reason
                continue
            features.append(feature)
            notes += [kind.note] if kind.note else []
        if not features and identifiers:  # better than nothing
            column, kind = identifiers[0]
            notes.append(f"{column.name}: {self.ignored.pop(column.name)}, but is the only column there is")
            features.append(_fitted(column, column, kind, settings))
        if not features:
            why = "; ".join(f"{name!r} {reason}" for name, reason in self.ignored.items())
            raise ValueError(f"table has no column to learn from: {why}")
        self.features, self.notes = tuple(features), tuple(notes)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the matrix's columns."""
        return tuple(name for feature in self.features for name in feature.names)

    @property
    def columns(self) -> dict[str, list[int]]:
        """The columns of the matrix that belong to each column of the table: `features` of `explain.permutation_importance`."""
        found: dict[str, list[int]] = {}
        start = 0
        for feature in self.features:
            found[feature.name] = list(range(start, start + len(feature.names)))
            start += len(feature.names)
        return found

    def transform(self, table: Any, dtype: npt.DTypeLike = np.float32) -> Matrix:
        """Encode a table as a matrix with the columns `names`; further columns of the table are passed over.

        Parameters
        ----------
        table : data frame, mapping of str to column, list of dicts, or one dict of values
            The rows to encode. In a list of dicts, a key that is missing in some rows is a missing value.
        dtype : dtype
            Of the matrix.

        Returns
        -------
        array (n, len(names))

        Raises
        ------
        ValueError
            When a column is missing, or holds values that are not of its kind or too large.
        """
        row = self._row(table)
        if row is not None:
            return np.array([row], dtype)
        raw = self._columns_of(table)
        matrix = np.zeros((len(next(iter(raw.values()))), len(self.names)), dtype)
        start = 0
        for feature in self.features:
            part = matrix[:, start : start + len(feature.names)]
            start += len(feature.names)
            if isinstance(feature, CategoricalFeature):  # without a matrix of its own, which may be large
                feature._encode_into(part, raw[feature.name])
            else:
                _write(part, feature, raw[feature.name])
        return matrix

    def _encoded(self, table: Any, dtype: npt.DTypeLike = np.float32) -> EncodedRows:
        """Encode a table as `transform` does, but make the rows when they are taken."""
        raw = self._columns_of(table)
        hot: list[OneHot] = []
        places: list[int] = []
        width = sum(len(feature.names) for feature in self.features if not isinstance(feature, CategoricalFeature))
        dense = np.empty((len(next(iter(raw.values()))), width), dtype)
        start = 0
        for feature in self.features:
            column, end = raw[feature.name], start + len(feature.names)
            if isinstance(feature, CategoricalFeature):
                positions = feature.find(column).astype(np.min_scalar_type(-len(feature.categories) - 1))
                hot.append(OneHot(start, positions, end - 1 if feature.flagged else None, ~column.present))
            else:
                _write(dense[:, len(places) : len(places) + end - start], feature, column)
                places += range(start, end)
            start = end
        return EncodedRows(dense, places, hot, start)

    def _columns_of(self, table: Any) -> dict[str, Column]:
        return _columns.columns(table, [feature.name for feature in self.features], _columns.words_of(table, self.missing))

    def _row(self, table: Any) -> list[float] | None:
        """The matrix's one row for one dict of values; None for anything that the general way has to look at."""
        kind = type(table)
        if kind is list and len(table) == 1:
            table = table[0]
            kind = type(table)
        if kind is not dict or not self.features:
            return None
        if self._writers is None:
            self._writers = self._make_writers()
        row = [0.0] * self._width
        try:
            if type(table[self._writers[0][0]]) is list:  # columns of one value
                for name, write in self._writers:
                    values = table[name]
                    if type(values) is not list or len(values) != 1 or not write(row, values[0]):
                        return None
            else:
                for name, write in self._writers:
                    if not write(row, table[name]):
                        return None
        except (KeyError, OverflowError):
            return None
        return row

    def _make_writers(self) -> tuple[tuple[str, Writer], ...]:
        writers = []
        start = 0
        for feature in self.features:
            writers.append((feature.name, feature._writer(start, self.missing)))
            start += len(feature.names)
        self._width = start
        return tuple(writers)

    def __repr__(self) -> str:
        """Return the columns that are used, with their kinds, and the number of columns of the matrix."""
        used = ", ".join(f"{feature.name}: {feature.kind}" for feature in self.features)
        return f"TableEncoder({used}; {len(self.names)} columns)"

    def config(self) -> dict[str, Any]:
        """All that `from_config` needs, ready for JSON."""
        return {
            "features": [saved(feature) for feature in self.features],
            "ignored": self.ignored,
            "missing": sorted(self.missing),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the encoder of a saved `config`; a ValueError when that is damaged."""
        try:
            features = [restored(FEATURES, entry) for entry in config["features"]]
            return cls(features, config["ignored"], config["missing"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the saved description of the table is damaged: {error!r}") from error


def _settings(
    kinds: Mapping[str, str] | None,
    dates: Mapping[str, str] | None,
    max_categories: int,
    decimal: str | None,
    thousands: str | None,
) -> Settings:
    settings = _kinds.settings(kinds, dates, max_categories, decimal, thousands)
    for name, kind in settings.kinds.items():
        if kind not in FEATURES:
            raise ValueError(f"the kind of column {name!r} must be one of {', '.join(FEATURES)}, got {kind!r}")
    return settings


def _ignored(ignore: Iterable[str]) -> dict[str, str]:
    """The names of columns to ignore, with the reason."""
    return dict.fromkeys(map(str, check_list("ignore", ignore, "names of columns")), "as asked")


def _positions(rows: npt.ArrayLike, count: int) -> npt.NDArray[np.intp]:
    """Positions of some of `count` rows, checked."""
    array = np.asarray(rows)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        hint = ": for a mask give np.flatnonzero(mask)" if array.dtype.kind == "b" else ""
        raise TypeError(f"rows must be a 1-D array of integers, got shape {array.shape} and dtype {array.dtype}{hint}")
    outside = array[(array < 0) | (array >= count)]
    if outside.size:
        raise ValueError(f"rows must be positions from 0 to {count - 1}, got {outside[0]}")
    return array.astype(np.intp)


def _write(part: npt.NDArray[np.floating], feature: Feature, column: Column) -> None:
    """Encode a column that is not categorical into its columns of a matrix."""
    with np.errstate(over="ignore"):
        part[:] = feature.encode(column)
    if not np.isfinite(part).all():
        raise ValueError(f"column {feature.name!r} holds numbers that are too large for {part.dtype}")


def _fitted(column: Column, whole: Column, kind: Kind, settings: Settings) -> Feature:
    if kind.name == "numeric":
        return NumericFeature.fit(column, kind.spelling)
    if kind.name == "boolean":
        return BooleanFeature.fit(column)
    if kind.name == "date":
        return DateFeature.fit(column, kind.form)
    return replace(CategoricalFeature.fit(column, settings.max_categories), seen=len(whole.distinct()))
