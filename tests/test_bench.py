"""What `backprop bench` measures and prints."""

from __future__ import annotations

import re
from time import perf_counter, sleep

import numpy as np
import pytest

from backprop import _bench, kernels
from backprop._bench_cases import KERNELS, STEPS, KernelCase, kernel_run, predict_run, step_run


def test_every_kernel_is_measured() -> None:
    names = [name for name in vars(kernels.Kernels) if not name.startswith("_")]
    assert list(dict.fromkeys(case.kernel for case in KERNELS)) == names


@pytest.mark.parametrize("case", KERNELS, ids=lambda case: case.name)
def test_repeated_calls_stay_in_range(case: KernelCase, backend: str) -> None:
    """Infinities, NaN and denormal numbers take other times than those that training meets."""
    run = kernel_run(case, "tiny", backend)
    for _ in range(200):
        run()
    for array in run.args:
        if isinstance(array, np.ndarray) and array.dtype == np.float32:
            assert np.isfinite(array).all()
            assert ((array == 0) | (np.abs(array) > 1e-30)).all()


def test_work_is_counted() -> None:
    (dense,) = (case for case in KERNELS if case.kernel == "dense_forward")
    assert dense.work("medium") == (pytest.approx(2e-9 * 128 * 784 * 256), "GFLOP")
    (adam,) = (case for case in KERNELS if case.kernel == "adam")
    reads, writes = 4, 3  # of grad, param, m, v; and the last three
    assert adam.work("large").amount == pytest.approx(4e-9 * 4_000_000 * (reads + writes), rel=1e-4)


def test_times_are_the_least_of_runs_that_take_turns() -> None:
    order: list[str] = []
    delays = iter([0, 0, 0.02, 0.005, 0.03])  # the first two calls find out how often to repeat

    def slow() -> None:
        order.append("slow")
        sleep(next(delays, 0.02))

    def quick() -> None:
        order.append("quick")
        sleep(0.001)

    start = perf_counter()
    best = _bench.best_times({"slow": slow, "quick": quick}, 0.03)
    assert perf_counter() - start < 5
    assert best["quick"] >= 0.001
    assert best["slow"] < 0.02
    assert set(order[4:]) == {"slow", "quick"}


def test_steps_learn(backend: str) -> None:
    run = step_run(STEPS[2], backend)
    losses = [run() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_predict_run_gives_outputs(backend: str) -> None:
    assert np.shape(predict_run(STEPS[0], backend)()) == (1, 2)


def test_bench_prints_times_rates_and_ratios(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_bench, "installed_peers", lambda threads: {})
    _bench.bench(quick=True)
    printed = capsys.readouterr().out
    assert re.search(r"^dense_forward +\S+ [mun]s +\S+ GFLOP/s", printed, re.MULTILINE)
    assert re.search(r"^adam +\S+ [mun]s +\S+ GB/s", printed, re.MULTILINE)
    assert re.search(r"^train 4-32-32-2 tanh, batch 32 +\S+ [mun]s", printed, re.MULTILINE)
    if "cython" in kernels.available():
        assert "numpy takes" in printed


@pytest.mark.parametrize(("seconds", "text"), [(2.5, "2.5 s"), (0.0125, "12.5 ms"), (3.4e-5, "34 us"), (1.8e-8, "18 ns")])
def test_durations(seconds: float, text: str) -> None:
    assert _bench._duration(seconds) == text
