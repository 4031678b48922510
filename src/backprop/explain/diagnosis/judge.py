"""Ask all rules about one network, from the data to what training made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..._training.epochs import has_batch_norm
from ..._training.rows import Batch
from ...layers import BatchNorm
from ...losses import Loss
from ...network import Network
from ...optimizers import Optimizer
from ..trace import Trace, trace
from . import curves, data, run, step, validation
from .findings import Finding
from .probes import Probe, against_standing_still, wide_network
from .signal import Signal, measure


class Case(NamedTuple):
    """What is known of a network and its training."""

    net: Network
    initial: Network | None
    """The network as training began; None where there was no training yet."""
    loss: Loss
    optimizer: Optimizer | None
    batch_size: int | None
    history: Mapping[str, Sequence[float]]
    chance: float | None = None
    """The loss that is reached without looking at the inputs, where it is known."""
    chance_elsewhere: float | None = None
    """The same for the validation rows, where they are known."""
    signal: Signal | None = None
    """How much the inputs say about the targets, where there are enough rows to tell."""
    rows: int = 0
    rows_elsewhere: int = 0
    """The number of validation rows, where they are known."""
    clip_norm: float | None = None
    clip_value: float | None = None
    l2: float = 0.0
    has_hook: bool = False
    """Whether ``on_gradients`` sees the gradients."""
    updates: int | None = None
    """The number of updates of a run that has ended, where it is known."""


class Data(NamedTuple):
    """Rows of the training data, and of the validation data where there are any."""

    x: npt.NDArray[Any]
    targets: npt.NDArray[Any]
    all_targets: npt.NDArray[Any]
    other: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None
    in_order: bool = False
    """Whether training takes the rows in their order."""
    batch_size: int | None = None
    weight: npt.NDArray[Any] | None = None


def data_findings(given: Data, net: Network, loss: Loss, trained: bool) -> tuple[list[Finding], Signal | None]:
    """What shows in the data alone, and how much the inputs say about the targets."""
    x, targets, all_targets = given.x, given.targets, given.all_targets
    findings, usual = data.outliers("x", x)
    first = net.layers[0]
    scaled = isinstance(first, BatchNorm) and first._trusted  # the network itself brings each column to mean 0 and variance 1
    findings += [*data.input_scale(x[usual], scaled), *data.target_spread(all_targets)]
    activation = net.output_activation
    if targets.dtype == np.int64:
        findings += data.labels(all_targets.ravel(), net.n_outputs)
    elif loss.task == "binary":
        if targets.shape[1] == 1 and np.isin(all_targets, (0, 1)).all():
            findings += data.labels(all_targets.ravel().astype(np.int64), 2)
    elif loss.link == "identity" and loss.task == "regression":
        far, near = data.outliers("the targets", all_targets.reshape(len(all_targets), -1))
        findings += [*far, *data.target_scale(all_targets[near]), *data.target_range(all_targets[near], activation)]
        findings += data.classes_as_numbers(x, targets, activation.name)
    if given.in_order:
        findings += data.row_order(all_targets, given.batch_size)
    findings += [*data.leaked_target(x, targets, net.n_outputs), *data.repeated_rows(x, targets)]
    findings += data.weight_on_few_rows(given.weight)
    apart: list[Finding] = []
    if given.other is not None:
        apart += validation.other_values(x, targets, *given.other, net.n_outputs)
    looks = not loss.custom and (trained or given.other is not None)
    signal = measure(x, targets, net.n_outputs, given.other) if looks else None
    if given.other is not None and not apart:
        apart += validation.other_relation(signal, len(given.other[0]))
    return findings + apart, signal


@np.errstate(all="ignore")
def judge(case: Case, batch: Batch | None) -> list[Finding]:
    """What shows in the network on some rows of the data, and in its history; without rows, in the history alone."""
    smoothed = [*run.label_smoothing(case.loss)]
    if case.initial is None:
        assert batch is not None
        fresh = _trace(case.net, batch, case)
        frozen = run.frozen_layers(case.net, stands=False)
        return _at("start", [*smoothed, *frozen, *_beginning(fresh, case), *run.overdone((), case.net, None)])
    changed = run.changes(case.initial, case.net)
    losses, validated = run.loss_curve(case.history, "loss"), run.loss_curve(case.history, "val_loss")
    if not np.isfinite(losses).all():
        losses = losses[:0]
    if batch is None:
        found = [*smoothed, *run.overdone(changed, case.net, case.optimizer, case.l2), *run.growth(changed, learned=False)]
        return found + _curves(case, losses, validated, None)

    began = _trace(case.initial, batch, case._replace(optimizer=None))
    now = _trace(case.net, batch, case)
    least = data.least_loss(case.loss, batch.targets, case.net.n_outputs)
    learned = now.loss - least < 0.3 * ((case.chance or began.loss) - least)
    beginning = _beginning(began, case, learned)
    found = [replace(finding, evidence=f"Before training: {finding.evidence}") for finding in _at("start", beginning)]
    chance = case.chance if case.chance_elsewhere is None else case.chance_elsewhere
    found += [*smoothed, *curves.uninformative_inputs(case.signal, case.rows, losses, validated, chance, case.rows_elsewhere)]

    decayed = [*run.overdone(changed, case.net, case.optimizer, case.l2), *run.batch_norm_statistics(case.net, case.loss, batch)]
    grown = [*run.growth(changed, learned)]
    broken = [*step.non_finite_step(now)]
    if broken:
        return found + decayed + grown + broken
    symptoms = [] if decayed else [*step.symmetric_weights(now)]
    if learned:  # what looks like a problem does no harm, except for units that are of no use
        symptoms += step.dead_units(now)
    else:
        symptoms += [*_symptoms(now, case), *run.small_movement(changed, losses)]
        symptoms += curves.loss_against_chance(now.loss, case.chance, 2)
    symptoms = _died(symptoms, beginning)
    found += [*decayed, *grown, *(() if decayed or grown else run.thrown_units(changed, beginning, symptoms)), *symptoms]
    shape = _curves(case, losses, validated, began.loss)
    shape += curves.plateau(losses, run.loss_curve(case.history, "lr"), lambda: run.room_below(case.net, case.loss, batch))
    stands = any(finding.name in ("plateau", "underfitting") for finding in shape)
    if stands and not decayed and case.optimizer is not None and run.decays(case.optimizer, case.l2):
        found += run.held_back(case.net, case.loss, batch, case.optimizer, case.l2)
    if not learned:
        found += run.frozen_layers(case.net, stands)
        shape = _probed(case, batch, losses, now.loss, found, shape)
    return found + shape


def _probed(
    case: Case, batch: Batch, losses: npt.NDArray[Any], now: float, found: list[Finding], shape: list[Finding]
) -> list[Finding]:
    """The findings about a run that has not learned, with what short trainings on copies say about them."""
    probe = _probe(case, batch)
    if probe is not None and (case.clip_norm is not None or case.clip_value is not None) and losses.size:
        difference = probe.clipping(now)
        if difference is not None:
            limit = f"clip_norm {case.clip_norm:g}" if case.clip_norm is not None else f"clip_value {case.clip_value:g}"
            found.append(
                Finding(
                    "clipping too strong", "warning",
                    f"In {probe.steps} steps from the beginning the loss comes to {difference[0]:.4g} with {limit}, and to "
                    f"{difference[1]:.4g} without.",
                    numbers={"limited": difference[0], "free": difference[1]},
                )
            )  # fmt: skip
    if probe is not None:
        found += [*_few_updates(case, probe, losses, now), *_changed_gradients(case, probe, now)]
    narrow = [*run.narrow_layer(case.net), *run.no_nonlinearity(case.net)]
    stuck = [finding for finding in shape if finding.name == "underfitting"]
    if case.chance is None or not (narrow or stuck) or not np.isfinite(batch.x).all():
        return shape
    wide = wide_network(case.loss, _weighted(batch, case.loss), case.net.n_outputs)
    if wide is not None and wide.held_out < 0.7 * min(now, case.chance):
        found += narrow
    if not stuck:
        return shape
    seen, advice = against_standing_still(probe, wide, case.chance)
    return [
        replace(finding, evidence=finding.evidence + seen, advice=advice) if finding.name == "underfitting" else finding
        for finding in shape
    ]


def _few_updates(case: Case, probe: Probe, losses: npt.NDArray[Any], now: float) -> list[Finding]:
    """A run of few steps that was still learning, and smaller batches with which it gets far."""
    updates = case.updates or 0
    if not 0 < updates < 100 or losses.size == 0 or losses[-1] > losses[0] or not np.isfinite(now):
        return []
    small = probe._replace(batch_size=min(probe.batch_size, 32))
    reached = small.loss_after() if small.steps > 2 * updates else np.inf
    if not now - reached > 0.2 * abs(now):
        return []
    seen = f"There were {updates} updates; {small.steps} updates with batches of {small.batch_size} rows come to {reached:.3g}."
    return [Finding("too few updates", "warning", seen, numbers={"updates": updates, "reached": reached})]


def _changed_gradients(case: Case, probe: Probe, now: float) -> list[Finding]:
    """A run with ``on_gradients`` that has learned less than a few steps without it bring."""
    if not case.has_hook or (case.updates is not None and case.updates < probe.steps):
        return []
    start, free = probe.loss_before(), probe.loss_after()
    uphill = now > start and start - free > 0.02 * abs(start)
    low = min(now, case.chance or now)
    if not (uphill or low - free > 0.3 * abs(low)):
        return []
    seen = f"The loss is {now:.4g}; {probe.steps} steps from the beginning without on_gradients bring it to {free:.4g}."
    return [Finding("changed gradients", "warning", seen, numbers={"loss": now, "free": free})]


def _probe(case: Case, batch: Batch) -> Probe | None:
    """How short trainings go as the run does; None where its optimizer is not known."""
    if case.optimizer is None or case.initial is None:
        return None
    rates = run.loss_curve(case.history, "lr")
    lr = float(rates.max()) if rates.size else case.optimizer.learning_rate
    if not lr > 0:
        return None
    size = case.batch_size or 32
    if has_batch_norm(case.initial):
        if len(batch.x) < 2:
            return None
        size = max(size, 2)
    given = _weighted(batch, case.loss)
    return Probe(case.initial, case.loss, case.optimizer, lr, given, size, case.clip_norm, case.clip_value, case.l2)


def _weighted(batch: Batch, loss: Loss) -> Batch:
    """The batch with the weights that `Trainer.step` is to be given: those of classes included, unless the loss has them."""
    return batch if loss.row_class_weight is not None else batch._replace(sample_weight=batch.weight)


def _died(symptoms: list[Finding], beginning: list[Finding]) -> list[Finding]:
    """Findings about units that died in training, with the remedy that fits."""
    before = {(finding.name, finding.layer) for finding in beginning}
    advice = "Lower the learning rate: the units were active before training, and large steps threw them below 0 for all rows."
    return [
        replace(finding, advice=advice)
        if finding.name == "dead relu units" and (finding.name, finding.layer) not in before
        else finding
        for finding in symptoms
    ]


def _beginning(fresh: Trace, case: Case, learned: bool = False) -> list[Finding]:
    """What can be wrong with a network as it was made."""
    broken = list(step.non_finite_step(fresh))
    if broken:
        return broken
    tolerance = 10 if case.loss.link in ("softmax", "sigmoid") else 30  # squares grow faster than logarithms
    far = () if learned else curves.loss_against_chance(fresh.loss, case.chance, tolerance)
    return [*step.symmetric_weights(fresh), *step.weight_scale(fresh), *_symptoms(fresh, case), *far]


def _symptoms(traced: Trace, case: Case) -> list[Finding]:
    """What can be wrong with a network at any time."""
    return [
        *step.dead_units(traced),
        *step.saturated_units(traced),
        *step.gradients_along_depth(traced, clipped=case.clip_norm is not None or case.clip_value is not None),
        *step.update_size(traced, case.chance),
        *step.batch_norm_rows(traced, case.batch_size),
    ]


def _curves(case: Case, losses: npt.NDArray[Any], validated: npt.NDArray[Any], initial: float | None) -> list[Finding]:
    return [
        *curves.instability(losses, initial, case.chance),
        *curves.overfitting(losses, validated, case.chance),
        *curves.underfitting(losses, case.chance),
    ]


def _at(stage: Any, findings: list[Finding]) -> list[Finding]:
    return [replace(finding, stage=stage) for finding in findings]


def _trace(net: Network, batch: Batch, case: Case) -> Trace:
    return traced_step(net, batch, case.loss, case.optimizer)


def traced_step(net: Network, batch: Batch, loss: Loss, optimizer: Optimizer | None) -> Trace:
    """One step on a copy; without the update where gradients are too large for one, in evaluation mode where a row is alone.

    Batch normalization cannot train on a single row, and optimizers refuse gradients whose squares overflow: of such networks and
    data, too, there is something to say.
    """
    training = len(batch.x) > 1 or not has_batch_norm(net)
    with np.errstate(all="ignore"):
        try:
            return trace(
                net, batch.x, batch.targets, loss=loss, optimizer=optimizer, sample_weight=batch.sample_weight, training=training
            )
        except ArithmeticError:
            return trace(net, batch.x, batch.targets, loss=loss, sample_weight=batch.sample_weight, training=training)
