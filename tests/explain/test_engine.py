"""The laboratory's engine in JavaScript computes what the library computes, in Node and in a browser."""

from __future__ import annotations

import json
import runpy
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

LAB = files("backprop.explain").joinpath("assets", "lab")
GOLDEN = Path(__file__).parent.parent / "golden"
CASES = json.loads((GOLDEN / "engine.json").read_text(encoding="utf-8"))
RTOL = 1e-12
"""Relative to the largest number of an array."""

COMPUTE = """
function compute(c) {
  const net = new Engine.Network(c.sizes, c.activation, c.batch), n = c.traced;
  net.parameters.set(c.initial);
  const optimizer = new Engine.Optimizer(c.optimizer, { lr: c.lr, weightDecay: c.l2 });
  const trainer = new Engine.Trainer(net, c.loss, optimizer, { clipNorm: c.clip });
  const x = Float64Array.from(c.x), y = Float64Array.from(c.y), [inputs, outputs] = [c.sizes[0], c.sizes.at(-1)];
  const loss_before = trainer.gradients(x, y, n);
  const layers = net.layers.map((layer) => ({
    z: [...layer.z.subarray(0, n * layer.outputs)], a: [...layer.a.subarray(0, n * layer.outputs)],
    delta: [...layer.delta.subarray(0, n * layer.outputs)], grad_x: [...layer.gradX.subarray(0, n * layer.inputs)],
  }));
  const gradients = [...net.gradients], losses = [];
  const xs = new Float64Array(c.batch * inputs), ys = new Float64Array(c.batch * outputs);
  for (let step = 0; step < c.steps; step++) {
    for (let i = 0; i < c.batch; i++) {
      const row = (step * c.batch + i) % c.rows;
      xs.set(x.subarray(row * inputs, (row + 1) * inputs), i * inputs);
      ys.set(y.subarray(row * outputs, (row + 1) * outputs), i * outputs);
    }
    losses.push(trainer.step(xs, ys, c.batch));
  }
  return { loss_before, layers, gradients, losses, final: [...net.parameters] };
}
"""


def same(found, wanted):
    wanted = np.asarray(wanted)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=RTOL * max(np.abs(wanted).max(), 1e-300))


def name_of(case):
    return f"{case['activation']}-{case['loss']}-{case['optimizer']}" + ("-l2-clip" if case["clip"] else "")


def check(found, case):
    same(found["loss_before"], case["loss_before"])
    for layer, wanted in zip(found["layers"], case["layers"], strict=True):
        for role, numbers in wanted.items():
            same(layer[role], numbers)
    for name in ("gradients", "losses", "final"):
        same(found[name], case[name])
    assert np.abs(np.array(case["gradients"])).max() > 1e-3
    assert case["losses"][-1] != case["losses"][0]


@pytest.fixture(scope="module")
def computed_in_node(in_node):
    return in_node(COMPUTE + "done(input.map(compute));", data=CASES)


@pytest.mark.parametrize("index", range(len(CASES)), ids=[name_of(case) for case in CASES])
def test_node_computes_what_the_library_recorded(computed_in_node, index):
    check(computed_in_node[index], CASES[index])


def test_chromium_computes_what_the_library_recorded(browser):
    tab = browser.new_page()
    script = LAB.joinpath("engine.js").read_text(encoding="utf-8") + COMPUTE
    tab.add_script_tag(content=script + "window.compute = compute;")
    for found, case in zip(tab.evaluate("(cases) => cases.map(compute)", CASES), CASES, strict=True):
        check(found, case)
    tab.close()


def test_the_cases_cover_every_choice():
    source = LAB.joinpath("engine.js").read_text(encoding="utf-8")
    make = runpy.run_path(str(GOLDEN / "make_engine.py"))
    for kind, many in (("activation", 6), ("loss", 3), ("optimizer", 4)):
        names = {case[kind] for case in CASES}
        assert len(names) == many
        assert all(name in source for name in names)
    assert {case["clip"] > 0 for case in CASES} == {case["l2"] > 0 for case in CASES} == {False, True}
    assert [name_of(case) for case in make["cases"]()] == [name_of(case) for case in CASES]


def test_the_recorded_numbers_are_still_the_librarys(backend):
    """The file is not older than the library: its numbers come out again, on either backend."""
    for made, case in zip(runpy.run_path(str(GOLDEN / "make_engine.py"))["everything"](), CASES, strict=True):
        assert made.keys() == case.keys()
        check(made, case)


def test_losses_hold_at_extreme_outputs(in_node):
    script = """
    const grad = new Float64Array(2);
    const out = [];
    for (const [o, t] of [[1000, 0], [1000, 1], [-1000, 0], [-1000, 1]]) {
      out.push([Engine.LOSSES.binary_cross_entropy([o], [t], 1, 1, grad), grad[0]]);
      out.push([Engine.LOSSES.cross_entropy([o, 0], [t, 1 - t], 1, 2, grad), grad[0]]);
    }
    done(out);
    """
    wanted = [[1000, 1], [1000, 1], [0, 0], [0, 0], [0, 0], [0, 0], [1000, -1], [1000, -1]]
    np.testing.assert_allclose(in_node(script), wanted, atol=1e-300)


def test_ten_thousand_steps_are_quick(browser, in_units):
    tab = browser.new_page()
    tab.add_script_tag(content=LAB.joinpath("engine.js").read_text(encoding="utf-8") + "window.Engine = Engine;")
    once = """() => {
      const net = new Engine.Network([2, 8, 8, 1], "tanh", 16);
      net.parameters.forEach((_, i, all) => { all[i] = Math.sin(i); });
      const trainer = new Engine.Trainer(net, "binary_cross_entropy", new Engine.Optimizer("adam", { lr: 0.01 }));
      const x = Float64Array.from({ length: 32 }, (_, i) => Math.cos(i)), y = Float64Array.from({ length: 16 }, (_, i) => i % 2);
      const start = performance.now();
      for (let step = 0; step < 10000; step++) trainer.step(x, y, 16);
      return performance.now() - start;
    }"""
    (took,) = in_units(tab, once)
    tab.close()
    assert took < 5
