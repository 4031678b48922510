# Training steps: what happens to a batch, and the loop over the batches of a stretch of training.
#
#     gather      the rows of the batch, by their numbers
#     forward     the network's outputs
#     loss        its value, and its gradient with respect to the outputs
#     backward    the gradients of the parameters
#     penalize    the penalty of the parameters, and its gradient
#     accumulate  the mean gradient of several steps, where an update waits for them
#     clip        gradients that are too long or too large
#     update      the optimizer's step
#
# A stretch of any number of steps is one call without Python; every thread of the team runs the same loop, takes pieces of each
# stage (team.pxi) and computes the few numbers that decide how it continues. A loss or a gradient that is not finite, or a label
# that is no class, ends the stretch before the update, so that the parameters are those of the last good step.
#
# Inputs, targets and weights are the caller's, and other threads may write them meanwhile. So what decides how the threads continue
# is read from there once, by one of them, and kept for all; and labels are compared with the number of classes where they are read.

from libc.math cimport isfinite, pow

cdef enum outcome:
    FINISHED
    LOSS_NOT_FINITE
    GRADIENT_NOT_FINITE
    INPUT_NOT_FINITE
    LABEL_OUT_OF_RANGE
    UPDATE_AWAITED  # no failure: the gradients of an update are ready, and the caller makes it

cdef enum:
    MOST_AGES = 8
    POWER_BLOCK = 64  # as in `backprop.optimizers`

cdef double NEGLIGIBLE_PRODUCT = 2.0**-60  # of NAdam's momentum factors: 1 minus it is 1

cdef struct age_t:  # parameters with the same number of updates
    const span_t *spans
    Py_ssize_t n_spans
    Py_ssize_t missed  # updates, while they were frozen

cdef struct powers_t:  # of an optimizer's betas: beta^0, beta^1, ...
    double beta1
    double beta2
    double below1[POWER_BLOCK]
    double below2[POWER_BLOCK]

cdef struct pace_t:  # an optimizer, and what changes from step to step
    update_t update
    double lr_decay  # of adagrad
    double momentum_decay  # of nadam
    double uncorrected_eps  # of adam, to be added to the root of v as it is; 0: eps is added to the corrected root
    Py_ssize_t power_block  # a multiple of POWER_BLOCK, and the powers of the betas with it
    double at_block1
    double at_block2
    Py_ssize_t mu_number  # of nadam: the number of the momentum factor computed last
    double mu
    double mu_product[MOST_AGES]  # of nadam, for each age: mu_1 mu_2 ... mu_step, see nadam_product
    Py_ssize_t mu_step[MOST_AGES]

cdef struct groups_t:  # see slices.pxi
    Py_ssize_t rows  # of the largest batch that there is memory for
    Py_ssize_t slice  # the most rows of one of its slices
    int threads
    program_t *local  # the network, for each thread: with arrays of its own
    arrays_t *arrays
    char *memory
    void *sums  # (groups, n_parameters): the gradients of the groups
    double *losses  # of all slices

cdef struct trainer_t:  # what all steps share
    program_t *net
    loss_t loss
    pace_t pace
    powers_t powers
    const span_t *spans  # of all trainable parameters
    Py_ssize_t n_spans
    age_t age[MOST_AGES]  # the same parameters, by how often they have been updated
    int n_ages
    double l2  # of the penalty, 0: none
    const span_t *penalized  # the parameters that it is of
    Py_ssize_t n_penalized
    double clip_norm  # 0: no clipping
    double clip_value
    void *mean  # the gradients of steps that wait for an update; NULL: no step waits
    Py_ssize_t accumulate_steps  # the steps of one update
    bint pauses  # whether a stretch ends before an update, for the caller to see the gradients
    double limit  # of a gradient, beyond which its square overflows; infinite for optimizers that form none
    double stretch  # a gradient that reaches the limit overflows when multiplied by this
    double *partial  # one number a block, of a sum over a batch or over the gradients
    char *memory
    void *targets  # the gathered batch
    void *weight
    void *buffers  # as they were before the step
    groups_t groups  # for batches that are sliced
    void *outputs  # of such a batch

cdef struct progress_t:  # how far a stretch has come
    Py_ssize_t done  # whole steps
    Py_ssize_t forwards  # of these, with weight
    Py_ssize_t updated  # updates
    Py_ssize_t waiting  # steps since the last update, where updates wait for several
    double weight  # what the gradients of these were divided by, together
    bint filled  # whether there is a gradient of any in the trainer's mean

cdef struct stretch_t:  # consecutive steps, and how they went
    trainer_t *trainer
    const void *x  # (rows of the data, n_inputs)
    const void *targets  # (rows of the data,) labels, or (rows of the data, n_outputs) numbers
    const void *weight  # (rows of the data,) or NULL
    const Py_ssize_t *order  # the numbers of the rows to take, in memory that no other thread writes; NULL: as they lie
    loss_t loss  # for these targets: cross entropy has two kernels
    const double *lr  # one a step
    Py_ssize_t rows  # how many in all
    Py_ssize_t batch  # how many a step
    Py_ssize_t count  # steps
    Py_ssize_t updates  # updates before these
    double mean_weight  # of the rows of the data; 0: every batch is divided by its own weight
    double divisor  # of a step whose forward and loss were elsewhere
    pace_t pace  # as it was then
    progress_t before  # all but the steps that wait are 0
    uint64_t noise  # forwards in training mode before these
    bint check_finite
    int bad_input  # flags: whether a number of the batch that was gathered last is not finite,
    int bad_label  # whether one of its labels is no class,
    int bad_gradient  # whether a gradient is not finite
    # results
    void *outputs  # (rows, n_outputs), as they were before each update; or NULL
    tally_t tally  # of them
    double *losses  # of every step, and the weight of its rows
    double *weights
    progress_t reached  # with the last whole step
    int end  # an outcome

cdef struct batch_t:
    const void *x
    const void *targets
    const void *weight
    Py_ssize_t n


# Gather.

cdef enum:
    SHORT_ROW = 64  # bytes: a call of memcpy costs more than to copy so few
    ROWS_AHEAD = 32  # a row is prefetched while this number of rows before it are copied, or during the batch before
    BYTES_AHEAD = 512  # of a row; the processor's own prefetching does the rest


cdef batch_t batch_of(stretch_t *s, Py_ssize_t step, const real *like) noexcept nogil:
    """Where the batch of a step is once it has been gathered; without an order it lies together in the data."""
    cdef trainer_t *t = s.trainer
    cdef Py_ssize_t first = step * s.batch
    cdef batch_t b
    b.n = min(s.batch, s.rows - step * s.batch)
    b.x = t.net.x
    b.targets = t.targets
    b.weight = NULL if s.weight is NULL else t.weight
    if s.order is NULL:
        b.x = <const real *> s.x + first * t.net.n_inputs
        b.targets = <const char *> s.targets + first * target_bytes(s, like)
        b.weight = NULL if s.weight is NULL else <const real *> s.weight + first
    return b


cdef void gather_rows(
    const void *data, const Py_ssize_t *order, Py_ssize_t first, Py_ssize_t n, Py_ssize_t end, Py_ssize_t row_bytes, void *into,
    int part, int parts
) noexcept nogil:
    """Copy the rows order[first:first + n] together. Up to ``end`` there are more."""
    cdef const char *rows = <const char *> data
    cdef char *copy = <char *> into
    cdef Py_ssize_t i
    for i in range(share_start(n, 1, part, parts), share_start(n, 1, part + 1, parts)):
        fetch_row(rows + order[min(first + i + ROWS_AHEAD, end - 1)] * row_bytes, row_bytes)
        copy_row(rows + order[first + i] * row_bytes, row_bytes, copy + i * row_bytes)


cdef inline void fetch_row(const char *row, Py_ssize_t row_bytes) noexcept nogil:
    cdef Py_ssize_t i, bytes = min(row_bytes, <Py_ssize_t> BYTES_AHEAD), line = CACHE_LINE
    for i in range((bytes + line - 1) // line):
        prefetch(row + i * line)
    prefetch(row + bytes - 1)  # rows begin anywhere in a line


cdef inline void copy_row(const char *row, Py_ssize_t row_bytes, char *into) noexcept nogil:
    """memcpy of whole words; a size that is known to the compiler makes it one instruction."""
    cdef Py_ssize_t i
    if row_bytes > SHORT_ROW:
        memcpy(into, row, row_bytes)
        return
    for i in range(row_bytes // 8):
        memcpy(into + 8 * i, row + 8 * i, 8)
    if row_bytes % 8:
        memcpy(into + row_bytes - 4, row + row_bytes - 4, 4)


cdef void gather(stretch_t *s, Py_ssize_t step, const batch_t *b, const real *like, int part, int parts) noexcept nogil:
    cdef trainer_t *t = s.trainer
    cdef Py_ssize_t first = step * s.batch, end = s.rows, last
    cdef bint sliced = slice_of(t.net, b.n) != 0  # its x is gathered slice by slice
    if s.order is not NULL:
        if not sliced:
            gather_rows(s.x, s.order, first, b.n, end, t.net.n_inputs * sizeof(real), t.net.x, part, parts)
        gather_rows(s.targets, s.order, first, b.n, end, target_bytes(s, like), t.targets, part, parts)
        if s.weight is not NULL:
            gather_rows(s.weight, s.order, first, b.n, end, sizeof(real), t.weight, part, parts)
    if s.check_finite and not sliced:
        first = share_start(b.n, 1, part, parts)
        last = share_start(b.n, 1, part + 1, parts)
        if not all_finite(<const real *> b.x + first * t.net.n_inputs, (last - first) * t.net.n_inputs):
            set_flag(&s.bad_input)
    if part == 0 and t.net.n_buffers:  # the forward moves them; a step that fails leaves no trace
        memcpy(t.buffers, t.net.buffers, t.net.n_buffers * sizeof(real))


cdef inline Py_ssize_t target_bytes(const stretch_t *s, const real *like) noexcept nogil:
    return sizeof(int64_t) if takes_labels(s.loss.kind) else s.trainer.net.n_outputs * sizeof(real)


# Loss.

cdef void take_loss(
    stretch_t *s, Py_ssize_t step, const batch_t *b, const real *outputs, double scale, member_t *m
) noexcept nogil:
    """The loss of the batch, in ``s.losses``; its gradient goes to ``net.grad[0]``."""
    cdef trainer_t *t = s.trainer
    cdef Py_ssize_t k = t.net.n_outputs
    grad = <real *> t.net.grad[0]
    while take_piece(m, m.parts):
        if not loss_blocks(
            &s.loss, outputs, b.targets, <const real *> b.weight, scale, grad, <real *> NULL, t.partial, b.n, k, m.piece, m.parts
        ):
            set_flag(&s.bad_label)
    if is_set(&s.bad_label):
        return
    while take_piece(m, 1):
        report(s, step, b, outputs, sum_of(<const double *> t.partial, loss_block_count(&s.loss, b.n, k)))


# Penalize, clip and update.

cdef void penalize(stretch_t *s, Py_ssize_t step, double divisor, const real *like, member_t *m) noexcept nogil:
    """Add l2 / 2 sum(param^2), over the divisor of the batch, to the loss of a step, and its gradient to the gradients.

    What is reported is divided by the weight of the batch, as the loss is.
    """
    cdef trainer_t *t = s.trainer
    cdef double penalty
    while take_piece(m, m.parts):
        penalty_blocks(
            t.penalized, t.n_penalized, <const real *> t.net.parameters, t.l2 / divisor, <real *> t.net.gradients, t.partial,
            m.piece, m.parts
        )
    while take_piece(m, 1):
        if s.losses is not NULL:
            penalty = t.l2 / 2 * sum_of(<const double *> t.partial, span_block_count(t.penalized, t.n_penalized))
            s.losses[step] += penalty / s.weights[step]


cdef void accumulate(
    stretch_t *s, double divisor, bint has_gradient, progress_t *next, const real *like, member_t *m
) noexcept nogil:
    """Let the gradients of a step, which were divided by ``divisor``, join the mean of those that wait for an update.

    With the last of them, the mean takes the place of the gradients. A step without weight has none.
    """
    cdef trainer_t *t = s.trainer
    cdef double share
    cdef real keep, join
    mean, gradients = <real *> t.mean, <real *> t.net.gradients
    next.waiting += 1
    next.weight += divisor
    share = divisor / next.weight if divisor > 0 else 0
    keep, join = <real> (1 - share if next.filled else 0), <real> (share if has_gradient else 0)
    next.filled = next.filled or has_gradient
    if not next.filled:
        return
    if next.waiting < t.accumulate_steps:
        while take_piece(m, m.parts):
            join_mean(mean, keep, gradients, join, t.net.n_parameters, m.piece, m.parts)
    else:
        while take_piece(m, m.parts):
            take_mean_blocks(t.spans, t.n_spans, <const real *> mean, keep, gradients, join, m.piece, m.parts)


cdef inline real blend(real x, real share_x, real y, real share_y) noexcept nogil:
    """share_x x + share_y y; a number whose share is 0 is not used, and may be NaN or uninitialized."""
    return (share_x * x if share_x else 0) + (share_y * y if share_y else 0)


cdef void join_mean(
    real *mean, real keep, const real *gradients, real join, Py_ssize_t size, int part, int parts
) noexcept nogil:
    """mean = keep mean + join gradients"""
    cdef Py_ssize_t i
    for i in range(share_start(size, 64, part, parts), share_start(size, 64, part + 1, parts)):
        mean[i] = blend(mean[i], keep, gradients[i], join)


cdef void take_mean_blocks(
    const span_t *spans, Py_ssize_t n_spans, const real *mean, real keep, real *gradients, real join, int part, int parts
) noexcept nogil:
    """gradients = keep mean + join gradients, of what is trained: other gradients stay 0"""
    cdef walk_t w = walk(spans, n_spans, part, parts)
    cdef Py_ssize_t i
    while next_block(&w):
        for i in range(w.start, w.start + w.count):
            gradients[i] = blend(mean[i], keep, gradients[i], join)


cdef bint clip(stretch_t *s, bint sliced, const real *like, member_t *m) noexcept nogil:
    """Cut the gradients to size, as `clipping` does; False when they are not finite, or too large for the optimizer to square.

    ``sliced``: they are those of groups, the mean of several steps, or with a penalty, and no backward has bounded them.
    """
    cdef trainer_t *t = s.trainer
    cdef real *gradients = <real *> t.net.gradients
    cdef double norm, factor, stretch = t.stretch
    if t.clip_norm > 0:
        while take_piece(m, m.parts):
            squared_norm_blocks(<const real *> gradients, t.spans, t.n_spans, t.partial, m.piece, m.parts)
        norm = sqrt(sum_of(t.partial, span_block_count(t.spans, t.n_spans)))
        if not isfinite(norm):
            return False
        factor = t.clip_norm / (norm + 1e-6)
        if factor < 1:
            while take_piece(m, m.parts):
                scale_blocks(t.spans, t.n_spans, gradients, factor, m.piece, m.parts)
        if min(norm, t.clip_norm) < t.limit:
            return squares_fit(s, like, m)
    elif t.clip_value > 0 and t.clip_value < t.limit:
        stretch = 1
    while take_piece(m, m.parts):
        if not gradients_finite(t.net, sliced, stretch, <const real *> gradients, m.piece, m.parts):
            set_flag(&s.bad_gradient)
    if is_set(&s.bad_gradient):
        return False
    if t.clip_value > 0:
        while take_piece(m, m.parts):
            clip_value_blocks(t.spans, t.n_spans, gradients, t.clip_value, m.piece, m.parts)
    return squares_fit(s, like, m)


cdef bint squares_fit(stretch_t *s, const real *like, member_t *m) noexcept nogil:
    """Whether the sums of squares that Adagrad keeps stay finite; other optimizers keep means, which do."""
    cdef trainer_t *t = s.trainer
    if s.pace.update.kind != ADAGRAD:  # not t.pace, which the thread that updates first writes
        return True
    while take_piece(m, m.parts):
        if not sums_fit(
            <const real *> t.net.gradients, <const real *> s.pace.update.state[0], t.net.n_parameters, m.piece, m.parts
        ):
            set_flag(&s.bad_gradient)
    return not is_set(&s.bad_gradient)


cdef bint sums_fit(const real *g, const real *v, Py_ssize_t size, int part, int parts) noexcept nogil:
    """Whether v + g^2 is finite in this share."""
    cdef Py_ssize_t i
    cdef real seen = 0
    for i in range(share_start(size, 64, part, parts), share_start(size, 64, part + 1, parts)):
        seen = max(seen, v[i] + g[i] * g[i])
    return seen < <real> INFINITY


cdef void update(
    stretch_t *s, pace_t *pace, double lr, const progress_t *next, const real *like, member_t *m, uint32_t after
) noexcept nogil:
    """One update; ``next`` is how far the stretch is after it. The stage ``after`` follows."""
    cdef trainer_t *t = s.trainer
    cdef program_t *net = t.net
    cdef Py_ssize_t step = s.updates + next.updated
    cdef int age
    if t.n_ages == 1:
        set_scalars(&t.powers, pace, 0, step - t.age[0].missed, lr)
    while take_piece_before(m, m.parts, after):
        for age in range(t.n_ages):
            if t.n_ages > 1:
                set_scalars(&t.powers, pace, age, step - t.age[age].missed, lr)
            update_blocks(
                &pace.update, <const real *> net.gradients, t.age[age].spans, t.age[age].n_spans, <real *> net.parameters,
                m.piece, m.parts
            )
        if m.piece == 0:
            s.reached, t.pace = next[0], pace[0]


cdef bint gradients_finite(
    const program_t *net, bint sliced, double stretch, const real *gradients, int part, int parts
) noexcept nogil:
    """Whether the share of every gradient is, times ``stretch``; what the backward of the whole batch has bounded is left out."""
    cdef bint finite = True
    cdef Py_ssize_t size
    cdef int i
    for i in range(net.lowest, net.count):
        op = &net.operation[i]
        if op.trainable:
            size = op.fan_out * (op.fan_in if op.kind == DENSE else 1)
            if sliced or not net.arrays[i].bounded:
                finite = finite and share_finite(gradients + op.weight, size, stretch, part, parts)
            if op.bias >= 0:
                finite = finite and share_finite(gradients + op.bias, op.fan_out, stretch, part, parts)
    return finite


cdef inline bint share_finite(const real *x, Py_ssize_t size, double stretch, int part, int parts) noexcept nogil:
    cdef Py_ssize_t start = share_start(size, 64, part, parts)
    return all_below(x + start, share_start(size, 64, part + 1, parts) - start, stretch)


cdef void set_powers(powers_t *powers, double beta1, double beta2) noexcept nogil:
    cdef int i
    if powers.below1[0] == 1 and powers.beta1 == beta1 and powers.beta2 == beta2:
        return
    powers.beta1, powers.beta2 = beta1, beta2
    for i in range(POWER_BLOCK):
        powers.below1[i], powers.below2[i] = pow(beta1, i), pow(beta2, i)


cdef void set_scalars(const powers_t *powers, pace_t *pace, int age, Py_ssize_t step, double lr) noexcept nogil:
    """The numbers that the optimizers' formulas read in update ``step`` of parameters of an age, counted from 1.

    `optimizers` tells their sources. A power of a beta is one up to a multiple of POWER_BLOCK times one of the rest, whichever step
    came before: the first changes rarely, the others are in ``powers``.
    """
    cdef update_t *u = &pace.update
    cdef Py_ssize_t block = step & ~<Py_ssize_t> (POWER_BLOCK - 1)
    cdef double mu, mu_next, product, longest, length, power2
    u.lr = lr
    u.first = step == 1
    if u.kind == ADAGRAD:
        u.lr = lr / (1 + (step - 1) * pace.lr_decay)
    if u.kind != ADAM and u.kind != ADAMAX and u.kind != NADAM and u.kind != RADAM:
        return
    if pace.power_block != block:
        pace.power_block = block
        pace.at_block1, pace.at_block2 = pow(powers.beta1, <double> block), pow(powers.beta2, <double> block)
    power2 = pace.at_block2 * powers.below2[step - block]
    u.bias1 = 1 - pace.at_block1 * powers.below1[step - block]
    u.bias2 = 1 - power2
    if u.kind == ADAM and pace.uncorrected_eps > 0:
        u.eps = pace.uncorrected_eps / sqrt(u.bias2)
    elif u.kind == NADAM:
        product = nadam_product(pace, age, step)
        mu = nadam_momentum(pace, step)
        mu_next = nadam_momentum(pace, step + 1)
        u.grad_factor = (1 - mu) / (1 - product)
        u.m_factor = mu_next / (1 - product * mu_next)
    elif u.kind == RADAM:
        longest = 2 / (1 - u.beta2) - 1
        length = longest - 2 * step * power2 / u.bias2
        u.rectification = 0
        if length > 5:
            u.rectification = sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))


cdef inline double nadam_momentum(pace_t *pace, Py_ssize_t step) noexcept nogil:
    """mu_step; the step before has already computed it as mu_next."""
    if pace.mu_number != step:
        pace.mu_number = step
        pace.mu = pace.update.beta1 * (1 - 0.5 * pow(0.96, step * pace.momentum_decay))
    return pace.mu


cdef double nadam_product(pace_t *pace, int age, Py_ssize_t step) noexcept nogil:
    """mu_1 mu_2 ... mu_step. At most a few thousand factors differ from beta1 and matter, so any step is reached soon."""
    cdef double mu
    if pace.mu_step[age] == 0 or pace.mu_step[age] > step:
        pace.mu_step[age], pace.mu_product[age] = 0, 1
    while pace.mu_step[age] < step and pace.mu_product[age] > NEGLIGIBLE_PRODUCT:
        mu = nadam_momentum(pace, pace.mu_step[age] + 1)
        if mu == pace.update.beta1:
            break
        pace.mu_step[age] += 1
        pace.mu_product[age] *= mu
    return pace.mu_product[age] * pow(pace.update.beta1, <double> (step - pace.mu_step[age]))


# The loop.

cdef inline uint32_t stages_of(const program_t *net) noexcept nogil:
    """At least as many as a step has: an operation has one forward and up to two backward, all else fourteen."""
    return 16 + 3 * net.count


cdef void train_walk(stretch_t *s, const real *like, member_t *m) noexcept nogil:
    """All steps of a stretch; ``like`` only tells the dtype."""
    cdef:
        program_t *net = s.trainer.net
        pace_t pace = s.pace
        batch_t b
        double weight
        uint32_t after
        outcome end = FINISHED
        progress_t reached = s.before, next
    while reached.done < s.count and end == FINISHED:
        next = reached
        b = batch_of(s, reached.done, like)
        while take_piece(m, m.parts):
            gather(s, reached.done, &b, like, m.piece, m.parts)
        after = <uint32_t> (reached.done + 1) * stages_of(net)  # every step begins at a number of its own
        if is_set(&s.bad_input):
            end = INPUT_NOT_FINITE
            break
        weight = weigh(s, reached.done, &b, like, m)
        if weight == 0:
            end = skip_step(s, divisor_of(s, &b, weight), &next, &pace, like, m, after)
        else:
            end = take_step(s, &b, divisor_of(s, &b, weight), &next, &pace, like, m, after)
        if end == FINISHED:
            reached = next
    if end != FINISHED and is_current(m):
        set_to(&s.end, end)


cdef double weigh(stretch_t *s, Py_ssize_t step, const batch_t *b, const real *like, member_t *m) noexcept nogil:
    """The weight of the batch: that of its rows, or how many they are. One thread adds it up; it stays in ``s.weights``."""
    if b.weight is NULL:
        return b.n
    while take_piece(m, 1):
        s.weights[step] = sum_of_absolutes(<const real *> b.weight, b.n)
    return s.weights[step]


cdef inline double divisor_of(const stretch_t *s, const batch_t *b, double weight) noexcept nogil:
    """What the weighted sum over a batch of this weight is divided by, for its gradient."""
    return b.n * s.mean_weight if b.weight is not NULL and s.mean_weight > 0 else weight


cdef outcome skip_step(
    stretch_t *s, double divisor, progress_t *next, pace_t *pace, const real *like, member_t *m, uint32_t after
) noexcept nogil:
    """No row has weight: there is nothing to learn from. It may be the last step that an update waits for."""
    while take_piece(m, 1):
        s.losses[next.done] = 0
    next.done += 1
    return use_gradients(s, divisor, False, True, next, pace, like, m, after)


cdef outcome take_step(
    stretch_t *s, const batch_t *b, double divisor, progress_t *next, pace_t *pace, const real *like, member_t *m, uint32_t after
) noexcept nogil:
    """From forward to update; ``next``, how far the stretch is, is moved on. The stage ``after`` follows."""
    cdef program_t *net = s.trainer.net
    cdef Py_ssize_t step = next.done
    cdef double scale = loss_scale(&s.loss, divisor, net.n_outputs)
    cdef uint64_t noise = s.noise + next.forwards
    cdef bint sliced = slice_of(net, b.n) != 0
    x = <const real *> b.x
    if sliced:
        take_groups(s, step, b, like, scale, noise, m)
    else:
        take_loss(s, step, b, forward_walk(net, x, b.n, True, noise, m), scale, m)
    if is_set(&s.bad_input):
        return INPUT_NOT_FINITE
    if is_set(&s.bad_label):
        return LABEL_OUT_OF_RANGE
    if not isfinite(s.losses[step]):
        return LOSS_NOT_FINITE
    if sliced:
        gather_gradient(s, b, like, m)
    else:
        backward_walk(net, x, b.n, True, noise, False, m)
    if s.trainer.l2 > 0:
        penalize(s, step, divisor, like, m)
        if not isfinite(s.losses[step]):
            return LOSS_NOT_FINITE
    next.done += 1
    next.forwards += 1
    return use_gradients(s, divisor, True, sliced or s.trainer.l2 > 0, next, pace, like, m, after)


cdef outcome use_gradients(
    stretch_t *s, double divisor, bint has_gradient, bint sliced, progress_t *next, pace_t *pace, const real *like, member_t *m,
    uint32_t after
) noexcept nogil:
    """Update with the gradients of a step, or with their mean over several once these are there; the stage ``after`` follows."""
    cdef trainer_t *t = s.trainer
    cdef bint updates = has_gradient
    if t.mean is not NULL:
        accumulate(s, divisor, has_gradient, next, like, m)
        updates = next.waiting >= t.accumulate_steps and next.filled
        sliced = True
        if next.waiting >= t.accumulate_steps:
            next.waiting, next.weight, next.filled = 0, 0, False
    if not updates or t.pauses:
        while take_piece_before(m, 1, after):
            s.reached = next[0]
        return UPDATE_AWAITED if updates else FINISHED
    if not clip(s, sliced, like, m):
        return GRADIENT_NOT_FINITE
    next.updated += 1
    update(s, pace, s.lr[next.updated - 1], next, like, m, after)
    return FINISHED


cdef inline void report(stretch_t *s, Py_ssize_t step, const batch_t *b, const real *outputs, double loss) noexcept nogil:
    """What is known of a step before its update; the loss that is reported is divided by the weight of the batch."""
    cdef Py_ssize_t k = s.trainer.net.n_outputs
    if b.weight is NULL:
        s.weights[step] = b.n
    else:
        loss *= divisor_of(s, b, s.weights[step]) / s.weights[step]
    s.losses[step] = loss
    if s.outputs is not NULL:
        memcpy(<real *> s.outputs + step * s.batch * k, outputs, b.n * k * sizeof(real))
    if s.tally.kind != NO_TALLY:
        tally_rows(&s.tally, outputs, b.targets, takes_labels(s.loss.kind), s.order, step * s.batch, b.n, k)


cdef void train_share(void *work, int part, int parts) noexcept nogil:
    cdef stretch_t *s = <stretch_t *> work
    cdef member_t m = member(&s.trainer.net.team, part, parts)
    if s.trainer.net.dtype == cnp.NPY_FLOAT:
        train_walk(s, <const float *> NULL, &m)
    else:
        train_walk(s, <const double *> NULL, &m)


cdef void finish_walk(stretch_t *s, const real *like, member_t *m) noexcept nogil:
    """The second half of a step whose forward and loss were elsewhere: ``net.grad[0]`` holds dL/doutputs."""
    cdef program_t *net = s.trainer.net
    cdef pace_t pace = s.pace
    cdef progress_t next = s.before
    cdef outcome end
    backward_walk(net, <const real *> net.x, s.rows, True, s.noise, False, m)
    if s.trainer.l2 > 0:
        penalize(s, 0, s.divisor, like, m)
    next.done = next.forwards = 1
    end = use_gradients(s, s.divisor, True, s.trainer.l2 > 0, &next, &pace, like, m, stages_of(net))
    if end != FINISHED and is_current(m):
        set_to(&s.end, end)


cdef void finish_share(void *work, int part, int parts) noexcept nogil:
    cdef stretch_t *s = <stretch_t *> work
    cdef member_t m = member(&s.trainer.net.team, part, parts)
    if s.trainer.net.dtype == cnp.NPY_FLOAT:
        finish_walk(s, <const float *> NULL, &m)
    else:
        finish_walk(s, <const double *> NULL, &m)


cdef void update_share(void *work, int part, int parts) noexcept nogil:
    """Clip and update after a pause, in which the caller may have changed the gradients."""
    cdef stretch_t *s = <stretch_t *> work
    cdef member_t m = member(&s.trainer.net.team, part, parts)
    if s.trainer.net.dtype == cnp.NPY_FLOAT:
        update_walk(s, <const float *> NULL, &m)
    else:
        update_walk(s, <const double *> NULL, &m)


cdef void update_walk(stretch_t *s, const real *like, member_t *m) noexcept nogil:
    cdef pace_t pace = s.pace
    cdef progress_t next = s.before
    next.updated = 1
    if clip(s, True, like, m):
        update(s, &pace, s.lr[0], &next, like, m, stages_of(s.trainer.net))
    elif is_current(m):
        set_to(&s.end, GRADIENT_NOT_FINITE)
