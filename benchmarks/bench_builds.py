"""Compare builds of the package: products, whole steps, predictions.

    python benchmarks/bench_builds.py OLD/src NEW/src                       # all, in about three minutes
    python benchmarks/bench_builds.py OLD/src NEW/src --only float32        # rows whose name contains all these words
    python benchmarks/bench_builds.py OLD/src NEW/src --only 4-32-32-2 " 1 rows"    # what a call costs
    python benchmarks/bench_builds.py OLD/src NEW/src --only fit --peers    # beside PyTorch and onnxruntime
    python benchmarks/bench_builds.py OLD/src NEW/src OTHER/src --cpu       # several; on a machine with other load

Each folder holds a package ``backprop``, its extension built. Each is loaded by a process of its own; the processes take turns, row
by row, in several rounds with new processes, and the least time of each counts. So other load and the placement of memory disturb
all alike. Products are in GFLOP/s, steps and predictions in time. The first folder is the reference: the number behind each other
one is how many times as fast it is; for the peers, how many times as long they take as the last folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

WIDTHS = (64, 128, 256, 512, 1024, 2048)
ROWS = (1, 2, 4, 8, 16, 32, 48, 64, 128, 256, 512)
LAYERS = ((784, 256), (1024, 1024))
# By widths: activation, rows of a step, rows of a prediction.
NETWORKS: dict[tuple[int, ...], tuple[str, tuple[int, ...], tuple[int, ...]]] = {
    (4, 32, 32, 2): ("tanh", (1, 32), (1, 32, 4096)),
    (64, 128, 64, 10): ("relu", (32, 8192), (32, 4096)),
    (784, 256, 128, 10): ("relu", (32, 128), (1, 8, 16, 32, 64, 128, 4096, 20_000)),
    (512, 1024, 1024, 10): ("relu", (256,), (32, 256)),
    (1024, 4096, 4096, 10): ("relu", (512,), ()),
    (17, 256, 256, 6): ("tanh", (64, 256), (64,)),
    (32, *[64] * 10, 2): ("relu", (64,), (64,)),
}


class Row(NamedTuple):
    """A line of the table: a product of a layer, a step, or a prediction."""

    kind: str
    sizes: tuple[int, ...]
    rows: int
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """What `--only` selects by."""
        return f"{self.kind} {'-'.join(map(str, self.sizes))}, {self.rows} rows, {self.dtype}"

    @property
    def gflop(self) -> float:
        """Multiplications and additions of a product."""
        return 2e-9 * self.rows * self.sizes[0] * self.sizes[1] if self.kind in PRODUCTS else 0.0


PRODUCTS = ("forward", "dW", "dX")


def all_rows() -> Iterator[Row]:
    """All that can be measured."""
    for dtype in ("float32", "float64"):
        for kind in PRODUCTS:
            yield from (Row(kind, (width, width), width, dtype) for width in WIDTHS)
            yield from (
                Row(kind, layer, rows, dtype) for layer in LAYERS for rows in ROWS if (dtype == "float32" or rows % 32 == 0)
            )
        for sizes, (_, steps, predictions) in NETWORKS.items():
            if dtype == "float32" or sizes[0] in (4, 64, 784):
                yield from (Row(kind, sizes, rows, dtype) for rows in steps for kind in ("step", "fit"))
                yield from (Row("predict", sizes, rows, dtype) for rows in predictions)


# A contestant: a process that reads rows, and writes the seconds that each takes.


def contestant(name: str, threads: int, clock: Callable[[], float]) -> None:
    """Measure the rows on standard input."""
    make = {"backprop": our_run, "torch": torch_run, "onnxruntime": onnxruntime_run}[name]
    print(json.dumps(setup(name, threads)), flush=True)
    for line in sys.stdin:
        kind, sizes, rows, dtype, seconds = json.loads(line)
        made = make(Row(kind, tuple(sizes), rows, dtype), threads)
        print(json.dumps(None if made is None else least_time(*made, seconds, clock)), flush=True)


def setup(name: str, threads: int) -> str:
    """Set the number of threads; return what was loaded."""
    module: Any = __import__(name)
    if name == "backprop":
        module.set_num_threads(threads)
        return f"{module.__file__} ({module.kernels.backend().isa})"
    if name == "torch":
        module.set_num_threads(threads)
    return f"{name} {module.__version__}"


def least_time(run: Callable[[], object], steps: int, seconds: float, clock: Callable[[], float]) -> float:
    """The least time of a step, over turns of a millisecond or more that take ``seconds`` together."""
    run()
    calls, best, end = 1, inf, time.perf_counter() + seconds
    while True:
        start = clock()
        for _ in range(calls):
            run()
        taken = clock() - start
        best = min(best, taken / calls)
        if time.perf_counter() > end:
            return best / steps
        if taken < 1e-3:
            calls = max(2 * calls, int(1e-3 / best))


def data(row: Row, batches: int = 1) -> tuple[Any, Any]:
    """Inputs and labels."""
    rng = np.random.default_rng(0)
    n = row.rows * batches
    return rng.standard_normal((n, row.sizes[0])).astype(row.dtype), rng.integers(0, row.sizes[-1], size=n)


def our_run(row: Row, threads: int) -> tuple[Callable[[], object], int] | None:
    """A call that runs the row with the package, and the number of its steps."""
    import backprop as bp
    from backprop import kernels

    if row.kind in PRODUCTS:
        p, k = row.sizes
        rng = np.random.default_rng(0)
        x, weight, delta = (aligned(rng.standard_normal(shape), row.dtype) for shape in ((row.rows, p), (p, k), (row.rows, k)))
        bias = np.zeros(k, row.dtype)
        kernel: Any = kernels.active()
        if row.kind == "forward":
            return lambda: kernel.dense_forward(x, weight, bias, None, delta, "identity", 0.0), 1
        grad_weight = None if row.kind == "dX" else aligned(np.empty((p, k)), row.dtype)
        grad_x = None if row.kind == "dW" else aligned(np.empty((row.rows, p)), row.dtype)
        return lambda: kernel.dense_backward(x, weight, delta, grad_weight, None, grad_x), 1
    net = bp.mlp(list(row.sizes), activation=NETWORKS[row.sizes][0], dtype=row.dtype, seed=0)
    if row.kind == "predict":
        x, _ = data(row)
        return lambda: net.predict(x), 1
    trainer = bp.Trainer(net, loss="cross_entropy", optimizer=bp.Adam(lr=1e-6))
    if row.kind == "step":
        x, y = data(row)
        return lambda: trainer.step(x, y), 1
    flops = 6.0 * row.rows * sum(p * k for p, k in pairwise(row.sizes))
    steps = int(min(max(3e8 / flops, 2), 2000))
    x, y = data(row, steps)
    return lambda: trainer.fit(x, y, batch_size=row.rows, verbose=False), steps


def aligned(values: Any, dtype: str) -> Any:
    """A copy that begins at a cache line, as the arrays of a network do."""
    size = values.size * np.dtype(dtype).itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + size].view(dtype).reshape(values.shape)
    copy[...] = values
    return copy


def torch_run(row: Row, threads: int) -> tuple[Callable[[], object], int] | None:
    """The row with PyTorch, eager, as it is used for speed."""
    import torch

    dtype = getattr(torch, row.dtype)
    if row.kind in PRODUCTS:
        p, k = row.sizes
        x, weight, delta = (
            torch.randn(row.rows, p, dtype=dtype),
            torch.randn(p, k, dtype=dtype),
            torch.randn(row.rows, k, dtype=dtype),
        )
        a, grad_weight, grad_x = torch.empty_like(delta), torch.empty_like(weight), torch.empty_like(x)
        bias = torch.zeros(k, dtype=dtype)
        if row.kind == "forward":
            return lambda: torch.addmm(bias, x, weight, out=a), 1
        if row.kind == "dW":
            return lambda: torch.mm(x.T, delta, out=grad_weight), 1
        return lambda: torch.mm(delta, weight.T, out=grad_x), 1
    activation = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[NETWORKS[row.sizes][0]]
    layers: list[Any] = []
    for p, k in pairwise(row.sizes):
        layers += [torch.nn.Linear(p, k, dtype=dtype), activation()]
    net = torch.nn.Sequential(*layers[:-1])
    x, y = map(torch.from_numpy, data(row))
    if row.kind == "predict":
        net.requires_grad_(False)
        return lambda: net(x), 1
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-6, fused=True)
    loss = torch.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()

    return step, 1


def onnxruntime_run(row: Row, threads: int) -> tuple[Callable[[], object], int] | None:
    """The prediction with onnxruntime."""
    if row.kind != "predict":
        return None
    import onnx
    import onnxruntime

    nodes, tensors, rng = [], [], np.random.default_rng(0)
    for i, (p, k) in enumerate(pairwise(row.sizes)):
        last = i == len(row.sizes) - 2
        tensors.append(onnx.numpy_helper.from_array((rng.standard_normal((p, k)) / p**0.5).astype(row.dtype), f"w{i}"))
        tensors.append(onnx.numpy_helper.from_array(np.zeros(k, row.dtype), f"b{i}"))
        nodes.append(onnx.helper.make_node("Gemm", [f"a{i}", f"w{i}", f"b{i}"], ["y" if last else f"z{i}"]))
        if not last:
            nodes.append(onnx.helper.make_node(NETWORKS[row.sizes][0].title(), [f"z{i}"], [f"a{i + 1}"]))
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(row.dtype))
    ends = [
        onnx.helper.make_tensor_value_info(name, kind, [None, width])
        for name, width in (("a0", row.sizes[0]), ("y", row.sizes[-1]))
    ]
    graph = onnx.helper.make_graph(nodes, "network", ends[:1], ends[1:], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads == 1 else "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x, _ = data(row)
    return lambda: session.run(None, {"a0": x}), 1


# The comparison.


class Process:
    """A contestant at the other end of two pipes."""

    def __init__(self, name: str, threads: int, cpu: bool, environment: dict[str, str]) -> None:
        command = [sys.executable, __file__, "--contestant", name, "--threads", str(threads), *["--cpu"] * cpu]
        variables = {**os.environ, "OMP_NUM_THREADS": str(threads), **environment}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)
        self.loaded = self.answer()

    def answer(self) -> Any:
        """The next line of its output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a contestant has ended; its error is above")
        return json.loads(line)

    def time(self, row: Row, seconds: float) -> float:
        """The seconds that the row takes; infinite where the contestant cannot run it."""
        assert self.process.stdin is not None
        print(json.dumps([*row, seconds]), file=self.process.stdin, flush=True)
        answer = self.answer()
        return inf if answer is None else float(answer)

    def end(self) -> None:
        """Close its input and wait."""
        self.process.communicate()


def compare(arguments: argparse.Namespace) -> None:
    """Measure, and print a line for each row."""
    rows = [row for row in all_rows() if all(word in row.name for word in arguments.only)]
    isa = {"BACKPROP_ISA": arguments.isa} if arguments.isa else {}
    builds = {label: ("backprop", {"PYTHONPATH": folder, **isa}) for label, folder in labelled(arguments.folders)}
    needed = {"torch": ["torch"], "onnxruntime": ["onnxruntime", "onnx"]}
    peers = [name for name, modules in needed.items() if arguments.peers and all(map(find_spec, modules))]
    contestants = builds | {name: (name, {}) for name in peers}
    times = {label: dict.fromkeys(rows, inf) for label in contestants}
    for turn in range(arguments.rounds):
        running = {}
        for label, (name, environment) in contestants.items():
            running[label] = Process(name, arguments.threads, arguments.cpu, environment)
            if turn == 0:
                print(f"# {label}: {running[label].loaded}", flush=True)
        for i, row in enumerate(rows):
            for label in list(running) if (turn + i) % 2 else list(running)[::-1]:
                times[label][row] = min(times[label][row], running[label].time(row, arguments.seconds))
        for process in running.values():
            process.end()
    first, *others = builds
    print(f"{'':50} {first:>10}" + "".join(f" {label:>15}" for label in others) + "".join(f" {label:>12}" for label in peers))
    for row in rows:
        line = f"{row.name:50} {shown(row, times[first][row]):>10}"
        for label in others:
            line += f" {shown(row, times[label][row]):>10} {times[first][row] / times[label][row]:.2f}"
        for name in peers:
            line += f" {times[name][row] / times[[*builds][-1]][row]:10.2f} x" if times[name][row] < inf else ""
        print(line)
    for kind in sorted({row.kind for row in rows}):
        for label in others:
            ratios = [times[first][row] / times[label][row] for row in rows if row.kind == kind]
            mean = np.exp(np.mean(np.log(ratios)))
            print(f"# {kind}: {label} is {mean:.3f} times as fast on average, {min(ratios):.2f} to {max(ratios):.2f}")


def labelled(folders: list[str]) -> Iterator[tuple[str, str]]:
    """The folders with short names."""
    for i, folder in enumerate(folders):
        yield ("old", "new")[i] if len(folders) == 2 else f"build {i}", folder


def shown(row: Row, seconds: float) -> str:
    """The rate of a product, the time of anything else."""
    return f"{row.gflop / seconds:.1f} GF" if row.gflop else f"{1e6 * seconds:.2f} us"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="with a package each, at least two")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="rows whose name contains all of these words")
    parser.add_argument("--seconds", type=float, default=0.03, help="for each row, process and round")
    parser.add_argument("--rounds", type=int, default=3, help="of new processes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", help="x86-64, x86-64-v3 or x86-64-v4; by default the best")
    parser.add_argument("--peers", action="store_true", help="measure PyTorch and onnxruntime too, where they are installed")
    parser.add_argument("--cpu", action="store_true", help="processor time, of one thread, instead of elapsed time")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.contestant:
        contestant(arguments.contestant, arguments.threads, time.thread_time if arguments.cpu else time.perf_counter)
    elif len(arguments.folders) < 2:
        parser.error("at least two folders are needed")
    else:
        compare(arguments)


def test_builds_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    import backprop as bp

    folder = str(Path(bp.__file__).parents[1])
    main([folder, folder, "--only", "4-32-32-2", " 1 rows", "float32", "--rounds", "1", "--seconds", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line[0] not in " #"] == ["step", "fit", "predict"]


if __name__ == "__main__":
    main()
