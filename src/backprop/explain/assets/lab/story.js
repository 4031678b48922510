"use strict";
// What happened, in sentences that are computed from what happened; and what the reader expected.

const GOAL = 0.95;

const percent = (share) => `${show(100 * share, 3)} %`;

function whatHappened(session) {
  const { history, data, settings } = session, first = history[0], now = session.now, said = [];
  if (session.steps === 0) return [say("happened.nothing")];
  if (session.failed) return [say("happened.failed", { epoch: session.epoch + 1, lr: show(settings.lr, 4) })];
  said.push(say("happened.loss", { epochs: show(session.time, 4), steps: session.steps, from: show(first.loss, 3), to: show(now.loss, 3) }));
  const regression = data.kind === "regression", test = session.test.n > 0;
  if (regression) said.push(say(test ? "happened.r2Test" : "happened.r2", { train: show(now.score, 3), test: show(now.testScore, 3) }));
  else said.push(say(test ? "happened.rightTest" : "happened.right", { train: percent(now.score), test: percent(now.testScore) }));
  const reached = history.find((point) => point.score >= GOAL);
  if (reached && reached.steps > 0) said.push(say(regression ? "happened.reachedR2" : "happened.reached", { epoch: Math.max(1, Math.ceil(reached.time)) }));
  else if (!reached) said.push(say(regression ? "happened.notReachedR2" : "happened.notReached"));
  if (now.loss > 1.05 * first.loss) said.push(say("happened.rose", { lr: show(settings.lr, 4) }));
  else if (session.epoch >= 10 && now.loss > 0.98 * first.loss) said.push(say("happened.flat"));
  if (test && session.epoch >= 10) {
    const best = history.reduce((a, b) => (b.testLoss < a.testLoss ? b : a));
    if (best.testLoss < 0.9 * now.testLoss && now.loss < best.loss) said.push(say("happened.overfit", { epoch: Math.round(best.time), best: show(best.testLoss, 3), now: show(now.testLoss, 3) }));
  }
  return [...said, ...conditionOf(session)];
}

// Dead units, flat units, equal units and gradients that fade, where there are any.
function conditionOf(session) {
  const { net, train, trainer, settings } = session, said = [], hidden = net.layers.slice(0, -1);
  trainer.gradients(train.x, train.y, train.n);
  let dead = 0, flat = 0, units = 0, equal = 0;
  for (const layer of hidden) {
    const columns = new Set();
    for (let j = 0; j < layer.outputs; j++) {
      let most = 0, slope = 0;
      for (let row = 0; row < train.n; row++) {
        const at = row * layer.outputs + j;
        most = Math.max(most, Math.abs(layer.a[at]));
        slope += Math.abs(Engine.ACTIVATIONS[layer.activation].slope(layer.z[at], layer.a[at])) / train.n;
      }
      units += 1;
      if (settings.activation === "relu" && most === 0) dead += 1;
      if (["tanh", "sigmoid"].includes(settings.activation) && slope < 0.02) flat += 1;
      columns.add(Array.from({ length: layer.inputs }, (_, i) => net.parameters[layer.weight + i * layer.outputs + j]).join());
    }
    if (layer.outputs > 1 && columns.size === 1) equal += 1;
  }
  const norms = net.layers.map((layer) => Engine.norm(net.gradients.subarray(layer.weight, layer.bias)));
  if (equal) said.push(say("condition.equal"));
  if (dead) said.push(say("condition.dead", { n: dead, of: units }));
  if (flat) said.push(say("condition.flat", { n: flat, of: units, activation: settings.activation }));
  if (hidden.length > 1 && norms.at(-1) > 1e-9 && norms[0] < 0.01 * norms.at(-1)) said.push(say("condition.fades", { first: show(norms[0], 2), last: show(norms.at(-1), 2) }));
  return said;
}

const EXPECTATIONS = ["fast", "medium", "slow", "never"];

// Which of the expectations came true; null while it is open.
function outcome(session, until) {
  const reached = session.history.find((point) => point.score >= GOAL && point.steps > 0);
  if (reached) return reached.time <= 10 ? "fast" : reached.time <= 50 ? "medium" : "slow";
  return session.epoch >= until || session.failed ? "never" : null;
}

class Expectation {
  constructor(lab) {
    this.lab = lab;
    this.chosen = null;
    for (const key of EXPECTATIONS) {
      const label = make("label"), input = make("input", { type: "radio", name: "expect", value: key });
      input.addEventListener("change", () => { this.chosen = key; this.refresh(); });
      label.append(input, say(`expect.${key}`));
      $("expect-options").append(label);
    }
  }

  refresh() {
    const { session, until } = this.lab, found = outcome(session, until), regression = session.data.kind === "regression";
    $("expect-question").textContent = say(regression ? "expect.questionR2" : "expect.question");
    const started = session.steps > 0;
    for (const input of document.querySelectorAll("input[name=expect]")) { input.disabled = started; input.checked = input.value === this.chosen; }
    $("expect-result").textContent = !this.chosen ? "" : found === null ? say("expect.noted") : say(found === this.chosen ? "expect.right" : "expect.wrong", { chosen: say(`expect.${this.chosen}`), found: say(`expect.${found}`) });
  }
}
