"""Random networks, losses, optimizers and data: every way to train them comes to the same.

100 networks by default; BACKPROP_FUZZ says how many.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from random_networks import OPTIMIZERS, losses_of, random_network, targets_for

import backprop as bp
from backprop import kernels
from backprop.losses import Loss
from backprop.network import Network

SEEDS = range(int(os.environ.get("BACKPROP_FUZZ", "100")))
STEADY = OPTIMIZERS[:-2]  # the last two step by the sign of the gradient, which makes a whole step of rounding
WORK = 4e6  # operations in a step that several threads share

compiled = pytest.mark.skipif(kernels.compiled() is None, reason="the compiled extension is not installed")


class Case(NamedTuple):
    """Something to train, in float64 unless said otherwise."""

    net: Network
    loss: Loss
    optimizer: Any
    x: np.ndarray
    y: np.ndarray
    batch_size: int
    options: dict[str, Any]  # of the trainer
    weight: np.ndarray | None

    def trainer(self) -> bp.Trainer:
        """A new one, of a copy of the network."""
        return bp.Trainer(self.net.copy(), loss=self.loss, optimizer=self.optimizer(), **self.options)


def make(seed: int, dtype: str = "float64", optimizers: list[Any] = OPTIMIZERS, rows: int | None = None) -> Case:
    """The case of a seed."""
    rng = np.random.default_rng([7, seed])
    outputs = int(rng.choice([2, 3, 17, 40]))
    net = random_network(seed, dtype, outputs)
    losses = losses_of(outputs)
    loss = losses[rng.integers(len(losses))]
    options: dict[str, Any] = dict([{}, {"clip_norm": 0.5}, {"clip_value": 0.01}][rng.integers(3)])
    batch_size = int(rng.integers(2, 12))
    if rows is None:
        rows = batch_size * int(rng.integers(1, 4)) + int(rng.choice([0, min(2, batch_size - 1) + 1]))
    y = targets_for(loss, outputs, rows, soft=bool(rng.integers(2)))
    weight = np.append(1.0, rng.choice([0.0, 1.0, 2.5], rows - 1)) if rng.integers(3) == 0 else None
    x = rng.normal(size=(rows, net.n_inputs)).astype(dtype)
    return Case(net, loss, optimizers[rng.integers(len(optimizers))], x, y, batch_size, options, weight)


def state(trainer: bp.Trainer) -> list[Any]:
    """All that training has changed, but for the number of epochs."""
    net, moments = trainer.net, trainer.optimizer.state_dict()
    del moments["epoch"]
    entries = [sorted(entry.items()) if isinstance(entry, dict) else entry for _, entry in sorted(moments.items())]
    return [net.parameters, net.buffers, net.dropout_step, *entries]


def assert_same(one: list[Any], other: list[Any]) -> None:
    """Bit for bit."""
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)


def assert_close(first: Any, second: Any) -> None:
    """But for rounding, which normalizations and optimizers make larger where a gradient is 0 but for rounding."""
    if isinstance(first, list):
        assert first == second
        return
    np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-6 * max(1.0, np.abs(first).max(initial=0)))


def diverges(train: Callable[..., object], *arguments: Any, **options: Any) -> bool:
    """Train; whether it breaks off."""
    try:
        with np.errstate(over="ignore"):  # before that, metrics of the NumPy backend may overflow
            train(*arguments, **options)
    except bp.DivergenceError:
        return True
    return False


@pytest.mark.parametrize("seed", SEEDS)
def test_the_plan_is_layer_by_layer_is_the_twin(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make(seed, optimizers=STEADY)
    found: list[tuple[Any, ...]] = []
    for way in ("plan", "layer by layer", "numpy"):
        with monkeypatch.context() as patch, bp.use_backend("numpy" if way == "numpy" else kernels.backend().name):
            if way == "layer by layer":
                patch.setattr(Network, "_ready_plan", lambda self: None)
            trainer = case.trainer()
            net = trainer.net
            outputs = net.forward(case.x, training=True)
            grad_x = net.backward(np.sin(outputs))
            gradients = net.gradients.copy()
            options = {"batch_size": case.batch_size, "sample_weight": case.weight, "seed": seed, "shuffle": seed % 3 > 0}
            diverged = diverges(trainer.fit, case.x, case.y, epochs=2, **options)
            found.append((outputs, grad_x, gradients, diverged, net.predict(case.x), *state(trainer)))
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            assert_close(first, second)


@pytest.fixture
def restored_threads() -> Iterator[None]:
    threads = bp.backend().threads
    yield
    bp.set_num_threads(threads)


@compiled
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("restored_threads")
def test_bits_do_not_depend_on_the_number_of_threads(seed: int) -> None:
    dtype = ("float32", "float64")[seed % 2]
    operations = sum(2 * layer.weight.size for _, layer in make(seed, dtype).net._named if isinstance(layer, bp.Dense))
    rows = int(WORK / 3 / operations) + 1
    if rows > 5000:
        return  # so narrow that no thread helps
    case = make(seed, dtype, rows=rows)

    def trained(threads: int) -> list[Any]:
        bp.set_num_threads(threads)
        trainer = case.trainer()
        options = {"epochs": 2, "batch_size": rows, "sample_weight": case.weight, "seed": seed}
        diverged = diverges(trainer.fit, case.x, case.y, **options)
        outputs = trainer.net.forward(case.x, training=True)
        return [diverged, outputs, trainer.net.backward(outputs), trainer.net.predict(case.x), *state(trainer)]

    one = trained(1)
    for threads in (2, 3):
        assert_same(trained(threads), one)


@pytest.mark.parametrize("seed", SEEDS)
def test_steps_are_a_fit(seed: int, backend: str) -> None:
    case = make(seed, ("float32", "float64")[seed % 2])
    fitted, stepped = case.trainer(), case.trainer()

    def steps() -> None:
        for start in range(0, len(case.x), case.batch_size):
            rows = slice(start, start + case.batch_size)
            stepped.step(case.x[rows], case.y[rows])

    diverged = diverges(fitted.fit, case.x, case.y, batch_size=case.batch_size, shuffle=False)
    assert diverges(steps) == diverged
    if not diverged:  # or `fit` undoes the update that did it
        assert_same(state(fitted), state(stepped))


@pytest.mark.parametrize("seed", SEEDS)
def test_training_goes_on_from_a_file(seed: int, backend: str, tmp_path: Path) -> None:
    case = make(seed, ("float32", "float64")[seed % 2])
    options = {"batch_size": case.batch_size, "sample_weight": case.weight, "seed": seed}
    trainer = case.trainer()
    diverges(trainer.fit, case.x, case.y, epochs=1, **options)
    trainer.save(tmp_path / "run.safetensors")
    again = bp.Trainer.load(tmp_path / "run.safetensors")
    diverged = [diverges(each.fit, case.x, case.y, epochs=1, **options) for each in (trainer, again)]
    assert diverged[0] == diverged[1]
    assert_same(state(again), state(trainer))
