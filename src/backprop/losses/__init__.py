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

from typing import Any

from .._arrays import refuse_class
from .._registry import Registry
from . import _functions
from ._base import FunctionLoss, Loss, check_complete
from ._base import LossFunction as LossFunction
from ._base import loss_and_gradient as loss_and_gradient
from ._built_in import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    Focal,
    Gamma,
    Gaussian,
    HalfMSE,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    NonCrossingQuantiles,
    Poisson,
    Quantile,
)
from ._functions import (
    binary_cross_entropy,
    binary_focal,
    cross_entropy,
    focal,
    gamma,
    gaussian,
    half_mse,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mae,
    mse,
    non_crossing_quantiles,
    poisson,
    quantile,
)

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
        check_complete(spec)
        return spec
    refuse_class("loss", spec, "a name, a Loss or a function")
    if isinstance(spec, dict):
        if isinstance(spec.get("class_weight"), dict):  # JSON knows only strings as keys
            spec = spec | {"class_weight": {int(label): weight for label, weight in spec["class_weight"].items()}}
        return _LOSSES.make(spec)
    if callable(spec):
        name = getattr(spec, "__name__", "")
        own = name in NAMES and spec is getattr(_functions, name)  # losses.mse itself stands for "mse"
        return _LOSSES.make(name) if own else FunctionLoss(spec)
    return _LOSSES.make(spec)
