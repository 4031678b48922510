"""Tables with mixed columns: kinds found, columns encoded, targets turned back, CSV files read."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backprop as bp
from backprop.tabular import ClassTarget, NumberTarget, TableEncoder, _columns, _words, fit_target, read_csv, target_from_config

EAST = timezone(timedelta(hours=5))


def encode(train: Any, new: Any = None, **options: Any) -> dict[str, list[float]]:
    """The columns of the encoded table, by name."""
    encoder = TableEncoder.fit(train, **options)
    matrix = encoder.transform(train if new is None else new, dtype=np.float64)
    return dict(zip(encoder.names, matrix.T.tolist(), strict=True))


def through_json(config: dict[str, Any]) -> dict[str, Any]:
    """What a saved model gives back."""
    loaded: dict[str, Any] = json.loads(json.dumps(config))
    return loaded


def test_numbers_are_standardised() -> None:
    encoded = encode({"age": ["20", " 30 ", "4e1"]})
    root = 1.5**0.5
    np.testing.assert_allclose(encoded["age"], [-root, 0, root], rtol=1e-15)


@pytest.mark.parametrize("backend", bp.kernels.available())
def test_text_is_the_number_that_float_makes_of_it(backend: str) -> None:
    rng = np.random.default_rng(0)
    texts = [repr(value) for value in (rng.normal(size=2000) * 10.0 ** rng.integers(-30, 30, 2000)).tolist()]
    texts += [f"{value:.{digits}f}" for value, digits in zip(rng.normal(size=3000) * 1e6, rng.integers(0, 18, 3000), strict=True)]
    texts += [f"{value:.{digits}e}" for value, digits in zip(rng.normal(size=3000), rng.integers(0, 20, 3000), strict=True)]
    texts += (
        [str(2**53 + step) for step in range(-3, 4)]
        + [str(10**power) for power in range(25)]
        + [f"1e{p}" for p in range(-330, 309)]
    )
    texts += [
        "-0",
        "+.5",
        "5.",
        "-1.e5",
        "1E+05",
        " 7 ",
        "\t1\n",
        "nan",
        "-inf",
        "Infinity",
        "\u0661",
        "9" * 19,
        "9" * 20,
        "0" * 70 + "1",
    ]
    with bp.use_backend(backend):
        found = _columns._floats(texts)
        np.testing.assert_array_equal(found.view(np.int64), np.array([float(text) for text in texts]).view(np.int64))
        for wrong in ("", "-", ".", "1e", "e5", "1.2.3", "1_000", "--1", "1e+", "0x10", "1,5", "\u0663x", "1\0", None, []):
            with pytest.raises((TypeError, ValueError)):
                _columns._floats(["1", wrong])


@pytest.mark.parametrize("backend", bp.kernels.available())
def test_numbers_of_a_file_are_those_that_float_makes_of_them(backend: str) -> None:
    rng = np.random.default_rng(0)
    texts = [f"{value:.{digits}f}" for value, digits in zip(rng.normal(size=500), rng.integers(0, 18, 500), strict=True)]
    texts += ["1e5", "-7", "+.5", "5.", "", "-0.0", "1e-30", "1.7976931348623157e8"]
    for odd in ([], ["NA"], [" 5"], ["nan"]):
        words = _words.Words()
        words.extend(texts + odd)
        with bp.use_backend(backend):
            found = _columns.Column("x", words).values
        expected = np.array([np.nan if text in ("", "NA") else float(text) for text in texts + odd])
        np.testing.assert_array_equal(found, expected)
    for odd in (["1_000"], ["012"], ["1,5"], ["9007199254740997"]):
        words = _words.Words()
        words.extend(texts + odd)
        with bp.use_backend(backend):
            assert _columns.Column("x", words).is_text


def test_missing_numbers_become_the_median_and_are_flagged() -> None:
    train = {"age": ["1", "2", "", "6"]}
    encoded = encode(train)
    assert encoded["age missing"] == [0, 0, 1, 0]
    assert encoded["age"][2] == encoded["age"][1]  # the median of 1, 2, 6
    np.testing.assert_allclose(np.mean([encoded["age"][row] for row in (0, 1, 3)]), 0, atol=1e-15)


@pytest.mark.parametrize("word", ["", "  ", "NA", "n/a", "NaN", "null", "None", "?", "#N/A"])
def test_words_for_missing_values(word: str) -> None:
    encoded = encode({"x": ["1", word, "3"], "c": ["a", "b", word], "b": [word, "yes", "no"]})
    assert encoded["x missing"] == [0, 1, 0]
    assert encoded["c missing"] == [0, 0, 1]
    assert encoded["b missing"] == [1, 0, 0]


def test_categories_are_one_hot_and_unknown_ones_all_zero() -> None:
    train = {"city": ["Rome", "Oslo", "Rome", "Rome"]}
    assert encode(train) == {"city=Oslo": [0, 1, 0, 0], "city=Rome": [1, 0, 1, 1]}
    assert encode(train, {"city": ["Paris", "Oslo"]}) == {"city=Oslo": [0, 1], "city=Rome": [0, 0]}


def test_a_missing_category_is_the_most_frequent_one() -> None:
    train = {"city": ["Rome", "Oslo", "Rome"]}
    assert encode(train, {"city": [None]}) == {"city=Oslo": [0], "city=Rome": [1]}  # none was missing before: no flag
    flagged = encode({"city": ["Rome", "Oslo", "Rome", None]})
    assert flagged == {"city=Oslo": [0, 1, 0, 0], "city=Rome": [1, 0, 1, 1], "city missing": [0, 0, 0, 1]}


def test_only_the_most_frequent_categories_get_a_column() -> None:
    encoded = encode({"c": [*"aaabbbccd"]}, max_categories=2)
    assert encoded == {"c=a": [1] * 3 + [0] * 6, "c=b": [0] * 3 + [1] * 3 + [0] * 3}


@pytest.mark.parametrize("words", [("true", "false"), ("Yes", "No"), ("T", "F"), ("y", "n"), (True, False), (np.True_, np.False_)])
def test_booleans_are_one_column(words: tuple[Any, Any]) -> None:
    true, false = words
    assert encode({"b": [true, false, true]}) == {"b": [1, 0, 1]}
    assert encode({"b": [true, false, true]}, {"b": [None]}) == {"b": [1]}


def test_whole_numbers_are_one_category_however_they_are_given() -> None:
    train = {"zip": ["7", "8", "7"]}
    for values in (["7"], [7], [7.0], np.array([7], np.int8), np.array([7.0])):
        assert encode(train, {"zip": values}, kinds={"zip": "categorical"}) == {"zip=7": [1], "zip=8": [0]}


def test_text_keeps_leading_zeros() -> None:
    assert list(encode({"zip": ["01", "1", "01"]}, kinds={"zip": "categorical"})) == ["zip=01", "zip=1"]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (["7", "7", "7"] * 8, "one value only"),
        (["a"] * 24, "one value only"),
        ([""] * 24, "holds no value"),
        ([f"name {i}" for i in range(24)], "hardly ever repeats"),
    ],
)
def test_columns_that_teach_nothing_are_ignored(column: list[str], reason: str) -> None:
    encoder = TableEncoder.fit({"x": range(24), "useless": column, "id": range(24)}, ignore=["id"])
    assert encoder.names == ("x",)
    assert reason in encoder.ignored["useless"]
    assert encoder.ignored["id"] == "as asked"
    with pytest.raises(ValueError, match="no column to learn from"):
        TableEncoder.fit({"useless": column})


def test_a_constant_with_gaps_is_kept_for_the_gaps() -> None:
    assert encode({"x": ["5", "", "5"]}) == {"x": [0, 0, 0], "x missing": [0, 1, 0]}


def test_the_encoding_survives_json() -> None:
    train = {"x": [0.1, 1 / 3, None], "c": ["a", "b", None], "b": ["yes", "no", None], "one": [1, 1, 1]}
    encoder = TableEncoder.fit(train)
    again = TableEncoder.from_config(through_json(encoder.config()))
    assert again.names == encoder.names
    assert again.ignored == encoder.ignored == {"one": "holds one value only"}
    np.testing.assert_array_equal(again.transform(train), encoder.transform(train))


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c.pop("features"),
        lambda c: c["features"][0].pop("centre"),
        lambda c: c["features"][0].update(centre="7"),
        lambda c: c["features"][0].update(kind="other"),
        lambda c: c["features"][1].update(categories=[1, 2]),
        lambda c: c["features"][0].update(scale=0.0),
        lambda c: c["features"][0].update(fill=float("nan")),
        lambda c: c["features"][0].update(flagged=1),
        lambda c: c["features"][0].update(decimal="x"),
        lambda c: c["features"][1].update(categories=["a", "a"]),
        lambda c: c["features"][2].update(parts=["century"]),
        lambda c: c["features"][2].update(format="by the moon"),
        lambda c: c.pop("missing"),
        lambda c: c.update(features=3),
    ],
)
def test_a_damaged_description_is_refused(damage: Any) -> None:
    config = through_json(TableEncoder.fit({"x": [1, 2], "c": ["a", "b"], "d": ["2024-01-01", "2024-03-02"]}).config())
    damage(config)
    with pytest.raises(ValueError, match="damaged"):
        TableEncoder.from_config(config)


def test_zero_rows_and_further_columns() -> None:
    encoder = TableEncoder.fit({"x": [1, 2], "c": ["a", "b"]})
    matrix = encoder.transform({"c": [], "unused": [], "x": []})
    assert matrix.shape == (0, 3)
    assert matrix.dtype == np.float32


def test_data_frames_are_tables() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "i": pandas.array([1, None, 3], dtype="Int64"),
            "f": [0.5, float("nan"), 2.5],
            "s": ["a", None, "b"],
            "c": pandas.Categorical(["u", "v", None]),
            "b": [True, False, True],
            "o": pandas.array([True, None, False], dtype="boolean"),
        }
    )
    plain = {
        "i": [1, None, 3],
        "f": [0.5, None, 2.5],
        "s": ["a", None, "b"],
        "c": ["u", "v", ""],
        "b": ["true", "false", "true"],
        "o": ["true", "", "false"],
    }
    assert encode(frame) == encode(plain)
    assert encode(plain, frame) == encode(plain)


@pytest.mark.parametrize(
    ("table", "options", "error", "message"),
    [
        ([[1, 2]], {}, TypeError, "table must be a data frame .*, got list"),
        ({}, {}, ValueError, "at least one row"),
        ({"x": []}, {}, ValueError, "at least one row"),
        ({"x": [1, 2], "y": [1]}, {}, ValueError, "equal lengths"),
        ({"x": np.zeros((2, 2))}, {}, ValueError, r"one-dimensional, has shape \(2, 2\)"),
        ({"x": np.array([1j, 2])}, {}, TypeError, "dtype complex128"),
        ({"x": [1, [2]]}, {}, TypeError, "holds a list"),
        ({"x": {0: 1.5, 1: 2.5}}, {}, TypeError, "column 'x' must be a sequence of values, got a dict"),
        ({"x": {1.5, 2.5}}, {}, TypeError, "column 'x' must be a sequence of values, got a set"),
        ({"x": [1.5, 10**400]}, {}, ValueError, "column 'x' must hold finite numbers, row 2 holds inf"),
        (
            {"x": np.array([1, 2], "m8[Y]")},
            {},
            TypeError,
            r"column 'x' must hold spans of time of a fixed length, has dtype .*\[Y\]",
        ),
        ({"x": [np.timedelta64(2, "M"), None]}, {}, TypeError, r"column 'x' must hold spans of time of a fixed length, .*\[M\]"),
        ({"x": [datetime(1, 1, 1, tzinfo=EAST), None]}, {}, ValueError, "column 'x' holds a moment whose UTC time is beyond"),
        ({"x": [1, float("inf")]}, {}, ValueError, "row 2 holds inf"),
        ({"x": ["1", "-inf"]}, {}, ValueError, "row 2 holds -inf"),
        ({"x": [1e308, -1e308]}, {}, ValueError, "too large to standardise"),
        ({"x": [1, 2]}, {"ignore": ["y"]}, ValueError, "no column 'y'"),
        ({"price": [1, 2]}, {"kinds": {"pirce": "numeric"}}, ValueError, "did you mean 'price'"),
        ({"x": [1, 2]}, {"kinds": {"x": "text"}}, ValueError, "must be one of numeric, boolean, categorical, date, got 'text'"),
        ({"x": ["1", "two"]}, {"kinds": {"x": "numeric"}}, ValueError, "a number in every row, row 2 holds 'two'"),
        ({"x": ["yes", "maybe"]}, {"kinds": {"x": "boolean"}}, ValueError, "true or false .* row 2 holds 'maybe'"),
        ({"x": [*map(str, range(90)), "a lot"]}, {}, ValueError, "holds numbers, but also 'a lot'"),
        ({"x": [1, 2, 3]}, {"rows": [True, False, True]}, TypeError, r"rows must be .* integers, got .* bool: .* np.flatnonzero"),
        ({"x": [1, 2, 3]}, {"rows": [0.0, 1.5]}, TypeError, "rows must be a 1-D array of integers, got .* float64"),
        ({"x": [1, 2, 3]}, {"rows": [[0, 1]]}, TypeError, r"rows must be a 1-D array of integers, got shape \(1, 2\)"),
        ({"x": [1, 2, 3]}, {"rows": [0, 3]}, ValueError, "rows must be positions from 0 to 2, got 3"),
        ({"x": [1, 2, 3]}, {"rows": [0, -1]}, ValueError, "rows must be positions from 0 to 2, got -1"),
    ],
)
def test_bad_tables_are_refused(table: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TableEncoder.fit(table, **options)


def test_bad_new_tables_are_refused() -> None:
    encoder = TableEncoder.fit({"x": [1, 2], "y": [1, 2]})
    with pytest.raises(ValueError, match="no column 'y'; its columns are 'x', 'z'"):
        encoder.transform({"x": [1], "z": [1]})
    with pytest.raises(ValueError, match="column 'x' must hold a number in every row, row 2 holds '1_000'"):
        encoder.transform({"x": ["5", "1_000"], "y": [1, 1]})
    with pytest.raises(ValueError, match="column 'y' holds numbers that are too large for float32"):
        encoder.transform({"x": [1], "y": [1e300]})


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 5, "classification"),
        ([True, False] * 5, "classification"),
        ([0, 1] * 5, "classification"),
        (["3", "4", "5"] * 5, "classification"),
        ([0, 1], "regression"),  # too few rows to look like classes
        ([0.5, 1.5] * 5, "regression"),
        (range(200), "regression"),
    ],
)
def test_the_task_is_told_from_the_values(values: Any, task: str) -> None:
    assert fit_target("y", values).kind == task


def test_classes_keep_their_words() -> None:
    target = fit_target("y", ["wild rose", "Iris", "wild rose", "10"])
    assert isinstance(target, ClassTarget)
    assert target.classes == ("10", "Iris", "wild rose")
    assert target.n_outputs == 3
    np.testing.assert_array_equal(target.transform(["wild rose", "10"]), [2, 0])
    assert target.inverse([[0, 5, 1], [9, 8, 7]]) == ["Iris", "10"]
    assert target_from_config(through_json(target.config())) == target


def test_classes_that_are_numbers_stand_in_their_order() -> None:
    assert ClassTarget.fit("y", ["10", "9", "9"]).classes == ("9", "10")
    assert ClassTarget.fit("y", [10.0, 9.0, 0.5]).classes == ("0.5", "9", "10")


def test_a_regression_is_standardised_and_turned_back() -> None:
    values = [3.0, 7.5, -2.0]
    target = fit_target("y", values, task="regression")
    assert isinstance(target, NumberTarget)
    standard = target.transform(values)
    assert standard.shape == (3, 1)
    np.testing.assert_allclose([standard.mean(), standard.std()], [0, 1], atol=1e-15)
    np.testing.assert_allclose(target.inverse(standard), values, rtol=1e-15)
    assert target_from_config(through_json(target.config())) == target


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        (["a", ""], "auto", "must not miss values, row 2 does"),
        (["a", "a"], "classification", "at least two classes, holds 'a'"),
        (["1", "a"], "regression", "a number in every row, row 2 holds 'a'"),
        (["1.5", "nan", "2.5"], "auto", r"must not miss values, row 2 holds 'nan': --missing=nan \(missing=\['nan'\] in Python\)"),
        (["1.5", "2.5", "NaN"], "regression", "must not miss values, row 3 holds 'NaN'"),
        (["1", "2"], "ranking", "task must be auto, classification or regression, got 'ranking'"),
    ],
)
def test_bad_targets_are_refused(values: list[str], task: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_target("y", values, task)


def test_unknown_classes_and_damaged_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="one of the classes a, b, got 'c'"):
        ClassTarget("y", ("a", "b")).transform(["a", "c"])
    for config in ({}, {"kind": "regression", "name": "y"}, {"kind": "classification", "name": "y", "classes": "ab"}):
        with pytest.raises(ValueError, match="damaged"):
            target_from_config(config)


def read(folder: Path, text: str | bytes, delimiter: str | None = None) -> dict[str, list[str]]:
    """The columns of a file with this text."""
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_csv(str(path), delimiter)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_from_the_header(tmp_path: Path, delimiter: str) -> None:
    text = f'a{delimiter}"b,;|{delimiter}c"{delimiter}d\n1{delimiter}2{delimiter}3,5\n'.replace("3,5", "3")
    assert read(tmp_path, text) == {"a": ["1"], f"b,;|{delimiter}c": ["2"], "d": ["3"]}


def test_quotes_byte_order_mark_line_ends_and_blank_lines(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbfname,note\r\n"Ann","said ""no"",\r\nthen left"\r\n\r\nBob,\r\n'
    assert read(tmp_path, text) == {"name": ["Ann", "Bob"], "note": ['said "no",\r\nthen left', ""]}


def test_columns_without_a_name_are_called_after_their_position(tmp_path: Path) -> None:
    assert read(tmp_path, ",x\n0,5\n") == {"column 1": ["0"], "x": ["5"]}


def test_a_header_alone_is_an_empty_table(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b") == {"a": [], "b": []}


def test_a_given_delimiter_is_obeyed(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b:c\n1,2:3\n", ":") == {"a,b": ["1,2"], "c": ["3"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line must name the columns"),
        ("\n1,2\n", "the first line must name the columns"),
        ("a,b,a\n", "the header names 'a' more than once"),
        ("a,b\n1,2\n1\n", "line 3 has 1 fields, the header names 2 columns"),
        ("a,b\n1,2,3\n", "line 2 has 3 fields"),
        ('a,b\n1,"2\n', "unexpected end of data"),
        (b"a,b\n1,\xff\n", "is not UTF-8 text"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"table.csv'.*{message}"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("values", "classes", "labels"),
    [
        (["Yes", "yes", "YES", "yes", "no", "No", "NO", "no"], ("no", "yes"), [1, 1, 1, 1, 0, 0, 0, 0]),
        (["1", "1.0", "0", "0.0"], ("0", "1"), [1, 1, 0, 0]),
        (["True", "true", "1", "True", "False", "0", "False"], ("False", "True"), [1, 1, 1, 1, 0, 0, 0]),
        (["Yes", "Y", "No", "N"] * 3, ("No", "Yes"), [1, 1, 0, 0] * 3),
        (["true", "T", "F", "false", "fALSE", "1", "true", "false"], ("false", "true"), [1, 1, 0, 0, 0, 1, 1, 0]),
        (["a", "A", "b"], ("A", "a", "b"), [1, 0, 2]),  # letters may be what is to be told apart
    ],
)
def test_one_answer_in_several_spellings_is_one_class(values: list[str], classes: tuple[str, ...], labels: list[int]) -> None:
    target = ClassTarget.fit("y", values)
    assert target.classes == classes
    assert target.transform(values).tolist() == labels


def test_two_answers_are_found_in_every_word_for_them_and_other_classes_in_their_own_alone() -> None:
    target = ClassTarget.fit("y", ["yes", "no"])
    assert target.transform(["Y", "n", "TRUE", "f", 1, 0.0, True, "yES"]).tolist() == [1, 0, 1, 0, 1, 0, 1, 1]
    for classes, other in ((["T", "N"], "Y"), (["yes", "no", "maybe"], "Y"), (["a", "b"], "B")):
        with pytest.raises(ValueError, match=f"must be one of the classes .* got '{other}'"):
            ClassTarget.fit("y", classes).transform([other])
    with pytest.raises(ValueError, match="must hold at least two classes"):
        ClassTarget.fit("y", ["yes", "Yes"])


def test_text_that_repeats_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of categories costs a look-up for each row; all else is done for each different text."""
    encoder = TableEncoder.fit({"c": ["a", "b", None] * 3, "d": ["2024-01-01", "2024-03-02", ""] * 3, "b": ["yes", "no", ""] * 3})
    calls = []
    text_of = _columns.text_of
    monkeypatch.setattr(_columns, "text_of", lambda *given: calls.append(given) or text_of(*given))
    encoder.transform({"c": ["a", "new", None] * 99, "d": ["2024-03-02", "2024-01-01", ""] * 99, "b": ["y", "n", ""] * 99})
    assert len(calls) <= 9


def test_categories_of_pandas_are_those_of_the_same_text() -> None:
    pandas = pytest.importorskip("pandas")
    texts = [" a", "b", None, "7.0", "NA"] * 3
    frame = pandas.DataFrame({"c": pandas.Categorical(texts, categories=["b", " a", "unused", "7.0", "NA"])})
    assert encode(frame, kinds={"c": "categorical"}) == encode({"c": texts}, kinds={"c": "categorical"})
    assert list(encode(frame)) == ["c=7", "c=a", "c=b", "c missing"]


def test_types_of_pandas_categories_are_those_of_the_values() -> None:
    pandas = pytest.importorskip("pandas")
    flags = pandas.Categorical([True, False, True, False], categories=[True, "unused", False])
    assert ClassTarget.fit("y", pandas.Series(flags)).labels == (False, True)


def test_arrays_and_indexes_of_pandas_categories_are_columns_as_their_series_are() -> None:
    pandas = pytest.importorskip("pandas")
    for values in (["b", "a", None, "b"], [2, 1, 2, 2], [True, False, None, True]):
        made = pandas.Categorical(values, categories=[*dict.fromkeys(value for value in values[::-1] if value is not None), 7])
        expected = encode({"x": pandas.Series(made), "z": [1, 2, 4, 8]})
        assert encode({"x": made, "z": [1, 2, 4, 8]}) == expected
        assert encode({"x": pandas.CategoricalIndex(made), "z": [1, 2, 4, 8]}) == expected
    for numbers, kind in (([2, 1], int), ([2.5, 1.0], float)):
        labels = ClassTarget.fit("y", pandas.Series(pandas.Categorical(numbers * 3))).labels
        assert labels == tuple(sorted(numbers))
        assert {type(label) for label in labels} == {kind}


@pytest.mark.parametrize("numbers", [["9007199254740993", "9007199254740992"], ["-9007199254740993", "-9007199254740992"]])
def test_whole_numbers_that_float64_merges_stay_apart(numbers: list[str]) -> None:
    repeated, listed, packed = _words.Words(), _words.Words(), _words.Words()
    repeated.extend(numbers * 50)
    packed.extend(numbers)
    listed.extend([*numbers, "1" * 40])
    for words, count in ((repeated, 2), (packed, 2), (listed, 3)):
        assert len(_columns.Column("id", words).distinct()) == count
    decimals = [Decimal(number) for number in numbers]
    for items in (decimals, [*decimals, None], [*decimals, Decimal("0.5")], [np.int64(int(numbers[0])), int(numbers[1]), None]):
        assert set(numbers) <= _columns.Column("id", items).distinct()
    assert _columns.Column("id", [Decimal("7.0"), Decimal("1E+400"), Decimal("NaN"), Decimal("0.10")]).texts == [
        "7",
        "inf",
        None,
        "0.1",
    ]


def test_unsigned_numbers_in_any_order_do_not_rise() -> None:
    values = np.random.default_rng(0).permutation(50)[:40].astype(np.uint64)
    assert [feature.name for feature in TableEncoder.fit({"x": values, "y": np.arange(40) ** 0.5}).features] == ["x", "y"]


@pytest.mark.parametrize(
    ("learned", "new", "like"),
    [
        (["2024-01-01", "2024-03-02", None], [float("nan")] * 2, [None] * 2),
        (["2024-01-01", "2024-03-02", None], np.array(["NaT"], "M8[us]"), [None]),
        ([1.5, 2.5, None], np.array(["NaT"], "M8[us]"), [None]),
        (["yes", "no", None], np.array(["NaT"], "M8[us]"), [None]),
        (["yes", "no", None], ["yes", True, "f", 0, None], ["yes", "yes", "no", "no", None]),
        ([1.5, 2.5, 0], ["yes", True], [1, 1]),
    ],
)
def test_a_column_can_be_read_where_each_of_its_values_can(learned: list[Any], new: Any, like: list[Any]) -> None:
    encoder = TableEncoder.fit({"x": learned})
    expected = encoder.transform({"x": like})
    np.testing.assert_array_equal(encoder.transform({"x": new}), expected)
    np.testing.assert_array_equal(encoder.transform([{"x": value} for value in new]), expected)
    for value, row in zip(new, expected, strict=True):
        np.testing.assert_array_equal(encoder.transform({"x": value}), [row])


def test_truth_values_with_gaps_and_numbers_among_spelled_texts_are_numbers() -> None:
    assert encode({"x": [True, False, None]}, kinds={"x": "numeric"}) == encode({"x": [1, 0, None]})
    assert encode({"x": [2.5, "1,5", None, True]}) == encode({"x": [2.5, 1.5, None, 1]})
    assert encode({"x": [1.5, 2.5]}, {"x": ["1,5", 2.5, True]}) == encode({"x": [1.5, 2.5]}, {"x": [1.5, 2.5, 1]})


@pytest.mark.parametrize("dtype", [int, float, str])
def test_dates_without_separators_are_read_from_numbers_and_text(dtype: type) -> None:
    form = {"dates": {"d": "%Y%m%d"}}
    expected = encode({"d": [date(2024, 1, 31), date(2023, 2, 28)]})
    assert encode({"d": np.array([20240131, 20230228]).astype(dtype)}, **form) == expected


def test_a_column_that_mixes_spellings_is_refused_with_some_of_them() -> None:
    encoder = TableEncoder.fit({"x": [1.5, 2.5]})
    with pytest.raises(ValueError, match=r"column 'x' must hold a number in every row, in one spelling; it mixes '1,5', '1.5'"):
        encoder.transform({"x": ["1,5", "1.5"]})


def test_moments_and_spans_of_numpy_and_of_python_are_those_of_arrays() -> None:
    days = np.array(["2024-01-31", "2023-02-28T12", "NaT"], "M8[us]")
    expected = encode({"d": days})
    for items in (list(days), [np.datetime64("2024-01-31"), datetime(2023, 2, 28, 12), None], [days[0], days[1].item(), days[2]]):
        assert encode({"d": items}) == expected
        assert encode([{"d": item} for item in items]) == expected
    spans = np.array([90, 86400, "NaT"], "m8[s]")
    expected = encode({"t": spans})
    for items in (list(spans), [timedelta(seconds=90), timedelta(days=1), None], [spans[0], timedelta(days=1), None]):
        assert encode({"t": items}) == expected


def test_durations_of_pyarrow_are_seconds_also_where_some_are_missing() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    spans = [timedelta(seconds=90), timedelta(days=1), None]
    assert encode(pyarrow.table({"t": pyarrow.array(spans, pyarrow.duration("us"))})) == encode({"t": spans})


@pytest.mark.parametrize("blanks", [("", ""), (" ", ""), ("", " "), ("\t ", "")])
@pytest.mark.parametrize("texts", [["00037", "94105", "10001"], ["01", "1", "5"]])
def test_leading_zeros_are_kept_beside_blanks(blanks: tuple[str, str], texts: list[str]) -> None:
    before, after = blanks
    words = _words.Words()
    words.extend([f"{before}{text}{after}" for text in texts])
    assert isinstance(words.parts[0], np.ndarray)
    column = _columns.Column("zip", words)
    assert column.is_text
    assert column.texts == texts


@pytest.mark.parametrize(
    ("learned", "missing", "value"),
    [
        (["0", "yes", "no", "yes"], ["0"], "0"),
        (["0", "yes", "no", "yes"], ["0"], 0),
        (["true", "yes", "no", "yes"], ["true"], True),
        (["-999", "1.5", "2.5"], ["-999"], "-999.0"),
        (["-999", "a", "b"], ["-999"], -999.0),
        (["2024-01-01", "2023-03-02", "1900-01-01"], ["1900-01-01"], "1900-01-01"),
    ],
)
def test_a_word_for_a_missing_value_is_missing_in_one_row_as_in_many(learned: list[str], missing: list[str], value: Any) -> None:
    encoder = TableEncoder.fit({"x": learned}, missing=missing)
    expected = encoder.transform({"x": [value, value]})
    assert encoder.names[-1] == "x missing"
    assert expected[:, -1].tolist() == [1, 1]
    np.testing.assert_array_equal(encoder.transform({"x": value}), expected[:1])
    np.testing.assert_array_equal(
        encoder.transform([{"x": value}, {"x": learned[1]}]), encoder.transform({"x": [None, learned[1]]})
    )


@pytest.mark.parametrize("value", [1.0, float("nan"), np.float64(1), None, "1"])
@pytest.mark.parametrize("further", [["p", "q"], {"p": 1}, np.zeros((2, 2)), object(), 7])
def test_further_columns_are_passed_over_whatever_they_hold(value: Any, further: Any) -> None:
    encoder = TableEncoder.fit({"a": [1.0, 2.0, None], "c": ["x", "y", "x"]})
    row = {"a": value, "c": "x"}
    expected = encoder.transform([row])
    for given in (row | {"tags": further}, {"tags": further} | row, [row | {"tags": further}]):
        np.testing.assert_array_equal(encoder.transform(given), expected)
    np.testing.assert_array_equal(encoder.transform({"a": [value] * 3, "c": ["x"] * 3, "tags": further}), np.repeat(expected, 3, 0))
