"""From the columns of a table to the columns of a matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from . import _columns
from ._columns import Column
from ._features import FEATURES, Feature
from ._saved import restored, saved

Matrix = npt.NDArray[np.floating]


class TableEncoder:
    """Turns the columns of a table into the columns of a matrix, the same way each time.

    Made by `fit` from training data, or by `from_config` from a saved model.

    Parameters
    ----------
    features : iterable of Feature
        What is done with each column that is used.
    ignored : mapping of str to str, optional
        The columns of the training table that are not used, and why.

    Attributes
    ----------
    features, ignored
        The same.

    Examples
    --------
    >>> from backprop.tabular import TableEncoder
    >>> encoder = TableEncoder.fit({"age": [30, 40, 50], "city": ["Rome", "Oslo", None]})
    >>> encoder.names
    ('age', 'city=Oslo', 'city=Rome', 'city missing')
    >>> encoder.transform({"age": [40, 40], "city": ["Rome", "Paris"]})
    array([[0., 0., 1., 0.],
           [0., 0., 0., 0.]], dtype=float32)
    """

    def __init__(self, features: Iterable[Feature], ignored: Mapping[str, str] | None = None) -> None:
        self.features = tuple(features)
        self.ignored = dict(ignored or {})

    @classmethod
    def fit(
        cls,
        table: Any,
        *,
        kinds: Mapping[str, str] | None = None,
        ignore: Iterable[str] = (),
        max_categories: int = 64,
    ) -> Self:
        """Find out the kind of every column and what its encoding needs.

        Text that reads as numbers throughout is numeric. A column that holds one value only, or text that hardly ever repeats
        (names, identifiers), is ignored, unless its kind is given.

        Parameters
        ----------
        table : DataFrame or mapping of str to column
            The training rows.
        kinds : mapping of str to str, optional
            The kinds of some columns, by name, instead of those found: ``{"zip": "categorical"}``.
        ignore : iterable of str
            Names of columns not to use.
        max_categories : int
            How many categories of a column get a column of their own: the most frequent ones.

        Raises
        ------
        ValueError
            When the table has no rows, no column that can be used, columns of different lengths, or infinite numbers; when a column
            is not of the kind given for it; when `kinds` or `ignore` name a column that is not there.
        TypeError
            When a column holds something else than numbers, booleans and text.
        """
        kinds = dict(kinds or {})
        ignored = dict.fromkeys(ignore, "as asked")
        for name in kinds:
            if kinds[name] not in FEATURES:
                raise ValueError(f"the kind of column {name!r} must be one of {', '.join(FEATURES)}, got {kinds[name]!r}")
        raw = _columns.columns(table)
        _columns.check_names(raw, [*kinds, *ignored])
        if not any(len(column) for column in raw.values()):
            raise ValueError("table must have at least one row and one column")
        features: list[Feature] = []
        for name, column in raw.items():
            if name in ignored:
                continue
            kind = kinds.get(name) or _kind(name, column, max_categories)
            reason = _why_useless(column, name in kinds)
            if reason:
                ignored[name] = reason
            else:
                features.append(FEATURES[kind].fit(name, column, max_categories))
        if not features:
            raise ValueError(f"table has no column to learn from: {'; '.join(f'{k!r} {v}' for k, v in ignored.items())}")
        return cls(features, ignored)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the matrix's columns."""
        return tuple(name for feature in self.features for name in feature.names)

    def transform(self, table: Any, dtype: npt.DTypeLike = np.float32) -> Matrix:
        """Encode a table as a matrix with the columns `names`; further columns of the table are passed over.

        Parameters
        ----------
        table : DataFrame or mapping of str to column
            The rows to encode.
        dtype : dtype
            Of the matrix.

        Returns
        -------
        array (n, len(names))

        Raises
        ------
        ValueError
            When a column is missing, or holds values that are not of its kind or too large.
        """
        raw = _columns.columns(table, [feature.name for feature in self.features])
        matrix = np.empty((len(next(iter(raw.values()))), len(self.names)), dtype)
        start = 0
        for feature in self.features:
            part = matrix[:, start : start + len(feature.names)]
            with np.errstate(over="ignore"):
                part[:] = feature.encode(raw[feature.name])
            if not np.isfinite(part).all():
                raise ValueError(f"column {feature.name!r} holds numbers that are too large for {matrix.dtype}")
            start += len(feature.names)
        return matrix

    def __repr__(self) -> str:
        """Return the columns that are used, with their kinds, and the number of columns of the matrix."""
        used = ", ".join(f"{feature.name}: {feature.kind}" for feature in self.features)
        return f"TableEncoder({used}; {len(self.names)} columns)"

    def config(self) -> dict[str, Any]:
        """All that `from_config` needs, ready for JSON."""
        return {"features": [saved(feature) for feature in self.features], "ignored": self.ignored}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The encoder of a saved `config`; a ValueError when that is damaged."""
        try:
            return cls([restored(FEATURES, entry) for entry in config["features"]], config["ignored"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the saved description of the table is damaged: {error!r}") from error


def _kind(name: str, column: Column, max_categories: int) -> str:
    if _columns.numbers(column) is not None:
        return "numeric"
    if _columns.booleans(column) is not None:
        return "boolean"
    values = {text for text in _columns.texts(column) if text is not None}
    odd = sorted(text for text in values if _columns.numbers([text]) is None)
    if len(values) > max_categories and len(odd) < len(values) / 10:
        raise ValueError(
            f"column {name!r} holds numbers, but also {', '.join(map(repr, odd[:5]))}: "
            "correct these (an empty field means missing), or say that the column is categorical"
        )
    return "categorical"


def _why_useless(column: Column, kind_given: bool) -> str | None:
    """Why nothing can be learned from a column, or None."""
    there = _columns.present(column)
    if not there.any():
        return "holds no value"
    if kind_given:
        return None
    numbers = _columns.numbers(column)
    distinct = len(set(_columns.texts(column)) - {None} if numbers is None else np.unique(numbers[there]))
    if distinct == 1 and there.all():
        return "holds one value only"
    if numbers is None and distinct > max(10, there.sum() / 2):
        return f"is text that hardly ever repeats ({distinct} different values in {there.sum()} rows)"
    return None
