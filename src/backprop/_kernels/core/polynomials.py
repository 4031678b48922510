"""Derive the polynomials of vmath.pxi: run this file to print them (it needs mpmath).

Each is the Chebyshev approximation that `mpmath.chebyfit` returns for the function and interval stated, one degree for each dtype.
Intervals reach a little beyond the arguments that occur. tests/test_polynomials.py compares the coefficients with those in
vmath.pxi.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import mpmath
from mpmath import mpf

mpmath.mp.dps = 60


class Polynomial(NamedTuple):
    """A function, and for float32 and float64 the interval and the number of coefficients that approximate it there."""

    name: str
    function: Callable[[mpf], mpf]
    float32: tuple[mpf, mpf, int]
    float64: tuple[mpf, mpf, int]

    def coefficients(self, dtype: str) -> list[mpf]:
        """Return the coefficients, that of the highest power first."""
        low, high, count = getattr(self, dtype)
        with warnings.catch_warnings():  # mpmath 1.4 asks for the ascending order, which earlier releases do not know
            warnings.simplefilter("ignore", DeprecationWarning)
            return list(mpmath.chebyfit(self.function, [low, high], count))


def _exp_tail(r: mpf) -> mpf:
    """(e^r - 1 - r) / r^2."""
    return mpf("0.5") if r == 0 else (mpmath.expm1(r) - r) / r**2


def _log1p_tail(w: mpf) -> mpf:
    """(2 atanh(s) - 2 s) / s^3 with w = s^2."""
    s = mpmath.sqrt(w)
    return mpf(2) / 3 if w < mpf(10) ** -30 else (2 * mpmath.atanh(s) - 2 * s) / s**3


def _normal_tail(t: mpf) -> mpf:
    """(y + 3.5) e^(y^2 / 2) P(Y > y) with t = (y - 3.5) / (y + 3.5)."""
    y = mpf("3.5") * (1 + t) / (1 - t)
    return (y + mpf("3.5")) * mpmath.exp(y * y / 2) * mpmath.erfc(y / mpmath.sqrt(2)) / 2


def _normal_center(w: mpf) -> mpf:
    """P(0 < Y <= x) / x with w = x^2."""
    x = mpmath.sqrt(w)
    return 1 / mpmath.sqrt(2 * mpmath.pi) if w < mpf(10) ** -40 else mpmath.erf(x / mpmath.sqrt(2)) / 2 / x


REDUCED = mpmath.log(2) / 2 * mpf("1.0001")  # |x - n log 2| is at most log(2) / 2
NINTH = mpf(1) / 9  # s = e / (2 + e) is at most 1 / 3 for e <= 1


def _tail_end(y: int) -> mpf:
    """Return t for the largest y of `_normal_tail`: beyond it P(Y > y) rounds to 0."""
    return (y - mpf("3.5")) / (y + mpf("3.5"))


POLYNOMIALS = [
    Polynomial("_exp_tail", _exp_tail, (-REDUCED, REDUCED, 5), (-REDUCED, REDUCED, 11)),
    Polynomial("_log1p_tail", _log1p_tail, (mpf(0), NINTH, 6), (mpf(0), NINTH, 12)),
    Polynomial("_normal_tail", _normal_tail, (mpf(-1), _tail_end(15), 10), (mpf(-1), _tail_end(40), 24)),
    Polynomial("_normal_center", _normal_center, (mpf(0), mpf(1), 6), (mpf(0), mpf(1), 10)),
]

if __name__ == "__main__":
    for polynomial in POLYNOMIALS:
        print(f"{polynomial.name}: {polynomial.function.__doc__}")
        for dtype in ("float32", "float64"):
            for coefficient in polynomial.coefficients(dtype):
                print(f"    {dtype}  {mpmath.nstr(coefficient, 17)}")
