"""Fit the encoding of a table that comes in chunks, pass by pass, in memory that does not grow with the rows.

1. The first pass finds the kind of each column, from its different values.
2. The second one sums up what the features need: counts, sums, extremes, and how many numbers begin with which 16 bits.
3. More passes narrow down the quantiles, so that they are those of a sort of all numbers; mean and standard deviation differ by
   rounding alone.

Of a column with more than `_distinct.LIMIT` different values, the most frequent are counted, and a sample of the others, chosen by
hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._types import AnyArray
from ._chunk_fits import FITS, Chosen, ColumnFit
from ._columns import Column, columns, is_number, missing_words, objects, stripped, text_of, words_of
from ._distinct import Distinct
from ._features import Feature, why_empty
from ._kinds import Settings, kind_of, useless
from ._rows import Table, check_names, named_columns

Chunks = Callable[[], Iterable[Any]]

_ANEW = "A function that returns an iterator anew for each pass is needed"


class Fitted(NamedTuple):
    """The features of the columns that are used, notes about them, and the words that stand for a missing value."""

    features: tuple[Feature, ...]
    notes: tuple[str, ...]
    missing: frozenset[str]


def fit_features(chunks: Chunks, ignored: dict[str, str], settings: Settings, missing: Iterable[str] | None) -> Fitted:
    """Fit a feature to each column that can be used; ``ignored`` gets the others, with the reasons."""
    source = _Source(chunks, ignored, missing)
    rows, seen = _values_seen(source, [*settings.kinds, *settings.dates, *ignored])
    fits: dict[str, ColumnFit] = {}
    notes: dict[str, str] = {}
    for name, values in seen.items():
        given = name in settings.kinds or name in settings.dates
        kind = kind_of(values.sample(), settings)
        reason = useless(kind.name, values.present, values.rows, values.distinct, given)
        if reason:
            ignored[name] = reason
            continue
        fits[name] = FITS[kind.name](Chosen(name, kind, given, settings))
        notes[name] = kind.note
    _fit_all(fits, source, rows)
    identifiers = {name: reason for name, fit in fits.items() if (reason := fit.why_identifier())}
    ignored |= identifiers
    used = [name for name in fits if name not in identifiers]
    if not used and identifiers:  # better than nothing
        used = list(identifiers)[:1]
        notes[used[0]] = f"{used[0]}: {ignored.pop(used[0])}, but is the only column there is"
    features = {name: fits[name].feature() for name in used}
    empty = {name: reason for name, feature in features.items() if (reason := why_empty(feature))}
    ignored |= empty
    kept = [name for name in used if name not in empty]
    return Fitted(tuple(features[name] for name in kept), tuple(notes[name] for name in kept if notes[name]), source.words)


def _values_seen(source: _Source, named: list[str]) -> tuple[int, dict[str, _ValuesSeen]]:
    """Make the first pass: return the number of rows, and what was seen of each column."""
    seen: dict[str, _ValuesSeen] = {}

    def add(chunk: dict[str, Column]) -> None:
        if not seen:
            seen.update({name: _ValuesSeen(name, source.words) for name in chunk})
        if seen.keys() != chunk.keys():
            raise ValueError(f"all chunks must have the same columns, got {list(chunk)} after {list(seen)}")
        for name, column in chunk.items():
            seen[name].add(column)

    rows = source.read(add, named)
    if not seen or not rows:
        raise ValueError(f"chunks must hold at least one row and one column. {_ANEW}")
    return rows, seen


def _fit_all(fits: dict[str, ColumnFit], source: _Source, rows: int) -> None:
    """Make all later passes, each over the columns of which not all is known yet."""
    names = list(fits)
    unsettled = fits

    def add(chunk: dict[str, Column]) -> None:
        if not unsettled.keys() <= chunk.keys():
            raise ValueError(f"all chunks must have the same columns, got {list(chunk)} after {names}")
        for name, fit in unsettled.items():
            fit.add(chunk[name])

    while unsettled:
        again = source.read(add)
        if again != rows:
            raise ValueError(
                f"chunks must give the same rows each time they are read, got {rows:,} rows at first and {again:,} later. {_ANEW}"
            )
        unsettled = {name: fit for name, fit in unsettled.items() if not _settle(name, fit)}


def _settle(name: str, fit: ColumnFit) -> bool:
    try:
        return fit.settle()
    except ValueError as error:
        raise ValueError(f"chunks must give the same rows each time they are read, got other values of {name!r}: {error}") from None


class _Source:
    """The chunks, without the columns in ``ignored``.

    Where ``missing`` is None, the words are those that the first chunk was read from a file with, if it was.
    """

    def __init__(self, chunks: Chunks, ignored: Mapping[str, str], missing: Iterable[str] | None) -> None:
        self._chunks, self._ignored = chunks, ignored
        self.words = missing_words(missing)
        self._words_known = missing is not None

    def read(self, add: Callable[[dict[str, Column]], None], named: Iterable[str] = ()) -> int:
        """Add the columns of each chunk and return the number of rows; errors say in which chunk they were found.

        The first chunk with columns must have those ``named``.
        """
        rows = 0
        for index, chunk in enumerate(self._chunks()):
            try:
                given = named_columns(chunk)
                if not given:  # a list without rows
                    continue
                check_names(given, named)
                named = ()
                if not self._words_known:
                    self.words = words_of(given, self.words)
                    self._words_known = True
                found = columns(given, [name for name in given if name not in self._ignored], self.words)
                add(found)
                rows += len(next(iter(found.values()), ()))
            except ValueError as error:
                raise ValueError(f"chunk {index}: {error}") from None
        return rows


class _ValuesSeen:
    """The different values of a column: what the first pass keeps of it."""

    def __init__(self, name: str, words: frozenset[str]) -> None:
        self.name, self.words = name, words
        self.rows = self.present = 0
        self.categorical = False
        self.table: Table | None = None
        self.kinds: set[str] = set()  # of the arrays; "text" for texts
        self.texts, self.numbers = Distinct(), Distinct()
        self.truths: dict[bool, int] = {}

    def add(self, column: Column) -> None:
        """Add a chunk."""
        self.rows += len(column)
        self.present += int(column.present.sum())
        self.categorical |= column.categorical
        self.table = column._table if self.table is None else self.table
        if not column.present.any():  # a chunk without values has no type
            return
        if column.is_text:
            self.kinds.add("text")
            if column.types <= {str, type(None)}:
                self.texts.add_texts(column.counts(written=True))
            else:
                self._add_items(column)
            return
        values = column.values[column.present]
        self.kinds.add(values.dtype.kind)
        self.numbers.add_numbers(values.astype(np.int64) if values.dtype.kind == "M" else values)

    def _add_items(self, column: Column) -> None:
        """Add a chunk of texts, numbers and truth values, each as what it is."""
        texts: dict[str, int] = {}
        numbers: list[int | float] = []
        for item, text in zip(column.values, column.texts, strict=True):
            if text is None:
                continue
            if isinstance(item, bool):
                self.truths[item] = self.truths.get(item, 0) + 1
            elif is_number(type(item)):
                numbers.append(int(item) if isinstance(item, int | np.integer) else float(item))
            else:
                written = stripped(item)
                texts[written] = texts.get(written, 0) + 1
        self.texts.add_texts(texts)
        if numbers:
            self.numbers.add_numbers(objects(numbers))

    @property
    def distinct(self) -> int:
        """How many values differ."""
        texts = {text_of(text) for text in self.texts.counts} | {text_of(truth) for truth in self.truths}
        if texts and not self.texts.bits and not self.numbers.bits:  # 5 and "5" are one value
            return len(texts | {text_of(number) for number in self.numbers.counts})
        return (len(texts) << self.texts.bits) + len(self.numbers)

    def sample(self) -> Column:
        """Return a column of which `kind_of` finds what it finds of the whole one."""
        if "M" in self.kinds and len(self.kinds) > 1:
            raise TypeError(
                f"column {self.name!r} must hold values of one kind in all chunks, holds dates in some and others in some"
            )
        counts = list(self.numbers.counts.values())
        if self.kinds and "text" not in self.kinds:
            if sum(counts) >= 2 * len(counts):
                counts = [2] * len(counts)
            made = Column(self.name, np.repeat(self._numbers(), counts), missing=self.words, table=self.table)
        else:
            items = [*self.texts.counts, *self.truths, *self.numbers.counts]
            counts = [*self.texts.counts.values(), *self.truths.values(), *counts]
            made = _CountedItems(self.name, items, counts, self.words, self.table)
        made.categorical = self.categorical
        return made

    def _numbers(self) -> AnyArray:
        """The different numbers, as the array of the whole column has them."""
        found = list(self.numbers.counts)
        if "M" in self.kinds:
            return np.array(found, np.int64).astype("M8[us]")
        low, high = min(found, default=0), max(found, default=0)
        if "f" in self.kinds or (low < 0 and high >= 2**63):
            return np.array(found, np.float64)
        return np.array(found, np.uint64 if high >= 2**63 else np.int64)


class _CountedItems(Column):
    """A column that holds each item once and knows how many rows of another one have it; messages cannot name a row.

    The texts are those that are written in the other one.
    """

    located = False

    def __init__(self, name: str, items: list[Any], counts: list[int], missing: frozenset[str], table: Table | None) -> None:
        super().__init__(name, items, missing=missing, table=table)
        self._counts = np.array(counts, np.intp)

    def _row_counts(self) -> npt.NDArray[np.intp]:
        codes, texts = self.coded
        return np.bincount(codes, self._counts, len(texts)).astype(np.intp)
