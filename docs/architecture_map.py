"""The drawings of the page *Architecture*, made from the code: the floors of the house, and the life of one training step.

The floors are those that tests/test_architecture.py checks imports against. The life of a step is recorded: a network is trained
for one batch, once through the compiled plan and once layer by layer on the NumPy twins. Sphinx runs this file when it builds the
documentation; ``python docs/architecture_map.py FOLDER`` writes the drawings by hand.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Sequence
from html import escape
from itertools import takewhile
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import numpy as np

import backprop as bp

DOCS = Path(__file__).parent
PACKAGE = Path(bp.__file__).parent
SOURCES = DOCS.parent / "src" / "backprop"
WIDTH = 920
STYLE = """<style>
text{font:13px system-ui,sans-serif;fill:#1f2937} .small{font-size:11px;fill:#4b5563} .head{font-weight:600}
rect{fill:#f3f4f6;stroke:#9ca3af;rx:5} .floor{fill:none;stroke:#d1d5db} .compiled{fill:#dbeafe;stroke:#60a5fa}
path{fill:none;stroke:#6b7280;marker-end:url(#tip)}
@media (prefers-color-scheme:dark){text{fill:#e5e7eb}.small{fill:#9ca3af}rect{fill:#1f2937;stroke:#6b7280}
.floor{fill:none;stroke:#374151}.compiled{fill:#1e3a5f;stroke:#3b82f6}path{stroke:#9ca3af}}
</style>"""
TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8" stroke="none" fill="#6b7280" marker-end="none"/></marker></defs>'
)


def _architecture_test() -> ModuleType:
    """The test that knows the floors."""
    spec = importlib.util.spec_from_file_location("test_architecture", DOCS.parent / "tests" / "test_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _lines(module: str) -> int:
    """The length of a module, or of all modules of a subpackage."""
    path = SOURCES / module
    files = [*path.rglob("*.py")] if path.is_dir() else [path.with_suffix(".py")]
    if module == "_core":
        files = [*(SOURCES / "_kernels").rglob("*.pxi"), *(SOURCES / "_kernels").rglob("*.h")]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files if file.exists())


def _svg(height: float, parts: Iterable[str], title: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, STYLE, TIP, *parts, "</svg>\n"])


def floors() -> str:
    """Every floor as a row of modules, the highest on top; a module imports only from its own floor and from those below."""
    parts: list[str] = []
    y = 10.0
    rows: Sequence[Sequence[str]] = _architecture_test().FLOORS
    for number, modules in reversed(list(enumerate(rows))):
        x, top = 46.0, y
        y += 8
        for module in modules:
            name = module if not (SOURCES / module).is_dir() else f"{module}/"
            width = max(64.0, 7.6 * len(name) + 18)
            if x + width > WIDTH - 14:
                x, y = 46.0, y + 46
            kind = ' class="compiled"' if module == "_core" else ""
            parts.append(f'<rect{kind} x="{x:g}" y="{y:g}" width="{width:g}" height="38"/>')
            middle, size = x + width / 2, f"{_lines(module)} lines"
            parts.append(f'<text x="{middle:g}" y="{y + 16:g}" text-anchor="middle">{escape(name)}</text>')
            parts.append(f'<text class="small" x="{middle:g}" y="{y + 31:g}" text-anchor="middle">{size}</text>')
            x += width + 8
        y += 46
        parts.append(f'<rect class="floor" x="6" y="{top:g}" width="{WIDTH - 12}" height="{y - top:g}"/>')
        parts.append(f'<text class="head" x="24" y="{(top + y) / 2 + 5:g}" text-anchor="middle">{number}</text>')
        y += 6
    return _svg(y + 4, parts, "The floors of the package, with the modules on each; imports point down")


Call = tuple[tuple[str, ...], str]  # the functions of the package that lead to a kernel or plan, and its name


def _room(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".") if path.is_relative_to(PACKAGE) else ""


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    """The functions of the package that are being run, the outermost first."""
    names = []
    while frame is not None:
        if _room(frame) and not frame.f_code.co_name.startswith("<"):
            names.append(f"{_room(frame)}: {frame.f_code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(names))


def _fit_one_batch() -> None:
    x, y = np.zeros((32, 4), np.float32), np.zeros(32, np.int64)
    bp.Trainer(bp.mlp([4, 8, 3], seed=0), loss="cross_entropy", clip_norm=1.0).fit(x, y)


def calls_of_plans() -> list[Call]:
    """Train for one batch by plan, and return the calls of `TrainingPlan.run`."""
    calls: list[Call] = []
    core: Any = bp.kernels.compiled()
    original = core.TrainingPlan

    class Recording(original):
        def run(self, *arguments: Any) -> Any:
            calls.append((_stack(sys._getframe(1)), "TrainingPlan.run"))
            return super().run(*arguments)

    core.TrainingPlan = Recording
    try:
        _fit_one_batch()
    finally:
        core.TrainingPlan = original
    return calls


def calls_of_kernels() -> list[Call]:
    """Train for one batch layer by layer on the NumPy twins, and return the calls of kernels."""
    calls: list[Call] = []
    checked = {name: twin for name, twin in vars(bp.kernels.active()).items() if hasattr(twin, "__wrapped__")}
    twins = {id(twin.__wrapped__.__code__): name for name, twin in checked.items()}

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and id(frame.f_code) in twins and frame.f_back is not None:
            calls.append((_stack(frame.f_back.f_back), twins[id(frame.f_code)]))

    sys.setprofile(profile)
    try:
        _fit_one_batch()
    finally:
        sys.setprofile(None)
    return calls


def _stages() -> list[str]:
    """The stages of a compiled step, from the head of steps.pxi."""
    head = next((SOURCES / "_kernels").rglob("steps.pxi")).read_text(encoding="utf-8").split("cdef", 1)[0]
    return [" ".join(line.lstrip("# ").split()) for line in head.splitlines() if re.match(r"#     \w", line)]


def _column(x: float, title: str, rows: Sequence[tuple[str, str, bool]]) -> tuple[list[str], float]:
    width = WIDTH / 2 - 20
    parts = [f'<text class="head" x="{x:g}" y="24">{escape(title)}</text>']
    y = 40.0
    for index, (name, remark, compiled) in enumerate(rows):
        kind = ' class="compiled"' if compiled else ""
        parts.append(f'<rect{kind} x="{x:g}" y="{y:g}" width="{width:g}" height="40"/>')
        parts.append(f'<text x="{x + 10:g}" y="{y + 17:g}">{escape(name)}</text>')
        parts.append(f'<text class="small" x="{x + 10:g}" y="{y + 32:g}">{escape(remark)}</text>')
        if index + 1 < len(rows):
            parts.append(f'<path d="M{x + 24:g} {y + 40:g}V{y + 52:g}"/>')
        y += 54
    return parts, y


def life_of_a_step() -> str:
    """The way of one batch through `Trainer.fit`: by plan on the left, layer by layer on the right."""
    stack, method = calls_of_plans()[0]
    planned = [(function, room, False) for room, function in (entry.split(": ") for entry in stack)]
    planned.append((method, "one call without Python for many batches; in it, for each batch:", True))
    planned += [(*stage.split(" ", 1), True) for stage in _stages()]
    with bp.use_backend("numpy"):
        calls = calls_of_kernels()
    stacks = [stack for stack, _ in calls]
    shared = [entries[0] for entries in takewhile(lambda entries: len(set(entries)) == 1, zip(*stacks, strict=False))]
    by_layers = [(function, room, False) for room, function in (entry.split(": ") for entry in shared)]
    for stack, kernel in calls:
        by_layers.append((f"kernel {kernel}", " > ".join(entry.split(": ")[1] for entry in stack[-3:]), False))
    left, bottom = _column(10, "by plan (compiled backend, built-in layers)", planned)
    right, other = _column(WIDTH / 2 + 10, "layer by layer (NumPy, or custom layers)", by_layers)
    return _svg(max(bottom, other), [*left, *right], "The functions that one batch passes through in Trainer.fit")


def write(folder: Path) -> None:
    """Write both drawings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "floors.svg").write_text(floors(), encoding="utf-8")
    (folder / "step.svg").write_text(life_of_a_step(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
