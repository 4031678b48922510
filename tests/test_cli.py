"""The command line, run as a user runs it: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import backprop as bp
from backprop import cli
from backprop.tabular import TableModel

COMMAND = [sys.executable, "-m", "backprop"]
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    """What a command printed and complained about; it must end with this exit code."""
    try:
        ended = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:  # how argparse ends
        ended = int(stop.code or 0)
    output, errors = capsys.readouterr()
    assert ended == code, errors
    return output, errors


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """A CSV file of these rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prices that follow from numbers, a word and a flag, with gaps and columns that say nothing."""
    rng = np.random.default_rng(3)
    rows: list[dict[str, object]] = []
    for number in range(400):
        area, town, garden = rng.uniform(40, 200), rng.choice(["Rome", "Oslo", "Lima"]), rng.choice(["yes", "no"])
        price = 1000 * area + {"Rome": 50_000, "Oslo": 90_000, "Lima": 0}[town] + 30_000 * (garden == "yes")
        shown: object = "" if number % 10 == 0 else f"{area:.1f}"
        rows.append({"id": f"h{number}", "area, m2": shown, "town": town, "garden": garden, "era": "new", "price": f"{price:.0f}"})
    return write(tmp_path_factory.mktemp("houses") / "houses.csv", rows)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three kinds of flowers, told apart by two numbers; one class is rare, some labels are missing."""
    rng = np.random.default_rng(4)
    rows: list[dict[str, object]] = []
    for number in range(300):
        kind = ["rose", "iris", "rare one"][0 if number % 2 else 1 if number % 10 else 2]
        x, y = rng.normal({"rose": (0, 0), "iris": (3, 0), "rare one": (0, 4)}[kind], 0.5)
        rows.append({"x": x, "y": y, "kind": "" if number % 50 == 7 else kind})
    return write(tmp_path_factory.mktemp("flowers") / "flowers.csv", rows)


def test_a_regression_from_file_to_file(capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path) -> None:
    model, out = tmp_path / "houses.safetensors", tmp_path / "predictions.csv"
    told, _ = run(capsys, "train", houses, "--target", "price", "--out", model, "--epochs", 60, "--lr", 0.01)
    assert "price: regression" in told
    assert re.search(r"ignored +id: is text that hardly ever repeats", told)
    assert re.search(r"ignored +era: holds one value only", told)
    assert "320 to learn from, 80 to judge by" in told

    output, _ = run(capsys, "predict", model, houses, "--out", out)
    assert output == ""
    prices = np.array([float(row["price"]) for row in read(houses)])
    predicted = np.array([float(row["price"]) for row in read(out)])
    complete = np.array([row["area, m2"] != "" for row in read(houses)])
    assert np.sqrt(np.mean((predicted - prices)[complete] ** 2)) < 0.2 * prices.std()


def test_a_classification_from_file_to_file(capsys: pytest.CaptureFixture[str], flowers: Path, tmp_path: Path) -> None:
    model, out = tmp_path / "flowers.safetensors", tmp_path / "predictions.csv"
    told, _ = run(capsys, "train", flowers, "--target", "kind", "--out", model, "--epochs", 40, "--hidden", "16", "--lr", 0.01)
    assert "kind: classification, 3 classes (iris, rare one, rose)" in told
    assert "6 rows without a value of 'kind'" in told

    run(capsys, "predict", model, flowers, "--proba", "--out", out)
    truth, rows = read(flowers), read(out)
    assert list(rows[0]) == ["kind", "probability of iris", "probability of rare one", "probability of rose"]
    assert np.mean([row["kind"] == true["kind"] for row, true in zip(rows, truth, strict=True) if true["kind"]]) > 0.97
    probabilities = np.array([[float(value) for value in list(row.values())[1:]] for row in rows])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    labels = ["iris", "rare one", "rose"]
    assert [labels[index] for index in probabilities.argmax(axis=1)] == [row["kind"] for row in rows]


@pytest.fixture(scope="module")
def model(flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the flowers."""
    path = tmp_path_factory.mktemp("model") / "flowers.safetensors"
    assert cli.main(["train", str(flowers), "--target", "kind", "--out", str(path), "--epochs", "3", "--quiet"]) == 0
    return path


def test_the_same_seed_gives_the_same_model(capsys: pytest.CaptureFixture[str], flowers: Path, model: Path, tmp_path: Path) -> None:
    for seed, same in (("0", True), ("1", False)):
        path = tmp_path / f"{seed}.safetensors"
        output, errors = run(capsys, "train", flowers, "--target", "kind", "--out", path, "--epochs", 3, "--quiet", "--seed", seed)
        assert output == errors == ""
        assert np.array_equal(TableModel.load(path).network.parameters, TableModel.load(model).network.parameters) is same


@pytest.mark.parametrize(
    "options",
    [
        ["--hidden", "none"],
        ["--hidden", "8,8,8", "--batch-norm", "--dropout", "0.2", "--activation", "gelu"],
        ["--optimizer", "sgd", "--lr", "0.05", "--weight-decay", "1e-3", "--batch-size", "100000"],
        ["--class-weight", "balanced", "--validation", "0.5", "--patience", "1"],
        ["--categorical", "x", "--ignore", "y"],
    ],
    ids=lambda options: " ".join(options),
)
def test_options_are_obeyed(capsys: pytest.CaptureFixture[str], flowers: Path, tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / "model.safetensors"
    run(capsys, "train", flowers, "--target", "kind", "--out", path, "--epochs", 2, *options)
    net = TableModel.load(path).network
    widths = {"--hidden none": 1, "--hidden 8,8,8": 4}
    dense = [layer for layer in net.layers if isinstance(layer, bp.Dense)]
    assert len(dense) == widths.get(" ".join(options[:2]), 3)
    if "--batch-norm" in options:
        assert sum(isinstance(layer, bp.BatchNorm) for layer in net.layers) == 3
    if "--categorical" in options:
        assert net.n_inputs > 2
    output, _ = run(capsys, "predict", path, flowers)
    assert len(output.splitlines()) == 301


@pytest.mark.parametrize(
    "option",
    [
        ["--activation", "tanh"],
        ["--dropout", "0.5"],
        ["--batch-size", "7"],
        ["--optimizer", "sgd"],
        ["--lr", "0.1"],
        ["--weight-decay", "0.3"],
        ["--class-weight", "balanced"],
        ["--validation", "0.5"],
        ["--epochs", "1"],
        ["--seed", "1"],
    ],
    ids=" ".join,
)
def test_no_option_is_ignored(
    capsys: pytest.CaptureFixture[str], flowers: Path, model: Path, tmp_path: Path, option: list[str]
) -> None:
    path = tmp_path / "model.safetensors"
    run(capsys, "train", flowers, "--target", "kind", "--out", path, "--epochs", 3, "--quiet", *option)
    assert not np.array_equal(TableModel.load(path).network.parameters, TableModel.load(model).network.parameters)


def test_training_stops_early_with_the_best_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(5)  # noise, on which the validation loss goes down, up, and further down
    table = write(tmp_path / "t.csv", [{"x": x, "y": y} for x, y in rng.normal(size=(60, 2))])

    def trained(epochs: int, patience: int) -> np.ndarray:
        path = tmp_path / "model.safetensors"
        options = ["--epochs", epochs, "--patience", patience, "--hidden", "32", "--activation", "relu", "--dropout", 0]
        options += ["--optimizer", "adam", "--lr", 0.03]
        run(capsys, "train", table, "--target", "y", "--out", path, "--quiet", *options)
        return TableModel.load(path).network.parameters

    best = trained(epochs=2, patience=40)
    np.testing.assert_array_equal(trained(epochs=3, patience=40), best)
    np.testing.assert_array_equal(trained(epochs=40, patience=1), best)
    assert not np.array_equal(trained(epochs=40, patience=40), best)


def test_a_task_can_be_chosen(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", [{"x": number, "grade": number % 3} for number in range(60)])
    told, _ = run(capsys, "train", table, "--target", "grade", "--epochs", 1, "--out", tmp_path / "a")
    assert "classification, 3 classes (0, 1, 2)" in told
    told, _ = run(capsys, "train", table, "--target", "grade", "--epochs", 1, "--out", tmp_path / "b", "--task", "regression")
    assert "grade: regression, mean 1" in told


def test_row_numbers_are_not_learned_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    table = write(tmp_path / "t.csv", [{"": number, "x": number % 7, "y": "ab"[number > 30]} for number in range(60)])
    told, _ = run(capsys, "train", table, "--target", "y", "--epochs", 1, "--out", path)
    assert re.search("ignored +column 1: numbers the rows", told)
    assert TableModel.load(path).network.n_inputs == 1


def test_new_rows_may_have_gaps_unknown_words_and_other_columns(
    capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    run(capsys, "train", houses, "--target", "price", "--out", path, "--epochs", 2, "--quiet")
    new = write(tmp_path / "new.csv", [{"town": "Paris", "more": "?", "garden": "", "area, m2": "NA"}])
    output, _ = run(capsys, "predict", path, new)
    header, prediction = output.splitlines()
    assert header == "price"
    assert np.isfinite(float(prediction))


def test_no_rows_give_no_predictions(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("x,y\n")
    assert run(capsys, "predict", model, tmp_path / "empty.csv")[0] == "kind\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lr", "0"], "--lr: must be a number above 0, got '0'"),
        (["--lr", "nan"], "--lr: must be a number above 0"),
        (["--lr", "inf"], "--lr: must be a number above 0"),
        (["--epochs", "0"], "--epochs: must be a whole number, at least 1"),
        (["--epochs", "1.5"], "--epochs: must be a whole number"),
        (["--batch-size", "-3"], "--batch-size: must be a whole number"),
        (["--hidden", "64,x"], "--hidden: must be a whole number, at least 1, got 'x'"),
        (["--hidden", "64,"], "--hidden: must be a whole number"),
        (["--dropout", "1"], "--dropout: must be a number from 0"),
        (["--validation", "1"], "--validation: must be a number between 0 and 1"),
        (["--activation", "reul"], "--activation: invalid choice: 'reul'"),
        (["--optimizer", "adamm"], "--optimizer: invalid choice: 'adamm'"),
        (["--task", "ranking"], "--task: invalid choice: 'ranking'"),
        (["--delimiter", ",,"], "--delimiter: must be one character"),
        (["--seed", "-1"], "--seed: must be a whole number, 0 or more"),
        (["--speed"], "unrecognized arguments: --speed"),
    ],
)
def test_nonsense_on_the_command_line_is_refused(capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    output, errors = run(capsys, "train", "data.csv", "--target", "y", *options, code=2)
    assert output == ""
    assert message in errors


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "COMMAND" in run(capsys, code=2)[1]
    assert "invalid choice: 'trian'" in run(capsys, "trian", code=2)[1]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", [], "the first line must name the columns"),
        ("x,y\n1,2\n1\n", [], "line 3 has 1 fields"),
        ("x,y\n", [], "must have rows with a value of 'y', has none"),
        ("x,y\n1,\n2,NA\n", [], "must have rows with a value of 'y', has none"),
        ("x,yy\n1,2\n2,3\n", [], "no column 'y' (did you mean 'yy'?)"),
        ("x,y\n1,a\n2,b\n", ["--ignore", "z"], "no column 'z'"),
        ("x,y\n1,a\n2,b\n3,a\n", ["--task", "regression"], "must hold a number in every row, row 1 holds 'a'"),
        ("x,y\n1,a\n2,a\n3,a\n", [], "at least two classes"),
        ("y\na\nb\n", [], "no column to learn from: beside the target 'y' there is none"),
        ("x,y\n" + "1,a\n1,b\n" * 5, [], "no column to learn from"),
        ("x,y\n" + "inf,a\n1,b\n" * 5, [], "finite"),
    ],
)
def test_bad_tables_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, options: list[str], message: str
) -> None:
    table, model = tmp_path / "table.csv", tmp_path / "model.safetensors"
    table.write_text(text)
    _, errors = run(capsys, "train", table, "--target", "y", "--out", model, *options, code=1)
    assert errors.startswith("backprop: error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert not model.exists()


def test_missing_files_are_named(capsys: pytest.CaptureFixture[str], flowers: Path, model: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "file"
    for arguments in (
        ["train", nowhere, "--target", "kind", "--out", tmp_path / "m"],
        ["train", flowers, "--target", "kind", "--out", nowhere],
        ["predict", nowhere, flowers],
        ["predict", model, nowhere],
        ["predict", model, flowers, "--out", nowhere],
    ):
        assert "nowhere" in run(capsys, *arguments, code=1)[1]


@pytest.mark.parametrize("place", ["", "missing/file"])
@pytest.mark.parametrize(
    "command",
    [
        ["train", "no.csv", "--target", "y", "--out"],
        ["predict", "no.safetensors", "no.csv", "--out"],
        ["explain", "--data", "no.csv", "--out"],
        ["bench", "--json"],
    ],
)
def test_a_result_that_cannot_be_written_is_an_error_before_the_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str], place: str
) -> None:
    out, errors = run(capsys, *command, tmp_path / place, code=1)
    assert out == ""
    assert errors.startswith(f"backprop: error: {tmp_path / place}: ")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "DATA", "--target", "kind", "--out", "DATA"], "is the file that is read"),
        (["train", "DATA", "--target", "kind", "--test", "0.2", "--report", "DATA"], "is the file that is read"),
        (["train", "DATA", "--target", "kind", "--out", "new", "--report", "./new"], "is the file of another result"),
        (["predict", "MODEL", "DATA", "--out", "DATA"], "is the file that is read"),
        (["predict", "MODEL", "DATA", "--out", "MODEL"], "is the file that is read"),
        (["export", "MODEL", "MODEL"], "is the file that is read"),
        (["explain", "DATA", "--out", "DATA"], "is the file that is read"),
        (["explain", "--recorded", "DATA", "--out", "DATA", "--epochs", "1"], "is the file that is read"),
    ],
)
def test_no_result_replaces_what_is_read_or_another_result(
    capsys: pytest.CaptureFixture[str],
    flowers: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"DATA": tmp_path / "flowers.csv", "MODEL": tmp_path / "model.c"}
    for copy, path in zip(files.values(), (flowers, model), strict=True):
        copy.write_bytes(path.read_bytes())
    assert message in run(capsys, *(files.get(word, word) for word in command), code=1)[1]
    assert sorted(tmp_path.iterdir()) == sorted(files.values())
    assert [path.read_bytes() for path in files.values()] == [flowers.read_bytes(), model.read_bytes()]


def test_predict_refuses_what_it_cannot_use(capsys: pytest.CaptureFixture[str], flowers: Path, model: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    bp.mlp([2, 2], seed=0).save(plain)
    assert "no description of a table" in run(capsys, "predict", plain, flowers, code=1)[1]

    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(model.read_bytes()[:-1])
    assert "damaged.safetensors" in run(capsys, "predict", damaged, flowers, code=1)[1]

    less = write(tmp_path / "less.csv", [{"x": 1}])
    assert "no column 'y'" in run(capsys, "predict", model, less, code=1)[1]

    word = write(tmp_path / "word.csv", [{"x": 1, "y": 2}, {"x": 1, "y": "two"}])
    assert "column 'y' must hold a number in every row, row 2 holds 'two'" in run(capsys, "predict", model, word, code=1)[1]


def test_probabilities_need_classes(capsys: pytest.CaptureFixture[str], houses: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    run(capsys, "train", houses, "--target", "price", "--out", path, "--epochs", 1, "--quiet")
    assert "--proba needs a classification" in run(capsys, "predict", path, houses, "--proba", code=1)[1]


def test_a_hostile_description_of_the_table_is_refused(capsys: pytest.CaptureFixture[str], flowers: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for description in (7, {}, {"encoder": {"features": []}, "target": {}}, {"encoder": None, "target": None}):
        bp.mlp([2, 2], seed=0).save(path, metadata={"table": description})
        assert run(capsys, "predict", path, flowers, code=1)[1].startswith("backprop: error: ")


def test_version_and_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(capsys, "--version")[0] == f"backprop {bp.__version__}\n"
    for command in ("demo", "bench", "train", "predict"):
        assert command in run(capsys, "--help")[0]
        text = run(capsys, command, "--help")[0]
        assert max(map(len, text.splitlines())) <= 80
        assert "default: None" not in text


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).with_name("backprop")
    if not command.exists():
        pytest.skip("the package is used without being installed")
    assert subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout.startswith("backprop ")


def test_data_comes_from_standard_input_too(flowers: Path, model: Path) -> None:
    with flowers.open("rb") as file:
        piped = subprocess.run([*COMMAND, "predict", str(model), "-"], stdin=file, capture_output=True, check=True)
    direct = subprocess.run([*COMMAND, "predict", str(model), str(flowers)], capture_output=True, check=True)
    assert piped.stdout == direct.stdout
    assert piped.stderr == b""


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
@pytest.mark.parametrize("arguments", [["predict", "MODEL", "DATA"], ["train", "--help"]])
def test_a_reader_that_leaves_is_no_error(arguments: list[str], flowers: Path, model: Path) -> None:
    given = [{"MODEL": str(model), "DATA": str(flowers)}.get(argument, argument) for argument in arguments]
    with subprocess.Popen([*COMMAND, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.usefixtures("interruptible")
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_ctrl_c_ends_training_in_one_line(flowers: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    options = ["--target", "kind", "--out", str(model), "--epochs", "1000000", "--patience", "1000000"]
    command = [*COMMAND, "train", str(flowers), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(b"network"):
            pass
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == b"\nbackprop: interrupted\n"
    assert TableModel.load(model).classes == ("iris", "rare one", "rose")


def test_the_demo_learns_and_compares(capsys: pytest.CaptureFixture[str]) -> None:
    output, _ = run(capsys, "demo")
    accuracy = re.search(r"accuracy +([\d.]+)", output)
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.97
    for name in bp.kernels.available():
        assert re.search(rf"{name} +[\d.]+", output)
