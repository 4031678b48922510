"""How metrics are computed over many batches: from a few sums where that is enough, else from all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from .._links import predicted_targets, predictions
from .._overrides import Overridable, Shortcuts, missing
from .._types import AnyArray, Numbers
from ._tally import Formula, Sums

MetricFunction = Callable[..., float]
MetricSpec = str | MetricFunction


class Metric(metaclass=Overridable):
    """A metric that is computed over many batches.

    Attributes
    ----------
    name : str
        Its key in a history.
    streaming : bool
        Whether a few sums are enough; otherwise all rows are kept until `result`.
    formula : Formula, optional
        Of these sums, where compiled steps can keep them.
    most_outputs : int, optional
        The largest number of outputs that it is defined for.
    """

    streaming = True
    formula: Formula | None = None
    most_outputs: int | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def update(self, outputs: AnyArray, targets: AnyArray, sample_weight: AnyArray | None) -> None:
        """Take note of a batch. Rows count by the size of their weight, whatever its sign; arrays may be kept, not changed."""
        raise missing(self, "update(self, outputs, targets, sample_weight), which takes note of a batch")

    def add(self, sums: Sums) -> None:
        """Take note of the sums of ``formula`` over many rows."""
        raise missing(self, "add(self, sums), which takes note of the sums of its formula")

    def check_targets(self, targets: AnyArray, n_outputs: int) -> None:
        """Raise the ValueError of `update` for these targets, where they can be told without outputs; nothing is noted."""

    def result(self) -> float:
        """Return the metric over all rows since the last `result`, and forget them; NaN where it is not defined."""
        raise missing(self, "result(self), which returns the metric over all rows since the last result")

    def state(self) -> Any:
        """Return what has been noted since the last `result`, for `set_states` in another process."""
        raise missing(self, "state(self), which returns what has been noted, ready to be pickled")

    def set_states(self, states: Sequence[Any]) -> None:
        """Hold what several metrics have noted of their rows together, and nothing else."""
        raise missing(self, "set_states(self, states), which takes what several metrics have noted")

    @property
    def adds_sums(self) -> bool:
        """Whether `add` does for the sums of a formula what `update` does for the rows."""
        return self.formula is not None and type(self).add is not Metric.add

    _SHORTCUTS: ClassVar[Shortcuts] = {"add": {"update": add}}


class Means(Metric):
    """Anything that follows from the means over rows of some columns of numbers.

    With a ``formula``, ``choose`` makes the sums of these columns of those of the formula.
    """

    def __init__(
        self,
        name: str,
        columns: Callable[[AnyArray, AnyArray], AnyArray],
        finish: Callable[[Numbers], float],
        formula: Formula | None = None,
        choose: Callable[[Numbers], Numbers] = np.asarray,
    ) -> None:
        super().__init__(name)
        self.formula = formula
        self._columns = columns
        self._finish = finish
        self._choose = choose
        self._sums: Numbers | float = 0.0
        self._weight = 0.0

    def update(self, outputs: AnyArray, targets: AnyArray, sample_weight: AnyArray | None) -> None:
        columns = self._columns(outputs, targets)
        if sample_weight is None:
            self._sums = self._sums + columns.sum(axis=0, dtype=np.float64)
            self._weight += len(columns)
        else:
            weight = np.abs(sample_weight.astype(np.float64))
            self._weight += weight.sum()
            if not weight.all():  # a row without weight is absent, whatever its columns are
                weight, columns = weight[weight != 0], columns[weight != 0]
            self._sums = self._sums + weight @ columns

    def check_targets(self, targets: AnyArray, n_outputs: int) -> None:
        if self.formula is None or self.formula.kind != "errors":  # errors are defined for any numbers
            self._columns(np.zeros((len(targets), n_outputs), np.float32), targets)

    def add(self, sums: Sums) -> None:
        self._sums = self._sums + self._choose(sums.columns)
        self._weight += sums.weight

    def state(self) -> tuple[Numbers | float, float]:
        return self._sums, self._weight

    def set_states(self, states: Sequence[tuple[Numbers | float, float]]) -> None:
        self._sums, self._weight = 0.0, 0.0
        for sums, weight in states:
            self._sums = self._sums + sums
            self._weight += weight

    def result(self) -> float:
        means = np.asarray(self._sums) / self._weight if self._weight else np.array(math.nan)
        self._sums, self._weight = 0.0, 0.0
        with np.errstate(all="ignore"):  # errors that are infinite, or too large for their squares, give infinity
            return math.nan if np.isnan(means).any() else float(self._finish(means))


class Collected(Metric):
    """A function of all rows at once."""

    streaming = False

    def __init__(self, name: str, function: MetricFunction, most_outputs: int | None = None) -> None:
        super().__init__(name)
        self.most_outputs = most_outputs
        self._function = function
        self._takes_weight = _takes_weight(function)
        self._batches: list[tuple[AnyArray, AnyArray, AnyArray | None]] = []

    def update(self, outputs: AnyArray, targets: AnyArray, sample_weight: AnyArray | None) -> None:
        weight = None if sample_weight is None else sample_weight.copy()
        self._batches.append((outputs, targets.copy(), weight))  # the batches of a stream may share one memory

    def state(self) -> list[tuple[AnyArray, AnyArray, AnyArray | None]]:
        return self._batches

    def set_states(self, states: Sequence[list[tuple[AnyArray, AnyArray, AnyArray | None]]]) -> None:
        self._batches = [batch for state in states for batch in state]

    def result(self) -> float:
        if not self._batches:
            return math.nan
        batches, self._batches = self._batches, []
        outputs, targets, weights = zip(*batches, strict=True)
        arrays = np.concatenate(outputs), np.concatenate(targets)
        if not self._takes_weight or all(weight is None for weight in weights):
            return self._number(self._function(*arrays))
        full = [np.ones(len(rows)) if weight is None else np.abs(weight) for rows, weight in zip(outputs, weights, strict=True)]
        return self._number(self._function(*arrays, sample_weight=np.concatenate(full)))

    def _number(self, value: Any) -> float:
        try:
            if not isinstance(value, str | bytes | complex):
                return float(value)
        except (TypeError, ValueError):
            pass
        raise TypeError(f"the metric {self.name!r} must return one real number, got {value!r}")


def _takes_weight(function: MetricFunction) -> bool:
    try:
        return "sample_weight" in signature(function).parameters
    except ValueError:  # some callables written in C have no signature
        return False


class _Decision:
    """What outputs and targets say of each row and class, as two tables of booleans.

    With one column the positive class is predicted above ``threshold``, and so is each label of ``multilabel`` outputs; otherwise
    the class with the largest output is predicted. With ``classes`` one column is a class, too, the only one there is.
    """

    def __init__(self, threshold: float, multilabel: bool, classes: bool) -> None:
        self._threshold = threshold
        self._multilabel = multilabel
        self._classes = classes

    def correct(self, outputs: AnyArray, targets: AnyArray) -> AnyArray:
        """Whether each row is right: its class, or all of its labels."""
        if self._separate(outputs):
            predicted, actual = self._yes(outputs, targets)
            return _defined(outputs, np.asarray(np.equal(predicted, actual).all(axis=1)))
        return _defined(outputs, outputs.argmax(axis=1) == labels_of(outputs, targets))

    def counts(self, outputs: AnyArray, targets: AnyArray) -> AnyArray:
        """Three columns for each class: right and predicted as it, predicted as it, of it."""
        if self._separate(outputs):
            predicted, actual = self._yes(outputs, targets)
        else:
            classes = np.arange(outputs.shape[1])
            predicted = outputs.argmax(axis=1)[:, np.newaxis] == classes
            actual = labels_of(outputs, targets)[:, np.newaxis] == classes
        return _defined(outputs, np.concatenate([predicted & actual, predicted, actual], axis=1))

    def _separate(self, outputs: AnyArray) -> bool:
        return self._multilabel or (outputs.shape[1] == 1 and not self._classes)

    def _yes(self, outputs: AnyArray, targets: AnyArray) -> tuple[AnyArray, AnyArray]:
        actual = targets if targets.ndim == 2 else targets[:, np.newaxis]
        if actual.shape != outputs.shape:
            raise ValueError(f"targets must be 0 or 1 for each output, shape {outputs.shape}, got {targets.shape}")
        return outputs > self._threshold, is_positive(actual)


def _defined(outputs: AnyArray, columns: AnyArray) -> AnyArray:
    """Return columns of rows, with NaN for rows that have a NaN among their outputs: NaN decides nothing."""
    unknown = np.isnan(outputs)
    if not unknown.any():
        return columns
    columns = columns.astype(np.float64)
    columns[unknown.any(axis=1)] = math.nan
    return columns


def labels_of(outputs: AnyArray, targets: AnyArray) -> AnyArray:
    if targets.ndim == 2 and targets.shape[1] == outputs.shape[1]:
        return np.asarray(targets.argmax(axis=1))
    if targets.shape != (len(outputs),):
        raise ValueError(f"targets must be labels (n,) or probabilities {outputs.shape}, got shape {targets.shape}")
    with np.errstate(invalid="ignore"):  # NaN becomes some integer, which differs from it
        labels = targets.astype(np.intp) if targets.dtype.kind == "f" else targets
    wrong = (targets < 0) | (targets >= outputs.shape[1]) | (labels != targets)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"targets must be class labels in [0, {outputs.shape[1]}), got {targets[row]} in row {row}")
    return labels


def is_positive(targets: AnyArray) -> AnyArray:
    """Whether targets that are 0, 1 or probabilities are more than a half.

    Raises
    ------
    ValueError
        If one is outside [0, 1].
    """
    wrong = ~((targets >= 0) & (targets <= 1))
    if wrong.any():
        row = np.unravel_index(int(np.argmax(wrong)), targets.shape)[0]
        raise ValueError(f"targets must be 0, 1 or between for one score per class or label, got {targets[wrong][0]} in row {row}")
    return np.asarray(targets > 0.5)


def _macro(share: Callable[[Numbers, Numbers, Numbers], tuple[Numbers, Numbers]], multilabel: bool) -> Callable[[Numbers], float]:
    """Return the mean of a share over the classes that are predicted or occur, or over all labels; 0 / 0 counts as 0."""

    def mean(counts: Numbers) -> float:
        right, predicted, actual = counts.reshape(3, -1)
        occurs = predicted + actual > 0
        if not multilabel and len(occurs) > 1 and occurs.any():
            right, predicted, actual = right[occurs], predicted[occurs], actual[occurs]
        part, whole = share(right, predicted, actual)
        return float(np.mean(np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)))

    return mean


def _precision(right: Numbers, predicted: Numbers, actual: Numbers) -> tuple[Numbers, Numbers]:
    return right, predicted


def _recall(right: Numbers, predicted: Numbers, actual: Numbers) -> tuple[Numbers, Numbers]:
    return right, actual


def _f1(right: Numbers, predicted: Numbers, actual: Numbers) -> tuple[Numbers, Numbers]:
    return 2 * right, predicted + actual


def accuracy_metric(threshold: float, multilabel: bool, classes: bool = False) -> Metric:
    decision = _Decision(threshold, multilabel, classes)
    return Means("accuracy", decision.correct, float, Formula("decisions", threshold, multilabel, classes))


def precision_metric(threshold: float, multilabel: bool, classes: bool = False) -> Metric:
    return Means("precision", _Decision(threshold, multilabel, classes).counts, _macro(_precision, multilabel))


def recall_metric(threshold: float, multilabel: bool, classes: bool = False) -> Metric:
    return Means("recall", _Decision(threshold, multilabel, classes).counts, _macro(_recall, multilabel))


def f1_metric(threshold: float, multilabel: bool, classes: bool = False) -> Metric:
    return Means("f1", _Decision(threshold, multilabel, classes).counts, _macro(_f1, multilabel))


def top_k_metric(k: int, threshold: float = 0.0, classes: bool = False) -> Metric:
    decision = _Decision(threshold, False, classes)

    def hit(outputs: AnyArray, targets: AnyArray) -> AnyArray:
        if outputs.shape[1] == 1 and not classes:  # of the two classes that one score decides between
            right = decision.correct(outputs, targets)
            return right if k == 1 else _defined(outputs, np.ones_like(right))
        labels = labels_of(outputs, targets)
        rows = np.arange(len(labels))
        score = outputs[rows, labels][:, np.newaxis]
        before = np.arange(outputs.shape[1]) < labels[:, np.newaxis]
        rank = ((outputs > score) | ((outputs == score) & before)).sum(axis=1)
        return _defined(outputs, rank < k)

    return Means(f"top_{k}_accuracy", hit, float)


def area_under_roc(outputs: AnyArray, targets: AnyArray, sample_weight: AnyArray | None = None) -> float:
    if outputs.shape[1] > 2:
        raise ValueError(f"auc is for two classes, got outputs of shape {outputs.shape}")
    score = outputs[:, -1].astype(np.float64) - (outputs[:, 0] if outputs.shape[1] == 2 else 0)
    actual = labels_of(outputs, targets) if outputs.shape[1] == 2 else targets.reshape(-1)
    if len(actual) != len(score):
        raise ValueError(f"targets must have one entry per row of outputs, got shapes {targets.shape} and {outputs.shape}")
    positive = is_positive(actual)
    weight = np.ones(len(score)) if sample_weight is None else sample_weight.astype(np.float64)
    if np.isnan(score[weight != 0]).any():
        return math.nan
    _, group = np.unique(score, return_inverse=True)
    yes = np.bincount(group, weight * positive)
    no = np.bincount(group, weight * ~positive)
    below = np.cumsum(no) - no / 2  # the weight of "no" under each distinct score, and half of that at it
    pairs = yes.sum() * no.sum()
    return float(np.dot(yes, below) / pairs) if pairs else math.nan


def mean_area_under_roc(outputs: AnyArray, targets: AnyArray, sample_weight: AnyArray | None = None) -> float:
    """The mean area of outputs that are separate binary decisions."""
    actual = targets.reshape(len(outputs), -1)
    if actual.shape != outputs.shape:
        raise ValueError(f"targets must be 0 or 1 for each output, shape {outputs.shape}, got {targets.shape}")
    return float(np.mean([area_under_roc(outputs[:, [j]], actual[:, j], sample_weight) for j in range(outputs.shape[1])]))


def _errors(outputs: AnyArray, targets: AnyArray) -> Numbers:
    actual = targets[:, np.newaxis] if targets.ndim == 1 and outputs.shape[1] == 1 else targets
    if actual.shape != outputs.shape:
        raise ValueError(f"targets must have the shape of the outputs, {outputs.shape}, got {targets.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(outputs.astype(np.float64) - actual)


def _squared_errors(outputs: AnyArray, targets: AnyArray) -> Numbers:
    with np.errstate(over="ignore"):
        return np.square(_errors(outputs, targets))


ERRORS = Formula("errors")


def mae_metric() -> Metric:
    return Means("mae", lambda outputs, targets: np.abs(_errors(outputs, targets)).mean(axis=1), float, ERRORS, _mean_absolute)


def mse_metric() -> Metric:
    return Means("mse", lambda outputs, targets: _squared_errors(outputs, targets).mean(axis=1), float, ERRORS, _mean_square)


def rmse_metric() -> Metric:
    return Means("rmse", _squared_errors, _mean_root, ERRORS, _squares)


def _mean_absolute(columns: Numbers) -> Numbers:
    return np.asarray(columns[0].sum() / columns.shape[1])


def _mean_square(columns: Numbers) -> Numbers:
    return np.asarray(columns[1].sum() / columns.shape[1])


def _squares(columns: Numbers) -> Numbers:
    return np.asarray(columns[1])


def _mean_root(means: Numbers) -> float:
    return float(np.sqrt(means).sum() / len(means))


class R2(Metric):
    """``1 - sum(errors^2) / sum((target - mean)^2)``; targets are summed as differences from the first, which keeps digits."""

    formula = ERRORS

    def __init__(self) -> None:
        super().__init__("r2")
        self._means = Means("r2", self._columns, self._finish)
        self._first: AnyArray | None = None
        self._rows = 0

    def update(self, outputs: AnyArray, targets: AnyArray, sample_weight: AnyArray | None) -> None:
        self._rows += len(outputs)
        if sample_weight is not None:  # a row without weight may be far from the others: differences from it have no digits left
            weighty = sample_weight != 0
            outputs, targets, sample_weight = outputs[weighty], targets[weighty], sample_weight[weighty]
        if len(outputs):
            self._means.update(outputs, targets, sample_weight)

    def add(self, sums: Sums) -> None:
        if self._first is None:
            self._first = sums.origin
        _, squares, distances, square_distances = sums.columns
        shift = sums.origin - self._first
        shifted = distances + sums.weight * shift
        shifted_squares = square_distances + shift * (distances + shifted)
        self._rows += round(sums.rows)
        self._means.add(sums._replace(columns=np.concatenate([squares, shifted, shifted_squares])))

    def state(self) -> tuple[AnyArray | None, int, Any]:
        return self._first, self._rows, self._means.state()

    def set_states(self, states: Sequence[tuple[AnyArray | None, int, Any]]) -> None:
        self._first, self._rows, moved = None, 0, []
        for first, rows, (sums, weight) in states:
            if first is None:
                continue
            if self._first is None:
                self._first = first
            self._rows += rows
            shift = first - self._first
            squares, distances, square_distances = np.reshape(sums, (3, -1))
            shifted = distances + weight * shift
            moved.append((np.concatenate([squares, shifted, square_distances + shift * (distances + shifted)]), weight))
        self._means.set_states(moved)

    def result(self) -> float:
        r2 = self._means.result() if self._rows > 1 else math.nan
        self._first, self._rows = None, 0
        return r2

    def _columns(self, outputs: AnyArray, targets: AnyArray) -> AnyArray:
        squares = _squared_errors(outputs, targets)
        actual = targets.reshape(outputs.shape).astype(np.float64)
        if self._first is None:
            self._first = actual[0]
        with np.errstate(over="ignore", invalid="ignore"):
            shifted = actual - self._first
            return np.concatenate([squares, shifted, np.square(shifted)], axis=1)

    @staticmethod
    def _finish(means: Numbers) -> float:
        unexplained, shifted, shifted_squares = means.reshape(3, -1)
        variance = np.maximum(shifted_squares - shifted**2, 0.0)
        # A constant target is met exactly, or not explained at all.
        share = np.divide(unexplained, variance, out=(unexplained != 0).astype(np.float64), where=variance > 0)
        return float(1 - share.sum() / len(share))


class Linked(Metric):
    """A metric of the predictions that a link makes of the outputs."""

    def __init__(self, metric: Metric, link: str) -> None:
        super().__init__(metric.name)
        self.streaming = metric.streaming
        self.most_outputs = metric.most_outputs
        self._metric = metric
        self._link = link

    def check_targets(self, targets: AnyArray, n_outputs: int) -> None:
        predicted = predictions(self._link, np.zeros((len(targets), n_outputs)))
        self._metric.check_targets(predicted_targets(predicted, targets), predicted.shape[1])

    def update(self, outputs: AnyArray, targets: AnyArray, sample_weight: AnyArray | None) -> None:
        predicted = predictions(self._link, outputs.astype(np.float64))
        self._metric.update(predicted, predicted_targets(predicted, targets), sample_weight)

    def state(self) -> Any:
        return self._metric.state()

    def set_states(self, states: Sequence[Any]) -> None:
        self._metric.set_states(states)

    def result(self) -> float:
        return self._metric.result()
