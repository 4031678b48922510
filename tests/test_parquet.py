"""Parquet files: every row once an epoch, in an order that the seed fixes, and no more in memory than a window."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backprop as bp
from backprop.data import ParquetBatches, parquet
from backprop.tabular import ClassTarget, TableEncoder

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = 103


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of 103 rows in row groups of 10, which number their rows."""
    path = tmp_path_factory.mktemp("table")
    number = np.arange(ROWS)
    town = np.array(["Rome", "Oslo", None], object)[number % 3]
    table = pa.table(
        {
            "number": number.astype(np.float32),
            "double": 2.0 * number,
            "town": town,
            "y": 3.0 * number,
            "kind": np.array(["a", "b"])[number % 2],
            "w": 1.0 + number % 2,
        }
    )
    pq.write_table(table.slice(0, 60), path / "one.parquet", row_group_size=10)
    pq.write_table(table.slice(60), path / "two.parquet", row_group_size=10)
    return path


def read(batches: ParquetBatches) -> list[np.ndarray]:
    """All rows of one pass, by column."""
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


NUMBERS: dict[str, Any] = {"columns": ["number", "double"], "target": "y"}


def test_every_row_comes_once_with_its_target_and_weight(folder: Path) -> None:
    batches = parquet(folder, **NUMBERS, weight="w", batch_size=16, seed=0)
    assert len(batches) == len(list(batches)) == 7
    x, y, weight = read(batches)
    assert sorted(x[:, 0]) == list(range(ROWS))
    assert (x[:, 1] == 2 * x[:, 0]).all()
    assert (y == 3 * x[:, 0]).all()
    assert (weight == 1 + x[:, 0] % 2).all()
    assert [len(x) for x, *_ in batches] == [16] * 6 + [7]
    assert [len(x) for x, *_ in parquet(folder, **NUMBERS, batch_size=16, drop_last=True)] == [16] * 6


def test_the_seed_fixes_the_order_of_each_pass(folder: Path) -> None:
    one, two = (parquet(folder, **NUMBERS, seed=3, window=25) for _ in range(2))
    first, second = read(one)[0][:, 0], read(one)[0][:, 0]
    assert (read(two)[0][:, 0] == first).all()
    assert (read(two)[0][:, 0] == second).all()
    assert not (first == second).all()
    plain = read(parquet([folder / "one.parquet", folder / "two.parquet"], **NUMBERS, shuffle=False))[0][:, 0]
    assert (plain == np.arange(ROWS)).all()


def test_rows_are_shuffled_within_a_window_and_no_more_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = parquet(folder, **NUMBERS, seed=0, window=30, batch_size=5)
    read_groups: list[Any] = []
    original = ParquetBatches._read
    monkeypatch.setattr(ParquetBatches, "_read", lambda self, group: read_groups.append(group) or original(self, group))
    passing = iter(batches)
    first = np.concatenate([next(passing)[0][:, 0] for _ in range(6)])
    assert len(read_groups) <= 4
    groups = set((first // 10).astype(int))
    assert 3 <= len(groups) <= 4
    assert any(np.diff(first) != 1)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_rows(folder: Path, ranks: int) -> None:
    shards = [parquet(folder, **NUMBERS, rank=rank, ranks=ranks, seed=0) for rank in range(ranks)]
    numbers = np.concatenate([read(shard)[0][:, 0] for shard in shards])
    assert sorted(numbers) == list(range(ROWS))
    assert sum(shard.rows for shard in shards) == ROWS


def test_a_network_learns_from_files(folder: Path) -> None:
    net = bp.Network([bp.BatchNorm(2), bp.Dense(2, 1)], dtype="float64", seed=0)
    history = net.fit(parquet(folder, **NUMBERS, batch_size=20, seed=0), loss="mse", optimizer=bp.Adam(lr=2.0), epochs=60)
    assert history["loss"][-1] < 0.1 * history["loss"][0]


def test_an_encoder_fitted_to_a_sample_makes_x_of_words(folder: Path) -> None:
    source = parquet(folder, columns=["number", "town"], target="kind", seed=0)
    sample = source.sample(40)
    assert sample.num_rows == 40
    assert set(sample.column_names) == {"number", "town", "kind"}
    assert source.sample(1000).num_rows == ROWS
    assert sample.equals(source.sample(40))
    encoder = TableEncoder.fit(sample.select(["number", "town"]), kinds={"number": "numeric"})
    target = ClassTarget.fit("kind", sample.column("kind"))
    batches = parquet(
        folder, columns=["number", "town"], target="kind", encoder=encoder, target_encoder=target, shuffle=False, batch_size=ROWS
    )
    ((x, y),) = list(batches)
    assert x.shape == (ROWS, len(encoder.names))
    assert y.tolist() == [row % 2 for row in range(ROWS)]
    bp.mlp([x.shape[1], 4, 2], seed=0).fit(batches, loss="cross_entropy", epochs=2)


def test_several_targets_and_default_columns(folder: Path) -> None:
    batches = parquet(folder, target=["y", "double"], columns=["number"], shuffle=False, batch_size=8)
    x, y = next(iter(batches))
    assert x.shape == (8, 1)
    assert y.tolist() == [[3.0 * i, 2.0 * i] for i in range(8)]
    assert parquet(folder, target="kind", weight="w").columns == ("number", "double", "town", "y")
    assert repr(batches) == "ParquetBatches(13 of 103 rows in 11 row groups, batch_size=8, in order)"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: parquet(f, target="z"), ValueError, r"one.parquet has no column 'z'; its columns are 'number', 'double'"),
        (lambda f: parquet(f, target="y", columns=["nmber"]), ValueError, r"no column 'nmber' \(did you mean 'number'\?\)"),
        (lambda f: next(iter(parquet(f, target="y", columns=["town"]))), TypeError, "x must hold real numbers, but column 'town'"),
        (lambda f: parquet(f, target="y", rank=2, ranks=2), ValueError, "rank must be"),
        (lambda f: parquet(f, target="y", ranks=12), ValueError, "each of the 12 ranks needs a row group of its own"),
        (lambda f: parquet(f, target=[]), ValueError, "target must name at least one column"),
        (lambda f: parquet(f, target="y", columns=[]), ValueError, "columns must name at least one column"),
        (lambda f: parquet(f, target="y", batch_size=0), ValueError, "batch_size must be"),
        (lambda f: parquet([], target="y"), ValueError, "paths must name at least one file"),
        (lambda f: parquet(f / "three.parquet", target="y"), FileNotFoundError, "three.parquet"),
    ],
)
def test_what_does_not_fit_is_named(call: Callable[[Path], Any], error: type[Exception], message: str, folder: Path) -> None:
    with pytest.raises(error, match=message):
        call(folder)


def test_a_folder_without_files_and_a_missing_library_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"has no .parquet files"):
        parquet(tmp_path, target="y")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r'pip install "backprop\[parquet\]"'):
        parquet(tmp_path, target="y")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "ab"}, "columns must be a list of names of columns, got 'ab'"),
        ({"target": 1}, "target must be a list of names of columns, got 1"),
        ({"encoder": 5}, "encoder must be an object with a method transform, got 5"),
        ({"target_encoder": "y"}, "target_encoder must be an object with a method transform, got 'y'"),
    ],
)
def test_what_names_no_column_or_encodes_nothing_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    pytest.importorskip("pyarrow.parquet").write_table(
        pytest.importorskip("pyarrow").table({"a": [1.0], "b": [2.0], "y": [3.0]}), tmp_path / "t.parquet"
    )
    with pytest.raises(TypeError, match=message):
        parquet(tmp_path / "t.parquet", **{"target": "y", **options})
