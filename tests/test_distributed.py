"""Ranks train one network together: as one rank trains on the joined batches, and no rank waits for another that has failed."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pytest

import backprop as bp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 3))
Y = np.sin(X.sum(axis=1, keepdims=True))
WEIGHT = RNG.uniform(0.5, 2.0, 48)


class World:
    """Ranks as threads of one process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=30)
        self.slots: list[Any] = [None] * size
        self.aborted = False


class Comm:
    """What is used of mpi4py's communicator, for a rank that is a thread."""

    def __init__(self, world: World, rank: int) -> None:
        self.world, self.rank, self.size = world, rank, world.size

    def allgather(self, sendobj: Any) -> list[Any]:
        self.world.slots[self.rank] = sendobj
        self.world.barrier.wait()
        found = list(self.world.slots)
        self.world.barrier.wait()
        return found

    def Allreduce(self, sendbuf: np.ndarray, recvbuf: np.ndarray) -> None:  # noqa: N802
        parts = self.allgather(sendbuf.copy())
        recvbuf[...] = sum(parts[1:], parts[0].copy())

    def Bcast(self, buf: np.ndarray, root: int = 0) -> None:  # noqa: N802
        buf[...] = self.allgather(buf.copy())[root]

    def Abort(self, errorcode: int = 0) -> None:  # noqa: N802
        self.world.aborted = True
        self.world.barrier.abort()


def on_ranks(size: int, work: Callable[[Comm], Any]) -> tuple[list[Any], World]:
    """What `work` returns or raises on each rank."""
    world, results = World(size), [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = work(Comm(world, rank))
        except Exception as error:
            results[rank] = error
            if isinstance(error, threading.BrokenBarrierError):
                return

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results, world


def normalized(seed: int = 0) -> bp.Trainer:
    block = bp.Residual([bp.Dense(8, 8, activation="tanh"), bp.BatchNorm(8)])
    layers = [bp.Dense(3, 8), bp.BatchNorm(8, momentum=0.3), bp.Activation("tanh"), block, bp.Dense(8, 1)]
    optimizer = bp.SGD(lr=0.05, momentum=0.9)  # Adam makes steps of the rounding errors of a gradient that is zero
    return bp.Trainer(bp.Network(layers, dtype="float64", seed=seed), loss="mse", optimizer=optimizer)


def make(seed: int = 0, **options: Any) -> bp.Trainer:
    net = bp.mlp([3, 8, 1], activation="tanh", dtype="float64", seed=seed)
    return bp.Trainer(net, **{"loss": "mse", "optimizer": bp.Adam(lr=0.01), **options})


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_on_shards_learn_what_one_learns_on_the_joined_batches(size: int, weighted: bool) -> None:
    batch = 12
    weight = WEIGHT if weighted else None
    options = {"clip_norm": 0.5}

    def work(comm: Comm) -> tuple[np.ndarray, dict[str, list[float]]]:
        trainer, mine = make(seed=comm.rank, **options), bp.distributed.shard(len(X), comm)
        own = None if weight is None else weight[mine]
        data = (X[mine], Y[mine]) if weight is None else (X[mine], Y[mine], own)
        history = bp.distributed.fit(
            trainer,
            X[mine],
            Y[mine],
            comm=comm,
            epochs=3,
            batch_size=batch // size,
            shuffle=False,
            sample_weight=own,
            validation_data=data,
        )
        return trainer.net.parameters.copy(), {key: history[key] for key in ("loss", "val_loss", "lr")}

    results, _ = on_ranks(size, work)
    alone = make(**options)
    data = (X, Y) if weight is None else (X, Y, weight)
    history = alone.fit(X, Y, epochs=3, batch_size=batch, shuffle=False, sample_weight=weight, validation_data=data)
    for parameters, logs in results:
        assert (parameters == results[0][0]).all()
        assert logs == results[0][1]
        np.testing.assert_allclose(parameters, alone.net.parameters, rtol=1e-12, atol=1e-12)
        for key, values in logs.items():
            np.testing.assert_allclose(values, history[key], rtol=1e-12)
    assert alone.optimizer.steps == 12


def test_a_trainer_with_a_communicator_trains_on_all_ranks() -> None:
    def work(comm: Comm) -> Any:
        trainer, mine = make(seed=comm.rank, comm=comm), bp.distributed.shard(len(X), comm)
        seen: list[float] = []
        trainer.on_gradients = lambda gradients: seen.append(float(np.abs(gradients).sum()))
        trainer.fit(X[mine], Y[mine], epochs=3, batch_size=6, shuffle=False)
        with pytest.raises(RuntimeError, match=r"trainer.step would train one rank alone"):
            trainer.step(X, Y)
        assert copy.deepcopy(trainer).comm is None
        net = make().net
        net.fit(X[mine], Y[mine], loss="mse", optimizer=bp.Adam(lr=0.01), comm=comm, epochs=3, batch_size=6, shuffle=False)
        return trainer.net.parameters.copy(), net.parameters.copy(), seen

    results, _ = on_ranks(2, work)
    alone = make()
    alone.fit(X, Y, epochs=3, batch_size=12, shuffle=False)
    for parameters, others, seen in results:
        np.testing.assert_allclose(parameters, alone.net.parameters, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(others, alone.net.parameters, rtol=1e-12, atol=1e-12)
        assert seen == results[0][2]
        assert len(seen) == 12


def test_what_has_no_place_is_refused() -> None:
    trainer = make(comm=Comm(World(1), 0))
    with pytest.raises(ValueError, match="validation_split has no place in distributed training"):
        trainer.fit(X, Y, validation_split=0.2)
    with pytest.raises(ValueError, match="steps_per_epoch is for iterables"):
        trainer.fit(X, Y, steps_per_epoch=2)
    with pytest.raises(ValueError, match="class_weight needs a loss with one target class per row"):
        trainer.fit(X, Y, class_weight="balanced")
    with pytest.raises(TypeError, match="comm must be a communicator of mpi4py, got int, which has no rank"):
        trainer.comm = 3  # type: ignore[assignment]
    module: Any = threading  # a module, as `mpi4py.MPI` is, in place of its COMM_WORLD
    with pytest.raises(TypeError, match="comm must be a communicator of mpi4py, got module, which has no rank"):
        bp.distributed.fit(make(), X, Y, comm=module)
    with pytest.raises(TypeError, match="comm must be a communicator of mpi4py, got module, which has no rank"):
        bp.distributed.shard(3, module)


LABELS = (Y[:, 0] > 0.3).astype(int)
FEW = np.arange(48) % 7 == 0


class Steps(bp.Callback):
    """Sees the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any) -> None:
        self.losses.append(logs["loss"])


def halved_on_plateau() -> bp.Adam:
    return bp.Adam(lr=bp.schedules.ReduceOnPlateau(0.05, patience=0, threshold=0.2, factor=0.5))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize(
    ("of_trainer", "of_fit", "y"),
    [
        ({"metrics": ["mae", "rmse", "r2", lambda outputs, targets: float(np.median(outputs) - targets.min())]}, {}, Y),
        ({"metrics": ["r2"]}, {"sample_weight": WEIGHT}, Y + 1e3),
        ({"l2": 0.3, "clip_norm": 0.2}, {"sample_weight": WEIGHT}, Y),
        ({"accumulate_steps": 3, "l2": 0.1}, {}, Y),
        ({"accumulate_steps": 2}, {"sample_weight": np.where(np.arange(48) // 12 == 1, 0.0, WEIGHT)}, Y),
        ({"loss": "poisson"}, {}, np.abs(Y)),
        ({"optimizer": halved_on_plateau}, {}, Y),
        ({"loss": "binary_cross_entropy", "metrics": ["accuracy", "auc", "f1"]}, {"class_weight": "balanced"}, LABELS),
        ({"loss": "binary_cross_entropy"}, {"class_weight": {1: 3.0}, "sample_weight": WEIGHT}, LABELS),
        ({"loss": bp.losses.CrossEntropy(class_weight="balanced"), "outputs": 2}, {}, FEW.astype(int)),
        ({"loss": bp.losses.CrossEntropy(class_weight=[1.0, 0.0]), "outputs": 2, "metrics": ["accuracy"]}, {}, FEW.astype(int)),
    ],
)
def test_what_fit_offers_holds_on_ranks(size: int, of_trainer: dict[str, Any], of_fit: dict[str, Any], y: np.ndarray) -> None:
    def follow(rows: np.ndarray, held: np.ndarray, batch_size: int, comm: Comm | None = None) -> Any:
        given = {"loss": "mse", "optimizer": lambda: bp.Adam(lr=0.01), "outputs": 1, "comm": comm, **of_trainer}
        net = bp.mlp([3, 8, given.pop("outputs")], activation="tanh", dtype="float64", seed=0)
        trainer = bp.Trainer(net, **{**given, "optimizer": given["optimizer"]()})
        ema, steps = bp.EMA(0.9), Steps()
        weight = {"sample_weight": of_fit["sample_weight"][rows]} if "sample_weight" in of_fit else {}
        history = trainer.fit(
            X[rows],
            y[rows],
            epochs=3,
            batch_size=batch_size,
            shuffle=False,
            callbacks=[ema, steps],
            validation_data=(X[held], y[held]),
            **{**of_fit, **weight},
        )
        return net.parameters.copy(), ema.network.parameters.copy(), steps.losses, dict(history), trainer.optimizer.steps

    def work(comm: Comm) -> Any:
        return follow(bp.distributed.shard(48, comm), bp.distributed.shard(29, comm), 12 // size, comm)

    results, _ = on_ranks(size, work)
    alone = follow(np.arange(48), np.arange(29), 12)
    for found in results:
        assert (found[0] == results[0][0]).all()
        assert (found[1] == results[0][1]).all()
        assert found[2:] == results[0][2:]
        for one, other in zip(found[:3], alone[:3], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
        assert found[3].keys() == alone[3].keys()
        for key, values in found[3].items():
            np.testing.assert_allclose(values, alone[3][key], rtol=1e-11, atol=1e-13, err_msg=key)
        assert found[4] == alone[4]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batches_of_all_ranks_make_a_step(size: int) -> None:
    """The last rank has a batch less than the others."""
    parts = [[np.arange(start + rank, start + 12, size) for start in range(0, 48, 12)] for rank in range(size)]
    parts[-1].pop()
    joined = [np.concatenate([part[step] for part in parts if step < len(part)]) for step in range(4 if size > 1 else 3)]

    def batches(part: list[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
        return [(X[rows], Y[rows], WEIGHT[rows]) for rows in part]

    def work(comm: Comm) -> Any:
        trainer = make(comm=comm, metrics=["mae"])
        history = trainer.fit(batches(parts[comm.rank]), epochs=2, validation_data=batches(parts[comm.rank]))
        return trainer.net.parameters.copy(), dict(history)

    results, _ = on_ranks(size, work)
    alone = make(metrics=["mae"])
    history = alone.fit(batches(joined), epochs=2, validation_data=batches(joined))
    for parameters, found in results:
        assert (parameters == results[0][0]).all()
        np.testing.assert_allclose(parameters, alone.net.parameters, rtol=1e-12, atol=1e-12)
        for key, values in found.items():
            np.testing.assert_allclose(values, history[key], rtol=1e-12)


def test_the_update_that_led_to_divergence_is_undone_on_all_ranks() -> None:
    """As by one process, which takes the same steps again: 70 of them, more than lie between two copies of the state."""
    x, y = np.tile(X, (18, 1)), np.tile(Y, (18, 1))
    y[-12:] = 1e200

    def work(comm: Comm) -> Any:
        trainer = make(comm=comm, optimizer=bp.SGD(lr=0.01))
        mine = bp.distributed.shard(len(x), comm)
        with pytest.raises(bp.DivergenceError) as error:
            trainer.fit(x[mine], y[mine], epochs=3, batch_size=6, shuffle=False, callbacks=[Steps()] if comm.rank else [])
        return trainer.net.parameters.copy(), trainer.optimizer.steps, str(error.value)

    results, world = on_ranks(2, work)
    alone = make(optimizer=bp.SGD(lr=0.01))
    with pytest.raises(bp.DivergenceError) as error:
        alone.fit(x, y, epochs=3, batch_size=12, shuffle=False)
    assert not world.aborted
    for parameters, updates, message in results:
        assert updates == alone.optimizer.steps
        assert message == str(error.value)
        np.testing.assert_allclose(parameters, alone.net.parameters, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batch_normalization_is_that_of_all_rows(size: int) -> None:
    """The last of three ranks has rows for two of the four steps only."""
    parts = [np.arange(rank, 48, size) for rank in range(size)]
    joined = [np.concatenate([part[start : start + 12 // size] for part in parts]) for start in range(0, 48 // size, 12 // size)]
    if size == 3:
        parts[2] = parts[2][:8]
        joined[2:] = [np.concatenate([part[start : start + 4] for part in parts[:2]]) for start in (8, 12)]

    def work(comm: Comm) -> bp.Trainer:
        trainer, mine = normalized(seed=comm.rank), parts[comm.rank]
        bp.distributed.fit(trainer, X[mine], Y[mine], comm=comm, epochs=3, batch_size=12 // size, shuffle=False)
        return trainer

    results, _ = on_ranks(size, work)
    alone = normalized()
    alone.fit([(X[rows], Y[rows]) for rows in joined], epochs=3)
    for trainer in results:
        np.testing.assert_allclose(trainer.net.parameters, alone.net.parameters, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(trainer.net.buffers, alone.net.buffers, rtol=1e-11, atol=1e-12)
        assert (trainer.net.parameters == results[0].net.parameters).all()
        assert not vars(trainer.net.layers[1]).keys() & {"forward", "backward"}
        np.testing.assert_allclose(trainer.net.predict(X), alone.net.predict(X), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("assigned", [False, True])
def test_a_normalization_of_ones_own_is_not_replaced_by_that_of_all_ranks(assigned: bool) -> None:
    class Halved(bp.BatchNorm):
        def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
            return bp.BatchNorm.forward(self, x, training) / 2

        def backward(self, grad_outputs: np.ndarray) -> np.ndarray:
            return super().backward(grad_outputs / 2)

    layer = bp.BatchNorm(3) if assigned else Halved(3)
    if assigned:
        layer.forward = MethodType(Halved.forward, layer)  # type: ignore[method-assign]
    comm, trainer = Comm(World(1), 0), bp.Trainer(bp.Network([layer, bp.Dense(3, 1)], seed=0), loss="mse")
    before = dict(vars(layer))
    with pytest.raises(
        ValueError, match=r"sync_batch_norm must be False where code of your own normalizes, as that of (Halved|Batch)"
    ):
        bp.distributed.fit(trainer, X, Y, comm=comm)
    assert vars(layer).keys() == before.keys()
    bp.distributed.fit(trainer, X, Y, comm=comm, sync_batch_norm=False)
    assert trainer.epoch == 1


def test_averages_and_monitors_see_a_network_without_the_other_ranks() -> None:
    """Copies of the network normalize by their own rows: rank 1 alone has a monitor, which traces steps on copies."""

    def work(comm: Comm) -> Any:
        trainer, mine, ema, monitor = normalized(), bp.distributed.shard(len(X), comm), bp.EMA(0.5), bp.Monitor(share=0.99)
        callbacks = [ema, monitor] if comm.rank else [ema]
        bp.distributed.fit(trainer, X[mine], Y[mine], comm=comm, epochs=3, batch_size=6, shuffle=False, callbacks=callbacks)
        ema.network.forward(X, training=True)
        return ema.network, monitor.report()

    results, world = on_ranks(2, work)
    alone, average = normalized(), bp.EMA(0.5)
    order = np.concatenate(
        [np.concatenate([np.arange(rank, 48, 2)[start : start + 6] for rank in (0, 1)]) for start in range(0, 24, 6)]
    )
    alone.fit(X[order], Y[order], epochs=3, batch_size=12, shuffle=False, callbacks=[average])
    assert not world.aborted
    assert results[1][1] is not None
    for network, _ in results:
        np.testing.assert_allclose(network.parameters, average.network.parameters, rtol=1e-11, atol=1e-12)


def test_uneven_shards_take_part_to_the_end() -> None:
    parts = [np.arange(0, 25), np.arange(25, 30), np.arange(0)]

    def work(comm: Comm) -> Any:
        trainer, mine = make(), parts[comm.rank]
        history = bp.distributed.fit(trainer, X[mine], Y[mine], comm=comm, epochs=2, batch_size=10, seed=1)
        return trainer.net.parameters.copy(), trainer.optimizer.steps, history["loss"]

    results, _ = on_ranks(3, work)
    assert all((parameters == results[0][0]).all() and steps == 6 for parameters, steps, _ in results)
    assert results[0][2] == results[2][2]


def test_statistics_are_averaged_and_dropout_differs_between_ranks() -> None:
    masks: dict[int, np.ndarray] = {}

    class Look(bp.Callback):
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            masks[self.rank] = self.trainer.net.buffers.copy()

    def work(comm: Comm) -> Any:
        layers = [bp.Dropout(0.5), bp.Dense(3, 8), bp.BatchNorm(8), bp.Activation("relu"), bp.Dense(8, 1)]
        trainer = bp.Trainer(bp.Network(layers, seed=0), loss="mse")
        options = {"batch_size": 8, "shuffle": False, "sync_batch_norm": False}
        bp.distributed.fit(trainer, X[:16], Y[:16], comm=comm, **options, callbacks=[Look(comm.rank)])
        return trainer.net

    results, _ = on_ranks(2, work)
    assert (results[0].buffers == results[1].buffers).all()
    assert results[0].dropout_step == results[1].dropout_step == 4
    alone = bp.Trainer(bp.Network([bp.Dropout(0.5), *make_tail()], seed=0), loss="mse")
    alone.fit(X[:16], Y[:16], batch_size=8, shuffle=False)
    assert not np.allclose(results[0].buffers, alone.net.buffers)  # equal rows on both ranks, unequal masks


def make_tail() -> list[bp.Layer]:
    return [bp.Dense(3, 8), bp.BatchNorm(8), bp.Activation("relu"), bp.Dense(8, 1)]


def test_early_stopping_stops_all_and_rank_0_alone_writes(tmp_path: Path) -> None:
    def work(comm: Comm) -> Any:
        trainer, mine = make(), bp.distributed.shard(len(X), comm)
        path = tmp_path / f"rank{comm.rank}.safetensors"
        callbacks = [
            bp.EarlyStopping(monitor="loss", min_delta=1e3, patience=2),
            bp.Checkpoint(path),
            bp.CSVLogger(tmp_path / f"{comm.rank}.csv"),
        ]
        bp.distributed.fit(trainer, X[mine], Y[mine], comm=comm, epochs=50, callbacks=callbacks)
        return trainer.epoch

    results, _ = on_ranks(2, work)
    assert results[0] == results[1] < 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.csv", "rank0.safetensors"]


def test_what_rank_0_saved_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    def train(size: int, trainers: Callable[[], bp.Trainer], epochs: int) -> bp.Trainer:
        def work(comm: Comm) -> bp.Trainer:
            trainer, mine = trainers(), bp.distributed.shard(len(X), comm)
            bp.distributed.fit(trainer, X[mine], Y[mine], comm=comm, epochs=epochs, batch_size=12 // size, shuffle=False)
            return trainer

        return on_ranks(size, work)[0][0]

    train(2, make, 2).save(tmp_path / "run.safetensors")
    more = train(3, lambda: bp.Trainer.load(tmp_path / "run.safetensors"), 2)
    assert more.epoch == 4
    np.testing.assert_allclose(more.net.parameters, train(1, make, 4).net.parameters, rtol=1e-12, atol=1e-12)


def wide() -> bp.Trainer:
    return bp.Trainer(bp.mlp([3, 9, 1], activation="tanh", dtype="float64", seed=0), loss="mse", optimizer=bp.Adam(lr=0.01))


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        (wide, {}, "all ranks must have the same layers: rank 1 has"),
        (lambda: make(loss="mae"), {}, "all ranks must have the same loss: rank 1 has MAE"),
        (lambda: make(optimizer="sgd"), {}, "all ranks must have the same optimizer: rank 1 has SGD"),
        (make, {"epochs": 2}, "all ranks must have the same epochs: rank 1 has 2, rank 0 has 1"),
        (make, {"sample_weight": np.ones(48)}, "all ranks must have the same kind of sample_weight"),
        (make, {"batch_size": 0}, "rank 1 cannot train: ValueError: batch_size must be"),
        (make, {"validation_data": X}, "rank 1 cannot train: ValueError: validation_data must be (x, y)"),
        (make, {"validation_data": (X, Y)}, "all ranks must have the same metrics: rank 1 has"),
        (lambda: make(l2=0.1), {}, "all ranks must have the same l2: rank 1 has 0.1, rank 0 has 0"),
        (lambda: make(accumulate_steps=2), {}, "all ranks must have the same accumulate_steps: rank 1 has 2, rank 0 has 1"),
        (lambda: make(metrics=["mae"]), {}, "all ranks must have the same metrics: rank 1 has loss, mae, lr"),
        (lambda: make(on_gradients=np.negative), {}, "all ranks must have the same use of on_gradients"),
        (make, {"callbacks": [bp.EarlyStopping(monitor="x")]}, "rank 1 cannot train: ValueError: monitor must be one of loss"),
    ],
)
def test_what_differs_is_an_error_on_all_ranks(second: Callable[[], bp.Trainer], options: dict[str, Any], message: str) -> None:
    def work(comm: Comm) -> None:
        trainer = second() if comm.rank else make()
        bp.distributed.fit(trainer, X, Y, comm=comm, **(options if comm.rank else {}))

    results, world = on_ranks(2, work)
    assert isinstance(results[0], ValueError)
    assert isinstance(results[1], ValueError)
    assert message in str(results[0])
    assert not world.aborted


def test_rows_that_do_not_fit_are_named() -> None:
    def work(comm: Comm) -> None:
        bp.distributed.fit(make(), X[:0], Y[:0], comm=comm)

    results, _ = on_ranks(2, work)
    assert "x must have at least one batch of rows" in str(results[0])
    with pytest.raises(ValueError, match="x and y must have the same number of rows, got shapes"):
        bp.distributed.fit(make(), X, Y[:47], comm=Comm(World(1), 0))
    net = bp.Network(make_tail(), seed=0)
    with pytest.raises(ValueError, match="BatchNorm needs at least 2 rows of each rank"):
        bp.distributed.fit(bp.Trainer(net, loss="mse"), X[:5], Y[:5], comm=Comm(World(1), 0), batch_size=4, sync_batch_norm=False)


@pytest.mark.parametrize(
    ("counts", "size", "step"),
    [((33,), 32, 2), ((9, 8), 4, 3), ((5, 13, 4), 4, 4), ((0, 1), 4, 1), ((3, 1), 1, 2), ((0, 3), 1, 1), ((0, 7), 6, 2)],
)
def test_a_step_with_one_row_of_all_ranks_is_refused_before_training_where_norms_are_synced(
    counts: tuple[int, ...], size: int, step: int
) -> None:
    def work(comm: Comm) -> tuple[bool, str]:
        trainer, rows = normalized(), counts[comm.rank]
        before = trainer.net.parameters.copy(), trainer.net.buffers.copy()
        with pytest.raises(ValueError, match="BatchNorm needs at least two rows of all ranks together") as caught:
            bp.distributed.fit(trainer, X[:rows], Y[:rows], comm=comm, batch_size=size)
        return all(map(np.array_equal, before, (trainer.net.parameters, trainer.net.buffers))), str(caught.value)

    results, world = on_ranks(len(counts), work)
    assert all(unchanged and f"step {step} of an epoch" in message for unchanged, message in results)
    assert not world.aborted


@pytest.mark.parametrize(("counts", "drop_last"), [((9, 9), False), ((5, 6), False), ((9, 4), True), ((4, 8), False)])
def test_one_row_of_a_rank_is_enough_where_other_ranks_have_more(counts: tuple[int, ...], drop_last: bool) -> None:
    def work(comm: Comm) -> float:
        rows = counts[comm.rank]
        history = bp.distributed.fit(normalized(), X[:rows], Y[:rows], comm=comm, batch_size=4, drop_last=drop_last)
        return history["loss"][-1]

    results, _ = on_ranks(len(counts), work)
    assert np.isfinite(results).all()


@pytest.mark.parametrize(("of_loss", "of_fit"), [({}, {"class_weight": "balanced"}), ({"class_weight": [1.0, 3.0]}, {})])
def test_labels_of_a_memory_map_that_do_not_fit_are_an_error_on_all_ranks(
    tmp_path: Path, of_loss: dict[str, Any], of_fit: dict[str, Any]
) -> None:
    def work(comm: Comm) -> Any:
        labels = np.memmap(tmp_path / f"y{comm.rank}", np.int64, "w+", shape=48)
        labels[:] = np.arange(48) % 2
        labels[5] += 6 * comm.rank
        net = bp.mlp([3, 8, 2], dropout=0.5, seed=comm.rank)
        net.dropout_step = comm.rank
        before = net.parameters.copy()
        trainer = bp.Trainer(net, loss=bp.losses.CrossEntropy(**of_loss))
        try:
            bp.distributed.fit(trainer, X, labels, comm=comm, **of_fit)
        except ValueError as error:
            unchanged = (net.parameters == before).all() and net.dropout_step == comm.rank and trainer._class_vector is None
            return str(error), bool(unchanged)

    results, world = on_ranks(2, work)
    assert results[1] == ("y must be class labels in [0, 2), got 7 in row 5", True)
    assert results[0] == (f"rank 1 cannot train: ValueError: {results[1][0]}", True)
    assert not world.aborted


def test_a_rank_that_cannot_describe_its_loss_is_named() -> None:
    class Nameless(bp.losses.MSE):
        def __repr__(self) -> str:
            raise RuntimeError("no name")

    def work(comm: Comm) -> None:
        bp.distributed.fit(make(loss=Nameless() if comm.rank else "mse"), X, Y, comm=comm)

    results, _ = on_ranks(2, work)
    assert list(map(str, results)) == ["rank 1 cannot train: RuntimeError: no name", "no name"]


def test_divergence_is_seen_by_all_ranks() -> None:
    def work(comm: Comm) -> None:
        trainer = make(optimizer=bp.SGD(lr=1e200))
        bp.distributed.fit(trainer, X, Y, comm=comm, epochs=20)

    results, world = on_ranks(2, work)
    assert all(isinstance(result, bp.DivergenceError) for result in results)
    assert not world.aborted


def test_a_rank_that_raises_ends_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    class Fails(bp.Callback):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            raise RuntimeError("the disk is full")

    def work(comm: Comm) -> None:
        callbacks = [Fails()] if comm.rank == 1 else []
        bp.distributed.fit(make(), X, Y, comm=comm, epochs=1000, callbacks=callbacks)

    results, world = on_ranks(3, work)
    assert world.aborted
    assert str(results[1]) == "the disk is full"
    errors = capsys.readouterr().err
    assert "rank 1 of 3 ends all ranks" in errors
    assert "RuntimeError: the disk is full" in errors


PROGRAM = """
import sys
import numpy as np
from mpi4py import MPI
import backprop as bp

comm = MPI.COMM_WORLD
rng = np.random.default_rng(0)
x = rng.normal(size=(48, 3))
y = np.sin(x.sum(axis=1, keepdims=True))
net = bp.mlp([3, 8, 1], activation="tanh", dtype="float64", seed=comm.rank)
options = {"accumulate_steps": 2, "l2": 0.1, "metrics": ["r2"]}
trainer = bp.Trainer(net, loss="mse", optimizer=bp.Adam(lr=0.01), comm=comm, **options)
mine = bp.distributed.shard(len(x), comm)
ema = bp.EMA(0.9)


class Fails(bp.Callback):
    def on_epoch_end(self, epoch, logs):
        if comm.rank == 1 and "fail" in sys.argv:
            raise RuntimeError("the disk is full")


data = (x[mine], y[mine])
history = trainer.fit(*data, epochs=3, batch_size=12 // comm.size, shuffle=False, validation_data=data, callbacks=[Fails(), ema])
np.save(f"rank{comm.rank}.npy", np.concatenate([net.parameters, ema.network.parameters, history["r2"], history["val_loss"]]))
"""


@pytest.fixture
def mpiexec(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the program on so many ranks."""
    beside = Path(sys.executable).parent / "mpiexec"
    command = str(beside) if beside.exists() else shutil.which("mpiexec")
    if command is None or find_spec("mpi4py") is None:
        pytest.skip("mpi4py and mpiexec are not installed")
    (tmp_path / "train.py").write_text(PROGRAM)
    source = str(Path(bp.__file__).parent.parent)
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "BACKPROP_NUM_THREADS": "1"}
    spare = {"OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    environment = {**os.environ, **allowed, **spare, "PYTHONPATH": source}

    def run(ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        words = [command, "-n", str(ranks), sys.executable, "train.py", *arguments]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)

    return run


def test_processes_under_mpiexec_learn_the_same(mpiexec: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    done = mpiexec(3)
    assert done.returncode == 0, done.stderr
    found = [np.load(tmp_path / f"rank{rank}.npy") for rank in range(3)]
    alone, ema = make(accumulate_steps=2, l2=0.1, metrics=["r2"]), bp.EMA(0.9)
    history = alone.fit(X, Y, epochs=3, batch_size=12, shuffle=False, validation_data=(X, Y), callbacks=[ema])
    expected = np.concatenate([alone.net.parameters, ema.network.parameters, history["r2"], history["val_loss"]])
    for numbers in found:
        assert (numbers == found[0]).all()
        np.testing.assert_allclose(numbers, expected, rtol=1e-12, atol=1e-12)


def test_under_mpiexec_a_rank_that_raises_ends_all(
    mpiexec: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = mpiexec(2, "fail")
    assert done.returncode != 0
    assert "rank 1 of 2 ends all ranks" in done.stderr
    assert "RuntimeError: the disk is full" in done.stderr
    assert not list(tmp_path.glob("*.npy"))
