"""Tools for choosing: which learning rate, which network, which optimizer."""

from .compare import Comparison, Result, compare
from .lr_range import LrRange, lr_range_test

__all__ = ["Comparison", "LrRange", "Result", "compare", "lr_range_test"]


def __dir__() -> list[str]:
    return sorted(__all__)
