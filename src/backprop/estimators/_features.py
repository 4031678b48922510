"""What becomes of features before a network takes them: columns of categories, gaps, scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from .._types import Array

Categories = dict[int, Any]


def is_frame(X: Any) -> bool:
    """Whether X has named columns, as frames of pandas and polars have."""
    return hasattr(X, "columns") and hasattr(X, "dtypes") and not isinstance(X, np.ndarray)


def categorical_columns(X: Any, chosen: Any) -> list[int]:
    """Return the positions of the columns that hold categories: those chosen, or those that a frame says are text or categories."""
    names = list(X.columns) if is_frame(X) else list(range(np.shape(X)[1]))
    if isinstance(chosen, str):
        return [place for place, dtype in enumerate(X.dtypes) if _is_categorical(dtype)] if is_frame(X) else []
    wanted = np.ravel(np.asarray(chosen, dtype=object)).tolist()
    masks = [isinstance(one, bool | np.bool_) for one in wanted]
    if wanted and all(masks):
        if len(wanted) != len(names):
            raise ValueError(
                f"categorical_features as a mask must have one entry for each of {len(names)} columns, got {len(wanted)}"
            )
        return [place for place, one in enumerate(wanted) if one]
    positions = {name: place for place, name in enumerate(names)}
    if any(masks):
        raise ValueError(f"categorical_features must be names, positions or a mask of the columns, got a mixture: {wanted}")
    positions |= {place: place for place in range(len(names)) if place not in positions}
    unknown = [one for one in wanted if one not in positions]
    if unknown:
        raise ValueError(f"categorical_features names columns that X lacks: {unknown}")
    return sorted({positions[one] for one in wanted})


def _is_categorical(dtype: Any) -> bool:
    return str(dtype).lower().startswith(("category", "categorical", "enum", "object", "str"))


def _columns(X: Any) -> Iterator[Any]:
    if is_frame(X):
        yield from (np.asarray(X[name].to_numpy(), dtype=object) for name in X.columns)
    else:
        yield from np.asarray(X, dtype=object).T


def _is_missing(column: Any) -> Any:
    return np.array([_is_gap(value) for value in column], bool)


def _is_gap(value: Any) -> bool:
    if value is None or type(value).__name__ == "NAType":  # pandas.NA, of which a comparison is neither true nor false
        return True
    return bool(value != value)


def learn_categories(X: Any, places: Sequence[int]) -> Categories:
    """Return the values that columns of categories have, sorted."""
    columns = list(_columns(X))
    return {place: np.array(sorted(set(columns[place][~_is_missing(columns[place])]), key=str), object) for place in places}


def with_indicators(X: Any, categories: Mapping[int, Any]) -> Array:
    """Return X as numbers, with a column of 0 and 1 for each category; for another one these are all 0, for a gap NaN."""
    parts = []
    names = list(X.columns) if is_frame(X) else None
    for place, column in enumerate(_columns(X)):
        if place not in categories:
            parts.append(_numbers(column, place if names is None else names[place])[:, np.newaxis])
            continue
        gaps = _is_missing(column)
        indicators = np.full((len(column), len(categories[place])), np.nan)
        indicators[~gaps] = column[~gaps, np.newaxis] == categories[place][np.newaxis, :]
        parts.append(indicators)
    return np.hstack(parts)


def _numbers(column: Any, name: Any) -> Array:
    """Return a column of numbers, with NaN in its gaps."""
    known = [np.nan if gap else value for gap, value in zip(_is_missing(column), column, strict=True)]
    try:
        return np.array(known).astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        row = next(row for row, value in enumerate(known) if not _is_number(value))
        raise ValueError(
            f"column {name!r} of X must hold numbers, or be one of categorical_features, got {known[row]!r} in row {row}"
        ) from None


def _is_number(value: Any) -> bool:
    try:
        return np.array([value]).astype(np.float64).shape == (1,)
    except (TypeError, ValueError, OverflowError):
        return False


def fills(X: Any, sample_weight: Any) -> Array:
    """Return the median of the numbers that each feature has; 0 where it has none."""
    weight = np.ones(X.shape[0]) if sample_weight is None else np.asarray(sample_weight)
    return np.array([_median(column, weight) for column in _feature_columns(X)], np.float64)


def _feature_columns(X: Any) -> Iterator[Array]:
    yield from X.T if isinstance(X, np.ndarray) else (column.toarray().ravel() for column in X.tocsc().T)


def _median(column: Array, weight: Any) -> float:
    known = ~np.isnan(column) & (weight > 0)
    if not known.any():
        return 0.0
    return float(np.quantile(column[known], 0.5, weights=weight[known], method="inverted_cdf"))


def scaling(X: Any, how: str, sample_weight: Any) -> tuple[Array, Array]:
    """Return what to subtract from each feature, and what to divide it by; sparse features are not centered."""
    dense = isinstance(X, np.ndarray)
    if how == "standard":
        scaler = StandardScaler(with_mean=dense).fit(X, sample_weight=sample_weight)
        return np.asarray(scaler.mean_) if dense else np.zeros(X.shape[1]), np.asarray(scaler.scale_)
    weights = np.ones(X.shape[0]) if sample_weight is None else sample_weight
    found = np.array(
        [np.quantile(c, (0.25, 0.5, 0.75), weights=weights, method="inverted_cdf") for c in _feature_columns(X)], np.float64
    )
    spread = found[:, 2] - found[:, 0]
    return found[:, 1] if dense else np.zeros(X.shape[1]), np.where(spread > 0, spread, 1.0)
