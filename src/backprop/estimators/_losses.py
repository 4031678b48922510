"""Losses that the estimators have beside those of the library; a row's loss is the sum over its outputs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._types import Array
from ..losses import Loss


class SummedLoss(Loss):
    """A loss that is a formula for each entry or row: `rows` gives losses (n,) and gradients (n, k)."""

    unbounded = True

    def rows(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Return the loss of each row, and its gradient with respect to the outputs."""
        raise NotImplementedError

    def __call__(self, outputs: Any, targets: Any, *, sample_weight: Any = None) -> tuple[float, Array]:
        """Return the mean over the rows by their weights, and its gradient."""
        outputs, targets = np.asarray(outputs), np.asarray(targets)
        losses, gradients = self.rows(outputs, targets.reshape(len(outputs), -1) if targets.ndim == 2 else targets)
        if sample_weight is None:
            return float(np.mean(losses, dtype=np.float64)), gradients / outputs.dtype.type(len(outputs))
        share = np.asarray(sample_weight, np.float64) / np.sum(np.abs(sample_weight), dtype=np.float64)
        return float(share @ losses), gradients * share[:, np.newaxis].astype(outputs.dtype)


class Focal(SummedLoss):
    """``-(1 - p)^gamma log p`` of the probability p of the right class: rows that are right already weigh less.

    Targets are labels, of logits that a softmax makes probabilities, or 0 and 1 for each output.
    Source: Lin et al., ICCV 2017, arXiv:1708.02002.
    """

    name: ClassVar[str] = "focal"

    def __init__(self, gamma: float = 2.0) -> None:
        self.gamma = gamma

    def rows(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Return the loss of each row, and its gradient with respect to the outputs."""
        if targets.ndim == 1:
            rows = np.arange(len(outputs))
            shifted = outputs - outputs.max(axis=1, keepdims=True)
            logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            losses, slopes = self._of(logs[rows, targets])
            direction = -np.exp(logs)
            direction[rows, targets] = -np.expm1(logs[rows, targets])
            return losses, slopes[:, np.newaxis] * direction
        sign = 2 * targets - 1
        logs = -np.logaddexp(0, -sign * outputs)
        losses, slopes = self._of(logs)
        return losses.sum(axis=1), slopes * sign * -np.expm1(logs)

    def _of(self, log_p: Array) -> tuple[Array, Array]:
        """Return the loss, and ``p dloss/dp``."""
        rest = -np.expm1(log_p)
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.where(rest > 0, rest ** (self.gamma - 1), 0) if self.gamma else np.zeros_like(rest)
        weight = rest**self.gamma
        return -weight * log_p, self.gamma * power * np.exp(log_p) * log_p - weight


class Gamma(SummedLoss):
    """Half the gamma deviance, ``y / mu - log(y / mu) - 1``, of the mean ``mu = exp(output)``; targets are positive."""

    name: ClassVar[str] = "gamma"

    def rows(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Return the loss of each row, and its gradient with respect to the outputs."""
        with np.errstate(over="ignore"):
            ratio = targets * np.exp(-outputs)
        return (ratio - np.log(targets) + outputs - 1).sum(axis=1), 1 - ratio


class Gaussian(SummedLoss):
    """``log(variance) / 2 + (y - mean)^2 / (2 variance)``: the first half of the outputs are means, the rest log-variances.

    Source: Nix and Weigend, ICNN 1994.
    """

    name: ClassVar[str] = "gaussian"

    def rows(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Return the loss of each row, and its gradient with respect to the outputs."""
        mean, log_variance = np.split(outputs, 2, axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            error = mean - targets
            precision = np.exp(-log_variance)
            square = error * error * precision
        gradient = np.concatenate([error * precision, (1 - square) / 2], axis=1)
        return ((log_variance + square) / 2).sum(axis=1), gradient
