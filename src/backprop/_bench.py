"""``backprop bench``: what every kernel and a whole training step cost, on each backend and in other libraries, side by side.

The same cases are what the benchmarks in ``benchmarks/`` run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import NamedTuple

from . import kernels
from ._bench_cases import KERNELS, SIZES, STEPS, StepCase, Work, kernel_run, predict_run, step_run
from ._bench_peers import installed_peers

Run = Callable[[], object]


class Row(NamedTuple):
    """One case: the seconds that each contestant needs for it, and how much work it is (None where a rate says little)."""

    name: str
    size: str
    seconds: dict[str, float]
    work: Work | None

    def rate(self, contestant: str) -> float:
        """The work per second, in the units of `work`."""
        assert self.work is not None
        return self.work.amount / self.seconds[contestant]


def best_times(runs: dict[str, Run], seconds: float) -> dict[str, float]:
    """The least time of each run.

    The runs take turns, so that whatever else the machine does hits all of them; what disturbs makes slower, never faster, so the
    least time is what a run costs. Short runs are repeated until the clock can tell. All together take about `seconds` times the
    number of runs, and at least two turns.
    """
    repeats = {name: _repeats(run) for name, run in runs.items()}
    best = dict.fromkeys(runs, float("inf"))
    stop, turns = perf_counter() + seconds * len(runs), 0
    while turns < 2 or perf_counter() < stop:
        turns += 1
        for name, run in runs.items():
            best[name] = min(best[name], _time(run, repeats[name]))
    return best


def _time(run: Run, repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        run()
    return (perf_counter() - start) / repeats


def _repeats(run: Run, least: float = 2e-4) -> int:
    """How often to call a run so that one measurement takes `least` seconds."""
    run()  # the first call may compile and allocate
    return max(1, round(least / max(_time(run, 1), 1e-7)))


def kernel_rows(size: str, seconds: float) -> Iterator[Row]:
    """Every kernel at one of `SIZES`, in float32."""
    for case in KERNELS:
        runs = {name: kernel_run(case, size, name) for name in kernels.available()}
        yield Row(case.name, size, best_times(runs, seconds), case.work(size))


def step_rows(steps: list[StepCase], seconds: float) -> Iterator[Row]:
    """Whole training steps with Adam, and the prediction of one row: our backends and the peers that are installed."""
    peers = installed_peers(threads=kernels.backend().threads)
    for case in steps:
        runs = {name: step_run(case, name) for name in kernels.available()}
        runs |= {name: peer.step(case) for name, peer in peers.items()}
        yield Row(f"train {case.name}", f"batch {case.batch}", best_times(runs, seconds), None)
    case = steps[0]
    runs = {name: predict_run(case, name) for name in kernels.available()}
    runs |= {name: peer.predict(case) for name, peer in peers.items()}
    yield Row(f"predict {case.name}", "1 row", best_times(runs, seconds), None)


# --- the table ------------------------------------------------------------------------------------------------------------------


def bench(*, quick: bool) -> None:
    """Print kernels and training steps: times, rates, and how many times as long the others take.

    Parameters
    ----------
    quick : bool
        Only tiny sizes and short measurements: a minute becomes seconds, and the numbers mean little.
    """
    backend = kernels.backend()
    print(
        f"{backend.name} kernels for {backend.isa}, threads: {backend.threads}, float32; the least of many times, taken in turns\n"
    )
    seconds = 0.002 if quick else 0.03
    _print_kernels(seconds, ["tiny"] if quick else [size for size in SIZES if size != "tiny"])
    print()
    _print_steps(STEPS[:2] if quick else STEPS, seconds if quick else 0.3)


def _print_kernels(seconds: float, sizes: list[str]) -> None:
    first, *others = _ordered(kernels.available())
    header = [f"{first}", "rate", *(f"{other} takes" for other in others)]
    for size in sizes:
        print(_line(f"kernels, {size} ({SIZES[size].text})", header))
        for row in kernel_rows(size, seconds):
            assert row.work is not None
            ratios = [_ratio(row, other, first) for other in others]
            print(_line(row.name, [_duration(row.seconds[first]), f"{row.rate(first):.3g} {row.work.unit}/s", *ratios]))
        print()


def _print_steps(steps: list[StepCase], seconds: float) -> None:
    header: list[str] = []
    for row in step_rows(steps, seconds):
        first, *others = _ordered(tuple(row.seconds))
        if not header:
            header = [first, *(f"{other} takes" for other in others)]
            print(_line("whole training steps with Adam", header))
        print(_line(f"{row.name}, {row.size}", [_duration(row.seconds[first]), *(_ratio(row, other, first) for other in others)]))


def _ordered(names: tuple[str, ...]) -> list[str]:
    """The compiled kernels first: the others are compared with them."""
    return sorted(names, key=lambda name: name != "cython")


def _line(title: str, cells: list[str]) -> str:
    return f"{title:<44}" + "".join(f"{cell:>16}" for cell in cells)


def _ratio(row: Row, other: str, first: str) -> str:
    return f"{row.seconds[other] / row.seconds[first]:.1f} x"


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
