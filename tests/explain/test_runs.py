"""Runs with one planted problem each, of which diagnosis names that problem first, and healthy runs, of which it says nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import backprop as bp
from backprop.explain.diagnosis import CATALOGUE, Report
from backprop.explain.toys import spirals

pytestmark = pytest.mark.once

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


def report(net: bp.Network, data: Data, loss: str | bp.losses.Loss, *callbacks: bp.Callback, **options: Any) -> Report:
    """What a monitor says of the run."""
    monitor = bp.Monitor()
    options = {"epochs": 15, "seed": 0, **options}
    with suppress(bp.DivergenceError):
        net.fit(*data, loss=loss, callbacks=[monitor, *callbacks], **options)
    return monitor.report()


def digit_run(
    *hidden: int, activation: str = "relu", data: Data | None = None, net: dict[str, Any] | None = None, **options: Any
) -> Report:
    made = bp.mlp([64, *(hidden or (32,)), 10], activation=activation, seed=0, **(net or {}))
    return report(made, data or digits(), options.pop("loss", "cross_entropy"), **options)


def wave_run(
    *hidden: int, activation: str = "tanh", data: Data | None = None, net: dict[str, Any] | None = None, **options: Any
) -> Report:
    x, y = data or wave()
    made = bp.mlp([x.shape[1], *(hidden or (32,)), 1], activation=activation, seed=0, **(net or {}))
    return report(made, (x, y), options.pop("loss", "mse"), **{"optimizer": bp.Adam(lr=0.01), "epochs": 40, **options})


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


def layered(sizes: tuple[int, ...], norm: bp.Layer, data: Data, loss: str = "mse", **options: Any) -> Report:
    """A run of a network with one hidden layer that is normalized."""
    inside = bp.Dense(sizes[0], sizes[1]), norm, bp.Activation("relu")
    return report(bp.Network([*inside, bp.Dense(sizes[1], sizes[2])], seed=0), data, loss, **options)


def in_batches_of_one_class(data: Data, size: int) -> Data:
    order = [np.flatnonzero(data[1] == one)[start : start + size] for start in range(0, 160, size) for one in (1, 0)]
    return data[0][np.concatenate(order)], data[1][np.concatenate(order)]


def below_zero(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return -np.abs(rng.normal(size=shape)) * np.sqrt(2 / shape[0])


def heavy() -> Data:
    """The waves with a column that goes over many orders of magnitude."""
    x = wave()[0].copy()
    x[:, 1] = np.exp(3 * x[:, 1])
    return x, wave()[1]


def batched(momentum: float, epochs: int = 40) -> Report:
    data = (3 * wave()[0] + 4, wave()[1])
    norm = bp.BatchNorm(32, momentum=momentum)
    return layered((4, 32, 1), norm, data, optimizer=bp.Adam(lr=0.01), epochs=epochs, validation_split=0.2)


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

PLANTED: dict[str, tuple[str, Callable[[], Report]]] = {
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
    "a column over many orders of magnitude": ("outliers", lambda: wave_run(data=heavy())),
    "three of four columns constant": ("constant inputs", lambda: wave_run(data=(wave()[0] * [0, 0, 0, 1], wave()[1]))),
    "five rows to validate on": (
        "few validation rows",
        lambda: wave_run(data=tuple(v[:300] for v in wave()), validation_data=tuple(v[300:305] for v in wave())),
    ),
    "ten rows many times": (
        "repeated rows",
        lambda: wave_run(data=repeated(tuple(v[:10] for v in wave()), 40), validation_data=tuple(v[100:] for v in wave())),
    ),
    "a class weight of 10000": ("weight on few rows", lambda: digit_run(class_weight={0: 1e4})),
    "a class weight of a million for half of the rows": ("weight on few rows", lambda: circle_run(class_weight={1: 1e6})),
    "the weight of five rows": ("weight on few rows", lambda: digit_run(sample_weight=np.where(np.arange(500) < 5, 1.0, 1e-6))),
    "the target through a curve": ("leaked target", lambda: wave_run(data=with_column(wave(), np.exp(1.5 * wave()[1]) / 3))),
    "the class number as a column": (
        "leaked target",
        lambda: report(
            bp.mlp([65, 32, 10], seed=0),
            with_column(digits(), digits()[1] / 9 + 0.01 * np.random.default_rng(0).random(500)),
            "cross_entropy",
            optimizer=bp.Adam(lr=0.003),
        ),
    ),
    "mse on -1 and 1": (
        "regression loss on classes",
        lambda: report(bp.mlp([2, 16, 1], seed=0), (circle()[0], 2.0 * circle()[1] - 1), "mse", optimizer=bp.Adam(lr=0.01)),
    ),
    "batches of one class each": (
        "rows not shuffled",
        lambda: circle_run(data=in_batches_of_one_class(circle(), 16), shuffle=False, batch_size=16, optimizer=bp.SGD(lr=0.5)),
    ),
    "weights below 0 on inputs above it": ("dead relu units", lambda: digit_run(64, net={"init": below_zero})),
    "gelu at -12": ("saturated units", lambda: biased(-12.0, "gelu")),
    "hardtanh at 9": ("saturated units", lambda: biased(9.0, "hardtanh")),
    "softsign at 60": ("saturated units", lambda: biased(60.0, "softsign")),
    "relu6 at 20": ("saturated units", lambda: biased(20.0, "relu6")),
    "saturated by the weights": (
        "saturated units",
        lambda: report(
            bp.mlp([4, 32, 1], activation="tanh", seed=0), (12 * wave()[0], wave()[1]), "mse", optimizer=bp.Adam(lr=0.01)
        ),
    ),
    "layers without activations": ("no nonlinearity", lambda: circle_run(32, 32, activation="identity")),
    "running statistics that stand still": ("batch norm statistics", lambda: batched(0.0)),
    "running statistics that hardly move": ("batch norm statistics", lambda: batched(1e-4)),
    "one row a batch with batch norm": (
        "tiny batches with batch norm",
        lambda: layered((64, 32, 10), bp.BatchNorm(32), digits(), "cross_entropy", batch_size=2, epochs=5),
    ),
    "l2 of 300 in the loss": ("regularization too strong", lambda: digit_run(l2=300.0, optimizer=bp.Adam(lr=0.003))),
    "zeros for gradients": ("changed gradients", lambda: digit_run(on_gradients=lambda gradients: gradients.fill(0))),
    "gradients upside down": (
        "changed gradients",
        lambda: digit_run(on_gradients=lambda gradients: np.negative(gradients, out=gradients), optimizer=bp.SGD(lr=0.02)),
    ),
    "all rows in one batch": ("too few updates", lambda: digit_run(batch_size=500)),
    "an update an epoch": ("too few updates", lambda: digit_run(accumulate_steps=1000)),
    "momentum of 0.999": (HIGH, lambda: wave_run(optimizer=bp.SGD(lr=0.05, momentum=0.999))),
    "a schedule into the sky": (
        HIGH,
        lambda: digit_run(optimizer=bp.Adam(lr=bp.schedules.Function(lambda step: 1e-3 * 1.03**step))),
    ),
    "endless warmup": (LOW, lambda: digit_run(optimizer=bp.Adam(lr=bp.schedules.Cosine(1e-3, steps=10**7, warmup=10**6)))),
    "Adam with eps of 100": (LOW, lambda: digit_run(optimizer=bp.Adam(eps=100.0))),
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
    "layer norm": lambda: layered(
        (64, 32, 10), bp.LayerNorm(32), digits(), "cross_entropy", optimizer=bp.Adam(lr=0.003), validation_data=unseen()
    ),
    "batch norm, a slow average": lambda: batched(0.02, epochs=60),
    "one-hot categories": lambda: report(
        bp.mlp([24, 16, 1], seed=0),
        (
            np.eye(24)[(kind := np.random.default_rng(0).integers(0, 24, 500))],
            np.random.default_rng(1).normal(size=24)[kind] + 0.1 * np.random.default_rng(2).normal(size=500),
        ),
        "mse",
        optimizer=bp.Adam(lr=0.02),
        epochs=30,
    ),
    "linear layers on a line": lambda: wave_run(8, activation="identity", data=flat()),
    "linear layers on digits": lambda: digit_run(16, activation="identity", optimizer=bp.Adam(lr=0.003)),
    "all rows in one batch, many epochs": lambda: digit_run(batch_size=500, optimizer=bp.Adam(lr=0.01), epochs=100),
    "weights from a half to two": lambda: wave_run(sample_weight=np.random.default_rng(0).uniform(0.5, 2, 400)),
    "most rows without weight": lambda: wave_run(
        sample_weight=np.where(np.arange(400) % 3 == 0, 1.0, 0.0), optimizer=bp.Adam(lr=0.01), epochs=80
    ),
    "balanced classes": lambda: circle_run(
        data=(circle()[0], ((circle()[0] ** 2).sum(axis=1) < 0.7).astype(int)), class_weight="balanced", optimizer=bp.Adam(lr=0.02)
    ),
    "some l2": lambda: digit_run(l2=0.1, optimizer=bp.Adam(lr=0.003)),
    "gradients that are looked at": lambda: digit_run(on_gradients=lambda gradients: None, optimizer=bp.Adam(lr=0.003)),
    "gradients with some noise": lambda: digit_run(
        on_gradients=lambda gradients: np.add(gradients, 1e-4, out=gradients), optimizer=bp.Adam(lr=0.003)
    ),
    "rows doubled": lambda: wave_run(data=repeated(wave(), 2)),
    "forty rows to validate on": lambda: digit_run(validation_data=tuple(v[:40] for v in unseen()), optimizer=bp.Adam(lr=0.003)),
    "one strong column": lambda: wave_run(
        16,
        activation="relu",
        data=(wave()[0], wave()[0] @ [2.0, 0.3, 0.0, 0.0] + 0.1 * np.random.default_rng(0).normal(size=400)),
    ),
    "two outputs": lambda: report(
        bp.mlp([4, 32, 2], activation="tanh", seed=0),
        (wave()[0], np.column_stack([wave()[1], wave()[0][:, 1] - wave()[0][:, 2]])),
        "mse",
        optimizer=bp.Adam(lr=0.01),
        epochs=40,
        validation_split=0.2,
    ),
    "quantiles": lambda: report(
        bp.mlp([4, 32, 3], activation="tanh", seed=0),
        wave(),
        bp.losses.Quantile(q=[0.1, 0.5, 0.9]),
        optimizer=bp.Adam(lr=0.01),
        epochs=60,
    ),
    "soft labels": lambda: digit_run(
        data=(digits()[0], np.eye(10)[digits()[1]] * 0.9 + 0.01), loss="kl_divergence", optimizer=bp.Adam(lr=0.003)
    ),
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


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_problem_is_named_first(name: str) -> None:
    assert [finding.name for finding in found(name).findings][:1] == [PLANTED[name][0]]


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_runs_yield_no_finding(name: str) -> None:
    assert [finding.name for finding in HEALTHY[name]().findings] == []


@cache
def found(name: str) -> Report:
    """What is said of a run with a planted problem."""
    return PLANTED[name][1]()


def without_outlier() -> Report:
    return wave_run(data=tuple(np.delete(values, 11, axis=0) for values in target_changed(wave(), 11, 1e4)))


def outputs_scaled(factor: float) -> Report:
    net = bp.mlp([64, 32, 10], seed=0)
    net.layers[-1].weight = factor * net.layers[-1].weight
    return bp.diagnose(net, *digits(), loss="cross_entropy")


def deep(*sizes: int, activation: str = "sigmoid", layers: list[bp.Layer] | None = None, **options: Any) -> Report:
    net = bp.Network(layers, seed=0) if layers else bp.mlp([64, *sizes, 10], activation=activation, seed=0)
    return report(net, digits(), "cross_entropy", **{"optimizer": bp.SGD(lr=0.1), **options})


def residual(depth: int) -> list[bp.Layer]:
    block = (bp.Residual([bp.Dense(32, 32, activation="sigmoid"), bp.Dense(32, 32)]) for _ in range(depth))
    return [bp.Dense(64, 32), *block, bp.Dense(32, 10)]


def normed(depth: int, norm: Callable[[int], bp.Layer], activation: str) -> list[bp.Layer]:
    widths = [64, *[32] * depth]
    layers = [
        layer
        for fan_in, fan_out in pairwise(widths)
        for layer in (bp.Dense(fan_in, fan_out), norm(fan_out), bp.Activation(activation))
    ]
    return [*layers, bp.Dense(32, 10)]


def by_heart(units: int = 256, rows: int = 500, *callbacks: bp.Callback, **options: Any) -> Report:
    """Digits half of whose labels are drawn at random."""
    x, y = digits()
    drawn = np.random.default_rng(1).random(500) < 0.5
    y = np.where(drawn, np.random.default_rng(2).integers(0, 10, 500), y)
    net = bp.mlp([64, units, 10], seed=0, dropout=options.pop("dropout", 0.0))
    given = {"optimizer": bp.Adam(lr=0.01), "epochs": 40, "validation_data": unseen(), **options}
    return report(net, (x[:rows], y[:rows]), "cross_entropy", *callbacks, **given)


def all_digits() -> Data:
    return bp.datasets.digits()[0]


def short_history(*losses: float) -> Report:
    return bp.diagnose(bp.mlp([4, 8, 1], seed=0), *wave(), loss="mse", history={"loss": list(losses)})


def decayed(gamma: float) -> Report:
    return digit_run(optimizer=bp.SGD(lr=bp.schedules.Exponential(0.05, gamma=gamma, per="epoch")), epochs=20)


def exploding(init: Callable[..., np.ndarray] | str | None = None, norm: bool = False) -> Report:
    drawn = normal(0.57) if init is None else init
    if norm:
        return deep(layers=normed(8, bp.LayerNorm, "relu"), epochs=4)
    return report(bp.mlp([64, *[32] * 8, 10], init=drawn, seed=0), digits(), "cross_entropy", optimizer=bp.SGD(lr=1e-3), epochs=4)


def far_rows(clip_norm: float | None) -> Report:
    """Large targets make gradients large from the start."""
    x = wave()[0]
    data = x, 50 * x[:, 0] + 20 * x[:, 1] ** 2
    return wave_run(32, 32, data=data, optimizer=bp.SGD(lr=0.1), clip_norm=clip_norm, activation="relu")


def balanced_recall(class_weight: str | None) -> float:
    x, y = circle()[0], ((circle()[0] ** 2).sum(axis=1) < 0.1).astype(int)
    net = bp.mlp([2, 16, 1], activation="tanh", seed=0)
    net.fit(x, y, loss="binary_cross_entropy", optimizer=bp.Adam(lr=0.003), epochs=30, class_weight=class_weight, seed=0)
    return net.evaluate(x, y, metrics=["recall"])["recall"]


def error_of_others(loss: str) -> float:
    x, y = target_changed(wave(), 11, 1e4)
    others = np.arange(400) != 11
    net = bp.mlp([4, 32, 1], activation="tanh", seed=0)
    net.fit(x, y, loss=loss, optimizer=bp.Adam(lr=0.01), epochs=40, seed=0)
    return net.evaluate(x[others], y[others], loss="mse")["loss"]


# Every remedy, by a part of its sentence: the run with the problem, whose finding names it, and the run after it.
REMEDIES: dict[tuple[str, str], tuple[str | Callable[[], Report], Callable[[], Report]]] = {
    ("outliers", "correct or remove mistakes"): ("outlier in the targets", without_outlier),
    ("outliers", "clip"): (
        "outlier in the targets",
        lambda: wave_run(data=(wave()[0], np.clip(target_changed(wave(), 11, 1e4)[1], -3, 3))),
    ),
    ("outliers", "take logarithms"): (
        "a column over many orders of magnitude",
        lambda: wave_run(data=(np.column_stack([wave()[0][:, [0, 2, 3]], np.log(heavy()[0][:, 1])]), wave()[1])),
    ),
    ("inputs not scaled", "Standardise each column"): (
        "one huge column",
        lambda: wave_run(data=((x := wave()[0] * [1, 1, 1, 1e4]) / x.std(axis=0), wave()[1])),
    ),
    ("constant inputs", "Leave the column out"): (
        lambda: wave_run(data=with_column(wave(), np.full(400, 2.0))),
        lambda: wave_run(),
    ),
    ("targets not scaled", "Standardise the targets"): (
        "prices",
        lambda: wave_run(data=(wave()[0], ((y := 3e5 + 4e4 * wave()[1]) - y.mean()) / y.std())),
    ),
    ("constant targets", "Look at how y was made"): ("one class", circle_run),
    ("validation differs from training", "Split rows at random"): (
        lambda: mismatched(lambda data: data, digit_run, is_sorted(digits())),
        lambda: digit_run(data=is_sorted(digits()), validation_split=0.25, optimizer=bp.Adam(lr=0.003)),
    ),
    ("validation differs from training", "apply the same ones to all rows"): (
        "validation not scaled",
        lambda: mismatched(lambda data: (((data[0] * 20 + 50) - 50) / 20, data[1])),
    ),
    ("validation differs from training", "another coding or order of classes"): (
        "validation labels shifted",
        lambda: mismatched(lambda data: data, digit_run, digits(), optimizer=bp.Adam(lr=0.003)),
    ),
    ("validation rows in training", "Remove duplicate rows before splitting"): (
        "rows drawn before the split",
        lambda: wave_run(
            data=tuple(v[np.unique(repeated(wave(), 3)[0], axis=0, return_index=True)[1]] for v in repeated(wave(), 3)),
            validation_split=0.3,
            optimizer=bp.Adam(lr=0.005),
        ),
    ),
    ("validation rows in training", "split before drawing rows more than once"): (
        "rows drawn before the split",
        lambda: wave_run(
            data=repeated(halves(wave())[0], 3), validation_data=halves(wave())[1], optimizer=bp.Adam(lr=0.003), epochs=15
        ),
    ),
    ("few validation rows", "Hold out more rows"): (
        "five rows to validate on",
        lambda: wave_run(data=tuple(v[:300] for v in wave()), validation_data=tuple(v[300:] for v in wave())),
    ),
    ("repeated rows", "use each row once, and find more of them"): (
        "ten rows many times",
        lambda: wave_run(data=tuple(v[:300] for v in wave()), validation_data=tuple(v[300:] for v in wave())),
    ),
    ("weight on few rows", "Use weights of the same size, or none"): ("the weight of five rows", digit_run),
    ("weight on few rows", "class_weight='balanced'"): ("a class weight of 10000", lambda: digit_run(class_weight="balanced")),
    ("leaked target", "Leave the column out"): ("a copy of the target", wave_run),
    ("regression loss on classes", "loss='cross_entropy' with the class numbers"): ("mse on class numbers", digit_run),
    ("regression loss on classes", "loss='binary_cross_entropy'"): ("mse on yes and no", circle_run),
    ("rows not shuffled", "Train with shuffle=True"): (
        "rows by class",
        lambda: digit_run(data=is_sorted(digits()), optimizer=bp.SGD(lr=0.1, momentum=0.9)),
    ),
    ("rows not shuffled", "shuffle the rows once"): (
        "rows by target",
        lambda: wave_run(data=repeated(is_sorted(wave()), 1), shuffle=False),
    ),
    ("uninformative inputs", "Look at how x and y were joined"): ("rows shuffled apart", lambda: wave_run(validation_split=0.3)),
    ("uninformative inputs", "add inputs that bear on the target"): (
        "noise",
        lambda: report(
            bp.mlp([9, 16, 1], seed=0),
            with_column(noise(), noise()[1] + 0.4 * np.random.default_rng(0).normal(size=300)),
            "binary_cross_entropy",
            optimizer=bp.Adam(lr=0.003),
            epochs=40,
        ),
    ),
    ("targets out of reach", "the activation 'identity'"): ("relu at the end", lambda: wave_run(activation="relu")),
    ("targets out of reach", "scale the targets into its range"): (
        "tanh at the end",
        lambda: report(
            bp.mlp([4, 32, 1], output_activation="tanh", seed=0),
            (wave()[0], 0.9 * wave()[1] / np.abs(wave()[1]).max()),
            "mse",
            optimizer=bp.Adam(lr=0.01),
            epochs=60,
        ),
    ),
    ("label smoothing too strong", "label_smoothing of 0 to 0.1"): (
        "smoothing of 0.5",
        lambda: digit_run(loss=bp.losses.CrossEntropy(label_smoothing=0.1)),
    ),
    ("frozen layers", "Set layer.trainable = True"): (
        "the first two layers are not trained",
        lambda: frozen(optimizer=bp.SGD(lr=0.02)),
    ),
    ("frozen layers", "freeze only layers that have been trained"): (
        "the first two layers are not trained",
        lambda: frozen(0, 1, trained=True, optimizer=bp.Adam(lr=0.003)),
    ),
    ("narrow layer", "Use more units"): ("a bottleneck of one relu", lambda: digit_run(32, 10, 32, optimizer=bp.Adam(lr=0.003))),
    ("narrow layer", "16 to 64 to begin with"): ("one hidden unit", circle_run),
    ("no nonlinearity", "Give hidden layers an activation: relu"): (
        "layers without activations",
        lambda: circle_run(32, 32, activation="relu"),
    ),
    ("no nonlinearity", "tanh"): ("layers without activations", lambda: circle_run(32, 32, activation="tanh")),
    ("symmetric weights", "init='he_normal'"): ("all weights equal", lambda: digit_run(net={"init": "he_normal"})),
    ("symmetric weights", "'glorot_uniform'"): ("all weights equal", lambda: digit_run(net={"init": "glorot_uniform"})),
    ("badly scaled weights", "init='he_normal' for the relu family"): (
        "weights of size 1",
        lambda: digit_run(64, 64, net={"init": "he_normal"}, optimizer=bp.SGD(lr=0.05)),
    ),
    ("badly scaled weights", "'glorot_uniform' for tanh"): (
        lambda: digit_run(64, 64, net={"init": normal(1.5)}, activation="tanh", optimizer=bp.SGD(lr=0.01)),
        lambda: digit_run(64, 64, net={"init": "glorot_uniform"}, activation="tanh", optimizer=bp.SGD(lr=0.05)),
    ),
    ("tiny batches with batch norm", "Use batches of 16 rows or more"): (
        "one row a batch with batch norm",
        lambda: layered((64, 32, 10), bp.BatchNorm(32), digits(), "cross_entropy", batch_size=16, epochs=15),
    ),
    ("tiny batches with batch norm", "LayerNorm"): (
        "one row a batch with batch norm",
        lambda: layered((64, 32, 10), bp.LayerNorm(32), digits(), "cross_entropy", batch_size=2, epochs=5),
    ),
    ("batch norm statistics", "Use momentum=0.1"): ("running statistics that stand still", lambda: batched(0.1)),
    ("batch norm statistics", "at least some ten times 1 / momentum updates"): (
        lambda: batched(0.002, epochs=20),
        lambda: batched(0.002, epochs=600),
    ),
    ("regularization too strong", "weight_decay of 1e-4 to 1e-2"): (
        "decay of 10",
        lambda: digit_run(optimizer=bp.SGD(lr=0.05, weight_decay=1e-3, momentum=0.9)),
    ),
    ("regularization too strong", "l2 up to 1"): ("l2 of 300 in the loss", lambda: digit_run(l2=1.0, optimizer=bp.Adam(lr=0.003))),
    ("regularization too strong", "dropout of 0.1 to 0.5"): ("dropout of 0.95", lambda: digit_run(net={"dropout": 0.3})),
    ("regularization too strong", "Begin without"): ("dropout of 0.95", digit_run),
    ("clipping too strong", "Raise the limit above the usual gradient norm"): (
        "a tiny limit of the norm",
        lambda: digit_run(clip_norm=10.0, optimizer=bp.SGD(lr=0.1)),
    ),
    ("clipping too strong", "raise the learning rate"): (
        "a tiny limit of the norm",
        lambda: digit_run(clip_norm=1e-3, optimizer=bp.SGD(lr=50.0)),
    ),
    ("changed gradients", "Look at the function"): (
        "zeros for gradients",
        lambda: digit_run(on_gradients=lambda gradients: None, optimizer=bp.Adam(lr=0.003)),
    ),
    ("learning rate too high", "Divide the learning rate by 10"): (
        "SGD at 5",
        lambda: wave_run(optimizer=bp.SGD(lr=0.05), epochs=80),
    ),
    ("learning rate too high", "warm it up with a schedule"): (
        lambda: digit_run(64, 64, optimizer=bp.SGD(lr=1.0, momentum=0.9)),
        lambda: digit_run(64, 64, optimizer=bp.SGD(lr=bp.schedules.OneCycle(0.2, steps=240), momentum=0.9)),
    ),
    ("too few updates", "Use batches of 32 rows"): ("all rows in one batch", digit_run),
    ("too few updates", "no accumulate_steps"): ("an update an epoch", digit_run),
    ("too few updates", "more epochs"): (
        "all rows in one batch",
        lambda: digit_run(batch_size=500, optimizer=bp.Adam(lr=1e-3), epochs=150),
    ),
    ("learning rate too low", "Multiply the learning rate by 10"): (
        lambda: digit_run(optimizer=bp.Adam(lr=1e-5)),
        lambda: digit_run(optimizer=bp.Adam(lr=1e-4), epochs=40),
    ),
    ("learning rate too low", "use Adam"): ("SGD at 1e-5", lambda: wave_run(optimizer=bp.Adam(lr=0.01), epochs=40)),
    ("exploding gradients", "Clip gradients (clip_norm=1.0)"): (lambda: far_rows(None), lambda: far_rows(1.0)),
    ("exploding gradients", "use an initializer made for the activation"): (exploding, lambda: exploding("he_normal")),
    ("exploding gradients", "normalization layers"): (exploding, lambda: exploding(norm=True)),
    ("non-finite values", "remove or impute"): (
        lambda: bp.diagnose(bp.mlp([4, 8, 1], seed=0), *changed(wave(), 3, 1, np.nan), loss="mse"),
        lambda: bp.diagnose(bp.mlp([4, 8, 1], seed=0), *changed(wave(), 3, 1, 0.0), loss="mse"),
    ),
    ("non-finite values", "then lower the learning rate"): (
        lambda: wave_run(64, 64, activation="relu", optimizer=bp.SGD(lr=2.0), data=(wave()[0], 3 * wave()[1])),
        lambda: wave_run(64, 64, activation="relu", optimizer=bp.SGD(lr=0.02), data=(wave()[0], 3 * wave()[1])),
    ),
    ("non-finite values", "clip gradients (clip_norm=1.0)"): (
        lambda: wave_run(64, 64, activation="relu", optimizer=bp.SGD(lr=0.2), data=(wave()[0], 10 * wave()[1])),
        lambda: wave_run(64, 64, activation="relu", optimizer=bp.SGD(lr=0.2), data=(wave()[0], 10 * wave()[1]), clip_norm=1.0),
    ),
    ("dead relu units", "Lower the learning rate"): ("Adam at 1", lambda: digit_run(32, 32, optimizer=bp.Adam(lr=1e-3))),
    ("dead relu units", "Start the biases"): ("biases of -4", lambda: biased(0.0)),
    ("dead relu units", "Draw the weights of layers.0 around 0 (init='he_normal')"): (
        "weights below 0 on inputs above it",
        lambda: digit_run(64, net={"init": "he_normal"}),
    ),
    ("saturated units", "Scale the inputs"): (
        "saturated by the weights",
        lambda: report(bp.mlp([4, 32, 1], activation="tanh", seed=0), wave(), "mse", optimizer=bp.Adam(lr=0.01)),
    ),
    ("saturated units", "use smaller initial weights (init='glorot_uniform')"): (
        lambda: wave_run(32, data=wave(), net={"init": normal(8.0)}),
        lambda: wave_run(32, data=wave(), net={"init": "glorot_uniform"}),
    ),
    ("saturated units", "use relu in hidden layers"): (
        "saturated by the weights",
        lambda: report(bp.mlp([4, 32, 1], seed=0), (12 * wave()[0], wave()[1]), "mse", optimizer=bp.Adam(lr=0.01)),
    ),
    ("saturated units", "Start the biases of layers.0 at 0"): ("saturated from the start", lambda: biased(0.0, "sigmoid")),
    ("vanishing gradients", "Use relu with init='he_normal'"): (
        "eight layers of sigmoid",
        lambda: deep(*[32] * 8, activation="relu"),
    ),
    ("vanishing gradients", "fewer layers"): ("eight layers of sigmoid", lambda: deep(32, optimizer=bp.SGD(lr=0.5))),
    ("vanishing gradients", "residual blocks"): ("eight layers of sigmoid", lambda: deep(layers=residual(4))),
    ("vanishing gradients", "normalization layers"): (
        "eight layers of sigmoid",
        lambda: deep(layers=normed(8, bp.BatchNorm, "sigmoid")),
    ),
    ("unused outputs", "give the network one output for each class"): ("twenty outputs for ten classes", digit_run),
    ("loss far from chance", "use smaller initial weights, above all in the last layer"): (
        lambda: outputs_scaled(40.0),
        lambda: outputs_scaled(1.0),
    ),
    ("plateau", "lower it when progress stops (schedules.ReduceOnPlateau)"): (
        lambda: short_history(2.0, 1.6, 1.3, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2),
        lambda: short_history(2.0, 1.6, 1.3, 1.2, 1.0, 0.8, 0.6, 0.5, 0.4, 0.3),
    ),
    ("plateau", "let it decay more slowly"): (lambda: decayed(0.3), lambda: decayed(0.95)),
    ("overfitting", "Stop early (EarlyStopping(restore_best_weights=True))"): (
        by_heart,
        lambda: by_heart(256, 500, bp.EarlyStopping(patience=2, restore_best_weights=True)),
    ),
    ("overfitting", "add Dropout"): (by_heart, lambda: by_heart(dropout=0.8, optimizer=bp.Adam(lr=0.003))),
    ("overfitting", "weight_decay"): (by_heart, lambda: by_heart(optimizer=bp.AdamW(lr=0.01, weight_decay=3.0))),
    ("overfitting", "use a smaller network"): (by_heart, lambda: by_heart(4)),
    ("overfitting", "more data"): (
        lambda: by_heart(64, 80),
        lambda: report(
            bp.mlp([64, 64, 10], seed=0),
            tuple(v[300:] for v in all_digits()),
            "cross_entropy",
            optimizer=bp.Adam(lr=0.003),
            validation_data=tuple(v[:300] for v in all_digits()),
        ),
    ),
    ("underfitting", "Use a wider or deeper network"): ("a line for a circle", lambda: circle_run(64, 64, activation="relu")),
}

# What may be found after a remedy: another problem of the same run.
REMAINING = {
    ("exploding gradients", "Clip gradients (clip_norm=1.0)"): {"targets not scaled"},
    ("exploding gradients", "use an initializer made for the activation"): {LOW, "underfitting"},
    ("saturated units", "use relu in hidden layers"): {"loss far from chance"},
    ("saturated units", "Start the biases of layers.0 at 0"): {"underfitting"},
    ("overfitting", "add Dropout"): {"underfitting"},
    ("overfitting", "weight_decay"): {"underfitting"},
    ("overfitting", "use a smaller network"): {"underfitting"},
}

# What a sentence asks to look at, and how to judge: there is nothing to train after it.
TO_LOOK_AT = {
    "Look at these rows",
    "for targets, use loss='huber' or loss='mae'",  # below: the outlier stays, and does no harm
    "or find out why it is constant",
    "keep rows that belong together (of one person, one series) on one side",
    "where rows are few, use every row once: compare(folds=5)",
    "Look at how the rows were put together (a join, a loop)",
    "To let rare rows count more, use sample_weight or class_weight",
    "Use class_weight='balanced', and judge by balanced metrics (f1, auc) rather than by accuracy",  # below
    "biases may stay zero",
    "Check the labels",
    "Momentum or Adam cross flat parts",  # below
    "Check that labels and outputs match",
    "standardise the inputs",
    "Look at the first place that is named",
    "Lower the learning rate, start biases at 0, or use leaky_relu",  # by its parts, which findings name, and below
    "train without it to compare",
}


@pytest.mark.parametrize(("problem", "remedy"), REMEDIES, ids=[f"{problem} - {remedy}" for problem, remedy in REMEDIES])
def test_the_remedy_removes_the_problem(problem: str, remedy: str) -> None:
    with_problem, with_remedy = REMEDIES[problem, remedy]
    before = found(with_problem) if isinstance(with_problem, str) else with_problem()
    (finding,) = (finding for finding in before.findings if finding.name == problem)
    assert remedy in finding.remedy
    assert {finding.name for finding in with_remedy().findings} <= REMAINING.get((problem, remedy), set())


def test_every_remedy_is_tried() -> None:
    for name, problem in CATALOGUE.items():
        tried = [part for one, part in REMEDIES if one == name]
        for sentence in re.split(r"[.;] |\.$", problem.remedy):
            known = any(part in sentence for part in tried) or any(sentence.startswith(part) for part in TO_LOOK_AT)
            assert not sentence or known, f"{name}: {sentence}"


@pytest.mark.parametrize("loss", ["huber", "mae"])
def test_losses_that_take_the_harm_out_of_an_outlier(loss: str) -> None:
    assert error_of_others(loss) < 0.3 < error_of_others("mse")


def test_balanced_weights_let_rare_classes_be_found() -> None:
    assert balanced_recall("balanced") > 0.9 > 0.5 > balanced_recall(None)


def test_leaky_relu_lives_where_relu_and_what_is_flat_below_0_die() -> None:
    def found_with(name: str) -> set[str]:
        optimizer = bp.SGD(lr=0.5, momentum=0.9)
        return {finding.name for finding in digit_run(64, 64, activation=name, optimizer=optimizer, epochs=4).findings}

    assert "dead relu units" in found_with("relu")
    assert "saturated units" in found_with("gelu") & found_with("elu")
    assert found_with("leaky_relu").isdisjoint({"dead relu units", "saturated units"})


def test_momentum_and_adam_cross_a_flat_part() -> None:
    def loss(optimizer: bp.SGD) -> float:
        net, (x, y) = bp.mlp([2, 16, 16, 1], activation="tanh", seed=0), spirals()
        return net.fit(x, y, loss="binary_cross_entropy", optimizer=optimizer, epochs=150, seed=0)["loss"][-1]

    standing = loss(bp.SGD(lr=0.1))
    assert loss(bp.SGD(lr=0.1, momentum=0.9)) < 0.8 * standing
    assert loss(bp.Adam(lr=0.01)) < 0.6 * standing


@pytest.mark.parametrize(("activation", "lr"), [("relu", 1e-3), ("tanh", 0.5)])
def test_a_run_that_stands_still_is_told_which_way_to_turn_the_learning_rate(activation: str, lr: float) -> None:
    """The remedy is what short trainings on copies found, and a whole training confirms it."""

    def run(rate: float) -> tuple[float, Report]:
        net, monitor = bp.mlp([2, 32, 32, 1], activation=activation, seed=0), bp.Monitor()
        x, y = spirals()
        history = net.fit(x, y, loss="binary_cross_entropy", optimizer=bp.Adam(lr=rate), epochs=60, callbacks=[monitor], seed=0)
        return history["loss"][-1], monitor.report()

    loss, found_in_run = run(lr)
    finding = next(finding for finding in found_in_run.findings if finding.name in ("underfitting", HIGH))  # rounding decides which
    lower = "Lower the learning rate" in finding.remedy or "Divide the learning rate" in finding.remedy
    assert lower == (lr > 0.01)
    assert ("Raise the learning rate" in finding.remedy) == (not lower)
    assert run(lr / 10 if lower else lr * 10)[0] < 0.9 * loss


def test_a_network_that_is_too_small_is_told_so_and_noise_is_not() -> None:
    def remedy(report: Report) -> str:
        return next(finding.remedy for finding in report.findings if finding.name == "underfitting")

    too_small, no_signal = PLANTED["a line for a circle"][1](), PLANTED["rows shuffled apart"][1]()
    assert "Use a wider or deeper network" in remedy(too_small)
    assert "the inputs do not determine the targets" in remedy(no_signal)


def test_units_dead_by_their_biases_are_not_told_to_use_another_activation() -> None:
    (finding,) = (finding for finding in biased(-4.0).findings if finding.name == "dead relu units")
    assert "Start the biases of layers.0 at 0" in finding.remedy
    thrown = next(finding for finding in PLANTED["Adam at 1"][1]().findings if finding.name == "dead relu units")
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
