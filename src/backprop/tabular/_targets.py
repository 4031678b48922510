"""What a network shall predict from a table, and how its outputs stand for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from . import _columns
from ._columns import Column, Numbers
from ._saved import restored, saved

_MAX_GUESSED_CLASSES = 20


@dataclass(frozen=True)
class ClassTarget:
    """Classes, kept as text: one output of the network for each.

    Attributes
    ----------
    name : str
        The name of the target.
    classes : tuple of str
        The classes, in the order of the network's outputs.

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
    kind: ClassVar[str] = "classification"

    @classmethod
    def fit(cls, name: str, values: Any) -> Self:
        """Find the classes: in numerical order when all are numbers, in alphabetical order otherwise.

        Parameters
        ----------
        name : str
            The name of the target.
        values : column
            One value for each row, none missing.
        """
        column = _target_column(name, values)
        found = {text for text in _columns.texts(column) if text is not None}
        if len(found) < 2:
            raise ValueError(f"target {name!r} must hold at least two classes, holds {', '.join(map(repr, found))}")
        if _columns.numbers(column) is not None:
            return cls(name, tuple(sorted(found, key=float)))
        return cls(name, tuple(sorted(found)))

    def config(self) -> dict[str, Any]:
        """All that `target_from_config` needs, ready for JSON."""
        return saved(self)

    @property
    def n_outputs(self) -> int:
        """How many outputs the network needs."""
        return len(self.classes)

    def transform(self, values: Any) -> npt.NDArray[np.int64]:
        """The class of each row as a number, from 0; a ValueError for a value that is not a class."""
        texts = _columns.texts(_target_column(self.name, values))
        position = {label: index for index, label in enumerate(self.classes)}
        unknown = next((text for text in texts if text not in position), None)
        if unknown is not None:
            raise ValueError(f"target {self.name!r} must be one of the classes {', '.join(self.classes)}, got {unknown!r}")
        return np.array([position[text] for text in texts if text is not None], np.int64)

    def inverse(self, outputs: npt.ArrayLike) -> list[str]:
        """The class of the largest output in each row."""
        return [self.classes[index] for index in np.argmax(outputs, axis=1)]


@dataclass(frozen=True)
class NumberTarget:
    """A number, standardised: one output of the network.

    Attributes
    ----------
    name : str
        The name of the target.
    mean, scale : float
        Of the training values: their mean and standard deviation.

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
    kind: ClassVar[str] = "regression"

    @classmethod
    def fit(cls, name: str, values: Any) -> Self:
        """Mean and standard deviation.

        Parameters
        ----------
        name : str
            The name of the target.
        values : column
            One value for each row, none missing.
        """
        return cls(name, *_columns.mean_and_scale(name, _columns.require_numbers(name, _target_column(name, values))))

    def config(self) -> dict[str, Any]:
        """All that `target_from_config` needs, ready for JSON."""
        return saved(self)

    @property
    def n_outputs(self) -> int:
        """How many outputs the network needs."""
        return 1

    def transform(self, values: Any) -> Numbers:
        """Standardised values, (n, 1)."""
        return ((_columns.require_numbers(self.name, _target_column(self.name, values)) - self.mean) / self.scale)[:, None]

    def inverse(self, outputs: npt.ArrayLike) -> list[float]:
        """The number that each row's output stands for."""
        predicted: list[float] = (np.asarray(outputs, np.float64)[:, 0] * self.scale + self.mean).tolist()
        return predicted


Target = ClassTarget | NumberTarget
_TARGETS: dict[str, type[Target]] = {cls.kind: cls for cls in (ClassTarget, NumberTarget)}


def fit_target(name: str, values: Any, task: str = "auto") -> Target:
    """What a network shall predict, and how its outputs stand for it.

    Parameters
    ----------
    name : str
        The name of the target.
    values : column
        One value for each row, none missing.
    task : {"auto", "classification", "regression"}
        ``"classification"``, ``"regression"`` or ``"auto"``: numbers are a regression, unless they are few and whole (at most 20
        different ones, each there five times on average); everything else is a classification.

    Raises
    ------
    ValueError
        When values are missing, a classification has fewer than two classes, or the values of a regression are no numbers.

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
    return _TARGETS[_guessed_task(_target_column(name, values)) if task == "auto" else task].fit(name, values)


def target_from_config(config: Mapping[str, Any]) -> Target:
    """The target of a saved `config`; a ValueError when that is damaged."""
    try:
        target: Target = restored(_TARGETS, config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the saved description of the target is damaged: {error!r}") from error
    return target


def _guessed_task(column: Column) -> str:
    numbers = _columns.numbers(column)
    if numbers is None:
        return "classification"
    distinct = np.unique(numbers)
    few = len(distinct) <= _MAX_GUESSED_CLASSES and 5 * len(distinct) <= len(numbers)
    return "classification" if few and (distinct == np.trunc(distinct)).all() else "regression"


def _target_column(name: str, values: Any) -> Column:
    column = _columns.columns({name: values})[name]
    missing = np.flatnonzero(~_columns.present(column))
    if missing.size:
        raise ValueError(f"target {name!r} must not miss values, row {missing[0] + 1} does")
    return column
