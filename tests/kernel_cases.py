"""One table of inputs for every kernel of the contract: what the tests of the kernels run.

`CASES` gives each kernel its cases: a function that makes the arguments, and the options that it is called with.
Arguments are made in float64; the tests cast them. Arrays that a kernel only writes start as NaN, so what it leaves out shows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from backprop.kernels import SPAN

Arguments = dict[str, Any]


class Made(NamedTuple):
    """The arguments of one call, in the order of the signature."""

    inputs: Arguments
    outputs: Arguments
    scalars: Arguments

    def arguments(self) -> Arguments:
        """All of them, by name."""
        return self.inputs | self.outputs | self.scalars


class Case(NamedTuple):
    """A call to make: `make(rng, **options)` gives its arguments."""

    make: Callable[..., Made]
    options: Arguments

    def arguments(self, seed: int = 20) -> Made:
        return self.make(np.random.default_rng(seed), **self.options)

    def __str__(self) -> str:
        """How the case is named in a test's id."""
        return ",".join(f"{name}={getattr(value, '__name__', value)}" for name, value in self.options.items()).replace(" ", "")


def blank(*shape: int) -> np.ndarray:
    """An array for a kernel to fill."""
    return np.full(shape, np.nan)


def grid(**options: list[Any]) -> list[Arguments]:
    """Every combination of the options."""
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


ACTIVATIONS = ["identity", "relu", "leaky_relu", "elu", "selu", "gelu", "gelu_exact", "silu", "mish", "sigmoid", "tanh"]
ACTIVATIONS += ["softplus", "softsign", "hardtanh", "relu6", "softmax"]
USES_Z = {"gelu", "gelu_exact", "silu", "mish"}
ALPHA = {"leaky_relu": 0.01, "elu": 1.3}

# Around the widths of vectors (4, 8, 16 numbers) and of the tiles of the matrix product (14 rows, two vectors).
SHAPES = [(0, 3), (1, 1), (2, 7), (3, 8), (5, 9), (4, 15), (7, 16), (14, 17), (15, 31), (2, 33), (70, 65)]
SIZES = [0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 100, 5000]
DENSE = [(0, 3, 2), (1, 1, 1), (1, 5, 300), (2, 3, 7), (4, 17, 9), (5, 1, 16), (13, 8, 31), (14, 16, 32), (15, 7, 33), (16, 64, 65)]
DENSE += [(33, 31, 17), (64, 40, 8), (65, 9, 129), (100, 33, 40), (210, 520, 70), (70, 530, 1040), (197, 512, 512)]


def dense_forward(rng: np.random.Generator, shape: tuple[int, int, int], bias: bool, z: bool, activation: str) -> Made:
    n, p, k = shape
    weight = rng.normal(size=(p, k)) / np.sqrt(p)
    inputs = {"x": rng.normal(size=(n, p)), "weight": weight, "bias": rng.normal(size=k) if bias else None}
    outputs = {"z": blank(n, k) if z else None, "a": blank(n, k)}
    return Made(inputs, outputs, {"activation": activation, "alpha": ALPHA.get(activation, 0.0)})


def dense_backward(rng: np.random.Generator, shape: tuple[int, int, int], weight: bool, bias: bool, x: bool) -> Made:
    n, p, k = shape
    inputs = {"x": rng.normal(size=(n, p)), "weight": rng.normal(size=(p, k)), "delta": rng.normal(size=(n, k))}
    outputs = {
        "grad_weight": blank(p, k) if weight else None,
        "grad_bias": blank(k) if bias else None,
        "grad_x": blank(n, p) if x else None,
    }
    return Made(inputs, outputs, {})


_SMALL = [0.0, -0.0, 1e-300, -1e-300, 1e-40, -1e-40, 1e-8, -1e-8, 1e-3, -1e-3, 0.5, -0.5]
_LARGE = [1.0, -1.0, 6.0, -6.0, 10.0, -10.0, 20.0, -20.0, 88.0, -88.0, 104.0, -104.0, 710.0, -710.0, 746.0, -746.0, 1e30, -1e30]
EXTREMES = np.array([_SMALL + _LARGE + [np.inf, -np.inf, np.nan]])


def _pre_activations(rng: np.random.Generator, shape: tuple[int, int] | str, activation: str) -> np.ndarray:
    if shape != "extremes":
        return 3 * rng.normal(size=shape)
    # A softmax row is ruled by its largest entry: each pair of extremes is a row of its own, infinities apart.
    return np.array([[s, t, 0.5] for s in _LARGE for t in [*_LARGE, -np.inf]]) if activation == "softmax" else EXTREMES


def _activation_options() -> list[Arguments]:
    usual = [
        options | {"alpha": ALPHA.get(options["activation"], 0.0)}
        for options in grid(shape=[*SHAPES, "extremes"], activation=ACTIVATIONS)
    ]
    return usual + grid(shape=["extremes"], activation=list(ALPHA), alpha=[0.0])


def activation_forward(rng: np.random.Generator, shape: tuple[int, int] | str, activation: str, alpha: float) -> Made:
    z = _pre_activations(rng, shape, activation)
    return Made({"z": z}, {"a": blank(*z.shape)}, {"activation": activation, "alpha": alpha})


def activation_backward(rng: np.random.Generator, shape: tuple[int, int] | str, activation: str, alpha: float) -> Made:
    from backprop._numpy import REFERENCE

    z = _pre_activations(rng, shape, activation)
    a = blank(*z.shape)
    REFERENCE.activation_forward(z, a, activation, alpha)
    inputs = {"grad_a": rng.normal(size=z.shape), "z": z if activation in USES_Z else None, "a": a}
    return Made(inputs, {"delta": blank(*z.shape)}, {"activation": activation, "alpha": alpha})


WEIGHTS = ["none", "positive", "signed", "zero"]


def _sample_weight(rng: np.random.Generator, n: int, kind: str) -> np.ndarray | None:
    weights = {
        "none": None,
        "positive": rng.integers(0, 4, size=n).astype(float),
        "signed": rng.normal(size=n),
        "zero": np.zeros(n),
    }
    return weights[kind]


def _loss(
    rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, names: tuple[str, str], size: float = 2.0
) -> Made:
    """What all losses take; `names` are those of the outputs and of their gradient."""
    outputs = size * rng.normal(size=shape)
    inputs = {
        names[0]: outputs,
        "targets": rng.normal(size=shape),
        "sample_weight": _sample_weight(rng, shape[0], weights),
    }
    return Made(inputs, {names[1]: blank(*shape) if grad else None}, {})


def _on_outputs(rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, size: float = 2.0) -> Made:
    return _loss(rng, shape, weights, grad, ("outputs", "grad_outputs"), size)


def _on_logits(rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, size: float = 2.0) -> Made:
    return _loss(rng, shape, weights, grad, ("logits", "grad_logits"), size)


def cross_entropy(
    rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, label_smoothing: float = 0.0, size: float = 2.0
) -> Made:
    made = _on_logits(rng, shape, weights, grad, size)
    labels = rng.integers(0, shape[1], size=shape[0])
    inputs = {"logits": made.inputs["logits"], "labels": labels, "sample_weight": made.inputs["sample_weight"]}
    return Made(inputs, made.outputs, {"label_smoothing": label_smoothing})


def _probabilities(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Rows that sum to 1, with some zeros."""
    p = rng.random(shape) * (rng.random(shape) < 0.8) + 1e-3 * (np.arange(shape[1]) == 0)
    return p / p.sum(axis=1, keepdims=True)


def cross_entropy_soft(
    rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, label_smoothing: float = 0.0, size: float = 2.0
) -> Made:
    made = _on_logits(rng, shape, weights, grad, size)
    made.inputs["targets"] = _probabilities(rng, shape)
    made.scalars["label_smoothing"] = label_smoothing
    return made


def kl_divergence(rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, size: float = 2.0) -> Made:
    made = _on_logits(rng, shape, weights, grad, size)
    made.inputs["targets"] = _probabilities(rng, shape)
    return made


def masked_logits(rng: np.random.Generator, loss: Callable[..., Made]) -> Made:
    """A class that is ruled out by a logit of -inf, where the target gives it no probability."""
    made = loss(rng, (5, 9), "none", True)
    made.inputs["logits"][:, 4] = -np.inf
    if "labels" in made.inputs:
        made.inputs["labels"][:] = 3
    else:
        made.inputs["targets"][:, 4] = 0
    return made


def binary_cross_entropy(
    rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, pos_weight: bool = True, size: float = 2.0
) -> Made:
    made = _on_logits(rng, shape, weights, grad, size)
    made.inputs["targets"] = rng.choice([0.0, 0.3, 1.0], size=shape)
    made.inputs["pos_weight"] = rng.random(shape[1]) + 0.5 if pos_weight else None
    return made


def huber(rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, size: float = 2.0) -> Made:
    made = _on_outputs(rng, shape, weights, grad, size)
    made.scalars["threshold"] = 0.75
    return made


def poisson(rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, size: float = 2.0) -> Made:
    made = _on_outputs(rng, shape, weights, grad, min(size, 20.0))  # a rate of e^20 is large; far beyond is infinite
    made.inputs["targets"] = rng.integers(0, 5, size=shape).astype(float)
    return made


def quantile(rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, size: float = 2.0) -> Made:
    made = _on_outputs(rng, shape, weights, grad, size)
    made.inputs["q"] = rng.uniform(0.05, 0.95, size=shape[1])
    return made


def focal(
    rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, gamma: float = 2.0, size: float = 2.0
) -> Made:
    made = cross_entropy(rng, shape, weights, grad, size=size)
    return made._replace(scalars={"gamma": gamma})


def binary_focal(
    rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, gamma: float = 2.0, size: float = 2.0
) -> Made:
    made = _on_logits(rng, shape, weights, grad, size)
    made.inputs["targets"] = rng.choice([0.0, 0.3, 1.0], size=shape)
    made.scalars["gamma"] = gamma
    return made


def gamma(rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, size: float = 2.0) -> Made:
    made = _on_outputs(rng, shape, weights, grad, min(size, 20.0))
    made.inputs["targets"] = rng.gamma(2.0, size=shape)
    return made


def gaussian(rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, size: float = 2.0) -> Made:
    """Two outputs for each column of the shape."""
    made = _on_outputs(rng, (shape[0], 2 * shape[1]), weights, grad, min(size, 20.0))
    made.inputs["targets"] = np.tile(made.inputs["targets"][:, : shape[1]], 2)
    return made


def non_crossing_quantiles(rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, size: float = 2.0) -> Made:
    made = _on_outputs(rng, shape, weights, grad, size)
    made.inputs["targets"] = np.repeat(5 * rng.normal(size=(shape[0], 1)), shape[1], axis=1)
    made.inputs["q"] = np.sort(rng.uniform(0.05, 0.95, size=shape[1]))
    return made


def hinge(rng: np.random.Generator, shape: tuple[int, int], weights: str, grad: bool, size: float = 2.0) -> Made:
    made = _on_outputs(rng, shape, weights, grad, size)
    made.inputs["targets"] = rng.integers(0, 2, size=shape).astype(float)
    return made


def tied(rng: np.random.Generator, loss: Callable[..., Made]) -> Made:
    """Outputs that equal their targets: where a loss has its kink, the gradient is 0 (hinge has it at a margin of 1)."""
    made = loss(rng, (5, 9), "none", True)
    targets = made.inputs["targets"]
    made.inputs["outputs"][:] = 2 * targets - 1 if loss is hinge else targets
    return made


_LOSS_OPTIONS = [
    *grid(shape=SHAPES, weights=["none", "positive"], grad=[True]),
    *grid(shape=[(5, 9), (70, 65)], weights=["signed", "zero"], grad=[True]),
    *grid(shape=[(5, 9), (300, 3), (2, 700)], weights=["none", "positive"], grad=[False]),
    *grid(shape=[(5, 9)], weights=["none"], grad=[True], size=[300.0]),
]


def _with(options: list[Arguments], **more: list[Any]) -> list[Arguments]:
    return [first | second for first, second in product(options, grid(**more))]


def _spans(size: int, kind: str, decay: bool) -> np.ndarray:
    """The whole buffer, or two runs of it with a frozen gap between them and behind them."""
    if kind == "whole":
        rows = [(0, size, 1.0, 0.1 if decay else 0.0, 0.0)]
    else:
        first, second = size // 3, size // 4
        rows = [(1, first, 1.0, 0.1 if decay else 0.0, 0.0), (size - second - 1, second, 0.3, 0.0, 0.01 if decay else 0.0)]
    return np.array(rows if kind != "empty" else [], SPAN)


_SPAN_OPTIONS = [
    *grid(size=SIZES, kind=["whole"], decay=[False]),
    *grid(size=[40, 5000], kind=["parts"], decay=[False, True]),
    {"size": 40, "kind": "empty", "decay": False},
]


def squared_norm(rng: np.random.Generator, size: int, kind: str, decay: bool) -> Made:
    return Made({"grad": rng.normal(size=size), "spans": _spans(size, kind, decay)}, {}, {})


def _rescaling(**scalars: float) -> Callable[..., Made]:
    def make(rng: np.random.Generator, size: int, kind: str, decay: bool) -> Made:
        return Made({"spans": _spans(size, kind, decay)}, {"grad": rng.normal(size=size)}, dict(scalars))

    return make


_ADAM = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
_BIAS = {"bias1": 1 - 0.9**3, "bias2": 1 - 0.999**3}


def _optimizer(states: str, **scalars: float) -> Callable[..., Made]:
    """Make the arguments of an update whose moments have these names; options override scalars, or say that a moment is None."""

    def make(rng: np.random.Generator, size: int, kind: str, decay: bool, decoupled: bool = False, **options: Any) -> Made:
        outputs: Arguments = {"param": rng.normal(size=size)}
        for name in states.split():
            signed = name in ("m", "velocity", "grad_mean", "previous")
            outputs[name] = rng.normal(size=size) * 0.1 if signed else rng.random(size) + 0.1
        made = Made({"grad": rng.normal(size=size), "spans": _spans(size, kind, decay)}, outputs, dict(scalars))
        for name, value in options.items():
            (made.outputs if value is None else made.scalars)[name] = value
        made.scalars["decoupled"] = decoupled
        return made

    return make


_UPDATES = [
    *_with(_SPAN_OPTIONS, decoupled=[False]),
    *grid(size=[40, 5000], kind=["parts", "whole"], decay=[True], decoupled=[True]),
]
_UPDATE = {"size": 40, "kind": "parts", "decay": True}


NORM_SHAPES = [shape for shape in SHAPES if shape[0] >= 2] + [(2, 300), (300, 2)]


def _affine(rng: np.random.Generator, k: int) -> Arguments:
    return {"weight": rng.normal(size=k), "bias": rng.normal(size=k)}


def _statistics(rng: np.random.Generator, k: int) -> Arguments:
    return {"running_mean": rng.normal(size=k), "running_var": rng.random(k) + 0.5}


def _affine_gradients(n: int, k: int) -> Arguments:
    return {"grad_weight": blank(k), "grad_bias": blank(k), "grad_x": blank(n, k)}


def batch_norm_forward(rng: np.random.Generator, shape: tuple[int, int], offset: float = 1.0) -> Made:
    n, k = shape
    outputs = _statistics(rng, k) | {"x_hat": blank(n, k), "inv_std": blank(k), "y": blank(n, k)}
    return Made({"x": offset + rng.normal(size=shape)} | _affine(rng, k), outputs, {"momentum": 0.1, "eps": 1e-5})


def batch_norm_backward(rng: np.random.Generator, shape: tuple[int, int]) -> Made:
    n, k = shape
    inputs = {"grad_y": rng.normal(size=shape), "x_hat": rng.normal(size=shape)}
    return Made(inputs | {"weight": rng.normal(size=k), "inv_std": rng.random(k) + 0.5}, _affine_gradients(n, k), {})


def batch_norm_inference(rng: np.random.Generator, shape: tuple[int, int]) -> Made:
    k = shape[1]
    inputs = {"x": rng.normal(size=shape)} | _affine(rng, k) | _statistics(rng, k)
    return Made(inputs, {"y": blank(*shape)}, {"eps": 1e-5})


def batch_norm_inference_backward(rng: np.random.Generator, shape: tuple[int, int]) -> Made:
    n, k = shape
    inputs = {"grad_y": rng.normal(size=shape), "x": rng.normal(size=shape), "weight": rng.normal(size=k)} | _statistics(rng, k)
    return Made(inputs, _affine_gradients(n, k), {"eps": 1e-5})


def layer_norm_forward(rng: np.random.Generator, shape: tuple[int, int], offset: float = 1.0) -> Made:
    n, k = shape
    outputs = {"x_hat": blank(n, k), "inv_std": blank(n), "y": blank(n, k)}
    return Made({"x": offset + rng.normal(size=shape)} | _affine(rng, k), outputs, {"eps": 1e-5})


def layer_norm_backward(rng: np.random.Generator, shape: tuple[int, int]) -> Made:
    n, k = shape
    inputs = {"grad_y": rng.normal(size=shape), "x_hat": rng.normal(size=shape)}
    return Made(inputs | {"weight": rng.normal(size=k), "inv_std": rng.random(n) + 0.5}, _affine_gradients(n, k), {})


def dropout(rng: np.random.Generator, shape: tuple[int, int], rate: float, seed: int, step: int, layer: int) -> Made:
    scalars = {"rate": rate, "seed": seed, "step": step, "layer": layer}
    return Made({"x": rng.normal(size=shape)}, {"y": blank(*shape)}, scalars)


def cases(make: Callable[..., Made], options: list[Arguments]) -> list[Case]:
    return [Case(make, chosen) for chosen in options]


CASES: dict[str, list[Case]] = {
    "dense_forward": cases(
        dense_forward,
        grid(shape=DENSE, bias=[True], z=[False], activation=["relu"])
        + grid(shape=DENSE[:-3], bias=[False], z=[True], activation=["tanh"])
        + grid(shape=[(15, 7, 33), (100, 33, 40)], bias=[True], z=[False, True], activation=ACTIVATIONS),
    ),
    "dense_backward": cases(
        dense_backward,
        grid(shape=DENSE, weight=[True], bias=[True], x=[True])
        + grid(shape=[(15, 7, 33)], weight=[False, True], bias=[False, True], x=[False, True]),
    ),
    "activation_forward": cases(activation_forward, _activation_options()),
    "activation_backward": cases(activation_backward, _activation_options()),
    "cross_entropy": [
        *cases(cross_entropy, _with(_LOSS_OPTIONS, label_smoothing=[0.0, 0.1])),
        Case(masked_logits, {"loss": cross_entropy}),
    ],
    "cross_entropy_soft": [
        *cases(cross_entropy_soft, _with(_LOSS_OPTIONS, label_smoothing=[0.0, 0.1])),
        Case(masked_logits, {"loss": cross_entropy_soft}),
    ],
    "kl_divergence": [*cases(kl_divergence, _LOSS_OPTIONS), Case(masked_logits, {"loss": kl_divergence})],
    "focal": [*cases(focal, _with(_LOSS_OPTIONS, gamma=[0.0, 0.5, 2.0])), Case(masked_logits, {"loss": focal})],
    "binary_cross_entropy": cases(binary_cross_entropy, _with(_LOSS_OPTIONS, pos_weight=[False, True])),
    "binary_focal": cases(binary_focal, _with(_LOSS_OPTIONS, gamma=[0.0, 0.5, 2.0])),
    "mse": cases(_on_outputs, _LOSS_OPTIONS),
    "half_mse": cases(_on_outputs, _LOSS_OPTIONS),
    "mae": [*cases(_on_outputs, _LOSS_OPTIONS), Case(tied, {"loss": _on_outputs})],
    "huber": [*cases(huber, _LOSS_OPTIONS), Case(tied, {"loss": huber})],
    "log_cosh": cases(_on_outputs, _LOSS_OPTIONS),
    "poisson": cases(poisson, _LOSS_OPTIONS),
    "gamma": cases(gamma, _LOSS_OPTIONS),
    "gaussian": cases(gaussian, _LOSS_OPTIONS),
    "quantile": [*cases(quantile, _LOSS_OPTIONS), Case(tied, {"loss": quantile})],
    "non_crossing_quantiles": cases(
        non_crossing_quantiles, _LOSS_OPTIONS + grid(shape=[(2, 1200)], weights=["positive"], grad=[True])
    ),
    "hinge": [*cases(hinge, _LOSS_OPTIONS), Case(tied, {"loss": hinge})],
    "squared_norm": cases(squared_norm, _SPAN_OPTIONS),
    "scale": cases(_rescaling(factor=0.37), _SPAN_OPTIONS),
    "clip_value": cases(_rescaling(limit=0.8), _SPAN_OPTIONS),
    "sgd": cases(
        _optimizer("velocity", lr=0.1, momentum=0.9, dampening=0.0, nesterov=False, first=False),
        [
            *_UPDATES,
            _UPDATE | {"velocity": None, "momentum": 0.0},
            *_with([_UPDATE], nesterov=[False, True], first=[False, True], dampening=[0.0, 0.2]),
        ],
    ),
    "rmsprop": cases(
        _optimizer("v grad_mean velocity", lr=0.1, alpha=0.99, eps=1e-8, momentum=0.9),
        [
            *_UPDATES,
            _UPDATE | {"grad_mean": None},
            _UPDATE | {"velocity": None, "momentum": 0.0},
            _UPDATE | {"grad_mean": None, "velocity": None, "momentum": 0.0},
        ],
    ),
    "adagrad": cases(_optimizer("v", lr=0.1, eps=1e-10), _UPDATES),
    "adadelta": cases(_optimizer("v u", lr=1.0, rho=0.9, eps=1e-6), _UPDATES),
    "adam": cases(_optimizer("m v v_max", **_ADAM, **_BIAS), [*_UPDATES, _UPDATE | {"v_max": None}]),
    "adamax": cases(_optimizer("m u", **_ADAM, bias1=_BIAS["bias1"]), _UPDATES),
    "nadam": cases(_optimizer("m v", **_ADAM, bias2=_BIAS["bias2"], grad_factor=0.5, m_factor=1.4), _UPDATES),
    "radam": cases(_optimizer("m v", **_ADAM, **_BIAS, rectification=0.4), [*_UPDATES, _UPDATE | {"rectification": 0.0}]),
    "lion": cases(_optimizer("m", lr=0.1, beta1=0.9, beta2=0.99), _UPDATES),
    "rprop": cases(
        _optimizer("previous step_size", lr=0.1, eta_minus=0.5, eta_plus=1.2, step_min=0.2, step_max=0.9),
        _UPDATES,
    ),
    "batch_norm_forward": cases(batch_norm_forward, [*grid(shape=NORM_SHAPES), {"shape": (40, 5), "offset": 1e4}]),
    "batch_norm_backward": cases(batch_norm_backward, grid(shape=[*SHAPES, (2, 300), (300, 2)])),
    "batch_norm_inference": cases(batch_norm_inference, grid(shape=SHAPES)),
    "batch_norm_inference_backward": cases(batch_norm_inference_backward, grid(shape=SHAPES)),
    "layer_norm_forward": cases(layer_norm_forward, [*grid(shape=[*SHAPES, (2, 300)]), {"shape": (5, 40), "offset": 1e4}]),
    "layer_norm_backward": cases(layer_norm_backward, grid(shape=[*SHAPES, (2, 300)])),
    "dropout": cases(
        dropout,
        grid(shape=SHAPES, rate=[0.4], seed=[7], step=[0], layer=[1])
        + grid(shape=[(15, 31)], rate=[0.0, 0.4, 1 - 2**-40], seed=[0, 2**64 - 1], step=[0, 2**40 + 3], layer=[0, 2**32 - 1]),
    ),
}
