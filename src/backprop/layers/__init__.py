"""Layers: each computes its outputs from its inputs, and from dL/doutputs its gradients and dL/dinputs."""

from ._base import Layer, Noise, apply, apply_backward, apply_infer, chain_widths, walk
from ._dense import Activation, Dense
from ._dropout import Dropout
from ._normalization import BatchNorm, LayerNorm
from ._residual import Residual

__all__ = [
    "Activation",
    "BatchNorm",
    "Dense",
    "Dropout",
    "Layer",
    "LayerNorm",
    "Noise",
    "Residual",
    "apply",
    "apply_backward",
    "apply_infer",
    "chain_widths",
    "walk",
]
