"""The compiled matrix product at the sizes where it changes its ways: edges of tiles, panels and blocks, few rows, no rows."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from test_kernels import COMPILED

FILLER = 777.0

# Tiles are up to 14 rows by two vectors of up to 16 elements. Products of one row, of up to 4 rows, of up to 4 columns, and of rows
# that nearly fill one or two vectors have loops of their own. The second matrix is packed for more than 128 rows, and for fewer
# where its rows lie 4 KB (1024 float32, 512 float64) or multiples of it apart. Layers end at 256 of the inner dimension. Blocks end
# at 196 rows or, where a layer takes more than 512 KB and is packed two panels at a time, at half of the second-level cache, which
# is 196 to 1024 rows. Shorter vectors have up to 2048 float32 or 1024 float64 columns packed at once.
NARROW = [0, 1, 2, 4, 5, 7, 13, 14, 15, 16, 17, 31, 33, 64, 65]
SHAPES = [
    *product([0, 1, 2, 5], [0, 1, 7, 17], [0, 1, 3, 33]),
    *((n, 5, 18) for n in NARROW),
    *((6, n, 19) for n in NARROW),
    *((7, 20, n) for n in NARROW),
    *[(1, 40, 300), (1, 513, 8), (4, 70, 520), (5, 70, 520), (15, 256, 40), (15, 512, 150), (64, 9, 256), (66, 9, 31)],
    *[(197, 513, 33), (393, 20, 40), (13, 1025, 37), (20, 30, 1030), (130, 40, 1100), (16, 211, 530), (31, 530, 211)],
    *[(40, 70, 1), (3, 33, 1), (300, 40, 2), (20, 70, 3), (17, 64, 4)],
    *[(17, 40, 4096), (70, 256, 700), (1030, 200, 660), (200, 1030, 660), (100, 300, 2100)],
]

pytestmark = pytest.mark.skipif(not COMPILED, reason="the extension is not installed")
modules = pytest.mark.parametrize("module", COMPILED, ids=lambda module: module.__name__.removeprefix("backprop."))


class Fenced:
    """An array to be written, with filler before and behind it that must stay."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        size = int(np.prod(shape))
        self.memory = np.full(size + 128, FILLER, dtype)
        self.array = self.memory[64 : 64 + size].reshape(shape)
        self.array[...] = np.nan

    def __enter__(self) -> np.ndarray:
        return self.array

    def __exit__(self, *error: object) -> None:
        size = self.array.size
        assert (self.memory[:64] == FILLER).all(), "written before the array"
        assert (self.memory[64 + size :] == FILLER).all(), "written behind the array"


def assert_is_product(c: np.ndarray, a: np.ndarray, b: np.ndarray, bias: np.ndarray | float = 0.0) -> None:
    """Rounding moves a sum of k products by no more than k units of the sum of their magnitudes; in practice by its root."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    unit = np.finfo(c.dtype).eps * (4 + np.sqrt(a.shape[1]))
    assert (np.abs(c - (a @ b + bias)) <= unit * (np.abs(a) @ np.abs(b) + np.abs(bias))).all()


@modules
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward(module: Any, shape: tuple[int, int, int], dtype: np.dtype, rng: np.random.Generator) -> None:
    n, p, k = shape
    x, weight, bias = (rng.normal(size=size).astype(dtype) for size in ((n, p), (p, k), k))
    with Fenced((n, k), dtype) as a:
        module.dense_forward(x, weight, bias, None, a, "identity", 0.0)
        assert_is_product(a, x, weight, bias.astype(np.float64))
        identity = a.copy()
    with Fenced((n, k), dtype) as a:
        module.dense_forward(x, weight, None, None, a, "identity", 0.0)
        assert_is_product(a, x, weight)
    with Fenced((n, k), dtype) as a:  # applied to the tile while it is in registers
        module.dense_forward(x, weight, bias, None, a, "relu", 0.0)
        np.testing.assert_array_equal(a, np.maximum(identity, 0))
    for activation in ("tanh", "softmax"):  # applied to blocks, to rows
        expected = np.empty_like(identity)
        module.activation_forward(identity, expected, activation, 0.0)
        with Fenced((n, k), dtype) as z, Fenced((n, k), dtype) as a:
            module.dense_forward(x, weight, bias, z, a, activation, 0.0)
            np.testing.assert_array_equal(z, identity)
            np.testing.assert_array_equal(a, expected)
        with Fenced((n, k), dtype) as a:
            module.dense_forward(x, weight, bias, None, a, activation, 0.0)
            np.testing.assert_array_equal(a, expected)


@modules
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_backward(module: Any, shape: tuple[int, int, int], dtype: np.dtype, rng: np.random.Generator) -> None:
    n, p, k = shape
    x, weight, delta = (rng.normal(size=size).astype(dtype) for size in ((n, p), (p, k), (n, k)))
    with Fenced((p, k), dtype) as grad_weight, Fenced((k,), dtype) as grad_bias, Fenced((n, p), dtype) as grad_x:
        module.dense_backward(x, weight, delta, grad_weight, grad_bias, grad_x)
        assert_is_product(grad_weight, x.T, delta)
        assert_is_product(grad_bias[np.newaxis], np.ones((1, n), dtype), delta)
        assert_is_product(grad_x, delta, weight.T)


@modules
def test_what_is_not_finite_stays_in_its_row_and_column(module: Any, dtype: np.dtype, rng: np.random.Generator) -> None:
    x, weight = rng.normal(size=(30, 40)).astype(dtype), rng.normal(size=(40, 50)).astype(dtype)
    x[17, 3], weight[5, 44] = np.nan, np.inf
    a = np.empty((30, 50), dtype)
    module.dense_forward(x, weight, None, None, a, "identity", 0.0)
    there = ~np.isfinite(a)
    assert there[17].all()
    assert there[:, 44].all()
    there[17] = there[:, 44] = False
    assert not there.any()
