"""Find a learning rate by trying all of them: `lr_range_test`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ..._arrays import as_real_array, check_count, check_positive
from ..._html import line_chart
from ..._training.epochs import leaves_row_alone
from ..._types import AnyArray
from ...data import batches
from ...training import Trainer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...losses import Loss


FIRST = 10  # losses at learning rates that change next to nothing


class NotFiniteError(ValueError):
    """There is no learning rate to find: the loss is not finite from the start."""


class LrRange(NamedTuple):
    """What `lr_range_test` measured.

    Attributes
    ----------
    lrs, losses : array (steps,)
        Each learning rate, and the loss before the update that used it: with ``accumulate_steps``, the mean over the steps of the
        update.
    smoothed : array (steps,)
        A running mean of the losses.
    suggestion : float
        The learning rate at which it falls fastest.
    """

    lrs: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    smoothed: npt.NDArray[np.float64]
    suggestion: float

    def _repr_html_(self) -> str:
        """Return the loss over the logarithm of the learning rate for a notebook."""
        curves = {"loss": self.losses.tolist(), "smoothed": self.smoothed.tolist()}
        chart = line_chart(curves, x=np.log10(self.lrs).tolist(), xlabel="log10(lr)", marked=float(np.log10(self.suggestion)))
        return f"{chart}<p>Suggested learning rate: {self.suggestion:.3g}</p>"

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the loss over the learning rate, and mark the suggestion."""
        from ..plots import lr_curve

        return lr_curve(self.lrs, self.losses, self.smoothed, self.suggestion, ax=ax)


def lr_range_test(
    trainer: Trainer,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int = 32,
    seed: int = 0,
) -> LrRange:
    """Train a copy with a learning rate that grows from update to update, until the loss explodes.

    L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3. The trainer, its network and its
    optimizer stay as they are.

    Parameters
    ----------
    trainer : Trainer
        What would be trained.
    x, y : array
        The training data.
    low, high : float
        The first and the last learning rate; they grow by an equal factor an update.
    steps : int
        How many learning rates to try, one for each update; it stops early where the loss is above 4 times its least value; where
        losses may be below 0, where it is above its least value by 3 times that value's size, and 3 times what it has fallen by.
    batch_size, seed : int
        As for `Trainer.fit`.

    Raises
    ------
    TypeError
        If `trainer` is no `Trainer`.
    ValueError
        Unless ``0 < low < high``, for fewer than 10 steps, or where the loss is not finite from the start.

    Examples
    --------
    >>> import backprop as bp
    >>> (x, y), _ = bp.datasets.digits()
    >>> trainer = bp.Trainer(bp.mlp([64, 32, 10], seed=0), loss="cross_entropy", optimizer="adam")
    >>> result = bp.lr_range_test(trainer, x, y)
    >>> 1e-4 < result.suggestion < 0.3
    True
    """
    if not isinstance(trainer, Trainer):
        raise TypeError(f"trainer must be a Trainer, got {type(trainer).__name__}")
    low, high = check_positive("low", low), check_positive("high", high)
    if low >= high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    steps = check_count("steps", steps, 10)
    lrs = np.geomspace(low, high, steps)
    probe = _fresh_copy(trainer)
    losses: list[float] = []
    table, batch_size = as_real_array(x, "x"), check_count("batch_size", batch_size)
    alone = leaves_row_alone(probe.net, len(table), batch_size)
    rows = cycle(batches(table, y, batch_size=batch_size, seed=seed, drop_last=alone))
    for lr in lrs.tolist():
        probe.optimizer.lr = lr
        loss = _update(probe, rows)
        if not np.isfinite(loss):
            break
        losses.append(loss)
        if _has_exploded(losses, probe.loss):
            break
    if not losses:
        raise NotFiniteError("the loss is not finite before any step; look at the data and the initial weights with diagnose")
    values = np.array(losses)
    smoothed = _smooth(values)
    return LrRange(lrs[: values.size], values, smoothed, _steepest(lrs[: values.size], smoothed))


def _has_exploded(losses: list[float], function: Loss) -> bool:
    """Whether the last loss is far above the least.

    Where 0 is not the least loss there can be, how the first losses vary and what they have fallen by tells what is far.
    """
    least = min(losses)
    if least > 0 and function.link not in ("exp", "mean"):
        return losses[-1] > 4 * least
    first = losses[:FIRST]
    return len(losses) > FIRST and losses[-1] > least + 3 * max(abs(least), max(first) - least)


def _fresh_copy(trainer: Trainer) -> Trainer:
    """A copy of the trainer without moments, and without gradients that wait for an update: those are of other rows."""
    probe = copy.deepcopy(trainer)
    probe.optimizer.reset()
    probe._discard_accumulated()
    return probe


def _update(probe: Trainer, rows: Iterator[tuple[AnyArray, ...]]) -> float:
    """Take the steps of one update, and return their mean loss before it; infinity where a step diverges."""
    try:
        return float(np.mean([probe.step(*next(rows)) for _ in range(probe.accumulate_steps)]))
    except ArithmeticError:
        return np.inf


def _smooth(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A mean over about a tenth of the steps on each side, shorter at the ends."""
    reach = max(1, values.size // 10)
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(values.size)
    first, last = np.maximum(index - reach, 0), np.minimum(index + reach + 1, values.size)
    means: npt.NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return means


def _steepest(lrs: npt.NDArray[np.float64], smoothed: npt.NDArray[np.float64]) -> float:
    """Where the smoothed loss falls fastest over the logarithm of the learning rate, before its least value."""
    if smoothed.size < 3:
        return float(lrs[0])
    slope = np.gradient(smoothed, np.log(lrs))
    return float(lrs[: max(int(smoothed.argmin()), 1)][np.argmin(slope[: max(int(smoothed.argmin()), 1)])])
