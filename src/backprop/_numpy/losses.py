"""Losses of the network's raw outputs, each with its gradient.

A kernel returns the loss and writes its gradient, both under one reduction. With ``l_i`` the loss of row i,

    loss = sum_i w_i l_i / sum_i |w_i|        (w_i = 1 without sample_weight)

so that an integer weight equals repeating the row, and negative weights (policy gradients) keep their sign. Where no row has
weight, the loss is 0 and so is its gradient. In the formulas, ``o`` or ``z`` is an output, ``t`` a target, ``d = o - t``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._types import Array, Labels
from .activations import sigmoid, softplus
from .checks import checked


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
    """``l = -sum_j t_j log softmax(logits)_j`` with ``t = (1 - label_smoothing) onehot(label) + label_smoothing / k``.

    Each label is in [0, k).
    """
    onehot = labels[:, np.newaxis] == np.arange(logits.shape[1])
    return _cross_entropy(logits, onehot.astype(logits.dtype), sample_weight, grad_logits, label_smoothing)


@checked("logits (n, k), targets (n, k), sample_weight? (n) -> grad_logits? (n, k)")
def cross_entropy_soft(
    logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None, label_smoothing: float
) -> float:
    """``l = -sum_j t_j log softmax(logits)_j`` with ``t = (1 - label_smoothing) targets + label_smoothing / k``."""
    return _cross_entropy(logits, targets, sample_weight, grad_logits, label_smoothing)


def _cross_entropy(
    logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None, label_smoothing: float
) -> float:
    t = (1 - label_smoothing) * targets + label_smoothing / targets.shape[1]
    softmax = _Softmax.of(logits)
    return _reduce(_row_sums(_times(t, -softmax.log_p)), softmax.slopes(t), sample_weight, grad_logits)


@checked("logits (n, k), targets (n, k), sample_weight? (n) -> grad_logits? (n, k)")
def kl_divergence(logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None) -> float:
    """``l = sum_j t_j (log t_j - log softmax(logits)_j)`` with ``0 log 0 = 0``."""
    softmax = _Softmax.of(logits)
    terms = _times(targets, np.log(targets) - softmax.log_p)
    return _reduce(_row_sums(terms), softmax.slopes(targets), sample_weight, grad_logits)


@checked("logits (n, k), targets (n, k), sample_weight? (n), pos_weight? (k) -> grad_logits? (n, k)")
def binary_cross_entropy(
    logits: Array, targets: Array, sample_weight: Array | None, pos_weight: Array | None, grad_logits: Array | None
) -> float:
    """``l = mean_j -(pos_weight_j t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)))``; pos_weight is 1 where it is None."""
    positive = targets if pos_weight is None else pos_weight * targets
    negative = 1 - targets
    terms = _times(positive, softplus(-logits)) + _times(negative, softplus(logits))  # -log sigmoid(z) = softplus(-z)
    slopes = negative * sigmoid(logits) - positive * sigmoid(-logits)
    return _reduce_elements(terms, slopes, sample_weight, grad_logits)


@checked("logits (n, k), labels (n) int64, sample_weight? (n) -> grad_logits? (n, k)")
def focal(logits: Array, labels: Labels, sample_weight: Array | None, grad_logits: Array | None, gamma: float) -> float:
    """``l = -(1 - p)^gamma log p`` with ``p = softmax(logits)_label``; each label is in [0, k)."""
    softmax = _Softmax.of(logits)
    onehot = (labels[:, np.newaxis] == np.arange(logits.shape[1])).astype(logits.dtype)
    excess = softmax.slopes(onehot)  # p - t
    rows = np.arange(len(labels))
    log_p, q = softmax.log_p[rows, labels], -_wide(excess[rows, labels])
    power = q**gamma
    p_log_p = np.where(log_p > -np.inf, np.exp(log_p) * log_p, 0)
    slope = np.where(q == 0, -gamma * power, gamma * power * p_log_p / q) - power  # p log p / q goes to -1 with q to 0
    return _reduce(-power * log_p, -slope[:, np.newaxis] * excess, sample_weight, grad_logits)


@checked("logits (n, k), targets (n, k), sample_weight? (n) -> grad_logits? (n, k)")
def binary_focal(logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None, gamma: float) -> float:
    """``l = mean_j -(t (1 - p)^gamma log p + (1 - t) p^gamma log(1 - p))`` with ``p = sigmoid(z)``."""
    p, q, positive, negative = sigmoid(logits), sigmoid(-logits), softplus(-logits), softplus(logits)
    power_p, power_q = np.exp(-gamma * positive), np.exp(-gamma * negative)
    terms = _times(targets, power_q * positive) + _times(1 - targets, power_p * negative)
    rising = _times(1 - targets, power_p * (gamma * q * negative + p))
    return _reduce_elements(terms, rising - _times(targets, power_q * (gamma * p * positive + q)), sample_weight, grad_logits)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def mse(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    """``l = mean_j d^2`` with ``d = output - target``."""
    d = _wide(outputs - targets)
    return _reduce_elements(d * d, 2 * d, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def half_mse(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    """``l = sum_j d^2 / 2`` with ``d = output - target``."""
    d = _wide(outputs - targets)
    return _reduce(_row_sums(d * d / 2), d, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def mae(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    """``l = mean_j |d|`` with ``d = output - target``; the gradient at 0 is 0."""
    d = outputs - targets
    return _reduce_elements(np.abs(d), np.sign(d), sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def huber(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None, threshold: float) -> float:
    """``l = mean_j (|d| <= threshold ? d^2 / 2 : threshold (|d| - threshold / 2))`` with ``d = output - target``."""
    d = _wide(outputs - targets)
    size = np.abs(d)
    terms = np.where(size <= threshold, d * d / 2, threshold * (size - threshold / 2))
    return _reduce_elements(terms, np.clip(d, -threshold, threshold), sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def log_cosh(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    """``l = mean_j log cosh d`` with ``d = output - target``; the gradient is ``tanh d``.

    Computed as ``log1p(2 sinh^2(d / 2))`` near 0 and as ``|d| + log1p(e^-2|d|) - log 2`` elsewhere.
    """
    d = outputs - targets
    size, slopes = np.abs(d), np.tanh(d)
    small = np.minimum(size, 1)
    terms = np.where(size < 1, np.log1p(2 * np.sinh(small / 2) ** 2), size + np.log1p(np.exp(-2 * size)) - np.log(2.0))
    return _reduce_elements(terms, slopes, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def poisson(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    """``l = mean_j (e^output - target output)``: outputs are log-rates."""
    rate = np.exp(outputs)
    return _reduce_elements(rate - _times(targets, outputs), rate - targets, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def gamma(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    """``l = mean_j (target e^-output + output)``: outputs are the logarithms of means, targets are positive."""
    ratio = targets * np.exp(-outputs)
    return _reduce_elements(ratio + outputs, 1 - ratio, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def gaussian(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    """``l = mean_j (s_j + d_j^2 e^-s_j) / 2`` with ``d = mean - target``.

    The first half of the k outputs are means, the second half ``s = log(variance)``; the second half of the targets is not read.
    """
    if outputs.shape[1] % 2:
        raise ValueError(f"outputs must have two columns for each target, a mean and a log-variance, got {outputs.shape[1]}")
    mean, s = np.split(outputs, 2, axis=1)
    d = mean - targets[:, : mean.shape[1]]
    scaled = d * np.exp(-s)
    square = d * scaled
    slopes = np.concatenate([2 * scaled, 1 - square], axis=1)
    return _reduce_elements(np.concatenate([s, square], axis=1), slopes, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n), q (k) -> grad_outputs? (n, k)")
def non_crossing_quantiles(
    outputs: Array, targets: Array, sample_weight: Array | None, q: Array, grad_outputs: Array | None
) -> float:
    """``l = mean_j max(q_j (t - Q_j), (q_j - 1) (t - Q_j))``; ``Q_0 = output_0``, ``Q_j = Q_(j-1) + softplus(output_j)``."""
    d = quantiles_of(outputs) - targets
    pinball = np.where(d < 0, -q, np.where(d > 0, 1 - q, d))  # `d` in the last place: 0, or NaN
    later = np.cumsum(pinball[:, ::-1], axis=1)[:, ::-1]
    slopes = later * np.where(np.arange(outputs.shape[1]) == 0, 1, sigmoid(outputs))
    return _reduce_elements(np.maximum(-q * d, (1 - q) * d), slopes, sample_weight, grad_outputs)


def quantiles_of(outputs: Array) -> Array:
    """Return the quantiles of `non_crossing_quantiles`: the first output, and a step up for each other one."""
    steps: Array = np.where(np.arange(outputs.shape[1]) == 0, outputs, softplus(outputs))
    return np.cumsum(steps, axis=1, dtype=outputs.dtype)


@checked("outputs (n, k), targets (n, k), sample_weight? (n), q (k) -> grad_outputs? (n, k)")
def quantile(outputs: Array, targets: Array, sample_weight: Array | None, q: Array, grad_outputs: Array | None) -> float:
    """``l = mean_j max(q_j (t - o), (q_j - 1) (t - o))``; each q_j is in (0, 1); the gradient at 0 is 0."""
    short = targets - outputs
    slopes = np.where(short > 0, -q, np.where(short < 0, 1 - q, short))  # `short` in the last place: 0, or NaN
    return _reduce_elements(np.maximum(q * short, (q - 1) * short), slopes, sample_weight, grad_outputs)


@checked("outputs (n, k), targets (n, k), sample_weight? (n) -> grad_outputs? (n, k)")
def hinge(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
    """``l = mean_j max(0, 1 - (2 t - 1) output)`` for targets 0 or 1; the gradient at the kink is 0."""
    sign = 2 * targets - 1
    margin = np.maximum(1 - sign * outputs, 0)
    return _reduce_elements(margin, -sign * np.sign(margin), sample_weight, grad_outputs)
