"""Links: what turns a network's raw outputs into predictions. A loss names the one that it applies itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import kernels
from ._numpy.losses import quantiles_of
from ._types import AnyArray, Array


def predictions(link: str, outputs: Array) -> Array:
    """Return the predictions that the raw outputs (n, k) of a network stand for.

    ``link`` is one of `LINKS`: "mean" returns the first half of the outputs (n, k / 2), the others return (n, k).
    """
    return LINKS[link](outputs)


def predicted_targets(predicted: AnyArray, targets: AnyArray) -> AnyArray:
    """Return the targets that belong to predictions: with the link "mean", prepared targets stand twice."""
    return targets[:, : predicted.shape[1]] if targets.ndim == 2 else targets


def _activated(name: str) -> Callable[[Array], Array]:
    def apply(outputs: Array) -> Array:
        a = np.empty_like(outputs)
        kernels.active().activation_forward(outputs, a, name, 0.0)
        return a

    return apply


def _identity(outputs: Array) -> Array:
    return outputs


def _exp(outputs: Array) -> Array:
    with np.errstate(over="ignore"):
        powers: Array = np.exp(outputs)
    return powers


def _mean(outputs: Array) -> Array:
    return outputs[:, : outputs.shape[1] // 2]


LINKS: dict[str, Callable[[Any], Array]] = {
    "identity": _identity,
    "softmax": _activated("softmax"),
    "sigmoid": _activated("sigmoid"),
    "exp": _exp,
    "mean": _mean,
    "quantiles": quantiles_of,
}
