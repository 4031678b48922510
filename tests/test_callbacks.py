"""Callbacks: when which hook is called, and what those that come with the package do."""

from __future__ import annotations

import csv
import math
import os
import signal
import sys
from functools import partial

import numpy as np
import pytest
import tqdm

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


def test_a_fit_that_a_callback_calls_leaves_the_run_that_is_under_way(trainer, data, tmp_path):
    """The callbacks of the run still see its data and options, it still stops, and a checkpoint has their states."""
    seen = []

    def train_more(epoch, logs):
        trainer.stop_training = epoch > 0
        trainer.fit(*data, epochs=1, batch_size=3, shuffle=False)
        seen.append((trainer.batch_size, trainer.shuffle, trainer.training_data.count, trainer.history_keys[-2:]))

    stop = bp.EarlyStopping(patience=9)
    checkpoint = bp.Checkpoint(tmp_path / "run.safetensors")
    trainer.fit(
        *data,
        epochs=9,
        batch_size=6,
        validation_data=data,
        callbacks=[bp.LambdaCallback(on_epoch_end=train_more), stop, checkpoint],
    )
    assert seen == [(6, True, 12, ("val_r2", "lr"))] * 2
    assert trainer.batch_size is trainer.training_data is None
    states = bp.Trainer.load(tmp_path / "run.safetensors")._callback_states
    assert states["EarlyStopping.0"]["monitor"] == "val_loss"


def test_ctrl_c_still_waits_for_the_end_of_a_step_after_a_fit_that_a_callback_has_called(trainer, data):
    during = []

    def train_more(epoch, logs):
        before = signal.getsignal(signal.SIGINT)
        trainer.fit(*data)
        during.append(signal.getsignal(signal.SIGINT) == before)

    default = signal.getsignal(signal.SIGINT)
    trainer.fit(*data, callbacks=bp.LambdaCallback(on_epoch_end=train_more))
    assert during == [True]
    assert signal.getsignal(signal.SIGINT) == default


def test_a_fit_whose_callbacks_are_refused_leaves_the_keys_of_the_history(trainer, data):
    trainer.fit(*data, validation_data=data)
    keys = trainer.history_keys
    with pytest.raises(ValueError, match="monitor must be one of"):
        trainer.fit(*data, callbacks=bp.EarlyStopping("val_loss"))
    assert trainer.history_keys == keys


def test_a_callback_can_stop_training(trainer, data):
    class Stop(bp.Callback):
        def on_epoch_end(self, epoch, logs):
            self.trainer.stop_training = epoch == 2

    assert len(trainer.fit(*data, epochs=10, callbacks=[Stop()]).epoch) == 3
    assert len(trainer.fit(*data, epochs=2).epoch) == 2


class _Misspelt(bp.Callback):
    def on_epoch_end(self, epoch, logs):
        raise AssertionError

    def on_batch_end(self, batch, logs):
        raise AssertionError


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ([object()], TypeError, "must be a list of objects with some of the methods on_train_begin, .*, got <object"),
        ([bp.EarlyStopping], TypeError, "got <class"),
        (print, TypeError, "got <built-in"),
        ("early_stopping", TypeError, "got 'early_stopping'"),
        ([None], TypeError, "got None"),
        ([[bp.EMA()]], TypeError, r"got \[EMA"),
        ([_Misspelt()], TypeError, "_Misspelt has the method on_batch_end, but the hooks are on_train_begin, "),
        ([bp.EMA()] * 2, ValueError, "the same object twice: EMA"),
        ([bp.EarlyStopping("val_loss")], ValueError, "monitor must be one of loss, gain, lr, got 'val_loss'"),
        ([bp.Checkpoint("never", monitor="acuracy")], ValueError, "monitor must be one of loss, gain, lr, got 'acuracy'"),
        ([bp.EarlyStopping("gain")], ValueError, "give mode='min' or mode='max'"),
        ([bp.Checkpoint("never", monitor="gain")], ValueError, "give mode='min' or mode='max'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_callbacks_that_cannot_serve_are_refused_before_anything_changes(wrong, error, message, data, tmp_path):
    def gain(outputs, targets):
        return 0.0

    trainer = bp.Trainer(bp.mlp([2, 1], seed=0), loss="mse", metrics=[gain])
    log, calls = tmp_path / "log.csv", []
    log.write_text("an older log")
    first = [bp.CSVLogger(log), bp.LambdaCallback(on_train_begin=calls.append, on_train_end=calls.append)]
    before = trainer.net.parameters.copy()
    with pytest.raises(error, match=message):
        trainer.fit(*data, callbacks=[*first, *wrong] if isinstance(wrong, list) else wrong)
    np.testing.assert_array_equal(trainer.net.parameters, before)
    assert trainer.net.loss is trainer.training_data is None
    assert log.read_text() == "an older log"
    assert calls == []


def test_no_callbacks_may_be_given_as_none(trainer, data):
    assert len(trainer.fit(*data, callbacks=None).epoch) == 1


class _BreakError(Exception):
    pass


def _break(*arguments):
    raise _BreakError


def _interrupt(*arguments):
    raise KeyboardInterrupt


def _batches(x, y):
    yield x[:6], y[:6]
    raise _BreakError


# Options of `fit` with which training ends, with which exception, and how many whole epochs it has had then.
ENDS = {
    "as planned": ({}, None, 3),
    "stopped": ({"stop": True}, None, 1),
    "on_train_begin": ({"hooks": {"on_train_begin": _break}}, _BreakError, 0),
    "on_epoch_begin": ({"hooks": {"on_epoch_begin": _break}}, _BreakError, 0),
    "on_train_batch_end": ({"hooks": {"on_train_batch_end": _interrupt}}, KeyboardInterrupt, 0),
    "on_epoch_end": ({"hooks": {"on_epoch_end": _break}}, _BreakError, 1),
    "divergence": ({"lr": 1e200}, bp.DivergenceError, 0),
    "a stream": ({"stream": True}, _BreakError, 0),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("by", ["network", "trainer"])
def test_every_callback_that_has_begun_is_ended_however_training_ends(how, by, data, backend, capsys):
    options, expected, epochs = ENDS[how]
    seen = []

    class Witness(bp.Callback):
        def on_train_end(self, logs):
            seen.append((type(self.trainer.error), sorted(logs), self.trainer.training_data is None))

    class Faulty(Witness):
        def on_train_end(self, logs):
            super().on_train_end(logs)
            raise ZeroDivisionError("in the end")

    class Stop(bp.Callback):
        def on_epoch_end(self, epoch, logs):
            self.trainer.stop_training = "stop" in options

    hooks = bp.LambdaCallback(**options.get("hooks", {"on_train_begin": len}))
    callbacks = [Witness(), Faulty(), Faulty(), Stop(), hooks, Witness()]
    net = bp.mlp([2, 4, 1], activation="identity", dtype="float64", seed=0)
    arguments = (lambda: _batches(*data),) if "stream" in options else data
    settings = {"loss": "mse", "optimizer": bp.SGD(lr=options.get("lr", 1e-3)), "metrics": []}
    fitting = {"epochs": 3, "callbacks": callbacks, "verbose": True, **({} if "stream" in options else {"batch_size": 4})}
    fit = bp.Trainer(net, **settings).fit if by == "trainer" else partial(net.fit, **settings)
    with np.errstate(all="ignore"), pytest.raises(expected or ZeroDivisionError) as caught:
        fit(*arguments, **fitting)
    assert seen == [(expected or type(None), ["loss", "lr"] if epochs else [], False)] * (3 if how == "on_train_begin" else 4)
    notes = getattr(caught.value, "__notes__", [])
    assert ["on_train_end of" in note for note in notes] == [True] * (2 if expected else 1)
    trainer = callbacks[0].trainer
    assert trainer.error is trainer.training_data is trainer.batch_size is None
    assert trainer.epoch == epochs
    assert (net.loss is None) == (how == "on_train_begin")
    assert not any(bar.fp is sys.stderr for bar in tqdm.tqdm._instances)


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


@pytest.mark.parametrize("how", ["on_epoch_end", "on_train_batch_end", "on_train_end", "divergence", "stopped", "as planned"])
def test_the_best_weights_come_back_however_training_ends(how, data, backend):
    net = bp.Network([bp.Dense(2, 4), bp.BatchNorm(4), bp.Dense(4, 1)], dtype="float64", seed=0)
    states = []

    class Break(bp.Callback):
        def on_epoch_end(self, epoch, logs):
            states.append((net.parameters.copy(), net.buffers.copy()))
            if epoch == 3 and how in ("on_epoch_end", "stopped"):
                self.trainer.stop_training = True
                _break() if how == "on_epoch_end" else None
            if epoch == 3 and how == "divergence":
                self.trainer.optimizer.lr = 1e200

        def on_train_batch_end(self, batch, logs):
            if len(states) == 4 and how == "on_train_batch_end":
                _interrupt()

        def on_train_end(self, logs):
            if how == "on_train_end":
                _break()

    stopping = bp.EarlyStopping(patience=9, restore_best_weights=True)
    callbacks = [_Scripted(3, 1, 2, 2, 2, 2), stopping, Break()]
    try:
        with np.errstate(all="ignore"):
            net.fit(*data, loss="mse", optimizer=bp.SGD(lr=0.01), epochs=6, callbacks=callbacks)
        assert how in ("stopped", "as planned")
    except (_BreakError, KeyboardInterrupt, bp.DivergenceError):
        assert len(states) == {"on_train_end": 6, "divergence": 5}.get(how, 4)
    assert stopping.best_epoch == 1
    np.testing.assert_array_equal(net.parameters, states[1][0])
    np.testing.assert_array_equal(net.buffers, states[1][1])


@pytest.mark.parametrize(("batch_size", "accumulate_steps", "single"), [(12, 1, True), (4, 3, True), (6, 1, False)])
@pytest.mark.parametrize("monitor", ["loss", "mae", "val_loss"])
def test_weights_that_a_training_value_belongs_to_are_restored(batch_size, accumulate_steps, single, monitor, data):
    """With a single update in an epoch those at its beginning: the learning rate makes every update worse than the last."""
    net = bp.mlp([2, 1], dtype="float64", seed=0)
    states = []
    keep = bp.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: states.append(net.parameters.copy()),
        on_train_end=lambda logs: states.append(net.parameters.copy()),
    )
    stopping = bp.EarlyStopping(monitor, patience=9, restore_best_weights=True)
    options = {"loss": "mse", "optimizer": bp.SGD(lr=3.0), "epochs": 4, "accumulate_steps": accumulate_steps}
    net.fit(*data, **options, batch_size=batch_size, validation_data=data, callbacks=[keep, stopping])
    assert stopping.best_epoch == 0
    at_beginning = single and monitor != "val_loss"
    np.testing.assert_array_equal(net.parameters, states[0 if at_beginning else 1])
    if at_beginning:
        assert net.evaluate(*data)[monitor] == pytest.approx(stopping.best, rel=1e-12)


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_early_stopping_in_pieces_and_on_streams(pieces, stream, trainer, data, backend):
    """Epochs count over the trainer's life; patience, and what is restored, over one run."""
    values = [3, 1, 2, 0.5, 2, 2, 2, 2]
    states = []
    keep = bp.LambdaCallback(on_epoch_end=lambda epoch, logs: states.append(trainer.net.parameters.copy()))
    arguments = ([(data[0][:6], data[1][:6]), (data[0][6:], data[1][6:])],) if stream else data
    stopping = bp.EarlyStopping(patience=2, restore_best_weights=True)
    for _ in range(pieces):
        trainer.fit(*arguments, epochs=8 // pieces, callbacks=[_Scripted(*values), keep, stopping])
    assert (stopping.best_epoch, stopping.best) == ((3, 0.5) if pieces == 1 else (4, 2))
    assert (stopping.stopped_epoch, trainer.epoch) == ((5, 6) if pieces == 1 else (6, 7))
    np.testing.assert_array_equal(trainer.net.parameters, states[stopping.best_epoch])


@pytest.mark.parametrize("kind", ["exception", "divergence"])
def test_gradients_that_wait_for_an_update_do_not_survive_a_run_that_breaks_off(kind, data, backend):
    x, y = data

    def trained(broken):
        trainer = bp.Trainer(bp.mlp([2, 1], dtype="float64", seed=0), loss="mse", optimizer=bp.SGD(lr=0.1), accumulate_steps=4)
        if broken:
            stop = bp.LambdaCallback(on_train_batch_end=lambda batch, logs: batch == 1 and kind == "exception" and _break())
            other = x.copy()
            other[8:] = np.nan if kind == "divergence" else 5
            with pytest.raises((_BreakError, bp.DivergenceError)):
                trainer.fit(other, y, batch_size=4, shuffle=False, callbacks=[stop], check_finite=False)
            assert trainer.optimizer.steps == 0
        trainer.fit(x, y, epochs=2, batch_size=4, shuffle=False)
        return trainer.net.parameters

    np.testing.assert_array_equal(trained(broken=True), trained(broken=False))


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


@pytest.mark.parametrize(("every", "expected"), [(1, 3), (2, 4), (4, 4)])
def test_the_best_of_the_epochs_after_which_saving_is_due_is_saved(every, expected, trainer, data, tmp_path):
    path = tmp_path / "best.safetensors"
    checkpoint = bp.Checkpoint(path, save_best_only=True, every=every)
    trainer.fit(*data, epochs=6, callbacks=[_Scripted(1.0, 0.9, 0.3, 0.5, 0.6, 0.7), checkpoint])
    assert bp.Trainer.load(path).epoch == expected


def test_a_checkpoint_keeps_the_best_of_all_runs_on_a_network(trainer, data, tmp_path):
    path = tmp_path / "best.safetensors"
    checkpoint = bp.Checkpoint(path, save_best_only=True)
    for _ in range(2):
        trainer.fit(*data, epochs=2, callbacks=[_Scripted(3, 1, 2, 2), checkpoint])
    assert bp.Trainer.load(path).epoch == 2
    other = bp.Trainer(trainer.net.copy(), loss="mse")
    other.fit(*data, epochs=1, callbacks=[_Scripted(2), checkpoint])
    assert bp.Trainer.load(path).epoch == 1


def test_training_goes_on_from_a_checkpoint(trainer, data, tmp_path):
    path = tmp_path / "run.safetensors"
    callback = bp.LambdaCallback(on_epoch_end=lambda epoch, logs: epoch == 1 and trainer.save(path))
    trainer.fit(*data, epochs=4, batch_size=5, seed=3, callbacks=[callback])
    again = bp.Trainer.load(path)
    again.fit(*data, epochs=2, batch_size=5)
    np.testing.assert_array_equal(again.net.parameters, trainer.net.parameters)


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ("{val_loss:.3f}", {}, ValueError, r"format of epoch, loss, lr, .*got '.*\{val_loss:.3f\}': KeyError 'val_loss'"),
        ("{loss:d}.safetensors", {}, ValueError, "Unknown format code 'd'"),
        ("{epoch:.2x}", {}, ValueError, "Precision not allowed"),
        ("{}", {}, ValueError, "IndexError"),
        ("{loss", {}, ValueError, "expected '}'"),
        ("{loss.size}", {}, ValueError, "no attribute 'size'"),
        ("none/{epoch}", {}, FileNotFoundError, "folder to write to does not exist"),
        ("run-{epoch}/last", {}, FileNotFoundError, "folder to write to does not exist"),
        (".", {}, IsADirectoryError, "directory"),
        ("locked/run", {}, PermissionError, "locked"),
        ("run", {"optimizer": bp.SGD(lr=lambda step: 0.1)}, TypeError, "cannot be saved"),
        ("run", {"layer": np.array}, TypeError, "cannot"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_that_cannot_be_saved_is_refused_before_training(path, options, error, message, data, tmp_path):
    class Odd(bp.Layer):
        def __init__(self, function):
            self.function, self.width, self.fan_in, self.fan_out = function, 1, 1, 1

        def forward(self, x, training):
            return x

        def backward(self, grad_outputs):
            return grad_outputs

    if path == "locked/run":
        (tmp_path / "locked").mkdir(mode=0o500)
        if os.access(tmp_path / "locked", os.W_OK):
            pytest.skip("this user may write to any folder")
    net = bp.Network([bp.Dense(2, 1), *([Odd(options.pop("layer"))] if "layer" in options else [])], seed=0)
    before = net.parameters.copy()
    log = bp.CSVLogger(tmp_path / "log.csv")
    with pytest.raises(error, match=message):
        net.fit(*data, loss="mse", metrics=[], callbacks=[log, bp.Checkpoint(tmp_path / path)], **options)
    np.testing.assert_array_equal(net.parameters, before)
    assert net.loss is None
    assert [file.name for file in tmp_path.iterdir()] in ([], ["locked"])


def test_a_checkpoint_path_may_be_bytes_and_have_braces(trainer, data, tmp_path):
    path = os.fsencode(tmp_path) + b"/{{{epoch:03d}}}-{loss:.1e}"
    history = trainer.fit(*data, callbacks=[bp.Checkpoint(path)])
    assert [file.name for file in tmp_path.iterdir()] == [f"{{001}}-{history['loss'][0]:.1e}"]


class _Count(bp.Callback):
    """Has a state of its own, which a file has to carry."""

    def on_train_begin(self, logs):
        self.epochs, self.losses, self.notes = 0, np.zeros(0), {"first": None}

    def on_epoch_end(self, epoch, logs):
        self.epochs += 1
        self.losses = np.append(self.losses, logs["loss"])
        self.notes = {"first": self.notes["first"] or epoch, "all": [*self.notes.get("all", []), epoch]}

    def state_dict(self):
        return {"epochs": self.epochs, "losses": self.losses, "notes": self.notes}

    def load_state_dict(self, state):
        self.epochs, self.losses, self.notes = state["epochs"], state["losses"], state["notes"]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("stopped_at", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_callbacks_go_on_from_a_checkpoint_as_if_nothing_had_happened(order, stopped_at, dtype, data, tmp_path, backend):
    values = [3, 1, 2, 0.5, 2, 2, 2, 2, 2]

    def callbacks(folder):
        folder.mkdir(exist_ok=True)
        stopping = bp.EarlyStopping(patience=3, restore_best_weights=True)
        averages = [bp.EMA(0.9), bp.EMA(0.5)]
        files = [bp.Checkpoint(folder / "last"), bp.Checkpoint(folder / "best", save_best_only=True)]
        return [_Scripted(*values), *[stopping, *averages, _Count(), *files][::order]]

    def make():
        net = bp.Network([bp.Dense(2, 4), bp.BatchNorm(4), bp.Dense(4, 1)], dtype=dtype, seed=0)
        return bp.Trainer(net, loss="mse", optimizer=bp.Adam(lr=0.01))

    def cut(epoch, logs):
        if epoch == stopped_at:
            raise KeyboardInterrupt

    whole, first = make(), make()
    at_once, in_pieces = callbacks(tmp_path / "whole"), callbacks(tmp_path / "pieces")
    whole.fit(*data, epochs=9, batch_size=5, seed=1, callbacks=at_once)
    with pytest.raises(KeyboardInterrupt):
        first.fit(*data, epochs=9, batch_size=5, seed=1, callbacks=[*in_pieces, bp.LambdaCallback(on_epoch_end=cut)])
    again, resumed = bp.Trainer.load(tmp_path / "pieces" / "last"), callbacks(tmp_path / "pieces")
    again.fit(*data, epochs=9 - again.epoch, batch_size=5, callbacks=resumed)
    assert again.epoch == whole.epoch == 7
    np.testing.assert_array_equal(again.net.parameters, whole.net.parameters)
    np.testing.assert_array_equal(again.net.buffers, whole.net.buffers)
    for one, other in zip(at_once, resumed, strict=True):
        if isinstance(one, bp.EarlyStopping):
            assert (other.best, other.best_epoch, other.stopped_epoch) == (one.best, one.best_epoch, one.stopped_epoch)
            assert (one.best, one.best_epoch, one.stopped_epoch) == (0.5, 3, 6)
        elif isinstance(one, bp.EMA):
            for average, expected in zip(other.network._exact_values(), one.network._exact_values(), strict=True):
                np.testing.assert_array_equal(average, expected)
        elif isinstance(one, _Count):
            assert (one.epochs, one.notes) == (other.epochs, other.notes) == (7, {"first": 1, "all": [*range(7)]})
            np.testing.assert_array_equal(one.losses, other.losses)
    for folder in ("whole", "pieces"):
        assert bp.Trainer.load(tmp_path / folder / "last").epoch == 7
        assert bp.Trainer.load(tmp_path / folder / "best").epoch == 4


def test_a_state_serves_once_and_outlives_a_fit_that_is_refused(trainer, data, tmp_path):
    path = tmp_path / "run"
    trainer.fit(*data, epochs=2, callbacks=[_Count(), bp.Checkpoint(path)])
    again = bp.Trainer.load(path)
    again.save(path)
    again, count = bp.Trainer.load(path), _Count()
    with pytest.raises(ValueError, match="drop_last leaves no batch"):
        again.fit(*data, batch_size=100, drop_last=True, callbacks=[count])
    with pytest.raises(_BreakError):
        again.fit(*data, callbacks=[bp.LambdaCallback(on_train_begin=_break)])
    again.fit(*data, callbacks=[count])
    assert count.epochs == 3
    again.fit(*data, callbacks=[count])
    assert count.epochs == 1


@pytest.mark.parametrize("changed", [{"monitor": "mae"}, {"monitor": "loss", "mode": "max"}])
def test_the_best_of_another_value_is_not_taken_over(changed, trainer, data, tmp_path):
    def callbacks(**options):
        return [bp.EarlyStopping(**options, patience=9), bp.Checkpoint(tmp_path / "run", **options)]

    trainer.fit(*data, epochs=2, callbacks=callbacks(monitor="loss"))
    again, resumed = bp.Trainer.load(tmp_path / "run"), callbacks(**changed)
    history = again.fit(*data, callbacks=resumed)
    assert resumed[0].best == history[changed["monitor"]][0]
    assert resumed[0].best_epoch == 2


def test_a_state_that_is_refused_changes_nothing(trainer, data):
    stop = bp.EarlyStopping(patience=9, restore_best_weights=True)
    trainer.fit(*data, epochs=2, callbacks=[stop])
    state, best = stop.state_dict(), stop.best
    for wrong in ({"waited": -1}, {"best_epoch": 1.5}, {"parameters": np.zeros(1), "buffers": np.zeros(0)}):
        with pytest.raises((TypeError, ValueError)):
            stop.load_state_dict(state | {"best": 0.0} | wrong)
        assert stop.best == best


def test_a_trainer_saved_when_training_begins_has_the_states_that_callbacks_are_about_to_get(trainer, data, tmp_path):
    path, begun = tmp_path / "run.safetensors", tmp_path / "begun.safetensors"
    later = [bp.EMA(0.5), bp.EarlyStopping(patience=9)]
    save = bp.LambdaCallback(on_train_begin=lambda logs: trainer.save(begun))
    trainer.fit(*data, epochs=2, callbacks=[save, *later, bp.Checkpoint(path)])
    assert bp.Trainer.load(begun)._callback_states["EMA.0"] == {}
    trainer = bp.Trainer.load(path)
    trainer.fit(*data, callbacks=[save, bp.EMA(0.5), bp.EarlyStopping(patience=9)])
    saved, expected = bp.Trainer.load(begun)._callback_states, bp.Trainer.load(path)._callback_states
    np.testing.assert_array_equal(saved["EMA.0"]["parameters"], expected["EMA.0"]["parameters"])
    assert saved["EarlyStopping.0"] == expected["EarlyStopping.0"]
    again = bp.Trainer.load(begun)
    again.fit(*data, callbacks=[bp.EMA(0.5)])


def test_a_state_that_is_no_dict_of_strings_is_an_error(trainer, data, tmp_path):
    class Odd(_Count):
        def state_dict(self):
            return [1]

    with pytest.raises(TypeError, match=r"state_dict\(\) of the callback Odd.0 must return a dict"):
        trainer.fit(*data, callbacks=[Odd(), bp.Checkpoint(tmp_path / "run")])


def test_a_log_goes_on_in_its_own_columns(trainer, data, tmp_path):
    path = tmp_path / "log.csv"
    trainer.fit(*data, validation_data=data, callbacks=[bp.CSVLogger(path)])
    trainer.fit(*data, callbacks=[bp.CSVLogger(path, append=True)])
    with path.open() as file:
        first, second = csv.DictReader(file)
    assert (first["epoch"], second["epoch"], second["val_loss"], second["lr"]) == ("0", "1", "", first["lr"])
    before = path.read_text()
    other = bp.Trainer(trainer.net, loss="mse", metrics=["mse"])
    with pytest.raises(ValueError, match=r"log.csv has no column for mse, only epoch, loss, mae"):
        other.fit(*data, callbacks=[bp.CSVLogger(path, append=True)])
    with pytest.raises(IsADirectoryError):
        other.fit(*data, callbacks=[bp.CSVLogger(tmp_path)])
    with pytest.raises(FileNotFoundError):
        other.fit(*data, callbacks=[bp.CSVLogger(tmp_path / "none" / "log.csv")])
    assert path.read_text() == before


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_log_goes_on_wherever_the_column_of_epochs_is(first, end, trainer, data, tmp_path):
    path = tmp_path / "log.csv"
    columns = ["loss", "mae", "note", "", "rmse", "r2", "lr"]
    columns.insert(first, "epoch")
    path.write_text(",".join(columns) + "\n" + ",".join("0" for _ in columns) + end)
    history = trainer.fit(*data, epochs=2, callbacks=[bp.CSVLogger(path, append=True)])
    with path.open() as file:
        _, *lines = csv.DictReader(file)
    assert [line["epoch"] for line in lines] == ["0", "1"]
    assert [line["note"] for line in lines] == ["", ""]
    for key in history:
        assert [float(line[key]) for line in lines] == history[key]


def test_a_log_goes_on_whatever_metrics_are_called(data, tmp_path):
    def score(outputs, targets):
        return 0.5

    score.__name__ = 'mean, "scaled"'
    trainer = bp.Trainer(bp.mlp([2, 1], seed=0), loss="mse", metrics=[score])
    path = tmp_path / "log.csv"
    trainer.fit(*data, callbacks=bp.CSVLogger(path))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as a spreadsheet saves it
    trainer.fit(*data, callbacks=bp.CSVLogger(path, append=True))
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert [line['mean, "scaled"'] for line in csv.DictReader(file)] == ["0.5", "0.5"]


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
