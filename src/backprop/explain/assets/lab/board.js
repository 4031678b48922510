"use strict";
// The board: the network with a picture of what each unit has learned, what the network answers, and the loss over the training.

const GRID = 40;

// Evaluates the network where it is drawn: on a grid over two inputs, along one input, or for the example.
class Probe {
  constructor(session) {
    const { data } = session;
    this.session = session;
    this.kind = data.points ? "plane" : data.inputs === 1 ? "line" : "example";
    this.net = new Engine.Network(session.net.sizes, session.net.activation, 1);
    this.net.parameters = session.net.parameters; // the same array: it sees every update
    const places = data.points || data.x, dimensions = data.points ? 2 : data.inputs;
    this.bounds = Array.from({ length: Math.min(2, dimensions) }, (_, k) => {
      let low = Infinity, high = -Infinity;
      for (let i = k; i < places.length; i += dimensions) { low = Math.min(low, places[i]); high = Math.max(high, places[i]); }
      const margin = 0.12 * (high - low) + 1e-9;
      return [low - margin, high + margin];
    });
    const [[x0, x1], [y0, y1]] = [this.bounds[0], this.bounds[1] || [0, 0]];
    if (this.kind === "plane") {
      this.n = GRID * GRID; // the middle of each cell, from the lower left corner, row by row
      this.x = new Float64Array(data.inputs * this.n);
      for (let r = 0; r < GRID; r++) {
        for (let c = 0; c < GRID; c++) {
          const point = [x0 + ((x1 - x0) * (c + 0.5)) / GRID, y0 + ((y1 - y0) * (r + 0.5)) / GRID];
          this.x.set(data.lift(point), data.inputs * (r * GRID + c));
        }
      }
    } else if (this.kind === "line") {
      this.n = 101;
      this.x = Float64Array.from({ length: this.n }, (_, i) => x0 + ((x1 - x0) * i) / (this.n - 1));
    } else {
      this.n = 1;
      this.x = new Float64Array(data.inputs);
    }
  }

  run(example) {
    if (this.kind === "example") this.x.set(this.session.train.x.subarray(example * this.x.length, (example + 1) * this.x.length));
    this.net.forward(this.x, this.n);
    return this;
  }

  // a of one unit (layer 1, 2, ...; the output layer gives what its link makes of it), at every point.
  values(layer, unit) {
    const { a, outputs } = this.net.layers[layer - 1], result = new Float64Array(this.n), last = layer === this.net.layers.length;
    const source = last ? Engine.probabilities(a, this.n, outputs, this.session.link) : a;
    for (let i = 0; i < this.n; i++) result[i] = source[i * outputs + unit];
    return result;
  }
}

// Shades from orange (negative) over paper to blue (positive), on a canvas of one pixel a cell; row 0 of `values` is at the bottom
// unless `fromTop`.
function shade(canvas, columns, rows, values, most, fromTop = false) {
  const context = canvas.getContext("2d"), picture = context.createImageData(columns, rows);
  const [card, low, high] = palette();
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      const share = Math.max(-1, Math.min(1, values[r * columns + c] / most || 0));
      const color = share < 0 ? low : high, weight = 0.62 * Math.abs(share), at = 4 * ((fromTop ? r : rows - 1 - r) * columns + c);
      for (let k = 0; k < 3; k++) picture.data[at + k] = card[k] + (color[k] - card[k]) * weight;
      picture.data[at + 3] = 255;
    }
  }
  canvas.width = columns;
  canvas.height = rows;
  context.putImageData(picture, 0, 0);
}

const palette = () => [rgb("--card"), rgb("--s2"), rgb("--s1"), rgb("--ink")];

const largestOf = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;

class Board {
  constructor(lab) {
    this.lab = lab;
    this.tiles = [];
    this.hovered = null;
    this.pixel = null;
    $("image-canvas").addEventListener("pointermove", (event) => this.pointPixel(event));
    $("image-canvas").addEventListener("pointerleave", () => { this.pixel = null; this.renderLens(); this.renderTiles(); });
    $("image-canvas").addEventListener("keydown", (event) => this.movePixel(event));
  }

  // After data or architecture changed.
  rebuild() {
    this.probe = new Probe(this.lab.session);
    this.build();
    this.render();
  }

  build() {
    const { session } = this.lab, { net } = session, { sizes } = net, place = $("board-net"), width = place.clientWidth || 300;
    this.width = width;
    const data = session.data, inputs = data.image ? 1 : Math.min(sizes[0], 8), shown = [inputs, ...sizes.slice(1)];
    const most = Math.max(...shown), high = this.lab.present ? this.lab.room - 190 : 560;
    const size = Math.max(18, Math.min((52 * this.lab.font) / 12, (width / shown.length) * 0.62, high / most / 1.22)), gap = Math.max(4, size * 0.22);
    const height = Math.max(180, most * (size + gap) + (34 * this.lab.font) / 12), em = this.lab.font / 12;
    const step = (width - size - 4) / (shown.length - 1);
    this.spots = shown.map((n, c) => Array.from({ length: n }, (_, k) => [2 + step * c, 26 * em + (height - 26 * em) / 2 + (k - n / 2) * (size + gap) + gap / 2]));
    const svg = draw("svg", { class: "net live", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", style: `width:${width}px;height:${height}px` });
    svg.classList.toggle("crowded", net.parameters.length > 150);
    this.edges = [];
    net.layers.forEach((layer, k) => {
      for (let i = 0; i < shown[k]; i++) {
        for (let j = 0; j < layer.outputs; j++) {
          const [x1, y1] = this.spots[k][i], [x2, y2] = this.spots[k + 1][j];
          const ends = { x1: x1 + size, y1: y1 + size / 2, x2, y2: y2 + size / 2 };
          const line = svg.appendChild(draw("line", { class: "edge", ...ends }));
          if (data.image && k === 0) { line.setAttribute("class", "edge plain"); continue; }
          const hit = svg.appendChild(draw("line", { class: "hit", ...ends }));
          hit.addEventListener("click", () => this.lab.chooseWeight(`${k}.${i}.${j}`));
          hit.append(draw("title"));
          this.edges.push([line, layer.weight + i * layer.outputs + j, k, hit.firstChild]);
        }
      }
    });
    shown.forEach((_, c) => {
      const label = c === 0 ? (inputs < sizes[0] && !data.image ? `${say("input")} (${inputs}/${sizes[0]})` : say("input")) : c === shown.length - 1 ? say("output") : say("layerShort", { n: c });
      const x = this.spots[c][0][0], anchor = c === 0 ? "start" : c === shown.length - 1 ? "end" : "middle";
      svg.append(draw("text", { class: "heading", x: anchor === "start" ? 0 : anchor === "end" ? width : x + size / 2, y: 14 * em, style: `text-anchor:${anchor}` }, label));
    });
    this.tiles = [];
    const buttons = shown.flatMap((n, c) => Array.from({ length: n }, (_, u) => {
      const [x, y] = this.spots[c][u], name = c === 0 ? (data.image ? say("imageCaption") : say("inputUnit", { name: data.features[u] })) : unitName(shown.map(() => 0), c, u, data);
      const button = make("button", { type: "button", class: "tile", "data-tile": `${c}.${u}`, "aria-label": name, title: name });
      button.style.cssText = `left:${x}px;top:${y}px;width:${size}px;height:${size}px`;
      const canvas = button.appendChild(make("canvas", { "aria-hidden": "true" }));
      for (const [on, off] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
        button.addEventListener(on, () => { this.hovered = `${c}.${u}`; this.renderLens(); });
        button.addEventListener(off, () => { this.hovered = null; this.renderLens(); });
      }
      button.addEventListener("click", () => { const key = `${c}.${u}`; this.lab.setView("lens", this.lab.view.lens === key ? "" : key); this.renderLens(); });
      this.tiles.push({ button, canvas, c, u });
      return button;
    }));
    place.style.height = `${height}px`;
    place.replaceChildren(svg, ...buttons);
  }

  render() {
    if (($("board-net").clientWidth || 300) !== this.width) this.build();
    this.probe.run(Math.min(this.lab.view.example, this.lab.session.train.n - 1));
    this.renderEdges();
    this.renderTiles();
    this.renderLens();
    this.renderCurves();
  }

  renderEdges() {
    const { parameters, layers } = this.lab.session.net;
    const most = layers.map((layer) => largestOf(parameters.subarray(layer.weight, layer.bias)));
    const chosen = this.lab.weightIndex();
    for (const [line, index, k, title] of this.edges) {
      const value = parameters[index];
      line.setAttribute("class", `edge ${value > 0 ? "positive" : value < 0 ? "negative" : ""} ${index === chosen ? "hot" : ""}`);
      line.setAttribute("stroke-width", (0.5 + (3.6 * Math.abs(value)) / most[k] || 0.5).toFixed(2));
      title.textContent = `w = ${show(value, 4)}`;
    }
  }

  renderTiles() {
    const { session } = this.lab, { net, data } = session, L = net.layers.length;
    for (const { button, canvas, c, u } of this.tiles) {
      if (this.probe.kind === "plane") {
        const values = c === 0 ? this.inputValues(u) : this.probe.values(c, u);
        this.shadePlane(canvas, values, c === L);
      } else if (this.probe.kind === "line") {
        this.drawLineTile(canvas, c === 0 ? this.probe.x : this.probe.values(c, u));
      } else if (data.image && c === 0) {
        this.drawImage(canvas);
      } else if (data.image && c === 1) {
        const weights = this.weightsOf(u);
        shade(canvas, data.image[1], data.image[0], weights, largestOf(weights), true);
        if (this.pixel !== null) this.markPixel(canvas);
      } else {
        const value = c === 0 ? this.probe.x[u] : this.probe.values(c, u)[0];
        shade(canvas, 1, 1, [value], c === L && session.link !== "identity" ? 1 : Math.max(1, Math.abs(value)));
      }
      button.classList.toggle("pinned", this.lab.view.lens === `${c}.${u}`);
      button.setAttribute("aria-pressed", String(this.lab.view.lens === `${c}.${u}`));
    }
  }

  inputValues(u) { return Float64Array.from({ length: this.probe.n }, (_, i) => this.probe.x[this.lab.session.data.inputs * i + u]); }

  weightsOf(u) {
    const layer = this.lab.session.net.layers[0], { parameters } = this.lab.session.net;
    return Float64Array.from({ length: layer.inputs }, (_, i) => parameters[layer.weight + i * layer.outputs + u]);
  }

  shadePlane(canvas, values, isOutput) {
    const { data, link } = this.lab.session;
    if (isOutput && data.kind === "binary") shade(canvas, GRID, GRID, values.map((p) => 2 * p - 1), 1);
    else if (isOutput && link === "softmax") shade(canvas, GRID, GRID, values, 1);
    else shade(canvas, GRID, GRID, values, largestOf(values));
  }

  drawLineTile(canvas, values) {
    const size = 64, context = canvas.getContext("2d"), most = largestOf(values);
    canvas.width = canvas.height = size;
    context.strokeStyle = color("--line");
    context.lineWidth = 2;
    context.strokeRect(-5, size / 2, size + 10, 0);
    context.strokeStyle = color("--s1");
    context.lineWidth = 4;
    context.beginPath();
    values.forEach((value, i) => context.lineTo((i / (values.length - 1)) * size, size / 2 - (value / most) * size * 0.42));
    context.stroke();
  }

  // What the big picture shows: the unit under the pointer, the one chosen, or the answer of the network.
  get lensUnit() {
    const key = this.hovered || this.lab.view.lens;
    if (!key) return null;
    const [c, u] = key.split(".").map(Number), sizes = this.lab.session.net.sizes;
    return c < sizes.length && u < sizes[c] ? [c, u] : null;
  }

  renderLens() {
    const { session } = this.lab, { data } = session, unit = this.lensUnit, L = session.net.layers.length;
    const answer = !unit || (unit[0] === L && data.outputs === 1);
    const name = unit ? unitName(session.net.sizes, unit[0], unit[1], data) : "";
    $("lens-title").textContent = this.probe.kind === "example" ? say(unit ? "lens.unitOne" : "lens.one", { name }) : answer ? say(`lens.${data.kind}`) : say(unit[0] ? "lens.unit" : "lens.unitOne", { name });
    $("lens-map").hidden = this.probe.kind !== "plane";
    $("lens-line").hidden = this.probe.kind !== "line";
    $("lens-image").hidden = !data.image;
    $("lens-table").hidden = this.probe.kind !== "example" || Boolean(data.image);
    if (this.probe.kind === "plane") this.renderPlane(answer ? null : unit);
    else if (this.probe.kind === "line") this.renderLine(answer ? null : unit);
    else if (data.image) this.renderImage(unit);
    else this.renderAnswers();
    $("lens-key").textContent = this.keyText(answer, unit);
  }

  keyText(answer, unit) {
    const { session } = this.lab, { data } = session;
    if (data.image && this.pixel !== null) return this.pixelText(unit);
    const value = unit && unit[0] ? say("key.value", { a: show(this.probe.values(...unit)[0], 3) }) : "";
    if (data.image) return `${value} ${say("key.image")}`;
    if (this.probe.kind === "example") return value;
    if (this.probe.kind === "line") return say(answer ? "key.line" : "key.unitLine");
    if (!answer) return say("key.unit", { most: show(this.most, 2) });
    const shapes = data.classes.map((name, k) => say("key.shape", { shape: say(`shape.${k % 4}`), name })).join(" ");
    return `${shapes} ${session.test.n ? say("key.test") : ""} ${data.kind === "binary" ? say("key.half") : data.kind === "regression" ? say("key.shades") : ""}`;
  }

  // The plane, with axes in the units of the data.
  renderPlane(unit) {
    const { session, view } = this.lab, { data } = session, box = $("lens-map"), width = Math.min(box.clientWidth || 300, 420), font = this.lab.font;
    const left = 3.4 * font, bottom = 2.9 * font, side = width - left - 6, canvas = $("lens-canvas"), ratio = Math.min(2, devicePixelRatio || 1);
    const L = session.net.layers.length, pixels = Math.round(side * ratio), context = canvas.getContext("2d");
    canvas.width = canvas.height = pixels;
    canvas.style.cssText = `left:${left}px;top:6px;width:${side}px;height:${side}px`;
    const small = document.createElement("canvas");
    this.most = 1;
    const [[x0, x1], [y0, y1]] = this.probe.bounds, place = (x, y) => [((x - x0) / (x1 - x0)) * pixels, (1 - (y - y0) / (y1 - y0)) * pixels];
    let levels = null;
    if (unit) {
      const values = unit[0] ? this.probe.values(unit[0], unit[1]) : this.inputValues(unit[1]);
      this.most = largestOf(values);
      shade(small, GRID, GRID, values, this.most);
    } else if (data.kind === "classes") {
      this.shadeClasses(small);
    } else {
      const values = this.probe.values(L, 0);
      levels = values.map((p) => 255 * p);
      if (data.kind === "binary") shade(small, GRID, GRID, values.map((p) => 2 * p - 1), 1);
      else { this.most = largestOf(values); shade(small, GRID, GRID, values, this.most); }
    }
    context.drawImage(small, 0, 0, pixels, pixels);
    const at = (row) => data.points.subarray(2 * row, 2 * row + 2);
    if (levels && data.kind === "binary") outline(context, GRID, levels, pixels / GRID);
    const radius = 4.2 * ratio * (font / 12);
    for (const part of [session.test, session.train]) {
      for (let i = 0; i < Math.min(part.n, 500); i++) {
        dot(context, place(...at(part.rows[i])), part.labels[i], part === session.test ? radius * 0.66 : radius, data.kind === "regression");
      }
    }
    const [ex, ey] = place(...at(session.train.rows[Math.min(view.example, session.train.n - 1)]));
    context.beginPath();
    context.arc(ex, ey, 2.5 * radius, 0, 2 * Math.PI);
    context.lineWidth = 2.5 * ratio;
    context.strokeStyle = color("--ink");
    context.stroke();
    this.renderAxes(left, side, bottom, font);
    canvas.setAttribute("aria-label", `${$("lens-title").textContent}. ${this.lab.statusText()}`);
  }

  shadeClasses(canvas) {
    const { session } = this.lab, k = session.data.outputs, outputs = this.probe.net.layers.at(-1).a, p = Engine.probabilities(outputs, this.probe.n, k, session.link);
    const hues = ["--s2", "--s1", "--s3", "--s4", "--s5", "--s6"].map(rgb), [card] = palette();
    canvas.width = canvas.height = GRID;
    const context = canvas.getContext("2d"), picture = context.createImageData(GRID, GRID);
    for (let i = 0; i < this.probe.n; i++) {
      const best = session.decide(outputs, i), share = 0.15 + 0.55 * Math.max(0, Math.min(1, p[i * k + best]));
      picture.data.set([...mix(card, hues[best % 6], share), 255], 4 * ((GRID - 1 - Math.floor(i / GRID)) * GRID + (i % GRID)));
    }
    context.putImageData(picture, 0, 0);
  }

  renderAxes(left, side, bottom, font) {
    const { data } = this.lab.session, svg = $("lens-axes"), parts = [];
    const width = left + side + 6, height = side + 6 + bottom;
    for (const [k, v] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) svg.setAttribute(k, v);
    $("lens-map").style.height = `${height}px`;
    this.probe.bounds.forEach(([low, high], k) => {
      const from = low * data.spread[k] + data.mean[k], to = high * data.spread[k] + data.mean[k], many = ticks(from, to, 4);
      for (const value of many) {
        const share = (value - from) / (to - from);
        parts.push(k ? draw("text", { x: left - 5, y: 6 + (1 - share) * side, dy: ".35em", class: "end" }, show(value, 3)) : draw("text", { x: left + share * side, y: side + 8 + font }, show(value, 3)));
      }
    });
    parts.push(draw("text", { x: left + side / 2, y: height - 3, class: "name" }, data.axes[0]));
    parts.push(draw("text", { transform: `translate(${font * 0.9} ${6 + side / 2}) rotate(-90)`, class: "name" }, data.axes[1]));
    svg.style.fontSize = `${font}px`;
    svg.replaceChildren(...parts);
  }

  // One input: the data and the fitted curve, or the activation of a unit.
  renderLine(unit) {
    const { session } = this.lab, { data } = session, toX = (x) => x * data.spread[0] + data.mean[0], toY = (y) => y * data.targetSpread + data.targetMean;
    const xs = Array.from(this.probe.x, toX), binary = data.kind !== "regression";
    const answer = unit ? (unit[0] ? this.probe.values(unit[0], unit[1]) : this.probe.x) : this.probe.values(session.net.layers.length, 0);
    const series = [{ name: unit ? "a" : say("answer"), x: xs, y: Array.from(answer, (y) => (unit || binary ? y : toY(y))) }];
    const points = unit ? [] : [session.train, session.test].map((part) => Array.from({ length: part.n }, (_, i) => [toX(part.x[i]), binary ? part.labels[i] : toY(part.y[i])]));
    const spread = [...series[0].y, ...points.flat().map((point) => point[1])].filter(Number.isFinite);
    chart($("lens-line"), {
      series, points, xlabel: data.features[0], ylabel: unit ? "a" : data.target, height: 300, range: [Math.min(...spread), Math.max(...spread)], label: `${$("lens-title").textContent}. ${this.lab.statusText()}`,
    });
  }

  // An image: the example, the weights of a unit as an image beside it, and the probabilities.
  renderImage(unit) {
    const { session, view } = this.lab, { data } = session, [rows, columns] = data.image, canvas = $("image-canvas");
    this.drawImage(canvas);
    canvas.setAttribute("aria-label", say("imageLabel", { target: data.classes[session.train.labels[Math.min(view.example, session.train.n - 1)]] }));
    const first = unit && unit[0] === 1 ? unit[1] : null;
    $("weights-figure").hidden = first === null;
    if (first !== null) {
      const weights = this.weightsOf(first);
      shade($("weights-canvas"), columns, rows, weights, largestOf(weights), true);
      if (this.pixel !== null) this.markPixel($("weights-canvas"));
      $("weights-caption").textContent = say("weightsCaption", { n: first + 1, most: show(largestOf(weights), 2) });
    }
    this.renderAnswers();
  }

  drawImage(canvas) {
    const [rows, columns] = this.lab.session.data.image, [card, , , ink] = palette(), context = canvas.getContext("2d");
    const picture = context.createImageData(columns, rows);
    canvas.width = columns;
    canvas.height = rows;
    this.probe.x.forEach((level, k) => picture.data.set([...mix(card, ink, level), 255], 4 * k));
    context.putImageData(picture, 0, 0);
    if (this.pixel !== null) this.markPixel(canvas);
  }

  pointPixel(event) {
    const box = $("image-canvas").getBoundingClientRect(), [rows, columns] = this.lab.session.data.image;
    const c = Math.floor(((event.clientX - box.left) / box.width) * columns), r = Math.floor(((event.clientY - box.top) / box.height) * rows);
    this.pixel = c >= 0 && c < columns && r >= 0 && r < rows ? r * columns + c : null;
    this.renderTiles();
    this.renderLens();
  }

  movePixel(event) {
    const [rows, columns] = this.lab.session.data.image, by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    this.pixel = Math.max(0, Math.min(rows * columns - 1, (this.pixel ?? 0) + by));
    this.renderTiles();
    this.renderLens();
    this.lab.announceLater(() => this.pixelText(this.lensUnit));
  }

  pixelText(unit) {
    const { data } = this.lab.session, value = this.probe.x[this.pixel], name = data.features[this.pixel];
    const weight = unit && unit[0] === 1 ? say("pixelWeight", { w: show(this.weightsOf(unit[1])[this.pixel], 3) }) : "";
    return say("pixel", { name, value: show(value, 3), weight });
  }

  markPixel(canvas) {
    const columns = this.lab.session.data.image[1], context = canvas.getContext("2d");
    context.fillStyle = color("--hot-mark");
    context.fillRect(this.pixel % columns, Math.floor(this.pixel / columns), 1, 1);
  }

  // The answer for the example, as bars.
  renderAnswers() {
    const { session, view } = this.lab, { data } = session, L = session.net.layers.length, row = Math.min(view.example, session.train.n - 1);
    const place = data.image ? $("image-answers") : $("lens-table");
    if (data.kind === "regression") {
      const answer = this.probe.values(L, 0)[0] * data.targetSpread + data.targetMean, wanted = session.train.y[row] * data.targetSpread + data.targetMean;
      place.replaceChildren(make("p", {}, say("answerNumber", { n: row + 1, answer: show(answer, 4), wanted: show(wanted, 4), target: data.target })));
      return;
    }
    const p = data.classes.map((_, k) => (data.outputs === 1 ? (k ? this.probe.values(L, 0)[0] : 1 - this.probe.values(L, 0)[0]) : this.probe.values(L, k)[0]));
    place.replaceChildren(...data.classes.map((name, k) => {
      const bar = make("div", { class: k === session.train.labels[row] ? "bar target" : "bar" }), track = make("div", { class: "track" }), fill = make("div", { class: "fill" });
      fill.style.width = `${100 * Math.max(0, Math.min(1, p[k]))}%`;
      track.append(fill);
      bar.append(make("span", {}, name), track, make("span", { class: "number" }, p[k] > 0 && p[k] < 0.001 ? "< 0.001" : show(p[k], 3)));
      return bar;
    }));
  }

  renderCurves() {
    const { session } = this.lab, { history } = session, thin = Math.ceil(history.length / 300);
    const points = history.filter((point, k) => k % thin === 0 || k === history.length - 1);
    const curve = (key) => points.map((point) => point[key]);
    const series = [{ name: say("trainLoss"), x: curve("time"), y: curve("loss") }];
    if (session.test.n) series.push({ name: say("testLoss"), x: curve("time"), y: curve("testLoss") });
    const finite = series.flatMap((one) => one.y).filter((value) => Number.isFinite(value) && value > 0);
    const logY = finite.length > 1 && Math.max(...finite) > 50 * Math.min(...finite);
    if (history.length === 1) series.forEach((one) => { one.x = [0, 1]; one.y = [one.y[0], NaN]; one.marks = true; });
    chart($("curves"), { series, logY, xlabel: say("epoch"), ylabel: say("loss"), height: 200, label: say("curvesLabel", { text: this.lab.statusText() }) });
  }
}
