"""Numbers as people and programs write them: decimal commas, groups of thousands, currencies, percent signs."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

_SPACES = " \u00a0\u202f\u2009"
_APOSTROPHES = "'\u2019"
_MINUS = "\u2212"
_CURRENCY = r"(?:[$€£¥₹]|USD|EUR|GBP|CHF)"
_EXPONENT = r"(?:[eE][+-]?\d+)?"


class Spelling(NamedTuple):
    """The characters that separate the decimals and the groups of thousands ("" for no groups)."""

    decimal: str = "."
    thousands: str = ""


PLAIN = Spelling()
SPELLINGS = [
    PLAIN,
    Spelling(",", ""),
    Spelling(",", "."),
    Spelling(".", ","),
    *(Spelling(decimal, thousands) for decimal in ",." for thousands in (" ", "'")),
]


class AmbiguousNumberError(ValueError):
    """A column whose numbers can be read in two ways."""


def parse(text: str, spelling: Spelling) -> float | None:
    """Return the number that a text spells, None if it spells none.

    A currency before or after it, a percent sign after it and parentheses around it (a negative amount) belong to the spelling;
    12 % is 12.
    """
    match = _pattern(spelling).fullmatch(text)
    if match is None:
        return None
    body = match["body"]
    if spelling.thousands:
        for group in _groups(spelling.thousands):
            body = body.replace(group, "")
    value = float(body.replace(spelling.decimal, "."))
    return -value if match["sign"] in ("-", _MINUS) or match["open"] else value


def find(
    texts: Collection[str],
    decimal: str | None = None,
    thousands: str | None = None,
    *,
    prefer: str | None = None,
    commas: bool = False,
) -> Spelling | None:
    """Return the spelling in which all texts are numbers, None if there is none.

    Parameters
    ----------
    texts : collection of str
        Different values of a column.
    decimal, thousands : str, optional
        The characters, where they are known.
    prefer : str, optional
        The decimal character that decides where two spellings fit.
    commas : bool
        Whether other columns of the table have decimal commas, so that 1.234 is no decimal.

    Raises
    ------
    AmbiguousNumberError
        If two spellings fit and give different numbers, such as 1,234.
    """
    if decimal and thousands is not None:
        known = [Spelling(decimal, thousands)]
    elif decimal:
        known = [spelling for spelling in SPELLINGS if spelling.decimal == decimal]
        prefer, commas = decimal, decimal == ","
    elif thousands is not None:
        known = [spelling for spelling in SPELLINGS if spelling.thousands in ("", thousands) and spelling.decimal != thousands]
    else:
        known = SPELLINGS
    if PLAIN not in known:
        known = [*known, PLAIN]
    fitting = [spelling for spelling in known if all(_pattern(spelling).fullmatch(text) for text in texts)]
    if not fitting:
        return None
    simplest = min(fitting, key=lambda spelling: len(spelling.thousands))
    if not _differ(texts, fitting):
        return simplest
    if (decimal or thousands) and fitting[0] != PLAIN:
        grouped = [spelling for spelling in fitting if spelling.thousands and spelling != PLAIN]
        return grouped[0] if grouped else fitting[0]
    if PLAIN in fitting and not commas:
        return PLAIN
    preferred = [spelling for spelling in fitting if spelling.decimal == prefer and spelling != PLAIN]
    if preferred:
        return max(preferred, key=lambda spelling: len(spelling.thousands))
    if any("$" in text or "\u00a3" in text for text in texts):
        return Spelling(".", ",")
    text = next(text for text in sorted(texts) if len({parse(text, spelling) for spelling in fitting}) > 1)
    one, two = sorted({parse(text, spelling) or 0.0 for spelling in fitting})[:2]
    raise AmbiguousNumberError(f"{text!r} may be {one:g} or {two:g}")


def _differ(texts: Collection[str], spellings: list[Spelling]) -> bool:
    return any(len({parse(text, spelling) for spelling in spellings}) > 1 for text in texts)


def _groups(thousands: str) -> str:
    return _SPACES if thousands == " " else _APOSTROPHES if thousands == "'" else thousands


_PATTERNS: dict[Spelling, re.Pattern[str]] = {}


def _pattern(spelling: Spelling) -> re.Pattern[str]:
    if spelling not in _PATTERNS:
        point = re.escape(spelling.decimal)
        digits = r"\d+"
        if spelling.thousands:
            group = f"[{re.escape(_groups(spelling.thousands))}]"
            digits = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)"
        body = rf"(?P<body>{digits}(?:{point}\d*)?{_EXPONENT}|{point}\d+{_EXPONENT})"
        space = f"[{_SPACES}]*"
        _PATTERNS[spelling] = re.compile(
            rf"(?P<open>\()?{space}{_CURRENCY}?{space}(?P<sign>[+\-{_MINUS}]?){space}{_CURRENCY}?{space}{body}{space}(?:%|{_CURRENCY})?{space}(?(open)\))"
        )
    return _PATTERNS[spelling]
