"use strict";
// The network as units with numbers in them, joined by connections. Units of the drawing are pixels: text keeps its size whatever
// the depth. Columns stand side by side, or in a narrow place below each other.

class NetDrawing {
  // onUnit(column, unit) and onEdge(column, i, j) are called when one is chosen.
  constructor(place, { onUnit = null, onEdge = null, label = "" } = {}) {
    Object.assign(this, { place, onUnit, onEdge, label, key: "" });
  }

  // columns: [{label, units: [numbers of the units shown], size}]; withLoss: a box for the loss after the last column.
  arrange(columns, { font = 12, withLoss = true, maxHeight = Infinity } = {}) {
    const width = Math.max(240, this.place.clientWidth || 600);
    const key = JSON.stringify([columns, width, font, withLoss, maxHeight]);
    if (key === this.key) return;
    const most = Math.max(...columns.map((column) => column.units.length)), em = font / 12;
    const room = (width - (withLoss ? 226 : 94) * em) / Math.max(1, columns.length - 1); // from column to column, side by side
    Object.assign(this, { key, columns, font, width, maxHeight, tall: room < 58 * em });
    if (this.tall) this.layOutTall(most, em, withLoss); else this.layOutWide(most, em, withLoss);
    this.build(withLoss);
  }

  layOutWide(most, em, withLoss) {
    const { columns, width } = this, right = withLoss ? 166 * em : 34 * em;
    this.radius = Math.min(25, most > 6 ? 21 : 25) * em;
    const left = this.radius + 10, step = (width - left - right - this.radius) / Math.max(1, columns.length - 1);
    this.radius = Math.min(this.radius, step * 0.42);
    const top = 30 * em, spacing = Math.min(Math.max(2 * this.radius + 24 * em, most <= 4 ? 82 * em : 0), (this.maxHeight - top - 8) / most);
    this.radius = Math.max(16 * em, Math.min(this.radius, (spacing - 24 * em) / 2));
    this.height = Math.max(230 * em, most * spacing + top + 8);
    const middle = top + (this.height - top) / 2;
    this.spots = columns.map((column, c) => column.units.map((_, k) => [left + step * c, middle + (k - (column.units.length - 1) / 2) * spacing - 6 * em]));
    this.lossSpot = [width - 46 * em, middle];
  }

  layOutTall(most, em, withLoss) {
    const { columns, width } = this, spacing = Math.min(84 * em, (width - 4) / most);
    this.spacing = spacing;
    this.radius = Math.min(22 * em, spacing * 0.46);
    const lane = 2 * this.radius + 62 * em;
    this.spots = columns.map((column, c) => column.units.map((_, k) => [width / 2 + (k - (column.units.length - 1) / 2) * spacing, this.radius + 24 * em + lane * c]));
    const last = this.spots.at(-1)[0][1];
    this.lossSpot = [width / 2, last + this.radius + 98 * em];
    this.height = withLoss ? this.lossSpot[1] + 30 * em : last + this.radius + 30 * em;
  }

  build(withLoss) {
    const { columns, width, height, radius, tall, font } = this, em = font / 12; // --px scales the 12 pixels of the style sheet
    const svg = draw("svg", { class: `net live ${tall ? "tall" : "wide"}`, viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": this.label });
    svg.style.cssText = `--px:${em};width:${width}px;height:${height}px`;
    const layer = (name) => svg.appendChild(draw("g", { class: name }));
    const [edges, flow, units, labels] = ["edges", "flow", "units", "labels"].map(layer);
    flow.setAttribute("aria-hidden", "true");
    this.edgeOf = new Map();
    this.unitOf = new Map();
    for (let c = 1; c < columns.length; c++) {
      columns[c - 1].units.forEach((i, a) => columns[c].units.forEach((j, b) => {
        const [x1, y1, x2, y2] = this.between(this.spots[c - 1][a], this.spots[c][b]);
        const line = edges.appendChild(draw("line", { class: "edge", x1, y1, x2, y2 }));
        this.edgeOf.set(`${c}-${i}-${j}`, line);
        if (!this.onEdge) return;
        const hit = edges.appendChild(draw("line", { class: "hit", x1, y1, x2, y2 }));
        hit.addEventListener("click", () => this.onEdge(c, i, j));
      }));
    }
    columns.forEach((column, c) => {
      const [x, y] = this.spots[c][0], text = column.units.length < column.size ? `${column.label} (${column.units.length}/${column.size})` : column.label;
      const heading = tall ? { x: 2, y: y - radius - 9 * em, class: "heading start" } : { x, y: 14 * em, class: "heading" };
      units.append(draw("text", heading, text));
      column.units.forEach((unit, k) => this.buildUnit(units, c, unit, this.spots[c][k]));
    });
    if (withLoss) this.buildLoss(edges, units, em);
    Object.assign(this, { svg, flow, labels });
    this.place.replaceChildren(svg);
  }

  buildUnit(units, c, unit, [x, y]) {
    const { radius, font } = this;
    const group = draw("g", { class: "unit", transform: `translate(${x} ${y})`, tabindex: "-1", role: "button", "data-unit": `${c}-${unit}` });
    group.append(draw("circle", { class: "halo", r: radius + 4 }), draw("circle", { r: radius }));
    const value = group.appendChild(draw("text", { class: "value", dy: ".35em" }));
    const below = group.appendChild(draw("text", { class: "gradient", y: radius + font }));
    units.append(group);
    this.unitOf.set(`${c}-${unit}`, { group, value, below, x, y });
    if (!this.onUnit) return;
    group.addEventListener("click", () => this.onUnit(c, unit));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); this.onUnit(c, unit); }
    });
  }

  buildLoss(edges, units, em) {
    const [lx, ly] = this.lossSpot, box = draw("g", { class: "loss", transform: `translate(${lx} ${ly})` });
    this.spots.at(-1).forEach(([x, y]) => {
      const [x1, y1, x2, y2] = this.tall ? [x, y + this.radius, lx, ly - 24 * em] : [x + this.radius, y, lx - 42 * em, ly];
      edges.append(draw("line", { class: "edge plain", x1, y1, x2, y2 }));
    });
    box.append(draw("rect", { x: -42 * em, y: -24 * em, width: 84 * em, height: 48 * em, rx: 8 }));
    box.append(draw("text", { class: "name", y: -6 * em }, say("loss")));
    this.lossText = box.appendChild(draw("text", { class: "number", y: 13 * em }));
    this.tags = this.columns.at(-1).units.map((_, k) => {
      const [x, y] = this.spots.at(-1)[k];
      const [tx, ty] = this.tall ? [x, y + this.radius + 30 * em] : [x + this.radius + 6, y - 4 * em];
      const tag = draw("text", { class: this.tall ? "tag" : "tag start", x: tx, y: ty });
      tag.append(draw("tspan", { x: tx }), draw("tspan", { x: tx, dy: `${1.2}em` }));
      units.append(tag);
      return tag;
    });
    units.append(box);
    this.lossBox = box;
  }

  between([x1, y1], [x2, y2]) {
    const r = this.radius;
    return this.tall ? [x1, y1 + r, x2, y2 - r] : [x1 + r, y1, x2 - r, y2];
  }

  // About as much of a number as a circle holds.
  fit(value) {
    const room = Math.max(4, Math.floor((2 * this.radius - 4) / (0.58 * this.font)));
    for (let digits = 3; digits > 0; digits--) {
      const text = show(value, digits);
      if (text.length <= room) return text;
    }
    const [a, b] = [show(value, 1), brief(value)];
    return a.length <= b.length ? a : b;
  }

  // A gradient below a unit, with as many digits as fit between its neighbours.
  fitBelow(mark, value) {
    const room = Math.floor((this.tall ? this.spacing : 9 * this.font) / (0.6 * this.font)) - 1;
    for (const text of [`${mark} ${show(value, 2)}`, `${mark} ${show(value, 1)}`, show(value, 1), brief(value)]) if (text.length <= room) return text;
    return "";
  }

  // unit(c, u): {value, below, state: "off" | "part" | "now" | "", label, can}; weight(c, i, j): number or null;
  // hot: set of "c-i-j"; toward: which way numbers flow; numbers(c, i, j): text on a hot connection or "".
  update({ unit, weight, hot = new Set(), toward = "", numbers = () => "", loss = "", lossNow = false, tags = [] }) {
    for (const [key, { group, value, below }] of this.unitOf) {
      const [c, u] = key.split("-").map(Number), is = unit(c, u);
      value.textContent = is.value ?? "";
      below.textContent = is.below ?? "";
      group.setAttribute("class", `unit ${is.state || ""} ${is.fresh ? "fresh" : ""}`);
      group.setAttribute("tabindex", is.can ? "0" : "-1");
      group.setAttribute("aria-label", is.label);
      if (is.state === "now") group.setAttribute("aria-current", "true"); else group.removeAttribute("aria-current");
    }
    const most = this.columns.map(() => 0);
    const found = [...this.edgeOf].map(([key, line]) => {
      const [c, i, j] = key.split("-").map(Number), value = weight(c, i, j);
      if (Number.isFinite(value)) most[c] = Math.max(most[c], Math.abs(value));
      return [key, line, c, value];
    });
    for (const [key, line, c, value] of found) {
      const sign = value > 0 ? "positive" : value < 0 ? "negative" : "";
      const dim = hot.size && !hot.has(key) ? "dim" : "", isHot = hot.has(key) ? "hot" : "";
      line.setAttribute("class", `edge ${sign} ${dim} ${isHot}`);
      line.setAttribute("stroke-width", (0.7 + 4.3 * (Number.isFinite(value) ? Math.abs(value) / (most[c] || 1) : 0.1)).toFixed(2));
    }
    this.drawFlow(hot, toward, numbers);
    if (!this.lossText) return;
    this.lossText.textContent = loss;
    this.lossBox.setAttribute("class", lossNow ? "loss now" : "loss");
    this.tags.forEach((tag, k) => { [...tag.children].forEach((part, p) => { part.textContent = tags[k]?.[p] ?? ""; }); });
  }

  // Moving dashes in the direction of the flow, and numbers in boxes on the connections that take part.
  drawFlow(hot, toward, numbers) {
    this.flow.replaceChildren();
    this.labels.replaceChildren();
    const back = toward === "backward", taken = [...this.unitOf.values()].map(({ x, y }) => [x, y, 2 * this.radius, 2 * this.radius]);
    for (const key of hot) {
      const line = this.edgeOf.get(key);
      if (!line) continue;
      const [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map((name) => Number(line.getAttribute(name)));
      if (toward) {
        const [ex, ey, sx, sy] = back ? [x1, y1, x2, y2] : [x2, y2, x1, y1];
        const degrees = (Math.atan2(ey - sy, ex - sx) * 180) / Math.PI;
        this.flow.append(draw("line", { x1, y1, x2, y2, class: toward }));
        this.flow.append(draw("path", { d: "M-5 0 L-14 -4.5 L-14 4.5 Z", transform: `translate(${ex} ${ey}) rotate(${degrees})` }));
      }
      const text = numbers(...key.split("-").map(Number));
      if (text) this.drawNumber([x1, y1, x2, y2], text, back, taken);
    }
  }

  // A number on a connection, on paper of its own, where no other number stands; without a free place it is left out.
  drawNumber([x1, y1, x2, y2], text, back, taken) {
    const w = text.length * this.font * 0.6 + 8, h = this.font * 1.4;
    for (const share of back ? [0.66, 0.5, 0.34, 0.58, 0.42, 0.75, 0.25] : [0.34, 0.5, 0.66, 0.42, 0.58, 0.25, 0.75]) {
      const x = x1 + share * (x2 - x1), y = y1 + share * (y2 - y1);
      if (taken.some(([tx, ty, tw, th]) => Math.abs(tx - x) < (tw + w) / 2 && Math.abs(ty - y) < (th + h) / 2)) continue;
      if (x - w / 2 < 0 || x + w / 2 > this.width) continue;
      taken.push([x, y, w, h]);
      const group = draw("g", { class: "number", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` });
      group.append(draw("rect", { x: -w / 2, y: -h / 2, width: w, height: h, rx: 4 }), draw("text", { dy: ".35em" }, text));
      this.labels.append(group);
      return;
    }
  }
}
