"""What it costs to change an option before every step: ``python benchmarks/changing_options.py`` prints the times.

A plan takes over options that are numbers; freezing a layer makes a new plan; what Python functions compute is done as the table in
`backprop._training.step` says.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import backprop as bp

ROWS, SIZES, STEPS, REPEATS = 32, (64, 128, 64, 10), 40, 15


class Case(NamedTuple):
    """A name, a trainer, what is done before step number i, and the weights that the step is given."""

    name: str
    trainer: bp.Trainer
    change: Callable[[bp.Trainer, int], None] | None = None
    sample_weight: np.ndarray | None = None


def trainer(dropout: float = 0.0, optimizer: bp.optimizers.Optimizer | None = None, **options: Any) -> bp.Trainer:
    """A trainer of the network that all cases have."""
    net = bp.mlp(SIZES, activation="relu", dropout=dropout, seed=0)
    return bp.Trainer(net, **{"loss": "cross_entropy", "optimizer": optimizer or bp.Adam(1e-3)} | options)


def assign(part: Callable[[bp.Trainer], Any], name: str, *values: Any) -> Callable[[bp.Trainer, int], None]:
    """A change that assigns values in turn."""
    return lambda trainer, step: setattr(part(trainer), name, values[step % len(values)])


def cases() -> list[Case]:
    """The plain step first."""
    optimizer, loss = (lambda trainer: trainer.optimizer), (lambda trainer: trainer.loss)
    groups = [{"*.bias": {"weight_decay": decay}} for decay in (0.01, 0.02)]
    smoothed = bp.losses.CrossEntropy(label_smoothing=0.1)
    return [
        Case("nothing", trainer()),
        Case("lr", trainer(), assign(optimizer, "lr", 1e-3, 2e-3)),
        Case("lr by a function of the step", trainer(optimizer=bp.Adam(lambda step: 1e-3 / (1 + 1e-6 * step)))),
        Case("weight_decay", trainer(), assign(optimizer, "weight_decay", 0.01, 0.02)),
        Case("groups", trainer(), assign(optimizer, "groups", *groups)),
        Case("betas", trainer(), assign(optimizer, "betas", (0.9, 0.99), (0.9, 0.999))),
        Case("momentum", trainer(optimizer=bp.SGD(1e-3, momentum=0.9)), assign(optimizer, "momentum", 0.8, 0.9)),
        Case("label_smoothing", trainer(loss=smoothed), assign(loss, "label_smoothing", 0.1, 0.2)),
        Case("clip_norm", trainer(clip_norm=1.0), assign(lambda trainer: trainer, "clip_norm", 1.0, 2.0)),
        Case("l2", trainer(l2=0.1), assign(lambda trainer: trainer, "l2", 0.1, 0.2)),
        Case("rate of dropout", trainer(0.2), assign(lambda trainer: trainer.net.layers[1], "rate", 0.2, 0.3)),
        Case("trainable of a layer", trainer(), assign(lambda trainer: trainer.net.layers[0], "trainable", True, False)),
        Case("nothing, accumulate_steps=4", trainer(accumulate_steps=4)),
        Case("nothing, with on_gradients", trainer(on_gradients=lambda gradients: None)),
        Case("nothing, with class weights", trainer(loss=bp.losses.CrossEntropy(class_weight=[1.0, 2.0] * 5))),
        Case("nothing, with weights of rows", trainer(), sample_weight=np.ones(ROWS, np.float32)),
        Case("nothing, with a custom loss", trainer(loss=_custom_loss)),
    ]


def _custom_loss(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    gradient = outputs - np.eye(SIZES[-1], dtype=outputs.dtype)[targets.astype(int).ravel()]
    return float((gradient**2).mean()), gradient / outputs.size


def step_seconds(measured: list[Case], steps: int, repeats: int) -> dict[str, float]:
    """The least time of a step of each case; they take turns."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, SIZES[0]), np.float32), rng.integers(0, SIZES[-1], ROWS)
    times = {case.name: float("inf") for case in measured}
    for _ in range(repeats):
        for name, trainer, change, weight in measured:
            targets = y.astype(np.float32)[:, None] if trainer.loss.custom else y
            began = perf_counter()
            for step in range(steps):
                if change is not None:
                    change(trainer, step)
                trainer.step(x, targets, sample_weight=weight)
            times[name] = min(times[name], (perf_counter() - began) / steps)
    return times


def main() -> None:
    """Print the time of a step for each case, and how many times that of the plain step it is."""
    bp.set_num_threads(1)
    times = step_seconds(cases(), STEPS, REPEATS)
    print(f"{'-'.join(map(str, SIZES))}, {ROWS} rows, Adam; changed before every step:")
    for name, seconds in times.items():
        print(f"{name:30} {1e6 * seconds:6.1f} us {seconds / times['nothing']:5.2f} x")


if __name__ == "__main__":
    main()
