"""Plots with matplotlib (``pip install 'backprop[plot]'``): each takes data and optional axes, and returns the axes.

Nothing here shows a figure or changes matplotlib's settings; that stays with the caller.
"""

from .diagram import network_diagram
from .layers import activation_functions, distributions
from .predictions import confusion_matrix, decision_boundary, importance, predicted_vs_true
from .surface import LossSurface, loss_surface, plot_loss_surface
from .training import curves, gradient_flow, learning_curves, lr_curve, update_ratios

__all__ = [
    "LossSurface",
    "activation_functions",
    "confusion_matrix",
    "curves",
    "decision_boundary",
    "distributions",
    "gradient_flow",
    "importance",
    "learning_curves",
    "loss_surface",
    "lr_curve",
    "network_diagram",
    "plot_loss_surface",
    "predicted_vs_true",
    "update_ratios",
]


def __dir__() -> list[str]:
    return sorted(__all__)
