"""skl2onnx's converters of scikit-learn's multi-layer perceptrons work on the estimators, alone and in pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")
pytest.importorskip("skl2onnx")
runtime = pytest.importorskip("onnxruntime")

from skl2onnx import to_onnx, update_registered_converter  # noqa: E402
from skl2onnx._supported_operators import sklearn_operator_name_map  # noqa: E402
from skl2onnx.common.shape_calculator import (  # noqa: E402
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from skl2onnx.operator_converters.multilayer_perceptron import (  # noqa: E402
    convert_sklearn_mlp_classifier,
    convert_sklearn_mlp_regressor,
)
from sklearn.datasets import load_iris, make_multilabel_classification  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from backprop.estimators import MLPClassifier, MLPRegressor, to_sklearn  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(skl2onnx|onnx).*"),
]

X, Y = load_iris(return_X_y=True)
SHORT: dict[str, Any] = {"hidden_layer_sizes": (8, 5), "max_iter": 30, "random_state": 0}
CLASSIFIER = calculate_linear_classifier_output_shapes, convert_sklearn_mlp_classifier
REGRESSOR = calculate_linear_regressor_output_shapes, convert_sklearn_mlp_regressor


def through_sklearn(convert: Any) -> Any:
    """A converter of what scikit-learn's class would be: it knows scaled features, and refuses layers that it does not know."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        operator.raw_operator = to_sklearn(operator.raw_operator)
        convert(scope, operator, container)

    return converter


@pytest.fixture(params=["their converters", "through to_sklearn"])
def registered(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both estimators known to skl2onnx, and forgotten afterwards."""
    for kind, (shapes, convert) in ((MLPClassifier, CLASSIFIER), (MLPRegressor, REGRESSOR)):
        made = convert if request.param == "their converters" else through_sklearn(convert)
        options = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [True, False]}
        update_registered_converter(
            kind, f"Backprop{kind.__name__}", shapes, made, overwrite=True, options=options if kind is MLPClassifier else None
        )
    yield request.param
    for kind in (MLPClassifier, MLPRegressor):
        del sklearn_operator_name_map[kind]


def run(model: Any, x: np.ndarray, **options: Any) -> list[np.ndarray]:
    proto = to_onnx(model, x[:1], target_opset=17, **options)
    return runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"X": x})


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("labels", [Y, Y > 0, np.array(["a", "b", "c"])[Y]], ids=["three", "two", "strings"])
def test_classifiers(registered: str, labels: np.ndarray, activation: str) -> None:
    x = X.astype(np.float32)
    model = MLPClassifier(activation=activation, **SHORT).fit(x, labels)
    found, probabilities = run(model, x, options={"zipmap": False})
    assert (found == model.predict(x)).all()
    np.testing.assert_allclose(probabilities, model.predict_proba(x), atol=1e-5)


def test_several_labels(registered: str) -> None:
    x, labels = make_multilabel_classification(n_samples=60, n_classes=3, random_state=0)
    x = x.astype(np.float32)
    model = MLPClassifier(**SHORT).fit(x, labels)
    found, probabilities = run(model, x, options={"zipmap": False})
    np.testing.assert_array_equal(found, model.predict(x))
    np.testing.assert_allclose(probabilities, model.predict_proba(x), atol=1e-5)


def test_a_pipeline_with_a_regressor(registered: str) -> None:
    model = make_pipeline(StandardScaler(), MLPRegressor(**SHORT)).fit(X, X[:, 0] * 3)
    (found,) = run(model, X)
    np.testing.assert_allclose(found.ravel(), model.predict(X), rtol=1e-5)


def test_scaled_features_and_other_layers_need_the_way_through_sklearn(registered: str) -> None:
    if registered == "their converters":
        pytest.skip("they read the weights alone")
    scaled = MLPRegressor(scale="standard", layer_norm=True, **SHORT).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="scikit-learn has no such hidden layers"):
        run(scaled, X)
    scaled = MLPRegressor(scale="standard", batch_norm=True, dropout=0.1, **SHORT).fit(X, X[:, 0])
    np.testing.assert_allclose(run(scaled, X)[0].ravel(), scaled.predict(X), rtol=1e-5)
