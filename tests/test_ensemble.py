"""Many fits on threads, and ensembles: the same results for any number of threads, and errors that end all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backprop as bp

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
Y = np.sin(X.sum(axis=1, keepdims=True))


def make(seed: int) -> bp.Network:
    return bp.mlp([3, 8, 1], activation="tanh", dropout=0.1, batch_norm=True, seed=seed)


def trainers(count: int = 5) -> list[bp.Trainer]:
    return [bp.Trainer(make(seed), loss="mse", optimizer=bp.Adam(lr=0.01)) for seed in range(count)]


def parameters(many: list[bp.Trainer]) -> np.ndarray:
    return np.stack([np.concatenate([trainer.net.parameters, trainer.net.buffers]) for trainer in many])


# --- fit_many


@pytest.mark.parametrize("seed", [None, 3])
def test_threads_do_not_change_what_is_learned(seed: int | None, backend: str) -> None:
    results = []
    for threads in (1, 2, 7):
        many = trainers()
        found = bp.fit_many(many, X, Y, epochs=3, threads=threads, seed=seed, validation_split=0.2)
        results.append(parameters(many))
        assert all(len(history["val_loss"]) == 3 for history in found)
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()
    assert len({row.tobytes() for row in results[0]}) == 5


def test_without_a_seed_each_fit_is_the_one_alone() -> None:
    alone, many = trainers(), trainers()
    for trainer in alone:
        trainer.fit(X, Y, epochs=2)
    bp.fit_many(many, X, Y, epochs=2)
    assert (parameters(alone) == parameters(many)).all()


def test_the_seed_of_a_trainer_does_not_depend_on_how_many_there_are() -> None:
    few, more = trainers(2), trainers(4)
    bp.fit_many(few, X, Y, epochs=2, seed=1)
    bp.fit_many(more, X, Y, epochs=2, seed=1)
    assert (parameters(few) == parameters(more[:2])).all()


def test_fits_run_at_the_same_time_in_the_context_of_the_caller() -> None:
    barrier = threading.Barrier(3, timeout=20)
    backends = []

    class Meet(bp.Callback):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            barrier.wait()
            backends.append(bp.backend().name)

    with bp.use_backend("numpy"):
        bp.fit_many(trainers(3), X, Y, epochs=1, threads=3, callbacks=lambda index: [Meet()])
    assert backends == ["numpy"] * 3


def test_each_fit_has_callbacks_of_its_own() -> None:
    stopping = bp.EarlyStopping(patience=0, monitor="loss")
    histories = bp.fit_many(trainers(), X, Y, epochs=30, callbacks=[stopping])
    assert len({len(history["loss"]) for history in histories}) > 1
    asked: list[int] = []
    bp.fit_many(trainers(), X, Y, callbacks=lambda index: asked.append(index) or [])
    assert asked == [0, 1, 2, 3, 4]
    (alone,) = bp.fit_many(trainers(1), X, Y, epochs=30, callbacks=stopping)
    assert alone["loss"] == histories[0]["loss"]


@pytest.mark.parametrize("kind", [bp.Checkpoint, bp.CSVLogger])
def test_fits_that_would_write_one_file_are_refused(kind: Any, tmp_path: Path) -> None:
    for callbacks in ([kind(tmp_path / "run")], lambda index: [kind(tmp_path / "run")]):
        with pytest.raises(
            ValueError, match=r"trainers\[0\] and trainers\[1\] write one and the same file, .*run: give a function"
        ):
            bp.fit_many(trainers(), X, Y, callbacks=callbacks)
        assert not list(tmp_path.iterdir())
    bp.fit_many(trainers(1), X, Y, callbacks=[kind(tmp_path / "run")])
    bp.fit_many(trainers(), X, Y, callbacks=lambda index: [kind(tmp_path / f"run-{index}")])
    assert len(list(tmp_path.iterdir())) == 6


def test_trainers_with_one_optimizer_are_refused_before_any_trains() -> None:
    optimizer = bp.Adam()
    made = [bp.Trainer(make(index), loss="mse", optimizer=optimizer) for index in range(2)]
    before = made[0].net.parameters.copy()
    with pytest.raises(ValueError, match=r"trainers\[0\] and trainers\[1\] have one and the same optimizer"):
        bp.fit_many(made, X, Y)
    assert (made[0].net.parameters == before).all()


def test_rows_are_those_of_each_trainer() -> None:
    folds = np.array_split(np.random.default_rng(1).permutation(64), 4)
    rest = [np.setdiff1d(np.arange(64), fold) for fold in folds]
    weight = np.linspace(0.5, 1.5, 64)
    many, alone = trainers(4), trainers(4)
    histories = bp.fit_many(many, X.tolist(), Y, rows=rest, validation_rows=folds, sample_weight=weight, epochs=2)
    for trainer, fold, kept, history in zip(alone, folds, rest, histories, strict=True):
        data = (X[fold], Y[fold], weight[fold])
        expected = trainer.fit(X[kept], Y[kept], sample_weight=weight[kept], validation_data=data, epochs=2)
        assert history["val_loss"] == expected["val_loss"]
    assert (parameters(many) == parameters(alone)).all()


@pytest.mark.parametrize("name", ["rows", "validation_rows"])
@pytest.mark.parametrize("wrong", [64, -65])
def test_positions_out_of_range_are_refused_before_anything_trains(name: str, wrong: int) -> None:
    many = trainers(3)
    before = parameters(many)
    with pytest.raises(ValueError, match=rf"{name}\[2\] must hold positions of rows of x, which has 64, got"):
        bp.fit_many(many, X, Y, threads=1, **{name: [None, [0, 1, 2], [0, 1, wrong]]})
    assert (parameters(many) == before).all()


def test_rows_given_twice_are_not_split_into_training_and_validation() -> None:
    for twice in ([0, 1, 1], [0, 1, -64]):
        with pytest.raises(ValueError, match=r"rows\[1\] holds positions more than once"):
            bp.fit_many(trainers(2), X, Y, rows=[[0, 1, 2], twice], validation_split=0.5)


def test_batches_come_from_a_list_or_a_function() -> None:
    batches = [(X[:32], Y[:32]), (X[32:], Y[32:])]
    many, others = trainers(3), trainers(3)
    bp.fit_many(many, batches)
    bp.fit_many(others, lambda: iter(batches))
    assert (parameters(many) == parameters(others)).all()
    with pytest.raises(ValueError, match="an iterator serves one fit only"):
        bp.fit_many(many, iter(batches))


class Fails(bp.Callback):
    """Raises after the first epoch."""

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        raise RuntimeError("no more")


def failing(index: int) -> list[bp.Callback]:
    return [Fails()] if index == 1 else []


def test_an_error_ends_all_fits_and_says_where_it_was() -> None:
    many = trainers(6)
    with pytest.raises(RuntimeError, match="no more") as caught:
        bp.fit_many(many, X, Y, epochs=100_000, threads=2, callbacks=failing)
    assert caught.value.__notes__ == ["in trainers[1]"]
    assert many[5].epoch == 0
    assert many[0].epoch < 100_000
    many[0].fit(X, Y)  # and none is left running


def test_errors_can_be_results() -> None:
    many = trainers(3)
    found = bp.fit_many(many, X, Y, epochs=2, errors="return", callbacks=failing)
    assert isinstance(found[1], RuntimeError)
    assert len(found[0]["loss"]) == len(found[2]["loss"]) == 2


def test_an_interrupt_of_the_caller_ends_all_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    from backprop import ensemble

    original = ensemble.wait
    calls = []

    def interrupted(jobs: Any, **options: Any) -> Any:
        calls.append(options)
        if len(calls) == 1:
            original(jobs, timeout=0.05)
            raise KeyboardInterrupt
        return original(jobs, **options)

    monkeypatch.setattr(ensemble, "wait", interrupted)
    many = trainers(4)
    with pytest.raises(KeyboardInterrupt):
        bp.fit_many(many, X, Y, epochs=1_000_000, threads=2)
    assert threading.active_count() == 1 or not any(t.name.startswith("backprop-fit") for t in threading.enumerate())
    assert many[0].epoch < 1_000_000


def test_the_bar_counts_the_epochs_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    bp.fit_many(trainers(3), X, Y, epochs=4, verbose=True)
    assert "12/12" in capsys.readouterr().err
    bp.fit_many(trainers(3), X, Y, epochs=4)
    assert capsys.readouterr().err == ""


def twice() -> list[bp.Trainer]:
    net = make(0)
    return [bp.Trainer(net, loss="mse"), bp.Trainer(net, loss="mse")]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bp.fit_many([], X, Y), ValueError, "trainers must hold at least one Trainer"),
        (lambda: bp.fit_many(trainers()[0], X, Y), TypeError, "trainers must be a sequence of Trainer, got Trainer"),
        (lambda: bp.fit_many([make(0)], X, Y), TypeError, r"trainers\[0\] must be a Trainer, got Network"),
        (lambda: bp.fit_many(twice(), X, Y), ValueError, r"trainers\[0\] and trainers\[1\] train one and the same network"),
        (lambda: bp.fit_many(trainers(), X, Y, threads=0), ValueError, "threads must be"),
        (lambda: bp.fit_many(trainers(), X, Y, errors="ignore"), ValueError, "errors must be"),
        (lambda: bp.fit_many(trainers(), X, Y, epoch=2), TypeError, "fit_many has no option 'epoch'; did you mean 'epochs'?"),
        (
            lambda: bp.fit_many(trainers(2), X, Y, rows=[[0]]),
            ValueError,
            "rows must have an entry for each of the 2 trainers, got 1",
        ),
        (lambda: bp.fit_many(trainers(1), X, Y, rows=3), TypeError, "rows must be a sequence with the positions .*, got int"),
        (lambda: bp.fit_many(trainers(1), X, Y, callbacks=lambda index: 3), TypeError, "callbacks must be a list of objects with"),
        (lambda: bp.fit_many(trainers(1), X, Y, rows=[[0.5]]), ValueError, r"rows\[0\] must hold positions of rows, got float64"),
        (
            lambda: bp.fit_many(trainers(1), X, Y, rows=[[64, 1]]),
            ValueError,
            r"rows\[0\] must hold positions of rows of x, which has 64",
        ),
        (lambda: bp.fit_many(trainers(1), X, Y[:9], rows=[[1]]), ValueError, "x and y must have the same number of rows"),
        (
            lambda: bp.fit_many(trainers(1), X, Y, rows=[[1]], sample_weight=[1.0]),
            ValueError,
            "x and sample_weight must have the same number of rows",
        ),
        (lambda: bp.fit_many(trainers(1), [(X, Y)], rows=[[0]]), ValueError, "rows and validation_rows need y"),
        (
            lambda: bp.fit_many(trainers(1), X, Y, validation_rows=[[0]], validation_split=0.1),
            ValueError,
            "validation_rows excludes validation_data",
        ),
    ],
)
def test_wrong_arguments_are_refused(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# --- Ensemble


def ensemble(**options: Any) -> bp.Ensemble:
    return bp.Ensemble(make, members=4, seed=5, **options)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_an_ensemble_follows_from_its_seed_alone(bootstrap: bool) -> None:
    first, second, other = (ensemble(bootstrap=bootstrap) for _ in range(3))
    first.fit(X, Y, loss="mse", epochs=3, threads=1)
    second.fit(X, Y, loss="mse", epochs=3, threads=3)
    for net, twin in zip(first.members, second.members, strict=True):
        assert (net.parameters == twin.parameters).all()
        assert (net.buffers == twin.buffers).all()
    assert len({net.parameters.tobytes() for net in first.members}) == 4
    assert len(first.histories) == 4
    other.fit(X, Y, loss="mse", epochs=3, validation_split=0.2)
    assert not (first.members[0].parameters == other.members[0].parameters).all()


def test_bootstrap_changes_the_rows_of_each_member() -> None:
    plain, drawn = ensemble().fit(X, Y, loss="mse"), ensemble(bootstrap=True).fit(X, Y, loss="mse")
    for net, other in zip(plain.members, drawn.members, strict=True):
        assert net.seed == other.seed
        assert not (net.parameters == other.parameters).all()
    with pytest.raises(ValueError, match="bootstrap draws rows"):
        drawn.fit([(X, Y)], loss="mse")


@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy"])
def test_bootstrap_draws_from_the_rows_that_are_not_held_out(loss: str) -> None:
    class Seen(bp.Callback):
        def on_train_begin(self, logs: Any) -> None:
            self.parts = [
                np.unique(data.take(slice(0, 64)).x[:, 0]) for data in (self.trainer.training_data, self.trainer.validation_data)
            ]

    def seen(bootstrap: bool) -> list[Seen]:
        found = [Seen() for _ in range(4)]
        many = ensemble(bootstrap=bootstrap)
        many.fit(X, Y > 0.5, loss=loss, validation_split=0.25, callbacks=lambda index: [found[index]])
        assert len(many.histories[0]["val_loss"]) == 1
        return found

    for drawn, plain in zip(seen(True), seen(False), strict=True):
        assert set(drawn.parts[0]) < set(plain.parts[0])
        assert (drawn.parts[1] == plain.parts[1]).all()


def test_bootstrap_refuses_validation_rows_given_twice() -> None:
    with pytest.raises(ValueError, match="validation_data and validation_split exclude each other"):
        ensemble(bootstrap=True).fit(X, Y, loss="mse", validation_split=0.25, validation_data=(X, Y))


def test_predictions_are_mean_and_spread_of_the_members() -> None:
    many = ensemble().fit(X, Y, loss="mse", epochs=2)
    outputs = np.stack([net.predict(X) for net in many.members]).astype(np.float64)
    np.testing.assert_allclose(many.predict(X), outputs.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(many.predict_std(X), outputs.std(axis=0), rtol=1e-5)
    assert many.predict(X[:0]).shape == many.predict_std(X[:0]).shape == (0, 1)
    assert many.predict(X).dtype == np.float32
    with pytest.raises(ValueError, match="finite"):
        many.predict([[np.nan] * 3], check_finite=True)


def test_probabilities_are_averaged() -> None:
    many = bp.Ensemble(lambda seed: bp.mlp([3, 8, 2], seed=seed), members=3, seed=0)
    many.fit(X, (Y[:, 0] > 0).astype(int), loss="cross_entropy", epochs=2)
    expected = np.mean([net.predict_proba(X) for net in many.members], axis=0)
    np.testing.assert_allclose(many.predict_proba(X), expected, rtol=1e-6)


def test_a_factory_without_a_seed_gives_networks_drawn_anew() -> None:
    def factory() -> bp.Network:
        return bp.Network([bp.Dense(3, 4, activation="relu"), bp.Residual([bp.Dense(4, 4)]), bp.Dense(4, 1)], seed=0)

    first, second = (bp.Ensemble(factory, members=3, seed=1) for _ in range(2))
    assert len({net.parameters.tobytes() for net in first.members}) == 3
    for net, twin in zip(first.members, second.members, strict=True):
        assert (net.parameters == twin.parameters).all()
    limit = np.sqrt(6 / (3 + 4)) * 3
    assert all(0 < np.abs(net.layers[0].weight).max() < limit for net in first.members)
    assert all((net.layers[0].bias == 0).all() for net in first.members)


def test_an_optimizer_object_serves_all_members() -> None:
    optimizer = bp.Adam(lr=0.01)
    many = ensemble().fit(X, Y, loss=bp.losses.Huber(), optimizer=optimizer, epochs=1)
    many.fit(X, Y, loss="mse", optimizer=optimizer, epochs=1)
    make(9).fit(X, Y, loss="mse", optimizer=optimizer)  # it belongs to none of them


def test_one_file_holds_all(tmp_path: Path) -> None:
    path = tmp_path / "ensemble.safetensors"
    many = ensemble(bootstrap=True).fit(X, Y, loss="mse", epochs=1)
    many.save(path, metadata={"made": "today"})
    loaded = bp.Ensemble.load(path)
    assert repr(loaded) == repr(many)
    assert (loaded.predict(X) == many.predict(X)).all()
    assert loaded.members[0].loss.name == "mse"
    assert bp.serialization.read_metadata(path) == {"made": "today"}
    with pytest.raises(bp.ModelFormatError, match=r"it holds an ensemble: backprop.Ensemble.load reads it"):
        bp.load(path)
    with pytest.raises(bp.ModelFormatError, match=r"it holds an ensemble, not a Trainer; use backprop.Ensemble.load"):
        bp.Trainer.load(path)
    make(0).save(path)
    with pytest.raises(bp.ModelFormatError, match=r"it holds a model, not an ensemble"):
        bp.Ensemble.load(path)


SHARED = make(0)


@pytest.mark.parametrize(
    ("factory", "members", "error", "message"),
    [
        (make, 0, ValueError, "members must be"),
        (3, 2, TypeError, "net_factory must be a function that returns a Network, got int"),
        (lambda seed: 3, 2, TypeError, "net_factory must return a Network, it returned int"),
        (lambda seed: SHARED, 2, ValueError, "net_factory must return a new Network each time"),
        (lambda seed: bp.mlp([2 + seed % 2, 1], seed=seed), 8, ValueError, "the networks must have the same inputs"),
    ],
)
def test_wrong_factories_are_refused(factory: Any, members: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bp.Ensemble(factory, members=members, seed=0)
