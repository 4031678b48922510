# Large batches of networks that are not wide: rows that go through the whole network together, some hundreds at a time.
#
# The activations of a whole batch would stream through memory layer by layer; those of a slice stay in the cache from its gather
# to its gradient. Slices belong to groups, and a group is one piece of a stage: a thread takes its slices in order through
# forward, loss and backward, with a workspace of its own, and adds their gradients up. The sum over the groups, in order, is the
# gradient of the batch. Groups and slices depend on the network and the batch alone, and so do results.
#
# Not for networks with batch normalization, whose statistics are those of the whole batch.

cdef enum:
    GROUPS = 16  # most groups
    SLICES_AT_LEAST = 4  # fewer are not worth it
    SLICE_WORKSPACE = 1 << 18  # bytes, half of a second-level cache, as far as that goes
    MOST_WORKSPACE = 1 << 22
    LEAST_SLICE = 256  # rows: fewer would read all weights too often
    MOST_SLICE = 1024

cdef Py_ssize_t slice_of(const program_t *net, Py_ssize_t n) noexcept nogil:
    """The rows of a slice, at most, of a batch of n; 0 where batches are not sliced."""
    cdef Py_ssize_t width = net.n_inputs + 2 * net.width, rows, item = item_size(net.dtype)
    cdef int i
    if n < SLICES_AT_LEAST * LEAST_SLICE:
        return 0
    for i in range(net.count):
        width += net.operation[i].fan_out
        if net.operation[i].kind == BATCH_NORM:
            return 0
    if LEAST_SLICE * width * item > MOST_WORKSPACE:
        return 0
    rows = max(<Py_ssize_t> LEAST_SLICE, min(SLICE_WORKSPACE // (width * item), <Py_ssize_t> MOST_SLICE))
    return rows if n >= SLICES_AT_LEAST * rows else 0


cdef inline int group_count(Py_ssize_t n, Py_ssize_t slice) noexcept nogil:
    return <int> min(n // slice, <Py_ssize_t> GROUPS)


cdef inline Py_ssize_t slices_of_group(Py_ssize_t n, Py_ssize_t slice) noexcept nogil:
    """In how many slices a group goes through, at most."""
    cdef Py_ssize_t groups = group_count(n, slice), rows = (n + groups - 1) // groups
    return (rows + slice - 1) // slice


cdef Py_ssize_t lay_out_groups(groups_t *g, const program_t *net, Py_ssize_t n, char *start) noexcept nogil:
    """Give the groups of batches of n rows their places at ``start``, and each thread its network; return the size of all."""
    cdef Py_ssize_t used = 0, gradients = whole_lines(net.n_parameters * item_size(net.dtype))
    cdef Py_ssize_t slice = g.slice
    cdef char *memory
    cdef int i
    g.sums = take(&used, start, GROUPS * net.n_parameters * item_size(net.dtype))
    # Smaller batches may have a slice more in each of fewer groups.
    g.losses = <double *> take(&used, start, GROUPS * (slices_of_group(n, slice) + 1) * sizeof(double))
    for i in range(g.threads):
        local = &g.local[i]
        local[0] = net[0]
        local.arrays = g.arrays + i * net.count
        memory = start + used if start is not NULL else NULL
        local.gradients = memory
        used += gradients
        used += whole_lines(lay_out(local, slice, 1, NULL if start is NULL else memory + gradients))
    return used


cdef batch_t gather_slice(
    stretch_t *s, Py_ssize_t step, const batch_t *b, const real *like, program_t *net, Py_ssize_t first, Py_ssize_t rows
) noexcept nogil:
    """Rows first to first + rows of a batch; its targets and weights have been gathered."""
    cdef batch_t piece
    piece.n = rows
    piece.x = <const real *> b.x + first * net.n_inputs
    piece.targets = <const char *> b.targets + first * target_bytes(s, like)
    piece.weight = NULL if b.weight is NULL else <const real *> b.weight + first
    if s.order is not NULL:
        gather_rows(
            s.x, s.order, step * s.batch + first, rows, s.rows, net.n_inputs * sizeof(real), net.x, 0, 1
        )
        piece.x = net.x
    if s.check_finite and not all_finite(<const real *> piece.x, rows * net.n_inputs):
        set_flag(&s.bad_input)
    return piece


cdef void take_group(
    stretch_t *s, Py_ssize_t step, const batch_t *b, const real *like, double scale, uint64_t noise, int group, int thread
) noexcept nogil:
    """Forward, loss and backward of one group; leaves its gradient in ``sums`` and the losses of its slices."""
    cdef trainer_t *t = s.trainer
    cdef groups_t *g = &t.groups
    cdef program_t *net = &g.local[thread]
    cdef Py_ssize_t most = slice_of(net, b.n), slices = slices_of_group(b.n, most), i, first, rows, k = net.n_outputs
    cdef Py_ssize_t groups = group_count(b.n, most), start = b.n * group // groups, size = b.n * (group + 1) // groups - start
    cdef double partial[2 * MOST_SLICE]  # blocks: one a row at most, or one for 512 of the numbers of a workspace
    cdef member_t alone = member(NULL, 0, 1)
    cdef batch_t piece
    sums = <real *> g.sums + group * net.n_parameters
    for i in range(slices):
        first = start + size * i // slices
        rows = start + size * (i + 1) // slices - first
        net.first_row = first
        piece = gather_slice(s, step, b, like, net, first, rows)
        x = <const real *> piece.x
        outputs = forward_walk(net, x, rows, True, noise, &alone)
        memcpy(<real *> t.outputs + first * k, outputs, rows * k * sizeof(real))
        if not loss_blocks(
            &s.loss, outputs, piece.targets, <const real *> piece.weight, scale, <real *> net.grad[0], <real *> NULL,
            partial, rows, k, 0, 1
        ):
            set_flag(&s.bad_label)
        g.losses[group * slices + i] = sum_of(partial, loss_block_count(&s.loss, rows, k))
        backward_walk(net, x, rows, True, noise, False, &alone)
        if i == 0:
            memcpy(sums, net.gradients, net.n_parameters * sizeof(real))
        else:
            add_share(<const real *> net.gradients, sums, sums, net.n_parameters, 0, 1)


cdef inline void add_groups(trainer_t *t, Py_ssize_t n, const real *like, int part, int parts) noexcept nogil:
    """The gradient of the batch: the sum over its groups, in order."""
    cdef Py_ssize_t size = t.net.n_parameters, start = share_start(size, 64, part, parts), count
    cdef int group, groups = group_count(n, slice_of(t.net, n))
    count = share_start(size, 64, part + 1, parts) - start
    gradients = <real *> t.net.gradients + start
    sums = <const real *> t.groups.sums + start
    memcpy(gradients, sums, count * sizeof(real))
    for group in range(1, groups):
        add_share(gradients, sums + group * size, gradients, count, 0, 1)


cdef void take_groups(
    stretch_t *s, Py_ssize_t step, const batch_t *b, const real *like, double scale, uint64_t noise, member_t *m
) noexcept nogil:
    """The loss of the batch, in ``s.losses``, and the gradients of its groups."""
    cdef trainer_t *t = s.trainer
    cdef Py_ssize_t slice = slice_of(t.net, b.n)
    cdef int groups = group_count(b.n, slice)
    while take_piece(m, groups):
        take_group(s, step, b, like, scale, noise, m.piece, m.part)
    if is_set(&s.bad_label):
        return
    while take_piece(m, 1):
        report(s, step, b, <const real *> t.outputs, sum_of(<const double *> t.groups.losses, groups * slices_of_group(b.n, slice)))


cdef void gather_gradient(stretch_t *s, const batch_t *b, const real *like, member_t *m) noexcept nogil:
    """The gradients of the parameters, from those of the groups."""
    while take_piece(m, m.parts):
        add_groups(s.trainer, b.n, like, m.piece, m.parts)
