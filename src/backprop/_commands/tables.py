"""``backprop train``, ``predict`` and ``evaluate``: from files of rows to models, predictions and judgements."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .._files import check_outputs, replacing
from ..callbacks import Callback, EarlyStopping
from ..explain.importance import Importance, permutation_importance
from ..network import Network
from ..optimizers import Optimizer
from ..tabular import CategoricalFeature, ClassTarget, DateFeature, Judgement, NumberTarget, NumericFeature, TableModel, _fit
from ..tabular._columns import Column, words_of
from ..tabular._csv import Options, check_reading, is_parquet, parquet_chunks, read_chunks, read_table, write_csv
from ..tabular._encoded import Matrix, by_parts
from ..tabular._features import FEATURES, Feature
from ..tabular._judge import judge, rows_to_judge
from ..tabular._leaks import shared_rows, warnings
from ..tabular._rows import Table, check_names
from .runs import Progress, Run, Say, is_terminal, silent

Target = ClassTarget | NumberTarget

_CHUNK = 20_000  # rows that are predicted at a time
_LARGE = 20_000_000  # bytes: reading such a file shows a bar


def train(options: argparse.Namespace) -> None:
    """Train a network on a file of rows and save it with its encoding; the options are those of the command line."""
    say = silent if options.quiet else partial(print, flush=True)
    if options.data == options.test == "-":
        raise ValueError("--test must be a share or another file than DATA, which is standard input, got '-'")
    check_outputs([options.out, options.report], [options.data, options.test if isinstance(options.test, str) else None])
    source = _source(_read(options.data, options), options)
    test_rows: npt.NDArray[np.intp] | None = None
    among: npt.NDArray[np.intp] | None = None  # all rows
    if isinstance(options.test, float):
        among, test_rows = _fit.divide(source, options.test, options.seed)
        if len(among) < 2:
            raise ValueError(
                f"--test {options.test} must leave at least 2 rows, to learn from and to choose by, "
                f"leaves {len(among)} of {len(source.y)}"
            )
    learn, chosen_by = _fit.divide(source, options.validation, options.seed, among)
    prepared = _fit.prepare(source, learn, chosen_by, test_rows)
    if isinstance(options.test, str):
        prepared = _with_test_file(prepared, options)
    net = _network(prepared, options)
    found = _describe(prepared, net, say)
    folds = _cross_validate(source, among, options, say) if options.folds else []
    epochs, _ = _fit.limits(len(prepared.x_learn), options.batch_size, options.epochs, options.patience)
    progress = Progress(epochs, say)
    interrupted = _train(net, prepared, options, progress, say)
    model = TableModel(net, prepared.encoder, prepared.target)
    model.metadata = {"rows": len(prepared.y_learn), "epochs": len(progress.losses), "best_epoch": progress.best_epoch}
    validation = judge(prepared.target, by_parts(net.predict, prepared.x_judge), prepared.y_judge)
    test = judge(prepared.target, by_parts(net.predict, prepared.x_test), prepared.y_test) if len(prepared.y_test) else None
    _tell_result(prepared, net, validation, test, folds, say)
    importance = None
    if options.importance or options.report:
        importance = _importance(prepared, net)
        if options.importance:
            _tell_importance(importance, say)
    model.save(options.out)
    say(f"saved       {options.out}")
    if options.report:
        from .report import write_report

        write_report(
            options.report, Run(model, source, prepared, progress, validation, test, folds, importance, found, _optimizer(options))
        )
        say(f"report      {options.report}")
    if interrupted:
        raise KeyboardInterrupt


def predict(options: argparse.Namespace) -> None:
    """Predict the target for every row of a file, and write a CSV file; the options are those of the command line."""
    check_outputs([options.out], [options.data, options.model])
    model = TableModel.load(options.model)
    if options.proba and model.classes is None:
        raise ValueError(f"--proba needs a classification, but {options.model} predicts the number {model.target.name!r}")
    counts = _Counts(model)
    with _output(options.out) as file:
        header = True
        for table in _chunks(options.data, options):
            keep = _columns_given(options.keep, table)
            check_names(table, keep)
            text = io.StringIO()
            write_csv(text, _header(model, keep, options.proba) if header else None, _predicted(model, table, keep, options.proba))
            file.write(text.getvalue().encode())
            counts.add(table)
            header = False
    counts.tell()


def evaluate(options: argparse.Namespace) -> None:
    """Print how good a model is on the rows of a file whose target is known; the options are those of the command line."""
    model = TableModel.load(options.model)
    table = _read(options.data, options)
    judged = model.evaluate(table)
    print(f"rows        {judged.rows:,} with a value of {model.target.name!r}")
    _tell_judgement(judged, print)
    if options.importance:
        rows, y, _ = model._rows_to_judge(table)
        _tell_importance(_importance_of(model.network, model.encoder, model.encoder._encoded(table).part(rows), y), print)


def _train(net: Network, prepared: _fit.Prepared, options: argparse.Namespace, progress: Progress, say: Say) -> bool:
    """Train; return whether Ctrl-C ended it, with the best weights so far in the network."""
    stopped = None
    try:
        _, stopped = _fit_network(net, prepared, options, [progress], None)
    except KeyboardInterrupt:
        if not progress.losses:
            raise
    epochs, best = len(progress.losses), progress.best_epoch
    if stopped is None:
        end = "interrupted: the best model so far is kept"
    elif stopped.stopped_epoch is None:
        improving = best > epochs - max(2, stopped.patience // 2)
        end = "stopped at the limit" + (", still improving: more --epochs may give a better model" if improving else "")
    else:
        end = f"no better for {stopped.patience} epochs"
    progress.end = end
    say(f"epochs      {epochs} of at most {progress.epochs}, the best is {best}; {end}; {progress.seconds:.1f} s")
    return stopped is None


def _fit_network(
    net: Network, prepared: _fit.Prepared, options: argparse.Namespace, callbacks: Sequence[Callback], verbose: bool | None
) -> tuple[Any, EarlyStopping]:
    return _fit.train_network(
        net,
        prepared,
        optimizer=_optimizer(options),
        epochs=options.epochs,
        batch_size=options.batch_size,
        class_weight=options.class_weight,
        patience=options.patience,
        callbacks=callbacks,
        seed=options.seed,
        verbose=False if options.quiet else verbose,
    )


def _network(prepared: _fit.Prepared, options: argparse.Namespace) -> Network:
    return _fit.make_network(
        prepared,
        hidden=options.hidden,
        activation=options.activation,
        dropout=options.dropout,
        batch_norm=options.batch_norm,
        seed=options.seed,
    )


def _cross_validate(
    source: _fit.Source, among: npt.NDArray[np.intp] | None, options: argparse.Namespace, say: Say
) -> list[Judgement]:
    """Judge, on each of ``folds`` parts of the rows, a network trained on the other parts."""
    rng = np.random.default_rng(options.seed)
    among = np.arange(len(source.y)) if among is None else among
    order = rng.permutation(among)
    if source.classes is not None:
        order = order[np.argsort(source.classes[order], kind="stable")]
    if len(order) < 2 * options.folds:
        raise ValueError(f"--folds {options.folds} needs at least {2 * options.folds} rows, there are {len(order)}")
    found = []
    for fold in range(options.folds):
        apart = np.sort(order[fold :: options.folds])
        learn, chosen_by = _fit.divide(source, options.validation, options.seed, np.setdiff1d(among, apart))
        prepared = _fit.prepare(source, learn, chosen_by, apart)
        net = _network(prepared, options)
        epochs, _ = _fit.limits(len(prepared.x_learn), options.batch_size, options.epochs, options.patience)
        _fit_network(net, prepared, options, [Progress(epochs, say)], False)
        judged = judge(prepared.target, by_parts(net.predict, prepared.x_test), prepared.y_test)
        found.append(judged)
        say(f"fold        {fold + 1} of {options.folds}: {', '.join(f'{name} {value:.4g}' for name, value in judged.items())}")
    return found


def _read(path: str, options: argparse.Namespace) -> Table:
    """A whole file, with a bar on a terminal where it is large."""
    with _bar(path) as progress:
        return read_table(path, _reading(options), progress=progress)


def _chunks(path: str, options: argparse.Namespace) -> Iterator[Table]:
    if is_parquet(path):
        yield from parquet_chunks(path, _reading(options), _CHUNK)
        return
    with _bar(path) as progress:
        yield from read_chunks(path, _reading(options), _CHUNK, progress)


def _reading(options: argparse.Namespace) -> Options:
    given = (options.delimiter, options.encoding, options.decimal, options.thousands)
    check_reading(*given)
    return Options(*given, options.missing)


@contextmanager
def _bar(path: str) -> Iterator[Callable[[int], None] | None]:
    size = 0
    with suppress(OSError):
        size = Path(path).stat().st_size
    if not is_terminal() or size < _LARGE:
        yield None
        return
    from tqdm import tqdm  # type: ignore[import-untyped]

    with tqdm(total=size, unit="B", unit_scale=True, desc=f"reading {Path(path).name}", dynamic_ncols=True, leave=False) as bar:
        yield bar.update


def _source(table: Table, options: argparse.Namespace) -> _fit.Source:
    ignore = _columns_given(options.ignore, table)
    categorical, numeric = (_columns_given(given, table) for given in (options.categorical, options.numeric))
    kinds = dict.fromkeys(categorical, "categorical") | dict.fromkeys(numeric, "numeric")
    for name in kinds:
        if name in categorical and name in numeric:
            raise ValueError(f"column {name!r} is named by --categorical and by --numeric: leave one of them out")
    check_names(table, [options.target, *ignore, *kinds, *options.date])
    try:
        return _fit.read_source(
            table,
            options.target,
            task=options.task,
            ignore=ignore,
            kinds=kinds,
            dates=options.date,
            max_categories=options.max_categories,
        )
    except TypeError as error:  # a Parquet file may hold what no column can be
        raise ValueError(str(error)) from error


def _columns_given(texts: Iterable[str], table: Table) -> list[str]:
    """The columns of options such as ``--ignore a,b``; a name with commas in it is one where the table has it."""
    names: list[str] = []
    for text in texts:
        parts = [part.strip() for part in text.split(",")]
        while parts:
            longest = next((end for end in range(len(parts), 1, -1) if _joined(parts[:end], table)), 1)
            names.append(_joined(parts[:longest], table) or parts[0])
            del parts[:longest]
    return list(dict.fromkeys(filter(None, names)))


def _joined(parts: Sequence[str], table: Table) -> str | None:
    return next((name for glue in (", ", ",") for name in (glue.join(parts),) if name in table), None)


def _with_test_file(prepared: _fit.Prepared, options: argparse.Namespace) -> _fit.Prepared:
    table = _read(options.test, options)
    name = prepared.target.name
    check_names(table, [name])
    try:
        rows, y, remarks = rows_to_judge(prepared.target, _fit._target_of(table, name, options.missing)[0])
    except ValueError as error:
        raise ValueError(f"{options.test!r}: {error}") from error
    notes = tuple(f"test file: {remark}" for remark in remarks)
    return prepared._replace(x_test=prepared.encoder._encoded(table).part(rows), y_test=y, notes=(*prepared.notes, *notes))


def _describe(prepared: _fit.Prepared, net: Network, say: Say) -> list[str]:
    """Say what the table is taken for; return what a person should look at."""
    encoder, target = prepared.encoder, prepared.target
    if isinstance(target, ClassTarget):
        say(f"target      {target.name}: classification, {target.n_outputs} classes ({_listed(target.classes)})")
    else:
        say(f"target      {target.name}: regression, mean {target.mean:.6g}, standard deviation {target.scale:.6g}")
    for kind in FEATURES:
        names = [feature.name for feature in encoder.features if feature.kind == kind]
        if names:
            say(f"{kind:<12}{_listed(names)}")
    for feature in encoder.features:
        detail = _detail(feature)
        if detail:
            say(f"note        {detail}")
    for name, reason in encoder.ignored.items():
        say(f"ignored     {name}: {reason}")
    found = warnings(encoder, target, prepared.x_learn, prepared.y_learn, prepared.x_judge, prepared.y_judge)
    shared = shared_rows(prepared.x_learn, prepared.y_learn, prepared.x_test, prepared.y_test)
    found += [line for line in shared if line not in found]
    for note in prepared.notes:
        say(f"note        {note}")
    for line in found:
        say(f"warning     {line}")
    test = f", {len(prepared.y_test):,} set apart as a test" if len(prepared.y_test) else ""
    say(f"rows        {len(prepared.y_learn):,} to learn from, {len(prepared.y_judge):,} to judge by{test}")
    say(f"network     {', '.join(repr(layer) for layer in net.layers)}")
    return found


def _detail(feature: Feature) -> str:
    if isinstance(feature, CategoricalFeature) and feature.seen > len(feature.categories):
        return (
            f"{feature.name}: {len(feature.categories)} of {feature.seen} values have an input of their own, the most frequent "
            "ones; --max-categories tells how many"
        )
    if isinstance(feature, DateFeature):
        return f"{feature.name}: a date, taken apart into {', '.join(feature.parts)}"
    if isinstance(feature, NumericFeature) and feature.clip:
        return f"{feature.name}: has values far from all others; scaled by quartiles and bounded smoothly"
    return ""


def _tell_result(
    prepared: _fit.Prepared, net: Network, validation: Judgement, test: Judgement | None, folds: list[Judgement], say: Say
) -> None:
    say(f"result      {_summary(validation, prepared.target)}")
    if folds:
        for name in folds[0]:
            values = [judged[name] for judged in folds]
            say(f"folds       {name} {np.mean(values):.4g} +- {np.std(values, ddof=1):.2g} over {len(folds)} parts")
    if test is None:
        _tell_judgement(validation, say)
        if not folds:
            say("            the best epoch was chosen by these rows; --test SHARE sets others apart")
    else:
        say(f"test        {test.rows:,} rows that nothing was chosen by:")
        _tell_judgement(test, say)
    threshold = _threshold(prepared, net)
    if threshold:
        say(f"            {threshold}")


def _tell_judgement(judged: Judgement, say: Say) -> None:
    for line in judged.lines():
        say(f"            {line}")


def _summary(judged: Judgement, target: Target) -> str:
    """The result in a line, beside what one can say without looking at a row."""
    if isinstance(target, ClassTarget):
        naive = judged.naive["accuracy"]
        return f"accuracy {judged['accuracy']:.4f} on the validation rows; always the most frequent class: {naive:.4f}"
    return f"root mean squared error {judged['rmse']:.6g} on the validation rows; always the mean: {judged.naive['rmse']:.6g}"


def _threshold(prepared: _fit.Prepared, net: Network) -> str:
    """For two classes of which one is rare: from which probability on to say it, so that both are recognised equally well."""
    target = prepared.target
    if not isinstance(target, ClassTarget) or target.n_outputs != 2 or min(target.shares) > 0.25:
        return ""
    rare = int(np.argmin(target.shares))
    probabilities = by_parts(partial(net.predict_proba, link="softmax"), prepared.x_judge)[:, rare]
    positive = prepared.y_judge == rare
    if not positive.any() or positive.all():
        return ""
    limits = np.unique(probabilities)
    recall = np.array([np.mean(probabilities[positive] >= limit) for limit in limits])
    rejected = np.array([np.mean(probabilities[~positive] < limit) for limit in limits])
    best = int(np.argmax(recall + rejected))
    chosen, half = probabilities >= limits[best], np.mean(probabilities[positive] >= 0.5)
    return (
        f"saying {target.classes[rare]!r} from a probability of {limits[best]:.3f} on finds {recall[best]:.1%} of them, "
        f"and {np.mean(positive[chosen]):.1%} of the rows so named are (from 0.5 on: {half:.1%} found)"
    )


def _importance(prepared: _fit.Prepared, net: Network) -> Importance | None:
    x, y = (prepared.x_test, prepared.y_test) if len(prepared.y_test) else (prepared.x_judge, prepared.y_judge)
    return _importance_of(net, prepared.encoder, x, y)


def _importance_of(net: Network, encoder: Any, x: Matrix, y: npt.NDArray[Any]) -> Importance | None:
    if len(x) < 2:
        return None
    loss = None if net.loss is not None else "mse" if y.ndim == 2 else "cross_entropy"
    return permutation_importance(net, x[:_CHUNK], y[:_CHUNK], loss=loss, features=encoder.columns)


def _tell_importance(importance: Importance | None, say: Say) -> None:
    if importance is None:
        return
    say("importance  by how much the loss grows when a column is shuffled among the rows:")
    width = max(map(len, importance.names))
    for name, mean, std in zip(importance.names[:30], importance.mean, importance.std, strict=False):
        say(f"            {name:<{width}}  {mean:9.4g} +- {std:.2g}")


def _header(model: TableModel, keep: Sequence[str], proba: bool) -> list[str]:
    header = list(keep)
    names = [model.target.name]
    if proba and isinstance(model.target, ClassTarget):
        names += [f"probability of {label}" for label in model.target.classes]
    for name in names:
        while name in header:
            name = f"predicted {name}"
        header.append(name)
    return header


def _predicted(model: TableModel, table: Table, keep: Sequence[str], proba: bool) -> Iterator[Sequence[object]]:
    x = model.encoder.transform(table)
    outputs = model.network.predict(x)
    kept = [_texts(table[name]) for name in keep]
    columns: list[Any] = [*kept]
    if isinstance(model.target, ClassTarget):
        columns.append(model.target.inverse(outputs))
        if proba:
            columns += [
                [f"{value:.7g}" for value in column] for column in model.network.predict_proba(x, link="softmax").T.tolist()
            ]
    else:
        columns.append(_numbers(model.target.inverse(outputs), model.target.scale))
    return iter(zip(*columns, strict=True))


def _texts(column: Any) -> list[Any]:
    return column.to_pylist() if hasattr(column, "to_pylist") else list(column)


def _numbers(values: Sequence[float], spread: float) -> list[str]:
    """Numbers with digits down to a millionth of the target's spread: more are noise, fewer would make different ones equal."""
    decimals = int(np.clip(6 - np.floor(np.log10(spread)), 0, 300))
    texts = [f"{value:.{decimals}f}" for value in values]
    if decimals > 20:
        return [f"{value:.7g}" for value in values]
    return [text.rstrip("0").rstrip(".") if "." in text else text for text in texts]


class _Counts:
    """How many rows of what is predicted are unlike the training data."""

    def __init__(self, model: TableModel) -> None:
        self._model = model
        self._rows = 0
        self._unknown: dict[str, int] = {}
        self._examples: dict[str, str] = {}
        self._missing: dict[str, int] = {}

    def add(self, table: Table) -> None:
        self._rows += len(next(iter(table.values()), ()))
        words = words_of(table, self._model.encoder.missing)
        for feature in self._model.encoder.features:
            column = Column(feature.name, table[feature.name], missing=words, table=table)
            gaps = int((~column.present).sum())
            if gaps and not feature.flagged:
                self._missing[feature.name] = self._missing.get(feature.name, 0) + gaps
            if isinstance(feature, CategoricalFeature):
                unknown = np.flatnonzero(feature.find(column) < 0)
                rare = feature.seen > len(feature.categories)
                if len(unknown) and not rare:
                    self._unknown[feature.name] = self._unknown.get(feature.name, 0) + len(unknown)
                    self._examples.setdefault(feature.name, str(column.text(int(unknown[0]))))

    def tell(self) -> None:
        for name, count in self._unknown.items():
            example = self._examples[name]
            _complain(f"{count:,} of {self._rows:,} rows have a value of {name!r} that training did not see, such as {example!r}")
        for name, count in self._missing.items():
            _complain(
                f"{count:,} of {self._rows:,} rows lack a value of {name!r}, and training saw none without: the usual one is taken"
            )


def _complain(text: str) -> None:
    print(f"backprop: note: {text}", file=sys.stderr)


@contextmanager
def _output(path: str | None) -> Iterator[BinaryIO]:
    """Standard output as UTF-8 whatever the code page, or a file that appears when it is whole."""
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with replacing(path) as file:
            yield file


def _optimizer(options: argparse.Namespace) -> Optimizer:
    return _fit.make_optimizer(options.optimizer, options.lr, options.weight_decay)


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
