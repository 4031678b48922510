"""One network trained by several processes, each with rows of its own: data parallelism over MPI.

Every process (rank) runs the same program, ``mpiexec -n 4 python train.py``. In each step a rank computes the gradient of its
batch; one sum over all ranks makes of these the gradient of the rows of all, and every rank does the same update. So the networks
stay equal, and are what one process makes of the joined batches.

The communicator is that of mpi4py, or any object with its ``rank``, ``size``, ``allgather``, ``Allreduce``, ``Bcast``, ``Abort``.
"""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._arrays import as_matrix, as_table, check_count, check_flag, check_seed
from ._class_weights import check_sample_weight
from ._training.divergence import DivergenceError
from ._training.progress import Progress
from ._types import Array, Communicator
from .callbacks import EMA, CallbackList, Checkpoint, CSVLogger
from .clipping import clip_grad_norm, clip_grad_value
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
        How many rows there are in all.
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
    return np.arange(comm.rank, check_count("rows", rows, minimum=0), comm.size)


def fit(
    trainer: Trainer,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    comm: Communicator,
    epochs: int = 1,
    batch_size: int = 32,
    validation_data: Any = None,
    shuffle: bool = True,
    drop_last: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    callbacks: Sequence[Any] = (),
    seed: int | None = None,
    sync_batch_norm: bool = True,
    verbose: bool | None = None,
    check_finite: bool = True,
) -> History:
    """Train one network on the rows of all ranks.

    Parameters and running statistics of rank 0 are copied to all at the start. Ranks may have different numbers of rows, also none:
    a rank whose rows are used up adds nothing to the last steps of an epoch. Every number of the history is that of all rows.

    `BatchNorm` normalizes by the rows of all ranks, and dropout drops something else on every rank.

    Parameters
    ----------
    trainer : Trainer
        Of the same network, loss and optimizer on all ranks; without ``accumulate_steps``, ``l2``, metrics and class weights. Its
        ``on_gradients`` sees the summed gradients.
    x, y : array-like
        The rows of this rank.
    comm : mpi4py.MPI.Comm
        The communicator, such as ``MPI.COMM_WORLD``.
    epochs : int
        How many more epochs to train.
    batch_size : int
        Rows of a step on this rank: a step takes ``size`` times as many in all.
    validation_data : tuple (x, y) or (x, y, sample_weight), optional
        The rows of this rank that the loss is computed of after each epoch. All ranks give some, or none does.
    shuffle : bool
        Whether rows come in a new random order each epoch.
    drop_last : bool
        Whether to leave out a last batch that is not full.
    sample_weight : array-like (n,), optional
        Weights of the rows, which hold between ranks. All ranks give some, or none does.
    callbacks : sequence of callbacks
        Called on every rank, with the same numbers; those that write files, `Checkpoint` and `CSVLogger`, on rank 0 only. There
        are no batch hooks, and no `EMA`.
    seed : int, optional
        Fixes the order of the rows, with the rank. By default it follows from the seed of rank 0's network.
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
        ``loss``, ``lr``, and ``val_loss`` where there are validation data; the same on all ranks.

    Raises
    ------
    ValueError, TypeError
        On all ranks, before training begins, when an argument does not fit on one of them, or ranks differ in what has to be equal;
        the message names the rank and what differs.
    DivergenceError
        On all ranks, when the loss or the gradient is not finite.

    Notes
    -----
    Any other exception on a rank, once training has begun, is printed and ends all ranks (``comm.Abort``): they would wait for it
    for ever. A trainer that rank 0 has saved continues on any number of ranks: load it on all of them.

    Examples
    --------
    Run by ``mpiexec -n 4 python train.py``:

    >>> from mpi4py import MPI  # doctest: +SKIP
    >>> mine = bp.distributed.shard(len(x), MPI.COMM_WORLD)  # doctest: +SKIP
    >>> trainer = bp.Trainer(bp.mlp([8, 64, 1], seed=0), loss="mse")  # doctest: +SKIP
    >>> bp.distributed.fit(trainer, x[mine], y[mine], comm=MPI.COMM_WORLD, epochs=10)  # doctest: +SKIP
    """
    failure: BaseException | None = None
    run: _Run | None = None
    try:
        options = _Options(
            check_count("epochs", epochs),
            check_count("batch_size", batch_size),
            check_flag("shuffle", shuffle),
            check_flag("drop_last", drop_last),
            None if seed is None else check_seed(seed),
            check_flag("sync_batch_norm", sync_batch_norm),
            None if verbose is None else check_flag("verbose", verbose),
            check_flag("check_finite", check_finite),
        )
        run = _Run(trainer, comm, x, y, sample_weight, validation_data, callbacks, options)
    except (TypeError, ValueError) as error:
        failure = error
    _agree(comm, failure, None if run is None else run.signature())
    assert run is not None
    run.share()
    try:
        with trainer._exclusively("distributed.fit"):
            return run.train()
    except DivergenceError:  # on all ranks alike
        raise
    except BaseException:
        if comm.size > 1:
            print(f"rank {comm.rank} of {comm.size} ends all ranks:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            comm.Abort(1)
        raise


def fit_by(trainer: Trainer, x: Any, y: Any, *, left_out: dict[str, Any], **options: Any) -> History:
    """Return what `fit` does for a trainer with ``comm``; options of `Trainer.fit` that it does not have are refused."""
    assert trainer.comm is not None
    failure = None
    for name, value in left_out.items():
        if value:
            failure = ValueError(f"{name} has no place in distributed training, got {value!r}")
    if y is None:
        failure = ValueError("distributed training needs arrays x and y, not batches")
    _agree(trainer.comm, failure, {})
    return fit(trainer, x, y, comm=trainer.comm, **options)


class _Options(NamedTuple):
    epochs: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    seed: int | None
    sync_batch_norm: bool
    verbose: bool | None
    check_finite: bool


def _agree(comm: Communicator, failure: BaseException | None, signature: dict[str, str] | None) -> None:
    """Raise an error on all ranks if there is one on any, or if signatures differ."""
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


class _Part(NamedTuple):
    """Rows of this rank, ready for the network and the loss."""

    x: Array
    y: Any
    weight: Array | None

    @property
    def total(self) -> float:
        """The sum of the sizes of the weights, the number of rows where there are none."""
        return float(len(self.x)) if self.weight is None else float(np.abs(self.weight).sum(dtype=np.float64))

    def take(self, rows: Any) -> _Part:
        return _Part(self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows])


class _SyncedNorm:
    """Takes the place of forward and backward of a batch normalization: mean and variance are those of all ranks' rows."""

    def __init__(self, layer: BatchNorm, comm: Communicator) -> None:
        self.layer, self.comm = layer, comm
        self.kept: tuple[Array, Array, float] | None = None

    def install(self) -> None:
        setattr(self.layer, "forward", self.forward)  # noqa: B010  (mypy refuses the assignment)
        setattr(self.layer, "backward", self.backward)  # noqa: B010

    def remove(self) -> None:
        for name in ("forward", "backward"):
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


class _Run:
    """One call of `fit` on one rank."""

    def __init__(
        self,
        trainer: Trainer,
        comm: Communicator,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        weight: npt.ArrayLike | None,
        validation: Any,
        callbacks: Sequence[Any],
        options: _Options,
    ) -> None:
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainer must be a Trainer, got {type(trainer).__name__}")
        self.trainer, self.net, self.comm, self.options = trainer, trainer.net, comm, options
        if trainer.accumulate_steps != 1 or trainer.l2:
            raise ValueError("accumulate_steps and l2 have no place in distributed training: use larger batches, and weight_decay")
        if trainer.metrics:
            raise ValueError("metrics have no place in distributed training, which measures the loss alone")
        if trainer.loss.class_weight is not None:
            raise ValueError("class weights have no place in distributed training: give sample_weight")
        self.data = self._part(x, y, weight, "")
        self.validation: _Part | None = None
        if validation is not None:
            if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
                raise ValueError("validation_data must be a tuple (x, y) or (x, y, sample_weight)")
            self.validation = self._part(
                validation[0], validation[1], validation[2] if len(validation) == 3 else None, "validation "
            )
        given = list(callbacks)
        if any(isinstance(callback, EMA) for callback in given):
            raise ValueError("EMA has no place in distributed training: it follows single updates")
        if any(callable(getattr(callback, "on_train_batch_end", None)) for callback in given):
            raise ValueError("callbacks with on_train_batch_end have no place in distributed training")
        self.callbacks = [one for one in given if comm.rank == 0 or not isinstance(one, Checkpoint | CSVLogger)]
        rows = len(self.data.x)
        self.steps = count_batches(rows, options.batch_size, options.drop_last)
        norms = [layer for _, layer in walk(self.net.layers, "layers") if isinstance(layer, BatchNorm)]
        self.synced = [_SyncedNorm(layer, comm) for layer in norms] if options.sync_batch_norm else []
        alone = options.batch_size == 1 or (rows % options.batch_size == 1 and not options.drop_last)
        if norms and not self.synced and alone:
            raise ValueError(
                "BatchNorm needs at least 2 rows of each rank in a batch: choose another batch_size, or drop_last=True"
            )

    def _part(self, x: npt.ArrayLike, y: npt.ArrayLike, weight: npt.ArrayLike | None, name: str) -> _Part:
        net, finite = self.net, self.options.check_finite
        rows = as_matrix(as_table(x, f"{name}x", net.n_inputs), f"{name}x", net.dtype, net.n_inputs, finite)
        targets = self.trainer.loss.prepare_targets(y, net.n_outputs, net.dtype, name=f"{name}y", check_finite=finite)
        if len(targets) != len(rows):
            raise ValueError(f"{name}x and {name}y must have the same number of rows, got {len(rows)} and {len(targets)}")
        return _Part(rows, targets, None if weight is None else check_sample_weight(weight, len(rows), net.dtype))

    def signature(self) -> dict[str, str]:
        """What has to be equal on all ranks, by name."""
        trainer, options = self.trainer, self.options
        return {
            "layers": repr(self.net.layers),
            "dtype": self.net.dtype.name,
            "loss": repr(trainer.loss),
            "optimizer": repr(trainer.optimizer),
            "number of updates so far": str(trainer.optimizer.steps),
            "number of epochs so far": str(trainer.epoch),
            "clip_norm": str(trainer.clip_norm),
            "clip_value": str(trainer.clip_value),
            "epochs": str(options.epochs),
            "sync_batch_norm": str(options.sync_batch_norm),
            "kind of validation_data": "none" if self.validation is None else "rows",
            "kind of sample_weight": "none" if self.data.weight is None else "weights",
        }

    def share(self) -> None:
        """Tell the other ranks what this one has, and learn what they have.

        Raises
        ------
        ValueError
            On all ranks, when there is nothing to train on.
        """
        net = self.net
        everywhere = self.comm.allgather((len(self.data.x), self.data.total, self.steps, net.seed, net.dropout_step))
        rows, weight = (sum(entry[index] for entry in everywhere) for index in (0, 1))
        self.most_steps = max(entry[2] for entry in everywhere)
        if not self.most_steps or not weight:
            raise ValueError("x must have at least one batch of rows, with weight, on one of the ranks")
        self.mean_weight = weight / rows
        self.seed = everywhere[0][3] if self.options.seed is None else self.options.seed
        self.first_forward = max(entry[4] for entry in everywhere)
        self.forwards = 0

    def train(self) -> History:
        """Train for some epochs."""
        trainer, net, comm = self.trainer, self.net, self.comm
        for array in (net.parameters, net.buffers):
            values = array.copy()
            comm.Bcast(values, root=0)
            array[...] = values
        net._lose_forward()
        self.sent = np.zeros(net.parameters.size + 3, net.dtype)  # gradient, loss, weight, rows
        self.summed = np.zeros_like(self.sent)
        trainer.stop_training = False
        trainer.history_keys = ("loss", "lr") if self.validation is None else ("loss", "val_loss", "lr")
        net.loss = trainer.loss
        hooks = CallbackList(self.callbacks, trainer)
        history, logs = History(), {}
        hooks.begin({})
        trainer._callbacks = hooks
        progress = Progress(False if comm.rank else self.options.verbose, self.options.epochs, self.most_steps)
        try:
            for norm in self.synced:
                norm.install()
            for index in range(self.options.epochs):
                progress.begin_epoch(index)
                hooks.call("on_epoch_begin", trainer.epoch, {})
                logs = self._epoch(progress)
                history.append(trainer.epoch - 1, logs)
                progress.end_epoch(logs)
                hooks.call("on_epoch_end", trainer.epoch - 1, logs)
                if any(comm.allgather(trainer.stop_training)):
                    break
        except BaseException as error:
            hooks.end(logs, error)
            raise
        finally:
            for norm in self.synced:
                norm.remove()
            progress.close()
            trainer._callbacks = None
            net.dropout_step = self.first_forward + self.forwards * comm.size
        hooks.end(logs)
        return history

    def _epoch(self, progress: Progress) -> dict[str, float]:
        trainer, data, size = self.trainer, self.data, self.options.batch_size
        order = np.arange(len(data.x))
        if self.options.shuffle:
            order = np.random.default_rng(
                np.random.SeedSequence(self.seed, spawn_key=(4, trainer.epoch, self.comm.rank))
            ).permutation(order)
        losses = weights = 0.0
        for step in range(self.most_steps):
            rows = order[step * size : (step + 1) * size] if step < self.steps else order[:0]
            loss, weight = self._step(data.take(rows))
            losses += loss
            weights += weight
            progress.advance(1)
        trainer.epoch += 1
        trainer.optimizer.epoch += 1
        self._average_buffers()
        logs = {"loss": losses / weights}
        if self.validation is not None:
            logs["val_loss"] = self._validation_loss(self.validation)
        logs["lr"] = trainer.last_lr
        return logs

    def _step(self, batch: _Part) -> tuple[float, float]:
        """Do one update with the batches of all ranks; return the sum of their losses, and their weight."""
        trainer, net = self.trainer, self.net
        loss, weight = self._sum_synced(batch) if self.synced else self._sum(batch)
        if not weight:
            return 0.0, 0.0
        if trainer.on_gradients is not None:
            trainer.on_gradients(net.gradients)
        if trainer.clip_norm is not None:
            self._require_finite("gradient norm", clip_grad_norm(net, trainer.clip_norm))
        else:
            self._require_finite("gradient norm", float(np.abs(net.gradients).max(initial=0.0)))
            if trainer.clip_value is not None:
                clip_grad_value(net, trainer.clip_value)
        trainer.last_lr = trainer.optimizer.learning_rate
        trainer.optimizer.step(net)
        return loss, weight

    def _forward(self, batch: _Part) -> Array:
        self.net.dropout_step = self.first_forward + self.forwards * self.comm.size + self.comm.rank
        return self.net.forward(batch.x, training=True)

    def _sum(self, batch: _Part) -> tuple[float, float]:
        """Fill the gradients with those of the rows of all ranks, by one sum; return the sum of their losses, and their weight."""
        net, sent, size, total = self.net, self.sent, self.net.parameters.size, batch.total
        sent[...] = 0
        if total:
            loss, grad = self.trainer.loss(self._forward(batch), batch.y, sample_weight=batch.weight)
            if math.isfinite(loss):
                net._backward(grad, input_gradient=False)
                np.multiply(net.gradients, total, out=sent[:size])
            sent[size:] = loss * total, total, len(batch.x)
        self.forwards += 1
        self.comm.Allreduce(sent, self.summed)
        loss, weight, rows = map(float, self.summed[size:])
        self._require_finite("loss", loss)
        if weight:
            np.multiply(self.summed[:size], 1 / (rows * self.mean_weight), out=net.gradients)
        return loss, weight

    def _sum_synced(self, batch: _Part) -> tuple[float, float]:
        """As `_sum`, where all ranks go through the layers together, also those without rows."""
        net, size, total = self.net, self.net.parameters.size, batch.total
        outputs = self._forward(batch)
        loss, grad = 0.0, np.zeros_like(outputs)
        if total:
            loss, grad = self.trainer.loss(outputs, batch.y, sample_weight=batch.weight)
        self.forwards += 1
        self.comm.Allreduce(np.array([loss * total, total, len(batch.x)], net.dtype), self.summed[size:])
        loss, weight, rows = map(float, self.summed[size:])
        self._require_finite("loss", loss)
        if weight:
            net._backward(grad * net.dtype.type(total / (rows * self.mean_weight)), input_gradient=False)
            self.sent[:size] = net.gradients
            self.comm.Allreduce(self.sent[:size], self.summed[:size])
            net.gradients[...] = self.summed[:size]
        return loss, weight

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise self.trainer._divergence(what, value)

    def _average_buffers(self) -> None:
        """Let running statistics be the mean of those of the ranks, by their rows."""
        buffers = self.net.buffers
        if not buffers.size or self.synced:  # then they are equal
            return
        rows = float(len(self.data.x))
        sent = np.append(buffers.astype(np.float64) * rows, rows)
        summed = np.empty_like(sent)
        self.comm.Allreduce(sent, summed)
        buffers[...] = summed[:-1] / summed[-1]
        self.net._lose_forward()

    def _validation_loss(self, part: _Part) -> float:
        """The loss of the rows of all ranks."""
        sent = np.zeros(2)
        if part.total:
            outputs = self.net.predict(part.x)
            sent[:] = self.trainer.loss.value(outputs, part.y, sample_weight=part.weight) * part.total, part.total
        summed = np.empty_like(sent)
        self.comm.Allreduce(sent, summed)
        return float(summed[0] / summed[1]) if summed[1] else math.nan
