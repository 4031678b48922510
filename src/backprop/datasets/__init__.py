"""Real data: handwritten digits that ship with the package, and files in MNIST's format."""

from __future__ import annotations

from ._digits import digits
from ._idx import idx, read_idx

__all__ = ["digits", "idx", "read_idx"]


def __dir__() -> list[str]:
    return sorted(__all__)
