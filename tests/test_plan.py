"""Plans do in one call what networks do layer by layer, and none is used for a network that has changed."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_networks import OPTIMIZERS, losses_of, random_network, targets_for

import backprop as bp
from backprop import activations, kernels
from backprop._training.rows import Batch
from backprop.explain import comparisons, record
from backprop.explain.diagnosis import probes
from backprop.network import Network

pytestmark = pytest.mark.skipif(kernels.compiled() is None, reason="plans are the compiled backend's")


@pytest.fixture
def layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, no network has a plan."""
    return lambda: monkeypatch.setattr(Network, "_ready_plan", lambda self: None)


def batch(net: Network, rows: int = 19, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, net.n_inputs)).astype(net.dtype)


def assert_close(actual: object, wanted: object, net: Network) -> None:
    tolerance = {"float32": 2e-4, "float64": 1e-11}[net.dtype.name]
    np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(30))
def test_forward_and_backward(seed, dtype, training, layer_by_layer):
    net = random_network(seed, dtype.name)
    x, grad = batch(net), np.random.default_rng(1).normal(size=(19, 3)).astype(dtype)
    other = net.copy()
    outputs = net.forward(x, training)
    assert net._work.pending[1] is not None
    grad_x = net.backward(grad)
    layer_by_layer()
    assert_close(outputs, other.forward(x, training), net)
    assert other._work.pending[1] is None
    assert_close(grad_x, other.backward(grad), net)
    assert np.abs(other.gradients).max() > 0
    assert_close(net.gradients, other.gradients, net)
    assert_close(net.buffers, other.buffers, net)
    assert net.dropout_step == other.dropout_step


@pytest.mark.parametrize("rows", [1, 5, 300])
@pytest.mark.parametrize("seed", range(30))
def test_predict(seed, dtype, rows, layer_by_layer):
    net = random_network(seed, dtype.name)
    net.forward(batch(net), training=True)  # so that running statistics are not those of the beginning
    x = batch(net, rows)
    outputs = net._ready_plan().predict(x)
    np.testing.assert_array_equal(net.predict(x), outputs)
    layer_by_layer()
    assert_close(outputs, net.infer(x), net)


@pytest.mark.parametrize(("rows", "batch_size"), [(23, 5), (4900, 4500)])  # the second: batches that are sliced
@pytest.mark.parametrize("case", range(48))
def test_training(case, rows, batch_size, layer_by_layer):
    rng, outputs = np.random.default_rng(case), 3 + case % 2
    net = random_network(case, outputs=outputs)
    losses = losses_of(outputs)
    loss = losses[case % len(losses)]
    optimizer = OPTIMIZERS[case % len(OPTIMIZERS)]
    x, y = batch(net, rows), targets_for(loss, outputs, rows, soft=case % 2 == 0)
    weight = rng.choice([0.0, 1.0, 2.5], rows) if case % 3 == 0 else None
    options = [{}, {"clip_norm": 0.5}, {"clip_value": 0.01}][case % 4 % 3] | ({"l2": 0.5} if case % 5 == 1 else {})
    others = net.copy()

    def train(net: Network) -> tuple[bp.Trainer, bp.History]:
        trainer = bp.Trainer(net, loss=copy.deepcopy(loss), optimizer=optimizer(), **options)
        return trainer, trainer.fit(x, y, epochs=3, batch_size=batch_size, sample_weight=weight, seed=case, shuffle=case % 5 > 0)

    trainer, history = train(net)
    assert trainer._step_plan is not None
    layer_by_layer()
    other, other_history = train(others)
    assert other._step_plan is None
    assert trainer.optimizer.steps == other.optimizer.steps > 0
    assert net.dropout_step == others.dropout_step
    # Optimizers that divide by the size of gradients magnify those that are rounding alone, such as of a bias before a batch norm.
    noise = (net.gradients != 0) & (np.abs(net.gradients) < 1e-15)
    assert_close(net.parameters[~noise], others.parameters[~noise], net)
    np.testing.assert_allclose(net.parameters[noise], others.parameters[noise], rtol=0, atol=1e-9)
    if noise.any():
        np.testing.assert_allclose(net.buffers, others.buffers, rtol=0, atol=1e-9)
    else:
        assert_close(net.buffers, others.buffers, net)
    for key, values in history.items():
        np.testing.assert_allclose(values, other_history[key], rtol=1e-9, err_msg=key)


@pytest.mark.parametrize(("rows", "width"), [(8, 4), (2, 64), (5000, 4)])  # gradients larger than the batch; slices
def test_gradients_that_are_not_finite_stop_it_before_the_update(rows, width):
    net = bp.mlp([width, width, 1], activation="identity", seed=0)
    x, y = np.full((rows, width), 1e30, np.float32), np.zeros((rows, 1), np.float32)
    net.layers[0].weight = np.zeros((width, width))
    net.layers[1].weight = np.ones((width, 1))
    net.layers[1].bias = [1e18]
    trainer = bp.Trainer(net, loss="mse")
    before = net.parameters.copy()
    with pytest.raises(bp.DivergenceError, match="gradient norm"):
        trainer.step(x, y)
    assert trainer._step_plan is not None
    np.testing.assert_array_equal(net.parameters, before)


def test_the_last_of_sliced_batches_may_have_more_slices_than_the_others(layer_by_layer):
    x = np.random.default_rng(0).normal(size=(2 * 16384 - 1, 3))  # 16 groups of a slice, then 15 of two
    y = np.random.default_rng(1).normal(size=(len(x), 1))
    nets = [bp.mlp([3, 4, 1], dtype="float64", seed=0) for _ in range(2)]
    losses = []
    for net in nets:
        losses.append(net.fit(x, y, loss="mse", batch_size=16384, seed=0)["loss"])
        layer_by_layer()
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)
    assert_close(nets[0].parameters, nets[1].parameters, nets[0])


def test_an_input_that_is_not_finite_stops_a_sliced_batch(tmp_path):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(6000, 4))
    x[:] = 1
    x[2999, 1] = np.nan
    net = bp.mlp([4, 8, 2], seed=0)
    before = net.parameters.copy()
    with pytest.raises(ValueError, match="x"):
        net.fit(x, np.zeros(6000, np.int64), loss="cross_entropy", batch_size=6000, shuffle=False)
    np.testing.assert_array_equal(net.parameters, before)


class Double(bp.Layer):
    """A custom layer."""

    def forward(self, x, training):
        return 2 * x

    def backward(self, grad_outputs):
        return 2 * grad_outputs


class Patched(bp.Dense):
    """A layer that is not quite built in."""


@pytest.mark.parametrize("layer", [Double(), Patched(3, 3), bp.Residual([Double()])])
def test_layers_of_ones_own_have_none(layer):
    net = bp.Network([bp.Dense(3, 3), layer], seed=0)
    assert net._ready_plan() is None
    history = net.fit(np.ones((8, 3)), np.zeros((8, 3)), loss="mse", epochs=2)
    assert history["loss"][1] < history["loss"][0]


def test_a_patched_method_is_called():
    net = bp.Network([bp.Dense(3, 3), bp.Activation("tanh")], seed=0)
    net.predict(np.ones((1, 3)))
    net.layers[1].infer = lambda x: np.full_like(x, 7)
    assert (net.predict(np.ones((1, 3))) == 7).all()


def test_the_numpy_backend_has_none():
    net = bp.mlp([3, 4, 2], seed=0)
    x = np.ones((1, 3), np.float32)
    assert net._ready_plan().predict(x) is not None
    with bp.use_backend("numpy"):
        assert net._ready_plan() is None
        assert net._plan.predict(x) is None
        net.forward(x)
        assert net._work.pending[1] is None


@pytest.mark.parametrize(
    ("change", "keeps_plan"),
    [
        (lambda net: setattr(net.layers[0], "activation", activations.tanh), False),
        (lambda net: setattr(net.layers[0], "trainable", False), False),
        (lambda net: setattr(net.layers[1], "rate", 0.9), True),
        (lambda net: setattr(net.layers[2], "eps", 3.0), True),
        (lambda net: setattr(net.layers[2], "momentum", 1.0), True),
        (lambda net: setattr(net.layers[3].block[0], "activation", activations.relu), False),
        (lambda net: setattr(net.layers[3], "trainable", False), False),
    ],
)
def test_a_layer_that_changes(change, keeps_plan, layer_by_layer):
    layers = [bp.Dense(3, 4), bp.Dropout(0.5), bp.BatchNorm(4), bp.Residual([bp.Dense(4, 4)])]
    net = bp.Network(layers, dtype="float64", seed=0)
    x = batch(net, 9)
    trainer = bp.Trainer(net, loss="mse", optimizer=bp.SGD(0.1))
    trainer.step(x, np.zeros((9, 4)))
    trainer.step(x, np.zeros((9, 4)))
    plan, planned = net._plan, trainer._step_plan
    assert planned.is_current()
    change(net)
    assert planned.is_current() == keeps_plan
    if not keeps_plan:
        assert planned.step(x, np.zeros((9, 4)), None, net._noise) is None
    other = net.copy()
    outputs, after = net.predict(x), trainer.step(x, np.zeros((9, 4)))
    assert (net._plan is plan) == keeps_plan
    layer_by_layer()
    assert_close(outputs, other.predict(x), net)
    assert_close(after, bp.Trainer(other, loss="mse", optimizer=bp.SGD(0.1)).step(x, np.zeros((9, 4))), net)
    assert_close(net.parameters, other.parameters, net)


@pytest.mark.parametrize(
    "change",
    [
        lambda trainer: setattr(trainer.optimizer, "lr", 0.5),
        lambda trainer: setattr(trainer.optimizer, "betas", (0.5, 0.5)),
        lambda trainer: setattr(trainer.optimizer, "groups", {"*.bias": {"lr": 1.0}}),
        lambda trainer: setattr(trainer.loss, "label_smoothing", 0.5),
        lambda trainer: setattr(trainer, "clip_norm", 1e-3),
        lambda trainer: setattr(trainer, "clip_value", 1e-5),
        lambda trainer: setattr(trainer, "accumulate_steps", 2),
        lambda trainer: trainer.optimizer.load_state_dict(bp.Adam().state_dict()),
    ],
)
def test_settings_that_change(change, layer_by_layer, monkeypatch):
    def train() -> np.ndarray:
        net = bp.mlp([3, 4, 2], dtype="float64", seed=0)
        trainer = bp.Trainer(net, loss="cross_entropy", optimizer=bp.Adam(0.1))
        x, y = batch(net, 9), np.zeros(9, np.int64)
        for _ in range(3):
            trainer.step(x, y)
        change(trainer)
        for _ in range(3):
            trainer.step(x, y)
        return net.parameters.copy()

    by_plan = train()
    layer_by_layer()
    np.testing.assert_allclose(by_plan, train(), rtol=1e-12)


def test_copies_have_plans_of_their_own():
    net = bp.mlp([3, 4, 2], seed=0)
    x = np.ones((1, 3), np.float32)
    outputs = net.predict(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.copy(), net.astype("float64")):
        assert other._plan is None
        other.parameters[...] = 0
        np.testing.assert_array_equal(other.predict(x), 0)
    np.testing.assert_array_equal(net.predict(x), outputs)
    trainer = bp.Trainer(net, loss="mse")
    trainer.step(x, np.zeros((1, 2)))
    assert pickle.loads(pickle.dumps(trainer))._step_plan is None


@pytest.mark.parametrize(
    ("loss", "targets"), [("cross_entropy", [0, 1, 1]), ("mse", np.ones((3, 2))), ("poisson", np.ones((3, 2)))]
)
def test_a_step_without_conversions_is_a_step_with(loss, targets, dtype):
    steps = []
    for convert in (np.array, np.ndarray.tolist):
        net = bp.mlp([4, 8, 2], dropout=0.2, dtype=dtype, seed=0)
        trainer = bp.Trainer(net, loss=loss)
        x, y = batch(net, 3), np.array(targets)
        y = y if y.dtype.kind == "i" else y.astype(dtype)
        losses_ = [trainer.step(convert(x), convert(y)) for _ in range(4)]
        steps.append((losses_, net.parameters, trainer.optimizer.steps, net.dropout_step, trainer.last_lr))
    assert steps[0][0] == steps[1][0]
    np.testing.assert_array_equal(steps[0][1], steps[1][1])
    assert steps[0][2:] == steps[1][2:] == (4, 4, 1e-3)


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_a_step_without_conversions_follows_a_schedule(per, monkeypatch):
    net = bp.mlp([4, 2], dtype="float64", seed=0)
    trainer = bp.Trainer(net, loss="mse", optimizer=bp.SGD(bp.schedules.Exponential(0.1, gamma=0.5, per=per)))
    x, y = batch(net, 3), np.ones((3, 2))
    trainer.step(x, y)  # makes the plan
    monkeypatch.delattr("backprop.training.Converter")
    for count in range(1, 4):
        trainer.optimizer.epoch = count
        before = net.parameters.copy()
        trainer.step(x, y)
        np.testing.assert_allclose(net.parameters, before - 0.1 * 0.5**count * net.gradients, rtol=1e-14)
        assert trainer.last_lr == 0.1 * 0.5**count


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((2, 4), np.float32), np.array([0, 2]), "class labels in \\[0, 2\\)"),
        (np.ones((2, 4), np.float32), np.array([0, -1]), "class labels in \\[0, 2\\)"),
        (np.full((2, 4), np.nan, np.float32), np.array([0, 1]), "x contains NaN"),
        (np.ones((2, 5), np.float32), np.array([0, 1]), "x must have shape"),
        (np.ones((2, 4), np.float32), np.array([0, 1, 1]), "the same number of rows"),
        (np.ones((0, 4), np.float32), np.array([], np.int64), "at least one row"),
    ],
)
def test_a_step_refuses_what_does_not_fit(x, y, message):
    net = bp.mlp([4, 8, 2], seed=0)
    trainer = bp.Trainer(net, loss="cross_entropy")
    trainer.step(np.ones((2, 4), np.float32), np.array([0, 1]))
    before = net.parameters.copy()
    with pytest.raises(ValueError, match=message):
        trainer.step(x, y)
    np.testing.assert_array_equal(net.parameters, before)
    assert trainer.optimizer.steps == 1


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.0}])
def test_divergence_leaves_no_trace(clip):
    net = bp.Network([bp.Dense(2, 2), bp.BatchNorm(2), bp.Dense(2, 1)], dtype="float64", seed=0)
    trainer = bp.Trainer(net, loss="mse", optimizer=bp.SGD(1e-3), **clip)
    x, y = np.random.default_rng(0).normal(size=(8, 2)), np.zeros((8, 1))
    trainer.step(x, y)
    before = net.parameters.copy(), net.buffers.copy(), net.dropout_step, trainer.optimizer.steps
    with pytest.raises(bp.DivergenceError, match="the loss is inf at update 2"):
        trainer.step(x, np.full((8, 1), 1e200))
    after = net.parameters, net.buffers, net.dropout_step, trainer.optimizer.steps
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_no_memory_is_allocated_for_each_step():
    net = bp.mlp([8, 16, 2], seed=0)
    x, y = batch(net, 1000), np.zeros(1000, np.int64)
    trainer = bp.Trainer(net, loss="cross_entropy")
    trainer.fit(x, y, batch_size=32, epochs=2)
    allocations = net._plan.allocations
    trainer.fit(x, y, batch_size=32, epochs=3)
    for _ in range(10):
        trainer.step(x[:20], y[:20])
    assert net._plan.allocations == allocations == 2
    trainer.step(x[:33], y[:33])
    assert net._plan.allocations == 4


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="the system has no large pages")
@pytest.mark.parametrize(("sizes", "rows"), [([8, 8192, 8], 600), ([512, 1024, 8], 1024)], ids=["whole", "sliced"])
def test_a_large_workspace_asks_for_large_pages(sizes, rows):
    trainer = bp.Trainer(bp.mlp(sizes, seed=0), loss="mse")
    x, y = np.ones((rows, sizes[0]), np.float32), np.ones((rows, sizes[-1]), np.float32)
    before = asked_for_large_pages()
    trainer.step(x, y)
    # malloc maps blocks above 32 MiB separately, so no earlier owner can have asked for large pages in this memory.
    assert asked_for_large_pages() >= before + 2**25


def asked_for_large_pages() -> int:
    """Return how many bytes of this process's memory lie in regions that asked for large pages."""
    regions = re.findall(r"^Size: +(\d+) kB$.*?^VmFlags:(.*?)$", Path("/proc/self/smaps").read_text(), re.M | re.S)
    return sum(1024 * int(size) for size, flags in regions if "hg" in flags.split())


def test_a_backward_needs_a_forward_of_its_own():
    net = bp.mlp([4, 8, 2], seed=0)
    x = batch(net, 5)
    trainer = bp.Trainer(net, loss="mse")
    outputs = net.forward(x, training=True)
    trainer.step(x, outputs)
    with pytest.raises(RuntimeError, match="needs a forward of its own"):
        net.backward(outputs)


TALLIED = {  # loss, outputs, targets of 50 rows
    "labels": ("cross_entropy", 3, lambda rng: rng.integers(0, 3, 50)),
    "probabilities": ("cross_entropy", 3, lambda rng: rng.dirichlet(np.ones(3), 50).round(1)),
    "binary": ("binary_cross_entropy", 1, lambda rng: rng.integers(0, 2, 50)),
    "several": ("binary_cross_entropy", 3, lambda rng: rng.integers(0, 2, (50, 3))),
    "hinge": ("hinge", 1, lambda rng: rng.integers(0, 2, 50)),
    "number": ("mse", 1, lambda rng: rng.normal(1000, size=50)),
    "numbers": ("mse", 3, lambda rng: rng.normal([0, 10, 1000], size=(50, 3))),
    "many numbers": ("mae", 40, lambda rng: rng.normal(size=(50, 40))),
}


@pytest.mark.parametrize("batch_size", [1, 7, 50])
@pytest.mark.parametrize(
    ("case", "weighted"),
    [(case, weighted) for case in TALLIED for weighted in ("", "rows")]
    + [(case, weighted) for case in ("labels", "binary") for weighted in ("classes", "rows and classes")],
)
def test_steps_keep_the_sums_of_metrics(case, weighted, batch_size, dtype, rng, monkeypatch):
    loss, n_outputs, targets = TALLIED[case]
    y = targets(rng)
    # Few different numbers: outputs that are equal, or 0, are common.
    x = rng.integers(-1, 2, (50, 2)).astype(dtype)
    net = bp.Network([bp.Dense(2, n_outputs)], dtype=dtype.name)
    net.parameters[...] = rng.integers(-1, 2, net.parameters.size)
    options = {}
    if "rows" in weighted:
        options["sample_weight"] = np.where(np.arange(50) % 9 < 7, rng.normal(size=50), 0.0)
    if "classes" in weighted:
        options["class_weight"] = [0.5, 2.0, 3.0][: int(y.max()) + 1]

    def history():
        trainer = bp.Trainer(net.copy(), loss=loss, optimizer=bp.SGD(1e-12))
        return trainer.fit(x, y, epochs=2, batch_size=batch_size, seed=0, **options)

    with monkeypatch.context() as patch:
        patch.delattr("backprop._training.evaluation.Meter.add_rows")
        tallied = history()
    monkeypatch.setattr("backprop._training.evaluation.Meter.formula", None)
    looked_at = history()
    assert tallied.keys() == looked_at.keys()
    for key in looked_at:
        np.testing.assert_allclose(tallied[key], looked_at[key], rtol=1e-9 if key == "r2" else 1e-12)
    if case in ("labels", "probabilities", "binary", "hinge") and "rows" not in weighted:
        assert tallied["accuracy"] == looked_at["accuracy"]


def test_a_tally_goes_on_without_the_plan(rng):
    x, y = rng.normal(size=(40, 3)).astype(np.float32), rng.normal(size=40) + 100

    class Leave(bp.callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            if batch == 3:
                bp.kernels.chosen.set("numpy")

    histories = []
    for callbacks in ([], [Leave()]):
        with bp.use_backend("cython"):
            trainer = bp.Trainer(bp.mlp([3, 4, 1], seed=0), loss="mse")
            histories.append(trainer.fit(x, y, epochs=2, batch_size=8, callbacks=callbacks, seed=0))
    for key in histories[0]:
        np.testing.assert_allclose(histories[1][key], histories[0][key], rtol=1e-4)


@pytest.mark.parametrize("weight_dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "binary_cross_entropy", "huber"])
def test_weighted_steps_are_those_layer_by_layer(loss, weight_dtype, dtype, layer_by_layer, rng):
    x = rng.normal(size=(9, 4)).astype(dtype)
    y = rng.integers(0, 3, 9) if loss == "cross_entropy" else rng.integers(0, 2, (9, 3)).astype(dtype)
    weights = [rng.choice([-0.5, 0.0, 1.0, 2.5], 9).astype(weight_dtype) for _ in range(5)]
    weights[2][:] = 0
    layers = [bp.Dense(4, 5, activation="tanh"), bp.BatchNorm(5), bp.Dropout(0.3), bp.Dense(5, 3)]
    nets = [bp.Network(layers, dtype=dtype, seed=0)]
    nets.append(nets[0].copy())
    losses = []
    for net in nets:
        trainer = bp.Trainer(net, loss=loss, optimizer=bp.SGD(0.1, momentum=0.9), clip_norm=0.5)
        trainer.step(x, y)
        losses.append([trainer.step(x, y, sample_weight=weight) for weight in weights])
        assert (trainer._step_plan is None) == (net is nets[1])
        assert trainer.optimizer.steps == 5
        layer_by_layer()
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9 if dtype == np.float64 else 1e-4)
    assert_close(nets[0].parameters, nets[1].parameters, nets[0])
    assert_close(nets[0].buffers, nets[1].buffers, nets[0])
    assert nets[0].dropout_step == nets[1].dropout_step


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.array([1.0, np.nan, 1.0]), "sample_weight contains NaN"),
        (np.array([1.0, np.inf, 1.0]), "sample_weight contains inf"),
        (np.ones((3, 1)), "sample_weight must have shape"),
        (np.ones(2), "sample_weight must have shape"),
        (np.full(3, 1e300), "sample_weight"),
    ],
)
def test_weights_of_a_step_that_are_wrong_are_refused(weight, message):
    trainer = bp.Trainer(bp.mlp([2, 3, 1], seed=0), loss="mse")
    x, y = np.ones((3, 2), np.float32), np.zeros((3, 1), np.float32)
    trainer.step(x, y)
    before = trainer.net.parameters.copy()
    with pytest.raises(ValueError, match=message):
        trainer.step(x, y, sample_weight=weight)
    np.testing.assert_array_equal(trainer.net.parameters, before)
    assert trainer.optimizer.steps == 1


@pytest.mark.parametrize("groups", [None, {"*.bias": {"lr": 0.5}}])
def test_a_learning_rate_that_is_assigned_between_steps_is_that_of_the_next(groups, layer_by_layer, rng):
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 3))
    results = []
    for _ in range(2):
        net = bp.mlp([4, 5, 3], dtype="float64", seed=0)
        trainer = bp.Trainer(net, loss="mse", optimizer=bp.Adam(0.1, groups=groups))
        trainer.step(x, y)
        plan = trainer._step_plan
        for rate in (0.2, 0.05, bp.schedules.Exponential(0.1, gamma=0.5), 0.01, 0.02):
            trainer.optimizer.lr = rate
            trainer.step(x, y)
            trainer.step(x, y)
            assert trainer.last_lr == (0.05 if isinstance(rate, bp.schedules.Schedule) else rate)
            if rate == 0.2 and groups is None:
                assert trainer._step_plan is plan
        results.append(net.parameters)
        layer_by_layer()
    np.testing.assert_allclose(results[0], results[1], rtol=1e-10)


@pytest.mark.parametrize("class_weight", [[0.5, 2.0, 3.0], {0: 0.0, 2: 0.3}, "balanced"])
def test_class_weights_in_steps_are_those_layer_by_layer(class_weight, dtype, layer_by_layer, rng):
    x = rng.normal(size=(9, 4)).astype(dtype)
    y = rng.integers(0, 3, (6, 9))
    y[2], y[3] = 0, 2
    weights = [None, rng.choice([0.0, 1.0, 2.5], 9), rng.normal(size=9).astype(np.float32)]
    losses = []
    nets = [bp.mlp([4, 5, 3], dropout=0.2, dtype=dtype, seed=0) for _ in range(2)]
    for net in nets:
        trainer = bp.Trainer(net, loss=bp.losses.CrossEntropy(class_weight=class_weight), optimizer=bp.SGD(0.1), accumulate_steps=2)
        losses.append([trainer.step(x, labels, sample_weight=weight) for labels in y for weight in weights])
        layer_by_layer()
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9 if dtype == np.float64 else 1e-4)
    assert_close(nets[0].parameters, nets[1].parameters, nets[0])
    assert nets[0].dropout_step == nets[1].dropout_step


def test_a_step_with_class_weights_needs_no_conversion(monkeypatch):
    trainer = bp.Trainer(bp.mlp([4, 3], seed=0), loss=bp.losses.CrossEntropy(class_weight=[0.5, 1.0, 2.0]))
    x, y = np.ones((5, 4), np.float32), np.arange(5) % 3
    trainer.step(x, y)
    monkeypatch.delattr("backprop._training.step.Converter")
    trainer.step(x, y)
    trainer.step(x, y, sample_weight=np.ones(5))


def test_weights_that_are_zero_in_the_dtype_of_the_network_are_no_weights():
    """They count as a step that waits, once."""
    trainer = bp.Trainer(bp.mlp([2, 3, 1], seed=0), loss="mse", optimizer=bp.SGD(0.1), accumulate_steps=2)
    x, y = np.ones((3, 2), np.float32), np.zeros((3, 1), np.float32)
    other = copy.deepcopy(trainer)
    for each, weight in ((trainer, 1e-60), (other, 0.0)):
        for _ in range(3):
            each.step(x, y)
            each.step(x, y, sample_weight=np.full(3, weight))
    np.testing.assert_array_equal(trainer.net.parameters, other.net.parameters)
    assert trainer.optimizer.steps == other.optimizer.steps == 3


def test_options_that_change_between_steps_are_those_of_the_next(layer_by_layer, rng):
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 3))
    results = []
    for _ in range(2):
        net = bp.Network([bp.Dense(4, 5, activation="tanh"), bp.Dropout(0.2), bp.Dense(5, 3)], dtype="float64", seed=0)
        trainer = bp.Trainer(net, loss="mse", optimizer=bp.Adam(0.1))
        for number in range(8):
            net.layers[1].rate = 0.1 * (number % 3)
            trainer.optimizer.weight_decay = 0.01 * number
            trainer.step(x, y)
        results.append(net.parameters)
        layer_by_layer()
    np.testing.assert_allclose(results[0], results[1], rtol=1e-10)


def compare(x: np.ndarray, y: np.ndarray) -> object:
    candidates = {"small": bp.mlp([4, 3, 2], seed=0), "large": bp.mlp([4, 8, 2], dropout=0.1, seed=0)}
    return bp.compare(candidates, x, y, loss="cross_entropy", epochs=2, lr="auto")


USERS: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
    "compare": compare,
    "lr_range_test": lambda x, y: bp.lr_range_test(bp.Trainer(bp.mlp([4, 3, 2], seed=0), loss="cross_entropy"), x, y),
    "fit_many": lambda x, y: bp.fit_many(
        [bp.Trainer(bp.mlp([4, 3, 2], seed=0), loss="cross_entropy", accumulate_steps=2, l2=0.1) for _ in range(2)], x, y
    ),
    "record": lambda x, y: record(bp.mlp([4, 3, 2], seed=0), x, y, loss="cross_entropy", epochs=2, snapshots=2),
    "vanishing": lambda x, y: comparisons.vanishing(x, y, loss="cross_entropy", n_outputs=2, activations=["tanh"], epochs=2),
    "race": lambda x, y: comparisons.race(steps=3),
    "a probe of diagnose": lambda x, y: probes._train(
        bp.Trainer(bp.mlp([4, 3, 2], seed=0), loss="cross_entropy"), Batch(x, y, np.ones(60), np.ones(60)), 16, 3
    ),
    "an epoch with EMA": lambda x, y: bp.mlp([4, 3, 2], seed=0).fit(x, y, loss="cross_entropy", callbacks=[bp.EMA(0.9)]),
    "batches": lambda x, y: bp.mlp([4, 3, 2], seed=0).fit([(x, y), (x[:7], y[:7])], loss="cross_entropy", metrics=["accuracy"]),
}


@pytest.mark.parametrize("name", USERS)
def test_what_trains_for_others_takes_whole_steps_of_a_plan(name, monkeypatch, rng):
    def refuse(*arguments: object) -> None:
        raise AssertionError("not by plan")

    monkeypatch.setattr("backprop.network.apply", refuse)
    monkeypatch.setattr("backprop._training.step.TrainingStep._complete", refuse)
    monkeypatch.setattr("backprop._training.step.TrainingStep._use_gradients", refuse)
    USERS[name](rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 2, 60))


def summed(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """A custom loss."""
    return float(((outputs - targets) ** 2).sum()), 2 * (outputs - targets)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5}, {"clip_value": 0.01}, {"l2": 0.5}, {"accumulate_steps": 3}], ids=str)
@pytest.mark.parametrize("loss", ["mse", summed])
def test_on_gradients_is_called_as_layer_by_layer(loss, options, layer_by_layer, rng):
    x, y = rng.normal(size=(40, 4)), rng.normal(size=(40, 3))
    results = []
    for _ in range(2):
        seen: list[np.ndarray] = []

        def look(gradients: np.ndarray, seen: list[np.ndarray] = seen) -> None:
            seen.append(gradients.copy())
            gradients *= 0.5

        layers = [bp.Dense(4, 5, activation="tanh"), bp.BatchNorm(5), bp.Dropout(0.3), bp.Dense(5, 3)]
        net = bp.Network(layers, dtype="float64", seed=0)
        trainer = bp.Trainer(net, loss=loss, optimizer=bp.Adam(0.1), on_gradients=look, **options)
        losses = [trainer.step(x[:9], y[:9]) for _ in range(4)]
        losses += trainer.fit(x, y, batch_size=7, epochs=2, seed=0)["loss"]
        if loss == "mse":
            losses.append(trainer.step(x[:9], y[:9], sample_weight=np.arange(9.0)))
        outputs = trainer.forward(x[:9])
        trainer.backward_step(outputs - y[:9])
        assert (trainer._step_plan is None) == bool(results)
        counts = trainer.optimizer.steps, net.dropout_step, trainer.last_lr, trainer._accumulated_steps
        results.append((losses, seen, net.parameters, net.buffers, counts))
        layer_by_layer()
    planned, other = results
    assert len(planned[1]) == len(other[1]) == planned[4][0] > 5
    for mine, theirs in zip(planned, other, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("loss", ["mse", summed])
@pytest.mark.parametrize("harm", ["raises", "nan"])
def test_a_step_that_on_gradients_spoils_leaves_no_trace(loss, harm):
    spoil = False

    def look(gradients: np.ndarray) -> None:
        if spoil and harm == "raises":
            raise KeyError("no")
        if spoil:
            gradients[0] = np.nan

    net = bp.Network([bp.Dense(4, 5), bp.BatchNorm(5), bp.Dropout(0.3), bp.Dense(5, 3)], dtype="float64", seed=0)
    trainer = bp.Trainer(net, loss=loss, on_gradients=look, clip_norm=1.0)
    x, y = batch(net, 9), np.ones((9, 3))
    trainer.step(x, y)
    before = net.parameters.copy(), net.buffers.copy(), net.dropout_step, trainer.optimizer.steps
    spoil = True
    for train in (lambda: trainer.step(x, y), lambda: trainer.fit(x, y)):
        with pytest.raises(KeyError if harm == "raises" else bp.DivergenceError):
            train()
        for old, new in zip(before, (net.parameters, net.buffers, net.dropout_step, trainer.optimizer.steps), strict=True):
            np.testing.assert_array_equal(old, new)
    spoil = False
    trainer.step(x, y)
    assert trainer.optimizer.steps == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda trainer: setattr(trainer, "clip_norm", 1e-3),
        lambda trainer: setattr(trainer.optimizer, "weight_decay", 0.5),
        lambda trainer: setattr(trainer, "optimizer", bp.SGD(0.1)),
        lambda trainer: setattr(trainer, "on_gradients", None),
        lambda trainer: setattr(trainer.net.layers[0], "trainable", False),
    ],
)
def test_what_on_gradients_assigns_holds_for_the_update(change, layer_by_layer):
    results = []
    for _ in range(2):
        trainer = bp.Trainer(bp.mlp([4, 5, 3], dtype="float64", seed=0), loss="mse")
        trainer.on_gradients = lambda gradients, trainer=trainer: change(trainer)
        x, y = batch(trainer.net, 9), np.ones((9, 3))
        for _ in range(3):
            trainer.step(x, y)
        results.append(trainer.net.parameters)
        layer_by_layer()
    np.testing.assert_allclose(results[0], results[1], rtol=1e-10)


class Halved(bp.optimizers.Optimizer):
    """A custom optimizer that writes `update`."""

    moment_names = ("seen",)

    def update(self, parameter, gradient, moments, lr, step):
        moments["seen"] += np.abs(gradient)
        parameter -= lr * gradient / (1 + moments["seen"]) / step


class Counting(bp.optimizers.Optimizer):
    """One that writes `step`, and keeps a count of its own."""

    def __init__(self, lr):
        super().__init__(lr)
        self.calls = 0

    def step(self, net):
        self.calls += 1
        net.begin_update()
        net.parameters[...] -= self.learning_rate * net.gradients
        self.steps += 1


class Spied(bp.Adam):
    """One that derives from a built-in optimizer."""

    def step(self, net):
        super().step(net)
        net.parameters *= 0.99


def patched(lr: float) -> bp.optimizers.Optimizer:
    """A built-in optimizer with a method of its own."""
    optimizer = bp.SGD(lr)
    plain = optimizer.step
    optimizer.step = lambda net: (plain(net), plain(net))
    return optimizer


@pytest.mark.parametrize(
    "options", [{}, {"clip_norm": 0.5}, {"l2": 0.5, "accumulate_steps": 3}, {"on_gradients": np.sign}], ids=str
)
@pytest.mark.parametrize("loss", ["mse", summed])
@pytest.mark.parametrize("optimizer", [Halved, Counting, Spied, patched])
def test_a_custom_optimizer_updates_after_the_gradient_of_a_plan(optimizer, loss, options, layer_by_layer, rng):
    x, y = rng.normal(size=(40, 4)), rng.normal(size=(40, 3))
    results = []
    for _ in range(2):
        layers = [bp.Dense(4, 5, activation="tanh"), bp.BatchNorm(5), bp.Dropout(0.3), bp.Dense(5, 3)]
        net = bp.Network(layers, dtype="float64", seed=0)
        trainer = bp.Trainer(net, loss=loss, optimizer=optimizer(0.01), **options)
        losses = [trainer.step(x[:9], y[:9]) for _ in range(4)]
        net.layers[0].trainable = False
        trainer.optimizer.lr = bp.schedules.Exponential(0.02, gamma=0.9)
        losses += trainer.fit(x, y, batch_size=7, epochs=2, seed=0)["loss"]
        outputs = trainer.forward(x[:9])
        trainer.backward_step(outputs - y[:9])
        planned = trainer._step_plan
        assert planned is None if results else planned.pauses and not planned.has_formula
        counts = trainer.optimizer.steps, net.dropout_step, trainer.last_lr, trainer._accumulated_steps
        results.append((losses, net.parameters, net.buffers, counts))
        layer_by_layer()
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8, atol=1e-10)


def test_an_optimizer_that_is_patched_and_mended_between_steps(layer_by_layer):
    results = []
    for _ in range(2):
        trainer = bp.Trainer(bp.mlp([4, 5, 3], dtype="float64", seed=0), loss="mse", optimizer=bp.SGD(0.1))
        x, y = batch(trainer.net, 9), np.ones((9, 3))
        for patch in (False, True, False, True):
            if patch:
                trainer.optimizer.step = lambda net, optimizer=trainer.optimizer: bp.optimizers.Optimizer.step(optimizer, net)
            elif "step" in vars(trainer.optimizer):
                del trainer.optimizer.step
            trainer.step(x, y)
            trainer.step(x, y)
        results.append(trainer.net.parameters)
        layer_by_layer()
    np.testing.assert_allclose(results[0], results[1], rtol=1e-10)
