"""Steps that wait for an update: a plan adds up their gradients as the trainer does layer by layer."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from random_networks import OPTIMIZERS, losses_of, random_network, targets_for

import backprop as bp
from backprop import kernels
from backprop.network import Network

pytestmark = pytest.mark.skipif(kernels.compiled() is None, reason="plans are the compiled backend's")

Found = dict[str, Any]


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Found]], tuple[Found, Found]]:
    """What a function finds by plan, and layer by layer."""

    def run(train: Callable[[], Found]) -> tuple[Found, Found]:
        planned = train()
        with monkeypatch.context() as patch:
            patch.setattr(Network, "_ready_plan", lambda self: None)
            return planned, train()

    return run


def state(trainer: bp.Trainer) -> Found:
    net, (gathered, steps, weight) = trainer.net, trainer._accumulated_state()
    return {
        "parameters": net.parameters.copy(),
        "buffers": net.buffers.copy(),
        "gradients": net.gradients.copy(),
        "gathered": np.zeros(0) if gathered is None else gathered,
        "counts": (trainer.optimizer.steps, net.dropout_step, steps, weight, trainer.last_lr),
    }


def assert_same(planned: Found, other: Found, tolerance: float = 1e-9) -> None:
    assert planned.keys() == other.keys()
    for name, value in planned.items():
        np.testing.assert_allclose(value, other[name], rtol=tolerance, atol=tolerance, err_msg=name)


def network(dtype: str = "float64") -> Network:
    return bp.Network([bp.Dense(4, 5, activation="tanh"), bp.BatchNorm(5), bp.Dropout(0.3), bp.Dense(5, 3)], dtype=dtype, seed=0)


def data(rows: int = 9, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 4)).astype(dtype), rng.normal(size=(rows, 3)).astype(dtype)


@pytest.mark.parametrize(("rows", "batch_size"), [(23, 5), (9100, 4500)])  # the second: batches that are sliced
@pytest.mark.parametrize("case", range(24))
def test_fit_is_that_layer_by_layer(case, rows, batch_size, both):
    rng = np.random.default_rng(case)
    loss = losses_of(3)[case % len(losses_of(3))]
    if case % len(OPTIMIZERS) >= len(OPTIMIZERS) - 2:  # Lion and Rprop go by signs, also of what has cancelled
        loss = bp.losses.LogCosh()
    x = rng.normal(size=(rows, random_network(case).n_inputs))
    y = targets_for(loss, 3, rows, soft=case % 2 == 0)
    weight = np.where(np.arange(rows) < 7, 0.0, rng.choice([0.0, 1.0, 2.5], rows)) if case % 3 == 0 else None
    options = [{}, {"clip_norm": 0.5}, {"clip_value": 0.01}][case % 4 % 3] | ({"l2": 0.5} if case % 5 == 1 else {})

    def train() -> Found:
        trainer = bp.Trainer(
            random_network(case),
            loss=copy.deepcopy(loss),
            optimizer=OPTIMIZERS[case % len(OPTIMIZERS)](),
            accumulate_steps=2 + case % 3,
            **options,
        )
        history = trainer.fit(x, y, epochs=3, batch_size=batch_size, sample_weight=weight, shuffle=case % 4 == 3, seed=0)
        found = state(trainer)
        noise = np.abs(found.pop("gradients")) < 1e-14  # which some optimizers magnify
        found["parameters"][noise] = 0
        return found | dict(history.items())

    assert_same(*both(train), tolerance=1e-7)


@pytest.mark.parametrize("loss", ["mse", "mae", lambda outputs, targets: (float(outputs.sum()), np.ones_like(outputs))])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_steps_are_those_layer_by_layer(loss, steps, dtype, both):
    x, y = data(dtype=dtype.name)
    weights = [np.random.default_rng(seed).choice([0.0, 1.0, 2.5], 9) for seed in range(8)]
    weights[0][:] = weights[4][:] = weights[5][:] = 0

    def train() -> Found:
        trainer = bp.Trainer(network(dtype.name), loss=loss, optimizer=bp.SGD(0.1, momentum=0.9), accumulate_steps=steps, l2=0.1)
        found = {"losses": [trainer.step(x, y), trainer.step(x, y, sample_weight=np.ones(9))]} if isinstance(loss, str) else {}
        for number, weight in enumerate(weights):
            if isinstance(loss, str):
                found["losses"].append(trainer.step(x, y, sample_weight=weight))
            else:
                trainer.step(x[number:], y[number:])
            found |= {f"{name} {number}": value for name, value in state(trainer).items()}
        return found

    assert_same(*both(train), tolerance=1e-9 if dtype == np.float64 else 1e-4)


def test_gradients_that_are_given_wait_as_well(both):
    x, y = data()

    def train() -> Found:
        trainer = bp.Trainer(network(), loss="mse", optimizer="adam", accumulate_steps=3)
        found: Found = {}
        for number in range(5):
            outputs = trainer.forward(x)
            trainer.backward_step(outputs - y)
            found |= {f"{name} {number}": value for name, value in state(trainer).items()}
        return found

    assert_same(*both(train))


@pytest.mark.parametrize("weighted", [False, True])
def test_results_do_not_depend_on_how_many_steps_a_call_takes(weighted):
    x, y = data(60, "float32")
    weight = np.repeat([0.0, 1.0, 0.0, 0.0, 3.0, 1.0], 10) if weighted else None

    class EachStep(bp.callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            pass

    results = []
    for callbacks in ([], [EachStep()]):
        trainer = bp.Trainer(network("float32"), loss="mse", accumulate_steps=4, clip_norm=0.5)
        trainer.fit(x, y, batch_size=7, epochs=3, sample_weight=weight, callbacks=callbacks, seed=0)
        results.append(state(trainer))
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name], err_msg=name)


def test_results_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 64)).astype(np.float32), rng.integers(0, 10, 600)
    results = []
    before = kernels.backend().threads
    try:
        for threads in (1, 2, 3):
            bp.set_num_threads(threads)
            trainer = bp.Trainer(bp.mlp([64, 256, 128, 10], seed=0), loss="cross_entropy", accumulate_steps=3, clip_norm=0.5)
            trainer.fit(x, y, batch_size=100, epochs=3, sample_weight=np.where(np.arange(600) < 150, 0.0, 1.0), shuffle=False)
            results.append(state(trainer))
    finally:
        bp.set_num_threads(before)
    for other in results[1:]:
        for name, value in other.items():
            np.testing.assert_array_equal(value, results[0][name], err_msg=name)


@pytest.mark.parametrize("bad", ["loss", "gradient"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_divergence_leaves_what_it_leaves_layer_by_layer(bad, at, both):
    """A loss that is not finite leaves the steps before it; a gradient is looked at when the update is due, and ends them."""
    x, y = data()

    def diverging(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        wrong = targets[0, 0] > 1e3
        grad = np.full_like(outputs, np.inf if wrong and bad == "gradient" else 0.1)
        return (np.inf if wrong and bad == "loss" else 1.0), grad

    def train() -> Found:
        trainer = bp.Trainer(network(), loss=diverging, optimizer=bp.SGD(0.1), accumulate_steps=3)
        found: Found = {"errors": []}
        for number in range(5):
            diverges = number == (at if bad == "loss" else 2)
            with pytest.raises(bp.DivergenceError) if diverges else contextlib.nullcontext() as raised:
                trainer.step(x, np.full_like(y, 1e4) if number == at else y)
            found["errors"].append(raised.value.cause == bad if diverges else 0)
            current = state(trainer)
            del current["gradients"]
            found |= {f"{name} {number}": np.nan_to_num(value, posinf=9, neginf=-9) for name, value in current.items()}
        assert sum(found["errors"]) == 1
        return found

    assert_same(*both(train))


def test_a_loss_that_a_kernel_finds_infinite_leaves_the_steps_before_it(both):
    x, y = data()

    def train() -> Found:
        trainer = bp.Trainer(network(), loss="mse", optimizer=bp.SGD(0.1), accumulate_steps=3)
        trainer.step(x, y)
        with pytest.raises(bp.DivergenceError, match="the loss is inf"):
            trainer.step(x, np.full_like(y, 1e200))
        found = state(trainer)
        trainer.step(x, y)
        with pytest.raises(bp.DivergenceError, match="the loss is inf"):
            trainer.step(x, np.full_like(y, 1e200))
        trainer.step(x, y)
        return found | {f"{name} after": value for name, value in state(trainer).items()}

    planned, other = both(train)
    for found in (planned, other):
        del found["gradients"]  # those of the last backward
    assert_same(planned, other)


def test_accumulate_steps_may_change_while_steps_wait(both):
    x, y = data()

    def train() -> Found:
        trainer = bp.Trainer(network(), loss="mse", optimizer="adam", accumulate_steps=5)
        updates = []
        for steps in (5, 5, 5, 2, 1, 1, 3, 3, 1, 2, 2):
            trainer.accumulate_steps = steps
            trainer.step(x, y)
            updates.append(trainer.optimizer.steps)
        assert updates == [0, 0, 0, 1, 2, 3, 3, 3, 4, 4, 5]
        return state(trainer)

    assert_same(*both(train))


def test_layers_may_be_frozen_and_thawed_while_steps_wait(both):
    x, y = data()

    def train() -> Found:
        trainer = bp.Trainer(network(), loss="mse", optimizer="adam", accumulate_steps=3)
        found: Found = {}
        for number, trainable in enumerate((True, False, True, True, True, False, False, False, False)):
            trainer.net.layers[0].trainable = trainable
            trainer.step(x, y)
            found |= {f"{name} {number}": value for name, value in state(trainer).items()}
            if not trainable:
                assert not trainer.net.layers[0].grad_weight.any()
        return found

    assert_same(*both(train))


def test_the_learning_rate_counts_updates_and_is_that_of_the_last():
    x, y = data()
    trainer = bp.Trainer(network(), loss="mse", optimizer=bp.SGD(bp.schedules.Exponential(0.5, gamma=0.5)), accumulate_steps=2)
    rates = []
    for _ in range(7):
        trainer.step(x, y)
        rates.append(trainer.last_lr)
    assert rates == [0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_steps_that_wait_are_taken_up_by_a_copy_and_a_file(tmp_path):
    x, y = data()
    trainer = bp.Trainer(network(), loss="mse", accumulate_steps=3)
    for _ in range(4):
        trainer.step(x, y)
    trainer.save(tmp_path / "run")
    others = [copy.deepcopy(trainer), bp.Trainer.load(tmp_path / "run")]
    for each in (trainer, *others):
        for _ in range(4):
            each.step(x, y)
        assert each._step_plan is not None
    for other in others:
        for name, value in state(other).items():
            np.testing.assert_array_equal(value, state(trainer)[name], err_msg=name)
