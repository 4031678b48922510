"""Tables in any form, as named columns: frames, mappings, lists of rows.

Frames of pandas, polars and pyarrow are told by what they can do; none of these libraries is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from operator import itemgetter
from typing import Any

import numpy as np

_FORMS = "a data frame (pandas, polars, pyarrow), a mapping of columns, a list of dicts or one dict"


class Table(dict[str, Any]):
    """Columns read from a file, with the place of every row in it.

    Attributes
    ----------
    source : str
        The file, for messages.
    lines : sequence of int
        The line of the file on which each row ends; empty if it is not known.
    rows : sequence of int
        The number of each row in the table that was read, from 1.
    options : dict
        How numbers are spelled and which words are missing, as `TableEncoder.fit` takes it.
    """

    def __init__(
        self,
        columns: Mapping[str, Any],
        source: str = "",
        lines: Sequence[int] = (),
        rows: Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(columns)
        self.source = source
        self.lines = lines
        self.rows = range(1, 1 + count_rows(self)) if rows is None else rows
        self.options = dict(options or {})

    def take(self, rows: Iterable[int]) -> Table:
        """Return the rows with these positions."""
        rows = list(rows)
        columns = {name: _taken(column, rows) for name, column in self.items()}
        lines = [self.lines[row] for row in rows] if self.lines else ()
        return Table(columns, self.source, lines, [self.rows[row] for row in rows], self.options)

    def without(self, names: Iterable[str]) -> Table:
        """Return the table without these columns."""
        left_out = set(names)
        columns = {name: column for name, column in self.items() if name not in left_out}
        return Table(columns, self.source, self.lines, self.rows, self.options)

    def bare(self) -> Table:
        """Return the place of the rows and the options, without any column."""
        return Table({}, self.source, self.lines, self.rows, self.options)

    def place(self, row: int, what: str = "") -> str:
        """Return how a message calls the row at this position, which counts from 0, with what it does there."""
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"row {self.rows[row]}{what}{line}"


def named_columns(table: Any) -> dict[str, Any]:
    """Return the columns of a table by name, as they are: sequences or arrays that nothing has looked into.

    Raises
    ------
    TypeError
        If it is none of the forms of a table.
    ValueError
        If two columns have one name, or some columns are single values and some are sequences.
    """
    if isinstance(table, Table):
        return table
    if isinstance(table, Mapping):
        return _of_mapping(table)
    if isinstance(table, list | tuple) and (not table or all(isinstance(row, Mapping) for row in table)):
        return _of_rows(table)
    if hasattr(table, "collect") and hasattr(table, "lazy") and not hasattr(table, "to_numpy"):
        raise TypeError("table is a lazy frame: pass table.collect()")
    names = getattr(table, "column_names", None)  # pyarrow
    if names is not None and hasattr(table, "column"):
        return by_name((name, table.column(index)) for index, name in enumerate(names))
    if hasattr(table, "columns") and hasattr(table, "get_columns"):  # polars
        return by_name((series.name, series) for series in table.get_columns())
    if hasattr(table, "columns") and hasattr(table, "iloc"):
        return by_name((name, table.iloc[:, index]) for index, name in enumerate(table.columns))
    raise TypeError(f"table must be {_FORMS}, got {type(table).__name__}")


def by_name(items: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Return columns by name; a ValueError if two have one name."""
    columns: dict[str, Any] = {}
    for name, values in items:
        if str(name) in columns:
            raise ValueError(f"two columns of the table have the name {str(name)!r}: rename one of them")
        columns[str(name)] = values
    return columns


def count_rows(columns: Mapping[str, Any]) -> int:
    """Return the number of rows of named columns; a ValueError if columns differ."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns must have equal lengths, got {lengths}")
    return next(iter(lengths.values()), 0)


def take_rows(table: Any, rows: Any) -> Any:
    """Return some rows of a table in any form, as named columns."""
    if isinstance(table, Table):
        return table.take(rows)
    return {name: _taken(column, rows) for name, column in named_columns(table).items()}


def check_names(table: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse names that are no columns of the table, with the nearest ones that are."""
    missing = [name for name in names if name not in table]
    if missing:
        near = get_close_matches(missing[0], list(table), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        listed = ", ".join(map(repr, list(table)[:20])) + (", ..." if len(table) > 20 else "")
        raise ValueError(f"the table has no column {', '.join(map(repr, missing))}{hint}; its columns are {listed}")


def _of_mapping(table: Mapping[Any, Any]) -> dict[str, Any]:
    columns = by_name(table.items())
    single = [name for name, values in columns.items() if _is_value(values)]
    if len(single) == len(columns):
        return {name: [value] for name, value in columns.items()}
    if single:
        value = columns[single[0]]
        raise ValueError(
            f"column {single[0]!r} is the single value {value!r:.60}, and other columns are sequences: "
            "give one value in every column (one row) or a sequence in every column"
        )
    return columns


def _of_rows(rows: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    names: dict[Any, None] = {}
    for keys in dict.fromkeys(map(tuple, rows)):  # few rows differ in their keys
        names.update(dict.fromkeys(keys))
    return by_name((name, _values(rows, name)) for name in names)


def _values(rows: Sequence[Mapping[Any, Any]], name: Any) -> list[Any]:
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name) for row in rows]


def _is_value(values: Any) -> bool:
    """Whether this is one value and not a column of values."""
    return isinstance(values, str | bytes) or not hasattr(values, "__len__") or (hasattr(values, "ndim") and values.ndim == 0)


def _taken(column: Any, rows: Any) -> Any:
    if hasattr(column, "iloc"):
        return column.iloc[rows]
    if isinstance(column, np.ndarray):
        return column[rows]
    if hasattr(column, "gather"):  # polars
        return column.gather(rows)
    if hasattr(column, "take"):  # pyarrow
        return column.take(rows)
    return [column[row] for row in rows]
