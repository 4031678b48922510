"""Training on rows of arrays: through the network's plan, many steps in one call, or step by step where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._types import Numbers
from ..data import Indices
from ..metrics._tally import Tally
from .evaluation import Meter
from .rows import Rows
from .step import Results, TrainingStep

if TYPE_CHECKING:
    from .._core import TrainingPlan

CHUNK_STEPS = 1024  # losses that are added up together
CHUNK_ROWS = 8192  # rows, about, that metrics of outputs take together
CHUNK_NUMBERS = 1 << 22  # numbers of x, about, that are converted together, where that is needed


class Chunks:
    """Trains on rows: one step for each batch of an order.

    What the meter needs gathers in chunks whose size depends on the batch size alone, so that its sums do not depend on how
    many steps are handed over at a time. Where they can, steps keep a tally for it instead of outputs.
    """

    def __init__(self, trainer: TrainingStep, rows: Rows, batch_size: int, meter: Meter) -> None:
        self._trainer = trainer
        self._rows = rows
        self._batch_size = batch_size
        self._meter = meter
        self._data = rows.arrays()
        self._tally = self._begin_tally()
        outputs = None
        self._room = CHUNK_STEPS  # steps in a chunk
        self._keeps_rows = meter.needs_outputs and self._tally is None
        if self._keeps_rows or self._data is None:
            self._room = max(1, min(CHUNK_ROWS, CHUNK_NUMBERS // trainer.net.n_inputs) // batch_size)
        size = min(self._room * batch_size, rows.count + batch_size) if self._keeps_rows else 0
        if self._keeps_rows:
            outputs = np.empty((size, trainer.net.n_outputs), trainer.net.dtype)
        self._chunk = Results(np.empty(self._room), np.empty(self._room), outputs, self._tally)
        self._numbers = np.empty(size, np.intp)
        self._steps = self._count = 0  # steps and rows that the chunk has

    def _begin_tally(self) -> Tally | None:
        """Return a tally if steps go by plan and metrics can do with it."""
        training, formula = self._trainer._current_plan(), self._meter.formula
        if self._data is None or formula is None or training is None or not training.whole:
            return None
        n_outputs = self._trainer.net.n_outputs
        if self._data.exact_targets is not None:
            return None
        if n_outputs == 1 and not formula.classes and self._data.targets.dtype.kind == "i":  # scores and labels of one class
            return None
        targets, weight = self._data.targets, self._data.sample_weight
        if weight is not None and formula.kind == "errors" and not np.isfinite(targets).all():
            return None  # the targets of rows without weight may be anything
        first = self._rows.first_row
        return Tally.begin(formula, targets[first : first + 1], weight, n_outputs)

    def train(self, order: Indices, losses: Numbers) -> None:
        """Train on the rows with these numbers, batch by batch; the loss of each goes to ``losses`` as it comes."""
        start = 0
        while start < len(losses):
            stop = min(start + self._room - self._steps, len(losses))
            self._train(order[start * self._batch_size : stop * self._batch_size], losses[start:stop])
            start = stop
            if self._steps == self._room:
                self._close_chunk()

    def again(self, order: Indices) -> Numbers:
        """Train on rows as `train` does, without the meter, and return the loss of each batch."""
        losses = np.empty(-(-len(order) // self._batch_size))
        for start in range(0, len(losses), self._room):
            part = losses[start : start + self._room]
            rows = slice(start * self._batch_size, (start + len(part)) * self._batch_size)
            self._take(order[rows], Results(part, np.empty(len(part))))
        return losses

    def close(self) -> None:
        """Let the meter have all that has gathered."""
        self._close_chunk()
        if self._tally is not None:
            self._meter.add_sums(self._tally.result(self._trainer.net.n_outputs))

    def _close_chunk(self) -> None:
        if not self._steps:
            return
        weights = self._chunk.weights[: self._steps]
        self._meter.add_losses(self._chunk.losses[: self._steps], weights)
        if self._chunk.outputs is not None:
            outputs, numbers = self._chunk.outputs[: self._count], self._numbers[: self._count]
            if not weights.all():  # a batch without weight has no outputs
                kept = np.repeat(weights != 0, self._batch_size)[: self._count]
                numbers, outputs = numbers[kept], outputs[kept]
            self._meter.add_rows(outputs, *self._rows.take_measured(numbers))
        self._steps = self._count = 0

    def _train(self, order: Indices, losses: Numbers) -> None:
        """Train on rows that the chunk has room for."""
        steps = slice(self._steps, self._steps + len(losses))
        rows = slice(self._count, self._count + len(order))
        chunk = self._chunk
        outputs = chunk.outputs
        if outputs is not None:
            self._numbers[rows] = order
            outputs = outputs[rows]
        results = Results(chunk.losses[steps], chunk.weights[steps], outputs, chunk.tally)
        try:
            self._take(order, results)
        finally:
            losses[...] = results.losses
        self._steps, self._count = steps.stop, rows.stop

    def _take(self, order: Indices, results: Results) -> None:
        """Take the steps on rows, by plan where there is one."""
        training = self._trainer._current_plan()
        if training is None or not training.whole:
            self._step_by_step(order, results)
            return
        self._trainer._interrupts.begin()
        try:
            self._by_plan(training, order, results)
        finally:
            self._trainer._interrupts.end()

    def _by_plan(self, training: TrainingPlan, order: Indices, results: Results) -> None:
        if self._data is None:  # there is something to convert
            self._trainer._run_plan(training, self._rows.take(order), None, self._batch_size, results)
            return
        numbers = self._rows.numbers(order)
        done = self._trainer._run_plan(training, self._data, numbers, self._batch_size, results, self._rows.unchecked)
        if done < len(results.losses):  # a batch of x is not finite: taken like any other, it is refused
            self._rows.take(order[done * self._batch_size : (done + 1) * self._batch_size])

    def _step_by_step(self, order: Indices, results: Results) -> None:
        for step in range(len(results.losses)):
            rows = slice(step * self._batch_size, (step + 1) * self._batch_size)
            batch = self._rows.take(order[rows])
            results.losses[step], outputs = self._trainer._train_on_uninterrupted(batch)
            results.weights[step] = 0.0 if outputs is None else batch.total_weight()
            if outputs is not None and results.outputs is not None:
                results.outputs[rows] = outputs
            elif outputs is not None and results.tally is not None:  # the plan is gone since the tally began
                self._meter.add_rows(outputs, batch.measured, batch.sample_weight)
