"""Overrides: what follows when a method is replaced that another one stands in for.

Some attributes are shortcuts of a method: `Layer.infer` computes what `forward` does in evaluation mode and keeps nothing,
`Loss.compute` what a call does with arrays that are prepared. A subclass that replaces the method need not know of its shortcuts,
and the inherited ones would still do what the method did before. So a base class names them, each with what takes its place::

    class Layer(metaclass=Overridable):
        def forward(self, x, training): ...
        def infer(self, x): ...                             # the general way, by `forward`
        _SHORTCUTS = {"infer": {"forward": infer}}          # shortcut: {method: replacement}

The rule: a shortcut is valid unless the method is defined in a more derived class than the shortcut. A class in which it is not
valid gets the replacement. This is decided when a class is made, and again when an attribute of a class is assigned or deleted, as
test suites and profilers do. `follow_assignment` does the same for a method that is assigned to one object.

A plan stands in for all methods of an object at once; `is_built_in` tells whether it may.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import FunctionType, MethodType
from typing import Any, ClassVar, cast

Shortcuts = Mapping[str, Mapping[str, Any]]  # shortcut: {method: what takes the shortcut's place where the method is replaced}

_PACKAGE = __name__.partition(".")[0]
_NOTHING: Any = object()
_OF_PYTHON = {"_abc_impl", "__dict__", "__weakref__"}  # no pickle holds them, and cloudpickle takes classes of scripts by value
_replaced: dict[type, set[str]] = {}  # the attributes that a class of this package has no longer as they were written
_listeners: list[Callable[[], None]] = []


class Overridable(ABCMeta):
    """The class of classes with shortcuts."""

    _SHORTCUTS: ClassVar[Shortcuts] = {}
    _written: dict[str, Any]  # the attributes that the class was made with

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(name, bases, namespace, **kwargs)
        type.__setattr__(cls, "_written", {name: value for name, value in vars(cls).items() if name not in _OF_PYTHON})
        _settle(cls)

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        _follow(cls, name)

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        _follow(cls, name)


def is_built_in(instance: object) -> bool:
    """Whether an object does what its class in this package says: no subclass, no method replaced on the class or the object."""
    kind = type(instance)
    if not is_of_this_package(kind) or (_replaced and any(_replaced.get(base) for base in kind.__mro__)):
        return False
    return _method_names(cast(Any, kind)).isdisjoint(vars(instance))


def written(instance: object, name: str) -> Any:
    """Return the method that the object, or the most derived class, defines itself: replacements of shortcuts are passed over.

    The methods that replacements call use it: a `Loss.__call__` reached by ``super().__call__`` must not come back to the subclass.
    """
    if name in vars(instance) and not _is_placed(instance, name):
        return vars(instance)[name]
    kind = type(instance)
    for base in kind.__mro__:
        definition = _definition(kind, base, name)
        if definition is not _NOTHING:
            return MethodType(definition, instance)
    raise AttributeError(f"{kind.__name__!r} object has no attribute {name!r}")


def replaces(instance: object, name: str, base: type) -> bool:
    """Whether the object itself, or a class that derives from ``base``, has a method of its own in place of that of ``base``."""
    kind = type(instance)
    if name in vars(instance) and not _is_placed(instance, name):
        own = vars(instance)[name]
        inherited = isinstance(own, MethodType) and own.__self__ is instance and own.__func__ is getattr(kind, name)
        if not inherited:  # as it is after a patch that was undone
            return True
    return any(_definition(kind, each, name) is not _NOTHING for each in kind.__mro__[: kind.__mro__.index(base)])


def follow_assignment(instance: Any) -> None:
    """Do for a method that was assigned to the object itself, or deleted from it, what is done for one of a class.

    `__setattr__` and `__delattr__` of an object with shortcuts call it when the name is a method that has some.
    """
    own = vars(instance)
    shortcuts = type(instance)._SHORTCUTS
    for shortcut in shortcuts:
        if _is_placed(instance, shortcut):
            del own[shortcut]
    for shortcut, methods in shortcuts.items():
        for method, replacement in methods.items():
            if method in own and shortcut not in own and not _is_placed(instance, method):
                own[shortcut] = MethodType(replacement, instance) if isinstance(replacement, FunctionType) else replacement


def assigned(instance: Any) -> dict[str, Any]:
    """Return the attributes of an object without the replacements of shortcuts, which belong to it and to no copy."""
    return {name: value for name, value in vars(instance).items() if not _is_placed(instance, name)}


def _is_placed(instance: Any, name: str) -> bool:
    """Whether `follow_assignment` put the attribute there."""
    replacements = type(instance)._SHORTCUTS.get(name)
    value = vars(instance).get(name, _NOTHING)
    if replacements is None or value is _NOTHING:
        return False
    bound = isinstance(value, MethodType) and value.__self__ is instance
    return any((value.__func__ if bound else value) is replacement for replacement in replacements.values())


def on_replacement(listener: Callable[[], None]) -> None:
    """Call ``listener`` after a method of a class has been replaced that objects may depend on."""
    _listeners.append(listener)


def missing(instance: object, *methods: str) -> TypeError:
    """Return the error to raise for a subclass that lacks methods; each is a text that says how to write it."""
    return TypeError(f"{type(instance).__name__} must define {' and '.join(methods)}")


def is_of_this_package(kind: type) -> bool:
    """Whether a class is defined in this package."""
    return kind.__module__.partition(".")[0] == _PACKAGE


@cache
def _method_names(kind: type) -> frozenset[str]:
    """The names of the methods of a class of this package."""
    return frozenset(
        name
        for base in kind.__mro__[:-1]
        for name, value in vars(base).items()
        if isinstance(value, FunctionType | staticmethod | classmethod)
    )


def _settle(cls: Overridable) -> None:
    """Put replacements where shortcuts are not valid, and take away those that are no longer needed."""
    for shortcut, methods in cls._SHORTCUTS.items():
        position = _position(cls, shortcut)
        method = min(methods, key=lambda name: _position(cls, name))
        if _position(cls, method) < position:
            if getattr(cls, shortcut) is not methods[method]:
                type.__setattr__(cls, shortcut, methods[method])
        elif shortcut in vars(cls) and _is_replacement(cls, shortcut, vars(cls)[shortcut]):
            if shortcut in cls._written:
                type.__setattr__(cls, shortcut, cls._written[shortcut])
            else:
                type.__delattr__(cls, shortcut)


def _position(cls: Overridable, name: str) -> tuple[int, int]:
    """Where an attribute is defined, smaller for more derived classes; within one, what has been assigned later comes first."""
    for index, base in enumerate(cls.__mro__):
        definition = _definition(cls, base, name)
        if definition is not _NOTHING:
            as_written = not isinstance(base, Overridable) or base._written.get(name, _NOTHING) is definition
            return index, int(as_written)
    return len(cls.__mro__), 1


def _definition(cls: type, base: type, name: str) -> Any:
    """What a base of ``cls`` itself has under a name, without the replacements of shortcuts; `_NOTHING` where it has nothing."""
    value = vars(base).get(name, _NOTHING)
    if isinstance(base, Overridable) and _is_replacement(base, name, value):
        return base._written.get(name, _NOTHING)
    return value


def _is_replacement(cls: Overridable, name: str, value: Any) -> bool:
    """Whether this is a value that `_settle` may have put there, not the one the class was made with."""
    replacements = cls._SHORTCUTS.get(name, {}).values()
    return any(value is other for other in replacements) and cls._written.get(name, _NOTHING) is not value


def _follow(cls: Overridable, name: str) -> None:
    """Do what the replacement of a class's attribute entails."""
    if "_written" not in vars(cls):  # it is being made
        return
    involved = any(name == shortcut or name in methods for shortcut, methods in cls._SHORTCUTS.items())
    if involved:
        for kind in _subclasses(cls):
            _settle(kind)
    if is_of_this_package(cls) and (name == "__call__" or not name.startswith("__")):
        names = _replaced.setdefault(cls, set())
        names.discard(name)
        if vars(cls).get(name, _NOTHING) is not cls._written.get(name, _NOTHING):
            names.add(name)
    elif not involved:
        return
    for listener in _listeners:
        listener()


def _subclasses(cls: Overridable) -> Iterator[Overridable]:
    yield cls
    for kind in type.__subclasses__(cast("Any", cls)):
        yield from _subclasses(cast(Overridable, kind))
