"use strict";
// One training step of one example with every number kept, and the steps of the walk through it. Steps hold tokens: text, or
// {v: number, n: its name}, so that the page can show, speak, print and blank them.

// What backprop.explain.trace records in Python: forward, loss, backward, update, on copies.
class StepNumbers {
  constructor(session, row) {
    const { data, train, settings, net } = session;
    this.session = session;
    this.row = Math.min(row, train.n - 1);
    this.x = train.x.slice(this.row * data.inputs, (this.row + 1) * data.inputs);
    this.y = train.y.slice(this.row * data.outputs, (this.row + 1) * data.outputs);
    this.net = new Engine.Network(net.sizes, net.activation, 1);
    this.net.parameters.set(net.parameters);
    const trainer = new Engine.Trainer(this.net, settings.loss, session.trainer.optimizer.copy());
    this.loss = trainer.gradients(this.x, this.y, 1);
    this.gradOutputs = trainer.grad.slice(0, data.outputs);
    this.gradients = this.net.gradients.slice();
    this.before = this.net.parameters.slice();
    this.layers = this.net.layers.map((layer) => ({
      ...layer, z: layer.z.slice(), a: layer.a.slice(), delta: layer.delta.slice(), gradX: layer.gradX.slice(),
      slope: Float64Array.from(layer.z, (z, j) => Engine.ACTIVATIONS[layer.activation].slope(z, layer.a[j])),
    }));
    this.outputs = this.layers.at(-1).a;
    this.probabilities = Engine.probabilities(this.outputs, 1, data.outputs, session.link);
    this.gradNorm = Engine.norm(this.gradients);
    this.clipped = settings.clip > 0 && this.gradNorm > settings.clip;
    if (settings.clip > 0) Engine.clip(this.net.gradients, settings.clip);
    trainer.optimizer.step(this.net.parameters, this.net.gradients);
    this.after = this.net.parameters.slice();
    this.newLoss = trainer.evaluate(this.x, this.y, 1);
    this.net.parameters.set(this.before);
    this.trainer = trainer;
  }

  // The loss of this example with some parameters moved.
  lossWith(changes) {
    for (const [index, value] of changes) this.net.parameters[index] = value;
    const loss = this.trainer.evaluate(this.x, this.y, 1);
    for (const [index] of changes) this.net.parameters[index] = this.before[index];
    return loss;
  }

  // What goes into layer k.
  inputOf(k) { return k ? this.layers[k - 1].a : this.x; }
}

const MAX_SHOWN = 8;

// The columns of the drawing: at most eight units each, those of the largest absolute value; of the outputs all.
function columnsOf(numbers) {
  const shown = (values, limit) => {
    const all = Array.from(values, (_, k) => k);
    return all.length <= limit ? all : all.sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]) || a - b).slice(0, limit).sort((a, b) => a - b);
  };
  const hidden = numbers.layers.map((layer, k) => ({
    label: k + 1 < numbers.layers.length ? say("layerN", { n: k + 1 }) : say("output"),
    units: shown(layer.a, k + 1 < numbers.layers.length ? MAX_SHOWN : 10), size: layer.outputs,
  }));
  return [{ label: say("input"), units: shown(numbers.x, MAX_SHOWN), size: numbers.x.length }, ...hidden];
}

// The steps, in order. Each: {phase, column, title, text, formula: {words, math, numpy}, foci: [{column, unit, lines, edges}],
// values, gradients: role for each column, edges: role for each column, toward, ask}.
function walkSteps(numbers) {
  const { session, layers } = numbers, { data, settings } = session, columns = columnsOf(numbers), L = layers.length;
  const steps = [], values = columns.map(() => ""), gradients = columns.map(() => ""), edges = columns.map((_, c) => (c ? "weight" : ""));
  const V = (v, n, kind = "") => ({ v, n, kind });
  const layerName = (k) => (k + 1 < L ? say("LayerN", { n: k + 1 }) : say("Output"));
  const all = (c, unit) => columns[c - 1].units.map((i) => `${c}-${i}-${unit}`);
  const add = (phase, column, key, params, formula, foci, extra = {}) => steps.push({
    phase, column, key, title: say(`${key}.title`, params), text: say(`${key}.text`, params), formula, foci, toward: "", ask: null,
    values: [...values], gradients: [...gradients], edges: [...edges], ...extra,
  });
  const sum = (terms, left) => {
    const out = terms.flatMap((term, k) => (k ? [" + ", ...term] : term));
    return left > 0 ? [...out, ` + ${say("more", { n: left })}`] : out;
  };
  const W = (k, i, j) => V(numbers.before[layers[k].weight + i * layers[k].outputs + j], `W${k + 1}[${i}, ${j}]`, "weight");
  const a = (k, i) => (k < 0 ? V(numbers.x[i], `x[${i}]`) : V(layers[k].a[i], `a${k + 1}[${i}]`));

  values[0] = "x";
  add("forward", 0, "input", { target: targetText(session, numbers) }, null, columns[0].units.map((u) => ({
    column: 0, unit: u, edges: [], lines: [[`${data.features[u]} = `, V(numbers.x[u], `x[${u}]`, "result"), ...original(data, u, numbers.x[u])]],
  })));
  layers.forEach((layer, k) => {
    const c = k + 1;
    values[c] = "z";
    add("forward", c, "sums", { label: layerName(k) }, FORMULAS.sums(k), columns[c].units.map((j) => ({
      column: c, unit: j, edges: all(c, j), lines: [[`z${sub(j)} = `, ...sum(columns[c - 1].units.map((i) => [W(k, i, j), " × ", a(k - 1, i)]), layer.inputs - columns[c - 1].units.length),
        " + ", V(numbers.before[layer.bias + j], `b${k + 1}[${j}]`, "weight"), " = ", V(layer.z[j], `z${k + 1}[${j}]`, "result")]],
    })), { toward: "forward" });
    if (k + 1 === L) { values[c] = "a"; return; }
    values[c] = "a";
    add("forward", c, "activation", { label: layerName(k), activation: layer.activation, sentence: say(`act.${layer.activation}`) }, FORMULAS.activation(k, layer.activation), columns[c].units.map((j) => ({
      column: c, unit: j, edges: [], lines: [[`a${sub(j)} = ${layer.activation}(`, V(layer.z[j], `z${k + 1}[${j}]`), ") = ", V(layer.a[j], `a${k + 1}[${j}]`, "result")]],
    })));
  });

  const last = columns.at(-1), c = L, out = layers[L - 1], lossName = settings.loss;
  const link = session.link !== "identity";
  const lossLines = [];
  if (link) for (const j of last.units) lossLines.push([`p${sub(j)} = `, `${session.link}(`, V(numbers.outputs[j], `o[${j}]`), ") = ", V(numbers.probabilities[j], `p[${j}]`, "result")]);
  lossLines.push(lossLine(numbers, V, lossName));
  add("error", c, "lossStep", { loss: say(`lossName.${lossName}`), target: targetText(session, numbers) }, FORMULAS.loss(lossName), [{ column: c, unit: last.units[0], edges: [], lines: lossLines }]);
  gradients[c] = "grad";
  const g0 = numbers.gradOutputs[last.units[0]];
  add("error", c, "gradOutputs", {}, FORMULAS.gradOutputs(lossName), last.units.map((j) => ({
    column: c, unit: j, edges: [], lines: [gradLine(numbers, V, lossName, j)],
  })), {
    ask: { question: say("ask.direction", { o: show(numbers.outputs[last.units[0]], 3), t: show(numbers.y[last.units[0]], 3) }), options: [say("ask.up"), say("ask.down")], answer: g0 < 0 ? 0 : 1 },
  });
  gradients[c] = "delta";
  const small = 0.001, probe = numbers.lossWith([[out.bias + last.units[0], numbers.before[out.bias + last.units[0]] + small]]) - numbers.loss;
  add("backward", c, "deltaIntro", { h: show(small), delta: show(out.delta[last.units[0]], 4), change: show(probe, 3), product: show(small * out.delta[last.units[0]], 3) }, FORMULAS.deltaIntro(L - 1), last.units.map((j) => ({
    column: c, unit: j, edges: [], lines: [[`δ${sub(j)} = dL/dz${sub(j)} = `, V(out.delta[j], `delta${L}[${j}]`, "result")]],
  })));
  for (let k = L - 1; k >= 0; k--) {
    const layer = layers[k], col = k + 1, before = columns[k];
    if (k + 1 < L) {
      gradients[col] = "delta";
      add("backward", col, "delta", { label: layerName(k), activation: layer.activation }, FORMULAS.delta(k, layer.activation), columns[col].units.map((j) => ({
        column: col, unit: j, edges: [], lines: [
          [`${layer.activation}′(`, V(layer.z[j], `z${k + 1}[${j}]`), ") = ", ...slopeTokens(layer, j, V, k), V(layer.slope[j], `slope${k + 1}[${j}]`)],
          [`δ${sub(j)} = `, V(layers[k + 1].gradX[j], `grad_a${k + 1}[${j}]`), " × ", V(layer.slope[j], `slope${k + 1}[${j}]`), " = ", V(layer.delta[j], `delta${k + 1}[${j}]`, "result")],
        ],
      })));
    }
    edges[col] = "gradient";
    add("backward", col, "gradWeight", { label: layerName(k) }, FORMULAS.gradWeight(k), columns[col].units.map((j) => ({
      column: col, unit: j, edges: all(col, j), lines: [
        ...before.units.map((i) => [`dL/dw${sub(i)}${subComma}${sub(j)} = `, a(k - 1, i), " × ", V(layer.delta[j], `delta${k + 1}[${j}]`), " = ", V(numbers.gradients[layer.weight + i * layer.outputs + j], `grad_W${k + 1}[${i}, ${j}]`, "result")]),
        ...(before.units.length < layer.inputs ? [[say("moreWeights", { n: layer.inputs - before.units.length })]] : []),
        [`dL/db${sub(j)} = `, V(numbers.gradients[layer.bias + j], `grad_b${k + 1}[${j}]`, "result")],
      ],
    })));
    edges[col] = "weight";
    if (!k) continue;
    gradients[k] = "grad";
    add("backward", k, "gradX", { label: layerName(k) }, FORMULAS.gradX(k), before.units.map((i) => ({
      column: k, unit: i, edges: columns[col].units.map((j) => `${col}-${i}-${j}`),
      lines: [[`dL/da${sub(i)} = `, ...sum(columns[col].units.map((j) => [V(layer.delta[j], `delta${k + 1}[${j}]`), " × ", W(k, i, j)]), layer.outputs - columns[col].units.length), " = ", V(layer.gradX[i], `grad_a${k}[${i}]`, "result")]],
    })), { toward: "backward" });
  }
  const plain = settings.optimizer === "sgd" && !settings.l2 && !numbers.clipped;
  const updateLine = (symbol, index, name) => {
    const old = V(numbers.before[index], name, "weight"), fresh = V(numbers.after[index], `new_${name}`, "result"), g = V(numbers.gradients[index], `grad_${name}`);
    return plain ? [`${symbol} ← `, old, " − ", V(settings.lr, "lr"), " × ", g, " = ", fresh] : [`${symbol} ← `, old, " + ", V(numbers.after[index] - numbers.before[index], "update"), " = ", fresh];
  };
  layers.forEach((layer, k) => {
    const col = k + 1, before = columns[k];
    edges[col] = "new";
    add("update", col, "update", { label: layerName(k), extra: numbers.clipped ? say("updateClipped", { norm: show(numbers.gradNorm, 3), clip: show(settings.clip, 3) }) : "" }, FORMULAS.update(k, settings), columns[col].units.map((j) => ({
      column: col, unit: j, edges: all(col, j), lines: [
        ...before.units.map((i) => updateLine(`w${sub(i)}${subComma}${sub(j)}`, layer.weight + i * layer.outputs + j, `W${k + 1}[${i}, ${j}]`)),
        updateLine(`b${sub(j)}`, layer.bias + j, `b${k + 1}[${j}]`),
      ],
    })));
  });
  const fell = numbers.newLoss < numbers.loss, flat = Math.abs(numbers.newLoss - numbers.loss) < 1e-12;
  add("update", c, "after", { verdict: say(flat ? "after.flat" : fell ? "after.fell" : "after.rose") }, null, [{
    column: c, unit: last.units[0], edges: [], lines: [[`${say("before")}: L = `, V(numbers.loss, "loss")], [`${say("afterwards")}: L = `, V(numbers.newLoss, "new_loss", "result")]],
  }], { ask: { question: say("ask.after", { loss: show(numbers.loss, 4) }), options: [say("ask.smaller"), say("ask.larger"), say("ask.same")], answer: flat ? 2 : fell ? 0 : 1 } });
  return { steps, columns };
}

const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉", subComma = ",";
const sub = (index) => String(index + 1).replace(/./g, (digit) => SUBSCRIPTS[digit]);

function targetText({ data }, numbers) {
  if (data.kind === "regression") return `${data.target} = ${show(numbers.y[0] * data.targetSpread + data.targetMean, 4)}`;
  return `${data.target} ${data.classes[numbers.session.train.labels[numbers.row]]}`;
}

// The input in its own unit, where the network sees it standardised.
function original(data, unit, value) {
  if (data.mean[unit] === 0 && data.spread[unit] === 1) return [];
  return [`  (${say("originally", { value: show(value * data.spread[unit] + data.mean[unit], 4) })})`];
}

function lossLine(numbers, V, loss) {
  const k = numbers.outputs.length, units = Array.from({ length: k }, (_, j) => j), L = V(numbers.loss, "loss", "result");
  const t = (j) => V(numbers.y[j], `t[${j}]`), o = (j) => V(numbers.outputs[j], `o[${j}]`), p = (j) => V(numbers.probabilities[j], `p[${j}]`);
  if (loss === "mse") return ["L = ", ...units.flatMap((j) => [j ? " + (" : k > 1 ? "((" : "(", o(j), " − ", t(j), ")²"]), ...(k > 1 ? [`) / ${k}`] : []), " = ", L];
  if (loss === "cross_entropy") { const j = units.find((u) => numbers.y[u] === 1); return ["L = −log ", p(j), " = ", L]; }
  return numbers.y[0] === 1 ? ["L = −log ", p(0), " = ", L] : ["L = −log(1 − ", p(0), ") = ", L];
}

function gradLine(numbers, V, loss, j) {
  const result = V(numbers.gradOutputs[j], `grad_o[${j}]`, "result"), t = V(numbers.y[j], `t[${j}]`), k = numbers.outputs.length;
  if (loss === "mse") return [`dL/do${sub(j)} = 2 × (`, V(numbers.outputs[j], `o[${j}]`), " − ", t, k > 1 ? `) / ${k} = ` : ") = ", result];
  return [`dL/do${sub(j)} = `, V(numbers.probabilities[j], `p[${j}]`), " − ", t, " = ", result];
}

function slopeTokens(layer, j, V, k) {
  const value = V(layer.a[j], `a${k + 1}[${j}]`);
  if (layer.activation === "tanh") return ["1 − ", value, "² = "];
  if (layer.activation === "sigmoid") return [value, " × (1 − ", value, ") = "];
  return [];
}
