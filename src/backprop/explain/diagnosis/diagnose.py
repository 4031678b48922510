"""Look at a network, its data and its training, and name what is wrong: `diagnose`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ... import optimizers
from ..._arrays import as_matrix
from ..._training.rows import Batch
from ..trace import given_or_own
from . import data
from .findings import Report
from .judge import Case, data_findings, judge
from .run import as_drawn

if TYPE_CHECKING:
    from ...history import History
    from ...losses import Loss
    from ...network import Network
    from ...optimizers._base import Optimizer


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

    The data are looked at whole; of the network one training step is traced on a sample of rows. Nothing is changed. A network
    that has been trained is also compared with what it was when it was made (for one whose weights were assigned, a `Monitor`
    knows better).

    Parameters
    ----------
    net : Network
        The network, before, during or after training.
    x, y : array
        The training data, as for `Network.fit`.
    loss : str or Loss, optional
        The loss; the one the network was trained with when None.
    optimizer : str or Optimizer, optional
        With it, the size of its update is judged too.
    history : History or mapping of str to sequence of float, optional
        What `Network.fit` returned; with it, the curves are judged too.
    batch_size : int, optional
        The batch size of the training; with it, batch normalization over few rows is noticed.
    rows : int
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
    function = given_or_own(loss, net)
    broken = [*data.non_finite_data("x", np.asarray(x)), *data.non_finite_data("y", np.asarray(y))]
    if broken:
        return Report.of(broken)
    inputs = as_matrix(x, "x", net.dtype, net.n_inputs)
    targets = function.prepare_targets(y, net.n_outputs, net.dtype)
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise ValueError(f"x and y must have the same number of rows, at least 1, got {inputs.shape} and {np.shape(y)}")
    case = Case(
        net=net,
        initial=as_drawn(net) if history or net.loss is not None else None,
        loss=function,
        optimizer=None if optimizer is None else optimizers.get(optimizer),
        batch_size=batch_size,
        history=dict(history or {}),
        chance=data.chance_loss(function, targets, None, net.n_outputs),
    )
    sample = _sample(len(inputs), rows)
    findings = data_findings(inputs, targets, net, function)
    return Report.of(findings + judge(case, Batch(inputs[sample], targets[sample], None, None)))


def _sample(count: int, most: int) -> npt.NDArray[np.intp]:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
