"""The truth of the numbers: what agrees with the twin agrees with mathematics.

Finite differences, numbers worked out by hand, mpmath to 40 digits, and gradients that PyTorch computed. Every test runs on each
backend: test_kernels holds them together at rounding, this file holds them to the truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from kernel_cases import ACTIVATIONS, ALPHA, CASES, USES_Z, Made

from backprop import kernels
from backprop.kernels import SPAN

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("gradients.json").read_text())


def activate(z: Any, activation: str, alpha: float) -> np.ndarray:
    z = np.atleast_2d(z)
    a = np.empty_like(z)
    kernels.active().activation_forward(z, a, activation, alpha)
    return a


def delta_of(grad_a: np.ndarray, z: Any, activation: str, alpha: float) -> np.ndarray:
    z = np.atleast_2d(z)
    delta = np.empty_like(z)
    kernels.active().activation_backward(grad_a, z, activate(z, activation, alpha), delta, activation, alpha)
    return delta


def slopes(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """The gradient of f at x by central differences of fourth order; the error is of order h^4 and eps / h."""
    gradient = np.empty_like(x)
    for at in np.ndindex(x.shape):
        values = {}
        for steps in (-2, -1, 1, 2):
            moved = x.copy()
            moved[at] += steps * h
            values[steps] = f(moved)
        gradient[at] = (values[-2] - 8 * values[-1] + 8 * values[1] - values[2]) / (12 * h)
    return gradient


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_backward_is_the_derivative(activation: str, rng: np.random.Generator) -> None:
    alpha = {"leaky_relu": 0.2, "elu": 1.3}.get(activation, 0.0)
    z = np.array([[-3.1, -1.7, -0.6], [0.2, 0.9, 5.8], [6.8, 2.2, -0.05]])  # the kinks are at -1, 0, 1 and 6
    grad_a = rng.normal(size=z.shape)
    delta = delta_of(grad_a, z, activation, alpha)
    assert np.any(delta != 0)
    wanted = slopes(lambda moved: float(np.sum(grad_a * activate(moved, activation, alpha))), z)
    np.testing.assert_allclose(delta, wanted, rtol=1e-8, atol=1e-9)


LOSSES = [name for name in CASES if {"grad_outputs", "grad_logits"} & set(CASES[name][0].arguments().outputs)]


def away_from_kinks(kernel: str, made: Made) -> None:
    """Move outputs that differences would carry across a kink of the loss."""
    if "outputs" not in made.inputs:
        return
    outputs, targets = made.inputs["outputs"], made.inputs["targets"]
    if kernel == "non_crossing_quantiles":  # their kinks are far enough away
        return
    margin = 1 - (2 * targets - 1) * outputs if kernel == "hinge" else outputs - targets
    distance = np.minimum(np.abs(margin), np.abs(np.abs(margin) - 0.75))  # 0.75 is huber's threshold in the cases
    outputs[distance < 0.01] += 0.03


@pytest.mark.parametrize("weights", ["none", "positive", "signed"])
@pytest.mark.parametrize("kernel", LOSSES)
def test_gradient_is_the_derivative_of_the_loss(kernel: str, weights: str) -> None:
    case = next(case for case in CASES[kernel] if case.options.get("shape") == (5, 9) and case.options["weights"] == weights)
    made = case.arguments()
    away_from_kinks(kernel, made)
    outputs, (name,) = next(iter(made.inputs)), made.outputs
    function = getattr(kernels.active(), kernel)
    function(**made.arguments())
    assert np.any(made.outputs[name] != 0)
    wanted = slopes(lambda moved: function(**(made.arguments() | {outputs: moved, name: None})), made.inputs[outputs])
    np.testing.assert_allclose(made.outputs[name], wanted, rtol=1e-8, atol=1e-10)


def normalize(kind: str, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    n, k = x.shape
    x_hat, y = np.empty_like(x), np.empty_like(x)
    if kind == "batch_norm":
        statistics = {"inv_std": np.empty(k), "running_mean": np.zeros(k), "running_var": np.ones(k)}
        kernels.active().batch_norm_forward(
            x, weight, bias, statistics["running_mean"], statistics["running_var"], x_hat, statistics["inv_std"], y, 0.1, 1e-5
        )
    else:
        statistics = {"inv_std": np.empty(n)}
        kernels.active().layer_norm_forward(x, weight, bias, x_hat, statistics["inv_std"], y, 1e-5)
    return statistics | {"x_hat": x_hat, "y": y}


@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_normalization_backward_is_the_derivative(kind: str, rng: np.random.Generator) -> None:
    x, weight, bias, grad_y = (rng.normal(size=shape) for shape in [(5, 4), 4, 4, (5, 4)])
    grad_x, grad_weight, grad_bias = np.empty((5, 4)), np.empty(4), np.empty(4)
    made = normalize(kind, x, weight, bias)
    backward = getattr(kernels.active(), f"{kind}_backward")
    backward(grad_y, made["x_hat"], weight, made["inv_std"], grad_weight, grad_bias, grad_x)

    def loss(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> float:
        return float(np.sum(grad_y * normalize(kind, x, weight, bias)["y"]))

    np.testing.assert_allclose(grad_x, slopes(lambda moved: loss(moved, weight, bias), x), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(grad_weight, slopes(lambda moved: loss(x, moved, bias), weight), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(grad_bias, slopes(lambda moved: loss(x, weight, moved), bias), rtol=1e-8, atol=1e-9)


SELU_SCALE, SELU_ALPHA = mpmath.mpf("1.0507009873554805"), mpmath.mpf("1.6732632423543772")

EXACT: dict[str, Callable[[Any, Any], Any]] = {
    "identity": lambda z, alpha: z,
    "relu": lambda z, alpha: max(z, 0),
    "leaky_relu": lambda z, alpha: z if z > 0 else alpha * z,
    "elu": lambda z, alpha: z if z > 0 else alpha * mpmath.expm1(z),
    "selu": lambda z, alpha: SELU_SCALE * (z if z > 0 else SELU_ALPHA * mpmath.expm1(z)),
    "gelu": lambda z, alpha: z / (1 + mpmath.exp(-mpmath.sqrt(8 / mpmath.pi) * (z + mpmath.mpf("0.044715") * z**3))),
    "gelu_exact": lambda z, alpha: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2,
    "silu": lambda z, alpha: z / (1 + mpmath.exp(-z)),
    "mish": lambda z, alpha: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z))),
    "sigmoid": lambda z, alpha: 1 / (1 + mpmath.exp(-z)),
    "tanh": lambda z, alpha: mpmath.tanh(z),
    "softplus": lambda z, alpha: mpmath.log1p(mpmath.exp(z)),
    "softsign": lambda z, alpha: z / (1 + abs(z)),
    "hardtanh": lambda z, alpha: min(max(z, -1), 1),
    "relu6": lambda z, alpha: min(max(z, 0), 6),
}


def points(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    """Where functions are easy, where they are small, and where a naive formula overflows."""
    sizes = np.concatenate([rng.uniform(0, 5, 60), rng.uniform(5, 40, 30), 10 ** rng.uniform(-30, 0, 30), [90, 105, 400, 720, 800]])
    return np.concatenate([sizes, -sizes, [1e30, -1e30]]).astype(dtype)


@pytest.mark.parametrize("activation", EXACT)
def test_activations_to_the_last_digits(activation: str, dtype: np.dtype, rng: np.random.Generator) -> None:
    """Within 4 units in the last place, where rounding of z by one costs no more; beyond, as much as that costs."""
    alpha = ALPHA.get(activation, 0.0)
    with mpmath.workdps(40):
        f = EXACT[activation]
        z = points(rng, dtype)
        wanted = [f(mpmath.mpf(float(x)), mpmath.mpf(alpha)) for x in z]
        steep = [abs(x * mpmath.diff(lambda t: f(t, mpmath.mpf(alpha)), x)) for x in map(mpmath.mpf, z.astype(float).tolist())]
    wanted, steep = np.array(wanted, float), np.array(steep, float)
    a = activate(z, activation, alpha)[0]
    error = np.abs(a.astype(float) - wanted) / (np.finfo(dtype).eps * np.maximum(np.abs(wanted), steep) + np.finfo(dtype).tiny)
    assert error.max() <= 4, f"{error.max():.3g} units at {z[error.argmax()]!r}"


@pytest.mark.parametrize("activation", sorted(USES_Z))
def test_derivatives_to_the_last_digits(activation: str, dtype: np.dtype, rng: np.random.Generator) -> None:
    """Where the derivative is computed from z. It is a sum of terms of order 1, which may cancel."""
    z = points(rng, dtype)
    with mpmath.workdps(60):
        wanted = np.array([mpmath.diff(lambda t: EXACT[activation](t, 0), mpmath.mpf(float(x))) for x in z], float)
    delta = delta_of(np.ones((1, z.size), dtype), z, activation, 0.0)[0]
    error = np.abs(delta.astype(float) - wanted) / (np.finfo(dtype).eps * np.maximum(np.abs(wanted), 1))
    assert error.max() <= 8, f"{error.max():.3g} units at {z[error.argmax()]!r}"


LIMITS = {  # at -inf and at +inf; at -0 every one of these is what it is at 0
    "identity": (-np.inf, np.inf), "relu": (0, np.inf), "leaky_relu": (-np.inf, np.inf), "elu": (-1.3, np.inf),
    "selu": (-1.0507009873554805 * 1.6732632423543772, np.inf), "gelu": (0, np.inf), "gelu_exact": (0, np.inf), "silu": (0, np.inf),
    "mish": (0, np.inf), "sigmoid": (0, 1), "tanh": (-1, 1), "softplus": (0, np.inf), "softsign": (-1, 1), "hardtanh": (-1, 1),
    "relu6": (0, 6),
}  # fmt: skip


@pytest.mark.parametrize("activation", LIMITS)
def test_activations_at_infinity_and_nan(activation: str, dtype: np.dtype) -> None:
    alpha = ALPHA.get(activation, 0.0)
    low, high, not_a_number, zero, minus_zero = activate(np.array([-np.inf, np.inf, np.nan, 0, -0.0], dtype), activation, alpha)[0]
    np.testing.assert_allclose([low, high], LIMITS[activation], rtol=1e-7 if dtype == np.float32 else 1e-15)
    assert np.isnan(not_a_number)
    assert zero == minus_zero


@pytest.mark.parametrize("activation", LIMITS)
def test_derivatives_at_infinity(activation: str, dtype: np.dtype) -> None:
    """The slope of the asymptote."""
    delta = delta_of(np.ones((1, 2), dtype), np.array([-np.inf, np.inf], dtype), activation, ALPHA.get(activation, 0.0))
    low, high = (LIMITS[activation][i] for i in (0, 1))
    slope = {"identity": (1, 1), "leaky_relu": (0.01, 1), "selu": (0, 1.0507009873554805)}
    wanted = slope.get(activation, (0 if np.isfinite(low) else 1, 0 if np.isfinite(high) else 1))
    np.testing.assert_allclose(delta[0], wanted, rtol=1e-6, atol=1e-6 if dtype == np.float32 else 1e-15)


@pytest.mark.parametrize(
    ("activation", "kink", "slope"),
    [("relu", 0, 0), ("leaky_relu", 0, 0.01), ("relu6", 0, 0), ("relu6", 6, 0), ("hardtanh", -1, 0), ("hardtanh", 1, 0)],
)
def test_slope_at_a_kink(activation: str, kink: float, slope: float) -> None:
    """PyTorch's choice."""
    assert delta_of(np.ones((1, 1)), np.array([float(kink)]), activation, ALPHA.get(activation, 0.0)) == slope


def test_leaky_relu_without_slope_is_zero_at_minus_infinity() -> None:
    assert activate(np.array([-np.inf]), "leaky_relu", 0.0)[0, 0] == 0


def test_softmax_of_huge_and_of_masked_entries(dtype: np.dtype) -> None:
    largest = np.finfo(dtype).max / 4
    z = np.array([[largest, largest, -largest], [-largest, -largest, -largest], [0, -np.inf, 0]], dtype)
    np.testing.assert_array_equal(activate(z, "softmax", 0.0), [[0.5, 0.5, 0], [1 / dtype.type(3)] * 3, [0.5, 0, 0.5]])


def test_dense_layer_by_hand() -> None:
    x, weight, bias = np.array([[1.0, 2.0]]), np.array([[1.0, -1.0], [0.5, -2.0]]), np.array([0.25, -0.25])
    z, a = np.empty((1, 2)), np.empty((1, 2))
    kernels.active().dense_forward(x, weight, bias, z, a, "relu", 0.0)
    np.testing.assert_array_equal(z, [[2.25, -5.25]])
    np.testing.assert_array_equal(a, [[2.25, 0.0]])
    grad_weight, grad_bias, grad_x = np.empty((2, 2)), np.empty(2), np.empty((1, 2))
    kernels.active().dense_backward(x, weight, np.array([[3.0, -1.0]]), grad_weight, grad_bias, grad_x)
    np.testing.assert_array_equal(grad_weight, [[3, -1], [6, -2]])
    np.testing.assert_array_equal(grad_bias, [3, -1])
    np.testing.assert_array_equal(grad_x, [[4, 3.5]])  # 3 * 1 + -1 * -1 and 3 * 0.5 + -1 * -2


def loss_and_gradient(kernel: str, outputs: Any, targets: Any, *, sample_weight: Any = None, **arguments: Any) -> tuple[float, Any]:
    """Call a loss by name; its first and its last array are called what the kernel calls them."""
    names = CASES[kernel][0].arguments()
    outputs = np.array(outputs)
    targets = np.array(targets, np.int64 if "labels" in names.inputs else outputs.dtype)
    weight = None if sample_weight is None else np.array(sample_weight, outputs.dtype)
    given = {name: np.array(value) if isinstance(value, list) else value for name, value in arguments.items()}
    gradient = np.full_like(outputs, np.nan)
    first, second, *_ = names.inputs
    everything = {first: outputs, second: targets, "sample_weight": weight, next(iter(names.outputs)): gradient} | given
    return getattr(kernels.active(), kernel)(**everything), gradient


LOG = np.log
BY_HAND: dict[str, tuple[str, list[Any], list[Any], dict[str, Any], float, list[Any]]] = {
    "mse": ("mse", [[1.0, 2.0]], [[0, 4]], {}, (1 + 4) / 2, [[1, -2]]),
    "half_mse": ("half_mse", [[1.0, 2.0], [0.0, 0.0]], [[0, 4], [0, 1]], {}, (5 / 2 + 1 / 2) / 2, [[0.5, -1], [0, -0.5]]),
    "mae": ("mae", [[1.0, 2.0, 3.0]], [[0, 4, 3]], {}, 3 / 3, [[1 / 3, -1 / 3, 0]]),
    "huber": ("huber", [[0.5, -2.0]], [[0, 0]], {"threshold": 1.0}, (0.125 + 1.5) / 2, [[0.25, -0.5]]),
    "log_cosh": ("log_cosh", [[0.0, LOG(2.0)]], [[0, 0]], {}, LOG(1.25) / 2, [[0, 0.6 / 2]]),  # cosh(log 2) = 5/4, tanh = 3/5
    "poisson": ("poisson", [[0.0, LOG(3.0)]], [[2, 1]], {}, (1 + 3 - LOG(3.0)) / 2, [[-0.5, 1]]),
    "quantile": ("quantile", [[0.0, 4.0, 1.0]], [[2, 1, 1]], {"q": [0.75, 0.5, 0.9]}, (1.5 + 1.5 + 0) / 3, [[-0.25, 0.5 / 3, 0]]),
    "hinge": ("hinge", [[0.25, 2.0, 3.0, 1.0]], [[1, 0, 1, 1]], {}, (0.75 + 3 + 0 + 0) / 4, [[-0.25, 0.25, 0, 0]]),
    "cross_entropy": ("cross_entropy", [[0, LOG(3.0)]], [1], {"label_smoothing": 0.0}, -LOG(0.75), [[0.25, -0.25]]),
    "smoothed": (
        "cross_entropy", [[0.0, LOG(3.0)]], [1], {"label_smoothing": 0.2}, -0.1 * LOG(0.25) - 0.9 * LOG(0.75), [[0.15, -0.15]],
    ),
    "soft": ("cross_entropy_soft", [[0.0, LOG(3.0)]], [[0.5, 0.5]], {"label_smoothing": 0.0}, -LOG(3 / 16) / 2, [[-0.25, 0.25]]),
    "kl": ("kl_divergence", [[0.0, LOG(3.0)]], [[0.5, 0.5]], {}, LOG(2 / np.sqrt(3.0)), [[-0.25, 0.25]]),
    "binary": ("binary_cross_entropy", [[0.0, LOG(3.0)]], [[1, 0]], {"pos_weight": None}, LOG(8.0) / 2, [[-0.25, 0.375]]),
    "pos_weight": ("binary_cross_entropy", [[0.0, 0.0]], [[1, 0]], {"pos_weight": [3.0, 3.0]}, 2 * LOG(2.0), [[-0.75, 0.25]]),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_by_hand(name: str) -> None:
    kernel, outputs, targets, arguments, value, gradient = BY_HAND[name]
    result = loss_and_gradient(kernel, outputs, targets, **arguments)
    assert result[0] == pytest.approx(value, rel=1e-15)
    np.testing.assert_allclose(result[1], gradient, rtol=1e-14, atol=1e-16)


def test_weights_multiply_and_normalize_by_hand() -> None:
    value, gradient = loss_and_gradient("half_mse", [[2.0], [4.0], [1.0]], [[0], [0], [0]], sample_weight=[3, 0, -1])
    assert value == (3 * 2 - 0.5) / 4
    np.testing.assert_array_equal(gradient, [[1.5], [0], [-0.25]])


ONE_SPAN = np.array([(0, 2, 1.0, 0.0, 0.0)], SPAN)
ADAM = (0.1, 0.9, 0.999, 0.0)  # lr, beta1, beta2, eps
UPDATES_BY_HAND: dict[str, tuple[str, list[float], list[Any], tuple[Any, ...], list[float], list[Any]]] = {
    # kernel, gradient, moments before, scalars; then what param = (1, 1) becomes, and the moments
    "sgd": ("sgd", [2, -4], [None], (0.1, 0.0, 0.0, False, False, False), [0.8, 1.4], [None]),
    "momentum": ("sgd", [2, -4], [[1, 1]], (0.1, 0.5, 0.0, False, False, False), [0.75, 1.35], [[2.5, -3.5]]),
    "nesterov": ("sgd", [2, -4], [[1, 1]], (0.1, 0.5, 0.0, True, False, False), [0.675, 1.575], [[2.5, -3.5]]),
    "dampened": ("sgd", [2, -4], [[1, 1]], (0.1, 0.5, 0.5, False, False, False), [0.85, 1.15], [[1.5, -1.5]]),
    "first": ("sgd", [2, -4], [[9, 9]], (0.1, 0.5, 0.5, False, True, False), [0.8, 1.4], [[2, -4]]),
    "rmsprop": ("rmsprop", [2, -4], [[0, 0], None, None], (0.1, 0.75, 0.0, 0.0, False), [0.8, 1.2], [[1, 4], None, None]),
    "rmsprop centered": (
        "rmsprop", [2, -4], [[0, 0], [0, 0], None], (0.3, 0.5, 0.0, 0.0, False), [0.4, 1.6], [[2, 8], [1, -2], None],
    ),
    "adagrad": ("adagrad", [3, -4], [[16, 9]], (0.1, 0.0, False), [0.94, 1.08], [[25, 25]]),
    "adadelta": ("adadelta", [2, -4], [[0, 0], [1, 1]], (1.0, 0.75, 0.0, False), [-1, 3], [[1, 4], [1.75, 1.75]]),
    "adam": ("adam", [2, -4], [[0, 0], [0, 0], None], (*ADAM, 0.1, 0.001, False), [0.9, 1.1], [[0.2, -0.4], [0.004, 0.016], None]),
    "amsgrad": (
        "adam", [2, -4], [[0, 0], [0, 0], [0.016, 0]], (*ADAM, 0.1, 0.001, False), [0.95, 1.1],
        [[0.2, -0.4], [0.004, 0.016], [0.016, 0.016]],
    ),
    "adamax": ("adamax", [2, -4], [[0, 0], [0, 8]], (*ADAM, 0.1, False), [0.9, 1 + 0.4 / 7.992], [[0.2, -0.4], [2, 7.992]]),
    "nadam": ("nadam", [2, -4], [[0, 0], [0, 0]], (*ADAM, 0.001, 0.5, 2.5, False), [0.925, 1.075], [[0.2, -0.4], [0.004, 0.016]]),
    "radam": (
        "radam", [2, -4], [[0, 0], [0, 0]], (*ADAM, 0.1, 0.001, 0.5, False), [0.95, 1.05], [[0.2, -0.4], [0.004, 0.016]],
    ),
    "radam, not yet": (
        "radam", [2, -4], [[0, 0], [0, 0]], (*ADAM, 0.1, 0.001, 0.0, False), [0.8, 1.4], [[0.2, -0.4], [0.004, 0.016]],
    ),
    "lion": ("lion", [2, -4], [[-30, 0]], (0.1, 0.9, 0.99, False), [1.1, 1.1], [[-29.68, -0.04]]),
    "rprop": (
        "rprop", [2, -4], [[1, 1], [0.5, 0.5]], (0.1, 0.5, 1.2, 1e-6, 50.0, False), [0.4, 1.0], [[2, 0], [0.6, 0.25]],
    ),
    "rprop, bounded": (
        "rprop", [2, -4], [[1, 1], [0.5, 0.5]], (0.1, 0.5, 1.2, 0.4, 0.55, False), [0.45, 1.0], [[2, 0], [0.55, 0.4]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UPDATES_BY_HAND)
def test_updates_by_hand(name: str) -> None:
    kernel, grad, moments, scalars, param, after = UPDATES_BY_HAND[name]
    arrays = [np.ones(2), *(None if moment is None else np.array(moment, float) for moment in moments)]
    getattr(kernels.active(), kernel)(np.array(grad, float), ONE_SPAN, *arrays, *scalars)
    for array, wanted in zip(arrays, [param, *after], strict=True):
        if wanted is not None:
            np.testing.assert_allclose(array, wanted, rtol=1e-14, atol=1e-15)


def test_decay_by_hand() -> None:
    """The lr is 0.1 times the span's factor 0.5; param = (2, -2), weight_decay 0.5, l1 0.25, gradient 1."""
    spans = np.array([(0, 2, 0.5, 0.5, 0.25)], SPAN)
    for decoupled, wanted in [(False, [2 - 0.05 * 2.25, -2 + 0.05 * 0.25]), (True, [1.95 - 0.05 * 1.25, -1.95 - 0.05 * 0.75])]:
        param = np.array([2.0, -2.0])
        kernels.active().sgd(np.ones(2), spans, param, None, 0.1, 0.0, 0.0, False, False, decoupled)
        np.testing.assert_allclose(param, wanted, rtol=1e-15)


def test_norm_and_clipping_by_hand() -> None:
    grad, spans = np.array([3.0, 99.0, -4.0]), np.array([(0, 1, 1.0, 0, 0), (2, 1, 1.0, 0, 0)], SPAN)
    assert kernels.active().squared_norm(grad, spans) == 25
    kernels.active().scale(spans, grad, 0.5)
    np.testing.assert_array_equal(grad, [1.5, 99, -2])
    kernels.active().clip_value(spans, grad, 1.75)
    np.testing.assert_array_equal(grad, [1.5, 99, -1.75])


def test_squared_norm_does_not_overflow_in_float32() -> None:
    assert kernels.active().squared_norm(np.full(2, 1e30, np.float32), ONE_SPAN) == pytest.approx(2e60, rel=1e-6)


def test_centered_rmsprop_survives_rounding_of_its_variance() -> None:
    """With a constant gradient the variance tends to 0; rounded below it, its root would be NaN for good."""
    param, v, mean = np.zeros(2, np.float32), np.full(2, 1 - 1e-7, np.float32), np.ones(2, np.float32)
    kernels.active().rmsprop(np.ones(2, np.float32), ONE_SPAN, param, v, mean, None, 1e-3, 0.999999, 1e-8, 0.0, False)
    assert np.isfinite(param).all()


def test_batch_norm_by_hand() -> None:
    """Columns (0, 2) and (5, 5): means 1 and 5, biased variances 1 and 0, unbiased 2 and 0; eps is 0.25."""
    x, weight, bias = np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([2.0, 3.0]), np.array([10.0, 20.0])
    mean, var, x_hat, inv_std, y = np.zeros(2), np.ones(2), np.empty((2, 2)), np.empty(2), np.empty((2, 2))
    kernels.active().batch_norm_forward(x, weight, bias, mean, var, x_hat, inv_std, y, 0.5, 0.25)
    scale = 1 / np.sqrt(1.25)
    np.testing.assert_allclose(inv_std, [scale, 2], rtol=1e-15)
    np.testing.assert_allclose(x_hat, [[-scale, 0], [scale, 0]], rtol=1e-15)
    np.testing.assert_allclose(y, [[10 - 2 * scale, 20], [10 + 2 * scale, 20]], rtol=1e-15)
    np.testing.assert_array_equal(mean, [0.5, 2.5])
    np.testing.assert_array_equal(var, [1.5, 0.5])


def test_layer_norm_by_hand() -> None:
    x_hat, inv_std, y = np.empty((1, 2)), np.empty(1), np.empty((1, 2))
    x, weight, bias = np.array([[0.0, 2.0]]), np.array([2.0, 3.0]), np.array([10.0, 20.0])
    kernels.active().layer_norm_forward(x, weight, bias, x_hat, inv_std, y, 3.0)
    np.testing.assert_array_equal(inv_std, [0.5])
    np.testing.assert_array_equal(x_hat, [[-0.5, 0.5]])
    np.testing.assert_array_equal(y, [[9, 21.5]])


def _sample(kernel: str) -> tuple[Made, str, str]:
    """A case with gradient and without weights, and what the kernel calls its outputs and their gradient."""
    case = next(case for case in CASES[kernel] if case.options.get("shape") == (5, 9) and case.options["weights"] == "none")
    made = case.arguments()
    return made, next(iter(made.inputs)), next(iter(made.outputs))


@pytest.mark.parametrize("kernel", LOSSES)
def test_an_integer_weight_is_a_repeated_row(kernel: str) -> None:
    made, _, gradient = _sample(kernel)
    counts = np.array([2, 0, 1, 3, 1])
    weighted = made.arguments() | {"sample_weight": counts.astype(float), gradient: np.empty_like(made.outputs[gradient])}
    per_row = {name for name, value in made.inputs.items() if isinstance(value, np.ndarray) and name not in ("q", "pos_weight")}
    repeated = {name: np.repeat(value, counts, axis=0) if name in per_row else value for name, value in made.arguments().items()}
    repeated[gradient] = np.empty((7, made.outputs[gradient].shape[1]))
    function = getattr(kernels.active(), kernel)
    assert function(**weighted) == pytest.approx(function(**repeated), rel=1e-14)
    sums = np.add.reduceat(repeated[gradient], [0, 2, 3, 6], axis=0)
    np.testing.assert_allclose(weighted[gradient][[0, 2, 3, 4]], sums, rtol=1e-13, atol=1e-16)
    np.testing.assert_array_equal(weighted[gradient][1], 0)


@pytest.mark.parametrize("kernel", LOSSES)
def test_rows_without_weight_count_for_nothing(kernel: str, dtype: np.dtype) -> None:
    made, outputs, gradient = _sample(kernel)
    made.inputs[outputs][2] = np.nan
    cast = {n: v.astype(dtype) if isinstance(v, np.ndarray) and v.dtype == np.float64 else v for n, v in made.arguments().items()}
    function = getattr(kernels.active(), kernel)
    assert np.isnan(function(**cast))
    assert np.isfinite(function(**(cast | {"sample_weight": np.array([1, 1, 0, 1, 1], dtype)})))
    assert np.isfinite(cast[gradient]).all()
    assert function(**(cast | {"sample_weight": np.zeros(5, dtype)})) == 0
    np.testing.assert_array_equal(cast[gradient], 0)


def test_losses_on_logits_do_not_overflow(dtype: np.dtype) -> None:
    logits = np.array([[1e4, -1e4, 0]], dtype)
    value, gradient = loss_and_gradient("cross_entropy", logits, [1], label_smoothing=0.0)
    assert value == 2e4
    np.testing.assert_array_equal(gradient, [[1, -1, 0]])
    value, gradient = loss_and_gradient("binary_cross_entropy", logits, [[0, 1, 1]], pos_weight=None)
    assert value == pytest.approx((2e4 + LOG(2.0)) / 3, rel=1e-7)
    np.testing.assert_allclose(gradient, np.array([[1, -1, -0.5]]) / 3, rtol=1e-6)
    value, gradient = loss_and_gradient("log_cosh", np.array([[1e4, -1e4]], dtype), [[0, 0]])
    assert value == pytest.approx(1e4 - LOG(2.0), rel=1e-7)
    np.testing.assert_array_equal(gradient, [[0.5, -0.5]])


def _dense(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, activation: str, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    z, a = (np.empty((len(x), weight.shape[1])) for _ in range(2))
    kernels.active().dense_forward(x, weight, bias, z, a, activation, alpha)
    return z, a


def _dense_gradients(x: np.ndarray, weight: np.ndarray, delta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    grad_weight, grad_bias, grad_x = np.empty_like(weight), np.empty(weight.shape[1]), np.empty_like(x)
    kernels.active().dense_backward(x, weight, delta, grad_weight, grad_bias, grad_x)
    return grad_weight, grad_bias, grad_x


@pytest.mark.parametrize("loss", GOLDEN["losses"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_two_layers_agree_with_pytorch(activation: str, loss: str) -> None:
    x, w1, b1, w2, b2 = (np.array(GOLDEN["network"][name]) for name in ("x", "w1", "b1", "w2", "b2"))
    alpha, recorded = GOLDEN["alpha"][activation], GOLDEN["losses"][loss]
    z, a = _dense(x, w1, b1, activation, alpha)
    outputs, _ = _dense(a, w2, b2, "identity", 0.0)
    value, grad_outputs = loss_and_gradient(recorded["kernel"], outputs, recorded["targets"], **recorded["arguments"])
    grad_w2, grad_b2, grad_a = _dense_gradients(a, w2, grad_outputs)
    delta = np.empty_like(z)
    kernels.active().activation_backward(grad_a, z, a, delta, activation, alpha)
    grad_w1, grad_b1, grad_x = _dense_gradients(x, w1, delta)

    wanted_value, *wanted = GOLDEN["gradients"][activation][loss]
    assert value == pytest.approx(wanted_value, rel=1e-12)
    assert np.any(wanted[0])
    for gradient, expected in zip([grad_x, grad_w1, grad_b1, grad_w2, grad_b2], wanted, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", GOLDEN["losses"])
def test_weighted_losses_agree_with_pytorch(loss: str) -> None:
    recorded, given = GOLDEN["losses"][loss], GOLDEN["weighted"]
    value, gradient = loss_and_gradient(
        recorded["kernel"],
        given["outputs"],
        recorded["targets"],
        sample_weight=given["sample_weight"],
        **recorded["arguments"],
    )
    assert value == pytest.approx(recorded["weighted"][0], rel=1e-12)
    np.testing.assert_allclose(gradient, recorded["weighted"][1], rtol=1e-12, atol=1e-14)


def test_the_gaussian_loss_agrees_with_pytorch() -> None:
    recorded = GOLDEN["gaussian"]
    value, gradient = loss_and_gradient("gaussian", recorded["outputs"], np.tile(recorded["targets"], 2))
    assert value == pytest.approx(recorded["value"], rel=1e-12)
    np.testing.assert_allclose(gradient, recorded["grad_outputs"], rtol=1e-12, atol=1e-14)


def _assert_recorded(kind: str, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        np.testing.assert_allclose(array, GOLDEN["normalization"][kind][name], rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.fixture
def recorded() -> dict[str, np.ndarray]:
    """The inputs of the recorded normalizations."""
    return {name: np.array(value) for name, value in GOLDEN["normalization"]["inputs"].items()}


def _affine_gradients() -> dict[str, np.ndarray]:
    return {"grad_weight": np.empty(3), "grad_bias": np.empty(3), "grad_x": np.empty((4, 3))}


def test_batch_norm_agrees_with_pytorch(recorded: dict[str, np.ndarray]) -> None:
    affine = {name: recorded[name] for name in ("x", "weight", "bias")}
    running = {name: recorded[name] for name in ("running_mean", "running_var")}
    kept = {"x_hat": np.empty((4, 3)), "inv_std": np.empty(3)}
    y, gradients = np.empty((4, 3)), _affine_gradients()
    kernels.active().batch_norm_forward(**affine, **running, **kept, y=y, momentum=0.1, eps=1e-5)
    kernels.active().batch_norm_backward(grad_y=recorded["grad_y"], weight=recorded["weight"], **kept, **gradients)
    _assert_recorded("batch_norm", {"y": y} | running | gradients)


def test_batch_norm_in_evaluation_agrees_with_pytorch(recorded: dict[str, np.ndarray]) -> None:
    grad_y, bias = recorded.pop("grad_y"), recorded.pop("bias")
    y, gradients = np.empty((4, 3)), _affine_gradients()
    kernels.active().batch_norm_inference(**recorded, bias=bias, y=y, eps=1e-5)
    kernels.active().batch_norm_inference_backward(grad_y=grad_y, **recorded, **gradients, eps=1e-5)
    _assert_recorded("batch_norm_inference", {"y": y} | gradients)


def test_layer_norm_agrees_with_pytorch(recorded: dict[str, np.ndarray]) -> None:
    kept = {"x_hat": np.empty((4, 3)), "inv_std": np.empty(4)}
    y, gradients = np.empty((4, 3)), _affine_gradients()
    affine = {name: recorded[name] for name in ("x", "weight", "bias")}
    kernels.active().layer_norm_forward(**affine, **kept, y=y, eps=1e-5)
    kernels.active().layer_norm_backward(grad_y=recorded["grad_y"], weight=recorded["weight"], **kept, **gradients)
    _assert_recorded("layer_norm", {"y": y} | gradients)


def kept(shape: tuple[int, int] = (200, 300), rate: float = 0.5, seed: int = 1, step: int = 2, layer: int = 3) -> np.ndarray:
    """Which elements dropout keeps."""
    y = np.empty(shape)
    kernels.active().dropout(np.ones(shape), y, rate, seed, step, layer)
    return y != 0


def test_dropout_scales_what_it_keeps() -> None:
    x = np.array([[1.0, -2.0, 3.0, np.nan]] * 50)
    y = np.empty_like(x)
    kernels.active().dropout(x, y, 0.2, 5, 0, 0)
    alive = kept((50, 4), 0.2, 5, 0, 0)
    np.testing.assert_allclose(y[alive], x[alive] / 0.8, rtol=1e-15)
    np.testing.assert_array_equal(y[~alive], 0)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_dropout_keeps_its_rate(rate: float) -> None:
    alive = kept((1000, 300), rate)
    assert abs(alive.mean() - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / alive.size)
    for axis, size in [(0, 1000), (1, 300)]:  # also every column and every row by itself: 6 sigma, as there are many
        assert np.abs(alive.mean(axis=axis) - (1 - rate)).max() <= 6 * np.sqrt(rate * (1 - rate) / size) + 1 / size


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 2},
        {"seed": 1 + 2**32},
        {"step": 3},
        {"step": 2 + 2**32},
        {"layer": 4},
        {"seed": 2, "step": 1},
        {"step": 3, "layer": 2},
    ],
    ids=str,
)
def test_dropout_is_independent_from_one_draw_to_another(other: dict[str, int]) -> None:
    """The correlation of n independent pairs of fair bits is normal with standard deviation n^-1/2."""
    first, second = kept() - 0.5, kept(**other) - 0.5
    assert abs(4 * np.mean(first * second)) < 5 / np.sqrt(first.size)


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (0, 16), (16, 0), (32, 32)], ids=str)
def test_dropout_is_independent_from_one_element_to_another(shift: tuple[int, int]) -> None:
    bits = kept() - 0.5
    assert abs(4 * np.mean(bits * np.roll(bits, shift, axis=(0, 1)))) < 5 / np.sqrt(bits.size)


def test_dropout_pattern_is_fixed() -> None:
    """The same seed drops the same elements in any version: the hash of the contract, worked out in Python's integers."""

    def mix(h: int) -> int:
        h = (h ^ h >> 16) * 0x7FEB352D % 2**32
        h = (h ^ h >> 15) * 0x846CA68B % 2**32
        return h ^ h >> 16

    key = 0
    for word in (7, 9, 5, 1, 2):  # seed 7 + 9 2^32, step 5 + 2^32, layer 2
        key = mix((key + word + 0x9E3779B9) % 2**32)
    hashes = [[mix((mix((key + i + 0x9E3779B9) % 2**32) + 0x9E3779B9 * j) % 2**32) for j in range(20)] for i in range(3)]
    alive = kept((3, 20), 0.25, 7 + 9 * 2**32, 5 + 2**32, 2)
    np.testing.assert_array_equal(alive, np.array(hashes) >= 2**30)
