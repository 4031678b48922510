"""Gradient norms, clipping, and one update for each optimizer, over spans of the flat parameter buffer.

A span is cut into blocks of SPAN_BLOCK parameters, from its own start. A block stays in the first-level cache, so that decay can be
a step of its own, the same for every optimizer, and yet memory is read once:

    decay    param *= 1 - lr weight_decay when decoupled, else g = grad + weight_decay param; then g += l1 sign(param)
    update   the optimizer's formula, of g

Where there is no decay, g is the gradient itself. A share (part, parts) is a range of the blocks of all spans; blocks don't depend
on the number of threads, and neither do results. `squared_norm_blocks` writes one number a block, for `sum_of` to add when all
threads are done.

The scalars of a step live in an `update_t`, which the faces below, or a plan, fill for `update_blocks`. Factors such as 1 - beta
are formed in float64 and cast once.
"""

from libc.math cimport fabs, fabsf, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from backprop._types import SPAN

cdef enum:
    SPAN_BLOCK = 2048
    SPANS_AT_HAND = 8  # up to this number, spans need no memory from the allocator

cdef enum Optimizer:
    SGD
    RMSPROP
    ADAGRAD
    ADADELTA
    ADAM
    ADAMAX
    NADAM
    RADAM
    LION
    RPROP

cdef struct span_t:  # the layout of kernels.SPAN
    Py_ssize_t offset
    Py_ssize_t length
    double lr
    double weight_decay
    double l1

cdef struct update_t:  # one step; an optimizer reads those numbers that its formula names
    int kind
    void *state[3]  # the moments, in the order of the kernel's arguments; NULL for those it does without
    bint decoupled
    bint nesterov
    bint first
    double lr
    double momentum
    double dampening
    double alpha
    double rho
    double beta1
    double beta2
    double eps
    double bias1
    double bias2
    double grad_factor
    double m_factor
    double rectification
    double eta_minus
    double eta_plus
    double step_min
    double step_max


# Scalars.

cdef inline real magnitude(real x) noexcept nogil:
    if real is float:
        return fabsf(x)
    else:
        return fabs(x)


cdef inline real sign(real x) noexcept nogil:
    """-1, 0 or 1; NaN stays."""
    return 1 if x > 0 else (-1 if x < 0 else x)


cdef inline real bounded(real x, real limit) noexcept nogil:
    """min(max(x, -limit), limit); NaN stays."""
    return limit if x > limit else (-limit if x < -limit else x)


# Walking over the blocks of a share.

cdef struct walk_t:
    const span_t *span  # the block's span
    Py_ssize_t start  # its first parameter
    Py_ssize_t count  # its length
    Py_ssize_t block  # its number among the blocks of all spans
    Py_ssize_t end  # the number behind the share's last block
    Py_ssize_t in_span  # its number within the span


cdef inline Py_ssize_t blocks_of(const span_t *span) noexcept nogil:
    return (span.length + SPAN_BLOCK - 1) // SPAN_BLOCK


cdef Py_ssize_t span_block_count(const span_t *spans, Py_ssize_t n_spans) noexcept nogil:
    """How many blocks all spans have."""
    cdef Py_ssize_t s, blocks = 0
    for s in range(n_spans):
        blocks += blocks_of(&spans[s])
    return blocks


cdef walk_t walk(const span_t *spans, Py_ssize_t n_spans, int part, int parts) noexcept nogil:
    """Stand before the first block of a share."""
    cdef walk_t w
    cdef Py_ssize_t blocks = span_block_count(spans, n_spans)
    w.span = spans
    w.block = share_start(blocks, 1, part, parts) - 1
    w.end = share_start(blocks, 1, part + 1, parts)
    w.in_span = w.block
    w.start = 0
    w.count = 0
    return w


cdef inline bint next_block(walk_t *w) noexcept nogil:
    w.block += 1
    w.in_span += 1
    if w.block >= w.end:
        return False
    while w.in_span >= blocks_of(w.span):
        w.in_span -= blocks_of(w.span)
        w.span += 1
    w.start = w.span.offset + w.in_span * SPAN_BLOCK
    w.count = min(<Py_ssize_t> SPAN_BLOCK, w.span.length - w.in_span * SPAN_BLOCK)
    return True


# Norms and clipping.

cdef void squared_norm_blocks(
    const real *grad, const span_t *spans, Py_ssize_t n_spans, double *partial, int part, int parts
) noexcept nogil:
    """The sum of squares of each block; ``partial`` has `span_block_count` entries."""
    cdef walk_t w = walk(spans, n_spans, part, parts)
    while next_block(&w):
        partial[w.block] = dot(grad + w.start, grad + w.start, w.count)


cdef void penalty_blocks(
    const span_t *spans, Py_ssize_t n_spans, const real *param, double share, real *grad, double *partial, int part, int parts
) noexcept nogil:
    """grad += share param; ``partial`` is as in `squared_norm_blocks`, of param."""
    cdef walk_t w = walk(spans, n_spans, part, parts)
    cdef real factor = <real> share
    cdef Py_ssize_t i
    while next_block(&w):
        partial[w.block] = dot(param + w.start, param + w.start, w.count)
        for i in range(w.start, w.start + w.count):
            grad[i] += factor * param[i]


cdef void scale_blocks(
    const span_t *spans, Py_ssize_t n_spans, real *grad, double factor, int part, int parts
) noexcept nogil:
    cdef walk_t w = walk(spans, n_spans, part, parts)
    cdef Py_ssize_t i
    while next_block(&w):
        for i in range(w.start, w.start + w.count):
            grad[i] *= <real> factor


cdef void clip_value_blocks(
    const span_t *spans, Py_ssize_t n_spans, real *grad, double limit, int part, int parts
) noexcept nogil:
    cdef walk_t w = walk(spans, n_spans, part, parts)
    cdef Py_ssize_t i
    while next_block(&w):
        for i in range(w.start, w.start + w.count):
            grad[i] = bounded(grad[i], <real> limit)


# The update of one block: g the gradient with decay in it, n parameters.
#
# A loop reads and writes each number once, with local names between: reading again what was just stored would wait for the store.

cdef void sgd_block(const update_t *u, double lr, const real *g, real *param, real *velocity, Py_ssize_t n) noexcept nogil:
    cdef real step = <real> lr, momentum = <real> u.momentum, fresh = <real> (1 - u.dampening)
    cdef Py_ssize_t i
    if velocity is NULL:
        for i in range(n):
            param[i] -= step * g[i]
        return
    if u.first:
        memcpy(velocity, g, n * sizeof(real))
    else:
        for i in range(n):
            velocity[i] = momentum * velocity[i] + fresh * g[i]
    if u.nesterov:
        for i in range(n):
            param[i] -= step * (g[i] + momentum * velocity[i])
    else:
        for i in range(n):
            param[i] -= step * velocity[i]


# Those that divide by the size of the gradients go through a block vector by vector: one formula serves whole vectors and the last
# part, so that bits do not depend on where a block ends.

cdef inline bint divides_quickly(real eps, real unbias) noexcept nogil:
    """Whether eps + unbias root(v) is in the range of a quick `quotient` for every v.

    The root of a float is 0, in [2^-75, 2^64], infinite or NaN; in float64 there is more room on both sides.
    """
    cdef double least = 1.1754943508222875e-38 if real is float else 2.2250738585072014e-308
    cdef double most = 4e37 if real is float else 2e307
    return (eps == 0 or least <= eps <= most) and 1 <= unbias <= 2.0**60


cdef inline vector toward(vector mean, vector x, vector fresh) noexcept nogil:
    """A running mean moved by the share ``fresh`` towards x."""
    return multiply_add(fresh, x - mean, mean)


cdef inline vector mean_square(vector mean, vector x, vector keep, vector fresh) noexcept nogil:
    """A running mean of squares; ``fresh`` is 1 - ``keep``."""
    return multiply_add(keep, mean, fresh * (x * x))


cdef inline void rmsprop_lanes(
    const real *g, real *param, real *v, real *grad_mean, real *velocity, Py_ssize_t i, Py_ssize_t n, bint whole,
    real step, real alpha, real fresh, real eps, real momentum, bint quick
) noexcept nogil:
    grad, p = load_lanes(g + i, n, whole), load_lanes(<const real *> param + i, n, whole)
    square = mean_square(load_lanes(<const real *> v + i, n, whole), grad, like(grad, alpha), like(grad, fresh))
    variance, direction = variable(g), variable(g)
    variance.v = square
    if grad_mean is not NULL:
        mean = toward(load_lanes(<const real *> grad_mean + i, n, whole), grad, like(grad, fresh))
        variance.v = maximum(multiply_add(-mean, mean, square), zeros(g))  # rounding may leave a little less than zero
        store_lanes(grad_mean + i, n, whole, mean)
    direction.v = quotient(grad, square_root(variance.v) + like(grad, eps), quick)
    if velocity is not NULL:
        direction.v = multiply_add(like(grad, momentum), load_lanes(<const real *> velocity + i, n, whole), direction.v)
        store_lanes(velocity + i, n, whole, direction.v)
    store_lanes(param + i, n, whole, multiply_add(-like(grad, step), direction.v, p))
    store_lanes(v + i, n, whole, square)


cdef void rmsprop_block(
    const update_t *u, double lr, const real *g, real *param, real *v, real *grad_mean, real *velocity, Py_ssize_t n
) noexcept nogil:
    """Tieleman and Hinton 2012; centered after Graves 2013."""
    cdef real step = <real> lr, alpha = <real> u.alpha, fresh = <real> (1 - u.alpha), eps = <real> u.eps
    cdef real momentum = <real> u.momentum
    cdef bint quick = divides_quickly(eps, <real> 1)
    cdef Py_ssize_t i = 0, width = lanes(g)
    while i + width <= n:
        rmsprop_lanes(g, param, v, grad_mean, velocity, i, width, True, step, alpha, fresh, eps, momentum, quick)
        i += width
    if i < n:
        rmsprop_lanes(g, param, v, grad_mean, velocity, i, n - i, False, step, alpha, fresh, eps, momentum, quick)


cdef inline void adagrad_lanes(
    const real *g, real *param, real *v, Py_ssize_t i, Py_ssize_t n, bint whole, real step, real eps, bint quick
) noexcept nogil:
    grad, p = load_lanes(g + i, n, whole), load_lanes(<const real *> param + i, n, whole)
    square = multiply_add(grad, grad, load_lanes(<const real *> v + i, n, whole))
    store_lanes(param + i, n, whole, minus_quotient(p, like(grad, step) * grad, square_root(square) + like(grad, eps), quick))
    store_lanes(v + i, n, whole, square)


cdef void adagrad_block(const update_t *u, double lr, const real *g, real *param, real *v, Py_ssize_t n) noexcept nogil:
    """Duchi, Hazan and Singer 2011."""
    cdef real step = <real> lr, eps = <real> u.eps
    cdef bint quick = divides_quickly(eps, <real> 1)
    cdef Py_ssize_t i = 0, width = lanes(g)
    while i + width <= n:
        adagrad_lanes(g, param, v, i, width, True, step, eps, quick)
        i += width
    if i < n:
        adagrad_lanes(g, param, v, i, n - i, False, step, eps, quick)


cdef inline void adadelta_lanes(
    const real *g, real *param, real *v, real *mean_step, Py_ssize_t i, Py_ssize_t n, bint whole,
    real step, real rho, real fresh, real eps
) noexcept nogil:
    grad, p = load_lanes(g + i, n, whole), load_lanes(<const real *> param + i, n, whole)
    square = mean_square(load_lanes(<const real *> v + i, n, whole), grad, like(grad, rho), like(grad, fresh))
    before = load_lanes(<const real *> mean_step + i, n, whole)
    root_square = variable(g)
    root_square.v = square_root(square + like(grad, eps))
    d = grad * quotient(square_root(before + like(grad, eps)), root_square.v, True)  # no root is out of range
    store_lanes(param + i, n, whole, multiply_add(-like(grad, step), d, p))
    store_lanes(mean_step + i, n, whole, mean_square(before, d, like(grad, rho), like(grad, fresh)))
    store_lanes(v + i, n, whole, square)


cdef void adadelta_block(
    const update_t *u, double lr, const real *g, real *param, real *v, real *mean_step, Py_ssize_t n
) noexcept nogil:
    """Zeiler 2012; ``mean_step`` is the running mean of squared steps, u in the contract."""
    cdef real step = <real> lr, rho = <real> u.rho, fresh = <real> (1 - u.rho), eps = <real> u.eps
    cdef Py_ssize_t i = 0, width = lanes(g)
    while i + width <= n:
        adadelta_lanes(g, param, v, mean_step, i, width, True, step, rho, fresh, eps)
        i += width
    if i < n:
        adadelta_lanes(g, param, v, mean_step, i, n - i, False, step, rho, fresh, eps)


cdef inline void adam_lanes(
    const real *g, real *param, real *m, real *v, real *v_max, Py_ssize_t i, Py_ssize_t n, bint whole,
    real step, real fresh1, real beta2, real fresh2, real unbias, real eps, bint quick
) noexcept nogil:
    grad, p = load_lanes(g + i, n, whole), load_lanes(<const real *> param + i, n, whole)
    mean = toward(load_lanes(<const real *> m + i, n, whole), grad, like(grad, fresh1))
    square = mean_square(load_lanes(<const real *> v + i, n, whole), grad, like(grad, beta2), like(grad, fresh2))
    second = variable(g)
    second.v = square
    if v_max is not NULL:
        second.v = maximum(square, load_lanes(<const real *> v_max + i, n, whole))
        store_lanes(v_max + i, n, whole, second.v)
    divisor = multiply_add(square_root(second.v), like(grad, unbias), like(grad, eps))
    store_lanes(param + i, n, whole, minus_quotient(p, like(grad, step) * mean, divisor, quick))
    store_lanes(m + i, n, whole, mean)
    store_lanes(v + i, n, whole, square)


cdef void adam_block(
    const update_t *u, double lr, const real *g, real *param, real *m, real *v, real *v_max, Py_ssize_t n
) noexcept nogil:
    """Kingma and Ba 2015; AMSGrad after Reddi, Kale and Kumar 2018."""
    cdef real fresh1 = <real> (1 - u.beta1), beta2 = <real> u.beta2, fresh2 = <real> (1 - u.beta2), eps = <real> u.eps
    cdef real step = <real> (lr / u.bias1), unbias = <real> (1 / sqrt(u.bias2))
    cdef bint quick = divides_quickly(eps, unbias)
    cdef Py_ssize_t i = 0, width = lanes(g)
    while i + width <= n:
        adam_lanes(g, param, m, v, v_max, i, width, True, step, fresh1, beta2, fresh2, unbias, eps, quick)
        i += width
    if i < n:
        adam_lanes(g, param, m, v, v_max, i, n - i, False, step, fresh1, beta2, fresh2, unbias, eps, quick)


cdef void adamax_block(const update_t *u, double lr, const real *g, real *param, real *m, real *norm, Py_ssize_t n) noexcept nogil:
    """Kingma and Ba 2015, algorithm 2; ``norm`` is u in the contract."""
    cdef real fresh1 = <real> (1 - u.beta1), beta2 = <real> u.beta2, eps = <real> u.eps, step = <real> (lr / u.bias1)
    cdef real mean, size, most
    cdef Py_ssize_t i
    for i in range(n):
        mean = m[i] + fresh1 * (g[i] - m[i])
        size = magnitude(g[i]) + eps
        most = beta2 * norm[i] if beta2 * norm[i] > size else size
        param[i] -= step * mean / most
        m[i] = mean
        norm[i] = most


cdef inline void nadam_lanes(
    const real *g, real *param, real *m, real *v, Py_ssize_t i, Py_ssize_t n, bint whole,
    real step_g, real step_m, real fresh1, real beta2, real fresh2, real unbias, real eps, bint quick
) noexcept nogil:
    grad, p = load_lanes(g + i, n, whole), load_lanes(<const real *> param + i, n, whole)
    mean = variable(g)
    mean.v = toward(load_lanes(<const real *> m + i, n, whole), grad, like(grad, fresh1))
    square = mean_square(load_lanes(<const real *> v + i, n, whole), grad, like(grad, beta2), like(grad, fresh2))
    direction = multiply_add(like(grad, step_g), grad, like(grad, step_m) * mean.v)
    divisor = variable(g)
    divisor.v = square_root(square * like(grad, unbias)) + like(grad, eps)
    store_lanes(param + i, n, whole, minus_quotient(p, direction, divisor.v, quick))
    store_lanes(m + i, n, whole, mean.v)
    store_lanes(v + i, n, whole, square)


cdef void nadam_block(const update_t *u, double lr, const real *g, real *param, real *m, real *v, Py_ssize_t n) noexcept nogil:
    """Dozat 2016."""
    cdef real fresh1 = <real> (1 - u.beta1), beta2 = <real> u.beta2, fresh2 = <real> (1 - u.beta2), eps = <real> u.eps
    cdef real step_g = <real> (lr * u.grad_factor), step_m = <real> (lr * u.m_factor), unbias = <real> (1 / u.bias2)
    cdef bint quick = divides_quickly(eps, <real> 1)
    cdef Py_ssize_t i = 0, width = lanes(g)
    while i + width <= n:
        nadam_lanes(g, param, m, v, i, width, True, step_g, step_m, fresh1, beta2, fresh2, unbias, eps, quick)
        i += width
    if i < n:
        nadam_lanes(g, param, m, v, i, n - i, False, step_g, step_m, fresh1, beta2, fresh2, unbias, eps, quick)


cdef inline void radam_lanes(
    const real *g, real *param, real *m, real *v, Py_ssize_t i, Py_ssize_t n, bint whole,
    real step, real fresh1, real beta2, real fresh2, real eps, bint tractable, bint quick
) noexcept nogil:
    grad, p = load_lanes(g + i, n, whole), load_lanes(<const real *> param + i, n, whole)
    mean = toward(load_lanes(<const real *> m + i, n, whole), grad, like(grad, fresh1))
    square = mean_square(load_lanes(<const real *> v + i, n, whole), grad, like(grad, beta2), like(grad, fresh2))
    moved = variable(g)
    if tractable:
        moved.v = minus_quotient(p, like(grad, step) * mean, square_root(square) + like(grad, eps), quick)
    else:
        moved.v = multiply_add(-like(grad, step), mean, p)
    store_lanes(param + i, n, whole, moved.v)
    store_lanes(m + i, n, whole, mean)
    store_lanes(v + i, n, whole, square)


cdef void radam_block(const update_t *u, double lr, const real *g, real *param, real *m, real *v, Py_ssize_t n) noexcept nogil:
    """Liu et al. 2020."""
    cdef real fresh1 = <real> (1 - u.beta1), beta2 = <real> u.beta2, fresh2 = <real> (1 - u.beta2), eps = <real> u.eps
    cdef bint tractable = u.rectification != 0, quick = divides_quickly(eps, <real> 1)
    cdef real step = <real> (lr / u.bias1 * u.rectification * sqrt(u.bias2) if tractable else lr / u.bias1)
    cdef Py_ssize_t i = 0, width = lanes(g)
    while i + width <= n:
        radam_lanes(g, param, m, v, i, width, True, step, fresh1, beta2, fresh2, eps, tractable, quick)
        i += width
    if i < n:
        radam_lanes(g, param, m, v, i, n - i, False, step, fresh1, beta2, fresh2, eps, tractable, quick)


cdef void lion_block(const update_t *u, double lr, const real *g, real *param, real *m, Py_ssize_t n) noexcept nogil:
    """Chen et al. 2023."""
    cdef real beta1 = <real> u.beta1, fresh1 = <real> (1 - u.beta1), beta2 = <real> u.beta2, fresh2 = <real> (1 - u.beta2)
    cdef real step = <real> lr
    cdef Py_ssize_t i
    for i in range(n):
        param[i] -= step * sign(beta1 * m[i] + fresh1 * g[i])
        m[i] = beta2 * m[i] + fresh2 * g[i]


cdef void rprop_block(const update_t *u, const real *g, real *param, real *previous, real *step_size, Py_ssize_t n) noexcept nogil:
    """Riedmiller and Braun 1993; where the gradient turned, the step is not taken back but left out (the variant iRprop-)."""
    cdef real eta_minus = <real> u.eta_minus, eta_plus = <real> u.eta_plus
    cdef real least = <real> u.step_min, most = <real> u.step_max
    cdef real agreement, step, kept
    cdef Py_ssize_t i
    for i in range(n):
        agreement = sign(g[i]) * sign(previous[i])
        kept = 0 if agreement < 0 else g[i]
        step = eta_minus if agreement < 0 else 1
        step = eta_plus if agreement > 0 else step
        step = step * step_size[i]
        step = least if step < least else step
        step = most if step > most else step
        param[i] -= step * sign(kept)
        previous[i] = kept
        step_size[i] = step


# One step.

cdef const real *with_decay(
    const update_t *u, const span_t *span, double lr, const real *grad, real *param, real *g, Py_ssize_t n
) noexcept nogil:
    """Shrink param (decoupled decay) and return the gradient with all other decay in it: ``g``, or ``grad`` where there is none."""
    cdef real shrink = <real> (1 - lr * span.weight_decay), l2 = <real> span.weight_decay, l1 = <real> span.l1
    cdef Py_ssize_t i
    if u.decoupled and span.weight_decay != 0:
        for i in range(n):
            param[i] *= shrink
    elif span.weight_decay != 0:
        for i in range(n):
            g[i] = grad[i] + l2 * param[i]
        grad = g
    if span.l1 != 0:
        for i in range(n):
            g[i] = grad[i] + l1 * sign(param[i])
        grad = g
    return grad


cdef inline void update_block(
    const update_t *u, double lr, const real *g, real *param, real *s0, real *s1, real *s2, Py_ssize_t n
) noexcept nogil:
    if u.kind == SGD:
        sgd_block(u, lr, g, param, s0, n)
    elif u.kind == RMSPROP:
        rmsprop_block(u, lr, g, param, s0, s1, s2, n)
    elif u.kind == ADAGRAD:
        adagrad_block(u, lr, g, param, s0, n)
    elif u.kind == ADADELTA:
        adadelta_block(u, lr, g, param, s0, s1, n)
    elif u.kind == ADAM:
        adam_block(u, lr, g, param, s0, s1, s2, n)
    elif u.kind == ADAMAX:
        adamax_block(u, lr, g, param, s0, s1, n)
    elif u.kind == NADAM:
        nadam_block(u, lr, g, param, s0, s1, n)
    elif u.kind == RADAM:
        radam_block(u, lr, g, param, s0, s1, n)
    elif u.kind == LION:
        lion_block(u, lr, g, param, s0, n)
    else:
        rprop_block(u, g, param, s0, s1, n)


cdef void update_blocks(
    const update_t *u, const real *grad, const span_t *spans, Py_ssize_t n_spans, real *param, int part, int parts
) noexcept nogil:
    """One step of an optimizer, on a share of the blocks."""
    cdef walk_t w = walk(spans, n_spans, part, parts)
    cdef real g_block[SPAN_BLOCK]
    cdef real *state[3]
    cdef double lr
    cdef Py_ssize_t s
    while next_block(&w):
        lr = u.lr * w.span.lr
        for s in range(3):
            state[s] = NULL if u.state[s] is NULL else <real *> u.state[s] + w.start
        g = with_decay(u, w.span, lr, grad + w.start, param + w.start, g_block, w.count)
        update_block(u, lr, g, param + w.start, state[0], state[1], state[2], w.count)


# Spans.

cdef object span_dtype = SPAN
assert span_dtype.itemsize == sizeof(span_t)

cdef struct spans_t:  # spans over a buffer, checked, in memory of their own
    Py_ssize_t count
    span_t *at
    span_t few[SPANS_AT_HAND]


cdef int take_spans(spans_t *spans, object given, Py_ssize_t size) except -1:
    """Copy and check spans over a buffer of ``size`` parameters; `drop_spans` follows."""
    cdef Py_ssize_t i, end = 0
    spans.at = <span_t *> structures_in(
        given, span_dtype, "kernels.SPAN", b"spans", spans.few, sizeof(spans.few), &spans.count)
    for i in range(spans.count):
        if spans.at[i].offset < end or spans.at[i].length < 0 or spans.at[i].length > size - spans.at[i].offset:
            drop_spans(spans)
            raise ValueError(f"spans must ascend without overlap inside the {size} entries of the buffer")
        end = spans.at[i].offset + spans.at[i].length
    return 0


cdef inline void drop_spans(spans_t *spans) noexcept:
    if spans.at != spans.few:
        free(spans.at)
    spans.at = NULL


# Kernels.

cdef double squared_norm_kernel(const real[::1] grad, const spans_t *spans) except? -1:
    """The sum of squares."""
    cdef Py_ssize_t blocks = span_block_count(spans.at, spans.count)
    cdef double *partial = <double *> malloc(max(<Py_ssize_t> 1, blocks) * sizeof(double))
    cdef double total
    if partial is NULL:
        raise MemoryError
    with nogil:
        squared_norm_blocks(read_1d(grad), spans.at, spans.count, partial, 0, 1)
        total = sum_of(partial, blocks)
    free(partial)
    return total


cdef void scale_kernel(const spans_t *spans, real[::1] grad, double factor) except *:
    """grad *= factor."""
    with nogil:
        scale_blocks(spans.at, spans.count, write_1d(grad), factor, 0, 1)


cdef void clip_value_kernel(const spans_t *spans, real[::1] grad, double limit) except *:
    """grad = min(max(grad, -limit), limit)."""
    with nogil:
        clip_value_blocks(spans.at, spans.count, write_1d(grad), limit, 0, 1)


cdef void update_kernel(
    update_t *u, const real[::1] grad, const spans_t *spans, real[::1] param,
    real[::1] state0, real[::1] state1, real[::1] state2
) except *:
    """One step of an optimizer; the states that it does without are None."""
    u.state[0], u.state[1], u.state[2] = write_1d(state0), write_1d(state1), write_1d(state2)
    with nogil:
        update_blocks(u, read_1d(grad), spans.at, spans.count, write_1d(param), 0, 1)


# Faces.

def squared_norm(grad, spans):
    """The twin of `backprop._numpy.optimizers.squared_norm`."""
    cdef Arrays seen
    cdef spans_t span
    seen.count = 0
    array_in(&seen, grad, b"grad", ANY, FLAT)
    take_spans(&span, spans, seen.rows)
    try:
        if seen.dtype == cnp.NPY_FLOAT:
            return squared_norm_kernel[float](grad, &span)
        return squared_norm_kernel[double](grad, &span)
    finally:
        drop_spans(&span)


def scale(spans, grad, double factor):
    """The twin of `backprop._numpy.optimizers.scale`."""
    cdef Arrays seen
    cdef spans_t span
    seen.count = 0
    array_out(&seen, grad, b"grad", ANY, FLAT)
    take_spans(&span, spans, seen.rows)
    try:
        if seen.dtype == cnp.NPY_FLOAT:
            scale_kernel[float](&span, grad, factor)
        else:
            scale_kernel[double](&span, grad, factor)
    finally:
        drop_spans(&span)


def clip_value(spans, grad, double limit):
    """The twin of `backprop._numpy.optimizers.clip_value`."""
    cdef Arrays seen
    cdef spans_t span
    seen.count = 0
    array_out(&seen, grad, b"grad", ANY, FLAT)
    take_spans(&span, spans, seen.rows)
    try:
        if seen.dtype == cnp.NPY_FLOAT:
            clip_value_kernel[float](&span, grad, limit)
        else:
            clip_value_kernel[double](&span, grad, limit)
    finally:
        drop_spans(&span)


cdef inline int states_needed(int kind) noexcept nogil:
    """How many of an optimizer's states must be arrays; the others may be NULL."""
    return 0 if kind == SGD else 1 if kind == RMSPROP or kind == ADAGRAD or kind == LION else 2


cdef int _update(
    update_t *u, object grad, object spans, object param,
    const char *name0, object state0, const char *name1=NULL, object state1=None, const char *name2=NULL, object state2=None
) except -1:
    """Check the arguments of a face and run it."""
    cdef Arrays seen
    cdef spans_t span
    cdef int needed = states_needed(u.kind)
    seen.count = 0
    array_in(&seen, grad, b"grad", ANY, FLAT)
    cdef Py_ssize_t size = seen.rows
    array_out(&seen, param, b"param", size, FLAT)
    _state(&seen, state0, name0, size, needed > 0)
    _state(&seen, state1, name1, size, needed > 1)
    _state(&seen, state2, name2, size, needed > 2)
    take_spans(&span, spans, size)
    try:
        if seen.dtype == cnp.NPY_FLOAT:
            update_kernel[float](u, grad, &span, param, state0, state1, state2)
        else:
            update_kernel[double](u, grad, &span, param, state0, state1, state2)
    finally:
        drop_spans(&span)
    return 0


cdef inline void *_state(Arrays *seen, object state, const char *name, Py_ssize_t size, bint required) except? NULL:
    return array_out(seen, state, name, size, FLAT) if required else optional_out(seen, state, name, size, FLAT)


def sgd(
    grad, spans, param, velocity, double lr, double momentum, double dampening, bint nesterov, bint first, bint decoupled
):
    """The twin of `backprop._numpy.optimizers.sgd`."""
    cdef update_t u
    u.kind = SGD
    u.lr, u.momentum, u.dampening, u.nesterov, u.first, u.decoupled = lr, momentum, dampening, nesterov, first, decoupled
    _update(&u, grad, spans, param, b"velocity", velocity)


def rmsprop(
    grad, spans, param, v, grad_mean, velocity, double lr, double alpha, double eps, double momentum, bint decoupled
):
    """The twin of `backprop._numpy.optimizers.rmsprop`."""
    cdef update_t u
    u.kind = RMSPROP
    u.lr, u.alpha, u.eps, u.momentum, u.decoupled = lr, alpha, eps, momentum, decoupled
    _update(&u, grad, spans, param, b"v", v, b"grad_mean", grad_mean, b"velocity", velocity)


def adagrad(grad, spans, param, v, double lr, double eps, bint decoupled):
    """The twin of `backprop._numpy.optimizers.adagrad`."""
    cdef update_t u
    u.kind = ADAGRAD
    u.lr, u.eps, u.decoupled = lr, eps, decoupled
    _update(&u, grad, spans, param, b"v", v)


def adadelta(grad, spans, param, v, u, double lr, double rho, double eps, bint decoupled):
    """The twin of `backprop._numpy.optimizers.adadelta`."""
    cdef update_t step
    step.kind = ADADELTA
    step.lr, step.rho, step.eps, step.decoupled = lr, rho, eps, decoupled
    _update(&step, grad, spans, param, b"v", v, b"u", u)


def adam(
    grad, spans, param, m, v, v_max,
    double lr, double beta1, double beta2, double eps, double bias1, double bias2, bint decoupled
):
    """The twin of `backprop._numpy.optimizers.adam`."""
    cdef update_t u
    u.kind = ADAM
    u.lr, u.beta1, u.beta2, u.eps, u.bias1, u.bias2, u.decoupled = lr, beta1, beta2, eps, bias1, bias2, decoupled
    _update(&u, grad, spans, param, b"m", m, b"v", v, b"v_max", v_max)


def adamax(grad, spans, param, m, u, double lr, double beta1, double beta2, double eps, double bias1, bint decoupled):
    """The twin of `backprop._numpy.optimizers.adamax`."""
    cdef update_t step
    step.kind = ADAMAX
    step.lr, step.beta1, step.beta2, step.eps, step.bias1, step.decoupled = lr, beta1, beta2, eps, bias1, decoupled
    _update(&step, grad, spans, param, b"m", m, b"u", u)


def nadam(
    grad, spans, param, m, v,
    double lr, double beta1, double beta2, double eps, double bias2, double grad_factor, double m_factor, bint decoupled
):
    """The twin of `backprop._numpy.optimizers.nadam`."""
    cdef update_t u
    u.kind = NADAM
    u.lr, u.beta1, u.beta2, u.eps, u.bias2, u.decoupled = lr, beta1, beta2, eps, bias2, decoupled
    u.grad_factor, u.m_factor = grad_factor, m_factor
    _update(&u, grad, spans, param, b"m", m, b"v", v)


def radam(
    grad, spans, param, m, v,
    double lr, double beta1, double beta2, double eps, double bias1, double bias2, double rectification, bint decoupled
):
    """The twin of `backprop._numpy.optimizers.radam`."""
    cdef update_t u
    u.kind = RADAM
    u.lr, u.beta1, u.beta2, u.eps, u.bias1, u.bias2, u.decoupled = lr, beta1, beta2, eps, bias1, bias2, decoupled
    u.rectification = rectification
    _update(&u, grad, spans, param, b"m", m, b"v", v)


def lion(grad, spans, param, m, double lr, double beta1, double beta2, bint decoupled):
    """The twin of `backprop._numpy.optimizers.lion`."""
    cdef update_t u
    u.kind = LION
    u.lr, u.beta1, u.beta2, u.decoupled = lr, beta1, beta2, decoupled
    _update(&u, grad, spans, param, b"m", m)


def rprop(
    grad, spans, param, previous, step_size,
    double lr, double eta_minus, double eta_plus, double step_min, double step_max, bint decoupled
):
    """The twin of `backprop._numpy.optimizers.rprop`."""
    cdef update_t u
    u.kind = RPROP
    u.lr, u.eta_minus, u.eta_plus, u.step_min, u.step_max, u.decoupled = lr, eta_minus, eta_plus, step_min, step_max, decoupled
    _update(&u, grad, spans, param, b"previous", previous, b"step_size", step_size)


UPDATES = {
    "sgd": SGD,
    "rmsprop": RMSPROP,
    "adagrad": ADAGRAD,
    "adadelta": ADADELTA,
    "adam": ADAM,
    "adamax": ADAMAX,
    "nadam": NADAM,
    "radam": RADAM,
    "lion": LION,
    "rprop": RPROP,
}
