"""Vanishing gradients: why deep sigmoid networks do not learn, and relu networks do.

Going backward, every layer multiplies the error signal by its weights and by the slope of its activation. The slope of sigmoid is
at most 1/4, so after a few layers next to nothing is left; that of relu is 1 wherever a unit is active.

Run it with ``python examples/vanishing.py``.
"""

import numpy as np

import backprop as bp

ACTIVATIONS = ("sigmoid", "tanh", "relu")
DEPTHS = (1, 2, 4, 8)
WIDTH = 32


def network(activation: str, depth: int) -> bp.Network:
    """Return a fresh classifier of the digits with some hidden layers."""
    return bp.mlp([64, *[WIDTH] * depth, 10], activation=activation, seed=0)


def signal_left(activation: str, depth: int) -> float:
    """Return how much of the error signal reaches the first layer: the norm of its delta over that of the last layer's."""
    (x, y), _ = bp.datasets.digits()
    step = bp.trace(network(activation, depth), x[:256], y[:256], loss="cross_entropy")
    return float(np.linalg.norm(step["layers.0.delta"]) / np.linalg.norm(step[f"layers.{depth}.delta"]))


def accuracy(activation: str, depth: int) -> float:
    """Return the share of test digits that a network tells right after 15 epochs."""
    (x, y), test = bp.datasets.digits()
    net = network(activation, depth)
    net.fit(x, y, loss="cross_entropy", optimizer=bp.SGD(lr=0.01, momentum=0.9), epochs=15, seed=0)
    return net.evaluate(*test)["accuracy"]


def main() -> dict[tuple[str, int], tuple[float, float]]:
    """Print, and return by activation and depth, what is left of the error signal and the accuracy."""
    results = {}
    print("hidden layers  activation  signal left at layer 0  test accuracy")
    for depth in DEPTHS:
        for activation in ACTIVATIONS:
            left, right = results[activation, depth] = signal_left(activation, depth), accuracy(activation, depth)
            print(f"{depth:13}  {activation:10}  {left:22.2g}  {right:13.1%}", flush=True)
    return results


if __name__ == "__main__":
    main()
