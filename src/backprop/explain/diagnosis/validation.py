"""How problems show in validation data beside the training data: rules that yield findings.

The thresholds of a rule stand in it, chosen so that the healthy runs of the tests and the examples stay silent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..._types import AnyArray
from .findings import Finding
from .signal import Signal


def shared_rows(x: AnyArray, targets: AnyArray, other_x: AnyArray, other_targets: AnyArray) -> Iterator[Finding]:
    """Validation rows that are training rows, too; not where rows of few different values are alike by themselves."""
    if len(x) < 30 or len(other_x) == 0:
        return
    ours, theirs = row_hashes(x, targets), row_hashes(other_x, other_targets)
    different, counts = np.unique(ours, return_counts=True)
    share = float(np.mean(np.isin(theirs, different)))
    repeated = float(counts[counts > 1].sum()) / len(ours)
    usual = repeated if alike_by_themselves(x, different.size) else 0.0
    if share > 0.05 + 1.5 * usual and different.size >= 30:
        yield Finding(
            "validation rows in training", "warning",
            f"{share:.0%} of {len(theirs)} validation rows are equal to a training row, target included.",
            numbers={"share": share, "rows": len(theirs)}, stage="data",
        )  # fmt: skip


def alike_by_themselves(x: AnyArray, different: int) -> bool:
    """Whether no column has many values, so that some rows are equal by chance; ``different``: the number of different rows."""
    return not any(len(np.unique(column)) > 0.5 * different for column in x.T[:256])


def row_hashes(x: AnyArray, targets: AnyArray) -> npt.NDArray[np.uint64]:
    """A number for each row; equal for equal rows, and for others by chance only."""
    table = np.column_stack([x.astype(np.float64), targets.reshape(len(x), -1).astype(np.float64)]) + 0.0  # -0 becomes 0
    bits = np.ascontiguousarray(table).view(np.uint64)
    mixed = (bits ^ (bits >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    factors = np.random.default_rng(0).integers(1, 2**63, bits.shape[1], dtype=np.uint64) | np.uint64(1)
    return np.asarray(((mixed ^ (mixed >> np.uint64(32))) * factors).sum(axis=1, dtype=np.uint64))


def other_values(x: AnyArray, targets: AnyArray, other_x: AnyArray, other_targets: AnyArray, n_outputs: int) -> Iterator[Finding]:
    """Columns or targets that lie elsewhere, or are spread otherwise, in the validation rows."""
    if min(len(x), len(other_x)) < 20:
        return
    found = _moved(x, other_x)
    seen = ""
    if found is not None:
        column, here, there = found
        seen = (
            f"Column {column} of x lies between {_range(here)} in the training rows and between {_range(there)} in the validation "
            "rows (5 % and 95 % quantiles)."
        )
    elif targets.dtype == np.int64:
        shares = [np.bincount(labels.ravel(), minlength=n_outputs) / len(labels) for labels in (targets, other_targets)]
        apart = float(np.abs(shares[0] - shares[1]).sum() / 2)
        if apart > 0.4 + np.sqrt(n_outputs / len(other_x)) / 2:
            most = int(np.argmax(np.abs(shares[0] - shares[1])))
            seen = f"Class {most} is {shares[0][most]:.0%} of the training rows and {shares[1][most]:.0%} of the validation rows."
    elif (found := _moved(targets.reshape(len(targets), -1), other_targets.reshape(len(other_targets), -1))) is not None:
        _, here, there = found
        seen = f"Targets lie between {_range(here)} in the training rows and between {_range(there)} in the validation rows"
        seen += " (5 % and 95 % quantiles)."
    if seen:
        yield Finding("validation differs from training", "critical", seen, stage="data")


def _moved(values: AnyArray, other: AnyArray) -> tuple[int, AnyArray, AnyArray] | None:
    """The column whose distribution differs most, with its 5, 50 and 95 % quantiles in both sets, if it differs much.

    By quantiles as well as by mean and standard deviation: outliers move only the one, columns that are mostly 0 only the other.
    """
    parts = values.astype(np.float64), other.astype(np.float64)
    here, there = (np.quantile(part, [0.05, 0.5, 0.95], axis=0) for part in parts)
    (mean, std), (other_mean, other_std) = ((part.mean(axis=0), part.std(axis=0)) for part in parts)
    severity = np.minimum(
        _apart(here[1], there[1], here[2] - here[0], there[2] - there[0]), _apart(mean, other_mean, 3 * std, 3 * other_std)
    )
    column = int(severity.argmax())
    return (column, here[:, column], there[:, column]) if severity[column] > 1 else None


def _apart(middle: AnyArray, other_middle: AnyArray, width: AnyArray, other_width: AnyArray) -> AnyArray:
    """How many widths, or factors of 4 in width, two distributions are apart; 0 where one has no width."""
    usable = (width > 0) & (other_width > 0)
    width, other_width = np.where(usable, width, 1), np.where(usable, other_width, 1)
    apart = np.maximum(np.abs(other_middle - middle) / width, np.abs(np.log(other_width / width)) / np.log(4))
    return np.asarray(np.where(usable, apart, 0))


def _range(quantiles: AnyArray) -> str:
    return f"{quantiles[0]:.3g} and {quantiles[2]:.3g}"


def other_relation(signal: Signal | None, rows: int) -> Iterator[Finding]:
    """Targets that follow from the inputs among the training rows, but not from them for the validation rows."""
    if signal is None or rows < 20 or not signal.within > 0.35 or not signal.beyond_chance > 5:
        return
    if signal.elsewhere < 0.4 * signal.within and signal.within - signal.elsewhere > 3 / np.sqrt(rows):
        yield Finding(
            "validation differs from training", "critical",
            f"From other training rows the targets of training rows can be told with a correlation of {signal.within:.2g}, but "
            f"those of the validation rows with {signal.elsewhere:.2g}.",
            numbers={"within": signal.within, "elsewhere": signal.elsewhere}, stage="data",
            advice="Look at how the validation targets were made: another coding or order of classes, rows of x and y shuffled "
            "apart, columns in another order, another scaling.",
        )  # fmt: skip
