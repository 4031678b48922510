"""Train several networks or optimizers side by side and see which does best: `compare`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from html import escape
from math import isnan, nan
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ... import losses, metrics
from ..._arrays import as_real_array, as_table, check_choice, check_count, check_in, check_seed
from ..._html import table
from ..._training.evaluation import make_metrics
from ..._training.progress import progress_bar
from ...callbacks import Callback, EarlyStopping, LambdaCallback
from ...data import Indices, check_same_rows
from ...history import History
from ...layers import walk
from ...metrics import better_is
from ...network import Network
from ...training import DivergenceError, Trainer
from .lr_range import NotFiniteError, lr_range_test
from .parallel import check_jobs, run_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...losses import Loss
    from ...optimizers import Optimizer


class Result(NamedTuple):
    """What became of one candidate.

    Attributes
    ----------
    name : str
        The candidate's.
    score : float
        Its best score, the mean over repeats and folds; NaN if it has none.
    best_epoch : int
        The epoch that had it, in the first repeat and fold; -1 without a score.
    epochs : int
        How many epochs were trained, in the first repeat and fold.
    seconds : float
        How long training took, all repeats and folds together.
    parameters : int
        How many parameters the network has.
    history : History
        The numbers of each epoch of the first repeat and fold.
    trainer : Trainer
        The trained trainer of the first repeat and fold.
    diverged : str or None
        Where training diverged, the message; the score is the best until then.
    scores : tuple of float
        The best score of each repeat and fold.
    improving : bool
        Whether the score was still improving when training ended: then more epochs may change the order.
    """

    name: str
    score: float
    best_epoch: int
    epochs: int
    seconds: float
    parameters: int
    history: History
    trainer: Trainer
    diverged: str | None = None
    scores: tuple[float, ...] = ()
    improving: bool = False

    @property
    def std(self) -> float:
        """The standard deviation of `scores`; NaN for a single one."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else nan

    @property
    def standard_error(self) -> float:
        """The standard error of `score`, ``std / sqrt(len(scores))``; NaN for a single score."""
        return self.std / len(self.scores) ** 0.5 if self.scores else nan


class Comparison:
    """The results of `compare`, best first and those that diverged last; ``print(comparison)`` is a table.

    Parameters
    ----------
    results : list of Result
        In any order.
    key : str
        The key of the history that is compared.

    Attributes
    ----------
    results : tuple of Result
    key : str
        The key of the history that was compared.

    Examples
    --------
    >>> from backprop import History
    >>> from backprop.explain.choosing import Comparison, Result
    >>> made = [Result(name, score, 0, 1, 0.1, 10, History(), None) for name, score in (("relu", 0.3), ("tanh", 0.2))]
    >>> Comparison(made, "val_loss").best.name
    'tanh'
    """

    def __init__(self, results: list[Result], key: str) -> None:
        self.key = key
        self._sign = -1 if better_is(key) == "max" else 1

        def order(result: Result) -> tuple[bool, bool, float]:
            return result.diverged is not None, isnan(result.score), self._sign * result.score

        self.results = tuple(sorted(results, key=order))

    @property
    def best(self) -> Result:
        """The candidate with the best score."""
        return self.results[0]

    @property
    def smallest(self) -> Result:
        """The candidate with the fewest parameters whose score is within one standard error of the best one's.

        The standard error is that of the best score, over repeats and folds; without them it is not known, and this is the best
        candidate (L. Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3).
        """
        best = self.best
        if isnan(best.standard_error):
            return best
        limit = self._sign * best.score + best.standard_error
        near = [result for result in self.results if result.diverged is None and self._sign * result.score <= limit]
        return min(near, key=lambda result: result.parameters, default=best)

    def __getitem__(self, name: str) -> Result:
        """Return the result of a candidate."""
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(f"{name!r} is not one of {[result.name for result in self.results]}")

    def _table(self) -> list[tuple[str, ...]]:
        spread = any(len(result.scores) > 1 for result in self.results)
        head = ("", f"best {self.key}", *(("+-",) if spread else ()), "in epoch", "of", "seconds", "parameters")
        return [head, *(self._row(result, spread) for result in self.results)]

    def _row(self, result: Result, spread: bool) -> tuple[str, ...]:
        of = f"{result.epochs}, diverged" if result.diverged else f"{result.epochs}{' (improving)' if result.improving else ''}"
        epoch = str(result.best_epoch + 1) if result.best_epoch >= 0 else "-"
        std = (f"{result.std:.2g}",) if spread else ()
        return (result.name, f"{result.score:.4g}", *std, epoch, of, f"{result.seconds:.2f}", str(result.parameters))

    def _notes(self) -> list[str]:
        notes = []
        if improving := [result.name for result in self.results if result.improving]:
            notes.append(f"Still improving when training ended: {', '.join(improving)}. More epochs may change the order.")
        if self.smallest is not self.best:
            notes.append(f"The smallest within one standard error of the best is {self.smallest.name}.")
        return notes

    def __str__(self) -> str:
        """Return a table with a row for each candidate, and what to note about it."""
        rows = self._table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for name, *cells in rows:
            aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            lines.append("  ".join([name.ljust(widths[0]), *aligned]))
        return "\n".join([*lines, *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return table(self._table()) + "".join(f"<p>{escape(note)}</p>" for note in self._notes())

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the compared curve of every candidate over the epochs."""
        from ..plots import curves

        whole = {result.name: result.history[self.key] for result in self.results if result.epochs}
        return curves(whole, ylabel=self.key, ax=ax)


def compare(
    candidates: Mapping[str, Network | Optimizer | str | Mapping[str, Any]],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: str | Loss,
    net: Network | None = None,
    optimizer: str | Optimizer = "adam",
    lr: Literal["auto"] | None = None,
    metric: str | None = None,
    validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    validation_split: float = 0.2,
    repeats: int = 1,
    folds: int | None = None,
    epochs: int = 10,
    patience: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    n_jobs: int | None = None,
    verbose: bool | None = None,
) -> Comparison:
    """Train candidates on the same data in the same order, side by side, and rank them by their best validation score.

    Parameters
    ----------
    candidates : mapping of str to Network, Optimizer, str or mapping
        By name: a `Network`; an optimizer, by name or as an object, which then trains `net`; or a mapping with keyword arguments
        of `Trainer` that differ (``net``, ``optimizer``, ``loss``, ``clip_norm`` ...). Networks and optimizers are copied.
    x, y : array
        The training data.
    loss, net, optimizer : str, Loss, Network or Optimizer
        What candidates have in common unless they say otherwise.
    lr : "auto", optional
        Give each candidate the learning rate that `lr_range_test` suggests for it, instead of its optimizer's own.
    metric : str, optional
        What is compared: a metric's name; the loss without it. Losses of different kinds cannot be compared; name a metric then.
    validation_data, validation_split : tuple, float
        As for `Trainer.fit`, the share in (0, 1); all candidates hold out the same rows, those that follow from the first network's
        seed.
    repeats : int
        How often each candidate is trained. The first time it begins with its parameters as they are; then with parameters drawn
        anew, and rows in another order.
    folds : int, optional
        The number of parts of the rows. Each candidate is trained once for each part, on all the others, and validated on
        that part (cross-validation). Classes get their share in each part. Takes the place of the validation arguments.
    epochs, batch_size, seed : int
        As for `Trainer.fit`.
    patience : int, optional
        The number of epochs without a better score after which the training of a candidate ends.
    n_jobs : int, optional
        How many to train at a time; None and -1 stand for the number of processors. They are threads, or the workers that a
        surrounding ``joblib.parallel_config`` asks for. The results do not depend on it.
    verbose : bool, optional
        Whether to show a progress bar; None shows it on a terminal or in a notebook.

    Raises
    ------
    TypeError
        If the candidates are no mapping.
    ValueError
        Without candidates, where a candidate has no network, without validation rows, or for folds together with
        `validation_data`.

    Examples
    --------
    >>> import backprop as bp
    >>> (x, y), _ = bp.datasets.digits()
    >>> nets = {name: bp.mlp([64, 32, 10], activation=name, seed=0) for name in ("relu", "sigmoid")}
    >>> comparison = bp.compare(nets, x, y, loss="cross_entropy", metric="accuracy", epochs=3)
    >>> comparison.best.name
    'relu'
    """
    if not isinstance(candidates, Mapping):
        wanted = "networks, optimizers or settings by name"
        raise TypeError(f"candidates must be a dict of {wanted}, got {type(candidates).__name__}")
    if not candidates:
        raise ValueError("candidates must hold at least one network or optimizer")
    repeats = check_count("repeats", repeats)
    patience = None if patience is None else check_count("patience", patience)
    automatic = lr is not None and check_choice("lr", lr, ("auto",)) == "auto"
    jobs, seed = check_jobs(n_jobs), check_seed(seed)
    common = {"net": net, "loss": loss, "optimizer": optimizer, "metrics": [metric] if metric else []}
    trainers = {name: _trainer(name, common, candidate, metric) for name, candidate in candidates.items()}
    key = f"val_{metric or 'loss'}"
    better_is(key)
    parts: list[tuple[Any, Any, Any, float]]
    if folds is None:
        share = 0.0 if validation_data is not None else check_in("validation_split", validation_split, 0.0, 1.0, closed="neither")
        parts = [(x, y, validation_data, share)]
    else:
        if validation_data is not None:
            raise ValueError("folds and validation_data exclude each other: each fold is validated on the part that is left out")
        inputs, targets = as_table(x, "x"), as_real_array(y, "y")
        check_same_rows((inputs, targets), ("x", "y"))
        parts = [
            (inputs[kept], targets[kept], (inputs[held_out], targets[held_out]), 0.0)
            for kept, held_out in fold_rows(targets, check_count("folds", folds, 2), losses.get(loss), seed)
        ]
    options = {"epochs": check_count("epochs", epochs), "batch_size": check_count("batch_size", batch_size), "verbose": False}
    split_seed = next(iter(trainers.values())).net.seed
    tasks = [
        (_again(trainer, repeat), name, key, part, {**options, "seed": seed + repeat}, patience, automatic, split_seed)
        for name, trainer in trainers.items()
        for repeat in range(repeats)
        for part in parts
    ]
    with progress_bar(verbose, len(tasks), "training") as advance:
        done = run_all(_train, tasks, jobs, advance)
    each = repeats * len(parts)
    return Comparison([_together(done[first : first + each]) for first in range(0, len(done), each)], key)


def fold_rows(targets: npt.NDArray[Any], folds: int, loss: Loss, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """Yield for each fold the rows to train on and the rows to validate on; classes get their share in each."""
    rows = len(targets)
    if folds > rows:
        raise ValueError(f"folds must be at most the number of rows, {rows}, got {folds}")
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,))).permutation(rows)
    if loss.task in ("classification", "binary") and targets.size == rows:
        order = order[np.argsort(targets.reshape(-1)[order], kind="stable")]
    fold_of = np.empty(rows, dtype=np.intp)
    fold_of[order] = np.arange(rows) % folds
    for fold in range(folds):
        yield np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)


def _train(
    trainer: Trainer, name: str, key: str, part: tuple[Any, Any, Any, float], options: dict[str, Any], patience: int | None,
    automatic: bool, split_seed: int,
) -> Result:  # fmt: skip
    """Train one candidate once."""
    x, y, validation_data, validation_split = part
    trainer._split_seed = split_seed
    start, history, diverged = perf_counter(), History(), None
    callbacks: list[Callback] = [LambdaCallback(on_epoch_end=history.append)]
    if patience is not None:
        callbacks.append(EarlyStopping(key, patience=patience))
    try:
        if automatic:
            found = lr_range_test(trainer, x, y, batch_size=options["batch_size"], seed=options["seed"])
            trainer.optimizer.lr = found.suggestion
        trainer.fit(x, y, validation_data=validation_data, validation_split=validation_split, callbacks=callbacks, **options)
    except (DivergenceError, NotFiniteError) as error:
        diverged = str(error)
    seconds, done = perf_counter() - start, len(history.epoch)
    scored = done > 0 and not all(map(isnan, history[key]))
    best = history.best(key) if scored else -1
    score = history[key][history.epoch.index(best)] if scored else nan
    improving = scored and diverged is None and done == options["epochs"] and _improving(history[key], better_is(key))
    return Result(name, score, best, done, seconds, trainer.net.parameters.size, history, trainer, diverged, (score,), improving)


def _improving(values: list[float], direction: str) -> bool:
    """Whether the last quarter of the values is better than the quarter before, by more than the quarter before varies."""
    if len(values) < 4:
        return len(values) > 1 and (values[-1] < values[0]) == (direction == "min") and values[-1] != values[0]
    signed = np.asarray(values) * (1.0 if direction == "min" else -1.0)
    quarter = max(len(values) // 4, 2)
    last, before = signed[-quarter:], signed[-2 * quarter : -quarter]
    gain = float(before.mean() - last.mean())
    noise = float(np.std(np.diff(signed[-2 * quarter :]))) / quarter**0.5
    size = max(float(np.ptp(signed)), 1e-12)
    return bool(gain > max(0.02 * size, noise))


def _together(results: list[Result]) -> Result:
    """One result for all repeats and folds of a candidate."""
    first = results[0]
    scores = tuple(result.score for result in results)
    known = [score for score in scores if not isnan(score)]
    return first._replace(
        score=float(np.mean(known)) if known else nan,
        seconds=sum(result.seconds for result in results),
        diverged=next((result.diverged for result in results if result.diverged), None),
        scores=scores,
        improving=sum(result.improving for result in results) > len(results) / 2,
    )


def _again(trainer: Trainer, repeat: int) -> Trainer:
    """A copy of a trainer; but for the first repeat, with parameters drawn anew."""
    made = copy.deepcopy(trainer)
    if repeat:
        rng = np.random.default_rng(np.random.SeedSequence(made.net.seed, spawn_key=(repeat,)))
        for _, layer in walk(made.net.layers, "layers"):
            layer.initialize(rng)
    return made


def _trainer(
    name: str, common: Mapping[str, Any], candidate: Network | Optimizer | str | Mapping[str, Any], metric: str | None
) -> Trainer:
    """The trainer of a candidate, which measures what is compared, also where the candidate has metrics of its own."""
    if isinstance(candidate, Mapping):
        own: Mapping[str, Any] = candidate
    elif isinstance(candidate, Network):
        own = {"net": candidate}
    else:
        own = {"optimizer": candidate}
    settings = {**common, **own}
    if settings["net"] is None:
        raise ValueError(f"candidates[{name!r}] has no network: give it one, or pass net= for all")
    settings["optimizer"] = copy.deepcopy(settings["optimizer"])
    trainer = Trainer(settings.pop("net").copy(), **settings)
    if metric is not None and metric not in [made.name for made in make_metrics(trainer.metrics, trainer.loss)]:
        own_metrics = metrics.defaults(trainer.loss.task) if trainer.metrics is None else trainer.metrics
        trainer.metrics = (*own_metrics, metric)
    return trainer
