/* The little C that Cython cannot say: vectors that behave like numbers.

   vfloat and vdouble hold the numbers of one register of the instruction set that this file is compiled for: 64 bytes with
   AVX-512, 32 with AVX2, 16 elsewhere. The compiler gives them + - * / and, where there is one instruction for it, turns
   a * b + c into a fused multiply-add. What is here is what operators do not reach: memory, choice by comparison, bits.

   Every operation exists as name_f and name_d; _kernels/core/vector.pxi gives both one name in Cython. The generic form, written in
   GCC's vector extensions (Clang has them too), serves every processor; x86 takes its own instruction where that is shorter.

   Without vector extensions (another compiler, or BACKPROP_PLAIN) a vector is one number, and the same kernels are plain loops. */

#ifndef BACKPROP_VECTOR_H
#define BACKPROP_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if !defined(__GNUC__) && !defined(BACKPROP_PLAIN)
#define BACKPROP_PLAIN
#endif

#if defined(BACKPROP_PLAIN)
#define BACKPROP_ISA "plain"
#elif defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define BACKPROP_ISA "x86-64-v4"
#define AVX512
#define VECTOR_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define BACKPROP_ISA "x86-64-v3"
#define AVX2
#define VECTOR_BYTES 32
#else
#if defined(__x86_64__)
#define BACKPROP_ISA "x86-64"
#elif defined(__aarch64__)
#define BACKPROP_ISA "aarch64"
#else
#define BACKPROP_ISA "generic"
#endif
#define VECTOR_BYTES 16
#endif

#if defined(AVX512) || defined(AVX2)
#include <immintrin.h>
#endif
#if defined(__unix__)
#include <unistd.h>
#endif

/* The best level of x86-64 that this processor and its operating system run; 1 on other architectures. */
static int processor_level(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2")) return 1;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512cd")) return 3;
    return 4;
#else
    return 1;
#endif
}

/* The size of a core's second-level cache in bytes, within usual limits; a usual one where the system does not report it. */
static Py_ssize_t second_level_cache(void) {
    long size = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
    size = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    if (size <= 0) size = 1 << 19;
    return size < 1 << 18 ? 1 << 18 : size > 1 << 21 ? 1 << 21 : (Py_ssize_t)size;
}

/* Types, memory. */

#if defined(BACKPROP_PLAIN)

#if defined(_MSC_VER)
#define INLINE static __forceinline
#else
#define INLINE static inline
#endif
typedef float vfloat;
typedef double vdouble;
typedef uint32_t bits_f;
typedef uint64_t bits_d;
#define LANES_F 1
#define LANES_D 1
#define TILE_ROWS 4
#define REGISTERS 8

#define like_f(v, s) ((float)(s))
#define like_d(v, s) ((double)(s))
#define interleave_low_f(a, b) (a)
#define interleave_low_d(a, b) (a)
#define interleave_high_f(a, b) (b)
#define interleave_high_d(a, b) (b)
INLINE vfloat load_or_f(const float *p, Py_ssize_t n, float other) { return n ? *p : other; }
INLINE vdouble load_or_d(const double *p, Py_ssize_t n, double other) { return n ? *p : other; }
INLINE void store_part_f(float *p, Py_ssize_t n, vfloat v) { if (n) *p = v; }
INLINE void store_part_d(double *p, Py_ssize_t n, vdouble v) { if (n) *p = v; }
INLINE vfloat where_less_f(vfloat a, vfloat b, vfloat x, vfloat y) { return a < b ? x : y; }
INLINE vdouble where_less_d(vdouble a, vdouble b, vdouble x, vdouble y) { return a < b ? x : y; }
INLINE vfloat square_root_f(vfloat v) { return sqrtf(v); }
INLINE vdouble square_root_d(vdouble v) { return sqrt(v); }
INLINE float total_f(vfloat v) { return v; }
INLINE double total_d(vdouble v) { return v; }
INLINE float largest_f(vfloat v) { return v; }
INLINE double largest_d(vdouble v) { return v; }

#else

#define INLINE static inline __attribute__((always_inline))
typedef float vfloat __attribute__((vector_size(VECTOR_BYTES)));
typedef double vdouble __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t bits_f __attribute__((vector_size(VECTOR_BYTES)));
typedef uint64_t bits_d __attribute__((vector_size(VECTOR_BYTES)));
#define LANES_F (VECTOR_BYTES / 4)
#define LANES_D (VECTOR_BYTES / 8)
#if defined(AVX512)
#define TILE_ROWS 14 /* 14 x 2 accumulators, 2 vectors of B and 1 of A in 32 registers */
#elif defined(__aarch64__)
#define TILE_ROWS 12
#else
#define TILE_ROWS 6 /* 6 x 2 accumulators, 2 vectors of B and 1 of A in 16 registers */
#endif
#define REGISTERS (2 * TILE_ROWS)

/* s - 0 is s, -0 and NaN included; it spreads a number over a vector. */
#define like_f(v, s) ((float)(s) - (vfloat){0})
#define like_d(v, s) ((double)(s) - (vdouble){0})

/* The first n <= lanes numbers at p, `other` in the lanes that remain; nothing is read or written beyond them. */
#if defined(AVX512)
#define FIRST(n) ((1u << (n)) - 1)
INLINE vfloat load_or_f(const float *p, Py_ssize_t n, float other) {
    return (vfloat)_mm512_mask_loadu_ps(_mm512_set1_ps(other), (__mmask16)FIRST(n), p);
}
INLINE vdouble load_or_d(const double *p, Py_ssize_t n, double other) {
    return (vdouble)_mm512_mask_loadu_pd(_mm512_set1_pd(other), (__mmask8)FIRST(n), p);
}
INLINE void store_part_f(float *p, Py_ssize_t n, vfloat v) { _mm512_mask_storeu_ps(p, (__mmask16)FIRST(n), (__m512)v); }
INLINE void store_part_d(double *p, Py_ssize_t n, vdouble v) { _mm512_mask_storeu_pd(p, (__mmask8)FIRST(n), (__m512d)v); }
#elif defined(AVX2)
static const int32_t first_of_8[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t first_of_4[8] = {-1, -1, -1, -1};
#define FIRST_F(n) _mm256_loadu_si256((const __m256i *)(first_of_8 + 8 - (n)))
#define FIRST_D(n) _mm256_loadu_si256((const __m256i *)(first_of_4 + 4 - (n)))
INLINE vfloat load_or_f(const float *p, Py_ssize_t n, float other) {
    return (vfloat)_mm256_blendv_ps(_mm256_set1_ps(other), _mm256_maskload_ps(p, FIRST_F(n)), (__m256)FIRST_F(n));
}
INLINE vdouble load_or_d(const double *p, Py_ssize_t n, double other) {
    return (vdouble)_mm256_blendv_pd(_mm256_set1_pd(other), _mm256_maskload_pd(p, FIRST_D(n)), (__m256d)FIRST_D(n));
}
/* In pieces of 4, 2 and 1: a masked store takes up to forty steps on AMD's processors, and later loads wait until it is through. */
INLINE void store_part_f(float *p, Py_ssize_t n, vfloat v) {
    __m128 piece = _mm256_castps256_ps128((__m256)v);
    if (n == LANES_F) { _mm256_storeu_ps(p, (__m256)v); return; }
    if (n & 4) { _mm_storeu_ps(p, piece); p += 4; piece = _mm256_extractf128_ps((__m256)v, 1); }
    if (n & 2) { _mm_storel_pi((__m64 *)p, piece); p += 2; piece = _mm_movehl_ps(piece, piece); }
    if (n & 1) _mm_store_ss(p, piece);
}
INLINE void store_part_d(double *p, Py_ssize_t n, vdouble v) {
    __m128d piece = _mm256_castpd256_pd128((__m256d)v);
    if (n == LANES_D) { _mm256_storeu_pd(p, (__m256d)v); return; }
    if (n & 2) { _mm_storeu_pd(p, piece); p += 2; piece = _mm256_extractf128_pd((__m256d)v, 1); }
    if (n & 1) _mm_store_sd(p, piece);
}
#else
INLINE vfloat load_or_f(const float *p, Py_ssize_t n, float other) {
    vfloat v = like_f(0, other);
    for (Py_ssize_t i = 0; i < LANES_F; i++) if (i < n) v[i] = p[i];
    return v;
}
INLINE vdouble load_or_d(const double *p, Py_ssize_t n, double other) {
    vdouble v = like_d(0, other);
    for (Py_ssize_t i = 0; i < LANES_D; i++) if (i < n) v[i] = p[i];
    return v;
}
INLINE void store_part_f(float *p, Py_ssize_t n, vfloat v) { for (Py_ssize_t i = 0; i < LANES_F; i++) if (i < n) p[i] = v[i]; }
INLINE void store_part_d(double *p, Py_ssize_t n, vdouble v) { for (Py_ssize_t i = 0; i < LANES_D; i++) if (i < n) p[i] = v[i]; }
#endif

/* The lanes of a and b in turn: a0 b0 a1 b1 ..., of the first halves and of the second halves. */
#if VECTOR_BYTES == 64
#define LOW_F 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_F 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define LOW_D 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_D 4, 12, 5, 13, 6, 14, 7, 15
#elif VECTOR_BYTES == 32
#define LOW_F 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_F 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_D 0, 4, 1, 5
#define HIGH_D 2, 6, 3, 7
#else
#define LOW_F 0, 4, 1, 5
#define HIGH_F 2, 6, 3, 7
#define LOW_D 0, 2
#define HIGH_D 1, 3
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, bits, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, bits, ...) __builtin_shuffle(a, b, (bits){__VA_ARGS__})
#endif
INLINE vfloat interleave_low_f(vfloat a, vfloat b) { return SHUFFLE(a, b, bits_f, LOW_F); }
INLINE vdouble interleave_low_d(vdouble a, vdouble b) { return SHUFFLE(a, b, bits_d, LOW_D); }
INLINE vfloat interleave_high_f(vfloat a, vfloat b) { return SHUFFLE(a, b, bits_f, HIGH_F); }
INLINE vdouble interleave_high_d(vdouble a, vdouble b) { return SHUFFLE(a, b, bits_d, HIGH_D); }

/* a < b ? x : y in every lane; false where either is NaN. */
#if defined(AVX512)
INLINE vfloat where_less_f(vfloat a, vfloat b, vfloat x, vfloat y) {
    return (vfloat)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ), (__m512)y, (__m512)x);
}
INLINE vdouble where_less_d(vdouble a, vdouble b, vdouble x, vdouble y) {
    return (vdouble)_mm512_mask_blend_pd(_mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ), (__m512d)y, (__m512d)x);
}
#else
INLINE vfloat where_less_f(vfloat a, vfloat b, vfloat x, vfloat y) {
    bits_f m = (bits_f)(a < b);
    return (vfloat)(((bits_f)x & m) | ((bits_f)y & ~m));
}
INLINE vdouble where_less_d(vdouble a, vdouble b, vdouble x, vdouble y) {
    bits_d m = (bits_d)(a < b);
    return (vdouble)(((bits_d)x & m) | ((bits_d)y & ~m));
}
#endif

#if defined(AVX512)
INLINE vfloat square_root_f(vfloat v) { return (vfloat)_mm512_sqrt_ps((__m512)v); }
INLINE vdouble square_root_d(vdouble v) { return (vdouble)_mm512_sqrt_pd((__m512d)v); }
#elif defined(AVX2)
INLINE vfloat square_root_f(vfloat v) { return (vfloat)_mm256_sqrt_ps((__m256)v); }
INLINE vdouble square_root_d(vdouble v) { return (vdouble)_mm256_sqrt_pd((__m256d)v); }
#else
INLINE vfloat square_root_f(vfloat v) { for (int i = 0; i < LANES_F; i++) v[i] = sqrtf(v[i]); return v; }
INLINE vdouble square_root_d(vdouble v) { for (int i = 0; i < LANES_D; i++) v[i] = sqrt(v[i]); return v; }
#endif

#endif

/* What follows is the same for one lane and for many. */

INLINE vfloat load_f(const float *p) { vfloat v; memcpy(&v, p, sizeof v); return v; }
INLINE vdouble load_d(const double *p) { vdouble v; memcpy(&v, p, sizeof v); return v; }
INLINE void store_f(float *p, vfloat v) { memcpy(p, &v, sizeof v); }
INLINE void store_d(double *p, vdouble v) { memcpy(p, &v, sizeof v); }

INLINE bits_f to_bits_f(vfloat v) { bits_f b; memcpy(&b, &v, sizeof b); return b; }
INLINE bits_d to_bits_d(vdouble v) { bits_d b; memcpy(&b, &v, sizeof b); return b; }
INLINE vfloat from_bits_f(bits_f b) { vfloat v; memcpy(&v, &b, sizeof v); return v; }
INLINE vdouble from_bits_d(bits_d b) { vdouble v; memcpy(&v, &b, sizeof v); return v; }

INLINE vfloat absolute_f(vfloat v) { return from_bits_f(to_bits_f(v) & 0x7fffffffu); }
INLINE vdouble absolute_d(vdouble v) { return from_bits_d(to_bits_d(v) & 0x7fffffffffffffffu); }
/* v, which is not negative, with the sign of s. */
INLINE vfloat with_sign_f(vfloat v, vfloat s) { return from_bits_f(to_bits_f(v) | (to_bits_f(s) & 0x80000000u)); }
INLINE vdouble with_sign_d(vdouble v, vdouble s) { return from_bits_d(to_bits_d(v) | (to_bits_d(s) & 0x8000000000000000u)); }

/* The larger and the smaller; NaN in the first argument stays, NaN in the second is passed over (maxps has its operands so). */
#if defined(AVX512)
INLINE vfloat maximum_f(vfloat a, vfloat b) { return (vfloat)_mm512_max_ps((__m512)b, (__m512)a); }
INLINE vdouble maximum_d(vdouble a, vdouble b) { return (vdouble)_mm512_max_pd((__m512d)b, (__m512d)a); }
INLINE vfloat minimum_f(vfloat a, vfloat b) { return (vfloat)_mm512_min_ps((__m512)b, (__m512)a); }
INLINE vdouble minimum_d(vdouble a, vdouble b) { return (vdouble)_mm512_min_pd((__m512d)b, (__m512d)a); }
#elif defined(AVX2)
INLINE vfloat maximum_f(vfloat a, vfloat b) { return (vfloat)_mm256_max_ps((__m256)b, (__m256)a); }
INLINE vdouble maximum_d(vdouble a, vdouble b) { return (vdouble)_mm256_max_pd((__m256d)b, (__m256d)a); }
INLINE vfloat minimum_f(vfloat a, vfloat b) { return (vfloat)_mm256_min_ps((__m256)b, (__m256)a); }
INLINE vdouble minimum_d(vdouble a, vdouble b) { return (vdouble)_mm256_min_pd((__m256d)b, (__m256d)a); }
#else
INLINE vfloat maximum_f(vfloat a, vfloat b) { return where_less_f(a, b, b, a); }
INLINE vdouble maximum_d(vdouble a, vdouble b) { return where_less_d(a, b, b, a); }
INLINE vfloat minimum_f(vfloat a, vfloat b) { return where_less_f(b, a, b, a); }
INLINE vdouble minimum_d(vdouble a, vdouble b) { return where_less_d(b, a, b, a); }
#endif

/* a * b + c, rounded once where the processor can: for what depends on the rounding, or is written once for whole vectors and once
   for parts of them, which a compiler may take apart differently; elsewhere the operators do. */
#if defined(AVX512)
INLINE vfloat multiply_add_f(vfloat a, vfloat b, vfloat c) { return (vfloat)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE vdouble multiply_add_d(vdouble a, vdouble b, vdouble c) {
    return (vdouble)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#elif defined(AVX2)
INLINE vfloat multiply_add_f(vfloat a, vfloat b, vfloat c) { return (vfloat)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE vdouble multiply_add_d(vdouble a, vdouble b, vdouble c) {
    return (vdouble)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#else
INLINE vfloat multiply_add_f(vfloat a, vfloat b, vfloat c) { return a * b + c; }
INLINE vdouble multiply_add_d(vdouble a, vdouble b, vdouble c) { return a * b + c; }
#endif

/* 1 / v, within one unit in the last place where v is in [2^-126, 2^126), in float64 [2^-1022, 2^1022), and exactly 1 / v
   where v is 0, infinite or NaN; it must not be used for any other v. An estimate r with 14 bits, then r + r (1 - v r), Newton's
   step, which doubles them: fewer cycles where the divider, which a root keeps busy too, is the bottleneck. Intel defines the
   estimate of AVX-512 bit for bit, and AMD's Zen 5 gives the same bits, so results do not depend on the processor. Those of the
   estimate of AVX2 would, and for 8 numbers at a time two steps take as long as the division: there, as elsewhere, the processor
   divides. */
#if defined(AVX512)
#define ESTIMATES 1
INLINE vfloat reciprocal_f(vfloat v) {
    __m512 r = _mm512_rcp14_ps((__m512)v), e = _mm512_fnmadd_ps((__m512)v, r, _mm512_set1_ps(1));
    /* One comparison of the bits, which does not wait for r: e is NaN where v is 0, infinite or NaN. */
    __m512i less_one = _mm512_sub_epi32((__m512i)v, _mm512_set1_epi32(1));
    return (vfloat)_mm512_mask_fmadd_ps(r, _mm512_cmplt_epu32_mask(less_one, _mm512_set1_epi32(0x7f7fffff)), e, r);
}
INLINE vdouble reciprocal_d(vdouble v) {
    __m512d r = _mm512_rcp14_pd((__m512d)v), e = _mm512_fnmadd_pd((__m512d)v, r, _mm512_set1_pd(1));
    __m512i less_one = _mm512_sub_epi64((__m512i)v, _mm512_set1_epi64(1));
    __mmask8 finite = _mm512_cmplt_epu64_mask(less_one, _mm512_set1_epi64(0x7fefffffffffffff));
    r = _mm512_mask_fmadd_pd(r, finite, e, r);
    return (vdouble)_mm512_mask_fmadd_pd(r, finite, _mm512_fnmadd_pd((__m512d)v, r, _mm512_set1_pd(1)), r);
}
#else
#define ESTIMATES 0
INLINE vfloat reciprocal_f(vfloat v) { return like_f(v, 1) / v; }
INLINE vdouble reciprocal_d(vdouble v) { return like_d(v, 1) / v; }
#endif

/* Sum and maximum over the lanes: halves onto halves, until every lane holds the result. */
#if defined(AVX512)
INLINE float total_f(vfloat v) { return _mm512_reduce_add_ps((__m512)v); }
INLINE double total_d(vdouble v) { return _mm512_reduce_add_pd((__m512d)v); }
INLINE float largest_f(vfloat v) { return _mm512_reduce_max_ps((__m512)v); }
INLINE double largest_d(vdouble v) { return _mm512_reduce_max_pd((__m512d)v); }
#elif !defined(BACKPROP_PLAIN)
INLINE float total_f(vfloat v) {
    for (int n = LANES_F; n > 1; n /= 2) v = interleave_low_f(v, v) + interleave_high_f(v, v);
    return v[0];
}
INLINE double total_d(vdouble v) {
    for (int n = LANES_D; n > 1; n /= 2) v = interleave_low_d(v, v) + interleave_high_d(v, v);
    return v[0];
}
INLINE float largest_f(vfloat v) {
    for (int n = LANES_F; n > 1; n /= 2) v = maximum_f(interleave_low_f(v, v), interleave_high_f(v, v));
    return v[0];
}
INLINE double largest_d(vdouble v) {
    for (int n = LANES_D; n > 1; n /= 2) v = maximum_d(interleave_low_d(v, v), interleave_high_d(v, v));
    return v[0];
}
#endif

/* Adding ROUND rounds v to an integer n and leaves n + 2 * bias in the low bits; subtracting it again gives n. */
#define ROUND_F (12582912.0 + 254)        /* 1.5 * 2^23 + 2 * 127 */
#define ROUND_D (6755399441055744.0 + 2046) /* 1.5 * 2^52 + 2 * 1023 */

/* v * 2^n for such an n, in two factors, so that results beyond the normal numbers come out rounded once, not cut off. */
#if defined(AVX512)
INLINE vfloat shift_exponent_f(vfloat v, vfloat n) { return (vfloat)_mm512_scalef_ps((__m512)v, (__m512)(n - (float)ROUND_F)); }
INLINE vdouble shift_exponent_d(vdouble v, vdouble n) { return (vdouble)_mm512_scalef_pd((__m512d)v, (__m512d)(n - ROUND_D)); }
#else
INLINE vfloat shift_exponent_f(vfloat v, vfloat n) {
    bits_f both = to_bits_f(n) - 0x4b400000u, one = both >> 1;
    return v * from_bits_f(one << 23) * from_bits_f((both - one) << 23);
}
INLINE vdouble shift_exponent_d(vdouble v, vdouble n) {
    bits_d both = to_bits_d(n) - 0x4338000000000000u, one = both >> 1;
    return v * from_bits_d(one << 52) * from_bits_d((both - one) << 52);
}
#endif

/* Adding ROUND_NORMAL does it too, and leaves n + bias. 2^n for such an n, where that is a normal number: its exponent is there. */
#define ROUND_NORMAL_F (12582912.0 + 127)
#define ROUND_NORMAL_D (6755399441055744.0 + 1023)
INLINE vfloat power_of_two_f(vfloat n) { return from_bits_f(to_bits_f(n) << 23); }
INLINE vdouble power_of_two_d(vdouble n) { return from_bits_d(to_bits_d(n) << 52); }

/* v = m * 2^e with m in [sqrt(1/2), sqrt(2)), for positive normal v; e comes back as a number. */
INLINE vfloat significand_f(vfloat v) {
    bits_f b = to_bits_f(v);
    return from_bits_f(b - ((b - 0x3f3504f3u) & 0xff800000u));
}
INLINE vdouble significand_d(vdouble v) {
    bits_d b = to_bits_d(v);
    return from_bits_d(b - ((b - 0x3fe6a09e667f3bcdu) & 0xfff0000000000000u));
}
/* The exponent, biased into the low bits of a number just above 2^23 (2^52), is that number's distance from it. */
INLINE vfloat exponent_f(vfloat v) {
    bits_f e = (to_bits_f(v) - 0x3f3504f3u + 0x40000000u) >> 23;
    return from_bits_f(e | 0x4b000000u) - (8388608.0f + 128.0f);
}
INLINE vdouble exponent_d(vdouble v) {
    bits_d e = (to_bits_d(v) - 0x3fe6a09e667f3bcdu + 0x4000000000000000u) >> 52;
    return from_bits_d(e | 0x4330000000000000u) - (4503599627370496.0 + 1024.0);
}

/* Memory that will be read soon; a hint, whatever the address. */
#if defined(__GNUC__)
#define prefetch(p) __builtin_prefetch(p)
#else
#define prefetch(p) ((void)(p))
#endif

/* A vector that changes, and what a tile of the matrix product holds in registers. */
typedef struct { vfloat v; } variable_f;
typedef struct { vdouble v; } variable_d;
#define variable_f(p) ((variable_f){like_f(0, 0)})
#define variable_d(p) ((variable_d){like_d(0, 0)})
typedef struct { vfloat v[REGISTERS]; } registers_f;
typedef struct { vdouble v[REGISTERS]; } registers_d;
/* They hold nothing to begin with: an array that is cleared as a whole lives in memory and not in registers. */
INLINE registers_f blank_f(const float *p) { registers_f r; (void)p; return r; }
INLINE registers_d blank_d(const double *p) { registers_d r; (void)p; return r; }

#define load_part_f(p, n) load_or_f(p, n, 0)
#define load_part_d(p, n) load_or_d(p, n, 0)
/* All lanes, or the first n; `whole` is a literal, so that one formula serves whole vectors and the last part of an array. */
INLINE vfloat load_lanes_f(const float *p, Py_ssize_t n, int whole) { return whole ? load_f(p) : load_part_f(p, n); }
INLINE vdouble load_lanes_d(const double *p, Py_ssize_t n, int whole) { return whole ? load_d(p) : load_part_d(p, n); }
INLINE void store_lanes_f(float *p, Py_ssize_t n, int whole, vfloat v) { if (whole) store_f(p, v); else store_part_f(p, n, v); }
INLINE void store_lanes_d(double *p, Py_ssize_t n, int whole, vdouble v) { if (whole) store_d(p, v); else store_part_d(p, n, v); }
/* a / b and c - a / b; quick: by the reciprocal of b, which must be in its range. */
INLINE vfloat quotient_f(vfloat a, vfloat b, int quick) { return quick && ESTIMATES ? a * reciprocal_f(b) : a / b; }
INLINE vdouble quotient_d(vdouble a, vdouble b, int quick) { return quick && ESTIMATES ? a * reciprocal_d(b) : a / b; }
INLINE vfloat minus_quotient_f(vfloat c, vfloat a, vfloat b, int quick) {
    return quick && ESTIMATES ? multiply_add_f(-a, reciprocal_f(b), c) : c - a / b;
}
INLINE vdouble minus_quotient_d(vdouble c, vdouble a, vdouble b, int quick) {
    return quick && ESTIMATES ? multiply_add_d(-a, reciprocal_d(b), c) : c - a / b;
}
#define lanes_f(p) ((Py_ssize_t)LANES_F)
#define lanes_d(p) ((Py_ssize_t)LANES_D)
#define spread_f(p) like_f(0, *(p))
#define spread_d(p) like_d(0, *(p))
#define zeros_f(p) like_f(0, 0)
#define zeros_d(p) like_d(0, 0)
#define round_f(v) ROUND_F
#define round_d(v) ROUND_D
#define round_normal_f(v) ROUND_NORMAL_F
#define round_normal_d(v) ROUND_NORMAL_D

#endif
