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
            "non-finite values", "critical", f"{name} holds {count} values that are not finite, the first in row {row}.",
            numbers={"count": count, "row": row},
        )  # fmt: skip


def input_scale(x: Array) -> Iterator[Finding]:
    """Columns far larger or smaller than 1, or constant ones."""
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    size = np.maximum(np.abs(mean), std)
    largest = int(size.argmax())
    severity: Severity
    if size[largest] > 20:
        severity = "critical" if size[largest] > 100 else "warning"
        yield Finding(
            "inputs not scaled", severity,
            f"Column {largest} of x has mean {mean[largest]:.4g} and standard deviation {std[largest]:.4g}.",
            numbers={"column": largest, "mean": float(mean[largest]), "std": float(std[largest])},
        )  # fmt: skip
    elif 0 < size[largest] < 1e-2:
        yield Finding(
            "inputs not scaled", "warning", f"No column of x is larger than {size[largest]:.3g} (the larger of |mean| and std).",
            numbers={"size": float(size[largest])},
        )  # fmt: skip
    constant = float(np.mean(std <= 1e-12 * np.maximum(np.abs(mean), 1e-300)))
    if len(x) > 1 and constant > 0.25:
        severity = "critical" if constant == 1 else "hint"
        yield Finding(
            "constant inputs", severity, f"{constant:.0%} of the columns of x are constant over {len(x)} rows.",
            numbers={"share": constant},
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
            numbers={"missing": missing.size, "rows": len(y)},
        )  # fmt: skip
    if present.size > 1 and len(y) >= 50 and present.max() >= 10 * present.min():
        yield Finding(
            "class imbalance", "warning",
            f"Class {counts.argmax()} has {counts.max()} rows, class {np.where(counts > 0, counts, counts.max() + 1).argmin()} "
            f"has {present.min()}.",
            numbers={"most": int(counts.max()), "least": int(present.min())},
        )  # fmt: skip


def target_scale(targets: Array) -> Iterator[Finding]:
    """Regression targets far from zero or of large size."""
    mean, std = float(targets.mean(dtype=np.float64)), float(targets.std(dtype=np.float64))
    if max(abs(mean), std) > 20:
        severity: Severity = "critical" if max(abs(mean), std) > 100 else "warning"
        yield Finding(
            "targets not scaled", severity, f"The targets have mean {mean:.4g} and standard deviation {std:.4g}.",
            numbers={"mean": mean, "std": std},
        )  # fmt: skip


def chance_loss(loss: Loss, targets: Array) -> float | None:
    """The loss of the best constant prediction, where it has a closed form: None elsewhere."""
    if targets.dtype == np.int64:
        share = np.bincount(targets.ravel()) / max(targets.size, 1)
        return float(-np.sum(share[share > 0] * np.log(share[share > 0])))
    if loss.name == "mse":
        return float(np.mean(np.var(targets, axis=0, dtype=np.float64)))
    if loss.name == "half_mse":
        return float(np.sum(np.var(targets, axis=0, dtype=np.float64)) / 2)
    if loss.name == "binary_cross_entropy":
        share = np.clip(np.mean(targets, axis=0, dtype=np.float64), 1e-12, 1 - 1e-12)
        return float(-np.mean(share * np.log(share) + (1 - share) * np.log(1 - share)))
    return None
