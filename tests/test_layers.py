"""Layers: formulas worked by hand, gradients by differences, arrays, and layers of the user's own."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest

import backprop as bp
from backprop import activations, initializers
from backprop.layers import apply, chain_widths, walk


class Scale(bp.Layer):
    """y = x * scale, and it counts its forwards in a buffer."""

    def __init__(self, width, start=1.0):
        self.width = self.fan_in = self.fan_out = width
        self.start = start
        self.scale = np.full(width, start)

    def parameter_shapes(self):
        return {"scale": (self.width,)}

    def buffer_shapes(self):
        return {"count": (1,)}

    def forward(self, x, training):
        self._x = x
        self.count += 1
        return x * self.scale

    def backward(self, grad_outputs):
        self.grad_scale[...] = (grad_outputs * self._x).sum(axis=0)
        return grad_outputs * self.scale


class Returns(bp.Layer):
    """Gives back whatever it was told to, forward and backward."""

    def __init__(self, outputs=None, grad_x=None, fan_out=None):
        self.outputs, self.grad_x, self.fan_out = outputs, grad_x, fan_out

    def forward(self, x, training):
        return x if self.outputs is None else self.outputs

    def backward(self, grad_outputs):
        return grad_outputs if self.grad_x is None else self.grad_x


def slopes(layer, x, grad_outputs, training=True):
    """dL/dx and the gradient of every parameter for L = sum(outputs * grad_outputs), by central differences."""

    def value():
        fresh = copy.deepcopy(layer)  # running statistics and counters stand as they did
        return (fresh.forward(x, training) * grad_outputs).sum()

    def of(array):
        result = np.empty_like(array)
        for index in np.ndindex(array.shape):
            before = array[index]
            array[index] = before + 1e-6
            above = value()
            array[index] = before - 1e-6
            result[index] = (above - value()) / 2e-6
            array[index] = before
        return result

    return of(x), {name: of(getattr(layer, name)) for name in layer.parameter_shapes()}


CASES = [
    ("Dense", lambda: bp.Dense(4, 3)),
    ("Dense tanh", lambda: bp.Dense(4, 3, activation="tanh")),
    ("Dense gelu", lambda: bp.Dense(4, 3, activation="gelu")),
    ("Dense softmax", lambda: bp.Dense(4, 3, activation="softmax")),
    ("Dense without bias", lambda: bp.Dense(4, 3, activation="sigmoid", bias=False)),
    ("Activation", lambda: bp.Activation("softsign")),
    ("Activation of z", lambda: bp.Activation("mish")),
    ("Dropout", lambda: bp.Dropout(0.4)),
    ("Dropout of nothing", lambda: bp.Dropout(0)),
    ("BatchNorm", lambda: bp.BatchNorm(4)),
    ("LayerNorm", lambda: bp.LayerNorm(4)),
    ("Residual", lambda: bp.Residual([bp.Dense(4, 5, activation="tanh"), bp.LayerNorm(5), bp.Dense(5, 4)])),
    ("own", lambda: Scale(4)),
]


@pytest.fixture(params=CASES, ids=[name for name, _ in CASES])
def layer(request):
    return request.param[1]()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rows", [2, 5])
def test_gradients(layer, training, rows, backend, rng):
    for name, shape in {**layer.parameter_shapes(), **layer.buffer_shapes()}.items():
        setattr(layer, name, rng.uniform(0.5, 1.5, shape))
    x = rng.normal(size=(rows, 4))
    layer.infer(x)  # by now the layers inside have their values
    twin = copy.deepcopy(layer)
    outputs = layer.forward(x, training)
    grad_outputs = rng.normal(size=outputs.shape)
    given = grad_outputs.copy()
    grad_x = layer.backward(grad_outputs)
    slope_x, slope_parameters = slopes(twin, x, grad_outputs, training)
    assert abs(slope_x).max() > 1e-3  # something to compare
    np.testing.assert_allclose(grad_x, slope_x, rtol=1e-6, atol=1e-8)
    for name, slope in slope_parameters.items():
        assert abs(slope).max() > 1e-3
        np.testing.assert_allclose(getattr(layer, f"grad_{name}"), slope, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(grad_outputs, given)


def test_infer_is_forward_in_evaluation_mode(layer, backend, rng):
    x = rng.normal(size=(3, 4))
    np.testing.assert_array_equal(layer.infer(x), layer.forward(x, False))


@pytest.mark.parametrize("make", [make for name, make in CASES if name not in ("Residual", "own")])
def test_infer_keeps_nothing(make, rng):
    layer = make()
    layer.infer(rng.normal(size=(3, 4)))
    with pytest.raises(RuntimeError, match="a backward needs a forward of its own before it"):
        layer.backward(np.zeros((3, 4)))


@pytest.mark.parametrize("make", [make for name, make in CASES if name != "own"])
def test_one_forward_serves_one_backward(make, rng):
    layer = make()
    outputs = layer.forward(rng.normal(size=(3, 4)), True)
    layer.backward(outputs)
    with pytest.raises(RuntimeError, match="needs a forward"):
        layer.backward(outputs)


def test_zero_rows(layer, backend):
    outputs = layer.forward(np.empty((0, 4)), True)
    assert outputs.shape[0] == 0
    assert layer.backward(outputs).shape == (0, 4)
    for name in layer.parameter_shapes():
        assert not getattr(layer, f"grad_{name}").any()
    assert layer.infer(np.empty((0, 4))).shape == outputs.shape


def test_copies_and_pickles_are_independent(layer, rng):
    x = rng.normal(size=(3, 4))
    expected = layer.infer(x)
    copies = [copy.copy(layer), copy.deepcopy(layer)]
    if not isinstance(layer, bp.Dropout):
        copies.append(pickle.loads(pickle.dumps(layer)))
    for other in copies:
        assert repr(other) == repr(layer)
        np.testing.assert_array_equal(other.infer(x), expected)
        for name in layer.parameter_shapes():
            getattr(other, name)[...] = 7
    np.testing.assert_array_equal(layer.infer(x), expected)


def test_config_makes_it_again(layer):
    assert repr(type(layer)(**layer.config())) == repr(layer)


def test_a_copy_keeps_what_the_original_had(rng):
    layer = bp.Dense(2, 2)
    layer.weight = [[1, 2], [3, 4]]
    assert layer.bias.size
    other = copy.copy(layer)
    layer.weight[...] = 0
    np.testing.assert_array_equal(other.weight, [[1, 2], [3, 4]])


def test_dense_by_hand(backend):
    layer = bp.Dense(2, 2, activation="relu")
    layer.weight = [[1, -1], [2, 0]]
    layer.bias = [0.5, 0.5]
    np.testing.assert_array_equal(layer.forward(np.array([[3.0, 4.0]]), True), [[11.5, 0]])  # z = [11.5, -2.5]
    np.testing.assert_array_equal(layer.backward(np.array([[10.0, 100.0]])), [[10, 20]])
    np.testing.assert_array_equal(layer.grad_weight, [[30, 0], [40, 0]])
    np.testing.assert_array_equal(layer.grad_bias, [10, 0])


def test_dense_keeps_z_only_where_it_is_needed(rng):
    for name in activations.NAMES:
        layer = bp.Dense(2, 2, activation=name)
        layer.forward(rng.normal(size=(1, 2)), True)
        assert (layer._kept[1] is not None) == activations.get(name).uses_z


def test_dense_without_bias_has_none():
    layer = bp.Dense(3, 2, bias=False)
    assert layer.bias is None
    assert layer.grad_bias is None
    assert layer.n_parameters == 6
    with pytest.raises(ValueError, match=r"Dense\(3, 2, bias=False\) has no bias to assign to"):
        layer.bias = np.zeros(2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: bp.Dense(0, 2), ValueError, "fan_in must be at least 1, got 0"),
        (lambda: bp.Dense(2, -1), ValueError, "fan_out must be at least 1, got -1"),
        (lambda: bp.Dense(2.0, 2), TypeError, r"fan_in must be an integer, got 2\.0"),
        (lambda: bp.Dense(2, 2, activation="rleu"), ValueError, "did you mean 'relu'"),
        (lambda: bp.Dense(2, 2, init="he"), ValueError, "init must be one of"),
        (lambda: bp.Dense(2, 2, bias=1), TypeError, "bias must be True or False"),
        (lambda: bp.Dense(2, 2, "relu"), TypeError, "positional"),
        (lambda: bp.Dropout(1), ValueError, r"rate must be in \[0, 1\), got 1"),
        (lambda: bp.Dropout(float("nan")), ValueError, "rate must be in"),
        (lambda: bp.BatchNorm(0), ValueError, "width must be at least 1"),
        (lambda: bp.BatchNorm(2, momentum=1.5), ValueError, r"momentum must be in \[0, 1\]"),
        (lambda: bp.BatchNorm(2, eps=0), ValueError, "eps must be positive"),
        (lambda: bp.LayerNorm(2, eps=-1), ValueError, "eps must be positive"),
        (lambda: bp.Residual([]), ValueError, "block must have at least one layer"),
        (lambda: bp.Residual([3]), TypeError, "block must hold layers, got 3"),
        (lambda: bp.Residual([bp.Dense(3, 4)]), ValueError, "block must be equally wide at both ends, got 3 inputs and 4 outputs"),
        (
            lambda: bp.Residual([bp.Dense(3, 4), bp.Dense(5, 3)]),
            ValueError,
            r"block.1 Dense\(5, 3\) takes 5 inputs but block.0 Dense\(3, 4\) gives 4",
        ),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (bp.Dense(3, 2), "Dense(3, 2)"),
        (bp.Dense(3, 2, activation="relu", init="zeros", bias=False), "Dense(3, 2, activation='relu', init='zeros', bias=False)"),
        (
            bp.Dense(3, 2, activation=activations.ActivationFunction("elu", alpha=2)),
            "Dense(3, 2, activation={'name': 'elu', 'alpha': 2.0})",
        ),
        (bp.Activation("tanh"), "Activation('tanh')"),
        (bp.Dropout(0.5), "Dropout(0.5)"),
        (bp.BatchNorm(3, momentum=0.01), "BatchNorm(3, momentum=0.01)"),
        (bp.Residual([bp.Dense(2, 2), bp.Dropout(0.1)]), "Residual([Dense(2, 2), Dropout(0.1)])"),
        (Scale(3, start=2.0), "Scale(3, start=2.0)"),
    ],
)
def test_repr_is_the_call(layer, text):
    assert repr(layer) == text


def test_signatures_are_the_constructors():
    assert list(inspect.signature(bp.Dense).parameters) == ["fan_in", "fan_out", "activation", "init", "bias"]


def test_batch_norm_is_pytorchs(backend, rng):
    torch = pytest.importorskip("torch")
    x, grad = rng.normal(2, 3, size=(6, 4)), rng.normal(size=(6, 4))
    ours, theirs = bp.BatchNorm(4), torch.nn.BatchNorm1d(4, dtype=torch.float64)
    ours.weight, ours.bias = rng.normal(size=(2, 4))
    theirs.weight.data, theirs.bias.data = torch.tensor(ours.weight), torch.tensor(ours.bias)
    inputs = torch.tensor(x, requires_grad=True)
    for _ in range(2):
        outputs = theirs(inputs)
        np.testing.assert_allclose(ours.forward(x, True), outputs.detach(), rtol=1e-12, atol=1e-14)
    outputs.backward(torch.tensor(grad))
    np.testing.assert_allclose(ours.backward(grad), inputs.grad, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(ours.grad_weight, theirs.weight.grad, rtol=1e-12)
    np.testing.assert_allclose(ours.grad_bias, theirs.bias.grad, rtol=1e-12)
    np.testing.assert_allclose(ours.running_mean, theirs.running_mean, rtol=1e-12)
    np.testing.assert_allclose(ours.running_var, theirs.running_var, rtol=1e-12)  # the unbiased one
    np.testing.assert_allclose(ours.infer(x), theirs.eval()(inputs).detach(), rtol=1e-12)


def test_batch_norm_needs_two_rows_in_training():
    layer = bp.BatchNorm(2)
    with pytest.raises(ValueError, match=r"BatchNorm\(2\) needs at least 2 rows in training, got 1"):
        layer.forward(np.ones((1, 2)), True)
    np.testing.assert_array_equal(layer.running_mean, 0)
    assert layer.forward(np.ones((1, 2)), False).shape == (1, 2)


def test_layer_norm_by_definition(backend, rng):
    layer, x = bp.LayerNorm(5), rng.normal(3, 2, size=(3, 5))
    layer.weight, layer.bias = rng.normal(size=(2, 5))
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * layer.weight + layer.bias
    np.testing.assert_allclose(layer.forward(x, True), expected, rtol=1e-12)


def test_dropout_drops_its_share_and_keeps_the_mean(backend):
    layer, x = bp.Dropout(0.3), np.ones((500, 200))
    y = layer.forward(x, True)
    assert np.unique(y) == pytest.approx([0, 1 / 0.7])
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(layer.backward(x), y)  # the same mask
    assert (layer.forward(x, True) != y).any()  # another one
    assert layer.infer(x) is x


def test_residual_by_hand(backend):
    inner = bp.Dense(2, 2)
    inner.weight = [[1, 2], [3, 4]]
    layer = bp.Residual([inner])
    np.testing.assert_array_equal(layer.forward(np.array([[1.0, 10.0]]), True), [[32, 52]])
    np.testing.assert_array_equal(layer.backward(np.array([[1.0, 1.0]])), [[4, 8]])


def test_residual_freezes_its_block():
    layer = bp.Residual([bp.Dense(2, 2), bp.Residual([bp.LayerNorm(2)])])
    assert layer.trainable
    layer.trainable = False
    assert not any(inner.trainable for _, inner in walk([layer], "layers"))


def test_walk_is_depth_first():
    layers = [bp.Dense(2, 2), bp.Residual([bp.Dropout(0.1), bp.Residual([bp.LayerNorm(2)])]), bp.Dropout(0.2)]
    names = [name for name, _ in walk(layers, "layers")]
    assert names == ["layers.0", "layers.1", "layers.1.block.0", "layers.1.block.1", "layers.1.block.1.block.0", "layers.2"]


def test_widths_of_a_chain():
    assert chain_widths([bp.Dropout(0.1)], "layers") == (None, None)
    assert chain_widths([bp.Dropout(0.1), bp.Dense(3, 2), bp.Activation("relu")], "layers") == (3, 2)
    widening = Returns(fan_out=7)
    with pytest.raises(ValueError, match=r"layers.0 Returns\(fan_out=7\) has a fan_out but no fan_in"):
        chain_widths([widening], "layers")
    assert chain_widths([bp.Dense(3, 2), widening], "layers") == (3, 7)


def test_a_layer_on_its_own_is_float64_and_initialized():
    layer = bp.Dense(30, 20, activation="relu")
    assert layer.weight.dtype == np.float64
    assert layer.weight.std() == pytest.approx(np.sqrt(2 / 30), rel=0.2)
    assert not layer.bias.any()
    assert layer.weight is layer.weight
    assert layer.grad_weight.shape == (30, 20)


def test_assignment_copies_into_the_array():
    layer, values = bp.Dense(2, 3), np.ones((2, 3))
    array = layer.weight
    layer.weight = values
    values[...] = 5
    assert layer.weight is array
    np.testing.assert_array_equal(array, 1)
    layer.weight -= 0.5
    assert layer.weight is array
    np.testing.assert_array_equal(array, 0.5)
    layer.grad_weight = 2 * array
    np.testing.assert_array_equal(layer.grad_weight, 1)


@pytest.mark.parametrize("touched", [True, False])
def test_assignment_checks(touched):
    layer = bp.Dense(2, 3)
    if touched:
        assert layer.weight.any()
    with pytest.raises(ValueError, match=r"Dense.weight must have shape \(2, 3\), got \(3, 2\)"):
        layer.weight = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"Dense.bias must have shape \(3,\), got \(\)"):
        layer.bias = 0.0
    with pytest.raises(TypeError, match=r"Dense\.weight must hold real numbers"):
        layer.weight = np.ones((2, 3), complex)
    with pytest.raises(ValueError, match=r"Dense.grad_weight must have shape \(2, 3\)"):
        layer.grad_weight = np.ones(2)


def test_unknown_attributes_are_unknown():
    layer = bp.Dense(2, 3)
    for name in ("running_mean", "grad_running_mean", "weights"):
        assert not hasattr(layer, name)
    with pytest.raises(AttributeError, match="'Dense' object has no attribute 'weights'"):
        layer.weights  # noqa: B018
    assert not hasattr(bp.BatchNorm(2), "grad_running_mean")


def test_a_frozen_layers_gradients_are_zero(backend, rng):
    for layer in (bp.Dense(4, 4), bp.BatchNorm(4), bp.LayerNorm(4)):
        x = rng.normal(size=(3, 4))
        grad_x = layer.backward(layer.forward(x, True))
        assert layer.grad_weight.any()
        layer.trainable = False
        np.testing.assert_array_equal(layer.backward(layer.forward(x, True)), grad_x)
        assert not layer.grad_weight.any()
        assert not layer.grad_bias.any()


def test_trainable_is_a_bool():
    with pytest.raises(TypeError, match="trainable must be True or False, got 'no'"):
        bp.Dense(2, 2).trainable = "no"


def test_values_set_in_init_are_the_first_values():
    np.testing.assert_array_equal(Scale(3, start=2.0).scale, [2, 2, 2])


def test_default_initialization():
    class Bilinear(bp.Layer):
        def parameter_shapes(self):
            return {"matrix": (40, 50), "offset": (7,)}

        def forward(self, x, training):
            return x

        def backward(self, grad_outputs):
            return grad_outputs

    layer = Bilinear()
    assert layer.matrix.std() == pytest.approx(np.sqrt(2 / 90), rel=0.1)
    assert not layer.offset.any()


def test_what_a_layer_must_write():
    class Forward(bp.Layer):
        def forward(self, x, training):
            return x

    with pytest.raises(TypeError, match="backward"):
        Forward()


@pytest.mark.parametrize("name", ["forward", "_x", "grad_x", "not a name", "trainable"])
def test_names_that_arrays_cannot_have(name):
    class Bad(Returns):
        def parameter_shapes(self):
            return {name: (2,)}

    with pytest.raises(ValueError, match=f"Bad cannot have a parameter or buffer named {name!r}"):
        Bad()


def test_a_parameter_and_a_buffer_of_one_name():
    class Bad(Returns):
        def parameter_shapes(self):
            return {"a": (2,)}

        buffer_shapes = parameter_shapes

    with pytest.raises(ValueError, match="a parameter and a buffer of one name, 'a'"):
        Bad()


def test_shapes_are_checked():
    class Bad(Returns):
        def parameter_shapes(self):
            return {"a": (-2,)}

    with pytest.raises(ValueError, match=r"the shape of Bad.a must be at least 0, got -2"):
        Bad()


def test_config_needs_the_attributes():
    class Hidden(Returns):
        def __init__(self, secret):
            super().__init__()

    with pytest.raises(TypeError, match=r"Hidden.__init__ takes 'secret' but the layer has no attribute of that name"):
        Hidden(3).config()
    assert repr(Hidden(3)) == "Hidden(...)"


def test_subclasses_of_subclasses_declare_once():
    class Doubled(Scale):
        def __init__(self, width):
            super().__init__(width)
            self.scale = 2 * np.ones(width)

        def parameter_shapes(self):
            return {**super().parameter_shapes(), "unused": (self.width + self.extra,)}

        extra = 1

    layer = Doubled(3)
    assert layer.unused.shape == (4,)
    np.testing.assert_array_equal(layer.scale, [2, 2, 2])


@pytest.mark.parametrize(
    ("outputs", "error", "message"),
    [
        (np.ones((2, 4)), ValueError, r"(?s)what Returns\(.*\) returned must have shape \(rows, 3\), got \(2, 4\)"),
        (np.ones((1, 3)), ValueError, r"must have 2 rows, got shape \(1, 3\)"),
        (np.ones(3), ValueError, "must be 2-D"),
        (np.ones((2, 3), complex), TypeError, "must hold real numbers"),
    ],
)
def test_what_they_return_is_checked(outputs, error, message):
    with pytest.raises(error, match=message):
        apply(Returns(outputs), np.ones((2, 3)), True)
    net = bp.Network([bp.Dense(3, 3), Returns(grad_x=outputs), bp.Dense(3, 3)], seed=0)
    net.forward(np.ones((2, 3)))
    with pytest.raises(error, match=message.replace(" returned", ".backward returned")):
        net.backward(np.ones((2, 3)))


def test_what_they_return_is_converted(rng):
    x = rng.normal(size=(3, 2))
    net = bp.Network([bp.Dense(2, 3), Returns(), bp.Dense(3, 1)], dtype="float32", seed=0)
    plain = bp.Network([bp.Dense(2, 3), bp.Dense(3, 1)], dtype="float32", seed=0)
    plain.load_state_dict({name.replace("layers.2", "layers.1"): value for name, value in net.state_dict().items()})
    hidden = plain.layers[0].infer(x.astype(np.float32))
    net.layers[1].outputs = np.asfortranarray(hidden.astype(np.float64))
    np.testing.assert_array_equal(net.forward(x), plain.forward(x))
    net.layers[1].grad_x = np.asfortranarray(np.ones((3, 3)))
    assert net.backward(np.ones((3, 1))).dtype == np.float32


def test_an_initializer_of_ones_own_is_not_in_the_config():
    assert bp.Dense(2, 2, init=lambda shape, rng: np.zeros(shape)).config()["init"] is None
    assert bp.Dense(2, 2, init=initializers.Initializer("normal", scale=0.2)).config()["init"] == {"name": "normal", "scale": 0.2}


class Gained(bp.Dense):
    """A dense layer with other arguments than those in the config that it inherits."""

    def __init__(self, n, gain=2.0):
        super().__init__(n, n)
        self.gain = gain


def test_the_text_of_a_layer_whose_config_lacks_arguments_is_its_name():
    assert repr(Gained(3)) == "Gained(...)"
    with pytest.raises(ValueError, match=r"layers.1 Dense\(4, 1\) takes 4 inputs but layers.0 Gained\(...\) gives 3"):
        bp.Network([Gained(3), bp.Dense(4, 1)])


@pytest.mark.parametrize("method", ["parameter_shapes", "buffer_shapes"])
@pytest.mark.parametrize("shapes", [None, [("scale", (3,))], {"scale": 3}, {"scale": None}], ids=repr)
def test_what_is_no_mapping_of_shapes(method, shapes):
    own = type("Own", (Scale,), {method: lambda self: shapes})
    with pytest.raises(
        TypeError, match=rf"Own.{method}\(\) must return a mapping of names to shapes such as \(3,\) or \(2, 3\), got "
    ):
        own(3)


@pytest.mark.parametrize("children", [None, [bp.Dense(3, 3)], {"a": 3}, {"a": bp.Dense}], ids=["none", "list", "int", "class"])
def test_what_is_no_mapping_of_layers(children):
    own = type("Own", (Scale,), {"children": lambda self: children})
    with pytest.raises(TypeError, match=r"Own.children\(\) must return a mapping of names to layers, got "):
        bp.Network([own(3)])


@pytest.mark.parametrize("method", ["forward", "infer"])
@pytest.mark.parametrize("make", [lambda: bp.Dense(3, 3), lambda: bp.Residual([bp.Dense(3, 3)]), lambda: bp.LayerNorm(3)])
def test_a_layer_on_its_own_takes_arrays(make, method, backend):
    with pytest.raises(TypeError, match="x must be a NumPy array, got list"):
        getattr(make(), method)([[1.0, 2.0, 3.0]], *[True] * (method == "forward"))


@pytest.mark.parametrize("layers", [lambda own: [own], lambda own: [bp.Dense(3, 3), own], lambda own: [bp.Residual([own])]])
def test_a_backward_that_returns_nothing_is_named(layers):
    own = type("Forgetful", (Scale,), {"backward": lambda self, grad_outputs: None})
    net = bp.Network(layers(own(3)), seed=0)
    outputs = net.forward(np.ones((2, 3)))
    with pytest.raises(TypeError, match=r"what Forgetful\(.*\).backward returned must hold real numbers, got NoneType"):
        net.backward(outputs)
