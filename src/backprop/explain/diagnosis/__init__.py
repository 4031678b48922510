"""Name what is wrong with a network, its data or its training, with evidence and remedy."""

from .diagnose import diagnose
from .findings import CATALOGUE, Finding, Report
from .monitor import Monitor

__all__ = ["CATALOGUE", "Finding", "Monitor", "Report", "diagnose"]


def __dir__() -> list[str]:
    return sorted(__all__)
