"""Objects whose options may be assigned at any time, and whose readers keep what they have made of them."""

from __future__ import annotations

from typing import Any, ClassVar


class Settings:
    """`settings` is another object after every assignment: who finds the one it knows can go on with what it has made.

    Counts, which change at every step, don't count.
    """

    settings: object = None
    _COUNTS: ClassVar[frozenset[str]] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name not in self._COUNTS:
            self.__dict__["settings"] = object()
