"""The code of the README and of every page of the documentation runs, and the guide has the sections that findings point to."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from backprop.explain.diagnosis import CATALOGUE
from backprop.explain.diagnosis.findings import SECTIONS

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """The Python code blocks of a Markdown page, each with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    blocks = re.finditer(r"^```python.*\n((?s:.*?))^```", text, re.MULTILINE)
    return [(text.count("\n", 0, match.start(1)), match[1]) for match in blocks]


PAGES_WITH_CODE = [page for page in PAGES if python_blocks(page)]


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Figures go nowhere, and are closed in the end."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.usefixtures("drawing")
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = python_blocks(page)
    signs = {"matplotlib": "plot", "onnx": "export.onnx", "sklearn": "backprop.estimators", "joblib": "import joblib"}
    for package, sign in signs.items():
        if find_spec(package) is None and any(sign in code for _, code in blocks):
            pytest.skip(f"this page needs {package}, which is not installed")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    for line, code in blocks:
        exec(compile("\n" * line + code, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_results_that_a_page_shows_are_printed(page: Path) -> None:
    """A script, unlike a notebook, shows nothing of a call on a line of its own."""
    for line, code in python_blocks(page):
        for node in ast.parse(code).body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
                assert node.value.func.attr not in ("summary", "evaluate", "predict_proba", "diagnose"), line + node.lineno


def test_no_block_is_left_out() -> None:
    """A block inside a list, or fenced in another way, would be shown but not run."""
    for page in PAGES:
        fences = re.findall(r"(?:```|~~~|:::)(.*)", page.read_text(encoding="utf-8"))
        assert sum("python" in fence or "code-cell" in fence for fence in fences) == len(python_blocks(page)), page


def test_blocks_are_labelled() -> None:
    """What runs is Python; a block without a language would be neither run nor coloured."""
    for page in PAGES:
        opening = True
        for fence in re.findall(r"^\s*```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert not opening or fence, page
            opening = not opening


@pytest.mark.parametrize("section", sorted({*SECTIONS, *(problem.section for problem in CATALOGUE.values())}))
def test_findings_point_to_sections_of_the_guide(section: str) -> None:
    headings = [
        heading
        for page in (ROOT / "docs" / "guide").glob("*.md")
        for heading in re.findall(r"^#+ (.+)$", re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8")), re.MULTILINE)
    ]
    assert headings.count(section) == 1


def test_included_code_is_there() -> None:
    """What the guide shows of a file is in it still."""
    for page in PAGES:
        for source, options in re.findall(r"```\{literalinclude\} (\S+)\n((?::.*\n)*)```", page.read_text(encoding="utf-8")):
            code = (page.parent / source).read_text(encoding="utf-8")
            shown = dict(re.findall(r":([a-z-]+): *'?(.*?)'?\n", options))
            assert "pyobject" not in shown or f"\ndef {shown['pyobject']}(" in code, (page, shown)
            assert all(shown[key] in code for key in ("start-at", "end-at") if key in shown), (page, shown)
