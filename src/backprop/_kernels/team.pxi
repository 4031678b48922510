# Threads: a team for a stretch of work, from one budget that the Python threads of the process share.
#
# A stretch of work is one OpenMP region in which every thread runs the same program on its share of each stage, `part` of
# `parts`, with a barrier between stages. Before it the caller joins the budget, which says how many threads it gets; afterwards
# it leaves. Threads that outnumber the processors make barriers 3 to 14 times slower than no threads at all, so callers that work
# at the same time divide the processors among them, and one that has just left still counts for a moment: a loop of short steps
# in another thread is work too. Results do not depend on any of this.

from cpython.time cimport monotonic
from cython.parallel cimport parallel, threadid

cdef extern from "_kernels/team.h":
    bint HAS_THREADS
    ctypedef struct team_t:                     # all zero to begin with
        pass
    int team_size() noexcept nogil              # threads in the region that runs
    void team_barrier(team_t *team, int parts) noexcept nogil
    int allowed_threads() noexcept nogil        # what OMP_NUM_THREADS and threadpoolctl allow the calling thread
    int add_to(int *count, int n) noexcept nogil    # returns the sum
    bint replace(int *count, int old, int new) noexcept nogil

cdef extern from "Python.h":
    long PyThread_get_thread_ident() noexcept nogil

ctypedef void (*Share)(void* work, int part, int parts) noexcept nogil

cdef enum:
    MAX_THREADS = 1024
    MAX_CALLERS = 64                            # more callers at once than this: the rest run on one thread, uncounted

cdef double FLOPS_WITH_GIL = 2e4                # less work than this is done before other threads would notice
cdef double FLOPS_OF_A_THREAD = 1.5e6           # of a step: below 3 MFLOP the barriers would cost more than a second thread brings
cdef double FLOPS_OF_A_TEAM = 3e6
cdef double LINGER = 0.01                       # seconds for which a caller counts after it has left

cdef struct Caller:
    long thread                                 # the Python thread; 0: a free place
    int threads                                 # how many it uses now
    double left                                 # when it last left

cdef struct gain_t:
    # Whether a team gains, learned from stretch to stretch: where another process has a processor, it can be slower than one
    # thread. So at the beginning, and when a team was much slower than before, one stretch runs alone, for comparison. If that
    # is better, more of them do, twice as many each time, before a team is tried again.
    double team                                 # the last team's time per flop
    double best                                 # the best team's
    double serial                               # that of the last stretch alone
    int alone                                   # how many stretches more run alone
    int patience                                # how many did the last time
    bint trial                                  # whether that is for comparison

cdef cython.pymutex budget_lock                 # guards the callers
cdef Caller[MAX_CALLERS] callers
cdef int thread_limit = 1                       # 1: nobody joins the budget
cdef int allowed_at_first = allowed_threads()
cdef bint forked = False


cdef int join_budget(int wanted) noexcept nogil:
    """The number of threads that the caller may use now, up to those wanted, at least 1."""
    cdef:
        long me = PyThread_get_thread_ident()
        int most, share, i, place = -1, active = 1, busy = 0
        int allowed = allowed_threads()
        double now
        Caller* caller
    with budget_lock:
        now = monotonic()
        most = thread_limit
        if allowed < allowed_at_first:          # threadpoolctl limits this thread
            most = min(most, allowed)
        for i in range(MAX_CALLERS):
            caller = &callers[i]
            if caller.thread == me:
                place = i
            elif caller.threads > 0 or (caller.thread != 0 and now < caller.left + LINGER):
                active += 1
                busy += max(caller.threads, 1)
            elif place == -1:
                place = i
        if place == -1:
            return 1
        share = max(1, min(wanted, min(most // active, most - busy)))
        callers[place].thread = me
        callers[place].threads = share
    return share


cdef void leave_budget() noexcept nogil:
    cdef:
        long me = PyThread_get_thread_ident()
        int i
    with budget_lock:
        for i in range(MAX_CALLERS):
            if callers[i].thread == me:
                callers[i].threads = 0
                callers[i].left = monotonic()


cdef void run_team(Share share, void* work, int threads) noexcept nogil:
    """Run ``share(work, part, parts)`` on each of so many threads; on one, without entering OpenMP."""
    if threads == 1:
        share(work, 0, 1)
        return
    with parallel(num_threads=threads):
        share(work, threadid(), team_size())


cdef inline int threads_for(double flops) noexcept nogil:
    """How many threads a step of so much work is worth."""
    return <int> max(1.0, min(<double> thread_limit, flops / FLOPS_OF_A_THREAD))


cdef void run(Share share, void *work, double flops, Py_ssize_t steps, int most, gain_t *gain) noexcept:
    """Run a stretch of work on as many threads as it is worth: each step is worth its ``flops``, and there is room for ``most``."""
    cdef double total = flops * steps
    if total < FLOPS_WITH_GIL:
        share(work, 0, 1)
        return
    with nogil:
        if total < FLOPS_OF_A_TEAM or thread_limit == 1:
            share(work, 0, 1)
        else:
            run_in_budget(share, work, min(most, threads_for(flops)), total, gain)


cdef void run_in_budget(Share share, void *work, int wanted, double flops, gain_t *gain) noexcept nogil:
    cdef int threads = join_budget(1 if gain is not NULL and gain.alone > 0 else wanted)
    cdef double start = monotonic()
    run_team(share, work, threads)
    if wanted > 1 and gain is not NULL:
        learn(gain, threads, (monotonic() - start) / flops)
    leave_budget()


cdef inline void learn(gain_t *gain, int threads, double time) noexcept nogil:
    """Decide how the next stretches run, from the time that this one took for its work."""
    if threads > 1:
        gain.team = time
        if gain.best == 0 or time > 1.5 * gain.best or time > gain.serial:
            gain.trial = True
            gain.alone = 1
        else:
            gain.patience = 0
        gain.best = time if gain.best == 0 else min(gain.best, time)
    elif gain.alone > 0:
        gain.serial = time
        gain.alone -= 1
        if gain.trial and time < gain.team:
            gain.patience = min(2 * gain.patience + 4, 64)
            gain.alone = gain.patience
        elif gain.trial:
            gain.best = gain.team
        gain.trial = False


# Faces.

def num_threads():
    """How many threads a step may use at most."""
    cdef int allowed = allowed_threads()
    return min(thread_limit, allowed) if allowed < allowed_at_first else thread_limit


def set_num_threads(int threads):
    """Set that number, which `most_threads` has to allow."""
    global thread_limit
    thread_limit = threads


def most_threads():
    """The largest number that may be set, and why it is that."""
    if not HAS_THREADS:
        return 1, "the extension was compiled without OpenMP"
    if forked:
        return 1, "OpenMP does not survive a fork; processes started with 'spawn' or 'forkserver' have threads"
    return MAX_THREADS, ""


def num_allowed_threads():
    """What OpenMP would use: OMP_NUM_THREADS, or the processors."""
    return allowed_at_first


def after_fork_in_child():
    """Go on with one thread and alone: OpenMP's other threads, and the other callers, stayed behind."""
    global thread_limit, forked
    thread_limit = 1
    forked = True
    memset(callers, 0, sizeof(callers))
