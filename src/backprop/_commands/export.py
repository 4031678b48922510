"""``backprop export``: a saved model as an ONNX model, a C file or a JavaScript module."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._files import check_outputs
from .._model_file import read_file
from ..ensemble import Ensemble
from ..export import c, js, onnx
from ..serialization import load
from ..tabular import TableModel

WRITERS: dict[str, Callable[..., object]] = {".onnx": onnx, ".c": c, ".js": js, ".mjs": js}
LOADERS: dict[str, Callable[[str], object]] = {"table": TableModel.load, "ensemble": Ensemble.load}
OPTIONS = {
    "opset": (".onnx",),
    "dtype": (".onnx",),
    "outputs": (".onnx",),
    "name": (".c",),
    "weights": (".c",),
    "buffers": (".c",),
}
"""The options of the command that are there for some suffixes only."""


def read_kind(path: str) -> str:
    """Return what a file holds: "model", "checkpoint", "table" or "ensemble"."""
    _, content = read_file(path)
    return str(content["kind"])


def run(arguments: argparse.Namespace) -> None:
    """Write the model to a file whose suffix says what becomes of it."""
    suffix = Path(arguments.out).suffix.lower()
    if suffix not in WRITERS:
        raise ValueError(f"{arguments.out}: the suffix must be one of {', '.join(WRITERS)}, got {suffix!r}")
    given = {name: value for name in OPTIONS if (value := getattr(arguments, name)) is not None}
    for name in given:
        if suffix not in OPTIONS[name]:
            raise ValueError(f"--{name} is for {', '.join(OPTIONS[name])} files, not for {arguments.out}")
    check_outputs([arguments.out], [arguments.model])
    try:
        model: Any = LOADERS.get(read_kind(arguments.model), load)(arguments.model)
        WRITERS[suffix](model, arguments.out, **given)
    except (ImportError, TypeError) as error:  # the package onnx is missing; the model has code of its own
        raise ValueError(str(error)) from error
    if not arguments.quiet:
        print(f"saved      {arguments.out}")
