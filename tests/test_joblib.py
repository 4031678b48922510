"""`compare`, `search` and the estimators on the workers that joblib was told to use: the same results, threads in moderation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import backprop as bp

joblib = pytest.importorskip("joblib")
DISTRIBUTED = pytest.mark.skipif(find_spec("distributed") is None, reason="dask.distributed is not installed")
BACKENDS = ["threading", "loky", pytest.param("dask", marks=[DISTRIBUTED, pytest.mark.filterwarnings("ignore")])]
WORKERS = 2


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Let joblib use two workers: threads, processes of its own, or those of a scheduler of Dask on this machine."""
    with ExitStack() as stack:
        if name == "dask":
            from distributed import Client, LocalCluster

            cluster = stack.enter_context(LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None))
            stack.enter_context(Client(cluster))
        stack.enter_context(joblib.parallel_config(backend=name, n_jobs=WORKERS))
        yield


@pytest.mark.parametrize("name", BACKENDS)
def test_results_are_those_of_one_process(name: str) -> None:
    (x, y), _ = bp.datasets.digits()
    x, y = x[:200], y[:200]
    nets = {f"{width} units": bp.mlp([64, width, 10], seed=0) for width in (4, 8)}
    space = {"hidden": [(4,), (8,)], "lr": (1e-4, 1e-1)}

    def run() -> object:
        compared = bp.compare(nets, x, y, loss="cross_entropy", epochs=2, folds=2)
        found = bp.search(space, x, y, loss="cross_entropy", budget=4, epochs=4)
        return [(result.name, result.scores) for result in compared.results], [tuple(trial) for trial in found.trials]

    expected = run()
    with backend(name):
        assert run() == expected
        threads = [one.threads for one in joblib.Parallel()(joblib.delayed(bp.backend)() for _ in range(4))]
        if find_spec("sklearn") is not None:
            search_a_grid(x, y)
    if name != "threading":  # threads of one process share its number
        assert max(threads) <= max(1, (os.cpu_count() or 1) // WORKERS)


def search_a_grid(x: np.ndarray, y: np.ndarray) -> None:
    from sklearn.model_selection import GridSearchCV

    from backprop.estimators import MLPClassifier

    grid = {"hidden_layer_sizes": [(4,), (8,)]}
    options = {
        "max_iter": 20,
        "random_state": 0,
        "tol": 10.0,
        "n_iter_no_change": 1,
    }  # no longer than it takes to call it converged
    scores = GridSearchCV(MLPClassifier(**options), grid, cv=2, error_score="raise").fit(x, y).cv_results_["mean_test_score"]
    with joblib.parallel_config(backend="threading", n_jobs=1):
        alone = GridSearchCV(MLPClassifier(**options), grid, cv=2).fit(x, y).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(scores, alone)


def custom() -> bp.Trainer:
    """A trainer of classes that processes of their own cannot import: their pickles hold the classes."""

    class Twice(bp.Layer):
        def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
            return 2 * x

        def backward(self, grad_outputs: np.ndarray) -> np.ndarray:
            return 2 * grad_outputs

    class More(bp.Dense):
        def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
            return super().forward(x, training) + 1

    class Half(bp.losses.MSE):
        def __call__(self, outputs: np.ndarray, targets: np.ndarray, **options: Any) -> tuple[float, np.ndarray]:
            loss, grad = super().__call__(outputs, targets, **options)
            return loss / 2, grad / 2

    class Net(bp.Network):
        def predict(self, x: Any, **options: Any) -> np.ndarray:
            return 3 * super().predict(x, **options)

    class Slow(bp.SGD):
        pass

    net = Net([More(4, 3, activation="tanh"), Twice(), bp.Residual([More(3, 3)]), bp.Dense(3, 2)], seed=0)
    return bp.Trainer(net, loss=Half(), optimizer=Slow(0.1))


def test_classes_of_a_script_go_to_processes_of_their_own() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)), rng.normal(size=(40, 2))

    def work(trainer: bp.Trainer) -> tuple[np.ndarray, list[float], np.ndarray]:
        before = trainer.net.predict(x)
        return before, trainer.fit(x, y, epochs=3, seed=0, verbose=False)["loss"], trainer.net.predict(x)

    with backend("loky"):
        (found,) = joblib.Parallel()([joblib.delayed(work)(custom())])
    for here, there in zip(work(custom()), found, strict=True):
        assert np.array_equal(here, there)
