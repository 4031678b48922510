"""A run of ``backprop train``: what it prints during training, and what it has made."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ..callbacks import Callback
from ..explain.importance import Importance
from ..optimizers import Optimizer
from ..tabular import Judgement, TableModel, _fit

Say = Callable[[str], None]

_SIGN_EVERY = 5.0  # seconds


class Progress(Callback):
    """Keeps the losses of the epochs, and where there is no terminal prints a line every few seconds."""

    def __init__(self, epochs: int, say: Say) -> None:
        self.epochs = epochs
        self.losses: list[float] = []
        self.training_losses: list[float] = []
        self.seconds = 0.0
        self.end = ""  # why training ended
        self._say = say if not is_terminal() else silent
        self._began = self._told = time.monotonic()

    @property
    def best_epoch(self) -> int:
        """The number of the epoch with the lowest validation loss, from 1; 0 if there was none."""
        finite = [loss if loss == loss else np.inf for loss in self.losses]
        return 1 + int(np.argmin(finite)) if finite else 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Note the losses."""
        self.losses.append(logs["val_loss"])
        self.training_losses.append(logs["loss"])
        now = time.monotonic()
        self.seconds = now - self._began
        if now - self._told >= _SIGN_EVERY:
            self._told = now
            best = self.best_epoch
            self._say(
                f"epoch       {len(self.losses)} of at most {self.epochs}: validation loss {logs['val_loss']:.4g}, "
                f"best {self.losses[best - 1]:.4g} in epoch {best}; {self.seconds:.0f} s"
            )


class Run(NamedTuple):
    """What `train` has made."""

    model: TableModel
    source: _fit.Source
    prepared: _fit.Prepared
    progress: Progress
    validation: Judgement
    test: Judgement | None
    folds: list[Judgement]
    importance: Importance | None
    warnings: list[str]
    optimizer: Optimizer


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def silent(text: str) -> None:
    """Say nothing."""
