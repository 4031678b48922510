"""Losses: what training makes small, with their gradients.

A loss compares the network's raw outputs (logits, where there is a link) with targets::

    loss, grad_outputs = CrossEntropy(label_smoothing=0.1)(outputs, targets)
    loss, grad_outputs = cross_entropy(outputs, targets, label_smoothing=0.1)

``outputs`` is (n, k); ``grad_outputs`` is dL/doutputs, of the same shape and dtype and under the same reduction as the
value: with l_i the loss of row i, ``sum_i w_i l_i / sum_i |w_i|``, where w_i is the row's sample weight times its class
weight (1 where neither is given). For elementwise losses l_i is the mean over the k outputs; for `HalfMSE`, `CrossEntropy`
and `KLDivergence` it is the sum. So values are those of PyTorch's ``reduction="mean"`` (``"batchmean"`` for
`KLDivergence`). The formulas stand in `backprop.kernels.Kernels`.

Targets are never broadcast: ``(n,)`` and ``(n, 1)`` mean the same where the network has one output, anything else has to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from inspect import Parameter, signature
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _links, kernels
from ._arrays import (
    as_contiguous,
    as_matrix,
    as_parameter,
    as_real_array,
    check_in,
    check_nonnegative,
    check_positive,
    require_finite,
)
from ._class_weights import ClassWeight, check_class_weight, check_sample_weight, class_weight_vector, weigh_rows
from ._overrides import Overridable, Shortcuts, missing, written
from ._registry import Registry
from ._settings import Converted, Settings, fixed, option, optional
from ._types import Array, Labels

if TYPE_CHECKING:
    from .activations import ActivationFunction

__all__ = [
    "MAE",
    "MSE",
    "NAMES",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CrossEntropy",
    "Focal",
    "FunctionLoss",
    "Gamma",
    "Gaussian",
    "HalfMSE",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "NonCrossingQuantiles",
    "Poisson",
    "Quantile",
    "binary_cross_entropy",
    "binary_focal",
    "cross_entropy",
    "focal",
    "gamma",
    "gaussian",
    "get",
    "half_mse",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mae",
    "mse",
    "non_crossing_quantiles",
    "poisson",
    "quantile",
]


def __dir__() -> list[str]:
    return sorted(__all__)


LossFunction = Callable[..., tuple[float, npt.ArrayLike]]


class _Wanted(NamedTuple):
    """What targets have to become, and what messages call them."""

    n_outputs: int
    dtype: np.dtype[Any]
    name: str
    check_finite: bool


def _one_or_several(name: str, value: Any, check: Callable[..., float], *limits: float, **keywords: Any) -> Any:
    """Return a checked number, or a tuple of those in a sequence."""
    if np.ndim(value) == 0:
        return check(name, value, *limits, **keywords)
    return tuple(check(name, one, *limits, **keywords) for one in np.asarray(value).ravel())


def _checked_function(name: str, function: Any) -> LossFunction:
    if not callable(function):
        raise TypeError(f"loss must be a name, a Loss or a function, got {type(function).__name__}")
    checked: LossFunction = function
    return checked


class Loss(Settings, metaclass=Overridable):
    """A loss on the network's raw outputs.

    A subclass with a ``__call__`` is a custom loss, and that is its whole definition: training, evaluation and `gradcheck` take
    value and gradient from it. Targets reach it as `prepare_targets` returns them. `FunctionLoss` is for losses that are functions.

    Attributes
    ----------
    name : str
        What `get` knows it by.
    task : {"classification", "binary", "regression", "custom"}
        What the targets are: one class of k, k independent binary labels, numbers, or whatever a custom loss function takes.
    link : {"softmax", "sigmoid", "exp", "mean", "quantiles", "identity"}
        What turns raw outputs into predictions; see `predictions`.
    custom : bool
        Whether a function or ``__call__`` from outside this package computes it.
    unbounded : bool
        Whether outputs are logits, log-rates or margins, which must be free to take any real value. The network must then not end
        in an activation that bounds them, such as softmax, relu or tanh; see `check_activation`.
    reduction : {"mean", "sum"}
        Whether the loss of a row is the mean or the sum over its outputs.
    target_range : (float, float)
        The bounds of targets that are numbers.
    open_range : bool
        Whether the bounds themselves are no targets.
    parameter, column : str
        The option that the kernel takes as a number, and the one that it takes as a number for each output; empty where there is
        none.
    class_weight : mapping, sequence, "balanced" or None
        Weights of the classes, where the loss has them.
    """

    name: ClassVar[str] = ""
    task: ClassVar[str] = "regression"
    link: ClassVar[str] = "identity"
    unbounded: ClassVar[bool] = False
    reduction: ClassVar[str] = "mean"
    target_range: ClassVar[tuple[float, float]] = (-inf, inf)
    open_range: ClassVar[bool] = False
    parameter: ClassVar[str] = ""
    column: ClassVar[str] = ""
    class_weight: ClassWeight | None = option(check_class_weight, default=None)

    def __call__(
        self, outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
    ) -> tuple[float, Array]:
        """Return the loss and its gradient.

        Parameters
        ----------
        outputs : array (n, k)
            The network's raw outputs, float32 or float64; other real dtypes are taken as float64.
        targets : array
            As `prepare_targets` takes them, n rows.
        sample_weight : array (n,), optional
            Finite weights of the rows; negative ones keep their sign.

        Returns
        -------
        loss : float
        grad_outputs : array (n, k)

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit each other or the loss; see `prepare_targets`.
        """
        matrix, prepared, weight = self._prepare(outputs, targets, sample_weight)
        grad = np.empty_like(matrix)
        return float(written(self, "compute")(matrix, prepared, weight, grad)), grad

    def value(self, outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return the loss alone.

        Parameters
        ----------
        outputs, targets, sample_weight : array
            As in a call.

        Returns
        -------
        float
        """
        return float(written(self, "compute")(*self._prepare(outputs, targets, sample_weight), None))

    def check_activation(self, activation: ActivationFunction) -> None:
        """Refuse an activation at the network's end that bounds outputs which the loss takes for logits, log-rates or margins.

        Raises
        ------
        ValueError
            If the loss is `unbounded` and the range of the activation is not all real numbers.

        Examples
        --------
        >>> from backprop import activations
        >>> MSE().check_activation(activations.softplus)
        >>> Poisson().check_activation(activations.softplus)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: poisson takes any real number as its output and applies exp itself, but the network ends in softplus, ...
        """
        low, high = activation.range
        if not self.unbounded or (low == -inf and high == inf):
            return
        link = f" and applies {self.link} itself" if self.link in ("softmax", "sigmoid", "exp") else ""
        bounds = f"at least {low:g}" if high == inf else f"at most {high:g}" if low == -inf else f"in [{low:g}, {high:g}]"
        hint = " (predict_proba gives probabilities)" if self.link in ("softmax", "sigmoid") else ""
        raise ValueError(
            f"{self.name} takes any real number as its output{link}, but the network ends in {activation.name}, whose values are "
            f"{bounds}: give its last layer activation='identity'{hint}, or use a loss that compares values, such as mse"
        )

    def predictions(self, outputs: npt.ArrayLike) -> Array:
        """Return the predictions that raw outputs stand for.

        Probabilities after "softmax" and "sigmoid", e to the outputs after "exp"; for `Gaussian` the means, and for
        `NonCrossingQuantiles` the quantiles; the outputs themselves for all other losses.

        Parameters
        ----------
        outputs : array (n, k)
            What `Network.predict` returns.

        Returns
        -------
        array (n, k), or (n, k / 2) of means

        Examples
        --------
        >>> Poisson().predictions([[0.0, 1.0]]).round(2)
        array([[1.  , 2.72]])
        """
        return _links.predictions(self.link, _outputs_matrix(outputs))

    def _prepare(
        self, outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None
    ) -> tuple[Array, Any, Array | None]:
        matrix = _outputs_matrix(outputs)
        rows, k = matrix.shape
        prepared = self.prepare_targets(targets, k, matrix.dtype)
        if len(prepared) != rows:
            raise ValueError(
                f"targets and outputs must have the same number of rows, got shapes {np.shape(targets)} and {matrix.shape}"
            )
        weight = None if sample_weight is None else check_sample_weight(sample_weight, rows, matrix.dtype)
        if self.class_weight is not None:
            weight = weigh_rows(prepared, self.class_weight_vector(self.class_weight, [prepared], k), weight, matrix.dtype)
        return matrix, prepared, weight

    def prepare_targets(
        self, targets: npt.ArrayLike, n_outputs: int, dtype: npt.DTypeLike, *, name: str = "targets", check_finite: bool = True
    ) -> Array | Labels:
        """Check targets and convert them to what the kernel takes: labels (n,) int64, or a matrix (n, n_outputs) of ``dtype``.

        Prepared targets may be prepared again; they come back as they are.

        Parameters
        ----------
        targets : array-like
        n_outputs : int
            The width of the network's output.
        dtype : dtype
            The network's dtype.
        name : str
            What error messages call the targets.
        check_finite : bool
            Whether to look for NaN and infinities.

        Raises
        ------
        TypeError
            If the dtype cannot be what the loss needs.
        ValueError
            If shape or values cannot.
        """
        return self._targets(as_real_array(targets, name), _Wanted(n_outputs, np.dtype(dtype), name, check_finite))

    def compute(self, outputs: Array, targets: Any, weight: Array | None, grad: Array | None) -> float:
        """Return the loss of prepared arrays.

        Parameters
        ----------
        outputs : array (n, k)
            The network's raw outputs.
        targets : array
            As `prepare_targets` returns them.
        weight : array (n,) or None
            Weights of the rows, class weights included.
        grad : array (n, k) or None
            Where to write the gradient.

        Returns
        -------
        float
        """
        return self._run(kernels.active(), outputs, targets, weight, grad)

    def per_output(self, n_outputs: int, dtype: npt.DTypeLike) -> Array | None:
        """Return the option that has a value for each output, as the kernel takes it; None for losses without one.

        Parameters
        ----------
        n_outputs : int
            The width of the network's output.
        dtype : dtype
            The network's dtype.

        Returns
        -------
        array (n_outputs,) or None
        """
        option = getattr(self, self.column) if self.column else None
        return None if option is None else _per_output(self.column, option, n_outputs, dtype)

    @property
    def custom(self) -> bool:
        """Whether a function or ``__call__`` from outside this package computes the loss."""
        return type(self).__call__ is not Loss._written["__call__"]

    @property
    def is_saved(self) -> bool:
        """Whether `config` describes the loss: a class or function from outside this package is code, which is not saved."""
        return type(self) in _LOSSES

    @property
    def row_class_weight(self) -> ClassWeight | None:
        """The class weights that training multiplies into the weights of rows; a ``__call__`` of a subclass applies them itself."""
        return None if self.custom else self.class_weight

    def _targets(self, given: npt.NDArray[Any], wanted: _Wanted) -> Array | Labels:
        if self.custom:
            return _targets_as_given(given, wanted)
        matrix = _target_matrix(given, wanted)
        low, high = self.target_range
        if low == -inf and high == inf:
            return matrix
        bounds = f"in [{low:g}, {high:g}]" if high < inf else "positive" if self.open_range else "not negative"
        inside = (low < matrix) & (matrix < high) if self.open_range else (low <= matrix) & (matrix <= high)
        return _refuse(matrix, ~(inside | np.isnan(matrix)), wanted.name, f"{bounds} for {self.name}")

    def _run(self, active: kernels.Kernels, outputs: Array, targets: Any, weight: Array | None, grad: Array | None) -> float:
        if self.name not in NAMES:
            raise missing(self, _CALL)
        column = (self.per_output(outputs.shape[1], outputs.dtype),) if self.column else ()
        parameter = (getattr(self, self.parameter),) if self.parameter else ()
        loss: float = getattr(active, self._kernel(targets))(outputs, targets, weight, *column, grad, *parameter)
        return loss

    def _kernel(self, targets: Any) -> str:
        """Return the name of the kernel for these targets."""
        return self.name

    def _value_by_call(
        self, outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return the loss alone; the arguments are those of a call."""
        matrix = _outputs_matrix(outputs)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, len(matrix), matrix.dtype)
        return self._compute_by_call(matrix, targets, weight, None)

    def _compute_by_call(self, outputs: Array, targets: Any, weight: Array | None, grad: Array | None) -> float:
        """Return the loss of prepared arrays, and write its gradient into ``grad`` unless that is None."""
        takes_weight = weight is None or _takes_weight(type(self).__call__)
        return _called(self, f"{type(self).__name__}.__call__", takes_weight, outputs, targets, weight, grad)

    _SHORTCUTS: ClassVar[Shortcuts] = {"compute": {"__call__": _compute_by_call}, "value": {"__call__": _value_by_call}}

    def class_weight_vector(self, spec: ClassWeight, targets: Iterable[Array | Labels], n_outputs: int) -> npt.NDArray[np.float64]:
        """Return one weight for each class, from a mapping, a sequence or ``"balanced"``.

        Parameters
        ----------
        spec : mapping, sequence or "balanced"
        targets : iterable of arrays
            Prepared targets, in parts, which balanced weights are computed over.
        n_outputs : int

        Raises
        ------
        ValueError
            If the loss has no classes, or the weights are not valid.
        """
        return class_weight_vector(spec, targets, self._n_classes(n_outputs))

    def _n_classes(self, n_outputs: int) -> int:
        """Return the number of classes of which a row has one; a ValueError if the loss has none."""
        if self.task == "classification":
            return n_outputs
        if self.task == "binary" and n_outputs == 1:
            return 2
        raise ValueError(f"class_weight needs a loss with one target class per row; {self.name} with {n_outputs} outputs has none")

    def _check_options(self) -> None:
        if self.class_weight is not None and type(self) in _LOSSES and not isinstance(self, CrossEntropy):
            raise ValueError(f"{self.name} has no option class_weight: give class_weight to fit")

    def config(self) -> dict[str, Any]:
        """Return the name and the options, ready for JSON; `get` turns them back into a loss.

        Raises
        ------
        TypeError
            For a loss that is a class or function from outside this package, as code is not saved.
        """
        if not self.is_saved:
            raise TypeError(f"a custom loss ({type(self).__name__}) cannot be saved; give it again when loading")
        return {"name": self.name, **{key: _plain(getattr(self, key)) for key in signature(type(self)).parameters}}

    def __repr__(self) -> str:
        """Return the call that makes this loss."""
        keys = [key for key in signature(type(self)).parameters if hasattr(self, key)]
        return f"{type(self).__name__}({', '.join(f'{key}={getattr(self, key)!r}' for key in keys)})"


class CrossEntropy(Loss):
    """``-sum_j t_j log softmax(logits)_j``: one class out of k; PyTorch's CrossEntropyLoss.

    The sum over classes, the mean over rows. Targets are labels, 1-D int or bool in ``[0, k)``, or the probability of
    each class, 2-D (n, k), finite and not negative.

    Parameters
    ----------
    label_smoothing : float
        In [0, 1): ``t = (1 - label_smoothing) onehot(label) + label_smoothing / k``.
        Source: Szegedy et al., CVPR 2016, arXiv:1512.00567, section 7.
    class_weight : mapping, sequence or "balanced", optional
        A weight for each class, multiplied into the row's weight. ``"balanced"`` is computed over the targets at hand,
        in `fit` over the whole training set. (PyTorch agrees for labels without smoothing; otherwise it weighs the classes
        within a row one by one.)

    Examples
    --------
    >>> loss, grad = CrossEntropy()([[0.0, 0.0]], [1])
    >>> round(loss, 4), grad
    (0.6931, array([[ 0.5, -0.5]]))
    """

    name = "cross_entropy"
    task = "classification"
    link = "softmax"
    unbounded = True
    reduction = "sum"
    target_range = (0.0, inf)
    parameter = "label_smoothing"

    label_smoothing: float = option(check_in, 0.0, 1.0, closed="left")

    def __init__(self, *, label_smoothing: float = 0.0, class_weight: ClassWeight | None = None) -> None:
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight

    def _targets(self, given: npt.NDArray[Any], wanted: _Wanted) -> Array | Labels:
        if given.ndim == 2 and not (wanted.n_outputs == 1 and given.dtype.kind in "biu"):
            return _probabilities(given, wanted)
        return _labels(given, wanted.n_outputs, wanted.name)

    def _kernel(self, targets: Any) -> str:
        return "cross_entropy" if targets.ndim == 1 else "cross_entropy_soft"


class Focal(Loss):
    """``-(1 - p)^gamma log p``, p the probability of the label: rows that are predicted well count less than in `CrossEntropy`.

    The mean over rows. Targets are labels, 1-D int or bool in ``[0, k)``. Weights of classes, which the paper calls alpha, are an
    argument of `fit`. Source: Lin et al., ICCV 2017, arXiv:1708.02002.

    Parameters
    ----------
    gamma : float
        How much less, from 0 up; 0 makes it the cross entropy.

    Examples
    --------
    >>> loss, grad = Focal(gamma=2.0)([[0.0, 0.0]], [1])
    >>> round(loss, 4), grad
    (0.1733, array([[ 0.2982868, -0.2982868]]))
    """

    name = "focal"
    task = "classification"
    link = "softmax"
    unbounded = True
    reduction = "sum"
    target_range = (0.0, inf)
    parameter = "gamma"

    gamma: float = option(check_nonnegative)

    def __init__(self, *, gamma: float = 2.0) -> None:
        self.gamma = gamma

    def _targets(self, given: npt.NDArray[Any], wanted: _Wanted) -> Array | Labels:
        if given.ndim == 2 and wanted.n_outputs > 1:
            raise ValueError(
                f"{wanted.name} must be class labels of shape (n,) for focal, got shape {given.shape}; for labels that do not "
                "exclude each other use binary_focal"
            )
        return _labels(given, wanted.n_outputs, wanted.name)


class KLDivergence(Loss):
    """``sum_j t_j (log t_j - log softmax(logits)_j)``: how far the softmax is from given probabilities.

    The sum over classes, the mean over rows: PyTorch's KLDivLoss with ``reduction="batchmean"``. Targets are probabilities
    (n, k), finite and not negative. For rows that sum to 1 the least value is 0 and the gradient is that of `CrossEntropy`.
    """

    name = "kl_divergence"
    task = "classification"
    link = "softmax"
    unbounded = True
    reduction = "sum"
    target_range = (0.0, inf)

    def _targets(self, given: npt.NDArray[Any], wanted: _Wanted) -> Array | Labels:
        if given.ndim == 1 and wanted.n_outputs > 1:
            raise ValueError(
                f"{wanted.name} must be probabilities of shape (n, {wanted.n_outputs}) for kl_divergence, "
                f"got shape {given.shape}; for class labels use cross_entropy"
            )
        return _probabilities(given, wanted)


class BinaryCrossEntropy(Loss):
    """``-(pos_weight t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)))``: a binary label for each output.

    PyTorch's BCEWithLogitsLoss, the mean over outputs and rows. Targets are 0 or 1 of any real dtype, or probabilities in [0, 1].

    Parameters
    ----------
    pos_weight : float or sequence of k floats, optional
        How much a positive counts against a negative, for all outputs or for each.
    """

    name = "binary_cross_entropy"
    task = "binary"
    link = "sigmoid"
    unbounded = True
    target_range = (0.0, 1.0)
    column = "pos_weight"

    pos_weight: Converted[float | tuple[float, ...] | None, float | Sequence[float] | None] = option(
        optional(_one_or_several), check_positive
    )

    def __init__(self, *, pos_weight: float | Sequence[float] | None = None) -> None:
        self.pos_weight = pos_weight

    def _targets(self, given: npt.NDArray[Any], wanted: _Wanted) -> Array | Labels:
        self.per_output(wanted.n_outputs, wanted.dtype)
        return super()._targets(given, wanted)


class BinaryFocal(Loss):
    """``-(t (1 - p)^gamma log p + (1 - t) p^gamma log(1 - p))``: `Focal` for a binary label of each output, p = sigmoid(z).

    The mean over outputs and rows; torchvision's sigmoid_focal_loss with ``alpha=-1``. Targets are 0 or 1 of any real dtype, or
    probabilities in [0, 1].

    Parameters
    ----------
    gamma : float
        How much less labels count that are predicted well, from 0 up; 0 makes it the binary cross entropy.
    """

    name = "binary_focal"
    task = "binary"
    link = "sigmoid"
    unbounded = True
    target_range = (0.0, 1.0)
    parameter = "gamma"

    gamma: float = option(check_nonnegative)

    def __init__(self, *, gamma: float = 2.0) -> None:
        self.gamma = gamma


class MSE(Loss):
    """``(output - target)^2``, the mean over outputs and rows; PyTorch's MSELoss."""

    name = "mse"


class HalfMSE(Loss):
    """``sum_j (output_j - target_j)^2 / 2``, the mean over rows: the textbooks' error, with gradient ``(output - target) / n``."""

    name = "half_mse"
    reduction = "sum"


class MAE(Loss):
    """``|output - target|``, the mean over outputs and rows; the gradient at 0 is 0; PyTorch's L1Loss."""

    name = "mae"


class LogCosh(Loss):
    """``log cosh(output - target)``, the mean over outputs and rows: smooth, quadratic near 0, linear far away; Keras' LogCosh."""

    name = "log_cosh"


class Poisson(Loss):
    """``e^output - target output``: counts, with the outputs as log-rates; PyTorch's PoissonNLLLoss(log_input=True).

    The mean over outputs and rows. Targets are counts or rates, not negative.
    """

    name = "poisson"
    link = "exp"
    unbounded = True
    target_range = (0.0, inf)


class Gamma(Loss):
    """``target e^-output + output``: positive numbers whose spread grows with their mean, with the outputs as logarithms of means.

    The negative log-likelihood of a gamma distribution, but for terms that depend on its shape or on the target alone: half the
    gamma deviance is this minus ``log(target) + 1``. The mean over outputs and rows. Targets are positive.
    """

    name = "gamma"
    link = "exp"
    unbounded = True
    target_range = (0.0, inf)
    open_range = True


class Gaussian(Loss):
    """``(s + (target - mean)^2 e^-s) / 2`` with ``s = log(variance)``: a mean and a variance for each target.

    The negative log-likelihood of a normal distribution, but for ``log(2 pi) / 2``; PyTorch's GaussianNLLLoss. The network has two
    outputs for each target: the first half are means, the second half log-variances. The mean over targets and rows. Targets have
    shape (n, k / 2), or (n,) for one. Source: Nix and Weigend, ICNN 1994.

    Examples
    --------
    >>> loss, grad = Gaussian()([[1.0, 0.0]], [3.0])
    >>> round(loss, 4), grad
    (2.0, array([[-2. , -1.5]]))
    >>> Gaussian().predictions([[1.0, 0.0]]), Gaussian().std([[1.0, 0.0]])
    (array([[1.]]), array([[1.]]))
    """

    name = "gaussian"
    link = "mean"
    unbounded = True

    def std(self, outputs: npt.ArrayLike) -> Array:
        """Return the standard deviations that raw outputs (n, k) stand for, (n, k / 2); `predictions` returns the means."""
        matrix = _outputs_matrix(outputs)
        return np.exp(matrix[:, matrix.shape[1] // 2 :] / 2)

    def _targets(self, given: npt.NDArray[Any], wanted: _Wanted) -> Array | Labels:
        n_outputs, half = wanted.n_outputs, wanted.n_outputs // 2
        if n_outputs % 2:
            raise ValueError(f"gaussian needs two outputs for each target, a mean and a log-variance; the network has {n_outputs}")
        if given.ndim == 2 and given.shape[1] == n_outputs and np.array_equal(given[:, :half], given[:, half:], equal_nan=True):
            return _target_matrix(given, wanted)  # prepared before
        if (given.ndim == 1 and half != 1) or (given.ndim == 2 and given.shape[1] != half):
            shape = "(n,) or (n, 1)" if half == 1 else f"(n, {half})"
            raise ValueError(
                f"{wanted.name} must have shape {shape} for gaussian where the network has {n_outputs} outputs, got {given.shape}"
            )
        return np.tile(_target_matrix(given, wanted._replace(n_outputs=half)), 2)


class Hinge(Loss):
    """``max(0, 1 - (2 t - 1) output)``: the margin loss of support vector machines, the mean over outputs and rows.

    Targets are 0 or 1; the gradient at the kink is 0. Keras' Hinge, which takes -1 and 1 as well.
    """

    name = "hinge"
    task = "binary"
    unbounded = True

    def _targets(self, given: npt.NDArray[Any], wanted: _Wanted) -> Array | Labels:
        matrix = _target_matrix(given, wanted)
        return _refuse(matrix, (matrix != 0) & (matrix != 1), wanted.name, "0 or 1 for hinge")


class Huber(Loss):
    """``d^2 / 2`` up to ``|d| = delta``, then ``delta (|d| - delta / 2)``, d = output - target; PyTorch's HuberLoss.

    The mean over outputs and rows. Source: Huber, Annals of Mathematical Statistics 35, 1964.

    Parameters
    ----------
    delta : float
        Where the parabola becomes a line; positive.
    """

    name = "huber"
    parameter = "delta"

    delta: float = option(check_positive)

    def __init__(self, *, delta: float = 1.0) -> None:
        self.delta = delta


class Quantile(Loss):
    """``max(q (t - o), (q - 1) (t - o))``: makes the output the q-quantile of the target; the pinball loss.

    The mean over outputs and rows; the gradient at 0 is 0. Source: Koenker and Bassett, Econometrica 46, 1978.

    Parameters
    ----------
    q : float or sequence of floats
        Each in (0, 1). Several need one output each; then the one target of a row, given as (n,) or (n, 1), serves every output.
    """

    name = "quantile"
    column = "q"

    q: Converted[float | tuple[float, ...], float | Sequence[float]] = option(_one_or_several, check_in, 0.0, 1.0, closed="neither")

    def __init__(self, *, q: float | Sequence[float] = 0.5) -> None:
        self.q = q

    def _targets(self, given: npt.NDArray[Any], wanted: _Wanted) -> Array | Labels:
        self.per_output(wanted.n_outputs, wanted.dtype)
        return _one_for_all(given, wanted) if isinstance(self.q, tuple) else _target_matrix(given, wanted)


def _increasing(name: str, value: Any) -> tuple[float, ...]:
    """Return a tuple of numbers in (0, 1), each larger than the one before."""
    values = tuple(check_in(name, one, 0.0, 1.0, closed="neither") for one in np.asarray(value).ravel())
    if np.ndim(value) != 1 or not values or any(high <= low for low, high in pairwise(values)):
        raise ValueError(f"{name} must be a sequence of numbers, each larger than the one before, got {value!r}")
    return values


class NonCrossingQuantiles(Loss):
    """The loss of `Quantile` for several quantiles of one target, which cannot cross: each is the one below plus a positive step.

    The first output is the lowest quantile, ``Q_0``, and the others are steps, ``Q_j = Q_(j-1) + softplus(output_j)``;
    `predictions` returns the quantiles. The mean over quantiles and rows. The one target of a row is given as (n,) or (n, 1).

    Parameters
    ----------
    q : sequence of k floats, optional
        Each in (0, 1) and larger than the one before; the network has one output for each. None divides (0, 1) evenly:
        ``1 / (k + 1), 2 / (k + 1)`` and so on.

    Examples
    --------
    >>> loss = NonCrossingQuantiles(q=[0.1, 0.5, 0.9])
    >>> loss.predictions([[1.0, 0.0, -2.0]]).round(4)
    array([[1.    , 1.6931, 1.8201]])
    >>> loss.value([[1.0, 0.0, -2.0]], [1.6931]).round(4)
    0.0273
    """

    name = "non_crossing_quantiles"
    link = "quantiles"
    unbounded = True
    column = "q"

    q: Converted[tuple[float, ...] | None, Sequence[float] | None] = option(optional(_increasing))

    def __init__(self, *, q: Sequence[float] | None = None) -> None:
        self.q = q

    def per_output(self, n_outputs: int, dtype: npt.DTypeLike) -> Array | None:
        """Return the quantiles, as the kernel takes them."""
        if self.q is None:
            return (np.arange(1, n_outputs + 1) / (n_outputs + 1)).astype(dtype)
        return super().per_output(n_outputs, dtype)

    def _targets(self, given: npt.NDArray[Any], wanted: _Wanted) -> Array | Labels:
        self.per_output(wanted.n_outputs, wanted.dtype)
        return _one_for_all(given, wanted)


class FunctionLoss(Loss):
    """A custom loss function: ``function(outputs, targets) -> (value, dL/doutputs)``.

    Targets reach it as they are given, except that floats are cast to the network's dtype and integers to int64, and that
    with one output ``(n,)`` becomes ``(n, 1)``. Weights reach it as ``sample_weight=``, divided by their mean size over the batch:
    ``np.mean(sample_weight * l)`` is then the weighted mean that other losses return. What a batch counts beside others in `fit` is
    not the function's business.
    """

    name = "function"
    task = "custom"

    function: LossFunction = fixed(_checked_function, remedy="make a new FunctionLoss")

    def __init__(self, function: LossFunction) -> None:
        self.function = function
        self.takes_weight = _takes_weight(function)

    def _run(self, active: kernels.Kernels, outputs: Array, targets: Any, weight: Array | None, grad: Array | None) -> float:
        who = f"the loss function {_name_of(self.function)}"
        return _called(self.function, who, self.takes_weight, outputs, targets, weight, grad)

    @property
    def custom(self) -> bool:
        """True."""
        return True

    def config(self) -> dict[str, Any]:
        """Refuse: code is never saved."""
        raise TypeError(f"a custom loss function ({_name_of(self.function)}) cannot be saved; give it again when loading")

    def __repr__(self) -> str:
        """Return the name of the function."""
        return f"FunctionLoss({_name_of(self.function)})"


_LOSSES: Registry[Loss] = Registry(
    "loss",
    [
        CrossEntropy,
        BinaryCrossEntropy,
        MSE,
        HalfMSE,
        MAE,
        Huber,
        LogCosh,
        Poisson,
        Quantile,
        Hinge,
        KLDivergence,
        Focal,
        BinaryFocal,
        Gamma,
        Gaussian,
        NonCrossingQuantiles,
    ],
)
NAMES = _LOSSES.names


def get(spec: str | Loss | LossFunction | dict[str, Any]) -> Loss:
    """Return the loss that a name, a `Loss`, a `Loss.config` or a function stands for.

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        For anything else.

    Examples
    --------
    >>> get("huber")
    Huber(delta=1.0)
    >>> get({"name": "huber", "delta": 2.0})
    Huber(delta=2.0)
    """
    if isinstance(spec, Loss):
        _check_complete(spec)
        return spec
    if isinstance(spec, dict):
        if isinstance(spec.get("class_weight"), dict):  # JSON knows only strings as keys
            spec = spec | {"class_weight": {int(label): weight for label, weight in spec["class_weight"].items()}}
        return _LOSSES.make(spec)
    if callable(spec):
        name = getattr(spec, "__name__", "")
        own = spec is globals().get(name) and name in NAMES  # losses.mse itself stands for "mse"
        return _LOSSES.make(name) if own else FunctionLoss(spec)
    return _LOSSES.make(spec)


def cross_entropy(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    label_smoothing: float = 0.0,
    class_weight: ClassWeight | None = None,
) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `CrossEntropy`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs (logits).
    targets : array (n,) or (n, k)
        Labels, or the probability of each class.
    sample_weight : array (n,), optional
        Finite weights of the rows.
    label_smoothing : float
        In [0, 1): the share of the label's probability that goes to all classes alike.
    class_weight : mapping, sequence or "balanced", optional
        A weight for each class.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = cross_entropy([[0.0, 0.0]], [1])
    >>> round(loss, 4), grad
    (0.6931, array([[ 0.5, -0.5]]))
    """
    return CrossEntropy(label_smoothing=label_smoothing, class_weight=class_weight)(outputs, targets, sample_weight=sample_weight)


def binary_cross_entropy(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    pos_weight: float | Sequence[float] | None = None,
) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `BinaryCrossEntropy`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs (logits).
    targets : array (n, k)
        0 or 1, or probabilities in [0, 1].
    sample_weight : array (n,), optional
        Finite weights of the rows.
    pos_weight : float or sequence of k floats, optional
        The weight of a positive against a negative.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = binary_cross_entropy([[0.0, 0.0]], [[1, 0]])
    >>> round(loss, 4), grad
    (0.6931, array([[-0.25,  0.25]]))
    """
    return BinaryCrossEntropy(pos_weight=pos_weight)(outputs, targets, sample_weight=sample_weight)


def mse(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `MSE`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs.
    targets : array (n, k)
        The numbers to predict.
    sample_weight : array (n,), optional
        Finite weights of the rows.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = mse([[1.0, 2.0]], [[1.0, 4.0]])
    >>> round(loss, 4), grad
    (2.0, array([[ 0., -2.]]))
    """
    return MSE()(outputs, targets, sample_weight=sample_weight)


def half_mse(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `HalfMSE`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs.
    targets : array (n, k)
        The numbers to predict.
    sample_weight : array (n,), optional
        Finite weights of the rows.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = half_mse([[1.0, 2.0]], [[1.0, 4.0]])
    >>> round(loss, 4), grad
    (2.0, array([[ 0., -2.]]))
    """
    return HalfMSE()(outputs, targets, sample_weight=sample_weight)


def mae(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `MAE`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs.
    targets : array (n, k)
        The numbers to predict.
    sample_weight : array (n,), optional
        Finite weights of the rows.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = mae([[1.0, 2.0]], [[1.0, 4.0]])
    >>> round(loss, 4), grad
    (1.0, array([[ 0. , -0.5]]))
    """
    return MAE()(outputs, targets, sample_weight=sample_weight)


def huber(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None, delta: float = 1.0
) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `Huber`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs.
    targets : array (n, k)
        The numbers to predict.
    sample_weight : array (n,), optional
        Finite weights of the rows.
    delta : float
        Where the parabola becomes a line; positive.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = huber([[1.0, 2.0]], [[1.0, 4.0]])
    >>> round(loss, 4), grad
    (0.75, array([[ 0. , -0.5]]))
    """
    return Huber(delta=delta)(outputs, targets, sample_weight=sample_weight)


def log_cosh(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `LogCosh`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs.
    targets : array (n, k)
        The numbers to predict.
    sample_weight : array (n,), optional
        Finite weights of the rows.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = log_cosh([[1.0, 2.0]], [[1.0, 4.0]])
    >>> round(loss, 4), grad
    (0.6625, array([[ 0.        , -0.48201379]]))
    """
    return LogCosh()(outputs, targets, sample_weight=sample_weight)


def poisson(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `Poisson`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs, which are log-rates.
    targets : array (n, k)
        Counts or rates, not negative.
    sample_weight : array (n,), optional
        Finite weights of the rows.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = poisson([[0.0]], [[2]])
    >>> round(loss, 4), grad
    (1.0, array([[-1.]]))
    """
    return Poisson()(outputs, targets, sample_weight=sample_weight)


def quantile(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    q: float | Sequence[float] = 0.5,
) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `Quantile`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs.
    targets : array (n, k)
        The numbers to predict.
    sample_weight : array (n,), optional
        Finite weights of the rows.
    q : float or sequence of k floats
        The quantile to predict, in (0, 1), or one for each output.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = quantile([[1.0]], [[3.0]], q=0.9)
    >>> round(loss, 4), grad
    (1.8, array([[-0.9]]))
    """
    return Quantile(q=q)(outputs, targets, sample_weight=sample_weight)


def hinge(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `Hinge`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs.
    targets : array (n, k)
        0 or 1.
    sample_weight : array (n,), optional
        Finite weights of the rows.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = hinge([[0.5, 0.5]], [[1, 0]])
    >>> round(loss, 4), grad
    (1.0, array([[-0.5,  0.5]]))
    """
    return Hinge()(outputs, targets, sample_weight=sample_weight)


def kl_divergence(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `KLDivergence`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs (logits).
    targets : array (n, k)
        Probabilities.
    sample_weight : array (n,), optional
        Finite weights of the rows.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = kl_divergence([[0.0, 0.0]], [[0.5, 0.5]])
    >>> round(loss, 4), grad
    (0.0, array([[0., 0.]]))
    """
    return KLDivergence()(outputs, targets, sample_weight=sample_weight)


def focal(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    gamma: float = 2.0,
) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `Focal`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs (logits).
    targets : array (n,)
        Labels.
    sample_weight : array (n,), optional
        Finite weights of the rows.
    gamma : float
        How much less rows count that are predicted well; from 0 up.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = focal([[0.0, 0.0]], [1])
    >>> round(loss, 4), grad
    (0.1733, array([[ 0.2982868, -0.2982868]]))
    """
    return Focal(gamma=gamma)(outputs, targets, sample_weight=sample_weight)


def binary_focal(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    gamma: float = 2.0,
) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `BinaryFocal`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs (logits).
    targets : array (n, k)
        0 or 1, or probabilities in [0, 1].
    sample_weight : array (n,), optional
        Finite weights of the rows.
    gamma : float
        How much less labels count that are predicted well; from 0 up.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = binary_focal([[0.0]], [[1]])
    >>> round(loss, 4), grad
    (0.1733, array([[-0.2982868]]))
    """
    return BinaryFocal(gamma=gamma)(outputs, targets, sample_weight=sample_weight)


def gamma(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `Gamma`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs, which are logarithms of means.
    targets : array (n, k)
        Positive numbers.
    sample_weight : array (n,), optional
        Finite weights of the rows.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = gamma([[0.0]], [[2.0]])
    >>> round(loss, 4), grad
    (2.0, array([[-1.]]))
    """
    return Gamma()(outputs, targets, sample_weight=sample_weight)


def gaussian(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `Gaussian`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs: means, and then as many log-variances.
    targets : array (n, k / 2)
        The numbers to predict.
    sample_weight : array (n,), optional
        Finite weights of the rows.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = gaussian([[1.0, 0.0]], [3.0])
    >>> round(loss, 4), grad
    (2.0, array([[-2. , -1.5]]))
    """
    return Gaussian()(outputs, targets, sample_weight=sample_weight)


def non_crossing_quantiles(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    q: Sequence[float] | None = None,
) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to ``outputs``; the loss is that of `NonCrossingQuantiles`.

    Parameters
    ----------
    outputs : array (n, k)
        The network's raw outputs: the lowest quantile, and then the steps to the others, before softplus.
    targets : array (n,) or (n, 1)
        The numbers to predict.
    sample_weight : array (n,), optional
        Finite weights of the rows.
    q : sequence of k floats, optional
        The quantiles to predict, in (0, 1) and increasing; by default they divide it evenly.

    Returns
    -------
    loss : float
    grad_outputs : array (n, k)

    Examples
    --------
    >>> loss, grad = non_crossing_quantiles([[1.0, 0.0]], [1.0], q=[0.1, 0.9])
    >>> round(loss, 4), grad
    (0.0347, array([[0.05 , 0.025]]))
    """
    return NonCrossingQuantiles(q=q)(outputs, targets, sample_weight=sample_weight)


def loss_and_gradient(loss: Loss, outputs: Array, targets: Any, sample_weight: npt.ArrayLike | None) -> tuple[float, Array]:
    """Call a loss; weights are passed on only where there are any, as a custom loss need not take them."""
    if sample_weight is None:
        return loss(outputs, targets)
    return loss(outputs, targets, sample_weight=sample_weight)


def _check_complete(loss: Loss) -> None:
    """Refuse a subclass without a definition, or with one of the value and none of the gradient."""
    kind = type(loss)
    if not loss.custom and kind.compute is Loss.compute and kind._run is Loss._run and loss.name not in NAMES:
        raise missing(loss, _CALL)
    value, *others = (
        -1 if name in vars(loss) else next(i for i, base in enumerate(kind.__mro__) if name in vars(base))
        for name in ("value", "__call__", "compute", "_run")
    )
    if value < min(others):
        raise missing(loss, f"{_CALL}: it defines value alone, which has no gradient")


_CALL = "__call__(self, outputs, targets, *, sample_weight=None), which returns the loss and dL/doutputs"


def _called(
    function: LossFunction,
    who: str,
    takes_weight: bool,
    outputs: Array,
    targets: Any,
    weight: Array | None,
    grad: Array | None,
) -> float:
    """Call a custom loss, check what it returns, write the gradient into ``grad`` unless that is None, and return the value."""
    if weight is None:
        result = function(outputs, targets)
    elif takes_weight:
        size = np.abs(weight).mean(dtype=np.float64)
        result = function(outputs, targets, sample_weight=(weight / size).astype(weight.dtype) if size else weight)
    else:
        raise TypeError(f"{who} must take sample_weight= to be used with weights")
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(f"{who} must return (value, grad_outputs), got {type(result).__name__}")
    value, gradient = np.asarray(result[0]), np.asarray(result[1])
    if value.ndim or value.dtype.kind not in "biuf":
        raise TypeError(f"{who} must return one real number as its value, got {result[0]!r}")
    if gradient.dtype.kind not in "biuf":
        raise TypeError(f"{who} must return a real gradient, got dtype {gradient.dtype}")
    if gradient.shape != outputs.shape:
        raise ValueError(f"{who} must return a gradient of the outputs' shape {outputs.shape}, got {gradient.shape}")
    if grad is not None:
        grad[...] = gradient
    return float(value)


@cache
def _takes_weight(function: LossFunction) -> bool:
    try:
        parameters = signature(function).parameters
    except ValueError:  # some callables written in C have no signature
        return False
    return "sample_weight" in parameters or any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())


def _targets_as_given(given: npt.NDArray[Any], wanted: _Wanted) -> Array | Labels:
    """Targets for a custom loss: any shape; integers as int64, floats in the network's dtype, (n,) as (n, 1) for one output."""
    if given.ndim == 0:
        raise ValueError(f"{wanted.name} must have one entry per row, got a single number")
    if wanted.n_outputs == 1 and given.ndim <= 2:
        return _target_matrix(given, wanted)
    if given.dtype.kind in "biu":
        return as_contiguous(given, wanted.name, np.dtype(np.int64))
    cast = as_parameter(given, wanted.name, given.shape, wanted.dtype)
    if wanted.check_finite:
        require_finite(cast, wanted.name)
    return cast


def _outputs_matrix(outputs: npt.ArrayLike) -> Array:
    given = as_real_array(outputs, "outputs")
    dtype = np.float32 if given.dtype == np.float32 else np.float64
    return as_matrix(given, "outputs", dtype, check_finite=False)


def _target_matrix(given: npt.NDArray[Any], wanted: _Wanted) -> Array:
    """Targets as (n, n_outputs), from that shape or, with one output, from (n,)."""
    columns = given[:, np.newaxis] if given.ndim == 1 and wanted.n_outputs == 1 else given
    if columns.ndim != 2 or columns.shape[1] != wanted.n_outputs:
        shape = "(n,) or (n, 1)" if wanted.n_outputs == 1 else f"(n, {wanted.n_outputs})"
        outputs = f"where the network has {wanted.n_outputs} output(s)"
        raise ValueError(f"{wanted.name} must have shape {shape} {outputs}, got shape {given.shape}")
    return as_matrix(columns, wanted.name, wanted.dtype, check_finite=wanted.check_finite)


def _one_for_all(given: npt.NDArray[Any], wanted: _Wanted) -> Array:
    """Targets as (n, n_outputs), from that shape or from one target a row, which then serves every output."""
    if given.ndim == 1 or (given.ndim == 2 and given.shape[1] == 1):
        return np.repeat(_target_matrix(given, wanted._replace(n_outputs=1)), wanted.n_outputs, axis=1)
    return _target_matrix(given, wanted)


def _probabilities(given: npt.NDArray[Any], wanted: _Wanted) -> Array:
    matrix = _target_matrix(given, wanted)
    return _refuse(matrix, matrix < 0, wanted.name, "probabilities, not negative")


def _labels(given: npt.NDArray[Any], n_classes: int, name: str) -> Labels:
    if given.ndim == 2 and n_classes == 1 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim != 1:
        raise ValueError(f"{name} must be labels of shape (n,) or probabilities of shape (n, {n_classes}), got shape {given.shape}")
    if given.dtype.kind == "f" and given.size:
        raise TypeError(f"{name} must be integer class labels, got dtype {given.dtype}; convert them with {name}.astype(int)")
    outside = (given < 0) | (given >= n_classes) if given.dtype.kind != "b" else given & (n_classes < 2)
    if outside.any():
        hint = "; for one output with targets 0 and 1 use binary_cross_entropy" if n_classes == 1 else ""
        row = int(np.argmax(outside))
        raise ValueError(f"{name} must be class labels in [0, {n_classes}), got {int(given[row])} in row {row}{hint}")
    return as_contiguous(given, name, np.dtype(np.int64))


def _refuse(matrix: Array, wrong: npt.NDArray[np.bool_], name: str, allowed: str) -> Array:
    """Return the matrix, or raise a ValueError that shows the first wrong entry."""
    if wrong.any():
        where = np.unravel_index(int(np.argmax(wrong)), matrix.shape)
        raise ValueError(f"{name} must be {allowed}, got {matrix[where]} in row {where[0]}")
    return matrix


def _per_output(name: str, option: float | tuple[float, ...], n_outputs: int, dtype: npt.DTypeLike) -> Array:
    """Return an option with one value for all outputs or one for each, as a vector."""
    if isinstance(option, float):
        return np.full(n_outputs, option, dtype)
    if len(option) != n_outputs:
        raise ValueError(f"{name} must be one number or one for each of the network's {n_outputs} outputs, got {len(option)}")
    return np.array(option, dtype)


def _plain(option: Any) -> Any:
    """Return an option as JSON has it."""
    if isinstance(option, tuple):
        return list(option)
    if isinstance(option, dict):
        return {str(key): float(value) for key, value in option.items()}
    return option


def _name_of(function: LossFunction) -> str:
    return getattr(function, "__name__", type(function).__name__)
