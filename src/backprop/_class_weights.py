"""Weights of classes and of rows, and how the two multiply."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._arrays import as_contiguous, as_parameter, as_real_array, check_nonnegative, require_finite
from ._settings import ReadOnlyDict
from ._types import Array, Labels

ClassWeight = Mapping[int, float] | Sequence[float] | npt.NDArray[Any] | str


def check_sample_weight(sample_weight: npt.ArrayLike, rows: int, dtype: np.dtype[Any], name: str = "sample_weight") -> Array:
    """Return one finite weight per row, contiguous and of ``dtype``.

    Raises
    ------
    TypeError
        If the weights are not real numbers.
    ValueError
        If they are not one per row, or they or their sum are not finite.
    """
    weight = as_parameter(sample_weight, name, (rows,), dtype)
    require_finite(weight, name)
    with np.errstate(over="ignore"):
        total = np.abs(weight).sum(dtype=np.float64)
    if not math.isfinite(total):
        raise ValueError(f"{name} must have a finite sum; only its ratios count, so divide it by its largest entry")
    return weight


def check_class_weight(name: str, spec: Any) -> Any:
    """Return class weights, as far as they can be checked without targets, as something that cannot be edited.

    Raises
    ------
    TypeError, ValueError
        For what is no mapping, no sequence and not "balanced", for keys that are no classes, and for weights that are not numbers,
        negative or not finite.
    """
    if spec is None or (isinstance(spec, str) and spec == "balanced"):
        return spec
    spec = _by_label(spec)
    if isinstance(spec, Mapping):
        for label in spec:
            if isinstance(label, (str, bool)) or not hasattr(label, "__index__") or label < 0:
                raise ValueError(f"{name} must have classes, integers from 0, as keys, got {label!r}")
        return ReadOnlyDict({int(label): check_nonnegative(f"{name}[{label}]", weight) for label, weight in spec.items()})
    try:
        dimensions = np.ndim(spec)
    except ValueError:  # sequences of several lengths
        dimensions = 2
    if isinstance(spec, str) or dimensions != 1:
        raise ValueError(f"{name} must be a mapping, a sequence or 'balanced', got {spec!r}")
    return tuple(check_nonnegative(f"{name}[{index}]", weight) for index, weight in enumerate(spec))


def _by_label(spec: Any) -> Any:
    """Return a series, such as ``1 / labels.value_counts()``, as the mapping of its labels: their order is not that of classes."""
    return spec.to_dict() if hasattr(spec, "index") and hasattr(spec, "to_dict") and np.ndim(spec) == 1 else spec


def class_weight_vector(spec: ClassWeight, targets: Iterable[Array | Labels], n_classes: int) -> npt.NDArray[np.float64]:
    """Return one weight per class.

    Parameters
    ----------
    spec : mapping, sequence or "balanced"
        A mapping or series from classes to weights (classes that it lacks have weight 1), a sequence of ``n_classes`` weights, or
        ``"balanced"``: ``n / (classes present * count of the class)`` over ``targets``, scikit-learn's ``compute_class_weight``.
    targets : iterable of arrays
        Prepared targets, in as many parts as they come: labels (n,), probabilities (n, n_classes), or probabilities of class 1
        as (n, 1).

    Raises
    ------
    ValueError
        For a class outside ``[0, n_classes)``, a wrong number of weights, or weights that are negative or not finite.
    """
    if isinstance(spec, str):
        if spec != "balanced":
            raise ValueError(f"class_weight must be a mapping, a sequence or 'balanced', got {spec!r}")
        return _balanced(targets, n_classes)
    spec = _by_label(spec)
    if isinstance(spec, Mapping):
        vector = np.ones(n_classes)
        for label, weight in spec.items():
            if isinstance(label, str) or label not in range(n_classes):
                raise ValueError(f"class_weight must have classes in [0, {n_classes}) as keys, got {label!r}")
            vector[int(label)] = check_nonnegative(f"class_weight[{label}]", weight)
    else:
        vector = as_real_array(spec, "class_weight").astype(np.float64)
        if vector.shape != (n_classes,):
            raise ValueError(f"class_weight must have one weight for each of the {n_classes} classes, got shape {vector.shape}")
    if not (np.isfinite(vector).all() and (vector >= 0).all()):
        raise ValueError(f"class_weight must be finite and not negative, got {spec!r}")
    return vector


def _balanced(targets: Iterable[Array | Labels], n_classes: int) -> npt.NDArray[np.float64]:
    return balanced(count_classes(targets, n_classes))


def count_classes(targets: Iterable[Array | Labels], n_classes: int) -> npt.NDArray[np.float64]:
    """Return how many rows of prepared targets each class has; probabilities count as shares of a row."""
    counts = np.zeros(n_classes)
    for part in targets:
        counts += _counts(part, n_classes)
    return counts


def balanced(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the balanced weights of classes with these numbers of rows."""
    present = counts > 0
    vector = np.ones(len(counts))
    vector[present] = counts.sum() / (present.sum() * counts[present])
    return vector


def _counts(targets: Array | Labels, n_classes: int) -> npt.NDArray[np.float64]:
    if targets.ndim == 1:
        return np.bincount(targets, minlength=n_classes).astype(np.float64)
    sums = targets.sum(axis=0, dtype=np.float64)
    return np.array([len(targets) - sums[0], sums[0]]) if targets.shape[1] == 1 else sums


def weigh_rows(
    targets: Array | Labels, vector: npt.NDArray[np.float64] | None, sample_weight: Array | None, dtype: np.dtype[Any]
) -> Array | None:
    """Return ``sample_weight`` times the class weight of each row, or None where there are neither.

    A row whose target is a distribution has its expected class weight, ``sum_j t_j w_j``.
    """
    if vector is None:
        return sample_weight
    if targets.ndim == 1:
        weight = vector[targets]
    elif targets.shape[1] == 1:
        weight = vector[0] + (vector[1] - vector[0]) * targets[:, 0].astype(np.float64)
    else:
        weight = targets @ vector
    if sample_weight is not None:
        weight = weight * sample_weight
    return as_contiguous(weight, "class_weight times sample_weight", dtype)
