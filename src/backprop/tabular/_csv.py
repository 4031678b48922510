"""Files of rows: CSV in its many dialects, and Parquet; to named columns of text, and back."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import sys
import zlib
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from ._columns import missing_words
from ._kinds import check_spelling
from ._rows import Table, by_name
from ._words import Words

DELIMITERS = ",;\t|"
_SAMPLE = 50  # records from which the delimiter is judged
_CHUNK = 8192  # records
_NUMBER = re.compile(r"[+-]?\d+,\d+")
_BOMS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class Options(NamedTuple):
    """How a file is read; None is found out."""

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    missing: tuple[str, ...] | None = None


def read_csv(
    path: str | os.PathLike[str],
    delimiter: str | None = None,
    *,
    encoding: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    missing: Iterable[str] | None = None,
) -> Table:
    r"""Read a CSV file with a header into its columns, the values as they stand in the file.

    Fields may be quoted, and hold delimiters and line breaks then. A line ``sep=;`` before the header is obeyed. Blank lines are
    skipped; in a file of one column they are missing values, but for those at the end. A column without a name is called after
    its position, ``column 1``. ``"-"`` reads standard input; a name that ends in ``.gz`` is decompressed.

    Parameters
    ----------
    path : str or path
        The file, or ``"-"``.
    delimiter : str, optional
        What separates the fields; by default comma, semicolon, tab or bar, whichever fits the header and the first rows.
    encoding : str, optional
        Of the text, such as "latin-1", "cp1252" or "utf-16"; by default UTF-8, with or without a byte order mark.
    decimal, thousands : str, optional
        The characters that separate decimals and groups of thousands in numbers; recognised where that is possible.
    missing : iterable of str, optional
        The words that stand for a missing value, in any case, beside the empty field; by default those of the module.

    Returns
    -------
    Table
        A dict of the columns, each a list of str, which knows the lines of the rows and how numbers are spelled, so that
        messages name the line of the file.

    Raises
    ------
    ValueError
        When the file is empty, is not text of this encoding, has a name twice, a quote that is not closed, or a row that has more
        or fewer fields than the header: the message names the line. Also when `decimal` and `thousands` are the same, or no
        characters that numbers are spelled with.
    TypeError
        When `missing` is one word.

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
    check_reading(delimiter, encoding, decimal, thousands)
    words = None if missing is None else tuple(sorted(missing_words(missing)))
    table = read_table(os.fspath(path), Options(delimiter, encoding, decimal, thousands, words), text=True)
    return Table({name: list(column) for name, column in table.items()}, table.source, table.lines, None, table.options)


def check_reading(delimiter: str | None, encoding: str | None, decimal: str | None, thousands: str | None) -> None:
    """Refuse ways to read a file that no file has."""
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise ValueError(f"delimiter must be one character, neither a quote nor a line end, got {delimiter!r}")
    if encoding is not None and (not isinstance(encoding, str) or not encoding):
        raise ValueError(f"encoding must be the name of one, such as 'latin-1', got {encoding!r}")
    check_spelling("," if decimal is None and thousands == "." else decimal, thousands)  # points that group leave the comma


def read_table(path: str, options: Options, *, text: bool = False, progress: Callable[[int], None] | None = None) -> Table:
    """Read a CSV file, or a Parquet file unless only text will do, as a whole; its columns are compact sequences of text."""
    chunks = parquet_chunks(path, options, None) if not text and is_parquet(path) else read_chunks(path, options, None, progress)
    with closing(chunks):
        return next(chunks)


def read_chunks(path: str, options: Options, rows: int | None, progress: Callable[[int], None] | None = None) -> Generator[Table]:
    """Read a CSV file in tables of a given number of rows, or in one; at least one, which may be empty.

    Parameters
    ----------
    path : str
        The file, or ``"-"``.
    options : Options
    rows : int or None
        The number of rows in each table but the last.
    progress : callable, optional
        Is called with the number of bytes read since the last call.
    """
    source = "standard input" if path == "-" else repr(path)
    try:
        with _opened(path, progress) as file, _long_fields():
            yield from _tables(file, options, rows, source)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{source}: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{source} is not a whole gzip file: {error}") from error


def is_parquet(path: str) -> bool:
    """Whether the name of a file says that it is a Parquet file."""
    return path.lower().endswith((".parquet", ".pq"))


def parquet_chunks(path: str, options: Options, rows: int | None) -> Generator[Table]:
    """Read a Parquet file in tables of a given number of rows, or in one."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError:
        raise ValueError(f"{path!r} is a Parquet file, and reading it needs pyarrow: pip install 'backprop[parquet]'") from None
    found = _table_options(options, None)
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path!r} is not a whole Parquet file: {error}") from error
    with file:
        try:
            empty = by_name((name, []) for name in file.schema_arrow.names)
        except ValueError as error:
            raise ValueError(f"{path!r}: {error}") from None
        batches = [file.read()] if rows is None else file.iter_batches(batch_size=rows)
        first = 1
        for batch in batches:
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield Table(columns, repr(path), (), range(first, first + batch.num_rows), found)
            first += batch.num_rows
        if first == 1 and rows is not None:
            yield Table(empty, repr(path), (), (), found)


def write_csv(file: TextIO, header: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> None:
    """Write a header, unless it is None, and rows as CSV, quoted where needed."""
    writer = csv.writer(file, lineterminator="\n")
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)


@contextmanager
def _opened(path: str, progress: Callable[[int], None] | None) -> Iterator[BinaryIO]:
    if path == "-":
        with open(sys.stdin.fileno(), "rb", closefd=False) as standard:
            yield standard
        return
    with Path(path).open("rb") as plain:
        counted: Any = plain if progress is None else io.BufferedReader(_Counted(plain, progress), 1 << 18)
        if path.lower().endswith(".gz"):
            with gzip.open(counted) as file:
                yield file  # type: ignore[misc]
        else:
            yield counted


class _Counted(io.RawIOBase):
    """A file that tells how much of it has been read."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        self._file, self._progress = file, progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._progress(len(data))
        return len(data)


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift the limit of 128 KB that the module `csv` sets for a field."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _lines(file: BinaryIO, encoding: str | None) -> Iterator[str]:
    """The lines of a file with their ends, decoded one by one, so that an error names the line."""
    name = encoding or "utf-8"
    try:
        "".encode(name)
    except LookupError:
        raise ValueError(f"there is no encoding {name!r}") from None
    if "\n".encode(name) != b"\n":  # a byte of the line end may be part of a character
        try:
            wrapper = io.TextIOWrapper(file, name, newline="")
            yield wrapper.readline().removeprefix("\ufeff")  # utf-16-le and its like keep the byte order mark
            yield from wrapper
            wrapper.detach()
        except UnicodeError as error:
            raise ValueError(f"it is not {name} text: {error}") from error
        return
    number = 0
    for data in file:
        number += 1
        if number == 1 and encoding is None:
            other = next((found for mark, found in _BOMS.items() if data.startswith(mark)), None)
            if other is not None:
                raise ValueError(f"it is not UTF-8 text but {other}: say --encoding {other.lower()} (encoding= in Python)")
        try:
            line = data.decode(name)
        except UnicodeDecodeError as error:
            hint = "" if encoding else ": say --encoding cp1252, latin-1 or what it is (encoding= in Python)"
            what = "UTF-8" if encoding is None else encoding
            raise ValueError(
                f"line {number} is not {what} text, {error.reason} at its byte {error.start + 1} "
                f"({data[max(0, error.start - 10) : error.start + 10]!r}){hint}"
            ) from error
        if number == 1:
            line = line.removeprefix("\ufeff")
        if "\r" in line[:-2]:  # a file with the line ends of old Macs is one line
            pieces = list(io.StringIO(line, newline=""))
            number += len(pieces) - 1
            yield from pieces
        else:
            yield line


def _tables(file: BinaryIO, options: Options, rows: int | None, source: str) -> Iterator[Table]:
    lines = _lines(file, options.encoding)
    skipped, delimiter = 0, options.delimiter
    first = next(lines, "")
    if re.fullmatch(r"sep=.\s*", first):
        delimiter, skipped, first = delimiter or first[4], 1, next(lines, "")
    if not first.strip():
        raise ValueError("the first line must name the columns, it is empty")
    sample = list(islice(lines, _SAMPLE))
    guessed = delimiter or _delimiter(first, sample)
    reader = csv.reader(chain([first], sample, lines), delimiter=guessed, strict=True)
    records = _records(reader, skipped)
    header, _ = next(records)
    names = [name.strip() or f"column {position}" for position, name in enumerate(header, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the header names {', '.join(map(repr, twice))} more than once")
    found = _table_options(options, guessed)
    count = 0
    how = (
        "" if options.delimiter else f" (the delimiter seems to be {_NAMES.get(guessed, repr(guessed))}; --delimiter tells another)"
    )
    for columns, ends in _collected(records, len(names), rows, how):
        table = dict(zip(names, columns, strict=True))
        if found["prefer"] == "," and not found["commas"]:
            found["commas"] = any(_has_decimal_comma(column) for column in columns)
        yield Table(table, source, _compact(ends), range(count + 1, count + 1 + len(ends)), found)
        count += len(ends)


def _records(reader: Any, skipped: int) -> Iterator[tuple[list[str], int]]:
    """The records of a file, each with the number of the line on which it begins."""
    begin = 1
    try:
        for record in reader:
            yield record, begin + skipped
            begin = reader.line_num + 1
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise ValueError(f"line {begin + skipped} opens a quote that is not closed (unexpected end of data)") from error
        what = (
            "a quote that does not end its field: double it inside a quoted field" if "expected after" in str(error) else str(error)
        )
        raise ValueError(f"line {reader.line_num + skipped}: {what}") from error


def _collected(
    records: Iterator[tuple[list[str], int]], width: int, rows: int | None, how: str
) -> Iterator[tuple[list[Words], array[int]]]:
    """Columns of a given number of records, or of all, with the lines of the records."""
    columns, lines = [Words() for _ in range(width)], array("q")
    buffer: list[list[str]] = []
    blank: list[int] = []  # lines of a file with one column: values if others follow
    yielded = False

    def flush() -> None:
        for column, values in zip(columns, zip(*buffer, strict=True), strict=False):
            column.extend(values)
        buffer.clear()

    for record, line in records:
        if not record or (len(record) == 1 and width > 1 and not record[0].strip()):
            if width == 1:
                blank.append(line)
            continue
        if len(record) != width:
            raise ValueError(f"line {line} has {len(record)} fields, the header names {width} columns{how}")
        if blank:
            buffer.extend([[""]] * len(blank))
            lines.extend(blank)
            blank.clear()
        buffer.append(record)
        lines.append(line)
        if len(buffer) >= _CHUNK:
            flush()
        if rows is not None and len(lines) >= rows:
            flush()
            yield columns, lines
            yielded = True
            columns, lines = [Words() for _ in range(width)], array("q")
    flush()
    if lines or not yielded:
        yield columns, lines


def _compact(lines: array[int]) -> Sequence[int]:
    """The numbers of lines, as a range where every row has one line."""
    plain = range(lines[0], lines[0] + len(lines)) if lines else range(0)
    return plain if lines and lines[-1] == plain[-1] else lines


def _delimiter(header: str, sample: Sequence[str]) -> str:
    """The delimiter that gives the first records the number of fields that the header has; of these, the most fields."""
    scores = {}
    for delimiter in DELIMITERS:
        width = len(_parsed([header], delimiter)[0])
        counts = [len(record) for record in _parsed(sample, delimiter) if record and (len(record) > 1 or record[0].strip())]
        fitting = sum(count == width for count in counts) / len(counts) if counts else 1.0
        several = sum(count > 1 for count in counts) / len(counts) if counts else 1.0
        numbers = delimiter == "," and width == 1 and all(_NUMBER.fullmatch(line.strip()) for line in sample if line.strip())
        if numbers:
            scores[delimiter] = (-1, 0)
        elif width > 1 and fitting > 0.9:
            scores[delimiter] = (2, width)
        elif several > 0.9:  # rows of another width than the header: an error that names them
            scores[delimiter] = (1, width)
        else:
            scores[delimiter] = (0, width if not counts else 0)
    return max(DELIMITERS, key=lambda delimiter: scores[delimiter])


def _parsed(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    records = []
    try:
        for record in csv.reader(lines, delimiter=delimiter):
            records.append(record)
    except csv.Error:
        pass
    return records or [[]]


def _table_options(options: Options, delimiter: str | None) -> dict[str, Any]:
    """What the columns of a table need: programs that write semicolons do so where commas are decimals."""
    return {
        "decimal": options.decimal,
        "thousands": options.thousands,
        "missing": options.missing,
        "prefer": {";": ",", ",": "."}.get(delimiter or ""),
        "commas": False,
    }


def _has_decimal_comma(column: Words, most: int = 200) -> bool:
    """Whether commas in the first values of a column can only be decimals."""
    values = [value.strip() for value in islice(column, most)]
    numbers = [value for value in values if _NUMBER.fullmatch(value)]
    return len(numbers) > 0.5 * len(values) and any(
        len(value.rpartition(",")[2]) != 3 or value.startswith("0") for value in numbers
    )


_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
