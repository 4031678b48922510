"""The complementary error function, which NumPy lacks.

Rational approximations from W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23
(1969), with the coefficients of his program CALERF (netlib, specfun). Good to a few units in the last place of float64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def _coefficients(text: str) -> Float64:
    return np.array(text.split(), np.float64)


# The highest power first. erf(x) = x P(x^2) / Q(x^2) up to 0.46875;
_SMALL_P = _coefficients(
    "1.85777706184603153e-1 3.16112374387056560 1.13864154151050156e2 3.77485237685302021e2 3.20937758913846947e3"
)
_SMALL_Q = _coefficients("1 2.36012909523441209e1 2.44024637934444173e2 1.28261652607737228e3 2.84423683343917062e3")
# erfc(x) = e^(-x^2) P(x) / Q(x) up to 4;
_MIDDLE_P = _coefficients("""2.15311535474403846e-8 5.64188496988670089e-1 8.88314979438837594 6.61191906371416295e1
    2.98635138197400131e2 8.81952221241769090e2 1.71204761263407058e3 2.05107837782607147e3 1.23033935479799725e3""")
_MIDDLE_Q = _coefficients("""1 1.57449261107098347e1 1.17693950891312499e2 5.37181101862009858e2 1.62138957456669019e3
    3.29079923573345963e3 4.36261909014324716e3 3.43936767414372164e3 1.23033935480374942e3""")
# erfc(x) = e^(-x^2) / x (1 / sqrt(pi) - x^-2 P(x^-2) / Q(x^-2)) beyond.
_LARGE_P = _coefficients("""1.63153871373020978e-2 3.05326634961232344e-1 3.60344899949804439e-1
    1.25781726111229246e-1 1.60837851487422766e-2 6.58749161529837803e-4""")
_LARGE_Q = _coefficients("""1 2.56852019228982242 1.87295284992346725 5.27905102951428412e-1
    6.05183413124413191e-2 2.33520497626869185e-3""")


def erfc(x: npt.NDArray[np.floating]) -> Float64:
    """Return ``1 - erf(x)`` in float64, to full relative precision also where it is tiny.

    Examples
    --------
    >>> erfc(np.array([-np.inf, 0.0, 1.0, 10.0])).round(6).tolist()
    [2.0, 1.0, 0.157299, 0.0]
    """
    wide = x.astype(np.float64)
    size = np.abs(wide)
    beyond = _erfc_positive(np.clip(size, 0.46875, 30.0))
    return np.where(size <= 0.46875, 1 - _erf_small(np.clip(wide, -0.46875, 0.46875)), np.where(wide < 0, 2 - beyond, beyond))


def _erf_small(x: Float64) -> Float64:
    square = x * x
    return x * _polynomial(_SMALL_P, square) / _polynomial(_SMALL_Q, square)


def _erfc_positive(x: Float64) -> Float64:
    # x^2 is split so that its rounding does not show in the exponential: `near` has few enough bits to be squared exactly.
    near = np.trunc(x * 16) / 16
    tail = np.exp(-near * near) * np.exp(-(x - near) * (x + near))
    inverse = 1 / (x * x)
    large = (1 / np.sqrt(np.pi) - inverse * _polynomial(_LARGE_P, inverse) / _polynomial(_LARGE_Q, inverse)) / x
    return tail * np.where(x <= 4, _polynomial(_MIDDLE_P, x) / _polynomial(_MIDDLE_Q, x), large)


def _polynomial(coefficients: Float64, x: Float64) -> Float64:
    """Horner's rule."""
    total = np.zeros_like(x)
    for coefficient in coefficients:
        total = total * x + coefficient
    return total
