"""The laboratory: what its scripts compute, in Node; and how the page behaves, in Chromium."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import backprop as bp
from backprop.cli import main
from backprop.explain import laboratory, live

pytestmark = pytest.mark.once

LAB = files("backprop.explain").joinpath("assets", "lab")
HEADLESS = ("engine.js", "data.js", "session.js")
"""The scripts that need no page."""
PAIRS = [(data, optimizer) for data in live.DATA for optimizer in ("sgd", "momentum", "rmsprop", "adam")]


def source(name):
    return LAB.joinpath(name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def lab_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("lab") / "lab.html"
    laboratory(path)
    return path


@pytest.fixture
def open_lab(open_page, lab_file):
    """Opens the laboratory in a state and waits until it stands there."""

    def open_it(state="", **options):
        tab = open_page(lab_file, hash=state, **options)
        tab.wait_for_function("document.body.dataset.ready === 'yes'")
        return tab

    return open_it


def settings(tab):
    return tab.evaluate("({...lab.session.settings, epoch: lab.session.epoch, steps: lab.session.steps})")


def parameters(tab):
    return tab.evaluate("Array.from(lab.session.net.parameters)")


# What is in the file.


def test_one_file_that_loads_nothing(lab_file):
    text = lab_file.read_text(encoding="utf-8")
    assert len(text.encode()) < 1.2e6
    assert not re.search(r"https?://(?!www\.w3\.org/(2000/svg|1998/Math/MathML))", text)
    assert not re.search(r"<(link|img|iframe)[^>]+(href|src)=\"(?!data:)|@import|<script[^>]+src=", text)
    assert not re.search(r"fetch\(|XMLHttpRequest|eval\(|import\(", text)
    assert not re.search(r"/\*(style|script)\*/|<!--\w+-->|\{\{", text)


def test_every_word_stands_in_one_file():
    words = json.loads(source("words.json"))
    assert all(text.strip() for text in words.values())
    scripts = re.sub(r"//.*", "", "".join(source(f"{name}.js") for name in live._SCRIPTS))
    asked = set(re.findall(r'say\("([^"]+)"', scripts)) | set(re.findall(r"\{\{([\w.]+)\}\}", source("page.html")))
    assert asked <= words.keys()
    # Keys that are put together: their beginnings.
    beginnings = set(re.findall(r"say\(`([\w.]+)\$\{", scripts)) | {"word.", "goal", "happened.", "condition."}
    steps = set(re.findall(r'add\("\w+", \w+, "(\w+)"', scripts))
    conditional = {match for pair in re.findall(r'\? "([\w.]+)" : "([\w.]+)"', scripts) for match in pair}
    conditional |= set(re.findall(r'notes\.push\(\["(\w+)"', scripts))
    for key in words:
        known = key in asked or key in conditional or key.rsplit(".", 1)[0] in steps or any(key.startswith(b) for b in beginnings)
        assert known, f"{key} is not used"
    for step in steps:
        assert {f"{step}.title", f"{step}.text"} <= words.keys()


def test_no_word_is_left_in_a_script():
    """English sentences in strings would not be translated; what stands in quotes is keys, names and code."""
    for name in live._SCRIPTS:
        code = re.sub(r"//.*", "", source(f"{name}.js"))
        code = re.sub(r"`[^`]*`", "", code)
        for text in re.findall(r'"([^"\n]*)"', code):
            assert not re.search(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}", text) or "use strict" in text or "net live" in text, (name, text)


def test_python_and_the_page_know_the_same_state(in_node):
    known = in_node(
        "done({hide: HIDE_KEYS, settings: Object.keys(READERS), view: Object.keys(VIEW), data: DATA_NAMES, "
        "choices: {activation: HIDDEN_ACTIVATIONS, init: ['auto', ...Object.keys(INITS)], loss: Object.keys(Engine.LOSSES), "
        "optimizer: Engine.OPTIMIZERS, language: LANGUAGES, speed: SPEEDS.map(String)}})",
        scripts=(*HEADLESS, "state.js"),
    )
    assert tuple(known["hide"]) == live.HIDE
    assert {*known["settings"], *known["view"], "hide", "present", "epoch"} == {*live.STATE, "data"}
    assert [*live.DATA, "csv"] == known["data"]
    for name, choices in known["choices"].items():
        for choice in choices:
            assert live.state_hash(**{name: choice}) == f"#{name}={choice}"
        with pytest.raises(ValueError, match=rf"{name} must be .*got 'other'"):
            live.state_hash(**{name: "other"})


@pytest.mark.parametrize(
    "state",
    [
        {"data": "circles", "features": ("x1", "sinx2"), "hidden": (3, 2), "lr": 0.05, "optimizer": "adam"},
        {"data": "digits", "hidden": (), "epoch": 3, "hide": ["lr", "noise"], "present": True},
        {"noise": 0.1, "test": 0.0, "seed": 7, "batch": 1, "l2": 0.001, "clip": 1.0, "init": "zeros"},
        {"weight": "0.1.2", "nudge": -0.5, "lens": "1.2", "language": "math", "rows": "all", "step": 4, "unit": 1, "example": 9},
    ],
)
def test_a_state_from_python_is_read_by_the_page(in_node, state):
    parsed = in_node("done(readHash(input, {}))", scripts=(*HEADLESS, "state.js"), data=live.state_hash(**state))
    assert parsed["refused"] == []
    found = {**parsed["settings"], **parsed["view"], "hide": parsed["hide"], "present": parsed["present"]}
    if parsed["run"]:
        found["epoch"] = int(parsed["run"][0][:-1])
    for name, value in state.items():
        assert found[name] == (list(value) if isinstance(value, tuple) else value), name


def test_a_state_is_checked_before_anything_is_written(tmp_path):
    out = tmp_path / "lab.html"
    with pytest.raises(TypeError, match="no 'rate'; its state has data, features, noise"):
        laboratory(out, rate=0.1)
    with pytest.raises(ValueError, match="lr must be a number from 1e-5 to 100, got 0"):
        laboratory(out, lr=0)
    with pytest.raises(ValueError, match="features must be some of x1, x2"):
        laboratory(out, features=["x1", "x1"])
    with pytest.raises(ValueError, match="hidden must be up to 6 whole numbers"):
        laboratory(out, hidden=(4, 40))
    with pytest.raises(ValueError, match=r"data must be xor, circles.* or a CSV file, got 'sun'"):
        laboratory(out, data="sun")
    with pytest.raises(ValueError, match="target names a column of a CSV file"):
        laboratory(out, data="xor", target="y")
    assert not out.exists()
    table = tmp_path / "t.csv"
    table.write_text("x,y\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is the file that is read"):
        laboratory(table, data=str(table))
    assert table.read_text(encoding="utf-8") == "x,y\n1,2\n"


def test_the_command_writes_the_laboratory(tmp_path, capsys):
    out = tmp_path / "lab.html"
    assert main(["explain", "circles", "--optimizer", "adam", "--hidden", "5", "--out", str(out)]) == 0
    assert "Wrote" in capsys.readouterr().out
    assert '"hash":"#data=circles&hidden=5&optimizer=adam&seed=0"' in out.read_text(encoding="utf-8")
    assert main(["explain", "circles", "--epochs", "5", "--out", str(out)]) == 1
    assert "epochs is for a recorded page" in capsys.readouterr().err
    assert main(["explain", "circles", "--optimizer", "lion", "--out", str(out)]) == 1
    assert "optimizer must be sgd, momentum, rmsprop or adam, got 'lion'" in capsys.readouterr().err
    assert main(["explain", "circles", "--data", "xor"]) == 1
    assert "data is given twice" in capsys.readouterr().err


def test_the_command_opens_the_laboratory(monkeypatch, tmp_path, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["explain"]) == 0
    assert len(opened) == 1
    assert opened[0].startswith("file://")
    assert "laboratory.html" in capsys.readouterr().out


# What the scripts compute.


@pytest.mark.parametrize("data", live.DATA)
def test_the_defaults_learn(in_node, data):
    """Every optimizer reaches 95 % right, or an R2 of 0.95, within the epochs after which playing stops."""
    script = """
    const results = {};
    for (const optimizer of Engine.OPTIMIZERS) {
      const session = new Session(defaultSettings(input.data, optimizer), { digits: input.digits });
      while (session.epoch < DEFAULTS[input.data].epochs) session.doEpoch();
      results[optimizer] = [session.now.score, Math.max(...session.history.map((point) => point.testScore))];
    }
    done(results);
    """
    results = in_node(script, scripts=HEADLESS, data={"data": data, "digits": live._digits() if data == "digits" else None})
    for optimizer, (score, best_test) in results.items():
        assert score >= 0.95, (optimizer, score)
        assert best_test >= 0.9, (optimizer, best_test)


def test_a_training_is_done_again_from_its_log(in_node):
    script = """
    const make = () => new Session({ ...defaultSettings("circles", "adam"), seed: 3 });
    const a = make();
    a.doEpoch(); a.doBatch(); a.doBatch(); a.doExample(); a.change("lr", 0.005); a.change("lr", 0.004); a.doEpoch();
    a.change("optimizer", "momentum"); a.change("clip", 0.5); a.doEpoch();
    const b = make();
    for (const entry of a.log) {
      if (entry.includes("=")) { const [key, text] = entry.split("="); b.change(key, isNaN(text) ? text : Number(text)); continue; }
      const kind = { e: "doEpoch", b: "doBatch", x: "doExample" }[entry.at(-1)];
      for (let k = 0; k < parseInt(entry, 10); k++) b[kind]();
    }
    const same = [...a.net.parameters].every((value, k) => value === b.net.parameters[k]);
    done({ log: a.log, same, logs: b.log, epoch: b.epoch });
    """
    found = in_node(script, scripts=HEADLESS)
    assert found["log"] == ["1e", "2b", "1x", "lr=0.004", "1e", "optimizer=momentum", "clip=0.5", "1e"] == found["logs"]
    assert found["same"]
    assert found["epoch"] == 3


def test_chance_comes_from_the_seed_and_the_purpose(in_node):
    script = """
    const at = (more) => {
      const s = new Session({ ...defaultSettings("moons"), ...more });
      return [[...s.net.parameters], [...s.data.x], s.test.rows];
    };
    const [one, again, seed, noise] = [at({}), at({}), at({ seed: 1 }), at({ noise: 0.3 })];
    const same = (a, b) => [0, 1, 2].map((k) => JSON.stringify(a[k]) === JSON.stringify(b[k]));
    const random = new Random("1/x"), values = Array.from({ length: 20000 }, () => random.normal());
    const mean = values.reduce((a, b) => a + b) / values.length;
    const std = Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / values.length);
    const order = new Random("a").permutation(50).sort((a, b) => a - b);
    done({ again: same(one, again), seed: same(one, seed), noise: same(one, noise), mean, std, order });
    """
    found = in_node(script, scripts=HEADLESS)
    assert found["again"] == [True, True, True]
    assert found["seed"] == [False, False, False]
    assert found["noise"] == [True, False, True]
    assert abs(found["mean"]) < 0.03
    assert abs(found["std"] - 1) < 0.03
    assert found["order"] == list(range(50))


@pytest.mark.parametrize(
    ("loss", "optimizer", "sizes"),
    [("binary_cross_entropy", "sgd", [2, 4, 3, 1]), ("cross_entropy", "adam", [2, 5, 3]), ("mse", "momentum", [2, 3, 3, 2, 1])],
)
def test_a_step_shows_the_numbers_of_a_trace(in_node, loss, optimizer, sizes):
    """`StepNumbers` has what `bp.trace` has, and the paths of every weight add up to its gradient."""
    net = bp.mlp(sizes, activation="tanh", dtype="float64", seed=3)
    x = [[0.3, -0.8]]
    target = {"binary_cross_entropy": [[1.0]], "cross_entropy": [[0.0, 1.0, 0.0]], "mse": [[0.7]]}[loss]
    rule = {"sgd": bp.SGD(lr=0.1), "adam": bp.Adam(lr=0.1), "momentum": bp.SGD(lr=0.1, momentum=0.9)}[optimizer]
    trace = bp.trace(net, x, target, loss=loss, optimizer=rule)
    script = """
    const net = new Engine.Network(input.sizes, "tanh", 1);
    net.parameters.set(input.initial);
    const session = { net, data: { inputs: 2, outputs: input.sizes.at(-1) }, link: Engine.LINKS[input.loss],
      train: { n: 1, x: Float64Array.from(input.x), y: Float64Array.from(input.y) }, settings: { loss: input.loss, clip: 0 },
      trainer: { optimizer: new Engine.Optimizer(input.optimizer, { lr: 0.1 }) } };
    const numbers = new StepNumbers(session, 0), differences = [];
    net.layers.forEach((layer, k) => {
      for (let i = 0; i < layer.inputs; i++) {
        for (let j = 0; j < layer.outputs; j++) {
          const sum = pathsOf(numbers, k, i, j).paths.reduce((total, path) => total + path.product, 0);
          differences.push(Math.abs(sum - numbers.gradients[layer.weight + i * layer.outputs + j]));
        }
      }
    });
    const plain = ({ z, a, delta, slope, gradX: grad_x }) => (
      Object.fromEntries(Object.entries({ z, a, delta, slope, grad_x }).map(([role, values]) => [role, [...values]]))
    );
    done({
      loss: numbers.loss, newLoss: numbers.newLoss, after: [...numbers.after], gradients: [...numbers.gradients],
      layers: numbers.layers.map(plain), worst: Math.max(...differences),
    });
    """
    head = "const say = (key) => key; const document = {getElementById: () => ({})};"
    data = {"sizes": sizes, "initial": net.parameters.tolist(), "loss": loss, "x": x[0], "y": target[0], "optimizer": optimizer}
    numbers_js = source("numbers.js")
    chain_js = source("chain.js").split("class Chain")[0]
    found = in_node(head + numbers_js + chain_js + script, data=data)
    assert found["loss"] == pytest.approx(trace.loss, rel=1e-12)
    assert found["newLoss"] == pytest.approx(float(trace["new_loss"]), rel=1e-10)
    for k, layer in enumerate(found["layers"]):
        for role, numbers in layer.items():
            np.testing.assert_allclose(numbers, trace[f"layers.{k}.{role}"].ravel(), rtol=1e-11, atol=1e-15)
    names = [f"layers.{k}.{{}}{role}" for k in range(len(net.layers)) for role in ("weight", "bias")]
    for key, prefix in (("gradients", "grad_"), ("after", "new_")):
        wanted = np.concatenate([trace[name.format(prefix)].ravel() for name in names])
        np.testing.assert_allclose(found[key], wanted, rtol=1e-11, atol=1e-15)
    assert found["worst"] < 1e-14


def test_own_tables_are_read(in_node):
    script = """
    const d = makeData("csv", { csv: input.csv, target: input.target });
    done({ ...d, x: [...d.x], y: [...d.y], labels: [...d.labels] });
    """
    csv = 'size;"kind";good\n1;u;yes\n2;v;no\n3;u;no\n;u;no\n5;"v";yes\n'
    found = in_node(script, scripts=HEADLESS, data={"csv": csv, "target": None})
    assert found["features"] == ["size", "kind = u", "kind = v"]
    assert found["classes"] == ["no", "yes"]
    assert found["kind"] == "binary"
    assert found["labels"] == [1, 0, 0, 1]
    assert found["notes"] == [["csvLeftOut", 1]]
    np.testing.assert_allclose(np.array(found["x"]).reshape(4, 3)[:, 0] * found["spread"][0] + found["mean"][0], [1, 2, 3, 5])
    found = in_node(script, scripts=HEADLESS, data={"csv": "a,b\n" + "\n".join(f"{k},{k * 1.5}" for k in range(8)), "target": "b"})
    assert (found["kind"], found["target"], found["features"]) == ("regression", "b", ["a"])
    np.testing.assert_allclose(np.array(found["y"]) * found["targetSpread"] + found["targetMean"], 1.5 * np.arange(8), atol=1e-12)


def test_sentences_say_what_happened(in_node):
    """Computed from the run: success, overflow, equal units, dead units, learning by heart."""
    head = "const say = (key, values) => key; const show = String; const document = {getElementById: () => ({})};"
    script = (
        head
        + source("story.js").split("class Expectation")[0]
        + """
    const run = (settings, epochs) => {
      const session = new Session({ ...defaultSettings(settings.data || "xor"), ...settings });
      for (let k = 0; k < epochs && !session.failed; k++) session.doEpoch();
      return whatHappened(session);
    };
    done({
      none: run({}, 0), good: run({}, 60), r2: run({ data: "regression" }, 200), huge: run({ data: "regression", lr: 100 }, 30),
      zeros: run({ init: "zeros" }, 12),
      heart: run({ data: "moons", noise: 0.6, hidden: [16, 16], optimizer: "adam", lr: 0.03 }, 400),
      expected: outcome(new Session(defaultSettings("xor")), 100),
    });
    """
    )
    found = in_node(script, scripts=HEADLESS)
    assert found["none"] == ["happened.nothing"]
    assert found["good"] == ["happened.loss", "happened.rightTest", "happened.reached"]
    assert found["r2"][1:3] == ["happened.r2Test", "happened.reachedR2"]
    assert not any("right" in key for key in found["r2"])
    assert found["huge"] == ["happened.failed"] or "happened.rose" in found["huge"]
    assert {"happened.flat", "condition.equal"} <= set(found["zeros"])
    assert "happened.overfit" in found["heart"]
    assert found["expected"] is None


# How the page behaves.


def test_it_opens_untrained_and_asks_to_press_play(open_lab):
    tab = open_lab()
    assert tab.locator("#prompt").is_visible()
    assert "Press play" in tab.locator("#prompt").inner_text()
    assert settings(tab)["steps"] == 0
    assert "95" in tab.locator("#goal-text").inner_text()
    before = tab.locator("#lens-canvas").evaluate("c => c.toDataURL()")
    tab.locator("#expect-options label").nth(1).click()
    assert "Press play" in tab.locator("#expect-result").inner_text()
    tab.locator("#speed").select_option("1000")
    tab.locator("#play").click()
    tab.wait_for_function("lab.session.epoch >= 100 && !lab.playing", timeout=15000)
    assert not tab.locator("#prompt").is_visible()
    assert tab.evaluate("lab.session.now.score") >= 0.95
    assert "reached" in tab.locator("#goal-text").inner_text()
    assert tab.locator("#expect-result").inner_text().startswith("You expected")
    assert tab.locator("#lens-canvas").evaluate("c => c.toDataURL()") != before
    assert tab.evaluate("location.hash") == "#epoch=100&speed=1000"
    tab.wait_for_function("document.getElementById('live').textContent.startsWith('Epoch 100')")


def test_one_epoch_one_batch_one_example(open_lab):
    tab = open_lab()
    rows = tab.evaluate("lab.session.train.n")
    tab.locator("#do-example").click()
    assert settings(tab)["steps"] == 1
    tab.locator("#do-batch").click()
    assert tab.evaluate("lab.session.position") == 17
    tab.locator("#do-epoch").click()
    assert settings(tab)["epoch"] == 1
    assert settings(tab)["steps"] == 2 + -(-(rows - 17) // 16)
    assert tab.evaluate("location.hash") == "#run=1x%7C1b%7C1e"
    tab.locator("#reset").click()
    assert settings(tab)["steps"] == 0
    assert tab.evaluate("location.hash") == ""


def test_the_address_holds_the_state(open_lab):
    """A training with changes on the way, a step, a unit and a nudged weight come back from the address alone."""
    tab = open_lab("#data=circles&seed=2&hidden=5,3")
    for _ in range(3):
        tab.locator("#do-epoch").click()
    tab.locator("#do-batch").click()
    tab.locator("#lr").focus()
    tab.keyboard.press("ArrowLeft")
    tab.locator("#optimizer").select_option("adam")
    tab.locator("#do-epoch").click()
    tab.locator("#example-after").click()
    for _ in range(3):
        tab.locator("#walk-next").click()
    tab.locator("#unit-after").click()
    tab.locator("label", has_text="NumPy").first.click()
    tab.locator("#weight-layer").select_option("1")
    tab.locator("#weight-from").select_option("2")
    tab.locator("#nudge").evaluate("input => { input.value = 0.6; input.dispatchEvent(new Event('input')); }")
    again = open_lab(tab.evaluate("location.hash"))
    assert again.evaluate("location.hash") == tab.evaluate("location.hash")
    assert parameters(again) == parameters(tab)
    assert settings(again) == settings(tab)
    for place in ("#walk-title", "#unit-name", "#walk-formula", "#nudge-now", "#paths-sum", "#epoch-now", "#example-of"):
        assert again.locator(place).inner_text() == tab.locator(place).inner_text(), place


def test_following_a_link_inside_the_page_changes_the_state(open_lab):
    tab = open_lab()
    tab.evaluate("location.hash = '#data=moons&epoch=4&step=2'")
    tab.wait_for_function("lab.session.data.name === 'moons' && lab.session.epoch === 4")
    assert tab.locator("#data").input_value() == "moons"
    tab.evaluate("location.hash = '#data=mars&lr=-1&hide=lr,stars&foo=1'")
    tab.wait_for_function("!document.getElementById('note').hidden")
    assert "data=mars, lr=-1, hide=stars, foo" in tab.locator("#note").inner_text()


def test_parts_can_be_left_out(open_lab):
    tab = open_lab()
    for part in live.HIDE:
        tab.evaluate(f"location.hash = '#hide={part}&epoch=2&step=5'")
        tab.wait_for_function(f"lab.hide.join() === '{part}' && lab.session.epoch === 2")
        if part == "ask":
            assert tab.evaluate("lab.walk.step.ask !== null")
            assert tab.locator("#walk-lines .line").count() > 0
        shown = tab.evaluate(f"[...document.querySelectorAll('[data-part={part}]')].map((place) => place.checkVisibility())")
        assert shown
        assert not any(shown), part
        tab.evaluate("document.getElementById('do-epoch').click()")
        assert tab.evaluate("lab.session.epoch") == 3


@pytest.mark.parametrize("data", live.DATA)
def test_every_data_set_is_shown(open_lab, data):
    tab = open_lab(f"#data={data}&epoch=2")
    assert tab.locator("#data").input_value() == data
    kind = "lens-image" if data == "digits" else "lens-line" if data == "regression" else "lens-map"
    for name in ("lens-image", "lens-line", "lens-map"):
        assert tab.locator(f"#{name}").is_visible() == (name == kind)
    assert ("R²" in tab.locator("#summary").inner_text()) == (data == "regression")
    if data == "regression":
        assert "right" not in tab.locator("#train .readout").inner_text()
    for key in ("1.0", "0.0"):
        tab.locator(f'[data-tile="{key}"]').hover()
        assert tab.locator("#lens-title").inner_text()
    steps = tab.evaluate("lab.walk.steps.length")
    for _ in range(steps - 1):
        tab.evaluate("lab.walk.hidden && lab.walk.reveal(); lab.walk.goTo(lab.view.step + 1)")
    assert tab.locator("#walk-count").inner_text() == f"step {steps} of {steps}"


def test_controls_change_the_network_and_the_training(open_lab):
    tab = open_lab()
    tab.locator("#layer-add").click()
    tab.locator("#layers .more").first.click()
    assert settings(tab)["hidden"] == [5, 4]
    tab.locator("#layer-remove").click()
    tab.locator("#layers .less").first.click()
    assert settings(tab)["hidden"] == [4]
    for name, value in (("activation", "relu"), ("init", "zeros"), ("loss", "mse"), ("optimizer", "rmsprop"), ("data", "gauss")):
        tab.locator(f"#{name}").select_option(value)
        assert settings(tab)[name] == value
    assert settings(tab)["loss"] == "cross_entropy"
    for name in ("noise", "test", "lr", "batch", "l2", "clip"):
        before = settings(tab)[name]
        tab.locator(f"#{name}").focus()
        tab.keyboard.press("ArrowRight")
        assert settings(tab)[name] > before
        assert tab.locator(f"#{name}").get_attribute("aria-valuetext") == tab.locator(f"#{name}-out").inner_text()
    tab.locator("#seed-next").click()
    assert settings(tab)["seed"] == 1
    tab.locator("#seed").fill("12")
    tab.locator("#seed").press("Enter")
    assert settings(tab)["seed"] == 12


def test_inputs_can_be_made_of_the_coordinates(open_lab):
    """With the product of its coordinates, xor is learned without a hidden layer; the map stays the plane."""
    tab = open_lab("#hidden=none&epoch=60")
    assert tab.evaluate("lab.session.now.score") < 0.8
    tab.locator("#features label", has_text="x₁x₂").click()
    assert settings(tab)["features"] == ["x1", "x2", "x1x2"]
    assert tab.evaluate("lab.session.data.features") == ["x₁", "x₂", "x₁x₂"]
    tab.evaluate("for (let k = 0; k < 60; k++) lab.session.doEpoch(); lab.settled()")
    assert tab.evaluate("lab.session.now.score") > 0.95
    assert tab.locator("#lens-axes").text_content().endswith("x₁x₂")
    tab.locator('[data-tile="0.2"]').hover()
    assert tab.locator("#lens-title").inner_text() == "Input x₁x₂"
    x, products = tab.evaluate("[Array.from(lab.session.train.x.slice(0, 3)), Array.from(lab.board.probe.x.slice(0, 3))]")
    assert x[2] == pytest.approx(x[0] * x[1], rel=1e-12)
    for name in ("x₁x₂", "x₁", "x₂"):
        tab.locator("#features label", has_text=re.compile(f"^{name}$")).click()
    assert settings(tab)["features"] == ["x2"]  # one stays
    assert products[2] == pytest.approx(products[0] * products[1], rel=1e-12)


def test_an_own_table_can_be_pasted_and_dropped(open_lab):
    tab = open_lab()
    tab.locator("#data").select_option("csv")
    assert tab.locator("#csv-box").is_visible()
    rows = "\n".join(f"{k % 7},{(k * 3) % 5},{'big' if k % 7 > 3 else 'small'}" for k in range(40))
    tab.locator("#csv-text").fill(f"width,height,size\n{rows}\n")
    tab.locator("#csv-use").click()
    assert tab.evaluate("lab.session.data.features") == ["width", "height"]
    assert "class big" in tab.locator("#lens-key").inner_text()
    assert tab.locator("#lens-axes").text_content().endswith("widthheight")
    tab.locator("#csv-target").select_option("width")
    assert tab.evaluate("lab.session.data.target") == "width"
    tab.locator("#csv-text").fill("a\n1\n")
    tab.locator("#csv-use").click()
    assert "needs a header" in tab.locator("#note").inner_text()
    drop = """text => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([text], "x.csv"));
      document.getElementById("csv-box").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }"""
    tab.evaluate(drop, f"u,v,out\n{rows}\n")
    tab.wait_for_function("lab.session.data.target === 'out'")


def test_the_walk_asks_before_it_shows(open_lab):
    tab = open_lab("#epoch=3")
    asked = [k for k, step in enumerate(tab.evaluate("lab.walk.steps.map(s => Boolean(s.ask))")) if step]
    titles = tab.evaluate("lab.walk.steps.map(s => s.key)")
    assert titles.index("deltaIntro") < titles.index("delta")
    assert len(asked) == 2
    tab.evaluate(f"lab.walk.goTo({asked[0]})")
    assert tab.locator("#ask").is_visible()
    assert tab.locator("#walk-lines .line").count() == 0
    answer = tab.evaluate("lab.walk.step.ask.answer")
    tab.locator("#ask-options button").nth(answer).click()
    assert "so it is" in tab.locator("#ask-answer").inner_text()
    assert tab.locator("#walk-lines .line").count() > 0
    tab.evaluate(f"lab.walk.goTo({asked[1]})")
    tab.locator("#ask-options button").nth((tab.evaluate("lab.walk.step.ask.answer") + 1) % 3).click()
    assert "it is" in tab.locator("#ask-answer").inner_text()
    before, after = tab.evaluate("[lab.walk.numbers.loss, lab.walk.numbers.newLoss]")
    assert ("smaller" if after < before else "larger") in tab.locator("#walk-text").inner_text()


def test_formulas_in_three_languages(open_lab):
    tab = open_lab("#epoch=3&step=1")
    seen = set()
    for _ in range(tab.evaluate("lab.walk.steps.length")):
        for name, mark in (("words", "p"), ("math", "math"), ("numpy", "code")):
            tab.evaluate(f"lab.walk.hidden && lab.walk.reveal(); lab.setLanguage('{name}')")
            if tab.evaluate("Boolean(lab.walk.step.formula)"):
                assert (tab.locator(f"#walk-formula {mark}").count() == 1) == (name != "words")
                seen.add(name)
        tab.evaluate("lab.walk.goTo(lab.view.step + 1)")
    assert seen == {"words", "math", "numpy"}
    assert tab.locator("#paths code").count() > 0


def test_nudging_a_weight_moves_the_loss_along_its_slope(open_lab):
    tab = open_lab("#data=moons&epoch=5&weight=0.1.2")
    initial = parameters(tab)
    slope, loss = tab.evaluate("lab.chain.gradientNow()")
    by = 1e-5
    tab.evaluate(f"lab.setNudge({by})")
    moved = tab.evaluate("lab.chain.gradientNow()[1]")
    assert (moved - loss) / by == pytest.approx(slope, rel=1e-3)
    tab.locator("input[name=rows][value=all]").check(force=True)
    slope, moved = tab.evaluate("lab.chain.gradientNow()")
    assert moved == pytest.approx(tab.evaluate("lab.session.judge(lab.session.train)[0]"), rel=1e-12)
    assert "Moved by" in tab.locator("#nudge-means").inner_text()
    tab.locator("#nudge-back").click()
    assert parameters(tab) == initial
    shown = tab.locator("#paths .path .result").all()
    total = sum(float(result.get_attribute("data-value")) for result in shown)
    assert len(shown) == tab.evaluate("lab.chain.paths.count")
    assert total == pytest.approx(tab.evaluate("lab.chain.numbers.gradients[lab.weightIndex()]"), rel=1e-9)
    tab.locator("#do-epoch").click()
    tab.evaluate("lab.setNudge(0.5)")
    tab.locator("#do-epoch").click()
    again = open_lab("#data=moons&epoch=7&weight=0.1.2")
    assert parameters(again) == parameters(tab)


def test_a_pixel_is_marked_in_the_weights(open_lab):
    tab = open_lab("#data=digits&epoch=1&lens=1.2")
    weights = tab.locator("#weights-canvas")
    before = weights.evaluate("c => c.toDataURL()")
    tab.locator("#image-canvas").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        tab.keyboard.press(key)
    assert weights.evaluate("c => c.toDataURL()") != before
    assert "row 3, column 2" in tab.locator("#lens-key").inner_text()
    assert "weight to this unit" in tab.locator("#lens-key").inner_text()


def test_the_keyboard_is_enough_for_the_walk(open_lab):
    tab = open_lab("#epoch=2")
    tab.locator("#walk-next").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#walk-count").inner_text().startswith("step 2")
    name = tab.locator("#unit-name").inner_text()
    tab.keyboard.press("ArrowDown")
    assert tab.locator("#unit-name").inner_text() != name
    tab.keyboard.press("Home")
    assert tab.locator("#walk-count").inner_text().startswith("step 1")
    unit = tab.locator('#walk-drawing [data-unit="0-1"]')
    unit.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("#unit-name").inner_text() == "input x₂"
    tab.wait_for_function("/x₂.*-?[0-9]/.test(document.getElementById('live').textContent)")


@pytest.mark.parametrize("scene", ["train", "walk", "chain"])
def test_present_mode_fills_a_projector(open_lab, scene):
    tab = open_lab(f"#data=circles&epoch=30&step=5&present&scene={scene}", width=1280, height=720)
    small = tab.evaluate("""() => [...document.querySelectorAll("body *")]
      .filter((e) => e.checkVisibility() && !e.closest(".spoken, .top, math"))
      .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
      .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 20).map((e) => e.outerHTML.slice(0, 80))""")
    assert small == []
    controls = "[...document.querySelectorAll('button, input, select')].filter((e) => e.checkVisibility() && !e.matches('.tile'))"
    assert tab.evaluate(f"{controls}.length") == 0
    assert tab.evaluate("document.documentElement.scrollWidth <= 1280 && document.documentElement.scrollHeight <= 720")


def test_present_mode_has_a_key_for_everything(open_lab):
    tab = open_lab("#data=circles&present")
    for key, steps in (("e", 10), ("b", 11), ("x", 12)):
        tab.keyboard.press(key)
        assert settings(tab)["steps"] == steps
    tab.keyboard.press("r")
    assert settings(tab)["steps"] == 0
    tab.keyboard.press(" ")
    tab.wait_for_function("lab.session.epoch > 2")
    tab.keyboard.press(" ")
    assert not tab.evaluate("lab.playing")
    tab.keyboard.press("2")
    assert tab.locator("#walk").is_visible()
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("lab.view.step") == 1
    tab.keyboard.press("3")
    tab.keyboard.press("+")
    assert tab.evaluate("lab.view.nudge") == 0.1
    tab.keyboard.press("l")
    assert tab.evaluate("lab.view.language") == "math"
    tab.keyboard.press("1")
    assert tab.locator("#train").is_visible()


def test_printing_gives_a_worksheet_and_its_answers(open_lab):
    tab = open_lab("#epoch=5")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print")
    assert not tab.locator("#train").is_visible()
    steps = tab.evaluate("lab.walk.steps.length")
    assert tab.locator(".sheet-questions .sheet-step").count() == tab.locator(".sheet-answers .sheet-step").count() == steps
    blanks = tab.locator(".sheet-questions .n.result").all_inner_texts()
    answers = tab.locator(".sheet-answers .n.result").all_inner_texts()
    assert len(blanks) == len(answers) > 20
    assert sum("____" in blank for blank in blanks) == len(blanks) - 2  # the two inputs are given
    numbers = tab.locator(".sheet-questions .n").all()
    given = {number.get_attribute("title").split("[")[0] for number in numbers if "____" not in number.inner_text()}
    assert given == {"x", "W1", "W2", "b1", "b2", "t", "lr"}
    assert not any("____" in answer for answer in answers)


@pytest.mark.parametrize("width", [320, 768, 1280])
@pytest.mark.parametrize("state", ["#epoch=3", "#data=digits&epoch=1&step=3", "#data=spirals&hidden=8,8,8,8&step=9&epoch=1"])
def test_no_screen_is_too_narrow(open_lab, width, state):
    tab = open_lab(state, width=width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    small = tab.evaluate("""() => [...document.querySelectorAll("svg text")].filter((e) => e.checkVisibility() && e.textContent)
      .filter((e) => parseFloat(getComputedStyle(e).fontSize) * Math.hypot(e.getCTM().a, e.getCTM().b) < 11.9)
      .map((e) => e.textContent)""")
    assert small == []
    touched = "button:not(.tile), select, input[type=range], input[type=number], .choices label"
    short = tab.evaluate(f"""() => [...document.querySelectorAll("{touched}")].filter((e) => e.checkVisibility())
      .filter((e) => e.getBoundingClientRect().height < 43.5).map((e) => e.outerHTML.slice(0, 80))""")
    assert short == []


def test_twice_the_text_size_needs_no_sideways_scrolling(open_lab):
    tab = open_lab("#epoch=3&data=circles", width=640)
    tab.evaluate("document.documentElement.style.fontSize = '200%'")
    tab.evaluate("lab.all()")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 640


def test_dark_mode_forced_colours_and_reduced_motion(open_lab):
    backgrounds = set()
    for scheme in ("light", "dark"):
        tab = open_lab("#epoch=2&step=1", color_scheme=scheme, reduced_motion="reduce")
        backgrounds.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert tab.evaluate("getComputedStyle(document.querySelector('#walk-drawing .flow line')).animationName") == "none"
    assert len(backgrounds) == 2
    tab = open_lab("#epoch=2&step=1", forced_colors="active")
    fill = tab.evaluate("getComputedStyle(document.querySelector('#walk-drawing .unit text')).fill")
    paper = tab.evaluate("getComputedStyle(document.querySelector('#walk-drawing .unit circle:not(.halo)')).fill")
    assert fill != paper


@pytest.mark.parametrize(("scheme", "rules"), [("light", "{}"), ("dark", "{runOnly: ['color-contrast']}")])
def test_axe_finds_nothing(open_lab, scheme, rules):
    """Of the rules, that for contrast alone depends on the colours."""
    found = find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("needs axe-core: pip install axe-playwright-python")
    axe = (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    report = f"axe.run({rules}).then((found) => found.violations.map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 120))]))"
    for state in ("", "#epoch=5&step=4&language=math", "#data=digits&lens=1.1&step=6", "#data=csv", "#present&scene=chain"):
        tab = open_lab(state, color_scheme=scheme)
        tab.add_script_tag(content=axe)
        assert tab.evaluate(report) == [], state


def test_a_long_training_and_its_pictures_are_quick(open_lab, in_units):
    tab = open_lab("#hidden=8,8&optimizer=adam")
    train = """() => {
      const start = performance.now();
      for (let k = 0; k < 10000; k++) lab.session.update(16);
      return performance.now() - start;
    }"""
    drawn = "() => { const start = performance.now(); lab.board.render(); return performance.now() - start; }"
    training, drawing = in_units(tab, train, drawn)
    assert training < 5
    assert drawing < 0.5


LESSONS = {
    "#data=circles&hidden=2": "happened.notReached",
    "#init=zeros&epoch=30": "condition.equal",
    "#data=spirals&activation=sigmoid&hidden=8,8,8,8,8,8&epoch=5": "condition.fades",
    "#data=moons&noise=0.35&hidden=16,16&optimizer=adam&lr=0.03&test=0.5": "happened.overfit",
    "#features=x1,x2,x1x2&hidden=none&lens=0.2": "happened.reached",
}


def test_the_links_of_the_documentation_show_what_they_say(in_node):
    """Every link is understood, and the training that it leads to ends as the link says."""
    page = Path(__file__).parent.parent.parent / "docs" / "laboratory.md"
    if not page.exists():
        pytest.skip("the documentation is not there")
    links = re.findall(r'laboratory\.html(#[^"]+)"', page.read_text(encoding="utf-8"))
    assert {*LESSONS} <= {*links}
    head = "const say = (key, values) => key; const show = String; const document = {getElementById: () => ({})};"
    script = """
    done(input.map((hash) => {
      const given = readHash(hash, {}), session = new Session(given.settings);
      const epochs = given.run.length ? parseInt(given.run[0], 10) : DEFAULTS[given.settings.data].epochs;
      while (session.epoch < epochs) session.doEpoch();
      return { refused: given.refused, said: whatHappened(session) };
    }));
    """
    scripts = (*HEADLESS, "state.js")
    found = in_node(head + source("story.js").split("class Expectation")[0] + script, scripts=scripts, data=links)
    for link, result in zip(links, found, strict=True):
        assert result["refused"] == [], link
        if link in LESSONS:
            assert LESSONS[link] in result["said"], (link, result["said"])


def test_in_the_frame_of_a_notebook_it_trains_and_changes(open_page, tmp_path):
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><body>{laboratory(epoch=3)._repr_html_()}", encoding="utf-8")
    frame = open_page(path).frames[1]
    frame.wait_for_function("document.body.dataset.ready === 'yes'")
    frame.click("#do-epoch")
    frame.evaluate("lab.setNudge(0.5)")
    assert frame.evaluate("[lab.session.epoch, lab.view.nudge]") == [4, 0.5]


@pytest.mark.parametrize("part", ["run=0e", "run=0b", "features=toString", "features=x1,constructor", "toString=1", "valueOf"])
def test_what_means_nothing_is_refused(open_lab, part):
    tab = open_lab(f"#epoch=0&{part}")
    assert part.partition("=")[0] in tab.text_content("#note")
    assert settings(tab)["features"] == ["x1", "x2"]
    assert settings(tab)["steps"] == 0


def test_a_training_that_failed_can_be_looked_at(open_lab):
    tab = open_lab("#lr=100&activation=relu&loss=mse&epoch=50&nudge=1&scene=chain")
    assert tab.evaluate("lab.session.failed")


def test_numbers_of_numpy_are_numbers_in_a_link():
    state = {"lr": np.float64(0.1), "noise": np.float32(0.25), "seed": np.int64(3), "hidden": np.array([4, 2]).tolist(), "test": 0}
    assert live.state_hash(**state) == "#lr=0.1&noise=0.25&seed=3&hidden=4,2&test=0"
    assert live.state_hash(hidden=(np.int64(4),)) == "#hidden=4"


@pytest.mark.parametrize(
    "state", [{"hide": 5}, {"features": 5}, {"hidden": (True,)}, {"hidden": 4}, {"hide": ""}, {"features": None}]
)
def test_a_state_of_another_kind_is_named(state):
    (name, _), *_ = state.items()
    with pytest.raises(ValueError, match=f"{name} must be"):
        live.state_hash(**state)


def test_headers_are_read_as_the_page_reads_them(tmp_path):
    path = tmp_path / "houses.csv"
    path.write_text('"price, net";rooms;\n1;2;3\n2;3;1\n3;1;2\n4;4;4\n5;1;1\n', encoding="utf-8")
    assert laboratory(data=str(path), target="price, net")
    assert laboratory(data=str(path), target="column 3")
    with pytest.raises(ValueError, match="target must be one of the columns price, net, rooms, column 3, got 'net'"):
        laboratory(data=str(path), target="net")
    path.write_bytes("größe,preis\n1,2\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"houses\.csv must be a CSV file in UTF-8"):
        laboratory(data=str(path))
