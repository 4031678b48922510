"""The progress bar of a training run: tqdm's, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


class Progress:
    """A bar over all steps of a run that says which epoch it is and how the last one went.

    Parameters
    ----------
    verbose : bool or None
        None shows the bar if standard error is a terminal.
    epochs : int
    steps : int or None
        The number of steps in an epoch, where it is known.
    """

    def __init__(self, verbose: bool | None, epochs: int, steps: int | None) -> None:
        self._epochs = epochs
        self._bar: Any = None
        if verbose or (verbose is None and sys.stderr is not None and sys.stderr.isatty()):
            from tqdm import tqdm  # type: ignore[import-untyped]

            self._bar = tqdm(total=None if steps is None else epochs * steps, unit="step", dynamic_ncols=True)

    def begin_epoch(self, index: int) -> None:
        """Show the number of the epoch, which counts from 0 within the run."""
        if self._bar is not None:
            self._bar.set_description(f"epoch {index + 1}/{self._epochs}", refresh=False)

    def advance(self, steps: int) -> None:
        """Move on by some steps."""
        if self._bar is not None:
            self._bar.update(steps)

    def end_epoch(self, logs: Mapping[str, float]) -> None:
        """Show the numbers of the epoch."""
        if self._bar is not None:
            self._bar.set_postfix({key: f"{value:.4g}" for key, value in logs.items() if key != "lr"}, refresh=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
