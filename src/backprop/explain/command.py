"""The data sets of ``backprop explain``: by name, or from a file of rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..datasets import digits
from ..tabular import ClassTarget, TableEncoder, _fit
from ..tabular._csv import Options, read_table
from .toys import TOYS

_MOST_ROWS = 2000

_TASKS = {
    "xor": "The task, called xor: is exactly one of the two inputs positive? Class 1 means yes; no straight line can tell.",
    "circles": "The task: is a point of the plane in the disc (class 1) or in the ring around it (class 0)?",
    "spirals": "The task: on which of two spirals around each other does a point of the plane lie?",
    "digits": "The task: which digit is it, on an image of 8 times 8 pixels? Each pixel is an input.",
}


@dataclass(frozen=True)
class Task:
    """What to learn, and how to speak about it."""

    name: str
    task: str
    """In a sentence."""
    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    n_outputs: int
    loss: str
    hidden: tuple[int, ...]
    epochs: int
    class_names: tuple[str, ...] | None = None
    image_shape: tuple[int, int] | None = None


def load(name: str, target: str | None = None) -> Task:
    """Return what there is to learn in a data set.

    Parameters
    ----------
    name : str
        "xor", "circles", "spirals", "digits", or a file that ``backprop train`` reads; of a large one a sample.
    target : str, optional
        The column of a file to predict; by default the last one.

    Raises
    ------
    ValueError
        If there is no such data set, or the file cannot be read or has no such column; if a data set is given a target.
    """
    if target is not None and (name in TOYS or name == "digits"):
        raise ValueError(f"target names a column of a CSV file; data {name!r} has none")
    if name in TOYS:
        x, y = TOYS[name]()
        hidden, epochs = {"xor": ((4, 4), 200), "circles": ((4, 4), 200), "spirals": ((8, 8), 500)}[name]
        return Task(name, _TASKS[name], x, y[:, None], 1, "binary_cross_entropy", hidden, epochs)
    if name == "digits":
        (images, labels), _ = digits()
        names = tuple("0123456789")
        return Task(
            "handwritten digits", _TASKS[name], images[:800], labels[:800], 10, "cross_entropy", (16, 16), 30, names, (8, 8)
        )
    if not Path(name).suffix and not Path(name).exists():
        raise ValueError(f"data must be {', '.join([*TOYS, 'digits'])} or a CSV file, got {name!r}")
    return _load_rows(name, target)


_load = load  # its name before it was public


def _load_rows(path: str, target: str | None) -> Task:
    """A file of rows, read as ``backprop train`` reads it; of a large one a sample in which classes have their shares."""
    table = read_table(path, Options())
    column = list(table)[-1] if target is None else target
    if column not in table:
        raise ValueError(f"target must be one of the columns {', '.join(table)}, got {target!r}")
    source = _fit.read_source(table, column)
    rows = np.arange(len(source.y))
    if len(rows) > _MOST_ROWS:
        _, rows = _fit.divide(source, _MOST_ROWS / len(rows), seed=0)
    encoder = TableEncoder.fit(source.features, rows=source.rows)
    sample = {feature.name: source.features[feature.name].take(source.rows[rows]) for feature in encoder.features}
    x: npt.NDArray[Any] = encoder.transform(sample, np.float64)
    inputs = ", ".join(encoder.names[:4]) + (", ..." if len(encoder.names) > 4 else "")
    sentence = f"The task: {column}, from {inputs}, of {Path(path).name}; numbers are standardised."
    classes = source.target.classes if isinstance(source.target, ClassTarget) else None
    loss = "mse" if classes is None else "cross_entropy"
    return Task(Path(path).name, sentence, x, source.y[rows], source.target.n_outputs, loss, (4, 4), 100, classes)
