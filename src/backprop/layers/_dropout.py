"""Dropout: noise against overfitting."""

from __future__ import annotations

import numpy as np

from .. import kernels
from .._arrays import check_in
from .._settings import option
from .._types import Array
from ._base import Layer, Noise


class Dropout(Layer):
    """In training, set each number to zero with probability `rate` and divide the others by ``1 - rate``; otherwise do nothing.

    Parameters
    ----------
    rate : float
        The probability of dropping, in [0, 1).

    Notes
    -----
    What is dropped is a hash of the network's seed, the count of forwards in training mode, the layer's place in the network, row
    and column: the same on every backend and for any number of threads.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014; scaled in training
    ("inverted"), as everyone does now.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> outputs = bp.Dropout(0.5).forward(np.ones((100, 100)), training=True)
    >>> np.unique(outputs).tolist(), round(float(np.mean(outputs == 0)), 1)
    ([0.0, 2.0], 0.5)
    """

    rate: float = option(check_in, 0, 1, closed="left")

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def forward(self, x: Array, training: bool) -> Array:
        """Return x, in training with dropout."""
        if not training or self.rate == 0:
            self._kept = (None,)
            return x
        if self._noise is None:
            self._noise = Noise(seed=0)
        step = self._noise.step
        if self._owner is None:  # in a network, the network counts
            self._noise.step += 1
        self._kept = (step,)
        return self._apply_mask(x, step)

    def infer(self, x: Array) -> Array:
        """Return x."""
        return x

    def backward(self, grad_outputs: Array) -> Array:
        """Return the gradient, with the same dropout as the outputs."""
        (step,) = self._take_kept()
        return grad_outputs if step is None else self._apply_mask(grad_outputs, step)

    def _apply_mask(self, x: Array, step: int) -> Array:
        assert self._noise is not None
        y = np.empty_like(x)
        kernels.active().dropout(x, y, self.rate, self._noise.seed, step, self._index)
        return y
