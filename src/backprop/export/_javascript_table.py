"""JavaScript: the encoding of a row of a table, an object with a value for each column."""

from __future__ import annotations

import json
import re
from typing import Any

from ..tabular import BooleanFeature, CategoricalFeature, DateFeature, NumericFeature, TableEncoder, _dates, _spelling
from ..tabular._columns import positions
from ._words import missing_numbers

_SAFE = 2**53 - 1  # JavaScript's numbers tell larger integers not apart


def encode(encoder: TableEncoder) -> str:
    """Return the functions that encode a row."""
    columns = ",\n  ".join(text(_described(feature)) for feature in encoder.features)
    numeric = [feature for feature in encoder.features if isinstance(feature, NumericFeature)]
    spellings = {_spelled(feature): _pattern_of_numbers(_spelled(feature)) for feature in numeric}
    forms = [form for feature in encoder.features if isinstance(feature, DateFeature) for form in _forms(feature)]
    dates = {form: pattern for form in forms if (pattern := _pattern_of_dates(form)) is not None}
    values = {
        "COLUMNS": columns,
        "MISSING_WORDS": text(sorted(encoder.missing)),
        "MISSING_NUMBERS": text(missing_numbers(encoder.missing)),
        "NUMBERS": _patterns({"".join(spelling): pattern for spelling, pattern in spellings.items()}),
        "DATES": _patterns(dates),
    }
    return re.sub("|".join(values), lambda match: values[match[0]], _CODE).strip()


def text(value: Any) -> str:
    """Return a value as JavaScript writes it, for any page that the module may stand in; integers that it rounds, as text."""
    if isinstance(value, list):
        value = [str(item) if type(item) is int and abs(item) > _SAFE else item for item in value]
    written = json.dumps(value).replace("<", "\\u003c")
    return re.sub(r'(?<=[{ ])"__proto__": ', '["__proto__"]: ', written)  # without brackets it is no key


def _patterns(sources: dict[str, str]) -> str:
    return text({name: f"^(?:{source})$" for name, source in sources.items()})


def _spelled(feature: NumericFeature) -> _spelling.Spelling:
    return _spelling.Spelling(feature.decimal, feature.thousands)


def _pattern_of_numbers(spelling: _spelling.Spelling) -> str:
    """The pattern of a number, as JavaScript has it, without the parentheses of a negative amount."""
    source = _spelling._pattern(spelling).pattern
    return _for_javascript(source.removeprefix(r"(?P<open>\()?").removesuffix(r"(?(open)\))"))


def _for_javascript(source: str) -> str:
    return source.replace("(?P<", "(?<").replace("(?P=separator)", r"\k<separator>")


_DIRECTIVES = {
    **{"%Y": r"(?<year>\d{4})", "%y": r"(?<year>\d{2})", "%m": r"(?<month>\d{1,2})", "%d": r"(?<day>\d{1,2})"},
    **{"%H": r"(?<hour>\d{1,2})", "%I": r"(?<hour>\d{1,2})", "%M": r"(?<minute>\d{1,2})", "%S": r"(?<second>\d{1,2})"},
    **{"%f": r"(?<fraction>\d{1,6})", "%p": r"(?<half>[AaPp][Mm])", "%z": r"(?<zone>Z|[+-]\d\d:?\d\d)", "%%": "%"},
    **{"%b": r"(?<name>[A-Za-z]{3})", "%B": r"(?<name>[A-Za-z]{3,9})"},
}


def _forms(feature: DateFeature) -> list[str]:
    """The formats of texts that the column takes: its own, and the others that do not exchange day and month."""
    own = feature.format
    if "%" in own or own == "time":  # which is no date
        return [own]
    orders = {"day-month-year", "month-day-year"}
    return [own, *(form for form in _dates.FORMATS if form not in (own, "time") and {own, form} != orders)]


def _pattern_of_dates(form: str) -> str | None:
    """The pattern of a date, as JavaScript has it; None for a format with parts that it does not read."""
    if "%" not in form:
        return _for_javascript(_dates.FORMATS[form].pattern)
    found = [_DIRECTIVES.get(part, None if part[0] == "%" else re.escape(part)) for part in re.findall("%.|[^%]+", form, re.DOTALL)]
    pattern = "".join(part or "" for part in found)
    groups = re.findall(r"\(\?<(\w+)>", pattern)
    return None if None in found or len(set(groups)) < len(groups) or ("%I" in form) != ("%p" in form) else pattern


def _described(feature: Any) -> dict[str, Any]:
    if isinstance(feature, NumericFeature):
        keys: tuple[str, ...] = ("centre", "scale", "clip", "decimal", "thousands")
    elif isinstance(feature, BooleanFeature | CategoricalFeature):
        keys = ()
    else:
        keys = ("parts", "centre", "scale", "year_centre", "year_scale")
    found = {key: getattr(feature, key) for key in ("name", "kind", "fill", "flagged", *keys)}
    if isinstance(feature, CategoricalFeature):
        found |= {"size": len(feature.categories), "positions": positions(feature.categories)}
    if isinstance(feature, DateFeature):
        found["formats"] = _forms(feature)
    return found


_CODE = r"""
export const columns = [
  COLUMNS
];
const missingWords = new Set(MISSING_WORDS), missingNumbers = new Set(MISSING_NUMBERS);
const compiled = sources => new Map(Object.entries(sources).map(([name, source]) => [name, new RegExp(source)]));
const numberPatterns = compiled(NUMBERS);
const datePatterns = compiled(DATES);

// A value as text; numbers as Python writes them.
function written(value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return String(value).trim();
  if (Number.isInteger(value)) return String(BigInt(value));
  return Math.abs(value) < 1e-4 ? value.toExponential().replace(/e-(\d)$/, "e-0$1") : String(value);
}

// The text that stands for a value, null for a missing one: 7, 7.0 and "7.0" are "7".
function textOf(value) {
  if (value === null || value === undefined || Number.isNaN(value) || missingNumbers.has(value)) return null;
  const text = written(value).replace(/^(?:\+(?!-))?(-?(?:0|[1-9]\d*))(?:\.0*)?$/, "$1");
  return missingWords.has(text.toLowerCase()) ? null : text;
}

function refuse(column, value, what) {
  throw new TypeError(`${column.name} must be ${what}, got ${JSON.stringify(value)}`);
}

// The number that a text spells, as the training data did or plainly.
function spelled(column, text) {
  const inner = /^\((.*)\)$/.exec(text), pattern = numberPatterns.get(column.decimal + column.thousands);
  const found = pattern.exec(inner ? inner[1] : text);
  if (!found) return /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  const groups = {" ": /[ \u00a0\u202f\u2009]/g, "'": /['\u2019]/g, ".": /\./g, ",": /,/g}[column.thousands];
  const body = groups ? found.groups.body.replace(groups, "") : found.groups.body;
  const size = Number(body.replace(column.decimal, "."));
  return inner || found.groups.sign === "-" || found.groups.sign === "\u2212" ? -size : size;
}

function encodeNumber(column, value) {
  const missing = textOf(value) === null;
  const given = typeof value === "string" ? spelled(column, value.trim()) : typeof value === "object" ? NaN : Number(value);
  const number = missing ? column.fill : given;
  if (!Number.isFinite(number)) refuse(column, value, "a finite number");
  const z = (number - column.centre) / column.scale;
  return [column.clip ? z / Math.sqrt(1 + (z / column.clip) ** 2) : z, missing];
}

function encodeTruth(column, value) {
  const text = textOf(value);
  if (text === null) return [Number(column.fill), true];
  const place = ["true", "t", "yes", "y", "1", "false", "f", "no", "n", "0"].indexOf(text.toLowerCase());
  if (place < 0) refuse(column, value, "true or false");
  return [place < 5 ? 1 : 0, false];
}

function encodeCategory(column, value) {
  const text = textOf(value), known = Object.hasOwn(column.positions, text ?? column.fill);
  const hot = known ? column.positions[text ?? column.fill] : -1;
  return [...Array.from({length: column.size}, (_, index) => Number(index === hot)), text === null];
}

const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

// Days since 1970 (UTC) of the parts of a date; NaN for a day or a time that there is not.
function daysOf(parts, epoch) {
  const {year = epoch, month = "1", name, day = "1", hour = "0", minute = "0", second = "0", fraction = "0", half, zone} = parts;
  const century = year.length > 2 ? 0 : year < 69 ? 2000 : 1900;
  const number = name ? months.indexOf(name.slice(0, 3).toLowerCase()) : month - 1;
  const date = new Date(0);
  date.setUTCFullYear(Number(year) + century, number, Number(day));
  const hours = half ? hour % 12 + 12 * /^p/i.test(half) : Number(hour);
  const valid = date.getUTCMonth() === number && date.getUTCDate() === Number(day) && minute < 60 && second < 60;
  if (!valid || (half ? hour < 1 || hour > 12 : hours > 24)) return NaN;
  const [, sign, east, minutes] = /^([+-])(\d\d):?(\d\d)$/.exec(zone ?? "") ?? [];
  const offset = sign ? Number(`${sign}1`) * (Number(east) * 60 + Number(minutes)) : 0;
  const seconds = (hours * 60 + Number(minute) - offset) * 60 + Number(second) + Number(`0.${fraction.slice(0, 6)}`);
  return (date.getTime() / 1000 + seconds) / 86400;
}

// Days since 1970 of a text, in the format of the training data, or in the only other one that it has; with dots the day is first.
function dated(column, text) {
  const found = column.formats.map(form => {
    const match = datePatterns.get(form)?.exec(text);
    return match ? daysOf(match.groups, form.includes("%") ? "1900" : "1970") : NaN;
  });
  const others = new Set(found.slice(1).filter(Number.isFinite));
  return Number.isFinite(found[0]) ? found[0] : others.size === 1 || /^\d+\./.test(text) ? [...others][0] : NaN;
}

// A Date, or text; without a zone it is UTC.
function encodeDate(column, value) {
  const isDate = value instanceof Date, missing = !isDate && textOf(value) === null;
  const days = missing ? column.fill : isDate ? value.getTime() / 86400000 : dated(column, written(value));
  if (!Number.isFinite(days)) refuse(column, value, "a date");
  const date = new Date(Math.floor(Math.round(days * 86400e6) / 1000)), whole = Math.floor(days);
  const parts = {
    elapsed: [(days - column.centre) / column.scale],
    year: [(date.getUTCFullYear() - column.year_centre) / column.year_scale],
    month: circle(date.getUTCMonth() / 12),
    weekday: circle((((whole + 3) % 7) + 7) % 7 / 7),
    hour: circle(days - whole),
  };
  return [...column.parts.flatMap(part => parts[part]), missing];
}

const circle = turn => [Math.sin(2 * Math.PI * turn), Math.cos(2 * Math.PI * turn)];
const encoders = {numeric: encodeNumber, boolean: encodeTruth, categorical: encodeCategory, date: encodeDate};

function encode(row) {
  return columns.flatMap(column => {
    if (!Object.hasOwn(row, column.name)) throw new TypeError(`the row has no ${column.name}`);
    const found = encoders[column.kind](column, row[column.name]);
    return column.flagged ? [...found.slice(0, -1), Number(found.at(-1))] : found.slice(0, -1);
  });
}
"""
