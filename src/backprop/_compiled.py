"""The compiled kernels: importing this module loads the extension, the best instruction set that is installed and runs here."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ._processors import default_threads, openmp_default

_LEVELS = {"x86-64-v3": "backprop._core_v3", "x86-64-v4": "backprop._core_v4"}  # compiled from the source of _core, better last


def _load(name: str) -> Any:
    """Load an extension module.

    A damaged installation is an error: if NumPy served instead, it would look like a slow one.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"the compiled extension of backprop cannot be loaded: {error}. Install the library that is missing, or install "
            "backprop again; BACKPROP_BACKEND=numpy in the environment uses NumPy instead",
            name=name,
            path=error.path,
        ) from error


def _load_best() -> Any:
    """Load the baseline, which knows the processor, and what BACKPROP_ISA names or else the best level."""
    core = _load("backprop._core")
    usable = {core.ISA: "backprop._core"}
    if core.ISA == "x86-64":
        best = f"x86-64-v{core.PROCESSOR_LEVEL}"
        usable |= {isa: name for isa, name in _LEVELS.items() if isa <= best and find_spec(name)}
    isa = os.environ.get("BACKPROP_ISA", list(usable)[-1])
    if isa not in usable:
        raise ValueError(f"BACKPROP_ISA must be one of those that are installed and run here, {', '.join(usable)}, got {isa!r}")
    return _load(usable[isa])


core = _load_best()
core.set_openmp_default(openmp_default())
core.set_num_threads(min(default_threads(), core.most_threads()[0]))
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=core.before_fork, after_in_parent=core.after_fork_in_parent, after_in_child=core.after_fork_in_child)
