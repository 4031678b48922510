"""Sums over contiguous numbers, and whether all of them are finite.

Sums are accumulated in float64 whatever the dtype. The functions at the end add in the dtype itself: they bound numbers, or find
NaN and infinity.

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


cdef inline double quick_sum_of_absolutes(const real *x, Py_ssize_t size) noexcept nogil:
    """sum_i |x_i| in the dtype of x, of which it may be out of range."""
    cdef Py_ssize_t i = 0, width = lanes(x)
    even, odd = variable(x), variable(x)
    while i + 2 * width <= size:
        even.v = even.v + absolute(load(x + i))
        odd.v = odd.v + absolute(load(x + i + width))
        i += 2 * width
    while i < size:
        even.v = even.v + absolute(load_part(x + i, min(width, size - i)))
        i += width
    return total(even.v + odd.v)


cdef inline bint _all_finite(const real *x, Py_ssize_t size, bint stretched, double stretch) noexcept nogil:
    """Whether no number is NaN or infinite: 0 times each of them is then 0. ``stretched``, a literal: each times ``stretch``."""
    cdef Py_ssize_t i = 0, width = lanes(x)
    cdef real factor = <real> stretch
    zero, factors = zeros(x), spread(&factor)
    even, odd = variable(x), variable(x)
    while i + 2 * width <= size:
        a, b = load(x + i), load(x + i + width)
        if stretched:
            even.v, odd.v = even.v + (a * factors) * zero, odd.v + (b * factors) * zero
        else:
            even.v, odd.v = even.v + a * zero, odd.v + b * zero
        i += 2 * width
    while i < size:
        c = load_part(x + i, min(width, size - i))
        if stretched:
            even.v = even.v + (c * factors) * zero
        else:
            even.v = even.v + c * zero
        i += width
    return total(even.v + odd.v) == 0


cdef bint all_finite(const real *x, Py_ssize_t size) noexcept nogil:
    """Whether no number is NaN or infinite."""
    return _all_finite(x, size, False, 1)


cdef bint all_below(const real *x, Py_ssize_t size, double stretch) noexcept nogil:
    """Whether every number times ``stretch``, a power of two, is finite."""
    return _all_finite(x, size, True, stretch)
