"""Activation functions as Python sees them; the kernels' values are tested with the kernels."""

from __future__ import annotations

import copy
import pickle

import mpmath
import numpy as np
import pytest

from backprop import activations
from backprop.activations import NAMES, ActivationFunction

ELEMENTWISE = [name for name in NAMES if name != "softmax"]

# The functions from their definitions, in mpmath; what is 0 or 1 at a kink is avoided by the points below.
TRUTH = {
    "identity": lambda z: z,
    "relu": lambda z: max(z, 0),
    "leaky_relu": lambda z: z if z > 0 else z * mpmath.mpf(0.01),
    "elu": lambda z: z if z > 0 else mpmath.expm1(z),
    "selu": lambda z: 1.0507009873554805 * (z if z > 0 else 1.6732632423543772 * mpmath.expm1(z)),
    "gelu": lambda z: z / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf(0.044715) * z**3))),
    "gelu_exact": lambda z: z * mpmath.ncdf(z),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "mish": lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z))),
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "tanh": mpmath.tanh,
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "hardtanh": lambda z: min(max(z, -1), 1),
    "relu6": lambda z: min(max(z, 0), 6),
}
POINTS = [-20.0, -2.5, -0.7, -1e-3, 1e-3, 0.4, 1.5, 5.5, 7.25]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_value_and_derivative(name, backend):
    function = activations.get(name)
    with mpmath.workdps(40):
        values = [float(TRUTH[name](mpmath.mpf(z))) for z in POINTS]
        slopes = [float(mpmath.diff(TRUTH[name], mpmath.mpf(z), h=mpmath.mpf("1e-12"))) for z in POINTS]
    np.testing.assert_allclose(function(POINTS), values, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(function.derivative(POINTS), slopes, rtol=1e-10, atol=1e-12)


def test_every_name_has_its_attribute_and_its_words():
    for name in NAMES:
        function = getattr(activations, name)
        assert function == activations.get(name) == ActivationFunction(name)
        assert function.formula
        assert function.derivative_formula
        assert function.source


@pytest.mark.parametrize("name", NAMES)
def test_range_is_the_smallest_interval_that_holds_all_values(name):
    for alpha in (0.0, 0.3, 2.0) if activations.get(name).takes_alpha else (None,):
        function = ActivationFunction(name, alpha=alpha)
        low, high = function.range
        z = np.concatenate([-np.geomspace(1e-3, 1e5, 4001), np.geomspace(1e-3, 1e5, 4001)])
        values = function(np.stack([z, np.zeros_like(z)], axis=1))[:, 0]
        assert low <= values.min()
        assert values.max() <= high
        assert values.min() == pytest.approx(low, abs=2e-4) if np.isfinite(low) else values.min() < -100
        assert values.max() == pytest.approx(high, abs=2e-4) if np.isfinite(high) else values.max() > 1000


@pytest.mark.parametrize("name", ["gelu", "gelu_exact", "silu", "mish"])
def test_which_derivatives_need_z(name):
    assert [other for other in NAMES if activations.get(other).uses_z] == ["gelu", "gelu_exact", "silu", "mish"]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (0, 3), (0,)])
def test_shape_and_dtype_stay(shape, backend, rng):
    z = rng.normal(size=shape)
    for name in NAMES:
        function = activations.get(name)
        assert function(z).shape == shape
        assert function(np.float32(z)).dtype == np.float32
        assert function(z.astype(np.float16)).dtype == np.float64
        assert function.backward(z, z).shape == shape


def test_softmax_works_on_the_last_axis(backend, rng):
    z = rng.normal(size=(2, 3, 4))
    a = activations.softmax(z)
    np.testing.assert_allclose(a.sum(axis=-1), 1)
    np.testing.assert_allclose(a[1, 2], np.exp(z[1, 2]) / np.exp(z[1, 2]).sum())


def test_backward_of_softmax_is_its_jacobian(backend, rng):
    z, grad_a = rng.normal(size=4), rng.normal(size=4)
    a = activations.softmax(z)
    np.testing.assert_allclose(activations.softmax.backward(grad_a, z), (np.diag(a) - np.outer(a, a)) @ grad_a)
    with pytest.raises(ValueError, match="softmax has a matrix of derivatives"):
        activations.softmax.derivative(z)


def test_inputs_stay(backend):
    z = np.array([[-1.0, 2.0]])
    activations.relu(z)
    activations.relu.backward(z, z)
    np.testing.assert_array_equal(z, [[-1.0, 2.0]])


def test_backward_wants_equal_shapes():
    with pytest.raises(ValueError, match=r"grad_a must have the shape of z, \(3,\), got \(2,\)"):
        activations.relu.backward([1, 2], [1, 2, 3])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: activations.get("rleu"), ValueError, "did you mean 'relu'"),
        (lambda: activations.get(3), TypeError, "activation must be one of"),
        (lambda: activations.get(None), TypeError, "activation must be one of"),
        (lambda: ActivationFunction("relu", alpha=0.1), ValueError, r"relu takes no alpha, got alpha=0\.1"),
        (lambda: ActivationFunction("elu", alpha=-1), ValueError, "elu's alpha must be zero or positive"),
        (lambda: ActivationFunction("elu", alpha=float("nan")), ValueError, "elu's alpha"),
        (lambda: ActivationFunction("elu", alpha="1"), TypeError, "elu's alpha must be a number"),
        (lambda: activations.relu("abc"), TypeError, "z must hold real numbers"),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("function", [activations.relu, activations.leaky_relu, ActivationFunction("elu", alpha=0.3)])
def test_config_copies_and_repr_make_it_again(function):
    assert activations.get(function.config()) == function
    assert pickle.loads(pickle.dumps(function)) == function
    assert copy.deepcopy(function) == function
    assert eval(repr(function)) == function  # its own repr, nothing foreign
    assert hash(function) == hash(copy.copy(function))


def test_config_is_short_where_alpha_is_the_default():
    assert activations.leaky_relu.config() == "leaky_relu"
    assert ActivationFunction("leaky_relu", alpha=0.2).config() == {"name": "leaky_relu", "alpha": 0.2}


def test_functions_cannot_be_changed():
    with pytest.raises(AttributeError):
        activations.elu.alpha = 3.0
