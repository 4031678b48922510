"""The page: one file that loads nothing, with the library's numbers on it; and how it behaves in a real browser."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import backprop as bp
from backprop._commands.explain import explain
from backprop.cli import main
from backprop.explain.comparisons import clipping, race, vanishing
from backprop.explain.formulas import Ref
from backprop.explain.recorded_page import write_page
from backprop.explain.recording import moments, record
from backprop.explain.steps import columns
from backprop.explain.toys import TOYS, xor
from backprop.explain.walk import walk

pytestmark = pytest.mark.once

EXAMPLES = (0, 1)


@pytest.fixture(scope="module")
def recording():
    x, y = xor(24)
    net = bp.mlp([2, 3, 1], activation="tanh", dtype="float64", seed=3)
    return record(
        net,
        x,
        y[:, None],
        loss="binary_cross_entropy",
        optimizer=bp.SGD(lr=0.5),
        epochs=12,
        examples=EXAMPLES,
        snapshots=5,
        grid_size=16,
    )


@pytest.fixture(scope="module")
def comparisons():
    x, y = xor(24)
    deep = vanishing(
        x, y[:, None], loss="binary_cross_entropy", n_outputs=1, activations=["sigmoid", "tanh"], width=4, depth=5, epochs=8
    )
    return {"vanishing": deep, "clipping": clipping(steps=12), "race": race(steps=10)}


@pytest.fixture(scope="module")
def page_file(recording, comparisons, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(recording, path, comparisons=comparisons, title="xor")
    return path


def data_of(text):
    """The numbers that a page holds."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.mark.parametrize("rows", [1, 17])
@pytest.mark.parametrize("of", [record, bp.explain.page])
def test_a_last_batch_too_small_for_batch_norm_is_refused_before_training(of, rows):
    net = bp.Network([bp.Dense(2, 4), bp.BatchNorm(4), bp.Dense(4, 1)], seed=0)
    before = net.state_dict()
    x, y = np.random.default_rng(0).normal(size=(rows, 2)), np.ones((rows, 1))
    with pytest.raises(ValueError, match=f"BatchNorm needs .* {rows} rows in batches of 16 .*: use another batch_size$"):
        of(net, x, y, loss="mse", batch_size=16, epochs=2)
    assert all(np.array_equal(before[name], value) for name, value in net.state_dict().items())


def test_a_schedule_that_follows_results_observes_the_recorded_losses() -> None:
    x, y = xor(24)
    options = {"patience": 0, "factor": 0.5, "threshold": 0.5}
    schedule, expected = (bp.schedules.ReduceOnPlateau(0.1, **options) for _ in range(2))
    settings = {"loss": "binary_cross_entropy", "epochs": 6, "snapshots": 2, "grid_size": 4}
    net = bp.mlp([2, 3, 1], seed=3)
    made = record(net, x, y[:, None], optimizer=bp.SGD(lr=schedule), **settings)
    for loss in made.losses[1:]:
        expected.observe(loss)
    assert schedule.current == expected.current < 0.1
    before = net.parameters.copy()
    with pytest.raises(ValueError, match="monitor of ReduceOnPlateau must be one of loss, got 'val_loss'"):
        record(net, x, y[:, None], optimizer=bp.SGD(lr=bp.schedules.ReduceOnPlateau(0.1, monitor="val_loss")), **settings)
    np.testing.assert_array_equal(net.parameters, before)


def test_one_file_that_loads_nothing(page_file):
    text = page_file.read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"<(link|img|iframe)[^>]+(href|src)=\"(?!data:)|@import|<script[^>]+src=|fetch\(|XMLHttpRequest", text)
    assert not re.search(r"/\*(style|script)\*/|<!--(data|drawing|facts|origin|/?training)-->", text)


def test_recorded_numbers_are_those_of_a_computation_by_hand(recording, page_file):
    """Plain NumPy, from the recorded weights: forward, backward and update of both examples at every moment."""
    data = data_of(page_file.read_text(encoding="utf-8"))
    names = data["names"]
    for k, snapshot in enumerate(recording.snapshots):
        for e, row in enumerate(EXAMPLES):
            value = dict(zip(names, data["values"][k][e], strict=True))
            trace = snapshot.traces[e]
            w1, b1, w2, b2 = (trace[f"layers.{i}.{role}"] for i in (0, 1) for role in ("weight", "bias"))
            x, t = recording.x[row : row + 1], recording.y[row : row + 1]
            a1 = np.tanh(x @ w1 + b1)
            z2 = a1 @ w2 + b2
            p = 1 / (1 + np.exp(-z2))
            delta2 = p - t
            delta1 = (delta2 @ w2.T) * (1 - a1**2)
            expected = {
                "loss": -(t * np.log(p) + (1 - t) * np.log(1 - p)),
                "layers.0.a": a1,
                "layers.1.z": z2,
                "probabilities": p,
                "layers.1.delta": delta2,
                "layers.0.delta": delta1,
                "layers.1.grad_x": delta2 @ w2.T,
                "layers.0.grad_weight": x.T @ delta1,
                "layers.1.new_weight": w2 - 0.5 * (a1.T @ delta2),
                "layers.0.new_weight": w1 - 0.5 * (x.T @ delta1),
            }
            for name, array in expected.items():
                for place, number in np.ndenumerate(array):
                    key = name if name == "loss" else f"{name}[{','.join(map(str, place))}]"
                    assert value[key] == pytest.approx(number, rel=6e-6, abs=1e-12), (k, e, key)


def test_the_boundary_holds_what_the_network_answers(recording, page_file):
    from base64 import b64decode

    grid = data_of(page_file.read_text(encoding="utf-8"))["training"]["grid"]
    frame = np.frombuffer(b64decode(grid["frames"][-1]), np.uint8).reshape(16, 16)
    (x0, x1), (y0, y1) = recording.bounds
    point = np.array([[x0 + (x1 - x0) * 3.5 / 16, y0 + (y1 - y0) * 10.5 / 16]])
    last = recording.snapshots[-1].traces[0]
    a1 = np.tanh(point @ last["layers.0.weight"] + last["layers.0.bias"])
    p = 1 / (1 + np.exp(-(a1 @ last["layers.1.weight"] + last["layers.1.bias"])))
    assert abs(int(frame[10, 3]) - 255 * p.item()) <= 0.51


def test_training_learns_and_is_recorded(recording):
    assert [snapshot.epoch for snapshot in recording.snapshots] == moments(12, 5) == [0, 1, 3, 7, 12]
    assert len(recording.losses) == 13
    assert recording.losses[-1] < recording.losses[0]
    for snapshot in recording.snapshots:
        assert snapshot.loss == recording.losses[snapshot.epoch]


def test_a_recording_does_what_fit_does():
    x, y = xor(24)
    nets = [bp.mlp([2, 3, 1], activation="tanh", dtype="float64", seed=3) for _ in range(2)]
    record(nets[0], x, y[:, None], loss="binary_cross_entropy", optimizer=bp.SGD(lr=0.5), epochs=4, batch_size=24, snapshots=2)
    nets[1].fit(x, y[:, None], loss="binary_cross_entropy", optimizer=bp.SGD(lr=0.5), epochs=4, batch_size=24)
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=1e-10)


def test_comparisons_show_what_they_say(comparisons):
    sigmoid, tanh = comparisons["vanishing"]["runs"]
    assert sigmoid["norms"][0][0] < 1e-2 * sigmoid["norms"][0][-1]
    assert tanh["norms"][0][0] > 0.1 * tanh["norms"][0][-1]
    without, clipped = comparisons["clipping"]["runs"]
    assert not np.isfinite(without["losses"][-1])
    assert clipped["losses"][-1] < clipped["losses"][0] / 5
    for surface in comparisons["race"]:
        assert len({tuple(run["path"][0]) for run in surface["runs"]}) == 1
        for run in surface["runs"]:
            assert run["losses"][-1] < run["losses"][0]


@pytest.mark.parametrize(
    ("sizes", "outputs", "loss"), [((64, 64), 1, "binary_cross_entropy"), ((2, 8, 8, 8, 8), 3, "cross_entropy"), ((3,), 2, "mse")]
)
def test_any_network_fits_in_two_megabytes(sizes, outputs, loss, comparisons, rng):
    from backprop._commands.explain import _snapshots

    widths = [2, *sizes, outputs]
    x = rng.normal(size=(30, 2))
    y = rng.integers(0, 3, size=30) if loss == "cross_entropy" else rng.integers(0, 2, size=(30, outputs)).astype(float)
    net = bp.mlp(widths, dtype="float64", seed=0)
    made = record(
        net, x, y, loss=loss, optimizer="adam", epochs=40, batch_size=30, examples=(0, 1, 2, 3), snapshots=_snapshots(widths, 4)
    )
    text = write_page(made, comparisons=comparisons)
    assert len(text.encode()) < 2e6
    data = data_of(text)
    assert len(data["values"]) == len(made.snapshots) >= 8
    assert all(len(values) == len(data["names"]) for moment in data["values"] for values in moment)


def test_numbers_that_are_not_finite_are_words(comparisons):
    net = bp.mlp([2, 2, 1], dtype="float64", seed=0)
    net.layers[0].weight = np.full((2, 2), np.nan)
    text = bp.trace(net, [[1.0, 2.0]], [[1.0]], loss="mse").to_html()
    assert '"nan"' in text
    data_of(text)


@pytest.mark.parametrize("name", sorted(TOYS))
def test_toys_are_two_balanced_classes(name):
    x, y = TOYS[name]()
    assert x.shape == (len(y), 2)
    assert np.abs(x).max() < 2
    assert 0.4 < y.mean() < 0.6
    np.testing.assert_array_equal(TOYS[name](seed=0)[0], x)
    assert (TOYS[name](seed=1)[0] != x).any()


def test_command_writes_the_page(tmp_path, capsys):
    out = tmp_path / "page.html"
    assert (
        main(["explain", "--hidden", "2", "--epochs", "3", "--activation", "relu", "--optimizer", "adam", "--out", str(out)]) == 0
    )
    assert "Wrote" in capsys.readouterr().out
    data = data_of(out.read_text(encoding="utf-8"))
    assert [column["size"] for column in data["columns"]] == [2, 2, 1]
    assert [example["label"] for example in data["examples"]] == ["(−1, −1) → 0", "(−1, 1) → 1", "(1, −1) → 1", "(1, 1) → 0"]  # noqa: RUF001
    assert [run["name"] for run in data["vanishing"]["runs"]] == ["sigmoid", "tanh", "relu"]


def test_command_takes_tables_and_digits(tmp_path, rng):
    table = tmp_path / "table.csv"
    rows = "\n".join(
        f"{a:.3f},{b},{'yes' if a > 0 else 'no'},{a * 2:.3f}" for a, b in zip(rng.normal(size=30), ["u", "v"] * 15, strict=True)
    )
    table.write_text(f"size,kind,good,price\n{rows}\n", encoding="utf-8")
    for data, target in ((str(table), "good"), (str(table), None), ("digits", None)):
        out = tmp_path / "page.html"
        explain(data, target=target, hidden=(2,), epochs=2, out=str(out), quiet=True)
        assert out.stat().st_size < 2e6
        assert data_of(out.read_text(encoding="utf-8"))["examples"]


def test_command_refuses_what_it_cannot_read(tmp_path, capsys):
    assert main(["explain", "--data", "moons"]) == 1
    assert "xor, circles, spirals, digits or a CSV file, got 'moons'" in capsys.readouterr().err
    assert main(["explain", "--recorded", "xor", "--target", "zz"]) == 1
    assert "target names a column of a CSV file; data 'xor' has none" in capsys.readouterr().err
    assert main(["explain", "--data", str(tmp_path / "none.csv")]) == 1
    assert "none.csv" in capsys.readouterr().err
    (tmp_path / "t.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert main(["explain", "--data", str(tmp_path / "t.csv"), "--target", "c"]) == 1
    assert "target must be one of the columns a, b, got 'c'" in capsys.readouterr().err


def plain(text):
    return text.replace("−", "-").replace(" × ", "*").replace("∞", "inf")  # noqa: RUF001


def skeleton(line):
    """A line without its numbers, and its numbers."""
    pattern = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
    return re.sub(pattern, "#", line), [float(number) for number in re.findall(pattern, line)]


def expected_line(tokens, trace):
    """The line with numbers of six digits, as the page is to show it."""
    out = []
    for token in tokens:
        if isinstance(token, Ref):
            number = f"{float(trace[token.name][token.place]):.6g}"
            inside = out and not out[-1].endswith(("= ", "(", ", ", ": ", "|"))
            out.append(f"({number})" if number.startswith("-") and inside else number)
        else:
            out.append(token)
    return "".join(out)


def test_stepping_shows_the_numbers_of_the_trace(open_page, page_file, recording):
    tab = open_page(page_file)
    last = recording.snapshots[-1]
    tab.locator("#epoch").focus()
    tab.keyboard.press("End")
    compared = 0
    for e in range(len(EXAMPLES)):
        trace = last.traces[e]
        tab.locator("#examples label").nth(e).click()
        tab.locator("#phases button").first.click()
        steps = walk(trace, 0, columns(trace), 8)
        for number, step in enumerate(steps):
            assert tab.locator("#title").inner_text() == step.title
            assert tab.locator("#text").inner_text() == step.text
            assert plain(tab.locator("#count").inner_text()) == f"step {number + 1} of {len(steps)}"
            for focus in step.foci:
                lines = [plain(line) for line in tab.locator("#lines .line").all_inner_texts()]
                assert len(lines) == len(focus.lines)
                for line, tokens in zip(lines, focus.lines, strict=True):
                    words, numbers = skeleton(line)
                    wanted_words, wanted = skeleton(expected_line(tokens, trace))
                    assert words == wanted_words
                    assert numbers == pytest.approx(wanted, rel=2e-6)
                    compared += 1
                unit = tab.locator(f'svg.wide [data-unit="{focus.column}-{focus.unit}"]')
                assert "now" in unit.get_attribute("class")
                value = step.units[focus.column][0]
                if value is not None:
                    drawn = float(plain(unit.locator(".value").text_content()))
                    assert drawn == pytest.approx(float(trace[value][0, focus.unit]), rel=6e-3)
                if len(step.foci) > 1:
                    tab.locator("#unit-after").click()
            if number + 1 < len(steps):
                tab.locator("#next").click()
    assert compared > 80


def test_the_slider_moves_through_the_training(open_page, page_file, recording):
    tab = open_page(page_file)
    tab.locator("#phases button").nth(1).click()
    tab.locator("#epoch").focus()
    tab.keyboard.press("Home")
    frames = set()
    for k, snapshot in enumerate(recording.snapshots):
        label = plain(tab.locator("#epoch-label").inner_text())
        assert label == f"epoch {snapshot.epoch} of 12, loss {float(f'{snapshot.loss:.3g}'):g}"
        assert tab.locator("#epoch").get_attribute("aria-valuetext") == label
        norms = [float(plain(text)) for text in tab.locator("#norms .number").all_inner_texts()]
        assert norms == pytest.approx(snapshot.norms, rel=6e-3)
        loss = float(plain(tab.locator("svg.wide .loss .value").text_content()))
        assert loss == pytest.approx(snapshot.traces[0].loss, rel=6e-4)
        frames.add(tab.evaluate("document.getElementById('boundary').toDataURL()"))
        if k + 1 < len(recording.snapshots):
            tab.keyboard.press("ArrowRight")
    assert len(frames) == len(recording.snapshots)


def test_the_comparisons_show_what_was_recorded(open_page, page_file, comparisons):
    tab = open_page(page_file)

    def cells(table):
        rows = tab.locator(f"#{table} tbody tr").all()
        return [[plain(cell) for cell in row.locator("th, td").all_inner_texts()] for row in rows]

    tab.locator("#vanish-epoch").focus()
    tab.keyboard.press("End")
    for row, run in zip(cells("vanish-table"), comparisons["vanishing"]["runs"], strict=True):
        assert row[0] == run["name"]
        numbers = [run["norms"][-1][0], run["norms"][-1][-1], run["ratios"][-1], run["losses"][-1], 100 * run["scores"][-1]]
        assert [float(cell.split()[0]) for cell in row[1:]] == pytest.approx(numbers, rel=6e-2)
    tab.locator("#clip-step").focus()
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowRight")
    for row, run in zip(cells("clip-table"), comparisons["clipping"]["runs"], strict=True):
        assert [float(cell) for cell in row[1:]] == pytest.approx([run["losses"][1], run["norms"][1]], rel=6e-4)
    tab.keyboard.press("End")
    assert cells("clip-table")[0][1:] == ["NaN", "NaN"]
    for index, surface in enumerate(comparisons["race"]):
        tab.locator("#surfaces label").nth(index).click()
        tab.locator("#race-step").focus()
        for key, k in (("End", 10), ("Home", 0)):
            tab.keyboard.press(key)
            for row, run in zip(cells("race-table"), surface["runs"], strict=True):
                assert row[0] == run["name"]
                assert [float(cell) for cell in row[1:]] == pytest.approx([*run["path"][k], run["losses"][k]], rel=6e-3, abs=1e-5)


def test_the_keyboard_is_enough(open_page, page_file):
    tab = open_page(page_file)
    tab.locator("#next").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#count").inner_text() == "step 3 of 13"
    assert tab.locator("#unit-name").inner_text() == "layer 1, unit 1"
    tab.keyboard.press("ArrowDown")
    assert tab.locator("#unit-name").inner_text() == "layer 1, unit 2"
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("#count").inner_text() == "step 2 of 13"
    unit = tab.locator('svg.wide [data-unit="1-2"]')
    unit.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("#unit-name").inner_text() == "layer 1, unit 3"
    assert unit.get_attribute("aria-label").startswith("layer 1, unit 3: z ")
    tab.keyboard.press("End")
    assert tab.locator("#next").inner_text().startswith("Again")


def test_playing_runs_to_the_end(open_page, page_file):
    tab = open_page(page_file)
    tab.locator("#play").click()
    tab.wait_for_function("document.getElementById('epoch').value === document.getElementById('epoch').max", timeout=5000)


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_no_screen_is_too_narrow(open_page, page_file, width):
    tab = open_page(page_file, width=width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    shown = "tall" if width <= 620 else "wide"
    assert tab.locator(f"svg.{shown}").is_visible()
    for button in tab.locator(".controls button").all():
        assert button.bounding_box()["height"] >= 40


def test_dark_mode_and_reduced_motion(open_page, page_file):
    colors = set()
    for scheme in ("light", "dark"):
        tab = open_page(page_file, color_scheme=scheme, reduced_motion="reduce")
        colors.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        tab.locator("#next").click()
        assert tab.evaluate("getComputedStyle(document.querySelector('svg.wide .flow line')).animationName") == "none"
    assert len(colors) == 2


def test_a_trace_has_a_page_of_its_own(open_page, tmp_path, rng):
    net = bp.Network(
        [bp.Dense(3, 4, activation="tanh"), bp.Residual([bp.LayerNorm(4), bp.Dense(4, 4)]), bp.Dropout(0.5), bp.Dense(4, 2)], seed=0
    )
    trace = bp.trace(net, rng.normal(size=(2, 3)), [0, 1], loss="cross_entropy", optimizer="adam")
    trace.to_html(tmp_path / "trace.html", row=1)
    tab = open_page(tmp_path / "trace.html")
    assert tab.locator("#epoch").count() == 0
    steps = walk(trace, 1)
    for number, step in enumerate(steps):
        assert tab.locator("#title").inner_text() == step.title
        if number + 1 < len(steps):
            tab.keyboard.press("ArrowRight")


def test_printing_gives_a_worksheet_and_its_answers(open_page, page_file):
    tab = open_page(page_file)
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print")
    assert not tab.locator("#title").is_visible()
    steps = tab.evaluate("steps().length")
    assert tab.locator(".sheet-questions .sheet-step").count() == tab.locator(".sheet-answers .sheet-step").count() == steps
    questions = tab.locator(".sheet-questions .n").all_inner_texts()
    answers = tab.locator(".sheet-answers .n").all_inner_texts()
    assert len(questions) == len(answers)
    assert not any("____" in answer for answer in answers)
    given = tab.evaluate("""[...document.querySelectorAll('.sheet-questions .n')].filter((n) => !n.textContent.includes('____'))
      .map((n) => n.dataset.name.split('[')[0].split('.').at(-1))""")
    assert set(given) == {"x", "weight", "bias", "targets", "lr"}
    assert sum("____" in question for question in questions) > len(questions) / 3


def test_present_mode_fills_a_projector_and_goes_by_keys(open_page, page_file):
    tab = open_page(page_file, 1280, 720, hash="#present")
    small = """() => [...document.querySelectorAll("body *")]
      .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
      .map((e) => [e, parseFloat(getComputedStyle(e).fontSize) * (e.ownerSVGElement ? e.ownerSVGElement.getScreenCTM().a : 1)])
      .filter(([e, size]) => size < 20).map(([e, size]) => size + e.outerHTML.slice(0, 80))"""
    controls = "[...document.querySelectorAll('button, input, select')].filter((e) => e.checkVisibility()).length"
    for _ in range(6):
        assert tab.evaluate(small) == []
        tab.keyboard.press("ArrowRight")
    assert tab.evaluate("state.step") == 6
    assert tab.evaluate(controls) == 0
    assert tab.evaluate("document.documentElement.scrollWidth <= 1280 && document.documentElement.scrollHeight <= 720")
    moment = tab.evaluate("state.moment")
    tab.keyboard.press("PageUp")
    assert tab.evaluate("state.moment") == moment - 1
    assert tab.locator("#epoch-label").is_visible()
    tab.keyboard.press("e")
    assert tab.evaluate("state.example") == 1
