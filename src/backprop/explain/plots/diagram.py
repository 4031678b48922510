"""The network as a diagram: units as circles, weights as edges whose width, colour and dash show size and sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._arrays import check_count
from ...layers import Dense, Layer, Residual
from ...network import Network
from ._axes import NEGATIVE, POSITIVE, axes_or_new, font_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes


def network_diagram(net: Network, *, max_units: int = 10, ax: Axes | None = None) -> Axes:
    """Draw the dense layers of a network: positive weights solid, negative ones dashed, the widest edge for the largest weight.

    Parameters
    ----------
    net : Network
        The network.
    max_units : int
        Of a wider layer the first units are drawn, with the number of those left out below them.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Raises
    ------
    ValueError
        When the network has no dense layer.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> import backprop as bp
    >>> ax = plots.network_diagram(bp.mlp([2, 3, 1], seed=0), ax=Figure().subplots())
    """
    max_units = check_count("max_units", max_units)
    dense = list(_dense_layers(net.layers))
    if not dense:
        raise ValueError("net has no Dense layer to draw")
    widths = [dense[0].weight.shape[0], *(layer.weight.shape[1] for layer in dense)]
    heights = [_positions(width, max_units) for width in widths]
    ax = axes_or_new(ax, width=1.4 + 1.6 * len(widths), height=1.4 + 0.42 * min(max(widths), max_units))
    for column, layer in enumerate(dense):
        _edges(ax, layer.weight, column, heights[column], heights[column + 1])
    size = font_size(ax)
    box = ax.get_window_extent()
    room = 72 / ax.figure.dpi * min(box.height / (2 * _top(heights) + 3.2), box.width / len(widths))  # points a unit may take
    for column, (width, height) in enumerate(zip(widths, heights, strict=True)):
        ax.scatter(np.full(height.size, column), height, s=min(11.0, 0.6 * room) ** 2, color="white", edgecolor="black", zorder=3)
        if width > height.size:
            ax.annotate(f"+ {width - height.size} more", (column, height.min() - 0.7), ha="center", va="center", fontsize=size)
        names = [] if column == 0 else [dense[column - 1].activation.name]
        role = {0: "input", len(widths) - 1: "output"}.get(column, "unit")
        lines = [f"{width} {role}{'s' * (width != 1)}", *(name for name in names if name != "identity")]
        ax.annotate("\n".join(lines), (column, _top(heights) + 0.7), ha="center", va="bottom", fontsize=size)
    ax.set_xlim(-0.5, len(widths) - 0.5)
    ax.set_ylim(-_top(heights) - 1.2, _top(heights) + 2.0)
    ax.axis("off")
    return ax


def _top(heights: list[np.ndarray]) -> float:
    """The height of the highest unit of all columns."""
    return float(max(column.max() for column in heights))


def _dense_layers(layers: list[Layer] | tuple[Layer, ...]) -> Iterator[Dense]:
    for layer in layers:
        if isinstance(layer, Residual):
            yield from _dense_layers(layer.block)
        elif isinstance(layer, Dense):
            yield layer


def _positions(width: int, most: int) -> np.ndarray:
    shown = min(width, most)
    return np.arange(shown)[::-1] - (shown - 1) / 2


def _edges(ax: Axes, weight: np.ndarray, column: int, left: np.ndarray, right: np.ndarray) -> None:
    from matplotlib.collections import LineCollection

    shown = weight[: left.size, : right.size]
    largest = float(np.abs(weight).max(initial=0.0)) or 1.0
    for sign, color, style in ((1, POSITIVE, "solid"), (-1, NEGATIVE, "dashed")):
        rows, columns = np.nonzero(np.sign(shown) == sign)
        if not rows.size:  # matplotlib takes no empty array of alphas
            continue
        here, there = np.full(rows.size, column), np.full(rows.size, column + 1)
        segments = np.stack([np.column_stack([here, left[rows]]), np.column_stack([there, right[columns]])], axis=1)
        strength = np.abs(shown[rows, columns]) / largest
        look = {"linewidths": 0.3 + 2.7 * strength, "alpha": 0.3 + 0.7 * strength}
        ax.add_collection(LineCollection(list(segments), colors=color, linestyles=style, **look))
