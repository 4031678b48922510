"""The choice of the backend that serves, and of its number of threads.

Two backends have all the kernels of `Kernels`: ``_core``, compiled from Cython, and ``_numpy``, whose functions are the contract:
the formula of each, what its arrays must be, and the rules that hold for all of them stand there.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, cast

from ._numpy import REFERENCE
from ._numpy import Kernels as Kernels
from ._types import SPAN as SPAN

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from . import _core

__all__ = ["Backend", "Kernels", "active", "available", "backend", "set_num_threads", "use_backend"]


def __dir__() -> list[str]:
    return sorted(__all__)


@dataclass(frozen=True)
class Backend:
    """The backend in use: its name, the instruction set it was compiled for, and the number of threads.

    Attributes
    ----------
    name : str
        "cython" or "numpy".
    isa : str
        The instruction set, such as "x86-64-v3"; "numpy" without compiled kernels.
    threads : int
        How many threads large steps run on.
    """

    name: str
    isa: str
    threads: int


def active() -> Kernels:
    """The kernels of the backend in use here: inside `use_backend` that one, elsewhere the default."""
    return _backends[chosen.get()]


class Compiled(Protocol):
    """What the compiled module has beside the kernels."""

    ISA: str
    ACTIVATIONS: dict[str, int]
    KINDS: dict[str, int]
    OPERATION: np.dtype[np.void]
    MOST_UPDATE_AGES: int
    Plan: type[_core.Plan]
    TrainingPlan: type[_core.TrainingPlan]

    def shuffle(self, order: npt.NDArray[np.intp], bit_generator: np.random.BitGenerator) -> None:
        """Shuffle numbers of rows as NumPy's generators do."""

    def parse_decimals(self, texts: list[Any], numbers: npt.NDArray[np.float64]) -> None:
        """Write the number that each text is, as float reads it."""

    def parse_padded_decimals(self, texts: npt.NDArray[np.uint8], numbers: npt.NDArray[np.float64]) -> int:
        """Do that for texts in the rows of a matrix, up to one that is no plain decimal; return how many rows were read."""


def compiled() -> Compiled | None:
    """The compiled module where it is the backend in use, else None: it has plans (`_plan`) beside the kernels."""
    if chosen.get() != "cython":
        return None
    core: Any = _backends["cython"]
    found: Compiled = core
    return found


def available() -> tuple[str, ...]:
    """The names of the backends that are installed."""
    return ("numpy", "cython") if _INSTALLED else ("numpy",)


def backend() -> Backend:
    """Which kernels serve now.

    Raises
    ------
    ValueError
        If BACKPROP_BACKEND, BACKPROP_ISA or BACKPROP_NUM_THREADS in the environment has a value that is not allowed. Every function
        that needs kernels raises it; importing the package does not.
    ImportError
        If the compiled extension is installed and cannot be loaded.

    Examples
    --------
    >>> import backprop as bp
    >>> with bp.use_backend("numpy"):
    ...     bp.backend()
    Backend(name='numpy', isa='numpy', threads=1)
    """
    core: Any = _backends[chosen.get()]
    return Backend("cython", core.ISA, core.num_threads()) if core is not REFERENCE else Backend("numpy", "numpy", 1)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Use ``"cython"`` or ``"numpy"`` kernels within a ``with`` block, in this thread or task only.

    Raises
    ------
    ValueError
        For another name, or for "cython" where the compiled extension is not installed.
    ImportError
        For "cython" where the extension is installed and cannot be loaded.
    """
    _checked_name(name, "backend")
    _backends[name]  # loads it
    token = chosen.set(name)
    try:
        yield
    finally:
        chosen.reset(token)


def set_num_threads(threads: int) -> None:
    """Set how many threads a training step, or a prediction of many rows, may use at most.

    Results do not depend on it, bit for bit. Python threads that train or predict at the same time share this number, and work too
    small to gain runs on one thread.

    Without a call, the number is BACKPROP_NUM_THREADS; or else the smallest of the first number in OMP_NUM_THREADS, the number of
    processors in the affinity mask, and the time that control groups (containers) leave the process, rounded up to whole
    processors.
    Where another library has loaded an OpenMP runtime, that runtime can lower the number: ``threadpoolctl``, joblib and
    ``torch.set_num_threads`` do so, for the threads that they limit and as long as they limit them. A forked process begins
    with 1.

    Raises
    ------
    TypeError, ValueError
        If it is not an integer from 1 up, or more than 1 where there are no threads: on the NumPy backend alone, or on a system
        without POSIX threads.

    Examples
    --------
    >>> import backprop as bp
    >>> threads = bp.backend().threads
    >>> bp.set_num_threads(1)
    >>> bp.backend().threads
    1
    >>> bp.set_num_threads(threads)
    """
    try:
        number = None if isinstance(threads, bool) else operator.index(threads)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"threads must be an integer, got {threads!r}")
    if _backends.refusal is not None:
        raise ValueError(_backends.refusal)
    _set_num_threads(number, "threads")


def _set_num_threads(threads: int, source: str) -> None:
    most, why = (_MOST_THREADS, "") if _INSTALLED else (1, "the compiled extension is not installed")
    core: Any = _backends.get("cython")
    if core is not None:
        most, why = core.most_threads()
    if not 1 <= threads <= most:
        raise ValueError(f"{source} must be from 1 to {most}{f' ({why})' if why else ''}, got {threads}")
    _backends.threads = threads
    if core is not None:
        core.set_num_threads(threads)


def _checked_name(name: str, source: str) -> str:
    if name not in ("cython", "numpy"):
        raise ValueError(f"{source} must be 'cython' or 'numpy', got {name!r}")
    if name not in available():
        raise ValueError(
            f"{source} 'cython' is not available: the compiled extension is not installed (reinstall with a C compiler present)"
        )
    return name


class _Backends(dict[str, Kernels]):
    """The backends by name. The compiled one is loaded when it is first looked up: NumPy alone needs no extension that loads.

    Attributes
    ----------
    threads
        What `set_num_threads` was given, for the compiled backend if it is loaded later.
    refusal
        What is wrong in the environment, so that no backend serves by default.
    """

    threads: int | None = None
    refusal: str | None = None

    def __missing__(self, name: str) -> Kernels:
        if name == _REFUSED:
            raise ValueError(self.refusal)
        from ._compiled import core

        if self.threads is not None:
            core.set_num_threads(min(self.threads, core.most_threads()[0]))
        self[name] = cast(Kernels, core)
        return self[name]


def _default() -> str:
    """Read the environment; return the backend that serves where the program has not chosen one."""
    name = os.environ.get("BACKPROP_BACKEND")
    if name is not None:
        _checked_name(name, "BACKPROP_BACKEND")
    if "BACKPROP_ISA" in os.environ and not _INSTALLED:
        raise ValueError("BACKPROP_ISA is set, but the compiled extension is not installed")
    if name is None and _INSTALLED:  # without vectors, NumPy is faster where it matters, in large products
        core: Any = _backends["cython"]
        name = "numpy" if core.ISA == "plain" else "cython"
    elif name == "cython":
        _backends[name]
    if "BACKPROP_NUM_THREADS" in os.environ:
        given = os.environ["BACKPROP_NUM_THREADS"]
        if not given.strip().isdecimal():
            raise ValueError(f"BACKPROP_NUM_THREADS must be a whole number from 1 up, got {given!r}")
        _set_num_threads(int(given), "BACKPROP_NUM_THREADS")
    return name or "numpy"


_MOST_THREADS = 1024  # as in _kernels/core/team.pxi
_REFUSED = ""  # the backend in use by default where the environment has no valid one
_INSTALLED = find_spec("backprop._core") is not None
_backends = _Backends(numpy=REFERENCE)
try:
    _name = _default()
except ValueError as error:  # an error of the first use: a program must be able to import the package and report it
    _name, _backends.refusal = _REFUSED, str(error)
chosen: ContextVar[str] = ContextVar("backend", default=_name)
"""The name of the backend in use; plans look here at every call."""
