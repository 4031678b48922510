"""Tables: exports take the rows as they are and predict what the model predicts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_c import STRICT, compiler

import backprop as bp
from backprop.tabular import TableModel

pytestmark = pytest.mark.once

Rows = list[dict[str, Any]]


def table(seed: int, count: int = 160) -> Rows:
    """Rows with every kind of column, and gaps in each."""
    rng = np.random.default_rng(seed)

    def gap(value: Any, share: float = 0.1) -> Any:
        return None if rng.random() < share else value

    rows: Rows = []
    for _ in range(count):
        area, town = rng.uniform(40, 200), str(rng.choice(["Rome", "Oslo", "Lima", 'Saint-"É" <?'], p=[0.4, 0.3, 0.2, 0.1]))
        sold = datetime(1965, 1, 1, 7, 30) + timedelta(seconds=int(rng.integers(2_000_000_000)))
        rows.append(
            {
                "area, m2": gap(area),
                "tail": gap(float(rng.standard_cauchy() * 100)),
                "unix": 1.7e9 + float(rng.integers(100_000)),
                "town": gap(town),
                "zip code": int(rng.integers(3, 7)),
                "garden": gap(str(rng.choice(["yes", "no"]))),
                "new": bool(rng.integers(2)),
                "sold": gap(sold),
                "price": 1e6 + 1000 * area + 50_000 * (town == "Rome"),
                "grade": int(rng.integers(1, 4)),
                "kind": str(rng.choice(["good", "bad"])),
            }
        )
    return rows


@pytest.fixture(scope="module")
def models() -> dict[str, TableModel]:
    """A model of a number, of integer labels, and of words."""
    kinds = {"zip code": "categorical", "sold": "date", "new": "boolean"}
    fitted = {}
    for target in ("price", "grade", "kind"):
        others = [name for name in ("price", "grade", "kind") if name != target]
        options: dict[str, Any] = {"task": "classification"} if target == "grade" else {}
        fitted[target] = TableModel.fit(
            table(0), target=target, kinds=kinds, ignore=others, epochs=4, hidden=(12,), activation="relu", **options
        )
    features = {feature.name: feature for feature in fitted["price"].encoder.features}
    assert [feature.kind for feature in features.values()] == [*["numeric"] * 3, *["categorical"] * 2, *["boolean"] * 2, "date"]
    assert features["tail"].clip
    assert features["sold"].parts == ("elapsed", "year", "month", "weekday", "hour")
    return fitted


def unseen() -> Rows:
    """New rows, one of which has a town that training has not seen, and one nothing but gaps."""
    rows = table(1, 60)
    rows[0]["town"] = "Paris"
    rows[1] |= dict.fromkeys(["area, m2", "tail", "town", "garden", "sold"])
    rows[2]["sold"] = datetime(1900, 2, 28, 23, 59)
    rows[3]["sold"] = datetime(2000, 2, 29)
    return rows


def assert_near(found: Any, expected: np.ndarray, scale: float = 1.0) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=1e-5, atol=1e-5 * scale)


def seconds(value: Any) -> float:
    if value is None:
        return np.nan
    return value.replace(tzinfo=UTC).timestamp() if isinstance(value, datetime) else float(value)


def inputs(model: Any, rows: Rows) -> dict[str, np.ndarray]:
    """The rows as an ONNX model takes them: columns of text or of float64."""
    found = {}
    for entry in model.graph.input:
        values = [row[entry.name] for row in rows]
        if entry.type.tensor_type.elem_type == 8:
            column = np.array(["" if value is None else str(value) for value in values], object)
        else:
            column = np.array([seconds(value) for value in values], np.float64)
        found[entry.name] = column.reshape(-1, 1)
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("runtime", ["onnxruntime", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", ["price", "grade", "kind"])
def test_onnx_takes_columns(target: str, dtype: str, runtime: str, models: dict[str, TableModel]) -> None:
    pytest.importorskip("onnx")
    from test_onnx import run

    model = models[target]
    exported = bp.export.onnx(model, dtype=dtype)
    for rows in (unseen(), unseen()[:1], []):
        results = run(exported, inputs(exported, rows), runtime)
        if target == "price":
            assert [output.name for output in exported.graph.output] == ["price"]
            assert results[0].shape == (len(rows), 1)
            if rows:
                assert_near(results[0][:, 0], model.predict(rows))
        else:
            assert [output.name for output in exported.graph.output] == ["label", "probabilities"]
            assert results[1].shape == (len(rows), len(model.classes))
            if rows:
                assert results[0].tolist() == model.predict(rows).tolist()
                assert_near(results[1], model.predict_proba(rows))


def test_onnx_standardises_in_double_precision() -> None:
    """Seconds of the Unix clock differ by less than float32 holds."""
    pytest.importorskip("onnx")
    from test_onnx import run

    clock = (1.7e9 + np.arange(64) * 3.0 + np.random.default_rng(0).permutation(64)).tolist()
    model = TableModel.fit(
        {"clock": clock, "y": np.sin(np.arange(64.0)).tolist()}, target="y", epochs=3, kinds={"clock": "numeric"}
    )
    (found,) = run(bp.export.onnx(model), {"clock": np.array(clock)[:, None]}, "onnxruntime")
    assert_near(found[:, 0], model.predict({"clock": clock}))
    assert len(np.unique(found)) > 32


def test_onnx_names_what_it_cannot(models: dict[str, TableModel]) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match="input_name is for a network"):
        bp.export.onnx(models["price"], input_name="x")
    with pytest.raises(ValueError, match="the model predicts the number 'price'"):
        bp.export.onnx(models["price"], outputs="classes")
    assert [output.name for output in bp.export.onnx(models["kind"], outputs="raw").graph.output] == ["output"]


C_MAIN = """
#include <stdio.h>
#define HOUSES_TEST
#include "houses.c"
int main(void) {{
    float x[HOUSES_INPUTS], y[HOUSES_OUTPUTS];
{rows}
    return houses_test();
}}
"""


@pytest.mark.parametrize("tool", ["gcc", "clang++", "sanitizers"])
@pytest.mark.parametrize("target", ["price", "kind"])
def test_c_takes_a_number_for_each_column(target: str, tool: str, models: dict[str, TableModel], tmp_path: Path) -> None:
    model, rows = models[target], unseen()
    bp.export.c(model, tmp_path / "houses.c")
    lines = []
    for row in rows:
        for index, feature in enumerate(model.encoder.features):
            value = row[feature.name]
            if (
                isinstance(value, str)
                or (value is None and feature.kind in ("categorical", "boolean"))
                or feature.name == "zip code"
            ):
                number = f"houses_word({index}, {json.dumps('' if value is None else str(value), ensure_ascii=False)})"
            elif value is None:
                number = "0.0f / 0.0f"
            else:
                number = repr(seconds(value) / 86_400 if isinstance(value, datetime) else float(value))
            lines.append(f"    x[{index}] = (float)({number});")
        lines.append("    houses_predict(x, y);")
        lines.append('    for (int i = 0; i < HOUSES_OUTPUTS; i++) printf("%.9g ", (double)y[i]);')
        if target == "kind":
            lines.append('    printf("%s", houses_classes[houses_label(x)]);')
        lines.append('    printf("\\n");')
    (tmp_path / "main.c").write_text(C_MAIN.format(rows="\n".join(lines).replace("?", "\\?")))
    subprocess.run([*compiler(tool), *STRICT, "main.c", "-o", "program", "-lm"], cwd=tmp_path, check=True)
    done = subprocess.run(["./program"], cwd=tmp_path, capture_output=True, text=True, check=True)
    printed = [line.split() for line in done.stdout.splitlines()]
    single = [{**row, "unix": float(np.float32(row["unix"])), "sold": in_single(row["sold"])} for row in rows]
    if target == "price":
        expected = model.predict(single)
        assert_near([line[0] for line in printed], expected, np.ptp(expected))
    else:
        outputs = model.network.predict(model.encoder.transform(single))
        assert_near([line[:-1] for line in printed], outputs, np.abs(outputs).max())
        assert [line[-1] for line in printed] == model.predict(single).tolist()


def in_single(moment: datetime | None) -> datetime | None:
    """The moment that days since 1970 in float32 stand for."""
    if moment is None:
        return None
    days = float(np.float32(moment.replace(tzinfo=UTC).timestamp() / 86_400))
    return datetime(1970, 1, 1) + timedelta(microseconds=round(days * 86_400e6))


def test_the_parity_vectors_of_c_notice_another_model(models: dict[str, TableModel], tmp_path: Path) -> None:
    changed = bp.export.c(models["price"], name="houses").replace("z < 0.0f ? 0.0f : z", "z")
    (tmp_path / "houses.c").write_text(changed)
    (tmp_path / "main.c").write_text('#define HOUSES_TEST\n#include "houses.c"\nint main(void) { return houses_test() != 4; }\n')
    subprocess.run([*compiler("gcc"), "main.c", "-o", "program", "-lm"], cwd=tmp_path, check=True)
    subprocess.run(["./program"], cwd=tmp_path, check=True)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("target", ["price", "grade", "kind"])
def test_javascript_takes_objects(target: str, models: dict[str, TableModel], tmp_path: Path) -> None:
    model, rows = models[target], unseen()
    bp.export.js(model, tmp_path / "houses.mjs")
    code = """
import * as houses from "./houses.mjs";
import {readFileSync} from "node:fs";
const rows = JSON.parse(readFileSync(0, "utf8"));
const dated = rows.map(row => ({...row, sold: row.sold === null ? null : new Date(`${row.sold.replace(" ", "T")}Z`)}));
const p = houses.probabilities ? rows.map(houses.probabilities) : null;
console.log(JSON.stringify({y: rows.map(houses.predict), dated: dated.map(houses.predict), p, labels: houses.labels}));
let message = "";
for (const change of [{town: undefined}, {"area, m2": "wide"}, {new: "perhaps"}, {sold: "soon"}]) {
  try { houses.predict({...rows[5], ...change}); message += "taken\\n"; } catch (error) { message += `${error.message}\\n`; }
}
const {unix, ...rest} = rows[5];
try { houses.predict(rest); } catch (error) { message += error.message; }
console.error(message);
"""
    (tmp_path / "driver.mjs").write_text(code)
    texts = json.dumps(rows, default=str)
    done = subprocess.run(["node", "driver.mjs"], input=texts, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["y"] == found["dated"]
    assert done.stderr.splitlines() == [
        "taken",
        'area, m2 must be a finite number, got "wide"',
        'new must be true or false, got "perhaps"',
        'sold must be a date, got "soon"',
        "the row has no unix",
    ]
    if target == "price":
        assert_near(found["y"], model.predict(rows))
        assert found["labels"] == []
    else:
        assert found["y"] == model.predict(rows).tolist()
        assert_near(found["p"], model.predict_proba(rows))
        assert found["labels"] == list(model.classes)


NODE = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def predicted(model: TableModel, rows: Rows, folder: Path, zone: str = "UTC") -> list[Any]:
    """What the module of a model predicts for rows, in a time zone; "refused" for those that it refuses."""
    bp.export.js(model, folder / "model.mjs")
    code = """
import {predict} from "./model.mjs";
import {readFileSync} from "node:fs";
const rows = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(rows.map(row => {
  try { return predict(row); } catch (error) { return /must be/.test(error.message) ? "refused" : String(error); }
})));
"""
    (folder / "driver.mjs").write_text(code)
    done = subprocess.run(
        ["node", "driver.mjs"],
        input=json.dumps(rows),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TZ": zone},
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def expected_of(model: TableModel, rows: Rows) -> list[Any]:
    found: list[Any] = []
    for row in rows:
        try:
            found.append(model.predict([row])[0].item())
        except ValueError:
            found.append("refused")
    return found


def assert_alike(found: list[Any], expected: list[Any], rows: Rows) -> None:
    assert [value == "refused" for value in found] == [value == "refused" for value in expected], rows
    numbers = [(one, other) for one, other in zip(found, expected, strict=True) if other != "refused"]
    np.testing.assert_allclose(*np.array(numbers).T, rtol=1e-4, atol=1e-4)


def fitted(name: str, values: list[Any], **options: Any) -> TableModel:
    y = np.random.default_rng(1).normal(size=len(values)).tolist()
    return TableModel.fit({name: values, "y": y}, target="y", epochs=2, hidden=(4,), verbose=False, **options)


MOMENTS = [datetime(1960, 1, 1) + timedelta(seconds=int(s)) for s in np.random.default_rng(0).integers(0, 3_000_000_000, 120)]
DATES = [
    *(
        "2020-01-02",
        "25/03/2020",
        "03/25/2020",
        "02/03/2020",
        "5 Mar 2021",
        "Mar 5, 2021",
        "2020-02-30",
        "2020-12-31 24:00",
        "02.03.2020",
        "02/03/2020 10:00:00.5",
        "soon",
    ),
    *("2020-06-01T12:00:00Z", "2020-06-01 12:00:00+02:00", "2020-06-01 12:30 AM", "2020-6-1", "2020/06/01", "1/2/99", "10:30", ""),
]


@NODE
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize(
    ("form", "given"),
    [
        *[("%Y-%m-%d", False), ("%d.%m.%Y %H:%M", False), ("%m/%d/%Y", False), ("%d/%m/%y", True), ("%d %b %Y", False)],
        *[("%Y%m%d", True), ("%H:%M", True), ("%I:%M:%S.%f %p", True), ("%d (%B) %Y", True)],
    ],
)
def test_javascript_reads_dates_as_the_training_data_spelled_them(form: str, given: bool, zone: str, tmp_path: Path) -> None:
    texts = [moment.strftime(form) for moment in MOMENTS]
    model = fitted("day", texts, kinds={"day": "date"}, **({"dates": {"day": form}} if given else {}))
    rows = [{"day": text} for text in [*texts[:20], *DATES]]
    assert_alike(predicted(model, rows, tmp_path, zone), expected_of(model, rows), rows)


@NODE
@pytest.mark.parametrize(("decimal", "thousands"), [(".", ""), (",", ""), (",", "."), (".", ","), (".", "'"), (",", " ")])
def test_javascript_reads_numbers_as_the_training_data_spelled_them(decimal: str, thousands: str, tmp_path: Path) -> None:
    plain = [f"{value:,.2f}" for value in np.random.default_rng(0).uniform(0, 9999, 100)]
    values = [text.translate(str.maketrans({",": thousands, ".": decimal})) for text in plain]
    model = fitted("size", values, kinds={"size": "numeric"})
    rows: Rows = [{"size": value} for value in [*values[:10], "1234", "1234.5", "0x10", "many", "$5", "(12)", "12 %", "-1e-3", ""]]
    rows += [{"size": value} for value in [1.5, True, None]]
    rows += [{"size": "1.000"}] if thousands in ("", ".") else []
    assert_alike(predicted(model, rows, tmp_path), expected_of(model, rows), rows)


@NODE
def test_any_word_may_be_a_category_or_the_name_of_a_column_in_javascript(tmp_path: Path) -> None:
    for name, categories in [
        ("MISSING", ["__proto__", "constructor", '"__proto__": ', "COLUMNS", "NUMBERS"]),
        ("DATES", [0.25, 1e-5, 2.5e-7, 1e16, 1e22]),
        ("flag", [True, False]),
    ]:
        model = fitted(name, categories * 12, kinds={name: "categorical"})
        rows = [{name: category} for category in categories]
        assert len(set(model.predict(rows).tolist())) == len(categories)
        assert_alike(predicted(model, rows, tmp_path), expected_of(model, rows), rows)


@NODE
def test_labels_that_javascript_would_round_are_text(tmp_path: Path) -> None:
    labels = [2**60, 2**60 + 1]
    x = np.linspace(-1, 1, 60)
    table = {"x": x.tolist(), "y": [labels[int(value > 0)] for value in x]}
    model = TableModel.fit(table, target="y", task="classification", epochs=40, hidden=(4,), verbose=False)
    rows = [{"x": -1.0}, {"x": 1.0}]
    assert predicted(model, rows, tmp_path) == [str(label) for label in model.predict(rows).tolist()] == list(map(str, labels))


def test_whole_numbers_are_one_category_however_they_are_written_in_every_export(tmp_path: Path) -> None:
    table = {"code": ["1", "-2", "0", "007", "x"] * 16, "y": [0.5, 3.0, -1.5, 7.5, 2.0] * 16}
    model = TableModel.fit(
        table, "y", task="regression", kinds={"code": "categorical"}, missing=["-9"], epochs=3, hidden=(4,), verbose=False
    )
    texts = ["1", "+1", "1.0", "1.", "+1.00", "-2", "-2.0", "0", "+0", "007", "007.0", "+-2", "1.01", "-9", "-9.0", "x", "y"]
    expected = model.predict({"code": texts})
    if shutil.which("node") is not None:
        assert_near(predicted(model, [{"code": text} for text in texts], tmp_path), expected)
    bp.export.c(model, tmp_path / "houses.c")
    lines = [f'    x[0] = houses_word(0, "{text}"); houses_predict(x, y); printf("%.9g\\n", (double)y[0]);' for text in texts]
    (tmp_path / "main.c").write_text(C_MAIN.format(rows="\n".join(lines)))
    subprocess.run([*compiler("gcc"), *STRICT, "main.c", "-o", "program", "-lm"], cwd=tmp_path, check=True)
    done = subprocess.run(["./program"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert_near(list(map(float, done.stdout.split())), expected)
    pytest.importorskip("onnx")
    from test_onnx import run

    (found,) = run(bp.export.onnx(model), {"code": np.array(texts, object)[:, None]}, "onnxruntime")
    assert_near(found[:, 0], expected)


def test_numbers_that_stand_for_a_missing_value_do_so_in_every_export(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(80) < 0.2, -999.0, rng.uniform(0, 10, 80))
    tails = np.where(rng.random(80) < 0.2, -999.0, rng.standard_cauchy(80) * 100)
    table = {"size": values.tolist(), "tail": tails.tolist(), "y": (values > 5).astype(float).tolist()}
    model = TableModel.fit(table, target="y", task="regression", missing=["-999", "n.a."], epochs=3, hidden=(4,), verbose=False)
    assert [bool(feature.clip) for feature in model.encoder.features] == [False, True]
    rows: Rows = [{"size": -999.0, "tail": 1.0}, {"size": 5.0, "tail": -999.0}, {"size": 5.0, "tail": 1.0}]
    expected = model.predict(rows)
    if shutil.which("node") is not None:
        assert_near(predicted(model, rows, tmp_path), expected)
    text = bp.export.c(model, tmp_path / "houses.c")
    assert "x[0] size: a number, NaN or -999 where it is missing" in text
    lines = [
        f'    x[0] = {row["size"]}f, x[1] = {row["tail"]}f; houses_predict(x, y); printf("%.9g\\n", (double)y[0]);' for row in rows
    ]
    (tmp_path / "main.c").write_text(C_MAIN.format(rows="\n".join(lines)))
    subprocess.run([*compiler("gcc"), *STRICT, "main.c", "-o", "program", "-lm"], cwd=tmp_path, check=True)
    done = subprocess.run(["./program"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert_near(list(map(float, done.stdout.split())), expected)
    pytest.importorskip("onnx")
    from test_onnx import run

    columns = {name: np.array([[row[name]] for row in rows]) for name in ("size", "tail")}
    (found,) = run(bp.export.onnx(model), columns, "onnxruntime")
    assert_near(found[:, 0], expected)


@pytest.mark.parametrize("dates", [["2020-01-01", None], ["2020-01-06", "2020-01-07"], ["2020-01-06 10:00", "2020-01-06 11:00"]])
def test_strict_compilers_take_every_part_of_a_date(dates: list[Any], tmp_path: Path) -> None:
    model = fitted("day", dates * 30, kinds={"day": "date"})
    bp.export.c(model, tmp_path / "model.c")
    for tool in ("gcc", "g++"):
        subprocess.run([*compiler(tool), *STRICT, "-DMODEL_TEST", "-c", "model.c"], cwd=tmp_path, check=True)


def test_a_column_without_a_name_is_named_by_onnx() -> None:
    pytest.importorskip("onnx")
    for name, target in [("", "y"), ("x", "")]:
        model = TableModel.fit({name: [1.0, 2.5, 4.0] * 9, target: [1.5, 2.0, 3.0] * 9}, target=target, epochs=1, verbose=False)
        with pytest.raises(ValueError, match="a column '' without a name"):
            bp.export.onnx(model)
