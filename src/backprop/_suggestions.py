"""Unknown option names: an error that says which name was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean ...?"`` with the known name that is most like this one, or nothing if none is."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def suggests_options(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function answer to an unknown option with its own name, the option, and the option that was meant.

    Python's message lacks the last of these.
    """
    known = tuple(signature(function).parameters)
    owner = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                raise TypeError(f"{owner} has no option {name!r}{suggestion(name, known)}")
        return function(*args, **kwargs)

    return checked
