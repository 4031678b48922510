# Plans: what Python sees of programs, training steps and prediction.
#
# A `Plan` runs a network, a `TrainingPlan` trains it. `_plan` makes both, and makes new ones when the network, the loss or the
# optimizer changes; what comes in has been checked there. One thread at a time may train or call forward and backward; any number
# may predict, between the stretches of a training.

from time import sleep

from cpython.contextvars cimport get_value
from libc.float cimport DBL_MAX

IN_USE = (
    "the network is in use in another thread, and training it or calling forward and backward needs it alone; "
    "give each thread a network of its own: net.copy()"
)
NAP = 1e-4  # seconds between two looks at whether the network is free
NAPS = 600_000  # about a minute: a step takes less, and a fork in the middle of one must not make its child wait forever


cdef inline bint is_plain(object x, int dtype, Py_ssize_t columns) noexcept:
    """Whether x is a matrix as kernels take it."""
    return (
        cnp.PyArray_CheckExact(x) and cnp.PyArray_NDIM(<cnp.ndarray> x) == 2 and cnp.PyArray_TYPE(<cnp.ndarray> x) == dtype
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> x) and cnp.PyArray_DIM(<cnp.ndarray> x, 1) == columns
    )


cdef inline bint plain_finite(cnp.ndarray x) noexcept:
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT:
        return all_finite(<const float *> cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))
    return all_finite(<const double *> cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))


cdef inline bint join(int *users) noexcept nogil:
    """Be one more of those who predict, unless one has the network for itself."""
    cdef int seen = users[0]
    while seen >= 0:
        if replace(users, seen, seen + 1):
            return True
        seen = users[0]
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
    if p.net.dtype == cnp.NPY_FLOAT:
        p.result = forward_walk(p.net, <const float *> p.net.x, p.n, p.training, p.step, &m)
    else:
        p.result = forward_walk(p.net, <const double *> p.net.x, p.n, p.training, p.step, &m)


cdef void backward_share(void *work, int part, int parts) noexcept nogil:
    cdef pass_t *p = <pass_t *> work
    cdef member_t m = member(&p.net.team, part, parts)
    if p.net.dtype == cnp.NPY_FLOAT:
        p.result = backward_walk(p.net, <const float *> p.net.x, p.n, p.training, p.step, p.input_gradient, &m)
    else:
        p.result = backward_walk(p.net, <const double *> p.net.x, p.n, p.training, p.step, p.input_gradient, &m)


cdef class Plan:
    """A network's table of operations over its flat arrays."""

    cdef program_t net
    cdef tuple arrays  # keeps them alive
    cdef object choice  # the context variable that says which backend is in use
    cdef double flops  # of a forward with one row
    cdef int users  # how many predict; -1: one has the network for itself
    cdef int claims  # how many wait to have it for themselves: they go before new ones who predict
    cdef pass_t last  # the forward that may have a backward
    cdef Py_ssize_t least_rows  # in training: batch norm needs two
    cdef bint waiting  # whether that forward still waits for its backward
    cdef bint zeroed  # whether the gradients of frozen layers are zero, which no backward touches
    cdef public bint current  # False when the network is no longer what the table says
    cdef readonly Py_ssize_t allocations  # how often a workspace was allocated

    def __cinit__(
        self, cnp.ndarray operations, cnp.ndarray parameters, cnp.ndarray gradients, cnp.ndarray buffers, uint64_t seed, choice
    ):
        cdef int i
        cdef program_t *net = &self.net
        if operations.dtype != OPERATION:
            raise TypeError(f"operations must be of dtype OPERATION, got {operations.dtype}")
        self.arrays = (operations, parameters, gradients, buffers)
        self.choice = choice
        self.least_rows = 1
        self.current = True
        self.last.net = net
        net.operation = <operation_t *> cnp.PyArray_DATA(operations)
        net.count = net.lowest = <int> operations.shape[0]
        net.dtype = cnp.PyArray_TYPE(parameters)
        net.seed = seed
        net.parameters = cnp.PyArray_DATA(parameters)
        net.gradients = cnp.PyArray_DATA(gradients)
        net.buffers = cnp.PyArray_DATA(buffers)
        net.n_parameters = parameters.shape[0]
        net.n_buffers = buffers.shape[0]
        net.n_inputs = net.width = net.operation[0].fan_in
        net.n_outputs = net.operation[net.count - 1].fan_out
        for i in range(net.count - 1, -1, -1):
            op = &net.operation[i]
            net.width = max(net.width, op.fan_out)
            net.registers = max(net.registers, <int> op.target + 1)
            self.flops += 2.0 * op.fan_out * (op.fan_in if op.kind == DENSE else 1)
            if op.trainable:
                net.lowest = i
            if op.kind == BATCH_NORM:
                self.least_rows = 2
        net.arrays = <arrays_t *> calloc(net.count, sizeof(arrays_t))
        if net.arrays is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.net.arrays)
        free(self.net.memory)

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
        if self.claims or not join(&self.users):
            self.wait_to_join()
        try:
            predict_into(&self.net, shape[0] * self.flops, cnp.PyArray_DATA(rows), cnp.PyArray_DATA(outputs), shape[0])
        finally:
            add_to(&self.users, -1)
        return outputs

    cpdef bint takes(self, Py_ssize_t rows, bint training):
        """Whether a batch of so many rows can go through."""
        return rows >= (self.least_rows if training else 1)

    def attempt(self, x, bint training, noise, bint check_finite):
        """`forward` for an x that is as it should be, counting on in `noise`; None for any other."""
        if not is_plain(x, self.net.dtype, self.net.n_inputs) or not self.takes(x.shape[0], training):
            return None
        if check_finite and not plain_finite(<cnp.ndarray> x):
            return None
        outputs = self.forward(x, training, noise.step)
        if training:
            noise.step += 1
        return outputs

    def forward(self, cnp.ndarray x, bint training, uint64_t step):
        """The outputs for x, a fresh array; `step` counts the forwards in training mode before this one."""
        cdef pass_t *p = &self.last
        self.begin()
        try:
            self.waiting = False
            self.reserve(x.shape[0])
            p.n, p.training, p.step = x.shape[0], training, step
            memcpy(self.net.x, cnp.PyArray_DATA(x), cnp.PyArray_NBYTES(x))
            run(forward_share, p, p.n * self.flops, 1, self.net.threads, &self.net.team)
            self.waiting = True
            return self.copied(p.result, self.net.n_outputs)
        finally:
            self.end()

    def backward(self, cnp.ndarray grad_outputs, bint input_gradient):
        """Fill the gradients of the parameters, given dL/doutputs of the last forward; dL/dx, a fresh array, if asked for."""
        cdef pass_t *p = &self.last
        self.begin()
        try:
            self.take_waiting()
            p.input_gradient = input_gradient
            memcpy(self.net.grad[0], cnp.PyArray_DATA(grad_outputs), cnp.PyArray_NBYTES(grad_outputs))
            run(backward_share, p, 2 * p.n * self.flops, 1, self.net.threads, &self.net.team)
            return self.copied(p.result, self.net.n_inputs) if input_gradient else None
        finally:
            self.end()

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
        if replace(&self.users, 0, -1):
            return 0
        add_to(&self.claims, 1)
        try:
            while not replace(&self.users, 0, -1):
                if self.users < 0:
                    raise RuntimeError(IN_USE)
                sleep(NAP)
        finally:
            add_to(&self.claims, -1)
        return 0

    cdef int wait_to_join(self) except -1:
        """Predict in the next pause of the training under way."""
        for _ in range(NAPS):
            sleep(NAP)
            if not self.claims and join(&self.users):
                return 0
        raise RuntimeError(IN_USE)

    cdef void end(self) noexcept:
        add_to(&self.users, 1)

    cdef int reserve(self, Py_ssize_t rows) except -1:
        """Have a workspace for so many rows, and for as many threads as may come."""
        cdef program_t *net = &self.net
        cdef int threads = min(thread_limit, <int> MOST_PARTS)
        if rows <= net.rows and threads <= net.threads:
            return 0
        rows, threads = max(rows, net.rows), max(threads, net.threads)
        free(net.memory)
        net.rows = net.threads = 0
        net.memory = <char *> malloc(lay_out(net, rows, threads, NULL) + CACHE_LINE)
        if net.memory is NULL:
            raise MemoryError(f"no memory for the activations of a batch of {rows} rows")
        lay_out(net, rows, threads, aligned(net.memory))
        net.rows, net.threads = rows, threads
        self.allocations += 1
        return 0

LOSSES = {
    "cross_entropy": CROSS_ENTROPY,
    "cross_entropy_soft": CROSS_ENTROPY_SOFT,
    "kl_divergence": KL_DIVERGENCE,
    "half_mse": HALF_MSE,
    "mse": MSE,
    "mae": MAE,
    "huber": HUBER,
    "log_cosh": LOG_COSH,
    "poisson": POISSON,
    "quantile": QUANTILE,
    "hinge": HINGE,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
}

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

TALLIES = {"decisions": DECISIONS, "errors": ERRORS}


cdef bint all_labels(const int64_t *labels, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    cdef bint good = True
    cdef Py_ssize_t i
    for i in range(n):
        good = good and 0 <= labels[i] < k
    return good


cdef int set_tally(tally_t *t, tally) except -1:
    """Take over a `_tally.Tally`."""
    cdef cnp.ndarray origin, sums, measured
    kind, t.separate, t.threshold, weight, origin, sums, measured = tally
    t.kind = TALLIES[kind]
    t.weight = NULL if weight is None else cnp.PyArray_DATA(weight)
    t.origin = <const double *> cnp.PyArray_DATA(origin)
    t.width = origin.shape[0]
    t.sums = <double *> cnp.PyArray_DATA(sums)
    t.measured = <double *> cnp.PyArray_DATA(measured)
    return 0


cdef bint all_within(const real *x, Py_ssize_t size, double low, double high) noexcept nogil:
    cdef int outside = 0
    cdef Py_ssize_t i
    for i in range(size):
        outside |= not low <= x[i] <= high
    return not outside


cdef class TrainingPlan:
    """A network's plan with a loss, an optimizer and clipping: everything that a training step needs."""

    cdef Plan plan
    cdef trainer_t trainer
    cdef tuple arrays  # keeps them alive
    cdef Py_ssize_t rows  # the largest batch there is memory for
    cdef dict loss_state  # the attributes of the loss and of the optimizer, whose settings the plan was made of
    cdef dict optimizer_state
    cdef object loss_settings
    cdef object optimizer_settings
    cdef bint weighted  # whether classes have weights
    cdef object optimizer
    cdef readonly double lr  # of the last step that came alone
    cdef readonly bint has_loss  # False: the loss is computed elsewhere, between forward and `finish`

    def __cinit__(
        self, Plan plan, loss, double loss_parameter, loss_column, dict loss_state, optimizer, tuple moments,
        cnp.ndarray spans, double clip_norm, double clip_value
    ):
        cdef dict scalars = vars(optimizer)
        cdef trainer_t *t = &self.trainer
        cdef update_t *u = &t.pace.update
        cdef int i
        self.plan = plan
        self.arrays = (loss_column, moments, spans)
        self.loss_state, self.loss_settings = loss_state, loss_state.get("settings")
        self.optimizer, self.optimizer_state, self.optimizer_settings = optimizer, scalars, scalars.get("settings")
        t.net = &plan.net
        self.has_loss = loss is not None
        self.weighted = loss_state.get("class_weight") is not None
        t.loss.kind = LOSSES[loss] if self.has_loss else MSE
        t.loss.parameter = loss_parameter
        t.loss.column = NULL if loss_column is None else cnp.PyArray_DATA(loss_column)
        t.spans = <const span_t *> cnp.PyArray_DATA(spans)
        t.n_spans = spans.shape[0]
        t.clip_norm = clip_norm
        t.clip_value = clip_value
        u.kind = UPDATES[optimizer.kernel]
        for i in range(3):
            u.state[i] = NULL if i >= len(moments) or moments[i] is None else cnp.PyArray_DATA(moments[i])
        u.decoupled = scalars.get("decoupled", False)
        u.nesterov = scalars.get("nesterov", False)
        u.momentum = scalars.get("momentum", 0)
        u.dampening = scalars.get("dampening", 0)
        u.alpha = scalars.get("alpha", 0)
        u.rho = scalars.get("rho", 0)
        u.beta1, u.beta2 = scalars.get("betas", (0, 0))
        u.eps = scalars.get("eps", 0)
        u.eta_minus, u.eta_plus = scalars.get("etas", (0, 0))
        u.step_min, u.step_max = scalars.get("step_sizes", (0, 0))
        t.pace.lr_decay = scalars.get("lr_decay", 0)
        t.pace.momentum_decay = scalars.get("momentum_decay", 0)
        t.pace.mu_product = 1

    def __dealloc__(self):
        free(self.trainer.memory)
        self.free_groups()

    def is_current(self):
        """Whether network, loss and optimizer are what they were, and the compiled backend is in use."""
        return (
            self.plan.current and self.optimizer_state.get("settings") is self.optimizer_settings
            and self.loss_state.get("settings") is self.loss_settings and get_value(self.plan.choice) == "cython"
        )

    def takes(self, Py_ssize_t rows):
        """Whether a batch of so many rows can go through."""
        return rows >= self.plan.least_rows

    def step(self, x, y, noise):
        """Train on one batch and return its loss; None, and nothing is done, when there is anything to convert or to refuse.

        The optimizer's count goes on; so does that of `noise`.
        """
        cdef stretch_t s
        cdef double loss, weight
        if not (cnp.PyArray_CheckExact(y) and is_plain(x, self.plan.net.dtype, self.plan.net.n_inputs)):
            return None
        cdef cnp.ndarray rows = <cnp.ndarray> x, targets = <cnp.ndarray> y
        cdef Py_ssize_t n = cnp.PyArray_DIM(rows, 0)
        if self.weighted or n < self.plan.least_rows or not (self.is_current() and self.accepts(targets, n)):
            return None
        rate = self.optimizer_state["_lr"]
        self.lr = rate if type(rate) is float else self.optimizer.learning_rate
        memset(&s, 0, sizeof(s))
        s.trainer = &self.trainer
        s.x = cnp.PyArray_DATA(rows)
        s.targets = cnp.PyArray_DATA(targets)
        s.rows = s.batch = n
        s.count = 1
        s.lr = &self.lr
        s.updates = self.optimizer_state["steps"]
        s.noise = noise.step
        s.check_finite = True
        s.losses = &loss
        s.weights = &weight
        self.train(&s)
        if s.end != FINISHED:
            return None
        self.optimizer_state["steps"] = s.updates + 1
        noise.step = s.noise + 1
        return loss

    cdef bint accepts(self, cnp.ndarray targets, Py_ssize_t n):
        """Whether the targets are what the loss's kernel takes, shape, dtype and range."""
        cdef trainer_t *t = &self.trainer
        cdef Py_ssize_t k = t.net.n_outputs
        self.tell_labels(targets)
        cdef bint counts = t.loss.kind == POISSON or t.loss.kind == CROSS_ENTROPY_SOFT or t.loss.kind == KL_DIVERGENCE
        cdef bint shares = t.loss.kind == BINARY_CROSS_ENTROPY
        cdef double low = 0 if counts or shares else -DBL_MAX, high = 1 if shares else DBL_MAX
        if cnp.PyArray_DIM(targets, 0) != n or not cnp.PyArray_ISCARRAY_RO(targets):
            return False
        if t.loss.kind == CROSS_ENTROPY:
            return (
                cnp.PyArray_NDIM(targets) == 1 and cnp.PyArray_TYPE(targets) == cnp.NPY_INT64
                and all_labels(<const int64_t *> cnp.PyArray_DATA(targets), n, k)
            )
        if (
            t.loss.kind == HINGE or cnp.PyArray_TYPE(targets) != t.net.dtype or cnp.PyArray_SIZE(targets) != n * k
            or not cnp.PyArray_NDIM(targets) == 2 and not (cnp.PyArray_NDIM(targets) == 1 and k == 1)
        ):
            return False
        if t.net.dtype == cnp.NPY_FLOAT:
            return all_within(<const float *> cnp.PyArray_DATA(targets), n * k, low, high)
        return all_within(<const double *> cnp.PyArray_DATA(targets), n * k, low, high)

    cdef inline void tell_labels(self, cnp.ndarray targets) noexcept:
        """Cross entropy has two kernels, one for labels and one for probabilities."""
        cdef loss_t *loss = &self.trainer.loss
        if loss.kind == CROSS_ENTROPY or loss.kind == CROSS_ENTROPY_SOFT:
            loss.kind = CROSS_ENTROPY if cnp.PyArray_TYPE(targets) == cnp.NPY_INT64 else CROSS_ENTROPY_SOFT

    def run(
        self, cnp.ndarray x, cnp.ndarray targets, weight, order, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t batch,
        cnp.ndarray lr, Py_ssize_t updates, uint64_t noise, bint check_finite, cnp.ndarray losses, cnp.ndarray weights, outputs,
        tally
    ):
        """Take the steps for ``order[start:stop]``, or for these rows as they lie: (whole steps, updates, how it ended)."""
        cdef stretch_t s
        memset(&s, 0, sizeof(s))
        s.trainer = &self.trainer
        s.x = cnp.PyArray_DATA(x)
        s.targets = cnp.PyArray_DATA(targets)
        s.weight = NULL if weight is None else cnp.PyArray_DATA(weight)
        s.order = NULL if order is None else <const Py_ssize_t *> cnp.PyArray_DATA(order)
        s.first = start
        s.rows = stop - start
        s.batch = batch
        self.tell_labels(targets)
        s.count = (s.rows + batch - 1) // batch
        s.lr = <const double *> cnp.PyArray_DATA(lr)
        s.updates = updates
        s.noise = noise
        s.check_finite = check_finite
        s.losses = <double *> cnp.PyArray_DATA(losses)
        s.weights = <double *> cnp.PyArray_DATA(weights)
        s.outputs = NULL if outputs is None else cnp.PyArray_DATA(outputs)
        if tally is not None:
            set_tally(&s.tally, tally)
        self.train(&s)
        return s.done, s.updated, s.end

    cdef int train(self, stretch_t *s) except -1:
        self.plan.begin()
        try:
            self.plan.waiting = False
            self.plan.zero_frozen()
            self.reserve_stretch(s.batch, s.rows)
            s.pace = self.trainer.pace
            run(train_share, s, 3 * s.batch * self.plan.flops, s.count, self.plan.net.threads, &self.plan.net.team)
            if s.end != FINISHED:
                memcpy(self.plan.net.buffers, self.trainer.buffers, self.plan.net.n_buffers * item_size(self.plan.net.dtype))
        finally:
            self.plan.end()
        return 0

    def plain(self, x, y):
        """Whether x and y are as kernels, and losses of one's own, take them: of their dtypes, as many rows, and finite."""
        cdef program_t *net = &self.plan.net
        if not (is_plain(x, net.dtype, net.n_inputs) and is_plain(y, net.dtype, cnp.PyArray_DIM(<cnp.ndarray> y, 1))):
            return False
        return x.shape[0] == y.shape[0] and plain_finite(<cnp.ndarray> x) and plain_finite(<cnp.ndarray> y)

    def finish(self, grad_outputs, double lr):
        """Backward, clip and update, given dL/doutputs of the plan's last forward; False when the gradient is not finite.

        None, and nothing is done, when it has to be converted first, or there was no such forward in training mode.
        """
        cdef stretch_t s
        cdef pass_t *p = &self.plan.last
        if not (is_plain(grad_outputs, p.net.dtype, p.net.n_outputs) and self.plan.waiting and p.training and self.is_current()):
            return None
        if grad_outputs.shape[0] != p.n:
            return None
        memset(&s, 0, sizeof(s))
        s.trainer = &self.trainer
        s.rows = p.n
        s.noise = p.step
        self.lr = lr
        s.lr = &self.lr
        s.updates = self.optimizer_state["steps"]
        self.plan.begin()
        try:
            self.plan.take_waiting()
            self.reserve(p.n)
            memcpy(p.net.grad[0], cnp.PyArray_DATA(<cnp.ndarray> grad_outputs), cnp.PyArray_NBYTES(<cnp.ndarray> grad_outputs))
            s.pace = self.trainer.pace
            run(finish_share, &s, 2 * p.n * self.plan.flops, 1, p.net.threads, &p.net.team)
        finally:
            self.plan.end()
        if s.end == FINISHED:
            self.optimizer_state["steps"] = s.updates + 1
        return s.end == FINISHED

    cdef int reserve_stretch(self, Py_ssize_t batch, Py_ssize_t rows) except -1:
        """Have memory for these rows in batches: of the whole network for what is not sliced, of a slice for the rest."""
        cdef program_t *net = &self.plan.net
        cdef Py_ssize_t most = min(batch, rows), last = rows % batch
        self.reserve(most)
        if slice_of(net, most) == 0:
            return self.plan.reserve(most)
        self.plan.reserve(last if last and slice_of(net, last) == 0 else 1)
        return self.reserve_groups(most)

    cdef int reserve(self, Py_ssize_t rows) except -1:
        """Have memory for what a batch of so many rows brings along."""
        cdef trainer_t *t = &self.trainer
        if rows <= self.rows:
            return 0
        free(t.memory)
        self.rows = 0
        t.memory = <char *> malloc(self.lay_out(rows, NULL) + CACHE_LINE)
        if t.memory is NULL:
            raise MemoryError(f"no memory for a batch of {rows} rows")
        self.lay_out(rows, aligned(t.memory))
        self.rows = rows
        self.plan.allocations += 1
        return 0

    cdef int reserve_groups(self, Py_ssize_t rows) except -1:
        """Have memory for groups of slices of batches of so many rows, for as many threads as may come."""
        cdef groups_t *g = &self.trainer.groups
        cdef program_t *net = &self.plan.net
        if rows <= g.rows and net.threads <= g.threads:
            return 0
        self.free_groups()
        g.slice, g.threads = slice_of(net, rows), net.threads
        g.local = <program_t *> calloc(g.threads, sizeof(program_t))
        g.arrays = <arrays_t *> calloc(g.threads * net.count, sizeof(arrays_t))
        if g.local is not NULL and g.arrays is not NULL:  # the gradients of frozen layers stay zero
            g.memory = <char *> calloc(lay_out_groups(g, net, rows, NULL) + CACHE_LINE, 1)
        if g.memory is NULL:
            self.free_groups()
            raise MemoryError(f"no memory for a batch of {rows} rows")
        lay_out_groups(g, net, rows, aligned(g.memory))
        g.rows = rows
        self.plan.allocations += 1
        return 0

    cdef void free_groups(self) noexcept:
        cdef groups_t *g = &self.trainer.groups
        free(g.memory)
        free(g.local)
        free(g.arrays)
        memset(g, 0, sizeof(groups_t))

    cdef Py_ssize_t lay_out(self, Py_ssize_t rows, char *start) noexcept:
        cdef trainer_t *t = &self.trainer
        cdef Py_ssize_t used = 0, k = t.net.n_outputs
        t.targets = take(&used, start, rows * max(k, 1) * sizeof(double))
        t.weight = take(&used, start, rows * sizeof(double))
        t.outputs = take(&used, start, rows * k * sizeof(double) if slice_of(t.net, rows) else 0)
        t.buffers = take(&used, start, t.net.n_buffers * sizeof(double))
        t.partial = <double *> take(
            &used, start, max(loss_block_count(&t.loss, rows, k), span_block_count(t.spans, t.n_spans)) * sizeof(double)
        )
        return used
