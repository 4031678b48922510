"""Every kernel in plain NumPy: the twin that the compiled kernels are compared with, and that serves where they are not installed.

The functions stand in the order of the contract in `kernels`, and each computes its formula as it is written there. What the arrays
must be is said above each function and checked before it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._reference_activations import find, sigmoid, softplus
from ._reference_checks import checked
from ._types import Array, Labels, Spans

Words = npt.NDArray[np.uint32]
GOLDEN = np.uint32(0x9E3779B9)  # 2^32 over the golden ratio


@checked("x (n, p), weight (p, k), bias? (k) -> z? (n, k), a (n, k)")
def dense_forward(x: Array, weight: Array, bias: Array | None, z: Array | None, a: Array, activation: str, alpha: float) -> None:
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
    if grad_weight is not None:
        np.matmul(x.T, delta, out=grad_weight)
    if grad_bias is not None:
        np.sum(delta, axis=0, out=grad_bias)
    if grad_x is not None:
        np.matmul(delta, weight.T, out=grad_x)


@checked("z (n, k) -> a (n, k)", may_be_same=("z", "a"))
def activation_forward(z: Array, a: Array, activation: str, alpha: float) -> None:
    a[...] = find(activation).forward(z, alpha)


@checked("grad_a (n, k), z? (n, k), a (n, k) -> delta (n, k)", may_be_same=("grad_a", "delta"))
def activation_backward(grad_a: Array, z: Array | None, a: Array, delta: Array, activation: str, alpha: float) -> None:
    f = find(activation)
    if z is None:
        if f.uses_z:
            raise TypeError("z must be a NumPy array, got NoneType")
        z = a
    delta[...] = f.backward(grad_a, z, a, alpha)


def _reduce(row_losses: Array, slopes: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    """``sum_i w_i l_i / sum_i |w_i|`` and its gradient, from each row's loss (n,) and its slopes ``dl_i / doutput_ij`` (n, k)."""
    weight = np.ones(len(row_losses)) if sample_weight is None else sample_weight.astype(np.float64)
    share = weight / (np.abs(weight).sum() or 1.0)
    if grad_outputs is not None:
        grad_outputs[...] = _times(share[:, np.newaxis], slopes)
    return float(np.sum(_times(share, row_losses)))


def _times(weight: Array, x: Array) -> Array:
    """``weight * x``, but 0 where weight is 0, whatever x: a row without weight, or a class without probability, is absent."""
    return np.where(weight == 0, 0, weight * x)


def _wide(x: Array) -> Array:
    """``x`` in float64, where squares of float32 numbers do not overflow."""
    return x.astype(np.float64)


def _row_sums(terms: Array) -> Array:
    sums: Array = terms.sum(axis=1, dtype=np.float64)
    return sums


def _reduce_elements(terms: Array, slopes: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    """`_reduce` for a row loss that is the mean of its k terms."""
    k = terms.shape[1]
    return _reduce(_row_sums(terms) / k, slopes / k, sample_weight, grad_outputs)


class _Softmax(NamedTuple):
    """``p = softmax(logits)`` through ``e = e^(logits - max)`` and ``excess = sum(e) - 1``, which keeps the digits of p near 1."""

    e: Array
    excess: Array
    log_p: Array

    @classmethod
    def of(cls, logits: Array) -> _Softmax:
        top = logits.max(axis=1, keepdims=True, initial=-np.inf)
        e = np.exp(logits - top)
        rest = np.where(e < 1, e, 0)
        excess = (np.sum(e - rest, axis=1, keepdims=True) - 1) + rest.sum(axis=1, keepdims=True)
        return cls(e, excess, (_wide(logits) - top) - np.log1p(excess))

    def slopes(self, t: Array) -> Array:
        """``sum(t) p - t``, without cancellation where p is near 1."""
        mass = t.sum(axis=1, keepdims=True)
        rate = mass / (1 + self.excess)
        certain = (self.e == 1) & (self.excess < 0.5)
        slopes: Array = np.where(certain, (mass - t) - rate * self.excess, rate * self.e - t)
        return slopes


@checked("logits (n, k), labels (n) int64, sample_weight? (n) -> grad_logits? (n, k)")
def cross_entropy(
    logits: Array, labels: Labels, sample_weight: Array | None, grad_logits: Array | None, label_smoothing: float
) -> float:
    onehot = labels[:, np.newaxis] == np.arange(logits.shape[1])
    return _cross_entropy(logits, onehot.astype(logits.dtype), sample_weight, grad_logits, label_smoothing)


@checked("logits (n, k), targets (n, k), sample_weight? (n) -> grad_logits? (n, k)")
def cross_entropy_soft(
    logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None, label_smoothing: float
) -> float:
    return _cross_entropy(logits, targets, sample_weight, grad_logits, label_smoothing)


def _cross_entropy(
    logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None, label_smoothing: float
) -> float:
    t = (1 - label_smoothing) * targets + label_smoothing / targets.shape[1]
    softmax = _Softmax.of(logits)
    return _reduce(_row_sums(_times(t, -softmax.log_p)), softmax.slopes(t), sample_weight, grad_logits)


@checked("logits (n, k), targets (n, k), sample_weight? (n) -> grad_logits? (n, k)")
def kl_divergence(logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None) -> float:
    softmax = _Softmax.of(logits)
    terms = _times(targets, np.log(targets) - softmax.log_p)
    return _reduce(_row_sums(terms), softmax.slopes(targets), sample_weight, grad_logits)


@checked("logits (n, k), targets (n, k), sample_weight? (n), pos_weight? (k) -> grad_logits? (n, k)")
def binary_cross_entropy(
    logits: Array, targets: Array, sample_weight: Array | None, pos_weight: Array | None, grad_logits: Array | None
) -> float:
    positive = targets if pos_weight is None else pos_weight * targets
    negative = 1 - targets
    terms = _times(positive, softplus(-logits)) + _times(negative, softplus(logits))  # -log sigmoid(z) = softplus(-z)
    slopes = negative * sigmoid(logits) - positive * sigmoid(-logits)
    return _reduce_elements(terms, slopes, sample_weight, grad_logits)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def mse(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    d = _wide(outputs - targets)
    return _reduce_elements(d * d, 2 * d, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def half_mse(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    d = _wide(outputs - targets)
    return _reduce(_row_sums(d * d / 2), d, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def mae(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    d = outputs - targets
    return _reduce_elements(np.abs(d), np.sign(d), sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def huber(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None, threshold: float) -> float:
    d = _wide(outputs - targets)
    size = np.abs(d)
    terms = np.where(size <= threshold, d * d / 2, threshold * (size - threshold / 2))
    return _reduce_elements(terms, np.clip(d, -threshold, threshold), sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def log_cosh(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    d = outputs - targets
    size, slopes = np.abs(d), np.tanh(d)
    small = np.minimum(size, 1)
    terms = np.where(size < 1, np.log1p(2 * np.sinh(small / 2) ** 2), size + np.log1p(np.exp(-2 * size)) - np.log(2.0))
    return _reduce_elements(terms, slopes, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def poisson(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    rate = np.exp(outputs)
    return _reduce_elements(rate - _times(targets, outputs), rate - targets, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n), q (k) -> grad_outputs? (n, k)")
def quantile(outputs: Array, targets: Array, sample_weight: Array | None, q: Array, grad_outputs: Array | None) -> float:
    short = targets - outputs
    slopes = np.where(short > 0, -q, np.where(short < 0, 1 - q, short))  # `short` in the last place: 0, or NaN
    return _reduce_elements(np.maximum(q * short, (q - 1) * short), slopes, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def hinge(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    sign = 2 * targets - 1
    margin = np.maximum(1 - sign * outputs, 0)
    return _reduce_elements(margin, -sign * np.sign(margin), sample_weight, grad_outputs)


def _parts(spans: Spans) -> Iterator[tuple[slice, float, float, float]]:
    """Each span as the slice of the buffers that it covers, its lr factor, weight_decay and l1."""
    for offset, length, lr, weight_decay, l1 in spans.tolist():
        yield slice(offset, offset + length), lr, weight_decay, l1


def _updates(grad: Array, spans: Spans, param: Array, lr: float, decoupled: bool) -> Iterator[tuple[slice, float, Array]]:
    """Decay the parameters of each span where decay is decoupled; yield its slice, its lr and its g."""
    for part, factor, weight_decay, l1 in _parts(spans):
        g, p = grad[part], param[part]
        if weight_decay and decoupled:
            p *= 1 - lr * factor * weight_decay
        elif weight_decay:
            g = g + weight_decay * p
        if l1:
            g = g + l1 * np.sign(p)
        yield part, lr * factor, g


@checked("grad (s), spans (r) span ->")
def squared_norm(grad: Array, spans: Spans) -> float:
    return float(sum(np.sum(grad[part].astype(np.float64) ** 2) for part, *_ in _parts(spans)))


@checked("spans (r) span -> grad (s)")
def scale(spans: Spans, grad: Array, factor: float) -> None:
    for part, *_ in _parts(spans):
        grad[part] *= factor


@checked("spans (r) span -> grad (s)")
def clip_value(spans: Spans, grad: Array, limit: float) -> None:
    for part, *_ in _parts(spans):
        np.clip(grad[part], -limit, limit, out=grad[part])


@checked("grad (s), spans (r) span -> param (s), velocity? (s)")
def sgd(
    grad: Array,
    spans: Spans,
    param: Array,
    velocity: Array | None,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    first: bool,
    decoupled: bool,
) -> None:
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        if velocity is None:
            param[part] -= rate * g
            continue
        velocity[part] = g if first else momentum * velocity[part] + (1 - dampening) * g
        param[part] -= rate * (g + momentum * velocity[part] if nesterov else velocity[part])


@checked("grad (s), spans (r) span -> param (s), v (s), grad_mean? (s), velocity? (s)")
def rmsprop(
    grad: Array,
    spans: Spans,
    param: Array,
    v: Array,
    grad_mean: Array | None,
    velocity: Array | None,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    decoupled: bool,
) -> None:
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        v[part] = alpha * v[part] + (1 - alpha) * g * g
        variance: Array = v[part]
        if grad_mean is not None:
            grad_mean[part] += (1 - alpha) * (g - grad_mean[part])
            variance = np.maximum(variance - grad_mean[part] * grad_mean[part], 0)
        u: Array = g / (np.sqrt(variance) + eps)
        if velocity is not None:
            velocity[part] = momentum * velocity[part] + u
            u = velocity[part]
        param[part] -= rate * u


@checked("grad (s), spans (r) span -> param (s), v (s)")
def adagrad(grad: Array, spans: Spans, param: Array, v: Array, lr: float, eps: float, decoupled: bool) -> None:
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        v[part] += g * g
        param[part] -= rate * g / (np.sqrt(v[part]) + eps)


@checked("grad (s), spans (r) span -> param (s), v (s), u (s)")
def adadelta(
    grad: Array, spans: Spans, param: Array, v: Array, u: Array, lr: float, rho: float, eps: float, decoupled: bool
) -> None:
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        v[part] = rho * v[part] + (1 - rho) * g * g
        d = g * np.sqrt(u[part] + eps) / np.sqrt(v[part] + eps)
        u[part] = rho * u[part] + (1 - rho) * d * d
        param[part] -= rate * d


def _update_moments(g: Array, m: Array, v: Array, beta1: float, beta2: float) -> None:
    """``m += (1 - beta1) (g - m)``; ``v = beta2 v + (1 - beta2) g^2``, in place."""
    m += (1 - beta1) * (g - m)
    v *= beta2
    v += (1 - beta2) * g * g


@checked("grad (s), spans (r) span -> param (s), m (s), v (s), v_max? (s)")
def adam(
    grad: Array,
    spans: Spans,
    param: Array,
    m: Array,
    v: Array,
    v_max: Array | None,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    bias1: float,
    bias2: float,
    decoupled: bool,
) -> None:
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        _update_moments(g, m[part], v[part], beta1, beta2)
        second = v[part]
        if v_max is not None:
            second = np.maximum(v_max[part], second, out=v_max[part])
        param[part] -= rate / bias1 * m[part] / (np.sqrt(second) / bias2**0.5 + eps)


@checked("grad (s), spans (r) span -> param (s), m (s), u (s)")
def adamax(
    grad: Array,
    spans: Spans,
    param: Array,
    m: Array,
    u: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    bias1: float,
    decoupled: bool,
) -> None:
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        m[part] += (1 - beta1) * (g - m[part])
        u[part] = np.maximum(beta2 * u[part], np.abs(g) + eps)
        param[part] -= rate / bias1 * m[part] / u[part]


@checked("grad (s), spans (r) span -> param (s), m (s), v (s)")
def nadam(
    grad: Array,
    spans: Spans,
    param: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    bias2: float,
    grad_factor: float,
    m_factor: float,
    decoupled: bool,
) -> None:
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        _update_moments(g, m[part], v[part], beta1, beta2)
        param[part] -= rate * (grad_factor * g + m_factor * m[part]) / (np.sqrt(v[part] / bias2) + eps)


@checked("grad (s), spans (r) span -> param (s), m (s), v (s)")
def radam(
    grad: Array,
    spans: Spans,
    param: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    bias1: float,
    bias2: float,
    rectification: float,
    decoupled: bool,
) -> None:
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        _update_moments(g, m[part], v[part], beta1, beta2)
        adapted = rectification * bias2**0.5 / (np.sqrt(v[part]) + eps) if rectification else 1
        param[part] -= rate * m[part] / bias1 * adapted


@checked("grad (s), spans (r) span -> param (s), m (s)")
def lion(grad: Array, spans: Spans, param: Array, m: Array, lr: float, beta1: float, beta2: float, decoupled: bool) -> None:
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        param[part] -= rate * np.sign(beta1 * m[part] + (1 - beta1) * g)
        m[part] = beta2 * m[part] + (1 - beta2) * g


@checked("grad (s), spans (r) span -> param (s), previous (s), step_size (s)")
def rprop(
    grad: Array,
    spans: Spans,
    param: Array,
    previous: Array,
    step_size: Array,
    lr: float,
    eta_minus: float,
    eta_plus: float,
    step_min: float,
    step_max: float,
    decoupled: bool,
) -> None:
    for part, _, g in _updates(grad, spans, param, lr, decoupled):
        turn = np.sign(g) * np.sign(previous[part])
        step_size[part] *= np.where(turn > 0, eta_plus, np.where(turn < 0, eta_minus, 1))
        np.clip(step_size[part], step_min, step_max, out=step_size[part])
        previous[part] = np.where(turn < 0, 0, g)
        param[part] -= step_size[part] * np.sign(previous[part])


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
    n = max(len(grad_y), 1)
    np.sum(grad_y * x_hat, axis=0, out=grad_weight)
    np.sum(grad_y, axis=0, out=grad_bias)
    grad_x[...] = weight * inv_std * (grad_y - grad_bias / n - x_hat * (grad_weight / n))


@checked("x (n, k), weight (k), bias (k), running_mean (k), running_var (k) -> y (n, k)")
def batch_norm_inference(
    x: Array, weight: Array, bias: Array, running_mean: Array, running_var: Array, y: Array, eps: float
) -> None:
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
    inv_std = 1 / np.sqrt(running_var + eps)
    np.sum(grad_y * (x - running_mean) * inv_std, axis=0, out=grad_weight)
    np.sum(grad_y, axis=0, out=grad_bias)
    grad_x[...] = grad_y * weight * inv_std


@checked("x (n, k), weight (k), bias (k) -> x_hat (n, k), inv_std (n), y (n, k)")
def layer_norm_forward(x: Array, weight: Array, bias: Array, x_hat: Array, inv_std: Array, y: Array, eps: float) -> None:
    _normalize(x, 1, eps, x_hat, inv_std)
    y[...] = weight * x_hat + bias


@checked("grad_y (n, k), x_hat (n, k), weight (k), inv_std (n) -> grad_weight (k), grad_bias (k), grad_x (n, k)")
def layer_norm_backward(
    grad_y: Array, x_hat: Array, weight: Array, inv_std: Array, grad_weight: Array, grad_bias: Array, grad_x: Array
) -> None:
    np.sum(grad_y * x_hat, axis=0, out=grad_weight)
    np.sum(grad_y, axis=0, out=grad_bias)
    g = grad_y * weight
    mean, projection = (terms.mean(axis=1, keepdims=True) for terms in (g, g * x_hat))
    grad_x[...] = inv_std[:, np.newaxis] * (g - mean - x_hat * projection)


def _mix(h: Words) -> Words:
    """Spread the bits of 32-bit words: the finalizer of C. Wellons' "lowbias32", modulo 2^32."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    return h ^ (h >> np.uint32(16))


@checked("x (n, k) -> y (n, k)", may_be_same=("x", "y"))
def dropout(x: Array, y: Array, rate: float, seed: int, step: int, layer: int) -> None:
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1), got {rate}")
    rows, columns = (np.arange(size, dtype=np.uint32) for size in x.shape)
    key = np.zeros(1, np.uint32)
    for word in (seed & 0xFFFFFFFF, seed >> 32, step & 0xFFFFFFFF, step >> 32, layer):
        key = _mix(key + np.uint32(word) + GOLDEN)
    hashes = _mix(_mix(key + rows + GOLDEN)[:, np.newaxis] + GOLDEN * columns)
    y[...] = np.where(hashes >= round(rate * 2**32), x / (1 - rate), 0)
