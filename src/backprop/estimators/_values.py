"""The loss as scikit-learn reports it, from what the library's losses give; the gradients are the same.

The library takes losses of logits as they are. scikit-learn clips probabilities to [eps, 1 - eps] of their dtype where it computes
the value, so that a row costs at most ``-log(eps)``; and its Poisson loss, like half the gamma deviance, has the terms that depend
on the target alone.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from .. import losses
from .._types import Array, Numbers
from ..data import Indices
from ._epochs import Data, Epoch

ROUNDED = 12.0  # from this logit on, 1 - p has fewer than ten digits in float64


class Value:
    """The value of one loss over batches.

    Parameters
    ----------
    loss : Loss
        What the network is trained with.
    factor : int
        What its values are multiplied by: the number of outputs, where the library takes the mean over outputs and scikit-learn
        the sum.
    smoothed : bool
        Whether labels are smoothed, which scikit-learn has not.
    """

    def __init__(self, loss: losses.Loss, factor: int, smoothed: bool) -> None:
        self._loss = loss
        self._factor = factor
        self._clips = isinstance(loss, losses.CrossEntropy | losses.BinaryCrossEntropy) and not smoothed

    @property
    def needs_outputs(self) -> bool:
        """Whether the values depend on the outputs of single rows."""
        return self._clips

    def of_epoch(self, epoch: Epoch, data: Data, order: Indices, batch_size: int) -> float:
        """Return the mean over the rows of an epoch of the losses of their batches; a batch without weight is left out."""
        values = self._factor * epoch.losses
        terms = None if self._is_small(epoch, data, batch_size) else self._terms(epoch.outputs, data, order)
        if terms is not None:
            weight = np.ones(len(order)) if data.weight is None else np.abs(data.weight[order], dtype=np.float64)
            starts = np.arange(0, len(order), batch_size)
            with np.errstate(invalid="ignore", divide="ignore"):
                values += np.where(epoch.weights > 0, np.add.reduceat(weight * terms, starts) / epoch.weights, 0.0)
        rows = np.full(len(values), float(batch_size))
        rows[-1] = len(order) - batch_size * (len(values) - 1)
        rows[epoch.weights == 0] = 0
        return float(rows @ values / rows.sum()) if rows.any() else 0.0

    def _is_small(self, epoch: Epoch, data: Data, batch_size: int) -> bool:
        """Whether no row can cost so much that scikit-learn would clip its probability: not even a whole batch does."""
        if not self._clips or data.targets.ndim != 1 or data.weight is not None or epoch.outputs is None:
            return False
        return float(epoch.losses.max()) * batch_size < _most(epoch.outputs)

    def of_batch(self, value: float, outputs: Array | None, data: Data) -> float:
        """Return the value of one batch whose loss is known."""
        epoch = Epoch(np.array([value]), np.array([_total(data)]), outputs)
        return self.of_epoch(epoch, data, np.arange(len(data.targets)), len(data.targets))

    def of_outputs(self, outputs: Array, data: Data) -> float:
        """Return the value of given outputs, without any penalty."""
        value = self._loss.compute(outputs, data.targets, data.weight, None)
        return self.of_batch(value, outputs, data)

    def _terms(self, outputs: Array | None, data: Data, order: Indices) -> Numbers | None:
        """Return for each row what scikit-learn's loss has beside the library's, None where that is nothing."""
        if isinstance(self._loss, losses.Poisson | losses.Gamma):
            y = np.asarray(data.targets, np.float64).reshape(len(data.targets), -1)
            logs = np.log(np.where(y > 0, y, 1.0))
            terms: Numbers = (y * logs - y if isinstance(self._loss, losses.Poisson) else -logs - 1).sum(axis=1)[order]
            return terms
        if not self._clips or outputs is None:
            return None
        return _softmax_excess(outputs, data, order) if data.targets.ndim == 1 else _sigmoid_excess(outputs, data, order)


def _total(data: Data) -> float:
    return float(len(data.targets)) if data.weight is None else float(np.abs(data.weight).sum(dtype=np.float64))


def _softmax_excess(outputs: Array, data: Data, order: Indices) -> Numbers | None:
    """Return by how much scikit-learn's loss of each row differs, its probabilities being clipped; None where none is."""
    limit, k = _most(outputs), outputs.shape[1]
    if float(outputs.max()) - float(outputs.min()) < limit - np.log(k):
        return None
    labels = data.targets[order]
    short = outputs.max(axis=1) - outputs[np.arange(len(order)), labels]  # the loss is that, and log k at most
    rows = np.flatnonzero(~(short < limit - np.log(k)))
    if not len(rows):
        return None
    logits = outputs[rows].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(rows)), labels[rows]]
    excess = np.zeros(len(order))
    excess[rows] = np.minimum(loss, limit) - loss
    return excess


def _most(outputs: Array) -> float:
    """What a row costs at most: ``-log(eps)``."""
    return float(-np.log(np.finfo(outputs.dtype).eps, dtype=np.float64))


def _sigmoid_excess(outputs: Array, data: Data, order: Indices) -> Numbers | None:
    """The same for sigmoids, whose ``1 - p`` has few digits where p is close to 1: scikit-learn's values have these, too."""
    if float(outputs.max()) < ROUNDED and float(outputs.min()) > np.log(np.finfo(outputs.dtype).eps):
        return None
    positive = data.targets[order] > 0.5
    logits = outputs.astype(np.float64)
    eps = np.finfo(outputs.dtype).eps
    p = np.clip(expit(outputs), eps, 1 - eps)
    wanted = -np.where(positive, np.log(p), np.log(1 - p))
    excess: Numbers = (wanted - np.logaddexp(0.0, np.where(positive, -logits, logits))).sum(axis=1, dtype=np.float64)
    return excess
