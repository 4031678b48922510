"""Plots with matplotlib (``pip install 'backprop[plot]'``): each takes data and optional axes, and returns the axes.

Nothing here shows a figure or changes matplotlib's settings; that stays with the caller.
"""

from .diagram import network_diagram
from .layers import activation_functions, distributions, first_layer_weights
from .predictions import confusion_matrix, decision_boundary, importance, predicted_vs_true
from .quality import calibration_curve, precision_recall_curve, residuals, roc_curve
from .surface import LossSurface, loss_surface, plot_loss_surface
from .training import curves, gradient_flow, idle_shares, learning_curves, lr_curve, scores_over_rows, update_ratios

__all__ = [
    "LossSurface",
    "activation_functions",
    "calibration_curve",
    "confusion_matrix",
    "curves",
    "decision_boundary",
    "distributions",
    "first_layer_weights",
    "gradient_flow",
    "idle_shares",
    "importance",
    "learning_curves",
    "loss_surface",
    "lr_curve",
    "network_diagram",
    "plot_loss_surface",
    "precision_recall_curve",
    "predicted_vs_true",
    "residuals",
    "roc_curve",
    "scores_over_rows",
    "update_ratios",
]


def __dir__() -> list[str]:
    return sorted(__all__)
