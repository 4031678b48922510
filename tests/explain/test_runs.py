"""Runs with one planted problem each, of which diagnosis names that problem first, and healthy runs, of which it says nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pytest

import backprop as bp
from backprop.explain.diagnosis import Report
from backprop.explain.toys import spirals

Data = tuple[np.ndarray, np.ndarray]


@cache
def digits() -> Data:
    x, y = bp.datasets.digits()[0]
    return x[:500], y[:500]


@cache
def unseen() -> Data:
    x, y = bp.datasets.digits()[0]
    return x[500:800], y[500:800]


@cache
def wave() -> Data:
    """Four columns, the last one without effect, and a smooth target of mean 0 and size 1."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 4))
    y = np.sin(2 * x[:, 0]) + 0.6 * x[:, 1] * x[:, 2] + 0.1 * rng.normal(size=400)
    return x, (y - y.mean()) / y.std()


@cache
def flat() -> Data:
    """A linear target with noise."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 5))
    return x, x @ [0.5, -0.4, 0.3, 0.3, 0.0] + 0.3 * rng.normal(size=400)


@cache
def circle() -> Data:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1.5, 1.5, size=(400, 2))
    return x, ((x**2).sum(axis=1) < 1.4).astype(int)


@cache
def noise(rows: int = 300, columns: int = 8) -> Data:
    rng = np.random.default_rng(4)
    return rng.normal(size=(rows, columns)), rng.integers(0, 2, rows)


def normal(std: float) -> Callable[..., np.ndarray]:
    return lambda shape, rng: std * rng.normal(size=shape)


def report(net: bp.Network, data: Data, loss: str | bp.losses.Loss, **options: Any) -> Report:
    """What a monitor says of the run."""
    monitor = bp.Monitor()
    options = {"epochs": 15, "seed": 0, **options}
    with suppress(bp.DivergenceError):
        net.fit(*data, loss=loss, callbacks=[monitor], **options)
    return monitor.report()


def digit_run(
    *hidden: int, activation: str = "relu", data: Data | None = None, net: dict[str, Any] | None = None, **options: Any
) -> Report:
    made = bp.mlp([64, *(hidden or (32,)), 10], activation=activation, seed=0, **(net or {}))
    return report(made, data or digits(), options.pop("loss", "cross_entropy"), **options)


def wave_run(*hidden: int, activation: str = "tanh", data: Data | None = None, **options: Any) -> Report:
    x, y = data or wave()
    net = bp.mlp([x.shape[1], *(hidden or (32,)), 1], activation=activation, seed=0)
    return report(net, (x, y), options.pop("loss", "mse"), **{"optimizer": bp.Adam(lr=0.01), "epochs": 40, **options})


def circle_run(*hidden: int, activation: str = "tanh", data: Data | None = None, **options: Any) -> Report:
    net = bp.mlp([2, *(hidden or (16,)), 1], activation=activation, seed=0)
    return report(net, data or circle(), "binary_cross_entropy", **{"optimizer": bp.Adam(lr=0.01), "epochs": 40, **options})


def biased(value: float, activation: str = "relu") -> Report:
    net = bp.mlp([64, 32, 32, 10], activation=activation, seed=0)
    for layer in net.layers[:-1]:
        layer.bias = np.full(layer.fan_out, value)
    return report(net, digits(), "cross_entropy")


def frozen(*layers: int, trained: bool = False, **options: Any) -> Report:
    net = bp.mlp([64, 32, 32, 10], seed=0)
    if trained:
        net.fit(*digits(), loss="cross_entropy", epochs=20, seed=0)
    for index in layers:
        net.layers[index].trainable = False
    return report(net, digits(), "cross_entropy", **options)


def changed(data: Data, rows: object, columns: object, value: float) -> Data:
    x = data[0].copy()
    x[rows, columns] = value
    return x, data[1]


def target_changed(data: Data, rows: object, value: float) -> Data:
    y = data[1].copy()
    y[rows] = value
    return data[0], y


def is_sorted(data: Data) -> Data:
    order = np.argsort(data[1], kind="stable")
    return data[0][order], data[1][order]


def with_column(data: Data, column: np.ndarray) -> Data:
    return np.column_stack([data[0], column]), data[1]


def one_hot(data: Data, classes: int = 10) -> Data:
    return data[0], np.eye(classes)[data[1]]


def scaled(data: Data, factor: float) -> Data:
    return data[0] * factor, data[1]


def halves(data: Data) -> tuple[Data, Data]:
    (x, y), half = data, len(data[0]) * 3 // 4
    return (x[:half], y[:half]), (x[half:], y[half:])


def mismatched(
    change: Callable[[Data], Data], run: Callable[..., Report] = wave_run, data: Data | None = None, **options: Any
) -> Report:
    train, validation = halves(data or wave())
    return run(data=train, validation_data=change(validation), **options)


def repeated(data: Data, times: int) -> Data:
    x, y = (np.repeat(values, times, axis=0) for values in data)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], y[order]


HIGH, LOW = "learning rate too high", "learning rate too low"
APART, STUCK = "validation differs from training", "underfitting"

SICK: dict[str, tuple[str, Callable[[], Report]]] = {
    "pixels to 255": ("inputs not scaled", lambda: digit_run(data=scaled(digits(), 255.0), activation="tanh")),
    "tiny inputs": ("inputs not scaled", lambda: digit_run(data=scaled(digits(), 1e-4))),
    "one huge column": ("inputs not scaled", lambda: wave_run(data=(wave()[0] * [1, 1, 1, 1e4], wave()[1]))),
    "constant columns": ("constant inputs", lambda: wave_run(data=(wave()[0] * [0, 0, 0, 0], wave()[1]))),
    "prices": ("targets not scaled", lambda: wave_run(data=(wave()[0], 3e5 + 4e4 * wave()[1]))),
    "tiny targets": ("targets not scaled", lambda: wave_run(data=(wave()[0], 1e-4 * wave()[1]))),
    "one class": ("constant targets", lambda: circle_run(data=(circle()[0], np.ones(400, dtype=int)))),
    "one target": ("constant targets", lambda: wave_run(data=(wave()[0], np.full(400, 0.5)))),
    "tanh at the end": (
        "targets out of reach",
        lambda: report(
            bp.mlp([4, 32, 1], output_activation="tanh", seed=0),
            (wave()[0], 3 * wave()[1]),
            "mse",
            optimizer=bp.Adam(lr=0.01),
            epochs=30,
        ),
    ),
    "relu at the end": (
        "targets out of reach",
        lambda: report(bp.mlp([4, 32, 1], output_activation="relu", seed=0), wave(), "mse", optimizer=bp.Adam(lr=0.01), epochs=30),
    ),
    "outlier in a row": ("outliers", lambda: wave_run(data=changed(wave(), 7, 1, 2e4))),
    "outlier in all of a row": ("outliers", lambda: wave_run(data=changed(wave(), 7, slice(None), 300.0), activation="relu")),
    "outlier in the targets": ("outliers", lambda: wave_run(data=target_changed(wave(), 11, 1e4))),
    "sentinels in the targets": ("outliers", lambda: wave_run(data=target_changed(wave(), [3, 50, 200], -999.0))),
    "validation not scaled": (APART, lambda: mismatched(lambda data: (data[0] * 20 + 50, data[1]))),
    "validation targets not scaled": (APART, lambda: mismatched(lambda data: (data[0], data[1] * 40 + 200))),
    "validation labels shifted": (APART, lambda: mismatched(lambda data: (data[0], (data[1] + 1) % 10), digit_run, digits())),
    "validation labels shuffled": (APART, lambda: mismatched(lambda data: (data[0], np.roll(data[1], 7)), digit_run, digits())),
    "validation labels flipped": (APART, lambda: mismatched(lambda data: (data[0], 1 - data[1]), circle_run, circle())),
    "validation columns swapped": (APART, lambda: mismatched(lambda data: (data[0][:, ::-1].copy(), data[1]), data=flat())),
    "validation of other classes": (
        APART,
        lambda: digit_run(
            data=tuple(v[digits()[1] < 5] for v in digits()), validation_data=tuple(v[unseen()[1] >= 5] for v in unseen())
        ),
    ),
    "validation is training": ("validation rows in training", lambda: digit_run(validation_data=digits())),
    "rows drawn before the split": (
        "validation rows in training",
        lambda: wave_run(data=repeated(wave(), 3), validation_split=0.3),
    ),
    "a copy of the target": (
        "leaked target",
        lambda: wave_run(data=with_column(wave(), 2 * wave()[1] + 1), epochs=30),
    ),
    "a column made from the class": (
        "leaked target",
        lambda: report(
            bp.mlp([3, 16, 1], seed=0),
            with_column(circle(), circle()[1] + 0.1 * np.random.default_rng(5).random(400)),
            "binary_cross_entropy",
            optimizer=bp.Adam(lr=0.01),
        ),
    ),
    "mse on class numbers": (
        "regression loss on classes",
        lambda: report(bp.mlp([64, 32, 1], seed=0), digits(), "mse", optimizer=bp.Adam(lr=0.005)),
    ),
    "mse on yes and no": (
        "regression loss on classes",
        lambda: report(bp.mlp([2, 16, 1], seed=0), circle(), "mse", optimizer=bp.Adam(lr=0.01)),
    ),
    "mse on one-hot targets": ("regression loss on classes", lambda: digit_run(data=one_hot(digits()), loss="mse")),
    "mae on one-hot targets": ("regression loss on classes", lambda: digit_run(data=one_hot(digits()), loss="mae")),
    "rows by class": (
        "rows not shuffled",
        lambda: digit_run(data=is_sorted(digits()), shuffle=False, optimizer=bp.SGD(lr=0.1, momentum=0.9)),
    ),
    "rows by target": (
        "rows not shuffled",
        lambda: wave_run(data=is_sorted(wave()), shuffle=False, optimizer=bp.SGD(lr=0.05)),
    ),
    "noise, validated": (
        "uninformative inputs",
        lambda: report(
            bp.mlp([8, 32, 1], seed=0), noise(), "binary_cross_entropy", optimizer=bp.Adam(lr=0.01), epochs=40, validation_split=0.3
        ),
    ),
    "noise": (
        "uninformative inputs",
        lambda: report(bp.mlp([8, 2, 1], seed=0), noise(), "binary_cross_entropy", optimizer=bp.Adam(lr=0.01), epochs=40),
    ),
    "rows shuffled apart": (
        "uninformative inputs",
        lambda: wave_run(data=(wave()[0], np.random.default_rng(0).permutation(wave()[1])), validation_split=0.3),
    ),
    "no layer is trained": ("frozen layers", lambda: frozen(0, 1, 2)),
    "only the first layer is trained": ("frozen layers", lambda: frozen(1, 2, optimizer=bp.SGD(lr=0.01))),
    "the first two layers are not trained": ("frozen layers", lambda: frozen(0, 1, optimizer=bp.SGD(lr=0.02))),
    "one hidden unit": ("narrow layer", lambda: circle_run(1, activation="tanh")),
    "a bottleneck of one relu": ("narrow layer", lambda: digit_run(32, 1, 32, optimizer=bp.Adam(lr=0.003))),
    "a tiny limit of the norm": ("clipping too strong", lambda: digit_run(clip_norm=1e-3, optimizer=bp.SGD(lr=0.1))),
    "a tiny limit of values": ("clipping too strong", lambda: digit_run(clip_value=1e-5, optimizer=bp.SGD(lr=0.1))),
    "smoothing of 0.95": (
        "label smoothing too strong",
        lambda: digit_run(loss=bp.losses.CrossEntropy(label_smoothing=0.95)),
    ),
    "smoothing of 0.5": ("label smoothing too strong", lambda: digit_run(loss=bp.losses.CrossEntropy(label_smoothing=0.5))),
    "biases of -4": ("dead relu units", lambda: biased(-4.0)),
    "saturated from the start": ("saturated units", lambda: biased(9.0, "sigmoid")),
    "all weights equal": ("symmetric weights", lambda: digit_run(net={"init": lambda shape, rng: np.full(shape, 0.05)})),
    "weights of size 1": ("badly scaled weights", lambda: digit_run(64, 64, net={"init": normal(1.5)}, optimizer=bp.SGD(lr=0.01))),
    "eight layers of sigmoid": (
        "vanishing gradients",
        lambda: digit_run(*[32] * 8, activation="sigmoid", optimizer=bp.SGD(lr=0.1)),
    ),
    "Adam at 1": (HIGH, lambda: digit_run(32, 32, optimizer=bp.Adam(lr=1.0))),
    "SGD at 5": (HIGH, lambda: wave_run(optimizer=bp.SGD(lr=5.0))),
    "Adam at 1e-6": (LOW, lambda: digit_run(optimizer=bp.Adam(lr=1e-6))),
    "SGD at 1e-5": (LOW, lambda: wave_run(optimizer=bp.SGD(lr=1e-5), epochs=10)),
    "a learning rate of 0": (LOW, lambda: digit_run(optimizer=bp.SGD(lr=bp.schedules.Function(lambda step: 0.0)))),
    "learned by heart": (
        "overfitting",
        lambda: digit_run(
            256,
            data=(
                digits()[0],
                np.where(np.random.default_rng(1).random(500) < 0.5, np.random.default_rng(2).integers(0, 10, 500), digits()[1]),
            ),
            optimizer=bp.Adam(lr=0.01),
            epochs=40,
            validation_data=unseen(),
        ),
    ),
    "a line for a circle": (STUCK, lambda: report(bp.mlp([2, 1], seed=0), circle(), "binary_cross_entropy", epochs=30)),
    "decay of 10": ("regularization too strong", lambda: digit_run(optimizer=bp.SGD(lr=0.05, weight_decay=10.0))),
    "dropout of 0.95": ("regularization too strong", lambda: digit_run(net={"dropout": 0.95})),
    "few positives": (
        "class imbalance",
        lambda: circle_run(data=(circle()[0], ((circle()[0] ** 2).sum(axis=1) < 0.06).astype(int)), epochs=10),
    ),
    "twenty outputs for ten classes": (
        "unused outputs",
        lambda: report(bp.mlp([64, 32, 20], seed=0), digits(), "cross_entropy"),
    ),
}

HEALTHY: dict[str, Callable[[], Report]] = {
    "digits, relu, Adam": digit_run,
    "digits, validated": lambda: digit_run(validation_data=unseen(), optimizer=bp.Adam(lr=0.003)),
    "digits, split": lambda: digit_run(validation_split=0.2, optimizer=bp.Adam(lr=0.003)),
    "digits, SGD with momentum": lambda: digit_run(optimizer=bp.SGD(lr=0.05, momentum=0.9), validation_data=unseen()),
    "digits, tanh": lambda: digit_run(activation="tanh", optimizer=bp.Adam(lr=0.003)),
    "digits, sigmoid": lambda: digit_run(activation="sigmoid", optimizer=bp.Adam(lr=0.01)),
    "digits, gelu, deep": lambda: digit_run(32, 32, 32, activation="gelu", optimizer=bp.Adam(lr=0.003)),
    "digits, dropout": lambda: digit_run(64, net={"dropout": 0.3}, optimizer=bp.Adam(lr=0.003), validation_data=unseen()),
    "digits, batch norm": lambda: digit_run(net={"batch_norm": True}, validation_data=unseen()),
    "digits, decay": lambda: digit_run(optimizer=bp.AdamW(lr=0.003, weight_decay=0.01)),
    "digits, one-cycle": lambda: digit_run(optimizer=bp.SGD(lr=bp.schedules.OneCycle(0.1, steps=240), momentum=0.9)),
    "digits, some smoothing": lambda: digit_run(loss=bp.losses.CrossEntropy(label_smoothing=0.1), optimizer=bp.Adam(lr=0.003)),
    "digits, clipped at 1": lambda: digit_run(clip_norm=1.0, optimizer=bp.SGD(lr=0.1, momentum=0.9)),
    "digits, clipped below usual, Adam": lambda: digit_run(clip_norm=0.05, optimizer=bp.Adam(lr=0.003)),
    "digits, in order of arrival": lambda: digit_run(shuffle=False, optimizer=bp.Adam(lr=0.003)),
    "digits, sorted and shuffled": lambda: digit_run(data=is_sorted(digits()), optimizer=bp.Adam(lr=0.003), validation_split=0.2),
    "digits, a trained layer frozen": lambda: frozen(0, trained=True, optimizer=bp.Adam(lr=0.003)),
    "waves": lambda: wave_run(32, 32),
    "waves, validated": lambda: wave_run(validation_split=0.2, optimizer=bp.Adam(lr=0.005)),
    "waves, huber and heavy tails": lambda: wave_run(
        data=(wave()[0], wave()[1] + 0.1 * np.random.default_rng(0).standard_t(3, 400)), loss="huber"
    ),
    "waves, all at once, in order": lambda: wave_run(32, 32, data=is_sorted(wave()), shuffle=False, batch_size=400, epochs=300),
    "waves, through two units": lambda: wave_run(32, 8, 32),
    "line with noise": lambda: report(
        bp.mlp([5, 1], seed=0), flat(), "mse", optimizer=bp.Adam(lr=0.01), epochs=40, validation_split=0.2
    ),
    "line with noise, one hidden unit": lambda: report(
        bp.mlp([5, 1, 1], activation="tanh", seed=0), flat(), "mse", optimizer=bp.Adam(lr=0.02), epochs=40
    ),
    "skewed inputs": lambda: report(
        bp.mlp([4, 32, 1], seed=0),
        (np.exp(0.7 * wave()[0]), wave()[1]),
        "mse",
        optimizer=bp.Adam(lr=0.01),
        epochs=40,
        validation_split=0.2,
    ),
    "circle": circle_run,
    "circle, validated": lambda: circle_run(validation_split=0.25, optimizer=bp.Adam(lr=0.02)),
    "circle, mse on a sigmoid": lambda: report(
        bp.mlp([2, 16, 1], output_activation="sigmoid", activation="tanh", seed=0),
        circle(),
        "mse",
        optimizer=bp.Adam(lr=0.02),
        epochs=40,
    ),
    "grades": lambda: report(
        bp.mlp([5, 16, 1], seed=0),
        (flat()[0], np.clip(np.round(flat()[1] * 1.5 + 3), 1, 5)),
        "mse",
        optimizer=bp.Adam(lr=0.01),
        epochs=40,
    ),
    "counts": lambda: report(
        bp.mlp([5, 16, 1], seed=0),
        (flat()[0], np.random.default_rng(0).poisson(np.exp(0.8 * flat()[1]))),
        "poisson",
        optimizer=bp.Adam(lr=0.01),
        epochs=30,
    ),
    "xor": lambda: report(
        bp.mlp([2, 8, 1], activation="tanh", seed=0),
        (np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])),
        "binary_cross_entropy",
        optimizer=bp.Adam(lr=0.05),
        epochs=150,
        batch_size=4,
    ),
    "binary columns, rows alike by themselves": lambda: report(
        bp.mlp([5, 16, 1], seed=0),
        ((bits := np.random.default_rng(0).integers(0, 2, (400, 5))).astype(float), (bits[:, 0] ^ bits[:, 1]) & bits[:, 2]),
        "binary_cross_entropy",
        optimizer=bp.Adam(lr=0.02),
        epochs=40,
        validation_split=0.25,
    ),
    "an autoencoder": lambda: report(
        bp.mlp([5, 3, 5], activation="identity", seed=0),
        ((base := flat()[0][:, :3] @ np.random.default_rng(0).normal(size=(3, 5))) / base.std(), base / base.std()),
        "mse",
        optimizer=bp.Adam(lr=0.01),
        epochs=60,
    ),
}


@pytest.mark.parametrize("name", SICK)
def test_the_planted_problem_is_named_first(name: str) -> None:
    problem, run = SICK[name]
    assert [finding.name for finding in run().findings][:1] == [problem]


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_runs_yield_no_finding(name: str) -> None:
    assert [finding.name for finding in HEALTHY[name]().findings] == []


# For each problem that has a planted run above and no remedy in test_diagnosis: the run after the remedy that its finding names.
REMEDIED: dict[str, Callable[[], Report]] = {
    "outliers": lambda: wave_run(data=tuple(np.delete(values, 11, axis=0) for values in target_changed(wave(), 11, 1e4))),
    "validation differs from training": lambda: mismatched(lambda data: data),
    "validation rows in training": lambda: wave_run(validation_split=0.3, optimizer=bp.Adam(lr=0.005)),
    "leaked target": wave_run,
    "regression loss on classes": digit_run,
    "rows not shuffled": lambda: digit_run(data=is_sorted(digits()), optimizer=bp.SGD(lr=0.1, momentum=0.9)),
    "uninformative inputs": lambda: wave_run(validation_split=0.3),
    "frozen layers": lambda: frozen(optimizer=bp.SGD(lr=0.02)),
    "narrow layer": lambda: digit_run(32, 16, 32, optimizer=bp.Adam(lr=0.003)),
    "clipping too strong": lambda: digit_run(clip_norm=10.0, optimizer=bp.SGD(lr=0.1)),
    "label smoothing too strong": lambda: digit_run(loss=bp.losses.CrossEntropy(label_smoothing=0.1)),
    "dead relu units": lambda: biased(0.0),
}


@pytest.mark.parametrize("problem", REMEDIED)
def test_the_remedy_cures(problem: str) -> None:
    assert problem in {named for named, _ in SICK.values()}
    assert [finding.name for finding in REMEDIED[problem]().findings] == []


def test_huber_takes_the_harm_out_of_an_outlier() -> None:
    x, y = target_changed(wave(), 11, 1e4)
    others = np.arange(400) != 11

    def error(loss: str) -> float:
        net = bp.mlp([4, 32, 1], activation="tanh", seed=0)
        net.fit(x, y, loss=loss, optimizer=bp.Adam(lr=0.01), epochs=40, seed=0)
        return net.evaluate(x[others], y[others], loss="mse")["loss"]

    assert error("huber") < 0.3 < error("mse")


@pytest.mark.parametrize(("activation", "lr"), [("relu", 1e-3), ("tanh", 0.5)])
def test_a_run_that_stands_still_is_told_which_way_to_turn_the_learning_rate(activation: str, lr: float) -> None:
    """The remedy is what short trainings on copies found, and a whole training confirms it."""

    def run(rate: float) -> tuple[float, Report]:
        net, monitor = bp.mlp([2, 32, 32, 1], activation=activation, seed=0), bp.Monitor()
        x, y = spirals()
        history = net.fit(x, y, loss="binary_cross_entropy", optimizer=bp.Adam(lr=rate), epochs=60, callbacks=[monitor], seed=0)
        return history["loss"][-1], monitor.report()

    loss, sick = run(lr)
    finding = next(finding for finding in sick.findings if finding.name == "underfitting")
    lower = "Lower the learning rate" in finding.remedy
    assert lower == (lr > 0.01)
    assert ("Raise the learning rate" in finding.remedy) == (not lower)
    assert run(lr / 10 if lower else lr * 10)[0] < 0.9 * loss


def test_a_network_that_is_too_small_is_told_so_and_noise_is_not() -> None:
    def remedy(report: Report) -> str:
        return next(finding.remedy for finding in report.findings if finding.name == "underfitting")

    too_small, no_signal = SICK["a line for a circle"][1](), SICK["rows shuffled apart"][1]()
    assert "Use a wider or deeper network" in remedy(too_small)
    assert "the inputs do not determine the targets" in remedy(no_signal)


def test_units_dead_by_their_biases_are_not_told_to_use_another_activation() -> None:
    (finding,) = (finding for finding in biased(-4.0).findings if finding.name == "dead relu units")
    assert "Start the biases of layers.0 at 0" in finding.remedy
    thrown = next(finding for finding in SICK["Adam at 1"][1]().findings if finding.name == "dead relu units")
    assert thrown.remedy.startswith("Lower the learning rate")


def test_diagnose_sees_in_validation_data_and_order_what_a_monitor_sees() -> None:
    x, y = digits()
    net = bp.mlp([64, 32, 10], seed=0)

    def first(data: Data, **options: Any) -> str:
        return bp.diagnose(net, *data, loss="cross_entropy", **options).findings[0].name

    assert first((x, y), validation_data=(x, y)) == "validation rows in training"
    assert first((x, y), validation_data=(unseen()[0], (unseen()[1] + 1) % 10)) == "validation differs from training"
    assert first(is_sorted((x, y)), shuffle=False, batch_size=32) == "rows not shuffled"
    assert not bp.diagnose(net, *is_sorted((x, y)), loss="cross_entropy", validation_data=unseen())
    with pytest.raises(ValueError, match="x and y of validation_data must have the same number of rows"):
        bp.diagnose(net, x, y, loss="cross_entropy", validation_data=(x, y[:3]))
