"""Measure, and bring the tables and the plots of ``docs/performance.md`` up to date; takes some minutes, on a quiet machine.

    python benchmarks/performance_page.py              # measure on one thread and on all
    python benchmarks/performance_page.py --compile    # with torch.compile, which takes half an hour
    python benchmarks/performance_page.py --json ONE [ALL] --growth FILE   # from results that are there: `backprop bench --json`
                                                       # on one thread and on several, and benchmarks/growth.py

Between ``<!-- name -->`` and ``<!-- end -->`` the page is written by this program; the words around are written by hand.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import growth
from plot import plot

from backprop._bench.report import Report

DOCS = Path(__file__).parent.parent / "docs"
KERNELS = re.compile(r"dense|relu|tanh|sigmoid|gelu$|softmax|cross_entropy|^mse|adam$|^sgd|squared_norm|dropout|_norm_")


def measure(threads: int, path: Path, *options: str) -> Report:
    """Run the benchmarks in a process of their own: some libraries learn the number of threads only once."""
    command = [sys.executable, "-m", "backprop", "bench", "--threads", str(threads), "--json", str(path), *options]
    subprocess.run(command, check=True)
    return Report.load(path)


def blocks(one: Report, several: Report | None) -> dict[str, str]:
    """What stands between the marks of the page."""
    found = {"machine": "\n".join(f"- {line}" for line in one.heading().splitlines()[:3])}
    tables = {table.title.split(",")[0].split(" (")[0]: table for table in one.tables()}
    found |= {"training": tables["training with Adam"].markdown(), "prediction": tables["prediction"].markdown()}
    found["long training"] = tables["long training with Adam"].markdown()
    parts = []
    for table in (table for table in one.tables() if table.title.startswith("kernels")):
        shown = table._replace(rows=[row for row in table.rows if KERNELS.search(row[0])])
        parts.append(f"**{table.title.removeprefix('kernels, ').capitalize()}**\n\n{shown.markdown()}")
    found["kernels"] = "\n\n".join(parts)
    if several is None:
        return found
    training = next(several.tables())
    found["threads"] = f"On {several.threads} threads each:\n\n{training.markdown()}\n\n{speedups(one, several)}"
    return found


def speedups(one: Report, several: Report) -> str:
    """How many times as fast we are with several threads."""
    alone = {(row.name, row.detail, row.dtype): row.ours for row in one.rows if row.table == "training"}
    rows = [row for row in several.rows if row.table == "training" and row.detail == "fit" and row.dtype == "float32"]
    gains = ", ".join(f"{row.name}: {alone[row.name, row.detail, row.dtype] / row.ours:.2f}" for row in rows)
    return f"Our time on one thread over that on {several.threads}, from two runs: {gains}."


def rewrite(page: str, found: dict[str, str]) -> str:
    """Put each block between its marks."""
    for name, text in found.items():
        page, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m, t=text: f"{m[1]}\n{t}\n\n{m[2]}", page, flags=re.S
        )
        if count != 1:
            raise ValueError(f"docs/performance.md must have <!-- {name} --> once, found {count}")
    return page


def main() -> None:
    """Measure or load, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="let torch.compile take part")
    parser.add_argument("--json", nargs="+", metavar="FILE", help="results of one thread, and of several; what is not given stays")
    parser.add_argument("--growth", metavar="FILE", help="results of benchmarks/growth.py")
    arguments = parser.parse_args()
    one = several = curves = None
    if arguments.json or arguments.growth:
        one, several = (*map(Report.load, arguments.json or []), None, None)[:2]
        curves = growth.load(arguments.growth) if arguments.growth else None
    else:
        with tempfile.TemporaryDirectory() as folder:
            one = measure(1, Path(folder, "one.json"), *["--compile"] * arguments.compile)
            several = measure(os.cpu_count() or 1, Path(folder, "all.json"), "--only", "training")
        curves = growth.measure()
    found: dict[str, str] = {}
    if one is not None:
        found |= blocks(one, several)
        plot(one, DOCS / "_static" / "performance.svg")
    if curves is not None:
        found["growth"] = growth.table(curves).markdown()
        growth.draw(curves, DOCS / "_static" / "growth.svg")
    page = DOCS / "performance.md"
    page.write_text(rewrite(page.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    main()
