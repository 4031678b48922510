"""A trained network as a short program: the operations of a prediction, with their numbers, and what the outputs mean.

Every exporter writes the same program. It has no dropout, which does nothing in prediction, and an activation is an operation
of its own. `fold` merges normalizations by running statistics into the matrices before them. `run` is the meaning of a program,
in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._overrides import is_built_in, replaces
from .._types import Array
from ..activations import ActivationFunction
from ..ensemble import Ensemble
from ..layers import Activation, BatchNorm, Dense, Dropout, Layer, LayerNorm, Residual
from ..network import Network
from ..tabular import ClassTarget, TableEncoder, TableModel


class DenseStep(NamedTuple):
    """``y = x @ weight + bias``; weight (fan_in, fan_out), bias (fan_out,) or None."""

    name: str
    weight: Array
    bias: Array | None


class BatchNormStep(NamedTuple):
    """``y = weight (x - mean) / sqrt(var + eps) + bias``, column by column."""

    name: str
    weight: Array
    bias: Array
    mean: Array
    var: Array
    eps: float


class ScaleStep(NamedTuple):
    """``y = scale (x - centre) + shift``, column by column: a `BatchNormStep` with one factor."""

    name: str
    centre: Array
    scale: Array
    shift: Array


class LayerNormStep(NamedTuple):
    """``y = weight (x - mean of the row) / sqrt(variance of the row + eps) + bias``."""

    name: str
    weight: Array
    bias: Array
    eps: float


class ActivationStep(NamedTuple):
    """``y = function(x)``."""

    name: str
    function: ActivationFunction


class ResidualStep(NamedTuple):
    """``y = x + block(x)``."""

    name: str
    block: tuple[Step, ...]


class MeanStep(NamedTuple):
    """``y = mean of function(member(x))`` over the members; without a function, the mean of ``member(x)``."""

    name: str
    members: tuple[tuple[Step, ...], ...]
    function: ActivationFunction | None


class CustomStep(NamedTuple):
    """A layer or an activation function from outside this package."""

    name: str
    owner: Layer | ActivationFunction


Label = str | int | float | bool
Step = DenseStep | BatchNormStep | ScaleStep | LayerNormStep | ActivationStep | ResidualStep | MeanStep | CustomStep


class Meaning(NamedTuple):
    """What the outputs of a network stand for.

    Attributes
    ----------
    kind : {"numbers", "one_of", "yes_or_no", "each"}
        Numbers; one class of k, one output for each; the second of two classes, one output; k classes that hold or not, each.
    link : {"softmax", "sigmoid"} or None
        What makes probabilities of the outputs; None for numbers, and where the network ends in it already.
    classes : tuple of str, int, float or bool, or None
        The classes in the order of the outputs; None where they are 0, 1, ...
    name : str
        What the prediction is called.
    mean, scale : float
        A number is ``output * scale + mean``.
    """

    kind: str
    link: str | None = None
    classes: tuple[Label, ...] | None = None
    name: str = "output"
    mean: float = 0.0
    scale: float = 1.0

    @property
    def threshold(self) -> float:
        """The output above which a class holds, where there is one output for each class."""
        return 0.0 if self.link == "sigmoid" else 0.5


@dataclass(frozen=True)
class Program:
    """What a network does to a matrix of n_inputs columns; `dtype` is that of the network's numbers.

    With an `encoder`, the matrix is what this makes of the rows of a table.
    """

    steps: tuple[Step, ...]
    n_inputs: int
    n_outputs: int
    dtype: np.dtype[Any]
    meaning: Meaning
    encoder: TableEncoder | None = None

    @property
    def n_classes(self) -> int:
        """The number of classes; 0 for numbers."""
        return {"numbers": 0, "yes_or_no": 2}.get(self.meaning.kind, self.n_outputs)

    @property
    def kind(self) -> str:
        """What it computes, for the heads of files: a neural network, or the mean of several."""
        networks = sum(len(step.members) for step in self.steps if isinstance(step, MeanStep))
        return f"the mean of {networks} neural networks" if networks else "a neural network"

    def run(self, x: Array) -> Array:
        """Return the raw outputs for x (n, n_inputs), in float64."""
        return _run(self.steps, np.asarray(x, np.float64))

    def checksum(self) -> str:
        """Return a digest of everything that decides about predictions."""
        table = None if self.encoder is None else self.encoder.config()
        digest = sha256(repr((self.n_inputs, self.n_outputs, self.dtype.name, self.meaning, table)).encode())
        for step in walk(self.steps):
            texts: list[tuple[str, object]] = []
            for field, value in zip(step._fields, step, strict=True):
                if isinstance(value, np.ndarray):
                    digest.update(np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes())
                    texts.append((field, value.shape))
                elif field not in ("block", "members"):
                    texts.append((field, repr(value)))
            digest.update(repr((type(step).__name__, texts)).encode())
        return digest.hexdigest()


def lower(model: Network | TableModel | Ensemble, outputs: str = "auto", prefix: str = "layers") -> Program:
    """Return the program of a network, of a network with its table, or of the mean of several networks.

    Where the outputs of an ensemble mean classes, the mean is that of their probabilities, which the program then gives.

    Parameters
    ----------
    model : Network, TableModel or Ensemble
    outputs : {"auto", "raw", "classes"}
        Whether the outputs mean classes; "auto" goes by the target of a table, or the loss that the network was trained with.
    prefix : str
        What the names of a network's layers begin with.

    Raises
    ------
    TypeError
        When it is no such model, or a network whose ``forward``, ``infer`` or ``predict`` are replaced.
    ValueError
        When classes are asked for and nothing says how outputs become probabilities, or the outputs of an ensemble's members
        differ in what they mean.
    """
    if outputs not in ("auto", "raw", "classes"):
        raise ValueError(f"outputs must be 'auto', 'raw' or 'classes', got {outputs!r}")
    if isinstance(model, TableModel):
        program = lower(model.network, "raw")
        return replace(program, meaning=_meaning_of_target(model, outputs), encoder=model.encoder)
    if isinstance(model, Ensemble):
        programs = [lower(net, outputs, f"members.{index}.{prefix}") for index, net in enumerate(model.members)]
        first, meaning = programs[0], programs[0].meaning
        for index, program in enumerate(programs):
            if program.meaning != meaning:
                found = f"members.0 gives {_described(meaning)}, members.{index} {_described(program.meaning)}"
                raise ValueError(f"the outputs of all members of an ensemble must mean the same, but {found}")
        function = None if meaning.link is None else ActivationFunction(meaning.link)
        mean = MeanStep("mean", tuple(program.steps for program in programs), function)
        return replace(first, steps=(mean,), meaning=meaning._replace(link=None))
    if not isinstance(model, Network):
        raise TypeError(f"model must be a Network, a TableModel or an Ensemble, got {type(model).__name__}")
    net = model
    replaced = [name for name in ("forward", "infer", "predict") if replaces(net, name, Network)]
    if replaced:
        what = f"{type(net).__name__} replaces {replaced[0]}, which is code and cannot be exported"
        raise TypeError(f"{what}: make a Network of its layers")
    steps = tuple(_lowered(net.layers, prefix))
    return Program(steps, net.n_inputs, net.n_outputs, net.dtype, _meaning(net, outputs))


def _described(meaning: Meaning) -> str:
    if meaning.kind == "numbers":
        return "numbers"
    return f"logits of {meaning.link}" if meaning.link else "probabilities"


def _meaning(net: Network, outputs: str) -> Meaning:
    last, loss = net.output_activation.name, net.loss
    by_loss = loss is not None and loss.task in ("classification", "binary") and loss.link in ("softmax", "sigmoid")
    if outputs == "raw" or (outputs == "auto" and not by_loss and last != "softmax"):
        return Meaning("numbers")
    link = net._link(None)
    if (link or last) == "softmax":
        return Meaning("one_of", link)
    return Meaning("yes_or_no" if net.n_outputs == 1 else "each", link)


def _meaning_of_target(model: TableModel, outputs: str) -> Meaning:
    target = model.target
    if outputs == "raw":
        return Meaning("numbers")
    if isinstance(target, ClassTarget):
        link = None if model.network.output_activation.name == "softmax" else "softmax"
        return Meaning("one_of", link, target.labels, target.name)
    if outputs == "classes":
        raise ValueError(f"outputs='classes' needs classes, but the model predicts the number {target.name!r}")
    return Meaning("numbers", name=target.name, mean=target.mean, scale=target.scale)


def _lowered(layers: Iterable[Layer], prefix: str) -> Iterator[Step]:
    for index, layer in enumerate(layers):
        name = f"{prefix}.{index}"
        if not is_built_in(layer):
            yield CustomStep(name, layer)
        elif isinstance(layer, Dense):
            yield DenseStep(name, layer.weight.copy(), None if layer.bias is None else layer.bias.copy())
            yield from _activation(name, layer.activation)
        elif isinstance(layer, Activation):
            yield from _activation(name, layer.activation)
        elif isinstance(layer, BatchNorm):
            mean, var = layer.running_mean.copy(), layer.running_var.copy()
            yield BatchNormStep(name, layer.weight.copy(), layer.bias.copy(), mean, var, layer.eps)
        elif isinstance(layer, LayerNorm):
            yield LayerNormStep(name, layer.weight.copy(), layer.bias.copy(), layer.eps)
        elif isinstance(layer, Residual):
            yield ResidualStep(name, tuple(_lowered(layer.block, f"{name}.block")))
        elif not isinstance(layer, Dropout):
            yield CustomStep(name, layer)


def _activation(name: str, function: ActivationFunction) -> Iterator[Step]:
    if not is_built_in(function):
        yield CustomStep(name, function)
    elif function.name != "identity":
        yield ActivationStep(name, function)


def walk(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield every step, a residual's before those of its block, a mean's before those of its members."""
    for step in steps:
        yield step
        if isinstance(step, ResidualStep):
            yield from walk(step.block)
        elif isinstance(step, MeanStep):
            for member in step.members:
                yield from walk(member)


def require_built_in(program: Program, what: str) -> None:
    """Refuse a program with custom steps, which `what` cannot hold; the error names the layer."""
    for step in walk(program.steps):
        if isinstance(step, CustomStep):
            raise TypeError(
                f"{step.name} {type(step.owner).__name__} is code from outside the library, which {what} cannot hold: "
                "build the network from built-in layers, or write ONNX with handlers={" + type(step.owner).__name__ + ": ...}"
            )


def require_finite(program: Program) -> None:
    """Refuse a program that holds NaN or infinity; the error names the array."""
    for step in walk(program.steps):
        for field, value in zip(step._fields, step, strict=True):
            if isinstance(value, np.ndarray) and not np.isfinite(value).all():
                raise ValueError(f"{step.name}.{field} holds NaN or infinity, which cannot be exported")


def in_dtype(values: Array, dtype: npt.DTypeLike, name: str) -> Array:
    """Return values in a dtype; refuse finite ones that are infinite there. The error begins with the name."""
    with np.errstate(over="ignore"):
        found = values.astype(dtype)
    if (np.isinf(found) & np.isfinite(values)).any():
        kind, largest = found.dtype, np.abs(values[np.isfinite(values)]).max()
        raise ValueError(f"{name} holds numbers up to {largest:.3g}, but {kind.name} has none above {np.finfo(kind).max:.3g}")
    return found


def expected_inputs(program: Program) -> tuple[Array | float, Array | float]:
    """Return mean and standard deviation of inputs as a network expects them: 0 and 1 unless batch normalization comes first."""
    steps = program.steps
    if steps and isinstance(steps[0], MeanStep):
        steps = steps[0].members[0]
    if not steps or not isinstance(steps[0], BatchNormStep):
        return 0.0, 1.0
    return steps[0].mean.astype(np.float64), np.sqrt(steps[0].var.astype(np.float64))


def fold(program: Program) -> Program:
    """Return the same function with batch normalizations merged into the matrices before them, in float64.

    A normalization before a matrix stays: ``x @ weight - mean @ weight`` cancels where the mean of x exceeds its spread, and the
    error of a matrix in int8 would be multiplied by the mean.
    """
    return replace(program, steps=_folded(program.steps))


def _folded(steps: Iterable[Step]) -> tuple[Step, ...]:
    done: list[Step] = []
    for given in steps:
        step = given
        if isinstance(step, BatchNormStep):
            scale = step.weight.astype(np.float64) / np.sqrt(step.var.astype(np.float64) + step.eps)
            step = ScaleStep(step.name, step.mean.astype(np.float64), scale, step.bias.astype(np.float64))
        elif isinstance(step, DenseStep):
            bias = None if step.bias is None else step.bias.astype(np.float64)
            step = DenseStep(step.name, step.weight.astype(np.float64), bias)
        elif isinstance(step, ResidualStep):
            step = step._replace(block=_folded(step.block))
        elif isinstance(step, MeanStep):
            step = step._replace(members=tuple(map(_folded, step.members)))
        before = done[-1] if done else None
        if isinstance(step, ScaleStep) and isinstance(before, DenseStep):
            centred = -step.centre if before.bias is None else before.bias - step.centre
            done[-1] = DenseStep(before.name, before.weight * step.scale, centred * step.scale + step.shift)
        elif isinstance(step, ScaleStep) and isinstance(before, ScaleStep):
            shift = (before.shift - step.centre) * step.scale + step.shift
            done[-1] = ScaleStep(before.name, before.centre, before.scale * step.scale, shift)
        else:
            done.append(step)
    return tuple(done)


def _run(steps: Iterable[Step], x: Array) -> Array:
    for step in steps:
        if isinstance(step, DenseStep):
            x = x @ step.weight.astype(np.float64)
            x = x if step.bias is None else x + step.bias
        elif isinstance(step, BatchNormStep):
            x = step.weight * (x - step.mean) / np.sqrt(step.var.astype(np.float64) + step.eps) + step.bias
        elif isinstance(step, ScaleStep):
            x = (x - step.centre) * step.scale + step.shift
        elif isinstance(step, LayerNormStep):
            centred = x - x.mean(axis=1, keepdims=True)
            variance = np.mean(centred * centred, axis=1, keepdims=True)
            x = step.weight * centred / np.sqrt(variance + step.eps) + step.bias
        elif isinstance(step, ActivationStep):
            x = step.function(x)
        elif isinstance(step, ResidualStep):
            x = x + _run(step.block, x)
        elif isinstance(step, MeanStep):
            found = [_run(member, x) for member in step.members]
            x = np.mean([y if step.function is None else step.function(y) for y in found], axis=0)
        else:
            raise TypeError(f"{step.name} is code from outside the library")
    return x
