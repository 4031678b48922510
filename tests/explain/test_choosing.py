"""The learning rate range test and the comparison: what they find, and that they leave alone what they are given."""

from __future__ import annotations

import numpy as np
import pytest

import backprop as bp


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    return bp.datasets.digits()[0]


@pytest.fixture
def trainer() -> bp.Trainer:
    return bp.Trainer(bp.mlp([64, 32, 10], seed=0), loss="cross_entropy", optimizer=bp.SGD(lr=0.1, momentum=0.9))


def test_the_suggested_learning_rate_trains_better_than_one_far_from_it(digits, trainer) -> None:
    suggestion = bp.lr_range_test(trainer, *digits).suggestion

    def final_loss(lr: float) -> float:
        net = bp.mlp([64, 32, 10], seed=0)
        optimizer = bp.SGD(lr=lr, momentum=0.9)
        return net.fit(*digits, loss="cross_entropy", optimizer=optimizer, epochs=3, seed=0)["loss"][-1]

    assert final_loss(suggestion) < final_loss(suggestion / 100)
    assert final_loss(suggestion) < final_loss(suggestion * 30)


def test_the_range_test_stops_when_the_loss_explodes(digits, trainer) -> None:
    result = bp.lr_range_test(trainer, *digits, low=1e-5, high=1e3, steps=60)
    assert len(result.lrs) == len(result.losses) == len(result.smoothed) < 60
    assert result.lrs[0] == pytest.approx(1e-5)
    assert np.all(np.diff(result.lrs) > 0)


def test_the_range_test_leaves_the_trainer_as_it_was(digits, trainer) -> None:
    x, y = digits
    trainer.fit(x, y, epochs=1, seed=0)
    parameters, state, epoch = trainer.net.parameters.copy(), trainer.optimizer.state_dict(), trainer.epoch
    bp.lr_range_test(trainer, x, y)
    assert np.array_equal(trainer.net.parameters, parameters)
    assert trainer.epoch == epoch
    for key, value in trainer.optimizer.state_dict().items():
        assert np.array_equal(value, state[key])
    trainer.step(x[:8], y[:8])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"low": 1.0, "high": 0.1}, "low must be below high"), ({"low": 0.0}, "low must be"), ({"steps": 3}, "steps must be")],
)
def test_the_range_test_refuses_nonsense(digits, trainer, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        bp.lr_range_test(trainer, *digits, **options)


def test_comparing_in_threads_gives_what_training_alone_gives(digits) -> None:
    x, y = digits
    nets = {name: bp.mlp([64, 32, 10], activation=name, seed=0) for name in ("relu", "tanh", "sigmoid")}
    before = {name: net.parameters.copy() for name, net in nets.items()}
    comparison = bp.compare(nets, x, y, loss="cross_entropy", metric="accuracy", epochs=2, seed=3, threads=3)
    for name, net in nets.items():
        assert np.array_equal(net.parameters, before[name])
        alone = net.copy()
        history = alone.fit(x, y, loss="cross_entropy", metrics=["accuracy"], epochs=2, seed=3, validation_split=0.2)
        assert comparison[name].history["val_accuracy"] == history["val_accuracy"]
        assert np.array_equal(comparison[name].trainer.net.parameters, alone.parameters)
    scores = [result.score for result in comparison.results]
    assert scores == sorted(scores, reverse=True)
    assert comparison.best is comparison.results[0]


def test_all_candidates_are_validated_on_the_same_rows(digits) -> None:
    x, y = digits[0][:100], digits[1][:100]
    seen: list[tuple[float, ...]] = []

    class Spy(bp.losses.CrossEntropy):
        def compute(self, outputs, targets, weight, grad):
            if grad is None:
                seen.append(tuple(targets))
            return super().compute(outputs, targets, weight, grad)

    nets = {str(seed): bp.mlp([64, 10], seed=seed) for seed in range(3)}
    bp.compare(nets, x, y, loss=Spy(), metric="accuracy", epochs=1, threads=1)
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_a_candidate_without_a_score_comes_last() -> None:
    """The metric is not defined: the rows held out are all of one class."""
    x, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    comparison = bp.compare(
        {"alone": bp.mlp([2, 1], seed=0)}, x, y, loss="binary_cross_entropy", metric="auc", validation_data=(x[:4], np.zeros(4))
    )
    assert np.isnan(comparison.best.score)
    assert comparison.best.best_epoch == -1


def test_candidates_can_be_optimizers_names_and_settings(digits) -> None:
    net = bp.mlp([64, 16, 10], seed=0)
    candidates = {"adam": "adam", "sgd": bp.SGD(lr=0.1), "clipped": {"optimizer": bp.SGD(lr=0.1), "clip_norm": 1.0}}
    comparison = bp.compare(candidates, *digits, net=net, loss="cross_entropy", epochs=1)
    assert comparison["clipped"].trainer.clip_norm == 1.0
    assert comparison["sgd"].trainer.optimizer.name == "sgd"
    table = str(comparison).splitlines()
    assert table[0].split() == ["best", "val_loss", "in", "epoch", "of", "seconds", "parameters"]
    assert {line.split()[0] for line in table[1:]} == set(candidates)
    with pytest.raises(KeyError, match="rmsprop"):
        comparison["rmsprop"]


def test_a_candidate_that_diverges_comes_last_and_spoils_nothing(digits) -> None:
    net = bp.mlp([64, 16, 10], seed=0)
    candidates = {"wild": bp.SGD(lr=1e30), "sgd": bp.SGD(lr=0.1)}
    comparison = bp.compare(candidates, *digits, net=net, loss="cross_entropy", metric="accuracy", epochs=2)
    assert [result.name for result in comparison.results] == ["sgd", "wild"]
    assert "diverged" in comparison["wild"].diverged
    assert comparison.best.diverged is None
    assert "0, diverged" in str(comparison)


def test_comparing_refuses_nothing_and_candidates_without_network(digits) -> None:
    with pytest.raises(ValueError, match="at least one"):
        bp.compare({}, *digits, loss="mse")
    with pytest.raises(ValueError, match="has no network"):
        bp.compare({"adam": "adam"}, *digits, loss="cross_entropy")


def test_both_draw_themselves(digits, trainer) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'backprop[plot]'")
    matplotlib.use("agg")
    assert bp.lr_range_test(trainer, *digits).plot().get_xscale() == "log"
    comparison = bp.compare({"adam": "adam"}, *digits, net=trainer.net, loss="cross_entropy", epochs=2)
    assert comparison.plot().get_ylabel() == "val_loss"
    matplotlib.pyplot.close("all")
