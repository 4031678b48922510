"""Plans do what the network does layer by layer, in one call; and they are never used when the network has changed."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import backprop as bp
from backprop import activations, kernels
from backprop.network import Network

pytestmark = pytest.mark.skipif(kernels.compiled() is None, reason="plans are the compiled backend's")

TOLERANCE = {"float32": 1e-4, "float64": 1e-11}


def random_layers(rng: np.random.Generator, width: int, count: int, depth: int = 0) -> tuple[list[bp.Layer], int]:
    """Layers of every kind in random order, and how wide the last one's output is."""
    layers: list[bp.Layer] = []
    for _ in range(count):
        kind = rng.choice(["dense", "activation", "dropout", "batch_norm", "layer_norm", "residual"])
        activation = str(rng.choice(activations.NAMES))
        if kind == "dense":
            fan_out = int(rng.choice([1, 2, 3, 7, 16, 17, 33]))
            layers.append(bp.Dense(width, fan_out, activation=activation, bias=bool(rng.integers(2))))
            width = fan_out
        elif kind == "activation":
            layers.append(bp.Activation(activation))
        elif kind == "dropout":
            layers.append(bp.Dropout(float(rng.choice([0.0, 0.3]))))
        elif kind == "batch_norm":
            layers.append(bp.BatchNorm(width))
        elif kind == "layer_norm":
            layers.append(bp.LayerNorm(width))
        elif depth < 2:
            block, after = random_layers(rng, width, int(rng.integers(1, 4)), depth + 1)
            if after != width:
                block.append(bp.Dense(after, width))
            layers.append(bp.Residual(block))
    return layers, width


def random_network(seed: int, dtype: str) -> Network:
    rng = np.random.default_rng(seed)
    width = int(rng.choice([1, 3, 8, 20]))
    layers, after = random_layers(rng, width, int(rng.integers(1, 7)))
    net = bp.Network([*layers, bp.Dense(after, 3)], dtype=dtype, seed=seed)
    for _, layer in net._named:
        if rng.random() < 0.2:
            layer.trainable = False
    net.parameters += rng.normal(scale=0.1, size=net.parameters.size)
    return net


@pytest.fixture(params=range(40))
def net(request: pytest.FixtureRequest, dtype: np.dtype) -> Network:
    return random_network(request.param, dtype.name)


def batch(net: Network, rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, net.n_inputs)).astype(net.dtype)


# --- the same arithmetic ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_forward_and_backward_are_those_of_the_layers(net, training):
    x = batch(net, 19)
    grad = np.random.default_rng(1).normal(size=(19, 3)).astype(net.dtype)
    by_layer = net.copy()
    by_layer.layers = net.copy().layers  # noqa
