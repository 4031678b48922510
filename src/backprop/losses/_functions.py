"""The losses as functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy.typing as npt

from .._class_weights import ClassWeight
from .._types import Array
from . import _built_in


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
    return _built_in.CrossEntropy(label_smoothing=label_smoothing, class_weight=class_weight)(
        outputs, targets, sample_weight=sample_weight
    )


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
    return _built_in.BinaryCrossEntropy(pos_weight=pos_weight)(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.MSE()(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.HalfMSE()(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.MAE()(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.Huber(delta=delta)(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.LogCosh()(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.Poisson()(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.Quantile(q=q)(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.Hinge()(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.KLDivergence()(outputs, targets, sample_weight=sample_weight)


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
        The focusing parameter, not negative: the larger it is, the less rows count that are predicted well.

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
    return _built_in.Focal(gamma=gamma)(outputs, targets, sample_weight=sample_weight)


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
        The focusing parameter, not negative: the larger it is, the less labels count that are predicted well.

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
    return _built_in.BinaryFocal(gamma=gamma)(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.Gamma()(outputs, targets, sample_weight=sample_weight)


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
        The network's raw outputs: the first half are means, the second half log-variances.
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
    return _built_in.Gaussian()(outputs, targets, sample_weight=sample_weight)


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
    return _built_in.NonCrossingQuantiles(q=q)(outputs, targets, sample_weight=sample_weight)
