/* What threads need and Cython has no words for: the team of an OpenMP region, a barrier for it, and atomic counts.

   Without OpenMP a team is one thread. Without GCC's builtins the barrier is OpenMP's, and the interpreter lock makes counts atomic. */

#ifndef BACKPROP_TEAM_H
#define BACKPROP_TEAM_H

#ifdef _OPENMP
#include <omp.h>
#define HAS_THREADS 1
static inline int team_size(void) { return omp_get_num_threads(); }
static inline int allowed_threads(void) { return omp_get_max_threads(); }
#else
#define HAS_THREADS 0
static inline int team_size(void) { return 1; }
static inline int allowed_threads(void) { return 1; }
#endif

typedef struct {
    int arrived;  /* at the barrier */
    int asleep;
    int round;    /* counts barriers; who waits for one waits for this to change */
} team_t;

#if defined(__GNUC__) && defined(__linux__)

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() __asm__ volatile("" ::: "memory")
#endif
#define SPINS 2000 /* some 40 us: stages are balanced, so it is mostly far less */

/* Wait until `parts` threads have come here. OpenMP's own barrier spins for milliseconds before it sleeps. Where another process
   has taken a processor, that is milliseconds for each of a step's barriers: the thread that holds the others up is the one that
   has no processor, and it gets one as soon as a waiting thread sleeps. */
static inline void team_barrier(team_t *team, int parts) {
    int round = __atomic_load_n(&team->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&team->arrived, 1, __ATOMIC_ACQ_REL) == parts) {
        __atomic_store_n(&team->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&team->round, round + 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&team->asleep, __ATOMIC_SEQ_CST)) syscall(SYS_futex, &team->round, FUTEX_WAKE_PRIVATE, parts, 0, 0, 0);
        return;
    }
    for (int i = 0; i < SPINS; i++) {
        if (__atomic_load_n(&team->round, __ATOMIC_ACQUIRE) != round) return;
        PAUSE();
    }
    __atomic_add_fetch(&team->asleep, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&team->round, __ATOMIC_SEQ_CST) == round)
        syscall(SYS_futex, &team->round, FUTEX_WAIT_PRIVATE, round, 0, 0, 0);
    __atomic_sub_fetch(&team->asleep, 1, __ATOMIC_SEQ_CST);
}

#else

static inline void team_barrier(team_t *team, int parts) {
    (void)team;
    (void)parts;
#ifdef _OPENMP
#pragma omp barrier
#endif
}

#endif

/* Add to a count that several threads share; replace `from` by `to`, or leave another value alone and say no. */
#ifdef __GNUC__
static inline int add_to(int *count, int n) { return __atomic_add_fetch(count, n, __ATOMIC_ACQ_REL); }
static inline int replace(int *count, int from, int to) {
    return __atomic_compare_exchange_n(count, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
#else
static inline int add_to(int *count, int n) { return *count += n; }
static inline int replace(int *count, int from, int to) { return *count == from ? (*count = to, 1) : 0; }
#endif

#endif
