"""Fixtures that every test shares: the backends, the dtypes and how closely each dtype can agree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import backprop as bp
from backprop import kernels

BACKENDS = sorted(kernels.available())


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once on every backend that is installed."""
    with bp.use_backend(request.param):
        yield request.param


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    """Run the test in both dtypes."""
    return np.dtype(request.param)


@pytest.fixture
def rtol(dtype: np.dtype) -> float:
    """How closely two ways to compute the same number agree, relative."""
    return {"float32": 2e-5, "float64": 1e-12}[dtype.name]


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed: the same numbers in every run."""
    return np.random.default_rng(20)
