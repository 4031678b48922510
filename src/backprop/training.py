"""The trainer: a network, a loss and an optimizer, put to work step by step or epoch by epoch."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from threading import get_ident
from typing import Any

import numpy as np
import numpy.typing as npt

from . import kernels, losses, optimizers
from ._arrays import (
    aligned_zeros,
    as_matrix,
    as_parameter,
    check_count,
    check_flag,
    check_in,
    check_nonnegative,
    check_positive,
    check_seed,
)
from ._class_weights import ClassWeight
from ._model_file import StrPath
from ._plan import translate_training
from ._settings import Converted, Options, count, fixed, made_by, option, optional
from ._spans import slices, weight_spans
from ._suggestions import suggests_options
from ._training.chunks import Report, take_steps
from ._training.divergence import Diverged, DivergenceError
from ._training.epochs import FitOptions, run_fit
from ._training.evaluation import Meter, evaluate_batches, make_metrics
from ._training.interrupts import Interrupts
from ._training.rows import Batch, ClassVector, Converter, Rows, Stream
from ._types import Array
from .callbacks import CallbackList
from .clipping import grad_norm, is_finite, scale_to_norm
from .data import split
from .history import History
from .layers import Layer
from .losses import FunctionLoss, Loss, LossFunction
from .metrics import MetricSpec
from .network import LOSS, Network
from .optimizers import Optimizer

__all__ = ["DivergenceError", "Trainer", "evaluate", "fit"]


def __dir__() -> list[str]:
    return sorted(__all__)


EVALUATION_BATCH = 1024
# None but during `fit` or between `forward` and `backward_step`, or made again
_PASSING = ("training_data", "validation_data", "batch_size", "shuffle", "_callbacks", "error", "_diverged", "_planned", "_awaited")


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


def _checked_metrics(name: str, metrics: Any) -> tuple[MetricSpec, ...]:
    if isinstance(metrics, str) or callable(metrics):
        raise TypeError(f"{name} must be a list of names and functions, got {metrics!r}")
    return tuple(metrics)


class Trainer(Options):
    """Trains a network.

    Parameters
    ----------
    net : Network
    loss : str, Loss or callable
        A name in `losses.NAMES`, a `Loss`, or ``loss(outputs, targets) -> (value, dL/doutputs)``.
    optimizer : str or Optimizer
        A name starts fresh; an object keeps its moments and continues from them on the same network.
    clip_norm : float, optional
        The most that the global norm of the gradients may be; see `clip_grad_norm`.
    clip_value : float, optional
        The most that any gradient may be, instead; see `clip_grad_value`.
    metrics : sequence of str or callable, optional
        What is computed beside the loss; see `backprop.metrics`. By default those that fit the loss: accuracy for classes;
        accuracy and, outside training, auc for yes and no; mae, rmse and r2 for numbers.
    accumulate_steps : int
        Update only after so many steps, with the gradient of all their rows together.
    l2 : float
        Adds ``l2 / 2`` times the sum of squares of all weight matrices to the sum of the losses of the rows of a batch; the sum is
        then divided by the rows, or by their weight, as ever. So it weighs less in larger batches, and belongs to the loss: it is
        in the reported one, and is clipped with the gradient. It is scikit-learn's ``alpha``. The optimizer's ``weight_decay``
        does not depend on the batch, and covers all parameters unless groups say otherwise.

    Attributes
    ----------
    net, loss, optimizer, clip_norm, clip_value, metrics, accumulate_steps, l2
        The arguments: objects in place of names, the metrics as given.
    last_lr : float
        The learning rate of the last update.
    epoch : int
        The number of epochs trained so far, by all calls of `fit`.
    stop_training : bool
        A callback that sets it ends `fit` after the epoch.
    history_keys : tuple of str
        For callbacks: the keys that the history of the run has.
    batch_size : int or None
        During `fit`, for callbacks: the rows of a step, where the data are rows.
    training_data : object or None
        During `fit`, for callbacks: what is trained on. Where it is rows, ``training_data.count`` is their number, and
        ``training_data.take(slice(0, 10))`` returns a batch of them with the attributes ``x``, ``targets`` and ``weight``.
    validation_data : object or None
        During `fit`, for callbacks: what each epoch is validated on, as ``training_data``.
    shuffle : bool or None
        During `fit`, for callbacks: whether each epoch takes the rows in a new order, where the data are rows.
    error : BaseException or None
        In ``on_train_end``, for callbacks: the exception that ends `fit`, or None if it ends as planned.

    Raises
    ------
    ValueError
        If the network ends in an activation that the loss excludes (see `Loss.check_activation`), or the optimizer belongs to
        another network.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([2, 8, 1], activation="tanh", seed=0)
    >>> trainer = bp.Trainer(net, loss="binary_cross_entropy", optimizer=bp.Adam(lr=0.05))
    >>> x, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> history = trainer.fit(x, y, epochs=100, batch_size=4)
    >>> history["accuracy"][-1]
    1.0
    """

    net: Network = fixed(_checked_net, remedy="make a new Trainer")
    loss: Converted[Loss, str | Loss | LossFunction] = option(made_by(losses.get))
    optimizer: Converted[Optimizer, str | Optimizer] = option(made_by(optimizers.get))
    clip_norm: float | None = option(optional(check_positive))
    clip_value: float | None = option(optional(check_positive))
    metrics: Converted[tuple[MetricSpec, ...] | None, Sequence[MetricSpec] | None] = option(optional(_checked_metrics))
    accumulate_steps: int = option(check_count)
    l2: float = option(check_nonnegative)
    epoch: int = count(check_count, 0)
    stop_training: bool = count(check_flag)

    @suggests_options
    def __init__(
        self,
        net: Network,
        *,
        loss: str | Loss | LossFunction,
        optimizer: str | Optimizer = "adam",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        metrics: Sequence[MetricSpec] | None = None,
        accumulate_steps: int = 1,
        l2: float = 0.0,
    ) -> None:
        self.epoch = 0
        self.stop_training = False
        self.net = net
        self.loss = loss
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.metrics = metrics
        self.accumulate_steps = accumulate_steps
        self.l2 = l2
        self.optimizer = optimizer
        self.training_data: Rows | Stream | None = None
        self.validation_data: Rows | Stream | None = None
        self.shuffle: bool | None = None
        self.batch_size: int | None = None
        self.history_keys: tuple[str, ...] = ()
        self._training_keys: tuple[str, ...] = ()  # those of history_keys that are measured while the parameters change
        self.error: BaseException | None = None
        self._diverged: Diverged | None = None
        self._callbacks: CallbackList | None = None  # during `fit`
        self._callback_states: dict[str, Mapping[str, Any]] = {}  # read from a file, for the callbacks of the next `fit`
        self._interrupts = Interrupts()
        self._seed: int | None = None
        self._split_seed: int | None = None  # of validation_split, instead of the network's seed
        self._class_vector: ClassVector | None = None  # the loss's class weights, over the training set of the last fit
        self._gathered: Array | None = None  # the mean gradient of the steps that wait for their update; None: they had no weight
        self._gathered_steps = 0
        self._gathered_weight = 0.0
        self._before_forward: tuple[Array | None, int] = (None, 0)
        self._awaited: Any = None  # the network's forward that `forward` made
        self.last_lr = self.optimizer.learning_rate
        self._planned: Any = None

    def _check_options(self) -> None:
        self.loss.check_activation(self.net.output_activation)
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError(f"clip_norm and clip_value exclude each other, got {self.clip_norm!r} and {self.clip_value!r}")
        make_metrics(self.metrics, self.loss)
        self.optimizer.attach(self.net)

    def _assigned(self, name: str) -> None:
        """Forget what was made of the options."""
        if name in self._options and not self._options[name].is_count:
            self.__dict__["_planned"] = None
        if name == "loss":
            self.__dict__["_class_vector"] = None

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
            If the loss or the gradient is not finite. This call then changes nothing; the update that spoilt the parameters may
            be that of the call before, which is not undone.
        RuntimeError
            If another thread is training the network; if it is called by a loss or layer of the network at work.
        """
        planned, net = self._planned, self.net
        if planned is not None and sample_weight is None and not net._work.under_way and net._in_training.acquire(blocking=False):
            try:
                loss = planned.step(x, y, net._noise) if planned.has_loss else self._step_with_function(planned, x, y)
            finally:
                net._in_training.release()
            if loss is not None:
                if net.loss is not self.loss:
                    net.loss = self.loss
                self.__dict__["last_lr"] = planned.lr
                return float(loss)
        with self._exclusively("trainer.step"):
            batch = Converter(self.net, self.loss).batch(x, y, sample_weight, self.loss.row_class_weight)
            self.net.loss = self.loss
            return self._train_batch(batch)[0]

    def forward(self, x: npt.ArrayLike) -> Array:
        """Return the outputs in training mode; `backward_step` takes it from there.

        The two are for losses that need more than targets: compute dL/doutputs in between. The network may predict in between, but
        go neither forward nor backward, and its layers and parameters must stay as they are.
        """
        with self._exclusively("trainer.forward"):
            self._remember()
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
                self._check_forward(awaited)
                if not self._finish(grad_outputs, awaited):
                    grad = as_matrix(grad_outputs, "grad_outputs", self.net.dtype, self.net.n_outputs, check_finite=False)
                    self.net.backward(grad)
                    self._learn(float(len(grad)))
            except BaseException:
                self._undo()
                raise

    def _train_batch(self, batch: Batch) -> tuple[float, Array | None]:
        """Train on a prepared batch and return its loss and outputs, None for a batch without weight, which changes nothing."""
        if batch.weight is not None and not batch.weight.any():
            if self.accumulate_steps > 1 or self._gathered_steps:
                self._gather(None, batch.divisor())
            return 0.0, None
        training = self._training_plan()
        if training is not None and training.has_loss and training.takes(len(batch.x)):
            outputs = np.empty((len(batch.x), self.net.n_outputs), self.net.dtype)
            report = Report(np.empty(1), np.empty(1), outputs)
            take_steps(self, training, batch, None, len(batch.x), report)
            return float(report.losses[0]), outputs
        self._remember()
        try:
            outputs = self.net._forward(batch.x, training=True)
            given = outputs.copy() if self.loss.custom else outputs  # a custom loss may change what it is given
            return self._learn_from(given, batch), outputs
        except BaseException:
            self._undo()
            raise

    def _training_plan(self) -> Any:
        """Return the plan that takes whole steps, or, if it has no loss, their second half; None where there is none."""
        if self._planned is None or not self._planned.is_current():
            self._planned = None
            if self.accumulate_steps == 1 and not self._gathered_steps:
                self._planned = translate_training(self.net, self.loss, self.optimizer, self.clip_norm, self.clip_value, self.l2)
        return self._planned

    def _step_with_function(self, planned: Any, x: Any, y: Any) -> float | None:
        """Train on a batch that needs no conversion, the loss being a function; None for any other batch."""
        if type(self.loss) is not FunctionLoss or not planned.plain(x, y) or (self.net.n_outputs == 1 and y.shape[1] != 1):
            return None
        self._remember()
        outputs = self.net._attempt(x, training=True)
        if outputs is None:
            return None
        try:
            return self._learn_from(outputs, Batch(outputs, y, None, None))
        except BaseException:
            self._undo()
            raise

    def _learn_from(self, outputs: Array, batch: Batch) -> float:
        """Compute the loss of the last forward and take the second half of the step; ``batch.x`` is only counted."""
        grad_outputs = np.empty_like(outputs)
        work = self.net._work
        awaited, work.under_way, work.thread = work.pending, LOSS, get_ident()
        try:
            loss = self.loss.compute(outputs, batch.targets, batch.weight, grad_outputs)
        finally:
            work.under_way = None
        if not math.isfinite(loss):
            raise self._divergence("loss", loss)
        if batch.weight is not None and batch.mean_weight:
            grad_outputs *= batch.total_weight() / batch.divisor()
        self._check_forward(awaited)
        penalty = self._penalty()
        if not self._finish(grad_outputs, awaited, batch.divisor()):
            self.net._backward(grad_outputs, input_gradient=False)
            self._learn(batch.divisor())
        return loss + penalty / batch.total_weight()

    def _penalty(self) -> float:
        """Return l2 / 2 times the sum of squares of the weights, which the divisor of the batch divides."""
        if not self.l2:
            return 0.0
        penalty = self.l2 / 2 * kernels.active().squared_norm(self.net.parameters, weight_spans(self.net))
        if not math.isfinite(penalty):
            raise self._divergence("loss", penalty)
        return penalty

    def _check_forward(self, awaited: Any) -> None:
        """Refuse to go backward unless the network's last forward is the awaited one, and the network has not changed since."""
        pending = self.net._work.pending
        if pending is not awaited:
            reason = pending if isinstance(pending, str) else "the network went forward or backward since"
            raise RuntimeError(f"{reason}: its backward needs trainer.forward(x), or a whole step, again")

    def _finish(self, grad_outputs: npt.ArrayLike, awaited: Any, divisor: float = 0.0) -> bool:
        """Go backward from dL/doutputs, clip and update by plan; False, and nothing is done, where that cannot be."""
        planned = self._training_plan()
        if planned is None:
            return False
        lr = self.optimizer.learning_rate
        if self.net._work.pending is not awaited:  # the learning rate may be a function that does anything
            self._check_forward(awaited)
        finite = planned.finish(grad_outputs, lr, divisor)
        if finite is None:
            return False
        self.net._work.pending = None
        if not finite:
            raise self._gradient_divergence()
        self.__dict__["last_lr"] = lr
        return True

    def _train_uninterrupted(self, batch: Batch) -> tuple[float, Array | None]:
        """Train on a batch as `_train_batch` does; an interrupt waits for its end."""
        self._interrupts.begin()
        try:
            return self._train_batch(batch)
        finally:
            self._interrupts.end()

    def _train_and_measure(self, batch: Batch, meter: Meter) -> float:
        """Train on a batch, uninterrupted, let the meter have its loss and outputs, and return the loss."""
        loss, outputs = self._train_uninterrupted(batch)
        if outputs is not None:
            meter.add(loss, outputs, batch)
        return loss

    def _learn(self, divisor: float) -> None:
        """Use the gradients of a batch, which were divided by ``divisor``: update, or keep them until enough steps have come."""
        if self.l2:
            for part in slices(weight_spans(self.net)):
                self.net.gradients[part] += self.l2 / divisor * self.net.parameters[part]
        if self.accumulate_steps == 1 and not self._gathered_steps:
            self._update()
        else:
            self._gather(self.net.gradients, divisor)

    def _gather(self, gradients: Array | None, divisor: float) -> None:
        """Add the gradients of a batch to the mean of those that wait for their update; None is a batch without weight."""
        self._gathered_steps += 1
        self._gathered_weight += divisor
        share = divisor / self._gathered_weight if divisor else 0.0
        if gradients is not None and self._gathered is None:
            self._gathered = aligned_zeros(self.net.gradients.size, self.net.dtype)
        if self._gathered is not None:
            self._gathered *= 1 - share
        if self._gathered is not None and gradients is not None:
            self._gathered += share * gradients
        if self._gathered_steps >= self.accumulate_steps:
            self._flush()

    def _flush(self) -> None:
        """Update with the gradients that have gathered so far, if there are any (see ``accumulate_steps``)."""
        gathered = self._gathered
        self._discard_gathered()
        if gathered is not None:
            self.net.gradients[...] = gathered
            self._update()

    @property
    def _has_gathered(self) -> bool:
        """Whether gradients wait for their update: then there was a finite loss since the last one."""
        return self._gathered is not None

    def _gathered_state(self) -> tuple[Array | None, int, float]:
        """Return the gradients that wait for their update, of how many steps they are, and their weight."""
        gathered = None if self._gathered is None else self._gathered.copy()
        return gathered, self._gathered_steps, self._gathered_weight

    def _load_gathered_state(self, gathered: Array | None, steps: int, weight: float) -> None:
        """Restore what `_gathered_state` returned."""
        self._gathered, self._gathered_steps, self._gathered_weight = gathered, steps, weight

    def _discard_gathered(self) -> None:
        """Forget the gradients that have gathered: the run whose update they wait for has broken off."""
        self._gathered, self._gathered_steps, self._gathered_weight = None, 0, 0.0

    def _update(self) -> None:
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

    def _remember(self) -> None:
        """Note what a forward in training mode changes beside the parameters."""
        buffers = self.net.buffers
        self._before_forward = buffers.copy() if buffers.size else None, self.net.dropout_step

    def _undo(self) -> None:
        """Undo the last forward, when what follows it has failed."""
        buffers, dropout_step = self._before_forward
        if buffers is not None:
            self.net.buffers[...] = buffers
        self.net.dropout_step = dropout_step

    def _exclusively(self, call: str) -> _Exclusively:
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
        return bool(np.isfinite(self.net.parameters).all() and np.isfinite(self.net.buffers).all())

    def _check_parameters(self) -> None:
        """Raise a DivergenceError if a parameter or buffer is no longer finite."""
        if not self._is_finite():
            found = f"parameters are no longer finite after update {self.optimizer.steps} in epoch {self.epoch + 1}"
            raise DivergenceError._of("parameters", found, self.last_lr)

    def _check_validation(self, loss: float) -> None:
        """Raise a DivergenceError if the validation loss is NaN."""
        if math.isnan(loss):
            found = f"the validation loss is nan after update {self.optimizer.steps} in epoch {self.epoch + 1}"
            raise DivergenceError._of("loss", found, self.last_lr)

    def __repr__(self) -> str:
        """Return the parts, the network by its widths."""
        net = f"<Network {self.net.n_inputs} -> {self.net.n_outputs}, {self.net.parameters.size} parameters>"
        return f"Trainer({net}, loss={self.loss!r}, optimizer={self.optimizer!r}, epoch={self.epoch})"

    @suggests_options
    def fit(
        self,
        x: Any,
        y: npt.ArrayLike | None = None,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: Any = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        drop_last: bool = False,
        class_weight: ClassWeight | None = None,
        sample_weight: npt.ArrayLike | None = None,
        callbacks: Any = (),
        seed: int | None = None,
        steps_per_epoch: int | None = None,
        verbose: bool | None = None,
        check_finite: bool = True,
    ) -> History:
        """Train for some epochs.

        Parameters
        ----------
        x : array (n, n_inputs), or iterable of batches
            Inputs. A memory map is read batch by batch, so that it may be larger than memory. Without y: an iterable (or a
            function that returns one) of batches ``(x, y)`` or ``(x, y, sample_weight)``.
        y : array
            Targets as the loss takes them, n rows.
        epochs : int
            How many more epochs to train.
        batch_size : int
            Rows of a step; the last one of an epoch has what is left over.
        validation_data : tuple (x, y) or (x, y, sample_weight), or iterable of batches
            What is evaluated after each epoch.
        validation_split : float
            The share of the rows to hold out for validation instead, in [0, 1), drawn at random and stratified by class. Which
            rows are held out follows from the network's seed alone, so another call of `fit` on the same data, by this trainer
            or another one, validates on the same rows and never on rows that the network was trained on.
        shuffle : bool
            Whether rows come in a new random order each epoch.
        drop_last : bool
            Whether to leave out a last batch that is not full.
        class_weight : mapping, sequence or "balanced", optional
            Weights of the classes in training, multiplied with ``sample_weight``; see `losses.CrossEntropy`.
        sample_weight : array (n,), optional
            Weights of the rows, for the loss and the metrics. A step divides the weighted sum of its rows' losses by their number,
            and by the mean ``|weight|`` of all rows that are trained on (1 for an iterable of batches): so the ratio of weights
            holds between batches, whatever their size.
        callbacks : list
            See `backprop.callbacks`.
        seed : int, optional
            Fixes the order of the rows of each epoch. By default it is that of the last `fit`, or follows from the network's
            seed.
        steps_per_epoch : int, optional
            Where x is an iterable: how many batches make an epoch. None: as many as there are.
        verbose : bool, optional
            Whether to show a progress bar; None shows it on a terminal only.
        check_finite : bool
            Whether to refuse NaN and infinities in x and y.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            If arguments do not make sense, before anything is changed (for memory maps and iterables, when a batch does not).
        DivergenceError
            If the loss, the gradient or the parameters are no longer finite. If the last update is to blame, it is undone: network
            and optimizer are then as they were before it, when the loss was finite.
        RuntimeError
            If another thread is training the network.

        Notes
        -----
        The order of an epoch follows from the seed and from `epoch` alone. So training that was saved after some epochs and
        loaded again goes on exactly as if it had not been interrupted.

        To undo an update, one copy of the parameters and of the optimizer's moments is kept, and a second one for short times.
        """
        with self._exclusively("trainer.fit"):
            converter = Converter(self.net, self.loss, check_flag("check_finite", check_finite))
            validation_split = check_in("validation_split", validation_split, 0.0, 1.0, closed="left")
            if class_weight is not None and self.loss.class_weight is not None:
                raise ValueError("class_weight is given twice, to fit and to the loss")
            in_training = self.loss.row_class_weight if class_weight is None else class_weight
            seed = self._seed_for(seed)
            data: Rows | Stream
            validation: Rows | Stream | None = None
            if y is None:
                if sample_weight is not None or validation_split:
                    raise ValueError("sample_weight and validation_split need y; batches bring weights of their own")
                data = Stream(converter, x, steps_per_epoch, in_training)
            else:
                if steps_per_epoch is not None:
                    raise ValueError("steps_per_epoch is for iterables of batches; with arrays an epoch is all rows")
                data = Rows(converter, x, y, sample_weight, warns=True)
                if validation_split:
                    if validation_data is not None:
                        raise ValueError("validation_data and validation_split exclude each other")
                    split_seed = self.net.seed if self._split_seed is None else self._split_seed
                    kept, held_out = split(data.count, validation_split, stratify=data.labels(), seed=split_seed)
                    data, validation = data.subset(kept), data.subset(held_out)
                vector = data.use_class_weight(in_training)
                data.share_weight()
                self._class_vector = vector if class_weight is None else None
            if validation_data is not None:
                named = converter.of("validation_data")
                validation = self._evaluation_data(named, *_as_data(validation_data))
            elif isinstance(validation, Rows) and self._class_vector is not None:
                validation.use_class_weight(self._class_vector)
            options = FitOptions(
                epochs=check_count("epochs", epochs),
                batch_size=check_count("batch_size", batch_size),
                shuffle=check_flag("shuffle", shuffle),
                drop_last=check_flag("drop_last", drop_last),
                verbose=None if verbose is None else check_flag("verbose", verbose),
                seed=seed,
            )
            self._seed = seed
            return run_fit(self, data, validation, callbacks, options)

    def _seed_for(self, seed: int | None) -> int:
        if seed is not None:
            return check_seed(seed)
        if self._seed is not None:
            return self._seed
        state = np.random.SeedSequence([self.net.seed, self.net.dropout_step]).generate_state(1, np.uint64)
        return int(state[0])

    @suggests_options
    def evaluate(
        self,
        x: Any,
        y: npt.ArrayLike | None = None,
        *,
        sample_weight: npt.ArrayLike | None = None,
        batch_size: int = EVALUATION_BATCH,
        check_finite: bool = True,
    ) -> dict[str, float]:
        """Return the loss and the metrics on data, in evaluation mode.

        Parameters
        ----------
        x, y, sample_weight : array-like, or iterable of batches
            As in `fit`. Class weights of the loss count, those that were given to `fit` do not.
        batch_size : int
            Rows that go through the network at a time.
        check_finite : bool
            Whether to refuse NaN and infinity in x and y.

        Returns
        -------
        dict of str to float
            ``{"loss": ..., "accuracy": ...}``; the loss without weight decay, averaged over rows.
        """
        converter = Converter(self.net, self.loss, check_flag("check_finite", check_finite))
        return self._evaluate_prepared(self._evaluation_data(converter, x, y, sample_weight), check_count("batch_size", batch_size))

    def _evaluation_data(
        self, converter: Converter, x: Any, y: npt.ArrayLike | None = None, sample_weight: npt.ArrayLike | None = None
    ) -> Rows | Stream:
        class_weight = self.loss.row_class_weight if self._class_vector is None else self._class_vector
        if y is None:
            return Stream(converter, x, None, class_weight)
        data = Rows(converter, x, y, sample_weight)
        data.use_class_weight(class_weight)
        return data

    def _evaluate_prepared(self, data: Rows | Stream, batch_size: int = EVALUATION_BATCH) -> dict[str, float]:
        """Return the loss and the metrics on prepared data."""
        batches = data.batches(batch_size) if isinstance(data, Rows) else data.epoch()
        return evaluate_batches(self.net, self.loss, batches, make_metrics(self.metrics, self.loss))

    def save(self, path: StrPath) -> None:
        """Save all that training needs to go on bit for bit: network, optimizer and its moments, counts, random state.

        During `fit`, the state of the callbacks that have one is saved with it. Functions of a program are not saved: a custom loss
        and custom metrics have to be given to `load`. `backprop.load` reads the network alone from such a file.

        Raises
        ------
        TypeError
            If something is there that a file cannot hold, such as a learning rate that is a function.
        OSError
            If the file cannot be written; an older one is then as it was.
        """
        from ._training.checkpoint import save_trainer

        save_trainer(self, path)

    def _check_savable(self) -> None:
        """Raise the error of `save` if there is something that a file cannot hold."""
        from ._training.checkpoint import check_savable

        check_savable(self)

    @classmethod
    def load(
        cls,
        path: StrPath,
        *,
        layers: Mapping[str, type[Layer]] | None = None,
        loss: str | Loss | LossFunction | None = None,
        optimizer: Optimizer | None = None,
        metrics: Sequence[MetricSpec] | None = None,
    ) -> Trainer:
        """Return a trainer that goes on where the saved one was.

        If it was saved during `fit`, as `Checkpoint` does, pass the same callbacks to the next `fit`: they go on from their saved
        state. What a callback has saved goes to the callback of the same class, and among several of a class to the one in the
        same place.

        Parameters
        ----------
        path : str or path
        layers : mapping, optional
            The classes of custom layers, by name.
        loss, metrics : str or callable, sequence
            Instead of the saved ones; custom functions are not saved and have to be given.
        optimizer : Optimizer, optional
            Instead of the saved one, a new object, which takes over the saved moments and counts; one of a custom class is not
            saved and has to be given.

        Raises
        ------
        ModelFormatError
            If the file is damaged, or is not a checkpoint.
        TypeError
            If it needs a custom class or function that is not given.

        Examples
        --------
        >>> import os, tempfile
        >>> import backprop as bp
        >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
        >>> trainer = bp.Trainer(bp.mlp([2, 1], seed=0), loss="mse", optimizer="adam")
        >>> loss = trainer.step([[1.0, 2.0]], [3.0])
        >>> trainer.save(path)
        >>> again = bp.Trainer.load(path)
        >>> again.step([[1.0, 2.0]], [3.0]) == trainer.step([[1.0, 2.0]], [3.0])
        True
        """
        from ._training.checkpoint import load_trainer

        return load_trainer(cls, path, layers, loss, optimizer, metrics)

    def _progress_state(self) -> tuple[Array | None, dict[str, Any]]:
        """Return the gradients that wait for their update, if any, and how far training has come, ready for JSON."""
        counts = {
            "epoch": self.epoch,
            "seed": self._seed,
            "split_seed": self._split_seed,
            "gathered_steps": self._gathered_steps,
            "gathered_weight": self._gathered_weight,
            "class_vector": None if self._class_vector is None else self._class_vector.tolist(),
        }
        return self._gathered, counts

    def _load_progress_state(self, gathered: Array | None, counts: Mapping[str, Any]) -> None:
        """Restore what `_progress_state` returned."""
        self.epoch = check_count("epoch", counts["epoch"], 0)
        self._seed = None if counts["seed"] is None else check_seed(counts["seed"])
        self._split_seed = None if counts["split_seed"] is None else check_seed(counts["split_seed"])
        self._gathered_steps = check_count("gathered_steps", counts["gathered_steps"], 0)
        self._gathered_weight = check_nonnegative("gathered_weight", counts["gathered_weight"])
        vector = counts["class_vector"]
        self._class_vector = None if vector is None else self.loss.class_weight_vector(vector, (), self.net.n_outputs)
        if gathered is not None:
            self._gathered = aligned_zeros(self.net.gradients.size, self.net.dtype)
            self._gathered[...] = as_parameter(gathered, "trainer.gathered", self._gathered.shape, self.net.dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or pickle keeps: all but plans and what belongs to a `fit` under way."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_interrupts", *_PASSING)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        self.__dict__.update(state, _interrupts=Interrupts(), **dict.fromkeys(_PASSING))


@suggests_options
def fit(
    net: Network,
    x: Any,
    y: npt.ArrayLike | None = None,
    *,
    loss: str | Loss | LossFunction,
    optimizer: str | Optimizer = "adam",
    clip_norm: float | None = None,
    clip_value: float | None = None,
    metrics: Sequence[MetricSpec] | None = None,
    accumulate_steps: int = 1,
    l2: float = 0.0,
    epochs: int = 1,
    batch_size: int = 32,
    validation_data: Any = None,
    validation_split: float = 0.0,
    shuffle: bool = True,
    drop_last: bool = False,
    class_weight: ClassWeight | None = None,
    sample_weight: npt.ArrayLike | None = None,
    callbacks: Any = (),
    seed: int | None = None,
    steps_per_epoch: int | None = None,
    verbose: bool | None = None,
    check_finite: bool = True,
) -> History:
    """Train a network with a new `Trainer`; `Network.fit` as a function.

    Parameters
    ----------
    net : Network
        The network to train.
    x, y : array-like, or iterable of batches
        Inputs and targets; see `Trainer.fit`.
    loss, optimizer : str, or object
        See `Trainer`, also for the next line.
    clip_norm, clip_value, metrics, accumulate_steps, l2 : float, sequence, int
        Options of `Trainer`.
    epochs, batch_size, steps_per_epoch : int
        Options of `Trainer.fit`, also all that follow.
    validation_data, validation_split : tuple or iterable, float
        What is evaluated after each epoch, or the share of the rows to keep for that.
    shuffle, drop_last, verbose, check_finite : bool
        Whether to shuffle the rows, leave out a last batch that is not full, show a progress bar, refuse NaN and infinity.
    class_weight, sample_weight : mapping or sequence, array-like (n,)
        Weights of the classes and of the rows.
    callbacks : callback or sequence of callbacks
        See `backprop.callbacks`.
    seed : int, optional
        Fixes the order of the rows.

    Returns
    -------
    History
        The loss and the metrics of each epoch.

    Examples
    --------
    >>> import backprop as bp
    >>> history = bp.training.fit(bp.mlp([1, 1], seed=0), [[0.0], [1.0]], [1.0, 3.0], loss="mse", epochs=3)
    >>> history.epoch
    [0, 1, 2]
    """
    return Network.fit(
        net,
        x,
        y,
        loss=loss,
        optimizer=optimizer,
        clip_norm=clip_norm,
        clip_value=clip_value,
        metrics=metrics,
        accumulate_steps=accumulate_steps,
        l2=l2,
        epochs=epochs,
        batch_size=batch_size,
        validation_data=validation_data,
        validation_split=validation_split,
        shuffle=shuffle,
        drop_last=drop_last,
        class_weight=class_weight,
        sample_weight=sample_weight,
        callbacks=callbacks,
        seed=seed,
        steps_per_epoch=steps_per_epoch,
        verbose=verbose,
        check_finite=check_finite,
    )


@suggests_options
def evaluate(
    net: Network,
    x: Any,
    y: npt.ArrayLike | None = None,
    *,
    loss: str | Loss | LossFunction | None = None,
    metrics: Sequence[MetricSpec] | None = None,
    sample_weight: npt.ArrayLike | None = None,
    batch_size: int = EVALUATION_BATCH,
    check_finite: bool = True,
) -> dict[str, float]:
    """Return the loss and the metrics of a network on data, in evaluation mode; `Network.evaluate` as a function.

    Parameters
    ----------
    net : Network
        The network to evaluate.
    x, y : array-like, or iterable of batches
        Inputs and targets; see `Trainer.fit`.
    loss : str, Loss or callable, optional
        By default the loss that the network was last trained with.
    metrics : sequence of str or callable, optional
        What is computed beside the loss; by default what fits the loss.
    sample_weight : array-like (n,), optional
        Weights of the rows.
    batch_size : int
        Rows that go through the network at a time.
    check_finite : bool
        Whether to refuse NaN and infinity in x and y.

    Returns
    -------
    dict of str to float
        ``{"loss": ..., "accuracy": ...}``; the loss without weight decay, averaged over rows.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> net.parameters = [2.0, 1.0]
    >>> bp.training.evaluate(net, [[0.0], [1.0]], [1.0, 4.0], loss="mse", metrics=["mae"])
    {'loss': 0.5, 'mae': 0.5}
    """
    loss = net.loss if loss is None else loss
    if loss is None:
        raise ValueError("loss must be given: the network has not been trained with one")
    criterion = losses.get(loss)
    criterion.check_activation(net.output_activation)
    converter = Converter(net, criterion, check_flag("check_finite", check_finite))
    made = make_metrics(metrics, criterion)
    if y is None:
        return evaluate_batches(net, criterion, Stream(converter, x, None, criterion.row_class_weight).epoch(), made)
    rows = Rows(converter, x, y, sample_weight)
    rows.use_class_weight(criterion.row_class_weight)
    return evaluate_batches(net, criterion, rows.batches(check_count("batch_size", batch_size)), made)


def _as_data(validation_data: Any) -> tuple[Any, ...]:
    if isinstance(validation_data, tuple):
        if len(validation_data) not in (2, 3):
            raise ValueError(f"validation_data must be (x, y) or (x, y, sample_weight), got a tuple of {len(validation_data)}")
        return validation_data
    return (validation_data,)
