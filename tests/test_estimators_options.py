"""What the estimators have beside scikit-learn's parameters."""

from __future__ import annotations

import copy
import datetime
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.6")

import scipy.sparse  # noqa: E402
import sklearn.neural_network as theirs  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

import backprop as bp  # noqa: E402
from backprop import estimators  # noqa: E402
from backprop.estimators import MLPClassifier, MLPRegressor  # noqa: E402
from backprop.estimators._threads import thread_limit  # noqa: E402
from backprop.optimizers import NAMES  # noqa: E402

try:
    import pandas
except ImportError:
    pandas = None

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*`disp` and `iprint` options:DeprecationWarning"),  # of older versions
]

IRIS = load_iris(return_X_y=True)
X_D, Y_D = load_diabetes(return_X_y=True)
DIABETES = X_D, (Y_D - Y_D.mean()) / Y_D.std()
QUICK = {"hidden_layer_sizes": (16,), "random_state": 0, "max_iter": 30, "scale": "standard", "learning_rate_init": 0.02}


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "gelu"},
        {"activation": bp.activations.get("leaky_relu")},
        {"solver": "adamw"},
        {"solver": bp.NAdam(lr=0.02)},
        {"learning_rate": bp.schedules.Cosine(0.05, steps=30)},
        {"learning_rate": lambda step: 0.05 / (1 + step)},
        {"dropout": 0.2},
        {"batch_norm": True},
        {"batch_norm": True, "batch_size": 149},
        {"layer_norm": True},
        {"residual": True, "hidden_layer_sizes": (16, 16)},
        {"clip_norm": 0.5},
        {"average": 0.9},
        {"average": 0.9, "early_stopping": True},
        {"dtype": "float32"},
        {"dtype": np.float64},
        {"n_jobs": 1},
        {"n_jobs": -1},
    ],
    ids=lambda options: ", ".join(f"{key}={getattr(value, '__name__', value)}" for key, value in options.items()),
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_an_option_trains_and_is_reproducible(kind: Any, options: dict[str, Any]) -> None:
    X, y = IRIS if kind is MLPClassifier else DIABETES
    threads = bp.backend().threads
    first, again = (kind(**{**QUICK, **options}).fit(X, y) for _ in range(2))
    plain = kind(**QUICK).fit(X, y)
    np.testing.assert_array_equal(first.predict(X), again.predict(X))
    assert first.score(X, y) > (0.7 if kind is MLPClassifier else 0.3)
    if "n_jobs" not in options and options != {"dtype": np.float64}:
        assert np.abs(first.coefs_[0] - plain.coefs_[0]).max() > 0
    assert bp.backend().threads == threads


@pytest.mark.skipif(bp.backend().name != "cython", reason="NumPy's backend has no threads")
def test_fits_on_several_threads_leave_the_number_of_threads_as_it_was() -> None:
    before = bp.backend().threads
    bp.set_num_threads(2)
    try:
        if bp.backend().threads < 2:
            pytest.skip("an OpenMP runtime that is loaded allows one thread")
        first, second = thread_limit(1), thread_limit(1)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert bp.backend().threads == 1
        second.__exit__(None, None, None)
        assert bp.backend().threads == 2
    finally:
        bp.set_num_threads(before)


@pytest.mark.parametrize("solver", NAMES)
def test_every_optimizer_is_a_solver(solver: str) -> None:
    ours = MLPRegressor(solver=solver, hidden_layer_sizes=(4,), max_iter=2, random_state=0).fit(*DIABETES)
    assert ours._optimizer.name == solver
    assert np.isfinite(ours.loss_)


def test_an_optimizer_given_as_an_object_is_copied() -> None:
    optimizer = bp.AdamW(lr=0.01)
    MLPRegressor(solver=optimizer, max_iter=2, random_state=0).fit(*DIABETES)
    assert optimizer.steps == 0


def plateau(**options: Any) -> bp.schedules.ReduceOnPlateau:
    return bp.schedules.ReduceOnPlateau(0.1, patience=0, factor=0.5, threshold=0.5, **options)


@pytest.mark.parametrize("place", ["learning_rate", "solver"])
@pytest.mark.parametrize(
    ("curve", "monitor", "options"),
    [
        ("loss_curve_", None, {}),
        ("validation_loss_curve_", None, {"early_stopping": True}),
        ("loss_curve_", "loss", {"early_stopping": True}),
        ("validation_loss_curve_", "val_loss", {"early_stopping": True}),
    ],
)
def test_a_schedule_that_follows_results_observes_the_loss_of_each_epoch(
    curve: str, monitor: str | None, options: dict[str, Any], place: str
) -> None:
    schedule = plateau(monitor=monitor)
    options |= {"learning_rate": schedule} if place == "learning_rate" else {"solver": bp.SGD(lr=schedule)}
    ours = MLPClassifier((5,), random_state=0, max_iter=6, **options).fit(*IRIS)
    expected = plateau(monitor=monitor)
    for loss in getattr(ours, curve):
        expected.observe(loss)
    assert ours._optimizer.learning_rate == expected.current < 0.1
    assert ours._optimizer.lr.best == expected.best
    assert schedule.current == 0.1


def test_a_schedule_that_follows_results_counts_every_partial_fit() -> None:
    ours = MLPRegressor(hidden_layer_sizes=(5,), random_state=0, learning_rate=plateau())
    for _ in range(5):
        ours.partial_fit(*DIABETES)
    expected = plateau()
    for loss in ours.loss_curve_:
        expected.observe(loss)
    assert ours._optimizer.learning_rate == expected.current < 0.1


def test_a_moving_average_is_what_predictions_are_made_with() -> None:
    X, y = DIABETES
    parameters = {"hidden_layer_sizes": (4,), "random_state": 0, "batch_size": 100, "shuffle": False}
    net = MLPRegressor(**parameters, max_iter=1, learning_rate_init=1e-300).fit(X, y).network_  # still the initial weights
    trainer = bp.Trainer(net, loss="half_mse", optimizer=bp.Adam(1e-3, eps_corrected=False), l2=1e-4)
    average = net.parameters.copy()
    for start_row in range(0, len(X), 100):
        rows = slice(start_row, start_row + 100)
        trainer.step(X[rows], y[rows])
        average = 0.8 * average + 0.2 * net.parameters
    ours = MLPRegressor(**parameters, max_iter=1, average=0.8).fit(X, y)
    np.testing.assert_allclose(ours.network_.parameters, average, rtol=1e-9, atol=1e-12)


# Losses.


@pytest.mark.parametrize(("loss", "options"), [("absolute_error", {}), ("huber", {"delta": 0.5}), ("quantile", {"quantile": 0.5})])
def test_robust_losses_ignore_outliers(loss: str, options: dict[str, Any]) -> None:
    X = np.linspace(-1, 1, 200)[:, None]
    y = np.where(np.arange(200) % 10 == 0, 100.0, X[:, 0])
    ours = MLPRegressor(loss, (), learning_rate_init=0.05, random_state=0, max_iter=300, alpha=0, **options).fit(X, y)
    assert np.abs(ours.predict(X) - X[:, 0]).max() < 0.5


@pytest.mark.parametrize("quantiles", [[0.1, 0.5, 0.9], [0.9, 0.1]])
def test_several_quantiles_hold_their_share_and_never_cross(quantiles: list[float]) -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (600, 1))
    y = X[:, 0] + rng.normal(size=600) * (1 + X[:, 0])
    ours = MLPRegressor("quantile", (16,), quantile=quantiles, learning_rate_init=0.02, random_state=0, max_iter=60).fit(X, y)
    predicted = ours.predict(X)
    shares = (y[:, None] <= predicted).mean(axis=0)
    np.testing.assert_allclose(shares, quantiles, atol=0.08)
    far = ours.predict([[-1e3], [-3.0], [3.0], [1e3]])
    assert (np.diff(np.vstack([predicted, far])[:, np.argsort(quantiles)], axis=1) >= 0).all()
    assert 0 < ours.score(X, y) < 1
    jacobian = ours.predict_jacobian(X[:5])
    difference = (ours.predict(X[:5] + 1e-6) - ours.predict(X[:5] - 1e-6)) / 2e-6
    np.testing.assert_allclose(jacobian[:, :, 0], difference, atol=1e-5)


def test_outputs_that_earlier_versions_trained_as_quantiles_are_read_as_such(tmp_path: Path) -> None:
    X, y = DIABETES
    old = MLPRegressor("quantile", (4,), quantile=[0.9, 0.1], random_state=0, max_iter=3).fit(X, y)
    old.network_.loss = bp.losses.Quantile(q=[0.9, 0.1])
    outputs = old.network_.predict(X)
    assert (outputs[:, 0] < outputs[:, 1]).any()
    estimators.save(old, tmp_path / "old")
    for read in (pickle.loads(pickle.dumps(old)), estimators.load(tmp_path / "old")):
        np.testing.assert_array_equal(read.predict(X), np.sort(outputs, axis=1)[:, ::-1])
        moved = [read.predict(X[:1] + step)[0] for step in (1e-6 * np.eye(10)[2], -1e-6 * np.eye(10)[2])]
        np.testing.assert_allclose(read.predict_jacobian(X[:1])[0, :, 2], (moved[0] - moved[1]) / 2e-6, rtol=1e-4)
        with pytest.raises(ValueError, match="training cannot continue: call fit with warm_start=False"):
            read.partial_fit(X, y)
        assert read.fit(X, y).network_.loss.name == "non_crossing_quantiles"


def test_a_quantile_may_be_asked_for_twice() -> None:
    ours = MLPRegressor("quantile", (4,), quantile=[0.9, 0.1, 0.9], random_state=0, max_iter=3).fit(*DIABETES)
    predicted = ours.predict(DIABETES[0])
    assert ours.n_outputs_ == 2
    np.testing.assert_array_equal(predicted[:, 0], predicted[:, 2])
    assert (predicted[:, 0] > predicted[:, 1]).all()


@pytest.mark.parametrize(
    ("loss", "y", "name"),
    [
        ("focal", IRIS[1], "focal"),
        ("focal", IRIS[1] > 0, "binary_focal"),
        ("gamma", IRIS[1] + 1, "gamma"),
        ("gaussian", IRIS[1], "gaussian"),
        ("quantile", IRIS[1], "non_crossing_quantiles"),
    ],
)
def test_losses_are_those_of_the_library_and_run_in_plans(loss: str, y: Any, name: str) -> None:
    kind = MLPClassifier if loss == "focal" else MLPRegressor
    options = {"quantile": [0.1, 0.9]} if loss == "quantile" else {}
    ours = kind(loss=loss, max_iter=2, random_state=0, **options).fit(IRIS[0], y)
    assert ours.network_.loss.name == name
    assert bp.backend().name != "cython" or ours._trainer._step_plan.has_loss


def test_focal_loss_without_gamma_is_the_log_loss() -> None:
    X, y = IRIS
    for labels in (y, y > 0):
        focal = MLPClassifier(loss="focal", gamma=0.0, random_state=0, max_iter=20).fit(X, labels)
        plain = MLPClassifier(random_state=0, max_iter=20).fit(X, labels)
        np.testing.assert_allclose(focal.loss_curve_, plain.loss_curve_, rtol=1e-9)
        sharper = MLPClassifier(loss="focal", gamma=3.0, random_state=0, max_iter=200).fit(X, labels)
        assert sharper.score(X, labels) > 0.9
        assert sharper.loss_ < focal.loss_
    with pytest.raises(ValueError, match="label_smoothing needs"):
        MLPClassifier(loss="focal", label_smoothing=0.1).fit(X, y)


def test_gamma_regression_is_that_of_the_linear_model() -> None:
    from sklearn.linear_model import GammaRegressor
    from sklearn.metrics import mean_gamma_deviance

    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (300, 2))
    y = rng.gamma(2.0, np.exp(X @ [1.0, -0.5]))
    weight = rng.uniform(0.1, 1, 300)
    model = GammaRegressor(alpha=0, tol=1e-8).fit(X, y, weight)
    ours = MLPRegressor("gamma", (), solver="lbfgs", alpha=0.0, tol=1e-8, random_state=0, max_iter=500).fit(X, y, weight)
    np.testing.assert_allclose(ours.predict(X), model.predict(X), rtol=1e-3)
    assert ours.loss_ == pytest.approx(mean_gamma_deviance(y, ours.predict(X), sample_weight=weight) / 2)
    with pytest.raises(ValueError, match="y > 0"):
        MLPRegressor("gamma").fit(X, y - y.min())


@pytest.mark.parametrize("outputs", [1, 2])
def test_gaussian_regression_knows_how_sure_it_is(outputs: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2000, 1))
    noise = np.where(X > 0, 1.0, 0.2)
    y = X + noise * rng.normal(size=(2000, outputs))
    y = y.ravel() if outputs == 1 else y
    options = {"learning_rate_init": 0.01, "random_state": 0, "max_iter": 60, "alpha": 0.0}
    ours = pickle.loads(pickle.dumps(MLPRegressor("gaussian", (16,), **options).fit(X, y)))
    mean, std = ours.predict(X, return_std=True)
    assert mean.shape == std.shape == y.shape
    np.testing.assert_array_equal(mean, ours.predict(X))
    assert 0.8 < std[X[:, 0] > 0.2].mean() < 1.2
    assert 0.15 < std[X[:, 0] < -0.2].mean() < 0.3
    np.testing.assert_allclose(ours.predict_jacobian(X[:50]).shape, (50, outputs, 1))
    ours.partial_fit(X, y)
    with pytest.raises(ValueError, match="return_std needs loss='gaussian'"):
        MLPRegressor(max_iter=1).fit(X, y).predict(X, return_std=True)


def test_the_penalty_of_partial_fit_is_that_of_now() -> None:
    X, y = DIABETES
    pair = [kind(random_state=0) for kind in (theirs.MLPRegressor, MLPRegressor)]
    for estimator in pair:
        estimator.partial_fit(X, y).set_params(alpha=100.0).partial_fit(X, y)
    np.testing.assert_allclose(pair[1].loss_curve_, pair[0].loss_curve_, rtol=1e-9)


def test_wrong_quantiles_are_refused() -> None:
    X, y = DIABETES
    with pytest.raises(ValueError, match="quantile must be in"):
        MLPRegressor("quantile", quantile=[0.1, 1.5]).fit(X, y)
    with pytest.raises(ValueError, match="several quantiles need one target"):
        MLPRegressor("quantile", quantile=[0.1, 0.5]).fit(X, np.c_[y, y])


def test_weights_of_classes_multiply_those_of_rows() -> None:
    X, y = IRIS
    weight = {0: 1.0, 1: 5.0, 2: 0.5}
    rows = np.array([weight[label] for label in y])
    ours = MLPClassifier(class_weight=weight, random_state=0, max_iter=5).fit(X, y, sample_weight=rows)
    other = MLPClassifier(random_state=0, max_iter=5).fit(X, y, sample_weight=rows**2)
    np.testing.assert_allclose(ours.predict_proba(X), other.predict_proba(X))
    keep = np.r_[0:50, 50:60, 100:150]
    balanced = MLPClassifier(class_weight="balanced", random_state=0, max_iter=5, solver="lbfgs").fit(X[keep], y[keep])
    shares = np.bincount(y[keep])
    other = MLPClassifier(random_state=0, max_iter=5, solver="lbfgs").fit(X[keep], y[keep], len(keep) / (3 * shares[y[keep]]))
    np.testing.assert_allclose(balanced.predict_proba(X), other.predict_proba(X))
    labels = make_multilabel_classification(50, random_state=0)
    with pytest.raises(ValueError, match="class_weight needs one class"):
        MLPClassifier(class_weight="balanced").fit(*labels)


@pytest.mark.parametrize("classes", [2, 3])
def test_label_smoothing_bounds_the_certainty(classes: int) -> None:
    X, y = IRIS
    rows = y < classes
    options = {"random_state": 0, "max_iter": 300, "learning_rate_init": 0.05, "scale": "standard", "tol": 0.0, "alpha": 0.0}
    ours = MLPClassifier(label_smoothing=0.2, **options).fit(X[rows], y[rows])
    assert 0.7 < np.median(ours.predict_proba(X[rows]).max(axis=1)) < 0.95
    assert np.median(MLPClassifier(**options).fit(X[rows], y[rows]).predict_proba(X[rows]).max(axis=1)) > 0.98


# Scaling, derivatives, validation, callbacks.


@pytest.mark.parametrize("scale", ["standard", "robust"])
@pytest.mark.parametrize("sparse", [False, True])
def test_features_are_scaled_inside(scale: str, sparse: bool) -> None:
    X, y = IRIS
    given = scipy.sparse.csr_matrix(1000 * X) if sparse else 1000 * X
    ours = MLPClassifier(scale=scale, random_state=0, max_iter=5).fit(given, y)
    same = MLPClassifier(scale=scale, random_state=0, max_iter=5).fit(given / 1000, y)
    np.testing.assert_allclose(ours.predict_proba(given), same.predict_proba(given / 1000), rtol=1e-9)
    if scale == "standard":
        scaler = StandardScaler(with_mean=not sparse).fit(given)
        other = MLPClassifier(random_state=0, max_iter=5).fit(scaler.transform(given), y)
        np.testing.assert_allclose(ours.predict_proba(given[:1]), other.predict_proba(scaler.transform(given[:1])), rtol=1e-9)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("chosen", ["from_dtype", ["city", "size"], [0, 2]], ids=str)
def test_frames_with_categories_and_gaps_are_taken_as_they_are(library: str, chosen: Any, tmp_path: Any) -> None:
    frames = pytest.importorskip(library)
    rng = np.random.default_rng(0)
    city = rng.choice(["Rome", "Oslo", "Bern"], 300)
    size = rng.choice(["s", "m"], 300)
    number = rng.normal(size=300)
    y = 2.0 * (city == "Rome") - 1.0 * (size == "s") + 0.5 * number
    shown = [None if place % 17 == 0 else float(value) for place, value in enumerate(number)]
    cities = [None if place % 23 == 0 else str(value) for place, value in enumerate(city)]
    frame = frames.DataFrame({"city": cities, "number": shown, "size": size.tolist()})
    options = {"hidden_layer_sizes": (8,), "random_state": 0, "learning_rate_init": 0.05, "scale": "standard", "max_iter": 60}
    ours = MLPRegressor(categorical_features=chosen, missing="impute", **options).fit(frame, y)
    assert ours.score(frame, y) > 0.8
    assert ours.n_features_in_ == 3
    assert list(ours.feature_categories_[0]) == ["Bern", "Oslo", "Rome"]
    unseen = frames.DataFrame({"city": ["Paris"], "number": [0.0], "size": ["m"]})
    assert np.isfinite(ours.predict(unseen)).all()
    estimators.save(ours, tmp_path / "model")
    np.testing.assert_array_equal(estimators.load(tmp_path / "model").predict(frame), ours.predict(frame))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ours)).predict(frame), ours.predict(frame))
    with pytest.raises(ValueError, match="NaN"):
        MLPRegressor(categorical_features=chosen, **options).fit(frame, y)
    with pytest.raises(ValueError, match="categories have no derivatives"):
        ours.predict_jacobian(frame)
    with pytest.raises(ValueError, match="numbers without gaps"):
        estimators.to_sklearn(ours)


GAPS = {"None": None, "NaN": np.nan, "NA": getattr(pandas, "NA", None), "NaT": getattr(pandas, "NaT", None)}


@pytest.mark.skipif(pandas is None, reason="pandas is not installed")
@pytest.mark.parametrize("gap", GAPS)
def test_any_gap_in_text_and_numbers_is_one(gap: str) -> None:
    text, numbers = ["u", "v", None] * 20, [1.0, None, 3.0, 4.0] * 15
    columns = {"a": text, "b": numbers}
    shown = {name: [GAPS[gap] if value is None else value for value in column] for name, column in columns.items()}
    X = pandas.DataFrame(shown, dtype=object)
    ours = MLPClassifier((4,), max_iter=3, random_state=0, categorical_features=["a"], missing="impute").fit(X, [0, 1] * 30)
    assert list(ours.feature_categories_[0]) == ["u", "v"]
    assert list(ours.feature_fill_) == [0, 0, 3]
    plain = pandas.DataFrame({"a": text, "b": np.array(numbers, float)})
    np.testing.assert_array_equal(ours.predict_proba(X), ours.predict_proba(plain))


@pytest.mark.skipif(pandas is None, reason="pandas is not installed")
@pytest.mark.parametrize("dtype", ["string", "string[pyarrow]", "category", "object", "str"])
def test_text_of_every_dtype_of_pandas_may_have_gaps(dtype: str) -> None:
    if dtype == "string[pyarrow]":
        pytest.importorskip("pyarrow")
    text = pandas.Series(["u", "v", None] * 20, dtype=dtype)
    X = pandas.DataFrame({"a": text, "b": pandas.array([1, None, 3] * 20, dtype="Int64")})
    ours = MLPClassifier((4,), max_iter=3, random_state=0, categorical_features="from_dtype", missing="impute")
    assert list(ours.fit(X, [0, 1] * 30).feature_categories_[0]) == ["u", "v"]
    assert np.isfinite(ours.predict_proba(X)).all()


@pytest.mark.parametrize("frame", [False, True])
def test_columns_of_categories_are_chosen_by_integers_of_any_type(frame: bool) -> None:
    X, y = np.round(IRIS[0]), IRIS[1]
    if frame:
        X = pytest.importorskip("pandas").DataFrame(X, columns=list("abcd"))
    mask = np.array([True, False, True, False])
    for chosen in ([0, 2], np.flatnonzero(mask), list(np.flatnonzero(mask)), [np.uint8(2), 0], mask, mask.tolist()):
        ours = MLPClassifier((4,), max_iter=1, categorical_features=chosen).fit(X, y)
        assert list(ours.feature_categories_) == [0, 2]
    for chosen in ([0, 4], [np.int64(-1)], [True, 2]):
        with pytest.raises(ValueError, match="categorical_features"):
            MLPClassifier((4,), max_iter=1, categorical_features=chosen).fit(X, y)


def test_gaps_are_filled_with_the_median_of_the_training_rows() -> None:
    X, y = IRIS
    gaps = X.copy()
    gaps[::7, 1] = np.nan
    filled = np.where(np.isnan(gaps), np.quantile(gaps[~np.isnan(gaps[:, 1]), 1], 0.5, method="inverted_cdf"), gaps)
    ours = MLPClassifier(missing="impute", random_state=0, max_iter=5).fit(gaps, y)
    other = MLPClassifier(random_state=0, max_iter=5).fit(filled, y)
    np.testing.assert_array_equal(ours.predict_proba(gaps), other.predict_proba(filled))
    with pytest.raises(ValueError, match="infinity"):
        ours.predict(np.full((1, 4), np.inf))
    sparse = MLPClassifier(missing="impute", random_state=0, max_iter=5).fit(scipy.sparse.csr_matrix(X), y)
    np.testing.assert_allclose(sparse.feature_fill_, np.quantile(X, 0.5, axis=0, method="inverted_cdf"))
    assert sparse.predict(gaps).shape == (150,)
    with pytest.raises(ValueError, match="NaN"):
        ours.fit(scipy.sparse.csr_matrix(gaps), y)
    with pytest.raises(ValueError, match="names columns that X lacks"):
        MLPClassifier(categorical_features=[7]).fit(X, y)


@pytest.mark.parametrize("scale", [None, "standard"])
@pytest.mark.parametrize(
    ("ours", "y"),
    [
        (MLPClassifier(), IRIS[1]),
        (MLPClassifier(), IRIS[1] > 0),
        (MLPClassifier(), np.c_[IRIS[1] > 0, IRIS[1] > 1].astype(int)),
        (MLPRegressor(), IRIS[0][:, 0]),
        (MLPRegressor("poisson"), IRIS[0][:, :2]),
    ],
    ids=["classes", "two classes", "labels", "number", "counts"],
)
def test_the_jacobian_is_that_of_the_predictions(ours: Any, y: Any, scale: str | None) -> None:
    X = IRIS[0]
    ours.set_params(scale=scale, activation="tanh", random_state=0, max_iter=5).fit(X, y)
    predict = getattr(ours, "predict_proba", ours.predict)
    jacobian = ours.predict_jacobian(X[:4])
    for feature in range(4):
        shift = 1e-6 * np.eye(4)[feature]
        difference = (predict(X[:4] + shift) - predict(X[:4] - shift)).reshape(4, -1) / 2e-6
        np.testing.assert_allclose(jacobian[:, :, feature], difference, atol=1e-7)


def test_validation_rows_that_are_given_decide_when_to_stop() -> None:
    X, y = IRIS
    options = {"random_state": 0, "early_stopping": True, "max_iter": 60, "learning_rate_init": 0.02, "n_iter_no_change": 5}
    ours = MLPClassifier(**options).fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    assert ours.score(X[1::2], y[1::2]) == ours.best_validation_score_ == max(ours.validation_scores_)
    assert len(ours.validation_loss_curve_) == len(ours.validation_scores_) == ours.n_iter_
    loose = MLPClassifier(**{**options, "early_stopping": False}).fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    from sklearn.metrics import log_loss

    np.testing.assert_allclose(loose.validation_loss_curve_[-1], log_loss(y[1::2], loose.predict_proba(X[1::2])), rtol=1e-9)
    assert loose.validation_scores_ is None
    plain = MLPClassifier(**{**options, "early_stopping": False}).fit(X[::2], y[::2])
    np.testing.assert_array_equal(plain.loss_curve_, loose.loss_curve_)
    assert plain.validation_loss_curve_ is None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("ours", "y"),
    [
        (MLPClassifier(), np.full(150, "a")),
        (MLPClassifier(), IRIS[1] > 0),
        (MLPClassifier(label_smoothing=0.5), IRIS[1] > 0),
        (MLPClassifier(), np.array(["a", "b", "c"])[IRIS[1]]),
        (MLPClassifier(), np.c_[IRIS[1] > 0, IRIS[1] > 1].astype(int)),
        (MLPRegressor(), IRIS[0][:, 0]),
        (MLPRegressor("poisson"), IRIS[0][:, :2]),
        (MLPRegressor("quantile", quantile=[0.9, 0.1]), IRIS[0][:, 0]),
    ],
    ids=["one class", "two classes", "smoothed", "three classes", "labels", "numbers", "counts", "quantiles"],
)
def test_the_best_validation_score_is_the_score_of_the_validation_rows(ours: Any, y: Any, weighted: bool) -> None:
    X, weight = IRIS[0], np.arange(150) % 3 if weighted else None
    ours = clone(ours).set_params(early_stopping=True, max_iter=5, random_state=0)
    ours.fit(X, y, X_val=X, y_val=y, sample_weight_val=weight)
    np.testing.assert_allclose(ours.best_validation_score_, ours.score(X, y, weight), rtol=1e-12)


def test_one_class_scores_as_in_scikit_learn() -> None:
    options = {"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0, "early_stopping": True}
    scores = [kind(**options).fit(IRIS[0], ["a"] * 150).validation_scores_ for kind in (MLPClassifier, theirs.MLPClassifier)]
    assert scores[0] == scores[1]


def test_a_progress_bar_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    MLPClassifier(max_iter=3, random_state=0, progress=True).fit(*IRIS)
    assert "epoch 3/3" in capsys.readouterr().err
    MLPClassifier(max_iter=3, random_state=0).fit(*IRIS)
    assert capsys.readouterr().err == ""


def test_callbacks_of_scikit_learn_follow_the_epochs() -> None:
    callback = pytest.importorskip("sklearn.callback")
    X, y = IRIS
    monitor = callback.ScoringMonitor(scoring="accuracy")
    ours = MLPClassifier(max_iter=4, random_state=0).set_callbacks(monitor).fit(X, y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 4
    assert scores[-1] == ours.score(X, y)
    assert ours.coefs_[0].base is not None


def test_a_callback_stops_training() -> None:
    pytest.importorskip("sklearn.callback")

    class Stop:
        def setup(self, estimator: Any, context: Any) -> None: ...
        def teardown(self, estimator: Any, context: Any) -> None: ...
        def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...
        def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
            return context.task_name == "epoch" and estimator.n_iter_ == 2

    assert MLPClassifier(random_state=0).set_callbacks(Stop()).fit(*IRIS).n_iter_ == 2


# What lbfgs does with the options that go by epochs elsewhere.


def test_lbfgs_looks_at_validation_rows_after_every_iteration() -> None:
    X, y = DIABETES
    options = {"hidden_layer_sizes": (8,), "solver": "lbfgs", "alpha": 0.0, "max_iter": 12, "random_state": 0}
    ours = MLPRegressor(**options).fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    plain = MLPRegressor(**options).fit(X[:300], y[:300])
    np.testing.assert_array_equal(ours.coefs_[0], plain.coefs_[0])
    assert len(ours.validation_loss_curve_) == ours.n_iter_ == 12
    assert ours.validation_loss_curve_[-1] == pytest.approx(np.mean((ours.predict(X[300:]) - y[300:]) ** 2) / 2)
    with pytest.raises(ValueError, match="X_val and y_val must be given together"):
        ours.fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="schedule as learning_rate needs a stochastic solver"):
        MLPRegressor(solver="lbfgs", learning_rate=bp.schedules.Cosine(0.1, steps=9)).fit(X, y)


def test_callbacks_follow_and_stop_lbfgs() -> None:
    pytest.importorskip("sklearn.callback")
    seen: list[float] = []

    class Stop:
        def setup(self, estimator: Any, context: Any) -> None: ...
        def teardown(self, estimator: Any, context: Any) -> None: ...
        def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...
        def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
            if context.task_name == "epoch":
                seen.append(estimator.loss_)
            return len(seen) == 5

    ours = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", random_state=0, max_iter=50).set_callbacks(Stop()).fit(*DIABETES)
    plain = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", random_state=0, max_iter=5).fit(*DIABETES)
    assert ours.n_iter_ == plain.n_iter_ == 5
    assert ours.loss_ == plain.loss_ == seen[-1] == min(seen)
    np.testing.assert_array_equal(ours.coefs_[0], plain.coefs_[0])


@pytest.mark.parametrize(
    ("kind", "options", "data", "message"),
    [
        (MLPClassifier, {"class_weight": {0: -1.0}}, IRIS, "class_weight must hold finite weights"),
        (MLPClassifier, {"learning_rate": plateau(monitor="val_loss")}, IRIS, "ReduceOnPlateau must be one of loss, got"),
        (
            MLPClassifier,
            {"solver": bp.SGD(lr=plateau(monitor="accuracy", mode="max")), "early_stopping": True},
            IRIS,
            "monitor of ReduceOnPlateau must be one of loss, val_loss, got 'accuracy'",
        ),
        (MLPClassifier, {"class_weight": {0: np.nan}}, IRIS, "class_weight must hold finite weights"),
        (MLPClassifier, {"class_weight": {0: 0, 1: 0, 2: 0}}, IRIS, "class_weight must leave weight to some row"),
        (MLPClassifier, {"categorical_features": [True, False]}, IRIS, "one entry for each of 4 columns, got 2"),
        (MLPClassifier, {"categorical_features": [0]}, (scipy.sparse.csr_matrix(IRIS[0]), IRIS[1]), "an X that is not sparse"),
        (MLPRegressor, {"loss": "quantile", "quantile": [0.1, "a"]}, DIABETES, "quantile must be a number or several"),
        (MLPRegressor, {}, (DIABETES[0], np.array(["a", "b"])[(DIABETES[1] > 0).astype(int)]), "y must be an array of numbers"),
        (
            MLPRegressor,
            {},
            (DIABETES[0], np.zeros(len(DIABETES[0]), "M8[s]")),
            "of numbers, got dtype datetime64",
        ),
        (
            MLPRegressor,
            {},
            (DIABETES[0], scipy.sparse.csr_matrix(DIABETES[0])),
            "of numbers, got a sparse matrix",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(kind: Any, options: dict[str, Any], data: Any, message: str) -> None:
    ours = kind(max_iter=1, **options)
    with pytest.raises(ValueError, match=message):
        ours.fit(*data)
    assert not hasattr(ours, "coefs_")


def test_a_fit_that_diverges_in_its_first_epoch_is_a_fitted_estimator() -> None:
    X, y = DIABETES
    ours = MLPRegressor(early_stopping=True, random_state=0, max_iter=3)
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="diverged in iteration 1"):
        ours.fit(X, 1e200 * y)
    assert np.isnan(ours.loss_)
    assert np.isfinite(ours.predict(X)).all()


@pytest.mark.parametrize(
    ("loss", "options", "constant"),
    [
        ("absolute_error", {}, 140.0),
        ("huber", {}, 140.0),
        ("quantile", {"quantile": 0.9}, 265.0),
        ("quantile", {"quantile": [0.1, 0.9]}, [60.0, 265.0]),
        ("gamma", {}, 152.1),
        ("gaussian", {}, 152.1),
    ],
)
def test_losses_that_scikit_learn_has_not_begin_near_the_best_constant(loss: str, options: dict[str, Any], constant: Any) -> None:
    ours = MLPRegressor(loss, (), learning_rate_init=1e-9, random_state=0, max_iter=1, **options).fit(X_D, Y_D)
    predicted = ours.predict(X_D)
    np.testing.assert_allclose(predicted, np.broadcast_to(constant, predicted.shape), rtol=0.25)
    if loss == "gaussian":
        _, std = ours.predict(X_D, return_std=True)
        np.testing.assert_allclose(std, Y_D.std(), rtol=0.5)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "gamma", "gaussian"])
def test_targets_need_no_scaling(loss: str) -> None:
    ours = MLPRegressor(loss, (16,), scale="standard", learning_rate_init=0.02, random_state=0, max_iter=400, tol=0.0)
    assert ours.fit(X_D, Y_D).score(X_D, Y_D) > 0.4


@pytest.mark.parametrize(
    ("fitted", "changed"),
    [
        ({"scale": "standard"}, {"scale": None}),
        ({}, {"scale": "standard"}),
        ({"missing": "impute"}, {"missing": None}),
        ({}, {"missing": "impute"}),
        ({"categorical_features": [0]}, {"categorical_features": None}),
        ({}, {"categorical_features": [0]}),
        ({"loss": "poisson"}, {"loss": "squared_error"}),
        ({"loss": "gaussian"}, {"loss": "squared_error"}),
        ({}, {"loss": "gaussian"}),
        ({"loss": "quantile", "quantile": [0.9, 0.1]}, {"quantile": [0.1, 0.5, 0.9]}),
        ({"loss": "quantile", "quantile": [0.9, 0.1]}, {"loss": "absolute_error"}),
        ({}, {"loss": "quantile", "quantile": [0.1, 0.9]}),
        ({}, {"activation": "tanh"}),
    ],
)
def test_parameters_set_after_a_fit_leave_its_predictions_as_they_are(
    fitted: dict[str, Any], changed: dict[str, Any], tmp_path: Path
) -> None:
    X = np.random.default_rng(0).integers(0, 3, (40, 3)).astype(float)
    y = np.abs(X[:, 0] - X[:, 1])
    ours = MLPRegressor(hidden_layer_sizes=(4,), random_state=0, max_iter=3, **fitted).fit(X, y)
    rows = X.tolist()  # past the short way that float64 rows take
    wanted, score = ours.predict(rows), ours.score(rows, y)
    names = set(vars(ours))
    ours.set_params(**changed)
    estimators.save(ours, tmp_path / "model")
    for estimator in (ours, pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours), estimators.load(tmp_path / "model")):
        np.testing.assert_array_equal(estimator.predict(rows), wanted)
        np.testing.assert_array_equal(estimator.predict(X), wanted)
        assert estimator.score(rows, y) == score
    assert set(vars(ours)) == names
    if not {"categorical_features"} & (fitted.keys() | changed.keys()):
        assert ours.predict_jacobian(X).shape == (40, wanted.size // 40, 3)
    if changed.keys() == {"missing"} and fitted == {}:
        with pytest.raises(ValueError, match="NaN"):
            ours.predict([[np.nan, 0.0, 0.0]])
    if "activation" in changed:
        np.testing.assert_allclose(estimators.to_sklearn(ours).predict(X), wanted, rtol=1e-9)


@pytest.mark.parametrize("goes_on", ["partial_fit", "warm_start"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_training_that_goes_on_follows_the_activation(solver: str, goes_on: str) -> None:
    if (solver, goes_on) == ("lbfgs", "partial_fit"):
        pytest.skip("lbfgs has no partial_fit")
    X, y = IRIS
    pair = [kind((5,), solver=solver, random_state=0, max_iter=4) for kind in (theirs.MLPClassifier, MLPClassifier)]
    for estimator in pair:
        estimator.fit(X, y).set_params(activation="tanh", warm_start=goes_on == "warm_start")
        estimator.partial_fit(X, y).partial_fit(X, y) if goes_on == "partial_fit" else estimator.fit(X, y)
    np.testing.assert_allclose(pair[1].predict_proba(X), pair[0].predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("changed", [{"loss": "focal"}, {"label_smoothing": 0.3}, {"clip_norm": 0.01}, {"dropout": 0.0}])
def test_partial_fit_follows_parameters(changed: dict[str, Any]) -> None:
    X, y = IRIS
    pair = [MLPClassifier((5,), random_state=0, solver="sgd", momentum=0, dropout=0.5) for _ in range(2)]
    for estimator in pair:
        estimator.partial_fit(X, y, classes=[0, 1, 2])
    pair[1].set_params(**changed)
    for estimator in pair:
        estimator.partial_fit(X, y)
    assert np.abs(pair[0].coefs_[0] - pair[1].coefs_[0]).max() > 1e-5


@pytest.mark.parametrize(
    ("fitted", "changed", "message"),
    [
        ({}, {"dropout": 0.2}, "dropout=0.2 needs a new network, as the fitted one has no such layers"),
        ({}, {"batch_norm": True}, "batch_norm=True needs a new network"),
        ({}, {"layer_norm": True}, "layer_norm=True needs a new network"),
        ({}, {"residual": True}, "residual=True needs a new network"),
        ({"loss": "poisson"}, {"loss": "squared_error"}, r"loss='squared_error' needs .* those of Poisson\(\): call fit with"),
        ({}, {"loss": "gaussian"}, "loss='gaussian' needs a new network"),
    ],
)
def test_what_training_that_goes_on_cannot_follow_is_refused(fitted: dict[str, Any], changed: dict[str, Any], message: str) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = np.abs(X[:, 0])
    ours = MLPRegressor(hidden_layer_sizes=(4, 4), random_state=0, max_iter=3, warm_start=True, **fitted).fit(X, y)
    before = ours.predict(X)
    ours.set_params(**changed)
    for method in (ours.fit, ours.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(X, y)
        np.testing.assert_array_equal(ours.predict(X), before)
    ours.set_params(warm_start=False).fit(X, y)
    ours.partial_fit(X, y)


@pytest.mark.parametrize("zero", ["held out", "trained on"])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_rows_for_early_stopping_without_weight_are_refused_before_training(kind: Any, zero: str) -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 3
    ours = kind(early_stopping=True, random_state=0, hidden_layer_sizes=(3,), max_iter=3)
    ours.fit(X, y)
    kept, held_out = ours._split(40, y, _random_state_after_weights(ours))
    weight = np.ones(40)
    weight[held_out if zero == "held out" else kept] = 0
    before = ours.predict(X)
    with pytest.raises(ValueError, match="at least one non-zero number among the rows that early_stopping holds out"):
        ours.fit(X, y, weight)
    np.testing.assert_array_equal(ours.predict(X), before)


def _random_state_after_weights(estimator: Any) -> np.random.RandomState:
    random_state = np.random.RandomState(0)
    for coef, intercept in zip(estimator.coefs_, estimator.intercepts_, strict=True):
        random_state.uniform(size=coef.size + intercept.size)
    return random_state


@pytest.mark.parametrize(
    "given",
    [
        {"X_val": X_D[:5, :3], "y_val": Y_D[:5]},
        {"X_val": X_D[:5], "y_val": -Y_D[:5]},
        {"X_val": X_D[:5], "y_val": Y_D[:4]},
        {"X_val": X_D[:5], "y_val": np.c_[Y_D, Y_D][:5]},
        {"X_val": X_D[:5], "y_val": Y_D[:5], "sample_weight_val": [1.0]},
    ],
)
def test_errors_about_validation_rows_say_so(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="X_val, y_val or sample_weight_val: "):
        MLPRegressor("poisson").fit(X_D, Y_D, **given)


@pytest.mark.parametrize("value", ["q", ("q",), datetime.date(2020, 1, 1)])
@pytest.mark.parametrize("frame", [True, False])
def test_columns_that_hold_no_numbers_are_named(frame: bool, value: Any) -> None:
    rows = np.array([[1.0, "a"], [2.0, "b"]], object)
    wrong = np.empty((2, 2), object)
    wrong[:] = rows
    wrong[1, 0] = value
    name = "0"
    if frame:
        if pandas is None:
            pytest.skip("needs pandas")
        name = "'size'"
        rows, wrong = (pandas.DataFrame(each, columns=["size", "kind"]) for each in (rows, wrong))
    ours = MLPClassifier((2,), categorical_features=[1], max_iter=1, random_state=0).fit(rows, [0, 1])
    for call in (lambda: ours.predict(wrong), lambda: ours.fit(wrong, [0, 1])):
        with pytest.raises(ValueError, match=rf"column {name} of X must hold numbers, or be .* categorical_features, got .* row 1"):
            call()
