"use strict";
// One weight: the loss as it moves, the gradient as the slope, and the chain rule that finds the slope without moving it.

const MAX_PATHS = 6;

// Every path from weight (k, i, j) to the loss, with the factor of each link: what came in, then slope, weight, slope, ..., dL/do.
// Where there are very many, the largest are found by keeping the best 200 beginnings at every layer.
function pathsOf(numbers, k, i, j) {
  const { layers } = numbers, L = layers.length;
  let paths = [{ units: [j], factors: [{ kind: "in", v: numbers.inputOf(k)[i], k, i, j }], product: numbers.inputOf(k)[i] }], count = 1;
  const add = (path, factor) => ({ units: path.units, factors: [...path.factors, factor], product: path.product * factor.v });
  for (let m = k; m < L; m++) {
    if (m > k) {
      const { weight, outputs } = layers[m];
      paths = paths.flatMap((path) => Array.from({ length: outputs }, (_, u) => {
        const from = path.units.at(-1), longer = add(path, { kind: "weight", v: numbers.before[weight + from * outputs + u], k: m, i: from, j: u });
        return { ...longer, units: [...path.units, u] };
      }));
      count *= outputs;
    }
    if (m + 1 < L) paths = paths.map((path) => { const u = path.units.at(-1); return add(path, { kind: "slope", v: layers[m].slope[u], k: m, j: u }); });
    if (paths.length > 4000) paths = paths.sort((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, 200);
  }
  paths = paths.map((path) => { const u = path.units.at(-1); return add(path, { kind: "loss", v: numbers.gradOutputs[u], j: u }); });
  paths.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  return { paths, count, complete: paths.length === count };
}

class Chain {
  constructor(lab) {
    this.lab = lab;
    this.drawing = new NetDrawing($("chain-drawing"), { label: say("chainDrawing"), onEdge: (c, i, j) => lab.chooseWeight(`${c - 1}.${i}.${j}`) });
    for (const id of ["weight-layer", "weight-from", "weight-to"]) {
      $(id).addEventListener("change", () => lab.chooseWeight(["weight-layer", "weight-from", "weight-to"].map((name) => $(name).value || 0).join(".")));
    }
    $("nudge").addEventListener("input", () => lab.setNudge(Number($("nudge").value)));
    $("nudge-back").addEventListener("click", () => lab.setNudge(0));
    for (const input of document.querySelectorAll("input[name=rows]")) input.addEventListener("change", () => { lab.setView("rows", input.value); this.refresh(); });
  }

  // [layer, from, to] of the chosen weight, held to the network.
  get weight() {
    const { layers } = this.lab.session.net, [k, i, j] = (this.lab.view.weight || "0.0.0").split(".").map(Number);
    const layer = Math.min(k, layers.length - 1);
    return [layer, Math.min(i, layers[layer].inputs - 1), Math.min(j, layers[layer].outputs - 1)];
  }

  refresh() {
    const { session, view } = this.lab;
    this.numbers = new StepNumbers(session, view.example);
    this.paths = pathsOf(this.numbers, ...this.weight);
    this.renderChoice();
    this.renderCurve();
    this.renderPaths();
    this.draw(null);
  }

  renderChoice() {
    const { net, data } = this.lab.session, [k, i, j] = this.weight, { layers } = net;
    const fill = (id, names, value) => {
      $(id).replaceChildren(...names.map((name, n) => make("option", { value: n }, name)));
      $(id).value = value;
    };
    fill("weight-layer", layers.map((_, n) => (n + 1 < layers.length ? say("LayerN", { n: n + 1 }) : say("Output"))), k);
    fill("weight-from", Array.from({ length: layers[k].inputs }, (_, n) => (k ? say("unit", { layer: k, n: n + 1 }) : say("inputUnit", { name: data.features[n] }))), i);
    fill("weight-to", Array.from({ length: layers[k].outputs }, (_, n) => unitName(net.sizes, k + 1, n, data)), j);
  }

  // Loss and gradient over the example, or over the training set, as functions of the weight.
  lossAt(values) {
    const { session, view } = this.lab, index = this.lab.weightIndex(), { train, settings } = session;
    if (view.rows === "one") return values.map((value) => this.numbers.lossWith([[index, value]]));
    const net = this.wholeNet(), trainer = new Engine.Trainer(net, settings.loss, null);
    return values.map((value) => { net.parameters[index] = value; return trainer.evaluate(train.x, train.y, train.n); });
  }

  wholeNet() {
    const { net, train } = this.lab.session, copied = new Engine.Network(net.sizes, net.activation, train.n);
    copied.parameters.set(net.parameters);
    return copied;
  }

  gradientNow() {
    const { session, view } = this.lab, index = this.lab.weightIndex();
    if (view.rows === "one") return [this.numbers.gradients[index], this.numbers.loss];
    const net = this.wholeNet(), trainer = new Engine.Trainer(net, session.settings.loss, null);
    const loss = trainer.gradients(session.train.x, session.train.y, session.train.n);
    return [net.gradients[index], loss];
  }

  renderCurve() {
    const { session, view } = this.lab, index = this.lab.weightIndex(), now = session.net.parameters[index], origin = now - view.nudge;
    const span = Math.max(1.5, Math.ceil(2 * Math.abs(origin))), [gradient, loss] = this.gradientNow();
    const xs = Array.from({ length: 81 }, (_, n) => origin - span + (span * n) / 40), ys = this.lossAt(xs);
    const finite = ys.filter(Number.isFinite), low = Math.min(...finite, loss), high = Math.max(...finite, loss), room = 0.08 * (high - low) || 0.1;
    const reach = span * 0.45, tangent = [now - reach, now + reach];
    chart($("nudge-chart"), {
      series: [
        { name: say("lossCurve"), x: xs, y: ys },
        { name: say("tangent", { slope: show(gradient, 3) }), x: tangent, y: tangent.map((w) => loss + gradient * (w - now)) },
      ],
      points: [[[now, loss]]], range: [low - room, high + room], xlabel: say("theWeight"), ylabel: say("loss"), height: 260,
      label: say("nudgeLabel", { w: show(now, 4), loss: show(loss, 4), slope: show(gradient, 4) }),
    });
    const slider = $("nudge");
    Object.assign(slider, { min: -span, max: span, step: span / 100 });
    slider.value = view.nudge;
    slider.setAttribute("aria-valuetext", say("nudgeValue", { w: show(now, 4), loss: show(loss, 4) }));
    $("nudge-now").textContent = say("nudgeNow", { w: show(now, 4), loss: show(loss, 4), slope: show(gradient, 4) });
    $("nudge-back").disabled = view.nudge === 0;
    const direction = Math.abs(gradient) < 1e-9 ? "flat" : gradient > 0 ? "positive" : "negative";
    $("nudge-means").textContent = say(`nudgeMeans.${direction}`);
    if (view.nudge) {
      const at = this.lossAt([origin])[0], start = this.slopeAt(origin);
      $("nudge-means").textContent = say("nudgeMoved", { by: show(view.nudge, 3), predicted: show(start * view.nudge, 3), actual: show(loss - at, 3) });
    }
    for (const input of document.querySelectorAll("input[name=rows]")) input.checked = input.value === view.rows;
  }

  // The gradient where the weight was before it was nudged.
  slopeAt(value) {
    const { parameters } = this.lab.session.net, index = this.lab.weightIndex(), kept = parameters[index];
    parameters[index] = value;
    const kind = this.numbers;
    if (this.lab.view.rows === "one") this.numbers = new StepNumbers(this.lab.session, this.lab.view.example);
    const [gradient] = this.gradientNow();
    this.numbers = kind;
    parameters[index] = kept;
    return gradient;
  }

  // A factor's name in the language chosen.
  nameOf({ kind, k, i, j }) {
    const { language } = this.lab.view, { data, net } = this.lab.session, { activation } = this.lab.session.settings;
    if (language === "math") {
      return { in: () => M.math(M.input(k, String(i + 1))), slope: () => M.math(M.slope(k, String(j + 1))), weight: () => M.math(M.at("w", k, `${i + 1}${j + 1}`)), loss: () => M.math(M.d(M.sub("o", j + 1))) }[kind]();
    }
    if (language === "numpy") {
      const code = { in: `${k ? `a${k}` : "x"}[0, ${i}]`, slope: `slope${k + 1}[0, ${j}]`, weight: `W${k + 1}[${i}, ${j}]`, loss: `grad_o[0, ${j}]` }[kind];
      return `<code>${code}</code>`;
    }
    const escape = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
    const from = kind === "in" ? (k ? say("unit", { layer: k, n: i + 1 }) : data.features[i]) : "";
    return escape(say(`factor.${kind}`, { name: from, activation, layer: (k ?? 0) + 1, n: (j ?? 0) + 1, to: kind === "weight" ? unitName(net.sizes, k + 1, j, data) : "" }));
  }

  renderPaths() {
    const { numbers, paths: { paths, count, complete } } = this, [k, i, j] = this.weight, layer = numbers.layers[k];
    const gradient = numbers.gradients[this.lab.weightIndex()], shown = paths.slice(0, MAX_PATHS);
    const link = (factor) => {
      const chip = make("span", { class: `link ${factor.kind}` });
      const name = make("span", { class: "what" });
      name.innerHTML = this.nameOf(factor);
      chip.append(name, make("span", { class: "n" }, show(factor.v, 3)));
      return chip;
    };
    const rows = shown.map((path, n) => {
      const item = make("li", { tabindex: "0", class: "path", "data-path": n });
      path.factors.forEach((factor, f) => item.append(...(f ? [make("span", { class: "times" }, "×"), link(factor)] : [link(factor)])));
      item.append(make("span", { class: "times" }, "="), make("span", { class: "n result", "data-value": String(path.product) }, show(path.product, 4)));
      for (const [on, off] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
        item.addEventListener(on, () => this.draw(path));
        item.addEventListener(off, () => this.draw(null));
      }
      return item;
    });
    const rest = gradient - shown.reduce((sum, path) => sum + path.product, 0);
    if (count > shown.length) rows.push(make("li", { class: "rest" }, say("otherPaths", { n: count - shown.length, sum: show(rest, 4) })));
    $("paths").replaceChildren(...rows);
    $("paths-intro").textContent = say(count === 1 ? "onePath" : "manyPaths", { n: count }) + (complete ? "" : ` ${say("beam")}`);
    $("paths-sum").textContent = say(count === 1 ? "pathsProduct" : "pathsSum", { gradient: show(gradient, 6) });
    const next = numbers.layers[k + 1], V = (v, kind = "") => ({ v, n: "", kind }), last = k + 1 === numbers.layers.length;
    const fold = last ? [[`δ${sub(j)} = dL/do${sub(j)} = `, V(layer.delta[j], "result")]] : [
      [`δ${sub(j)} = `, V(layer.slope[j]), " × (", ...Array.from({ length: Math.min(next.outputs, 5) }, (_, u) => [u ? " + " : "", V(numbers.before[next.weight + j * next.outputs + u]), " × ", V(next.delta[u])]).flat(), next.outputs > 5 ? ` + ${say("more", { n: next.outputs - 5 })}` : "", ") = ", V(layer.delta[j], "result")],
    ];
    fold.push([`dL/dw${sub(i)},${sub(j)} = `, V(numbers.inputOf(k)[i]), " × ", V(layer.delta[j]), " = ", V(gradient, "result")]);
    $("fold-text").textContent = say(last ? "foldLast" : "fold");
    $("fold").replaceChildren(...fold.map((line) => lineOf(line)));
  }

  draw(path) {
    const { numbers } = this, columns = columnsOf(numbers), [k, i, j] = this.weight;
    const must = [[k, i], [k + 1, j], ...(path ? path.units.map((u, n) => [k + 1 + n, u]) : [])];
    for (const [c, u] of must) if (!columns[c].units.includes(u)) columns[c].units[columns[c].units.length - 1] = u;
    columns.forEach((column) => column.units.sort((a, b) => a - b));
    this.drawing.arrange(columns, { font: this.lab.font, maxHeight: this.lab.room * 0.9, withLoss: !this.lab.present });
    const hot = new Set([`${k + 1}-${i}-${j}`]), on = (c, u) => columns[c].units.includes(u);
    if (path) path.units.forEach((u, n) => { if (n) hot.add(`${k + 1 + n}-${path.units[n - 1]}-${u}`); });
    else for (let c = k + 2; c < columns.length; c++) for (const a of c === k + 2 ? [j] : columns[c - 1].units) for (const b of columns[c].units) if (on(c, b)) hot.add(`${c}-${a}-${b}`);
    const { layers } = numbers;
    this.drawing.update({
      unit: (c, u) => {
        const value = c ? layers[c - 1].a[u] : numbers.x[u], inPath = (c === k && u === i) || (path ? path.units[c - k - 1] === u : c === k + 1 ? u === j : c > k + 1);
        const below = c ? this.drawing.fitBelow("δ", layers[c - 1].delta[u]) : "";
        return { value: this.drawing.fit(value), below, state: inPath ? "part" : "", can: false, label: `${unitName(columns, c, u, this.lab.session.data)}: ${show(value)}${c ? `, delta ${show(layers[c - 1].delta[u])}` : ""}` };
      },
      weight: (c, a, b) => numbers.before[layers[c - 1].weight + a * layers[c - 1].outputs + b],
      hot, toward: "backward",
      numbers: (c, a, b) => (path || hot.size < 8 ? show(numbers.before[layers[c - 1].weight + a * layers[c - 1].outputs + b], 2) : ""),
      loss: show(numbers.loss, 4),
    });
  }
}
