"""Record what PyTorch computes in float64: gradients.json beside this file.

    python tests/golden/make_gradients.py        # PyTorch 2.13.0 wrote the file that is committed

Recorded are the loss and all gradients of a network of two dense layers for every activation with every loss, the losses with
sample weights, and batch and layer normalization. Where PyTorch has a function for it, it is that function; log_cosh, half_mse,
quantile, hinge, the focal losses, gamma and the quantiles that do not cross are put together from its operations and differentiated
by autograd.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  PyTorch's own name for it

torch.set_default_dtype(torch.float64)

ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {  # with alpha
    "identity": (lambda z: z, 0.0),
    "relu": (F.relu, 0.0),
    "leaky_relu": (lambda z: F.leaky_relu(z, 0.2), 0.2),
    "elu": (lambda z: F.elu(z, 1.3), 1.3),
    "selu": (F.selu, 0.0),
    "gelu": (lambda z: F.gelu(z, approximate="tanh"), 0.0),
    "gelu_exact": (F.gelu, 0.0),
    "silu": (F.silu, 0.0),
    "mish": (F.mish, 0.0),
    "sigmoid": (torch.sigmoid, 0.0),
    "tanh": (torch.tanh, 0.0),
    "softplus": (F.softplus, 0.0),
    "softsign": (F.softsign, 0.0),
    "hardtanh": (F.hardtanh, 0.0),
    "relu6": (F.relu6, 0.0),
    "softmax": (lambda z: F.softmax(z, dim=1), 0.0),
}

rng = np.random.default_rng(7)


def draw(*shape: int) -> Tensor:
    return torch.tensor(rng.normal(size=shape).round(3))


N, P, HIDDEN, K = 3, 2, 4, 3
X, W1, B1, W2, B2 = draw(N, P), draw(P, HIDDEN), draw(HIDDEN), draw(HIDDEN, K), draw(K)
NUMBERS, COUNTS = draw(N, K), torch.tensor(rng.poisson(2, size=(N, K)).astype(float))
LABELS = torch.tensor(rng.integers(0, K, size=N))
BITS = torch.tensor(rng.integers(0, 2, size=(N, K)).astype(float))
PROBABILITIES = torch.tensor([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.6, 0.4, 0.0]])
POS_WEIGHT, Q = torch.tensor([0.5, 1.0, 3.0]), torch.tensor([0.1, 0.5, 0.8])
SAMPLE_WEIGHT = torch.tensor([0.5, 2.0, -1.5])
PAIRS, TARGETS = torch.cat([NUMBERS[:, :2], NUMBERS[:, 1:]], dim=1), COUNTS[:, :2]  # of gaussian: means, log-variances


def focal(o: Tensor) -> Tensor:
    p = F.softmax(o, dim=1)[torch.arange(N), LABELS]
    return -((1 - p) ** 1.5) * torch.log(p)


def binary_focal(o: Tensor) -> Tensor:
    right = torch.sigmoid((2 * BITS - 1) * o)
    return (-((1 - right) ** 1.5) * torch.log(right)).mean(1)


def non_crossing(o: Tensor) -> Tensor:
    levels = torch.cumsum(torch.cat([o[:, :1], F.softplus(o[:, 1:])], dim=1), dim=1)
    short = NUMBERS[:, :1] - levels
    return torch.maximum(Q * short, (Q - 1) * short).mean(1)


# For every loss: its kernel, targets, further arguments, and the losses of the rows.
Rows = Callable[[Tensor], Tensor]
LOSSES: dict[str, tuple[str, Tensor, dict[str, Any], Rows]] = {
    "cross_entropy": (
        "cross_entropy", LABELS, {"label_smoothing": 0.0},
        lambda o: F.cross_entropy(o, LABELS, reduction="none"),
    ),
    "cross_entropy, smoothed": (
        "cross_entropy", LABELS, {"label_smoothing": 0.1},
        lambda o: F.cross_entropy(o, LABELS, reduction="none", label_smoothing=0.1),
    ),
    "cross_entropy_soft": (
        "cross_entropy_soft", PROBABILITIES, {"label_smoothing": 0.0},
        lambda o: F.cross_entropy(o, PROBABILITIES, reduction="none"),
    ),
    "cross_entropy_soft, smoothed": (
        "cross_entropy_soft", PROBABILITIES, {"label_smoothing": 0.1},
        lambda o: F.cross_entropy(o, PROBABILITIES, reduction="none", label_smoothing=0.1),
    ),
    "kl_divergence": (
        "kl_divergence", PROBABILITIES, {},
        lambda o: F.kl_div(F.log_softmax(o, dim=1), PROBABILITIES, reduction="none").sum(1),
    ),
    "binary_cross_entropy": (
        "binary_cross_entropy", BITS, {"pos_weight": None},
        lambda o: F.binary_cross_entropy_with_logits(o, BITS, reduction="none").mean(1),
    ),
    "binary_cross_entropy, weighted": (
        "binary_cross_entropy", BITS, {"pos_weight": POS_WEIGHT.tolist()},
        lambda o: F.binary_cross_entropy_with_logits(o, BITS, reduction="none", pos_weight=POS_WEIGHT).mean(1),
    ),
    "mse": ("mse", NUMBERS, {}, lambda o: F.mse_loss(o, NUMBERS, reduction="none").mean(1)),
    "half_mse": ("half_mse", NUMBERS, {}, lambda o: 0.5 * ((o - NUMBERS) ** 2).sum(1)),
    "mae": ("mae", NUMBERS, {}, lambda o: F.l1_loss(o, NUMBERS, reduction="none").mean(1)),
    "huber": (
        "huber", NUMBERS, {"threshold": 0.75},
        lambda o: F.huber_loss(o, NUMBERS, reduction="none", delta=0.75).mean(1),
    ),
    "log_cosh": ("log_cosh", NUMBERS, {}, lambda o: torch.log(torch.cosh(o - NUMBERS)).mean(1)),
    "poisson": ("poisson", COUNTS, {}, lambda o: F.poisson_nll_loss(o, COUNTS, log_input=True, reduction="none").mean(1)),
    "quantile": (
        "quantile", NUMBERS, {"q": Q.tolist()},
        lambda o: torch.maximum(Q * (NUMBERS - o), (Q - 1) * (NUMBERS - o)).mean(1),
    ),
    "hinge": ("hinge", BITS, {}, lambda o: F.relu(1 - (2 * BITS - 1) * o).mean(1)),
    "focal": ("focal", LABELS, {"gamma": 1.5}, focal),
    "binary_focal": ("binary_focal", BITS, {"gamma": 1.5}, binary_focal),
    "gamma": ("gamma", COUNTS + 0.5, {}, lambda o: ((COUNTS + 0.5) * torch.exp(-o) + o).mean(1)),
    "non_crossing_quantiles": (
        "non_crossing_quantiles", NUMBERS[:, :1].repeat(1, K), {"q": Q.tolist()}, non_crossing,
    ),
}  # fmt: skip


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [tensor.clone().requires_grad_() for tensor in tensors]


def numbers(tensor: Tensor) -> Any:
    """Nested lists; 14 digits are enough for a comparison to 1e-12."""
    return np.vectorize(lambda x: float(f"{x:.14g}"))(tensor.detach().numpy()).tolist()


def network(activation: str, loss: str) -> list[Any]:
    x, w1, b1, w2, b2 = parameters = leaves(X, W1, B1, W2, B2)
    outputs = ACTIVATIONS[activation][0](x @ w1 + b1) @ w2 + b2
    value = LOSSES[loss][3](outputs).mean()
    value.backward()
    return [value.item()] + [numbers(parameter.grad) for parameter in parameters]


def weighted(loss: str) -> list[Any]:
    (outputs,) = leaves(1.7 * NUMBERS.flip(0))
    value = (SAMPLE_WEIGHT * LOSSES[loss][3](outputs)).sum() / SAMPLE_WEIGHT.abs().sum()
    value.backward()
    return [value.item(), numbers(outputs.grad)]


def gaussian() -> dict[str, Any]:
    (outputs,) = leaves(PAIRS)
    mean, log_variance = outputs.chunk(2, dim=1)
    value = F.gaussian_nll_loss(mean, TARGETS, torch.exp(log_variance))
    value.backward()
    return {"outputs": numbers(PAIRS), "targets": numbers(TARGETS), "value": value.item(), "grad_outputs": numbers(outputs.grad)}


def normalization() -> dict[str, Any]:
    shape, k = (4, 3), 3
    start = {"x": draw(*shape), "weight": draw(k), "bias": draw(k), "grad_y": draw(*shape)}
    running = {"running_mean": draw(k), "running_var": draw(k).abs() + 0.5}
    record: dict[str, Any] = {"inputs": {name: numbers(value) for name, value in (start | running).items()}}
    for name in ("batch_norm", "batch_norm_inference", "layer_norm"):
        x, weight, bias = leaves(start["x"], start["weight"], start["bias"])
        mean, var = running["running_mean"].clone(), running["running_var"].clone()
        if name == "layer_norm":
            y = F.layer_norm(x, (k,), weight, bias, eps=1e-5)
        else:
            y = F.batch_norm(x, mean, var, weight, bias, training=name == "batch_norm", momentum=0.1, eps=1e-5)
        y.backward(start["grad_y"])
        values = {"y": y, "grad_x": x.grad, "grad_weight": weight.grad, "grad_bias": bias.grad}
        record[name] = {key: numbers(value) for key, value in (values | {"running_mean": mean, "running_var": var}).items()}
    return record


def main() -> None:
    record = {
        "network": {"x": X, "w1": W1, "b1": B1, "w2": W2, "b2": B2},
        "weighted": {"outputs": 1.7 * NUMBERS.flip(0), "sample_weight": SAMPLE_WEIGHT},
    }
    written: dict[str, Any] = {name: {key: numbers(value) for key, value in part.items()} for name, part in record.items()}
    written["alpha"] = {name: alpha for name, (_, alpha) in ACTIVATIONS.items()}
    written["losses"] = {
        name: {"kernel": kernel, "targets": targets.tolist(), "arguments": arguments, "weighted": weighted(name)}
        for name, (kernel, targets, arguments, _) in LOSSES.items()
    }
    written["gradients"] = {activation: {loss: network(activation, loss) for loss in LOSSES} for activation in ACTIVATIONS}
    written["normalization"] = normalization()
    written["gaussian"] = gaussian()
    text = json.dumps(written, separators=(",", ":")).replace('"},"', '"},\n"').replace(']],"', ']],\n"')
    Path(__file__).with_name("gradients.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
