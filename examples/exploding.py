"""Exploding gradients: a run that diverges within a few steps, and the same run with its gradients clipped.

The targets have a standard deviation of about 60, so the first gradients are large. Each step then overshoots by more than the one
before. Clipping scales a gradient that is longer than ``clip_norm`` down to that length and keeps its direction.

Run it with ``python examples/exploding.py``.
"""

import numpy as np

import backprop as bp

CLIP_NORMS = (None, 100.0, 10.0, 1.0)


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return inputs (400, 4) and unscaled targets (400, 1)."""
    x = np.random.default_rng(0).normal(size=(400, 4))
    return x, 50 * x[:, :1] + 20 * x[:, 1:2] ** 2


def train(clip_norm: float | None) -> bp.Trainer | bp.DivergenceError:
    """Train for 40 epochs; return the trainer, or the error that ended it."""
    net = bp.mlp([4, 32, 32, 1], seed=0)
    trainer = bp.Trainer(net, loss="mse", optimizer=bp.SGD(lr=0.1), clip_norm=clip_norm)
    try:
        trainer.fit(*data(), epochs=40, seed=0)
    except bp.DivergenceError as error:
        return error
    return trainer


def norms_without_clipping(steps: int = 3) -> list[float]:
    """Return the norm of the gradient in each of the first steps."""
    x, y = data()
    trainer = bp.Trainer(bp.mlp([4, 32, 32, 1], seed=0), loss="mse", optimizer=bp.SGD(lr=0.1))
    norms = []
    for rows in np.arange(32 * steps).reshape(steps, 32):
        trainer.step(x[rows], y[rows])
        norms.append(float(np.linalg.norm(trainer.net.gradients)))
    return norms


def main() -> dict[float | None, float]:
    """Print what becomes of each run, and return the share of the variance it explains by `clip_norm`; NaN where it diverged."""
    print("norm of the gradient, step by step, without clipping:", ", ".join(f"{norm:.3g}" for norm in norms_without_clipping()))
    x, y = data()
    explained = {}
    for clip_norm in CLIP_NORMS:
        outcome = train(clip_norm)
        diverged = isinstance(outcome, bp.DivergenceError)
        explained[clip_norm] = np.nan if diverged else outcome.evaluate(x, y)["r2"]
        print(f"clip_norm={clip_norm}:", f"{outcome}" if diverged else f"explains {explained[clip_norm]:.1%} of the variance")
    return explained


if __name__ == "__main__":
    main()
