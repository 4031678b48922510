"""A multi-layer perceptron in plain NumPy, as one writes it by hand: parameters flat, so that Adam is one pass over them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .._types import Array
from .kernel_cases import KernelCase
from .long_runs import LongRun
from .network_cases import NetworkCase
from .peers import NotOfferedError
from .timing import Run

ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {  # with the derivative in terms of the value
    "relu": (lambda z: np.maximum(z, 0), lambda a: a > 0),
    "tanh": (np.tanh, lambda a: 1 - a * a),
}


class NumPy:
    """Matrix products by its BLAS, everything else by whole-array operations."""

    def __init__(self, threads: int) -> None:
        pass

    def step(self, case: NetworkCase) -> Run:
        """Forward, backward and Adam."""
        x, y = case.data()
        n, rows = len(x), np.arange(len(x))
        act, slope = ACTIVATIONS[case.activation]
        param = case.network().parameters.copy()
        grad, m, v = np.zeros_like(param), np.zeros_like(param), np.zeros_like(param)
        weights, grads = _views(param, case.sizes), _views(grad, case.sizes)
        t = 0

        def run() -> object:
            nonlocal t
            a = [x]
            for weight, bias in weights[:-1]:
                a.append(act(a[-1] @ weight + bias))
            weight, bias = weights[-1]
            z = a[-1] @ weight + bias
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            loss = -np.log(p[rows, y]).mean()

            delta = p
            delta[rows, y] -= 1
            delta /= n
            for number in reversed(range(len(weights))):
                grad_weight, grad_bias = grads[number]
                np.matmul(a[number].T, delta, out=grad_weight)
                np.sum(delta, axis=0, out=grad_bias)
                if number:
                    delta = (delta @ weights[number][0].T) * slope(a[number])

            t += 1
            m[:] = 0.9 * m + 0.1 * grad
            v[:] = 0.999 * v + 0.001 * grad * grad
            param[:] -= case.lr / (1 - 0.9**t) * m / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            return loss

        return run

    def epoch(self, case: LongRun) -> Run:
        """Not offered: the NumPy twin is measured."""
        raise NotOfferedError

    def predict(self, case: NetworkCase) -> Run:
        """Forward only."""
        x, _ = case.data()
        act, _ = ACTIVATIONS[case.activation]
        *hidden, (weight, bias) = _views(case.network().parameters.copy(), case.sizes)

        def run() -> object:
            a = x
            for w, b in hidden:
                a = act(a @ w + b)
            return a @ weight + bias

        return run

    def kernel(self, case: KernelCase, size: str) -> Run:
        """Not offered: the NumPy twin is measured."""
        raise NotOfferedError


def _views(flat: Array, sizes: tuple[int, ...]) -> list[tuple[Array, Array]]:
    """The weight and bias of each layer in a flat array."""
    views, start = [], 0
    for p, k in pairwise(sizes):
        end = start + p * k
        views.append((flat[start:end].reshape(p, k), flat[end : end + k]))
        start = end + k
    return views
