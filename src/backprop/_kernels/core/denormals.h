/* Denormal numbers, below 1.2e-38 in float32 and 2.2e-308 in float64, cost most processors a hundred cycles each. Decaying moments
   and weights reach them and stay, as the smallest one times 0.9 rounds to itself; then every product is slow. A plan treats them as
   zeros: the processor flushes results (FTZ) and operands (DAZ) while it runs. The setting belongs to the calling thread, so it is put
   back at the end. */

#ifndef BACKPROP_DENORMALS_H
#define BACKPROP_DENORMALS_H

#include <stdint.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
typedef uint32_t float_mode_t;
static inline float_mode_t float_mode(void) { return _mm_getcsr(); }
static inline void set_float_mode(float_mode_t mode) { _mm_setcsr(mode); }
#define FLUSH_DENORMALS 0x8040u /* FTZ and DAZ */
#elif defined(__aarch64__) && defined(__GNUC__)
typedef uint64_t float_mode_t;
static inline float_mode_t float_mode(void) {
    float_mode_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static inline void set_float_mode(float_mode_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#define FLUSH_DENORMALS (1ull << 24) /* FZ */
#else
typedef int float_mode_t;
static inline float_mode_t float_mode(void) { return 0; }
static inline void set_float_mode(float_mode_t mode) { (void)mode; }
#define FLUSH_DENORMALS 0
#endif

/* Returns what `set_float_mode` puts back. */
static inline float_mode_t flush_denormals(void) {
    float_mode_t before = float_mode();
    set_float_mode(before | FLUSH_DENORMALS);
    return before;
}

#endif
