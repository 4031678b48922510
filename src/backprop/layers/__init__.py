"""Layers: each computes its outputs from its inputs, and from dL/doutputs its gradients and dL/dinputs."""

from ._base import Layer
from ._base import Noise as Noise
from ._base import apply as apply
from ._base import apply_backward as apply_backward
from ._base import apply_infer as apply_infer
from ._base import chain_widths as chain_widths
from ._base import twin_of as twin_of
from ._base import walk as walk
from ._dense import Activation, Dense
from ._dropout import Dropout
from ._normalization import BatchNorm, LayerNorm
from ._residual import Residual

__all__ = ["Activation", "BatchNorm", "Dense", "Dropout", "Layer", "LayerNorm", "Residual"]


def __dir__() -> list[str]:
    return sorted(__all__)
