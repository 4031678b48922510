"""Networks, losses, optimizers and targets for tests that hold one way of training against another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import backprop as bp
from backprop import activations, losses
from backprop.network import Network


def random_layers(rng: np.random.Generator, width: int, count: int, depth: int = 0) -> tuple[list[bp.Layer], int]:
    """Layers of every kind in random order, and how wide the outputs of the last are."""
    layers: list[bp.Layer] = []
    for _ in range(count):
        kind = rng.choice(["dense", "dense", "activation", "dropout", "batch_norm", "layer_norm", "residual"])
        activation = str(rng.choice(activations.NAMES))
        if kind == "dense":
            fan_out = int(rng.choice([1, 2, 7, 16, 17, 33]))
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
            layers.append(bp.Residual([*block, bp.Dense(after, width)] if after != width or not block else block))
    return layers, width


def random_network(seed: int, dtype: str = "float64", outputs: int = 3) -> Network:
    """A network of random layers with random numbers of inputs and some of its layers frozen."""
    rng = np.random.default_rng(seed)
    width = int(rng.choice([1, 3, 8, 20]))
    layers, after = random_layers(rng, width, int(rng.integers(1, 7)))
    net = bp.Network([bp.Dropout(0.1), *layers, bp.Dense(after, outputs)], dtype=dtype, seed=seed)
    net.parameters += rng.normal(scale=0.1, size=net.parameters.size)
    for _, layer in net._named:
        if rng.random() < 0.2:
            layer.trainable = False
    net.layers[-1].trainable = True
    return net


def losses_of(outputs: int) -> list[losses.Loss]:
    """Every loss, with options where it has any; `losses.Gaussian` only for an even number of outputs."""
    return [
        losses.CrossEntropy(label_smoothing=0.1),
        losses.BinaryCrossEntropy(pos_weight=np.arange(1.0, outputs + 1).tolist()),
        losses.MSE(),
        losses.HalfMSE(),
        losses.MAE(),
        losses.Huber(delta=0.5),
        losses.LogCosh(),
        losses.Poisson(),
        losses.Quantile(q=np.linspace(0.1, 0.9, outputs).tolist()),
        losses.Hinge(),
        losses.KLDivergence(),
        losses.Focal(gamma=1.5),
        losses.BinaryFocal(gamma=0.5),
        losses.Gamma(),
        losses.NonCrossingQuantiles(q=np.linspace(0.1, 0.9, outputs).tolist()),
        *([losses.Gaussian()] if outputs % 2 == 0 else []),
    ]


OPTIMIZERS: list[Callable[[], bp.optimizers.Optimizer]] = [
    lambda: bp.SGD(0.05),
    lambda: bp.SGD(bp.schedules.Exponential(0.05, gamma=0.9), momentum=0.9, nesterov=True),
    lambda: bp.RMSprop(1e-3, centered=True, momentum=0.5),
    lambda: bp.Adagrad(lr_decay=0.1, eps=1e-6),
    lambda: bp.Adadelta(),
    lambda: bp.Adam(amsgrad=True, weight_decay=0.1),
    lambda: bp.AdamW(groups={"*.weight": {"weight_decay": 0.0, "lr": 1e-2}}),
    lambda: bp.Adamax(l1=0.01),
    lambda: bp.NAdam(),
    lambda: bp.RAdam(),
    lambda: bp.Lion(),
    lambda: bp.Rprop(),
]


def targets_for(loss: losses.Loss, outputs: int, rows: int, soft: bool = False) -> np.ndarray:
    """Targets that the loss takes; ``soft``: probabilities where it also takes labels."""
    rng = np.random.default_rng(3)
    if loss.name == "kl_divergence" or (loss.name == "cross_entropy" and soft):
        return rng.dirichlet(np.ones(outputs), size=rows)
    if loss.name in ("cross_entropy", "focal"):
        return rng.integers(0, outputs, rows)
    if loss.name == "gaussian":
        return rng.normal(size=(rows, outputs // 2))
    if loss.name == "gamma":
        return rng.gamma(2.0, size=(rows, outputs))
    return rng.integers(0, 2, (rows, outputs)).astype(np.float64)
