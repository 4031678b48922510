"""Tools for choosing: which learning rate, which network, which optimizer."""

from .compare import Comparison, Result, compare
from .lr_range import LrRange, lr_range_test
from .search import Search, Trial, search

__all__ = ["Comparison", "LrRange", "Result", "Search", "Trial", "compare", "lr_range_test", "search"]


def __dir__() -> list[str]:
    return sorted(__all__)
