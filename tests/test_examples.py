"""The examples run, and what they print is so."""

from __future__ import annotations

import re
import runpy
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backprop as bp

pytestmark = pytest.mark.once

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def example() -> Callable[[str], dict[str, Any]]:
    """What an example defines, by the example's name; its `main` is not run."""
    return lambda name: runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name)


def test_every_example_is_tested() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    untested = [path.name for path in EXAMPLES.glob("*.py") if f'example("{path.stem}")' not in tests and path.name not in tests]
    assert untested == []


def test_vanishing(example: Callable[[str], dict[str, Any]]) -> None:
    results = example("vanishing")["main"]()
    for depth in (4, 8):
        assert results["sigmoid", depth][0] < 0.01
        assert results["sigmoid", depth][1] < 0.3
        for activation in ("tanh", "relu"):
            assert results[activation, depth][0] > 0.3
            assert results[activation, depth][1] > 0.8


def test_exploding(example: Callable[[str], dict[str, Any]]) -> None:
    exploding = example("exploding")
    first, second, third = exploding["norms_without_clipping"]()
    assert first < second / 10 < third / 100
    explained = exploding["main"]()
    assert np.isnan(explained[None])
    assert explained[1.0] > 0.95
    assert explained[100.0] < 0.5


def test_optimizers(example: Callable[[str], dict[str, Any]]) -> None:
    numbers = example("optimizers")["main"]()
    assert numbers["steps"]["0.8"] < numbers["steps"]["0.5"] < numbers["steps"]["0.0"]
    assert numbers["travel"]["0.5"] < numbers["travel"]["0.0"] / 2
    assert numbers["ends"] == {"0.0": pytest.approx(0.95, abs=0.01), "0.9": pytest.approx(-1.05, abs=0.01)}
    assert max(numbers["best"]["Adam"], numbers["best"]["RMSprop"]) < 0.6 * numbers["best"]["SGD"]
    assert numbers["diverged"]["Adam"] == numbers["diverged"]["RMSprop"] == 0 < numbers["diverged"]["SGD"]


def test_learning_rates(example: Callable[[str], dict[str, Any]]) -> None:
    learning_rates = example("learning_rates")
    for lr in (0.01, 1.9, 2.1):
        assert learning_rates["roll_down"](lr) == pytest.approx((1 - lr) ** 10)
    results = learning_rates["main"]()
    assert results["0.0001"] < 0.2 > results["10"]
    assert results["0.1"] > 0.9
    assert results["suggested"] > 0.9
    assert 0.01 < results["suggestion"] < 2
    assert results["cosine"] > results["constant"]


def test_digits_is_healthy(example: Callable[[str], dict[str, Any]]) -> None:
    accuracy, report = example("digits")["main"]()
    assert accuracy > 0.95
    assert report.findings == ()


def test_regression_is_healthy(example: Callable[[str], dict[str, Any]]) -> None:
    regression = example("regression")
    error, inside, reports = regression["main"]()
    assert error < 0.1
    assert 0.75 < inside < 0.85
    assert [report.findings for report in reports] == [(), ()]
    net, _ = regression["train"]("mse", 1)
    assert bp.diagnose(net, *regression["data"](500, seed=0), optimizer="adam").findings == ()


def test_policy_is_healthy(example: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    policy = example("policy")
    watched: list[tuple[bp.Trainer, np.ndarray, np.ndarray]] = []
    step = bp.Trainer.step

    def watch(trainer: bp.Trainer, x: np.ndarray, y: np.ndarray, **weights: np.ndarray) -> float:
        watched.append((trainer, x, y))
        return step(trainer, x, y, **weights)

    monkeypatch.setattr(bp.Trainer, "step", watch)
    lengths = policy["main"]()
    assert np.mean(lengths[:5]) < 50
    assert np.mean(lengths[-10:]) > 180
    trainer, states, actions = watched[-1]
    assert bp.diagnose(trainer.net, states, actions, optimizer=trainer.optimizer).findings == ()


def write_idx(path: Path, array: np.ndarray) -> None:
    """A file in MNIST's format."""
    path.write_bytes(struct.pack(f">2xBB{array.ndim}I", 0x08, array.ndim, *array.shape) + array.tobytes())


def test_fashion_mnist_learns_from_mapped_files(tmp_path: Path, rng: np.random.Generator) -> None:
    looks = rng.integers(0, 256, (10, 28, 28))
    for part, count in (("train", 600), ("t10k", 200)):
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        images = (looks[labels] + rng.integers(0, 256, (count, 28, 28))) // 2
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", images.astype(np.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    command = [sys.executable, EXAMPLES / "fashion_mnist.py", tmp_path]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    accuracy = re.search(r"test accuracy ([\d.]+)", output)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.9
