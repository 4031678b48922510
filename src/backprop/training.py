"""The trainer: a network, a loss and an optimizer, put to work step by step or epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import losses
from ._arrays import check_count, check_flag, check_in, check_seed
from ._class_weights import ClassWeight
from ._model_file import StrPath
from ._suggestions import suggests_options
from ._training.divergence import DivergenceError
from ._training.epochs import FitOptions, run_fit
from ._training.evaluation import evaluate_batches, make_metrics
from ._training.rows import DROP_LAST_OF_BATCHES, NO_WEIGHT_TO_EVALUATE, WEIGHT_OF_BATCHES, Converter, Rows, Stream, as_data
from ._training.state import EVALUATION_BATCH, TrainingState
from ._types import Communicator, GradientHook
from .data import hold_out
from .history import History
from .layers import Layer
from .losses import Loss, LossFunction
from .metrics import MetricSpec
from .network import Network
from .optimizers import Optimizer

__all__ = ["DivergenceError", "Trainer", "evaluate", "fit"]


def __dir__() -> list[str]:
    return sorted(__all__)


class Trainer(TrainingState):
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
        accuracy and, outside training, auc for binary targets; mae, rmse and r2 for numbers.
    accumulate_steps : int
        The number of steps in one update, which has the gradient of all their rows together.
    l2 : float
        Adds ``l2 / 2`` times the sum of squares of all weight matrices to the sum of the losses of the rows of a batch; the sum is
        then divided by the rows, or by their weight, as without a penalty. So it weighs less in larger batches; the batches of one
        update, if ``accumulate_steps`` is above 1, have one penalty together, in equal shares. It belongs to the loss: it is in the
        reported one, and is clipped with the gradient. It is scikit-learn's ``alpha``. The optimizer's ``weight_decay`` does not
        depend on the batch, and covers all parameters unless groups say otherwise.
    on_gradients : callable, optional
        ``on_gradients(gradients)`` is called between the gradient and the update, before clipping, with the flat array of all
        gradients (see `Network.gradients`), which it may read or change in place: to log it, to add noise, or to sum it over
        several machines. What it returns is ignored. Each step then pauses before its update, and is a call of its own.
    comm : mpi4py.MPI.Comm, optional
        Lets `fit` train on the rows of all ranks together; see `backprop.distributed.fit`. It is not saved.

    Attributes
    ----------
    net, loss, optimizer, clip_norm, clip_value, metrics, accumulate_steps, l2, on_gradients, comm
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
        on_gradients: GradientHook | None = None,
        comm: Communicator | None = None,
    ) -> None:
        super().__init__(net, loss, optimizer, clip_norm, clip_value, metrics, accumulate_steps, l2, on_gradients, comm)

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
            Whether to leave out a last batch of rows that is not full. An iterable itself decides which batches there are.
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
            Whether to show a progress bar; None shows it on a terminal or in a notebook.
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
        loaded again continues exactly as if it had not been interrupted.

        A callback may assign another loss that takes the same targets; its class weights count from the next epoch on.

        To undo an update, one copy of the parameters and of the optimizer's moments is kept, and a second one for short times.
        """
        if self.comm is not None:
            from .distributed import fit_by

            return fit_by(
                self,
                x,
                y,
                validation_split=validation_split,
                epochs=epochs,
                batch_size=batch_size,
                validation_data=validation_data,
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
        with self._exclusively("trainer.fit"):
            converter = Converter(self.net, self.loss, check_flag("check_finite", check_finite))
            validation_split = check_in("validation_split", validation_split, 0.0, 1.0, closed="left")
            if class_weight is not None and self.loss.class_weight is not None:
                raise ValueError("class_weight is given twice, to fit and to the loss")
            in_training = self.loss.row_class_weight if class_weight is None else class_weight
            seed = self._seed_for(seed)
            data: Rows | Stream
            validation: Rows | Stream | None = None
            class_vector = self._class_vector
            if y is None:
                if sample_weight is not None or validation_split:
                    raise ValueError("sample_weight and validation_split need y; batches bring weights of their own")
                if drop_last:
                    raise ValueError(DROP_LAST_OF_BATCHES)
                data = Stream(converter, x, steps_per_epoch, in_training)
            else:
                if steps_per_epoch is not None:
                    raise ValueError("steps_per_epoch is for iterables of batches; with arrays an epoch is all rows")
                data = Rows(converter, x, y, sample_weight, warns=True)
                if validation_split:
                    if validation_data is not None:
                        raise ValueError("validation_data and validation_split exclude each other")
                    split_seed = self.net.seed if self._split_seed is None else self._split_seed
                    kept, held_out = hold_out(data.count, validation_split, stratify=data.labels(), seed=split_seed)
                    data, validation = data.subset(kept), data.subset(held_out)
                vector = data.use_class_weight(in_training)
                data.require_weight()
                data.share_weight()
                class_vector = vector if class_weight is None else None
            if validation_data is not None:
                named = converter.of("validation_data")
                validation = self._evaluation_data(named, *as_data(validation_data), class_vector=class_vector)
            elif isinstance(validation, Rows):
                if class_vector is not None:
                    validation.use_class_weight(class_vector)
                validation.require_weight(
                    "the weights of all rows that validation_split holds out are zero: give validation_data with other weights"
                )
            options = FitOptions.checked(epochs, batch_size, shuffle, drop_last, verbose, seed)
            return run_fit(self, data, validation, callbacks, options, class_vector)

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
        data = self._evaluation_data(converter, x, y, sample_weight, class_vector=self._class_vector)
        return self._evaluate_prepared(data, check_count("batch_size", batch_size))

    @classmethod
    def load(
        cls,
        path: StrPath,
        *,
        layers: Mapping[str, type[Layer]] | None = None,
        loss: str | Loss | LossFunction | None = None,
        optimizer: Optimizer | None = None,
        metrics: Sequence[MetricSpec] | None = None,
        on_gradients: GradientHook | None = None,
    ) -> Trainer:
        """Return a trainer that continues where the saved one stopped.

        If it was saved during `fit`, as `Checkpoint` does, pass the same callbacks to the next `fit`: they start from their saved
        state. What a callback has saved goes to the callback of the same class, and among several of a class to the one in the
        same place.

        Parameters
        ----------
        path : str or path
        layers : mapping, optional
            The classes of custom layers, by name.
        loss, metrics, on_gradients : str or callable, sequence, callable
            Instead of the saved ones; custom functions are not saved and have to be given. With a loss that is
            given, the class weights of the saved one are gone.
        optimizer : Optimizer, optional
            Instead of the saved one, a new object, which takes over the saved moments and counts; one of a custom class is not
            saved and has to be given.

        Raises
        ------
        ModelFormatError
            If the file is damaged, or is not a checkpoint.
        ValueError, TypeError
            If an argument does not fit the network, or the optimizer the saved state.
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

        return load_trainer(cls, path, layers, loss, optimizer, metrics, on_gradients)


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
    on_gradients: GradientHook | None = None,
    comm: Communicator | None = None,
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
    clip_norm, clip_value, metrics, accumulate_steps, l2, on_gradients, comm : float, sequence, int, callable, communicator
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
        on_gradients=on_gradients,
        comm=comm,
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
    made = make_metrics(metrics, criterion, n_outputs=net.n_outputs)
    if y is None:
        if sample_weight is not None:
            raise ValueError(WEIGHT_OF_BATCHES)
        return evaluate_batches(net, criterion, Stream(converter, x, None, criterion.row_class_weight).epoch(), made)
    rows = Rows(converter, x, y, sample_weight)
    rows.use_class_weight(criterion.row_class_weight)
    rows.require_weight(NO_WEIGHT_TO_EVALUATE)
    return evaluate_batches(net, criterion, rows.batches(check_count("batch_size", batch_size)), made)
