"""Metrics: values by hand and scikit-learn's, the same in batches as at once, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from backprop import metrics


def _classes(rng, n=200, k=4):
    return rng.normal(size=(n, k)).round(1), rng.integers(0, k, n), rng.uniform(size=n)


def _yes_no(rng, n=200):
    return rng.normal(size=(n, 1)).round(1), rng.integers(0, 2, n), rng.uniform(size=n)


def _numbers(rng, n=50, k=3):
    targets = rng.normal(size=(n, k)) + 100
    return targets + rng.normal(size=(n, k)), targets, rng.uniform(size=n)


def test_values_by_hand():
    scores, labels = [[3, 1, 0], [0, 2, 1], [0, 1, 2], [5, 0, 0]], [0, 2, 2, 1]
    assert metrics.accuracy(scores, labels) == 0.5
    assert metrics.top_k_accuracy(scores, labels, k=2) == 1.0
    assert metrics.precision(scores, labels) == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert metrics.recall(scores, labels) == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert metrics.f1(scores, labels) == pytest.approx((2 / 3 + 0 + 2 / 3) / 3)
    np.testing.assert_array_equal(metrics.confusion_matrix(scores, labels), [[1, 0, 0], [1, 0, 0], [0, 1, 1]])
    assert metrics.auc([1, 2, 2, 3], [0, 0, 1, 1]) == pytest.approx(3.5 / 4)
    assert metrics.mae([1.0, 3.0], [2.0, 1.0]) == 1.5
    assert metrics.mse([1.0, 3.0], [2.0, 1.0]) == 2.5
    assert metrics.rmse([[1.0, 0.0], [3.0, 0.0]], [[2.0, 1.0], [1.0, 1.0]]) == pytest.approx((math.sqrt(2.5) + 1) / 2)
    assert metrics.r2([1.0, 2.0, 4.0], [1.0, 2.0, 3.0]) == pytest.approx(0.5)


@pytest.mark.parametrize("weighted", [False, True])
def test_classes_are_scikit_learns(weighted, rng):
    sk = pytest.importorskip("sklearn.metrics")
    scores, labels, weight = _classes(rng)
    weight = weight if weighted else None
    predicted = scores.argmax(axis=1)
    assert metrics.accuracy(scores, labels, weight) == pytest.approx(sk.accuracy_score(labels, predicted, sample_weight=weight))
    for name, theirs in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        expected = theirs(labels, predicted, average="macro", sample_weight=weight, zero_division=0)
        assert getattr(metrics, name)(scores, labels, weight) == pytest.approx(expected)
    np.testing.assert_allclose(
        metrics.confusion_matrix(scores, labels, weight), sk.confusion_matrix(labels, predicted, sample_weight=weight)
    )
    untied = rng.normal(size=scores.shape)
    expected = sk.top_k_accuracy_score(labels, untied, k=2, sample_weight=weight)
    assert metrics.top_k_accuracy(untied, labels, weight, k=2) == pytest.approx(expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_yes_or_no_is_scikit_learns(weighted, rng):
    sk = pytest.importorskip("sklearn.metrics")
    scores, labels, weight = _yes_no(rng)
    weight = weight if weighted else None
    predicted = scores[:, 0] > 0
    for name, theirs in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        expected = theirs(labels, predicted, sample_weight=weight)
        assert getattr(metrics, name)(scores, labels, weight) == pytest.approx(expected)
    assert metrics.auc(scores, labels, weight) == pytest.approx(sk.roc_auc_score(labels, scores[:, 0], sample_weight=weight))
    two = np.column_stack([np.zeros(len(scores)), scores[:, 0]])
    assert metrics.auc(two, labels, weight) == pytest.approx(metrics.auc(scores, labels, weight))
    with_threshold = metrics.accuracy(scores, labels, weight, threshold=0.5)
    assert with_threshold == pytest.approx(sk.accuracy_score(labels, scores[:, 0] > 0.5, sample_weight=weight))


@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_are_scikit_learns(weighted, rng):
    sk = pytest.importorskip("sklearn.metrics")
    outputs, targets, weight = _numbers(rng)
    weight = weight if weighted else None
    for name, theirs in (
        ("mae", sk.mean_absolute_error),
        ("mse", sk.mean_squared_error),
        ("rmse", sk.root_mean_squared_error),
        ("r2", sk.r2_score),
    ):
        expected = theirs(targets, outputs, sample_weight=weight)
        assert getattr(metrics, name)(outputs, targets, weight) == pytest.approx(expected, rel=1e-12)


def test_where_they_are_not_defined():
    assert math.isnan(metrics.auc([1.0, 2.0], [1, 1]))
    assert math.isnan(metrics.r2([1.0], [1.0]))
    assert math.isnan(metrics.accuracy([[1.0], [2.0]], [1, 1], [0, 0]))
    assert metrics.r2([2.0, 2.0], [2.0, 2.0]) == 1.0
    assert metrics.r2([2.0, 3.0], [2.0, 2.0]) == 0.0
    assert metrics.precision([[-1.0], [-2.0]], [1, 1]) == 0.0


@pytest.mark.parametrize(
    ("name", "task", "make"),
    [
        *[(name, "classification", _classes) for name in ("accuracy", "precision", "recall", "f1")],
        *[(name, "classification", _classes) for name in ("top_k_accuracy", "top_2_accuracy")],
        *[(name, "binary", _yes_no) for name in ("accuracy", "precision", "recall", "f1", "auc")],
        *[(name, "regression", _numbers) for name in ("mae", "mse", "rmse", "r2")],
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_batches_give_what_all_rows_give(name, task, make, weighted, rng):
    outputs, targets, weight = make(rng)
    metric = metrics.get(name, task, "identity")
    for _ in range(2):  # a result starts it anew
        for start in range(0, len(outputs), 7):
            rows = slice(start, start + 7)
            metric.update(outputs[rows], targets[rows], weight[rows] if weighted else None)
        result = metric.result()
        if name == "top_2_accuracy":
            expected = metrics.top_k_accuracy(outputs, targets, weight if weighted else None, k=2)
        else:
            expected = getattr(metrics, name)(outputs, targets, weight if weighted else None)
        assert result == pytest.approx(expected, rel=1e-10)
    assert metric.name == ("top_5_accuracy" if name == "top_k_accuracy" else name)


def test_r2_keeps_its_digits_far_from_zero(rng):
    targets = 1e8 + rng.normal(size=(500, 1))
    outputs = targets + 0.1 * rng.normal(size=(500, 1))
    metric = metrics.get("r2", "regression", "identity")
    for start in range(0, 500, 50):
        metric.update(outputs[start : start + 50], targets[start : start + 50], None)
    errors, spread = outputs - targets, targets - targets.mean()
    assert metric.result() == pytest.approx(1 - (errors**2).sum() / (spread**2).sum(), rel=1e-6)


def test_several_labels_of_a_row_are_judged_together(rng):
    outputs, targets = rng.normal(size=(50, 3)), rng.integers(0, 2, (50, 3)).astype(float)
    accuracy, f1, auc = (metrics.get(name, "binary", "sigmoid") for name in ("accuracy", "f1", "auc"))
    for metric in (accuracy, f1, auc):
        metric.update(outputs, targets, None)
    assert accuracy.result() == pytest.approx(((outputs > 0) == (targets > 0.5)).all(axis=1).mean())
    assert f1.result() == pytest.approx(np.mean([metrics.f1(outputs[:, j], targets[:, j]) for j in range(3)]))
    assert auc.result() == pytest.approx(np.mean([metrics.auc(outputs[:, j], targets[:, j]) for j in range(3)]))


def test_two_outputs_of_yes_or_no_are_not_two_classes():
    auc = metrics.get("auc", "binary", "sigmoid")
    auc.update(np.array([[1.0, 5.0], [2.0, 6.0]]), np.array([[0.0, 0.0], [1.0, 1.0]]), None)
    assert auc.result() == 1.0


def test_probabilities_as_targets_and_estimates_as_outputs():
    assert metrics.accuracy([[2.0, 1.0], [0.0, 1.0]], [[0.3, 0.7], [0.1, 0.9]]) == 0.5
    estimates = metrics.get("accuracy", "regression", "identity")
    estimates.update(np.array([[0.2], [0.8]]), np.array([[0.0], [1.0]]), None)
    assert estimates.result() == 1.0


def test_log_rates_are_judged_as_rates():
    metric = metrics.get("mae", "regression", "exp")
    metric.update(np.log([[2.0], [3.0]]), np.array([[1.0], [5.0]]), None)
    assert metric.result() == pytest.approx(1.5)


def test_the_sign_of_a_weight_does_not_count():
    metric = metrics.get("mae", "regression", "identity")
    metric.update(np.array([[1.0], [3.0]]), np.array([[0.0], [0.0]]), np.array([-1.0, 3.0]))
    assert metric.result() == pytest.approx(2.5)


def test_functions_see_all_rows_at_once(rng):
    seen = []

    def largest_error(outputs, targets):
        seen.append(len(outputs))
        return np.abs(outputs - targets).max()

    metric = metrics.get(largest_error, "regression", "identity")
    for _ in range(3):
        metric.update(rng.normal(size=(4, 1)), rng.normal(size=(4, 1)), np.ones(4))
    metric.result()
    assert seen == [12]
    assert metric.name == "largest_error"
    assert metrics.get(lambda outputs, targets: 0.0, "regression", "identity").name == "metric"
    assert metrics.get(metrics.accuracy, "binary", "sigmoid").streaming


def test_weights_reach_functions_that_take_them():
    def total(outputs, targets, sample_weight=None):
        return -1.0 if sample_weight is None else sample_weight.sum()

    metric = metrics.get(total, "regression", "identity")
    metric.update(np.zeros((2, 1)), np.zeros((2, 1)), None)
    assert metric.result() == -1.0
    metric.update(np.zeros((2, 1)), np.zeros((2, 1)), None)
    metric.update(np.zeros((2, 1)), np.zeros((2, 1)), np.array([2.0, 3.0]))
    assert metric.result() == 7.0


@pytest.mark.parametrize("label", [-3, 3, 10**9])
@pytest.mark.parametrize(
    "metric", [metrics.accuracy, metrics.precision, metrics.recall, metrics.f1, metrics.top_k_accuracy, metrics.confusion_matrix]
)
def test_a_label_of_no_class_is_refused(metric, label):
    with pytest.raises(ValueError, match=rf"targets must be class labels in \[0, 3\), got {label} in row 1"):
        metric(np.eye(3), [0, label, 2])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="did you mean 'accuracy'"):
        metrics.get("acuracy", "classification", "softmax")
    with pytest.raises(ValueError, match="'mae' is for numbers, but the loss is one for classification"):
        metrics.get("mae", "classification", "softmax")
    with pytest.raises(ValueError, match=r"the same number of rows, got shapes \(2, 1\) and \(3,\)"):
        metrics.mae([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"shape of the outputs, \(2, 2\), got \(2,\)"):
        metrics.mae([[1.0, 2.0], [3.0, 4.0]], [1.0, 2.0])
    with pytest.raises(ValueError, match="auc is for two classes"):
        metrics.auc(np.zeros((2, 3)), [0, 1])
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(2,\)"):
        metrics.mae([1.0, 2.0], [1.0, 2.0], [1.0])
    with pytest.raises(TypeError, match="real numbers"):
        metrics.accuracy([["a"]], [0])


@pytest.mark.parametrize("name", [*metrics.NAMES, "top_5_accuracy", "loss"])
def test_the_direction_of_every_metric_is_known(name):
    lower = name in ("loss", "mae", "mse", "rmse")
    for key in (name, f"val_{name}"):
        assert metrics.better_is(key) == ("min" if lower else "max")


@pytest.mark.parametrize("key", ["profit", "val_spearman", "lr"])
def test_auto_refuses_a_metric_that_it_does_not_know(key):
    with pytest.raises(ValueError, match=rf"mode='auto' does not know whether '{key}' .*: give mode='min' or mode='max'"):
        metrics.better_is(key)
    assert metrics.better_is(key, "max") == "max"
    with pytest.raises(ValueError, match=r"mode must be one of .*did you mean 'max'"):
        metrics.better_is(key, "maxi")


@pytest.mark.parametrize("seed", range(60))
def test_definitions_are_scikit_learns_on_random_data(seed):
    """Ties, few rows, classes and labels that never occur, constant targets, weights."""
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    n, k = int(rng.choice([2, 5, 30])), int(rng.choice([2, 3, 5]))
    weight = rng.random(n) + 0.1 if seed % 3 else None
    scores = rng.integers(-2, 3, (n, k)) / 2 if seed % 2 else rng.normal(size=(n, k))
    labels = rng.integers(0, k, n) if seed % 5 else np.full(n, seed % k)
    several = (rng.random((n, k)) > 0.6).astype(int) * (np.arange(k) > 0 if seed % 4 == 0 else 1)
    positive = labels > 0
    options = {"sample_weight": weight}
    averages = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
    expected = {
        ("accuracy", "classes"): sk.accuracy_score(labels, scores.argmax(axis=1), **options),
        ("accuracy", "one score"): sk.accuracy_score(positive, scores[:, 0] > 0, **options),
        ("accuracy", "labels"): sk.accuracy_score(several, scores > 0, **options),
    }
    for name, theirs in averages.items():
        macro = options | {"average": "macro", "zero_division": 0}
        expected[name, "classes"] = theirs(labels, scores.argmax(axis=1), **macro)
        expected[name, "labels"] = theirs(several, scores > 0, **macro)
        expected[name, "one score"] = theirs(positive, scores[:, 0] > 0, **options, zero_division=0)
    if 0 < positive.sum() < n:
        expected["auc", "one score"] = sk.roc_auc_score(positive, scores[:, 0], **options)
    given = {"classes": (scores, labels), "labels": (scores, several), "one score": (scores[:, 0], positive)}
    for (name, kind), value in expected.items():
        assert getattr(metrics, name)(*given[kind], weight) == pytest.approx(value, rel=1e-12), (name, kind)
    np.testing.assert_allclose(
        metrics.confusion_matrix(scores, labels, weight),
        sk.confusion_matrix(labels, scores.argmax(axis=1), labels=range(max(2, k)), **options),
    )
    numbers = rng.normal(size=(n, k)) * (np.arange(k) > 0)  # the first is 0 everywhere
    for name, theirs in {"mae": sk.mean_absolute_error, "mse": sk.mean_squared_error, "r2": sk.r2_score}.items():
        assert getattr(metrics, name)(scores, numbers, weight) == pytest.approx(theirs(numbers, scores, **options), rel=1e-9), name
    assert metrics.rmse(scores, numbers, weight) == pytest.approx(sk.root_mean_squared_error(numbers, scores, **options))


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (np.zeros((3, 2)), [0.5, 1, 0], r"class labels in \[0, 2\), got 0.5 in row 0"),
        (np.zeros((3, 2)), [0, 1, np.nan], r"class labels in \[0, 2\), got nan in row 2"),
        (np.zeros(3), [0, 1, 2], "0, 1 or between .*, got 2 in row 2"),
        (np.zeros((3, 1)), [[0], [-1], [1]], "0, 1 or between .*, got -1 in row 1"),
        (np.zeros((2, 3)), [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]], "sum to 1, but row 1 does not; .*multilabel=True"),
    ],
)
@pytest.mark.parametrize("name", ["accuracy", "precision", "f1", "confusion_matrix"])
def test_targets_that_name_no_class_are_refused(name, outputs, targets, message):
    with pytest.raises(ValueError, match=message):
        getattr(metrics, name)(outputs, targets)


def test_numbers_as_several_labels_need_to_be_called_so():
    outputs, targets = [[1.0, 1.0], [-1.0, 1.0]], np.array([[1.0, 1.0], [0.0, 0.0]])
    assert metrics.accuracy(outputs, targets, multilabel=True) == 0.5
    assert metrics.accuracy(outputs, np.array([[0.9, 0.1], [0.3, 0.7]])) == 1.0


def test_differences_of_scores_do_not_tie_in_float32():
    outputs = np.array([[1e8, 1.0], [1e8, 2.0], [1e8, 3.0]], "f")
    assert metrics.auc(outputs, [0, 1, 1]) == 1.0


@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1", "auc", "top_k_accuracy", "mae", "mse", "rmse", "r2"])
@pytest.mark.parametrize("columns", [1, 2])
def test_outputs_that_are_nan_give_nan_unless_their_row_has_no_weight(name, columns, rng):
    outputs, targets, weight = rng.normal(size=(8, columns)), np.tile([0, 1], 4), np.ones(8)
    if name in ("mae", "mse", "rmse", "r2"):
        targets = rng.normal(size=(8, columns))
    metric = getattr(metrics, name)
    expected = metric(outputs[1:], targets[1:])
    outputs[0] = np.nan
    assert math.isnan(metric(outputs, targets, weight))
    weight[0] = 0
    assert metric(outputs, targets, weight) == pytest.approx(expected)


def test_a_confusion_matrix_of_nan_is_refused():
    with pytest.raises(ValueError, match=r"outputs must not be NaN.*in row 1"):
        metrics.confusion_matrix([[1.0, 0.0], [np.nan, 0.0]], [0, 1])


@pytest.mark.parametrize("name", ["accuracy", "auc", "confusion_matrix", "mae", "r2"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(name, bad):
    with pytest.raises(ValueError, match=r"sample_weight contains (NaN|infinity) at index 1"):
        getattr(metrics, name)([1.0, -1.0], [1, 0], [1.0, bad])


@pytest.mark.parametrize("targets", [[1e9, 1.0, 1.2, 1.3], [1e9, 1.1, 1.1, 1.1]])
def test_r2_keeps_its_digits_if_the_first_row_is_far_away_and_has_no_weight(targets):
    outputs, weight = [0.0, 1.1, 1.15, 1.35], [0, 1, 1, 1]
    assert metrics.r2(outputs, targets, weight) == pytest.approx(metrics.r2(outputs[1:], targets[1:]), rel=1e-12)


def test_one_score_decides_between_two_classes():
    scores, labels = np.array([-1.0, 2.0, 0.5, -0.5]), np.array([0, 1, 0, 1])
    assert metrics.top_k_accuracy(scores, labels, k=1) == metrics.accuracy(scores, labels) == 0.5
    assert metrics.top_k_accuracy(scores[:, np.newaxis], labels, k=2) == 1.0
    estimates = metrics.get("top_1_accuracy", "regression", "identity")
    estimates.update(np.array([[0.4], [0.6]]), labels[:2], None)
    assert estimates.result() == 1.0


def test_a_number_in_a_name_is_written_in_digits():
    with pytest.raises(ValueError, match="metrics must be one of"):
        metrics.get("top_\u00b2_accuracy", "classification", "softmax")


@pytest.mark.parametrize("value", [None, "0.5", 1j, [0.5], np.zeros(2)])
def test_a_function_that_returns_no_number_is_named(value):
    def score(outputs, targets):
        return value

    metric = metrics.get(score, "regression", "identity")
    metric.update(np.zeros((2, 1)), np.zeros((2, 1)), None)
    with pytest.raises(TypeError, match="the metric 'score' must return one real number, got"):
        metric.result()


def test_decisions_of_losses_with_a_link_are_those_of_their_predictions():
    """A log-rate of 0.1 is a rate above a half; of the outputs of a Gaussian the means alone decide."""
    for name in ("accuracy", "f1", "top_1_accuracy"):
        rate = metrics.get(name, "regression", "exp")
        rate.update(np.array([[0.1], [-2.0]]), np.array([[1.0], [0.0]]), None)
        assert rate.result() == 1.0
        mean = metrics.get(name, "regression", "mean")
        mean.update(np.array([[0.9, 2.0], [0.1, -3.0]]), np.array([[1.0, 1.0], [0.0, 0.0]]), None)
        assert mean.result() == 1.0
    area = metrics.get("auc", "regression", "mean")
    assert not area.streaming
    area.update(np.array([[0.9, 2.0], [0.1, -3.0]]), np.array([[1.0, 1.0], [0.0, 0.0]]), None)
    assert area.result() == 1.0
    with pytest.raises(ValueError, match=r"0, 1 or between .*, got 2\.0 in row 1"):
        rate.check_targets(np.array([[1.0], [2.0]]), 1)


@pytest.mark.parametrize("name", ["mae", "mse", "rmse", "r2"])
@pytest.mark.parametrize("output", [np.inf, 1e200])
def test_errors_without_bound_give_infinity(name, output):
    value = getattr(metrics, name)([output, 0.0, 1.0], [0.0, 1.0, 2.0])
    if name == "mae" and output < np.inf:
        assert value == pytest.approx(output / 3)
    else:
        assert value in ((-math.inf,) if name == "r2" else (math.inf,))


@pytest.mark.parametrize("threshold", [math.nan, "0.5", None])
@pytest.mark.parametrize("name", ["accuracy", "f1", "confusion_matrix"])
def test_a_threshold_that_is_no_number_is_refused(name, threshold):
    with pytest.raises((TypeError, ValueError), match="threshold must be"):
        getattr(metrics, name)([1.0, -1.0], [1, 0], threshold=threshold)
