/* What threads need and Cython has no words for: a pool of helpers, the stages of a team, atomic counts, and how many threads an
   OpenMP runtime in this process allows.

   The threads are our own. An OpenMP region begins and ends for all its threads together, so one that gets no processor, because
   another library's threads spin on it, holds the others up for milliseconds. Here a helper that is late misses what is done without
   it, and no thread waits for a helper that never comes.

   On systems without POSIX threads there are no helpers, and the caller does all the work. */

#ifndef BACKPROP_TEAM_H
#define BACKPROP_TEAM_H

#include "denormals.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(_WIN32)
#define HAS_THREADS 1
#else
#define HAS_THREADS 0
#endif

typedef void (*share_t)(void *work, int part, int parts);

/* A task for several threads. Its program is a sequence of numbered stages, and a stage consists of pieces. Every thread runs the
   program, takes pieces of the stage it has come to until none is left, and continues when all are done, by any thread. */
typedef struct team_t {
    uint64_t stage;     /* the number of the stage, and in the lower half one bit for each piece that is taken */
    int done;           /* pieces of the stage that are done */
    int round;          /* counts stages; who waits for the end of one sleeps until it changes */
    int asleep;
    int inside;         /* helpers that run the program */
    int joined;         /* threads that have joined, the caller first */
    int parts;          /* how many may */
    share_t share;
    void *work;
    struct team_t *next;
} team_t;

enum { MOST_PARTS = 32 }; /* one bit each for pieces in `stage` */

/* A thread of a team, and where it has come to. */
typedef struct {
    team_t *team;
    int part;
    int parts;
    uint32_t stage;
    uint32_t after; /* the stage that follows this one */
    int pieces;
    int piece;      /* the one it has taken; NO_PIECE between stages */
} member_t;

enum { NO_PIECE = -1 };

static inline member_t member(team_t *team, int part, int parts) {
    member_t m = {team, part, parts, 0, 0, 0, NO_PIECE};
    return m;
}

#if HAS_THREADS

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() __asm__ volatile("" ::: "memory")
#endif
#define SPINS 2000 /* some 40 us: stages are balanced, so it is mostly far less */

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
static inline void sleep_while(int *word, int value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, 0, 0, 0); }
static inline void wake_all(int *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1 << 30, 0, 0, 0); }
#else
static inline void sleep_while(int *word, int value) { (void)word; (void)value; sched_yield(); }
static inline void wake_all(int *word) { (void)word; }
#endif

/* Take a piece of the member's stage: its own, so that a thread finds in its cache what it wrote in the stage before, or else any;
   `pieces` when none is left or the stage is over. */
static inline int find_piece(member_t *m) {
    uint64_t seen = __atomic_load_n(&m->team->stage, __ATOMIC_ACQUIRE);
    for (;;) {
        uint32_t open = ~(uint32_t)seen & (uint32_t)((1ull << m->pieces) - 1);
        if ((uint32_t)(seen >> 32) != m->stage || !open) return m->pieces;
        int piece = m->part < m->pieces && (open >> m->part & 1) ? m->part : __builtin_ctz(open);
        if (__atomic_compare_exchange_n(&m->team->stage, &seen, seen | 1ull << piece, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return piece;
    }
}

static inline void piece_done(member_t *m) {
    team_t *team = m->team;
    if (__atomic_add_fetch(&team->done, 1, __ATOMIC_ACQ_REL) < m->pieces) return;
    __atomic_store_n(&team->done, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&team->stage, (uint64_t)m->after << 32, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&team->round, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&team->asleep, __ATOMIC_SEQ_CST)) wake_all(&team->round);
}

static inline int is_current(const member_t *m) {
    return m->parts == 1 || (uint32_t)(__atomic_load_n(&m->team->stage, __ATOMIC_SEQ_CST) >> 32) == m->stage;
}

/* A thread that waits for long sleeps: the thread that has the last piece may be waiting for this very processor. */
static inline void wait_for_stage(member_t *m) {
    team_t *team = m->team;
    for (int i = 0; i < SPINS; i++) {
        if (!is_current(m)) return;
        PAUSE();
    }
    __atomic_add_fetch(&team->asleep, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        int round = __atomic_load_n(&team->round, __ATOMIC_SEQ_CST);
        if (!is_current(m)) break;
        sleep_while(&team->round, round);
    }
    __atomic_sub_fetch(&team->asleep, 1, __ATOMIC_SEQ_CST);
}

/* The pool: helpers that sleep until there is a team to join. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    team_t *teams;      /* that have room */
    int waiting;        /* how many helpers they have room for */
    int helpers;
    int idle;
} pool = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0};

static void leave_list(team_t *team) {
    for (team_t **at = &pool.teams; *at; at = &(*at)->next)
        if (*at == team) {
            *at = team->next;
            __atomic_sub_fetch(&pool.waiting, team->parts - team->joined, __ATOMIC_RELAXED);
            return;
        }
}

static team_t *join_team(int *part) {
    team_t *team;
    pthread_mutex_lock(&pool.lock);
    while (!pool.teams) {
        pool.idle++;
        pthread_cond_wait(&pool.wake, &pool.lock);
        pool.idle--;
    }
    team = pool.teams;
    *part = team->joined++;
    __atomic_sub_fetch(&pool.waiting, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&team->inside, 1, __ATOMIC_RELAXED);
    if (team->joined == team->parts) leave_list(team);
    pthread_mutex_unlock(&pool.lock);
    return team;
}

static void *help(void *nothing) {
    (void)nothing;
    flush_denormals(); /* helpers serve plans alone */
    for (;;) {
        int part;
        team_t *team = join_team(&part);
        team->share(team->work, part, team->parts);
        if (__atomic_sub_fetch(&team->inside, 1, __ATOMIC_SEQ_CST) == 0) wake_all(&team->inside);
        /* the next step may come at once, and to wake a thread takes longer than some steps */
        for (int i = 0; i < SPINS && !__atomic_load_n(&pool.waiting, __ATOMIC_RELAXED); i++) PAUSE();
    }
    return 0;
}

static void add_helpers(int wanted) {
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals go to the threads of the program */
    while (pool.helpers < wanted && pthread_create(&thread, 0, help, 0) == 0) {
        pthread_detach(thread);
        pool.helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
}

/* Run share(work, part, parts) here as part 0, and on up to parts - 1 helpers, as they come; return when all who came are done. */
static void run_team(team_t *team, share_t share, void *work, int parts) {
    memset(team, 0, sizeof *team);
    team->share = share;
    team->work = work;
    team->parts = parts;
    team->joined = 1;
    if (parts > 1) {
        pthread_mutex_lock(&pool.lock);
        add_helpers(parts - 1);
        team->next = pool.teams;
        pool.teams = team;
        __atomic_add_fetch(&pool.waiting, parts - 1, __ATOMIC_RELAXED);
        if (pool.idle) pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
    share(work, 0, parts);
    if (parts > 1) {
        pthread_mutex_lock(&pool.lock);
        leave_list(team);
        pthread_mutex_unlock(&pool.lock);
        for (int i = 0; i < SPINS && __atomic_load_n(&team->inside, __ATOMIC_ACQUIRE); i++) PAUSE();
        for (int inside; (inside = __atomic_load_n(&team->inside, __ATOMIC_SEQ_CST)) != 0;) sleep_while(&team->inside, inside);
    }
}

static inline void nap(void) {
    struct timespec time = {0, 100000};
    nanosleep(&time, 0);
}

/* After a fork the child has no helpers, and no thread that holds the lock. */
static void reset_pool(void) {
    pthread_mutex_init(&pool.lock, 0);
    pthread_cond_init(&pool.wake, 0);
    pool.teams = 0;
    pool.waiting = pool.helpers = pool.idle = 0;
}

#include <dlfcn.h>
#if defined(__ELF__)
#include <link.h>
#endif

/* The OpenMP runtimes that other libraries have loaded. They are looked up and not linked: a library that is linked has to be there,
   and would be one more runtime beside those in use. */
enum { MOST_RUNTIMES = 4 };
typedef int (*max_threads_t)(void);
static struct {
    unsigned long long loads; /* shared objects that had been loaded when these were found */
    int count;
    max_threads_t max_threads[MOST_RUNTIMES];
} runtimes;

static void add_runtime(void *library) {
    max_threads_t found = (max_threads_t)dlsym(library, "omp_get_max_threads");
    int i = 0;
    while (i < runtimes.count && runtimes.max_threads[i] != found) i++;
    if (found && i == runtimes.count && i < MOST_RUNTIMES) runtimes.max_threads[runtimes.count++] = found;
}

#if defined(__ELF__)

/* Python loads the libraries of extension modules where dlsym(RTLD_DEFAULT) does not see them, and wheels rename them:
   libgomp-e985bcbb.so.1.0.0. So they are found by the beginnings of their names, as threadpoolctl does. */
typedef struct {
    unsigned long long loads;
    int count;
    char path[MOST_RUNTIMES][1024];
} objects_t;

static int see_object(struct dl_phdr_info *info, size_t size, void *seen) {
    objects_t *objects = seen;
    const char *name = strrchr(info->dlpi_name, '/');
    (void)size;
    objects->loads = info->dlpi_adds;
    if (info->dlpi_adds == runtimes.loads) return 1;
    name = name ? name + 1 : info->dlpi_name;
    if ((!strncmp(name, "libgomp", 7) || !strncmp(name, "libomp", 6) || !strncmp(name, "libiomp", 7)) &&
        objects->count < MOST_RUNTIMES && strlen(info->dlpi_name) < sizeof objects->path[0])
        strcpy(objects->path[objects->count++], info->dlpi_name);
    return 0;
}

static void find_runtimes(void) {
    objects_t objects;
    objects.count = 0;
    dl_iterate_phdr(see_object, &objects);
    for (int i = 0; i < objects.count; i++) {
        void *library = dlopen(objects.path[i], RTLD_LAZY | RTLD_NOLOAD); /* stays open: so the runtime cannot be unloaded */
        if (library) add_runtime(library);
    }
    runtimes.loads = objects.loads;
}

#else

static void find_runtimes(void) {
    if (!runtimes.count) add_runtime(RTLD_DEFAULT);
}

#endif

/* The smallest number that any OpenMP runtime in this process allows the calling thread; INT_MAX without one. One thread at a time
   may ask. */
static int openmp_threads(void) {
    int least = INT_MAX;
    find_runtimes();
    for (int i = 0; i < runtimes.count; i++) {
        int allowed = runtimes.max_threads[i]();
        if (allowed < least) least = allowed;
    }
    return least;
}

#else

static inline int find_piece(member_t *m) { return m->pieces; }
static inline void piece_done(member_t *m) { (void)m; }
static inline int is_current(const member_t *m) { (void)m; return 1; }
static inline void wait_for_stage(member_t *m) { (void)m; }
static inline void run_team(team_t *team, share_t share, void *work, int parts) { (void)team; (void)parts; share(work, 0, 1); }
static inline void nap(void) {}
static inline void reset_pool(void) {}
static inline int openmp_threads(void) { return INT_MAX; }

#endif

/* A stage is a loop:   while (take_piece(&m, pieces)) { ... m.piece ... }   Neither break nor return may leave it: the call that finds
   no more pieces ends the stage, when all of them are done. A thread that is alone takes them in turn, without any of the above. */
static int take_shared_piece(member_t *m, int pieces, uint32_t after) {
    if (m->piece == NO_PIECE) {
        m->pieces = pieces;
        m->after = after;
    } else {
        piece_done(m);
    }
    m->piece = find_piece(m);
    if (m->piece < pieces) return 1;
    wait_for_stage(m);
    m->stage = after;
    m->piece = NO_PIECE;
    return 0;
}
static inline int take_piece_before(member_t *m, int pieces, uint32_t after) {
    if (m->parts > 1) return take_shared_piece(m, pieces, after);
    if (++m->piece < pieces) return 1; /* NO_PIECE + 1 is the first */
    m->stage = after;
    m->piece = NO_PIECE;
    return 0;
}
static inline int take_piece(member_t *m, int pieces) { return take_piece_before(m, pieces, m->stage + 1); }

/* Add to a count that several threads share; replace `from` by `to`, or leave another value alone and say no. Without GCC's builtins
   the interpreter lock makes counts atomic. */
#ifdef __GNUC__
static inline int add_to(int *count, int n) { return __atomic_add_fetch(count, n, __ATOMIC_SEQ_CST); }
static inline int replace(int *count, int from, int to) {
    return __atomic_compare_exchange_n(count, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}
#else
static inline int add_to(int *count, int n) { return *count += n; }
static inline int replace(int *count, int from, int to) { return *count == from ? (*count = to, 1) : 0; }
#endif

/* A number that several threads may set to the same, and a flag, which stays set: the threads that have passed the end of the stage in
   which it was set see it.
   A number in memory of the caller, which another thread may be writing: it is read once, so that what has been checked is used. */
#ifdef __GNUC__
static inline void set_to(int *place, int number) { __atomic_store_n(place, number, __ATOMIC_RELAXED); }
static inline int value_of(const int *place) { return __atomic_load_n(place, __ATOMIC_RELAXED); }
static inline int64_t read_once(const int64_t *number) { return __atomic_load_n(number, __ATOMIC_RELAXED); }
#else
static inline void set_to(int *place, int number) { *(volatile int *)place = number; }
static inline int value_of(const int *place) { return *(const volatile int *)place; }
static inline int64_t read_once(const int64_t *number) { return *(const volatile int64_t *)number; }
#endif
static inline void set_flag(int *flag) { set_to(flag, 1); }
static inline int is_set(const int *flag) { return value_of(flag); }

#endif
