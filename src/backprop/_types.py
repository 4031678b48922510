"""The types that modules of several floors share: the arrays that kernels take, and the hook on gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
Spans = npt.NDArray[np.void]
GradientHook = Callable[[Array], Any]
"""What sees the flat gradients between backward and update."""

SPAN = np.dtype(
    [
        ("offset", np.intp),
        ("length", np.intp),
        ("lr", np.float64),
        ("weight_decay", np.float64),
        ("l1", np.float64),
    ],
    align=True,
)
"""A run of the flat parameter buffer that one optimizer update treats alike.

``lr`` multiplies the step's learning rate; ``weight_decay`` and ``l1`` are coefficients. Spans lie inside the buffer, ascend and do
not overlap; what no span covers is frozen: the update leaves its parameters and moments as they are.
"""
