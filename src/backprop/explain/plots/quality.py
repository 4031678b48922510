"""Plots of how good predictions are: residuals, ROC, precision and recall, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..._arrays import as_real_array, check_count
from ..._types import Numbers
from ._axes import COLORS, axes_or_new, font_size, legend, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def residuals(targets: npt.ArrayLike, outputs: npt.ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw how far predictions are from the true values, over the predictions.

    A good regression leaves a band around 0 without shape; a curve says that something has not been learned, a funnel that errors
    grow with the prediction.

    Parameters
    ----------
    targets : array (n,) or (n, 1)
        The true values.
    outputs : array (n,) or (n, 1)
        The predicted ones.
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
    >>> ax = plots.residuals([1.0, 2.0], [1.1, 1.8], ax=Figure().subplots())
    """
    true, guess = paired(targets, outputs, ("targets", "outputs"))
    ax = axes_or_new(ax)
    ax.axhline(0, color="0.4", linewidth=1)
    ax.plot(guess, true - guess, "o", color=COLORS[0], markersize=4, alpha=min(1.0, 30 / max(true.size, 1) ** 0.5))
    if true.size:
        error = true - guess
        ax.annotate(
            f"mean {error.mean():.3g}, std {error.std():.3g}",
            (0.03, 0.95),
            xycoords="axes fraction",
            va="top",
            fontsize=font_size(ax),
        )
    return tidy(ax, xlabel="predicted value", ylabel="true value - predicted value")


def roc_curve(labels: npt.ArrayLike, scores: npt.ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw which share of the positive rows is found, over the share of the negative rows that are taken for positive.

    The area under the curve is `metrics.auc`: the probability that a positive row has a higher score than a negative one.

    Parameters
    ----------
    labels : array (n,)
        The true classes, 0 or 1; both must occur.
    scores : array (n,) or (n, 1)
        Outputs or probabilities; the higher, the more likely positive.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Raises
    ------
    ValueError
        When the numbers of values differ, one class does not occur, or a score is NaN.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], ax=Figure().subplots())
    """
    found, taken = _counts(labels, scores)
    sensitivity, fall_out = (np.concatenate([[0.0], counts / counts[-1]]) for counts in (found, taken))
    area = float(np.trapezoid(sensitivity, fall_out))
    ax = axes_or_new(ax, width=4.8, height=4.6)
    ax.plot([0, 1], [0, 1], ":", color="0.5", label="chance")
    ax.plot(fall_out, sensitivity, color=COLORS[0], label=f"area {area:.4f}")
    ax.set_aspect("equal")
    legend(ax, loc="lower right")
    return tidy(ax, xlabel="false positive rate", ylabel="true positive rate (recall)")


def precision_recall_curve(labels: npt.ArrayLike, scores: npt.ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw which share of the rows that are taken for positive is positive, over the share of the positive rows that is found.

    Of rare positive rows it says more than the ROC curve. The area is the average precision: precision at each positive row, in the
    order of the scores, averaged; the dotted line is the share of positive rows, which guessing reaches.

    Parameters
    ----------
    labels : array (n,)
        The true classes, 0 or 1; both must occur.
    scores : array (n,) or (n, 1)
        Outputs or probabilities; the higher, the more likely positive.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Raises
    ------
    ValueError
        When the numbers of values differ, one class does not occur, or a score is NaN.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.precision_recall_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], ax=Figure().subplots())
    """
    found, taken = _counts(labels, scores)
    precision, recall = found / (found + taken), found / found[-1]
    area = float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision))
    ax = axes_or_new(ax, width=4.8, height=4.6)
    ax.axhline(found[-1] / (found[-1] + taken[-1]), linestyle=":", color="0.5", label="chance")
    ax.step(np.concatenate([[0.0], recall]), np.concatenate([precision[:1], precision]), color=COLORS[0], label=f"area {area:.4f}")
    ax.set_ylim(0, 1.02)
    legend(ax, loc="lower left")
    return tidy(ax, xlabel="recall", ylabel="precision")


def calibration_curve(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = 10, ax: Axes | None = None) -> Axes:
    """Draw how often rows are positive, over the probability that was predicted for them.

    On the diagonal, of the rows with a predicted probability of 0.8, 80 % are positive. Below it the network is too sure.

    Parameters
    ----------
    labels : array (n,)
        The true classes, 0 or 1.
    probabilities : array (n,) or (n, 1)
        Predicted probabilities, as `Network.predict_proba` returns them, in [0, 1].
    bins : int
        In how many groups of about the same number of rows to divide them, by probability.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Raises
    ------
    ValueError
        When the numbers of values differ, there are none, a label is not 0 or 1, or a probability is not in [0, 1].

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from backprop.explain import plots
    >>> ax = plots.calibration_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], bins=2, ax=Figure().subplots())
    """
    positive, share = paired(labels, probabilities, ("labels", "probabilities"))
    if not np.isin(positive, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if share.size == 0 or not ((share >= 0) & (share <= 1)).all():
        raise ValueError("probabilities must hold values in [0, 1], such as those of predict_proba; outputs are not probabilities")
    groups = [group for group in np.array_split(np.argsort(share, kind="stable"), check_count("bins", bins)) if group.size]
    predicted, actual = (np.array([values[group].mean() for group in groups]) for values in (share, positive))
    error = float(np.sum([group.size * abs(a - p) for group, a, p in zip(groups, actual, predicted, strict=True)]) / share.size)
    ax = axes_or_new(ax, width=4.8, height=4.6)
    ax.plot([0, 1], [0, 1], ":", color="0.5", label="calibrated")
    ax.plot(predicted, actual, "o-", color=COLORS[0], label=f"mean error {error:.3g}")
    ax.set_aspect("equal")
    legend(ax, loc="upper left")
    return tidy(ax, xlabel="predicted probability", ylabel="share that is positive")


def paired(targets: npt.ArrayLike, outputs: npt.ArrayLike, names: tuple[str, str]) -> tuple[Numbers, Numbers]:
    """Return both as flat arrays of float64; an error that calls them by their names unless they have one size."""
    true, guess = (as_real_array(x, name).astype(float).ravel() for x, name in zip((targets, outputs), names, strict=True))
    if true.shape != guess.shape:
        raise ValueError(f"{' and '.join(names)} must have the same number of values, got {true.size} and {guess.size}")
    return true, guess


def _counts(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Numbers, Numbers]:
    """How many positive and negative rows have at least each of the different scores, from the highest score down."""
    positive, score = paired(labels, scores, ("labels", "scores"))
    if not np.isin(positive, (0, 1)).all() or np.ptp(positive) == 0:
        raise ValueError("labels must be 0 or 1, and both must occur")
    if np.isnan(score).any():
        raise ValueError(f"scores must have an order, got NaN in row {int(np.isnan(score).argmax())}")
    order = np.argsort(-score, kind="stable")
    last: Any = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    found = np.cumsum(positive[order])[last]
    return found, (last + 1) - found
