"""How problems show in a training history: rules that yield findings.

The thresholds of a rule stand in it, chosen so that the healthy runs of the tests and the examples stay silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..._types import AnyArray
from .findings import Finding
from .signal import Signal


def sizes(losses: AnyArray) -> AnyArray:
    """What changes of a loss are compared with: the losses; where they go below 0, and so 0 says nothing, at least their range."""
    size = np.abs(losses)
    return size if losses.min() >= 0 else np.maximum(size, np.ptp(losses))


def loss_against_chance(loss: float, chance: float | None, tolerance: float) -> Iterator[Finding]:
    """A loss this many times above what is reached without looking at the inputs."""
    if chance is not None and np.isfinite(loss) and loss > tolerance * chance + 1:
        yield Finding(
            "loss far from chance", "warning", f"The loss is {loss:.4g}; without looking at the inputs it would be {chance:.4g}.",
            numbers={"loss": loss, "chance": chance},
        )  # fmt: skip


def instability(losses: AnyArray, initial: float | None, chance: float | None) -> Iterator[Finding]:
    """A loss that rises, jumps, or was thrown far above where it began."""
    if losses.size < 3:
        return
    start, end, best = float(losses[0]), float(losses[-1]), float(losses.min())
    size = sizes(losses)
    jumps = int(np.sum(np.diff(losses) > 0.5 * size[:-1]))
    diverged = end - start > 0.2 * size[0] and end - best > 0.5 * size[losses.argmin()]
    unsteady = jumps >= max(2, losses.size // 4) and end - start > -0.7 * size[0]
    thrown = (
        initial is not None and chance is not None
        and losses.max() > max(10 * chance, 2 * initial) and end > 0.5 * min(chance, initial)
    )  # fmt: skip
    if diverged or unsteady or thrown:
        began = "" if initial is None else f"Before training the loss was {initial:.4g}. "
        yield Finding(
            "learning rate too high", "critical" if end > min(start, start if initial is None else initial) else "warning",
            f"{began}From the first epoch to the last it went from {start:.4g} to {end:.4g} (best {best:.4g}, worst "
            f"{losses.max():.4g}), and rose by more than half in {jumps} epochs.",
            numbers={"first": start, "last": end, "best": best, "jumps": jumps},
        )  # fmt: skip


def overfitting(losses: AnyArray, validation: AnyArray, chance: float | None) -> Iterator[Finding]:
    """A validation loss that rises while the training loss falls, or that never left chance while the training loss did."""
    if losses.size < 4 or validation.size != losses.size or not np.isfinite(validation).all():
        return
    best, last, end = int(validation.argmin()), float(validation[-1]), float(losses[-1])
    size = sizes(losses)
    scale = size[0] if chance is None else chance
    risen = best < 0.75 * losses.size and last - validation[best] > 0.05 * scale
    memorised = losses[best] - end > 0.2 * size[best] and last - end > size[-1]
    no_use = chance is not None and last > 0.8 * chance and end < 0.3 * last
    if (risen and memorised) or no_use:
        yield Finding(
            "overfitting", "warning",
            f"The validation loss was {validation[best]:.4g} at its best, in epoch {best + 1}, and is {last:.4g} now, while the "
            f"training loss has fallen from {losses[0]:.4g} to {end:.4g}.",
            numbers={"best_epoch": best + 1, "best": float(validation[best]), "last": last, "training": end},
        )  # fmt: skip


def underfitting(losses: AnyArray, chance: float | None) -> Iterator[Finding]:
    """A loss that stands still near what is reached without looking at the inputs."""
    if losses.size < 4 or chance is None:
        return
    quarter = losses.size // 4
    before, end = losses[-2 * quarter : -quarter].mean(), float(losses[-quarter:].mean())
    standing = end > (0.95 if losses.size >= 12 else 0.99) * before
    if standing and end > 0.7 * chance:
        yield Finding(
            "underfitting", "warning",
            f"The training loss is {end:.4g} after {losses.size} epochs and hardly falls; without looking at the inputs "
            f"it would be {chance:.4g}.",
            numbers={"first": float(losses[0]), "last": end, "chance": chance},
        )  # fmt: skip


def uninformative_inputs(
    signal: Signal | None, rows: int, losses: AnyArray, validation: AnyArray, chance: float | None, rows_elsewhere: int
) -> Iterator[Finding]:
    """Inputs in which nothing is found that bears on the targets, of a run whose validation loss never fell below chance."""
    if signal is None or rows < 100 or signal.beyond_chance > 4 or losses.size == 0 or chance is None:
        return
    known = validation[np.isfinite(validation)]
    if known.size and known.min() < (0.97 - 0.5 / max(rows_elsewhere, 1) ** 0.5) * chance:  # the best of many epochs has some luck
        return
    seen = "" if not known.size else f" The validation loss was {known.min():.4g} at its best"
    seen += "" if not known.size else f", and without looking at the inputs it would be about {chance:.4g}."
    yield Finding(
        "uninformative inputs", "critical" if known.size else "warning",
        f"Targets predicted from the nearest rows, or by a linear model, are correlated with the true ones by {signal.within:.2g}, "
        f"no more than permuted targets are, and no single column does better.{seen}",
        numbers={"correlation": signal.within, "beyond_chance": signal.beyond_chance}, stage="data",
    )  # fmt: skip


def plateau(losses: AnyArray, rates: AnyArray, room: Callable[[], float]) -> Iterator[Finding]:
    """A loss that fell and stands still now, though a step along the gradient would lower it."""
    if losses.size < 8:
        return
    start, middle = float(losses[0]), float(losses[losses.size // 2])
    third, last = losses[losses.size // 2 : -losses.size // 4], losses[-losses.size // 4 :]
    end = float(last.mean())
    if abs(third.mean() - end) < 0.01 * end and end > 0.3 * start and middle < 0.95 * start and (gain := room()) > 0.05:
        decayed = rates.size > 1 and rates[-1] < 0.1 * rates.max()
        rate = f" The learning rate has fallen from {rates.max():.3g} to {rates[-1]:.3g}." if decayed else ""
        yield Finding(
            "plateau", "warning",
            f"The loss fell from {start:.4g} to {middle:.4g} in the first half and is {end:.4g} after {losses.size} epochs, though "
            f"a single step along the gradient, of the best length, would lower it by {gain:.0%}.{rate}",
            numbers={"first": start, "last": end, "room": gain},
        )  # fmt: skip
