"""See backpropagation happen: traces, diagnoses, plots and the page.

Names are loaded when they are first used; matplotlib only by what draws with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Importance": "importance",
    "LayerTrace": "tape",
    "Page": "inline",
    "Recording": "recording",
    "Trace": "trace",
    "laboratory": "live",
    "page": "my_run",
    "permutation_importance": "importance",
    "record": "recording",
    "write_page": "recorded_page",
}

_MODULES = ("choosing", "diagnosis", "plots")

__all__ = sorted([*_HOMES, *_MODULES])


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
