"""How the benchmarks run.

    pytest benchmarks                       # all, some minutes
    pytest benchmarks -k "adam and large"   # some
    pytest benchmarks --benchmark-disable   # every case once, at its tiniest: do they still work?

Cases that do the same work stand together in a group. Peers (PyTorch, JAX, scikit-learn) take part where they are installed.
"""

from __future__ import annotations

import pytest

from backprop._bench.kernel_cases import SIZES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let kernels run at all sizes but the tiny one, or, where nothing is timed, at that one alone."""
    if "size" in metafunc.fixturenames:
        tiny = metafunc.config.getoption("benchmark_disable")
        metafunc.parametrize("size", ["tiny"] if tiny else [size for size in SIZES if size != "tiny"])
