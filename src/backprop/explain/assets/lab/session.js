"use strict";
// A training that can be stopped anywhere, and done again from its settings: data, network, optimizer, and the log of what was done.

const HIDDEN_ACTIVATIONS = ["tanh", "relu", "leaky_relu", "sigmoid", "gelu", "identity"];

// The library's initializers: a standard deviation, or the half-width of a uniform distribution, from the layer's width.
const INITS = {
  glorot_uniform: (i, o, r) => { const b = Math.sqrt(6 / (i + o)); return () => r.uniform(-b, b); },
  glorot_normal: (i, o, r) => { const s = Math.sqrt(2 / (i + o)); return () => s * r.normal(); },
  he_uniform: (i, o, r) => { const b = Math.sqrt(6 / i); return () => r.uniform(-b, b); },
  he_normal: (i, o, r) => { const s = Math.sqrt(2 / i); return () => s * r.normal(); },
  lecun_normal: (i, o, r) => { const s = Math.sqrt(1 / i); return () => s * r.normal(); },
  normal: (i, o, r) => () => 0.05 * r.normal(),
  zeros: () => () => 0,
};

// "auto" is what the library takes: he_normal for relu and its like, glorot_uniform elsewhere and for the output layer.
const initFor = (activation) => (["relu", "leaky_relu", "gelu"].includes(activation) ? "he_normal" : "glorot_uniform");

function initialize(net, init, seed) {
  net.layers.forEach((layer, k) => {
    const random = new Random(`${seed}/weights/${k}`);
    const name = init === "auto" ? initFor(layer.activation) : init;
    const draw = INITS[name](layer.inputs, layer.outputs, random);
    for (let i = 0; i < layer.inputs * layer.outputs; i++) net.parameters[layer.weight + i] = draw();
    net.parameters.fill(0, layer.bias, layer.bias + layer.outputs);
  });
}

const RATES = { sgd: 0.3, momentum: 0.05, rmsprop: 0.01, adam: 0.02 };

// What suits each data set: every optimizer reaches 95 % right (R² 0.95) within these epochs, which a test checks.
const DEFAULTS = {
  xor: { hidden: [4], epochs: 100, noise: 0.25, rates: { sgd: 0.1, momentum: 0.02, rmsprop: 0.005, adam: 0.01 } },
  circles: { hidden: [6, 4], epochs: 150, noise: 0.05 },
  spirals: { hidden: [16, 16], epochs: 600, noise: 0.02, rates: { rmsprop: 0.002, adam: 0.003 } },
  gauss: { hidden: [4], epochs: 60, noise: 0.25, rates: { sgd: 0.05, momentum: 0.01, rmsprop: 0.003, adam: 0.005 } },
  moons: { hidden: [6, 4], epochs: 200, noise: 0.08 },
  regression: { hidden: [12, 8], epochs: 300, noise: 0.05, rates: { sgd: 0.1, momentum: 0.02, rmsprop: 0.002, adam: 0.01 } },
  digits: { hidden: [16], epochs: 30, noise: 0, rates: { sgd: 0.1, momentum: 0.02, rmsprop: 0.003, adam: 0.005 } },
  csv: { hidden: [8, 8], epochs: 200, noise: 0, rates: { sgd: 0.05, momentum: 0.01, rmsprop: 0.003, adam: 0.01 } },
};

const LOSS_CHOICES = {
  binary: ["binary_cross_entropy", "mse"], classes: ["cross_entropy", "mse"], regression: ["mse"],
};

function defaultSettings(data, optimizer = "sgd") {
  const suits = DEFAULTS[data], regression = data === "regression";
  return {
    data, features: ["x1", "x2"], noise: suits.noise, test: 0.2, hidden: suits.hidden, activation: "tanh", init: "auto",
    loss: regression ? "mse" : data === "gauss" || data === "digits" ? "cross_entropy" : "binary_cross_entropy",
    optimizer, lr: (suits.rates && suits.rates[optimizer]) || RATES[optimizer], batch: 16, l2: 0, clip: 0, seed: 0,
  };
}

// Settings that may change while the training goes on; all others start it anew.
const LIVE = ["lr", "batch", "optimizer", "l2", "clip"];

class Session {
  // sources: {digits, csv, target}
  constructor(settings, sources = {}) {
    this.settings = { ...settings };
    this.start = { ...settings };
    this.data = makeData(settings.data, { ...sources, noise: settings.noise, seed: settings.seed, features: settings.features });
    Object.assign(this, split(this.data, settings.test, settings.seed));
    const losses = LOSS_CHOICES[this.data.kind];
    if (!losses.includes(settings.loss)) this.settings.loss = this.start.loss = losses[0];
    this.net = new Engine.Network([this.data.inputs, ...settings.hidden, this.data.outputs], settings.activation, this.train.n);
    this.link = Engine.LINKS[this.settings.loss];
    this.restart();
  }

  restart() {
    this.settings = { ...this.settings, ...Object.fromEntries(LIVE.map((key) => [key, this.start[key]])) };
    initialize(this.net, this.settings.init, this.settings.seed);
    this.trainer = new Engine.Trainer(this.net, this.settings.loss, null);
    this.tune();
    Object.assign(this, { epoch: 0, position: 0, steps: 0, log: [], order: null, history: [], failed: false });
    this.measure();
  }

  // The optimizer after a change of settings; it keeps its moments unless it is another one.
  tune() {
    const { optimizer, lr, l2, clip } = this.settings, known = this.trainer.optimizer;
    if (known && known.name === optimizer) Object.assign(known, { lr, weightDecay: l2 });
    else this.trainer.optimizer = new Engine.Optimizer(optimizer, { lr, weightDecay: l2 });
    this.trainer.clipNorm = clip;
  }

  change(key, value) {
    this.settings[key] = value;
    if (this.steps === 0) this.start[key] = value;
    else this.note(`${key}=${value}`);
    this.tune();
  }

  // The log: how many epochs (e), batches (b) and examples (x) were done, and what was changed between them.
  note(entry) {
    const last = this.log.at(-1) || "", kind = entry.at(-1);
    const same = /^\d+[ebx]$/.test(entry) && /^\d+[ebx]$/.test(last) && last.at(-1) === kind;
    const sameKey = entry.includes("=") && last.startsWith(entry.slice(0, entry.indexOf("=") + 1));
    if (same) this.log[this.log.length - 1] = `${parseInt(last, 10) + parseInt(entry, 10)}${kind}`;
    else if (sameKey) this.log[this.log.length - 1] = entry;
    else this.log.push(entry);
  }

  // The next `count` rows of this epoch, gathered.
  rows(count) {
    if (!this.order) this.order = new Random(`${this.settings.seed}/order/${this.epoch}`).permutation(this.train.n);
    return this.order.slice(this.position, this.position + count);
  }

  update(count) {
    const rows = this.rows(count), { inputs, outputs } = this.data, n = rows.length;
    if (!this.batchX || this.batchX.length < n * inputs) {
      this.batchX = new Float64Array(n * inputs);
      this.batchY = new Float64Array(n * outputs);
    }
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < inputs; k++) this.batchX[i * inputs + k] = this.train.x[rows[i] * inputs + k];
      for (let k = 0; k < outputs; k++) this.batchY[i * outputs + k] = this.train.y[rows[i] * outputs + k];
    }
    const loss = this.trainer.step(this.batchX, this.batchY, n);
    if (!Number.isFinite(loss)) this.failed = true;
    this.steps += 1;
    this.position += n;
    if (this.position >= this.train.n) { this.epoch += 1; this.position = 0; this.order = null; }
  }

  doExample() { this.update(1); this.note("1x"); this.measure(); }
  doBatch() { this.update(this.settings.batch); this.note("1b"); this.measure(); }
  // To the end of this epoch.
  doEpoch() {
    const epoch = this.epoch;
    while (this.epoch === epoch) this.update(this.settings.batch);
    this.note("1e");
    this.measure();
  }

  // How far the training is, in epochs.
  get time() { return this.epoch + this.position / this.train.n; }

  measure() {
    const point = { time: this.time, steps: this.steps, loss: NaN, testLoss: NaN, score: NaN, testScore: NaN };
    [point.loss, point.score] = this.judge(this.train);
    if (this.test.n) [point.testLoss, point.testScore] = this.judge(this.test);
    if (!Number.isFinite(point.loss)) this.failed = true;
    this.history.push(point);
  }

  get now() { return this.history.at(-1); }

  // Loss and score of some rows: the share that is right, or R².
  judge(part) {
    const k = this.data.outputs, outputs = this.net.forward(part.x, part.n), { loss } = this.settings;
    const value = Engine.LOSSES[loss](outputs, part.y, part.n, k, null);
    if (this.data.kind === "regression") return [value, rSquared(outputs, part.y)];
    let right = 0;
    for (let i = 0; i < part.n; i++) right += this.decide(outputs, i) === part.labels[i] ? 1 : 0;
    return [value, right / part.n];
  }

  // The class that a row of outputs stands for.
  decide(outputs, row) {
    const k = this.data.outputs;
    if (k === 1) return outputs[row] > (this.settings.loss === "mse" ? 0.5 : 0) ? 1 : 0;
    let best = 0;
    for (let j = 1; j < k; j++) if (outputs[row * k + j] > outputs[row * k + best]) best = j;
    return best;
  }
}

function rSquared(outputs, targets) {
  const n = targets.length;
  let mean = 0, left = 0, all = 0;
  for (let i = 0; i < n; i++) mean += targets[i] / n;
  for (let i = 0; i < n; i++) { left += (outputs[i] - targets[i]) ** 2; all += (targets[i] - mean) ** 2; }
  return all ? 1 - left / all : NaN;
}
