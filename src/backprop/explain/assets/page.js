"use strict";
// This script looks recorded numbers up and draws them. Every number, and every formula that leads to it, was written by the library.

const data = JSON.parse(document.getElementById("data").textContent);
const at = new Map(data.names.map((name, id) => [name, id]));
const state = { moment: data.values.length - 1, example: 0, step: 0, unit: 0 };
if (data.training) state.moment = data.training.start;

const values = () => data.values[state.moment][state.example];
const look = (name) => (at.has(name) ? values()[at.get(name)] : undefined);
const steps = () => data.examples[state.example].steps;
const step = () => data.steps[steps()[state.step]];
const focus = () => step().foci[Math.min(state.unit, step().foci.length - 1)];
const unitName = (name, unit) => `${name}[${data.row},${unit}]`;

// The drawing.

const drawings = [...document.querySelectorAll("svg.net")];

function each(selector, change) {
  for (const svg of drawings) for (const element of svg.querySelectorAll(selector)) change(element, svg);
}

// With ?present or #present the page fills a projector: one example, large, by keys only.
const presented = new URLSearchParams(location.search).has("present") || new URLSearchParams(location.hash.slice(1)).has("present");
document.documentElement.classList.toggle("projector", presented);

// The drawing shrinks with the page; its text does not become smaller than 12 pixels, 20 on a projector.
function keepTextReadable() {
  for (const svg of drawings) {
    const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    const shrunk = Math.max(view.width / box.width, view.height / box.height);
    if (box.width) svg.style.setProperty("--px", presented ? 20.2 / 12 * shrunk : Math.max(1, shrunk));
  }
}

function prepareDrawing() {
  keepTextReadable();
  addEventListener("resize", keepTextReadable);
  each(".unit", (unit) => {
    const circle = unit.querySelector("circle");
    const halo = draw("circle", { class: "halo", r: Number(circle.getAttribute("r")) + 4 });
    unit.insertBefore(halo, circle);
    const choose = () => {
      const [column, index] = unit.dataset.unit.split("-").map(Number);
      const position = step().foci.findIndex((f) => f.column === column && f.unit === index);
      if (position >= 0) { state.unit = position; render(); }
    };
    unit.addEventListener("click", choose);
    unit.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); }
    });
  });
}

function largest(column, role) {
  let most = 0;
  for (const [i, j] of data.connections[column]) {
    const value = Math.abs(number(look(`${role}[${i},${j}]`)));
    if (value > most && Number.isFinite(value)) most = value;
  }
  return most || 1;
}

function renderDrawing() {
  const now = step(), chosen = focus();
  const part = new Set(now.foci.map((f) => `${f.column}-${f.unit}`));
  const hot = new Set((chosen ? chosen.edges : []).map((e) => e.join("-")));
  each(".unit", (unit) => {
    const [column, index] = unit.dataset.unit.split("-").map(Number);
    const [value, gradient] = now.units[column];
    const small = Number(unit.querySelector("circle").getAttribute("r")) < 22;
    const text = value ? show(look(unitName(value, index)), small ? 2 : 3) : "";
    unit.querySelector(".value").textContent = text.length > (small ? 5 : 6) ? brief(look(unitName(value, index))) : text;
    const arrived = gradient ? show(look(unitName(gradient, index)), small ? 2 : 3) : "";
    const mark = gradient && gradient.endsWith(".delta") ? "δ " : "∂ ";
    const below = unit.querySelector(".gradient");
    below.textContent = arrived ? (small ? brief(look(unitName(gradient, index))) : mark + arrived) : "";
    const inStep = part.has(unit.dataset.unit);
    const isNow = chosen && chosen.column === column && chosen.unit === index;
    below.classList.toggle("fresh", now.phase === "backward" && inStep);
    unit.classList.toggle("off", !value);
    unit.classList.toggle("part", inStep);
    unit.classList.toggle("now", Boolean(isNow));
    unit.setAttribute("tabindex", inStep ? "0" : "-1");
    const spoken = value ? `${roleOf(value)} ${show(look(unitName(value, index)))}` : "not known yet";
    unit.setAttribute("aria-label", `${unitLabel(column, index)}: ${spoken}${arrived ? `, gradient ${arrived}` : ""}`);
    if (isNow) unit.setAttribute("aria-current", "true"); else unit.removeAttribute("aria-current");
  });
  const most = data.columns.map((column, c) => (c && now.edges[c] ? largest(c, now.edges[c]) : 1));
  each(".edge[data-edge]", (edge) => {
    const [column, i, j] = edge.dataset.edge.split("-");
    const role = now.edges[Number(column)];
    const value = role && i !== "skip" ? number(look(`${role}[${i},${j}]`)) : undefined;
    edge.classList.toggle("positive", value > 0);
    edge.classList.toggle("negative", value < 0);
    const share = Number.isFinite(value) ? Math.abs(value) / most[Number(column)] : 0.2;
    edge.setAttribute("stroke-width", (0.6 + 4.4 * share).toFixed(2));
    edge.classList.toggle("hot", hot.has(edge.dataset.edge));
    edge.classList.toggle("dim", hot.size > 0 && !hot.has(edge.dataset.edge));
  });
  renderFlow(now, hot);
  each(".tag", (tag) => {
    const parts = tagTexts(Number(tag.dataset.tag), now);
    tag.querySelectorAll("tspan").forEach((part, k) => { part.textContent = parts[k]; });
  });
  const errorKnown = now.phase !== "forward";
  each(".loss .value", (text) => { text.textContent = errorKnown ? show(look("loss"), 4) : ""; });
  each(".loss", (box) => box.classList.toggle("now", now.phase === "error"));
}

// What stands by an output once the error is known: its probability, and the target.
function tagTexts(unit, now) {
  const target = look(unitName("target_probabilities", unit)) ?? look(unitName("targets", unit));
  const p = look(unitName("probabilities", unit));
  if (now.phase === "forward" || data.columns.at(-1).units.length > 6) return ["", ""];
  return [p === undefined ? "" : `p ${show(p, 3)}`, target === undefined ? "" : `target ${show(target, 2)}`];
}

// A unit by the name of its input or output, where it has one.
function unitLabel(column, unit) {
  const names = column === 0 ? data.inputNames : column === data.columns.length - 1 ? data.outputNames : null;
  return `${data.columns[column].label}, ${names ? names[unit] : `unit ${unit + 1}`}`;
}

const roleOf = (name) => name.slice(name.lastIndexOf(".") + 1);

// Labels and moving dashes on the connections that take part, with an arrowhead in the direction of the flow.
function renderFlow(now, hot) {
  for (const svg of drawings) {
    const flow = svg.querySelector(".flow"), labels = svg.querySelector(".labels");
    flow.replaceChildren();
    labels.replaceChildren();
    for (const address of hot) {
      const edge = svg.querySelector(`[data-edge="${address}"]`);
      if (!edge) continue;
      const [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map((name) => Number(edge.getAttribute(name)));
      const back = now.toward === "backward";
      if (now.toward) flow.append(draw("line", { x1, y1, x2, y2, class: now.toward }), arrow(back ? [x2, y2, x1, y1] : [x1, y1, x2, y2], hot.size > 5 ? 0.6 : 1));
      const [column, i, j] = address.split("-");
      const role = now.edges[Number(column)];
      if (role && hot.size <= (svg.classList.contains("tall") ? 4 : 12)) {
        const share = back ? 0.66 : 0.34; // next to the units that are many, where labels stand apart

        const place = { x: x1 + share * (x2 - x1), y: y1 + share * (y2 - y1), dy: ".35em", class: "label" };
        labels.append(draw("text", place, show(look(`${role}[${i},${j}]`), hot.size > 6 ? 2 : 3)));
      }
    }
  }
}

function arrow([x1, y1, x2, y2], size) {
  const angle = Math.atan2(y2 - y1, x2 - x1), degrees = (angle * 180) / Math.PI;
  return draw("path", { d: "M-7 0 L-17 -4.5 L-17 4.5 Z", transform: `translate(${x2} ${y2}) rotate(${degrees}) scale(${size})` });
}

// The story.

// What a worksheet gives: inputs, targets, parameters, the learning rate and what dropout keeps.
const GIVEN = /^(x|lr|targets|target_probabilities)(\[|$)|^layers\.0\.x\[|\.(weight|bias|mask)\[/;

// A line of arithmetic; as a question it shows only the numbers that are given.
function renderTokens(tokens, asks = false) {
  const line = make("div", { class: "line" });
  const last = tokens.findLastIndex((token) => typeof token === "number");
  let before = "";
  tokens.forEach((token, position) => {
    if (typeof token === "string") {
      line.append(token.replace(/\*/g, " × ").replace(/(^|[^e])-/g, "$1−"));
      before = token;
      return;
    }
    const value = number(values()[token]), name = data.names[token];
    const inside = before && !/(= |\(|, |: |\|)$/.test(before);
    const text = asks && !GIVEN.test(name) ? "________" : value < 0 && inside ? `(${show(value)})` : show(value);
    const classes = ["n"];
    if (/\.(new_)?weight\[/.test(name)) classes.push("weight", value < 0 ? "minus" : "plus");
    if (position === last && before.endsWith(" = ")) classes.push("result");
    line.append(make("span", { class: classes.join(" "), title: `trace["${name.replace("[", '"][')}`, "data-name": name }, text));
    before = "x";
  });
  return line;
}

// More examples than these are chosen from a list.
const MAX_BUTTONS = 6;
const PHASES = [["forward", "Forward →"], ["error", "Error"], ["backward", "← Backward"], ["update", "Update"]];

function prepareStory() {
  const present = new Set(data.steps.map((s) => s.phase));
  for (const [phase, label] of PHASES) {
    if (!present.has(phase)) continue;
    const item = make("li"), button = make("button", { type: "button", "data-phase": phase }, label);
    button.addEventListener("click", () => goTo(steps().findIndex((s) => data.steps[s].phase === phase)));
    item.append(button);
    $("phases").append(item);
  }
  const choose = (index) => { state.example = index; goTo(Math.min(state.step, steps().length - 1)); renderMoment(); };
  const few = data.examples.length <= MAX_BUTTONS;
  $("rows").hidden = few;
  $("examples").hidden = !few || data.examples.length < 2;
  data.examples.forEach((example, index) => {
    if (!few) { $("row").append(make("option", { value: index }, example.label)); return; }
    const label = make("label"), input = make("input", { type: "radio", name: "example", value: index });
    input.checked = index === state.example;
    input.addEventListener("change", () => choose(index));
    label.append(input, example.label);
    $("examples").append(label);
  });
  $("row").addEventListener("change", () => choose(Number($("row").value)));
  $("next").addEventListener("click", () => goTo(state.step + 1 < steps().length ? state.step + 1 : 0));
  $("back").addEventListener("click", () => goTo(state.step - 1));
  $("unit-before").addEventListener("click", () => pick(-1));
  $("unit-after").addEventListener("click", () => pick(1));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const moves = {
      ArrowRight: () => goTo(state.step + 1), ArrowLeft: () => goTo(state.step - 1), ArrowUp: () => pick(-1), ArrowDown: () => pick(1),
      Home: () => goTo(0), End: () => goTo(steps().length - 1),
      ...(presented ? { PageUp: () => toMoment(-1), PageDown: () => toMoment(1), e: () => toExample(1), " ": () => $("play") && $("play").click() } : {}),
    };
    const inBench = $("bench").contains(event.target) || (event.target === document.body && benchInView());
    if (moves[event.key] && inBench) { event.preventDefault(); moves[event.key](); }
  });
}

function toMoment(by) {
  if (!$("epoch")) return;
  $("epoch").value = state.moment + by;
  $("epoch").dispatchEvent(new Event("input"));
}

function toExample(by) {
  state.example = (state.example + by) % data.examples.length;
  goTo(Math.min(state.step, steps().length - 1));
  renderMoment();
}

function benchInView() {
  if (presented) return true;
  const box = $("bench").getBoundingClientRect();
  return box.top < innerHeight * 0.6 && box.bottom > innerHeight * 0.4;
}

function goTo(next) {
  state.step = Math.max(0, Math.min(steps().length - 1, next));
  state.unit = Math.min(state.unit, step().foci.length - 1);
  render();
}

function pick(by) {
  const many = step().foci.length;
  state.unit = (state.unit + by + many) % many;
  render();
}

function renderStory() {
  const now = step(), chosen = focus();
  $("title").textContent = now.title;
  $("text").textContent = now.text;
  $("formula").textContent = now.formula;
  $("lines").replaceChildren(...(chosen ? chosen.lines.map((line) => renderTokens(line)) : []));
  const many = now.foci.length;
  $("pick").hidden = many < 2;
  $("hint").hidden = many < 2;
  if (chosen) $("unit-name").textContent = unitLabel(chosen.column, chosen.unit);
  $("count").textContent = `step ${state.step + 1} of ${steps().length}`;
  $("back").disabled = state.step === 0;
  $("next").textContent = state.step + 1 < steps().length ? "Next ▶" : "Again ↻";
  for (const button of $("phases").querySelectorAll("button")) {
    if (button.dataset.phase === now.phase) button.setAttribute("aria-current", "step"); else button.removeAttribute("aria-current");
  }
  const role = now.edges.find((r) => r && (r.endsWith("grad_weight") || r.endsWith("new_weight")));
  const what = !role ? "the weight" : role.endsWith("grad_weight") ? "the weight, in the layer in focus its gradient" : "the weight, new where updated";
  $("edges-show").textContent = `width: size of ${what}`;
  $("units-show").textContent = now.phase === "backward" || now.phase === "update" ? "below a unit: δ = dL/dz or ∂ = dL/da" : "";
}

// All steps of the example on paper, with blanks for the numbers that follow from those given; and the answers on a page of their own.
function buildWorksheet() {
  const walk = steps().map((s) => data.steps[s]);
  const sheet = (title, asks) => [
    make("h2", {}, title),
    make("p", {}, `${data.examples[state.example].label}${data.training ? `, ${$("epoch-label").textContent}` : ""}`),
    ...walk.map((now, n) => {
      const part = make("section", { class: "sheet-step" });
      part.append(make("h3", {}, `${n + 1}. ${now.title}`), make("p", { class: "formula" }, now.formula));
      if (!asks) part.append(make("p", {}, now.text));
      for (const one of now.foci) {
        const unit = make("div", { class: "sheet-unit" });
        if (now.foci.length > 1) unit.append(make("b", {}, unitLabel(one.column, one.unit)));
        unit.append(...one.lines.map((line) => renderTokens(line, asks)));
        part.append(unit);
      }
      return part;
    }),
  ];
  const questions = make("div", { class: "sheet-questions" }), answers = make("div", { class: "sheet-answers" });
  questions.append(...sheet("Worksheet: one training step", true));
  answers.append(...sheet("Answers", false));
  $("worksheet").replaceChildren(questions, answers);
}

function render() {
  renderStory();
  renderDrawing();
}

// The training.

function slider(input, label, count, text, change) {
  input.max = count - 1;
  const update = () => { label.textContent = text(Number(input.value)); input.setAttribute("aria-valuetext", label.textContent); change(Number(input.value)); };
  input.addEventListener("input", update);
  return (value) => { input.value = value; update(); };
}

// Plays a slider from where it stands, or from the start when it stands at the end.
function player(button, input, set, pause) {
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "▶"; button.removeAttribute("aria-pressed"); };
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(input.value) >= Number(input.max)) set(0);
    button.textContent = "❚❚";
    button.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      if (Number(input.value) >= Number(input.max)) return stop();
      set(Number(input.value) + 1);
    }, pause);
  });
  input.addEventListener("pointerdown", () => timer && stop());
}

function prepareTraining() {
  const training = data.training;
  const label = (k) => { const s = training.snapshots[k]; return `epoch ${s.epoch} of ${training.epochs}, loss ${show(s.loss, 3)}`; };
  const set = slider($("epoch"), $("epoch-label"), training.snapshots.length, label, (k) => { state.moment = k; render(); renderMoment(); });
  player($("play"), $("epoch"), set, 220);
  $("boundary-panel").hidden = !training.grid;
  $("image-panel").hidden = !training.image;
  set(state.moment);
}

function renderMoment() {
  const training = data.training;
  if (!training) return;
  const snapshot = training.snapshots[state.moment];
  if (training.grid) renderBoundary(training.grid, state.moment);
  if (training.image) renderImage(training.image);
  chart($("loss-chart"), { series: training.curves, logY: training.logLoss, xlabel: "epoch", cursor: snapshot.epoch });
  $("loss-now").textContent = `Now: loss ${show(snapshot.loss, 4)}${snapshot.accuracy === undefined ? "" : `, ${show(100 * snapshot.accuracy, 3)} % right`}${snapshot.r2 === undefined ? "" : `, R² ${show(snapshot.r2, 3)}`}`;
  bars($("norms"), snapshot.norms.map((value, k) => ({ name: training.layers[k], value })), training.normRange);
}

// Bars on a log scale between the least and the most that was recorded.
function bars(place, rows, [low, high]) {
  place.replaceChildren(...rows.map(({ name, value }) => {
    const row = make("div", { class: "bar" }), track = make("div", { class: "track" }), fill = make("div", { class: "fill" });
    const size = number(value);
    const share = size > 0 ? (Math.log10(size) - Math.log10(low)) / (Math.log10(high) - Math.log10(low) || 1) : 0;
    fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
    track.append(fill);
    row.append(make("span", {}, name), track, make("span", { class: "number" }, show(value, 3)));
    return row;
  }));
}

function renderBoundary(grid, moment) {
  const canvas = $("boundary"), size = 540, context = canvas.getContext("2d");
  canvas.width = canvas.height = size;
  const n = grid.size, levels = bytes(grid.frames[moment]);
  const classes = grid.classes > 2 ? bytes(grid.winners[moment]) : null;
  context.drawImage(shades(n, levels, classes), 0, 0, size, size);
  if (!grid.regression && !classes) outline(context, n, levels, size / n);
  const place = ([x, y]) => [((x - grid.x[0]) / (grid.x[1] - grid.x[0])) * size, (1 - (y - grid.y[0]) / (grid.y[1] - grid.y[0])) * size];
  for (const point of grid.points) dot(context, place(point), point[2], 6.5, grid.regression);
  const chosen = place(data.examples[state.example].x);
  context.beginPath();
  context.arc(...chosen, 16, 0, 2 * Math.PI);
  context.lineWidth = 4;
  context.strokeStyle = color("--ink");
  context.stroke();
  $("boundary-caption").textContent = grid.caption;
  $("boundary-key").textContent = grid.key;
  canvas.setAttribute("aria-label", `${grid.caption}. ${grid.key}`);
}

function renderImage(image) {
  const canvas = $("image"), context = canvas.getContext("2d"), pixels = image.pixels[state.example];
  canvas.width = image.width;
  canvas.height = image.height;
  const card = rgb("--card"), ink = rgb("--ink"), picture = context.createImageData(image.width, image.height);
  pixels.forEach((level, k) => picture.data.set([...mix(card, ink, level / 255), 255], 4 * k));
  context.putImageData(picture, 0, 0);
  const answers = image.answers[state.moment][state.example];
  $("answers").replaceChildren(...answers.map((p, k) => {
    const row = make("div", { class: k === image.labels[state.example] ? "bar target" : "bar" });
    const track = make("div", { class: "track" }), fill = make("div", { class: "fill" });
    fill.style.width = `${100 * p}%`;
    track.append(fill);
    row.append(make("span", {}, image.names[k]), track, make("span", { class: "number" }, show(p, 3)));
    return row;
  }));
}

// Comparisons.

function prepareVanishing(part) {
  $("vanish-text").textContent = part.text;
  const layers = part.runs[0].norms[0].map((_, k) => k + 1);
  const set = slider($("vanish-epoch"), $("vanish-label"), part.epochs.length, (k) => `epoch ${part.epochs[k]} of ${part.epochs.at(-1)}`, (k) => {
    const series = part.runs.map((run) => ({ name: run.name, x: layers, y: run.norms[k], marks: true }));
    chart($("vanish-chart"), { series, logY: true, xlabel: "layer: 1 is next to the inputs, the error comes from the right", range: part.range, whole: true });
    const losses = part.runs.map((run) => ({ name: run.name, x: part.epochs, y: run.losses }));
    chart($("vanish-loss"), { series: losses, xlabel: "epoch", cursor: part.epochs[k] });
    table($("vanish-table"), ["activation", "gradient, layer 1", `gradient, layer ${layers.length}`, "layer 1 gets", "loss", part.score === "r2" ? "R²" : "right"], part.runs.map((run) => [
      run.name, show(run.norms[k][0], 3), show(run.norms[k].at(-1), 3), `${show(run.ratios[k], 2)} of it`, show(run.losses[k], 3), part.score === "r2" ? show(run.scores[k], 3) : `${show(100 * run.scores[k], 3)} %`,
    ]));
  });
  set(0);
}

function prepareClipping(part) {
  $("clip-text").textContent = part.text;
  const count = part.runs[0].losses.length, steps = part.runs[0].losses.map((_, k) => k);
  const set = slider($("clip-step"), $("clip-label"), count, (k) => `step ${k} of ${count - 1}`, (k) => {
    const lines = (what) => part.runs.map((run) => ({ name: run.name, x: steps, y: run[what] }));
    for (const [place, what] of [["clip-loss", "losses"], ["clip-norm", "norms"]]) {
      chart($(place), { series: lines(what), logY: true, xlabel: "step", cursor: k, range: part.ranges[what] });
    }
    table($("clip-table"), ["", "loss", "gradient norm"], part.runs.map((run) => [run.name, show(run.losses[k], 4), show(run.norms[k], 4)]));
  });
  set(count - 1);
}

function prepareRace(part) {
  let surface = part[0];
  const change = (k) => {
    renderRace(surface, k);
    const series = surface.runs.map((run) => ({ name: run.name, x: run.losses.map((_, i) => i), y: run.losses }));
    chart($("race-chart"), { series, logY: true, xlabel: "step", cursor: k, range: surface.range });
    table($("race-table"), ["optimizer", surface.axes[0], surface.axes[1], "loss"], surface.runs.map((run) => [
      run.name, show(run.path[k][0], 3), show(run.path[k][1], 3), show(run.losses[k], 3),
    ]));
  };
  const count = part[0].runs[0].path.length;
  const set = slider($("race-step"), $("race-label"), count, (k) => `step ${k} of ${count - 1}`, change);
  player($("race-play"), $("race-step"), set, 90);
  part.forEach((one, index) => {
    const label = make("label"), input = make("input", { type: "radio", name: "surface", value: index });
    input.checked = index === 0;
    input.addEventListener("change", () => { surface = one; $("race-text").textContent = one.text; change(Number($("race-step").value)); });
    label.append(input, one.name);
    $("surfaces").append(label);
  });
  $("race-text").textContent = surface.text;
  set(count - 1);
}

function renderRace(surface, k) {
  const canvas = $("race-canvas"), n = surface.size, levels = bytes(surface.levels), context = canvas.getContext("2d");
  canvas.width = canvas.height = n;
  canvas.setAttribute("aria-label", `Loss surface over ${surface.axes.join(" and ")}, with the path of each optimizer`);
  const card = rgb("--card"), deep = rgb("--s6"), picture = context.createImageData(n, n);
  for (let row = 0; row < n; row++) {
    for (let column = 0; column < n; column++) {
      const band = levels[row * n + column] / 15;
      picture.data.set([...mix(card, deep, 0.95 * (1 - band)), 255], 4 * ((n - 1 - row) * n + column));
    }
  }
  context.putImageData(picture, 0, 0);
  const size = 480, px = (x) => ((x - surface.x[0]) / (surface.x[1] - surface.x[0])) * size;
  const py = (y) => (1 - (y - surface.y[0]) / (surface.y[1] - surface.y[0])) * size;
  const svg = draw("svg", { viewBox: `0 0 ${size} ${size}`, "aria-hidden": "true" });
  for (const [x, y] of surface.lowest) svg.append(draw("text", { x: px(x), y: py(y), dy: ".35em", "text-anchor": "middle" }, "★"));
  const [sx, sy] = surface.runs[0].path[0];
  svg.append(draw("text", { x: px(sx) + 9, y: py(sy) - 8 }, "start"));
  surface.runs.forEach((run, index) => {
    const path = run.path.slice(0, k + 1).filter((p) => Number.isFinite(number(p[0])) && Number.isFinite(number(p[1])));
    const d = path.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
    svg.append(draw("path", { d, fill: "none", stroke: hue(index), "stroke-width": 2.4, "stroke-dasharray": DASHES[index % 6] }));
    const [x, y] = path.at(-1);
    const head = draw("path", { d: MARKS[index % 6](0, 0), fill: hue(index), stroke: color("--card"), transform: `translate(${px(x)} ${py(y)}) scale(1.9)`, "stroke-width": 0.7 });
    svg.append(head);
  });
  for (const [axis, x, y] of [[surface.axes[0], size - 8, size - 10], [surface.axes[1], 10, 18]]) svg.append(draw("text", { x, y, "text-anchor": x > 99 ? "end" : "start" }, `${axis} ${x > 99 ? "→" : "↑"}`));
  $("race-paths").replaceChildren(svg);
}

// Start.

prepareDrawing();
prepareStory();
render();
addEventListener("beforeprint", buildWorksheet);
if (data.training) {
  prepareTraining();
  const sections = [["vanishing", prepareVanishing, "vanish-epoch"], ["clipping", prepareClipping, "clip-step"], ["race", prepareRace, "race-step"]];
  const present = sections.filter(([part]) => data[part]);
  for (const [part, prepare] of present) prepare(data[part]);
  const redraw = () => { renderMoment(); for (const [, , id] of present) $(id).dispatchEvent(new Event("input")); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
}
