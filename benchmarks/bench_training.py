"""Whole training steps with Adam, and the prediction of one row: the backends, and other libraries that are installed."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from backprop import kernels
from backprop._bench_cases import STEPS, StepCase, predict_run, step_run
from backprop._bench_peers import Peer, installed_peers

CONTESTANTS = [*sorted(kernels.available()), "PyTorch", "JAX", "scikit-learn"]


@pytest.fixture(scope="session")
def peers() -> dict[str, Peer]:
    """The other libraries."""
    return installed_peers(threads=kernels.backend().threads)


def case_id(case: StepCase) -> str:
    return f"{case.name}-{case.batch}".replace(" ", "-")


def run(benchmark: BenchmarkFixture, peers: dict[str, Peer], contestant: str, case: StepCase, what: str) -> None:
    if contestant in kernels.available():
        call = {"step": step_run, "predict": predict_run}[what](case, contestant)
    elif contestant in peers:
        call = getattr(peers[contestant], what)(case)
    else:
        pytest.skip(f"{contestant} is not installed")
    call()  # the first call may compile
    benchmark(call)


@pytest.mark.benchmark(max_time=1.0, min_rounds=3)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("case", STEPS, ids=case_id)
def test_step(
    benchmark: BenchmarkFixture, peers: dict[str, Peer], case: StepCase, contestant: str, request: pytest.FixtureRequest
) -> None:
    if case is STEPS[-1] and request.config.getoption("benchmark_disable"):
        pytest.skip("too large to be run for nothing but seeing that it works")
    benchmark.group = f"train {case.name}, batch {case.batch}"
    run(benchmark, peers, contestant, case, "step")


@pytest.mark.benchmark(max_time=1.0)
@pytest.mark.parametrize("contestant", CONTESTANTS)
def test_predict_one_row(benchmark: BenchmarkFixture, peers: dict[str, Peer], contestant: str) -> None:
    benchmark.group = f"predict {STEPS[0].name}, 1 row"
    run(benchmark, peers, contestant, STEPS[0], "predict")
