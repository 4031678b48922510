"""Keras: sequential models, and their files, become networks that predict the same."""

from __future__ import annotations

import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backprop as bp

if find_spec("keras") is None or find_spec("torch") is None:
    pytest.skip("keras, with torch to run it, is not installed", allow_module_level=True)

os.environ.setdefault("KERAS_BACKEND", "torch")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def keras() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

        return keras


def model_of(keras: Any, *layers: Any, columns: int = 4, **compiled: Any) -> Any:
    """A model whose weights and statistics are not those of the start."""
    model = keras.Sequential([keras.Input((columns,)), *layers])
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.2, 1.2, array.shape) - 0.6 * (array.ndim > 1) for array in model.get_weights()])
    if compiled:
        model.compile(**compiled)
    return model


def assert_same(net: bp.Network, model: Any, proba: bool = False) -> None:
    x = np.random.default_rng(1).normal(size=(20, net.n_inputs)).astype(np.float32)
    expected = model.predict(x, verbose=0)
    found = net.predict_proba(x) if proba else net.predict(x)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max())


def several(keras: Any) -> list[Any]:
    layers = keras.layers
    inner = keras.Sequential([layers.Dense(6), layers.ELU(alpha=0.5), layers.BatchNormalization(scale=False), layers.Dense(6)])
    return [
        layers.Dense(8, activation="gelu"),
        layers.BatchNormalization(momentum=0.9),
        layers.LeakyReLU(negative_slope=0.2),
        layers.LayerNormalization(center=False),
        layers.Dropout(0.2),
        inner,
        layers.Dense(6, use_bias=False),
        layers.ReLU(max_value=6),
        layers.Activation("tanh"),
        layers.Dense(3, activation="softmax"),
    ]


def test_a_model_and_its_files_predict_the_same(keras: Any, tmp_path: Path) -> None:
    model = model_of(keras, *several(keras), loss="sparse_categorical_crossentropy")
    net = bp.convert.from_keras(model)
    assert net.loss.name == "cross_entropy"
    assert net.layers[1].momentum == pytest.approx(0.1)
    assert_same(net, model, proba=True)
    net.fit(np.zeros((4, 4)), [0, 1, 2, 0], loss=net.loss, verbose=False)
    pytest.importorskip("h5py")
    for suffix in ("keras", "h5"):
        path = tmp_path / f"model.{suffix}"
        model.save(path)
        loaded = bp.convert.from_keras(path)
        assert_same(loaded, model, proba=True)
        assert loaded.loss.name == "cross_entropy"
        assert bp.convert.from_keras(str(path)).loss.name == "cross_entropy"


ACTIVATIONS = [
    "relu",
    "relu6",
    "elu",
    "selu",
    "gelu",
    "silu",
    "mish",
    "sigmoid",
    "tanh",
    "softplus",
    "softsign",
    "hard_tanh",
    "leaky_relu",
    "linear",
]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_by_name(name: str, keras: Any) -> None:
    model = model_of(keras, keras.layers.Dense(5, activation=name), keras.layers.Dense(2))
    assert_same(bp.convert.from_keras(model), model)


def test_the_loss_follows_the_compiled_one_or_the_last_activation(keras: Any) -> None:
    def loss(last: str | None, units: int = 2, **compiled: Any) -> str | None:
        made = bp.convert.from_keras(model_of(keras, keras.layers.Dense(units, activation=last), **compiled)).loss
        return None if made is None else made.name

    assert loss("softmax") == "cross_entropy"
    assert loss("sigmoid", 1) == "binary_cross_entropy"
    assert loss(None) is None
    assert loss(None, loss="mse") == "mse"
    assert loss("sigmoid", loss="mse") == "mse"
    assert loss(None, loss=keras.losses.Huber(delta=0.5)) == "huber"
    assert loss(None, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)) == "cross_entropy"
    assert loss(None, loss="categorical_crossentropy") is None
    assert loss("softmax", loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1)) == "cross_entropy"
    assert loss("sigmoid", 1, loss="binary_crossentropy") == "binary_cross_entropy"
    assert loss(None, loss="poisson") is None


def test_a_loss_with_options_that_have_no_counterpart_is_none(keras: Any, tmp_path: Path) -> None:
    class MSE(keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return (y_true - y_pred) ** 4

    def mse(y_true: Any, y_pred: Any) -> Any:
        return (y_true - y_pred) ** 4

    of_keras = keras.losses
    for last, loss in [
        ("sigmoid", of_keras.BinaryCrossentropy(label_smoothing=0.3)),
        ("sigmoid", of_keras.BinaryCrossentropy(axis=0)),
        ("softmax", of_keras.SparseCategoricalCrossentropy(ignore_class=1)),
        (None, of_keras.MeanSquaredError(reduction="sum")),
        ("sigmoid", ["mse"]),
        ("sigmoid", partial(of_keras.huber, delta=0.5)),
        ("sigmoid", MSE()),
        ("sigmoid", mse),
    ]:
        model = model_of(keras, keras.layers.Dense(2, activation=last), loss=loss)
        assert bp.convert.from_keras(model).loss is None, loss
        if not callable(loss) or type(loss).__module__.startswith("keras"):
            pytest.importorskip("h5py")
            model.save(tmp_path / "model.keras")
            assert bp.convert.from_keras(tmp_path / "model.keras").loss is None, loss


def test_an_option_of_a_loss_that_files_leave_out_is_not_guessed(keras: Any, tmp_path: Path) -> None:
    loss = keras.losses.Huber(delta=0.5)
    model = model_of(keras, keras.layers.Dense(2), loss=loss)
    assert bp.convert.from_keras(model).loss.delta == 0.5
    pytest.importorskip("h5py")
    model.save(tmp_path / "model.keras")
    saved = bp.convert.from_keras(tmp_path / "model.keras").loss
    assert saved is None if "delta" not in loss.get_config() else saved.delta == 0.5


def tanh(x: Any) -> Any:
    """A function that is called as one of Keras."""
    return 2 * x


def test_what_has_no_counterpart_is_named(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    for layer, message in [
        (layers.GaussianNoise(0.1, name="noise"), "noise GaussianNoise has no counterpart"),
        (layers.Dense(2, activation="exponential", name="last"), "last Dense has the activation 'exponential'"),
        (layers.ReLU(max_value=3, name="cut"), "cut ReLU has max_value=3"),
        (layers.ReLU(max_value=0, name="cut"), "cut ReLU has max_value=0"),
        (layers.LayerNormalization(rms_scaling=True, name="norm"), "norm LayerNormalization has rms_scaling=True"),
        (layers.Dropout(0.1, noise_shape=(None, 1), name="drop"), r"drop Dropout has noise_shape=\(None, 1\)"),
        (layers.Dense(2, activation=tanh, name="last"), "last Dense has the activation 'tanh' from outside Keras"),
        (layers.Activation(tanh, name="own"), "own Activation has the activation 'tanh' from outside Keras"),
    ]:
        with pytest.raises(TypeError, match=message):
            bp.convert.from_keras(model_of(keras, layers.Dense(4), layer))
    x = keras.Input((4,))
    functional = keras.Model(x, layers.Dense(2)(x))
    with pytest.raises(TypeError, match="model must be a Sequential, got a Functional"):
        bp.convert.from_keras(functional)
    pytest.importorskip("h5py")
    functional.save(tmp_path / "functional.keras")
    with pytest.raises(TypeError, match="the file holds a Functional"):
        bp.convert.from_keras(tmp_path / "functional.keras")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"model must be a keras.Sequential or a file, got int"):
        bp.convert.from_keras(3)
    pytest.importorskip("h5py")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        bp.convert.from_keras(tmp_path / "nowhere.keras")
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(ValueError, match=r"text.keras is not the file of a Keras model"):
        bp.convert.from_keras(tmp_path / "text.keras")
