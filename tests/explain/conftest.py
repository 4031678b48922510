"""A browser and Node for the tests of the pages; tests that need one are skipped, with the reason, where it is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest

LAB = files("backprop.explain").joinpath("assets", "lab")


@pytest.fixture(scope="session")
def in_node(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Runs JavaScript after some of the laboratory's files in Node, with ``input`` as data; returns what it gives to ``done``."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node: apt-get install nodejs")
    folder = tmp_path_factory.mktemp("node")

    def run(script: str, *, scripts: tuple[str, ...] = ("engine.js",), data: object = None) -> Any:
        parts = [LAB.joinpath(name).read_text(encoding="utf-8") for name in scripts]
        parts += [
            "const input = JSON.parse(require('fs').readFileSync(0, 'utf8'));",
            "const done = (value) => process.stdout.write(JSON.stringify(value));",
            script,
        ]
        path = folder / "script.cjs"
        path.write_text("\n".join(parts), encoding="utf-8")
        command = [node, str(path)]
        finished = subprocess.run(command, input=json.dumps(data), capture_output=True, text=True, timeout=120, check=False)
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield launched
        launched.close()


@pytest.fixture
def in_units() -> Callable[..., list[float]]:
    """Runs scripts that return their milliseconds, in turns, and returns how long each took beside a loop of plain arithmetic.

    Others may use the processor, too, and then the loop takes longer as well: about a second on a slow one.
    """
    arithmetic = """() => {
      const start = performance.now(), numbers = new Float64Array(1000);
      for (let k = 0; k < 600000; k++) for (let i = 0; i < 1000; i++) numbers[i] = 0.5 * numbers[i] + i;
      return performance.now() - start;
    }"""

    def measured(tab: Any, *scripts: str) -> list[float]:
        turns = [[tab.evaluate(script) for script in (arithmetic, *scripts)] for _ in range(3)]
        unit, *times = (sum(column) for column in zip(*turns, strict=True))
        return [time / unit for time in times]

    return measured


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file and fails the test for any error in the console, and for any request that leaves the file."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def open_file(path: Any, width: int = 1280, height: int = 900, *, hash: str = "", **options: Any) -> Any:  # noqa: A002
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else troubles.append(request.url))
        tab.goto(path.as_uri() + hash)
        return tab

    yield open_file
    for context in contexts:
        context.close()
    assert not troubles
