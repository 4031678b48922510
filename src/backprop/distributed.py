"""One network trained by several processes, each on its own rows: data parallelism over MPI.

Every process (rank) runs the same program, ``mpiexec -n 4 python train.py``. In each step a rank computes the gradient of its
batch; one sum over all ranks gives the gradient over the rows of all, and every rank does the same update. So the networks stay
equal, and equal to that of one process that trains on the joined batches.

The communicator is that of mpi4py, or any object with its ``rank``, ``size``, ``allgather``, ``Allreduce``, ``Bcast``, ``Abort``.
"""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from ._arrays import check_count, check_flag
from ._class_weights import ClassWeight, balanced
from ._overrides import is_built_in
from ._training.divergence import DivergenceError
from ._training.epochs import FitOptions, check_callbacks, run_fit
from ._training.evaluation import Meter
from ._training.rows import (
    DROP_LAST_OF_BATCHES,
    NO_WEIGHT,
    NO_WEIGHT_TO_EVALUATE,
    WEIGHT_OF_BATCHES,
    Batch,
    ClassVector,
    Converter,
    Rows,
    Stream,
    as_data,
)
from ._training.state import checked_comm
from ._types import Array, Communicator, Numbers
from .callbacks import Checkpoint, CSVLogger
from .data import count_batches
from .history import History
from .layers import BatchNorm, walk
from .training import Trainer

__all__ = ["fit", "shard"]


def __dir__() -> list[str]:
    return sorted(__all__)


def shard(rows: int, comm: Communicator) -> npt.NDArray[np.intp]:
    """Return the positions of the rows that belong to this rank: every ``size``-th one.

    Parameters
    ----------
    rows : int
        The number of rows of all ranks together.
    comm : mpi4py.MPI.Comm
        The communicator.

    Returns
    -------
    array of int

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> shard(7, SimpleNamespace(rank=1, size=3)).tolist()
    [1, 4]
    """
    checked_comm("comm", comm, ("rank", "size"))
    return np.arange(comm.rank, check_count("rows", rows, minimum=0), comm.size)


def fit(
    trainer: Trainer,
    x: Any,
    y: npt.ArrayLike | None = None,
    *,
    comm: Communicator,
    epochs: int = 1,
    batch_size: int = 32,
    validation_data: Any = None,
    shuffle: bool = True,
    drop_last: bool = False,
    class_weight: ClassWeight | None = None,
    sample_weight: npt.ArrayLike | None = None,
    callbacks: Sequence[Any] = (),
    seed: int | None = None,
    steps_per_epoch: int | None = None,
    sync_batch_norm: bool = True,
    verbose: bool | None = None,
    check_finite: bool = True,
) -> History:
    """Train one network on the rows of all ranks.

    Parameters and running statistics of rank 0 are copied to all at the start. Ranks may have different numbers of rows, also none:
    a rank whose rows are used up adds nothing to the last steps of an epoch. Every number of the history is that of all rows.

    So N ranks learn what one rank learns on the joined batches, up to rounding: with metrics, weights of rows and classes, ``l2``,
    ``accumulate_steps``, clipping, ``on_gradients``, schedules, and callbacks such as `EMA` and `EarlyStopping`. `BatchNorm`
    normalizes by the rows of all ranks; dropout drops something else on every rank.

    Parameters
    ----------
    trainer : Trainer
        Of the same network, loss, optimizer and options on all ranks. Its ``on_gradients`` sees the summed gradients.
    x, y : array-like, or iterable of batches
        The rows of this rank; see `Trainer.fit`. Without y, batches ``(x, y)`` or ``(x, y, sample_weight)``, of which ranks may
        have different numbers; `backprop.data.parquet` gives each rank its share.
    comm : mpi4py.MPI.Comm
        The communicator, such as ``MPI.COMM_WORLD``.
    epochs : int
        How many more epochs to train.
    batch_size : int
        Rows of a step on this rank: a step takes ``size`` times as many in all.
    validation_data : tuple (x, y) or (x, y, sample_weight), or iterable of batches, optional
        The rows of this rank that are evaluated after each epoch. Given on all ranks, or on none.
    shuffle : bool
        Whether rows come in a new random order each epoch.
    drop_last : bool
        Whether to leave out a last batch that is not full.
    class_weight : mapping, sequence or "balanced", optional
        Weights of the classes, multiplied with ``sample_weight``; balanced ones are those of the rows of all ranks.
    sample_weight : array-like (n,), optional
        Weights of the rows, on one scale for all ranks. Given on all ranks, or on none.
    callbacks : sequence of callbacks
        Called on every rank, with the same numbers; those that write files, `Checkpoint` and `CSVLogger`, on rank 0 only.
    seed : int, optional
        Fixes the order of the rows, with the rank. By default it is as in `Trainer.fit`, for the trainer of rank 0.
    steps_per_epoch : int, optional
        Where x is an iterable: how many batches of this rank make an epoch. None: all of them.
    sync_batch_norm : bool
        Whether `BatchNorm` takes mean and variance over the rows of all ranks, which costs three more sums for each such layer in a
        step. False takes those of the rank's own batch, and averages running statistics after every epoch.
    verbose : bool, optional
        Whether rank 0 shows a progress bar; None shows it on a terminal only.
    check_finite : bool
        Whether to refuse NaN and infinities in x and y.

    Returns
    -------
    History
        The loss and the metrics of each epoch; the same on all ranks.

    Raises
    ------
    ValueError, TypeError
        On all ranks, before training begins, when an argument does not fit on one of them, or ranks differ in what has to be equal;
        the message names the rank and what differs.
    DivergenceError
        On all ranks, when the loss or the gradient is not finite; the update to blame is undone, as in `Trainer.fit`.

    Notes
    -----
    Any other exception on a rank, once training has begun, is printed and ends all ranks (``comm.Abort``), which would wait for it
    forever. A trainer that rank 0 has saved continues on any number of ranks: load it on all of them.

    In each step, gradients, loss and weights are summed by one Allreduce between backward and update; the rest of a step is that
    of one process.

    Examples
    --------
    Run by ``mpiexec -n 4 python train.py``:

    >>> from mpi4py import MPI  # doctest: +SKIP
    >>> mine = bp.distributed.shard(len(x), MPI.COMM_WORLD)  # doctest: +SKIP
    >>> trainer = bp.Trainer(bp.mlp([8, 64, 1], seed=0), loss="mse")  # doctest: +SKIP
    >>> bp.distributed.fit(trainer, x[mine], y[mine], comm=MPI.COMM_WORLD, epochs=10)  # doctest: +SKIP
    """
    checked_comm("comm", comm)
    with _agreement(comm) as signature:
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainer must be a Trainer, got {type(trainer).__name__}")
        options = FitOptions.checked(epochs, batch_size, shuffle, drop_last, verbose, trainer._seed_for(seed))
        converter = Converter(trainer.net, trainer.loss, check_flag("check_finite", check_finite))
        run = _Run(trainer, comm, options, check_flag("sync_batch_norm", sync_batch_norm))
        run.take_data(converter, x, y, sample_weight, class_weight, steps_per_epoch)
        run.take_validation(converter.of("validation_data"), validation_data)
        run.take_callbacks(callbacks)
        signature |= run.signature()
    run.share_data()
    try:
        run.share_network()
        return run.train()
    except DivergenceError:  # on all ranks alike
        raise
    except BaseException:
        if comm.size > 1:
            print(f"rank {comm.rank} of {comm.size} ends all ranks:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            comm.Abort(1)
        raise


def fit_by(trainer: Trainer, x: Any, y: Any, *, validation_split: float, **options: Any) -> History:
    """Return what `fit` does for a trainer with ``comm``."""
    assert trainer.comm is not None
    with _agreement(trainer.comm):
        if validation_split:
            raise ValueError(
                f"validation_split has no place in distributed training, got {validation_split!r}: give each rank's validation_data"
            )
    return fit(trainer, x, y, comm=trainer.comm, **options)


@contextmanager
def _agreement(comm: Communicator) -> Iterator[dict[str, str]]:
    """Raise an error on all ranks at the end of a block that raises one on any, or whose signatures, by name, differ."""
    failure: BaseException | None = None
    signature: dict[str, str] = {}
    try:
        yield signature
    except Exception as error:
        failure = error
    found = comm.allgather((None if failure is None else f"{type(failure).__name__}: {failure}", signature))
    if failure is not None:
        raise failure
    for rank, (message, _) in enumerate(found):
        if message is not None:
            raise ValueError(f"rank {rank} cannot train: {message}")
    first = found[0][1]
    for rank, (_, other) in enumerate(found):
        for what, value in first.items():
            if other[what] != value:
                raise ValueError(f"all ranks must have the same {what}: rank {rank} has {other[what]}, rank 0 has {value}")


def _refuse_single_row(shares: Sequence[tuple[int, int, int]]) -> None:
    """Refuse a step with a single row over all ranks, given the steps, rows and batch size of each rank.

    The number of rows changes only where a rank has its last batch, and after it: no other steps have to be looked at.
    """
    for step in sorted({end + after for end, _, _ in shares for after in (0, 1)} - {0}):
        if sum(min(size, count - (step - 1) * size) for end, count, size in shares if step <= end) == 1:
            raise ValueError(
                f"BatchNorm needs at least two rows of all ranks together in a batch, but step {step} of an epoch has a single "
                "row: use another batch_size, or drop_last=True"
            )


class _SyncedNorm:
    """Replaces forward and backward of a batch normalization: mean and variance are those of all ranks' rows.

    Copies of the layer, such as that of an `EMA`, have those of the class.
    """

    def __init__(self, layer: BatchNorm, comm: Communicator) -> None:
        self.layer, self.comm = layer, comm
        self.kept: tuple[Array, Array, float] | None = None

    def install(self) -> None:
        setattr(self.layer, "forward", self.forward)  # noqa: B010  (mypy refuses the assignment)
        setattr(self.layer, "backward", self.backward)  # noqa: B010
        self.layer._TRANSIENT |= {"forward", "backward"}

    def remove(self) -> None:
        for name in ("forward", "backward", "_TRANSIENT"):
            if name in vars(self.layer):
                delattr(self.layer, name)

    def forward(self, x: Array, training: bool) -> Array:
        layer = self.layer
        if not training:
            return layer._normalized(x)
        sums = self._sum(np.append(x.sum(axis=0, dtype=np.float64), len(x)))
        n = float(sums[-1])
        if n < 2:
            raise ValueError(f"{layer!r} needs at least 2 rows of all ranks together in training, got {n:g}")
        mean = sums[:-1] / n
        centred = x - mean
        squares = self._sum(np.sum(centred * centred, axis=0))
        inv_std = 1 / np.sqrt(squares / n + layer.eps)
        x_hat = centred * inv_std
        self.kept = x_hat, inv_std, n
        layer.running_mean[...] += layer.momentum * (mean - layer.running_mean)
        layer.running_var[...] += layer.momentum * (squares / (n - 1) - layer.running_var)
        y: Array = (layer.weight * x_hat + layer.bias).astype(x.dtype)
        return y

    def backward(self, grad_outputs: Array) -> Array:
        layer = self.layer
        assert self.kept is not None
        x_hat, inv_std, n = self.kept
        own = np.stack([np.sum(grad_outputs * x_hat, axis=0), grad_outputs.sum(axis=0, dtype=np.float64)])
        layer.grad_weight[...], layer.grad_bias[...] = own if layer.trainable else np.zeros_like(own)
        weight_sum, bias_sum = self._sum(own)
        grad_x: Array = (layer.weight * inv_std / n * (n * grad_outputs - bias_sum - x_hat * weight_sum)).astype(grad_outputs.dtype)
        return grad_x

    def _sum(self, own: Array) -> Array:
        total = np.empty_like(own)
        self.comm.Allreduce(own, total)
        return total


class _Shares(Stream):
    """The batches of this rank, followed by empty ones up to the number of batches of the rank that has the most."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self.steps = run.most_steps
        self.rows = run.rows if run.rows is not None and run.rows.count else None

    def epoch(self) -> Iterator[Batch]:
        """Yield the batches of one epoch, the same number on all ranks."""
        own, net = self._run.batches(), self._run.net
        nothing = Batch(np.empty((0, net.n_inputs), net.dtype), np.empty((0, net.n_outputs), net.dtype), None, None)
        step = 0
        while self.steps is None or step < self.steps:
            batch = next(own, None)
            if self.steps is None and not any(self._run.comm.allgather(batch is not None)):
                break
            yield nothing if batch is None else batch
            step += 1
        self._run.average_buffers()


class _Run:
    """One call of `fit` on one rank, and the sums over all ranks that the trainer's steps need."""

    most_steps: int | None  # in an epoch on any rank; None where only iterating tells
    rows: Rows | None = None
    stream: Stream | None = None
    class_vector: ClassVector | None = None  # the loss's class weights

    def __init__(self, trainer: Trainer, comm: Communicator, options: FitOptions, sync_batch_norm: bool) -> None:
        self.trainer, self.net, self.comm, self.options = trainer, trainer.net, comm, options
        self.sync_batch_norm = sync_batch_norm
        norms = [layer for _, layer in walk(self.net.layers, "layers") if isinstance(layer, BatchNorm)]
        for layer in norms:
            if sync_batch_norm and not is_built_in(layer):  # its methods would give way to those below
                raise ValueError(f"sync_batch_norm must be False where code of your own normalizes, as that of {layer!r} does")
        self.has_norms = bool(norms)
        self.synced = [_SyncedNorm(layer, comm) for layer in norms] if sync_batch_norm else []
        self.validation: Rows | Stream | None = None

    def take_data(
        self,
        converter: Converter,
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: ClassWeight | None,
        steps_per_epoch: int | None,
    ) -> None:
        """Check and convert what this rank trains on."""
        trainer, options = self.trainer, self.options
        if class_weight is not None and trainer.loss.class_weight is not None:
            raise ValueError("class_weight is given twice, to fit and to the loss")
        self.class_weight = trainer.loss.row_class_weight if class_weight is None else class_weight
        self.of_loss = class_weight is None
        if y is None:
            if sample_weight is not None:
                raise ValueError(WEIGHT_OF_BATCHES)
            if options.drop_last:
                raise ValueError(DROP_LAST_OF_BATCHES)
            self.stream = Stream(converter, x, steps_per_epoch, self.class_weight)
            return
        if steps_per_epoch is not None:
            raise ValueError("steps_per_epoch is for iterables of batches; with arrays an epoch is all rows")
        self.rows = Rows(converter, x, y, sample_weight, warns=True, may_be_empty=True)
        if self.class_weight is not None and not isinstance(self.class_weight, str):
            self.rows.use_class_weight(self.class_weight)
        elif self.class_weight is not None:
            trainer.loss.class_weight_vector(self.class_weight, [], self.net.n_outputs)
        size = options.batch_size
        alone = size == 1 or (self.rows.count % size == 1 and not options.drop_last)
        if self.has_norms and not self.synced and alone:
            raise ValueError(
                "BatchNorm needs at least 2 rows of each rank in a batch: choose another batch_size, or drop_last=True"
            )

    def take_validation(self, converter: Converter, data: Any) -> None:
        """Check and convert what this rank evaluates after each epoch."""
        if data is None:
            return
        x, *rest = as_data(data)
        self.validation = Rows(converter, x, *rest, may_be_empty=True) if rest else Stream(converter, x)

    def take_callbacks(self, callbacks: Any) -> None:
        """Keep the callbacks of this rank, and check that they can serve in this run."""
        given = [] if callbacks is None else list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        self.callbacks = [one for one in given if self.comm.rank == 0 or not isinstance(one, Checkpoint | CSVLogger)]
        check_callbacks(self.trainer, self.validation is not None, self.callbacks)

    def signature(self) -> dict[str, str]:
        """What has to be equal on all ranks, by name."""
        trainer, options = self.trainer, self.options
        moments = sha256()
        for key, value in sorted(trainer.optimizer.state_dict().items()):
            moments.update(key.encode())
            moments.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
        return {
            "layers": repr(self.net.layers),
            "trainable layers": str([name for name, layer in walk(self.net.layers, "layers") if layer.trainable]),
            "dtype": self.net.dtype.name,
            "loss": repr(trainer.loss),
            "optimizer": repr(trainer.optimizer),
            "number of updates so far": str(trainer.optimizer.steps),
            "number of epochs so far": str(trainer.epoch),
            "state of the optimizer": moments.hexdigest()[:12],
            "number of gradients that wait for an update": str(trainer._accumulated_steps),
            "clip_norm": str(trainer.clip_norm),
            "clip_value": str(trainer.clip_value),
            "accumulate_steps": str(trainer.accumulate_steps),
            "l2": str(trainer.l2),
            "metrics": ", ".join(trainer.history_keys),
            "use of on_gradients": str(trainer.on_gradients is not None),
            "epochs": str(options.epochs),
            "class_weight": repr(self.class_weight),
            "sync_batch_norm": str(self.sync_batch_norm),
            "kind of x": "batches" if self.rows is None else "rows",
            "kind of validation_data": "none" if self.validation is None else type(self.validation).__name__,
            "kind of sample_weight": "weights" if self.rows is not None and self.rows.has_sample_weight else "none",
        }

    def share_data(self) -> None:
        """Exchange the sizes and weights of the ranks' rows. Neither trainer nor network is changed.

        Raises
        ------
        Exception
            On all ranks, when the rows of one of them, such as labels in a memory map, do not fit, there is nothing to train on,
            or a batch of all ranks is too small for batch normalization.
        """
        comm, options = self.comm, self.options
        count = 0 if self.rows is None else self.rows.count
        steps = count_batches(count, options.batch_size, options.drop_last)
        found = comm.allgather((options.seed, self.net.dropout_step, steps, count, options.batch_size))
        self.options = options._replace(seed=found[0][0], verbose=options.verbose if comm.rank == 0 else False)
        self.dropout_step = max(entry[1] for entry in found)
        self.most_steps = None
        if self.rows is not None:
            self.most_steps = max(entry[2] for entry in found)
            if not self.most_steps:
                raise ValueError("x must have at least one batch of rows on one of the ranks")
            if self.synced:
                _refuse_single_row([entry[2:] for entry in found])
        self._share_weights()

    def share_network(self) -> None:
        """Copy the parameters and buffers of rank 0 to all ranks, and begin with the agreed state."""
        net, comm = self.net, self.comm
        net.dropout_step = self.dropout_step
        for array in (net.parameters, net.buffers):
            values = array.copy()
            comm.Bcast(values, root=0)
            array[...] = values
        net._lose_forward()
        self.sent = np.zeros(net.parameters.size + 3, net.dtype)  # gradient, sum of losses, weight, divisor
        self.summed = np.zeros_like(self.sent)

    def _share_weights(self) -> None:
        """Apply class weights, and scale the weights of rows by the mean over the rows of all ranks."""
        rows, validation = self.rows, self.validation
        balance = None
        if rows is not None and isinstance(self.class_weight, str):
            balance = balanced(self._total(rows.count_classes)).tolist()

        def weights() -> list[float]:
            if rows is not None:
                rows.use_class_weight(balance)
                self.class_vector = rows.class_vector if self.of_loss else None
            vector = self.class_vector
            if validation is not None and (vector is not None or (rows is None and self.of_loss)):
                validation.use_class_weight(self.class_weight if vector is None else vector.tolist())
            return [
                number
                for data in (rows, validation)
                if isinstance(data, Rows)
                for number in (data.count, data.total_weight() if data.is_weighted else data.count)
            ]

        sums = iter(self._total(weights).tolist())
        for data, name in ((rows, "x"), (validation, "validation_data")):
            if isinstance(data, Rows):
                count, weight = next(sums), next(sums)
                if not count:
                    raise ValueError(f"{name} must have at least one row on one of the ranks")
                if not weight:
                    raise ValueError(NO_WEIGHT if data is rows else NO_WEIGHT_TO_EVALUATE)
                if data is rows and data.is_weighted:
                    rows.set_mean_weight(weight / count)

    def _total(self, own: Callable[[], npt.ArrayLike]) -> Numbers:
        """Return the sum over the ranks of what ``own`` returns; an error on all of them if it raises one on any."""
        with _agreement(self.comm):
            numbers = np.asarray(own(), np.float64)
        return np.asarray(sum(self.comm.allgather(numbers)))

    def train(self) -> History:
        """Train for some epochs."""
        trainer = self.trainer
        trainer._step_plan, trainer._ranks = None, self
        try:
            for norm in self.synced:
                norm.install()
            with trainer._exclusively("distributed.fit"):
                return run_fit(trainer, _Shares(self), self.validation, self.callbacks, self.options, self.class_vector)
        except DivergenceError:
            self.average_buffers()
            raise
        finally:
            for norm in self.synced:
                norm.remove()
            trainer._step_plan = trainer._ranks = None

    def batches(self) -> Iterator[Batch]:
        """Yield this rank's own batches of one epoch."""
        if self.rows is None:
            assert self.stream is not None
            yield from self.stream.epoch()
            return
        size, drop_last = self.options.batch_size, self.options.drop_last
        order = np.arange(self.rows.count)
        if self.options.shuffle:
            key = (4, self.trainer.epoch, self.comm.rank)
            order = np.random.default_rng(np.random.SeedSequence(self.options.seed, spawn_key=key)).permutation(order)
        for step in range(count_batches(self.rows.count, size, drop_last)):
            yield self.rows.take(order[step * size : (step + 1) * size])

    def train_on(self, batch: Batch) -> tuple[float, Array | None]:
        """Do one update with the batches of all ranks; return their loss, and the outputs of this one."""
        trainer, first = self.trainer, self.net.dropout_step
        trainer._note_state()
        try:
            outputs, losses, weight, divisor = (self._sum_synced if self.synced else self._sum)(batch)
            if not weight:
                trainer._undo_forward()
                if trainer.accumulate_steps > 1 or trainer._accumulated_steps:
                    trainer._accumulate(None, divisor)
                return 0.0, None
            self.net.dropout_step = first + self.comm.size
            penalty = trainer._penalty()
            trainer._use_gradients(divisor)
        except BaseException:
            trainer._undo_forward()
            raise
        return (losses + penalty) / weight, outputs if len(batch.x) else None

    def join(self, meter: Meter) -> None:
        """Replace what the meter has gathered by what those of all ranks have, in the order of the ranks."""
        meter.set_states(self.comm.allgather(meter.state()))

    def agree_to_stop(self, here: bool) -> bool:
        """Return whether any rank ends training."""
        return any(self.comm.allgather(here))

    def _forward(self, batch: Batch) -> Array:
        self.net.dropout_step += self.comm.rank
        return self.net._forward(batch.x, training=True)

    def _loss(self, outputs: Array, batch: Batch) -> tuple[float, Array]:
        """Return the loss of this rank's batch, 0 where it has no weight, and dL/doutputs."""
        if not batch.total_weight():
            return 0.0, np.zeros_like(outputs)
        given = outputs.copy() if self.trainer.loss.custom else outputs  # a custom loss may change what it is given
        loss, grad_outputs, awaited = self.trainer._loss_of(given, batch)
        self.trainer._check_forward(awaited)
        return loss, grad_outputs

    def _sum(self, batch: Batch) -> tuple[Array | None, float, float, float]:
        """Fill the gradients with those of the rows of all ranks, by one sum.

        Returns the outputs of this rank, the sum of the losses of all rows, their weight, and what gradients are divided by.
        """
        net, sent, size, total = self.net, self.sent, self.net.parameters.size, batch.total_weight()
        outputs = None
        sent[...] = 0
        if len(batch.x):
            outputs = self._forward(batch)
            loss, grad_outputs = self._loss(outputs, batch)
            if total and math.isfinite(loss):
                net._backward(grad_outputs, input_gradient=False)
                np.multiply(net.gradients, total, out=sent[:size])
            sent[size:] = loss * total, total, batch.divisor()
        self.comm.Allreduce(sent, self.summed)
        losses, weight, divisor = map(float, self.summed[size:])
        self._require_finite_loss(losses)
        if weight:
            np.multiply(self.summed[:size], 1 / divisor, out=net.gradients)
        return outputs, losses, weight, divisor

    def _sum_synced(self, batch: Batch) -> tuple[Array | None, float, float, float]:
        """As `_sum`, where all ranks go through the layers together, also those without rows."""
        net, size, total = self.net, self.net.parameters.size, batch.total_weight()
        outputs = self._forward(batch)
        loss, grad_outputs = self._loss(outputs, batch)
        sums = np.empty(3)
        self.comm.Allreduce(np.array([loss * total, total, batch.divisor()]), sums)
        losses, weight, divisor = map(float, sums)
        self._require_finite_loss(losses)
        if weight:
            net._backward(grad_outputs * net.dtype.type(total / divisor), input_gradient=False)
            self.sent[:size] = net.gradients
            self.comm.Allreduce(self.sent[:size], self.summed[:size])
            net.gradients[...] = self.summed[:size]
        return outputs, losses, weight, divisor

    def _require_finite_loss(self, losses: float) -> None:
        if not math.isfinite(losses):
            raise self.trainer._divergence("loss", losses)

    def average_buffers(self) -> None:
        """Average running statistics over the ranks, weighted by their rows."""
        buffers = self.net.buffers
        if not buffers.size or self.synced:  # then they are equal
            return
        rows = 1.0 if self.rows is None else float(self.rows.count)
        sent = np.append(buffers.astype(np.float64) * rows, rows)
        summed = np.empty_like(sent)
        self.comm.Allreduce(sent, summed)
        buffers[...] = summed[:-1] / summed[-1]
        self.net._lose_forward()
