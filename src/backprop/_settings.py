"""Options: arguments that are checked wherever they are assigned, in a constructor or later.

A class declares its options, and assigns them in ``__init__``; the declaration is the one place for the rule::

    class Dropout(Layer):
        rate: float = option(check_in, 0.0, 1.0, closed="left")

        def __init__(self, rate: float) -> None:
            self.rate = rate

Then ``layer.rate = 1.5`` raises ``ValueError: rate must be in [0, 1), got 1.5``, as ``Dropout(1.5)`` does. The value that the check
returns is stored in the object's ``__dict__``: reading an option is a plain attribute read. A failed assignment changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Never, Self, TypeVar, overload

Check = Callable[..., Any]  # check(name, value, *arguments, **keywords): the value to store, or an error that names the option

Value = TypeVar("Value", covariant=True)
Given = TypeVar("Given", contravariant=True)

UNSET: Any = object()


class Option:
    """The declaration of an option: its rule, and when it may be assigned."""

    __slots__ = ("_arguments", "_check", "_keywords", "_label", "default", "is_count", "remedy")

    def __init__(
        self,
        check: Check,
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        *,
        label: str | None = None,
        default: Any = UNSET,
        is_count: bool = False,
        remedy: str | None = None,
    ) -> None:
        self._check = check
        self._arguments = arguments
        self._keywords = keywords
        self._label = label
        self.default = default
        self.is_count = is_count
        self.remedy = remedy  # what to do instead of assigning; None: the option may be assigned at any time

    def checked(self, name: str, value: Any) -> Any:
        """Return the value to store for what was assigned, or raise an error that names the option."""
        return self._check(self._label or name, value, *self._arguments, **self._keywords)


def option(check: Check, *arguments: Any, label: str | None = None, default: Any = UNSET, **keywords: Any) -> Any:
    """Declare an option that may be assigned at any time.

    Parameters
    ----------
    check : callable
        ``check(name, value, *arguments, **keywords)`` returns the value to store.
    label : str, optional
        What messages call the option, if not by the attribute's name.
    default
        The value where none is assigned; without it the option has to be assigned in the constructor.

    Returns
    -------
    Option
        Typed as Any: the annotation of the attribute tells type checkers what reading it gives.
    """
    return Option(check, arguments, keywords, label=label, default=default)


def fixed(check: Check, *arguments: Any, label: str | None = None, default: Any = UNSET, remedy: str = "", **keywords: Any) -> Any:
    """Declare an option that cannot change once the object is built, as arrays or other objects depend on it.

    ``remedy`` says what to do instead of assigning; without it messages take that of the class.
    """
    return Option(check, arguments, keywords, label=label, default=default, remedy=remedy)


def count(check: Check, *arguments: Any, **keywords: Any) -> Any:
    """Declare a number that training moves on: assigning it leaves all that was made of the options valid."""
    return Option(check, arguments, keywords, is_count=True)


class Converted(Generic[Value, Given]):
    """The annotation of an option that is converted, for type checkers: reading it gives ``Value``, ``Given`` may be assigned."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: type) -> Value: ...
        def __get__(self, instance: object, owner: type) -> Any: ...
        def __set__(self, instance: object, value: Given) -> None: ...


def as_given(name: str, value: Any) -> Any:
    """Return the value: the check of what only the class itself assigns, in its constructor."""
    return value


def made_by(get: Callable[[Any], Any]) -> Check:
    """Return the check of an option that ``get`` converts; its errors name the option themselves."""
    return lambda name, value: get(value)


def optional(check: Check) -> Check:
    """Return a check that lets None pass."""
    return lambda name, value, *arguments, **keywords: None if value is None else check(name, value, *arguments, **keywords)


class Options:
    """An object with options.

    A class adds the rules that involve several options in `_check_options`, and what follows an assignment in `_assigned`.
    """

    _options: ClassVar[Mapping[str, Option]] = {}
    _without_default: ClassVar[frozenset[str]] = frozenset()
    _REMEDY: ClassVar[str] = "make a new object"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Move the declarations from the class into a table, so that instances hold plain attributes."""
        super().__init_subclass__(**kwargs)
        options = {name: value for base in reversed(cls.__bases__) for name, value in getattr(base, "_options", {}).items()}
        for name, value in list(vars(cls).items()):
            if isinstance(value, Option):
                options[name] = value
                if value.default is UNSET:
                    delattr(cls, name)
                else:
                    setattr(cls, name, value.default)
            elif hasattr(type(value), "__set__"):
                options.pop(name, None)  # a property takes the place of the option
        cls._options = options
        cls._without_default = frozenset(name for name, option in options.items() if option.default is UNSET)

    def __setattr__(self, name: str, value: Any) -> None:
        option = self._options.get(name)
        if option is None:
            object.__setattr__(self, name, value)
            if not name.startswith("_") or isinstance(getattr(type(self), name, None), FunctionType):  # it replaces a method
                self._assigned(name)
            return
        if option.remedy is not None and self._is_built():
            raise AttributeError(f"{type(self).__name__}.{name} cannot change any more: {option.remedy or self._REMEDY}")
        value = option.checked(name, value)
        state = self.__dict__
        before = state.get(name, UNSET)
        state[name] = value
        if (before is UNSET or not option.is_count) and self._is_built():
            try:
                self._check_options()
            except BaseException:
                if before is UNSET:
                    del state[name]
                else:
                    state[name] = before
                raise
        self._assigned(name)

    def _advance(self, name: str, by: int) -> None:
        """Move a count on by a number that needs no check; at every step or epoch, so without the way of an assignment."""
        if name in self._options:
            self.__dict__[name] += by
        else:  # a property in its place
            setattr(self, name, getattr(self, name) + by)

    def __delattr__(self, name: str) -> None:
        if name in self._options:
            raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")
        object.__delattr__(self, name)

    def _is_built(self) -> bool:
        """Whether the constructor has done its work: every option has a value."""
        return self.__dict__.keys() >= self._without_default

    def _check_options(self) -> None:
        """Raise an error unless the options fit together; called after each assignment, once there is a value for each."""

    def _assigned(self, name: str) -> None:
        """Follow up on an assignment that is done."""

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor, taken from the attributes of the same names.

        Raises
        ------
        TypeError
            When there is no such attribute.
        """
        arguments = {}
        for name in signature(type(self)).parameters:
            if not hasattr(self, name):
                raise TypeError(
                    f"{type(self).__name__}.__init__ takes {name!r} but the object has no attribute of that name: "
                    "set it there, or write config()"
                )
            arguments[name] = getattr(self, name)
        return arguments

    def __repr__(self) -> str:
        """Return the call that makes this object."""
        try:
            arguments = self._arguments()
        except TypeError:  # a class of the user's that keeps its arguments elsewhere
            return f"{type(self).__name__}(...)"
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


class Settings(Options):
    """An object with options that plans are made of.

    `settings` is a token: assigning an option replaces it. A cache stores the token it was built with and is valid while the
    object still holds it.
    """

    settings: object = None

    def _assigned(self, name: str) -> None:
        if name not in self._options or not self._options[name].is_count:
            self._renew_token()

    def _renew_token(self) -> None:
        self.__dict__["settings"] = object()


class ReadOnlyDict(dict[Any, Any]):
    """A dict that cannot be changed: the value of an option, which takes effect when it is assigned, not when it is edited."""

    def _refuse(self, *arguments: Any, **keywords: Any) -> Never:
        raise TypeError("the mapping of an option cannot be edited: assign a new mapping to the option")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


def call_of(value: object) -> str:
    """Return the call that makes an object: its arguments, as far as attributes of the same names hold them."""
    names = signature(type(value)).parameters
    shown = [f"{name}={getattr(value, name)!r}" for name in names if hasattr(value, name)]
    return f"{type(value).__name__}({', '.join(shown if len(shown) == len(names) else [*shown, '...'])})"
