"""Vectors for Cython: the names of vector.h, one for both types.

To Cython a vector is a number: ``vfloat`` a float, ``vdouble`` a double. So ``x * w + b`` is a formula over whole vectors, a fused
`vector` serves both types, and ``v = load(p)`` infers the type of v from the pointer (infer_types is on for that). Three things
numbers can do and vectors cannot: be mixed with literals (``like(x, 0.5)`` is a vector of 0.5s of x's type), be compared
(`where_less`), and be converted. The lanes of a vector are `lanes(p)` consecutive elements.

Inference has its limits: `load` must read through a pointer to const, and a name must be assigned once, or only from memory. A
vector that changes is a `variable`::

    sums = variable(x)      # of the type of x's elements, zero
    sums.v = sums.v + load(x + i)
"""

cdef extern from "_kernels/core/vector.h" nogil:
    const char *BACKPROP_ISA
    int processor_level()
    Py_ssize_t second_level_cache()  # bytes

    ctypedef float vfloat
    ctypedef double vdouble
    enum:
        LANES_F    # lanes of a vfloat
        LANES_D    # lanes of a vdouble
        TILE_ROWS  # rows of the largest tile that the registers hold, two vectors wide
        REGISTERS  # vectors in such a tile

    ctypedef struct variable_f:
        vfloat v
    ctypedef struct variable_d:
        vdouble v
    variable_f variable "variable_f"(const float *p)
    variable_d variable "variable_d"(const double *p)
    ctypedef struct registers_f:
        vfloat v[REGISTERS]
    ctypedef struct registers_d:
        vdouble v[REGISTERS]
    registers_f blank "blank_f"(const float *p)  # a tile that holds nothing yet, of the type of *p
    registers_d blank "blank_d"(const double *p)

    Py_ssize_t lanes "lanes_f"(const float *p)
    Py_ssize_t lanes "lanes_d"(const double *p)
    vfloat load "load_f"(const float *p)
    vdouble load "load_d"(const double *p)
    void store "store_f"(float *p, vfloat v)
    void store "store_d"(double *p, vdouble v)
    vfloat load_part "load_part_f"(const float *p, Py_ssize_t n)  # the first n <= lanes, the others zero
    vdouble load_part "load_part_d"(const double *p, Py_ssize_t n)
    vfloat load_or "load_or_f"(const float *p, Py_ssize_t n, float other)  # the others that number
    vdouble load_or "load_or_d"(const double *p, Py_ssize_t n, double other)
    void store_part "store_part_f"(float *p, Py_ssize_t n, vfloat v)
    void store_part "store_part_d"(double *p, Py_ssize_t n, vdouble v)
    vfloat load_lanes "load_lanes_f"(const float *p, Py_ssize_t n, bint whole)  # whole, a literal: all; otherwise the first n
    vdouble load_lanes "load_lanes_d"(const double *p, Py_ssize_t n, bint whole)
    void store_lanes "store_lanes_f"(float *p, Py_ssize_t n, bint whole, vfloat v)
    void store_lanes "store_lanes_d"(double *p, Py_ssize_t n, bint whole, vdouble v)
    vfloat spread "spread_f"(const float *p)  # *p in every lane
    vdouble spread "spread_d"(const double *p)
    vfloat zeros "zeros_f"(const float *p)
    vdouble zeros "zeros_d"(const double *p)

    vfloat interleave_low "interleave_low_f"(vfloat a, vfloat b)  # a0 b0 a1 b1 ... of the first halves
    vdouble interleave_low "interleave_low_d"(vdouble a, vdouble b)
    vfloat interleave_high "interleave_high_f"(vfloat a, vfloat b)  # of the second halves
    vdouble interleave_high "interleave_high_d"(vdouble a, vdouble b)

    vfloat like "like_f"(vfloat v, double s)  # s in every lane
    vdouble like "like_d"(vdouble v, double s)
    vfloat where_less "where_less_f"(vfloat a, vfloat b, vfloat x, vfloat y)  # a < b ? x : y
    vdouble where_less "where_less_d"(vdouble a, vdouble b, vdouble x, vdouble y)
    vfloat maximum "maximum_f"(vfloat a, vfloat b)  # NaN in a stays, NaN in b is passed over
    vdouble maximum "maximum_d"(vdouble a, vdouble b)
    vfloat minimum "minimum_f"(vfloat a, vfloat b)
    vdouble minimum "minimum_d"(vdouble a, vdouble b)
    vfloat absolute "absolute_f"(vfloat v)
    vdouble absolute "absolute_d"(vdouble v)
    vfloat with_sign "with_sign_f"(vfloat v, vfloat s)  # v, which is not negative, with the sign of s
    vdouble with_sign "with_sign_d"(vdouble v, vdouble s)
    vfloat multiply_add "multiply_add_f"(vfloat a, vfloat b, vfloat c)  # rounded once where the processor can
    vdouble multiply_add "multiply_add_d"(vdouble a, vdouble b, vdouble c)
    vfloat square_root "square_root_f"(vfloat v)
    vdouble square_root "square_root_d"(vdouble v)
    vfloat quotient "quotient_f"(vfloat a, vfloat b, bint quick)  # a / b; quick: a times 1 / b, for b in its range
    vdouble quotient "quotient_d"(vdouble a, vdouble b, bint quick)
    vfloat minus_quotient "minus_quotient_f"(vfloat c, vfloat a, vfloat b, bint quick)  # c - a / b
    vdouble minus_quotient "minus_quotient_d"(vdouble c, vdouble a, vdouble b, bint quick)
    float total "total_f"(vfloat v)  # sum over the lanes
    double total "total_d"(vdouble v)
    float largest "largest_f"(vfloat v)  # maximum over the lanes
    double largest "largest_d"(vdouble v)

    void prefetch(const void *p)  # what is there will be read soon

    double rounder "round_f"(vfloat v)  # v + rounder - rounder is v rounded to an integer; see shift_exponent
    double rounder "round_d"(vdouble v)
    vfloat shift_exponent "shift_exponent_f"(vfloat v, vfloat n)  # v 2^k, where n = k + rounder
    vdouble shift_exponent "shift_exponent_d"(vdouble v, vdouble n)
    double rounder_of_normal "round_normal_f"(vfloat v)  # the same; see power_of_two
    double rounder_of_normal "round_normal_d"(vdouble v)
    vfloat power_of_two "power_of_two_f"(vfloat n)  # 2^k, a normal number, where n = k + rounder_of_normal
    vdouble power_of_two "power_of_two_d"(vdouble n)
    vfloat significand "significand_f"(vfloat v)  # m in v = m 2^e, sqrt(1/2) <= m < sqrt(2); v positive and normal
    vdouble significand "significand_d"(vdouble v)
    vfloat exponent "exponent_f"(vfloat v)  # e
    vdouble exponent "exponent_d"(vdouble v)

ctypedef fused vector:
    vfloat
    vdouble

ctypedef fused real:
    float
    double
