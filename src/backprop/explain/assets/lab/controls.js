"use strict";
// The controls: each shows a setting and changes it.

const RATE_STEPS = [0.0001, 0.0003, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10];
const DECAY_STEPS = [0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1];
const CLIP_STEPS = [0, 0.1, 0.3, 1, 3, 10];
const BATCH_STEPS = [1, 2, 4, 8, 16, 32, 64, 128];

const nearest = (steps, value) => steps.reduce((best, step, k) => (Math.abs(Math.log((step || 1e-9) / (value || 1e-9))) < Math.abs(Math.log((steps[best] || 1e-9) / (value || 1e-9))) ? k : best), 0);

// Sliders: how a value is shown, and the values on the way.
const SLIDERS = {
  noise: { steps: Array.from({ length: 25 }, (_, k) => Number((k * 0.025).toFixed(3))), text: (v) => show(v, 3), linear: true },
  test: { steps: [0, 0.1, 0.2, 0.3, 0.4, 0.5], text: (v) => `${show(100 * v, 3)} %`, linear: true },
  lr: { steps: RATE_STEPS, text: (v) => show(v, 4) },
  batch: { steps: BATCH_STEPS, text: (v) => show(v, 4) },
  l2: { steps: DECAY_STEPS, text: (v) => (v ? show(v, 3) : say("off")) },
  clip: { steps: CLIP_STEPS, text: (v) => (v ? show(v, 3) : say("off")) },
};

class Controls {
  constructor(lab) {
    this.lab = lab;
    const option = (id, values, name) => {
      $(id).replaceChildren(...values.map((value) => make("option", { value }, name(value))));
      $(id).addEventListener("change", () => lab.set(id, $(id).value));
    };
    option("data", DATA_NAMES, (value) => say(`data.${value}`));
    for (const [key, [name]] of Object.entries(FEATURES)) {
      const label = make("label"), input = make("input", { type: "checkbox", value: key });
      input.addEventListener("change", () => {
        const chosen = Object.keys(FEATURES).filter((other) => (other === key ? input.checked : lab.session.settings.features.includes(other)));
        if (chosen.length) lab.set("features", chosen); else input.checked = true;
      });
      label.append(input, name);
      $("features").append(label);
    }
    option("activation", HIDDEN_ACTIVATIONS, (value) => say(`name.${value}`));
    option("init", ["auto", ...Object.keys(INITS)], (value) => say(`init.${value}`));
    option("optimizer", Engine.OPTIMIZERS, (value) => say(`name.${value}`));
    $("loss").addEventListener("change", () => lab.set("loss", $("loss").value));
    for (const [id, { steps, text, linear }] of Object.entries(SLIDERS)) {
      Object.assign($(id), { min: 0, max: steps.length - 1, step: 1 });
      const value = () => steps[Number($(id).value)];
      $(id).addEventListener("input", () => { this.showSlider(id, value(), text); lab.set(id, value()); });
      this[id] = (given) => { $(id).value = linear ? steps.reduce((best, step, k) => (Math.abs(step - given) < Math.abs(steps[best] - given) ? k : best), 0) : nearest(steps, given); this.showSlider(id, given, text); };
    }
    $("seed").addEventListener("change", () => { const seed = READERS.seed($("seed").value); if (seed !== null) lab.set("seed", seed); else this.refresh(); });
    $("seed-next").addEventListener("click", () => lab.set("seed", lab.session.settings.seed + 1));
    $("speed").replaceChildren(...SPEEDS.map((value) => make("option", { value }, say(`speed.${value}`))));
    $("speed").addEventListener("change", () => lab.setView("speed", Number($("speed").value)));
    $("layer-add").addEventListener("click", () => lab.set("hidden", [...lab.session.settings.hidden, lab.session.settings.hidden.at(-1) || 4]));
    $("layer-remove").addEventListener("click", () => lab.set("hidden", lab.session.settings.hidden.slice(0, -1)));
    this.prepareCsv();
  }

  showSlider(id, value, text) {
    $(`${id}-out`).textContent = text(value);
    $(id).setAttribute("aria-valuetext", text(value));
  }

  prepareCsv() {
    const { lab } = this;
    const take = (text) => { $("csv-text").value = text; lab.setCsv(text); };
    $("csv-use").addEventListener("click", () => take($("csv-text").value));
    $("csv-file").addEventListener("change", async () => { if ($("csv-file").files[0]) take(await $("csv-file").files[0].text()); });
    $("csv-target").addEventListener("change", () => lab.setCsv($("csv-text").value, $("csv-target").value));
    for (const name of ["dragover", "drop"]) {
      $("csv-box").addEventListener(name, async (event) => {
        event.preventDefault();
        if (name === "drop" && event.dataTransfer.files[0]) take(await event.dataTransfer.files[0].text());
      });
    }
  }

  refresh() {
    const { session } = this.lab, { settings, data } = session;
    for (const id of ["data", "activation", "init", "optimizer"]) $(id).value = settings[id];
    const losses = LOSS_CHOICES[data.kind];
    $("loss").replaceChildren(...losses.map((value) => make("option", { value }, say(`name.${value}`))));
    $("loss").value = settings.loss;
    $("loss-control").hidden = losses.length < 2 || this.lab.hide.includes("loss");
    $("features").hidden = !PLANE.includes(settings.data) || this.lab.hide.includes("features");
    for (const input of $("features").querySelectorAll("input")) input.checked = settings.features.includes(input.value);
    $("noise-control").hidden = !(settings.data in POINTS) || this.lab.hide.includes("noise");
    for (const id of Object.keys(SLIDERS)) this[id](settings[id]);
    $("seed").value = settings.seed;
    $("speed").value = this.lab.view.speed;
    $("csv-box").hidden = settings.data !== "csv";
    this.renderLayers();
    $("lead").textContent = say(`lead.${data.points ? "plane" : data.inputs === 1 ? "line" : "example"}`);
    $("data-note").textContent = [say(`task.${settings.data}`), say("rowsNote", { train: session.train.n, test: session.test.n, inputs: data.inputs }), ...data.notes.map(([key, value]) => say(key, { value }))].join(" ");
    if (settings.data === "csv") {
      const lines = parseCsv(this.lab.sources.csv || ""), names = lines[0] || [];
      $("csv-target").replaceChildren(...names.map((name) => make("option", { value: name.trim() }, name.trim())));
      $("csv-target").value = data.target;
    }
  }

  renderLayers() {
    const { settings } = this.lab.session, { hidden } = settings;
    $("layers").replaceChildren(...hidden.map((units, k) => {
      const set = (by) => () => { this.lab.set("hidden", hidden.map((n, index) => (index === k ? n + by : n))); $("layers").children[k]?.querySelector(by > 0 ? ".more" : ".less")?.focus(); };
      const item = make("li", { class: "layer" }), name = say("layerShort", { n: k + 1 });
      const less = make("button", { type: "button", class: "less", "aria-label": say("fewerUnits", { n: k + 1 }) }, "−"), more = make("button", { type: "button", class: "more", "aria-label": say("moreUnits", { n: k + 1 }) }, "+");
      less.disabled = units <= 1;
      more.disabled = units >= MAX_UNITS;
      less.addEventListener("click", set(-1));
      more.addEventListener("click", set(1));
      item.append(make("span", { class: "name" }, name), less, make("span", { class: "units" }, String(units)), more);
      return item;
    }));
    $("layer-add").disabled = hidden.length >= MAX_LAYERS;
    $("layer-remove").disabled = hidden.length === 0;
  }
}
