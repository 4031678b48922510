"use strict";
// Charts of lines over a number, as SVG whose units are pixels, so that text keeps its size.

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

// The size of the text in charts, in pixels; margins grow with it.
const chartStyle = { font: 12 };

// series: [{name, x, y, marks}]; cursor: an x to mark; range: fixed [low, high] of y; label: what a screen reader says;
// points: lists of [x, y] to mark, the training set and the test set.
function chart(place, { series, logY = false, xlabel = "", cursor = null, range = null, whole = false, height = 230, label = null, ylabel = "", points = [] }) {
  const width = Math.max(220, place.clientWidth || 420), em = chartStyle.font / 12;
  const left = (ylabel ? 58 : 46) * em, right = 12, top = 10, bottom = 34 * em;
  const xs = [...series.flatMap((s) => s.x), ...points.flat().map((point) => point[0])], ys = series.flatMap((s) => s.y).map(number).filter((v) => Number.isFinite(v) && (!logY || v > 0));
  let [low, high] = range || [Math.min(...ys), Math.max(...ys)];
  if (!logY && !range) low = Math.min(0, low);
  if (low === high) high = low ? low * 1.1 : 1;
  const yTicks = logY ? powers(low, high) : ticks(low, high, 5);
  if (logY) { low = Math.min(low, yTicks[0]); high = Math.max(high, yTicks.at(-1)); }
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const px = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - right);
  const scale = (y) => (logY ? Math.log10(y) : y);
  const py = (y) => height - bottom - ((scale(y) - scale(low)) / (scale(high) - scale(low))) * (height - top - bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" }), inside = `inside-${place.id}`;
  const window = draw("clipPath", { id: inside });
  window.append(draw("rect", { x: left - 6, y: top - 6, width: width - left - right + 12, height: height - top - bottom + 12 }));
  svg.append(window);
  svg.setAttribute("aria-label", label ?? `Chart over ${xlabel}: ${series.map((s) => `${s.name} ends at ${show(s.y.at(-1), 3)}`).join(", ")}`);
  for (const value of yTicks) {
    svg.append(draw("line", { class: "axis", x1: left, x2: width - right, y1: py(value), y2: py(value) }));
    svg.append(draw("text", { x: left - 6, y: py(value), dy: ".35em", "text-anchor": "end" }, logY ? superscript(Math.round(Math.log10(value))) : show(value, 3)));
  }
  for (const value of whole ? series[0].x : ticks(x0, x1, 5)) svg.append(draw("text", { x: px(value), y: height - bottom + 16 * em, "text-anchor": "middle" }, show(value, 4)));
  svg.append(draw("text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, xlabel));
  if (ylabel) svg.append(draw("text", { transform: `translate(${11 * em} ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, ylabel));
  points.forEach((part, k) => part.filter((at) => at.every(Number.isFinite)).forEach(([x, y]) => svg.append(draw("circle", { class: k ? "point test" : "point", cx: px(x), cy: py(y), r: k ? 2.5 : 3.5 }))));
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
