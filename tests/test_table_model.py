"""A network with the encoding of its table: rows in every form, predictions in the target's own values, one file."""

from __future__ import annotations

import decimal
import tracemalloc
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backprop as bp
from backprop.tabular import ClassTarget, DateFeature, NumericFeature, TableEncoder, TableModel, _fit

ROWS = 240


def rows() -> list[dict[str, Any]]:
    """Prices that follow from a number, a word, a date and a truth value, with gaps."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(ROWS):
        area, town = float(rng.uniform(40, 200)), str(rng.choice(["Rome", "Oslo", "Köln"]))
        day = date(2023, 1, 1) + timedelta(days=int(rng.integers(700)))
        garden = bool(rng.random() < 0.5)
        price = 3 * area + 50 * (town == "Oslo") + 20 * garden + 0.1 * (day - date(2023, 1, 1)).days
        kept = None if index % 17 == 0 else area
        found.append({"area": kept, "town": town, "day": day.isoformat(), "garden": garden, "price": price})
    return found


def columns(table: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The same rows, column by column."""
    return {name: [row[name] for row in table] for name in table[0]}


@pytest.fixture(scope="module")
def model() -> TableModel:
    """A model of the prices."""
    return TableModel.fit(rows(), "price", epochs=60, lr=0.01, verbose=False)


def test_a_model_learns_from_rows_and_judges_itself_beside_the_naive_answer(model: TableModel) -> None:
    judged = model.evaluate(rows())
    assert judged["r2"] > 0.8
    assert judged.naive["r2"] <= 0
    assert judged["rmse"] < judged.naive["rmse"]
    assert judged.remarks == ()
    assert "naive" in str(judged)


def test_a_small_table_gets_enough_updates() -> None:
    """Two hundred epochs of two updates are too few: a table of forty rows trains as long as a larger one."""
    x = np.linspace(-1, 1, 40)
    model = TableModel.fit({"x": x, "y": x * 3 + 1}, "y", dropout=0.0, verbose=False)
    assert model.history is not None
    assert len(model.history["loss"]) > 200
    assert model.evaluate({"x": x, "y": x * 3 + 1})["r2"] > 0.98
    for option in ({"lr": 0.1}, {"weight_decay": 0.1}):
        with pytest.raises(ValueError, match=f"{next(iter(option))} is for an optimizer given by name; give it to the Adam itself"):
            TableModel.fit({"x": x, "y": x}, "y", optimizer=bp.Adam(), **option)  # type: ignore[arg-type]


def crowded(count: int) -> dict[str, Any]:
    """Rows with many categories, gaps and dates."""
    rng = np.random.default_rng(0)
    towns, streets = rng.integers(0, 60, count), rng.integers(0, 60, count)
    return {
        "town": [None if town == 7 else f"town {town}" for town in towns],
        "street": [f"street {street}" for street in streets],
        "day": (np.datetime64("2024-01-01") + rng.integers(0, 900, count)).astype("M8[us]"),
        "x": rng.normal(size=count),
        "y": np.where(towns > streets, "up", "down"),
    }


def test_a_large_table_is_encoded_as_it_is_learned_from_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    table = crowded(400)
    whole = TableModel.fit(table, "y", epochs=4, class_weight="balanced", verbose=False)
    monkeypatch.setattr(_fit, "LARGE", 0)
    lazy = TableModel.fit(table, "y", epochs=4, class_weight="balanced", verbose=False)
    np.testing.assert_array_equal(lazy.network.parameters, whole.network.parameters)
    np.testing.assert_allclose((lazy.history or {})["val_loss"], (whole.history or {})["val_loss"], rtol=1e-6)
    np.testing.assert_array_equal(lazy.encoder._encoded(table)[:], lazy.encoder.transform(table))
    assert lazy.evaluate(table).metrics == whole.evaluate(table).metrics


def test_the_matrix_of_a_large_table_is_never_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 60_000
    table = crowded(rows)
    monkeypatch.setattr(_fit, "LARGE", 0)
    tracemalloc.start()
    try:
        model = TableModel.fit(table, "y", epochs=1, batch_size=1000, hidden=(), verbose=False)
        fitting = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        model.predict(table)
        model.evaluate(table)
        _, judging = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    matrix = rows * model.network.n_inputs * 4
    assert fitting < 0.7 * matrix
    assert judging < 0.7 * matrix


def test_rows_in_every_form_give_the_same_predictions(model: TableModel) -> None:
    table = rows()
    expected = model.predict(table)
    assert expected.shape == (ROWS,)
    by_column = columns(table)
    np.testing.assert_array_equal(model.predict(by_column), expected)
    one_by_one = np.concatenate([model.predict(row) for row in table])
    np.testing.assert_allclose(one_by_one, expected, rtol=1e-5)
    np.testing.assert_allclose(model.predict([table[3]]), expected[3:4], rtol=1e-5)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_are_tables(model: TableModel, library: str) -> None:
    module = pytest.importorskip(library)
    by_column = columns(rows())
    frame = module.table(by_column) if library == "pyarrow" else module.DataFrame(by_column)
    np.testing.assert_array_equal(model.predict(frame), model.predict(by_column))
    if library == "polars":
        with pytest.raises(TypeError, match=r"table\.collect\(\)"):
            model.predict(frame.lazy())
    again = TableModel.fit(frame, target="price", epochs=2, verbose=False)
    same = TableModel.fit(by_column, target="price", epochs=2, verbose=False)
    np.testing.assert_array_equal(again.network.parameters, same.network.parameters)


def test_the_encoding_of_one_row_equals_that_of_a_table(model: TableModel) -> None:
    encoder = model.encoder
    odd = [
        {"area": 120, "town": "Oslo", "day": "2024-02-29", "garden": False},
        {"area": None, "town": None, "day": None, "garden": None},
        {"area": "1e2", "town": "never seen", "day": "2024-02-29T12:00:00", "garden": "Yes"},
        {"area": np.float32(7.5), "town": " Rome ", "day": date(2024, 2, 29), "garden": 1},
        {"area": decimal.Decimal("7.5"), "town": "?", "day": "", "garden": "0"},
    ]
    for row in odd:
        np.testing.assert_array_equal(
            encoder.transform(row), encoder.transform({name: [value, value] for name, value in row.items()})[:1]
        )
        np.testing.assert_array_equal(encoder.transform(row), encoder.transform({name: [value] for name, value in row.items()}))
    with pytest.raises(ValueError, match="no column 'town'"):
        encoder.transform({"area": 1.0})
    with pytest.raises(ValueError, match="'area' must hold a number in every row, row 1 holds 'large'"):
        encoder.transform({**odd[0], "area": "large"})


@pytest.mark.parametrize(
    "values", [["no", "yes"], [0, 1], [False, True], [0.5, 1.5], ["0", "1"]], ids=["words", "whole", "truths", "numbers", "digits"]
)
def test_predictions_have_the_values_of_the_target(values: list[Any], tmp_path: Path) -> None:
    x = np.linspace(-1, 1, 80)
    table = {"x": x, "y": [values[int(value > 0)] for value in x]}
    model = TableModel.fit(table, "y", task="classification", epochs=40, lr=0.05, verbose=False)
    assert model.classes == tuple(values)
    assert [type(label) for label in model.classes or ()] == [type(value) for value in values]
    assert model.predict({"x": [-0.9, 0.9]}).tolist() == values
    assert model.predict_proba({"x": [-0.9, 0.9]}).argmax(axis=1).tolist() == [0, 1]
    assert model.evaluate(table)["accuracy"] > 0.9
    model.save(tmp_path / "m.safetensors")
    assert TableModel.load(tmp_path / "m.safetensors").classes == model.classes


def test_rows_of_classes_that_training_did_not_see_are_named_and_left_out() -> None:
    x = np.linspace(-1, 1, 60)
    model = TableModel.fit({"x": x, "y": np.where(x > 0, "up", "down")}, "y", epochs=5, verbose=False)
    known, new = {"x": [0.5, -0.5], "y": ["up", "down"]}, {"x": [0.5, 0.1, -0.5], "y": ["up", "sideways", "down"]}
    judged = model.evaluate(new)
    assert judged.metrics == model.evaluate(known).metrics
    assert judged.rows == 2
    assert judged.remarks[-1].startswith("left out 1 row of classes that training did not see ('sideways'): any prediction")
    with pytest.raises(ValueError, match="must be one of the classes down, up, got 'sideways' in row 1"):
        model.evaluate({"x": [0.1], "y": ["sideways"]})


def test_a_model_is_one_file(model: TableModel, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model.metadata = {"source": "a test"}
    model.save(path)
    loaded = TableModel.load(path)
    np.testing.assert_array_equal(loaded.predict(rows()), model.predict(rows()))
    assert loaded.metadata == {"source": "a test"}
    assert loaded.encoder.names == model.encoder.names
    with pytest.raises(bp.ModelFormatError, match=r"TableModel\.load"):
        bp.load(path)
    bp.mlp([2, 1], seed=0).save(path)
    with pytest.raises(bp.ModelFormatError, match="holds a network, but no description of a table"):
        TableModel.load(path)


def test_the_encoding_can_be_read() -> None:
    table = {"x": [1.0, 2.0, None, 3.0], "day": ["2024-01-01", "2024-02-01", "2024-03-01", "2025-03-02"], "y": ["a", "b", "a", "b"]}
    model = TableModel.fit(table, "y", epochs=1, verbose=False, validation=0.5)
    x, day = model.encoder.features
    assert isinstance(x, NumericFeature)
    assert isinstance(day, DateFeature)
    assert isinstance(model.target, ClassTarget)
    assert model.target.classes == ("a", "b")
    assert model.encoder.columns["x"] == list(range(len(x.names)))


def test_rows_without_a_value_of_the_target_are_left_out_and_counted() -> None:
    table = {
        "x": [float(index**2 % 17) for index in range(40)],
        "y": [None if index % 4 == 0 else index / 7 for index in range(40)],
    }
    model = TableModel.fit(table, "y", epochs=1, verbose=False)
    assert any("left out 10 rows" in note for note in model.notes)
    assert model.evaluate(table).rows == 30


@pytest.mark.parametrize(("word", "task"), [("-999", "regression"), ("n.a.", "classification")])
def test_words_for_missing_values_are_those_of_fit_when_a_model_is_judged(word: str, task: str, tmp_path: Path) -> None:
    values: list[Any] = [float(value) for value in range(40)] if task == "regression" else ["no", "yes"] * 20
    gap = -999.0 if task == "regression" else word
    table = {"x": [value * 0.5 for value in range(44)], "y": [*values, *[gap] * 4]}
    model = TableModel.fit(table, "y", task=task, missing=[word], epochs=1, verbose=False)
    model.save(tmp_path / "m")
    for judge in (model, TableModel.load(tmp_path / "m")):
        for form in (table, [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]):
            judged = judge.evaluate(form)
            assert judged.rows == 40
            assert not [remark for remark in judged.remarks if "left out" in remark]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": "all"}, TypeError, "batch_size must be an integer, got 'all'"),
        ({"validation": 0}, ValueError, r"validation must be in \(0, 1\), got 0"),
        ({"validation": None}, TypeError, "validation must be a number, got None"),
        ({"hidden": 64}, TypeError, "hidden must be a list of integers, got 64"),
        ({"hidden": "64"}, TypeError, "hidden must be a list of integers, got '64'"),
        ({"hidden": [64, 0]}, ValueError, r"hidden\[1\] must be at least 1, got 0"),
        ({"batch_norm": "no"}, TypeError, "batch_norm must be True or False, got 'no'"),
        ({"callbacks": 5}, TypeError, "callbacks must be a list of objects with some of the methods .*, got 5"),
        (
            {"ignore": ["area", "town", "day", "garden"]},
            ValueError,
            "no column to learn from: beside the target 'price' there is none",
        ),
    ],
)
def test_options_of_training_are_refused_by_name(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TableModel.fit(rows(), "price", epochs=1, verbose=False, **options)


def test_one_callback_needs_no_list() -> None:
    stopping = bp.EarlyStopping(patience=1)
    TableModel.fit(rows(), "price", epochs=1, verbose=False, callbacks=stopping)
    assert stopping.best_epoch == 0
    TableModel.fit(rows(), "price", epochs=1, verbose=False, callbacks=None)


def test_what_is_no_table_is_refused(model: TableModel) -> None:
    with pytest.raises(TypeError, match=r"table must be a data frame .* got str"):
        model.predict("Oslo")
    with pytest.raises(ValueError, match="'town' is the single value 'Oslo', and other columns are sequences"):
        model.predict({"area": [1.0, 2.0], "town": "Oslo", "day": ["2024-01-01"] * 2, "garden": [True, False]})
    with pytest.raises(ValueError, match=r"no column 'prize'.*did you mean 'price'"):
        TableModel.fit(rows(), "prize")
    with pytest.raises(TypeError, match="no option 'epoch'; did you mean 'epochs'"):
        TableModel.fit(rows(), "price", epoch=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="probabilities need classes"):
        model.predict_proba(rows())


def test_ignored_columns_are_not_looked_at() -> None:
    class Closed:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Any:
            raise AssertionError

    encoder = TableEncoder.fit({"x": [1.0, 2.0, 4.0], "odd": Closed()}, ignore=["odd"])
    assert encoder.names == ("x",)
    assert encoder.transform({"x": [1.0], "odd": Closed()}).shape == (1, 1)
