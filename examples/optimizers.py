"""Momentum and adaptive learning rates, on losses simple enough to see what they do.

Run it with ``python examples/optimizers.py``.
"""

from collections.abc import Callable

import numpy as np

import backprop as bp

RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FAMILIES = {
    "SGD": lambda lr: bp.SGD(lr=lr),
    "SGD, momentum 0.9": lambda lr: bp.SGD(lr=lr, momentum=0.9),
    "RMSprop": lambda lr: bp.RMSprop(lr=lr),
    "Adam": lambda lr: bp.Adam(lr=lr),
}
Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


def descend(start: list[float], loss: Loss, optimizer: bp.optimizers.Optimizer, steps: int) -> np.ndarray:
    """Minimise a function of a few numbers; return its arguments after each step, (steps + 1, numbers).

    The numbers are the weights of a network without hidden layers, and its outputs are these weights.
    """
    count = len(start)
    layer = bp.Dense(1, count, bias=False)
    layer.weight = [start]
    trainer = bp.Trainer(bp.Network([layer], dtype="float64", seed=0), loss=loss, optimizer=optimizer)
    path = [trainer.net.parameters.copy()]
    for _ in range(steps):
        trainer.step([[1.0]], np.zeros((1, count)))
        path.append(trainer.net.parameters.copy())
    return np.array(path)


def valley(w: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """A valley that is 100 times as steep across (first number) as along (second)."""
    curvature = np.array([1.0, 0.01])
    return float(np.sum(curvature * w**2) / 2), curvature * w


def two_hollows(w: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """``w^4/4 - w^2/2 + w/10``: a shallow hollow at 0.95, a deep one at -1.05."""
    return float(np.sum(w**4 / 4 - w**2 / 2 + 0.1 * w)), w**3 - w + 0.1


def steps_until_there(path: np.ndarray) -> int:
    """Return after how many steps both numbers stay within 0.01 of the minimum at 0."""
    outside = np.flatnonzero(np.abs(path).max(axis=1) > 0.01)
    return int(outside[-1]) + 1


def scores() -> dict[str, list[float]]:
    """Return by optimizer, for each of `RATES`, the loss on data whose columns have sizes from 0.05 to 10; infinity: diverged."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 6))
    x, y = z * [10, 5, 1, 1, 0.1, 0.05], np.sin(z[:, 0]) + z[:, 2] * z[:, 4] + z[:, 5]
    results: dict[str, list[float]] = {}
    for name, family in FAMILIES.items():
        results[name] = []
        for lr in RATES:
            net = bp.mlp([6, 32, 32, 1], activation="tanh", seed=0)
            try:
                history = net.fit(x, y, loss="mse", optimizer=family(lr), epochs=30, seed=0)
                results[name].append(history["loss"][-1])
            except bp.DivergenceError:
                results[name].append(np.inf)
    return results


def main() -> dict[str, dict[str, float]]:
    """Print the numbers, and return them."""
    print("A valley 100 times as steep across as along, lr 1.9 (2 is the limit of plain SGD):")
    momenta = (0.0, 0.5, 0.8)
    paths = {beta: descend([1.0, 1.0], valley, bp.SGD(lr=1.9, momentum=beta), 400) for beta in momenta}
    steps = {beta: steps_until_there(path) for beta, path in paths.items()}
    travel = {beta: float(np.abs(np.diff(path[:, 0])).sum()) for beta, path in paths.items()}
    for beta in momenta:
        print(f"  momentum {beta}: there after {steps[beta]:3} steps, having moved {travel[beta]:.1f} across it")

    print("A shallow hollow at 0.95 before a deep one at -1.05, from 2:")
    ends = {beta: float(descend([2.0], two_hollows, bp.SGD(lr=0.02, momentum=beta), 300)[-1, 0]) for beta in (0.0, 0.9)}
    for beta, end in ends.items():
        print(f"  momentum {beta}: ends at {end:.2f}")

    print("Inputs of very different sizes, loss after 30 epochs (the variance of the targets is 2.6):")
    print(f"  {'lr':18}" + "".join(f"{lr:10g}" for lr in RATES))
    losses = scores()
    for name, row in losses.items():
        print(f"  {name:18}" + "".join("  diverged" if np.isinf(loss) else f"{loss:10.3g}" for loss in row))
    return {
        "steps": {str(beta): float(count) for beta, count in steps.items()},
        "travel": {str(beta): value for beta, value in travel.items()},
        "ends": {str(beta): end for beta, end in ends.items()},
        "best": {name: min(row) for name, row in losses.items()},
        "diverged": {name: float(np.isinf(row).sum()) for name, row in losses.items()},
    }


if __name__ == "__main__":
    main()
