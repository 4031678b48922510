"""``backprop train`` and ``backprop predict``: from CSV files to models, and to CSV files again."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import optimizers, serialization
from .._files import check_writable, replace_file
from ..callbacks import EarlyStopping
from ..data import split
from ..network import Network, mlp
from ..optimizers import Optimizer
from ..tabular import ClassTarget, NumberTarget, TableEncoder, fit_target, read_csv, target_from_config
from ..tabular._columns import MISSING, check_names
from ..tabular._csv import write_csv

Table = dict[str, list[str]]
Target = ClassTarget | NumberTarget
Say = Callable[[str], None]


def train(options: argparse.Namespace) -> None:
    """Train a network on a CSV file and save it with its encoding; the options are those of the command line."""
    say = _silent if options.quiet else partial(print, flush=True)
    check_writable(options.out)  # before the work, not after it
    table, column = _labelled_rows(options, say)
    target = fit_target(options.target, column, options.task)
    y = target.transform(column)
    classes = y if isinstance(target, ClassTarget) else None
    learn, judge = split(len(y), options.validation, stratify=classes, seed=options.seed)
    kinds = dict.fromkeys(options.categorical, "categorical")
    encoder = TableEncoder.fit(_take(table, learn), kinds=kinds, ignore=options.ignore)
    x_learn, x_judge = encoder.transform(_take(table, learn)), encoder.transform(_take(table, judge))
    net = mlp(
        [len(encoder.names), *options.hidden, target.n_outputs],
        activation=options.activation,
        dropout=options.dropout,
        batch_norm=options.batch_norm,
        seed=options.seed,
    )
    _describe(encoder, target, len(learn), len(judge), net, say)
    net.fit(
        x_learn,
        y[learn],
        validation_data=(x_judge, y[judge]),
        loss="mse" if classes is None else "cross_entropy",
        optimizer=_optimizer(options),
        epochs=options.epochs,
        batch_size=min(options.batch_size, len(learn)),
        class_weight=options.class_weight,
        callbacks=[EarlyStopping(patience=options.patience, restore_best_weights=True)],
        seed=options.seed,
        verbose=False if options.quiet else None,
    )
    say(f"result     {_quality(net.predict(x_judge), y[judge], target)}")
    net.save(options.out, metadata={"table": {"encoder": encoder.config(), "target": target.config()}})
    say(f"saved      {options.out}")


def predict(options: argparse.Namespace) -> None:
    """Predict the target for every row of a CSV file, and write a CSV file; the options are those of the command line."""
    if options.out is not None:
        check_writable(options.out)
    net = serialization.load(options.model)
    encoder, target = _saved_with(options.model)
    x = encoder.transform(read_csv(options.data, options.delimiter))
    if x.shape[1] != net.n_inputs or target.n_outputs != net.n_outputs:
        raise ValueError(f"{options.model}: the network does not fit the table it is saved with")
    outputs = net.predict(x)
    header, columns = ["prediction"], [target.inverse(outputs)]
    if options.proba:
        if not isinstance(target, ClassTarget):
            raise ValueError(f"--proba needs a classification, but {options.model} predicts the number {target.name!r}")
        header += [f"probability of {name}" for name in target.classes]
        columns += net.predict_proba(x).T.tolist()
    text = io.StringIO()
    write_csv(text, header, ([_text(value) for value in row] for row in zip(*columns, strict=True)))
    if options.out is None:
        sys.stdout.write(text.getvalue())
    else:
        replace_file(options.out, text.getvalue().encode())


def _labelled_rows(options: argparse.Namespace, say: Say) -> tuple[Table, list[str]]:
    """The features and the target of the rows whose target is known."""
    table = read_csv(options.data, options.delimiter)
    check_names(table, [options.target, *options.ignore, *options.categorical])
    column = table.pop(options.target)
    if "column 1" not in (*options.ignore, *options.categorical) and _numbers_rows(table.get("column 1", [])):
        say("ignored    column 1: has no name and numbers the rows")
        del table["column 1"]
    known = [row for row, value in enumerate(column) if value.strip().lower() not in MISSING]
    if not known:
        raise ValueError(f"{options.data!r} must have rows with a value of {options.target!r}, has none")
    if len(known) < len(column):
        say(f"left out   {len(column) - len(known):,} rows without a value of {options.target!r}")
    return _take(table, known), [column[row] for row in known]


def _numbers_rows(column: list[str]) -> bool:
    """Whether a column is an index, as pandas writes it before the others: no property of what stands in its row."""
    return bool(column) and any(column == [str(number) for number in range(first, first + len(column))] for first in (0, 1))


def _take(table: Table, rows: Iterable[int]) -> Table:
    return {name: [column[row] for row in rows] for name, column in table.items()}


def _describe(encoder: TableEncoder, target: Target, learn: int, judge: int, net: Network, say: Say) -> None:
    if isinstance(target, ClassTarget):
        say(f"target     {target.name}: classification, {target.n_outputs} classes ({_listed(target.classes)})")
    else:
        say(f"target     {target.name}: regression, mean {target.mean:.6g}, standard deviation {target.scale:.6g}")
    for kind in ("numeric", "boolean", "categorical"):
        names = [feature.name for feature in encoder.features if feature.kind == kind]
        if names:
            say(f"{kind:<11}{_listed(names)}")
    for name, reason in encoder.ignored.items():
        say(f"ignored    {name}: {reason}")
    say(f"rows       {learn:,} to learn from, {judge:,} to judge by")
    say(f"network    {', '.join(repr(layer) for layer in net.layers)}")


def _quality(outputs: npt.NDArray[Any], y: npt.NDArray[Any], target: Target) -> str:
    """How good predictions are on the validation rows, beside what one can say without looking at a row."""
    if isinstance(target, ClassTarget):
        accuracy = np.mean(outputs.argmax(axis=1) == y)
        return (
            f"accuracy {accuracy:.4f} on the validation rows; always the most frequent class: {np.bincount(y).max() / len(y):.4f}"
        )
    error, spread = np.sqrt(np.mean((outputs - y) ** 2)) * target.scale, np.std(y) * target.scale
    return f"root mean squared error {error:.6g} on the validation rows; always their mean: {spread:.6g}"


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _optimizer(options: argparse.Namespace) -> Optimizer:
    settings = {"name": options.optimizer, "weight_decay": options.weight_decay}
    return optimizers.get(settings if options.lr is None else {**settings, "lr": options.lr})


def _saved_with(path: str) -> tuple[TableEncoder, Target]:
    description = serialization.read_metadata(path).get("table")
    if not isinstance(description, dict):
        raise ValueError(f"{path} holds a network, but no description of a table; only files of `backprop train` do")
    return TableEncoder.from_config(description.get("encoder", {})), target_from_config(description.get("target", {}))


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.7g}"


def _silent(text: str) -> None:
    pass
