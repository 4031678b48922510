"""An encoding that is fitted chunk by chunk is that of all rows together, in memory that does not grow with them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backprop.tabular import TableEncoder, _distinct, _statistics

Columns = dict[str, Any]


def table(rows: int = 1000, seed: int = 0) -> Columns:
    """Columns of all kinds, with what is hard about them."""
    rng = np.random.default_rng(seed)
    heavy = rng.standard_t(1.5, rows)
    gaps = np.where(rng.random(rows) < 0.1, np.nan, rng.normal(5, 2, rows))
    days = [date(2020, 1, 1) + timedelta(int(day)) for day in rng.integers(0, 900, rows)]
    towns = np.array(["Rome", "Oslo", "Bern", "São Paulo", *(f"town {index}" for index in range(96))])
    return {
        "row": np.arange(rows) + 7,
        "customer id": rng.permutation(10 * rows)[:rows],
        "normal": rng.normal(3e5, 1e3, rows),
        "heavy": np.exp(heavy.clip(-30, 30)),
        "gaps": gaps,
        "count": rng.poisson(3, rows),
        "mostly zero": np.where(rng.random(rows) < 0.97, 0.0, rng.normal(size=rows)),
        "price": [f"{value:.2f} €".replace(".", ",") for value in rng.uniform(10, 9000, rows)],
        "text numbers": [None if value != value else f"{value:.3f}" for value in gaps],
        "member": [None if chance < 0.05 else "yes" if chance < 0.7 else "no" for chance in rng.random(rows)],
        "true": (rng.random(rows) < 0.3).tolist(),
        "town": towns[(rng.random(rows) ** 3 * 100).astype(int)].tolist(),
        "zip code": rng.integers(0, 30, rows) * 7,
        "postal": [f"0{number:04d}" for number in rng.integers(0, 40, rows)],
        "name": [f"name {index}" for index in rng.permutation(rows)],
        "sold": [None if chance < 0.1 else day for day, chance in zip(days, rng.random(rows), strict=True)],
        "when": [f"{day:%d.%m.%Y} {index % 24}:05" for index, day in enumerate(days)],
        "one": [4] * rows,
        "nothing": [None] * rows,
    }


def chunked(columns: Columns, size: int) -> list[Columns]:
    rows = len(columns["row"])
    return [{name: values[start : start + size] for name, values in columns.items()} for start in range(0, rows, size)]


def test_a_date_whose_parts_do_not_vary_is_left_out_however_it_comes() -> None:
    columns: Columns = {"row": list(range(60)), "x": [index % 7 for index in range(60)]}
    columns |= {"given": ["03/04/2024"] * 60, "spelled": ["2024-01-05", "2024-1-5"] * 30}
    dates = {"given": "%d/%m/%Y"}
    whole = TableEncoder.fit(columns, dates=dates)
    assert whole.names == ("x",)
    assert whole.ignored["given"] == whole.ignored["spelled"] == "holds one value only"
    assert_same(TableEncoder.fit_chunks(chunked(columns, 7), dates=dates), whole)


def assert_same(streamed: TableEncoder, whole: TableEncoder) -> None:
    """All exactly, but centres and scales, which differ by rounding."""
    assert streamed.ignored == whole.ignored
    assert streamed.notes == whole.notes
    found, expected = streamed.config(), whole.config()
    for one, other in zip(found["features"], expected["features"], strict=True):
        assert one.keys() == other.keys()
        for key, value in other.items():
            if key in ("centre", "scale", "year_centre", "year_scale"):
                assert one[key] == pytest.approx(value, rel=1e-12, abs=1e-12), (other["name"], key)
                if other.get("clip"):  # the median and a range of quantiles
                    assert one[key] == value
            else:
                assert one[key] == value, (other["name"], key)


@pytest.mark.parametrize("size", [1, 37, 400, 1000])
def test_chunks_give_what_the_whole_table_gives(size: int) -> None:
    columns = table(60 if size == 1 else 1000)
    whole = TableEncoder.fit(columns)
    assert {feature.kind for feature in whole.features} == {"numeric", "boolean", "categorical", "date"}
    assert any(getattr(feature, "clip", 0.0) for feature in whole.features)
    streamed = TableEncoder.fit_chunks(chunked(columns, size))
    assert_same(streamed, whole)
    np.testing.assert_allclose(
        streamed.transform(columns, np.float64), whole.transform(columns, np.float64), rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize(
    "options", [{"kinds": {"count": "categorical", "row": "numeric"}}, {"ignore": ["town"]}, {"max_categories": 5}]
)
def test_options_are_those_of_the_whole_table(options: dict[str, Any]) -> None:
    columns = table()
    assert_same(TableEncoder.fit_chunks(chunked(columns, 111), **options), TableEncoder.fit(columns, **options))


def test_quantiles_of_many_numbers_are_found_pass_by_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_statistics, "SORTED", 8)
    rng = np.random.default_rng(0)
    columns = {
        "row": rng.normal(size=20000),
        "narrow": 1e6 + 1e-6 * rng.standard_t(1.2, 20000),
        "repeated": np.repeat(rng.standard_cauchy(40), 500),
    }
    passes = 0

    def chunks() -> Iterator[Columns]:
        nonlocal passes
        passes += 1
        yield from chunked(columns, 3000)

    assert_same(TableEncoder.fit_chunks(chunks), TableEncoder.fit(columns))
    assert 4 <= passes <= 6


def test_order_statistics_are_those_of_a_sort() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.choice([-1.0, 1.0], 5000) * 10 ** rng.uniform(-308, 308, 5000), [0.0, -0.0, np.inf, -np.inf]])
    ordered = _statistics.OrderStatistics()
    ordered.add(values)
    ordered.want(range(0, len(values), 97))
    settled = False
    while not settled:
        ordered.add(values[:2000])
        ordered.add(values[2000:])
        settled = ordered.settle()
    assert ordered.found == {place: np.sort(values)[place] for place in range(0, len(values), 97)}


def test_columns_of_more_values_than_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What names the rows is told by a part of its values; the frequent categories are counted all the same."""
    monkeypatch.setattr(_distinct, "LIMIT", 150)
    columns = table()
    streamed, whole = TableEncoder.fit_chunks(chunked(columns, 100)), TableEncoder.fit(columns)
    assert streamed.ignored.keys() == whole.ignored.keys()
    assert streamed.names == whole.names
    assert_same(
        TableEncoder.fit_chunks(chunked(columns, 100), ignore=["name"], max_categories=3),
        TableEncoder.fit(columns, ignore=["name"], max_categories=3),
    )


def test_memory_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def chunks(count: int) -> Callable[[], Iterator[Columns]]:
        return lambda: (
            {"row": (rng := np.random.default_rng(seed)).standard_t(1.5, 5000), "town": rng.integers(0, 300, 5000).astype(str)}
            for seed in range(count)
        )

    peaks = []
    monkeypatch.setattr(_distinct, "LIMIT", 1 << 10)
    for count in (2, 8):
        tracemalloc.start()
        TableEncoder.fit_chunks(chunks(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_frames_and_parquet_files_come_in_chunks(tmp_path: Path) -> None:
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    columns = {name: values for name, values in table().items() if name not in ("nothing",)}
    frame = pandas.DataFrame(columns)
    whole = TableEncoder.fit(frame)
    frame.to_csv(tmp_path / "table.csv", index=False)
    in_file = TableEncoder.fit(pandas.read_csv(tmp_path / "table.csv"))
    assert_same(TableEncoder.fit_chunks(lambda: pandas.read_csv(tmp_path / "table.csv", chunksize=170)), in_file)
    from pyarrow import parquet

    import backprop as bp

    parquet.write_table(arrow.table({**columns, "y": np.arange(1000.0)}), tmp_path / "table.parquet", row_group_size=130)
    source = bp.data.parquet(tmp_path / "table.parquet", target="y")
    assert_same(TableEncoder.fit_chunks(source.tables), TableEncoder.fit(arrow.table(columns)))
    assert whole.names == TableEncoder.fit_chunks([frame[:500], frame[500:]]).names


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(TypeError, match="chunks must be a list, or a function that returns an iterable: an iterator"):
        TableEncoder.fit_chunks(iter([{"a": [1.0]}]))
    with pytest.raises(ValueError, match=r"chunk 1: all chunks must have the same columns, got \['b'\] after \['a'\]"):
        TableEncoder.fit_chunks([{"a": [1.0]}, {"b": [1.0]}])
    with pytest.raises(ValueError, match="chunks must hold at least one row and one column"):
        TableEncoder.fit_chunks([])
    with pytest.raises(ValueError, match="chunks have no column to learn from: 'a' holds one value only"):
        TableEncoder.fit_chunks([{"a": [1.0]}, {"a": [1.0]}])
    with pytest.raises(ValueError, match="chunk 1: column 'a' must hold a number in every row, row 1 holds 'x'"):
        TableEncoder.fit_chunks([{"a": [1.0, 2.0]}, {"a": ["x"]}], kinds={"a": "numeric"})
    with pytest.raises(ValueError, match="the kind of column 'a' must be one of"):
        TableEncoder.fit_chunks([{"a": [1.0]}], kinds={"a": "word"})
    with pytest.raises(ValueError, match="chunk 1: the table has no column 'zzz', 'dd', 'qq'; its columns are 'a'"):
        TableEncoder.fit_chunks([[], {"a": [1.5, 2, 3.7]}], kinds={"zzz": "numeric"}, ignore=["qq"], dates={"dd": "%Y"})


@pytest.mark.parametrize("later", [0, 1, 3])
def test_chunks_that_change_between_passes_are_refused(later: int) -> None:
    """A used-up iterator is one that gives no rows."""
    passes = iter([2, later, later, later, later, later, later])
    with pytest.raises(ValueError, match=f"the same rows each time they are read, got 4 rows at first and {2 * later} later"):
        TableEncoder.fit_chunks(lambda: [{"a": [1.0, 2.5]}] * next(passes))


@pytest.mark.parametrize("sort", [1, 1 << 14])
@pytest.mark.parametrize("column", ["number", "date"])
def test_numbers_that_change_between_passes_are_refused(column: str, sort: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that draws its rows anew has the same number of them."""
    monkeypatch.setattr(_statistics, "SORTED", sort)
    rng = np.random.default_rng(0)

    def chunks() -> Iterator[Columns]:
        values = rng.normal(rng.integers(-90, 90), 2, 400)
        yield {"number": values} if column == "number" else {"date": (values * 1e15).astype("M8[us]")}

    with pytest.raises(ValueError, match=f"got other values of '{column}': the numbers differ from those of an earlier pass"):
        TableEncoder.fit_chunks(chunks)


@pytest.mark.parametrize("values", [[1.5, 2.5], [True, False], ["one", "two"], [date(2020, 1, 2), date(2021, 3, 4)]])
def test_values_that_are_missing_in_a_later_pass_are_refused(values: list[Any]) -> None:
    passes = iter([values * 20, [None] * 40])
    with pytest.raises(ValueError, match="got other values of 'a': it holds no value any more"):
        TableEncoder.fit_chunks(lambda: [{"a": next(passes)}])


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_beyond_float64_stay_apart(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    top = 2**60 if dtype is np.int64 else 2**63 + 2**60
    rng = np.random.default_rng(0)
    columns = {
        "row": np.arange(100),
        "user_id": np.array([top + step % 4 for step in range(100)], dtype),
        "shuffled": np.array([top + step for step in rng.permutation(100).tolist()], dtype),
    }
    whole = TableEncoder.fit(columns)
    assert [feature.name for feature in whole.features] == ["user_id"]
    assert_same(TableEncoder.fit_chunks(chunked(columns, 30)), whole)
    monkeypatch.setattr(_distinct, "LIMIT", 40)  # hashes choose
    assert TableEncoder.fit_chunks(chunked(columns, 30)).names == whole.names


def test_numbers_are_counted_alike_whatever_their_type() -> None:
    distinct = _distinct.Distinct()
    for numbers in ([5, 2**60, 2**60 + 1], [5.0, 2.0**60, -0.0], [0]):
        distinct.add_numbers(np.array(numbers))
    assert distinct.counts == {5: 2, 2**60: 2, 2**60 + 1: 1, 0: 2}
    hashes = [
        _distinct.hashes_of_numbers(np.array([5, -7, -(2**60), 2**60], kind)).tolist() for kind in (np.int64, np.float64, object)
    ]
    assert hashes[0] == hashes[1] == hashes[2]
    assert len(set(_distinct.hashes_of_numbers(np.array([2**60, 2**60 + 1, 1e300, 2e300, np.inf], object)).tolist())) == 5


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ([1.0, 2.5, 4.0], [True, False, None], None),
        (["1.5", "2.5", "4"], [True, False, True], None),
        (["$5", "$6", "$7"], [True, False, True], "numeric"),
        ([True, False, True], [True, None, None], "numeric"),
        ([1.5, 2.5, 3.0], ["1,5", "7,25", "4"], None),
        ([1, "2,5", None], [True, "7,5", 2.5], None),
        ([2.5, "a", True], ["1,5", "2,5", "a"], None),
        ([5, 5, 5], ["5", "5.0", "5"], None),
        (["2024-01-31", "2024-03-04", None], ["25/01/2024", "1 May 2023", "2022-01-01"], "date"),
    ],
)
def test_chunks_of_other_types_and_spellings_give_what_the_whole_table_gives(
    first: list[Any], second: list[Any], kind: Any
) -> None:
    kinds = {"c": kind} if kind else {}
    y = [1.5, 7.0, 9.0] * 4
    for one, two in ((first * 4, second * 4), (second * 4, first * 4)):
        whole = TableEncoder.fit({"c": [*one, *two], "y": [*y, *y]}, kinds=kinds)
        parts = TableEncoder.fit_chunks([{"c": one, "y": y}, {"c": two, "y": y}], kinds=kinds)
        assert (parts.names, parts.ignored, parts.notes) == (whole.names, whole.ignored, whole.notes)
        for table in ({"c": one, "y": y}, {"c": two, "y": y}):
            np.testing.assert_allclose(parts.transform(table), whole.transform(table), atol=1e-6)


@pytest.mark.parametrize("others", [["a", "b", "a"], [1.5, 2.5, 4.0], ["2024-01-31", None, None], [True, False, None]])
def test_dates_in_some_chunks_and_others_in_some_are_refused_as_in_one_table(others: list[Any]) -> None:
    days = [date(2024, 1, 1), None, date(2023, 5, 6)]
    for one, two in ((days, others), (others, days)):
        with pytest.raises(TypeError, match=r"column 'c' must hold .* holds a date"):
            TableEncoder.fit({"c": [*one, *two]})
        with pytest.raises(TypeError, match="column 'c' must hold values of one kind in all chunks, holds dates in some"):
            TableEncoder.fit_chunks([{"c": one}, {"c": two}])


def test_errors_about_the_sample_name_no_row() -> None:
    chunks = [{"a": [*map(str, range(30)), *map(str, range(30))]}, {"a": ["unknown", "7"]}]
    with pytest.raises(ValueError, match="column 'a' holds numbers, but also 'unknown': correct that"):
        TableEncoder.fit_chunks(chunks)
