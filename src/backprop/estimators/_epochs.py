"""Epochs over rows in an order that the caller gives: by the network's plan, many steps a call, or step by step without one."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._training.rows import Batch
from .._training.step import Results
from .._types import Array, Numbers
from ..data import Indices

if TYPE_CHECKING:
    from ..network import Network
    from ..training import Trainer

LONG_ENOUGH = 0.05  # seconds that a call takes, about, so that Ctrl-C is not kept waiting
GROWTH = 16  # the largest ratio of the steps of a call to those of the call before
MOST_STEPS = 1 << 20  # of a call
SPARSE_NUMBERS = 1 << 20  # numbers of a sparse matrix, about, that are dense at a time
ROWS = 1024  # that a prediction from a sparse matrix makes dense at a time


class Data(NamedTuple):
    """What is trained on: a C-contiguous matrix or a CSR matrix, prepared targets, and weights of the rows if they differ."""

    x: Any
    targets: Any
    weight: Array | None

    def take(self, rows: Indices | slice) -> Data:
        """Return these rows."""
        return Data(self.x[rows], self.targets[rows], None if self.weight is None else self.weight[rows])


class Epoch(NamedTuple):
    """How an epoch went: the loss and the weight of each batch, and the outputs of all rows, in their order."""

    losses: Numbers
    weights: Numbers
    outputs: Array | None


class Epochs:
    """Trains on rows, epoch after epoch.

    A batch is divided by its own weight; one without weight changes nothing.
    """

    def __init__(
        self,
        trainer: Trainer,
        data: Data,
        batch_size: int,
        *,
        keeps_outputs: bool,
        after_step: Callable[[], None] | None = None,
    ) -> None:
        self._trainer = trainer
        self._data = data
        self._batch_size = batch_size
        self._keeps_outputs = keeps_outputs
        self._after_step = after_step
        self._sparse = not isinstance(data.x, np.ndarray)
        self._most = max(1, SPARSE_NUMBERS // (trainer.net.n_inputs * batch_size)) if self._sparse else MOST_STEPS
        self._steps = 1  # of a call

    def train(self, order: Indices) -> Epoch:
        """Train on the rows with these numbers, batch by batch.

        Raises
        ------
        DivergenceError
            If a loss or a gradient is not finite; the parameters are then those before that step.
        """
        size, count = self._batch_size, -(-len(order) // self._batch_size)
        net = self._trainer.net
        outputs = np.empty((len(order), net.n_outputs), net.dtype) if self._keeps_outputs else None
        losses, weights = np.empty(count), np.empty(count)
        step = 0
        while step < count:
            last = min(count, step + self._steps)
            rows = slice(step * size, last * size)
            began = perf_counter()
            self._take(order[rows], Results(losses[step:last], weights[step:last], None if outputs is None else outputs[rows]))
            if self._after_step is not None:
                self._after_step()
            else:
                self._pace(perf_counter() - began)
            step = last
        return Epoch(losses, weights, outputs)

    def _pace(self, seconds: float) -> None:
        steps = max(1, int(self._steps * min(LONG_ENOUGH / max(seconds, 1e-9), GROWTH)))
        self._steps = min(steps, self._most)

    def _take(self, order: Indices, results: Results) -> None:
        """Take whole steps; an interrupt waits for their end."""
        trainer, data, numbers = self._trainer, self._data, order
        if self._sparse:
            part = data.take(order)
            data, numbers = part._replace(x=dense_rows(part.x)), np.arange(len(order))
        trainer._interrupts.begin()
        try:
            plan = trainer._current_plan()
            if plan is not None and plan.whole:
                batch = Batch(data.x, data.targets, data.weight, None)
                trainer._run_plan(plan, batch, numbers, self._batch_size, results)
            else:
                self._step_by_step(data, numbers, results)
        finally:
            trainer._interrupts.end()

    def _step_by_step(self, data: Data, order: Indices, results: Results) -> None:
        for step in range(len(results.losses)):
            rows = slice(step * self._batch_size, (step + 1) * self._batch_size)
            batch = Batch(*data.take(order[rows]), None)
            results.losses[step], outputs = self._trainer._train_on(batch)
            results.weights[step] = 0.0 if outputs is None else batch.total_weight()
            if results.outputs is not None:
                results.outputs[rows] = 0 if outputs is None else outputs


def dense_rows(matrix: Any) -> Array:
    """Return a sparse matrix as one that is not."""
    rows: Array = np.ascontiguousarray(matrix.toarray())
    return rows


def outputs_of(net: Network, x: Any) -> Array:
    """Return the raw outputs for dense or sparse rows of the network's dtype."""
    if isinstance(x, np.ndarray):
        return net.predict(x)
    outputs = np.empty((x.shape[0], net.n_outputs), net.dtype)
    for start in range(0, len(outputs), ROWS):
        outputs[start : start + ROWS] = net.predict(dense_rows(x[start : start + ROWS]))
    return outputs
