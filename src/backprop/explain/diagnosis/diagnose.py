"""Look at a network, its data and its training, and name what is wrong: `diagnose`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import losses
from ..._arrays import as_matrix
from ..trace import Trace, trace
from . import curves, data, step
from .findings import Finding, Report

if TYPE_CHECKING:
    from ..._optimizer import Optimizer
    from ...history import History
    from ...losses import Loss
    from ...network import Network


def diagnose(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer | None = None,
    history: History | Mapping[str, Sequence[float]] | None = None,
    batch_size: int | None = None,
    rows: int = 512,
) -> Report:
    """Look for the common sicknesses of networks, data and training, each with its evidence and its cure.

    The data are looked at whole; of the network one training step is traced on a sample of rows. Nothing is changed.

    Parameters
    ----------
    net
        The network, before, during or after training.
    x, y
        The training data, as for `Network.fit`.
    loss
        The loss; the one the network was trained with when None.
    optimizer
        With it, the size of its update is judged too.
    history
        What `Network.fit` returned; with it, the curves are judged too.
    batch_size
        The batch size of the training; with it, batch normalization over few rows is noticed.
    rows
        The most rows to trace.

    Returns
    -------
    Report
        Its ``findings``, the likeliest reason first; ``print(report)`` is a readable page. Empty for healthy networks.

    Raises
    ------
    ValueError
        Where x, y or loss do not fit the network, or no loss is given and the network was never trained.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> x = np.random.default_rng(0).normal(size=(200, 8))
    >>> net = bp.mlp([8, *[16] * 10, 1], activation="sigmoid", seed=0)
    >>> report = bp.diagnose(net, x, x[:, :1], loss="mse")
    >>> report.findings[0].name
    'vanishing gradients'
    """
    function = losses.get(_loss_of(net) if loss is None else loss)
    broken = [*data.non_finite_data("x", np.asarray(x)), *data.non_finite_data("y", np.asarray(y))]
    if broken:
        return Report.of(broken)
    inputs = as_matrix(x, "x", net.dtype, net.n_inputs)
    targets = function.prepare_targets(y, net.n_outputs, net.dtype)
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise ValueError(f"x and y must have the same number of rows, at least 1, got {inputs.shape} and {np.shape(y)}")
    sample = _sample(len(inputs), rows)
    with np.errstate(all="ignore"):
        traced = trace(net, inputs[sample], targets[sample], loss=function, optimizer=optimizer)
    chance = data.chance_loss(function, targets)
    findings = data_findings(inputs, targets, net.n_outputs, function)
    if history:
        findings += blame_learning_rate(list(curves.loss_curves(history, chance)), step_findings(traced, batch_size, chance))
    else:
        findings += [*step_findings(traced, batch_size, chance), *curves.loss_against_chance(traced.loss, chance)]
    return Report.of(findings)


def blame_learning_rate(of_run: list[Finding], of_step: list[Finding]) -> list[Finding]:
    """Join what a run and a step show: where the run shows too high a learning rate, it made the weights what they are."""
    if any(finding.name == "learning rate too high" for finding in of_run):
        of_step = [finding for finding in of_step if finding.name != "badly scaled weights"]
    return of_run + of_step


def data_findings(x: npt.NDArray[Any], targets: npt.NDArray[Any], n_outputs: int, loss: Loss) -> list[Finding]:
    """What shows in the data alone."""
    findings = list(data.input_scale(x))
    if targets.dtype == np.int64:
        findings += data.labels(targets.ravel(), n_outputs)
    elif loss.task == "binary":
        if targets.shape[1] == 1 and np.isin(targets, (0, 1)).all():
            findings += data.labels(targets.ravel().astype(np.int64), 2)
    elif loss.link == "identity" and loss.task == "regression":
        findings += data.target_scale(targets)
    return findings


def step_findings(traced: Trace, batch_size: int | None, chance: float | None) -> list[Finding]:
    """What shows in one traced step."""
    broken = list(step.non_finite_step(traced))
    if broken:
        return broken
    return [
        *step.symmetric_weights(traced),
        *step.weight_scale(traced),
        *step.dead_units(traced),
        *step.saturated_units(traced),
        *step.gradients_along_depth(traced),
        *step.update_size(traced, chance),
        *step.batch_norm_rows(traced, batch_size),
    ]


def _loss_of(net: Network) -> Loss:
    if net.loss is None:
        raise ValueError("loss is needed: this network has not been trained, so it has none of its own")
    return net.loss


def _sample(count: int, most: int) -> npt.NDArray[np.intp]:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
