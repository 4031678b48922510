"""gradcheck passes what is right, whatever it is made of, and names what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import backprop as bp
from backprop import activations, kernels, losses
from backprop._gradcheck import GradientError

pytestmark = pytest.mark.once


def targets_for(loss, rows, k, rng):
    """Targets that the loss takes."""
    if loss.name in ("cross_entropy", "focal"):
        return rng.integers(0, k, rows)
    if loss.name == "gamma":
        return rng.gamma(2.0, size=(rows, k))
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
    for rows, k in ((1, 1), (4, 2), (4, 3)):
        outputs = 2 * k if loss == "gaussian" else k
        net = bp.Network([bp.Dense(3, 4, activation=activation), bp.Dense(4, outputs)], dtype="float64", seed=k)
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


KINKED = ["relu", "leaky_relu", "hardtanh", "relu6", "elu", "selu"]
INSIDE = {
    "dense": lambda activation: [],
    "dropout": lambda activation: [bp.Dropout(0.6)],
    "batch_norm": lambda activation: [bp.BatchNorm(6)],
    "residual": lambda activation: [bp.Residual([bp.Dense(6, 5, activation=activation), bp.Dense(5, 6, activation=activation)])],
}


KINKED_LOSSES = ["mse", "mae", "hinge", "huber", "quantile", "cross_entropy"]
SHARED_KINKS = [  # every pair of activation and loss, with the layers between in turn
    (loss, activation, list(INSIDE)[(i + j) % len(INSIDE)])
    for i, loss in enumerate(KINKED_LOSSES)
    for j, activation in enumerate(KINKED)
]


@pytest.mark.parametrize(("loss", "activation", "inside"), SHARED_KINKS)
def test_units_that_share_a_kink_raise_no_false_alarm(loss, activation, inside):
    criterion = losses.get(loss)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        layers = [bp.Dense(3, 6, activation=activation), *INSIDE[inside](activation), bp.Dense(6, 2)]
        net = bp.Network(layers, dtype="float64", seed=seed)
        if seed == 1:
            net.layers[-1].weight = np.zeros((6, 2))  # outputs of zero: with targets of zero, the kink of mae and quantile
        x = np.round(rng.normal(size=(5, 3)))
        x[:2] = 0  # with biases of zero, every unit is at its kink
        y = targets_for(criterion, 5, 2, rng)
        if criterion.task == "regression" and seed < 2:
            y = np.zeros((5, 2))
        weight = rng.choice([-1.0, 1.0, 2.0], 5) if seed == 2 else None
        for training in (True, False):
            assert bp.gradcheck(net, x, y, loss=criterion, training=training, sample_weight=weight)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_a_network_for_xnor_raises_no_false_alarm(activation):
    for seed in range(25):
        net = bp.mlp([2, 4, 1], activation=activation, seed=seed)
        assert bp.gradcheck(net, [[0, 0], [0, 1], [1, 0], [1, 1]], [1, 0, 0, 1], loss="binary_cross_entropy")


def test_kinks(rng):
    # Rows of zeros put every unit of a network without biases exactly on relu's kink.
    net = bp.Network([bp.Dense(3, 20, activation="relu", bias=False), bp.Dense(20, 2)], seed=0)
    assert bp.gradcheck(net, np.zeros((2, 3)), [0, 1], loss="cross_entropy")
    # And among this many units some lie within a step of it.
    (x, y), _ = bp.datasets.digits()
    assert bp.gradcheck(bp.mlp([64, 128, 64, 10], seed=0), x[:8], y[:8], loss="cross_entropy", max_entries=200)


def test_a_wrong_gradient_at_a_kink_is_found():
    class Off(bp.Dense):
        """A dense layer whose gradient is too large by one part in a million."""

        def backward(self, grad_outputs):
            grad_x = super().backward(grad_outputs)
            self.grad_weight *= 1 + 1e-6
            return grad_x

    for seed in range(5):
        net = bp.Network([Off(3, 6, activation="relu"), bp.Dense(6, 2)], dtype="float64", seed=seed)
        x = np.random.default_rng(seed).normal(size=(3, 3))
        x[0] = 0
        assert bp.gradcheck(net.copy(), x, [0, 1, 0], loss="cross_entropy", rtol=1e-5)
        with pytest.raises(GradientError, match=r"layers\.0 Off.*: weight\["):
            bp.gradcheck(net, x, [0, 1, 0], loss="cross_entropy")


WRITTEN = {  # kernels of backward, with the positions of the arrays that they write
    "dense_backward": (3, 4, 5),
    "batch_norm_backward": (4, 5, 6),
    "batch_norm_inference_backward": (5, 6, 7),
    "layer_norm_backward": (4, 5, 6),
    **dict.fromkeys(("cross_entropy", "cross_entropy_soft", "kl_divergence", "mse", "half_mse", "mae"), (3,)),
    **dict.fromkeys(("huber", "log_cosh", "poisson", "hinge"), (3,)),
    **dict.fromkeys(("binary_cross_entropy", "quantile"), (4,)),
}
PLANTED = [(kernel, position, name) for kernel in WRITTEN for position in WRITTEN[kernel] for name in ("tanh", "relu")]
PLANTED += [("activation_backward", 3, name) for name in activations.NAMES if name not in ("identity", "softmax")]


@pytest.mark.parametrize(("kernel", "position", "activation"), PLANTED)
def test_an_error_of_one_part_in_a_million_in_any_kernel_is_found(kernel, position, activation, monkeypatch, rng):
    norm = bp.LayerNorm(4) if kernel.startswith("layer_norm") else bp.BatchNorm(4)
    net = bp.Network([bp.Dense(3, 4), norm, bp.Activation(activation), bp.Dense(4, 2)], dtype="float64", seed=0)
    loss = "cross_entropy" if kernel == "cross_entropy_soft" else kernel if kernel in losses.NAMES else "mse"
    y = targets_for(losses.get(loss), 6, 2, rng)
    y = np.eye(2)[y] if kernel == "cross_entropy_soft" else y
    x, training = rng.normal(size=(6, 3)), "inference" not in kernel
    planted = 0

    with bp.use_backend("numpy"):
        original = getattr(kernels.active(), kernel)

        def wrong(*arguments):
            nonlocal planted
            result = original(*arguments)
            if arguments[position] is not None:
                arguments[position][...] *= 1 + 1e-6
                planted += 1
            return result

        assert bp.gradcheck(net, x, y, loss=loss, training=training, max_entries=4)
        monkeypatch.setattr(kernels.active(), kernel, wrong)
        with pytest.raises(GradientError):
            bp.gradcheck(net, x, y, loss=loss, training=training, max_entries=4)
    assert planted


def test_a_loss_that_is_rounded_is_checked_as_closely_as_it_can_be(rng):
    def rounded(outputs, targets):
        diff = (outputs - targets).astype(np.float32)
        return float(np.mean(diff**2)), 2 * (outputs - targets) / diff.size

    assert bp.gradcheck(bp.mlp([3, 4, 2], activation="tanh", seed=0), rng.normal(size=(4, 3)), np.zeros((4, 2)), loss=rounded)


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
        (np.ones((0, 2)), np.zeros((0, 1)), "x must have at least one row"),
        ([[np.nan, 1]], np.zeros((1, 1)), "x contains NaN at row 0, column 0"),
        (np.ones((2, 2)), np.zeros((3, 1)), r"\(3, 1\)"),
    ],
)
def test_bad_data(x, y, message):
    with pytest.raises(ValueError, match=message):
        bp.gradcheck(bp.mlp([2, 1], seed=0), x, y, loss="mse")


def test_only_networks_are_checked():
    trainer = bp.Trainer(bp.mlp([2, 1], seed=0), loss="mse")
    with pytest.raises(TypeError, match="net must be a Network, got Trainer"):
        bp.gradcheck(trainer, np.ones((2, 2)), np.zeros((2, 1)), loss="mse")
