"""The trace: its numbers are those of training, its lines of arithmetic are true, its words are there."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import backprop as bp
from backprop.explain import text
from backprop.explain.formulas import Ref
from backprop.explain.steps import columns
from backprop.explain.walk import walk

ACTIVATIONS = [name for name in bp.activations.NAMES if name != "softmax"]


@pytest.fixture
def textbook():
    """The worked example that many courses use: Mazur, "A step by step backpropagation example" (2015)."""
    net = bp.Network([bp.Dense(2, 2, activation="sigmoid"), bp.Dense(2, 2, activation="sigmoid")], dtype="float64", seed=0)
    net.layers[0].weight, net.layers[0].bias = [[0.15, 0.25], [0.20, 0.30]], [0.35, 0.35]
    net.layers[1].weight, net.layers[1].bias = [[0.40, 0.50], [0.45, 0.55]], [0.60, 0.60]
    return net


class Scale(bp.Layer):
    """y = x * scale, as a user would write it."""

    def __init__(self, width):
        self.width = self.fan_in = self.fan_out = width

    def parameter_shapes(self):
        return {"scale": (self.width,)}

    def initialize(self, rng):
        self.scale = np.linspace(0.5, 1.5, self.width)

    def forward(self, x, training):
        self._x = x
        return x * self.scale

    def backward(self, grad_outputs):
        self.grad_scale[...] = (grad_outputs * self._x).sum(axis=0)
        return grad_outputs * self.scale


def everything(seed=0):
    """A network with every kind of layer."""
    layers = [
        bp.Dense(3, 4, activation="tanh"),
        bp.BatchNorm(4),
        bp.Dropout(0.3),
        bp.Residual([bp.LayerNorm(4), bp.Dense(4, 4, activation="gelu"), bp.Dense(4, 4, bias=False)]),
        Scale(4),
        bp.Activation("softplus"),
        bp.Dense(4, 2),
    ]
    return bp.Network(layers, dtype="float64", seed=seed)


def evaluate(line):
    """Both sides of the last ``=`` in a line of arithmetic, as numbers; None where there is nothing to compute."""
    if line.count(" = ") < 2:
        return None
    *_, expression, result = line.split(" = ")
    if "more" in expression or "softmax" in expression:
        return None
    expression = re.sub(r"\|([^|]*)\|", r"abs(\1)", expression.replace("^", "**"))
    names = {name: getattr(math, name) for name in ("exp", "log", "tanh", "cosh")}
    names |= {"abs": abs, "max": max, "min": min, "sign": lambda v: (v > 0) - (v < 0)}
    names |= {name: lambda v, f=name: float(getattr(bp.activations, f)(np.array([v]))[0]) for name in ACTIVATIONS if name != "tanh"}
    return eval(expression, {"__builtins__": {}}, names), float(result)


def check_arithmetic(trace, rtol=1e-6):
    """Evaluate every line of every row; returns how many there were."""
    checked = 0
    for row in range(len(trace.outputs)):
        for step in walk(trace, row):
            for focus in step.foci:
                for line in focus.lines:
                    sides = evaluate(text.plain(line, trace))
                    if sides is not None:
                        assert sides[0] == pytest.approx(sides[1], rel=rtol, abs=1e-9), (step.title, text.plain(line, trace))
                        checked += 1
    return checked


def test_the_worked_example_digit_for_digit(textbook, backend):
    trace = bp.trace(textbook, [[0.05, 0.10]], [[0.01, 0.99]], loss="half_mse", optimizer=bp.SGD(lr=0.5))
    printed = str(trace)
    for line in (
        "z1 = 0.15*0.05 + 0.2*0.1 + 0.35 = 0.3775",
        "a1 = sigmoid(0.3775) = 1/(1 + exp(-0.3775)) = 0.593269992",
        "a2 = sigmoid(0.3925) = 1/(1 + exp(-0.3925)) = 0.596884378",
        "z1 = 0.4*0.593269992 + 0.45*0.596884378 + 0.6 = 1.10590597",
        "L = 0.5*(0.75136507 - 0.01)^2 + 0.5*(0.772928465 - 0.99)^2 = 0.298371109",
        "delta1 = 0.74136507*0.186815602 = 0.138498562",
        "dL/dw[1,1] = 0.593269992*0.138498562 = 0.0821670406",
        "w[1,1] = 0.4 - 0.5*0.0821670406 = 0.35891648",
        "w[2,1] = 0.45 - 0.5*0.0826676278 = 0.408666186",
        "w[1,2] = 0.5 - 0.5*(-0.0226025405) = 0.51130127",
        "w[2,2] = 0.55 - 0.5*(-0.0227402422) = 0.561370121",
        "w[1,1] = 0.15 - 0.5*0.000438567734 = 0.149780716",
        "w[2,1] = 0.2 - 0.5*0.000877135469 = 0.199561432",
        "w[1,2] = 0.25 - 0.5*0.000497712735 = 0.249751144",
        "w[2,2] = 0.3 - 0.5*0.000995425471 = 0.299502287",
    ):
        assert line in printed
    assert trace.loss == pytest.approx(0.298371109, abs=5e-10)
    assert trace["layers.1.new_weight"][0, 0] == pytest.approx(0.35891648, abs=5e-9)
    assert trace["layers.0.new_weight"][0, 0] == pytest.approx(0.149780716, abs=5e-10)


def test_numbers_are_those_of_training(backend, dtype, rng):
    net = everything().astype(dtype)
    x, y = rng.normal(size=(5, 3)), rng.integers(0, 2, size=5)
    before = {name: value.copy() for name, value in net.state_dict().items()}
    trace = bp.trace(net, x, y, loss="cross_entropy", optimizer="adam")
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)

    outputs = net.forward(x, training=True)
    loss, grad = bp.losses.cross_entropy(outputs, y)
    grad_x = net.backward(grad)
    assert trace.loss == loss
    np.testing.assert_array_equal(trace["outputs"], outputs)
    np.testing.assert_array_equal(trace["layers.0.grad_x"], grad_x)
    optimizer = bp.Adam()
    for entry in net.layout:
        owner, _, role = entry.name.rpartition(".")
        flat = slice(entry.offset, entry.offset + entry.length)
        np.testing.assert_array_equal(trace[f"{owner}.grad_{role}"].ravel(), net.gradients[flat], err_msg=entry.name)
    old = net.parameters.copy()
    optimizer.step(net)
    for entry in net.layout:
        owner, _, role = entry.name.rpartition(".")
        flat = slice(entry.offset, entry.offset + entry.length)
        np.testing.assert_array_equal(trace[f"{owner}.new_{role}"].ravel(), net.parameters[flat], err_msg=entry.name)
        np.testing.assert_array_equal(trace[f"{owner}.update_{role}"].ravel(), (net.parameters - old)[flat], err_msg=entry.name)


def test_the_optimizer_goes_on_from_its_moments_and_stays_as_it_is(rng):
    net = bp.mlp([2, 3, 1], dtype="float64", seed=0)
    x, y = rng.normal(size=(4, 2)), rng.normal(size=(4, 1))
    optimizer = bp.Adam(lr=0.1)
    for _ in range(3):
        net.backward(bp.losses.mse(net.forward(x, training=True), y)[1])
        optimizer.step(net)
    kept = optimizer.state_dict()
    trace = bp.trace(net, x, y, loss="mse", optimizer=optimizer)
    assert optimizer.state_dict()["steps"] == kept["steps"] == 3
    np.testing.assert_array_equal(optimizer.state_dict()["m"], kept["m"])
    net.backward(bp.losses.mse(net.forward(x, training=True), y)[1])
    optimizer.step(net)
    np.testing.assert_array_equal(trace["layers.0.new_weight"], net.layers[0].weight)


def test_evaluation_mode_drops_nothing_and_uses_running_statistics(rng):
    net = everything()
    net.layers[1].running_mean = rng.normal(size=4)
    x, y = rng.normal(size=(1, 3)), [1]
    trace = bp.trace(net, x, y, loss="cross_entropy", training=False)
    np.testing.assert_allclose(trace.outputs, net.predict(x), rtol=1e-14)
    assert (trace["layers.2.mask"] == 1).all()
    assert check_arithmetic(trace) > 40


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_arithmetic_of_every_activation(activation, rng):
    net = bp.mlp([3, 4, 2], activation=activation, dtype="float64", seed=1)
    trace = bp.trace(net, rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), loss="mse", optimizer="sgd")
    assert check_arithmetic(trace) > 40


LOSSES = {
    "half_mse": (2, [[0.3, -1.0], [0.5, 2.0]]),
    "mse": (2, [[0.3, -1.0], [0.5, 2.0]]),
    "mae": (2, [[0.3, -1.0], [0.5, 2.0]]),
    "huber": (2, [[0.3, -1.0], [0.5, 20.0]]),
    "log_cosh": (2, [[0.3, -1.0], [0.5, 2.0]]),
    "poisson": (2, [[0.0, 1.0], [3.0, 2.0]]),
    "quantile": (2, [[0.3, -1.0], [0.5, 2.0]]),
    "hinge": (2, [[0.0, 1.0], [1.0, 1.0]]),
    "binary_cross_entropy": (2, [[0.0, 1.0], [1.0, 0.25]]),
    "cross_entropy": (3, [2, 0]),
    "kl_divergence": (3, [[0.2, 0.8, 0.0], [0.3, 0.3, 0.4]]),
    "focal": (3, [2, 0]),
    "binary_focal": (2, [[0.0, 1.0], [1.0, 0.25]]),
    "gamma": (2, [[0.5, 1.0], [3.0, 2.0]]),
    "gaussian": (2, [[0.3], [0.5]]),
    "non_crossing_quantiles": (2, [[0.3], [0.5]]),
}


@pytest.mark.parametrize("loss", bp.losses.NAMES)
@pytest.mark.parametrize("rows", [1, 2])
def test_arithmetic_of_every_loss(loss, rows, rng):
    outputs, targets = LOSSES[loss]
    net = bp.mlp([3, outputs], dtype="float64", seed=2)
    trace = bp.trace(net, rng.normal(size=(rows, 3)), np.array(targets)[:rows], loss=loss)
    error = [
        text.plain(line, trace) for step in walk(trace) if step.phase == "error" for focus in step.foci for line in focus.lines
    ]
    assert check_arithmetic(trace) >= (5 if loss in ("huber", "quantile") else 8)
    assert any(line.startswith("L = ") for line in error)


def test_weights_and_smoothing_are_not_explained_by_the_bare_formula(rng):
    net = bp.mlp([3, 3], dtype="float64", seed=2)
    x, y = rng.normal(size=(2, 3)), np.array([0, 2])
    for loss, weight in (
        (bp.losses.CrossEntropy(label_smoothing=0.1), None),
        (bp.losses.CrossEntropy(class_weight=[1.0, 2.0, 3.0]), None),
        ("cross_entropy", [1.0, 3.0]),
    ):
        check_arithmetic(bp.trace(net, x, y, loss=loss, sample_weight=weight))


@pytest.mark.parametrize("optimizer", bp.optimizers.NAMES)
def test_arithmetic_of_every_optimizer(optimizer, rng):
    net = bp.mlp([2, 3, 1], dtype="float64", seed=1)
    trace = bp.trace(net, rng.normal(size=(1, 2)), [[1.0]], loss="mse", optimizer=optimizer)
    updates = [step for step in walk(trace) if step.phase == "update"]
    assert [step.layer for step in updates] == ["layers.0", "layers.1", None]
    assert updates[0].formula
    assert check_arithmetic(trace) > 20


def test_options_of_an_optimizer_show_in_its_rule(rng):
    net = bp.mlp([2, 1], dtype="float64", seed=1)
    rules = {}
    for optimizer in (bp.SGD(lr=0.1), bp.SGD(lr=0.1, momentum=0.9), bp.SGD(lr=0.1, weight_decay=0.1), bp.AdamW(lr=0.1)):
        trace = bp.trace(net, [[1.0, 2.0]], [[1.0]], loss="mse", optimizer=optimizer)
        rules[trace.optimizer_name] = trace.formulas["layers.0.new_weight"]
        check_arithmetic(trace)
    for optimizer, part in (
        (bp.RMSprop(centered=True), "sqrt(v - mean^2)"),
        (bp.RMSprop(momentum=0.9), "velocity = momentum velocity + grad / (sqrt(v) + eps)"),
        (bp.Adam(amsgrad=True), "sqrt(v_max /"),
        (bp.SGD(lr=0.1, momentum=0.9, nesterov=True), "lr (grad + momentum velocity)"),
        (bp.SGD(lr=0.1, l1=0.1), "param - lr grad;  grad includes l1 sign(param)"),
        (bp.SGD(lr=0.1, l1=0.1, weight_decay=0.1), "grad includes weight_decay param and l1 sign(param)"),
        (bp.SGD(lr=0.1, momentum=0.9, dampening=0.5), "the first velocity is grad"),
        (bp.SGD(lr=0.1, groups={"*.bias": {"lr": 0.01}}), "param - lr grad;  lr, weight_decay and l1 are those of its group"),
        (bp.SGD(lr=0.1, groups={"*.bias": {"weight_decay": 0.01}}), "grad includes weight_decay param;  lr, weight_decay and l1"),
        (bp.Adam(eps_corrected=False), "(sqrt(v / (1 - beta2^t)) + eps / sqrt(1 - beta2^t))"),
        (bp.Adam(weight_decay=0.1, decoupled=True), "param shrinks by lr weight_decay param first"),
        (bp.AdamW(l1=0.1), "grad includes l1 sign(param)"),
        (bp.Adagrad(lr_decay=0.1), "lr / (1 + (t - 1) lr_decay) grad"),
        (bp.RAdam(), "in the first updates, which have none, param = param - lr m / (1 - beta1^t)"),
    ):
        trace = bp.trace(net, [[1.0, 2.0]], [[1.0]], loss="mse", optimizer=optimizer)
        assert part in trace.formulas["layers.0.new_weight"]
    assert rules["SGD(lr=0.1)"] == "param = param - lr grad"
    assert "velocity" in rules["SGD(lr=0.1, momentum=0.9)"]
    assert "weight_decay" in rules["SGD(lr=0.1, weight_decay=0.1)"]
    assert rules["AdamW(lr=0.1)"].startswith("param = param (1 - lr weight_decay)")


def test_every_layer_has_its_arithmetic(rng):
    trace = bp.trace(everything(), rng.normal(size=(3, 3)), [0, 1, 1], loss="cross_entropy", optimizer="sgd")
    assert check_arithmetic(trace) > 200
    names = [layer.name for layer in trace.layers]
    assert names[3:7] == ["layers.3.block.0", "layers.3.block.1", "layers.3.block.2", "layers.3"]
    around = trace["layers.3.grad_y"] + trace["layers.3.block.0.grad_x"]
    np.testing.assert_allclose(trace["layers.3.grad_x"], around, rtol=1e-14)


def test_softmax_as_a_layer(rng):
    net = bp.Network([bp.Dense(3, 3), bp.Activation("softmax")], dtype="float64", seed=0)
    trace = bp.trace(net, rng.normal(size=(1, 3)), [[0.0, 1.0, 0.0]], loss="mse", optimizer="sgd")
    assert "softmax(z)[1]" in str(trace)
    check_arithmetic(trace)


def test_frozen_layers_are_not_updated(rng):
    net = bp.mlp([2, 3, 1], dtype="float64", seed=0)
    net.layers[0].trainable = False
    trace = bp.trace(net, rng.normal(size=(1, 2)), [[1.0]], loss="mse", optimizer="sgd")
    np.testing.assert_array_equal(trace["layers.0.new_weight"], trace["layers.0.weight"])
    assert "layers.0" not in {step.layer for step in walk(trace) if step.phase == "update"}
    check_arithmetic(trace)


def test_everything_has_a_name_and_a_formula(rng):
    trace = bp.trace(everything(), rng.normal(size=(3, 3)), [0, 1, 1], loss="cross_entropy", optimizer="sgd")
    assert set(trace) == set(trace.formulas)
    assert all(trace.formulas.values())
    for name in ("x", "targets", "outputs", "loss", "grad_outputs"):
        assert name in trace
    for role in ("x", "z", "a", "grad_a", "delta", "grad_weight", "grad_bias", "grad_x", "update_weight", "new_weight", "new_bias"):
        assert f"layers.0.{role}" in trace
    with pytest.raises(KeyError, match=r"layers\.0\.zz.*layers\.0\.z"):
        trace["layers.0.zz"]


def test_as_dict_survives_json(textbook):
    trace = bp.trace(textbook, [[0.05, 0.10]], [[0.01, 0.99]], loss="half_mse", optimizer="sgd")
    again = json.loads(json.dumps(trace.as_dict()))
    assert again["values"]["layers.0.weight"] == [[0.15, 0.25], [0.2, 0.3]]
    assert again["values"]["loss"] == trace.loss
    assert again["formulas"]["layers.0.z"] == "z = x @ weight + bias"
    assert [layer["kind"] for layer in again["layers"]] == ["Dense", "Dense"]


def test_several_rows_are_told_apart_and_sums_told_once(rng):
    net = bp.mlp([2, 2, 1], activation="tanh", dtype="float64", seed=0)
    printed = str(bp.trace(net, rng.normal(size=(3, 2)), [[1.0], [0.0], [2.0]], loss="mse", optimizer="sgd"))
    assert printed.count("row 2") > 5
    assert printed.count("    w[1,1] = ") == 2  # one for each layer
    assert printed.count("dL/dw[1,1] = ") == 2


def test_large_networks_print_shapes_norms_and_spread(rng):
    net = bp.mlp([64, 32, 10], seed=0)
    printed = str(bp.trace(net, rng.normal(size=(16, 64)), np.arange(16) % 10, loss="cross_entropy", optimizer="adam"))
    line = next(line for line in printed.splitlines() if line.startswith("layers.0.weight"))
    assert "64x32" in line
    assert "█" in line
    assert len(printed.splitlines()) < 60


def test_numbers_that_are_not_finite_are_counted(rng):
    net = bp.mlp([64, 32, 1], seed=0)
    net.layers[0].weight[0, 0] = np.nan
    printed = str(bp.trace(net, rng.normal(size=(2, 64)), [[1.0], [2.0]], loss="mse"))
    assert "1 not finite" in printed


def test_repr_says_what_it_is(textbook):
    trace = bp.trace(textbook, [[0.05, 0.10]], [[0.01, 0.99]], loss="half_mse")
    assert repr(trace) == "<Trace of 2 layers, 12 parameters, 1 rows, half_mse 0.298371109>"


def test_svg_is_a_file_of_its_own_with_the_numbers_in_it(textbook, tmp_path):
    trace = bp.trace(textbook, [[0.05, 0.10]], [[0.01, 0.99]], loss="half_mse", optimizer=bp.SGD(lr=0.5))
    text_of_file = trace.to_svg(tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == text_of_file
    root = ET.fromstring(text_of_file)
    words = [element.text for element in root.iter() if element.text]
    for number in ("0.593", "0.751", "δ 0.138", "0.15", "0.2984"):
        assert number in words


def test_svg_of_every_kind_of_layer_and_of_wide_ones(rng):
    ET.fromstring(bp.trace(everything(), rng.normal(size=(3, 3)), [0, 1, 1], loss="cross_entropy").to_svg(row=2))
    wide = bp.trace(bp.mlp([64, 100, 10], seed=0), rng.normal(size=(2, 64)), [1, 2], loss="cross_entropy")
    root = ET.fromstring(wide.to_svg())
    assert len([element for element in root.iter() if element.get("data-unit")]) == 30


def test_columns_show_the_largest_units(rng):
    trace = bp.trace(bp.mlp([20, 1], seed=0), np.arange(20.0)[None, :], [[1.0]], loss="mse")
    assert columns(trace, limit=4)[0].units == (16, 17, 18, 19)


def test_notebooks_show_the_drawing_and_the_arithmetic(textbook):
    html = bp.trace(textbook, [[0.05, 0.10]], [[0.01, 0.99]], loss="half_mse")._repr_html_()
    assert "<svg" in html
    assert "0.15*0.05" in html
    assert "<script" not in html


def test_refusals_name_the_argument():
    net = bp.mlp([2, 1], seed=0)
    with pytest.raises(ValueError, match="loss is needed"):
        bp.trace(net, [[1.0, 2.0]], [[1.0]])
    with pytest.raises(ValueError, match="x must have shape"):
        bp.trace(net, [[1.0, 2.0, 3.0]], [[1.0]], loss="mse")
    with pytest.raises(ValueError, match="at least one row"):
        bp.trace(net, np.zeros((0, 2)), np.zeros((0, 1)), loss="mse")
    with pytest.raises(ValueError, match="y has 2 rows, x has 1"):
        bp.trace(net, [[1.0, 2.0]], [[1.0], [2.0]], loss="mse")
    with pytest.raises(ValueError, match="row must be"):
        bp.trace(net, [[1.0, 2.0]], [[1.0]], loss="mse").to_svg(row=1)


def test_a_reference_is_looked_up_where_it_says():
    trace = bp.trace(bp.mlp([2, 1], seed=0), [[1.0, -2.0]], [[1.0]], loss="mse")
    assert text.plain(("3*", Ref("x", (0, 1)), " = ", Ref("x", (0, 1))), trace) == "3*(-2) = -2"


@pytest.mark.parametrize("name", ["Dense", "Activation", "BatchNorm", "LayerNorm", "Dropout", "Residual"])
@pytest.mark.parametrize("base", [Scale, bp.Dense])
def test_a_custom_layer_with_the_name_of_a_built_in_one_is_told_apart(base, name):
    def forward(self, x, training):
        return base.forward(self, 0.5 * x, training)

    def backward(self, grad_outputs):
        return 0.5 * base.backward(self, grad_outputs)

    custom = type(name, (base,), {"forward": forward, "backward": backward})
    layer = custom(4) if base is Scale else custom(4, 4, activation="relu")
    net = bp.Network([bp.Dense(3, 4), layer, bp.Dense(4, 2)], seed=0)
    x, y = np.random.default_rng(0).normal(size=(24, 3)), np.arange(24) % 2
    step = bp.trace(net, x[:2], y[:2], loss="cross_entropy", optimizer="adam")
    assert step.layers[1].kind == f"custom {name}"
    assert step.layers[1].formulas["grad_x"] == f"grad_x = {name}.backward(grad_y)"
    assert f"y = {name}.forward(x)" in str(step)
    monitor = bp.Monitor(share=0.9)
    net.fit(x, y, loss="cross_entropy", epochs=2, callbacks=[monitor])
    assert isinstance(monitor.report(), bp.explain.diagnosis.Report)
    assert isinstance(bp.diagnose(net, x, y, loss="cross_entropy"), bp.explain.diagnosis.Report)
    assert bp.explain.page(monitor).startswith("<!doctype html>")


def test_numbers_that_differ_by_rounding_have_a_spread():
    x = np.ones((10, 1))
    x[3] = np.nextafter(1.0, 2.0)
    assert "█" in str(bp.trace(bp.mlp([1, 1], dtype="float64", seed=0), x, x, loss="mse"))
    assert text._spread(np.array([-1.7e308, 1.7e308])) == "█          █"


@pytest.mark.parametrize(("loss", "outputs", "target"), [("binary_cross_entropy", 1, 0), ("cross_entropy", 2, 0)])
def test_no_logarithm_of_0_is_written(loss, outputs, target):
    net = bp.mlp([1, outputs], dtype="float64", seed=0)
    net.layers[0].weight, net.layers[0].bias = np.full((1, outputs), 0.0), [1000.0] if outputs == 1 else [0.0, 1000.0]
    trace = bp.trace(net, [[1.0]], [target], loss=loss)
    assert "  L = 1000\n" in str(trace)
    assert "log(" not in str(trace).split("How wrong is it?")[1].split("\n", 1)[1]


def test_a_trace_names_what_it_refuses():
    net = bp.mlp([1, 1], seed=0)
    with pytest.raises(TypeError, match="net must be a Network, got Trainer"):
        bp.trace(bp.Trainer(net, loss="mse"), [[1.0]], [1.0], loss="mse")
    with pytest.raises(TypeError, match="training must be True or False, got 'no'"):
        bp.trace(net, [[1.0]], [1.0], loss="mse", training="no")
    trace = bp.trace(net, [[1.0]], [1.0], loss="mse")
    with pytest.raises(TypeError, match=r"row must be an integer, got 0\.5"):
        trace.to_svg(row=0.5)
    assert 0 not in trace
