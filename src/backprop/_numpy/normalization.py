"""Batch and layer normalization, forward and backward."""

from __future__ import annotations

import numpy as np

from .._types import Array
from .checks import checked


def _normalize(x: Array, axis: int, eps: float, x_hat: Array, inv_std: Array) -> tuple[Array, Array]:
    """Write ``x_hat`` and ``inv_std``, with the mean and the biased variance along an axis in float64; return these two."""
    mean = x.mean(axis=axis, dtype=np.float64, keepdims=True)
    centered = x - mean
    correction = centered.mean(axis=axis, keepdims=True)  # the rounding of the mean, which shows where it is far from 0
    centered -= correction
    var = np.mean(centered * centered, axis=axis, keepdims=True)
    scale = 1 / np.sqrt(var + eps)
    x_hat[...] = centered * scale
    inv_std[...] = scale.squeeze(axis)
    return (mean + correction).squeeze(axis), var.squeeze(axis)


@checked(
    "x (n, k), weight (k), bias (k) -> running_mean (k), running_var (k), x_hat (n, k), inv_std (k), y (n, k)",
)
def batch_norm_forward(
    x: Array,
    weight: Array,
    bias: Array,
    running_mean: Array,
    running_var: Array,
    x_hat: Array,
    inv_std: Array,
    y: Array,
    momentum: float,
    eps: float,
) -> None:
    """``x_hat = (x - mean) * inv_std``; ``y = weight x_hat + bias``; ``inv_std = 1 / sqrt(var + eps)``.

    mean and var are those of each column, var the biased one; ``running += momentum (batch - running)``, with the unbiased one.
    x has 2 rows or more.
    """
    n = len(x)
    if n < 2:
        raise ValueError(f"x must have at least 2 rows, got {n}")
    mean, var = _normalize(x, 0, eps, x_hat, inv_std)
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (n / (n - 1)) - running_var)
    y[...] = weight * x_hat + bias


@checked(
    "grad_y (n, k), x_hat (n, k), weight (k), inv_std (k) -> grad_weight (k), grad_bias (k), grad_x (n, k)",
)
def batch_norm_backward(
    grad_y: Array, x_hat: Array, weight: Array, inv_std: Array, grad_weight: Array, grad_bias: Array, grad_x: Array
) -> None:
    """``grad_x = weight inv_std (grad_y - mean(grad_y) - x_hat mean(grad_y x_hat))``, means over the rows.

    ``grad_weight = sum(grad_y x_hat)``; ``grad_bias = sum(grad_y)``; x_hat and inv_std are those that `batch_norm_forward` wrote.
    """
    n = max(len(grad_y), 1)
    np.sum(grad_y * x_hat, axis=0, out=grad_weight)
    np.sum(grad_y, axis=0, out=grad_bias)
    grad_x[...] = weight * inv_std * (grad_y - grad_bias / n - x_hat * (grad_weight / n))


@checked("x (n, k), weight (k), bias (k), running_mean (k), running_var (k) -> y (n, k)")
def batch_norm_inference(
    x: Array, weight: Array, bias: Array, running_mean: Array, running_var: Array, y: Array, eps: float
) -> None:
    """``y = weight (x - running_mean) / sqrt(running_var + eps) + bias``."""
    y[...] = weight * (x - running_mean) / np.sqrt(running_var + eps) + bias


@checked(
    "grad_y (n, k), x (n, k), weight (k), running_mean (k), running_var (k) -> grad_weight (k), grad_bias (k), grad_x (n, k)",
)
def batch_norm_inference_backward(
    grad_y: Array,
    x: Array,
    weight: Array,
    running_mean: Array,
    running_var: Array,
    grad_weight: Array,
    grad_bias: Array,
    grad_x: Array,
    eps: float,
) -> None:
    """``grad_x = grad_y weight / sqrt(running_var + eps)``, the gradient of `batch_norm_inference`.

    The running statistics are constants.
    """
    inv_std = 1 / np.sqrt(running_var + eps)
    np.sum(grad_y * (x - running_mean) * inv_std, axis=0, out=grad_weight)
    np.sum(grad_y, axis=0, out=grad_bias)
    grad_x[...] = grad_y * weight * inv_std


@checked("x (n, k), weight (k), bias (k) -> x_hat (n, k), inv_std (n), y (n, k)")
def layer_norm_forward(x: Array, weight: Array, bias: Array, x_hat: Array, inv_std: Array, y: Array, eps: float) -> None:
    """``x_hat = (x - mean) * inv_std``; ``y = weight x_hat + bias``, with the mean and the biased variance of each row."""
    _normalize(x, 1, eps, x_hat, inv_std)
    y[...] = weight * x_hat + bias


@checked("grad_y (n, k), x_hat (n, k), weight (k), inv_std (n) -> grad_weight (k), grad_bias (k), grad_x (n, k)")
def layer_norm_backward(
    grad_y: Array, x_hat: Array, weight: Array, inv_std: Array, grad_weight: Array, grad_bias: Array, grad_x: Array
) -> None:
    """``g = grad_y weight``; ``grad_x = inv_std (g - mean(g) - x_hat mean(g x_hat))``, means over the columns of each row."""
    np.sum(grad_y * x_hat, axis=0, out=grad_weight)
    np.sum(grad_y, axis=0, out=grad_bias)
    g = grad_y * weight
    mean, projection = (terms.mean(axis=1, keepdims=True) for terms in (g, g * x_hat))
    grad_x[...] = inv_std[:, np.newaxis] * (g - mean - x_hat * projection)
