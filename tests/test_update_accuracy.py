"""How close the compiled updates come to their formulas, in units in the last place, and what they do where numbers run out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
from test_kernels import COMPILED

from backprop._types import Array
from backprop.kernels import SPAN

pytestmark = pytest.mark.skipif(not COMPILED, reason="the extension is not installed")
modules = pytest.mark.parametrize("module", COMPILED, ids=lambda module: module.__name__.removeprefix("backprop."))

# Every update below is param = -g / (sqrt(v) + eps): means keep what they hold (beta2 = 1), or take what comes (beta1 = 0).
Update = Callable[[Any, Array, Array, Array, Array, Array, float], None]
UPDATES: dict[str, Update] = {
    "rmsprop": lambda k, g, span, p, m, v, eps: k.rmsprop(g, span, p, v, None, None, 1.0, 1.0, eps, 0.0, False),
    "rmsprop, momentum": lambda k, g, span, p, m, v, eps: k.rmsprop(g, span, p, v, None, m, 1.0, 1.0, eps, 0.5, False),
    "adam": lambda k, g, span, p, m, v, eps: k.adam(g, span, p, m, v, None, 1.0, 0.0, 1.0, eps, 1.0, 1.0, False),
    "adam, amsgrad": lambda k, g, span, p, m, v, eps: k.adam(g, span, p, m, v, v.copy(), 1.0, 0.0, 1.0, eps, 1.0, 1.0, False),
    "nadam": lambda k, g, span, p, m, v, eps: k.nadam(g, span, p, m, v, 1.0, 0.0, 1.0, eps, 1.0, 1.0, 0.0, False),
    "radam": lambda k, g, span, p, m, v, eps: k.radam(g, span, p, m, v, 1.0, 0.0, 1.0, eps, 1.0, 1.0, 1.0, False),
}
# On the numbers of `grid`, where dividing gives 1.34 and 1.83.
UNITS = {"float32": 2, "float64": 2.25}
# On all numbers: root and sum add up to a unit each, a reciprocal and a product half a unit each, Newton's last step at most 1/8.
MOST_UNITS = 3.125


def whole(size: int) -> Array:
    return np.array([(0, size, 1.0, 0.0, 0.0)], SPAN)


@cache
def grid(dtype: np.dtype) -> tuple[Array, Array, list[float]]:
    """Every g with every v, and the eps to go with them: from the smallest denormal to the largest number."""
    info, rng = np.finfo(dtype), np.random.default_rng(0)
    small, tiny, most = float(info.smallest_subnormal), float(info.tiny), float(info.max)
    g = [small, 5 * small, tiny, 1.7 * tiny, tiny**0.5, 1e-5, 0.3, 1.0, 7e3, 0.9 * most**0.5, *rng.uniform(0.5, 2, 9)]
    v = [0.0, small, 0.3 * tiny, tiny, 3e-8, 0.7, 1.0, 5e9, 0.4 * most, most, *rng.uniform(0.25, 4, 9)]
    eps = [0.0, small, 0.9 * tiny, tiny, 1e-8, 0.3, 1e9, 0.24 * most, 0.26 * most, 0.9 * most, *rng.uniform(1, 2, 2)]
    eps += [2.0**n for n in (-60, -3, 0, 5)]
    pairs = np.array([(sign * a, b) for sign in (1, -1) for a in g for b in v]).astype(dtype)
    return pairs[:, 0].copy(), pairs[:, 1].copy(), [float(dtype.type(number)) for number in eps]


@cache
def truths(dtype: np.dtype) -> list[list[Any]]:
    """-g / (sqrt(v) + eps) for every eps, in 40 digits; None where that is no number."""
    g, v, all_eps = grid(dtype)
    with mpmath.workdps(40):
        divisors = [[mpmath.sqrt(mpmath.mpf(b)) + mpmath.mpf(eps) for b in v.tolist()] for eps in all_eps]
        return [[-mpmath.mpf(a) / d if d else None for a, d in zip(g.tolist(), row, strict=True)] for row in divisors]


def updated(module: Any, name: str, g: Array, v: Array, eps: float) -> Array:
    """The parameters after an update from zero."""
    param, m = np.zeros_like(g), np.zeros_like(g)
    UPDATES[name](module, g, whole(g.size), param, m, v.copy(), eps)
    return param


@modules
@pytest.mark.parametrize("name", UPDATES)
def test_within_two_units_of_the_formula(module: Any, name: str, dtype: np.dtype) -> None:
    g, v, all_eps = grid(dtype)
    most = float(np.finfo(dtype).max)
    for eps, truth in zip(all_eps, truths(dtype), strict=True):
        ours = updated(module, name, g, v, eps)
        for a, b, value, true in zip(g.tolist(), v.tolist(), ours.tolist(), truth, strict=True):
            if true is None or abs(true) > most:
                assert value == np.copysign(np.inf, -a), (a, b, eps)
            else:
                unit = float(np.spacing(dtype.type(abs(float(true)))))
                assert abs(float(mpmath.mpf(value) - true)) <= UNITS[dtype.name] * unit, (a, b, eps, value, float(true))


@modules
@pytest.mark.parametrize("name", UPDATES)
def test_numbers_that_round_worst_stay_within_the_bound(module: Any, name: str, dtype: np.dtype, rng: np.random.Generator) -> None:
    """Root and sum a little above 1, a quotient a little below 1: units are large there, and small here."""
    v = rng.uniform(1, 1.1, 10_000).astype(dtype)
    for eps in rng.uniform(0, 1e-4, 10).astype(dtype).tolist():
        divisors = np.sqrt(v, dtype=np.longdouble) + np.longdouble(eps)
        g = (divisors.astype(dtype) * rng.uniform(0.95, 0.999, v.size)).astype(dtype)
        truth = -g / divisors
        error = np.abs(updated(module, name, g, v, eps) - truth)
        assert (error <= MOST_UNITS * np.spacing(np.abs(truth).astype(dtype))).all()


@modules
@pytest.mark.parametrize("name", UPDATES)
def test_what_is_no_number_passes_through_as_a_division_does(module: Any, name: str, dtype: np.dtype) -> None:
    inf, nan = np.inf, np.nan
    g = np.array([1, 1, 1, 0, nan, nan], dtype)
    v = np.array([inf, nan, 0, 0, 1, inf], dtype)
    np.testing.assert_array_equal(updated(module, name, g, v, 0.0), [0, nan, -inf, nan, nan, nan])
    np.testing.assert_array_equal(updated(module, name, g, v, 1.0), [0, nan, -1, 0, nan, nan])


@modules
def test_adagrad_and_adadelta_divide_as_exactly(module: Any, dtype: np.dtype, rng: np.random.Generator) -> None:
    g, v = rng.normal(size=203).astype(dtype), rng.uniform(0.1, 3, 203).astype(dtype)
    adagrad, adadelta = np.zeros_like(g), np.zeros_like(g)
    module.adagrad(g, whole(203), adagrad, v.copy(), 1.0, 0.25, False)
    module.adadelta(g, whole(203), adadelta, v.copy(), np.full_like(g, 0.75), 1.0, 1.0, 0.25, False)
    with mpmath.workdps(40):
        for a, b, one, other in zip(g.tolist(), v.tolist(), adagrad.tolist(), adadelta.tolist(), strict=True):
            for value, divisor in (one, mpmath.sqrt(mpmath.mpf(a) ** 2 + b) + 0.25), (other, mpmath.sqrt(mpmath.mpf(b) + 0.25)):
                unit = float(np.spacing(dtype.type(abs(value))))
                assert abs(float(mpmath.mpf(value) + mpmath.mpf(a) / divisor)) <= UNITS[dtype.name] * unit


@modules
@pytest.mark.parametrize("size", [1, 3, 7, 15, 17, 31, 2047, 2049])
@pytest.mark.parametrize("name", UPDATES)
def test_the_last_elements_of_a_block_get_the_bits_of_the_others(
    module: Any, name: str, size: int, dtype: np.dtype, rng: np.random.Generator
) -> None:
    g, v = rng.normal(size=4096).astype(dtype), rng.uniform(0, 2, 4096).astype(dtype)
    expected = updated(module, name, g, v, 1e-3)[:size]
    np.testing.assert_array_equal(updated(module, name, g[:size].copy(), v[:size].copy(), 1e-3), expected)
