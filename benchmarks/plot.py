"""Draw the results of ``backprop bench --json FILE``: how many times as long others take.

python benchmarks/plot.py results.json docs/_static/performance.svg
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from backprop._bench.measure import Row
from backprop._bench.peers import NAMES
from backprop._bench.report import Report

COLORS = dict(zip(NAMES, ["#8c8c8c", "#d1495b", "#edae49", "#3a7ca5", "#66a182", "#8d5a97"], strict=True))


def pyplot() -> ModuleType:
    """Return Matplotlib's pyplot, set so that the same numbers give the same file, with text as text and not as paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    fonts = ["DejaVu Sans", "Verdana", "sans-serif"]
    mpl.rcParams |= {"svg.hashsalt": "backprop", "svg.fonttype": "none", "font.size": 9, "font.sans-serif": fonts}
    from matplotlib import pyplot as plt

    return plt


def plot(report: Report, path: Path) -> None:
    """One panel for training and one for prediction: a row per network, a dot per library, on a logarithmic scale."""
    plt = pyplot()
    panels = {
        "training, a step in fit": [row for row in report.rows if row.table == "training" and row.detail == "fit"],
        "prediction": [row for row in report.rows if row.table == "prediction"],
    }
    heights = [len(rows) for rows in panels.values()]
    figure, axes = plt.subplots(
        2, 1, figsize=(8, 1.6 + 0.32 * sum(heights)), sharex=True, height_ratios=heights, layout="constrained"
    )
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        for name in NAMES:
            dots = [(ratio, -number) for number, row in enumerate(rows) if (ratio := row.ratio(name)) is not None]
            if dots:
                axis.scatter(*zip(*dots, strict=True), s=28, color=COLORS[name], label=name, zorder=3)
        axis.axvline(1, color="black", linewidth=1)
        axis.set_yticks([-number for number in range(len(rows))], [label(row) for row in rows])
        axis.set_title(title, loc="left", fontsize=9)
        axis.set_xscale("log")
        axis.grid(axis="x", color="#dddddd")
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(left=False)
    axes[-1].set_xlabel("how many times as long others take (1: backprop; left of it: faster)")
    axes[-1].xaxis.set_major_formatter("{x:g}")
    named = {name: dots for axis in axes for dots, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def label(row: Row) -> str:
    """The network and its batch, with the dtype where it is not the usual one."""
    return row.name + ("" if row.dtype == "float32" else f", {row.dtype}")


if __name__ == "__main__":
    plot(Report.load(sys.argv[1]), Path(sys.argv[2]))
