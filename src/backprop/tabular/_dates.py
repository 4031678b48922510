"""Dates and times as text: ISO 8601 and the common spellings with numbers or the names of months."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

Dates = npt.NDArray[np.datetime64]  # of microseconds, UTC or without a zone; NaT where missing

_TIME = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|[+-]\d\d:?\d\d)?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def _with_time(date: str) -> re.Pattern[str]:
    return re.compile(rf"{date}(?:(?:[T ]|, )\s*{_TIME})?")


_YEAR = r"(?P<year>\d{2}(?:\d{2})?)"
_MONTH, _DAY = r"(?P<month>\d{1,2})", r"(?P<day>\d{1,2})"
_FIRST, _SECOND = r"(?P<separator>[-/.])", r"(?P=separator)"
_NAME = r"(?P<name>[A-Za-z]{3,9})\.?"
FORMATS: dict[str, re.Pattern[str]] = {
    "year-month-day": _with_time(rf"(?P<year>\d{{4}}){_FIRST}{_MONTH}{_SECOND}{_DAY}"),
    "day-month-year": _with_time(rf"{_DAY}{_FIRST}{_MONTH}{_SECOND}{_YEAR}"),
    "month-day-year": _with_time(rf"{_MONTH}{_FIRST}{_DAY}{_SECOND}{_YEAR}"),
    "day name year": _with_time(rf"(?:[A-Za-z]{{3}}, )?(?P<day>\d{{1,2}})[ .-]\s?{_NAME}[ ,-]\s?{_YEAR}"),
    "name day year": _with_time(rf"{_NAME} (?P<day>\d{{1,2}}),? (?P<year>\d{{4}})"),
    "time": re.compile(_TIME),
}
"""The spellings that are recognised, by name."""


class AmbiguousDateError(ValueError):
    """A column whose dates can be read in two ways."""


def find(texts: Collection[str]) -> str | None:
    """Return the name of the format in which all texts are dates, None if there is none.

    Raises
    ------
    AmbiguousDateError
        If day and month could be either way around, such as 03/04/2024. With dots the day comes first.
    """
    fitting = [name for name in FORMATS if all(parse(text, name) is not None for text in texts)]
    if len(fitting) == 2 and any(parse(text, fitting[0]) != parse(text, fitting[1]) for text in texts):
        if all(re.match(r"\d+\.", text) for text in texts):  # a fraction of a second has a dot, too
            return "day-month-year"
        raise AmbiguousDateError(next(text for text in sorted(texts) if parse(text, fitting[0]) != parse(text, fitting[1])))
    return fitting[0] if fitting else None


def parse(text: str, form: str) -> datetime | None:
    """Return the moment that a text names in a format of `FORMATS` or of `datetime.strptime`, None if it names none."""
    try:
        if "%" in form:
            return _without_zone(datetime.strptime(text, form))
        match = FORMATS[form].fullmatch(text)
        return None if match is None else _moment(match.groupdict())
    except (ValueError, OverflowError):
        return None


def parse_alike(text: str, form: str) -> datetime | None:
    """Return what `parse` does, also for a text in another format of `FORMATS`, unless it would exchange day and month.

    It says nothing about other texts of its column, so that a date is the same one whatever stands beside it.
    """
    moment = parse(text, form)
    if moment is not None or "%" in form:
        return moment
    try:
        other = find([text])
    except AmbiguousDateError:
        return None
    if other is None or {form, other} == {"day-month-year", "month-day-year"} or "time" in (form, other):
        return None
    return parse(text, other)


def convert(texts: Sequence[str | None], form: str, parse_one: Callable[[str, str], datetime | None] = parse) -> Dates | None:
    """Return the moments of a column, None if a text names none."""
    known: dict[str | None, Any] = {None: np.datetime64("NaT", "us")}
    for text in set(texts) - {None}:
        moment = parse_one(text, form)  # type: ignore[arg-type]
        if moment is None:
            return None
        known[text] = np.datetime64(moment, "us")
    return np.array([known[text] for text in texts], "M8[us]")


def _moment(fields: dict[str, str | None]) -> datetime:
    year, day = int(fields.get("year") or 1970), int(fields.get("day") or 1)
    if len(fields.get("year") or "1970") == 2:
        year += 2000 if year < 69 else 1900  # as strptime's %y
    name = fields.get("name")
    month = int(fields.get("month") or 1) if name is None else 1 + _MONTHS.index(name[:3].lower())
    hour = int(fields["hour"] or 0)
    half = (fields["half"] or "").lower()[:1]
    if half:
        if not 1 <= hour <= 12:
            raise ValueError("an hour of a half day")
        hour = hour % 12 + 12 * (half == "p")
    fraction = int((fields["fraction"] or "0")[:6].ljust(6, "0"))
    moment = datetime(year, month, day, 0 if hour == 24 else hour, int(fields["minute"] or 0), int(fields["second"] or 0), fraction)
    if hour == 24:
        moment += timedelta(days=1)
    zone = fields["zone"]
    if zone and zone not in ("Z", "UTC"):
        sign = -1 if zone[0] == "-" else 1
        moment -= sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    return moment


def _without_zone(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def of_objects(items: Sequence[Any]) -> Dates:
    """Return date and datetime objects as moments; None is missing. A time zone is converted to UTC."""
    moments: list[Any] = []
    for item in items:
        moment = None if item is None else _without_zone(item) if isinstance(item, datetime) else item
        moments.append(np.datetime64("NaT", "us") if moment is None else np.datetime64(moment, "us"))
    return np.array(moments, "M8[us]")
