"""How sickness shows in the data: rules that yield findings.

The thresholds of a rule stand in it, chosen so that the healthy runs of the tests and the examples stay silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ...losses import Loss
from .findings import Finding, Severity

Array = npt.NDArray[Any]


def non_finite_data(name: str, values: Array) -> Iterator[Finding]:
    """NaN or infinity in x or y."""
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        yield Finding(
            "non-finite values", "critical", f"Not finite in {name}: {count} of {values.size} values, the first in row {row}.",
            numbers={"count": count, "row": row}, stage="data",
        )  # fmt: skip


def input_scale(x: Array) -> Iterator[Finding]:
    """Columns far larger or smaller than 1, or than the others, or constant ones."""
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    constant = std <= 1e-6 * np.maximum(np.abs(mean), 1e-300)
    size = np.maximum(np.abs(mean), std)
    peak = np.where(constant, np.inf, np.abs(x).max(axis=0))  # not std: a column of rare ones is small on average only
    largest, smallest = int(size.argmax()), int(peak.argmin())
    seen = ""
    severity: Severity = "warning"
    column = largest
    if size[largest] > 20:
        severity = "critical" if size[largest] > 100 else "warning"
        seen = f"Column {largest} of x has mean {mean[largest]:.4g} and standard deviation {std[largest]:.4g}."
    elif 0 < size[largest] < 1e-2:
        seen = f"No column of x is larger than {size[largest]:.3g} (the larger of |mean| and standard deviation)."
    elif peak[smallest] < 1e-3 * size[largest]:
        column = smallest
        seen = f"Column {column} of x is nowhere larger than {peak[column]:.3g}; column {largest} is about {size[largest]:.3g}."
    if seen:
        numbers = {"column": column, "mean": float(mean[column]), "std": float(std[column])}
        yield Finding("inputs not scaled", severity, seen, numbers=numbers, stage="data")
    if len(x) > 1:
        yield from _constant_columns(constant)


def _constant_columns(constant: npt.NDArray[np.bool_]) -> Iterator[Finding]:
    """A constant column of a table is a mistake, while images often have margins: there only many are worth a word."""
    share = float(constant.mean())
    if share > 0.25 or (share > 0 and constant.size <= 32):
        columns = np.flatnonzero(constant)
        yield Finding(
            "constant inputs", "critical" if share == 1 else "hint",
            f"{columns.size} of {constant.size} columns of x never change: {', '.join(map(str, columns[:10]))}"
            f"{', ...' if columns.size > 10 else ''}.",
            numbers={"share": share}, stage="data",
        )  # fmt: skip


def labels(y: Array, n_outputs: int) -> Iterator[Finding]:
    """Classes that are rare or missing."""
    counts = np.bincount(y, minlength=n_outputs)
    present = counts[counts > 0]
    if len(y) >= 10 * n_outputs and present.size < n_outputs:
        missing = np.flatnonzero(counts == 0)
        yield Finding(
            "unused outputs", "warning",
            f"{missing.size} of {n_outputs} classes never occur in {len(y)} rows: {', '.join(map(str, missing[:10]))}.",
            numbers={"missing": missing.size, "rows": len(y)}, stage="data",
        )  # fmt: skip
    if present.size > 1 and len(y) >= 50 and present.max() >= 10 * present.min():
        yield Finding(
            "class imbalance", "warning",
            f"Class {counts.argmax()} has {counts.max()} rows, class {np.where(counts > 0, counts, counts.max() + 1).argmin()} "
            f"has {present.min()}.",
            numbers={"most": int(counts.max()), "least": int(present.min())}, stage="data",
        )  # fmt: skip


def target_scale(targets: Array) -> Iterator[Finding]:
    """Regression targets far from zero, or of very large or small size."""
    mean, std = float(targets.mean(dtype=np.float64)), float(targets.std(dtype=np.float64))
    size = max(abs(mean), std)
    if size > 20 or 0 < size < 1e-2:
        yield Finding(
            "targets not scaled", "critical" if size > 100 else "warning",
            f"The targets have mean {mean:.4g} and standard deviation {std:.4g}.",
            numbers={"mean": mean, "std": std}, stage="data",
        )  # fmt: skip


def target_spread(targets: Array) -> Iterator[Finding]:
    """Targets that are all the same."""
    if (targets == targets[:1]).all():
        rows = len(targets)
        seen = f"All {rows} rows have the same target." if rows > 1 else "There is one row only, and so one target only."
        yield Finding("constant targets", "critical" if rows > 1 else "warning", seen, numbers={"rows": rows}, stage="data")


def target_range(targets: Array, activation: str) -> Iterator[Finding]:
    """Targets that the activation of the last layer cannot give."""
    low, high = _RANGES.get(activation, (-np.inf, np.inf))
    slack = 1e-6 * (1.0 + np.abs(targets))
    share = float(np.mean((targets < low - slack) | (targets > high + slack)))
    if share > 0.05:
        yield Finding(
            "targets out of reach", "critical" if share > 0.3 else "warning",
            f"{share:.0%} of the targets lie outside [{low:g}, {high:g}], the range of the output activation {activation}; they go "
            f"from {targets.min():.4g} to {targets.max():.4g}.",
            numbers={"share": share, "low": low, "high": high}, stage="data",
        )  # fmt: skip


_RANGES = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "hardtanh": (-1.0, 1.0),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, np.inf),
}


def chance_loss(loss: Loss, targets: Array, weight: Array | None, n_outputs: int) -> float | None:
    """The loss of the best constant outputs that are easily found.

    None for a loss of the user's own, and for losses after exp, whose zero says nothing: there is no telling what is near it.
    """
    if loss.custom or loss.link == "exp":
        return None
    dtype = np.float32 if targets.dtype == np.int64 else targets.dtype
    rows = len(targets)
    if targets.dtype == np.int64:
        middles = [np.bincount(targets.ravel(), minlength=n_outputs) / rows]
    else:
        middles = [targets.mean(axis=0, dtype=np.float64), np.median(targets, axis=0).astype(np.float64)]
    guesses = [np.zeros(n_outputs), *(_before_link(loss.link, middle) for middle in middles)]
    losses = [
        loss.value(np.ascontiguousarray(np.broadcast_to(guess, (rows, n_outputs)), dtype=dtype), targets, sample_weight=weight)
        for guess in guesses
    ]
    return float(np.min(losses))


def _before_link(link: str, value: Array) -> Array:
    """The outputs that the loss's link turns into this value."""
    tiny = 1e-12
    if link == "softmax":
        return np.log(np.maximum(value, tiny))
    if link == "sigmoid":
        share = np.clip(value, tiny, 1 - tiny)
        return np.asarray(np.log(share / (1 - share)))
    return value
