"""Clipping: gradients that are too long or too large, cut to size before an update."""

from __future__ import annotations

import math

import numpy as np

from . import kernels
from ._arrays import check_positive
from ._spans import FlatNetwork, build_spans, slices
from ._types import Array, Spans

__all__ = ["clip_grad_norm", "clip_grad_value"]


def __dir__() -> list[str]:
    return sorted(__all__)


def clip_grad_norm(net: FlatNetwork, max_norm: float) -> float:
    """Scale the gradients down so that their global norm is at most ``max_norm``.

    The norm is taken over all trainable parameters together, and the gradients are multiplied by
    ``min(1, max_norm / (norm + 1e-6))``: PyTorch's ``clip_grad_norm_``. Source: Pascanu et al., ICML 2013, arXiv:1211.5063.

    Parameters
    ----------
    net : Network
        Its gradients are changed in place.
    max_norm : float
        Positive.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    ValueError
        If ``max_norm`` is not positive and finite.
    FloatingPointError
        If the norm is not finite; the gradients are left as they are.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([2, 1], seed=0)
    >>> net.gradients = [3.0, 4.0, 0.0]
    >>> bp.clip_grad_norm(net, 1.0)
    5.0
    >>> net.gradients.round(4)
    array([0.6, 0.8, 0. ], dtype=float32)
    """
    limit = check_positive("max_norm", max_norm)
    spans = build_spans(net)
    norm = grad_norm(net.gradients, spans)
    if not math.isfinite(norm):
        raise FloatingPointError(f"the gradient norm is {norm}: clipping cannot mend it")
    scale_to_norm(net.gradients, spans, norm, limit)
    return norm


def clip_grad_value(net: FlatNetwork, limit: float) -> None:
    """Cut every gradient of the trainable parameters to ``[-limit, limit]``: PyTorch's ``clip_grad_value_``.

    Parameters
    ----------
    net : Network
        Its gradients are changed in place.
    limit : float
        Positive.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([2, 1], seed=0)
    >>> net.gradients = [3.0, -4.0, 0.5]
    >>> bp.clip_grad_value(net, 1.0)
    >>> net.gradients
    array([ 1. , -1. ,  0.5], dtype=float32)
    """
    kernels.active().clip_value(build_spans(net), net.gradients, check_positive("limit", limit))


def grad_norm(gradients: Array, spans: Spans) -> float:
    """Return the Euclidean norm of the gradients within the spans, summed in float64."""
    return math.sqrt(kernels.active().squared_norm(gradients, spans))


def is_finite(gradients: Array, spans: Spans) -> bool:
    """Tell whether every gradient within the spans is finite; their norm may be infinite all the same, in float64."""
    return all(bool(np.isfinite(gradients[part]).all()) for part in slices(spans))


def largest(gradients: Array, spans: Spans) -> float:
    """Return the size of the largest gradient within the spans, 0 where there is none."""
    return max((float(np.abs(gradients[part]).max()) for part in slices(spans)), default=0.0)


def scale_to_norm(gradients: Array, spans: Spans, norm: float, max_norm: float) -> None:
    """Scale gradients whose norm is ``norm`` down to ``max_norm``."""
    factor = max_norm / (norm + 1e-6)
    if factor < 1.0:
        kernels.active().scale(spans, gradients, factor)
