"""The estimators compute what scikit-learn's do, number by number, and keep its conventions."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.6")

import joblib  # noqa: E402
import scipy.sparse  # noqa: E402
import sklearn.neural_network as theirs  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, make_multilabel_classification  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

import backprop as bp  # noqa: E402
from backprop import estimators, kernels  # noqa: E402
from backprop.estimators import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*`disp` and `iprint` options:DeprecationWarning"),  # of older versions
]

X_NAN = np.full((6, 2), np.nan)
WEIGHTED = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 7)  # older ones take no weights


def data(name: str) -> tuple[Any, Any]:
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return X[:600] / 16, y[:600]
    if name == "labels":
        return make_multilabel_classification(150, 8, n_classes=3, random_state=0)
    if name == "words":
        X, y = load_iris(return_X_y=True)
        return X, np.array(["a", "bb", "c"], dtype=object)[y]
    if name == "counts":
        X, y = load_iris(return_X_y=True)
        return X, y * 3.0
    if name == "two counts":
        X, y = data("counts")
        return X, np.c_[y, X[:, 0]]
    return {"breast cancer": load_breast_cancer, "diabetes": load_diabetes}[name](return_X_y=True)


SGD = {"solver": "sgd", "learning_rate_init": 0.1, "tol": 1e-2, "max_iter": 40}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "adam": ("MLPClassifier", "digits", {}),
    "adam's options": ("MLPClassifier", "digits", {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3, "batch_size": 37, "alpha": 1.0}),
    "two layers": ("MLPClassifier", "words", {"hidden_layer_sizes": (20, 10), "activation": "tanh", "batch_size": 16}),
    "no hidden layer": ("MLPClassifier", "words", {"hidden_layer_sizes": ()}),
    "unscaled features": ("MLPClassifier", "breast cancer", {}),
    "unscaled, early stopping": ("MLPClassifier", "breast cancer", {"early_stopping": True}),
    "without order": ("MLPClassifier", "digits", {"shuffle": False}),
    "sgd": ("MLPClassifier", "digits", SGD),
    "momentum": ("MLPClassifier", "digits", {**SGD, "nesterovs_momentum": False}),
    "no momentum": ("MLPClassifier", "digits", {**SGD, "momentum": 0}),
    "all momentum": ("MLPClassifier", "words", {**SGD, "momentum": 1.0, "learning_rate_init": 1e-3}),
    "invscaling": ("MLPClassifier", "digits", {**SGD, "learning_rate": "invscaling"}),
    "adaptive": ("MLPClassifier", "digits", {**SGD, "learning_rate": "adaptive", "n_iter_no_change": 2}),
    "adaptive momentum": ("MLPClassifier", "digits", {**SGD, "learning_rate": "adaptive", "nesterovs_momentum": False}),
    "early stopping": ("MLPClassifier", "digits", {"early_stopping": True, "n_iter_no_change": 3}),
    "several labels": ("MLPClassifier", "labels", {}),
    "several labels, sgd": ("MLPClassifier", "labels", {**SGD, "early_stopping": True}),
    "regression": ("MLPRegressor", "diabetes", {}),
    "logistic": ("MLPRegressor", "diabetes", {"activation": "logistic", "early_stopping": True}),
    "poisson": ("MLPRegressor", "counts", {"loss": "poisson"}),
    "poisson, two outputs": ("MLPRegressor", "two counts", {"loss": "poisson"}),
}


def both(kind: str, **parameters: Any) -> tuple[Any, Any]:
    if "loss" in parameters and not WEIGHTED:
        pytest.skip("this version has no other losses")
    options = {"random_state": 3, "max_iter": 50, **parameters}
    return getattr(theirs, kind)(**options), getattr(estimators, kind)(**options)


def outputs(estimator: Any, X: Any) -> Any:
    return estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)


def assert_same(reference: Any, ours: Any, X: Any) -> None:
    np.testing.assert_allclose(ours.loss_curve_, reference.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(outputs(ours, X), outputs(reference, X), atol=1e-6)
    if hasattr(ours, "classes_"):
        np.testing.assert_array_equal(ours.predict(X), reference.predict(X))
    assert (ours.n_iter_, ours.t_, ours.n_layers_) == (reference.n_iter_, reference.t_, reference.n_layers_)
    assert (ours.n_outputs_, ours.out_activation_) == (reference.n_outputs_, reference.out_activation_)
    for name in ("validation_scores_", "best_validation_score_", "best_loss_"):
        wanted, found = getattr(reference, name), getattr(ours, name)
        assert (found is None) == (wanted is None), name
        if wanted is not None:
            np.testing.assert_allclose(found, wanted, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("weighted", [False, pytest.param(True, marks=pytest.mark.skipif(not WEIGHTED, reason="no weights"))])
@pytest.mark.parametrize("case", CASES)
def test_a_fit_is_that_of_scikit_learn(case: str, weighted: bool) -> None:
    kind, name, parameters = CASES[case]
    X, y = data(name)
    weight = {"sample_weight": np.random.default_rng(0).uniform(0.1, 3, len(X))} if weighted else {}
    reference, ours = both(kind, **parameters)
    assert_same(reference.fit(X, y, **weight), ours.fit(X, y, **weight), X)
    assert kernels.compiled() is None or ours._trainer._step_plan is not None


@pytest.mark.parametrize("case", ["adam", "invscaling", "several labels", "regression"])
def test_a_fit_on_the_numpy_backend_is_the_same(case: str) -> None:
    kind, name, parameters = CASES[case]
    X, y = data(name)
    reference, ours = both(kind, **{**parameters, "max_iter": 5})
    with bp.use_backend("numpy"):
        ours.fit(X, y)
    assert_same(reference.fit(X, y), ours, X)


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "csr_array"])
def test_sparse_features_are_taken_batch_by_batch(form: str) -> None:
    X, y = data("digits")
    reference, ours = both("MLPClassifier", early_stopping=True, max_iter=8)
    ours.fit(getattr(scipy.sparse, form)(X), y)
    assert_same(reference.fit(X, y), ours, X)
    np.testing.assert_array_equal(ours.predict(scipy.sparse.csr_matrix(X)), reference.predict(X))


@pytest.mark.parametrize("parameters", [{}, SGD, {**SGD, "learning_rate": "invscaling"}], ids=["adam", "sgd", "invscaling"])
@pytest.mark.parametrize("seed", [3, None])
def test_partial_fit_goes_on_as_in_scikit_learn(parameters: dict[str, Any], seed: int | None) -> None:
    X, y = data("digits")
    pair = both("MLPClassifier", **{**parameters, "random_state": seed})
    if seed is None:
        for estimator in pair:
            estimator.set_params(random_state=np.random.RandomState(7))
    for start in range(0, 600, 150):
        rows = slice(start, start + 150)
        for estimator in pair:
            estimator.partial_fit(X[rows], y[rows], classes=np.arange(10))
    for estimator in pair:
        estimator.partial_fit(X, y)
    assert_same(*pair, X)


def test_partial_fit_goes_on_after_a_fit_and_after_a_pickle() -> None:
    X, y = data("diabetes")
    reference, ours = both("MLPRegressor", max_iter=5)
    for _ in range(2):
        reference.partial_fit(X, y)
        ours = pickle.loads(pickle.dumps(ours.partial_fit(X, y)))
    assert_same(reference.partial_fit(X, y), ours.partial_fit(X, y), X)
    for estimator in (reference, ours):
        estimator.fit(X, y).partial_fit(X, y)
    assert_same(reference, ours, X)


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}, SGD], ids=["adam", "early stopping", "sgd"])
def test_a_warm_start_is_that_of_scikit_learn(parameters: dict[str, Any]) -> None:
    X, y = data("digits")
    pair = both("MLPClassifier", **{**parameters, "warm_start": True, "max_iter": 6})
    for estimator in pair:
        estimator.fit(X, y).set_params(max_iter=9).fit(X, y)
    assert_same(*pair, X)


@pytest.mark.parametrize("case", [("MLPClassifier", "words"), ("MLPClassifier", "labels"), ("MLPRegressor", "diabetes")])
def test_lbfgs_follows_scikit_learn(case: tuple[str, str]) -> None:
    kind, name = case
    X, y = data(name)
    reference, ours = both(kind, solver="lbfgs", max_iter=8)
    np.testing.assert_allclose(ours.fit(X, y).loss_, reference.fit(X, y).loss_, rtol=1e-7)
    np.testing.assert_allclose(outputs(ours, X), outputs(reference, X), rtol=1e-4, atol=1e-4)
    assert ours.n_iter_ == reference.n_iter_
    assert not hasattr(ours, "loss_curve_")
    assert not hasattr(ours, "partial_fit")


def test_the_loss_of_several_numbers_is_their_sum_and_the_steps_are_those_of_scikit_learn() -> None:
    X, y = data("two counts")
    reference, ours = both("MLPRegressor", alpha=0.0)
    reference.fit(X, y)
    ours.fit(X, y)
    np.testing.assert_allclose(ours.predict(X), reference.predict(X), rtol=1e-9)
    np.testing.assert_allclose(ours.loss_curve_, 2 * np.array(reference.loss_curve_), rtol=1e-9)


def test_float32_stays_float32() -> None:
    X, y = data("digits")
    reference, ours = both("MLPClassifier", max_iter=10)
    X32 = X.astype(np.float32)
    ours.fit(X32, y)
    np.testing.assert_allclose(ours.loss_curve_, reference.fit(X32, y).loss_curve_, rtol=1e-4)
    assert ours.predict_proba(X32).dtype == ours.coefs_[0].dtype == np.float32
    assert ours.predict_proba(X).dtype == np.float64
    np.testing.assert_allclose(ours.predict_proba(X), ours.predict_proba(X32), atol=1e-5)
    assert MLPClassifier(dtype="float32", max_iter=1).fit(X, y).network_.dtype == np.float32


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f2", "?", ">f4", "O"])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_matrix], ids=["dense", "sparse"])
def test_predictions_have_the_dtype_that_scikit_learn_gives_them(form: Any, dtype: str) -> None:
    if form is not np.asarray and dtype in ("f2", "O", ">f4"):
        pytest.skip("SciPy has no such matrices")
    X = np.random.default_rng(0).integers(0, 2, (20, 3))
    pair = both("MLPClassifier", max_iter=2, hidden_layer_sizes=(3,))
    for estimator in pair:
        estimator.fit(X.astype(np.float32), np.arange(20) % 3)
    reference, found = (estimator.predict_proba(form(X.astype(dtype))) for estimator in pair)
    assert found.dtype == reference.dtype
    np.testing.assert_allclose(found, reference, rtol=1e-5)


@pytest.mark.parametrize(
    "y", [np.array(["no", "yes"]), np.array([True, False]), np.array([-1.0, 3.0])], ids=["str", "bool", "float"]
)
@pytest.mark.parametrize("n_classes", [1, 2])
def test_labels_are_returned_as_they_were_given(y: Any, n_classes: int) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    labels = y[(X[:, 0] > 0).astype(int) * (n_classes - 1)]
    reference, ours = both("MLPClassifier")
    reference.fit(X, labels)
    ours.fit(X, labels)
    np.testing.assert_array_equal(ours.predict(X), reference.predict(X))
    assert ours.predict(X).dtype == reference.predict(X).dtype
    np.testing.assert_allclose(ours.predict_log_proba(X), reference.predict_log_proba(X), rtol=1e-9)


def test_sparse_labels_give_sparse_predictions() -> None:
    X, y = data("labels")
    ours = MLPClassifier(random_state=0, max_iter=5).fit(X, scipy.sparse.csr_matrix(y))
    assert scipy.sparse.issparse(ours.predict(X))


# The weights are live, and there once.


def test_changing_weights_changes_predictions_and_training() -> None:
    X, y = data("diabetes")
    reference, ours = both("MLPRegressor", max_iter=3)
    for estimator in (reference, ours):
        estimator.fit(X, y)
        estimator.coefs_[0][...] *= 2
        estimator.coefs_[1] = estimator.coefs_[1] + 1.0
        estimator.intercepts_ = [b + 0.5 for b in estimator.intercepts_]
    np.testing.assert_allclose(ours.predict(X), reference.predict(X), rtol=1e-12)
    assert all(np.shares_memory(coef, ours.network_.parameters) for coef in (*ours.coefs_, *ours.intercepts_))
    ours.partial_fit(X, y)
    np.testing.assert_array_equal(ours.coefs_[0], ours.network_.layers[0].weight)
    ours.network_.parameters = 0.0 * ours.network_.parameters
    assert not ours.predict(X).any()


@pytest.mark.parametrize("sequence", [tuple, lambda arrays: np.array([*arrays, None], object)[:-1]], ids=["tuple", "array"])
def test_weights_may_be_put_there_as_any_sequence(sequence: Any) -> None:
    X, y = data("diabetes")
    ours = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0).fit(X, y)
    wanted = ours.coefs_[1] * 2
    ours.coefs_ = sequence([ours.coefs_[0], wanted])
    ours.intercepts_ = sequence([0 * b for b in ours.intercepts_])
    np.testing.assert_allclose(ours.predict(X), np.maximum(X @ ours.coefs_[0], 0) @ wanted[:, 0])
    ours.partial_fit(X, y)
    assert all(np.shares_memory(coef, ours.network_.parameters) for coef in (*ours.coefs_, *ours.intercepts_))


def test_layers_may_exchange_their_weights() -> None:
    X, y = data("diabetes")
    ours = MLPRegressor(hidden_layer_sizes=(4, 4, 4), max_iter=2, random_state=0).fit(X, y)
    before = [coef.copy() for coef in ours.coefs_], [intercept.copy() for intercept in ours.intercepts_]
    for arrays in (ours.coefs_, ours.intercepts_):
        arrays[1], arrays[2] = arrays[2], arrays[1]
    ours.predict(X)
    for arrays, old in zip((ours.coefs_, ours.intercepts_), before, strict=True):
        np.testing.assert_array_equal(arrays[1], old[2])
        np.testing.assert_array_equal(arrays[2], old[1])
    ours.coefs_[0] = np.ones((10, 4))
    ours.intercepts_[3] = np.array(["a"])
    with pytest.raises(ValueError, match="could not convert"):
        ours.predict(X)
    np.testing.assert_array_equal(ours.network_.layers[0].weight, before[0][0])


def test_weights_of_other_shapes_make_another_network() -> None:
    X, y = data("diabetes")
    ours = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0).fit(X, y)
    ours.coefs_ = [np.ones((10, 7)), np.ones((7, 1))]
    ours.intercepts_ = [np.zeros(7), np.zeros(1)]
    np.testing.assert_allclose(ours.predict(X), 7 * np.maximum(X.sum(axis=1), 0))
    ours.coefs_[1] = np.ones((6, 1))
    with pytest.raises(ValueError, match=r"coefs_\[1\] and intercepts_\[1\] must have shapes \(7, 1\)"):
        ours.predict(X)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda estimator: pickle.loads(pickle.dumps(estimator))], ids=["copy", "pickle"])
def test_copies_are_independent_and_hold_the_weights_once(copied: Any, tmp_path: Any) -> None:
    X, y = data("digits")
    ours = MLPClassifier((200,), random_state=0, max_iter=2).fit(X, y)
    assert len(pickle.dumps(ours)) < 1.3 * ours.network_.parameters.nbytes + 10_000
    other = copied(ours)
    before = ours.predict_proba(X)
    np.testing.assert_array_equal(other.predict_proba(X), before)
    other.coefs_[0][...] = 0
    assert np.abs(other.predict_proba(X) - before).max() > 0.01
    np.testing.assert_array_equal(ours.predict_proba(X), before)
    joblib.dump(ours, tmp_path / "model.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "model.joblib", mmap_mode="r").predict_proba(X), before)


def test_an_unpickled_estimator_trains_views_of_its_network() -> None:
    X, y = data("diabetes")
    ours = pickle.loads(pickle.dumps(MLPRegressor(max_iter=2, random_state=0).fit(X, y)))
    before = ours.coefs_[0].copy()
    ours.partial_fit(X, y)
    assert np.abs(ours.coefs_[0] - before).max() > 0


# Together with scikit-learn.


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_grid_search_runs_in_processes_and_threads(backend: str) -> None:
    X, y = data("words")
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MLPClassifier(max_iter=20, random_state=0)),
        {"mlpclassifier__hidden_layer_sizes": [(5,), (10,)]},
        n_jobs=2,
        cv=2,
    )
    with joblib.parallel_backend(backend):
        search.fit(X, y)
    assert search.best_score_ > 0.5


def test_metadata_is_routed() -> None:
    X, y = data("words")
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = MLPClassifier(max_iter=3, random_state=0).set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), estimator)
        pipeline.transform_input = ["X_val"]
        pipeline.fit(X, y, X_val=X, y_val=y)
    scaled = StandardScaler().fit_transform(X)
    direct = clone(estimator).fit(scaled, y, X_val=scaled, y_val=y)
    np.testing.assert_allclose(pipeline[-1].validation_loss_curve_, direct.validation_loss_curve_)
    assert len(direct.validation_loss_curve_) == 3


def test_tags_follow_the_kind_of_estimator() -> None:
    from sklearn.utils import get_tags

    assert get_tags(MLPClassifier()).classifier_tags.multi_label
    assert get_tags(MLPClassifier()).input_tags.sparse
    assert get_tags(MLPRegressor()).target_tags.required


def test_names_of_features_are_kept_and_compared() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = data("diabetes")
    frame = pandas.DataFrame(X, columns=list("abcdefghij"))
    ours = MLPRegressor(max_iter=2, random_state=0).fit(frame, y)
    assert list(ours.feature_names_in_) == list("abcdefghij")
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        ours.predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        ours.predict(frame[list("jihgfedcba")])


def test_it_shows_itself() -> None:
    assert repr(MLPClassifier(alpha=0.1)) == "MLPClassifier(alpha=0.1)"
    assert "MLPClassifier" in MLPClassifier()._repr_html_()


# Wrong input, and what scikit-learn does wrong.


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layer_sizes": (2.5,)}, r"hidden_layer_sizes must hold integers, got \[2.5\]"),
        ({"hidden_layer_sizes": True}, "hidden_layer_sizes must hold integers"),
        ({"hidden_layer_sizes": [[3]]}, "hidden_layer_sizes must hold integers"),
        ({"hidden_layer_sizes": (0,)}, r"hidden_layer_sizes must be > 0, got \[0\]"),
        ({"activation": "ghost"}, "'activation' parameter"),
        ({"solver": "ghost"}, "'solver' parameter"),
        ({"alpha": -1.0}, "'alpha' parameter"),
        ({"alpha": float("nan")}, "'alpha' parameter"),
        ({"learning_rate_init": float("nan")}, "'learning_rate_init' parameter"),
        ({"momentum": 2}, "'momentum' parameter"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"random_state": "ghost"}, "'random_state' parameter"),
        ({"dropout": 1.0}, "'dropout' parameter"),
        ({"n_jobs": 0}, "'n_jobs' parameter"),
        ({"average": 1.0}, "'average' parameter"),
        ({"batch_norm": True, "layer_norm": True}, "batch_norm and layer_norm exclude each other"),
        ({"solver": "lbfgs", "dropout": 0.5}, "need a stochastic solver"),
        ({"residual": True, "hidden_layer_sizes": (3, 4)}, "residual needs two hidden layers of the same width"),
    ],
)
def test_wrong_parameters_are_refused(kind: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**parameters).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_wrong_weights_are_refused(kind: Any) -> None:
    X, y = [[0.0], [1.0], [2.0]], [0, 1, 1]
    with pytest.raises(ValueError, match="Negative values"):
        kind().fit(X, y, sample_weight=[1.0, -1.0, 1.0])
    with pytest.raises(ValueError, match="at least one non-zero number"):
        kind().fit(X, y, sample_weight=[0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="X_val and y_val"):
        kind().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="sample_weight_val needs"):
        kind().fit(X, y, sample_weight_val=y)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": X_NAN}, "NaN"),
        ({"y": ["a"]}, "inconsistent numbers"),
        ({"sample_weight": -np.ones(6)}, "Negative"),
        ({"X_val": np.zeros((2, 5)), "y_val": [0, 1]}, "features"),
        ({"X_val": np.zeros((2, 2)), "y_val": [7, 8]}, "classes not in"),
        ({"y": np.arange(6) % 2 == 1, "sample_weight": np.zeros(6)}, "non-zero"),
    ],
)
def test_a_call_that_is_refused_changes_nothing(changes: dict[str, Any], message: str, first: bool) -> None:
    ours = MLPClassifier(random_state=0, max_iter=3)
    X = np.random.default_rng(0).normal(size=(6, 2 if first else 3))
    if not first:
        ours.fit(X, list("abcabc"))
    before = {name: copy.deepcopy(value) for name, value in vars(ours).items()}
    arguments = {"X": np.zeros((6, 2)), "y": np.arange(6) % 2, **changes}
    with pytest.raises(ValueError, match=message):
        ours.fit(**arguments)
    assert vars(ours).keys() == before.keys()
    if not first:
        assert list(ours.classes_) == list("abc")
        np.testing.assert_array_equal(ours.predict_proba(X), before["network_"].predict_proba(X))


def test_a_partial_fit_that_is_refused_changes_nothing() -> None:
    ours = MLPClassifier(random_state=0)
    for arguments in ({"X": X_NAN, "y": [0, 1] * 3}, {"X": np.zeros((6, 2)), "y": [0, 5] * 3}):
        with pytest.raises(ValueError, match=r"NaN|not in"):
            ours.partial_fit(**arguments, classes=[0, 1])
        assert not hasattr(ours, "classes_")


@pytest.mark.parametrize(("rows", "batch_size"), [(6, 1), (1, "auto"), (1, 4)])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.filterwarnings("ignore:Got `batch_size`")
def test_batches_too_small_for_batch_norm_are_refused_and_change_nothing(method: str, rows: int, batch_size: Any) -> None:
    X = np.random.default_rng(0).normal(size=(6, 2))
    ours = MLPRegressor(hidden_layer_sizes=(3,), random_state=0, max_iter=3, batch_norm=True).fit(X, X[:, 0])
    before, curve = ours.predict(X), list(ours.loss_curve_)
    ours.set_params(batch_size=batch_size)
    with pytest.raises(ValueError, match=rf"at least 2 rows, got batch_size={batch_size} and {rows} rows"):
        getattr(ours, method)(X[:rows], X[:rows, 0])
    np.testing.assert_array_equal(ours.predict(X), before)
    assert ours.loss_curve_ == curve


def test_a_network_with_batch_norm_goes_on_with_a_last_batch_of_one_row_left_out() -> None:
    X = np.random.default_rng(0).normal(size=(7, 2))
    ours = MLPRegressor(hidden_layer_sizes=(3,), random_state=0, max_iter=3, batch_norm=True, batch_size=2).fit(X, X[:, 0])
    ours.set_params(batch_norm=False, warm_start=True).fit(X, X[:, 0])
    assert len(ours.loss_curve_) == 6


def test_training_by_steps_goes_on_after_lbfgs() -> None:
    X, y = data("words")
    ours = MLPClassifier(solver="lbfgs", warm_start=True, random_state=0, max_iter=3).fit(X, y)
    ours.set_params(solver="adam").fit(X, y)
    assert len(ours.loss_curve_) == 3


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="y >= 0"):
        MLPRegressor("poisson").fit([[0.0], [1.0]], [1.0, -1.0])


def test_partial_fit_refuses_what_does_not_fit_the_calls_before() -> None:
    X, y = data("words")
    ours = MLPClassifier(random_state=0)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        ours.partial_fit(X, y)
    ours.partial_fit(X[:60], y[:60], classes=["a", "bb"])
    with pytest.raises(ValueError, match="`y` has classes not in"):
        ours.partial_fit(X, y)
    with pytest.raises(ValueError, match="is not the same as on last call"):
        ours.partial_fit(X, y, classes=["a", "c"])
    with pytest.raises(ValueError, match="features"):
        ours.partial_fit(X[:60, :2], y[:60])
    with pytest.raises(ValueError, match="y has 2 outputs"):
        MLPRegressor().partial_fit(X, X[:, 0]).partial_fit(X, X[:, :2])


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_lbfgs_has_no_partial_fit(kind: Any) -> None:
    assert not hasattr(kind(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError):
        _ = kind(solver="lbfgs").partial_fit


def test_a_batch_without_weight_is_skipped() -> None:
    X, y = data("diabetes")
    weight = np.ones(len(X))
    weight[:50] = 0
    parameters = {"batch_size": 50, "shuffle": False, "max_iter": 3, "random_state": 0}
    ours = MLPRegressor(**parameters).fit(X, y, sample_weight=weight)
    other = MLPRegressor(**parameters).fit(X[50:], y[50:])
    np.testing.assert_allclose(ours.predict(X), other.predict(X), rtol=1e-9)
    np.testing.assert_allclose(ours.loss_curve_, other.loss_curve_, rtol=1e-9)


def test_divergence_is_an_error_that_leaves_finite_weights() -> None:
    X, y = data("diabetes")
    ours = MLPRegressor(solver="sgd", activation="identity", learning_rate_init=1e3, random_state=0)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        ours.fit(X, y)
    assert np.isfinite(ours.network_.parameters).all()


def test_divergence_with_early_stopping_is_a_warning_and_keeps_the_best_weights() -> None:
    X, y = data("diabetes")
    ours = MLPRegressor(solver="sgd", activation="identity", learning_rate_init=1e3, random_state=0, early_stopping=True)
    with pytest.warns(ConvergenceWarning, match="Training diverged in iteration"):
        ours.fit(X, y)
    assert np.isfinite(ours.predict(X)).all()
    assert np.isnan(ours.validation_scores_[-1])


def test_ctrl_c_is_raised_and_the_best_weights_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data("digits")
    ours = MLPClassifier(early_stopping=True, random_state=0, max_iter=30)
    reference = clone(ours).set_params(max_iter=4).fit(X, y)
    scores = iter(range(100))

    def interrupted(*arguments: Any) -> float:
        if next(scores) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    original = ours._score_of
    monkeypatch.setattr(ours, "_score_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ours.fit(X, y)
    np.testing.assert_array_equal(ours.coefs_[0], reference.coefs_[0])


def test_inputs_that_are_not_finite_are_refused() -> None:
    X, y = data("diabetes")
    ours = MLPRegressor(max_iter=1, random_state=0).fit(X, y)
    for wrong in (np.nan, np.inf):
        row = X[:1].copy()
        row[0, 3] = wrong
        with pytest.raises(ValueError, match="contains"):
            ours.predict(row)
    with pytest.raises(ValueError, match="features"):
        ours.predict(X[:, :3])
    with pytest.raises(sklearn.exceptions.NotFittedError):
        MLPRegressor().predict(X)


def test_verbose_prints_the_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = data("digits")
    reference, ours = both("MLPClassifier", early_stopping=True, verbose=True, max_iter=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.fit(X, y)
        wanted = capsys.readouterr().out
        ours.fit(X, y)
    assert capsys.readouterr().out == wanted
