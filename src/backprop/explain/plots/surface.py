"""A 2-D slice of the loss surface, with the path an optimizer took over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ... import losses
from ..._arrays import check_count, require_finite
from ...data import check_same_rows
from ...network import Network
from ._axes import NEGATIVE, axes_or_new, font_size, legend, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LossSurface(NamedTuple):
    """A grid of losses on a plane through parameter space, and a path projected on it.

    Attributes
    ----------
    first, second : array (r,)
        Coordinates along the two directions, in units of parameter distance.
    loss : array (r, r)
        With a row for each of `second`.
    path : array (t, 2)
        The projected path.
    """

    first: np.ndarray
    second: np.ndarray
    loss: np.ndarray
    path: np.ndarray


def loss_surface(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: str | losses.Loss,
    path: npt.ArrayLike,
    resolution: int = 25,
) -> LossSurface:
    """Compute the loss on the plane in which a training path mostly lies.

    The plane goes through the path's last point, along the two principal directions of the path (H. Li et al., "Visualizing the
    Loss Landscape of Neural Nets", 2018, section 7.1).

    Parameters
    ----------
    net : Network
        The network; it is not changed.
    x, y : array
        The data on which the loss is computed.
    loss : str or Loss
        The loss, by name or as an object.
    path : array (t, number of parameters)
        The parameters after each record, (t, number of parameters), at least 2 of them: copies of ``net.parameters``.
    resolution : int
        Grid points along each direction, at least 2.

    Raises
    ------
    ValueError
        When `path` has not the network's number of parameters, fewer than 2 points or numbers that are not finite, or the network
        has a single parameter.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> from backprop.explain import plots
    >>> net, path = bp.mlp([1, 1], seed=0), []
    >>> for _ in range(3):
    ...     path.append(net.parameters.copy())
    ...     _ = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=bp.SGD(lr=0.1))
    >>> plots.loss_surface(net, [[0.0], [1.0]], [1.0, 3.0], loss="mse", path=path, resolution=5).loss.shape
    (5, 5)
    """
    points = np.asarray(path, dtype=float)
    if points.ndim != 2 or points.shape[0] < 2 or points.shape[1] != net.parameters.size:
        raise ValueError(f"path must have shape (at least 2, {net.parameters.size}), got {points.shape}")
    if net.parameters.size < 2:
        raise ValueError("a plane needs at least 2 parameters, and the network has 1")
    require_finite(points, "path")
    resolution = check_count("resolution", resolution, 2)
    probe, function = net.copy(), losses.get(loss)
    targets = function.prepare_targets(y, net.n_outputs, net.dtype)
    check_same_rows((np.asarray(x), targets), ("x", "y"))
    center = points[-1]
    directions = _principal_directions(points - center)
    projected = (points - center) @ directions.T
    first, second = (_coordinates(projected[:, axis], resolution) for axis in (0, 1))
    grid = np.empty((resolution, resolution))
    for row, column in np.ndindex(grid.shape):
        probe.parameters[:] = center + first[column] * directions[0] + second[row] * directions[1]
        grid[row, column] = function.value(probe.predict(x), targets)
    return LossSurface(first, second, grid, projected)


def _principal_directions(offsets: np.ndarray) -> np.ndarray:
    """Two orthonormal directions; a path on a line has its second one drawn at random, orthogonal to it."""
    directions = np.linalg.svd(offsets, full_matrices=False)[2][:2]
    spread = np.abs(offsets @ directions.T).max(axis=0)
    if directions.shape[0] < 2 or spread[1] < 1e-12 * max(spread[0], 1e-300):
        other = np.random.default_rng(0).standard_normal(offsets.shape[1])
        other -= (other @ directions[0]) * directions[0]
        directions = np.stack([directions[0], other / np.linalg.norm(other)])
    return directions


def _coordinates(values: np.ndarray, resolution: int) -> np.ndarray:
    margin = 0.3 * max(np.ptp(values), 1e-3)
    return np.linspace(values.min() - margin, values.max() + margin, resolution)


def plot_loss_surface(surface: LossSurface, *, ax: Axes | None = None) -> Axes:
    """Draw what `loss_surface` computed: contours of the loss, the path from its start (circle) to its end (star).

    Contours are spaced evenly in the logarithm of the loss above its least value.

    Parameters
    ----------
    surface : LossSurface
        What `loss_surface` returned.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Raises
    ------
    ValueError
        When no loss is finite.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> axis = np.linspace(-1.0, 1.0, 5)
    >>> bowl = plots.LossSurface(axis, axis, axis**2 + axis[:, None] ** 2, np.array([[-1.0, 0.5], [0.0, 0.0]]))
    >>> ax = plots.plot_loss_surface(bowl, ax=Figure().subplots())
    """
    finite = surface.loss[np.isfinite(surface.loss)]
    if not finite.size:
        raise ValueError("surface must have a loss that is finite")
    ax = axes_or_new(ax, width=5.6, height=4.6)
    low, high = float(finite.min()), float(finite.max())
    width = max(high - low, 1e-9 * abs(low), 1e-12)  # contours are apart from each other also where the loss is the same
    levels = low + np.geomspace(1e-3 * width, width, 16)
    filled = ax.contourf(surface.first, surface.second, surface.loss, levels=[low, *levels], cmap="cividis", extend="max")
    bar = ax.figure.colorbar(filled, ax=ax, format="%.3g")
    bar.set_label("loss", fontsize=font_size(ax))
    bar.ax.tick_params(labelsize=font_size(ax))
    ax.plot(*surface.path.T, "-", color="white", linewidth=2.5)
    ax.plot(*surface.path.T, "-", color=NEGATIVE, linewidth=1.2)
    ax.plot(*surface.path[0], "o", color=NEGATIVE, markeredgecolor="white", markersize=8, label="start")
    ax.plot(*surface.path[-1], "*", color=NEGATIVE, markeredgecolor="white", markersize=13, label="end")
    legend(ax)
    return tidy(ax, xlabel="distance along direction 1", ylabel="distance along direction 2")
