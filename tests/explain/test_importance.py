"""Permutation importance finds the columns a network uses, with any metric, for single columns and for groups of them."""

from __future__ import annotations

import numpy as np
import pytest

import backprop as bp
from backprop.explain import permutation_importance


def linear(*weights: float) -> bp.Network:
    net = bp.Network([bp.Dense(len(weights), 1)], dtype="float64")
    net.parameters = [*weights, 0.0]
    return net


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(300, 3))


def test_the_importance_of_a_linear_network_is_twice_the_variance_of_its_terms(x: np.ndarray) -> None:
    """For a network that is right, the squared error with a column permuted is w^2 E(x_i - x_j)^2 = 2 w^2 var(x)."""
    found = permutation_importance(linear(3.0, 0.0, 1.0), x, x @ [3.0, 0.0, 1.0], loss="mse", repeats=20)
    assert found.names == ("column 0", "column 2", "column 1")
    assert found.score == pytest.approx(0)
    assert found.mean == pytest.approx([18 * x[:, 0].var(), 2 * x[:, 2].var(), 0], rel=0.1, abs=1e-12)
    assert found.std[-1] == 0


@pytest.mark.parametrize("metric", ["r2", "mae", "rmse", "loss", None])
def test_worse_is_positive_whichever_way_the_metric_improves(x: np.ndarray, metric: str | None) -> None:
    found = permutation_importance(linear(1.0, 0.0, 0.0), x, x[:, 0], loss="mse", metric=metric)
    assert found.metric == (metric or "loss")
    assert found.mean[0] > 0.1
    assert found.names[0] == "column 0"


def test_columns_of_one_feature_are_permuted_together(x: np.ndarray) -> None:
    """x0 - x1 stays as it is for equal columns that are permuted in one order."""
    twins = np.column_stack([x[:, 0], x[:, 0], x[:, 2]])
    options = {"loss": "mse", "features": {"twins": [0, 1], "one twin": 0, "rest": np.array([2])}}
    found = permutation_importance(linear(1.0, -1.0, 1.0), twins, x[:, 2], **options)
    by_name = dict(zip(found.names, found.mean, strict=True))
    assert by_name["twins"] == pytest.approx(0, abs=1e-12)
    assert by_name["one twin"] > 1
    assert by_name["rest"] > 1


def test_a_frame_names_the_features(x: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(x, columns=["a", "b", "c"])
    found = permutation_importance(linear(0.0, 2.0, 1.0), frame, 2 * frame["b"] + frame["c"], loss="mse")
    assert found.names == ("b", "c", "a")
    assert str(found).splitlines()[1].split()[0] == "b"


def test_it_uses_the_loss_of_the_last_training_and_changes_nothing(x: np.ndarray) -> None:
    net, y = bp.mlp([3, 8, 2], seed=0), (x[:, 1] > 0).astype(int)
    net.fit(x, y, loss="cross_entropy", optimizer=bp.Adam(lr=0.02), epochs=10, seed=0)
    given, parameters = x.copy(), net.parameters.copy()
    found = permutation_importance(net, x, y, metric="accuracy", features=["a", "b", "c"])
    assert found.names[0] == "b"
    assert found.score == net.evaluate(x, y)["accuracy"]
    assert np.array_equal(x, given)
    assert np.array_equal(net.parameters, parameters)
    again = permutation_importance(net, x, y, metric="accuracy", features=["a", "b", "c"])
    assert np.array_equal(found.mean, again.mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": {"a": 3}}, r"features\['a'\] must be columns of x from 0 to 2"),
        ({"features": {"a": []}}, r"features\['a'\] must be columns"),
        ({"features": {"a": [True, False, True]}}, r"features\['a'\] must be columns"),
        ({"features": {"a": [True, 2]}}, r"features\['a'\] must be columns"),
        ({"features": {"a": np.array([True, False, True])}}, r"features\['a'\] must be columns"),
        ({"features": {"a": True}}, r"features\['a'\] must be columns"),
        ({"features": {"a": [0.0]}}, r"features\['a'\] must be columns"),
        ({"features": {1: [3]}}, r"features\[1\] must be columns"),
        ({"features": {}}, "at least one feature"),
        ({"features": ["a", "b"]}, "3 different names"),
        ({"features": ["a", "b", "b"]}, "3 different names"),
        ({"repeats": 0}, "repeats"),
        ({"x": np.zeros((1, 3)), "y": [0.0]}, "at least two rows"),
        ({"y": np.zeros(7)}, "same number of rows"),
        ({"metric": "profit"}, "metric must be a name that ends with one of 'loss'.*got 'profit'"),
        ({"features": {1: 0, "1": 1}}, "features must have different names, got '1' twice"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"loss": None}, "loss must be given"),
    ],
)
def test_wrong_arguments_are_named(x: np.ndarray, change: dict[str, object], message: str) -> None:
    options = {"x": x, "y": x[:, 0], "loss": "mse"} | change
    with pytest.raises(ValueError, match=message):
        permutation_importance(linear(1.0, 0.0, 0.0), options.pop("x"), options.pop("y"), **options)


def test_text_is_no_list_of_names(x: np.ndarray) -> None:
    with pytest.raises(TypeError, match="features must be a list of names, or a dict of columns, got 'abc'"):
        permutation_importance(linear(1.0, 0.0, 0.0), x, x[:, 0], loss="mse", features="abc")


def test_columns_of_a_frame_that_share_a_name_are_told_apart(x: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(x, columns=["a", "b", "a"])
    found = permutation_importance(linear(1.0, 0.0, 0.0), frame, x[:, 0], loss="mse")
    assert sorted(found.names) == ["a (column 0)", "a (column 2)", "b"]
