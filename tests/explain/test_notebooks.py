"""In a notebook, results show themselves as HTML that is well formed and complete, and bars are the notebook's own."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

import backprop as bp
from backprop._html import line_chart, table
from backprop.explain.diagnosis.findings import SECTIONS

X = np.random.default_rng(0).normal(size=(60, 2))
Y = (X[:, 0] > 0).astype(int)


def parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{html}</div>")


def texts(html: str) -> str:
    return " ".join(parsed(html).itertext())


@pytest.fixture(scope="module")
def run() -> tuple[bp.Network, bp.History, bp.Monitor]:
    net, monitor = bp.mlp([2, 8, 1], seed=0), bp.Monitor()
    history = net.fit(X * 1e4, Y, loss="binary_cross_entropy", epochs=4, validation_split=0.3, callbacks=[monitor], seed=0)
    return net, history, monitor


def test_a_network_shows_its_layers(run) -> None:
    html = run[0]._repr_html_()
    assert len(parsed(html).findall(".//tr")) == 3
    assert "33 parameters, 33 trainable" in texts(html)


def test_a_history_shows_training_and_validation_in_one_chart(run) -> None:
    html = run[1]._repr_html_()
    charts = parsed(html).findall(".//svg")
    assert charts[0].get("aria-label") == "loss, val_loss over epoch"
    assert len(charts[0].findall("polyline")) == 2
    assert "epochs" in bp.History()._repr_html_()


def test_a_report_shows_a_card_for_each_finding(run) -> None:
    report = run[2].report()
    assert report
    html = report._repr_html_()
    assert len(parsed(html).findall("div")) == len(parsed(html).findall("div/div/details")) == len(report.findings)
    for finding in report.findings:
        assert finding.remedy in texts(html)
        assert f"Understanding backpropagation, {finding.section}" in texts(html)
        assert SECTIONS[finding.section] in texts(html)
    assert "Nothing unusual" in bp.Monitor().report()._repr_html_()


def test_a_monitor_shows_losses_and_report(run) -> None:
    html = run[2]._repr_html_()
    assert parsed(html).find(".//svg") is not None
    assert "inputs not scaled" in texts(html)
    assert "Nothing unusual" in bp.Monitor()._repr_html_()


def test_a_range_test_and_a_comparison_show_themselves() -> None:
    net = bp.mlp([2, 4, 1], seed=0)
    found = bp.lr_range_test(bp.Trainer(net, loss="binary_cross_entropy"), X, Y, steps=20)
    assert f"{found.suggestion:.3g}" in texts(found._repr_html_())
    comparison = bp.compare({"a<b": "adam"}, X, Y, net=net, loss="binary_cross_entropy", epochs=2)
    assert "a<b" in texts(comparison._repr_html_())


def test_charts_leave_gaps_and_stay_finite() -> None:
    chart = parsed(line_chart({"a": [1.0, float("nan"), 2.0, 3.0], "b": [float("inf")]}))
    assert len(chart.findall(".//polyline")) == 2
    assert "nan" not in "".join(line.get("points", "") for line in chart.findall(".//polyline"))
    assert "no finite values" in line_chart({"a": [float("nan")]})
    assert parsed(line_chart({"flat": [2.0, 2.0], "x": [2.0]})).find(".//svg") is not None
    assert texts(table([("", "<"), ("&", ">")])).split() == ["<", "&", ">"]


@pytest.mark.parametrize(("kernel", "shown"), [(True, True), (False, False)])
def test_bars_show_in_a_notebook(monkeypatch: pytest.MonkeyPatch, kernel: bool, shown: bool) -> None:
    from backprop._training import progress

    shell = SimpleNamespace(**({"kernel": object()} if kernel else {}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert progress.in_notebook() == kernel
    made = []
    module = SimpleNamespace(tqdm=lambda **options: made.append(options))
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    progress.make_bar(None, 3, "step")
    assert bool(made) == shown


def test_pages_show_themselves_in_place() -> None:
    """What the frame holds is the page, character for character."""
    net = bp.mlp([2, 3, 1], seed=0)
    made = bp.explain.page(net, X[:6], Y[:6], loss="binary_cross_entropy", epochs=2), bp.explain.laboratory()
    for page in made:
        assert page.startswith("<!doctype html>")
        assert len(repr(page)) < 60
    frame = parsed(made[0]._repr_html_()).find("iframe")
    assert " ".join(frame.get("srcdoc").split()) == " ".join(made[0].split())
