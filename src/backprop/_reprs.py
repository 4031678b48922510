"""How objects show themselves."""

from __future__ import annotations

from inspect import signature


def call_of(value: object) -> str:
    """Return the call that makes an object: its arguments, as far as attributes of the same names hold them."""
    names = signature(type(value)).parameters
    shown = [f"{name}={getattr(value, name)!r}" for name in names if hasattr(value, name)]
    return f"{type(value).__name__}({', '.join(shown if len(shown) == len(names) else [*shown, '...'])})"
