"""The dense layer, and an activation on its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import activations, initializers, kernels
from .._arrays import as_parameter, check_count, check_flag
from .._settings import Converted, fixed, made_by, option, optional
from .._types import Array
from ..activations import ActivationFunction
from ._base import Layer, Shapes

if TYPE_CHECKING:
    from numpy.random import Generator

ActivationSpec = str | ActivationFunction | Mapping[str, Any]
InitializerSpec = str | initializers.Draw | Mapping[str, Any]


class Dense(Layer):
    """Every output is an activation of a weighted sum of all inputs: ``a = activation(x @ weight + bias)``.

    Parameters
    ----------
    fan_in, fan_out : int
        The number of inputs and outputs.
    activation : str or ActivationFunction
        A name in `activations.NAMES` or an `ActivationFunction`.
    init : str, Initializer or callable, optional
        How `weight` starts: a name in `initializers.NAMES`, an `Initializer` or a callable ``(shape, rng)``. None picks
        he_normal for relu and its like, lecun_normal for selu, glorot_uniform otherwise. `bias` starts at zero.
    bias : bool
        False leaves the bias out.

    Attributes
    ----------
    weight, grad_weight : array (fan_in, fan_out)
    bias, grad_bias : array (fan_out,) or None
    use_bias : bool
        Whether there is a bias.

    Notes
    -----
    With ``delta = grad_a * activation'(z)``::

        grad_weight = x.T @ delta      grad_bias = sum of delta over the rows      grad_x = delta @ weight.T

    Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", Nature 323, 1986.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> layer = bp.Dense(2, 1, activation="relu")
    >>> layer.weight = [[1.0], [2.0]]
    >>> layer.forward(np.array([[3.0, 4.0]]), training=True)
    array([[11.]])
    >>> layer.backward(np.array([[1.0]]))
    array([[1., 2.]])
    >>> layer.grad_weight.tolist(), layer.grad_bias.tolist()
    ([[3.0], [4.0]], [1.0])
    """

    fan_in: int = fixed(check_count)
    fan_out: int = fixed(check_count)
    activation: Converted[ActivationFunction, ActivationSpec] = option(made_by(activations.get))
    init: Converted[initializers.Draw | None, InitializerSpec | None] = option(optional(made_by(initializers.get)))
    use_bias: bool = fixed(check_flag, label="bias")
    weight: Array
    grad_weight: Array
    bias: Array | None
    grad_bias: Array | None

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        *,
        activation: ActivationSpec = "identity",
        init: InitializerSpec | None = None,
        bias: bool = True,
    ) -> None:
        self.fan_in = fan_in
        self.fan_out = fan_out
        self.activation = activation
        self.init = init
        self.use_bias = bias
        if not self.use_bias:
            self.bias = self.grad_bias = None

    def parameter_shapes(self) -> Shapes:
        """Name and shape of its parameters."""
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.fan_in, self.fan_out)}
        return {**shapes, "bias": (self.fan_out,)} if self.use_bias else shapes

    def initialize(self, rng: Generator) -> None:
        """Draw the weights and set the biases to zero."""
        init = initializers.default_for(self.activation.name) if self.init is None else self.init
        self.weight = np.asarray(init((self.fan_in, self.fan_out), rng))
        if self.bias is not None:
            self.bias[...] = 0

    def forward(self, x: Array, training: bool) -> Array:
        """Return ``activation(x @ weight + bias)``."""
        a = np.empty((len(x), self.fan_out), self.weight.dtype)
        z = np.empty_like(a) if self.activation.uses_z else None
        self._compute(x, z, a)
        self._kept = x, z, a
        return a

    def infer(self, x: Array) -> Array:
        """Return ``activation(x @ weight + bias)``, keeping nothing."""
        a = np.empty((len(x), self.fan_out), self.weight.dtype)
        self._compute(x, None, a)
        return a

    def _compute(self, x: Array, z: Array | None, a: Array) -> None:
        function = self.activation
        if function.by_kernel:
            kernels.active().dense_forward(x, self.weight, self.bias, z, a, function.name, function.alpha)
            return
        z = np.empty_like(a) if z is None else z
        kernels.active().dense_forward(x, self.weight, self.bias, None, z, "identity", 0.0)
        a[...] = _checked(function(z), function, z)

    def backward(self, grad_outputs: Array) -> Array:
        """Fill grad_weight and grad_bias and return dL/dx."""
        grad_x = self._gradients(grad_outputs, input_gradient=True)
        assert grad_x is not None
        return grad_x

    def _backward(self, grad_outputs: Array, input_gradient: bool) -> Array | None:
        return self._gradients(grad_outputs, input_gradient)

    def _gradients(self, grad_outputs: Array, input_gradient: bool) -> Array | None:
        x, z, a = self._take_kept()
        delta = _delta(grad_outputs, z, a, self.activation)
        grad_x = np.empty_like(x) if input_gradient else None
        if self.trainable:
            kernels.active().dense_backward(x, self.weight, delta, self.grad_weight, self.grad_bias, grad_x)
        else:
            kernels.active().dense_backward(x, self.weight, delta, None, None, grad_x)
            self.grad_weight[...] = 0
            if self.grad_bias is not None:
                self.grad_bias[...] = 0
        return grad_x

    def config(self) -> dict[str, Any]:
        """Return the keywords that make this layer again; an `init` that is the user's own function is not among them."""
        init = self.init.config() if type(self.init) is initializers.Initializer else None
        return {
            "fan_in": self.fan_in,
            "fan_out": self.fan_out,
            "activation": self.activation.config(),
            "init": init,
            "bias": self.use_bias,
        }

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "bias" and value is not None and "_array_shapes" in self.__dict__ and not self.use_bias:
            raise ValueError(f"{self!r} has no bias to assign to; make it without bias=False")
        super().__setattr__(name, value)


class Activation(Layer):
    """An activation function as a layer of its own, for any width: ``a = activation(z)``.

    Parameters
    ----------
    activation : str or ActivationFunction
        A name in `activations.NAMES` or an `ActivationFunction`.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> bp.Activation("relu").infer(np.array([[-1.0, 2.0]]))
    array([[0., 2.]])
    """

    activation: Converted[ActivationFunction, ActivationSpec] = option(made_by(activations.get))

    def __init__(self, activation: ActivationSpec) -> None:
        self.activation = activation

    def forward(self, x: Array, training: bool) -> Array:
        """Return ``activation(x)``."""
        a = self._compute(x)
        self._kept = x if self.activation.uses_z else None, a
        return a

    def infer(self, x: Array) -> Array:
        """Return ``activation(x)``, keeping nothing."""
        return self._compute(x)

    def _compute(self, x: Array) -> Array:
        function = self.activation
        a = np.empty_like(x)
        if not function.by_kernel:
            a[...] = _checked(function(x), function, x)  # the function may return x itself
            return a
        kernels.active().activation_forward(x, a, function.name, function.alpha)
        return a

    def backward(self, grad_outputs: Array) -> Array:
        """Return ``grad_outputs * activation'(x)``."""
        z, a = self._take_kept()
        return _delta(grad_outputs, z, a, self.activation)

    def config(self) -> dict[str, Any]:
        """Return the keywords that make this layer again."""
        return {"activation": self.activation.config()}


def _delta(grad_a: Array, z: Array | None, a: Array, activation: ActivationFunction) -> Array:
    """``delta = grad_a * activation'(z)``, which is dL/dz."""
    if not activation.by_kernel:
        assert z is not None
        return _checked(activation.backward(grad_a, z), activation, z)
    if activation.name == "identity":
        return grad_a
    delta = np.empty_like(a)
    kernels.active().activation_backward(grad_a, z, a, delta, activation.name, activation.alpha)
    return delta


def _checked(values: Array, activation: ActivationFunction, z: Array) -> Array:
    """What a custom activation function returned, if it has the shape of z, in its dtype."""
    return as_parameter(values, f"what {type(activation).__name__} returned", z.shape, z.dtype)
