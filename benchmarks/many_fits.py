"""Many small fits on threads, on processes, and in JAX: the numbers of docs/howto/many.md.

``python benchmarks/many_fits.py`` prints them, for what is installed of JAX, joblib and Dask.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np

import backprop as bp

NETWORKS, EPOCHS, ROWS, BATCH = 64, 20, 2048, 32
SIZES = [8, 64, 64, 1]
CANDIDATES = 12


def data(rows: int = ROWS) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, SIZES[0])).astype(np.float32)
    return x, np.sin(x.sum(axis=1, keepdims=True))


def fit_all(networks: int = NETWORKS, epochs: int = EPOCHS, rows: int = ROWS) -> list[float]:
    """Train all networks; return the loss that each had in its last epoch."""
    x, y = data(rows)
    trainers = [bp.Trainer(bp.mlp(SIZES, seed=seed), loss="mse", optimizer="adam", metrics=[]) for seed in range(networks)]
    histories = bp.fit_many(trainers, x, y, epochs=epochs, batch_size=BATCH, verbose=False)
    return [history["loss"][-1] for history in histories]


def vmapped(networks: int = NETWORKS, epochs: int = EPOCHS, rows: int = ROWS) -> Callable[[], list[float]]:
    """The same training in JAX: `vmap` over the networks, `scan` over the steps, one compiled call for all epochs."""
    jax = import_module("jax")
    jnp, (x, y) = jax.numpy, data(rows)
    made = [bp.mlp(SIZES, seed=seed) for seed in range(networks)]
    layers = range(len(SIZES) - 1)
    param = [[np.stack([getattr(net.layers[i], part) for net in made]) for i in layers] for part in ("weight", "bias")]
    rng, whole = np.random.default_rng(0), rows // BATCH * BATCH
    order = np.stack([np.stack([rng.permutation(rows)[:whole] for _ in range(epochs)]).reshape(-1, BATCH) for _ in made])

    def loss(param: Any, rows: Any) -> Any:
        out = jnp.asarray(x)[rows]
        for i in layers:
            out = out @ param[0][i] + param[1][i]
            out = jax.nn.relu(out) if i < layers[-1] else out
        return ((out - jnp.asarray(y)[rows]) ** 2).mean()

    def update(state: Any, rows: Any) -> Any:
        param, m, v, t = state
        value, grad = jax.value_and_grad(loss)(param, rows)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grad)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grad)
        lr, root = 1e-3 / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
        param = jax.tree.map(lambda p, m, v: p - lr * m / (jnp.sqrt(v) / root + 1e-8), param, m, v)
        return (param, m, v, t + 1.0), value

    def train(param: Any, order: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, param)
        _, values = jax.lax.scan(update, (param, zeros, zeros, 1.0), order)
        return values[-(whole // BATCH) :].mean()

    compiled = jax.jit(jax.vmap(train)).lower(param, order).compile()

    def run() -> list[float]:
        found: list[float] = np.asarray(compiled(param, order)).tolist()
        return found

    return run


def compare_all(candidates: int = CANDIDATES, epochs: int = EPOCHS, rows: int = ROWS) -> None:
    """Compare networks on the workers that joblib is configured to use."""
    x, y = data(rows)
    bp.compare({str(seed): bp.mlp(SIZES, seed=seed) for seed in range(candidates)}, x, y, loss="mse", epochs=epochs, verbose=False)


def seconds(run: Callable[[], object], times: int = 3) -> float:
    found = []
    for _ in range(times):
        began = perf_counter()
        run()
        found.append(perf_counter() - began)
    return min(found)


def main() -> None:
    """Time the fits with one thread and with all threads, in JAX, and on the backends of joblib."""
    most = bp.backend().threads
    for epochs in (EPOCHS, 1):
        for threads in sorted({1, most}):
            bp.set_num_threads(threads)
            found = seconds(partial(fit_all, epochs=epochs))
            print(f"{NETWORKS} networks, epochs: {epochs}, backprop, threads: {threads}: {found:.2f} s", flush=True)
    if find_spec("jax"):
        print(f"{NETWORKS} networks, epochs: {EPOCHS}, JAX, vmap, its own threads: {seconds(vmapped()):.2f} s", flush=True)
    print(f"{CANDIDATES} candidates, {EPOCHS} epochs, compare, threads: {seconds(compare_all):.2f} s", flush=True)
    for backend, module in (("loky", "joblib"), ("dask", "distributed")):
        if not (find_spec(module) and find_spec("joblib")):
            continue
        began = perf_counter()
        with ExitStack() as stack:
            if backend == "dask":
                library = import_module("distributed")
                cluster = library.LocalCluster(n_workers=most, threads_per_worker=1, dashboard_address=None)
                stack.enter_context(library.Client(stack.enter_context(cluster)))
            stack.enter_context(import_module("joblib").parallel_config(backend=backend, n_jobs=most))
            compare_all(candidates=most, epochs=1)  # the workers start, and load what they need
            start, found = perf_counter() - began, seconds(compare_all)
            name = f"{CANDIDATES} candidates, {EPOCHS} epochs, compare, {backend}, {most} workers"
            print(f"{name}: {found:.2f} s, and {start:.2f} s to start", flush=True)


if __name__ == "__main__":
    main()
