"""Statistics of numbers that come in chunks, in memory that does not grow with them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .._types import AnyArray, Numbers

SORTED = 1 << 14  # numbers that are collected and sorted

_LEVELS = (16, 32, 48, 64)  # bits of a number that are known after each pass


class Moments:
    """Mean and standard deviation, of which chunks are joined by T. Chan et al., "Updating formulae", 1979; and the extremes."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, values: Numbers) -> None:
        """Add numbers."""
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
        """The standard deviation."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0


class OrderStatistics:
    """The numbers at wanted places in the order of all numbers, in passes over all of them: P. Pope's radix selection.

    The first pass counts the numbers by their first 16 bits. After `want` each pass determines 16 more bits of those at the wanted
    places, until few enough numbers begin with the known bits to be sorted.
    """

    def __init__(self) -> None:
        self.count = 0
        self.found: dict[int, float] | None = None  # by place, after `want`
        self._first = np.zeros(1 << 16, np.int64)
        self._open: dict[tuple[int, int], list[tuple[int, int]]] = {}  # (level, prefix): places, with those before the prefix
        self._counts: dict[tuple[int, int], Any] = {}

    def add(self, values: Numbers) -> None:
        """Add numbers; after `want`, the same ones in each pass."""
        keys = _keys(values)
        if self.found is None:
            self.count += len(keys)
            self._first += np.bincount((keys >> np.uint64(48)).astype(np.intp), minlength=1 << 16)
            return
        for (level, prefix), held in self._counts.items():
            inside = keys[keys >> np.uint64(64 - _LEVELS[level]) == np.uint64(prefix)]
            if isinstance(held, list):
                held.append(inside)
            elif len(inside):
                shift = np.uint64(64 - _LEVELS[level + 1])
                held += np.bincount(((inside >> shift) & np.uint64(0xFFFF)).astype(np.intp), minlength=1 << 16)

    def want(self, places: Iterable[int]) -> None:
        """End the first pass: the next ones find the numbers at these places."""
        self.found = {}
        self._narrow(0, 0, [(place, 0) for place in sorted(set(places))], self._first)

    def want_quantiles(self, percents: Iterable[float]) -> None:
        """End the first pass: the next ones find what `median`, and `percentile` of these percents, need."""
        self.want([*self._middle(), *(place for percent in percents for place in self._around(percent)[:2])])

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

    def median(self) -> float:
        """Return what `numpy.median` gives for all numbers."""
        assert self.found is not None
        return float(np.mean([self.found[place] for place in self._middle()]))

    def percentile(self, percent: float) -> float:
        """Return what `numpy.percentile` gives for all numbers."""
        assert self.found is not None
        below, above, share = self._around(percent)
        low, high = self.found[below], self.found[above]
        return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share

    def _middle(self) -> tuple[int, int]:
        return (self.count - 1) // 2, self.count // 2

    def _around(self, percent: float) -> tuple[int, int, float]:
        """The places below and above a percentile, and its distance from the lower one."""
        exact = (self.count - 1) * (percent / 100)
        below = math.floor(exact)
        return below, min(below + 1, self.count - 1), exact - below


def _keys(values: Numbers) -> AnyArray:
    """Whole numbers of 64 bits in the order of the numbers."""
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)  # -0 becomes 0
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits | sign)


def _number(key: int) -> float:
    bits = key ^ (1 << 63) if key >> 63 else ~key & ((1 << 64) - 1)
    return float(np.array([bits], np.uint64).view(np.float64)[0])
