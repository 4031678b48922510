"""The loss and metrics over many batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .. import metrics as metric_functions
from .._arrays import check_list
from .._types import Array, Numbers
from ..metrics import Metric, MetricSpec
from ..metrics._tally import Formula, Sums
from .rows import NO_WEIGHT_TO_EVALUATE, Batch

if TYPE_CHECKING:
    from ..losses import Loss
    from ..network import Network


class Meter:
    """Gathers the loss and metrics of batches into those of all their rows."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)
        self._loss = 0.0
        self._weight = 0.0

    def add(self, loss: float, outputs: Array, batch: Batch) -> None:
        """Take note of a batch."""
        weight = batch.total_weight()
        self._loss += weight * loss
        self._weight += weight
        for metric in self._metrics:
            metric.update(outputs, batch.measured, batch.sample_weight)

    @property
    def has_weight(self) -> bool:
        """Whether any row has weight."""
        return self._weight > 0

    @property
    def needs_outputs(self) -> bool:
        """Whether there is any metric beside the loss."""
        return bool(self._metrics)

    @property
    def formula(self) -> Formula | None:
        """The formula that all metrics share, if they do: then `add_sums` does for `add_rows`."""
        formulas = {metric.formula if metric.adds_sums else None for metric in self._metrics}
        return formulas.pop() if len(formulas) == 1 else None

    def add_losses(self, losses: Numbers, weights: Numbers) -> None:
        """Take note of the loss and the weight of each of many batches."""
        self._loss += float((weights * losses).sum())
        self._weight += float(weights.sum())

    def add_penalty(self, penalty: float) -> None:
        """Add a penalty to the sum of the losses of the rows."""
        self._loss += penalty

    def add_rows(self, outputs: Array, targets: Any, sample_weight: Array | None) -> None:
        """Take note of all rows of many batches, but for the loss."""
        if len(outputs):
            for metric in self._metrics:
                metric.update(outputs if metric.streaming else outputs.copy(), targets, sample_weight)

    def add_sums(self, sums: Sums) -> None:
        """The same, from the sums of `formula`."""
        for metric in self._metrics:
            metric.add(sums)

    def state(self) -> tuple[Any, ...]:
        """Return what has been gathered, for `set_states` of a meter in another process."""
        return self._loss, self._weight, [metric.state() for metric in self._metrics]

    def set_states(self, states: Sequence[tuple[Any, ...]]) -> None:
        """Hold what these meters have gathered together, and nothing else."""
        self._loss, self._weight = (sum(state[index] for state in states) for index in (0, 1))
        for position, metric in enumerate(self._metrics):
            metric.set_states([state[2][position] for state in states])

    def result(self) -> dict[str, float]:
        """Return the loss, averaged by the rows' weights, and the metrics."""
        loss = self._loss / self._weight if self._weight else 0.0
        return {"loss": loss, **{metric.name: metric.result() for metric in self._metrics}}


def make_metrics(
    specs: Sequence[MetricSpec] | None, loss: Loss, streaming_only: bool = False, n_outputs: int | None = None
) -> list[Metric]:
    """Return metrics ready to gather: those given, or those that fit the loss's task.

    ``streaming_only`` leaves metrics out of the latter that would keep all rows of an epoch. With ``n_outputs`` those that are not
    defined for this number of outputs are refused.
    """
    chosen: Sequence[MetricSpec] = (
        metric_functions.defaults(loss.task) if specs is None else check_list("metrics", specs, "names and functions")
    )
    made = [metric_functions.get(spec, loss.task, loss.link) for spec in chosen]
    names = [metric.name for metric in made]
    if len(set(names)) < len(names) or "loss" in names or "lr" in names:
        raise ValueError(f"metrics must have names that differ from each other, 'loss' and 'lr', got {', '.join(names)}")
    taken = {f"val_{name}" for name in ("loss", *names)}
    if clashing := [name for name in names if name in taken]:
        raise ValueError(f"metrics must not have the name of a validation value in the history, got {', '.join(clashing)}")
    for metric in made:
        if n_outputs is not None and metric.most_outputs is not None and n_outputs > metric.most_outputs:
            raise ValueError(
                f"metric {metric.name!r} is for at most {metric.most_outputs} classes, but the network has {n_outputs} outputs"
            )
    return [metric for metric in made if metric.streaming or specs is not None or not streaming_only]


def evaluate_batches(
    net: Network,
    loss: Loss,
    batches: Iterable[Batch],
    metrics: Iterable[Metric],
    join: Callable[[Meter], None] | None = None,
) -> dict[str, float]:
    """Return loss and metrics of the network, in evaluation mode; ``join`` sees the meter before its result.

    Raises
    ------
    ValueError
        If no row has weight: there is no loss then.
    """
    meter = Meter(metrics)
    for batch in batches:
        outputs = net.infer(batch.x)
        meter.add(loss.compute(outputs, batch.targets, batch.weight, None), outputs, batch)
    if join is not None:
        join(meter)
    if not meter.has_weight:
        raise ValueError(NO_WEIGHT_TO_EVALUATE)
    return meter.result()
