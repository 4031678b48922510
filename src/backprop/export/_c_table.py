"""C: the encoding of a row of a table, one float for each column."""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np

from .._types import Array
from ..tabular import BooleanFeature, CategoricalFeature, DateFeature, NumericFeature, TableEncoder
from ._c_text import literal, string
from ._dates import CIRCLES
from ._words import category_words, missing_numbers, missing_spellings, truth_words

GAP = -2
"""What stands for a missing word; -1 stands for one that has no category."""


def encode(encoder: TableEncoder, name: str) -> tuple[str, dict[str, str], bool]:
    """Return the function that encodes a row, the helpers that it calls, and whether they need math.h."""
    lines: list[str] = []
    helpers: set[str] = set()
    missing = missing_numbers(encoder.missing)
    place = 0
    for column, feature in enumerate(encoder.features):
        flagged = int(feature.flagged)
        if isinstance(feature, NumericFeature):
            helper = "clipped" if feature.clip else "number"
            helpers.add(helper)
            clip = f", {feature.clip!r}" if feature.clip else ""
            numbers = f"{feature.fill!r}, {feature.centre!r}, {feature.scale!r}{clip}, {flagged}"
            given = f"{name}_known(x[{column}])" if missing else f"x[{column}]"
            lines.append(f"{name}_{helper}(z + {place}, {given}, {numbers});")
        elif isinstance(feature, BooleanFeature):
            helpers.add("truth")
            lines.append(f"{name}_truth(z + {place}, x[{column}], {int(feature.fill)}, {flagged});")
        elif isinstance(feature, CategoricalFeature):
            helpers.add("category_of")
            k = len(feature.categories)
            fill = feature.categories.index(feature.fill) if feature.fill in feature.categories else -1
            lines.append(f"{name}_category_of(z + {place}, x[{column}], {fill}, {k}, {flagged});")
        else:
            helpers |= {"calendar"} if {"year", "month"} & set(feature.parts) else set()
            lines += _date(feature, column, place, name)
        place += len(feature.names)
    body = "\n".join(f"    {line}" for line in lines)
    needed = {helper: _HELPERS[helper].replace("NAME", name).strip() for helper in sorted(helpers)}
    if missing and helpers & {"number", "clipped"}:
        same = " || ".join(f"x == {literal(number)}" for number in missing)
        needed["known"] = f"static float {name}_known(float x) {{\n    return {same} ? {literal(float('nan'))} : x;\n}}"
    head = f"static void {name}_encode(float *z, const float *x)"
    needs_math = "clipped" in helpers or any(isinstance(feature, DateFeature) for feature in encoder.features)
    return f"{head} {{\n{body}\n}}", needed, needs_math


def _date(feature: DateFeature, column: int, place: int, name: str) -> list[str]:
    given = f"x[{column}]"
    lines = ["{", f"    const double days = {given} != {given} ? {feature.fill!r} : (double){given};"]
    if {"year", "month"} & set(feature.parts):
        lines.append(f"    const struct {name}_date date = {name}_calendar(days);")
    lines.append("    const double whole = floor(days);")
    values = {
        "elapsed": "days",
        "year": "date.year",
        "month": "date.month",
        "weekday": "(whole + 3.0 - 7.0 * floor((whole + 3.0) / 7.0))",
        "hour": "(24.0 * (days - whole))",
    }
    for part in feature.parts:
        value = values[part]
        if part in CIRCLES:
            angle = f"{2 * pi / CIRCLES[part]!r} * {value}"
            lines += [f"    z[{place}] = (float)sin({angle});", f"    z[{place + 1}] = (float)cos({angle});"]
            place += 2
        else:
            year = part == "year"
            centre, scale = (feature.year_centre, feature.year_scale) if year else (feature.centre, feature.scale)
            lines.append(f"    z[{place}] = (float)(({value} - {centre!r}) / {scale!r});")
            place += 1
    if feature.flagged:
        lines.append(f"    z[{place}] = {given} != {given};")
    if not {"weekday", "hour"} & set(feature.parts):
        lines = [line for line in lines if "double whole" not in line]
    if not feature.parts:
        lines = [line for line in lines if "double days" not in line]
    return [*lines, "}"]


def words(encoder: TableEncoder, name: str) -> tuple[str, int]:
    """Return the function that gives the number for a word of a column, and the bytes of its constants; "" where none has words."""
    cases, flash = [], 0
    for column, feature in enumerate(encoder.features):
        if isinstance(feature, CategoricalFeature):
            found = category_words(feature, frozenset())
        elif isinstance(feature, BooleanFeature):
            found = truth_words()
        else:
            continue
        found = {**found, **dict.fromkeys(missing_spellings(encoder.missing), GAP)}
        for text, index in found.items():
            cases.append(f"    if (column == {column} && {name}_same(word, {string(text)})) return {float(index)}f;")
            flash += len(text.encode()) + 1
    if not cases:
        return "", 0
    same = f"""
static int {name}_same(const char *one, const char *other) {{
    while (*one && *one == *other) one++, other++;
    return *one == *other;
}}""".strip()
    head = f"float {name}_word(int column, const char *word) {{"
    return "\n".join([f"{same}\n", head, *cases, "    return -1.0f;", "}"]), flash


def columns(encoder: TableEncoder) -> list[str]:
    """Return what is to be put into x for each column, for the comment."""
    missing = "".join(f" or {number:g}" for number in missing_numbers(encoder.missing))
    kinds = {
        "numeric": f"a number, NaN{missing} where it is missing",
        "boolean": "1 true, 0 false, NaN where it is missing",
        "date": "days since 1970 (UTC), NaN where it is missing",
    }
    lines = []
    for index, feature in enumerate(encoder.features):
        what = kinds.get(feature.kind, f"a category's position, -1 any other, {GAP} or NaN where it is missing")
        text = feature.name.encode("ascii", "backslashreplace").decode().replace("*/", "* /").replace("/*", "/ *")
        lines.append(f"x[{index}] {' '.join(text.split())}: {what}")
    return lines


def examples(encoder: TableEncoder, rows: int) -> tuple[Array, Array]:
    """Return rows as the C function takes them, float32, and the matrix that the encoder makes of the same rows."""
    rng = np.random.default_rng(0)
    x = np.empty((rows, len(encoder.features)), np.float32)
    table: dict[str, list[Any]] = {}
    for column, feature in enumerate(encoder.features):
        if isinstance(feature, CategoricalFeature):
            x[:, column] = rng.integers(GAP, len(feature.categories), rows)
            texts = [None, "\x00", *feature.categories]
            table[feature.name] = [texts[int(value) - GAP] for value in x[:, column]]
        elif isinstance(feature, BooleanFeature):
            x[:, column] = rng.choice([0.0, 1.0, np.nan], rows)
            table[feature.name] = [None if value != value else bool(value) for value in x[:, column]]
        else:
            x[:, column] = feature.centre + feature.scale * rng.normal(size=rows)
            x[rng.random(rows) < 0.25, column] = np.nan
            values = x[:, column].astype(np.float64).tolist()
            table[feature.name] = [None if value != value else _value(feature, value) for value in values]
    return x, encoder.transform(table, np.float64)


def _value(feature: NumericFeature | DateFeature, number: float) -> Any:
    return np.datetime64(round(number * 86_400e6), "us").item() if isinstance(feature, DateFeature) else number


_HELPERS = {
    "number": """
static void NAME_number(float *z, float x, double fill, double centre, double scale, int flagged) {
    z[0] = (float)(((x != x ? fill : (double)x) - centre) / scale);
    if (flagged) z[1] = x != x;
}""",
    "clipped": """
static void NAME_clipped(float *z, float x, double fill, double centre, double scale, double clip, int flagged) {
    const double value = ((x != x ? fill : (double)x) - centre) / scale;
    z[0] = (float)(value / sqrt(1.0 + (value / clip) * (value / clip)));
    if (flagged) z[1] = x != x;
}""",
    "truth": """
static void NAME_truth(float *z, float x, int fill, int flagged) {
    const int missing = !(x > -1.5f);
    z[0] = missing ? (float)fill : (float)(x > 0.5f);
    if (flagged) z[1] = (float)missing;
}""",
    "category_of": """
static void NAME_category_of(float *z, float x, int fill, int n, int flagged) {
    const int missing = !(x > -1.5f), hot = missing ? fill : x < (float)n ? (int)x : -1;
    for (int i = 0; i < n; i++) z[i] = (float)(i == hot && (missing || x >= 0.0f));
    if (flagged) z[n] = (float)missing;
}""",
    "calendar": """
struct NAME_date { double year, month; };

/* Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days: years begin in March, in eras of 400. */
static struct NAME_date NAME_calendar(double days) {
    const double shifted = floor(days) + 719468.0, era = floor(shifted / 146097.0), day = shifted - era * 146097.0;
    const double year = floor((day - floor(day / 1460.0) + floor(day / 36524.0) - floor(day / 146096.0)) / 365.0);
    const double rest = day - (365.0 * year + floor(year / 4.0) - floor(year / 100.0));
    const double from_march = floor((5.0 * rest + 2.0) / 153.0);
    struct NAME_date date;
    date.month = from_march < 10.0 ? from_march + 2.0 : from_march - 10.0;
    date.year = year + era * 400.0 + (from_march < 10.0 ? 0.0 : 1.0);
    return date;
}""",
}
