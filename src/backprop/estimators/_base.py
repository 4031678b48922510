"""What `MLPClassifier` and `MLPRegressor` share: scikit-learn's algorithm, on the library's networks and trainers."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from itertools import pairwise
from math import isfinite
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.optimize
import scipy.sparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, check_X_y, validate_data

from .. import activations, losses, optimizers
from .._training.epochs import check_schedule, count_epoch, has_batch_norm
from .._training.progress import Progress
from .._types import Array
from ..activations import ActivationFunction
from ..data import Indices
from ..network import Network
from ..optimizers import Optimizer
from ..schedules import Schedule
from ..training import DivergenceError, Trainer
from ._build import Pair, build_network, draws, follow_parameters, make_optimizer, missing_layers, pairs_of, scale_velocity
from ._callbacks import CallbackSupport, FitTask
from ._epochs import Data, Epochs, dense_rows, outputs_of
from ._features import Categories, categorical_columns, fills, is_frame, learn_categories, scaling, with_indicators
from ._threads import thread_limit
from ._values import Value

NO_Y = "no_validation"  # what scikit-learn's functions take for y where there is none to check
STARTS: dict[str, Any] = {
    "t_": 0,
    "loss_curve_": [],
    "validation_loss_curve_": None,
    "validation_scores_": None,
    "best_validation_score_": None,
    "best_loss_": None,
    "_no_improvement_count": 0,
}
PREPROCESSING = ("feature_center_", "feature_scale_", "feature_fill_", "feature_categories_")  # learned from X
NOT_FINITE = "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."


class StoppedError(Exception):
    """A callback has ended a fit with lbfgs."""


class Validation:
    """Rows that are evaluated after every epoch."""

    def __init__(self, data: Data, sample_weight: Array | None) -> None:
        self.data = data
        self.sample_weight = sample_weight


class BaseMLP(CallbackSupport, BaseEstimator, ABC):
    """A multi-layer perceptron that is trained as scikit-learn's is.

    Subclasses say what targets are, and what is made of the network's outputs.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({*activations.NAMES, "logistic"}), ActivationFunction],
        "solver": [StrOptions({"lbfgs", *optimizers.NAMES}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), Schedule, callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "batch_norm": ["boolean"],
        "layer_norm": ["boolean"],
        "residual": ["boolean"],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "average": [Interval(Real, 0, 1, closed="left"), None],
        "dtype": [StrOptions({"float32", "float64"}), type, np.dtype, None],
        "n_jobs": [Interval(Integral, 1, None, closed="left"), Options(Integral, {-1}), None],
        "scale": [StrOptions({"standard", "robust"}), None],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
        "missing": [StrOptions({"impute"}), None],
        "progress": ["boolean"],
    }

    def _keep(self, arguments: dict[str, Any]) -> None:
        """Set the parameters as they were given; `fit` checks them."""
        for name, value in arguments.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    n_outputs_: int

    # What a subclass defines.

    @abstractmethod
    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        """Return checked X, and y as the network's targets: labels, or a matrix with a column for each output."""

    @abstractmethod
    def _make_loss(self) -> losses.Loss: ...

    @abstractmethod
    def _score_of(self, outputs: Array, targets: Any, sample_weight: Array | None) -> float: ...

    @abstractmethod
    def _out_activation(self) -> str: ...

    # Fitting.

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None, sample_weight_val: Any = None
    ) -> Any:
        """Fit the model to the rows of X and their targets y.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            Inputs.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Class labels, or numbers.
        sample_weight : array-like (n_samples,), optional
            Weights of the rows, not negative.
        X_val, y_val, sample_weight_val : array-like, optional
            Rows to evaluate after every epoch, or iteration of lbfgs, for `validation_loss_curve_`; with ``early_stopping=True``
            they take the place of the rows that are held out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters or data are not valid, or if training diverges without early stopping.

        Warns
        -----
        ConvergenceWarning
            If training ends at `max_iter`, or diverges with early stopping.
        """
        return self._fit(X, y, sample_weight, validation=(X_val, y_val, sample_weight_val), tells=hasattr(self, "_skl_callbacks"))

    def _check_solver(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError(f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic.")
        return True

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        for size in sizes:
            if not isinstance(size, Integral) or isinstance(size, bool):
                raise ValueError(f"hidden_layer_sizes must hold integers, got {sizes}.")
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _checked_weight(self, sample_weight: Any, X: Any) -> Any:
        if sample_weight is None:
            return None
        weight = _check_sample_weight(sample_weight, X)
        if (weight < 0).any():
            raise ValueError("Negative values in data passed to `sample_weight`")
        if not weight.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return weight

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        incremental: bool = False,
        validation: tuple[Any, Any, Any] = (None, None, None),
        tells: bool = False,
    ) -> Any:
        with self._unchanged_by_errors():
            train = self._prepare(X, y, sample_weight, incremental, validation)
        task = FitTask(self, X, y, lambda: self._parts_of(self.network_.copy())) if tells else None
        return self._train(train, task)

    def _train(self, train: Callable[[FitTask | None], None], task: FitTask | None = None) -> Any:
        """Run what trains, on the chosen number of threads."""
        follow_parameters(self.network_, activation=self.activation, dropout=float(self.dropout))
        loss = self._make_loss()
        if not _same_loss(self.network_.loss, loss):
            self.network_.loss = loss
        with thread_limit(None if self.n_jobs is None else int(self.n_jobs)):
            train(task)
        if task is not None:
            task.end()
        if not np.isfinite(self.network_.parameters).all():
            raise ValueError(NOT_FINITE)
        return self

    @contextmanager
    def _unchanged_by_errors(self) -> Iterator[None]:
        """Restore all attributes if an error shows that the data or parameters are not valid."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool, validation: tuple[Any, Any, Any]
    ) -> Callable[[FitTask | None], None]:
        """Check the data, make the network if it is to be new, and return what trains it."""
        hidden = self._hidden_sizes()
        self._check_combinations(incremental)
        first_pass = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        if first_pass:  # also what this fit does not learn anew, as its parameters do not ask for it
            for name in PREPROCESSING:
                self.__dict__.pop(name, None)
        X, targets = self._validate_input(X, y, incremental, reset=first_pass)
        sample_weight = self._checked_weight(sample_weight, X)
        X = self._learn_features(X, sample_weight, first_pass)
        random_state = check_random_state(self.random_state)
        if first_pass:
            self._initialize(hidden, X, random_state)
            self._begin(targets, sample_weight)
        net = self._current_network()
        if not first_pass and net.n_inputs != X.shape[1]:
            raise ValueError(f"coefs_[0] takes {net.n_inputs} features, but X has {X.shape[1]}")
        self._check_continues(net)
        if self.n_outputs_ != net.n_outputs:
            raise ValueError(f"y has {self.n_outputs_} outputs, but {type(self).__name__} was fitted with {net.n_outputs}")
        self._note_asked()
        if self.solver != "lbfgs":
            return self._prepare_stochastic(X, targets, sample_weight, random_state, incremental, validation)
        if net.dtype != np.float64:
            self._install(net.astype(np.float64))
        data = self._data(X, targets, self._with_class_weight(sample_weight, targets))
        given = self._given_validation(validation)
        return lambda task: self._fit_lbfgs(data, given, task)

    def _check_combinations(self, incremental: bool) -> None:
        """Refuse parameters that exclude each other, before anything changes."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.batch_norm and self.layer_norm:
            raise ValueError("batch_norm and layer_norm exclude each other")
        if self.average is not None and (incremental or self.solver == "lbfgs"):
            raise ValueError("average needs fit with a stochastic solver")
        if self.solver == "lbfgs" and (self.dropout or self.batch_norm):
            raise ValueError("dropout and batch_norm need a stochastic solver, got solver='lbfgs'")
        if self.solver == "lbfgs" and self.clip_norm is not None:
            raise ValueError("clip_norm needs a stochastic solver, got solver='lbfgs'")
        if self.solver == "lbfgs" and not isinstance(self.learning_rate, str):
            raise ValueError("a schedule as learning_rate needs a stochastic solver, got solver='lbfgs'")
        sizes = self._hidden_sizes()
        if self.residual and not any(before == width for before, width in pairwise(sizes)):
            raise ValueError(f"residual needs two hidden layers of the same width in a row, got hidden_layer_sizes={sizes}")

    def _check_continues(self, net: Network) -> None:
        """Refuse parameters that a network which goes on training cannot follow; those of a new one always fit."""
        loss = self._make_loss()
        if net.loss is not None and net.loss.link != loss.link:
            raise ValueError(
                f"loss={self.loss!r} needs a new network, as the outputs of the fitted one are those of {net.loss!r}: "
                "call fit with warm_start=False"
            )
        for name in missing_layers(
            net, dropout=self.dropout, batch_norm=self.batch_norm, layer_norm=self.layer_norm, residual=self.residual
        ):
            raise ValueError(
                f"{name}={getattr(self, name)!r} needs a new network, as the fitted one has no such layers: call fit with "
                "warm_start=False"
            )

    def _initialize(self, hidden: list[int], X: Any, random_state: np.random.RandomState) -> None:
        """Make a new network, with weights drawn as scikit-learn draws them, and forget what an earlier fit has left."""
        sizes = [X.shape[1], *hidden, self.n_outputs_]
        dtype = X.dtype if self.dtype is None else np.dtype(self.dtype)
        pairs = list(draws(sizes, self.activation, random_state))
        seed = int(random_state.randint(2**31)) if self.dropout else 0
        for name in ("_optimizer", "_trainer"):
            self.__dict__.pop(name, None)
        self._install(self._build(sizes, dtype, seed), pairs)
        self.n_iter_ = 0
        self.t_ = 0
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._out_activation()
        if self.solver != "lbfgs":
            self.loss_curve_: list[float] = []
            self.validation_loss_curve_: list[float] | None = None
            self._no_improvement_count = 0
            early = self.early_stopping
            self.validation_scores_: list[float] | None = [] if early else None
            self.best_validation_score_ = -np.inf if early else None
            self.best_loss_ = None if early else np.inf

    def _begin(self, targets: Any, sample_weight: Any) -> None:
        """Set the biases of the outputs before training, where scikit-learn's initial ones do not fit the loss."""

    def _build(self, sizes: list[int], dtype: Any, seed: int) -> Network:
        return build_network(
            sizes,
            activation=self.activation,
            dtype=dtype,
            seed=seed,
            dropout=float(self.dropout),
            batch_norm=self.batch_norm,
            layer_norm=self.layer_norm,
            residual=self.residual,
        )

    def _install(self, net: Network, values: list[tuple[Array, Array]] | None = None) -> None:
        """Make a network that of the estimator, with these weights; `coefs_` and `intercepts_` are views into it."""
        pairs = pairs_of(net)
        for pair, (coef, intercept) in zip(pairs, values or pairs, strict=True):
            pair.coef[...], pair.intercept[...] = coef, intercept
        if net.loss is None:  # otherwise it says what the outputs of a fitted network mean, whatever the parameters are by now
            net.loss = self._make_loss()
        self.__dict__.update(self._parts_of(net, pairs))

    def _note_asked(self) -> None:
        """Remember which predictions the parameters ask for, as they may change after the fit."""

    def _parts_of(self, net: Network, pairs: list[Pair] | None = None) -> dict[str, Any]:
        """Return the attributes that hold a network."""
        pairs = pairs_of(net) if pairs is None else pairs
        coefs, intercepts = [pair.coef for pair in pairs], [pair.intercept for pair in pairs]
        return {"network_": net, "coefs_": coefs, "intercepts_": intercepts, "_pairs": pairs}

    def _current_network(self) -> Network:
        """Return the network with the weights that `coefs_` and `intercepts_` have now: arrays put there are copied into it."""
        pairs: list[Pair] = self.__dict__.get("_pairs", ())
        coefs, intercepts = self.coefs_, self.intercepts_
        if len(coefs) == len(pairs) == len(intercepts):
            for pair, coef, intercept in zip(pairs, coefs, intercepts, strict=True):
                if coef is not pair.coef or intercept is not pair.intercept:
                    break
            else:
                net: Network = self.network_
                return net
        return self._take_over([np.asarray(a) for a in coefs], [np.asarray(a) for a in intercepts])

    def _take_over(self, coefs: list[Any], intercepts: list[Any]) -> Network:
        """Copy arrays into the network, or into a new one if their shapes are others."""
        if not coefs or len(coefs) != len(intercepts) or any(coef.ndim != 2 for coef in coefs):
            raise ValueError("coefs_ and intercepts_ must hold a matrix and a vector for each layer")
        sizes = [len(coefs[0]), *(coef.shape[1] for coef in coefs)]
        for i, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
            if coef.shape != (sizes[i], sizes[i + 1]) or intercept.shape != (sizes[i + 1],):
                raise ValueError(
                    f"coefs_[{i}] and intercepts_[{i}] must have shapes {(sizes[i], sizes[i + 1])} and {(sizes[i + 1],)}, "
                    f"got {coef.shape} and {intercept.shape}"
                )
        pairs: list[Pair] = self.__dict__.get("_pairs", [])
        if [pair.coef.shape for pair in pairs] == [coef.shape for coef in coefs]:
            # Copies first: arrays may be views of other layers of the network, as after an exchange of two layers.
            values = [
                Pair(np.array(coef, pair.coef.dtype), np.array(intercept, pair.coef.dtype))
                for pair, coef, intercept in zip(pairs, coefs, intercepts, strict=True)
            ]
            for pair, (coef, intercept) in zip(pairs, values, strict=True):
                pair.coef[...], pair.intercept[...] = coef, intercept
            self._keep_views("coefs_", [pair.coef for pair in pairs])
            self._keep_views("intercepts_", [pair.intercept for pair in pairs])
        else:
            dtype = np.float32 if coefs[0].dtype == np.float32 else np.float64
            self.__dict__.pop("_trainer", None)
            self._install(self._build(sizes, dtype, 0), list(zip(coefs, intercepts, strict=True)))
            self.n_layers_ = len(sizes)
            self.n_outputs_ = sizes[-1]
            self.out_activation_ = self._out_activation()
        net: Network = self.network_
        return net

    def _keep_views(self, name: str, views: list[Array]) -> None:
        """Put views into the list that a program may hold, or in place of a tuple or array that it has set."""
        if isinstance(getattr(self, name), list):
            getattr(self, name)[:] = views
        else:
            setattr(self, name, views)

    def _data(self, X: Any, targets: Any, sample_weight: Any) -> Data:
        """Return data as the network takes them."""
        dtype = self.network_.dtype
        x = np.require(X, dtype, ["C", "A"]) if isinstance(X, np.ndarray) else X.tocsr().astype(dtype, copy=False)
        weight = None if sample_weight is None else np.ascontiguousarray(sample_weight, dtype)
        net = self.network_
        prepared = self._make_loss().prepare_targets(self._softened(targets), net.n_outputs, dtype, name="y", check_finite=False)
        return Data(x, prepared, weight)

    @property
    def _smooths(self) -> bool:
        return getattr(self, "label_smoothing", 0.0) > 0

    def _softened(self, targets: Any) -> Any:
        """Return the targets of outputs to train with."""
        return targets

    @property
    def _factor(self) -> int:
        """What the library's loss is multiplied by: scikit-learn adds up the losses of the outputs of a row."""
        loss = self._make_loss()
        return 1 if loss.reduction == "sum" else int(self.n_outputs_) // (2 if loss.link == "mean" else 1)

    def _fit_lbfgs(self, data: Data, validation: Validation | None, task: FitTask | None) -> None:
        net, factor = self.network_, self._factor
        loss = net.loss
        value = Value(loss, factor, self._smooths)
        x = data.x if isinstance(data.x, np.ndarray) else dense_rows(data.x)
        total = float(len(x)) if data.weight is None else float(data.weight.sum())
        matrices = [entry for entry in net.layout if len(entry.shape) == 2]
        vectors = [entry for entry in net.layout if len(entry.shape) != 2]
        places = np.concatenate([np.arange(e.offset, e.offset + e.length) for e in (*matrices, *vectors)])  # scikit-learn's order
        penalized = sum(entry.length for entry in matrices)

        reached = 0.0  # the value of the last evaluation, which is that of an iteration's end

        def function(parameters: Array) -> tuple[float, Array]:
            nonlocal reached
            net.parameters[places] = parameters
            outputs = net.forward(x, training=True)
            grad = np.empty_like(outputs)
            found = value.of_batch(loss.compute(outputs, data.targets, data.weight, grad), outputs, data)
            net.backward(factor * grad)
            gradient = net.gradients[places]
            weights = parameters[:penalized]
            gradient[:penalized] += self.alpha / total * weights
            reached = found + self.alpha / 2 * float(weights @ weights) / total
            return reached, gradient

        def after_iteration(parameters: Array) -> None:
            net.parameters[places] = parameters
            self.n_iter_ += 1
            self.loss_ = float(reached)
            if validation is not None:
                outputs = outputs_of(net, validation.data.x)
                curve.append(value.of_outputs(outputs, validation.data))
            progress.advance(1)
            if task is not None:
                task.begin_epoch()
                if task.end_epoch():
                    raise StoppedError

        self.n_iter_ = 0
        curve: list[float] = (getattr(self, "validation_loss_curve_", None) if self.warm_start else None) or []
        if validation is not None:
            self.validation_loss_curve_ = curve
        progress = Progress(self.progress, 1, self.max_iter)
        try:
            with np.errstate(all="ignore"):
                result = scipy.optimize.minimize(
                    function,
                    net.parameters[places],
                    method="L-BFGS-B",
                    jac=True,
                    callback=after_iteration,
                    options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
                )
        except StoppedError:
            pass
        else:
            self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)
            self.loss_ = float(result.fun)
            net.parameters[places] = result.x
        finally:
            progress.close()
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")

    def _prepare_stochastic(
        self,
        X: Any,
        targets: Any,
        sample_weight: Any,
        random_state: np.random.RandomState,
        incremental: bool,
        given: tuple[Any, Any, Any],
    ) -> Callable[[FitTask | None], None]:
        """Divide the rows into those to train on and those to evaluate, and return what trains."""
        net, factor = self.network_, self._factor
        trainer = self._ready_trainer(net, factor, incremental)
        data = self._data(X, targets, self._with_class_weight(sample_weight, targets))
        validation = self._given_validation(given)
        rows: Indices = np.arange(len(targets))
        if self.early_stopping and validation is None:
            rows, held_out = self._split(len(targets), targets, random_state)
            if sample_weight is not None and not (sample_weight[rows].any() and sample_weight[held_out].any()):
                raise ValueError(
                    "Sample weights must contain at least one non-zero number among the rows that early_stopping holds out, "
                    "and among the others."
                )
            part = data.take(held_out)
            validation = Validation(part, None if sample_weight is None else sample_weight[held_out])
        batch_size = self._batch_size_for(len(rows))
        if batch_size < 2 and has_batch_norm(net):
            raise ValueError(
                f"batch_norm needs batches of at least 2 rows, got batch_size={self.batch_size} and {len(rows)} rows to train on"
            )
        return _Fit(self, trainer, data, rows, batch_size, validation, random_state, incremental).run

    def _ready_trainer(self, net: Network, factor: int, incremental: bool) -> Trainer:
        """Return the trainer of the last `partial_fit` or `fit` if this call continues it, otherwise a new one."""
        trainer: Trainer | None = self.__dict__.get("_trainer") if incremental else None
        if trainer is None or trainer.net is not net:
            clip_norm = None if self.clip_norm is None else self.clip_norm / factor
            trainer = Trainer(
                net,
                loss=self._make_loss(),
                optimizer=make_optimizer(self, factor),
                metrics=[],
                clip_norm=clip_norm,
            )
            self._trainer = trainer
            self._optimizer = trainer.optimizer
        else:  # the optimizer stays, as in scikit-learn
            loss, clip_norm = self._make_loss(), None if self.clip_norm is None else self.clip_norm / factor
            if not _same_loss(trainer.loss, loss):
                trainer.loss = loss
            if trainer.clip_norm != clip_norm:
                trainer.clip_norm = clip_norm
        trainer.l2 = float(self.alpha) / factor
        self._continues = incremental
        return trainer

    def _with_class_weight(self, sample_weight: Any, targets: Any) -> Any:
        return sample_weight

    def _given_validation(self, given: tuple[Any, Any, Any]) -> Validation | None:
        """Return the validation rows that were given to `fit`."""
        X, y, sample_weight = given
        if X is None and y is None:
            if sample_weight is not None:
                raise ValueError("sample_weight_val needs X_val and y_val")
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val must be given together")
        try:
            X, targets = self._validate_more(X, y)
            weight = self._checked_weight(sample_weight, X)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"X_val, y_val or sample_weight_val: {error}") from error
        return Validation(self._data(self._scaled(X), targets, weight), weight)

    @abstractmethod
    def _validate_more(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Return checked rows of the kind that the estimator was fitted to."""

    def _split(self, count: int, targets: Any, random_state: np.random.RandomState) -> tuple[Indices, Indices]:
        """Return the numbers of the rows to train on, and of those to hold out, as scikit-learn draws them."""
        stratify = targets.astype(bool) if self._stratifies() else None
        kept, held_out = train_test_split(
            np.arange(count), random_state=random_state, test_size=self.validation_fraction, stratify=stratify
        )
        if len(held_out) < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
        return kept, held_out

    def _stratifies(self) -> bool:
        return False

    def _batch_size_for(self, rows: int) -> int:
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=2)
        return int(min(self.batch_size, rows))

    # Predicting.

    def _outputs(self, X: Any) -> Array:
        """Return the raw outputs for checked or unchecked X, in the dtype that NumPy gives to a product of X and the weights."""
        if "coefs_" not in self.__dict__:
            check_is_fitted(self)
        net = self._current_network()
        if type(X) is np.ndarray and X.ndim == 2 and X.dtype == net.dtype and X.shape[1] == self.n_features_in_:
            flat = X.ravel()
            plain = "feature_names_in_" not in self.__dict__ and "feature_categories_" not in self.__dict__
            if plain and len(X) and isfinite(flat.dot(flat)):
                return net.predict(self._scaled(X) if "feature_scale_" in self.__dict__ else X)
        X = self._scaled(self._checked(X))
        if not isinstance(X, np.ndarray):
            X = X.tocsr()
        if net.dtype == np.float32 and np.result_type(X.dtype, np.float32) != np.float32:
            net = net.astype(np.float64)
        return outputs_of(net, np.ascontiguousarray(X, net.dtype) if isinstance(X, np.ndarray) else X.astype(net.dtype))

    def _checked(self, X: Any, y: Any = NO_Y, *, reset: bool = False, **options: Any) -> Any:
        """Return X as numbers, and y if it is given: both checked, and categories of X as columns of 0 and 1.

        Parameters say what a fit learns; what predictions do follows from what it has learned.
        """
        fits = y is not NO_Y
        fills_gaps = "feature_fill_" in self.__dict__ or (fits and self.missing is not None)
        gaps = fills_gaps and not scipy.sparse.issparse(X)
        options |= {"accept_sparse": ["csr", "csc"], "ensure_all_finite": "allow-nan" if gaps else True}
        learned = "feature_categories_" in self.__dict__
        if scipy.sparse.issparse(X) and not isinstance(self.categorical_features, str | None):
            raise ValueError("categorical_features needs an X that is not sparse, as its columns are numbers")
        if scipy.sparse.issparse(X) or not (learned or (fits and self.categorical_features is not None)):
            return validate_data(self, X, y, reset=reset, **options)
        if not is_frame(X):
            X = check_array(X, dtype=None, ensure_all_finite=False)
        validate_data(self, X, reset=reset, skip_check_array=True)
        if reset or not learned:
            self.feature_categories_: Categories = learn_categories(X, categorical_columns(X, self.categorical_features))
        numbers = with_indicators(X, self.feature_categories_)
        if y is NO_Y:
            return check_array(numbers, **options)
        return check_X_y(numbers, y, **options)

    def _learn_features(self, X: Any, sample_weight: Any, reset: bool) -> Any:
        """Return checked X without gaps and scaled; ``reset`` takes what that needs from X."""
        if self.missing is not None and (reset or "feature_fill_" not in self.__dict__):
            self.feature_fill_ = fills(X, sample_weight)
        if self.scale is not None and (reset or "feature_scale_" not in self.__dict__):
            self.feature_center_, self.feature_scale_ = scaling(self._filled(X), self.scale, sample_weight)
        return self._scaled(X)

    def _filled(self, X: Any) -> Any:
        """Return checked X with the median of the training rows in its gaps."""
        if "feature_fill_" not in self.__dict__ or not isinstance(X, np.ndarray):
            return X
        gaps = np.isnan(X)
        return np.where(gaps, self.feature_fill_.astype(X.dtype), X) if gaps.any() else X

    def _scaled(self, X: Any) -> Any:
        """Return checked X without gaps, with its features scaled if the fit has learned how."""
        X = self._filled(X)
        if "feature_scale_" not in self.__dict__:
            return X
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        if isinstance(X, np.ndarray):
            return (X - self.feature_center_.astype(dtype)) / self.feature_scale_.astype(dtype)
        return X.tocsr().multiply((1 / self.feature_scale_).astype(dtype)).tocsr()

    def predict_jacobian(self, X: Any) -> Array:
        """Return the derivatives of predictions with respect to features: of numbers, or of the probabilities of classes.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            Inputs.

        Returns
        -------
        array (n_samples, n_outputs, n_features)
            For two classes there are two outputs.
        """
        check_is_fitted(self)
        net = self._current_network()
        if "feature_categories_" in self.__dict__:
            raise ValueError("predict_jacobian needs categorical_features=None: categories have no derivatives")
        x = self._scaled(self._checked(X))
        outputs, jacobian = net.value_and_jacobian(x if isinstance(x, np.ndarray) else dense_rows(x))
        jacobian = self._link_jacobian(outputs, jacobian)
        return jacobian / self.feature_scale_.astype(net.dtype) if "feature_scale_" in self.__dict__ else jacobian

    @abstractmethod
    def _link_jacobian(self, outputs: Array, jacobian: Array) -> Array:
        """Return the derivatives of predictions, given those of the raw outputs."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.missing is not None
        tags.input_tags.categorical = tags.input_tags.string = self.categorical_features is not None
        return tags

    # Copies and pickles.

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or pickle keeps: the weights once, in the network; moments only between calls of `partial_fit`."""
        if "_pairs" in self.__dict__:
            self._current_network()
        state: dict[str, Any] = dict(super().__getstate__())
        if state.pop("_pairs", None) is not None:
            del state["coefs_"], state["intercepts_"]
        if not state.get("_continues"):
            state.pop("_trainer", None)
            state.pop("_optimizer", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        super().__setstate__(state)
        if "network_" in self.__dict__:
            if self.network_.loss is None:
                self.network_.loss = self._make_loss()
            self.__dict__.update(self._parts_of(self.network_))


class _Fit:
    """One run of the stochastic solvers: epochs, the rules for stopping, the learning rate, the best weights."""

    def __init__(
        self,
        estimator: Any,
        trainer: Trainer,
        data: Data,
        rows: Indices,
        batch_size: int,
        validation: Validation | None,
        random_state: np.random.RandomState,
        incremental: bool,
    ) -> None:
        self.estimator = estimator
        self.task: FitTask | None = None
        self.trainer = trainer
        self.net = trainer.net
        self.data = data
        self.rows = rows
        self.batch_size = batch_size
        self.validation = validation
        self.random_state = random_state
        self.incremental = incremental
        self.normalizes = has_batch_norm(trainer.net)
        self.factor = estimator._factor
        self.value = Value(trainer.loss, self.factor, estimator._smooths)
        self.by_score = estimator.early_stopping
        self.monitored = check_schedule(trainer.optimizer, ("loss",) if validation is None else ("loss", "val_loss"))
        self.averaged = self.net.copy() if estimator.average is not None else None
        self.best = self.state() if self.by_score else None
        self.epochs = Epochs(
            trainer,
            data,
            batch_size,
            keeps_outputs=self.value.needs_outputs,
            after_step=None if self.averaged is None else self.follow,
        )

    @property
    def evaluated(self) -> Network:
        """The network that predictions are made with."""
        return self.net if self.averaged is None else self.averaged

    def follow(self) -> None:
        """Move the averaged network toward the one that is trained."""
        assert self.averaged is not None
        self.averaged.blend(self.net, 1 - float(self.estimator.average))

    def state(self) -> tuple[Array, Array]:
        """Return copies of parameters and buffers."""
        net = self.evaluated
        return net.parameters.copy(), net.buffers.copy()

    def restore(self, state: tuple[Array, Array]) -> None:
        """Give the network these parameters and buffers."""
        self.net.parameters[...], self.net.buffers[...] = state

    def run(self, task: FitTask | None) -> None:
        """Train until the rules say that it is enough, and tell callbacks."""
        self.task = task
        estimator = self.estimator
        for name, value in STARTS.items():
            if name not in vars(estimator):  # after lbfgs, or with weights that a program has set
                setattr(estimator, name, copy(value))
        if self.validation is not None and estimator.validation_loss_curve_ is None:
            estimator.validation_loss_curve_ = []
        count = len(self.rows)
        order = np.arange(count)
        epochs = 1 if self.incremental else estimator.max_iter
        self.progress = Progress(estimator.progress, epochs, -(-count // self.batch_size))
        estimator.n_iter_ = 0
        if self.by_score and estimator.validation_scores_ is None:  # the fit before went without
            estimator.validation_scores_, estimator.best_validation_score_ = [], -np.inf
        elif not self.by_score and estimator.best_loss_ is None:
            estimator.best_loss_ = np.inf
        try:
            with self.trainer._exclusively("fit"), self.trainer._interrupts:
                for index in range(epochs):
                    self.progress.begin_epoch(index)
                    if self.task is not None:
                        self.task.begin_epoch()
                    if estimator.shuffle:
                        shuffled = np.arange(count)
                        self.random_state.shuffle(shuffled)
                        order = order[shuffled]
                    before = self.net.parameters.copy(), self.net.buffers.copy()
                    try:
                        self.epoch(self.rows[order])
                    except DivergenceError as error:
                        self.diverge(error, before)
                        break
                    stop = self.after_epoch()
                    self.progress.end_epoch({"loss": estimator.loss_})
                    if (self.task is not None and self.tell()) or stop:
                        break
        finally:
            self.progress.close()
            if self.best is not None:
                self.restore(self.best)
            elif self.averaged is not None:
                self.restore(self.state())

    def epoch(self, order: Indices) -> None:
        """Train one epoch and note its loss."""
        estimator = self.estimator
        if self.normalizes and len(order) % self.batch_size == 1:
            order = order[:-1]  # batch normalization needs two rows
        epoch = self.epochs.train(order)
        self.progress.advance(len(epoch.losses))
        loss = self.value.of_epoch(epoch, self.data, order, self.batch_size)
        estimator.n_iter_ += 1
        estimator.t_ += len(self.rows)
        estimator.loss_ = loss
        estimator.loss_curve_.append(loss)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")

    def diverge(self, error: DivergenceError, before: tuple[Array, Array]) -> None:
        """End a fit whose loss or gradient is not finite any more: with the last weights that are finite, or the best ones."""
        estimator = self.estimator
        if not (np.isfinite(self.net.parameters).all() and np.isfinite(self.net.buffers).all()):
            self.restore(before)
        if not self.by_score:
            raise ValueError(NOT_FINITE) from error
        estimator.validation_scores_.append(float("nan"))
        estimator.__dict__.setdefault("loss_", float("nan"))  # it diverged in its first epoch
        warnings.warn(
            f"Training diverged in iteration {estimator.n_iter_ + 1} ({error.found}) and ended; the best weights are kept.",
            ConvergenceWarning,
            stacklevel=2,
        )

    def tell(self) -> bool:
        """Show callbacks the network that predictions would be made with, and return whether to stop."""
        assert self.task is not None
        estimator, trained = self.estimator, self.estimator.network_
        estimator.__dict__["network_"] = self.evaluated
        try:
            return self.task.end_epoch()
        finally:
            estimator.__dict__["network_"] = trained

    def after_epoch(self) -> bool:
        """Look at the validation rows, follow the rules of scikit-learn, and tell whether to stop."""
        estimator = self.estimator
        self.note_improvement()
        optimizer = self.trainer.optimizer
        if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            lr = float(estimator.learning_rate_init) / (estimator.t_ + 1) ** estimator.power_t
            scale_velocity(optimizer, lr * self.factor)
        results = {"loss": estimator.loss_}
        if self.validation is not None:
            results["val_loss"] = estimator.validation_loss_curve_[-1]
        count_epoch(optimizer, self.monitored, results)
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            what = "Validation score" if self.by_score else "Training loss"
            message = f"{what} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} consecutive epochs."
            if self.stops(message):
                return True
            estimator._no_improvement_count = 0
        if self.incremental:
            return True
        if estimator.n_iter_ == estimator.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't converged "
                "yet.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return False

    def stops(self, message: str) -> bool:
        """Stop, or, with an adaptive learning rate that is not too small yet, lower it."""
        estimator, optimizer = self.estimator, self.trainer.optimizer
        lr = optimizer.learning_rate / self.factor
        if estimator.solver != "sgd" or estimator.learning_rate != "adaptive":
            message, stop = f"{message} Stopping.", True
        elif lr <= 1e-6:
            message, stop = f"{message} Learning rate too small. Stopping.", True
        else:
            message, stop = f"{message} Setting learning rate to {lr / 5:f}", False
            scale_velocity(optimizer, optimizer.learning_rate / 5.0)
        if estimator.verbose:
            print(message)
        return stop

    def note_improvement(self) -> None:
        """Count epochs without improvement, of the validation score or of the loss."""
        estimator = self.estimator
        outputs = None
        if self.validation is not None:
            outputs = outputs_of(self.evaluated, self.validation.data.x)
            estimator.validation_loss_curve_.append(self.value.of_outputs(outputs, self.validation.data))
        if not self.by_score:
            self.count_improvement(not estimator.loss_ > estimator.best_loss_ - estimator.tol)
            estimator.best_loss_ = min(estimator.loss_, estimator.best_loss_)
            return
        assert outputs is not None
        assert self.validation is not None
        score = float("nan")
        if np.isfinite(outputs).all():
            score = estimator._score_of(outputs, self.validation.data.targets, self.validation.sample_weight)
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        best = estimator.best_validation_score_
        self.count_improvement(not score < best + estimator.tol)
        if score > best:
            estimator.best_validation_score_ = score
            self.best = self.state()

    def count_improvement(self, improved: bool) -> None:
        """Count an epoch without improvement, or begin again."""
        self.estimator._no_improvement_count = 0 if improved else self.estimator._no_improvement_count + 1


def _same_loss(one: Any, other: Any) -> bool:
    """Whether two losses have the same options; `Loss.config` would take as long as a step."""
    return type(one) is type(other) and repr(vars(one)) == repr(vars(other))


def partial_fit_available(estimator: Any) -> bool:
    """Tell whether the solver takes steps; an AttributeError says that it does not."""
    return bool(estimator._check_solver())


stochastic_only = available_if(partial_fit_available)
