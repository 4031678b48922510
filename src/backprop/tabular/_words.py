"""A long column of text in little memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

_WIDEST = 32  # bytes
_MOST_KNOWN, _MOST_NEW = 1000, 50_000  # different texts before a part, and in it: 16 bits number them

Part = npt.NDArray[np.bytes_] | npt.NDArray[np.uint16] | list[str]


class Words(Sequence[str]):
    """A sequence of str that grows at its end.

    Texts that repeat are numbers of two bytes, positions in `texts`. Short ASCII texts that differ lie in arrays of bytes, 8 bytes
    for a number of 8 digits where a str takes 65.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.texts: list[str] = []
        self._ends: list[int] = []
        self._known: dict[str, int] = {}

    def extend(self, texts: Sequence[str]) -> None:
        """Add texts."""
        if not texts:
            return
        part: Part
        known = self._known
        distinct = dict.fromkeys(texts)
        if len(known) < _MOST_KNOWN and len(distinct) < len(texts) / 2 and len(distinct) <= _MOST_NEW:
            new = [text for text in distinct if text not in known]
            known.update(zip(new, range(len(known), len(known) + len(new)), strict=True))
            self.texts += new
            part = np.fromiter(map(known.__getitem__, texts), np.uint16, len(texts))
        else:
            part = _packed(texts)
        self.parts.append(part)
        self._ends.append(len(self) + len(texts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            yield from self._unpacked(part)

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
        return item if isinstance(item, str) else item.decode() if isinstance(item, bytes) else self.texts[item]

    def take(self, rows: Iterable[int]) -> list[str]:
        """Return the texts at these positions."""
        everything = list(self)
        return [everything[row] for row in rows]

    def codes(self) -> npt.NDArray[np.uint16] | None:
        """Return the positions of all texts in `texts`, None where some lie elsewhere."""
        numbered = [part for part in self.parts if isinstance(part, np.ndarray) and part.dtype.kind == "u"]
        if len(numbered) < len(self.parts):
            return None
        return np.concatenate([np.empty(0, np.uint16), *numbered])

    def _unpacked(self, part: Part) -> list[str]:
        if isinstance(part, list):
            return part
        return part.astype(np.str_).tolist() if part.dtype.kind == "S" else list(map(self.texts.__getitem__, part.tolist()))


def _packed(texts: Sequence[str]) -> npt.NDArray[np.bytes_] | list[str]:
    try:
        array = np.array(texts, np.bytes_)  # refuses what is not ASCII
    except UnicodeEncodeError:
        return list(texts)
    if array.itemsize > _WIDEST or "\0" in "".join(texts):
        return list(texts)
    return array
