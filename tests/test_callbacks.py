"""Callbacks: when which hook is called, and what those that come with the package do."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

import backprop as bp


@pytest.fixture
def trainer():
    return bp.Trainer(bp.mlp([2, 4, 1], activation="tanh", dtype="float64", seed=0), loss="mse", optimizer=bp.SGD(lr=0.1))


@pytest.fixture
def data(rng):
    x = rng.normal(size=(12, 2))
    return x, x[:, 0] * x[:, 1]


class _Scripted:
    """Stands in for validation: puts a scripted val_loss into the logs, before the callbacks after it see them."""

    def __init__(self, *values):
        self.values = values

    def set_trainer(self, trainer):
        trainer.history_keys = (*trainer.history_keys, "val_loss")

    def on_epoch_end(self, epoch, logs):
        logs["val_loss"] = self.values[epoch]


def test_hooks_are_keras(trainer, data):
    calls = []

    class Everything:
        def on_train_begin(self, logs):
            calls.append(("train begin", logs))

        def on_epoch_begin(self, epoch, logs):
            calls.append(("epoch begin", epoch, logs))

        def on_train_batch_end(self, batch, logs):
            calls.append(("batch end", batch, list(logs)))

        def on_epoch_end(self, epoch, logs):
            calls.append(("epoch end", epoch, list(logs)))

        def on_train_end(self, logs):
            calls.append(("train end", list(logs)))

    trainer.fit(*data, epochs=2, batch_size=6, callbacks=[Everything()])
    keys = ["loss", "mae", "rmse", "r2", "lr"]
    epoch = [("batch end", 0, ["loss"]), ("batch end", 1, ["loss"])]
    assert calls == [
        ("train begin", {}),
        *[("epoch begin", 0, {}), *epoch, ("epoch end", 0, keys)],
        *[("epoch begin", 1, {}), *epoch, ("epoch end", 1, keys)],
        ("train end", keys),
    ]


def test_epochs_go_on_in_a_second_run(trainer, data):
    seen = []
    callback = bp.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    trainer.fit(*data, epochs=2, callbacks=[callback])
    history = trainer.fit(*data, epochs=2, callbacks=callback)
    assert seen == [0, 1, 2, 3]
    assert history.epoch == [2, 3]


def test_callbacks_change_neither_the_numbers_nor_the_history(trainer, data):
    twin = bp.Trainer(trainer.net.copy(), loss="mse", optimizer=bp.SGD(lr=0.1))
    history = trainer.fit(*data, epochs=3, batch_size=5, callbacks=[bp.LambdaCallback(on_train_batch_end=lambda batch, logs: None)])
    assert twin.fit(*data, epochs=3, batch_size=5).history == history.history


def test_a_callback_can_stop_training(trainer, data):
    class Stop(bp.Callback):
        def on_epoch_end(self, epoch, logs):
            self.trainer.stop_training = epoch == 2

    assert len(trainer.fit(*data, epochs=10, callbacks=[Stop()]).epoch) == 3
    assert len(trainer.fit(*data, epochs=2).epoch) == 2


def test_what_is_no_callback_is_refused_before_training(trainer, data):
    before = trainer.net.parameters.copy()
    for wrong in (object(), bp.EarlyStopping, print):
        with pytest.raises(TypeError, match="callbacks must have one of the methods on_train_begin"):
            trainer.fit(*data, callbacks=[wrong])
    np.testing.assert_array_equal(trainer.net.parameters, before)


@pytest.mark.parametrize(
    ("values", "options", "stopped", "best"),
    [
        ([3, 2, 1, 1, 1, 0], {"patience": 2}, 4, 2),
        ([3, 2, 1, 1, 0.5, 1, 1], {"patience": 2}, 6, 4),
        ([3, 2, 2], {"patience": 0}, 2, 1),
        ([3, 2.5, 2.1, 1.9, 0, 0], {"patience": 1, "min_delta": 1.0}, 1, 0),
        ([1, 2, 3, 3], {"patience": 1, "mode": "max"}, 3, 2),
        ([3, math.nan, math.nan, 1], {"patience": 2}, 2, 0),
        ([4, 3, 2, 1], {"patience": 1}, None, 3),
    ],
)
def test_early_stopping_counts_epochs_without_improvement(trainer, data, values, options, stopped, best):
    stopping = bp.EarlyStopping("val_loss", **options)
    history = trainer.fit(*data, epochs=len(values), callbacks=[_Scripted(*values), stopping])
    assert stopping.stopped_epoch == stopped
    assert stopping.best_epoch == best
    assert stopping.best == values[best]
    assert len(history.epoch) == (len(values) if stopped is None else stopped + 1)


@pytest.mark.parametrize("epochs", [3, 6])
def test_early_stopping_restores_the_best_weights(data, epochs):
    """Whether it stopped training, or the epochs ran out."""
    net = bp.Network([bp.Dense(2, 4), bp.BatchNorm(4), bp.Dense(4, 1)], seed=0)
    states = []
    keep = bp.LambdaCallback(on_epoch_end=lambda epoch, logs: states.append((net.parameters.copy(), net.buffers.copy())))
    stopping = bp.EarlyStopping(patience=2, restore_best_weights=True)
    net.fit(*data, loss="mse", epochs=epochs, callbacks=[keep, _Scripted(3, 1, 2, 2, 2, 2), stopping])
    assert stopping.best_epoch == 1
    assert (states[-1][0] != states[1][0]).any()
    np.testing.assert_array_equal(net.parameters, states[1][0])
    np.testing.assert_array_equal(net.buffers, states[1][1])


def test_early_stopping_forgets_an_earlier_run(trainer, data):
    stopping = bp.EarlyStopping("loss", patience=1, mode="max")
    trainer.fit(*data, epochs=5, callbacks=[stopping])
    trainer.fit(*data, epochs=1, callbacks=[stopping])
    assert stopping.best_epoch == trainer.epoch - 1


def test_an_unknown_key_is_refused_before_training(trainer, data):
    before = trainer.net.parameters.copy()
    for callback in (bp.EarlyStopping("val_loss"), bp.Checkpoint("never", monitor="acuracy")):
        with pytest.raises(ValueError, match="monitor must be one of loss, mae, rmse, r2, lr, got"):
            trainer.fit(*data, callbacks=[callback])
    np.testing.assert_array_equal(trainer.net.parameters, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bp.EarlyStopping(patience=-1), "patience must be at least 0"),
        (lambda: bp.EarlyStopping(min_delta=-1.0), "min_delta must be"),
        (lambda: bp.EarlyStopping(mode="low"), "mode must be one of"),
        (lambda: bp.Checkpoint("path", every=0), "every must be at least 1"),
        (lambda: bp.EMA(1.0), "decay must be in"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_checkpoint_saves_every_epoch_by_name(trainer, data, tmp_path):
    trainer.fit(*data, epochs=4, callbacks=[bp.Checkpoint(tmp_path / "run-{epoch}.safetensors", every=2)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-2.safetensors", "run-4.safetensors"]
    assert bp.Trainer.load(tmp_path / "run-2.safetensors").epoch == 2
    np.testing.assert_array_equal(bp.load(tmp_path / "run-4.safetensors").parameters, trainer.net.parameters)


def test_checkpoint_saves_the_best_only(trainer, data, tmp_path):
    path = tmp_path / "best.safetensors"
    checkpoint = bp.Checkpoint(path, save_best_only=True)
    trainer.fit(*data, epochs=4, callbacks=[_Scripted(3, 1, 2, 2), checkpoint])
    assert bp.Trainer.load(path).epoch == 2


def test_training_goes_on_from_a_checkpoint(trainer, data, tmp_path):
    path = tmp_path / "run.safetensors"
    callback = bp.LambdaCallback(on_epoch_end=lambda epoch, logs: epoch == 1 and trainer.save(path))
    trainer.fit(*data, epochs=4, batch_size=5, seed=3, callbacks=[callback])
    again = bp.Trainer.load(path)
    again.fit(*data, epochs=2, batch_size=5)
    np.testing.assert_array_equal(again.net.parameters, trainer.net.parameters)


@pytest.mark.parametrize("append", [False, True])
def test_csv_logger_writes_a_line_per_epoch(trainer, data, tmp_path, append):
    path = tmp_path / "log.csv"
    logger = bp.CSVLogger(path, append=append)
    histories = [trainer.fit(*data, epochs=2, callbacks=[logger]) for _ in range(2)]
    with path.open() as file:
        lines = list(csv.DictReader(file))
    kept = histories if append else histories[1:]
    assert [int(line["epoch"]) for line in lines] == [epoch for history in kept for epoch in history.epoch]
    for key in histories[0]:
        assert [float(line[key]) for line in lines] == [value for history in kept for value in history[key]]


@pytest.mark.parametrize("kind", ["plain", "accumulated", "uneven end", "weightless"])
def test_ema_follows_every_update(kind, data, backend):
    """An average by hand, from the parameters after each update; 12 rows in batches of 2."""
    x, y = data
    updates = {"plain": 6, "accumulated": 3, "uneven end": 2, "weightless": 4}[kind]
    steps = {"accumulated": 2, "uneven end": 4}.get(kind, 1)
    weight = np.repeat([1.0, 0.0, 1.0], 4) if kind == "weightless" else None
    after = []

    class Spy(bp.SGD):
        def step(self, net):
            super().step(net)
            after.append((net.parameters.copy(), net.buffers.copy()))

    def trained(optimizer):
        net = bp.Network([bp.Dense(2, 4), bp.BatchNorm(4), bp.Dense(4, 1)], dtype="float64", seed=0)
        ema, average = bp.EMA(0.8), (net.parameters.copy(), net.buffers.copy())
        options = {"epochs": 3, "batch_size": 2, "sample_weight": weight, "callbacks": [ema], "accumulate_steps": steps}
        net.fit(x, y, loss="mse", optimizer=optimizer, shuffle=False, **options)
        return net, ema, average

    _, _, average = trained(Spy(lr=0.1))
    assert len(after) == 3 * updates
    for current in after:
        average = [0.8 * old + 0.2 * new for old, new in zip(average, current, strict=True)]
    net, ema, _ = trained(bp.SGD(lr=0.1))
    np.testing.assert_allclose(ema.network.parameters, average[0], rtol=1e-9)
    np.testing.assert_allclose(ema.network.buffers, average[1], rtol=1e-9)
    assert (ema.network.parameters != net.parameters).all()
    net.blend(ema.network, 1.0)
    np.testing.assert_array_equal(ema.network.parameters, net.parameters)


def test_a_slow_ema_moves_in_float32(data):
    """What a single update adds is far below float32's resolution."""
    net = bp.mlp([2, 1], dtype="float32", seed=0)
    net.parameters[...] = 1.0
    ema, trainer = bp.EMA(1 - 1e-9), bp.Trainer(net, loss="mse", optimizer=bp.SGD(lr=0.1))
    trainer.fit(*data, callbacks=[ema])
    (exact, _), start = ema.network._exact_values(), 1.0
    np.testing.assert_allclose(exact - start, 1e-9 * (net.parameters.astype(float) - start), rtol=1e-6)
    assert (exact != start).any()


def test_ema_goes_on_with_the_same_network_and_starts_again_with_another(trainer, data):
    ema = bp.EMA(0.9)
    trainer.fit(*data, epochs=2, callbacks=[ema])
    average = ema.network
    trainer.fit(*data, callbacks=[ema])
    assert ema.network is average
    for other in (bp.mlp([2, 4, 1], activation="tanh", dtype="float64", seed=1), bp.mlp([2, 1], seed=0)):
        start = other.copy()
        other.fit(*data, loss="mse", optimizer=bp.SGD(lr=0.1), callbacks=[ema])
        start.blend(other, 0.1)
        np.testing.assert_allclose(ema.network.parameters, start.parameters, rtol=1e-6)
