# What the registers can do at best: the limit that benchmarks hold the matrix product to.

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


def multiply_add_tile(numbers, Py_ssize_t steps):
    """Multiply and add ``steps`` times in every register, ``v = v * x + x`` with x the first of ``numbers``.

    ``numbers``: 1-D, float32 or float64, at least as many as the tile holds (`TILE_NUMBERS`); the others are the v, overwritten.
    Returns how many multiplications and additions that was.
    """
    cdef float[::1] single
    cdef double[::1] double_
    if len(numbers) < TILE_NUMBERS:
        raise ValueError(f"numbers must be at least {TILE_NUMBERS}, got {len(numbers)}")
    if numbers.dtype.itemsize == sizeof(float):
        single = numbers
        with nogil:
            _multiply_add_tile(&single[0], steps)
        return 2 * steps * REGISTERS * LANES_F
    double_ = numbers
    with nogil:
        _multiply_add_tile(&double_[0], steps)
    return 2 * steps * REGISTERS * LANES_D


TILE_NUMBERS: int = REGISTERS * LANES_F
