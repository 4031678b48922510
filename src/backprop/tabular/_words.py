"""A long column of text in little memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

_WIDEST = 32  # bytes


class Words(Sequence[str]):
    """A sequence of str that grows at its end.

    Short ASCII texts that differ lie in arrays of bytes, 8 bytes for a number of 8 digits where a str takes 65; of others, equal
    ones are one object.
    """

    def __init__(self) -> None:
        self.parts: list[npt.NDArray[np.bytes_] | list[str]] = []
        self._ends: list[int] = []
        self._known: dict[str, str] = {}

    def extend(self, texts: Sequence[str]) -> None:
        """Add texts."""
        if not texts:
            return
        part: npt.NDArray[np.bytes_] | list[str]
        known = self._known
        if len(known) < 1000 and len(set(texts)) < len(texts) / 2:
            part = [known.setdefault(text, text) for text in texts]
        else:
            part = _packed(texts)
        self.parts.append(part)
        self._ends.append(len(self) + len(texts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            yield from _unpacked(part)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        number = bisect_right(self._ends, index)
        part = self.parts[number]
        item: Any = part[index - (self._ends[number - 1] if number else 0)]
        return item if isinstance(item, str) else item.decode()

    def take(self, rows: Iterable[int]) -> list[str]:
        """Return the texts at these positions."""
        everything = list(self)
        return [everything[row] for row in rows]


def _packed(texts: Sequence[str]) -> npt.NDArray[np.bytes_] | list[str]:
    try:
        array = np.array(texts, np.bytes_)  # refuses what is not ASCII
    except UnicodeEncodeError:
        return list(texts)
    if array.itemsize > _WIDEST or "\0" in "".join(texts):
        return list(texts)
    return array


def _unpacked(part: npt.NDArray[np.bytes_] | list[str]) -> list[str]:
    return part if isinstance(part, list) else part.astype(np.str_).tolist()
