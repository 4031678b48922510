"""The complementary error function, against the C library's."""

from __future__ import annotations

import math

import numpy as np

from backprop._numpy.erf import erfc


def test_agrees_with_the_c_library() -> None:
    x = np.concatenate([np.linspace(-7, 26.5, 3001), [0.46875, -0.46875, 4.0, -4.0, 1e-300, -1e-300, 0.0, -0.0]])
    np.testing.assert_allclose(erfc(x), [math.erfc(value) for value in x], rtol=2e-15, atol=0)


def test_limits() -> None:
    np.testing.assert_array_equal(erfc(np.array([-np.inf, -1e300, 1e300, np.inf, np.nan])), [2, 2, 0, 0, np.nan])


def test_float32_is_computed_in_float64() -> None:
    x = np.array([[0.3, -1.7]], np.float32)
    assert erfc(x).dtype == np.float64
    np.testing.assert_array_equal(erfc(x), erfc(x.astype(np.float64)))
