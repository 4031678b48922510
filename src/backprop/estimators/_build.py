"""What the estimators' parameters mean in terms of the library: networks, losses, optimizers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .. import activations, optimizers
from .._types import Array
from ..layers import Activation, BatchNorm, Dense, Dropout, Layer, LayerNorm, Residual, walk
from ..network import Network
from ..optimizers import Optimizer
from ..schedules import Schedule

ACTIVATIONS = {"logistic": "sigmoid"}  # scikit-learn's names for those of the library
OUT_ACTIVATIONS = {"logistic": "sigmoid", "softmax": "softmax", "exp": "exp"}


class Pair(NamedTuple):
    """The weights and biases of a dense layer: views into a network's parameters."""

    coef: Array
    intercept: Array


def activation_of(spec: Any) -> activations.ActivationFunction:
    """Return the activation function that a parameter `activation` stands for."""
    return activations.get(ACTIVATIONS.get(spec, spec) if isinstance(spec, str) else spec)


def build_network(
    sizes: Sequence[int],
    *,
    activation: Any,
    dtype: Any,
    seed: int = 0,
    dropout: float = 0.0,
    batch_norm: bool = False,
    layer_norm: bool = False,
    residual: bool = False,
) -> Network:
    """Return a network of dense layers whose weights are zero, with raw outputs.

    In a hidden layer, the norm stands between the sum and the activation, dropout behind the activation.
    """
    layers: list[Layer] = []
    for fan_in, fan_out in pairwise(sizes[:-1]):
        if batch_norm or layer_norm:
            norm = BatchNorm(fan_out) if batch_norm else LayerNorm(fan_out)
            block: list[Layer] = [Dense(fan_in, fan_out, init="zeros"), norm, Activation(activation_of(activation))]
        else:
            block = [Dense(fan_in, fan_out, activation=activation_of(activation), init="zeros")]
        if dropout:
            block.append(Dropout(dropout))
        layers += [Residual(block)] if residual and fan_in == fan_out else block
    layers.append(Dense(sizes[-2], sizes[-1], init="zeros"))
    return Network(layers, dtype=dtype, seed=seed)


def hidden_activations(net: Network) -> list[Dense | Activation]:
    """Return the layers of a network of `build_network` that apply the activation of its hidden layers."""
    found = [layer for _, layer in walk(net.layers, "layers") if isinstance(layer, Dense | Activation)]
    norms = any(isinstance(layer, Activation) for layer in found)
    return [layer for layer in found[:-1] if isinstance(layer, Activation) or not norms]


def missing_layers(net: Network, **asked: Any) -> list[str]:
    """Return which of these parameters, where they are set, ask for layers that the hidden ones of a network have not."""
    kinds = {"dropout": Dropout, "batch_norm": BatchNorm, "layer_norm": LayerNorm, "residual": Residual}
    present = {type(layer) for _, layer in walk(net.layers, "layers")}
    hidden = len(net.layers) > 1
    return [name for name, value in asked.items() if value and hidden and kinds[name] not in present]


def follow_parameters(net: Network, *, activation: Any, dropout: float) -> None:
    """Give the hidden layers of a network of `build_network` this activation and this rate of dropout."""
    function = activation_of(activation)
    for layer in hidden_activations(net):
        if layer.activation != function:
            layer.activation = function
    for _, one in walk(net.layers, "layers"):
        if isinstance(one, Dropout) and one.rate != dropout:
            one.rate = dropout


def pairs_of(net: Network) -> list[Pair]:
    """Return views of the weights and biases of all dense layers, in order."""
    dense = [entry for entry in net.layout if isinstance(entry.layer, Dense)]
    views = [net.parameters[entry.offset : entry.offset + entry.length].reshape(entry.shape) for entry in dense]
    return [Pair(weight, bias) for weight, bias in zip(views[::2], views[1::2], strict=True)]


def draws(sizes: Sequence[int], activation: Any, rng: np.random.RandomState) -> Iterator[tuple[Array, Array]]:
    """Draw initial weights and biases as scikit-learn does: Glorot and Bengio's uniform, layer by layer, biases too."""
    factor = 2.0 if activation == "logistic" else 6.0
    for fan_in, fan_out in pairwise(sizes):
        bound = np.sqrt(factor / (fan_in + fan_out))
        yield rng.uniform(-bound, bound, (fan_in, fan_out)), rng.uniform(-bound, bound, fan_out)


def make_optimizer(estimator: Any, factor: int) -> Optimizer:
    """Return the optimizer that the parameters describe, for a loss that is divided by ``factor``.

    scikit-learn's SGD keeps lr within the velocity: the same for a constant lr; `scale_velocity` covers the rest.
    """
    solver, lr = estimator.solver, float(estimator.learning_rate_init)
    schedule = estimator.learning_rate if not isinstance(estimator.learning_rate, str) else None
    made: Optimizer
    if isinstance(solver, Optimizer):
        made = copy.deepcopy(solver)
        made.reset()
    elif solver == "sgd":
        nesterov = bool(estimator.nesterovs_momentum and estimator.momentum > 0)
        made = optimizers.SGD(lr * factor, momentum=float(estimator.momentum), nesterov=nesterov)
    elif solver == "adam":
        betas = float(estimator.beta_1), float(estimator.beta_2)
        made = optimizers.Adam(lr, betas=betas, eps=float(estimator.epsilon) / factor, eps_corrected=False)
    else:
        made = optimizers.get({"name": solver, "lr": lr})
    if schedule is not None:
        made.lr = copy.deepcopy(schedule) if isinstance(schedule, Schedule) else schedule
    return made


def scale_velocity(optimizer: Optimizer, lr: float) -> None:
    """Assign a learning rate to SGD so that its velocity, times the learning rate, stays what it is."""
    velocity = optimizer._moments.get("velocity")
    if velocity is not None:
        velocity *= optimizer.learning_rate / lr
    optimizer.lr = lr
