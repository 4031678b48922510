"""Training on rows of arrays: through the network's plan, many steps in one call, or step by step where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._evaluation import Meter
from ._rows import Rows
from ._types import Array
from .clipping import grad_norm
from .data import Indices

if TYPE_CHECKING:
    from .training import Trainer

Numbers = npt.NDArray[np.float64]
FINISHED, LOSS_NOT_FINITE, GRADIENT_NOT_FINITE, INPUT_NOT_FINITE = range(4)  # how a stretch of steps ends
CHUNK_ROWS = 8192  # metrics look at about so many rows together
CHUNK_NUMBERS = 1 << 22  # and so many numbers of x are converted together, where that is needed


class Run:
    """Trains on rows, as many steps at a time as an order has.

    What the meter needs gathers in chunks whose size depends on the batch size alone, so that its sums do not depend on how
    many steps are handed over at a time.
    """

    def __init__(self, trainer: Trainer, rows: Rows, batch_size: int, meter: Meter) -> None:
        self._trainer = trainer
        self._rows = rows
        self._batch_size = batch_size
        self._meter = meter
        self._room = max(1, min(CHUNK_ROWS, CHUNK_NUMBERS // trainer.net.n_inputs) // batch_size)  # steps of a chunk
        self._losses, self._weights = np.empty(self._room), np.empty(self._room)
        self._numbers = np.empty(self._room * batch_size, np.intp)
        shape = len(self._numbers), trainer.net.n_outputs
        self._outputs = np.empty(shape, trainer.net.dtype) if meter.needs_outputs else None
        self._steps = self._count = 0  # steps and rows that the chunk has

    def train(self, order: Indices) -> Numbers:
        """Train on the rows with these numbers, batch by batch, and return the loss of each."""
        losses = []
        start = 0
        while start < len(order):
            stop = start + (self._room - self._steps) * self._batch_size
            losses.append(self._train(order[start:stop]))
            start = stop
            if self._steps == self._room:
                self.close()
        return np.concatenate(losses)

    def close(self) -> None:
        """Let the meter have what has gathered."""
        if not self._steps:
            return
        losses, weights = self._losses[: self._steps], self._weights[: self._steps]
        numbers, outputs = self._numbers[: self._count], None
        if self._outputs is not None:
            outputs = self._outputs[: self._count]
            if not weights.all():  # batches without weight have no outputs
                kept = np.repeat(weights != 0, self._batch_size)[: self._count]
                numbers, outputs = numbers[kept], outputs[kept]
        self._meter.add_steps(losses, weights, outputs, *self._rows.take_targets(numbers))
        self._steps = self._count = 0

    def _train(self, order: Indices) -> Numbers:
        """Train on rows that the chunk has room for."""
        trainer = self._trainer
        before, count = self._steps, -(-len(order) // self._batch_size)
        losses, weights = self._losses[before : before + count], self._weights[before : before + count]
        outputs = None if self._outputs is None else self._outputs[self._count : self._count + len(order)]
        arrays = self._rows.arrays()
        training = trainer.training_plan(self._rows.targets_ndim)
        trainer.interrupts.begin()
        try:
            if training is None:
                self._step_by_step(order, losses, weights, outputs)
            elif arrays is None:
                x, targets, weight, _ = self._rows.take(order)
                take_steps(trainer, training, x, targets, weight, None, self._batch_size, losses, weights, outputs)
            else:
                numbers = self._rows.numbers(order)
                bad = take_steps(trainer, training, *arrays, numbers, self._batch_size, losses, weights, outputs, self._rows.unchecked)
                if bad is not None:  # taken as other rows are, they are refused
                    self._rows.take(order[bad * self._batch_size : (bad + 1) * self._batch_size])
        finally:
            trainer.interrupts.end()
        self._numbers[self._count : self._count + len(order)] = order
        self._steps += count
        self._count += len(order)
        return losses.copy()

    def _step_by_step(self, order: Indices, losses: Numbers, weights: Numbers, outputs: Array | None) -> None:
        ...
