"""Training plans: the plan of a network with a loss, an optimizer and clipping, which takes whole steps without Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import kernels, losses
from .._overrides import is_built_in
from .._spans import weight_spans
from ..losses import Loss
from ..network import Network
from ..optimizers import Optimizer

if TYPE_CHECKING:
    from .._core import TrainingPlan


def translate_training(
    net: Network, loss: Loss, optimizer: Optimizer, clip_norm: float | None, clip_value: float | None, l2: float
) -> TrainingPlan | None:
    """Return the `_core.TrainingPlan` of a network that learns with this loss and optimizer.

    None where there is none: for a custom optimizer, or when the network has no plan. With a custom loss, it can only finish
    steps. It serves as long as the network's plan and the settings of loss and optimizer stay what they are.
    """
    plan = net._ready_plan()
    if plan is None or not net._trains_by_plan or not is_built_in(optimizer):
        return None
    name = loss.name if is_built_in(loss) and loss.name in losses.NAMES else None
    spans = optimizer.attach(net)
    moments = tuple(None if slot is None else optimizer._moments[slot] for slot in optimizer._slots())
    core: Any = kernels.compiled()
    if len(optimizer._parts) > core.MOST_UPDATE_AGES:
        return None
    made: TrainingPlan = core.TrainingPlan(
        plan,
        name,
        getattr(loss, loss.parameter) if loss.parameter else 0.0,
        None if name is None else loss.per_output(net.n_outputs, net.dtype),
        loss.target_range,
        vars(loss),
        optimizer,
        moments,
        spans,
        optimizer._parts,
        clip_norm or 0.0,
        clip_value or 0.0,
        l2,
        weight_spans(net),
    )
    return made
