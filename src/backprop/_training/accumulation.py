"""Gradient accumulation: the mean gradient of the steps since the last update, if `accumulate_steps` is above 1."""

from __future__ import annotations

import numpy as np

from .._arrays import aligned_zeros
from .._types import Array


class Accumulation:
    """The mean gradient of steps, each weighted by what its own gradient was divided by.

    Plans add to it as well: ``accumulate`` in ``_kernels/plans/steps.pxi``.
    """

    def __init__(self) -> None:
        self.mean: Array | None = None  # made once, as plans keep its address; uninitialized unless `filled`
        self.discard()

    def discard(self) -> None:
        """Forget the steps."""
        self.steps = 0
        self.weight = 0.0
        self.filled = False  # whether one of the steps had a gradient

    def make_room(self, gradients: Array) -> None:
        """Allocate memory for the mean of such gradients, once."""
        if self.mean is None:
            self.mean = aligned_zeros(gradients.size, gradients.dtype)

    def add(self, gradients: Array | None, divisor: float) -> None:
        """Add a step whose gradients were divided by ``divisor``; they are None where its batch had no weight."""
        self.steps += 1
        self.weight += divisor
        share = divisor / self.weight if divisor else 0.0
        if self.filled:
            assert self.mean is not None
            self.mean *= 1 - share
            if gradients is not None:
                self.mean += share * gradients
        elif gradients is not None:
            self.make_room(gradients)
            np.multiply(gradients, share, out=self.mean)
            self.filled = True

    def copy(self) -> Accumulation:
        """Return one that holds the same steps, in memory of its own."""
        other = Accumulation()
        other.load(*self.state())
        return other

    def state(self) -> tuple[Array | None, int, float]:
        """Return a copy of the mean gradient, None where no step had one, the number of steps, and their weight."""
        gathered = self.mean.copy() if self.filled and self.mean is not None else None
        return gathered, self.steps, self.weight

    def load(self, gathered: Array | None, steps: int, weight: float) -> None:
        """Restore what `state` returned."""
        self.steps, self.weight, self.filled = steps, weight, gathered is not None
        if gathered is not None:
            self.make_room(gathered)
            assert self.mean is not None
            self.mean[...] = gathered
