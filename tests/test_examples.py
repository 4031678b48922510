"""The examples run, here on little data."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).parent.parent / "examples"


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
