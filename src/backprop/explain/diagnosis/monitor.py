"""Watch a training run and say what is wrong with it: `Monitor`."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._arrays import check_count, check_in
from ..._settings import option
from ..._training.rows import CHUNK, Batch, Rows
from ...callbacks import Callback
from ..trace import Trace
from .data import chance_loss, few_validation_rows, non_finite_data
from .findings import Finding, Report
from .judge import Case, Data, data_findings, judge, traced_step
from .signal import spread
from .step import idle_share, non_finite_step, rms
from .validation import shared_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...network import Network
    from ...optimizers import Optimizer

SAMPLE = 4096  # rows that a report looks at; targets are cheaper, and rare classes matter
TARGETS = 1_000_000
TRACED = 512
COMPARED = 50_000  # rows that are looked for among the validation rows
KEPT = 24  # networks that are kept for a page
KEPT_PARAMETERS = 200_000  # of larger networks only the first and the last are


class Moment(NamedTuple):
    """The network and the optimizer as they were after a number of epochs of the run."""

    epoch: int
    net: Network
    optimizer: Optimizer


class Monitor(Callback):
    """A callback that records how gradients, updates and activations develop by layer, and reports problems.

    Between epochs it traces one step on a copy of the network with a few rows of the training data, but only as long as all such
    records together take less than a small share of the training time. What happens inside an epoch is not slowed down.

    Parameters
    ----------
    rows : int
        How many rows to trace for a record; the first ones of the training data. Batches from an iterable are not looked at:
        then only the curves and the weights are judged.
    share : float
        The most of the training time that records may take, in (0, 1).

    Attributes
    ----------
    epochs : list of int
        The epochs after which a record was made, counted from 0 at the beginning of the run.
    gradient_norms, update_ratios, activation_sizes, idle_shares : dict of str to list of float
        By layer, one entry a record: the norm of the weights' gradient, norm(update) / norm(weight), the root mean square of the
        layer's output, and the share of its units that are dead (relu) or of its values that are saturated (sigmoid, tanh).

    Examples
    --------
    >>> import backprop as bp
    >>> (x, y), _ = bp.datasets.digits()
    >>> monitor = bp.Monitor()
    >>> net = bp.mlp([64, 32, 10], seed=0)
    >>> _ = net.fit(x, y, loss="cross_entropy", epochs=5, callbacks=[monitor])
    >>> print(monitor.report())
    Nothing unusual was found.
    """

    rows: int = option(check_count)
    share: float = option(check_in, 0.0, 1.0, closed="neither")

    def __init__(self, *, rows: int = 128, share: float = 0.03) -> None:
        self.rows = rows
        self.share = share
        self.on_train_begin({})

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Forget an earlier run, and take note of the data."""
        self.epochs: list[int] = []
        self.gradient_norms: dict[str, list[float]] = {}
        self.update_ratios: dict[str, list[float]] = {}
        self.activation_sizes: dict[str, list[float]] = {}
        self.idle_shares: dict[str, list[float]] = {}
        self._curves: dict[str, list[float]] = {}
        self._data: Rows | None = None
        self._validation: Rows | None = None
        self._shuffled = True
        self._ended = False
        self._diverged: tuple[Network, int, int] | None = None  # the network before anything was undone, and the update and epoch
        self._batch_size: int | None = None
        self._kept: list[Moment] = []
        self._spent, self._cost = 0.0, 0.0  # seconds, of all records and of the last one
        if hasattr(self, "trainer"):
            data = self.trainer.training_data
            self._data = data if isinstance(data, Rows) else None
            validation = self.trainer.validation_data
            self._validation = validation if isinstance(validation, Rows) else None
            self._shuffled = self.trainer.shuffle is not False
            self._batch_size = self.trainer.batch_size
            self._initial, self._first_update = self.trainer.net.copy(), self.trainer.optimizer.steps
            self._first_epoch = self.trainer.epoch
            self._kept.append(Moment(0, self._initial, deepcopy(self.trainer.optimizer)))
            self._cost = 1e-3 * (2 + len(self._initial.layers)) + 1e-7 * self._initial.parameters.size  # what the first may take
        self._began = perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Note losses and learning rate, and make a record if there is time for it."""
        for key in ("loss", "val_loss", "lr"):
            if key in logs:
                self._curves.setdefault(key, []).append(logs[key])
        began = perf_counter()
        if self._spent + self._cost <= self.share * (began - self._began):
            if self._data is not None:
                done = len(self.losses)  # unlike `epoch`, without those of earlier runs
                self.epochs.append(done - 1)
                self._keep(done)
                self._record(self._step(self.trainer.net, self._data.take(slice(0, min(self._data.count, self.rows)))))
            self._cost = perf_counter() - began
            self._spent += self._cost

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Note whether training broke off, and with which parameters."""
        self._ended = self.trainer.error is None
        if (end := self.trainer._diverged) is not None:
            net = self.trainer.net.copy()
            net.parameters, net.buffers = end.parameters, end.buffers
            self._diverged = net, end.updates + 1, end.epoch + 1

    @property
    def losses(self) -> list[float]:
        """The training loss of every epoch so far."""
        return list(self._curves.get("loss", ()))

    def moments(self) -> list[Moment]:
        """Return the network and optimizer as they were: at the beginning, at some epochs, and now.

        Raises
        ------
        ValueError
            When the monitor has watched no training, or one on an iterable of batches.
        """
        if not hasattr(self, "trainer"):
            raise ValueError("the monitor has watched no training: give it to fit(..., callbacks=[monitor]) first")
        if self._data is None:
            raise ValueError("the monitor needs training data in arrays; batches of an iterable are gone when they have been used")
        done = len(self.losses)
        last = [] if self._kept[-1].epoch == done else [Moment(done, self.trainer.net, self.trainer.optimizer)]
        return [*self._kept, *last]

    def first_rows(self, most: int) -> Batch:
        """Return the first rows of the training data."""
        if self._data is None:
            raise ValueError("the monitor needs training data in arrays; batches of an iterable are gone when they have been used")
        return self._data.take(slice(0, min(self._data.count, most)))

    def _keep(self, epoch: int) -> None:
        """Keep a copy of the network; when there are many, every second one goes."""
        if self._initial.parameters.size > KEPT_PARAMETERS:
            return
        if len(self._kept) >= KEPT:
            self._kept = self._kept[::2]
        self._kept.append(Moment(epoch, self.trainer.net.copy(), deepcopy(self.trainer.optimizer)))

    def report(self) -> Report:
        """Return what is wrong with the run so far, the likeliest reason first; also after training broke off."""
        if not hasattr(self, "trainer"):
            return Report(())
        trainer, rows = self.trainer, self._data
        case = Case(
            trainer.net, self._initial, trainer.loss, trainer.optimizer, self._batch_size, self._curves,
            clip_norm=trainer.clip_norm, clip_value=trainer.clip_value, l2=trainer.l2, has_hook=trainer.on_gradients is not None,
            updates=trainer.optimizer.steps - self._first_update if self._ended else None,
        )  # fmt: skip
        if rows is None:
            return Report.of(judge(case, None))
        try:
            sample = rows.take(spread(rows.count, SAMPLE))
            targets, _ = rows.take_measured(spread(rows.count, TARGETS))
            broken = self._non_finite_data(rows, sample)
        except ValueError as error:  # a memory map with values that training refused
            broken = [Finding("non-finite values", "critical", f"{error}.", stage="data")]
        if broken:
            return Report.of(broken)
        other = None if self._validation is None else self._validation.take(spread(self._validation.count, SAMPLE))
        pair = None if other is None else (other.x, other.targets)
        given = Data(sample.x, sample.targets, targets, pair, not self._shuffled, self._batch_size, sample.weight)
        findings, signal = data_findings(given, trainer.net, trainer.loss, trained=True)
        if self._validation is not None:
            ours, theirs = rows.take(spread(rows.count, COMPARED)), self._validation.take(spread(self._validation.count, SAMPLE))
            findings += shared_rows(ours.x, ours.targets, theirs.x, theirs.targets)
            findings += few_validation_rows(rows.count, self._validation.count)
        chances = (None if part is None else self._chance(part) for part in (sample, other))
        known = case._replace(chance=next(chances), chance_elsewhere=next(chances), signal=signal, rows=rows.count)
        known = known._replace(rows_elsewhere=0 if self._validation is None else self._validation.count)
        findings += judge(known, _evenly(sample, TRACED))
        return Report.of(self._with_place(findings, sample))

    def plot(self) -> Figure:
        """Draw the run so far: the losses, and by layer gradient norms, update ratios, dead or saturated shares and weights.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        ValueError
            When the monitor has watched no epoch.
        ImportError
            When matplotlib is missing.
        """
        if not self.losses:
            raise ValueError("the monitor has watched no epoch: give it to fit(..., callbacks=[monitor]) first")
        from .. import plots
        from ..plots._axes import new_axes

        first, second, third, fourth, fifth, sixth = new_axes(2, 3)
        plots.learning_curves(self._curves, ax=first)
        plots.gradient_flow(self.gradient_norms, epochs=self.epochs, ax=second)
        plots.update_ratios(self.update_ratios, epochs=self.epochs, ax=third)
        plots.idle_shares(self.idle_shares, epochs=self.epochs, ax=fourth)
        net = self.trainer.net
        plots.distributions({n: v for n, v in net.state_dict().items() if n.endswith(".weight")}, xlabel="weight", ax=fifth)
        net_gradients = {entry.name: net.gradients[entry.offset : entry.offset + entry.length] for entry in net.layout}
        plots.distributions({n: v for n, v in net_gradients.items() if n.endswith(".weight")}, xlabel="gradient", ax=sixth)
        figure = first.get_figure(root=True)
        assert figure is not None
        return figure

    def _repr_html_(self) -> str:
        """Return the report and the losses for a notebook."""
        from ..._html import line_chart

        chart = line_chart({key: self._curves[key] for key in ("loss", "val_loss") if key in self._curves}) if self.losses else ""
        return f"{chart}{self.report()._repr_html_()}"

    def _chance(self, batch: Batch) -> float | None:
        return chance_loss(self.trainer.loss, batch.targets, batch.weight, self.trainer.net.n_outputs)

    @property
    def _broke_off(self) -> bool:
        return not self._ended and self.trainer.training_data is None

    def _non_finite_data(self, rows: Rows, sample: Batch) -> list[Finding]:
        """NaN and infinities, in all rows where training broke off: with ``check_finite=False`` they were not looked for before."""
        for batch in rows.batches(CHUNK) if self._broke_off else (sample,):
            found = [*non_finite_data("x", batch.x), *non_finite_data("y", batch.targets)]
            if found:
                return found
        return []

    def _with_place(self, findings: list[Finding], sample: Batch) -> list[Finding]:
        """Where training broke off: the first place with values that are not finite, and the update that met them."""
        if not self._broke_off:
            return findings
        parts = (_part(sample, slice(start, start + TRACED)) for start in range(0, len(sample.x), TRACED))
        trainer = self.trainer
        net, update, epoch = self._diverged or (trainer.net, trainer.optimizer.steps + 1, trainer.epoch + 1)
        broken = next((found for part in parts for found in non_finite_step(self._step(net, part))), None)
        if broken is None:
            return findings
        of_run = f" ({epoch - self._first_epoch} of this run)" if self._first_epoch else ""
        seen = f"Training broke off at update {update} in epoch {epoch}{of_run}. {broken.evidence}"
        numbers = broken.numbers | {"update": update, "epoch": epoch}
        place = replace(broken, evidence=seen, numbers=numbers)
        return [finding for finding in findings if finding.name != "non-finite values"] + [place]

    def _step(self, net: Network, batch: Batch) -> Trace:
        """One step on a copy."""
        return traced_step(net, batch, self.trainer.loss, self.trainer.optimizer)

    def _record(self, step: Trace) -> None:
        for layer in step.layers:
            self.activation_sizes.setdefault(layer.name, []).append(rms(layer.values[layer.output]))
            if layer.activation is not None and "a" in layer.values:
                self.idle_shares.setdefault(layer.name, []).append(idle_share(layer))
            if "grad_weight" in layer.values:
                grad, weight = layer.values["grad_weight"], layer.values["weight"]
                self.gradient_norms.setdefault(layer.name, []).append(rms(grad) * grad.size**0.5)
                update = rms(layer.values["update_weight"]) if "update_weight" in layer.values else np.nan
                self.update_ratios.setdefault(layer.name, []).append(update / max(rms(weight), 1e-300))


def _part(batch: Batch, rows: slice) -> Batch:
    weight, sample_weight = (None if weight is None else weight[rows] for weight in (batch.weight, batch.sample_weight))
    return batch._replace(x=batch.x[rows], targets=batch.targets[rows], weight=weight, sample_weight=sample_weight)


def _evenly(batch: Batch, most: int) -> Batch:
    """At most ``most`` of the rows, evenly over all of them: data may be sorted."""
    rows = spread(len(batch.x), most)
    weight, sample_weight = (None if weight is None else weight[rows] for weight in (batch.weight, batch.sample_weight))
    return batch._replace(x=batch.x[rows], targets=batch.targets[rows], weight=weight, sample_weight=sample_weight)
