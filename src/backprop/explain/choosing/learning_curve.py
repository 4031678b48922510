"""Whether more rows would help: `learning_curve`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..._arrays import as_real_array, as_table, check_count, check_in, check_list
from ..._training.epochs import leaves_row_alone
from ...data import check_same_rows, hold_out
from ...training import Trainer
from .parallel import check_jobs, run_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...losses import Loss
    from ...network import Network
    from ...optimizers import Optimizer

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)


class LearningCurve(NamedTuple):
    """What `learning_curve` measured.

    Attributes
    ----------
    rows : array (sizes,)
        The numbers of training rows.
    training, validation : array (sizes,)
        The score on the rows that the network was trained on, and on those held out.
    metric : str
        What the scores are.
    """

    rows: npt.NDArray[np.intp]
    training: npt.NDArray[np.float64]
    validation: npt.NDArray[np.float64]
    metric: str

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw both scores over the number of rows."""
        from ..plots import scores_over_rows

        return scores_over_rows(self.rows, self.training, self.validation, metric=self.metric, ax=ax)


def learning_curve(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: str | Loss,
    optimizer: str | Optimizer = "adam",
    metric: str | None = None,
    sizes: Sequence[int] | None = None,
    validation_split: float = 0.25,
    epochs: int = 20,
    batch_size: int = 32,
    seed: int = 0,
    n_jobs: int | None = None,
) -> LearningCurve:
    """Train copies of a network on more and more of the rows, to see whether more rows would help.

    A validation score that still gets better at the end, with a training score far above it, says that more rows will help; two
    scores that have met at a bad value say that the network is too small, or the inputs say no more.

    Parameters
    ----------
    net : Network
        The network that each training begins with; it is not changed.
    x, y : array
        All rows; a share of them is held out for validation, and the same rows for all sizes.
    loss, optimizer, epochs, batch_size, seed : str or Loss, str or Optimizer, int
        As for `Network.fit`. With fewer rows there are more epochs, so that all trainings have about the same number of steps.
    metric : str, optional
        The name of a metric; the loss without it.
    sizes : sequence of int, optional
        Numbers of training rows, each at most those that are left; by default 10, 20, 40, 70 and 100 % of them.
    validation_split : float
        The share of the rows to hold out, in (0, 1).
    n_jobs : int, optional
        How many to train at a time, as for `compare`.

    Returns
    -------
    LearningCurve

    Raises
    ------
    ValueError
        For sizes of more rows than there are.

    Examples
    --------
    >>> import backprop as bp
    >>> from backprop.explain.choosing import learning_curve
    >>> (x, y), _ = bp.datasets.digits()
    >>> curve = learning_curve(bp.mlp([64, 32, 10], seed=0), x, y, loss="cross_entropy", metric="accuracy", sizes=[50, 1000])
    >>> bool(curve.validation[0] < curve.validation[1])
    True
    """
    table, targets = as_table(x, "x", net.n_inputs), as_real_array(y, "y")
    check_same_rows((table, targets), ("x", "y"))
    epochs, batch_size, jobs = check_count("epochs", epochs), check_count("batch_size", batch_size), check_jobs(n_jobs)
    trainer = Trainer(net.copy(), loss=loss, optimizer=copy.deepcopy(optimizer), metrics=[metric] if metric else [])
    check_in("validation_split", validation_split, 0.0, 1.0, closed="neither")
    classes = trainer.loss.task in ("classification", "binary") and targets.size == len(targets)
    kept, held_out = hold_out(len(table), validation_split, stratify=targets.reshape(-1) if classes else None, seed=seed)
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(4,))).permutation(kept)
    counts = (
        [max(1, round(share * len(order))) for share in SHARES] if sizes is None else check_list("sizes", sizes, "numbers of rows")
    )
    if not counts:
        raise ValueError("sizes must hold at least one number of rows")
    for count in counts:
        if check_count("sizes", count) > len(order):
            raise ValueError(f"sizes must be at most {len(order)}, the rows that are not held out, got {count}")
    unique = sorted(set(counts))

    def train(count: int) -> tuple[float, float]:
        made: Any = copy.deepcopy(trainer)
        part = order[:count]
        made.fit(
            table[part],
            targets[part],
            epochs=max(1, round(epochs * len(order) / count)),
            batch_size=batch_size,
            drop_last=leaves_row_alone(made.net, count, batch_size),
            seed=seed,
            verbose=False,
        )
        key = metric or "loss"
        return tuple(float(made.evaluate(table[rows], targets[rows])[key]) for rows in (part, held_out))  # type: ignore[return-value]

    scores = np.array(run_all(train, [(count,) for count in unique], jobs, lambda: None))
    return LearningCurve(np.array(unique), scores[:, 0], scores[:, 1], metric or "loss")
