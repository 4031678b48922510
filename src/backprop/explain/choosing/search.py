"""Look for good sizes and settings of a network among many: `search`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from html import escape
from math import exp, inf, isnan, log, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ... import losses
from ..._arrays import as_real_array, as_table, check_count, check_in, check_number, check_seed
from ..._direction import direction_of_metric
from ..._files import replace_file
from ..._html import table as html_table
from ..._training.epochs import leaves_row_alone
from ..._training.progress import progress_bar
from ..._types import AnyArray
from ...data import check_same_rows, hold_out
from ...network import Network, mlp
from ...optimizers import AdamW
from ...training import DivergenceError, Trainer
from .parallel import check_jobs, run_all

if TYPE_CHECKING:
    from ...losses import Loss

Settings = dict[str, Any]

DEFAULTS: Settings = {
    "hidden": (64, 64),
    "activation": "relu",
    "lr": 1e-3,
    "dropout": 0.0,
    "weight_decay": 0.0,
    "batch_size": 32,
    "batch_norm": False,
}
_LOGARITHMIC = ("lr", "weight_decay", "batch_size")
_JOURNAL = "search.json"


class Trial(NamedTuple):
    """What became of one drawn combination of settings.

    Attributes
    ----------
    number : int
        Its number, in the order of drawing.
    settings : dict
        Its settings, those that the space leaves open at their defaults.
    score : float
        Its score on the validation rows after its last epoch; NaN where training diverged.
    epochs : int
        How many epochs it was trained before it was dropped, or the search ended.
    parameters : int
        How many parameters the network has.
    """

    number: int
    settings: Settings
    score: float
    epochs: int
    parameters: int


class Search(NamedTuple):
    """What `search` found; ``print(found)`` is a table of the best trials.

    Attributes
    ----------
    trials : tuple of Trial
        The best first: those that were trained longest, and among these by score.
    key : str
        What was compared: ``"val_loss"``, or ``"val_"`` and the metric.
    net : Network
        The trained network of the best trial.
    varied : tuple of str
        The settings that the space varies.
    """

    trials: tuple[Trial, ...]
    key: str
    net: Network
    varied: tuple[str, ...]

    @property
    def best(self) -> Trial:
        """The best trial."""
        return self.trials[0]

    def _rows(self, most: int = 10) -> list[tuple[str, ...]]:
        head = ("trial", self.key, "epochs", "parameters", *self.varied)
        rows = []
        for trial in self.trials[:most]:
            settings = (_short(trial.settings[name]) for name in self.varied)
            rows.append((str(trial.number), f"{trial.score:.4g}", str(trial.epochs), str(trial.parameters), *settings))
        return [head, *rows]

    def _rest(self) -> str:
        return f"and {len(self.trials) - 10} more" if len(self.trials) > 10 else ""

    def __str__(self) -> str:
        """Return a table with a row for each of the ten best trials."""
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, *filter(None, [self._rest()])])

    def __repr__(self) -> str:
        """Return the same table."""
        return str(self)

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return html_table(self._rows()) + f"<p>{escape(self._rest())}</p>"


def search(
    space: Mapping[str, Sequence[Any] | tuple[float, float]],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: str | Loss,
    budget: int = 27,
    epochs: int = 27,
    factor: int = 3,
    metric: str | None = None,
    validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    validation_split: float = 0.2,
    n_outputs: int | None = None,
    seed: int = 0,
    n_jobs: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    verbose: bool | None = None,
) -> Search:
    """Draw many combinations of settings, train all of them a little, and continue with the best: successive halving.

    K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", 2016. In each round the
    better third is kept and trained three times as long in all, until the last ones have all their epochs. Networks are those of
    `mlp`, trained with `AdamW`.

    Parameters
    ----------
    space : mapping of str to list or tuple
        What to choose from, by name: ``hidden`` (widths of the hidden layers), ``activation``, ``lr``, ``dropout``,
        ``weight_decay``, ``batch_size``, ``batch_norm``. A list holds choices, ``{"hidden": [(32,), (64, 64)]}``; a tuple of two
        numbers is a range, ``{"lr": (1e-4, 1e-1)}``, which is drawn from evenly, for lr, weight_decay and batch_size in their
        logarithm.
    x, y : array
        The training data, as for `Network.fit`.
    loss : str or Loss
        The loss.
    budget : int
        How many combinations to draw.
    epochs : int
        How many epochs the last round trains its networks for in all.
    factor : int
        One in ``factor`` combinations of a round reaches the next, which trains ``factor`` times as long; at least 2.
    metric : str, optional
        What is compared: a metric's name; the loss without it.
    validation_data, validation_split : tuple (x, y), float
        The rows that networks are compared on, or the share of the rows to hold out for it, in (0, 1).
    n_outputs : int, optional
        The number of outputs. By default one for each class of a classification, up to the largest label in y, or one for each
        column of y.
    seed : int
        Fixes the combinations, initial weights, order of the rows and rows held out. The result is the same whatever `n_jobs`.
    n_jobs : int, optional
        How many networks to train at a time, as for `compare`.
    folder : path, optional
        Where to keep what has been trained: an interrupted search that is called again with the same arguments continues there,
        to the same result.
    verbose : bool, optional
        Whether to show a progress bar; None shows it on a terminal or in a notebook.

    Returns
    -------
    Search

    Raises
    ------
    TypeError, ValueError
        For a name that is not a setting, choices or ranges that are empty, targets that do not fit the loss, or a folder of a
        search with other arguments.

    Examples
    --------
    >>> import backprop as bp
    >>> (x, y), _ = bp.datasets.digits()
    >>> found = bp.search({"hidden": [(4,), (32,)], "lr": (1e-5, 1e-2)}, x[:300], y[:300], loss="cross_entropy", budget=6, epochs=6)
    >>> found.best.settings["hidden"], found.net.n_outputs
    ((32,), 10)
    """
    criterion = losses.get(loss)
    budget, epochs = check_count("budget", budget), check_count("epochs", epochs)
    factor, seed, jobs = check_count("factor", factor, 2), check_seed(seed), check_jobs(n_jobs)
    _check_space(space)
    table, targets = as_table(x, "x"), as_real_array(y, "y")
    check_same_rows((table, targets), ("x", "y"))
    outputs = _outputs(criterion, targets) if n_outputs is None else check_count("n_outputs", n_outputs)
    criterion.prepare_targets(targets, outputs, np.float32, name="y")
    key = f"val_{metric or 'loss'}"
    sign = -1.0 if direction_of_metric(metric) == "max" else 1.0
    if validation_data is None:
        check_in("validation_split", validation_split, 0.0, 1.0, closed="neither")
        classes = criterion.task in ("classification", "binary") and targets.size == len(targets)
        kept, held_out = hold_out(len(table), validation_split, stratify=targets.reshape(-1) if classes else None, seed=seed)
        table, other, targets, other_targets = table[kept], table[held_out], targets[kept], targets[held_out]
    else:
        other, other_targets = (
            as_table(validation_data[0], "x of validation_data", table.shape[1]),
            as_real_array(validation_data[1], "y of validation_data"),
        )
        check_same_rows((other, other_targets), ("x of validation_data", "y of validation_data"))
        criterion.prepare_targets(other_targets, outputs, np.float32, name="y of validation_data")
    settings = list(_drawn(space, budget, seed))
    job = _Job(criterion, metric, (table, targets), (other, other_targets), outputs, seed)
    store = None if folder is None else _Store(Path(folder), job.digest(space, budget, epochs, factor))

    rounds = _rounds(budget, epochs, factor)
    alive, trainers, scores = list(range(budget)), dict[int, Trainer](), dict[int, float]()
    trained = dict.fromkeys(alive, 0)
    with progress_bar(verbose, sum(count for count, _ in rounds), "training") as advance:
        for count, length in rounds:
            alive = sorted(sorted(alive), key=lambda number: _rank(scores, number, sign))[:count]
            tasks = [(job, number, settings[number], trainers.pop(number, None), length, store) for number in alive]
            trainers = {}  # those that are dropped are not needed any more
            for number, (trainer, score) in zip(alive, run_all(_trained, tasks, jobs, advance), strict=True):
                trainers[number], scores[number], trained[number] = trainer, score, length
    sizes = {number: trainer.net.parameters.size for number, trainer in trainers.items()}
    trials = [
        Trial(
            number,
            settings[number],
            scores[number],
            trained[number],
            sizes.get(number) or job.network(number, settings[number]).parameters.size,
        )
        for number in range(budget)
    ]
    trials.sort(key=lambda trial: (-trial.epochs, *_rank(scores, trial.number, sign), trial.number))
    return Search(tuple(trials), key, trainers[trials[0].number].net, tuple(name for name in DEFAULTS if name in space))


class _Job(NamedTuple):
    """What all trainings of a search share."""

    loss: Loss
    metric: str | None
    data: tuple[AnyArray, AnyArray]
    validation: tuple[AnyArray, AnyArray]
    n_outputs: int
    seed: int

    def network(self, number: int, settings: Settings) -> Network:
        """The untrained network of a combination."""
        state = np.random.SeedSequence(self.seed, spawn_key=(2, number)).generate_state(1)
        sizes = [self.data[0].shape[1], *settings["hidden"], self.n_outputs]
        return mlp(
            sizes,
            activation=settings["activation"],
            dropout=settings["dropout"],
            batch_norm=settings["batch_norm"],
            seed=int(state[0]),
        )

    def trainer(self, number: int, settings: Settings) -> Trainer:
        """The trainer of a combination, before any training."""
        optimizer = AdamW(lr=settings["lr"], weight_decay=settings["weight_decay"])
        return Trainer(
            self.network(number, settings), loss=self.loss, optimizer=optimizer, metrics=[self.metric] if self.metric else []
        )

    def digest(self, *arguments: Any) -> str:
        """A text that is the same for searches with the same arguments and data only."""
        seen = hashlib.sha256(repr((arguments, self.loss, self.metric, self.n_outputs, self.seed)).encode())
        for array in (*self.data, *self.validation):
            seen.update(repr((array.shape, str(array.dtype))).encode())
            seen.update(np.ascontiguousarray(array).tobytes())
        return seen.hexdigest()


class _Store:
    """The folder of a search: each combination's trainer as it was after its last round, and whose search it is."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        journal = folder / _JOURNAL
        if journal.exists():
            if json.loads(journal.read_text(encoding="utf-8")).get("arguments") != digest:
                raise ValueError(f"folder {str(folder)!r} is that of a search with other arguments or data; use another one")
        else:
            replace_file(journal, json.dumps({"arguments": digest}).encode())

    def path(self, number: int, epochs: int) -> Path:
        return self.folder / f"trial-{number:04d}-{epochs:05d}.safetensors"

    def load(self, job: _Job, number: int, epochs: int) -> Trainer | None:
        """The trainer as it was after ``epochs`` epochs, if it has reached them."""
        path = self.path(number, epochs)
        return Trainer.load(path, loss=job.loss) if path.exists() else None

    def save(self, trainer: Trainer, number: int, epochs: int, before: int) -> None:
        trainer.save(self.path(number, epochs))
        with suppress(FileNotFoundError):
            if before:
                self.path(number, before).unlink()

    def note_divergence(self, number: int, epochs: int) -> None:
        self.path(number, epochs).with_suffix(".diverged").touch()

    def diverged(self, number: int, epochs: int) -> bool:
        return self.path(number, epochs).with_suffix(".diverged").exists()


def _trained(
    job: _Job, number: int, settings: Settings, trainer: Trainer | None, epochs: int, store: _Store | None
) -> tuple[Trainer, float]:
    """Train a combination until it has ``epochs`` epochs, and return its trainer and its score."""
    stored = store.load(job, number, epochs) if store is not None else None
    trainer = stored or trainer or job.trainer(number, settings)
    if store is not None and store.diverged(number, epochs):
        return trainer, nan
    before = trainer.epoch
    try:
        if before < epochs:
            x, y = job.data
            size = int(settings["batch_size"])
            trainer.fit(
                x,
                y,
                epochs=epochs - before,
                batch_size=size,
                drop_last=leaves_row_alone(trainer.net, len(x), size),
                seed=job.seed + number,
                verbose=False,
            )
        score = trainer.evaluate(*job.validation)[job.metric or "loss"]
    except DivergenceError:
        if store is not None:
            store.note_divergence(number, epochs)
        return trainer, nan
    if store is not None and stored is None:
        store.save(trainer, number, epochs, before)
    return trainer, float(score)


def _rank(scores: Mapping[int, float], number: int, sign: float) -> tuple[bool, float]:
    score = scores.get(number, 0.0)
    return (True, inf) if isnan(score) else (False, sign * score)


def _rounds(budget: int, epochs: int, factor: int) -> list[tuple[int, int]]:
    """How many combinations each round trains, and until how many epochs."""
    count = 1
    while factor**count <= min(budget, epochs):
        count += 1
    rounds = [(max(1, budget // factor**index), max(1, epochs // factor ** (count - 1 - index))) for index in range(count)]
    return [*rounds[:-1], (rounds[-1][0], epochs)]


def _check_space(space: Mapping[str, Any]) -> None:
    if not isinstance(space, Mapping):
        raise TypeError(f"space must be a dict of choices by name, got {type(space).__name__}")
    if not space:
        raise ValueError(f"space must name at least one of {', '.join(DEFAULTS)}")
    for name, choices in space.items():
        if name not in DEFAULTS:
            raise ValueError(f"space must hold settings among {', '.join(DEFAULTS)}, got {name!r}")
        if _is_range(choices):
            low, high = (check_number(f"space[{name!r}]", end) for end in choices)
            if not low < high or (name in _LOGARITHMIC and low <= 0):
                wanted = "0 < low < high" if name in _LOGARITHMIC else "low < high"
                raise ValueError(f"space[{name!r}] must be a range (low, high) with {wanted}, got {choices!r}")
            if isinstance(DEFAULTS[name], bool | str | tuple):
                raise ValueError(f"space[{name!r}] must be a list of choices, got the range {choices!r}")
        elif not isinstance(choices, list | tuple) or not choices:
            raise ValueError(f"space[{name!r}] must be a list of choices, or a range (low, high), got {choices!r}")


def _is_range(choices: Any) -> bool:
    return isinstance(choices, tuple) and len(choices) == 2 and all(isinstance(end, int | float) for end in choices)


def _drawn(space: Mapping[str, Any], budget: int, seed: int) -> Iterator[Settings]:
    """Draw combinations; ranges are divided evenly, so that a small budget covers them."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    columns: dict[str, list[Any]] = {}
    for name in (name for name in DEFAULTS if name in space):  # in one order, however the space was written
        choices = space[name]
        if _is_range(choices):
            low, high = float(choices[0]), float(choices[1])
            at = rng.permutation(budget) + rng.random(budget)
            shares = at / budget
            values = [
                exp(log(low) + share * log(high / low)) if name in _LOGARITHMIC else low + share * (high - low) for share in shares
            ]
            columns[name] = [round(value) for value in values] if name == "batch_size" else values
        else:
            repeated = [choices[index % len(choices)] for index in range(budget)]
            columns[name] = [repeated[index] for index in rng.permutation(budget)]
    for index in range(budget):
        chosen = {name: column[index] for name, column in columns.items()}
        made = {**DEFAULTS, **chosen}
        made["hidden"] = tuple(np.atleast_1d(made["hidden"]).tolist())
        yield made


def _outputs(loss: Loss, targets: AnyArray) -> int:
    """The number of outputs that the targets of all rows call for; whether they fit the loss is not checked here."""
    if loss.task == "classification" and targets.ndim == 2 and targets.shape[1] == 1:
        raise ValueError(f"y must have shape (n,) where it holds class labels, got {targets.shape}: give y.ravel()")
    if targets.ndim == 2:
        return int(targets.shape[1])
    is_labels = loss.task == "classification" and targets.dtype.kind in "iub"
    return int(targets.max(initial=0)) + 1 if is_labels else 1


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value)) or "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
