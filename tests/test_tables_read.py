"""Files and columns as people and programs write them: read as what they are, or refused in a line that says what to do."""

from __future__ import annotations

import gzip
from datetime import datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backprop.data import parquet
from backprop.tabular import (
    CategoricalFeature,
    ClassTarget,
    DateFeature,
    NumberTarget,
    NumericFeature,
    TableEncoder,
    TableModel,
    _columns,
    fit_target,
    read_csv,
)
from backprop.tabular._csv import Options, parquet_chunks, read_chunks, read_table

ODD = [3.25, 1.5, -2.75, 1000.5, 1345.5]


def numbers(texts: list[str], **options: Any) -> list[float]:
    """What a column of these texts is standardised from."""
    encoder = TableEncoder.fit({"x": texts}, **options)
    (feature,) = encoder.features
    assert isinstance(feature, NumericFeature), encoder
    found = encoder.transform({"x": texts}, np.float64)[:, 0] * feature.scale + feature.centre
    assert not feature.clip
    return found.round(6).tolist()


@pytest.mark.parametrize(
    "texts",
    [
        ["3,25", "1,5", "-2,75", "1000,5", "1345,5"],
        ["3,25", "1,5", "-2,75", "1.000,5", "1.345,5"],
        ["3.25", "1.5", "-2.75", "1,000.5", "1,345.5"],
        ["3,25", "1,5", "\u22122,75", "1\u202f000,5", "1\u00a0345,5"],
        ["3.25", "1.5", "-2.75", "1'000.5", "1\u2019345.5"],
        ["$3.25", "$1.50", "-$2.75", "$1,000.50", "$1,345.50"],
        ["3,25 \u20ac", "1,50 \u20ac", "-2,75 \u20ac", "1.000,50 \u20ac", "1.345,50 \u20ac"],
        ["3.25 %", "1.5%", "-2.75 %", "1000.5 %", "1345.5 %"],
        ["3.25", "1.5", "(2.75)", "1,000.5", "1,345.5"],
        ["325e-2", "1.5", "-2.75", "1000.5", "+1345.5"],
    ],
)
def test_a_number_is_read_in_any_spelling_that_a_column_keeps(texts: list[str]) -> None:
    assert numbers(texts) == pytest.approx(ODD)
    target = fit_target("y", texts, "regression")
    assert target.inverse(target.transform(texts)) == pytest.approx(ODD)


def test_a_spelling_holds_for_new_rows_too() -> None:
    encoder = TableEncoder.fit({"x": ["3,5", "1.234,5", "12,0"]})
    expected = encoder.transform({"x": [1234.5, 2.0]})
    for texts in (["1.234,5", "2"], ["1234.5", "2.0"], ["1234,5", "2,0"]):
        np.testing.assert_array_equal(encoder.transform({"x": texts}), expected)
    plain = TableEncoder.fit({"x": [3.5, 1234.5, 12.0]})
    np.testing.assert_array_equal(plain.transform({"x": ["1234,5", "2,0"]}), plain.transform({"x": [1234.5, 2.0]}))


def test_zeros_after_a_separator_are_part_of_what_is_written() -> None:
    texts, known = ["1.000", "2.000", "3.500"], {"decimal": ",", "thousands": "."}
    assert numbers(texts, **known) == pytest.approx([1000, 2000, 3500])
    assert NumberTarget.fit("y", ["1.000", "3.000,00"]).mean == 2000
    assert NumberTarget.fit("y", texts, **known).mean == pytest.approx(6500 / 3)
    chunks = [{"x": texts[:2]}, {"x": texts[2:]}]
    assert TableEncoder.fit_chunks(chunks, **known).features[0].centre == pytest.approx(6500 / 3)
    encoder = TableEncoder.fit({"x": ["1.234,5", "7.000", "2,5"]})
    for values in (["10.000"], ["10.000", "1,5"], ["10.000", None]):
        assert encoder.transform({"x": values})[0] == encoder.transform({"x": [10000.0]})[0]
    for number in (1.234, np.float32(0.5), 7, Decimal("2.125")):  # what is a number already has no spelling
        assert encoder.transform({"x": ["10.000", number]}).tolist() == encoder.transform({"x": [10000.0, float(number)]}).tolist()
    clocks = TableEncoder.fit({"t": ["10.00", "9.30", "11.15"]}, dates={"t": "%H.%M"})
    np.testing.assert_array_equal(clocks.transform({"t": ["10.00"]}), clocks.transform({"t": [datetime(1900, 1, 1, 10)]}))


def test_numbers_that_can_be_read_in_two_ways_are_refused_until_it_is_said_which() -> None:
    texts = ["1,234", "5,678", "9,012"]
    with pytest.raises(ValueError, match=r"column 'x': '1,234' may be 1.234 or 1234: say which with --decimal or --thousands"):
        TableEncoder.fit({"x": texts})
    assert numbers(texts, decimal=",") == [1.234, 5.678, 9.012]
    assert numbers(texts, thousands=",") == [1234, 5678, 9012]


@pytest.mark.parametrize(
    ("texts", "moments"),
    [
        (["2024-02-29", "2023-12-31", "2022-01-05"], ["2024-02-29", "2023-12-31", "2022-01-05"]),
        (["2024-02-29T13:30:00Z", "2023-12-31 23:15", "2022-01-05"], ["2024-02-29T13:30", "2023-12-31T23:15", "2022-01-05"]),
        (["2024-02-29T13:30:00+02:00", "2023-12-31T23:15:00-01:00"], ["2024-02-29T11:30", "2024-01-01T00:15"]),
        (["29.2.2024", "31.12.2023"], ["2024-02-29", "2023-12-31"]),
        (["29/02/2024 1:05 pm", "31/12/2023 12:00 am"], ["2024-02-29T13:05", "2023-12-31T00:00"]),
        (["02/29/24", "12/31/23"], ["2024-02-29", "2023-12-31"]),
        (["29 Feb 2024", "31-Dec-23"], ["2024-02-29", "2023-12-31"]),
        (["February 29, 2024", "Dec 31 2023"], ["2024-02-29", "2023-12-31"]),
        (["13:30", "23:15"], ["1970-01-01T13:30", "1970-01-01T23:15"]),
    ],
)
def test_dates_and_times_are_read_in_the_common_spellings(texts: list[str], moments: list[str]) -> None:
    encoder = TableEncoder.fit({"when": texts})
    (feature,) = encoder.features
    assert isinstance(feature, DateFeature)
    same = np.array(moments, "M8[m]")
    np.testing.assert_allclose(encoder.transform({"when": texts}, np.float64), encoder.transform({"when": same}, np.float64))


def test_a_date_is_taken_apart_and_cyclic_where_it_is() -> None:
    days = np.arange("2022-01-01", "2024-01-01", dtype="M8[D]")
    encoder = TableEncoder.fit({"day": days})
    assert encoder.names == (
        "day elapsed",
        "day year",
        "day month sin",
        "day month cos",
        "day weekday sin",
        "day weekday cos",
    )
    matrix = encoder.transform({"day": days}, np.float64)
    by_name = dict(zip(encoder.names, matrix.T, strict=True))
    monday, january = days == np.datetime64("2022-01-03"), days == np.datetime64("2022-01-01")
    assert by_name["day weekday sin"][monday] == 0
    assert by_name["day weekday cos"][monday] == 1
    assert by_name["day month sin"][january] == 0
    assert (np.diff(by_name["day elapsed"]) > 0).all()


def test_dates_that_can_be_read_in_two_ways_are_refused_until_it_is_said_which() -> None:
    texts = ["01/02/2024", "03/04/2024"]
    with pytest.raises(ValueError, match="day and month of '01/02/2024' can be read either way around: say --date when="):
        TableEncoder.fit({"when": texts})
    (feature,) = TableEncoder.fit({"when": texts}, dates={"when": "%d/%m/%Y"}).features
    assert isinstance(feature, DateFeature)
    assert "month" in feature.parts


@pytest.mark.parametrize(
    ("trained", "new", "place"),
    [
        (["25/03/2024", "26/04/2023"], ["03/04/2024", "03/25/2024"], "row 2 holds '03/25/2024'"),
        (["25/03/2024", "26/04/2023"], ["12/25/2024"], "row 1 holds '12/25/2024'"),
        (["03/25/2024", "04/26/2023"], ["04/03/2024", "25/03/2024"], "row 2 holds '25/03/2024'"),
        (["2024-03-25", "2023-04-26"], ["03/04/2024"], "row 1 holds '03/04/2024'"),
        (["2024-03-25", "2023-04-26"], ["25/04/2024", "03/04/2024"], "row 2 holds '03/04/2024'"),
        (["2024-03-25", "2023-04-26"], ["04/25/2024", "03/04/2024"], "row 2 holds '03/04/2024'"),
        (["2024-03-25", "2023-04-26"], ["2024-01-01", "12:30"], "row 2 holds '12:30'"),
    ],
)
def test_day_and_month_of_new_rows_are_those_of_training_whatever_the_other_rows_say(
    trained: list[str], new: list[str], place: str
) -> None:
    encoder = TableEncoder.fit({"d": trained})
    with pytest.raises(ValueError, match=f"column 'd' must hold a date .* in every row, {place}"):
        encoder.transform({"d": new})
    assert encoder.transform({"d": ["3 April 2024"]}).tolist() == encoder.transform({"d": ["2024-04-03"]}).tolist()


def test_a_fraction_of_a_second_says_nothing_about_the_order_of_day_and_month() -> None:
    with pytest.raises(ValueError, match=r"day and month of '03/04/2024 10:15:30\.5' can be read either way around"):
        TableEncoder.fit({"d": ["03/04/2024 10:15:30.5", "05/06/2024 11:15:30.5"]})
    assert TableEncoder.fit({"d": ["03.04.2024 10:15", "05.06.2024 11:15"]}).features[0].format == "day-month-year"  # type: ignore[union-attr]


def test_a_date_is_the_same_one_whatever_stands_beside_it() -> None:
    encoder = TableEncoder.fit({"d": ["2024-03-25", "2023-04-26"]})
    new = ["1.2.2024", "04/25/2024", "25/04/2024", "2024-04-25", "25 April 2024", None]
    alone = [encoder.transform({"d": text})[0] for text in new]
    np.testing.assert_array_equal(encoder.transform({"d": new}), alone)
    np.testing.assert_array_equal(alone[0], encoder.transform({"d": "2024-02-01"})[0])
    with pytest.raises(ValueError, match=r"'t' must hold a date \(time\) in every row, row 1 holds '2024-03-25'"):
        TableEncoder.fit({"t": ["12:30", "13:30"]}).transform({"t": ["2024-03-25"]})


@pytest.mark.parametrize(
    ("learned", "new"),
    [
        (["1.234,5", "2,5", "7.000"], ["1.000", "true"]),
        (["1.234,5", "2,5", "7.000"], ["1.000", "1.5"]),
        (["1.234,5", "2,5", "7.000"], ["10,000", "1,234.5"]),
        ([1.5, 2.5], ["1.234", "1.234,5"]),
        ([1.5, 2.5], ["1.234", "1,5"]),
        (["1,5", "2,5"], ["1.000", "1.234,5"]),
    ],
)
def test_a_number_is_never_read_as_another_one_because_of_other_rows(learned: Any, new: list[str]) -> None:
    encoder = TableEncoder.fit({"x": learned})
    assert encoder.transform({"x": new[0]}).shape == (1, 1)
    with pytest.raises(ValueError, match="column 'x' must hold a number in every row, in one spelling; it mixes"):
        encoder.transform({"x": new})


@pytest.mark.parametrize(
    ("learned", "texts", "said", "numbers"),
    [
        ([1.5, 2.5], ["1.234", "2.500"], {"decimal": ",", "thousands": "."}, [1234, 2500]),
        ([1.5, 2.5], ["1.234,5", "2.500"], {"decimal": ","}, [1234.5, 2500]),
        (["1,5", "2,5"], ["1.234", "2.500"], {"decimal": ","}, [1234, 2500]),
        (["1,000.5", "2.5"], ["1,234", "2,500"], {"decimal": ",", "thousands": "."}, [1.234, 2.5]),
        ([1.5, 2.5], ["1.234", "2.500"], {"decimal": "."}, [1.234, 2.5]),
        ([1.5, 2.5], ["1.234", "2.500"], {"decimal": ","}, "'1.234' is 1.234 as training spelled numbers, and 1234 as is said of"),
        (
            [1.5, 2.5],
            ["1.234", "2.500"],
            {"thousands": "."},
            "'1.234' is 1.234 as training spelled numbers, and 1234 as is said of",
        ),
        (["1,000.5", "2.5"], ["1,234"], {"thousands": "."}, "'1,234' is 1234 as training spelled numbers, and 1.234 as is said of"),
    ],
)
def test_what_is_said_of_the_file_of_new_rows_is_obeyed_or_refused(
    tmp_path: Path, learned: Any, texts: list[str], said: dict[str, str], numbers: Any
) -> None:
    path = tmp_path / "new.csv"
    path.write_text("\n".join(["x;y", *(f"{text};a" for text in texts)]))
    encoder, target = TableEncoder.fit({"x": learned}), NumberTarget.fit("x", learned)
    for table in (read_csv(path, ";", **said), read_table(str(path), Options(";", **said))):  # type: ignore[arg-type]
        for transform, given in ((encoder.transform, table), (target.transform, _columns.columns(table)["x"])):
            if isinstance(numbers, str):
                with pytest.raises(ValueError, match=f"column 'x': {numbers}"):
                    transform(given)
            else:
                np.testing.assert_allclose(
                    transform(given), transform({"x": numbers} if transform == encoder.transform else numbers)
                )


def test_columns_to_learn_from_keep_the_spelling_that_was_found_for_all_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "x;y;z\n" + "".join(f"{row}.{1 + row % 9}25;{row}.{1 + row % 7}25;a\n" for row in range(1, 41)) + "7.5;7.5;b\n" * 2
    )
    table = read_csv(path, decimal=",")
    model = TableModel.fit(table, "y", epochs=1, verbose=False)  # the few rows to judge by may all look like groups of thousands
    assert model.encoder.features[0].centre < 50  # type: ignore[union-attr]
    assert TableEncoder.fit(table, rows=range(40)).features[0].centre < 50  # type: ignore[union-attr]


def test_no_groups_of_thousands_may_be_said() -> None:
    table = {"x": ["1,234", "2,500"]}
    assert TableEncoder.fit(table, thousands="").config() == TableEncoder.fit(table, decimal=",", thousands="").config()


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("anything", list(range(7, 47)), "numbers the rows"),
        ("", [str(index) for index in range(40)], "numbers the rows"),
        ("PassengerId", [index * 7 % 41 for index in range(40)], "is an identifier"),
        ("row_no", [index * 7 % 41 + 10**6 for index in range(40)], "is an identifier"),
        ("shuffled", [index * 7 % 40 for index in range(40)], "numbers the rows, in another order"),
        ("PID", [index * 97 % 1009 for index in range(40)], "is an identifier"),
        ("case", [index + index // 3 for index in range(40)], "numbers the rows, with gaps"),
        ("column 1", [index * 97 % 1009 for index in range(40)], "names the rows"),
        ("Unnamed: 0", [index * index for index in range(40)], "names the rows"),
        ("user_id", [index if index % 4 else 99 for index in range(40)], "is an identifier: 31 different whole numbers in 40 rows"),
    ],
)
def test_numbers_that_only_name_the_rows_are_left_out_and_named(name: str, values: list[Any], reason: str) -> None:
    table = {name: values, "x": [index**2 % 17 for index in range(40)]}
    encoder = TableEncoder.fit(table)
    assert encoder.names == ("x",)
    assert encoder.ignored[name].startswith(reason)
    assert name in TableEncoder.fit(table, kinds={name: "numeric"}).names


def test_a_column_of_row_numbers_is_kept_if_there_is_no_other() -> None:
    encoder = TableEncoder.fit({"x": list(range(40))})
    assert encoder.names == ("x",)
    assert "the only column" in encoder.notes[0]


def test_codes_are_categories() -> None:
    table = {
        "zip": ["01234", "94105"] * 20,
        "branch_code": [100, 200, 300, 400] * 10,
        "storeId": [row % 8 * 101 for row in range(40)],
        "paid": [row % 8 * 101 for row in range(40)],
        "x": [index**2 % 17 for index in range(40)],
    }
    kinds = {feature.name: feature.kind for feature in TableEncoder.fit(table).features}
    assert kinds == {
        "zip": "categorical",
        "branch_code": "categorical",
        "storeId": "categorical",
        "paid": "numeric",
        "x": "numeric",
    }


def test_equal_values_are_one_value_however_they_are_given() -> None:
    encoder = TableEncoder.fit({"c": ["7", "7.0", "1", "8"] * 3}, kinds={"c": "categorical"})
    (feature,) = encoder.features
    assert isinstance(feature, CategoricalFeature)
    assert feature.categories == ("1", "7", "8")
    for values in ([7, 1], [7.0, True], ["7", "1.0"], ["7.00", "true"]):
        assert encoder.transform({"c": values}).argmax(axis=1).tolist() == [1, 0]


def test_heavy_tails_are_scaled_by_quantiles_and_bounded() -> None:
    x = [*np.random.default_rng(0).normal(size=200), 1e12]
    (feature,) = TableEncoder.fit({"x": x}).features
    assert isinstance(feature, NumericFeature)
    encoded = TableEncoder((feature,)).transform({"x": x}, np.float64)[:, 0]
    assert 0.5 < encoded[:200].std() < 1.5
    assert encoded[200] == pytest.approx(feature.clip)
    (normal,) = TableEncoder.fit({"x": x[:200]}).features
    assert isinstance(normal, NumericFeature)
    assert normal.clip == 0


@pytest.mark.parametrize("word", ["-", "#DIV/0!", "n.a.", "unknown"])
def test_a_few_words_among_numbers_are_named_with_their_place_and_what_to_do(tmp_path: Path, word: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{word if row == 20 else row % 7 / 2},{row * 37 % 11 / 3}\n" for row in range(40)))
    table = read_csv(str(path))
    with pytest.raises(ValueError, match=r"column 'x' holds numbers, but also .*row 21 \(line 22\): .*--missing"):
        TableModel.fit(table, "y", epochs=1, verbose=False)
    model = TableModel.fit(read_csv(str(path), missing=[word]), "y", epochs=1, verbose=False)
    assert model.encoder.names == ("x", "x missing")


def test_a_number_may_stand_for_a_missing_value() -> None:
    table = {"x": [1.0, 2.0, -999.0, 4.0], "t": ["1", "-999", "3", "4"]}
    encoder = TableEncoder.fit(table, missing=["-999"])
    assert encoder.names == ("x", "x missing", "t", "t missing")
    many, one = encoder.transform({"x": [-999, -999], "t": ["-999"] * 2}), encoder.transform({"x": -999, "t": "-999"})
    np.testing.assert_array_equal(many[:1], one)
    assert one[0, 1] == one[0, 3] == 1


def test_words_for_missing_values_are_classes_of_a_target_from_python_and_missing_in_a_file(tmp_path: Path) -> None:
    words = ["none", "some", "all"] * 10
    target = fit_target("y", words)
    assert getattr(target, "classes", None) == ("all", "none", "some")
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{row**2 % 13},{word}\n" for row, word in enumerate(words)))
    assert TableModel.fit(read_csv(str(path)), "y", epochs=1, verbose=False).classes == ("all", "some")
    model = TableModel.fit(read_csv(str(path), missing=["NA"]), "y", epochs=1, verbose=False)
    assert model.classes == ("all", "none", "some")


def test_words_that_a_file_was_read_with_stand_for_missing_values_wherever_it_is_used(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.csv", tmp_path / "marked.csv"
    rows = [(f"{row**2 % 13}.5", f"{row % 7}.25") for row in range(60)]
    plain.write_text("x,y\n" + "".join(f"{'' if row % 5 == 0 else x},{'' if row == 7 else y}\n" for row, (x, y) in enumerate(rows)))
    marked.write_text(plain.read_text().replace("\n,", "\n-999,").replace(",\n", ",-999\n"))
    whole, table = read_csv(str(plain)), read_csv(str(marked), missing=["-999"])
    features = TableEncoder.fit(whole).features
    assert all(feature.flagged for feature in features)
    for encoder in (TableEncoder.fit(table), TableEncoder.fit_chunks([table])):
        assert encoder.features == features
        assert encoder.missing == {"", "-999"}
    assert TableEncoder.fit_chunks([table], missing=["-1"]).features == TableEncoder.fit(table, missing=["-1"]).features != features
    model = TableModel.fit(whole, "y", epochs=1, verbose=False)
    np.testing.assert_array_equal(model.encoder.transform(table), model.encoder.transform(whole))
    assert model.evaluate(table).rows == 59
    assert model.evaluate(table).metrics == model.evaluate(whole).metrics


def test_an_encoding_can_be_told_and_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for encoding in ("latin-1", "cp1252", "utf-16", "utf-32"):
        path.write_bytes("Größe;Ort\n3;Köln\n".encode(encoding))
        assert read_csv(str(path), encoding=encoding) == {"Größe": ["3"], "Ort": ["Köln"]}
        told = f".* {encoding}" if encoding.startswith("utf") else ""
        with pytest.raises(ValueError, match=rf"t\.csv'.* not UTF-8 text.*--encoding{told}"):
            read_csv(str(path))
    path.write_bytes(b"x,y\n1,a\n2,\xe4\n")
    with pytest.raises(ValueError, match="line 3 is not UTF-8 text"):
        read_csv(str(path))
    with pytest.raises(ValueError, match="no encoding 'utf-9'"):
        read_csv(str(path), encoding="utf-9")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    for mark in ("", "\ufeff"):
        path.write_bytes((mark + "x,y\n1,\ufeff2\n").encode(encoding))
        assert read_csv(path, encoding=encoding) == {"x": ["1"], "y": ["\ufeff2"]}
    path.write_bytes("\ufeff".encode(encoding))
    with pytest.raises(ValueError, match="the first line must name the columns, it is empty"):
        read_csv(path, encoding=encoding)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("sep=|\na|b,c\n1|2\n", {"a": ["1"], "b,c": ["2"]}),
        ("a;b\n1,5;2,5\n3,5;4,5\n", {"a": ["1,5", "3,5"], "b": ["2,5", "4,5"]}),
        ("x (a;b;c),y\n1,2\n", {"x (a;b;c)": ["1"], "y": ["2"]}),
        ("x\n1,5\n2,5\n", {"x": ["1,5", "2,5"]}),
        ("x\n1\n\n3\n\n\n", {"x": ["1", "", "3"]}),
        ("x,y\r1,2\r3,4\r", {"x": ["1", "3"], "y": ["2", "4"]}),
        ("x,y\n1,2\n   \n\n3,4\n", {"x": ["1", "3"], "y": ["2", "4"]}),
        (f"x,y\n{'z' * 200_000},2\n", {"x": ["z" * 200_000], "y": ["2"]}),
    ],
)
def test_files_in_many_dialects_are_read(tmp_path: Path, text: str, columns: dict[str, list[str]]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, newline="")
    assert read_csv(str(path)) == columns
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert read_csv(str(tmp_path / "t.csv.gz")) == columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a,b\n1,2\n3,"4\n5,6\n', "line 3 opens a quote that is not closed"),
        ('a,b\n1,2\n3,"4" 5\n', "line 3: a quote that does not end its field"),
        ("Title\n\na,b\n1,2\n", "line 3 has 2 fields, the header names 1 columns.*the delimiter seems to be a comma"),
        ('a,b\n1,"2\n\n"\n3\n', "line 5 has 1 fields"),
    ],
)
def test_a_file_that_cannot_be_parsed_names_the_line_and_what_was_guessed(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"t\\.csv'.*{message}"):
        read_csv(str(path))


@pytest.mark.parametrize("rows", [0, 3])
def test_a_name_that_stands_twice_is_refused_in_every_kind_of_file(tmp_path: Path, rows: int) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.table([list(range(rows))] * 3, names=["x", "y", "x"]), path)
    for size in (None, 2):
        with pytest.raises(ValueError, match=r"twice.parquet': two columns of the table have the name 'x'"):
            list(parquet_chunks(str(path), Options(), size))
    with pytest.raises(ValueError, match=r"twice.parquet has the column 'x' more than once"):
        parquet(path, target="y")
    path = tmp_path / "twice.csv"
    path.write_text("x,y,x\n" + "1,2,3\n" * rows, encoding="utf-8")
    with pytest.raises(ValueError, match=r"twice.csv': the header names 'x' more than once"):
        read_csv(str(path))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"missing": "NA"}, TypeError, "missing must be a sequence of words, got the word 'NA'"),
        ({"decimal": "x"}, ValueError, "decimal must be"),
        ({"thousands": "_"}, ValueError, "thousands must be"),
        ({"decimal": ",", "thousands": ","}, ValueError, "decimal and thousands must differ"),
    ],
)
def test_a_file_is_read_from_a_path_with_the_options_that_a_table_has(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,2\n", encoding="utf-8")
    assert read_csv(path) == read_csv(path, thousands=".") == {"x": ["1"], "y": ["2"]}
    with pytest.raises(error, match=message):
        read_csv(path, **options)


def test_messages_name_the_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('x,note\n1,"two\nlines"\n\n2,a\nmany,a\n')
    encoder = TableEncoder.fit({"x": [1, 2], "note": ["a", "b"]})
    with pytest.raises(ValueError, match=r"row 3 holds 'many' \(line 6\)"):
        encoder.transform(read_csv(str(path)))


def test_a_target_of_words_that_hardly_ever_repeat_is_refused_unless_asked_for() -> None:
    names = [f"name {index}" for index in range(40)]
    with pytest.raises(ValueError, match="hardly ever repeats"):
        fit_target("y", names)
    assert fit_target("y", names, "classification").n_outputs == 40


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ignore": "town"}, TypeError, "ignore must be a list of names of columns, got 'town'"),
        ({"ignore": 5}, TypeError, "ignore must be a list of names of columns, got 5"),
        ({"kinds": ["x"]}, TypeError, r"kinds must be a mapping of the names of columns to the kind of each, got \['x'\]"),
        ({"dates": "%Y"}, TypeError, "dates must be a mapping of the names of columns to the format of each, got '%Y'"),
        ({"dates": {"x": "ISO"}}, ValueError, "the format in dates for column 'x' must be one with %, .*, got 'ISO'"),
        ({"dates": {"x": None}}, ValueError, "the format in dates for column 'x' must be one with %, .*, got None"),
        (
            {"dates": {"x": "%Y"}, "kinds": {"x": "numeric"}},
            ValueError,
            "dates has a format for column 'x', but kinds says .* 'numeric'",
        ),
        ({"missing": "NA"}, TypeError, "missing must be a sequence of words, got the word 'NA'"),
        ({"missing": ["NA", -999]}, TypeError, "missing must hold words as they stand in the table, got -999: write '-999'"),
        ({"max_categories": 0}, ValueError, "max_categories must be at least 1"),
        ({"decimal": ";"}, ValueError, "decimal must be one of ',', '.'"),
        ({"decimal": ",", "thousands": ","}, ValueError, "decimal and thousands must differ"),
        ({"dates": {"sold": "%Y"}}, ValueError, "no column 'sold'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TableEncoder.fit({"x": [1.0, 2.0], "town": ["a", "b"]}, **options)


def test_columns_may_be_named_by_numbers() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({1: [1, 2, 3] * 9, 2: ["2001", "2002", "2003"] * 9, 3: [1.5, 2.5, 4.0] * 9, 4: [0, 1, 1] * 9})
    options: dict[str, Any] = {"kinds": {1: "categorical"}, "dates": {2: "%Y"}}
    encoder = TableEncoder.fit(frame, ignore=[3, 4], **options)
    assert [feature.kind for feature in encoder.features] == ["categorical", "date"]
    assert encoder.config() == TableEncoder.fit_chunks([frame], ignore=[3, 4], **options).config()
    model = TableModel.fit(frame, 4, ignore=[3], epochs=1, verbose=False, **options)  # type: ignore[arg-type]
    assert [feature.kind for feature in model.encoder.features] == ["categorical", "date"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"delimiter": given}, f"delimiter must be one character, .*, got {given!r}") for given in ("", ",,", '"', "\n", 1)),
        *(({"encoding": given}, f"encoding must be the name of one, .*, got {given!r}") for given in ("", 1)),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands must differ"),
    ],
)
def test_ways_to_read_a_file_that_no_file_has_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=message.replace("\\", "\\\\")):
        read_csv(path, **options)


def test_numbers_beyond_2_to_the_53_stay_apart_and_are_scaled() -> None:
    ids = [2**53 + index for index in range(3)] * 4
    target = fit_target("y", ids, "classification")
    assert target.n_outputs == 3
    huge = TableEncoder.fit({"x": [10**30 + index**2 for index in range(20)]})
    assert np.abs(huge.transform({"x": [10**30]})).max() < 10


@pytest.mark.parametrize(
    ("learned", "options", "row", "others"),
    [
        (["1.234,5", "7.000,0", "2,5"], {}, "12.345", ["20.000,5"]),
        (["3.10", "3.1", "3.9", "2.7.18"], {}, "3.10", ["2.7.18"]),
        (["12E3", "45A1", "7E2"], {}, "12E3", ["45A1"]),
        (["0.10", "0.25", "0.50"], {"kinds": {"x": "categorical"}}, "0.10", ["a", "b"]),
        (["yes", "no"], {}, "1.0", ["yes"]),
        (["+1", "-1", "0"], {"kinds": {"x": "categorical"}}, "+1", ["new"]),
        (["+1", "-1", "0"], {"kinds": {"x": "categorical"}}, "1", ["new"]),
    ],
)
def test_a_row_of_a_file_is_encoded_alike_whatever_rows_are_beside_it(
    tmp_path: Path, learned: list[str], options: dict[str, Any], row: str, others: list[str]
) -> None:
    def table(texts: list[str]) -> Any:
        path = tmp_path / "table.csv"
        path.write_text("\n".join(["x;y", *(f"{text};a" for text in texts)]))
        return read_table(str(path), Options(delimiter=";"))

    in_file, in_list = TableEncoder.fit(table(learned * 4), **options), TableEncoder.fit({"x": learned * 4}, **options)
    assert in_file.config()["features"] == in_list.config()["features"]
    alone = in_list.transform({"x": row})
    assert alone.any()
    for texts in ([row], [row, *others], [row] * 9, [row, "0", "1"]):
        np.testing.assert_array_equal(in_list.transform(table(texts))[:1], alone)
        np.testing.assert_array_equal(in_list.transform({"x": texts})[:1], alone)


def test_numbers_of_a_file_that_are_classes_or_categories_keep_their_spelling(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("y,m,e\n" + "+1,1.50,1e3\n-1,1.50,20\n" * 3 + "+1,x,1e3\n-1,x,20\n" * 3)
    table = read_table(str(path), Options())
    assert ClassTarget.fit("y", table["y"]).classes == ClassTarget.fit("y", read_csv(str(path))["y"]).classes == ("-1", "1")
    assert ClassTarget.fit("e", table["e"]).labels == (20.0, 1000.0)
    names = {"ignore": ["y", "e"]}
    assert TableEncoder.fit_chunks(lambda: read_chunks(str(path), Options(), 6), **names).names == ("m=1.50", "m=x")
    assert TableEncoder.fit(read_csv(str(path)), **names).names == ("m=1.50", "m=x")


def test_times_of_day_lie_on_a_circle() -> None:
    encoder = TableEncoder.fit({"at": [time(hour) for hour in (0, 6, 12, 23)]})
    assert encoder.names == ("at elapsed", "at hour sin", "at hour cos")
    np.testing.assert_allclose(encoder.transform({"at": [time(6)]}, np.float64)[0, 1:], [1, 0], atol=1e-12)


@pytest.mark.parametrize("size", [2**53, 2**62, 2**64, 10**30])
@pytest.mark.parametrize("form", ["list", "text", "file", "chunks", "chunks of text"])
def test_large_whole_numbers_are_told_apart_in_every_form(tmp_path: Path, size: int, form: str) -> None:
    rows = np.random.default_rng(0).permutation(40)
    columns: dict[str, list[Any]] = {
        "rowid": [size + int(row) for row in rows],
        "rising": [size + row for row in range(40)],
        "customer_id": [size + row % 8 for row in range(40)],
        "x": [row**2 % 17 for row in range(40)],
    }
    texts = {name: [str(value) for value in values] for name, values in columns.items()}
    given: Any = columns if form in ("list", "chunks") else texts
    if form == "file":
        (tmp_path / "t.csv").write_text("\n".join([",".join(texts), *map(",".join, zip(*texts.values(), strict=True))]))
        given = read_table(str(tmp_path / "t.csv"), Options())
    if form.startswith("chunks"):
        chunks = [{name: values[start : start + 9] for name, values in given.items()} for start in range(0, 40, 9)]
        encoder = TableEncoder.fit_chunks(chunks)
    else:
        encoder = TableEncoder.fit(given)
    assert encoder.ignored.keys() == {"rowid", "rising"}
    assert encoder.ignored["rising"] == "numbers the rows"
    customer, x = encoder.features
    assert isinstance(customer, CategoricalFeature)
    assert len(customer.categories) == 8
    assert isinstance(x, NumericFeature)
