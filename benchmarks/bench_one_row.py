"""Microseconds that one row takes in 4-32-32-2: a step of ``fit``, a call of ``Trainer.step``, a call of ``Network.predict``.

``python benchmarks/bench_one_row.py`` measures the installed package; ``python benchmarks/bench_one_row.py OLD/src NEW/src``, trees
with their compiled cores, measures them in turn, in processes of their own, and prints the ratio to the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import backprop as bp
from backprop._bench.network_cases import NETWORKS, fit_run, predict_run, step_run
from backprop._bench.timing import Contestant, best_times

HERE = Path(bp.__file__).parents[1]


def measure(seconds: float) -> dict[str, float]:
    """The times in this process, on one thread."""
    bp.set_num_threads(1)
    backend = bp.backend().name
    runs = {"fit": fit_run(NETWORKS[0], backend)}
    runs |= {"step": Contestant(step_run(NETWORKS[0], backend)), "predict": Contestant(predict_run(NETWORKS[0], backend))}
    return {name: 1e6 * time for name, time in best_times(runs, seconds).items()}


def measure_in(tree: Path, seconds: float) -> dict[str, float]:
    """The times of the package in a source tree, in a process of its own."""
    command = [sys.executable, __file__, "--child", "--seconds", str(seconds)]
    result = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, check=True)
    times: dict[str, float] = json.loads(result.stdout)
    return times


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path, help="source trees; none: where the package is imported from")
    parser.add_argument("--rounds", type=int, default=8, help="processes of each tree")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement in a process")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        print(json.dumps(measure(options.seconds)))
        return
    trees = options.trees or [HERE]
    rounds = [[measure_in(tree, options.seconds) for tree in trees] for _ in range(options.rounds)]
    for name in ("fit", "step", "predict"):
        times = [min(each[number][name] for each in rounds) for number in range(len(trees))]
        print(f"{name:8}", *(f"{time:7.3f} us" for time in times), *(f"{time / times[0]:5.2f} x" for time in times[1:]))


def test_trees_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    main([str(HERE), str(HERE), "--rounds", "1", "--seconds", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["fit", "step", "predict"]
    assert all(line.endswith(" x") for line in lines)


if __name__ == "__main__":
    main()
