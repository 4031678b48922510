"""scikit-learn: fitted perceptrons become networks that predict the same, and networks become estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backprop as bp

neural_network = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


def data(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype(dtype)
    return x, x @ rng.normal(size=(4, 3)).astype(dtype)


CLASSES = {
    "three": lambda y: np.array(["a", "b", "c"])[y.argmax(axis=1)],
    "two": lambda y: np.array(["no", "yes"])[(y[:, 0] > 0).astype(int)],
    "several labels": lambda y: (y > 0).astype(int),
}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", CLASSES)
def test_a_classifier_predicts_the_same_and_comes_back(kind: str, activation: str, dtype: str) -> None:
    x, y = data(dtype)
    labels = CLASSES[kind](y)
    mlp = neural_network.MLPClassifier(hidden_layer_sizes=(8, 5), activation=activation, max_iter=5, random_state=0).fit(x, labels)
    net = bp.convert.from_sklearn(mlp)
    expected = mlp.predict_proba(x)
    found = net.predict_proba(x)
    assert net.dtype == mlp.coefs_[0].dtype == dtype
    np.testing.assert_allclose(
        found, expected[:, 1:] if kind == "two" else expected, rtol=TOLERANCE[dtype], atol=1e-7 if dtype == "float32" else 0
    )
    net.evaluate(x, (labels == "yes").astype(int) if kind == "two" else labels if kind == "several labels" else y.argmax(axis=1))
    back = bp.convert.to_sklearn(net, classes=None if kind == "several labels" else mlp.classes_)
    assert (back.predict(x) == mlp.predict(x)).all()
    np.testing.assert_allclose(back.predict_proba(x), expected, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_regressor_predicts_the_same_and_comes_back(dtype: str, outputs: int) -> None:
    x, y = data(dtype)
    y = y[:, 0] if outputs == 1 else y
    mlp = neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, random_state=0).fit(x, y)
    net = bp.convert.from_sklearn(mlp)
    expected = mlp.predict(x)
    np.testing.assert_allclose(net.predict(x).reshape(expected.shape), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert net.loss.name == "mse"
    net.fit(x, y, loss=net.loss, verbose=False)
    back = bp.convert.to_sklearn(net)
    np.testing.assert_allclose(back.predict(x), net.predict(x).reshape(expected.shape), rtol=1e-5, atol=1e-6)
    assert back.score(x, y) <= 1


def test_a_network_trained_here_is_an_estimator_there() -> None:
    x, y = data("float64")
    labels = y.argmax(axis=1)
    layers = [bp.Dense(4, 8), bp.Activation("tanh"), bp.Dropout(0.1), bp.Dense(8, 6, activation="tanh", bias=False), bp.Dense(6, 3)]
    net = bp.Network(layers, dtype="float64", seed=0)
    net.fit(x, labels, loss="cross_entropy", epochs=3, verbose=False)
    mlp = bp.convert.to_sklearn(net)
    assert repr(mlp) == "MLPClassifier(activation='tanh', hidden_layer_sizes=(8, 6))"
    np.testing.assert_allclose(mlp.predict_proba(x), net.predict_proba(x), rtol=1e-12)
    mlp.partial_fit(x, labels)


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_network_for_counts_predicts_their_means_there(outputs: int) -> None:
    x, y = data("float64")
    net = bp.mlp([4, 8, outputs], dtype="float64", seed=0)
    net.fit(x, np.round(np.exp(y[:, :outputs])), loss="poisson", epochs=3, verbose=False)
    if "loss" not in neural_network.MLPRegressor().get_params():
        with pytest.raises(TypeError, match=r"from version 1\.7 on"):
            bp.convert.to_sklearn(net)
        return
    mlp = bp.convert.to_sklearn(net)
    assert mlp.loss == "poisson"
    np.testing.assert_allclose(mlp.predict(x).reshape(-1, outputs), np.exp(net.predict(x)), rtol=1e-12)
    np.testing.assert_array_equal(bp.convert.from_sklearn(mlp).parameters, net.parameters)
    assert bp.convert.from_sklearn(mlp).loss.name == "poisson"


@pytest.mark.parametrize(
    ("loss", "outputs"), [("cross_entropy", 3), ("binary_cross_entropy", 1), ("binary_cross_entropy", 2), ("mse", 1)]
)
def test_a_conversion_draws_nothing_from_the_global_random_state(loss: str, outputs: int) -> None:
    from sklearn.utils import check_random_state

    net = bp.mlp([4, 8, outputs], seed=0)
    net.loss = loss
    shared = check_random_state(None)
    before = shared.get_state()
    mlp = bp.convert.to_sklearn(net)
    for old, new in zip(before, shared.get_state(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert mlp.random_state is None


def net_with(loss: Any, *layers: bp.Layer) -> bp.Network:
    net = bp.Network(layers, seed=0)
    net.loss = loss
    return net


@pytest.mark.parametrize(
    ("net", "classes", "message"),
    [
        (net_with("mse", bp.Dense(2, 3), bp.BatchNorm(3), bp.Dense(3, 1)), None, r"layers.1 BatchNorm has no counterpart"),
        (net_with("mse", bp.Dense(2, 3, activation="gelu"), bp.Dense(3, 1)), None, r"layers.0 Dense has the activation gelu"),
        (
            net_with("mse", bp.Dense(2, 3, activation="relu"), bp.Dense(3, 3, activation="tanh"), bp.Dense(3, 1)),
            None,
            "one activation for",
        ),
        (net_with("mse", bp.Dense(2, 1, activation="relu")), None, "the network ends in relu"),
        (net_with("mse", bp.Activation("relu"), bp.Dense(2, 1)), None, r"layers.0 Activation does not follow"),
        (net_with("huber", bp.Dense(2, 1)), None, "net.loss is huber"),
        (net_with("mse", bp.Dense(2, 1)), [0, 1], "classes are for classifiers"),
        (net_with("cross_entropy", bp.Dense(2, 3)), [0, 1], "classes must be 3 different labels"),
        (net_with("cross_entropy", bp.Dense(2, 3)), ["b", "a", "c"], "classes must be sorted"),
        (net_with("cross_entropy", bp.Dense(2, 2)), None, "one logit for two classes"),
    ],
)
def test_what_scikit_learn_does_not_have_is_named(net: bp.Network, classes: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        bp.convert.to_sklearn(net, classes=classes)


def test_only_fitted_perceptrons_are_converted() -> None:
    from sklearn.linear_model import LinearRegression

    with pytest.raises(TypeError, match="got LinearRegression"):
        bp.convert.from_sklearn(LinearRegression())
    with pytest.raises(ValueError, match="mlp is not fitted: it has no coefs_"):
        bp.convert.from_sklearn(neural_network.MLPRegressor())
    x, y = data("float64")
    mlp = neural_network.MLPRegressor(hidden_layer_sizes=(5,), max_iter=1).fit(x, y)
    mlp.coefs_[1] = np.ones((4, 3))
    with pytest.raises(ValueError, match=r"coefs_\[1\] takes 4 inputs but coefs_\[0\] gives 5"):
        bp.convert.from_sklearn(mlp)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_estimators_of_this_library_are_refused_as_their_weights_are_not_all_that_they_compute(name: str) -> None:
    estimators = pytest.importorskip("backprop.estimators")
    x, y = data("float64")
    kind = getattr(estimators, name)
    fitted = kind(hidden_layer_sizes=(5,), max_iter=2, batch_norm=True, scale="standard").fit(x, (y[:, 0] > 0).astype(int))
    for ours in (kind(), fitted, type("Mine", (kind,), {"__init__": kind.__init__})()):
        with pytest.raises(TypeError, match=r"got one of backprop.estimators: its network is mlp.network_"):
            bp.convert.from_sklearn(ours)
