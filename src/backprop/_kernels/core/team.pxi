# Threads: a team for a stretch of work, from one budget that the Python threads of the process share.
#
# A stretch of work is one program that every thread of a team runs: a sequence of stages, each of them in pieces. A thread takes
# pieces of the stage that it has come to until none is left and continues when all are done, so it can read the others' work
# in the next stage. Who does a piece makes no difference to its result, and pieces depend on the size of the team only through how
# work that can be cut anywhere is cut. A thread that comes late, because something else has the processor, passes through the
# stages that were done without it; what it reads there may be older or newer than the stage, so a program keeps to this:
#
#     - what decides how it continues is written once and stays (the loss of each step), or is read just before a stage: a thread
#       that gets a piece of a stage has read what the stages before had left;
#     - where a decision changes how many stages there are, the numbers of those that follow it do not depend on it
#       (`take_piece_before`).
#
# Before a stretch the caller joins the budget, which says how many threads it gets; afterwards it leaves. Threads that outnumber
# the processors make each other wait, so callers that work at the same time divide the processors among them, and one that has just
# left still counts for a moment: a loop of short steps in another thread is work too. Results do not depend on any of this.

from cpython.time cimport monotonic
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

ctypedef void (*Share)(void* work, int part, int parts) noexcept nogil

cdef extern from "_kernels/core/team.h" nogil:
    bint HAS_THREADS
    enum:
        MOST_PARTS                              # threads in a team, and pieces of a stage
    ctypedef struct team_t:                     # what the threads of a team share
        pass
    ctypedef struct member_t:                   # one of them, and where it has come to
        int part
        int parts
        uint32_t stage
        int piece                               # the one it has taken
    member_t member(team_t *team, int part, int parts)
    bint take_piece(member_t *m, int pieces)    # the next piece of the stage, in m.piece; False ends the stage, once all are done
    bint take_piece_before(member_t *m, int pieces, uint32_t after)     # of a stage before the one of that number
    bint is_current(const member_t *m)          # whether the stage it has come to is not over
    void run_team(team_t *team, Share share, void *work, int parts)     # on the calling thread, and on others as they come
    void set_to(int *place, int number)         # several threads may, to the same number
    void set_flag(int *flag)                    # which any thread may set, and which stays set
    bint is_set(const int *flag)
    int value_of(const int *place)              # which another thread may be setting
    int64_t read_once(const int64_t *number)    # of memory that another thread may be writing
    void nap()                                  # a tenth of a millisecond
    void reset_pool()
    int openmp_threads()                        # what OpenMP runtimes in this process allow the calling thread
    int add_to(int *count, int n)               # returns the sum
    bint replace(int *count, int old, int new)

cdef extern from "_kernels/core/denormals.h" nogil:
    ctypedef unsigned long long float_mode_t    # how this thread rounds and flushes
    float_mode_t flush_denormals()              # returns the mode before
    float_mode_t float_mode()
    void set_float_mode(float_mode_t mode)

cdef extern from "Python.h":
    long PyThread_get_thread_ident() noexcept nogil

cdef enum:
    MAX_THREADS = 1024
    MAX_CALLERS = 64                            # more callers at once than this: the rest run on one thread, uncounted

cdef double FLOPS_WITH_GIL = 2e4                # less work than this is done before other threads would notice
cdef double FLOPS_OF_A_THREAD = 1.5e6           # of a step: below 3 MFLOP the stages would cost more than a second thread brings
cdef double FLOPS_OF_A_TEAM = 3e6
cdef double LINGER = 0.01                       # seconds for which a caller counts after it has left

cdef struct Caller:
    long thread                                 # the Python thread; 0: a free place
    int threads                                 # how many it uses now
    double left                                 # when it last left

cdef cython.pymutex budget_lock                 # guards the callers
cdef Caller[MAX_CALLERS] callers
cdef int thread_limit = 1                       # 1: no thread joins the budget
cdef int stepping = 0                           # threads that are inside a step, at most one for each network
cdef int forks = 0                              # threads that fork, or wait until they can
cdef int generation = 0                         # forks between the first process and this one
cdef int openmp_default = 1                     # what an OpenMP runtime allows that has not been limited


cdef int limit_now() noexcept nogil:
    """The number of threads that the caller may use if it is alone. The lock must be held: it guards the list of runtimes, too."""
    cdef int most = value_of(&thread_limit), allowed = openmp_threads() if most > 1 else 1
    return min(most, allowed) if allowed < openmp_default else most


cdef int join_budget(int wanted) noexcept nogil:
    """The number of threads that the caller may use now, up to those wanted, at least 1."""
    cdef:
        long me = PyThread_get_thread_ident()
        int most, share, i, place = -1, active = 1, busy = 0
        double now
        Caller* caller
    with budget_lock:
        now = monotonic()
        most = limit_now()
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


cdef inline int threads_for(double flops) noexcept nogil:
    """How many threads a step of ``flops`` is worth."""
    return <int> max(1.0, min(<double> min(value_of(&thread_limit), <int> MOST_PARTS), flops / FLOPS_OF_A_THREAD))


cdef void run(Share share, void *work, double flops, Py_ssize_t steps, int most, team_t *team) noexcept:
    """Run a stretch of work on as many threads as it is worth: each step is worth its ``flops``, and there is room for ``most``.

    Denormal numbers are zeros meanwhile. ``share`` calls Python, if at all, in the caller's mode.
    """
    cdef double total = flops * steps
    cdef float_mode_t mode = flush_denormals()
    if total < FLOPS_WITH_GIL:
        share(work, 0, 1)
    else:
        with nogil:
            if total < FLOPS_OF_A_TEAM or value_of(&thread_limit) == 1:
                share(work, 0, 1)
            else:
                run_team(team, share, work, join_budget(min(most, threads_for(flops))))
                leave_budget()
    set_float_mode(mode)


# Faces.

def num_threads():
    """How many threads a step may use at most."""
    with budget_lock:
        return limit_now()


def set_num_threads(int threads):
    """Set that number; `most_threads` says up to which."""
    if not 1 <= threads <= most_threads()[0]:
        raise ValueError(f"threads must be from 1 to {most_threads()[0]}, got {threads}")
    set_to(&thread_limit, threads)


def most_threads():
    """The largest number that may be set, and why it is that."""
    if not HAS_THREADS:
        return 1, "this system has no POSIX threads"
    return MAX_THREADS, ""


def set_openmp_default(int threads):
    """Tell what an OpenMP runtime allows that has not been limited: one that allows less has been, and is obeyed."""
    global openmp_default
    openmp_default = threads


# A fork waits until no thread is inside a step, and steps wait for the fork. In the child, which continues with the forking thread
# alone, the parameters of every network are those of a whole step. Threads inside a step run no Python, so it does end.

cdef inline bint begin_step() noexcept:
    """Be one more that is inside a step, unless there is a fork to wait for."""
    add_to(&stepping, 1)
    if value_of(&forks) == 0:
        return True
    add_to(&stepping, -1)
    return False


cdef inline void end_step() noexcept:
    add_to(&stepping, -1)


def before_fork():
    """Wait for the steps, and let no thread begin another one, or join or leave the budget: the child would wait for it forever."""
    add_to(&forks, 1)
    with nogil:
        while value_of(&stepping) > 0:
            nap()
    budget_lock.acquire()


def after_fork_in_parent():
    """Continue as before."""
    budget_lock.release()
    add_to(&forks, -1)


def after_fork_in_child():
    """Continue with one thread and alone: the helpers and the other callers stayed behind.

    Those who fork a process for each processor want one thread in each; `set_num_threads` is there for the others.
    """
    global generation
    generation += 1
    set_to(&thread_limit, 1)
    set_to(&forks, 0)
    memset(callers, 0, sizeof(callers))
    reset_pool()
    budget_lock.release()
