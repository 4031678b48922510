"""The values of one column, read as numbers, words, truth values or dates, with one idea of what is missing."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import kernels
from .._types import AnyArray, Numbers
from . import _dates, _spelling
from ._rows import Table, check_names, named_columns
from ._spelling import PLAIN, Spelling
from ._words import Words

MISSING = frozenset({"", "?", "na", "n/a", "#n/a", "<na>", "nan", "nat", "none", "null"})
"""Words that stand for a missing value, in lower case."""

MARKERS = frozenset({"-", "--", "---", ".", "..", "...", "*", "n.a.", "n.d.", "nd", "unknown", "missing"})
"""Words in a column of numbers that stand for a missing value in some files, in lower case: see ``--missing``."""

Texts = list[str | None]  # None where missing
Codes = npt.NDArray[np.integer]
Dates = _dates.Dates

# Words that may stand in one column, and those that mean true.
_TRUTHS = (frozenset({"true", "false", "t", "f", "1", "0"}), frozenset({"yes", "no", "y", "n", "1", "0"}))
TRUE = frozenset({"true", "t", "yes", "y", "1"})

_CONTENT = "numbers, text, booleans, dates or times"
_EXACT = 2**53  # up to here float64 holds all whole numbers; 2**53 itself may be 2**53 + 1 rounded
_WHOLE = re.compile(r"(?:\+(?!-))?(-?(?:0|[1-9]\d*))(?:\.0*)?")
_CODE = re.compile(r"0\d+")
_INTEGER = re.compile(r"[+-]?\d{1,309}")  # within float64


class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
    values : array or list
        Numbers (float64, or integers where all are whole), booleans, moments (datetime64[us]), or a list of texts and other
        values with None where they are missing. `is_text` is the last of these.
    categorical : bool
        Whether the frame declares it a column of categories.
    missing : frozenset of str
        The words that stand for a missing value, in lower case.
    """

    located = True  # whether rows have a place that a message may name
    learned: Spelling | None = None  # the spelling that was found for its numbers, in a column to learn from

    def __init__(self, name: str, values: Any, *, missing: frozenset[str] = MISSING, table: Table | None = None) -> None:
        self.name = name
        self.missing = missing
        self._table = None if table is None else table.bare()
        self._rows: npt.NDArray[np.intp] | None = None  # in the table
        self._numbers: dict[Spelling, Numbers | None] = {}
        self._values: Any = None  # None where `coded` says all
        self._items: list[Any] = []  # what the codes stand for then, as it was given
        self._words: Words | None = None  # the texts of a file that `_values` are the numbers of, with the rows of the file
        self.categorical = False
        if isinstance(values, Words):
            plain = not any(self.options.get(key) for key in ("thousands", "commas")) and self.options.get("decimal") != ","
            self._values = _numbers_of(values, missing) if plain else None
            if self._values is not None:
                self._words = values
            elif (codes := values.codes()) is not None:
                self._code(codes, values.texts)
            else:
                self._values = list(values)
        elif (coded := _pandas_codes(values)) is not None:
            self.categorical = True
            self._code(*coded)
        else:
            self.categorical, self._values = _read(name, values)
        self._forget_numbers_that_mean_missing()

    def _code(self, codes: Codes, items: list[Any]) -> None:
        self._items = items
        self.__dict__["_coded"] = codes, *_texts_of_items(items, self.missing)

    def __len__(self) -> int:
        return len(self.coded[0] if self._values is None else self._values)

    @property
    def values(self) -> Any:
        """See the attributes."""
        return list(map(self._items.__getitem__, self.coded[0].tolist())) if self._values is None else self._values

    @property
    def is_text(self) -> bool:
        """Whether the values are texts, or others in a list, rather than an array."""
        return not isinstance(self._values, np.ndarray)

    @property
    def is_spelled(self) -> bool:
        """Whether texts tell more than the values: the column is text, or numbers that were read from the text of a file."""
        return self.is_text or self._words is not None

    @property
    def types(self) -> set[type]:
        """The types of the values in a list."""
        if self._values is not None:
            return set(map(type, self._values))
        counts = np.bincount(self.coded[0], minlength=len(self._items)).tolist()
        return {type(item) for item, count in zip(self._items, counts, strict=True) if count}

    @property
    def options(self) -> Mapping[str, Any]:
        """How the file of the column spells numbers; empty if it comes from no file."""
        return self._table.options if self._table is not None else {}

    def _forget_numbers_that_mean_missing(self) -> None:
        if self.missing is MISSING or self.is_text or self._values.dtype.kind not in "iuf":
            return
        for number in numbers_in(self.missing):
            hidden = self._values == number
            if hidden.any():
                self._values = np.where(hidden, np.nan, self._values)

    def take(self, rows: npt.NDArray[np.intp]) -> Column:
        """Return the rows with these positions; what has been read of them is kept."""
        taken = object.__new__(Column)
        taken.name, taken.missing, taken.categorical, taken._table = self.name, self.missing, self.categorical, self._table
        taken._rows = rows if self._rows is None else self._rows[rows]
        taken.learned = self.learned
        taken._numbers = {key: None if found is None else found[rows] for key, found in self._numbers.items()}
        taken._items, taken._values, taken._words = self._items, self._values, self._words
        if self._values is not None:
            taken._values = [self._values[row] for row in rows] if self.is_text else self._values[rows]
        if "_coded" in self.__dict__:
            codes, texts, written = self._coded
            taken.__dict__["_coded"] = codes[rows], texts, written
        return taken

    def place(self, row: int, what: str = "") -> str:
        """Return how a message calls the row at this position, which counts from 0, with what it does there."""
        row = row if self._rows is None else int(self._rows[row])
        return f"row {row + 1}{what}" if self._table is None else self._table.place(row, what)

    @property
    def coded(self) -> tuple[Codes, Texts]:
        """For each row a position in a list of texts, and the list: some stand in it twice, and some for no row.

        What is found out about text is found out once for each item of the list.
        """
        codes, texts, _ = self._coded
        return codes, texts

    @cached_property
    def _coded(self) -> tuple[Codes, Texts, Texts]:
        """`coded`, and the texts as they are written: "10.000" is the category 10, and may be the number ten thousand."""
        if self._words is not None:
            given = self._words.codes()
            if given is None:
                codes, texts, written = _code_texts(list(self._words), self.missing)
            else:
                codes, (texts, written) = given, _texts_of_items(self._words.texts, self.missing)
            return codes if self._rows is None else codes[self._rows], texts, written
        items = self.values
        if isinstance(items, np.ndarray):
            distinct, codes = np.unique(items, return_inverse=True)
            texts = _texts_of_array(distinct)
            return _small(codes, len(distinct)), texts, texts
        if not self.types <= {str, type(None)}:  # True and 1 are one key of a dict, and two texts
            items = [stripped(item) if isinstance(item, str | bytes) else text_of(item, self.missing) for item in items]
        return _code_texts(items, self.missing)

    @property
    def texts(self) -> Texts:
        """The values as text. Equal values have equal texts: 7, 7.0 and "7.0" are "7"."""
        codes, texts = self.coded
        return list(map(texts.__getitem__, codes.tolist()))

    def text(self, row: int) -> str | None:
        """Return the text of the row at this position."""
        codes, texts = self.coded
        return texts[int(codes[row])]

    def counts(self, *, written: bool = False) -> dict[str, int]:
        """Return the different texts that are not missing, with the number of rows of each; or those as they are written."""
        _, plain, as_written = self._coded
        texts = as_written if written else plain
        found: dict[str, int] = {}
        for text, count in zip(texts, self._row_counts().tolist(), strict=True):
            if text is not None and count:
                found[text] = found.get(text, 0) + count
        return found

    def _row_counts(self) -> npt.NDArray[np.intp]:
        """The number of rows of each item of the list of `coded`."""
        codes, texts = self.coded
        return np.bincount(codes, minlength=len(texts))

    @cached_property
    def present(self) -> npt.NDArray[np.bool_]:
        """Where values are not missing."""
        if self.is_text:
            codes, texts = self.coded
            return np.array([text is not None for text in texts], bool)[codes]
        values = self._values
        if values.dtype.kind == "f":
            present: npt.NDArray[np.bool_] = ~np.isnan(values)
            return present
        return ~np.isnat(values) if values.dtype.kind == "M" else np.ones(len(values), bool)

    def distinct(self, *, written: bool = False) -> set[str]:
        """Return the different texts that are not missing, or those as they are written."""
        return set(self.counts(written=written))

    @property
    def _is_mixed(self) -> bool:
        """Whether numbers or truth values, which have no spelling, are in a list with texts."""
        return self.is_text and any(kind is bool or is_number(kind) for kind in self.types)

    def spelled(self) -> set[str]:
        """Return the different texts as they are written, of what is text."""
        if not self._is_mixed:
            return self.distinct(written=True)
        codes, texts = self._used(written=True)
        rows = zip(self.values, map(texts.__getitem__, codes.tolist()), strict=True)
        return {text for item, text in rows if text is not None and isinstance(item, str | bytes)}

    def numbers(self, spelling: Spelling | None = None) -> Numbers | None:
        """Return the values as numbers, or None when some are not.

        Parameters
        ----------
        spelling : Spelling, optional
            How texts spell them; by default as Python does.
        """
        spelling = spelling or PLAIN
        if not self.is_text and (spelling == PLAIN or self._words is None):
            if self._values.dtype.kind == "M":
                return self._nothing()
            numbers: Numbers = self._values.astype(np.float64)
            return numbers
        if spelling not in self._numbers:
            self._numbers[spelling] = self._parsed(spelling)
        return self._numbers[spelling]

    def reads_alike(self, numbers: Numbers, spelling: Spelling) -> bool:
        """Whether these are the numbers that a spelling reads, wherever it reads one from text."""
        if not self.is_spelled:
            return True
        codes, texts = self._used(written=True)
        found = [None if text is None else _spelling.parse(text, spelling) for text in texts]
        other = np.array([math.nan if number is None else number for number in found], np.float64)[codes]
        differ = (other != numbers) & ~np.isnan(other)
        if not differ.any() or not self.is_text:
            return not differ.any()
        return all(is_number(type(item)) for item, differs in zip(self.values, differ.tolist(), strict=True) if differs)

    def exact(self, spelling: Spelling) -> AnyArray | None:
        """Return the values as `numbers` does, but whole ones as integers where float64 may merge them."""
        if not self.is_spelled:
            values: AnyArray = self._values
            return values
        numbers = self.numbers(spelling)
        if numbers is None or not (np.abs(numbers) >= _EXACT).any() or np.isinf(numbers).any():
            return numbers
        codes, texts = self._used(written=True)
        integers = [int(text) for text in texts if text is not None and _INTEGER.fullmatch(text)]
        if len(integers) < len(texts):
            return numbers
        try:
            return np.array(integers, np.int64)[codes]
        except OverflowError:
            return objects(integers)[codes]

    def _nothing(self) -> Numbers | None:
        """NaN for each row, None if one is not missing."""
        return None if self.present.any() else np.full(len(self), math.nan)

    def _parsed(self, spelling: Spelling) -> Numbers | None:
        if spelling == PLAIN:
            found = self._plain()
            if found is not None:
                return found
        codes, texts = self._used(written=True)
        if self._is_mixed:
            by_row: list[float | None] = []
            for item, text in zip(self.values, map(texts.__getitem__, codes.tolist()), strict=True):
                if text is None:
                    by_row.append(math.nan)
                elif isinstance(item, bool):
                    by_row.append(float(item))
                else:
                    by_row.append(float(text) if is_number(type(item)) else _spelling.parse(text, spelling))
            return None if None in by_row else np.array(by_row, np.float64)
        numbers = [math.nan if text is None else _spelling.parse(text, spelling) for text in texts]
        return None if None in numbers else np.array(numbers, np.float64)[codes]

    def _used(self, *, written: bool = False) -> tuple[Codes, Texts]:
        """`coded`, each item of the list the text of a row, or that as it is written."""
        codes, plain, as_written = self._coded
        texts = as_written if written else plain
        used = np.bincount(codes, minlength=len(texts)) > 0
        if used.all():
            return codes, texts
        return (np.cumsum(used) - 1)[codes], [text for text, kept in zip(texts, used.tolist(), strict=True) if kept]

    def _plain(self) -> Numbers | None:
        """The numbers of a list of texts that all read as Python's do."""
        items = self._values
        if items is not None and (self.missing is MISSING or not numbers_in(self.missing)):
            try:  # the frequent case: no gaps, or gaps that float knows
                return _floats(items)
            except (TypeError, ValueError, OverflowError):
                pass
        codes, texts = self._used()
        try:
            return _floats(["nan" if text is None else text for text in texts])[codes]
        except ValueError:
            return None

    def booleans(self, *, mixed: bool = False) -> Numbers | None:
        """Return 1 for true, 0 for false and NaN where missing, or None when some values are something else.

        Unless words may be mixed, they are those of one pair: true and false, or yes and no.
        """
        if not self.is_spelled:
            if self._values.dtype.kind == "M":
                return self._nothing()
            numbers = self._values.astype(np.float64)
            return numbers if np.isin(numbers[~np.isnan(numbers)], (0.0, 1.0)).all() else None
        codes, texts = self._used()
        words = [None if text is None else text.lower() for text in texts]
        if not any(set(words) - {None} <= truths for truths in ([_TRUTHS[0] | _TRUTHS[1]] if mixed else _TRUTHS)):
            return None
        return np.array([math.nan if word is None else float(word in TRUE) for word in words], np.float64)[codes]

    def dates(self, form: str, *, alike: bool = False) -> Dates | None:
        """Return the values as moments, or None when some are not; see `_dates.FORMATS`, and `_dates.parse_alike` for `alike`."""
        if not self.is_text and self._values.dtype.kind == "M":
            moments: Dates = self._values
            return moments
        codes, texts = self._used(written=True)  # of numbers, too: 20240131 is a date in the format %Y%m%d
        found = _dates.convert(texts, form, _dates.parse_alike if alike and self.is_text else _dates.parse)
        return None if found is None else found[codes]

    def require(self, parse: Callable[[Column], Any], what: str) -> Any:
        """Return `parse` of the column; a ValueError that names the first row for which it gives None."""
        found = parse(self)
        if found is None:
            codes, _, written = self._coded
            for row, text in enumerate(map(written.__getitem__, codes.tolist())):
                alone = Column(self.name, [text], missing=self.missing, table=self._table)
                if text is not None and parse(alone) is None:
                    raise ValueError(f"column {self.name!r} must hold {what} in every row, {self.place(row, f' holds {text!r}')}")
            mixed = ", ".join(map(repr, sorted(self.distinct(written=True))[:3]))
            raise ValueError(f"column {self.name!r} must hold {what} in every row, in one spelling; it mixes {mixed}")
        return found

    def require_finite(self, numbers: Numbers) -> Numbers:
        """Return the numbers; a ValueError that names the first row where one is infinite."""
        infinite = np.flatnonzero(np.isinf(numbers))
        if infinite.size:
            row = int(infinite[0])
            raise ValueError(f"column {self.name!r} must hold finite numbers, {self.place(row, f' holds {numbers[row]}')}")
        return numbers


def columns(table: Any, wanted: Iterable[str] | None = None, missing: frozenset[str] = MISSING) -> dict[str, Column]:
    """Return the columns of a table, all or those wanted, in that order; the others are not looked at.

    Raises
    ------
    TypeError
        When it is no table, or a column holds something else than text, numbers, booleans, dates and times.
    ValueError
        When a wanted column is missing, a column is not one-dimensional, or their lengths differ.
    """
    names = None if wanted is None else list(wanted)
    if names is not None and isinstance(table, Mapping) and not isinstance(table, Table):  # others may hold anything
        check_names({str(name): None for name in table}, names)
        table = {name: values for name, values in table.items() if str(name) in names}
    found = named_columns(table)
    if names is None:
        names = list(found)
    if isinstance(table, list | tuple) and not table:
        found = {name: [] for name in names}
    check_names(found, names)
    place = found if isinstance(found, Table) else None
    taken = {name: as_column(name, found[name], missing, place) for name in names}
    lengths = {name: len(column) for name, column in taken.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns must have equal lengths, got {lengths}")
    return taken


def missing_words(words: Iterable[str] | None) -> frozenset[str]:
    """Return the words that stand for a missing value; an empty field always does."""
    if isinstance(words, str):
        raise TypeError(f"missing must be a sequence of words, got the word {words!r}")
    if words is None:
        return MISSING
    words = list(words)
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"missing must hold words as they stand in the table, got {word!r}: write {str(word)!r}")
    given = frozenset({"", *(word.strip().lower() for word in words)})
    return MISSING if given == MISSING else given  # which `Column` knows by identity


def words_of(table: Any, words: frozenset[str]) -> frozenset[str]:
    """Return the words that stand for a missing value in a table: those that it was read with, else these."""
    given = table.options.get("missing") if isinstance(table, Table) else None
    return words if given is None else missing_words(given)


def is_code(column: Column) -> bool:
    """Whether whole numbers are written with leading zeros, which only names are."""
    return column.is_text and any(map(_CODE.fullmatch, column.distinct()))


def _floats(items: list[Any]) -> Numbers:
    """The numbers that items are; a TypeError or ValueError as float raises it, and for an underscore, which float takes."""
    core = kernels.compiled()
    if core is not None:
        found = np.empty(len(items))
        core.parse_decimals(items, found)
        return found
    if any("_" in item for item in items if isinstance(item, str)):
        raise ValueError("underscores are no part of numbers")
    return np.fromiter(map(float, items), np.float64, len(items))


def mean_and_scale(name: str, values: Numbers) -> tuple[float, float]:
    """Return mean and standard deviation; at least 1 in place of a deviation that is 0 but for rounding."""
    with np.errstate(over="ignore", invalid="ignore"):
        return usable_scale(name, float(values.mean()), float(values.std()))


def usable_scale(name: str, mean: float, scale: float) -> tuple[float, float]:
    """Return mean and standard deviation as they are used, see `mean_and_scale`."""
    if not math.isfinite(mean + scale):
        raise ValueError(f"column {name!r} holds numbers that are too large to standardise")
    return mean, scale if scale > 1e-12 * abs(mean) else max(1.0, scale)


def text_of(item: Any, missing: frozenset[str] = MISSING) -> str | None:
    """Return the text that stands for a value, None for a missing one: whole numbers without a point, however they are given."""
    if isinstance(item, Decimal):
        item = _int_if_whole(item)
        if isinstance(item, Decimal):
            item = math.nan if item.is_nan() else float(item)
    if isinstance(item, float | np.floating):
        item = float(item)
        if item.is_integer():
            item = int(item)
    if is_missing(item):
        return None
    text = repr(item) if isinstance(item, float) else _canonical(stripped(item))
    return None if text.lower() in missing else text


def _canonical(text: str) -> str:
    """The text without the plus and the point of a whole number."""
    whole = _WHOLE.fullmatch(text)
    return text if whole is None else whole[1]


def stripped(item: Any) -> str:
    """Return the text that an item is written as."""
    return (item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)).strip()


def _texts_of_items(items: Iterable[Any], missing: frozenset[str]) -> tuple[Texts, Texts]:
    """The texts that stand for values, and those as they are written."""
    items = list(items)
    texts = [text_of(item, missing) for item in items]
    written = [
        stripped(item) if text is not None and isinstance(item, str | bytes) else text
        for item, text in zip(items, texts, strict=True)
    ]
    return texts, written


def _code_texts(items: Sequence[str | None], missing: frozenset[str]) -> tuple[Codes, Texts, Texts]:
    """What `Column._coded` is for a list of texts."""
    position = {item: index for index, item in enumerate(dict.fromkeys(items))}
    codes = np.fromiter(map(position.__getitem__, items), np.intp, len(items))
    return _small(codes, len(position)), *_texts_of_items(position, missing)


def is_missing(item: Any) -> bool:
    """Whether a value is None, NaN or what a frame library has in its place."""
    if isinstance(item, np.datetime64 | np.timedelta64):
        return bool(np.isnat(item))
    return item is None or (isinstance(item, float) and item != item) or type(item).__name__ in ("NAType", "NaTType")


def positions(texts: Sequence[str], *, fold: bool = False) -> dict[str, int]:
    """Return the position of each text, and of other texts for the same value: True and 1, and with `fold` those in other case."""
    found = {text: index for index, text in enumerate(texts)}
    for text, index in list(found.items()):  # texts that a model was saved with are not always canonical
        found.setdefault(_canonical(text), index)
    for truth in (("1", "True", "true"), ("0", "False", "false")):
        known = [text for text in truth if text in found]
        if len(known) == 1:
            found.update(dict.fromkeys(truth, found[known[0]]))
    if fold:
        for text, index in list(found.items()):
            for other in (text.lower(), text.upper(), text.capitalize()):
                found.setdefault(other, index)
    return found


def _read(name: str, values: Any) -> tuple[bool, Any]:
    """Whether a column is declared one of categories, and its values: see `Column.values`."""
    if isinstance(values, str | bytes):
        raise TypeError(f"column {name!r} must be a sequence of values, got the single value {values!r:.60}")
    if isinstance(values, Mapping | Set):  # of which a list would have the keys, or any order
        raise TypeError(f"column {name!r} must be a sequence of values, got a {type(values).__name__}")
    dtype = getattr(values, "dtype", getattr(values, "type", None))
    categorical = str(dtype) == "category" or str(dtype).startswith(("Categorical", "Enum", "dictionary<"))
    if isinstance(values, np.ma.MaskedArray):
        masked: Any = values.astype(object)
        return False, _of_items(name, masked.filled(None).tolist())
    if categorical:
        items = values.to_pylist() if hasattr(values, "to_pylist") else values.to_list()
        return True, [None if is_missing(item) else item for item in items]
    if isinstance(values, np.ndarray):
        array = values
    elif hasattr(values, "to_pylist"):  # pyarrow
        array = objects(values.to_pylist()) if values.null_count else np.asarray(values)
    elif hasattr(values, "to_numpy"):
        array = values.to_numpy()
    elif isinstance(values, np.generic):
        array = np.asarray(values)
    else:
        array = None
    if array is None:
        return False, _of_items(name, list(values))
    if array.ndim != 1:
        raise ValueError(f"column {name!r} must be one-dimensional, has shape {array.shape}")
    kind = array.dtype.kind
    if kind in "iu":
        return False, array.astype(np.int64) if array.dtype.itemsize < 8 else array.astype(array.dtype.newbyteorder("="))
    if kind == "f":
        return False, array.astype(np.float64)
    if kind == "b":
        return False, array.tolist()
    if kind == "M":
        return False, array.astype("M8[us]")
    if kind == "m":
        return False, np.where(np.isnat(array), np.nan, _seconds(name, array))
    if kind not in "OUS":
        raise TypeError(f"column {name!r} must hold {_CONTENT}, has dtype {array.dtype} (convert it first)")
    return False, _of_items(name, array.tolist())


def _numbers_of(texts: Words, missing: frozenset[str]) -> Numbers | None:
    """The numbers that all texts are, as Python spells them; None where they are not."""
    parts: list[Numbers] = []
    for part in texts.parts:
        found: Numbers | None
        if isinstance(part, list):
            found = _numbers_of_list(part)
        elif part.dtype.kind == "S":
            found = _numbers_of_bytes(part, missing)
        else:
            found = _numbers_of_codes(part, texts.texts)
        if found is None or (np.abs(found) >= _EXACT).any():
            return None
        parts.append(found)
    return np.concatenate(parts) if parts else None


def _numbers_of_list(texts: list[str]) -> Numbers | None:
    known = {text: float_of(text) for text in set(texts)}
    if None in known.values() or any(_CODE.fullmatch(text.strip()) for text in known):
        return None
    return np.array([known[text] for text in texts], np.float64)


def _numbers_of_codes(codes: Any, texts: list[str]) -> Numbers | None:
    used = np.unique(codes)
    found = _numbers_of_list([texts[code] for code in used.tolist()])
    if found is None:
        return None
    by_code = np.empty(int(used[-1]) + 1)
    by_code[used] = found
    numbers: Numbers = by_code[codes]
    return numbers


def _numbers_of_bytes(texts: Any, missing: frozenset[str]) -> Numbers | None:
    characters = np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), -1)
    if (characters == ord("_")).any() or _looks_like_code(characters):
        return None
    numbers = np.full(len(texts), np.nan)
    core = kernels.compiled()
    if core is not None and core.parse_padded_decimals(characters, numbers) == len(texts):
        return numbers
    try:
        empty = texts == b""
        numbers[~empty] = texts[~empty].astype(np.float64)
    except ValueError:
        words = np.char.lower(np.char.strip(texts))
        empty = np.isin(words, [word.encode() for word in missing if word.isascii()])
        try:
            numbers[~empty] = texts[~empty].astype(np.float64)
        except ValueError:
            return None
    return numbers


def _looks_like_code(characters: npt.NDArray[np.uint8]) -> bool:
    """Whether a text of digits begins with a zero: a matrix with the bytes of a text in each row."""
    blank = ((characters > 0) & (characters <= ord(" "))).any(axis=1)
    if blank.any():  # which csv leaves where it follows a comma
        texts = characters[blank].view(f"S{characters.shape[1]}")[:, 0].tolist()
        if any(_CODE.fullmatch(text.decode().strip()) for text in texts):
            return True
    if characters.shape[1] < 2:
        return False
    digits = (characters >= ord("0")) & (characters <= ord("9"))
    return bool(((characters[:, 0] == ord("0")) & digits[:, 1] & (digits | (characters == 0)).all(axis=1)).any())


def float_of(text: str) -> float | None:
    """Return the number that a text is, NaN for an empty one, None for anything else."""
    if not text or text.isspace():
        return math.nan
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def numbers_in(words: frozenset[str]) -> list[float]:
    """Return the words for missing values that are numbers, such as -999."""
    found = [float_of(word) for word in words]
    return [number for number in found if number is not None and number == number]


def _of_items(name: str, items: list[Any]) -> Any:
    kinds = set(map(type, items))
    if kinds <= {str, type(None)} or kinds <= {bool, type(None)}:
        return items
    if kinds == {int}:
        return _whole(items)
    if kinds == {float}:
        return np.array(items, np.float64)
    if str in kinds and kinds <= {str, float, type(None)} and all(type(item) is str or is_missing(item) for item in items):
        return [item if type(item) is str else None for item in items]
    items = [None if is_missing(item) else _simplified(name, item) for item in items]
    given = [item for item in items if item is not None]
    if given and all(isinstance(item, date | np.datetime64) for item in given):
        try:
            return _dates.of_objects(items)
        except OverflowError as error:
            raise ValueError(f"column {name!r} holds a moment whose UTC time is beyond the years 1 to 9999: {error}") from None
    if given and all(isinstance(item, clock) for item in given):
        return _dates.of_objects([None if item is None else datetime.combine(date(1970, 1, 1), item) for item in items])
    odd = next((item for item in given if not isinstance(item, str | bytes | Real | np.bool_ | Decimal)), None)
    if odd is not None:
        raise TypeError(f"column {name!r} must hold {_CONTENT}, holds a {type(odd).__name__}")
    if given and all(isinstance(item, Real | Decimal) and not isinstance(item, bool) for item in given):
        if len(given) == len(items) and all(isinstance(item, int | np.integer) for item in given):
            return _whole(items)
        if all(not isinstance(item, int | np.integer) or abs(int(item)) <= _EXACT for item in given):
            return np.array([math.nan if item is None else float(item) for item in items], np.float64)
    return [bool(item) if isinstance(item, np.bool_) else item for item in items]


def _simplified(name: str, item: Any) -> Any:
    """A whole decimal as an int, a span of time as seconds."""
    if isinstance(item, Decimal):
        return _int_if_whole(item)
    if isinstance(item, timedelta):
        return item.total_seconds()
    return float(_seconds(name, item)) if isinstance(item, np.timedelta64) else item


def _seconds(name: str, spans: Any) -> Any:
    """Spans of time of NumPy as numbers."""
    if np.datetime_data(spans.dtype)[0] in ("Y", "M"):
        raise TypeError(f"column {name!r} must hold spans of time of a fixed length, has dtype {spans.dtype} (convert it to days)")
    return spans / np.timedelta64(1, "s")


def is_number(kind: type) -> bool:
    """Whether values of a type are numbers, which have no spelling."""
    return issubclass(kind, Real | Decimal) and not issubclass(kind, bool)


def _int_if_whole(item: Decimal) -> Decimal | int:
    """A whole number as an int, which float64 may not hold; one beyond float64 stays as it is, its digits may fill the memory."""
    whole = item.is_finite() and item.adjusted() <= sys.float_info.max_10_exp and item == item.to_integral_value()
    return int(item) if whole else item


def _whole(items: list[Any]) -> Any:
    try:
        return np.array(items, np.int64)
    except OverflowError:
        return [str(item) for item in items]


def _texts_of_array(values: npt.NDArray[Any]) -> Texts:
    if values.dtype.kind == "M":
        return [None if item == "NaT" else item for item in np.datetime_as_string(values).tolist()]
    return [str(item) if values.dtype.kind in "iu" else text_of(item) for item in values.tolist()]


def _small(codes: npt.NDArray[np.intp], count: int) -> Codes:
    """Numbers below a count in few bytes."""
    return codes.astype(np.min_scalar_type(count))


def _pandas_codes(values: Any) -> tuple[Codes, list[Any]] | None:
    """For each row of a categorical column of pandas the position of its category, and the categories with None at the end."""
    if str(getattr(values, "dtype", "")) != "category":
        return None
    values = getattr(values, "cat", values)  # of a series; an array or an index of categories has them itself
    categories = getattr(values, "categories", None)
    if categories is None:
        return None
    codes = np.array(values.codes, np.intp)
    codes[codes < 0] = len(categories)  # a missing value
    return codes, [*categories.tolist(), None]


def objects(items: list[Any]) -> npt.NDArray[np.object_]:
    """Return an array of the items themselves, with None and 1 kept apart from "None" and "1"."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


def as_column(name: str, values: Any, missing: frozenset[str] = MISSING, table: Table | None = None) -> Column:
    """Return the values as a column, unless they are one."""
    return values if isinstance(values, Column) else Column(name, values, missing=missing, table=table)
