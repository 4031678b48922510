# A program: a network as a table of operations, and the two walks over it.
#
#     forward    first to last: every operation leaves its outputs, and what its backward needs, in arrays of its own
#     backward   last to first: the gradient comes down through two buffers in turn, every operation leaves those of its parameters
#
# This is what `Network` does layer by layer, without Python between the layers: all arrays lie in one workspace, allocated when
# the first batch comes and again only when a larger one does. Residual(block) is two operations around those of the block: the
# second adds what went into the first to the block's outputs, and backward the other way round.
#
# Every thread of a team walks the whole table and does pieces of each operation; see team.pxi.

from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cdef extern from "_kernels/core/pages.h" nogil:
    void use_large_pages(void *memory, size_t bytes)

cdef enum operation_kind:
    DENSE
    ACTIVATION
    BATCH_NORM
    LAYER_NORM
    DROPOUT
    RESIDUAL_BEGIN
    RESIDUAL_END

cdef enum:
    CACHE_LINE = 64

cdef double GRADIENT_LIMIT_F = 2.0 ** 63  # numbers below have squares that float32 holds
cdef double GRADIENT_LIMIT_D = 2.0 ** 511

cdef struct operation_t:  # a row of the table
    Py_ssize_t kind
    Py_ssize_t fan_in
    Py_ssize_t fan_out
    Py_ssize_t weight  # where weight and bias begin in the flat parameters; -1: it has none
    Py_ssize_t bias
    Py_ssize_t mean  # where running mean and variance begin in the flat buffers
    Py_ssize_t var
    Py_ssize_t trainable
    Py_ssize_t activation
    Py_ssize_t layer  # the layer's number in the key of its random numbers
    Py_ssize_t partner  # RESIDUAL_END: the operation that begins the block
    Py_ssize_t source  # the registers of prediction; see predict.pxi
    Py_ssize_t target
    Py_ssize_t skip
    double alpha
    double rate
    double momentum
    double eps

OPERATION = np.dtype(
    [(name, np.intp) for name in (
        "kind", "fan_in", "fan_out", "weight", "bias", "mean", "var", "trainable", "activation", "layer", "partner",
        "source", "target", "skip",
    )] + [(name, np.float64) for name in ("alpha", "rate", "momentum", "eps")]
)

KINDS = {
    "dense": DENSE,
    "activation": ACTIVATION,
    "batch_norm": BATCH_NORM,
    "layer_norm": LAYER_NORM,
    "dropout": DROPOUT,
    "residual_begin": RESIDUAL_BEGIN,
    "residual_end": RESIDUAL_END,
}

cdef struct arrays_t:  # where the arrays of an operation lie in the workspace; n is the number of rows
    void *x  # (n, fan_in): the outputs of the operation before, NULL for the first: the batch
    void *a  # (n, fan_out): its outputs
    void *z  # (n, fan_out): the pre-activation, where the derivative needs it
    void *x_hat  # (n, fan_out): of a normalization
    void *inv_std  # (fan_out,) of a batch norm, (n,) of a layer norm
    void *unused  # (2, fan_out): the gradients of a frozen normalization
    void *skipped  # (n, fan_out): the gradient that goes past a block; at its end
    bint bounded  # whether x and delta were so small that the gradient of the weight cannot but be finite, and so can its square

cdef struct program_t:
    operation_t *operation
    arrays_t *arrays
    int count
    int lowest  # the first operation with something to train: no training step needs a gradient below it
    int registers  # of prediction
    int dtype
    Py_ssize_t n_inputs
    Py_ssize_t n_outputs
    Py_ssize_t width  # of the widest operation, inputs included
    uint64_t seed
    void *parameters
    void *gradients
    void *buffers
    Py_ssize_t n_parameters
    Py_ssize_t n_buffers
    Py_ssize_t first_row  # of the rows that go through, in their batch
    char *memory  # the workspace, and for how many rows and threads it is
    Py_ssize_t rows
    int threads
    void *x  # (rows, n_inputs): the batch
    void *grad[2]  # (rows, width): the gradient on its way down
    void *products  # for the matrix products, of each thread
    Py_ssize_t products_size
    team_t team  # the threads that walk it now


# The table, checked: whatever it holds, the walks stay inside the arrays they are given.

cdef int check_table(const program_t *net) except -1:
    """Refuse operations that do not follow from each other, or reach beyond parameters, buffers or registers."""
    cdef Py_ssize_t width = net.operation[0].fan_in
    cdef int i
    for i in range(net.count):
        if not fits(net, i, width):
            op = &net.operation[i]
            raise ValueError(f"operations[{i}] does not fit the others or the arrays, got {<object> op[0]}")
        width = net.operation[i].fan_out
    return 0


cdef bint fits(const program_t *net, int i, Py_ssize_t width) noexcept nogil:
    """Whether operation i takes rows of this width, and finds all that it names."""
    op = &net.operation[i]
    cdef bint normalizes = op.kind == BATCH_NORM or op.kind == LAYER_NORM, holds = op.kind == DENSE or normalizes
    cdef bint blocked = op.kind == RESIDUAL_BEGIN or op.kind == RESIDUAL_END
    cdef Py_ssize_t last_kind = RESIDUAL_END, last_activation = SOFTMAX if op.kind == ACTIVATION else RELU6
    if not (0 <= op.kind <= last_kind and 0 < op.fan_in == width and op.fan_out > 0):
        return False
    if op.fan_in > net.n_parameters // op.fan_out if op.kind == DENSE else op.fan_out != op.fan_in:
        return False
    if not (0 <= op.activation <= last_activation and 0 <= op.rate < 1):
        return False
    if not (
        lies_in(op.weight, op.fan_out * (op.fan_in if op.kind == DENSE else 1), net.n_parameters, holds)
        and lies_in(op.bias, op.fan_out, net.n_parameters, normalizes)
        and lies_in(op.mean, op.fan_out, net.n_buffers, op.kind == BATCH_NORM)
        and lies_in(op.var, op.fan_out, net.n_buffers, op.kind == BATCH_NORM)
    ):
        return False
    if op.trainable and not holds:
        return False
    if blocked and not is_partner(net, i):
        return False
    return (
        reads_from(net, op.source, op.fan_in) and (op.kind != RESIDUAL_END or reads_from(net, op.skip, op.fan_out))
        and (0 <= op.target < net.count or op.target == OUTPUT and op.fan_out == net.n_outputs or passes(op))
    )


cdef inline bint lies_in(Py_ssize_t offset, Py_ssize_t size, Py_ssize_t room, bint needed) noexcept nogil:
    """Whether ``size`` numbers from an offset on lie within ``room``; an offset of -1, unless ``needed``, is an array left out."""
    return offset == -1 and not needed or 0 <= offset <= room - size


cdef inline bint is_partner(const program_t *net, int i) noexcept nogil:
    """Whether the beginning and the end of a block know each other and are equally wide."""
    cdef Py_ssize_t j = net.operation[i].partner
    if not 0 <= j < net.count:
        return False
    begin, end = &net.operation[min(i, j)], &net.operation[max(i, j)]
    return (
        begin.kind == RESIDUAL_BEGIN and end.kind == RESIDUAL_END and begin.partner == max(i, j) and end.partner == min(i, j)
        and begin.fan_in == end.fan_out
    )


cdef inline bint reads_from(const program_t *net, Py_ssize_t place, Py_ssize_t width) noexcept nogil:
    """Whether prediction can read rows of this width there."""
    return 0 <= place < net.count or place == INPUT and width == net.n_inputs


cdef inline bint passes(const operation_t *op) noexcept nogil:
    """Whether prediction passes the operation over."""
    return op.kind == DROPOUT or op.kind == RESIDUAL_BEGIN


# The workspace.

cdef inline void *take(Py_ssize_t *used, char *start, Py_ssize_t bytes) noexcept nogil:
    """The next array of the workspace at ``start``."""
    cdef void *array = start + used[0]
    # A cache line between two arrays: were they a multiple of 4 KB apart, loads from one would wait for stores to the other.
    used[0] += whole_lines(bytes) + CACHE_LINE
    return array


cdef inline Py_ssize_t whole_lines(Py_ssize_t bytes) noexcept nogil:
    return (bytes + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE


cdef Py_ssize_t lay_out(program_t *net, Py_ssize_t rows, int threads, char *start) noexcept nogil:
    """Give every array its place in the workspace at ``start``, in the order of their use; return the workspace's size."""
    cdef Py_ssize_t used = 0, row, item = item_size(net.dtype), products = 0
    cdef void *previous = NULL
    cdef int i
    net.x = take(&used, start, rows * net.n_inputs * item)
    for i in range(net.count):
        op, at = &net.operation[i], &net.arrays[i]
        row = op.fan_out * item
        at.x = previous
        if op.kind == RESIDUAL_BEGIN:
            at.a = previous
            continue
        if op.kind == DENSE:
            products = max(products, dense_workspace(rows, op.fan_in, op.fan_out))
            if slope_needs_z(<int> op.activation):
                at.z = take(&used, start, rows * row)
        elif op.kind == BATCH_NORM or op.kind == LAYER_NORM:
            at.x_hat = take(&used, start, rows * row)
            at.inv_std = take(&used, start, row if op.kind == BATCH_NORM else rows * item)
            at.unused = take(&used, start, 2 * row)
        elif op.kind == RESIDUAL_END:
            at.skipped = take(&used, start, rows * row)
        at.a = take(&used, start, rows * row)
        previous = at.a
    net.grad[0] = take(&used, start, rows * net.width * item)
    net.grad[1] = take(&used, start, rows * net.width * item)
    net.products_size = whole_lines(products * item)
    net.products = take(&used, start, threads * net.products_size)
    return used


cdef inline Py_ssize_t item_size(int dtype) noexcept nogil:
    return sizeof(double) if dtype == cnp.NPY_DOUBLE else sizeof(float)


cdef inline char *aligned(char *memory) noexcept nogil:
    """The first cache line that begins in it."""
    return memory + (-<uintptr_t> memory) % CACHE_LINE


cdef inline real *workspace_of(program_t *net, int part, const real *like) noexcept nogil:
    """What a thread has for its matrix products."""
    return <real *> (<char *> net.products + part * net.products_size)


# Forward.

cdef inline real *at_offset(void *flat, Py_ssize_t offset, const real *like) noexcept nogil:
    """The parameters, gradients or buffers that begin at an offset; NULL for what the operation does not have."""
    return NULL if offset < 0 else <real *> flat + offset


cdef inline const real *input_of(program_t *net, int i, const real *batch) noexcept nogil:
    """What operation i reads: the outputs of the one before, or the batch."""
    return batch if net.arrays[i].x is NULL else <const real *> net.arrays[i].x


cdef const real *forward_walk(
    program_t *net, const real *batch, Py_ssize_t n, bint training, uint64_t step, member_t *m
) noexcept nogil:
    """The network's outputs; ``step`` counts the forwards in training mode, for dropout."""
    cdef int i
    workspace = workspace_of(net, m.part, batch)
    for i in range(net.count):
        if net.operation[i].kind != RESIDUAL_BEGIN:
            while take_piece(m, m.parts):
                forward_operation(net, i, batch, n, training, step, workspace, m.piece, m.parts)
    return <const real *> net.arrays[net.count - 1].a


cdef void forward_operation(
    program_t *net, int i, const real *batch, Py_ssize_t n, bint training, uint64_t step, real *workspace, int part, int parts
) noexcept nogil:
    op, at, x = &net.operation[i], &net.arrays[i], input_of(net, i, batch)
    cdef Py_ssize_t k = op.fan_out
    cdef int f = <int> op.activation
    weight, bias = at_offset(net.parameters, op.weight, x), at_offset(net.parameters, op.bias, x)
    mean, var = at_offset(net.buffers, op.mean, x), at_offset(net.buffers, op.var, x)
    a, z, x_hat, inv_std = <real *> at.a, <real *> at.z, <real *> at.x_hat, <real *> at.inv_std
    if op.kind == DENSE:
        dense_forward_share(x, weight, bias, z, a, n, op.fan_in, k, f, op.alpha, workspace, part, parts)
    elif op.kind == ACTIVATION:
        activation_forward_share(f, op.alpha, x, a, n, k, part, parts)
    elif op.kind == BATCH_NORM and training:
        batch_norm_forward_columns(x, weight, bias, mean, var, x_hat, inv_std, a, op.momentum, op.eps, n, k, part, parts)
    elif op.kind == BATCH_NORM:
        batch_norm_inference_columns(x, weight, bias, mean, var, a, op.eps, n, k, part, parts)
    elif op.kind == LAYER_NORM:
        layer_norm_forward_rows(x, weight, bias, x_hat, inv_std, a, op.eps, n, k, part, parts)
    elif op.kind == DROPOUT:
        thin_out(net, op, x, a, n, training, step, part, parts)
    elif op.kind == RESIDUAL_END:
        add_share(input_of(net, <int> op.partner, batch), x, a, n * k, part, parts)


cdef inline void thin_out(
    program_t *net, const operation_t *op, const real *x, real *y, Py_ssize_t n, bint training, uint64_t step, int part, int parts
) noexcept nogil:
    """Dropout; outside training, nothing is dropped."""
    cdef uint32_t key = dropout_key(net.seed, step, <uint32_t> op.layer)
    dropout_rows(x, y, op.rate if training else 0, key, net.first_row, n, op.fan_out, part, parts)


cdef inline void add_share(const real *x, const real *y, real *total, Py_ssize_t size, int part, int parts) noexcept nogil:
    """total = x + y; it may be one of the two."""
    cdef Py_ssize_t i
    for i in range(share_start(size, 64, part, parts), share_start(size, 64, part + 1, parts)):
        total[i] = x[i] + y[i]


# Backward.

cdef const real *backward_walk(
    program_t *net, const real *batch, Py_ssize_t n, bint training, uint64_t step, bint input_gradient, member_t *m
) noexcept nogil:
    """The gradients of all parameters, given dL/doutputs in ``net.grad[0]``; dL/dx where that is asked for.

    Otherwise the walk ends at the lowest operation with something to train.
    """
    cdef int i, now = 0, stop = 0 if input_gradient else net.lowest
    cdef bint below
    workspace = workspace_of(net, m.part, batch)
    for i in range(net.count - 1, stop - 1, -1):
        op = &net.operation[i]
        if op.kind == DENSE and op.activation != IDENTITY or op.kind == LAYER_NORM:
            while take_piece(m, m.parts):
                prepare_backward(net, i, n, <real *> net.grad[now], m.piece, m.parts)
        below = input_gradient or i > stop
        while take_piece(m, m.parts):
            backward_operation(net, i, batch, n, training, step, now, below, workspace, m.piece, m.parts)
        if op.kind == DENSE and below:
            now = 1 - now
    return <const real *> net.grad[now]


cdef void prepare_backward(program_t *net, int i, Py_ssize_t n, real *grad, int part, int parts) noexcept nogil:
    """What has to be done for all of ``grad``, dL/da, before the rest of an operation's backward."""
    op, at = &net.operation[i], &net.arrays[i]
    if op.kind == DENSE:
        to_delta(op, at, <const real *> at.z, grad, n, part, parts)
    else:  # layer norm
        column_sums(
            grad, <const real *> at.x_hat, norm_gradient(net, i, op.weight, 0, grad), norm_gradient(net, i, op.bias, 1, grad),
            n, op.fan_out, part, parts
        )


cdef void backward_operation(
    program_t *net, int i, const real *batch, Py_ssize_t n, bint training, uint64_t step, int now, bint below,
    real *workspace, int part, int parts
) noexcept nogil:
    """Take dL/da, a dense layer delta, from ``net.grad[now]``; leave dL/dx there, a dense layer, if ``below``, in the other one."""
    op, at, x = &net.operation[i], &net.arrays[i], input_of(net, i, batch)
    cdef Py_ssize_t k = op.fan_out
    cdef real *grad = <real *> net.grad[now]
    if op.kind == DENSE:
        backward_dense(net, i, x, n, now, below, workspace, part, parts)
    elif op.kind == ACTIVATION:
        to_delta(op, at, x, grad, n, part, parts)
    elif op.kind == BATCH_NORM or op.kind == LAYER_NORM:
        backward_normalization(net, i, x, grad, n, training, part, parts)
    elif op.kind == DROPOUT:
        thin_out(net, op, grad, grad, n, training, step, part, parts)
    elif op.kind == RESIDUAL_END:
        copy_share(grad, <real *> at.skipped, n * k, part, parts)
    elif op.kind == RESIDUAL_BEGIN:
        add_share(<const real *> net.arrays[op.partner].skipped, grad, grad, n * k, part, parts)


cdef void backward_dense(
    program_t *net, int i, const real *x, Py_ssize_t n, int now, bint below, real *workspace, int part, int parts
) noexcept nogil:
    """The three products, given delta in ``net.grad[now]``; dL/dx goes to the other one."""
    op, delta = &net.operation[i], <const real *> net.grad[now]
    cdef Py_ssize_t p = op.fan_in, k = op.fan_out
    if part == 0:
        net.arrays[i].bounded = is_bounded(x, delta, n, p, k)
    if op.trainable:
        grad_weight_share(x, delta, at_offset(net.gradients, op.weight, x), n, p, k, workspace, part, parts)
        if op.bias >= 0:
            column_sums_share(delta, at_offset(net.gradients, op.bias, x), n, k, part, parts)
    if below:
        grad_x_share(at_offset(net.parameters, op.weight, x), delta, <real *> net.grad[1 - now], n, p, k, workspace, part, parts)


cdef inline bint is_bounded(const real *x, const real *delta, Py_ssize_t n, Py_ssize_t p, Py_ssize_t k) noexcept nogil:
    """Whether squares of x.T @ delta have to be finite, by sum |x| sum |delta|; False where checking the product costs less."""
    if 4 * n * (p + k) > p * k:
        return False
    product = quick_sum_of_absolutes(x, n * p) * quick_sum_of_absolutes(delta, n * k)
    if real is float:
        return product < GRADIENT_LIMIT_F
    else:
        return product < GRADIENT_LIMIT_D


cdef inline void to_delta(
    const operation_t *op, const arrays_t *at, const real *z, real *grad, Py_ssize_t n, int part, int parts
) noexcept nogil:
    """delta = dL/da * activation'(z), in place."""
    if op.activation != IDENTITY:
        activation_backward_share(<int> op.activation, op.alpha, grad, z, <const real *> at.a, grad, n, op.fan_out, part, parts)


cdef inline real *norm_gradient(program_t *net, int i, Py_ssize_t offset, int row, const real *like) noexcept nogil:
    """Where a normalization leaves the gradient of its weight (row 0) or bias (row 1): of a frozen one, in unused memory."""
    op, at = &net.operation[i], &net.arrays[i]
    return <real *> net.gradients + offset if op.trainable else <real *> at.unused + row * op.fan_out


cdef void backward_normalization(
    program_t *net, int i, const real *x, real *grad, Py_ssize_t n, bint training, int part, int parts
) noexcept nogil:
    op, at = &net.operation[i], &net.arrays[i]
    cdef Py_ssize_t k = op.fan_out
    weight = at_offset(net.parameters, op.weight, x)
    mean, var = at_offset(net.buffers, op.mean, x), at_offset(net.buffers, op.var, x)
    x_hat, inv_std = <const real *> at.x_hat, <const real *> at.inv_std
    grad_weight, grad_bias = norm_gradient(net, i, op.weight, 0, x), norm_gradient(net, i, op.bias, 1, x)
    if op.kind == LAYER_NORM:
        layer_norm_backward_rows(grad, x_hat, weight, inv_std, grad, n, k, part, parts)
    elif training:
        batch_norm_backward_columns(grad, x_hat, weight, inv_std, grad_weight, grad_bias, grad, n, k, part, parts)
    else:
        batch_norm_inference_backward_columns(
            grad, x, weight, mean, var, grad_weight, grad_bias, grad, op.eps, n, k, part, parts
        )


cdef inline void copy_share(const real *x, real *y, Py_ssize_t size, int part, int parts) noexcept nogil:
    cdef Py_ssize_t start = share_start(size, 64, part, parts)
    memcpy(y + start, x + start, (share_start(size, 64, part + 1, parts) - start) * sizeof(real))
