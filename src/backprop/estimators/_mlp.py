"""`MLPClassifier` and `MLPRegressor`, in place of scikit-learn's."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from .. import activations, losses
from .._links import predictions
from .._types import Array
from ..network import Network
from ._base import BaseMLP, stochastic_only

FLOATS = (np.float64, np.float32)
MADE = {
    "squared_error": losses.HalfMSE,
    "poisson": losses.Poisson,
    "absolute_error": losses.MAE,
    "gamma": losses.Gamma,
    "gaussian": losses.Gaussian,
}


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multi-layer perceptron for classification, in place of `sklearn.neural_network.MLPClassifier`.

    With the same parameters, data and `random_state` it computes what scikit-learn's does, several times faster. Parameters from
    `loss` on are its own.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int
        The width of each hidden layer; ``()`` makes a linear model.
    activation : str or ActivationFunction
        Of the hidden layers: "identity", "logistic", "tanh", "relu", or any activation in `backprop.activations`.
    solver : str or Optimizer
        "adam" and "sgd" as scikit-learn defines them, "lbfgs" (SciPy's), any other name in `backprop.optimizers`, which takes
        `learning_rate_init`, or an optimizer, of which each fit trains with a copy.
    alpha : float
        The L2 penalty: ``alpha / 2`` times the sum of squares of the weights is added to the sum of the losses of a batch, and
        divided with it by the rows, or their weight.
    batch_size : int or "auto"
        Rows of a batch; "auto" is ``min(200, n_samples)``. lbfgs takes all rows.
    learning_rate : {"constant", "invscaling", "adaptive"}, Schedule or callable
        How the learning rate of sgd changes: not; as ``learning_rate_init / (t + 1)^power_t`` after t rows; divided by 5 whenever
        the loss (or score) has not improved for a while. A schedule of `backprop.schedules`, or a function of the number of
        updates, is for any solver but lbfgs. `ReduceOnPlateau` monitors "loss", or where there are validation rows "val_loss".
    learning_rate_init : float
        The learning rate, at first.
    power_t : float
        The exponent of "invscaling".
    max_iter : int
        The largest number of epochs, or of iterations of lbfgs.
    shuffle : bool
        Whether rows come in a new random order each epoch.
    random_state : int, RandomState or None
        Fixes initial weights, the rows that are held out, and the order of rows: the same numbers as scikit-learn draws.
    tol : float
        What counts as an improvement of the loss, or of the validation score.
    verbose : bool
        Whether to print the loss of each epoch.
    warm_start : bool
        Whether `fit` continues from the weights of the last fit, in its layers.
    momentum : float
        Of sgd, in [0, 1].
    nesterovs_momentum : bool
        Whether the momentum of sgd is Nesterov's.
    early_stopping : bool
        Whether to stop when the score on held-out rows no longer improves, and to keep the weights with the best score.
    validation_fraction : float
        The share of rows to hold out for that.
    beta_1, beta_2, epsilon : float
        Of adam: how much of the two running means is kept, and what is added to the root of the second one.
    n_iter_no_change : int
        The number of epochs without improvement after which training stops.
    max_fun : int
        The largest number of evaluations of lbfgs.
    loss : {"log_loss", "focal"}
        What is minimized: the negative log-likelihood; or that times ``(1 - p)^gamma``, with p the probability of the right
        class, so that rows which are right already weigh less.
    gamma : float
        Of the focal loss; 0 makes it the log loss.
    class_weight : dict, "balanced" or None
        Weights of the classes; "balanced" makes the classes weigh the same.
    label_smoothing : float
        In [0, 1): targets are mixed with the uniform distribution over the classes by this share.
    dropout : float
        The share of activations that are dropped in training behind each hidden layer.
    batch_norm, layer_norm : bool
        Whether to normalize between the sum and the activation of each hidden layer.
    residual : bool
        Whether hidden layers as wide as the one before add their input to their output.
    clip_norm : float, optional
        The largest global norm of the gradients of a batch.
    average : float, optional
        A decay in [0, 1): predictions are made with the exponential moving average of the weights over all updates.
    scale : {"standard", "robust"}, optional
        Scale each feature by its mean and standard deviation, or by its median and quartiles; `network_` takes scaled features.
    categorical_features : "from_dtype" or array-like, optional
        Columns of X that hold categories, by name, position or as a mask; "from_dtype" takes the columns of a frame that are
        categories or text. Each category gets a feature of 0 and 1; one that was not seen in training has none.
    missing : {"impute"}, optional
        Fill gaps with the median of the training rows; None refuses NaN.
    dtype : dtype, optional
        Of the network, "float32" or "float64"; None takes that of X.
    n_jobs : int, optional
        The number of threads during `fit`, -1 for all; None leaves `backprop.set_num_threads` as it is. It is one for the process:
        of several fits at once, the smallest one holds.
    progress : bool
        Whether to show a progress bar.

    Attributes
    ----------
    classes_ : array
        The classes, sorted; with several labels their column numbers.
    coefs_, intercepts_ : list of array
        The weights and biases of each layer: views into ``network_.parameters``. Changing them changes the model, and so does
        putting other arrays into the lists.
    network_ : Network
        The fitted network, whose outputs are logits.
    loss_, best_loss_ : float
        The loss of the last epoch, and the lowest one; the latter is None with `early_stopping`. A sum over the outputs.
    loss_curve_ : list of float
        The loss of each epoch.
    validation_loss_curve_ : list of float or None
        The loss on the validation rows, held out or given, after each epoch.
    validation_scores_, best_validation_score_ : list of float, float, or None
        The accuracy on the validation rows, with `early_stopping`.
    n_iter_, t_ : int
        Epochs of the last fit, and rows seen in training.
    n_layers_, n_outputs_, n_features_in_ : int
        Layers with input and output, outputs, features.
    feature_names_in_ : array of str
        The names of the features, if X has any.
    out_activation_ : str
        What turns the network's outputs into predictions.
    feature_categories_ : dict of int to array
        The categories of each column that has them, with `categorical_features`.
    feature_fill_ : array (n_features,)
        What takes the place of NaN, with `missing`.
    feature_center_, feature_scale_ : array (n_features,)
        What is subtracted from features and what they are divided by, with `scale`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from backprop.estimators import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier(random_state=0, learning_rate_init=0.02, tol=0.01, scale="standard").fit(X, y)
    >>> classifier.predict(X[:3]).tolist(), classifier.score(X, y) > 0.95
    ([0, 0, 0], True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"log_loss", "focal"})],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        loss: str = "log_loss",
        gamma: float = 2.0,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        residual: bool = False,
        clip_norm: float | None = None,
        average: float | None = None,
        scale: str | None = None,
        categorical_features: Any = None,
        missing: str | None = None,
        dtype: Any = None,
        n_jobs: int | None = None,
        progress: bool = False,
    ) -> None:
        self._keep(vars())

    # Targets.

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = self._checked(X, y, reset=reset, multi_output=True, dtype=FLOATS)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_classes(y)
        targets = self._targets(y)
        self.n_outputs_ = len(self.classes_) if targets.ndim == 1 else targets.shape[1]
        return X, targets

    def _validate_more(self, X: Any, y: Any) -> tuple[Any, Any]:
        X, y = self._checked(X, y, reset=False, multi_output=True, dtype=FLOATS)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._check_known(unique_labels(y))
        return X, self._targets(y)

    def _check_classes(self, y: Any) -> None:
        """Refuse targets of other classes than before."""
        classes = unique_labels(y)
        if not self.warm_start:
            self._check_known(classes)
        elif set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )

    def _check_known(self, classes: Any) -> None:
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}.")

    def _targets(self, y: Any) -> Any:
        """Return class numbers, or for two classes or several labels a column of 0 and 1 each."""
        if self._label_binarizer.y_type_ == "multiclass" and type_of_target(y) in ("binary", "multiclass"):
            return np.searchsorted(self.classes_, y)
        return self._label_binarizer.transform(y).astype(np.float64)

    def _stratifies(self) -> bool:
        return int(self.n_outputs_) == 1

    def _with_class_weight(self, sample_weight: Any, targets: Any) -> Any:
        if self.class_weight is None:
            return sample_weight
        if targets.ndim == 2 and targets.shape[1] > 1:
            raise ValueError("class_weight needs one class for each row, got a target with several labels")
        numbers = targets if targets.ndim == 1 else targets[:, 0].astype(np.intp)
        y = self.classes_[numbers]
        of_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        if not (np.isfinite(of_class) & (of_class >= 0)).all():
            raise ValueError(f"class_weight must hold finite weights that are not negative, got {self.class_weight}")
        weight = of_class[numbers] if sample_weight is None else of_class[numbers] * sample_weight
        if not weight.any():
            raise ValueError(f"class_weight must leave weight to some row, got {self.class_weight}")
        return weight

    def _softened(self, targets: Any) -> Any:
        return targets if not self.label_smoothing or targets.ndim == 1 else targets + self.label_smoothing * (0.5 - targets)

    # What the network computes.

    def _out_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _make_loss(self) -> losses.Loss:
        if self.loss == "focal":
            focal = losses.Focal if self._out_activation() == "softmax" else losses.BinaryFocal
            return focal(gamma=float(self.gamma))
        if self._out_activation() == "softmax":
            return losses.CrossEntropy(label_smoothing=self.label_smoothing)
        return losses.BinaryCrossEntropy()

    def _score_of(self, outputs: Array, targets: Any, sample_weight: Array | None) -> float:
        if len(self.classes_) == 1:
            return 1.0  # `predict` knows no other class, whatever the output
        right = outputs.argmax(axis=1) == targets if targets.ndim == 1 else ((outputs > 0) == (targets > 0.5)).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    def _link_jacobian(self, outputs: Array, jacobian: Array) -> Array:
        if self.out_activation_ == "softmax":
            p = activations.get("softmax")(outputs)[:, :, np.newaxis]
            softened: Array = p * (jacobian - (p * jacobian).sum(axis=1, keepdims=True))
            return softened
        p = activations.get("sigmoid")(outputs)[:, :, np.newaxis]
        jacobian = p * (1 - p) * jacobian
        return np.concatenate([-jacobian, jacobian], axis=1) if jacobian.shape[1] == 1 else jacobian

    # Public methods.

    def _check_combinations(self, incremental: bool) -> None:
        super()._check_combinations(incremental)
        if self.loss == "focal" and self.label_smoothing:
            raise ValueError("label_smoothing needs loss='log_loss', got loss='focal'")

    @stochastic_only
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """Train for one epoch on these rows, going on from the last call.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            Inputs.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Class labels.
        sample_weight : array-like (n_samples,), optional
            Weights of the rows, not negative.
        classes : array-like, optional
            All classes; needed by the first call.

        Returns
        -------
        self
        """
        with self._unchanged_by_errors():
            if _check_partial_fit_first_call(self, classes):
                self._label_binarizer = LabelBinarizer()
                self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
            train = self._prepare(X, y, sample_weight, True, (None, None, None))
        return self._train(train)

    def predict(self, X: Any) -> Any:
        """Return the predicted class of each row.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            Inputs.

        Returns
        -------
        array (n_samples,), or (n_samples, n_outputs) of 0 and 1 with several labels
        """
        outputs = self._outputs(X)
        if outputs.shape[1] > 1 and self.out_activation_ == "softmax":
            return self.classes_.take(outputs.argmax(axis=1))
        if outputs.shape[1] == 1 and len(self.classes_) == 2:
            return self.classes_.take((outputs.ravel() > 0).view(np.int8))
        return self._label_binarizer.inverse_transform((outputs > 0).astype(np.float64).reshape(len(outputs), -1))

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            Inputs.

        Returns
        -------
        array (n_samples, n_classes)
        """
        outputs = self._outputs(X)
        proba = activations.get("softmax" if self.out_activation_ == "softmax" else "sigmoid")(outputs)
        if proba.shape[1] > 1:
            return proba
        return np.hstack([1 - proba, proba])

    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            Inputs.

        Returns
        -------
        array (n_samples, n_classes)
        """
        proba = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(proba, out=proba)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multi-layer perceptron for regression, in place of `sklearn.neural_network.MLPRegressor`.

    With the same parameters, data and `random_state` it computes what scikit-learn's does, several times faster. Losses beside
    "squared_error" and "poisson", and parameters from `quantile` on, are its own.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber", "quantile", "gamma", "gaussian"}
        What is minimized, as a sum over outputs: half the squared error; half the Poisson deviance of the exponential of the
        outputs; the absolute error; Huber's loss; the pinball loss; half the gamma deviance of the exponential of the outputs, for
        positive y; the negative log-likelihood of a normal distribution, of which the network has mean and variance.
        Networks for losses other than "squared_error" and "poisson" begin near the best constant.
    hidden_layer_sizes : int or array-like of int
        The width of each hidden layer; ``()`` makes a linear model.
    activation : str or ActivationFunction
        Of the hidden layers: "identity", "logistic", "tanh", "relu", or any activation in `backprop.activations`.
    solver : str or Optimizer
        "adam" and "sgd" as scikit-learn defines them, "lbfgs" (SciPy's), any other name in `backprop.optimizers`, which takes
        `learning_rate_init`, or an optimizer, of which each fit trains with a copy.
    alpha : float
        The L2 penalty: ``alpha / 2`` times the sum of squares of the weights is added to the sum of the losses of a batch, and
        divided with it by the rows, or their weight.
    batch_size : int or "auto"
        Rows of a batch; "auto" is ``min(200, n_samples)``. lbfgs takes all rows.
    learning_rate : {"constant", "invscaling", "adaptive"}, Schedule or callable
        How the learning rate of sgd changes: not; as ``learning_rate_init / (t + 1)^power_t`` after t rows; divided by 5 whenever
        the loss (or score) has not improved for a while. A schedule of `backprop.schedules`, or a function of the number of
        updates, is for any solver but lbfgs. `ReduceOnPlateau` monitors "loss", or where there are validation rows "val_loss".
    learning_rate_init : float
        The learning rate, at first.
    power_t : float
        The exponent of "invscaling".
    max_iter : int
        The largest number of epochs, or of iterations of lbfgs.
    shuffle : bool
        Whether rows come in a new random order each epoch.
    random_state : int, RandomState or None
        Fixes initial weights, the rows that are held out, and the order of rows: the same numbers as scikit-learn draws.
    tol : float
        What counts as an improvement of the loss, or of the validation score.
    verbose : bool
        Whether to print the loss of each epoch.
    warm_start : bool
        Whether `fit` continues from the weights of the last fit, in its layers.
    momentum : float
        Of sgd, in [0, 1].
    nesterovs_momentum : bool
        Whether the momentum of sgd is Nesterov's.
    early_stopping : bool
        Whether to stop when the score on held-out rows no longer improves, and to keep the weights with the best score.
    validation_fraction : float
        The share of rows to hold out for that.
    beta_1, beta_2, epsilon : float
        Of adam: how much of the two running means is kept, and what is added to the root of the second one.
    n_iter_no_change : int
        The number of epochs without improvement after which training stops.
    max_fun : int
        The largest number of evaluations of lbfgs.
    quantile : float or array-like of float
        The quantile that ``loss="quantile"`` predicts, in (0, 1); of several, each is a column of the prediction, and they never
        cross: the network has the lowest one and the steps to the others.
    delta : float
        Where Huber's loss becomes linear.
    dropout : float
        The share of activations that are dropped in training behind each hidden layer.
    batch_norm, layer_norm : bool
        Whether to normalize between the sum and the activation of each hidden layer.
    residual : bool
        Whether hidden layers as wide as the one before add their input to their output.
    clip_norm : float, optional
        The largest global norm of the gradients of a batch.
    average : float, optional
        A decay in [0, 1): predictions are made with the exponential moving average of the weights over all updates.
    scale : {"standard", "robust"}, optional
        Scale each feature by its mean and standard deviation, or by its median and quartiles; `network_` takes scaled features.
    categorical_features : "from_dtype" or array-like, optional
        Columns of X that hold categories, by name, position or as a mask; "from_dtype" takes the columns of a frame that are
        categories or text. Each category gets a feature of 0 and 1; one that was not seen in training has none.
    missing : {"impute"}, optional
        Fill gaps with the median of the training rows; None refuses NaN.
    dtype : dtype, optional
        Of the network, "float32" or "float64"; None takes that of X.
    n_jobs : int, optional
        The number of threads during `fit`, -1 for all; None leaves `backprop.set_num_threads` as it is. It is one for the process:
        of several fits at once, the smallest one holds.
    progress : bool
        Whether to show a progress bar.

    Attributes
    ----------
    coefs_, intercepts_ : list of array
        The weights and biases of each layer: views into ``network_.parameters``. Changing them changes the model, and so does
        putting other arrays into the lists.
    network_ : Network
        The fitted network, whose outputs are those before the exponential of the Poisson loss.
    loss_, best_loss_ : float
        The loss of the last epoch, and the lowest one; the latter is None with `early_stopping`. A sum over the outputs.
    loss_curve_ : list of float
        The loss of each epoch.
    validation_loss_curve_ : list of float or None
        The loss on the validation rows, held out or given, after each epoch.
    validation_scores_, best_validation_score_ : list of float, float, or None
        The coefficient of determination on the validation rows, with `early_stopping`.
    n_iter_, t_ : int
        Epochs of the last fit, and rows seen in training.
    n_layers_, n_outputs_, n_features_in_ : int
        Layers with input and output, outputs, features.
    feature_names_in_ : array of str
        The names of the features, if X has any.
    out_activation_ : str
        What turns the network's outputs into predictions.
    feature_categories_ : dict of int to array
        The categories of each column that has them, with `categorical_features`.
    feature_fill_ : array (n_features,)
        What takes the place of NaN, with `missing`.
    feature_center_, feature_scale_ : array (n_features,)
        What is subtracted from features and what they are divided by, with `scale`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from backprop.estimators import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = MLPRegressor(random_state=0, hidden_layer_sizes=(32,), solver="lbfgs", max_iter=20, alpha=0.1, tol=10)
    >>> regressor.fit(X, y).score(X, y) > 0.4
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson", "absolute_error", "huber", "quantile", "gamma", "gaussian"})],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
        "delta": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        quantile: Any = 0.5,
        delta: float = 1.0,
        dropout: float = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        residual: bool = False,
        clip_norm: float | None = None,
        average: float | None = None,
        scale: str | None = None,
        categorical_features: Any = None,
        missing: str | None = None,
        dtype: Any = None,
        n_jobs: int | None = None,
        progress: bool = False,
    ) -> None:
        self._keep(vars())

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = self._checked(X, y, reset=reset, multi_output=True, y_numeric=True, dtype=FLOATS)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if scipy.sparse.issparse(y) or np.asarray(y).dtype.kind not in "biuf":
            what = "a sparse matrix" if scipy.sparse.issparse(y) else f"dtype {y.dtype}"
            raise ValueError(f"y must be an array of numbers, got {what}")
        targets = np.asarray(y, np.float64).reshape(len(y), -1)
        quantiles = self._quantiles()
        if len(quantiles) > 1 and targets.shape[1] > 1:
            raise ValueError(f"several quantiles need one target, got {targets.shape[1]}")
        if self.loss == "poisson" and (targets < 0).any():
            raise ValueError("Some value(s) of y are out of the valid range of the loss 'poisson', which needs y >= 0.")
        if self.loss == "gamma" and not (targets > 0).all():
            raise ValueError("Some value(s) of y are out of the valid range of the loss 'gamma', which needs y > 0.")
        self.n_outputs_ = targets.shape[1] * (2 if self.loss == "gaussian" else 1) if len(quantiles) < 2 else len(set(quantiles))
        return X, targets

    def _validate_more(self, X: Any, y: Any) -> tuple[Any, Any]:
        outputs = self.n_outputs_
        X, targets = self._validate_input(X, y, True, False)
        if self.n_outputs_ != outputs:
            self.n_outputs_, found = outputs, self.n_outputs_
            raise ValueError(f"y has {found} outputs in place of {outputs}")
        return X, targets

    def _quantiles(self) -> list[float]:
        """Return the quantiles to predict; without the loss for them, none."""
        if self.loss != "quantile":
            return []
        try:
            quantiles = [float(q) for q in np.ravel(self.quantile)]
        except (TypeError, ValueError):
            raise ValueError(f"quantile must be a number or several in (0, 1), got {self.quantile}") from None
        if not quantiles or not all(0 < q < 1 for q in quantiles):
            raise ValueError(f"quantile must be in (0, 1), got {self.quantile}")
        return quantiles

    def _out_activation(self) -> str:
        return "exp" if self.loss in ("poisson", "gamma") else "identity"

    def _make_loss(self) -> losses.Loss:
        if self.loss == "huber":
            return losses.Huber(delta=self.delta)
        if self.loss == "quantile":
            quantiles = self._quantiles()
            return losses.Quantile(q=quantiles[0]) if len(quantiles) == 1 else losses.NonCrossingQuantiles(q=sorted(set(quantiles)))
        return MADE[self.loss]()

    def _begin(self, targets: Any, sample_weight: Any) -> None:
        """Let the network begin near the best constant, for the losses that scikit-learn lacks.

        Their gradients hardly tell how far away targets are, so that training from 0 would take long to reach distant ones.
        """
        if self.loss in ("squared_error", "poisson"):
            return
        weight = np.ones(len(targets)) if sample_weight is None else sample_weight
        if self.loss in ("gamma", "gaussian"):
            mean = np.average(targets, axis=0, weights=weight)
            if self.loss == "gamma":
                constant = np.log(mean)
            else:
                variance = np.average((targets - mean) ** 2, axis=0, weights=weight)
                constant = np.concatenate([mean, np.log(np.where(variance > 0, variance, 1.0))])
        else:
            levels = sorted(set(self._quantiles())) or [0.5]
            constant = np.quantile(targets, levels, axis=0, weights=weight, method="inverted_cdf").T
            if len(levels) > 1:
                steps = np.diff(constant, axis=1)
                steps = np.where(steps > 0, steps, 1.0)
                constant[:, 1:] = steps + np.log(-np.expm1(-steps))  # softplus makes steps of them
            constant = constant.ravel()
        self.intercepts_[-1][...] = constant

    def _note_asked(self) -> None:
        self._asked_quantiles = self._quantiles()

    def _fitted_quantiles(self) -> list[float]:
        """Return the quantiles that are predicted, in the order that was asked for; those of earlier versions are parameters."""
        asked: list[float] | None = self.__dict__.get("_asked_quantiles")
        return self._quantiles() if asked is None else asked

    def _check_combinations(self, incremental: bool) -> None:
        super()._check_combinations(incremental)
        if (incremental or self.warm_start) and "network_" in vars(self) and _free_quantiles(self.network_) is not None:
            raise ValueError(
                "this regressor was fitted by an earlier version, in which each of several quantiles was an output; now they are "
                "the lowest one and steps, so that training cannot continue: call fit with warm_start=False"
            )

    def _link(self, outputs: Array) -> Array:
        places = self._free_places(outputs)
        if places is not None:
            return np.take_along_axis(outputs, places, axis=1)
        predicted = predictions(self.network_.loss.link, outputs)
        columns = self._columns
        return predicted if columns is None else predicted[:, columns]

    def _free_places(self, outputs: Array) -> Any:
        """Return for each row which output is which quantile, if the outputs are quantiles; None if they are base and steps.

        In their order they do not cross, and their pinball loss is not larger: Chernozhukov, Fernandez-Val and Galichon,
        "Quantile and probability curves without crossing", Econometrica 78, 2010.
        """
        quantiles = _free_quantiles(self.network_)
        return None if quantiles is None else np.argsort(outputs, axis=1, kind="stable")[:, np.argsort(np.argsort(quantiles))]

    @property
    def _columns(self) -> Any:
        """Which of the loss's quantiles, which rise, each column of predictions is; None unless there are several."""
        quantiles = self._fitted_quantiles()
        return np.unique(quantiles, return_inverse=True)[1] if len(quantiles) > 1 else None

    def _link_jacobian(self, outputs: Array, jacobian: Array) -> Array:
        if self.out_activation_ == "exp":
            jacobian = jacobian * np.exp(outputs)[:, :, np.newaxis]
        if isinstance(self.network_.loss, losses.Gaussian):
            jacobian = jacobian[:, : jacobian.shape[1] // 2]
        places = self._free_places(outputs)
        if places is not None:
            return np.take_along_axis(jacobian, places[:, :, np.newaxis], axis=1)
        columns = self._columns
        if columns is None:
            return jacobian
        slopes = activations.get("sigmoid")(outputs)
        slopes[:, 0] = 1
        return np.cumsum(slopes[:, :, np.newaxis] * jacobian, axis=1)[:, columns]

    def _score_of(self, outputs: Array, targets: Any, sample_weight: Array | None) -> float:
        predicted = self._link(outputs)
        if not np.isfinite(predicted).all():
            return float("nan")
        return self._score_predictions(targets[:, : predicted.shape[1]], predicted, sample_weight)

    def _score_predictions(self, targets: Any, predicted: Any, sample_weight: Any) -> float:
        quantiles = self._fitted_quantiles()
        if len(quantiles) < 2:
            return float(r2_score(targets, predicted, sample_weight=sample_weight))
        y = np.asarray(targets).reshape(len(targets), -1)[:, 0]
        pairs = zip(quantiles, predicted.T, strict=True)
        return float(np.mean([d2_pinball_score(y, column, sample_weight=sample_weight, alpha=q) for q, column in pairs]))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination of the predictions; of several quantiles, the mean D2 of their pinball losses.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            Inputs.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight : array-like (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        float
        """
        return self._score_predictions(y, self.predict(X), sample_weight)

    @stochastic_only
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train for one epoch on these rows, going on from the last call.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            Inputs.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight : array-like (n_samples,), optional
            Weights of the rows, not negative.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the predicted numbers.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            Inputs.
        return_std : bool
            Whether to return standard deviations beside the numbers; needs ``loss="gaussian"``.

        Returns
        -------
        array (n_samples,) or (n_samples, n_outputs), or two of them
        """
        outputs = self._outputs(X)
        numbers = self._link(outputs)
        numbers = numbers.ravel() if numbers.shape[1] == 1 else numbers
        if not return_std:
            return numbers
        loss = self.network_.loss
        if not isinstance(loss, losses.Gaussian):
            raise ValueError(f"return_std needs loss='gaussian', this regressor was fitted with {loss!r}")
        return numbers, loss.std(outputs).reshape(numbers.shape)


def _free_quantiles(net: Network) -> tuple[float, ...] | None:
    """Return the quantiles that are an output each, as in earlier versions; None where outputs are something else."""
    loss = net.loss
    return loss.q if isinstance(loss, losses.Quantile) and isinstance(loss.q, tuple) else None
