"""What the page compares: activations in a deep network, training with and without clipping, optimizers on one loss surface.

Each function trains small networks with the library and returns what was recorded, ready for JSON.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import losses
from .._arrays import as_matrix
from .._types import AnyArray
from ..clipping import clip_grad_norm
from ..layers import Dense
from ..metrics import r2
from ..network import Network, mlp
from ..optimizers import SGD, Adagrad, Adam, Optimizer, RMSprop
from ..training import DivergenceError, Trainer
from .recording import correct_share, gradient_norms
from .trace import short


def vanishing(
    x: AnyArray,
    y: AnyArray,
    *,
    loss: str | losses.Loss,
    n_outputs: int,
    activations: Sequence[str],
    width: int = 8,
    depth: int = 8,
    epochs: int = 80,
    seed: int = 0,
) -> dict[str, Any]:
    """The same deep network with different activations: the norm of each layer's gradient, the loss, and right answers or R2.

    All start from weights drawn the same way (glorot_uniform, the same seed) and see the same rows in the same order.
    """
    loss_function = losses.get(loss)
    regression = loss_function.task not in ("classification", "binary")

    def score(outputs: AnyArray, targets: AnyArray) -> float:
        return float(r2(outputs, targets)) if regression else correct_share(outputs, targets, loss_function)

    sizes = [x.shape[1], *[width] * depth, n_outputs]
    x, targets = as_matrix(x, "x", np.dtype(np.float64)), loss_function.prepare_targets(y, n_outputs, np.dtype(np.float64))
    at = sorted(epoch for epoch in {0, 1, 2, 3, 5, 8, 12, *range(16, epochs, 4), epochs} if epoch <= epochs)
    runs = []
    for activation in activations:
        net = mlp(sizes, activation=activation, init="glorot_uniform", dtype="float64", seed=seed)
        trainer = Trainer(net, loss=loss_function, optimizer=SGD(lr=0.1))
        rng = np.random.default_rng(seed)
        run: dict[str, Any] = {"name": activation, "norms": [], "losses": [], "scores": [], "ratios": []}
        for epoch in range(epochs + 1):
            if epoch in at:
                norms = gradient_norms(net, x, targets, loss_function)
                outputs = net.predict(x)
                run["norms"].append(norms)
                run["ratios"].append(norms[0] / norms[-1] if norms[-1] else float("nan"))
                run["losses"].append(loss_function.value(outputs, targets))
                run["scores"].append(score(outputs, targets))
            if epoch == epochs:
                break
            _train_epoch(trainer, x, targets, rng.permutation(len(x)))
        runs.append(run)
    found = [norm for run in runs for norms in run["norms"] for norm in norms if norm > 0]
    text = (
        f"One network, {'-'.join(map(str, sizes))}, trained {len(runs)} times with {short(SGD(lr=0.1))}: only the activation of "
        "the hidden layers differs. On the way back every layer multiplies the error by the slope of its activation. The slope "
        "of the sigmoid is 1/4 at most: after a few layers little is left, and the first layers hardly move. tanh and ReLU have "
        "slopes up to 1."
    )
    kind = "r2" if regression else "right"
    return {"text": text, "epochs": at, "runs": runs, "score": kind, "range": [max(min(found), 1e-12), max(found)]}


def clipping(*, steps: int = 80, max_norm: float = 1.0, seed: int = 1) -> dict[str, Any]:
    """Weights that start twice too large make gradients explode; the same training with their norm clipped goes well."""
    x = np.linspace(-1, 1, 48)[:, None]
    y = np.sin(3 * x)
    loss_function = losses.get("mse")
    sizes, lr = [1, 16, 16, 16, 16, 1], 0.02
    runs = []
    for limit in (None, max_norm):
        net = mlp(sizes, activation="relu", dtype="float64", seed=seed)
        for layer in net.layers:
            layer.weight = 2 * layer.weight
        optimizer = SGD(lr=lr)
        found: list[float] = []
        norms: list[float] = []
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(steps + 1):
                value, grad = loss_function(net.forward(x, training=True), y)
                net.backward(grad)
                found.append(value)
                norms.append(float(np.sqrt(np.sum(net.gradients**2))))
                if limit is not None:
                    clip_grad_norm(net, limit)
                if not np.isfinite(norms[-1]):
                    break
                optimizer.step(net)
        missing = steps + 1 - len(found)
        name = "without clipping" if limit is None else f"clip_norm={limit:g}"
        runs.append({"name": name, "losses": found + [float("nan")] * missing, "norms": norms + [float("nan")] * missing})
    text = (
        f"A network {'-'.join(map(str, sizes))} with relu learns a sine wave with {short(SGD(lr=lr))}, but its weights start "
        "twice as large as they should. Every layer makes the error on its way back larger. Without clipping one huge step "
        "leads to a place where the gradient is larger still, until the numbers overflow (NaN, not a number). Clipping shortens "
        f"a gradient whose norm is above {max_norm:g} to {max_norm:g}: the direction stays, the step is safe."
    )
    return {"text": text, "runs": runs, "ranges": {"losses": [1e-2, 1e6], "norms": [1.0, 1e6]}}


def race(*, steps: int = 80) -> list[dict[str, Any]]:
    """Optimizers on two loss surfaces, each that of a network with two weights."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(64, 2)) * (1.0, 0.1)
    valley = _surface(
        "A narrow valley",
        "A network with two inputs and two weights. Its first input varies ten times as much as its second, so the loss falls "
        "steeply along w1 and gently along w2. Plain gradient descent zigzags across and creeps along; momentum gathers speed; "
        "Adagrad, RMSprop and Adam give each weight a step of its own size.",
        [Dense(2, 1, bias=False)],
        x,
        np.array([1.0, -0.8]),
        start=np.array([-1.2, 1.6]),
        bounds=((-2.0, 3.4), (-2.6, 2.4)),
        optimizers=[SGD(lr=0.8), SGD(lr=0.1, momentum=0.9), Adagrad(lr=0.5), RMSprop(lr=0.08, alpha=0.9), Adam(lr=0.2)],
        steps=steps,
    )
    x = rng.uniform(-2, 2, size=(64, 1))
    saddle = _surface(
        "A saddle between two valleys",
        "A network with one hidden tanh unit and two weights: output = w2 tanh(w1 x). Both signs together solve the task, so "
        "there are two lowest points, and between them, at (0, 0), a saddle where the gradient vanishes. All start near it, and "
        "not all end in the same valley.",
        [Dense(1, 1, bias=False, activation="tanh"), Dense(1, 1, bias=False)],
        x,
        np.array([1.4, 1.2]),
        start=np.array([-0.55, 0.6]),
        bounds=((-2.4, 2.4), (-2.2, 2.2)),
        optimizers=[SGD(lr=0.1), SGD(lr=0.04, momentum=0.9), Adagrad(lr=0.2), RMSprop(lr=0.05, alpha=0.9), Adam(lr=0.1)],
        steps=steps,
    )
    return [valley, saddle]


def _surface(
    name: str,
    text: str,
    layers: list[Dense],
    x: AnyArray,
    best: AnyArray,
    *,
    start: AnyArray,
    bounds: tuple[tuple[float, float], tuple[float, float]],
    optimizers: Sequence[Optimizer],
    steps: int,
    size: int = 96,
) -> dict[str, Any]:
    """The loss over both weights, in 16 bands of its logarithm, and the way each optimizer takes."""
    net = Network(layers, dtype="float64", seed=0)
    net.parameters = best
    target = net.predict(x)
    mse = losses.get("mse")

    def loss_at(point: AnyArray) -> float:
        net.parameters = point
        return mse.value(net.predict(x), target)

    (x0, x1), (y0, y1) = bounds
    heights = np.array([[loss_at(np.array([u, v])) for u in np.linspace(x0, x1, size)] for v in np.linspace(y0, y1, size)])
    logs = np.log(heights + 1e-3)
    bands = np.minimum(15, np.floor(16 * (logs - logs.min()) / np.ptp(logs))).astype(np.uint8)
    runs = []
    for optimizer in optimizers:
        net = Network(
            [Dense(*layer.weight.shape, bias=False, activation=layer.activation) for layer in layers], dtype="float64", seed=0
        )
        net.parameters = start
        path, found = [start.tolist()], []
        trainer = Trainer(net, loss=mse, optimizer=optimizer)
        for _ in range(steps):
            found.append(trainer.step(x, target))
            path.append(net.parameters.tolist())
        found.append(mse.value(net.predict(x), target))
        runs.append({"name": short(optimizer), "path": path, "losses": found})
    twins = [best.tolist()] if len(layers) == 1 else [best.tolist(), (-best).tolist()]
    return {
        "name": name,
        "text": text,
        "axes": ["w1", "w2"],
        "x": [x0, x1],
        "y": [y0, y1],
        "size": size,
        "levels": b64encode(bands.tobytes()).decode(),
        "lowest": twins,
        "runs": runs,
        "range": [1e-6, max(max(run["losses"]) for run in runs)],
    }


def _train_epoch(trainer: Trainer, x: AnyArray, y: AnyArray, order: AnyArray) -> None:
    """Train on the rows in this order; parameters are NaN once it has diverged, as they would be if it went on."""
    try:
        for start in range(0, len(x), 16):
            rows = order[start : start + 16]
            trainer.step(x[rows], y[rows])
    except DivergenceError:
        trainer.net.parameters[...] = np.nan
