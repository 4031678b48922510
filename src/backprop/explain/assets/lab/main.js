"use strict";
// The laboratory: one session, the views of it, and the clock.

class Lab {
  constructor(config) {
    this.sources = { digits: config.digits, csv: config.csv || SAMPLE_CSV, target: config.target };
    this.config = config;
    const fixed = config.hash || "";
    const given = readHash(location.hash.length > 1 ? location.hash : fixed, {});
    this.present = given.present || new URLSearchParams(location.search).has("present");
    this.playing = false;
    this.take(given);
    this.chain = new Chain(this);
    this.walk = new Walk(this);
    this.board = new Board(this);
    this.controls = new Controls(this);
    this.expectation = new Expectation(this);
    this.wire();
    this.applyLook();
    this.all();
    this.replay(given.run);
    if (given.refused.length) this.note(say("refused", { what: given.refused.join(", ") }));
  }

  // A state from a hash.
  take(given) {
    this.view = given.view;
    this.hide = given.hide;
    this.refused = given.refused;
    const nudge = given.view.nudge;
    this.view.nudge = 0;
    this.pending = nudge;
    this.start(given.settings);
  }

  start(settings) {
    this.pause();
    try {
      this.session = new Session(settings, this.sources);
      this.note("");
    } catch (error) {
      if (settings.data !== "csv") throw error;
      this.note(say(`error.${error.message}`));
      this.session = new Session(settings, { ...this.sources, csv: SAMPLE_CSV, target: null });
    }
    this.view.nudge = 0;
    this.original = null;
    this.until = DEFAULTS[this.session.settings.data].epochs;
    this.view.example = Math.min(this.view.example, this.session.train.n - 1);
  }

  get font() { return this.present ? 20 : 12; }

  // How high a drawing may be: a projector shows it whole.
  get room() { return this.present ? Math.max(300, innerHeight - 150) : Infinity; }

  // What was done to the training, done again; in pieces, so that the page stays responsive.
  replay(log) {
    const todo = log.flatMap((entry) => (/^\d+[ebx]$/.test(entry) ? [[entry.at(-1), parseInt(entry, 10)]] : [["=", entry]]));
    const go = () => {
      const stop = performance.now() + 50;
      while (todo.length && performance.now() < stop && !this.session.failed) {
        const [kind, what] = todo[0];
        if (kind === "=") { const [key, text] = what.split("="); this.session.change(key, READERS[key](text)); todo.shift(); continue; }
        this.session[{ e: "doEpoch", b: "doBatch", x: "doExample" }[kind]]();
        if (--todo[0][1] === 0) todo.shift();
      }
      if (todo.length && !this.session.failed) { this.status(); this.timer = setTimeout(go, 0); return; }
      this.timer = null;
      while (this.until <= this.session.epoch) this.until += DEFAULTS[this.session.settings.data].epochs;
      if (this.pending) { this.applyNudge(this.pending); this.pending = 0; }
      this.all();
      document.body.dataset.ready = "yes";
    };
    clearTimeout(this.timer);
    document.body.dataset.ready = "no";
    go();
  }

  wire() {
    $("play").addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    $("do-epoch").addEventListener("click", () => this.advance("doEpoch"));
    $("do-batch").addEventListener("click", () => this.advance("doBatch"));
    $("do-example").addEventListener("click", () => this.advance("doExample"));
    $("reset").addEventListener("click", () => this.reset());
    $("look").addEventListener("click", () => { this.pause(); this.go("walk"); });
    $("print").addEventListener("click", () => print());
    for (const input of document.querySelectorAll("input[data-language]")) input.addEventListener("change", () => this.setLanguage(input.value));
    const sheet = () => buildWorksheet($("worksheet"), this.walk);
    addEventListener("beforeprint", sheet);
    matchMedia("print").addEventListener("change", (event) => event.matches && sheet());
    addEventListener("hashchange", () => this.fromHash());
    document.addEventListener("keydown", (event) => this.key(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.all());
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width || this.present) { width = innerWidth; this.all(); } });
  }

  fromHash() {
    if (location.hash === this.written || (location.hash.length < 2 && this.written === "")) return;
    const given = readHash(location.hash, {});
    this.present = given.present;
    this.take(given);
    this.note(given.refused.length ? say("refused", { what: given.refused.join(", ") }) : "");
    this.applyLook();
    this.replay(given.run);
  }

  applyLook() {
    document.body.classList.toggle("present", this.present);
    chartStyle.font = this.font;
    document.body.dataset.scene = this.view.scene;
    for (const part of document.querySelectorAll("[data-part]")) part.hidden = this.hide.includes(part.dataset.part);
  }

  // Everything anew.
  all() {
    this.controls.refresh();
    this.board.rebuild();
    this.settled();
  }

  // The weights changed and stay for now.
  settled() {
    this.board.render();
    this.status();
    this.walk.refresh();
    this.chain.refresh();
    $("summary").replaceChildren(...whatHappened(this.session).map((text) => make("li", {}, text)));
    this.expectation.refresh();
    this.saveHash();
  }

  statusText() {
    const { session } = this, { now, data } = session, test = session.test.n > 0, regression = data.kind === "regression";
    const score = regression ? (v) => `R² ${show(v, 3)}` : (v) => say("right", { share: percent(v) });
    return say(test ? "statusTest" : "status", { epoch: show(session.time, 4), loss: show(now.loss, 3), testLoss: show(now.testLoss, 3), score: score(now.score), testScore: score(now.testScore) });
  }

  status() {
    const { session } = this, { now, data } = session, regression = data.kind === "regression", test = session.test.n > 0;
    const score = (v) => (regression ? show(v, 3) : Number.isFinite(v) ? percent(v) : "");
    $("epoch-now").textContent = show(session.time, 4);
    $("loss-now").textContent = show(now.loss, 3);
    $("test-loss-now").textContent = test ? show(now.testLoss, 3) : "–";
    $("score-name").textContent = say(regression ? "r2" : "rightShare");
    $("score-now").textContent = score(now.score);
    $("test-score-now").textContent = test ? score(now.testScore) : "–";
    const goal = Math.max(0, Math.min(1, now.score || 0));
    $("goal-bar").style.width = `${100 * goal}%`;
    $("goal-text").textContent = now.score >= GOAL ? say(regression ? "goalReachedR2" : "goalReached") : say(regression ? "goalOpenR2" : "goalOpen", { now: score(now.score) });
    $("prompt").hidden = session.steps > 0 || this.playing;
    $("play").textContent = this.playing ? say("pause") : say("play");
    $("play").setAttribute("aria-pressed", String(this.playing));
  }

  announceLater(text) {
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => { $("live").textContent = text(); }, 350);
  }

  note(text) { $("note").textContent = text; $("note").hidden = !text; }

  // The clock.

  play() {
    this.removeNudge();
    while (this.until <= this.session.epoch) this.until += DEFAULTS[this.session.settings.data].epochs;
    this.playing = true;
    this.due = 0;
    this.last = performance.now();
    this.spoken = this.last;
    this.status();
    requestAnimationFrame((now) => this.frame(now));
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.settled();
    this.announceLater(() => this.statusText());
  }

  frame(now) {
    if (!this.playing) return;
    const { session, view } = this, slow = view.speed <= 4, perEpoch = Math.ceil(session.train.n / session.settings.batch);
    this.due += (Math.min(250, now - this.last) / 1000) * view.speed * (slow ? perEpoch : 1);
    this.last = now;
    const stop = performance.now() + 14;
    let worked = false;
    while (this.due >= 1 && performance.now() < stop && session.epoch < this.until && !session.failed) {
      if (slow) session.doBatch(); else session.doEpoch();
      this.due -= 1;
      worked = true;
    }
    this.due = Math.min(this.due, 2);
    if (view.speed >= 1000) this.due = 1000;
    if (worked) { this.board.render(); this.status(); }
    if (now - this.spoken > 4000) { this.spoken = now; $("live").textContent = this.statusText(); this.saveHash(); }
    if (session.failed || session.epoch >= this.until) { this.pause(); return; }
    requestAnimationFrame((next) => this.frame(next));
  }

  advance(what) {
    this.pause();
    this.removeNudge();
    if (!this.session.failed) this.session[what]();
    this.settled();
    this.announceLater(() => this.statusText());
  }

  reset() {
    this.pause();
    this.start({ ...this.session.start });
    this.all();
    this.announceLater(() => this.statusText());
  }

  // Changes.

  set(key, value) {
    const { session } = this;
    this.pause();
    this.removeNudge();
    if (LIVE.includes(key)) {
      session.change(key, value);
      if (key === "optimizer") session.change("lr", defaultSettings(session.settings.data, value).lr);
      this.controls.refresh();
      this.settled();
      return;
    }
    const kept = { ...session.settings };
    const settings = key === "data" ? { ...defaultSettings(value, kept.optimizer), seed: kept.seed } : { ...kept, [key]: value };
    if (key === "data") Object.assign(this.view, { example: 0, step: 0, unit: 0, lens: "", weight: "" });
    this.expectation.chosen = null;
    this.start(settings);
    this.all();
  }

  setCsv(text, target = null) {
    Object.assign(this.sources, { csv: text, target });
    this.set("data", "csv");
  }

  setView(key, value) {
    this.view[key] = value;
    this.saveHash();
  }

  setExample(value) {
    const n = this.session.train.n;
    this.view.example = ((value % n) + n) % n || 0;
    this.view.unit = 0;
    this.board.render();
    this.walk.refresh();
    this.chain.refresh();
    this.saveHash();
  }

  setLanguage(language) {
    this.view.language = language;
    this.walk.render();
    this.chain.renderPaths();
    this.showLanguage();
    this.saveHash();
  }

  showLanguage() {
    for (const input of document.querySelectorAll("input[data-language]")) input.checked = input.value === this.view.language;
  }

  // One weight, and its nudge: the weight is moved for as long as the reader looks, and put back before the training goes on.

  weightIndex() {
    const [k, i, j] = this.chain.weight, layer = this.session.net.layers[k];
    return layer.weight + i * layer.outputs + j;
  }

  chooseWeight(key) {
    this.removeNudge();
    this.view.weight = key;
    this.board.renderEdges();
    this.chain.refresh();
    this.saveHash();
  }

  applyNudge(value) {
    const index = this.weightIndex(), { parameters } = this.session.net;
    if (this.original === null) this.original = parameters[index];
    this.view.nudge = value;
    parameters[index] = this.original + value;
    if (value === 0) this.original = null;
    this.session.judge(this.session.train);
  }

  removeNudge() {
    if (this.original !== null) { this.session.net.parameters[this.weightIndex()] = this.original; this.original = null; }
    this.view.nudge = 0;
  }

  setNudge(value) {
    this.pause();
    this.applyNudge(value);
    this.board.render();
    this.walk.refresh();
    this.chain.refresh();
    this.saveHash();
    this.announceLater(() => $("nudge-now").textContent);
  }

  saveHash() {
    this.showLanguage();
    const { session } = this;
    this.written = writeHash({ start: session.start, log: session.log, view: this.view, hide: this.hide, present: this.present });
    if (location.hash === this.written) return;
    try {
      history.replaceState(null, "", this.written || `${location.pathname}${location.search}`);
    } catch { /* The frame of a notebook has no address of its own, and some browsers take a hundred in half a minute. */ }
  }

  // Keys: arrows walk; in present mode everything has a key.

  go(scene) {
    this.view.scene = scene;
    document.body.dataset.scene = scene;
    if (this.present) this.all();
    else if (scene !== "train") {
      const part = $(scene);
      part.scrollIntoView({ behavior: quiet.matches ? "auto" : "smooth" });
      part.querySelector("h2").focus({ preventScroll: true });
      this.view.scene = "train";
    }
    this.saveHash();
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    const walking = { ArrowRight: () => this.walk.goTo(this.view.step + 1), ArrowLeft: () => this.walk.goTo(this.view.step - 1), ArrowUp: () => this.walk.pick(-1), ArrowDown: () => this.walk.pick(1), Home: () => this.walk.goTo(0), End: () => this.walk.goTo(1000) };
    const scroll = (by) => () => $(this.view.scene).scrollBy({ top: by });
    const scrolling = { ArrowDown: scroll(140), ArrowUp: scroll(-140), Home: scroll(-1e4), End: scroll(1e4) };
    const everywhere = {
      " ": () => (this.view.scene === "walk" ? this.revealOrNext() : this.playing ? this.pause() : this.play()), e: () => this.advance("doEpoch"), b: () => this.advance("doBatch"), x: () => this.advance("doExample"),
      r: () => this.reset(), 1: () => this.go("train"), 2: () => this.go("walk"), 3: () => this.go("chain"), n: () => this.setExample(this.view.example + 1),
      l: () => this.setLanguage(LANGUAGES[(LANGUAGES.indexOf(this.view.language) + 1) % 3]),
      "+": () => this.setNudge(Number((this.view.nudge + 0.1).toFixed(6))), "-": () => this.setNudge(Number((this.view.nudge - 0.1).toFixed(6))),
    };
    const keys = this.present ? { ...everywhere, ...(this.view.scene === "walk" ? walking : scrolling) } : $("walk").contains(event.target) ? walking : {};
    if (!keys[event.key] || (typing && !this.present)) return;
    event.preventDefault();
    keys[event.key]();
  }

  revealOrNext() {
    if (this.walk.hidden) this.walk.reveal(); else this.walk.goTo(this.view.step + 1);
  }
}

const lab = new Lab(JSON.parse($("data-source").textContent));
