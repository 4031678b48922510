"""JavaScript modules: Node computes what the network predicts."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_networks import random_network
from test_c import ENSEMBLES, FUNCTIONS, OFF_CENTRE, activation, ensemble, off_centre

import backprop as bp

pytestmark = [pytest.mark.once, pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")]

DRIVER = """
import * as net from "./net.mjs";
import {readFileSync} from "node:fs";
const read = value => typeof value === "string" ? Number(value) : value;
const write = (key, value) => typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
const rows = JSON.parse(readFileSync(0, "utf8")).map(row => row.map(read));
const map = f => f === undefined ? null : rows.map(row => f(row));
console.log(JSON.stringify({y: map(net.predict), label: map(net.label), p: map(net.probabilities), labels: net.labels}, write));
"""


def run(net: bp.Network | bp.Ensemble, x: np.ndarray, folder: Path) -> dict[str, Any]:
    """What the module of a network exports and gives for the rows of x."""
    bp.export.js(net, folder / "net.mjs")
    (folder / "driver.mjs").write_text(DRIVER)
    words = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
    rows = [[words.get(str(value), value) for value in row] for row in x.tolist()]
    done = subprocess.run(["node", "driver.mjs"], input=json.dumps(rows), text=True, cwd=folder, capture_output=True, check=True)
    result = json.loads(done.stdout)
    result["y"] = np.array([[float(value) for value in row] for row in result["y"]])
    return result


def test_every_activation_agrees_at_extremes(tmp_path: Path) -> None:
    points = [0.0, 1e-6, -1e-6, 0.47, -0.47, 1, -1, 3.9, -4, 5, -5, 20, -20, 90, -90, np.inf, -np.inf, np.nan]
    n = len(points)
    for text in FUNCTIONS:
        net = bp.Network([bp.Dense(1, 1), bp.Activation(activation(text))], dtype="float64", seed=0)
        net.layers[0].weight = [[1.0]]
        result = run(net, np.array(points)[:, None], tmp_path)
        np.testing.assert_allclose(result["y"], net.predict(np.array(points)[:, None]), rtol=1e-13, atol=1e-300, err_msg=text)
        assert len(result["y"]) == n


@pytest.mark.parametrize(("loss", "k"), ENSEMBLES)
def test_ensembles_give_the_mean_of_their_members(loss: str, k: int, tmp_path: Path) -> None:
    many, x = ensemble(loss, k), np.random.default_rng(0).normal(size=(9, 4))
    result = run(many, x, tmp_path)
    if loss == "mse":
        np.testing.assert_allclose(result["y"], many.predict(x), rtol=1e-4, atol=1e-5)
        assert result["labels"] == []
        return
    p = many.predict_proba(x)
    np.testing.assert_allclose(result["y"], p, rtol=1e-4, atol=1e-6)
    if k == 1:
        assert result["label"] == (p[:, 0] > 0.5).astype(int).tolist()
        np.testing.assert_allclose(result["p"], np.hstack([1 - p, p]), rtol=1e-4, atol=1e-6)
    elif loss == "cross_entropy":
        assert result["label"] == p.argmax(axis=1).tolist()
    else:
        assert result["label"] == (p > 0.5).tolist()


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_predict_the_same(seed: int, tmp_path: Path) -> None:
    net = random_network(seed)
    x = np.random.default_rng(seed).normal(size=(9, net.n_inputs))
    expected = net.predict(x)
    np.testing.assert_allclose(run(net, x, tmp_path)["y"], expected, rtol=1e-11, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("kind", OFF_CENTRE)
def test_normalized_inputs_keep_their_digits_where_the_mean_exceeds_the_spread(kind: str, tmp_path: Path) -> None:
    net, x, expected = off_centre(kind, "float32")
    assert np.abs(run(net, x, tmp_path)["y"] - expected).max() < 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("loss", "k", "ends_in"),
    [
        ("cross_entropy", 3, "identity"),
        ("mse", 2, "softmax"),
        ("binary_cross_entropy", 1, "identity"),
        ("binary_cross_entropy", 3, "identity"),
    ],
)
def test_classes_have_labels_and_probabilities(loss: str, k: int, ends_in: str, tmp_path: Path) -> None:
    net = bp.mlp([4, 6, k], output_activation=ends_in, seed=0)
    net.loss = loss
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    result = run(net, x, tmp_path)
    p = net.predict_proba(x)
    if k == 1:
        p = np.hstack([1 - p, p])
    np.testing.assert_allclose(result["p"], p, rtol=1e-5)
    if loss == "binary_cross_entropy" and k > 1:
        assert result["label"] == (p > 0.5).tolist()
    else:
        assert result["label"] == p.argmax(axis=1).tolist()
        assert result["labels"] == list(range(p.shape[1]))
        x[0, 0] = np.nan
        assert run(net, x[:1], tmp_path)["label"] == [None]


def test_numbers_have_no_labels_and_a_wrong_row_is_an_error(tmp_path: Path) -> None:
    net = bp.mlp([4, 2], seed=0)
    result = run(net, np.zeros((1, 4)), tmp_path)
    assert result["labels"] == []
    assert result["label"] is result["p"] is None
    code = "import {predict} from './net.mjs'; try { predict([1]) } catch (error) { console.log(error.message) }"
    (tmp_path / "wrong.mjs").write_text(code)
    done = subprocess.run(["node", "wrong.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "x must have 4 numbers, has 1\n"


def test_the_module_evaluates_no_strings(tmp_path: Path) -> None:
    text = bp.export.js(random_network(0), tmp_path / "net.mjs")
    assert (tmp_path / "net.mjs").read_text() == text
    assert "eval" not in text
    assert "Function(" not in text
