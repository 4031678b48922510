"""Batch and layer normalization.

Both need the mean and the variance of many numbers that may lie far from zero. The textbook's E[x^2] - E[x]^2 cancels
catastrophically there, so: a first pass takes a rounded mean (the "centre"), a second one sums d = x - centre and d^2, and

    mean = centre + sum(d) / n          var = (sum(d^2) - sum(d)^2 / n) / n

(Chan, Golub and LeVeque 1983, the "corrected two-pass algorithm"). x - mean is then taken as (x - centre) - sum(d) / n, exact where
it matters. Sums are accumulated in float64.

Shares. Batch norm reduces over rows, so a share (part, parts) is a range of columns: a thread sees its columns through, from sums
to outputs, and needs neither partial sums nor a barrier. Layer norm reduces over columns, and a share is a range of rows; only its
grad_weight and grad_bias are sums over rows, made by `column_sums` on a share of the columns. Every sum runs in a fixed
order whatever the share, so results don't depend on the number of threads.

Columns are taken in strips whose sums fit on the stack; loops run along rows, where memory is contiguous and vectors form.
"""

from libc.math cimport sqrt

cdef enum:
    STRIP = 128  # columns summed at once
    COLUMN_ALIGN = 16  # shares of columns start at multiples: a cache line, and whole vectors, of either dtype


# Batch norm: columns.

cdef inline void strip_moments(
    const real *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t width, real *centre, real *offset, double *var
) noexcept nogil:
    """For ``width`` columns: their mean as centre + offset, and their biased variance."""
    cdef double total[STRIP]
    cdef double squares[STRIP]
    cdef double d
    cdef Py_ssize_t i, j
    for j in range(width):
        total[j] = 0
    for i in range(n):
        for j in range(width):
            total[j] += x[i * k + j]
    for j in range(width):
        centre[j] = <real> (total[j] / n)
        total[j] = 0
        squares[j] = 0
    for i in range(n):
        for j in range(width):
            d = x[i * k + j] - centre[j]
            total[j] += d
            squares[j] += d * d
    for j in range(width):
        offset[j] = <real> (total[j] / n)
        var[j] = (squares[j] - total[j] * total[j] / n) / n


cdef void batch_norm_forward_columns(
    const real *x, const real *weight, const real *bias, real *running_mean, real *running_var, real *x_hat, real *inv_std, real *y,
    double momentum, double eps, Py_ssize_t n, Py_ssize_t k, int part, int parts
) noexcept nogil:
    """x_hat = (x - mean) * inv_std; y = weight x_hat + bias; running += momentum (batch - running)."""
    cdef real centre[STRIP]
    cdef real offset[STRIP]
    cdef double var[STRIP]
    cdef Py_ssize_t i, j, c, width, strip
    cdef Py_ssize_t first = share_start(k, COLUMN_ALIGN, part, parts), last = share_start(k, COLUMN_ALIGN, part + 1, parts)
    cdef real h
    for strip in range((last - first + STRIP - 1) // STRIP):
        c = first + strip * STRIP
        width = min(STRIP, last - c)
        strip_moments(x + c, n, k, width, centre, offset, var)
        for j in range(width):
            running_mean[c + j] += <real> (momentum * (<double> centre[j] + offset[j] - running_mean[c + j]))
            running_var[c + j] += <real> (momentum * (var[j] * n / (n - 1) - running_var[c + j]))
            inv_std[c + j] = <real> (1 / sqrt(var[j] + eps))
        for i in range(n):
            for j in range(c, c + width):
                h = (x[i * k + j] - centre[j - c] - offset[j - c]) * inv_std[j]
                x_hat[i * k + j] = h
                y[i * k + j] = weight[j] * h + bias[j]


cdef void column_sums(
    const real *grad_y, const real *x_hat, real *grad_weight, real *grad_bias,
    Py_ssize_t n, Py_ssize_t k, int part, int parts
) noexcept nogil:
    """grad_weight = sum(grad_y x_hat); grad_bias = sum(grad_y): over the rows, for a share of the columns."""
    cdef double products[STRIP]
    cdef double total[STRIP]
    cdef double g
    cdef Py_ssize_t i, j, c, width, strip
    cdef Py_ssize_t first = share_start(k, COLUMN_ALIGN, part, parts), last = share_start(k, COLUMN_ALIGN, part + 1, parts)
    for strip in range((last - first + STRIP - 1) // STRIP):
        c = first + strip * STRIP
        width = min(STRIP, last - c)
        for j in range(width):
            products[j] = 0
            total[j] = 0
        for i in range(n):
            for j in range(width):
                g = grad_y[i * k + c + j]
                total[j] += g
                products[j] += g * x_hat[i * k + c + j]
        for j in range(width):
            grad_weight[c + j] = <real> products[j]
            grad_bias[c + j] = <real> total[j]


cdef void batch_norm_backward_columns(
    const real *grad_y, const real *x_hat, const real *weight, const real *inv_std,
    real *grad_weight, real *grad_bias, real *grad_x, Py_ssize_t n, Py_ssize_t k, int part, int parts
) noexcept nogil:
    """grad_x = weight inv_std (grad_y - mean(grad_y) - x_hat mean(grad_y x_hat))."""
    cdef Py_ssize_t i, j
    cdef Py_ssize_t first = share_start(k, COLUMN_ALIGN, part, parts), last = share_start(k, COLUMN_ALIGN, part + 1, parts)
    cdef real per_row = <real> (1.0 / n) if n else 0
    column_sums(grad_y, x_hat, grad_weight, grad_bias, n, k, part, parts)
    for i in range(n):
        for j in range(first, last):
            grad_x[i * k + j] = weight[j] * inv_std[j] * (
                grad_y[i * k + j] - grad_bias[j] * per_row - x_hat[i * k + j] * (grad_weight[j] * per_row)
            )


cdef void batch_norm_inference_columns(
    const real *x, const real *weight, const real *bias, const real *running_mean, const real *running_var, real *y,
    double eps, Py_ssize_t n, Py_ssize_t k, int part, int parts
) noexcept nogil:
    """y = weight (x - running_mean) / sqrt(running_var + eps) + bias."""
    cdef real factor[STRIP]
    cdef Py_ssize_t i, j, c, width, strip
    cdef Py_ssize_t first = share_start(k, COLUMN_ALIGN, part, parts), last = share_start(k, COLUMN_ALIGN, part + 1, parts)
    for strip in range((last - first + STRIP - 1) // STRIP):
        c = first + strip * STRIP
        width = min(STRIP, last - c)
        for j in range(width):
            factor[j] = <real> (weight[c + j] / sqrt(running_var[c + j] + eps))
        for i in range(n):
            for j in range(c, c + width):
                y[i * k + j] = (x[i * k + j] - running_mean[j]) * factor[j - c] + bias[j]


cdef void batch_norm_inference_backward_columns(
    const real *grad_y, const real *x, const real *weight, const real *running_mean, const real *running_var,
    real *grad_weight, real *grad_bias, real *grad_x,
    double eps, Py_ssize_t n, Py_ssize_t k, int part, int parts
) noexcept nogil:
    """grad_x = grad_y weight / sqrt(running_var + eps); grad_weight = sum(grad_y x_hat); grad_bias = sum(grad_y)."""
    cdef double products[STRIP]
    cdef double total[STRIP]
    cdef real factor[STRIP]
    cdef double inv_std
    cdef real g
    cdef Py_ssize_t i, j, c, width, strip
    cdef Py_ssize_t first = share_start(k, COLUMN_ALIGN, part, parts), last = share_start(k, COLUMN_ALIGN, part + 1, parts)
    for strip in range((last - first + STRIP - 1) // STRIP):
        c = first + strip * STRIP
        width = min(STRIP, last - c)
        for j in range(width):
            factor[j] = <real> (weight[c + j] / sqrt(running_var[c + j] + eps))
            products[j] = 0
            total[j] = 0
        for i in range(n):
            for j in range(c, c + width):
                g = grad_y[i * k + j]
                total[j - c] += g
                products[j - c] += <double> g * (x[i * k + j] - running_mean[j])
                grad_x[i * k + j] = g * factor[j - c]
        for j in range(width):
            inv_std = 1 / sqrt(running_var[c + j] + eps)
            grad_weight[c + j] = <real> (products[j] * inv_std)
            grad_bias[c + j] = <real> total[j]


# Layer norm: rows.

cdef void layer_norm_forward_rows(
    const real *x, const real *weight, const real *bias, real *x_hat, real *inv_std, real *y,
    double eps, Py_ssize_t n, Py_ssize_t k, int part, int parts
) noexcept nogil:
    """x_hat = (x - mean) * inv_std; y = weight x_hat + bias, with each row's mean and biased variance."""
    cdef real centre, offset, scale
    cdef double total, var
    cdef Py_ssize_t i, j
    for i in range(share_start(n, 1, part, parts), share_start(n, 1, part + 1, parts)):
        row, d, out = x + i * k, x_hat + i * k, y + i * k
        centre = <real> (sum_of(row, k) / k)
        for j in range(k):
            d[j] = row[j] - centre
        total = sum_of(d, k)
        var = (dot(d, d, k) - total * total / k) / k
        offset = <real> (total / k)
        scale = <real> (1 / sqrt(var + eps))
        for j in range(k):
            d[j] = (d[j] - offset) * scale
            out[j] = weight[j] * d[j] + bias[j]
        inv_std[i] = scale


cdef void layer_norm_backward_rows(
    const real *grad_y, const real *x_hat, const real *weight, const real *inv_std, real *grad_x,
    Py_ssize_t n, Py_ssize_t k, int part, int parts
) noexcept nogil:
    """g = grad_y weight; grad_x = inv_std (g - mean(g) - x_hat mean(g x_hat))."""
    cdef real mean, mean_product
    cdef Py_ssize_t i, j
    for i in range(share_start(n, 1, part, parts), share_start(n, 1, part + 1, parts)):
        g, h = grad_x + i * k, x_hat + i * k
        for j in range(k):
            g[j] = grad_y[i * k + j] * weight[j]
        mean = <real> (sum_of(g, k) / k)
        mean_product = <real> (dot(g, h, k) / k)
        for j in range(k):
            g[j] = inv_std[i] * (g[j] - mean - h[j] * mean_product)


# Kernels.

cdef void batch_norm_forward_kernel(
    const real[:, ::1] x, const real[::1] weight, const real[::1] bias, real[::1] running_mean, real[::1] running_var,
    real[:, ::1] x_hat, real[::1] inv_std, real[:, ::1] y, double momentum, double eps
) except *:
    """`batch_norm_forward_columns`, on this thread."""
    with nogil:
        batch_norm_forward_columns(
            read_2d(x), read_1d(weight), read_1d(bias), write_1d(running_mean), write_1d(running_var), write_2d(x_hat),
            write_1d(inv_std), write_2d(y), momentum, eps, x.shape[0], x.shape[1], 0, 1
        )


cdef void batch_norm_backward_kernel(
    const real[:, ::1] grad_y, const real[:, ::1] x_hat, const real[::1] weight, const real[::1] inv_std,
    real[::1] grad_weight, real[::1] grad_bias, real[:, ::1] grad_x
) except *:
    """`batch_norm_backward_columns`, on this thread."""
    with nogil:
        batch_norm_backward_columns(
            read_2d(grad_y), read_2d(x_hat), read_1d(weight), read_1d(inv_std), write_1d(grad_weight), write_1d(grad_bias),
            write_2d(grad_x), grad_y.shape[0], grad_y.shape[1], 0, 1
        )


cdef void batch_norm_inference_kernel(
    const real[:, ::1] x, const real[::1] weight, const real[::1] bias, const real[::1] running_mean,
    const real[::1] running_var, real[:, ::1] y, double eps
) except *:
    """`batch_norm_inference_columns`, on this thread."""
    with nogil:
        batch_norm_inference_columns(
            read_2d(x), read_1d(weight), read_1d(bias), read_1d(running_mean), read_1d(running_var), write_2d(y),
            eps, x.shape[0], x.shape[1], 0, 1
        )


cdef void batch_norm_inference_backward_kernel(
    const real[:, ::1] grad_y, const real[:, ::1] x, const real[::1] weight, const real[::1] running_mean,
    const real[::1] running_var, real[::1] grad_weight, real[::1] grad_bias, real[:, ::1] grad_x, double eps
) except *:
    """`batch_norm_inference_backward_columns`, on this thread."""
    with nogil:
        batch_norm_inference_backward_columns(
            read_2d(grad_y), read_2d(x), read_1d(weight), read_1d(running_mean), read_1d(running_var), write_1d(grad_weight),
            write_1d(grad_bias), write_2d(grad_x), eps, x.shape[0], x.shape[1], 0, 1
        )


cdef void layer_norm_forward_kernel(
    const real[:, ::1] x, const real[::1] weight, const real[::1] bias, real[:, ::1] x_hat, real[::1] inv_std,
    real[:, ::1] y, double eps
) except *:
    """`layer_norm_forward_rows`, on this thread."""
    with nogil:
        layer_norm_forward_rows(
            read_2d(x), read_1d(weight), read_1d(bias), write_2d(x_hat), write_1d(inv_std), write_2d(y),
            eps, x.shape[0], x.shape[1], 0, 1
        )


cdef void layer_norm_backward_kernel(
    const real[:, ::1] grad_y, const real[:, ::1] x_hat, const real[::1] weight, const real[::1] inv_std,
    real[::1] grad_weight, real[::1] grad_bias, real[:, ::1] grad_x
) except *:
    """`column_sums` and `layer_norm_backward_rows`, on this thread."""
    cdef Py_ssize_t n = grad_y.shape[0], k = grad_y.shape[1]
    with nogil:
        column_sums(read_2d(grad_y), read_2d(x_hat), write_1d(grad_weight), write_1d(grad_bias), n, k, 0, 1)
        layer_norm_backward_rows(
            read_2d(grad_y), read_2d(x_hat), read_1d(weight), read_1d(inv_std), write_2d(grad_x), n, k, 0, 1
        )


# Faces.

def batch_norm_forward(x, weight, bias, running_mean, running_var, x_hat, inv_std, y, double momentum, double eps):
    """The twin of `backprop._numpy.normalization.batch_norm_forward`."""
    cdef Arrays seen
    seen.count = 0
    array_in(&seen, x, b"x", ANY, ANY)
    cdef Py_ssize_t n = seen.rows, k = seen.columns
    array_in(&seen, weight, b"weight", k, FLAT)
    array_in(&seen, bias, b"bias", k, FLAT)
    array_out(&seen, running_mean, b"running_mean", k, FLAT)
    array_out(&seen, running_var, b"running_var", k, FLAT)
    array_out(&seen, x_hat, b"x_hat", n, k)
    array_out(&seen, inv_std, b"inv_std", k, FLAT)
    array_out(&seen, y, b"y", n, k)
    if n < 2:
        raise ValueError(f"x must have at least 2 rows, got {n}")
    if seen.dtype == cnp.NPY_FLOAT:
        batch_norm_forward_kernel[float](x, weight, bias, running_mean, running_var, x_hat, inv_std, y, momentum, eps)
    else:
        batch_norm_forward_kernel[double](x, weight, bias, running_mean, running_var, x_hat, inv_std, y, momentum, eps)


def batch_norm_backward(grad_y, x_hat, weight, inv_std, grad_weight, grad_bias, grad_x):
    """The twin of `backprop._numpy.normalization.batch_norm_backward`."""
    cdef Arrays seen
    seen.count = 0
    array_in(&seen, grad_y, b"grad_y", ANY, ANY)
    cdef Py_ssize_t n = seen.rows, k = seen.columns
    array_in(&seen, x_hat, b"x_hat", n, k)
    array_in(&seen, weight, b"weight", k, FLAT)
    array_in(&seen, inv_std, b"inv_std", k, FLAT)
    array_out(&seen, grad_weight, b"grad_weight", k, FLAT)
    array_out(&seen, grad_bias, b"grad_bias", k, FLAT)
    array_out(&seen, grad_x, b"grad_x", n, k)
    if seen.dtype == cnp.NPY_FLOAT:
        batch_norm_backward_kernel[float](grad_y, x_hat, weight, inv_std, grad_weight, grad_bias, grad_x)
    else:
        batch_norm_backward_kernel[double](grad_y, x_hat, weight, inv_std, grad_weight, grad_bias, grad_x)


def batch_norm_inference(x, weight, bias, running_mean, running_var, y, double eps):
    """The twin of `backprop._numpy.normalization.batch_norm_inference`."""
    cdef Arrays seen
    seen.count = 0
    array_in(&seen, x, b"x", ANY, ANY)
    cdef Py_ssize_t n = seen.rows, k = seen.columns
    array_in(&seen, weight, b"weight", k, FLAT)
    array_in(&seen, bias, b"bias", k, FLAT)
    array_in(&seen, running_mean, b"running_mean", k, FLAT)
    array_in(&seen, running_var, b"running_var", k, FLAT)
    array_out(&seen, y, b"y", n, k)
    if seen.dtype == cnp.NPY_FLOAT:
        batch_norm_inference_kernel[float](x, weight, bias, running_mean, running_var, y, eps)
    else:
        batch_norm_inference_kernel[double](x, weight, bias, running_mean, running_var, y, eps)


def batch_norm_inference_backward(grad_y, x, weight, running_mean, running_var, grad_weight, grad_bias, grad_x, double eps):
    """The twin of `backprop._numpy.normalization.batch_norm_inference_backward`."""
    cdef Arrays seen
    seen.count = 0
    array_in(&seen, grad_y, b"grad_y", ANY, ANY)
    cdef Py_ssize_t n = seen.rows, k = seen.columns
    array_in(&seen, x, b"x", n, k)
    array_in(&seen, weight, b"weight", k, FLAT)
    array_in(&seen, running_mean, b"running_mean", k, FLAT)
    array_in(&seen, running_var, b"running_var", k, FLAT)
    array_out(&seen, grad_weight, b"grad_weight", k, FLAT)
    array_out(&seen, grad_bias, b"grad_bias", k, FLAT)
    array_out(&seen, grad_x, b"grad_x", n, k)
    if seen.dtype == cnp.NPY_FLOAT:
        batch_norm_inference_backward_kernel[float](
            grad_y, x, weight, running_mean, running_var, grad_weight, grad_bias, grad_x, eps)
    else:
        batch_norm_inference_backward_kernel[double](
            grad_y, x, weight, running_mean, running_var, grad_weight, grad_bias, grad_x, eps)


def layer_norm_forward(x, weight, bias, x_hat, inv_std, y, double eps):
    """The twin of `backprop._numpy.normalization.layer_norm_forward`."""
    cdef Arrays seen
    seen.count = 0
    array_in(&seen, x, b"x", ANY, ANY)
    cdef Py_ssize_t n = seen.rows, k = seen.columns
    array_in(&seen, weight, b"weight", k, FLAT)
    array_in(&seen, bias, b"bias", k, FLAT)
    array_out(&seen, x_hat, b"x_hat", n, k)
    array_out(&seen, inv_std, b"inv_std", n, FLAT)
    array_out(&seen, y, b"y", n, k)
    if seen.dtype == cnp.NPY_FLOAT:
        layer_norm_forward_kernel[float](x, weight, bias, x_hat, inv_std, y, eps)
    else:
        layer_norm_forward_kernel[double](x, weight, bias, x_hat, inv_std, y, eps)


def layer_norm_backward(grad_y, x_hat, weight, inv_std, grad_weight, grad_bias, grad_x):
    """The twin of `backprop._numpy.normalization.layer_norm_backward`."""
    cdef Arrays seen
    seen.count = 0
    array_in(&seen, grad_y, b"grad_y", ANY, ANY)
    cdef Py_ssize_t n = seen.rows, k = seen.columns
    array_in(&seen, x_hat, b"x_hat", n, k)
    array_in(&seen, weight, b"weight", k, FLAT)
    array_in(&seen, inv_std, b"inv_std", n, FLAT)
    array_out(&seen, grad_weight, b"grad_weight", k, FLAT)
    array_out(&seen, grad_bias, b"grad_bias", k, FLAT)
    array_out(&seen, grad_x, b"grad_x", n, k)
    if seen.dtype == cnp.NPY_FLOAT:
        layer_norm_backward_kernel[float](grad_y, x_hat, weight, inv_std, grad_weight, grad_bias, grad_x)
    else:
        layer_norm_backward_kernel[double](grad_y, x_hat, weight, inv_std, grad_weight, grad_bias, grad_x)
