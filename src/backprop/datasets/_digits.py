"""The UCI optical digits, shipped with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ._idx import idx

_FOLDER = Path(__file__).parent / "digits"
_BRIGHTEST = 16  # each of the 8 x 8 pixels counts the ink in a block of 4 x 4

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def digits() -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Load 1797 handwritten digits of 8 x 8 pixels, split into 1437 training and 360 test images.

    The split is fixed and keeps the share of every digit; both parts hold digits by the same 13 writers.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images as rows of 64 pixels, float32 in [0, 1], and labels 0 to 9, int64; fresh arrays.

    Notes
    -----
    E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    https://doi.org/10.24432/C50P49. Licence: CC BY 4.0.

    Examples
    --------
    >>> import backprop as bp
    >>> (x_train, y_train), (x_test, y_test) = bp.datasets.digits()
    >>> x_train.shape, y_train.shape, x_test.shape
    ((1437, 64), (1437,), (360, 64))
    """
    (x_train, y_train), (x_test, y_test) = idx(_FOLDER)
    return (_scaled(x_train), y_train.astype(np.int64)), (_scaled(x_test), y_test.astype(np.int64))


def _scaled(pixels: npt.NDArray[np.uint8]) -> Images:
    return pixels.astype(np.float32) / np.float32(_BRIGHTEST)
