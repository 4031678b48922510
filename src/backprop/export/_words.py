"""The texts that stand for truth, for missing values and for categories, where texts are compared as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..tabular import CategoricalFeature
from ..tabular._columns import numbers_in, positions

_TRUE, _FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")


def _in_cases(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(form for word in words for form in (word, word.lower(), word.upper(), word.capitalize())))


def truth_words() -> dict[str, int]:
    """The words for true and false in the usual cases, with 1 and 0."""
    return {**dict.fromkeys(_in_cases(_TRUE), 1), **dict.fromkeys(_in_cases(_FALSE), 0)}


def missing_spellings(words: frozenset[str]) -> list[str]:
    """The words for a missing value in the usual cases, and the way Python writes NaN and None."""
    spelled = [spelling for word in sorted(words) for spelling in (word, *_other_spellings(word))]
    return _in_cases(["", *spelled, "NaN", "NaT", "None"])


def missing_numbers(words: frozenset[str]) -> list[float]:
    """The numbers among the words for a missing value, such as -999."""
    return sorted(numbers_in(words))


def _other_spellings(text: str) -> list[str]:
    """Return what a whole number is also written as; of the many zeros behind its point, up to two."""
    if not re.fullmatch(r"-?(0|[1-9][0-9]*)", text):
        return []
    signs = ("",) if text.startswith("-") else ("", "+")
    return [f"{sign}{text}{end}" for sign in signs for end in ("", ".", ".0", ".00")][1:]


def category_words(feature: CategoricalFeature, missing: frozenset[str]) -> dict[str, int]:
    """The position of the category for each of its spellings; words for a missing value have that of the most frequent category."""
    known = positions(feature.categories)
    found = dict(known)
    for text, index in known.items():
        for spelling in _other_spellings(text):
            found.setdefault(spelling, index)
    for word in missing_spellings(missing):
        found.setdefault(word, known.get(feature.fill, -1))
    return found
