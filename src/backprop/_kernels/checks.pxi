"""The checker that every face shares: nothing reaches a kernel that the contract does not allow.

A face declares its `Arrays`, then passes its arguments through `array_in` and `array_out` in the order of its signature. Each
returns the address of the data, so checking and unpacking are one step::

    cdef Arrays seen
    seen.count = 0
    x = array_in(&seen, x_, b"x", ANY, ANY)            # the first array sets the dtype for the others, and here n and p
    w = array_in(&seen, weight, b"weight", seen.columns, ANY)

The first array may be float32 or float64; every other must be of that dtype (`typed_in`, `typed_out` take another one). A shape
is (rows, columns), or (rows,) with columns = FLAT; ANY admits every length, and `seen.rows`, `seen.columns` tell what came.
As outputs follow inputs in every signature, an output is compared with all arrays before it: it must not share memory with one,
save that it may be the very same array as ``same`` (an address, or NULL). The messages are those of the NumPy twin.
"""

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
