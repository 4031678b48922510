"""Plots of what a network predicts: decision boundary, confusion matrix, predicted against true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..._arrays import as_real_array, check_count, require_finite
from ...data import check_same_rows
from ...network import Network
from ._axes import COLORS, axes_or_new, font_size, legend, tidy
from .quality import paired

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..importance import Importance

_MARKERS = "os^DvP*X"


def decision_boundary(
    net: Network, x: npt.ArrayLike, labels: npt.ArrayLike, *, resolution: int = 200, ax: Axes | None = None
) -> Axes:
    """Draw which class a network gives each point of the plane, with the data on it.

    Parameters
    ----------
    net : Network
        A classifier of 2 inputs: one output (its sign decides, or 0.5 where the last activation gives numbers from 0 to 1), or
        one a class (the largest decides).
    x : array (n, 2)
        The data, (n, 2).
    labels : array (n,)
        Their classes, (n,) integers from 0.
    resolution : int
        Grid points along each side, at least 2.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Raises
    ------
    ValueError
        When the network or `x` does not have 2 inputs, `x` has no rows or is not finite, the row counts differ, or a label is no
        class.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> import backprop as bp
    >>> net = bp.mlp([2, 4, 1], seed=0)
    >>> ax = plots.decision_boundary(net, [[0.0, 1.0], [1.0, 0.0]], [0, 1], resolution=10, ax=Figure().subplots())
    """
    points, classes = as_real_array(x, "x").astype(float), _classes(labels, "labels")
    if net.n_inputs != 2 or points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"a decision boundary needs 2 inputs; the network takes {net.n_inputs} and x has shape {points.shape}")
    check_same_rows((points, classes), ("x", "labels"))
    if len(points) == 0:
        raise ValueError("x must have at least one row")
    require_finite(points, "x")
    resolution = check_count("resolution", resolution, 2)
    ax = axes_or_new(ax, width=5.0, height=4.6)
    margin = 0.1 * np.ptp(points, axis=0) + 1e-9
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    first, second = (np.linspace(low[axis], high[axis], resolution) for axis in (0, 1))
    outputs = net.predict(np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2))
    lowest, highest = net.output_activation.range
    between = 0.5 if lowest >= 0 and highest <= 1 else 0.0  # an output that is a probability
    chosen = (outputs[:, 0] > between).astype(int) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    regions = chosen.reshape(resolution, resolution)
    levels = np.arange(max(int(chosen.max()), int(classes.max())) + 2) - 0.5
    colors = [COLORS[index % len(COLORS)] for index in range(levels.size - 1)]
    ax.contourf(first, second, regions, levels=levels, colors=colors, alpha=0.25)
    ax.contour(first, second, regions, levels=levels[1:-1], colors="black", linewidths=1)
    for index in np.unique(classes):
        inside = classes == index
        ax.scatter(
            points[inside, 0], points[inside, 1], s=18, color=colors[int(index)], edgecolor="white", linewidth=0.5,
            marker=_MARKERS[int(index) % len(_MARKERS)], label=f"class {index}",
        )  # fmt: skip
    legend(ax)
    return tidy(ax, xlabel="input 1", ylabel="input 2")


def confusion_matrix(
    labels: npt.ArrayLike, predicted: npt.ArrayLike, *, names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how often each class (row) was taken for each class (column): the count in the cell, the share of its row as its shade.

    Beside each row stand its total and its recall, the share that is right; under each column its total and its precision.

    Parameters
    ----------
    labels : array (n,)
        The true classes, (n,) integers from 0.
    predicted : array (n,) or (n, k)
        The predicted classes, (n,), or the network's outputs, (n, K); the sign of a single output decides.
    names : sequence of str, optional
        The classes' names, in order.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Raises
    ------
    ValueError
        When the row counts differ, a label is no class, or there are fewer names than classes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.confusion_matrix([0, 1, 1], [0, 1, 0], names=["no", "yes"], ax=Figure().subplots())
    """
    true, guess = _classes(labels, "labels"), as_real_array(predicted, "predicted")
    if guess.ndim == 2 and guess.shape[1] == 1:
        guess = _of_one_output(guess[:, 0])
    if guess.ndim == 2:
        require_finite(guess, "predicted")
        guess = guess.argmax(axis=1)
    else:
        guess = _classes(guess, "predicted")
    if true.shape != guess.shape:
        raise ValueError(f"labels and predicted must have the same number of rows, got {true.shape} and {guess.shape}")
    size = max(int(true.max(initial=0)), int(guess.max(initial=0)), len(names or ()) - 1) + 1
    if names and len(names) < size:
        raise ValueError(f"names must hold one for each of the {size} classes, got {len(names)}")
    counts = np.bincount(true * size + guess, minlength=size * size).reshape(size, size)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax = axes_or_new(ax, width=2.8 + 0.5 * size, height=1.9 + 0.5 * size)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts):
        color = "white" if share[row, column] > 0.5 else "black"
        ax.text(column, row, counts[row, column], ha="center", va="center", color=color, fontsize=font_size(ax))
    ticks = list(names) if names else [str(index) for index in range(size)]
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if names else {}
    ax.set_xticks(range(size), ticks, **slanted)
    ax.set_yticks(range(size), ticks)
    right, size_of = np.diag(counts), "x-small" if size > 4 else font_size(ax)
    for index in range(size):
        row, column = int(counts[index].sum()), int(counts[:, index].sum())
        recall, precision = (f"{right[index] / total:.0%}" if total else "-" for total in (row, column))
        ax.text(size - 0.4, index, f"{row}, {recall}", ha="left", va="center", fontsize=size_of)
        ax.text(index, -0.6, f"{column}\n{precision}", ha="center", va="bottom", fontsize=size_of)
    ax.text(size - 0.4, -0.6, "total, recall\ntotal, precision", ha="left", va="bottom", fontsize=size_of, color="0.4")
    tidy(ax, xlabel="predicted class", ylabel="true class")
    ax.spines[:].set_visible(False)
    return ax


def _of_one_output(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The classes that a single column stands for: itself, or the signs of outputs. Shares of both classes are refused."""
    if not np.isfinite(values).all() or (values.min(initial=0) >= 0 and (values == np.floor(values)).all()):
        return values
    if values.min() >= 0 and values.max() <= 1:
        raise ValueError("predicted must hold classes or outputs; for probabilities of one class give predicted > 0.5")
    return values > 0


def _classes(labels: npt.ArrayLike, name: str) -> npt.NDArray[np.intp]:
    """Labels as integers from 0; floats that are whole numbers are taken."""
    given = as_real_array(labels, name).ravel()
    wrong = ~(np.isfinite(given) & (given >= 0) & (given == np.floor(given)))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name} must be classes, integers from 0, got {given[row]} in row {row}")
    return given.astype(np.intp)


def predicted_vs_true(targets: npt.ArrayLike, outputs: npt.ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw predicted against true values; a perfect prediction lies on the diagonal.

    Parameters
    ----------
    targets : array (n,) or (n, 1)
        The true values, (n,) or (n, 1).
    outputs : array (n,) or (n, 1)
        The predicted ones, the same number of values.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Raises
    ------
    ValueError
        When the numbers of values differ.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.predicted_vs_true([1.0, 2.0], [1.1, 1.8], ax=Figure().subplots())
    """
    true, guess = paired(targets, outputs, ("targets", "outputs"))
    ax = axes_or_new(ax, width=4.8, height=4.6)
    ax.plot(true, guess, "o", color=COLORS[0], markersize=4, alpha=min(1.0, 30 / max(true.size, 1) ** 0.5), linestyle="none")
    both = np.concatenate([true, guess])
    if both.size:
        ends = both.min(), both.max()
        ax.plot(ends, ends, "-", color="0.4", linewidth=1)
        rmse = float(np.sqrt(np.mean((true - guess) ** 2)))
        ax.annotate(f"RMSE {rmse:.4g}", (0.03, 0.95), xycoords="axes fraction", va="top", fontsize=font_size(ax))
    ax.set_aspect("equal", adjustable="datalim")
    return tidy(ax, xlabel="true value", ylabel="predicted value")


def importance(measured: Importance, *, most: int = 20, ax: Axes | None = None) -> Axes:
    """Draw how much worse a network gets with each feature permuted, the most important one on top.

    Parameters
    ----------
    measured : Importance
        What `backprop.explain.permutation_importance` returned. Lines at the ends of bars are the standard deviation over repeats.
    most : int
        How many features to draw.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> import numpy as np
    >>> from backprop.explain import Importance, plots
    >>> measured = Importance(("age", "city"), np.array([0.4, 0.1]), np.array([0.02, 0.01]), 0.3, "loss")
    >>> ax = plots.importance(measured, ax=Figure().subplots())
    """
    names = list(measured.names[: check_count("most", most)])
    ax = axes_or_new(ax, height=1.2 + 0.3 * len(names))
    rows, mean, std = np.arange(len(names)), measured.mean[: len(names)], measured.std[: len(names)]
    ax.barh(rows, mean, xerr=std, color=COLORS[0], height=0.7, ecolor="0.3", capsize=2)
    ax.set_yticks(rows, names, fontsize=font_size(ax))
    ax.invert_yaxis()
    ax.axvline(0, color="0.4", linewidth=1)
    return tidy(ax, xlabel=f"how much worse the {measured.metric} gets", ylabel="permuted feature")
