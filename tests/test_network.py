"""The network: flat buffers, forward and backward, prediction, copies, state."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import warnings
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from types import MethodType, SimpleNamespace

import numpy as np
import pytest

import backprop as bp
from backprop import losses
from backprop._version import __version__


def rich(dtype="float32", seed=0):
    """A network with every kind of layer: 5 inputs, 3 outputs."""
    return bp.Network(
        [
            bp.Dense(5, 6, activation="gelu"),
            bp.BatchNorm(6),
            bp.Residual([bp.Dense(6, 4, activation="relu", bias=False), bp.Dropout(0.3), bp.Dense(4, 6), bp.LayerNorm(6)]),
            bp.Activation("tanh"),
            bp.Dropout(0.2),
            bp.Dense(6, 3),
        ],
        dtype=dtype,
        seed=seed,
    )


NAMES = [
    "layers.0.weight",
    "layers.0.bias",
    "layers.1.weight",
    "layers.1.bias",
    "layers.2.block.0.weight",
    "layers.2.block.2.weight",
    "layers.2.block.2.bias",
    "layers.2.block.3.weight",
    "layers.2.block.3.bias",
    "layers.5.weight",
    "layers.5.bias",
]


def trained(net, rows=7):
    """The network after a forward and backward and an update, so that nothing is as it started."""
    x = np.random.default_rng(1).normal(size=(rows, net.n_inputs))
    net.backward(net.forward(x, training=True))
    net.parameters -= 0.05 * net.gradients
    return net


def test_layout(dtype):
    net = rich(dtype)
    assert [entry.name for entry in net.layout] == NAMES
    assert [entry.offset for entry in net.layout] == np.cumsum([0, *(entry.length for entry in net.layout)])[:-1].tolist()
    assert net.parameters.size == net.gradients.size == sum(layer.n_parameters for layer in net.layers) == 135
    assert net.buffers.size == 12
    for flat in (net.parameters, net.gradients, net.buffers):
        assert flat.dtype == dtype
        assert flat.flags.c_contiguous
        assert flat.__array_interface__["data"][0] % 64 == 0
    for entry in net.layout:
        name = entry.name.rpartition(".")[2]
        for flat, array in ((net.parameters, name), (net.gradients, f"grad_{name}")):
            view = getattr(entry.layer, array)
            assert view.shape == entry.shape
            assert np.shares_memory(view, flat[entry.offset : entry.offset + entry.length])
            assert np.may_share_memory(view, flat)


def test_layers_see_the_flat_arrays_and_the_other_way_round():
    net = rich()
    net.parameters[...] = 1
    assert all((getattr(entry.layer, entry.name.rpartition(".")[2]) == 1).all() for entry in net.layout)
    net.layers[1].running_mean = np.full(6, 3)
    np.testing.assert_array_equal(net.buffers[:6], 3)


@pytest.mark.parametrize("name", ["parameters", "gradients", "buffers"])
def test_assigning_a_flat_array_copies(name):
    net = rich()
    flat = getattr(net, name)
    setattr(net, name, np.arange(flat.size))
    assert getattr(net, name) is flat
    np.testing.assert_array_equal(flat, np.arange(flat.size))
    with pytest.raises(ValueError, match=rf"{name} must have shape \({flat.size},\), got \(2,\)"):
        setattr(net, name, [1, 2])


def test_augmented_assignment():
    net = rich()
    flat, before = net.parameters, net.parameters.copy()
    net.parameters -= 1
    assert net.parameters is flat
    np.testing.assert_array_equal(flat, before - 1)


def test_values_given_before_are_kept(dtype):
    layer = bp.Dense(2, 2)
    layer.weight = [[0.15, 0.25], [0.2, 0.3]]
    net = bp.Network([layer, bp.Dense(2, 1)], dtype=dtype, seed=0)
    np.testing.assert_array_equal(layer.weight, np.array([[0.15, 0.25], [0.2, 0.3]], dtype))
    assert np.shares_memory(layer.weight, net.parameters)
    # and the other layers start as they would have anyway
    other = bp.Network([bp.Dense(2, 2), bp.Dense(2, 1)], dtype=dtype, seed=0)
    np.testing.assert_array_equal(net.layers[1].weight, other.layers[1].weight)
    assert net.layers[1].weight.any()


def test_values_seen_before_are_kept():
    layer = bp.Dense(3, 4)
    seen = layer.weight.copy()
    bp.Network([layer], dtype="float64", seed=0)
    np.testing.assert_array_equal(layer.weight, seen)


def test_one_layer_in_two_networks():
    layer = bp.Dense(2, 2)
    net = bp.Network([layer], seed=0)
    with pytest.raises(ValueError, match=r"layers.0 Dense\(2, 2\) belongs to another network; copy.deepcopy\(layer\) makes one"):
        bp.Network([layer])
    with pytest.raises(ValueError, match=r"layers.0.block.0 Dense\(2, 2\) belongs to another network"):
        bp.Network([bp.Residual([layer])])
    weight = layer.weight.copy()
    other = bp.Network([copy.deepcopy(layer)])
    np.testing.assert_array_equal(other.layers[0].weight, weight)
    assert np.shares_memory(layer.weight, net.parameters)


def test_one_layer_twice():
    layer = bp.Dense(2, 2)
    with pytest.raises(ValueError, match=r"layers.0 and layers.1.block.0 are one and the same Dense\(2, 2\)"):
        bp.Network([layer, bp.Residual([layer])])
    bp.Network([layer])  # it is still free


def test_a_layer_is_free_when_its_network_is_gone():
    layer = bp.Dense(2, 2)
    net = bp.Network([layer], seed=0)
    weight = layer.weight.copy()
    del net
    gc.collect()
    bp.Network([layer], seed=1)
    np.testing.assert_array_equal(layer.weight, weight)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: bp.Network([bp.Dense(64, 64), bp.Dense(128, 10)]),
            ValueError,
            r"layers.1 Dense\(128, 10\) takes 128 inputs but layers.0 Dense\(64, 64\) gives 64",
        ),
        (
            lambda: bp.Network([bp.Dense(4, 3), bp.Dropout(0.1), bp.BatchNorm(4)]),
            ValueError,
            r"layers.2 BatchNorm\(4\) takes 4 inputs but layers.0 Dense\(4, 3\) gives 3",
        ),
        (lambda: bp.Network([]), ValueError, "at least one layer that says how wide it is"),
        (lambda: bp.Network([bp.Dropout(0.5)]), ValueError, "at least one layer that says how wide it is"),
        (lambda: bp.Network([bp.Dense]), TypeError, "layers must hold layers, got <class"),
        (lambda: bp.Network([bp.Dense(2, 2)], dtype="float16"), ValueError, "dtype must be 'float32' or 'float64', got 'float16'"),
        (lambda: bp.Network([bp.Dense(2, 2)], seed=-1), ValueError, "seed must be at least 0"),
        (lambda: bp.Network([bp.Dense(2, 2)], seed=1.0), TypeError, "seed must be an integer"),
        (lambda: bp.mlp([3]), ValueError, "sizes must hold at least the number of inputs and of outputs"),
        (lambda: bp.mlp([3, 0, 1]), ValueError, r"sizes\[1\] must be at least 1, got 0"),
        (lambda: bp.mlp([3, 1], dropout=1), ValueError, r"dropout must be in \[0, 1\)"),
        (lambda: bp.Network([bp.Dense(2**31, 2**31)], dtype="float64"), MemoryError, "Unable to allocate|cannot allocate"),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("value", ["no", 0.1, None])
def test_batch_norm_of_mlp_is_a_flag(value):
    with pytest.raises(TypeError, match="batch_norm must be True or False, got "):
        bp.mlp([2, 2, 2], batch_norm=value)


def test_same_seed_same_network(dtype):
    np.testing.assert_array_equal(rich(dtype).parameters, rich(dtype).parameters)
    assert (rich(dtype, seed=1).parameters != rich(dtype).parameters).any()
    drawn = rich(dtype, seed=None)
    np.testing.assert_array_equal(rich(dtype, seed=drawn.seed).parameters, drawn.parameters)


def test_mlp():
    net = bp.mlp([4, 8, 6, 2], activation="tanh", dropout=0.1, batch_norm=True, output_activation="sigmoid", seed=0)
    hidden = [bp.Dense, bp.BatchNorm, bp.Activation, bp.Dropout]
    assert [type(layer) for layer in net.layers] == [*hidden, *hidden, bp.Dense]
    assert net.layers[0].bias is None
    assert net.output_activation.name == "sigmoid"
    assert (net.n_inputs, net.n_outputs) == (4, 2)
    assert len(bp.mlp([3, 2]).layers) == 1


@pytest.mark.parametrize(
    ("last", "name"),
    [
        ([bp.Dense(3, 2, activation="sigmoid")], "sigmoid"),
        ([bp.Dense(3, 2), bp.Activation("softmax"), bp.Dropout(0.5)], "softmax"),
        ([bp.Dense(3, 2, activation="relu"), bp.LayerNorm(2)], "identity"),
        ([bp.Dense(3, 2, activation="relu"), bp.Residual([bp.Activation("softmax")])], "identity"),
    ],
)
def test_output_activation(last, name):
    assert bp.Network(last).output_activation.name == name


def test_forward_and_backward_by_hand(backend, dtype, rtol):
    # The 2-2-2 sigmoid network that many texts work through.
    hidden, last = bp.Dense(2, 2, activation="sigmoid"), bp.Dense(2, 2, activation="sigmoid")
    hidden.weight, hidden.bias = [[0.15, 0.25], [0.20, 0.30]], [0.35, 0.35]
    last.weight, last.bias = [[0.40, 0.50], [0.45, 0.55]], [0.60, 0.60]
    net = bp.Network([hidden, last], dtype=dtype)
    outputs = net.forward([[0.05, 0.10]], training=True)
    np.testing.assert_allclose(outputs, [[0.75136507, 0.772928465]], rtol=1e-6)
    net.backward(outputs - np.array([[0.01, 0.99]], dtype))
    net.parameters -= 0.5 * net.gradients
    np.testing.assert_allclose(last.weight, [[0.35891648, 0.51130127], [0.408666186, 0.561370121]], rtol=1e-6)
    np.testing.assert_allclose(hidden.weight, [[0.149780716, 0.24975114], [0.19956143, 0.29950229]], rtol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_backward_is_the_slope(backend, training, rng):
    net, x = rich("float64"), rng.normal(size=(6, 5))
    grad_outputs = rng.normal(size=(6, 3))
    net.buffers[...] = rng.uniform(0.5, 1.5, net.buffers.size)
    buffers = net.buffers.copy()

    def value():
        net.dropout_step, net.buffers = 3, buffers
        return (net.forward(x, training) * grad_outputs).sum()

    value()
    grad_x = net.backward(grad_outputs)
    gradients = net.gradients.copy()
    for array, gradient in ((net.parameters, gradients), (x.reshape(-1), grad_x.reshape(-1))):
        assert (gradient != 0).mean() > 0.6
        for index in range(array.size):
            before = array[index]
            array[index] = before + 1e-6
            above = value()
            array[index] = before - 1e-6
            slope = (above - value()) / 2e-6
            array[index] = before
            assert gradient[index] == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_forward_and_backward_return_fresh_arrays(rng):
    net = bp.Network([bp.Dense(3, 2, activation="sigmoid"), bp.Dropout(0.5)], dtype="float64", seed=0)
    x, grad = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    net.forward(x)
    expected = net.backward(grad)
    gradients = net.gradients.copy()
    outputs = net.forward(x)
    outputs[...] = 5  # neither what was returned
    x[...] = 7  # nor what was given
    np.testing.assert_array_equal(net.backward(grad), expected)
    np.testing.assert_array_equal(net.gradients, gradients)


def test_backward_overwrites_or_adds(backend, rng):
    net, x, grad = rich("float64"), rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    net.forward(x)
    net.backward(grad)
    once = net.gradients.copy()
    net.forward(x)
    net.backward(grad)
    np.testing.assert_array_equal(net.gradients, once)
    net.forward(x)
    net.backward(grad, accumulate=True)
    np.testing.assert_array_equal(net.gradients, 2 * once)


def test_each_backward_needs_its_forward(rng):
    net, grad = rich(), np.ones((4, 3))
    with pytest.raises(RuntimeError, match=r"call net.forward\(x\) first"):
        net.backward(grad)
    net.forward(np.ones((4, 5)))
    net.backward(grad)
    with pytest.raises(RuntimeError, match=r"call net.forward\(x\) first"):
        net.backward(grad)


def test_a_refused_gradient_changes_nothing(rng):
    net = trained(rich())
    gradients = net.gradients.copy()
    net.forward(rng.normal(size=(4, 5)))
    for grad, message in (
        (np.ones((4, 2)), r"grad_outputs must have shape \(rows, 3\), got \(4, 2\)"),
        (np.ones((3, 3)), r"grad_outputs must have the shape of the outputs, \(4, 3\), got \(3, 3\)"),
        (np.ones(3), "grad_outputs must be 2-D"),
    ):
        with pytest.raises(ValueError, match=message):
            net.backward(grad)
    np.testing.assert_array_equal(net.gradients, gradients)
    net.backward(np.ones((4, 3)))


def test_batch_norm_of_one_row_changes_nothing():
    net = rich()
    buffers = net.buffers.copy()
    with pytest.raises(ValueError, match="needs at least 2 rows in training"):
        net.forward(np.ones((1, 5)), training=True)
    np.testing.assert_array_equal(net.buffers, buffers)
    assert net.dropout_step == 0


def test_dropout_follows_seed_and_step(rng):
    net, x = rich(), rng.normal(size=(4, 5))
    first, second = net.forward(x, training=True), net.forward(x, training=True)
    assert net.dropout_step == 2
    assert (first != second).any()
    net.dropout_step = 0
    np.testing.assert_array_equal(net.forward(x, training=True), first)
    net.forward(x)
    assert net.dropout_step == 1  # evaluation does not count
    with pytest.raises(ValueError, match="dropout_step must be at least 0"):
        net.dropout_step = -1
    with pytest.raises(ValueError, match="dropout_step must be at most"):
        net.dropout_step = 2**64


def test_two_dropouts_drop_differently():
    net = bp.Network([bp.LayerNorm(50), bp.Dropout(0.5), bp.Dropout(0.5)], seed=0)
    net.layers[0].weight, net.layers[0].bias = np.zeros(50), np.ones(50)
    y = net.forward(np.ones((40, 50)), training=True)
    assert (y == 0).mean() == pytest.approx(0.75, abs=0.03)


def test_backends_agree(rng, dtype):
    x, grad = rng.normal(size=(6, 5)), rng.normal(size=(6, 3))
    results = []
    for name in ("numpy", "cython"):
        if name in bp.kernels.available():
            with bp.use_backend(name):
                net = rich(dtype)
                outputs = net.forward(x, training=True)
                results.append((outputs, net.backward(grad), net.gradients, net.buffers, net.predict(x), net.jacobian(x)))
    tolerance = {"float32": 1e-4, "float64": 1e-11}[np.dtype(dtype).name]
    for one, other in zip(*results, strict=True) if len(results) == 2 else ():
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def misaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    return raw


INPUTS = {
    "int": lambda x: x.astype(int),
    "uint8": lambda x: x.astype(np.uint8),
    "float16": lambda x: x.astype(np.float16),
    "longdouble": lambda x: x.astype(np.longdouble),
    "big-endian": lambda x: x.astype(">f4"),
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 3, axis=0)[::3],
    "negative strides": lambda x: x[::-1].copy()[::-1],
    "misaligned": misaligned,
    "list": lambda x: x.tolist(),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("call", ["forward", "predict", "predict in slices", "jacobian", "backward"])
def test_any_input_gives_what_the_plain_one_gives(kind, call, dtype, rng):
    net = rich(dtype)
    plain = rng.integers(0, 9, size=(6, 3 if call == "backward" else 5)).astype(dtype)
    given = INPUTS[kind](plain)
    before = copy.deepcopy(given)

    def result(array):
        if call == "backward":
            net.forward(np.ones((6, 5)))
            return net.backward(array)
        if call == "predict in slices":
            return net.predict(array, batch_size=4)
        return getattr(net, call)(array)

    np.testing.assert_array_equal(result(given), result(plain))
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("call", ["forward", "predict", "jacobian", "predict_proba"])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones(5), ValueError, r"x must be 2-D with shape \(rows, 5\), got shape \(5,\); x.reshape\(1, -1\) makes one row"),
        (np.ones((2, 5, 1)), ValueError, r"x must be 2-D with shape \(rows, 5\), got shape \(2, 5, 1\)"),
        (np.ones(5, np.float32), ValueError, "x must be 2-D"),
        (np.ones((2, 4)), ValueError, r"x must have shape \(rows, 5\), got \(2, 4\)"),
        (np.ones((2, 4), np.float32), ValueError, r"x must have shape \(rows, 5\), got \(2, 4\)"),
        (np.ones((2, 5), complex), TypeError, "x must hold real numbers"),
        ([["a"] * 5], TypeError, "x must hold real numbers"),
        (np.full((2, 5), 1e300), ValueError, "x holds a number too large for float32"),
    ],
)
def test_bad_input(call, x, error, message):
    net = rich()
    net.loss = losses.get("cross_entropy")
    with pytest.raises(error, match=message):
        getattr(net, call)(x)


def test_predict_is_the_forward_of_evaluation(backend, dtype, rng):
    net, x = trained(rich(dtype)), rng.normal(size=(10, 5)).astype(dtype)
    expected = net.forward(x)
    np.testing.assert_array_equal(net.predict(x), expected)
    for batch_size in (1, 3, 10, 100):
        np.testing.assert_allclose(net.predict(x, batch_size=batch_size), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(net.infer(x), expected)


def test_predict_keeps_nothing_and_changes_nothing(rng):
    net, x = trained(rich()), rng.normal(size=(4, 5))
    state = net.state_dict()
    net.forward(x)
    net.predict(rng.normal(size=(9, 5)))
    net.backward(np.ones((4, 3)))  # the forward before is still the one that counts
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, state[name])


def test_predict_zero_rows(backend, dtype):
    for x in (np.empty((0, 5)), np.empty((0, 5), dtype)):
        assert rich(dtype).predict(x).shape == (0, 3)
        assert rich(dtype).forward(x).shape == (0, 3)
        assert rich(dtype).jacobian(x).shape == (0, 3, 5)


def test_predict_refuses_a_lone_number(dtype):
    for x in (np.array(1.0, dtype), np.array(1), 1.0):
        with pytest.raises(ValueError, match=r"x must be 2-D with shape \(rows, 5\), got shape \(\)"):
            rich(dtype).predict(x)


def test_predict_into_out(dtype, rng):
    net, x = rich(dtype), rng.normal(size=(7, 5))
    for out in (np.empty((7, 3), dtype), np.empty((3, 7), dtype).T, np.empty((7, 6), dtype)[:, ::2]):
        assert net.predict(x, out, batch_size=3) is out
        np.testing.assert_allclose(out, net.predict(x), rtol=1e-5, atol=1e-6)


def test_predict_refuses_a_wrong_out():
    net, x = bp.mlp([3, 3], seed=0), np.ones((4, 3), np.float32)
    read_only = np.empty((4, 3), np.float32)
    read_only.flags.writeable = False
    for out, error, message in (
        (np.empty((4, 3)), TypeError, "out must be an array of float32, got dtype float64"),
        ([[0.0]], TypeError, "out must be an array of float32, got list"),
        (np.empty((3, 3), np.float32), ValueError, r"out must have shape \(4, 3\), got \(3, 3\)"),
        (read_only, ValueError, "out must be writable"),
        (x, ValueError, "out must share no memory with x"),
    ):
        with pytest.raises(error, match=message):
            net.predict(x, out)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        net.predict(x, batch_size=0)


def test_predict_returns_a_fresh_array():
    # In evaluation nothing here changes x.
    class Same(bp.Layer):
        fan_in = fan_out = 3

        def forward(self, x, training):
            return x[:]

        def backward(self, grad_outputs):
            return grad_outputs

    x = np.ones((4, 3), np.float32)
    net = bp.Network([Same(), bp.Dropout(0.5)])
    for y in (net.predict(x), net.predict(x, batch_size=2), net.forward(x), net.backward(x)):
        np.testing.assert_array_equal(y, x)
        assert not np.shares_memory(y, x)


def test_predict_reads_a_memory_map_in_slices(tmp_path, rng):
    x = rng.normal(size=(50, 5)).astype(np.float32)
    x.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", np.float32, mode="r", shape=x.shape)
    net = rich()
    np.testing.assert_array_equal(net.predict(mapped, batch_size=8), net.predict(x, batch_size=8))


def test_many_threads_predict_with_one_network(rng):
    net = trained(rich())
    inputs = [rng.normal(size=(rows, 5)) for rows in range(1, 41)]
    expected = [net.predict(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for got, want in zip(pool.map(net.predict, inputs), expected, strict=True):
                np.testing.assert_array_equal(got, want)


def test_predict_proba(rng):
    net, x = bp.mlp([3, 4], seed=0), rng.normal(size=(5, 3))
    outputs = net.predict(x).astype(float)
    softmax, sigmoid = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True), 1 / (1 + np.exp(-outputs))
    np.testing.assert_allclose(net.predict_proba(x, link="softmax"), softmax, rtol=1e-5)
    np.testing.assert_allclose(net.predict_proba(x, link="sigmoid"), sigmoid, rtol=1e-5)
    net.loss = losses.get("cross_entropy")
    np.testing.assert_allclose(net.predict_proba(x), softmax, rtol=1e-5)
    np.testing.assert_allclose(net.predict_proba(x, link="sigmoid"), sigmoid, rtol=1e-5)
    net.loss = losses.get("binary_cross_entropy")
    np.testing.assert_allclose(net.predict_proba(x), sigmoid, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "link", "error", "message"),
    [
        (None, None, ValueError, r"net\.loss is None.*give link='softmax' or link='sigmoid', or assign the loss .* to net\.loss"),
        ("mse", None, ValueError, r"net\.loss is MSE\(\): give link="),
        ("cross_entropy", "softmx", ValueError, r"link must be one of 'softmax', 'sigmoid', got 'softmx' \(did you mean 'softmax'"),
        ("cross_entropy", "exp", ValueError, "link must be one of 'softmax', 'sigmoid'"),
        ("cross_entropy", 1, TypeError, "link must be one of"),
    ],
)
def test_predict_proba_without_a_link_says_how_to_give_one(loss, link, error, message):
    net = bp.mlp([3, 4], seed=0)
    net.loss = None if loss is None else losses.get(loss)
    with pytest.raises(error, match=message):
        net.predict_proba(np.ones((5, 3)), link=link)


@pytest.mark.parametrize("last", ["softmax", "sigmoid"])
def test_predict_proba_of_a_network_that_ends_in_a_link(last, rng):
    net, x = bp.mlp([3, 4], output_activation=last, seed=0), rng.normal(size=(5, 3))
    np.testing.assert_array_equal(net.predict_proba(x), net.predict(x))
    with pytest.raises(ValueError, match=f"link must be None where the network ends in {last} already, got 'softmax'"):
        net.predict_proba(x, link="softmax")


@pytest.mark.parametrize("batch_size", [1024, 2])
@pytest.mark.parametrize("given", [np.asarray, np.float32, np.ndarray.tolist])
def test_predict_checks_for_nan_on_request(given, batch_size, backend):
    net = bp.mlp([2, 3], seed=0)
    x = np.ones((5, 2))
    net.predict(given(x), check_finite=True, batch_size=batch_size)
    x[3, 1] = np.nan
    outputs = net.predict(given(x), batch_size=batch_size)
    np.testing.assert_array_equal(np.isnan(outputs), [[row == 3] * 3 for row in range(5)])
    for call in (net.predict, lambda *x, **options: net.predict_proba(*x, link="softmax", **options)):
        with pytest.raises(ValueError, match="x contains NaN at row 3, column 1"):
            call(given(x), check_finite=True, batch_size=batch_size)
    with pytest.raises(TypeError, match="check_finite must be True or False"):
        net.predict(given(x), check_finite=1)


@pytest.mark.parametrize(("bad", "message"), [(np.nan, "x contains NaN at row 5, column 1"), (1e300, "too large for float32")])
@pytest.mark.parametrize("batch_size", [2, 1024])
def test_predict_leaves_out_alone_when_x_is_refused(batch_size, bad, message, backend):
    net, x, out = bp.mlp([2, 3], seed=0), np.ones((6, 2)), np.full((6, 3), 7.0, np.float32)
    x[5, 1] = bad
    with pytest.raises(ValueError, match=message):
        net.predict(x, out=out, batch_size=batch_size, check_finite=True)
    assert (out == 7).all()
    x[5, 1] = 1
    np.testing.assert_array_equal(net.predict(x, out=out, batch_size=batch_size, check_finite=True), net.predict(x))


def test_jacobian(backend, rng):
    net, x = trained(rich("float64")), rng.normal(size=(4, 5))
    jacobian = net.jacobian(x)
    for column in range(5):
        step = np.zeros(5)
        step[column] = 1e-6
        slope = (net.predict(x + step) - net.predict(x - step)) / 2e-6
        assert abs(slope).max() > 1e-3
        np.testing.assert_allclose(jacobian[:, :, column], slope, rtol=1e-6, atol=1e-8)


def test_value_and_jacobian_and_input_gradient(backend, dtype, rng, rtol):
    net, x, v = trained(rich(dtype)), rng.normal(size=(4, 5)).astype(dtype), rng.normal(size=(4, 3)).astype(dtype)
    outputs, jacobian = net.value_and_jacobian(x)
    np.testing.assert_allclose(outputs, net.predict(x), rtol=rtol, atol=rtol)
    np.testing.assert_array_equal(jacobian, net.jacobian(x))
    gradient = net.input_gradient(x, v)
    np.testing.assert_allclose(gradient, np.einsum("nk,nki->ni", v, jacobian), rtol=100 * rtol, atol=10 * rtol)
    net.forward(x)
    np.testing.assert_allclose(gradient, net.backward(v), rtol=rtol, atol=rtol)
    assert {array.dtype for array in (outputs, jacobian, gradient)} == {dtype}


def test_derivatives_of_no_rows(backend):
    net = rich()
    outputs, jacobian = net.value_and_jacobian(np.empty((0, 5)))
    assert (outputs.shape, jacobian.shape) == ((0, 3), (0, 3, 5))
    assert net.input_gradient(np.empty((0, 5)), np.empty((0, 3))).shape == (0, 5)


@pytest.mark.parametrize(
    ("x", "v", "message"),
    [
        (np.ones((2, 4)), np.ones((2, 3)), r"x must have shape \(rows, 5\), got \(2, 4\)"),
        (np.ones((2, 5)), np.ones((2, 2)), r"v must have shape \(rows, 3\), got \(2, 2\)"),
        (np.ones((2, 5)), np.ones(3), "v must be 2-D"),
        (np.ones((2, 5)), np.ones((1, 3)), r"x and v must have the same number of rows, got shapes \(2, 5\) and \(1, 3\)"),
    ],
)
def test_input_gradient_refuses_what_does_not_fit(x, v, message):
    with pytest.raises(ValueError, match=message):
        rich().input_gradient(x, v)


@pytest.mark.parametrize("outputs", [3, 700, 2000])
def test_derivatives_in_slices(outputs, rng, backend):
    net, x = bp.mlp([3, outputs], dtype="float64", seed=0), rng.normal(size=(5 if outputs > 3 else 1500, 3))
    weight = net.layers[0].weight
    np.testing.assert_allclose(net.jacobian(x), np.tile(weight.T, (len(x), 1, 1)), rtol=1e-12)
    v = rng.normal(size=(len(x), outputs))
    np.testing.assert_allclose(net.input_gradient(x, v), v @ weight.T, rtol=1e-9, atol=1e-12)


DERIVATIVES = {
    "jacobian": lambda net, rng: net.jacobian(rng.normal(size=(2, 5))),
    "value_and_jacobian": lambda net, rng: net.value_and_jacobian(rng.normal(size=(2, 5))),
    "input_gradient": lambda net, rng: net.input_gradient(rng.normal(size=(2, 5)), np.ones((2, 3))),
}


@pytest.mark.parametrize("call", DERIVATIVES)
@pytest.mark.parametrize("training", [True, False])
def test_derivatives_disturb_nothing(call, training, backend, rng):
    net, x, other = trained(rich()), rng.normal(size=(4, 5)), trained(rich())
    for each in (net, other):
        each.layers[0].trainable = False
        each.forward(x, training)
    gradients, state, step = net.gradients.copy(), net.state_dict(), net.dropout_step
    DERIVATIVES[call](net, rng)
    np.testing.assert_array_equal(net.gradients, gradients)
    assert all((value == state[name]).all() for name, value in net.state_dict().items())
    assert net.dropout_step == step
    assert [layer.trainable for layer in net.layers] == [False, True, True, True, True, True]
    np.testing.assert_array_equal(net.backward(np.ones((4, 3))), other.backward(np.ones((4, 3))))
    np.testing.assert_array_equal(net.gradients, other.gradients)


def test_derivatives_follow_a_network_that_changes(backend, rng):
    net, x = bp.Network([bp.Dense(3, 4, activation="tanh"), bp.Dense(4, 2)], dtype="float64", seed=0), rng.normal(size=(2, 3))
    net.jacobian(x)
    net.layers[0].activation = bp.activations.get("relu")
    fresh = net.copy()
    np.testing.assert_array_equal(net.jacobian(x), fresh.jacobian(x))
    net.parameters = fresh.parameters * 2
    fresh.parameters = fresh.parameters * 2
    np.testing.assert_array_equal(net.jacobian(x), fresh.jacobian(x))


def test_many_threads_ask_for_derivatives_while_one_trains(backend, rng):
    net = bp.mlp([3, 16, 2], activation="tanh", dtype="float64", seed=0)
    frozen, inputs = net.copy(), [rng.normal(size=(n, 3)) for n in (1, 2, 7, 1, 40)]
    expected = [frozen.jacobian(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for got, want in zip(pool.map(net.jacobian, inputs), expected, strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-9)
        training = pool.submit(net.fit, inputs[-1], np.zeros((40, 2)), loss="mse", epochs=30)
        while not training.done():
            assert all(np.isfinite(jacobian).all() for jacobian in pool.map(net.jacobian, inputs))
        training.result()
    np.testing.assert_array_equal(net.jacobian(inputs[0]), net.copy().jacobian(inputs[0]))


def test_state_dict(dtype):
    net = trained(rich(dtype))
    state = net.state_dict()
    buffers = ["layers.1.running_mean", "layers.1.running_var"]
    assert sorted(state) == sorted(NAMES + buffers)
    other = rich(dtype, seed=5)
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.parameters, net.parameters)
    np.testing.assert_array_equal(other.buffers, net.buffers)
    state["layers.0.weight"][...] = 9
    assert not (net.layers[0].weight == 9).any()


def test_a_state_that_does_not_fit_changes_nothing():
    net = rich()
    before = net.state_dict()
    states = [
        ({name: before[name] for name in before if name != "layers.0.bias"}, r"missing \['layers.0.bias'\], unexpected \[\]"),
        ({**before, "layers.9.weight": 1}, r"missing \[\], unexpected \['layers.9.weight'\]"),
        ({**before, "layers.0.weight": before["layers.0.weight"].T}, r"layers.0.weight must have shape \(5, 6\), got \(6, 5\)"),
        ({**before, "layers.5.bias": np.full(3, 1e300)}, r"layers.5.bias holds a number too large for float32"),
    ]
    for state, message in states:
        state = {name: np.asarray(value) + 1 for name, value in state.items()}
        with pytest.raises(ValueError, match=message):
            net.load_state_dict(state)
        assert all((value == before[name]).all() for name, value in net.state_dict().items())


def check_independent_twin(net, twin, rng):
    x = rng.normal(size=(4, 5)).astype(net.dtype)
    assert repr(twin) == repr(net)
    assert twin.dropout_step == net.dropout_step
    np.testing.assert_array_equal(twin.parameters, net.parameters)
    np.testing.assert_array_equal(twin.buffers, net.buffers)
    for entry in twin.layout:
        assert np.may_share_memory(getattr(entry.layer, entry.name.rpartition(".")[2]), twin.parameters)
    assert not np.may_share_memory(twin.parameters, net.parameters)
    before = net.parameters.copy()
    np.testing.assert_array_equal(twin.forward(x, training=True), net.forward(x, training=True))
    np.testing.assert_array_equal(twin.backward(np.ones((4, 3))), net.backward(np.ones((4, 3))))
    np.testing.assert_array_equal(twin.gradients, net.gradients)
    assert twin.gradients.any()
    twin.layers[0].weight = np.zeros((5, 6))
    assert not twin.parameters[:30].any()
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize(
    "make",
    [copy.copy, copy.deepcopy, bp.Network.copy, lambda net: pickle.loads(pickle.dumps(net)), lambda net: net.astype(net.dtype)],
    ids=["copy", "deepcopy", "net.copy", "pickle", "astype"],
)
def test_copies_rebuild_their_views(make, dtype, rng):
    net = trained(rich(dtype))
    net.layers[2].trainable = False
    twin = make(net)
    assert not twin.layers[2].trainable
    assert not twin.gradients.any()
    with pytest.raises(RuntimeError, match="forward"):
        twin.backward(np.ones((7, 3)))
    check_independent_twin(net, twin, rng)


def test_copies_keep_the_loss():
    net = bp.mlp([2, 2], seed=0)
    net.loss = losses.get("huber")
    assert repr(net.copy().loss) == repr(net.loss)
    assert repr(pickle.loads(pickle.dumps(net)).loss) == repr(net.loss)
    net.loss = losses.get(lambda outputs, targets: (0.0, outputs))
    assert pickle.loads(pickle.dumps(net)).loss is None  # code stays out of pickles


def test_networks_in_a_list_are_copied_once():
    net = bp.mlp([2, 2], seed=0)
    one, other = copy.deepcopy([net, net])
    assert one is other
    assert one is not net


def test_pickle_of_another_version_warns():
    net = bp.mlp([2, 2], seed=0)
    state = net.__getstate__()
    other = bp.Network.__new__(bp.Network)
    state["layers"] = copy.deepcopy(net.layers)
    with pytest.warns(UserWarning, match=f"pickled by backprop 0.0.9 and is read by {__version__}"):
        other.__setstate__({**state, "version": "0.0.9"})
    np.testing.assert_array_equal(other.parameters, net.parameters)
    for bad in ({**state, "format": 99}, {}):
        with pytest.raises(ValueError, match="reads pickles of format 1"):
            other.__setstate__(bad)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(net))


def test_astype(rng):
    net, x = trained(rich("float32")), rng.normal(size=(4, 5))
    double = net.astype("float64")
    assert double.parameters.dtype == double.predict(x).dtype == np.float64
    np.testing.assert_array_equal(double.parameters, net.parameters)
    np.testing.assert_array_equal(double.astype("float32").parameters, net.parameters)
    assert net.dtype == np.float32
    with pytest.raises(ValueError, match="dtype must be"):
        net.astype("int8")


def test_blend(dtype, rtol):
    target, net = rich(dtype, seed=1), trained(rich(dtype))
    before, buffers = target.parameters.copy(), target.buffers.copy()
    target.blend(net, 0.25)
    np.testing.assert_allclose(target.parameters, 0.75 * before + 0.25 * net.parameters, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(target.buffers, 0.75 * buffers + 0.25 * net.buffers, rtol=rtol, atol=rtol)
    target.blend(net, 0)
    target.blend(net, 1)
    np.testing.assert_array_equal(target.parameters, net.parameters)
    np.testing.assert_array_equal(target.buffers, net.buffers)


def test_many_small_blends_add_up(dtype):
    """In float32 each of them is less than half a unit in the last place."""
    net, average = (bp.Network([bp.Dense(3, 2), bp.BatchNorm(2)], dtype=dtype, seed=seed) for seed in range(2))
    start = average.parameters.astype(float), average.buffers.astype(float)
    net.parameters[...], net.buffers[...] = start[0] * 1.001, start[1] + 0.001
    for _ in range(5000):
        average.blend(net, 1e-6)
    way = 1 - (1 - 1e-6) ** 5000
    for own, theirs, begin in zip((average.parameters, average.buffers), (net.parameters, net.buffers), start, strict=True):
        rtol = {"float32": 1.2e-7, "float64": 1e-12}[dtype.name]
        np.testing.assert_allclose(own, begin + way * (theirs - begin), rtol=rtol, atol=1e-15)


def test_a_value_that_was_changed_is_blended_from_what_it_is_now():
    net, average = bp.mlp([2, 2], seed=0), bp.mlp([2, 2], seed=1)
    average.blend(net, 1e-9)
    exact = average._exact_values()[0].copy()
    average.parameters[0], average.layers[0].bias = 3.0, [np.nan, -4.0]
    changed = [0, 4, 5]
    average.blend(net, 0)
    np.testing.assert_array_equal(average._exact_values()[0][changed], [3.0, np.nan, -4.0])
    np.testing.assert_array_equal(np.delete(average._exact_values()[0], changed), np.delete(exact, changed))
    average.blend(net, 1)
    np.testing.assert_array_equal(average._exact_values()[0], net.parameters)


@pytest.mark.parametrize(
    ("other", "tau", "error", "message"),
    [
        (lambda: bp.mlp([2, 2]), 1.5, ValueError, r"tau must be in \[0, 1\], got 1.5"),
        (lambda: bp.mlp([2, 2]), "1", TypeError, "tau must be a number"),
        (lambda: bp.mlp([2, 3]), 0.5, ValueError, "same parameters, buffers and dtype"),
        (lambda: bp.mlp([2, 2], dtype="float64"), 0.5, ValueError, "same parameters, buffers and dtype"),
        (lambda: None, 0.5, TypeError, "other must be a Network, got NoneType"),
    ],
)
def test_blend_refuses(other, tau, error, message):
    net = bp.mlp([2, 2], seed=0)
    before = net.parameters.copy()
    with pytest.raises(error, match=message):
        net.blend(other(), tau)
    np.testing.assert_array_equal(net.parameters, before)


def test_repr():
    assert repr(bp.mlp([2, 3, 1], dropout=0.5, dtype="float64", seed=4)) == (
        "Network([\n    Dense(2, 3, activation='relu'),\n    Dropout(0.5),\n    Dense(3, 1),\n], dtype='float64', seed=4)"
    )


# What code outside this package may do.


class Composite(bp.Layer):
    """Two dense layers, held in one way or another, and a scale of its own."""

    def __init__(self, hold):
        self.fan_in = self.fan_out = 3
        self.hold = hold
        self._held = HOLDERS[hold](bp.Dense(3, 3, activation="tanh"), bp.Dense(3, 3))
        self.scale = np.full(3, 2.0)
        self.lock, self.seen = threading.Lock(), set()

    def __getstate__(self):
        return {**super().__getstate__(), "lock": None}

    def parameter_shapes(self):
        return {"scale": (3,)}

    def children(self):
        held = vars(self._held) if isinstance(self._held, SimpleNamespace) else self._held
        return dict(zip("ab", held.values() if isinstance(held, dict) else held, strict=True))

    def forward(self, x, training):
        self.seen.add(len(x))
        for layer in self.children().values():
            x = layer.forward(x, training)
        self._x = x
        return x * self.scale

    def backward(self, grad_outputs):
        self.grad_scale[...] = (grad_outputs * self._x).sum(axis=0)
        grad = grad_outputs * self.scale
        for layer in reversed(self.children().values()):
            grad = layer.backward(grad)
        return grad


HOLDERS = {
    "list": lambda a, b: [a, b],
    "dict": lambda a, b: {"a": a, "b": b},
    "ordered dict": lambda a, b: OrderedDict(a=a, b=b),
    "deque": lambda a, b: deque([a, b]),
    "object": lambda a, b: SimpleNamespace(a=a, b=b),
}


@pytest.mark.parametrize("hold", HOLDERS)
def test_derivatives_and_predictions_leave_the_layers_inside_alone(hold, backend, rng):
    net, other = (bp.Network([Composite(hold), bp.Dense(3, 2)], dtype="float64", seed=0) for _ in range(2))
    x, grad = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    for each in (net, other):
        each.forward(x, training=True)
    np.testing.assert_allclose(net.predict(2 * x), other.copy().forward(2 * x), rtol=1e-12)
    jacobian = net.jacobian(x)
    np.testing.assert_allclose(net.input_gradient(x, grad), np.einsum("nk,nkj->nj", grad, jacobian), rtol=1e-9)
    np.testing.assert_array_equal(net.backward(grad), other.backward(grad))
    np.testing.assert_array_equal(net.gradients, other.gradients)
    assert net.gradients.all()
    assert all(layer.trainable for layer in net.layers[0].children().values())
    assert net.layers[0].seen == {4, 8}  # what holds no layers is shared


def test_derivatives_refuse_layers_inside_that_are_held_elsewhere():
    kept = [bp.Dense(3, 3)]

    class Elsewhere(Composite):
        def children(self):
            return {"a": kept[0]}

    net = bp.Network([Elsewhere("list"), bp.Dense(3, 2)], seed=0)
    with pytest.raises(TypeError, match=r"must hold the layers inside it in its attributes, but none holds Dense\(3, 3\)"):
        net.jacobian(np.ones((1, 3)))
    assert kept[0].trainable
    assert np.shares_memory(kept[0].grad_weight, net.gradients)


class Reused(bp.Layer):
    """y = 2x, in the same arrays every time."""

    fan_in = fan_out = 3

    def __init__(self):
        self._y, self._grad = np.zeros((2, 4, 3))

    def forward(self, x, training):
        return np.multiply(x, 2, out=self._y)

    def infer(self, x):
        return self.forward(x, False)

    def backward(self, grad_outputs):
        return np.multiply(grad_outputs, 2, out=self._grad)


class Same(Reused):
    def forward(self, x, training):
        return x

    def backward(self, grad_outputs):
        return grad_outputs[:]


class SameFunction(bp.activations.ActivationFunction):
    def __call__(self, z):
        return z

    def backward(self, grad_a, z):
        return grad_a


class Infers(bp.Network):
    def infer(self, x):
        return self.layers[0].infer(x)


FRESH = {
    "predict": lambda net, x, v: net.predict(x),
    "forward": lambda net, x, v: net.forward(x),
    "backward": lambda net, x, v: (net.forward(x), net.backward(v))[1],
    "input_gradient": lambda net, x, v: net.input_gradient(x, v),
}


@pytest.mark.parametrize("call", FRESH)
@pytest.mark.parametrize(
    "make",
    [
        lambda: bp.Network([Reused()], dtype="float64"),
        lambda: bp.Network([Reused(), bp.Dropout(0.5)], dtype="float64"),
        lambda: bp.Network([Same()], dtype="float64"),
        lambda: bp.Network([bp.Activation(SameFunction("relu")), Same(), bp.Activation(SameFunction("relu"))], dtype="float64"),
        lambda: Infers([Reused()], dtype="float64"),
    ],
    ids=["reused", "reused before dropout", "same", "same function", "infer of a subclass"],
)
def test_what_networks_return_is_fresh_whatever_layers_return(call, make, rng):
    net, x, v = make(), rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    first = FRESH[call](net, x, v)
    before = first.copy()
    second = FRESH[call](net, x + 1, v + 1)
    np.testing.assert_array_equal(first, before)
    assert not any(np.shares_memory(array, other) for array in (first, second) for other in (x, v))


def test_forward_copies_what_an_object_hands_out_as_its_array(backend):
    class Holder:
        def __init__(self, data):
            self.data = data

        def __array__(self, dtype=None, copy=None):
            return self.data

    net, data = bp.mlp([3, 2], dtype="float64", seed=0), np.ones((4, 3))
    net.forward(Holder(data))
    data[...] = 0
    net.backward(np.ones((4, 2)))
    np.testing.assert_array_equal(net.layers[0].grad_weight, np.full((3, 2), 4.0))


@pytest.mark.parametrize("value", [None, 2, "no", np.zeros(4)], ids=repr)
def test_flags_of_forward_and_backward(value, backend):
    net, x = bp.mlp([3, 2], seed=0), np.ones((4, 3), np.float32)
    with pytest.raises(TypeError, match="training must be True or False, got "):
        net.forward(x, value)
    assert net.dropout_step == 0
    outputs = net.forward(x, np.True_)
    with pytest.raises(TypeError, match="accumulate must be True or False, got "):
        net.backward(outputs, value)
    net.backward(outputs)
    assert net.dropout_step == 1


@pytest.mark.parametrize("state", [None, ["layers.0.weight"], bp.mlp([1, 1])], ids=["none", "list", "network"])
def test_a_state_is_a_mapping(state):
    with pytest.raises(TypeError, match="state must be a mapping of names to arrays, got "):
        bp.mlp([3, 2], seed=0).load_state_dict(state)


def test_layers_change_places_by_their_views():
    net = bp.Network([bp.Dense(2, 2), bp.Dense(2, 2)], seed=0)
    before = net.state_dict()
    net.load_state_dict({f"layers.{1 - i}.{name}": getattr(net.layers[i], name) for i in (0, 1) for name in ("weight", "bias")})
    after = net.state_dict()
    assert all((after[name] == before[name.replace("0", "x").replace("1", "0").replace("x", "1")]).all() for name in before)


def refuse(shape, rng):
    raise ValueError("no weights today")


@pytest.mark.parametrize("fault", ["a value", "an initializer"])
def test_a_network_that_cannot_be_made_leaves_its_layers_as_they_were(fault):
    first, last = bp.Dense(2, 2), bp.Dense(2, 1, init=refuse if fault == "an initializer" else None)
    first.bias = [1 / 3, 0.0]
    if fault == "a value":
        last.weight = [[1e300], [1.0]]
    with pytest.raises(ValueError, match=r"no weights today|Dense.weight holds a number too large for float32"):
        bp.Network([first, last], seed=0)
    last.init = None
    net = bp.Network([first, last], dtype="float64", seed=1)
    assert first.bias[0] == 1 / 3
    np.testing.assert_array_equal(first.weight, bp.Network([bp.Dense(2, 2)], dtype="float64", seed=1).layers[0].weight)
    net.forward(np.ones((1, 2)))


class Scaling(bp.Network):
    """A network with attributes of its own, one of them a layer of it."""

    def __init__(self, scale):
        self.scale = scale
        super().__init__([bp.Dense(3, 3, activation="tanh"), bp.Dense(3, 2)], seed=0)
        self.first = self.layers[0]

    def forward(self, x, training=False):
        return self.scale[0] * super().forward(x, training)

    def backward(self, grad_outputs, accumulate=False):
        return super().backward(self.scale[0] * np.asarray(grad_outputs), accumulate)


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "astype": lambda net: net.astype("float64"),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_a_subclass_have_its_attributes(how, rng):
    net, x = Scaling([2.0]), rng.normal(size=(4, 3)).astype(np.float32)
    twin = COPIES[how](net)
    np.testing.assert_allclose(twin.predict(x), net.predict(x), rtol=1e-6)
    assert twin.first is twin.layers[0]
    assert twin.first is not net.first
    twin.scale[0] = 3.0
    assert net.scale == [2.0]
    assert bp.gradcheck(net, x, np.zeros((4, 2)), loss="mse")


def halved(self, x, training=False):
    return bp.Network.forward(self, x, training) / 2


@pytest.mark.parametrize("how", [how for how in COPIES if how != "pickle"])
def test_copies_of_a_network_follow_what_was_assigned_to_it(how, rng):
    net, x = bp.mlp([3, 4, 2], seed=0), rng.normal(size=(4, 3)).astype(np.float32)
    net.forward = MethodType(halved, net)
    twin = COPIES[how](net)
    twin.parameters = twin.parameters * 2
    plain = bp.mlp([3, 4, 2], seed=0)
    plain.parameters = plain.parameters * 2
    np.testing.assert_allclose(twin.predict(x), plain.predict(x) / 2, rtol=1e-6)
    del twin.forward
    np.testing.assert_allclose(twin.predict(x), plain.predict(x), rtol=1e-6)


def test_a_network_has_no_other_attributes_than_copies_make_anew(rng):
    net = bp.mlp([3, 4, 2], batch_norm=True, dropout=0.5, seed=0)
    x = rng.normal(size=(4, 3)).astype(np.float32)
    net.fit(x, x[:, :2], loss="mse")
    net.predict(x), net.jacobian(x), net.blend(net.copy(), 0.5)
    assert net._attributes() == {}


def test_a_prediction_by_a_function_that_goes_forward_itself_ends_the_forward(backend, rng):
    net, x = bp.mlp([3, 4, 2], seed=0), rng.normal(size=(4, 3)).astype(np.float32)
    forward = net.forward
    net.forward = lambda x, training=False: 2 * forward(x, training)
    outputs = net.forward(x, training=True)
    np.testing.assert_allclose(net.predict(x), outputs, rtol=1e-6)
    with pytest.raises(RuntimeError, match="the forward assigned to the network has gone forward with it since, to predict: call"):
        net.backward(outputs)
    with pytest.raises(RuntimeError, match=r"assign types.MethodType\(function, net\)"):
        net.jacobian(x)
    net.forward(x, training=True)
    net.backward(outputs)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, "must hold real numbers, got NoneType"),
        (np.ones((1, 3)), ValueError, r"must have shape \(2, 3\), got \(1, 3\)"),
    ],
)
def test_what_a_backward_of_a_subclass_returned_is_checked(returned, error, message):
    class Own(bp.Network):
        def backward(self, grad_outputs, accumulate=False):
            return returned

    with pytest.raises(error, match=f"what Own.backward returned {message}"):
        Own([bp.Dense(3, 2)], seed=0).input_gradient(np.ones((2, 3)), np.ones((2, 2)))
