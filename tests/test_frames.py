"""Data frames as inputs and targets: what is taken, what is refused, and how the column is named."""

from __future__ import annotations

import numpy as np
import pytest

import backprop as bp

pd = pytest.importorskip("pandas")

VALUES = {"flag": [True, False, True, False], "count": [1, 2, 3, 4], "size": [0.5, 1.5, -2.0, 3.0]}
EXPECTED = np.column_stack([np.asarray(column, float) for column in VALUES.values()])


def pandas_plain():
    return pd.DataFrame(VALUES)


def pandas_dummies():
    frame = pd.get_dummies(pd.DataFrame({"flag": ["yes", "no", "yes", "no"], "count": [1, 2, 3, 4], "size": VALUES["size"]}))
    return frame[["flag_yes", "count", "size"]]


def pandas_nullable():
    return pd.DataFrame(VALUES).convert_dtypes()


def pandas_arrow():
    pytest.importorskip("pyarrow")
    return pd.DataFrame(VALUES).convert_dtypes(dtype_backend="pyarrow")


def polars_frame():
    return pytest.importorskip("polars").DataFrame(VALUES)


def arrow_table():
    return pytest.importorskip("pyarrow").table(VALUES)


FRAMES = [pandas_plain, pandas_dummies, pandas_nullable, pandas_arrow, polars_frame, arrow_table]


@pytest.fixture
def net():
    return bp.mlp([3, 4, 1], dtype="float64", seed=0)


@pytest.mark.parametrize("make", FRAMES)
def test_frames_of_numbers_are_matrices(make, net):
    frame = make()
    np.testing.assert_array_equal(net.predict(frame), net.predict(EXPECTED))
    other = net.copy()
    y = [0.0, 1.0, 0.0, 1.0]
    assert net.fit(frame, y, loss="mse", seed=0).history == other.fit(EXPECTED, y, loss="mse", seed=0).history
    assert net.evaluate(frame, y) == other.evaluate(EXPECTED, y)
    assert bp.Trainer(net, loss="mse").step(frame, y) == bp.Trainer(other, loss="mse").step(EXPECTED, y)


@pytest.mark.parametrize("make", FRAMES)
def test_columns_of_frames_are_targets(make, net):
    frame = make()
    y = frame.column("size") if hasattr(frame, "column_names") else frame["size"]
    assert net.evaluate(EXPECTED, y, loss="mse") == net.evaluate(EXPECTED, VALUES["size"], loss="mse")
    if hasattr(frame, "iloc"):
        assert net.evaluate(EXPECTED, frame[["size"]], loss="mse") == net.evaluate(EXPECTED, VALUES["size"], loss="mse")


@pytest.mark.parametrize("make", [pandas_plain, pandas_nullable, pandas_arrow, polars_frame, arrow_table])
@pytest.mark.parametrize("column", ["flag", "count", "size"])
def test_a_missing_value_is_named_by_its_column(make, column, net, monkeypatch):
    monkeypatch.setitem(VALUES, column, [VALUES[column][0], None, *VALUES[column][2:]])
    frame = make()
    with pytest.raises(ValueError, match=f"x contains NaN at row 1, column '{column}'"):
        net.fit(frame, [0.0] * 4, loss="mse")
    assert np.isnan(net.predict(frame)).ravel().tolist() == [False, True, False, False]


@pytest.mark.parametrize("make", [pandas_plain, pandas_nullable, pandas_arrow, polars_frame, arrow_table])
@pytest.mark.parametrize("values", [["a", "b", "c", "d"], [None, "b", None, "d"]])
def test_a_column_of_words_is_named(make, values, net, monkeypatch):
    monkeypatch.setitem(VALUES, "count", values)
    with pytest.raises(TypeError, match=r"x must hold real numbers, but column 'count' is of dtype .*TableEncoder"):
        net.fit(make(), [0.0] * 4, loss="mse")


def test_dates_categories_and_objects_are_refused_by_name(net):
    for column in (
        pd.to_datetime(["2020-01-01"] * 4),
        pd.Categorical([1, 2, 1, 2]),
        np.array([1, 2.0, 3, "4"], dtype=object),
        pd.to_timedelta([1, 2, 3, 4], unit="s"),
    ):
        frame = pd.DataFrame({**VALUES, "count": column})
        with pytest.raises(TypeError, match="column 'count' is of dtype"):
            net.predict(frame)


def test_objects_that_are_numbers_are_numbers(net):
    np.testing.assert_array_equal(net.predict(pd.DataFrame(VALUES).astype(object)), net.predict(EXPECTED))


def test_columns_of_one_name_are_told_apart(net):
    frame = pd.DataFrame(EXPECTED, columns=["a", "a", "b"]).astype({"b": "Float64"})
    np.testing.assert_array_equal(net.predict(frame), net.predict(EXPECTED))


def test_other_tables_are_refused_with_the_way_out(net):
    sparse = pytest.importorskip("scipy.sparse")
    for x, message in (
        (sparse.csr_matrix(EXPECTED), r"x is a sparse matrix; x.toarray\(\) makes a dense array"),
        (VALUES, "x is a mapping; backprop.tabular.TableEncoder takes named columns"),
        ([{"size": 1.0}], "x is a list of mappings"),
        (np.ma.masked_array(EXPECTED, EXPECTED > 1), "x is a masked array"),
        (EXPECTED.astype(complex), "x must hold real numbers"),
        (EXPECTED.astype(object), "x must hold real numbers"),
    ):
        with pytest.raises(TypeError, match=message):
            net.predict(x)
    with pytest.raises(ValueError, match="its rows have different lengths"):
        net.predict([[1.0, 2.0, 3.0], [1.0]])


def test_a_lazy_frame_is_refused_with_the_way_out(net):
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"x is a lazy frame; pass x.collect\(\)"):
        net.predict(polars.DataFrame(VALUES).lazy())
