"""Nothing that Python code passes, or changes while it is in use, reads or writes outside an array: it works or it is refused.

A failure here may be a crash of the interpreter. The same tests run in a build with AddressSanitizer (.ci/sanitize), where a read
or write that goes unnoticed elsewhere is a failure too.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from kernel_cases import CASES

import backprop as bp
from backprop import kernels
from backprop._training.accumulation import Accumulation

core = kernels.compiled()
compiled = pytest.mark.skipif(core is None, reason="plans are the compiled backend's")


class Mine(np.ndarray):
    """An array of a custom class."""


def same_numbers(array: np.ndarray) -> dict[str, Any]:
    """The numbers of ``array`` in every other form, which faces for users convert."""
    misaligned = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    misaligned[...] = array
    frozen = array.copy()
    frozen.flags.writeable = False
    other = {np.dtype("float32"): "float64", np.dtype("float64"): "float32"}
    return {
        "itself": array.copy(),
        "strided": np.repeat(array, 2, axis=0)[::2],
        "Fortran order": np.asfortranarray(array),
        "reversed": array[::-1].copy()[::-1],
        "misaligned": misaligned,
        "byte-swapped": array.astype(array.dtype.newbyteorder()),
        "read-only": frozen,
        "subclass": array.view(Mine),
        "list": array.tolist(),
        "another dtype": array.astype(other.get(array.dtype, "int8")),
        "wide": array.astype(np.longdouble if array.dtype.kind == "f" else np.longlong),
    }


def other_shapes(array: np.ndarray) -> dict[str, Any]:
    """Its numbers in another shape."""
    first = np.resize(array, 1)
    return {
        "0-d": first.reshape(()).copy(),
        "empty": array[:0].copy(),
        "transposed": array.T.copy() if array.ndim == 2 else array.reshape(1, -1),
        "3-d": array.reshape(*array.shape, *[1] * (3 - array.ndim)),
        "a row more": np.concatenate([array, array[:1]]),
        "a row less": array[:-1].copy(),
        "a column more": np.column_stack([array, array]),
        "no columns": np.zeros((len(array), 0), array.dtype),
        "huge": np.broadcast_to(first, ((1 << 60) // max(array[:1].nbytes, 8), *array.shape[1:])),  # more bytes than addresses
    }


def no_numbers() -> dict[str, Any]:
    """What is no array of numbers."""
    return {
        "None": None,
        "text": "x",
        "number": 1.5,
        "dictionary": {},
        "ragged": [[1.0], [1.0, 2.0]],
        "generator": (i for i in range(3)),
        "objects": np.array([None, None]),
        "words": np.array(["a", "b"]),
        "dates": np.array(["2020-01-01"], "M8[D]"),
        "complex": np.ones((2, 2), complex),
        "structured": np.zeros(3, [("a", "f4"), ("b", "i8")]),
    }


def everything(array: np.ndarray) -> dict[str, Any]:
    return same_numbers(array) | other_shapes(array) | no_numbers()


def is_array_of(given: object, dtype: Any, shape: tuple[int | None, ...], written: bool = False) -> bool:
    """Whether kernels take it as an array of this dtype and shape, None for any length."""
    return (
        isinstance(given, np.ndarray)
        and given.dtype == dtype
        and given.ndim == len(shape)
        and all(size in (None, length) for size, length in zip(shape, given.shape, strict=True))
        and given.flags.c_contiguous
        and given.flags.aligned
        and (given.flags.writeable or not written)
    )


def is_like(given: object, good: np.ndarray, written: bool = False) -> bool:
    """Whether kernels take it where they take ``good``."""
    return is_array_of(given, good.dtype, good.shape, written)


def is_matrix(given: object, columns: int | None = None) -> bool:
    """Whether kernels take it as rows of so many numbers in float32."""
    return is_array_of(given, np.float32, (None, columns))


def blocks() -> bp.Network:
    """A network with an operation of every kind."""
    layers = [bp.Dense(4, 6), bp.Residual([bp.BatchNorm(6), bp.Dropout(0.5), bp.Dense(6, 6)]), bp.Activation("softmax")]
    return bp.Network([*layers, bp.Dense(6, 3, activation="gelu"), bp.LayerNorm(3)], seed=0)


def classifier(loss: str = "cross_entropy") -> bp.Trainer:
    return bp.Trainer(bp.mlp([4, 8, 3], seed=0), loss=loss, optimizer=bp.Adam(1e-3))


def numbers(rows: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 4)).astype(np.float32), rng.integers(0, 3, rows)


# Plans, which trust nothing that they are given.


@pytest.fixture
def made_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], list[Any]]:
    """The arguments with which a call makes a `_core.Plan` or `_core.TrainingPlan`."""

    def arguments_of(kind: str, call: Callable[[], object]) -> list[Any]:
        make, arguments = getattr(core, kind), []
        with monkeypatch.context() as patch:
            patch.setattr(core, kind, lambda *given: arguments.extend(given) or make(*given))
            call()
        return arguments

    return arguments_of


BAD_TABLES: dict[str, tuple[int, str, list[float]]] = {  # of `blocks`: the operation, its field, numbers that it must not have
    "kind": (0, "kind", [-1, 7, 10**9]),
    "fan_in": (0, "fan_in", [0, -1, 2**62]),
    "fan_out": (0, "fan_out", [0, -1, 7, 2**62]),
    "a width that changes": (2, "fan_out", [5, 7]),
    "weight": (0, "weight", [-2, -1, 10**9, -(2**63)]),
    "bias": (0, "bias", [-2, 10**9, 2**63 - 1]),
    "bias of a normalization": (2, "bias", [-1]),
    "mean": (2, "mean", [-1, 7, 10**9]),
    "var": (2, "var", [-1, 7]),
    "trainable": (3, "trainable", [1]),
    "activation": (0, "activation", [-1, 15, 16, 10**9]),
    "rate": (3, "rate", [-1.0, 1.0, 2.0, np.nan]),
    "partner of the beginning": (1, "partner", [-1, 0, 1, 4, 7, 10**9]),
    "partner of the end": (5, "partner", [-1, 0, 2, 10**9]),
    "source": (2, "source", [-2, -1, 10**9]),
    "target": (2, "target", [-3, -2, 10**9]),
    "skip": (5, "skip", [-2, -1, 10**9]),
}


@compiled
@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_table_that_reaches_beyond_the_arrays_is_refused(case, made_of):
    operations, *others = made_of("Plan", blocks()._ready_plan)
    at, field, wrong = BAD_TABLES[case]
    core.Plan(operations, *others)
    for number in wrong:
        table = operations.copy()
        table[field][at] = number
        with pytest.raises(ValueError, match=r"operations\[\d\] does not fit"):
            core.Plan(table, *others)


@compiled
def test_a_plan_keeps_its_table_to_itself(made_of):
    operations, *others = made_of("Plan", blocks()._ready_plan)
    x, _ = numbers()
    plan = core.Plan(operations, *others)
    outputs = plan.predict(x)
    operations["weight"] = operations["fan_out"] = 10**9
    np.testing.assert_array_equal(plan.predict(x), outputs)


@compiled
def test_a_plan_is_made_of_arrays_that_belong_together(made_of):
    arguments = made_of("Plan", blocks()._ready_plan)
    for place in range(4):
        tried = everything(arguments[place]) if place else no_numbers() | {"empty": arguments[0][:0]}
        for name, given in tried.items():
            longer_buffers = place == 3 and name == "a row more"
            if not (is_like(given, arguments[place], written=place > 0) or longer_buffers):
                with pytest.raises((TypeError, ValueError)):
                    core.Plan(*arguments[:place], given, *arguments[place + 1 :])


@compiled
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_a_training_plan_is_made_of_arrays_that_belong_together(optimizer, made_of):
    trainer = bp.Trainer(blocks(), loss=bp.losses.Quantile(q=[0.1, 0.5, 0.9]), optimizer=optimizer)
    arguments = made_of("TrainingPlan", trainer._current_plan)
    spans, column = arguments[4], np.ones(3, np.float32)

    def make(**changed: Any) -> None:
        core.TrainingPlan(*[changed.get(str(place), given) for place, given in enumerate(arguments)])

    make()
    bad: list[dict[str, Any]] = [{"0": None}, {"0": column}, {"1": "unknown"}, {"2": None}, {"3": None}, {"4": None}]
    bad += [{"4": given} for given in (spans.tolist(), spans[:, None], column, np.tile(spans, 2))]
    for changed in [*bad, *[{"4": given} for given in broken_spans(spans)]]:
        with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
            make(**changed)
    assert arguments[0].current


def broken_spans(spans: np.ndarray) -> Iterator[np.ndarray]:
    """Spans that reach beyond the parameters."""
    for field, number in (("offset", -1), ("offset", 10**9), ("length", -1), ("length", 2**63 - 1)):
        changed = spans.copy()
        changed[field][0] = number
        yield changed


@compiled
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_options_that_a_plan_takes_over_are_checked_and_a_refusal_changes_nothing(optimizer):
    trainer = bp.Trainer(blocks(), loss=bp.losses.Quantile(q=[0.1, 0.5, 0.9]), optimizer=optimizer)
    net, made, (x, _) = trainer.net, trainer.optimizer, numbers()
    y = np.ones((10, 3), np.float32)
    trainer.step(x, y)
    planned = trainer._step_plan
    column, spans = trainer.loss.per_output(3, net.dtype), made.attach(net)
    moments = tuple([made._moments.get(slot) for slot in made._slots()])
    waiting = Accumulation()
    waiting.make_room(net.gradients)
    good = [0.0, column, trainer.loss.target_range, moments, spans, made._parts, 0.5, 0.0, 0.0, 2, waiting, np.ones(3), False, True]

    def renew(**changed: Any) -> None:
        planned.renew(*[changed.get(str(place), given) for place, given in enumerate(good)])

    bad: list[dict[str, Any]] = [{str(place): None} for place in (0, 2, 3, 4, 5, 6, 7, 8, 9)] + [{"2": (0.0,)}, {"6": "a"}]
    bad += [{"1": given} for given in everything(column).values() if given is not None and not is_like(given, column)]
    bad += [{"4": given} for given in (spans.tolist(), spans[:, None], column, np.tile(spans, 2))]
    bad += [changed for given in broken_spans(spans) for changed in ({"4": given}, {"5": [(0, given)]})]
    bad += [{"5": given} for given in ((), [3], [(0, None)], [("a", spans)], made._parts * (1 + core.MOST_UPDATE_AGES))]
    if moments[0] is not None:
        bad.append({"3": ()})
        for given in everything(moments[0]).values():
            if not is_like(given, moments[0], written=True):
                bad.append({"3": (given, *moments[1:])})
    for given in everything(waiting.mean).values():
        if given is not None and not is_like(given, waiting.mean, written=True):
            wrong = Accumulation()
            wrong.mean = given
            bad.append({"10": wrong})
    bad += [{"11": given} for given in everything(np.ones(3)).values() if given is not None and not is_like(given, np.ones(3))]
    other = copy.deepcopy(trainer)
    for changed in bad:
        with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
            renew(**changed)
        assert planned.is_current()
    assert trainer.step(x, y) == other.step(x, y)
    np.testing.assert_array_equal(net.parameters, other.net.parameters)
    renew()
    assert planned.is_current()


@compiled
def test_a_training_plan_without_options_takes_no_step(made_of):
    trainer = classifier()
    planned = core.TrainingPlan(*made_of("TrainingPlan", trainer._current_plan))
    x, y = numbers()
    assert planned.step(x, y, None, trainer.net._noise) is None
    numbers_ = np.ones(1), np.ones(1)
    with pytest.raises(RuntimeError, match="renew"):
        planned.run(x, y, None, None, 10, np.ones(1), 0, 0, 0.0, False, *numbers_, None, None)


@compiled
def test_a_plan_takes_numbers_of_its_operations_alone():
    net = blocks()
    plan = net._ready_plan()
    for layer in (-1, 10**9, 2**62):
        assert plan.assign(layer, "rate", 0.5) is False
    for _, layer in net._named:
        for field, value in (("rate", 1.0), ("rate", 0.0), ("rate", np.nan), ("fan_in", 2.0), ("weight", 1.0)):
            assert plan.assign(layer._index, field, value) is False
    with pytest.raises(TypeError):
        plan.assign(0, None, 0.5)


@compiled
def test_spans_that_change_do_not_reach_a_plan():
    x, y = numbers()
    trainer, other = classifier(), classifier()
    for each in (trainer, other):
        each.step(x, y)
    spans = trainer.optimizer.attach(trainer.net)
    spans["offset"] = 10**12
    trainer.step(x, y)
    other.step(x, y)
    np.testing.assert_array_equal(trainer.net.parameters, other.net.parameters)


@compiled
@pytest.mark.parametrize("training", [False, True])
def test_forward_and_backward_of_a_plan_check_their_arrays(training):
    net = blocks()
    plan, (x, _) = net._ready_plan(), numbers()
    grad = np.ones((10, 3), np.float32)
    good = [plan.forward(x, training, 0), plan.backward(grad, True)]
    for given in everything(x).values():
        if is_like(given, x):
            np.testing.assert_array_equal(plan.forward(given, training, 0), good[0])
        elif not is_matrix(given, 4):
            with pytest.raises((TypeError, ValueError)):
                plan.forward(given, training, 0)
    with pytest.raises(ValueError, match="at least"):
        plan.forward(x[: int(training)], training, 0)
    for given in everything(grad).values():
        plan.forward(x, training, 0)
        if is_like(given, grad):
            np.testing.assert_array_equal(plan.backward(given, True), good[1])
        else:
            with pytest.raises((TypeError, ValueError)):
                plan.backward(given, True)
            np.testing.assert_array_equal(plan.backward(grad, True), good[1])
    with pytest.raises(RuntimeError, match="each backward needs a forward"):
        plan.backward(grad, True)
    with pytest.raises(RuntimeError, match="each backward needs a forward"):
        plan.backward(None, True)


@compiled
def test_fast_faces_of_plans_leave_to_others_what_they_do_not_take():
    x, y = numbers()
    trainer = classifier()
    trainer.step(x, y)
    net, planned, plan = trainer.net, trainer._step_plan, trainer.net._plan
    state = pickle.dumps(net), trainer.optimizer.steps
    for given in everything(x).values():
        if type(given) is not np.ndarray or not is_matrix(given, 4):
            assert plan.predict(given) is None
            assert plan.attempt(given, True, net._noise, True) is None
            assert planned.step(given, y, None, net._noise) is None
            assert planned.plain(given, x) is False
            if not is_matrix(given):
                assert planned.plain(x, given) is False
    for given in [*everything(y).values(), np.full(10, 3), np.full(10, -1), np.full(10, 2**62)]:
        if type(given) is not np.ndarray or not is_like(given, y) or given.max() > 2 or given.min() < 0:
            assert planned.step(x, given, None, net._noise) is None
    grad = np.ones((10, 3), np.float32)
    net.forward(x, training=True)
    for given in everything(grad).values():
        if type(given) is not np.ndarray or not is_like(given, grad):
            assert planned.finish(given, 0.1, 10.0) is None
    net.backward(grad)
    assert planned.finish(grad, 0.1, 10.0) is None
    net.dropout_step -= 1
    assert (pickle.dumps(net), trainer.optimizer.steps) == state


def run_arguments(loss: str) -> tuple[bp.Trainer, dict[str, Any]]:
    """A trainer and what its plan's `run` takes, for 3 steps on 10 of 12 rows."""
    x, y = numbers(12)
    trainer = classifier(loss)
    arguments = {
        "x": x,
        "targets": y if loss == "cross_entropy" else np.eye(3, dtype=np.float32)[y],
        "weight": np.ones(12, np.float32),
        "order": np.arange(10)[::-1].copy(),
        "batch": 4,
        "lr": np.full(3, 0.1),
        "updates": 0,
        "noise": 0,
        "mean_weight": 0.0,
        "check_finite": True,
        "losses": np.empty(3),
        "weights": np.empty(3),
        "outputs": np.empty((10, 3), np.float32),
        "tally": None,
    }
    return trainer, arguments


@compiled
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_a_run_checks_its_arrays(loss):
    trainer, arguments = run_arguments(loss)
    plan = trainer._current_plan()
    plan.run(*arguments.values())
    optional = {"weight": None, "order": None, "outputs": None}
    before = trainer.net.parameters.copy()
    for name in ("x", "targets", "weight", "order", "lr", "losses", "weights", "outputs"):
        good = arguments[name]
        for given in everything(good).values():
            if (given is None and name in optional) or is_like(given, good, name in ("losses", "weights", "outputs")):
                continue
            with pytest.raises((TypeError, ValueError), match=r"labels|targets" if name == "targets" else None):
                plan.run(*(arguments | {name: given}).values())
    for name, wrong in {"batch": [0, -1, 3, 10], "order": [arguments["order"] + 3, arguments["order"] - 1]}.items():
        for given in wrong:
            with pytest.raises(ValueError, match=r"lr must have shape|batch must leave|order must hold"):
                plan.run(*(arguments | {name: given}).values())
    for changed in ({"order": None}, {"outputs": arguments["x"][:10, :3]}, {"losses": arguments["lr"]}):
        with pytest.raises(ValueError, match="must"):
            plan.run(*(arguments | changed).values())
    np.testing.assert_array_equal(trainer.net.parameters, before)
    plan.run(*(arguments | dict.fromkeys(optional) | {"batch": 5}).values())
    assert (trainer.net.parameters != before).any()


@compiled
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_a_run_checks_its_tally(loss):
    trainer, arguments = run_arguments(loss)
    plan = trainer._current_plan()
    weight, origin, measured = np.ones(12, np.float32), np.zeros(6), np.zeros(2)
    tallies = {
        "decisions": ("decisions", False, 0.0, weight, np.zeros(0), np.zeros(1), measured),
        "errors": ("errors", False, 0.0, weight, origin, np.zeros((4, 6)), measured),
    }
    for kind, tally in tallies.items():
        bad: list[Any] = [(), tally[:5], 3, ("unknown", *tally[1:])]
        bad += [("errors", *tally[1:4], np.zeros(width), np.zeros((4, width)), measured) for width in (0, 5)]
        for place in (3, 4, 5, 6):
            bad += [
                (*tally[:place], given, *tally[place + 1 :])
                for given in everything(tally[place]).values()
                if not is_like(given, tally[place], place > 4)
                and not (given is None and place == 3)
                and not (kind == "decisions" and place == 4)
            ]
        for given in bad:
            with pytest.raises((TypeError, ValueError, KeyError)):
                plan.run(*(arguments | {"tally": given}).values())
        if loss == "cross_entropy" and kind == "errors":
            with pytest.raises(ValueError, match="tally"):
                plan.run(*(arguments | {"tally": tally}).values())
        else:
            plan.run(*(arguments | {"tally": tally}).values())
            assert measured[0] == 10
            measured[:] = 0
    if loss == "cross_entropy":
        with pytest.raises(ValueError, match="tally"):
            plan.run(*(arguments | {"tally": ("decisions", True, *tallies["decisions"][2:])}).values())


@compiled
@pytest.mark.parametrize("label", [-3, 3, 10**9, -(2**63)])
def test_a_run_stops_at_a_label_of_no_class(label):
    trainer, arguments = run_arguments("cross_entropy")
    plan = trainer._current_plan()
    arguments["targets"][4] = label  # of the second step, in either order
    for order, rows in ((arguments["order"], 10), (None, 12)):
        before = trainer.net.parameters.copy()
        changed = {"order": order, "outputs": np.empty((rows, 3), np.float32)}
        assert plan.run(*(arguments | changed).values())[:2] == (1, 1)
        assert (trainer.net.parameters != before).any()


@compiled
def test_plans_are_neither_copied_nor_made_of_nothing():
    trainer = classifier()
    for plan in (trainer._current_plan(), trainer.net._plan):
        for call in (copy.copy, copy.deepcopy, pickle.dumps, lambda plan: type(plan).__new__(type(plan))):
            with pytest.raises(TypeError):
                call(plan)


@compiled
@pytest.mark.parametrize("threads", [0, -5, 1025, 2**31 - 1])
def test_the_core_takes_no_number_of_threads_out_of_range(threads):
    before = core.num_threads()
    with pytest.raises(ValueError, match=r"threads must be from 1 to "):
        core.set_num_threads(threads)
    assert core.num_threads() == before


@compiled
def test_shuffle_checks_its_arguments():
    generator = np.random.default_rng(0).bit_generator
    for order in (None, 3, np.zeros((2, 2), np.intp), np.zeros(4), np.arange(8)[::2]):
        with pytest.raises((TypeError, ValueError)):
            core.shuffle(order, generator)
    for bits in (None, 3, np.random.default_rng(0)):
        with pytest.raises(AttributeError):
            core.shuffle(np.arange(4), bits)


# Faces for users: what they cannot convert is refused, and then nothing has changed.


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the error that it is allowed to raise."""
    try:
        return call()
    except (TypeError, ValueError, MemoryError) as error:
        return error


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "binary_cross_entropy"])
@pytest.mark.parametrize("argument", ["x", "y", "sample_weight"])
@pytest.mark.parametrize("method", ["step", "fit", "evaluate"])
def test_training_takes_or_refuses_whatever_it_is_given(method, argument, loss, backend):
    x, y = numbers()
    good = {"x": x, "y": y if loss == "cross_entropy" else np.eye(3, dtype=np.float32)[y], "sample_weight": np.ones(10, np.float32)}
    if argument != "sample_weight":
        del good["sample_weight"]

    def result(given: Any, first: bool) -> tuple[Any, np.ndarray, bool]:
        trainer = classifier(loss)
        if not first:  # by the fast way, where there is one
            trainer.step(good["x"], good["y"])
        before = pickle.dumps(trainer.net), trainer.optimizer.steps
        options = {"seed": 0, "batch_size": 4} if method == "fit" else {}
        returned = outcome(lambda: getattr(trainer, method)(**good | {argument: given}, **options))
        return returned, trainer.net.parameters, before == (pickle.dumps(trainer.net), trainer.optimizer.steps)

    for first in (True, False):
        _, wanted, _ = result(good[argument], first)
        taken = same_numbers(good[argument])
        for name, given in everything(good[argument]).items():
            returned, parameters, unchanged = result(given, first)
            if name in taken:
                assert not isinstance(returned, Exception), (name, returned)
                np.testing.assert_allclose(parameters, wanted, rtol=1e-6, err_msg=name)
            elif isinstance(returned, Exception):
                assert str(returned), name
                assert unchanged or (method, argument, name) == ("fit", "y", "None"), name  # then x is an iterable of batches
            else:
                assert given is None or len(given) == len(good[argument]), name


@pytest.mark.parametrize("method", ["predict", "forward", "jacobian", "predict_proba", "backward", "predict into"])
def test_networks_take_or_refuse_whatever_they_are_given(method, backend):
    net = bp.mlp([4, 8, 3], output_activation="softmax", seed=0)
    x, _ = numbers()
    good = x if method not in ("backward", "predict into") else np.ones((10, 3), np.float32)

    def call(given: Any) -> Any:
        if method == "backward":
            net.forward(x)
        if method == "predict into":
            return net.predict(x, out=given)
        return getattr(net, method)(given)

    wanted = call(good).copy()
    for name, given in everything(good).items():
        returned = outcome(lambda given=given: call(given))
        if name in same_numbers(good) and method != "predict into":
            np.testing.assert_allclose(returned, wanted, rtol=1e-6, err_msg=name)
        elif not isinstance(returned, Exception):
            assert len(returned) == (10 if given is None else len(given)), name


@pytest.mark.parametrize("loss", bp.losses.NAMES)
def test_losses_take_or_refuse_whatever_they_are_given(loss, backend):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 10) if loss in ("cross_entropy", "focal") else rng.integers(0, 2, (10, 3)).astype(np.float32)
    targets = targets + np.float32(0.5) if loss == "gamma" else targets
    outputs = rng.normal(size=(10, 6 if loss == "gaussian" else 3)).astype(np.float32)
    good = {"outputs": outputs, "targets": targets, "sample_weight": np.ones(10, np.float32)}
    value, grad = bp.losses.get(loss)(**good)
    for argument in good:
        for name, given in everything(good[argument]).items():
            returned = outcome(lambda given=given, argument=argument: bp.losses.get(loss)(**good | {argument: given}))
            if name in same_numbers(good[argument]):
                np.testing.assert_allclose(returned[0], value, rtol=1e-5, err_msg=name)
                np.testing.assert_allclose(returned[1], grad, rtol=1e-4, atol=1e-6, err_msg=name)
            elif not isinstance(returned, Exception):
                assert given is None or len(given) == 10, name


@pytest.mark.parametrize("kernel", CASES)
def test_kernels_take_or_refuse_whatever_they_are_given(kernel, backend):
    made = next(case.arguments() for case in CASES[kernel] if all_arrays_have_rows(case.arguments().arguments()))
    good = made.arguments()
    for argument, array in good.items():
        if not isinstance(array, np.ndarray):
            continue
        for name, given in (everything(array) if array.dtype.names is None else no_numbers()).items():
            arguments = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in good.items()}
            arguments[argument] = given
            returned = outcome(lambda arguments=arguments: getattr(kernels.active(), kernel)(**arguments))
            if is_like(given, array, written=argument in made.outputs):
                assert not isinstance(returned, Exception), (argument, name)
            elif isinstance(returned, Exception):
                untouched = {key: value for key, value in arguments.items() if key != argument and isinstance(value, np.ndarray)}
                assert all(value.tobytes() == good[key].tobytes() for key, value in untouched.items()), (argument, name)
            else:  # it is optional, or of the other dtype where no other array fixes that, or of another length where none does
                assert given is None or given.dtype in (np.float32, np.float64), (argument, name)


def all_arrays_have_rows(arguments: dict[str, Any]) -> bool:
    """Whether every optional array is there, and every array has at least two rows."""
    return all(value is not None and (not isinstance(value, np.ndarray) or len(value) > 1) for value in arguments.values())


# Arrays that change while they are in use.


@pytest.mark.parametrize("label", [10**9, -3])
@pytest.mark.parametrize(("rows", "batch_size"), [(100, 8), (5000, 4500)])  # the second: batches that are sliced
@pytest.mark.parametrize("event", ["on_train_batch_end", "on_epoch_end"])
def test_labels_that_a_callback_spoils_stop_training_before_the_update(event, rows, batch_size, label, backend):
    x, y = numbers(rows)
    trainer = classifier()
    seen: list[np.ndarray] = []

    def spoil(*_: object) -> None:
        seen.append(trainer.net.parameters.copy())
        y[:] = label

    with pytest.raises(ValueError, match=rf"labels .*\[0, 3\).*{label}"):
        trainer.fit(x, y, epochs=3, batch_size=batch_size, callbacks=[bp.LambdaCallback(**{event: spoil})], seed=0)
    assert len(seen) == 1
    np.testing.assert_array_equal(trainer.net.parameters, seen[0])
    assert trainer.optimizer.steps == (1 if event == "on_train_batch_end" else -(-rows // batch_size))
    y[:] = 0
    trainer.fit(x, y, batch_size=batch_size)


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: setattr(y, "shape", (10, 10)),
        lambda x, y: setattr(y, "dtype", np.int32),
        lambda x, y: setattr(x, "shape", (200, 2)),
        lambda x, y: setattr(x, "dtype", np.int32),
        lambda x, y: setattr(x, "strides", (0, 0)),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_arrays_that_a_callback_makes_into_others_are_refused_or_read_as_they_are(change, backend):
    x, y = numbers(100)
    callback = bp.LambdaCallback(on_epoch_end=lambda *_: change(x, y))
    trainer = classifier()
    with contextlib.suppress(ValueError, TypeError, IndexError):
        trainer.fit(x, y, epochs=3, callbacks=[callback], seed=0)
    assert np.isfinite(trainer.net.parameters).all()


@contextlib.contextmanager
def changing(*changes: Callable[[], object]) -> Iterator[None]:
    """Make changes over and over in another thread."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            for change in changes:
                change()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = bp.backend().threads
    bp.set_num_threads(request.param)
    yield request.param
    bp.set_num_threads(before)


def repeat(call: Callable[[], object], seconds: float = 0.3) -> set[str]:
    """Call for a while; the names of the errors that came, of those that are allowed."""
    errors, until = set(), time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            call()
        except (ValueError, bp.DivergenceError) as error:
            errors.add(type(error).__name__)
    return errors


@compiled
@pytest.mark.parametrize("sizes", [[64, 256, 3], [8, 16, 40]])  # one with few classes, whose rows lie side by side
def test_labels_that_another_thread_writes_are_compared_where_they_are_read(sizes, threads):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6000, sizes[0])).astype(np.float32), np.zeros(6000, np.int64)
    net = bp.mlp(sizes, seed=0)
    trainer = bp.Trainer(net, loss="cross_entropy", optimizer=bp.SGD(1e-6))
    outputs, grad = net.predict(x), np.empty((6000, sizes[-1]), np.float32)
    with changing(lambda: y.fill(2**62), lambda: y.fill(-5), lambda: y.fill(0)):
        repeat(lambda: trainer.step(x, y))
        repeat(lambda: trainer.fit(x, y, batch_size=500, shuffle=False))
        repeat(lambda: kernels.active().cross_entropy(outputs, y, None, grad, 0.0))
    y[:] = 0
    trainer.step(x, y)
    assert np.isfinite(net.parameters).all()


@compiled
def test_weights_that_another_thread_writes_leave_the_threads_of_a_step_together(threads):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(512, 64)).astype(np.float32), rng.integers(0, 3, 512)
    weight = np.ones(512, np.float32)
    net = bp.mlp([64, 64, 3], dropout=0.1, seed=0)
    trainer = bp.Trainer(net, loss="cross_entropy", optimizer=bp.SGD(1e-2))
    outcomes: set[tuple[bool, bool]] = set()

    def step() -> None:
        before, steps, noise = net.parameters.copy(), trainer.optimizer.steps, net.dropout_step
        loss = trainer.step(x, y, sample_weight=weight)
        changed = loss != 0 or bool((net.parameters != before).any())
        assert trainer.optimizer.steps - steps == net.dropout_step - noise
        outcomes.add((changed, trainer.optimizer.steps > steps))

    with changing(lambda: weight.fill(0), lambda: weight.fill(1)):
        repeat(step, 1.0)
    assert (True, False) not in outcomes


@compiled
def test_inputs_that_another_thread_writes_leave_the_threads_of_a_step_together(threads):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5000, 16)).astype(np.float32), rng.integers(0, 3, 5000)
    trainer = bp.Trainer(bp.mlp([16, 64, 3], seed=0), loss="cross_entropy", optimizer=bp.SGD(1e-6), clip_norm=1.0)
    with changing(lambda: x.fill(np.nan), lambda: x.fill(1)):
        for rows in (100, 5000):
            repeat(lambda rows=rows: trainer.step(x[:rows], y[:rows]))
    x[:] = 0
    trainer.step(x, y)
    assert np.isfinite(trainer.net.parameters).all()
