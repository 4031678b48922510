"""One training step: every way through it.

A step goes forward, computes the loss, goes backward, clips the gradients and updates the parameters. Which code does each part
depends on what is trained. "C" stands for one call into the compiled backend, in which Python does not run.

=========================================================  ==============  ========  ==================================
case                                                       forward         loss      backward, clip, update
=========================================================  ==============  ========  ==================================
`TrainingStep.step`, arrays that need no conversion        C               C         C: ``TrainingPlan.step``
`TrainingStep.step` otherwise, and `fit`                   C               C         C: ``TrainingPlan.run``, many steps a call
a custom loss                                              C               Python    C: ``TrainingPlan.finish``
`TrainingStep.forward`, then `TrainingStep.backward_step`  C               caller    C: ``TrainingPlan.finish``
``on_gradients``                                           C               C         C, ``on_gradients``, C: ``TrainingPlan.update``
a custom optimizer                                         C               C         C, a kernel that clips, Python
custom layers, or the NumPy backend                        layer by layer  a kernel  layer by layer, then a kernel each
``comm``: a step of several ranks, `backprop.distributed`  C               a kernel  C, a sum over ranks, a kernel each
=========================================================  ==============  ========  ==================================

All of them give the same numbers up to rounding. `TrainingStep._current_plan` says whether there is a plan, and whether it has the
loss. What happens between gradient and update stands in two places: `TrainingStep._clip_and_update`, and for plans
``_kernels/plans/steps.pxi``.

An option that has been assigned holds for the next step: the plan takes it over (``TrainingPlan.renew``, ``Plan.assign``). A new
plan is made for a frozen layer, another activation, a dropout rate that was or becomes 0, and another loss or optimizer.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .. import kernels, losses, optimizers
from .._arrays import as_matrix, check_count, check_nonnegative, check_positive
from .._overrides import is_built_in
from .._settings import Converted, Options, count, fixed, made_by, option, optional
from .._spans import slices, weight_spans
from .._types import Array, GradientHook, Labels, Numbers
from ..clipping import grad_norm, is_finite, scale_to_norm
from ..data import Indices
from ..losses import FunctionLoss, Loss, LossFunction
from ..metrics._tally import Tally
from ..network import LOSS, Network, Pending
from ..optimizers import Optimizer
from .accumulation import Accumulation
from .divergence import DivergenceError
from .interrupts import Interrupts
from .plan import current_plan
from .rows import Batch, Converter

if TYPE_CHECKING:
    from .._core import TrainingPlan
    from .evaluation import Meter

_PLANNED = frozenset({"clip_norm", "clip_value", "l2", "accumulate_steps", "on_gradients"})  # options that a plan takes over
_UNPLANNED = frozenset({"metrics", "comm", "epoch", "stop_training"})  # options that do not concern it
_NOTHING = nullcontext()  # one for all steps: a generator for each would take as long as half a small step
LOSS_NOT_FINITE, GRADIENT_NOT_FINITE, LABEL_OUT_OF_RANGE = 1, 2, 4  # how `TrainingPlan.run` can end: plans/steps.pxi


class Results(NamedTuple):
    """Where steps leave what they found: loss and weight of each; outputs of their rows, or sums over them, if wanted."""

    losses: Numbers
    weights: Numbers
    outputs: Array | None = None
    tally: Tally | None = None


class Ranks(Protocol):
    """The processes that train one network together, for the one that runs this; see `backprop.distributed`."""

    def train_on(self, batch: Batch) -> tuple[float, Array | None]:
        """Train on the batches of all ranks; return their loss, and the outputs of this one, None where it has no weight."""

    def join(self, meter: Meter) -> None:
        """Let the meter have what those of the other ranks have gathered."""

    def agree_to_stop(self, here: bool) -> bool:
        """Return whether any rank ends training."""


class _Exclusively:
    """Holds a network's lock, so that no other thread trains it; refused in the middle of a forward, a loss or a backward."""

    __slots__ = ("_call", "_lock", "_net")

    def __init__(self, net: Network, call: str) -> None:
        self._net = net
        self._call = call

    def __enter__(self) -> None:
        net = self._net
        self._lock = net._in_training
        if not self._lock.acquire(blocking=False):
            if net._process == os.getpid():
                raise RuntimeError(
                    "this network is being trained by another thread; give each thread a network and trainer of its own"
                )
            net._forget_threads()
            self._lock = net._in_training
            self._lock.acquire()
        try:
            net._check_idle(self._call)
        except RuntimeError:
            self._lock.release()
            raise

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def _checked_net(name: str, net: Any) -> Network:
    if not isinstance(net, Network):
        raise TypeError(f"{name} must be a Network, got {type(net).__name__}")
    return net


def _checked_hook(name: str, hook: Any) -> GradientHook:
    if not callable(hook):
        raise TypeError(f"{name} must be a function of the gradients, got {type(hook).__name__}")
    checked: GradientHook = hook
    return checked


class TrainingStep(Options):
    """A network with all that a training step needs, and the step: `Trainer` without epochs."""

    net: Network = fixed(_checked_net, remedy="make a new Trainer")
    loss: Converted[Loss, str | Loss | LossFunction] = option(made_by(losses.get))
    optimizer: Converted[Optimizer, str | Optimizer] = option(made_by(optimizers.get))
    clip_norm: float | None = option(optional(check_positive))
    clip_value: float | None = option(optional(check_positive))
    accumulate_steps: int = option(check_count)
    l2: float = option(check_nonnegative)
    on_gradients: GradientHook | None = option(optional(_checked_hook))
    epoch: int = count(check_count, 0)

    def __init__(
        self,
        net: Network,
        loss: str | Loss | LossFunction,
        optimizer: str | Optimizer,
        clip_norm: float | None,
        clip_value: float | None,
        accumulate_steps: int,
        l2: float,
        on_gradients: GradientHook | None,
    ) -> None:
        self.epoch = 0
        self.net = net
        self.loss = loss
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.accumulate_steps = accumulate_steps
        self.l2 = l2
        self.on_gradients = on_gradients
        self.optimizer = optimizer
        self.last_lr = self.optimizer.learning_rate
        self._step_plan: TrainingPlan | None = None
        self._interrupts = Interrupts()
        self._accumulation = Accumulation()
        self._before_forward: tuple[Array | None, int] = (None, 0)
        self._shows_gradients = False  # while `on_gradients` is called
        self._awaited: Pending | str | None = None  # the network's forward that `forward` made
        self._ranks: Ranks | None = None  # while several processes train the network together

    def _check_options(self) -> None:
        self.loss.check_activation(self.net.output_activation)
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError(f"clip_norm and clip_value exclude each other, got {self.clip_norm!r} and {self.clip_value!r}")
        self.optimizer.attach(self.net)

    def _assigned(self, name: str) -> None:
        """Let the plan take over the option before the next step; discard the plan if the option is one of its objects."""
        if name in _PLANNED:
            self.__dict__["_assignments"] = self.__dict__.get("_assignments", 0) + 1
            planned = self.__dict__.get("_step_plan")
            if planned is not None:
                planned.stale = True
        elif name in self._options and name not in _UNPLANNED:
            self.__dict__["_step_plan"] = None

    def step(self, x: npt.ArrayLike, y: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> float:
        """Train on one batch: forward, loss, backward, clip, update.

        Parameters
        ----------
        x : array (n, n_inputs)
        y : array
            Targets, as the loss takes them; n rows.
        sample_weight : array (n,), optional
            Weights of the rows, of which only the ratios count: the loss is ``sum_i w_i l_i / sum_i |w_i|``. A batch whose weights
            are all zero changes nothing; it counts as one of ``accumulate_steps``.

        Returns
        -------
        float
            The loss before the update.

        Raises
        ------
        DivergenceError
            If the loss or the gradient is not finite. This call then changes nothing, but that gradients which wait for an update
            and are not finite themselves are discarded; the update that spoilt the parameters may be that of the call before,
            which is not undone.
        RuntimeError
            If another thread is training the network; if it is called by a loss or layer of the network at work.
        """
        planned, net = self._step_plan, self.net
        if planned is not None and not net._work.under_way and net._in_training.acquire(False):
            try:
                if planned.whole:
                    loss = planned.step(x, y, sample_weight, net._noise)
                    if loss is None and not planned.is_current():  # an option has been assigned since
                        planned = self._current_plan()
                        if planned is not None and planned.whole:
                            loss = planned.step(x, y, sample_weight, net._noise)
                elif planned.has_loss:
                    with self._waiting_kept():
                        loss = self._step_with_pause(planned, x, y, sample_weight)
                elif sample_weight is None:
                    with self._waiting_kept():
                        loss = self._step_with_function(planned, x, y)
                else:
                    loss = None
            finally:
                net._in_training.release()
            if planned is not None and loss is not None:
                if net.loss is not self.loss:
                    net.loss = self.loss
                if planned.whole and planned.updated:
                    self.__dict__["last_lr"] = planned.lr
                return float(loss)
        with self._exclusively("trainer.step"):
            batch = Converter(self.net, self.loss).batch(x, y, sample_weight, self.loss.row_class_weight)
            with self._waiting_kept():
                loss = self._train_on(batch)[0]
            self.net.loss = self.loss
            return loss

    def forward(self, x: npt.ArrayLike) -> Array:
        """Return the outputs in training mode; `backward_step` takes it from there.

        The two are for losses that need more than targets: compute dL/doutputs in between. The network may predict in between, but
        go neither forward nor backward, and its layers and parameters must stay as they are.
        """
        with self._exclusively("trainer.forward"):
            self._note_state()
            outputs = self.net._attempt(x, training=True, check_finite=True)
            if outputs is None:
                outputs = self.net.forward(as_matrix(x, "x", self.net.dtype, self.net.n_inputs), training=True)
            self.__dict__["_awaited"] = self.net._work.pending
            return outputs

    def backward_step(self, grad_outputs: npt.ArrayLike) -> None:
        """Go backward from dL/doutputs of the last `forward`, clip and update.

        Raises
        ------
        RuntimeError
            If there was no `forward` since the last backward, or the network went forward or changed after it.
        DivergenceError
            If the gradient is not finite; nothing is updated then, and the forward is undone.
        """
        with self._exclusively("trainer.backward_step"):
            awaited = self._awaited
            self.__dict__["_awaited"] = None
            if awaited is None:
                raise RuntimeError("each backward_step needs a forward of its own before it: call trainer.forward(x) first")
            try:
                with self._waiting_kept():
                    self._check_forward(awaited)
                    if not self._complete_by_plan(grad_outputs, awaited):
                        grad = as_matrix(grad_outputs, "grad_outputs", self.net.dtype, self.net.n_outputs, check_finite=False)
                        self.net.backward(grad)
                        self._use_gradients(float(len(grad)))
            except BaseException:
                self._undo_forward()
                raise

    def _train_on(self, batch: Batch) -> tuple[float, Array | None]:
        """Train on a prepared batch and return its loss and outputs, None for a batch without weight, which changes nothing."""
        if self._ranks is not None:
            return self._ranks.train_on(batch)
        if batch.weight is not None and not batch.weight.any():
            if self.accumulate_steps > 1 or self._accumulation.steps:
                self._accumulate(None, batch.divisor())
            return 0.0, None
        training = self._current_plan()
        if training is not None and training.has_loss and training.takes(len(batch.x)):
            outputs = np.empty((len(batch.x), self.net.n_outputs), self.net.dtype)
            results = Results(np.empty(1), np.empty(1), outputs)
            self._run_plan(training, batch, None, len(batch.x), results)
            return float(results.losses[0]), outputs
        self._note_state()
        try:
            outputs = self.net._forward(batch.x, training=True)
            given = outputs.copy() if self.loss.custom else outputs  # a custom loss may change what it is given
            return self._complete(given, batch), outputs
        except BaseException:
            self._undo_forward()
            raise

    def _current_plan(self) -> TrainingPlan | None:
        """Return the plan that takes whole steps, or, if it has no loss, their second half; None where there is none."""
        planned = self._step_plan
        if planned is None or not planned.is_current():
            state = self.__dict__
            state["_step_plan"] = None  # also if what follows raises
            assignments = state.get("_assignments")
            if self._ranks is None:
                state["_step_plan"] = current_plan(
                    planned,
                    self.net,
                    self.loss,
                    self.optimizer,
                    self.clip_norm,
                    self.clip_value,
                    self._l2_of_step,
                    self.accumulate_steps,
                    self._accumulation,
                    self.on_gradients is not None,
                )
            renewed: TrainingPlan | None = state["_step_plan"]
            if renewed is not None and state.get("_assignments") != assignments:  # by another thread, since they were read
                renewed.stale = True
            return renewed
        return planned

    def _run_plan(
        self,
        plan: TrainingPlan,
        data: Batch,
        order: Indices | None,
        batch_size: int,
        results: Results,
        check_finite: bool = False,
    ) -> int:
        """Train on the rows of ``data`` in ``order``, None for all of them; return how many steps were taken.

        That is fewer than there are if ``check_finite`` finds a batch of x that is not finite.

        Raises
        ------
        DivergenceError
            If the loss or the gradient is not finite.
        ValueError
            If a label is none of the classes any more: labels have been checked before, but they are the caller's.
        """
        net, optimizer = self.net, self.optimizer
        if not plan.whole:
            self._note_state()
        steps = len(results.losses)
        updates = 0 if plan.pauses else steps if self.accumulate_steps == 1 else self._updates_of(steps)
        rates = optimizer.learning_rates(updates) if updates == steps else np.zeros(steps)
        if 0 < updates < steps:
            rates[:updates] = optimizer.learning_rates(updates)
        done, forwards, updates, end = plan.run(
            data.x,
            data.targets,
            data.weight,
            order,
            batch_size,
            rates,
            optimizer.steps,
            net.dropout_step,
            data.mean_weight,
            check_finite,
            results.losses,
            results.weights,
            results.outputs,
            results.tally,
        )
        net._noise.step += forwards
        if updates:
            optimizer._advance("steps", updates)
            self.__dict__["last_lr"] = float(rates[updates - 1])
        if end == LOSS_NOT_FINITE:
            raise self._divergence("loss", float(results.losses[done]))
        if end == GRADIENT_NOT_FINITE:
            self._discard_accumulated()
            raise self._gradient_divergence()
        if end == LABEL_OUT_OF_RANGE:
            rows = np.arange(len(data.x)) if order is None else order
            raise _label_error(data.targets, rows[done * batch_size : (done + 1) * batch_size], net.n_outputs)
        if plan.awaited:
            self._end_pause(plan)
        return int(done)

    def _updates_of(self, steps: int) -> int:
        """Return how many updates a number of steps make, if each has weight; a schedule may have no values for more."""
        first = max(1, self.accumulate_steps - self._accumulation.steps)
        return 0 if steps < first else 1 + (steps - first) // self.accumulate_steps

    def _step_with_pause(self, plan: TrainingPlan, x: Any, y: Any, sample_weight: Any) -> float | None:
        """Train on a batch that needs no conversion, with a pause for ``on_gradients``; None for any other batch."""
        self._note_state()
        loss = plan.step(x, y, sample_weight, self.net._noise)
        if loss is not None and plan.awaited:
            self._end_pause(plan)
        return loss

    def _end_pause(self, plan: TrainingPlan) -> None:
        """Pass the gradients of a plan to ``on_gradients``, and update; if that fails, undo the forward.

        A custom optimizer updates here as well.
        """
        try:
            self._show_gradients()
            self._update_by_plan(plan)
        except BaseException:
            self._undo_forward()
            raise

    def _update_by_plan(self, plan: TrainingPlan) -> None:
        """Clip and update with the gradients that a plan has computed."""
        if not is_built_in(self.optimizer):
            self._update()
            return
        lr = self.optimizer.learning_rate
        finite = plan.update(lr) if self._step_plan is plan else None
        if finite is None:  # an option has been assigned meanwhile
            self._update()
        elif finite:
            self.__dict__["last_lr"] = lr
        else:
            raise self._gradient_divergence()

    def _step_with_function(self, plan: TrainingPlan, x: Any, y: Any) -> float | None:
        """Train on a batch that needs no conversion, the loss being a function; None for any other batch."""
        if type(self.loss) is not FunctionLoss or not plan.plain(x, y) or (self.net.n_outputs == 1 and y.shape[1] != 1):
            return None
        self._note_state()
        outputs = self.net._attempt(x, training=True)
        if outputs is None:
            return None
        try:
            return self._complete(outputs, Batch(outputs, y, None, None))
        except BaseException:
            self._undo_forward()
            raise

    def _complete(self, outputs: Array, batch: Batch) -> float:
        """Compute the loss of the last forward and take the second half of the step; ``batch.x`` is only counted."""
        loss, grad_outputs, awaited = self._loss_of(outputs, batch)
        if not math.isfinite(loss):
            raise self._divergence("loss", loss)
        if batch.weight is not None and batch.mean_weight:
            grad_outputs *= batch.total_weight() / batch.divisor()
        self._check_forward(awaited)
        penalty = self._penalty()
        if not self._complete_by_plan(grad_outputs, awaited, batch.divisor()):
            self.net._backward(grad_outputs, input_gradient=False)
            self._use_gradients(batch.divisor())
        return loss + penalty / batch.total_weight()

    def _loss_of(self, outputs: Array, batch: Batch) -> tuple[float, Array, Pending | str | None]:
        """Return the loss of the last forward, dL/doutputs, and what `_check_forward` awaits."""
        grad_outputs = np.empty_like(outputs)
        work = self.net._work
        awaited, work.under_way, work.thread = work.pending, LOSS, get_ident()
        try:
            return self.loss.compute(outputs, batch.targets, batch.weight, grad_outputs), grad_outputs, awaited
        finally:
            work.under_way = None

    def _penalty(self) -> float:
        """Return the penalty of a step: l2 / 2 times the sum of squares of the weights, which the divisor of the batch divides."""
        penalty = self._penalty_of(self._l2_of_step)
        if not math.isfinite(penalty):
            raise self._divergence("loss", penalty)
        return penalty

    def _penalty_of(self, l2: float) -> float:
        return l2 / 2 * kernels.active().squared_norm(self.net.parameters, weight_spans(self.net)) if l2 else 0.0

    @property
    def _l2_of_step(self) -> float:
        """The share of ``l2`` that one step adds: those of an update come to the penalty of one batch of all their rows."""
        return self.l2 / self.accumulate_steps

    def _check_forward(self, awaited: Pending | str | None) -> None:
        """Refuse to go backward unless the network's last forward is the awaited one, and the network has not changed since."""
        pending = self.net._work.pending
        if pending is not awaited:
            reason = pending if isinstance(pending, str) else "the network went forward or backward since"
            raise RuntimeError(f"{reason}: its backward needs trainer.forward(x), or a whole step, again")

    def _complete_by_plan(self, grad_outputs: npt.ArrayLike, awaited: Pending | str | None, divisor: float = 0.0) -> bool:
        """Go backward from dL/doutputs, clip and update by plan; False, and nothing is done, where that cannot be."""
        planned = self._current_plan()
        if planned is None:
            return False
        lr = 0.0 if planned.pauses else self.optimizer.learning_rate
        if self.net._work.pending is not awaited:  # the learning rate may be a function that does anything
            self._check_forward(awaited)
        finite = planned.finish(grad_outputs, lr, divisor)
        if finite is None:
            return False
        self.net._work.pending = None
        if not finite:
            self._discard_accumulated()
            raise self._gradient_divergence()
        if planned.awaited:
            self._show_gradients()
            self._update_by_plan(planned)
        elif planned.updated:
            self.__dict__["last_lr"] = lr
        return True

    def _train_on_uninterrupted(self, batch: Batch) -> tuple[float, Array | None]:
        """Train on a batch as `_train_on` does; an interrupt waits for its end."""
        self._interrupts.begin()
        try:
            return self._train_on(batch)
        finally:
            self._interrupts.end()

    def _use_gradients(self, divisor: float) -> None:
        """Use the gradients of a batch, which were divided by ``divisor``: update, or keep them until enough steps have come."""
        self._penalize(self.net.gradients, self._l2_of_step / divisor)
        if self.accumulate_steps == 1 and not self._accumulation.steps:
            self._clip_and_update()
        else:
            self._accumulate(self.net.gradients, divisor)

    def _penalize(self, gradients: Array, factor: float) -> None:
        """Add the gradient of ``factor`` / 2 times the sum of squares of the weights."""
        if factor:
            with np.errstate(over="ignore"):  # infinity is found before the update
                for part in slices(weight_spans(self.net)):
                    gradients[part] += factor * self.net.parameters[part]

    def _accumulate(self, gradients: Array | None, divisor: float) -> None:
        """Add the gradients of a batch, None where it has no weight, and update if enough steps have come."""
        self._accumulation.add(gradients, divisor)
        if self._accumulation.steps >= self.accumulate_steps:
            self._apply_accumulated()

    def _apply_accumulated(self) -> float:
        """Update with the gradients that have gathered so far, if there are any (see ``accumulate_steps``).

        Returns the part of the penalty that their steps have not reported, as they are fewer than ``accumulate_steps``.
        """
        gathered = self._accumulation
        filled, mean, steps, weight = gathered.filled, gathered.mean, gathered.steps, gathered.weight
        self._discard_accumulated()
        missing = 0.0
        if filled and mean is not None:
            l2 = self.l2 * max(0.0, 1 - steps / self.accumulate_steps)
            missing = self._penalty_of(l2)
            self._penalize(mean, l2 / weight)
            for part in slices(self.optimizer.attach(self.net)):  # the gradients of frozen layers stay 0
                self.net.gradients[part] = mean[part]
            self._clip_and_update()
        return missing

    @property
    def _accumulated_steps(self) -> int:
        """The number of steps that wait for their update."""
        return self._accumulation.steps

    @property
    def _has_accumulated(self) -> bool:
        """Whether gradients wait for their update: then there was a finite loss since the last one."""
        return self._accumulation.filled

    def _accumulated_state(self) -> tuple[Array | None, int, float]:
        """Return the gradients that wait for their update, of how many steps they are, and their weight."""
        return self._accumulation.state()

    def _load_accumulated_state(self, gathered: Array | None, steps: int, weight: float) -> None:
        """Restore what `_accumulated_state` returned."""
        self._accumulation.load(gathered, steps, weight)
        if steps and self._step_plan is not None:
            self._step_plan.stale = True  # it may be one for which no step waits

    def _waiting_kept(self) -> AbstractContextManager[None]:
        """Let gradients that wait for an update wait on if the step that would make it fails; `fit` discards them instead."""
        steps = self._accumulation.steps
        return self._restoring_waiting() if steps and steps >= self.accumulate_steps - 1 else _NOTHING

    @contextmanager
    def _restoring_waiting(self) -> Iterator[None]:
        """Restore the gradients that wait, unless they are not finite themselves: no later step could make its update."""
        gathered, steps, weight = self._accumulated_state()
        try:
            yield
        except BaseException:
            self._load_accumulated_state(gathered, steps, weight)
            if gathered is not None and not is_finite(gathered, self.optimizer.attach(self.net)):
                self._discard_accumulated()
            raise

    def _discard_accumulated(self) -> None:
        """Forget the gradients that have gathered: the run whose update they wait for has broken off."""
        self._accumulation.discard()

    def _clip_and_update(self) -> None:
        self._show_gradients()
        self._update()

    def _show_gradients(self) -> None:
        if self.on_gradients is None:
            return
        self.__dict__["_shows_gradients"] = True
        try:
            self.on_gradients(self.net.gradients)
        finally:
            self.__dict__["_shows_gradients"] = False

    def _update(self) -> None:
        """Clip the gradients and update, with a kernel each."""
        gradients, spans = self.net.gradients, self.optimizer.attach(self.net)
        norm = grad_norm(gradients, spans)
        if not math.isfinite(norm) and (self.clip_norm is not None or not is_finite(gradients, spans)):
            raise self._divergence("gradient norm", norm)
        if self.clip_norm is not None:
            scale_to_norm(gradients, spans, norm, self.clip_norm)
        elif self.clip_value is not None:
            kernels.active().clip_value(spans, gradients, self.clip_value)
        if self.optimizer._excess(gradients, spans):
            raise self._gradient_divergence()
        self.last_lr = self.optimizer.learning_rate
        self.optimizer.step(self.net)

    def _note_state(self) -> None:
        """Note what a forward in training mode changes beside the parameters."""
        self._check_hook()
        buffers = self.net.buffers
        self._before_forward = buffers.copy() if buffers.size else None, self.net.dropout_step

    def _undo_forward(self) -> None:
        """Undo the last forward, when what follows it has failed."""
        buffers, dropout_step = self._before_forward
        if buffers is not None:
            self.net.buffers[...] = buffers
        self.net.dropout_step = dropout_step

    def _check_hook(self) -> None:
        if self._shows_gradients:
            raise RuntimeError("on_gradients trains with the trainer that calls it, before the update that it is called for")

    def _exclusively(self, call: str) -> _Exclusively:
        self._check_hook()
        return _Exclusively(self.net, call)

    def _divergence(self, what: str, value: float) -> DivergenceError:
        """Return the error to raise when the loss or the gradient norm of a step is not finite."""
        found = f"the {what} is {value} at update {self.optimizer.steps + 1} in epoch {self.epoch + 1}"
        return DivergenceError._of("loss" if what == "loss" else "gradient", found, self.optimizer.learning_rate)

    def _gradient_divergence(self) -> DivergenceError:
        """Return the error to raise when the gradients of a step are not finite, or too large for the optimizer."""
        gradients, spans = self.net.gradients, self.optimizer.attach(self.net)
        excess = self.optimizer._excess(gradients, spans) if is_finite(gradients, spans) else ""
        if not excess:
            return self._divergence("gradient norm", grad_norm(gradients, spans))
        found = f"{excess} at update {self.optimizer.steps + 1} in epoch {self.epoch + 1}"
        return DivergenceError._of("gradient", found, self.optimizer.learning_rate)

    def _is_finite(self) -> bool:
        """Tell whether all parameters and buffers are finite."""
        parameters, buffers = self.net.parameters, self.net.buffers
        return bool(np.isfinite(parameters).all()) and (not buffers.size or bool(np.isfinite(buffers).all()))

    def _check_parameters(self) -> None:
        """Raise a DivergenceError if a parameter or buffer is no longer finite."""
        if not self._is_finite():
            found = f"parameters are no longer finite after update {self.optimizer.steps} in epoch {self.epoch + 1}"
            raise DivergenceError._of("parameters", found, self.last_lr)


def _label_error(labels: Labels, rows: Indices, n_classes: int) -> ValueError:
    """What to raise when steps have found a label among these rows that is no class."""
    wrong = rows[(labels[rows] < 0) | (labels[rows] >= n_classes)]
    found = f", got {labels[wrong[0]]} in row {wrong[0]}" if len(wrong) else ""
    return ValueError(
        f"y must hold class labels in [0, {n_classes}){found}; they were when training began, and must not change during it"
    )
