"""Running a network layer by layer with everything written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import kernels
from .._types import Array
from ..activations import ActivationFunction
from ..layers import Activation, BatchNorm, Dense, Dropout, Layer, LayerNorm, Residual, apply, apply_backward


@dataclass(frozen=True, eq=False, repr=False)
class LayerTrace:
    """What one layer did: its arrays by role, and the formula that made each.

    Roles of a `Dense` layer: ``x, weight, bias, z, a`` on the way forward; ``grad_a, slope, delta, grad_weight, grad_bias,
    grad_x`` on the way back; ``update_weight, new_weight, update_bias, new_bias`` after an update. Layers without an
    activation call their output ``y`` and what comes back ``grad_y``.

    Attributes
    ----------
    name, kind, description : str
        Such as "layers.0", "Dense" and "Dense(2, 3, activation='tanh')". The kind is the class; "custom Dense" for a layer that is
        called like one of this library and does something else.
    output : {"a", "y"}
        The role of the output.
    values, formulas : dict
        The arrays, and the formula that made each, by role.
    parameters : tuple of str
        The roles that are parameters.
    activation : ActivationFunction or None
        Its activation function, if it has one.
    trainable : bool
        Whether an update changes it.
    """

    name: str
    kind: str
    description: str
    output: str
    values: dict[str, Array]
    formulas: dict[str, str]
    parameters: tuple[str, ...] = ()
    activation: ActivationFunction | None = None
    trainable: bool = True

    def __repr__(self) -> str:
        return f"<LayerTrace of {self.name} {self.description}: {', '.join(self.values)}>"

    @property
    def n_inputs(self) -> int:
        """Columns of ``x``."""
        return int(self.values["x"].shape[1])

    @property
    def n_outputs(self) -> int:
        """Columns of the output."""
        return int(self.values[self.output].shape[1])


class Tape:
    """Runs layers forward and backward, and keeps what goes through them.

    It goes into the blocks of `Residual` layers; every other layer, also a custom one, is run as it is.
    """

    def __init__(self) -> None:
        self.layers: list[LayerTrace] = []
        self._layers: list[Layer] = []
        self._by_layer: dict[int, LayerTrace] = {}

    def forward(self, layers: Sequence[Layer], prefix: str, x: Array, training: bool) -> Array:
        """The outputs of a chain of layers."""
        for index, layer in enumerate(layers):
            name = f"{prefix}.{index}"
            if _is_known(layer, Residual):
                output: Array = x + self.forward(layer.block, f"{name}.block", x, training)
            else:
                output = apply(layer, x, training)
            record = _describe(name, layer, x, output, training)
            self.layers.append(record)
            self._layers.append(layer)
            self._by_layer[id(layer)] = record
            x = output
        return x

    def backward(self, layers: Sequence[Layer], grad: Array) -> Array:
        """DL/dx of the chain that went forward last."""
        for layer in reversed(layers):
            record = self._by_layer[id(layer)]
            arrived = grad.copy()
            if _is_known(layer, Residual):
                grad = grad + self.backward(layer.block, grad)
            else:
                result = apply_backward(layer, grad)
                assert result is not None
                grad = result
            _describe_backward(record, layer, arrived, grad)
        return grad

    def updated(self, formula: str) -> None:
        """Write down the new parameters, after an optimizer changed them."""
        for record, layer in zip(self.layers, self._layers, strict=True):
            _describe_update(record, layer, formula)


def _is_known(layer: Layer, *kinds: type[Layer]) -> bool:
    """Whether a layer is of one of these kinds and does what they do: a subclass may override its methods."""
    return isinstance(layer, kinds) and layer._trusted


def _kind(layer: Layer) -> str:
    """The class of a layer; a custom one with the name of a built-in one must not pass for it: it has other arrays."""
    name = type(layer).__name__
    built_in = _BUILT_IN.get(name)
    return name if built_in is None or _is_known(layer, built_in) else f"custom {name}"


def _describe(name: str, layer: Layer, x: Array, output: Array, training: bool) -> LayerTrace:
    """What is known about a layer after its forward."""
    values: dict[str, Array] = {"x": x.copy()}
    formulas = {"x": "what the layer before gives" if not name.endswith(".0") or ".block" in name else "x"}
    parameters = tuple(layer.parameter_shapes())
    for role in parameters:
        values[role] = getattr(layer, role).copy()
        formulas[role] = "learned"
    activation = getattr(layer, "activation", None) if _is_known(layer, Dense, Activation) else None
    if activation is None:
        _describe_other(layer, values, formulas, output, training)
        return LayerTrace(name, _kind(layer), repr(layer), "y", values, formulas, parameters, None, layer.trainable)
    if isinstance(layer, Dense):
        z = np.empty_like(output)
        kernels.active().dense_forward(x, layer.weight, layer.bias, None, z, "identity", 0.0)
        formulas["z"] = "z = x @ weight" + (" + bias" if layer.bias is not None else "")
    else:
        z = x.copy()
        formulas["z"] = "z = x"
    values["z"], values["a"] = z, output.copy()
    formulas["a"] = f"a = {activation.name}(z) = {activation.formula}" if activation.name != "identity" else "a = z"
    return LayerTrace(name, _kind(layer), repr(layer), "a", values, formulas, parameters, activation, layer.trainable)


def _describe_other(layer: Layer, values: dict[str, Array], formulas: dict[str, str], output: Array, training: bool) -> None:
    values["y"] = output.copy()
    if isinstance(layer, BatchNorm | LayerNorm) and layer._trusted:
        values["x_hat"], inv_std = _normalized(layer, values["x"], training)
        values["inv_std"] = inv_std
        over = "each row's columns" if isinstance(layer, LayerNorm) else "the batch" if training else "all training so far"
        formulas["x_hat"] = f"x_hat = (x - mean) inv_std, mean and variance over {over}"
        formulas["inv_std"] = "inv_std = 1 / sqrt(variance + eps)"
        formulas["y"] = "y = weight x_hat + bias"
        if isinstance(layer, BatchNorm) and not training:
            formulas["grad_x"] = "grad_x = grad_y weight inv_std"
    elif isinstance(layer, Dropout) and layer._trusted:
        ones = np.ones_like(values["x"])
        values["mask"] = layer._apply_mask(ones, layer._noise.step) if training and layer.rate and layer._noise else ones
        formulas["mask"] = f"0 with probability {layer.rate:g}, else 1 / (1 - {layer.rate:g})" if training else "1 outside training"
        formulas["y"] = "y = x mask"
    elif _is_known(layer, Residual):
        formulas["y"] = "y = x + block(x)"
    else:
        formulas["y"] = f"y = {type(layer).__name__}.forward(x)"


def _normalized(layer: BatchNorm | LayerNorm, x: Array, training: bool) -> tuple[Array, Array]:
    """x_hat and inv_std, by the kernel that the layer used."""
    x_hat, y = np.empty_like(x), np.empty_like(x)
    if isinstance(layer, LayerNorm):
        inv_std = np.empty(len(x), x.dtype)
        kernels.active().layer_norm_forward(x, layer.weight, layer.bias, x_hat, inv_std, y, layer.eps)
        return x_hat, inv_std
    inv_std = np.empty(layer.width, x.dtype)
    mean, var = layer.running_mean.copy(), layer.running_var.copy()
    if training:
        kernels.active().batch_norm_forward(x, layer.weight, layer.bias, mean, var, x_hat, inv_std, y, layer.momentum, layer.eps)
        return x_hat, inv_std
    one, zero = np.ones_like(layer.weight), np.zeros_like(layer.bias)
    kernels.active().batch_norm_inference(x, one, zero, mean, var, x_hat, layer.eps)
    return x_hat, 1 / np.sqrt(var + layer.eps)


def _describe_backward(record: LayerTrace, layer: Layer, arrived: Array, grad_x: Array) -> None:
    """Add what is known after the backward."""
    values, formulas, activation = record.values, record.formulas, record.activation
    values[f"grad_{record.output}"] = arrived
    formulas[f"grad_{record.output}"] = f"dL/d{record.output}, as it comes back from the layer after"
    if activation is not None:
        if activation.name != "softmax" or not activation.by_kernel:
            values["slope"] = activation.derivative(values["z"])
            formulas["slope"] = f"{activation.name}'(z) = {activation.derivative_formula}"
        values["delta"] = activation.backward(arrived, values["z"])
        formulas["delta"] = (
            "delta = a (grad_a - sum(grad_a a))"
            if activation.name == "softmax"
            else "delta = grad_a"
            if activation.name == "identity"
            else f"delta = grad_a * {activation.name}'(z),  {activation.name}'(z) = {activation.derivative_formula}"
        )
    for role in record.parameters:
        values[f"grad_{role}"] = getattr(layer, f"grad_{role}").copy()
        formulas[f"grad_{role}"] = _gradient_formula(record, layer, role) if layer.trainable else "frozen: not computed"
    values["grad_x"] = grad_x.copy()
    formulas.setdefault("grad_x", _GRAD_X.get(record.kind, f"grad_x = {type(layer).__name__}.backward(grad_y)"))


def _gradient_formula(record: LayerTrace, layer: Layer, role: str) -> str:
    if record.kind == "Dense":
        return "grad_weight = x.T @ delta" if role == "weight" else "grad_bias = sum of delta over the rows"
    if "x_hat" in record.values:
        return f"grad_{role} = sum of {'grad_y x_hat' if role == 'weight' else 'grad_y'} over the rows"
    return f"grad_{role}, by {type(layer).__name__}.backward"


_BUILT_IN = {kind.__name__: kind for kind in (Activation, BatchNorm, Dense, Dropout, LayerNorm, Residual)}

_GRAD_X = {
    "Dense": "grad_x = delta @ weight.T",
    "Activation": "grad_x = delta",
    "Dropout": "grad_x = grad_y mask",
    "BatchNorm": "grad_x = weight inv_std (grad_y - mean(grad_y) - x_hat mean(grad_y x_hat)), means over the rows",
    "LayerNorm": "g = grad_y weight;  grad_x = inv_std (g - mean(g) - x_hat mean(g x_hat)), means over the columns",
    "Residual": "grad_x = grad_y + what came back through the block",
}


def _describe_update(record: LayerTrace, layer: Layer, formula: str) -> None:
    for role in record.parameters:
        new = getattr(layer, role).copy()
        record.values[f"new_{role}"] = new
        record.values[f"update_{role}"] = new - record.values[role]
        record.formulas[f"new_{role}"] = formula if layer.trainable else "frozen: stays"
        record.formulas[f"update_{role}"] = f"update_{role} = new_{role} - {role}"
