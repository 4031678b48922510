"""CSV files with a header: to columns of text and back."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from ._rows import Table

DELIMITERS = ",;\t|"


def read_csv(path: str, delimiter: str | None = None) -> Table:
    r"""Read a CSV file with a header into its columns, the values as they stand in the file.

    UTF-8, with or without a byte order mark. Fields may be quoted, and hold delimiters and line breaks then. Blank lines are
    skipped; a column without a name is called after its position, ``column 1``. ``"-"`` reads standard input.

    Parameters
    ----------
    path : str
        The file, or ``"-"``.
    delimiter : str, optional
        What separates the fields; by default the one of comma, semicolon, tab and bar that the header holds most.

    Raises
    ------
    ValueError
        When the file is empty, is not UTF-8, has a name twice, or a row has more or fewer fields than the header.

    Examples
    --------
    >>> import os, tempfile
    >>> from pathlib import Path
    >>> from backprop.tabular import read_csv
    >>> path = os.path.join(tempfile.mkdtemp(), "houses.csv")
    >>> _ = Path(path).write_text("rooms;city\n3;Rome\n5;Oslo\n")
    >>> read_csv(path)
    {'rooms': ['3', '5'], 'city': ['Rome', 'Oslo']}
    """
    source = "standard input" if path == "-" else repr(path)
    try:
        with _open(path) as file:
            return _columns(file, delimiter, source)
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{source}: {error}") from error


def write_csv(file: TextIO, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a header and rows as CSV, quoted where needed."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def _open(path: str) -> TextIO:
    """The file as text, without its byte order mark and with its own line ends, as the csv module wants it."""
    if path == "-":
        return open(sys.stdin.fileno(), encoding="utf-8-sig", newline="", closefd=False)
    return Path(path).open(encoding="utf-8-sig", newline="")


def _columns(file: TextIO, delimiter: str | None, source: str) -> Table:
    first = file.readline()
    if not first.strip():
        raise ValueError("the first line must name the columns, it is empty")
    reader = csv.reader(chain([first], file), delimiter=delimiter or _delimiter(first), strict=True)
    names = [name.strip() or f"column {position}" for position, name in enumerate(next(reader), 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the header names {', '.join(map(repr, twice))} more than once")
    columns: list[list[str]] = [[] for _ in names]
    lines: list[int] = []
    for row in reader:
        if not row:
            continue
        if len(row) != len(names):
            raise ValueError(f"line {reader.line_num} has {len(row)} fields, the header names {len(names)} columns")
        for column, value in zip(columns, row, strict=True):
            column.append(value)
        lines.append(reader.line_num)
    return Table(dict(zip(names, columns, strict=True)), source, lines)


def _delimiter(header: str) -> str:
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter))))
