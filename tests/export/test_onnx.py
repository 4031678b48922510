"""ONNX models: two runtimes compute what the network predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_networks import random_network
from test_c import OFF_CENTRE, off_centre

import backprop as bp
from backprop import activations
from backprop.activations import ActivationFunction
from backprop.export import Graph, Value

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # what runtimes warn of: overflow, division by zero in branches not taken

RUNTIMES = ["onnxruntime", "reference"]
DTYPES = {"float32": np.float32, "float64": np.float64}


def run(model: Any, x: np.ndarray | dict[str, np.ndarray], runtime: str) -> list[np.ndarray]:
    """The outputs of a model; `x` is its one input, or all by name."""
    inputs = x if isinstance(x, dict) else {model.graph.input[0].name: x}
    if runtime == "reference":
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(model).run(None, inputs)
    session = pytest.importorskip("onnxruntime").InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def assert_near(result: np.ndarray, expected: np.ndarray, dtype: str) -> None:
    assert result.dtype == DTYPES[dtype]
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    size = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance * max(size, 1e-30))


def around(function: str) -> bp.Network:
    """A network with every built-in layer, and one activation between them."""
    layers = [
        bp.Dense(5, 7, activation=function),
        bp.BatchNorm(7),
        bp.Activation(function),
        bp.Dropout(0.5),
        bp.Residual([bp.LayerNorm(7), bp.Dense(7, 7, activation=function, bias=False)]),
        bp.Dense(7, 3),
    ]
    net = bp.Network(layers, dtype="float64", seed=1)
    rng = np.random.default_rng(2)
    net.parameters += rng.normal(scale=0.3, size=net.parameters.size)
    net.buffers = rng.uniform(0.5, 2.0, net.buffers.size)
    return net


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", activations.NAMES)
def test_every_layer_and_activation_predicts_the_same_for_any_number_of_rows(function: str, dtype: str, runtime: str) -> None:
    net = around(function)
    model = bp.export.onnx(net, dtype=dtype, outputs="raw")
    for rows in (0, 1, 2, 257):
        x = np.random.default_rng(rows).normal(scale=3.0, size=(rows, 5)).astype(dtype)
        (result,) = run(model, x, runtime)
        assert result.shape == (rows, 3)
        assert_near(result, net.predict(x), dtype)


FUNCTIONS = [*activations.NAMES, "leaky_relu 0.3", "leaky_relu 0", "elu 0.7", "elu 0"]


def activation(text: str) -> ActivationFunction:
    name, _, alpha = text.partition(" ")
    return ActivationFunction(name, alpha=float(alpha) if alpha else None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_activations_agree_at_extremes(function: str, dtype: str) -> None:
    points = [0.0, 1e-6, -1e-6, 0.47, -0.47, 1, -1, 4, -4, 5, -5, 20, -20, 90, -90, np.inf, -np.inf, np.nan]
    x = np.array(points, dtype)[:, None]
    net = bp.Network([bp.Dense(1, 1), bp.Activation(activation(function))], dtype="float64", seed=0)
    net.layers[0].weight = [[1.0]]
    result = run(bp.export.onnx(net, dtype=dtype, outputs="raw"), x, "onnxruntime")[0]
    expected = net.predict(x)
    rtol, atol = {"float32": (1e-5, 2e-6), "float64": (1e-14, 1e-14)}[dtype]
    np.testing.assert_allclose(result, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("seed", range(12))
def test_random_networks_predict_the_same(seed: int, runtime: str) -> None:
    net = random_network(seed)
    x = np.random.default_rng(seed).normal(size=(9, net.n_inputs))
    (result,) = run(bp.export.onnx(net, dtype="float64", outputs="raw"), x, runtime)
    assert_near(result, net.predict(x), "float64")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", OFF_CENTRE)
def test_normalized_inputs_keep_their_digits_where_the_mean_exceeds_the_spread(kind: str, dtype: str, runtime: str) -> None:
    net, x, expected = off_centre(kind, dtype)
    (found,) = run(bp.export.onnx(net, outputs="raw"), x, runtime)
    assert np.abs(found - expected).max() < 2e-6 * np.abs(expected).max()


def classifier(k: int, loss: str, activation: str = "identity") -> bp.Network:
    net = bp.mlp([4, 6, k], output_activation=activation, seed=k)
    net.parameters *= 3
    net.loss = loss
    return net


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("ends_in", ["identity", "softmax"])
def test_one_class_of_k_gives_labels_and_probabilities(k: int, ends_in: str, runtime: str) -> None:
    net = classifier(k, "cross_entropy" if ends_in == "identity" else "mse", ends_in)
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    for rows in (x, x[:1], x[:0]):
        label, probabilities = run(bp.export.onnx(net), rows, runtime)
        assert label.dtype == np.int64
        assert label.tolist() == net.predict(rows).argmax(axis=1).tolist()
        assert_near(probabilities, net.predict_proba(rows), "float32")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("ends_in", ["identity", "sigmoid"])
def test_a_single_logit_gives_the_probabilities_of_both_classes(ends_in: str, runtime: str) -> None:
    net = classifier(1, "binary_cross_entropy" if ends_in == "identity" else "mse", ends_in)
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    for rows in (x, x[:1], x[:0]):
        label, probabilities = run(bp.export.onnx(net, outputs="classes"), rows, runtime)
        p = net.predict_proba(rows)
        assert label.tolist() == (p[:, 0] > 0.5).astype(int).tolist()
        assert_near(probabilities, np.hstack([1 - p, p]), "float32")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_classes_that_hold_independently_have_a_label_each(runtime: str) -> None:
    net = classifier(3, "binary_cross_entropy")
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    label, probabilities = run(bp.export.onnx(net), x, runtime)
    assert label.tolist() == (net.predict(x) > 0).astype(int).tolist()
    assert_near(probabilities, net.predict_proba(x), "float32")


@pytest.mark.parametrize(("k", "loss"), [(3, "cross_entropy"), (1, "binary_cross_entropy"), (2, "mse")])
def test_an_ensemble_gives_the_mean_of_its_members(k: int, loss: str) -> None:
    many = bp.Ensemble(lambda seed: bp.mlp([4, 6, k], seed=seed), members=3, seed=0)
    for net in many.members:
        net.parameters *= 3
        net.loss = loss
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    model = bp.export.onnx(many)
    assert "members.2.layers.1.weight" in {tensor.name for tensor in model.graph.initializer}
    results = run(model, x, "onnxruntime")
    if loss == "mse":
        assert_near(results[0], many.predict(x), "float32")
        return
    p = many.predict_proba(x)
    p = np.hstack([1 - p, p]) if k == 1 else p
    assert_near(results[1], p, "float32")
    assert results[0].tolist() == p.argmax(axis=1).tolist()


def test_what_the_outputs_mean_follows_the_loss_unless_it_is_said() -> None:
    def names(net: bp.Network, **options: Any) -> list[str]:
        return [output.name for output in bp.export.onnx(net, **options).graph.output]

    assert names(classifier(3, "cross_entropy")) == ["label", "probabilities"]
    assert names(classifier(3, "cross_entropy"), outputs="raw") == ["output"]
    assert names(classifier(3, "focal")) == names(classifier(1, "binary_focal")) == ["label", "probabilities"]
    assert names(classifier(2, "gaussian")) == names(classifier(2, "non_crossing_quantiles")) == ["output"]
    assert names(classifier(3, "mse")) == names(bp.mlp([4, 3], seed=0)) == ["output"]
    assert names(classifier(1, "mse", "sigmoid")) == ["output"]
    with pytest.raises(ValueError, match="predict_proba needs a loss on logits"):
        names(classifier(3, "mse"), outputs="classes")


def test_the_model_is_what_runtimes_of_opset_17_read(tmp_path: Path) -> None:
    net = around("gelu")
    path = tmp_path / "model.onnx"
    bp.export.onnx(net, path, input_name="x")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert [entry.name for entry in model.graph.input] == ["x"]
    state, saved = net.state_dict(), {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert state.keys() <= saved.keys()
    for name, array in state.items():
        assert (saved[name] == array.astype(np.float32)).all()
    for entry in [*model.graph.input, *model.graph.output]:
        assert entry.type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("opset", [18, 20, 22])
def test_later_opsets_give_the_same_results(opset: int) -> None:
    net = around("mish")
    for dtype in DTYPES:
        x = np.random.default_rng(0).normal(size=(4, 5)).astype(dtype)
        assert_near(run(bp.export.onnx(net, opset=opset, dtype=dtype), x, "onnxruntime")[0], net.predict(x), dtype)


class Scale(bp.Layer):
    """``y = scale x``."""

    def __init__(self, width: int) -> None:
        self.width = self.fan_in = self.fan_out = width
        self.scale = np.linspace(1, 2, width)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"scale": (self.width,)}

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        return x * self.scale

    def backward(self, grad_outputs: np.ndarray) -> np.ndarray:
        return grad_outputs * self.scale


class Square(ActivationFunction):
    """``z z`` in place of relu."""

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return z * z

    def derivative(self, z: np.ndarray) -> np.ndarray:
        return 2 * z


def scale_handler(layer: Scale, x: Value, graph: Graph) -> Value:
    return x * graph.constant(layer.scale)


CUSTOM = {Scale: scale_handler, Square: lambda function, z, graph: z * z}


def custom() -> bp.Network:
    return bp.Network([bp.Dense(4, 5, activation=Square("relu")), bp.Residual([Scale(5)]), bp.Dense(5, 2)], seed=0)


def test_handlers_write_custom_layers_and_activations() -> None:
    net = custom()
    x = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    assert_near(run(bp.export.onnx(net, handlers=CUSTOM), x, "onnxruntime")[0], net.predict(x), "float32")


@pytest.mark.parametrize(
    ("missing", "message"),
    [(Scale, r"layers.1.block.0 Scale .* handlers=\{Scale: "), (Square, r"layers.0 Square .* handlers=\{Square: ")],
)
def test_custom_code_without_a_handler_is_named_and_no_file_is_left(missing: type, message: str, tmp_path: Path) -> None:
    handlers = {kind: handler for kind, handler in CUSTOM.items() if kind is not missing}
    with pytest.raises(TypeError, match=message):
        bp.export.onnx(custom(), tmp_path / "model.onnx", handlers=handlers)
    assert not list(tmp_path.iterdir())


def test_a_layer_whose_forward_is_replaced_is_custom() -> None:
    net = bp.mlp([2, 2], seed=0)
    net.layers[0].forward = lambda x, training: x
    with pytest.raises(TypeError, match=r"layers.0 Dense is code"):
        bp.export.onnx(net)

    class Doubled(bp.Network):
        def predict(self, x: Any, *rest: Any, **options: Any) -> Any:
            return 2 * super().predict(x, *rest, **options)

    with pytest.raises(TypeError, match="Doubled replaces "):
        bp.export.onnx(Doubled([bp.Dense(2, 2)], seed=0))


@pytest.mark.parametrize(("place", "name"), [(0, "weight"), (0, "bias"), (1, "running_mean"), (1, "running_var"), (2, "weight")])
def test_numbers_that_the_dtype_does_not_hold_are_refused_by_name(place: int, name: str) -> None:
    net = bp.Network([bp.Dense(2, 2), bp.BatchNorm(2), bp.LayerNorm(2)], dtype="float64", seed=0)
    getattr(net.layers[place], name)[...] = 1e39
    with pytest.raises(ValueError, match=rf"layers.{place}.{name} holds numbers up to 1e\+39, but float32 has none above 3.4e\+38"):
        bp.export.onnx(net)
    assert bp.export.onnx(net, dtype="float64").graph.node


def test_an_ensemble_whose_members_mean_different_things_is_refused() -> None:
    nets = iter([classifier(3, "cross_entropy"), classifier(3, "mse", "softmax")])
    many = bp.Ensemble(lambda seed: next(nets), members=2, seed=0)
    with pytest.raises(ValueError, match=r"must mean the same, but members.0 gives logits of softmax, members.1 probabilities"):
        bp.export.onnx(many)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"opset": 16}, ValueError, "opset must be an int from 17 to"),
        ({"opset": "17"}, ValueError, "opset must be an int"),
        ({"dtype": "float16"}, (ValueError, TypeError), "dtype"),
        ({"outputs": "labels"}, ValueError, "outputs must be"),
        ({"input_name": ""}, ValueError, "input_name must be"),
        ({"handlers": {Square: lambda function, z, graph: 3}}, TypeError, r"handler of layers.0 Square must return a Value"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        bp.export.onnx(custom(), **{"handlers": CUSTOM, **options})
    with pytest.raises(TypeError, match="model must be a Network, a TableModel or an Ensemble, got list"):
        bp.export.onnx([], **{k: v for k, v in options.items() if k == "outputs" and v != "labels"})


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        bp.export.onnx(bp.mlp([2, 2], seed=0), tmp_path / "nowhere" / "model.onnx")
