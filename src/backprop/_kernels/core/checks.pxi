"""The checker that every face shares: nothing reaches a kernel that the contract does not allow.

A face declares its `Arrays`, then passes its arguments through `array_in` and `array_out` in the order of its signature. When all
are as they should be, it hands them to its kernel for their dtype, which takes views of them::

    cdef Arrays seen
    seen.count = 0
    array_in(&seen, x, b"x", ANY, ANY)                  # the first array sets the dtype for the others, and here n and p
    array_in(&seen, weight, b"weight", seen.columns, ANY)
    ...
    if seen.dtype == cnp.NPY_FLOAT:
        dense_forward_kernel[float](x, weight, ...)
    else:
        dense_forward_kernel[double](x, weight, ...)

Each check returns the address of the data: plans, which keep the arrays, work with addresses.

The first array may be float32 or float64; every other must be of that dtype (`typed_in`, `typed_out` take another one). A shape
is (rows, columns), or (rows,) with columns = FLAT; ANY admits every length, and `seen.rows`, `seen.columns` tell what came.
As outputs follow inputs in every signature, an output is compared with all arrays before it: it must not share memory with one,
save that it may be the very same array as ``same`` (an address, or NULL). The messages are those of the NumPy twin.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

ctypedef fused whole:
    int64_t
    Py_ssize_t

cdef enum:
    ANY = -1   # a length that may be anything
    FLAT = -2  # as columns: the array has one dimension
    MOST = 16  # arrays in one call

cdef struct Arrays:
    int dtype                # type number of the first array; NPY_FLOAT or NPY_DOUBLE
    int count
    Py_ssize_t rows          # shape of the array checked last
    Py_ssize_t columns
    const char *name[MOST]
    const char *start[MOST]
    const char *stop[MOST]


cdef inline void *array_in(Arrays *seen, object x, const char *name, Py_ssize_t rows, Py_ssize_t columns) except? NULL:
    """An input; None is refused."""
    return _checked(seen, x, name, rows, columns, -1, False, NULL)


cdef inline void *optional_in(Arrays *seen, object x, const char *name, Py_ssize_t rows, Py_ssize_t columns) except? NULL:
    """An input that may be None: then NULL."""
    return NULL if x is None else _checked(seen, x, name, rows, columns, -1, False, NULL)


cdef inline void *array_out(
    Arrays *seen, object x, const char *name, Py_ssize_t rows, Py_ssize_t columns, const void *same=NULL
) except? NULL:
    """An array that is written; it may be the array at ``same`` and shares no memory with the others."""
    return _checked(seen, x, name, rows, columns, -1, True, same)


cdef inline void *optional_out(
    Arrays *seen, object x, const char *name, Py_ssize_t rows, Py_ssize_t columns, const void *same=NULL
) except? NULL:
    return NULL if x is None else _checked(seen, x, name, rows, columns, -1, True, same)


cdef inline void *typed_in(
    Arrays *seen, object x, const char *name, Py_ssize_t rows, Py_ssize_t columns, int dtype
) except? NULL:
    """An input of another dtype than the first array's, by its type number (NPY_INT64 for labels)."""
    return _checked(seen, x, name, rows, columns, dtype, False, NULL)


cdef inline void *typed_out(
    Arrays *seen, object x, const char *name, Py_ssize_t rows, Py_ssize_t columns, int dtype
) except? NULL:
    """An array of another dtype that is written; it shares no memory with the others."""
    return _checked(seen, x, name, rows, columns, dtype, True, NULL)


cdef void *_checked(
    Arrays *seen, object x, const char *name, Py_ssize_t rows, Py_ssize_t columns, int dtype, bint written, const void *same
) except? NULL:
    cdef int i
    if not cnp.PyArray_Check(x):
        raise TypeError(f"{name.decode()} must be a NumPy array, got {type(x).__name__}")
    cdef cnp.ndarray array = <cnp.ndarray> x
    cdef int kind = cnp.PyArray_TYPE(array)
    if dtype < 0 and seen.count > 0:
        dtype = seen.dtype
    if kind != dtype and dtype >= 0 and cnp.PyArray_EquivTypenums(kind, dtype):  # `long long` beside `long`
        kind = dtype
    if not cnp.PyArray_ISNOTSWAPPED(array) or (kind != dtype if dtype >= 0 else kind != cnp.NPY_FLOAT and kind != cnp.NPY_DOUBLE):
        _refuse_dtype(seen, array, name, dtype)
    if not cnp.PyArray_IS_C_CONTIGUOUS(array) or not cnp.PyArray_ISALIGNED(array):
        raise ValueError(f"{name.decode()} must be C-contiguous and aligned")
    cdef cnp.npy_intp *shape = cnp.PyArray_DIMS(array)
    cdef int ndim = cnp.PyArray_NDIM(array)
    if (
        ndim != (1 if columns == FLAT else 2)
        or (rows != ANY and shape[0] != rows)
        or (columns >= 0 and shape[1] != columns)
    ):
        _refuse_shape(array, name, rows, columns)
    if written and not cnp.PyArray_ISWRITEABLE(array):
        raise ValueError(f"{name.decode()} must be writeable")
    cdef const char *start = <const char *> cnp.PyArray_DATA(array)
    cdef const char *stop = start + cnp.PyArray_NBYTES(array)
    if written:
        for i in range(seen.count):
            if start < seen.stop[i] and seen.start[i] < stop and start != stop and seen.start[i] != seen.stop[i] and not (
                <const void *> start == same and start == seen.start[i] and stop == seen.stop[i]
            ):
                raise ValueError(f"{name.decode()} must not overlap {seen.name[i].decode()}")
    if seen.count == 0:
        seen.dtype = kind
    seen.name[seen.count] = name
    seen.start[seen.count] = start
    seen.stop[seen.count] = stop
    seen.count += 1
    seen.rows = shape[0]
    seen.columns = shape[1] if ndim == 2 else 1
    return <void *> start


cdef void *structures_in(
    object given, object dtype, str wanted, const char *name, void *at_hand, size_t room, Py_ssize_t *count
) except NULL:
    """A copy of a 1-D array of structures, which stays as it is while it is checked and used.

    It lies at ``at_hand`` where the ``room`` there is enough, and else has to be freed. ``wanted`` is what messages call the dtype.
    """
    if not cnp.PyArray_Check(given):
        raise TypeError(f"{name.decode()} must be a NumPy array, got {type(given).__name__}")
    cdef cnp.ndarray array = <cnp.ndarray> given
    found = array.dtype
    if found is not dtype and found != dtype:  # comparing two equal structures takes 0.2 us
        raise TypeError(f"{name.decode()} must be {wanted}, got {found}")
    if not cnp.PyArray_IS_C_CONTIGUOUS(array) or not cnp.PyArray_ISALIGNED(array):
        raise ValueError(f"{name.decode()} must be C-contiguous and aligned")
    if cnp.PyArray_NDIM(array) != 1:
        raise ValueError(f"{name.decode()} must have shape (any,), got {given.shape}")
    cdef size_t size = cnp.PyArray_NBYTES(array)
    cdef void *copy = at_hand if size <= room and at_hand is not NULL else malloc(max(size, <size_t> 1))
    if copy is NULL:
        raise MemoryError
    memcpy(copy, cnp.PyArray_DATA(array), size)
    count[0] = cnp.PyArray_DIM(array, 0)
    return copy


cdef Py_ssize_t first_outside(const whole *numbers, Py_ssize_t n, Py_ssize_t limit) noexcept nogil:
    """Where the first of n numbers is that is not in [0, limit); n where there is none."""
    cdef Py_ssize_t i, outside = 0
    for i in range(n):
        outside |= <uint64_t> numbers[i] >= <uint64_t> limit
    if not outside:
        return n
    for i in range(n):
        if <uint64_t> numbers[i] >= <uint64_t> limit:
            return i
    return n  # another thread has written there meanwhile


# The address of a view's first number, NULL for None, for the loops that kernels and plans share. An empty array has one, too.

@cython.boundscheck(False)
cdef inline const real *read_1d(const real[::1] x) noexcept nogil:
    if x is None:
        return NULL
    return &x[0]


@cython.boundscheck(False)
cdef inline const real *read_2d(const real[:, ::1] x) noexcept nogil:
    if x is None:
        return NULL
    return &x[0, 0]


@cython.boundscheck(False)
cdef inline real *write_1d(real[::1] x) noexcept nogil:
    if x is None:
        return NULL
    return &x[0]


@cython.boundscheck(False)
cdef inline real *write_2d(real[:, ::1] x) noexcept nogil:
    if x is None:
        return NULL
    return &x[0, 0]


cdef int _refuse_dtype(Arrays *seen, cnp.ndarray array, const char *name, int dtype) except -1:
    if dtype < 0:
        raise TypeError(f"{name.decode()} must be float32 or float64, got {array.dtype}")
    wanted = cnp.PyArray_DescrFromType(dtype)
    like_first = f" like {seen.name[0].decode()}" if seen.count > 0 and dtype == seen.dtype else ""
    raise TypeError(f"{name.decode()} must be {wanted}{like_first}, got {array.dtype}")


cdef int _refuse_shape(cnp.ndarray array, const char *name, Py_ssize_t rows, Py_ssize_t columns) except -1:
    first = "any" if rows == ANY else str(rows)
    second = "" if columns == FLAT else " any" if columns == ANY else f" {columns}"
    raise ValueError(f"{name.decode()} must have shape ({first},{second}), got {(<object> array).shape}")
