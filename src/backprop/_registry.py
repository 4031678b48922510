"""The built-in classes of one kind, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from ._arrays import check_choice, refuse_class

T = TypeVar("T")


class Registry(Generic[T]):
    """Makes objects of the built-in classes of one kind from their names and options.

    Parameters
    ----------
    kind : str
        What error messages call an object, such as "optimizer".
    classes : iterable of classes
        Each has a ``name``.
    """

    def __init__(self, kind: str, classes: Iterable[Any]) -> None:
        self._kind = kind
        self._classes: dict[str, Callable[..., T]] = {each.name: each for each in classes}

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the classes."""
        return tuple(self._classes)

    def __contains__(self, kind: object) -> bool:
        """Whether a class is one of them."""
        return kind in self._classes.values()

    def make(self, spec: Any) -> T:
        """Return the object that a name stands for, or a mapping of the name and the options, as ``config()`` returns it.

        Raises
        ------
        ValueError
            For a name that is none of them; a near miss is named.
        TypeError
            For anything else.
        """
        refuse_class(self._kind, spec, "a name or an object")
        options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
        name = check_choice(self._kind, options.pop("name", None), self.names)
        return self._classes[name](**options)
