"""Sums over rows that compiled steps keep by themselves, so that most metrics need neither outputs nor targets."""

from __future__ import annotations

from math import lcm
from typing import Any, NamedTuple

import numpy as np

from .._types import Array, Numbers

LANES = 8  # float64 in the widest vectors
SIDE_BY_SIDE = 32  # sums of errors, at least: enough independent additions for any processor


class Formula(NamedTuple):
    """What is summed; `_kernels/plans/tally.pxi` says it in full.

    kind : {"decisions", "errors"}
    threshold : float
        Of binary decisions: the score above which an output counts as positive.
    multilabel : bool
        Whether each of several outputs is such a decision.
    classes : bool
        Whether a single output is the only class, and not such a decision.
    """

    kind: str
    threshold: float = 0.0
    multilabel: bool = False
    classes: bool = False


class Sums(NamedTuple):
    """What a tally has come to.

    columns : float or array (4, k)
        The share of rows whose decisions are right; or absolute and squared errors, targets less their origin and the squares of
        that.
    origin : array (k,)
    weight, rows : float
        The weight of the rows, and how many they are.
    """

    columns: Numbers
    origin: Numbers
    weight: float
    rows: float


class Tally(NamedTuple):
    """A tally as `_core.TrainingPlan.run` takes it, which adds to ``sums`` and ``measured``."""

    kind: str
    separate: bool
    threshold: float
    weight: Array | None
    origin: Numbers
    sums: Numbers
    measured: Numbers

    @classmethod
    def begin(cls, formula: Formula, targets: Any, weight: Array | None, n_outputs: int) -> Tally:
        """Return an empty tally for rows of data with these weights, of which the first that counts has these targets."""
        separate = formula.multilabel or (n_outputs == 1 and not formula.classes)
        origin, sums = np.zeros(0), np.zeros(1)
        if formula.kind == "errors":
            origin = np.tile(targets[:1].astype(np.float64).reshape(n_outputs), _repeats(n_outputs))
            sums = np.zeros((4, len(origin)))
        return cls(formula.kind, separate, formula.threshold, weight, origin, sums, np.zeros(2))

    def result(self, n_outputs: int) -> Sums:
        """Return what it has come to."""
        rows, weight = self.measured
        columns = self.sums[0] if self.kind == "decisions" else self.sums.reshape(4, -1, n_outputs).sum(axis=1)
        return Sums(columns, self.origin[:n_outputs], float(weight), float(rows))


def _repeats(n_outputs: int) -> int:
    """The number of rows whose errors are summed side by side, which fill whole vectors."""
    if n_outputs >= SIDE_BY_SIDE:
        return 1
    whole = lcm(n_outputs, LANES)
    return -(-SIDE_BY_SIDE // whole) * whole // n_outputs
