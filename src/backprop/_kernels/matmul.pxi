"""The matrix product, register-blocked, without BLAS.

`product_share` computes C = activation(A B + bias) for any shape. A and B are described by strides, so that all three products of
a dense layer are one function::

    x @ weight          A = x        B = weight              C = z or a
    x.T @ delta         A = x.T      B = delta               C = grad_weight
    delta @ weight.T    A = delta    B = weight.T            C = grad_x

**The tile.** TILE_ROWS rows by two vectors of C stay in registers while the sum runs: per k, two vectors of B, and per row one
element of A spread over a vector and two fused multiply-adds. The sum starts at the bias, or at C when an earlier block of k has
left its part there. Heights are literal, so that each compiles to its own registers; a matrix's rows are split evenly over strips of
nearly equal height, so that no strip is a thin one.

**Blocks.** k is cut into blocks of at most DEPTH and rows into blocks of at most STRIPS strips, so that a block of A stays in the
second-level cache and a panel of B (two vectors wide) near the first. B is packed, panel after panel, where it is transposed, where
its rows are 2 KB apart or more (they would compete for the same lines of the cache), where many rows reuse it, and always in a last
panel that is not full: there the packed copy is filled up with zeros, and only C is written in part. A is packed where its stride is a multiple of 2 KB or many
panels reuse it.

**Few rows.** One row times B runs along the rows of B, 8 vectors wide. Up to FEW rows times a transposed B are dot products along
its rows, as many at a time as a vector has lanes, summed across by a tree of interleavings.

**Shares.** Work is split over tiles of C: ``part`` of ``parts`` computes its own rows or columns and needs nothing from the others,
so no barrier stands inside a product. Which loops run depends on the whole shape alone, each element is summed by one thread, and
in the order of k: the result does not depend on ``parts``, bit for bit. Every thread brings a workspace of `product_workspace`
elements.
"""

cdef enum:
    DEPTH = 512     # most of k in a block
    STRIPS = 14     # most strips of rows in a block of A
    PANELS = 32     # most panels in a block of B
    FEW = 4         # rows up to which a product with a transposed matrix is made of dot products
    UNPACKED = 64   # rows up to which an untransposed B of short rows is used where it lies
    ALIAS = 2048    # bytes; rows at multiples of it share their places in the cache


cdef inline Py_ssize_t share_start(Py_ssize_t size, Py_ssize_t unit, int part, int parts) noexcept nogil:
    """Where share ``part`` begins when ``size`` elements are split over ``parts`` at multiples of ``unit``; share ``parts`` begins at the end."""
    return min(size, (size + unit - 1) // unit * part // parts * unit)


# --- the tile -------------------------------------------------------------------------------------------------------------------

cdef inline void _tile(
    int rows, int vectors, const real *a, Py_ssize_t a_row, Py_ssize_t a_step, const real *b, Py_ssize_t b_step, Py_ssize_t depth,
    const real *bias, bint add, bint relu, real *c, Py_ssize_t c_row, Py_ssize_t last
) noexcept nogil:
    """C (+)= A B for ``rows`` (at most TILE_ROWS) and ``vectors`` (1 or 2), both literal, the last vector having ``last`` elements."""
    cdef Py_ssize_t i, k, width = lanes(a), edge = (vectors - 1) * width
    acc = cleared(a)
    b0 = zeros(a)
    b1 = zeros(a)
    if add:
        for i in range(rows):
            if vectors == 2:
                acc.v[2 * i] = load(c + i * c_row)
            acc.v[2 * i + 1] = load(c + i * c_row + edge) if last == width else load_part(c + i * c_row + edge, last)
    else:
        if bias is not NULL:
            if vectors == 2:
                b0 = load(bias)
            b1 = load_part(bias + edge, last)
        for i in range(rows):
            acc.v[2 * i] = b0
            acc.v[2 * i + 1] = b1
    for k in range(depth):
        if vectors == 2:
            b0 = load(b)
        b1 = load(b + edge)
        for i in range(rows):
            x = spread(a + i * a_row)
            if vectors == 2:
                acc.v[2 * i] = acc.v[2 * i] + x * b0
            acc.v[2 * i + 1] = acc.v[2 * i + 1] + x * b1
        a += a_step
        b += b_step
    if relu:
        for i in range(rows):
            acc.v[2 * i] = maximum(acc.v[2 * i], zeros(a))
            acc.v[2 * i + 1] = maximum(acc.v[2 * i + 1], zeros(a))
    for i in range(rows):
        if vectors == 2:
            store(c + i * c_row, acc.v[2 * i])
        if last == width:
            store(c + i * c_row + edge, acc.v[2 * i + 1])
        else:
            store_part(c + i * c_row + edge, last, acc.v[2 * i + 1])


cdef inline void _height(
    Py_ssize_t rows, int vectors, const real *a, Py_ssize_t a_row, Py_ssize_t a_step, const real *b, Py_ssize_t b_step,
    Py_ssize_t depth, const real *bias, bint add, bint relu, real *c, Py_ssize_t c_row, Py_ssize_t last
) noexcept nogil:
    """The tile of that height."""
    if rows == 1:
        _tile(1, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif rows == 2:
        _tile(2, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif rows == 3:
        _tile(3, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif rows == 4:
        _tile(4, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 5 and rows == 5:
        _tile(5, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 6 and rows == 6:
        _tile(6, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 7 and rows == 7:
        _tile(7, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 8 and rows == 8:
        _tile(8, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 9 and rows == 9:
        _tile(9, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 10 and rows == 10:
        _tile(10, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 11 and rows == 11:
        _tile(11, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 12 and rows == 12:
        _tile(12, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 13 and rows == 13:
        _tile(13, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 14 and rows == 14:
        _tile(14, vectors, a, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)


cdef void _strip(
    Py_ssize_t rows, const real *a, Py_ssize_t a_row, Py_ssize_t a_step, const real *b, Py_ssize_t b_step, Py_ssize_t depth,
    const real *bias, bint add, bint relu, real *c, Py_ssize_t c_row, Py_ssize_t columns
) noexcept nogil:
    """One tile of C, up to TILE_ROWS by two vectors; one of A's strides is 1, which makes it a literal."""
    cdef Py_ssize_t width = lanes(a)
    if columns > width:
        if a_step == 1:
            _height(rows, 2, a, a_row, 1, b, b_step, depth, bias, add, relu, c, c_row, columns - width)
        else:
            _height(rows, 2, a, 1, a_step, b, b_step, depth, bias, add, relu, c, c_row, columns - width)
    else:
        if a_step == 1:
            _height(rows, 1, a, a_row, 1, b, b_step, depth, bias, add, relu, c, c_row, columns)
        else:
            _height(rows, 1, a, 1, a_step, b, b_step, depth, bias, add, relu, c, c_row, columns)


# --- packing --------------------------------------------------------------------------------------------------------------------

cdef inline void _transpose(const real *source, Py_ssize_t source_row, real *target, Py_ssize_t target_row) noexcept nogil:
    """target = source.T for a square of as many rows as a vector has lanes, in log2(lanes) rounds of interleaving."""
    cdef Py_ssize_t i, round, width = lanes(source)
    a = cleared(source)
    b = cleared(source)
    for i in range(width):
        a.v[i] = load(source + i * source_row)
    round = 1
    while round < width:
        for i in range(width // 2):
            b.v[2 * i] = interleave_low(a.v[i], a.v[i + width // 2])
            b.v[2 * i + 1] = interleave_high(a.v[i], a.v[i + width // 2])
        a = b
        round *= 2
    for i in range(width):
        store(target + i * target_row, a.v[i])


cdef void _pack_panel(
    const real *b, Py_ssize_t b_step, Py_ssize_t b_column, Py_ssize_t depth, Py_ssize_t columns, real *packed
) noexcept nogil:
    """packed[k, j] = B[k, j] for one panel: rows of two vectors, filled up with zeros."""
    cdef Py_ssize_t j, k, width = lanes(b), panel = 2 * lanes(b)
    if b_column == 1 and columns == panel:
        for k in range(depth):
            store(packed, load(b))
            store(packed + width, load(b + width))
            b += b_step
            packed += panel
    elif b_column == 1:
        for k in range(depth):
            store(packed, load_part(b, min(columns, width)))
            store(packed + width, load_part(b + width, columns - width) if columns > width else zeros(b))
            b += b_step
            packed += panel
    else:
        for k in range(depth):
            for j in range(columns):
                packed[j] = b[j * b_column]
            for j in range(columns, panel):
                packed[j] = 0
            b += b_step
            packed += panel


cdef void _pack_strip(
    const real *a, Py_ssize_t a_row, Py_ssize_t a_step, Py_ssize_t rows, Py_ssize_t depth, real *packed
) noexcept nogil:
    """packed[k, i] = A[i, k] for one strip."""
    cdef Py_ssize_t i, k
    for k in range(depth):
        for i in range(rows):
            packed[i] = a[i * a_row]
        a += a_step
        packed += rows


# --- few rows -------------------------------------------------------------------------------------------------------------------

# --- blocks ---------------------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t _blocks(Py_ssize_t size, Py_ssize_t most) noexcept nogil:
    """How many blocks of at most ``most`` cover ``size``; even 0 gets one."""
    return max(1, (size + most - 1) // most)


cdef Py_ssize_t product_workspace(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth) noexcept nogil:
    """Elements of workspace that a thread needs for a product of that shape (and for every smaller one)."""
    cdef Py_ssize_t panel = 2 * LANES_F
    return min(depth, DEPTH) * (
        min((columns + panel - 1) // panel, PANELS) * panel + min(rows, STRIPS * TILE_ROWS))


cdef void product_share(
    const real *a, Py_ssize_t a_row, Py_ssize_t a_step, const real *b, Py_ssize_t b_step, Py_ssize_t b_column, const real *bias,
    real *c, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth, bint relu, real *workspace, int part, int parts
) noexcept nogil:
    """C = A B + bias, then relu: A (rows, depth), B (depth, columns), C (rows, columns) C-contiguous, bias (columns,) or NULL."""
    cdef Py_ssize_t panel = 2 * lanes(a), first, stop, i, j, k, block, height, end, wide, row_blocks, row_block, strips, strip
    cdef Py_ssize_t depth_blocks = _blocks(depth, DEPTH), depth_block, steps
    cdef bint pack_b = b_column != 1 or b_step * <Py_ssize_t> sizeof(real) >= ALIAS or rows > UNPACKED
    cdef real *packed_a = workspace + min(depth, DEPTH) * min((columns + panel - 1) // panel, PANELS) * panel
    cdef const real *strip_a
    cdef const real *panel_b
    cdef Py_ssize_t panel_step, packed_index
    cdef Py_ssize_t top = 0, bottom = rows
    cdef bint pack_a = (a_row if a_step == 1 else a_step) * <Py_ssize_t> sizeof(real) % ALIAS == 0 or columns >= 1024
    if (columns + panel - 1) // panel >= parts:
        first = share_start(columns, panel, part, parts)
        stop = share_start(columns, panel, part + 1, parts)
    else:
        first = 0
        stop = columns
        top = share_start(rows, 1, part, parts)
        bottom = share_start(rows, 1, part + 1, parts)
    while first < stop:
        end = min(stop, first + PANELS * panel)
        for depth_block in range(depth_blocks):
            k = depth * depth_block // depth_blocks
            steps = depth * (depth_block + 1) // depth_blocks - k
            row_blocks = _blocks(bottom - top, STRIPS * TILE_ROWS)
            for row_block in range(row_blocks):
                i = top + (bottom - top) * row_block // row_blocks
                block = top + (bottom - top) * (row_block + 1) // row_blocks - i
                strips = _blocks(block, TILE_ROWS)
                if pack_a:
                    for strip in range(strips):
                        height = block * (strip + 1) // strips - block * strip // strips
                        _pack_strip(a + (i + block * strip // strips) * a_row + k * a_step, a_row, a_step, height, steps,
                                    packed_a + block * strip // strips * steps)
                j = first
                while j < end:
                    wide = min(panel, end - j)
                    panel_b = b + k * b_step + j * b_column
                    panel_step = b_step
                    if pack_b or wide < panel:
                        packed_index = (j - first) * steps if pack_b else 0
                        if row_block == 0 or not pack_b:
                            _pack_panel(panel_b, b_step, b_column, steps, wide, workspace + packed_index)
                        panel_b = workspace + packed_index
                        panel_step = panel
                    for strip in range(strips):
                        height = block * (strip + 1) // strips - block * strip // strips
                        if pack_a:
                            strip_a = packed_a + block * strip // strips * steps
                            _strip(height, strip_a, 1, height, panel_b, panel_step, steps,
                                   NULL if bias is NULL else bias + j, k > 0, relu and k + steps == depth,
                                   c + (i + block * strip // strips) * columns + j, columns, wide)
                        else:
                            strip_a = a + (i + block * strip // strips) * a_row + k * a_step
                            _strip(height, strip_a, a_row, a_step, panel_b, panel_step, steps,
                                   NULL if bias is NULL else bias + j, k > 0, relu and k + steps == depth,
                                   c + (i + block * strip // strips) * columns + j, columns, wide)
                    j += panel
        first = end
