"""What becomes of one column of a table: the numbers that stand for it in a matrix."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from . import _columns
from ._columns import Column, Numbers


@dataclass(frozen=True)
class NumericFeature:
    """``(value - mean) / scale``."""

    name: str
    mean: float
    scale: float
    median: float
    flagged: bool
    kind: ClassVar[str] = "numeric"

    @classmethod
    def fit(cls, name: str, column: Column, max_categories: int) -> Self:
        """Mean, standard deviation and median of the values that are there."""
        values = _columns.require_numbers(name, column)
        there = values[~np.isnan(values)]
        mean, scale = _columns.mean_and_scale(name, there)
        return cls(name, mean, scale, float(np.median(there)), len(there) < len(values))

    @property
    def names(self) -> tuple[str, ...]:
        """The value, and the flag."""
        return (self.name, *_flag(self))

    def encode(self, column: Column) -> Numbers:
        """The columns `names`."""
        values = _columns.require_numbers(self.name, column)
        missing = np.isnan(values)
        standard = (np.where(missing, self.median, values) - self.mean) / self.scale
        return np.column_stack((standard, missing)[: len(self.names)])


@dataclass(frozen=True)
class BooleanFeature:
    """1 for true, 0 for false."""

    name: str
    mode: bool
    flagged: bool
    kind: ClassVar[str] = "boolean"

    @classmethod
    def fit(cls, name: str, column: Column, max_categories: int) -> Self:
        """The more frequent value."""
        values = _columns.require_booleans(name, column)
        there = values[~np.isnan(values)]
        return cls(name, bool(there.mean() > 0.5), len(there) < len(values))

    @property
    def names(self) -> tuple[str, ...]:
        """The value, and the flag."""
        return (self.name, *_flag(self))

    def encode(self, column: Column) -> Numbers:
        """The columns `names`."""
        values = _columns.require_booleans(self.name, column)
        missing = np.isnan(values)
        return np.column_stack((np.where(missing, self.mode, values), missing)[: len(self.names)])


@dataclass(frozen=True)
class CategoricalFeature:
    """1 in the column of the value's category, 0 in the others."""

    name: str
    categories: tuple[str, ...]
    mode: str
    flagged: bool
    kind: ClassVar[str] = "categorical"

    @classmethod
    def fit(cls, name: str, column: Column, max_categories: int) -> Self:
        """The most frequent values, in alphabetical order."""
        texts = _columns.texts(column)
        counts = Counter(text for text in texts if text is not None)
        ranked = sorted(counts, key=lambda text: (-counts[text], text))
        return cls(name, tuple(sorted(ranked[:max_categories])), ranked[0], None in texts)

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each category, and the flag."""
        return (*(f"{self.name}={category}" for category in self.categories), *_flag(self))

    def encode(self, column: Column) -> Numbers:
        """The columns `names`."""
        texts = _columns.texts(column)
        position = {category: index for index, category in enumerate(self.categories)}
        hot = np.array([position.get(self.mode if text is None else text, -1) for text in texts], np.intp)
        encoded = np.zeros((len(texts), len(self.names)))
        known = np.flatnonzero(hot >= 0)
        encoded[known, hot[known]] = 1.0
        if self.flagged:
            encoded[:, -1] = ~_columns.present(texts)
        return encoded


Feature = NumericFeature | BooleanFeature | CategoricalFeature
FEATURES: dict[str, type[Feature]] = {cls.kind: cls for cls in (NumericFeature, BooleanFeature, CategoricalFeature)}


def _flag(feature: Feature) -> tuple[str, ...]:
    return (f"{feature.name} missing",) if feature.flagged else ()
