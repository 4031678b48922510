"""What a network shall predict from a table, and how its outputs stand for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from .._types import Numbers
from . import _columns, _kinds
from ._columns import Column, as_column
from ._features import read_numbers
from ._kinds import Settings
from ._saved import restored, saved
from ._spelling import Spelling

_MAX_GUESSED_CLASSES = 20
_NO_WORDS = frozenset({""})  # in a target, words such as none and NA are classes

Label = str | int | float | bool


@dataclass(frozen=True)
class ClassTarget:
    """Classes, kept as text: one output of the network for each.

    Attributes
    ----------
    name : str
        The name of the target.
    classes : tuple of str
        The classes, in the order of the network's outputs.
    type : {"str", "int", "float", "bool"}
        What the values were that the classes come from.
    shares : tuple of float
        The share of each class in the values.

    Examples
    --------
    >>> from backprop.tabular import ClassTarget
    >>> target = ClassTarget.fit("species", ["iris", "rose", "iris"])
    >>> target.transform(["rose", "iris"])
    array([1, 0])
    >>> target.inverse([[0.3, 1.7]])
    ['rose']
    """

    name: str
    classes: tuple[str, ...]
    type: str = field(default="str", repr=False)
    shares: tuple[float, ...] = field(default=(), repr=False)
    kind: ClassVar[str] = "classification"

    @classmethod
    def fit(cls, name: str, values: Any) -> Self:
        """Find the classes: in numerical order when all are numbers, in alphabetical order otherwise.

        Values that are equal but spelled differently are one class: 1, 1.0 and True, or yes, Yes and Y; it has the name of the most
        frequent spelling.

        Parameters
        ----------
        name : str
            The name of the target.
        values : column
            One value for each row, none missing.
        """
        column = _target_column(name, values)
        found = column.distinct()
        if column.is_text and column.booleans() is not None:
            rows_of = column.counts()
            frequent = sorted(rows_of, key=rows_of.__getitem__, reverse=True)
            found = set({_is_true(text): text for text in reversed(frequent)}.values())
        if len(found) < 2:
            raise ValueError(f"target {name!r} must hold at least two classes, holds {', '.join(map(repr, found))}")
        if column.numbers() is None:
            target = cls(name, tuple(sorted(found)), _type(column))
        else:
            target = cls(name, tuple(sorted(found, key=lambda text: (_number(text), text))), _type(column))
        counts = np.bincount(target.transform(column), minlength=target.n_outputs)
        return replace(target, shares=tuple((counts / len(column)).tolist()))

    def config(self) -> dict[str, Any]:
        """All that `target_from_config` needs, ready for JSON."""
        return saved(self)

    @property
    def n_outputs(self) -> int:
        """How many outputs the network needs."""
        return len(self.classes)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes as values of `type`."""
        if self.type == "bool":
            return tuple(text.lower() in _columns.TRUE for text in self.classes)
        make = {"str": str, "int": int, "float": float}[self.type]
        return tuple(make(text) for text in self.classes)

    def transform(self, values: Any) -> npt.NDArray[np.int64]:
        """Return the class of each row as a number, from 0; a ValueError for a value that is not a class."""
        column = _target_column(self.name, values)
        found = self.find(column)
        if (found < 0).any():
            row = int((found < 0).argmax())
            raise ValueError(
                f"target {self.name!r} must be one of the classes {', '.join(self.classes)}, "
                f"got {column.text(row)!r} in {column.place(row)}"
            )
        return found

    def find(self, column: Column) -> npt.NDArray[np.int64]:
        """Return the class of each row of a column as a number, -1 for a value that is not a class."""
        position = _columns.positions(self.classes, fold=all(text.lower() in _WORDS for text in self.classes))
        answers = _answers(self.classes)
        codes, texts = column.coded
        found = [-1 if text is None else position.get(text, answers.get(text.lower(), -1)) for text in texts]
        return np.array(found, np.int64)[codes]

    def inverse(self, outputs: npt.ArrayLike) -> list[str]:
        """Return the class of the largest output in each row."""
        return [self.classes[index] for index in np.argmax(outputs, axis=1)]


@dataclass(frozen=True)
class NumberTarget:
    """A number, standardised: one output of the network, ``(value - mean) / scale``.

    Attributes
    ----------
    name : str
        The name of the target.
    mean, scale : float
        Of the training values: their mean and standard deviation.
    decimal, thousands : str
        How texts spell the numbers.

    Examples
    --------
    >>> from backprop.tabular import NumberTarget
    >>> target = NumberTarget.fit("price", [100.0, 300.0])
    >>> target.transform([300.0])
    array([[1.]])
    >>> target.inverse([[0.0]])
    [200.0]
    """

    name: str
    mean: float
    scale: float
    decimal: str = field(default=".", repr=False)
    thousands: str = field(default="", repr=False)
    kind: ClassVar[str] = "regression"

    @classmethod
    def fit(cls, name: str, values: Any, *, decimal: str | None = None, thousands: str | None = None) -> Self:
        """Mean and standard deviation.

        Parameters
        ----------
        name : str
            The name of the target.
        values : column
            One value for each row, none missing.
        decimal, thousands : str, optional
            The characters that separate decimals and groups of thousands in text; recognised where that is possible.
        """
        column = _target_column(name, values)
        spelling = _kinds.spelling_of(column, Settings({}, {}, decimal=decimal, thousands=thousands)) or Spelling()
        column.learned = spelling
        return cls(name, *_columns.mean_and_scale(name, _require_numbers(column, spelling)), *spelling)

    def config(self) -> dict[str, Any]:
        """All that `target_from_config` needs, ready for JSON."""
        return saved(self)

    @property
    def n_outputs(self) -> int:
        """How many outputs the network needs."""
        return 1

    def transform(self, values: Any) -> Numbers:
        """Return the numbers as the network shall learn them, (n, 1)."""
        numbers = _require_numbers(_target_column(self.name, values), Spelling(self.decimal, self.thousands))
        standard: Numbers = ((numbers - self.mean) / self.scale)[:, None]
        return standard

    def inverse(self, outputs: npt.ArrayLike) -> list[float]:
        """Return the number that each row's output stands for."""
        predicted: list[float] = (np.asarray(outputs, np.float64)[:, 0] * self.scale + self.mean).tolist()
        return predicted


Target = ClassTarget | NumberTarget
_TARGETS: dict[str, type[Target]] = {cls.kind: cls for cls in (ClassTarget, NumberTarget)}
_WORDS = frozenset({"true", "false", "yes", "no", "t", "f", "y", "n", "1", "0"})


def fit_target(name: str, values: Any, task: str = "auto", *, decimal: str | None = None, thousands: str | None = None) -> Target:
    """Return what a network shall predict, and how its outputs stand for it.

    Parameters
    ----------
    name : str
        The name of the target.
    values : column
        One value for each row, none missing.
    task : {"auto", "classification", "regression"}
        ``"classification"``, ``"regression"`` or ``"auto"``: numbers are a regression, unless they are few and whole (at most 20
        different ones, each in five rows on average); everything else is a classification.
    decimal, thousands : str, optional
        The characters that separate decimals and groups of thousands in text; recognised where that is possible.

    Raises
    ------
    ValueError
        When values are missing, a classification has fewer than two classes or words that hardly ever repeat, or the values of a
        regression are no numbers.

    Examples
    --------
    >>> from backprop.tabular import fit_target
    >>> fit_target("species", ["iris", "rose", "iris"])
    ClassTarget(name='species', classes=('iris', 'rose'))
    >>> fit_target("price", [100.0, 300.0])
    NumberTarget(name='price', mean=200.0, scale=100.0)
    """
    if task not in ("auto", *_TARGETS):
        raise ValueError(f"task must be auto, {' or '.join(_TARGETS)}, got {task!r}")
    column = _target_column(name, values)
    if task == "auto":
        task = _guessed_task(column, Settings({}, {}, decimal=decimal, thousands=thousands))
    if task == "regression":
        return NumberTarget.fit(name, column, decimal=decimal, thousands=thousands)
    return ClassTarget.fit(name, column)


def target_from_config(config: Mapping[str, Any]) -> Target:
    """Return the target of a saved `config`; a ValueError when that is damaged."""
    try:
        target: Target = restored(_TARGETS, config)
        if isinstance(target, ClassTarget):
            _ = target.labels
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the saved description of the target is damaged: {error!r}") from error
    return target


def _guessed_task(column: Column, settings: Settings) -> str:
    if not column.is_text and column.values.dtype.kind == "M":
        raise ValueError(f"target {column.name!r} holds dates: convert them to a number, such as days")
    spelling = None if column.categorical else _kinds.spelling_of(column, settings)
    if spelling is None:
        _kinds.check_words(column)
        distinct = len(column.distinct())
        if distinct > max(10, len(column) / 2):
            raise ValueError(
                f"target {column.name!r} is text that hardly ever repeats ({distinct} different values in {len(column)} rows): "
                'no class can be learned from one row; task="classification" (--task classification) takes it nevertheless'
            )
        return "classification"
    if column.is_text and column.types == {bool}:
        return "classification"
    numbers = column.numbers(spelling)
    assert numbers is not None
    different = np.unique(numbers)
    few = len(different) <= _MAX_GUESSED_CLASSES and 5 * len(different) <= len(numbers)
    return "classification" if few and (different == np.trunc(different)).all() else "regression"


def _target_column(name: str, values: Any) -> Column:
    column = as_column(name, values, _NO_WORDS)
    missing = np.flatnonzero(~column.present)
    if missing.size:
        raise ValueError(f"target {name!r} must not miss values, {column.place(int(missing[0]), ' does')}")
    return column


def _require_numbers(column: Column, spelling: Spelling) -> Numbers:
    found: Numbers = column.require(lambda one: read_numbers(one, spelling), "a number")
    unknown = np.flatnonzero(np.isnan(found))
    if unknown.size:  # a text such as NaN that is none of the words for missing values
        row = int(unknown[0])
        text = column.text(row)
        raise ValueError(
            f"target {column.name!r} must not miss values, {column.place(row, f' holds {text!r}')}: "
            f"--missing={text} (missing=[{text!r}] in Python) leaves such rows out"
        )
    return column.require_finite(found)


def _answers(classes: Sequence[str]) -> dict[str, int]:
    """Return the class of every word for true and false, where two classes are such words; else nothing."""
    words = {text.lower() for text in classes}
    of_truth = {_is_true(text): index for index, text in enumerate(classes)}
    if not (len(classes) == len(of_truth) == 2 and any(words <= truths for truths in _columns._TRUTHS)):
        return {}
    return {word: of_truth[_is_true(word)] for word in _WORDS}


def _is_true(text: str) -> bool:
    return text.lower() in _columns.TRUE


def _number(text: str) -> float:
    truths = {"true": 1.0, "false": 0.0}
    return truths[text.lower()] if text.lower() in truths else float(text)


def _type(column: Column) -> str:
    if not column.is_text or all(map(_columns.is_number, column.types)):  # the latter are categories of a frame
        return "int" if all(text.removeprefix("-").isdecimal() for text in column.distinct()) else "float"
    return "bool" if column.types == {bool} else "str"
