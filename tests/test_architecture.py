"""The house: imports only point down, and importing the package costs little more than importing NumPy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import backprop

PACKAGE = Path(backprop.__file__).parent

# From the ground up. A module may import from its own floor and from those below it; a subpackage stands on one floor as a whole.
FLOORS = [
    ["_core", "_files", "_forks", "_processors", "_types", "_version"],
    ["_compiled", "_frames", "_model_file", "_numpy", "_overrides", "_settings"],
    ["kernels"],
    ["_arrays", "_html", "_links", "_parquet", "_spans", "_suggestions"],
    ["_class_weights", "_direction", "_registry", "clipping", "data", "initializers"],
    ["activations", "metrics", "schedules", "datasets"],
    ["_table_defaults", "layers", "losses", "optimizers"],
    ["_flat", "_plan", "_summary", "history"],
    ["network"],
    ["_gradcheck", "serialization"],
    ["_training", "callbacks", "training"],
    ["distributed", "ensemble", "tabular"],
    ["convert", "estimators", "explain", "export"],
    ["_bench", "_commands", "cli"],
    ["__init__", "__main__"],
]
FLOOR = {module: number for number, modules in enumerate(FLOORS) for module in modules}

# Conveniences that forward to a module above, and import it in the method that does.
INSIDE = {
    ("_training.state", "_training.checkpoint"),  # Trainer.save
    *(("explain.trace", f"explain.{view}") for view in ("recorded_page", "svg", "text")),  # a trace draws itself
    ("explain.importance", "explain.plots"),  # and so does an importance
}
UPWARD = {
    ("network", "training"),
    ("training", "distributed"),
    ("network", "serialization"),
    ("network", "convert"),
    ("history", "explain"),
}


class Import(NamedTuple):
    """One import statement of one module by another; `at_once`: it runs when the importing module is loaded.

    The others run inside a function, or are for type checkers only.
    """

    importer: str
    imported: str
    at_once: bool


def _sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if (path.parent / "__init__.py").exists())


def _dotted(path: Path) -> str:
    """The name of a source file's module inside the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _modules() -> set[str]:
    return {_dotted(path) for path in _sources()} | {"_core"}


def _statements(body: list[ast.stmt], at_once: bool = True) -> Iterator[tuple[ast.ImportFrom, bool]]:
    """The relative imports of a module, with whether they run at once."""
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node, at_once
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _statements(node.body, False)
            yield from _statements(node.orelse, at_once)
        else:
            inside = at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for block in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, block, []), inside)
            for branch in getattr(node, "handlers", []) + getattr(node, "cases", []):
                yield from _statements(branch.body, inside)


def _imports() -> Iterator[Import]:
    known = _modules()
    for path in _sources():
        importer = _dotted(path)
        package = list(path.relative_to(PACKAGE).parent.parts)
        for node, at_once in _statements(ast.parse(path.read_text(encoding="utf-8")).body):
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                yield Import(importer, inner if inner in known else ".".join(base) or "__init__", at_once)


IMPORTS = list(_imports())


def _floor(module: str) -> int:
    return FLOOR[module.split(".")[0]]


def _door(i: Import) -> tuple[str, str]:
    return i.importer, i.imported.split(".")[0]


def test_every_module_has_its_floor() -> None:
    assert {module.split(".")[0] for module in _modules()} <= FLOOR.keys()


def test_imports_are_found() -> None:
    assert Import("losses._base", "kernels", True) in IMPORTS
    assert Import("layers._dense", "kernels", True) in IMPORTS
    assert Import("network", "training", False) in IMPORTS


def test_imports_only_point_down() -> None:
    upward = {_door(i) for i in IMPORTS if _floor(i.imported) > _floor(i.importer)}
    assert upward == UPWARD
    assert not [i for i in IMPORTS if i.at_once and _door(i) in UPWARD]


def test_no_floor_holds_more_than_six_modules() -> None:
    assert max(map(len, FLOORS)) <= 6


def test_no_module_imports_itself_in_a_circle() -> None:
    needs: dict[str, set[str]] = {}
    for i in IMPORTS:
        if i.imported != i.importer and _door(i) not in UPWARD and (i.importer, i.imported) not in INSIDE:
            needs.setdefault(i.importer, set()).add(i.imported)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for other in sorted(needs.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(needs):
        visit(module, ())


def test_the_package_is_imported_relatively() -> None:
    absolute = [
        f"{_dotted(path)}:{node.lineno}"
        for path in _sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "backprop")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "backprop" for alias in node.names))
    ]
    assert not absolute


def _loaded_by(statements: str) -> set[str]:
    """The modules that a fresh interpreter has after these statements."""
    code = f"import sys\n{statements}\nprint('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


HEAVY = {"tqdm", "numpy.random", "importlib.metadata", "matplotlib", "sklearn", "pandas", "safetensors", "asyncio", "unittest"}


def test_import_is_light() -> None:
    assert not HEAVY & (_loaded_by("import backprop") - _loaded_by("import numpy"))


@pytest.mark.parametrize("name", ["mlp", "Trainer", "Adam", "EarlyStopping", "load"])
def test_names_do_not_load_what_only_some_calls_need(name: str) -> None:
    assert not {"tqdm", "matplotlib", "sklearn", "pandas", "importlib.metadata"} & _loaded_by(f"import backprop; backprop.{name}")


def test_the_command_line_loads_only_the_command() -> None:
    loaded = _loaded_by("from backprop import cli\ntry: cli.main(['train', '--help'])\nexcept SystemExit: pass")
    assert not {f"backprop.{name}" for name in ("tabular", "explain", "export", "training", "_commands")} & loaded


def test_training_does_not_load_what_it_does_not_use() -> None:
    statements = "import backprop as bp; net = bp.mlp([2, 3, 1], seed=0); net.fit([[0, 1]] * 4, [0.0] * 4, loss='mse', epochs=1)"
    assert not {"matplotlib", "sklearn", "pandas", "backprop.explain"} & _loaded_by(statements)
