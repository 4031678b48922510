"""The matrix product, register-blocked, without BLAS.

`product_share` computes C = A B + bias for any shape, and an activation of it. A and B are described by strides, so that all three
products of a dense layer are one function::

    x @ weight          A = x        B = weight              C = z or a
    x.T @ delta         A = x.T      B = delta               C = grad_weight
    delta @ weight.T    A = delta    B = weight.T            C = grad_x

**The tile.** TILE_ROWS rows by two vectors of C stay in registers while the sum runs: per k, two vectors of B, and per row one
element of A spread over a vector and two fused multiply-adds. The sum starts at the bias, or at zero when an earlier block of k has
left its part in C, which is added at the end: until then the processor has time to bring it. Heights are literal, so that each
compiles to its own registers; the rows of a matrix are split evenly over strips of two neighbouring heights, so that no strip is a
thin one, and the strips of a height are one loop.

**Blocks.** k is cut into layers of at most DEPTH, so that a panel of B, two vectors wide, stays in the first-level cache, and rows
into blocks that stay in the second-level cache. A and B are packed, into strips and panels as tiles read them, where that is worth
the copy, and always a last panel that is not full: the copy is filled up with zeros, and only C is written in part.

- B lies as it is where one strip of rows uses it, or few of them do and a panel stays in the second-level cache (`_stays`).
- Otherwise a layer of up to WHOLE bytes is packed at once, before the first block of rows, and larger ones PANELS panels at a time,
  right before a block of rows uses them: blocks of rows are high then, so that this is seldom. Panels of short vectors are too
  narrow for that, as each piece of a row would wait for memory anew, and short vectors compute for longer than the third-level
  cache needs to bring a panel: there as many columns as fit in WHOLE_SHORT bytes are packed at once.
- A is packed, a block for all of B's panels, where its rows lie at multiples of ALIAS, where it is transposed and deep, or where
  many panels reuse it.

**Few rows.** One row times B runs along the rows of B, up to 8 vectors wide. Up to FEW rows times a transposed B are dot products,
one for each lane of a vector at a time, summed across by a tree of interleavings. More rows that nearly fill one or two vectors
change places with a transposed B: C.T = B.T A.T transposes A, which is small, and C, and reads B as it lies.

**Few columns.** A tile as wide as a vector would waste most lanes on up to a quarter of one: more rows than one are dot products
with the columns of B.

**Shares.** Work is split over tiles of C: ``part`` of ``parts`` computes its own rows or columns and needs nothing from the others,
so no barrier stands inside a product. Which loops run depends on the whole shape alone, each element is summed by one thread, and
in the order of k: the result does not depend on ``parts``, bit for bit. Every thread brings a workspace of `product_workspace`
elements.
"""

cdef enum:
    DEPTH = 256    # most of k in a layer
    STRIPS = 14    # most strips in a block of rows, where a whole layer of B is at hand
    TOGETHER = 12  # strips that are packed together: one stream of stores for each way of the first-level cache
    PANELS = 2     # panels of B that are packed together, where a whole layer is not
    WHOLE = 1 << 19  # bytes of a layer of B that is packed at once; with vectors that are not LONG:
    WHOLE_SHORT = 1 << 21
    FEW = 4        # rows up to which a product with a transposed matrix is made of dot products
    UNPACKED = 128  # rows up to which B is used where it lies; with vectors that are not LONG, up to the next two:
    UNPACKED_SMALL = 64  # a layer of up to SMALL bytes,
    UNPACKED_LARGE = 24  # and any other
    SMALL = 1 << 18
    LONG = 64      # bytes of a vector
    ALIAS = 2048   # bytes; rows at multiples of it share their places in the cache

cdef Py_ssize_t L2_BYTES = second_level_cache()


cdef inline Py_ssize_t share_start(Py_ssize_t size, Py_ssize_t unit, int part, int parts) noexcept nogil:
    """Where share ``part`` of ``parts`` begins in ``size`` elements that are split at multiples of ``unit`` only."""
    if part == 0 or part == parts:  # without a division, which is slow: one thread needs the ends alone
        return 0 if part == 0 else size
    return min(size, (size + unit - 1) // unit * part // parts * unit)


# The tile.

cdef inline void _tiles(
    int rows, int vectors, Py_ssize_t count, const real *a, Py_ssize_t a_next, Py_ssize_t a_row, Py_ssize_t a_step,
    const real *b, Py_ssize_t b_step, Py_ssize_t depth, const real *bias, bint add, bint relu,
    real *c, Py_ssize_t c_row, Py_ssize_t last
) noexcept nogil:
    """C (+)= A B for ``count`` tiles below each other, whose rows of A begin ``a_next`` elements apart.

    Each is ``rows`` high and ``vectors`` (1 or 2) wide, both literal; the last vector has ``last`` elements.
    """
    cdef Py_ssize_t tile, i, k, width = lanes(a), edge = (vectors - 1) * width
    cdef const real *a_k
    cdef const real *b_k
    acc = blank(a)
    b0 = zeros(a)
    b1 = zeros(a)
    for tile in range(count):
        a_k = a
        b_k = b
        if bias is not NULL and not add:
            if vectors == 2:
                b0 = load(bias)
            b1 = load_part(bias + edge, last)
        else:
            b0 = zeros(a)
            b1 = zeros(a)
        for i in range(rows):
            prefetch(c + i * c_row)
            acc.v[2 * i] = b0
            acc.v[2 * i + 1] = b1
        for k in range(depth):
            if vectors == 2:
                b0 = load(b_k)
            b1 = load(b_k + edge)
            for i in range(rows):
                x = spread(a_k + i * a_row)
                if vectors == 2:
                    acc.v[2 * i] = acc.v[2 * i] + x * b0
                acc.v[2 * i + 1] = acc.v[2 * i + 1] + x * b1
            a_k += a_step
            b_k += b_step
        if add:
            for i in range(rows):
                if vectors == 2:
                    acc.v[2 * i] = acc.v[2 * i] + load(c + i * c_row)
                acc.v[2 * i + 1] = acc.v[2 * i + 1] + load_part(c + i * c_row + edge, last)
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
        a += a_next
        c += rows * c_row


cdef inline void _height(
    Py_ssize_t rows, int vectors, Py_ssize_t count, const real *a, Py_ssize_t a_next, Py_ssize_t a_row, Py_ssize_t a_step,
    const real *b, Py_ssize_t b_step, Py_ssize_t depth, const real *bias, bint add, bint relu,
    real *c, Py_ssize_t c_row, Py_ssize_t last
) noexcept nogil:
    """Tiles of that height."""
    if rows == 1:
        _tiles(1, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif rows == 2:
        _tiles(2, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif rows == 3:
        _tiles(3, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif rows == 4:
        _tiles(4, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 5 and rows == 5:
        _tiles(5, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 6 and rows == 6:
        _tiles(6, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 7 and rows == 7:
        _tiles(7, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 8 and rows == 8:
        _tiles(8, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 9 and rows == 9:
        _tiles(9, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 10 and rows == 10:
        _tiles(10, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 11 and rows == 11:
        _tiles(11, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 12 and rows == 12:
        _tiles(12, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 13 and rows == 13:
        _tiles(13, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)
    elif TILE_ROWS >= 14 and rows == 14:
        _tiles(14, vectors, count, a, a_next, a_row, a_step, b, b_step, depth, bias, add, relu, c, c_row, last)


cdef void _strips(
    Py_ssize_t rows, Py_ssize_t count, const real *a, Py_ssize_t a_next, Py_ssize_t a_row, Py_ssize_t a_step,
    const real *b, Py_ssize_t b_step, Py_ssize_t depth, const real *bias, bint add, bint relu,
    real *c, Py_ssize_t c_row, Py_ssize_t columns
) noexcept nogil:
    """Strips of C of one height, up to TILE_ROWS, and up to two vectors wide; one of A's strides is 1, which makes it a literal."""
    cdef Py_ssize_t width = lanes(a)
    if columns > width:
        if a_step == 1:
            _height(rows, 2, count, a, a_next, a_row, 1, b, b_step, depth, bias, add, relu, c, c_row, columns - width)
        else:
            _height(rows, 2, count, a, a_next, 1, a_step, b, b_step, depth, bias, add, relu, c, c_row, columns - width)
    else:
        if a_step == 1:
            _height(rows, 1, count, a, a_next, a_row, 1, b, b_step, depth, bias, add, relu, c, c_row, columns)
        else:
            _height(rows, 1, count, a, a_next, 1, a_step, b, b_step, depth, bias, add, relu, c, c_row, columns)


# Packing.

cdef inline void _interleave(
    bint whole, bint exact, const real *source, Py_ssize_t source_row, Py_ssize_t rows, Py_ssize_t columns,
    real *target, Py_ssize_t target_row
) noexcept nogil:
    """target = source.T, for rows and columns up to the lanes of a vector (``whole``, a literal: all of them).

    In log2(lanes) rounds of interleaving the first half of the rows with the second. Rows that are missing become columns of zeros,
    unless ``exact``, a literal.
    """
    cdef Py_ssize_t i, round = 1, width = lanes(source)
    a = blank(source)
    b = blank(source)
    for i in range(width):
        if whole:
            a.v[i] = load(source + i * source_row)
        else:
            a.v[i] = load_part(source + i * source_row, columns) if i < rows else zeros(source)
    while round < width:
        for i in range(width // 2):
            b.v[2 * i] = interleave_low(a.v[i], a.v[i + width // 2])
            b.v[2 * i + 1] = interleave_high(a.v[i], a.v[i + width // 2])
        a = b
        round *= 2
    for i in range(width):
        if exact and i < columns:
            store_part(target + i * target_row, rows, a.v[i])
        elif not exact and (whole or i < columns):
            store(target + i * target_row, a.v[i])


cdef inline void _transpose(
    bint whole, const real *source, Py_ssize_t source_row, Py_ssize_t rows, Py_ssize_t columns, real *target, Py_ssize_t target_row
) noexcept nogil:
    """target = source.T, in whole vectors: missing rows become columns of zeros."""
    _interleave(whole, False, source, source_row, rows, columns, target, target_row)


cdef void _transpose_exactly(
    const real *source, Py_ssize_t source_row, Py_ssize_t rows, Py_ssize_t columns, real *target, Py_ssize_t target_row
) noexcept nogil:
    """target = source.T, and nothing is written beyond it."""
    if rows == lanes(source) and columns == lanes(source):
        _interleave(True, False, source, source_row, rows, columns, target, target_row)
    else:
        _interleave(False, True, source, source_row, rows, columns, target, target_row)


cdef void _pack_transposed(const real *b, Py_ssize_t b_column, Py_ssize_t depth, Py_ssize_t columns, real *packed) noexcept nogil:
    """packed[panel][k, j] = B[k, j] for the panels of a B whose columns are contiguous; filled up with zeros."""
    cdef Py_ssize_t j = 0, k, width = lanes(b), panel = 2 * lanes(b), high
    cdef real *copy
    while j < columns:
        high = min(width, columns - j)
        copy = packed + j // panel * panel * depth + j % panel
        k = 0
        while k < depth:
            if high == width and k + width <= depth:
                _transpose(True, b + j * b_column + k, b_column, width, width, copy + k * panel, panel)
            else:
                _transpose(False, b + j * b_column + k, b_column, high, min(width, depth - k), copy + k * panel, panel)
            k += width
        j += width


cdef inline void _copy(const real *source, real *target, Py_ssize_t n, bint loosely) noexcept nogil:
    """target = source; ``loosely``: where both have room for it, in whole vectors, the last of which copies too much."""
    cdef Py_ssize_t i = 0, width = lanes(source)
    while i < n:
        if loosely or i + width <= n:
            store(target + i, load(source + i))
        else:
            store_part(target + i, n - i, load_part(source + i, n - i))
        i += width


cdef void _pack_panels(const real *b, Py_ssize_t b_step, Py_ssize_t depth, Py_ssize_t columns, real *packed) noexcept nogil:
    """packed[panel][k, j] = B[k, j] for the panels of a B whose rows are contiguous, row after row; filled up with zeros."""
    cdef Py_ssize_t j, k, width = lanes(b), panel = 2 * lanes(b), last = columns - columns % (2 * lanes(b))
    for k in range(depth):
        j = 0
        while j < last:
            store(packed + j * depth, load(b + j))
            store(packed + j * depth + width, load(b + j + width))
            j += panel
        if last < columns:
            store(packed + last * depth, load_part(b + last, min(width, columns - last)))
            if columns - last > width:
                store(packed + last * depth + width, load_part(b + last + width, columns - last - width))
        b += b_step
        packed += panel


cdef inline void _pack_rows(
    const real *a, Py_ssize_t a_row, Py_ssize_t rows, Py_ssize_t depth, real *packed
) noexcept nogil:
    """packed[k, i] = A[i, k] for one strip of an A whose rows are contiguous.

    Whole vectors are stored where fewer numbers belong: what is too much is overwritten by what comes later, the next strip
    included, and the last strip has room for it. So the last rows come first.
    """
    cdef Py_ssize_t i, k, width = lanes(a)
    i = (rows - 1) // width * width
    while i >= 0:
        k = 0
        while k < depth:
            if k + width <= depth and i + width <= rows:
                _transpose(True, a + i * a_row + k, a_row, width, width, packed + k * rows + i, rows)
            elif k + width <= depth:
                _transpose(False, a + i * a_row + k, a_row, rows - i, width, packed + k * rows + i, rows)
            else:
                _transpose(False, a + i * a_row + k, a_row, min(width, rows - i), depth - k, packed + k * rows + i, rows)
            k += width
        i -= width


cdef void _pack_columns(
    const real *a, Py_ssize_t a_step, Py_ssize_t rows, Py_ssize_t strips, Py_ssize_t depth, real *packed
) noexcept nogil:
    """packed[strip][k, i] = A[i, k] for all strips of an A whose columns are contiguous, a few at a time, column after column.

    What a loose copy stores too much is overwritten by the strip's next columns.
    """
    cdef Py_ssize_t i, k, strip, high, width = lanes(a), first = 0
    # Behind these, something of A follows to be read, and enough of the strip to be overwritten.
    cdef Py_ssize_t loose = depth - 1 - max((width + a_step - 1) // a_step, width // max(<Py_ssize_t> 1, rows // strips))
    while first < strips:
        for k in range(depth):
            for strip in range(first, min(first + TOGETHER, strips)):
                i = _strip_start(rows, strips, strip)
                high = _strip_start(rows, strips, strip + 1) - i
                _copy(a + i + k * a_step, packed + i * depth + k * high, high, k < loose)
        first += TOGETHER


# Few rows.

cdef inline void _row_piece(
    int vectors, const real *a, Py_ssize_t a_step, const real *b, Py_ssize_t b_step, Py_ssize_t depth,
    const real *bias, bint relu, real *c, Py_ssize_t last
) noexcept nogil:
    """A piece of C = a B for one row a, ``vectors`` (8, 4, 2 or 1, literal) wide; several sums over k run side by side in each."""
    cdef Py_ssize_t i, j, k, width = lanes(a), chains = 8 // vectors, whole = depth - depth % (8 // vectors)
    acc = blank(a)
    for i in range(8):
        acc.v[i] = zeros(a)
    if bias is not NULL:
        for j in range(vectors):
            acc.v[j] = load_part(bias + j * width, last if j == vectors - 1 else width)
    k = 0
    while k < depth:
        for i in range(chains if k < whole else 1):
            x = spread(a + (k + i) * a_step)
            for j in range(vectors):
                if j == vectors - 1 and last < width:
                    acc.v[i * vectors + j] = acc.v[i * vectors + j] + x * load_part(b + (k + i) * b_step + j * width, last)
                else:
                    acc.v[i * vectors + j] = acc.v[i * vectors + j] + x * load(b + (k + i) * b_step + j * width)
        k += chains if k < whole else 1
    for i in range(1, chains):
        for j in range(vectors):
            acc.v[j] = acc.v[j] + acc.v[i * vectors + j]
    for j in range(vectors):
        if relu:
            acc.v[j] = maximum(acc.v[j], zeros(a))
        if j == vectors - 1 and last < width:
            store_part(c + j * width, last, acc.v[j])
        else:
            store(c + j * width, acc.v[j])


cdef void _row_product(
    const real *a, Py_ssize_t a_step, const real *b, Py_ssize_t b_step, Py_ssize_t depth,
    const real *bias, bint relu, real *c, Py_ssize_t columns
) noexcept nogil:
    """C = a B + bias for one row."""
    cdef Py_ssize_t j = 0, width = lanes(a), rest
    cdef const real *piece
    while j < columns:
        rest = columns - j
        piece = NULL if bias is NULL else bias + j
        if rest >= 8 * width:
            _row_piece(8, a, a_step, b + j, b_step, depth, piece, relu, c + j, width)
            j += 8 * width
        elif rest >= 4 * width:
            _row_piece(4, a, a_step, b + j, b_step, depth, piece, relu, c + j, width)
            j += 4 * width
        elif rest >= 2 * width:
            _row_piece(2, a, a_step, b + j, b_step, depth, piece, relu, c + j, width)
            j += 2 * width
        else:
            _row_piece(1, a, a_step, b + j, b_step, depth, piece, relu, c + j, min(rest, width))
            j += width


cdef void _outer_product(
    const real *a, Py_ssize_t a_row, const real *b, real *c, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """C = a b for one column a and one row b."""
    cdef Py_ssize_t i, j, width = lanes(a), rest = columns % lanes(a), whole = columns - columns % lanes(a)
    last = load_part(b + whole, rest) if rest else zeros(a)
    for i in range(rows):
        x = spread(a + i * a_row)
        j = 0
        while j < whole:
            store(c + j, x * load(b + j))
            j += width
        if rest:
            store_part(c + whole, rest, x * last)
        c += columns


cdef void _dot_products(
    const real *a, const real *b, Py_ssize_t b_column, Py_ssize_t depth, real *c, Py_ssize_t columns
) noexcept nogil:
    """C = a B for one row and a B whose columns are contiguous: a dot product in each lane of a vector."""
    cdef Py_ssize_t i, j, k, count, width = lanes(a)
    j = 0
    while j < columns:
        count = min(width, columns - j)
        acc = blank(a)
        for i in range(width):
            acc.v[i] = zeros(a)
        k = 0
        while k + width <= depth:
            x = load(a + k)
            for i in range(width):  # where columns are missing, the last one takes their place
                acc.v[i] = acc.v[i] + x * load(b + min(i, count - 1) * b_column + k)
            k += width
        if k < depth:
            y = load_part(a + k, depth - k)
            for i in range(width):
                acc.v[i] = acc.v[i] + y * load_part(b + min(i, count - 1) * b_column + k, depth - k)
        k = width // 2
        while k > 0:  # the sum across the lanes of all of them, which is a transposition that adds
            for i in range(k):
                acc.v[i] = interleave_low(acc.v[i], acc.v[i + k]) + interleave_high(acc.v[i], acc.v[i + k])
            k //= 2
        store_part(c + j, count, acc.v[0])
        b += width * b_column
        j += width


cdef void _turned_product(
    const real *a, Py_ssize_t a_row, const real *b, Py_ssize_t b_column, Py_ssize_t depth,
    real *c, Py_ssize_t c_row, Py_ssize_t rows, Py_ssize_t columns, real *workspace
) noexcept nogil:
    """C = A B for rows that fit in a panel and a B whose columns are contiguous, as C.T = B.T A.T: A is transposed instead of B.

    C.T is formed a block at a time, and turned over when it is complete.
    """
    cdef Py_ssize_t width = lanes(a), panel = 2 * lanes(a)
    cdef Py_ssize_t layers = _blocks(depth, DEPTH), blocks = _blocks(columns, STRIPS * TILE_ROWS)
    cdef Py_ssize_t layer, block, i, j, k, steps, high
    cdef real *turned = workspace + _blocks(depth, layers) * panel
    for block in range(blocks):
        j = columns * block // blocks
        high = columns * (block + 1) // blocks - j
        for layer in range(layers):
            k = depth * layer // layers
            steps = depth * (layer + 1) // layers - k
            if block == 0 or layers > 1:
                _pack_transposed(a + k, a_row, steps, rows, workspace)
            _block(
                b + j * b_column + k, b_column, 1, False, workspace, panel, True, workspace,
                steps, <const real *> NULL, layer > 0, False, turned, panel, high, rows)
        k = 0
        while k < high:
            i = 0
            while i < rows:
                _transpose_exactly(
                    turned + k * panel + i, panel, min(width, high - k), min(width, rows - i), c + i * c_row + j + k, c_row)
                i += width
            k += width


cdef inline bint _is_thin(Py_ssize_t columns, Py_ssize_t depth, Py_ssize_t width) noexcept nogil:
    """Whether columns are few enough for dot products, and these long enough to outweigh their sums across the lanes."""
    return 4 * columns <= width and depth >= columns * width


cdef void _thin_product(
    const real *a, Py_ssize_t a_row, const real *b, Py_ssize_t b_step, Py_ssize_t depth, const real *bias,
    real *c, Py_ssize_t rows, Py_ssize_t columns, real *workspace
) noexcept nogil:
    """C = A B + bias for few columns, C's only ones, and an A whose rows are contiguous."""
    cdef Py_ssize_t i = 0, j, k, count, width = lanes(a), most = DEPTH
    cdef real *turned = workspace + columns * depth  # C.T of some rows
    cdef real *sums
    for j in range(columns):
        for k in range(depth):
            workspace[j * depth + k] = b[k * b_step + j]
    while i < rows:
        count = min(most, rows - i)
        for j in range(columns):
            sums = turned + j * most if columns > 1 else c + i
            _dot_products(workspace + j * depth, a + i * a_row, a_row, depth, sums, count)
            if bias is not NULL:
                for k in range(count):
                    sums[k] += bias[j]
        k = 0
        while k < count and columns > 1:
            _transpose_exactly(turned + k, most, columns, min(width, count - k), c + (i + k) * columns, columns)
            k += width
        i += count


# Blocks.

cdef inline Py_ssize_t _blocks(Py_ssize_t size, Py_ssize_t most) noexcept nogil:
    """How many blocks of at most ``most`` cover ``size``; even 0 gets one."""
    return max(1, (size + most - 1) // most)


cdef inline Py_ssize_t _most_rows(Py_ssize_t item) noexcept nogil:
    """The rows of A that half of the second-level cache holds, DEPTH of k each."""
    return max(L2_BYTES // (2 * DEPTH * item), <Py_ssize_t> (STRIPS * TILE_ROWS))


cdef Py_ssize_t product_workspace(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth) noexcept nogil:
    """Elements of workspace that a thread needs for a product of that shape, or of one that is smaller in every respect."""
    cdef Py_ssize_t panel = 2 * LANES_F, item = sizeof(float), layer = min(depth, <Py_ssize_t> DEPTH)
    cdef Py_ssize_t turned = panel * (layer + min(columns, <Py_ssize_t> (STRIPS * TILE_ROWS)))
    cdef Py_ssize_t thin = min(columns, <Py_ssize_t> (LANES_F // 4)) * (depth + DEPTH)
    return max(max(turned, thin), _packed_b(columns, depth, panel, item) + layer * min(rows, _most_rows(item)) + LANES_F)


cdef inline Py_ssize_t _packed_b(Py_ssize_t columns, Py_ssize_t depth, Py_ssize_t panel, Py_ssize_t item) noexcept nogil:
    """Elements of the workspace that are for B."""
    cdef Py_ssize_t layer = min(depth, <Py_ssize_t> DEPTH) * _blocks(columns, panel) * panel
    return min(layer, WHOLE_SHORT // item if _is_short() else max(WHOLE // item, <Py_ssize_t> (DEPTH * PANELS) * panel))


cdef inline bint _is_short() noexcept nogil:
    """Whether vectors are not LONG."""
    return LANES_F * <Py_ssize_t> sizeof(float) < LONG


cdef inline Py_ssize_t _strip_start(Py_ssize_t rows, Py_ssize_t strips, Py_ssize_t strip) noexcept nogil:
    """The first row of a strip: strips are of equal height, but that the first ones may have a row more."""
    return rows // strips * strip + min(strip, rows % strips)


cdef inline bint _stays(Py_ssize_t rows, Py_ssize_t depth, Py_ssize_t apart) noexcept nogil:
    """Whether products with ``rows`` rows of A use a layer of B where it lies, whose rows are ``apart`` bytes apart.

    One strip does. A few do if the second-level cache has a place for each row of a panel (at multiples of a power of two they
    compete) and, with short vectors, between whose few operations less time is left for loads, if the layer is small.
    """
    if rows <= TILE_ROWS:
        return True
    if depth * (apart & -apart) > (L2_BYTES // 2 if _is_short() else L2_BYTES):
        return False
    if _is_short():
        return rows <= (UNPACKED_SMALL if depth * apart <= SMALL else UNPACKED_LARGE)
    return rows <= UNPACKED


cdef void _pack_a(
    const real *a, Py_ssize_t a_row, Py_ssize_t a_step, Py_ssize_t rows, Py_ssize_t depth, real *packed
) noexcept nogil:
    """packed[strip][k, i] = A[i, k] for the strips of a block."""
    cdef Py_ssize_t strips = _blocks(rows, TILE_ROWS), strip, i
    if a_row == 1:
        _pack_columns(a, a_step, rows, strips, depth, packed)
        return
    for strip in range(strips):
        i = _strip_start(rows, strips, strip)
        _pack_rows(a + i * a_row, a_row, _strip_start(rows, strips, strip + 1) - i, depth, packed + i * depth)


cdef inline void _pack_b(
    const real *b, Py_ssize_t b_step, Py_ssize_t b_column, Py_ssize_t depth, Py_ssize_t columns, real *packed
) noexcept nogil:
    """packed[panel][k, j] = B[k, j] for the panels of a block."""
    if b_column == 1:
        _pack_panels(b, b_step, depth, columns, packed)
    else:
        _pack_transposed(b, b_column, depth, columns, packed)


cdef void _block(
    const real *a, Py_ssize_t a_row, Py_ssize_t a_step, bint packed_a,
    const real *b, Py_ssize_t b_step, bint packed_b, real *packed,
    Py_ssize_t depth, const real *bias, bint add, bint relu, real *c, Py_ssize_t c_row, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """C (+)= A B for one block of each, packed or where they lie; ``packed`` has room for a last panel of B that is not full."""
    cdef Py_ssize_t panel = 2 * lanes(a), strips = _blocks(rows, TILE_ROWS), high = rows // strips, tall = rows % strips
    cdef Py_ssize_t j = 0, wide, here_step, rest = tall * (high + 1), apart = depth if packed_a else a_row
    cdef const real *here
    cdef const real *piece
    while j < columns:
        wide = min(panel, columns - j)
        here, here_step = b + j, b_step
        if packed_b:
            here, here_step = b + j * depth, panel
        elif wide < panel:
            _pack_panels(here, b_step, depth, wide, packed)
            here, here_step = packed, panel
        piece = NULL if bias is NULL else bias + j
        _strips(high + 1, tall, a, (high + 1) * apart, 1 if packed_a else a_row, high + 1 if packed_a else a_step,
                here, here_step, depth, piece, add, relu, c + j, c_row, wide)
        _strips(high, strips - tall, a + rest * apart, high * apart, 1 if packed_a else a_row, high if packed_a else a_step,
                here, here_step, depth, piece, add, relu, c + rest * c_row + j, c_row, wide)
        j += panel


cdef void product_share(
    const real *a, Py_ssize_t a_row, Py_ssize_t a_step, const real *b, Py_ssize_t b_step, Py_ssize_t b_column, const real *bias,
    real *c, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth, int f, double alpha, real *activated,
    real *workspace, int part, int parts
) noexcept nogil:
    """C = A B + bias; activated = f(C), unless NULL: A (rows, depth), B (depth, columns), C and activated (rows, columns).

    One stride of A and one of B is 1, C is C-contiguous; bias is (columns,) or NULL; activated may be C; f is elementwise.
    """
    cdef Py_ssize_t panel = 2 * lanes(a), panels = _blocks(columns, panel)
    cdef Py_ssize_t left = 0, right = columns, top = 0, bottom = rows
    cdef Py_ssize_t i, j, k, high, wide, steps, block, blocks, layer, layers, span, group, first, end
    cdef const real *here
    cdef real *packed_a
    cdef bint plain, pack_a, pack_b, at_once, aliased, relu = f == RELU and activated == c
    if relu or f == IDENTITY and activated == c:
        activated = NULL
    if rows == 0:
        return
    if rows == 1 and b_column == 1:
        left = share_start(columns, 4 * panel, part, parts)  # where whole pieces end: the width of a piece decides how it is summed
        wide = share_start(columns, 4 * panel, part + 1, parts) - left
        _row_product(a, a_step, b + left, b_step, depth, NULL if bias is NULL else bias + left, relu, c + left, wide)
        if activated is not NULL:
            activation_block(f, alpha, c + left, activated + left, 1, wide, columns)
        return
    if depth == 1 and b_column == 1 and bias is NULL and activated is NULL and not relu:
        top = share_start(rows, 1, part, parts)
        bottom = share_start(rows, 1, part + 1, parts)
        _outer_product(a + top * a_row, a_row, b, c + top * columns, bottom - top, columns)
        return
    if panels >= parts:
        left = share_start(columns, panel, part, parts)
        right = share_start(columns, panel, part + 1, parts)
    else:
        top = share_start(rows, 1, part, parts)
        bottom = share_start(rows, 1, part + 1, parts)
    if b_column == 1 and a_step == 1 and _is_thin(columns, depth, lanes(a)):
        _thin_product(
            a + top * a_row, a_row, b, b_step, depth, bias, c + top * columns, bottom - top, columns, workspace)
        if relu or activated is not NULL:
            activated = c if relu else activated
            activation_block(f, alpha, c + top * columns, activated + top * columns, bottom - top, columns, columns)
        return
    plain = b_column != 1 and a_step == 1 and b_step == 1 and bias is NULL and activated is NULL and not relu
    if plain and rows <= FEW:
        for i in range(top, bottom):
            _dot_products(a + i * a_row, b + left * b_column, b_column, depth, c + i * columns + left, right - left)
        return
    if plain and rows <= panel and 8 * rows >= 7 * _blocks(rows, lanes(a)) * lanes(a):  # vectors that are nearly full
        _turned_product(
            a + top * a_row, a_row, b + left * b_column, b_column, depth, c + top * columns + left, columns,
            bottom - top, right - left, workspace)
        return
    aliased = (a_row if a_step == 1 else a_step) * <Py_ssize_t> sizeof(real) % ALIAS == 0
    pack_a = columns >= 1024 or panels >= 4 and (aliased or a_step != 1 and depth > UNPACKED)
    layers = _blocks(depth, DEPTH)
    pack_b = b_column != 1 or not _stays(rows, _blocks(depth, layers), b_step * <Py_ssize_t> sizeof(real))
    at_once = _is_short() or _blocks(depth, layers) * _blocks(right - left, panel) * panel * <Py_ssize_t> sizeof(real) <= WHOLE
    span = min(right - left, WHOLE_SHORT // (DEPTH * <Py_ssize_t> sizeof(real))) if _is_short() else right - left
    group = span if at_once or not pack_b else PANELS * panel
    blocks = _blocks(bottom - top, STRIPS * TILE_ROWS if at_once or not pack_b else _most_rows(sizeof(real)))
    packed_a = workspace + _packed_b(columns, depth, panel, sizeof(real))
    for layer in range(layers):
        k = depth * layer // layers
        steps = depth * (layer + 1) // layers - k
        first = left
        while first < right:
            end = min(first + span, right)
            if pack_b and at_once:
                _pack_b(b + first * b_column + k * b_step, b_step, b_column, steps, end - first, workspace)
            for block in range(blocks):
                i = top + (bottom - top) * block // blocks
                high = top + (bottom - top) * (block + 1) // blocks - i
                here = a + i * a_row + k * a_step
                if pack_a:
                    _pack_a(here, a_row, a_step, high, steps, packed_a)
                j = first
                while j < end:
                    wide = min(group, end - j)
                    if pack_b and not at_once:
                        _pack_b(b + j * b_column + k * b_step, b_step, b_column, steps, wide, workspace)
                    _block(
                        packed_a if pack_a else here, a_row, a_step, pack_a,
                        workspace if pack_b else b + j + k * b_step, b_step, pack_b, workspace,
                        steps, NULL if bias is NULL else bias + j, layer > 0, relu and layer == layers - 1,
                        c + i * columns + j, columns, high, wide)
                    if layer == layers - 1 and activated is not NULL:
                        activation_block(f, alpha, c + i * columns + j, activated + i * columns + j, high, wide, columns)
                    j += wide
            first = end
