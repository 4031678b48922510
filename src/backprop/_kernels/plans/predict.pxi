# Prediction: the walk over a plan's table that keeps nothing.
#
# What an operation writes is read by the next one and, at the end of a block, by the sum; then its place is free. So `_plan` gives
# every operation a source and a target among a few registers, as a compiler does, and rows go through in slices that keep the
# registers in cache. Rows don't depend on each other: threads take slice after slice through the whole network without a barrier.
# The registers belong to the call, on the stack where they are small: any number of threads may predict with one plan.

cdef enum:
    SLICE_BYTES = 1 << 19  # of a register: two or three of them in the second-level cache
    SLICE_ROWS = 1024  # at most this many rows, and at least the next: a slice reads all weights once
    LEAST_ROWS = 128
    STACK_BYTES = 1 << 15

cdef double SECONDS_BETWEEN_LOOKS = 0.05  # at signals

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept  # in the main thread; the exception of a handler stays set

cdef enum:
    INPUT = -1  # as a source: the rows of x
    OUTPUT = -2  # as a target: the rows of the result

cdef struct prediction_t:
    program_t *net
    const void *x
    void *outputs
    Py_ssize_t n
    Py_ssize_t slices
    Py_ssize_t slice  # rows of the largest
    int taken  # slices, by any thread
    double look  # when to look for signals next
    float_mode_t mode  # of the caller
    bint interrupted  # whether there was one, and its handler has raised an exception
    team_t team
    char *memory  # of all threads
    Py_ssize_t size  # bytes of each thread's part:
    Py_ssize_t register_size  # registers,
    Py_ssize_t inv_std  # then what a layer norm needs, from here on,
    Py_ssize_t products  # and what matrix products need


cdef void slice_rows(prediction_t *p, int threads) noexcept nogil:
    """How many rows go through at a time, and what memory that takes."""
    cdef program_t *net = p.net
    cdef Py_ssize_t item = item_size(net.dtype), rows, products = 0
    cdef int i
    p.slices, p.slice = 1, p.n
    if p.n > LEAST_ROWS:  # a small batch is one slice, without the divisions below
        rows = min(SLICE_BYTES // (net.width * item), <Py_ssize_t> SLICE_ROWS)
        if threads > 1:  # a few slices for each thread, so that one that is held up leaves its work to others
            rows = min(rows, p.n // (4 * threads))
        rows = max(rows, <Py_ssize_t> LEAST_ROWS)
        # Equal slices, none of them small: products of very few rows add up in another order.
        p.slices = (p.n + rows - 1) // rows
        p.slice = (p.n + p.slices - 1) // p.slices
    for i in range(net.count):
        op = &net.operation[i]
        if op.kind == DENSE and p.slice > 1:  # one row needs no workspace
            products = max(products, product_workspace(p.slice, op.fan_out, op.fan_in))
    p.register_size = whole_lines(p.slice * net.width * item)
    p.inv_std = net.registers * p.register_size
    p.products = p.inv_std + whole_lines(p.slice * item)
    p.size = p.products + whole_lines(products * item)


cdef void predict_slice(const prediction_t *p, const real *x, real *outputs, Py_ssize_t n, char *memory) noexcept nogil:
    cdef program_t *net = p.net
    cdef real *inv_std = <real *> (memory + p.inv_std)
    cdef real *products = <real *> (memory + p.products)
    cdef const real *h
    cdef const real *begin
    cdef real *a
    cdef Py_ssize_t k
    cdef int i, f
    for i in range(net.count):
        op = &net.operation[i]
        k, f = op.fan_out, <int> op.activation
        if op.kind == DROPOUT or op.kind == RESIDUAL_BEGIN:
            continue
        h = x if op.source == INPUT else <const real *> (memory + op.source * p.register_size)
        a = outputs if op.target == OUTPUT else <real *> (memory + op.target * p.register_size)
        weight, bias = at_offset(net.parameters, op.weight, x), at_offset(net.parameters, op.bias, x)
        if op.kind == DENSE:
            dense_forward_share(h, weight, bias, <real *> NULL, a, n, op.fan_in, k, f, op.alpha, products, 0, 1)
        elif op.kind == ACTIVATION:
            activation_forward_share(f, op.alpha, h, a, n, k, 0, 1)
        elif op.kind == BATCH_NORM:
            mean, var = at_offset(net.buffers, op.mean, x), at_offset(net.buffers, op.var, x)
            batch_norm_inference_columns(h, weight, bias, mean, var, a, op.eps, n, k, 0, 1)
        elif op.kind == LAYER_NORM:
            layer_norm_forward_rows(h, weight, bias, a, inv_std, a, op.eps, n, k, 0, 1)  # x_hat turns into y in place
        elif op.kind == RESIDUAL_END:
            begin = x if op.skip == INPUT else <const real *> (memory + op.skip * p.register_size)
            add_share(begin, h, a, n * k, 0, 1)


cdef void predict_walk(prediction_t *p, const real *x, real *outputs, int part) noexcept nogil:
    """Take slices until none is left."""
    cdef Py_ssize_t i, rows
    cdef int slice
    if p.slices == 1:
        if part == 0:
            predict_slice(p, x, outputs, p.n, p.memory)
        return
    slice = add_to(&p.taken, 1) - 1
    while slice < p.slices:
        i = p.n * slice // p.slices
        rows = p.n * (slice + 1) // p.slices - i
        predict_slice(p, x + i * p.net.n_inputs, outputs + i * p.net.n_outputs, rows, p.memory + part * p.size)
        slice = add_to(&p.taken, 1) - 1
        if part == 0 and slice < p.slices and monotonic() > p.look:
            look_for_signals(p)


cdef void look_for_signals(prediction_t *p) noexcept nogil:
    """Run the handlers of signals that have come, as Python does between two instructions; Ctrl-C leaves no slice to take."""
    set_float_mode(p.mode)
    with gil:
        p.interrupted = PyErr_CheckSignals() != 0
    flush_denormals()
    if p.interrupted:
        add_to(&p.taken, p.slices)
    p.look = monotonic() + SECONDS_BETWEEN_LOOKS


cdef void predict_share(void *work, int part, int parts) noexcept nogil:
    cdef prediction_t *p = <prediction_t *> work
    if p.net.dtype == cnp.NPY_FLOAT:
        predict_walk(p, <const float *> p.x, <float *> p.outputs, part)
    else:
        predict_walk(p, <const double *> p.x, <double *> p.outputs, part)


cdef int predict_into(program_t *net, double flops, const void *x, void *outputs, Py_ssize_t n) except -1:
    """outputs = network(x), for n >= 1 rows; ``flops`` is the work for all of them."""
    cdef prediction_t p
    cdef char[STACK_BYTES + CACHE_LINE] stack
    cdef char *heap = NULL
    cdef int threads = threads_for(flops)
    p.net, p.x, p.outputs, p.n, p.taken, p.interrupted = net, x, outputs, n, 0, False
    slice_rows(&p, threads)
    if p.slices > 1:
        p.look = monotonic() + SECONDS_BETWEEN_LOOKS
        p.mode = float_mode()
    if threads * p.size <= STACK_BYTES:
        p.memory = aligned(stack)
    else:
        heap = <char *> malloc(threads * p.size + CACHE_LINE)
        if heap is NULL:
            raise MemoryError
        p.memory = aligned(heap)
    run(predict_share, &p, flops, 1, threads, &p.team)
    free(heap)
    return -1 if p.interrupted else 0
