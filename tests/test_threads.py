"""Threads: results do not depend on their number, the budget is shared, and forked processes begin with one."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import backprop as bp
from backprop import _processors, kernels

core = kernels.compiled()
pytestmark = pytest.mark.skipif(core is None or core.most_threads()[0] == 1, reason="no threads here")


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    threads = bp.backend().threads
    yield
    bp.set_num_threads(threads)


def trained(seed: int, rows: int = 300, batch_size: int = 129, dtype: str = "float32", threads: int | None = None) -> bp.Network:
    """A network after some steps through every kind of layer, large enough for threads."""
    if threads is not None:
        bp.set_num_threads(threads)
    rng = np.random.default_rng(seed)
    net = bp.Network(
        [
            bp.Residual([bp.Dense(61, 61, activation="relu"), bp.LayerNorm(61), bp.Dropout(0.3)]),
            bp.Dense(61, 259, activation="gelu"),
            bp.BatchNorm(259),
            bp.Dense(259, 131, activation="tanh", bias=False),
            bp.Dense(131, 11, activation="softplus"),
            bp.Dense(11, 7),
        ],
        dtype=dtype,
        seed=seed,
    )
    x, y, weight = rng.normal(size=(rows, 61)), rng.integers(0, 7, rows), rng.random(rows)
    trainer = bp.Trainer(net, loss="cross_entropy", optimizer=bp.AdamW(lr=1e-3), clip_norm=1.0)
    trainer.fit(x, y, epochs=2, batch_size=batch_size, sample_weight=weight)
    return net


def test_no_stage_is_left_before_its_end():
    """The call of `take_piece` that finds no more pieces ends the stage; without it threads wait for each other forever."""
    stages = 0
    for path in Path(__file__).parents[1].glob("src/backprop/_kernels/plans/*.pxi"):
        for stage in re.finditer(r"^( *)while take_piece.*\n((?:\1 .*\n|\n)+)", path.read_text("utf-8"), re.M):
            stages += 1
            assert not re.search(r"\b(return|break)\b", stage[2]), f"{path.name}: {stage[0]}"
    assert stages > 10


@pytest.mark.parametrize("batch_size", [57, 129, 300])
def test_results_do_not_depend_on_the_number_of_threads(dtype, batch_size):
    x = np.random.default_rng(5).normal(size=(2001, 61)).astype(dtype)
    one = trained(0, batch_size=batch_size, dtype=dtype.name, threads=1)
    outputs, grad_x = one.predict(x), one.forward(x) is not None and one.backward(np.ones((2001, 7), dtype))
    for threads in (2, 3, 4):
        net = trained(0, batch_size=batch_size, dtype=dtype.name, threads=threads)
        np.testing.assert_array_equal(net.parameters, one.parameters)
        np.testing.assert_array_equal(net.buffers, one.buffers)
        np.testing.assert_array_equal(net.predict(x), outputs)
        net.forward(x)
        np.testing.assert_array_equal(net.backward(np.ones((2001, 7), dtype)), grad_x)


@pytest.mark.parametrize("rows", [4501, 9000])
def test_nor_where_large_batches_are_sliced(dtype, rows):
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(rows, 9)), rng.integers(0, 4, rows), rng.random(rows)

    def parameters(threads: int) -> np.ndarray:
        bp.set_num_threads(threads)
        layers = [bp.Dense(9, 33, activation="tanh"), bp.LayerNorm(33), bp.Dropout(0.3), bp.Dense(33, 4)]
        net = bp.Network(layers, dtype=dtype.name, seed=0)
        net.fit(x, y, loss="cross_entropy", epochs=2, batch_size=4400, sample_weight=weight, seed=1)
        return net.parameters

    one = parameters(1)
    for threads in (2, 3, 4):
        np.testing.assert_array_equal(parameters(threads), one)


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1e-3}])
@pytest.mark.parametrize("depth", [11, 12, 13, 14, 30])
def test_deep_networks(depth, clip):
    x, y = np.random.default_rng(0).normal(size=(256, 96)), np.arange(256) % 96

    def parameters(threads: int) -> np.ndarray:
        bp.set_num_threads(threads)
        net = bp.mlp([96] * (depth + 1), activation="tanh", seed=0)
        bp.Trainer(net, loss="cross_entropy", **clip).fit(x, y, epochs=2, batch_size=64, seed=0)
        return net.parameters

    np.testing.assert_array_equal(parameters(2), parameters(1))


# Every other batch of the data has no weight, and the threads have to take turns.
CROWDED = """
import os, numpy as np, backprop as bp
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
x, y = np.random.default_rng(0).normal(size=(2048, 64)).astype("f"), np.arange(2048) % 10
weight = (np.arange(2048) // 128 % 2).astype("f")
def parameters(threads):
    bp.set_num_threads(threads)
    net = bp.Network([bp.Dense(64, 256, activation="relu"), bp.Dropout(0.2), bp.Dense(256, 128), bp.Dense(128, 10)], seed=0)
    net.fit(x, y, loss="cross_entropy", epochs=5, batch_size=128, sample_weight=weight, shuffle=False)
    net.fit(x, y, loss="cross_entropy", epochs=5, batch_size=128, sample_weight=weight, seed=0)
    return net.parameters
one = parameters(1)
print(all(np.array_equal(parameters(threads), one) for threads in (2, 4, 8)))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_threads_without_a_processor_do_not_delay_the_others():
    assert said(CROWDED) == "True"


def test_python_threads_train_their_own_networks_as_if_alone():
    alone = [trained(seed, threads=1).parameters for seed in range(4)]
    bp.set_num_threads(2)
    together: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda seed=seed: together.update({seed: trained(seed).parameters})) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        np.testing.assert_array_equal(together[seed], alone[seed])


def test_python_threads_predict_with_one_network():
    net = trained(0, threads=2)
    x = np.random.default_rng(1).normal(size=(700, 61)).astype(np.float32)
    wanted = {rows: net.predict(x[:rows]) for rows in (700, 1, 130)}
    wrong: list[int] = []

    def predict() -> None:
        for rows in (700, 1, 130) * 10:
            if not np.array_equal(net.predict(x[:rows]), wanted[rows]):
                wrong.append(rows)

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_others_predict_between_the_stretches_of_a_training():
    x, y = np.ones((512, 64), np.float32), np.zeros(512, np.int64)
    net, alone = (bp.mlp([64, 256, 10], seed=0) for _ in range(2))
    options = {"loss": "cross_entropy", "epochs": 20, "seed": 0}
    alone.fit(x, y, **options)
    done, failures = threading.Event(), []

    def use() -> None:
        try:
            while not done.is_set():
                assert np.isfinite(net.predict(x[:3])).all()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    net.fit(x, y, **options)
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert np.array_equal(net.parameters, alone.parameters)


def test_training_excludes_other_training_of_the_network():
    net = bp.mlp([64, 512, 512, 10], seed=0)
    x, y = np.ones((4096, 64), np.float32), np.zeros(4096, np.int64)
    trainer = bp.Trainer(net, loss="cross_entropy")
    trainer.step(x[:8], y[:8])
    errors: list[str] = []
    started = threading.Event()

    def use() -> None:
        started.wait()
        while not errors:
            try:
                trainer.step(x[:8], y[:8])
            except RuntimeError as error:
                errors.append(str(error))

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    started.set()
    for _ in range(200):
        try:
            trainer.step(x, y)
        except RuntimeError as error:  # the other thread was first
            errors.append(str(error))
        if errors:
            break
    thread.join(10)
    assert errors
    assert all("thread" in error for error in errors)
    assert np.isfinite(net.predict(x[:1])).all()


def _parameters_in_child(threads: int | None) -> tuple[int, bytes]:
    at_first = bp.backend().threads
    return at_first, trained(0, threads=threads).parameters.tobytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_after_threads():
    wanted = trained(0, threads=2).parameters.tobytes()
    with get_context("fork").Pool(2) as pool:
        assert pool.map_async(_parameters_in_child, [None, 2], chunksize=1).get(60) == [(1, wanted)] * 2
    assert bp.backend().threads == 2
    assert trained(0).parameters.tobytes() == wanted


def said(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return (done.stdout or done.stderr.splitlines()[-1]).strip()


SHOW = "import backprop as bp; print(bp.backend().threads)"


def test_number_of_threads():
    bp.set_num_threads(np.int64(3))
    assert bp.backend().threads == 3
    with bp.use_backend("numpy"):
        assert bp.backend().threads == 1


@pytest.mark.parametrize("threads", [0, -1, 10**6])
def test_numbers_out_of_range(threads):
    with pytest.raises(ValueError, match=f"threads must be from 1 to 1024, got {threads}"):
        bp.set_num_threads(threads)


@pytest.mark.parametrize("threads", [1.0, "2", None, True])
def test_what_is_no_number(threads):
    with pytest.raises(TypeError, match="threads must be an integer"):
        bp.set_num_threads(threads)


def test_environment():
    assert said(SHOW, OMP_NUM_THREADS="1") == "1"
    assert said(SHOW, OMP_NUM_THREADS="1,4") == "1"
    assert said(SHOW, BACKPROP_NUM_THREADS="3", OMP_NUM_THREADS="1") == "3"
    assert said(SHOW, BACKPROP_NUM_THREADS="no") == "ValueError: BACKPROP_NUM_THREADS must be a whole number from 1 up, got 'no'"
    assert said(SHOW, BACKPROP_NUM_THREADS="0") == "ValueError: BACKPROP_NUM_THREADS must be from 1 to 1024, got 0"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_default_is_the_processors_of_the_process():
    here = min(len(os.sched_getaffinity(0)), math.ceil(min(_processors.quota(), 1e6)))
    environment = {"OMP_NUM_THREADS": "", "BACKPROP_NUM_THREADS": "1"}
    assert said(SHOW, **environment) == "1"
    program = f"import os; [os.environ.pop(name) for name in {list(environment)}]; {SHOW}"
    assert said(program, **environment) == str(here)
    assert said(f"import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); {SHOW}") == "1"


@pytest.mark.parametrize(
    ("variable", "processors", "quota", "threads"),
    [
        (None, 8, math.inf, 8),
        ("", 8, math.inf, 8),
        ("3", 8, math.inf, 3),
        ("4,2", 8, math.inf, 4),
        ("16", 8, math.inf, 8),
        ("many", 8, math.inf, 8),
        ("0", 8, math.inf, 8),
        (None, 8, 0.5, 1),
        (None, 8, 2.0, 2),
        (None, 8, 2.1, 3),
        ("2", 8, 2.1, 2),
        (None, 2, 2.1, 2),
    ],
)
def test_default_is_the_smallest_of_openmp_affinity_and_quota(monkeypatch, variable, processors, quota, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr(_processors, "processors", lambda: processors)
    monkeypatch.setattr(_processors, "quota", lambda: quota)
    assert _processors.default_threads() == threads


V1 = "4:memory:/job\n3:cpu,cpuacct:/job/part\n0::/\n"
V2 = "0::/job/part\n"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        (V2, {}, math.inf),
        (V2, {"job/part/cpu.max": "max 100000"}, math.inf),
        (V2, {"job/part/cpu.max": "150000 100000"}, 1.5),
        (V2, {"job/part/cpu.max": "max 100000", "job/cpu.max": "25000 50000"}, 0.5),
        (V2, {"job/part/cpu.max": "100000 100000", "job/cpu.max": "300000 100000"}, 1.0),
        (V2, {"cpu.max": "200000 100000"}, 2.0),  # a container that sees its own group as the top
        (V2, {"job/part/cpu.max": "damaged"}, math.inf),
        (V1, {"cpu,cpuacct/job/part/cpu.cfs_quota_us": "-1", "cpu,cpuacct/job/part/cpu.cfs_period_us": "100000"}, math.inf),
        (V1, {"cpu,cpuacct/job/part/cpu.cfs_quota_us": "150000", "cpu,cpuacct/job/part/cpu.cfs_period_us": "100000"}, 1.5),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 0.5),
        (V1, {"memory/job/cpu.cfs_quota_us": "50000", "memory/job/cpu.cfs_period_us": "100000"}, math.inf),
        ("", {}, math.inf),
        (None, {}, math.inf),
    ],
)
def test_quota_of_control_groups(tmp_path, own, files, quota):
    (tmp_path / "groups").mkdir()
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(f"{text}\n")
    if own is not None:
        (tmp_path / "own").write_text(own)
    assert _processors.quota(tmp_path / "own", tmp_path / "groups") == quota


# The runtime is loaded after the extension, by another name and with other visibility in each library.
LIMITED = """
import backprop as bp
import threadpoolctl
bp.set_num_threads(3)
import {library}
with threadpoolctl.threadpool_limits(1, user_api="openmp"):
    inside = bp.backend().threads
print(inside, bp.backend().threads)
"""


@pytest.mark.parametrize("library", ["sklearn.ensemble", "torch"])
def test_a_loaded_openmp_runtime_lowers_it(library):
    pytest.importorskip("threadpoolctl")
    pytest.importorskip(library.partition(".")[0])
    if _processors.openmp_default() < 2:
        pytest.skip("one processor")
    assert said(LIMITED.format(library=library)) == "1 3"


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux shows of a process")
def test_no_openmp_runtime_is_loaded():
    assert said("import backprop as bp; bp.backend(); print('libgomp' in open('/proc/self/maps').read())") == "False"
