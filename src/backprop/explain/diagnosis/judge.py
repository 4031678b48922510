"""Ask all rules about one network, from the data to what training made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..._training.rows import Batch
from ...losses import Loss
from ...network import Network
from ...optimizers import Optimizer
from ..trace import Trace, trace
from . import curves, data, run, step
from .findings import Finding


class Case(NamedTuple):
    """What is known of a network and its training."""

    net: Network
    initial: Network | None
    """The network as training began; None where there was no training yet."""
    loss: Loss
    optimizer: Optimizer | None
    batch_size: int | None
    history: Mapping[str, Sequence[float]]
    chance: float | None
    """The loss that is reached without looking at the inputs, where it is known."""


def data_findings(x: npt.NDArray[Any], targets: npt.NDArray[Any], net: Network, loss: Loss) -> list[Finding]:
    """What shows in the data alone."""
    findings = [*data.input_scale(x), *data.target_spread(targets)]
    if targets.dtype == np.int64:
        findings += data.labels(targets.ravel(), net.n_outputs)
    elif loss.task == "binary":
        if targets.shape[1] == 1 and np.isin(targets, (0, 1)).all():
            findings += data.labels(targets.ravel().astype(np.int64), 2)
    elif loss.link == "identity" and loss.task == "regression":
        findings += [*data.target_scale(targets), *data.target_range(targets, net.output_activation.name)]
    return findings


@np.errstate(all="ignore")
def judge(case: Case, batch: Batch | None) -> list[Finding]:
    """What shows in the network on some rows of the data, and in its history; without rows, in the history alone."""
    if case.initial is None:
        assert batch is not None
        fresh = _trace(case.net, batch, case)
        return _at("start", [*_beginning(fresh, case), *run.overdone((), case.net, None)])
    changed = run.changes(case.initial, case.net)
    losses, validation = run.loss_curve(case.history, "loss"), run.loss_curve(case.history, "val_loss")
    if not np.isfinite(losses).all():
        losses = losses[:0]
    if batch is None:
        found = [*run.overdone(changed, case.net, case.optimizer), *run.growth(changed, learned=False)]
        return found + _curves(case, losses, validation, None)

    began = _trace(case.initial, batch, case._replace(optimizer=None))
    now = _trace(case.net, batch, case)
    learned = now.loss < 0.3 * (case.chance or began.loss)
    beginning = _beginning(began, case, learned)
    found = [replace(finding, evidence=f"Before training: {finding.evidence}") for finding in _at("start", beginning)]

    decayed = [*run.overdone(changed, case.net, case.optimizer)]
    grown = [*run.growth(changed, learned)]
    broken = [*step.non_finite_step(now)]
    if broken:
        return found + decayed + grown + broken
    symptoms = [] if decayed else [*step.symmetric_weights(now)]
    if learned:  # what looks like a sickness does no harm, except for units that are of no use
        symptoms += step.dead_units(now)
    else:
        symptoms += [*_symptoms(now, case), *run.small_movement(changed, losses)]
        symptoms += curves.loss_against_chance(now.loss, case.chance, 2)
    found += [*decayed, *grown, *(() if decayed or grown else run.thrown_units(changed, beginning, symptoms)), *symptoms]
    shape = _curves(case, losses, validation, began.loss)
    shape += curves.plateau(losses, run.loss_curve(case.history, "lr"), lambda: run.room_below(case.net, case.loss, batch))
    stands = any(finding.name in ("plateau", "underfitting") for finding in shape)
    if stands and not decayed and case.optimizer is not None and run.decays(case.optimizer):
        found += run.held_back(case.net, case.loss, batch, case.optimizer)
    return found + shape


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
        *step.gradients_along_depth(traced),
        *step.update_size(traced, case.chance),
        *step.batch_norm_rows(traced, case.batch_size),
    ]


def _curves(case: Case, losses: npt.NDArray[Any], validation: npt.NDArray[Any], initial: float | None) -> list[Finding]:
    return [
        *curves.instability(losses, initial, case.chance),
        *curves.overfitting(losses, validation, case.chance),
        *curves.underfitting(losses, case.chance),
    ]


def _at(stage: Any, findings: list[Finding]) -> list[Finding]:
    return [replace(finding, stage=stage) for finding in findings]


def _trace(net: Network, batch: Batch, case: Case) -> Trace:
    return trace(net, batch.x, batch.targets, loss=case.loss, optimizer=case.optimizer, sample_weight=batch.sample_weight)
