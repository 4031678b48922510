"""What a training run has recorded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ._html import line_chart
from .metrics import better_is

__all__ = ["History"]


def __dir__() -> list[str]:
    return sorted(__all__)


class History(Mapping[str, list[float]]):
    """The numbers of each epoch: ``history["val_loss"]`` is a list with one entry per epoch.

    The keys are Keras': ``loss`` and the metrics over the training data (means over the epoch, in training mode), the same with
    ``val_`` over the validation data (at the end of the epoch, in evaluation mode), and ``lr``.

    Attributes
    ----------
    epoch : list of int
        The number of each epoch, counted from 0 over the life of the trainer.
    history : dict of str to list of float
        The same numbers as a plain dict.

    Examples
    --------
    >>> history = History()
    >>> history.append(0, {"loss": 0.5, "val_loss": 0.6})
    >>> history.append(1, {"loss": 0.3, "val_loss": 0.7})
    >>> history["loss"], history.best("val_loss")
    ([0.5, 0.3], 0)
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def append(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Add the numbers of an epoch; a key that it lacks, or that earlier epochs lack, is NaN there.

        Parameters
        ----------
        epoch : int
            Its number.
        logs : mapping of str to float
            Its numbers, by key.
        """
        for key in logs:
            self.history.setdefault(key, [math.nan] * len(self.epoch))
        self.epoch.append(epoch)
        for key, values in self.history.items():
            values.append(logs.get(key, math.nan))

    def best(self, key: str, mode: str = "auto") -> int:
        """Return the number of the epoch with the best value of a key.

        Parameters
        ----------
        key : str
        mode : {"auto", "min", "max"}
            Whether lower or higher is better; "auto" goes by the name, see `metrics.better_is`.

        Raises
        ------
        KeyError
            If the history does not have the key.
        ValueError
            If "auto" does not know the metric, or the value is NaN in every epoch.
        """
        values = self[key]
        pick = min if better_is(key, mode) == "min" else max
        known = [value for value in values if value == value]
        if not known:
            raise ValueError(f"{key} has no best epoch: it is NaN in every epoch")
        return self.epoch[values.index(pick(known))]

    def __getitem__(self, key: str) -> list[float]:
        """Return the values of a key, epoch by epoch."""
        return self.history[key]

    def __iter__(self) -> Iterator[str]:
        """Go through the keys."""
        return iter(self.history)

    def __len__(self) -> int:
        """Return the number of keys; ``len(history.epoch)`` is the number of epochs."""
        return len(self.history)

    def plot(self, *args: Any, **options: Any) -> Any:
        """Draw the learning curves; see `backprop.explain.plots.learning_curves`.

        Parameters
        ----------
        *args, **options : Any
            What `learning_curves` takes beside the history: ``metric``, ``ax``.
        """
        from .explain.plots import learning_curves

        return learning_curves(self, *args, **options)

    def _repr_html_(self) -> str:
        """Return the curves for a notebook."""
        pairs = [(key, f"val_{key}") for key in self.history if not key.startswith("val_") and key != "lr"]
        charts = (line_chart({key: self.history[key] for key in pair if key in self.history}) for pair in pairs)
        return f"<div>{''.join(charts)}</div>" if self.epoch else "<p>History of no epochs</p>"

    def __repr__(self) -> str:
        """Return the last value of each key."""
        last = ", ".join(f"{key}={values[-1]:.4g}" for key, values in self.history.items())
        return f"History({len(self.epoch)} epochs{': ' if last else ''}{last})"
