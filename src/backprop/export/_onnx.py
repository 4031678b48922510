"""ONNX: the program of a network as a graph of standard operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arrays import check_dtype
from .._files import StrPath, replace_file
from .._numpy import erf
from .._numpy.activations import FAR, GELU_C, SELU_ALPHA, SELU_SCALE
from .._version import __version__
from ..activations import ActivationFunction
from ..ensemble import Ensemble
from ..layers import Layer
from ..network import Network
from ..tabular import TableModel
from ._graph import DOUBLE, INT64, Graph, Value
from ._onnx_table import Described, encode
from ._program import (
    ActivationStep,
    BatchNormStep,
    DenseStep,
    Label,
    LayerNormStep,
    Meaning,
    MeanStep,
    Program,
    ResidualStep,
    ScaleStep,
    Step,
    lower,
)

Handler = Callable[[Any, Value, Graph], Value]
Handlers = Mapping[type[Layer] | type[ActivationFunction], Handler]
_OLDEST_OPSET = 17  # the first with LayerNormalization


def onnx(
    model: Network | TableModel | Ensemble,
    path: StrPath | None = None,
    *,
    opset: int = 17,
    dtype: npt.DTypeLike = "float32",
    outputs: str = "auto",
    input_name: str = "input",
    handlers: Handlers | None = None,
) -> Any:
    """Return a network, alone or with its table, as an ONNX model, and write it to a file if a path is given.

    The model takes any number of rows. Its weights are called as in `Network.state_dict`.

    A `TableModel` has one input (n, 1) for each column that it uses. In double precision: numbers as they are, dates as seconds
    since 1970 (UTC), NaN where they are missing. Of text: categories, and the words of true/false columns; texts are compared as
    they stand, but for sign and point of a whole number (1, +1 and 1.0), and an empty one, or one of the words that the table has
    for it, is a missing value. What training has not seen counts as none of the known categories.

    An `Ensemble` gives the mean of its members' outputs or probabilities; weights are called ``members.0.layers.0.weight``.

    Parameters
    ----------
    model : Network, TableModel or Ensemble
        The model, as it predicts now.
    path : str or path, optional
        The file; by custom it ends in ``.onnx``. It holds the old content or the whole new one at any moment.
    opset : int
        The version of ONNX's operators, 17 or later.
    dtype : dtype
        Of inputs, weights and results: "float32" or "float64".
    outputs : {"auto", "classes", "raw"}
        "classes" gives two outputs: ``label`` (n,), int64, and ``probabilities`` (n, k). A network with one logit gives both
        columns; where k classes hold or not independently of each other, labels are 0 and 1, (n, k). "raw" gives one, ``output``
        (n, k): what `Network.predict` returns. "auto" means "classes" for a network that was trained with a loss on logits or ends
        in softmax, else "raw". For a `TableModel` it follows the target: ``label`` and ``probabilities``, labels as text unless
        they are integers; or one output (n, 1) that is called as the target, the number in double precision.
    input_name : str
        What the input (n, n_inputs) is called. The inputs of a table are called as its columns.
    handlers : mapping of type to callable, optional
        How to write custom layers and activation functions: ``handler(layer, x, graph)`` adds nodes to the `Graph`, given the
        `Value` x, and returns the `Value` of the layer's outputs.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ImportError
        Without the package onnx: ``pip install "backprop[onnx]"``.
    TypeError
        For a custom layer without a handler, which the message names; no file is written.
    ValueError
        For an option that is none of the above, classes where nothing says how outputs become probabilities, or parameters that
        the dtype does not hold.
    OSError
        When writing fails.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([4, 8, 3], seed=0)
    >>> net.loss = "cross_entropy"
    >>> model = bp.export.onnx(net)  # doctest: +SKIP
    >>> [output.name for output in model.graph.output]  # doctest: +SKIP
    ['label', 'probabilities']
    """
    library = _library()
    graph = Graph(check_dtype(dtype))
    newest = library.defs.onnx_opset_version()
    if type(opset) is not int or not _OLDEST_OPSET <= opset <= newest:
        raise ValueError(f"opset must be an int from {_OLDEST_OPSET} to {newest}, which the installed onnx knows, got {opset!r}")
    if not isinstance(input_name, str) or not input_name:
        raise ValueError(f"input_name must be a name, got {input_name!r}")
    program = lower(model, outputs)
    if program.encoder is not None and input_name != "input":
        raise ValueError(f"input_name is for a network; the inputs of a table are called as its columns, got {input_name!r}")
    names = [input_name] if program.encoder is None else [feature.name for feature in program.encoder.features]
    if "" in (*names, program.meaning.name):
        raise ValueError("the table has a column '' without a name, which an input or output of ONNX must have: rename it")
    inputs = [Value(graph, graph.name(name)) for name in names]
    results = _named_results(graph, program)
    if program.encoder is None:
        x, described = inputs[0], [Described(input_name, graph.dtype, ("batch", program.n_inputs))]
    else:
        x, described = encode(program.encoder, inputs)
    writer = _Writer(graph, opset, dict(handlers or {}))
    outcome = _describe_results(graph, program, writer.steps(program.steps, x), results)
    proto = _model(library, graph, described, outcome, opset, program.checksum())
    library.checker.check_model(proto, full_check=True)
    if path is not None:
        replace_file(path, proto.SerializeToString())
    return proto


def _library() -> Any:
    try:
        return import_module("onnx")
    except ImportError as error:
        raise ImportError('writing ONNX needs the package onnx: pip install "backprop[onnx]"') from error


class _Writer:
    """Adds the steps of a program to a graph.

    In float64 normalizations are written out: their operators have an epsilon in float32. So they are in float32 unless a matrix
    comes before: runtimes turn the operator into ``scale x + shift``, which loses digits of exact inputs whose mean exceeds their
    spread, where the network itself loses none.
    """

    def __init__(self, graph: Graph, opset: int, handlers: dict[Any, Handler]) -> None:
        self.graph = graph
        self.opset = opset
        self.handlers = handlers

    def steps(self, steps: tuple[Step, ...], x: Value) -> Value:
        before: Step | None = None
        for step in steps:
            x = self.step(step, x, before)
            before = step
        return x

    def step(self, step: Step, x: Value, before: Step | None) -> Value:
        graph = self.graph
        if isinstance(step, DenseStep):
            weight = graph.constant(step.weight, f"{step.name}.weight")
            if step.bias is None:
                return graph.add("MatMul", x, weight)
            return graph.add("Gemm", x, weight, graph.constant(step.bias, f"{step.name}.bias"))
        if isinstance(step, BatchNormStep):
            arrays = {"weight": step.weight, "bias": step.bias, "running_mean": step.mean, "running_var": step.var}
            values = [graph.constant(array, f"{step.name}.{name}") for name, array in arrays.items()]
            if graph.dtype == np.float32 and isinstance(before, DenseStep):
                return graph.add("BatchNormalization", x, *values, epsilon=step.eps)
            weight, bias, mean, var = values
            centred = x - mean
            rest = step.mean - step.mean.astype(graph.dtype)
            centred = centred - rest if rest.any() else centred
            return centred * (weight / graph.add("Sqrt", var + step.eps)) + bias
        if isinstance(step, ScaleStep):
            return (x - step.centre) * step.scale + step.shift
        if isinstance(step, LayerNormStep):
            weight, bias = graph.constant(step.weight, f"{step.name}.weight"), graph.constant(step.bias, f"{step.name}.bias")
            if graph.dtype == np.float32:
                x = x if isinstance(before, DenseStep) else x - self.row_mean(x)
                return graph.add("LayerNormalization", x, weight, bias, epsilon=step.eps, axis=-1)
            centred = x - self.row_mean(x)
            return weight * (centred / graph.add("Sqrt", self.row_mean(centred * centred) + step.eps)) + bias
        if isinstance(step, ActivationStep):
            return _activation(graph, step.function, x)
        if isinstance(step, ResidualStep):
            return x + self.steps(step.block, x)
        if isinstance(step, MeanStep):
            found = [self.steps(member, x) for member in step.members]
            if step.function is not None:
                found = [_activation(graph, step.function, y) for y in found]
            total = found[0]
            for y in found[1:]:
                total = total + y
            return total * (1 / len(found))
        kind = type(step.owner)
        handler = self.handlers.get(kind)
        if handler is None:
            raise TypeError(
                f"{step.name} {kind.__name__} is code from outside the library: give handlers={{{kind.__name__}: handler}}, where "
                "handler(layer, x, graph) adds its nodes to the graph and returns their value"
            )
        y = handler(step.owner, x, graph)
        if not isinstance(y, Value):
            raise TypeError(f"the handler of {step.name} {kind.__name__} must return a Value of the graph, got {type(y).__name__}")
        return y

    def row_mean(self, x: Value) -> Value:
        if self.opset < 18:  # later, axes are an input
            return self.graph.add("ReduceMean", x, axes=[1])
        return self.graph.add("ReduceMean", x, self.graph.exact(np.array([1], np.int64)))


def _activation(graph: Graph, function: ActivationFunction, z: Value) -> Value:
    """The activation by operators of opset 17, which onnxruntime has for float64, too."""
    single, alpha = graph.dtype == np.float32, function.alpha
    match function.name:
        case "relu":
            return graph.add("Relu", z)
        case "leaky_relu" | "elu" if alpha == 0:
            return graph.add("Relu", z)
        case "leaky_relu":
            return graph.add("LeakyRelu", z, alpha=alpha) if single else _above(z) + alpha * _below(z)
        case "elu":
            return graph.add("Elu", z, alpha=alpha) if single else _above(z) + alpha * _expm1(_below(z))
        case "selu":
            if single:
                return graph.add("Selu", z, alpha=SELU_ALPHA, gamma=SELU_SCALE)
            return SELU_SCALE * (_above(z) + SELU_ALPHA * _expm1(_below(z)))
        case "gelu":
            z = graph.add("Max", z, -FAR)
            return z * graph.add("Sigmoid", 2 * GELU_C * (z + 0.044715 * (z * z * z)))
        case "gelu_exact":
            z = graph.add("Max", z, -FAR)
            return z * (0.5 * (graph.add("Erf", z * sqrt(0.5)) + 1.0) if single else 0.5 * _erfc(z * -sqrt(0.5)))
        case "silu":
            z = graph.add("Max", z, -FAR)
            return z * graph.add("Sigmoid", z)
        case "mish":
            z = graph.add("Max", z, -FAR)
            return z * graph.add("Tanh", _softplus(z))
        case "sigmoid":
            return graph.add("Sigmoid", z)
        case "tanh":
            return graph.add("Tanh", z)
        case "softplus":
            return _softplus(z)
        case "softsign":
            largest = float(np.finfo(graph.dtype).max)
            z = graph.add("Clip", z, -largest, largest)
            return graph.add("Softsign", z) if single else z / (graph.add("Abs", z) + 1.0)
        case "hardtanh":
            return graph.add("Clip", z, -1.0, 1.0)
        case "relu6":
            return graph.add("Clip", z, 0.0, 6.0)
        case "softmax":
            return graph.add("Softmax", z, axis=-1)
        case name:
            raise TypeError(f"the activation {name} has no form in ONNX")


def _above(z: Value) -> Value:
    return z.graph.add("Max", z, 0.0)


def _below(z: Value) -> Value:
    return z.graph.add("Min", z, 0.0)


def _expm1(z: Value) -> Value:
    """``e^z - 1`` without its cancellation: ``tanh(z / 2) (e^z + 1)``."""
    return z.graph.add("Tanh", z * 0.5) * (z.graph.add("Exp", z) + 1.0)


def _softplus(z: Value) -> Value:
    graph = z.graph
    if graph.dtype == np.float32:
        return graph.add("Softplus", z)
    e = graph.add("Exp", -graph.add("Abs", z))
    u = e + 1.0
    log1p = graph.add("Where", graph.add("Equal", u, 1.0), e, graph.add("Log", u) * (e / (u - 1.0)))
    return _above(z) + log1p


def _erfc(x: Value) -> Value:
    """The complementary error function by the approximations of `backprop._numpy.erf`."""
    add = x.graph.add
    size = add("Abs", x)
    near = add("Clip", x, -0.46875, 0.46875)
    square = near * near
    small = 1.0 - near * _polynomial(erf._SMALL_P, square) / _polynomial(erf._SMALL_Q, square)
    far = add("Clip", size, 0.46875, 30.0)
    start = add("Floor", far * 16.0) / 16.0
    tail = add("Exp", -(start * start)) * add("Exp", -((far - start) * (far + start)))
    inverse = 1.0 / (far * far)
    ratio = _polynomial(erf._LARGE_P, inverse) / _polynomial(erf._LARGE_Q, inverse)
    large = (1 / sqrt(np.pi) - inverse * ratio) / far
    middle = _polynomial(erf._MIDDLE_P, far) / _polynomial(erf._MIDDLE_Q, far)
    beyond = tail * add("Where", add("LessOrEqual", far, 4.0), middle, large)
    return add("Where", add("LessOrEqual", size, 0.46875), small, add("Where", add("Less", x, 0.0), 2.0 - beyond, beyond))


def _polynomial(coefficients: npt.NDArray[np.float64], x: Value) -> Value:
    """Horner's rule, the highest power first."""
    first, second, *rest = map(float, coefficients)
    total = x * first + second
    for coefficient in rest:
        total = total * x + coefficient
    return total


def _named_results(graph: Graph, program: Program) -> list[str]:
    """The names of the outputs, taken before those of nodes."""
    wanted = [program.meaning.name] if program.meaning.kind == "numbers" else ["label", "probabilities"]
    return [graph.name(name) for name in wanted]


def _describe_results(graph: Graph, program: Program, y: Value, names: list[str]) -> list[Described]:
    """Write the outputs; return name, dtype and shape of each."""
    meaning = program.meaning
    if meaning.kind == "numbers":
        kind: npt.DTypeLike = graph.dtype
        if (meaning.mean, meaning.scale) != (0.0, 1.0):
            scale, mean, kind = np.array(meaning.scale), np.array(meaning.mean), np.float64
            y = graph.add("Cast", y, to=DOUBLE) * graph.exact(scale) + graph.exact(mean)
        graph.finish(y, names[0])
        return [Described(names[0], kind, ("batch", program.n_outputs))]
    label, probabilities = _classes(graph, meaning, y)
    graph.finish(label, names[0])
    graph.finish(probabilities, names[1])
    shape = ("batch", program.n_outputs) if meaning.kind == "each" else ("batch",)
    kind = np.int64 if meaning.classes is None else _label_array(meaning.classes).dtype
    return [Described(names[0], kind, shape), Described(names[1], graph.dtype, ("batch", program.n_classes))]


def _label_array(classes: tuple[Label, ...]) -> npt.NDArray[Any]:
    """The labels as ONNX has them: integers, or text."""
    if all(type(label) is int for label in classes):
        return np.array(classes, np.int64)
    return np.array(list(map(str, classes)), object)


def _classes(graph: Graph, meaning: Meaning, y: Value) -> tuple[Value, Value]:
    if meaning.kind == "one_of":
        probabilities = graph.add("Softmax", y, axis=-1) if meaning.link else y
        label = graph.add("ArgMax", y, axis=1, keepdims=0)
    else:
        probabilities = graph.add("Sigmoid", y) if meaning.link else y
        label = graph.add("Cast", graph.add("Greater", y, meaning.threshold), to=INT64)
        if meaning.kind == "yes_or_no":
            other = graph.add("Sigmoid", -y) if meaning.link else 1.0 - y
            probabilities = graph.add("Concat", other, probabilities, axis=1)
            label = graph.add("Squeeze", label, graph.exact(np.array([1], np.int64)))
    if meaning.classes is not None:
        label = graph.add("Gather", graph.exact(_label_array(meaning.classes)), label)
    return label, probabilities


def _model(
    library: Any,
    graph: Graph,
    inputs: list[Described],
    outputs: list[Described],
    opset: int,
    checksum: str,
) -> Any:
    helper, numbers = library.helper, library.numpy_helper

    def described(entry: Described) -> Any:
        name, dtype, shape = entry
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    nodes = [
        helper.make_node(node.op, node.inputs, [node.output], name=node.output, domain=node.domain, **node.attributes)
        for node in graph.nodes
    ]
    tensors = [numbers.from_array(np.ascontiguousarray(array), name) for name, array in graph.initializers.items()]
    made = helper.make_graph(nodes, "network", list(map(described, inputs)), list(map(described, outputs)), tensors)
    opsets = [helper.make_opsetid("", opset)]
    if any(node.domain == "ai.onnx.ml" for node in graph.nodes):
        opsets.append(helper.make_opsetid("ai.onnx.ml", 3))
    model = helper.make_model(
        made,
        opset_imports=opsets,
        producer_name="backprop",
        producer_version=__version__,
        ir_version=8 if opset <= 18 else helper.find_min_ir_version_for(opsets),
    )
    helper.set_model_props(model, {"checksum": f"sha256:{checksum}"})
    return model
