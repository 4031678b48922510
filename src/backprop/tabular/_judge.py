"""How good the predictions of a table's target are, beside those that look at no column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .._types import AnyArray
from ..metrics import auc
from ._columns import Column
from ._targets import ClassTarget, NumberTarget, Target


@dataclass(frozen=True, eq=False, repr=False)
class Judgement(Mapping[str, float]):
    """Metrics of predictions on rows whose target is known: a mapping of names to numbers, and what a person should know.

    For classes: ``accuracy``, ``balanced_accuracy`` (the mean of the classes' recalls), ``auc`` (the area under the ROC curve; with
    more than two classes the mean of each class against the others) and ``log_loss``. For numbers: ``rmse``, ``mae`` and ``r2``.

    Attributes
    ----------
    metrics : mapping of str to float
        The metrics.
    rows : int
        How many rows were judged.
    naive : mapping of str to float
        The same metrics of the answer that looks at no column: the most frequent class of the training rows, with the training
        shares as probabilities; or the mean of the training rows.
    recall : mapping of str to float
        The share of each class's rows that were predicted right, NaN for a class that the rows lack; empty for numbers.
    confusion : array of int (k, k) or None
        How many rows of each class (the row) were predicted as each class (the column).
    remarks : tuple of str
        Sentences about what is wrong, such as ``"never says 'Yes'"``; empty if nothing is.
    """

    metrics: Mapping[str, float]
    naive: Mapping[str, float]
    rows: int
    recall: Mapping[str, float]
    confusion: AnyArray | None
    remarks: tuple[str, ...]

    def __getitem__(self, name: str) -> float:
        """Return the metric of this name."""
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        """Go over the names of the metrics."""
        return iter(self.metrics)

    def __len__(self) -> int:
        """Return the number of metrics."""
        return len(self.metrics)

    def __str__(self) -> str:
        """Return the metrics, those of the naive answer beside them, as lines of text."""
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        """Return the metrics in one line."""
        return f"Judgement({', '.join(f'{name}={value:.4g}' for name, value in self.items())}; {self.rows} rows)"

    def lines(self) -> list[str]:
        """Return what `str` shows, line by line."""
        answer = "the mean of the training rows" if self.confusion is None else "the most frequent class"
        width = max(map(len, self))
        lines = [f"{'':<{width}}  {'model':>10}  {'naive':>10}  (naive: always {answer})"]
        lines += [f"{name:<{width}}  {_digits(value)}  {_digits(self.naive[name])}" for name, value in self.items()]
        if self.confusion is not None:
            lines += self._class_lines(self.confusion)
        return [*lines, *self.remarks]

    def _class_lines(self, confusion: AnyArray, most: int = 12) -> list[str]:
        names = list(self.recall)
        shown = sorted(np.argsort(-confusion.sum(axis=1), kind="stable")[:most].tolist())
        width = max(5, *(len(names[index]) for index in shown))
        columns = [max(6, len(names[index][:12]), len(f"{confusion[:, index].max():,}")) for index in shown]
        left_out = f" (the {most} most frequent of {len(names)} classes)" if len(names) > most else ""
        head = "  ".join(f"{names[index][:12]:>{size}}" for index, size in zip(shown, columns, strict=True))
        lines = [f"rows of each class and what is predicted for them{left_out}:", f"{'':<{width}}  recall  {head}"]
        for row in shown:
            counts = "  ".join(f"{confusion[row, index]:>{size},}" for index, size in zip(shown, columns, strict=True))
            recall = self.recall[names[row]]
            lines.append(f"{names[row]:<{width}}  {'     -' if recall != recall else f'{recall:6.3f}'}  {counts}")
        return lines


def rows_to_judge(target: Target, column: Column) -> tuple[npt.NDArray[np.intp], AnyArray, tuple[str, ...]]:
    """Return the rows whose target is known, the target as `judge` takes it, and remarks about the other rows.

    A class that training did not see cannot be judged: whatever is predicted for it is wrong.

    Raises
    ------
    ValueError
        If there is no row to judge by.
    """
    rows = np.flatnonzero(column.present)
    if not rows.size:
        raise ValueError(f"the table must have rows with a value of {column.name!r}, has none")
    known = column.take(rows)
    if not isinstance(target, ClassTarget):
        return rows, target.transform(known), ()
    labels = target.find(known)
    strange = labels < 0
    if strange.all():
        target.transform(known)  # says so
    if not strange.any():
        return rows, labels, ()
    words = sorted(known.take(np.flatnonzero(strange)).distinct())
    listed = ", ".join(map(repr, words[:5])) + (", ..." if len(words) > 5 else "")
    count = f"{strange.sum():,} row" + ("s" if strange.sum() > 1 else "")
    remark = f"left out {count} of classes that training did not see ({listed}): any prediction for them is wrong"
    return rows[~strange], labels[~strange], (remark,)


def judge(target: Target, outputs: AnyArray, known: AnyArray, remarks: tuple[str, ...] = ()) -> Judgement:
    """Return how good outputs of a network are.

    Parameters
    ----------
    target : ClassTarget or NumberTarget
    outputs : array (n, n_outputs)
        What the network predicts: logits of the classes, or the standardised number.
    known : array
        What `target.transform` makes of the true values.
    remarks : tuple of str
        Further sentences for `Judgement.remarks`.
    """
    if isinstance(target, ClassTarget):
        judged = _judge_classes(target, outputs.astype(np.float64), known)
    else:
        judged = _judge_numbers(target, outputs.astype(np.float64), known)
    return replace(judged, remarks=(*judged.remarks, *remarks)) if remarks else judged


def _judge_classes(target: ClassTarget, outputs: AnyArray, labels: AnyArray) -> Judgement:
    n_classes = target.n_outputs
    predicted = outputs.argmax(axis=1)
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    per_class = confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        recall = np.diag(confusion) / per_class
    present = per_class > 0
    log_probabilities = outputs - outputs.max(axis=1, keepdims=True)
    log_probabilities -= np.log(np.exp(log_probabilities).sum(axis=1, keepdims=True))
    picked = log_probabilities[np.arange(len(labels)), labels]
    values = {
        "accuracy": float(np.mean(predicted == labels)),
        "balanced_accuracy": float(recall[present].mean()),
        "auc": _auc(log_probabilities, labels, present),
        "log_loss": float(-picked.mean()),
    }
    shares = np.asarray(target.shares or per_class / len(labels))
    naive_class = int(shares.argmax())
    with np.errstate(divide="ignore"):
        naive_loss = float(-np.log(shares)[labels].mean())
    naive = {
        "accuracy": float(np.mean(labels == naive_class)),
        "balanced_accuracy": 1 / int(present.sum()) if present[naive_class] else 0.0,
        "auc": 0.5,
        "log_loss": naive_loss,
    }
    remarks = []
    never = [target.classes[index] for index in range(n_classes) if present[index] and not confusion[:, index].any()]
    if never:
        listed = ", ".join(map(repr, never[:5])) + (f" and {len(never) - 5} other classes" if len(never) > 5 else "")
        remarks.append(f"the model never says {listed}")
    if values["accuracy"] <= naive["accuracy"] and values["log_loss"] >= naive["log_loss"]:
        remarks.append("the model is no better than the naive answer")
    elif values["accuracy"] <= naive["accuracy"]:
        remarks.append("the model is right no more often than the naive answer; its probabilities are better")
    return Judgement(values, naive, len(labels), dict(zip(target.classes, recall.tolist(), strict=True)), confusion, tuple(remarks))


def _auc(scores: AnyArray, labels: AnyArray, present: AnyArray) -> float:
    if scores.shape[1] == 2:
        return auc(scores[:, 1] - scores[:, 0], labels == 1) if present.all() else float("nan")
    areas = [auc(np.exp(scores[:, index]), labels == index) for index in np.flatnonzero(present) if not (labels == index).all()]
    return float(np.mean(areas)) if areas else float("nan")


def _judge_numbers(target: NumberTarget, outputs: AnyArray, known: AnyArray) -> Judgement:
    true = known[:, 0]
    error, naive_error = outputs[:, 0] - true, true  # the training mean is 0

    def scored(error: AnyArray) -> dict[str, float]:
        squares, total = float(np.mean(error**2)), float(np.mean((true - true.mean()) ** 2))
        return {
            "rmse": squares**0.5 * target.scale,
            "mae": float(np.abs(error).mean()) * target.scale,
            "r2": 1 - squares / total if total > 0 else float("nan"),
        }

    values, naive = scored(error), scored(naive_error)
    remarks = ("the model is no better than the naive answer",) if values["rmse"] >= naive["rmse"] else ()
    return Judgement(values, naive, len(true), {}, None, remarks)


def _digits(value: float) -> str:
    size = abs(value)
    if value == 0 or 1e-3 <= size < 1e4:
        return f"{value:>10.4f}"
    return f"{value:>10,.0f}" if 1e4 <= size < 1e15 else f"{value:>10.4g}"
