"""How the feature of each kind is fitted to a column that comes in chunks, pass by pass."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from . import _distinct
from ._columns import Column
from ._distinct import Distinct
from ._features import (
    PERCENTS,
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
from ._kinds import Kind, Numbering, Settings, order_of, why_numbered
from ._statistics import Moments, OrderStatistics


class Chosen(NamedTuple):
    """A column, the kind that was found for it or ``given``, and the settings."""

    name: str
    kind: Kind
    given: bool
    settings: Settings


class ColumnFit(ABC):
    """The passes over one column: `add` takes each of its chunks, and `settle` ends a pass."""

    def __init__(self, chosen: Chosen) -> None:
        self.name, self.kind, self.given, self.settings = chosen
        self.rows = self.missing = 0

    @property
    def flagged(self) -> bool:
        """Whether a value was missing."""
        return self.missing > 0

    @property
    def narrowing(self) -> bool:
        """Whether the sums are complete, and this pass only narrows down quantiles."""
        return False

    def add(self, column: Column) -> None:
        """Add a chunk."""
        if column.present.any():
            self._add(column)
        elif not self.narrowing:  # a chunk without values has no type
            self._count(len(column), len(column))

    def _count(self, rows: int, missing: int) -> None:
        self.rows += rows
        self.missing += missing

    @abstractmethod
    def _add(self, column: Column) -> None:
        """Add a chunk that has values."""

    def settle(self) -> bool:
        """End a pass; return whether all is known.

        Raises
        ------
        ValueError
            If the values are seen to differ from those of an earlier pass.
        """
        if self.rows == self.missing:
            raise ValueError("it holds no value any more")
        return True

    def why_identifier(self) -> str | None:
        """Return why the column only names the rows, or None."""
        return None

    @abstractmethod
    def feature(self) -> Feature:
        """Return the feature, once all is known."""


class _FitWithQuantiles(ColumnFit):
    percents: ClassVar[tuple[float, ...]] = ()  # the percentiles that are needed beside the median

    def __init__(self, chosen: Chosen) -> None:
        super().__init__(chosen)
        self.ordered = OrderStatistics()

    @property
    def narrowing(self) -> bool:
        return self.ordered.found is not None

    def settle(self) -> bool:
        if self.narrowing:
            return self.ordered.settle()
        super().settle()
        self.ordered.want_quantiles(self.percents)
        return False


class _NumericFit(_FitWithQuantiles):
    percents = PERCENTS

    def __init__(self, chosen: Chosen) -> None:
        super().__init__(chosen)
        self.moments, self.distinct = Moments(), Distinct()
        self.whole, self.by_one, self.rising = True, True, True
        self.last: Any = None
        self.low, self.high = math.inf, -math.inf  # ints once there are numbers: float64 does not tell large ones apart

    def _add(self, column: Column) -> None:
        values = column.require_finite(column.require(lambda one: one.numbers(self.kind.spelling), "a number"))
        present = values[~np.isnan(values)]
        if not self.narrowing:
            self._count(len(values), len(values) - len(present))
            self.moments.add(present)
            self._follow(column.exact(self.kind.spelling))
        self.ordered.add(present)

    def _follow(self, values: Any) -> None:
        """Update what `why_identifier` decides by."""
        if not len(values) or self.given or not self.whole:
            return
        self.whole = values.dtype.kind in "iuO" or bool(np.isfinite(values).all() and (values == np.trunc(values)).all())
        if not self.whole:
            return
        by_one, rising = order_of(self._after_last(values))
        self.by_one &= by_one
        self.rising &= rising
        self.last = values[-1]
        self.low, self.high = min(self.low, int(values.min())), max(self.high, int(values.max()))
        self.distinct.add_numbers(values)

    def _after_last(self, values: Any) -> Any:
        """Whole numbers after the last one of the chunk before."""
        if self.last is None:
            return values
        if isinstance(self.last, values.dtype.type):
            return np.concatenate([[self.last], values])
        return np.array([int(self.last), *map(int, values.tolist())], object)  # float64 may merge integers

    def why_identifier(self) -> str | None:
        if self.given or not self.whole or self.missing:
            return None
        distinct = self.rows if self.rising or self.distinct.none_twice else min(len(self.distinct), self.rows - 1)
        span = int(self.high) - int(self.low) + 1 if self.moments.count else 0
        return why_numbered(self.name, Numbering(self.rows, self.by_one, self.rising, distinct, span))

    def feature(self) -> Feature:
        moments, ordered = self.moments, self.ordered
        found = Statistics(moments.mean, moments.std, ordered.median(), moments.low, moments.high, ordered.percentile)
        return NumericFeature._of_statistics(self.name, found, self.flagged, self.kind.spelling)


class _BooleanFit(ColumnFit):
    def __init__(self, chosen: Chosen) -> None:
        super().__init__(chosen)
        self.true = 0.0

    def _add(self, column: Column) -> None:
        values = require_booleans(column)
        self._count(len(values), int(np.isnan(values).sum()))
        self.true += float(np.nansum(values))

    def feature(self) -> Feature:
        return BooleanFeature(self.name, self.true / (self.rows - self.missing) > 0.5, self.flagged)


class _CategoricalFit(ColumnFit):
    def __init__(self, chosen: Chosen) -> None:
        super().__init__(chosen)
        self.counts: dict[str, int] = {}
        self.distinct = Distinct()

    def _add(self, column: Column) -> None:
        self._count(len(column), int(len(column) - column.present.sum()))
        counts = column.counts()
        self.distinct.add_texts(counts)
        for text, count in counts.items():
            self.counts[text] = self.counts.get(text, 0) + count
        if len(self.counts) > 2 * _distinct.LIMIT:  # drop the rare ones
            kept = sorted(self.counts, key=lambda text: (-self.counts[text], text))[: _distinct.LIMIT]
            self.counts = {text: self.counts[text] for text in kept}

    def feature(self) -> Feature:
        seen = len(self.counts) if not self.distinct.bits else len(self.distinct)
        return CategoricalFeature._of_counts(self.name, self.counts, self.settings.max_categories, self.flagged, seen)


class _DateFit(_FitWithQuantiles):
    def __init__(self, chosen: Chosen) -> None:
        super().__init__(chosen)
        self.parts: dict[str, Moments] = {}

    def _add(self, column: Column) -> None:
        dates = require_dates(column, self.kind.form)
        parts = date_parts(dates[~np.isnat(dates)])
        if not self.narrowing:
            self._count(len(dates), len(dates) - len(parts["elapsed"]))
            for name, values in parts.items():
                self.parts.setdefault(name, Moments()).add(values)
        self.ordered.add(parts["elapsed"])

    def feature(self) -> Feature:
        varying = tuple(name for name, moments in self.parts.items() if moments.high > moments.low)
        elapsed, year = ((moments.mean, moments.std) for moments in (self.parts["elapsed"], self.parts["year"]))
        return DateFeature._of_statistics(self.name, self.kind.form, varying, elapsed, year, self.ordered.median(), self.flagged)


FITS: dict[str, type[ColumnFit]] = {
    "numeric": _NumericFit,
    "boolean": _BooleanFit,
    "categorical": _CategoricalFit,
    "date": _DateFit,
}
