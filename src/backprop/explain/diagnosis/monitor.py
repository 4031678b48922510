"""Watch a training run and say what is wrong with it: `Monitor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter

import numpy as np

from ..._arrays import check_count, check_in
from ..._rows import Batch, Rows
from ...callbacks import Callback
from ...network import Network
from ..trace import Trace, trace
from .curves import loss_against_chance, loss_curves
from .data import chance_loss
from .diagnose import blame_learning_rate, data_findings, step_findings
from .findings import Finding, Report
from .step import rms


def weight_sizes(net: Network) -> dict[str, float]:
    """The root mean square of each weight matrix, by layer."""
    return {
        entry.name.removesuffix(".weight"): rms(net.parameters[entry.offset : entry.offset + entry.length])
        for entry in net.layout
        if entry.name.endswith(".weight") and len(entry.shape) == 2
    }


class Monitor(Callback):
    """A callback that records how gradients, updates and activations develop by layer, and reports sicknesses.

    Between epochs it traces one step on a copy of the network with a few rows of the training data, but only as long as all such
    records together take less than a small share of the training time. What happens inside an epoch is not slowed down.

    Parameters
    ----------
    rows
        How many rows to trace; the first ones of the training data. Batches from an iterable are not looked at: then only the
        curves are judged.
    share
        The most of the training time that records may take, in (0, 1).

    Attributes
    ----------
    epochs : list of int
        The epochs after which a record was made.
    gradient_norms, update_ratios, activation_sizes : dict of str to list of float
        By layer, one entry a record: the norm of the weights' gradient, norm(update) / norm(weight), and the root mean square of
        the layer's output.

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

    def __init__(self, *, rows: int = 128, share: float = 0.03) -> None:
        self.rows = check_count("rows", rows)
        self.share = check_in("share", share, 0.0, 1.0, closed="neither")
        self.on_train_begin({})

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Forget an earlier run, and take note of the data."""
        self.epochs: list[int] = []
        self.gradient_norms: dict[str, list[float]] = {}
        self.update_ratios: dict[str, list[float]] = {}
        self.activation_sizes: dict[str, list[float]] = {}
        self._curves: dict[str, list[float]] = {}
        self._data: Rows | None = None
        self._batch_size: int | None = None
        if hasattr(self, "trainer"):
            data = self.trainer.training_data
            self._data = data if isinstance(data, Rows) else None
            self._batch_size = self.trainer.batch_size
            self._initial = self.trainer.net.copy()
        self._began = perf_counter()
        self._spent, self._cost = 0.0, 0.02  # seconds; before the first record, what one usually costs

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Note the losses, and make a record if there is time for it."""
        for key in ("loss", "val_loss"):
            if key in logs:
                self._curves.setdefault(key, []).append(logs[key])
        began = perf_counter()
        if self._spent + self._cost <= self.share * (began - self._began):
            step = self._trace()
            if step is not None:
                self.epochs.append(epoch)
                self._record(step)
            self._cost = perf_counter() - began
            self._spent += self._cost

    def report(self) -> Report:
        """Return what is wrong with the run so far, the likeliest reason first; also after training broke off."""
        rows = self._data
        if rows is None:
            return Report.of(list(loss_curves(self._curves, None)))
        batch = rows.take(slice(0, min(rows.count, 4096)))
        findings = data_findings(batch.x, batch.targets, self.trainer.net.n_outputs, self.trainer.loss)
        chance = chance_loss(self.trainer.loss, batch.targets)
        step = self._trace()
        if step is not None:
            findings += blame_learning_rate(self._growth(), step_findings(step, self._batch_size, chance))
            findings += self._before_training(batch)
        findings += loss_curves(self._curves, chance)
        return Report.of(findings)

    def _before_training(self, batch: Batch) -> list[Finding]:
        """What was wrong with the network as it came."""
        with np.errstate(all="ignore"):
            step = trace(self._initial, batch.x[: self.rows], batch.targets[: self.rows], loss=self.trainer.loss)
        chance = chance_loss(self.trainer.loss, batch.targets)
        findings = [*step_findings(step, self._batch_size, chance), *loss_against_chance(step.loss, chance)]
        return [replace(finding, evidence=f"Before training: {finding.evidence}") for finding in findings]

    def _growth(self) -> list[Finding]:
        """Weights that have grown far beyond where they began."""
        findings, initial = [], weight_sizes(self._initial)
        for name, size in weight_sizes(self.trainer.net).items():
            before = initial[name]
            if before > 0 and size > 8 * before:
                evidence = f"The weights' root mean square grew from {before:.3g} to {size:.3g}."
                numbers = {"before": before, "now": size}
                findings.append(Finding("learning rate too high", "critical", evidence, name, numbers))
        return findings[:1]

    def _trace(self) -> Trace | None:
        """One step on a copy, with the first rows; None where the data cannot be looked at again."""
        rows, trainer = self._data, self.trainer
        if rows is None:
            return None
        batch = rows.take(slice(0, min(rows.count, self.rows)))
        with np.errstate(all="ignore"):
            return trace(
                trainer.net, batch.x, batch.targets,
                loss=trainer.loss, optimizer=trainer.optimizer, sample_weight=batch.sample_weight,
            )  # fmt: skip

    def _record(self, step: Trace) -> None:
        for layer in step.layers:
            self.activation_sizes.setdefault(layer.name, []).append(rms(layer.values[layer.output]))
            if "grad_weight" in layer.values:
                grad, weight = layer.values["grad_weight"], layer.values["weight"]
                self.gradient_norms.setdefault(layer.name, []).append(rms(grad) * grad.size**0.5)
                ratio = rms(layer.values["update_weight"]) / max(rms(weight), 1e-300)
                self.update_ratios.setdefault(layer.name, []).append(ratio)
