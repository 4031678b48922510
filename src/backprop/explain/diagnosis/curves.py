"""How sickness shows in a training history: rules that yield findings.

The thresholds of a rule stand in it, chosen so that the healthy runs of the tests and the examples stay silent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...history import History
from .findings import Finding

Array = npt.NDArray[Any]


def loss_against_chance(loss: float, chance: float | None) -> Iterator[Finding]:
    """A loss far above what is reached without looking at the inputs."""
    if chance is not None and np.isfinite(loss) and loss > 5 * chance + 1:
        yield Finding(
            "loss far from chance", "warning", f"The loss is {loss:.4g}; without looking at the inputs it would be {chance:.4g}.",
            numbers={"loss": loss, "chance": chance},
        )  # fmt: skip


def loss_curves(history: History | Mapping[str, Sequence[float]], chance: float | None) -> Iterator[Finding]:
    """What the shapes of the training and validation losses say."""
    recorded = dict(history)
    losses, validation = (np.asarray(recorded.get(key, ()), dtype=float) for key in ("loss", "val_loss"))
    if losses.size < 4 or not np.isfinite(losses).all():
        return
    yield from _instability(losses, chance)
    yield from _overfitting(losses, validation, losses[0] if chance is None else chance)
    yield from _standstill(losses, chance)


def _instability(losses: Array, chance: float | None) -> Iterator[Finding]:
    start, end, best = float(losses[0]), float(losses[-1]), float(losses.min())
    jumps = int(np.sum(losses[1:] > 1.5 * losses[:-1]))
    diverged = end > 1.2 * start and end > 1.5 * best
    unsteady = jumps >= max(2, losses.size // 4) and end > 0.3 * start
    thrown_off = chance is not None and losses.max() > 10 * chance and end > 0.5 * chance
    if diverged or unsteady or thrown_off:
        yield Finding(
            "learning rate too high", "critical" if end > start else "warning",
            f"The loss went from {start:.4g} to {end:.4g} (best {best:.4g}) and rose by more than half in {jumps} epochs.",
            numbers={"first": start, "last": end, "best": best, "jumps": jumps},
        )  # fmt: skip


def _overfitting(losses: Array, validation: Array, scale: float) -> Iterator[Finding]:
    if validation.size != losses.size or not np.isfinite(validation).all():
        return
    best = int(validation.argmin())
    risen = validation[-1] - validation[best]
    memorised = losses[-1] < 0.8 * losses[best] and validation[-1] > 2 * losses[-1]
    if best < 0.75 * losses.size and risen > 0.05 * scale and memorised:
        yield Finding(
            "overfitting", "warning",
            f"The validation loss was {validation[best]:.4g} in epoch {best + 1} and is {validation[-1]:.4g} now, while "
            f"the training loss fell from {losses[best]:.4g} to {losses[-1]:.4g}.",
            numbers={"best_epoch": best + 1, "best": float(validation[best]), "last": float(validation[-1])},
        )  # fmt: skip


def _standstill(losses: Array, chance: float | None) -> Iterator[Finding]:
    start, middle = float(losses[0]), float(losses[losses.size // 2])
    third, last = losses[losses.size // 2 : -losses.size // 4], losses[-losses.size // 4 :]
    end = float(last.mean())
    standing = abs(third.mean() - end) < 0.01 * max(end, 1e-300)
    numbers = {"first": start, "last": end}
    if standing and chance is not None and end > 0.7 * chance:
        yield Finding(
            "underfitting", "warning",
            f"The training loss is {end:.4g} after {losses.size} epochs and stands still; without looking at the inputs "
            f"it would be {chance:.4g}.",
            numbers=numbers | {"chance": chance},
        )  # fmt: skip
    elif standing and end > 0.3 * start and middle < 0.95 * start:
        yield Finding(
            "plateau", "warning",
            f"The loss fell from {start:.4g} to {middle:.4g} in the first half and is {end:.4g} after {losses.size} epochs.",
            numbers=numbers,
        )  # fmt: skip
