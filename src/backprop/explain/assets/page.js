"use strict";
// This script looks recorded numbers up and draws them. Every number, and every formula that leads to it, was written by the library.

const data = JSON.parse(document.getElementById("data").textContent);
const at = new Map(data.names.map((name, id) => [name, id]));
const state = { moment: data.values.length - 1, example: 0, step: 0, unit: 0 };
if (data.training) state.moment = data.training.start;

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const quiet = matchMedia("(prefers-reduced-motion: reduce)");

function make(tag, attributes = {}, text = null, ns = null) {
  const element = ns ? document.createElementNS(ns, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  return element;
}
const draw = (tag, attributes = {}, text = null) => make(tag, attributes, text, SVG);

// Numbers: stored with six significant digits, as JSON has them; "nan", "inf" and "-inf" as words.

const number = (value) => (typeof value === "string" ? { nan: NaN, inf: Infinity, "-inf": -Infinity }[value] : value);

function show(value, digits = 6) {
  value = number(value);
  if (value === undefined || value === null) return "";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-4 || size >= 1e6)
    ? value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e")
    : String(Number(value.toPrecision(digits)));
  return text.replace(/-/g, "−");
}

// At most about six characters, for crowded drawings.
function brief(value) {
  const text = show(value, 2);
  if (text.length <= 6 || !Number.isFinite(number(value))) return text;
  return number(value).toExponential(0).replace("e+", "e").replace(/-/g, "−");
}

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

function prepareDrawing() {
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
    const label = data.columns[column].label;
    const spoken = value ? `${roleOf(value)} ${show(look(unitName(value, index)))}` : "not known yet";
    unit.setAttribute("aria-label", `${label}, unit ${index + 1}: ${spoken}${arrived ? `, gradient ${arrived}` : ""}`);
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

function renderTokens(tokens) {
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
    const text = value < 0 && inside ? `(${show(value)})` : show(value);
    const classes = ["n"];
    if (/\.(new_)?weight\[/.test(name)) classes.push("weight", value < 0 ? "minus" : "plus");
    if (position === last && before.endsWith(" = ")) classes.push("result");
    line.append(make("span", { class: classes.join(" "), title: `trace["${name.replace("[", '"][')}`, "data-name": name }, text));
    before = "x";
  });
  return line;
}

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
  data.examples.forEach((example, index) => {
    const label = make("label"), input = make("input", { type: "radio", name: "example", value: index });
    input.checked = index === state.example;
    input.addEventListener("change", () => { state.example = index; goTo(Math.min(state.step, steps().length - 1)); renderMoment(); });
    label.append(input, example.label);
    $("examples").append(label);
  });
  if (data.examples.length < 2) $("examples").hidden = true;
  $("next").addEventListener("click", () => goTo(state.step + 1 < steps().length ? state.step + 1 : 0));
  $("back").addEventListener("click", () => goTo(state.step - 1));
  $("unit-before").addEventListener("click", () => pick(-1));
  $("unit-after").addEventListener("click", () => pick(1));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const moves = {
      ArrowRight: () => goTo(state.step + 1), ArrowLeft: () => goTo(state.step - 1), ArrowUp: () => pick(-1), ArrowDown: () => pick(1),
      Home: () => goTo(0), End: () => goTo(steps().length - 1),
    };
    const inBench = $("bench").contains(event.target) || (event.target === document.body && benchInView());
    if (moves[event.key] && inBench) { event.preventDefault(); moves[event.key](); }
  });
}

function benchInView() {
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
  $("lines").replaceChildren(...(chosen ? chosen.lines.map(renderTokens) : []));
  const many = now.foci.length;
  $("pick").hidden = many < 2;
  $("hint").hidden = many < 2;
  if (chosen) $("unit-name").textContent = `${data.columns[chosen.column].label}, unit ${chosen.unit + 1}`;
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
  $("loss-now").textContent = `Now: loss ${show(snapshot.loss, 4)}${snapshot.accuracy === undefined ? "" : `, ${show(100 * snapshot.accuracy, 3)} % right`}`;
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

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function rgb(name) {
  const hex = color(name).slice(1);
  return [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

const mix = (a, b, t) => a.map((v, k) => Math.round(v + (b[k] - v) * t));

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

// One pixel for each recorded point; the canvas smooths between them, except where classes have no order.
function shades(n, levels, classes) {
  const small = document.createElement("canvas"), context = small.getContext("2d"), picture = context.createImageData(n, n);
  small.width = small.height = n;
  const card = rgb("--card"), hues = ["--s2", "--s1", "--s3", "--s4", "--s5", "--s6"].map(rgb);
  levels.forEach((level, k) => {
    const p = level / 255;
    const shade = classes ? mix(card, hues[classes[k] % 6], 0.15 + 0.55 * p) : mix(card, p < 0.5 ? hues[0] : hues[1], 1.2 * Math.abs(p - 0.5));
    picture.data.set([...shade, 255], 4 * ((n - 1 - Math.floor(k / n)) * n + (k % n)));
  });
  context.putImageData(picture, 0, 0);
  return small;
}

// The line p = 0.5 through the recorded points: in each square of four neighbours, from side to side.
function outline(context, n, levels, cell) {
  const half = 127.5, x = (column) => (column + 0.5) * cell, y = (row) => (n - row - 0.5) * cell;
  context.strokeStyle = color("--ink");
  context.lineWidth = 3.5;
  context.lineCap = "round";
  context.beginPath();
  for (let row = 0; row + 1 < n; row++) {
    for (let column = 0; column + 1 < n; column++) {
      const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]];
      const crossings = [];
      corners.forEach(([c, r], k) => {
        const [c2, r2] = corners[(k + 1) % 4], a = levels[r * n + c] - half, b = levels[r2 * n + c2] - half;
        if (a * b < 0) crossings.push([x(c + (c2 - c) * (a / (a - b))), y(r + (r2 - r) * (a / (a - b)))]);
      });
      for (let k = 0; k + 1 < crossings.length; k += 2) { context.moveTo(...crossings[k]); context.lineTo(...crossings[k + 1]); }
    }
  }
  context.stroke();
}

const SHAPES = [
  (c, x, y, r) => c.arc(x, y, r, 0, 2 * Math.PI),
  (c, x, y, r) => c.rect(x - r * 0.9, y - r * 0.9, 1.8 * r, 1.8 * r),
  (c, x, y, r) => { c.moveTo(x, y - 1.2 * r); c.lineTo(x + 1.1 * r, y + 0.8 * r); c.lineTo(x - 1.1 * r, y + 0.8 * r); c.closePath(); },
  (c, x, y, r) => { c.moveTo(x, y - 1.3 * r); c.lineTo(x + 1.3 * r, y); c.lineTo(x, y + 1.3 * r); c.lineTo(x - 1.3 * r, y); c.closePath(); },
];

function dot(context, [x, y], kind, radius, regression) {
  const hues = ["--s2", "--s1", "--s3", "--s4", "--s5", "--s6"];
  context.beginPath();
  SHAPES[regression ? 0 : kind % SHAPES.length](context, x, y, radius);
  context.fillStyle = color(regression ? "--ink" : hues[kind % hues.length]);
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = color("--card");
  context.stroke();
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

// Charts.

const DASHES = ["", "7 3", "2 3", "10 3 2 3", "5 5", "1 4"];
const MARKS = [
  (x, y) => `M${x - 3.5} ${y}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0Z`,
  (x, y) => `M${x - 3.3} ${y - 3.3}h6.6v6.6h-6.6Z`,
  (x, y) => `M${x} ${y - 4.5}l4.4 7.6h-8.8Z`,
  (x, y) => `M${x} ${y - 4.8}l4.8 4.8l-4.8 4.8l-4.8 -4.8Z`,
  (x, y) => `M${x} ${y + 4.5}l4.4 -7.6h-8.8Z`,
  (x, y) => `M${x - 4} ${y - 1.3}h2.7v-2.7h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7Z`,
];
const hue = (k) => `var(--s${(k % 6) + 1})`;

function ticks(low, high, many) {
  const raw = (high - low) / many, power = 10 ** Math.floor(Math.log10(raw || 1));
  const pace = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= raw) || power;
  const result = [];
  for (let value = Math.ceil(low / pace) * pace; value <= high + pace * 1e-9; value += pace) result.push(Number(value.toPrecision(12)));
  return result;
}

function powers(low, high) {
  const first = Math.floor(Math.log10(low) + 1e-9), last = Math.ceil(Math.log10(high) - 1e-9), pace = Math.ceil((last - first) / 6) || 1;
  const result = [];
  for (let power = first; power <= last; power += pace) result.push(10 ** power);
  return result;
}

const superscript = (power) => "10" + String(power).replace(/./g, (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻");

// series: [{name, x, y, marks}]; cursor: an x to mark; range: fixed [low, high] of y.
function chart(place, { series, logY = false, xlabel = "", cursor = null, range = null, whole = false }) {
  const width = Math.max(280, Math.min(560, place.clientWidth || 420)), height = 230, left = 46, right = 12, top = 10, bottom = 34;
  const xs = series.flatMap((s) => s.x), ys = series.flatMap((s) => s.y).map(number).filter((v) => Number.isFinite(v) && (!logY || v > 0));
  let [low, high] = range || [Math.min(...ys), Math.max(...ys)];
  if (!logY && !range) low = Math.min(0, low);
  if (low === high) high = low ? low * 1.1 : 1;
  const yTicks = logY ? powers(low, high) : ticks(low, high, 5);
  if (logY) { low = Math.min(low, yTicks[0]); high = Math.max(high, yTicks.at(-1)); }
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const px = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - right);
  const scale = (y) => (logY ? Math.log10(y) : y);
  const py = (y) => height - bottom - ((scale(y) - scale(low)) / (scale(high) - scale(low))) * (height - top - bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" }), inside = `inside-${place.id}`;
  const window = draw("clipPath", { id: inside });
  window.append(draw("rect", { x: left - 6, y: top - 6, width: width - left - right + 12, height: height - top - bottom + 12 }));
  svg.append(window);
  svg.setAttribute("aria-label", `Chart over ${xlabel}: ${series.map((s) => `${s.name} ends at ${show(s.y.at(-1), 3)}`).join(", ")}`);
  for (const value of yTicks) {
    svg.append(draw("line", { class: "axis", x1: left, x2: width - right, y1: py(value), y2: py(value) }));
    svg.append(draw("text", { x: left - 6, y: py(value), dy: ".35em", "text-anchor": "end" }, logY ? superscript(Math.round(Math.log10(value))) : show(value, 3)));
  }
  for (const value of whole ? series[0].x : ticks(x0, x1, 5)) svg.append(draw("text", { x: px(value), y: height - bottom + 16, "text-anchor": "middle" }, show(value, 4)));
  svg.append(draw("text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, xlabel));
  series.forEach((one, k) => {
    let path = "", pen = false;
    one.x.forEach((x, i) => {
      const y = number(one.y[i]);
      if (!Number.isFinite(y) || (logY && y <= 0)) { pen = false; return; }
      path += `${pen ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`;
      pen = true;
    });
    svg.append(draw("path", { class: "series", d: path, stroke: hue(k), "stroke-dasharray": DASHES[k % 6], "clip-path": `url(#${inside})` }));
    const marked = one.marks ? one.x.map((_, i) => i) : cursor === null ? [] : [one.x.findIndex((x) => x >= cursor)];
    for (const i of marked) {
      const y = number(one.y[i]);
      if (i >= 0 && Number.isFinite(y) && y >= low && y <= high) svg.append(draw("path", { class: "dot", d: MARKS[k % 6](px(one.x[i]), py(y)), fill: hue(k) }));
    }
  });
  if (cursor !== null) svg.append(draw("line", { class: "cursor", x1: px(cursor), x2: px(cursor), y1: top, y2: height - bottom }));
  const parts = [svg];
  if (series.length > 1) parts.push(legend(series.map((s) => s.name)));
  place.replaceChildren(...parts);
}

function legend(names) {
  const list = make("ul");
  names.forEach((name, k) => {
    const item = make("li"), sample = draw("svg", { viewBox: "0 0 34 12", "aria-hidden": "true" });
    sample.append(draw("line", { x1: 0, x2: 34, y1: 6, y2: 6, class: "series", stroke: hue(k), "stroke-dasharray": DASHES[k % 6] }));
    sample.append(draw("path", { d: MARKS[k % 6](17, 6), fill: hue(k) }));
    item.append(sample, name);
    list.append(item);
  });
  return list;
}

function table(place, head, rows) {
  const thead = make("thead"), tbody = make("tbody"), first = make("tr");
  for (const text of head) first.append(make("th", { scope: "col" }, text));
  thead.append(first);
  for (const row of rows) {
    const line = make("tr");
    row.forEach((cell, k) => line.append(make(k ? "td" : "th", k ? {} : { scope: "row" }, cell)));
    tbody.append(line);
  }
  place.replaceChildren(thead, tbody);
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
    table($("vanish-table"), ["activation", "gradient, layer 1", `gradient, layer ${layers.length}`, "layer 1 gets", "loss", "right"], part.runs.map((run) => [
      run.name, show(run.norms[k][0], 3), show(run.norms[k].at(-1), 3), `${show(run.ratios[k], 2)} of it`, show(run.losses[k], 3), `${show(100 * run.accuracies[k], 3)} %`,
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
if (data.training) {
  prepareTraining();
  prepareVanishing(data.vanishing);
  prepareClipping(data.clipping);
  prepareRace(data.race);
  const redraw = () => { renderMoment(); for (const id of ["vanish-epoch", "clip-step", "race-step"]) $(id).dispatchEvent(new Event("input")); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
}
