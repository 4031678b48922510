"""Estimators as files, and as scikit-learn's own classes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.6")

import scipy.sparse  # noqa: E402
import sklearn.neural_network as theirs  # noqa: E402
from sklearn.datasets import load_iris, make_multilabel_classification  # noqa: E402

import backprop as bp  # noqa: E402
from backprop import estimators  # noqa: E402
from backprop.estimators import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*`disp` and `iprint` options:DeprecationWarning"),  # of older versions
]

X, Y = load_iris(return_X_y=True)
NUMBERS = np.c_[X[:, 0], Y]
SHORT = {"random_state": 0, "max_iter": 4}

FITTED = {
    "classes": (MLPClassifier(**SHORT), Y),
    "words": (MLPClassifier(**SHORT, scale="robust", early_stopping=True), np.array(["a", "bb", "c"])[Y]),
    "two classes": (MLPClassifier(**SHORT, class_weight={False: 1.0, True: 2.0}, n_iter_no_change=np.inf), Y > 0),
    "labels": (MLPClassifier(**SHORT), np.c_[Y > 0, Y > 1].astype(int)),
    "sparse labels": (MLPClassifier(**SHORT), scipy.sparse.csr_matrix(np.c_[Y > 0, Y > 1].astype(int))),
    "lbfgs": (MLPRegressor(**SHORT, solver="lbfgs"), X[:, 0]),
    "counts": (MLPRegressor("poisson", **SHORT, scale="standard"), NUMBERS),
    "gaussian": (MLPRegressor("gaussian", **SHORT), X[:, 0]),
    "focal": (MLPClassifier(loss="focal", **SHORT), Y),
    "quantiles": (MLPRegressor("quantile", quantile=[0.1, 0.9], **SHORT), X[:, 0]),
    "objects": (
        MLPRegressor(
            **SHORT,
            activation=bp.activations.get("silu"),
            solver=bp.AdamW(lr=0.1),
            learning_rate=bp.schedules.Cosine(0.1, steps=9),
            dtype=np.float32,
            batch_norm=True,
            dropout=0.1,
        ),
        X[:, 0],
    ),
}


def outputs(estimator: Any) -> Any:
    return getattr(estimator, "predict_proba", estimator.predict)(X)


@pytest.mark.parametrize("name", FITTED)
def test_a_file_holds_a_whole_estimator(name: str, tmp_path: Path) -> None:
    estimator, y = FITTED[name]
    estimator = pickle.loads(pickle.dumps(estimator)).fit(X, y)
    path = tmp_path / "model.safetensors"
    estimators.save(estimator, path)
    loaded = estimators.load(path)
    assert type(loaded) is type(estimator)
    np.testing.assert_array_equal(outputs(loaded), outputs(estimator))
    predicted, wanted = loaded.predict(X), estimator.predict(X)
    assert type(predicted) is type(wanted)
    assert predicted.dtype == wanted.dtype
    if name != "objects":
        assert repr(loaded) == repr(estimator)
    for attribute in ("classes_", "loss_curve_", "n_iter_", "t_", "best_validation_score_", "validation_scores_"):
        assert hasattr(loaded, attribute) == hasattr(estimator, attribute)
        np.testing.assert_array_equal(getattr(loaded, attribute, None), getattr(estimator, attribute, None))
    assert np.shares_memory(loaded.coefs_[0], loaded.network_.parameters)
    np.testing.assert_array_equal(bp.load(path).parameters, estimator.network_.parameters)
    if estimator.solver != "lbfgs" and not estimator.early_stopping:
        loaded.partial_fit(X, y)


def test_names_of_features_are_saved(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    estimators.save(MLPClassifier(**SHORT).fit(frame, Y), tmp_path / "model")
    assert list(estimators.load(tmp_path / "model").feature_names_in_) == list("abcd")


@pytest.mark.parametrize("options", [{"categorical_features": [3]}, {"missing": "impute"}, {"scale": "standard"}], ids=str)
def test_a_fit_keeps_no_preprocessing_of_the_fit_before(options: dict[str, Any], tmp_path: Path) -> None:
    estimator, fresh = MLPClassifier(**SHORT, **options), MLPClassifier(**SHORT)
    estimator.fit(X, Y)
    before = estimator.predict_proba(X)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        estimator.fit(X, Y[1:])
    np.testing.assert_array_equal(estimator.predict_proba(X), before)
    estimator.set_params(**dict.fromkeys(options)).fit(X, Y)
    assert vars(estimator).keys() == vars(fresh.fit(X, Y)).keys()
    estimators.save(estimator, tmp_path / "model")
    np.testing.assert_array_equal(estimators.load(tmp_path / "model").predict_proba(X), fresh.predict_proba(X))


def test_what_a_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with pytest.raises(sklearn.exceptions.NotFittedError):
        estimators.save(MLPClassifier(), path)
    for options in ({"random_state": np.random.RandomState(0)}, {"learning_rate": lambda step: 0.1}):
        with pytest.raises(TypeError, match=f"{next(iter(options))} is a"):
            estimators.save(MLPClassifier(**{**SHORT, **options}).fit(X, Y), path)
    assert not path.exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    bp.mlp([2, 2], seed=0).save(path)
    with pytest.raises(bp.ModelFormatError, match="holds no estimator"):
        estimators.load(path)
    content = {"class": "MLPClassifier", "parameters": {}, "fitted": {"__class__": "x"}, "labels": {}}
    for changes in ({}, {"class": "os.system"}, {"parameters": {"x": 1}}, {"parameters": {"alpha": {"code": "1"}}}, {"fitted": 3}):
        bp.mlp([2, 2], seed=0).save(path, metadata={"estimator": json.loads(json.dumps(content | changes))})
        with pytest.raises(bp.ModelFormatError):
            estimators.load(path)
    with pytest.raises(FileNotFoundError):
        estimators.load(tmp_path / "none")


CONVERTED = {
    "classes": ("MLPClassifier", {}, Y),
    "words": ("MLPClassifier", {"activation": "tanh", "hidden_layer_sizes": (5, 4)}, np.array(["a", "bb", "c"])[Y]),
    "two classes": ("MLPClassifier", {"activation": "logistic"}, Y > 0),
    "labels": ("MLPClassifier", {}, make_multilabel_classification(150, random_state=0)[1]),
    "numbers": ("MLPRegressor", {"solver": "lbfgs"}, NUMBERS),
    "counts": ("MLPRegressor", {"loss": "poisson", "solver": "sgd"}, NUMBERS),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONVERTED)
def test_estimators_go_from_scikit_learn_and_back(name: str, dtype: str) -> None:
    kind, options, y = CONVERTED[name]
    if not options.keys() <= getattr(theirs, kind)().get_params().keys():
        pytest.skip("this version has no other losses")
    rows = X.astype(dtype)
    model = getattr(theirs, kind)(**SHORT, **options).fit(rows, y)
    ours = estimators.from_sklearn(model)
    back = estimators.to_sklearn(ours)
    method = "predict_proba" if kind == "MLPClassifier" else "predict"
    for other in (ours, back):
        np.testing.assert_allclose(getattr(other, method)(X), getattr(model, method)(X), rtol=1e-5, atol=1e-6)
        if kind == "MLPClassifier":
            np.testing.assert_array_equal(other.predict(X), model.predict(X))
        assert other.get_params()["hidden_layer_sizes"] == model.hidden_layer_sizes
    ours.coefs_[0][...] = 0
    assert np.abs(model.coefs_[0]).max() > 0
    assert np.abs(back.coefs_[0]).max() > 0
    if model.solver != "lbfgs":
        ours.partial_fit(X, y)
        back.partial_fit(X, y)


@pytest.mark.parametrize("convert", [estimators.from_sklearn, estimators.to_sklearn])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_converted_estimator_and_its_original_are_independent(convert: Any, early_stopping: bool) -> None:
    kind = theirs.MLPClassifier if convert is estimators.from_sklearn else MLPClassifier
    original = kind(max_iter=4, random_state=np.random.RandomState(0), early_stopping=early_stopping).fit(X, Y)
    before = pickle.dumps(original)
    converted = convert(original)
    for name, value in vars(converted).items():
        if isinstance(value, list | np.ndarray) or name in ("random_state", "_label_binarizer"):
            assert value is not getattr(original, name, None), name
    converted.set_params(warm_start=True).fit(X, Y)
    assert len(converted.loss_curve_) == 8
    assert pickle.dumps(original) == before


@pytest.mark.parametrize("other", [theirs.MLPClassifier(max_iter=1), theirs.MLPRegressor(max_iter=1)], ids=repr)
def test_estimators_of_scikit_learn_are_refused_by_name(other: Any, tmp_path: Path) -> None:
    for model in (pickle.loads(pickle.dumps(other)), other.fit(X, Y)):
        for refuse in (estimators.to_sklearn, lambda model: estimators.save(model, tmp_path / "model")):
            with pytest.raises(TypeError, match=r"of backprop\.estimators, got sklearn\.neural_network\.\w+\.MLP"):
                refuse(model)
    assert not (tmp_path / "model").exists()


def test_scaling_becomes_part_of_the_first_layer() -> None:
    ours = MLPClassifier(**SHORT, scale="standard").fit(100 * X, Y)
    np.testing.assert_allclose(estimators.to_sklearn(ours).predict_proba(100 * X), ours.predict_proba(100 * X), rtol=1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_batch_normalization_becomes_part_of_the_layer_before_it_and_dropout_nothing(activation: str) -> None:
    options = {**SHORT, "hidden_layer_sizes": (6, 5), "activation": activation}
    ours = MLPClassifier(**options, batch_norm=True, dropout=0.3, scale="robust").fit(X, Y)
    theirs = estimators.to_sklearn(ours)
    np.testing.assert_allclose(theirs.predict_proba(X), ours.predict_proba(X), rtol=1e-9)
    theirs.partial_fit(X, Y)


@pytest.mark.parametrize(
    "options", [{"layer_norm": True}, {"activation": "gelu"}, {"hidden_layer_sizes": (4, 4), "residual": True}]
)
def test_what_scikit_learn_has_not_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="scikit-learn has no such hidden layers"):
        estimators.to_sklearn(MLPClassifier(**{**SHORT, **options}).fit(X, Y))
    with pytest.raises(TypeError, match="must be an MLPClassifier or MLPRegressor of scikit-learn"):
        estimators.from_sklearn(MLPClassifier())
