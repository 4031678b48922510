"""Statistics of numbers that come in chunks, in memory that does not grow with them."""

from __future__ import annotations

import math
from collections.abc import Iterable

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


class _Prefix:
    """The numbers that begin with some bits: how many there are, what a pass finds of them, and the wanted places among them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.places: list[tuple[int, int]] = []  # each with the number of smaller numbers that begin with other bits
        self.keys: list[AnyArray] = []  # of few numbers
        self.counts = None if count <= SORTED else np.zeros(1 << 16, np.int64)  # of many, by the next 16 bits

    def add(self, keys: AnyArray, shift: int) -> None:
        """Add keys, of which the 16 bits after a shift come next."""
        if self.counts is None:
            self.keys.append(keys)
        elif len(keys):
            self.counts += np.bincount(((keys >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.intp), minlength=1 << 16)

    def check(self) -> None:
        """Raise a ValueError if the pass has found another number of them."""
        found = sum(map(len, self.keys)) if self.counts is None else int(self.counts.sum())
        if found != self.count:
            raise ValueError("the numbers differ from those of an earlier pass")


class OrderStatistics:
    """The numbers at wanted places in the order of all numbers, in passes over all of them: P. Pope's radix selection.

    The first pass counts the numbers by their first 16 bits. After `want` each pass determines 16 more bits of those at the wanted
    places, until few enough numbers begin with the known bits to be sorted.
    """

    def __init__(self) -> None:
        self.count = 0
        self.found: dict[int, float] | None = None  # by place, after `want`
        self._first = np.zeros(1 << 16, np.int64)
        self._open: dict[tuple[int, int], _Prefix] = {}  # by level and bits

    def add(self, values: Numbers) -> None:
        """Add numbers; after `want`, the same ones in each pass."""
        keys = _keys(values)
        if self.found is None:
            self.count += len(keys)
            self._first += np.bincount((keys >> np.uint64(48)).astype(np.intp), minlength=1 << 16)
            return
        for (level, bits), prefix in self._open.items():
            prefix.add(keys[keys >> np.uint64(64 - _LEVELS[level]) == np.uint64(bits)], 64 - _LEVELS[level + 1])

    def want(self, places: Iterable[int]) -> None:
        """End the first pass: the next ones find the numbers at these places."""
        self.found = {}
        self._narrow(0, 0, [(place, 0) for place in sorted(set(places))], self._first)

    def want_quantiles(self, percents: Iterable[float]) -> None:
        """End the first pass: the next ones find what `median`, and `percentile` of these percents, need."""
        self.want([*self._middle(), *(place for percent in percents for place in self._around(percent)[:2])])

    def _narrow(self, level: int, bits: int, places: list[tuple[int, int]], counts: AnyArray) -> None:
        """Choose, for each place among the numbers that begin with these bits, the longer prefix that has it."""
        ends = np.cumsum(counts)
        for place, before in places:
            index = int(np.searchsorted(ends, place - before, side="right"))
            longer = (bits << 16) | index
            if level == len(_LEVELS) - 1:
                assert self.found is not None
                self.found[place] = _number(longer)
                continue
            if (level, longer) not in self._open:
                self._open[level, longer] = _Prefix(int(counts[index]))
            self._open[level, longer].places.append((place, before + int(ends[index] - counts[index])))

    def settle(self) -> bool:
        """Use what the pass has found; return whether all is known.

        Raises
        ------
        ValueError
            If the numbers are seen to differ from those of an earlier pass.
        """
        opened, self._open = self._open, {}
        for (level, bits), prefix in opened.items():
            prefix.check()
            if prefix.counts is not None:
                self._narrow(level + 1, bits, prefix.places, prefix.counts)
                continue
            keys = np.sort(np.concatenate(prefix.keys))
            assert self.found is not None
            self.found |= {place: _number(int(keys[place - before])) for place, before in prefix.places}
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
