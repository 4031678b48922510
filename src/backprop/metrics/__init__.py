"""Metrics: how good predictions are, in numbers that people read.

Each is a function of outputs and targets, with an optional weight for each row, and has the definition of scikit-learn's
metric of that name. Outputs of k classes are scores (n, k), the largest of which names the class, whether they are logits or
probabilities. Outputs of binary decisions are scores (n,) or (n, 1): positive above a threshold, by default 0, for logits.
Rows without weight are absent; where an output of any other row is NaN, the metric is NaN.

In `fit` and `evaluate` metrics go by name, ``metrics=["accuracy", "f1"]``, or are custom functions,
``metric(outputs, targets) -> float``. Either way their value is that over all rows of the epoch or data set at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .._arrays import as_real_array, check_choice, check_count, check_flag, check_in, refuse_class, require_finite
from .._direction import better_is as better_is
from .._types import AnyArray, Numbers
from ._streaming import (
    R2,
    Collected,
    Linked,
    accuracy_metric,
    area_under_roc,
    f1_metric,
    is_positive,
    labels_of,
    mae_metric,
    mean_area_under_roc,
    mse_metric,
    precision_metric,
    recall_metric,
    rmse_metric,
    top_k_metric,
)
from ._streaming import Metric as Metric
from ._streaming import MetricFunction as MetricFunction
from ._streaming import MetricSpec as MetricSpec

__all__ = [
    "NAMES",
    "accuracy",
    "auc",
    "better_is",
    "confusion_matrix",
    "defaults",
    "f1",
    "get",
    "mae",
    "mse",
    "precision",
    "r2",
    "recall",
    "rmse",
    "top_k_accuracy",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def accuracy(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None = None,
    *,
    threshold: float = 0.0,
    multilabel: bool | None = None,
) -> float:
    """Return the share of rows whose prediction is right: scikit-learn's ``accuracy_score``.

    A row is right if its class is predicted or, of multi-label targets, if all its labels are.

    Parameters
    ----------
    outputs : array (n, k), (n, 1) or (n,)
        Scores of k classes, of k labels, or of the positive class.
    targets : array (n,) or (n, k)
        Classes; probabilities of classes, of which the largest counts; or k labels a row, each 0 or 1.
    sample_weight : array (n,), optional
        Weights of the rows.
    threshold : float
        The score above which the positive class, or a label, is predicted.
    multilabel : bool, optional
        Whether each of the k outputs is a label of its own. By default it is if ``targets`` are integers or booleans of shape
        (n, k); floating point targets of this shape are probabilities of one class, and rows that do not sum to 1 are refused.
        `Trainer` and `evaluate` go by the loss.

    Examples
    --------
    >>> accuracy([[0.1, 2.0], [1.0, -1.0]], [1, 1])
    0.5
    """
    return _decide(accuracy_metric, threshold, multilabel, outputs, targets, sample_weight)


def top_k_accuracy(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *, k: int = 5
) -> float:
    """Return the share of rows whose target is among the k highest scores (of equal ones, the first).

    By name it is "top_5_accuracy", "top_3_accuracy" and so on.

    Parameters
    ----------
    outputs : array (n, k), (n, 1) or (n,)
        Scores of k classes, or of the positive class.
    targets : array (n,) or (n, k)
        Labels; or probabilities, of which the largest counts.
    sample_weight : array (n,), optional
        Weights of the rows.
    k : int
        How many scores count.

    Examples
    --------
    >>> top_k_accuracy([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], [2, 2], k=2)
    0.5
    """
    _require_classes("top_k_accuracy", outputs, targets)
    return _once(top_k_metric(check_count("k", k)), outputs, targets, sample_weight)


def precision(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None = None,
    *,
    threshold: float = 0.0,
    multilabel: bool | None = None,
) -> float:
    """Return the share of rows predicted as a class that are of it.

    With one score for each row the class is the positive one. With k scores it is the mean over the classes that occur or are
    predicted, and of multi-label targets over all labels: scikit-learn's ``average="macro"``. Where no row is predicted as a class,
    its precision is 0.

    Parameters
    ----------
    outputs : array (n, k), (n, 1) or (n,)
        Scores of k classes, or of the positive class.
    targets : array (n,) or (n, k)
        Labels; or probabilities, of which the largest counts.
    sample_weight : array (n,), optional
        Weights of the rows.
    threshold : float
        The score above which the positive class, or a label, is predicted.
    multilabel : bool, optional
        Whether each output is a label of its own; see `accuracy`.

    Examples
    --------
    >>> precision([2.0, 1.0, -1.0, -2.0], [1, 0, 1, 0])
    0.5
    """
    return _decide(precision_metric, threshold, multilabel, outputs, targets, sample_weight)


def recall(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None = None,
    *,
    threshold: float = 0.0,
    multilabel: bool | None = None,
) -> float:
    """Return the share of rows of a class that are predicted as it; which classes count is as for `precision`.

    Parameters
    ----------
    outputs : array (n, k), (n, 1) or (n,)
        Scores of k classes, or of the positive class.
    targets : array (n,) or (n, k)
        Labels; or probabilities, of which the largest counts.
    sample_weight : array (n,), optional
        Weights of the rows.
    threshold : float
        The score above which the positive class, or a label, is predicted.
    multilabel : bool, optional
        Whether each output is a label of its own; see `accuracy`.

    Examples
    --------
    >>> recall([2.0, 1.0, -1.0], [1, 0, 1])
    0.5
    """
    return _decide(recall_metric, threshold, multilabel, outputs, targets, sample_weight)


def f1(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None = None,
    *,
    threshold: float = 0.0,
    multilabel: bool | None = None,
) -> float:
    """Return the harmonic mean of precision and recall; which classes count is as for `precision`.

    Parameters
    ----------
    outputs : array (n, k), (n, 1) or (n,)
        Scores of k classes, or of the positive class.
    targets : array (n,) or (n, k)
        Labels; or probabilities, of which the largest counts.
    sample_weight : array (n,), optional
        Weights of the rows.
    threshold : float
        The score above which the positive class, or a label, is predicted.
    multilabel : bool, optional
        Whether each output is a label of its own; see `accuracy`.

    Examples
    --------
    >>> f1([2.0, 1.0, -1.0, -2.0], [1, 0, 1, 0])
    0.5
    """
    return _decide(f1_metric, threshold, multilabel, outputs, targets, sample_weight)


def auc(outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
    """Return the area under the ROC curve: how often a positive row has a higher score than a negative one, ties counted half.

    Scikit-learn's ``roc_auc_score``; NaN where all targets are of one class. Of multi-label targets, integers or booleans of shape
    (n, k), it is the mean over the labels, as in `Trainer` where the loss is for several labels.

    Parameters
    ----------
    outputs : array (n,), (n, 1), (n, 2) or (n, k)
        The score of the positive class; of two classes, the second's score less the first's; or the scores of k labels.
    targets : array (n,), (n, 1) or (n, k)
        0 or 1.
    sample_weight : array (n,), optional

    Examples
    --------
    >>> auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    """
    function = mean_area_under_roc if _are_labels(outputs, targets) else area_under_roc
    return _once(Collected("auc", function), outputs, targets, sample_weight)


def confusion_matrix(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *, threshold: float = 0.0
) -> Numbers:
    """Return the count, or the weight, of rows of class i that are predicted as class j, as (k, k).

    Parameters
    ----------
    outputs : array (n, k), (n, 1) or (n,)
        Scores of k classes, or of the positive class.
    targets : array (n,) or (n, k)
        Labels; or probabilities, of which the largest counts.
    sample_weight : array (n,), optional
        Weights of the rows.
    threshold : float
        The score above which a row is predicted positive, where there is one score for each row.

    Examples
    --------
    >>> confusion_matrix([[0.1, 2.0], [1.0, -1.0], [0.0, 1.0]], [1, 1, 0])
    array([[0., 1.],
           [1., 1.]])
    """
    threshold = _check_threshold(threshold)
    _require_classes("confusion_matrix", outputs, targets)
    scores, actual, weight = _arrays(outputs, targets, sample_weight)
    if (unknown := np.isnan(scores).any(axis=1)).any():
        raise ValueError(f"outputs must not be NaN, which names no class, got NaN in row {int(np.argmax(unknown))}")
    if scores.shape[1] == 1:
        predicted, labels = (scores[:, 0] > threshold).astype(np.intp), is_positive(actual.reshape(-1)).astype(np.intp)
    else:
        predicted, labels = scores.argmax(axis=1), labels_of(scores, actual).astype(np.intp)
    k = max(2, scores.shape[1])
    return np.bincount(labels * k + predicted, weight, minlength=k * k).reshape(k, k).astype(np.float64)


def mae(outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
    """Return the mean absolute error, over rows and outputs.

    Parameters
    ----------
    outputs : array (n, k) or (n,)
        Predictions.
    targets : array (n, k) or (n,)
        The numbers to predict.
    sample_weight : array (n,), optional
        Weights of the rows.

    Examples
    --------
    >>> mae([1.0, 2.0], [1.5, 4.0])
    1.25
    """
    return _once(mae_metric(), outputs, targets, sample_weight)


def mse(outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
    """Return the mean squared error, over rows and outputs.

    Parameters
    ----------
    outputs : array (n, k) or (n,)
        Predictions.
    targets : array (n, k) or (n,)
        The numbers to predict.
    sample_weight : array (n,), optional
        Weights of the rows.

    Examples
    --------
    >>> mse([1.0, 2.0], [1.5, 4.0])
    2.125
    """
    return _once(mse_metric(), outputs, targets, sample_weight)


def rmse(outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
    """Return the root of each output's mean squared error, averaged: scikit-learn's ``root_mean_squared_error``.

    Parameters
    ----------
    outputs : array (n, k) or (n,)
        Predictions.
    targets : array (n, k) or (n,)
        The numbers to predict.
    sample_weight : array (n,), optional
        Weights of the rows.

    Examples
    --------
    >>> rmse([0.0, 0.0], [3.0, -3.0])
    3.0
    """
    return _once(rmse_metric(), outputs, targets, sample_weight)


def r2(outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
    """Return the share of the targets' variance that is explained, averaged over outputs: scikit-learn's ``r2_score``.

    Where a target is constant: 1 if it is met exactly, else 0. NaN for fewer than two rows.

    Parameters
    ----------
    outputs : array (n, k) or (n,)
        Predictions.
    targets : array (n, k) or (n,)
        The numbers to predict.
    sample_weight : array (n,), optional
        Weights of the rows.

    Examples
    --------
    >>> r2([0.0, 1.0], [0.0, 2.0])
    0.5
    """
    return _once(R2(), outputs, targets, sample_weight)


def _are_labels(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> bool:
    """Whether targets are several labels a row, each 0 or 1: integers or booleans of the shape of the outputs."""
    actual = as_real_array(targets, "targets")
    return actual.ndim == 2 and actual.shape[1] > 1 and actual.dtype.kind in "biu" and actual.shape == np.shape(outputs)


def _check_probabilities(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> None:
    """Refuse targets of the shape of the outputs whose rows do not sum to 1: they may be labels as numbers."""
    actual = as_real_array(targets, "targets")
    if actual.ndim != 2 or actual.shape[1] < 2 or actual.shape != np.shape(outputs):
        return
    wrong = ~(np.abs(actual.sum(axis=1, dtype=np.float64) - 1) < 0.01)
    if wrong.any():
        raise ValueError(
            f"targets must be probabilities of one class a row, which sum to 1, but row {int(np.argmax(wrong))} does not; "
            "for several labels a row give integers or booleans, or, where there is such an option, multilabel=True"
        )


def _require_classes(name: str, outputs: npt.ArrayLike, targets: npt.ArrayLike) -> None:
    if _are_labels(outputs, targets):
        k = np.shape(targets)[1]
        raise ValueError(f"{name} is for one class a row, but targets are {k} labels a row, integers or booleans")
    _check_probabilities(outputs, targets)


def _check_threshold(threshold: float) -> float:
    return check_in("threshold", threshold, -math.inf, math.inf)


def _decide(
    make: Callable[[float, bool], Metric],
    threshold: float,
    multilabel: bool | None,
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None,
) -> float:
    labels = _are_labels(outputs, targets) if multilabel is None else check_flag("multilabel", multilabel)
    threshold = _check_threshold(threshold)
    if multilabel is None and not labels:
        _check_probabilities(outputs, targets)
    return _once(make(threshold, labels), outputs, targets, sample_weight)


def _once(metric: Metric, outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None) -> float:
    metric.update(*_arrays(outputs, targets, sample_weight))
    return metric.result()


def _arrays(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None
) -> tuple[AnyArray, AnyArray, AnyArray | None]:
    scores, actual = as_real_array(outputs, "outputs"), as_real_array(targets, "targets")
    if scores.ndim == 1:
        scores = scores[:, np.newaxis]
    if scores.ndim != 2 or actual.ndim not in (1, 2) or len(actual) != len(scores):
        raise ValueError(f"outputs and targets must have the same number of rows, got shapes {scores.shape} and {actual.shape}")
    if sample_weight is None:
        return scores, actual, None
    weight = as_real_array(sample_weight, "sample_weight")
    if weight.shape != (len(scores),):
        raise ValueError(f"sample_weight must have shape ({len(scores)},), got {weight.shape}")
    require_finite(weight, "sample_weight")
    return scores, actual, weight


_DECIDING: dict[str, Callable[[float, bool, bool], Metric]] = {
    "accuracy": accuracy_metric,
    "precision": precision_metric,
    "recall": recall_metric,
    "f1": f1_metric,
}
_MEASURING: dict[str, Callable[[], Metric]] = {"mae": mae_metric, "mse": mse_metric, "rmse": rmse_metric, "r2": R2}
NAMES = (*_DECIDING, "auc", "top_k_accuracy", *_MEASURING)
_DEFAULTS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy",),
    "binary": ("accuracy", "auc"),
    "regression": ("mae", "rmse", "r2"),
    "custom": (),
}


def defaults(task: str) -> tuple[str, ...]:
    """Return the names of the metrics that fit a loss's task."""
    return _DEFAULTS[task]


def get(spec: str | MetricFunction, task: str, link: str) -> Metric:
    """Return the metric that a name or a function stands for.

    Parameters
    ----------
    spec : str or callable
        A name in `NAMES` ("top_5_accuracy" and so on for `top_k_accuracy`), or ``function(outputs, targets)``, which may
        take ``sample_weight=`` as well.
    task, link : str
        Those of the loss, which say what its outputs mean.

    Raises
    ------
    ValueError
        For an unknown name, or one that does not fit the task.

    Examples
    --------
    >>> get("accuracy", "classification", "softmax").name
    'accuracy'
    """
    refuse_class("metrics", spec, "names and functions")
    if callable(spec):
        name = getattr(spec, "__name__", type(spec).__name__)
        if spec is not globals().get(name):
            return Collected("metric" if name == "<lambda>" else name, spec)
        spec = name
    metric = _named(spec, task)
    return Linked(metric, link) if link in ("exp", "mean", "quantiles") else metric


def _named(spec: str | MetricFunction, task: str) -> Metric:
    """Return the metric of a name, of predictions that need no link."""
    # Predictions of regression losses are estimates of the targets 0 and 1 themselves, not logits.
    threshold = 0.5 if task == "regression" else 0.0
    if isinstance(spec, str) and spec.startswith("top_") and spec.endswith("_accuracy") and spec[4:-9].isdecimal():
        return top_k_metric(check_count("k", int(spec[4:-9])), threshold, task == "classification")
    name = check_choice("metrics", spec, NAMES)
    if name in _MEASURING:
        if task in ("classification", "binary"):
            raise ValueError(f"metric {name!r} is for numbers, but the loss is one for {task} targets")
        return _MEASURING[name]()
    if name == "auc":
        return Collected("auc", mean_area_under_roc) if task == "binary" else Collected("auc", area_under_roc, most_outputs=2)
    if name == "top_k_accuracy":
        return top_k_metric(5, threshold, task == "classification")
    return _DECIDING[name](threshold, task == "binary", task == "classification")
