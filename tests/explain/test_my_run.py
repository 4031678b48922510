"""The page of a training run: any network, any data, any row, from a network or from a monitor."""

from __future__ import annotations

import json
import re
from itertools import count

import numpy as np
import pytest

import backprop as bp
from backprop.explain import record, write_page
from backprop.explain.comparisons import race

pytestmark = pytest.mark.once


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture
def table(rng):
    x = rng.normal(size=(30, 3))
    return x, (x[:, 0] + x[:, 1] > 0).astype(int)


NETWORKS = {
    "dense": lambda: [bp.Dense(3, 4, activation="tanh"), bp.Dense(4, 2)],
    "normalized": lambda: [bp.Dense(3, 4, activation="relu"), bp.BatchNorm(4), bp.Dropout(0.2), bp.Dense(4, 2)],
    "residual": lambda: [bp.Dense(3, 4), bp.Residual([bp.LayerNorm(4), bp.Dense(4, 4, activation="gelu")]), bp.Dense(4, 2)],
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_any_network_has_a_page(open_page, tmp_path, table, kind):
    x, y = table
    net = bp.Network(NETWORKS[kind](), dtype="float64", seed=0)
    out = tmp_path / "run.html"
    text = bp.explain.page(
        net, x, y, loss="cross_entropy", epochs=6, batch_size=8, feature_names=["age", "height", "weight"],
        target_names=np.array(["no", "yes"]), out=out,
    )  # fmt: skip
    assert out.read_text(encoding="utf-8") == text
    data = data_of(text)
    assert len(data["examples"]) == 30
    tab = open_page(out)
    assert tab.locator("#unit-name").inner_text() == "input, age"
    tab.locator("#row").select_option("17")
    assert tab.locator("#lines .n").first.get_attribute("title") == 'trace["x"][0,0]'
    shown = float(tab.locator("#lines .n").first.inner_text().replace("−", "-"))  # noqa: RUF001
    assert shown == pytest.approx(x[17, 0], rel=1e-5)
    for name in ("vanish", "clip", "race"):
        assert tab.locator(f"#{name}").count() == 0
    tab.keyboard.press("End")
    tab.locator("#phases button").nth(1).click()
    assert tab.locator("#diagnosis").is_visible()


def test_every_row_has_the_numbers_of_its_trace(table):
    x, y = table
    net = bp.mlp([3, 3, 2], activation="tanh", dtype="float64", seed=1)
    optimizer = bp.SGD(lr=0.2)
    data = data_of(bp.explain.page(net, x, y, loss="cross_entropy", optimizer=optimizer, epochs=3))
    for row in (0, 11, 29):
        values = dict(zip(data["names"], data["values"][-1][row], strict=True))
        trace = bp.trace(net, x[row : row + 1], y[row : row + 1], loss="cross_entropy", optimizer=optimizer)
        for name in ("layers.0.delta[0,1]", "layers.1.grad_weight[2,0]", "layers.0.new_weight[1,2]"):
            array, place = name[:-1].split("[")
            assert values[name] == pytest.approx(trace[array][tuple(map(int, place.split(",")))], rel=6e-6)


def test_the_rows_can_be_chosen_and_are_checked(table):
    x, y = table
    net = bp.mlp([3, 3, 2], seed=0)
    data = data_of(bp.explain.page(net, x, y, loss="cross_entropy", epochs=2, rows=[3, 28]))
    assert [example["x"] for example in data["examples"]] == [pytest.approx(x[row], rel=1e-5) for row in (3, 28)]
    before = net.parameters.copy()
    for rows, message in (([30], "rows must be .*at most 29, got 30"), ([], "rows must be from 1 to"), ([-1], "rows must be")):
        with pytest.raises(ValueError, match=message):
            bp.explain.page(net, x, y, loss="cross_entropy", rows=rows)
    with pytest.raises(ValueError, match="feature_names must be 3 names"):
        bp.explain.page(net, x, y, loss="cross_entropy", feature_names=["a"])
    with pytest.raises(ValueError, match="target_names must be 2 names"):
        bp.explain.page(net, x, y, loss="cross_entropy", target_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="comparisons may hold vanishing, clipping, race, got 'speed'"):
        bp.explain.page(net, x, y, loss="cross_entropy", comparisons=["speed"])
    with pytest.raises(ValueError, match="loss is needed"):
        bp.explain.page(bp.mlp([3, 2], seed=0), x, y)
    with pytest.raises(TypeError, match="page needs x and y"):
        bp.explain.page(net, loss="cross_entropy")
    with pytest.raises(TypeError, match="page needs a Network or a Monitor, got dict"):
        bp.explain.page({}, x, y)
    np.testing.assert_array_equal(net.parameters, before)


def test_a_large_table_leaves_out_rows_and_stays_small(rng):
    x = rng.normal(size=(3000, 20))
    text = bp.explain.page(bp.mlp([20, 32, 16, 1], seed=0), x, x[:, :1], loss="mse", epochs=2, batch_size=256)
    assert len(text.encode()) < 2.2e6
    data = data_of(text)
    assert 4 <= len(data["examples"]) < 3000
    assert "r2" in data["training"]["snapshots"][-1]


def test_a_monitor_has_a_page(table, open_page, tmp_path, monkeypatch):
    seconds = count()  # between two looks at the clock: what is recorded must not depend on the load of the machine
    monkeypatch.setattr("backprop.explain.diagnosis.monitor.perf_counter", lambda: float(next(seconds)))
    x, y = table
    net = bp.mlp([3, 4, 2], activation="tanh", dtype="float64", seed=0)
    monitor = bp.Monitor(share=0.9)
    history = net.fit(x, y, loss="cross_entropy", optimizer=bp.Adam(lr=0.02), epochs=40, batch_size=10, callbacks=[monitor])
    data = data_of(bp.explain.page(monitor, target_names=["no", "yes"], out=tmp_path / "run.html"))
    assert data["training"]["epochs"] == 40
    epochs = [snapshot["epoch"] for snapshot in data["training"]["snapshots"]]
    assert epochs[0] == 0
    assert epochs[-1] == 40
    assert len(epochs) > 2
    assert data["training"]["curves"][0]["y"][1:] == pytest.approx(history["loss"], rel=1e-5)
    last = dict(zip(data["names"], data["values"][-1][5], strict=True))
    weight = net.layers[0].weight
    assert last["layers.0.weight[1,2]"] == pytest.approx(weight[1, 2], rel=6e-6)
    first = dict(zip(data["names"], data["values"][0][5], strict=True))
    fresh = bp.mlp([3, 4, 2], activation="tanh", dtype="float64", seed=0)
    assert first["layers.0.weight[1,2]"] == pytest.approx(fresh.layers[0].weight[1, 2], rel=6e-6)
    open_page(tmp_path / "run.html")


def test_a_monitor_that_has_seen_no_rows_is_refused(table):
    with pytest.raises(ValueError, match="watched no training"):
        bp.explain.page(bp.Monitor())
    with pytest.raises(TypeError, match="a monitor knows its data"):
        bp.explain.page(bp.Monitor(), *table)


def test_a_monitor_keeps_few_networks(table):
    x, y = table
    monitor = bp.Monitor(share=0.99)
    bp.mlp([3, 2], seed=0).fit(x, y, loss="cross_entropy", epochs=200, callbacks=[monitor])
    moments = monitor.moments()
    assert len(moments) <= 26
    assert [moment.epoch for moment in moments] == sorted({moment.epoch for moment in moments})


def test_a_run_that_diverges_has_a_page_and_a_diagnosis(open_page, tmp_path, table):
    x, _ = table
    out = tmp_path / "run.html"
    with np.errstate(all="ignore"):
        net = bp.mlp([3, 8, 8, 1], activation="relu", seed=0)
        text = bp.explain.page(net, 100 * x, x[:, :1], loss="mse", optimizer=bp.SGD(lr=10.0), epochs=9, out=out)
    data = data_of(text)
    assert data["training"]["epochs"] < 9
    assert "critical" in open_page(out).locator("#diagnosis").inner_text()


def test_comparisons_are_optional_and_named(table, open_page, tmp_path):
    x, y = table
    recording = record(bp.mlp([3, 2], seed=0), x, y, loss="cross_entropy", epochs=2)
    write_page(recording, tmp_path / "none.html", comparisons={})
    assert open_page(tmp_path / "none.html").locator("#count").inner_text().startswith("step 1")
    write_page(recording, tmp_path / "one.html", comparisons={"race": race(steps=4)})
    tab = open_page(tmp_path / "one.html")
    assert tab.locator("#race-table tbody tr").count() == 5
    assert tab.locator("#clip").count() == 0
    with pytest.raises(ValueError, match="comparisons may hold vanishing, clipping, race, got racing"):
        write_page(recording, comparisons={"racing": []})


def test_a_regression_compares_by_r2_not_by_right_answers(rng):
    x = rng.normal(size=(40, 2))
    text = bp.explain.page(bp.mlp([2, 3, 1], seed=0), x, x[:, :1], loss="mse", epochs=2, comparisons=["vanishing"])
    data = data_of(text)
    assert data["vanishing"]["score"] == "r2"
    assert all(score <= 1 for run in data["vanishing"]["runs"] for score in run["scores"])
    assert all("accuracy" not in snapshot for snapshot in data["training"]["snapshots"])


PAIRS = [(data, name) for data in ("xor", "circles", "spirals", "digits") for name in bp.optimizers.NAMES]


@pytest.mark.parametrize(("data", "optimizer"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_recorded_defaults_learn(data, optimizer):
    """95 % right with every optimizer at its default rate, which depends on the data; and with relu, where units may die."""
    from backprop._commands import explain as command

    task = command.load(data)
    for activation in ("tanh", "relu") if data in ("xor", "circles") else ("tanh",):
        sizes = [task.x.shape[1], *command._hidden(task, activation), task.n_outputs]
        net = bp.mlp(sizes, activation=activation, dtype="float64", seed=0)
        rule = bp.optimizers.get(command._rule(task, optimizer, None))
        pace = {"epochs": task.epochs, "batch_size": command._batch_size(task, optimizer), "snapshots": 2, "grid_size": 2}
        made = record(net, task.x, task.y, loss=task.loss, optimizer=rule, **pace)
        assert made.snapshots[-1].accuracy >= 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 5}, "rows must be a list of row numbers, got 5"),
        ({"feature_names": "ab"}, "feature_names must be a list of names, got 'ab'"),
        ({"target_names": "ny"}, "target_names must be a list of names, got 'ny'"),
        ({"comparisons": "race"}, "comparisons must be a list of names, got 'race'"),
        ({"image_shape": (3, 3)}, r"image_shape must have rows \* columns = 2, the number of inputs, got \(3, 3\)"),
        ({"image_shape": 2}, r"image_shape must be \(rows, columns\), got 2"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "x must have at least one row"),
    ],
)
def test_a_page_names_what_it_refuses(options, message):
    given = {"net": bp.mlp([2, 1], seed=0), "x": np.eye(2), "y": [0.0, 1.0], "loss": "mse", "epochs": 1} | options
    with pytest.raises((TypeError, ValueError), match=message):
        bp.explain.page(**given)


@pytest.mark.parametrize("options", [{"examples": []}, {"examples": 3}, {"snapshots": 0}, {"grid_size": 0}])
def test_a_recording_names_what_it_refuses(options):
    (name, _), *_ = options.items()
    with pytest.raises((TypeError, ValueError), match=f"{name} must"):
        bp.explain.record(bp.mlp([2, 1], seed=0), np.eye(2), [0.0, 1.0], loss="mse", **options)


def test_a_page_counts_the_rows_that_were_trained_on(rng):
    few = bp.explain.page(bp.mlp([2, 1], seed=0), np.eye(2), [0.0, 1.0], loss="mse", epochs=2)
    assert "on 2 examples, 2 at a time" in few
    assert "averages over 2." in few
    monitor, x = bp.Monitor(), rng.normal(size=(2500, 2))
    bp.mlp([2, 1], seed=0).fit(x, x[:, 0], loss="mse", epochs=2, batch_size=50, callbacks=[monitor])
    assert "on 2500 examples, 50 at a time" in bp.explain.page(monitor, rows=[0])
