"""A dense layer forward and backward."""

from __future__ import annotations

import numpy as np

from .._types import Array
from .activations import find
from .checks import checked


@checked("x (n, p), weight (p, k), bias? (k) -> z? (n, k), a (n, k)")
def dense_forward(x: Array, weight: Array, bias: Array | None, z: Array | None, a: Array, activation: str, alpha: float) -> None:
    """``z = x @ weight + bias``; ``a = activation(z)``. Without z, only a is written."""
    f = find(activation)
    z = a if z is None else z
    np.matmul(x, weight, out=z)
    if bias is not None:
        z += bias
    a[...] = f.forward(z, alpha)


@checked("x (n, p), weight (p, k), delta (n, k) -> grad_weight? (p, k), grad_bias? (k), grad_x? (n, p)")
def dense_backward(
    x: Array, weight: Array, delta: Array, grad_weight: Array | None, grad_bias: Array | None, grad_x: Array | None
) -> None:
    """``grad_weight = x.T @ delta``; ``grad_bias = delta.sum(axis=0)``; ``grad_x = delta @ weight.T``.

    A gradient that is None is not computed.
    """
    if grad_weight is not None:
        np.matmul(x.T, delta, out=grad_weight)
    if grad_bias is not None:
        np.sum(delta, axis=0, out=grad_bias)
    if grad_x is not None:
        np.matmul(delta, weight.T, out=grad_x)
