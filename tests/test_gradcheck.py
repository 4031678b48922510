"""gradcheck passes what is right, whatever it is made of, and names what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import backprop as bp
from backprop import activations, losses
from backprop._gradcheck import GradientError


def targets_for(loss, rows, k, rng):
    """Targets that the loss takes."""
    if loss.name == "cross_entropy":
        return rng.integers(0, k, rows)
    if loss.name == "kl_divergence":
        raw = rng.uniform(0.1, 1, (rows, k))
        return raw / raw.sum(axis=1, keepdims=True)
    if loss.task == "binary" or loss.name == "hinge":
        return rng.integers(0, 2, (rows, k)).astype(float)
    if loss.name == "poisson":
        return rng.integers(0, 5, (rows, k)).astype(float)
    return rng.normal(size=(rows, k))


@pytest.mark.parametrize("loss", losses.NAMES)
@pytest.mark.parametrize("activation", activations.NAMES)
def test_every_loss_with_every_activation(loss, activation, backend, rng):
    criterion = losses.get(loss)
    for k in (1, 2, 3):
        for rows in (1, 4):
            net = bp.Network([bp.Dense(3, 4, activation=activation), bp.Dense(4, k)], dtype="float64", seed=k)
            net.parameters += rng.normal(0, 0.1, net.parameters.size)
            x, y = rng.normal(size=(rows, 3)), targets_for(criterion, rows, k, rng)
            assert bp.gradcheck(net, x, y, loss=criterion)


@pytest.mark.parametrize("loss", ["mse", "mae", "log_cosh"])
@pytest.mark.parametrize("activation", activations.NAMES)
def test_every_activation_at_the_end(loss, activation, backend, rng):
    net = bp.mlp([3, 4, 2], activation="tanh", output_activation=activation, seed=0)
    assert bp.gradcheck(net, rng.normal(size=(4, 3)), targets_for(losses.get(loss), 4, 2, rng), loss=loss)


@pytest.mark.parametrize(
    "loss",
    [
        losses.CrossEntropy(label_smoothing=0.2, class_weight=[1, 2, 0.5]),
        losses.BinaryCrossEntropy(pos_weight=3.0),
        losses.Huber(delta=0.3),
        losses.Quantile(q=[0.1, 0.5, 0.9]),
        lambda outputs, targets: (float(np.mean(np.cosh(outputs - targets))), np.sinh(outputs - targets) / outputs.size),
    ],
    ids=["cross_entropy", "binary_cross_entropy", "huber", "quantile", "own"],
)
def test_options_of_losses(loss, backend, rng):
    net = bp.mlp([3, 4, 3], activation="tanh", seed=0)
    y = targets_for(losses.get(loss), 5, 3, rng)
    assert bp.gradcheck(net, rng.normal(size=(5, 3)), y, loss=loss)


def test_sample_weight(backend, rng):
    net = bp.mlp([3, 4, 3], activation="tanh", seed=0)
    weight = [1.0, 0.0, 2.5, -1.0]
    assert bp.gradcheck(net, rng.normal(size=(4, 3)), [0, 1, 2, 0], loss="cross_entropy", sample_weight=weight)


@pytest.mark.parametrize("training", [True, False])
def test_every_layer(training, backend, dtype, rng):
    net = bp.Network(
        [
            bp.Dense(4, 6, activation="gelu", bias=False),
            bp.BatchNorm(6),
            bp.Activation("tanh"),
            bp.Dropout(0.3),
            bp.Residual([bp.Dense(6, 5, activation="silu"), bp.LayerNorm(5), bp.Dropout(0.2), bp.Dense(5, 6)]),
            bp.Dense(6, 2),
        ],
        dtype=dtype,
        seed=0,
    )
    x, y = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    net.forward(x, training=True)
    state, step, gradients = net.state_dict(), net.dropout_step, net.gradients.copy()
    assert bp.gradcheck(net, x, y, loss="mse", training=training)
    assert all((value == state[name]).all() for name, value in net.state_dict().items())
    assert net.dropout_step == step
    np.testing.assert_array_equal(net.gradients, gradients)
    net.backward(np.ones((5, 2)))


def test_frozen_layers_are_left_out(rng):
    net = bp.mlp([3, 4, 2], activation="tanh", seed=0)
    net.layers[0].trainable = False
    assert bp.gradcheck(net, rng.normal(size=(4, 3)), [0, 1, 0, 1], loss="cross_entropy")


def test_kinks(rng):
    # Rows of zeros put every unit of a network without biases exactly on relu's kink.
    net = bp.Network([bp.Dense(3, 20, activation="relu", bias=False), bp.Dense(20, 2)], seed=0)
    assert bp.gradcheck(net, np.zeros((2, 3)), [0, 1], loss="cross_entropy")
    # And among this many units some lie within a step of it.
    (x, y), _ = bp.datasets.digits()
    assert bp.gradcheck(bp.mlp([64, 128, 64, 10], seed=0), x[:8], y[:8], loss="cross_entropy", max_entries=200)


class Wrong(bp.Layer):
    """y = x * scale + shift, with a gradient that is off where it is told to be."""

    def __init__(self, width, where):
        self.width = self.fan_in = self.fan_out = width
        self.where = where
        self.scale, self.shift = np.ones(width), np.zeros(width)

    def parameter_shapes(self):
        return {"scale": (self.width,), "shift": (self.width,)}

    def forward(self, x, training):
        self._x = x
        return x * self.scale + self.shift

    def backward(self, grad_outputs):
        self.grad_scale[...] = (grad_outputs * self._x).sum(axis=0)
        self.grad_shift[...] = grad_outputs.sum(axis=0)
        if self.where in ("scale", "shift"):
            getattr(self, f"grad_{self.where}")[2] *= 1.001
        elif self.where == "nan":
            self.grad_shift[1] = np.nan
        elif self.where == "x":
            return -grad_outputs
        return grad_outputs * self.scale


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("scale", r"layers\.1 Wrong\(4, 'scale'\): scale\[2\]: backward says .*, differences .* \(1 entry is wrong\)"),
        ("shift", r"layers\.1 Wrong\(4, 'shift'\): shift\[2\]: backward says"),
        ("nan", r"layers\.1 Wrong\(4, 'nan'\): shift\[1\]: backward says nan"),
        ("x", r"(layers\.0 Dense\(3, 4\): (weight|bias)|x)\[.*\]: backward says .* entries are wrong, this one the most"),
    ],
)
def test_a_wrong_gradient_is_named(where, message, rng):
    net = bp.Network([bp.Dense(3, 4), Wrong(4, where), bp.Dense(4, 2)], seed=0)
    with pytest.raises(GradientError, match=message):
        bp.gradcheck(net, rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), loss="mse")


def test_a_wrong_gradient_of_the_input_is_named(rng):
    net = bp.Network([Wrong(3, "x")], seed=0)
    with pytest.raises(GradientError, match=r"^x\[\d, \d\]: backward says .* \(6 entries are wrong"):
        bp.gradcheck(net, rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), loss="mse")


def test_both_numbers_are_in_the_message(rng):
    net = bp.Network([Wrong(3, "shift")], dtype="float64", seed=0)
    x = np.zeros((1, 3))  # outputs 0, targets 3: the mean square has the slope -2
    with pytest.raises(GradientError, match=r"shift\[2\]: backward says -2\.002, differences .* say -(2\.0000|1\.9999|2 )"):
        bp.gradcheck(net, x, np.full((1, 3), 3.0), loss="mse")


def test_a_wrong_gradient_of_a_loss_is_found(rng):
    def loss(outputs, targets):
        return float(np.mean((outputs - targets) ** 2)), (outputs - targets) / outputs.size  # half of what it should be

    with pytest.raises(GradientError, match="backward says"):
        bp.gradcheck(bp.mlp([3, 2], seed=0), rng.normal(size=(4, 3)), rng.normal(size=(4, 2)), loss=loss)


def test_it_is_an_assertion_error():
    assert issubclass(GradientError, AssertionError)


def test_a_loss_that_is_not_finite():
    net = bp.mlp([2, 1], dtype="float64", seed=0)
    net.parameters[...] = 1e200
    with pytest.raises(GradientError, match="the loss is inf, so it has no gradient to check"):
        bp.gradcheck(net, np.ones((2, 2)), np.zeros((2, 1)), loss="mse")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"eps": 0}, ValueError, "eps must be positive"),
        ({"rtol": -1}, ValueError, "rtol must be zero or positive"),
        ({"atol": float("nan")}, ValueError, "atol must be zero or positive"),
        ({"max_entries": 0}, ValueError, "max_entries must be at least 1"),
        ({"training": 1}, TypeError, "training must be True or False"),
        ({"loss": "mes"}, ValueError, "did you mean 'mse'"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        bp.gradcheck(bp.mlp([2, 1], seed=0), np.ones((2, 2)), np.zeros((2, 1)), **{"loss": "mse", **options})


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones(2), np.zeros((2, 1)), "x must be 2-D"),
        (np.ones((2, 3)), np.zeros((2, 1)), r"x must have shape \(rows, 2\), got \(2, 3\)"),
        ([[np.nan, 1]], np.zeros((1, 1)), "x contains NaN at row 0, column 0"),
        (np.ones((2, 2)), np.zeros((3, 1)), r"\(3, 1\)"),
    ],
)
def test_bad_data(x, y, message):
    with pytest.raises(ValueError, match=message):
        bp.gradcheck(bp.mlp([2, 1], seed=0), x, y, loss="mse")
