"""Sums over contiguous numbers, accumulated in float64 whatever the dtype.

A sum in one variable is a chain of additions that no compiler may reorder, so they would run one at a time. One running sum for
each position modulo SUM_LANES makes independent chains: they form vectors, and the order of additions is the same on every machine.
"""

from libc.math cimport fabs

cdef enum:
    SUM_LANES = 32


cdef inline double fold(double *lane) noexcept nogil:
    """The sum of the running sums, halves onto halves."""
    cdef Py_ssize_t c, half = SUM_LANES // 2
    while half:
        for c in range(half):
            lane[c] += lane[c + half]
        half //= 2
    return lane[0]


cdef inline double sum_of(const real *x, Py_ssize_t n) noexcept nogil:
    """sum_i x_i."""
    cdef double lane[SUM_LANES]
    cdef double total = 0
    cdef Py_ssize_t c, b, blocks = n // SUM_LANES
    if blocks:
        for c in range(SUM_LANES):
            lane[c] = x[c]
        for b in range(1, blocks):
            for c in range(SUM_LANES):
                lane[c] += x[b * SUM_LANES + c]
        total = fold(lane)
    for c in range(blocks * SUM_LANES, n):
        total += x[c]
    return total


cdef inline double dot(const real *x, const real *y, Py_ssize_t n) noexcept nogil:
    """sum_i x_i y_i."""
    cdef double lane[SUM_LANES]
    cdef double total = 0
    cdef Py_ssize_t c, b, blocks = n // SUM_LANES
    if blocks:
        for c in range(SUM_LANES):
            lane[c] = <double> x[c] * y[c]
        for b in range(1, blocks):
            for c in range(SUM_LANES):
                lane[c] += <double> x[b * SUM_LANES + c] * y[b * SUM_LANES + c]
        total = fold(lane)
    for c in range(blocks * SUM_LANES, n):
        total += <double> x[c] * y[c]
    return total


cdef inline double sum_of_absolutes(const real *x, Py_ssize_t n) noexcept nogil:
    """sum_i |x_i|."""
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += fabs(x[i])
    return total
