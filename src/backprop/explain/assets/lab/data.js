"use strict";
// Data sets, and all chance in the laboratory. Everything random comes from the seed: a Random is seeded with "seed/purpose", so
// that more noise, say, does not change the weights. It is not NumPy's generator: the same seed gives other numbers in Python.

class Random {
  // mulberry32 (Tommy Ettinger, public domain), started from the FNV-1a hash of the text.
  constructor(text) {
    let hash = 2166136261;
    for (const character of String(text)) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
    this.state = hash >>> 0;
  }

  // In [0, 1).
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  uniform(low, high) { return low + (high - low) * this.next(); }

  // Standard normal (Box and Muller, 1958).
  normal() { return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next()); }

  // The numbers from 0 to n - 1 in random order (Fisher and Yates).
  permutation(n) {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = Math.floor(this.next() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}

// Rows {x: [numbers], y: class number or value}; `noise` is the standard deviation of what is added.
const POINTS = {
  // Class 1 where the signs of the two coordinates differ; the corners come first.
  xor(noise, random, n = 200) {
    return Array.from({ length: n }, (_, i) => {
      const corner = [i & 2 ? 1 : -1, i & 1 ? 1 : -1], spread = i < 4 ? 0 : 1;
      const x = corner.map((c) => c + spread * Math.max(-3, Math.min(3, random.normal())) * noise);
      return { x, y: corner[0] * corner[1] < 0 ? 1 : 0 };
    });
  },
  // A disc of class 1 inside a ring of class 0.
  circles(noise, random, n = 200) {
    return Array.from({ length: n }, (_, i) => {
      const y = i % 2, radius = (y ? random.uniform(0, 0.5) : random.uniform(0.85, 1.2)), angle = random.uniform(0, 2 * Math.PI);
      return { x: [radius * Math.cos(angle) + noise * random.normal(), radius * Math.sin(angle) + noise * random.normal()], y };
    });
  },
  // Two spirals around each other, one turn and a quarter each.
  spirals(noise, random, n = 200) {
    return Array.from({ length: n }, (_, i) => {
      const y = i % 2, along = Math.sqrt((Math.floor(i / 2) + 0.5) / (n / 2)), angle = 2.5 * Math.PI * along + Math.PI * y;
      return { x: [1.2 * along * Math.cos(angle) + noise * random.normal(), 1.2 * along * Math.sin(angle) + noise * random.normal()], y };
    });
  },
  // Three clouds, a class each.
  gauss(noise, random, n = 210) {
    const centers = [[-0.8, -0.5], [0.8, -0.5], [0, 0.9]];
    return Array.from({ length: n }, (_, i) => ({ x: centers[i % 3].map((c) => c + noise * random.normal()), y: i % 3 }));
  },
  // Two half circles that reach into each other.
  moons(noise, random, n = 200) {
    return Array.from({ length: n }, (_, i) => {
      const y = i % 2, angle = Math.PI * random.next();
      const x = y ? [0.5 - Math.cos(angle), 0.25 - Math.sin(angle)] : [-0.5 + Math.cos(angle), -0.25 + Math.sin(angle)];
      return { x: x.map((c) => c + noise * random.normal()), y };
    });
  },
  // One input, one number to predict: a wave that grows.
  regression(noise, random, n = 120) {
    return Array.from({ length: n }, () => {
      const x = random.uniform(-1, 1);
      return { x: [x], y: 0.8 * Math.sin(4 * x) * (1 + 0.5 * x) + noise * random.normal() };
    });
  },
};

// What the network may see of a point of the plane, beside its coordinates.
const FEATURES = {
  x1: ["x₁", ([a]) => a], x2: ["x₂", ([, b]) => b], x1x1: ["x₁²", ([a]) => a * a], x2x2: ["x₂²", ([, b]) => b * b],
  x1x2: ["x₁x₂", ([a, b]) => a * b], sinx1: ["sin x₁", ([a]) => Math.sin(a)], sinx2: ["sin x₂", ([, b]) => Math.sin(b)],
};
const PLANE = Object.keys(POINTS).filter((name) => name !== "regression");

const DATA_NAMES = [...Object.keys(POINTS), "digits", "csv"];

// What a network learns from: x (n, inputs) and y (n, outputs) flat; y holds 0 or 1, a row of probabilities, or numbers.
// `points` are the places of the rows in the plane, where there is one; `mean` and `spread` lead back to original units: original = x * spread + mean.
function makeData(name, { noise, seed, csv, digits, target, features = ["x1", "x2"] }) {
  if (name === "csv") return fromCsv(csv, target);
  if (name === "digits") return fromDigits(digits);
  const rows = POINTS[name](noise, new Random(`${seed}/data`)), regression = name === "regression";
  const classes = regression ? 0 : 1 + Math.max(...rows.map((row) => row.y));
  const names = { target: regression ? "y" : "class", classes: Array.from({ length: classes }, (_, k) => String(k)) };
  if (regression) return assemble(name, rows, { features: ["x"], ...names });
  const lift = (point) => features.map((key) => FEATURES[key][1](point));
  const seen = rows.map(({ x, y }) => ({ x: lift(x), y }));
  const data = assemble(name, seen, { features: features.map((key) => FEATURES[key][0]), ...names });
  return { ...data, axes: ["x₁", "x₂"], points: Float64Array.from(rows.flatMap((row) => row.x)), lift };
}

function assemble(name, rows, { features, target, classes, mean, spread, targetMean = 0, targetSpread = 1, image = null, notes = [] }) {
  const inputs = features.length, kind = !classes.length ? "regression" : classes.length === 2 ? "binary" : "classes";
  const outputs = kind === "classes" ? classes.length : 1, n = rows.length;
  const x = new Float64Array(n * inputs), y = new Float64Array(n * outputs), labels = new Float64Array(n);
  rows.forEach((row, i) => {
    x.set(row.x, i * inputs);
    labels[i] = row.y;
    if (kind === "classes") y[i * outputs + row.y] = 1; else y[i] = row.y;
  });
  return {
    name, kind, inputs, outputs, n, x, y, labels, features, target, classes, image, notes, targetMean, targetSpread,
    mean: mean || features.map(() => 0), spread: spread || features.map(() => 1),
    // Two inputs span a plane to draw in; `lift` makes the inputs of the network from a point there.
    axes: features, points: inputs === 2 ? x : null, lift: (point) => point,
  };
}

function fromDigits({ count, pixels, labels }) {
  const bytes = Uint8Array.from(atob(pixels), (c) => c.charCodeAt(0));
  const rows = Array.from({ length: count }, (_, i) => ({
    x: Array.from(bytes.subarray(64 * i, 64 * (i + 1)), (level) => level / 16), y: Number(labels[i]),
  }));
  return assemble("digits", rows, {
    features: Array.from({ length: 64 }, (_, k) => `row ${Math.floor(k / 8) + 1}, column ${(k % 8) + 1}`),
    target: "digit", classes: [..."0123456789"], image: [8, 8],
  });
}

// Own data: a header and rows, separated by commas, semicolons or tabs. Numbers are standardised; text becomes an input for each of
// its values. A target with text or few whole numbers is a class, any other a number to predict.
function fromCsv(text, wanted) {
  const lines = parseCsv(text || "");
  if (lines.length < 5) throw new Error("csvShort");
  const head = lines[0].map((cell, k) => cell.trim() || `column ${k + 1}`), notes = [];
  let body = lines.slice(1).filter((row) => row.length === head.length && row.every((cell) => cell.trim() !== ""));
  if (body.length + 1 < lines.length) notes.push(["csvLeftOut", lines.length - 1 - body.length]);
  if (body.length > 2000) { notes.push(["csvCut", body.length]); body = body.slice(0, 2000); }
  if (body.length < 4) throw new Error("csvShort");
  const at = Math.max(0, wanted && head.includes(wanted) ? head.indexOf(wanted) : head.length - 1);
  const columns = head.map((_, k) => body.map((row) => row[k].trim()));
  const features = [], mean = [], spread = [], makers = [];
  columns.forEach((cells, k) => {
    if (k === at) return;
    const numbers = cells.map(toNumber);
    if (numbers.every(Number.isFinite)) {
      const [m, s] = moments(numbers);
      if (s === 0) { notes.push(["csvConstant", head[k]]); return; }
      features.push(head[k]); mean.push(m); spread.push(s);
      makers.push((i) => (numbers[i] - m) / s);
      return;
    }
    const values = [...new Set(cells)].sort();
    if (values.length > 12) { notes.push(["csvText", head[k]]); return; }
    for (const value of values) {
      features.push(`${head[k]} = ${value}`); mean.push(0); spread.push(1);
      makers.push((i) => (cells[i] === value ? 1 : 0));
    }
  });
  if (!features.length) throw new Error("csvColumns");
  const cells = columns[at], numbers = cells.map(toNumber), values = [...new Set(cells)];
  const isClass = !numbers.every(Number.isFinite) || (values.length <= 10 && numbers.every(Number.isInteger));
  if (isClass && (values.length < 2 || values.length > 20)) throw new Error("csvTarget");
  values.sort((a, b) => (isClass && numbers.every(Number.isFinite) ? a - b : a < b ? -1 : a > b ? 1 : 0));
  const [m, s] = isClass ? [0, 1] : moments(numbers);
  if (s === 0) throw new Error("csvTarget");
  const rows = body.map((_, i) => ({ x: makers.map((make) => make(i)), y: isClass ? values.indexOf(cells[i]) : (numbers[i] - m) / s }));
  return assemble("csv", rows, {
    features, mean, spread, notes, target: head[at], classes: isClass ? values : [], targetMean: m, targetSpread: s,
  });
}

const toNumber = (cell) => (cell === "" ? NaN : Number(cell));

function moments(numbers) {
  const m = numbers.reduce((a, b) => a + b, 0) / numbers.length;
  return [m, Math.sqrt(numbers.reduce((sum, v) => sum + (v - m) ** 2, 0) / numbers.length)];
}

// Fields of a CSV text, quotes understood; what separates them is whichever of , ; tab the header has most of.
function parseCsv(text) {
  const first = text.slice(0, Math.max(0, text.search(/[\r\n]/))), count = (c) => first.split(c).length;
  const separator = [",", ";", "\t"].sort((a, b) => count(b) - count(a))[0];
  const rows = [];
  let row = [], cell = "", quoted = false;
  for (let i = 0; i <= text.length; i++) {
    const c = text[i];
    if (quoted && c !== undefined) {
      if (c === '"' && text[i + 1] === '"') { cell += '"'; i++; } else if (c === '"') quoted = false; else cell += c;
    } else if (c === '"' && cell.trim() === "") { quoted = true; cell = ""; }
    else if (c === separator) { row.push(cell); cell = ""; }
    else if (c === "\n" || c === "\r" || c === undefined) {
      row.push(cell);
      if (row.length > 1 || row[0].trim() !== "") rows.push(row);
      row = []; cell = "";
    } else cell += c;
  }
  return rows;
}

// The rows of the training set and of the test set, drawn from the seed; a share of 0 leaves no test set.
function split(data, share, seed) {
  const count = Math.min(data.n - 1, Math.round(data.n * share)), order = new Random(`${seed}/test`).permutation(data.n);
  const test = order.slice(0, count).sort((a, b) => a - b), train = order.slice(count).sort((a, b) => a - b);
  return { train: take(data, train), test: take(data, test) };
}

function take(data, rows) {
  const x = new Float64Array(rows.length * data.inputs), y = new Float64Array(rows.length * data.outputs);
  rows.forEach((row, i) => {
    x.set(data.x.subarray(row * data.inputs, (row + 1) * data.inputs), i * data.inputs);
    y.set(data.y.subarray(row * data.outputs, (row + 1) * data.outputs), i * data.outputs);
  });
  return { rows, n: rows.length, x, y, labels: rows.map((row) => data.labels[row]) };
}

const SAMPLE_CSV = `hours,sleep,passed
1,6,no
1.5,8,no
2,5,no
2.5,7,no
3,4,no
3.5,8,yes
4,6,no
4.5,7,yes
5,5,no
5.5,8,yes
6,6,yes
6.5,4,no
7,7,yes
7.5,6,yes
8,5,yes
8.5,8,yes
9,6,yes
1.2,7,no
3.2,6,no
5.2,7,yes
6.8,8,yes
4.2,8,yes
2.2,8,no
7.2,4,yes
`;
