"""How close the compiled activations come to the truth, in units in the last place, and what they do where numbers run out."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from test_activations import TRUTH
from test_kernels import COMPILED

pytestmark = pytest.mark.skipif(not COMPILED, reason="the extension is not installed")
modules = pytest.mark.parametrize("module", COMPILED, ids=lambda module: module.__name__.removeprefix("backprop."))

ALPHA = {"leaky_relu": 0.01, "elu": 1.0}
# Below, the tails magnify the rounding of z itself: the relative condition z f'(z) / f(z) grows with |z| or its square.
LEAST = {"gelu": -1.0, "gelu_exact": -1.0, "silu": -4.0, "mish": -4.0, "sigmoid": -4.0, "softplus": -4.0}


def apply(module: Any, name: str, z: np.ndarray) -> np.ndarray:
    a = np.empty_like(z[np.newaxis])
    module.activation_forward(z[np.newaxis], a, name, ALPHA.get(name, 0.0))
    return a[0]


@modules
@pytest.mark.parametrize("name", TRUTH)
def test_within_4_units_in_the_last_place(module: Any, name: str, dtype: np.dtype, rng: np.random.Generator) -> None:
    z = np.concatenate([rng.uniform(-20, 20, 150), rng.normal(size=100), rng.normal(size=50) * 1e-4]).astype(dtype)
    z = z[z >= LEAST.get(name, -np.inf)]
    ours = apply(module, name, z)
    with mpmath.workdps(40):
        for here, value in zip(z.tolist(), ours, strict=True):
            truth = TRUTH[name](mpmath.mpf(here))
            unit = np.spacing(np.abs(dtype.type(float(truth))))
            assert abs(float(mpmath.mpf(float(value)) - truth)) <= 4 * unit, (here, value, truth)


@modules
def test_results_below_the_normal_numbers_are_gradual(module: Any, dtype: np.dtype) -> None:
    z = np.array({"float32": [-88.0, -95.0, -103.0, -120.0], "float64": [-709.0, -730.0, -744.0, -800.0]}[dtype.name], dtype)
    with mpmath.workdps(40):
        truth = [float(mpmath.exp(mpmath.mpf(here))) for here in z.tolist()]
    np.testing.assert_allclose(apply(module, "sigmoid", z), truth, rtol=1e-6, atol=float(np.finfo(dtype).smallest_subnormal))


@modules
@pytest.mark.parametrize("name", ["gelu", "gelu_exact", "silu", "mish"])
def test_gated_functions_vanish_at_minus_infinity(module: Any, name: str, dtype: np.dtype) -> None:
    z = np.array([-np.inf, -np.finfo(dtype).max, -1e4, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(apply(module, name, z), [0, 0, 0, np.inf, np.nan])
    delta = np.empty((1, 5), dtype)
    module.activation_backward(np.ones((1, 5), dtype), z[np.newaxis], z[np.newaxis], delta, name, 0.0)
    np.testing.assert_allclose(delta[0], [0, 0, 0, 1, np.nan], rtol=1e-6, atol=0)


@modules
def test_zero_keeps_its_sign_where_the_function_is_odd(module: Any, dtype: np.dtype) -> None:
    for name in ("tanh", "softsign", "identity", "hardtanh", "elu", "leaky_relu"):
        assert np.signbit(apply(module, name, np.array([-0.0, 0.0], dtype))).tolist() == [True, False], name
