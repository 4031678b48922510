"""What a step costs, counted and not timed: instructions and allocations, by running under valgrind's callgrind.

Counts hold on a busy machine. The bounds are two to three times what there is, so that compilers may differ, and a step that
goes back to Python, to NumPy or to the allocator, or a product that leaves its registers, does not pass.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from backprop import kernels

with kernels.use_backend("cython" if "cython" in kernels.available() else "numpy"):
    ISA = kernels.backend().isa

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed"),
    pytest.mark.skipif("cython" not in kernels.available(), reason="the compiled extension is not installed"),
    pytest.mark.skipif(ISA == "plain", reason="compiled without vectors, where speed is not the point"),
]

# Callgrind writes what it has counted since the last time whenever getppid is called.
SCRIPT = """
import os
import numpy as np
import backprop as bp
from backprop import kernels
from backprop._training import epochs

epochs.LONG_ENOUGH = 60.0  # seconds of a slice of steps: valgrind, and a busy machine, would make slices of few steps
bp.set_num_threads(1)
rng = np.random.default_rng(0)

def trainer_of(sizes, activation):
    net = bp.mlp(sizes, activation=activation, seed=0)
    return bp.Trainer(net, loss="cross_entropy", optimizer=bp.Adam(lr=1e-3))

def count(call, *arguments):
    call(*arguments)
    os.getppid()
    call(*arguments)
    os.getppid()

def rows(sizes, n):
    return rng.standard_normal((n, sizes[0]), np.float32), rng.integers(0, sizes[-1], size=n)

sizes = [4, 32, 32, 2]
trainer = trainer_of(sizes, "tanh")
for n in (200, 400):
    x, y = rows(sizes, n)
    count(lambda: trainer.fit(x, y, batch_size=1, verbose=False))
    count(lambda: [trainer.step(x[:1], y[:1]) for _ in range(n)])
    count(lambda: [trainer.net.predict(x[:1]) for _ in range(n)])
sizes = [64, 128, 64, 10]
trainer = trainer_of(sizes, "relu")
for n in (20, 40):
    x, y = rows(sizes, 32 * n)
    count(lambda: trainer.fit(x, y, batch_size=32, verbose=False))
x, weight = np.ones((128, 784), np.float32), np.ones((784, 256), np.float32)
z = np.empty((128, 256), np.float32)
for n in (1, 2):
    count(lambda: [kernels.active().dense_forward(x, weight, None, None, z, "identity", 0.0) for _ in range(n)])
"""

ALLOCATORS = ("malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign")


class Count(NamedTuple):
    """Instructions, and calls of the allocators: all, and those from the extension."""

    instructions: float
    allocations: float
    own_allocations: float


def _read(path: Path) -> Count:
    """Count what one of callgrind's files tells: a name is written out once, as ``(number) name``, and is a number afterwards."""
    instructions = allocations = own = 0
    names: dict[str, str] = {}
    where: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if found := re.match(r"(c?)(ob|fn)=(\(\d+\))(?: (.+))?", line):
            called, kind, number, name = found.groups()
            if name:
                names[kind + number] = name
            where[called + kind] = names[kind + number]
        elif line.startswith("calls=") and where["cfn"] in ALLOCATORS:
            calls = int(line[6:].split()[0])
            allocations += calls
            own += calls * ("backprop/_core" in where["ob"])  # NumPy has a folder _core, too
        elif found := re.match(r"(?:summary|totals): (\d+)", line):
            instructions = int(found[1])
    return Count(instructions, allocations, own)


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Count]:
    """The cost of a step of each kind: the difference between many and few, divided by the difference of their numbers."""
    folder = tmp_path_factory.mktemp("callgrind")
    (folder / "script.py").write_text(SCRIPT)
    options = ["--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={folder}/out", "--separate-callers=0"]
    environment = {
        "PYTHONHASHSEED": "0",
        "BACKPROP_BACKEND": "cython",
        "PYTHONPATH": ":".join(sys.path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = ["valgrind", *options, sys.executable, str(folder / "script.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    files = sorted(folder.glob("out.*"), key=lambda path: int(path.suffix[1:]))
    counts = [_read(path) for path in files[1:16:2]]  # the others hold what lies between
    few = {"fit": (0, 3, 200), "step": (1, 4, 200), "predict": (2, 5, 200), "fit of 32 rows": (6, 7, 20)}
    product = (*[_read(path) for path in files[17:20:2]], 1)
    pairs = {name: (counts[first], counts[second], steps) for name, (first, second, steps) in few.items()} | {"product": product}
    return {
        name: Count(*((b - a) / steps for a, b in zip(first, second, strict=True)))
        for name, (first, second, steps) in pairs.items()
    }


@pytest.mark.parametrize(("what", "most"), [("fit", 45_000), ("step", 90_000), ("predict", 20_000), ("fit of 32 rows", 1_500_000)])
def test_instructions(costs: dict[str, Count], what: str, most: int) -> None:
    """4-32-32-2 with one row; 64-128-64-10 with 32. A step of the layers one by one takes 800,000 instructions and more."""
    assert 1000 < costs[what].instructions < most


def test_products_stay_in_registers(costs: dict[str, Count]) -> None:
    """A fused multiply-add on AVX2 (callgrind knows no AVX-512) is 16 operations; one on SSE2 is two instructions for 8."""
    least = 3.5 if ISA in ("x86-64-v3", "x86-64-v4") else 1.5
    assert 2 * 128 * 784 * 256 / costs["product"].instructions > least


@pytest.mark.parametrize("what", ["fit", "step"])
def test_small_steps_allocate_nothing(costs: dict[str, Count], what: str) -> None:
    assert costs[what].allocations < 0.2


def test_kernels_of_a_step_allocate_nothing(costs: dict[str, Count]) -> None:
    """Under valgrind `fit` takes a few steps at a time and looks up between, in Python, which allocates."""
    assert costs["fit of 32 rows"].own_allocations < 0.5
    assert costs["product"].own_allocations == 1  # its workspace: such calls are seen
