"""Plots of what is inside the layers: distributions of values, and activations with their derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ... import activations
from ._axes import axes_or_new, legend, line_style, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def distributions(values: Mapping[str, npt.ArrayLike], *, xlabel: str = "value", ax: Axes | None = None) -> Axes:
    """Draw one histogram a layer, stacked from the input (bottom) to the output (top), all on one scale.

    Parameters
    ----------
    values : mapping of str to array
        By layer: its activations, weights or gradients, of any shape. Values that are not finite are left out and counted.
    xlabel : str
        What the values are.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> weights = {"layers.0": [[0.1, -0.3]], "layers.1": [[0.7]]}
    >>> ax = plots.distributions(weights, xlabel="weight", ax=Figure().subplots())
    """
    arrays = {name: np.ravel(np.asarray(value, dtype=float)) for name, value in values.items()}
    ax = axes_or_new(ax, height=0.6 + 0.7 * max(len(arrays), 2))
    finite = {name: value[np.isfinite(value)] for name, value in arrays.items()}
    joined = np.concatenate([*finite.values(), [0.0]])
    low, high = np.percentile(joined, [0.1, 99.9]) if joined.size > 1 else (-1.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 61)
    color = line_style(0)[0]
    labels = []
    for row, (name, value) in enumerate(finite.items()):
        counts = np.histogram(value, edges)[0]
        heights = row + 0.9 * counts / max(counts.max(initial=0), 1)
        ax.stairs(heights, edges, baseline=row, fill=True, color=color, alpha=0.35)
        ax.stairs(heights, edges, baseline=row, color=color)
        lost = arrays[name].size - value.size
        labels.append(f"{name}\n{lost} not finite" if lost else name)
    ax.set_yticks(np.arange(len(labels)) + 0.1, labels)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return tidy(ax, xlabel=xlabel, ylabel="")


def activation_functions(names: Sequence[str] = ("sigmoid", "tanh", "relu", "gelu"), *, ax: Axes | None = None) -> Axes:
    """Draw activations (solid) with their derivatives (dashed) over z from -5 to 5.

    Parameters
    ----------
    names : sequence of str
        Elementwise activations by name.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.activation_functions(["relu", "tanh"], ax=Figure().subplots())
    """
    ax = axes_or_new(ax)
    z = np.linspace(-5, 5, 501)
    for index, name in enumerate(names):
        function = activations.get(name)
        color = line_style(index)[0]
        ax.plot(z, function(z), color=color, label=name)
        ax.plot(z, function.derivative(z), "--", color=color)
    ax.set_ylim(-1.5, 2.5)
    legend(ax, loc="upper left")
    return tidy(ax, xlabel="z", ylabel="a(z) solid, a'(z) dashed")
