"""Dropout, whose random numbers are a hash of the seed, the step, the layer and the place in the matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .._types import Array
from .checks import checked

Words = npt.NDArray[np.uint32]
GOLDEN = np.uint32(0x9E3779B9)  # 2^32 over the golden ratio


def _mix(h: Words) -> Words:
    """Spread the bits of 32-bit words: the finalizer of C. Wellons' "lowbias32", modulo 2^32."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    return h ^ (h >> np.uint32(16))


@checked("x (n, k) -> y (n, k)", may_be_same=("x", "y"))
def dropout(x: Array, y: Array, rate: float, seed: int, step: int, layer: int) -> None:
    """``y = x / (1 - rate)`` where ``hash(seed, step, layer, row, column) >= round(rate 2^32)``, else 0; its own gradient.

    rate is in [0, 1), seed and step in [0, 2^64), layer in [0, 2^32).
    All arithmetic modulo 2^32, with ``mix`` the finalizer of C. Wellons' "lowbias32" hash::

        mix(h):  h ^= h >> 16;  h *= 0x7feb352d;  h ^= h >> 15;  h *= 0x846ca68b;  h ^= h >> 16
        key = 0;  for word in (seed low, seed high, step low, step high, layer):  key = mix(key + word + 0x9e3779b9)
        hash = mix(mix(key + row + 0x9e3779b9) + 0x9e3779b9 * column)
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1), got {rate}")
    rows, columns = (np.arange(size, dtype=np.uint32) for size in x.shape)
    key = np.zeros(1, np.uint32)
    for word in (seed & 0xFFFFFFFF, seed >> 32, step & 0xFFFFFFFF, step >> 32, layer):
        key = _mix(key + np.uint32(word) + GOLDEN)
    hashes = _mix(_mix(key + rows + GOLDEN)[:, np.newaxis] + GOLDEN * columns)
    y[...] = np.where(hashes >= round(rate * 2**32), x / (1 - rate), 0)
