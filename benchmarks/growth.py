"""How time and memory grow with width, depth, batch and rows: the section *Growth* of docs/performance.md.

    python benchmarks/growth.py                # measure, and print the table
    python benchmarks/growth.py --json FILE    # and write the numbers there

Times are of one thread, of a step in `Trainer.fit` with Adam, or of an epoch; PyTorch takes part where it is installed. Memory, for
which the system must be Linux, is what a process needs at most, beyond importing the package and its data. Each slope is a power: 1
grows in proportion.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from plot import pyplot

import backprop as bp
from backprop._bench.measure import ourselves
from backprop._bench.network_cases import NetworkCase, fit_run
from backprop._bench.peers import installed_peers
from backprop._bench.table import Table, duration
from backprop._bench.timing import Contestant, best_times

SMALL = (64, 128, 64, 10)
STEPS = {  # what grows, and the networks
    "width": {width: NetworkCase((width, width, width, 10), "relu", 64) for width in (16, 32, 64, 128, 256, 512, 1024)},
    "depth": {depth: NetworkCase((64,) * (depth + 1) + (10,), "relu", 64) for depth in (1, 2, 4, 8, 16, 32)},
    "batch": {batch: NetworkCase(SMALL, "relu", batch) for batch in (1, 4, 16, 64, 256, 1024, 4096, 16384)},
}
ROWS = (1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000)
WIDTHS = (128, 256, 512, 1024, 2048, 4096)
MEMORY = """
import re, sys
import numpy as np
import backprop as bp
bp.set_num_threads(1)
def peak(): return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
rows, *sizes = map(int, sys.argv[1:])
bp.mlp([2, 2], seed=0).fit(np.zeros((2, 2)), np.zeros(2, int), loss="cross_entropy", epochs=1, verbose=False)
rng = np.random.default_rng(0)  # draws without temporary arrays, which would raise the peak before training
x = rng.standard_normal((rows, sizes[0]), np.float32)
y = rng.integers(sizes[-1], size=rows)
before = peak()
bp.mlp(sizes, seed=0).fit(x, y, loss="cross_entropy", optimizer="adam", epochs=1, batch_size=64, verbose=False)
print(max(peak() - before, 4096))
"""


class Growth(NamedTuple):
    """One curve: what grows, its sizes, and what each costs, by contestant."""

    title: str
    unit: str  # "s" or "bytes"
    sizes: list[int]
    costs: dict[str, list[float]]

    def slope(self, name: str = "ours") -> float:
        """The power of growth over the upper half of the sizes: a least-squares line through the logarithms."""
        half = len(self.sizes) // 2
        return float(np.polyfit(np.log(self.sizes[half:]), np.log(self.costs[name][half:]), 1)[0])


def steps(title: str, cases: Mapping[int, NetworkCase], seconds: float) -> Growth:
    """Time a step of each network."""
    costs: dict[str, list[float]] = {}
    pytorch = installed_peers(1).get("PyTorch")
    for case in cases.values():
        contestants = {"ours": fit_run(case, ourselves())}
        if pytorch is not None:
            contestants["PyTorch"] = Contestant(pytorch.step(case))
        for name, time in best_times(contestants, seconds).items():
            costs.setdefault(name, []).append(time)
    return Growth(title, "s", list(cases), costs)


def epochs(sizes: Sequence[int], seconds: float) -> Growth:
    """Time an epoch for each number of rows."""
    costs = []
    for rows in sizes:
        x, y = NetworkCase(SMALL, "relu", rows).data()
        trainer = bp.Trainer(bp.mlp(SMALL, seed=0), loss="cross_entropy", optimizer=bp.Adam(1e-6))
        run = partial(trainer.fit, x, y, batch_size=32, verbose=False)
        costs.append(best_times({"ours": Contestant(run)}, seconds)["ours"])
    return Growth("rows of an epoch", "s", list(sizes), {"ours": costs})


def memory(title: str, sizes: Sequence[int], networks: Sequence[tuple[int, tuple[int, ...]]]) -> Growth:
    """Measure the memory of training, each time in a process of its own."""
    costs = []
    for rows, widths in networks:
        command = [sys.executable, "-c", MEMORY, str(rows), *map(str, widths)]
        costs.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return Growth(title, "bytes", list(sizes), {"ours": costs})


def measure(seconds: float = 0.3) -> list[Growth]:
    """Measure all curves."""
    bp.set_num_threads(1)
    found = [steps(f"{name}, a step", cases, seconds) for name, cases in STEPS.items()]
    found.append(epochs(ROWS, seconds))
    found.append(memory("rows, memory", ROWS, [(rows, SMALL) for rows in ROWS]))
    found.append(memory("width, memory", WIDTHS, [(64, (width, width, width, 10)) for width in WIDTHS]))
    return found


def table(found: Sequence[Growth]) -> Table:
    """The smallest, the middle and the largest of each curve, and its power."""
    lines = []
    for growth in found:
        cells = [f"{growth.sizes[place]:,}: {_text(growth, place)}" for place in (0, len(growth.sizes) // 2, -1)]
        lines.append(
            [growth.title, *cells, *(f"{growth.slope(name):.2f}" if name in growth.costs else "" for name in ("ours", "PyTorch"))]
        )
    return Table("growth", ["", "smallest", "middle", "largest", "slope", "PyTorch's slope"], lines)


def _text(growth: Growth, place: int) -> str:
    cost = growth.costs["ours"][place]
    return duration(cost) if growth.unit == "s" else f"{cost / 2**20:,.1f} MiB"


def draw(found: Sequence[Growth], path: Path) -> None:
    """One panel a curve, both axes logarithmic."""
    plt = pyplot()
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), layout="constrained")
    for axis, growth in zip(axes.flat, found, strict=True):
        scale = 1e6 if growth.unit == "s" else 1 / 2**20
        for (name, costs), color in zip(growth.costs.items(), ("black", "#d1495b"), strict=False):
            label = f"{name}, slope {growth.slope(name):.2f}"
            axis.loglog(growth.sizes, [scale * cost for cost in costs], "o-", color=color, markersize=3.5, linewidth=1, label=label)
        axis.set_title(growth.title, loc="left", fontsize=9)
        axis.set_ylabel("us" if growth.unit == "s" else "MiB")
        axis.minorticks_off()
        axis.yaxis.set_major_formatter("{x:,.9g}")
        axis.set_ylim(top=4 * axis.get_ylim()[1])  # room for the legend
        axis.set_xticks(growth.sizes[::2], [f"{size:,}" for size in growth.sizes[::2]])
        axis.grid(color="#dddddd")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def load(path: str | Path) -> list[Growth]:
    """Read what ``--json`` has written."""
    return [Growth(**fields) for fields in json.loads(Path(path).read_text(encoding="utf-8"))]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers there")
    arguments = parser.parse_args()
    found = measure()
    print(table(found).text())
    if arguments.json:
        fields: list[dict[str, Any]] = [growth._asdict() for growth in found]
        arguments.json.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
