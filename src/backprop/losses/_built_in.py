"""The losses that come with the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arrays import check_in, check_nonnegative, check_positive
from .._class_weights import ClassWeight
from .._settings import Converted, option, optional
from .._types import Array, Labels
from ._base import Loss
from ._targets import Wanted, labels, one_for_all, outputs_matrix, probabilities, refuse, target_matrix


def _one_or_several(name: str, value: Any, check: Callable[..., float], *limits: float, **keywords: Any) -> Any:
    """Return a checked number, or a tuple of those in a sequence."""
    values = _even(name, value)
    if values.ndim == 0:
        return check(name, value, *limits, **keywords)
    return tuple(check(name, one, *limits, **keywords) for one in values.ravel())


def _even(name: str, value: Any) -> npt.NDArray[Any]:
    """Return numbers as an array, or an error that says that they are none if they are sequences of several lengths."""
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a number or a sequence of numbers, got {value!r}") from None


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

    def _targets(self, given: npt.NDArray[Any], wanted: Wanted) -> Array | Labels:
        if given.ndim == 2 and not (wanted.n_outputs == 1 and given.dtype.kind in "biu"):
            return probabilities(given, wanted)
        return labels(given, wanted.n_outputs, wanted.name)

    def _kernel(self, targets: Any) -> str:
        return "cross_entropy" if targets.ndim == 1 else "cross_entropy_soft"


class Focal(Loss):
    """``-(1 - p)^gamma log p``, p the probability of the label: rows that are predicted well count less than in `CrossEntropy`.

    The mean over rows. Targets are labels, 1-D int or bool in ``[0, k)``. Weights of classes, which the paper calls alpha, are an
    argument of `fit`. Source: Lin et al., ICCV 2017, arXiv:1708.02002.

    Parameters
    ----------
    gamma : float
        The focusing parameter, not negative: the larger it is, the less such rows count; 0 makes it the cross entropy.

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

    def _targets(self, given: npt.NDArray[Any], wanted: Wanted) -> Array | Labels:
        if given.ndim == 2 and wanted.n_outputs > 1:
            raise ValueError(
                f"{wanted.name} must be class labels of shape (n,) for focal, got shape {given.shape}; for labels that do not "
                "exclude each other use binary_focal"
            )
        return labels(given, wanted.n_outputs, wanted.name)


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

    def _targets(self, given: npt.NDArray[Any], wanted: Wanted) -> Array | Labels:
        if given.ndim == 1 and wanted.n_outputs > 1:
            raise ValueError(
                f"{wanted.name} must be probabilities of shape (n, {wanted.n_outputs}) for kl_divergence, "
                f"got shape {given.shape}; for class labels use cross_entropy"
            )
        return probabilities(given, wanted)


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

    def _targets(self, given: npt.NDArray[Any], wanted: Wanted) -> Array | Labels:
        self.per_output(wanted.n_outputs, wanted.dtype)
        return super()._targets(given, wanted)


class BinaryFocal(Loss):
    """``-(t (1 - p)^gamma log p + (1 - t) p^gamma log(1 - p))``: `Focal` for a binary label of each output, p = sigmoid(z).

    The mean over outputs and rows; torchvision's sigmoid_focal_loss with ``alpha=-1``. Targets are 0 or 1 of any real dtype, or
    probabilities in [0, 1].

    Parameters
    ----------
    gamma : float
        The focusing parameter, not negative: the larger it is, the less labels count that are predicted well; 0 makes it the binary
        cross entropy.
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
        matrix = outputs_matrix(outputs)
        return np.exp(matrix[:, matrix.shape[1] // 2 :] / 2)

    def _targets(self, given: npt.NDArray[Any], wanted: Wanted) -> Array | Labels:
        n_outputs, half = wanted.n_outputs, wanted.n_outputs // 2
        if n_outputs % 2:
            raise ValueError(f"gaussian needs two outputs for each target, a mean and a log-variance; the network has {n_outputs}")
        if given.ndim == 2 and given.shape[1] == n_outputs and np.array_equal(given[:, :half], given[:, half:], equal_nan=True):
            return target_matrix(given, wanted)  # prepared before
        if (given.ndim == 1 and half != 1) or (given.ndim == 2 and given.shape[1] != half):
            shape = "(n,) or (n, 1)" if half == 1 else f"(n, {half})"
            raise ValueError(
                f"{wanted.name} must have shape {shape} for gaussian where the network has {n_outputs} outputs, got {given.shape}"
            )
        return np.tile(target_matrix(given, wanted._replace(n_outputs=half)), 2)


class Hinge(Loss):
    """``max(0, 1 - (2 t - 1) output)``: the margin loss of support vector machines, the mean over outputs and rows.

    Targets are 0 or 1; the gradient at the kink is 0. Keras' Hinge, which takes -1 and 1 as well.
    """

    name = "hinge"
    task = "binary"
    unbounded = True

    def _targets(self, given: npt.NDArray[Any], wanted: Wanted) -> Array | Labels:
        matrix = target_matrix(given, wanted)
        return refuse(matrix, (matrix != 0) & (matrix != 1), wanted.name, "0 or 1 for hinge")


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

    def _targets(self, given: npt.NDArray[Any], wanted: Wanted) -> Array | Labels:
        self.per_output(wanted.n_outputs, wanted.dtype)
        return one_for_all(given, wanted) if isinstance(self.q, tuple) else target_matrix(given, wanted)


def _increasing(name: str, value: Any) -> tuple[float, ...]:
    """Return a tuple of numbers in (0, 1), each larger than the one before."""
    values = tuple(check_in(name, one, 0.0, 1.0, closed="neither") for one in _even(name, value).ravel())
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
    >>> round(loss.value([[1.0, 0.0, -2.0]], [1.6931]), 4)
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

    def _targets(self, given: npt.NDArray[Any], wanted: Wanted) -> Array | Labels:
        self.per_output(wanted.n_outputs, wanted.dtype)
        return one_for_all(given, wanted)
