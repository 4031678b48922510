"""Threads of a grid search over several jobs: ``python benchmarks/grid_search.py`` prints them.

Every search trains the same networks, whose steps are large enough to be divided among threads. For each it prints the time, the
processor time of all processes, the largest number of threads, and the mean number of them that ran or waited for a processor.
Where a search of two jobs takes more processor time than one of one job, threads wait for each other. The processor times are
the table of docs/scikit-learn.md.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from os import getpid, sched_getaffinity, sysconf
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
from sklearn.base import clone

PAUSE = 0.01  # seconds between two counts of the threads


def processes(root: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield root
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        with suppress(OSError):  # it has ended meanwhile
            for child in task.read_text().split():
                yield from processes(int(child))


def threads(root: int) -> tuple[int, int]:
    """Return the number of threads of a process and its descendants, and of those that run or wait for a processor."""
    states = []
    for process in processes(root):
        for stat in Path(f"/proc/{process}/task").glob("*/stat"):
            with suppress(OSError):
                states.append(stat.read_text().rpartition(")")[2].split()[0])
    return len(states), states.count("R")


class Watch:
    """Counts the threads of this process and its descendants, again and again within `watching`."""

    def __init__(self) -> None:
        self.all: list[int] = []
        self.ready: list[int] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        done = threading.Event()

        def count() -> None:
            while not done.is_set():
                found, ready = threads(getpid())
                self.all.append(found)
                self.ready.append(ready - 1)  # without the one that counts
                sleep(PAUSE)

        thread = threading.Thread(target=count)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def processor_seconds(root: int) -> float:
    """Return the processor time that a process and its descendants have taken so far."""
    ticks = 0
    for process in processes(root):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / sysconf("SC_CLK_TCK")


def search(library: str, jobs: int, backend: str) -> str:
    """Run a grid search in this process and return its row of the table."""
    from joblib import Parallel, delayed, parallel_config
    from sklearn.model_selection import GridSearchCV

    warnings.simplefilter("ignore")  # the fits are cut short
    module = import_module("sklearn.neural_network" if library == "scikit-learn" else "backprop.estimators")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6_000, 100)), rng.integers(0, 5, 6_000)
    estimator = module.MLPClassifier((256, 256), batch_size=256, max_iter=2, random_state=0)
    watch = Watch()
    with parallel_config(backend, n_jobs=jobs):
        first = clone(estimator).set_params(max_iter=1)
        Parallel()(delayed(first.fit)(x[:512], y[:512]) for _ in range(2 * jobs))  # workers begin, and import what they need
        began, before = perf_counter(), processor_seconds(getpid())
        with watch.watching():
            GridSearchCV(estimator, {"alpha": [1e-4, 1e-3, 1e-2, 1e-1]}, cv=2, refit=False, n_jobs=jobs).fit(x, y)
        seconds, taken = perf_counter() - began, processor_seconds(getpid()) - before
    return f"{seconds:10.2f} s{taken:14.2f} s{max(watch.all):9}{np.mean(watch.ready):9.1f}"


def main() -> None:
    """Print a table of searches, each of which runs in its own process."""
    if len(sys.argv) == 4:
        print(search(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
        return
    print(f"{len(sched_getaffinity(0))} processors")
    print(f"{'':30}{'time':>12}{'processor time':>16}{'threads':>9}{'ready':>9}")
    for library in ("scikit-learn", "here"):
        for how, jobs, backend in (("one job", 1, "loky"), ("two processes", 2, "loky"), ("two threads", 2, "threading")):
            command = [sys.executable, __file__, library, str(jobs), backend]
            row = subprocess.run(command, check=True, capture_output=True, text=True).stdout.rstrip()
            print(f"{library + ', ' + how:30}{row}", flush=True)


if __name__ == "__main__":
    main()
