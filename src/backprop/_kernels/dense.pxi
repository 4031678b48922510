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
    """z = x @ weight + bias; a = f(z). z may be NULL.

    softmax needs whole rows: it is left to `softmax_rows` once all shares are done; until then z, or else a, holds its argument.
    """
    product_share(x, p, 1, weight, k, 1, bias, a if z is NULL else z, n, k, p,
                  IDENTITY if f == SOFTMAX else f, alpha, NULL if f == SOFTMAX else a, workspace, part, parts)


cdef void grad_weight_share(
    const real *x, const real *delta, real *grad_weight, Py_ssize_t n, Py_ssize_t p, Py_ssize_t k,
    real *workspace, int part, int parts
) noexcept nogil:
    """grad_weight = x.T @ delta."""
    product_share(x, 1, p, delta, k, 1, NULL, grad_weight, p, k, n, IDENTITY, 0, NULL, workspace, part, parts)


cdef void grad_x_share(
    const real *weight, const real *delta, real *grad_x, Py_ssize_t n, Py_ssize_t p, Py_ssize_t k,
    real *workspace, int part, int parts
) noexcept nogil:
    """grad_x = delta @ weight.T."""
    product_share(delta, k, 1, weight, 1, k, NULL, grad_x, n, p, k, IDENTITY, 0, NULL, workspace, part, parts)


cdef inline void _column_sums(
    int vectors, const real *matrix, real *sums, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t last
) noexcept nogil:
    """The sums of ``vectors`` (literal) times a vector of columns; even rows and odd rows apart, for two additions at a time."""
    cdef Py_ssize_t i, j, row, width = lanes(matrix)
    acc = blank(matrix)
    for i in range(2 * vectors):
        acc.v[i] = zeros(matrix)
    i = 0
    while i < rows:
        for row in range(2 if i + 1 < rows else 1):
            for j in range(vectors):
                if last == width:
                    acc.v[2 * j + row] = acc.v[2 * j + row] + load(matrix + (i + row) * columns + j * width)
                else:
                    acc.v[2 * j + row] = acc.v[2 * j + row] + load_part(matrix + (i + row) * columns + j * width, last)
        i += 2
    for j in range(vectors):
        store_part(sums + j * width, last, acc.v[2 * j] + acc.v[2 * j + 1])


cdef void column_sums_share(
    const real *matrix, real *sums, Py_ssize_t rows, Py_ssize_t columns, int part, int parts
) noexcept nogil:
    """sums_j = sum_i matrix_ij: grad_bias, from delta."""
    cdef Py_ssize_t j, width = lanes(matrix), stop = share_start(columns, 4 * width, part + 1, parts)
    j = share_start(columns, 4 * width, part, parts)
    if rows == 1:
        memcpy(sums + j, matrix + j, (stop - j) * sizeof(real))
        return
    while j < stop:
        if j + 4 * width <= stop:
            _column_sums(4, matrix + j, sums + j, rows, columns, width)
            j += 4 * width
        else:
            _column_sums(1, matrix + j, sums + j, rows, columns, min(width, stop - j))
            j += width


# Kernels.

cdef void dense_forward_kernel(
    const real[:, ::1] x, const real[:, ::1] weight, const real[::1] bias, real[:, ::1] z, real[:, ::1] a, int f, double alpha
) except *:
    """z = x @ weight + bias; a = f(z). bias and z may be None."""
    cdef Py_ssize_t n = x.shape[0], p = x.shape[1], k = weight.shape[1]
    cdef void *memory = dense_memory(n, p, k, sizeof(real))
    with nogil:
        dense_forward_share(
            read_2d(x), read_2d(weight), read_1d(bias), write_2d(z), write_2d(a), n, p, k, f, alpha,
            <real *> line_in(memory), 0, 1
        )
        if f == SOFTMAX:
            softmax_rows(write_2d(a) if z is None else write_2d(z), write_2d(a), n, k)
        free(memory)


cdef void dense_backward_kernel(
    const real[:, ::1] x, const real[:, ::1] weight, const real[:, ::1] delta, real[:, ::1] grad_weight, real[::1] grad_bias,
    real[:, ::1] grad_x
) except *:
    """The three gradients; those that are None are left out."""
    cdef Py_ssize_t n = x.shape[0], p = x.shape[1], k = weight.shape[1]
    cdef void *memory = dense_memory(n, p, k, sizeof(real))
    with nogil:
        workspace = <real *> line_in(memory)
        if grad_weight is not None:
            grad_weight_share(read_2d(x), read_2d(delta), write_2d(grad_weight), n, p, k, workspace, 0, 1)
        if grad_bias is not None:
            column_sums_share(read_2d(delta), write_1d(grad_bias), n, k, 0, 1)
        if grad_x is not None:
            grad_x_share(read_2d(weight), read_2d(delta), write_2d(grad_x), n, p, k, workspace, 0, 1)
        free(memory)


cdef void *dense_memory(Py_ssize_t n, Py_ssize_t p, Py_ssize_t k, size_t item) except NULL:
    """Memory for a workspace that begins at `line_in`."""
    cdef void *memory = malloc(64 + dense_workspace(n, p, k) * item)
    if memory is NULL:
        raise MemoryError
    return memory


cdef inline void *line_in(void *memory) noexcept nogil:
    """The first multiple of 64 bytes, the longest vector and a line of the cache."""
    return <void *> ((<size_t> memory + 63) // 64 * 64)


# Faces.

def dense_forward(x, weight, bias, z, a, str activation, double alpha):
    """The twin of `backprop._numpy.dense.dense_forward`."""
    cdef Arrays seen
    seen.count = 0
    array_in(&seen, x, b"x", ANY, ANY)
    cdef Py_ssize_t n = seen.rows
    array_in(&seen, weight, b"weight", seen.columns, ANY)
    cdef Py_ssize_t k = seen.columns
    optional_in(&seen, bias, b"bias", k, FLAT)
    optional_out(&seen, z, b"z", n, k)
    array_out(&seen, a, b"a", n, k)
    cdef int f = activation_code(activation)
    if seen.dtype == cnp.NPY_FLOAT:
        dense_forward_kernel[float](x, weight, bias, z, a, f, alpha)
    else:
        dense_forward_kernel[double](x, weight, bias, z, a, f, alpha)


def dense_backward(x, weight, delta, grad_weight, grad_bias, grad_x):
    """The twin of `backprop._numpy.dense.dense_backward`."""
    cdef Arrays seen
    seen.count = 0
    array_in(&seen, x, b"x", ANY, ANY)
    cdef Py_ssize_t n = seen.rows, p = seen.columns
    array_in(&seen, weight, b"weight", p, ANY)
    cdef Py_ssize_t k = seen.columns
    array_in(&seen, delta, b"delta", n, k)
    optional_out(&seen, grad_weight, b"grad_weight", p, k)
    optional_out(&seen, grad_bias, b"grad_bias", k, FLAT)
    optional_out(&seen, grad_x, b"grad_x", n, p)
    if seen.dtype == cnp.NPY_FLOAT:
        dense_backward_kernel[float](x, weight, delta, grad_weight, grad_bias, grad_x)
    else:
        dense_backward_kernel[double](x, weight, delta, grad_weight, grad_bias, grad_x)
