"""Training that diverges: the update that is to blame is undone, with all that came with it, and the error says so."""

from __future__ import annotations

import copy
import pickle
import re
from functools import partial

import numpy as np
import pytest

import backprop as bp
from backprop._training import rewind

BAD = 1e200  # a learning rate after which every loss overflows


class _Plain(bp.Layer):
    """A layer that only Python can run, so that training goes layer by layer."""

    def __init__(self, width):
        self.width = self.fan_in = self.fan_out = width

    def forward(self, x, training):
        return x

    def backward(self, grad_outputs):
        return grad_outputs


class _Noisy(_Plain):
    """Adds random numbers that do not follow from the network's seed."""

    def __init__(self, width):
        super().__init__(width)
        self.rng = np.random.default_rng(0)

    def forward(self, x, training):
        return x + 0.1 * self.rng.normal(size=x.shape) if training else x


def _custom_loss(outputs, targets):
    with np.errstate(over="ignore"):
        diff = outputs - targets
        return float(np.mean(diff**2)), 2 * diff / diff.size


def _state(trainer):
    """All that training changes."""
    net = trainer.net
    counts = net.dropout_step, trainer.epoch, trainer.last_lr
    return net.parameters.copy(), net.buffers.copy(), counts, copy.deepcopy(trainer.optimizer.state_dict())


class _Keep(bp.Callback):
    """Keeps the state before training and after every update; after the last one of an epoch, that at the end of the epoch."""

    def on_train_begin(self, logs):
        self.states = {self.trainer.optimizer.steps: _state(self.trainer)}

    def on_train_batch_end(self, batch, logs):
        if self.trainer.optimizer.steps not in self.states:
            self.states[self.trainer.optimizer.steps] = _state(self.trainer)

    def on_epoch_end(self, epoch, logs):
        self.states[self.trainer.optimizer.steps] = _state(self.trainer)


def _spoilt_at(update):
    """A learning rate that spoils the parameters with one update, counted from 1."""
    return bp.schedules.Function(lambda step: BAD if step == update - 1 else 0.01)


OPTIMIZERS = {
    "sgd": lambda lr: bp.SGD(lr=lr, momentum=0.9, nesterov=True),
    "adam": lambda lr: bp.Adam(lr=lr, amsgrad=True),
    "nadam": lambda lr: bp.NAdam(lr=lr),
}


def _net(*, batch_norm=True, layer=None, seed=0):
    normal = [bp.BatchNorm(5)] if batch_norm else []
    extra = [] if layer is None else [layer(5)]
    layers = [bp.Dense(3, 5, activation="tanh"), *normal, bp.Dropout(0.2), *extra, bp.Dense(5, 1)]
    return bp.Network(layers, dtype="float64", seed=seed)


@pytest.fixture
def data(rng):
    x = rng.normal(size=(24, 3))
    return x, x[:, :1] * x[:, 1:2]


@pytest.fixture(params=["rare", "frequent"])
def copies(request, monkeypatch):
    """Whether the state is copied once, or before every stretch of steps."""
    if request.param == "frequent":
        monkeypatch.setattr(rewind, "LEAST_SECONDS", 0.0)
        monkeypatch.setattr(rewind, "SHARE", 1e9)
    else:
        monkeypatch.setattr(rewind, "LEAST_SECONDS", 1e9)
    return request.param


WAYS = {  # how training goes: options of the trainer, of the network, and of fit
    "by plan": ({}, {}, {}),
    "clipped": ({"clip_value": 1e100}, {}, {}),
    "layer by layer": ({}, {"layer": _Plain}, {}),
    "custom loss": ({"loss": _custom_loss}, {}, {}),
    "weightless batches": ({}, {}, {"sample_weight": np.tile(np.repeat([1.0, 0.0], 4), 3), "batch_size": 4}),
    "accumulated": ({"accumulate_steps": 2}, {}, {"batch_size": 4}),
    "accumulated, uneven": ({"accumulate_steps": 4}, {}, {"batch_size": 4}),
    "stream": ({}, {}, {"stream": True}),
    "in one update": ({}, {}, {"batch_size": 24}),
}


def _diverge(way, data, update, *, callbacks=(), optimizer="adam", by="trainer"):
    """Train until an update spoils the parameters; return the trainer, the error, and what a witness has kept of another run."""
    trainer_options, net_options, fit_options = WAYS[way]
    fit_options = {"batch_size": 8, "epochs": 40, "seed": 3, "shuffle": "sample_weight" not in fit_options, **fit_options}
    arguments = data
    if fit_options.pop("stream", False):
        arguments = ([(data[0][i : i + 8], data[1][i : i + 8]) for i in range(0, 24, 8)],)
        for key in ("batch_size", "shuffle"):
            fit_options.pop(key)

    def run(callbacks):
        options = {"loss": "mse", "metrics": [], **trainer_options, "optimizer": OPTIMIZERS[optimizer](_spoilt_at(update))}
        trainer = bp.Trainer(_net(**net_options), **options)
        fit = trainer.fit if by == "trainer" else partial(trainer.net.fit, **options)
        with np.errstate(all="ignore"), pytest.raises(bp.DivergenceError) as caught:
            fit(*arguments, **fit_options, callbacks=callbacks)
        return trainer, caught.value

    witness = _Keep()
    run([witness])
    return *run(list(callbacks)), witness.states


def _assert_state(trainer, expected):
    for found, wanted in zip(_state(trainer), expected, strict=True):
        np.testing.assert_equal(found, wanted)


@pytest.mark.parametrize("update", [1, 3, 4, 8])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("copies")
def test_the_update_after_which_the_loss_is_not_finite_is_undone(way, update, data, backend):
    """In the middle of an epoch and at its ends; 3 updates an epoch, or 2, or 1."""
    trainer, error, states = _diverge(way, data, update)
    assert re.search(rf"the loss is (inf|nan) at update {update + 1} in epoch \d+: .*\. Update {update} was undone\.", str(error))
    assert trainer.optimizer.steps == update - 1
    _assert_state(trainer, states[update - 1])
    assert trainer._diverged is trainer.error is None
    assert np.isfinite(trainer.step(*data))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.usefixtures("copies")
def test_moments_and_counts_are_undone_with_the_parameters(optimizer, data, backend):
    trainer, _, states = _diverge("by plan", data, 8, optimizer=optimizer)
    _assert_state(trainer, states[7])


def _nothing(*arguments):
    pass


class _Passive(bp.Callback):
    def on_epoch_begin(self, epoch, logs):
        self.trainer.net.predict(np.zeros((2, 3)))


class _Switch(bp.Callback):
    """Changes what the trainer does, as a custom schedule would, at the end of each epoch."""

    def on_epoch_end(self, epoch, logs):
        self.trainer.optimizer.weight_decay += 0.1


@pytest.mark.parametrize("by", ["trainer", "network"])
@pytest.mark.parametrize("update", [4, 5, 6, 7])
@pytest.mark.parametrize(
    "callbacks",
    [[bp.EarlyStopping("loss", patience=99)], [bp.EMA(0.9)], [_Passive()], [bp.LambdaCallback(on_train_batch_end=_nothing)]],
    ids=["early stopping", "ema", "between epochs", "between steps"],
)
@pytest.mark.usefixtures("copies")
def test_callbacks_do_not_keep_an_update_from_being_undone(callbacks, update, by, data):
    trainer, error, states = _diverge("by plan", data, update, callbacks=callbacks, by=by)
    assert f"Update {update} was undone" in str(error)
    np.testing.assert_array_equal(trainer.net.parameters, states[update - 1][0])
    np.testing.assert_array_equal(trainer.net.buffers, states[update - 1][1])


@pytest.mark.parametrize("update", [3, 4, 5, 6, 7, 8])
@pytest.mark.usefixtures("copies")
def test_settings_that_a_callback_changes_between_epochs_do_no_harm(update, data, backend):
    """Only the last update of an epoch, after which they have changed, cannot be undone alone."""
    witness, ends = _Keep(), []
    for callbacks in ([_Switch(), witness], [_Switch()]):
        trainer = bp.Trainer(_net(), loss="mse", optimizer=bp.SGD(lr=_spoilt_at(update)))
        undone = f"Update {update} was undone" if update % 3 else "undone"
        with np.errstate(all="ignore"), pytest.raises(bp.DivergenceError, match=undone):
            trainer.fit(*data, epochs=9, batch_size=8, seed=3, callbacks=callbacks)
        ends.append((trainer.optimizer.steps, *_state(trainer)[:2]))
    for steps, parameters, buffers in ends:
        assert steps < update
        np.testing.assert_array_equal(parameters, witness.states[steps][0])
        np.testing.assert_array_equal(buffers, witness.states[steps][1])


@pytest.mark.parametrize("kind", ["noisy layer", "reused batches", "clipped weights"])
def test_where_steps_cannot_be_taken_again_the_last_copy_is_restored(kind, data, monkeypatch):
    """A state that training has been in, with a finite loss after it; the error tells which."""
    monkeypatch.setattr(rewind, "LEAST_SECONDS", 1e9)
    net, states = _net(layer=_Noisy if kind == "noisy layer" else None), [_net().parameters]
    trainer = bp.Trainer(net, loss="mse", optimizer=bp.Adam(lr=_spoilt_at(5)))

    def batches():
        x, y = np.empty((8, 3)), np.empty((8, 1))
        for i in range(0, 24, 8):
            x[...], y[...] = data[0][i : i + 8], data[1][i : i + 8]
            yield x, y

    def clip(batch, logs):
        if trainer.optimizer.steps < 5:
            np.clip(net.parameters, -0.5, 0.5, out=net.parameters)

    arguments, options = data, {"batch_size": 8}
    if kind == "reused batches":
        arguments, options = (batches,), {}
    if kind == "clipped weights":  # callbacks may change anything between epochs: another copy
        keep = bp.LambdaCallback(on_train_batch_end=clip, on_epoch_end=lambda epoch, logs: states.append(net.parameters.copy()))
        options["callbacks"] = [keep]
    undone = "Updates 4 to 5 were undone" if kind == "clipped weights" else "Updates 1 to 5 were undone"
    with np.errstate(all="ignore"), pytest.raises(bp.DivergenceError, match=rf"at update 6 .* {undone}"):
        trainer.fit(*arguments, epochs=9, **options)
    np.testing.assert_array_equal(net.parameters, states[-1])
    assert trainer.optimizer.steps == 3 * (kind == "clipped weights")


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_the_first_update_that_gives_parameters_that_are_not_finite_is_undone(bad, copies, data, backend):
    """They may give finite losses for a while: here those of infinite weights before tanh. A copy or the end of the epoch shows."""

    class Spoil(bp.SGD):
        def step(self, net):
            super().step(net)
            if self.steps == bad:
                net.layers[0].weight[...] = np.inf

    net = bp.mlp([3, 5, 1], activation="tanh", dtype="float64", seed=0)
    trainer, witness = bp.Trainer(net, loss="mse", optimizer=Spoil(lr=0.01)), _Keep()
    found = bad if copies == "frequent" else 3
    undone = f"Update {found} was" if found == bad else f"Updates {bad} to 3 were"
    message = rf"parameters are no longer finite after update {found} in epoch 1: .*{undone} undone"
    with np.errstate(all="ignore"), pytest.raises(bp.DivergenceError, match=message):
        trainer.fit(np.abs(data[0]) + 1, data[1], epochs=3, batch_size=8, callbacks=[witness])
    np.testing.assert_array_equal(net.parameters, witness.states[bad - 1][0])
    assert trainer.optimizer.steps == bad - 1


def test_a_gradient_that_is_not_finite_leaves_the_update_before_it(data, backend):
    """Its loss was finite."""
    net = bp.mlp([3, 1], dtype="float64", seed=0)
    trainer = bp.Trainer(net, loss=lambda outputs, targets: (1.0, np.full_like(outputs, np.inf if len(outputs) == 4 else 1e-3)))
    witness = _Keep()
    with np.errstate(all="ignore"), pytest.raises(bp.DivergenceError, match=r"gradient norm is (inf|nan) at update 3 .*not made"):
        trainer.fit(data[0][:20], data[1][:20], batch_size=8, callbacks=[witness], shuffle=False)
    assert trainer.optimizer.steps == 2
    np.testing.assert_array_equal(net.parameters, witness.states[2][0])


def test_an_update_with_a_finite_loss_after_it_stays(data, backend):
    """The second of the two steps of an update fails: the first has shown that the update before is good."""
    x = data[0].copy()
    x[13] = np.nan
    trainer, witness = bp.Trainer(_net(), loss="mse", accumulate_steps=2), _Keep()
    with pytest.raises(bp.DivergenceError, match=r"the loss is nan at update 2 in epoch 1: .*This update was not made"):
        trainer.fit(x, data[1], batch_size=4, shuffle=False, callbacks=[witness], check_finite=False)
    assert trainer.optimizer.steps == 1
    np.testing.assert_array_equal(trainer.net.parameters, witness.states[1][0])
    assert not trainer._has_accumulated


@pytest.mark.usefixtures("copies")
def test_an_update_after_which_the_validation_loss_is_nan_is_undone(data, backend):
    def score(outputs, targets):
        return float(np.mean(outputs))

    x = np.full((2, 3), np.nan)
    trainer, witness = bp.Trainer(_net(), loss="mse", metrics=[score]), _Keep()
    with pytest.raises(bp.DivergenceError, match=r"validation loss is nan after update 3 in epoch 1: .*Update 3 was undone"):
        trainer.fit(*data, batch_size=8, validation_data=(x, np.zeros((2, 1))), callbacks=[witness], check_finite=False)
    np.testing.assert_array_equal(trainer.net.parameters, witness.states[2][0])
    assert (trainer.epoch, trainer.optimizer.steps) == (0, 2)


def test_a_run_whose_first_loss_is_not_finite_changes_nothing(data, backend):
    trainer = bp.Trainer(_net(), loss="mse", optimizer=bp.Adam(lr=_spoilt_at(1)))
    with np.errstate(all="ignore"):
        trainer.fit(*data, batch_size=24)
        before = _state(trainer)
        with pytest.raises(bp.DivergenceError, match=r"at update 2 in epoch 2: .*No update of this run came before it"):
            trainer.fit(*data, batch_size=24)
    _assert_state(trainer, before)


@pytest.mark.parametrize("accumulate_steps", [1, 2])
def test_a_single_step_that_diverges_changes_nothing(accumulate_steps, data, backend):
    trainer = bp.Trainer(_net(), loss="mse", optimizer=bp.Adam(lr=_spoilt_at(1)), accumulate_steps=accumulate_steps)
    for _ in range(accumulate_steps):
        trainer.step(*data)
    before = _state(trainer)
    with np.errstate(all="ignore"), pytest.raises(bp.DivergenceError, match=r"at update 2 in epoch 1: .*call has made no update"):
        trainer.step(*data)
    _assert_state(trainer, before)


def _steep_once(outputs, targets):
    """A finite loss whose gradient is infinite where a target is 7."""
    return float(outputs.mean()), np.where(targets == 7, np.inf, 1 / len(outputs))


@pytest.mark.parametrize("layer", [None, _Plain])
@pytest.mark.parametrize("how", ["gradient of a loss", "gradient given", "hook raises", "hook spoils", "optimizer raises"])
def test_gradients_that_wait_outlast_a_step_that_fails(how, layer, data, backend):
    x, y = data

    class Failing(bp.SGD):
        def step(self, net):
            if failing:
                raise RuntimeError("failed")
            super().step(net)

    def hook(gradients):
        if failing and how == "hook raises":
            raise RuntimeError("failed")
        if failing and how == "hook spoils":
            gradients[:] = np.nan

    def step(trainer, targets):
        if how != "gradient given":
            return trainer.step(x, targets)
        return trainer.backward_step(_steep_once(trainer.forward(x), targets)[1])

    found = []
    for failing_at in (2, None):  # of three steps, the last makes the update
        failing = False
        optimizer = Failing(0.1) if how == "optimizer raises" else bp.SGD(0.1)
        options = {"on_gradients": hook} if "hook" in how else {}
        trainer = bp.Trainer(
            _net(layer=layer), loss="mse" if "hook" in how else _steep_once, optimizer=optimizer, accumulate_steps=3, **options
        )
        for number in range(3):
            if number == failing_at:
                before, failing = (*_state(trainer), trainer._accumulated_state()), True
                with np.errstate(all="ignore"), pytest.raises((bp.DivergenceError, RuntimeError)):
                    step(trainer, np.full_like(y, 7))
                np.testing.assert_equal((*_state(trainer), trainer._accumulated_state()), before)
                failing = False
            step(trainer, y)
        found.append(_state(trainer))
    np.testing.assert_equal(found[0], found[1])
    assert trainer.optimizer.steps == 1


def test_gradients_that_wait_and_are_not_finite_fail_one_update_only(data, backend):
    x, y = data
    trainer = bp.Trainer(_net(), loss=_steep_once, accumulate_steps=2)
    with np.errstate(all="ignore"):
        trainer.step(x, np.full_like(y, 7))
        with pytest.raises(bp.DivergenceError):
            trainer.step(x, y)
        trainer.step(x, y)
        trainer.step(x, y)
    assert trainer.optimizer.steps == 1


def _replaced_by(kind):
    def change(trainer):
        trainer.optimizer = kind(lr=BAD)

    return change


def _with_momentum(momentum):
    def change(trainer):
        trainer.optimizer.momentum, trainer.optimizer.lr = momentum, BAD

    return change


@pytest.mark.parametrize(
    ("make", "change", "fits"),
    [
        (lambda: bp.Adam(0.01), _replaced_by(bp.SGD), False),
        (lambda: bp.Adam(0.01), _replaced_by(bp.Adam), False),
        (lambda: bp.SGD(0.01), _replaced_by(bp.Adam), False),
        (lambda: bp.SGD(0.01, momentum=0.9), _with_momentum(0.0), False),
        (lambda: bp.SGD(0.01), _with_momentum(0.9), True),
    ],
)
@pytest.mark.usefixtures("copies")
def test_where_a_callback_has_changed_the_optimizer_the_error_says_whether_anything_is_undone(make, change, fits, data, backend):
    def at_second_update_of_second_epoch(batch, logs):
        if batch == 1 and trainer.epoch == 1:
            change(trainer)

    trainer = bp.Trainer(_net(), loss="mse", optimizer=make())
    with np.errstate(all="ignore"), pytest.raises(bp.DivergenceError) as caught:
        trainer.fit(*data, batch_size=4, epochs=2, callbacks=bp.LambdaCallback(on_train_batch_end=at_second_update_of_second_epoch))
    undone = re.search(r"Updates? \d.* undone", str(caught.value))
    assert undone or "No update was undone, as a callback has replaced the optimizer" in str(caught.value)
    assert undone or not fits
    assert (np.abs(trainer.net.parameters).max() < 1e3) == bool(undone)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: bp.schedules.ReduceOnPlateau(0.01), lambda: bp.schedules.Cosine(BAD, steps=100)),
        (lambda: bp.schedules.Cosine(0.01, steps=100), lambda: bp.schedules.ReduceOnPlateau(BAD)),
        (lambda: bp.schedules.ReduceOnPlateau(0.01), lambda: BAD),
    ],
)
@pytest.mark.usefixtures("copies")
def test_updates_are_undone_although_a_callback_has_assigned_another_schedule(first, second, data, backend):
    def in_second_epoch(batch, logs):
        if batch == 1 and trainer.epoch == 1:
            trainer.optimizer.lr = second()
            assigned.append(trainer.optimizer.steps)

    assigned = []

    trainer = bp.Trainer(_net(), loss="mse", optimizer=bp.SGD(lr=first()))
    with np.errstate(all="ignore"), pytest.raises(bp.DivergenceError, match=r"Updates? \d.* undone"):
        trainer.fit(*data, batch_size=4, epochs=3, callbacks=bp.LambdaCallback(on_train_batch_end=in_second_epoch))
    assert np.abs(trainer.net.parameters).max() < 1e3
    assert [trainer.optimizer._lr_start[0]] == assigned


def test_best_weights_are_restored_and_the_message_stays_true(data, backend):
    stopping = bp.EarlyStopping("loss", patience=99, restore_best_weights=True)
    trainer, error, states = _diverge("by plan", data, 8, callbacks=[stopping])
    assert "Update 8 was undone" in str(error)
    assert trainer.optimizer.steps == 7
    np.testing.assert_array_equal(trainer.net.parameters, states[3 * (stopping.best_epoch + 1)][0])


def test_callbacks_see_the_network_as_it_was_when_training_diverged(data):
    seen = []

    class Look(bp.Callback):
        def on_train_end(self, logs):
            seen.append(self.trainer._diverged)

    _, _, states = _diverge("by plan", data, 5, callbacks=[Look()])
    (end,) = seen
    assert (end.updates, end.epoch) == (5, 1)
    np.testing.assert_array_equal(end.parameters, states[5][0])


def test_the_error_goes_through_pickle(data):
    _, error, _ = _diverge("by plan", data, 2)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_divergence_of_another_network_undoes_nothing(data):
    def diverge(epoch, logs):
        with np.errstate(all="ignore"):
            _net().fit(*data, loss="mse", optimizer=bp.SGD(lr=BAD), batch_size=8)

    trainer = bp.Trainer(_net(), loss="mse")
    with pytest.raises(bp.DivergenceError):
        trainer.fit(*data, batch_size=8, callbacks=[bp.LambdaCallback(on_epoch_end=diverge)])
    assert trainer.optimizer.steps == 3


def test_copies_take_a_small_share_of_the_time(data, monkeypatch):
    """A clock that goes on by 1 ms at every look: one copy takes 1 ms, so that the next comes after 100 ms."""
    clock = iter(np.arange(100_000) * 1e-3)
    monkeypatch.setattr(rewind, "perf_counter", lambda: next(clock))
    copied = []
    of = rewind.State.of
    monkeypatch.setattr(rewind.State, "of", lambda trainer: copied.append(trainer.optimizer.steps) or of(trainer))
    stream = [(data[0], data[1])] * 1000
    _net().fit(stream, loss="mse")
    assert 8 <= len(copied) <= 11
    assert copied[0] == 0
