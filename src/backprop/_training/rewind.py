"""How the update that led to divergence is undone.

A loss that is not finite shows one step too late: the parameters that it was computed with are already spoilt. Copying the
parameters at every step would make it easy to go back, but it would cost too much. So `Rewind` copies the trainer's state now and
then, for about a hundredth of the training time, and keeps a log of the steps since. When training diverges, it restores the copy
and takes the same steps again, but for the last update. Training is deterministic, so this gives the same numbers bit for bit, and
the losses confirm it. They differ if a callback changed something between the steps, or a custom layer or loss draws random
numbers; then the state stays that of the copy. If a callback gave the trainer another optimizer, or took moments from it, the
copy does not fit, and nothing is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .._types import Array, Numbers
from ..optimizers import Optimizer
from ..schedules import Schedule
from .divergence import DivergenceError
from .state import Diverged, TrainingState

SHARE = 0.01  # of the training time that copies may take
LEAST_SECONDS = 0.05  # between two copies
STEPS_OF_RANKS = 64  # between two copies where several ranks train: all must copy at the same steps, and take the same ones again
MOST_BYTES = 1 << 26  # of the batches of a stream that the log may hold


class State(NamedTuple):
    """All that training changes."""

    updates: int
    parameters: Array
    buffers: Array
    dropout_step: int
    optimizer: dict[str, Any]
    lr: float | Schedule
    epoch: int
    last_lr: float
    gathered: tuple[Array | None, int, float]

    @classmethod
    def of(cls, trainer: TrainingState) -> State:
        """Copy the state of a trainer."""
        net, optimizer = trainer.net, trainer.optimizer
        return cls(
            optimizer.steps,
            net.parameters.copy(),
            net.buffers.copy(),
            net.dropout_step,
            optimizer.state_dict(),
            optimizer.lr,
            trainer.epoch,
            trainer.last_lr,
            trainer._accumulated_state(),
        )

    def restore(self, trainer: TrainingState) -> None:
        """Give a trainer this state."""
        net = trainer.net
        net.parameters[...], net.buffers[...] = self.parameters, self.buffers
        net.dropout_step = self.dropout_step
        optimizer, state = trainer.optimizer, self.optimizer
        if optimizer.lr is not self.lr:  # one that a callback has assigned keeps its state, and counts from where it was assigned
            state = {key: value for key, value in state.items() if key != "schedule"}
            state["schedule_start"] = optimizer._lr_start
        optimizer.load_state_dict(state)
        trainer.epoch, trainer.last_lr = self.epoch, self.last_lr
        trainer._load_accumulated_state(*self.gathered)


class _Stretch(NamedTuple):
    """Consecutive steps, how to take some of them again, and their losses. Without steps: something else that changes the state."""

    steps: int
    again: Callable[[int, int], Numbers]
    losses: Numbers


class _Record(NamedTuple):
    """A state, the optimizer that it is of with the names of the moments that it keeps, and the log of what followed."""

    state: State
    optimizer: Optimizer
    slots: Sequence[str | None]
    log: list[_Stretch]

    @classmethod
    def of(cls, trainer: TrainingState) -> _Record:
        """Copy the state of a trainer, and begin a log."""
        return cls(State.of(trainer), trainer.optimizer, trainer.optimizer._slots(), [])

    def fits(self, optimizer: Optimizer) -> bool:
        """Whether the state can be restored into an optimizer."""
        has_moments = any(isinstance(value, np.ndarray) for value in self.state.optimizer.values())
        return optimizer is self.optimizer and (not has_moments or optimizer._slots() == self.slots)


class Rewind:
    """The means to undo the last update of a run of `fit`.

    ``with rewind:`` around training undoes it when training diverges.
    """

    def __init__(self, trainer: TrainingState) -> None:
        self._trainer = trainer
        self._older: _Record | None = None  # until there is an update in `_record`
        self._record = self._copy()

    def _copy(self) -> _Record:
        began = perf_counter()
        record = _Record.of(self._trainer)
        self._copied = perf_counter()
        self._pause = max((self._copied - began) / SHARE, LEAST_SECONDS)
        self._kept = 0
        return record

    def renew_if_due(self) -> None:
        """Copy the state if the last copy is old enough.

        Raises
        ------
        DivergenceError
            If the parameters are no longer finite.
        """
        if self._trainer._ranks is None:
            due = perf_counter() - self._copied > self._pause or self._kept > MOST_BYTES
        else:
            due = len(self._record.log) >= STEPS_OF_RANKS
        if due and not self._trainer._has_accumulated:
            self._trainer._check_parameters()
            self.renew()

    def renew(self) -> None:
        """Copy the state, which may have changed in a way that the log does not show."""
        if self._trainer.optimizer.steps > self._record.state.updates:
            self._older = self._record
        self._record = self._copy()

    def log(self, steps: int, again: Callable[[int, int], Numbers], kept: int = 0) -> Numbers:
        """Note that steps are about to be taken.

        Parameters
        ----------
        steps : int
            How many; 0 for something else that changes the state.
        again : callable
            ``again(first, last)`` takes the steps ``first`` to ``last - 1``, counted from 0, and returns their losses.
        kept : int
            The bytes of data that ``again`` holds.

        Returns
        -------
        array (steps,)
            For the losses of the steps, to be filled in as they come.
        """
        if self._trainer.optimizer.steps > self._record.state.updates:
            self._older = None
        losses = np.empty(steps)
        self._record.log.append(_Stretch(steps, again, losses))
        self._kept += kept
        return losses

    def __enter__(self) -> None:
        """Begin to train."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Undo the last update if training has diverged because of it."""
        if isinstance(error, DivergenceError):
            self._undo_forward(error)

    def _undo_forward(self, error: DivergenceError) -> None:
        trainer = self._trainer
        updates = trainer.optimizer.steps
        trainer._diverged = Diverged(updates, trainer.epoch, trainer.net.parameters.copy(), trainer.net.buffers.copy())
        record = self._record if updates > self._record.state.updates or self._older is None else self._older
        if error.cause == "gradient" or (error.cause == "loss" and trainer._has_accumulated):
            error._conclude("This update was not made")  # the last one that was has had a finite loss after it
        elif not record.fits(trainer.optimizer):
            error._conclude("No update was undone, as a callback has replaced the optimizer or the moments that it keeps")
        elif updates == record.state.updates:
            error._conclude("No update of this run came before it")
        else:
            self._go_back(record, None if error.cause == "parameters" else updates)
            first = trainer.optimizer.steps + 1
            error._conclude(f"Update {updates} was undone" if first == updates else f"Updates {first} to {updates} were undone")

    def _go_back(self, record: _Record, update: int | None) -> None:
        """Restore the state before an update; None: before the first one that gave parameters which are not finite."""
        before = None
        try:
            before = self._state_before(record, update)
        finally:
            (record.state if before is None else before).restore(self._trainer)

    def _state_before(self, record: _Record, update: int | None) -> State | None:
        """Take the steps again and return the state before an update; None if they went another way."""
        trainer, before = self._trainer, None
        record.state.restore(trainer)
        for stretch in record.log:
            first = 0
            while first < stretch.steps:
                ahead = 0 if update is None else update - 1 - trainer.optimizer.steps
                if ahead < 0:
                    return before
                if update is None or (ahead == 0 and not trainer._has_accumulated):
                    before = State.of(trainer)
                last = first + max(1, min(stretch.steps - first, ahead))
                try:
                    losses = stretch.again(first, last)
                except Exception:  # whatever it is, it did not happen the first time
                    return None
                if not np.array_equal(losses, stretch.losses[first:last]):
                    return None
                if update is None and not trainer._is_finite():
                    return before
                first = last
            if not stretch.steps:
                stretch.again(0, 0)
        return before if trainer.optimizer.steps == update else None
