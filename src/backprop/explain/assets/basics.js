"use strict";
// What every page needs: elements, numbers as text, colours of the style sheet.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const quiet = matchMedia("(prefers-reduced-motion: reduce)");

function make(tag, attributes = {}, text = null, ns = null) {
  const element = ns ? document.createElementNS(ns, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  return element;
}
const draw = (tag, attributes = {}, text = null) => make(tag, attributes, text, SVG);

// Numbers: stored with six significant digits, as JSON has them; "nan", "inf" and "-inf" as words.

const number = (value) => (typeof value === "string" ? { nan: NaN, inf: Infinity, "-inf": -Infinity }[value] : value);

function show(value, digits = 6) {
  value = number(value);
  if (value === undefined || value === null) return "";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-4 || size >= 1e6)
    ? value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e")
    : String(Number(value.toPrecision(digits)));
  return text.replace(/-/g, "−");
}

// At most about six characters, for crowded drawings.
function brief(value) {
  const text = show(value, 2);
  if (text.length <= 6 || !Number.isFinite(number(value))) return text;
  return number(value).toExponential(0).replace("e+", "e").replace(/-/g, "−");
}

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

// Colours of the style sheet, looked up once for each colour scheme.
const colors = new Map();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => colors.clear());
function color(name) {
  if (!colors.has(name)) colors.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colors.get(name);
}

function rgb(name) {
  const hex = color(name).slice(1);
  return [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

const mix = (a, b, t) => a.map((v, k) => Math.round(v + (b[k] - v) * t));
