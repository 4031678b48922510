"""The record of a training run."""

from __future__ import annotations

import math

import pytest

from backprop.history import History


def test_numbers_by_key_and_epoch():
    history = History()
    history.append(3, {"loss": 1.0, "val_accuracy": 0.5})
    history.append(4, {"loss": 0.5, "val_accuracy": 0.4})
    assert history["loss"] == history.history["loss"] == [1.0, 0.5]
    assert list(history) == ["loss", "val_accuracy"]
    assert dict(history) == history.history
    assert history.epoch == [3, 4]
    assert history.get("val_loss") is None
    assert repr(history) == "History(2 epochs: loss=0.5, val_accuracy=0.4)"
    with pytest.raises(KeyError):
        history["val_loss"]


def test_the_best_epoch():
    history = History()
    for epoch, (loss, accuracy) in enumerate([(math.nan, 0.1), (2.0, 0.7), (1.0, 0.7), (3.0, 0.2)]):
        history.append(epoch, {"loss": loss, "accuracy": accuracy})
    assert history.best("loss") == 2
    assert history.best("accuracy") == 1
    assert history.best("loss", "max") == 3


def test_a_key_that_some_epochs_lack_is_nan_there():
    history = History()
    history.append(0, {"loss": 3.0, "accuracy": 0.5})
    history.append(1, {"loss": 2.0, "mae": 0.4})
    history.append(2, {"loss": 1.0, "mae": 0.6})
    assert history.best("mae") == 1
    assert history.best("accuracy") == 0
    assert {len(values) for values in history.values()} == {3}


def test_the_best_epoch_of_an_unknown_metric_needs_a_mode():
    history = History()
    for epoch, profit in enumerate([1.0, 3.0, 2.0]):
        history.append(epoch, {"profit": profit})
    with pytest.raises(ValueError, match="does not know whether 'profit'"):
        history.best("profit")
    assert history.best("profit", "max") == 1


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_a_key_that_is_nan_in_every_epoch_has_no_best(epochs):
    history = History()
    for epoch in range(epochs):
        history.append(epoch, {"val_auc": math.nan})
    with pytest.raises(ValueError if epochs else KeyError, match="val_auc"):
        history.best("val_auc")


def test_plot_draws_the_learning_curves():
    pytest.importorskip("matplotlib").use("agg")
    from matplotlib import pyplot

    history = History()
    history.append(0, {"loss": 1.0, "val_loss": 1.5})
    history.append(1, {"loss": 0.5, "val_loss": 1.2})
    axes = history.plot()
    assert axes.lines
    pyplot.close("all")
