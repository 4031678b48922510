"""Plans do in one call what networks do layer by layer, and none is used for a network that has changed."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable

import numpy as np
import pytest

import backprop as bp
from backprop import _plan, activations, kernels, losses
from backprop.network import Network

pytestmark = pytest.mark.skipif(kernels.compiled() is None, reason="plans are the compiled backend's")


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


def random_network(seed: int, dtype: str = "float64") -> Network:
    rng = np.random.default_rng(seed)
    width = int(rng.choice([1, 3, 8, 20]))
    layers, after = random_layers(rng, width, int(rng.integers(1, 7)))
    net = bp.Network([bp.Dropout(0.1), *layers, bp.Dense(after, 3)], dtype=dtype, seed=seed)
    net.parameters += rng.normal(scale=0.1, size=net.parameters.size)
    for _, layer in net._named:
        if rng.random() < 0.2:
            layer.trainable = False
    net.layers[-1].trainable = True
    return net


@pytest.fixture
def layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, no network has a plan."""
    return lambda: monkeypatch.setattr(Network, "_ready_plan", lambda self: None)


def batch(net: Network, rows: int = 19, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, net.n_inputs)).astype(net.dtype)


def assert_close(actual: object, wanted: object, net: Network) -> None:
    tolerance = {"float32": 2e-4, "float64": 1e-11}[net.dtype.name]
    np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


# --- the same arithmetic ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(30))
def test_forward_and_backward(seed, dtype, training, layer_by_layer):
    net = random_network(seed, dtype.name)
    x, grad = batch(net), np.random.default_rng(1).normal(size=(19, 3)).astype(dtype)
    other = net.copy()
    outputs = net.forward(x, training)
    assert net._walked is not None
    grad_x = net.backward(grad)
    layer_by_layer()
    assert_close(outputs, other.forward(x, training), net)
    assert other._walked is None
    assert_close(grad_x, other.backward(grad), net)
    assert np.abs(other.gradients).max() > 0
    assert_close(net.gradients, other.gradients, net)
    assert_close(net.buffers, other.buffers, net)
    assert net.dropout_step == other.dropout_step


@pytest.mark.parametrize("rows", [1, 5, 300])
@pytest.mark.parametrize("seed", range(30))
def test_predict(seed, dtype, rows, layer_by_layer):
    net = random_network(seed, dtype.name)
    net.forward(batch(net), training=True)  # so that running statistics are not those of the beginning
    x = batch(net, rows)
    outputs = net._ready_plan().predict(x)
    np.testing.assert_array_equal(net.predict(x), outputs)
    layer_by_layer()
    assert_close(outputs, net.infer(x), net)


LOSSES = [
    losses.CrossEntropy(label_smoothing=0.1),
    losses.BinaryCrossEntropy(pos_weight=[1.0, 2.0, 3.0]),
    losses.MSE(),
    losses.HalfMSE(),
    losses.MAE(),
    losses.Huber(delta=0.5),
    losses.LogCosh(),
    losses.Poisson(),
    losses.Quantile(q=[0.1, 0.5, 0.9]),
    losses.Hinge(),
    losses.KLDivergence(),
]
OPTIMIZERS: list[Callable[[], bp.optimizers.Optimizer]] = [
    lambda: bp.SGD(0.05),
    lambda: bp.SGD(bp.schedules.Exponential(0.05, gamma=0.9), momentum=0.9, nesterov=True),
    lambda: bp.RMSprop(1e-3, centered=True, momentum=0.5),
    lambda: bp.Adagrad(lr_decay=0.1),
    lambda: bp.Adadelta(),
    lambda: bp.Adam(amsgrad=True, weight_decay=0.1),
    lambda: bp.AdamW(groups={"*.weight": {"weight_decay": 0.0, "lr": 1e-2}}),
    lambda: bp.Adamax(l1=0.01),
    lambda: bp.NAdam(),
    lambda: bp.RAdam(),
    lambda: bp.Lion(),
    lambda: bp.Rprop(),
]


def targets_for(loss: losses.Loss, rows: int, soft: bool) -> np.ndarray:
    rng = np.random.default_rng(3)
    if loss.name == "kl_divergence" or (loss.name == "cross_entropy" and soft):
        return rng.dirichlet(np.ones(3), size=rows)
    if loss.name == "cross_entropy":
        return rng.integers(0, 3, rows)
    return rng.integers(0, 2, (rows, 3)).astype(np.float64)


@pytest.mark.parametrize("case", range(48))
def test_training(case, layer_by_layer):
    rng = np.random.default_rng(case)
    net = random_network(case)
    loss = LOSSES[case % len(LOSSES)]
    optimizer = OPTIMIZERS[case % len(OPTIMIZERS)]
    x, y = batch(net, 23), targets_for(loss, 23, soft=case % 2 == 0)
    weight = rng.choice([0.0, 1.0, 2.5], 23) if case % 3 == 0 else None
    clip = [{}, {"clip_norm": 0.5}, {"clip_value": 0.01}][case % 4 % 3]
    others = net.copy()

    def train(net: Network) -> tuple[bp.Trainer, bp.History]:
        trainer = bp.Trainer(net, loss=copy.deepcopy(loss), optimizer=optimizer(), **clip)
        return trainer, trainer.fit(x, y, epochs=3, batch_size=5, sample_weight=weight, seed=case, shuffle=case % 5 > 0)

    trainer, history = train(net)
    assert trainer._planned is not None
    layer_by_layer()
    other, other_history = train(others)
    assert other._planned is None
    assert trainer.optimizer.steps == other.optimizer.steps > 0
    assert net.dropout_step == others.dropout_step
    assert_close(net.parameters, others.parameters, net)
    assert_close(net.buffers, others.buffers, net)
    for key, values in history.items():
        np.testing.assert_allclose(values, other_history[key], rtol=1e-9, err_msg=key)
