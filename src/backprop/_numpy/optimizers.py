"""The norm and the clipping of gradients, and the updates of the optimizers, over the flat buffers.

In each update, per span and element, before anything else:

    lr = lr * span.lr
    decoupled:  param = param * (1 - lr * span.weight_decay);  g = grad + span.l1 sign(param)
    otherwise:  g = grad + span.weight_decay param + span.l1 sign(param)

Factors such as 1 - beta are formed in float64 and then cast. bias1 = 1 - beta1^t, bias2 = 1 - beta2^t at step t = 1, 2, ...
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._types import Array, Spans
from .checks import checked


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
    """The sum of ``grad^2`` over the spans."""
    return float(sum(np.sum(grad[part].astype(np.float64) ** 2) for part, *_ in _parts(spans)))


@checked("spans (r) span -> grad (s)")
def scale(spans: Spans, grad: Array, factor: float) -> None:
    """``grad *= factor`` within the spans."""
    for part, *_ in _parts(spans):
        grad[part] *= factor


@checked("spans (r) span -> grad (s)")
def clip_value(spans: Spans, grad: Array, limit: float) -> None:
    """``grad = min(max(grad, -limit), limit)`` within the spans."""
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
    """``velocity = first ? g : momentum velocity + (1 - dampening) g``; ``param -= lr velocity``.

    With nesterov, ``param -= lr (g + momentum velocity)``. velocity is None where momentum is 0: then ``param -= lr g``.
    """
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
    """``v = alpha v + (1 - alpha) g^2``; ``velocity = momentum velocity + g / (sqrt(v) + eps)``; ``param -= lr velocity``.

    velocity is None where momentum is 0: then ``param -= lr g / (sqrt(v) + eps)``. grad_mean is None unless centered: then
    ``grad_mean += (1 - alpha) (g - grad_mean)``, and ``max(v - grad_mean^2, 0)`` takes the place of v under the root.
    """
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
    """``v += g^2``; ``param -= lr g / (sqrt(v) + eps)``."""
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        v[part] += g * g
        param[part] -= rate * g / (np.sqrt(v[part]) + eps)


@checked("grad (s), spans (r) span -> param (s), v (s), u (s)")
def adadelta(
    grad: Array, spans: Spans, param: Array, v: Array, u: Array, lr: float, rho: float, eps: float, decoupled: bool
) -> None:
    """``v = rho v + (1 - rho) g^2``; ``d = g sqrt(u + eps) / sqrt(v + eps)``; ``u = rho u + (1 - rho) d^2``; ``param -= lr d``."""
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
    """``m += (1 - beta1) (g - m)``; ``v = beta2 v + (1 - beta2) g^2``; ``param -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps)``.

    v_max is the running maximum of v, which takes the place of v under the root (AMSGrad), or None.
    """
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
    """``m += (1 - beta1) (g - m)``; ``u = max(beta2 u, |g| + eps)``; ``param -= lr / bias1 * m / u``."""
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
    """``param -= lr (grad_factor g + m_factor m) / (sqrt(v / bias2) + eps)``, with m and v as in `adam`."""
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
    """``param -= lr m / bias1 * rectification sqrt(bias2) / (sqrt(v) + eps)``, with m and v as in `adam`.

    Where ``rectification`` is 0 (the variance is not yet tractable): ``param -= lr m / bias1``.
    """
    for part, rate, g in _updates(grad, spans, param, lr, decoupled):
        _update_moments(g, m[part], v[part], beta1, beta2)
        adapted = rectification * bias2**0.5 / (np.sqrt(v[part]) + eps) if rectification else 1
        param[part] -= rate * m[part] / bias1 * adapted


@checked("grad (s), spans (r) span -> param (s), m (s)")
def lion(grad: Array, spans: Spans, param: Array, m: Array, lr: float, beta1: float, beta2: float, decoupled: bool) -> None:
    """``param -= lr sign(beta1 m + (1 - beta1) g)``; ``m = beta2 m + (1 - beta2) g``."""
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
    """``step_size *= eta_plus`` where g kept its sign, ``eta_minus`` where it turned; ``param -= step_size sign(g)``.

    step_size is clamped to [step_min, step_max]; where the sign turned, ``g = 0``; then ``previous = g``. lr serves
    decoupled decay only.
    """
    for part, _, g in _updates(grad, spans, param, lr, decoupled):
        turn = np.sign(g) * np.sign(previous[part])
        step_size[part] *= np.where(turn > 0, eta_plus, np.where(turn < 0, eta_minus, 1))
        np.clip(step_size[part], step_min, step_max, out=step_size[part])
        previous[part] = np.where(turn < 0, 0, g)
        param[part] -= step_size[part] * np.sign(previous[part])
