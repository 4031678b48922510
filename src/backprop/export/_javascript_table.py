"""JavaScript: the encoding of a row of a table, an object with a value for each column."""

from __future__ import annotations

import json
from typing import Any

from ..tabular import BooleanFeature, CategoricalFeature, NumericFeature, TableEncoder
from ..tabular._columns import positions


def encode(encoder: TableEncoder) -> str:
    """Return the functions that encode a row."""
    columns = ",\n  ".join(text(_described(feature)) for feature in encoder.features)
    return _CODE.replace("COLUMNS", columns).replace("MISSING", text(sorted(encoder.missing))).strip()


def text(value: Any) -> str:
    """Return a value as JavaScript writes it, for any page that the module may stand in."""
    return json.dumps(value).replace("<", "\\u003c")


def _described(feature: Any) -> dict[str, Any]:
    if isinstance(feature, NumericFeature):
        keys: tuple[str, ...] = ("centre", "scale", "clip")
    elif isinstance(feature, BooleanFeature | CategoricalFeature):
        keys = ()
    else:
        keys = ("parts", "centre", "scale", "year_centre", "year_scale")
    found = {key: getattr(feature, key) for key in ("name", "kind", "fill", "flagged", *keys)}
    if isinstance(feature, CategoricalFeature):
        found |= {"size": len(feature.categories), "positions": positions(feature.categories)}
    return found


_CODE = r"""
export const columns = [
  COLUMNS
];
const missingWords = new Set(MISSING);

// The text that stands for a value, null for a missing one: 7, 7.0 and "7.0" are "7".
function textOf(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return null;
  const text = String(value).trim().replace(/^(?:\+(?!-))?(-?(?:0|[1-9]\d*))(?:\.0*)?$/, "$1");
  return missingWords.has(text.toLowerCase()) ? null : text;
}

function refuse(column, value, what) {
  throw new TypeError(`${column.name} must be ${what}, got ${JSON.stringify(value)}`);
}

function encodeNumber(column, value) {
  const text = typeof value === "boolean" ? String(Number(value)) : textOf(value);
  const number = text === null ? column.fill : Number(text);
  if (!Number.isFinite(number)) refuse(column, value, "a finite number");
  const z = (number - column.centre) / column.scale;
  return [column.clip ? z / Math.sqrt(1 + (z / column.clip) ** 2) : z, text === null];
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

// A Date, or text that Date reads; without a zone it is UTC.
function encodeDate(column, value) {
  const text = value instanceof Date ? value.toISOString() : textOf(value);
  const local = text !== null && /\d:\d/.test(text) && !/(Z|UTC|GMT|[+-]\d\d:?\d\d)$/.test(text);
  const days = text === null ? column.fill : Date.parse(local ? `${text.replace(" ", "T")}Z` : text) / 86400000;
  if (!Number.isFinite(days)) refuse(column, value, "a date");
  const date = new Date(Math.round(days * 86400000)), whole = Math.floor(days);
  const parts = {
    elapsed: [(days - column.centre) / column.scale],
    year: [(date.getUTCFullYear() - column.year_centre) / column.year_scale],
    month: circle(date.getUTCMonth() / 12),
    weekday: circle((((whole + 3) % 7) + 7) % 7 / 7),
    hour: circle(days - whole),
  };
  return [...column.parts.flatMap(part => parts[part]), text === null];
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
