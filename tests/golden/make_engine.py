"""Record what the library computes in float64, for the engine of the laboratory: engine.json beside this file.

    python tests/golden/make_engine.py

Every activation stands with every loss, and every loss with every optimizer, some with L2 and clipping. Recorded are the initial
weights, one forward and backward pass of the first rows by `bp.trace` (z, a, delta, grad_x of every layer), and 50 steps of
`Trainer.step` on batches that go through all rows in order.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import backprop as bp

ACTIVATIONS = ("identity", "relu", "leaky_relu", "tanh", "sigmoid", "gelu")
LOSSES = ("mse", "binary_cross_entropy", "cross_entropy")
OPTIMIZERS = {
    "sgd": lambda lr, decay: bp.SGD(lr=lr, weight_decay=decay),
    "momentum": lambda lr, decay: bp.SGD(lr=lr, momentum=0.9, weight_decay=decay),
    "rmsprop": lambda lr, decay: bp.RMSprop(lr=lr, weight_decay=decay),
    "adam": lambda lr, decay: bp.Adam(lr=lr, weight_decay=decay),
}
SIZES, ROWS, TRACED, BATCH, STEPS = [3, 4, 3, 2], 12, 3, 5, 50


def cases() -> list[dict[str, Any]]:
    """The settings of every case."""
    found = []
    for a, activation in enumerate(ACTIVATIONS):
        for k, loss in enumerate(LOSSES):
            optimizer = list(OPTIMIZERS)[(a + k) % 4]
            lr = 0.05 if optimizer in ("sgd", "momentum") else 0.01
            found.append({"activation": activation, "loss": loss, "optimizer": optimizer, "lr": lr, "l2": 0.0, "clip": 0.0})
    for k, optimizer in enumerate(OPTIMIZERS):
        found.append({"activation": "tanh", "loss": LOSSES[k % 3], "optimizer": optimizer, "lr": 0.02, "l2": 0.01, "clip": 0.3})
    return found


def record(case: dict[str, Any], seed: int) -> dict[str, Any]:
    """One case, and what the library makes of it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, SIZES[0])).round(3)
    if case["loss"] == "mse":
        y = rng.normal(size=(ROWS, SIZES[-1])).round(3)
    elif case["loss"] == "binary_cross_entropy":
        y = rng.integers(0, 2, size=(ROWS, SIZES[-1])).astype(float)
    else:
        y = np.eye(SIZES[-1])[rng.integers(0, SIZES[-1], size=ROWS)]
    net = bp.mlp(SIZES, activation=case["activation"], dtype="float64", seed=seed)
    for layer in net.layers:
        layer.bias = rng.normal(scale=0.1, size=layer.bias.shape)
    initial = net.parameters.tolist()
    trace = bp.trace(net, x[:TRACED], y[:TRACED], loss=case["loss"])
    roles, depth = ("z", "a", "delta", "grad_x"), len(net.layers)
    layers = [{role: trace[f"layers.{k}.{role}"].ravel().tolist() for role in roles} for k in range(depth)]
    gradients = np.concatenate([trace[f"layers.{k}.grad_{role}"].ravel() for k in range(depth) for role in ("weight", "bias")])
    clip = {"clip_norm": case["clip"]} if case["clip"] else {}
    trainer = bp.Trainer(net, loss=case["loss"], optimizer=OPTIMIZERS[case["optimizer"]](case["lr"], case["l2"]), **clip)
    losses = []
    for step in range(STEPS):
        rows = [(step * BATCH + i) % ROWS for i in range(BATCH)]
        losses.append(trainer.step(x[rows], y[rows]))
    return case | {
        "sizes": SIZES,
        "rows": ROWS,
        "traced": TRACED,
        "batch": BATCH,
        "steps": STEPS,
        "x": x.ravel().tolist(),
        "y": y.ravel().tolist(),
        "initial": initial,
        "loss_before": trace.loss,
        "layers": layers,
        "gradients": gradients.tolist(),
        "losses": losses,
        "final": net.parameters.tolist(),
    }


def everything() -> list[dict[str, Any]]:
    """All cases."""
    return [record(case, seed) for seed, case in enumerate(cases())]


if __name__ == "__main__":
    path = Path(__file__).with_name("engine.json")
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in everything())
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
