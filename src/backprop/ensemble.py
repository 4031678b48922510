"""Many networks: whole fits side by side on threads, and networks that predict together.

Kernels hold no interpreter lock, so the fits of different networks run on one thread per processor. What each of
them computes does not depend on the number of threads, or on the others.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from pathlib import Path
from threading import Event, Lock
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from . import kernels
from ._arrays import check_choice, check_count, check_flag, check_in, check_seed
from ._class_weights import ClassWeight
from ._frames import as_array
from ._model_file import ModelFormatError, StrPath, complaints_about, expect, read_file, write_file
from ._suggestions import suggests_options
from ._training.progress import make_bar
from ._training.rows import Converter, Rows
from ._types import AnyArray, Array
from .callbacks import Checkpoint, CSVLogger, listed
from .data import Indices, check_same_rows, hold_out
from .history import History
from .layers import Noise, walk
from .losses import Loss, LossFunction
from .metrics import MetricSpec
from .network import Network
from .optimizers import Optimizer
from .serialization import LayerTypes, architecture, check_layer_types, checked_metadata, network_from
from .training import Trainer

__all__ = ["Ensemble", "fit_many"]


def __dir__() -> list[str]:
    return sorted(__all__)


Callbacks = Sequence[Any] | Callable[[int], Sequence[Any]]
_PATIENCE = 0.05  # seconds between reminders to stop


@suggests_options
def fit_many(
    trainers: Sequence[Trainer],
    x: Any,
    y: npt.ArrayLike | None = None,
    *,
    rows: Sequence[npt.ArrayLike | None] | None = None,
    validation_rows: Sequence[npt.ArrayLike | None] | None = None,
    threads: int | None = None,
    errors: str = "raise",
    epochs: int = 1,
    batch_size: int = 32,
    validation_data: Any = None,
    validation_split: float = 0.0,
    shuffle: bool = True,
    drop_last: bool = False,
    class_weight: ClassWeight | None = None,
    sample_weight: npt.ArrayLike | None = None,
    callbacks: Callbacks = (),
    seed: int | None = None,
    steps_per_epoch: int | None = None,
    verbose: bool | None = None,
    check_finite: bool = True,
) -> list[Any]:
    """Call `Trainer.fit` of many trainers, several at a time, each on its own thread.

    The results are those of one fit after the other, bit for bit, for any number of threads.

    Parameters
    ----------
    trainers : sequence of Trainer
        Trainers of different networks.
    x, y : array-like
        As for `Trainer.fit`. Without y, x is a function that returns an iterable of batches, or a list of batches.
    rows : sequence of array of int, optional
        For each trainer the positions of the rows it trains on, such as the folds of a cross validation, or None for all.
    validation_rows : sequence of array of int, optional
        For each trainer the positions of the rows that are evaluated after each epoch, or None for none.
    threads : int, optional
        How many fits run at a time; by default the number of threads that the kernels may use.
    errors : {"raise", "return"}
        What becomes of the exception that ends a fit. "raise" ends the others after their epochs and raises the first one; "return"
        lets the others continue, and returns it in place of the history.
    epochs, batch_size, shuffle, drop_last, steps_per_epoch, check_finite : optional
        As for `Trainer.fit`.
    validation_data, validation_split, class_weight, sample_weight : optional
        As for `Trainer.fit`.
    callbacks : sequence of callbacks, or callable
        Each fit gets copies of these; or what the callable returns for the position of its trainer, as callbacks that write files
        need it: one file for each fit.
    seed : int, optional
        Fixes the order of the rows for all: every trainer gets a seed that follows from this one and its position. By default it
        follows from the networks' seeds.
    verbose : bool, optional
        Whether to show a progress bar over the epochs of all fits; None shows it on a terminal only.

    Returns
    -------
    list of History
        In the order of the trainers.

    Raises
    ------
    TypeError, ValueError
        When the trainers are not trainers of different networks, or an argument does not fit them.
    DivergenceError
        When a fit diverges; a note says which.

    Examples
    --------
    >>> import backprop as bp
    >>> trainers = [bp.Trainer(bp.mlp([1, 8, 1], seed=seed), loss="mse") for seed in range(4)]
    >>> histories = bp.fit_many(trainers, [[0.0], [1.0]], [1.0, 3.0], epochs=5)
    >>> len(histories), len(histories[0]["loss"])
    (4, 5)
    """
    trainers = _checked_trainers(trainers)
    count = len(trainers)
    check_choice("errors", errors, ("raise", "return"))
    threads = check_count("threads", kernels.backend().threads if threads is None else threads)
    epochs = check_count("epochs", epochs)
    verbose = None if verbose is None else check_flag("verbose", verbose)
    data = None
    if rows is not None or validation_rows is not None:
        if y is None:
            raise ValueError("rows and validation_rows need y; batches cannot be taken apart")
        data = _Data.of(x, y, sample_weight)
    picked, judged = _checked_rows("rows", rows, count, data), _checked_rows("validation_rows", validation_rows, count, data)
    if validation_split:
        _refuse_repeated(picked)
    if validation_rows is not None and (validation_data is not None or validation_split):
        raise ValueError("validation_rows excludes validation_data and validation_split")
    if y is None and not callable(x) and iter(x) is x:
        raise ValueError("an iterator serves one fit only: give a list of batches, or a function that returns an iterable of them")
    seeds = [None] * count if seed is None else _seeds(check_seed(seed), count)
    bar = _Bar(verbose, epochs * count)
    given = _callbacks_of_each(callbacks, count)

    def fit(index: int) -> History:
        inputs, targets, weight, validation = x, y, sample_weight, validation_data
        if (mine := picked[index]) is not None:
            assert data is not None
            inputs, targets, weight = data.take(mine)
        if (mine := judged[index]) is not None:
            assert data is not None
            *pair, own_weight = data.take(mine)
            validation = (*pair, own_weight) if own_weight is not None else tuple(pair)
        return trainers[index].fit(
            inputs,
            targets,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=validation,
            validation_split=validation_split,
            shuffle=shuffle,
            drop_last=drop_last,
            class_weight=class_weight,
            sample_weight=weight,
            callbacks=[*given[index], *bar.callbacks()],
            seed=seeds[index],
            steps_per_epoch=steps_per_epoch,
            verbose=False,
            check_finite=check_finite,
        )

    try:
        return _run(trainers, fit, min(threads, count), errors == "return")
    finally:
        bar.close()


def _run(trainers: Sequence[Trainer], fit: Callable[[int], History], threads: int, keep_errors: bool) -> list[Any]:
    """The results of all fits; when one ends with an exception, or this thread is interrupted, the others end after their epoch."""
    cancelled = Event()

    def job(index: int) -> Any:
        if cancelled.is_set():
            return None
        try:
            return fit(index)
        except Exception as error:
            error.add_note(f"in trainers[{index}]")
            if keep_errors:
                return error
            raise

    with ThreadPoolExecutor(threads, "backprop-fit") as pool:
        jobs: list[Future[Any]] = [pool.submit(copy_context().run, job, index) for index in range(len(trainers))]
        try:
            wait(jobs, return_when=FIRST_EXCEPTION)
            return [future.result() for future in jobs if future.done() and future.exception() is not None] or [
                future.result() for future in jobs
            ]
        except BaseException:
            cancelled.set()
            for future in jobs:
                future.cancel()
            while not all(future.done() for future in jobs):
                for trainer, future in zip(trainers, jobs, strict=True):
                    if future.running():
                        trainer.stop_training = True
                wait(jobs, timeout=_PATIENCE)
            raise


def _checked_trainers(trainers: Any) -> list[Trainer]:
    if isinstance(trainers, Trainer) or not isinstance(trainers, Sequence):
        raise TypeError(f"trainers must be a sequence of Trainer, got {type(trainers).__name__}")
    if not trainers:
        raise ValueError("trainers must hold at least one Trainer")
    seen: dict[int, int] = {}
    for index, trainer in enumerate(trainers):
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainers[{index}] must be a Trainer, got {type(trainer).__name__}")
        if id(trainer.net) in seen:
            raise ValueError(f"trainers[{seen[id(trainer.net)]}] and trainers[{index}] train one and the same network")
        seen[id(trainer.net)] = index
        if isinstance(trainer.optimizer, Optimizer) and id(trainer.optimizer) in seen:
            raise ValueError(f"trainers[{seen[id(trainer.optimizer)]}] and trainers[{index}] have one and the same optimizer")
        seen[id(trainer.optimizer)] = index
    return list(trainers)


def _callbacks_of_each(callbacks: Any, count: int) -> list[list[Any]]:
    """The callbacks of each fit; an error if two of them would write one file."""
    if callable(callbacks):
        given = [listed(callbacks(index)) for index in range(count)]
    else:
        given = [list(copy.deepcopy(listed(callbacks))) for _ in range(count)]
    writers: dict[tuple[type, Path], int] = {}
    for index, own in enumerate(given):
        for callback in own:
            if isinstance(callback, (Checkpoint, CSVLogger)):
                first = writers.setdefault((type(callback), Path(callback.path).resolve()), index)
                if first != index:
                    what = f"callbacks of trainers[{first}] and trainers[{index}] write one and the same file"
                    remedy = f"a function of the position, such as lambda index: [{type(callback).__name__}(...)]"
                    raise ValueError(f"{what}, {os.fspath(callback.path)}: give {remedy}")
    return given


def _checked_rows(name: str, rows: Any, count: int, data: _Data | None) -> list[Indices | None]:
    """The positions of each trainer's rows; an error unless all of them are rows of the data."""
    if rows is None or data is None:
        return [None] * count
    if not isinstance(rows, Iterable):
        raise TypeError(f"{name} must be a sequence with the positions of each trainer's rows, got {type(rows).__name__}")
    given = list(rows)
    if len(given) != count:
        raise ValueError(f"{name} must have an entry for each of the {count} trainers, got {len(given)}")
    found: list[Indices | None] = []
    for index, entry in enumerate(given):
        if entry is None:
            found.append(None)
            continue
        positions = np.asarray(entry)
        if positions.ndim != 1 or positions.dtype.kind not in "iu" or not len(positions):
            raise ValueError(f"{name}[{index}] must hold positions of rows, got {positions.dtype} of shape {positions.shape}")
        low, high, size = int(positions.min()), int(positions.max()), len(data.y)
        if low < -size or high >= size:
            raise ValueError(f"{name}[{index}] must hold positions of rows of x, which has {size}, got {low} to {high}")
        found.append(positions.astype(np.intp) % size)
    return found


def _refuse_repeated(rows: Sequence[Indices | None]) -> None:
    """Refuse rows that a trainer has more than once, of which one copy could be held out and the other be trained on."""
    for index, positions in enumerate(rows):
        if positions is not None and len(np.unique(positions)) < len(positions):
            raise ValueError(
                f"rows[{index}] holds positions more than once, so validation_split would hold out copies of training rows: give "
                "validation_rows"
            )


def _seeds(seed: int, count: int) -> list[Any]:
    """A seed for each position; they are the same whatever the count."""
    return [int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]) for index in range(count)]


class _Data(NamedTuple):
    """Arrays that rows are taken of."""

    x: AnyArray
    y: AnyArray
    weight: AnyArray | None

    @classmethod
    def of(cls, x: Any, y: Any, weight: Any) -> _Data:
        """The arguments of `fit_many` as arrays with the same number of rows."""
        inputs, targets = _array(x, "x"), _array(y, "y")
        check_same_rows((inputs, targets), ("x", "y"))
        if weight is None:
            return cls(inputs, targets, None)
        weights = _array(weight, "sample_weight")
        check_same_rows((inputs, weights), ("x", "sample_weight"))
        return cls(inputs, targets, weights)

    def take(self, rows: Indices) -> tuple[AnyArray, AnyArray, AnyArray | None]:
        return self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows]


def _array(values: Any, name: str) -> AnyArray:
    array = as_array(values, name)
    return np.asarray(values) if array is None else array


class _Bar:
    """A progress bar over the epochs of all fits."""

    def __init__(self, verbose: bool | None, total: int) -> None:
        self._bar = make_bar(verbose, total, "epoch")
        self._lock = Lock()

    def callbacks(self) -> list[Any]:
        """What a fit needs to move the bar: nothing without one."""
        return [] if self._bar is None else [self]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        with self._lock:
            self._bar.update(1)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class Ensemble:
    """Networks of one architecture, trained from different initial weights, that predict together.

    The mean of several networks errs less than one of them, and their spread tells where they know little.

    Parameters
    ----------
    net_factory : callable
        Returns a new `Network`, given a seed. If it takes no arguments, the initial weights of its networks are drawn anew.
    members : int
        The number of networks.
    bootstrap : bool
        Whether the rows of each network are drawn anew from all but those held out, with replacement.
    seed : int, optional
        Fixes everything, for any number of threads: weights, dropout, orders, drawn rows. None draws one; `seed` tells which.

    Attributes
    ----------
    members : tuple of Network
    bootstrap : bool
    seed : int
    histories : list of History
        Of the last `fit`, one for each network.

    Notes
    -----
    Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation using deep ensembles",
    NeurIPS 2017, arXiv:1612.01474; with `bootstrap`: Breiman, "Bagging predictors", Machine Learning 24, 1996.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> ensemble = bp.Ensemble(lambda seed: bp.mlp([1, 16, 1], activation="tanh", seed=seed), members=4, seed=0)
    >>> ensemble = ensemble.fit(x, np.sin(3 * x), loss="mse", optimizer=bp.Adam(lr=0.02), epochs=60)
    >>> ensemble.predict(x).shape, ensemble.predict_std(x).shape
    ((64, 1), (64, 1))
    >>> bool(ensemble.predict_std([[4.0]])[0, 0] > ensemble.predict_std([[0.5]])[0, 0])  # far from the data they disagree
    True
    """

    def __init__(
        self, net_factory: Callable[..., Network], members: int = 8, bootstrap: bool = False, *, seed: int | None = None
    ) -> None:
        members = check_count("members", members)
        self.bootstrap = check_flag("bootstrap", bootstrap)
        self.seed = check_seed(seed)
        self._adopt([_made(net_factory, own) for own in _seeds(self.seed, members)])

    def _adopt(self, members: Sequence[Network]) -> None:
        first = members[0]
        for index, net in enumerate(members):
            if any(net is other for other in members[:index]):
                raise ValueError("net_factory must return a new Network each time, it returned one twice")
            if (net.n_inputs, net.n_outputs, net.dtype) != (first.n_inputs, first.n_outputs, first.dtype):
                raise ValueError(f"the networks must have the same inputs, outputs and dtype, got {first!r} and {net!r}")
        self.members = tuple(members)
        self.histories: list[History] = []

    @suggests_options
    def fit(
        self,
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
        threads: int | None = None,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: Any = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        drop_last: bool = False,
        class_weight: ClassWeight | None = None,
        sample_weight: npt.ArrayLike | None = None,
        callbacks: Callbacks = (),
        steps_per_epoch: int | None = None,
        verbose: bool | None = None,
        check_finite: bool = True,
    ) -> Self:
        """Train all members, several at a time.

        Parameters
        ----------
        x, y : array-like
            As for `Network.fit`.
        loss, optimizer : str or object
            As for `Network.fit`; each member gets a copy.
        clip_norm, clip_value, metrics, accumulate_steps, l2 : optional
            As for `Trainer`.
        threads : int, optional
            How many members train at a time, see `fit_many`; it does not change the result.
        epochs, batch_size, shuffle, drop_last, steps_per_epoch, check_finite : optional
            As for `Network.fit`.
        validation_data, validation_split, class_weight, sample_weight : optional
            As for `Network.fit`.
        callbacks : sequence of callbacks, or callable
            See `fit_many`.
        verbose : bool, optional
            Whether to show a progress bar; None shows it on a terminal only.

        Returns
        -------
        Ensemble
            Itself.

        Raises
        ------
        TypeError, ValueError
            When an argument does not fit, as `Network.fit` raises it.
        DivergenceError
            When a member diverges; a note says which.
        """
        trainers = [
            Trainer(
                net,
                loss=copy.deepcopy(loss),
                optimizer=copy.deepcopy(optimizer),
                clip_norm=clip_norm,
                clip_value=clip_value,
                metrics=metrics,
                accumulate_steps=accumulate_steps,
                l2=l2,
            )
            for net in self.members
        ]
        rows: list[Indices] | None = None
        held_out: list[Indices] | None = None
        if self.bootstrap:
            if y is None:
                raise ValueError("bootstrap draws rows, so it needs arrays x and y, not batches")
            validation_split = check_in("validation_split", validation_split, 0.0, 1.0, closed="left")
            if validation_split and validation_data is not None:
                raise ValueError("validation_data and validation_split exclude each other")
            whole = Rows(Converter(self.members[0], trainers[0].loss, check_flag("check_finite", check_finite)), x, y)
            rows, held_out = self._drawn(whole, validation_split)
            validation_split = 0.0
        self.histories = fit_many(
            trainers,
            x,
            y,
            rows=rows,
            validation_rows=held_out,
            threads=threads,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=validation_data,
            validation_split=validation_split,
            shuffle=shuffle,
            drop_last=drop_last,
            class_weight=class_weight,
            sample_weight=sample_weight,
            callbacks=callbacks,
            seed=self.seed,
            steps_per_epoch=steps_per_epoch,
            verbose=verbose,
            check_finite=check_finite,
        )
        return self

    def _drawn(self, whole: Rows, share: float) -> tuple[list[Indices], list[Indices] | None]:
        """Each member's rows, and those it is validated on.

        Rows are held out first, those that `Trainer.fit` would hold out: of rows drawn before, copies would be in both parts.
        """
        drawn, held_out = [], []
        for seed, net in zip(self._member_seeds(), self.members, strict=True):
            kept = np.arange(whole.count)
            if share:
                kept, others = hold_out(whole.count, share, stratify=whole.labels(), seed=net.seed)
                held_out.append(others)
            drawn.append(kept[np.random.default_rng([seed, 1]).integers(len(kept), size=len(kept))])
        return drawn, held_out if share else None

    def _member_seeds(self) -> list[int]:
        return _seeds(self.seed, len(self.members))

    def predict(self, x: npt.ArrayLike, *, check_finite: bool = False) -> Array:
        """Return the mean of the members' raw outputs.

        Parameters
        ----------
        x : array-like (n, n_inputs)
            n may be zero.
        check_finite : bool
            Whether to refuse NaN and infinity in x.

        Returns
        -------
        array (n, n_outputs)
            In the dtype of the networks; summed in float64.
        """
        return self._moments(x, check_finite)[0].astype(self.members[0].dtype)

    def predict_std(self, x: npt.ArrayLike, *, check_finite: bool = False) -> Array:
        """Return the standard deviation of the members' raw outputs: how much they disagree.

        Parameters
        ----------
        x : array-like (n, n_inputs)
            n may be zero.
        check_finite : bool
            Whether to refuse NaN and infinity in x.

        Returns
        -------
        array (n, n_outputs)
            The root of the mean squared deviation from `predict`.
        """
        return self._moments(x, check_finite)[1].astype(self.members[0].dtype)

    def _moments(self, x: npt.ArrayLike, check_finite: bool) -> tuple[Array, Array]:
        """Mean and standard deviation in float64, by Welford's recurrence."""
        mean = self.members[0].predict(x, check_finite=check_finite).astype(np.float64)
        squares = np.zeros_like(mean)
        for count, net in enumerate(self.members[1:], 2):
            outputs = net.predict(x).astype(np.float64)
            step = outputs - mean
            mean += step / count
            squares += step * (outputs - mean)
        return mean, np.sqrt(squares / len(self.members))

    def predict_proba(self, x: npt.ArrayLike, *, link: str | None = None, check_finite: bool = False) -> Array:
        """Return the mean of the members' probabilities.

        Parameters
        ----------
        x : array-like (n, n_inputs)
            n may be zero.
        link : str, optional
            As for `Network.predict_proba`.
        check_finite : bool
            Whether to refuse NaN and infinity in x.

        Returns
        -------
        array (n, n_outputs)
        """
        total = self.members[0].predict_proba(x, link=link, check_finite=check_finite).astype(np.float64)
        for net in self.members[1:]:
            total += net.predict_proba(x, link=link)
        return (total / len(self.members)).astype(self.members[0].dtype)

    def save(self, path: StrPath, *, metadata: Mapping[str, Any] | None = None) -> None:
        """Write all members to one file, whole or not at all.

        Parameters
        ----------
        path : str or path
            By custom it ends in ``.safetensors``.
        metadata : mapping, optional
            Anything that JSON can hold, for `backprop.serialization.read_metadata`.

        Raises
        ------
        TypeError
            When a layer's config or the metadata holds something that JSON cannot.
        OSError
            When writing fails; an older file is then as it was.
        """
        tensors = {
            f"members.{index}.{name}": array for index, net in enumerate(self.members) for name, array in net.state_dict().items()
        }
        content = {
            "kind": "ensemble",
            "architecture": {"members": [architecture(net) for net in self.members]},
            "ensemble": {"bootstrap": self.bootstrap, "seed": self.seed},
            "metadata": checked_metadata(metadata),
        }
        write_file(path, tensors, content)

    @classmethod
    def load(cls, path: StrPath, *, layers: LayerTypes | None = None) -> Self:
        """Read an ensemble that `save` wrote.

        Parameters
        ----------
        path : str or path
            The file.
        layers : mapping of str to type, optional
            The classes of custom layers, by name.

        Raises
        ------
        ModelFormatError
            When the file is damaged, or holds no ensemble.
        TypeError
            When it holds a custom layer and `layers` does not say which class that is, or `layers` is no mapping of names to
            classes.
        FileNotFoundError
            When there is no such file.
        """
        check_layer_types(layers)
        tensors, content = read_file(path)
        if content["kind"] != "ensemble":
            raise ModelFormatError(f"{path}: it holds a {content['kind']}, not an ensemble")
        with complaints_about(path):
            described = expect(list, content["architecture"].get("members"), "the list of members")
            options = expect(dict, content.get("ensemble"), "the options of the ensemble")
            parts: list[dict[str, Any]] = [{} for _ in described]
            for name, tensor in tensors.items():
                prefix, number, rest = name.split(".", 2)
                if prefix != "members" or not number.isdecimal() or int(number) >= len(parts):
                    raise ValueError(f"it has a tensor {name} that belongs to no member")
                parts[int(number)][rest] = tensor
            if not described:
                raise ValueError("it has no members")
            ensemble = cls.__new__(cls)
            ensemble.bootstrap = check_flag("bootstrap", options["bootstrap"])
            ensemble.seed = check_seed(expect(int, options["seed"], "the seed"))
            made = []
            for entry, part in zip(described, parts, strict=True):
                made.append(network_from(expect(dict, entry, "a member"), part, layers))
            ensemble._adopt(made)
            return ensemble

    def __repr__(self) -> str:
        """Return the number of members and what they are in one line."""
        net = self.members[0]
        sizes = f"{net.n_inputs} -> {net.n_outputs}, {net.parameters.size} parameters each"
        return f"Ensemble({len(self.members)} members, {sizes}, bootstrap={self.bootstrap}, seed={self.seed})"


def _made(net_factory: Callable[..., Network], seed: int) -> Network:
    """A network of the factory; without a parameter for the seed, with its initial values drawn anew."""
    if not callable(net_factory):
        raise TypeError(f"net_factory must be a function that returns a Network, got {type(net_factory).__name__}")
    takes_seed = _takes_seed(net_factory)
    net = net_factory(seed) if takes_seed else net_factory()
    if not isinstance(net, Network):
        raise TypeError(f"net_factory must return a Network, it returned {type(net).__name__}")
    return net if takes_seed else _redrawn(net, seed)


def _takes_seed(net_factory: Callable[..., Network]) -> bool:
    try:
        inspect.signature(net_factory).bind(0)
    except TypeError:
        return False
    except ValueError:  # a builtin that does not say
        return True
    return True


def _redrawn(net: Network, seed: int) -> Network:
    """A network with the same layers, initialized from another seed."""
    layers = copy.deepcopy(net.layers)
    for _, layer in walk(layers, "layers"):
        layer.__dict__["_preset"] = {}
    made = Network.__new__(type(net))
    made._assemble(layers, net.dtype, Noise(seed), initialize=True)
    made.loss = copy.deepcopy(net.loss)
    return made
