"""Optimizers: trajectories against PyTorch's, groups and freezing, state, and what is refused."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import mpmath
import numpy as np
import pytest

import backprop as bp
from backprop import optimizers, schedules
from backprop.network import Network

RECORDED = json.loads((Path(__file__).parent / "golden" / "optimizers.json").read_text())
START, GRADIENTS = np.array(RECORDED["start"]), np.array(RECORDED["gradients"])
ALL = [pytest.param(name, id=name) for name in optimizers.NAMES]


def _net(dtype="float64"):
    """A network whose 8 parameters are the recorded weight (3, 2) and bias (2,)."""
    net = bp.Network([bp.Dense(3, 2)], dtype=dtype)
    net.parameters = START
    return net


def _run(net, optimizer, gradients=GRADIENTS):
    for gradient in gradients:
        net.gradients[...] = gradient
        optimizer.step(net)
    return net.parameters.copy()


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: f"{case['name']}-{case['options']}")
def test_trajectory_is_pytorchs(case, backend):
    net, optimizer = _net(), optimizers.get({"name": case["name"], **case["options"]})
    for step, gradient in enumerate(GRADIENTS, 1):
        net.gradients[...] = gradient
        optimizer.step(net)
        if step in RECORDED["recorded"]:
            expected = case["parameters"][RECORDED["recorded"].index(step)]
            np.testing.assert_allclose(net.parameters, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("steps", [0, 1, 62, 63, 64, 65, 127, 4000, 10**6])
@pytest.mark.parametrize("name", ["adam", "adamw", "adamax", "nadam", "radam"])
def test_an_update_follows_from_its_number_however_it_was_reached(name, steps, backend):
    """The number is assigned; `fit`, `Trainer.step` and `Optimizer.step` then give the same bits."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    results = []
    for way in ("fit", "step", "hand"):
        net = _net()
        trainer = bp.Trainer(net, loss="mse", optimizer=name)
        trainer.optimizer.steps = steps
        if way == "fit":
            trainer.fit(x, y, batch_size=1, epochs=1, shuffle=False, verbose=False)
        for rows in range(6 if way != "fit" else 0):
            batch = x[rows : rows + 1], y[rows : rows + 1]
            if way == "step":
                trainer.step(*batch)
            else:
                _, grad = trainer.loss(net.forward(batch[0], training=True), batch[1])
                net.backward(grad)
                trainer.optimizer.step(net)
        results.append(net.parameters.copy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99, 0.999, 1 - 1e-8])
def test_powers_of_betas_are_exact_to_two_units_in_the_last_place(beta):
    adam = bp.Adam(betas=(beta, 0.999))
    for step in (1, 2, 63, 64, 65, 1000, 4095, 10**6):
        with mpmath.workdps(40):
            exact = 1 - mpmath.mpf(beta) ** step
            unit = float(np.spacing(max(float(1 - exact), np.finfo(float).tiny)))
            assert abs(adam._bias(step)[0] - exact) <= 2 * unit + np.spacing(float(exact)) / 2, step


def test_every_optimizer_has_recorded_cases():
    recorded = {case["name"] for case in RECORDED["cases"]}
    assert recorded == set(optimizers.NAMES)


@pytest.mark.parametrize("name", ALL)
def test_float32_follows_float64(name, backend):
    """Rounding aside; lr is small, so that a flipped sign would show."""
    exact, single = _net(), _net("float32")
    _run(exact, optimizers.get(name))
    _run(single, optimizers.get(name))
    np.testing.assert_allclose(single.parameters, exact.parameters, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", ALL)
def test_frozen_layers_keep_parameters_and_moments(name, backend):
    net = bp.Network([bp.Dense(3, 2), bp.Dense(2, 2)], dtype="float64", seed=0)
    optimizer = optimizers.get(name)
    rng = np.random.default_rng(0)
    _run(net, optimizer, rng.normal(size=(3, net.parameters.size)))
    net.layers[0].trainable = False
    before, moments = net.parameters.copy(), optimizer.state_dict()
    _run(net, optimizer, rng.normal(size=(3, net.parameters.size)))
    np.testing.assert_array_equal(net.parameters[:8], before[:8])
    assert (net.parameters[8:] != before[8:]).all()
    for slot, moment in optimizer.state_dict().items():
        if isinstance(moment, np.ndarray):
            np.testing.assert_array_equal(moment[:8], moments[slot][:8])
    net.layers[0].trainable = True
    _run(net, optimizer, rng.normal(size=(1, net.parameters.size)))
    assert (net.parameters[:8] != before[:8]).any()


def test_a_network_that_is_frozen_whole_stays_as_it_is(backend):
    net = _net()
    net.layers[0].trainable = False
    np.testing.assert_array_equal(_run(net, bp.Adam(weight_decay=0.1)), START)


def test_spans_merge_where_neighbours_are_treated_alike():
    net = bp.mlp([3, 4, 4, 2], seed=0)
    assert len(bp.Adam().attach(net)) == 1
    spans = bp.AdamW(groups={"*.bias": {"weight_decay": 0.0}}).attach(net)
    assert len(spans) == 6
    assert spans["weight_decay"].tolist() == [0.01, 0.0] * 3
    spans = bp.Adam(lr=1e-3, groups={"layers.0.*": {"lr": 1e-4}}).attach(net)
    assert spans["length"].tolist() == [16, 30]
    np.testing.assert_allclose(spans["lr"], [0.1, 1.0])


def test_of_two_patterns_the_later_wins_option_by_option():
    groups = {"layers.0.*": {"lr": 0.5, "weight_decay": 0.3}, "*.bias": {"weight_decay": 0.0}}
    spans = bp.SGD(lr=1.0, groups=groups).attach(bp.mlp([3, 4], seed=0))
    assert spans["lr"].tolist() == [0.5, 0.5]
    assert spans["weight_decay"].tolist() == [0.3, 0.0]


def test_a_pattern_without_a_match_is_refused():
    with pytest.raises(ValueError, match=r"'\*\.biases'.*none of.*layers\.0\.weight"):
        bp.SGD(groups={"*.biases": {"lr": 0.1}}).step(_net())


def test_changed_settings_take_effect():
    net = bp.mlp([3, 4], seed=0)
    optimizer = bp.SGD(lr=0.1, groups={"*.bias": {"lr": 0.2}})
    assert optimizer.attach(net)["lr"].tolist() == [1.0, 2.0]
    optimizer.lr = 0.4
    assert optimizer.attach(net)["lr"].tolist() == [1.0, 0.5]
    optimizer.weight_decay = 0.5
    assert optimizer.attach(net)["weight_decay"].tolist() == [0.5, 0.5]
    optimizer.groups = None
    assert len(optimizer.attach(net)) == 1


def test_spans_are_kept_until_something_changes():
    net, optimizer = bp.mlp([3, 4], seed=0), bp.SGD()
    spans = optimizer.attach(net)
    assert optimizer.attach(net) is spans
    net.layers[0].trainable = False
    assert len(optimizer.attach(net)) == 0


@pytest.mark.parametrize("by_plan", [False, True])
def test_adam_adds_eps_to_the_uncorrected_root_on_request(by_plan, backend):
    net = bp.mlp([2, 1], dtype="float64", seed=0)
    optimizer = bp.Adam(lr=0.1, betas=(0.8, 0.9), eps=0.5, eps_corrected=False)
    trainer = bp.Trainer(net, loss="mse", optimizer=optimizer)
    x, y = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([[3.0], [1.0]])
    parameters = net.parameters.copy()
    m = v = 0.0
    for step in range(1, 5):
        if by_plan:
            trainer.step(x, y)
        else:
            _, grad = bp.losses.mse(net.forward(x, training=True), y)
            net.backward(grad)
            optimizer.step(net)
        m, v = 0.8 * m + 0.2 * net.gradients, 0.9 * v + 0.1 * net.gradients**2
        parameters -= 0.1 * np.sqrt(1 - 0.9**step) / (1 - 0.8**step) * m / (np.sqrt(v) + 0.5)
        np.testing.assert_allclose(net.parameters, parameters, rtol=1e-12)


def test_schedule_counts_updates_from_zero(backend):
    net, seen = _net(), []

    def schedule(step):
        seen.append(step)
        return 0.1 * (step + 1)

    _run(net, bp.SGD(lr=schedule), GRADIENTS[:3])
    np.testing.assert_allclose(net.parameters, START - 0.1 * GRADIENTS[0] - 0.2 * GRADIENTS[1] - 0.3 * GRADIENTS[2], rtol=1e-12)
    assert sorted(set(seen)) == [0, 1, 2]


def test_schedule_per_epoch_reads_the_epoch():
    optimizer = bp.SGD(lr=schedules.Step(0.1, step_size=1, gamma=0.5, per="epoch"))
    _run(_net(), optimizer)
    assert optimizer.learning_rate == 0.1
    optimizer.epoch = 2
    assert optimizer.learning_rate == 0.025


def test_group_lr_keeps_its_ratio_to_a_schedule():
    spans = bp.SGD(lr=schedules.Cosine(0.1, steps=10), groups={"*.bias": {"lr": 0.02}}).attach(_net())
    np.testing.assert_allclose(spans["lr"], [1.0, 0.2])
    with pytest.raises(ValueError, match="base value"):
        bp.SGD(lr=lambda step: 0.01 * step, groups={"*.bias": {"lr": 0.02}}).attach(_net())


def test_rprop_refuses_a_schedule():
    with pytest.raises(ValueError, match="lr of Rprop must be a number"):
        bp.Rprop(lr=schedules.Constant(0.1))


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: f"{case['name']}-{case['options']}")
def test_state_dict_goes_on_bit_for_bit(case, dtype):
    config = {"name": case["name"], **case["options"]}
    net, optimizer = _net(dtype), optimizers.get(config)
    _run(net, optimizer, GRADIENTS[:10])
    other, restored = _net(dtype), optimizers.get(json.loads(json.dumps(optimizer.config())))
    other.parameters = net.parameters
    restored.load_state_dict(optimizer.state_dict())
    np.testing.assert_array_equal(_run(net, optimizer, GRADIENTS[10:]), _run(other, restored, GRADIENTS[10:]))
    assert restored.state_dict().keys() == optimizer.state_dict().keys()


def _pickled(optimizer):
    return pickle.loads(pickle.dumps(optimizer))


@pytest.mark.parametrize("copied", [copy.deepcopy, _pickled])
def test_a_copy_has_moments_of_its_own_and_takes_to_a_network(copied):
    net, optimizer = _net(), bp.NAdam()
    _run(net, optimizer, GRADIENTS[:10])
    other, twin = _net(), copied(optimizer)
    other.parameters = net.parameters
    np.testing.assert_array_equal(_run(other, twin, GRADIENTS[10:]), _run(net, optimizer, GRADIENTS[10:]))


def test_state_dict_is_a_copy():
    net, optimizer = _net(), bp.Adam()
    _run(net, optimizer, GRADIENTS[:2])
    state = optimizer.state_dict()
    state["m"][...] = 0
    assert optimizer.state_dict()["m"].any()


def test_moments_belong_to_one_network():
    optimizer = bp.Adam()
    _run(_net(), optimizer, GRADIENTS[:1])
    with pytest.raises(ValueError, match="moments of another network"):
        optimizer.step(_net())
    optimizer.reset()
    optimizer.step(_net())
    assert optimizer.steps == 1


def test_an_optimizer_that_has_updated_nothing_is_free():
    optimizer = bp.Adam(groups={"layers.0.*": {"lr": 0.1}})
    optimizer.attach(_net())
    net = bp.mlp([4, 4], seed=0)
    before = net.parameters.copy()
    net.gradients = np.ones(20)
    optimizer.step(net)
    assert (net.parameters != before).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": np.zeros(3)}, r"state\['m'\] must have shape \(8,\)"),
        ({"velocity": np.zeros(8)}, "must have the keys"),
        ({"m": None}, "must have the keys"),
        ({"steps": -1}, "at least 0"),
    ],
)
def test_state_that_does_not_fit_is_refused(change, message):
    net, optimizer = _net(), bp.Adam()
    _run(net, optimizer, GRADIENTS[:2])
    before = optimizer.state_dict()
    state = {key: value for key, value in (before | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    np.testing.assert_array_equal(optimizer.state_dict()["m"], before["m"])


def test_a_refused_state_leaves_the_schedule_alone():
    optimizer = bp.Adam(lr=bp.schedules.ReduceOnPlateau(0.1, patience=0))
    state = optimizer.state_dict()
    optimizer.lr.observe(1.0)
    optimizer.lr.observe(2.0)
    with pytest.raises(ValueError, match="at least 0"):
        optimizer.load_state_dict(state | {"steps": -1})
    assert optimizer.learning_rate == pytest.approx(0.01)


def test_state_for_a_network_of_another_size_is_refused():
    net, optimizer = _net(), bp.Adam()
    _run(net, optimizer, GRADIENTS[:2])
    other = bp.Adam()
    other.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match="8 parameters, not 20"):
        other.step(bp.mlp([4, 4]))


@pytest.mark.parametrize("name", ALL)
def test_config_makes_it_again(name):
    optimizer = optimizers.get(name)
    assert repr(optimizers.get(json.loads(json.dumps(optimizer.config())))).replace("[", "(").replace("]", ")") == repr(optimizer)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("lr", [0, -1.0, np.nan, np.inf])
def test_bad_learning_rates_are_refused(name, lr):
    with pytest.raises(ValueError, match=r"lr must be positive and finite, got"):
        optimizers.get({"name": name, "lr": lr})


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("option", ["weight_decay", "l1"])
@pytest.mark.parametrize("value", [-1e-9, np.nan, np.inf])
def test_bad_decay_is_refused(name, option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        optimizers.get({"name": name, option: value})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sgd", {"momentum": 1.1}),
        ("sgd", {"momentum": -0.1}),
        ("sgd", {"momentum": np.nan}),
        ("sgd", {"momentum": 0.9, "dampening": 1.1}),
        ("sgd", {"nesterov": True}),
        ("sgd", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        ("rmsprop", {"alpha": 1.0}),
        ("rmsprop", {"eps": 0.0}),
        ("rmsprop", {"momentum": np.inf}),
        ("adagrad", {"lr_decay": -1.0}),
        ("adagrad", {"initial_accumulator_value": -1.0}),
        ("adagrad", {"eps": 0.0}),
        ("adadelta", {"rho": 1.5}),
        ("adadelta", {"eps": -1.0}),
        *[(name, {"betas": (1, 0.9)}) for name in ("adam", "adamw", "adamax", "nadam", "radam", "lion")],
        *[(name, {"betas": (0.9, 1)}) for name in ("adam", "adamw", "adamax", "nadam", "radam", "lion")],
        ("adam", {"betas": (0.9,)}),
        ("adam", {"betas": (np.nan, 0.9)}),
        *[(name, {"eps": 0.0}) for name in ("adam", "adamw", "adamax", "nadam", "radam")],
        ("nadam", {"momentum_decay": -0.1}),
        ("rprop", {"etas": (1.0, 1.2)}),
        ("rprop", {"etas": (0.5, 0.9)}),
        ("rprop", {"step_sizes": (1.0, 0.5)}),
        ("rprop", {"step_sizes": (0.0, 0.5)}),
        ("sgd", {"groups": {"*": {"momentum": 0.5}}}),
        ("sgd", {"groups": {"*": {"lr": 0.0}}}),
        ("sgd", {"groups": {"*": {"weight_decay": -1.0}}}),
    ],
    ids=str,
)
def test_bad_hyperparameters_are_named(name, options):
    (option,) = options.keys() - {"momentum", "dampening"} or {min(options, key=lambda key: key == "momentum")}
    with pytest.raises(ValueError, match=option):
        optimizers.get({"name": name, **options})


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"optimizer must be one of .*did you mean 'adam'"):
        optimizers.get("adm")
    with pytest.raises(TypeError, match="optimizer must be one of"):
        optimizers.get(3)


LATE = [
    (name, options)
    for name in optimizers.NAMES
    for options in ({}, *({"sgd": [{"momentum": 0.9, "dampening": 0.9}], "adagrad": [{"lr_decay": 0.1}]}.get(name, [])))
]


@pytest.mark.parametrize(("name", "options"), LATE)
def test_a_layer_that_is_unfrozen_late_is_updated_as_by_a_new_optimizer(name, options, backend):
    """Bias corrections, warm-ups and first velocities go by the updates of each parameter, as in PyTorch."""
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(40, 14))

    def run(optimizer, frozen_until, first=0):
        net = bp.Network([bp.Dense(3, 2), bp.Dense(2, 2)], dtype="float64", seed=0)
        for step in range(first, 40):
            net.layers[0].trainable = step >= frozen_until
            net.gradients[...] = gradients[step]
            optimizer.step(net)
        return net.parameters.copy()

    late = run(optimizers.get({"name": name, **options}), frozen_until=30)
    new = run(optimizers.get({"name": name, **options}), frozen_until=30, first=30)
    never = run(optimizers.get({"name": name, **options}), frozen_until=0)
    np.testing.assert_allclose(late[:8], new[:8], rtol=1e-12)
    np.testing.assert_allclose(late[8:], never[8:], rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_layers_of_different_ages_train_alike_by_plan_and_layer_by_layer(name, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 3)), rng.normal(size=(16, 1))

    def trained(backend):
        with bp.use_backend(backend):
            layers = [bp.Dense(3, 4, activation="tanh"), bp.Dense(4, 4, activation="tanh"), bp.Dense(4, 1)]
            net = bp.Network(layers, dtype="float64", seed=0)
            trainer = bp.Trainer(net, loss="mse", optimizer=name, clip_norm=1.0)
            net.layers[0].trainable = net.layers[1].trainable = False
            for step in range(30):
                if step == 7:
                    net.layers[1].trainable = True
                if step == 12:
                    net.layers[0].trainable = True
                if step == 15:
                    net.layers[1].trainable = False
                if step == 20:
                    net.layers[1].trainable = True
                    trainer.save(tmp_path / "run.safetensors")
                    trainer = bp.Trainer.load(tmp_path / "run.safetensors")
                    net = trainer.net
                trainer.step(x, y)
            assert trainer.optimizer.state_dict()["missed"]["layers.1.weight"] == 12
            return net.parameters

    results = [trained(backend) for backend in bp.kernels.available()]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-6 if name in ("lion", "rprop") else 1e-9, atol=1e-12)


def test_more_ages_than_a_plan_keeps_apart_go_layer_by_layer():
    net = bp.mlp([2, *[2] * 12, 1], activation="tanh", dtype="float64", seed=0)
    trainer = bp.Trainer(net, loss="mse", optimizer="adam")
    for layer in net.layers[:-1]:
        layer.trainable = False
    for layer in net.layers[::-1]:
        layer.trainable = True
        trainer.step(np.ones((4, 2)), np.ones((4, 1)))
    assert trainer.optimizer.state_dict()["missed"]["layers.0.bias"] == 12


SWITCHES = [
    ("sgd", {}, "momentum", 0.9, ["velocity"]),
    ("rmsprop", {}, "momentum", 0.9, ["v", "velocity"]),
    ("rmsprop", {}, "centered", True, ["v", "grad_mean"]),
    ("adam", {}, "amsgrad", True, ["m", "v", "v_max"]),
]


@pytest.mark.parametrize(("name", "options", "switch", "on", "slots"), SWITCHES)
def test_an_option_that_decides_about_moments_can_change_at_any_time(name, options, switch, on, slots, backend, tmp_path):
    x, y = np.arange(12.0).reshape(4, 3) / 12, np.ones((4, 1))
    net = bp.Network([bp.Dense(3, 1)], dtype="float64", seed=0)
    trainer = bp.Trainer(net, loss="mse", optimizer=optimizers.get({"name": name, **options}))
    off = getattr(trainer.optimizer, switch)
    for value in (on, off, on):
        trainer.step(x, y)
        setattr(trainer.optimizer, switch, value)
        trainer.save(tmp_path / "run.safetensors")
        again = bp.Trainer.load(tmp_path / "run.safetensors")
        assert again.step(x, y) == trainer.step(x, y)
        moments = [slot for slot, moment in trainer.optimizer.state_dict().items() if isinstance(moment, np.ndarray)]
        assert moments == [slot for slot in slots if value == on or slot in ("m", "v")]


def test_a_momentum_that_is_turned_on_late_begins_with_a_whole_gradient(backend):
    net, optimizer = _net(), bp.SGD(lr=0.1, dampening=0.5)
    _run(net, optimizer, GRADIENTS[:3])
    optimizer.momentum = 0.9
    before = net.parameters.copy()
    _run(net, optimizer, GRADIENTS[3:4])
    np.testing.assert_allclose(before - net.parameters, 0.1 * GRADIENTS[3], rtol=1e-12)


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_a_schedule_counts_from_where_it_is_assigned(per, backend, tmp_path):
    schedule = schedules.Step(1.0, step_size=2, gamma=0.5, per=per)
    net, optimizer = _net(), bp.SGD(lr=0.1)
    _run(net, optimizer, GRADIENTS[:3])
    optimizer.epoch = 3
    optimizer.lr = schedule
    assert optimizer.learning_rate == 1.0
    _run(net, optimizer, GRADIENTS[:2])
    optimizer.epoch = 5
    assert optimizer.learning_rate == 0.5
    assert optimizer.learning_rates(1).tolist() == [0.5]
    again = bp.SGD(lr=schedule)
    again.load_state_dict(optimizer.state_dict())
    assert again.learning_rate == 0.5
    optimizer.reset()
    assert optimizer.learning_rate == 1.0


def test_groups_are_read_only():
    optimizer = bp.SGD(lr=0.1, groups={"*.bias": {"lr": 0.1}})
    with pytest.raises(TypeError, match="assign a new mapping"):
        optimizer.groups["*.bias"]["lr"] = 1e-3
    with pytest.raises(TypeError, match="assign a new mapping"):
        optimizer.groups["*.weight"] = {"lr": 1.0}
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert copied.groups == {"*.bias": {"lr": 0.1}}


def test_options_that_exclude_each_other_are_refused_in_an_assignment():
    optimizer = bp.SGD(momentum=0.9, nesterov=True)
    with pytest.raises(ValueError, match="nesterov needs momentum"):
        optimizer.momentum = 0.0
    with pytest.raises(ValueError, match="nesterov needs momentum"):
        optimizer.dampening = 0.5
    assert (optimizer.momentum, optimizer.dampening) == (0.9, 0.0)
    with pytest.raises(AttributeError, match="Adam does not"):
        bp.AdamW().decoupled = False
    with pytest.raises(ValueError, match="steps"):
        bp.Adam().steps = -1
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del optimizer.momentum


class Signs(optimizers.Optimizer):
    """A custom optimizer: the sign of a running sum."""

    moment_names = ("total",)

    def __init__(self, lr=0.1, **shared):
        super().__init__(lr, **shared)

    def update(self, parameter, gradient, moments, lr, step):
        moments["total"] += gradient
        parameter -= lr / step * np.sign(moments["total"])


def test_a_custom_optimizer_writes_update(backend):
    net = _net()
    trainer = bp.Trainer(net, loss="mse", optimizer=Signs(lr=0.1, groups={"*.bias": {"lr": 0.2}}))
    net.layers[0].weight, net.layers[0].bias = np.zeros((3, 2)), np.zeros(2)
    trainer.step(np.ones((1, 3)), np.ones((1, 2)))
    np.testing.assert_allclose(net.parameters, [0.1] * 6 + [0.2] * 2)
    trainer.step(np.ones((1, 3)), np.ones((1, 2)))
    np.testing.assert_allclose(net.parameters, [0.15] * 6 + [0.3] * 2)
    state = trainer.optimizer.state_dict()
    assert state["total"].shape == (8,)


def test_an_optimizer_that_lacks_its_update_says_what_to_write():
    class Empty(optimizers.Optimizer):
        pass

    class Duck:
        def step(self, net):
            pass

    with pytest.raises(TypeError, match=r"Empty must define update\(self, parameter, gradient, moments, lr, step\)"):
        bp.Trainer(_net(), loss="mse", optimizer=Empty(0.1))
    with pytest.raises(TypeError, match=r"derive it from backprop.optimizers.Optimizer"):
        bp.Trainer(_net(), loss="mse", optimizer=Duck())


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: f"{case['name']}-{case['options']}")
def test_updates_that_a_frozen_layer_misses_leave_its_trajectory_pytorchs(case, backend):
    """PyTorch counts updates by parameter, and leaves out a parameter without a gradient."""
    net = bp.Network([bp.Dense(3, 2), bp.Dense(2, 2)], dtype="float64", seed=0)
    net.parameters[:8] = START
    optimizer = optimizers.get({"name": case["name"], **case["options"]})
    rng = np.random.default_rng(1)
    done = 0
    while done < len(GRADIENTS):
        net.layers[0].trainable = active = bool(rng.integers(2))
        net.gradients[...] = rng.normal(size=net.parameters.size)
        net.gradients[:8] = GRADIENTS[done]
        optimizer.step(net)
        done += active
        if active and done in RECORDED["recorded"]:
            expected = case["parameters"][RECORDED["recorded"].index(done)]
            np.testing.assert_allclose(net.parameters[:8], expected, rtol=1e-12, atol=1e-13)
    assert optimizer.state_dict()["missed"]["layers.0.weight"] == optimizer.steps - len(GRADIENTS)


def test_the_base_value_of_a_schedule_that_changes_leaves_the_rates_of_groups_as_they_are(backend):
    x, y = np.arange(8.0).reshape(4, 2), np.ones(4)
    schedule = schedules.Step(0.1, step_size=1000)
    optimizer = bp.SGD(lr=schedule, groups={"*.bias": {"lr": 0.1}})
    net = bp.mlp([2, 1], dtype="float64", seed=0)
    trainer = bp.Trainer(net, loss="mse", optimizer=optimizer)
    trainer.step(x, y)
    schedule.lr = 0.001
    before = net.layers[0].weight.copy(), net.layers[0].bias.copy()
    trainer.step(x, y)
    np.testing.assert_allclose(before[0] - net.layers[0].weight, 0.001 * net.layers[0].grad_weight, rtol=1e-9)
    np.testing.assert_allclose(before[1] - net.layers[0].bias, 0.1 * net.layers[0].grad_bias, rtol=1e-9)


def test_a_pattern_without_a_match_is_refused_when_it_is_assigned():
    net = _net()
    optimizer = bp.SGD(groups={"*.bias": {"lr": 0.1}})
    optimizer.step(net)
    with pytest.raises(ValueError, match=r"'\*\.biases'.*none of"):
        optimizer.groups = {"*.biases": {"lr": 0.1}}
    assert optimizer.groups == {"*.bias": {"lr": 0.1}}


def test_steps_that_are_set_back_count_all_parameters_anew(backend):
    net = bp.mlp([3, 2, 1], dtype="float64", seed=0)
    trainer = bp.Trainer(net, loss="mse", optimizer=bp.Adam(lr=schedules.Cosine(0.1, steps=100)))
    x, y = np.ones((4, 3)), np.zeros(4)
    net.layers[0].trainable = False
    for _ in range(5):
        trainer.step(x, y)
    net.layers[0].trainable = True
    trainer.optimizer.lr = schedules.Cosine(0.1, steps=100, warmup=3)
    trainer.step(x, y)
    trainer.optimizer.steps = 1
    assert trainer.optimizer.learning_rate == 0.025
    trainer.step(x, y)
    assert np.isfinite(net.parameters).all()
    assert "missed" not in trainer.optimizer.state_dict()


@pytest.mark.parametrize(("name", "options", "switch", "on", "slots"), SWITCHES)
def test_moments_follow_an_option_that_is_assigned_to_a_copy_without_a_network(name, options, switch, on, slots):
    optimizer = optimizers.get({"name": name, **options})
    _run(_net(), optimizer, GRADIENTS[:3])
    copied = copy.deepcopy(optimizer)
    setattr(copied, switch, on)
    restored = optimizers.get({"name": name, **options, switch: on})
    restored.load_state_dict(copied.state_dict())
    one, other = _net(), _net()
    np.testing.assert_array_equal(_run(one, copied, GRADIENTS[3:9]), _run(other, restored, GRADIENTS[3:9]))


def test_betas_of_nadam_that_change_are_those_of_all_updates_on_either_backend():
    results = []
    for name in bp.kernels.available():
        with bp.use_backend(name):
            net = bp.mlp([2, 3, 1], dtype="float64", seed=0)
            trainer = bp.Trainer(net, loss="mse", optimizer="nadam")
            for step in range(12):
                if step == 5:
                    trainer.optimizer.betas = (0.5, 0.9)
                trainer.step(np.arange(8.0).reshape(4, 2), np.ones(4))
            results.append(net.parameters)
    np.testing.assert_allclose(results[-1], results[0], rtol=1e-10)


@pytest.mark.parametrize(("beta", "decay"), [(0.9, 4e-3), (0.9, 0.0), (0.999, 10.0), (0.999999, 0.3), (0.0, 1.0)])
def test_the_momentum_factors_of_nadam_multiply_to_the_same_product_from_any_step(beta, decay):
    def scalars(step):
        return bp.NAdam(betas=(beta, 0.999), momentum_decay=decay)._scalars(step, 1.0)[-2:]

    product = 1.0
    running = bp.NAdam(betas=(beta, 0.999), momentum_decay=decay)
    for step in range(1, 4001):
        mu, mu_next = (beta * (1 - 0.5 * 0.96 ** (at * decay)) for at in (step, step + 1))
        product *= mu
        assert running._scalars(step, 1.0)[-2:] == pytest.approx(
            ((1 - mu) / (1 - product), mu_next / (1 - product * mu_next)), rel=1e-11
        )
        if step % 500 == 0:
            assert scalars(step) == running._scalars(step, 1.0)[-2:]


def test_a_huge_count_of_nadam_takes_no_time_on_either_backend():
    results = []
    for name in bp.kernels.available():
        with bp.use_backend(name):
            net = bp.mlp([2, 3, 1], dtype="float64", seed=0)
            trainer = bp.Trainer(net, loss="mse", optimizer=bp.NAdam(betas=(0.9999999, 0.999)))
            trainer.optimizer.steps = 10**12
            for _ in range(3):
                trainer.step(np.arange(8.0).reshape(4, 2), np.ones(4))
            results.append(net.parameters)
    np.testing.assert_allclose(results[-1], results[0], rtol=1e-10)


class _SignMomentum(optimizers.Optimizer):
    """A custom optimizer by `update`."""

    moment_names = ("velocity",)

    def __init__(self, lr=0.01, *, momentum=0.9, **options):
        super().__init__(lr, **options)
        self.momentum = momentum

    def update(self, parameter, gradient, moments, lr, step):
        velocity = moments["velocity"]
        velocity *= self.momentum
        velocity += gradient
        parameter -= lr * np.sign(velocity) / step


class _ByStep(optimizers.Optimizer):
    """A custom optimizer by `step`."""

    def __init__(self, lr=0.01):
        super().__init__(lr)

    def step(self, net):
        self.attach(net)
        net.parameters[...] -= self.learning_rate * net.gradients
        self.steps += 1


class _HalfAdam(bp.Adam):
    """A custom optimizer from a built-in one."""

    def step(self, net):
        net.gradients[...] /= 2
        super().step(net)


@pytest.mark.parametrize("kind", [_SignMomentum, _ByStep, _HalfAdam])
def test_a_trainer_with_a_custom_optimizer_goes_on_from_a_file_bit_for_bit(kind, backend, tmp_path):
    x, y = np.arange(8.0).reshape(4, 2), np.ones(4)
    trainer = bp.Trainer(bp.mlp([2, 3, 1], seed=0), loss="mse", optimizer=kind(lr=schedules.Exponential(0.1, gamma=0.9)))
    trainer.net.layers[0].trainable = False
    trainer.fit(x, y, epochs=3, seed=0)
    trainer.net.layers[0].trainable = True
    path = tmp_path / "run.safetensors"
    trainer.save(path)
    with pytest.raises(TypeError, match=rf"a custom optimizer, {kind.__name__}, which is not saved: give optimizer="):
        bp.Trainer.load(path)
    again = bp.Trainer.load(path, optimizer=kind(lr=schedules.Exponential(0.1, gamma=0.9)))
    for one in (trainer, again):
        one.fit(x, y, epochs=3, seed=0)
    assert trainer.optimizer.steps == again.optimizer.steps == 6
    np.testing.assert_array_equal(again.net.parameters, trainer.net.parameters)


class _Duck:
    def step(self, net):
        """Do nothing."""


class _Neither(optimizers.Optimizer):
    def __init__(self):
        super().__init__(0.1)


class _Uninitialized(_ByStep):
    def __init__(self):
        self.gain = 1.0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (_Duck, r"must be a name or an Optimizer, got _Duck: derive it from backprop.optimizers.Optimizer and write update\("),
        (_Neither, r"_Neither must define update\(.*\), or step\(self, net\)"),
        (_Uninitialized, r"_Uninitialized.__init__ must call super\(\).__init__\(lr\)"),
        (lambda: 5, "optimizer must be one of"),
    ],
)
def test_what_cannot_be_an_optimizer_is_refused_with_what_it_lacks(made, message):
    trainer = bp.Trainer(_net(), loss="mse")
    before = trainer.optimizer
    with pytest.raises(TypeError, match=message):
        trainer.optimizer = made()
    assert trainer.optimizer is before
    with pytest.raises(TypeError, match=message):
        bp.Trainer(_net(), loss="mse", optimizer=made())


class _Alternating(schedules.Schedule):
    """A custom schedule."""

    def __init__(self, lr, rate):
        super().__init__(lr, "step")
        self.rate = rate

    def __call__(self, step):
        return self.lr if step % 2 == 0 else self.rate


class _NoCall(schedules.Schedule):
    def __init__(self):
        super().__init__(0.1, "step")


class _NoInit(_Alternating):
    def __init__(self):
        self.rate = 1.0


def test_a_custom_schedule_is_not_saved(tmp_path):
    trainer = bp.Trainer(_net(), loss="mse", optimizer=bp.SGD(lr=_Alternating(0.1, 0.2)))
    with pytest.raises(TypeError, match=r"a custom schedule \(_Alternating\) is code and cannot be saved"):
        trainer.save(tmp_path / "run.safetensors")


def test_a_custom_schedule_gives_the_learning_rates(backend):
    net = bp.mlp([2, 1], seed=0)
    history = net.fit(np.ones((6, 2)), np.ones(6), loss="mse", optimizer=bp.SGD(lr=_Alternating(0.1, 0.2)), batch_size=2, epochs=2)
    assert history["lr"] == [0.1, 0.2]


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -0.1])
def test_a_learning_rate_that_is_none_is_refused_before_the_step(rate, backend):
    net = bp.mlp([2, 1], seed=0)
    trainer = bp.Trainer(net, loss="mse", optimizer=bp.SGD(lr=_Alternating(0.1, rate)))
    x, y = np.ones((6, 2)), np.ones(6)
    trainer.step(x, y)
    before = net.parameters.copy()
    for call in (lambda: trainer.step(x, y), lambda: trainer.fit(x, y, batch_size=2)):
        with pytest.raises(ValueError, match=r"a schedule must give .*finite number"):
            call()
        np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize(
    ("kind", "message"), [(_NoCall, r"must define __call__\(self, step\)"), (_NoInit, r"must call super\(\).__init__\(lr, per\)")]
)
def test_an_incomplete_schedule_is_refused_when_it_is_assigned(kind, message):
    with pytest.raises(TypeError, match=message):
        bp.SGD(lr=kind())


SQUARING = [name for name in optimizers.NAMES if optimizers.get(name).squares]
WAYS = ["plan", "layer by layer", "custom loss", "sliced", "accumulated"]


def test_which_optimizers_square_gradients():
    assert SQUARING == ["rmsprop", "adagrad", "adadelta", "adam", "adamw", "nadam", "radam"]


def _large(way, name, size, dtype, monkeypatch, **options):
    """A trainer of a single weight, 0, and a batch with which the gradient of the weight is ``size``."""
    rows = 5000 if way == "sliced" else 4
    net = bp.Network([bp.Dense(1, 1, bias=False)], dtype=dtype, seed=0)
    loss = (lambda outputs, targets: (0.0, -targets / len(targets))) if way == "custom loss" else "half_mse"
    if way == "layer by layer":
        monkeypatch.setattr(Network, "_ready_plan", lambda self: None)
    net.parameters[:] = 0
    x, y = np.full((rows, 1), size, dtype), np.full((rows, 1), -1.0, dtype)
    steps = 2 if way == "accumulated" else 1
    return bp.Trainer(net, loss=loss, optimizer=optimizers.get({"name": name, "lr": 0.1}), accumulate_steps=steps, **options), x, y


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", optimizers.NAMES)
def test_gradients_whose_squares_overflow_are_refused_before_anything_changes(name, way, dtype, backend, monkeypatch):
    limit = 2.0 ** (63 if dtype == "float32" else 511)
    for share in (0.9, 1.1):
        trainer, x, y = _large(way, name, share * limit, dtype, monkeypatch)
        before, moments = trainer.net.parameters.copy(), copy.deepcopy(trainer.optimizer._moments)
        for _ in range(trainer.accumulate_steps - 1):
            trainer.step(x, y)
        if share > 1 and name in SQUARING:
            with pytest.raises(bp.DivergenceError, match=r"the largest gradient is .*e\+\d+, whose square float\d\d cannot hold"):
                trainer.step(x, y)
            np.testing.assert_array_equal(trainer.net.parameters, before)
            assert trainer.optimizer.steps == 0
            for slot, moment in trainer.optimizer._moments.items():
                np.testing.assert_array_equal(moment, moments[slot])
        else:
            trainer.step(x, y)
            assert (trainer.net.parameters != before).all()
            assert all(np.isfinite(moment).all() for moment in trainer.optimizer._moments.values())


@pytest.mark.parametrize("clip", [{"clip_norm": 1.0}, {"clip_value": 1.0}])
@pytest.mark.parametrize("way", WAYS)
def test_clipped_gradients_may_have_been_of_any_size(way, clip, backend, monkeypatch):
    trainer, x, y = _large(way, "adam", 1e25, np.dtype("float32"), monkeypatch, **clip)
    for _ in range(trainer.accumulate_steps):
        trainer.step(x, y)
    np.testing.assert_allclose(trainer.net.parameters, -0.1, rtol=1e-5)


@pytest.mark.parametrize("way", ["plan", "layer by layer"])
def test_adagrad_says_when_its_sum_is_full(way, backend, monkeypatch):
    trainer, x, y = _large(way, "adagrad", 8e18, np.dtype("float32"), monkeypatch)
    trainer.loss = "mae"  # whose gradient has the same size in every step
    for _ in range(5):
        before = trainer.net.parameters.copy()
        trainer.step(x, y)
        assert (trainer.net.parameters != before).all()
    with pytest.raises(bp.DivergenceError, match="the sum of the squares of gradients, which Adagrad keeps, overflows float32"):
        trainer.step(x, y)
    assert np.isfinite(trainer.optimizer._moments["v"]).all()


@pytest.mark.parametrize("name", SQUARING)
def test_a_step_by_hand_refuses_gradients_whose_squares_overflow(name, backend):
    net = bp.mlp([2, 1], seed=0)
    optimizer, before = optimizers.get(name), net.parameters.copy()
    net.gradients[...] = [1.0, -1e20, 0.0]
    with pytest.raises(FloatingPointError, match="the largest gradient is 1e"):
        optimizer.step(net)
    np.testing.assert_array_equal(net.parameters, before)
    net.layers[0].trainable = False
    optimizer.step(net)


def test_first_values_of_moments_follow_an_assignment_until_the_first_update(backend):
    """Also if a trainer has bound the optimizer to its network, and for a layer that is frozen until then."""

    def train(optimizer, frozen_steps, **assigned):
        net = bp.mlp([3, 4, 1], dtype="float64", seed=0)
        trainer = bp.Trainer(net, loss="mse", optimizer=optimizer)
        x = np.random.default_rng(0).normal(size=(8, 3))
        net.layers[0].trainable = False
        for _ in range(frozen_steps):
            trainer.step(x, np.ones(8))
        for name, value in assigned.items():
            setattr(optimizer, name, value)
        net.layers[0].trainable = True
        trainer.step(x, np.ones(8))
        return net.parameters

    groups = {"layers.0.*": {"lr": 0.3}}
    for frozen_steps in (0, 2):
        expected = train(optimizers.Rprop(0.1, groups=groups), frozen_steps)
        np.testing.assert_allclose(train(optimizers.Rprop(0.1), frozen_steps, groups=groups), expected, rtol=1e-12)
    np.testing.assert_array_equal(train(optimizers.Rprop(0.1), 0, lr=0.3), train(optimizers.Rprop(0.3), 0))
    expected = train(optimizers.Adagrad(0.1, initial_accumulator_value=0.5), 0)
    np.testing.assert_array_equal(train(optimizers.Adagrad(0.1), 0, initial_accumulator_value=0.5), expected)
