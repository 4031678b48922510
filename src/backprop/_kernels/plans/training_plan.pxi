# Training plans: the plan of a network with a loss, an optimizer and clipping, for whole training steps.
#
# `backprop._training.plan` makes one, replaces it when the network changes, and passes on options that have been assigned.

MOST_UPDATE_AGES: int = MOST_AGES


cdef bint all_within(const real *x, Py_ssize_t size, double low, double high) noexcept nogil:
    cdef int outside = 0
    cdef Py_ssize_t i
    for i in range(size):
        outside |= not low <= x[i] <= high
    return not outside


cdef bint has_weight(cnp.ndarray weight) noexcept:
    """Whether weights, of either dtype, have a sum that is neither 0 nor huge; NaN is neither."""
    cdef double total
    if cnp.PyArray_TYPE(weight) == cnp.NPY_FLOAT:
        total = sum_of_absolutes(<const float *> cnp.PyArray_DATA(weight), cnp.PyArray_SIZE(weight))
    else:
        total = sum_of_absolutes(<const double *> cnp.PyArray_DATA(weight), cnp.PyArray_SIZE(weight))
    return 0 < total < FLT_MAX


cdef bint weigh_labels(
    const int64_t *labels, const double *by_class, const real *weight, real *into, Py_ssize_t n, Py_ssize_t k
) noexcept nogil:
    """The weights of rows: those of their classes, times ``weight`` where there is any. False if a label is no class."""
    cdef Py_ssize_t i
    cdef int64_t label
    for i in range(n):
        label = read_once(labels + i)
        if not 0 <= label < k:
            return False
        into[i] = <real> (by_class[label] if weight is NULL else by_class[label] * weight[i])
    return True


cdef class SpanTable:
    """Spans over the flat parameters, checked, in memory of their own."""

    cdef spans_t spans

    def __cinit__(self, given, Py_ssize_t size):
        take_spans(&self.spans, given, size)

    def __dealloc__(self):
        drop_spans(&self.spans)


cdef class TrainingPlan:
    """A network's plan with a loss, an optimizer and clipping: everything that a training step needs.

    The constructor takes what stays; `renew` takes the options, at first and whenever one has been assigned.
    """

    cdef Plan plan
    cdef trainer_t trainer
    cdef tuple arrays  # keeps them alive
    cdef list tables  # likewise: those of all spans that the trainer points to
    cdef SpanTable penalized
    cdef Py_ssize_t rows  # the largest batch there is memory for
    cdef Py_ssize_t *order  # of the rows of a stretch
    cdef Py_ssize_t order_room  # the rows that it has room for
    cdef dict loss_state  # the attributes of the loss and of the optimizer, whose settings the plan was made of
    cdef dict optimizer_state
    cdef dict lr_state  # of the schedule; None: the learning rate is a number
    cdef object loss_settings
    cdef object optimizer_settings
    cdef object lr_settings
    cdef bint weighted  # whether classes have weights
    cdef object class_weights  # a number for each; None: they depend on the targets
    cdef double target_low, target_high  # between which targets that are numbers lie
    cdef object optimizer
    cdef object loss_name
    cdef object accumulation  # the steps that wait for an update; None: none do
    cdef readonly double lr  # of the last update by `step` or `finish`
    cdef readonly bint updated  # whether the last single step ended with an update
    cdef readonly bint awaited  # whether the last stretch ended before one, which `update` makes
    cdef readonly bint has_loss  # False: the loss is computed elsewhere, between forward and `finish`
    cdef readonly bint has_formula  # False: the optimizer is one of the user's, which updates after a pause
    cdef readonly bint pauses  # whether a stretch ends before an update
    cdef readonly bint whole  # whether steps are one call: it has the loss, and does not pause before updates
    cdef public bint stale  # whether options have changed since the last `renew`

    def __cinit__(self, Plan plan not None, loss, dict loss_state not None, optimizer, penalized):
        cdef trainer_t *t = &self.trainer
        self.plan = plan
        self.loss_name, self.loss_state = loss, loss_state
        self.optimizer, self.optimizer_state = optimizer, vars(optimizer)
        self.has_loss = loss is not None
        self.stale = True
        t.net = &plan.net
        t.loss.kind = LOSSES[loss] if self.has_loss else MSE
        self.penalized = SpanTable(penalized, plan.net.n_parameters)
        t.penalized, t.n_penalized = self.penalized.spans.at, self.penalized.spans.count

    def note_settings(self, bint has_formula):
        """Note which options of loss, optimizer and schedule are about to be read: a later assignment makes the plan stale."""
        self.stale = False
        self.loss_settings, self.optimizer_settings = self.loss_state.get("settings"), self.optimizer_state.get("settings")
        lr = self.optimizer_state["lr"] if has_formula else 0.0
        self.lr_state = None if type(lr) is float else vars(lr)
        self.lr_settings = None if self.lr_state is None else self.lr_state.get("settings")

    def renew(
        self, double loss_parameter, loss_column, tuple target_range not None, tuple moments not None, spans, list ages not None,
        double clip_norm, double clip_value, double l2, Py_ssize_t accumulate_steps, accumulation, class_weights, bint pauses,
        bint has_formula
    ):
        """Take over options, after `note_settings`, of loss, optimizer and trainer; if one is refused, nothing changes."""
        mean = None if accumulation is None else accumulation.mean
        self.plan.begin()
        try:
            self.take_options(
                loss_parameter, loss_column, target_range, moments, spans, ages, clip_norm, clip_value, l2, accumulate_steps, mean,
                class_weights, has_formula,
            )
            self.accumulation = accumulation
            self.trainer.pauses = self.pauses = pauses or not has_formula
            self.has_formula = has_formula
            self.whole = self.has_loss and not self.pauses
        finally:
            self.plan.end()

    cdef int take_options(
        self, double loss_parameter, loss_column, tuple target_range, tuple moments, spans, list ages, double clip_norm,
        double clip_value, double l2, Py_ssize_t accumulate_steps, mean, class_weights, bint has_formula
    ) except -1:
        cdef trainer_t t = self.trainer
        cdef Arrays seen
        cdef SpanTable table = SpanTable(spans, self.plan.net.n_parameters)
        cdef list tables = [table]
        cdef Py_ssize_t size = self.plan.net.n_parameters
        cdef double low, high
        memset(&t.pace, 0, sizeof(pace_t))  # running products begin anew
        low, high = target_range
        t.loss.parameter = loss_parameter
        seen.count, seen.dtype = 0, self.plan.net.dtype
        array_in(&seen, self.plan.arrays[0], b"parameters", size, FLAT)
        t.loss.column = optional_in(&seen, loss_column, b"loss_column", self.plan.net.n_outputs, FLAT)
        t.spans, t.n_spans = table.spans.at, table.spans.count
        if len(ages) > MOST_AGES:
            raise ValueError(f"ages must be at most {<int> MOST_AGES}, got {len(ages)}")
        t.n_ages = 0
        for missed, part in ages:
            table = SpanTable(part, size)
            tables.append(table)
            t.age[t.n_ages].spans, t.age[t.n_ages].n_spans = table.spans.at, table.spans.count
            t.age[t.n_ages].missed = missed
            t.n_ages += 1
        t.l2 = l2
        t.clip_norm = clip_norm
        t.clip_value = clip_value
        t.accumulate_steps = accumulate_steps
        t.mean = optional_out(&seen, mean, b"mean", size, FLAT)
        if class_weights is not None:
            typed_in(&seen, class_weights, b"class_weights", self.plan.net.n_outputs, FLAT, cnp.NPY_DOUBLE)
        t.limit, t.stretch = INFINITY, 1
        if has_formula:
            self.take_formula(&t, &seen, moments)
        # All is well: from here on, nothing is refused.
        if span_block_count(t.spans, t.n_spans) > span_block_count(self.trainer.spans, self.trainer.n_spans):
            self.rows = 0  # sums over them need more memory
        self.trainer = t
        self.tables, self.arrays = tables, (loss_column, moments, mean)
        self.target_low, self.target_high = low, high
        self.weighted = self.loss_state.get("class_weight") is not None
        self.class_weights = class_weights
        return 0

    cdef int take_formula(self, trainer_t *t, Arrays *seen, tuple moments) except -1:
        """The formula of the optimizer: its kernel, moments and numbers."""
        cdef dict scalars = self.optimizer_state
        cdef update_t *u = &t.pace.update
        cdef Py_ssize_t i, size = self.plan.net.n_parameters
        u.kind = UPDATES[self.optimizer.kernel]
        if self.optimizer.squares:
            t.limit = GRADIENT_LIMIT_F if self.plan.net.dtype == cnp.NPY_FLOAT else GRADIENT_LIMIT_D
            t.stretch = 4 * t.limit  # their product is the power of two behind the largest number
        for i in range(3):
            moment = moments[i] if i < len(moments) else None
            u.state[i] = _state(seen, moment, b"moments", size, i < states_needed(u.kind))
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
        if not scalars.get("eps_corrected", True):
            t.pace.uncorrected_eps = u.eps
        t.pace.momentum_decay = scalars.get("momentum_decay", 0)
        t.pace.at_block1 = t.pace.at_block2 = 1
        set_powers(&t.powers, u.beta1, u.beta2)
        return 0

    def __dealloc__(self):
        free(self.trainer.memory)
        free(self.order)
        self.free_groups()

    def serves(self, Plan plan, loss):
        """Whether it is of this plan, with a loss of this name."""
        return self.plan is plan and self.loss_name == loss

    cpdef bint is_current(self):
        """Whether network, loss and optimizer are what they were, and the compiled backend is in use."""
        return (
            self.plan.current and not self.stale
            and (not self.has_formula or self.optimizer_state.get("settings") is self.optimizer_settings)
            and self.loss_state.get("settings") is self.loss_settings
            and (self.lr_state is None or self.lr_state.get("settings") is self.lr_settings)
            and get_value(self.plan.choice) == "cython"
        )

    def takes(self, Py_ssize_t rows):
        """Whether a batch of this number of rows can go through."""
        return rows >= self.plan.least_rows

    def step(self, x, y, sample_weight, noise):
        """Train on one batch and return its loss; None, and nothing is done, when there is anything to convert or to refuse.

        ``sample_weight`` may be None. The count of `noise` rises by one, that of the optimizer with an update.
        """
        cdef stretch_t s
        cdef loss_t kernel
        cdef double loss, weight, lr
        if not (cnp.PyArray_CheckExact(y) and is_plain(x, self.plan.net.dtype, self.plan.net.n_inputs)):
            return None
        cdef cnp.ndarray rows = <cnp.ndarray> x, targets = <cnp.ndarray> y
        cdef Py_ssize_t n = cnp.PyArray_DIM(rows, 0)
        kernel = self.loss_for(targets)
        if n < self.plan.least_rows or not (self.is_current() and self.accepts(kernel.kind, targets, n)):
            return None
        if sample_weight is not None:
            sample_weight = self.plain_weight(sample_weight, n)
            if sample_weight is None:
                return None
        if self.weighted:
            sample_weight = self.weight_of_labels(targets, sample_weight, kernel.kind, n)
            if sample_weight is None:
                return None
        rate = self.optimizer_state["lr"] if not self.pauses else 0.0  # `update` is given that
        lr = rate if type(rate) is float else self.optimizer.learning_rate
        memset(&s, 0, sizeof(s))
        s.trainer = &self.trainer
        s.loss = kernel
        s.x = cnp.PyArray_DATA(rows)
        s.targets = cnp.PyArray_DATA(targets)
        if sample_weight is not None:
            s.weight = cnp.PyArray_DATA(<cnp.ndarray> sample_weight)
        s.rows = s.batch = n
        s.count = 1
        s.lr = &lr
        if not self.pauses:
            s.updates = self.optimizer_state["steps"]
        s.noise = noise.step
        s.check_finite = True
        s.losses = &loss
        s.weights = &weight
        self.recall(&s)
        self.train(&s, NULL, n)
        if s.end != FINISHED and s.end != UPDATE_AWAITED or not s.reached.forwards:
            return None
        noise.step = s.noise + 1
        self.note(&s)
        return loss

    cdef int recall(self, stretch_t *s) except -1:
        """Begin a stretch with the steps that wait for an update."""
        if self.accumulation is not None:
            s.before.waiting, s.before.weight, s.before.filled = (
                self.accumulation.steps, self.accumulation.weight, self.accumulation.filled
            )
            s.reached = s.before
        return 0

    cdef int remember(self, const stretch_t *s) except -1:
        """Keep the steps that wait for an update after a stretch, and whether the caller sees the gradients before it."""
        self.awaited = s.end == UPDATE_AWAITED
        if self.awaited:
            self.plan.zeroed = False  # a hook may write the gradients of frozen layers, too
        if self.accumulation is not None:
            self.accumulation.steps = s.reached.waiting
            self.accumulation.weight = s.reached.weight
            self.accumulation.filled = s.reached.filled
        return 0

    cdef int note(self, const stretch_t *s) except -1:
        """Record the result of a single step."""
        self.remember(s)
        self.updated = s.reached.updated == 1
        if self.updated:
            self.lr = s.lr[0]
            self.optimizer_state["steps"] = s.updates + 1
        return 0

    cdef object plain_weight(self, sample_weight, Py_ssize_t n):
        """Return the weights of n rows in the network's dtype; None if that takes more than a cast, or their sum is 0 or huge."""
        if not cnp.PyArray_CheckExact(sample_weight):
            return None
        cdef cnp.ndarray weight = <cnp.ndarray> sample_weight
        if cnp.PyArray_NDIM(weight) != 1 or cnp.PyArray_DIM(weight, 0) != n or not cnp.PyArray_ISCARRAY_RO(weight):
            return None
        if not (cnp.PyArray_TYPE(weight) == cnp.NPY_FLOAT or cnp.PyArray_TYPE(weight) == cnp.NPY_DOUBLE) or not has_weight(weight):
            return None
        if cnp.PyArray_TYPE(weight) != self.plan.net.dtype:
            weight = cnp.PyArray_Cast(weight, self.plan.net.dtype)
            return weight if has_weight(weight) else None  # all may have become 0
        return weight

    cdef object weight_of_labels(self, cnp.ndarray labels, sample_weight, int kind, Py_ssize_t n):
        """Return the weights of rows with these labels, times ``sample_weight`` where it is given; None for any other targets."""
        cdef cnp.npy_intp[1] shape = [n]
        cdef const void *given = NULL if sample_weight is None else cnp.PyArray_DATA(<cnp.ndarray> sample_weight)
        cdef bint good
        if self.class_weights is None or not takes_labels(kind):
            return None
        numbers = <const int64_t *> cnp.PyArray_DATA(labels)
        by_class = <const double *> cnp.PyArray_DATA(<cnp.ndarray> self.class_weights)
        weight = cnp.PyArray_EMPTY(1, shape, self.plan.net.dtype, 0)
        into = cnp.PyArray_DATA(weight)
        if self.plan.net.dtype == cnp.NPY_FLOAT:
            good = weigh_labels(numbers, by_class, <const float *> given, <float *> into, n, self.plan.net.n_outputs)
        else:
            good = weigh_labels(numbers, by_class, <const double *> given, <double *> into, n, self.plan.net.n_outputs)
        return weight if good and has_weight(weight) else None

    cdef bint accepts(self, int kind, cnp.ndarray targets, Py_ssize_t n) noexcept:
        """Whether the targets are what the kernel of that kind of loss takes: shape, dtype and range."""
        cdef const program_t *net = &self.plan.net
        cdef int ndim = cnp.PyArray_NDIM(targets)
        cdef Py_ssize_t k = net.n_outputs
        cdef double low = max(self.target_low, -DBL_MAX), high = min(self.target_high, DBL_MAX)
        if ndim == 0 or cnp.PyArray_DIM(targets, 0) != n or not cnp.PyArray_ISCARRAY_RO(targets):
            return False
        if takes_labels(kind):
            if not cnp.PyArray_EquivTypenums(cnp.PyArray_TYPE(targets), cnp.NPY_INT64):
                return False
            return ndim == 1 and first_outside(<const int64_t *> cnp.PyArray_DATA(targets), n, k) == n
        if (
            kind == HINGE or kind == GAUSSIAN or cnp.PyArray_TYPE(targets) != net.dtype or cnp.PyArray_SIZE(targets) != n * k
            or not ndim == 2 and not (ndim == 1 and k == 1)
        ):
            return False
        if net.dtype == cnp.NPY_FLOAT:
            return all_within(<const float *> cnp.PyArray_DATA(targets), n * k, low, high)
        return all_within(<const double *> cnp.PyArray_DATA(targets), n * k, low, high)

    cdef inline loss_t loss_for(self, cnp.ndarray targets) noexcept:
        """The loss for these targets: cross entropy has two kernels, one for labels and one for probabilities."""
        cdef loss_t loss = self.trainer.loss
        cdef int dtype = cnp.PyArray_TYPE(targets)
        if loss.kind == CROSS_ENTROPY and dtype != cnp.NPY_INT64 and not cnp.PyArray_EquivTypenums(dtype, cnp.NPY_INT64):
            loss.kind = CROSS_ENTROPY_SOFT
        return loss

    def run(
        self, x, targets, weight, order, Py_ssize_t batch, lr, Py_ssize_t updates, uint64_t noise, double mean_weight,
        bint check_finite, losses, weights, outputs, tally
    ):
        """Take the steps for the rows in ``order``, or for all as they lie: (whole steps, forwards, updates, how it ended).

        ``mean_weight``: the mean |weight| of the rows of the data; 0 divides every batch by its own weight.
        """
        cdef stretch_t s
        cdef Arrays seen
        cdef const program_t *net = &self.plan.net
        cdef const Py_ssize_t *numbers = NULL
        cdef Py_ssize_t data, k = net.n_outputs
        if self.tables is None:
            raise RuntimeError("a training plan needs its options before a step: call renew first")
        memset(&s, 0, sizeof(s))
        seen.count = 0
        s.trainer = &self.trainer
        s.x = typed_in(&seen, x, b"x", ANY, net.n_inputs, net.dtype)
        s.rows = data = seen.rows
        if not cnp.PyArray_Check(targets):
            raise TypeError(f"targets must be a NumPy array, got {type(targets).__name__}")
        s.loss = self.loss_for(<cnp.ndarray> targets)
        if takes_labels(s.loss.kind):
            s.targets = typed_in(&seen, targets, b"labels", data, FLAT, cnp.NPY_INT64)
        elif k == 1 and cnp.PyArray_NDIM(<cnp.ndarray> targets) == 1:
            s.targets = array_in(&seen, targets, b"targets", data, FLAT)
        else:
            s.targets = array_in(&seen, targets, b"targets", data, k)
        s.weight = optional_in(&seen, weight, b"weight", data, FLAT)
        if order is not None:
            numbers = <const Py_ssize_t *> typed_in(&seen, order, b"order", ANY, FLAT, cnp.NPY_INTP)
            s.rows = seen.rows
        if batch < 1 or s.rows == 0 or (s.rows - 1) % batch + 1 < self.plan.least_rows:
            raise ValueError(f"batch must leave at least {self.plan.least_rows} row(s) in each step, got {batch} for {s.rows} rows")
        s.batch = min(batch, s.rows)
        s.count = (s.rows + s.batch - 1) // s.batch
        s.lr = <const double *> typed_in(&seen, lr, b"lr", s.count, FLAT, cnp.NPY_DOUBLE)
        s.updates = updates
        s.noise = noise
        s.mean_weight = mean_weight
        s.check_finite = check_finite
        s.losses = <double *> typed_out(&seen, losses, b"losses", s.count, FLAT, cnp.NPY_DOUBLE)
        s.weights = <double *> typed_out(&seen, weights, b"weights", s.count, FLAT, cnp.NPY_DOUBLE)
        s.outputs = optional_out(&seen, outputs, b"outputs", s.rows, k)
        if tally is not None:
            set_tally(&s.tally, &seen, tally, takes_labels(s.loss.kind), data, k)
        self.recall(&s)
        self.train(&s, numbers, data)
        self.remember(&s)
        return s.reached.done, s.reached.forwards, s.reached.updated, s.end

    cdef int train(self, stretch_t *s, const Py_ssize_t *order, Py_ssize_t data) except -1:
        """Take the steps of a stretch over rows of the data that have these numbers, or over the data as it lies."""
        self.plan.begin()
        try:
            if order is not NULL:
                s.order = self.own_order(order, s.rows, data)
            self.plan.waiting = False
            self.plan.zero_frozen()
            self.reserve_stretch(s.batch, s.rows)
            s.pace = self.trainer.pace
            run(train_share, s, 3 * s.batch * self.plan.flops, s.count, self.plan.net.threads, &self.plan.net.team)
            if s.end != FINISHED and s.end != UPDATE_AWAITED:
                memcpy(self.plan.net.buffers, self.trainer.buffers, self.plan.net.n_buffers * item_size(self.plan.net.dtype))
        finally:
            self.plan.end()
        return 0

    def plain(self, x, y):
        """Whether x and y are as kernels and custom losses take them: of the network's dtype, with the same rows, and finite."""
        cdef program_t *net = &self.plan.net
        if not (is_plain(x, net.dtype, net.n_inputs) and is_plain(y, net.dtype, ANY)):
            return False
        cdef cnp.ndarray rows = <cnp.ndarray> x, targets = <cnp.ndarray> y
        return cnp.PyArray_DIM(rows, 0) == cnp.PyArray_DIM(targets, 0) and plain_finite(rows) and plain_finite(targets)

    def finish(self, grad_outputs, double lr, double divisor):
        """Backward, clip and update, given dL/doutputs of the plan's last forward; False when the gradient is not finite.

        ``divisor``: what the sum over the rows is divided by, and so is the penalty; 0: their number.

        None, and nothing is done, when it has to be converted first, or there was no such forward in training mode.
        """
        cdef stretch_t s
        cdef pass_t *p = &self.plan.last
        if not (is_plain(grad_outputs, p.net.dtype, p.net.n_outputs) and self.plan.waiting and p.training and self.is_current()):
            return None
        cdef cnp.ndarray grad = <cnp.ndarray> grad_outputs
        if cnp.PyArray_DIM(grad, 0) != p.n:
            return None
        memset(&s, 0, sizeof(s))
        s.trainer = &self.trainer
        s.rows = cnp.PyArray_DIM(grad, 0)
        s.divisor = divisor if divisor > 0 else s.rows
        s.lr = &lr
        if not self.pauses:
            s.updates = self.optimizer_state["steps"]
        self.plan.begin()
        try:
            s.noise = p.step
            if p.n != s.rows or not p.training:
                raise RuntimeError(IN_USE)  # another thread has called forward meanwhile
            self.plan.take_waiting()
            self.reserve(s.rows)
            memcpy(p.net.grad[0], cnp.PyArray_DATA(grad), s.rows * p.net.n_outputs * item_size(p.net.dtype))
            s.pace = self.trainer.pace
            self.recall(&s)
            run(finish_share, &s, 2 * s.rows * self.plan.flops, 1, p.net.threads, &p.net.team)
        finally:
            self.plan.end()
        if s.end == GRADIENT_NOT_FINITE:
            return False
        self.note(&s)
        return True

    def update(self, double lr):
        """Clip and update with the current gradients, after a pause; False when they are not finite.

        None, and nothing is done, when an option has been assigned since, or when the optimizer is a custom one.
        """
        cdef stretch_t s
        if not (self.has_formula and self.is_current()):
            return None
        memset(&s, 0, sizeof(s))
        s.trainer = &self.trainer
        s.lr = &lr
        s.updates = self.optimizer_state["steps"]
        self.plan.begin()
        try:
            self.reserve(1)  # for the sums of gradients
            s.pace = self.trainer.pace
            run(update_share, &s, self.plan.flops, 1, self.plan.net.threads, &self.plan.net.team)
        finally:
            self.plan.end()
        self.awaited = False
        if s.end == FINISHED:
            self.lr = lr
            self.optimizer_state["steps"] = s.updates + 1
        return s.end == FINISHED

    cdef const Py_ssize_t *own_order(self, const Py_ssize_t *order, Py_ssize_t rows, Py_ssize_t data) except NULL:
        """A copy of the numbers of rows, all of them below ``data``, which no other thread can change."""
        cdef Py_ssize_t at
        if rows > self.order_room:
            free(self.order)
            self.order_room = 0
            self.order = <Py_ssize_t *> malloc(2 * rows * sizeof(Py_ssize_t))  # stretches grow
            if self.order is NULL:
                raise MemoryError(f"no memory for the order of {rows} rows")
            self.order_room = 2 * rows
        memcpy(self.order, order, rows * sizeof(Py_ssize_t))
        at = first_outside(self.order, rows, data)
        if at < rows:
            raise ValueError(f"order must hold numbers of rows in [0, {data}), got {self.order[at]} at {at}")
        return self.order

    cdef int reserve_stretch(self, Py_ssize_t batch, Py_ssize_t rows) except -1:
        """Reserve memory for these rows in batches: for the whole network where they are not sliced, for a slice elsewhere."""
        cdef program_t *net = &self.plan.net
        cdef Py_ssize_t most = min(batch, rows), last = rows % batch
        self.reserve(most)
        if slice_of(net, most) == 0:
            return self.plan.reserve(most)
        self.plan.reserve(last if last and slice_of(net, last) == 0 else 1)
        return self.reserve_groups(most)

    cdef int reserve(self, Py_ssize_t rows) except -1:
        """Reserve memory for a batch of ``rows``: targets, weights, sliced outputs, buffers and partial sums."""
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
        """Reserve memory for groups of slices of batches of ``rows``, for every thread of the network's plan."""
        cdef groups_t *g = &self.trainer.groups
        cdef program_t *net = &self.plan.net
        if rows <= g.rows and net.threads <= g.threads:
            return 0
        self.free_groups()
        g.slice, g.threads = slice_of(net, rows), net.threads
        g.local = <program_t *> calloc(g.threads, sizeof(program_t))
        g.arrays = <arrays_t *> calloc(g.threads * net.count, sizeof(arrays_t))
        if g.local is not NULL and g.arrays is not NULL:  # the gradients of frozen layers stay zero
            size = lay_out_groups(g, net, rows, NULL) + CACHE_LINE
            g.memory = <char *> calloc(size, 1)
            use_large_pages(g.memory, size)
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
        cdef Py_ssize_t blocks = max(span_block_count(t.spans, t.n_spans), span_block_count(t.penalized, t.n_penalized))
        t.targets = take(&used, start, rows * max(k, 1) * sizeof(double))
        t.weight = take(&used, start, rows * sizeof(double))
        t.outputs = take(&used, start, rows * k * sizeof(double) if slice_of(t.net, rows) else 0)
        t.buffers = take(&used, start, t.net.n_buffers * sizeof(double))
        t.partial = <double *> take(&used, start, max(loss_block_count(&t.loss, rows, k), blocks) * sizeof(double))
        return used
