"""Layers that normalize: over the rows of a batch, or over the columns of each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from .._arrays import check_count, check_in, check_positive
from .._settings import fixed, option
from .._types import Array
from ._base import Layer, Shapes

if TYPE_CHECKING:
    from numpy.random import Generator


class _Normalization(Layer):
    """A column-wise scale and shift after the normalization, started at 1 and 0."""

    width: int = fixed(check_count)
    eps: float = option(check_positive)
    weight: Array
    grad_weight: Array
    bias: Array
    grad_bias: Array

    def parameter_shapes(self) -> Shapes:
        """Name and shape of its parameters."""
        return {"weight": (self.width,), "bias": (self.width,)}

    def initialize(self, rng: Generator) -> None:
        """Start as the plain normalization."""
        self.weight[...] = 1
        self.bias[...] = 0

    def _gradients(self) -> tuple[Array, Array]:
        """Where backward writes grad_weight and grad_bias; a frozen layer's stay zero."""
        if self.trainable:
            return self.grad_weight, self.grad_bias
        self.grad_weight[...] = 0
        self.grad_bias[...] = 0
        return np.empty_like(self.grad_weight), np.empty_like(self.grad_bias)


class BatchNorm(_Normalization):
    """Normalize each column over the batch, then scale and shift: ``y = weight (x - mean) / sqrt(var + eps) + bias``.

    In training, mean and variance are those of the batch (at least two rows), and running statistics follow them; otherwise the
    running statistics are used.

    Parameters
    ----------
    width : int
        The number of columns.
    momentum : float
        How far running statistics move toward the batch's, in [0, 1].
    eps : float
        Added to the variance.

    Attributes
    ----------
    weight, bias, grad_weight, grad_bias : array (width,)
    running_mean, running_var : array (width,)
        `running_var` follows the unbiased variance.

    Raises
    ------
    ValueError
        For a batch of one row in training, whose variance is not defined.

    Notes
    -----
    Freezing it (``trainable = False``) keeps `weight` and `bias`; running statistics still follow the data in training.

    Ioffe and Szegedy, "Batch normalization", ICML 2015, arXiv:1502.03167; defaults, and what is unbiased where, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> net = bp.Network([bp.BatchNorm(1, momentum=0.5)], seed=0)
    >>> net.forward(np.array([[1.0], [3.0]]), training=True).round(3).tolist()
    [[-1.0], [1.0]]
    >>> net.layers[0].running_mean.tolist()
    [1.0]
    """

    momentum: float = option(check_in, 0, 1)
    running_mean: Array
    running_var: Array

    def __init__(self, width: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        self.width = width
        self.fan_in = self.fan_out = self.width
        self.momentum = momentum
        self.eps = eps

    def buffer_shapes(self) -> Shapes:
        """Name and shape of its running statistics."""
        return {"running_mean": (self.width,), "running_var": (self.width,)}

    def initialize(self, rng: Generator) -> None:
        """Start as the identity."""
        super().initialize(rng)
        self.running_mean[...] = 0
        self.running_var[...] = 1

    def forward(self, x: Array, training: bool) -> Array:
        """Return the normalized x; in training, running statistics move."""
        if not training:
            y = self._normalized(x)
            self._kept = False, x, None
            return y
        if len(x) == 1:
            raise ValueError(f"{self!r} needs at least 2 rows in training, got 1 (drop_last=True leaves a last small batch out)")
        x_hat, y, inv_std = np.empty_like(x), np.empty_like(x), np.empty(self.width, self.weight.dtype)
        if len(x):
            kernels.active().batch_norm_forward(
                x, self.weight, self.bias, self.running_mean, self.running_var, x_hat, inv_std, y, self.momentum, self.eps
            )
        self._kept = True, x_hat, inv_std
        return y

    def infer(self, x: Array) -> Array:
        """Return x normalized by the running statistics, keeping nothing."""
        return self._normalized(x)

    def _normalized(self, x: Array) -> Array:
        y = np.empty_like(x)
        kernels.active().batch_norm_inference(x, self.weight, self.bias, self.running_mean, self.running_var, y, self.eps)
        return y

    def backward(self, grad_outputs: Array) -> Array:
        """Fill grad_weight and grad_bias and return dL/dx, through the batch's statistics if the forward was in training."""
        training, x, inv_std = self._take_kept()
        grad_weight, grad_bias = self._gradients()
        grad_x = np.empty_like(grad_outputs)
        if not training:
            kernels.active().batch_norm_inference_backward(
                grad_outputs, x, self.weight, self.running_mean, self.running_var, grad_weight, grad_bias, grad_x, self.eps
            )
        elif len(x):
            kernels.active().batch_norm_backward(grad_outputs, x, self.weight, inv_std, grad_weight, grad_bias, grad_x)
        else:
            grad_weight[...] = grad_bias[...] = 0
        return grad_x


class LayerNorm(_Normalization):
    """Normalize each row over its columns, then scale and shift: ``y = weight (x - mean) / sqrt(var + eps) + bias``.

    The same in training and outside it, for any number of rows.

    Parameters
    ----------
    width : int
        The number of columns.
    eps : float
        Added to the (biased) variance.

    Attributes
    ----------
    weight, bias, grad_weight, grad_bias : array (width,)

    Notes
    -----
    Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450; eps as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> net = bp.Network([bp.LayerNorm(2)], seed=0)
    >>> net.predict(np.array([[1.0, 3.0], [10.0, 30.0]])).round(3).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    def __init__(self, width: int, *, eps: float = 1e-5) -> None:
        self.width = width
        self.fan_in = self.fan_out = self.width
        self.eps = eps

    def forward(self, x: Array, training: bool) -> Array:
        """Return the normalized x."""
        y, x_hat, inv_std = self._compute(x)
        self._kept = x_hat, inv_std
        return y

    def infer(self, x: Array) -> Array:
        """Return the normalized x, keeping nothing."""
        return self._compute(x)[0]

    def _compute(self, x: Array) -> tuple[Array, Array, Array]:
        y, x_hat, inv_std = np.empty_like(x), np.empty_like(x), np.empty(len(x), self.weight.dtype)
        kernels.active().layer_norm_forward(x, self.weight, self.bias, x_hat, inv_std, y, self.eps)
        return y, x_hat, inv_std

    def backward(self, grad_outputs: Array) -> Array:
        """Fill grad_weight and grad_bias and return dL/dx."""
        x_hat, inv_std = self._take_kept()
        grad_weight, grad_bias = self._gradients()
        grad_x = np.empty_like(grad_outputs)
        kernels.active().layer_norm_backward(grad_outputs, x_hat, self.weight, inv_std, grad_weight, grad_bias, grad_x)
        return grad_x
