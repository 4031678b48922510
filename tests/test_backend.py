"""Which kernels serve: the functions that choose, the environment switches, and installations that are broken or incomplete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import SimpleNamespace

import pytest

import backprop as bp
from backprop import kernels
from backprop._numpy import REFERENCE

PACKAGE = Path(bp.__file__).parent
EXTENSIONS = sorted(path for suffix in EXTENSION_SUFFIXES for path in PACKAGE.glob(f"_core*{suffix}"))
compiled = pytest.mark.skipif("cython" not in kernels.available(), reason="the extension is not installed")


def run(code: str, root: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that has none of our environment switches but these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BACKPROP_")}
    path = {"PYTHONPATH": str(root or PACKAGE.parent)}
    return subprocess.run([sys.executable, "-c", code], env=inherited | path | environment, capture_output=True, text=True)


def said(code: str, root: Path | None = None, **environment: str) -> str:
    """What the code prints."""
    done = run(code, root, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def last_line(code: str, root: Path | None = None, **environment: str) -> str:
    """The exception that the code ends with."""
    done = run(code, root, **environment)
    assert done.returncode == 1, done.stdout
    return done.stderr.strip().splitlines()[-1]


SHOW = "import backprop as bp; print(bp.backend())"


def test_backend_says_what_serves(backend: str) -> None:
    now = bp.backend()
    assert now.name == backend
    assert (now.isa == "numpy") == (backend == "numpy")
    assert now.threads >= 1


def test_numpy_is_always_available() -> None:
    assert "numpy" in kernels.available()
    with bp.use_backend("numpy"):
        assert kernels.active() is REFERENCE


@compiled
def test_the_compiled_kernels_serve_by_default() -> None:
    assert "Backend(name='cython', isa='" in said(SHOW)


@pytest.mark.parametrize(("isa", "name"), [("x86-64", "cython"), ("aarch64", "cython"), ("plain", "numpy")])
def test_compiled_kernels_without_vectors_serve_on_request_only(monkeypatch: pytest.MonkeyPatch, isa: str, name: str) -> None:
    for variable in ("BACKPROP_BACKEND", "BACKPROP_ISA", "BACKPROP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(kernels, "_INSTALLED", True)
    monkeypatch.setattr(kernels, "_backends", {"cython": SimpleNamespace(ISA=isa), "numpy": REFERENCE})
    assert kernels._default() == name
    monkeypatch.setenv("BACKPROP_BACKEND", "cython")
    assert kernels._default() == "cython"


@compiled
def test_use_backend_nests_and_ends() -> None:
    before = bp.backend()
    with bp.use_backend("numpy"):
        with bp.use_backend("cython"):
            assert bp.backend().name == "cython"
        assert bp.backend().name == "numpy"
    assert bp.backend() == before


def test_use_backend_ends_with_an_exception() -> None:
    before = bp.backend()
    with pytest.raises(KeyError), bp.use_backend("numpy"):
        raise KeyError
    assert bp.backend() == before


@compiled
def test_use_backend_holds_in_its_own_thread_only() -> None:
    seen: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(bp.use_backend("numpy" if bp.backend().name == "cython" else "cython"))
        thread = threading.Thread(target=lambda: seen.append(bp.backend().name))
        thread.start()
        thread.join()
        assert seen != [bp.backend().name]


@pytest.mark.parametrize("name", ["torch", "Cython", "", None])
def test_unknown_backend_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="backend must be 'cython' or 'numpy', got "), bp.use_backend(name):
        pass


def test_environment_chooses_numpy() -> None:
    assert said(SHOW, BACKPROP_BACKEND="numpy") == "Backend(name='numpy', isa='numpy', threads=1)"


@compiled
def test_environment_chooses_cython() -> None:
    assert "name='cython'" in said(SHOW, BACKPROP_BACKEND="cython")


USES = [
    "bp.backend()",
    "bp.set_num_threads(1)",
    "bp.mlp([2, 1], seed=0).predict([[1.0, 2.0]])",
    "bp.mlp([2, 1], seed=0).fit([[1.0, 2.0]], [1.0], loss='mse')",
]
REFUSED = {
    "BACKPROP_BACKEND": ("fast", "BACKPROP_BACKEND must be 'cython' or 'numpy', got 'fast'"),
    "BACKPROP_NUM_THREADS": ("x", "BACKPROP_NUM_THREADS must be a whole number from 1 up, got 'x'"),
    "BACKPROP_ISA": ("x86-64-v9", "BACKPROP_ISA "),
}


@pytest.mark.parametrize(("variable", "value", "words"), [(name, *rest) for name, rest in REFUSED.items()], ids=REFUSED)
def test_a_wrong_environment_variable_is_an_error_of_the_first_use_and_not_of_the_import(
    variable: str, value: str, words: str
) -> None:
    code = f"""
import backprop as bp
net = bp.mlp([2, 1])
for use in {USES}:
    try:
        exec(use)
    except ValueError as error:
        print(error)
"""
    errors = said(code, **{variable: value}).splitlines()
    assert len(errors) == len(USES)
    assert all(error.startswith(words) for error in errors)


def test_a_backend_chosen_by_the_program_needs_no_valid_environment() -> None:
    code = "import backprop as bp\nwith bp.use_backend('numpy'): print(bp.backend().name)"
    assert said(code, BACKPROP_BACKEND="fast") == "numpy"


LOADED = "print([name for name in sys.modules if name.startswith(('backprop._core', 'backprop._compiled'))])"


def test_numpy_chosen_by_the_environment_loads_no_extension() -> None:
    code = f"import sys, backprop as bp; {'; '.join(USES)}; {LOADED}"
    assert said(code, BACKPROP_BACKEND="numpy") == "[]"


@compiled
def test_the_extension_is_loaded_when_the_program_asks_for_it() -> None:
    code = "import backprop as bp; bp.set_num_threads(2)\nwith bp.use_backend('cython'): print(bp.backend())"
    backend = said(code, BACKPROP_BACKEND="numpy")
    assert "name='cython'" in backend
    assert "threads=2" in backend or kernels._backends["cython"].most_threads()[0] == 1


@compiled
def test_environment_chooses_the_instruction_set() -> None:
    best = bp.backend().isa if bp.backend().name == "cython" else said("import backprop as bp; print(bp.backend().isa)")
    baseline = said("from backprop import _core; print(_core.ISA)")
    for isa in {baseline, best}:
        assert f"isa='{isa}'" in said(SHOW, BACKPROP_ISA=isa)


@compiled
def test_environment_with_an_unknown_instruction_set_is_refused() -> None:
    line = last_line(SHOW, BACKPROP_ISA="x86-64-v9")
    assert line.startswith("ValueError: BACKPROP_ISA must be one of ")
    assert line.endswith("got 'x86-64-v9'")


@pytest.fixture
def installation(tmp_path: Path) -> Callable[[bytes | None], Path]:
    """Copy the package, with these bytes as its extension or without one; return the folder to import it from."""

    def copy(extension: bytes | None) -> Path:
        target = tmp_path / "backprop"
        shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__", "_core*", "datasets", "explain"))
        if extension is not None:
            (target / f"_core{EXTENSION_SUFFIXES[0]}").write_bytes(extension)
        return tmp_path

    return copy


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x7fELF" + bytes(200)], ids=["empty", "garbage", "truncated"])
def test_a_damaged_extension_is_a_loud_import_error(installation: Callable[[bytes | None], Path], content: bytes) -> None:
    root = installation(content)
    line = last_line(SHOW, root)
    assert line.startswith("ImportError: the compiled extension of backprop cannot be loaded: ")
    assert "BACKPROP_BACKEND=numpy" in line
    assert "name='numpy'" in said(SHOW, root, BACKPROP_BACKEND="numpy")
    assert last_line("import backprop as bp\nwith bp.use_backend('cython'): pass", root, BACKPROP_BACKEND="numpy") == line


@compiled
def test_a_damaged_better_extension_is_a_loud_import_error(installation: Callable[[bytes | None], Path]) -> None:
    """The modules for single instruction sets count as much as the baseline."""
    better = [path for path in EXTENSIONS if "_core_v" in path.name]
    if not better or bp.backend().isa == "x86-64":
        pytest.skip("the baseline alone is installed or runs here")
    root = installation(None)
    for path in EXTENSIONS:
        shutil.copy(path, root / "backprop")
    for path in better:
        (root / "backprop" / path.name).write_bytes(b"garbage")
    assert "ImportError" in last_line(SHOW, root)


def test_without_an_extension_numpy_serves_silently(installation: Callable[[bytes | None], Path]) -> None:
    done = run(SHOW, installation(None))
    assert done.stdout.strip() == "Backend(name='numpy', isa='numpy', threads=1)"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"BACKPROP_BACKEND": "cython"}, "ValueError: BACKPROP_BACKEND 'cython' is not available: the compiled extension is not"),
        ({"BACKPROP_ISA": "x86-64-v3"}, "ValueError: BACKPROP_ISA is set, but the compiled extension is not installed"),
    ],
)
def test_without_an_extension_it_cannot_be_asked_for(
    installation: Callable[[bytes | None], Path], environment: dict[str, str], words: str
) -> None:
    assert last_line(SHOW, installation(None), **environment).startswith(words)


def test_without_an_extension_use_backend_says_so(installation: Callable[[bytes | None], Path]) -> None:
    line = last_line("import backprop as bp\nwith bp.use_backend('cython'): pass", installation(None))
    assert line.startswith("ValueError: backend 'cython' is not available: the compiled extension is not installed")
