"""Tallies: the sums over rows that metrics follow from, kept step by step during training.

    decisions   w_i (1 if all decisions of row i are right, else 0)                        one number
    errors      w_i |d_ij|, w_i d_ij^2, w_i t_ij, w_i t_ij^2 for each output j            (4, width)

with d = outputs - targets, and t the targets less a number for each output, which keeps digits where targets are far from 0. The
decisions of a row are those of `_metrics`: which output is the largest, or, output by output, whether it is above a threshold.

A long sum is a chain of additions. Errors go into ``width`` sums side by side, a multiple of k: ``width`` consecutive elements of
the rows form vectors, and position p of them belongs to output p % k. Sums are float64.
"""

cdef enum Tally:
    NO_TALLY
    DECISIONS
    ERRORS

cdef struct tally_t:
    int kind
    bint separate  # decisions: whether each output is a separate decision
    double threshold
    const void *weight  # of the rows of the data, in the network's dtype; or NULL
    const double *origin  # errors: (width,), what targets are measured from
    double *sums
    Py_ssize_t width
    double *measured  # how many rows, and their weight


cdef void tally_rows(
    tally_t *t, const real *outputs, const void *targets, bint labels, const Py_ssize_t *order, Py_ssize_t first, Py_ssize_t n,
    Py_ssize_t k
) noexcept nogil:
    """Add n rows, of which row i is row order[first + i] of the data, or first + i."""
    cdef const real *weights = <const real *> t.weight
    cdef double weight
    cdef Py_ssize_t i
    t.measured[0] += n
    if weights is NULL:
        t.measured[1] += n
        add_rows(t, outputs, targets, labels, 1, n, k)
        return
    for i in range(n):
        weight = fabs(weights[first + i if order is NULL else order[first + i]])
        t.measured[1] += weight
        add_rows(t, outputs + i * k, one_target(targets, outputs, labels, i, k), labels, weight, 1, k)


cdef inline const void *one_target(const void *targets, const real *like, bint labels, Py_ssize_t i, Py_ssize_t k) noexcept nogil:
    if labels:
        return <const int64_t *> targets + i
    return <const real *> targets + i * k


cdef inline void add_rows(
    tally_t *t, const real *outputs, const void *targets, bint labels, double weight, Py_ssize_t n, Py_ssize_t k
) noexcept nogil:
    """Add n rows of one weight."""
    if t.kind == ERRORS:
        add_errors(t, outputs, <const real *> targets, weight, n * k)
    elif t.separate:
        t.sums[0] += weight * right_answers(outputs, <const real *> targets, <real> t.threshold, n, k)
    elif labels:
        t.sums[0] += weight * right_labels(outputs, <const int64_t *> targets, n, k)
    else:
        t.sums[0] += weight * right_classes(outputs, <const real *> targets, n, k)


# Decisions.

cdef inline Py_ssize_t right_answers(
    const real *outputs, const real *targets, real threshold, Py_ssize_t n, Py_ssize_t k
) noexcept nogil:
    """The number of rows whose k answers are all right."""
    cdef Py_ssize_t i, j, right = 0
    cdef bint wrong
    for i in range(n):
        wrong = False
        for j in range(i * k, i * k + k):
            wrong |= (outputs[j] > threshold) != (targets[j] > <real> 0.5)
        right += not wrong
    return right


cdef inline Py_ssize_t right_labels(const real *outputs, const int64_t *labels, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    cdef Py_ssize_t i, right = 0
    for i in range(n):
        right += is_largest(outputs + i * k, read_once(labels + i), k)
    return right


cdef inline Py_ssize_t right_classes(const real *outputs, const real *targets, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """The class of a row is where the largest of its k targets is."""
    cdef Py_ssize_t i, right = 0
    for i in range(n):
        right += is_largest(outputs + i * k, place_of_largest(targets + i * k, k), k)
    return right


# The largest is that of `numpy.argmax`, of equal numbers the first. NaN does not come to be counted: it ends training.

cdef inline Py_ssize_t place_of_largest(const real *row, Py_ssize_t k) noexcept nogil:
    cdef Py_ssize_t j, best = 0
    for j in range(1, k):
        if row[j] > row[best]:
            best = j
    return best


cdef inline bint is_largest(const real *row, int64_t label, Py_ssize_t k) noexcept nogil:
    """Whether the largest is at ``label``, which may be none of the k columns; the comparisons need no branch."""
    if <uint64_t> label >= <uint64_t> k:
        return False
    cdef real own = row[label]
    cdef int j, place = <int> label, above = 0
    for j in range(<int> k):
        above |= (row[j] > own) | ((row[j] == own) & (j < place))
    return not above


# Errors.

cdef inline void add_errors(tally_t *t, const real *outputs, const real *targets, double weight, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i, whole = size // t.width
    for i in range(whole):
        add_side_by_side(t, outputs + i * t.width, targets + i * t.width, weight, t.width)
    add_side_by_side(t, outputs + whole * t.width, targets + whole * t.width, weight, size - whole * t.width)


cdef inline void add_side_by_side(
    tally_t *t, const real *outputs, const real *targets, double weight, Py_ssize_t count
) noexcept nogil:
    cdef double *absolute_errors = t.sums
    cdef double *squared_errors = t.sums + t.width
    cdef double *distances = t.sums + 2 * t.width
    cdef double *squared_distances = t.sums + 3 * t.width
    cdef double error, distance
    cdef Py_ssize_t p
    for p in range(count):
        error = <double> outputs[p] - <double> targets[p]
        distance = <double> targets[p] - t.origin[p]
        absolute_errors[p] += weight * fabs(error)
        squared_errors[p] += weight * (error * error)
        distances[p] += weight * distance
        squared_distances[p] += weight * (distance * distance)


TALLIES = {"decisions": DECISIONS, "errors": ERRORS}


cdef int set_tally(tally_t *t, Arrays *seen, tally, bint labels, Py_ssize_t rows, Py_ssize_t k) except -1:
    """Take over a `_tally.Tally` of data with ``rows`` rows, for k outputs."""
    kind, t.separate, t.threshold, weight, origin, sums, measured = tally
    t.kind = TALLIES[kind]
    if labels and (t.kind == ERRORS or t.separate):
        raise ValueError(f"tally must be one of labels, got {kind!r} with separate={bool(t.separate)}")
    t.weight = optional_in(seen, weight, b"sample_weight", rows, FLAT)
    t.origin = <const double *> typed_in(seen, origin, b"origin", ANY, FLAT, cnp.NPY_DOUBLE)
    t.width = seen.rows
    if t.kind == ERRORS and (t.width == 0 or t.width % k):
        raise ValueError(f"origin must have a multiple of {k} entries, got {t.width}")
    if t.kind == ERRORS:
        t.sums = <double *> typed_out(seen, sums, b"sums", 4, t.width, cnp.NPY_DOUBLE)
    else:
        t.sums = <double *> typed_out(seen, sums, b"sums", 1, FLAT, cnp.NPY_DOUBLE)
    t.measured = <double *> typed_out(seen, measured, b"measured", 2, FLAT, cnp.NPY_DOUBLE)
    return 0
