"""Short trainings on copies that tell which remedy works: other learning rates, a wider network, no clipping."""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..._training.rows import Batch
from ...losses import Loss
from ...network import Network, mlp
from ...optimizers import Adam, Optimizer
from ...training import Trainer

WORK = 2e9  # multiplications that a probe may take
MOST_STEPS, FEWEST_STEPS = 100, 10
WIDE = (64, 64)
WIDE_STEPS = 400
FACTORS = (0.1, 1.0, 10.0)


class Probe(NamedTuple):
    """How a run trains: probes do so from its beginning, on a sample of its rows."""

    initial: Network
    loss: Loss
    optimizer: Optimizer
    lr: float
    batch: Batch
    batch_size: int
    clip_norm: float | None = None
    clip_value: float | None = None
    l2: float = 0.0

    @property
    def steps(self) -> int:
        """The number of steps; fewer for large networks."""
        return int(np.clip(WORK / (6.0 * self.initial.parameters.size * self.batch_size), FEWEST_STEPS, MOST_STEPS))

    @property
    def width(self) -> int:
        """The number of units in the widest hidden layer."""
        return max((layer.fan_out for layer in self.initial.layers[:-1] if layer.fan_out is not None), default=0)

    def loss_before(self) -> float:
        """Return the loss without training; infinity where it is not finite."""
        return _value(self.initial, self.loss, self.batch)

    def loss_after(self, factor: float = 1.0, clipped: bool = True) -> float:
        """Return the loss after some steps with the learning rate times a factor; infinity where it diverges."""
        optimizer = deepcopy(self.optimizer)
        optimizer.reset()
        optimizer.lr = self.lr * factor
        norm, value = (self.clip_norm, self.clip_value) if clipped else (None, None)
        net = self.initial.copy()
        trainer = Trainer(net, loss=self.loss, optimizer=optimizer, clip_norm=norm, clip_value=value, l2=self.l2)
        return _train(trainer, self.batch, self.batch_size, self.steps)

    def clipping(self, now: float) -> tuple[float, float] | None:
        """The loss after some steps with clipping and without it, where clipping is what holds the run back."""
        start, limited, free = self.loss_before(), self.loss_after(), self.loss_after(clipped=False)
        falls = start - free > max(4 * (start - limited), 0.1 * abs(start))
        holds_back = np.isfinite(free) and falls and free < now
        return (limited, free) if holds_back else None


class Wide(NamedTuple):
    """The loss of a wide network on the rows it was trained on, and on a quarter of the rows that was held out."""

    trained: float
    held_out: float


def wide_network(loss: Loss, batch: Batch, n_outputs: int) -> Wide | None:
    """Train a wide network on three quarters of the rows; None where there are few rows, or the loss is a function."""
    if loss.custom or len(batch.x) < 40:
        return None
    order = np.random.default_rng(0).permutation(len(batch.x))
    held_out, used = order[: len(order) // 4], order[len(order) // 4 :]
    net = mlp([batch.x.shape[1], *WIDE, n_outputs], activation="relu", dtype=batch.x.dtype, seed=0)
    trained = _train(Trainer(net, loss=loss, optimizer=Adam(lr=5e-3)), _rows(batch, used), 32, WIDE_STEPS)
    return Wide(trained, _value(net, loss, _rows(batch, held_out)))


def against_standing_still(probe: Probe | None, wide: Wide | None, chance: float) -> tuple[str, str]:
    """What probes saw of a run that stands still near chance, and what helps."""
    seen, advice = "", ""
    if probe is not None:
        results = [probe.loss_after(factor) for factor in FACTORS]
        low, same, high = (f"{result:.3g}" for result in results)
        seen = (
            f" In {probe.steps} steps from the beginning the loss comes to {low} with a tenth of the learning rate, to {same} with "
            f"the same and to {high} with ten times as much."
        )
        best = int(np.argmin(results))
        if best != 1 and results[best] < 0.98 * min(results[1], chance):
            way = "Lower" if best == 0 else "Raise"
            advice = f"{way} the learning rate, by a factor of 3 to 10 (lr_range_test suggests one)."
    if wide is None or (advice and probe is not None and probe.width >= WIDE[0] // 4):
        return seen, advice
    others = f"on the rows it is trained on, but {wide.held_out:.3g} on others"
    helps = wide.held_out < 0.7 * chance
    reached = f"{wide.held_out:.3g} on rows it has not seen" if helps else f"{wide.trained:.3g} {others}"
    seen += f" A network with two hidden layers of {WIDE[0]} relu units reaches {reached}."
    if helps:
        return seen, f"{advice} Use a wider or deeper network, such as two hidden layers of {WIDE[0]} relu units, and Adam.".strip()
    return seen, advice or (
        "Neither another learning rate nor a larger network helps: train longer, or the inputs do not determine the targets; "
        "look for inputs that bear on them."
    )


def _train(trainer: Trainer, batch: Batch, batch_size: int, steps: int) -> float:
    """Train for some steps on minibatches, and return the loss over all rows; infinity where it diverges."""
    rng, rows = np.random.default_rng(0), len(batch.x)
    size = min(batch_size, rows)
    order: npt.NDArray[np.intp] = np.empty(0, dtype=np.intp)
    try:
        with np.errstate(all="ignore"):
            for _ in range(steps):
                if len(order) < size:
                    order = rng.permutation(rows)
                part, order = order[:size], order[size:]
                chosen = _rows(batch, part)
                trainer.step(chosen.x, chosen.targets, sample_weight=chosen.sample_weight)
    except ArithmeticError:
        return float("inf")
    return _value(trainer.net, trainer.loss, batch)


def _value(net: Network, loss: Loss, batch: Batch) -> float:
    with np.errstate(all="ignore"):
        value = loss.value(net.predict(batch.x), batch.targets, sample_weight=batch.sample_weight)
    return value if np.isfinite(value) else float("inf")


def _rows(batch: Batch, rows: npt.NDArray[np.intp]) -> Batch:
    weight = None if batch.sample_weight is None else batch.sample_weight[rows]
    return Batch(batch.x[rows], batch.targets[rows], weight, weight)
