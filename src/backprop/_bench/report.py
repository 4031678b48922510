"""The results as tables, and as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._files import replace_file
from .kernel_cases import SIZES
from .machine import Peak
from .measure import TWIN, Row
from .peers import NAMES
from .table import Table, duration, ratio, share


class Report(NamedTuple):
    """All that one run has found."""

    machine: str
    versions: dict[str, str]
    isa: str
    threads: int
    peak: Peak
    rows: list[Row]

    def heading(self) -> str:
        """What was measured where, and how to read the tables."""
        registers = self.peak.register_gflops
        peaks = [f"{rate:.0f} GFLOP/s in {dtype} ({registers[dtype]:.0f} in registers)" for dtype, rate in self.peak.gflops.items()]
        return (
            f"{self.machine}\n"
            f"{', '.join(f'{name} {version}' for name, version in self.versions.items())}\n"
            f"One core at best: {', '.join([*peaks, f'copies {self.peak.copy_gbytes:.1f} GB/s of memory (read and written)'])}. "
            f"Threads: {self.threads}.\n"
            "Times are the least of many, taken in turns; N x: takes N times as long as we do."
        )

    def tables(self) -> Iterator[Table]:
        """Training, prediction, long training, and kernels by size; of each what there is."""
        for title, table in (("training with Adam, a step", "training"), ("prediction", "prediction")):
            rows = [row for row in self.rows if row.table == table]
            if rows:
                yield self._table(title, rows)
        if any(row.table == "long training" for row in self.rows):
            yield self._long_training()
        for size in SIZES:
            rows = [row for row in self.rows if row.table == "kernels" and row.detail == size]
            if rows:
                yield self._table(f"kernels, {size} ({SIZES[size].text})", rows)

    def _table(self, title: str, rows: Sequence[Row]) -> Table:
        others = [name for name in [TWIN, *NAMES] if any(name in row.seconds for row in rows)]
        heads = ["", "ours", "rate", "of peak", *others]
        return Table(title, heads, [[_label(row), duration(row.ours), *self._rate(row), *_ratios(row, others)] for row in rows])

    def _long_training(self) -> Table:
        """A step in the first epochs and in the last; of others, the ratio of the two alone."""
        rows = [row for row in self.rows if row.table == "long training"]
        others = [name for name in [TWIN, *NAMES] if any(name in row.seconds for row in rows)]
        lines = []
        for first, last in zip(rows[::2], rows[1::2], strict=True):
            grown = [f"{last.seconds[name] / first.seconds[name]:.2f}" if name in first.seconds else "" for name in others]
            lines.append([first.name, duration(first.ours), duration(last.ours), f"{last.ours / first.ours:.2f}", *grown])
        heads = ["", "first epochs", "last epochs", "last / first", *(f"{name}: last / first" for name in others)]
        return Table("long training with Adam, a step", heads, lines)

    def _rate(self, row: Row) -> tuple[str, str]:
        """Our rate, and that of products as a share of the peak of the cores in use."""
        if row.work.unit == "element":
            return f"{1e9 / row.rate:.2g} ns/element", ""
        text = f"{row.rate:.3g} {row.work.unit}/s"
        peak = self.peak.gflops.get(row.dtype) if row.work.unit == "GFLOP" else None
        threads = 1 if row.table == "kernels" else self.threads
        return text, share(row.rate / (peak * threads)) if peak else ""

    def save(self, path: str | Path) -> None:
        """Write all of it as JSON."""
        fields = self._asdict() | {"peak": self.peak._asdict(), "rows": [row.to_json() for row in self.rows]}
        replace_file(path, (json.dumps(fields, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read such a file."""
        fields: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        fields |= {"peak": Peak(**fields["peak"]), "rows": [Row.from_json(row) for row in fields["rows"]]}
        return cls(**fields)


def _label(row: Row) -> str:
    if row.table == "kernels":
        return row.name
    parts = [row.name, *([row.detail] if row.table == "training" else []), *([row.dtype] if row.dtype != "float32" else [])]
    return ", ".join(parts)


def _ratios(row: Row, others: Sequence[str]) -> Iterator[str]:
    for other in others:
        times = row.ratio(other)
        yield "" if times is None else ratio(times)
