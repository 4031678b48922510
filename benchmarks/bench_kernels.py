"""Every kernel on every backend, in float32, with the rate it reaches: GFLOP/s for matrix products, GB/s for the others."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from backprop import kernels
from backprop._bench.kernel_cases import KERNELS, KernelCase, kernel_run


@pytest.mark.benchmark(max_time=0.1, min_rounds=3)
@pytest.mark.parametrize("backend", sorted(kernels.available()))
@pytest.mark.parametrize("case", KERNELS, ids=lambda case: case.name.replace(" ", "-"))
def test_kernel(benchmark: BenchmarkFixture, case: KernelCase, size: str, backend: str) -> None:
    benchmark.group = f"{case.name}, {size}"
    benchmark(kernel_run(case, size, backend))
    if benchmark.stats is not None:
        work = case.work(size)
        benchmark.extra_info[f"{work.unit}/s"] = round(work.amount / benchmark.stats.stats.min, 2)
