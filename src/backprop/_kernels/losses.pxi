"""Losses with their gradients.

A loss is sum_i w_i l_i / D over the rows, with D = sum_i |w_i| or what a training step divides by. Value and
gradient come from one pass over the outputs, in blocks that stay in the first-level cache:

    elementwise losses   LOSS_BLOCK elements, wherever rows begin and end
    losses of rows       as many whole rows as LOSS_BLOCK elements hold, at least one; for cross entropy with labels of few classes,
                         each lane of a vector holds another row, and no sum or maximum goes across lanes

A block writes its part of the sum to ``partial[block]`` and its gradient to ``grad``, or, where no gradient is asked for, to
``scratch``, which the blocks of a thread use in turn. Blocks depend on the shape only, and a share (part, parts) is a range of
blocks. So a loss on several threads is

    scale = loss_scale(...)                         from the weight of the rows, which one thread has summed
    loss_blocks(..., scale, ..., part, parts)       every thread its share
    (barrier)
    sum_of(partial, loss_block_count(...))          the partial sums, added in order

and bit for bit the loss on one thread.

``scale`` is 1 / D, and 1 / k of that where l_i is a mean. What a row counts, w_i scale, is formed in float64, so that weights
may be of any size. Squares, too, are formed in float64: those of float32 numbers overflow from 1.8e19 on.

Labels are compared with the number of classes where they are read, whatever has been checked before: they may lie in memory of the
caller, which another thread is writing. A label of no class counts as class 0, and `loss_blocks` says that there was one.

A row of weight 0 is absent, even if its loss is infinite or NaN: 0 times anything is 0. By the same rule an output
of -inf (a class that is masked out) costs nothing where its target is 0. Elsewhere NaN makes the loss NaN.
"""

from libc.math cimport INFINITY, pow
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef enum:
    LOSS_BLOCK = 512
    MOST_LANES = 16
    LANED_COLUMNS = 16  # columns up to which rows lie side by side in the lanes, or two vectors of them
    MOST_LANED_COLUMNS = 2 * MOST_LANES  # which is at most this

cdef enum Loss:
    CROSS_ENTROPY
    FOCAL  # up to here, targets are labels
    CROSS_ENTROPY_SOFT
    KL_DIVERGENCE  # up to here, of the softmax of a row
    GAUSSIAN
    NON_CROSSING_QUANTILES  # up to here, rows; from here on, elements
    HALF_MSE  # of the elements, a sum over the outputs; the others are means
    MSE
    HUBER  # up to here from HALF_MSE on, the loss of an element is a product of two numbers; up to MSE, a square
    MAE
    LOG_COSH
    POISSON
    GAMMA
    QUANTILE
    HINGE
    BINARY_FOCAL
    BINARY_CROSS_ENTROPY

cdef struct loss_t:
    int kind
    double parameter  # label_smoothing of the cross entropies, gamma of the focal losses, threshold of huber
    const void *column  # (k,) numbers like the outputs: pos_weight of binary_cross_entropy, q of the quantiles; or NULL


cdef inline bint takes_labels(int loss) noexcept nogil:
    """Whether targets are int64 labels (n,), and not numbers (n, k)."""
    return loss <= FOCAL


cdef inline bint takes_rows(int loss) noexcept nogil:
    """Whether the loss of a row is more than a sum over its outputs, so that blocks consist of whole rows."""
    return loss <= NON_CROSSING_QUANTILES


cdef inline bint is_mean(int loss) noexcept nogil:
    """Whether the loss of a row is a mean over its outputs, and not their sum."""
    return loss > HALF_MSE or loss == GAUSSIAN or loss == NON_CROSSING_QUANTILES


# Elementwise losses.

cdef inline vector _weighted(vector weight, vector x) noexcept nogil:
    """weight * x; 0 where weight is 0, whatever x."""
    return where_less(like(x, 0), absolute(weight), weight * x, weight)


cdef inline vector _sign(vector x) noexcept nogil:
    """-1, 0 or 1; NaN stays."""
    return where_less(like(x, 0), x, like(x, 1), where_less(x, like(x, 0), like(x, -1), x))


cdef inline vector _terms(
    int loss, vector o, vector t, vector column, double parameter, vector *slope, vector *other
) noexcept nogil:
    """The loss of each element of outputs ``o`` and targets ``t``, and its derivative by o. ``loss`` is a literal.

    Of MSE: what is to be squared. Of HUBER: one factor of the loss, the second being ``other``.
    """
    cdef vector zero = like(o, 0), one = like(o, 1), limit = like(o, parameter), d = o - t, size = absolute(d), u, s
    cdef vector p, q, positive, negative
    if loss == MSE:  # the 2 of the derivative is in `slope_factor`
        slope[0] = d
        return d
    elif loss == HUBER:  # d^2 / 2 or limit (|d| - limit / 2)
        slope[0] = minimum(maximum(d, -limit), limit)
        u = minimum(size, limit)
        other[0] = size - like(o, 0.5) * u
        return u
    elif loss == MAE:
        slope[0] = _sign(d)
        return size
    elif loss == LOG_COSH:  # near 0 log(1 + sinh^2 d) / 2 with sinh^2 = tanh^2 / (1 - tanh^2), else |d| - log 2 + log(1 + e^-2|d|)
        slope[0] = vtanh(d)
        s = slope[0] * slope[0]
        u = vlog1p(where_less(s, like(o, 0.5), s / (one - s), vexp_negative(-(size + size))))
        return where_less(s, like(o, 0.5), like(o, 0.5) * u, (size - like(o, 0.6931471805599453)) + u)
    elif loss == POISSON:
        u = vexp(o)
        slope[0] = u - t
        return u - _weighted(t, o)
    elif loss == GAMMA:
        u = t * vexp(-o)
        slope[0] = one - u
        return u + o
    elif loss == QUANTILE:  # -d is what the output falls short of
        slope[0] = where_less(d, zero, -column, where_less(zero, d, one - column, d))
        return where_less(d, zero, -column * d, (one - column) * d)
    elif loss == HINGE:
        s = t + t - one
        u = maximum(one - s * o, zero)
        slope[0] = -s * _sign(u)
        return u
    elif loss == BINARY_FOCAL:  # -q^gamma log p where t is 1, -p^gamma log q where it is 0; -log p = softplus(-o)
        u = vexp_negative(-absolute(o))
        s = vlog1p(u)
        positive = maximum(-o, zero) + s
        negative = maximum(o, zero) + s
        d = one / (one + u)
        p = where_less(o, zero, u * d, d)
        q = where_less(o, zero, d, u * d)
        s = vexp_negative(-limit * negative)  # q^gamma
        u = vexp_negative(-limit * positive)  # p^gamma
        slope[0] = _weighted(one - t, u * (limit * q * negative + p)) - _weighted(t, s * (limit * p * positive + q))
        return _weighted(t, s * positive) + _weighted(one - t, u * negative)
    else:  # binary cross entropy: -log sigmoid(o) = softplus(-o) = max(-o, 0) + log(1 + u), with u = e^-|o|
        u = vexp_negative(-absolute(o))
        s = vlog1p(u)
        column = column * t
        d = one / (one + u)  # sigmoid(|o|), and u d is sigmoid(-|o|)
        slope[0] = (one - t) * where_less(o, zero, u * d, d) - column * where_less(o, zero, d, u * d)
        return _weighted(column, maximum(-o, zero) + s) + _weighted(one - t, maximum(o, zero) + s)


cdef inline double slope_factor(int loss) noexcept nogil:
    """What the slopes of `_terms` have to be multiplied by to be derivatives."""
    return 2 if loss == MSE or loss == HALF_MSE else 1


cdef inline void _elements(
    int loss, const real *o, const real *t, const real *column, double parameter, real factor, real *value, real *second,
    real *grad, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i, at, width = lanes(o), rest = n % width, whole = n - rest
    slope, other, factors = variable(o), variable(o), spread(&factor)
    for i in range(n // width):
        at = i * width
        store(value + at, _terms(loss, load(o + at), load(t + at), load(column + at), parameter, &slope.v, &other.v))
        store(grad + at, factors * slope.v)
        if loss == HUBER:
            store(second + at, other.v)
    if rest:
        o, t, column = o + whole, t + whole, column + whole
        last = _terms(loss, load_part(o, rest), load_part(t, rest), load_part(column, rest), parameter, &slope.v, &other.v)
        store_part(value + whole, rest, last)
        store_part(grad + whole, rest, factors * slope.v)
        if loss == HUBER:
            store_part(second + whole, rest, other.v)


cdef void loss_elements(
    int loss, const real *o, const real *t, const real *column, double parameter, real factor, real *value, real *second,
    real *grad, Py_ssize_t n
) noexcept nogil:
    """The losses of n elements as `_terms` has them, and factor times their slopes."""
    if loss == MSE or loss == HALF_MSE:
        _elements(MSE, o, t, column, parameter, factor, value, second, grad, n)
    elif loss == HUBER:
        _elements(HUBER, o, t, column, parameter, factor, value, second, grad, n)
    elif loss == MAE:
        _elements(MAE, o, t, column, parameter, factor, value, second, grad, n)
    elif loss == LOG_COSH:
        _elements(LOG_COSH, o, t, column, parameter, factor, value, second, grad, n)
    elif loss == POISSON:
        _elements(POISSON, o, t, column, parameter, factor, value, second, grad, n)
    elif loss == GAMMA:
        _elements(GAMMA, o, t, column, parameter, factor, value, second, grad, n)
    elif loss == QUANTILE:
        _elements(QUANTILE, o, t, column, parameter, factor, value, second, grad, n)
    elif loss == HINGE:
        _elements(HINGE, o, t, column, parameter, factor, value, second, grad, n)
    elif loss == BINARY_FOCAL:
        _elements(BINARY_FOCAL, o, t, column, parameter, factor, value, second, grad, n)
    elif loss == BINARY_CROSS_ENTROPY:
        _elements(BINARY_CROSS_ENTROPY, o, t, column, parameter, factor, value, second, grad, n)


cdef double apply_weights(
    const real *sample_weight, double scale, double slopes, const real *value, const real *second, real *grad, Py_ssize_t k,
    Py_ssize_t start, Py_ssize_t count
) noexcept nogil:
    """Multiply the slopes of elements start to start + count by what their rows count times ``slopes``; return the sum of losses.

    ``second`` is NULL where ``value`` is the whole loss.
    """
    cdef Py_ssize_t i = 0, c, end, row = start // k, next_row = k - start % k
    cdef double share, sum_of_losses = 0
    cdef real factor
    while i < count:
        end = min(count, next_row)
        share = sample_weight[row] * scale
        factor = <real> (slopes * share)
        if share == 0:
            memset(grad + i, 0, (end - i) * sizeof(real))
        else:
            for c in range(i, end):
                grad[c] *= factor
            if second is NULL:
                sum_of_losses += share * sum_of(value + i, end - i)
            else:
                sum_of_losses += share * dot(value + i, second + i, end - i)
        i, row, next_row = end, row + 1, next_row + k
    return sum_of_losses


cdef void repeat_columns(const real *column, real *repeated, Py_ssize_t k, Py_ssize_t start, Py_ssize_t count) noexcept nogil:
    """The numbers of the columns of elements start to start + count; 1 where there are none."""
    cdef Py_ssize_t i, j = start % k
    for i in range(count):
        repeated[i] = 1 if column is NULL else column[j]
        j = 0 if j + 1 == k else j + 1


cdef double elementwise_block(
    const loss_t *loss, const real *outputs, const real *targets, const real *sample_weight, double scale, real *grad,
    Py_ssize_t k, Py_ssize_t start, Py_ssize_t count
) noexcept nogil:
    """What elements start to start + count add to the loss, and their gradient in ``grad[:count]``."""
    cdef real value[LOSS_BLOCK]
    cdef real column[LOSS_BLOCK]
    cdef real other[LOSS_BLOCK]
    cdef const real *second = NULL
    cdef double slopes = slope_factor(loss.kind)
    cdef real factor = <real> (slopes * scale) if sample_weight is NULL else 1
    if loss.kind == QUANTILE or loss.kind == BINARY_CROSS_ENTROPY:
        repeat_columns(<const real *> loss.column, column, k, start, count)
    loss_elements(loss.kind, outputs + start, targets + start, column, loss.parameter, factor, value, other, grad, count)
    if loss.kind == HUBER:
        second = <const real *> other
    elif loss.kind < HUBER:
        second = <const real *> value
    if sample_weight is not NULL:
        return apply_weights(sample_weight, scale, slopes, <const real *> value, second, grad, k, start, count)
    if second is not NULL:
        return scale * dot(<const real *> value, second, count)
    return scale * sum_of(<const real *> value, count)


# Cross entropies: l = -sum_j t_j log p_j with p = softmax(z), and dl/dz = sum(t) p - t.
#
# With shift = max(z) and e_j = e^(z_j - shift), at most 1, nothing overflows:
#
#     p_j = e_j / sum(e)          -log p_j = log sum(e) + shift - z_j
#
# And with excess = sum(e) - 1, a row that is nearly certain of its class loses no digits; where sum(e) < 1.5, one e is 1, and the
# excess is the sum of the others:
#
#     log sum(e) = log(1 + excess)          p_j - 1 = -excess / sum(e) where e_j = 1

cdef double CERTAIN = 1.5

cdef inline vector _log_sum(vector sum_e, vector excess) noexcept nogil:
    """log(1 + excess), which is log(sum_e)."""
    cdef vector half = like(excess, 0.5)
    return where_less(excess, half, vlog1p(minimum(excess, half)), vlog(sum_e))


cdef inline real shifted_exp(const real *z, real *e, real *sum_e, real *excess, const real *dead, Py_ssize_t k) noexcept nogil:
    """e = e^(z - max z) for a row of k, their sum and its excess; returns max z.

    ``dead``: a vector that is -inf in the lanes that the row's last vector has to spare, 0 before; and a vector of -inf.
    """
    cdef Py_ssize_t i, width = lanes(z), rest = k % width, whole = k - rest
    cdef real shift
    last, most, running = variable(z), variable(z), variable(z)
    last.v = load(dead + width)
    most.v = last.v
    if rest:
        last.v = load_part(z + whole, rest) + load(dead)
    for i in range(k // width):
        most.v = maximum(load(z + i * width), most.v)
    most.v = maximum(last.v, most.v)
    shift = largest(most.v)
    top = spread(&shift)
    for i in range(k // width):
        v = vexp_negative(load(z + i * width) - top)
        store(e + i * width, v)
        running.v = running.v + v
    if rest:
        v = vexp_negative(last.v - top)
        store_part(e + whole, rest, v)
        running.v = running.v + v
    sum_e[0] = total(running.v)
    excess[0] = sum_e[0] - 1
    if sum_e[0] < CERTAIN:
        excess[0] = sum_below_one(<const real *> e, k)
    return shift


cdef inline vector _below_one(vector e) noexcept nogil:
    """e where it is less than 1, else 0."""
    return where_less(e, like(e, 1), e, like(e, 0))


cdef inline real sum_below_one(const real *e, Py_ssize_t k) noexcept nogil:
    cdef Py_ssize_t i, width = lanes(e), rest = k % width
    running = variable(e)
    for i in range(k // width):
        running.v = running.v + _below_one(load(e + i * width))
    if rest:
        running.v = running.v + _below_one(load_part(e + k - rest, rest))
    return total(running.v)


cdef inline void multiply_subtract(const real *x, real factor, real constant, real *y, Py_ssize_t n) noexcept nogil:
    """y = x * factor - constant."""
    cdef Py_ssize_t i, rest = n % lanes(x), whole = n - rest
    factors, constants = spread(&factor), spread(&constant)
    for i in range(n // lanes(x)):
        store(y + i * lanes(x), load(x + i * lanes(x)) * factors - constants)
    if rest:
        store_part(y + whole, rest, load_part(x + whole, rest) * factors - constants)


cdef inline void log_all(const real *sum_e, const real *excess, real *y, Py_ssize_t n) noexcept nogil:
    """y = log sum_e."""
    cdef Py_ssize_t i, at, width = lanes(sum_e), rest = n % width, whole = n - rest
    for i in range(n // width):
        at = i * width
        store(y + at, _log_sum(load(sum_e + at), load(excess + at)))
    if rest:
        store_part(y + whole, rest, _log_sum(load_part(sum_e + whole, rest), load_part(excess + whole, rest)))


cdef inline double label_row(
    const real *z, Py_ssize_t label, double smoothing, real factor, real shift, const real *e, real sum_e, real excess,
    real log_sum_e, real *grad, Py_ssize_t k
) noexcept nogil:
    """-log p_label, and factor times the gradient for t = (1 - smoothing) onehot(label) + smoothing / k."""
    cdef real to_p = factor / sum_e, other = factor * <real> (smoothing / k), hit = factor * <real> (1 - smoothing)
    cdef real own = e[label] * to_p - other - hit
    if z[label] == shift:
        own = factor * <real> (smoothing - smoothing / k) - excess * to_p
    multiply_subtract(e, to_p, other, grad, k)
    grad[label] = own
    return log_sum_e + (<double> shift - z[label])


cdef inline double focal_row(
    const real *z, Py_ssize_t label, double gamma, real factor, real shift, const real *e, real sum_e, real excess,
    real log_sum_e, real *grad, Py_ssize_t k
) noexcept nogil:
    """-q^gamma log p with p = p_label and q = 1 - p, and factor times the gradient, which is -slope (p_j - t_j).

    slope = p dl/dp = gamma p (log p / q) q^gamma - q^gamma, in which log p / q goes to -1 with q to 0.
    """
    cdef double log_p = (<double> z[label] - shift) - log_sum_e, p = e[label] / sum_e, slope
    cdef double q = <double> excess / sum_e if z[label] == shift else 1 - p
    cdef double power = pow(q, gamma)
    slope = (gamma * p * (log_p / q if q > 0 else -1.0) * power if p > 0 else 0.0) - power
    multiply_subtract(e, <real> (-slope * factor / sum_e), <real> 0, grad, k)
    grad[label] = <real> (slope * factor * q)
    return -power * log_p


cdef inline vector _soft_term(bint relative, vector t, vector log_p) noexcept nogil:
    """-t log p, or t (log t - log p); `vlog` takes normal numbers."""
    if relative:
        least = like(t, 1.1754943508222875e-38 if vector is vfloat else 2.2250738585072014e-308)
        return _weighted(t, vlog(where_less(t, like(t, 0), t, maximum(t, least))) - log_p)
    return _weighted(t, -log_p)


cdef inline double soft_row(
    bint relative, const real *z, const real *target, double smoothing, real factor, real shift, const real *e, real sum_e,
    real excess, real log_sum_e, real *grad, Py_ssize_t k
) noexcept nogil:
    """-sum target log p, and factor times the gradient for t = (1 - smoothing) target + smoothing / k.

    ``relative``, a literal: plus sum target log target.
    """
    cdef real to_p, mass, beyond, keep = factor * <real> (1 - smoothing), other = factor * <real> (smoothing / k)
    cdef Py_ssize_t i, at, sure = 0 if sum_e < CERTAIN else k, width = lanes(z), rest = k % width, whole = k - rest
    shifts, logs = spread(&shift), spread(&log_sum_e)
    loss, masses = variable(z), variable(z)
    for i in range(k // width):
        t = load(target + i * width)
        masses.v = masses.v + t
        loss.v = loss.v + _soft_term(relative, t, load(z + i * width) - shifts - logs)
    if rest:
        t = load_part(target + whole, rest)
        masses.v = masses.v + t
        loss.v = loss.v + _soft_term(relative, t, load_part(z + whole, rest) - shifts - logs)
    mass = total(masses.v)
    to_p = (keep * mass + factor * <real> smoothing) / sum_e
    beyond = factor * <real> smoothing - excess * to_p  # where e = 1, e to_p = keep mass + beyond
    while sure < k and e[sure] != 1:  # before grad is written, which may lie where e lies
        sure += 1
    to_ps, keeps, others = spread(&to_p), spread(&keep), spread(&other)
    for i in range(k // width):
        at = i * width
        store(grad + at, load(e + at) * to_ps - load(target + at) * keeps - others)
    if rest:
        store_part(grad + whole, rest, load_part(e + whole, rest) * to_ps - load_part(target + whole, rest) * keeps - others)
    if sure < k:
        grad[sure] = (mass - target[sure]) * keep + beyond - other
    return total(loss.v)


cdef inline void to_columns(const real *rows, real *columns, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """columns[j] = rows[:n, j], one vector for each of k columns; n is at most its lanes."""
    cdef Py_ssize_t j = 0, width = lanes(rows)
    while j < k:
        if n == width and j + width <= k:
            _transpose(True, rows + j, k, width, width, columns + j * width, width)
        else:
            _transpose(False, rows + j, k, n, min(width, k - j), columns + j * width, width)
        j += width


cdef inline void to_rows(const real *columns, real *rows, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """The way back. ``rows`` has room for a vector more: last columns come first, and what they store too much is overwritten."""
    cdef Py_ssize_t width = lanes(columns), j = (k - 1) // lanes(columns) * lanes(columns)
    while j >= 0:
        if n == width and j + width <= k:
            _transpose(True, columns + j * width, width, width, width, rows + j, k)
        else:
            _transpose(False, columns + j * width, width, min(width, k - j), n, rows + j, k)
        j -= width


cdef inline Py_ssize_t class_of(const int64_t *label, Py_ssize_t k, bint *valid) noexcept nogil:
    """The label, read once; 0, and ``valid`` becomes False, where it is none of k classes."""
    cdef uint64_t read = <uint64_t> read_once(label)
    cdef bint inside = read < <uint64_t> k
    valid[0] &= inside
    return <Py_ssize_t> read if inside else 0


cdef double label_lanes(
    const real *z, const int64_t *label, const real *sample_weight, double smoothing, double scale, real *grad,
    Py_ssize_t k, Py_ssize_t rows, bint *valid
) noexcept nogil:
    """Return the loss of up to one row per vector lane, computed at once, and write the gradient.

    -log p_label, and scale times weight times p - t for t = (1 - smoothing) onehot(label) + smoothing / k.
    """
    cdef real columns[MOST_LANED_COLUMNS * MOST_LANES]
    cdef real gradient[(MOST_LANED_COLUMNS + 1) * MOST_LANES]
    cdef real factor[MOST_LANES]
    cdef real log_sum[MOST_LANES]  # and what it is in a row: log sum(e), max z, mean z
    cdef real shift[MOST_LANES]
    cdef real mean[MOST_LANES]
    cdef real short[MOST_LANES]  # factor times (1 - p) of the largest
    cdef Py_ssize_t i, j, own, width = lanes(z)
    cdef double sum_of_losses = 0, weight = 1, row_loss
    cdef real smooth = <real> (smoothing - smoothing / k), hit = <real> (1 - smoothing)
    to_columns(z, columns, rows, k)
    most, sum_z, sum_e, rest = variable(z), variable(z), variable(z), variable(z)
    most.v = load(<const real *> columns)
    for j in range(k):
        column = load(<const real *> columns + j * width)
        most.v = maximum(column, most.v)
        sum_z.v = sum_z.v + column
    for j in range(k):
        e = vexp_negative(load(<const real *> columns + j * width) - most.v)
        store(columns + j * width, e)
        sum_e.v = sum_e.v + e
        rest.v = rest.v + _below_one(e)
    excess = where_less(sum_e.v, like(sum_e.v, CERTAIN), rest.v, sum_e.v - like(sum_e.v, 1))
    store(log_sum, _log_sum(sum_e.v, excess))
    store(shift, most.v)
    store(mean, sum_z.v / like(sum_z.v, k))
    for i in range(width):
        factor[i] = 0 if i >= rows else <real> scale if sample_weight is NULL else <real> (sample_weight[i] * scale)
    to_p = load(<const real *> factor) / sum_e.v
    store(short, excess * to_p)
    other = load(<const real *> factor) * like(to_p, smoothing / k)
    for j in range(k):
        store(columns + j * width, load(<const real *> columns + j * width) * to_p - other)
    to_rows(columns, gradient, rows, k)
    memcpy(grad, gradient, rows * k * sizeof(real))
    for i in range(rows):
        own = class_of(label + i, k, valid)
        if sample_weight is not NULL:
            weight = sample_weight[i]
        if weight == 0:
            memset(grad, 0, k * sizeof(real))
        else:
            if z[own] == shift[i]:
                grad[own] = factor[i] * smooth - short[i]
            else:
                grad[own] -= factor[i] * hit
            row_loss = log_sum[i] + (<double> shift[i] - z[own])
            if smoothing != 0:  # the share of uniform targets, whose loss is the mean of -log p
                row_loss = (1 - smoothing) * row_loss + smoothing * (log_sum[i] + (<double> shift[i] - mean[i]))
            sum_of_losses += weight * scale * row_loss
        z, grad = z + k, grad + k
    return sum_of_losses


cdef double cross_entropy_block(
    const loss_t *loss, const real *z, const void *targets, const real *sample_weight, double scale, real *grad,
    Py_ssize_t k, Py_ssize_t start, Py_ssize_t rows, bint *valid
) noexcept nogil:
    """What rows start to start + rows add to the loss, and their gradient in ``grad[:rows * k]``.

    ``valid`` becomes False where a label is none of the k classes.
    """
    cdef real shift[LOSS_BLOCK]
    cdef real sum_e[LOSS_BLOCK]
    cdef real excess[LOSS_BLOCK]
    cdef real log_sum_e[LOSS_BLOCK]
    cdef real dead[2 * MOST_LANES]
    cdef real small_e[LOSS_BLOCK]
    cdef real *e = grad
    cdef const int64_t *label = <const int64_t *> targets + start
    cdef const real *target = <const real *> targets + start * k
    cdef double sum_of_losses = 0, weight = 1, smoothing = 0 if loss.kind == FOCAL else loss.parameter, row_loss
    cdef real factor
    cdef Py_ssize_t i, hit = 0
    if loss.kind == CROSS_ENTROPY and k <= max(<Py_ssize_t> LANED_COLUMNS, 2 * lanes(z)):
        i = 0
        while i < rows:
            sum_of_losses += label_lanes(
                z + (start + i) * k, label + i, NULL if sample_weight is NULL else sample_weight + start + i,
                smoothing, scale, grad + i * k, k, min(lanes(z), rows - i), valid)
            i += lanes(z)
        return sum_of_losses
    if k <= LOSS_BLOCK:  # a gradient written over its e would make the load of the next row's e wait
        e = small_e
    z += start * k
    for i in range(lanes(z)):
        dead[i] = 0 if i < k % lanes(z) else -<real> INFINITY
        dead[lanes(z) + i] = -<real> INFINITY
    for i in range(rows):
        shift[i] = shifted_exp(z + i * k, e + i * k, sum_e + i, excess + i, dead, k)
    log_all(sum_e, excess, log_sum_e, rows)
    for i in range(rows):
        if takes_labels(loss.kind):
            hit = class_of(label + i, k, valid)
        if sample_weight is not NULL:
            weight = sample_weight[start + i]
        factor = <real> (weight * scale)
        if weight == 0:
            memset(grad, 0, k * sizeof(real))
            row_loss = 0
        elif loss.kind == CROSS_ENTROPY:
            row_loss = label_row(z, hit, smoothing, factor, shift[i], e, sum_e[i], excess[i], log_sum_e[i], grad, k)
        elif loss.kind == FOCAL:
            row_loss = focal_row(z, hit, loss.parameter, factor, shift[i], e, sum_e[i], excess[i], log_sum_e[i], grad, k)
        elif loss.kind == CROSS_ENTROPY_SOFT:
            row_loss = soft_row(False, z, target, smoothing, factor, shift[i], e, sum_e[i], excess[i], log_sum_e[i], grad, k)
        else:
            row_loss = soft_row(True, z, target, 0, factor, shift[i], e, sum_e[i], excess[i], log_sum_e[i], grad, k)
        if smoothing != 0 and weight != 0:  # the share of uniform targets, whose loss is the mean of -log p
            row_loss = (1 - smoothing) * row_loss + smoothing * (log_sum_e[i] + (shift[i] - sum_of(z, k) / k))
        sum_of_losses += weight * scale * row_loss
        z, e, grad, target = z + k, e + k, grad + k, target + k
    return sum_of_losses


# Gaussian: the first m of k = 2 m outputs are means, the others s = log(variance), and the loss of a row is
#
#     mean_j (s_j + d_j^2 e^-s_j) / 2 over m, which is sum_j (s_j + d_j^2 e^-s_j) / k,  with d = output - target

cdef inline vector _gaussian(vector d, vector s, vector *slope, vector *slope_of_s) noexcept nogil:
    """s + d^2 e^-s, and its derivatives by d and by s."""
    cdef vector scaled = d * vexp(-s), square = d * scaled
    slope[0] = scaled + scaled
    slope_of_s[0] = like(s, 1) - square
    return s + square


cdef inline double gaussian_row(const real *o, const real *t, real factor, real *grad, Py_ssize_t k) noexcept nogil:
    """The sum over the outputs of a row, and factor times its gradient. The second half of the targets repeats the first."""
    cdef Py_ssize_t i, at, m = k // 2, width = lanes(o), rest = m % width, whole = m - rest
    cdef double loss = 0
    factors, slope, slope_of_s = spread(&factor), variable(o), variable(o)
    for i in range(m // width):
        at = i * width
        loss += total(_gaussian(load(o + at) - load(t + at), load(o + m + at), &slope.v, &slope_of_s.v))
        store(grad + at, factors * slope.v)
        store(grad + m + at, factors * slope_of_s.v)
    if rest:
        last = _gaussian(
            load_part(o + whole, rest) - load_part(t + whole, rest), load_part(o + m + whole, rest), &slope.v, &slope_of_s.v
        )
        store_part(grad + whole, rest, factors * slope.v)
        store_part(grad + m + whole, rest, factors * slope_of_s.v)
        loss += total(last)
    if k % 2:  # the checks of a face refuse that; a plan that was made by hand gets here
        grad[k - 1] = 0
    return loss


# Quantiles that do not cross: output 0 is the lowest quantile Q_0, and each other one is what softplus makes a step up,
#
#     Q_j = Q_{j-1} + softplus(o_j)
#
# With s_j the slope of the pinball loss at Q_j, the derivative by o_i is sum_{j >= i} s_j, times sigmoid(o_i) where i > 0.

cdef inline void _softplus_and_slope(const real *o, real *y, real *slope, Py_ssize_t n) noexcept nogil:
    """y = softplus(o), and its derivative sigmoid(o)."""
    cdef Py_ssize_t i, at, count, width = lanes(o)
    for i in range((n + width - 1) // width):
        at = i * width
        count = min(width, n - at)
        v = load_part(o + at, count)
        u = vexp_negative(-absolute(v))
        share = like(v, 1) / (like(v, 1) + u)
        store_part(y + at, count, maximum(v, like(v, 0)) + vlog1p(u))
        store_part(slope + at, count, where_less(v, like(v, 0), u * share, share))


cdef double quantiles_row(const real *o, const real *t, const real *q, real factor, real *grad, Py_ssize_t k) noexcept nogil:
    """The sum over the quantiles of a row, and factor times its gradient. ``q`` may be NULL: then they are all 1."""
    cdef real step[LOSS_BLOCK]
    cdef real slope[LOSS_BLOCK]
    cdef real level = o[0], d, share = 1, tail = 0
    cdef double loss = 0
    cdef Py_ssize_t first, j, chunks = (k + LOSS_BLOCK - 1) // LOSS_BLOCK, chunk
    for chunk in range(chunks):
        first = chunk * LOSS_BLOCK
        _softplus_and_slope(o + first, step, slope, min(<Py_ssize_t> LOSS_BLOCK, k - first))
        for j in range(first, min(first + LOSS_BLOCK, k)):
            if j:
                level += step[j - first]
            if q is not NULL:
                share = q[j]
            d = level - t[j]
            grad[j] = -share if d < 0 else 1 - share if d > 0 else d
            loss += -share * d if d < 0 else (1 - share) * d
    for chunk in range(chunks - 1, -1, -1):
        first = chunk * LOSS_BLOCK
        if chunk < chunks - 1:
            _softplus_and_slope(o + first, step, slope, LOSS_BLOCK)
        for j in range(min(first + LOSS_BLOCK, k) - 1, first - 1, -1):
            tail += grad[j]
            grad[j] = factor * (tail * slope[j - first] if j else tail)
    return loss


cdef double output_rows_block(
    const loss_t *loss, const real *outputs, const real *targets, const real *sample_weight, double scale, real *grad,
    Py_ssize_t k, Py_ssize_t start, Py_ssize_t rows
) noexcept nogil:
    """What rows start to start + rows add to the loss, and their gradient in ``grad[:rows * k]``."""
    cdef double sum_of_losses = 0, weight = 1
    cdef const real *o = outputs + start * k
    cdef const real *t = targets + start * k
    cdef real factor
    cdef Py_ssize_t i
    for i in range(rows if k else 0):
        if sample_weight is not NULL:
            weight = sample_weight[start + i]
        factor = <real> (weight * scale)
        if weight == 0:
            memset(grad, 0, k * sizeof(real))
        elif loss.kind == GAUSSIAN:
            sum_of_losses += weight * scale * gaussian_row(o, t, factor, grad, k)
        else:
            sum_of_losses += weight * scale * quantiles_row(o, t, <const real *> loss.column, factor, grad, k)
        o, t, grad = o + k, t + k, grad + k
    return sum_of_losses


# A loss in three calls.

cdef Py_ssize_t block_rows(const loss_t *loss, Py_ssize_t k) noexcept nogil:
    """How many rows a block of a loss of rows has; 0 for elementwise losses, whose blocks don't end with rows."""
    return max(<Py_ssize_t> 1, LOSS_BLOCK // max(<Py_ssize_t> 1, k)) if takes_rows(loss.kind) else 0


cdef Py_ssize_t loss_block_count(const loss_t *loss, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """The length of ``partial``."""
    cdef Py_ssize_t rows = block_rows(loss, k)
    return (n + rows - 1) // rows if rows else (n * k + LOSS_BLOCK - 1) // LOSS_BLOCK


cdef Py_ssize_t loss_scratch_size(Py_ssize_t k) noexcept nogil:
    """The length of ``scratch``."""
    return max(<Py_ssize_t> LOSS_BLOCK, k)


cdef inline double weight_of(const real *sample_weight, Py_ssize_t n) noexcept nogil:
    """sum_i |w_i|."""
    return n if sample_weight is NULL else sum_of_absolutes(sample_weight, n)


cdef inline double loss_scale(const loss_t *loss, double divisor, Py_ssize_t k) noexcept nogil:
    """The factor of the weighted sum of what `loss_blocks` adds up: 1 / divisor, and 1 / k of that where l_i is a mean."""
    if is_mean(loss.kind):
        divisor *= k
    elif loss.kind == HALF_MSE:
        divisor *= 2
    return 1 / divisor if divisor != 0 else 0


cdef bint loss_blocks(
    const loss_t *loss, const real *outputs, const void *targets, const real *sample_weight, double scale,
    real *grad, real *scratch, double *partial, Py_ssize_t n, Py_ssize_t k, int part, int parts
) noexcept nogil:
    """The partial sums of the loss and the gradient of a share of the blocks; False where a label is none of the k classes.

    ``targets`` are int64 labels for CROSS_ENTROPY and FOCAL, else numbers like the outputs. ``grad`` may be NULL; only then
    ``scratch`` is used, one for each thread.
    """
    cdef bint valid = True
    cdef Py_ssize_t b, start, count, rows = block_rows(loss, k), blocks = loss_block_count(loss, n, k)
    cdef real *out = scratch
    for b in range(share_start(blocks, 1, part, parts), share_start(blocks, 1, part + 1, parts)):
        if rows:
            start = b * rows
            if grad is not NULL:
                out = grad + start * k
            count = min(rows, n - start)
            if loss.kind <= KL_DIVERGENCE:
                partial[b] = cross_entropy_block(loss, outputs, targets, sample_weight, scale, out, k, start, count, &valid)
            else:
                partial[b] = output_rows_block(
                    loss, outputs, <const real *> targets, sample_weight, scale, out, k, start, count)
        else:
            start = b * LOSS_BLOCK
            if grad is not NULL:
                out = grad + start
            count = min(<Py_ssize_t> LOSS_BLOCK, n * k - start)
            partial[b] = elementwise_block(loss, outputs, <const real *> targets, sample_weight, scale, out, k, start, count)
    return valid


# Kernels.

cdef double loss_kernel(
    int kind, double parameter, const real[:, ::1] outputs, const real[:, ::1] targets, const int64_t[::1] labels,
    const real[::1] sample_weight, const real[::1] column, real[:, ::1] grad
) except? -1:
    """A loss of targets or of labels, the other being None, and its gradient; ``column`` is that of `loss_t`."""
    cdef loss_t loss = [kind, parameter, read_1d(column)]
    cdef Py_ssize_t n = outputs.shape[0], k = outputs.shape[1], wrong
    cdef const void *given = read_2d(targets)
    if labels is not None and n > 0:
        given = &labels[0]
        wrong = first_outside(&labels[0], n, k)
        if wrong < n:
            raise ValueError(f"labels must be in [0, {k}), got {labels[wrong]} in row {wrong}")
    return whole_loss(&loss, read_2d(outputs), given, read_1d(sample_weight), write_2d(grad), n, k)


cdef double whole_loss(
    const loss_t *loss, const real *outputs, const void *targets, const real *sample_weight, real *grad, Py_ssize_t n, Py_ssize_t k
) except? -1:
    """All blocks, on this thread."""
    cdef Py_ssize_t blocks = loss_block_count(loss, n, k)
    cdef double *partial = <double *> malloc(blocks * sizeof(double) + loss_scratch_size(k) * sizeof(real))
    cdef double scale, value
    cdef bint valid
    if partial is NULL:
        raise MemoryError
    with nogil:
        scale = loss_scale(loss, weight_of(sample_weight, n), k)
        valid = loss_blocks(loss, outputs, targets, sample_weight, scale, grad, <real *> (partial + blocks), partial, n, k, 0, 1)
        value = sum_of(<const double *> partial, blocks)
    free(partial)
    if not valid:
        raise ValueError(f"labels must be in [0, {k}), and they changed while the loss was computed")
    return value


# Faces.

cdef double _loss(
    int kind, object outputs, object targets, object sample_weight, object column, object grad, double parameter
) except? -1:
    """Check the arguments of a face and run it."""
    cdef bint logits = kind <= KL_DIVERGENCE or kind >= BINARY_FOCAL
    cdef Arrays seen
    seen.count = 0
    array_in(&seen, outputs, b"logits" if logits else b"outputs", ANY, ANY)
    cdef Py_ssize_t n = seen.rows, k = seen.columns
    if takes_labels(kind):
        typed_in(&seen, targets, b"labels", n, FLAT, cnp.NPY_INT64)
    else:
        array_in(&seen, targets, b"targets", n, k)
    optional_in(&seen, sample_weight, b"sample_weight", n, FLAT)
    if kind == QUANTILE or kind == NON_CROSSING_QUANTILES:
        array_in(&seen, column, b"q", k, FLAT)
    else:
        optional_in(&seen, column, b"pos_weight", k, FLAT)
    optional_out(&seen, grad, b"grad_logits" if logits else b"grad_outputs", n, k)
    if kind == GAUSSIAN and k % 2:
        raise ValueError(f"outputs must have two columns for each target, a mean and a log-variance, got {k}")
    labels = targets if takes_labels(kind) else None
    targets = None if takes_labels(kind) else targets
    if seen.dtype == cnp.NPY_FLOAT:
        return loss_kernel[float](kind, parameter, outputs, targets, labels, sample_weight, column, grad)
    return loss_kernel[double](kind, parameter, outputs, targets, labels, sample_weight, column, grad)


def cross_entropy(logits, labels, sample_weight, grad_logits, double label_smoothing):
    """The twin of `backprop._numpy.losses.cross_entropy`."""
    return _loss(CROSS_ENTROPY, logits, labels, sample_weight, None, grad_logits, label_smoothing)


def cross_entropy_soft(logits, targets, sample_weight, grad_logits, double label_smoothing):
    """The twin of `backprop._numpy.losses.cross_entropy_soft`."""
    return _loss(CROSS_ENTROPY_SOFT, logits, targets, sample_weight, None, grad_logits, label_smoothing)


def kl_divergence(logits, targets, sample_weight, grad_logits):
    """The twin of `backprop._numpy.losses.kl_divergence`."""
    return _loss(KL_DIVERGENCE, logits, targets, sample_weight, None, grad_logits, 0)


def binary_cross_entropy(logits, targets, sample_weight, pos_weight, grad_logits):
    """The twin of `backprop._numpy.losses.binary_cross_entropy`."""
    return _loss(BINARY_CROSS_ENTROPY, logits, targets, sample_weight, pos_weight, grad_logits, 0)


def focal(logits, labels, sample_weight, grad_logits, double gamma):
    """The twin of `backprop._numpy.losses.focal`."""
    return _loss(FOCAL, logits, labels, sample_weight, None, grad_logits, gamma)


def binary_focal(logits, targets, sample_weight, grad_logits, double gamma):
    """The twin of `backprop._numpy.losses.binary_focal`."""
    return _loss(BINARY_FOCAL, logits, targets, sample_weight, None, grad_logits, gamma)


def mse(outputs, targets, sample_weight, grad_outputs):
    """The twin of `backprop._numpy.losses.mse`."""
    return _loss(MSE, outputs, targets, sample_weight, None, grad_outputs, 0)


def half_mse(outputs, targets, sample_weight, grad_outputs):
    """The twin of `backprop._numpy.losses.half_mse`."""
    return _loss(HALF_MSE, outputs, targets, sample_weight, None, grad_outputs, 0)


def mae(outputs, targets, sample_weight, grad_outputs):
    """The twin of `backprop._numpy.losses.mae`."""
    return _loss(MAE, outputs, targets, sample_weight, None, grad_outputs, 0)


def huber(outputs, targets, sample_weight, grad_outputs, double threshold):
    """The twin of `backprop._numpy.losses.huber`."""
    return _loss(HUBER, outputs, targets, sample_weight, None, grad_outputs, threshold)


def log_cosh(outputs, targets, sample_weight, grad_outputs):
    """The twin of `backprop._numpy.losses.log_cosh`."""
    return _loss(LOG_COSH, outputs, targets, sample_weight, None, grad_outputs, 0)


def poisson(outputs, targets, sample_weight, grad_outputs):
    """The twin of `backprop._numpy.losses.poisson`."""
    return _loss(POISSON, outputs, targets, sample_weight, None, grad_outputs, 0)


def gamma(outputs, targets, sample_weight, grad_outputs):
    """The twin of `backprop._numpy.losses.gamma`."""
    return _loss(GAMMA, outputs, targets, sample_weight, None, grad_outputs, 0)


def gaussian(outputs, targets, sample_weight, grad_outputs):
    """The twin of `backprop._numpy.losses.gaussian`."""
    return _loss(GAUSSIAN, outputs, targets, sample_weight, None, grad_outputs, 0)


def non_crossing_quantiles(outputs, targets, sample_weight, q, grad_outputs):
    """The twin of `backprop._numpy.losses.non_crossing_quantiles`."""
    return _loss(NON_CROSSING_QUANTILES, outputs, targets, sample_weight, q, grad_outputs, 0)


def quantile(outputs, targets, sample_weight, q, grad_outputs):
    """The twin of `backprop._numpy.losses.quantile`."""
    return _loss(QUANTILE, outputs, targets, sample_weight, q, grad_outputs, 0)


def hinge(outputs, targets, sample_weight, grad_outputs):
    """The twin of `backprop._numpy.losses.hinge`."""
    return _loss(HINGE, outputs, targets, sample_weight, None, grad_outputs, 0)


LOSSES = {
    "cross_entropy": CROSS_ENTROPY,
    "cross_entropy_soft": CROSS_ENTROPY_SOFT,
    "kl_divergence": KL_DIVERGENCE,
    "focal": FOCAL,
    "half_mse": HALF_MSE,
    "mse": MSE,
    "mae": MAE,
    "huber": HUBER,
    "log_cosh": LOG_COSH,
    "poisson": POISSON,
    "gamma": GAMMA,
    "gaussian": GAUSSIAN,
    "quantile": QUANTILE,
    "non_crossing_quantiles": NON_CROSSING_QUANTILES,
    "hinge": HINGE,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "binary_focal": BINARY_FOCAL,
}
