"""Options: what a constructor refuses, an assignment refuses; structure stays as it was built."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil

import numpy as np
import pytest

import backprop as bp
from backprop import callbacks, losses, optimizers, schedules
from backprop._settings import UNSET, Options, option


def _loss(outputs, targets):
    return 0.0, np.zeros_like(outputs)


ARGUMENTS = {
    bp.Dense: lambda: {"fan_in": 2, "fan_out": 3},
    bp.Activation: lambda: {"activation": "tanh"},
    bp.Dropout: lambda: {"rate": 0.1},
    bp.BatchNorm: lambda: {"width": 3},
    bp.LayerNorm: lambda: {"width": 3},
    bp.Residual: lambda: {"block": [bp.Dense(2, 2)]},
    bp.Network: lambda: {"layers": [bp.Dense(2, 3)]},
    bp.Trainer: lambda: {"net": bp.mlp([2, 3], seed=0), "loss": "cross_entropy"},
    bp.Checkpoint: lambda: {"path": "run.safetensors"},
    bp.CSVLogger: lambda: {"path": "run.csv"},
    bp.LambdaCallback: lambda: {"on_epoch_end": print},
    losses.FunctionLoss: lambda: {"function": _loss},
    schedules.Constant: lambda: {"lr": 0.1},
    schedules.Cosine: lambda: {"lr": 0.1, "steps": 10, "warmup": 2},
    schedules.CosineRestarts: lambda: {"lr": 0.1, "steps": 10},
    schedules.Exponential: lambda: {"lr": 0.1, "gamma": 0.9},
    schedules.Function: lambda: {"function": float},
    schedules.InverseScaling: lambda: {"lr": 0.1},
    schedules.MultiStep: lambda: {"lr": 0.1, "milestones": [2, 5]},
    schedules.OneCycle: lambda: {"lr": 0.1, "steps": 10},
    schedules.Polynomial: lambda: {"lr": 0.1, "steps": 10},
    schedules.ReduceOnPlateau: lambda: {"lr": 0.1},
    schedules.Step: lambda: {"lr": 0.1, "step_size": 3},
}
BASES = {
    bp.Layer,
    losses.Loss,
    optimizers.Optimizer,
    schedules.Schedule,
    *bp.Network.__mro__[1:],
    *bp.Trainer.__mro__[1:],
}  # which have no instances of their own
ATTRIBUTES = {(bp.Dense, "bias"): "use_bias"}  # of constructor arguments, where another name
NUMBERS = [-1, 0, 0.5, 2, 1e9, -1.0, float("nan"), float("inf"), True]
GIVEN = [None, "x", "max", "relu", "mse", "sgd", *NUMBERS, (2.0, 3.0), [-1], {0: -1.0}]


def _classes():
    """Every public class with options in the package."""
    for module in pkgutil.walk_packages(bp.__path__, "backprop."):
        if not module.name.endswith("__main__") and "._" not in module.name:
            importlib.import_module(module.name)
    found, waiting = [], [Options]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            public = not kind.__name__.startswith("_") and kind.__module__.startswith("backprop") and kind not in BASES
            if public and "_settings" not in kind.__module__ and kind not in found:
                found.append(kind)
    return sorted(found, key=lambda kind: kind.__name__)


CLASSES = _classes()


def _make(kind, **changes):
    return kind(**{**ARGUMENTS.get(kind, dict)(), **changes})


def _cases():
    for kind in CLASSES:
        for argument in inspect.signature(kind).parameters:
            if (kind, argument) not in ((bp.Network, "layers"), (bp.Network, "seed"), (bp.Network, "dtype")):
                yield pytest.param(kind, argument, id=f"{kind.__name__}.{argument}")


def _outcome(attempt):
    """The value that an attempt gives, or its error."""
    try:
        return attempt(), None
    except (TypeError, ValueError) as error:
        return None, error


@pytest.mark.parametrize(("kind", "argument"), list(_cases()))
def test_assigning_takes_and_refuses_what_the_constructor_does(kind, argument):
    attribute = ATTRIBUTES.get((kind, argument), argument)
    declared = kind._options.get(attribute)
    none_is_missing = kind is bp.LambdaCallback or (kind, argument) == (schedules.Function, "lr")
    for value in GIVEN[none_is_missing:]:
        made, error = _outcome(lambda: _make(kind, **{argument: value}))  # noqa: B023
        target = _make(kind)
        before = getattr(target, attribute, UNSET)
        if declared is not None and declared.remedy is not None:
            with pytest.raises(AttributeError, match="cannot change any more: "):
                setattr(target, attribute, value)
        elif error is not None:
            with pytest.raises(type(error)) as caught:
                setattr(target, attribute, value)
            assert str(caught.value) == str(error)
        else:
            setattr(target, attribute, value)
            assert repr(getattr(target, attribute, UNSET)) == repr(getattr(made, attribute, UNSET))
            continue
        assert getattr(target, attribute, UNSET) is before or repr(getattr(target, attribute)) == repr(before)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_options_cannot_be_deleted_and_fixed_ones_not_assigned(kind):
    target = _make(kind)
    for name, declared in kind._options.items():
        value = getattr(target, name, UNSET)
        with pytest.raises(AttributeError, match=f"{kind.__name__}.{name} cannot be deleted"):
            delattr(target, name)
        if declared.remedy is not None:
            with pytest.raises(AttributeError, match=f"{kind.__name__}.{name} cannot change any more: (make|net.astype|AdamW)"):
                setattr(target, name, value)
        assert getattr(target, name, UNSET) is value


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_reading_an_option_is_a_plain_attribute_read(kind):
    for name in kind._options:
        assert not hasattr(inspect.getattr_static(kind, name, None), "__get__"), name


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_object_shows_the_call_that_makes_it(kind):
    assert repr(_make(kind)).startswith(f"{kind.__name__}(")


COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda target: pickle.loads(pickle.dumps(target))}


@pytest.mark.parametrize("copied", list(COPIES.values()), ids=list(COPIES))
@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not schedules.Function], ids=lambda kind: kind.__name__)
def test_a_copy_has_the_same_options_and_rules(kind, copied):
    target = copied(_make(kind))
    for name, declared in kind._options.items():
        if name not in ("seed", "layout", "net", "layers"):  # drawn anew, or showing the seed
            assert repr(getattr(target, name, UNSET)) == repr(getattr(_make(kind), name, UNSET))
        if declared.remedy is not None:
            with pytest.raises(AttributeError, match="cannot change any more"):
                setattr(target, name, None)


class _Pair(Options):
    """Two options that depend on each other."""

    low: float = option(lambda name, value: float(value))
    high: float = option(lambda name, value: float(value))

    def __init__(self, low, high):
        self.seen = []
        self.low, self.high = low, high

    def _check_options(self):
        if self.low > self.high:
            raise ValueError("low must not be above high")

    def _assigned(self, name):
        self.__dict__.setdefault("seen", []).append(name)


def test_rules_between_options_hold_for_assignments_and_undo_them():
    with pytest.raises(ValueError, match="low must not be above high"):
        _Pair(2, 1)
    pair = _Pair(1, 2)
    pair.seen.clear()
    with pytest.raises(ValueError, match="low must not be above high"):
        pair.low = 3
    assert (pair.low, pair.high, pair.seen) == (1.0, 2.0, [])
    pair.high = "4"
    assert (pair.high, pair.seen) == (4.0, ["high"])
    assert repr(pair) == "_Pair(low=1.0, high=4.0)"


def _structures():
    dense, norm, block = (lambda net: net.layers[0]), (lambda net: net.layers[1]), (lambda net: net.layers[2])
    return [
        (lambda net: net, "layers", ()),
        (lambda net: net, "n_inputs", 99),
        (lambda net: net, "n_outputs", 99),
        (lambda net: net, "dtype", np.dtype("float32")),
        (lambda net: net, "seed", 5),
        (lambda net: net, "layout", ()),
        (dense, "fan_in", 99),
        (dense, "fan_out", 99),
        (dense, "use_bias", False),
        (norm, "width", 99),
        (norm, "fan_out", 99),
        (block, "block", ()),
        (block, "fan_in", 99),
        (lambda net: net.layers[3], "width", 99),
    ]


@pytest.mark.parametrize(("owner", "name", "value"), _structures(), ids=lambda part: part if isinstance(part, str) else "")
def test_structure_cannot_be_assigned_or_deleted(owner, name, value, backend):
    layers = [bp.Dense(3, 4), bp.BatchNorm(4), bp.Residual([bp.Dense(4, 4)]), bp.LayerNorm(4), bp.Dense(4, 2)]
    net = bp.Network(layers, dtype="float64", seed=0)
    trainer = bp.Trainer(net, loss="mse")
    x, y = np.ones((5, 3)) * np.arange(5)[:, np.newaxis], np.zeros((5, 2))
    trainer.step(x, y)
    before = net.predict(x)
    for change in (lambda: setattr(owner(net), name, value), lambda: delattr(owner(net), name)):
        with pytest.raises(AttributeError, match=rf"\.{name} cannot"):
            change()
    np.testing.assert_array_equal(net.predict(x), before)
    assert np.isfinite(trainer.step(x, y))


class _Scale(bp.Layer):
    """y = x * scale, its shape by a private attribute."""

    def __init__(self, width):
        self.fan_in = self.fan_out = width
        self.width = self._width = width

    def parameter_shapes(self):
        return {"scale": (self._width,)}

    def forward(self, x, training):
        self._x = x
        return x * self.scale

    def backward(self, grad_outputs):
        self.grad_scale[...] = (grad_outputs * self._x).sum(axis=0)
        return grad_outputs * self.scale


class _Public(_Scale):
    """The same by a public one."""

    def parameter_shapes(self):
        return {"scale": (self.width,)}


class _Widening(_Public):
    def __init__(self, width):
        super().__init__(width)
        self.fan_out = width  # may be said again while the layer is made


class _ByProperty(bp.Layer):
    """A layer whose width is a property."""

    def __init__(self, width):
        self.width = width

    @property
    def fan_in(self):
        return self.width

    fan_out = fan_in

    def forward(self, x, training):
        return x

    def backward(self, grad_outputs):
        return grad_outputs


@pytest.mark.parametrize("kind", [_Public, _Widening, _ByProperty])
def test_what_the_sizes_of_a_custom_layer_depend_on_cannot_be_assigned(kind, backend):
    net = bp.Network([bp.Dense(2, 3), kind(3)], seed=0)
    layer = net.layers[1]
    with pytest.raises(AttributeError, match=rf"the sizes of {kind.__name__} cannot change any more, but .* make a new layer"):
        layer.width = 7
    assert layer.width == 3
    layer.note = "anything else may be assigned"
    del layer.note
    if kind is not _ByProperty:
        with pytest.raises(AttributeError, match=r"fan_out cannot change any more"):
            layer.fan_out = 7
        with pytest.raises(AttributeError, match="scale cannot be deleted"):
            del layer.scale
    assert net.predict(np.ones((2, 2))).shape == (2, 3)


def test_a_custom_layer_whose_sizes_changed_unseen_is_not_saved(tmp_path):
    net = bp.Network([bp.Dense(2, 3), _Scale(3)], seed=0)
    net.layers[1]._width = 7
    assert net.predict(np.ones((2, 2))).shape == (2, 3)
    with pytest.raises(AttributeError, match=r"parameter_shapes\(\) would be .*7.* where the layer was made with .*3"):
        net.save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("loss", "name", "given"),
    [
        (lambda given: losses.CrossEntropy(class_weight=given), "class_weight", {0: 1.0, 1: 2.0}),
        (lambda given: losses.CrossEntropy(class_weight=given), "class_weight", [1.0, 2.0]),
        (lambda given: losses.CrossEntropy(class_weight=given), "class_weight", np.array([1.0, 2.0])),
        (lambda given: losses.BinaryCrossEntropy(pos_weight=given), "pos_weight", [1.0, 2.0]),
        (lambda given: losses.BinaryCrossEntropy(pos_weight=given), "pos_weight", np.array([1.0, 2.0])),
        (lambda given: losses.Quantile(q=given), "q", [0.1, 0.2]),
        (lambda given: schedules.MultiStep(0.1, milestones=given), "milestones", [1, 2]),
        (lambda given: bp.SGD(groups=given), "groups", {"*": {"lr": 0.1}}),
    ],
)
def test_an_option_does_not_change_with_what_it_was_made_of_and_cannot_be_edited(loss, name, given):
    target = loss(given)
    before = copy.deepcopy(getattr(target, name))
    key = next(iter(given)) if isinstance(given, dict) else 0
    if isinstance(given[key], dict):
        given[key]["lr"] = 9.0
    given[key] = 9.0
    assert getattr(target, name) == before
    with pytest.raises(TypeError):
        getattr(target, name)[key] = 9.0
    assert getattr(target, name) == before


def test_losses_without_class_weights_refuse_them():
    with pytest.raises(ValueError, match="mse has no option class_weight: give class_weight to fit"):
        losses.MSE().class_weight = {0: 1.0}


def test_names_and_functions_are_converted_when_they_are_assigned(rng, backend):
    net = bp.mlp([2, 8, 1], seed=0)
    trainer = bp.Trainer(net, loss="mae")
    x, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    trainer.loss, trainer.optimizer, net.layers[0].activation = "mse", "sgd", "tanh"
    assert (trainer.loss.name, trainer.optimizer.name, net.layers[0].activation.name) == ("mse", "sgd", "tanh")
    trainer.step(x, y)
    trainer.loss = _loss
    assert trainer.step(x, y) == 0.0
    net.loss = "cross_entropy"
    assert net.predict_proba(x).shape == (8, 1)
    net.loss = None


def test_an_assignment_to_a_trainer_takes_effect_in_the_next_step(rng, backend):
    x, y = rng.normal(size=(8, 2)), rng.normal(size=8)

    def stepped(trainer):
        trainer.step(x, y)
        return trainer.net.parameters.copy()

    for name, value in (("clip_norm", 1e-3), ("clip_value", 1e-3), ("loss", "huber"), ("optimizer", "sgd")):
        later, made = bp.Trainer(bp.mlp([2, 1], seed=0), loss="mse"), {"loss": "mse", name: value}
        with_it = bp.Trainer(bp.mlp([2, 1], seed=0), **made)
        later._current_plan()  # a plan without it
        setattr(later, name, value)
        np.testing.assert_array_equal(stepped(later), stepped(with_it))


def test_clip_norm_and_clip_value_exclude_each_other_in_assignments():
    trainer = bp.Trainer(bp.mlp([2, 1], seed=0), loss="mse", clip_norm=1.0)
    with pytest.raises(ValueError, match="clip_norm and clip_value exclude each other"):
        trainer.clip_value = 1.0
    trainer.clip_norm = None
    trainer.clip_value = 1.0


def test_an_optimizer_of_another_network_is_refused_in_an_assignment(rng):
    x, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    one, other = (bp.Trainer(bp.mlp([2, 1], seed=0), loss="mse") for _ in range(2))
    one.step(x, y)
    mine = other.optimizer
    with pytest.raises(ValueError, match="another network"):
        other.optimizer = one.optimizer
    assert other.optimizer is mine


def test_gradients_that_wait_for_their_update_are_not_lost_with_accumulate_steps(rng):
    x, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    trainer, whole = (bp.Trainer(bp.mlp([2, 1], dtype="float64", seed=0), loss="mse", optimizer="sgd") for _ in range(2))
    trainer.accumulate_steps = 3
    trainer.step(x[:4], y[:4])
    trainer.accumulate_steps = 1
    trainer.step(x[4:], y[4:])
    whole.step(x, y)
    np.testing.assert_allclose(trainer.net.parameters, whole.net.parameters, rtol=1e-12)
    assert trainer.optimizer.steps == 1


def test_a_hook_must_be_a_function():
    with pytest.raises(TypeError, match="on_epoch_end must be a function, got 5"):
        callbacks.LambdaCallback(on_epoch_end=5)


def test_an_optimizer_may_count_its_steps_in_a_property(rng):
    class Counting(bp.Adam):
        @property
        def steps(self):
            return self.__dict__.get("_steps", 0)

        @steps.setter
        def steps(self, steps):
            self.__dict__["_steps"] = steps

    x, y = rng.normal(size=(12, 2)), rng.integers(0, 3, 12)
    trainers = [bp.Trainer(bp.mlp([2, 3], seed=0), loss="cross_entropy", optimizer=kind(lr=0.1)) for kind in (Counting, bp.Adam)]
    for trainer in trainers:
        trainer.fit(x, y, epochs=2, batch_size=4, seed=0)
        trainer.step(x, y)
    assert trainers[0].optimizer.steps == 7
    np.testing.assert_array_equal(trainers[0].net.parameters, trainers[1].net.parameters)
