"""What comes from outside is converted without loss, or refused with a message that names it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import backprop as bp
from backprop import _arrays
from backprop._arrays import as_matrix, as_parameter, as_real_array, as_table, require_finite

VALUES = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]])


def misaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    assert not raw.flags.aligned
    return raw


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "int": lambda x: x.astype(int),
    "uint8": lambda x: x.astype(np.uint8),
    "float16": lambda x: x.astype(np.float16),
    "float32": lambda x: x.astype(np.float32),
    "float64": lambda x: x.astype(np.float64),
    "longdouble": lambda x: x.astype(np.longdouble),
    "big-endian": lambda x: x.astype(">f8"),
    "big-endian float32": lambda x: x.astype(">f4"),
    "Fortran": lambda x: np.asfortranarray(x.astype(float)),
    "strided": lambda x: np.repeat(np.repeat(x.astype(float), 2, axis=0), 2, axis=1)[::2, ::2],
    "negative strides": lambda x: x.astype(float)[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda x: read_only(x.astype(np.float32)),
    "misaligned": lambda x: misaligned(x.astype(np.float32)),
    "list": lambda x: x.tolist(),
    "list of rows": lambda x: list(x.astype(float)),
    "matrix subclass": lambda x: x.astype(float).view(type("Sub", (np.ndarray,), {})),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_becomes_what_kernels_take(layout, dtype):
    given = LAYOUTS[layout](VALUES)
    matrix = as_matrix(given, "x", dtype, 3)
    assert type(matrix) is np.ndarray
    assert matrix.dtype == dtype
    assert matrix.dtype.isnative
    assert matrix.flags.c_contiguous
    assert matrix.flags.aligned
    np.testing.assert_array_equal(matrix, VALUES)


def test_bool_becomes_0_and_1(dtype):
    np.testing.assert_array_equal(as_matrix(VALUES > 5, "x", dtype), (VALUES > 5).astype(float))


def test_memory_map(tmp_path, dtype):
    VALUES.astype(dtype).tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", dtype, mode="r", shape=VALUES.shape)
    matrix = as_matrix(mapped, "x", dtype)
    np.testing.assert_array_equal(matrix, VALUES)
    assert np.shares_memory(matrix, mapped)  # a file larger than memory must not be copied


def test_data_frame(dtype):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [True, False]})
    np.testing.assert_array_equal(as_matrix(frame[["a", "b"]], "x", dtype), [[1, 0.5], [2, 1.5]])
    frame["d"] = ["some", "text"]
    with pytest.raises(TypeError, match="x must hold real numbers, but column 'd' is of dtype"):
        as_matrix(frame, "x", dtype)


def test_what_is_right_already_is_not_copied(dtype):
    x = VALUES.astype(dtype)
    assert as_matrix(x, "x", dtype, 3) is x


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.ones(3), ValueError, r"x must be 2-D with shape \(rows, 3\), got shape \(3,\); x.reshape\(1, -1\) makes one row of it"),
        (np.ones((2, 3, 1)), ValueError, r"x must be 2-D with shape \(rows, 3\), got shape \(2, 3, 1\)"),
        (5.0, ValueError, r"got shape \(\)"),
        ([], ValueError, r"got shape \(0,\)"),
        (np.ones((2, 4)), ValueError, r"x must have shape \(rows, 3\), got \(2, 4\)"),
        (np.ones((2, 3), complex), TypeError, "x must hold real numbers, got ndarray of dtype complex128"),
        ([["a", "b", "c"]], TypeError, "x must hold real numbers, got list of dtype <U1"),
        ([[None, 1, 2]], TypeError, "x must hold real numbers, got list of dtype object"),
        (np.zeros((2, 3), "datetime64[s]"), TypeError, "datetime64"),
        ([[1, 2, 3], [1, 2]], ValueError, "x is not a table of numbers"),
        (np.ma.masked_array(np.ones((2, 3)), np.eye(2, 3)), TypeError, "masked array"),
        ([[1.0, 2.0, np.nan]], ValueError, "x contains NaN at row 0, column 2"),
        ([[1.0, 2.0, 3.0], [1.0, -np.inf, 3.0]], ValueError, "x contains infinity at row 1, column 1"),
    ],
)
def test_refused(given, error, message, dtype):
    with pytest.raises(error, match=message):
        as_matrix(given, "x", dtype, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda value: bp.Network(value), "layers must be a list of layers"),
        (lambda value: bp.Residual(value), "block must be a list of layers"),
        (lambda value: bp.mlp(value), "sizes must be a list of integers"),
        (lambda value: bp.schedules.MultiStep(0.1, milestones=value), "milestones must be a list of integers"),
        (lambda value: bp.Trainer(bp.mlp([1, 1]), loss="mse", metrics=value), "metrics must be a list of names and functions"),
    ],
)
@pytest.mark.parametrize("value", [5, "relu", np.array(5), bp.Dense(2, 2)], ids=str)
def test_what_is_no_list_is_refused_by_the_name_of_the_argument(make, message, value):
    with pytest.raises(TypeError, match=f"{message}, got "):
        make(value)


@pytest.mark.parametrize("check_finite", [True, False])
@pytest.mark.parametrize("value", [1e300, -1e39])
def test_overflow_of_a_cast_is_noticed(value, check_finite):
    with pytest.raises(ValueError, match="x holds a number too large for float32"):
        as_matrix([[value]], "x", np.float32, check_finite=check_finite)


def test_nonfinite_values_pass_unchecked(dtype):
    x = np.array([[np.nan, np.inf, -np.inf]])
    np.testing.assert_array_equal(as_matrix(x, "x", dtype, check_finite=False), x)


def test_finite_numbers_whose_sum_is_not():
    require_finite(np.full((10, 2), np.finfo(np.float32).max, np.float32), "x")


def test_zero_rows(dtype):
    assert as_matrix(np.empty((0, 3)), "x", dtype, 3).shape == (0, 3)


def test_as_table_does_not_convert():
    x = VALUES.astype(np.float16)[::2]
    assert as_table(x, "x", 3) is x


def test_as_real_array_takes_any_shape():
    assert as_real_array(3, "x").shape == ()


def test_as_parameter_wants_the_very_shape(dtype):
    assert as_parameter([[1, 2]], "weight", (1, 2), dtype).dtype == dtype
    with pytest.raises(ValueError, match=r"weight must have shape \(1, 2\), got \(2,\)"):
        as_parameter([1, 2], "weight", (1, 2), dtype)


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
def test_aligned_zeros(size, dtype):
    array = _arrays.aligned_zeros(size, dtype)
    assert array.shape == (size,)
    assert array.dtype == dtype
    assert not array.any()
    assert array.flags.writeable
    assert size == 0 or array.__array_interface__["data"][0] % 64 == 0


@pytest.mark.parametrize("size", [10**19, 10**30, 2**62])
def test_impossible_sizes_are_memory_errors(size):
    with pytest.raises(MemoryError):
        _arrays.aligned_zeros(size, np.float64)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (lambda v: _arrays.check_in("rate", v, 0, 1), [0, 1, 0.5, np.float32(0.5)], [-0.1, 1.1, np.nan, np.inf, 10**400]),
        (lambda v: _arrays.check_in("rate", v, 0, 1, closed="left"), [0, 0.5], [1, -1e-9]),
        (lambda v: _arrays.check_in("rate", v, 0, 1, closed="right"), [1], [0]),
        (lambda v: _arrays.check_in("rate", v, 0, 1, closed="neither"), [0.5], [0, 1]),
        (lambda v: _arrays.check_positive("rate", v), [1e-9, 3, np.int8(2)], [0, -1, np.inf, np.nan]),
        (lambda v: _arrays.check_nonnegative("rate", v), [0, 3], [-1, np.inf, np.nan]),
        (lambda v: _arrays.check_count("rate", v), [1, np.int64(5)], [0, -3]),
        (lambda v: _arrays.check_choice("rate", v, ["adam", "sgd"]), ["adam"], ["Adam", "adma"]),
        (_arrays.check_dtype, ["float32", np.float64], ["float16", "int64", ">f4", None, "nonsense", {"names": ["a"]}]),
        (_arrays.check_seed, [0, 2**64 - 1, np.uint32(7)], [-1, 2**64]),
    ],
)
def test_argument_checks(check, good, bad):
    for value in good:
        assert check(value) == value
    for value in bad:
        with pytest.raises(ValueError, match=r"must be|must have") as error:
            check(value)
        if isinstance(value, str):
            assert repr(value) in str(error.value)


@pytest.mark.parametrize("check", [_arrays.check_number, _arrays.check_positive, _arrays.check_nonnegative, _arrays.check_count])
@pytest.mark.parametrize("value", ["1", None, True, 1j, [1]])
def test_what_is_not_a_number_is_a_type_error(check, value):
    with pytest.raises(TypeError, match="rate must be"):
        check("rate", value)


def test_counts_are_not_floats():
    with pytest.raises(TypeError, match=r"size must be an integer, got 3\.0"):
        _arrays.check_count("size", 3.0)


@pytest.mark.parametrize("value", [np.array([3, 4]), int], ids=["an array", "a class"])
def test_counts_are_numbers_and_not_what_only_holds_some(value):
    for name, check in (("size", partial(_arrays.check_count, "size")), ("threads", bp.set_num_threads)):
        with pytest.raises(TypeError, match=f"{name} must be an integer, got (array|<class)"):
            check(value)


def test_flags():
    assert _arrays.check_flag("bias", np.True_) is True
    with pytest.raises(TypeError, match="bias must be True or False, got 1"):
        _arrays.check_flag("bias", 1)


def test_a_near_miss_is_named():
    with pytest.raises(ValueError, match=r"did you mean 'adam'\?"):
        _arrays.check_choice("optimizer", "adma", ["adam", "sgd"])


def test_drawn_seeds_differ():
    assert _arrays.check_seed(None) != _arrays.check_seed(None)
