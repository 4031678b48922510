"""Ctrl-C that waits for the end of a step, so that a network is never left half updated."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """Between `begin` and `end` Ctrl-C is put off until `end`; a second one is not.

    It takes effect inside ``with``, in the main thread, and where the program has no handler of its own for the signal.
    """

    def __init__(self) -> None:
        self._inside = False
        self._pending = False
        self._installed = False
        self._depth = 0

    def __enter__(self) -> Interrupts:
        """Handle the signal from now on."""
        self._depth += 1
        own_thread = threading.current_thread() is threading.main_thread()
        if own_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, *error: object) -> None:
        """Give the signal back, unless this run was called by another one, which is not over."""
        self._depth -= 1
        if self._depth:
            return
        if self._installed and signal.getsignal(signal.SIGINT) == self._handle:  # a callback may have set a handler
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._installed = self._inside = self._pending = False

    def begin(self) -> None:
        """Start what must not be interrupted."""
        self._inside = True

    def end(self) -> None:
        """Raise the KeyboardInterrupt that came meanwhile, if one did."""
        self._inside = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> Any:
        if not self._inside or self._pending:
            raise KeyboardInterrupt
        self._pending = True
