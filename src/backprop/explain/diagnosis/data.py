"""How problems show in the data: rules that yield findings.

The thresholds of a rule stand in it, chosen so that the healthy runs of the tests and the examples stay silent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..._types import AnyArray
from ...activations import ActivationFunction
from ...losses import Loss
from .findings import Finding, Severity
from .signal import neighbours_of, ranks, spread
from .validation import alike_by_themselves, row_hashes


def non_finite_data(name: str, values: AnyArray) -> Iterator[Finding]:
    """NaN or infinity in x or y."""
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        yield Finding(
            "non-finite values", "critical", f"Not finite in {name}: {count} of {values.size} values, the first in row {row}.",
            numbers={"count": count, "row": row}, stage="data",
        )  # fmt: skip


def input_scale(x: AnyArray, scaled: bool = False) -> Iterator[Finding]:
    """Columns far larger or smaller than 1, or than the others, unless the network scales them itself; or constant ones."""
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
    if seen and not scaled:
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


def labels(y: AnyArray, n_outputs: int) -> Iterator[Finding]:
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


def target_scale(targets: AnyArray) -> Iterator[Finding]:
    """Regression targets far from zero, or of very large or small size."""
    mean, std = float(targets.mean(dtype=np.float64)), float(targets.std(dtype=np.float64))
    size = max(abs(mean), std)
    if size > 20 or 0 < size < 1e-2:
        yield Finding(
            "targets not scaled", "critical" if size > 100 else "warning",
            f"The targets have mean {mean:.4g} and standard deviation {std:.4g}.",
            numbers={"mean": mean, "std": std}, stage="data",
        )  # fmt: skip


def target_spread(targets: AnyArray) -> Iterator[Finding]:
    """Targets that are all the same."""
    if (targets == targets[:1]).all():
        rows = len(targets)
        seen = f"All {rows} rows have the same target." if rows > 1 else "There is one row only, and so one target only."
        yield Finding("constant targets", "critical" if rows > 1 else "warning", seen, numbers={"rows": rows}, stage="data")


def outliers(name: str, values: AnyArray) -> tuple[list[Finding], npt.NDArray[np.bool_]]:
    """Values far from all others of their column; also which rows have none, by which the columns can be judged."""
    usual = np.ones(len(values), dtype=bool)
    if len(values) < 30:
        return [], usual
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95], axis=0)
    width = (high - low).astype(np.float64)
    least = (
        0.1 * float(np.median(width[width > 0])) if (width > 0).any() else np.inf
    )  # margins of images are no column of their own
    distance = np.abs(values - middle) / np.where(width > 0, np.maximum(width, least), np.inf)
    far = (distance > 15).any(axis=1)
    if not far.any() or far.mean() > 0.02:
        return [], usual
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    where = f"column {column} of {name}" if values.shape[1] > 1 else name
    seen = (
        f"In row {row} {where} is {values[row, column]:.4g}, while nine tenths of its values lie between {low[column]:.3g} and "
        f"{high[column]:.3g}; {int(far.sum())} of {len(values)} rows {'has' if far.sum() == 1 else 'have'} such a value."
    )
    severity: Severity = "critical" if distance.max() > 100 else "warning"
    return [Finding("outliers", severity, seen, numbers={"row": float(row), "rows": float(far.sum())}, stage="data")], ~far


def leaked_target(x: AnyArray, targets: AnyArray, n_outputs: int) -> Iterator[Finding]:
    """One column of several that alone gives the targets away, while no other comes near."""
    chosen = spread(len(x), 2000)
    if len(chosen) < 50 or x.shape[1] < 3:
        return
    numbers, truth = x[chosen].astype(np.float64), targets.reshape(len(targets), -1)[chosen].astype(np.float64)
    if truth.shape[1] > 1:
        return
    std = numbers.std(axis=0)
    usable = std > 1e-9 * np.maximum(np.abs(numbers).max(axis=0), 1e-300)
    if truth.std() == 0 or not usable.any():
        return
    two = len(np.unique(truth)) == 2
    if two:
        ordered, positive = ranks(numbers), truth[:, 0] == truth.max()
        n, m = int(positive.sum()), int((~positive).sum())
        above = (ordered[positive].sum(axis=0) * (len(ordered) - 1) - n * (n - 1) / 2) / (n * m)
        strength = np.where(usable, np.abs(2 * above - 1), 0)
        bound, what = 0.9999, "tells the two classes apart without a mistake"
    else:
        bound, what = 0.99, "is correlated with the target"
        strength = _correlations(numbers, truth, usable)
        in_order = _correlations(ranks(numbers), ranks(truth), usable)
        strength = np.where(in_order > 0.999, np.maximum(strength, in_order), strength)  # the target through some curve
    order = np.argsort(-strength)
    column, second = int(order[0]), float(strength[order[1]])
    if strength[column] > bound and second < 0.85:
        r = "" if two else f" by {strength[column]:.5f}"
        yield Finding(
            "leaked target", "hint", f"Column {column} of x alone {what}{r}; no other column comes near.",
            numbers={"column": column, "strength": float(strength[column])}, stage="data",
        )  # fmt: skip


def _correlations(x: AnyArray, truth: AnyArray, usable: npt.NDArray[np.bool_]) -> AnyArray:
    """The absolute correlation of each usable column with the targets, a single column; 0 for other columns."""
    x, truth = x - x.mean(axis=0), truth[:, 0] - truth.mean()
    size = np.where(usable, np.linalg.norm(x, axis=0), np.inf) * np.linalg.norm(truth)
    return np.asarray(np.abs(x.T @ truth) / size)


def classes_as_numbers(x: AnyArray, targets: AnyArray, activation: str) -> Iterator[Finding]:
    """Targets of a regression that are names of classes: one-hot rows, or class numbers without an order."""
    if len(targets) < 30:
        return
    if targets.ndim == 2 and targets.shape[1] > 2:
        if np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all():
            yield Finding(
                "regression loss on classes", "warning",
                f"Each of the {len(targets)} rows of the targets has a single 1 among {targets.shape[1]} numbers, and 0 elsewhere.",
                numbers={"classes": targets.shape[1]}, stage="data",
            )  # fmt: skip
        return
    if targets.size != len(targets):
        return
    numbers = targets.reshape(-1)
    values, counts = np.unique(numbers, return_counts=True)
    consecutive = values[0] in (0, 1) and 2 <= values.size <= 30 and np.array_equal(values, values[0] + np.arange(values.size))
    class_numbers = consecutive or np.array_equal(values, (-1, 1))
    bounded = activation in ("sigmoid", "tanh", "softsign", "hardtanh")
    if not class_numbers or counts.min() < 0.01 * len(numbers) or (values.size == 2 and bounded):
        return
    if values.size == 2 or not _have_an_order(x, numbers):
        yield Finding(
            "regression loss on classes", "warning",
            f"The targets are the numbers {', '.join(f'{value:g}' for value in values[:12])}"
            f"{', ...' if values.size > 12 else ''} and nothing between.",
            numbers={"classes": values.size}, stage="data",
        )  # fmt: skip


def _have_an_order(x: AnyArray, numbers: AnyArray) -> bool:
    """Whether rows that lie near each other have numbers near each other, as counts and grades have, and names have not."""
    chosen = spread(len(x), 800)
    y = numbers[chosen].astype(np.float64)
    apart = np.abs(y[neighbours_of(x[chosen])] - y[:, None])
    apart = apart[apart > 0]
    if apart.size < 20:
        return False
    shuffled = np.abs(y[:, None] - y[None, :])
    return bool(apart.mean() < 0.8 * shuffled[shuffled > 0].mean())


def repeated_rows(x: AnyArray, targets: AnyArray) -> Iterator[Finding]:
    """Rows that are copies of a few; not where rows of few different values are alike by themselves."""
    if len(x) < 50:
        return
    different = len(np.unique(row_hashes(x, targets)))
    if 1 < different <= 0.2 * len(x) and not alike_by_themselves(x, different):
        yield Finding(
            "repeated rows", "warning", f"Among {len(x)} rows that were examined, only {different} are different.",
            numbers={"rows": len(x), "different": different}, stage="data",
        )  # fmt: skip


def weight_on_few_rows(weight: AnyArray | None) -> Iterator[Finding]:
    """Weights nearly all of which a part of the rows has, beside others of next to none; rows without weight are not counted."""
    if weight is None:
        return
    size = np.sort(np.abs(weight[weight != 0]).astype(np.float64))[::-1]
    if len(size) < 50:
        return
    holders = int(np.searchsorted(np.cumsum(size), 0.99 * size.sum())) + 1
    if holders < 0.2 * len(size) or (holders < 0.8 * len(size) and size[0] > 1e4 * size[-1]):
        yield Finding(
            "weight on few rows", "warning",
            f"{holders} of {len(size)} rows have 99 % of the weight: weights, those of classes included, go from {size[-1]:.3g} to "
            f"{size[0]:.3g}.",
            numbers={"rows": len(size), "holders": holders}, stage="data",
        )  # fmt: skip


def few_validation_rows(rows: int, others: int) -> Iterator[Finding]:
    """A validation set too small to tell anything, beside enough training rows."""
    if others < 20 and rows > 4 * others:
        yield Finding(
            "few validation rows", "hint", f"There are {others} validation rows, and {rows} training rows.",
            numbers={"rows": others}, stage="data",
        )  # fmt: skip


def row_order(targets: AnyArray, batch_size: int | None) -> Iterator[Finding]:
    """Rows that are sorted by their target, where they are used in this order, several batches an epoch."""
    rows = len(targets)
    if rows < 40 or (batch_size is not None and batch_size > rows / 2) or targets.size != rows:
        return
    values = targets.reshape(-1).astype(np.float64)
    if len(np.unique(values)) < 2:
        return
    ordered = ranks(values[:, None])[:, 0]
    steps = np.abs(np.diff(ordered)).mean()
    shuffled = np.abs(np.diff(np.random.default_rng(0).permutation(ordered))).mean()
    if steps < 0.1 * shuffled or _share_between_batches(values, batch_size or 32) > 0.8:
        yield Finding(
            "rows not shuffled", "critical",
            f"The {rows} rows are sorted by target, and training takes them in this order: from a row to the next the target "
            f"changes {steps / shuffled:.2g} times as much as in random order.",
            numbers={"rows": rows, "change": float(steps / shuffled)}, stage="data",
        )  # fmt: skip


def _share_between_batches(values: AnyArray, batch_size: int) -> float:
    """The share of the variance of targets that lies between batches of rows in their order; of classes, the smallest of any."""
    whole = len(values) // batch_size * batch_size
    if batch_size < 4 or whole < 3 * batch_size:
        return 0.0
    classes = np.unique(values[:whole])
    kinds = [values[:whole]] if len(classes) > 30 else [(values[:whole] == one).astype(np.float64) for one in classes]
    shares = [kind.reshape(-1, batch_size).mean(axis=1).var() / kind.var() for kind in kinds if kind.var() > 0]
    return float(min(shares, default=0.0))


def target_range(targets: AnyArray, activation: ActivationFunction) -> Iterator[Finding]:
    """Targets that the activation of the last layer cannot give."""
    low, high = activation.range
    slack = 1e-6 * (1.0 + np.abs(targets))
    share = float(np.mean((targets < low - slack) | (targets > high + slack)))
    if share > 0.05:
        yield Finding(
            "targets out of reach", "critical" if share > 0.3 else "warning",
            f"{share:.0%} of the targets lie outside [{low:g}, {high:g}], the range of the output activation {activation.name}; "
            f"they go from {targets.min():.4g} to {targets.max():.4g}.",
            numbers={"share": share, "low": low, "high": high}, stage="data",
        )  # fmt: skip


def chance_loss(loss: Loss, targets: AnyArray, weight: AnyArray | None, n_outputs: int) -> float | None:
    """The loss of the best constant outputs that are easily found.

    None for a loss of the user's own, and for losses whose zero says nothing, so that there is no telling what is near it: those
    after exp, and those of several outputs for one target.
    """
    if loss.custom or loss.link in ("exp", "mean", "quantiles"):
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


def least_loss(loss: Loss, targets: AnyArray, n_outputs: int) -> float:
    """The loss that no outputs can get below: the entropy of targets that are probabilities, or are smoothed; else 0."""
    if loss.custom or loss.link not in ("softmax", "sigmoid"):
        return 0.0
    wanted = np.eye(n_outputs)[targets.ravel()] if targets.dtype == np.int64 else targets.astype(np.float64)
    amount = float(getattr(loss, "label_smoothing", 0.0))
    best = _before_link(loss.link, (1 - amount) * wanted + amount / n_outputs if amount else wanted)
    return max(float(loss.value(best, targets)), 0.0)


def _before_link(link: str, value: AnyArray) -> AnyArray:
    """The outputs that the loss's link turns into this value."""
    tiny = 1e-12
    if link == "softmax":
        return np.log(np.maximum(value, tiny))
    if link == "sigmoid":
        share = np.clip(value, tiny, 1 - tiny)
        return np.asarray(np.log(share / (1 - share)))
    return value
