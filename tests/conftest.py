"""Fixtures that every test shares: the backends, the dtypes and how closely each dtype can agree."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest

import backprop as bp
from backprop import kernels

CHOSEN = os.environ.get("BACKPROP_BACKEND")
BACKENDS = [CHOSEN] if CHOSEN else sorted(kernels.available())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that run on every backend: a run with another default backend leaves them out, by ``-m "not once"``.

    Files that have little to do with a backend have the same mark.
    """
    for item in items:
        if "backend" in getattr(item, "fixturenames", ()):
            item.add_marker("once")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once on every backend that is installed, or on that which BACKPROP_BACKEND names."""
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


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt, here and in programs that the test starts.

    A shell has the programs that it runs in the background ignore Ctrl-C, and they pass that on to those that they start.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
