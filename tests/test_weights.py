"""Weights of rows and classes: what a row counts, in one batch and in all batches of `fit`, by every way through the kernels."""

from __future__ import annotations

import numpy as np
import pytest

import backprop as bp
from backprop import losses
from backprop.network import Network

LR = 1e-6  # so small that all steps of an epoch start from the same parameters, but for a relative error of about this


def by_the_mean(outputs, targets, sample_weight):
    """Half the squared error: the mean of weight times loss."""
    weight = sample_weight[:, np.newaxis]
    return float(np.mean(weight * (outputs - targets) ** 2) / 2), weight * (outputs - targets) / len(outputs)


def by_the_weight(outputs, targets, sample_weight):
    """The same, divided by the sum of the weights."""
    value, grad = by_the_mean(outputs, targets, sample_weight)
    share = len(outputs) / np.abs(sample_weight).sum()
    return share * value, share * grad


def a_network(dtype="float64"):
    return bp.mlp([3, 4, 1], activation="tanh", dtype=dtype, seed=0)


@pytest.fixture
def data(rng):
    """24 rows, one in eight of which weighs 19."""
    weight = np.where(np.arange(24) % 8 == 3, 19.0, 1.0)
    return rng.normal(size=(24, 3)), rng.normal(size=24), weight


def gradient(x, y, weight):
    """The gradient of the weighted mean over all rows."""
    net = a_network()
    outputs = net.forward(x, training=True)
    net.backward(losses.half_mse(outputs, y, sample_weight=weight)[1])
    return net.gradients.copy()


def moved(x, y, batch_size, loss="half_mse", accumulate_steps=1, **options):
    """How far an epoch moves the parameters, per step and learning rate."""
    net = a_network()
    before = net.parameters.copy()
    trainer = bp.Trainer(net, loss=loss, optimizer=bp.SGD(lr=LR), accumulate_steps=accumulate_steps)
    trainer.fit(x, y, batch_size=batch_size, seed=0, **options)
    return (before - net.parameters) / LR / trainer.optimizer.steps


@pytest.mark.parametrize("way", ["plan", "layer by layer", "by the mean", "by the weight", "accumulated"])
@pytest.mark.parametrize("batch_size", [1, 2, 8, 24])
def test_a_row_counts_the_same_in_every_batch_of_fit(way, batch_size, data, backend, monkeypatch):
    x, y, weight = data
    loss = {"by the mean": by_the_mean, "by the weight": by_the_weight}.get(way, "half_mse")
    if way == "layer by layer":
        monkeypatch.setattr(Network, "_ready_plan", lambda self: None)
    steps = 3 if way == "accumulated" else 1
    wanted = gradient(x, y, weight)
    found = moved(x, y, batch_size, loss, steps, sample_weight=weight)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["sample_weight", "class_weight", "balanced", "the loss's", "memory map", "both"])
def test_the_rare_class_pulls_as_hard_as_its_weight_says(kind, rng, backend, tmp_path):
    """Each column of x is there for one class only, so that its weight moves by the pull of this class."""
    y = (np.arange(400) % 20 == 0).astype(np.int64)
    x = np.eye(2)[y]
    options = {
        "sample_weight": {"sample_weight": np.where(y, 19.0, 1.0) * 1e-3},
        "class_weight": {"class_weight": {1: 19.0}},
        "balanced": {"class_weight": "balanced"},
        "the loss's": {},
        "memory map": {"class_weight": [1.0, 19.0]},
        "both": {"class_weight": {1: 1.9}, "sample_weight": np.where(y, 10.0, 1.0)},
    }[kind]
    loss = losses.CrossEntropy(class_weight="balanced") if kind == "the loss's" else losses.CrossEntropy()
    net = bp.Network([bp.Dense(2, 2, init="zeros")], dtype="float64", seed=0)
    labels = y
    if kind == "memory map":
        labels = np.memmap(tmp_path / "y", np.int64, "w+", shape=400)
        labels[:] = y
    net.fit(x, labels, loss=loss, optimizer=bp.SGD(lr=LR), batch_size=8, seed=0, **options)
    negatives, positives = np.abs(net.layers[0].weight[:, 0])
    assert positives / 20 / (negatives / 380) == pytest.approx(19, rel=1e-4)
    mean = (380 + 20 * 19) / 400
    assert negatives / LR == pytest.approx(380 * 0.5 / 8 / mean, rel=1e-4)


def test_the_history_has_the_weighted_mean_over_the_epoch(data, backend):
    x, y, weight = data
    trainer = bp.Trainer(a_network(), loss="half_mse", optimizer=bp.SGD(lr=1e-12))
    loss = trainer.fit(x, y, sample_weight=weight, batch_size=5)["loss"][0]
    assert loss == pytest.approx(trainer.evaluate(x, y, sample_weight=weight)["loss"], rel=1e-9)
    weighted = np.repeat([0.0, 1.0], 12)
    loss = trainer.fit(x, y, sample_weight=weighted, batch_size=6, shuffle=False)["loss"][0]
    assert loss == pytest.approx(trainer.evaluate(x[12:], y[12:])["loss"], rel=1e-9)


def test_streams_are_divided_by_the_rows_of_the_batch(data, backend):
    x, y, weight = data
    batches = [(x[rows], y[rows], 7 * weight[rows]) for rows in np.split(np.arange(24), 6)]
    wanted = gradient(x, y, weight) * 7 * weight.mean()
    found = moved(batches, None, 32)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["fit", "step"])
@pytest.mark.parametrize("weightless", [slice(0, 8), slice(8, 16), slice(16, 24), slice(4, 20)])
def test_accumulated_batches_equal_one_large_batch(kind, weightless, data, rng, backend):
    """Batches without weight, too, count as steps and, in `fit`, as rows."""
    x, y, weight = data
    weight = rng.uniform(size=24) * weight
    weight[weightless] = 0
    nets = []
    for batch_size, steps in ((8, 3), (24, 1)):
        net = a_network()
        trainer = bp.Trainer(net, loss="half_mse", optimizer=bp.Adam(lr=0.1), accumulate_steps=steps, clip_norm=1.0)
        for _ in range(3):
            if kind == "fit":
                trainer.fit(x, y, sample_weight=weight, batch_size=batch_size, shuffle=False)
            else:
                for start in range(0, 24, batch_size):
                    rows = slice(start, start + batch_size)
                    trainer.step(x[rows], y[rows], sample_weight=weight[rows])
        assert trainer.optimizer.steps == 3
        nets.append(net.parameters)
    np.testing.assert_allclose(nets[0], nets[1], rtol=1e-10)


def test_steps_without_any_weight_make_no_update(data):
    x, y, _ = data
    trainer = bp.Trainer(a_network(), loss="mse", optimizer=bp.Adam(weight_decay=0.1), accumulate_steps=2)
    before = trainer.net.parameters.copy()
    for _ in range(4):
        assert trainer.step(x, y, sample_weight=np.zeros(24)) == 0
    assert trainer.optimizer.steps == trainer._progress_state()[1]["gathered_steps"] == 0
    np.testing.assert_array_equal(trainer.net.parameters, before)


def test_a_checkpoint_between_accumulated_steps_goes_on(data, tmp_path):
    x, y, weight = data
    trainer = bp.Trainer(a_network(), loss="mse", accumulate_steps=3)
    trainer.step(x, y, sample_weight=0 * weight)
    for count in range(3):
        trainer.save(tmp_path / "run.safetensors")
        again = bp.Trainer.load(tmp_path / "run.safetensors")
        for one in (trainer, again):
            one.step(x[count:], y[count:], sample_weight=weight[count:])
        np.testing.assert_array_equal(trainer.net.parameters, again.net.parameters)
        trainer = again


@pytest.mark.parametrize("name", losses.NAMES)
@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e36])
def test_only_ratios_of_weights_count(name, scale, rng, dtype, backend):
    outputs = rng.normal(size=(8, 4)).astype(dtype) * 3
    targets = np.abs(outputs[::-1]) % 1 if name not in ("cross_entropy", "focal") else np.arange(8) % 3
    targets = targets[:, :2] if name == "gaussian" else targets
    targets = np.round(targets) if name == "hinge" else targets
    loss = losses.get(name)
    weight = (rng.random(8) + 0.5).astype(dtype)
    value, grad = loss(outputs, targets, sample_weight=weight)
    scaled, scaled_grad = loss(outputs, targets, sample_weight=(weight.astype(np.float64) * scale).astype(dtype))
    assert scaled == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(scaled_grad, grad, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e36])
@pytest.mark.parametrize("accumulate_steps", [1, 2])
def test_only_ratios_of_weights_count_in_training(scale, accumulate_steps, data, backend):
    x, y, weight = data
    nets = []
    for one in (weight, weight * scale):
        trainer = bp.Trainer(a_network("float32"), loss="mse", accumulate_steps=accumulate_steps)
        history = trainer.fit(x, y, sample_weight=one, batch_size=6, epochs=2, seed=0)
        trainer.step(x, y, sample_weight=one)
        trainer.step(x, y, sample_weight=one)
        nets.append((trainer.net.parameters, history["loss"]))
    np.testing.assert_allclose(nets[0][0], nets[1][0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(nets[0][1], nets[1][1], rtol=1e-5)


def test_weights_without_a_finite_sum_are_refused(data):
    x, y, _ = data
    with pytest.raises(ValueError, match="sample_weight must have a finite sum"):
        bp.Trainer(a_network(), loss="mse").step(x, y, sample_weight=np.full(24, 1e308))
    with pytest.raises(ValueError, match="class_weight times sample_weight holds a number too large for float32"):
        bp.mlp([3, 2], seed=0).fit(x, y > 0, loss="cross_entropy", class_weight=[1e30, 1.0], sample_weight=np.full(24, 1e30))


def test_a_series_of_class_weights_is_read_by_its_index(rng):
    pandas = pytest.importorskip("pandas")
    x, y = rng.normal(size=(24, 3)), np.r_[np.zeros(6, int), np.ones(10, int), np.full(8, 2)]
    series = 1 / pandas.Series(y).value_counts()  # the most frequent class first
    assert list(series.index) == [1, 2, 0]
    weights = {0: 1 / 6, 1: 1 / 10, 2: 1 / 8}
    assert losses.CrossEntropy(class_weight=series).class_weight == weights
    trained = []
    for given in (series, weights):
        net = bp.mlp([3, 3], seed=0)
        net.fit(x, y, loss="cross_entropy", class_weight=given, epochs=2, verbose=False)
        trained.append(net.parameters.copy())
    np.testing.assert_array_equal(*trained)
