"""Estimators as files and as scikit-learn's own: all that was fitted, without code and without pickle."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.neural_network
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from .. import activations, losses, optimizers, schedules, serialization
from .._model_file import ModelFormatError, StrPath, complaints_about, expect
from .._types import Array
from ..activations import ActivationFunction
from ..layers import Activation, BatchNorm, Dense, Dropout
from ..network import Network
from ..optimizers import Optimizer
from ..schedules import Function, Schedule
from ._base import PREPROCESSING, BaseMLP
from ._build import build_network, hidden_activations
from ._mlp import MLPClassifier, MLPRegressor

CLASSES: dict[str, Any] = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
FITTED = (
    *("classes_", "n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_", "out_activation_", "n_iter_", "t_", "loss_"),
    *("best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_", "validation_loss_curve_"),
    *(*PREPROCESSING, "_no_improvement_count", "_asked_quantiles"),
)
SHARED = set(FITTED) - {*PREPROCESSING, "validation_loss_curve_", "_asked_quantiles"}  # what scikit-learn's classes have, too


def save(estimator: BaseMLP, path: StrPath) -> None:
    """Write a fitted estimator with its preprocessing to one file, which `load` reads; `backprop.load` reads its network.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        The fitted estimator.
    path : str or path
        The file; by custom it ends in ``.safetensors``.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is no such estimator, or if a parameter is code, or a RandomState, which a file cannot hold.

    Examples
    --------
    >>> import os, tempfile
    >>> from backprop import estimators
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> X, y = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
    >>> regressor = estimators.MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", random_state=0).fit(X, y)
    >>> estimators.save(regressor, path)
    >>> bool((estimators.load(path).predict(X) == regressor.predict(X)).all())
    True
    """
    _sklearn_name(estimator)
    check_is_fitted(estimator)
    net = estimator._current_network()
    content = {
        "class": type(estimator).__name__,
        "parameters": {name: _encoded(value, name) for name, value in estimator.get_params(deep=False).items()},
        "fitted": {name: _encoded(getattr(estimator, name), name) for name in FITTED if name in vars(estimator)},
    }
    if content["class"] not in CLASSES:
        raise TypeError(f"estimator must be an {' or '.join(CLASSES)}, got {content['class']}")
    if isinstance(estimator, MLPClassifier):
        binarizer = estimator._label_binarizer
        content["labels"] = {"y_type": str(binarizer.y_type_), "sparse": bool(binarizer.sparse_input_)}
    net.save(path, metadata={"estimator": content})


def load(path: StrPath) -> Any:
    """Return the estimator that `save` has written.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    MLPClassifier or MLPRegressor

    Raises
    ------
    ModelFormatError
        If the file is damaged, or holds no estimator.
    FileNotFoundError
        If there is no such file.
    """
    net = serialization.load(path)
    metadata = serialization.read_metadata(path)
    if not isinstance(metadata.get("estimator"), dict):
        raise ModelFormatError(f"{path}: it holds no estimator; backprop.load reads its network")
    content = metadata["estimator"]
    with complaints_about(path):
        kind = CLASSES[expect(str, content["class"], "the class of its estimator")]
        given = expect(dict, content["parameters"], "the parameters of its estimator")
        estimator = kind(**{name: _decoded(value) for name, value in given.items()})
        for name, value in expect(dict, content["fitted"], "what was fitted").items():
            if name not in FITTED:
                raise ValueError(f"{name!r} is not an attribute of an estimator")
            setattr(estimator, name, _decoded(value))
        if isinstance(estimator, MLPClassifier):
            labels = expect(dict, content["labels"], "its labels")
            y_type, sparse = expect(str, labels["y_type"], "the type of y"), expect(bool, labels["sparse"], "sparse")
            estimator._label_binarizer = _binarizer(estimator.classes_, y_type, sparse)
        categories = getattr(estimator, "feature_categories_", {})
        if (
            net.n_inputs != estimator.n_features_in_ + sum(len(found) - 1 for found in categories.values())
            or net.n_outputs != estimator.n_outputs_
        ):
            raise ValueError("the network does not fit what was fitted")
        estimator._install(net)
    return estimator


def _binarizer(classes: Any, y_type: str, sparse: bool) -> Any:
    binarizer = LabelBinarizer()
    binarizer.classes_, binarizer.y_type_, binarizer.sparse_input_ = classes, y_type, sparse
    return binarizer


def _encoded(value: Any, name: str) -> Any:
    """Return a parameter or attribute as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_encoded(item, name) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_encoded(key, name), _encoded(item, name)] for key, item in value.items()]}
    if isinstance(value, np.ndarray):
        return {"array": [_encoded(item, name) for item in value.tolist()], "dtype": value.dtype.str}
    if isinstance(value, np.dtype | type):
        return {"dtype": np.dtype(value).name}
    if isinstance(value, Optimizer) and type(value) in map(type, map(optimizers.get, optimizers.NAMES)):
        return {"optimizer": value.config()}
    if isinstance(value, Schedule) and not isinstance(value, Function):
        return {"schedule": value.config()}
    if isinstance(value, ActivationFunction) and value.name in activations.NAMES:
        return {"activation": value.config()}
    raise TypeError(f"{name} is a {type(value).__name__}, which a file cannot hold")


def _decoded(value: Any) -> Any:
    """Return what `_encoded` was given."""
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "float":
        return float(content)
    if kind in ("tuple", "list"):
        return (tuple if kind == "tuple" else list)(map(_decoded, content))
    if kind == "dict":
        return {_decoded(key): _decoded(item) for key, item in content}
    if kind == "array":
        dtype = np.dtype(value["dtype"])
        if dtype.kind not in "biufUSO":
            raise ValueError(f"an array of dtype {dtype} is none of an estimator")
        return np.array([_decoded(item) for item in content], dtype)
    makers: dict[str, Callable[[Any], Any]] = {
        "dtype": np.dtype,
        "optimizer": optimizers.get,
        "schedule": schedules.get,
        "activation": activations.get,
    }
    if kind not in makers:
        raise ValueError(f"{kind!r} is no kind of value")
    return makers[kind](content)


def from_sklearn(model: Any) -> Any:
    """Return a fitted estimator of scikit-learn's as one of this package; it makes the same predictions.

    Parameters
    ----------
    model : sklearn.neural_network.MLPClassifier or MLPRegressor
        The fitted estimator. `partial_fit` continues from its weights, with new moments.

    Returns
    -------
    MLPClassifier or MLPRegressor

    Examples
    --------
    >>> import sklearn.neural_network
    >>> from backprop import estimators
    >>> X, y = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
    >>> theirs = sklearn.neural_network.MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0).fit(X, y)
    >>> bool(abs(estimators.from_sklearn(theirs).predict(X) - theirs.predict(X)).max() < 1e-12)
    True
    """
    found = [kind for name, kind in CLASSES.items() if isinstance(model, getattr(sklearn.neural_network, name))]
    if not found:
        raise TypeError(f"model must be an MLPClassifier or MLPRegressor of scikit-learn, got {type(model).__name__}")
    check_is_fitted(model)
    estimator = found[0](**copy.deepcopy(model.get_params(deep=False)))
    _copy_fitted(model, estimator)
    estimator.validation_loss_curve_ = None
    sizes = [len(model.coefs_[0]), *(coef.shape[1] for coef in model.coefs_)]
    net = build_network(sizes, activation=model.activation, dtype=model.coefs_[0].dtype)
    estimator._install(net, list(zip(model.coefs_, model.intercepts_, strict=True)))
    return estimator


def _weights(net: Network) -> tuple[list[Array], list[Array]]:
    """Return the weights and biases of dense layers, with the batch normalization behind each."""
    coefs: list[Array] = []
    intercepts: list[Array] = []
    for layer in net.layers:
        if isinstance(layer, Dense):
            coefs.append(layer.weight.copy())
            assert layer.bias is not None  # `build_network` makes no layers without
            intercepts.append(layer.bias.copy())
        elif isinstance(layer, BatchNorm):
            factor = layer.weight / np.sqrt(layer.running_var + layer.eps)
            coefs[-1] *= factor
            intercepts[-1] = (intercepts[-1] - layer.running_mean) * factor + layer.bias
    return coefs, intercepts


def _activation(net: Network) -> str | None:
    """Return scikit-learn's name for the activation of the hidden layers, None where it has none."""
    functions = [layer.activation for layer in hidden_activations(net)]
    names = {"sigmoid": "logistic", "identity": "identity", "tanh": "tanh", "relu": "relu"}
    return names.get(functions[0].name) if functions and functions[0].by_kernel else None


def to_sklearn(estimator: BaseMLP) -> Any:
    """Return a fitted estimator as scikit-learn's own class; it makes the same predictions.

    The scaling of features becomes part of the first layer, and batch normalization part of the layer before it.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        The fitted estimator, of hidden layers that scikit-learn has: dense ones with its activations, dropout and batch
        normalization apart; and losses with its links.

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor

    Raises
    ------
    TypeError
        If it is no such estimator.
    ValueError
        If scikit-learn's class cannot do what the network does.
    """
    theirs = getattr(sklearn.neural_network, _sklearn_name(estimator))
    check_is_fitted(estimator)
    net = estimator._current_network()
    plain = all(type(layer) in (Dense, BatchNorm, Activation, Dropout) for layer in net.layers)
    activation = _activation(net)
    if not plain or (activation is None and len(net.layers) > 1):
        raise ValueError("scikit-learn has no such hidden layers: it has dense ones with identity, logistic, tanh or relu")
    if "feature_categories_" in vars(estimator) or "feature_fill_" in vars(estimator):
        raise ValueError("scikit-learn's estimator takes numbers without gaps: categorical_features and missing must be None")
    if isinstance(net.loss, losses.Gaussian | losses.NonCrossingQuantiles) or isinstance(getattr(net.loss, "q", None), tuple):
        raise ValueError("scikit-learn's estimator returns its outputs, and has no variances or several quantiles")
    parameters = {name: value for name, value in estimator.get_params(deep=False).items() if name in theirs().get_params()}
    parameters["activation"] = activation or "relu"
    if "loss" in parameters and estimator.loss != "poisson":
        parameters["loss"] = "poisson" if estimator.out_activation_ == "exp" else "squared_error"
    if not isinstance(estimator.solver, str) or estimator.solver not in ("lbfgs", "sgd", "adam"):
        parameters["solver"] = "adam"
    if not isinstance(estimator.learning_rate, str):
        parameters["learning_rate"] = "constant"
    model = theirs(**copy.deepcopy(parameters))
    _copy_fitted(estimator, model)
    coefs, intercepts = _weights(net)
    if "feature_scale_" in vars(estimator):
        coefs[0] = coefs[0] / estimator.feature_scale_[:, np.newaxis].astype(net.dtype)
        intercepts[0] = intercepts[0] - estimator.feature_center_.astype(net.dtype) @ coefs[0]
    model.coefs_, model.intercepts_ = coefs, intercepts
    model._best_coefs, model._best_intercepts = coefs, intercepts
    return model


def _sklearn_name(estimator: Any) -> str:
    """Return the name of the class in scikit-learn that an estimator of this package stands for."""
    for name, kind in CLASSES.items():
        if isinstance(estimator, kind):
            return name
    given = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    raise TypeError(f"estimator must be an {' or '.join(CLASSES)} of backprop.estimators, got {given}")


def _copy_fitted(source: Any, target: Any) -> None:
    """Copy what both packages keep of a fit, so that training one of the estimators leaves the other as it is."""
    for name in (SHARED | {"_label_binarizer"}) & vars(source).keys():
        setattr(target, name, copy.deepcopy(getattr(source, name)))
