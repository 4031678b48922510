"""Plots of a training run: learning curves, gradient flow, update-to-weight ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..._direction import direction_of
from ...history import History
from ._axes import axes_or_new, font_size, legend, line_style, tidy, whole_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curves(history: History | Mapping[str, Sequence[float]], metric: str = "loss", *, ax: Axes | None = None) -> Axes:
    """Draw a metric of training and validation over the epochs, and mark the best validation epoch of a known metric.

    Parameters
    ----------
    history : History or mapping of str to sequence of float
        Values by name, one an epoch, with Keras' keys (``loss``, ``val_loss`` ...): what `fit` returns.
    metric : str
        Which one; its validation curve is ``val_`` + metric and is drawn when it is there.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Raises
    ------
    ValueError
        When `history` has neither curve.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> history = {"loss": [0.7, 0.4, 0.3], "val_loss": [0.8, 0.5, 0.6]}
    >>> ax = plots.learning_curves(history, ax=Figure().subplots())
    """
    curves = [(name, label) for name, label in ((metric, "training"), (f"val_{metric}", "validation")) if name in history]
    if not curves:
        raise ValueError(f"metric must be one of {sorted(history)}, got {metric!r}")
    ax = axes_or_new(ax)
    for index, (name, label) in enumerate(curves):
        values = np.asarray(history[name], dtype=float)
        color, style = line_style(index)
        ax.plot(np.arange(1, values.size + 1), values, style, color=color, label=label, marker=_marker(values))
        direction = direction_of(metric)
        if label == "validation" and direction is not None and np.isfinite(values).any():
            best = int(np.nanargmin(values) if direction == "min" else np.nanargmax(values))
            ax.plot(best + 1, values[best], "o", color=color, label=f"best: {values[best]:.4g} in epoch {best + 1}")
    whole_epochs(ax)
    legend(ax)
    return tidy(ax, xlabel="epoch", ylabel=metric)


def gradient_flow(
    norms: Mapping[str, float | Sequence[float]], *, epochs: Sequence[int] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how much gradient reaches each layer, on a logarithmic scale.

    Where the bars shrink toward the input, gradients vanish; where they grow, gradients explode.

    Parameters
    ----------
    norms : mapping of str to float or sequence of float
        By layer, from input to output: the norm of its gradient, or its norms over time (then a line a layer).
    epochs : sequence of int, optional
        The epoch of each of the norms over time, counted from 0: ``monitor.epochs``.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.gradient_flow({"layers.0": 0.01, "layers.1": 0.3}, ax=Figure().subplots())
    """
    ax = axes_or_new(ax)
    values = {name: np.atleast_1d(np.asarray(value, dtype=float)) for name, value in norms.items()}
    if epochs is None and all(value.size == 1 for value in values.values()):
        ax.bar(list(values), [_positive(value)[0] for value in values.values()], color=line_style(0)[0], width=0.6)
        ax.set_yscale("log")
        if sum(map(len, values)) > 30:  # names that do not fit side by side
            ax.tick_params(axis="x", rotation=90, labelsize=font_size(ax))
        return tidy(ax, xlabel="layer, from input to output", ylabel="gradient norm")
    _lines(ax, {name: _positive(value) for name, value in values.items()}, epochs)
    return tidy(ax, xlabel="record" if epochs is None else "epoch", ylabel="gradient norm")


def update_ratios(ratios: Mapping[str, Sequence[float]], *, epochs: Sequence[int] | None = None, ax: Axes | None = None) -> Axes:
    """Draw by layer how large each update was against the weights: ``norm(update) / norm(weight)`` over time.

    The line at 1e-3 marks what is usual for a well-chosen learning rate; far above it training is unstable, far below it is slow.

    Parameters
    ----------
    ratios : mapping of str to sequence of float
        By layer, its ratios over time.
    epochs : sequence of int, optional
        The epoch of each of them, counted from 0: ``monitor.epochs``.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.update_ratios({"layers.0": [2e-3, 1e-3], "layers.1": [1e-3, 8e-4]}, ax=Figure().subplots())
    """
    ax = axes_or_new(ax)
    ax.axhline(1e-3, color="0.5", linewidth=1, label="usual: 1e-3")
    _lines(ax, {name: _positive(np.asarray(value, dtype=float)) for name, value in ratios.items()}, epochs)
    return tidy(ax, xlabel="record" if epochs is None else "epoch", ylabel="|update| / |weight|")


def idle_shares(shares: Mapping[str, Sequence[float]], *, epochs: Sequence[int] | None = None, ax: Axes | None = None) -> Axes:
    """Draw by layer which share of its units is dead, or of its values saturated, over time.

    Parameters
    ----------
    shares : mapping of str to sequence of float
        By layer, its shares over time, from 0 to 1: ``monitor.idle_shares``.
    epochs : sequence of int, optional
        The epoch of each of them, counted from 0: ``monitor.epochs``.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.idle_shares({"layers.0": [0.1, 0.2]}, epochs=[0, 4], ax=Figure().subplots())
    """
    ax = axes_or_new(ax)
    _lines(ax, {name: np.asarray(value, dtype=float) for name, value in shares.items()}, epochs, scale="linear")
    ax.set_ylim(-0.02, 1.02)
    return tidy(ax, xlabel="record" if epochs is None else "epoch", ylabel="share dead or saturated")


def lr_curve(
    lrs: npt.ArrayLike, losses: npt.ArrayLike, smoothed: npt.ArrayLike, suggestion: float, *, ax: Axes | None = None
) -> Axes:
    """Draw the loss over a growing learning rate, and mark the suggested one.

    Parameters
    ----------
    lrs, losses, smoothed : array (steps,)
        One entry an update, as `lr_range_test` returns them.
    suggestion : float
        The learning rate to mark.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.lr_curve([1e-3, 1e-2, 1e-1], [1.0, 0.5, 2.0], [1.0, 0.6, 1.5], 1e-2, ax=Figure().subplots())
    """
    ax = axes_or_new(ax)
    color = line_style(0)[0]
    ax.plot(lrs, losses, color=color, alpha=0.35, label="loss of the batch")
    ax.plot(lrs, smoothed, color=color, label="smoothed")
    ax.axvline(suggestion, color=line_style(1)[0], linestyle="--", label=f"suggestion: {suggestion:.2g}")
    ax.set_xscale("log")
    legend(ax)
    return tidy(ax, xlabel="learning rate", ylabel="loss")


def scores_over_rows(
    rows: npt.ArrayLike, training: npt.ArrayLike, validation: npt.ArrayLike, *, metric: str = "loss", ax: Axes | None = None
) -> Axes:
    """Draw training and validation scores over the number of training rows.

    Parameters
    ----------
    rows, training, validation : array (sizes,)
        As `backprop.explain.choosing.learning_curve` returns them.
    metric : str
        What the scores are.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.scores_over_rows([50, 500], [0.1, 0.3], [0.9, 0.5], ax=Figure().subplots())
    """
    ax = axes_or_new(ax)
    for index, (name, values) in enumerate((("training", training), ("validation", validation))):
        color, style = line_style(index)
        ax.plot(np.asarray(rows), np.asarray(values), style, marker="o", color=color, label=name)
    legend(ax)
    return tidy(ax, xlabel="training rows", ylabel=metric)


def curves(values: Mapping[str, Sequence[float]], *, ylabel: str, ax: Axes | None = None) -> Axes:
    """Draw several runs' values over the epochs in one picture.

    Parameters
    ----------
    values : mapping of str to sequence of float
        By run, one value an epoch.
    ylabel : str
        What the values are.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.curves({"relu": [0.7, 0.4], "tanh": [0.6, 0.5]}, ylabel="loss", ax=Figure().subplots())
    """
    ax = axes_or_new(ax)
    for index, (name, run) in enumerate(values.items()):
        color, style = line_style(index)
        ax.plot(np.arange(1, len(run) + 1), run, style, color=color, label=name, marker=_marker(run))
    whole_epochs(ax)
    legend(ax)
    return tidy(ax, xlabel="epoch", ylabel=ylabel)


def _lines(ax: Axes, series: Mapping[str, np.ndarray], epochs: Sequence[int] | None, scale: str = "log") -> None:
    for index, (name, values) in enumerate(series.items()):
        color, style = line_style(index)
        at = np.arange(values.size) if epochs is None else np.asarray(epochs) + 1
        if at.size != values.size:
            raise ValueError(f"epochs must have {values.size} entries, one for each value of {name!r}, got {at.size}")
        ax.plot(at, values, style, color=color, label=name, marker=_marker(values))
    ax.set_yscale(scale)
    if epochs is not None:
        whole_epochs(ax)
    if series:
        legend(ax, loc="center left", bbox_to_anchor=(1, 0.5))


def _marker(values: npt.ArrayLike) -> str:
    """A dot where a line would not show: a single value, or one between gaps."""
    known = np.isfinite(np.asarray(values, dtype=float))
    pairs = known[1:] & known[:-1]
    beside = np.append(pairs, False) | np.insert(pairs, 0, False)
    return "." if (known & ~beside).any() else ""


def _positive(values: np.ndarray) -> np.ndarray:
    """Zeros become gaps: a logarithmic scale has no place for them."""
    return np.where(values > 0, values, np.nan)
