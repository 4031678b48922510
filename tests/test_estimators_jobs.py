"""Searches over several jobs, as processes and as threads, use no more threads than there are processors for."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

from joblib import parallel_config
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

import backprop as bp
from backprop.estimators import MLPClassifier

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(bp.backend().name != "cython", reason="NumPy's backend has no threads of its own"),
]

TASKS = Path("/proc/self/task")


def test_worker_processes_share_the_processors() -> None:
    """OMP_NUM_THREADS, which loky sets, says how many threads a worker may have."""

    def threads_of_a_fit(estimator: Any, X: Any, y: Any) -> float:
        return float(bp.backend().threads)

    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(
        MLPClassifier((4,), max_iter=2, random_state=0),
        {"alpha": [0.0, 1.0]},
        scoring=threads_of_a_fit,
        cv=2,
        n_jobs=2,
        refit=False,
    )
    with parallel_config("loky"):
        scores = search.fit(X, y).cv_results_["mean_test_score"]
    assert scores.max() <= max(1, (os.cpu_count() or 1) // 2)


def test_processes_and_threads_find_the_same() -> None:
    X, y = load_iris(return_X_y=True)
    found = []
    for backend in ("loky", "threading", "sequential"):
        search = GridSearchCV(
            MLPClassifier((8,), max_iter=20, random_state=0),
            {"alpha": [1e-4, 1.0], "learning_rate_init": [0.01, 0.1]},
            cv=2,
            n_jobs=2,
        )
        with parallel_config(backend):
            found.append(search.fit(X, y))
    for other in found[1:]:
        np.testing.assert_array_equal(other.cv_results_["mean_test_score"], found[0].cv_results_["mean_test_score"])
        np.testing.assert_array_equal(other.best_estimator_.coefs_[0], found[0].best_estimator_.coefs_[0])


def helpers() -> int:
    """How many threads of the process are none of Python's."""
    return len(list(TASKS.iterdir())) - threading.active_count()


@pytest.mark.skipif(not TASKS.exists(), reason="the threads of a process are counted in /proc")
def test_fits_on_several_threads_share_their_helpers() -> None:
    """Two fits at once on three threads have two helpers together, not two each."""
    counted: list[int] = []

    def count(estimator: Any, X: Any, y: Any) -> float:
        counted.append(helpers())
        return 0.0

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2048, 64)), rng.integers(0, 3, 2048)
    before, threads = helpers(), bp.backend().threads
    bp.set_num_threads(3)
    try:
        search = GridSearchCV(
            MLPClassifier((256, 256), batch_size=512, max_iter=2, random_state=0),
            {"alpha": [0.0, 1.0]},
            scoring=count,
            cv=2,
            refit=False,
        )
        with parallel_config("threading", n_jobs=2):
            search.fit(X, y)
    finally:
        bp.set_num_threads(threads)
    assert max(counted) - before <= 2
    assert len(counted) == 4
