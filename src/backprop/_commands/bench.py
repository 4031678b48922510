"""``backprop bench``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .. import kernels
from .._bench import measure, peers
from .._bench.long_runs import LONG_RUNS
from .._bench.machine import describe, measure_peak, versions
from .._bench.network_cases import PREDICTION, TRAINING
from .._bench.report import Report
from .._files import check_writable

DISTRIBUTIONS = ["backprop", "numpy", "torch", "jax", "scikit-learn", "onnxruntime"]


def bench(
    *, quick: bool, threads: int | None = None, only: Sequence[str] = (), compile_pytorch: bool = False, json: str | None = None
) -> None:
    """Measure, and print tables of times, rates and how many times as long others take.

    Parameters
    ----------
    quick : bool
        Only the smallest sizes and short measurements: minutes become seconds, and the numbers mean little.
    threads : int, optional
        For us and for the peers; by default as many as the kernels use anyway.
    only : sequence of str
        Leave out every row that contains none of these words. A row's words are its table (kernels, training, long training or
        prediction), its name, and its size or dtype.
    compile_pytorch : bool
        Whether `torch.compile` takes part; it compiles for up to a minute for each row.
    json : str, optional
        The file to write all results to.
    """
    if json is not None:
        check_writable(json)  # before the work, not after it
    if threads is None:
        threads = kernels.backend().threads
    elif threads != kernels.backend().threads:
        kernels.set_num_threads(threads)
    plan = measure.Plan(only=only, rest=0.005 if threads > 1 else 0.0)
    if quick:
        plan = plan._replace(sizes=["tiny"], training=TRAINING[:2], prediction=PREDICTION[:2], seconds=0.02, most_steps=50)
        plan = plan._replace(long_training=[LONG_RUNS[0]._replace(epochs=6)])
    report = Report(describe(), versions(DISTRIBUTIONS), kernels.backend().isa, threads, measure_peak(plan.seconds / 3), [])
    reasons: dict[str, None] = {}
    contestants = peers.installed_peers(threads, compile_pytorch=compile_pytorch)
    for row in measure.rows(plan, contestants, reasons.setdefault):
        report.rows.append(row)
        if sys.stderr.isatty():
            print(f"\r\033[K{row.table}: {row.name}, {row.detail}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    if only and not report.rows:
        raise ValueError(f"--only must be in the table, name, size or dtype of a row, got {', '.join(map(repr, only))}")
    print("\n\n".join([report.heading(), *(table.text() for table in report.tables())]))
    for reason in reasons:
        print(f"\nLeft out: {reason}")
    if json is not None:
        report.save(json)
