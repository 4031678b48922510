"""Forks wait for updates, so that the parameters in the child of a fork are those of a whole step.

In the child, only the forking thread continues. If another thread were in the middle of an update at that moment, the child would
get parameters of which some are updated. Plans, which take whole steps without Python, have a guard of their own
(_kernels/core/team.pxi).
"""

from __future__ import annotations

import os
from threading import get_ident
from time import sleep

_NAP = 1e-4  # seconds between two looks
_inside: set[int] = set()  # threads that hold forks off
_forking: set[int] = set()  # threads that fork, or wait until they can


class _HeldOff:
    """What is done ``with`` it is done before a fork or after it.

    It has to end whatever the forking thread holds, so no code of the user's may run inside.
    """

    def __enter__(self) -> None:
        me = get_ident()
        _inside.add(me)
        while _forking:
            _inside.discard(me)
            sleep(_NAP)
            _inside.add(me)

    def __exit__(self, *error: object) -> None:
        _inside.discard(get_ident())


held_off = _HeldOff()


def _before_fork() -> None:
    me = get_ident()
    _forking.add(me)
    while _inside - {me}:  # the handler of a signal may fork in the middle of an update of its own thread
        sleep(_NAP)


def _after_fork_in_parent() -> None:
    _forking.discard(get_ident())


def _after_fork_in_child() -> None:
    _forking.clear()
    _inside.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
