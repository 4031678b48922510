"""Features and targets as JSON, and back with every field checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

_TYPES: dict[Any, type | tuple[type, ...]] = {
    "str": str,
    "bool": bool,
    "float": (float, int),
    "int": int,
    "tuple[str, ...]": tuple,
    "tuple[float, ...]": tuple,
}

_CHOICES = {
    "decimal": {".", ","},
    "thousands": {"", ".", ",", "'", " "},
    "parts": {"elapsed", "year", "month", "weekday", "hour"},
    "type": {"str", "int", "float", "bool"},
}


def saved(item: Any) -> dict[str, Any]:
    """The kind and the fields of a feature or target."""
    return {"kind": item.kind, **asdict(item)}


def restored(classes: Mapping[str, type[Any]], config: Mapping[str, Any]) -> Any:
    """The feature or target with these fields; KeyError or TypeError when they are not what `saved` writes."""
    cls = classes[config["kind"]]
    values = {}
    for field in fields(cls):
        value: Any = config[field.name]
        if isinstance(value, list):
            value = tuple(value)
        if not isinstance(value, _TYPES[field.type]) or (isinstance(value, bool) and field.type != "bool"):
            raise TypeError(f"{field.name} must be {field.type}, got {value!r}")
        if isinstance(value, tuple) and not all(isinstance(item, str if "str" in field.type else float) for item in value):
            raise TypeError(f"{field.name} must be {field.type}, got {value!r}")
        _check_value(field.name, value)
        values[field.name] = value
    return cls(**values)


def _check_value(name: str, value: Any) -> None:
    """Refuse a value of the right type that no `fit` gives."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    if name in ("scale", "year_scale") and value <= 0:
        raise ValueError(f"{name} must be above 0, got {value!r}")
    if name in ("categories", "classes", "parts") and len(set(value)) < len(value):
        raise ValueError(f"{name} must differ, got {value!r}")
    if name in _CHOICES and not set(value if isinstance(value, tuple) else (value,)) <= _CHOICES[name]:
        raise ValueError(f"{name} must be of {sorted(_CHOICES[name])}, got {value!r}")
