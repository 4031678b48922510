"""ONNX: the encoding of a table, in double precision, with one input for each column."""

from __future__ import annotations

from collections.abc import Iterable
from math import pi
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..tabular import BooleanFeature, CategoricalFeature, DateFeature, NumericFeature, TableEncoder
from ._dates import CIRCLES
from ._graph import DOUBLE, FLOAT, Graph, Value
from ._words import category_words, missing_numbers, missing_spellings, truth_words


class Described(NamedTuple):
    """Name, dtype and shape of an input or output."""

    name: str
    dtype: npt.DTypeLike
    shape: tuple[Any, ...]


def encode(encoder: TableEncoder, inputs: list[Value]) -> tuple[Value, list[Described]]:
    """Return the matrix that the encoder makes of the inputs (n, 1), in the dtype of the graph, and what the inputs are."""
    graph = inputs[0].graph
    numbers = missing_numbers(encoder.missing)
    parts: list[Value] = []
    described = []
    for feature, x in zip(encoder.features, inputs, strict=True):
        if isinstance(feature, NumericFeature):
            parts += _numeric(feature, x, numbers)
        elif isinstance(feature, BooleanFeature):
            parts += _boolean(feature, x, encoder.missing)
        elif isinstance(feature, CategoricalFeature):
            parts += _categorical(feature, x, encoder.missing)
        else:
            parts += _date(feature, x)
        text = isinstance(feature, BooleanFeature | CategoricalFeature)
        described.append(Described(x.name, object if text else np.float64, ("batch", 1)))
    matrix = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)
    return (matrix if graph.dtype == np.float64 else graph.add("Cast", matrix, to=FLOAT)), described


def _double(graph: Graph, number: float) -> Value:
    return graph.exact(np.array(number, np.float64))


def _filled(x: Value, fill: float, flagged: bool, missing_numbers: Iterable[float] = ()) -> tuple[Value, list[Value]]:
    """The input without NaN and the numbers that stand for a missing value, and the flag."""
    graph = x.graph
    missing = graph.add("IsNaN", x)
    for number in missing_numbers:
        missing = graph.add("Or", missing, graph.add("Equal", x, _double(graph, number)))
    flags = [graph.add("Cast", missing, to=DOUBLE)] if flagged else []
    return graph.add("Where", missing, _double(graph, fill), x), flags


def _standard(x: Value, centre: float, scale: float) -> Value:
    return (x - _double(x.graph, centre)) / _double(x.graph, scale)


def _numeric(feature: NumericFeature, x: Value, missing_numbers: Iterable[float]) -> list[Value]:
    graph = x.graph
    filled, flags = _filled(x, feature.fill, feature.flagged, missing_numbers)
    z = _standard(filled, feature.centre, feature.scale)
    if feature.clip:
        ratio = z / _double(graph, feature.clip)
        z = z / graph.add("Sqrt", ratio * ratio + _double(graph, 1.0))
    return [z, *flags]


def _looked_up(x: Value, words: Iterable[tuple[str, int]], default: int) -> Value:
    """The number of each text (n, 1)."""
    keys, values = zip(*words, strict=True)
    options = {"keys_strings": list(keys), "values_int64s": list(values), "default_int64": default}
    return x.graph.add("LabelEncoder", x, domain="ai.onnx.ml", **options)


def _flag(x: Value, missing: frozenset[str]) -> Value:
    found = _looked_up(x, dict.fromkeys(missing_spellings(missing), 1).items(), 0)
    return x.graph.add("Cast", found, to=DOUBLE)


def _boolean(feature: BooleanFeature, x: Value, missing: frozenset[str]) -> list[Value]:
    words = {**dict.fromkeys(missing_spellings(missing), int(feature.fill)), **truth_words()}
    value = x.graph.add("Cast", _looked_up(x, words.items(), int(feature.fill)), to=DOUBLE)
    return [value, _flag(x, missing)] if feature.flagged else [value]


def _categorical(feature: CategoricalFeature, x: Value, missing: frozenset[str]) -> list[Value]:
    graph, k = x.graph, len(feature.categories)
    index = _looked_up(x, category_words(feature, missing).items(), -1)
    hot = graph.add("OneHotEncoder", index, domain="ai.onnx.ml", cats_int64s=list(range(k)), zeros=1)  # (n, 1, k)
    columns = graph.add("Cast", graph.add("Squeeze", hot, graph.exact(np.array([1], np.int64))), to=DOUBLE)
    return [columns, _flag(x, missing)] if feature.flagged else [columns]


def _date(feature: DateFeature, x: Value) -> list[Value]:
    graph = x.graph
    days, flags = _filled(x / _double(graph, 86_400.0), feature.fill, feature.flagged)
    parts = _calendar(days)
    found = []
    for part in feature.parts:
        if part in CIRCLES:
            angle = parts[part] * _double(graph, 2 * pi / CIRCLES[part])
            found += [graph.add("Sin", angle), graph.add("Cos", angle)]
        elif part == "year":
            found.append(_standard(parts[part], feature.year_centre, feature.year_scale))
        else:
            found.append(_standard(parts[part], feature.centre, feature.scale))
    return found + flags


def _calendar(days: Value) -> dict[str, Value]:
    """Year, month and so on of days since 1970, by whole numbers in double precision.

    Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days: years begin in March, in eras of 400.
    """
    graph = days.graph

    def number(value: float) -> Value:
        return _double(graph, value)

    def quotient(value: Value, divisor: int) -> Value:
        return graph.add("Floor", value / number(divisor))

    whole = graph.add("Floor", days)
    shifted = whole + number(719_468)
    era = quotient(shifted, 146_097)
    day = shifted - era * number(146_097)
    year = quotient(day - quotient(day, 1460) + quotient(day, 36_524) - quotient(day, 146_096), 365)
    rest = day - (year * number(365) + quotient(year, 4) - quotient(year, 100))
    from_march = quotient(rest * number(5) + number(2), 153)
    early = graph.add("Less", from_march, number(10))  # March to December
    month = graph.add("Where", early, from_march + number(2), from_march - number(10))
    weekday = whole + number(3)
    return {
        "elapsed": days,
        "year": year + era * number(400) + graph.add("Where", early, number(0), number(1)),
        "month": month,
        "weekday": weekday - quotient(weekday, 7) * number(7),
        "hour": (days - whole) * number(24),
    }
