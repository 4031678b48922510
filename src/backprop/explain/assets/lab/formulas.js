"use strict";
// The formula of every step in three languages: words, mathematics (MathML, the layer as an upper index), and NumPy.

const M = {
  row: (...parts) => `<mrow>${parts.join("")}</mrow>`,
  i: (name) => `<mi>${name}</mi>`,
  n: (value) => `<mn>${value}</mn>`,
  o: (sign) => `<mo>${sign}</mo>`,
  layer: (k) => M.row(M.o("("), M.n(k + 1), M.o(")")),
  // A symbol of layer k with a lower index.
  at: (name, k, index) => `<msubsup>${M.i(name)}${M.row(...[...index].map((c) => M.i(c)))}${M.layer(k)}</msubsup>`,
  sub: (name, index) => `<msub>${M.i(name)}${M.i(index)}</msub>`,
  // The input of layer k: x in the first.
  input: (k, index) => (k ? M.at("a", k - 1, index) : M.sub("x", index)),
  d: (below) => `<mfrac>${M.row(M.o("∂"), M.i("L"))}${M.row(M.o("∂"), below)}</mfrac>`,
  sum: (index, body) => M.row(`<munder>${M.o("∑")}${M.i(index)}</munder>`, body),
  slope: (k, index) => M.row(`<msup>${M.i("f")}${M.o("′")}</msup>`, M.o("("), M.at("z", k, index), M.o(")")),
  math: (...parts) => `<math xmlns="http://www.w3.org/1998/Math/MathML">${M.row(...parts)}</math>`,
};

const ACTIVATION_NUMPY = {
  tanh: ["np.tanh(z)", "1 - a**2"], relu: ["np.maximum(z, 0)", "(a > 0)"], leaky_relu: ["np.where(z > 0, z, 0.01 * z)", "np.where(a > 0, 1, 0.01)"],
  sigmoid: ["1 / (1 + np.exp(-z))", "a * (1 - a)"], identity: ["z", "1"], gelu: ["gelu(z)", "gelu_slope(z)"],
};

const FORMULAS = {
  sums: (k) => ({
    words: say("f.sums"),
    math: M.math(M.at("z", k, "j"), M.o("="), M.sum("i", M.row(M.input(k, "i"), M.at("w", k, "ij"))), M.o("+"), M.at("b", k, "j")),
    numpy: `z${k + 1} = ${k ? `a${k}` : "x"} @ W${k + 1} + b${k + 1}`,
  }),
  activation: (k, name) => ({
    words: say("f.activation", { activation: name }),
    math: M.math(M.at("a", k, "j"), M.o("="), M.i(name), M.o("("), M.at("z", k, "j"), M.o(")")),
    numpy: `a${k + 1} = ${ACTIVATION_NUMPY[name][0].replace(/\bz\b/g, `z${k + 1}`)}`,
  }),
  loss: (name) => ({
    words: say(`f.loss.${name}`),
    math: {
      mse: M.math(M.i("L"), M.o("="), `<mfrac>${M.n(1)}${M.i("K")}</mfrac>`, M.sum("k", M.row(`<msup>${M.row(M.o("("), M.sub("o", "k"), M.o("−"), M.sub("t", "k"), M.o(")"))}${M.n(2)}</msup>`))),
      binary_cross_entropy: M.math(M.i("L"), M.o("="), M.o("−"), M.i("t"), M.i("log"), M.i("p"), M.o("−"), M.o("("), M.n(1), M.o("−"), M.i("t"), M.o(")"), M.i("log"), M.o("("), M.n(1), M.o("−"), M.i("p"), M.o(")")),
      cross_entropy: M.math(M.i("L"), M.o("="), M.o("−"), M.sum("k", M.row(M.sub("t", "k"), M.i("log"), M.sub("p", "k")))),
    }[name],
    numpy: {
      mse: "L = np.mean((o - t) ** 2)", binary_cross_entropy: "p = 1 / (1 + np.exp(-o)); L = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))",
      cross_entropy: "p = np.exp(o) / np.exp(o).sum(); L = -np.sum(t * np.log(p))",
    }[name],
  }),
  gradOutputs: (name) => ({
    words: say(name === "mse" ? "f.gradOutputs.mse" : "f.gradOutputs"),
    math: name === "mse" ? M.math(M.d(M.sub("o", "k")), M.o("="), `<mfrac>${M.n(2)}${M.i("K")}</mfrac>`, M.o("("), M.sub("o", "k"), M.o("−"), M.sub("t", "k"), M.o(")"))
      : M.math(M.d(M.sub("o", "k")), M.o("="), M.sub("p", "k"), M.o("−"), M.sub("t", "k")),
    numpy: name === "mse" ? "grad_o = 2 * (o - t) / o.size" : "grad_o = p - t",
  }),
  deltaIntro: (k) => ({
    words: say("f.deltaIntro"),
    math: M.math(M.at("δ", k, "j"), M.o("="), M.d(M.at("z", k, "j"))),
    numpy: `delta${k + 1} = grad_o`,
  }),
  delta: (k, name) => ({
    words: say("f.delta", { activation: name }),
    math: M.math(M.at("δ", k, "j"), M.o("="), M.d(M.at("a", k, "j")), M.o("·"), M.slope(k, "j")),
    numpy: `delta${k + 1} = grad_a${k + 1} * ${ACTIVATION_NUMPY[name][1].replace(/\ba\b/g, `a${k + 1}`).replace(/\(z\)/g, `(z${k + 1})`)}`,
  }),
  gradWeight: (k) => ({
    words: say("f.gradWeight"),
    math: M.math(M.d(M.at("w", k, "ij")), M.o("="), M.input(k, "i"), M.o("·"), M.at("δ", k, "j")),
    numpy: `grad_W${k + 1} = ${k ? `a${k}` : "x"}.T @ delta${k + 1}; grad_b${k + 1} = delta${k + 1}.sum(axis=0)`,
  }),
  gradX: (k) => ({
    words: say("f.gradX"),
    math: M.math(M.d(M.at("a", k - 1, "i")), M.o("="), M.sum("j", M.row(M.at("δ", k, "j"), M.o("·"), M.at("w", k, "ij")))),
    numpy: `grad_a${k} = delta${k + 1} @ W${k + 1}.T`,
  }),
  update: (k, { optimizer, l2 }) => {
    const g = M.d(M.at("w", k, "ij")), W = `W${k + 1}`, G = `grad_W${k + 1}`, decay = l2 ? ` + l2 * ${W}` : "";
    const numpy = {
      sgd: `${W} -= lr * (${G}${decay})`, momentum: `v = 0.9 * v + ${G}${decay}; ${W} -= lr * v`,
      rmsprop: `g = ${G}${decay}; v = 0.99 * v + 0.01 * g**2; ${W} -= lr * g / (np.sqrt(v) + 1e-8)`,
      adam: `g = ${G}${decay}; m = 0.9 * m + 0.1 * g; v = 0.999 * v + 0.001 * g**2; ${W} -= lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)`,
    }[optimizer].replace(new RegExp(`\\(${G}\\)`), G);
    const step = {
      sgd: g, momentum: M.i("v"), rmsprop: `<mfrac>${g}${M.row(`<msqrt>${M.i("v")}</msqrt>`, M.o("+"), M.i("ε"))}</mfrac>`,
      adam: `<mfrac><mover>${M.i("m")}${M.o("^")}</mover>${M.row(`<msqrt><mover>${M.i("v")}${M.o("^")}</mover></msqrt>`, M.o("+"), M.i("ε"))}</mfrac>`,
    }[optimizer];
    return { words: say(`f.update.${optimizer}`) + (l2 ? ` ${say("f.update.l2")}` : ""), math: M.math(M.at("w", k, "ij"), M.o("←"), M.at("w", k, "ij"), M.o("−"), M.i("η"), step), numpy };
  },
};

// Puts a formula into an element, in the language chosen.
function putFormula(place, formula, language) {
  place.hidden = !formula;
  if (!formula) return;
  if (language === "math") place.innerHTML = formula.math;
  else place.replaceChildren(language === "numpy" ? make("code", {}, formula.numpy) : formula.words);
}
