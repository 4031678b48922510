"""What all conversions share: layers that come one by one, with their place in the original, become a network."""

from __future__ import annotations

import numpy as np

from .. import activations, losses
from .._types import AnyArray
from ..activations import ActivationFunction
from ..layers import Activation, BatchNorm, Dense, Dropout, Layer, LayerNorm
from ..losses import Loss, LossFunction
from ..network import Network

LossSpec = str | Loss | LossFunction


class Assembly:
    """Collects layers; every refusal names the place in the original, such as ``2.weight``."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.width: int | None = None
        self.giver = ""  # what gave the width
        self.double = False  # whether any array is in float64

    def dense(self, place: str, weight: AnyArray, bias: AnyArray | None, trainable: bool = True) -> None:
        """Add ``x @ weight + bias``; weight is (fan_in, fan_out)."""
        weight = self._numbers(f"{place}.weight", weight)
        if weight.ndim != 2:
            raise ValueError(f"{place}.weight must be a matrix, got shape {weight.shape}")
        fan_in, fan_out = weight.shape
        self._take(place, fan_in)
        layer = Dense(fan_in, fan_out, bias=bias is not None)
        layer.weight = weight
        if bias is not None:
            layer.bias = self._vector(f"{place}.bias", bias, fan_out)
        self._add(layer, trainable)
        self.width, self.giver = fan_out, place

    def batch_norm(
        self, place: str, arrays: dict[str, AnyArray | None], momentum: float, eps: float, trainable: bool = True
    ) -> None:
        """Add a batch normalization; weight and bias may be None, which is 1 and 0."""
        width = self._norm_width(place, arrays["running_mean"])
        layer = BatchNorm(width, momentum=momentum, eps=eps)
        self._fill(layer, place, arrays, width)
        self._add(layer, trainable)

    def layer_norm(self, place: str, width: int, arrays: dict[str, AnyArray | None], eps: float, trainable: bool = True) -> None:
        """Add a layer normalization; weight and bias may be None, which is 1 and 0."""
        self._take(place, width)
        layer = LayerNorm(width, eps=eps)
        self._fill(layer, place, arrays, width)
        self._add(layer, trainable)

    def dropout(self, place: str, rate: float) -> None:
        """Add dropout."""
        with _errors_at(place):
            self.layers.append(Dropout(rate))

    def activation(self, place: str, name: str, alpha: float | None = None) -> None:
        """Add an activation: to the dense layer before it, if there is one that has none."""
        with _errors_at(place):
            function = ActivationFunction(name, alpha)
        self.function(function)

    def function(self, function: ActivationFunction) -> None:
        """Add an activation function, as `activation` does."""
        if function == activations.identity:
            return
        last = self.layers[-1] if self.layers else None
        if isinstance(last, Dense) and last.activation.name == "identity":
            last.activation = function
        else:
            self.layers.append(Activation(function))

    def network(self, loss: LossSpec | None) -> Network:
        """Return the network; where the loss applies the last activation itself, this is left to the loss."""
        if self.width is None:
            raise ValueError("the model has no layer with weights")
        made = None if loss is None else losses.get(loss)
        if made is not None:
            self._leave_to(made)
        net = Network(self.layers, dtype="float64" if self.double else "float32", seed=0)
        if made is not None:
            made.check_activation(net.output_activation)
        net.loss = made
        return net

    def last_activation(self) -> str:
        """The name of the activation that the model ends in; "identity" where there is none."""
        last = self.layers[-1] if self.layers else None
        return last.activation.name if isinstance(last, (Dense, Activation)) else "identity"

    def _leave_to(self, loss: Loss) -> None:
        last = self.layers[-1]
        if loss.link == "identity" or self.last_activation() != loss.link:
            return
        if isinstance(last, Dense):
            last.activation = "identity"
        else:
            self.layers.pop()

    def _take(self, place: str, width: int) -> None:
        if self.width is not None and self.width != width:
            raise ValueError(f"{place} takes {width} inputs but {self.giver} gives {self.width}")
        if self.width is None:
            self.width, self.giver = width, place

    def _norm_width(self, place: str, mean: AnyArray | None) -> int:
        if mean is None:
            raise ValueError(f"{place} has no running statistics, which a prediction needs")
        self._take(place, len(mean))
        return len(mean)

    def _fill(self, layer: BatchNorm | LayerNorm, place: str, arrays: dict[str, AnyArray | None], width: int) -> None:
        defaults = {"weight": 1.0, "bias": 0.0}
        for name, array in arrays.items():
            values = np.full(width, defaults[name]) if array is None else self._vector(f"{place}.{name}", array, width)
            setattr(layer, name, values)

    def _vector(self, name: str, array: AnyArray, width: int) -> AnyArray:
        array = self._numbers(name, array)
        if array.shape != (width,):
            raise ValueError(f"{name} must have shape ({width},), got {array.shape}")
        return array

    def _numbers(self, name: str, array: AnyArray) -> AnyArray:
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{name} must hold real numbers, has dtype {array.dtype}")
        self.double |= array.dtype == np.float64
        return array

    def _add(self, layer: Layer, trainable: bool) -> None:
        layer.trainable = trainable
        self.layers.append(layer)


class _errors_at:  # noqa: N801  a function in spirit: `with _errors_at(place):`
    """Let the errors of a layer's options begin with its place in the original."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (TypeError, ValueError)):
            raise type(error)(f"{self.place}: {error}") from error
