"""Every public function and class documents its parameters, in one form, and shows an example that runs."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import pytest
from test_public_api import PUBLIC_MODULES

import backprop as bp
from backprop.activations import ActivationFunction
from backprop.callbacks import CallbackList
from backprop.initializers import Initializer
from backprop.kernels import Kernels
from backprop.layers import Layer

HOOKS = CallbackList.HOOKS
"""Methods of callbacks, whose arguments the module describes once."""

MACHINERY = ("settings",)
"""The token of an object with options, by which plans know that they are current."""


class Item(NamedTuple):
    """A public callable; `owner` is the class of a method."""

    name: str
    value: Callable[..., Any]
    owner: type | None = None


def items() -> Iterator[Item]:
    """Yield each public function, class and method once."""
    seen: set[int] = set()
    for module in PUBLIC_MODULES:
        for name in import_module(module).__all__:
            value = getattr(import_module(module), name)
            if (inspect.isfunction(value) or inspect.isclass(value)) and id(value) not in seen:
                seen.add(id(value))
                yield Item(f"{value.__module__}.{name}", value)
                if inspect.isclass(value) and value is not Kernels:  # formulas, which name arrays IN and OUT
                    yield from methods(f"{value.__module__}.{name}", value)


def methods(prefix: str, owner: type) -> Iterator[Item]:
    """Yield the public methods that a class defines itself."""
    for name, value in vars(owner).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if inspect.isfunction(function) and (name == "__call__" or name[0] != "_") and name not in HOOKS:
            yield Item(f"{prefix}.{name}", function, owner)


def parameters(item: Item) -> list[str]:
    """Return the names of what a caller gives."""
    if inspect.isclass(item.value) and issubclass(item.value, Exception):
        return []
    try:
        names = list(inspect.signature(item.value).parameters)
    except ValueError:
        return []
    if item.value is Layer:  # its __new__ passes on what custom layers take
        return []
    return [name for name in names if name not in ("self", "cls")]


def section(doc: str, title: str) -> list[str]:
    """Return the lines of a section of a docstring."""
    found = re.search(rf"^{title}\n-+\n((?:.*\n?)*?)(?=^\S.*\n-+\n|\Z)", doc, re.MULTILINE)
    return found[1].rstrip().splitlines() if found else []


def documented(doc: str, *titles: str) -> dict[str, str]:
    """Return what sections describe, with the type of each entry."""
    entries = {}
    for line in (line for title in titles for line in section(doc, title)):
        if line and not line.startswith(" "):
            names, _, kind = line.partition(" : ")
            entries |= dict.fromkeys((name.lstrip("*") for name in names.split(", ")), kind)
    return entries


def docstrings(item: Item) -> str:
    """Return the docstring; for a method also those of the base classes, whose text an override need not repeat."""
    if item.owner is None:
        return inspect.getdoc(item.value) or ""
    name = item.name.rpartition(".")[2]
    return "\n\n".join(inspect.cleandoc(getattr(vars(base).get(name), "__doc__", None) or "") for base in item.owner.__mro__)


def is_record(value: Callable[..., Any]) -> bool:
    """Whether it is a class of results, which the library makes and its users read."""
    return hasattr(value, "_fields") or (dataclasses.is_dataclass(value) and value not in (ActivationFunction, Initializer))


ITEMS = [item for item in items() if item.value is not Kernels]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_every_parameter_is_documented(item: Item) -> None:
    names = parameters(item)
    if len(names) < 2:
        return
    found = documented(docstrings(item), "Parameters", *(["Attributes"] if is_record(item.value) else []))
    assert [name for name in names if name not in found] == []


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_only_parameters_are_documented_and_each_says_what_it_takes(item: Item) -> None:
    doc = inspect.getdoc(item.value) or ""
    found = documented(doc, "Parameters")
    assert [name for name in found if name not in parameters(item)] == []
    assert [name for name, kind in found.items() if not kind] == []  # "name : type"


@pytest.mark.parametrize("item", [item for item in ITEMS if item.owner is None], ids=lambda item: item.name)
def test_functions_and_classes_with_parameters_show_an_example(item: Item) -> None:
    if len(parameters(item)) >= 2 and not is_record(item.value):
        assert ">>> " in (inspect.getdoc(item.value) or "")


def test_the_form_of_a_section_is_understood() -> None:
    doc = "Do.\n\nParameters\n----------\nx, y : array (n,)\n    Rows.\n*rest : int\n\nReturns\n-------\nz : float\n"
    assert documented(doc, "Parameters") == {"x": "array (n,)", "y": "array (n,)", "rest": "int"}


def public_objects() -> list[object]:
    """Objects of the classes that users hold, trained where that adds attributes."""
    layers = [bp.Dense(2, 4), bp.BatchNorm(4), bp.Dropout(0.5), bp.Activation("relu"), bp.LayerNorm(4), bp.Dense(4, 1)]
    net = bp.Network(layers, seed=0)
    callbacks = [bp.EarlyStopping(), bp.EMA(), bp.Monitor()]
    trainer = bp.Trainer(net, loss="mse")
    history = trainer.fit([[0.0, 1.0], [1.0, 0.0]], [1.0, 2.0], callbacks=callbacks)
    others = [bp.Checkpoint("run"), bp.CSVLogger("run"), bp.LambdaCallback(on_epoch_end=print), bp.batches([1.0]), bp.losses.MAE()]
    schedules = [bp.schedules.Step(0.1, step_size=3), bp.schedules.ReduceOnPlateau(0.1)]
    return [net, trainer, history, trainer.loss, trainer.optimizer, *net.layers, *callbacks, *others, *schedules]


@pytest.mark.parametrize("value", public_objects(), ids=lambda value: type(value).__name__)
def test_every_public_attribute_is_documented(value: object) -> None:
    docs = [inspect.cleandoc(base.__doc__ or "") for base in type(value).__mro__ if base is not object]
    found = {name for doc in docs for name in documented(doc, "Parameters", "Attributes")}
    names = [name for name in dir(value) if not name.startswith("_") and name not in {*found, *HOOKS, *MACHINERY}]
    assert [name for name in names if not has_docstring(type(value), name)] == []


def has_docstring(owner: type, name: str) -> bool:
    """Whether a name of a class is a method or property with a docstring, here or in a base class."""
    member = inspect.getattr_static(owner, name, None)
    return (callable(member) or isinstance(member, classmethod | property)) and bool(inspect.getdoc(getattr(owner, name)))
