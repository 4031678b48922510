"""How much a network relies on each column of its inputs: `permutation_importance`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import losses
from .._arrays import as_matrix, check_count, check_list, check_seed
from .._direction import direction_of_metric
from .._frames import column_names
from ..data import check_same_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..losses import Loss
    from ..network import Network


class Importance(NamedTuple):
    """What `permutation_importance` measured, the most important feature first; ``print(importance)`` is a table.

    Attributes
    ----------
    names : tuple of str
        The features.
    mean, std : array (features,)
        By how much the score gets worse when the feature is permuted: mean and standard deviation over the repeats. About 0 means
        that the network does not use the feature; below 0, that the score was better without it.
    score : float
        The score with all features as they are.
    metric : str
        What the score is.
    """

    names: tuple[str, ...]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    score: float
    metric: str

    def __str__(self) -> str:
        """Return a table with a row for each feature."""
        width = max(len("feature"), *map(len, self.names))
        lines = [f"{self.metric} {self.score:.4g}; how much worse with one feature permuted:"]
        rows = zip(self.names, self.mean, self.std, strict=True)
        lines += [f"  {name:<{width}}  {mean:9.4g} +- {std:.2g}" for name, mean, std in rows]
        return "\n".join(lines)

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw a bar for each feature, see `backprop.explain.plots.importance`."""
        from .plots import importance

        return importance(self, ax=ax)


def permutation_importance(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    metric: str | None = None,
    loss: str | Loss | None = None,
    features: Mapping[str, int | Sequence[int]] | Sequence[str] | None = None,
    repeats: int = 5,
    sample_weight: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Importance:
    """Measure how much worse a trained network gets when the values of one feature are permuted among the rows.

    L. Breiman, "Random Forests", 2001, section 10. Measure on rows that the network was not trained on; what it learned by heart
    counts otherwise. Of features that say the same, each may look unimportant, as the network can use the other.

    Parameters
    ----------
    net : Network
        The trained network; it is not changed.
    x, y : array (n, n_inputs), array
        Rows to measure on, as for `Network.evaluate`; at least 2.
    metric : str, optional
        What is compared: the name of a metric, or the loss by default.
    loss : str or Loss, optional
        By default the loss that the network was last trained with.
    features : mapping of str to int or sequence of int, or sequence of str, optional
        Features and the columns of x that belong to each, which are permuted together: ``{"age": 0, "city": [1, 2, 3]}``; or a
        name for each column. By default each column is a feature, with the name that a data frame gives it.
    repeats : int
        How often each feature is permuted.
    sample_weight : array (n,), optional
        Weights of the rows.
    seed : int
        Of the permutations, which are the same for each feature.

    Returns
    -------
    Importance

    Raises
    ------
    ValueError
        If `features` names a column that x does not have, or no column; for fewer than 2 rows; or if it is not known whether the
        metric is better when lower or higher.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> net = bp.mlp([3, 16, 1], seed=0)
    >>> _ = net.fit(x, 2 * x[:, 1] + x[:, 2], loss="mse", optimizer=bp.Adam(lr=0.01), epochs=30)
    >>> bp.explain.permutation_importance(net, x, 2 * x[:, 1] + x[:, 2], features=["a", "b", "c"]).names
    ('b', 'c', 'a')
    """
    table = np.array(as_matrix(x, "x", net.dtype, net.n_inputs))
    given = np.asarray(y)
    check_same_rows((table, given), ("x", "y"))
    if len(table) < 2:
        raise ValueError(f"x must have at least two rows to permute, got shape {table.shape}")
    repeats = check_count("repeats", repeats)
    columns = _columns(features if features is not None else _distinct(column_names(x)), net.n_inputs)
    sign = -1.0 if direction_of_metric(metric) == "max" else 1.0
    metrics, key = ([], "loss") if metric in (None, "loss") else ([metric], str(metric))
    function = None if loss is None else losses.get(loss)

    def score(rows: npt.NDArray[Any]) -> float:
        values = net.evaluate(rows, given, loss=function, metrics=metrics, sample_weight=sample_weight)
        return float(values[key])

    whole = score(table)
    rng = np.random.default_rng(check_seed(seed))
    orders = [rng.permutation(len(table)) for _ in range(repeats)]
    worse = np.empty((len(columns), repeats))
    for index, part in enumerate(columns.values()):
        kept = table[:, part]
        for repeat, order in enumerate(orders):
            table[:, part] = kept[order]
            worse[index, repeat] = sign * (score(table) - whole)
        table[:, part] = kept
    mean = worse.mean(axis=1)
    rank = np.argsort(-mean, kind="stable")
    return Importance(tuple(np.array(list(columns), dtype=object)[rank]), mean[rank], worse.std(axis=1)[rank], whole, key)


def _distinct(names: list[str] | None) -> list[str] | None:
    """Names of columns, each with its number where several have one name."""
    if names is None or len(set(names)) == len(names):
        return names
    return [f"{name} (column {index})" if names.count(name) > 1 else name for index, name in enumerate(names)]


def _columns(features: Mapping[str, int | Sequence[int]] | Sequence[str] | None, n_inputs: int) -> dict[str, list[int]]:
    """The columns of each feature."""
    if features is None:
        return {f"column {index}": [index] for index in range(n_inputs)}
    if not isinstance(features, Mapping):
        named = [str(name) for name in check_list("features", features, "names, or a dict of columns")]
        if len(named) != n_inputs or len(set(named)) != n_inputs:
            raise ValueError(f"features must have {n_inputs} different names, one for each column of x, got {named}")
        return {name: [index] for index, name in enumerate(named)}
    if not features:
        raise ValueError("features must name at least one feature")
    columns: dict[str, list[int]] = {}
    for name, given in features.items():
        # as objects, as an array of integers would make numbers of True and False
        part = np.atleast_1d(np.asarray(given, dtype=object)).tolist()
        if not part or not all(_is_column(index, n_inputs) for index in part):
            raise ValueError(f"features[{name!r}] must be columns of x from 0 to {n_inputs - 1}, got {given!r}")
        if str(name) in columns:
            raise ValueError(f"features must have different names, got {str(name)!r} twice")
        columns[str(name)] = [int(index) for index in part]
    return columns


def _is_column(index: object, n_inputs: int) -> bool:
    return isinstance(index, int | np.integer) and not isinstance(index, bool) and 0 <= int(index) < n_inputs
