"""Tools for choosing: which learning rate, which network, which optimizer."""

from .compare import Comparison, Result, compare
from .learning_curve import LearningCurve, learning_curve
from .lr_range import LrRange, lr_range_test
from .search import Search, Trial, search

__all__ = [
    "Comparison",
    "LearningCurve",
    "LrRange",
    "Result",
    "Search",
    "Trial",
    "compare",
    "learning_curve",
    "lr_range_test",
    "search",
]


def __dir__() -> list[str]:
    return sorted(__all__)
