"""Activations and their derivatives.

`_value` and `_slope` are the table of formulas, over one vector; both are always called with a literal function, so that each
loop below holds one formula and no branch. Elementwise functions take blocks, a part of the columns of a matrix: dense.pxi
applies them to the piece of its product that is still in cache. softmax works on whole rows.

In the tails, arguments are clamped where the function has reached its limit, so that inf times 0 never arises.
"""

cdef enum Activation:
    IDENTITY
    RELU
    LEAKY_RELU
    ELU
    SELU
    GELU
    GELU_EXACT
    SILU
    MISH
    SIGMOID
    TANH
    SOFTPLUS
    SOFTSIGN
    HARDTANH
    RELU6
    SOFTMAX

ACTIVATIONS = {
    "identity": IDENTITY,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "selu": SELU,
    "gelu": GELU,
    "gelu_exact": GELU_EXACT,
    "silu": SILU,
    "mish": MISH,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "softplus": SOFTPLUS,
    "softsign": SOFTSIGN,
    "hardtanh": HARDTANH,
    "relu6": RELU6,
    "softmax": SOFTMAX,
}


cdef inline int activation_code(str activation) except -1:
    code = ACTIVATIONS.get(activation)
    if code is None:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    return code


cdef inline bint slope_needs_z(int f) noexcept nogil:
    """Whether the derivative is a formula of z; elsewhere a is enough."""
    return f == GELU or f == GELU_EXACT or f == SILU or f == MISH


# One vector.

cdef inline double _far(vector z) noexcept nogil:
    """e^-far is 0 in the type of z."""
    return 110 if vector is vfloat else 760


cdef inline vector _gelu_argument(vector z) noexcept nogil:
    """2 c (z + 0.044715 z^3) with c = sqrt(2 / pi): (1 + tanh u) / 2 is sigmoid(2 u), which keeps its digits in the left tail."""
    return z * (like(z, 1.5957691216057308) + like(z, 0.07135481627260025) * (z * z))


cdef inline vector _sigmoid_slope(vector z) noexcept nogil:
    """sigmoid'(z) = e / (1 + e)^2 with e = e^-|z|."""
    cdef vector one = like(z, 1), e = vexp_negative(-absolute(z)), inverse = one / (one + e)
    return e * inverse * inverse


cdef inline vector _value(int f, vector z, double alpha) noexcept nogil:
    """activation(z)."""
    cdef vector one = like(z, 1), zero = like(z, 0), e, w
    if f == RELU:
        return maximum(z, zero)
    elif f == LEAKY_RELU:
        return where_less(zero, z, z, like(z, alpha) * z)
    elif f == ELU:
        return where_less(z, zero, like(z, alpha) * vexpm1(z), z)
    elif f == SELU:
        return like(z, 1.0507009873554805) * where_less(z, zero, like(z, 1.6732632423543772) * vexpm1(z), z)
    elif f == GELU:
        z = maximum(z, like(z, -_far(z)))
        return z * vsigmoid(_gelu_argument(z))
    elif f == GELU_EXACT:
        z = maximum(z, like(z, -_far(z)))
        return z * vnormal_cdf(z)
    elif f == SILU:
        z = maximum(z, like(z, -_far(z)))
        return z * vsigmoid(z)
    elif f == MISH:  # tanh(softplus z) = w / (w + 2), w = (1 + e^z)^2 - 1
        z = maximum(z, like(z, -_far(z)))
        e = vexp(minimum(z, like(z, 20)))
        w = e * (e + like(z, 2))
        return z * (w / (w + like(z, 2)))
    elif f == SIGMOID:
        return vsigmoid(z)
    elif f == TANH:
        return vtanh(z)
    elif f == SOFTPLUS:
        return vsoftplus(z)
    elif f == SOFTSIGN:
        z = _clamp(z, -3.4e38 if vector is vfloat else -1.7e308, 3.4e38 if vector is vfloat else 1.7e308)
        return z / (one + absolute(z))
    elif f == HARDTANH:
        return _clamp(z, -1, 1)
    elif f == RELU6:
        return _clamp(z, 0, 6)
    else:
        return z


cdef inline vector _slope(int f, vector z, vector a, double alpha) noexcept nogil:
    """activation'(z); z is read only where `slope_needs_z`."""
    cdef vector one = like(a, 1), zero = like(a, 0), e, t, w
    if f == RELU:
        return where_less(zero, a, one, zero)
    elif f == LEAKY_RELU:
        return where_less(zero, a, one, like(a, alpha))
    elif f == ELU:
        return where_less(zero, a, one, a + like(a, alpha))
    elif f == SELU:
        return where_less(zero, a, like(a, 1.0507009873554805), a + like(a, 1.0507009873554805 * 1.6732632423543772))
    elif f == GELU:  # sigmoid(v) + z sigmoid'(v) v'
        z = _clamp(z, -_far(z), _far(z))
        t = _gelu_argument(z)
        w = z * (like(z, 1.5957691216057308) + like(z, 3 * 0.07135481627260025) * (z * z))
        return vsigmoid(t) + w * _sigmoid_slope(t)
    elif f == GELU_EXACT:
        z = _clamp(z, -_far(z), _far(z))
        return vnormal_cdf(z) + z * vnormal_density(z)
    elif f == SILU:  # sigmoid(z) + z sigmoid'(z)
        z = _clamp(z, -_far(z), _far(z))
        return vsigmoid(z) + z * _sigmoid_slope(z)
    elif f == MISH:  # t + z (1 - t^2) sigmoid(z),  t = w / (w + 2),  1 - t^2 = 4 (1 + e)^2 / (w + 2)^2
        z = _clamp(z, -_far(z), 20)
        e = vexp(z)
        w = e * (e + like(z, 2))
        t = one / (w + like(z, 2))
        return w * t + z * (like(z, 4) * e * (one + e) * t * t)
    elif f == SIGMOID:
        return a * (one - a)
    elif f == TANH:
        return one - a * a
    elif f == SOFTPLUS:
        return -vexpm1(-a)
    elif f == SOFTSIGN:
        return (one - absolute(a)) * (one - absolute(a))
    elif f == HARDTANH:
        return where_less(absolute(a), one, one, zero)
    elif f == RELU6:
        return where_less(zero, a, where_less(a, like(a, 6), one, zero), zero)
    else:
        return one


# Blocks of a matrix.

cdef inline void _forward(
    int f, double alpha, const real *z, real *a, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t stride
) noexcept nogil:
    cdef Py_ssize_t i, j, width = lanes(z)
    for i in range(rows):
        j = 0
        while j + width <= columns:
            store(a + j, _value(f, load(z + j), alpha))
            j += width
        if j < columns:
            store_part(a + j, columns - j, _value(f, load_part(z + j, columns - j), alpha))
        z += stride
        a += stride


cdef inline void _backward(
    int f, double alpha, const real *grad_a, const real *z, const real *a, real *delta, Py_ssize_t size
) noexcept nogil:
    cdef Py_ssize_t i = 0, width = lanes(a), rest
    while i + width <= size:
        store(delta + i, load(grad_a + i) * _slope(f, load(z + i), load(a + i), alpha))
        i += width
    rest = size - i
    if rest > 0:
        slope = _slope(f, load_part(z + i, rest), load_part(a + i, rest), alpha)
        store_part(delta + i, rest, load_part(grad_a + i, rest) * slope)


cdef void activation_block(
    int f, double alpha, const real *z, real *a, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t stride
) noexcept nogil:
    """a = activation(z) for a block of two matrices whose rows are ``stride`` apart; elementwise activations only."""
    if columns == stride:
        columns = rows * columns
        rows = 1
    if f == LEAKY_RELU and alpha == 0:  # -inf times 0 is not 0
        f = RELU
    if f == RELU:
        _forward(RELU, alpha, z, a, rows, columns, stride)
    elif f == LEAKY_RELU:
        _forward(LEAKY_RELU, alpha, z, a, rows, columns, stride)
    elif f == ELU:
        _forward(ELU, alpha, z, a, rows, columns, stride)
    elif f == SELU:
        _forward(SELU, alpha, z, a, rows, columns, stride)
    elif f == GELU:
        _forward(GELU, alpha, z, a, rows, columns, stride)
    elif f == GELU_EXACT:
        _forward(GELU_EXACT, alpha, z, a, rows, columns, stride)
    elif f == SILU:
        _forward(SILU, alpha, z, a, rows, columns, stride)
    elif f == MISH:
        _forward(MISH, alpha, z, a, rows, columns, stride)
    elif f == SIGMOID:
        _forward(SIGMOID, alpha, z, a, rows, columns, stride)
    elif f == TANH:
        _forward(TANH, alpha, z, a, rows, columns, stride)
    elif f == SOFTPLUS:
        _forward(SOFTPLUS, alpha, z, a, rows, columns, stride)
    elif f == SOFTSIGN:
        _forward(SOFTSIGN, alpha, z, a, rows, columns, stride)
    elif f == HARDTANH:
        _forward(HARDTANH, alpha, z, a, rows, columns, stride)
    elif f == RELU6:
        _forward(RELU6, alpha, z, a, rows, columns, stride)
    elif z != a:
        _forward(IDENTITY, alpha, z, a, rows, columns, stride)


cdef void softmax_rows(const real *z, real *a, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """a_ij = e^(z_ij - max_j z_ij) / (their sum)."""
    cdef Py_ssize_t i, j, width = lanes(z), rest = columns % lanes(z), whole = columns - columns % lanes(z)
    cdef real top
    for i in range(rows):
        tail = load_or(z + whole, rest, -INFINITY)  # e^-inf is 0: the lanes beyond the row count for nothing
        peak = variable(z)
        peak.v = tail
        j = 0
        while j < whole:
            peak.v = maximum(peak.v, load(z + j))
            j += width
        top = largest(peak.v)
        shift = spread(&top)
        last = variable(z)
        last.v = vexp_negative(tail - shift)
        sums = variable(z)
        sums.v = last.v
        j = 0
        while j < whole:
            store(a + j, vexp_negative(load(z + j) - shift))
            sums.v = sums.v + load(<const real *> a + j)
            j += width
        top = 1 / total(sums.v)
        scaling = spread(&top)
        j = 0
        while j < whole:
            store(a + j, load(<const real *> a + j) * scaling)
            j += width
        store_part(a + whole, rest, last.v * scaling)
        z += columns
        a += columns


cdef void softmax_backward_rows(
    const real *grad_a, const real *a, real *delta, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """delta_ij = a_ij (grad_a_ij - sum_j grad_a_ij a_ij)."""
    cdef Py_ssize_t i, j, width = lanes(a), rest = columns % lanes(a), whole = columns - columns % lanes(a)
    for i in range(rows):
        sums = variable(a)
        j = 0
        while j < whole:
            sums.v = sums.v + load(grad_a + j) * load(a + j)
            j += width
        if rest > 0:
            sums.v = sums.v + load_part(grad_a + j, rest) * load_part(a + j, rest)
        mean = like(sums.v, total(sums.v))
        j = 0
        while j < whole:
            store(delta + j, load(a + j) * (load(grad_a + j) - mean))
            j += width
        if rest > 0:
            store_part(delta + j, rest, load_part(a + j, rest) * (load_part(grad_a + j, rest) - mean))
        grad_a += columns
        a += columns
        delta += columns


# Shares of the work.

cdef void activation_forward_share(
    int f, double alpha, const real *z, real *a, Py_ssize_t rows, Py_ssize_t columns, int part, int parts
) noexcept nogil:
    cdef Py_ssize_t start, stop
    if f == SOFTMAX:
        start = share_start(rows, 1, part, parts)
        stop = share_start(rows, 1, part + 1, parts)
        softmax_rows(z + start * columns, a + start * columns, stop - start, columns)
    else:
        start = share_start(rows * columns, 64, part, parts)
        stop = share_start(rows * columns, 64, part + 1, parts)
        activation_block(f, alpha, z + start, a + start, 1, stop - start, stop - start)


cdef void activation_backward_share(
    int f, double alpha, const real *grad_a, const real *z, const real *a, real *delta,
    Py_ssize_t rows, Py_ssize_t columns, int part, int parts
) noexcept nogil:
    """delta = grad_a * activation'(z); z may be NULL where not `slope_needs_z`."""
    cdef Py_ssize_t start, stop, size
    if f == SOFTMAX:
        start = share_start(rows, 1, part, parts)
        stop = share_start(rows, 1, part + 1, parts)
        softmax_backward_rows(grad_a + start * columns, a + start * columns, delta + start * columns, stop - start, columns)
        return
    start = share_start(rows * columns, 64, part, parts)
    size = share_start(rows * columns, 64, part + 1, parts) - start
    if not slope_needs_z(f):
        z = a
    grad_a += start
    z += start
    a += start
    delta += start
    if f == IDENTITY:
        _backward(IDENTITY, alpha, grad_a, z, a, delta, size)
    elif f == RELU:
        _backward(RELU, alpha, grad_a, z, a, delta, size)
    elif f == LEAKY_RELU:
        _backward(LEAKY_RELU, alpha, grad_a, z, a, delta, size)
    elif f == ELU:
        _backward(ELU, alpha, grad_a, z, a, delta, size)
    elif f == SELU:
        _backward(SELU, alpha, grad_a, z, a, delta, size)
    elif f == GELU:
        _backward(GELU, alpha, grad_a, z, a, delta, size)
    elif f == GELU_EXACT:
        _backward(GELU_EXACT, alpha, grad_a, z, a, delta, size)
    elif f == SILU:
        _backward(SILU, alpha, grad_a, z, a, delta, size)
    elif f == MISH:
        _backward(MISH, alpha, grad_a, z, a, delta, size)
    elif f == SIGMOID:
        _backward(SIGMOID, alpha, grad_a, z, a, delta, size)
    elif f == TANH:
        _backward(TANH, alpha, grad_a, z, a, delta, size)
    elif f == SOFTPLUS:
        _backward(SOFTPLUS, alpha, grad_a, z, a, delta, size)
    elif f == SOFTSIGN:
        _backward(SOFTSIGN, alpha, grad_a, z, a, delta, size)
    elif f == HARDTANH:
        _backward(HARDTANH, alpha, grad_a, z, a, delta, size)
    elif f == RELU6:
        _backward(RELU6, alpha, grad_a, z, a, delta, size)


# Kernels.

cdef void activation_forward_kernel(const real[:, ::1] z, real[:, ::1] a, int f, double alpha) except *:
    """a = f(z)."""
    with nogil:
        activation_forward_share(f, alpha, read_2d(z), write_2d(a), z.shape[0], z.shape[1], 0, 1)


cdef void activation_backward_kernel(
    const real[:, ::1] grad_a, const real[:, ::1] z, const real[:, ::1] a, real[:, ::1] delta, int f, double alpha
) except *:
    """delta = grad_a * f'(z); z may be None where not `slope_needs_z`."""
    with nogil:
        activation_backward_share(
            f, alpha, read_2d(grad_a), read_2d(z), read_2d(a), write_2d(delta), a.shape[0], a.shape[1], 0, 1)


# Faces.

def activation_forward(z, a, str activation, double alpha):
    """The twin of `backprop._numpy.activations.activation_forward`."""
    cdef Arrays seen
    seen.count = 0
    cdef void *z_ = array_in(&seen, z, b"z", ANY, ANY)
    array_out(&seen, a, b"a", seen.rows, seen.columns, same=z_)
    cdef int f = activation_code(activation)
    if seen.dtype == cnp.NPY_FLOAT:
        activation_forward_kernel[float](z, a, f, alpha)
    else:
        activation_forward_kernel[double](z, a, f, alpha)


def activation_backward(grad_a, z, a, delta, str activation, double alpha):
    """The twin of `backprop._numpy.activations.activation_backward`."""
    cdef Arrays seen
    seen.count = 0
    cdef void *grad_a_ = array_in(&seen, grad_a, b"grad_a", ANY, ANY)
    cdef Py_ssize_t rows = seen.rows, columns = seen.columns
    cdef int f = activation_code(activation)
    if slope_needs_z(f):
        array_in(&seen, z, b"z", rows, columns)
    else:
        optional_in(&seen, z, b"z", rows, columns)
    array_in(&seen, a, b"a", rows, columns)
    array_out(&seen, delta, b"delta", rows, columns, same=grad_a_)
    if seen.dtype == cnp.NPY_FLOAT:
        activation_backward_kernel[float](grad_a, z, a, delta, f, alpha)
    else:
        activation_backward_kernel[double](grad_a, z, a, delta, f, alpha)
