"""Ctrl-C in calls that take long: they end soon, and a network that is used again gives what it should."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.usefixtures("interruptible"), pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")]

# A call that is let goes on for 150 times as long as what is timed first.
PROGRAM = """
import os, signal, threading, time
import numpy as np
import backprop as bp

net = bp.mlp([16, 1024, 1024, 1024, 32], seed=0)
x = np.zeros((600_000, 16), np.float32)
y = np.zeros(len(x), np.int64)
sent = []

def interrupt():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

with bp.use_backend({backend!r}):
    net.predict(x[:1])
    began = time.monotonic()
    net.predict(x[:4000])
    unit = time.monotonic() - began
    threading.Timer(0.3, interrupt).start()
    try:
        {call}
    except KeyboardInterrupt:
        print((time.monotonic() - sent[0]) / unit)
    assert net.predict(x[:1]).shape == (1, 32)
    bp.Trainer(net, loss="cross_entropy").step(x[:1], y[:1])
"""

CALLS = {
    "predict": "net.predict(x)",
    "predict all rows at once": "net.predict(x, batch_size=len(x))",
    "predict into an array": "net.predict(x, np.empty((len(x), 32), np.float32))",
    "predict_proba": "net.predict_proba(x, link='softmax')",
    "evaluate": "net.evaluate(x, y, loss='cross_entropy')",
    "evaluate all rows at once": "net.evaluate(x, y, loss='cross_entropy', batch_size=len(x))",
    "jacobian": "net.jacobian(x[:5000])",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_ctrl_c_ends_a_long_call_soon(backend: str, call: str) -> None:
    """Soon is beside what the machine does meanwhile: it may have other work to do."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(backend=backend, call=call)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 50
