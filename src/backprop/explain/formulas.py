"""The formula behind every number of a trace, as text and with the numbers in it.

A formula is a string with named holes, ``"{w}*{x} + {b}"``; `fill` puts a `Ref`, the address of a number in the trace, into each
hole. So one text serves the printed walk, which looks the numbers up in a `Trace`, and the page, which looks them up in its
recording; and a test can evaluate what stands left of the last ``=`` and compare it with what stands right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Ref(NamedTuple):
    """The address of one number: the name of an array in the trace and an index into it."""

    name: str
    place: tuple[int, ...] = ()


Token = str | Ref
Tokens = tuple[Token, ...]


class LossText(NamedTuple):
    """One output's share of a loss, and its gradient; `Loss.reduction` says whether shares are summed over outputs or averaged.

    The holes are ``o`` (output), ``t`` (target) and, for losses on logits, ``p`` (probability). None where no single expression
    serves every case.
    """

    formula: str
    term: str | None
    gradient: str | None
    skips_zero: bool = False
    """Whether an output whose target is 0 has no share in the loss."""


_HOLE = re.compile(r"\{(\w+)\}")


def fill(template: str, **refs: Ref | str) -> Tokens:
    """Cut a template at its holes and put the given references (or plain text) in.

    Examples
    --------
    >>> fill("{w}*{x}", w=Ref("layers.0.weight", (0, 0)), x="2")
    (Ref(name='layers.0.weight', place=(0, 0)), '*', '2')
    """
    pieces = _HOLE.split(template)
    return tuple(refs[piece] if position % 2 else piece for position, piece in enumerate(pieces) if piece)


def join(parts: Iterable[Tokens], separator: str) -> Tokens:
    """Join token sequences, as ``separator.join`` does strings."""
    tokens: list[Token] = []
    for part in parts:
        if tokens:
            tokens.append(separator)
        tokens.extend(part)
    return tuple(tokens)


def total(terms: list[Tokens], left_out: int = 0) -> Tokens:
    """``a + b + c``; with terms left out, the sum says how many."""
    rest: list[Tokens] = [(f"({left_out} more)",)] if left_out else []
    return join(terms + rest, " + ")


ACTIVATIONS: dict[str, str] = {
    "identity": "{z}",
    "relu": "max({z}, 0)",
    "silu": "{z}/(1 + exp(-{z}))",
    "sigmoid": "1/(1 + exp(-{z}))",
    "softplus": "log(1 + exp({z}))",
    "softsign": "{z}/(1 + |{z}|)",
    "hardtanh": "min(max({z}, -1), 1)",
    "relu6": "min(max({z}, 0), 6)",
}
"""Activations that are one expression with numbers in it."""

SLOPES: dict[str, str] = {
    "sigmoid": "{a}*(1 - {a})",
    "tanh": "1 - {a}^2",
    "softplus": "1 - exp(-{a})",
    "softsign": "(1 - |{a}|)^2",
}
"""Slopes that have one expression with numbers in it."""

LOSSES: dict[str, LossText] = {
    "half_mse": LossText("L = sum_j (output_j - target_j)^2 / 2", "0.5*({o} - {t})^2", "{o} - {t}"),
    "mse": LossText("L = mean_j (output_j - target_j)^2", "({o} - {t})^2", "2*({o} - {t})"),
    "mae": LossText("L = mean_j |output_j - target_j|", "|{o} - {t}|", "sign({o} - {t})"),
    "huber": LossText("L = mean_j (|d| <= delta ? d^2 / 2 : delta (|d| - delta / 2)),  d = output_j - target_j", None, None),
    "log_cosh": LossText("L = mean_j log cosh(output_j - target_j)", "log(cosh({o} - {t}))", "tanh({o} - {t})"),
    "poisson": LossText("L = mean_j (exp(output_j) - target_j output_j)", "(exp({o}) - {t}*{o})", "exp({o}) - {t}"),
    "gamma": LossText("L = mean_j (target_j exp(-output_j) + output_j)", "({t}*exp(-{o}) + {o})", "1 - {t}*exp(-{o})"),
    "gaussian": LossText(
        "mean_j = output_j, s_j = output_(m + j);  L = mean_j (s_j + (target_j - mean_j)^2 exp(-s_j)) / 2", None, None
    ),
    "non_crossing_quantiles": LossText(
        "Q_0 = output_0, Q_j = Q_(j-1) + softplus(output_j);  L = mean_j max(q_j (t - Q_j), (q_j - 1) (t - Q_j))", None, None
    ),
    "quantile": LossText("L = mean_j max(q_j (t - o), (q_j - 1) (t - o))", None, None),
    "hinge": LossText("L = mean_j max(0, 1 - (2 target_j - 1) output_j)", "max(0, 1 - (2*{t} - 1)*{o})", None),
    "binary_cross_entropy": LossText(
        "p = sigmoid(output);  L = mean_j -(target_j log p_j + (1 - target_j) log(1 - p_j))",
        "-({t}*log({p}) + (1 - {t})*log(1 - {p}))",
        "{p} - {t}",
    ),
    "cross_entropy": LossText("p = softmax(outputs);  L = -sum_j target_j log p_j", "-{t}*log({p})", "{p} - {t}", skips_zero=True),
    "focal": LossText("p = softmax(outputs);  L = -(1 - p_label)^gamma log p_label", None, None),
    "binary_focal": LossText(
        "p = sigmoid(output);  L = mean_j -(target_j (1 - p_j)^gamma log p_j + (1 - target_j) p_j^gamma log(1 - p_j))", None, None
    ),
    "kl_divergence": LossText(
        "p = softmax(outputs);  L = sum_j target_j (log target_j - log p_j)",
        "{t}*(log({t}) - log({p}))",
        "{p} - {t}",
        skips_zero=True,
    ),
}

OPTIMIZERS: dict[str, str] = {
    "sgd": "param = param - lr grad",
    "sgd_momentum": "velocity = momentum velocity + (1 - dampening) grad;  param = param - lr velocity",
    "sgd_nesterov": "velocity = momentum velocity + (1 - dampening) grad;  param = param - lr (grad + momentum velocity)",
    "rmsprop": "v = alpha v + (1 - alpha) grad^2;  param = param - lr grad / (sqrt(v) + eps)",
    "adagrad": "v = v + grad^2;  param = param - lr grad / (sqrt(v) + eps)",
    "adadelta": "v = rho v + (1 - rho) grad^2;  d = grad sqrt(u + eps) / sqrt(v + eps);  u = rho u + (1 - rho) d^2;  "
    "param = param - lr d",
    "adam": "m = beta1 m + (1 - beta1) grad;  v = beta2 v + (1 - beta2) grad^2;  "
    "param = param - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)",
    "adamw": "param = param (1 - lr weight_decay);  m = beta1 m + (1 - beta1) grad;  v = beta2 v + (1 - beta2) grad^2;  "
    "param = param - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)",
    "adamax": "m = beta1 m + (1 - beta1) grad;  u = max(beta2 u, |grad| + eps);  param = param - lr m / ((1 - beta1^t) u)",
    "nadam": "m and v as in Adam;  param = param - lr (c1 grad + c2 m) / (sqrt(v / (1 - beta2^t)) + eps),  "
    "c1 and c2 from the momentum schedule",
    "radam": "m and v as in Adam;  param = param - lr m / (1 - beta1^t) r sqrt(1 - beta2^t) / (sqrt(v) + eps), "
    "r the rectification; in the first updates, which have none, param = param - lr m / (1 - beta1^t)",
    "lion": "param = param - lr sign(beta1 m + (1 - beta1) grad);  m = beta2 m + (1 - beta2) grad",
    "rprop": "step grows by eta_plus where grad keeps its sign, shrinks by eta_minus where it turns;  "
    "param = param - step sign(grad)",
}
