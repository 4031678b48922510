"""From a table to a trained network: the rows that are used, the encoding, the split, the training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import optimizers
from ..callbacks import EarlyStopping
from ..data import split
from ..history import History
from ..network import Network, mlp
from ..optimizers import Optimizer
from . import _columns
from ._encoder import TableEncoder
from ._rows import Table, check_names, named_columns
from ._targets import ClassTarget, Target, fit_target

Array = npt.NDArray[Any]


class Prepared(NamedTuple):
    """A table ready for training: encoder and target, the matrices of the two parts, and what was noticed."""

    encoder: TableEncoder
    target: Target
    x_learn: Array
    y_learn: Array
    x_judge: Array
    y_judge: Array
    notes: tuple[str, ...]


def prepare(
    table: Any,
    target: str,
    *,
    task: str = "auto",
    ignore: Iterable[str] = (),
    validation: float = 0.2,
    seed: int = 0,
    missing: Iterable[str] | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    **encoding: Any,
) -> Prepared:
    """Find the encoding of a table, split its rows and encode them; see `TableModel.fit` for the parameters.

    Kinds of columns come from all rows, everything that is learned from those that are not set apart.
    """
    given = named_columns(table)
    check_names(given, [target])
    if isinstance(given, Table):
        missing = given.options.get("missing") if missing is None else missing
    labels, notes = _target_of(given, target, missing)
    known = np.flatnonzero(labels.present)
    if not known.size:
        raise ValueError(f"the table must have rows with a value of {target!r}, has none")
    known_labels = labels if len(known) == len(labels) else labels.take(known)
    goal = fit_target(target, known_labels, task, decimal=decimal, thousands=thousands)
    y: Array = goal.transform(known_labels)
    if len(y) < 2:
        raise ValueError(f"the table must have at least 2 rows with a value of {target!r}, has {len(y)}")
    learn, judge = split(len(y), validation, stratify=y if isinstance(goal, ClassTarget) else None, seed=seed)
    features = given.without([target]) if isinstance(given, Table) else {name: given[name] for name in given if name != target}
    encoder = TableEncoder.fit(
        features, ignore=ignore, missing=missing, decimal=decimal, thousands=thousands, rows=known[learn], **encoding
    )
    columns = _columns.columns(features, [feature.name for feature in encoder.features], encoder.missing)
    x_learn, x_judge = (
        encoder.transform({name: column.take(known[part]) for name, column in columns.items()}) for part in (learn, judge)
    )
    return Prepared(encoder, goal, x_learn, y[learn], x_judge, y[judge], (*notes, *encoder.notes))


def _target_of(table: Mapping[str, Any], target: str, missing: Iterable[str] | None) -> tuple[_columns.Column, list[str]]:
    """The target's column, and a note about the rows that are left out.

    From Python, words such as "none" are classes of a target; from a file, where every value is text, they are missing.
    """
    from_file = isinstance(table, Table)
    words = _columns.missing_words(missing) if from_file or missing is not None else frozenset({""})
    column = _columns.Column(target, table[target], missing=words, table=table if isinstance(table, Table) else None)
    unknown = len(column) - int(column.present.sum())
    if not unknown:
        return column, []
    left_out = ""
    if from_file:
        raw = {text.strip() for text, there in zip(table[target], column.present, strict=True) if not there} - {""}
        left_out = f" (empty, or {', '.join(map(repr, sorted(raw)))}: --missing tells which words are missing)" if raw else ""
    return column, [f"left out {unknown:,} rows without a value of {target!r}{left_out}"]


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
    optimizer: str | Optimizer | Mapping[str, Any],
    epochs: int,
    batch_size: int,
    class_weight: Any,
    patience: int,
    callbacks: Sequence[Any],
    seed: int,
    verbose: bool | None,
) -> tuple[History, EarlyStopping]:
    """Train until the loss on the rows set apart no longer improves, and leave the best weights in the network."""
    stopping = EarlyStopping(patience=patience, restore_best_weights=True)
    history = net.fit(
        prepared.x_learn,
        prepared.y_learn,
        validation_data=(prepared.x_judge, prepared.y_judge),
        loss="cross_entropy" if isinstance(prepared.target, ClassTarget) else "mse",
        optimizer=optimizers.get(optimizer) if isinstance(optimizer, Mapping) else optimizer,
        epochs=epochs,
        batch_size=min(batch_size, len(prepared.x_learn)),
        class_weight=class_weight,
        callbacks=[stopping, *callbacks],
        seed=seed,
        verbose=verbose,
    )
    return history, stopping
