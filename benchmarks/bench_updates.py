"""Nanoseconds a parameter takes in the update of each optimizer, with arrays in the first-level cache, in the second, and beyond.

``python benchmarks/bench_updates.py`` measures the installed extension; ``python benchmarks/bench_updates.py OLD NEW``, files that
are builds of one level, measures them in turn and prints the ratio to the first. The time of a call with one parameter is
subtracted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from backprop._bench.kernel_cases import KERNELS, KernelCase, Size, call_of
from backprop._bench.timing import Contestant, best_times
from backprop._compiled import core
from backprop.optimizers import NAMES, get

SIZES = (2_000, 30_000, 300_000)
CASES = [case for case in KERNELS if case.kernel in {get(name).kernel for name in NAMES}]


def load_build(number: int, path: Path) -> Any:
    """Load a compiled core from a file, beside the one that is installed."""
    name = f"build{number}.{path.name.partition('.')[0]}"
    spec = spec_from_file_location(name, path, loader=ExtensionFileLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no compiled core")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def times_of(builds: Sequence[Any], case: KernelCase, dtype: str, size: int, seconds: float) -> list[float]:
    """The time of an update of ``size`` parameters, for each build."""
    runs = {str(number): Contestant(call_of(case, build, Size(1, 1, 1, size), dtype)) for number, build in enumerate(builds)}
    return list(best_times(runs, seconds).values())


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each optimizer, dtype and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="*", type=Path, help="compiled cores; none: the installed one")
    parser.add_argument("--only", default="", help="optimizers with this in their name")
    parser.add_argument("--seconds", type=float, default=0.1, help="of each measurement")
    options = parser.parse_args(argv)
    builds = [load_build(number, path) for number, path in enumerate(options.builds)] or [core]
    print("ns a parameter:", ", ".join(build.ISA for build in builds))
    for case in CASES:
        for dtype in ("float32", "float64"):
            if options.only not in case.name:
                continue
            calls = times_of(builds, case, dtype, 1, options.seconds)
            for size in SIZES:
                measured = zip(times_of(builds, case, dtype, size, options.seconds), calls, strict=True)
                times = [1e9 * (time - call) / (size - 1) for time, call in measured]
                ratios = [f"{time / times[0]:5.2f} x" for time in times[1:]]
                print(f"{case.name:10} {dtype} {size:8,}  ", *(f"{time:6.3f}" for time in times), *ratios)


def test_every_optimizer_has_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    main([core.__file__, core.__file__, "--seconds", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(CASES) * 2 * len(SIZES)
    assert all(line.endswith(" x") for line in lines[1:])


if __name__ == "__main__":
    main()
