"""Every sickness is produced on purpose, named first, and gone after its cure; healthy networks yield no finding."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

import backprop as bp
from backprop.explain.diagnosis import CATALOGUE, Finding, Report

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def digits() -> Data:
    return bp.datasets.digits()[0]


def names(report: Report) -> list[str]:
    return [finding.name for finding in report.findings]


def first_then_cured(sick: Report, cured: Report, name: str) -> None:
    assert sick.findings[0].name == name
    assert name not in names(cured)


def classifier(*hidden: int, activation: str = "relu", **options: object) -> bp.Network:
    return bp.mlp([64, *hidden, 10], activation=activation, seed=0, **options)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "elu", "selu", "silu", "softplus"])
def test_fresh_networks_are_healthy(digits: Data, activation: str) -> None:
    net = classifier(64, 32, activation=activation)
    assert names(bp.diagnose(net, *digits, loss="cross_entropy", optimizer="adam")) == []


@pytest.mark.parametrize("depth", [10, 20])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_deep_networks_with_fitting_initializers_are_healthy(digits: Data, activation: str, depth: int) -> None:
    net = classifier(*[64] * depth, activation=activation)
    assert names(bp.diagnose(net, *digits, loss="cross_entropy")) == []


@pytest.mark.parametrize("optimizer", ["adam", bp.SGD(lr=0.1, momentum=0.9), bp.RMSprop(lr=1e-3)], ids=["adam", "sgd", "rmsprop"])
def test_healthy_training_yields_no_finding(digits: Data, optimizer: str | bp.SGD) -> None:
    net, monitor = classifier(64), bp.Monitor()
    history = net.fit(
        *digits, loss="cross_entropy", optimizer=optimizer, epochs=15, validation_split=0.2, callbacks=[monitor], seed=0
    )
    assert names(monitor.report()) == []
    assert names(bp.diagnose(net, *digits, history=history)) == []
    assert str(monitor.report()) == "Nothing unusual was found."


def test_healthy_regression_yields_no_finding(rng: np.random.Generator) -> None:
    x = rng.normal(size=(500, 2))
    y = np.sin(x[:, 0]) * x[:, 1] + 0.05 * rng.normal(size=500)
    net, monitor = bp.mlp([2, 32, 32, 1], activation="tanh", seed=0), bp.Monitor()
    history = net.fit(x, y, loss="mse", optimizer=bp.Adam(lr=3e-3), epochs=60, validation_split=0.2, callbacks=[monitor])
    assert names(monitor.report()) == []
    assert names(bp.diagnose(net, x, y, history=history)) == []


def test_missing_values(digits: Data) -> None:
    x, y = digits
    broken = x.copy()
    broken[3, 5] = np.nan
    sick = bp.diagnose(classifier(32), broken, y, loss="cross_entropy")
    first_then_cured(sick, bp.diagnose(classifier(32), np.nan_to_num(broken), y, loss="cross_entropy"), "non-finite values")
    assert sick.findings[0].numbers == {"count": 1, "row": 3}


@pytest.mark.parametrize("factor", [255.0, 1e-4])
def test_unscaled_inputs(digits: Data, factor: float) -> None:
    x, y = digits
    sick = bp.diagnose(classifier(32, activation="tanh"), x * factor, y, loss="cross_entropy")
    scaled = (x * factor - (x * factor).mean(axis=0)) / ((x * factor).std(axis=0) + 1e-9)
    first_then_cured(sick, bp.diagnose(classifier(32, activation="tanh"), scaled, y, loss="cross_entropy"), "inputs not scaled")


def test_constant_inputs(digits: Data) -> None:
    x, y = digits
    padded = np.hstack([x, np.zeros((len(x), 64))])
    net = bp.mlp([128, 32, 10], seed=0)
    sick = bp.diagnose(net, padded, y, loss="cross_entropy")
    first_then_cured(sick, bp.diagnose(classifier(32), x, y, loss="cross_entropy"), "constant inputs")


def test_unscaled_targets(rng: np.random.Generator) -> None:
    x = rng.normal(size=(300, 4))
    price = 250_000 + 40_000 * x[:, 0]
    net = bp.mlp([4, 16, 1], seed=0)
    sick = bp.diagnose(net, x, price, loss="mse")
    first_then_cured(sick, bp.diagnose(net, x, (price - price.mean()) / price.std(), loss="mse"), "targets not scaled")


def test_class_imbalance(digits: Data) -> None:
    x, y = digits
    rare = (y != 3) | (np.arange(len(y)) % 20 == 0)
    net = classifier(32)
    sick = bp.diagnose(net, x[rare], y[rare], loss="cross_entropy")
    first_then_cured(sick, bp.diagnose(net, x, y, loss="cross_entropy"), "class imbalance")
    positives = (np.arange(500) % 50 == 0).astype(int)
    binary = bp.diagnose(bp.mlp([64, 8, 1], seed=0), x[:500], positives, loss="binary_cross_entropy")
    assert binary.findings[0].name == "class imbalance"


def test_unused_outputs(digits: Data) -> None:
    sick = bp.diagnose(bp.mlp([64, 32, 20], seed=0), *digits, loss="cross_entropy")
    first_then_cured(sick, bp.diagnose(classifier(32), *digits, loss="cross_entropy"), "unused outputs")


def test_vanishing_gradients_and_relu(digits: Data) -> None:
    sick = bp.diagnose(classifier(*[32] * 8, activation="sigmoid"), *digits, loss="cross_entropy")
    cured = bp.diagnose(classifier(*[32] * 8, activation="relu"), *digits, loss="cross_entropy")
    first_then_cured(sick, cured, "vanishing gradients")
    assert sick.findings[0].layer == "layers.0"
    assert sick.findings[0].numbers["ratio"] < 1e-4


def test_exploding_gradients_and_a_fitting_initializer(digits: Data) -> None:
    def net(init: Callable[..., np.ndarray] | str) -> bp.Network:
        return classifier(*[64] * 8, init=init)

    sick = bp.diagnose(net(lambda shape, rng: rng.normal(size=shape) * 3.2 * np.sqrt(2 / shape[0])), *digits, loss="cross_entropy")
    first_then_cured(sick, bp.diagnose(net("he_normal"), *digits, loss="cross_entropy"), "exploding gradients")


def test_exploding_training_and_clipping(rng: np.random.Generator) -> None:
    """Large targets make large gradients: without clipping the run diverges, with it the loss falls."""
    x = rng.normal(size=(400, 4))
    y = 50 * x[:, :1] + 20 * x[:, 1:2] ** 2

    def trainer(clip_norm: float | None) -> bp.Trainer:
        return bp.Trainer(bp.mlp([4, 32, 32, 1], seed=0), loss="mse", optimizer=bp.SGD(lr=0.1), clip_norm=clip_norm)

    with pytest.raises(bp.DivergenceError, match="clip_norm"):
        trainer(None).fit(x, y, epochs=20, seed=0)
    assert trainer(1.0).fit(x, y, epochs=20, seed=0)["loss"][-1] < 0.1 * np.var(y)


def test_dead_relu_units_and_leaky_relu(digits: Data) -> None:
    def net(activation: str) -> bp.Network:
        made = classifier(64, 32, activation=activation)
        made.layers[0].bias = np.full(64, -20.0)
        return made

    sick = bp.diagnose(net("relu"), *digits, loss="cross_entropy")
    first_then_cured(sick, bp.diagnose(net("leaky_relu"), *digits, loss="cross_entropy"), "dead relu units")
    assert sick.findings[0].numbers["share"] == 1.0


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_saturated_units_and_smaller_biases(digits: Data, activation: str) -> None:
    net = classifier(64, activation=activation)
    cured = bp.diagnose(net, *digits, loss="cross_entropy")
    net.layers[0].bias = np.where(np.arange(64) % 2, 8.0, -8.0)
    first_then_cured(bp.diagnose(net, *digits, loss="cross_entropy"), cured, "saturated units")


@pytest.mark.parametrize("init", ["zeros", lambda shape, rng: np.full(shape, 0.1)], ids=["zeros", "equal"])
def test_symmetric_weights_and_random_ones(digits: Data, init: object) -> None:
    sick = bp.diagnose(classifier(32, 16, activation="tanh", init=init), *digits, loss="cross_entropy")
    first_then_cured(sick, bp.diagnose(classifier(32, 16, activation="tanh"), *digits, loss="cross_entropy"), "symmetric weights")


@pytest.mark.parametrize("factor", [0.05, 30.0])
def test_badly_scaled_weights_and_a_fitting_initializer(digits: Data, factor: float) -> None:
    def init(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return factor * np.sqrt(2 / shape[0]) * rng.normal(size=shape)

    sick = bp.diagnose(classifier(64, 64, init=init), *digits, loss="cross_entropy")
    first_then_cured(sick, bp.diagnose(classifier(64, 64), *digits, loss="cross_entropy"), "badly scaled weights")


def test_non_finite_weights_name_the_first_layer(digits: Data) -> None:
    net = classifier(32, 16)
    weight = net.layers[1].weight.copy()
    weight[0, 0] = np.nan
    net.layers[1].weight = weight
    report = bp.diagnose(net, *digits, loss="cross_entropy")
    assert [(finding.name, finding.layer) for finding in report.findings] == [("non-finite values", "layers.1")]


def test_batch_norm_over_few_rows(digits: Data) -> None:
    net = classifier(32, batch_norm=True)
    sick = bp.diagnose(net, *digits, loss="cross_entropy", batch_size=2)
    first_then_cured(sick, bp.diagnose(net, *digits, loss="cross_entropy", batch_size=32), "tiny batches with batch norm")


@pytest.mark.parametrize(("optimizer", "cure"), [(bp.Adam(lr=3), "adam"), (bp.SGD(lr=500), bp.SGD(lr=0.1))], ids=["adam", "sgd"])
def test_learning_rate_too_high(digits: Data, optimizer: object, cure: object) -> None:
    def run(chosen: object) -> Report:
        monitor = bp.Monitor()
        with suppress(bp.DivergenceError):
            classifier(64).fit(*digits, loss="cross_entropy", optimizer=chosen, epochs=10, callbacks=[monitor], seed=0)
        return monitor.report()

    first_then_cured(run(optimizer), run(cure), "learning rate too high")


def test_learning_rate_too_low(digits: Data) -> None:
    def run(lr: float) -> Report:
        monitor = bp.Monitor()
        classifier(64).fit(*digits, loss="cross_entropy", optimizer=bp.SGD(lr=lr), epochs=10, callbacks=[monitor], seed=0)
        return monitor.report()

    first_then_cured(run(1e-7), run(0.1), "learning rate too low")


def test_overfitting_and_early_stopping(digits: Data) -> None:
    x, y = digits
    noisy = np.where(np.random.default_rng(1).random(300) < 0.6, np.random.default_rng(2).integers(0, 10, 300), y[:300])

    def run(*callbacks: object) -> Report:
        net, monitor = classifier(256), bp.Monitor()
        net.fit(
            x[:300], noisy, loss="cross_entropy", optimizer=bp.Adam(lr=1e-2), epochs=60, seed=0,
            validation_data=(x[300:], y[300:]), callbacks=[monitor, *callbacks],
        )  # fmt: skip
        return monitor.report()

    first_then_cured(run(), run(bp.EarlyStopping(patience=2, restore_best_weights=True)), "overfitting")


def test_underfitting_and_inputs_that_tell(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(400, 4)), rng.normal(size=400)

    def run(targets: np.ndarray) -> Report:
        monitor = bp.Monitor()
        bp.mlp([4, 1], seed=0).fit(x, targets, loss="mse", optimizer=bp.SGD(lr=0.1), epochs=30, callbacks=[monitor], seed=0)
        return monitor.report()

    first_then_cured(run(y), run(x[:, 0]), "underfitting")


def test_plateau() -> None:
    stuck = [2.0, 1.6, 1.3, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2]
    falling = [2.0, 1.6, 1.3, 1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.25]
    x = np.random.default_rng(0).normal(size=(100, 2))
    net = bp.mlp([2, 8, 1], seed=0)
    sick, healthy = (bp.diagnose(net, x, 2 * x[:, 0], loss="mse", history={"loss": losses}) for losses in (stuck, falling))
    first_then_cured(sick, healthy, "plateau")


def test_loss_far_from_chance(digits: Data) -> None:
    net = classifier(32)
    net.layers[-1].weight = 40 * net.layers[-1].weight
    report = bp.diagnose(net, *digits, loss="cross_entropy")
    assert "loss far from chance" in names(report)


def test_a_report_is_a_readable_page(digits: Data) -> None:
    text = str(bp.diagnose(classifier(*[32] * 8, activation="sigmoid"), *digits, loss="cross_entropy"))
    for part in ("CRITICAL: vanishing gradients in layers.0", "seen:", "why:", "try:", "guide:"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100


def test_findings_are_sorted_by_severity_then_cause() -> None:
    made = [
        Finding("vanishing gradients", "critical", ""),
        Finding("class imbalance", "warning", ""),
        Finding("inputs not scaled", "critical", ""),
        Finding("inputs not scaled", "warning", ""),
    ]
    assert names(Report.of(made)) == ["inputs not scaled", "vanishing gradients", "class imbalance"]
    assert all(name in CATALOGUE for name in names(Report.of(made)))


def test_diagnose_changes_nothing(digits: Data) -> None:
    net, optimizer = classifier(32), bp.Adam()
    net.fit(*digits, loss="cross_entropy", optimizer=optimizer, epochs=1, seed=0)
    before, moments = net.state_dict(), optimizer.state_dict()
    bp.diagnose(net, *digits, optimizer=optimizer)
    assert all(np.array_equal(before[key], value) for key, value in net.state_dict().items())
    assert all(np.array_equal(moments[key], value) for key, value in optimizer.state_dict().items())


def test_diagnose_needs_a_loss_and_rows(digits: Data) -> None:
    x, y = digits
    with pytest.raises(ValueError, match="loss is needed"):
        bp.diagnose(classifier(32), x, y)
    with pytest.raises(ValueError, match="same number of rows"):
        bp.diagnose(classifier(32), x, y[:-1], loss="cross_entropy")


def test_the_monitor_keeps_to_its_share_and_changes_nothing(digits: Data) -> None:
    plain, watched, monitor = classifier(256, 128), classifier(256, 128), bp.Monitor(share=0.9)
    options = {"loss": "cross_entropy", "epochs": 6, "seed": 0}
    plain.fit(*digits, **options)
    watched.fit(*digits, **options, callbacks=[monitor])
    assert np.array_equal(plain.parameters, watched.parameters)
    assert monitor.epochs
    assert len(monitor.gradient_norms["layers.0"]) == len(monitor.update_ratios["layers.2"]) == len(monitor.epochs)


def test_the_monitor_judges_curves_where_batches_cannot_be_seen_again(digits: Data) -> None:
    x, y = digits
    monitor = bp.Monitor()
    classifier(32).fit(((x, y) for _ in range(6)), loss="cross_entropy", steps_per_epoch=1, epochs=6, callbacks=[monitor])
    assert names(monitor.report()) == []
