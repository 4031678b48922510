"""What a column of a table is: a number, a truth value, a category, a date; or nothing to learn from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._arrays import check_choice, check_count
from .._types import AnyArray
from . import _dates, _spelling
from ._columns import MARKERS, Column, is_code
from ._spelling import Spelling

MAX_CATEGORIES = 64
"""The default number of categories of a column that have a column of their own."""

_CODES = re.compile(r"code|zip|postal|plz", re.IGNORECASE)
_IDS = re.compile(r"(^|[^a-z])(id|ids|idx|index|nr|no|num|number|key|row|rows|rownum|rowid|uuid|guid)([^a-z]|$)")
_REPEATED_IDS = re.compile(r"(^|[^a-z])(id|ids|uuid|guid)([^a-z]|$)")  # of identifiers that may repeat, such as those of customers
_NAMELESS = re.compile(r"(column|unnamed:) \d+|", re.IGNORECASE)  # as `read_csv` and pandas call a column without a name
_NEARLY = 0.5  # of the values of an identifier, at least, are different
_DENSE = 0.5  # of the numbers in a range that row numbers with gaps fill
_MIN_NUMBERED_ROWS = 10  # below, numbers that rise by one are a coincidence
_MIN_PERMUTED_ROWS = 30
_FEW = 20  # different numbers in a column of numbers that a word may join as a further category


class Settings(NamedTuple):
    """What is known about the columns of a table beforehand."""

    kinds: Mapping[str, str]
    dates: Mapping[str, str]
    max_categories: int = MAX_CATEGORIES
    decimal: str | None = None
    thousands: str | None = None


def settings(
    kinds: Mapping[str, str] | None,
    dates: Mapping[str, str] | None,
    max_categories: int,
    decimal: str | None,
    thousands: str | None,
) -> Settings:
    """Return what is known about the columns, checked."""
    check_spelling(decimal, thousands)
    kinds, dates = by_column("kinds", kinds, "kind"), by_column("dates", dates, "format")
    for name, form in dates.items():
        if not isinstance(form, str) or ("%" not in form and form not in _dates.FORMATS):
            raise ValueError(f"the format in dates for column {name!r} must be one with %, such as '%d/%m/%Y', got {form!r}")
        if kinds.get(name, "date") != "date":
            raise ValueError(
                f"dates has a format for column {name!r}, but kinds says that it is {kinds[name]!r}: leave one of them out"
            )
    return Settings(kinds, dates, check_count("max_categories", max_categories), decimal, thousands)


def by_column(option: str, given: Any, what: str) -> dict[str, str]:
    """Return what is said of columns by their names, which may be numbers in a frame."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{option} must be a mapping of the names of columns to the {what} of each, got {given!r}")
    return {str(name): value for name, value in (given or {}).items()}


def check_spelling(decimal: str | None, thousands: str | None) -> None:
    """Refuse characters that no numbers are spelled with."""
    if decimal is not None:
        check_choice("decimal", decimal, (",", "."))
    if thousands is not None:
        check_choice("thousands", thousands, (",", ".", "'", " ", ""))
    if thousands and thousands == (decimal or "."):
        raise ValueError(f"decimal and thousands must differ, both are {thousands!r}; for decimal commas give decimal=','")


class Kind(NamedTuple):
    """A key of `_features.FEATURES`, and what reading the column needs."""

    name: str
    spelling: Spelling = _spelling.PLAIN
    form: str = ""
    note: str = ""


def kind_of(column: Column, settings: Settings) -> Kind:
    """Return what a column is.

    Raises
    ------
    ValueError
        If it holds numbers or dates that can be read in two ways, or numbers and words that hardly are categories.
    """
    given = settings.kinds.get(column.name)
    if column.name in settings.dates:
        return Kind("date", form=settings.dates[column.name])
    if given == "numeric":
        return Kind(given, spelling_of(column, settings) or _spelling.PLAIN)
    if given == "date":
        return Kind(given, form=_date_format(column) or "year-month-day")
    if given is not None:
        return Kind(given)
    if column.categorical:
        return Kind("categorical")
    if not column.is_text:
        if column.values.dtype.kind == "M":
            return Kind("date", form="year-month-day")
        return _number_or_code(column, settings, spelling_of(column, settings) or _spelling.PLAIN)
    if column.types <= {bool, type(None)}:
        return Kind("boolean")
    if is_code(column):
        return Kind("categorical")
    spelling = spelling_of(column, settings)
    if spelling is not None:
        return _number_or_code(column, settings, spelling)
    if column.booleans() is not None:
        return Kind("boolean")
    form = _date_format(column)
    if form is not None:
        return Kind("date", form=form)
    return Kind("categorical", note=check_words(column, settings.max_categories))


def spelling_of(column: Column, settings: Settings) -> Spelling | None:
    """Return how a column spells its numbers, None if it holds something else."""
    if not column.is_spelled:
        return None if column.numbers() is None else _spelling.PLAIN
    options = column.options
    decimal = settings.decimal or options.get("decimal")
    thousands = settings.thousands if settings.thousands is not None else options.get("thousands")
    commas = bool(options.get("commas"))
    if decimal in (None, ".") and not thousands and not commas and column.numbers() is not None:
        return _spelling.PLAIN
    try:
        found = _spelling.find(column.spelled(), decimal, thousands, prefer=options.get("prefer"), commas=commas)
    except _spelling.AmbiguousNumberError as error:
        raise ValueError(
            f"column {column.name!r}: {error}: say which with --decimal or --thousands (decimal=, thousands= in Python)"
        ) from None
    if found is None and column.numbers() is not None:
        return _spelling.PLAIN
    return found


def check_words(column: Column, max_categories: int = MAX_CATEGORIES) -> str:
    """Refuse a column of numbers that holds a few words; return what is to be said if the words may be categories."""
    counts = column.counts()
    best: set[str] = set()
    for spelling in _spelling.SPELLINGS:
        fitting = {text for text in counts if _spelling.parse(text, spelling) is not None}
        best = max(best, fitting, key=len)
        if not best:
            return ""
    odd = sorted(counts.keys() - best)
    numeric = sum(counts[text] for text in best)
    if not odd or numeric < 0.5 * sum(counts.values()):
        return ""
    first = ""
    if column.located:
        first = f", first in {column.place(next(row for row, text in enumerate(column.texts) if text == odd[0]))}"
    listed = ", ".join(map(repr, odd[:5])) + (", ..." if len(odd) > 5 else "")
    if all(text.lower() in MARKERS or text.startswith("#") for text in odd) or (
        len(counts) > min(max_categories, _FEW) and len(odd) < len(counts) / 10
    ):
        raise ValueError(
            f"column {column.name!r} holds numbers, but also {listed}{first}: "
            f"correct that, say --missing={odd[0]!r} (missing=[{odd[0]!r}] in Python) if it stands for a missing value, "
            f"or that the column is categorical"
        )
    return f"{column.name}: holds numbers, but also {listed}: all are taken as categories"


def why_useless(column: Column, kind: str, kind_given: bool) -> str | None:
    """Return why nothing can be learned from a column, or None."""
    present = column.present
    if kind in ("numeric", "date") and not column.is_text:
        distinct = len(np.unique(column.values[present]))
    else:
        distinct = len(column.distinct())
    return useless(kind, int(present.sum()), len(present), distinct, kind_given)


def useless(kind: str, present: int, rows: int, distinct: int, kind_given: bool) -> str | None:
    """Return why nothing can be learned from a column, or None.

    Of its ``rows`` values ``present`` are not missing, and those take ``distinct`` different values.
    """
    if not present:
        return "holds no value"
    if kind_given:
        return None
    if distinct == 1 and present == rows:
        return "holds one value only"
    if kind == "categorical" and distinct > max(10, present / 2):
        return f"is text that hardly ever repeats ({distinct} different values in {present} rows)"
    return None


class Numbering(NamedTuple):
    """What `why_numbered` decides by: the number of rows, the order of the numbers, how many differ, and their span."""

    rows: int
    by_one: bool
    rising: bool
    distinct: int
    span: int


def why_identifier(column: Column, spelling: Spelling) -> str | None:
    """Return why a column of numbers only names the rows, or None.

    Whole numbers that rise by one, also with gaps as in a part of a table, or that are all different and stand in a column without
    a name, with the name of an identifier, or fill a range without gaps.
    """
    values = column.exact(spelling)
    if values is None or values.dtype.kind not in "iufO" or len(values) < _MIN_NUMBERED_ROWS:
        return None
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.trunc(values)).all()):
        return None
    by_one, rising = order_of(values)
    distinct, span = len(np.unique(values)), int(values.max()) - int(values.min()) + 1
    return why_numbered(column.name, Numbering(len(values), by_one, rising, distinct, span))


def order_of(values: AnyArray) -> tuple[bool, bool]:
    """Return whether numbers rise by one, and whether they rise at all; unsigned ones have no negative differences."""
    before, after = values[:-1], values[1:]
    rising = bool((after > before).all())
    return rising and bool((after - before == 1).all()), rising


def why_numbered(name: str, seen: Numbering) -> str | None:
    """Return why whole numbers of which this is known only name the rows, or None."""
    if seen.rows < _MIN_NUMBERED_ROWS:
        return None
    if seen.by_one:
        return "numbers the rows"
    if seen.distinct < seen.rows:
        nearly = seen.distinct > _NEARLY * seen.rows and _REPEATED_IDS.search(_words(name))
        return f"is an identifier: {seen.distinct:,} different whole numbers in {seen.rows:,} rows" if nearly else None
    if _IDS.search(_words(name)) or name.endswith("ID"):
        return "is an identifier: whole numbers, all different"
    if _NAMELESS.fullmatch(name):
        return "names the rows: whole numbers, all different, in a column without a name"
    if seen.rows < _MIN_PERMUTED_ROWS:
        return None
    if seen.span == seen.rows:
        return "numbers the rows, in another order"
    if seen.rising and seen.rows > _DENSE * seen.span:
        return "numbers the rows, with gaps"
    return None


def _words(name: str) -> str:
    """The name of a column in lower case, its words apart."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _number_or_code(column: Column, settings: Settings, spelling: Spelling = _spelling.PLAIN) -> Kind:
    """Numbers, or whole numbers that are only names: codes, and identifiers that repeat."""
    identifies = _REPEATED_IDS.search(_words(column.name)) is not None
    if identifies or _CODES.search(column.name):
        values = column.take(np.flatnonzero(column.present)).exact(spelling)
        assert values is not None
        distinct = np.unique(values if values.dtype.kind != "f" else values[~np.isnan(values)])
        rows = sum(column.counts().values()) if column.is_text else len(values)
        few = len(distinct) <= settings.max_categories or identifies
        repeat = rows >= 2 * len(distinct) and len(distinct) > 2
        if few and repeat and (distinct.dtype.kind != "f" or (distinct == np.trunc(distinct)).all()):
            return Kind("categorical")
    return Kind("numeric", spelling)


def _date_format(column: Column) -> str | None:
    if not column.is_text:
        return None
    distinct = column.distinct()
    try:
        return _dates.find(distinct) if distinct else None
    except _dates.AmbiguousDateError as error:
        raise ValueError(
            f"column {column.name!r}: day and month of {str(error)!r} can be read either way around: say "
            f"--date {column.name}=%d/%m/%Y or --date {column.name}=%m/%d/%Y "
            f'(dates={{"{column.name}": "%d/%m/%Y"}} in Python)'
        ) from None
