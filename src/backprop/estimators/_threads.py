"""The number of threads while fits are under way that ask for one; they may be on several Python threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .. import kernels
from .._processors import default_threads

_lock = threading.Lock()
_asked: list[int] = []
_before = 1


@contextmanager
def thread_limit(n_jobs: int | None) -> Iterator[None]:
    """Let computations use ``n_jobs`` threads at most, -1: all, None: as many as before.

    The number is one for the process: of several fits at once the smallest one holds, and the number from before comes back when
    the last of them ends.
    """
    if n_jobs is None:
        yield
        return
    threads = default_threads() if n_jobs == -1 else n_jobs
    _change(threads, begins=True)
    try:
        yield
    finally:
        _change(threads, begins=False)


def _change(threads: int, begins: bool) -> None:
    global _before
    with _lock:
        if begins:
            _before = _before if _asked else kernels.backend().threads
            _asked.append(threads)
        else:
            _asked.remove(threads)
        kernels.set_num_threads(min(_asked) if _asked else _before)
