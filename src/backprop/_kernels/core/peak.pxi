# What a core can do at best: the limits that benchmarks hold the matrix product to. Loads take some of what the registers can do
# alone, whatever the shape of the tile, and wide instructions that load may lower the clock.

cdef enum:
    TILE_DEPTH = 96  # A, B and C of a tile fit in a first-level cache of 32 KiB

cdef void _multiply_add_tile(real *numbers, Py_ssize_t steps) noexcept nogil:
    """Let every register of the largest tile do one fused multiply-add a step, each waiting only for itself."""
    cdef Py_ssize_t i, k, width = lanes(<const real *> numbers)
    acc = blank(<const real *> numbers)
    x = spread(<const real *> numbers)
    for i in range(REGISTERS):  # from memory: registers known to be equal would be merged into one
        acc.v[i] = load(<const real *> numbers + i * width)
    for k in range(steps):
        for i in range(TILE_ROWS):  # two at a time: loops of more than 16 turns would not be unrolled
            acc.v[2 * i] = acc.v[2 * i] * x + x
            acc.v[2 * i + 1] = acc.v[2 * i + 1] * x + x
    for i in range(REGISTERS):
        store(numbers + i * width, acc.v[i])


cdef void _product_tile(real *numbers, Py_ssize_t steps) noexcept nogil:
    """C = A B for the largest tile, again and again; ``numbers`` holds B, C and A."""
    cdef Py_ssize_t step, panel = 2 * lanes(<const real *> numbers)
    cdef const real *b = numbers
    cdef real *c = numbers + TILE_DEPTH * panel
    cdef const real *a = c + TILE_ROWS * panel
    for step in range(steps):
        _tiles(TILE_ROWS, 2, 1, a, 0, 1, TILE_ROWS, b, panel, TILE_DEPTH, <const real *> NULL, False, False, c, panel, panel // 2)


cdef bint _is_single(numbers, Py_ssize_t least) except -1:
    """Whether they are float32; there have to be that many."""
    if len(numbers) < least:
        raise ValueError(f"numbers must be at least {least}, got {len(numbers)}")
    return numbers.dtype.itemsize == sizeof(float)


def multiply_add_tile(numbers, Py_ssize_t steps):
    """Multiply and add ``steps`` times in every register, ``v = v * x + x`` with x the first of ``numbers``.

    ``numbers``: 1-D, float32 or float64, at least as many as the tile holds (`TILE_NUMBERS`); the others are the v, overwritten.
    Returns how many multiplications and additions that was.
    """
    cdef float[::1] single
    cdef double[::1] double_
    if _is_single(numbers, TILE_NUMBERS):
        single = numbers
        with nogil:
            _multiply_add_tile(&single[0], steps)
        return 2 * steps * REGISTERS * LANES_F
    double_ = numbers
    with nogil:
        _multiply_add_tile(&double_[0], steps)
    return 2 * steps * REGISTERS * LANES_D


def product_tile(numbers, Py_ssize_t steps):
    """Form the largest tile of a matrix product ``steps`` times, from operands that stay in the first-level cache.

    ``numbers``: 1-D, float32 or float64, at least `PRODUCT_TILE_NUMBERS`: B, the tile, which is overwritten, and A.
    Returns how many multiplications and additions that was.
    """
    cdef float[::1] single
    cdef double[::1] double_
    if _is_single(numbers, PRODUCT_TILE_NUMBERS):
        single = numbers
        with nogil:
            _product_tile(&single[0], steps)
        return 2 * steps * REGISTERS * TILE_DEPTH * LANES_F
    double_ = numbers
    with nogil:
        _product_tile(&double_[0], steps)
    return 2 * steps * REGISTERS * TILE_DEPTH * LANES_D


TILE_NUMBERS: int = REGISTERS * LANES_F
PRODUCT_TILE_NUMBERS: int = TILE_DEPTH * (2 * LANES_F + TILE_ROWS) + REGISTERS * LANES_F
