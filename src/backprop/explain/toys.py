"""Small data sets to watch a network learn: points in the plane that a straight line cannot separate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def xor(n: int = 80, seed: int = 0) -> Points:
    """Class 1 where the signs of the two coordinates differ.

    Returns
    -------
    x : (n, 2) float64
        The first four rows are the corners (-1, -1), (-1, 1), (1, -1), (1, 1); the others scatter around them.
    y : (n,) int64
        0 or 1.

    Examples
    --------
    >>> x, y = xor(4)
    >>> y.tolist()
    [0, 1, 1, 0]
    """
    rng = np.random.default_rng(seed)
    corners = np.array([(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)])
    x = np.tile(corners, (n // 4 + 1, 1))[:n]
    x[4:] += np.clip(rng.normal(scale=0.28, size=x[4:].shape), -0.8, 0.8)
    return x, (x[:, 0] * x[:, 1] < 0).astype(np.int64)


def circles(n: int = 120, seed: int = 0) -> Points:
    """A disc of class 1 inside a ring of class 0: x (n, 2), y (n,)."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    radius = np.where(y == 1, 0.35, 1.05) + rng.normal(scale=0.08, size=n)
    angle = rng.uniform(0, 2 * np.pi, size=n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), y.astype(np.int64)


def spirals(n: int = 160, seed: int = 0) -> Points:
    """Two spirals around each other, one turn and a quarter each: x (n, 2), y (n,)."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    along = np.sqrt((np.arange(n) // 2 + 0.5) / (n / 2))
    angle = 2.5 * np.pi * along + np.pi * y
    x = 1.2 * along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return x + rng.normal(scale=0.03, size=x.shape), y.astype(np.int64)


TOYS: dict[str, Callable[..., Points]] = {"xor": xor, "circles": circles, "spirals": spirals}
