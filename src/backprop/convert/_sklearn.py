"""Networks from scikit-learn's multi-layer perceptrons, and back."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from .._overrides import is_built_in
from ..layers import Activation, Dense, Dropout
from ..network import Network
from ._assembly import Assembly

_ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def from_sklearn(mlp: Any) -> Network:
    """Return the network of a fitted ``MLPClassifier`` or ``MLPRegressor`` of scikit-learn's.

    Its outputs are those before the last activation, which the loss applies: for a classifier, `Network.predict_proba` gives what
    ``mlp.predict_proba`` gives (for two classes the second column), in the order of ``mlp.classes_``; for a regressor,
    `Network.predict` what ``mlp.predict`` gives (with the loss "poisson" its logarithm).

    Parameters
    ----------
    mlp : MLPClassifier or MLPRegressor
        The fitted estimator.

    Returns
    -------
    Network
        In the dtype of the estimator's weights, with its `loss`: cross_entropy, binary_cross_entropy, mse or poisson.

    Raises
    ------
    TypeError
        When it is no such estimator, or one of `backprop.estimators`, which has a network already: ``mlp.network_``.
    ValueError
        When it is not fitted, or its weights do not fit each other, naming the place.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor  # doctest: +SKIP
    >>> net = bp.convert.from_sklearn(MLPRegressor().fit(x, y))  # doctest: +SKIP
    """
    if any(kind.__module__.startswith("backprop.estimators") for kind in type(mlp).__mro__):
        raise TypeError(
            "mlp must be an estimator of scikit-learn's, got one of backprop.estimators: its network is mlp.network_, and "
            "estimators.to_sklearn(mlp) gives scikit-learn's"
        )
    options = ("activation", "hidden_layer_sizes", "solver")
    if not all(hasattr(mlp, name) for name in options):
        raise TypeError(f"mlp must be a fitted MLPClassifier or MLPRegressor, got {type(mlp).__name__}")
    lacking = [name for name in ("coefs_", "intercepts_", "out_activation_") if not hasattr(mlp, name)]
    if lacking:
        raise ValueError(f"mlp is not fitted: it has no {lacking[0]}")
    if mlp.activation not in _ACTIVATIONS:
        raise TypeError(f"mlp has activation={mlp.activation!r}; there are {', '.join(_ACTIVATIONS)}")
    losses = {"softmax": "cross_entropy", "logistic": "binary_cross_entropy", "identity": "mse", "exp": "poisson"}
    if mlp.out_activation_ not in losses:
        raise TypeError(f"mlp has out_activation_={mlp.out_activation_!r}; there are {', '.join(losses)}")
    if len(mlp.coefs_) != len(mlp.intercepts_):
        raise ValueError(f"mlp has {len(mlp.coefs_)} coefs_ and {len(mlp.intercepts_)} intercepts_")
    assembly = Assembly()
    for index, (weight, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True)):
        assembly.dense(f"coefs_[{index}]", np.asarray(weight), np.asarray(bias))
        if index < len(mlp.coefs_) - 1:
            assembly.activation(f"coefs_[{index}]", _ACTIVATIONS[mlp.activation])
    return assembly.network(losses[mlp.out_activation_])


def to_sklearn(net: Network, *, classes: npt.ArrayLike | None = None) -> Any:
    """Return a fitted ``MLPClassifier`` or ``MLPRegressor`` with the weights of a network.

    Parameters
    ----------
    net : Network
        Dense layers, of which all but the last have one activation in common: identity, sigmoid, tanh or relu. Dropout is left
        out. `net.loss` decides what becomes of it: cross_entropy and binary_cross_entropy give a classifier, mse and half_mse a
        regressor, as does no loss, and poisson (in scikit-learn 1.7 and later), which predicts the exponential of the outputs.
    classes : array-like, optional
        The labels, in the order of the outputs; 0, 1, ... by default. One logit stands for two labels.

    Returns
    -------
    MLPClassifier or MLPRegressor

    Raises
    ------
    ImportError
        When scikit-learn is not installed.
    TypeError
        For a layer, an activation or a loss that these estimators do not have, naming the place.
    ValueError
        When the number of labels does not fit.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([4, 8, 3], seed=0)
    >>> net.loss = "cross_entropy"
    >>> bp.convert.to_sklearn(net, classes=["a", "b", "c"])  # doctest: +SKIP
    MLPClassifier(hidden_layer_sizes=(8,))
    """
    weights, biases, activation = _dense_parts(net)
    sizes = tuple(weight.shape[1] for weight in weights[:-1])
    loss = None if net.loss is None else net.loss.name
    estimators = import_module("sklearn.neural_network")
    x = np.zeros((2, net.n_inputs), net.dtype)
    # The setup below draws numbers: with a seed of its own it leaves NumPy's global state, which None stands for, as it is.
    options = {"hidden_layer_sizes": sizes, "activation": activation, "random_state": 0}
    if loss in ("cross_entropy", "binary_cross_entropy"):
        mlp: Any = estimators.MLPClassifier(**options)
        _fit_classifier(mlp, net, x, classes)
    elif loss in (None, "mse", "half_mse", "poisson"):
        if classes is not None:
            raise ValueError(f"classes are for classifiers, but net.loss is {net.loss!r}")
        if loss == "poisson":
            if "loss" not in estimators.MLPRegressor().get_params():
                raise TypeError("net.loss is poisson, which scikit-learn's MLPRegressor has from version 1.7 on")
            options["loss"] = "poisson"
        mlp = estimators.MLPRegressor(**options)
        mlp.partial_fit(x, np.zeros((2, net.n_outputs), net.dtype) if net.n_outputs > 1 else np.zeros(2, net.dtype))
    else:
        raise TypeError(f"net.loss is {loss}, which scikit-learn's estimators do not have")
    mlp.random_state = None
    mlp.coefs_, mlp.intercepts_ = weights, biases
    return mlp


def _fit_classifier(mlp: Any, net: Network, x: npt.NDArray[Any], classes: npt.ArrayLike | None) -> None:
    """Let the estimator set up what it keeps of its classes."""
    k = net.n_outputs
    assert net.loss is not None
    if net.loss.name == "binary_cross_entropy" and k > 1:  # several labels a row
        if classes is not None:
            raise ValueError("classes have no place where each output is a label of its own")
        mlp.partial_fit(x, np.zeros((2, k), np.int64), classes=np.arange(k))
        return
    wanted = 2 if k == 1 else k
    if net.loss.name == "cross_entropy" and k <= 2:
        raise TypeError(f"scikit-learn has one logit for two classes, but the network has {k} outputs with cross_entropy")
    labels = np.arange(wanted) if classes is None else np.asarray(classes)
    if labels.shape != (wanted,) or len(np.unique(labels)) != wanted:
        raise ValueError(f"classes must be {wanted} different labels, got {labels.tolist()}")
    if not (np.sort(labels) == labels).all():
        raise ValueError(f"classes must be sorted, as scikit-learn keeps them, got {labels.tolist()}")
    mlp.partial_fit(x, labels[:2], classes=labels)


def _dense_parts(net: Network) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]], str]:
    """Weights and biases, and what scikit-learn calls the activation of the hidden layers."""
    theirs = {ours: name for name, ours in _ACTIVATIONS.items()}
    weights: list[npt.NDArray[Any]] = []
    biases: list[npt.NDArray[Any]] = []
    found: list[str] = []  # the activation after each dense layer
    for index, layer in enumerate(net.layers):
        place = f"layers.{index} {type(layer).__name__}"
        if not is_built_in(layer) or not isinstance(layer, (Dense, Activation, Dropout)):
            raise TypeError(f"{place} has no counterpart in scikit-learn")
        if isinstance(layer, Dropout):
            continue
        function = layer.activation
        if function.name not in theirs:
            raise TypeError(f"{place} has the activation {function.name}; scikit-learn has {', '.join(theirs)}")
        if isinstance(layer, Dense):
            weights.append(layer.weight.copy())
            biases.append(np.zeros(layer.fan_out, net.dtype) if layer.bias is None else layer.bias.copy())
            found.append(function.name)
        elif not found or found[-1] != "identity":
            raise TypeError(f"{place} does not follow a dense layer without an activation")
        else:
            found[-1] = function.name
    if found[-1] != "identity":
        raise TypeError(f"the network ends in {found[-1]}; scikit-learn's estimators end in what the loss says")
    hidden = set(found[:-1])
    if len(hidden) > 1:
        raise TypeError(f"scikit-learn has one activation for all hidden layers, but the network has {', '.join(sorted(hidden))}")
    return weights, biases, theirs[hidden.pop()] if hidden else "relu"
