"""What becomes of one column of a table: the numbers that stand for it in a matrix.

Every feature has `encode`, for a column, and `_writer`, for one value: the same arithmetic in float64, without arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from .._types import Numbers
from . import _columns, _dates, _spelling
from ._columns import Column
from ._spelling import Spelling

Writer = Callable[[list[float], Any], bool]
"""Writes the numbers of one value into a row that holds zeros; False if it leaves the value to `encode`."""

_LARGEST = 3e38  # float32

CLIP = 3.0
"""Where heavy tails are bounded, in units of the scale: D. Holzmueller et al., "Better by default", 2024, section 3.1."""

HEAVY = 10.0
"""Tails are heavy if a value lies this many interquartile ranges off the median; a normal sample of a million stays within 4."""


class Statistics(NamedTuple):
    """The statistics that the encoding of a number depends on; the percentiles are those in `PERCENTS`."""

    mean: float
    std: float
    median: float
    low: float
    high: float
    percentile: Callable[[float], float]


@dataclass(frozen=True)
class NumericFeature:
    """A number: ``z = (value - centre) / scale``, and with heavy tails ``z / sqrt(1 + (z / clip)**2)``.

    Attributes
    ----------
    name : str
        The column.
    centre, scale : float
        Mean and standard deviation of the training values; with heavy tails the median and the interquartile range divided by
        that of a normal distribution.
    fill : float
        What takes the place of a missing value: the median.
    flagged : bool
        Whether a second column, ``"<name> missing"``, is 1 where the value is missing.
    clip : float
        The bound of ``|z|``, approached smoothly; 0 for none.
    decimal, thousands : str
        How texts spell the numbers.
    """

    name: str
    centre: float
    scale: float
    fill: float
    flagged: bool
    clip: float = 0.0
    decimal: str = "."
    thousands: str = ""
    kind: ClassVar[str] = "numeric"

    @classmethod
    def fit(cls, column: Column, spelling: Spelling) -> Self:
        """Find centre, scale and median of the values that are not missing.

        Parameters
        ----------
        column : Column
            The training values.
        spelling : Spelling
            How texts spell the numbers.
        """
        values = column.require_finite(column.require(lambda c: c.numbers(spelling), "a number"))
        present = values[~np.isnan(values)]
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = float(present.mean()), float(present.std())

        def percentile(percent: float) -> float:
            return float(np.percentile(present, percent))

        extremes = float(present.min()), float(present.max())
        statistics = Statistics(mean, std, float(np.median(present)), *extremes, percentile)
        return cls._of_statistics(column.name, statistics, len(present) < len(values), spelling)

    @classmethod
    def _of_statistics(cls, name: str, found: Statistics, flagged: bool, spelling: Spelling) -> Self:
        """Return the feature of a column whose values have these statistics."""
        centre, scale = _columns.usable_scale(name, found.mean, found.std)
        robust = _robust_scale(found.percentile)
        heavy = robust > 0 and max(found.high - found.median, found.median - found.low) > HEAVY * _NORMAL_RANGE * robust
        if heavy:
            centre, scale = found.median, robust
        return cls(name, centre, scale, found.median, flagged, CLIP if heavy else 0.0, *spelling)

    @property
    def names(self) -> tuple[str, ...]:
        """The value, and the flag."""
        return (self.name, *_flag(self))

    def encode(self, column: Column) -> Numbers:
        """Return the columns `names`."""
        values = column.require_finite(column.require(self._read, "a number"))
        missing = np.isnan(values)
        z = (np.where(missing, self.fill, values) - self.centre) / self.scale
        if self.clip:
            with np.errstate(over="ignore"):
                z = z / np.sqrt(1.0 + (z / self.clip) * (z / self.clip))
        return np.column_stack((z, missing)[: len(self.names)])

    def _writer(self, start: int, missing: frozenset[str] = _columns.MISSING) -> Writer:
        """Return the writer of one value to the columns from `start` on."""
        centre, scale, clip, fill, flagged = self.centre, self.scale, self.clip, self.fill, self.flagged
        plain = (self.decimal, self.thousands) == Spelling()
        hidden = frozenset(_columns.numbers_in(missing))

        def write(row: list[float], value: Any) -> bool:
            kind = type(value)
            if value is None:
                value = fill
                if flagged:
                    row[start + 1] = 1.0
            elif kind is str and plain and "_" not in value:
                try:
                    value = float(value)
                except ValueError:
                    return False
            elif kind is not float and kind is not int:
                return False
            if hidden and value in hidden:
                return False
            z = (value - centre) / scale
            if not -_LARGEST < z < _LARGEST:  # too large, or NaN
                return False
            row[start] = z / math.sqrt(1.0 + (z / clip) * (z / clip)) if clip else z
            return True

        return write

    def _read(self, column: Column) -> Numbers | None:
        return read_numbers(column, Spelling(self.decimal, self.thousands))


@dataclass(frozen=True)
class BooleanFeature:
    """1 for true, 0 for false.

    Attributes
    ----------
    name : str
        The column.
    fill : bool
        What takes the place of a missing value: the more frequent one.
    flagged : bool
        Whether a second column, ``"<name> missing"``, is 1 where the value is missing.
    """

    name: str
    fill: bool
    flagged: bool
    kind: ClassVar[str] = "boolean"

    @classmethod
    def fit(cls, column: Column) -> Self:
        """Find the more frequent value."""
        values = require_booleans(column)
        present = values[~np.isnan(values)]
        return cls(column.name, bool(present.mean() > 0.5), len(present) < len(values))

    @property
    def names(self) -> tuple[str, ...]:
        """The value, and the flag."""
        return (self.name, *_flag(self))

    def encode(self, column: Column) -> Numbers:
        """Return the columns `names`."""
        values = require_booleans(column)
        missing = np.isnan(values)
        return np.column_stack((np.where(missing, self.fill, values), missing)[: len(self.names)])

    def _writer(self, start: int, missing: frozenset[str] = _columns.MISSING) -> Writer:
        """Return the writer of one value to the columns from `start` on."""
        fill, flagged = float(self.fill), self.flagged
        known = {word: number for word, number in _BOOLEAN_WORDS.items() if word not in missing}

        def write(row: list[float], value: Any) -> bool:
            if value is None:
                row[start] = fill
                if flagged:
                    row[start + 1] = 1.0
                return True
            if type(value) is not str and type(value) is not bool:
                return False
            number = known.get(str(value).strip().lower())
            if number is None:
                return False
            row[start] = number
            return True

        return write


@dataclass(frozen=True)
class CategoricalFeature:
    """1 in the column of the value's category, 0 in the others; all 0 for a value that has no column.

    Attributes
    ----------
    name : str
        The column.
    categories : tuple of str
        The values that have a column, in alphabetical order.
    fill : str
        What takes the place of a missing value: the most frequent one.
    flagged : bool
        Whether a last column, ``"<name> missing"``, is 1 where the value is missing.
    seen : int
        How many different values the training data held; those that have no column are rare ones.
    """

    name: str
    categories: tuple[str, ...]
    fill: str
    flagged: bool
    seen: int
    kind: ClassVar[str] = "categorical"

    @classmethod
    def fit(cls, column: Column, max_categories: int) -> Self:
        """Find the most frequent values.

        Parameters
        ----------
        column : Column
            The training values.
        max_categories : int
            How many of them.
        """
        counts = column.counts()
        return cls._of_counts(column.name, counts, max_categories, not column.present.all(), len(counts))

    @classmethod
    def _of_counts(cls, name: str, counts: Mapping[str, int], max_categories: int, flagged: bool, seen: int) -> Self:
        """Return the feature of a column whose values have these counts, and which has `seen` different ones."""
        ranked = sorted(counts, key=lambda text: (-counts[text], text))
        return cls(name, tuple(sorted(ranked[:max_categories])), ranked[0], flagged, seen)

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each category, and the flag."""
        return (*(f"{self.name}={category}" for category in self.categories), *_flag(self))

    def encode(self, column: Column) -> Numbers:
        """Return the columns `names`."""
        encoded = np.zeros((len(column), len(self.names)))
        self._encode_into(encoded, column)
        return encoded

    def _encode_into(self, part: npt.NDArray[np.floating], column: Column) -> None:
        """Write the columns `names` to a part of a matrix that holds zeros."""
        hot = self.find(column)
        known = np.flatnonzero(hot >= 0)
        part[known, hot[known]] = 1.0
        if self.flagged:
            part[:, -1] = ~column.present

    def find(self, column: Column) -> npt.NDArray[np.intp]:
        """Return the position of each row's category, -1 for a value that has none; a missing value counts as `fill`."""
        position: dict[str | None, int] = dict(_columns.positions(self.categories).items())
        position[None] = position.get(self.fill, -1)
        codes, texts = column.coded
        return np.array([position.get(text, -1) for text in texts], np.intp)[codes]

    def _writer(self, start: int, missing: frozenset[str] = _columns.MISSING) -> Writer:
        """Return the writer of one value to the columns from `start` on."""
        position = _columns.positions(self.categories)
        fill, flag = start + position.get(self.fill, -1), start + len(self.categories) if self.flagged else None

        def write(row: list[float], value: Any) -> bool:
            kind = type(value)
            if kind is not str and kind is not int and kind is not float and kind is not bool and value is not None:
                return False
            index = position.get(value) if kind is str else None
            if index is None:
                text = _columns.text_of(value, missing)
                if text is None:
                    row[fill] = 1.0
                    if flag is not None:
                        row[flag] = 1.0
                    return True
                index = position.get(text)
            if index is not None:
                row[start + index] = 1.0
            return True

        return write


@dataclass(frozen=True)
class DateFeature:
    """A date or a time: the elapsed time and the year as numbers; month, weekday and hour on circles.

    Attributes
    ----------
    name : str
        The column.
    format : str
        How texts spell it: a name in `_dates.FORMATS`, or a format of `datetime.strptime`.
    parts : tuple of str
        Those of "elapsed" (days since 1970, standardised), "year" (standardised), "month", "weekday" (Monday first) and "hour"
        (with its fraction) that differ between training rows. The last three are sine and cosine of ``2 pi * part / period``,
        with January, Monday and midnight at 0 and the periods 12, 7 and 24.
    centre, scale : float
        Mean and standard deviation of the elapsed days.
    year_centre, year_scale : float
        The same of the year.
    fill : float
        What takes the place of a missing value: the median, in days since 1970.
    flagged : bool
        Whether a last column, ``"<name> missing"``, is 1 where the value is missing.
    """

    name: str
    format: str
    parts: tuple[str, ...]
    centre: float
    scale: float
    year_centre: float
    year_scale: float
    fill: float
    flagged: bool
    kind: ClassVar[str] = "date"

    @classmethod
    def fit(cls, column: Column, form: str) -> Self:
        """Find the parts that differ, and the scales of the elapsed time.

        Parameters
        ----------
        column : Column
            The training values.
        form : str
            The format of texts.
        """
        dates = require_dates(column, form)
        present = dates[~np.isnat(dates)]
        parts = date_parts(present)
        varying = tuple(name for name, values in parts.items() if np.ptp(values) > 0)
        elapsed, year = ((float(values.mean()), float(values.std())) for values in (parts["elapsed"], parts["year"]))
        fill = float(np.median(parts["elapsed"]))
        return cls._of_statistics(column.name, form, varying, elapsed, year, fill, len(present) < len(dates))

    @classmethod
    def _of_statistics(
        cls,
        name: str,
        form: str,
        varying: tuple[str, ...],
        elapsed: tuple[float, float],
        year: tuple[float, float],
        fill: float,
        flagged: bool,
    ) -> Self:
        """Return the feature of a column whose elapsed days and years have these means and standard deviations."""
        scales = (*_columns.usable_scale(name, *elapsed), *_columns.usable_scale(name, *year))
        return cls(name, form, varying, *scales, fill, flagged)

    def __post_init__(self) -> None:
        if self.format not in _dates.FORMATS and "%" not in self.format:
            raise ValueError(f"format must be one of {', '.join(_dates.FORMATS)} or one with %, got {self.format!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each part, two for those on circles, and the flag."""
        found = []
        for part in self.parts:
            found += [f"{self.name} {part} sin", f"{self.name} {part} cos"] if part in _PERIODS else [f"{self.name} {part}"]
        return (*found, *_flag(self))

    def encode(self, column: Column) -> Numbers:
        """Return the columns `names`."""
        dates = require_dates(column, self.format)
        missing = np.isnat(dates)
        fill = np.datetime64(0, "us") + np.timedelta64(round(self.fill * _DAY), "us")
        parts = date_parts(np.where(missing, fill, dates))
        found: list[Any] = []
        for part in self.parts:
            if part in _PERIODS:
                angle = 2 * np.pi / _PERIODS[part] * parts[part]
                found += [np.sin(angle), np.cos(angle)]
            elif part == "year":
                found.append((parts[part] - self.year_centre) / self.year_scale)
            else:
                found.append((parts[part] - self.centre) / self.scale)
        if self.flagged:
            found.append(missing)
        return np.column_stack(found) if found else np.empty((len(dates), 0))

    def _writer(self, start: int, missing: frozenset[str] = _columns.MISSING) -> Writer:
        """Return the writer of one value to the columns from `start` on."""
        width = len(self.names)

        def write(row: list[float], value: Any) -> bool:
            if not (value is None or isinstance(value, str | date | np.datetime64)):
                return False
            row[start : start + width] = self.encode(Column(self.name, [value], missing=missing))[0].tolist()
            return True

        return write


Feature = NumericFeature | BooleanFeature | CategoricalFeature | DateFeature
FEATURES: dict[str, type[Feature]] = {cls.kind: cls for cls in (NumericFeature, BooleanFeature, CategoricalFeature, DateFeature)}

_BOOLEAN_WORDS = dict.fromkeys(("true", "t", "yes", "y", "1"), 1.0) | dict.fromkeys(("false", "f", "no", "n", "0"), 0.0)
_PERIODS = {"month": 12, "weekday": 7, "hour": 24}
_DAY = 86_400_000_000  # microseconds
_NORMAL_RANGE = 1.3489795003921634  # the interquartile range of the standard normal distribution
# Ranges between quantiles, and those of the standard normal distribution: the first that is not 0 is the scale.
_RANGES = ((25, _NORMAL_RANGE), (10, 2.5631031310892007), (5, 3.2897072539029444), (1, 4.6526957480816820))
PERCENTS = tuple(percent for low, _ in _RANGES for percent in (low, 100 - low))
"""The percentiles that the encoding of a number may depend on."""


def _flag(feature: Feature) -> tuple[str, ...]:
    return (f"{feature.name} missing",) if feature.flagged else ()


def why_empty(feature: Feature) -> str | None:
    """Return why a feature has no column of the matrix, as a date whose parts do not vary, or None."""
    return None if feature.names else "holds one value only"


def read_numbers(column: Column, learned: Spelling) -> Numbers | None:
    """Return the numbers of new rows, None where some are none: as training spelled them, as is said of their file, or else.

    A text that stands for a number as training spelled it, or as Python does, stands for that one whatever the other rows hold.
    What is said of both, decimals and thousands, goes before.

    Raises
    ------
    ValueError
        If a text stands for another number by what is said of one of them.
    """
    decimal, thousands = column.options.get("decimal"), column.options.get("thousands")
    said = None
    if column.learned is None and (decimal, thousands) != (None, None):
        spelling = _spelling_of_new(column)
        if spelling is not None and _is_as_said(spelling, decimal, thousands):
            said = column.numbers(spelling)
    numbers = column.numbers(learned)
    if said is not None:
        if numbers is not None and None in (decimal, thousands):
            _check_alike(column, numbers, said)
        return said
    if numbers is not None:
        return numbers
    numbers = column.numbers()
    if numbers is None:
        numbers = column.booleans(mixed=True)
    if numbers is None and (spelling := _spelling_of_new(column)) is not None:
        numbers = column.numbers(spelling)
    alike = numbers is not None and all(column.reads_alike(numbers, spelling) for spelling in (learned, _spelling.PLAIN))
    return numbers if alike else None


def _spelling_of_new(column: Column) -> Spelling | None:
    """The spelling that the texts of a column have."""
    options = column.options
    try:
        return _spelling.find(column.spelled(), options.get("decimal"), options.get("thousands"), prefer=options.get("prefer"))
    except _spelling.AmbiguousNumberError:
        return None


def _is_as_said(spelling: Spelling, decimal: str | None, thousands: str | None) -> bool:
    grouped = thousands is None or (spelling.thousands in ("", thousands) and spelling.decimal != thousands)
    return grouped and decimal in (None, spelling.decimal)


def _check_alike(column: Column, numbers: Numbers, said: Numbers) -> None:
    """Refuse numbers that one option for the file reads as others than training did."""
    differ = np.flatnonzero((said != numbers) & ~np.isnan(numbers))
    if differ.size:
        row = int(differ[0])
        raise ValueError(
            f"column {column.name!r}: {column.text(row)!r} is {numbers[row]:g} as training spelled numbers, and {said[row]:g} "
            "as is said of the file: give both --decimal and --thousands (decimal=, thousands= in Python) if it is the latter, "
            "else neither"
        )


def _robust_scale(percentile: Callable[[float], float]) -> float:
    """The range between two quantiles divided by that of the standard normal distribution; 0 if nearly all values are equal."""
    for percent, normal in _RANGES:
        low, high = percentile(percent), percentile(100 - percent)
        if high - low > 1e-12 * max(abs(low), abs(high)):
            return float(high - low) / normal
    return 0.0


def date_parts(dates: _columns.Dates) -> dict[str, Numbers]:
    """Return the parts that a feature may have, by name."""
    since = dates.astype(np.int64)
    days = since // _DAY
    month = dates.astype("M8[M]").astype(np.int64)
    return {
        "elapsed": since / _DAY,
        "year": (1970 + month // 12).astype(np.float64),
        "month": (month % 12).astype(np.float64),
        "weekday": ((days + 3) % 7).astype(np.float64),  # 1 January 1970 was a Thursday
        "hour": (since - days * _DAY) / (_DAY / 24),
    }


def require_booleans(column: Column) -> Numbers:
    found: Numbers = column.require(lambda c: c.booleans(mixed=True), "true or false (or yes, no, t, f, y, n, 1, 0)")
    return found


def require_dates(column: Column, form: str) -> _columns.Dates:
    if not len(column):
        return np.empty(0, "M8[us]")
    dates: _columns.Dates = column.require(lambda c: c.dates(form, alike=True), f"a date ({form})")
    return dates
