"""Tables in columns that are as wide as what stands in them, as text for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """A title, the heads of the columns, and rows with a cell for each column; the first column holds names, the others numbers."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Lines with names flush left and numbers flush right, the title in the place of the first head."""
        lines = [[self.title, *self.heads[1:]], *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(_flush(cells, widths)).rstrip() for cells in lines)

    def markdown(self) -> str:
        """A Markdown table, without the title."""
        lines = [self.heads, [":--", *["--:"] * (len(self.heads) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _flush(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    name, *numbers = cells
    return [name.ljust(widths[0]), *(number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))]


def duration(seconds: float) -> str:
    """Three digits and a unit.

    >>> [duration(seconds) for seconds in (2.5, 0.0125, 3.4e-5, 1.8e-8)]
    ['2.5 s', '12.5 ms', '34 us', '18 ns']
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds / 1e-9)} ns"


def ratio(times: float) -> str:
    """How many times as long, in two digits or more.

    >>> [ratio(times) for times in (0.953, 1.04, 12.3, 187.2)]
    ['0.95 x', '1.0 x', '12 x', '187 x']
    """
    return f"{times:.0f} x" if times >= 9.95 else f"{times:.1f} x" if times >= 0.995 else f"{times:.2f} x"


def share(part: float) -> str:
    """A percentage.

    >>> share(0.8451)
    '85 %'
    """
    return f"{100 * part:.0f} %"


def _three_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
