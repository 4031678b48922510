# Plans: what Python sees of programs, for prediction and for passes forward and backward.
#
# `backprop._plan` makes a plan, and a new one when the network changes; what comes in has been checked there. One thread at a time
# may train or call forward and backward; any number may predict, between the stretches of a training.

from time import sleep

from cpython.contextvars cimport get_value
from libc.float cimport DBL_MAX, FLT_MAX

IN_USE = (
    "the network is in use in another thread, and training it or calling forward and backward needs it alone; "
    "give each thread a network of its own: net.copy()"
)
NAP = 1e-4  # seconds between two looks at whether the network is free


cdef inline bint is_plain(object x, int dtype, Py_ssize_t columns) noexcept:
    """Whether x is a matrix as kernels take it; ANY admits every number of columns."""
    return (
        cnp.PyArray_CheckExact(x) and cnp.PyArray_NDIM(<cnp.ndarray> x) == 2 and cnp.PyArray_TYPE(<cnp.ndarray> x) == dtype
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> x) and (columns == ANY or cnp.PyArray_DIM(<cnp.ndarray> x, 1) == columns)
    )


cdef inline bint plain_finite(cnp.ndarray x) noexcept:
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT:
        return all_finite(<const float *> cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))
    return all_finite(<const double *> cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))


cdef inline bint join(int *users) noexcept nogil:
    """Be one more of those who predict, unless one has the network for itself."""
    cdef int seen = value_of(users)
    while seen >= 0:
        if replace(users, seen, seen + 1):
            return True
        seen = value_of(users)
    return False


cdef struct pass_t:  # one walk, and what it is given
    program_t *net
    Py_ssize_t n
    bint training
    uint64_t step
    bint input_gradient
    const void *result


cdef void forward_share(void *work, int part, int parts) noexcept nogil:
    cdef pass_t *p = <pass_t *> work
    cdef member_t m = member(&p.net.team, part, parts)
    cdef const void *result
    if p.net.dtype == cnp.NPY_FLOAT:
        result = forward_walk(p.net, <const float *> p.net.x, p.n, p.training, p.step, &m)
    else:
        result = forward_walk(p.net, <const double *> p.net.x, p.n, p.training, p.step, &m)
    if part == 0:  # the caller, which reads it
        p.result = result


cdef void backward_share(void *work, int part, int parts) noexcept nogil:
    cdef pass_t *p = <pass_t *> work
    cdef member_t m = member(&p.net.team, part, parts)
    cdef const void *result
    if p.net.dtype == cnp.NPY_FLOAT:
        result = backward_walk(p.net, <const float *> p.net.x, p.n, p.training, p.step, p.input_gradient, &m)
    else:
        result = backward_walk(p.net, <const double *> p.net.x, p.n, p.training, p.step, p.input_gradient, &m)
    if part == 0:
        p.result = result


cdef class Plan:
    """A network's table of operations over its flat arrays."""

    cdef program_t net
    cdef tuple arrays  # keeps the flat arrays alive
    cdef object choice  # the context variable that says which backend is in use
    cdef double flops  # of a forward with one row
    cdef int users  # how many predict; -1: one has the network for itself
    cdef int claims  # how many wait to have it for themselves: they go before new ones who predict
    cdef int generation  # of the process that these are threads of
    cdef pass_t last  # the forward that may have a backward
    cdef Py_ssize_t least_rows  # in training: batch norm needs two
    cdef bint waiting  # whether that forward still waits for its backward
    cdef bint zeroed  # whether the gradients of frozen layers are zero, which no backward touches
    cdef public bint current  # False when the network is no longer what the table says
    cdef readonly Py_ssize_t allocations  # how often a workspace was allocated

    def __cinit__(self, operations, parameters, gradients, buffers, uint64_t seed, choice):
        cdef Py_ssize_t i
        cdef Arrays seen
        cdef program_t *net = &self.net
        seen.count = 0
        net.parameters = array_out(&seen, parameters, b"parameters", ANY, FLAT)
        net.dtype, net.n_parameters = seen.dtype, seen.rows
        net.gradients = array_out(&seen, gradients, b"gradients", net.n_parameters, FLAT)
        net.buffers = array_out(&seen, buffers, b"buffers", ANY, FLAT)
        net.n_buffers = seen.rows
        net.seed = seed
        self.arrays = (parameters, gradients, buffers)
        self.choice = choice
        self.generation = generation
        self.least_rows = 1
        self.current = True
        self.last.net = net
        net.operation = <operation_t *> structures_in(operations, OPERATION, "OPERATION", b"operations", NULL, 0, &i)
        net.count = net.lowest = <int> i
        if net.count == 0:
            raise ValueError("operations must hold at least one")
        net.n_inputs = net.width = net.operation[0].fan_in
        net.n_outputs = net.operation[net.count - 1].fan_out
        check_table(net)
        for i in range(net.count - 1, -1, -1):
            op = &net.operation[i]
            net.width = max(net.width, op.fan_out)
            net.registers = max(net.registers, <int> (1 + max(op.target, op.source)))
            if op.kind == RESIDUAL_END:
                net.registers = max(net.registers, <int> (1 + op.skip))
            self.flops += 2.0 * op.fan_out * (op.fan_in if op.kind == DENSE else 1)
            if op.trainable:
                net.lowest = <int> i
            if op.kind == BATCH_NORM:
                self.least_rows = 2
        net.arrays = <arrays_t *> calloc(net.count, sizeof(arrays_t))
        if net.arrays is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.net.operation)
        free(self.net.arrays)
        free(self.net.memory)

    def assign(self, Py_ssize_t layer, str field not None, double value):
        """Give a layer's dropout or normalization another number; False, and nothing is done, where it takes another table.

        That is so for a rate that becomes or has been 0, as there is no operation then, and while the plan is in use.
        """
        cdef operation_t *op = NULL
        cdef int i
        for i in range(self.net.count):
            if self.net.operation[i].layer == layer and self.net.operation[i].kind in (DROPOUT, BATCH_NORM, LAYER_NORM):
                op = &self.net.operation[i]
        if op is NULL or not self.current or field not in ("rate", "momentum", "eps") or field == "rate" and not 0 < value < 1:
            return False
        self.forget_parent()
        if not self.take():
            return False
        if field == "rate":
            op.rate = value
        elif field == "momentum":
            op.momentum = value
        else:
            op.eps = value
        self.waiting = False  # what the last forward left was made with another number
        self.end()
        return True

    def predict(self, x):
        """The outputs for x in evaluation mode, a fresh array; None when x has to be converted first, or another backend serves."""
        cdef cnp.npy_intp[2] shape
        if not is_plain(x, self.net.dtype, self.net.n_inputs) or get_value(self.choice) != "cython":
            return None
        rows = <cnp.ndarray> x
        shape[0], shape[1] = cnp.PyArray_DIM(rows, 0), self.net.n_outputs
        if shape[0] == 0:
            return None
        outputs = cnp.PyArray_EMPTY(2, shape, self.net.dtype, 0)
        self.join_others()
        try:
            predict_into(&self.net, shape[0] * self.flops, cnp.PyArray_DATA(rows), cnp.PyArray_DATA(outputs), shape[0])
        finally:
            add_to(&self.users, -1)
        return outputs

    cpdef bint takes(self, Py_ssize_t rows, bint training):
        """Whether a batch of this number of rows can go through."""
        return rows >= (self.least_rows if training else 1)

    def attempt(self, x, bint training, noise, bint check_finite):
        """`forward` for an x that is as it should be, counting on in `noise`; None for any other."""
        if not is_plain(x, self.net.dtype, self.net.n_inputs):
            return None
        if not self.takes(cnp.PyArray_DIM(<cnp.ndarray> x, 0), training):
            return None
        if check_finite and not plain_finite(<cnp.ndarray> x):
            return None
        outputs = self.forward(x, training, noise.step)
        if training:
            noise.step += 1
        return outputs

    def forward(self, x, bint training, uint64_t step):
        """The outputs for x, a fresh array; `step` counts the forwards in training mode before this one."""
        cdef pass_t *p = &self.last
        cdef Arrays seen
        seen.count = 0
        cdef const void *rows = typed_in(&seen, x, b"x", ANY, self.net.n_inputs, self.net.dtype)
        cdef Py_ssize_t n = seen.rows
        if not self.takes(n, training):
            raise ValueError(f"x must have at least {self.least_rows if training else 1} row(s), got {n}")
        self.begin()
        try:
            self.waiting = False
            self.reserve(n)
            p.n, p.training, p.step = n, training, step
            memcpy(self.net.x, rows, n * self.net.n_inputs * item_size(self.net.dtype))
            run(forward_share, p, p.n * self.flops, 1, self.net.threads, &self.net.team)
            self.waiting = True
            return self.copied(p.result, self.net.n_outputs)
        finally:
            self.end()

    def backward(self, grad_outputs, bint input_gradient):
        """Fill the gradients of the parameters, given dL/doutputs of the last forward; dL/dx, a fresh array, if asked for."""
        cdef pass_t *p = &self.last
        cdef Arrays seen
        cdef const void *grad = NULL
        seen.count = 0
        self.begin()
        try:
            if self.waiting:
                grad = typed_in(&seen, grad_outputs, b"grad_outputs", p.n, self.net.n_outputs, self.net.dtype)
            self.take_waiting()
            p.input_gradient = input_gradient
            memcpy(self.net.grad[0], grad, p.n * self.net.n_outputs * item_size(self.net.dtype))
            run(backward_share, p, 2 * p.n * self.flops, 1, self.net.threads, &self.net.team)
            return self.copied(p.result, self.net.n_inputs) if input_gradient else None
        finally:
            self.end()

    def pull_back(self, Plan probe not None, x, grad_outputs):
        """The outputs for x in evaluation mode, and dL/dx, given dL/doutputs: fresh arrays, by another plan of the same network.

        The gradients, and the forward that may wait for its backward, are left alone. Training waits in the meantime.
        """
        if probe is self:
            raise ValueError("probe must be another plan")
        self.join_others()
        try:
            outputs = probe.forward(x, False, 0)
            return outputs, probe.backward(grad_outputs, True)
        finally:
            add_to(&self.users, -1)

    cdef int take_waiting(self) except -1:
        """Use up the forward, whose activations its backward overwrites."""
        if not self.waiting:
            raise RuntimeError("each backward needs a forward of its own before it")
        self.waiting = False
        self.zero_frozen()
        return 0

    cdef void zero_frozen(self) noexcept:
        cdef program_t *net = &self.net
        cdef Py_ssize_t item = item_size(net.dtype)
        cdef char *gradients = <char *> net.gradients
        cdef int i
        for i in range(0 if self.zeroed else net.count):
            op = &net.operation[i]
            if not op.trainable and op.weight >= 0:
                memset(gradients + op.weight * item, 0, op.fan_out * item * (op.fan_in if op.kind == DENSE else 1))
            if not op.trainable and op.bias >= 0:
                memset(gradients + op.bias * item, 0, op.fan_out * item)
        self.zeroed = True

    cdef object copied(self, const void *rows, Py_ssize_t columns):
        cdef cnp.npy_intp[2] shape = [self.last.n, columns]
        copy = cnp.PyArray_EMPTY(2, shape, self.net.dtype, 0)
        memcpy(cnp.PyArray_DATA(copy), rows, cnp.PyArray_NBYTES(copy))
        return copy

    cdef int begin(self) except -1:
        """Take the network for this thread alone, once those who predict are done; a second one that wants it alone is refused."""
        self.forget_parent()
        if self.take():
            return 0
        add_to(&self.claims, 1)
        try:
            while not self.take():
                if value_of(&self.users) < 0:
                    raise RuntimeError(IN_USE)
                sleep(NAP)
        finally:
            add_to(&self.claims, -1)
        return 0

    cdef inline bint take(self) noexcept:
        """Take the network now, unless another thread uses it or forks."""
        if replace(&self.users, 0, -1):
            if begin_step():
                return True
            add_to(&self.users, 1)
        return False

    cdef inline int join_others(self) except -1:
        """Be one of those who predict, at once or in the next pause of the training under way."""
        self.forget_parent()
        while value_of(&self.claims) or not join(&self.users):
            sleep(NAP)
        return 0

    cdef void end(self) noexcept:
        add_to(&self.users, 1)
        end_step()

    cdef inline void forget_parent(self) noexcept:
        """After a fork, nothing is in use: the threads that used the network stayed in the parent."""
        if self.generation != generation:
            self.generation = generation
            self.users = self.claims = 0

    cdef int reserve(self, Py_ssize_t rows) except -1:
        """Make the workspace large enough for batches of ``rows`` and for the current limit of threads."""
        cdef program_t *net = &self.net
        cdef int threads = min(value_of(&thread_limit), <int> MOST_PARTS)
        if rows <= net.rows and threads <= net.threads:
            return 0
        rows, threads = max(rows, net.rows), max(threads, net.threads)
        free(net.memory)
        net.rows = net.threads = 0
        size = lay_out(net, rows, threads, NULL) + CACHE_LINE
        net.memory = <char *> malloc(size)
        if net.memory is NULL:
            raise MemoryError(f"no memory for the activations of a batch of {rows} rows")
        use_large_pages(net.memory, size)
        lay_out(net, rows, threads, aligned(net.memory))
        net.rows, net.threads = rows, threads
        self.allocations += 1
        return 0
