"""The types that modules of several floors share: the arrays that kernels take, the hook on gradients, communicators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
AnyArray = npt.NDArray[Any]
Numbers = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Spans = npt.NDArray[np.void]
GradientHook = Callable[[Array], Any]
"""What sees the flat gradients between backward and update."""


class Communicator(Protocol):
    """What is used of mpi4py's communicators."""

    rank: int
    size: int

    def allgather(self, sendobj: Any) -> list[Any]:
        """Return what every rank has sent, in their order."""

    def Allreduce(self, sendbuf: Any, recvbuf: Any) -> Any:  # noqa: N802
        """Write the sum of all ranks' arrays."""

    def Bcast(self, buf: Any, root: int = 0) -> Any:  # noqa: N802
        """Overwrite an array with the root's."""

    def Abort(self, errorcode: int = 0) -> Any:  # noqa: N802
        """End all ranks."""


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
