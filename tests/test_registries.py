"""Every place that a built-in activation, loss, optimizer or layer needs: what is forgotten in one of them fails here."""

from __future__ import annotations

import inspect
from math import inf, isinf
from typing import Any

import numpy as np
import pytest
from kernel_cases import ACTIVATIONS, CASES, USES_Z

import backprop as bp
from backprop import activations, initializers, kernels, layers, losses, metrics, optimizers, schedules
from backprop._numpy import NAMES as KERNELS
from backprop._plan import _WRITERS
from backprop.explain import formulas

DATA = np.random.default_rng(0).normal(size=(12, 3))
LAYERS = [value for value in map(layers.__dict__.get, layers.__all__) if inspect.isclass(value) and value is not bp.layers.Layer]


def compiled() -> Any:
    """The compiled kernels of the baseline."""
    if "cython" not in kernels.available():
        pytest.skip("the compiled kernels are not installed")
    with bp.use_backend("cython"):
        return kernels.compiled()


# --- what stands for an object of each kind


@pytest.mark.parametrize(
    ("make", "allowed"),
    [
        (lambda: losses.get(losses.MSE), "loss must be a name, a Loss or a function"),
        (lambda: optimizers.get(optimizers.Adam), "optimizer must be a name or an Optimizer"),
        (lambda: optimizers.Adam(lr=schedules.Constant), "lr must be a number, a Schedule or a function"),
        (lambda: schedules.get(schedules.Constant), "schedule must be a name or an object"),
        (lambda: schedules.Function(schedules.Step), "function must be a function"),
        (lambda: metrics.get(metrics.Metric, "regression", "identity"), "metrics must be names and functions"),
        (lambda: activations.get(activations.ActivationFunction), "activation must be a name or an ActivationFunction"),
        (lambda: bp.Dense(2, 3, init=initializers.Initializer), "init must be a name, an Initializer or a function"),
        (lambda: bp.Network([bp.Dense]), "layers must hold layers"),
        (lambda: bp.mlp([3, 1]).fit(DATA, DATA[:, 0], loss="mse", callbacks=[bp.EarlyStopping]), "callbacks must be a list"),
    ],
)
def test_a_class_in_place_of_an_object_is_refused(make: Any, allowed: str) -> None:
    with pytest.raises(TypeError, match=f"{allowed}.*, got .*class"):
        make()


# --- activations


def test_activations_are_the_same_everywhere() -> None:
    functions = {name: value for name, value in vars(activations).items() if isinstance(value, activations.ActivationFunction)}
    assert set(functions) == set(activations.NAMES)
    assert {value.name: name for name, value in functions.items()} == {name: name for name in activations.NAMES}
    assert set(activations.NAMES) <= set(activations.__all__)
    assert set(ACTIVATIONS) == set(activations.NAMES)


def test_every_activation_is_compiled() -> None:
    assert list(compiled().ACTIVATIONS) == list(activations.NAMES)


@pytest.mark.parametrize("name", activations.NAMES)
def test_the_range_of_an_activation_is_that_of_its_values(name: str) -> None:
    f = activations.get(name)
    z = np.concatenate([np.linspace(-40, 40, 8001), [-1e4, 1e4]])
    a = f(np.stack([z, -z], axis=1)) if name == "softmax" else f(z)
    low, high = f.range
    for bound, reached in ((low, a.min()), (high, a.max())):
        assert abs(reached) > 50 if isinf(bound) else abs(reached - bound) < 1e-3


@pytest.mark.parametrize("name", activations.NAMES)
def test_an_activation_keeps_z_where_its_derivative_needs_it(name: str) -> None:
    assert activations.get(name).uses_z == (name in USES_Z)


def test_what_traces_write_of_activations_names_no_other() -> None:
    assert set(formulas.ACTIVATIONS) | set(formulas.SLOPES) <= set(activations.NAMES)


# --- losses


def make_loss(name: str) -> losses.Loss:
    return losses.get(name)


@pytest.mark.parametrize("name", losses.NAMES)
def test_a_loss_is_a_class_a_function_a_kernel_and_a_formula(name: str) -> None:
    loss = make_loss(name)
    assert name in KERNELS
    assert callable(getattr(losses, name))
    assert {name, type(loss).__name__} <= set(losses.__all__)
    assert name in formulas.LOSSES
    assert CASES[name]


def test_every_loss_is_compiled() -> None:
    assert set(compiled().LOSSES) - {"cross_entropy_soft"} == set(losses.NAMES)  # cross_entropy of probabilities has a kernel too


@pytest.mark.parametrize("name", losses.NAMES)
def test_the_parameters_of_a_loss_are_those_of_its_kernel(name: str) -> None:
    loss = make_loss(name)
    taken = set(inspect.signature(getattr(kernels.Kernels, name)).parameters)
    taken -= {"logits", "outputs", "labels", "targets", "sample_weight", "grad_logits", "grad_outputs"}
    assert len(taken) == bool(loss.parameter) + bool(loss.column)
    for option in filter(None, (loss.parameter, loss.column)):
        assert option in inspect.signature(type(loss)).parameters


@pytest.mark.parametrize("name", losses.NAMES)
def test_the_reduction_of_a_loss_is_what_its_kernel_does(name: str, backend: str) -> None:
    """Outputs that stand twice count twice in a sum, and once in a mean."""
    loss = make_loss(name)
    outputs, targets = DATA[:, :2], np.abs(np.tanh(DATA[:, 1:]))
    if loss.link == "softmax":  # probabilities of classes that stand twice are halved, so their terms grow by a constant
        assert loss.reduction == "sum"
        return
    if name == "hinge":
        targets = np.round(targets)
    if loss.link in ("mean", "quantiles"):  # outputs that stand twice mean something else
        assert loss.reduction == "mean"
        return
    once, twice = loss.value(outputs, targets), loss.value(np.tile(outputs, 2), np.tile(targets, 2))
    assert twice == pytest.approx(once * (2 if loss.reduction == "sum" else 1))


@pytest.mark.parametrize("name", losses.NAMES)
def test_the_target_range_of_a_loss_is_what_it_takes(name: str) -> None:
    loss = make_loss(name)
    low, high = loss.target_range
    shape = (1, 2)
    if name == "focal":  # labels, which are compared with the number of classes
        return
    for bound in (low, high):
        if not loss.open_range:
            loss.prepare_targets(np.full(shape, 0.0 if isinf(bound) else bound), 2, "float64")
    for outside in (low - 0.5, high + 0.5, *((low, high) if loss.open_range else ())):
        if not isinf(outside):
            with pytest.raises(ValueError, match="must be"):
                loss.prepare_targets(np.full(shape, outside), 2, "float64")
    assert (low, high) in [(-inf, inf), (0.0, inf), (0.0, 1.0)]


# --- optimizers

OPTIONS: dict[str, Any] = {
    "lr": 0.02,
    "momentum": 0.7,
    "dampening": 0.3,
    "nesterov": True,
    "betas": (0.7, 0.8),
    "eps": 0.1,
    "alpha": 0.7,
    "rho": 0.6,
    "centered": True,
    "amsgrad": True,
    "etas": (0.3, 1.5),
    "step_sizes": (0.009, 0.011),
    "lr_decay": 0.5,
    "momentum_decay": 0.3,
    "initial_accumulator_value": 0.5,
    "eps_corrected": False,
    "weight_decay": 0.3,
    "l1": 0.1,
    "decoupled": True,
    "groups": {"*.bias": {"lr": 0.5}},
}
"""A value of each option that is not its default; with those of `COMPANIONS`, it changes the result."""
COMPANIONS: dict[str, dict[str, Any]] = {
    "dampening": {"momentum": 0.7},
    "nesterov": {"momentum": 0.7},
    "decoupled": {"weight_decay": 0.3},
    "eps_corrected": {"eps": 0.1},
}


def optimizer_options(name: str) -> list[str]:
    return list(inspect.signature(type(optimizers.get(name))).parameters)


CHOICES = [(name, option) for name in optimizers.NAMES for option in optimizer_options(name)]


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_an_optimizer_is_a_class_of_the_package_a_kernel_and_a_formula(name: str) -> None:
    optimizer = optimizers.get(name)
    kind = type(optimizer).__name__
    assert getattr(bp, kind) is type(optimizer)
    assert kind in optimizers.__all__
    assert optimizer.kernel in KERNELS
    assert name in formulas.OPTIMIZERS


def test_every_optimizer_is_compiled() -> None:
    assert set(compiled().UPDATES) == {optimizers.get(name).kernel for name in optimizers.NAMES}


def trained(name: str, options: dict[str, Any], backend: str) -> np.ndarray:
    with bp.use_backend(backend):
        net = bp.mlp([3, 4, 2], activation="tanh", seed=0, dtype="float64")
        trainer = bp.Trainer(net, loss="mse", optimizer=optimizers.get({"name": name, **options}))
        for start in range(6):
            trainer.step(DATA[start : start + 6], DATA[start : start + 6, :2])
        return net.parameters.copy()


@pytest.mark.parametrize(("name", "option"), CHOICES)
def test_every_option_of_an_optimizer_reaches_its_kernels(name: str, option: str) -> None:
    if option not in OPTIONS:
        pytest.fail(f"OPTIONS has no value for {option} of {name}")
    options = {key: value for key, value in COMPANIONS.get(option, {}).items() if key in optimizer_options(name)}
    default = optimizers.get({"name": name, **options})
    value = OPTIONS[option]
    if getattr(default, option) == value:
        value = not value
    by_numpy = trained(name, options | {option: value}, "numpy")
    assert not np.array_equal(by_numpy, trained(name, options, "numpy"))
    compiled()
    np.testing.assert_allclose(trained(name, options | {option: value}, "cython"), by_numpy, rtol=1e-9, atol=1e-12)


# --- layers


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_a_layer_is_exported_and_translated(layer: type[layers.Layer]) -> None:
    assert getattr(bp, layer.__name__) is layer
    assert layer in _WRITERS


def test_only_layers_are_translated() -> None:
    assert set(_WRITERS) == set(LAYERS)


EXAMPLES = {
    "Dense": lambda: layers.Dense(3, 3, activation="tanh"),
    "Activation": lambda: layers.Activation("gelu"),
    "Dropout": lambda: layers.Dropout(0.5),
    "BatchNorm": lambda: layers.BatchNorm(3),
    "LayerNorm": lambda: layers.LayerNorm(3),
    "Residual": lambda: layers.Residual([layers.Dense(3, 3)]),
}


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_a_layer_can_be_saved_traced_and_checked(layer: type[layers.Layer], tmp_path: Any) -> None:
    net = bp.Network([EXAMPLES[layer.__name__](), layers.Dense(3, 2)], dtype="float64", seed=0)
    net.save(tmp_path / "net.safetensors")
    assert repr(bp.load(tmp_path / "net.safetensors").layers[0]) == repr(net.layers[0])
    trace = bp.trace(net, DATA, DATA[:, :2], loss="mse")
    assert str(trace)
    bp.gradcheck(net, DATA, DATA[:, :2], loss="mse")


# --- schedules


@pytest.mark.parametrize("name", schedules.NAMES)
def test_a_schedule_is_exported_under_the_name_of_its_class(name: str) -> None:
    kinds = [value for value in vars(schedules).values() if getattr(value, "name", None) == name]
    assert [kind.__name__ in schedules.__all__ for kind in kinds] == [True]
