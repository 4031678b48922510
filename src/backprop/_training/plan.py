"""Training plans: the plan of a network with a loss, an optimizer and clipping, which takes whole steps without Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .. import kernels, losses
from .._overrides import is_built_in
from .._spans import weight_spans
from ..losses import Loss
from ..network import Network
from ..optimizers import Optimizer
from .accumulation import Accumulation

if TYPE_CHECKING:
    from .._core import TrainingPlan

FLT_MIN = 2.0**-126  # the smallest normal number of float32


def current_plan(
    planned: TrainingPlan | None,
    net: Network,
    loss: Loss,
    optimizer: Optimizer,
    clip_norm: float | None,
    clip_value: float | None,
    l2: float,
    accumulate_steps: int,
    accumulation: Accumulation,
    pauses: bool,
) -> TrainingPlan | None:
    """Return the `_core.TrainingPlan` of a network that learns with this loss and optimizer and these options.

    None where the network has no plan. With a custom loss, a training plan can only finish steps. With ``pauses`` it stops before
    each update, for ``on_gradients``; so it does with a custom optimizer, which then updates. ``planned``, if given, was made for
    these objects before: it takes over the options, and is replaced only if the network has changed.
    """
    plan = net._ready_plan()
    if plan is None or not net._trains_by_plan:
        return None
    has_formula = is_built_in(optimizer)
    name = loss.name if is_built_in(loss) and loss.name in losses.NAMES else None
    spans = optimizer.attach(net)
    core = kernels.compiled()
    assert core is not None
    ages = optimizer._parts if has_formula else []
    if len(ages) > core.MOST_UPDATE_AGES:
        return None
    if planned is None or not planned.serves(plan, name):
        planned = core.TrainingPlan(plan, name, vars(loss), optimizer, weight_spans(net))
    planned.note_settings(has_formula)
    waits = accumulate_steps > 1 or accumulation.steps > 0
    if waits:
        accumulation.make_room(net.gradients)
    planned.renew(
        getattr(loss, loss.parameter) if loss.parameter else 0.0,
        None if name is None else loss.per_output(net.n_outputs, net.dtype),
        _fast_range(loss),
        tuple([None if slot is None else optimizer._moments[slot] for slot in optimizer._slots()]) if has_formula else (),
        spans,
        ages,
        clip_norm or 0.0,
        clip_value or 0.0,
        l2,
        accumulate_steps,
        accumulation if waits else None,
        _class_weights(loss, net.n_outputs),
        pauses,
        has_formula,
    )
    return planned


def _fast_range(loss: Loss) -> tuple[float, float]:
    """The range of targets that a plan accepts; those at the bounds of an open range are left to the check that refuses them."""
    low, high = loss.target_range
    return (low + FLT_MIN, high - FLT_MIN) if loss.open_range else (low, high)


def _class_weights(loss: Loss, n_classes: int) -> npt.NDArray[np.float64] | None:
    """The weight of each class that a loss has; None where there are none, or where they depend on the targets."""
    given = loss.row_class_weight
    if given is None or isinstance(given, str):
        return None
    try:
        return loss.class_weight_vector(given, [], n_classes)
    except ValueError:  # weights of another number of classes: a step without weights here runs the check that raises an error
        return None
