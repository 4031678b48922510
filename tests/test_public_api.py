"""The public face: names that exist and are documented, and an import that is light."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import backprop as bp


def test_every_public_name_exists_and_is_documented() -> None:
    assert len(set(bp.__all__)) == len(bp.__all__)
    for name in bp.__all__:
        assert name in dir(bp)
        value = getattr(bp, name)
        if inspect.ismodule(value) or callable(value):
            assert inspect.getdoc(value), name


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'backprop' has no attribute 'Conv2D'"):
        _ = bp.Conv2D  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names() -> None:
    stub = ast.parse(Path(bp.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    names = [alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(map(str, names)) == sorted(bp.__all__)


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh process has loaded after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_import_is_light_and_silent() -> None:
    run = subprocess.run([sys.executable, "-c", "import backprop"], capture_output=True, text=True, check=True)
    assert run.stdout == run.stderr == ""
    more = imported_by("import backprop") - imported_by("import numpy")
    heavy = {"argparse", "importlib.metadata", "json", "logging", "matplotlib", "numpy.random", "safetensors", "sklearn", "tqdm"}
    assert not more & heavy


def test_a_tour_of_the_library_costs_no_more_than_it_uses() -> None:
    loaded = imported_by("import backprop as bp; bp.mlp([2, 2], seed=0).predict([[1.0, 2.0]])")
    assert not loaded & {"tqdm", "safetensors", "matplotlib", "backprop.training", "backprop.tabular", "backprop.explain"}
