"""Every problem is produced on purpose, named first, and gone after its remedy; healthy networks yield no finding."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count

import numpy as np
import pytest

import backprop as bp
from backprop import activations
from backprop.explain.diagnosis import CATALOGUE, Finding, Report, curves
from backprop.explain.diagnosis.findings import Severity

pytestmark = pytest.mark.once

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def digits() -> Data:
    return bp.datasets.digits()[0]


def names(report: Report) -> list[str]:
    return [finding.name for finding in report.findings]


def named_first_then_gone(faulty: Report, remedied: Report, name: str) -> None:
    assert faulty.findings[0].name == name
    assert name not in names(remedied)


def watched(net: bp.Network, x: object, y: object, **options: object) -> tuple[Report, Report]:
    """Train, and return what a monitor says, and what `diagnose` says of the trained network and its history."""
    monitor, history = bp.Monitor(), bp.History()
    note = bp.LambdaCallback(on_epoch_end=history.append)
    with suppress(bp.DivergenceError):
        net.fit(x, y, callbacks=[monitor, note], seed=0, **options)
    return monitor.report(), bp.diagnose(net, x, y, loss=net.loss, optimizer=options.get("optimizer"), history=history)


def wave(rng: np.random.Generator, rows: int = 400) -> Data:
    x = rng.normal(size=(rows, 4))
    return x, np.sin(x[:, 0]) + 0.5 * x[:, 1] + 0.1 * rng.normal(size=rows)


def normal(std: float) -> Callable[..., np.ndarray]:
    return lambda shape, rng: std * rng.normal(size=shape)


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


@pytest.mark.parametrize(
    "net",
    [
        lambda: classifier(*[64] * 8, batch_norm=True),
        lambda: classifier(64, dropout=0.5),
        lambda: bp.Network(
            [
                bp.Dense(64, 64),
                *(bp.Residual([bp.LayerNorm(64), bp.Dense(64, 64, activation="relu"), bp.Dense(64, 64)]) for _ in range(6)),
                bp.Dense(64, 10),
            ],
            seed=0,
        ),
        lambda: bp.mlp([64, 32, 10], dtype="float64", seed=0),
    ],
    ids=["batch norm", "dropout", "residual", "float64"],
)
def test_healthy_layers_yield_no_finding(digits: Data, net: Callable[[], bp.Network]) -> None:
    for report in watched(net(), *digits, loss="cross_entropy", optimizer="adam", epochs=8, validation_split=0.2):
        assert names(report) == []


def test_runs_that_have_converged_yield_no_finding(digits: Data, rng: np.random.Generator) -> None:
    """At a minimum the loss stands still, updates are small, and in a noisy regression much of the loss is left."""
    for report in watched(classifier(32), *digits, loss="cross_entropy", optimizer=bp.SGD(lr=0.1, momentum=0.9), epochs=60):
        assert names(report) == []
    x = rng.normal(size=(600, 3))
    y = x @ [1.0, -1.0, 0.5] + 1.5 * rng.normal(size=600)
    for report in watched(bp.mlp([3, 1], seed=0), x, y, loss="mse", optimizer=bp.SGD(lr=0.02), epochs=60):
        assert names(report) == []


def test_fine_tuning_and_frozen_layers_yield_no_finding(digits: Data) -> None:
    net = classifier(64, 32)
    net.fit(*digits, loss="cross_entropy", epochs=15, seed=0)
    net.layers[0].trainable = False
    monitor = bp.Monitor()
    net.fit(*digits, loss="cross_entropy", optimizer=bp.Adam(lr=1e-4), epochs=6, callbacks=[monitor], seed=0)
    assert names(monitor.report()) == []


def test_margins_of_images_and_rare_columns_are_no_problem(digits: Data, rng: np.random.Generator) -> None:
    x, y = digits
    assert (x.std(axis=0) == 0).any()
    assert names(bp.diagnose(classifier(32), x, y, loss="cross_entropy")) == []
    rare = (rng.random((500, 100)) < 0.01).astype(float)
    assert names(bp.diagnose(bp.mlp([100, 8, 1], seed=0), rare, rare @ rng.normal(size=100), loss="mse")) == []


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
    faulty = bp.diagnose(classifier(32), broken, y, loss="cross_entropy")
    named_first_then_gone(faulty, bp.diagnose(classifier(32), np.nan_to_num(broken), y, loss="cross_entropy"), "non-finite values")
    assert faulty.findings[0].numbers == {"count": 1, "row": 3}


@pytest.mark.parametrize("factor", [255.0, 1e-4])
def test_unscaled_inputs(digits: Data, factor: float) -> None:
    x, y = digits
    faulty = bp.diagnose(classifier(32, activation="tanh"), x * factor, y, loss="cross_entropy")
    scaled = (x * factor - (x * factor).mean(axis=0)) / ((x * factor).std(axis=0) + 1e-9)
    named_first_then_gone(
        faulty, bp.diagnose(classifier(32, activation="tanh"), scaled, y, loss="cross_entropy"), "inputs not scaled"
    )


def test_constant_inputs(digits: Data) -> None:
    x, y = digits
    padded = np.hstack([x, np.zeros((len(x), 64))])
    net = bp.mlp([128, 32, 10], seed=0)
    faulty = bp.diagnose(net, padded, y, loss="cross_entropy")
    named_first_then_gone(faulty, bp.diagnose(classifier(32), x, y, loss="cross_entropy"), "constant inputs")


def test_one_column_of_another_scale(rng: np.random.Generator) -> None:
    x, y = wave(rng)
    tiny = x * [1e-5, 1.0, 1.0, 1.0]
    faulty = bp.diagnose(bp.mlp([4, 16, 1], seed=0), tiny, y, loss="mse")
    named_first_then_gone(faulty, bp.diagnose(bp.mlp([4, 16, 1], seed=0), x, y, loss="mse"), "inputs not scaled")
    assert faulty.findings[0].numbers["column"] == 0


@pytest.mark.parametrize("scale", [1e5, 1e-5])
def test_targets_of_another_scale(rng: np.random.Generator, scale: float) -> None:
    x, y = wave(rng)
    for report in watched(bp.mlp([4, 16, 1], seed=0), x, scale * y, loss="mse", optimizer=bp.SGD(lr=0.05), epochs=8):
        assert report.findings[0].name == "targets not scaled"


@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy"])
def test_constant_targets(rng: np.random.Generator, loss: str) -> None:
    x, _ = wave(rng)
    for report in watched(bp.mlp([4, 16, 1], seed=0), x, np.ones(len(x)), loss=loss, epochs=8):
        assert report.findings[0].name == "constant targets"


@pytest.mark.parametrize("name", [name for name in activations.NAMES if activations.get(name).range != (-np.inf, np.inf)])
def test_targets_that_the_outputs_cannot_reach(name: str, rng: np.random.Generator) -> None:
    x, y = wave(rng)

    def run(output: str) -> Report:
        net = bp.mlp([4, 16, 1], output_activation=output, seed=0)
        return watched(net, x, 5 * y, loss="mse", optimizer=bp.Adam(lr=1e-2), epochs=20)[0]

    named_first_then_gone(run(name), run("identity"), "targets out of reach")


def test_rows_that_nobody_checked(digits: Data) -> None:
    """With check_finite=False training meets the values itself; the monitor looks through all rows then."""
    x, y = digits[0].copy(), digits[1]
    x[1000, 3] = np.inf
    monitor = bp.Monitor()
    with pytest.raises(bp.DivergenceError):
        classifier(32).fit(x, y, loss="cross_entropy", epochs=2, callbacks=[monitor], check_finite=False, seed=0)
    assert monitor.report().findings[0].numbers == {"count": 1, "row": 1000}


def test_unscaled_targets(rng: np.random.Generator) -> None:
    x = rng.normal(size=(300, 4))
    price = 250_000 + 40_000 * x[:, 0]
    net = bp.mlp([4, 16, 1], seed=0)
    faulty = bp.diagnose(net, x, price, loss="mse")
    named_first_then_gone(faulty, bp.diagnose(net, x, (price - price.mean()) / price.std(), loss="mse"), "targets not scaled")


def test_class_imbalance(digits: Data) -> None:
    x, y = digits
    rare = (y != 3) | (np.arange(len(y)) % 20 == 0)
    net = classifier(32)
    faulty = bp.diagnose(net, x[rare], y[rare], loss="cross_entropy")
    named_first_then_gone(faulty, bp.diagnose(net, x, y, loss="cross_entropy"), "class imbalance")
    positives = (np.arange(500) % 50 == 0).astype(int)
    binary = bp.diagnose(bp.mlp([64, 8, 1], seed=0), x[:500], positives, loss="binary_cross_entropy")
    assert binary.findings[0].name == "class imbalance"


def test_unused_outputs(digits: Data) -> None:
    faulty = bp.diagnose(bp.mlp([64, 32, 20], seed=0), *digits, loss="cross_entropy")
    named_first_then_gone(faulty, bp.diagnose(classifier(32), *digits, loss="cross_entropy"), "unused outputs")


def test_vanishing_gradients_and_relu(digits: Data) -> None:
    faulty = bp.diagnose(classifier(*[32] * 8, activation="sigmoid"), *digits, loss="cross_entropy")
    remedied = bp.diagnose(classifier(*[32] * 8, activation="relu"), *digits, loss="cross_entropy")
    named_first_then_gone(faulty, remedied, "vanishing gradients")
    assert faulty.findings[0].layer == "layers.0"
    assert faulty.findings[0].numbers["ratio"] < 1e-4


def test_exploding_gradients_and_a_fitting_initializer(digits: Data) -> None:
    def net(init: Callable[..., np.ndarray] | str) -> bp.Network:
        return classifier(*[64] * 8, init=init)

    faulty = bp.diagnose(
        net(lambda shape, rng: rng.normal(size=shape) * 3.2 * np.sqrt(2 / shape[0])), *digits, loss="cross_entropy"
    )
    named_first_then_gone(faulty, bp.diagnose(net("he_normal"), *digits, loss="cross_entropy"), "exploding gradients")


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

    faulty = bp.diagnose(net("relu"), *digits, loss="cross_entropy")
    named_first_then_gone(faulty, bp.diagnose(net("leaky_relu"), *digits, loss="cross_entropy"), "dead relu units")
    assert faulty.findings[0].numbers["share"] == 1.0


def test_dead_units_of_an_activation_layer_are_named(digits: Data) -> None:
    net = bp.Network([bp.Dense(64, 32), bp.BatchNorm(32), bp.Activation("relu"), bp.Dense(32, 10)], seed=0)
    net.layers[1].bias = np.full(32, -6.0)
    report = bp.diagnose(net, *digits, loss="cross_entropy")
    assert [finding.layer for finding in report.findings if finding.name == "dead relu units"] == ["layers.2"]


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_saturated_units_and_smaller_biases(digits: Data, activation: str) -> None:
    net = classifier(64, activation=activation)
    remedied = bp.diagnose(net, *digits, loss="cross_entropy")
    net.layers[0].bias = np.where(np.arange(64) % 2, 8.0, -8.0)
    named_first_then_gone(bp.diagnose(net, *digits, loss="cross_entropy"), remedied, "saturated units")


@pytest.mark.parametrize("init", ["zeros", lambda shape, rng: np.full(shape, 0.1)], ids=["zeros", "equal"])
def test_symmetric_weights_and_random_ones(digits: Data, init: object) -> None:
    faulty = bp.diagnose(classifier(32, 16, activation="tanh", init=init), *digits, loss="cross_entropy")
    named_first_then_gone(
        faulty, bp.diagnose(classifier(32, 16, activation="tanh"), *digits, loss="cross_entropy"), "symmetric weights"
    )


@pytest.mark.parametrize("factor", [0.05, 30.0])
def test_badly_scaled_weights_and_a_fitting_initializer(digits: Data, factor: float) -> None:
    def init(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return factor * np.sqrt(2 / shape[0]) * rng.normal(size=shape)

    faulty = bp.diagnose(classifier(64, 64, init=init), *digits, loss="cross_entropy")
    named_first_then_gone(faulty, bp.diagnose(classifier(64, 64), *digits, loss="cross_entropy"), "badly scaled weights")


def test_what_was_wrong_from_the_start_comes_before_what_it_led_to(digits: Data) -> None:
    for report in watched(
        classifier(128, 128, 128, init=normal(1.0)), *digits, loss="cross_entropy", optimizer=bp.SGD(lr=0.01), epochs=6
    ):
        assert report.findings[0].name == "badly scaled weights"
        assert report.findings[0].evidence.startswith("Before training")
        assert "dead relu units" in report.effects(report.findings[0])


def test_weights_assigned_equal_are_seen_by_the_monitor(digits: Data) -> None:
    net = classifier(32, 16)
    for layer in net.layers:
        layer.weight = np.full(layer.weight.shape, 0.05)
    monitor, _ = watched(net, *digits, loss="cross_entropy", optimizer="adam", epochs=4)
    assert monitor.findings[0].name == "symmetric weights"


def test_units_dead_from_the_start_are_not_blamed_on_the_learning_rate(digits: Data) -> None:
    net = classifier(64, 32)
    for layer in net.layers[:-1]:
        layer.bias = np.full(layer.fan_out, -10.0)
    for report in watched(net, *digits, loss="cross_entropy", optimizer="adam", epochs=5):
        assert report.findings[0].name == "dead relu units"


def test_non_finite_weights_name_the_first_layer(digits: Data) -> None:
    net = classifier(32, 16)
    weight = net.layers[1].weight.copy()
    weight[0, 0] = np.nan
    net.layers[1].weight = weight
    report = bp.diagnose(net, *digits, loss="cross_entropy")
    assert [(finding.name, finding.layer) for finding in report.findings] == [("non-finite values", "layers.1")]


def test_batch_norm_over_few_rows(digits: Data) -> None:
    net = classifier(32, batch_norm=True)
    faulty = bp.diagnose(net, *digits, loss="cross_entropy", batch_size=2)
    named_first_then_gone(faulty, bp.diagnose(net, *digits, loss="cross_entropy", batch_size=32), "tiny batches with batch norm")


@pytest.mark.parametrize(("optimizer", "remedy"), [(bp.Adam(lr=3), "adam"), (bp.SGD(lr=500), bp.SGD(lr=0.1))], ids=["adam", "sgd"])
def test_learning_rate_too_high(digits: Data, optimizer: object, remedy: object) -> None:
    def run(chosen: object) -> Report:
        monitor = bp.Monitor()
        with suppress(bp.DivergenceError):
            classifier(64).fit(*digits, loss="cross_entropy", optimizer=chosen, epochs=10, callbacks=[monitor], seed=0)
        return monitor.report()

    named_first_then_gone(run(optimizer), run(remedy), "learning rate too high")


@pytest.mark.parametrize(
    "optimizer", [bp.Adam(lr=1), bp.SGD(lr=1, momentum=0.9), bp.SGD(lr=0.5, momentum=0.99), bp.RMSprop(lr=1)], ids=repr
)
def test_dead_units_and_jumps_are_blamed_on_the_learning_rate(digits: Data, optimizer: bp.SGD) -> None:
    for report in watched(classifier(64, 64), *digits, loss="cross_entropy", optimizer=optimizer, epochs=8):
        assert report.findings[0].name == "learning rate too high"


def test_weights_that_grew_in_training(digits: Data) -> None:
    for report in watched(classifier(64, activation="tanh"), *digits, loss="cross_entropy", optimizer=bp.Adam(lr=10), epochs=4):
        numbers = report.findings[0].numbers
        assert numbers["now"] > 10 * numbers["before"]


def test_a_run_that_broke_off_names_cause_layer_and_update(rng: np.random.Generator) -> None:
    x, y = wave(rng)
    monitor = bp.Monitor()
    with pytest.raises(bp.DivergenceError) as error:
        bp.mlp([4, 64, 64, 1], seed=0).fit(x, 3 * y, loss="mse", optimizer=bp.SGD(lr=2.0), epochs=9, callbacks=[monitor], seed=0)
    report = monitor.report()
    assert report.findings[0].name == "learning rate too high"
    broken = next(finding for finding in report.findings if finding.name == "non-finite values")
    assert f"update {broken.numbers['update']:.0f} in epoch {broken.numbers['epoch']:.0f}" in str(error.value)
    assert broken.layer in ("layers.1", "layers.2")
    assert "non-finite values" in report.effects(report.findings[0])


@pytest.mark.parametrize("optimizer", [bp.SGD(lr=1e-5), bp.Adam(lr=1e-6)], ids=["sgd", "adam"])
def test_weights_that_hardly_move(digits: Data, optimizer: bp.SGD) -> None:
    for report in watched(classifier(64, 64), *digits, loss="cross_entropy", optimizer=optimizer, epochs=6):
        assert report.findings[0].name == "learning rate too low"
        assert "In 6 epochs no layer's weights moved by more than" in report.findings[0].evidence


def test_learning_rate_too_low(digits: Data) -> None:
    def run(lr: float) -> Report:
        monitor = bp.Monitor()
        classifier(64).fit(*digits, loss="cross_entropy", optimizer=bp.SGD(lr=lr), epochs=10, callbacks=[monitor], seed=0)
        return monitor.report()

    named_first_then_gone(run(1e-7), run(0.1), "learning rate too low")


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

    named_first_then_gone(run(), run(bp.EarlyStopping(patience=2, restore_best_weights=True)), "overfitting")


def test_overfitting_where_nothing_carries_over(rng: np.random.Generator) -> None:
    """Many columns and few rows: the validation loss need not rise to show it."""
    x = rng.normal(size=(120, 300))
    options = {"loss": "binary_cross_entropy", "optimizer": bp.Adam(lr=3e-3), "epochs": 30, "validation_split": 0.4}
    for report in watched(bp.mlp([300, 64, 1], seed=0), x, (x[:, 0] > 0).astype(int), **options):
        assert report.findings[0].name == "overfitting"


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": bp.SGD(lr=0.05, weight_decay=10)},
        {"optimizer": bp.AdamW(lr=1e-2, weight_decay=10)},
        {"dropout": 0.95},
    ],
    ids=["sgd", "adamw", "dropout"],
)
def test_regularization_too_strong(digits: Data, options: dict[str, object]) -> None:
    def run(optimizer: bp.SGD | str = "adam", dropout: float = 0.0) -> Report:
        return watched(classifier(64, dropout=dropout), *digits, loss="cross_entropy", optimizer=optimizer, epochs=12)[0]

    named_first_then_gone(run(**options), run(), "regularization too strong")


def test_a_network_too_small_for_its_task(rng: np.random.Generator) -> None:
    x = rng.uniform(-1, 1, size=(400, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)

    def run(*hidden: int) -> Report:
        net = bp.mlp([2, *hidden, 1], activation="tanh", seed=0)
        return watched(net, x, y, loss="binary_cross_entropy", optimizer=bp.Adam(lr=0.02), epochs=30)[0]

    named_first_then_gone(run(), run(16), "underfitting")


def test_a_schedule_that_decays_too_fast(digits: Data) -> None:
    def run(gamma: float) -> Report:
        optimizer = bp.SGD(lr=bp.schedules.Exponential(0.05, gamma=gamma, per="epoch"))
        return watched(classifier(32), *digits, loss="cross_entropy", optimizer=optimizer, epochs=20)[0]

    faulty = run(0.3)
    named_first_then_gone(faulty, run(0.95), "plateau")
    assert "The learning rate has fallen from 0.05" in faulty.findings[0].evidence


def test_inputs_that_say_nothing_and_inputs_that_tell(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(400, 4)), rng.normal(size=400)

    def run(targets: np.ndarray) -> Report:
        monitor = bp.Monitor()
        bp.mlp([4, 1], seed=0).fit(x, targets, loss="mse", optimizer=bp.SGD(lr=0.1), epochs=30, callbacks=[monitor], seed=0)
        return monitor.report()

    faulty = run(y)
    named_first_then_gone(faulty, run(x[:, 0] - x[:, 1]), "uninformative inputs")
    assert "underfitting" in faulty.effects(faulty.findings[0])


def test_plateau() -> None:
    stuck = [2.0, 1.6, 1.3, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2]
    falling = [2.0, 1.6, 1.3, 1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.25]
    x = np.random.default_rng(0).normal(size=(100, 2))
    net = bp.mlp([2, 8, 1], seed=0)
    faulty, healthy = (bp.diagnose(net, x, 2 * x[:, 0], loss="mse", history={"loss": losses}) for losses in (stuck, falling))
    named_first_then_gone(faulty, healthy, "plateau")


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


def test_causes_come_first_and_are_as_severe_as_their_effects() -> None:
    def made(name: str, severity: Severity = "warning", **more: object) -> Finding:
        return Finding(name, severity, "", **more)

    report = Report.of(
        [
            made("vanishing gradients", "critical"),
            made("class imbalance", stage="data"),
            made("dead relu units"),
            made("constant inputs", "hint", stage="data"),
            made("inputs not scaled", stage="data"),
            made("learning rate too high", "critical"),
            made("exploding gradients", stage="start"),
        ]
    )
    assert [(finding.name, finding.severity) for finding in report.findings] == [
        ("inputs not scaled", "critical"),
        ("exploding gradients", "critical"),
        ("learning rate too high", "critical"),
        ("dead relu units", "critical"),
        ("vanishing gradients", "critical"),
        ("class imbalance", "warning"),
        ("constant inputs", "hint"),
    ]
    assert report.effects(report.findings[3]) == ("vanishing gradients",)
    assert all(effect in CATALOGUE for problem in CATALOGUE.values() for effect in problem.leads_to)


def test_findings_of_one_name_are_joined() -> None:
    made = [Finding("dead relu units", "warning", f"{layer} is dead.", f"layers.{layer}") for layer in range(5)]
    (joined,) = Report.of(made).findings
    assert (joined.layer, joined.evidence) == (
        "layers.0",
        "0 is dead. Also in layers.1: 1 is dead. Also in layers.2: 2 is dead. And 2 more.",
    )


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


def test_the_monitor_of_a_continued_trainer_counts_the_epochs_of_its_run(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count()  # between two looks at the clock: what is recorded must not depend on the load of the machine
    monkeypatch.setattr("backprop.explain.diagnosis.monitor.perf_counter", lambda: float(next(seconds)))
    trainer = bp.Trainer(classifier(128, 64), loss="cross_entropy")
    trainer.fit(*digits, epochs=3)
    monitor = bp.Monitor(share=0.9)
    trainer.fit(*digits, epochs=6, callbacks=[monitor])
    moments = [moment.epoch for moment in monitor.moments()]
    assert moments == sorted(set(moments))
    assert (moments[0], moments[-1], len(monitor.losses), trainer.epoch) == (0, 6, 6, 9)
    assert monitor.epochs
    assert {epoch + 1 for epoch in monitor.epochs} | {0, 6} == set(moments)


def test_where_a_continued_run_broke_off_is_told_in_both_countings() -> None:
    x = np.random.default_rng(0).normal(size=(64, 3))
    trainer = bp.Trainer(bp.mlp([3, 8, 1], seed=0), loss="mse", optimizer=bp.SGD(lr=0.01))
    trainer.fit(x, x[:, 0], epochs=2)
    trainer.optimizer.lr = 1e20
    monitor = bp.Monitor()
    with pytest.raises(bp.DivergenceError):
        trainer.fit(x, x[:, 0], epochs=2, callbacks=[monitor])
    assert any("in epoch 3 (1 of this run)." in finding.evidence for finding in monitor.report().findings)


def test_the_monitor_sees_all_classes_of_sorted_rows(digits: Data) -> None:
    x, y = (np.repeat(values[np.argsort(digits[1])], 6, axis=0) for values in digits)
    monitor = bp.Monitor()
    classifier(32).fit(x, y, loss="cross_entropy", epochs=2, callbacks=[monitor], seed=0)
    assert names(monitor.report()) == []


def test_a_monitor_that_watched_nothing_says_nothing() -> None:
    assert names(bp.Monitor().report()) == []


def test_the_monitor_judges_curves_where_batches_cannot_be_seen_again(digits: Data) -> None:
    x, y = digits
    monitor = bp.Monitor()
    classifier(32).fit(((x, y) for _ in range(6)), loss="cross_entropy", steps_per_epoch=1, epochs=6, callbacks=[monitor])
    assert names(monitor.report()) == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_whose_gradients_overflow_are_diagnosed(rng: np.random.Generator, dtype: str) -> None:
    x = rng.uniform(1.6e18, 1.7e18, size=(200, 1)) * (1 if dtype == "float32" else 1e80)  # times in nanoseconds
    y, net = rng.normal(size=200), bp.mlp([1, 16, 1], dtype=dtype, seed=0)
    assert bp.diagnose(net, x, y, loss="mse", optimizer="adam").findings[0].name == "inputs not scaled"
    monitor = bp.Monitor(share=0.9)
    with pytest.raises(bp.DivergenceError):
        net.fit(x, y, loss="mse", optimizer="adam", epochs=2, callbacks=[monitor])
    assert "inputs not scaled" in names(monitor.report())


def test_batch_normalization_and_a_single_row(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(64, 3)), rng.integers(0, 2, 64)
    net = bp.mlp([3, 8, 2], batch_norm=True, seed=0)
    assert names(bp.diagnose(net, x[:1], y[:1], loss="cross_entropy")) == ["constant targets"]
    still = {"loss": [0.7] * 9}
    assert "constant targets" in names(bp.diagnose(net, x[:1], y[:1], loss="cross_entropy", optimizer="sgd", history=still))
    assert "tiny batches with batch norm" in names(
        bp.diagnose(net, x, y, loss="cross_entropy", optimizer="sgd", history=still, batch_size=1)
    )
    monitor = bp.Monitor(rows=1, share=0.99)
    net.fit(x, y, loss="cross_entropy", epochs=50, callbacks=[monitor])
    assert monitor.epochs


def test_losses_below_0_are_no_sign_of_trouble() -> None:
    falling = np.array([-3.0, -3.1, -3.15, -3.18, -3.2, -3.21, -3.2, -3.22])
    assert list(curves.instability(falling, None, None)) == []
    validation = np.array([-2.9, -3.0, -3.05, -3.06, -3.0, -3.0, -3.0, -3.0])
    assert list(curves.overfitting(falling - 0.7 * np.arange(8), validation, None)) == []
    rising = np.array([-3.0, -2.0, 1.0, 5.0])
    assert [finding.name for finding in curves.instability(rising, None, None)] == ["learning rate too high"]
    known_by_heart = np.array([-2.0, -1.0, 2.0, 9.0, 12.0, 15.0, 20.0, 30.0])
    assert [finding.name for finding in curves.overfitting(falling - np.arange(8), known_by_heart, None)] == ["overfitting"]


@pytest.mark.parametrize("loss", ["poisson", "gaussian"])
def test_healthy_runs_with_losses_below_0(rng: np.random.Generator, loss: str) -> None:
    x = rng.normal(size=(600, 4))
    y = rng.poisson(np.exp(1.5 + 0.5 * x[:, 0])) if loss == "poisson" else 0.1 * (x[:, 0] + 0.3 * rng.normal(size=600))
    net = bp.mlp([4, 16, 2 if loss == "gaussian" else 1], seed=0)
    net.fit(x, y, loss=loss, optimizer="adam", epochs=60)
    assert names(watched(net, x, y, loss=loss, optimizer=bp.Adam(lr=3e-4), epochs=8)[0]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": "32"}, "batch_size must be an integer"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"rows": 0}, "rows must be at least 1"),
        ({"history": [1.0]}, "history must be a History or a mapping of names to values, got list"),
        ({"validation_data": (np.zeros((4, 2)),)}, "validation_data must be a pair"),
        ({"net": "net"}, "net must be a Network, got str"),
    ],
)
def test_diagnose_names_what_it_refuses(options: dict[str, object], message: str) -> None:
    given = {"net": bp.mlp([2, 4, 1], seed=0), "x": np.zeros((4, 2)), "y": np.arange(4.0), "loss": "mse"} | options
    with pytest.raises((TypeError, ValueError), match=message):
        bp.diagnose(**given)


def test_missing_values_are_found_wherever_they_stand(rng: np.random.Generator) -> None:
    pandas = pytest.importorskip("pandas")
    net, x, y = bp.mlp([2, 4, 1], seed=0), rng.normal(size=(6, 2)), rng.normal(size=6)
    x[3, 1] = np.nan
    frame = pandas.DataFrame(x).astype("Float64")
    for report in (
        bp.diagnose(net, frame, y, loss="mse"),
        bp.diagnose(net, np.zeros((6, 2)), y, loss="mse", validation_data=(x, y)),
    ):
        assert names(report) == ["non-finite values"]
        assert "1 of 12 values, the first in row 3" in report.findings[0].evidence


def test_inputs_that_batch_normalization_scales_are_no_trouble(rng: np.random.Generator) -> None:
    x, y = wave(rng)
    layers = [bp.BatchNorm(4), bp.Dense(4, 32, activation="relu"), bp.Dense(32, 1)]
    found = watched(bp.Network(layers, seed=0), 50 * x + 300, y, loss="mse", optimizer=bp.Adam(lr=5e-3), epochs=30)
    assert [names(report) for report in found] == [[], []]
    assert "constant inputs" in names(bp.diagnose(bp.Network([bp.BatchNorm(4), bp.Dense(4, 1)]), x * [1, 1, 1, 0], y, loss="mse"))
