"""Denormal numbers are zeros inside a plan, and the processor mode of the caller is its own again afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import backprop as bp
from backprop import kernels

pytestmark = [
    pytest.mark.skipif("cython" not in kernels.available(), reason="the compiled extension is not installed"),
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"), reason="no such mode here"),
]


@pytest.fixture(autouse=True)
def compiled() -> Iterator[None]:
    """The subject is the compiled backend, whichever serves by default."""
    with bp.use_backend("cython"):
        yield


def keeps_denormals() -> bool:
    """Whether this thread computes with them."""
    smallest = sys.float_info.min
    return smallest / 4 != 0 and smallest / 4 * 4 == smallest


def rows(n: int, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 6)).astype(dtype), rng.normal(size=(n, 2)).astype(dtype)


def trained() -> bp.Trainer:
    return bp.Trainer(bp.mlp([6, 8, 2], seed=0), loss="mse", optimizer="adam")


def diverging() -> None:
    trainer = bp.Trainer(bp.mlp([6, 8, 2], activation="identity", seed=0), loss="mse", optimizer=bp.SGD(1e30))
    trainer.step(*rows(20))
    with pytest.raises(bp.DivergenceError):
        trainer.step(*rows(20))


def raising_in_a_callback() -> None:
    def fail(*state: object) -> None:
        assert keeps_denormals()
        raise LookupError

    with pytest.raises(LookupError):
        trained().fit(*rows(20), epochs=2, callbacks=[bp.LambdaCallback(on_epoch_end=fail)])


def with_a_custom_loss() -> None:
    def loss(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        assert keeps_denormals()
        return float(np.mean((outputs - targets) ** 2)), 2 * (outputs - targets) / outputs.size

    bp.Trainer(bp.mlp([6, 8, 2], seed=0), loss=loss).step(*rows(20))


def by_hand() -> None:
    net = bp.mlp([6, 8, 2], seed=0)
    net.backward(net.forward(rows(20)[0], training=True))
    net.jacobian(rows(3)[0])


def refused() -> None:
    with pytest.raises(ValueError, match="x must"):
        trained().step(rows(20)[0][:, :5], rows(20)[1])


CALLS: dict[str, Callable[[], object]] = {
    "step": lambda: trained().step(*rows(20)),
    "a large step": lambda: trained().step(*rows(5000)),
    "fit": lambda: trained().fit(*rows(20), epochs=3, batch_size=8),
    "predict": lambda: bp.mlp([6, 8, 2], seed=0).predict(rows(20)[0]),
    "predict many rows": lambda: bp.mlp([6, 8, 2], seed=0).predict(rows(20_000)[0], batch_size=20_000),
    "by hand": by_hand,
    "custom loss": with_a_custom_loss,
    "divergence": diverging,
    "exception in a callback": raising_in_a_callback,
    "refused": refused,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_caller_keeps_denormals_after_every_call(call: Callable[[], object]) -> None:
    call()
    assert keeps_denormals()


@contextlib.contextmanager
def flushing() -> Iterator[Callable[[], int]]:
    """Set FTZ and DAZ for this thread; yields a function that reads the control word."""
    libm = ctypes.CDLL("libm.so.6")
    environment = (ctypes.c_uint32 * 8)()  # fenv_t of glibc on x86-64: the x87 part, then MXCSR

    def control() -> int:
        libm.fegetenv(environment)
        return environment[7] & 0xFFC0

    before = control()
    environment[7] |= 0x8040
    libm.fesetenv(environment)
    try:
        yield control
    finally:
        control()
        environment[7] = before
        libm.fesetenv(environment)


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="reads glibc's fenv_t of x86-64")
@pytest.mark.parametrize("name", ["step", "fit", "predict", "divergence"])
def test_the_control_word_of_the_caller_is_unchanged(name: str) -> None:
    with flushing() as control:
        assert not keeps_denormals()
        before = control()
        CALLS[name]()
        assert control() == before


@pytest.mark.usefixtures("interruptible")
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_the_handler_of_a_signal_that_comes_during_predict_computes_as_the_caller_does() -> None:
    net, seen = bp.mlp([16, 512, 512, 2], seed=0), []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(keeps_denormals()))
    try:
        sender = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
        sender.start()
        stop = time.monotonic() + 20
        while not seen and time.monotonic() < stop:
            net.predict(np.zeros((40_000, 16), np.float32), batch_size=40_000)
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [True]
    assert keeps_denormals()


OPTIMIZERS: dict[str, Callable[[], bp.optimizers.Optimizer]] = {
    "sgd": lambda: bp.SGD(0.05, momentum=0.5, weight_decay=5.0),
    "rmsprop": lambda: bp.RMSprop(alpha=0.5, momentum=0.5),
    "adam": lambda: bp.Adam(betas=(0.5, 0.6)),
    "adamw": lambda: bp.AdamW(0.5, betas=(0.5, 0.6), weight_decay=1.0),
    "adamax": lambda: bp.Adamax(betas=(0.5, 0.6)),
    "nadam": lambda: bp.NAdam(betas=(0.5, 0.6)),
    "radam": lambda: bp.RAdam(betas=(0.5, 0.6)),
    "adadelta": lambda: bp.Adadelta(rho=0.5),
    "lion": lambda: bp.Lion(betas=(0.5, 0.6)),
}


@pytest.mark.parametrize(("dtype", "threads"), [("float32", 1), ("float32", 2), ("float64", 1)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_columns_that_become_zero_leave_no_denormal_state(
    optimizer: Callable[[], bp.optimizers.Optimizer], dtype: str, threads: int
) -> None:
    if threads > (os.cpu_count() or 1):
        pytest.skip("this machine has fewer processors")
    wide = 200 if threads > 1 else 8  # wide: so that a step is worth a second thread
    trainer = bp.Trainer(bp.mlp([6, wide, 2], dtype=dtype, seed=0), loss="mse", optimizer=optimizer())
    x, y = rows(20 if threads == 1 else 300, dtype)
    trainer.step(x, y)
    x[:, :3] = 0
    before = kernels.backend().threads
    kernels.set_num_threads(threads)
    try:
        trainer.fit(x, y, epochs=1400 if dtype == "float64" else 250, batch_size=len(x))
    finally:
        kernels.set_num_threads(before)
    for array in (trainer.net.parameters, *trainer.optimizer._moments.values()):
        size = np.abs(array)
        assert not ((size > 0) & (size < np.finfo(dtype).tiny)).any()
