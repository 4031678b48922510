"""Learning rate schedules: PyTorch's values, the ends, state, and what is refused."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest

from backprop import schedules
from backprop.optimizers import Adam

RECORDED = json.loads((Path(__file__).parent / "golden" / "schedules.json").read_text())
EXAMPLES = [
    schedules.Constant(0.1),
    schedules.Step(0.1, step_size=3, per="epoch"),
    schedules.MultiStep(0.1, milestones=[2, 5]),
    schedules.Exponential(0.1, gamma=0.9),
    schedules.InverseScaling(0.1, power=0.7),
    schedules.Polynomial(0.1, steps=9, power=2.0, min_lr=0.01),
    schedules.Cosine(0.1, steps=9, warmup=3, min_lr=0.01),
    schedules.CosineRestarts(0.1, steps=4, factor=2),
    schedules.OneCycle(0.1, steps=9),
    schedules.ReduceOnPlateau(0.1, patience=2),
]


@pytest.mark.parametrize("case", RECORDED["schedules"], ids=lambda case: str(case["config"]))
def test_values_are_pytorchs(case):
    schedule = schedules.get(case["config"])
    np.testing.assert_allclose([schedule(step) for step in range(len(case["rates"]))], case["rates"], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("case", RECORDED["plateaus"], ids=lambda case: str(case["options"]))
@pytest.mark.parametrize("mirrored", [False, True])
def test_plateaus_are_pytorchs(case, mirrored):
    """Mirrored: the negative values, which higher is better for, give the same learning rates."""
    options = {"mode": "min", **case["options"]}
    if mirrored:
        options["mode"] = {"min": "max", "max": "min"}[options["mode"]]
    schedule = schedules.ReduceOnPlateau(0.1, **options)
    rates = []
    for value in case["values"]:
        schedule.observe(-value if mirrored else value)
        rates.append(schedule(0))
    np.testing.assert_allclose(rates, case["rates"], rtol=1e-12)
    assert len(set(rates)) > 1


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_config_makes_it_again(schedule):
    again = schedules.get(json.loads(json.dumps(schedule.config())))
    assert repr(again) == repr(schedule)
    assert [again(step) for step in range(12)] == [schedule(step) for step in range(12)]


@pytest.mark.parametrize("first", [0, 2, 8, 40])
@pytest.mark.parametrize(
    "schedule",
    [
        *EXAMPLES,
        schedules.CosineRestarts(0.1, steps=3),
        schedules.OneCycle(0.1, steps=9, pct_start=0.05),
        schedules.OneCycle(0.1, steps=10, pct_start=0.5),
        pytest.param(schedules.Function(lambda step: 0.1 / (step + 1)), id="Function"),
    ],
    ids=repr,
)
def test_many_values_are_single_ones(schedule, first):
    values = schedule.values(first, 30)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, [schedule(step) for step in range(first, first + 30)], rtol=4e-16, atol=1e-17)
    assert schedule.values(first, 0).shape == (0,)


def test_a_subclass_has_a_say_in_many_values():
    class Half(schedules.Exponential):
        def __call__(self, step):
            return super().__call__(step) / 2

    assert Half(0.1, gamma=0.5).values(1, 2).tolist() == [0.025, 0.0125]


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_values_stay_in_range_forever(schedule):
    values = [schedule(step) for step in [*range(30), 10**6]]
    assert all(0 <= value <= 0.1 for value in values)


def test_every_name_has_an_example():
    assert {schedule.name for schedule in EXAMPLES} == set(schedules.NAMES)


def test_inverse_scaling_is_scikit_learns():
    schedule = schedules.InverseScaling(0.1, power=0.5)
    assert [schedule(0), schedule(3)] == [0.1, 0.05]


def test_warmup_rises_to_lr_and_meets_the_cosine():
    schedule = schedules.Cosine(3e-3, steps=2000, warmup=100)
    values = np.array([schedule(step) for step in range(2001)])
    assert (np.diff(values[:101]) > 0).all()
    assert values[0] > 0
    assert values[100] == values.max() == 3e-3
    assert (np.diff(values[100:]) < 0).all()
    assert values[2000] == pytest.approx(0, abs=1e-18)


def test_plateau_ignores_nan_and_restores_its_state():
    first = schedules.ReduceOnPlateau(0.1, patience=1, factor=0.5)
    for value in (math.nan, 1.0, math.nan):
        first.observe(value)
    second = schedules.ReduceOnPlateau(0.1, patience=1, factor=0.5)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for schedule in (first, second):
        schedule.observe(1.0)
        assert schedule(0) == 0.05
    with pytest.raises(ValueError, match="must have the keys"):
        first.load_state_dict({"current": 1.0})


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"best": "x"}, TypeError, "best must be a number, got 'x'"),
        ({"cooling": -1}, ValueError, "cooling must be at least 0, got -1"),
        ({"observed": 1}, TypeError, "observed must be a key of the history, got 1"),
    ],
)
def test_a_state_that_is_refused_changes_neither_schedule_nor_optimizer(wrong, error, message):
    optimizer = Adam(lr=schedules.ReduceOnPlateau(0.1))
    before = optimizer.state_dict()
    state = {**before, "steps": 3, "schedule": {**before["schedule"], "current": 0.5, **wrong}}
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(state)
    assert optimizer.state_dict() == before


def test_plateau_takes_a_state_of_earlier_versions():
    schedule = schedules.ReduceOnPlateau(0.1)
    schedule.load_state_dict({"current": 0.05, "best": 0.7, "bad_epochs": 1, "cooling": 0})
    assert (schedule.current, schedule.best, schedule.bad_epochs) == (0.05, 0.7, 1)


@pytest.mark.parametrize(
    ("monitor", "mode", "rising", "falling"),
    [
        (None, "auto", 0.05, 0.1),
        ("val_loss", "auto", 0.05, 0.1),
        ("val_accuracy", "auto", 0.1, 0.05),
        ("profit", "max", 0.1, 0.05),
        ("profit", "min", 0.05, 0.1),
    ],
)
def test_plateau_knows_the_direction_of_what_it_monitors(monitor, mode, rising, falling):
    for values, lr in (((0.1, 0.2, 0.3), rising), ((0.3, 0.2, 0.1), falling)):
        schedule = schedules.ReduceOnPlateau(0.1, monitor=monitor, mode=mode, patience=1, factor=0.5)
        for value in values:
            schedule.observe(value)
        assert schedule(0) == lr


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_plateau_improves_on_an_infinite_value(mode, sign):
    schedule = schedules.ReduceOnPlateau(0.1, patience=0, mode=mode)
    for value in (math.inf, 1.0, 0.5):
        schedule.observe(sign * value)
    assert (schedule.current, schedule.best) == (0.1, sign * 0.5)
    schedule.observe(sign * math.inf)
    assert schedule.current == pytest.approx(0.01)


def test_plateau_refuses_to_guess_the_direction_of_an_unknown_metric():
    with pytest.raises(ValueError, match="does not know whether 'val_profit'"):
        schedules.ReduceOnPlateau(0.1, monitor="val_profit")


def test_functions_are_checked_and_not_saved():
    schedule = schedules.Function(lambda step: 0.1 - step)
    assert schedule(0) == schedule.lr == 0.1
    with pytest.raises(ValueError, match=r"finite number >= 0, got -0\.9 at step 1"):
        schedule(1)
    with pytest.raises(TypeError, match="cannot be saved"):
        schedule.config()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("constant", {"lr": 0.0}, "lr must be positive"),
        ("constant", {"lr": math.nan}, "lr must be positive"),
        ("step", {"lr": 0.1, "step_size": 0}, "step_size must be at least 1"),
        ("step", {"lr": 0.1, "step_size": 2, "gamma": 0.0}, "gamma must be positive"),
        ("step", {"lr": 0.1, "step_size": 2, "per": "batch"}, "per must be one of"),
        ("cosine", {"lr": 0.1, "steps": 10, "warmup": 10}, "warmup must be less than steps"),
        ("cosine", {"lr": 0.1, "steps": 10, "min_lr": 0.2}, "min_lr must not be above lr"),
        ("one_cycle", {"lr": 0.1, "steps": 10, "pct_start": 1.0}, "pct_start must be in"),
        ("reduce_on_plateau", {"lr": 0.1, "factor": 1.0}, "factor must be in"),
        ("reduce_on_plateau", {"lr": 0.1, "mode": "low"}, "mode must be one of"),
        ("cosin", {"lr": 0.1}, "schedule must be one of"),
    ],
)
def test_bad_arguments_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        schedules.get({"name": name, **arguments})


MADE = [
    schedules.Constant(0.1),
    schedules.Step(0.1, step_size=7, gamma=0.7),
    schedules.MultiStep(0.1, milestones=[300, 5], gamma=0.3),
    schedules.Exponential(0.1, gamma=0.99),
    schedules.InverseScaling(0.1, power=0.4),
    schedules.Polynomial(0.1, steps=333, power=1.7, min_lr=0.01),
    schedules.Cosine(0.1, steps=700, warmup=13, min_lr=0.003),
    schedules.CosineRestarts(0.1, steps=11, factor=3),
    schedules.CosineRestarts(0.1, steps=37),
    schedules.OneCycle(0.1, steps=600),
    schedules.ReduceOnPlateau(0.1),
    schedules.Function(lambda step: 0.1 / (1 + step) ** 0.3),
]


@pytest.mark.parametrize("schedule", MADE, ids=lambda schedule: schedule.name)
def test_single_values_and_many_at_once_are_equal_bit_for_bit(schedule):
    single = [copy.deepcopy(schedule)(step) for step in range(1000)]
    for first, count in ((0, 1000), (3, 1), (250, 20), (511, 489), (5, 0)):
        assert schedule.values(first, count).tolist() == single[first : first + count]


def test_every_schedule_is_among_them():
    assert {schedule.name for schedule in MADE} == {*schedules.NAMES, "function"}


def test_an_option_that_is_assigned_takes_effect_at_once():
    schedule = schedules.Exponential(0.1, gamma=0.5)
    assert schedule(3) == 0.0125
    schedule.gamma = 1.0
    assert schedule(3) == 0.1
    with pytest.raises(ValueError, match="warmup must be less than steps"):
        schedules.Cosine(0.1, steps=10).warmup = 10
    with pytest.raises(ValueError, match="min_lr must not be above lr"):
        schedules.Cosine(0.1, steps=10).min_lr = 0.2


def test_a_plateau_that_has_reduced_nothing_yet_follows_its_lr():
    schedule = schedules.ReduceOnPlateau(0.1, patience=0, factor=0.5)
    schedule.lr = 0.8
    assert schedule(0) == 0.8
    for loss in (1.0, 1.0):
        schedule.observe(loss)
    schedule.lr = 0.2
    assert schedule(0) == 0.4


@pytest.mark.parametrize("schedule", [schedules.Exponential(1e-3, gamma=20.0), schedules.Step(1e-3, step_size=1, gamma=20.0)])
def test_values_that_overflow_far_ahead_do_not_warn(schedule):
    assert schedule(1) == pytest.approx(0.02)
    assert schedule(10**4) == math.inf


def test_counts_are_integers_from_zero():
    schedule = schedules.Cosine(0.1, steps=5)
    assert schedule(np.int64(0)) == 0.1
    with pytest.raises(ValueError, match="step must be at least 0, got -1"):
        schedule(-1)
    with pytest.raises(TypeError, match=r"step must be an integer, got 1\.5"):
        schedule(1.5)


@pytest.mark.parametrize("value", [None, "fast", [0.1]])
def test_a_function_that_returns_no_number_is_refused(value):
    with pytest.raises(TypeError, match=r"a learning rate function must return a number, got .* at step 0"):
        Adam(lr=lambda step: value)
