"""Three locks that hold the backends together: the same names and signatures, the same numbers, the same refusals.

The truth of the numbers is the subject of test_reference; here every compiled module answers to the NumPy twin, and the twin in
float32 to itself in float64.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_cases import CASES, USES_Z, Case, Made, batch_norm_forward

from backprop._numpy import REFERENCE
from backprop._numpy.checks import DEMANDS, Demand
from backprop.kernels import SPAN, Kernels

KERNELS = [name for name in vars(Kernels) if not name.startswith("_")]

ULP = {"float32": 2.0**-23, "float64": 2.0**-52}
ELEMENTWISE = 8  # an activation may be so many units in the last place off, counting what its argument's rounding already costs;
SUMS = 32  # an element that is a sum, or comes out of one, so many units of the largest number in its array


def _modules() -> Iterator[Any]:
    """The twin, and each compiled module that is installed and runs on this processor, unless BACKPROP_BACKEND is numpy."""
    yield REFERENCE
    if find_spec("backprop._core") and os.environ.get("BACKPROP_BACKEND") != "numpy":
        baseline = import_module("backprop._core")
        yield baseline
        for level in range(3, 1 + baseline.PROCESSOR_LEVEL):
            if find_spec(f"backprop._core_v{level}"):
                yield import_module(f"backprop._core_v{level}")


MODULES = list(_modules())
COMPILED = MODULES[1:]
modules = pytest.mark.parametrize("module", MODULES, ids=lambda module: getattr(module, "ISA", "numpy"))


def _cast(made: Made, dtype: np.dtype) -> dict[str, Any]:
    """Fresh arguments with all floating arrays in `dtype`; inputs cannot be written."""
    arguments = {}
    for name, value in made.arguments().items():
        if isinstance(value, np.ndarray):
            value = value.astype(dtype if value.dtype == np.float64 else value.dtype)
            value.flags.writeable = name in made.outputs
        arguments[name] = value
    return arguments


def _rounded(made: Made, dtype: np.dtype) -> dict[str, Any]:
    """The same numbers as `_cast` in float64."""
    return _cast(Made(*(_widened(part, dtype) for part in made)), np.dtype("float64"))


def _widened(arguments: dict[str, Any], dtype: np.dtype) -> dict[str, Any]:
    return {
        name: value.astype(dtype).astype(np.float64) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value
        for name, value in arguments.items()
    }


def _run(module: Any, kernel: str, arguments: dict[str, Any]) -> float | None:
    return getattr(module, kernel)(*arguments.values())


@modules
@pytest.mark.parametrize("kernel", KERNELS)
def test_signature_is_the_contracts(module: Any, kernel: str) -> None:
    contract = list(inspect.signature(getattr(Kernels, kernel)).parameters.values())
    parameters = inspect.signature(getattr(module, kernel)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in parameters] == [(p.name, p.kind, p.default) for p in contract]


def test_every_kernel_of_the_twin_is_in_the_contract() -> None:
    assert set(DEMANDS) == set(KERNELS)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_contract_tells_formula_and_arrays(kernel: str) -> None:
    formula, _, arrays = inspect.getdoc(getattr(Kernels, kernel)).rpartition("\n\nArrays: ")
    assert formula.startswith("``") or kernel == "squared_norm"
    assert all(f"{demand.name}{'?' * demand.optional} (" in arrays for demand in DEMANDS[kernel])


# The compiled kernels: their names without "_kernel", and the views that they take, with the names of these.
SOURCES = "".join(path.read_text("utf-8") for path in Path(__file__).parents[1].glob("src/backprop/_kernels/*.pxi"))
VIEW = re.compile(r"((?:const )?(?:real|int64_t)\[[^]]*\]|const spans_t \*) ?(\w+)")
VIEWS = {
    name: VIEW.findall(parameters)
    for name, parameters in re.findall(r"^cdef \w+ (\w+)_kernel\((.*?)\) except", SOURCES, re.M | re.S)
}
SHARED = {"losses": "loss", "optimizers": "update"}  # one kernel for all functions of a file that have none of their own


def _view(demand: Demand) -> str:
    """How a compiled kernel declares the array; spans are copied, for they index memory."""
    if demand.dtype == "span":
        return "const spans_t *"
    number = {"": "real", "int64": "int64_t"}[demand.dtype]
    axes = {1: "[::1]", 2: "[:, ::1]"}[len(demand.shape)]
    return ("" if demand.written else "const ") + number + axes


@pytest.mark.parametrize("kernel", KERNELS)
def test_compiled_kernel_takes_views_as_the_contract_demands(kernel: str) -> None:
    name = kernel if kernel in VIEWS else SHARED[getattr(Kernels, kernel).__module__.rpartition(".")[2]]
    demanded = [(_view(demand), demand.name) for demand in DEMANDS[kernel]]
    if name == kernel:
        assert VIEWS[name] == demanded
    else:  # it takes what others demand, too
        views = iter([view for view, _ in VIEWS[name]])
        assert all(view in views for view, _ in demanded)
    for dtype in ("float", "double"):
        assert f"{name}_kernel[{dtype}](" in SOURCES


def test_every_kernel_has_cases() -> None:
    assert list(CASES) == KERNELS


@pytest.mark.parametrize("kernel", KERNELS)
def test_cases_name_arguments_as_the_contract_does(kernel: str) -> None:
    names = list(inspect.signature(getattr(REFERENCE, kernel)).parameters)
    assert all(list(case.arguments().arguments()) == names for case in CASES[kernel])


@modules
@pytest.mark.parametrize(
    ("kernel", "case"), [pytest.param(kernel, case, id=f"{kernel}-{case}") for kernel in KERNELS for case in CASES[kernel]]
)
def test_values(module: Any, kernel: str, case: Case, dtype: np.dtype) -> None:
    if module is REFERENCE and dtype == np.float64:
        return  # the twin itself
    made = case.arguments()
    wanted, given = _rounded(made, dtype), _cast(made, dtype)
    before = {name: given[name].copy() for name in made.inputs if given[name] is not None}
    reference = _run(REFERENCE, kernel, wanted)

    result = _run(module, kernel, given)

    assert type(result) is type(reference)
    if reference is not None:
        given["the result"], wanted["the result"] = np.array([result]), np.array([reference])
    for name in [*made.outputs, "the result"]:
        if given.get(name) is not None:
            assert given[name].dtype == (np.float64 if name == "the result" else dtype)
            _assert_close(name, given[name], wanted[name], _allowed(kernel, wanted, name, dtype))
    for name, value in before.items():
        np.testing.assert_array_equal(given[name], value, err_msg=f"{name} is an input and was changed")


def _allowed(kernel: str, wanted: dict[str, Any], name: str, dtype: np.dtype) -> np.ndarray:
    """How far from `wanted[name]` a result may be."""
    expected = np.abs(wanted[name])
    elementwise = kernel.startswith("activation") and wanted["activation"] != "softmax"
    ulps, scale = ELEMENTWISE, expected
    if elementwise and kernel == "activation_forward":
        slope = np.empty_like(expected)
        REFERENCE.activation_backward(
            np.ones_like(expected), wanted["z"], wanted["a"], slope, wanted["activation"], wanted["alpha"]
        )
        with np.errstate(invalid="ignore"):
            scale = expected + np.nan_to_num(np.abs(wanted["z"] * slope))  # at infinity a slope of 0 times z is NaN
    elif elementwise:
        scale = expected + np.abs(wanted["grad_a"]) * (2 + wanted["alpha"])
    else:
        least = {"the result": 1.0, "grad_logits": 1 / max(expected.size, 1)}.get(name, 0.0)  # p - t cancels
        ulps, scale = SUMS, np.full_like(expected, expected.max(where=np.isfinite(expected), initial=least))
    return ulps * ULP[dtype.name] * scale + np.finfo(dtype).smallest_normal


def _assert_close(name: str, actual: np.ndarray, expected: np.ndarray, allowed: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        rounded = expected.astype(actual.dtype)
    with np.errstate(invalid="ignore"):
        error = np.abs(actual - expected)
        close = np.where(np.isfinite(rounded), error <= allowed, (actual == rounded) | (np.isnan(actual) & np.isnan(rounded)))
    if not close.all():
        at = tuple(int(i) for i in np.argwhere(~close)[0])
        raise AssertionError(
            f"{name}: {close.size - close.sum()} of {close.size} elements are wrong; at {at}: {actual[at]!r}, "
            f"expected {expected[at]!r}, off by {error[at]:.3g}, {allowed[at]:.3g} allowed"
        )


def _case(kernel: str, **options: Any) -> Made:
    """The first case that has all these options."""
    return next(case for case in CASES[kernel] if options.items() <= case.options.items()).arguments()


# Kernels whose output may be the very array of an input.
MAY_BE_SAME = {"activation_forward": ("z", "a"), "activation_backward": ("grad_a", "delta"), "dropout": ("x", "y")}


@modules
@pytest.mark.parametrize(("kernel", "source", "target"), [(kernel, *pair) for kernel, pair in MAY_BE_SAME.items()])
def test_output_may_be_the_input_where_the_contract_says_so(
    module: Any, kernel: str, source: str, target: str, dtype: np.dtype
) -> None:
    for case in CASES[kernel]:
        made = case.arguments()
        apart, together = _cast(made, dtype), _cast(made, dtype)
        together[target] = together[source] = together[source].copy()
        _run(module, kernel, apart)
        _run(module, kernel, together)
        np.testing.assert_array_equal(together[target], apart[target])


@modules
@pytest.mark.parametrize("kernel", KERNELS)
def test_keyword_arguments(module: Any, kernel: str) -> None:
    made = CASES[kernel][0].arguments()
    assert getattr(module, kernel)(**_cast(made, np.dtype("float64"))) == _run(module, kernel, _cast(made, np.dtype("float64")))


@modules
@pytest.mark.parametrize("kernel", KERNELS)
def test_strides_of_axes_without_a_second_element_do_not_matter(module: Any, kernel: str) -> None:
    def with_odd_strides(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        strides = [7 * stride if length < 2 else stride for length, stride in zip(value.shape, value.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(value, strides=strides, writeable=value.flags.writeable)

    for case in CASES[kernel]:
        made = case.arguments()
        if any(1 in value.shape or 0 in value.shape for value in made.arguments().values() if isinstance(value, np.ndarray)):
            given, other = _cast(made, np.dtype("float32")), _cast(made, np.dtype("float32"))
            odd = {name: with_odd_strides(value) for name, value in other.items()}
            assert _run(module, kernel, odd) == _run(module, kernel, given)
            for name in made.outputs:
                np.testing.assert_array_equal(odd[name], given[name])


@modules
def test_dropped_elements_are_the_same_in_both_dtypes_and_backends(module: Any, rng: np.random.Generator) -> None:
    wanted = np.empty((50, 70))
    REFERENCE.dropout(np.ones_like(wanted), wanted, 0.5, 3, 4, 5)
    for dtype in ("float32", "float64"):
        y = np.empty((50, 70), dtype)
        module.dropout(np.ones_like(y), y, 0.5, 3, 4, 5)
        np.testing.assert_array_equal(y, wanted)


@modules
@pytest.mark.parametrize("kernel", [name for name in KERNELS if "decay" in CASES[name][0].options and name != "squared_norm"])
def test_what_no_span_covers_is_frozen(module: Any, kernel: str, dtype: np.dtype) -> None:
    made = _case(kernel, kind="parts", decay=True)
    given, before = _cast(made, dtype), _cast(made, dtype)
    _run(module, kernel, given)
    covered = np.zeros(len(given["grad"]), bool)
    for offset, length, *_ in given["spans"].tolist():
        covered[offset : offset + length] = True
    for name in made.outputs:
        np.testing.assert_array_equal(given[name][~covered], before[name][~covered])
        assert (given[name][covered] != before[name][covered]).any(), name


def _strided(array: np.ndarray) -> np.ndarray:
    """Every second element of a longer array."""
    longer = np.zeros((2 * array.shape[0], *array.shape[1:]), array.dtype)
    return longer[::2]


def _misaligned(array: np.ndarray) -> np.ndarray:
    memory = np.zeros(array.nbytes + 1, np.uint8)
    return memory[1:].view(array.dtype).reshape(array.shape) if array.nbytes else array


def _other_dtype(array: np.ndarray) -> np.ndarray:
    others = {np.dtype("float32"): "float64", np.dtype("float64"): "float32", np.dtype("int64"): "int32", SPAN: "float64"}
    return np.zeros(array.shape, others[array.dtype])


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


# What may be wrong with one array of a call: how to make it so, and the words of the refusal.
FAULTS: dict[str, tuple[Callable[[np.ndarray], Any], type[Exception], str]] = {
    "none": (lambda array: None, TypeError, "must be a NumPy array, got NoneType"),
    "list": (lambda array: array.tolist(), TypeError, "must be a NumPy array, got list"),
    "dtype": (_other_dtype, TypeError, "must be "),
    "integers": (lambda array: np.zeros(array.shape, np.int16), TypeError, "must be "),
    "byte order": (lambda array: array.astype(array.dtype.newbyteorder()), TypeError, "must be "),
    "strided": (_strided, ValueError, "must be C-contiguous and aligned"),
    "misaligned": (_misaligned, ValueError, "must be C-contiguous and aligned"),
    "a dimension more": (lambda array: array[np.newaxis], ValueError, "must have shape "),
    "no dimensions": (lambda array: np.zeros((), array.dtype), ValueError, "must have shape "),
    "read-only": (_read_only, ValueError, "must be writeable"),
}


def _typical(kernel: str) -> Made:
    """A case with all its optional arrays, each with several elements along every axis."""
    for case in CASES[kernel]:
        values = case.arguments().arguments().values()
        if all(value is not None and min(getattr(value, "shape", [2])) > 1 for value in values):
            return case.arguments()
    raise AssertionError(f"{kernel} has no case with all its arrays")


def _refusal(module: Any, kernel: str, arguments: dict[str, Any]) -> Exception:
    """The exception that a call ends with; whatever it is, no array may have changed."""
    arrays = {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}
    before = {name: value.tobytes() for name, value in arrays.items()}
    with pytest.raises((TypeError, ValueError)) as caught:
        _run(module, kernel, arguments)
    assert {name: value.tobytes() for name, value in arrays.items()} == before
    return caught.value


def _assert_refused(module: Any, kernel: str, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    refusal = _refusal(module, kernel, arguments)
    twin = _refusal(REFERENCE, kernel, arguments)
    assert (type(refusal), str(refusal)) == (type(twin), str(twin))
    assert type(refusal) is error
    assert words in str(refusal)


@modules
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_bad_array_is_refused(module: Any, kernel: str, fault: str) -> None:
    spoil, error, words = FAULTS[fault]
    made = _typical(kernel)
    arrays = [name for name, value in made.arguments().items() if isinstance(value, np.ndarray)]
    floats = [name for name in arrays if made.arguments()[name].dtype == np.float64]
    if fault == "read-only":
        arrays = [name for name in arrays if name in made.outputs]
    if fault == "none":
        contract = inspect.signature(getattr(Kernels, kernel)).parameters
        arrays = [name for name in arrays if "None" not in contract[name].annotation]
    for name, dtype in product(arrays, ("float32", "float64")):
        given = _cast(made, np.dtype(dtype))
        given[name] = spoil(given[name])
        if fault == "dtype" and name == floats[0]:  # it is the others that differ from the first; alone it may be of either dtype
            if len(floats) > 1:
                _assert_refused(module, kernel, given, error, f"{floats[1]} must be {given[name].dtype} like {name}, got {dtype}")
        else:
            _assert_refused(module, kernel, given, error, f"{name} {words}")


def _one_longer(array: np.ndarray, axis: int) -> np.ndarray:
    return np.zeros([size + (i == axis) for i, size in enumerate(array.shape)], array.dtype)


@modules
@pytest.mark.parametrize("kernel", [name for name in KERNELS if name not in ("squared_norm", "scale", "clip_value")])
def test_arrays_that_do_not_fit_together_are_refused(module: Any, kernel: str) -> None:
    made = _typical(kernel)
    for name, value in made.arguments().items():
        if isinstance(value, np.ndarray) and name != "spans":
            for axis in range(value.ndim):
                given = _cast(made, np.dtype("float64"))
                given[name] = _one_longer(given[name], axis)
                _assert_refused(module, kernel, given, ValueError, "must have shape")


def _overlapping(first: np.ndarray, second: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Arrays of these shapes in one piece of memory, the second `shift` elements behind the first."""
    memory = np.zeros(max(first.size, second.size + shift), first.dtype)
    return memory[: first.size].reshape(first.shape), memory[shift : shift + second.size].reshape(second.shape)


@modules
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("kernel", KERNELS)
def test_output_that_overlaps_another_argument_is_refused(module: Any, kernel: str, shift: int) -> None:
    made = _typical(kernel)
    arguments = _cast(made, np.dtype("float64"))
    floats = [name for name, value in arguments.items() if isinstance(value, np.ndarray) and value.dtype == np.float64]
    for first, second in combinations(floats, 2):
        if second in made.outputs and not (shift == 0 and (first, second) == MAY_BE_SAME.get(kernel)):
            given = dict(arguments)
            given[first], given[second] = _overlapping(given[first], given[second], shift)
            _assert_refused(module, kernel, given, ValueError, f"{second} must not overlap {first}")


def _spans(*rows: tuple[int, int]) -> np.ndarray:
    return np.array([(offset, length, 1.0, 0.0, 0.0) for offset, length in rows], SPAN)


# Whole calls that are refused for what their values say.
BAD_VALUES: dict[str, tuple[str, dict[str, Any], str]] = {
    "activation": ("activation_forward", {"activation": "rleu"}, "activation must be one of identity, relu, "),
    "activation of a layer": ("dense_forward", {"activation": ""}, "activation must be one of identity, relu, "),
    "activation backward": ("activation_backward", {"activation": "swish"}, "activation must be one of identity, relu, "),
    "label too large": ("cross_entropy", {"labels": np.array([0, 7])}, "labels must be in [0, 7), got 7 in row 1"),
    "label negative": ("cross_entropy", {"labels": np.array([-1, 0])}, "labels must be in [0, 7), got -1 in row 0"),
    "span before the buffer": ("scale", {"spans": _spans((-1, 3))}, "spans must ascend without overlap inside the 40 entries"),
    "span behind the buffer": ("squared_norm", {"spans": _spans((38, 3))}, "spans must ascend without overlap inside"),
    "span of negative length": ("clip_value", {"spans": _spans((5, -1))}, "spans must ascend without overlap inside"),
    "span so long that its end wraps": ("adam", {"spans": _spans((5, 2**63 - 3))}, "spans must ascend without overlap inside"),
    "spans that overlap": ("adam", {"spans": _spans((0, 3), (2, 3))}, "spans must ascend without overlap inside"),
    "spans that descend": ("sgd", {"spans": _spans((5, 3), (0, 3))}, "spans must ascend without overlap inside"),
    "a rate of 1": ("dropout", {"rate": 1.0}, "rate must be in [0, 1), got 1.0"),
    "a negative rate": ("dropout", {"rate": -0.1}, "rate must be in [0, 1), got -0.1"),
    "a rate of NaN": ("dropout", {"rate": np.nan}, "rate must be in [0, 1), got nan"),
}


@modules
@pytest.mark.parametrize(("kernel", "wrong", "words"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_value_is_refused(module: Any, kernel: str, wrong: dict[str, Any], words: str) -> None:
    _assert_refused(module, kernel, _cast(_typical(kernel), np.dtype("float64")) | wrong, ValueError, words)


@modules
@pytest.mark.parametrize("activation", sorted(USES_Z))
def test_z_is_refused_to_be_none_where_it_is_needed(module: Any, activation: str) -> None:
    given = _cast(_typical("activation_backward"), np.dtype("float64")) | {"z": None, "activation": activation}
    _assert_refused(module, "activation_backward", given, TypeError, "z must be a NumPy array, got NoneType")


@modules
@pytest.mark.parametrize("rows", [0, 1])
def test_batch_norm_needs_two_rows(module: Any, rows: int) -> None:
    made = batch_norm_forward(np.random.default_rng(0), (rows, 3))
    given = _cast(made, np.dtype("float32"))
    _assert_refused(module, "batch_norm_forward", given, ValueError, f"x must have at least 2 rows, got {rows}")
