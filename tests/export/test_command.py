"""``backprop export``: the suffix decides, and what goes wrong is one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import backprop as bp
from backprop import cli


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file with a classifier."""
    net = bp.mlp([4, 6, 3], seed=0)
    net.loss = "cross_entropy"
    net.save(tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_the_suffix_decides_what_is_written(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = bp.load(saved)
    folder = saved.parent
    options = ["--weights", "int8", "--name", "flower", "--buffers", "static"]
    assert cli.main(["export", str(saved), str(folder / "iris.c"), *options]) == 0
    assert (folder / "iris.c").read_text() == bp.export.c(net, name="flower", weights="int8", buffers="static")
    for suffix in ("js", "mjs"):
        assert cli.main(["export", str(saved), str(folder / f"iris.{suffix}"), "--quiet"]) == 0
        assert (folder / f"iris.{suffix}").read_text() == bp.export.js(net)
    assert capsys.readouterr().out == f"saved      {folder / 'iris.c'}\n"


@pytest.mark.parametrize("suffix", [".onnx", ".c", ".mjs"])
def test_an_ensemble_is_one_file(suffix: str, tmp_path: Path) -> None:
    bp.Ensemble(lambda seed: bp.mlp([4, 3, 2], seed=seed), members=3, seed=0).save(tmp_path / "many.safetensors")
    if suffix == ".onnx":
        pytest.importorskip("onnx")
    assert cli.main(["export", str(tmp_path / "many.safetensors"), str(tmp_path / f"many{suffix}")]) == 0
    assert (tmp_path / f"many{suffix}").stat().st_size > 300


def test_a_model_of_a_table_takes_its_rows(tmp_path: Path) -> None:
    table = {"area": [float(i) for i in range(40)], "town": ["Rome", "Oslo"] * 20, "price": [2.0 * i for i in range(40)]}
    model = bp.tabular.TableModel.fit(table, target="price", epochs=1, hidden=(4,))
    model.save(tmp_path / "houses.safetensors")
    for suffix, export in (("c", bp.export.c), ("js", bp.export.js)):
        assert cli.main(["export", str(tmp_path / "houses.safetensors"), str(tmp_path / f"houses.{suffix}"), "--quiet"]) == 0
        written = (tmp_path / f"houses.{suffix}").read_text()
        assert written == export(model, tmp_path / f"houses.{suffix}")
        assert "Rome" in written


def test_onnx_options_reach_the_model(saved: Path) -> None:
    onnx = pytest.importorskip("onnx")
    out = saved.parent / "iris.onnx"
    assert cli.main(["export", str(saved), str(out), "--opset", "18", "--dtype", "float64", "--outputs", "raw"]) == 0
    assert onnx.load(out) == bp.export.onnx(bp.load(saved), opset=18, dtype="float64", outputs="raw")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.safetensors", "net.txt"], r"net.txt: the suffix must be one of .onnx, .c, .js, .mjs, got '.txt'"),
        (["net.safetensors", "net.c", "--opset", "17"], "--opset is for .onnx files, not for net.c"),
        (["net.safetensors", "net.js", "--weights", "int8"], "--weights is for .c files, not for net.js"),
        (["missing.safetensors", "net.c"], "missing.safetensors: No such file"),
        (["net.safetensors", "nowhere/net.c"], "nowhere/net.c: the folder to write to does not exist"),
        (["net.safetensors", "net.c", "--name", "a b"], "name must be an identifier"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_no_file(
    arguments: list[str], message: str, saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(saved.parent)
    assert cli.main(["export", *arguments]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"backprop: error: {message}")
    assert errors.count("\n") == 1
    assert [path.name for path in saved.parent.iterdir()] == ["net.safetensors"]


def test_without_the_package_onnx_the_error_says_what_to_install(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "backprop\[onnx\]"'):
        bp.export.onnx(bp.load(saved))
    assert cli.main(["export", str(saved), str(saved.parent / "net.onnx")]) == 1
    assert 'pip install "backprop[onnx]"' in capsys.readouterr().err
    assert not (saved.parent / "net.onnx").exists()
