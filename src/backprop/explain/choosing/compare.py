"""Train several networks or optimizers side by side and see which does best: `compare`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from math import isnan, nan
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt

from ...callbacks import LambdaCallback
from ...history import History
from ...metrics import better_is
from ...network import Network
from ...training import DivergenceError, Trainer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...losses import Loss
    from ...optimizers._base import Optimizer


class Result(NamedTuple):
    """What became of one candidate.

    Attributes
    ----------
    name : str
        The candidate's.
    score : float
        Its best score; NaN if it has none.
    best_epoch : int
        The epoch that had it; -1 without a score.
    epochs : int
        How many epochs were trained.
    seconds : float
        How long that took.
    parameters : int
        How many parameters the network has.
    history : History
        The numbers of each epoch.
    trainer : Trainer
        The trained trainer.
    diverged : str or None
        Where training diverged, the message; the score is the best until then.
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
        sign = -1 if better_is(key) == "max" else 1

        def order(result: Result) -> tuple[bool, bool, float]:
            return result.diverged is not None, isnan(result.score), sign * result.score

        self.results = tuple(sorted(results, key=order))

    @property
    def best(self) -> Result:
        """The candidate with the best score."""
        return self.results[0]

    def __getitem__(self, name: str) -> Result:
        """Return the result of a candidate."""
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(f"{name!r} is not one of {[result.name for result in self.results]}")

    def __str__(self) -> str:
        """Return a table with a row a candidate."""
        rows = [("", f"best {self.key}", "in epoch", "of", "seconds", "parameters")]
        rows += [
            (
                r.name,
                f"{r.score:.4g}",
                str(r.best_epoch + 1) if r.epochs else "-",
                f"{r.epochs}, diverged" if r.diverged else str(r.epochs),
                f"{r.seconds:.2f}",
                str(r.parameters),
            )
            for r in self.results
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for name, *cells in rows:
            aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            lines.append("  ".join([name.ljust(widths[0]), *aligned]))
        return "\n".join(lines)

    __repr__ = __str__

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
    metric: str | None = None,
    validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    validation_split: float = 0.2,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    threads: int | None = None,
) -> Comparison:
    """Train candidates on the same data in the same order, in threads, and rank them by their best validation score.

    Parameters
    ----------
    candidates : mapping of str to Network, Optimizer, str or mapping
        By name: a `Network`; an optimizer, by name or as an object, which then trains `net`; or a mapping with keyword arguments
        of `Trainer` that differ (``net``, ``optimizer``, ``loss``, ``clip_norm`` ...). Networks and optimizers are copied.
    x, y : array
        The training data.
    loss, net, optimizer : str, Loss, Network or Optimizer
        What candidates have in common unless they say otherwise.
    metric : str, optional
        What is compared: a metric's name; the loss without it. Losses of different kinds cannot be compared; name a metric then.
    validation_data, validation_split : tuple, float
        As for `Trainer.fit`; all candidates hold out the same rows, those that follow from the first network's seed.
    epochs, batch_size, seed : int
        As for `Trainer.fit`.
    threads : int, optional
        How many to train at once; the number of processors without it.

    Raises
    ------
    ValueError
        Without candidates, or where a candidate has no network.

    Examples
    --------
    >>> import backprop as bp
    >>> (x, y), _ = bp.datasets.digits()
    >>> nets = {name: bp.mlp([64, 32, 10], activation=name, seed=0) for name in ("relu", "sigmoid")}
    >>> comparison = bp.compare(nets, x, y, loss="cross_entropy", metric="accuracy", epochs=3)
    >>> comparison.best.name
    'relu'
    """
    if not candidates:
        raise ValueError("candidates must hold at least one network or optimizer")
    common = {"net": net, "loss": loss, "optimizer": optimizer, "metrics": [metric] if metric else []}
    trainers = {name: _trainer(name, common, candidate) for name, candidate in candidates.items()}
    first = next(iter(trainers.values()))
    for trainer in trainers.values():
        trainer._split_seed = first.net.seed
    key = f"val_{metric or 'loss'}"

    def train(name: str) -> Result:
        trainer, start, history, diverged = trainers[name], perf_counter(), History(), None
        try:
            trainer.fit(
                x, y, epochs=epochs, batch_size=batch_size, seed=seed, verbose=False,
                validation_data=validation_data, validation_split=0.0 if validation_data is not None else validation_split,
                callbacks=[LambdaCallback(on_epoch_end=history.append)],
            )  # fmt: skip
        except DivergenceError as error:
            diverged = str(error)
        seconds, done = perf_counter() - start, len(history.epoch)
        scored = done > 0 and not all(map(isnan, history[key]))
        best = history.best(key) if scored else -1
        score = history[key][history.epoch.index(best)] if scored else nan
        return Result(name, score, best, done, seconds, trainer.net.parameters.size, history, trainer, diverged)

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(copy_context().run, train, name) for name in trainers]
        return Comparison([future.result() for future in running], key)


def _trainer(name: str, common: Mapping[str, Any], candidate: Network | Optimizer | str | Mapping[str, Any]) -> Trainer:
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
    return Trainer(settings.pop("net").copy(), **settings)
