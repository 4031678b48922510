"""Look at a network, its data and its training, and name what is wrong: `diagnose`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import optimizers
from ..._arrays import as_matrix, as_real_array, check_count, check_flag
from ..._training.rows import Batch
from ...network import Network
from ..trace import given_or_own
from . import data
from .findings import Report
from .judge import Case, Data, data_findings, judge
from .run import as_drawn
from .validation import shared_rows

if TYPE_CHECKING:
    from ...history import History
    from ...losses import Loss
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
    validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    shuffle: bool = True,
    rows: int = 512,
) -> Report:
    """Look for the common problems of networks, data and training, each with its evidence and its remedy.

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
        With it, the size of its update is judged too, and short trainings on copies look for what helps a run that stands still.
    history : History or mapping of str to sequence of float, optional
        What `Network.fit` returned; with it, the curves are judged too.
    batch_size : int, optional
        The batch size of the training; with it, batch normalization over few rows is noticed.
    validation_data : tuple (x, y), optional
        With it, validation rows are compared with the training rows: rows in both, other scales, other labels.
    shuffle : bool
        Whether training shuffles the rows; with False, rows sorted by target are noticed.
    rows : int
        The most rows to trace.

    Returns
    -------
    Report
        Its ``findings``, the likeliest reason first; ``print(report)`` is a readable page. Empty for healthy networks.

    Raises
    ------
    TypeError
        Where `net` is no network, or an option has the wrong type.
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
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    function = given_or_own(loss, net)
    batch_size, rows = None if batch_size is None else check_count("batch_size", batch_size), check_count("rows", rows)
    if history is not None and not isinstance(history, Mapping):
        raise TypeError(f"history must be a History or a mapping of names to values, got {type(history).__name__}")
    pairs = {"x": x, "y": y}
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
            raise ValueError("validation_data must be a pair (x, y)")
        pairs |= {"x of validation_data": validation_data[0], "y of validation_data": validation_data[1]}
    broken = [finding for name, values in pairs.items() for finding in data.non_finite_data(name, _as_given(values))]
    if broken:
        return Report.of(broken)
    inputs = as_matrix(x, "x", net.dtype, net.n_inputs)
    targets = function.prepare_targets(y, net.n_outputs, net.dtype)
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise ValueError(f"x and y must have the same number of rows, at least 1, got {inputs.shape} and {np.shape(y)}")
    other = None
    if validation_data is not None:
        other_x = as_matrix(validation_data[0], "x of validation_data", net.dtype, net.n_inputs)
        other = other_x, function.prepare_targets(validation_data[1], net.n_outputs, net.dtype, name="y of validation_data")
        if len(other[0]) == 0 or len(other[0]) != len(other[1]):
            shapes = f"{other_x.shape} and {np.shape(validation_data[1])}"
            raise ValueError(f"x and y of validation_data must have the same number of rows, at least 1, got {shapes}")
    given = Data(inputs, targets, targets, other, not check_flag("shuffle", shuffle), batch_size)
    findings, signal = data_findings(given, net, function, trained=bool(history) or net.loss is not None)
    if other is not None:
        findings += [*shared_rows(inputs, targets, *other), *data.few_validation_rows(len(inputs), len(other[0]))]
    case = Case(
        net=net,
        initial=as_drawn(net) if history or net.loss is not None else None,
        loss=function,
        optimizer=None if optimizer is None else optimizers.get(optimizer),
        batch_size=batch_size,
        history=dict(history or {}),
        chance=data.chance_loss(function, targets, None, net.n_outputs),
        chance_elsewhere=None if other is None else data.chance_loss(function, other[1], None, net.n_outputs),
        signal=signal,
        rows=len(inputs),
        rows_elsewhere=0 if other is None else len(other[0]),
    )
    sample = _sample(len(inputs), rows)
    return Report.of(findings + judge(case, Batch(inputs[sample], targets[sample], None, None)))


def _as_given(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Values as an array to be searched for NaN, which missing values of frames are; what is no numbers is refused later."""
    try:
        return as_real_array(values, "values")
    except (TypeError, ValueError):
        return np.empty(0)


def _sample(count: int, most: int) -> npt.NDArray[np.intp]:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
