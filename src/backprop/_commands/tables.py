"""``backprop train`` and ``backprop predict``: from CSV files to models, and to CSV files again."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import optimizers
from .._files import check_writable, replace_file
from ..network import Network
from ..optimizers import Optimizer
from ..tabular import CategoricalFeature, ClassTarget, NumberTarget, TableModel, _fit, read_csv
from ..tabular._csv import write_csv
from ..tabular._features import FEATURES, Feature
from ..tabular._rows import check_names

Target = ClassTarget | NumberTarget
Say = Callable[[str], None]


def train(options: argparse.Namespace) -> None:
    """Train a network on a CSV file and save it with its encoding; the options are those of the command line."""
    say = _silent if options.quiet else partial(print, flush=True)
    check_writable(options.out)  # before the work, not after it
    table = read_csv(options.data, options.delimiter)
    check_names(table, [options.target, *options.ignore, *options.categorical])
    prepared = _fit.prepare(
        table,
        options.target,
        task=options.task,
        kinds=dict.fromkeys(options.categorical, "categorical"),
        ignore=options.ignore,
        validation=options.validation,
        seed=options.seed,
    )
    net = _fit.make_network(
        prepared,
        hidden=options.hidden,
        activation=options.activation,
        dropout=options.dropout,
        batch_norm=options.batch_norm,
        seed=options.seed,
    )
    _describe(prepared, net, say)
    _fit.train_network(
        net,
        prepared,
        optimizer=_optimizer(options),
        epochs=options.epochs,
        batch_size=options.batch_size,
        class_weight=options.class_weight,
        patience=options.patience,
        callbacks=(),
        seed=options.seed,
        verbose=False if options.quiet else None,
    )
    model = TableModel(net, prepared.encoder, prepared.target)
    say(f"result     {_quality(net.predict(prepared.x_judge), prepared.y_judge, prepared.target)}")
    model.save(options.out)
    say(f"saved      {options.out}")


def predict(options: argparse.Namespace) -> None:
    """Predict the target for every row of a CSV file, and write a CSV file; the options are those of the command line."""
    if options.out is not None:
        check_writable(options.out)
    model = TableModel.load(options.model)
    target = model.target
    outputs = model.network.predict(model.encoder.transform(read_csv(options.data, options.delimiter)))
    header, columns = ["prediction"], [target.inverse(outputs)]
    if options.proba:
        if not isinstance(target, ClassTarget):
            raise ValueError(f"--proba needs a classification, but {options.model} predicts the number {target.name!r}")
        header += [f"probability of {name}" for name in target.classes]
        columns += model.network.predict_proba(model.encoder.transform(read_csv(options.data, options.delimiter))).T.tolist()
    text = io.StringIO()
    write_csv(text, header, ([_text(value) for value in row] for row in zip(*columns, strict=True)))
    if options.out is None:
        sys.stdout.write(text.getvalue())
    else:
        replace_file(options.out, text.getvalue().encode())


def _describe(prepared: _fit.Prepared, net: Network, say: Say) -> None:
    encoder, target = prepared.encoder, prepared.target
    if isinstance(target, ClassTarget):
        say(f"target     {target.name}: classification, {target.n_outputs} classes ({_listed(target.classes)})")
    else:
        say(f"target     {target.name}: regression, mean {target.mean:.6g}, standard deviation {target.scale:.6g}")
    for kind in FEATURES:
        names = [_used(feature) for feature in encoder.features if feature.kind == kind]
        if names:
            say(f"{kind:<13}{_listed(names)}")
    for name, reason in encoder.ignored.items():
        say(f"ignored    {name}: {reason}")
    for note in prepared.notes:
        say(f"note       {note}")
    say(f"rows       {len(prepared.y_learn):,} to learn from, {len(prepared.y_judge):,} to judge by")
    say(f"network    {', '.join(repr(layer) for layer in net.layers)}")


def _used(feature: Feature) -> str:
    """A column, and how much of it is used where that is not all."""
    if isinstance(feature, CategoricalFeature) and feature.seen > len(feature.categories):
        return f"{feature.name} ({len(feature.categories)} of {feature.seen} values)"
    return feature.name


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


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.7g}"


def _silent(text: str) -> None:
    pass
