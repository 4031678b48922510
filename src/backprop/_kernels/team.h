/* The few OpenMP and atomic operations that Cython has no words for. Without OpenMP a team is one thread; without GCC's builtins
   the global interpreter lock makes the counts atomic. */

#ifndef BACKPROP_TEAM_H
#define BACKPROP_TEAM_H

#ifdef _OPENMP
#include <omp.h>
#define HAS_THREADS 1
static inline void team_barrier(void) {
#pragma omp barrier
}
static inline int team_size(void) { return omp_get_num_threads(); }
static inline int allowed_threads(void) { return omp_get_max_threads(); }
#else
#define HAS_THREADS 0
static inline void team_barrier(void) {}
static inline int team_size(void) { return 1; }
static inline int allowed_threads(void) { return 1; }
#endif

/* Add to a count that several threads share; replace `from` by `to`, or leave another value alone and say no. */
#ifdef __GNUC__
static inline void add_to(int *count, int n) { __atomic_add_fetch(count, n, __ATOMIC_ACQ_REL); }
static inline int replace(int *count, int from, int to) {
    return __atomic_compare_exchange_n(count, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
#else
static inline void add_to(int *count, int n) { *count += n; }
static inline int replace(int *count, int from, int to) { return *count == from ? (*count = to, 1) : 0; }
#endif

#endif
