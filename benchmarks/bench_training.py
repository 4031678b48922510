"""Whole training steps with Adam, and predictions: the backends, and other libraries that are installed."""

from __future__ import annotations

import pytest
from changing_options import cases, step_seconds
from pytest_benchmark.fixture import BenchmarkFixture

from backprop import kernels
from backprop._bench import peers
from backprop._bench.network_cases import NETWORKS, PREDICTION, NetworkCase, fit_run, predict_run, step_run
from backprop._bench.timing import Run

CONTESTANTS = [*sorted(kernels.available()), *(name for name in peers.NAMES if name != "torch.compile")]


@pytest.fixture(scope="session")
def installed() -> dict[str, peers.Peer]:
    """The other libraries."""
    return peers.installed_peers(threads=kernels.backend().threads)


def case_id(case: NetworkCase) -> str:
    return case.name.replace(", ", "-").replace(" ", "-")


def made(installed: dict[str, peers.Peer], contestant: str, case: NetworkCase, what: str) -> Run:
    if contestant in kernels.available():
        run = {"step": step_run, "predict": predict_run}[what](case, contestant)
    elif contestant in installed:
        try:
            run = getattr(installed[contestant], what)(case)
        except peers.NotOfferedError:
            pytest.skip(f"{contestant} has no {what}")
    else:
        pytest.skip(f"{contestant} is not installed")
    run()  # the first call may compile
    return run


def skip_large(case: NetworkCase, request: pytest.FixtureRequest) -> None:
    if case.training_flops > 1e9 and request.config.getoption("benchmark_disable"):
        pytest.skip("too large to be run for nothing but seeing that it works")


@pytest.mark.benchmark(max_time=1.0, min_rounds=3)
@pytest.mark.parametrize("backend", sorted(kernels.available()))
@pytest.mark.parametrize("case", NETWORKS, ids=case_id)
def test_fit(benchmark: BenchmarkFixture, case: NetworkCase, backend: str, request: pytest.FixtureRequest) -> None:
    skip_large(case, request)
    run, steps = fit_run(case, backend, most_steps=200)
    benchmark.group = f"fit {case.name}"
    benchmark.extra_info["steps"] = steps
    benchmark(run)


@pytest.mark.benchmark(max_time=1.0, min_rounds=3)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("case", NETWORKS, ids=case_id)
def test_step(
    benchmark: BenchmarkFixture,
    installed: dict[str, peers.Peer],
    case: NetworkCase,
    contestant: str,
    request: pytest.FixtureRequest,
) -> None:
    skip_large(case, request)
    benchmark.group = f"train {case.name}"
    benchmark(made(installed, contestant, case, "step"))


@pytest.mark.benchmark(max_time=1.0)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("case", PREDICTION, ids=case_id)
def test_predict(benchmark: BenchmarkFixture, installed: dict[str, peers.Peer], case: NetworkCase, contestant: str) -> None:
    benchmark.group = f"predict {case.name}"
    benchmark(made(installed, contestant, case, "predict"))


def test_options_that_change_before_every_step() -> None:
    """The script, which measures these, with a few steps."""
    times = step_seconds(cases(), steps=4, repeats=1)
    assert len(times) == len(cases())
