"""What `backprop bench` measures, against whom, and how it is shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from backprop import cli, kernels
from backprop._bench import measure, peers
from backprop._bench.kernel_cases import KERNELS, KernelCase, Size, Work, kernel_run, make_array
from backprop._bench.long_runs import LongRun, epoch_run, first_and_last
from backprop._bench.machine import Peak, describe, measure_peak
from backprop._bench.measure import Plan, Row
from backprop._bench.network_cases import NETWORKS, PREDICTION, TRAINING, NetworkCase, fit_run, predict_run, step_run
from backprop._bench.peers import NotOfferedError
from backprop._bench.report import Report
from backprop._bench.table import Table, ratio
from backprop._bench.timing import Contestant, best_times
from backprop._commands import bench as command
from backprop._numpy.checks import DEMANDS

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SMALL = NetworkCase((64, 16, 10), "relu", 8, lr=1e-2)

# --- what is measured -------------------------------------------------------------------------------------------------------------


def test_every_kernel_is_measured() -> None:
    names = [name for name in vars(kernels.Kernels) if not name.startswith("_")]
    assert list(dict.fromkeys(case.kernel for case in KERNELS)) == names


@pytest.mark.parametrize("case", KERNELS, ids=lambda case: case.name)
def test_repeated_calls_stay_in_range(case: KernelCase, backend: str) -> None:
    """Infinities, NaN and denormal numbers take other times than those that training meets."""
    run = kernel_run(case, "tiny", backend)
    for _ in range(200):
        run()
    for array in run.args:
        if isinstance(array, np.ndarray) and array.dtype == np.float32:
            assert np.isfinite(array).all()
            assert ((array == 0) | (np.abs(array) > 1e-30)).all()


def work(name: str, size: str) -> Work:
    (case,) = (case for case in KERNELS if case.name == name)
    return case.work(size)


def test_work_is_counted() -> None:
    assert work("dense_forward", "medium") == (pytest.approx(2e-9 * 128 * 784 * 256), "GFLOP")
    assert (
        work("dense_backward x.T @ delta", "medium")
        == work("dense_backward delta @ weight.T", "medium")
        == work("dense_forward", "medium")
    )
    assert work("activation_backward tanh", "small") == (32 * 32, "element")
    assert work("cross_entropy of 10 classes", "medium") == (128 * 10, "element")
    reads, writes = 4, 3  # adam reads grad, param, m and v, and writes the last three
    assert work("adam", "small") == (pytest.approx(4e-9 * 1000 * (reads + writes), rel=1e-2), "GB")


def test_operations_of_networks_are_counted() -> None:
    case = NetworkCase((3, 5, 2), "relu", 7)
    assert case.prediction_flops == 2 * 7 * (3 * 5 + 5 * 2)
    assert case.training_flops == 2 * 7 * (2 * 3 * 5 + 3 * 5 * 2)  # no gradient of the inputs


def test_columns_of_a_case_replace_those_of_the_size() -> None:
    (labels,) = (demand for demand in DEMANDS["cross_entropy"] if demand.name == "labels")
    assert make_array(labels, Size(100, 2, 3, 1)).max() == 2
    (case,) = (case for case in KERNELS if case.columns == 10)
    assert kernel_run(case, "small", "numpy").args[0].shape == (32, 10)


def test_steps_learn(backend: str) -> None:
    run = step_run(NETWORKS[2]._replace(lr=1e-3), backend)
    losses = [run() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_fit_does_the_steps_it_says(backend: str) -> None:
    run, steps = fit_run(SMALL, backend, most_steps=5)
    history = run()
    assert steps == 5
    assert run.__closure__ is not None or backend != kernels.backend().name
    assert len(history["loss"]) == 1


# --- against whom -----------------------------------------------------------------------------------------------------------------


# In a process of its own: the peers bring threads, settings and warnings that other tests would meet.
PEERS_AT_WORK = """
import json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from backprop._bench import peers
from backprop._bench.kernel_cases import KERNELS
from backprop._bench.long_runs import LongRun
from backprop._bench.network_cases import NetworkCase

small = NetworkCase((64, 16, 10), "relu", 8, lr=1e-2)
found = {}

def tell(key, make, *arguments):
    try:
        run = make(*arguments)
    except peers.NotOfferedError:
        return
    found[key] = [np.asarray(run()).tolist() for _ in range(10)]

for name, peer in peers.installed_peers(threads=1).items():
    tell(f"{name} step float32", peer.step, small)
    tell(f"{name} step float64", peer.step, small._replace(activation="tanh", dtype="float64"))
    tell(f"{name} predict", peer.predict, small)
    try:
        peer.epoch(LongRun(epochs=1))()
        found.setdefault("long training", []).append(name)
    except peers.NotOfferedError:
        pass
    for case in KERNELS:
        try:
            peer.kernel(case, "tiny")()
            found.setdefault(f"{name} kernels", []).append(case.kernel)
        except peers.NotOfferedError:
            pass
print(json.dumps(found))
"""

NEEDED = {"NumPy by hand": "numpy", "PyTorch": "torch", "JAX": "jax", "scikit-learn": "sklearn", "onnxruntime": "onnxruntime"}


@pytest.fixture(scope="module")
def at_work() -> dict[str, Any]:
    """What each peer returned, by its name and what it was asked for."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PEERS_AT_WORK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def need(name: str) -> None:
    if not find_spec(NEEDED[name]) or (name == "onnxruntime" and not find_spec("onnx")):
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("name", [name for name in NEEDED if name != "onnxruntime"])
@pytest.mark.parametrize("case", [SMALL, SMALL._replace(activation="tanh", dtype="float64")], ids=["float32", "float64"])
def test_peers_train_the_same_network_the_same_way(at_work: dict[str, Any], name: str, case: NetworkCase) -> None:
    need(name)
    losses, run = np.array(at_work[f"{name} step {case.dtype}"]), step_run(case, measure.ourselves())
    assert losses[-1] < 0.8 * losses[0]
    if name != "scikit-learn":  # which draws its own weights
        np.testing.assert_allclose(losses, [run() for _ in losses], rtol=1e-3 if case.dtype == "float32" else 1e-6)


@pytest.mark.parametrize("name", NEEDED)
def test_peers_predict_the_same(at_work: dict[str, Any], name: str) -> None:
    need(name)
    outputs = np.array(at_work[f"{name} predict"][0])
    assert outputs.shape == (8, 10)
    if name != "scikit-learn":
        np.testing.assert_allclose(outputs, predict_run(SMALL, measure.ourselves())(), rtol=1e-4, atol=1e-5)


def test_pytorch_takes_part_in_long_training(at_work: dict[str, Any]) -> None:
    need("PyTorch")
    assert at_work["long training"] == ["PyTorch"]


def test_pytorch_does_the_work_of_some_kernels(at_work: dict[str, Any]) -> None:
    need("PyTorch")
    assert {"dense_forward", "dense_backward", "activation_forward", "adam"} == set(at_work["PyTorch kernels"])


def test_who_cannot_take_part_is_left_out_with_the_reason() -> None:
    class Broken:
        def kernel(self, case: KernelCase, size: str) -> None:
            raise NotOfferedError("no compiler")

    reasons: list[str] = []
    plan = Plan(only=["lion"], sizes=["tiny"], seconds=0.001)
    (row,) = measure.rows(plan, {"Broken": Broken()}, reasons.append)
    assert reasons == ["no compiler"]
    assert list(row.seconds) == [measure.ourselves(), measure.TWIN][: len(kernels.available())]


# --- time -------------------------------------------------------------------------------------------------------------------------


def test_times_are_the_least_of_runs_that_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    now = 0.0
    delays = iter([0, 0.02, 0.005, 0.03])
    monkeypatch.setattr("backprop._bench.timing.perf_counter", lambda: now)

    def slow() -> None:
        nonlocal now
        order.append("slow")
        now += next(delays, 0.02)

    def quick() -> None:
        nonlocal now
        order.append("quick")
        now += 0.001

    best = best_times({"slow": Contestant(slow), "quick": Contestant(quick, steps=10)}, 0.03)
    assert best == pytest.approx({"slow": 0.005, "quick": 0.0001})
    assert order[4:6] == ["slow", "quick"]
    assert 0.06 <= now < 0.12  # the time that was given to each, and the trials


def test_the_peak_is_that_of_the_processor() -> None:
    peak = measure_peak(0.005)
    assert peak.copy_gbytes > 0.1
    if "cython" in kernels.available():
        for rates in (peak.gflops, peak.register_gflops):
            assert rates["float32"] > 1.2 * rates["float64"] > 0.1 or kernels.backend().isa == "plain"


@pytest.fixture
def core() -> Any:
    if "cython" not in kernels.available():
        pytest.skip("the compiled extension is not installed")
    with kernels.use_backend("cython"):
        return kernels.active()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tile_multiplies_and_adds(core: Any, dtype: str) -> None:
    numbers = np.full(core.TILE_NUMBERS + 1, 0.5, dtype)
    assert core.multiply_add_tile(numbers, 3) > 0
    changed = numbers != 0.5
    np.testing.assert_array_equal(numbers[changed], 0.5**4 + 0.5**3 + 0.5**2 + 0.5)
    assert core.multiply_add_tile(numbers, 10) == 2 * 10 * np.count_nonzero(changed)
    assert not changed[-1]
    with pytest.raises(ValueError, match="numbers must be at least"):
        core.multiply_add_tile(numbers[:1], 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tile_that_loads_is_a_product(core: Any, dtype: str) -> None:
    numbers = np.full(core.PRODUCT_TILE_NUMBERS + 1, 0.5, dtype)
    operations = core.product_tile(numbers, 3)
    tile = numbers[numbers != 0.5]
    depth = operations / (2 * 3 * tile.size)
    np.testing.assert_array_equal(tile, 0.25 * depth)
    assert numbers[-1] == 0.5
    with pytest.raises(ValueError, match="numbers must be at least"):
        core.product_tile(numbers[:-2], 3)


# --- what is shown ----------------------------------------------------------------------------------------------------------------


def test_columns_stand_in_line() -> None:
    table = Table(
        "kernels, small", ["", "ours", "PyTorch"], [["adam", "1 us", "1.2 x"], ["a longer name than that", "12.3 ms", ""]]
    )
    assert table.text().splitlines() == [
        "kernels, small              ours  PyTorch",
        "adam                        1 us    1.2 x",
        "a longer name than that  12.3 ms",
    ]
    assert table.markdown().splitlines()[:3] == ["|  | ours | PyTorch |", "| :-- | --: | --: |", "| adam | 1 us | 1.2 x |"]


@pytest.mark.parametrize(("times", "text"), [(0.994, "0.99 x"), (0.996, "1.0 x"), (9.94, "9.9 x"), (9.96, "10 x")])
def test_ratios(times: float, text: str) -> None:
    assert ratio(times) == text


@pytest.fixture
def report() -> Report:
    rows = [
        Row("training", "4-2 relu, 1 row", "fit", "float32", {"cython": 1e-6, "PyTorch": 1.5e-4}, Work(1e-5, "GFLOP")),
        Row("training", "4-2 relu, 1 row", "step", "float64", {"cython": 2e-6}, Work(1e-5, "GFLOP")),
        Row("long training", "digits", "first", "float32", {"cython": 4e-5, "PyTorch": 2e-4}, Work(1e-3, "GFLOP")),
        Row("long training", "digits", "last", "float32", {"cython": 4.2e-5, "PyTorch": 6e-4}, Work(1e-3, "GFLOP")),
        Row("kernels", "activation_forward tanh", "small", "float32", {"cython": 2e-7, "PyTorch": 1e-7}, Work(1000, "element")),
        Row("kernels", "adam", "large", "float32", {"cython": 0.01}, Work(0.2, "GB")),
    ]
    peak = Peak({"float32": 100.0, "float64": 50.0}, {"float32": 110.0, "float64": 55.0}, 12.0)
    return Report("a machine", {"numpy": "2.0"}, "x86-64-v3", 2, peak, rows)


def test_tables_of_a_report(report: Report) -> None:
    training, long_training, small, large = report.tables()
    assert training.heads == ["", "ours", "rate", "of peak", "PyTorch"]
    assert training.rows == [
        ["4-2 relu, 1 row, fit", "1 us", "10 GFLOP/s", "5 %", "150 x"],
        ["4-2 relu, 1 row, step, float64", "2 us", "5 GFLOP/s", "5 %", ""],
    ]
    assert long_training.heads == ["", "first epochs", "last epochs", "last / first", "PyTorch: last / first"]
    assert long_training.rows == [["digits", "40 us", "42 us", "1.05", "3.00"]]
    assert small.rows == [["activation_forward tanh", "200 ns", "0.2 ns/element", "", "0.50 x"]]
    assert large.rows == [["adam", "10 ms", "20 GB/s", ""]]
    assert "100 GFLOP/s in float32 (110 in registers), 50 GFLOP/s in float64 (55 in registers), copies" in report.heading()


def test_a_report_is_the_same_from_its_file(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report


def test_the_machine_is_described() -> None:
    assert re.search(r"\d+ cores?, instruction set ", describe())


# --- the command ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "installed_peers", lambda threads, compile_pytorch: {})
    monkeypatch.setattr(command, "measure_peak", lambda seconds: Peak({}, {}, 10.0))


@pytest.mark.usefixtures("alone")
def test_bench_prints_times_rates_and_ratios(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["bench", "--quick", "--json", str(tmp_path / "all.json")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^dense_forward +\S+ [mun]s +\S+ GFLOP/s", printed, re.MULTILINE)
    assert re.search(r"^adam +\S+ [mun]s +\S+ GB/s", printed, re.MULTILINE)
    assert re.search(r"^4-32-32-2 tanh, 32 rows, fit +\S+ [mun]s", printed, re.MULTILINE)
    assert re.search(r"^digits, 64-128-64-10 relu, 32 rows +\S+ [mun]s +\S+ [mun]s +\d\.\d\d", printed, re.MULTILINE)
    assert (measure.TWIN in printed) == ("cython" in kernels.available())
    found = Report.load(tmp_path / "all.json")
    assert {row.table for row in found.rows} == {"training", "prediction", "long training", "kernels"}


@pytest.mark.usefixtures("alone")
def test_bench_refuses_words_that_no_row_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--quick", "--only", "lyon"]) == 1
    assert "--only must be in the table, name, size or dtype of a row, got 'lyon'" in capsys.readouterr().err


def test_bench_takes_only_what_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--quick", "--only", "lion", "--only", "prediction 4-32-32-2 tanh, 1 row"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[5:] if line] == [
        "prediction", "4-32-32-2 tanh, 1 row", "kernels, tiny (batch 3, 4 x 6; 20 parameters)", "lion",
    ]  # fmt: skip


@pytest.mark.skipif("cython" not in kernels.available(), reason="the compiled extension is not installed")
def test_a_step_takes_the_same_time_at_the_end_of_long_training_as_at_the_beginning() -> None:
    case = LongRun(weight_decay=0.01, epochs=120)
    for _attempt in range(3):  # another process may take the processor
        first, last = first_and_last({"ours": Contestant(epoch_run(case, "cython"), case.steps)}, case.epochs)
        if last["ours"] < 1.1 * first["ours"]:
            return
    pytest.fail(f"first {first}, last {last}")


def test_float64_and_all_batches_are_there() -> None:
    assert {case.dtype for case in TRAINING} == {"float32", "float64"}
    assert {case.batch for case in PREDICTION} == {1, 32, 4096}


# --- scripts ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (BENCHMARKS / "growth.py").exists():
        pytest.skip("the benchmarks are not here")
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("growth")


def test_the_slope_of_growth_is_its_power(growth: Any, tmp_path: Path) -> None:
    sizes = [1, 2, 4, 8]
    curves = [growth.Growth(f"{power}", "s", sizes, {"ours": [1e-6 * size**power for size in sizes]}) for power in range(6)]
    assert [curve.slope() for curve in curves] == pytest.approx(range(6))
    assert growth.table(curves).rows[2] == ["2", "1: 1 us", "4: 16 us", "8: 64 us", "2.00", ""]
    if find_spec("matplotlib") is not None:
        growth.draw(curves, tmp_path / "growth.svg")
        assert "ours, slope 5.00</text>" in (tmp_path / "growth.svg").read_text(encoding="utf-8")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_the_memory_of_training_has_the_order_of_the_rows(growth: Any) -> None:
    rows = 500_000
    (cost,) = growth.memory("rows", [rows], [(rows, (4, 4, 2))]).costs["ours"]
    assert 8 * rows < cost < 20 * rows


def test_the_script_of_many_fits_trains_the_same_in_jax() -> None:
    script = BENCHMARKS / "many_fits.py"
    if not script.exists():
        pytest.skip("the benchmarks are not here")
    made = run_path(str(script))
    ours = made["fit_all"](2, 30, 256)
    made["compare_all"](2, 1, 256)
    assert len(ours) == 2
    if find_spec("jax") is not None:
        np.testing.assert_allclose(made["vmapped"](2, 30, 256)(), ours, rtol=0.2)
