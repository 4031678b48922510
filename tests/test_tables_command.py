"""`backprop train`, `evaluate` and `predict` on tables that would fool a person: what they say, keep and leave alone."""

from __future__ import annotations

import importlib
import os
import random
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from backprop import cli, kernels
from backprop._commands import runs, tables
from backprop.tabular import TableModel


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    """What a command printed and complained about; it must end with this exit code."""
    try:
        ended = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        ended = int(stop.code or 0)
    output, errors = capsys.readouterr()
    assert ended == code, errors
    return output, errors


def write(path: Path, header: str, line: Callable[[random.Random], str], rows: int = 200) -> Path:
    """A file of random rows."""
    rng = random.Random(0)
    path.write_text(header + "\n" + "".join(line(rng) + "\n" for _ in range(rows)), encoding="utf-8")
    return path


def rare(rng: random.Random) -> str:
    """A number that says little about a class of which one row in fifteen is."""
    found = rng.random() < 1 / 15
    return f"{rng.gauss(found, 1):.4f},{'Yes' if found else 'No'}"


def priced(rng: random.Random) -> str:
    """A price that follows from an area and a town."""
    area, town = rng.uniform(40, 200), rng.choice(["Rome", "Oslo"])
    return f"{area:.1f},{town},{3000 * area + 50_000 * (town == 'Oslo'):.2f}"


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """A table of prices."""
    return write(tmp_path / "houses.csv", "area,town,price", priced)


def test_a_share_of_the_rows_is_set_apart_and_judged_beside_the_naive_answer(
    capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path
) -> None:
    told, _ = run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--test", 0.25, "--epochs", 40)
    assert "120 to learn from, 30 to judge by, 50 set apart as a test" in told
    assert re.search(r"rmse +[\d.,]+ +[\d.,]+", told)
    assert re.search(r"epochs +40 of at most 40, the best is \d+; stopped at the limit", told)


def test_a_file_of_test_rows_does_not_change_the_model(capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.csv", "price,town,area", lambda r: ",".join(priced(r).split(",")[::-1]), 60)
    models = []
    for options in ((), ("--test", test)):
        told, _ = run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--epochs", 3, *options)
        models.append((tmp_path / "m").read_bytes())
    assert models[0] == models[1]
    assert "60 set apart as a test" in told


def test_the_scale_of_the_target_comes_from_the_rows_to_learn_from(tmp_path: Path) -> None:
    y = np.arange(40.0) ** 2
    model = TableModel.fit({"x": y % 17, "y": y}, "y", epochs=1, verbose=False, validation=0.5, seed=3)
    assert model.target.mean != y.mean()  # type: ignore[union-attr]


def test_cross_validation_judges_every_row_once(capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path) -> None:
    told, _ = run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--folds", 4, "--epochs", 3)
    assert len(re.findall(r"^fold +\d of 4: rmse", told, re.MULTILINE)) == 4
    assert re.search(r"^folds +r2 \S+ \+- \S+ over 4 parts", told, re.MULTILINE)
    assert "needs at least" in run(capsys, "train", houses, "--target", "price", "--folds", 150, code=1)[1]
    assert "at least 2" in run(capsys, "train", houses, "--target", "price", "--folds", 1, code=2)[1]


def test_a_rare_class_that_is_never_predicted_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "x,y", rare, 600)
    told, _ = run(capsys, "train", table, "--target", "y", "--out", tmp_path / "m", "--epochs", 5)
    assert "class 'Yes' has" in told
    assert "the model never says 'Yes'" in told
    assert "saying 'Yes' from a probability of" in told
    assert re.search(r"balanced_accuracy +0\.5000 +0\.5000", told)


def test_what_makes_a_result_too_good_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def line(rng: random.Random) -> str:
        x = rng.random()
        return f"{x},{1 - 2 * x},{rng.choice('abc')},{'late' if x > 0.5 else 'early'}"

    table = write(tmp_path / "t.csv", "x,copy,c,y", line)
    told, _ = run(capsys, "train", table, "--target", "y", "--out", tmp_path / "m", "--epochs", 1)
    assert "warning     x alone tells the target" in told
    assert "warning     copy says the same as x" in told
    assert "c alone" not in told
    twice = write(tmp_path / "t.csv", "x,y", lambda rng: "\n".join([f"{rng.random()},{rng.random()}"] * 2), 100)
    told, _ = run(capsys, "train", twice, "--target", "y", "--out", tmp_path / "m", "--epochs", 1)
    assert re.search(r"\d+ of the 40 rows to judge by are also among those to learn from", told)


def test_a_date_that_does_not_vary_is_named_and_left_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "x,d,y", lambda rng: f"{rng.random()},03/04/2024,{rng.random()}")
    options = ["--target", "y", "--date", "d=%d/%m/%Y", "--out", tmp_path / "m", "--epochs", 1]
    assert "ignored     d: holds one value only" in run(capsys, "train", table, *options)[0]


def test_the_importance_of_columns_is_measured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "noise,x,y", lambda r: f"{r.random()},{(x := r.random())},{3 * x + r.gauss(0, 0.1)}")
    options = ["--epochs", 30, "--importance", "--lr", 0.01]
    told, _ = run(capsys, "train", table, "--target", "y", "--out", tmp_path / "m", *options)
    assert told.index("\n            x ") < told.index("\n            noise ")
    told, _ = run(capsys, "evaluate", tmp_path / "m", table, "--importance")
    assert re.search(r"r2 +0\.\d+", told)
    assert told.index("\n            x ") < told.index("\n            noise ")


def test_evaluate_judges_a_model_on_other_rows(capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path) -> None:
    run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--epochs", 3, "--quiet")
    told, errors = run(capsys, "evaluate", tmp_path / "m", houses)
    assert errors == ""
    assert "200 with a value of 'price'" in told
    assert "naive" in told
    assert (
        "no column 'price'" in run(capsys, "evaluate", tmp_path / "m", write(tmp_path / "n.csv", "area", lambda r: "1"), code=1)[1]
    )
    assert "not a safetensors file" in run(capsys, "evaluate", houses, houses, code=1)[1]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name in ("src", "href") for name, _ in attrs)
        self.seen.append(tag)
        if tag not in ("meta", "path", "rect", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_the_report_is_one_whole_page_that_needs_nothing_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str
) -> None:
    table = write(tmp_path / "t.csv", "x,<b>&y", rare if kind == "classes" else lambda r: f"{r.random()},{r.random()}")
    out = ["--out", tmp_path / "m", "--report", tmp_path / "r.html"]
    told, _ = run(capsys, "train", table, "--target", "<b>&y", "--epochs", 4, "--test", 0.2, "--folds", 2, *out)
    assert f"report      {tmp_path / 'r.html'}" in told
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.seen.count("svg") == (2 if kind == "classes" else 3)
    assert "Predicting &lt;b&gt;&amp;y" in page
    assert "<b>&y" not in page
    assert ("recall" in page) is (kind == "classes")


def test_the_report_says_what_is_unusual_about_the_run_and_what_to_try(
    capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path
) -> None:
    report = ["--target", "price", "--out", tmp_path / "m", "--report", tmp_path / "r.html"]

    def diagnosis(*options: object) -> str:
        run(capsys, "train", houses, *report, *options)
        page = (tmp_path / "r.html").read_text(encoding="utf-8")
        return page[page.index("<h2>Diagnosis") : page.index("<h2>Data")]

    assert "Nothing unusual was found." in diagnosis()
    deep = diagnosis("--activation", "sigmoid", "--hidden", "8,8,8,8,8,8,8,8", "--epochs", 3)
    assert "vanishing gradients" in deep
    assert "<b>Try:</b>" in deep


def test_importance_is_measured_on_the_rows_that_are_judged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A word that stands for a missing value in training does so in evaluation."""
    table = write(tmp_path / "gaps.csv", "x,y", lambda rng: f"{rng.random():.3f},{'-999' if rng.random() < 0.2 else rng.random()}")
    run(capsys, "train", table, "--target", "y", "--out", tmp_path / "m", "--epochs", 1, "--missing=-999", "--quiet")
    printed, _ = run(capsys, "evaluate", tmp_path / "m", table, "--importance", "--missing=-999")
    assert "importance" in printed
    assert run(capsys, "evaluate", tmp_path / "m", table, "--importance")[0] == printed


def test_the_data_file_is_never_overwritten(capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path) -> None:
    before = houses.read_bytes()
    for options in (["--out", houses], ["--out", tmp_path / "m", "--report", houses]):
        assert "is the file that is read" in run(capsys, "train", houses, "--target", "price", *options, code=1)[1]
    run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--epochs", 1, "--quiet")
    for path in (houses, tmp_path / "m"):
        assert "is the file that is read" in run(capsys, "predict", tmp_path / "m", houses, "--out", path, code=1)[1]
    assert houses.read_bytes() == before


def test_columns_are_kept_beside_predictions(capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path) -> None:
    run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--epochs", 1, "--quiet")
    output, _ = run(capsys, "predict", tmp_path / "m", houses, "--keep", "town,area", "--keep", "price")
    lines = output.splitlines()
    assert lines[0] == "town,area,price,predicted price"
    area, town, price = houses.read_text().splitlines()[1].split(",")
    assert lines[1].startswith(f"{town},{area},{price},")
    assert "no column 'twon'" in run(capsys, "predict", tmp_path / "m", houses, "--keep", "twon", code=1)[1]


def test_every_column_of_the_predictions_has_a_name_of_its_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    header = "y,predicted y,probability of a"
    table = write(tmp_path / "t.csv", header, lambda rng: f"{rng.choice('ab')},{rng.random()},{rng.random()}")
    run(capsys, "train", table, "--target", "y", "--out", tmp_path / "m", "--epochs", 1, "--quiet")
    output, _ = run(capsys, "predict", tmp_path / "m", table, "--keep", header, "--keep", "y", "--proba")
    added = "predicted predicted y,predicted probability of a,probability of b"
    assert output.splitlines()[0] == f"{header},{added}"


def test_predictions_in_pieces_are_those_of_the_whole(
    capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backprop._commands import tables

    run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--epochs", 1, "--quiet")
    whole, _ = run(capsys, "predict", tmp_path / "m", houses)
    monkeypatch.setattr(tables, "_CHUNK", 7)
    in_pieces, _ = run(capsys, "predict", tmp_path / "m", houses)
    assert in_pieces.splitlines()[0] == whole.splitlines()[0] == "price"
    np.testing.assert_allclose(*(np.array(text.split()[1:], float) for text in (in_pieces, whole)), rtol=1e-5)
    if kernels.compiled() is not None:  # NumPy's products round otherwise where there are fewer rows
        assert in_pieces == whole
    run(capsys, "predict", tmp_path / "m", houses, "--out", tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_text() == in_pieces
    with houses.open("a") as file:
        file.write("large,Rome,1\n")
    kept = (tmp_path / "o.csv").read_bytes()
    errors = run(capsys, "predict", tmp_path / "m", houses, "--out", tmp_path / "o.csv", code=1)[1]
    assert "row 201 holds 'large' (line 202)" in errors
    assert (tmp_path / "o.csv").read_bytes() == kept
    assert not list(tmp_path.glob(".backprop-*"))


def test_predictions_have_digits_by_the_spread_of_the_target(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "x,y", lambda r: f"{(x := r.random())},{1_700_000_000 + 1000 * x:.3f}")
    run(capsys, "train", table, "--target", "y", "--out", tmp_path / "m", "--epochs", 30, "--quiet")
    output, _ = run(capsys, "predict", tmp_path / "m", table)
    assert len(set(output.splitlines()[1:])) > 190


def test_rows_unlike_those_of_training_are_counted(capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path) -> None:
    run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--epochs", 1, "--quiet")
    new = tmp_path / "new.csv"
    new.write_text("area,town\n70,Paris\n,Oslo\n80,Berlin\n")
    output, errors = run(capsys, "predict", tmp_path / "m", new)
    assert len(output.splitlines()) == 4
    assert "2 of 3 rows have a value of 'town' that training did not see, such as 'Paris'" in errors
    assert "1 of 3 rows lack a value of 'area'" in errors
    new.write_text("area,town\n70,*\n*,Oslo\n80,Oslo\n")
    errors = run(capsys, "predict", tmp_path / "m", new, "--missing=*")[1]
    assert "1 of 3 rows lack a value of 'town'" in errors
    assert "1 of 3 rows lack a value of 'area'" in errors
    assert "did not see" not in errors


def test_parquet_files_are_tables(capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = tmp_path / "houses.parquet"
    pandas.read_csv(houses).to_parquet(path)
    for source in (houses, path):
        run(capsys, "train", source, "--target", "price", "--out", tmp_path / source.suffix, "--epochs", 2, "--quiet")
    same = [TableModel.load(tmp_path / suffix).network.parameters for suffix in (".csv", ".parquet")]
    np.testing.assert_array_equal(*same)
    assert run(capsys, "predict", tmp_path / ".csv", path) == run(capsys, "predict", tmp_path / ".csv", houses)
    path.write_bytes(path.read_bytes()[:-9])
    assert "not a whole Parquet file" in run(capsys, "predict", tmp_path / ".csv", path, code=1)[1]


def test_training_shows_a_sign_of_life_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_SIGN_EVERY", 0.0)
    told, errors = run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--epochs", 3)
    assert len(re.findall(r"^epoch +\d of at most 3: validation loss", told, re.MULTILINE)) == 3
    assert errors == ""
    assert run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--epochs", 3, "--quiet")[0] == ""


class Terminal:
    """A terminal that keeps what is written to it."""

    def __enter__(self) -> Terminal:
        self._master, slave = os.openpty()
        termios = importlib.import_module("termios")  # not on Windows
        termios.tcsetwinsize(slave, (24, 120))
        self.file = os.fdopen(slave, "w")
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._keep)
        self._reader.start()
        return self

    def _keep(self) -> None:
        with suppress(OSError):  # the end of a terminal
            while data := os.read(self._master, 4096):
                self._read.append(data)

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._reader.join()
        os.close(self._master)

    def text(self) -> str:
        """All that has been written."""
        return b"".join(self._read).decode()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals")
def test_a_terminal_shows_how_far_reading_training_and_predicting_are(
    capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_LARGE", 1000)
    terminals = []
    for command in (["train", houses, "--target", "price", "--epochs", 3], ["predict", tmp_path / "m", houses]):
        with Terminal() as terminal:
            monkeypatch.setattr(sys, "stderr", terminal.file)
            cli.main([str(argument) for argument in (*command, "--out", tmp_path / ("m" if command[0] == "train" else "p.csv"))])
        terminals.append(terminal.text())
    size = houses.stat().st_size / 1000
    for text in terminals:
        assert "reading houses.csv:" in text
        assert f"/{size:.2f}k" in text
    assert "epoch 3/3: 100%" in terminals[0]
    assert "val_loss=" in terminals[0]
    assert "epoch       1 of" not in capsys.readouterr().out  # the lines of a pipe


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test", "1.5"], "--test: must be a number between 0 and 1"),
        (["--date", "when"], "--date: must be COLUMN=FORMAT, such as sold=%d/%m/%Y, got 'when'"),
        (["--decimal", ";"], "--decimal: invalid choice"),
        (["--max-categories", "0"], "--max-categories: must be a whole number"),
    ],
)
def test_nonsense_options_are_refused(capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    assert message in run(capsys, "train", "t.csv", "--target", "y", *options, code=2)[1]


@pytest.mark.parametrize("options", [["--categorical", "price"], ["--numeric", "town, price"], ["--date", "price=%d/%m/%Y"]])
def test_the_kind_of_the_target_is_its_task(capsys: pytest.CaptureFixture[str], houses: Path, options: list[str]) -> None:
    errors = run(capsys, "train", houses, "--target", "price", *options, code=1)[1]
    assert "'price' is the target: task (--task) tells what it is" in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--categorical", "area", "--numeric", "town,area"], "column 'area' is named by --categorical and by --numeric"),
        (["--numeric", "area", "--date", "area=%Y"], "dates has a format for column 'area', but kinds says that it is 'numeric'"),
        (["--decimal", ",", "--thousands", ","], "decimal and thousands must differ, both are ','"),
        (["--test", "0.999"], "--test 0.999 must leave at least 2 rows, to learn from and to choose by, leaves 1 of 200"),
        (["--ignore", "area,town"], "no column to learn from: beside the target 'price' there is none that is not ignored"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    capsys: pytest.CaptureFixture[str], houses: Path, options: list[str], message: str
) -> None:
    assert message in run(capsys, "train", houses, "--target", "price", "--out", houses.parent / "m", *options, code=1)[1]
    assert not (houses.parent / "m").exists()


def test_standard_input_is_read_once(capsys: pytest.CaptureFixture[str]) -> None:
    errors = run(capsys, "train", "-", "--target", "y", "--test", "-", code=1)[1]
    assert "--test must be a share or another file than DATA, which is standard input, got '-'" in errors


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_named(capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path) -> None:
    run(capsys, "train", houses, "--target", "price", "--out", tmp_path / "m", "--epochs", 1)
    errors = run(capsys, "predict", tmp_path / "m", houses, "--out", "/dev/full", code=1)[1]
    assert errors == "backprop: error: /dev/full: No space left on device\n"


def test_reading_options_are_obeyed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rng = random.Random(0)
    lines = [
        f"{rng.uniform(1, 9):.3f}".replace(".", ",") + f";0{i % 3};{i % 28 + 1}/{i % 12 + 1}/2023;-;{rng.random()}"
        for i in range(60)
    ]
    path = tmp_path / "t.csv"
    path.write_text("größe;a, b;when;empty;y\n" + "\n".join(lines), encoding="cp1252")
    options = ["--encoding", "cp1252", "--decimal", ",", "--missing", "-", "--date", "when=%d/%m/%Y"]
    told, _ = run(capsys, "train", path, "--target", "y", "--out", tmp_path / "m", "--epochs", 1, *options)
    assert re.search("numeric +größe", told)
    assert re.search("categorical +a, b", told)
    assert "ignored     empty: holds no value" in told
    told, _ = run(capsys, "train", path, "--target", "y", "--out", tmp_path / "m", "--epochs", 1, *options, "--ignore", "a, b,when")
    assert "ignored     a, b: as asked" in told
    assert "ignored     when: as asked" in told
