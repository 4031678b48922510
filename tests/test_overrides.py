"""What a class or an object overrides is what runs: in training, prediction, evaluation and checks, by plan or layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
import pytest

import backprop as bp
from backprop import kernels, losses, metrics, optimizers, schedules
from backprop._gradcheck import GradientError
from backprop._training.evaluation import Meter
from backprop.activations import ActivationFunction
from backprop.initializers import Initializer
from backprop.metrics import _streaming

HOWS = ["subclass", "mixin", "assigned", "patched"]
Methods = dict[str, Callable[[Any], Any]]  # name: what makes the override of the original function


class Override:
    """Replaces methods of a class: in a subclass, in a mixin, on an object or on the class itself."""

    def __init__(self, cls: type, methods: Methods, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._functions = {name: make(getattr(cls, name)) for name, make in methods.items()}
        self._base, self._how, self._monkeypatch = cls, how, monkeypatch
        self.cls: Any = cls
        if how == "subclass":
            self.cls = type(f"Own{cls.__name__}", (cls,), {"__module__": __name__, **self._functions})
        elif how == "mixin":
            mixin = type("Mixin", (), dict(self._functions))
            self.cls = type(f"Mixed{cls.__name__}", (mixin, cls), {"__module__": __name__})

    def begin(self, instance: Any) -> None:
        """Override the methods of an object that has been in use before, where that was not done when it was made."""
        if self._how == "assigned":
            for name, function in self._functions.items():
                setattr(instance, name, MethodType(function, instance))
        elif self._how == "patched":
            for name, function in self._functions.items():
                self._monkeypatch.setattr(self._base, name, function)

    def end(self, instance: Any) -> None:
        """Take back what `begin` did."""
        if self._how == "assigned":
            for name in self._functions:
                delattr(instance, name)
        self._monkeypatch.undo()


def doubled_forward(original):
    return lambda self, x, training=False: 2 * original(self, x, training)


def doubled_backward(original):
    return lambda self, grad_outputs: original(self, 2 * grad_outputs)


def doubled_private_backward(original):
    return lambda self, grad_outputs, input_gradient: original(self, 2 * grad_outputs, input_gradient)


def doubled_infer(original):
    return lambda self, x: 2 * original(self, x)


LAYERS: dict[type[bp.Layer], Callable[[Any], bp.Layer]] = {
    bp.Dense: lambda cls: cls(3, 3, activation="tanh"),
    bp.Activation: lambda cls: cls("sigmoid"),
    bp.Dropout: lambda cls: cls(0.25),
    bp.BatchNorm: lambda cls: cls(3),
    bp.LayerNorm: lambda cls: cls(3),
    bp.Residual: lambda cls: cls([bp.Dense(3, 3, activation="tanh"), bp.LayerNorm(3)]),
}


def network_with(layer):
    """A network that ends in the layer, so that twice its outputs are twice the network's; the first layer is of another class."""
    first = bp.LayerNorm(3) if not isinstance(layer, bp.LayerNorm) else bp.Dense(3, 3)
    return bp.Network([first, layer], dtype="float64", seed=0)


@pytest.fixture
def x(rng):
    return rng.normal(size=(6, 3))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("cls", LAYERS)
def test_a_layer_predicts_with_its_own_forward(cls, how, x, backend, monkeypatch):
    override = Override(cls, {"forward": doubled_forward}, how, monkeypatch)
    net, plain = network_with(LAYERS[cls](override.cls)), network_with(LAYERS[cls](cls))
    net.load_state_dict(plain.state_dict())
    if how in ("assigned", "patched"):
        np.testing.assert_array_equal(net.predict(x), plain.predict(x))  # by now there is a plan
    wanted, jacobian, hidden = 2 * plain.predict(x), 2 * plain.jacobian(x), net.layers[0].infer(x)
    loss = float(np.mean(wanted**2))
    override.begin(net.layers[1])
    y = np.zeros_like(wanted)
    np.testing.assert_allclose(net.forward(x), wanted, rtol=1e-12)
    np.testing.assert_allclose(net.predict(x), wanted, rtol=1e-12)
    np.testing.assert_allclose(net.predict(x, batch_size=2), wanted, rtol=1e-12)
    np.testing.assert_allclose(net.layers[1].infer(hidden), wanted, rtol=1e-12)
    np.testing.assert_allclose(net.evaluate(x, y, loss="mse")["loss"], loss, rtol=1e-12)
    np.testing.assert_allclose(bp.trace(net, x, y, loss="mse", training=False).outputs, wanted, rtol=1e-12)
    np.testing.assert_allclose(net.jacobian(x), jacobian / 2, rtol=1e-9)  # by the backward, which is the inherited one
    with pytest.raises(GradientError):
        bp.gradcheck(net, x, y + 1, loss="mse", training=False)
    override.end(net.layers[1])
    if how in ("assigned", "patched"):
        np.testing.assert_allclose(net.predict(x), wanted / 2, rtol=1e-12)
        assert kernels.compiled() is None or net._ready_plan() is not None


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("method", ["backward", "_backward"])
@pytest.mark.parametrize("cls", LAYERS)
def test_a_layer_is_asked_for_its_own_backward(cls, method, how, x, rng, backend, monkeypatch):
    make = doubled_backward if method == "backward" else doubled_private_backward
    override = Override(cls, {method: make}, how, monkeypatch)
    net, plain = network_with(LAYERS[cls](override.cls)), network_with(LAYERS[cls](cls))
    net.load_state_dict(plain.state_dict())
    nets = (net, plain)
    trainers = [bp.Trainer(each, loss="half_mse", optimizer=bp.SGD(lr=0.1)) for each in nets]
    y = np.ones((6, 3))
    if how in ("assigned", "patched"):
        for trainer in trainers:
            trainer.step(x, y)
    before = plain.parameters.copy()
    trainers[1].step(x, y)
    moved = plain.parameters - before
    plain.parameters, plain.dropout_step = before, plain.dropout_step - 1
    grad = rng.normal(size=(6, 3))
    plain.forward(x, training=True)
    wanted = 2 * plain.backward(grad)
    override.begin(net.layers[1])
    trainers[0].step(x, y)
    np.testing.assert_allclose(net.parameters - before, 2 * moved, rtol=1e-6, atol=1e-12)
    net.parameters, net.dropout_step = before, net.dropout_step - 1
    net.forward(x, training=True)
    np.testing.assert_allclose(net.backward(grad), wanted, rtol=1e-9, atol=1e-15)
    net.layers[1].forward(net.layers[0].infer(x), False)
    net.layers[1].backward(grad)  # called directly


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("cls", LAYERS)
def test_a_layer_with_its_own_forward_and_backward_is_right(cls, how, x, backend, monkeypatch):
    override = Override(cls, {"forward": doubled_forward, "backward": doubled_backward}, how, monkeypatch)
    net = network_with(LAYERS[cls](override.cls))
    net.predict(x)
    override.begin(net.layers[1])
    assert bp.gradcheck(net, x, np.ones((6, 3)), loss="mse")
    history = net.fit(x, np.ones((6, 3)), loss="mse", epochs=2, batch_size=3, validation_data=(x, np.ones((6, 3))))
    assert history["val_loss"][-1] == net.evaluate(x, np.ones((6, 3)))["loss"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("cls", LAYERS)
def test_a_layer_predicts_with_its_own_infer(cls, how, x, backend, monkeypatch):
    override = Override(cls, {"infer": doubled_infer}, how, monkeypatch)
    net = network_with(LAYERS[cls](override.cls))
    forward = net.forward(x)
    override.begin(net.layers[1])
    np.testing.assert_allclose(net.predict(x), 2 * forward, rtol=1e-12)
    np.testing.assert_allclose(net.forward(x), forward, rtol=1e-12)


def test_a_subclass_of_a_subclass_follows_the_most_derived_method(x):
    class Halved(bp.Dense):
        def forward(self, x, training):
            return super().forward(x, training) / 2

        def infer(self, x):
            return super().infer(x) / 2

    class Tripled(Halved):
        def forward(self, x, training):
            return 3 * super().forward(x, training)

    class Plain(Tripled):
        pass

    class Again(Plain):
        def infer(self, x):
            return 10 * super().infer(x)

    outputs = {}
    for cls, factor in ((bp.Dense, 1), (Halved, 0.5), (Tripled, 1.5), (Plain, 1.5), (Again, 15)):
        outputs[cls] = bp.Network([cls(3, 2)], dtype="float64", seed=0).predict(x)
        np.testing.assert_allclose(outputs[cls], factor * outputs[bp.Dense], rtol=1e-12)


def test_a_forward_that_calls_infer_may_be_overridden(x):
    class Shared(bp.Layer):
        def forward(self, x, training):
            return self.infer(x)

        def infer(self, x):
            return x + 1

        def backward(self, grad_outputs):
            return grad_outputs

    class Doubled(Shared):
        def forward(self, x, training):
            return 2 * super().forward(x, training)

    np.testing.assert_array_equal(Doubled().infer(x), 2 * (x + 1))


def test_copies_of_a_layer_follow_what_was_assigned_to_it(x):
    import copy

    layer = bp.Dense(3, 2)
    layer.forward = lambda x, training: np.full((len(x), 2), 7.0)
    for other in (copy.copy(layer), copy.deepcopy(layer)):
        np.testing.assert_array_equal(other.infer(x), 7.0)
        assert other.infer.__self__ is other
        del other.forward
        assert other.infer(x).max() < 7
    np.testing.assert_array_equal(layer.infer(x), 7.0)


@pytest.mark.parametrize("inner", [False, True])
def test_a_prediction_leaves_what_a_custom_layer_keeps(inner, x, backend):
    class Keeps(bp.Layer):
        def forward(self, x, training):
            self.seen = x
            return x**2

        def backward(self, grad_outputs):
            return 2 * self.seen * grad_outputs

    class Holds(bp.Layer):
        def __init__(self):
            self.inner = [Keeps()]

        def children(self):
            return {"inner.0": self.inner[0]}

        def forward(self, x, training):
            return self.inner[0].forward(x, training)

        def backward(self, grad_outputs):
            return self.inner[0].backward(grad_outputs)

    net = bp.Network([bp.Dense(3, 3), Holds() if inner else Keeps()], dtype="float64", seed=0)
    net.forward(x)
    wanted = net.backward(np.ones((6, 3)))
    net.forward(x)
    net.predict(5 * x)
    net.jacobian(3 * x)
    np.testing.assert_array_equal(net.backward(np.ones((6, 3))), wanted)


# Losses.


def doubled_call(original):
    def call(self, outputs, targets, *, sample_weight=None):
        value, grad = original(self, outputs, targets, sample_weight=sample_weight)
        return 2 * value, 2 * grad

    return call


def doubled_compute(original):
    def compute(self, outputs, targets, weight, grad):
        value = 2 * original(self, outputs, targets, weight, grad)
        if grad is not None:
            grad *= 2
        return value

    return compute


def doubled_run(original):
    def run(self, active, outputs, targets, weight, grad):
        return doubled_compute(lambda *arguments: original(self, active, *arguments[1:]))(self, outputs, targets, weight, grad)

    return run


LOSS_METHODS: dict[str, Methods] = {
    "__call__": {"__call__": doubled_call},
    "compute": {"compute": doubled_compute},
    "_run": {"_run": doubled_run},
}


def targets_of(loss, rng, rows=6, k=4):
    if loss in ("cross_entropy", "focal"):
        return rng.integers(0, k, rows)
    if loss == "gaussian":
        return rng.normal(size=(rows, k // 2))
    if loss == "gamma":
        return rng.gamma(2.0, size=(rows, k))
    if loss == "kl_divergence":
        return np.full((rows, k), 1 / k)
    return rng.integers(0, 2, (rows, k)).astype(float)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("method", LOSS_METHODS)
@pytest.mark.parametrize("name", losses.NAMES)
def test_a_loss_is_what_it_overrides(name, method, how, weighted, x, rng, backend, monkeypatch):
    if method == "__call__" and how == "assigned":
        pytest.skip("Python calls the __call__ of the class")
    cls = type(losses.get(name))
    override = Override(cls, LOSS_METHODS[method], how, monkeypatch)
    loss, y = override.cls(), targets_of(name, rng)
    weight = rng.uniform(0.5, 2, 6) if weighted else None
    net, plain = (bp.mlp([3, 5, 4], activation="tanh", dtype="float64", seed=0) for _ in range(2))
    trainers = [bp.Trainer(net, loss=loss, optimizer=bp.SGD(lr=0.1)), bp.Trainer(plain, loss=name, optimizer=bp.SGD(lr=0.1))]
    if how in ("assigned", "patched"):
        for trainer in trainers:
            trainer.step(x, y)
    before = plain.parameters.copy()
    value = 2 * plain.evaluate(x, y, loss=name, sample_weight=weight)["loss"]
    step = 2 * trainers[1].step(x, y, sample_weight=weight)
    moved = 2 * (plain.parameters - before)
    override.begin(loss)
    assert net.evaluate(x, y, loss=loss, sample_weight=weight)["loss"] == pytest.approx(value, rel=1e-12)
    assert loss.value(net.predict(x), y, sample_weight=weight) == pytest.approx(value, rel=1e-12)
    assert loss(net.predict(x), y, sample_weight=weight)[0] == pytest.approx(value, rel=1e-12)
    assert bp.trace(net, x, y, loss=loss, sample_weight=weight).loss == pytest.approx(step, rel=1e-12)
    assert bp.gradcheck(net, x, y, loss=loss, sample_weight=weight)
    bp.diagnose(net, x, y, loss=loss)
    assert trainers[0].step(x, y, sample_weight=weight) == pytest.approx(step, rel=1e-12)
    np.testing.assert_allclose(net.parameters - before, moved, rtol=1e-9, atol=1e-15)
    net.parameters = before
    history = trainers[0].fit(x, y, sample_weight=weight, shuffle=False, batch_size=6)
    assert history["loss"] == [pytest.approx(step, rel=1e-12)]
    np.testing.assert_allclose(net.parameters - before, moved, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", losses.NAMES)
def test_a_loss_prepares_its_own_targets(name, how, x, rng, backend, monkeypatch):
    def permuted(original):
        return lambda self, targets, *arguments, **options: original(self, targets, *arguments, **options)[::-1].copy()

    cls = type(losses.get(name))
    override = Override(cls, {"prepare_targets": permuted}, how, monkeypatch)
    loss, y = override.cls(), targets_of(name, rng)
    net = bp.mlp([3, 5, 4], activation="tanh", dtype="float64", seed=0)
    wanted = losses.get(name).value(net.predict(x), y[::-1])
    trainer = bp.Trainer(net, loss=loss, optimizer=bp.SGD(lr=1e-9))
    trainer.step(x, y)
    override.begin(loss)
    assert trainer.step(x, y) == pytest.approx(wanted, rel=1e-6)
    assert trainer.evaluate(x, y)["loss"] == pytest.approx(wanted, rel=1e-6)
    assert loss(net.predict(x), y)[0] == pytest.approx(wanted, rel=1e-6)


class Focal(losses.CrossEntropy):
    """Lin et al., arXiv:1708.02002, equation 4: ``-(1 - p)^gamma log p``, p the probability of the label."""

    def __init__(self, gamma=2.0, **options):
        super().__init__(**options)
        self.gamma = gamma

    def __call__(self, outputs, targets, *, sample_weight=None):
        rows = np.arange(len(outputs))
        share = np.full(len(outputs), 1.0) if sample_weight is None else np.asarray(sample_weight, float)
        share = share / np.abs(share).sum()
        p = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        own = p[rows, targets]
        slope = self.gamma * (1 - own) ** (self.gamma - 1) * own * np.log(own) - (1 - own) ** self.gamma
        grad = -p * slope[:, np.newaxis]
        grad[rows, targets] += slope
        return float(share @ (-((1 - own) ** self.gamma) * np.log(own))), share[:, np.newaxis] * grad


def test_a_focal_loss_trains_and_evaluates_as_itself(x, backend):
    y = np.array([0, 1, 2, 3, 1, 2])
    net, other = (bp.mlp([3, 5, 4], activation="tanh", dtype="float64", seed=0) for _ in range(2))
    focal = Focal(gamma=3.0)
    assert bp.gradcheck(net, x, y, loss=focal)
    assert bp.gradcheck(net, x, y, loss=focal, sample_weight=[1, 2, 0, 1, 3, 1])
    history = net.fit(x, y, loss=focal, optimizer=bp.SGD(lr=0.5), epochs=5, seed=1, validation_data=(x, y))
    other.fit(x, y, loss=lambda outputs, targets: focal(outputs, targets), optimizer=bp.SGD(lr=0.5), epochs=5, seed=1)
    np.testing.assert_array_equal(net.parameters, other.parameters)
    assert history["val_loss"][-1] == net.evaluate(x, y)["loss"] == pytest.approx(focal(net.predict(x), y)[0])
    assert {"accuracy", "val_accuracy"} <= history.keys()
    np.testing.assert_allclose(net.predict_proba(x).sum(axis=1), 1)
    assert bp.diagnose(net, x, y) is not None
    assert bp.trace(net, x, y, loss=focal).loss_name == "Focal"


def test_class_weights_count_once_in_a_loss_that_calls_the_inherited_one(x, rng, backend):
    class Same(losses.CrossEntropy):
        def __call__(self, outputs, targets, *, sample_weight=None):
            return super().__call__(outputs, targets, sample_weight=sample_weight)

    y, weight = np.array([0, 1, 2, 3, 1, 2]), [1.0, 2.0, 0.5, 4.0]
    nets = [bp.mlp([3, 4], dtype="float64", seed=0) for _ in range(4)]
    nets[0].fit(x, y, loss=losses.CrossEntropy(class_weight=weight), optimizer="sgd", batch_size=6)
    nets[1].fit(x, y, loss=Same(class_weight=weight), optimizer="sgd", batch_size=6)
    nets[2].fit(x, y, loss="cross_entropy", class_weight=weight, optimizer="sgd", batch_size=6)
    nets[3].fit(x, y, loss=Same(), class_weight=weight, optimizer="sgd", batch_size=6)
    for net in nets[1:]:
        np.testing.assert_allclose(net.parameters, nets[0].parameters, rtol=1e-12)


def test_code_is_not_saved_as_the_built_in_loss_it_derives_from(x, tmp_path):
    y = np.array([0, 1, 2, 3, 1, 2])
    net = bp.mlp([3, 4], seed=0)
    trainer = bp.Trainer(net, loss=Focal(), optimizer="sgd")
    trainer.step(x, y)
    trainer.save(tmp_path / "run.safetensors")
    with pytest.raises(TypeError, match="give it as loss="):
        bp.Trainer.load(tmp_path / "run.safetensors")
    assert isinstance(bp.Trainer.load(tmp_path / "run.safetensors", loss=Focal()).loss, Focal)
    assert bp.load(tmp_path / "run.safetensors").loss is None
    with pytest.raises(TypeError, match="Focal"):
        trainer.loss.config()


def test_a_custom_optimizer_is_not_saved_as_the_built_in_one(tmp_path):
    class OwnAdam(bp.Adam):
        pass

    bp.Trainer(bp.mlp([3, 4], seed=0), loss="mse", optimizer=OwnAdam()).save(tmp_path / "run.safetensors")
    with pytest.raises(TypeError, match="optimizer="):
        bp.Trainer.load(tmp_path / "run.safetensors")
    assert isinstance(bp.Trainer.load(tmp_path / "run.safetensors", optimizer=OwnAdam()).optimizer, OwnAdam)


def test_a_custom_schedule_is_not_saved_as_the_built_in_one(tmp_path):
    class OwnCosine(schedules.Cosine):
        pass

    trainer = bp.Trainer(bp.mlp([3, 4], seed=0), loss="mse", optimizer=bp.Adam(lr=OwnCosine(0.1, steps=5)))
    with pytest.raises(TypeError, match=r"a custom schedule \(OwnCosine\) is code and cannot be saved"):
        trainer.save(tmp_path / "run.safetensors")


# Optimizers and schedules.


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", optimizers.NAMES)
def test_an_optimizer_steps_as_it_says(name, how, x, backend, monkeypatch):
    def own_step(original):
        def step(self, net):
            net.parameters[...] += 1
            self.steps += 1

        return step

    override = Override(type(optimizers.get(name)), {"step": own_step}, how, monkeypatch)
    optimizer = override.cls()
    net = bp.mlp([3, 4], dtype="float64", seed=0)
    trainer, y = bp.Trainer(net, loss="mse", optimizer=optimizer), np.zeros((6, 4))
    trainer.step(x, y)
    override.begin(optimizer)
    for train in (lambda: trainer.step(x, y), lambda: trainer.fit(x, y, batch_size=6)):
        before = net.parameters.copy()
        train()
        np.testing.assert_allclose(net.parameters, before + 1, rtol=1e-12)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("method", ["_scalars", "learning_rate"])
def test_an_optimizer_uses_its_own_numbers(method, how, x, backend, monkeypatch):
    if method == "learning_rate" and how == "assigned":
        pytest.skip("a property of the class")
    scalars = {"_scalars": lambda original: lambda self, step, lr: original(self, step, 0.0)}
    rate = {"learning_rate": lambda original: property(lambda self: 0.0)}
    override = Override(bp.SGD, scalars if method == "_scalars" else rate, how, monkeypatch)
    optimizer = override.cls(lr=0.5)
    net = bp.mlp([3, 4], dtype="float64", seed=0)
    trainer, y = bp.Trainer(net, loss="mse", optimizer=optimizer), np.zeros((6, 4))
    trainer.step(x, y)
    override.begin(optimizer)
    before = net.parameters.copy()
    trainer.step(x, y)
    trainer.fit(x, y, epochs=2)
    np.testing.assert_array_equal(net.parameters, before)


SCHEDULES = {
    schedules.Constant: lambda cls: cls(0.5),
    schedules.Step: lambda cls: cls(0.5, step_size=2),
    schedules.MultiStep: lambda cls: cls(0.5, milestones=[2]),
    schedules.Exponential: lambda cls: cls(0.5, gamma=0.5),
    schedules.InverseScaling: lambda cls: cls(0.5),
    schedules.Polynomial: lambda cls: cls(0.5, steps=9),
    schedules.Cosine: lambda cls: cls(0.5, steps=9, warmup=2),
    schedules.CosineRestarts: lambda cls: cls(0.5, steps=3),
    schedules.OneCycle: lambda cls: cls(0.5, steps=9),
    schedules.ReduceOnPlateau: lambda cls: cls(0.5),
    schedules.Function: lambda cls: cls(lambda step: 0.5),
}


@pytest.mark.parametrize("how", ["subclass", "mixin", "patched"])
@pytest.mark.parametrize("method", ["__call__", "_value", "values"])
@pytest.mark.parametrize("cls", SCHEDULES)
def test_a_schedule_gives_the_same_rates_one_by_one_and_together(cls, method, how, x, backend, monkeypatch):
    def tenth(original):
        if method == "values":
            return lambda self, first, count: original(self, first, count) / 10
        return lambda self, step: original(self, step) / 10

    plain = SCHEDULES[cls](cls)
    wanted = plain.values(0, 6) / 10
    override = Override(cls, {method: tenth}, how, monkeypatch)
    schedule = SCHEDULES[cls](override.cls)
    override.begin(schedule)
    np.testing.assert_allclose(schedule.values(0, 6), wanted, rtol=1e-12)
    np.testing.assert_allclose([schedule(step) for step in range(6)], wanted, rtol=1e-12)
    optimizer = bp.SGD(lr=schedule)
    trainer = bp.Trainer(bp.mlp([3, 4], seed=0), loss="mse", optimizer=optimizer)
    trainer.step(x, np.zeros((6, 4)))
    assert trainer.last_lr == pytest.approx(wanted[0])
    trainer.fit(x, np.zeros((6, 4)), batch_size=3)
    assert trainer.last_lr == pytest.approx(wanted[0] if schedule.per == "epoch" else wanted[2])


# Activation functions and initializers.


class Cube(ActivationFunction):
    """a = z^3."""

    def __init__(self):
        super().__init__("identity")

    def __call__(self, z):
        return np.asarray(z) ** 3

    def derivative(self, z):
        return 3 * np.asarray(z) ** 2


class CubeBackward(Cube):
    def backward(self, grad_a, z):
        return 3 * z**2 * grad_a


class Straight(ActivationFunction):
    """A built-in function, whose derivative is taken for 1."""

    def backward(self, grad_a, z):
        return np.asarray(grad_a)


@pytest.mark.parametrize("make", [Cube, CubeBackward])
@pytest.mark.parametrize("inside", ["Dense", "Activation"])
def test_a_custom_activation_function_is_computed(make, inside, x, backend):
    layers = [bp.Dense(3, 4, activation=make())] if inside == "Dense" else [bp.Dense(3, 4), bp.Activation(make())]
    net, plain = (bp.Network(made, dtype="float64", seed=0) for made in (layers, [bp.Dense(3, 4)]))
    plain.load_state_dict(net.state_dict())
    z = plain.predict(x)
    np.testing.assert_allclose(net.predict(x), z**3, rtol=1e-12)
    np.testing.assert_allclose(net.forward(x), z**3, rtol=1e-12)
    assert bp.gradcheck(net, x, np.ones((6, 4)), loss="mse")
    traced = bp.trace(net, x, np.ones((6, 4)), loss="mse")
    np.testing.assert_allclose(traced.layers[-1].values["z"], z, rtol=1e-12)
    np.testing.assert_allclose(traced.layers[-1].values["slope"], 3 * z**2, rtol=1e-12)
    assert net.output_activation.range == (-np.inf, np.inf)
    with pytest.raises(TypeError, match="a custom activation function"):
        net.layers[-1].config()


def test_a_derivative_may_be_replaced_alone(x, backend):
    net = bp.Network([bp.Dense(3, 4, activation=Straight("relu"))], dtype="float64", seed=0)
    plain = bp.Network([bp.Dense(3, 4, activation="relu")], dtype="float64", seed=0)
    outputs = net.forward(x)
    np.testing.assert_array_equal(outputs, plain.predict(x))
    np.testing.assert_allclose(net.backward(np.ones((6, 4))), np.ones((6, 4)) @ net.layers[0].weight.T, rtol=1e-12)


def test_a_patched_activation_function_is_computed(x, backend, monkeypatch):
    net = bp.Network([bp.Dense(3, 4, activation="tanh")], dtype="float64", seed=0)
    z = np.arctanh(net.predict(x))
    monkeypatch.setattr(ActivationFunction, "__call__", lambda self, z: 3 * z)
    np.testing.assert_allclose(net.predict(x), 3 * z, rtol=1e-9)
    monkeypatch.undo()
    np.testing.assert_allclose(net.predict(x), np.tanh(z), rtol=1e-9)


def test_a_custom_activation_function_needs_a_derivative():
    class Half(ActivationFunction):
        def __call__(self, z):
            return z / 2

    with pytest.raises(TypeError, match=r"Half must define derivative\(self, z\) or backward\(self, grad_a, z\)"):
        bp.Dense(3, 4, activation=Half("identity"))


def test_a_custom_activation_function_keeps_the_shape(x):
    class Flat(Cube):
        def __call__(self, z):
            return z[0]

    with pytest.raises(ValueError, match=r"what Flat returned must have shape \(6, 4\)"):
        bp.Network([bp.Dense(3, 4, activation=Flat())], dtype="float64", seed=0).predict(x)


def test_a_custom_initializer_draws_the_weights(tmp_path):
    class Ones(Initializer):
        def __call__(self, shape, rng):
            return np.ones(shape)

    net = bp.Network([bp.Dense(3, 4, init=Ones("zeros"))], seed=0)
    np.testing.assert_array_equal(net.layers[0].weight, 1)
    net.save(tmp_path / "net.safetensors")
    assert bp.load(tmp_path / "net.safetensors").layers[0].init is None  # not zeros


# Metrics and callbacks.


def test_a_metric_with_its_own_update_gets_outputs(x, backend, monkeypatch):
    class Counted(_streaming.R2):
        rows = 0

        def update(self, outputs, targets, sample_weight):
            Counted.rows += len(outputs)
            super().update(outputs, targets, sample_weight)

    assert Meter([_streaming.R2()]).formula is not None
    assert Meter([Counted()]).formula is None
    monkeypatch.setattr(metrics, "R2", Counted)
    monkeypatch.setitem(metrics._MEASURING, "r2", Counted)
    bp.mlp([3, 1], seed=0).fit(x, x[:, 0], loss="mse", epochs=2, metrics=["r2"])
    assert Counted.rows == 12


@pytest.mark.parametrize("how", ["subclass", "mixin", "assigned", "patched"])
@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end", "on_train_end"])
def test_a_callback_runs_its_own_hooks(hook, how, x, monkeypatch):
    calls = []

    def noted(original):
        def note(self, *arguments):
            calls.append(hook)
            return None if original is None else original(self, *arguments)

        return note

    class Base(bp.EMA):
        on_epoch_begin = on_epoch_end = on_train_end = None

    override = Override(Base, {hook: noted}, how, monkeypatch)
    callback = override.cls(0.5)
    override.begin(callback)
    bp.mlp([3, 1], seed=0).fit(x, x[:, 0], loss="mse", batch_size=3, callbacks=[callback])
    assert len(calls) == (2 if hook == "on_train_batch_end" else 1)


# Networks.


def doubled_predict(original):
    return lambda self, x, *arguments, **options: 2 * original(self, x, *arguments, **options)


def doubled_network_backward(original):
    return lambda self, grad_outputs, accumulate=False: original(self, 2 * np.asarray(grad_outputs), accumulate)


def make_network(cls):
    net = cls([bp.Dense(3, 5, activation="tanh"), bp.Dense(5, 4)], dtype="float64", seed=0)
    net.loss = losses.get("cross_entropy")
    return net


@pytest.mark.parametrize("how", HOWS)
def test_a_network_with_its_own_forward_trains_and_predicts_by_it(how, x, backend, monkeypatch):
    plain, y = make_network(bp.Network), np.ones((6, 4))
    wanted, jacobian = 2 * plain.predict(x), plain.jacobian(x)
    override = Override(bp.Network, {"forward": doubled_forward, "backward": doubled_network_backward}, how, monkeypatch)
    net = make_network(override.cls)
    trainer = bp.Trainer(net, loss="half_mse", optimizer=bp.SGD(lr=0.1))
    if how in ("assigned", "patched"):
        trainer.forward(x)  # by now there are plans
        trainer._current_plan()
        net.predict(x)
    override.begin(net)
    np.testing.assert_allclose(net.predict(x), wanted, rtol=1e-12)
    np.testing.assert_allclose(net.predict(x, batch_size=2), wanted, rtol=1e-12)
    np.testing.assert_allclose(net.infer(x), wanted, rtol=1e-12)
    np.testing.assert_allclose(net.jacobian(x), 2 * jacobian, rtol=1e-9)
    assert net.evaluate(x, y, loss="half_mse")["loss"] == pytest.approx(((wanted - y) ** 2).sum() / 12)
    if how in ("subclass", "mixin"):
        assert bp.gradcheck(net, x, y, loss="half_mse")
    before, grad = net.parameters.copy(), (wanted - y) / 6
    plain.forward(x)
    plain._go_backward(2 * grad)
    assert trainer.step(x, y) == pytest.approx(((wanted - y) ** 2).sum() / 12)
    np.testing.assert_allclose(net.parameters, before - 0.1 * plain.gradients, rtol=1e-9)
    net.parameters = before
    trainer.fit(x, y, batch_size=6, shuffle=False)
    np.testing.assert_allclose(net.parameters, before - 0.1 * plain.gradients, rtol=1e-9)
    net.parameters = before
    np.testing.assert_allclose(trainer.forward(x), wanted, rtol=1e-12)
    trainer.backward_step(grad)
    np.testing.assert_allclose(net.parameters, before - 0.1 * plain.gradients, rtol=1e-9)
    override.end(net)
    if how in ("assigned", "patched"):
        net.parameters = before
        np.testing.assert_allclose(net.predict(x), wanted / 2, rtol=1e-12)
        assert kernels.compiled() is None or trainer._current_plan() is not None


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("method", ["predict", "infer"])
def test_a_network_with_its_own_predict_or_infer_evaluates_by_it(method, how, x, backend, monkeypatch):
    plain, y = make_network(bp.Network), np.ones((6, 4))
    wanted = 2 * plain.predict(x)
    override = Override(bp.Network, {method: doubled_predict if method == "predict" else doubled_infer}, how, monkeypatch)
    net = make_network(override.cls)
    if how in ("assigned", "patched"):
        net.predict(x)
    override.begin(net)
    for rows in (x, x.astype("f"), x.tolist()):
        np.testing.assert_allclose(net.predict(rows), wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(net.predict(x, batch_size=2), wanted, rtol=1e-12)
    np.testing.assert_allclose(net.infer(x), wanted, rtol=1e-12)
    np.testing.assert_allclose(net.forward(x), wanted / 2, rtol=1e-12)
    probabilities = np.exp(wanted) / np.exp(wanted).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(net.predict_proba(x), probabilities, rtol=1e-9)
    assert net.evaluate(x, y, loss="half_mse")["loss"] == pytest.approx(((wanted - y) ** 2).sum() / 12)
    override.end(net)


def test_a_class_attribute_that_has_nothing_to_do_with_it_leaves_plans_alone(x):
    class Tagged(bp.Layer):
        def forward(self, x, training):
            type(self).last = len(x)
            return x

        def backward(self, grad_outputs):
            return grad_outputs

    net = make_network(bp.Network)
    net.predict(x)
    plan = net._plan
    Tagged().infer(x)
    assert net._plan is plan


# What a subclass has to define.


class Half(bp.Layer):
    def forward(self, x, training):
        return x / 2


class Nothing(losses.Loss):
    pass


class ValueOnly(losses.CrossEntropy):
    def value(self, outputs, targets, *, sample_weight=None):
        return 0.0


CALL = r"Nothing must define __call__\(self, outputs, targets, \*, sample_weight=None\), which returns the loss and dL/doutputs"
LACKING = {
    "layer without both": (bp.Layer, r"Layer must define forward\(self, x, training\), .* and backward\(self, grad_outputs\)"),
    "layer without backward": (Half, r"Half must define backward\(self, grad_outputs\), which fills the gradients"),
    "loss": (lambda: bp.Trainer(bp.mlp([2, 1]), loss=Nothing()), CALL),
    "loss in use": (lambda: Nothing()([[1.0]], [1.0]), CALL),
    "loss in evaluate": (lambda: bp.mlp([2, 1]).evaluate([[1, 2]], [1], loss=Nothing()), CALL),
    "loss in gradcheck": (lambda: bp.gradcheck(bp.mlp([2, 1]), [[1, 2]], [1], loss=Nothing()), CALL),
    "value alone": (
        lambda: losses.get(ValueOnly()),
        r"ValueOnly must define __call__\(.*: it defines value alone, which has no gradient",
    ),
    "metric's update": (lambda: metrics.Metric("m").update(None, None, None), r"Metric must define update\(self, outputs, targets"),
    "metric's result": (lambda: metrics.Metric("m").result(), r"Metric must define result\(self\), which returns the metric"),
    "metric's add": (lambda: metrics.Metric("m").add(None), r"Metric must define add\(self, sums\)"),
    "callback": (
        lambda: bp.mlp([2, 1]).fit([[1, 2]], [1.0], loss="mse", callbacks=[bp.Callback()]),
        r"callbacks must be a list of objects with some of the methods on_train_begin, .*on_epoch_end",
    ),
}


@pytest.mark.parametrize("case", LACKING)
def test_what_a_subclass_lacks_is_named_with_how_to_write_it(case):
    call, message = LACKING[case]
    with pytest.raises(TypeError, match=message):
        call()


def test_a_built_in_loss_under_another_name_keeps_its_kernel(backend):
    class Renamed(losses.MSE):
        name = "my_mse"

    class Soft(losses.CrossEntropy):
        name = "huber"

    for renamed, built_in, targets in ((Renamed(), losses.MSE(), [[2.0, 0.0]]), (Soft(), losses.CrossEntropy(), [[0.25, 0.75]])):
        assert losses.get(renamed) is renamed
        value, grad = renamed([[1.0, 3.0]], targets)
        expected, expected_grad = built_in([[1.0, 3.0]], targets)
        assert value == renamed.value([[1.0, 3.0]], targets) == expected
        np.testing.assert_array_equal(grad, expected_grad)
    assert bp.Trainer(bp.mlp([2, 1], seed=0), loss=Renamed()).step([[1.0, 2.0]], [1.0]) > 0


def test_a_loss_of_ones_own_needs_a_call_alone(x, backend):
    class Cosh(losses.Loss):
        def __call__(self, outputs, targets):
            diff = outputs - targets
            return float(np.mean(np.cosh(diff))), np.sinh(diff) / diff.size

    net = bp.mlp([3, 4, 2], activation="tanh", dtype="float64", seed=0)
    y = np.zeros((6, 2))
    assert bp.gradcheck(net, x, y, loss=Cosh())
    net.fit(x, y, loss=Cosh(), epochs=2, validation_data=(x, y))
    with pytest.raises(TypeError, match=r"Cosh.__call__ must take sample_weight= to be used with weights"):
        net.fit(x, y, loss=Cosh(), sample_weight=np.ones(6))
    assert net.evaluate(x, y)["loss"] == pytest.approx(float(np.mean(np.cosh(net.predict(x)))))
