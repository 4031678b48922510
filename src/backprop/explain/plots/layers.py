"""Plots of what is inside the layers: distributions of values, and activations with their derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ... import activations
from ..._arrays import check_count, check_list
from ...layers import Dense
from ...network import Network
from ._axes import NEGATIVE, POSITIVE, axes_or_new, legend, line_style, tidy

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


def first_layer_weights(net: Network, *, shape: tuple[int, int] | None = None, most: int = 36, ax: Axes | None = None) -> Axes:
    """Draw the weights of the first layer's units as images, for inputs that are pixels: what each unit looks for.

    Blue adds to the unit, orange takes from it; all images have one scale.

    Parameters
    ----------
    net : Network
        A network that begins with a `Dense` layer.
    shape : (int, int), optional
        Rows and columns of an image; by default a square.
    most : int
        How many units to draw.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Raises
    ------
    ValueError
        When the network does not begin with a `Dense` layer, or its inputs do not make an image of this shape.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> import backprop as bp
    >>> from backprop.explain import plots
    >>> ax = plots.first_layer_weights(bp.mlp([64, 16, 10], seed=0), ax=Figure().subplots())
    """
    first = net.layers[0]
    if not isinstance(first, Dense):
        raise ValueError(f"first_layer_weights needs a network that begins with a Dense layer, got {type(first).__name__}")
    side = round(net.n_inputs**0.5)
    if shape is not None and len(shape) != 2:
        raise ValueError(f"shape must be (rows, columns), got {shape!r}")
    rows, columns = (check_count("shape", count) for count in (shape or (side, side)))
    if rows * columns != net.n_inputs:
        raise ValueError(f"shape must have rows * columns = {net.n_inputs}, the number of inputs, got {(rows, columns)}")
    units = min(first.fan_out, check_count("most", most))
    across = int(np.ceil(units**0.5))
    down = -(-units // across)
    sheet = np.full((down * (rows + 1) - 1, across * (columns + 1) - 1), np.nan)
    for unit in range(units):
        top, left = unit // across * (rows + 1), unit % across * (columns + 1)
        sheet[top : top + rows, left : left + columns] = first.weight[:, unit].reshape(rows, columns)
    ax = axes_or_new(ax, width=4.8, height=4.8 * down / across + 0.4)
    from matplotlib.colors import LinearSegmentedColormap

    limit = float(np.abs(sheet[np.isfinite(sheet)]).max(initial=0.0)) or 1.0
    shades = LinearSegmentedColormap.from_list("signs", [NEGATIVE, "white", POSITIVE])
    ax.imshow(sheet, cmap=shades, vmin=-limit, vmax=limit, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    rest = f", of {first.fan_out}" if units < first.fan_out else ""
    tidy(ax, xlabel=f"weights of {units} units of layers.0{rest}", ylabel="")
    ax.spines[:].set_visible(False)
    return ax


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
    names = check_list("names", names, "names of activations")
    if not names:
        raise ValueError("names must hold at least one activation")
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
