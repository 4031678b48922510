"""The command line: ``backprop demo``, ``bench``, ``train``, ``predict``, ``export`` and ``explain``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ._version import __version__

__all__ = ["main"]


def __dir__() -> list[str]:
    return sorted(__all__)


DESCRIPTION = "Dense neural networks on the CPU, from the command line."

TRAIN = """\
Train a network to predict one column of a file of rows from the others, and
save it together with all that `backprop predict` needs to take new rows as they
are. DATA is a CSV file with a header (also .csv.gz) or a Parquet file.

Columns of numbers are standardised; true/false columns become 0 and 1; of text,
each of the most frequent values gets an input of its own; dates and times
become year, month, weekday, hour and elapsed time. Missing values are filled in
(median, or most frequent value) and flagged by a further input. Row numbers,
identifiers, columns with one value only and text that hardly ever repeats are
left out; what was done is printed, and what makes a result too good to be true.

The target decides the task: text, true/false and few different whole numbers
make a classification, other numbers a regression. Training stops when the loss
on the validation rows, drawn at random in every class's proportion, has not
improved for --patience epochs, and keeps the best weights. The result stands
beside that of the naive answer: the most frequent class, or the mean."""

TRAIN_EXAMPLES = """\
examples:
  backprop train houses.csv --target price
  backprop train houses.csv --target price --hidden 128,64 --dropout 0.1 \\
      --ignore id,address --out houses.safetensors
  backprop train houses.csv --target price --test 0.2 --report houses.html
  backprop train verkauf.csv --target Preis --decimal , --encoding cp1252
  backprop train churn.csv --target left --class-weight balanced \\
      --categorical zip,branch"""

PREDICT = """\
Predict the target for the rows of a file with a model that `backprop train`
made. The file needs the columns the model was trained on, in any order; others
are passed over. Values of text columns that training never saw count as none of
those known; how many rows have some is said. The predictions are a CSV file
with one row for each row of data and the target's name above them."""

PREDICT_EXAMPLES = """\
examples:
  backprop predict houses.safetensors new.csv
  backprop predict churn.safetensors new.csv --proba --out predictions.csv
  backprop predict churn.safetensors new.csv --keep id,branch
  head -100 new.csv | backprop predict churn.safetensors -"""

EXPORT = """\
Write a saved model for programs without Python. The suffix of the output
decides: .onnx is a model for ONNX runtimes (needs the package onnx), .c a C99
file that needs nothing but a compiler, .js or .mjs a JavaScript module. All
compute what the network predicts; a model of `backprop train` takes the rows of
its table as they are."""

EXPORT_EXAMPLES = """\
examples:
  backprop export digits.safetensors digits.onnx
  backprop export digits.safetensors digits.c --weights int8
  backprop export houses.safetensors houses.mjs"""

EVALUATE = """\
Judge a model that `backprop train` made on rows whose target is known, beside
the naive answer: the most frequent class, or the mean of the training rows."""

EVALUATE_EXAMPLES = """\
examples:
  backprop evaluate churn.safetensors last-month.csv
  backprop evaluate houses.safetensors sold.csv --importance"""

DEMO = """\
Train a network on handwritten digits that ship with the package: progress,
accuracy on digits it has not seen, and how long the Cython and the NumPy
kernels take for the same training, side by side."""

BENCH = """\
Time training steps and predictions of networks from 4-32-32-2 up to
1024-4096-4096-10, and every kernel at three sizes; and the same in PyTorch,
JAX, scikit-learn and onnxruntime where they are installed, each as its users
write it for speed. Takes some minutes.

The libraries take turns on the same data, and the least time counts, so
that ratios hold on a busy machine where times don't. "fit" is a step inside
Trainer.fit, "step" one call of Trainer.step. Matrix products are given in
GFLOP/s and as a share of what the cores can do at best, which is measured too;
activations and losses in ns an element, other kernels as memory traffic."""

BENCH_EXAMPLES = """\
examples:
  backprop bench --threads 1 --only training --only prediction
  backprop bench --only dense_ --only adam --json results.json
  backprop bench --threads 1 --compile --only '4-32-32-2 tanh, 1 row'"""

EXPLAIN = """\
Open the laboratory: a page, one HTML file, in which a network learns in the
browser. Data, network, optimizer and all rates can be changed, every number of
a training step looked at, and a single weight moved. DATA is xor, circles,
spirals, gauss, moons, regression, digits, or a CSV file with a header.

With --recorded (and with --data), train a network of the library instead and
write the page of that run: every number of the forward pass, the error, the
backward pass and the update, at any moment of the training; and what the choice
of activation, clipping and optimizer does."""

EXPLAIN_EXAMPLES = """\
examples:
  backprop explain xor
  backprop explain spirals --optimizer adam --hidden 8,8 --out lab.html
  backprop explain houses.csv --target price
  backprop explain --recorded spirals --activation relu --optimizer nadam
  backprop explain --recorded houses.csv --target price --out houses.html"""

EPILOG = """\
`backprop COMMAND --help` explains a command. Exit codes: 0 done, 1 the data or
a file is at fault, 2 the command line is, 130 interrupted."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors of data and files are one line on standard error."""
    try:
        try:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):  # a terminal may lack the letters of a column's name
                    stream.reconfigure(errors="backslashreplace")
            arguments = _parser().parse_args(argv)
            arguments.command(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has left: nothing more to say, not even when Python flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\nbackprop: interrupted", file=sys.stderr)
        return 130
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:
        print(f"backprop: error: {_message(error)}", file=sys.stderr)
        return 1
    return 0


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _demo(arguments: argparse.Namespace) -> None:
    from ._commands.demo import demo

    demo(epochs=arguments.epochs, seed=arguments.seed)


def _bench(arguments: argparse.Namespace) -> None:
    from ._commands.bench import bench

    bench(
        quick=arguments.quick,
        threads=arguments.threads,
        only=arguments.only or (),
        compile_pytorch=arguments.compile,
        json=arguments.json,
    )


def _train(arguments: argparse.Namespace) -> None:
    from ._commands.tables import train

    train(arguments)


def _predict(arguments: argparse.Namespace) -> None:
    from ._commands.tables import predict

    predict(arguments)


def _evaluate(arguments: argparse.Namespace) -> None:
    from ._commands.tables import evaluate

    evaluate(arguments)


def _export(arguments: argparse.Namespace) -> None:
    from ._commands.export import run

    run(arguments)


def _explain(arguments: argparse.Namespace) -> None:
    from ._commands.explain import run

    run(**{key: value for key, value in vars(arguments).items() if key != "command"})


class _Help(argparse.RawDescriptionHelpFormatter):
    """Paragraphs as written, and the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = action.help is not None and action.default not in (None, False, "", argparse.SUPPRESS)
        return f"{action.help} (default: %(default)s)" if shown else action.help


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("backprop", description=DESCRIPTION, epilog=EPILOG, formatter_class=_Help)
    parser.add_argument("--version", action="version", version=f"backprop {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], **texts: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(name, formatter_class=_Help, **texts)
        added.set_defaults(command=run)
        return added

    demo = command(
        "demo",
        _demo,
        help="train on handwritten digits that ship with the package",
        description=DEMO,
    )
    demo.add_argument("--epochs", type=_count, default=20, metavar="N", help="passes over the 1437 training images")
    demo.add_argument("--seed", type=_seed, default=0, metavar="N", help="initial weights and order of the images")

    bench = command("bench", _bench, help="time kernels, training and prediction", description=BENCH, epilog=BENCH_EXAMPLES)
    bench.add_argument("--quick", action="store_true", help="tiny sizes, some seconds: to see that it works")
    bench.add_argument("--threads", type=_count, metavar="N", help="for us and all others; without it all processors")
    only = "just the rows with this in their table (training, prediction, kernels), name, size or dtype; may be given several times"
    bench.add_argument("--only", action="append", metavar="TEXT", help=only)
    bench.add_argument("--compile", action="store_true", help="torch.compile takes part, half a minute of compiling per row")
    bench.add_argument("--json", metavar="FILE", help="write all times there")

    train = command("train", _train, help="learn to predict a column of a CSV file", description=TRAIN, epilog=TRAIN_EXAMPLES)
    _add_train_arguments(train)

    predict = command("predict", _predict, help="predict with a trained model", description=PREDICT, epilog=PREDICT_EXAMPLES)
    predict.add_argument("model", metavar="MODEL", help="a file that `backprop train` wrote")
    predict.add_argument("data", metavar="DATA", help="rows to predict for, - for standard input")
    predict.add_argument("--out", metavar="FILE", help="write here instead of to standard output")
    predict.add_argument("--keep", type=_text, action="append", default=[], metavar="A,B", help="columns to copy into the output")
    predict.add_argument("--proba", action="store_true", help="add the probability of every class (classification only)")
    _add_reading(predict.add_argument_group("the table"))

    evaluate = command("evaluate", _evaluate, help="judge a trained model", description=EVALUATE, epilog=EVALUATE_EXAMPLES)
    evaluate.add_argument("model", metavar="MODEL", help="a file that `backprop train` wrote")
    evaluate.add_argument("data", metavar="DATA", help="rows with a value of the target, - for standard input")
    evaluate.add_argument("--importance", action="store_true", help="say how much each column matters")
    _add_reading(evaluate.add_argument_group("the table"))

    export = command("export", _export, help="write a model for ONNX, C or JavaScript", description=EXPORT, epilog=EXPORT_EXAMPLES)
    _add_export_arguments(export)

    explain = command(
        "explain", _explain, help="a page on which to watch how a network learns", description=EXPLAIN, epilog=EXPLAIN_EXAMPLES
    )
    _add_explain_arguments(explain)
    return parser


def _add_export_arguments(export: argparse.ArgumentParser) -> None:
    export.add_argument("model", metavar="MODEL", help="a file that `backprop train`, Network.save or Trainer.save wrote")
    export.add_argument("out", metavar="OUT", help="the file to write: .onnx, .c, .js or .mjs")
    export.add_argument("--quiet", action="store_true", help="print errors only")
    of_onnx = export.add_argument_group("ONNX")
    of_onnx.add_argument("--opset", type=_count, metavar="N", help="the version of the operators (default: 17)")
    of_onnx.add_argument("--dtype", choices=("float32", "float64"), help="of inputs, weights and results (default: float32)")
    results = "label and probabilities, or what the network computes; without it, what its loss says"
    of_onnx.add_argument("--outputs", choices=("classes", "raw"), help=results)
    of_c = export.add_argument_group("C")
    of_c.add_argument("--name", metavar="NAME", help="what all names begin with, instead of the name of the file")
    of_c.add_argument("--weights", choices=("float32", "int8"), help="how matrices are stored (default: float32)")
    of_c.add_argument("--buffers", choices=("stack", "static"), help="where intermediate results lie (default: stack)")


def _add_explain_arguments(explain: argparse.ArgumentParser) -> None:
    from . import activations, optimizers

    explain.add_argument("laboratory", nargs="?", metavar="DATA", help="what to learn (default: xor)")
    explain.add_argument("--recorded", action="store_true", help="write the page of a run of the library, not the laboratory")
    explain.add_argument("--data", metavar="DATA", help="the same as --recorded DATA")
    explain.add_argument("--target", metavar="COLUMN", help="the column of a CSV file to predict; without it the last one")
    explain.add_argument(
        "--hidden", type=_widths, metavar="N,N", help="widths of the hidden layers; without it a choice that suits the data"
    )
    hidden = [name for name in activations.NAMES if name != "softmax"]
    explain.add_argument("--activation", choices=hidden, metavar="NAME", help=f"tanh, or one of {', '.join(hidden)}")
    names = optimizers.NAMES
    explain.add_argument("--optimizer", choices=names, metavar="NAME", help=f"sgd, or one of {', '.join(names)}")
    explain.add_argument("--lr", type=_positive, metavar="RATE", help="learning rate, instead of one that suits small data")
    explain.add_argument("--epochs", type=_count, metavar="N", help="passes over the data (with --recorded only)")
    explain.add_argument("--seed", type=_seed, default=0, metavar="N", help="initial weights and order of the rows")
    out = "the page to write; without it the laboratory opens in the browser, and --recorded writes backprop.html"
    explain.add_argument("--out", metavar="FILE", help=out)
    explain.add_argument("--open", action="store_true", dest="open_page", help="open it in the browser, too")
    explain.add_argument("--quiet", action="store_true", help="print errors only")


def _add_train_arguments(train: argparse.ArgumentParser) -> None:
    from . import _table_defaults as defaults
    from . import activations, optimizers

    train.add_argument("data", metavar="DATA", help="the training rows, - for standard input")
    train.add_argument("--target", required=True, metavar="COLUMN", help="the column to predict")
    train.add_argument("--out", default="model.safetensors", metavar="FILE", help="where to save the model")
    train.add_argument("--report", metavar="FILE", help="write a page about data, training, result and columns there (HTML)")

    table = train.add_argument_group("the table")
    table.add_argument("--task", choices=("auto", "classification", "regression"), default="auto", help="what to predict")
    ignored = "columns not to learn from"
    table.add_argument("--ignore", type=_text, action="append", default=[], metavar="A,B", help=ignored)
    categorical = "columns of numbers that are but names"
    table.add_argument("--categorical", type=_text, action="append", default=[], metavar="A,B", help=categorical)
    numeric = "columns that are numbers to learn from, such as a year that rises by one from row to row"
    table.add_argument("--numeric", type=_text, action="append", default=[], metavar="A,B", help=numeric)
    dates = "how a column spells its dates, such as sold=%%d/%%m/%%Y; may be given several times"
    table.add_argument("--date", type=_date, action=_Merge, default={}, metavar="COLUMN=FORMAT", help=dates)
    categories = "how many values of a text column get an input of their own"
    table.add_argument("--max-categories", type=_count, default=64, metavar="N", help=categories)
    _add_reading(table)

    network = train.add_argument_group("the network")
    network.add_argument("--hidden", type=_widths, default="64,32", metavar="N,N", help="widths of the hidden layers, or none")
    hidden = [name for name in activations.NAMES if name != "softmax"]
    network.add_argument(
        "--activation", choices=hidden, default=defaults.ACTIVATION, metavar="NAME", help=f"one of {', '.join(hidden)}"
    )
    network.add_argument(
        "--dropout", type=_rate, default=defaults.DROPOUT, metavar="RATE", help="share of hidden units dropped in training"
    )
    network.add_argument("--batch-norm", action="store_true", help="batch normalization after every hidden layer")

    training = train.add_argument_group("training")
    epochs = f"passes over the data, at most (default: {defaults.EPOCHS}, or enough for {defaults.UPDATES} updates)"
    training.add_argument("--epochs", type=_count, metavar="N", help=epochs)
    training.add_argument("--batch-size", type=_count, default=32, metavar="N", help="rows for one update")
    names = optimizers.NAMES
    optimizer = f"one of {', '.join(names)}"
    training.add_argument("--optimizer", choices=names, default=defaults.OPTIMIZER, metavar="NAME", help=optimizer)
    training.add_argument("--lr", type=_positive, metavar="RATE", help="learning rate, instead of the optimizer's own default")
    decay = f"pull of weights toward zero (default: {defaults.WEIGHT_DECAY} with {defaults.OPTIMIZER}, 0 with others)"
    training.add_argument("--weight-decay", type=_nonnegative, metavar="X", help=decay)
    training.add_argument("--class-weight", choices=("balanced",), help="let every class count the same in the loss")
    training.add_argument("--validation", type=_share, default=0.2, metavar="SHARE", help="share of rows kept aside to judge by")
    test = "a share of the rows, or a file of others, that nothing is learned from or chosen by, to judge the model"
    training.add_argument("--test", type=_share_or_file, metavar="SHARE|FILE", help=test)
    folds = "train K further networks, each judged on another part of the rows"
    training.add_argument("--folds", type=_folds, metavar="K", help=folds)
    training.add_argument("--importance", action="store_true", help="say how much each column matters to the model")
    enough = f"(default: {defaults.PATIENCE}, or enough for {defaults.PATIENT_UPDATES} updates)"
    patience = f"epochs without improvement before stopping {enough}"
    training.add_argument("--patience", type=_count, metavar="N", help=patience)
    training.add_argument("--seed", type=_seed, default=0, metavar="N", help="same seed, same model")
    training.add_argument("--quiet", action="store_true", help="print errors only")


def _add_reading(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--delimiter", type=_delimiter, metavar="C", help="what separates fields, instead of what the file shows")
    parser.add_argument("--encoding", metavar="NAME", help="such as latin-1, cp1252 or utf-16, instead of UTF-8")
    decimal = "the decimal character of numbers: , or . instead of what the column shows"
    parser.add_argument("--decimal", choices=(",", "."), metavar="C", help=decimal)
    thousands = "what separates groups of thousands: , or . or ' or a space"
    parser.add_argument("--thousands", choices=(",", ".", "'", " "), metavar="C", help=thousands)
    missing = (
        "words for a missing value beside the empty field, instead of NA, N/A, NaN, null, None and ?, such as --missing=-,n.a."
    )
    parser.add_argument("--missing", type=_missing, action=_Extend, metavar="A,B", help=missing)


class _Merge(argparse.Action):
    """Collect pairs in a dict."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), **dict([values])})


class _Extend(argparse.Action):
    """Collect the items of tuples in one tuple."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, (*(getattr(namespace, self.dest) or ()), *values))


def _text(text: str) -> str:
    return text


def _missing(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _date(text: str) -> tuple[str, str]:
    column, equals, form = text.rpartition("=")
    if not (equals and column and "%" in form):
        raise argparse.ArgumentTypeError(f"must be COLUMN=FORMAT, such as sold=%d/%m/%Y, got {text!r}")
    return column, form


def _share_or_file(text: str) -> float | str:
    try:
        float(text)
    except ValueError:
        return text
    return _share(text)


def _folds(text: str) -> int:
    return _checked(int, text, lambda value: value >= 2, "a whole number, at least 2")


def _count(text: str) -> int:
    return _checked(int, text, lambda value: value >= 1, "a whole number, at least 1")


def _seed(text: str) -> int:
    return _checked(int, text, lambda value: 0 <= value < 2**64, "a whole number, 0 or more")


def _positive(text: str) -> float:
    return _checked(float, text, lambda value: 0 < value < float("inf"), "a number above 0")


def _nonnegative(text: str) -> float:
    return _checked(float, text, lambda value: 0 <= value < float("inf"), "a number, 0 or more")


def _rate(text: str) -> float:
    return _checked(float, text, lambda value: 0 <= value < 1, "a number from 0 up to, but not including, 1")


def _share(text: str) -> float:
    return _checked(float, text, lambda value: 0 < value < 1, "a number between 0 and 1")


def _widths(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(_count(part) for part in text.split(","))


def _delimiter(text: str) -> str:
    character = "\t" if text in ("tab", "\\t") else text
    return _checked(str, character, lambda value: len(value) == 1 and value not in '"\r\n', "one character, or tab")


T = TypeVar("T")


def _checked(kind: type[T], text: str, allowed: Callable[[T], bool], wanted: str) -> T:
    value: T | None
    try:
        value = kind(text)  # type: ignore[call-arg]
    except ValueError:
        value = None
    if value is None or not allowed(value):
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
    return value
