"use strict";
// All words of the page are in words.json: say("key", {n: 3}) looks one up and fills in what stands in braces.

const WORDS = JSON.parse($("words-source").textContent);

function say(key, values = {}) {
  if (!(key in WORDS)) throw new Error(`words.json has no ${key}`);
  return WORDS[key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
