"""Run independent trainings side by side, in threads or on the workers that joblib is configured to use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from ..._arrays import check_count

T = TypeVar("T")


def check_jobs(n_jobs: int | None) -> int | None:
    """Return the number of trainings at a time; None for the number of processors, which -1 means, too."""
    return None if n_jobs is None or n_jobs == -1 else check_count("n_jobs", n_jobs)


def run_all(function: Callable[..., T], tasks: Iterable[tuple[Any, ...]], n_jobs: int | None, done: Callable[[], None]) -> list[T]:
    """Call a function with each of some tuples of arguments, and return the results in their order.

    Threads share the arrays and the number of kernel threads. Inside ``joblib.parallel_config(backend)`` that backend runs the
    calls. `done` is called after each.
    """
    tasks = list(tasks)
    parallel = _joblib_parallel(n_jobs)
    if parallel is not None:
        results = parallel(tasks, function)
        for _ in results:
            done()
        return results
    with ThreadPoolExecutor(n_jobs or os.cpu_count()) as pool:
        running = [pool.submit(copy_context().run, function, *task) for task in tasks]
        try:
            for future in running:
                future.add_done_callback(lambda future: None if future.cancelled() else done())
            return [future.result() for future in running]
        except BaseException:
            for future in running:
                future.cancel()
            raise


def _joblib_parallel(n_jobs: int | None) -> Callable[[list[tuple[Any, ...]], Callable[..., T]], list[T]] | None:
    """Calls on the backend that the program has configured joblib to use; None where that is none, or threads."""
    if "joblib" not in sys.modules:
        return None
    from joblib import Parallel, delayed  # type: ignore[import-untyped]
    from joblib.parallel import get_active_backend  # type: ignore[import-untyped]

    backend, jobs = get_active_backend(prefer="threads")
    if getattr(backend, "supports_sharedmem", False):
        return None
    chosen = n_jobs or (jobs if jobs != 1 else -1)
    return lambda tasks, function: list(Parallel(n_jobs=chosen)(delayed(function)(*task) for task in tasks))
