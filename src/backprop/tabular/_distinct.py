"""The different values of a column that comes in chunks, with their counts, in bounded memory."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np

from .._types import AnyArray
from ._columns import _EXACT

LIMIT = 1 << 16  # different values that are all counted


class Distinct:
    """Different texts or numbers with their counts: all of few, a sample of many.

    The sample holds the values whose hash ends in ``bits`` zeros, so that a value is counted in every chunk or in none.
    """

    def __init__(self) -> None:
        self.counts: dict[Any, int] = {}
        self.bits = 0

    def add_texts(self, counts: dict[str, int]) -> None:
        """Add texts, each with its count."""
        texts = list(counts)
        self._add(np.array(texts, object), np.array(list(counts.values())), _hashes_of_texts(texts))

    def add_numbers(self, values: AnyArray) -> None:
        """Add numbers, float64 or integers, which may repeat."""
        different, counts = np.unique(values, return_counts=True)
        self._add(different, counts, hashes_of_numbers(different))

    def _add(self, values: AnyArray, counts: AnyArray, hashes: AnyArray) -> None:
        for start in range(0, len(values), LIMIT):
            part = slice(start, start + LIMIT)
            chosen = hashes[part] & np.uint64((1 << self.bits) - 1) == 0
            # As keys, Python's numbers: 5 and 5.0 are one, 2**53 + 1 and 2.0**53 are two.
            for value, count in zip(values[part][chosen].tolist(), counts[part][chosen].tolist(), strict=True):
                self.counts[value] = self.counts.get(value, 0) + count
            while len(self.counts) > LIMIT:
                self._halve()

    def _halve(self) -> None:
        """Drop the values whose hash does not end in one zero more."""
        self.bits += 1
        kept = list(self.counts)
        if isinstance(kept[0], str):
            hashes = _hashes_of_texts(kept)
        else:
            hashes = hashes_of_numbers(np.array(kept, np.float64 if set(map(type, kept)) == {float} else object))
        for index in np.flatnonzero(hashes & np.uint64((1 << self.bits) - 1)).tolist():
            del self.counts[kept[index]]

    def __len__(self) -> int:
        """The number of different values; an estimate where only a sample is counted."""
        return len(self.counts) << self.bits

    @property
    def none_twice(self) -> bool:
        """Whether no counted value was added twice."""
        return all(count == 1 for count in self.counts.values())


def _hashes_of_texts(texts: list[str]) -> AnyArray:
    digests = (blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), "<u8")


def hashes_of_numbers(numbers: AnyArray) -> AnyArray:
    """Return 64 bits for each number, float64, integer or object, the same for equal ones.

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
