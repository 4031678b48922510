"""Metrics of several labels a row: scikit-learn's definitions, in the functions, in `evaluate` and in training."""

from __future__ import annotations

import numpy as np
import pytest

import backprop as bp
from backprop import metrics

NAMES = ("accuracy", "precision", "recall", "f1", "auc")


@pytest.fixture
def case(rng):
    x, outputs = rng.normal(size=(60, 4)), rng.normal(size=(60, 3))
    return x, outputs, (rng.random((60, 3)) > 0.6).astype(int), rng.random(60) + 0.1


def theirs(name, outputs, targets, weight=None):
    skm = pytest.importorskip("sklearn.metrics")
    if name == "accuracy":
        return skm.accuracy_score(targets, outputs > 0, sample_weight=weight)
    if name == "auc":
        return skm.roc_auc_score(targets, outputs, sample_weight=weight)
    score = getattr(skm, f"{name}_score")
    return score(targets, outputs > 0, average="macro", zero_division=0, sample_weight=weight)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
def test_they_are_those_of_scikit_learn(name, weighted, case):
    _, outputs, targets, weight = case
    weight = weight if weighted else None
    function = getattr(metrics, name)
    assert function(outputs, targets, weight) == pytest.approx(theirs(name, outputs, targets, weight), rel=1e-12)
    assert function(outputs, targets.astype(bool), weight) == function(outputs, targets, weight)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_a_label_that_never_occurs_counts_in_the_mean(name, case):
    _, outputs, targets, _ = case
    outputs, targets = outputs.copy(), targets.copy()
    outputs[:, 1] = -1
    targets[:, 1] = 0
    assert getattr(metrics, name)(outputs, targets) == pytest.approx(theirs(name, outputs, targets), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_evaluate_and_training_agree(dtype, case, backend):
    x, _, y, weight = case
    net = bp.Network([bp.Dense(4, 3)], dtype=dtype, seed=0)
    found = net.evaluate(x, y, loss="binary_cross_entropy", metrics=NAMES)
    for name in NAMES:
        assert found[name] == pytest.approx(getattr(metrics, name)(net.predict(x), y), rel=1e-6)
    for sample_weight in (None, weight):
        expected = metrics.accuracy(net.predict(x), y, sample_weight)
        options = {"loss": "binary_cross_entropy", "optimizer": bp.SGD(lr=1e-12), "metrics": ["accuracy"]}
        history = net.copy().fit(x, y, batch_size=16, sample_weight=sample_weight, **options)
        assert history["accuracy"] == [pytest.approx(expected, rel=1e-6)]


def test_probabilities_of_classes_are_floating_point_targets(case):
    _, outputs, _, _ = case
    onehot = np.eye(3)[outputs.argmax(axis=1)]
    assert metrics.accuracy(outputs, onehot) == 1
    assert metrics.accuracy(outputs, onehot.astype(int), multilabel=False) == 1
    assert metrics.accuracy(outputs, onehot, multilabel=True) == pytest.approx(theirs("accuracy", outputs, onehot.astype(int)))


@pytest.mark.parametrize("name", ["confusion_matrix", "top_k_accuracy"])
def test_what_is_for_classes_refuses_several_labels(name, case):
    _, outputs, targets, _ = case
    with pytest.raises(ValueError, match="one class a row, but targets are 3 labels a row"):
        getattr(metrics, name)(outputs, targets)
