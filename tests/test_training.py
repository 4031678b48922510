"""The trainer: one step, whole runs, what is refused, resuming, and data of every kind."""

from __future__ import annotations

import copy
import pickle
import signal
import subprocess
import sys
import threading
import tracemalloc
import warnings

import numpy as np
import pytest

import backprop as bp
from backprop import activations, kernels, losses

SEED = 4


def _net(dtype="float64", last=3, seed=0):
    layers = [bp.Dense(4, 6, activation="tanh"), bp.BatchNorm(6), bp.Dropout(0.3), bp.Dense(6, last)]
    return bp.Network(layers, dtype=dtype, seed=seed)


def _plain(dtype="float64", last=3):
    return bp.mlp([4, 6, last], activation="tanh", dtype=dtype, seed=0)


@pytest.fixture
def data(rng):
    """24 rows of 4 numbers and one of 3 classes."""
    x = rng.normal(size=(24, 4))
    return x, np.argmax(x[:, :3], axis=1)


def _state(trainer):
    """All that a step may change."""
    optimizer = {key: copy.deepcopy(value) for key, value in trainer.optimizer.state_dict().items()}
    net = trainer.net
    return net.parameters.copy(), net.buffers.copy(), net.dropout_step, optimizer, trainer.epoch


def _assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_equal(left, right)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}], ids=str)
def test_a_step_is_the_algorithm_by_hand(data, options, backend, dtype):
    trainer = bp.Trainer(_net(dtype), loss="cross_entropy", optimizer=bp.Adam(lr=0.01), **options)
    by_hand, optimizer = _net(dtype), bp.Adam(lr=0.01)
    for _ in range(3):
        loss = trainer.step(*data)
        expected, grad = bp.losses.cross_entropy(by_hand.forward(data[0], training=True), data[1])
        by_hand.backward(grad)
        if "clip_norm" in options:
            assert bp.clip_grad_norm(by_hand, 0.1) > 0.1
        if "clip_value" in options:
            bp.clip_grad_value(by_hand, 0.01)
        optimizer.step(by_hand)
        assert loss == expected
        np.testing.assert_array_equal(trainer.net.parameters, by_hand.parameters)
        np.testing.assert_array_equal(trainer.net.buffers, by_hand.buffers)


def test_gradients_of_ones_own(data, backend):
    trainer, other = (bp.Trainer(_net(), loss="cross_entropy", optimizer="adam", clip_norm=0.5) for _ in range(2))
    for _ in range(3):
        trainer.step(*data)
        _, grad = bp.losses.cross_entropy(other.forward(data[0]), data[1])
        other.backward_step(grad)
    np.testing.assert_array_equal(trainer.net.parameters, other.net.parameters)
    with pytest.raises(RuntimeError, match="forward"):
        other.backward_step(grad)


def test_steps_lower_the_loss(data, backend, dtype):
    trainer = bp.Trainer(_plain(dtype), loss="cross_entropy", optimizer=bp.Adam(lr=0.03))
    losses = [trainer.step(*data) for _ in range(100)]
    assert losses[-1] < 0.2 * losses[0]
    assert trainer.net.loss is trainer.loss


def test_a_step_without_weight_changes_nothing(data):
    trainer = bp.Trainer(_net(), loss="cross_entropy", optimizer="adam")
    trainer.step(*data)
    before = _state(trainer)
    assert trainer.step(*data, sample_weight=np.zeros(24)) == 0.0
    _assert_same(_state(trainer), before)


def test_integer_weights_equal_repeated_rows(data, backend):
    weight = np.arange(24) % 4
    weighted, repeated = (bp.Trainer(_plain(), loss="cross_entropy", optimizer="adam") for _ in range(2))
    for _ in range(3):
        loss = weighted.step(*data, sample_weight=weight)
        assert repeated.step(*(part.repeat(weight, axis=0) for part in data)) == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(weighted.net.parameters, repeated.net.parameters, rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["mse", lambda outputs, targets, **_: (0.0, np.zeros_like(outputs))])
def test_l2_adds_a_penalty_of_the_weights_to_the_sum_over_the_batch(loss, weighted, rng, backend):
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 1))
    weight = np.array([0.5, 1.0, 1.0, 0.0, 2.0]) if weighted else None
    divisor = 4.5 if weighted else 5.0
    net = bp.mlp([3, 4, 1], dtype="float64", seed=0)
    trainer = bp.Trainer(net, loss=loss, optimizer=bp.SGD(lr=1.0), l2=0.3)
    other = bp.Trainer(net.copy(), loss=loss, optimizer=bp.SGD(lr=1.0))
    before = net.state_dict()
    difference = trainer.step(x, y, sample_weight=weight) - other.step(x, y, sample_weight=weight)
    squares = sum((value**2).sum() for name, value in before.items() if name.endswith("weight"))
    np.testing.assert_allclose(difference, 0.15 * squares / divisor, rtol=1e-12)
    for name, value in net.state_dict().items():
        penalty = 0.3 / divisor * before[name] if name.endswith("weight") else 0.0
        np.testing.assert_allclose(other.net.state_dict()[name] - value, penalty, rtol=1e-9, atol=1e-13)


def _mean_output(outputs, targets, sample_weight=None):
    weight = np.ones(len(outputs)) if sample_weight is None else sample_weight
    return float(weight @ outputs[:, 0] / weight.sum()), (weight / weight.sum())[:, None]


@pytest.mark.parametrize("loss", ["mse", _mean_output])
@pytest.mark.parametrize("rows", [12, 8, 10])  # as many batches as an update waits for, and fewer; a batch that is not full
@pytest.mark.parametrize("options", [{}, {"on_gradients": np.sign}, {"clip_norm": 0.1}], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_l2_penalizes_the_batches_of_an_update_as_one_large_batch(loss, rows, options, weighted, rng, backend):
    x, y, weight = rng.normal(size=(rows, 3)), rng.normal(size=(rows, 1)), rng.uniform(1, 3, rows) if weighted else None
    found = []
    for steps in (1, 3):
        trainer = bp.Trainer(
            bp.mlp([3, 4, 1], dtype="float64", seed=0),
            loss=loss,
            optimizer=bp.SGD(lr=1.0),
            l2=0.5,
            accumulate_steps=steps,
            **options,
        )
        history = trainer.fit(x, y, batch_size=12 // steps, sample_weight=weight, shuffle=False)
        found.append([*trainer.net.parameters, *history["loss"]])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rows", [12, 8])
def test_a_loaded_trainer_penalizes_the_steps_that_waited_no_more_than_the_saved_one(rows, rng, tmp_path, backend):
    x, y = rng.normal(size=(rows, 3)), rng.normal(size=(rows, 1))
    whole, trainer = (
        bp.Trainer(bp.mlp([3, 4, 1], dtype="float64", seed=0), loss="mse", optimizer="sgd", l2=0.5, accumulate_steps=steps)
        for steps in (1, 3)
    )
    whole.step(x, y)
    trainer.step(x[:4], y[:4])
    trainer.save(tmp_path / "waiting.safetensors")
    loaded = bp.Trainer.load(tmp_path / "waiting.safetensors")
    loaded.fit(x[4:], y[4:], batch_size=4, shuffle=False)
    np.testing.assert_allclose(loaded.net.parameters, whole.net.parameters, rtol=1e-12, atol=1e-14)


def test_l2_reaches_the_gradients_that_come_from_outside(rng):
    net = bp.mlp([3, 4, 1], dtype="float64", seed=0)
    trainer, before = bp.Trainer(net, loss="mse", optimizer=bp.SGD(lr=1.0), l2=0.3), net.state_dict()
    trainer.backward_step(np.zeros_like(trainer.forward(rng.normal(size=(5, 3)))))
    for name, value in net.state_dict().items():
        np.testing.assert_allclose(value, before[name] * (1 - 0.3 / 5 * name.endswith("weight")), rtol=1e-12)


def test_negative_weights_keep_their_sign(data):
    toward, away = (bp.Trainer(_plain(), loss="cross_entropy", optimizer=bp.SGD(lr=0.1)) for _ in range(2))
    start = toward.net.parameters.copy()
    toward.step(*data)
    away.step(*data, sample_weight=np.full(24, -1.0))
    np.testing.assert_allclose(away.net.parameters - start, start - toward.net.parameters, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("weighted", [False, True])
def test_accumulated_steps_equal_one_large_batch(data, weighted, rng, backend):
    x, y = data
    weight = rng.uniform(size=24) if weighted else np.ones(24)
    large = bp.Trainer(_plain(), loss="cross_entropy", optimizer="adam")
    small = bp.Trainer(_plain(), loss="cross_entropy", optimizer="adam", accumulate_steps=3)
    for _ in range(2):
        large.step(x, y, sample_weight=weight)
        for rows in (slice(0, 10), slice(10, 16), slice(16, 24)):
            before = small.net.parameters.copy()
            small.step(x[rows], y[rows], sample_weight=weight[rows])
            assert (small.net.parameters == before).all() == (rows.stop < 24)
    np.testing.assert_allclose(small.net.parameters, large.net.parameters, rtol=1e-9)
    assert small.optimizer.steps == 2


def test_an_epoch_ends_with_an_update(data):
    trainer = bp.Trainer(_plain(), loss="cross_entropy", accumulate_steps=4)
    trainer.fit(*data, epochs=2, batch_size=4)
    assert trainer.optimizer.steps == 4


def test_a_loss_in_plain_numpy(rng):
    x = rng.normal(size=(20, 4))

    def loss(outputs, targets):
        diff = outputs - targets
        value = float(np.mean(diff**2))
        outputs[...] = 0  # does no harm
        return value, 2 * diff / diff.size

    nets = []
    for kind in (loss, "mse"):
        net = bp.mlp([4, 6, 1], output_activation="tanh", dtype="float64", seed=0)
        net.fit(x, x[:, 0], loss=kind, epochs=3, seed=SEED)
        nets.append(net)
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=1e-10)


CHECKED = {
    "Trainer": lambda net, data, loss: bp.Trainer(net, loss=loss),
    "fit": lambda net, data, loss: net.fit(*data, loss=loss),
    "evaluate": lambda net, data, loss: net.evaluate(*data, loss=loss),
    "gradcheck": lambda net, data, loss: bp.gradcheck(net, *data, loss=loss),
}


@pytest.mark.parametrize("call", CHECKED)
@pytest.mark.parametrize("loss", losses.NAMES)
def test_a_loss_on_unbounded_outputs_refuses_an_activation_that_bounds_them(loss, call, data):
    for name in activations.NAMES:
        net = bp.mlp([4, 3], output_activation=name, seed=0)
        before = net.parameters.copy()
        if not losses.get(loss).unbounded or name in ("identity", "leaky_relu"):
            bp.Trainer(net, loss=loss)
            continue
        with pytest.raises(ValueError, match=rf"{loss} takes any real number .* ends in {name}, .*activation='identity'"):
            CHECKED[call](net, data, loss)
        np.testing.assert_array_equal(net.parameters, before)
        assert net.loss is None


def test_which_losses_take_any_activation_at_the_end():
    assert [loss for loss in losses.NAMES if not losses.get(loss).unbounded] == [
        "mse", "half_mse", "mae", "huber", "log_cosh", "quantile",
    ]  # fmt: skip


def test_fit_is_steps_in_the_order_of_the_seed(data, dtype):
    from backprop.data import epoch_rng, row_order

    fitted, stepped = (bp.Trainer(_net(dtype), loss="cross_entropy", optimizer="adam") for _ in range(2))
    fitted.fit(*data, epochs=2, batch_size=7, seed=SEED)
    for epoch in range(2):
        (order,) = [np.concatenate(list(row_order(24, 7, epoch_rng(SEED, epoch))))]
        for start in range(0, 24, 7):
            rows = order[start : start + 7]
            stepped.step(data[0][rows], data[1][rows])
    np.testing.assert_array_equal(fitted.net.parameters, stepped.net.parameters)


def test_steps_are_handed_over_in_slices_that_grow_to_what_takes_long_enough(data, monkeypatch):
    from backprop._training.chunks import Chunks

    seconds = iter(np.arange(1000) * 0.005)  # every look at the clock is 5 ms after the last, so every slice takes as long
    monkeypatch.setattr("backprop._training.epochs.perf_counter", lambda: next(seconds))
    slices = []
    train = Chunks.train
    monkeypatch.setattr(Chunks, "train", lambda run, order, losses: slices.append(len(order)) or train(run, order, losses))
    bp.Trainer(_net(), loss="cross_entropy").fit(*data, epochs=2, batch_size=2)
    assert slices == [2, 20, 2, 24]


def test_same_seed_same_result(data):
    def run(seed, net_seed=0):
        net = _net(seed=net_seed)
        history = net.fit(*data, loss="cross_entropy", epochs=3, batch_size=7, seed=seed, validation_split=0.25)
        return net.parameters.copy(), history.history

    _assert_same(run(1), run(1))
    _assert_same(run(None), run(None))
    assert (run(1)[0] != run(2)[0]).any()
    assert (run(None)[0] != run(None, net_seed=1)[0]).any()


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adagrad", "adam", "adamw", "nadam", "radam", "adadelta", "adamax"])
def test_backends_agree_after_100_steps(optimizer, data):
    parameters = []
    for name in kernels.available():
        with bp.use_backend(name):
            net = _net()
            net.fit(*data, loss="cross_entropy", optimizer=optimizer, epochs=25, batch_size=6, seed=SEED, clip_norm=1.0)
            parameters.append(net.parameters)
            assert net.dropout_step == 100
    for other in parameters[1:]:
        np.testing.assert_allclose(other, parameters[0], rtol=1e-10, atol=1e-13)


def test_without_shuffling_rows_keep_their_order(data):
    seen = []

    def loss(outputs, targets):
        seen.extend(targets.tolist())
        return 0.0, np.zeros_like(outputs)

    _plain().fit(data[0], np.arange(24), loss=loss, shuffle=False, batch_size=7, epochs=2)
    assert seen == [*range(24), *range(24)]


def test_shuffling_gives_every_epoch_another_order(data):
    seen = []

    def loss(outputs, targets):
        seen.extend(targets.tolist())
        return 0.0, np.zeros_like(outputs)

    _plain().fit(data[0], np.arange(24), loss=loss, batch_size=7, epochs=2, drop_last=True)
    assert len(set(seen[:21])) == len(set(seen[21:])) == 21
    assert seen[:21] != seen[21:]


def test_history_has_keras_keys(data):
    net = _plain()
    history = net.fit(*data, loss="cross_entropy", optimizer=bp.Adam(lr=0.01), epochs=3, validation_data=data)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy", "lr"]
    assert history.epoch == [0, 1, 2]
    assert history["lr"] == [0.01] * 3
    evaluated = net.evaluate(*data)
    assert history["val_loss"][-1] == evaluated["loss"]
    assert history["val_accuracy"][-1] == evaluated["accuracy"]


@pytest.mark.parametrize("kind", ["float64", "int64", ">f8"])
@pytest.mark.parametrize("column", [0, 1])
def test_targets_whose_differences_are_lost_in_float32_are_measured_as_given(kind, column, rng, backend):
    """Errors measured on rounded targets would be too good: timestamps within a quarter of an hour, in steps of 128 s."""
    x = rng.uniform(size=(500, 4))
    y = np.zeros((500, 2))
    y[:, column] = 1.6e9 + 1000 * x[:, 0]
    y = y.astype(kind)
    net = _plain("float32", last=2)
    net.layers[-1].weight, net.layers[-1].bias = np.zeros(net.layers[-1].weight.shape), y[0]
    outputs = net.predict(x).astype(float)
    rmse = np.sqrt(np.mean((outputs - y) ** 2, axis=0)).mean()
    assert net.evaluate(x, y, loss="mse")["rmse"] == pytest.approx(rmse, rel=1e-12)
    options = {"loss": "mse", "optimizer": bp.SGD(lr=1e-300), "validation_data": (x, y), "batch_size": 64}
    message = rf"y loses its differences in float32: rounding changes column {column} by 3\d.*, and its standard deviation is \d+;"
    with pytest.warns(UserWarning, match=message):
        history = net.fit(x, y, metrics=["rmse"], **options)
    assert history["rmse"][0] == pytest.approx(rmse, rel=1e-12)
    assert history["val_rmse"][0] == pytest.approx(rmse, rel=1e-12)


@pytest.mark.parametrize(
    "y", [np.full(500, 0.1), 0.1 + np.arange(500) % 2 * 1e-17, 1.6e9 + np.arange(500) * 1e6, np.arange(500), np.arange(500) / 7]
)
def test_targets_that_float32_holds_well_enough_are_taken(y, rng):
    _plain("float32", last=1).evaluate(rng.normal(size=(500, 4)), y, loss="mse")


@pytest.mark.parametrize("source", ["stream", "memory map"])
def test_batches_are_measured_against_targets_as_given(source, rng, backend, tmp_path):
    x, y = rng.uniform(size=(100, 4)), 1.6e9 + 100 * rng.uniform(size=100)
    net = _plain("float32", last=1)
    rmse = np.sqrt(np.mean((net.predict(x)[:, 0].astype(float) - y) ** 2))
    given = ([(x[:60], y[:60]), (x[60:], y[60:])],)
    if source == "memory map":
        given = (x, np.memmap(tmp_path / "y", np.float64, "w+", shape=100))
        given[1][:] = y
    assert net.evaluate(*given, loss="mse")["rmse"] == pytest.approx(rmse, rel=1e-12)
    history = net.fit(*given, loss="mse", metrics=["rmse"], optimizer=bp.SGD(lr=1e-300), batch_size=60)
    assert history["rmse"][0] == pytest.approx(rmse, rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1.6e9])
def test_one_target_for_several_quantiles_is_measured(offset, rng, backend):
    x, y = rng.normal(size=(50, 4)), offset + 100 * rng.normal(size=50)
    net, loss = _plain("float32"), losses.Quantile(q=[0.1, 0.5, 0.9])
    found = net.evaluate(x, y, loss=loss)["mae"]
    assert found == pytest.approx(np.abs(net.predict(x).astype(float) - y[:, np.newaxis]).mean(), rel=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if offset else "error")
        net.fit(x, y, loss=loss, optimizer=bp.SGD(lr=1e-300))


@pytest.mark.parametrize("kind", ["float64", "int64", "frame"])
@pytest.mark.parametrize("way", ["network", "trainer"])
def test_inputs_whose_differences_are_lost_in_float32_are_warned_of(kind, way, rng):
    x = rng.integers(0, 100, size=(50, 4)).astype("float64" if kind == "frame" else kind)
    x[:, 2] += 1_600_000_000
    given = pytest.importorskip("pandas").DataFrame(x, columns=list("abcd")) if kind == "frame" else x
    net, name = _plain("float32", last=1), "'c'" if kind == "frame" else "2"
    trainer = bp.Trainer(net, loss="mse", optimizer=bp.SGD(lr=1e-300))
    fit, options = (trainer.fit, {}) if way == "trainer" else (net.fit, {"loss": "mse", "optimizer": bp.SGD(lr=1e-300)})
    with pytest.warns(UserWarning, match=rf"x loses its differences in float32: rounding changes column {name} by") as caught:
        fit(given, x[:, 0], **options)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.evaluate(given, x[:, 0])
        trainer.fit(x.astype("float32"), x[:, 0])  # nothing more is lost
        trainer.fit(x * [1, 1, 0, 1] + [0, 0, 1.6e9 + 128, 0], x[:, 0])  # a constant
        trainer.fit(x * [1, 1, 0, 1] + [[0, 0, 1e9 * row, 0] for row in range(50)], x[:, 0])
        bp.mlp([4, 1], dtype="float64", seed=0).fit(x, x[:, 0], loss="mse", optimizer=bp.SGD(lr=1e-300))


def test_a_single_class_trains(data, backend):
    net = _plain(last=1)
    history = net.fit(data[0], np.zeros(24, int), loss="cross_entropy", optimizer=bp.SGD(lr=1e-300), batch_size=7)
    assert history["loss"] == [0.0]
    assert history["accuracy"] == [net.evaluate(data[0], np.zeros(24, int))["accuracy"]]


@pytest.mark.parametrize("targets", [np.zeros(24, int), np.ones((24, 1))])
@pytest.mark.parametrize("metric", ["accuracy", "precision", "recall", "f1", "top_1_accuracy"])
def test_every_row_of_a_single_class_is_right(metric, targets, data, backend):
    net = _plain(last=1)
    history = net.fit(
        data[0], targets, loss="cross_entropy", metrics=[metric], epochs=2, batch_size=5, validation_data=(data[0], targets)
    )
    assert history[metric] == history[f"val_{metric}"] == [1.0, 1.0]
    assert net.evaluate(data[0], targets, metrics=[metric]) == {"loss": 0.0, metric: 1.0}


def test_training_values_are_means_over_the_rows_in_training_mode(data):
    net = bp.mlp([4, 3], seed=0, dtype="float64")
    frozen = net.copy()
    history = net.fit(*data, loss="cross_entropy", optimizer=bp.SGD(lr=1e-300), batch_size=7)
    assert history["loss"][0] == pytest.approx(frozen.evaluate(*data, loss="cross_entropy")["loss"], rel=1e-12)
    assert history["accuracy"][0] == frozen.evaluate(*data, loss="cross_entropy")["accuracy"]


@pytest.mark.parametrize(
    ("loss", "last", "training", "evaluation"),
    [
        ("cross_entropy", 3, ["accuracy"], ["accuracy"]),
        ("binary_cross_entropy", 1, ["accuracy"], ["accuracy", "auc"]),
        ("binary_cross_entropy", 2, ["accuracy"], ["accuracy", "auc"]),
        ("hinge", 3, ["accuracy"], ["accuracy", "auc"]),
        ("mse", 1, ["mae", "rmse", "r2"], ["mae", "rmse", "r2"]),
    ],
)
def test_default_metrics_fit_the_task(loss, last, training, evaluation, data):
    net = _plain(last=last)
    y = data[1] if loss == "cross_entropy" else data[0][:, :last] > 0
    history = net.fit(data[0], y, loss=loss, validation_data=(data[0], y))
    assert list(history) == ["loss", *training, "val_loss", *(f"val_{name}" for name in evaluation), "lr"]
    assert list(net.evaluate(data[0], y)) == ["loss", *evaluation]


def test_metrics_by_name_and_function(data):
    def rows(outputs, targets):
        return len(outputs)

    history = _plain().fit(*data, loss="cross_entropy", metrics=["f1", rows], batch_size=5, validation_split=0.25)
    assert list(history) == ["loss", "f1", "rows", "val_loss", "val_f1", "val_rows", "lr"]
    assert history["rows"] == [18]
    assert history["val_rows"] == [6]
    assert list(_plain().fit(*data, loss="cross_entropy", metrics=[])) == ["loss", "lr"]
    with pytest.raises(ValueError, match="names that differ"):
        bp.Trainer(_plain(), loss="cross_entropy", metrics=["f1", "f1"])
    with pytest.raises(TypeError, match="metrics must be a list"):
        bp.Trainer(_plain(), loss="cross_entropy", metrics="f1")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("auc", "metric 'auc' is for at most 2 classes, but the network has 3 outputs"),
        (bp.metrics.auc, "metric 'auc' is for at most 2 classes, but the network has 3 outputs"),
        *[
            (name, f"metrics must not have the name of a validation value in the history, got {name}")
            for name in ("val_f1", "val_loss")
        ],
    ],
)
def test_metrics_that_cannot_serve_are_refused_before_training(metric, message, data):
    if metric in ("val_f1", "val_loss"):
        name = metric

        def metric(outputs, targets):
            return 0.0

        metric.__name__ = name
    net = _plain()
    before = net.parameters.copy()
    for call in (net.fit, net.evaluate):
        with pytest.raises(ValueError, match=message):
            call(*data, loss="cross_entropy", metrics=["f1", metric])
    np.testing.assert_array_equal(net.parameters, before)


def test_validation_split_is_stratified_and_kept_apart(rng):
    x = rng.normal(size=(40, 4))
    y = np.repeat([0, 1, 2], [28, 8, 4])
    x[:, 0] = np.arange(40)
    seen = {"training": set(), "validation": []}

    def rows(outputs, targets):
        seen["validation"] = targets.tolist()
        return 0.0

    class Spy(bp.losses.CrossEntropy):
        def compute(self, outputs, targets, weight, grad):
            if grad is not None:
                seen["training"].add(len(targets))
            return super().compute(outputs, targets, weight, grad)

    _plain().fit(x, y, loss=Spy(), batch_size=50, validation_split=0.25, metrics=[rows])
    assert sorted(seen["validation"]) == [0] * 7 + [1] * 2 + [2]
    assert seen["training"] == {30}


def _same_trainer(trainer, path):
    return trainer


def _another_trainer(trainer, path):
    return bp.Trainer(trainer.net, loss=trainer.loss)


def _loaded(trainer, path):
    trainer.save(path)
    return bp.Trainer.load(path)


@pytest.mark.parametrize("again", [_same_trainer, _another_trainer, _loaded])
@pytest.mark.parametrize("stratified", [False, True])
def test_the_rows_held_out_follow_from_the_networks_seed_alone(again, stratified, data, tmp_path):
    """A second run must not validate on rows that the first has trained on."""
    held_out = []

    def fit(trainer, seed):
        def note(epoch, logs):
            held_out.append(set(range(24)) - set(trainer.training_data.take(slice(None)).x[:, 0]))

        trainer.fit(x, y, validation_split=0.25, seed=seed, callbacks=[bp.LambdaCallback(on_epoch_end=note)])

    x, y = data
    x = np.column_stack([np.arange(24), x[:, 1:]])
    loss, y = ("cross_entropy", y) if stratified else ("mse", x[:, :3])
    trainer = bp.Trainer(_plain(), loss=loss)
    fit(trainer, seed=None)
    trainer.step(x, y)
    other = again(trainer, tmp_path / "run")
    for seed in (None, 1, 2):
        fit(other, seed)
    assert len(held_out[0]) == 6
    assert held_out == [held_out[0]] * 4
    fit(bp.Trainer(_plain(), loss=loss), seed=None)
    fit(bp.Trainer(bp.mlp([4, 3], dtype="float64", seed=1), loss=loss), seed=None)
    assert held_out[0] == held_out[4] != held_out[5]


def test_an_optimizer_goes_on_where_it_was(data):
    once, twice, optimizer = _plain(), _plain(), bp.Adam(lr=0.01)
    once.fit(*data, loss="cross_entropy", optimizer=bp.Adam(lr=0.01), epochs=4, shuffle=False)
    for _ in range(2):
        twice.fit(*data, loss="cross_entropy", optimizer=optimizer, epochs=2, shuffle=False)
    np.testing.assert_array_equal(once.parameters, twice.parameters)
    with pytest.raises(ValueError, match="another network"):
        _plain().fit(*data, loss="cross_entropy", optimizer=optimizer)


def test_schedules_count_updates_or_epochs(data):
    by_step = bp.SGD(lr=bp.schedules.Exponential(0.1, gamma=0.5))
    by_epoch = bp.SGD(lr=bp.schedules.Exponential(0.1, gamma=0.5, per="epoch"))
    first = _plain().fit(*data, loss="cross_entropy", optimizer=by_step, epochs=3, batch_size=12)
    second = _plain().fit(*data, loss="cross_entropy", optimizer=by_epoch, epochs=3, batch_size=12)
    assert first["lr"] == [0.05, 0.0125, 0.003125]
    assert second["lr"] == [0.1, 0.05, 0.025]


def test_reduce_on_plateau_watches_the_history(data):
    schedule = bp.schedules.ReduceOnPlateau(0.1, monitor="val_loss", patience=0, factor=0.5, mode="max")
    net = _plain()
    history = net.fit(*data, loss="cross_entropy", optimizer=bp.SGD(lr=schedule), epochs=4, validation_data=data)
    assert all(np.diff(history["val_loss"]) < 0)
    assert history["lr"] == [0.1, 0.1, 0.05, 0.025]
    with pytest.raises(ValueError, match="monitor of ReduceOnPlateau must be one of loss, accuracy, lr, got 'val_loss'"):
        net.fit(*data, loss="cross_entropy", optimizer=bp.SGD(lr=bp.schedules.ReduceOnPlateau(0.1, monitor="val_loss")))


@pytest.mark.parametrize("loaded", [False, True])
def test_reduce_on_plateau_compares_values_of_one_key_only(loaded, data, tmp_path):
    x, y = data
    others = x, (y + 1) % 3  # their loss is higher than that of the training rows
    schedule = bp.schedules.ReduceOnPlateau(0.1, patience=5)
    trainer = bp.Trainer(_plain(), loss="cross_entropy", optimizer=bp.SGD(lr=schedule))
    best = min(trainer.fit(x, y, epochs=20, batch_size=8)["loss"])
    assert schedule.best == best
    if loaded:
        trainer.save(tmp_path / "run.safetensors")
        trainer = bp.Trainer.load(tmp_path / "run.safetensors")
        schedule = trainer.optimizer.lr
    validated = trainer.fit(x, y, validation_data=others)["val_loss"]
    assert schedule.best == validated[0] > best
    validated += trainer.fit(x, y, validation_data=others, epochs=2)["val_loss"]
    assert (schedule.best, schedule.bad_epochs) == (min(validated), len(validated) - 1 - int(np.argmin(validated)))


@pytest.mark.parametrize("where", ["fit", "loss"])
def test_class_weights_are_those_of_the_training_set(data, where):
    x, y = data
    counts = np.bincount(y)
    balanced = (24 / (3 * counts))[y]
    weighted, reference = _plain(), _plain()
    loss = bp.losses.CrossEntropy(class_weight="balanced") if where == "loss" else "cross_entropy"
    weighted.fit(x, y, loss=loss, class_weight="balanced" if where == "fit" else None, batch_size=5, seed=SEED)
    reference.fit(x, y, loss="cross_entropy", sample_weight=balanced, batch_size=5, seed=SEED)
    np.testing.assert_allclose(weighted.parameters, reference.parameters, rtol=1e-12)


def test_class_weights_multiply_sample_weights(data, rng):
    x, y = data
    weight = rng.uniform(size=24)
    weighted, reference = _plain(), _plain()
    weighted.fit(x, y, loss="cross_entropy", class_weight={1: 3.0}, sample_weight=weight, batch_size=5, seed=SEED)
    together = weight * np.where(y == 1, 3.0, 1.0)
    reference.fit(x, y, loss="cross_entropy", sample_weight=together, batch_size=5, seed=SEED)
    np.testing.assert_allclose(weighted.parameters, reference.parameters, rtol=1e-12)


def test_validation_loss_leaves_the_class_weights_of_fit_out(data):
    net = _plain()
    history = net.fit(*data, loss="cross_entropy", class_weight=[1, 5, 9], validation_data=data)
    assert history["val_loss"][0] == net.evaluate(*data)["loss"]
    loss = bp.losses.CrossEntropy(class_weight=[1, 5, 9])
    history = net.fit(*data, loss=loss, validation_data=data)
    assert history["val_loss"][0] == net.evaluate(*data)["loss"] == pytest.approx(loss.value(net.predict(data[0]), data[1]))


def test_binary_class_weights(data):
    x, y = data[0], (data[1] == 0).astype(int)
    weighted, reference = _plain(last=1), _plain(last=1)
    weighted.fit(x, y, loss="binary_cross_entropy", class_weight={0: 1.0, 1: 4.0}, seed=SEED)
    reference.fit(x, y, loss="binary_cross_entropy", sample_weight=np.where(y, 4.0, 1.0), seed=SEED)
    np.testing.assert_allclose(weighted.parameters, reference.parameters, rtol=1e-12)


def test_evaluate_weighs_loss_and_metrics_alike(data):
    net = _plain()
    weight = np.arange(24) % 3
    repeated = net.evaluate(*(part.repeat(weight, axis=0) for part in data), loss="cross_entropy")
    for batch_size in (5, 1000):
        weighted = net.evaluate(*data, loss="cross_entropy", sample_weight=weight, batch_size=batch_size)
        assert weighted == pytest.approx(repeated, rel=1e-12)


def test_evaluate_needs_a_loss(data):
    with pytest.raises(ValueError, match="loss must be given"):
        _plain().evaluate(*data)


def test_divergence_names_the_step_and_leaves_finite_parameters(rng, backend):
    x = rng.normal(size=(40, 4))
    net = _plain("float32", last=1)
    with pytest.raises(bp.DivergenceError, match=r"is (inf|nan) at update \d+ in epoch \d+: .*lower learning rate \(it was 1000\)"):
        net.fit(x, x[:, 0], loss="mse", optimizer=bp.SGD(lr=1e3, momentum=0.99), epochs=100)
    assert np.isfinite(net.parameters).all()
    assert np.isfinite(net.predict(x)).all() or np.abs(net.parameters).max() > 1e6


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_failed_step_is_undone(data, bad, backend):
    trainer = bp.Trainer(_net("float32"), loss="cross_entropy", optimizer="adam")
    trainer.step(*data)
    before = _state(trainer)
    x = data[0].copy()
    x[3, 1] = bad
    with pytest.raises(bp.DivergenceError, match="at update 2 in epoch 1"):
        trainer.fit(x, data[1], batch_size=24, check_finite=False)
    _assert_same(_state(trainer), before)
    with pytest.raises(bp.DivergenceError, match="gradient norm is nan"):
        trainer.backward_step(np.full_like(trainer.forward(data[0]), np.nan))
    _assert_same(_state(trainer), before)


def test_parameters_that_overflow_are_an_error(data):
    trainer = bp.Trainer(_plain("float32"), loss="cross_entropy", optimizer=bp.SGD(lr=3e38, weight_decay=3e38))
    with np.errstate(all="ignore"), pytest.raises(bp.DivergenceError, match="no longer finite after update 1 in epoch 1"):
        trainer.fit(*data, batch_size=24)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones(24)}, r"x must be 2-D .*got shape \(24,\)"),
        ({"x": np.ones((24, 4, 1))}, r"x must be 2-D .*got shape \(24, 4, 1\)"),
        ({"x": np.ones((24, 5))}, r"x must have shape \(rows, 4\), got \(24, 5\)"),
        ({"x": np.ones((23, 4))}, r"x and y must have the same number of rows, got shapes \(23, 4\) and \(24,\)"),
        ({"x": np.ones((0, 4)), "y": np.ones(0, int)}, "at least one row"),
        ({"x": np.full((24, 4), np.nan)}, "x contains NaN at row 0, column 0"),
        ({"x": np.full((24, 4), -np.inf)}, "x contains infinity"),
        ({"x": np.full((24, 4), 1e300)}, "x holds a number too large for float32"),
        ({"y": np.full(24, 3)}, r"y must be class labels in \[0, 3\), got 3 in row 0"),
        ({"y": np.full((24, 3), np.nan)}, "y contains NaN"),
        ({"sample_weight": np.ones(23)}, r"sample_weight must have shape \(24,\), got \(23,\)"),
        ({"sample_weight": np.zeros(24)}, "weights of all rows are zero"),
        ({"class_weight": [0.0, 0.0, 0.0]}, "weights of all rows are zero"),
        ({"class_weight": [1.0]}, "one weight for each of the 3 classes"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 23}, r"BatchNorm .*24 rows in batches of 23 .*drop_last=True"),
        ({"batch_size": 1}, "BatchNorm needs at least two rows"),
        ({"batch_size": 25, "drop_last": True}, "drop_last leaves no batch of 25: there are 24 rows"),
        ({"validation_split": 1.0}, r"validation_split must be in \[0, 1\)"),
        ({"validation_split": -0.5}, r"validation_split must be in \[0, 1\)"),
        ({"validation_split": 0.5, "validation_data": (np.ones((2, 4)), [0, 1])}, "exclude each other"),
        ({"validation_data": (np.ones((2, 4)),)}, "tuple of 1"),
        ({"validation_data": (np.ones((2, 5)), [0, 1])}, r"x of validation_data must have shape \(rows, 4\)"),
        ({"validation_data": (np.ones((2, 4)), [0, 7])}, "y of validation_data must be class labels .*got 7 in row 1"),
        ({"validation_data": (np.ones((2, 4)), [0])}, "x of validation_data and y of validation_data must have the same number"),
        ({"validation_data": (np.full((2, 4), np.nan), [0, 1])}, "x of validation_data contains NaN"),
        ({"validation_data": (np.ones((0, 4)), np.ones(0, int))}, "x of validation_data must have at least one row"),
        ({"validation_data": (np.ones((2, 4)), [0, 1], [1])}, r"sample_weight of validation_data must have shape \(2,\)"),
        ({"steps_per_epoch": 3}, "steps_per_epoch is for iterables"),
        ({"seed": -1}, "seed must be"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_bad_arguments_are_refused_before_anything_changes(change, message, data):
    trainer = bp.Trainer(_net("float32"), loss="cross_entropy", optimizer="adam")
    before = _state(trainer)
    arguments = {"x": data[0], "y": data[1], **change}
    with pytest.raises(ValueError, match=message):
        trainer.fit(arguments.pop("x"), arguments.pop("y"), **arguments)
    _assert_same(_state(trainer), before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda trainer, batches, weight: trainer.fit(batches, sample_weight=weight), "sample_weight .*y"),
        (lambda trainer, batches, weight: trainer.fit(batches, drop_last=True), "drop_last needs y"),
        (lambda trainer, batches, weight: trainer.evaluate(batches, sample_weight=weight), "sample_weight needs y"),
        (lambda trainer, batches, weight: trainer.net.evaluate(batches, loss="mse", sample_weight=weight), "sample_weight needs y"),
        (
            lambda trainer, batches, weight: trainer.fit(*batches[0], validation_data=(batches, None, weight)),
            "sample_weight needs y",
        ),
    ],
)
def test_arguments_that_have_no_effect_on_batches_are_refused(call, message, rng):
    trainer = bp.Trainer(bp.mlp([3, 1], seed=0), loss="mse")
    before = _state(trainer)
    with pytest.raises(ValueError, match=message):
        call(trainer, [(rng.normal(size=(12, 3)), rng.normal(size=(12, 1)))], np.ones(12))
    _assert_same(_state(trainer), before)


def test_a_stream_must_have_weight(rng):
    batch = rng.normal(size=(12, 3)), rng.normal(size=(12, 1)), np.zeros(12)
    with pytest.raises(ValueError, match="weights of all rows are zero: there is nothing to learn from"):
        bp.Trainer(bp.mlp([3, 1], seed=0), loss="mse").fit([batch, batch])


@pytest.mark.parametrize("class_weight", [None, [0.0, 1.0]])
def test_rows_to_evaluate_must_have_weight(class_weight, rng):
    x, y = rng.normal(size=(12, 3)), np.zeros(12, int)
    loss, none = bp.losses.CrossEntropy(class_weight=class_weight), np.zeros(12)
    weight = None if class_weight else none
    trainer = bp.Trainer(bp.mlp([3, 2], seed=0), loss=loss)
    first = np.append(np.ones(11), 0) if class_weight else np.eye(12)[3]  # a class or a row that has weight, to train on
    for evaluate in (trainer.evaluate, lambda *data, **options: trainer.net.evaluate(*data, loss=loss, **options)):
        with pytest.raises(ValueError, match="weights of all rows are zero: there is nothing to evaluate"):
            evaluate(x, y, sample_weight=weight)
        with pytest.raises(ValueError, match="weights of all rows are zero: there is nothing to evaluate"):
            evaluate([(x, y) if class_weight else (x, y, none)])
    labels, weight = (first.astype(int), None) if class_weight else (y, first)
    for held_out in ((x, y, none), [(x, y, none)]):
        with pytest.raises(ValueError, match="weights of all rows are zero: there is nothing to evaluate"):
            trainer.fit(x, labels, sample_weight=weight, validation_data=held_out)
    if class_weight is None:
        with pytest.raises(ValueError, match="weights of all rows that validation_split holds out are zero"):
            trainer.fit(x, labels, sample_weight=weight, validation_split=0.5)


@pytest.mark.parametrize("refusal", ["epochs", "check_run", "on_train_begin"])
@pytest.mark.parametrize("kind", ["rows", "batches"])
def test_a_fit_that_is_refused_leaves_seed_class_weights_and_waiting_gradients_alone(refusal, kind, rng):
    x, y = rng.normal(size=(12, 3)), np.repeat([0, 1], [9, 3])
    batches = (x, y) if kind == "rows" else ([(x, y)],)

    class Refusing(bp.Callback):
        def check_run(self):
            if refusal == "check_run":
                raise ValueError("refused")

        def on_train_begin(self, logs):
            raise ValueError("refused")

    weights = "balanced" if kind == "rows" else [1.0, 3.0]
    trainer = bp.Trainer(bp.mlp([3, 2], seed=0), loss=bp.losses.CrossEntropy(class_weight=weights), accumulate_steps=3)
    trainer.fit(x[:10], y[:10], seed=5)
    trainer.step(x, y)
    before = trainer.evaluate(x, y), trainer._progress_state(), _state(trainer), trainer.net.loss
    options = {"epochs": 0} if refusal == "epochs" else {"callbacks": Refusing()}
    with pytest.raises(ValueError, match=r"refused|epochs"):
        trainer.fit(*batches, seed=7, **options)
    np.testing.assert_equal((trainer.evaluate(x, y), trainer._progress_state()), before[:2])
    _assert_same(_state(trainer), before[2])
    assert trainer.net.loss is before[3]


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
@pytest.mark.parametrize("bad", [-0.5, 1.5])
@pytest.mark.parametrize("held_out", [False, True])
def test_targets_that_a_metric_is_not_defined_for_are_refused_before_training(metric, bad, held_out, rng, backend):
    x, y = rng.normal(size=(12, 3)), rng.uniform(size=(12, 1))
    spoilt = y.copy()
    spoilt[7] = bad
    trainer = bp.Trainer(bp.mlp([3, 4, 1], seed=0), loss="mse", metrics=[metric])
    before = _state(trainer)
    with pytest.raises(ValueError, match=rf"targets must be 0, 1 or between .* got {bad} in row 7"):
        trainer.fit(x, y if held_out else spoilt, batch_size=4, validation_data=(x, spoilt) if held_out else None)
    _assert_same(_state(trainer), before)
    trainer.fit(x, y, batch_size=4, validation_data=(x, y))


def test_a_fit_or_step_that_is_refused_leaves_optimizer_and_loss_alone(data):
    net, optimizer = _plain(), bp.Adam()
    with pytest.raises(ValueError, match="labels"):
        net.fit(data[0], data[1] + 3, loss="cross_entropy", optimizer=optimizer)
    with pytest.raises(ValueError, match="labels"):
        bp.Trainer(net, loss="cross_entropy").step(data[0], data[1] + 3)
    assert net.loss is None
    _plain().fit(*data, loss="cross_entropy", optimizer=optimizer)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"class_weight": {0: "a"}}, TypeError, r"class_weight\[0\] must be a number, got 'a'"),
        ({"class_weight": {1: None}}, TypeError, r"class_weight\[1\] must be a number, got None"),
        ({"class_weight": [1, "b", 1]}, TypeError, "class_weight must hold real numbers"),
        ({"class_weight": [[1], [1, 2], 1]}, ValueError, "class_weight is not a table of numbers"),
        ({"metrics": 5}, TypeError, "metrics must be a list of names and functions, got 5"),
        ({"metrics": "f1"}, TypeError, "metrics must be a list of names and functions, got 'f1'"),
        (
            {"x": np.ones((1, 4)), "y": [0], "validation_split": 0.5},
            ValueError,
            "validation_split needs at least two rows, .* got 1",
        ),
    ],
)
def test_errors_name_the_argument_of_fit(options, error, message, data):
    net = _plain()
    before = net.parameters.copy()
    with pytest.raises(error, match=message):
        net.fit(**{"x": data[0], "y": data[1], "loss": "cross_entropy", **options})
    if "metrics" in options:
        with pytest.raises(error, match=message):
            net.evaluate(*data, loss="cross_entropy", **options)
    np.testing.assert_array_equal(net.parameters, before)


def test_verbose_is_a_flag(data):
    with pytest.raises(TypeError, match="verbose must be True or False, got 'no'"):
        _plain().fit(*data, loss="cross_entropy", verbose="no")


@pytest.mark.parametrize("x", [np.ones((24, 4), complex), np.full((24, 4), "a"), [[object()] * 4] * 24], ids=lambda x: "")
def test_what_is_no_number_is_refused(x, data):
    with pytest.raises(TypeError, match="x must hold real numbers"):
        _plain().fit(x, data[1], loss="cross_entropy")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"clip_norm": 0.0}, ValueError, "clip_norm must be positive"),
        ({"clip_value": np.nan}, ValueError, "clip_value must be positive"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, ValueError, "exclude each other"),
        ({"accumulate_steps": 0}, ValueError, "accumulate_steps must be at least 1"),
        ({"loss": "crossentropy"}, ValueError, "loss must be one of"),
        ({"optimizer": "adm"}, ValueError, "optimizer must be one of"),
        ({"optimizer": bp.Adam(groups={"nothing": {"lr": 1.0}})}, ValueError, "'nothing'"),
        ({"metrics": ["mae"]}, ValueError, "'mae' is for numbers"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        bp.Trainer(_plain(), **{"loss": "cross_entropy", **options})
    with pytest.raises(TypeError, match="net must be a Network"):
        bp.Trainer("net", loss="mse")


def test_class_weights_twice_are_refused(data):
    with pytest.raises(ValueError, match="given twice"):
        _plain().fit(*data, loss=bp.losses.CrossEntropy(class_weight="balanced"), class_weight="balanced")


def test_drop_last_saves_batch_norm(data):
    _net().fit(*data, loss="cross_entropy", batch_size=23, drop_last=True)


def _kinds(x):
    strided = np.zeros((48, 8))
    strided[::2, ::2] = x
    misaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(x.shape)
    misaligned[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    return {
        "list": x.tolist(),
        "fortran": np.asfortranarray(x),
        "strided": strided[::2, ::2],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1],
        "big-endian": x.astype(">f8"),
        "float16": x.astype(np.float16),
        "longdouble": x.astype(np.longdouble),
        "int8": x.astype(np.int8),
        "misaligned": misaligned,
        "read-only": read_only,
    }


@pytest.mark.parametrize("kind", _kinds(np.zeros((24, 4))))
def test_any_layout_and_dtype_trains_alike(kind, rng, dtype):
    x, y = rng.integers(-3, 4, (24, 4)).astype(float), rng.integers(0, 3, 24)
    given = _kinds(x)[kind]
    kept = copy.deepcopy(given)
    one, other = _net(dtype), _net(dtype)
    one.fit(x, y, loss="cross_entropy", epochs=2, batch_size=8, seed=SEED)
    other.fit(given, y.astype(">i2"), loss="cross_entropy", epochs=2, batch_size=8, seed=SEED)
    np.testing.assert_array_equal(one.parameters, other.parameters)
    np.testing.assert_array_equal(given, kept)


def test_data_frames_train_alike(data):
    pandas = pytest.importorskip("pandas")
    one, other = _plain(), _plain()
    one.fit(*data, loss="cross_entropy", seed=SEED)
    other.fit(pandas.DataFrame(data[0]), pandas.Series(data[1]), loss="cross_entropy", seed=SEED)
    np.testing.assert_array_equal(one.parameters, other.parameters)


def test_batches_from_outside(data):
    x, y = data
    weight = np.tile([0.5, 1.0, 1.5], 8)  # of mean 1: for batches from outside a mean is not known
    parts = [(x[i : i + 8], y[i : i + 8], weight[i : i + 8]) for i in range(0, 24, 8)]
    expected = _plain()
    expected.fit(x, y, loss="cross_entropy", sample_weight=weight, shuffle=False, batch_size=8, epochs=2)

    def endless():
        while True:
            yield from parts

    for source, steps in [(parts, None), (lambda: iter(parts), None), (endless(), 3), (endless, 3), (iter(parts * 2), 3)]:
        net = _plain()
        history = net.fit(source, loss="cross_entropy", epochs=2, steps_per_epoch=steps, validation_data=parts)
        np.testing.assert_array_equal(net.parameters, expected.parameters)
        assert history["val_loss"][-1] == pytest.approx(expected.evaluate(x, y, sample_weight=weight)["loss"])
        assert net.evaluate(parts) == pytest.approx(expected.evaluate(x, y, sample_weight=weight))


def test_batches_of_ours_are_shuffled_anew(data):
    net = _plain()
    net.fit(bp.batches(*data, batch_size=5, seed=0), loss="cross_entropy", epochs=2)
    assert net.dropout_step == 10


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ([], {}, ValueError, "x yielded no batches. An iterator can be consumed only once: pass a list or a function"),
        ([(np.ones((2, 4)), [0, 1])], {"sample_weight": [1, 1]}, ValueError, "need y"),
        ([(np.ones((2, 4)), [0, 1])], {"validation_split": 0.5}, ValueError, "need y"),
        ([(np.ones((2, 4)), [0, 1])], {"class_weight": "balanced"}, ValueError, "needs y as an array"),
        ([(np.ones((2, 4)), [0, 5])], {}, ValueError, "got 5"),
        ([np.ones((2, 4))], {}, ValueError, r"x must yield batches \(x, y\) .*, got a ndarray"),
        ([(np.ones((2, 4)),)], {}, ValueError, "got a tuple of 1"),
        ([(np.ones((0, 4)), np.ones(0, int))], {}, ValueError, "at least one row"),
        (3, {}, TypeError, "iterable of batches"),
        (iter([(np.ones((2, 4)), [0, 1])]), {"epochs": 2}, ValueError, "consumed only once"),
        (iter([(np.ones((2, 4)), [0, 1])]), {"steps_per_epoch": 2}, ValueError, "no more batches before steps_per_epoch=2"),
    ],
)
def test_bad_batches_are_refused(source, options, error, message):
    with pytest.raises(error, match=message):
        _plain().fit(source, loss="cross_entropy", **options)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (iter([(np.ones((2, 4)), [0, 1])]), ValueError, "^validation_data yielded no batches. An iterator can be"),
        ([], ValueError, "^validation_data yielded no batches"),
        ([(np.ones((2, 4)),)], ValueError, r"^validation_data must yield batches \(x, y\)"),
        ([(np.ones((2, 4)), [0, 5])], ValueError, "^y of validation_data must be class labels"),
        ([(np.ones((2, 5)), [0, 1])], ValueError, "^x of validation_data must have shape"),
        ([(np.ones((2, 4)), [0, 1], [1])], ValueError, "^sample_weight of validation_data must have shape"),
        (3, TypeError, r"^validation_data must be a tuple \(x, y\), or an iterable of batches"),
    ],
)
def test_errors_in_batches_for_validation_name_validation_data(source, error, message, data):
    with pytest.raises(error, match=message):
        _plain().fit([data], loss="cross_entropy", validation_data=source, epochs=2)


@pytest.mark.parametrize("wrong", [lambda x, y: [x, y], lambda x, y: [(x, y), x], lambda x, y: x.tolist(), lambda x, y: "xy"])
@pytest.mark.parametrize("way", ["fit", "validation_data", "evaluate"])
def test_a_list_that_holds_no_batches_is_refused_before_any_epoch(way, wrong, data):
    trainer = bp.Trainer(_plain(), loss="cross_entropy", optimizer="adam")
    before = _state(trainer)
    calls = {
        "fit": lambda: trainer.fit(wrong(*data)),
        "validation_data": lambda: trainer.fit(*data, validation_data=wrong(*data)),
        "evaluate": lambda: trainer.evaluate(wrong(*data)),
    }
    with pytest.raises(
        ValueError, match=r"(x|validation_data) must yield batches \(x, y\) .*; arrays are given as (x with y|a tuple)"
    ):
        calls[way]()
    _assert_same(_state(trainer), before)


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", ">f4"])
def test_memory_maps_train_like_arrays(kind, tmp_path, rng):
    x = rng.integers(0, 9, (50, 4)).astype(kind)
    y = rng.integers(0, 3, 50)
    for name, array in (("x", x), ("y", y)):
        np.save(tmp_path / name, array)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]
    one, other = _net("float32"), _net("float32")
    options = {"epochs": 2, "batch_size": 8, "seed": SEED, "validation_split": 0.2, "class_weight": "balanced"}
    first = one.fit(x, y, loss="cross_entropy", **options)
    second = other.fit(*mapped, loss="cross_entropy", **options)
    assert first.history == second.history
    np.testing.assert_array_equal(one.parameters, other.parameters)
    assert one.evaluate(*mapped, batch_size=7) == pytest.approx(one.evaluate(x, y))


def test_memory_maps_are_checked_batch_by_batch(tmp_path):
    x = np.ones((50, 4), np.float32)
    x[30, 2] = np.nan
    np.save(tmp_path / "x", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    trainer = bp.Trainer(_plain("float32"), loss="cross_entropy")
    with pytest.raises(ValueError, match="x contains NaN"):
        trainer.fit(mapped, np.zeros(50, int), shuffle=False, batch_size=10)
    assert trainer.optimizer.steps == 3


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_memory_maps_are_not_read_whole(kind, tmp_path):
    rows = 200_000
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", kind, (rows, 64))
    labels = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.int64, (rows,))
    net = bp.mlp([64, 2, 2], seed=0)
    net.fit(mapped[:512], labels[:512], loss="cross_entropy")
    tracemalloc.start()
    net.fit(mapped, labels, loss="cross_entropy", batch_size=5000, validation_data=(mapped[:10_000], labels[:10_000]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.4 * rows * 64 * 4


RESUMED = {
    "adam": {"optimizer": lambda: bp.Adam(amsgrad=True, lr=bp.schedules.Cosine(0.05, steps=40, warmup=3))},
    "nadam": {"optimizer": lambda: bp.NAdam(groups={"*.bias": {"lr": 1e-4, "weight_decay": 0.1}}), "clip_norm": 0.1},
    "rprop": {"optimizer": bp.Rprop, "clip_value": 0.01},
    "plateau": {"optimizer": lambda: bp.SGD(momentum=0.9, lr=bp.schedules.ReduceOnPlateau(0.1, patience=0, mode="max"))},
    "by epoch": {"optimizer": lambda: bp.SGD(lr=bp.schedules.Step(0.1, step_size=2, per="epoch")), "accumulate_steps": 3},
    "metrics": {"optimizer": lambda: bp.Lion(l1=0.01), "metrics": ["f1"], "loss": bp.losses.CrossEntropy(class_weight={0: 2.0})},
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_saved_run_goes_on_bit_for_bit(name, data, tmp_path, backend, dtype):
    options = {"loss": "cross_entropy", **RESUMED[name], "optimizer": RESUMED[name]["optimizer"]()}
    path = tmp_path / "run.safetensors"
    trainer = bp.Trainer(_net(dtype), **options)
    trainer.net.layers[1].trainable = False
    trainer.fit(*data, epochs=3, batch_size=5, seed=SEED)
    trainer.step(*data)
    trainer.save(path)
    again = bp.Trainer.load(path)
    for seed in (None, SEED):
        histories = [each.fit(*data, epochs=2, batch_size=5, validation_split=0.3, seed=seed) for each in (trainer, again)]
        assert histories[0].history == histories[1].history
        assert histories[0].epoch == histories[1].epoch
        _assert_same(_state(trainer), _state(again))


def test_two_runs_equal_one(data):
    one, two = (bp.Trainer(_net(), loss="cross_entropy") for _ in range(2))
    one.fit(*data, epochs=4, batch_size=5, seed=SEED)
    two.fit(*data, epochs=1, batch_size=5, seed=SEED)
    two.fit(*data, epochs=2, batch_size=5)
    two.fit(*data, epochs=1, batch_size=5, seed=SEED)
    _assert_same(_state(one), _state(two))


def test_a_checkpoint_holds_a_network(data, tmp_path):
    trainer = bp.Trainer(_net(), loss="cross_entropy")
    trainer.step(*data)
    trainer.save(tmp_path / "run")
    net = bp.load(tmp_path / "run")
    np.testing.assert_array_equal(net.predict(data[0]), trainer.net.predict(data[0]))
    net.save(tmp_path / "model")
    with pytest.raises(bp.ModelFormatError, match=r"model: .*use backprop\.load"):
        bp.Trainer.load(tmp_path / "model")


def test_functions_are_not_saved_but_asked_for(data, tmp_path):
    def loss(outputs, targets):
        return bp.losses.cross_entropy(outputs, targets)

    trainer = bp.Trainer(_plain(), loss=loss, optimizer="adam")
    trainer.step(*data)
    trainer.save(tmp_path / "run")
    with pytest.raises(TypeError, match="give it as loss="):
        bp.Trainer.load(tmp_path / "run")
    again = bp.Trainer.load(tmp_path / "run", loss=loss)
    assert again.step(*data) == trainer.step(*data)
    with pytest.raises(TypeError, match="cannot be saved"):
        bp.Trainer(_plain(), loss="mse", optimizer=bp.SGD(lr=lambda step: 0.1)).save(tmp_path / "run")
    assert bp.Trainer.load(tmp_path / "run", loss=loss).optimizer.steps == 1


def test_custom_metrics_are_asked_for(data, tmp_path):
    def rows(outputs, targets):
        return len(outputs)

    trainer = bp.Trainer(_plain(), loss="cross_entropy", metrics=["f1", rows, bp.metrics.recall])
    trainer.fit(*data, batch_size=5)
    trainer.save(tmp_path / "run")
    with pytest.raises(TypeError, match=r"run: .* custom metric functions, rows, .*metrics="):
        bp.Trainer.load(tmp_path / "run")
    again = bp.Trainer.load(tmp_path / "run", metrics=["f1", rows, "recall"])
    assert again.fit(*data, batch_size=5).history == trainer.fit(*data, batch_size=5).history
    named = bp.Trainer(_plain(), loss="cross_entropy", metrics=[bp.metrics.recall])
    named.save(tmp_path / "run")
    assert bp.Trainer.load(tmp_path / "run").metrics == ("recall",)


@pytest.mark.parametrize(
    "damage",
    [
        {"optimizer_state": {"steps": -1, "epoch": 0}},
        {"optimizer": {"name": "none"}},
        {"epoch": "x"},
        {"metrics": [{}]},
        {"metrics": 3},
        {"callbacks": []},
        {"callbacks": {"EMA.0": {"values": {}, "arrays": ["missing"]}}},
        None,
    ],
)
def test_a_damaged_checkpoint_is_a_format_error(damage, data, tmp_path):
    from backprop.serialization import read_file, write_file

    trainer = bp.Trainer(_plain(), loss="cross_entropy")
    trainer.step(*data)
    trainer.save(tmp_path / "run")
    tensors, content = read_file(tmp_path / "run")
    content["trainer"] = content["trainer"] | damage if damage else []
    write_file(tmp_path / "run", tensors, content)
    with pytest.raises(bp.ModelFormatError, match="run: "):
        bp.Trainer.load(tmp_path / "run")


def _bound_elsewhere():
    optimizer = bp.Adam()
    bp.Trainer(_net(), loss="mse", optimizer=optimizer).step(np.ones((4, 4)), np.ones((4, 3)))
    return optimizer


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"loss": "mmse"}, ValueError),
        ({"loss": 3}, (ValueError, TypeError)),
        ({"optimizer": 3}, (ValueError, TypeError)),
        ({"optimizer": bp.SGD(0.1)}, ValueError),
        ({"optimizer": _bound_elsewhere}, (ValueError, RuntimeError)),
        ({"metrics": "accuracy"}, TypeError),
        ({"metrics": ["accurcy"]}, ValueError),
        ({"on_gradients": 3}, TypeError),
    ],
)
def test_a_wrong_argument_of_load_does_not_blame_the_file(arguments, error, data, tmp_path):
    trainer = bp.Trainer(_plain(), loss="cross_entropy", optimizer="adam")
    trainer.step(*data)
    trainer.save(tmp_path / "run")
    made = {name: value() if value is _bound_elsewhere else value for name, value in arguments.items()}
    with pytest.raises(error) as caught:
        bp.Trainer.load(tmp_path / "run", **made)
    assert not isinstance(caught.value, bp.ModelFormatError)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", bp.losses.CrossEntropy(class_weight=[1.0, 2.0, 3.0])])
def test_a_loss_that_is_given_to_load_has_no_class_weights_of_the_saved_one(loss, data, tmp_path):
    trainer = bp.Trainer(_plain(), loss=bp.losses.CrossEntropy(class_weight="balanced"))
    trainer.fit(data[0][:20], data[1][:20])
    trainer.save(tmp_path / "run")
    x, y = data if loss != "mse" else (data[0], np.eye(3)[data[1]])
    again = bp.Trainer.load(tmp_path / "run", loss=loss)
    assert again.evaluate(x, y)["loss"] == trainer.net.evaluate(x, y, loss=loss)["loss"]


def test_a_loaded_trainer_knows_the_learning_rate_of_the_last_update(data, tmp_path):
    trainer = bp.Trainer(_plain(), loss="cross_entropy", optimizer=bp.SGD(lr=bp.schedules.Exponential(0.1, gamma=0.5)))
    for _ in range(4):
        trainer.step(*data)
    trainer.save(tmp_path / "run")
    assert bp.Trainer.load(tmp_path / "run").last_lr == trainer.last_lr == 0.0125


def _pickled(trainer):
    return pickle.loads(pickle.dumps(trainer))


@pytest.mark.parametrize("copied", [copy.deepcopy, _pickled])
def test_a_copy_trains_on_its_own(copied, data):
    trainer = bp.Trainer(_net(), loss="cross_entropy", optimizer="adam", accumulate_steps=2)
    trainer.fit(*data, epochs=2, batch_size=5, seed=SEED)
    trainer.step(*data)
    before, twin = _state(trainer), copied(trainer)
    twin.fit(*data, epochs=2, batch_size=5)
    _assert_same(_state(trainer), before)
    trainer.fit(*data, epochs=2, batch_size=5)
    _assert_same(_state(trainer), _state(twin))


@pytest.mark.parametrize("steps", [0, 1])
def test_a_pickle_of_earlier_versions_keeps_the_gradients_that_wait(steps, data):
    trainer = bp.Trainer(_net(), loss="cross_entropy", optimizer="adam", accumulate_steps=2)
    for _ in range(steps):
        trainer.step(*data)
    state = copy.deepcopy(trainer.__getstate__())
    mean, count, weight = state.pop("_accumulation").state()
    old = bp.Trainer.__new__(bp.Trainer)
    old.__setstate__(state | {"_accumulated": mean, "_accumulated_steps": count, "_accumulated_weight": weight})
    assert vars(old).keys() == vars(trainer).keys()
    for _ in range(3):
        assert old.step(*data) == trainer.step(*data)
    _assert_same(_state(old), _state(trainer))


def test_a_second_thread_is_refused(data):
    entered, leave = threading.Event(), threading.Event()

    def loss(outputs, targets):
        entered.set()
        leave.wait(10)
        return 0.0, np.zeros_like(outputs)

    trainer = bp.Trainer(_plain(), loss=loss)
    thread = threading.Thread(target=trainer.fit, args=data)
    thread.start()
    entered.wait(10)
    other = bp.Trainer(trainer.net, loss="cross_entropy")
    for use in (trainer.step, trainer.fit, other.step):
        with pytest.raises(RuntimeError, match="being trained by another thread"):
            use(*data)
    leave.set()
    thread.join()
    trainer.step(*data)


def test_callbacks_may_use_the_trainer(data):
    trainer = bp.Trainer(_plain(), loss="cross_entropy")
    seen = []
    trainer.fit(*data, callbacks=[bp.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(trainer.step(*data)))])
    assert len(seen) == 1


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_waits_for_the_end_of_the_step(data, times):
    """One is put off until the step is whole; a second one is not, and the step is undone."""
    calls = []

    def loss(outputs, targets):
        calls.append(len(targets))
        if len(calls) == 3:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return bp.losses.cross_entropy(outputs, targets)

    trainer, reference = bp.Trainer(_net(), loss=loss), bp.Trainer(_net(), loss="cross_entropy")
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*data, batch_size=6, seed=SEED)

    def stop(batch, logs):
        if batch == 3 - times:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        reference.fit(*data, batch_size=6, seed=SEED, callbacks=[bp.LambdaCallback(on_train_batch_end=stop)])
    np.testing.assert_array_equal(trainer.net.parameters, reference.net.parameters)
    np.testing.assert_array_equal(trainer.net.buffers, reference.net.buffers)
    assert trainer.optimizer.steps == 4 - times
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    trainer.fit(*data)


def test_a_handler_of_the_programs_own_is_left_alone(data):
    def own(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGINT, own)
    try:
        seen = []
        spy = bp.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(signal.getsignal(signal.SIGINT)))
        _plain().fit(*data, loss="cross_entropy", callbacks=[spy])
        assert seen == [own]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_handler_that_a_callback_sets_stays(data):
    def own(number, frame):
        raise AssertionError

    install = bp.LambdaCallback(on_train_batch_end=lambda batch, logs: signal.signal(signal.SIGINT, own))
    _plain().fit(*data, loss="cross_entropy", callbacks=[install])
    assert signal.getsignal(signal.SIGINT) is own


@pytest.mark.parametrize(("verbose", "shown"), [(None, False), (False, False), (True, True)])
def test_progress_is_silent_in_a_pipe(verbose, shown):
    code = f"""
import sys, numpy as np, backprop as bp
bp.mlp([2, 1], seed=0).fit(np.ones((8, 2)), np.ones(8), loss="mse", epochs=2, verbose={verbose})
assert ("tqdm" in sys.modules) == {shown}
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == ""
    assert ("epoch 2/2" in run.stderr and "loss=" in run.stderr) == shown
    assert bool(run.stderr) == shown


# --- between gradient and update


@pytest.mark.parametrize("accumulate", [1, 2])
def test_on_gradients_sees_the_gradients_of_each_update_before_clipping(data, backend, accumulate):
    seen = []
    options = {"loss": "cross_entropy", "optimizer": "sgd", "clip_norm": 1e-3, "accumulate_steps": accumulate}
    trainer = bp.Trainer(_net(), **options, on_gradients=lambda gradients: seen.append(gradients.copy()))
    reference = bp.Trainer(_net(), **options)
    for _ in range(4):
        loss = trainer.step(*data)
        assert loss == pytest.approx(reference.step(*data), rel=1e-6)
    assert len(seen) == trainer.optimizer.steps == 4 // accumulate
    assert min(np.linalg.norm(gradients) for gradients in seen) > 1e-2
    np.testing.assert_allclose(trainer.net.parameters, reference.net.parameters, rtol=1e-5, atol=1e-7)


def test_on_gradients_may_change_them_in_place(data, backend):
    net = _net()
    before = net.parameters.copy()
    trainer = bp.Trainer(net, loss="cross_entropy", optimizer=bp.SGD(lr=0.5), on_gradients=lambda gradients: gradients.fill(2.0))
    trainer.fit(*data, batch_size=24)
    np.testing.assert_allclose(net.parameters, before - 1.0, rtol=1e-6)


def test_gradients_that_on_gradients_spoils_are_refused(data, backend):
    net = _net()
    before = net.parameters.copy()
    trainer = bp.Trainer(net, loss="cross_entropy", on_gradients=lambda gradients: gradients.fill(np.nan))
    with pytest.raises(bp.DivergenceError, match="gradient norm is nan"):
        trainer.step(*data)
    np.testing.assert_array_equal(net.parameters, before)


def test_on_gradients_can_be_assigned_and_is_asked_for_when_a_trainer_is_loaded(data, tmp_path):
    trainer = bp.Trainer(_net(), loss="cross_entropy")
    trainer.step(*data)
    seen = []
    trainer.on_gradients = seen.append
    trainer.step(*data)
    assert len(seen) == 1
    with pytest.raises(TypeError, match="on_gradients must be a function of the gradients, got int"):
        trainer.on_gradients = 3
    trainer.save(tmp_path / "run.safetensors")
    with pytest.raises(TypeError, match="trained with a function on_gradients, which is not saved"):
        bp.Trainer.load(tmp_path / "run.safetensors")
    again = bp.Trainer.load(tmp_path / "run.safetensors", on_gradients=seen.append)
    assert again.step(*data) == trainer.step(*data)


def test_a_hook_that_writes_all_gradients_finds_those_of_frozen_layers_zero_again(backend):
    net = bp.Network([bp.Dense(4, 5, activation="tanh"), bp.Dense(5, 1)], seed=0)
    net.layers[0].trainable = False
    seen = []

    def add_one(gradients):
        seen.append(gradients[:25].copy())
        gradients += 1

    trainer = bp.Trainer(net, loss="mse", optimizer="adagrad", on_gradients=add_one)
    for _ in range(3):
        trainer.step(np.ones((4, 4)), np.ones((4, 1)))
    assert len(seen) == 3
    assert not np.any(seen)


def test_a_penalty_with_infinite_gradients_is_divergence(backend):
    net = bp.Network([bp.Dense(64, 64, activation="tanh"), bp.Dense(64, 1)], seed=0)
    net.layers[0].weight *= 1e13
    before = net.parameters.copy()
    with pytest.raises(bp.DivergenceError):
        bp.Trainer(net, loss="mse", optimizer="sgd", l2=1e30).step(np.ones((4, 64)), np.ones((4, 1)))
    np.testing.assert_array_equal(net.parameters, before)


def test_a_shallow_copy_of_a_trainer_accumulates_for_itself(backend):
    trainer = bp.Trainer(bp.mlp([2, 3, 1], seed=0), loss="mse", accumulate_steps=3)
    trainer.step(np.ones((2, 2)), np.ones((2, 1)))
    other = copy.copy(trainer)
    other.step(np.ones((2, 2)), np.ones((2, 1)))
    assert (trainer._accumulation.steps, other._accumulation.steps) == (1, 2)


def test_a_plateau_that_a_callback_assigns_is_followed(data):
    def assign(epoch, logs):
        if epoch == 1:
            trainer.optimizer.lr = bp.schedules.ReduceOnPlateau(0.1, patience=0, threshold=10.0)

    trainer = bp.Trainer(_plain(), loss="cross_entropy", optimizer="sgd")
    history = trainer.fit(*data, epochs=5, callbacks=bp.LambdaCallback(on_epoch_begin=assign))
    assert history["lr"][1:] == pytest.approx([0.1, 0.1, 0.01, 0.001])


@pytest.mark.parametrize("batches", [8, 7, 2])
def test_a_schedule_is_asked_for_no_more_learning_rates_than_there_are_updates(batches, data, backend):
    """A function that reads a table as long as the run is one, also where several steps make an update."""
    asked = set()

    def rate(step):
        asked.add(step)
        return [0.1, 0.05, 0.02][step]

    trainer = bp.Trainer(_plain(), loss="cross_entropy", optimizer=bp.SGD(lr=rate), accumulate_steps=3)
    x, y = data
    trainer.fit(x[: 3 * batches], y[: 3 * batches], batch_size=3)
    assert trainer.optimizer.steps == -(-batches // 3) == len(asked)


@pytest.mark.parametrize("weighted", [False, True])
def test_batches_of_a_stream_may_share_one_memory(weighted, data, backend):
    """A metric of all rows at once sees those of each batch, not the last ones again and again."""
    x, y = data[0], (data[0][:, :1] > 0).astype(float)
    weight = np.arange(1.0, 25.0) if weighted else None
    memory = np.empty((6, 4)), np.empty((6, 1)), np.empty(6)

    def batches():
        for start in range(0, 24, 6):
            rows = slice(start, start + 6)
            memory[0][...], memory[1][...] = x[rows], y[rows]
            memory[2][...] = 1.0 if weight is None else weight[rows]
            yield memory if weighted else memory[:2]

    options = {"loss": "binary_cross_entropy", "metrics": ["auc"]}
    nets = [_plain(last=1) for _ in range(2)]
    streamed = nets[0].fit(batches, **options)
    whole = nets[1].fit(x, y, sample_weight=weight, batch_size=6, shuffle=False, **options)
    assert streamed["auc"] == whole["auc"]
    net = _plain(last=1)
    assert net.evaluate(batches, **options)["auc"] == net.evaluate(x, y, sample_weight=weight, **options)["auc"]


@pytest.mark.parametrize("first", [np.nan, 1e9])
def test_targets_of_rows_without_weight_may_be_anything(first, data, backend):
    """They reach neither the loss nor the metrics, however far from the others they are."""
    x, y = data[0], data[0] @ [1.0, 2.0, 3.0, 4.0] + 7
    weight = np.ones(24)
    weight[0], given = 0, y.copy()
    given[0] = first
    options = {"loss": "mse", "shuffle": False, "batch_size": 4, "sample_weight": weight, "check_finite": False}
    expected = _plain(last=1).fit(x, y, **options).history
    assert _plain(last=1).fit(x, given, **options).history == {
        key: pytest.approx(value, rel=1e-12) for key, value in expected.items()
    }


def _assigning(loss, hook="on_epoch_begin", at=1):
    """A callback that gives the trainer a loss at the beginning of an epoch, or after a batch of the first one."""

    class Assign(bp.Callback):
        pass

    def assign(self, number, logs):
        if number == at:
            self.trainer.loss = loss

    setattr(Assign, hook, assign)
    return Assign()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("weight", [[1.0, 5.0, 0.5], "balanced", None])
def test_class_weights_of_a_loss_that_a_callback_assigns_count_from_then_on(weight, stream, data, backend):
    """An epoch with the first loss and one with the second are what two runs make of them."""
    x, y = data
    x, y = x[:20], y[:20]
    first, second = losses.CrossEntropy(class_weight=[2.0, 1.0, 1.0]), losses.CrossEntropy(class_weight=weight)
    if stream and weight == "balanced":
        pytest.skip("balanced weights need all targets")
    batches = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 20, 4)]
    given = (batches,) if stream else (x, y)
    options = {"seed": 3} if stream else {"seed": 3, "batch_size": 4}
    options["validation_data"] = data
    once = bp.Trainer(_plain(), loss=first, optimizer="sgd")
    history = once.fit(*given, epochs=2, callbacks=[_assigning(second)], **options)
    twice = bp.Trainer(_plain(), loss=first, optimizer="sgd")
    twice.fit(*given, **options)
    twice.loss = second
    assert twice.fit(*given, **options).history == {key: values[1:] for key, values in history.history.items()}
    np.testing.assert_array_equal(once.net.parameters, twice.net.parameters)
    assert once.net.loss is second
    assert once.evaluate(*data) == twice.evaluate(*data)


@pytest.mark.parametrize(
    ("first", "second", "y", "message"),
    [
        ("cross_entropy", "mse", [0, 1, 2, 0], r"y must have shape \(n, 3\)"),
        ("cross_entropy", "kl_divergence", [0, 1, 2, 0], "for class labels use cross_entropy"),
        ("mse", "poisson", [[-1.0, 0.0, 1.0]] * 4, "y must be not negative for poisson"),
        ("binary_cross_entropy", "hinge", [[0.0, 0.3, 1.0]] * 4, "y must be 0 or 1 for hinge"),
    ],
)
@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_train_batch_end"])
def test_a_loss_that_takes_other_targets_is_refused_in_the_middle_of_a_run(first, second, y, message, hook, backend):
    if hook == "on_train_begin":
        callback = bp.LambdaCallback(on_train_begin=lambda logs: setattr(trainer, "loss", second))
    else:
        callback = _assigning(second, hook)
    trainer = bp.Trainer(_plain(), loss=first)
    with pytest.raises(ValueError, match=message):
        trainer.fit(np.ones((4, 4)), y, epochs=3, batch_size=1, callbacks=callback)


def test_a_loss_with_another_form_of_the_same_targets_is_taken_between_epochs_only(backend):
    x, y = np.ones((4, 4)), [0, 0, 0, 0]
    trainer = bp.Trainer(_plain(last=1), loss="cross_entropy")
    history = trainer.fit(x, y, epochs=2, callbacks=_assigning("mse"))
    assert history["loss"][1] == pytest.approx(trainer.net.predict(x[:1])[0, 0] ** 2, rel=0.1)
    trainer = bp.Trainer(_plain(last=1), loss="cross_entropy")
    with pytest.raises(ValueError, match="in the middle of an epoch must take targets as the one before it, int64 of shape"):
        trainer.fit(x, y, epochs=2, batch_size=1, callbacks=_assigning("mse", "on_train_batch_end"))


def test_class_weights_of_fit_hold_for_a_loss_that_a_callback_assigns(data):
    weight = [1.0, 5.0, 0.5]
    nets = [_plain() for _ in range(2)]
    nets[0].fit(*data, loss="cross_entropy", class_weight=weight, epochs=2, seed=0, callbacks=_assigning(losses.Focal(gamma=0.0)))
    nets[1].fit(*data, loss="cross_entropy", class_weight=weight, epochs=2, seed=0)
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=1e-12)
    with pytest.raises(ValueError, match="class_weight is given twice, to fit and to the loss that a callback has assigned"):
        nets[0].fit(
            *data,
            loss="cross_entropy",
            class_weight=weight,
            epochs=2,
            callbacks=_assigning(losses.CrossEntropy(class_weight=weight)),
        )


def test_weights_that_are_all_too_small_for_float32_are_refused(data, backend):
    x, y = data
    net = bp.mlp([4, 3], seed=0)
    before = net.parameters.copy()
    with pytest.raises(
        ValueError, match="below the numbers of float32; only their ratios count, so divide sample_weight by its larg"
    ):
        net.fit(x, y, loss="cross_entropy", sample_weight=np.full(24, 1e-40))
    np.testing.assert_array_equal(net.parameters, before)
    net.fit(x, y, loss="cross_entropy", sample_weight=np.r_[np.full(23, 1e-40), 1.0])
    net.fit([(x, y), (x, y, np.full(24, 1e-40))], loss="cross_entropy")


@pytest.mark.parametrize("call", ["step", "fit"])
def test_on_gradients_cannot_train_with_its_own_trainer(call, data, backend):
    def train(gradients):
        if trains:
            getattr(trainer, call)(*data)

    trainer = bp.Trainer(_net(), loss="cross_entropy", on_gradients=train)
    before, trains = _state(trainer), True
    for attempt in (trainer.step, trainer.fit):
        with pytest.raises(RuntimeError, match="on_gradients trains with the trainer that calls it"):
            attempt(*data)
    np.testing.assert_equal(_state(trainer), before)
    trains = False
    trainer.step(*data)
    assert trainer.optimizer.steps == 1
