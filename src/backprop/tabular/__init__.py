"""Tables with mixed columns, turned into the matrices that a network takes, and its outputs turned back.

A table is a DataFrame, a mapping of columns (lists or arrays), or what `read_csv` returns. Every column is one of

- numeric: standardised to mean 0 and variance 1;
- boolean (true/false, yes/no, t/f, y/n in any case): one column of 0 and 1;
- categorical: one column of 0 and 1 for each category. A category that was not there at `TableEncoder.fit` gives zeros in all.

A missing value (None, NaN, an empty field, or one of the words NA, N/A, NaN, None, null and ``?``) becomes the median of a numeric
column or the most frequent value of another. A further column of 0 and 1, ``"<name> missing"``, flags it, when values of this
column were missing at `TableEncoder.fit` already.
"""

from __future__ import annotations

from ._csv import read_csv
from ._encoder import TableEncoder
from ._targets import ClassTarget, NumberTarget, fit_target, target_from_config

__all__ = ["ClassTarget", "NumberTarget", "TableEncoder", "fit_target", "read_csv", "target_from_config"]


def __dir__() -> list[str]:
    return sorted(__all__)
