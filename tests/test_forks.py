"""Forks beside training: the child gets networks as they are between two steps, and can use them at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from backprop import kernels

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

# What every program below begins with. A child ends with the number of the first check that fails, and 0 if none does.
BEGIN = """
import hashlib, os, sys, threading, time, warnings
import numpy as np
import backprop as bp
from backprop import kernels
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
kernels.chosen.set({backend!r})

class Same(bp.Layer):  # of no plan
    def forward(self, x, training):
        return x
    def backward(self, grad_outputs):
        return grad_outputs

def squared(outputs, targets):
    return float(np.mean((outputs - targets) ** 2)), 2 * (outputs - targets) / outputs.size

rng = np.random.default_rng(0)
x, y = rng.normal(size=(8, 64)).astype(np.float32), rng.normal(size=(8, 4)).astype(np.float32)

def trainer():
    layers = [bp.Dense(64, 2000, activation="relu"), bp.Dense(2000, 200), bp.Dense(200, 4)] + [Same()] * {custom_layer}
    return bp.Trainer(bp.Network(layers, seed=0), loss=squared if {custom_loss} else "mse", optimizer="adam")

def in_child(*checks):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    failed = len(checks) + 1
    try:
        failed = next((number for number, check in enumerate(checks, 1) if not check()), 0)
    finally:
        os._exit(failed)

def in_time(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began < 10
"""

# Two threads train; the parameters of each child are among those that the same training alone goes through.
BESIDE_TRAINING = """
STEPS, FORKS = 50, 20

def digest(net):
    return hashlib.blake2b(net.parameters.tobytes()).digest()

alone = trainer()
whole = {{digest(alone.net)}}
for _ in range(STEPS):
    alone.step(x, y)
    whole.add(digest(alone.net))

trainers = [trainer() for _ in range(2)]
failures = []

def train(place):
    with kernels.use_backend({backend!r}):
        while len(failures) < FORKS:
            trainers[place] = trainer()
            for _ in range(STEPS):
                trainers[place].step(x, y)

threads = [threading.Thread(target=train, args=(place,)) for place in range(2)]
for thread in threads:
    thread.start()
while len(failures) < FORKS:
    for one in trainers:
        failures.append(in_child(
            lambda: digest(one.net) in whole,
            lambda: in_time(lambda: one.net.predict(x)),
            lambda: in_time(lambda: one.step(x, y)),
            lambda: np.isfinite(one.net.parameters).all(),
        ))
for thread in threads:
    thread.join()
print(set(failures), all(digest(one.net) == digest(alone.net) for one in trainers))
"""

# The thread that forks is itself in the middle of a step, or between two.
INSIDE = """
failures = []

def forking(*arguments):
    failures.append(in_child(lambda: in_time(lambda: one.net.predict(x))))
    return squared(*arguments) if len(arguments) == 2 and isinstance(arguments[0], np.ndarray) else None

one = trainer()
one.fit(x, y, epochs=2, callbacks=[bp.LambdaCallback(on_train_batch_end=forking, on_epoch_end=forking)])
two = bp.Trainer(one.net, loss=forking)
two.step(x, y)
two.fit(x, y, epochs=2)
print(len(failures), set(failures))
"""

WAYS = {
    "by plan": {"backend": "cython", "custom_layer": 0, "custom_loss": False},
    "custom loss": {"backend": "cython", "custom_layer": 0, "custom_loss": True},
    "layer by layer": {"backend": "cython", "custom_layer": 1, "custom_loss": False},
    "numpy": {"backend": "numpy", "custom_layer": 0, "custom_loss": False},
}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, object]:
    """Each way a step can be taken."""
    if request.param["backend"] not in kernels.available():
        pytest.skip("the extension is not installed")
    return request.param


def said(program: str, way: dict[str, object]) -> str:
    code = (BEGIN + program).format(**way)
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_child_of_a_fork_beside_training_gets_a_whole_step_and_goes_on_at_once(way: dict[str, object]) -> None:
    assert said(BESIDE_TRAINING, way) == "{0} True"


def test_a_thread_may_fork_inside_a_callback_and_inside_a_loss(way: dict[str, object]) -> None:
    assert said(INSIDE, way) == "7 {0}"
