"""How much inputs say about targets, whatever network is trained on them: nearest rows, a linear model, single columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..._types import AnyArray, Numbers

ROWS = 400
FEWEST = 50
NEIGHBOURS = 5
PERMUTATIONS = 20
RIDGE = 0.1


class Signal(NamedTuple):
    """How well targets follow from inputs."""

    within: float
    """The correlation of targets with their prediction from the other rows, by the better of the two models."""
    beyond_chance: float
    """The largest number of standard deviations by which a model or a column does better than for permuted targets."""
    elsewhere: float
    """The correlation for the rows of another set, by the same model; NaN without such a set."""


def measure(x: AnyArray, targets: AnyArray, n_outputs: int, other: tuple[AnyArray, AnyArray] | None = None) -> Signal | None:
    """Measure how well targets follow from inputs within these rows, and in another set; None where there is too little to see.

    A row's prediction never uses the row itself, nor a copy of it.
    """
    chosen = spread(len(x), ROWS)
    rows, wanted = x[chosen].astype(np.float64), _columns(targets, n_outputs)[chosen]
    first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
    rows, wanted = rows[first], wanted[first]
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    varied, asked = std > 1e-6 * (np.abs(mean) + 1e-300), wanted.std(axis=0) > 1e-9
    if len(rows) < FEWEST or not varied.any() or not asked.any():
        return None
    center = wanted.mean(axis=0)
    wanted = (wanted - center)[:, asked]

    def scaled(values: AnyArray) -> Numbers:
        return np.asarray(np.clip((values[:, varied] - mean[varied]) / std[varied], -5, 5))

    inputs = scaled(rows)
    near = _nearest(inputs, inputs, themselves=True)
    kernel = inputs @ inputs.T / inputs.shape[1]
    solve = np.linalg.inv(kernel + RIDGE * np.eye(len(kernel)))
    hat = kernel @ solve
    own = np.diag(hat)[:, None]

    def by_neighbours(truth: Numbers) -> Numbers:
        return np.asarray(truth[near].mean(axis=1))

    def by_line(truth: Numbers) -> Numbers:
        return np.asarray((hat @ truth - own * truth) / (1 - own))

    rng = np.random.default_rng(0)
    permuted = np.concatenate([wanted[rng.permutation(len(wanted))] for _ in range(PERMUTATIONS)], axis=1)
    within, beyond = [], [_columns_beyond_chance(inputs, wanted)]
    for model in (by_neighbours, by_line):
        within.append(_correlation(model(wanted), wanted))
        parts = zip(*(np.split(values, PERMUTATIONS, axis=1) for values in (model(permuted), permuted)), strict=True)
        chance = [_correlation(predicted, truth) for predicted, truth in parts]
        beyond.append(abs(within[-1] - float(np.mean(chance))) / max(float(np.std(chance)), 0.7 / wanted.size**0.5))
    elsewhere = np.nan
    if other is not None:
        part = spread(len(other[0]), ROWS)
        there, truth = scaled(other[0][part].astype(np.float64)), (_columns(other[1], n_outputs)[part] - center)[:, asked]
        neighbours = wanted[_nearest(inputs, there)].mean(axis=1)
        line = there @ inputs.T / inputs.shape[1] @ solve @ wanted
        elsewhere = _correlation((neighbours, line)[int(np.argmax(within))], truth)
    return Signal(max(within), max(beyond), elsewhere)


def spread(count: int, most: int) -> npt.NDArray[np.intp]:
    """At most ``most`` row numbers, evenly over all rows: data may be sorted."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.intp)


def ranks(values: AnyArray) -> Numbers:
    """The rank of each entry in its column, from 0 to 1; equal values have their mean rank."""
    columns = []
    for column in values.T:
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        columns.append((np.cumsum(counts) - (counts + 1) / 2)[inverse.ravel()])
    return np.stack(columns, axis=1) / max(len(values) - 1, 1)


def neighbours_of(x: AnyArray) -> npt.NDArray[np.intp]:
    """The nearest other rows of each row, columns scaled to one size."""
    values = x.astype(np.float64)
    std = values.std(axis=0)
    scaled = np.clip((values - values.mean(axis=0)) / np.where(std > 0, std, 1), -5, 5)
    return _nearest(scaled, scaled, themselves=True)


def _columns(targets: AnyArray, n_outputs: int) -> Numbers:
    """Targets as columns of numbers: one for each class, or ranks of numbers, so that outliers do not count."""
    if targets.dtype == np.int64:
        return np.asarray(np.eye(n_outputs)[targets.ravel()])
    return ranks(targets.reshape(len(targets), -1))


def _nearest(rows: Numbers, of: Numbers, themselves: bool = False) -> npt.NDArray[np.intp]:
    """The numbers of the rows nearest to each of some others, or of themselves."""
    distance: Numbers = (rows**2).sum(axis=1) - 2 * of @ rows.T
    if themselves:
        np.fill_diagonal(distance, np.inf)
    return np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def _correlation(predicted: Numbers, truth: Numbers) -> float:
    """The correlation of predictions with what they should be, over all columns together."""
    size = float(np.sqrt(np.sum(predicted**2) * np.sum(truth**2)))
    return float(np.sum(predicted * truth)) / size if size > 0 else 0.0


def _columns_beyond_chance(inputs: Numbers, wanted: Numbers) -> float:
    """How far the strongest rank correlation of a column is above the strongest that chance gives to this number of rows."""
    ordered, truth = ranks(inputs), wanted / wanted.std(axis=0)
    ordered = (ordered - ordered.mean(axis=0)) / np.maximum(ordered.std(axis=0), 1e-12)
    strongest = float(np.abs(ordered.T @ truth).max()) / np.sqrt(len(inputs))
    return float(strongest) - float(np.sqrt(2 * np.log(max(ordered.shape[1] * truth.shape[1], 2))))
