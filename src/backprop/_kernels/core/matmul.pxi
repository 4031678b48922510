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

**Blocks.** k is cut into blocks of at most DEPTH and rows into blocks of at most STRIPS strips, so that a block of A stays in the
second-level cache and a panel of B, two vectors wide, comes from there. B is packed, all panels of a block together, where it is
transposed, where its rows are ALIAS bytes apart or more (they would compete for the same places in the cache), where many rows
reuse it, and always in a last panel that is not full: the copy is filled up with zeros, and only C is written in part. A is packed
where its rows lie at multiples of ALIAS, where it is transposed and deep, or where many panels reuse it.

**Few rows.** One row times B runs along the rows of B, up to 8 vectors wide. Up to FEW rows times a transposed B are dot products,
as many at a time as a vector has lanes, summed across by a tree of interleavings.

**Shares.** Work is split over tiles of C: ``part`` of ``parts`` computes its own rows or columns and needs nothing from the others,
so no barrier stands inside a product. Which loops run depends on the whole shape alone, each element is summed by one thread, and
in the order of k: the result does not depend on ``parts``, bit for bit. Every thread brings a workspace of `product_workspace`
elements.
"""

cdef enum:
    DEPTH = 512    # most of k in a block
    STRIPS = 14    # most strips of rows in a block of A
    PANELS = 64    # most panels in a block of B
    FEW = 4        # rows up to which a product with a transposed matrix is made of dot products
    UNPACKED = 64  # rows up to which a B of short rows is used where it lies
    SMALL = 1 << 18     # bytes: a B larger than this only up to the next
    UNPACKED_LARGE = 24
    ALIAS = 2048   # bytes; rows at multiples of it share their places in the cache


cdef inline Py_ssize_t share_start(Py_ssize_t size, Py_ssize_t unit, int part, int parts) noexcept nogil:
    """Where share ``part`` of ``parts`` begins in ``size`` elements that are split at multiples of ``unit`` only."""
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

cdef inline void _transpose(
    bint whole, const real *source, Py_ssize_t source_row, Py_ssize_t rows, Py_ssize_t columns, real *target, Py_ssize_t target_row
) noexcept nogil:
    """target = source.T, for up to as many rows and columns as a vector has lanes (``whole``, a literal: exactly as many).

    In log2(lanes) rounds of interleaving the first half of the rows with the second. Rows that are missing become columns of zeros.
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
        if whole or i < columns:
            store(target + i * target_row, a.v[i])


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
    """packed[strip][k, i] = A[i, k] for all strips of an A whose columns are contiguous, column after column.

    What a loose copy stores too much is overwritten by the strip's next columns.
    """
    cdef Py_ssize_t i, k, strip, high, width = lanes(a)
    # Behind these, something of A follows to be read, and enough of the strip to be overwritten.
    cdef Py_ssize_t loose = depth - 1 - max((width + a_step - 1) // a_step, width // max(<Py_ssize_t> 1, rows // strips))
    for k in range(depth):
        for strip in range(strips):
            i = _strip_start(rows, strips, strip)
            high = _strip_start(rows, strips, strip + 1) - i
            _copy(a + i, packed + i * depth + k * high, high, k < loose)
        a += a_step


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
    """C = a B for one row and a B whose columns are contiguous: as many dot products at a time as a vector has lanes."""
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


# Blocks.

cdef inline Py_ssize_t _blocks(Py_ssize_t size, Py_ssize_t most) noexcept nogil:
    """How many blocks of at most ``most`` cover ``size``; even 0 gets one."""
    return max(1, (size + most - 1) // most)


cdef Py_ssize_t product_workspace(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth) noexcept nogil:
    """Elements of workspace that a thread needs for a product of that shape."""
    cdef Py_ssize_t panel = 2 * LANES_F
    return min(depth, DEPTH) * (min(_blocks(columns, panel), PANELS) * panel + min(rows, STRIPS * TILE_ROWS)) + LANES_F


cdef inline Py_ssize_t _strip_start(Py_ssize_t rows, Py_ssize_t strips, Py_ssize_t strip) noexcept nogil:
    """The first row of a strip: strips are of equal height, but that the first ones may have a row more."""
    return rows // strips * strip + min(strip, rows % strips)


cdef void _block(
    const real *a, Py_ssize_t a_row, Py_ssize_t a_step, bint pack_a, real *packed_a,
    const real *b, Py_ssize_t b_step, bint pack_b, real *packed_b,
    Py_ssize_t depth, const real *bias, bint add, bint relu,
    real *c, Py_ssize_t c_row, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """C (+)= A B for one block of each; ``pack_b``: packed_b holds B; otherwise its last panel goes there, if that is not full."""
    cdef Py_ssize_t panel = 2 * lanes(a), strips = _blocks(rows, TILE_ROWS), high = rows // strips, tall = rows % strips
    cdef Py_ssize_t strip, i, j = 0, wide, here_step, rest = tall * (high + 1), apart = depth if pack_a else a_row
    cdef const real *here
    cdef const real *piece
    if pack_a:
        if a_row == 1:
            _pack_columns(a, a_step, rows, strips, depth, packed_a)
        else:
            for strip in range(strips):
                i = _strip_start(rows, strips, strip)
                _pack_rows(a + i * a_row, a_row, _strip_start(rows, strips, strip + 1) - i, depth, packed_a + i * depth)
        a = packed_a
    while j < columns:
        wide = min(panel, columns - j)
        here = b + j
        here_step = b_step
        if pack_b:
            here = packed_b + j * depth
            here_step = panel
        elif wide < panel:
            _pack_panels(here, b_step, depth, wide, packed_b)
            here = packed_b
            here_step = panel
        piece = NULL if bias is NULL else bias + j
        _strips(high + 1, tall, a, (high + 1) * apart, 1 if pack_a else a_row, high + 1 if pack_a else a_step,
                here, here_step, depth, piece, add, relu, c + j, c_row, wide)
        _strips(high, strips - tall, a + rest * apart, high * apart, 1 if pack_a else a_row, high if pack_a else a_step,
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
    cdef Py_ssize_t left = 0, right = columns, top = 0, bottom = rows, i, j, k, high, wide, steps, block, blocks, layer, layers, few
    cdef bint pack_a, pack_b, aliased, relu = f == RELU and activated == c
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
    if rows <= FEW and b_column != 1 and a_step == 1 and b_step == 1 and bias is NULL and activated is NULL and not relu:
        for i in range(top, bottom):
            _dot_products(a + i * a_row, b + left * b_column, b_column, depth, c + i * columns + left, right - left)
        return
    aliased = (a_row if a_step == 1 else a_step) * <Py_ssize_t> sizeof(real) % ALIAS == 0
    pack_a = columns >= 1024 or panels >= 4 and (aliased or a_step != 1 and depth > UNPACKED)
    few = UNPACKED if depth * b_step * <Py_ssize_t> sizeof(real) <= SMALL else UNPACKED_LARGE
    pack_b = b_column != 1 or b_step * <Py_ssize_t> sizeof(real) >= ALIAS or rows > few
    layers = _blocks(depth, DEPTH)
    blocks = _blocks(bottom - top, STRIPS * TILE_ROWS)
    j = left
    while j < right:
        wide = min(PANELS * panel, right - j)
        for layer in range(layers):
            k = depth * layer // layers
            steps = depth * (layer + 1) // layers - k
            if pack_b and b_column == 1:
                _pack_panels(b + j + k * b_step, b_step, steps, wide, workspace)
            elif pack_b:
                _pack_transposed(b + j * b_column + k, b_column, steps, wide, workspace)
            for block in range(blocks):
                i = top + (bottom - top) * block // blocks
                high = top + (bottom - top) * (block + 1) // blocks - i
                _block(
                    a + i * a_row + k * a_step, a_row, a_step, pack_a, workspace + min(depth, DEPTH) * min(panels, PANELS) * panel,
                    b + j * b_column + k * b_step, b_step, pack_b, workspace,
                    steps, NULL if bias is NULL else bias + j, layer > 0, relu and layer == layers - 1,
                    c + i * columns + j, columns, high, wide)
                if layer == layers - 1 and activated is not NULL:
                    activation_block(f, alpha, c + i * columns + j, activated + i * columns + j, high, wide, columns)
        j += wide
