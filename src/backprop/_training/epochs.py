"""The loop over epochs: order, training, validation, history and callbacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .._arrays import check_count, check_flag
from .._types import Numbers
from ..callbacks import CallbackList
from ..data import Indices, count_batches, epoch_rng, row_order
from ..history import History
from ..layers import BatchNorm, walk
from ..network import Network
from ..optimizers import Optimizer
from ..schedules import ReduceOnPlateau
from .chunks import Chunks
from .evaluation import Meter, make_metrics
from .progress import Progress
from .rewind import Rewind
from .rows import NO_WEIGHT, Batch, ClassVector, Rows, Stream
from .state import TrainingState

LONG_ENOUGH = 0.05  # seconds: steps are handed over in slices of about this long, between which there is time for the rest
GROWTH = 16  # how many times as long a slice may be as the one before: the first steps are not typical


class FitOptions(NamedTuple):
    """The checked arguments of `Trainer.fit` that say how to go through the data."""

    epochs: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    verbose: bool | None
    seed: int

    @classmethod
    def checked(cls, epochs: Any, batch_size: Any, shuffle: Any, drop_last: Any, verbose: Any, seed: int) -> FitOptions:
        """Return the arguments of `Trainer.fit`, or raise an error that names the one that is not valid."""
        return cls(
            epochs=check_count("epochs", epochs),
            batch_size=check_count("batch_size", batch_size),
            shuffle=check_flag("shuffle", shuffle),
            drop_last=check_flag("drop_last", drop_last),
            verbose=None if verbose is None else check_flag("verbose", verbose),
            seed=seed,
        )


class _Pace:
    """How many steps take about `LONG_ENOUGH`, as far as slices have shown."""

    def __init__(self) -> None:
        self.steps = 1

    def learn(self, seconds: float) -> None:
        """Take note of how long a slice of `steps` steps took."""
        self.steps = max(1, int(self.steps * min(LONG_ENOUGH / max(seconds, 1e-9), GROWTH)))


def run_fit(
    trainer: TrainingState,
    data: Rows | Stream,
    validation: Rows | Stream | None,
    callbacks: Any,
    options: FitOptions,
    class_vector: ClassVector | None,
) -> History:
    """Train for some epochs and return their history; ``class_vector`` is what the trainer evaluates with from now on."""
    if isinstance(data, Rows):
        _check_batches(trainer, data.count, options)
    for each in (data, validation):
        _check_targets(trainer, each)
    outer = _seen_by_callbacks(trainer)
    _, hooks = check_callbacks(trainer, validation is not None, callbacks)
    history = History()
    progress, begun = None, False
    logs: dict[str, float] = {}
    pace = _Pace()
    loss, weight_of_fit = trainer.loss, data.class_weight is not None and trainer.loss.row_class_weight is None
    with trainer._interrupts, _under_way(trainer, data, validation, options, hooks, outer):
        try:
            _begin(trainer, hooks, options.seed, class_vector)
            begun = True
            progress, rewind = Progress(options.verbose, options.epochs, _steps(data, options)), None
            for index in range(options.epochs):
                progress.begin_epoch(index)
                hooks.call("on_epoch_begin", trainer.epoch, {})
                if trainer.loss is not loss and trainer._ranks is None:
                    _follow_loss(trainer, data, validation, weight_of_fit)
                    loss = trainer.loss
                if rewind is None:
                    rewind = Rewind(trainer)
                elif hooks.may_change_state or trainer._ranks is not None:
                    rewind.renew()
                numbers = _train_epoch(trainer, data, hooks, progress, options, pace, rewind)
                if validation is not None:
                    numbers |= {f"val_{key}": value for key, value in trainer._evaluate_prepared(validation, joined=True).items()}
                    with rewind:
                        trainer._check_validation(numbers["val_loss"])
                numbers["lr"] = trainer.last_lr
                logs = numbers
                monitored = check_schedule(trainer.optimizer, tuple(logs))  # a callback may have assigned another
                _count_epoch(trainer, monitored, logs)
                rewind.log(0, partial(_count_epoch_again, trainer, monitored, logs.copy()))
                history.append(trainer.epoch - 1, logs)
                progress.end_epoch(logs)
                hooks.call("on_epoch_end", trainer.epoch - 1, logs)
                if trainer.stop_training if trainer._ranks is None else trainer._ranks.agree_to_stop(trainer.stop_training):
                    break
        except BaseException as error:
            if begun:
                trainer._discard_accumulated()
            hooks.end(logs, error)
            raise
        finally:
            if progress is not None:
                progress.close()
        hooks.end(logs)
    return history


def check_callbacks(trainer: TrainingState, validated: bool, callbacks: Any) -> tuple[ReduceOnPlateau | None, CallbackList]:
    """Return the schedule that follows results, if there is one, and the callbacks; an error if they cannot serve in this run."""
    before = trainer._training_keys, trainer.history_keys
    trainer._training_keys, trainer.history_keys = _keys(trainer, validated)
    try:
        return check_schedule(trainer.optimizer, trainer.history_keys), CallbackList(callbacks, trainer)
    except BaseException:
        trainer._training_keys, trainer.history_keys = before
        raise


def _follow_loss(trainer: TrainingState, data: Rows | Stream, validation: Rows | Stream | None, weight_of_fit: bool) -> None:
    """Take targets and class weights as a loss does that a callback has assigned.

    Raises
    ------
    ValueError, TypeError
        If the loss takes other targets, or has class weights beside those of `fit`.
    """
    loss = trainer.loss
    if weight_of_fit and loss.class_weight is not None:
        raise ValueError("class_weight is given twice, to fit and to the loss that a callback has assigned")
    given = data.class_weight if weight_of_fit else loss.row_class_weight
    vector = data.follow(loss, given)
    if isinstance(data, Rows):
        data.require_weight()
        data.share_weight()
    if validation is not None:
        validation.follow(loss, loss.row_class_weight if weight_of_fit or vector is None else vector)
    for each in (data, validation):
        _check_targets(trainer, each)
    trainer.net.loss, trainer._class_vector = loss, None if weight_of_fit else vector


def _seen_by_callbacks(trainer: TrainingState) -> dict[str, Any]:
    """Return what the callbacks of a `fit` under way see, which calls this one; without it, what they see afterwards."""
    names = ("_callbacks", "training_data", "validation_data", "batch_size", "shuffle", "_diverged")
    if trainer._callbacks is None:
        return dict.fromkeys(names)
    return {name: getattr(trainer, name) for name in (*names, "history_keys", "_training_keys", "stop_training")}


@contextmanager
def _under_way(
    trainer: TrainingState,
    data: Rows | Stream,
    validation: Rows | Stream | None,
    options: FitOptions,
    hooks: CallbackList,
    outer: dict[str, Any],
) -> Iterator[None]:
    """Show callbacks what is trained on, as long as it is, and ``outer`` afterwards."""
    trainer.stop_training = False
    trainer._callbacks = hooks
    trainer.training_data = data if isinstance(data, Rows) or data.rows is None else data.rows
    trainer.validation_data = validation
    trainer.shuffle = options.shuffle if isinstance(data, Rows) else None
    trainer.batch_size = options.batch_size if isinstance(data, Rows) else None
    try:
        yield
    finally:
        trainer.__dict__.update(outer)


def _begin(trainer: TrainingState, hooks: CallbackList, seed: int, class_vector: ClassVector | None) -> None:
    """Tell callbacks that training begins; if one of them refuses, network and trainer are left as they were."""
    previous = trainer.net.loss, trainer._seed, trainer._class_vector
    trainer.net.loss, trainer._seed, trainer._class_vector = trainer.loss, seed, class_vector
    try:
        hooks.begin(trainer._callback_states)
    except BaseException:
        trainer.net.loss, trainer._seed, trainer._class_vector = previous
        raise
    trainer._callback_states = {}


def _steps(data: Rows | Stream, options: FitOptions) -> int | None:
    """Return the number of steps in an epoch, where it is known."""
    return count_batches(data.count, options.batch_size, options.drop_last) if isinstance(data, Rows) else data.steps


def _count_epoch(trainer: TrainingState, monitored: ReduceOnPlateau | None, logs: Mapping[str, float]) -> None:
    """Let trainer, optimizer and schedule know that an epoch is done."""
    trainer._advance("epoch", 1)
    count_epoch(trainer.optimizer, monitored, logs)


def count_epoch(optimizer: Optimizer, monitored: ReduceOnPlateau | None, logs: Mapping[str, float]) -> None:
    """Let an optimizer, and its schedule if it follows results, know that an epoch with these results is done."""
    optimizer._advance("epoch", 1)
    if monitored is not None:
        monitored._observe_key(logs)


def _train_epoch(
    trainer: TrainingState,
    data: Rows | Stream,
    hooks: CallbackList,
    progress: Progress,
    options: FitOptions,
    pace: _Pace,
    rewind: Rewind,
) -> dict[str, float]:
    """Train one epoch and return the loss and metrics over it."""
    meter = Meter(make_metrics(trainer.metrics, trainer.loss, streaming_only=True))
    each_step = hooks.has("on_train_batch_end")
    loss_before, batch = trainer.loss, 0

    def finished(losses: Numbers) -> None:
        nonlocal batch
        if each_step:
            for index, loss in enumerate(losses, batch):
                hooks.call("on_train_batch_end", index, {"loss": float(loss)})
            if trainer.loss is not loss_before and trainer._ranks is None:
                data.check_same_targets(trainer.loss)
        batch += len(losses)
        progress.advance(len(losses))

    if isinstance(data, Rows):
        chunks = Chunks(trainer, data, options.batch_size, meter)
        for order in _slices(trainer, data, options, None if each_step else pace):
            with rewind:
                rewind.renew_if_due()
                losses = rewind.log(-(-len(order) // options.batch_size), partial(_again, chunks, order, options.batch_size))
                chunks.train(order, losses)
            finished(losses)
        chunks.close()
    else:
        for ready in data.epoch():
            with rewind:
                rewind.renew_if_due()
                losses = rewind.log(1, partial(_batch_again, trainer, ready), ready.x.nbytes)
                losses[0] = trainer._train_and_measure(ready, meter)
            finished(losses)
    with rewind:
        if trainer._has_accumulated:
            rewind.log(1, partial(_flush_again, trainer))[0] = 0.0
        penalty = trainer._apply_accumulated()
        trainer._check_parameters()
    if trainer._ranks is not None:
        trainer._ranks.join(meter)
    if not meter.has_weight and isinstance(data, Stream):  # rows have been looked at before
        raise ValueError(NO_WEIGHT)
    meter.add_penalty(penalty)  # it is that of all ranks
    return meter.result()


# How to take again what `Rewind` has logged: steps ``first`` to ``last - 1``.


def _again(chunks: Chunks, order: Indices, batch_size: int, first: int, last: int) -> Numbers:
    return chunks.again(order[first * batch_size : last * batch_size])


def _batch_again(trainer: TrainingState, batch: Batch, first: int, last: int) -> Numbers:
    return np.array([trainer._train_on_uninterrupted(batch)[0]])


def _flush_again(trainer: TrainingState, first: int, last: int) -> Numbers:
    trainer._apply_accumulated()
    return np.zeros(1)


def _count_epoch_again(
    trainer: TrainingState, monitored: ReduceOnPlateau | None, logs: Mapping[str, float], first: int, last: int
) -> Numbers:
    _count_epoch(trainer, monitored, logs)
    return np.zeros(0)


def _slices(trainer: TrainingState, data: Rows, options: FitOptions, pace: _Pace | None) -> Iterator[Indices]:
    """Yield the row numbers of one epoch in their order, for a number of steps at a time that the pace gives and learns from."""
    rng = epoch_rng(options.seed, trainer.epoch) if options.shuffle else None
    for order in row_order(data.count, options.batch_size, rng, options.drop_last):
        start = 0
        while start < len(order):
            steps = 1 if pace is None else pace.steps
            stop = start + steps * options.batch_size
            began = perf_counter()
            yield order[start:stop]
            if pace is not None and stop <= len(order):
                pace.learn(perf_counter() - began)
            start = stop


def _check_batches(trainer: TrainingState, rows: int, options: FitOptions) -> None:
    """Refuse batch sizes that leave nothing to train on, or a batch too small for batch normalization."""
    if count_batches(rows, options.batch_size, options.drop_last) == 0:
        raise ValueError(f"drop_last leaves no batch of {options.batch_size}: there are {rows} rows")
    if not options.drop_last or options.batch_size == 1:
        check_last_batch(trainer.net, rows, options.batch_size)


def check_last_batch(net: Network, rows: int, batch_size: int, advice: str = "use another batch_size, or drop_last=True") -> None:
    """Refuse a last batch of a single row, which is too few for batch normalization."""
    last = rows % batch_size or batch_size
    if last == 1 and has_batch_norm(net):
        raise ValueError(
            f"BatchNorm needs at least two rows in a batch, but {rows} rows in batches of {batch_size} end with one of a single "
            f"row: {advice}"
        )


def has_batch_norm(net: Network) -> bool:
    """Whether batches of one row are too small for the network."""
    return any(isinstance(layer, BatchNorm) for _, layer in walk(net.layers, "layers"))


def leaves_row_alone(net: Network, rows: int, batch_size: int) -> bool:
    """Whether the last of several batches has a single row, which is too few for the network's batch normalization."""
    return rows > batch_size > 1 and rows % batch_size == 1 and has_batch_norm(net)


def _check_targets(trainer: TrainingState, data: Rows | Stream | None) -> None:
    """Refuse targets in memory that a metric is not defined for; compiled steps, which keep sums for metrics, do not look."""
    if isinstance(data, Rows):
        metrics = make_metrics(trainer.metrics, trainer.loss)
        for targets in data.real_targets():
            for metric in metrics:
                metric.check_targets(targets, trainer.net.n_outputs)


def _keys(trainer: TrainingState, validated: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys that are measured in training, and all keys of the history."""
    training = ["loss", *(metric.name for metric in make_metrics(trainer.metrics, trainer.loss, streaming_only=True))]
    full = ["loss", *(metric.name for metric in make_metrics(trainer.metrics, trainer.loss))]
    return tuple(training), (*training, *(f"val_{key}" for key in full if validated), "lr")


def check_schedule(optimizer: Optimizer, keys: Sequence[str]) -> ReduceOnPlateau | None:
    """The learning rate schedule, if it follows results; an error if it follows one that is not among the keys of the run's."""
    schedule = optimizer.lr
    if not isinstance(schedule, ReduceOnPlateau):
        return None
    if schedule.monitor is not None and schedule.monitor not in keys:
        raise ValueError(f"monitor of ReduceOnPlateau must be one of {', '.join(keys)}, got {schedule.monitor!r}")
    return schedule
