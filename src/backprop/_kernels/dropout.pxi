"""Dropout.

The noise is a hash of (seed, step, layer, row, column), not a stream of random numbers: every element is known without the ones
before it, so rows can be split over any number of threads, the backward pass makes the mask again instead of keeping it, and the
NumPy twin draws the same mask. The hash works on 32-bit words, so that a vector of columns is hashed at once.

Like every kernel that a plan runs on several threads, the loop takes a share (part, parts): here of the rows.
"""

from libc.math cimport llrint
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset


cdef enum:
    GOLDEN = 0x9e3779b9  # 2^32 / golden ratio: spreads consecutive numbers over all 32 bits


cdef inline uint32_t mix(uint32_t h) noexcept nogil:
    """C. Wellons' "lowbias32" finalizer, https://nullprogram.com/blog/2018/07/31/."""
    h ^= h >> 16
    h *= <uint32_t> 0x7feb352d
    h ^= h >> 15
    h *= <uint32_t> 0x846ca68b
    h ^= h >> 16
    return h


cdef inline uint32_t absorb(uint32_t key, uint32_t word) noexcept nogil:
    return mix(key + word + <uint32_t> GOLDEN)


cdef uint32_t dropout_key(uint64_t seed, uint64_t step, uint32_t layer) noexcept nogil:
    """The part of the hash that all elements of one layer share in one step."""
    key = absorb(0, <uint32_t> seed)
    key = absorb(key, <uint32_t> (seed >> 32))
    key = absorb(key, <uint32_t> step)
    key = absorb(key, <uint32_t> (step >> 32))
    return absorb(key, layer)


cdef void dropout_rows(
    const real *x, real *y, double rate, uint32_t key, Py_ssize_t first_row, Py_ssize_t n, Py_ssize_t k, int part, int parts
) noexcept nogil:
    """y = x / (1 - rate) where the element's hash reaches round(rate 2^32), else 0; ``first_row``: the number of x's first row."""
    cdef uint64_t threshold = <uint64_t> llrint(rate * 4294967296.0)
    cdef uint32_t least = <uint32_t> threshold
    cdef real keep = <real> (1.0 / (1.0 - rate))
    cdef uint32_t row_key
    cdef Py_ssize_t i, j
    cdef Py_ssize_t first = share_start(n, 1, part, parts), last = share_start(n, 1, part + 1, parts)
    if threshold >> 32:  # a rate that rounds to 1 drops everything; as a 32-bit number its threshold would be 0
        memset(y + first * k, 0, (last - first) * k * sizeof(real))
        return
    for i in range(first, last):
        row_key = absorb(key, <uint32_t> (first_row + i))
        for j in range(k):
            y[i * k + j] = x[i * k + j] * keep if mix(row_key + <uint32_t> GOLDEN * <uint32_t> j) >= least else 0


cdef void dropout_kernel(const real[:, ::1] x, real[:, ::1] y, double rate, uint32_t key) except *:
    """`dropout_rows`, on this thread."""
    with nogil:
        dropout_rows(read_2d(x), write_2d(y), rate, key, 0, x.shape[0], x.shape[1], 0, 1)


def dropout(x, y, double rate, uint64_t seed, uint64_t step, uint32_t layer):
    """The twin of `backprop._numpy.dropout.dropout`."""
    cdef Arrays seen
    seen.count = 0
    cdef void *x_ = array_in(&seen, x, b"x", ANY, ANY)
    array_out(&seen, y, b"y", seen.rows, seen.columns, same=x_)
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1), got {rate}")
    cdef uint32_t key = dropout_key(seed, step, layer)
    if seen.dtype == cnp.NPY_FLOAT:
        dropout_kernel[float](x, y, rate, key)
    else:
        dropout_kernel[double](x, y, rate, key)
