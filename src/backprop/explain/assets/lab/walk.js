"use strict";
// "Look at this step": the walk through one training step of one example, on the present weights.

const PHASES = ["forward", "error", "backward", "update"];

class Walk {
  constructor(lab) {
    this.lab = lab;
    this.drawing = new NetDrawing($("walk-drawing"), { label: say("walkDrawing"), onUnit: (c, u) => this.choose(c, u), onEdge: (c, i, j) => lab.chooseWeight(`${c - 1}.${i}.${j}`) });
    this.answered = new Set();
    for (const phase of PHASES) {
      const button = make("button", { type: "button", "data-phase": phase }, say(`phase.${phase}`));
      button.addEventListener("click", () => this.goTo(this.steps.findIndex((s) => s.phase === phase)));
      const item = make("li");
      item.append(button);
      $("phases").append(item);
    }
    $("walk-next").addEventListener("click", () => this.goTo(this.view.step + 1 < this.steps.length ? this.view.step + 1 : 0));
    $("walk-back").addEventListener("click", () => this.goTo(this.view.step - 1));
    $("unit-before").addEventListener("click", () => this.pick(-1));
    $("unit-after").addEventListener("click", () => this.pick(1));
    const example = (value) => { lab.setExample(value); };
    $("example").addEventListener("input", () => example(Number($("example").value) - 1));
    $("example-before").addEventListener("click", () => example(this.view.example - 1));
    $("example-after").addEventListener("click", () => example(this.view.example + 1));
    $("example-wrong").addEventListener("click", () => example(this.worst()));
  }

  get view() { return this.lab.view; }

  // After the weights or the example changed.
  refresh() {
    const { session } = this.lab;
    this.numbers = new StepNumbers(session, this.view.example);
    Object.assign(this, walkSteps(this.numbers));
    this.answered.clear();
    this.render();
  }

  goTo(step) {
    this.view.step = Math.max(0, Math.min(this.steps.length - 1, step));
    this.view.unit = 0;
    this.render();
    this.lab.saveHash();
  }

  pick(by) {
    const many = this.step.foci.length;
    this.view.unit = (this.view.unit + by + many) % many;
    this.render();
    this.lab.saveHash();
  }

  choose(c, u) {
    const at = this.step.foci.findIndex((focus) => focus.column === c && focus.unit === u);
    if (at >= 0) { this.view.unit = at; this.render(); this.lab.saveHash(); }
  }

  // The row of the training set with the largest loss.
  worst() {
    const { session } = this.lab, { train, data } = session;
    let most = -Infinity, found = 0;
    const outputs = session.net.forward(train.x, train.n).slice();
    for (let row = 0; row < train.n; row++) {
      const k = data.outputs, part = (values) => values.subarray(row * k, (row + 1) * k);
      const loss = Engine.LOSSES[session.settings.loss](part(outputs), part(train.y), 1, k, null);
      if (loss > most) { most = loss; found = row; }
    }
    return found;
  }

  get step() { return this.steps[Math.min(this.view.step, this.steps.length - 1)]; }
  get focus() { return this.step.foci[Math.min(this.view.unit, this.step.foci.length - 1)]; }
  get hidden() { return Boolean(this.step.ask) && !this.answered.has(this.step.key) && !this.lab.hide.includes("ask"); }

  render() {
    this.view.step = Math.min(this.view.step, this.steps.length - 1);
    this.view.unit = Math.min(this.view.unit, this.step.foci.length - 1);
    const { step, focus, view, hidden } = this, { session } = this.lab;
    $("walk-title").textContent = this.lab.present ? `${view.step + 1}/${this.steps.length}  ${step.title}` : step.title;
    $("walk-text").textContent = hidden ? "" : step.text;
    putFormula($("walk-formula"), hidden ? null : step.formula, view.language);
    $("walk-lines").replaceChildren(...(hidden ? [] : focus.lines.map((line) => lineOf(line))));
    const many = step.foci.length;
    $("pick").hidden = many < 2 || hidden;
    $("walk-hint").hidden = many < 2 || hidden;
    $("unit-name").textContent = unitName(this.columns, focus.column, focus.unit, session.data);
    $("walk-count").textContent = say("stepOf", { n: view.step + 1, all: this.steps.length });
    $("walk-back").disabled = view.step === 0;
    $("walk-next").textContent = view.step + 1 < this.steps.length ? say("next") : say("again");
    for (const button of $("phases").querySelectorAll("button")) {
      if (button.dataset.phase === step.phase) button.setAttribute("aria-current", "step"); else button.removeAttribute("aria-current");
    }
    this.renderAsk(step, hidden);
    const n = session.train.n;
    $("example").max = n;
    $("example").value = this.numbers.row + 1;
    $("example-of").textContent = say("exampleOf", { n, target: targetText(session, this.numbers) });
    $("edges-show").textContent = say(`edges.${step.edges.includes("new") ? "new" : step.edges.includes("gradient") ? "gradient" : "weight"}`);
    $("units-show").textContent = step.gradients.some(Boolean) ? say("unitsShow") : "";
    this.draw();
    this.lab.announceLater(() => hidden ? step.ask.question : `${step.title}. ${step.text} ${unitName(this.columns, focus.column, focus.unit, session.data)}: ${focus.lines.map(plainLine).join("; ")}`);
  }

  renderAsk(step, hidden) {
    $("ask").hidden = !hidden;
    $("ask-answer").textContent = "";
    if (!step.ask) return;
    if (!hidden) {
      if (this.guess && this.guess.key === step.key) $("ask-answer").textContent = say(this.guess.right ? "ask.right" : "ask.wrong", { guess: step.ask.options[this.guess.option], answer: step.ask.options[step.ask.answer] });
      return;
    }
    $("ask-question").textContent = step.ask.question;
    $("ask-options").replaceChildren(...step.ask.options.map((text, option) => {
      const button = make("button", { type: "button" }, text);
      button.addEventListener("click", () => { this.guess = { key: step.key, option, right: option === step.ask.answer }; this.reveal(); });
      return button;
    }));
    const skip = make("button", { type: "button", class: "quiet" }, say("ask.skip"));
    skip.addEventListener("click", () => { this.guess = null; this.reveal(); });
    $("ask-options").append(skip);
  }

  reveal() {
    this.answered.add(this.step.key);
    this.render();
    $("walk-next").focus();
  }

  draw() {
    const { numbers, step, focus, columns, hidden } = this, { layers } = numbers, part = new Set(step.foci.map((f) => `${f.column}-${f.unit}`));
    const roles = {
      x: (c, u) => numbers.x[u], z: (c, u) => layers[c - 1].z[u], a: (c, u) => layers[c - 1].a[u],
      grad: (c, u) => (c === layers.length ? numbers.gradOutputs[u] : layers[c].gradX[u]), delta: (c, u) => layers[c - 1].delta[u],
    };
    const index = (c, i, j) => layers[c - 1].weight + i * layers[c - 1].outputs + j;
    const shown = { weight: numbers.before, gradient: numbers.gradients, new: numbers.after };
    const value = (c, i, j) => (step.edges[c] && !hidden ? shown[step.edges[c]][index(c, i, j)] : numbers.before[index(c, i, j)]);
    this.drawing.arrange(columns, { font: this.lab.font, maxHeight: this.lab.room });
    this.drawing.update({
      unit: (c, u) => {
        const role = step.values[c], back = hidden && c === focus.column ? "" : step.gradients[c];
        const number = role ? roles[role](c, u) : null, gradient = back ? roles[back](c, u) : null;
        const now = !hidden && focus.column === c && focus.unit === u, name = unitName(columns, c, u, this.lab.session.data);
        return {
          value: role ? this.drawing.fit(number) : "", below: back ? this.drawing.fitBelow(back === "delta" ? "δ" : "∂", gradient) : "",
          fresh: step.phase === "backward" && part.has(`${c}-${u}`), can: part.has(`${c}-${u}`),
          state: !role ? "off" : now ? "now" : part.has(`${c}-${u}`) ? "part" : "",
          label: `${name}: ${role ? `${role} ${show(number)}` : say("unknownYet")}${back ? `, ${back === "delta" ? "delta" : say("gradient")} ${show(gradient)}` : ""}`,
        };
      },
      weight: value,
      hot: new Set(hidden ? [] : focus.edges),
      toward: step.toward,
      numbers: (c, i, j) => show(value(c, i, j), 2),
      loss: step.phase === "forward" ? "" : show(numbers.loss, 4),
      lossNow: step.phase === "error",
      tags: step.phase === "forward" || columns.at(-1).units.length > 6 ? [] : columns.at(-1).units.map((j) => [
        this.lab.session.link === "identity" ? "" : `p ${show(numbers.probabilities[j], 3)}`, `${say("target")} ${show(numbers.y[j], 2)}`,
      ]),
    });
  }
}

function unitName(columns, c, u, data) {
  if (c === 0) return say("inputUnit", { name: data.features[u] });
  if (c === columns.length - 1) return data.kind === "classes" ? say("outputUnit", { name: data.classes[u] }) : say("theOutput");
  return say("unit", { layer: c, n: u + 1 });
}

// The names of numbers that a step starts from.
const GIVEN = /^(x\[|t\[|W\d|b\d|lr$)/;

// A line of tokens as an element; with `blanks`, that text stands for every number that is not given; a negative number inside a formula stands in brackets.
function lineOf(tokens, blanks = null) {
  const line = make("div", { class: "line" });
  forEachToken(tokens, (token, text) => {
    if (typeof token === "string") { line.append(token); return; }
    const classes = ["n", token.kind, token.kind === "weight" ? (token.v < 0 ? "minus" : "plus") : ""].filter(Boolean).join(" ");
    const blank = blanks && !GIVEN.test(token.n);
    line.append(make("span", { class: classes, title: token.n, "data-value": blank ? "" : String(token.v) }, blank ? blanks : text));
  });
  return line;
}

function forEachToken(tokens, visit) {
  let before = "";
  for (const token of tokens) {
    const inside = before && !/(= |\(|: |← )$/.test(before);
    const text = typeof token === "string" ? token : token.v < 0 && inside ? `(${show(token.v)})` : show(token.v);
    visit(token, text);
    before = typeof token === "string" ? token : "x";
  }
}

function plainLine(tokens) {
  let text = "";
  forEachToken(tokens, (token, part) => { text += part; });
  return text;
}
