"""The replay records what training gives, and tells what differs from it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import replay

import backprop as bp

CASES = {case.name: case for case in replay.make_cases()}


def test_combinations_have_names_of_their_own_and_take_fifty_steps() -> None:
    assert len(CASES) == len(replay.make_cases()) >= 40
    for case in CASES.values():
        batch = case.fit.get("batch_size", replay.BATCH)
        batches = case.rows // batch if case.fit.get("drop_last") else math.ceil(case.rows / batch)
        if "validation_split" not in case.fit:
            assert batches * case.fit.get("epochs", replay.EPOCHS) >= replay.STEPS - replay.EPOCHS, case.name


def test_every_loss_optimizer_and_layer_is_replayed() -> None:
    names = {name.removesuffix(", float64") for name in CASES}
    assert {f"loss {name}" for name in bp.losses.NAMES} <= names
    assert {f"optimizer {name}" for name in bp.optimizers.NAMES} <= names
    layers = {type(layer) for make in replay.make_networks().values() for layer in make("float32").layers}
    assert layers >= {bp.Activation, bp.BatchNorm, bp.Dense, bp.Dropout, bp.LayerNorm, bp.Residual}


def test_every_combination_trains() -> None:
    """Parameters that stay as they were would hide differences."""
    for case in CASES.values():
        if case.rows > replay.ROWS or case.dtype == "float64":  # the others train the same networks
            continue
        start = case.network(case.dtype)
        assert replay.replay(case)["parameters"] != replay.digest(start.parameters, start.buffers), case.name


def test_all_ways_to_train_give_the_same_parameters() -> None:
    for name in replay.make_networks():
        in_order = [CASES[f"network {name}, {way}"] for way in ("stream", "step", "hand", "halves")]
        assert len({replay.replay(case)["parameters"] for case in in_order}) == 1, name


def test_compare_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "record.json"
    arguments = [str(path), "--only", "clip_norm", "--level", "numpy"]
    assert replay.main(["record", *arguments]) == 0
    assert replay.main(["compare", *arguments]) == 0
    assert "4 combinations are the same" in capsys.readouterr().out

    recorded = json.loads(path.read_text())
    recorded["numpy"]["clip_norm by steps"]["predictions"] = "another"
    recorded["numpy"]["clip_norm that is gone"] = recorded["numpy"].pop("clip_norm")
    path.write_text(json.dumps(recorded))
    assert replay.main(["compare", *arguments]) == 1
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "numpy: clip_norm by steps: predictions",
        "numpy: clip_norm that is gone: not replayed",
        "numpy: clip_norm: not recorded",
    ]


def test_a_sum_tells_the_last_bit() -> None:
    array = np.ones(3, np.float32)
    assert replay.digest(array) != replay.digest(np.nextafter(array, np.float32(2)))
