"""Threads of a grid search over several jobs: ``python benchmarks/grid_search.py`` prints them.

Every search trains the same networks, whose steps are large enough for threads of their own. For each it prints the time, the
processor time of all processes, the largest number of threads that were ready to run at once, and the number of processors.
Where more are ready than there are processors, the search is oversubscribed: it takes processor time without taking less time.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid, sched_getaffinity, times
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

PAUSE = 0.01  # seconds between two looks at the threads


def processes(root: int) -> Iterator[int]:
    """This process and its descendants."""
    yield root
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from processes(int(child))


def threads(root: int) -> tuple[int, int]:
    """How many threads there are in a process and its descendants, and how many of them run or wait for a processor."""
    states = []
    for process in processes(root):
        for stat in Path(f"/proc/{process}/task").glob("*/stat"):
            try:
                states.append(stat.read_text().rpartition(")")[2].split()[0])
            except OSError:  # it has ended meanwhile
                continue
    return len(states), states.count("R")


class Watch:
    """Looks at the threads of this process and its descendants until it is told to stop."""

    def __init__(self) -> None:
        self.all: list[int] = []
        self.ready: list[int] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                try:
                    found, ready = threads(getpid())
                except OSError:
                    continue
                self.all.append(found)
                self.ready.append(ready - 1)  # the one that looks
                sleep(PAUSE)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def processor_seconds() -> float:
    """What this process and its children that have ended have taken."""
    return sum(times()[:4])


def search(kind: type, jobs: int, backend: str, x: np.ndarray, y: np.ndarray, **options: Any) -> list[str]:
    """Run a grid search and return what was seen."""
    from joblib import parallel_backend
    from joblib.externals.loky import get_reusable_executor
    from sklearn.model_selection import GridSearchCV

    estimator = kind((256, 256), batch_size=256, max_iter=2, random_state=0, **options)
    watch, began, before = Watch(), perf_counter(), processor_seconds()
    with parallel_backend(backend, n_jobs=jobs), watch.watching():
        GridSearchCV(estimator, {"alpha": [1e-4, 1e-3, 1e-2]}, cv=2, refit=False, n_jobs=jobs).fit(x, y)
    seconds = perf_counter() - began
    get_reusable_executor().shutdown(wait=True)  # only the times of children that have ended are known
    ready = np.sort(watch.ready)
    common = f"{ready[int(0.95 * len(ready))]}"  # but for what a start brings along
    return [f"{seconds:.2f} s", f"{processor_seconds() - before:.2f} s", str(max(watch.all)), common]


def main() -> None:
    """Print a table of searches."""
    from sklearn.neural_network import MLPClassifier as Theirs

    from backprop.estimators import MLPClassifier as Ours

    warnings.simplefilter("ignore")  # the fits are cut short
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12_000, 100)), rng.integers(0, 5, 12_000)
    print(f"{len(sched_getaffinity(0))} processors")
    print(f"{'':32}{'time':>10}{'processors':>12}{'threads':>9}{'ready':>7}")
    for name, kind in (("scikit-learn", Theirs), ("here", Ours)):
        for how, jobs, backend in (("one job", 1, "loky"), ("two processes", 2, "loky"), ("two threads", 2, "threading")):
            row = search(kind, jobs, backend, x, y)
            print(f"{name + ', ' + how:32}{row[0]:>10}{row[1]:>12}{row[2]:>9}{row[3]:>7}", flush=True)


if __name__ == "__main__":
    main()
