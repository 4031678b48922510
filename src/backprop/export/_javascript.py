"""JavaScript: the program of a network as one ES module, which computes in double precision."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence

import numpy as np

from .._files import StrPath, replace_file
from .._numpy import erf
from .._types import Array
from .._version import __version__
from ..ensemble import Ensemble
from ..network import Network
from ..tabular import TableModel
from . import _javascript_table
from ._program import (
    ActivationStep,
    DenseStep,
    Label,
    LayerNormStep,
    MeanStep,
    Program,
    ResidualStep,
    ScaleStep,
    Step,
    fold,
    in_dtype,
    lower,
    require_built_in,
    require_finite,
)


def js(model: Network | TableModel | Ensemble, path: StrPath | None = None) -> str:
    """Return a network, alone or with its table, or an ensemble, as one JavaScript module, and write it if a path is given.

    The module is an ES module for browsers, Node and other runtimes. It needs nothing else, evaluates no strings, and exports

    - ``predict(x)``: what `Network.predict` returns for one row, an array of n_outputs numbers; x is an array of n_inputs numbers;
    - ``labels``: the classes, integers above 2**53 as text; an empty array for a network that predicts numbers;
    - ``probabilities(x)`` and ``label(x)``, for a network that was trained with a loss on logits or ends in softmax: the
      probability of each class, and the class, null where an output is NaN. Where classes hold or not independently of each other,
      ``label(x)`` is an array of true and false.

    Weights are in the dtype of the network, sums in double precision.

    For a `TableModel`, x is an object with a value for each column, as in `TableModel.predict`: numbers, texts, true and false,
    dates, and null or undefined for a missing value. Numbers and dates in texts are read as the training data spelled them, in any
    time zone of the browser. ``predict(x)`` gives the number or the class, ``probabilities(x)`` the probability of each class, and
    ``columns`` lists the columns.

    For an `Ensemble`, ``predict(x)`` gives what `Ensemble.predict` returns; where its outputs mean classes, the probabilities of
    `Ensemble.predict_proba`, to which ``probabilities(x)`` and ``label(x)`` belong.

    Parameters
    ----------
    model : Network, TableModel or Ensemble
        The model, as it predicts now.
    path : str or path, optional
        The file; by custom it ends in ``.mjs`` or ``.js``. It holds the old content or the whole new one at any moment.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        For a custom layer, which the message names; no file is written.
    ValueError
        For a model with NaN or infinite parameters.
    OSError
        When writing fails.

    Examples
    --------
    >>> import backprop as bp
    >>> text = bp.export.js(bp.mlp([4, 8, 3], seed=0))
    >>> "export function predict(x)" in text
    True
    """
    program = lower(model)
    require_built_in(program, "JavaScript")
    require_finite(program)
    text = _Module(program).text()
    if path is not None:
        replace_file(path, text.encode())
    return text


_FUNCTIONS = {
    "relu": "z => z < 0 ? 0 : z",
    "leaky_relu": "alpha => z => z < 0 ? alpha * z : z",
    "elu": "alpha => z => z < 0 ? alpha * Math.expm1(z) : z",
    "selu": "z => 1.0507009873554805 * (z < 0 ? 1.6732632423543772 * Math.expm1(z) : z)",
    "gelu": "z => z < -1000 ? -0 : z * sigmoid(1.5957691216057308 * (z + 0.044715 * z * z * z))",
    "gelu_exact": "z => z < -1000 ? -0 : 0.5 * z * erfc(z * -Math.SQRT1_2)",
    "silu": "z => z < -1000 ? -0 : z * sigmoid(z)",
    "mish": "z => z < -1000 ? -0 : z * Math.tanh(softplus(z))",
    "sigmoid": "z => z < 0 ? Math.exp(z) / (1 + Math.exp(z)) : 1 / (1 + Math.exp(-z))",
    "tanh": "z => Math.tanh(z)",
    "softplus": "z => (z < 0 ? 0 : z) + Math.log1p(Math.exp(-Math.abs(z)))",
    "softsign": "z => Math.abs(z) === Infinity ? Math.sign(z) : z / (1 + Math.abs(z))",
    "hardtanh": "z => z < -1 ? -1 : z > 1 ? 1 : z",
    "relu6": "z => z < 0 ? 0 : z > 6 ? 6 : z",
}
_NEEDS = {"gelu": "sigmoid", "silu": "sigmoid", "mish": "softplus", "gelu_exact": "erfc"}


def _numbers(coefficients: Array) -> str:
    return f"[{', '.join(map(repr, coefficients.tolist()))}]"


_HELPERS = {
    "dense": """
function dense(x, weight, bias, columns) {
  const y = new Float64Array(columns);
  for (let i = 0, at = 0; i < x.length; i++) {
    for (let j = 0; j < columns; j++, at++) y[j] += x[i] * weight[at];
  }
  if (bias) for (let j = 0; j < columns; j++) y[j] += bias[j];
  return y;
}""",
    "scale": "const scale = (x, centre, factor, shift) => x.map((value, i) => (value - centre[i]) * factor[i] + shift[i]);",
    "add": "const add = (x, y) => x.map((value, i) => value + y[i]);",
    "layerNorm": """
function layerNorm(x, weight, bias, eps) {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  return x.map((value, i) => weight[i] * ((value - mean) / Math.sqrt(variance + eps)) + bias[i]);
}""",
    "softmax": """
function softmax(x) {
  const top = x.reduce((most, value) => Math.max(most, value), -Infinity);
  const powers = x.map(value => Math.exp(value - top));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map(value => value / sum);
}""",
    "erfc": f"""
// W. J. Cody, Rational Chebyshev approximations for the error function, Mathematics of Computation 23 (1969)
const polynomial = (coefficients, x) => coefficients.reduce((total, coefficient) => total * x + coefficient, 0);
function erfc(x) {{
  const size = Math.abs(x), square = x * x;
  if (size <= 0.46875) {{
    return 1 - x * polynomial({_numbers(erf._SMALL_P)}, square)
      / polynomial({_numbers(erf._SMALL_Q)}, square);
  }}
  const far = Math.min(size, 30), near = Math.trunc(far * 16) / 16, inverse = 1 / (far * far);
  const ratio = far <= 4
    ? polynomial({_numbers(erf._MIDDLE_P)}, far)
      / polynomial({_numbers(erf._MIDDLE_Q)}, far)
    : (1 / Math.sqrt(Math.PI) - inverse * polynomial({_numbers(erf._LARGE_P)}, inverse)
      / polynomial({_numbers(erf._LARGE_Q)}, inverse)) / far;
  const tail = Math.exp(-near * near) * Math.exp(-(far - near) * (far + near)) * ratio;
  return x < 0 ? 2 - tail : tail;
}}""",
}


class _Module:
    """The module in the making: constants, functions that are used, statements of `predict`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.constants: dict[str, str] = {}
        self.helpers: dict[str, str] = {}
        self.statements: list[str] = []

    def text(self) -> str:
        self.write(fold(self.program).steps)
        exports = [self.labels(), *(self.table() if self.program.encoder else (self.meaning(), self.outputs("predict")))]
        constants = "\n".join(f"const {name} = {value};" for name, value in self.constants.items())
        parts = [self.header(), self.decoder() if constants else "", constants, *self.helpers.values(), *exports]
        return "\n\n".join(part for part in parts if part) + "\n"

    def header(self) -> str:
        program = self.program
        what = f"{program.n_inputs} inputs, {program.n_outputs} outputs"
        kind = program.kind.capitalize()
        face = "predict(x) takes an array of numbers, one row, and returns the outputs."
        if program.encoder is not None:
            face = "predict(row) takes an object with a value for each of the columns."
        return f"// {kind} of {what}, made by backprop {__version__}.\n// Model sha256:{program.checksum()}\n// {face}"

    def decoder(self) -> str:
        kind = "Float64Array" if self.program.dtype == np.float64 else "Float32Array"
        return f"const numbers = text => new {kind}(Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer);"

    def table(self) -> list[str]:
        """The functions about rows of a table."""
        assert self.program.encoder is not None
        meaning = self.program.meaning
        parts = [_javascript_table.encode(self.program.encoder), self.outputs("outputs")]
        if meaning.kind == "numbers":
            number = f"outputs(encode(row))[0] * {meaning.scale!r} + {meaning.mean!r}"
            return [*parts, f"export function predict(row) {{\n  return {number};\n}}"]
        proba = f"Array.from({self.use('softmax')}(outputs(encode(row))))" if meaning.link else "outputs(encode(row))"
        return [
            *parts,
            f"export function probabilities(row) {{\n  return {proba};\n}}",
            "export function predict(row) {\n  const y = outputs(encode(row));\n  return labels[y.indexOf(Math.max(...y))];\n}",
        ]

    def outputs(self, name: str) -> str:
        """The function that gives the outputs of the network."""
        lines = "\n".join(f"  {statement}" for statement in self.statements)
        return (
            f"{'export ' if name == 'predict' else ''}function {name}(x) {{\n"
            f"  if (x.length !== {self.program.n_inputs}) "
            f"throw new TypeError(`x must have {self.program.n_inputs} numbers, has ${{x.length}}`);\n"
            "  let v = Float64Array.from(x);\n"
            f"{lines}{chr(10) if lines else ''}"
            "  return Array.from(v);\n}"
        )

    def labels(self) -> str:
        names: Sequence[Label] = self.program.meaning.classes or range(self.program.n_classes)
        return f"export const labels = {_javascript_table.text(list(names))};"

    def meaning(self) -> str:
        """The functions about classes."""
        meaning = self.program.meaning
        if meaning.kind == "numbers":
            return ""
        above = f"value > {meaning.threshold!r}"
        if meaning.kind == "one_of":
            proba = f"Array.from({self.use('softmax')}(predict(x)))" if meaning.link else "predict(x)"
            label = "y.some(Number.isNaN) ? null : labels[y.indexOf(Math.max(...y))]"
        elif meaning.kind == "yes_or_no":
            both = f"[{self.use('sigmoid')}(-value), sigmoid(value)]" if meaning.link else "[1 - value, value]"
            proba = f"predict(x).flatMap(value => {both})"
            label = f"y.map(value => Number.isNaN(value) ? null : labels[Number({above})])[0]"
        else:
            proba = f"predict(x).map({self.use('sigmoid')})" if meaning.link else "predict(x)"
            label = f"y.map(value => {above})"
        return (
            f"export function probabilities(x) {{\n  return {proba};\n}}\n\n"
            f"export function label(x) {{\n  const y = predict(x);\n  return {label};\n}}"
        )

    def write(self, steps: Iterable[Step]) -> None:
        """Add the statements for steps; `v` is what the last one gives."""
        for step in steps:
            if isinstance(step, DenseStep):
                bias = "null" if step.bias is None else self.array(f"{step.name}.bias", step.bias)
                weight = self.array(f"{step.name}.weight", step.weight)
                self.statements.append(f"v = {self.use('dense')}(v, {weight}, {bias}, {step.weight.shape[1]});")
            elif isinstance(step, ScaleStep):
                arrays = {"centre": step.centre, "scale": step.scale, "shift": step.shift}
                names = ", ".join(self.array(f"{step.name}.{key}", each) for key, each in arrays.items())
                self.statements.append(f"v = {self.use('scale')}(v, {names});")
            elif isinstance(step, LayerNormStep):
                weight, bias = self.array(f"{step.name}.weight", step.weight), self.array(f"{step.name}.bias", step.bias)
                self.statements.append(f"v = {self.use('layerNorm')}(v, {weight}, {bias}, {step.eps!r});")
            elif isinstance(step, ActivationStep):
                self.activation(step)
            elif isinstance(step, ResidualStep):
                place = f"before{len(self.statements)}"
                self.statements.append(f"const {place} = v;")
                self.write(step.block)
                self.statements.append(f"v = {self.use('add')}({place}, v);")
            elif isinstance(step, MeanStep):
                self.mean(step)

    def mean(self, step: MeanStep) -> None:
        place = len(self.statements)
        self.statements += [f"const before{place} = v;", f"let sum{place};"]
        for index, member in enumerate(step.members):
            self.statements.append(f"v = before{place};")
            self.write(member)
            if step.function is not None:
                self.activation(ActivationStep(step.name, step.function))
            self.statements.append(f"sum{place} = v;" if index == 0 else f"sum{place} = {self.use('add')}(sum{place}, v);")
        self.statements.append(f"v = sum{place}.map(value => value / {len(step.members)});")

    def activation(self, step: ActivationStep) -> None:
        name, alpha = step.function.name, step.function.alpha
        if name == "softmax":
            self.statements.append(f"v = {self.use('softmax')}(v);")
        elif step.function.takes_alpha and alpha == 0:
            self.statements.append(f"v = v.map({self.use('relu')});")  # 0 times infinity is 0 here
        else:
            self.statements.append(f"v = v.map({self.use(name)}{f'({alpha!r})' if step.function.takes_alpha else ''});")

    def use(self, name: str) -> str:
        """Define a function, and what it needs, and return its name."""
        written = "".join(part if index == 0 else part.capitalize() for index, part in enumerate(name.split("_")))
        if name in _NEEDS:
            self.use(_NEEDS[name])
        if name not in self.helpers:
            self.helpers[name] = _HELPERS[name].strip() if name in _HELPERS else f"const {written} = {_FUNCTIONS[name]};"
        return written

    def array(self, name: str, values: Array) -> str:
        """Define an array in the dtype of the network and return its name."""
        written = name.replace(".", "_")
        little = np.ascontiguousarray(in_dtype(values, self.program.dtype, name), self.program.dtype.newbyteorder("<"))
        self.constants[written] = f'numbers("{b64encode(little.tobytes()).decode()}")'
        return written
