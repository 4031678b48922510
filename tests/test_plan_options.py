"""An option that is assigned between two steps holds for the next one, in the existing plan.

Every option of every optimizer, loss, layer and of the trainer is changed; the steps afterwards are those of a fresh plan, bit for
bit.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import backprop as bp
from backprop import kernels, losses, optimizers
from backprop._settings import Options
from backprop._training import step
from backprop.network import Network

pytestmark = pytest.mark.skipif(kernels.compiled() is None, reason="plans are the compiled backend's")

OPTIMIZER_VALUES: dict[str, Any] = {  # another value of each option
    "lr": 0.05,
    "groups": {"*.bias": {"lr": 0.02, "weight_decay": 0.2}, "layers.0.*": {"l1": 0.01}},
    "weight_decay": 0.1,
    "decoupled": True,
    "l1": 0.01,
    "momentum": 0.5,
    "dampening": 0.25,
    "nesterov": True,
    "alpha": 0.5,
    "eps": 0.01,
    "centered": True,
    "lr_decay": 0.5,
    "initial_accumulator_value": 0.5,
    "rho": 0.5,
    "betas": (0.5, 0.75),
    "amsgrad": True,
    "eps_corrected": False,
    "momentum_decay": 0.25,
    "etas": (0.25, 1.5),
    "step_sizes": (0.02, 0.03),
}
LOSS_VALUES: dict[str, Any] = {
    "class_weight": [0.5, 1.0, 2.0],
    "label_smoothing": 0.25,
    "pos_weight": [1.0, 2.0, 0.5],
    "delta": 0.25,
    "q": 0.75,
    "gamma": 1.25,
}
LAYER_VALUES: dict[str, Any] = {"trainable": False, "activation": "softplus", "rate": 0.5, "eps": 0.5, "momentum": 0.5}
TRAINER_VALUES: dict[str, Any] = {
    "clip_norm": 1e-3,
    "clip_value": 1e-4,
    "l2": 0.5,
    "loss": "mae",
    "optimizer": "sgd",
    "accumulate_steps": 2,
    "on_gradients": lambda gradients: gradients.__imul__(0.5),
    "metrics": ["mae"],
}
UNUSED = {  # these do nothing after the first step, or not alone
    "initial_accumulator_value", "metrics", "comm", "init",
}  # fmt: skip
Change = Callable[[bp.Trainer], None]


def assignable(part: Options) -> list[str]:
    return [name for name, option in part._options.items() if not option.is_count and option.remedy is None]


def optimizer_of(kind: str) -> bp.optimizers.Optimizer:
    """An optimizer whose options all matter."""
    return bp.SGD(0.1, momentum=0.75, weight_decay=0.05) if kind == "sgd" else optimizers.get({"name": kind, "weight_decay": 0.05})


def changes() -> Iterator[Any]:
    """Every option with another value: the name, the loss, the optimizer, and how to assign it."""
    for kind in optimizers.NAMES:
        for name in assignable(optimizers.get(kind)):
            if name in UNUSED or (kind, name) == ("rprop", "lr"):  # which rprop begins with
                continue
            value = OPTIMIZER_VALUES[name]
            if getattr(optimizer_of(kind), name) == value:
                value = not value
            yield pytest.param("mse", kind, lambda t, n=name, v=value: setattr(t.optimizer, n, v), id=f"{kind}.{name}")
    for kind in losses.NAMES:
        for name in assignable(losses.get(kind)):
            if name != "class_weight" or kind == "cross_entropy":  # other losses take them from `fit` alone
                value = [0.1, 0.2, 0.9] if kind == "non_crossing_quantiles" else LOSS_VALUES[name]
                yield pytest.param(kind, "adam", lambda t, n=name, v=value: setattr(t.loss, n, v), id=f"{kind}.{name}")
    for index, layer in enumerate(network("float64").layers):
        for name in assignable(layer):
            if name not in UNUSED and (name != "trainable" or layer.n_parameters):
                assign = lambda t, i=index, n=name: setattr(t.net.layers[i], n, LAYER_VALUES[n])  # noqa: E731
                yield pytest.param("mse", "adam", assign, id=f"{index}.{type(layer).__name__}.{name}")
    for name in assignable(trainer("mse", "adam", "float64")):
        if name not in UNUSED:
            yield pytest.param("mse", "adam", lambda t, n=name: setattr(t, n, TRAINER_VALUES[n]), id=f"trainer.{name}")


def network(dtype: str) -> Network:
    layers = [
        bp.Dense(4, 6, activation="leaky_relu"),
        bp.BatchNorm(6),
        bp.Dropout(0.25),
        bp.Residual([bp.Dense(6, 6), bp.Activation("tanh"), bp.LayerNorm(6)]),
        bp.LayerNorm(6),
        bp.Dropout(0.1),
        bp.Dense(6, 3),
    ]
    return bp.Network(layers, dtype=dtype, seed=0)


def trainer(loss: str, optimizer: str, dtype: str) -> bp.Trainer:
    made = losses.NonCrossingQuantiles(q=[0.25, 0.5, 0.75]) if loss == "non_crossing_quantiles" else loss
    return bp.Trainer(network(dtype), loss=made, optimizer=optimizer_of(optimizer))


def data(loss: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 4)).astype(dtype)
    if loss in ("cross_entropy", "focal"):
        return x, rng.integers(0, 3, 9)
    if loss == "kl_divergence":
        return x, rng.dirichlet(np.ones(3), 9).astype(dtype)
    return x, rng.integers(0, 2, (9, 3)).astype(dtype)


def forget_plan(trainer: bp.Trainer) -> None:
    trainer.__dict__["_step_plan"] = None
    trainer.net._changed(False)


def state(trainer: bp.Trainer) -> dict[str, Any]:
    moments = {f"moment {name}": moment for name, moment in trainer.optimizer._moments.items()}
    counts = {"steps": trainer.optimizer.steps, "dropout_step": trainer.net.dropout_step, "lr": trainer.last_lr}
    arrays = {"parameters": trainer.net.parameters, "buffers": trainer.net.buffers, "gradients": trainer.net.gradients}
    return moments | counts | arrays


def train(loss: str, optimizer: str, dtype: str, *between: Change) -> tuple[list[float], dict[str, Any]]:
    """Three steps, then what comes between, then five steps: their losses, and the state at the end."""
    made = trainer(loss, optimizer, dtype)
    x, y = data(loss, dtype)
    found = [made.step(x, y) for _ in range(3)]
    for change in between:
        change(made)
    found += [made.step(x, y) for _ in range(5)]
    return found, state(made)


@pytest.mark.parametrize(("loss", "optimizer", "change"), list(changes()))
def test_steps_after_a_change_are_those_of_a_fresh_plan(loss, optimizer, change, dtype):
    losses_, found = train(loss, optimizer, dtype.name, change)
    fresh_losses, fresh = train(loss, optimizer, dtype.name, change, forget_plan)
    assert losses_ == fresh_losses
    assert found.keys() == fresh.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, fresh[name], err_msg=name)
    _, unchanged = train(loss, optimizer, dtype.name)
    assert any(not np.array_equal(value, unchanged.get(name)) for name, value in found.items())


@pytest.mark.parametrize(("loss", "optimizer", "change"), list(changes()))
def test_steps_after_a_change_are_those_layer_by_layer(loss, optimizer, change, monkeypatch):
    losses_, found = train(loss, optimizer, "float64", change)
    monkeypatch.setattr(Network, "_ready_plan", lambda self: None)
    other_losses, other = train(loss, optimizer, "float64", change)
    np.testing.assert_allclose(losses_, other_losses, rtol=1e-9)
    assert found["steps"] == other["steps"]
    np.testing.assert_allclose(found["parameters"], other["parameters"], rtol=1e-7, atol=1e-9)


def test_every_option_is_changed_here():
    """A new option needs a value in the tables above."""
    parts: list[tuple[dict[str, Any], list[Options]]] = [
        (OPTIMIZER_VALUES, [optimizers.get(name) for name in optimizers.NAMES]),
        (LOSS_VALUES, [losses.get(name) for name in losses.NAMES]),
        (LAYER_VALUES, [layer for _, layer in network("float64")._named]),
        (TRAINER_VALUES, [trainer("mse", "adam", "float64")]),
    ]
    for table, objects in parts:
        assert set(table) - UNUSED <= {name for part in objects for name in assignable(part)} <= set(table) | UNUSED


KEPT = {  # options that an existing plan takes over
    "weight_decay": lambda trainer, at: setattr(trainer.optimizer, "weight_decay", 0.01 * at),
    "l1": lambda trainer, at: setattr(trainer.optimizer, "l1", 0.01 * at),
    "groups": lambda trainer, at: setattr(trainer.optimizer, "groups", {"*.bias": {"weight_decay": 0.01 * at}}),
    "betas": lambda trainer, at: setattr(trainer.optimizer, "betas", (0.9, 1 - 0.01 / at)),
    "a schedule": lambda trainer, at: setattr(trainer.optimizer, "lr", bp.schedules.Exponential(0.1 / at, gamma=0.5)),
    "label_smoothing": lambda trainer, at: setattr(trainer.loss, "label_smoothing", 0.01 * at),
    "rate": lambda trainer, at: setattr(trainer.net.layers[2], "rate", 0.01 * at),
    "momentum of a batch norm": lambda trainer, at: setattr(trainer.net.layers[1], "momentum", 0.01 * at),
    "eps of a layer norm": lambda trainer, at: setattr(trainer.net.layers[4], "eps", 0.01 * at),
    "clip_norm": lambda trainer, at: setattr(trainer, "clip_norm", 0.1 * at),
    "clip_value": lambda trainer, at: setattr(trainer, "clip_value", 0.1 * at),
    "l2": lambda trainer, at: setattr(trainer, "l2", 0.01 * at),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_a_number_that_changes_takes_no_new_plan(name):
    made = trainer("cross_entropy", "adam", "float32")
    x, y = data("cross_entropy", "float32")
    made.step(x, y)
    plan, planned = made.net._plan, made._step_plan
    allocations = plan.allocations
    for at in range(1, 6):
        KEPT[name](made, at)
        made.step(x, y)
        assert made.net._plan is plan
        assert made._step_plan is planned
    assert plan.allocations == allocations + (name == "groups")  # its sums have more blocks


@pytest.mark.parametrize("rates", [(0.0, 0.3), (0.3, 0.0, 0.2), (0.3, 1 - 1e-12, 0.1)])
def test_dropout_may_begin_and_end(rates):
    results = []
    for fresh in (False, True):
        made = trainer("mse", "sgd", "float64")
        x, y = data("mse", "float64")
        for rate in rates:
            made.net.layers[2].rate = rate
            if fresh:
                forget_plan(made)
            made.step(x, y)
        results.append(made.net.parameters)
    np.testing.assert_array_equal(*results)


def test_a_change_loses_the_forward_that_awaits_its_backward():
    made = trainer("mse", "sgd", "float64")
    x, y = data("mse", "float64")
    made.step(x, y)
    for name, layer in (("rate", made.net.layers[2]), ("eps", made.net.layers[1])):
        outputs = made.forward(x)
        setattr(layer, name, 0.125)
        with pytest.raises(RuntimeError, match="the network changed since"):
            made.backward_step(outputs)
        outputs = made.net.forward(x, training=True)
        setattr(layer, name, 0.25)
        with pytest.raises(RuntimeError, match="the network changed since"):
            made.net.backward(outputs)


def test_an_option_that_is_refused_changes_nothing():
    results = []
    for wrong in (False, True):
        made = trainer("mse", "adam", "float64")
        x, y = data("mse", "float64")
        made.step(x, y)
        if wrong:
            for part, name, value in (
                (made.net.layers[2], "rate", 1.5),
                (made.optimizer, "weight_decay", -1.0),
                (made.optimizer, "groups", {"nothing": {"lr": 1.0}}),
                (made, "clip_norm", math.nan),
            ):
                with pytest.raises(ValueError, match=name):
                    setattr(part, name, value)
        made.step(x, y)
        results.append(made.net.parameters)
    np.testing.assert_array_equal(*results)


def test_a_prediction_and_a_jacobian_follow_a_change():
    net = network("float64")
    x, _ = data("mse", "float64")
    net.forward(x, training=True)
    net.predict(x)
    net.jacobian(x)
    plan = net._plan
    net.layers[1].eps = 0.5
    assert net._plan is plan
    other = net.copy()
    np.testing.assert_array_equal(net.predict(x), other.predict(x))
    np.testing.assert_array_equal(net.jacobian(x), other.jacobian(x))


def test_rates_may_change_while_another_thread_trains():
    """A plan in use refuses an assignment: the rate of a step stays what it was when the step began."""
    made = bp.Trainer(bp.mlp([64, 256, 256, 3], dropout=0.5, seed=0), loss="mse")
    x, y = np.ones((256, 64), np.float32), np.ones((256, 3), np.float32)
    made.step(x, y)
    ends = threading.Event()

    def change() -> None:
        while not ends.is_set():
            for rate in (0.25, 0.5):
                made.net.layers[1].rate = rate

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(20):
            assert math.isfinite(made.step(x, y))
    finally:
        ends.set()
        thread.join()


def test_an_option_assigned_while_a_plan_takes_the_options_holds_for_the_next_step(monkeypatch):
    x, y = np.ones((4, 3)), np.ones((4, 1))
    trainer, other = (bp.Trainer(bp.mlp([3, 4, 1], dtype="float64", seed=0), loss="mse", optimizer="sgd") for _ in range(2))
    current_plan = step.current_plan

    def meanwhile(*arguments):
        planned = current_plan(*arguments)
        monkeypatch.undo()
        trainer.l2 = 0.5  # as another thread may
        return planned

    monkeypatch.setattr(step, "current_plan", meanwhile)
    trainer.step(x, y)
    other.step(x, y)
    other.l2 = 0.5
    assert trainer.step(x, y) == other.step(x, y)
