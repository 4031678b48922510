"""From a table to a trained network: the rows that are used, their parts, the encoding, the training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import optimizers
from .._arrays import check_list
from .._table_defaults import EPOCHS, OPTIMIZER, PATIENCE, PATIENT_UPDATES, UPDATES, WEIGHT_DECAY
from .._types import AnyArray
from ..callbacks import EarlyStopping
from ..data import split
from ..history import History
from ..network import Network, mlp
from ..optimizers import Optimizer
from . import _columns
from ._columns import Column
from ._encoded import LARGE, Matrix
from ._encoder import TableEncoder
from ._kinds import by_column
from ._rows import Table, check_names, named_columns
from ._targets import ClassTarget, Target, fit_target

Rows = npt.NDArray[np.intp]


class Source(NamedTuple):
    """A table whose target is known: its columns, and what the network shall learn.

    Attributes
    ----------
    features : dict of str to Column
        The columns but the target, of all rows.
    rows : array of int
        The positions of the rows with a value of the target.
    target : Target
    y : array (len(rows), ...)
        The target as the network learns it.
    encoding : dict
        Options of `TableEncoder.fit`.
    notes : tuple of str
    """

    features: dict[str, Column]
    rows: Rows
    target: Target
    y: AnyArray
    encoding: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def classes(self) -> AnyArray | None:
        """The class of each row, for a split that keeps shares; None for numbers."""
        return self.y if isinstance(self.target, ClassTarget) else None


class Prepared(NamedTuple):
    """Encoder and target, and the matrices of the parts: to learn from, to choose the best epoch by, and to judge by."""

    encoder: TableEncoder
    target: Target
    x_learn: Matrix
    y_learn: AnyArray
    x_judge: Matrix
    y_judge: AnyArray
    x_test: Matrix
    y_test: AnyArray
    notes: tuple[str, ...]


def read_source(
    table: Any,
    target: str,
    *,
    task: str = "auto",
    ignore: Iterable[str] = (),
    missing: Iterable[str] | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    **encoding: Any,
) -> Source:
    """Read a table whose target is to be learned; see `TableModel.fit` for the parameters."""
    ignored = tuple(map(str, check_list("ignore", ignore, "names of columns")))  # a frame may have numbers for names
    given, target = named_columns(table), str(target)
    check_names(given, [target, *ignored])
    for option, what in (("kinds", "kind"), ("dates", "format")):
        said = by_column(option, encoding.get(option), what)
        if target in said:
            raise ValueError(
                f"{target!r} is the target: task (--task) tells what it is; {option} are those of the columns to learn from"
            )
        encoding[option] = {name: value for name, value in said.items() if name not in ignored}  # for these it does not matter
    place = given if isinstance(given, Table) else None
    if place is not None and missing is None:
        missing = place.options.get("missing")
    labels, notes = _target_of(given, target, missing)
    known = np.flatnonzero(labels.present)
    if not known.size:
        raise ValueError(f"the table must have rows with a value of {target!r}, has none")
    labels = labels if len(known) == len(labels) else labels.take(known)
    goal = fit_target(target, labels, task, decimal=decimal, thousands=thousands)
    y: AnyArray = goal.transform(labels)
    if len(y) < 2:
        raise ValueError(f"the table must have at least 2 rows with a value of {target!r}, has {len(y)}")
    used = [name for name in given if name != target and name not in ignored]
    if not used:
        raise ValueError(f"the table has no column to learn from: beside the target {target!r} there is none that is not ignored")
    features = _columns.columns(given, used, _columns.missing_words(missing))
    for name, column in features.items():
        if len(column) != len(given[target]):
            raise ValueError(
                f"columns must have equal lengths, got {len(column)} in {name!r} and {len(given[target])} in {target!r}"
            )
    settings = {"missing": missing, "decimal": decimal, "thousands": thousands, "ignored": ignored, **encoding}
    return Source(features, known, goal, y, settings, tuple(notes))


def divide(source: Source, share: float, seed: int, among: Rows | None = None) -> tuple[Rows, Rows]:
    """Split the rows of a source, or those at some positions, in two; classes keep their shares."""
    if among is None:
        return split(len(source.y), share, stratify=source.classes, seed=seed)
    classes = None if source.classes is None else source.classes[among]
    first, second = split(len(among), share, stratify=classes, seed=seed)
    return among[first], among[second]


def prepare(source: Source, learn: Rows, judge: Rows, test: Rows | None = None) -> Prepared:
    """Encode the parts of a source, given by positions in its `y`.

    Kinds of columns come from all rows, everything that is learned from the first part.
    """
    settings = dict(source.encoding)
    ignored = settings.pop("ignored")
    encoder = TableEncoder.fit(source.features, rows=source.rows[learn], **settings)
    encoder.ignored = {**dict.fromkeys(ignored, "as asked"), **encoder.ignored}
    columns = {feature.name: source.features[feature.name] for feature in encoder.features}
    test = np.empty(0, np.intp) if test is None else test
    large = len(source.y) * len(encoder.names) * np.dtype(np.float32).itemsize > LARGE
    rows = encoder._encoded(columns) if large else None

    def encoded(part: Rows) -> Matrix:
        if rows is not None:
            return rows.part(source.rows[part])
        return encoder.transform({name: column.take(source.rows[part]) for name, column in columns.items()})

    target, y = _of_learned_rows(source, learn)
    parts = encoded(learn), y[learn], encoded(judge), y[judge], encoded(test), y[test]
    return Prepared(encoder, target, *parts, (*source.notes, *encoder.notes))


def _of_learned_rows(source: Source, learn: Rows) -> tuple[Target, AnyArray]:
    """The target with the mean and scale, or the shares, of the rows to learn from, and all rows as it gives them."""
    if isinstance(source.target, ClassTarget):
        counts = np.bincount(source.y[learn], minlength=source.target.n_outputs)
        return replace(source.target, shares=tuple((counts / len(learn)).tolist())), source.y
    target = source.target
    centre, scale = _columns.mean_and_scale(target.name, source.y[learn, 0])
    return replace(target, mean=target.mean + target.scale * centre, scale=target.scale * scale), (source.y - centre) / scale


def make_network(
    prepared: Prepared, *, hidden: Sequence[int], activation: str, dropout: float, batch_norm: bool, seed: int
) -> Network:
    """Return a network of the right widths."""
    return mlp(
        [len(prepared.encoder.names), *hidden, prepared.target.n_outputs],
        activation=activation,
        dropout=dropout,
        batch_norm=batch_norm,
        seed=seed,
    )


def train_network(
    net: Network,
    prepared: Prepared,
    *,
    optimizer: Optimizer,
    epochs: int | None,
    batch_size: int,
    class_weight: Any,
    patience: int | None,
    callbacks: Sequence[Any],
    seed: int,
    verbose: bool | None,
) -> tuple[History, EarlyStopping]:
    """Train until the loss on the rows set apart no longer improves, and leave the best weights in the network."""
    epochs, patience = limits(len(prepared.x_learn), batch_size, epochs, patience)
    stopping = EarlyStopping(patience=patience, restore_best_weights=True)
    history = net.fit(
        prepared.x_learn,
        prepared.y_learn,
        validation_data=(prepared.x_judge, prepared.y_judge),
        loss="cross_entropy" if isinstance(prepared.target, ClassTarget) else "mse",
        optimizer=optimizer,
        epochs=epochs,
        batch_size=min(batch_size, len(prepared.x_learn)),
        class_weight=class_weight,
        callbacks=[stopping, *callbacks],
        seed=seed,
        verbose=verbose,
    )
    return history, stopping


def limits(rows: int, batch_size: int, epochs: int | None, patience: int | None) -> tuple[int, int]:
    """Return the largest number of epochs, and how many of them may bring no improvement; None is chosen by the rows."""
    updates = math.ceil(rows / min(batch_size, rows))  # in an epoch
    if epochs is None:
        epochs = max(EPOCHS, math.ceil(UPDATES / updates))
    return epochs, max(PATIENCE, math.ceil(PATIENT_UPDATES / updates)) if patience is None else patience


def make_optimizer(name: str, lr: float | None, weight_decay: float | None) -> Optimizer:
    """Return the optimizer of this name; the default one decays weights unless told otherwise."""
    if weight_decay is None:
        weight_decay = WEIGHT_DECAY if name == OPTIMIZER else 0.0
    settings = {"name": name, "weight_decay": weight_decay}
    return optimizers.get(settings if lr is None else {**settings, "lr": lr})


def _target_of(table: Mapping[str, Any], target: str, missing: Iterable[str] | None) -> tuple[Column, list[str]]:
    """The target's column, and a note about the rows that are left out.

    From Python, words such as "none" are classes of a target; from a file, where every value is text, they are missing.
    """
    from_file = isinstance(table, Table)
    words = _columns.missing_words(missing) if from_file or missing is not None else frozenset({""})
    column = Column(target, table[target], missing=words, table=table if isinstance(table, Table) else None)
    unknown = len(column) - int(column.present.sum())
    if not unknown:
        return column, []
    left_out = ""
    if from_file:
        raw = {str(text).strip() for text, known in zip(table[target], column.present, strict=True) if not known} - {"", "None"}
        left_out = f" (also {', '.join(map(repr, sorted(raw)[:5]))}: --missing tells which words mean that)" if raw else ""
    return column, [f"left out {unknown:,} rows without a value of {target!r}{left_out}"]
