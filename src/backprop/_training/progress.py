"""Progress bars: tqdm's, on a terminal or in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def make_bar(verbose: bool | None, total: int | None, unit: str) -> Any:
    """Return a bar, or None where none is to be shown; a notebook gets one of its own kind."""
    if not (verbose or (verbose is None and (_on_terminal() or in_notebook()))):
        return None
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    return tqdm(total=total, unit=unit, dynamic_ncols=True)


@contextmanager
def progress_bar(verbose: bool | None, total: int, unit: str) -> Iterator[Callable[[], None]]:
    """Show a bar for some work; what it yields is to be called after each part."""
    bar = make_bar(verbose, total, unit)
    try:
        yield (lambda: None) if bar is None else (lambda: bar.update() and None)
    finally:
        if bar is not None:
            bar.close()


def in_notebook() -> bool:
    """Whether the program is a notebook's kernel, which shows what it is given as a page."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


class Progress:
    """A bar over all steps of a run that says which epoch it is and how the last one went.

    Parameters
    ----------
    verbose : bool or None
        None shows the bar if standard error is a terminal, or in a notebook.
    epochs : int
    steps : int or None
        The number of steps in an epoch, where it is known.
    """

    def __init__(self, verbose: bool | None, epochs: int, steps: int | None) -> None:
        self._epochs = epochs
        self._bar = make_bar(verbose, None if steps is None else epochs * steps, "step")

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
