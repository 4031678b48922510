"""The first weights: their distribution, and that they follow from the seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backprop as bp
from backprop import initializers
from backprop.initializers import NAMES, Initializer

FAN_IN, FAN_OUT = 400, 300

# Standard deviations by the papers' (and PyTorch's) formulas.
STD = {
    "zeros": 0,
    "normal": 0.05,
    "uniform": 0.05 / math.sqrt(3),
    "glorot_uniform": math.sqrt(2 / 700),
    "glorot_normal": math.sqrt(2 / 700),
    "he_uniform": math.sqrt(2 / 400),
    "he_normal": math.sqrt(2 / 400),
    "lecun_uniform": math.sqrt(1 / 400),
    "lecun_normal": math.sqrt(1 / 400),
    "orthogonal": math.sqrt(1 / 400),
}
BOUND = {
    "uniform": 0.05,
    "glorot_uniform": math.sqrt(6 / 700),
    "he_uniform": math.sqrt(6 / 400),
    "lecun_uniform": math.sqrt(3 / 400),
}


@pytest.mark.parametrize("name", NAMES)
def test_distribution(name, rng):
    weight = Initializer(name)((FAN_IN, FAN_OUT), rng)
    assert weight.dtype == np.float64
    assert weight.shape == (FAN_IN, FAN_OUT)
    assert abs(weight.mean()) < 4 * STD[name] / math.sqrt(weight.size) + 1e-300
    assert weight.std() == pytest.approx(STD[name], rel=0.02)
    if name in BOUND:
        assert 0.99 * BOUND[name] < abs(weight).max() <= BOUND[name]
    if name.endswith("normal"):  # not truncated, or at least far out
        assert abs(weight).max() > 3.5 * STD[name]


@pytest.mark.parametrize("name", NAMES)
def test_scale_multiplies(name, rng):
    one, three = (Initializer(name, scale=scale)((20, 10), np.random.default_rng(5)) for scale in (1, 3))
    np.testing.assert_allclose(three, 3 * one, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shape", [(5, 5), (8, 3), (3, 8), (1, 4)])
def test_orthogonal(shape, rng):
    weight = Initializer("orthogonal")(shape, rng)
    product = weight.T @ weight if shape[0] >= shape[1] else weight @ weight.T
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-12)


def test_orthogonal_prefers_no_direction():
    # QR alone gives the diagonal of one sign; with the correction both come up.
    signs = {np.sign(Initializer("orthogonal")((1, 1), np.random.default_rng(seed)).item()) for seed in range(20)}
    assert signs == {-1.0, 1.0}


@pytest.mark.parametrize("name", NAMES)
def test_both_dtypes_start_from_the_same_numbers(name):
    nets = [bp.Network([bp.Dense(6, 4, init=name)], dtype=dtype, seed=3) for dtype in ("float32", "float64")]
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters.astype(np.float32))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("zeros", "normal", "uniform")])
def test_fitted_ones_need_a_matrix(name, rng):
    with pytest.raises(ValueError, match=rf"{name} needs a shape \(fan_in, fan_out\), got \(3,\)"):
        Initializer(name)((3,), rng)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: initializers.get("he"), ValueError, "init must be one of"),
        (lambda: initializers.get(3), TypeError, "init must be one of"),
        (lambda: Initializer("normal", scale=-1), ValueError, "normal's scale must be zero or positive"),
        (lambda: Initializer("normal", scale=math.inf), ValueError, "normal's scale"),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_config():
    assert Initializer("he_normal").config() == "he_normal"
    assert initializers.get(Initializer("normal", scale=0.1).config()) == Initializer("normal", scale=0.1)


@pytest.mark.parametrize(
    ("activation", "init"),
    [("relu", "he_normal"), ("mish", "he_normal"), ("selu", "lecun_normal"), ("tanh", "glorot_uniform")],
)
def test_default_for_an_activation(activation, init):
    by_default = bp.Network([bp.Dense(6, 4, activation=activation)], seed=0)
    by_name = bp.Network([bp.Dense(6, 4, activation=activation, init=init)], seed=0)
    np.testing.assert_array_equal(by_default.parameters, by_name.parameters)
    assert by_default.parameters.any()


def test_a_function_of_ones_own():
    layer = bp.Dense(3, 2, init=lambda shape, rng: np.full(shape, rng.integers(1, 2)))
    np.testing.assert_array_equal(bp.Network([layer], seed=0).layers[0].weight, np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"Dense.weight must have shape \(3, 2\), got \(\)"):
        bp.Network([bp.Dense(3, 2, init=lambda shape, rng: 0.5)], seed=0)
