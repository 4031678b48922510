"use strict";
// Everything that can be chosen, as one object, and as text in location.hash: a lesson links to a state. Only what differs from the
// default is written. What was done to the training is `epoch=12`, or where it went in smaller steps `run=12e|3b|2x|lr=0.1|5e`.

const HIDE_KEYS = [
  "intro", "data", "features", "noise", "test", "seed", "hidden", "activation", "init", "loss", "optimizer", "lr", "batch", "l2", "clip", "speed", "steps",
  "output", "curves", "units", "expect", "walk", "ask", "nudge", "chain", "words", "summary", "reset", "settings",
];

// How each setting is read from text and checked; null where the text is not allowed.
const within = (low, high) => (text) => { const v = Number(text); return text !== "" && v >= low && v <= high ? v : null; };
const whole = (low, high) => (text) => { const v = Number(text); return Number.isInteger(v) && v >= low && v <= high ? v : null; };
const among = (names) => (text) => (names.includes(text) ? text : null);

const MAX_LAYERS = 6, MAX_UNITS = 16;

const READERS = {
  data: among(DATA_NAMES),
  features: (text) => {
    const names = text.split(",");
    return names.every((name) => Object.hasOwn(FEATURES, name)) && new Set(names).size === names.length ? names : null;
  },
  noise: within(0, 0.6),
  test: within(0, 0.5),
  hidden: (text) => {
    const sizes = text === "" || text === "none" ? [] : text.split(",").map(Number);
    return sizes.length <= MAX_LAYERS && sizes.every((n) => Number.isInteger(n) && n >= 1 && n <= MAX_UNITS) ? sizes : null;
  },
  activation: among(HIDDEN_ACTIVATIONS),
  init: among(["auto", ...Object.keys(INITS)]),
  loss: among(Object.keys(Engine.LOSSES)),
  optimizer: among(Engine.OPTIMIZERS),
  lr: within(1e-5, 100),
  batch: whole(1, 2000),
  l2: within(0, 1),
  clip: within(0, 100),
  seed: whole(0, 1e9),
};

const LANGUAGES = ["words", "math", "numpy"];
const SPEEDS = [1, 4, 15, 60, 1000]; // epochs a second

// The rest of the state: where the reader looks.
const VIEW = { speed: 15, example: 0, step: 0, unit: 0, weight: "", nudge: 0, language: "words", rows: "one", lens: "", scene: "train" };
const VIEW_READERS = {
  speed: (text) => among(SPEEDS.map(String))(text) && Number(text),
  example: whole(0, 1e6), step: whole(0, 1000), unit: whole(0, 64),
  weight: (text) => (/^\d+\.\d+\.\d+$/.test(text) ? text : null), nudge: within(-1e6, 1e6),
  language: among(LANGUAGES), rows: among(["one", "all"]), lens: (text) => (/^\d+\.\d+$/.test(text) ? text : null),
  scene: among(["train", "walk", "chain"]),
};

function readHash(hash, fallback = {}) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const parsed = { settings: {}, view: { ...VIEW }, hide: [], present: false, run: [], refused: [] };
  const take = (key, reader) => {
    if (!given.has(key)) return undefined;
    const value = reader(given.get(key));
    if (value === null) parsed.refused.push(`${key}=${given.get(key)}`);
    return value === null ? undefined : value;
  };
  const data = take("data", READERS.data) ?? fallback.data ?? "xor";
  const optimizer = take("optimizer", READERS.optimizer) ?? fallback.optimizer ?? "sgd";
  parsed.settings = { ...defaultSettings(data, optimizer), ...fallback, data, optimizer };
  for (const key of Object.keys(READERS)) parsed.settings[key] = take(key, READERS[key]) ?? parsed.settings[key];
  for (const key of Object.keys(VIEW)) parsed.view[key] = take(key, VIEW_READERS[key]) ?? parsed.view[key];
  parsed.present = given.has("present");
  parsed.hide = (given.get("hide") ?? "").split(",").filter((key) => {
    if (key && !HIDE_KEYS.includes(key)) parsed.refused.push(`hide=${key}`);
    return HIDE_KEYS.includes(key);
  });
  const epoch = take("epoch", whole(0, 100000));
  parsed.run = epoch ? [`${epoch}e`] : (given.get("run") ?? "").split("|").filter(Boolean).filter((entry) => {
    const [key, value] = entry.split("=");
    const fine = /^[1-9]\d{0,5}[ebx]$/.test(entry) || (LIVE.includes(key) && value !== undefined && READERS[key](value) !== null);
    if (!fine) parsed.refused.push(`run=${entry}`);
    return fine;
  });
  for (const key of given.keys()) {
    const known = Object.hasOwn(READERS, key) || Object.hasOwn(VIEW, key) || ["hide", "present", "epoch", "run"].includes(key);
    if (!known) parsed.refused.push(key);
  }
  return parsed;
}

const asText = (value) => (Array.isArray(value) ? value.join(",") || "none" : String(value));

function writeHash({ start, log, view, hide, present }) {
  const parts = [], defaults = defaultSettings(start.data, start.optimizer);
  const write = (key, value) => parts.push(`${key}=${encodeURIComponent(asText(value)).replace(/%2C/g, ",")}`);
  if (start.data !== "xor") write("data", start.data);
  if (start.optimizer !== "sgd") write("optimizer", start.optimizer);
  for (const key of Object.keys(READERS)) {
    if (key !== "data" && key !== "optimizer" && asText(start[key]) !== asText(defaults[key])) write(key, start[key]);
  }
  if (log.length === 1 && /^\d+e$/.test(log[0])) write("epoch", parseInt(log[0], 10));
  else if (log.length) write("run", log.join("|"));
  for (const key of Object.keys(VIEW)) if (view[key] !== VIEW[key]) write(key, view[key]);
  if (hide.length) write("hide", hide.join(","));
  if (present) parts.push("present");
  return parts.length ? `#${parts.join("&")}` : "";
}
