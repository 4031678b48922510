"""Other libraries that do the same, each as its users would write it for speed, with data already in its own arrays.

A library that is not installed takes no part.
"""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from .kernel_cases import KernelCase
from .long_runs import LongRun
from .network_cases import NetworkCase
from .timing import Run


class NotOfferedError(Exception):
    """A library has no such thing, or it does not work here; the message says which, and is empty where that is no surprise."""


class Peer(Protocol):
    """A library. What it does not offer raises `NotOfferedError`."""

    def step(self, case: NetworkCase) -> Run:
        """Make one training step, ready to be timed; it returns the loss."""

    def epoch(self, case: LongRun) -> Run:
        """Make one epoch of training, ready to be called again and again: each continues where the last one ended."""

    def predict(self, case: NetworkCase) -> Run:
        """Make one prediction, ready to be timed; it returns the outputs."""

    def kernel(self, case: KernelCase, size: str) -> Run:
        """Make one call of what does the work of a kernel, ready to be timed."""


_PEERS = {  # name: the module of ours, its class, what must be installed
    "NumPy by hand": ("_numpy", "NumPy", ["numpy"]),
    "PyTorch": ("_pytorch", "PyTorch", ["torch"]),
    "torch.compile": ("_pytorch", "CompiledPyTorch", ["torch"]),
    "JAX": ("_jax", "Jax", ["jax"]),
    "scikit-learn": ("_sklearn", "ScikitLearn", ["sklearn"]),
    "onnxruntime": ("_onnxruntime", "OnnxRuntime", ["onnxruntime", "onnx"]),
}
NAMES = list(_PEERS)


def installed_peers(threads: int, *, compile_pytorch: bool = False) -> dict[str, Peer]:
    """The libraries that are installed, set to use this number of threads; `torch.compile`, which takes long, only on demand."""
    _limit_threads(threads)
    peers: dict[str, Peer] = {}
    for name, (module, make, needed) in _PEERS.items():
        if all(map(find_spec, needed)) and (compile_pytorch or name != "torch.compile"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what others warn of when they are imported is not ours to show
                peers[name] = getattr(import_module(f".{module}", __package__), make)(threads)
    return peers


def _limit_threads(threads: int) -> None:
    """What must be said before a library is loaded, and to NumPy's BLAS, which scikit-learn uses too."""
    os.environ["NPROC"] = str(threads)  # JAX's
    if threads == 1:
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    if find_spec("threadpoolctl"):
        import_module("threadpoolctl").threadpool_limits(threads, user_api="blas")
