"""Fit the encoding of a table that comes in chunks, pass by pass, in memory that does not grow with the rows.

1. The first pass finds the kind of each column, from its different values.
2. The second one sums up what the features need: counts, sums, extremes, and how many numbers begin with which 16 bits.
3. More passes narrow down the quantiles, 16 bits at a time, until few enough numbers are left to be sorted: P. Pope's radix
   selection. So quantiles are those of a sort of all numbers; mean and standard deviation differ by rounding alone.

Of a column with more than `LIMIT` different values, the most frequent are counted, and a sample of the others, chosen by hash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import numpy as np

from .._types import AnyArray, Numbers
from ._columns import _EXACT, Column, columns
from ._features import (
    BooleanFeature,
    CategoricalFeature,
    DateFeature,
    Feature,
    NumericFeature,
    Statistics,
    date_parts,
    require_booleans,
    require_dates,
)
from ._kinds import Kind, Numbering, Settings, kind_of, order_of, useless, why_numbered
from ._rows import Table, check_names, named_columns

LIMIT = 1 << 16  # different values of a column that are told apart
SORTED = 1 << 14  # numbers that are collected and sorted

Chunks = Callable[[], Iterable[Any]]
_LEVELS = (16, 32, 48, 64)  # bits of a number that are known after each pass


def fit_features(
    chunks: Chunks, ignored: dict[str, str], settings: Settings, words: frozenset[str]
) -> tuple[tuple[Feature, ...], tuple[str, ...]]:
    """Return the features of the columns that are used, and notes; those that are not come to ``ignored``, with why."""
    seen: dict[str, _Seen] = {}
    named = [*settings.kinds, *settings.dates, *ignored]

    def look(chunk: dict[str, Column]) -> None:
        if not seen:
            seen.update({name: _Seen(name, words) for name in chunk})
        if seen.keys() != chunk.keys():
            raise ValueError(f"all chunks must have the same columns, got {list(chunk)} after {list(seen)}")
        for name, column in chunk.items():
            seen[name].add(column)

    rows = _read_all(chunks, ignored, words, look, named)
    if not seen or not rows:
        raise ValueError(
            "chunks must hold at least one row and one column. A function that returns an iterator anew for each pass is needed"
        )
    found: dict[str, _Fit] = {}
    notes: dict[str, str] = {}
    for name, one in seen.items():
        given = name in settings.kinds or name in settings.dates
        kind = kind_of(one.sample(), settings)
        reason = useless(kind.name, one.present, one.rows, one.distinct, given)
        if reason:
            ignored[name] = reason
            continue
        found[name] = _FITS[kind.name](name, kind, given, settings)
        notes[name] = kind.note
    waiting: dict[str, _Fit] = dict(found)

    def sum_up(chunk: dict[str, Column]) -> None:
        if not waiting.keys() <= chunk.keys():
            raise ValueError(f"all chunks must have the same columns, got {list(chunk)} after {list(seen)}")
        for name, fit in waiting.items():
            fit.take(chunk[name])

    while waiting:
        again = _read_all(chunks, ignored, words, sum_up)
        if again != rows:
            raise ValueError(
                f"chunks must give the same rows each time they are read, got {rows:,} rows at first and {again:,} later. "
                "A function that returns an iterator anew for each pass is needed"
            )
        waiting = {name: fit for name, fit in waiting.items() if not fit.settle()}
    identifiers: list[str] = []
    for name, fit in found.items():
        reason = fit.why_identifier()
        if reason:
            identifiers.append(name)
            ignored[name] = reason
    used = [name for name in found if name not in identifiers]
    if not used and identifiers:  # better than nothing
        used = identifiers[:1]
        notes[used[0]] = f"{used[0]}: {ignored.pop(used[0])}, but is the only column there is"
    return tuple(found[name].feature() for name in used), tuple(notes[name] for name in used if notes[name])


def _read_all(
    chunks: Chunks,
    ignored: dict[str, str],
    words: frozenset[str],
    look: Callable[[dict[str, Column]], None],
    named: Iterable[str] = (),
) -> int:
    """Look at each chunk and return the number of rows; errors say in which chunk they were found.

    The first chunk with columns must have those ``named``.
    """
    rows = 0
    for index, chunk in enumerate(chunks()):
        try:
            given = named_columns(chunk)
            if not given:  # a list without rows
                continue
            check_names(given, named)
            named = ()
            found = columns(given, [name for name in given if name not in ignored], words)
            look(found)
            rows += len(next(iter(found.values()), ()))
        except ValueError as error:
            raise ValueError(f"chunk {index}: {error}") from None
    return rows


class _Different:
    """Different texts or numbers with their counts: all while there are few, later those whose hash ends in enough zeros."""

    def __init__(self) -> None:
        self.counts: dict[Any, int] = {}
        self.bits = 0

    def add_texts(self, counts: dict[str, int]) -> None:
        """Add texts, each with its count."""
        texts = list(counts)
        self._add(np.array(texts, object), np.array(list(counts.values())), np.array(list(map(_hash, texts)), np.uint64))

    def add_numbers(self, values: AnyArray) -> None:
        """Add numbers, float64 or integers, each as often as it is there."""
        different, counts = np.unique(values, return_counts=True)
        self._add(different, counts, _hashes(different))

    def _add(self, values: AnyArray, counts: AnyArray, hashes: AnyArray) -> None:
        for start in range(0, len(values), LIMIT):
            part = slice(start, start + LIMIT)
            chosen = hashes[part] & np.uint64((1 << self.bits) - 1) == 0
            # As keys, Python's numbers: 5 and 5.0 are one, 2**53 + 1 and 2.0**53 are two.
            for value, count in zip(values[part][chosen].tolist(), counts[part][chosen].tolist(), strict=True):
                self.counts[value] = self.counts.get(value, 0) + count
            while len(self.counts) > LIMIT:
                self._thin_out()

    def _thin_out(self) -> None:
        self.bits += 1
        kept = list(self.counts)
        if isinstance(kept[0], str):
            hashes = np.array(list(map(_hash, kept)), np.uint64)
        else:
            hashes = _hashes(np.array(kept, np.float64 if set(map(type, kept)) == {float} else object))
        for index in np.flatnonzero(hashes & np.uint64((1 << self.bits) - 1)).tolist():
            del self.counts[kept[index]]

    def __len__(self) -> int:
        """How many there are; an estimate where there are many."""
        return len(self.counts) << self.bits

    @property
    def none_twice(self) -> bool:
        return all(count == 1 for count in self.counts.values())


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _hashes(numbers: AnyArray) -> np.ndarray[Any, Any]:
    """A number of 64 bits for each number, float64, integer or object, and the same for equal ones.

    Steele, Lea and Flood's SplitMix64, of the bits of float64, or of the integer where float64 does not tell integers apart.
    """
    floats = np.ascontiguousarray(numbers.astype(np.float64) + 0.0)  # -0 becomes 0
    size = np.abs(floats)
    large = (size >= _EXACT) & (size <= 2.0**64)
    bits = floats.view(np.uint64)
    if large.any():
        found = numbers[large]
        bits[large] = found.astype(np.uint64) if found.dtype.kind in "iu" else [int(number) % 2**64 for number in found.tolist()]
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))


class _Seen:
    """What the first pass sees of a column."""

    def __init__(self, name: str, words: frozenset[str]) -> None:
        self.name, self.words = name, words
        self.rows = self.present = 0
        self.categorical = False
        self.table: Table | None = None
        self.kinds: set[str] = set()  # of the arrays; "text" for texts
        self.texts, self.numbers = _Different(), _Different()

    def add(self, column: Column) -> None:
        self.rows += len(column)
        self.present += int(column.present.sum())
        self.categorical |= column.categorical
        self.table = self.table or column._table
        if not column.present.any():  # of no type
            return
        if column.is_text:
            self.kinds.add("text")
            counts = column.counts()
            self.texts.add_texts(counts)
            return
        values = column.values[column.present]
        self.kinds.add(values.dtype.kind)
        self.numbers.add_numbers(values.astype(np.int64) if values.dtype.kind == "M" else values)

    @property
    def distinct(self) -> int:
        return len(self.texts) + len(self.numbers) if "text" in self.kinds else len(self.numbers)

    def sample(self) -> Column:
        """A column of which `kind_of` finds what it finds of the whole one."""
        different = self.numbers.counts
        numbers = self._numbers()
        if "text" not in self.kinds and self.kinds:
            counts = list(different.values())
            if sum(counts) >= 2 * len(counts):
                counts = [2] * len(counts)
            made = Column(self.name, np.repeat(numbers, counts), missing=self.words, table=self.table)
        else:
            texts = dict(self.texts.counts)
            for text, count in zip(Column(self.name, numbers).texts, different.values(), strict=True):
                if text is not None:
                    texts[text] = texts.get(text, 0) + count
            made = Column(self.name, list(texts), missing=self.words, table=self.table)
            made.counts = lambda: dict(texts)  # type: ignore[method-assign]
        made.categorical = self.categorical
        made.located = False
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


class _Moments:
    """Mean and standard deviation, of which chunks are joined by T. Chan et al., "Updating formulae", 1979; and the extremes."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, values: Numbers) -> None:
        if not len(values):
            return
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            squares = float(np.square(values - mean).sum())
            joined = self.count + len(values)
            step = mean - self.mean
            self.squares += squares + step * step * self.count * len(values) / joined
            self.mean += step * len(values) / joined
        self.count = joined
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    @property
    def std(self) -> float:
        return math.sqrt(self.squares / self.count) if self.count else 0.0


class _Ordered:
    """The numbers at wanted places in the order of all numbers."""

    def __init__(self) -> None:
        self.first = np.zeros(1 << 16, np.int64)
        self.found: dict[int, float] | None = None  # by place, once `want` has said which
        self._open: dict[tuple[int, int], list[tuple[int, int]]] = {}  # (level, prefix): places, with those before the prefix
        self._counts: dict[tuple[int, int], Any] = {}

    def add(self, values: Numbers) -> None:
        keys = _keys(values)
        if self.found is None:
            self.first += np.bincount((keys >> np.uint64(48)).astype(np.intp), minlength=1 << 16)
            return
        for (level, prefix), held in self._counts.items():
            inside = keys[keys >> np.uint64(64 - _LEVELS[level]) == np.uint64(prefix)]
            if isinstance(held, list):
                held.append(inside)
            elif len(inside):
                shift = np.uint64(64 - _LEVELS[level + 1])
                held += np.bincount(((inside >> shift) & np.uint64(0xFFFF)).astype(np.intp), minlength=1 << 16)

    def want(self, places: Iterable[int]) -> None:
        """Look for the numbers at these places from now on."""
        self.found = {}
        self._narrow(0, 0, [(place, 0) for place in sorted(set(places))], self.first)

    def _narrow(self, level: int, prefix: int, places: list[tuple[int, int]], counts: Any) -> None:
        """Choose, for each place among the numbers of a prefix, the longer prefix that has it."""
        ends = np.cumsum(counts)
        for place, before in places:
            index = int(np.searchsorted(ends, place - before, side="right"))
            longer = (prefix << 16) | index
            start = before + int(ends[index] - counts[index])
            if level == len(_LEVELS) - 1:
                assert self.found is not None
                self.found[place] = _number(longer)
            else:
                self._open.setdefault((level, longer), []).append((place, start))
                few = counts[index] <= SORTED
                self._counts.setdefault((level, longer), [] if few else np.zeros(1 << 16, np.int64))

    def settle(self) -> bool:
        """Use what the pass has found; return whether all is known."""
        opened, self._open = self._open, {}
        counted, self._counts = self._counts, {}
        for (level, prefix), places in opened.items():
            held = counted[level, prefix]
            if isinstance(held, list):
                keys = np.sort(np.concatenate(held))
                assert self.found is not None
                self.found |= {place: _number(int(keys[place - before])) for place, before in places}
            else:
                self._narrow(level + 1, prefix, places, held)
        return not self._open


def _keys(values: Numbers) -> np.ndarray[Any, Any]:
    """Whole numbers of 64 bits in the order of the numbers."""
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)  # -0 becomes 0
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits | sign)


def _number(key: int) -> float:
    bits = key ^ (1 << 63) if key >> 63 else ~key & ((1 << 64) - 1)
    return float(np.array([bits], np.uint64).view(np.float64)[0])


def _median_places(count: int) -> list[int]:
    return [(count - 1) // 2, count // 2]


class _Fit:
    """What the passes after the first make of a column; `settle` says after each whether all is known."""

    def __init__(self, name: str, kind: Kind, given: bool, settings: Settings) -> None:
        self.name, self.kind, self.given, self.settings = name, kind, given, settings
        self.rows = self.missing = 0

    def take(self, column: Column) -> None:
        """Take note of a chunk."""
        if column.present.any():
            self.add(column)
        elif not self.narrowing:  # of no type
            self.rows += len(column)
            self.missing += len(column)

    @property
    def narrowing(self) -> bool:
        """Whether all is summed up, and quantiles are looked for."""
        return False

    def add(self, column: Column) -> None:
        self.rows += len(column)
        self.missing += int(len(column) - column.present.sum())

    def settle(self) -> bool:
        return True

    def why_identifier(self) -> str | None:
        return None

    def feature(self) -> Feature:
        raise NotImplementedError

    @property
    def flagged(self) -> bool:
        return self.missing > 0


class _NumericFit(_Fit):
    def __init__(self, name: str, kind: Kind, given: bool, settings: Settings) -> None:
        super().__init__(name, kind, given, settings)
        self.moments, self.ordered, self.different = _Moments(), _Ordered(), _Different()
        self.whole, self.by_one, self.rising = True, True, True
        self.last: Any = None
        self.low, self.high = math.inf, -math.inf  # ints once there are numbers: float64 does not tell large ones apart

    def add(self, column: Column) -> None:
        values = column.require_finite(column.require(lambda one: one.numbers(self.kind.spelling), "a number"))
        there = values[~np.isnan(values)]
        if not self.narrowing:
            self.rows += len(values)
            self.missing += len(values) - len(there)
            self.moments.add(there)
            self._follow(values if column.is_text else column.values)
        self.ordered.add(there)

    @property
    def narrowing(self) -> bool:
        return self.ordered.found is not None

    def _follow(self, values: Any) -> None:
        """See whether the numbers only name the rows."""
        if not len(values) or self.given or not self.whole:
            return
        self.whole = values.dtype.kind in "iu" or bool(np.isfinite(values).all() and (values == np.trunc(values)).all())
        if not self.whole:
            return
        by_one, rising = order_of(values if self.last is None else np.concatenate([[self.last], values]))
        self.by_one &= by_one
        self.rising &= rising
        self.last = values[-1]
        self.low, self.high = min(self.low, int(values.min())), max(self.high, int(values.max()))
        self.different.add_numbers(values)

    def settle(self) -> bool:
        if self.ordered.found is None:
            count = self.moments.count
            places = _median_places(count)
            for percent in NumericFeature._PERCENTS:
                below = math.floor((count - 1) * (percent / 100))
                places += [below, min(below + 1, count - 1)]
            self.ordered.want(places)
            return False
        return self.ordered.settle()

    def why_identifier(self) -> str | None:
        if self.given or not self.whole or self.missing:
            return None
        distinct = self.rows if self.rising or self.different.none_twice else min(len(self.different), self.rows - 1)
        span = int(self.high) - int(self.low) + 1 if self.moments.count else 0
        return why_numbered(self.name, Numbering(self.rows, self.by_one, self.rising, distinct, span))

    def percentile(self, percent: float) -> float:
        """As `numpy.percentile` has it, between the two numbers around the place."""
        assert self.ordered.found is not None
        count = self.moments.count
        virtual = (count - 1) * (percent / 100)
        below = math.floor(virtual)
        low, high = self.ordered.found[below], self.ordered.found[min(below + 1, count - 1)]
        share = virtual - below
        return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share

    def feature(self) -> Feature:
        moments = self.moments
        assert self.ordered.found is not None
        median = float(np.mean([self.ordered.found[place] for place in _median_places(moments.count)]))
        found = Statistics(moments.mean, moments.std, median, moments.low, moments.high, self.percentile)
        return NumericFeature._of_statistics(self.name, found, self.flagged, self.kind.spelling)


class _BooleanFit(_Fit):
    def __init__(self, name: str, kind: Kind, given: bool, settings: Settings) -> None:
        super().__init__(name, kind, given, settings)
        self.true = 0.0

    def add(self, column: Column) -> None:
        values = require_booleans(column)
        self.rows += len(values)
        self.missing += int(np.isnan(values).sum())
        self.true += float(np.nansum(values))

    def feature(self) -> Feature:
        return BooleanFeature(self.name, self.true / (self.rows - self.missing) > 0.5, self.flagged)


class _CategoricalFit(_Fit):
    def __init__(self, name: str, kind: Kind, given: bool, settings: Settings) -> None:
        super().__init__(name, kind, given, settings)
        self.counts: dict[str, int] = {}
        self.different = _Different()

    def add(self, column: Column) -> None:
        super().add(column)
        counts = column.counts()
        self.different.add_texts(counts)
        for text, count in counts.items():
            self.counts[text] = self.counts.get(text, 0) + count
        if len(self.counts) > 2 * LIMIT:  # the rare ones go
            kept = sorted(self.counts, key=lambda text: (-self.counts[text], text))[:LIMIT]
            self.counts = {text: self.counts[text] for text in kept}

    def feature(self) -> Feature:
        seen = len(self.counts) if not self.different.bits else len(self.different)
        return CategoricalFeature._of_counts(self.name, self.counts, self.settings.max_categories, self.flagged, seen)


class _DateFit(_Fit):
    def __init__(self, name: str, kind: Kind, given: bool, settings: Settings) -> None:
        super().__init__(name, kind, given, settings)
        self.parts: dict[str, _Moments] = {}
        self.ordered = _Ordered()

    @property
    def narrowing(self) -> bool:
        return self.ordered.found is not None

    def add(self, column: Column) -> None:
        dates = require_dates(column, self.kind.form)
        parts = date_parts(dates[~np.isnat(dates)])
        if not self.narrowing:
            self.rows += len(dates)
            self.missing += len(dates) - len(parts["elapsed"])
            for name, values in parts.items():
                self.parts.setdefault(name, _Moments()).add(values)
        self.ordered.add(parts["elapsed"])

    def settle(self) -> bool:
        if self.ordered.found is None:
            self.ordered.want(_median_places(self.parts["elapsed"].count))
            return False
        return self.ordered.settle()

    def feature(self) -> Feature:
        assert self.ordered.found is not None
        fill = float(np.mean([self.ordered.found[place] for place in _median_places(self.parts["elapsed"].count)]))
        varying = tuple(name for name, moments in self.parts.items() if moments.high > moments.low)
        elapsed, year = self.parts["elapsed"], self.parts["year"]
        return DateFeature._of_statistics(
            self.name, self.kind.form, varying, (elapsed.mean, elapsed.std), (year.mean, year.std), fill, self.flagged
        )


_FITS: dict[str, type[_Fit]] = {
    "numeric": _NumericFit,
    "boolean": _BooleanFit,
    "categorical": _CategoricalFit,
    "date": _DateFit,
}
