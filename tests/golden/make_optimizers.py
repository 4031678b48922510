"""Record what PyTorch's optimizers and schedulers do in float64: optimizers.json and schedules.json beside this file.

    python tests/golden/make_optimizers.py        # PyTorch 2.13.0 wrote the files that are committed

Every case makes 25 updates of a weight (3, 2) and a bias (2,) with recorded gradients, so that optimizers which only look at
signs are compared on equal terms. Lion is not in PyTorch: it is written out here from algorithm 2 of arXiv:2302.06675. The l1
penalty is added to the gradient by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

STEPS = 25
RECORDED = (1, 2, 3, 6, 12, 25)  # the updates after which the parameters are written down
HERE = Path(__file__).parent

torch.set_default_dtype(torch.float64)  # NAdam keeps its product of momenta in the default dtype


class Lion(torch.optim.Optimizer):
    def __init__(self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for param in group["params"]:
                momentum = self.state[param].setdefault("momentum", torch.zeros_like(param))
                update = beta1 * momentum + (1 - beta1) * param.grad
                momentum.copy_(beta2 * momentum + (1 - beta2) * param.grad)
                param -= group["lr"] * (update.sign() + group["weight_decay"] * param)


TORCH = {
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "lion": Lion,
    "rprop": torch.optim.Rprop,
}

CASES: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in TORCH],
    *[(name, {"lr": 0.03, "weight_decay": 0.1}) for name in TORCH if name != "rprop"],
    *[(name, {"lr": 0.03, "l1": 0.01}) for name in TORCH],
    *[(name, {"lr": 0.03, "weight_decay": 0.1, "decoupled": True}) for name in ("adam", "nadam", "radam")],
    *[(name, {"lr": 0.03, "groups": {"*.bias": {"lr": 0.3, "weight_decay": 0.2}}}) for name in TORCH if name != "rprop"],
    ("rprop", {"lr": 0.03, "groups": {"*.bias": {"lr": 0.3}}}),
    ("sgd", {"lr": 0.1, "momentum": 0.9}),
    ("sgd", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("rmsprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3}),
    ("rmsprop", {"momentum": 0.7}),
    ("rmsprop", {"centered": True}),
    ("rmsprop", {"centered": True, "momentum": 0.7, "weight_decay": 0.1}),
    ("adagrad", {"lr": 0.1, "lr_decay": 0.05, "initial_accumulator_value": 0.3, "eps": 1e-3}),
    ("adadelta", {"lr": 0.7, "rho": 0.8, "eps": 1e-3}),
    ("adam", {"lr": 0.02, "betas": [0.8, 0.9], "eps": 1e-2}),
    ("adam", {"lr": 0.02, "amsgrad": True, "betas": [0.9, 0.7]}),
    ("adamw", {"lr": 0.02, "amsgrad": True, "betas": [0.9, 0.7]}),
    ("adamax", {"betas": [0.8, 0.9], "eps": 1e-2}),
    ("nadam", {"betas": [0.8, 0.9], "eps": 1e-2, "momentum_decay": 0.1}),
    ("radam", {"betas": [0.8, 0.9], "eps": 1e-2}),
    ("lion", {"lr": 0.02, "betas": [0.5, 0.8]}),
    ("rprop", {"lr": 0.1, "etas": [0.3, 1.5], "step_sizes": [0.05, 0.3]}),
]


def trajectory(name: str, options: dict[str, Any], start: np.ndarray, gradients: np.ndarray) -> Iterator[list[float]]:
    """Yield the parameters after each recorded update."""
    options = dict(options)
    l1 = options.pop("l1", 0.0)
    bias_options = options.pop("groups", {}).get("*.bias", {})
    if "decoupled" in options:
        options["decoupled_weight_decay"] = options.pop("decoupled")
    weight = torch.tensor(start[:6].reshape(3, 2), requires_grad=True)
    bias = torch.tensor(start[6:], requires_grad=True)
    optimizer = TORCH[name]([{"params": [weight]}, {"params": [bias], **bias_options}], **options)
    for step, gradient in enumerate(gradients, 1):
        weight.grad = torch.tensor(gradient[:6].reshape(3, 2)) + l1 * weight.detach().sign()
        bias.grad = torch.tensor(gradient[6:]) + l1 * bias.detach().sign()
        optimizer.step()
        if step in RECORDED:
            yield [*weight.detach().ravel().tolist(), *bias.tolist()]


def scheduled(make: Any, lr: float, steps: int) -> list[float]:
    """Return the learning rates that PyTorch uses for the first ``steps`` updates."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def plateau(values: list[float], lr: float, **options: Any) -> list[float]:
    """Return the learning rate after each of the observed values."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    rates = []
    for value in values:
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def schedules() -> list[dict[str, Any]]:
    s = torch.optim.lr_scheduler
    cases: list[tuple[dict[str, Any], Any, int]] = [
        ({"name": "constant", "lr": 0.1}, lambda o: s.ConstantLR(o, factor=1.0), 5),
        ({"name": "step", "lr": 0.1, "step_size": 4, "gamma": 0.3}, lambda o: s.StepLR(o, 4, 0.3), 15),
        (
            {"name": "multi_step", "lr": 0.1, "milestones": [3, 3, 8], "gamma": 0.5},
            lambda o: s.MultiStepLR(o, [3, 3, 8], 0.5),
            12,
        ),
        ({"name": "exponential", "lr": 0.1, "gamma": 0.9}, lambda o: s.ExponentialLR(o, 0.9), 15),
        ({"name": "polynomial", "lr": 0.1, "steps": 10, "power": 2.0}, lambda o: s.PolynomialLR(o, 10, 2.0), 14),
        ({"name": "cosine", "lr": 0.1, "steps": 10, "min_lr": 0.01}, lambda o: s.CosineAnnealingLR(o, 10, 0.01), 11),
        (
            {"name": "cosine_restarts", "lr": 0.1, "steps": 4, "factor": 2, "min_lr": 0.01},
            lambda o: s.CosineAnnealingWarmRestarts(o, 4, 2, 0.01),
            30,
        ),
        ({"name": "cosine_restarts", "lr": 0.1, "steps": 4}, lambda o: s.CosineAnnealingWarmRestarts(o, 4), 13),
        ({"name": "one_cycle", "lr": 0.1, "steps": 20}, lambda o: s.OneCycleLR(o, 0.1, 20, cycle_momentum=False), 20),
        (
            {"name": "one_cycle", "lr": 0.1, "steps": 11, "pct_start": 0.45, "div_factor": 5.0, "final_div_factor": 50.0},
            lambda o: s.OneCycleLR(o, 0.1, 11, pct_start=0.45, div_factor=5.0, final_div_factor=50.0, cycle_momentum=False),
            11,
        ),
    ]
    return [{"config": config, "rates": scheduled(make, 0.1, steps)} for config, make, steps in cases]


def main() -> None:
    rng = np.random.default_rng(7)
    start, gradients = rng.normal(size=8), rng.normal(size=(STEPS, 8))
    gradients[:, 0] = np.abs(gradients[:, 0])  # keeps its sign: Rprop's steps grow to their limit
    gradients[4, 1] = gradients[5, 1] = 0.0
    trajectories = [
        {"name": name, "options": options, "parameters": list(trajectory(name, options, start, gradients))}
        for name, options in CASES
    ]
    optimizers = {"start": start.tolist(), "gradients": gradients.tolist(), "recorded": RECORDED, "cases": trajectories}
    (HERE / "optimizers.json").write_text(json.dumps(optimizers) + "\n")

    values = [1.0, 0.9, 0.9, 0.95, 0.91, 0.8, 0.79999, 0.81, 0.82, 0.83, 0.9, 0.9, 0.9, 0.9, 0.9]
    options = {"factor": 0.3, "patience": 2, "cooldown": 1, "min_lr": 0.002}
    plateaus = [
        {"values": values, "options": options, "rates": plateau(values, 0.1, **options)},
        {"values": values, "options": {"mode": "max", "patience": 0}, "rates": plateau(values, 0.1, mode="max", patience=0)},
    ]
    recorded = {"schedules": schedules(), "plateaus": plateaus}
    (HERE / "schedules.json").write_text(json.dumps(recorded) + "\n")


if __name__ == "__main__":
    main()
