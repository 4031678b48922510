"""Targets: what reaches a loss, checked and in the form that its kernel takes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._arrays import as_contiguous, as_matrix, as_parameter, as_real_array, require_finite
from .._types import Array, Labels


class Wanted(NamedTuple):
    """What targets have to become, and what messages call them."""

    n_outputs: int
    dtype: np.dtype[Any]
    name: str
    check_finite: bool


def targets_as_given(given: npt.NDArray[Any], wanted: Wanted) -> Array | Labels:
    """Targets for a custom loss: any shape; integers as int64, floats in the network's dtype, (n,) as (n, 1) for one output."""
    if given.ndim == 0:
        raise ValueError(f"{wanted.name} must have one entry per row, got a single number")
    if wanted.n_outputs == 1 and given.ndim <= 2:
        return target_matrix(given, wanted)
    if given.dtype.kind in "biu":
        return as_contiguous(given, wanted.name, np.dtype(np.int64))
    cast = as_parameter(given, wanted.name, given.shape, wanted.dtype)
    if wanted.check_finite:
        require_finite(cast, wanted.name)
    return cast


def outputs_matrix(outputs: npt.ArrayLike) -> Array:
    given = as_real_array(outputs, "outputs")
    dtype = np.float32 if given.dtype == np.float32 else np.float64
    return as_matrix(given, "outputs", dtype, check_finite=False)


def target_matrix(given: npt.NDArray[Any], wanted: Wanted) -> Array:
    """Targets as (n, n_outputs), from that shape or, with one output, from (n,)."""
    columns = given[:, np.newaxis] if given.ndim == 1 and wanted.n_outputs == 1 else given
    if columns.ndim != 2 or columns.shape[1] != wanted.n_outputs:
        shape = "(n,) or (n, 1)" if wanted.n_outputs == 1 else f"(n, {wanted.n_outputs})"
        outputs = f"where the network has {wanted.n_outputs} output(s)"
        raise ValueError(f"{wanted.name} must have shape {shape} {outputs}, got shape {given.shape}")
    return as_matrix(columns, wanted.name, wanted.dtype, check_finite=wanted.check_finite)


def one_for_all(given: npt.NDArray[Any], wanted: Wanted) -> Array:
    """Targets as (n, n_outputs), from that shape or from one target a row, which then serves every output."""
    if given.ndim == 1 or (given.ndim == 2 and given.shape[1] == 1):
        return np.repeat(target_matrix(given, wanted._replace(n_outputs=1)), wanted.n_outputs, axis=1)
    return target_matrix(given, wanted)


def probabilities(given: npt.NDArray[Any], wanted: Wanted) -> Array:
    matrix = target_matrix(given, wanted)
    return refuse(matrix, matrix < 0, wanted.name, "probabilities, not negative")


def labels(given: npt.NDArray[Any], n_classes: int, name: str) -> Labels:
    if given.ndim == 2 and n_classes == 1 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim != 1:
        raise ValueError(f"{name} must be labels of shape (n,) or probabilities of shape (n, {n_classes}), got shape {given.shape}")
    if given.dtype.kind == "f" and given.size:
        raise TypeError(f"{name} must be integer class labels, got dtype {given.dtype}; convert them with {name}.astype(int)")
    outside = (given < 0) | (given >= n_classes) if given.dtype.kind != "b" else given & (n_classes < 2)
    if outside.any():
        hint = "; for one output with targets 0 and 1 use binary_cross_entropy" if n_classes == 1 else ""
        row = int(np.argmax(outside))
        raise ValueError(f"{name} must be class labels in [0, {n_classes}), got {int(given[row])} in row {row}{hint}")
    return as_contiguous(given, name, np.dtype(np.int64))


def refuse(matrix: Array, wrong: npt.NDArray[np.bool_], name: str, allowed: str) -> Array:
    """Return the matrix, or raise a ValueError that shows the first wrong entry."""
    if wrong.any():
        where = np.unravel_index(int(np.argmax(wrong)), matrix.shape)
        raise ValueError(f"{name} must be {allowed}, got {matrix[where]} in row {where[0]}")
    return matrix
