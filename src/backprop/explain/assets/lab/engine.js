"use strict";
// Dense networks in float64: forward, loss, backward, update. The definitions are those of backprop, the Python library, and a
// test compares every number with the library's (tests/golden/engine.json).
//
// Layout, as in the library: `parameters` is one flat array, layer after layer, weight (fan_in, fan_out) in C order and then bias;
// `gradients` lies the same way. x, z, a and delta hold one row after the other. Arrays are allocated once, for `capacity` rows.

const Engine = (() => {
  // sigmoid and softplus take the exponential of numbers that are not positive only: it cannot overflow.
  const sigmoid = (z) => { const e = Math.exp(-Math.abs(z)); return (z >= 0 ? 1 : e) / (1 + e); };
  const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

  const GELU_C = Math.sqrt(2 / Math.PI), LEAK = 0.01;
  const geluGate = (z) => sigmoid(2 * GELU_C * (z + 0.044715 * z * z * z)); // (1 + tanh u) / 2

  // f(z), and its slope f'(z) from z and a = f(z).
  const ACTIVATIONS = {
    identity: { f: (z) => z, slope: () => 1 },
    relu: { f: (z) => Math.max(z, 0), slope: (z, a) => (a > 0 ? 1 : 0) },
    leaky_relu: { f: (z) => (z > 0 ? z : LEAK * z), slope: (z, a) => (a > 0 ? 1 : LEAK) },
    tanh: { f: Math.tanh, slope: (z, a) => 1 - a * a },
    sigmoid: { f: sigmoid, slope: (z, a) => a * (1 - a) },
    gelu: {
      f: (z) => z * geluGate(z),
      slope: (z) => geluGate(z) * (1 + z * geluGate(-z) * 2 * GELU_C * (1 + 3 * 0.044715 * z * z)),
    },
  };

  // Losses of n rows and k outputs: the mean, and where `grad` is given its gradient dL/doutput.
  // mse and binary_cross_entropy average over rows and outputs, cross_entropy over rows; targets are numbers, 0 or 1, or a row of
  // probabilities. Outputs of the cross entropies are logits.
  const LOSSES = {
    mse(outputs, targets, n, k, grad) {
      let sum = 0;
      for (let i = 0; i < n * k; i++) {
        const d = outputs[i] - targets[i];
        sum += d * d;
        if (grad) grad[i] = (2 * d) / (n * k);
      }
      return sum / (n * k);
    },
    binary_cross_entropy(outputs, targets, n, k, grad) {
      let sum = 0;
      for (let i = 0; i < n * k; i++) {
        const o = outputs[i], t = targets[i];
        sum += t * softplus(-o) + (1 - t) * softplus(o); // -log sigmoid(o) = softplus(-o)
        if (grad) grad[i] = ((1 - t) * sigmoid(o) - t * sigmoid(-o)) / (n * k);
      }
      return sum / (n * k);
    },
    cross_entropy(outputs, targets, n, k, grad) {
      let sum = 0;
      for (let start = 0; start < n * k; start += k) {
        let top = -Infinity, total = 0;
        for (let j = 0; j < k; j++) top = Math.max(top, outputs[start + j]);
        for (let j = 0; j < k; j++) total += Math.exp(outputs[start + j] - top);
        const logTotal = Math.log(total);
        for (let j = start; j < start + k; j++) {
          const logP = outputs[j] - top - logTotal;
          if (targets[j]) sum -= targets[j] * logP;
          if (grad) grad[j] = (Math.exp(logP) - targets[j]) / n;
        }
      }
      return sum / n;
    },
  };

  // What an output means: sigmoid and softmax turn logits into probabilities.
  const LINKS = { mse: "identity", binary_cross_entropy: "sigmoid", cross_entropy: "softmax" };

  function probabilities(outputs, n, k, link, result = new Float64Array(n * k)) {
    for (let start = 0; start < n * k; start += k) {
      let top = -Infinity, total = 0;
      for (let j = 0; j < k; j++) top = Math.max(top, outputs[start + j]);
      for (let j = start; j < start + k; j++) {
        result[j] = link === "softmax" ? Math.exp(outputs[j] - top) : link === "sigmoid" ? sigmoid(outputs[j]) : outputs[j];
        total += result[j];
      }
      if (link === "softmax") for (let j = start; j < start + k; j++) result[j] /= total;
    }
    return result;
  }

  // Hidden layers share one activation, the output layer has none.
  class Network {
    constructor(sizes, activation, capacity = 1) {
      this.sizes = sizes;
      this.activation = activation;
      this.layers = [];
      let offset = 0;
      for (let k = 1; k < sizes.length; k++) {
        const inputs = sizes[k - 1], outputs = sizes[k];
        this.layers.push({
          inputs, outputs, weight: offset, bias: offset + inputs * outputs,
          activation: k + 1 < sizes.length ? activation : "identity",
        });
        offset += inputs * outputs + outputs;
      }
      this.parameters = new Float64Array(offset);
      this.gradients = new Float64Array(offset);
      this.reserve(capacity);
    }

    reserve(capacity) {
      this.capacity = capacity;
      this.x = null;
      for (const layer of this.layers) {
        for (const name of ["z", "a", "delta", "gradX"]) {
          layer[name] = new Float64Array(capacity * (name === "gradX" ? layer.inputs : layer.outputs));
        }
      }
    }

    // z = x @ weight + bias, a = f(z); returns the last a, (n, outputs). The array belongs to the network.
    forward(x, n) {
      if (n > this.capacity) this.reserve(n);
      this.x = x;
      const p = this.parameters;
      let before = x;
      for (const { inputs, outputs, weight, bias, z, a, activation } of this.layers) {
        for (let row = 0; row < n; row++) {
          const to = row * outputs, from = row * inputs;
          for (let j = 0; j < outputs; j++) z[to + j] = p[bias + j];
          for (let i = 0; i < inputs; i++) {
            const value = before[from + i], w = weight + i * outputs;
            for (let j = 0; j < outputs; j++) z[to + j] += value * p[w + j];
          }
        }
        const f = ACTIVATIONS[activation].f;
        for (let i = 0; i < n * outputs; i++) a[i] = f(z[i]);
        before = a;
      }
      return before;
    }

    // delta = grad_a * f'(z), grad_weight = x.T @ delta, grad_bias = sum of delta, grad_x = delta @ weight.T; the gradients are
    // overwritten. Also the first layer's gradX is filled in, because the page shows it.
    backward(gradOutputs, n) {
      const p = this.parameters, g = this.gradients;
      g.fill(0);
      let gradA = gradOutputs;
      for (let k = this.layers.length - 1; k >= 0; k--) {
        const { inputs, outputs, weight, bias, z, a, delta, gradX, activation } = this.layers[k];
        const x = k ? this.layers[k - 1].a : this.x, slope = ACTIVATIONS[activation].slope;
        for (let i = 0; i < n * outputs; i++) delta[i] = gradA[i] * slope(z[i], a[i]);
        for (let row = 0; row < n; row++) {
          const to = row * outputs, from = row * inputs;
          for (let j = 0; j < outputs; j++) g[bias + j] += delta[to + j];
          for (let i = 0; i < inputs; i++) {
            const value = x[from + i], w = weight + i * outputs;
            let sum = 0;
            for (let j = 0; j < outputs; j++) {
              g[w + j] += value * delta[to + j];
              sum += delta[to + j] * p[w + j];
            }
            gradX[from + i] = sum;
          }
        }
        gradA = gradX;
      }
    }
  }

  const OPTIMIZERS = ["sgd", "momentum", "rmsprop", "adam"];

  // PyTorch's definitions. weightDecay (L2) is added to the gradient: grad + weightDecay * param.
  class Optimizer {
    constructor(name, { lr, momentum = 0.9, alpha = 0.99, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0 } = {}) {
      Object.assign(this, { name, lr, momentum, alpha, beta1, beta2, eps, weightDecay, steps: 0, slots: [] });
    }

    step(parameters, gradients) {
      const { name, lr, momentum, alpha, beta1, beta2, eps, weightDecay } = this, count = parameters.length;
      const slots = { sgd: 0, momentum: 1, rmsprop: 1, adam: 2 }[name];
      while (this.slots.length < slots) this.slots.push(new Float64Array(count));
      const [m, v] = this.slots, first = this.steps === 0;
      this.steps += 1;
      if (name === "sgd") {
        for (let i = 0; i < count; i++) parameters[i] -= lr * (gradients[i] + weightDecay * parameters[i]);
      } else if (name === "momentum") { // the first velocity is the gradient
        for (let i = 0; i < count; i++) {
          const g = gradients[i] + weightDecay * parameters[i];
          m[i] = first ? g : momentum * m[i] + g;
          parameters[i] -= lr * m[i];
        }
      } else if (name === "rmsprop") {
        for (let i = 0; i < count; i++) {
          const g = gradients[i] + weightDecay * parameters[i];
          m[i] = alpha * m[i] + (1 - alpha) * g * g;
          parameters[i] -= (lr * g) / (Math.sqrt(m[i]) + eps);
        }
      } else {
        const bias1 = 1 - beta1 ** this.steps, root2 = Math.sqrt(1 - beta2 ** this.steps);
        for (let i = 0; i < count; i++) {
          const g = gradients[i] + weightDecay * parameters[i];
          m[i] += (1 - beta1) * (g - m[i]);
          v[i] = beta2 * v[i] + (1 - beta2) * g * g;
          parameters[i] -= ((lr / bias1) * m[i]) / (Math.sqrt(v[i]) / root2 + eps);
        }
      }
    }

    copy() {
      const copied = new Optimizer(this.name, this);
      copied.steps = this.steps;
      copied.slots = this.slots.map((slot) => slot.slice());
      return copied;
    }
  }

  const norm = (values) => { let sum = 0; for (const value of values) sum += value * value; return Math.sqrt(sum); };

  // Scales the gradients so that their norm is at most `limit`; returns the norm before.
  function clip(gradients, limit) {
    const found = norm(gradients), factor = limit / (found + 1e-6);
    if (factor < 1) for (let i = 0; i < gradients.length; i++) gradients[i] *= factor;
    return found;
  }

  // One network with its loss and optimizer; `step` is one update from n rows and returns the loss before it.
  class Trainer {
    constructor(net, loss, optimizer, { clipNorm = 0 } = {}) {
      Object.assign(this, { net, loss, optimizer, clipNorm, norm: 0, grad: new Float64Array(net.sizes.at(-1)) });
    }

    gradients(x, y, n) {
      const k = this.net.sizes.at(-1);
      if (this.grad.length < n * k) this.grad = new Float64Array(n * k);
      const loss = LOSSES[this.loss](this.net.forward(x, n), y, n, k, this.grad);
      this.net.backward(this.grad, n);
      return loss;
    }

    step(x, y, n) {
      const loss = this.gradients(x, y, n);
      if (this.clipNorm > 0) this.norm = clip(this.net.gradients, this.clipNorm);
      this.optimizer.step(this.net.parameters, this.net.gradients);
      return loss;
    }

    evaluate(x, y, n) {
      return LOSSES[this.loss](this.net.forward(x, n), y, n, this.net.sizes.at(-1), null);
    }
  }

  return { ACTIVATIONS, LOSSES, LINKS, OPTIMIZERS, Network, Optimizer, Trainer, clip, norm, probabilities };
})();
