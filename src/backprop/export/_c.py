"""C: the program of a network as one file of C99, which is C++, too.

The file needs no memory allocation and no input or output; loops run over constant arrays. Matrices lie as ``(fan_in, fan_out)``,
so that the inner loop adds a scaled row to a row of sums: compilers make vector instructions of it without reordering a sum.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._arrays import check_choice
from .._files import StrPath, replace_file
from .._types import Array
from .._version import __version__
from ..activations import ActivationFunction
from ..ensemble import Ensemble
from ..network import Network
from ..tabular import TableEncoder, TableModel
from . import _c_table
from ._c_text import literal, literals, string, wrapped
from ._program import (
    ActivationStep,
    DenseStep,
    LayerNormStep,
    MeanStep,
    Program,
    ResidualStep,
    ScaleStep,
    Step,
    expected_inputs,
    fold,
    in_dtype,
    lower,
    require_built_in,
    require_finite,
)

_TESTED_ROWS = 4
_TEST_TOLERANCE = 1e-4
_LARGEST = float(np.finfo(np.float32).max)


def c(
    model: Network | TableModel | Ensemble,
    path: StrPath | None = None,
    *,
    name: str | None = None,
    weights: str = "float32",
    buffers: str = "stack",
) -> str:
    """Return a network, alone or with its table, or an ensemble, as the text of one C file, and write it if a path is given.

    The file is C99 and C++. It allocates nothing, needs ``math.h`` only for activations that have exponentials, and all its
    symbols begin with the name, so that several models link into one program. It defines, for the name ``net``::

        void net_predict(const float x[NET_INPUTS], float y[NET_OUTPUTS]);   what Network.predict returns for one row
        int net_label(const float x[NET_INPUTS]);                            the class, from 0; -1 where an output is NaN
        const char net_classes[NET_CLASSES][...];                            the names of the classes

    `net_label` and `net_classes` are there for a network that predicts one of several classes: one trained with a loss on logits,
    or one that ends in softmax. Compiled with ``-DNET_PROBABILITIES``, the file also has ``net_probabilities(x, p)``, which gives
    NET_CLASSES numbers. With ``NET_DECLARATIONS`` defined, ``#include "net.c"`` declares all this and defines nothing.
    ``-DNET_TEST`` adds some inputs with their outputs and ``int net_test(void)``, which returns the number of outputs that differ.

    For a `TableModel`, x holds one number for each column that it uses, before any scaling: numbers and truth values as they are,
    dates as days since 1970 (UTC), NaN where they are missing, and for a word what ``float net_word(int column, const char *word)``
    gives. A predicted number is that of the target.

    For an `Ensemble`, ``net_predict`` gives what `Ensemble.predict` returns; where its outputs mean classes, the probabilities of
    `Ensemble.predict_proba`, to which `net_label` and ``net_probabilities`` belong.

    Parameters
    ----------
    model : Network, TableModel or Ensemble
        The model, as it predicts now.
    path : str or path, optional
        The file. It holds the old content or the whole new one at any moment.
    name : str, optional
        What all names begin with, an identifier of C; by default that of the file, or "model".
    weights : {"float32", "int8"}
        How matrices are stored. "int8" takes a quarter of the space: whole numbers in [-127, 127], with a scale for each output of
        a layer. Arithmetic stays in float32.
    buffers : {"stack", "static"}
        Where intermediate results lie. With "static", only one call may run at a time.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        For a custom layer, which the message names; no file is written.
    ValueError
        For a model with NaN or infinite parameters, numbers that float32 does not have, a name that is no identifier, or an
        option that is none of the above.
    OSError
        When writing fails.

    Examples
    --------
    >>> import backprop as bp
    >>> text = bp.export.c(bp.mlp([4, 8, 3], seed=0), name="tiny")
    >>> "void tiny_predict(const float x[4], float y[3])" in text
    True
    """
    check_choice("weights", weights, ("float32", "int8"))
    check_choice("buffers", buffers, ("stack", "static"))
    name = _checked_name(name, path)
    program = lower(model)
    require_built_in(program, "C")
    require_finite(program)
    text = _File(name, program, weights == "int8", buffers == "static").text()
    if path is not None:
        replace_file(path, text.encode())
    return text


_KEYWORDS = {
    *("auto", "bool", "break", "case", "char", "class", "const", "continue", "default", "delete", "do", "double", "else", "enum"),
    *(
        "extern",
        "false",
        "float",
        "for",
        "friend",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "namespace",
        "new",
        "operator",
        "private",
    ),
    *("public", "register", "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "template", "this"),
    *("throw", "true", "try", "typedef", "union", "unsigned", "using", "virtual", "void", "volatile", "while"),
}


def _checked_name(name: str | None, path: StrPath | None) -> str:
    if name is None:
        stem = "model" if path is None else re.sub(r"\W", "_", Path(path).stem, flags=re.ASCII)
        return stem if re.match(r"[A-Za-z]", stem) and stem not in _KEYWORDS else f"model_{stem.lstrip('_')}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in _KEYWORDS:
        raise ValueError(f"name must be an identifier of C that begins with a letter, got {name!r}")
    return name


# Of a float z, a float. Comparisons are written so that NaN comes through.
_FUNCTIONS = {
    "relu": "z < 0.0f ? 0.0f : z",
    "leaky_relu": "z < 0.0f ? alpha * z : z",
    "elu": "z < 0.0f ? alpha * expm1f(z) : z",
    "selu": "1.0507009873554805f * (z < 0.0f ? 1.6732632423543772f * expm1f(z) : z)",
    "gelu": "z < -1000.0f ? -0.0f : z * {sigmoid}(1.5957691216057308f * (z + 0.044715f * z * z * z))",
    "gelu_exact": "z < -1000.0f ? -0.0f : 0.5f * z * erfcf(z * -0.70710678f)",
    "silu": "z < -1000.0f ? -0.0f : z * {sigmoid}(z)",
    "mish": "z < -1000.0f ? -0.0f : z * tanhf({softplus}(z))",
    "sigmoid": "z < 0.0f ? expf(z) / (1.0f + expf(z)) : 1.0f / (1.0f + expf(-z))",
    "tanh": "tanhf(z)",
    "softplus": "(z < 0.0f ? 0.0f : z) + log1pf(expf(z < 0.0f ? z : -z))",
    "softsign": "z > 3e38f ? 1.0f : z < -3e38f ? -1.0f : z / (1.0f + (z < 0.0f ? -z : z))",
    "hardtanh": "z < -1.0f ? -1.0f : z > 1.0f ? 1.0f : z",
    "relu6": "z < 0.0f ? 0.0f : z > 6.0f ? 6.0f : z",
}
_WITHOUT_MATH = ("relu", "leaky_relu", "softsign", "hardtanh", "relu6")
_PLAIN = {*_WITHOUT_MATH, *(f"at_{name}" for name in _WITHOUT_MATH)}
_PLAIN |= {"copy", "add", "share", "scale", "unscale", "dense", "dense_int8"}
_PLAIN |= {"encode", "number", "clipped", "truth", "category_of", "calendar"}  # `encode` knows whether these need it
_NEEDS = {"gelu": "sigmoid", "silu": "sigmoid", "mish": "softplus"}


class _Call(NamedTuple):
    """A call of a helper: ``helper(target, *arguments)``, which leaves `width` numbers in `target`."""

    helper: str
    target: str
    arguments: tuple[object, ...]
    width: int


@dataclass
class _File:
    name: str
    program: Program
    small: bool  # matrices in int8
    static: bool  # buffers
    constants: list[str] = field(default_factory=list)
    helpers: dict[str, str] = field(default_factory=dict)
    calls: list[_Call] = field(default_factory=list)
    whole: dict[str, tuple[npt.NDArray[np.int8], Array]] = field(default_factory=dict)
    flash: int = 0
    math: bool = False  # whether the encoding of a table needs math.h
    word: str = ""  # the function that gives the numbers of words

    def text(self) -> str:
        folded = fold(self.program)
        stored = replace(folded, steps=tuple(map(self.rounded, folded.steps)))
        place, width = "x", stored.n_inputs
        held: tuple[str, ...] = ("x",)
        if stored.encoder is not None:
            place, held = "b0", ()
            self.encode(stored.encoder, place, width)
        place, width = self.block(stored.steps, place, width, held)
        meaning = stored.meaning
        if (meaning.mean, meaning.scale) != (0.0, 1.0):
            self.call("unscale", "y", width, place, repr(meaning.scale), repr(meaning.mean))
        elif place == "x" or (len(self.calls) == 1 and stored.encoder is not None):
            self.call("copy", "y", width, place)
        self.calls[-1] = self.calls[-1]._replace(target="y")
        upper = self.name.upper()
        parts = [
            self.header(),
            f"#ifndef {upper}_DECLARED\n#define {upper}_DECLARED\n\n{self.declarations()}\n\n#endif",
            f"#ifndef {upper}_DECLARATIONS",
            self.include(),
            self.class_names(),
            *self.constants,
            *self.helpers.values(),
            self.word,
            self.predict(),
            self.label(),
            self.probabilities(),
            self.test(stored),
            f"#endif /* {upper}_DECLARATIONS */",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def encode(self, encoder: TableEncoder, place: str, width: int) -> None:
        function, helpers, needs_math = _c_table.encode(encoder, self.name)
        self.helpers |= helpers
        self.helpers["encode"] = function
        self.calls.append(_Call("encode", place, ("x",), width))
        self.math |= needs_math
        self.word, flash = _c_table.words(encoder, self.name)
        self.flash += flash

    def include(self) -> str:
        if self.math or not _PLAIN.issuperset(self.helpers):
            return "#include <math.h>"
        if self.classes and self.program.meaning.link:
            return f"#ifdef {self.name.upper()}_PROBABILITIES\n#include <math.h>\n#endif"
        return ""

    def buffers(self) -> dict[str, int]:
        """The places of intermediate results, with the most numbers that lie there."""
        sizes: dict[str, int] = {}
        for call in self.calls:
            if call.target != "y":
                sizes[call.target] = max(sizes.get(call.target, 0), call.width)
        return dict(sorted(sizes.items()))

    @property
    def columns(self) -> int:
        """The number of numbers in x."""
        return self.program.n_inputs if self.program.encoder is None else len(self.program.encoder.features)

    @property
    def classes(self) -> int:
        return 0 if self.program.meaning.kind == "each" else self.program.n_classes

    def declarations(self) -> str:
        name, upper = self.name, self.name.upper()
        numbers = {"INPUTS": self.columns, "OUTPUTS": self.program.n_outputs}
        if self.classes:
            numbers["CLASSES"] = self.classes
        lines = [f"#define {upper}_{key} {value}" for key, value in numbers.items()]
        lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif"]
        lines += [f"void {name}_predict(const float x[{self.columns}], float y[{self.program.n_outputs}]);"]
        if self.word:
            lines += [f"float {name}_word(int column, const char *word);"]
        if self.classes:
            lines += [f"int {name}_label(const float x[{self.columns}]);"]
            lines += [f"extern const char {name}_classes[{self.classes}][{self.longest()}];"]
            lines += [f"#ifdef {upper}_PROBABILITIES"]
            lines += [f"void {name}_probabilities(const float x[{self.columns}], float p[{self.classes}]);", "#endif"]
        lines += [f"#ifdef {upper}_TEST", f"int {name}_test(void);", "#endif"]
        lines += ["#ifdef __cplusplus", "}", "#endif"]
        return "\n".join(lines)

    def header(self) -> str:
        upper, name = self.name.upper(), self.name
        ram = 4 * sum(self.buffers().values())
        what = f"{self.columns} inputs, {self.program.n_outputs} outputs"
        place = "in static memory" if self.static else "on the stack"
        lines = [
            f"{name}: {self.program.kind} of {what}, as C99 and C++.",
            "",
            f"Constants  {self.flash} bytes",
            f"Buffers    {ram} bytes {place}" + (": one call at a time" if self.static else ""),
            f"Weights    {'int8' if self.small else 'float32'}",
            f"Made by    backprop {__version__}",
            f"Model      sha256:{self.program.checksum()}",
            "",
            "x and y must not overlap." + (" NaN in x gives NaN in y." if self.program.encoder is None else ""),
            *([] if self.program.encoder is None else _c_table.columns(self.program.encoder)),
            f"With {upper}_DECLARATIONS defined, #include this file for its declarations only.",
            f"-D{upper}_TEST adds {name}_test(), which returns the number of outputs that differ from the network's.",
        ]
        return "/*\n" + "\n".join(f" * {line}".rstrip() for line in lines) + "\n */"

    def class_texts(self) -> list[str]:
        return list(map(str, self.program.meaning.classes or range(self.classes)))

    def longest(self) -> int:
        """The number of bytes for the name of a class."""
        return max(len(text.encode()) for text in self.class_texts()) + 1

    def class_names(self) -> str:
        if not self.classes:
            return ""
        self.flash += self.classes * self.longest()
        items = wrapped(map(string, self.class_texts()))
        return f"const char {self.name}_classes[{self.classes}][{self.longest()}] = {{\n{items}\n}};"

    # Numbers

    def rounded(self, step: Step) -> Step:
        """The step with its numbers as the file holds them."""
        if isinstance(step, ResidualStep):
            return step._replace(block=tuple(map(self.rounded, step.block)))
        if isinstance(step, MeanStep):
            return step._replace(members=tuple(tuple(map(self.rounded, member)) for member in step.members))
        if isinstance(step, DenseStep):
            bias = None if step.bias is None else in_dtype(step.bias, np.float32, f"{step.name}.bias")
            weight = in_dtype(step.weight, np.float32, f"{step.name}.weight")
            if self.small:
                self.whole[step.name] = whole, scale = quantised(step.weight)
                return DenseStep(step.name, whole.astype(np.float64) * scale, bias)
            return DenseStep(step.name, weight, bias)
        if isinstance(step, ScaleStep):
            centre = in_dtype(step.centre, np.float32, f"{step.name}.centre")
            step = step._replace(centre=centre, shift=step.shift + (centre - step.centre) * step.scale)
        arrays = {key: value for key, value in step._asdict().items() if isinstance(value, np.ndarray)}
        fields = {key: in_dtype(value, np.float32, f"{step.name}.{key}") for key, value in arrays.items()}
        return step._replace(**fields)  # type: ignore[arg-type]

    def array(self, name: str, values: Array) -> str:
        """Define a constant array of float32 and return its name."""
        name = f"{self.name}_{name.replace('.', '_')}"
        items = wrapped(literals(values))
        self.constants.append(f"static const float {name}[{values.size}] = {{\n{items}\n}};")
        self.flash += 4 * values.size
        return name

    def whole_array(self, name: str, values: npt.NDArray[Any]) -> str:
        name = f"{self.name}_{name.replace('.', '_')}"
        items = wrapped(str(value) for value in values.ravel().tolist())
        self.constants.append(f"static const signed char {name}[{values.size}] = {{\n{items}\n}};")
        self.flash += values.size
        return name

    # Code

    def block(self, steps: Iterable[Step], place: str, width: int, held: tuple[str, ...]) -> tuple[str, int]:
        """Write the calls for steps whose input lies in `place`; return where the result lies, and how many numbers it has.

        What lies in `held` places stays.
        """
        for step in steps:
            target = _free(held) if place in held else place
            if isinstance(step, DenseStep):
                target, width = _free((*held, place)), step.weight.shape[1]
                self.dense(step, place, target)
            elif isinstance(step, ScaleStep):
                arrays = {"centre": step.centre, "scale": step.scale, "shift": step.shift}
                self.call("scale", target, width, place, *(self.array(f"{step.name}.{key}", each) for key, each in arrays.items()))
            elif isinstance(step, LayerNormStep):
                weight, bias = self.array(f"{step.name}.weight", step.weight), self.array(f"{step.name}.bias", step.bias)
                self.call("layer_norm", target, width, place, weight, bias, literal(step.eps))
            elif isinstance(step, ActivationStep):
                self.activation(step.function, target, width, place)
            elif isinstance(step, ResidualStep):
                made, _ = self.block(step.block, place, width, (*held, place))
                target = target if made == place else made
                self.call("add", target, width, place, made)
            elif isinstance(step, MeanStep):
                target, width = self.mean(step, place, width, held)
            place = target
        return place, width

    def mean(self, step: MeanStep, place: str, width: int, held: tuple[str, ...]) -> tuple[str, int]:
        """Write the calls for the mean of members whose input lies in `place`, as `block` does."""
        total, made_width = _free((*held, place)), width
        kept = (*held, place, total)
        for index, member in enumerate(step.members):
            made, made_width = self.block(member, place, width, kept)
            if step.function is not None:
                target = _free(kept) if made in kept else made
                self.activation(step.function, target, made_width, made)
                made = target
            self.call(*(("copy", total, made_width, made) if index == 0 else ("add", total, made_width, total, made)))
        self.call("share", total, made_width, total, literal(1 / len(step.members)))
        return total, made_width

    def dense(self, step: DenseStep, source: str, target: str) -> None:
        rows, columns = step.weight.shape
        bias = "0" if step.bias is None else self.array(f"{step.name}.bias", step.bias)
        if self.small:
            whole, scale = self.whole[step.name]
            weight, factor = self.whole_array(f"{step.name}.weight", whole), self.array(f"{step.name}.scale", scale)
            self.call("dense_int8", target, columns, source, weight, factor, bias, rows)
        else:
            self.call("dense", target, columns, source, self.array(f"{step.name}.weight", step.weight), bias, rows)

    def activation(self, function: ActivationFunction, target: str, width: int, source: str) -> None:
        name = function.name
        if name == "softmax":
            self.call("softmax", target, width, source)
            return
        if function.takes_alpha and function.alpha == 0:
            name = "relu"  # 0 times infinity is 0 here
        parameter, given = (", float alpha", ", alpha") if name in ("leaky_relu", "elu") else ("", "")
        for needed in (_NEEDS.get(name), name):
            if needed is not None:
                body = _FUNCTIONS[needed].format(sigmoid=f"{self.name}_at_sigmoid", softplus=f"{self.name}_at_softplus")
                head = f"static float {self.name}_at_{needed}(float z{parameter if needed == name else ''})"
                self.helpers[f"at_{needed}"] = f"{head} {{\n    return {body};\n}}"
        self.helpers[name] = (
            f"static void {self.name}_{name}(float *y, const float *x{parameter}, int n) {{\n"
            f"    for (int i = 0; i < n; i++) y[i] = {self.name}_at_{name}(x[i]{given});\n}}"
        )
        self.call(name, target, width, source, *([literal(function.alpha)] if parameter else []))

    def call(self, helper: str, target: str, width: int, *arguments: object) -> None:
        if helper not in self.helpers:
            self.helpers[helper] = _HELPERS[helper].replace("NAME", self.name).strip()
        self.calls.append(_Call(helper, target, (*arguments, width), width))

    def predict(self) -> str:
        kind = "static float" if self.static else "float"
        lines = [f"    {kind} {place}[{size}];" for place, size in self.buffers().items()]
        for call in self.calls:
            lines.append(f"    {self.name}_{call.helper}({', '.join(map(str, (call.target, *call.arguments)))});")
        head = f"void {self.name}_predict(const float x[{self.columns}], float y[{self.program.n_outputs}])"
        return f"{head} {{\n" + "\n".join(lines) + "\n}"

    def label(self) -> str:
        if not self.classes:
            return ""
        k = self.program.n_outputs
        lines = [f"int {self.name}_label(const float x[{self.columns}]) {{", f"    float y[{k}];"]
        if self.program.meaning.kind == "yes_or_no":
            lines += [f"    {self.name}_predict(x, y);"]
            lines += ["    if (y[0] != y[0]) return -1;", f"    return y[0] > {literal(self.program.meaning.threshold)};"]
        else:
            lines += ["    int best = 0;", f"    {self.name}_predict(x, y);"]
            lines += [f"    for (int i = 0; i < {k}; i++) {{", "        if (y[i] != y[i]) return -1;"]
            lines += ["        if (y[i] > y[best]) best = i;", "    }", "    return best;"]
        return "\n".join([*lines, "}"])

    def probabilities(self) -> str:
        if not self.classes:
            return ""
        name, k, meaning = self.name, self.program.n_outputs, self.program.meaning
        lines = [f"#ifdef {name.upper()}_PROBABILITIES"]
        if meaning.kind == "one_of":
            lines += [f"void {name}_probabilities(const float x[{self.columns}], float p[{k}]) {{"]
            lines += [f"    {name}_predict(x, p);"]
            if meaning.link:
                lines += ["    float top = p[0], sum = 0.0f;"]
                lines += [f"    for (int i = 1; i < {k}; i++) if (p[i] > top) top = p[i];"]
                lines += [f"    for (int i = 0; i < {k}; i++) sum += p[i] = expf(p[i] - top);"]
                lines += [f"    for (int i = 0; i < {k}; i++) p[i] /= sum;"]
        else:
            lines += [f"void {name}_probabilities(const float x[{self.columns}], float p[2]) {{"]
            lines += ["    float y[1];", f"    {name}_predict(x, y);"]
            if meaning.link:
                lines += ["    p[0] = 1.0f / (1.0f + expf(y[0]));", "    p[1] = 1.0f / (1.0f + expf(-y[0]));"]
            else:
                lines += ["    p[0] = 1.0f - y[0];", "    p[1] = y[0];"]
        return "\n".join([*lines, "}", "#endif"])

    def test(self, stored: Program) -> str:
        """Inputs, what the program gives for them in float64, and a function that compares."""
        name, n, k, meaning = self.name, self.columns, self.program.n_outputs, stored.meaning
        if stored.encoder is None:
            centre, scale = expected_inputs(self.program)
            drawn = centre + scale * np.random.default_rng(0).normal(size=(_TESTED_ROWS, n))
            matrix = x = np.clip(drawn, -_LARGEST, _LARGEST).astype(np.float32)
        else:
            x, matrix = _c_table.examples(stored.encoder, _TESTED_ROWS)
        raw = stored.run(matrix.astype(np.float32))
        y = raw * meaning.scale + meaning.mean
        y = np.nan_to_num(y)
        size = (float(np.abs(raw).max(initial=0.0)) or 1.0) * meaning.scale
        allowed = literal(min(size * _TEST_TOLERANCE + abs(meaning.mean) * 1e-6, _LARGEST))
        with np.errstate(over="ignore"):
            y = y.astype(np.float32)
        arrays = []
        for label, values in (("x", x), ("y", y)):
            items = wrapped(literals(values))
            arrays.append(f"static const float {name}_test_{label}[{values.size}] = {{\n{items}\n}};")
        body = [
            f"int {name}_test(void) {{",
            f"    float y[{k}];",
            "    int wrong = 0;",
            f"    for (int row = 0; row < {_TESTED_ROWS}; row++) {{",
            f"        {name}_predict({name}_test_x + row * {n}, y);",
            f"        for (int i = 0; i < {k}; i++) {{",
            f"            float given = {name}_test_y[row * {k} + i], error = y[i] - given;",
            f"            if (y[i] != given && !(error <= {allowed} && error >= -{allowed})) wrong++;",
            "        }",
            "    }",
            "    return wrong;",
            "}",
        ]
        return "\n\n".join([f"#ifdef {name.upper()}_TEST", *arrays, "\n".join(body), "#endif"])


def quantised(weight: Array) -> tuple[npt.NDArray[np.int8], Array]:
    """Return whole numbers in [-127, 127] and the scale of each column, float32: ``weight = whole * scale``, rounded.

    Examples
    --------
    >>> whole, scale = quantised(np.array([[1.0, 0.0], [-0.5, 0.0]]))
    >>> whole.tolist(), (scale * 127).tolist()
    ([[127, 0], [-64, 0]], [1.0, 127.0])
    """
    largest = np.abs(weight).max(axis=0)
    scale = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    scale[scale == 0] = np.finfo(np.float32).smallest_subnormal
    return np.clip(np.rint(weight / scale.astype(np.float64)), -127, 127).astype(np.int8), scale


def _free(taken: tuple[str, ...]) -> str:
    """A buffer that is not taken."""
    return next(name for name in (f"b{number}" for number in range(len(taken) + 1)) if name not in taken)


_HELPERS = {
    "copy": """
static void NAME_copy(float *y, const float *x, int n) {
    for (int i = 0; i < n; i++) y[i] = x[i];
}""",
    "add": """
static void NAME_add(float *y, const float *x, const float *z, int n) {
    for (int i = 0; i < n; i++) y[i] = x[i] + z[i];
}""",
    "share": """
static void NAME_share(float *y, const float *x, float share, int n) {
    for (int i = 0; i < n; i++) y[i] = x[i] * share;
}""",
    "unscale": """
static void NAME_unscale(float *y, const float *x, double scale, double mean, int n) {
    for (int i = 0; i < n; i++) y[i] = (float)((double)x[i] * scale + mean);
}""",
    "scale": """
static void NAME_scale(float *y, const float *x, const float *centre, const float *scale, const float *shift, int n) {
    for (int i = 0; i < n; i++) y[i] = (x[i] - centre[i]) * scale[i] + shift[i];
}""",
    "dense": """
static void NAME_dense(float *y, const float *x, const float *weight, const float *bias, int rows, int columns) {
    for (int j = 0; j < columns; j++) y[j] = bias ? bias[j] : 0.0f;
    for (int i = 0; i < rows; i++, weight += columns) {
        const float factor = x[i];
        for (int j = 0; j < columns; j++) y[j] += factor * weight[j];
    }
}""",
    "dense_int8": """
static void NAME_dense_int8(float *y, const float *x, const signed char *weight, const float *scale, const float *bias,
                            int rows, int columns) {
    for (int j = 0; j < columns; j++) y[j] = 0.0f;
    for (int i = 0; i < rows; i++, weight += columns) {
        const float factor = x[i];
        for (int j = 0; j < columns; j++) y[j] += factor * (float)weight[j];
    }
    for (int j = 0; j < columns; j++) y[j] = y[j] * scale[j] + (bias ? bias[j] : 0.0f);
}""",
    "layer_norm": """
static void NAME_layer_norm(float *y, const float *x, const float *weight, const float *bias, float eps, int n) {
    float mean = 0.0f, rest = 0.0f, variance = 0.0f, factor; /* rest: the rounding error of a mean that exceeds the spread */
    for (int i = 0; i < n; i++) mean += x[i];
    mean /= (float)n;
    for (int i = 0; i < n; i++) rest += y[i] = x[i] - mean;
    rest /= (float)n;
    for (int i = 0; i < n; i++) {
        y[i] -= rest;
        variance += y[i] * y[i];
    }
    factor = 1.0f / sqrtf(variance / (float)n + eps);
    for (int i = 0; i < n; i++) y[i] = weight[i] * (y[i] * factor) + bias[i];
}""",
    "softmax": """
static void NAME_softmax(float *y, const float *x, int n) {
    float top = x[0], sum = 0.0f;
    for (int i = 1; i < n; i++) if (x[i] > top) top = x[i];
    for (int i = 0; i < n; i++) {
        y[i] = expf(x[i] - top);
        sum += y[i];
    }
    for (int i = 0; i < n; i++) y[i] /= sum;
}""",
}
