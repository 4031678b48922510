"""Tables with mixed columns: models that take their rows as they are, and the encoding and decoding that these are made of.

A table is a data frame of pandas or polars, a table of pyarrow, a mapping of columns (lists or arrays), a list of dicts, or what
`read_csv` returns. `TableModel` learns from it and predicts; `TableEncoder` makes a matrix of it. Every column is one of

- numeric: standardised to mean 0 and variance 1; where tails are heavy, centred and scaled by quantiles and bounded smoothly;
- boolean (true/false, yes/no, t/f, y/n in any case): one column of 0 and 1;
- categorical: one column of 0 and 1 for each of the most frequent categories. Any other value gives zeros in all;
- date (dates and times): elapsed time and year, and month, weekday and hour on circles.

Equal values are one value however they are given: 7, 7.0 and "7.0"; True and 1. Numbers in text may have decimal commas, groups of
thousands, currencies and percent signs. A missing value (None, NaN, an empty field, a masked value, or one of the words NA, N/A,
NaN, None, null and ``?``) becomes the median of a numeric column or the most frequent value of another. A further column of 0 and
1, ``"<name> missing"``, flags it, when values of this column were missing at `TableEncoder.fit` already.
"""

from __future__ import annotations

from ._csv import read_csv
from ._encoder import TableEncoder
from ._features import BooleanFeature, CategoricalFeature, DateFeature, NumericFeature
from ._judge import Judgement
from ._model import TableModel
from ._targets import ClassTarget, NumberTarget, fit_target, target_from_config

__all__ = [
    "BooleanFeature",
    "CategoricalFeature",
    "ClassTarget",
    "DateFeature",
    "Judgement",
    "NumberTarget",
    "NumericFeature",
    "TableEncoder",
    "TableModel",
    "fit_target",
    "read_csv",
    "target_from_config",
]


def __dir__() -> list[str]:
    return sorted(__all__)
