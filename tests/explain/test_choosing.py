"""The learning rate range test and the comparison: what they find, and that they leave alone what they are given."""

from __future__ import annotations

import numpy as np
import pytest

import backprop as bp
from backprop.explain.choosing import learning_curve


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


@pytest.mark.parametrize("accumulate_steps", [1, 4])
def test_the_range_test_tries_each_rate_in_one_update(digits, accumulate_steps) -> None:
    """It is the same as training by hand; what waits for an update in the trainer has no part in it."""

    def made() -> bp.Trainer:
        return bp.Trainer(bp.mlp([64, 16, 10], seed=0), loss="cross_entropy", optimizer="sgd", accumulate_steps=accumulate_steps)

    x, y = digits
    trainer, by_hand = made(), made()
    if accumulate_steps > 1:
        trainer.step(x[::-1][:3], y[::-1][:3])
    found = bp.lr_range_test(trainer, x, y, low=1e-4, high=0.1, steps=10, batch_size=16, seed=1)
    rows, wanted = iter(bp.data.batches(x, y, batch_size=16, seed=1)), []
    for lr in np.geomspace(1e-4, 0.1, 10):
        by_hand.optimizer.lr = lr
        wanted.append(np.mean([by_hand.step(*next(rows)) for _ in range(accumulate_steps)]))
    assert by_hand.optimizer.steps == 10
    np.testing.assert_allclose(found.lrs, np.geomspace(1e-4, 0.1, 10))
    np.testing.assert_allclose(found.losses, wanted, rtol=1e-6)


def test_the_range_test_leaves_out_a_row_that_is_alone_in_its_batch_where_that_is_too_few(digits) -> None:
    x, y = digits
    trainer = bp.Trainer(bp.mlp([64, 16, 10], batch_norm=True, seed=0), loss="cross_entropy", optimizer="sgd")
    found = bp.lr_range_test(trainer, x[:33], y[:33], batch_size=8, high=0.1, steps=12)
    assert len(found.losses) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [({"low": 1.0, "high": 0.1}, "low must be below high"), ({"low": 0.0}, "low must be"), ({"steps": 3}, "steps must be")],
)
def test_the_range_test_refuses_nonsense(digits, trainer, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        bp.lr_range_test(trainer, *digits, **options)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "gaussian"])
def test_the_range_test_goes_on_where_the_loss_falls_below_0(rng, loss) -> None:
    x = rng.normal(size=(400, 3))
    y = rng.poisson(np.exp(1.5 + 0.5 * x[:, 0])) if loss == "poisson" else 0.01 * np.exp(0.3 * x[:, 0])
    trainer = bp.Trainer(bp.mlp([3, 16, 2 if loss == "gaussian" else 1], seed=0), loss=loss, optimizer="adam")
    found = bp.lr_range_test(trainer, x, y)
    assert found.losses.min() < 0
    assert 1e-4 < found.suggestion < 1
    assert found.losses[-1] > found.losses[:10].max()


def test_the_range_test_takes_a_trainer_only(digits) -> None:
    with pytest.raises(TypeError, match="trainer must be a Trainer, got Network"):
        bp.lr_range_test(bp.mlp([64, 10], seed=0), *digits)


def test_comparing_in_threads_gives_what_training_alone_gives(digits) -> None:
    x, y = digits
    nets = {name: bp.mlp([64, 32, 10], activation=name, seed=0) for name in ("relu", "tanh", "sigmoid")}
    before = {name: net.parameters.copy() for name, net in nets.items()}
    comparison = bp.compare(nets, x, y, loss="cross_entropy", metric="accuracy", epochs=2, seed=3, n_jobs=3)
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
    bp.compare(nets, x, y, loss=Spy(), metric="accuracy", epochs=1, n_jobs=1)
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


def test_a_candidate_without_a_learning_rate_to_find_comes_last_and_spoils_nothing(few) -> None:
    candidates = {"broken": bp.mlp([64, 8, 10], seed=0), "sound": bp.mlp([64, 8, 10], seed=0)}
    candidates["broken"].parameters[...] = 1e30
    comparison = bp.compare(candidates, *few, loss="cross_entropy", lr="auto", epochs=1)
    assert [result.name for result in comparison.results] == ["sound", "broken"]
    assert "not finite" in comparison["broken"].diverged


def test_candidates_are_given_by_name(digits) -> None:
    with pytest.raises(TypeError, match="candidates must be a dict of networks, optimizers or settings by name, got list"):
        bp.compare([bp.mlp([64, 10], seed=0)], *digits, loss="cross_entropy")


def test_comparing_refuses_nothing_and_candidates_without_network(digits) -> None:
    with pytest.raises(ValueError, match="at least one"):
        bp.compare({}, *digits, loss="mse")
    with pytest.raises(ValueError, match="has no network"):
        bp.compare({"adam": "adam"}, *digits, loss="cross_entropy")


@pytest.mark.parametrize("own", [["f1"], [], None, ["accuracy"]])
def test_what_is_compared_is_measured_beside_the_metrics_of_a_candidate(digits, own) -> None:
    net = bp.mlp([64, 10], seed=0)
    candidates = {"own": {"net": net, "metrics": own}, "plain": net}
    comparison = bp.compare(candidates, *digits, loss="cross_entropy", metric="accuracy", epochs=1)
    assert comparison["own"].score == comparison["plain"].score
    assert {f"val_{name}" for name in own or ()} <= set(comparison["own"].history.keys())


def test_without_a_seed_one_is_drawn(digits) -> None:
    comparison = bp.compare(
        {"sgd": "sgd"}, *digits, net=bp.mlp([64, 10], seed=0), loss="cross_entropy", epochs=1, folds=2, seed=None
    )
    assert np.isfinite(comparison.best.score)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_rows_are_always_held_out_to_choose_by(digits, share) -> None:
    for call in (
        lambda: bp.search({"lr": [0.1]}, *digits, loss="cross_entropy", validation_split=share),
        lambda: learning_curve(bp.mlp([64, 10], seed=0), *digits, loss="cross_entropy", validation_split=share),
    ):
        with pytest.raises(ValueError, match=r"validation_split must be in \(0, 1\)"):
            call()


def test_both_draw_themselves(digits, trainer) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'backprop[plot]'")
    matplotlib.use("agg")
    assert bp.lr_range_test(trainer, *digits).plot().get_xscale() == "log"
    comparison = bp.compare({"adam": "adam"}, *digits, net=trainer.net, loss="cross_entropy", epochs=2)
    assert comparison.plot().get_ylabel() == "val_loss"
    matplotlib.pyplot.close("all")


FEW = {"epochs": 3, "loss": "cross_entropy", "metric": "accuracy"}


@pytest.fixture(scope="module")
def few() -> tuple[np.ndarray, np.ndarray]:
    x, y = bp.datasets.digits()[0]
    return x[:300], y[:300]


def nets(*widths: int) -> dict[str, bp.Network]:
    return {str(width): bp.mlp([64, width, 10], seed=0) for width in widths}


def test_repeats_and_folds_give_means_and_spreads_whatever_the_number_of_jobs(few) -> None:
    options = {**FEW, "repeats": 2, "folds": 3, "optimizer": bp.Adam(lr=0.01)}
    alone, together = (bp.compare(nets(2, 32), *few, n_jobs=jobs, **options) for jobs in (1, 4))
    for result in alone.results:
        assert len(result.scores) == 6
        assert result.score == pytest.approx(np.mean(result.scores))
        assert result.std == pytest.approx(np.std(result.scores, ddof=1))
        assert result.scores == together[result.name].scores
    assert alone.best.name == "32"
    assert str(alone).splitlines()[0].split()[2] == "+-"


def test_each_row_is_held_out_once_and_classes_get_their_share() -> None:
    from backprop.explain.choosing.compare import fold_rows

    y = np.repeat([0, 1], [40, 20])
    folds = list(fold_rows(y, 4, bp.losses.CrossEntropy(), seed=0))
    assert np.array_equal(np.sort(np.concatenate([held_out for _, held_out in folds])), np.arange(60))
    for kept, held_out in folds:
        assert y[held_out].sum() == 5
        assert np.array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(60))


def test_the_first_repeat_begins_with_the_given_parameters_and_the_others_with_new_ones(few) -> None:
    once = bp.compare(nets(8), *few, **FEW)["8"]
    twice = bp.compare(nets(8), *few, repeats=2, **FEW)["8"]
    assert twice.scores[0] == once.score
    assert twice.scores[1] != once.score
    assert np.array_equal(twice.trainer.net.parameters, once.trainer.net.parameters)


def test_candidates_that_are_still_improving_are_marked(few) -> None:
    slow = {"slow": bp.SGD(lr=1e-3), "quick": bp.Adam(lr=0.03)}
    comparison = bp.compare(slow, *few, net=bp.mlp([64, 32, 10], seed=0), loss="cross_entropy", epochs=12)
    assert comparison["slow"].improving
    assert not comparison["quick"].improving
    assert "Still improving when training ended: slow." in str(comparison)


def test_patience_ends_the_training_of_a_candidate(few) -> None:
    options = {"loss": "cross_entropy", "epochs": 60, "net": bp.mlp([64, 32, 10], seed=0)}
    result = bp.compare({"wild": bp.Adam(lr=0.1)}, *few, patience=2, **options).best
    assert result.epochs == result.best_epoch + 3 < 60
    assert not result.improving


def test_an_automatic_learning_rate_is_that_of_a_range_test(few) -> None:
    net = bp.mlp([64, 16, 10], seed=0)
    result = bp.compare({"sgd": bp.SGD(lr=1e-6)}, *few, net=net, lr="auto", **FEW).best
    trainer = bp.Trainer(net.copy(), loss="cross_entropy", optimizer=bp.SGD(lr=1e-6))
    assert result.trainer.optimizer.lr == bp.lr_range_test(trainer, *few).suggestion
    assert result.score > bp.compare({"sgd": bp.SGD(lr=1e-6)}, *few, net=net, **FEW).best.score


def test_the_smallest_within_one_standard_error() -> None:
    from backprop.explain.choosing import Comparison, Result

    def made(name: str, parameters: int, *scores: float) -> Result:
        return Result(name, float(np.mean(scores)), 0, 1, 0.1, parameters, bp.History(), None, None, scores)

    large, middle, small = made("large", 900, 0.90, 0.94), made("middle", 90, 0.90, 0.91), made("small", 9, 0.85, 0.86)
    comparison = Comparison([large, middle, small], "val_accuracy")
    assert comparison.best.name == "large"
    assert comparison.smallest.name == "middle"
    assert "The smallest within one standard error of the best is middle." in str(comparison)
    assert "<th" in comparison._repr_html_()
    assert Comparison([small, made("other", 1, 0.5)], "val_loss").smallest.name == "other"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 3, "validation_data": ([[0.0]], [0])}, "folds and validation_data"),
        ({"folds": 1}, "folds must be"),
        ({"folds": 400}, "folds must be at most"),
        ({"repeats": 0}, "repeats must be"),
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"patience": 0}, "patience must be"),
        ({"lr": "best"}, "lr must be"),
        ({"metric": "profit"}, "profit"),
        ({"validation_split": 0.0}, "validation_split must be in"),
        ({"validation_split": 1.0}, "validation_split must be in"),
        ({"seed": -1}, "seed must be"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_comparing_refuses_wrong_options(few, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        bp.compare(nets(4), *few, **{"loss": "cross_entropy", "epochs": 1, **options})


def test_comparing_uses_the_backend_that_joblib_was_told_to_use(few) -> None:
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
        elsewhere = bp.compare(nets(4, 8), *few, loss="cross_entropy", epochs=1)
    here = bp.compare(nets(4, 8), *few, loss="cross_entropy", epochs=1)
    assert [(result.name, result.scores) for result in elsewhere.results] == [
        (result.name, result.scores) for result in here.results
    ]


SPACE = {"hidden": [(4,), (32,), (16, 16)], "lr": (1e-4, 1e-1), "activation": ["relu", "tanh"], "dropout": (0.0, 0.3)}


def as_list(found) -> list[tuple[object, ...]]:
    return [tuple(trial) for trial in found.trials]


def test_a_search_is_the_same_for_any_number_of_jobs_and_goes_on_with_the_best(few) -> None:
    options = {"loss": "cross_entropy", "budget": 9, "epochs": 9, "metric": "accuracy"}
    alone, together = (bp.search(SPACE, *few, n_jobs=jobs, **options) for jobs in (1, 4))
    assert as_list(alone) == as_list(together)
    assert np.array_equal(alone.net.parameters, together.net.parameters)
    assert [trial.epochs for trial in alone.trials] == [9, 3, 3, *[1] * 6]
    assert alone.best.score == max(trial.score for trial in alone.trials)
    assert len({trial.settings["lr"] for trial in alone.trials}) == 9
    assert as_list(bp.search(SPACE, *few, seed=1, **options)) != as_list(alone)
    table = str(alone).splitlines()
    assert table[0].split() == ["trial", "val_accuracy", "epochs", "parameters", "hidden", "activation", "lr", "dropout"]
    assert len(table) == 10
    assert alone._repr_html_().count("<tr>") == 10


def test_an_interrupted_search_goes_on_to_the_same_result(few, tmp_path, monkeypatch) -> None:
    options = {"loss": "cross_entropy", "budget": 9, "epochs": 9, "n_jobs": 1}
    whole = bp.search(SPACE, *few, **options)
    fits, fit = [], bp.Trainer.fit

    def counted(self, *args, **more):
        if len(fits) == 10:
            raise KeyboardInterrupt
        fits.append(self)
        return fit(self, *args, **more)

    monkeypatch.setattr(bp.Trainer, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        bp.search(SPACE, *few, folder=tmp_path, **options)
    fits.clear()
    resumed = bp.search(SPACE, *few, folder=tmp_path, **options)
    assert len(fits) < 9
    assert as_list(resumed) == as_list(whole)
    assert np.array_equal(resumed.net.parameters, whole.net.parameters)
    with pytest.raises(ValueError, match="search with other arguments"):
        bp.search(SPACE, *few, folder=tmp_path, **{**options, "seed": 1})


def test_a_search_ranks_what_diverged_last(few) -> None:
    found = bp.search({"lr": [1e-3, 1e30]}, *few, loss="cross_entropy", budget=4, epochs=3)
    assert found.best.settings["lr"] == 1e-3
    assert np.isnan(found.trials[-1].score)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "at least one of hidden"),
        ({"width": [3]}, "got 'width'"),
        ({"lr": (0.1, 0.01)}, "low < high"),
        ({"lr": (0.0, 0.01)}, "0 < low < high"),
        ({"hidden": (32, 64)}, "must be a list of choices"),
        ({"hidden": []}, "must be a list of choices"),
        ({"dropout": 0.5}, "must be a list of choices, or a range"),
    ],
)
def test_a_search_refuses_wrong_spaces(few, space, message) -> None:
    with pytest.raises(ValueError, match=message):
        bp.search(space, *few, loss="cross_entropy")


def test_a_search_refuses_a_space_that_is_no_dict(few) -> None:
    with pytest.raises(TypeError, match="space must be a dict of choices by name, got int"):
        bp.search(5, *few, loss="cross_entropy")


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.zeros((60, 1), dtype=int), ValueError, r"y must have shape \(n,\) where it holds class labels, got \(60, 1\)"),
        (np.full(60, np.nan), TypeError, "y must be integer class labels"),
        (np.arange(60) % 3 - 1, ValueError, "y must be class labels in"),
    ],
)
def test_a_search_refuses_targets_that_do_not_fit_before_it_begins(few, tmp_path, y, error, message) -> None:
    with pytest.raises(error, match=message):
        bp.search({"lr": [0.1]}, few[0][:60], y, loss="cross_entropy", folder=tmp_path)
    with pytest.raises(ValueError, match="y of validation_data must be class labels in"):
        bp.search({"lr": [0.1]}, *few, loss="cross_entropy", folder=tmp_path, validation_data=(few[0], few[1] + 1))
    assert not list(tmp_path.iterdir())


def test_a_search_counts_the_classes_of_all_rows(few) -> None:
    """The rows that are held out may hold the only one of a class."""
    for alone in range(12):
        y = np.arange(12) % 2
        y[alone] = 3
        found = bp.search({"lr": [0.1]}, few[0][:12], y, loss="cross_entropy", budget=1, epochs=1, validation_split=0.5)
        assert found.net.n_outputs == 4


def test_a_learning_curve_shows_what_more_rows_bring(few) -> None:
    net = bp.mlp([64, 32, 10], seed=0)
    before = net.parameters.copy()
    options = {"loss": "cross_entropy", "metric": "accuracy", "epochs": 15, "optimizer": bp.Adam(lr=0.005)}
    curve = learning_curve(net, *few, n_jobs=1, **options)
    assert curve.rows.tolist() == [22, 45, 90, 158, 225]
    assert curve.validation[-1] > curve.validation[0] + 0.1
    assert curve.training[0] == 1.0
    assert np.array_equal(net.parameters, before)
    assert np.array_equal(learning_curve(net, *few, n_jobs=3, **options).validation, curve.validation)
    with pytest.raises(ValueError, match="sizes must be at most 225"):
        learning_curve(net, *few, sizes=[226], **options)


def test_no_number_of_rows_is_too_odd_for_batch_normalization(few) -> None:
    net = bp.mlp([64, 8, 10], batch_norm=True, seed=0)
    curve = learning_curve(net, *few, loss="cross_entropy", sizes=[33, 65], epochs=1)
    assert np.isfinite(curve.validation).all()
    rows = len(few[0]) - round(0.2 * len(few[0]))
    space = {"batch_norm": [True], "batch_size": [rows - 1, 16]}
    found = bp.search(space, *few, loss="cross_entropy", budget=2, epochs=1)
    assert all(np.isfinite(trial.score) for trial in found.trials)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": []}, "sizes must hold at least one"),
        ({"sizes": 5}, "sizes must be a list of numbers of rows, got 5"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_a_learning_curve_names_what_it_refuses(few, options, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        learning_curve(bp.mlp([64, 10], seed=0), *few, loss="cross_entropy", **options)


def test_a_search_knows_which_metrics_it_can_compare(few) -> None:
    with pytest.raises(ValueError, match=r"metric must be a name that ends with one of 'loss'.*got 'acc'"):
        bp.search({"lr": [0.1]}, *few, loss="cross_entropy", metric="acc")
