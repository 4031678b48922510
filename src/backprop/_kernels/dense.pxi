"""The dense layer: z = x @ weight + bias and a = activation(z), and its three gradients.

The functions that end in ``_share`` do part ``part`` of ``parts`` of the work; the shares are independent of each other, and the
three gradients too, so that nothing has to wait inside a layer. Shapes: x (n, p), weight (p, k), z, a, delta (n, k).
"""

from libc.stdlib cimport free, malloc


cdef Py_ssize_t dense_workspace(Py_ssize_t n, Py_ssize_t p, Py_ssize_t k) noexcept nogil:
    """Elements of workspace that each thread needs for the products of a layer, forward and backward."""
    return max(product_workspace(n, k, p), product_workspace(p, k, n), product_workspace(n, p, k))


cdef void dense_forward_share(
    const real *x, const real *weight, const real *bias, real *z, real *a, Py_ssize_t n, Py_ssize_t p, Py_ssize_t k,
    int f, double alpha, real *workspace, int part, int parts
) noexcept nogil:
    """z = x @ weight + bias; a = f(z). z may be NULL. softmax needs whole rows: it is left out here, z or else a holds its argument."""
    cdef real *target = a if z is NULL else z
    product_share(x, p, 1, weight, k, 1, bias, target, n, k, p, f == RELU and z is NULL, workspace, part, parts)
    if not (f == SOFTMAX or f == RELU and z is NULL):
        activation_forward_share(f, alpha, target, a, n, k, part, parts)


cdef void grad_weight_share(
    const real *x, const real *delta, real *grad_weight, Py_ssize_t n, Py_ssize_t p, Py_ssize_t k,
    real *workspace, int part, int parts
) noexcept nogil:
    """grad_weight = x.T @ delta."""
    product_share(x, 1, p, delta, k, 1, NULL, grad_weight, p, k, n, False, workspace, part, parts)


cdef void grad_x_share(
    const real *weight, const real *delta, real *grad_x, Py_ssize_t n, Py_ssize_t p, Py_ssize_t k,
    real *workspace, int part, int parts
) noexcept nogil:
    """grad_x = delta @ weight.T."""
    product_share(delta, k, 1, weight, 1, k, NULL, grad_x, n, p, k, False, workspace, part, parts)


cdef void column_sums_share(
    const real *matrix, real *sums, Py_ssize_t rows, Py_ssize_t columns, int part, int parts
) noexcept nogil:
    """sums_j = sum_i matrix_ij: grad_bias, from delta. Every column is summed by one thread, in order."""
    cdef Py_ssize_t i, j, width = lanes(matrix), stop = share_start(columns, 16, part + 1, parts)
    j = share_start(columns, 16, part, parts)
    while j < stop:
        acc = variable(matrix)
        if j + width <= stop:
            for i in range(rows):
                acc.v = acc.v + load(matrix + i * columns + j)
            store(sums + j, acc.v)
        else:
            for i in range(rows):
                acc.v = acc.v + load_part(matrix + i * columns + j, stop - j)
            store_part(sums + j, stop - j, acc.v)
        j += width


# --- faces ----------------------------------------------------------------------------------------------------------------------

cdef void _forward_arrays(
    const real *x, const real *weight, const real *bias, real *z, real *a, Py_ssize_t n, Py_ssize_t p, Py_ssize_t k,
    int f, double alpha, void *workspace
) noexcept nogil:
    dense_forward_share(x, weight, bias, z, a, n, p, k, f, alpha, <real *> workspace, 0, 1)
    if f == SOFTMAX:
        softmax_rows(a if z is NULL else z, a, n, k)


cdef void _backward_arrays(
    const real *x, const real *weight, const real *delta, real *grad_weight, real *grad_bias, real *grad_x,
    Py_ssize_t n, Py_ssize_t p, Py_ssize_t k, void *workspace
) noexcept nogil:
    if grad_weight is not NULL:
        grad_weight_share(x, delta, grad_weight, n, p, k, <real *> workspace, 0, 1)
    if grad_bias is not NULL:
        column_sums_share(delta, grad_bias, n, k, 0, 1)
    if grad_x is not NULL:
        grad_x_share(weight, delta, grad_x, n, p, k, <real *> workspace, 0, 1)


cdef void *_workspace(Py_ssize_t n, Py_ssize_t p, Py_ssize_t k, int dtype) except NULL:
    cdef void *memory = malloc(64 + dense_workspace(n, p, k) * (4 if dtype == cnp.NPY_FLOAT else 8))
    if memory is NULL:
        raise MemoryError
    return memory


def dense_forward(x, weight, bias, z, a, str activation, double alpha):
    """z = x @ weight + bias; a = activation(z)."""
    cdef Arrays seen
    seen.count = 0
    cdef void *x_ = array_in(&seen, x, b"x", ANY, ANY)
    cdef Py_ssize_t n = seen.rows, p = seen.columns
    cdef void *weight_ = array_in(&seen, weight, b"weight", p, ANY)
    cdef Py_ssize_t k = seen.columns
    cdef void *bias_ = optional_in(&seen, bias, b"bias", k, FLAT)
    cdef void *z_ = optional_out(&seen, z, b"z", n, k)
    cdef void *a_ = array_out(&seen, a, b"a", n, k)
    cdef int f = activation_code(activation)
    cdef void *workspace = _workspace(n, p, k, seen.dtype)
    with nogil:
        if seen.dtype == cnp.NPY_FLOAT:
            _forward_arrays[float](
                <float *> x_, <float *> weight_, <float *> bias_, <float *> z_, <float *> a_, n, p, k, f, alpha, workspace)
        else:
            _forward_arrays[double](
                <double *> x_, <double *> weight_, <double *> bias_, <double *> z_, <double *> a_, n, p, k, f, alpha, workspace)
        free(workspace)


def dense_backward(x, weight, delta, grad_weight, grad_bias, grad_x):
    """grad_weight = x.T @ delta; grad_bias = delta.sum(axis=0); grad_x = delta @ weight.T; each skipped when None."""
    cdef Arrays seen
    seen.count = 0
    cdef void *x_ = array_in(&seen, x, b"x", ANY, ANY)
    cdef Py_ssize_t n = seen.rows, p = seen.columns
    cdef void *weight_ = array_in(&seen, weight, b"weight", p, ANY)
    cdef Py_ssize_t k = seen.columns
    cdef void *delta_ = array_in(&seen, delta, b"delta", n, k)
    cdef void *grad_weight_ = optional_out(&seen, grad_weight, b"grad_weight", p, k)
    cdef void *grad_bias_ = optional_out(&seen, grad_bias, b"grad_bias", k, FLAT)
    cdef void *grad_x_ = optional_out(&seen, grad_x, b"grad_x", n, p)
    cdef void *workspace = _workspace(n, p, k, seen.dtype)
    with nogil:
        if seen.dtype == cnp.NPY_FLOAT:
            _backward_arrays[float](
                <float *> x_, <float *> weight_, <float *> delta_,
                <float *> grad_weight_, <float *> grad_bias_, <float *> grad_x_, n, p, k, workspace)
        else:
            _backward_arrays[double](
                <double *> x_, <double *> weight_, <double *> delta_,
                <double *> grad_weight_, <double *> grad_bias_, <double *> grad_x_, n, p, k, workspace)
        free(workspace)
