"""The story of one training step: which numbers appear when, and from which others.

`walk` turns a `Trace` into `Step` objects. They hold no numbers, only their addresses, so the same steps describe every row and
every moment of a training run; `text` prints them and `page` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from .formulas import ACTIVATIONS, BENDS, LOSSES, SLOPES, LossText, Ref, Tokens, fill, join, total
from .tape import LayerTrace
from .trace import Trace

PHASES = ("forward", "error", "backward", "update")


@dataclass(frozen=True)
class Column:
    """The units that stand side by side in the drawing: the inputs, or what one layer gives."""

    label: str
    detail: str
    units: tuple[int, ...]
    """The units that are shown; all of them in a small network."""
    size: int
    value: str
    """The name of the array that holds their values."""
    connected: str | None = None
    """The name of the weights that lead here; None where units are connected one to one."""
    skip: int | None = None
    """The column a residual connection comes from."""


@dataclass(frozen=True)
class Focus:
    """One unit's part in a step: its arithmetic, and the connections that take part."""

    column: int
    unit: int
    lines: tuple[Tokens, ...]
    edges: tuple[tuple[int, int, int], ...] = ()
    """(column the connection leads to, unit it comes from, unit it leads to)."""


@dataclass(frozen=True)
class Step:
    """One stage: what happens now, in a sentence, a formula, and numbers."""

    phase: str
    layer: str | None
    title: str
    text: str
    formula: str
    foci: tuple[Focus, ...]
    units: tuple[tuple[str | None, str | None], ...]
    """For each column the names of the arrays known by now: value and gradient."""
    toward: str
    """Which way numbers flow along the connections in focus: ``"forward"``, ``"backward"``, or ``""`` where they stay."""
    edges: tuple[str | None, ...]
    """For each column the name of the array its connections show now: weights, their gradients, or the new weights."""


def columns(trace: Trace, limit: int | None = None, row: int = 0) -> tuple[Column, ...]:
    """The columns of the drawing; `limit` is the most units that a column shows, those of the largest absolute value."""
    result = [Column("input", "", _shown(trace["x"][row], limit), trace["x"].shape[1], "x")]
    positions = {}
    for number, layer in enumerate(trace.layers, 1):
        positions[layer.name] = number
        skip = None
        if layer.kind == "Residual":
            first = next(position for name, position in positions.items() if name.startswith(layer.name + ".block"))
            skip = first - 1
        last = number == len(trace.layers)
        if layer.kind == "Dense":
            label = "output" if last else f"layer {number}"
            detail = layer.activation.name if layer.activation is not None and _bends(layer) else ""
        else:
            label, detail = layer.kind, layer.activation.name if layer.activation is not None else ""
        connected = f"{layer.name}.weight" if layer.kind == "Dense" else None
        one_to_one = connected is None and layer.n_inputs == layer.n_outputs
        output = layer.values[layer.output][row]
        units = result[-1].units if one_to_one else _shown(output, limit)
        result.append(Column(label, detail, units, layer.n_outputs, f"{layer.name}.{layer.output}", connected, skip))
    return tuple(result)


def walk(trace: Trace, row: int = 0, shown: Sequence[Column] | None = None, max_terms: int | None = None) -> list[Step]:
    """The steps of one row, in order: forward, error, backward, update.

    Parameters
    ----------
    trace : Trace
        What happened.
    row : int
        The row to follow.
    shown : sequence of Column, optional
        The columns as `columns` gave them; all units when None.
    max_terms : int, optional
        The most terms of a sum that are written out.
    """
    return _Walk(trace, row, tuple(shown or columns(trace)), max_terms).steps()


def _shown(values: Sequence[float], limit: int | None) -> tuple[int, ...]:
    if limit is None or len(values) <= limit:
        return tuple(range(len(values)))
    largest = sorted(range(len(values)), key=lambda unit: (-abs(float(values[unit])), unit))[:limit]
    return tuple(sorted(largest))


class _Walk:
    """Collects the steps while it keeps track of what is known by now."""

    def __init__(self, trace: Trace, row: int, shown: tuple[Column, ...], max_terms: int | None) -> None:
        self.trace = trace
        self.row = row
        self.columns = shown
        self.max_terms = max_terms
        self.known: list[str | None] = [None] * len(shown)
        self.gradients: list[str | None] = [None] * len(shown)
        self.edges: list[str | None] = [column.connected for column in shown]
        self.result: list[Step] = []

    def steps(self) -> list[Step]:
        self.known[0] = "x"
        self._add("forward", None, "The example goes in", "These numbers are all the network sees. The target is kept for later.", "x", [
            Focus(0, unit, ((f"x{unit + 1} = ", self._at("x", unit)),)) for unit in self.columns[0].units
        ])  # fmt: skip
        for column, layer in enumerate(self.trace.layers, 1):
            self._forward(column, layer)
        self._error()
        for column in range(len(self.trace.layers), 0, -1):
            self._backward(column, self.trace.layers[column - 1])
        if self.trace.optimizer_name is not None:
            for column, layer in enumerate(self.trace.layers, 1):
                self._update(column, layer)
            self._after()
        return self.result

    def _at(self, name: str, unit: int) -> Ref:
        """The address of one unit's number in the row that is followed."""
        return Ref(name, (self.row, unit))

    def _add(
        self, phase: str, layer: LayerTrace | None, title: str, text: str, formula: str, foci: Sequence[Focus], toward: str = ""
    ) -> None:
        units = tuple(zip(self.known, self.gradients, strict=True))
        name = None if layer is None else layer.name
        self.result.append(Step(phase, name, title, text, formula, tuple(foci), units, toward, tuple(self.edges)))

    def _terms(self, units: Sequence[int], size: int) -> tuple[Sequence[int], int]:
        """The units whose terms are written out, and how many are not."""
        written = units if self.max_terms is None or len(units) <= self.max_terms else units[: self.max_terms]
        return written, size - len(written)

    # --- forward ---

    def _forward(self, column: int, layer: LayerTrace) -> None:
        here, before = self.columns[column], self.columns[column - 1]
        name, label = layer.name, _title(here)
        if layer.kind == "Dense":
            bent = _bends(layer)
            self.known[column] = f"{name}.z"
            self._add(
                "forward",
                layer,
                f"{label}: weighted sums",
                "Each unit multiplies every number that reaches it by the weight of that connection and adds them up"
                + (", then adds its bias." if "bias" in layer.values else "."),
                layer.formulas["z"],
                [self._sum_focus(column, layer, unit, here, before) for unit in here.units],
                "forward",
            )
            if not bent:
                self.known[column] = f"{name}.a"
                return
        if layer.activation is not None:
            self.known[column] = f"{name}.a"
            f = layer.activation.name
            self._add(
                "forward",
                layer,
                f"{label}: {f}",
                BENDS.get(f, "Each sum goes through the activation function, a bend that lets the network learn more than straight lines."),
                layer.formulas["a"],
                [
                    Focus(column, unit, (self._activation_line(layer, unit),), self._one_to_one(column, layer, unit))
                    for unit in here.units
                ],
            )
            return
        self.known[column] = f"{name}.y"
        self._add(
            "forward",
            layer,
            label,
            _WHAT.get(layer.kind, f"A layer of your own, {layer.description}: what goes in and what comes out."),
            layer.formulas["y"],
            [
                Focus(column, unit, (self._other_line(column, layer, unit),), self._one_to_one(column, layer, unit))
                for unit in here.units
            ],
            "forward",
        )

    def _sum_focus(self, column: int, layer: LayerTrace, unit: int, here: Column, before: Column) -> Focus:
        name = layer.name
        written, left_out = self._terms(before.units, before.size)
        terms = [
            fill("{w}*{x}", w=Ref(f"{name}.weight", (i, unit)), x=self._at(before.value, i)) for i in written
        ]
        line = total(terms, left_out)
        if "bias" in layer.values:
            line = join([line, (Ref(f"{name}.bias", (unit,)),)], " + ")
        line = (f"z{unit + 1} = ", *line, " = ", self._at(f"{name}.z", unit))
        return Focus(column, unit, (line,), tuple((column, i, unit) for i in before.units))

    def _one_to_one(self, column: int, layer: LayerTrace, unit: int) -> tuple[tuple[int, int, int], ...]:
        if layer.kind == "Dense" or layer.n_inputs != layer.n_outputs or layer.activation is not None and layer.activation.name == "softmax":
            return ()
        return ((column, unit, unit),)

    def _activation_line(self, layer: LayerTrace, unit: int) -> Tokens:
        assert layer.activation is not None
        z, a = self._at(f"{layer.name}.z", unit), self._at(f"{layer.name}.a", unit)
        template = ACTIVATIONS.get(layer.activation.name)
        call = fill(f"a{unit + 1} = {layer.activation.name}({{z}})", z=z)
        if template is None or layer.activation.name == "tanh":
            return (*call, " = ", a)
        return (*call, " = ", *fill(template, z=z), " = ", a)

    def _other_line(self, column: int, layer: LayerTrace, unit: int) -> Tokens:
        at = partial(self._at, unit=unit)
        name, y = layer.name, self._at(f"{layer.name}.y", unit)
        if layer.kind == "Residual":
            skip = self.columns[self.columns[column].skip or 0]
            return (f"y{unit + 1} = ", at(skip.value), " + ", at(self.columns[column - 1].value), " = ", y)
        if "x_hat" in layer.values:
            refs = {"w": Ref(f"{name}.weight", (unit,)), "h": at(f"{name}.x_hat"), "b": Ref(f"{name}.bias", (unit,))}
            return (f"y{unit + 1} = ", *fill("{w}*{h} + {b}", **refs), " = ", y)
        if "mask" in layer.values:
            return (f"y{unit + 1} = ", at(f"{name}.x"), "*", at(f"{name}.mask"), " = ", y)
        return (f"y{unit + 1} = ", y)

    # --- error ---

    def _error(self) -> None:
        trace, last = self.trace, len(self.columns) - 1
        text = LOSSES.get(trace.loss_name)
        units = self.columns[last].units
        formula = trace.formulas["loss"]
        lines: list[Tokens] = []
        if "probabilities" in trace:
            link = "softmax" if trace["probabilities"].shape[1] > 1 and trace.loss_name != "binary_cross_entropy" else "sigmoid"
            lines += [
                (f"p{u + 1} = {link}(", self._at("outputs", u), ") = ", self._at("probabilities", u))
                if link == "sigmoid"
                else (f"p{u + 1} = softmax(outputs)[{u + 1}] = ", self._at("probabilities", u))
                for u in units
            ]
        lines += self._loss_lines(text, units)
        self._add(
            "error",
            None,
            "How wrong is it?",
            f"The loss, {trace.loss_name}, is one number for how far the output is from the target. Learning means making it smaller.",
            formula,
            [Focus(last, unit, tuple(lines)) for unit in units[:1]],
        )
        self.gradients[last] = "grad_outputs"
        self._add(
            "error",
            None,
            "Which way would be better?",
            "The gradient says how the loss changes when an output changes: where it is positive, the output should go down; where it is "
            "negative, up.",
            trace.formulas["grad_outputs"],
            [Focus(last, unit, (self._output_gradient_line(text, unit),)) for unit in units],
        )

    def _elements(self, unit: int) -> dict[str, Ref]:
        targets = "target_probabilities" if "target_probabilities" in self.trace else "targets"
        refs = {"o": self._at("outputs", unit), "t": self._at(targets, unit)}
        if "probabilities" in self.trace:
            refs["p"] = self._at("probabilities", unit)
        return refs

    def _loss_lines(self, text: LossText | None, units: Sequence[int]) -> list[Tokens]:
        """This row's loss, and with several rows their mean."""
        trace, rows = self.trace, len(self.trace.outputs)
        result = Ref("loss") if rows == 1 or "row_losses" not in trace else Ref("row_losses", (self.row,))
        size = self.columns[-1].size
        if text is None or text.term is None or not trace.plain_loss:
            lines: list[Tokens] = [("L = ", result)]
        else:
            # A class whose target is 0 adds nothing to a cross entropy, and log 0 is not to be written there.
            used = [u for u in units if not (text.skips_zero and float(trace[self._elements(u)["t"].name][self.row, u]) == 0.0)]
            written, _ = self._terms(used, len(used))
            left_out = 0 if text.skips_zero and len(used) == len(written) else size - len(written)
            terms = total([fill(text.term, **self._elements(u)) for u in written], left_out)
            if text.mean and size > 1:
                terms = ("(", *terms, f")/{size}")
            lines = [("L = ", *terms, " = ", result)]
        if rows > 1:
            lines.append((f"mean over {rows} rows: L = ", Ref("loss")))
        return lines

    def _output_gradient_line(self, text: LossText | None, unit: int) -> Tokens:
        rows, size = len(self.trace.outputs), self.columns[-1].size
        result = self._at("grad_outputs", unit)
        left = f"dL/do{unit + 1} = "
        if text is None or text.gradient is None or not self.trace.plain_loss:
            return (left, result)
        line = fill(text.gradient, **self._elements(unit))
        divisor = rows * (size if text.mean else 1)
        if divisor > 1:
            line = ("(", *line, f")/{divisor}")
        return (left, *line, " = ", result)

    # --- backward ---

    def _backward(self, column: int, layer: LayerTrace) -> None:
        here, before = self.columns[column], self.columns[column - 1]
        name, label = layer.name, _title(here)
        first = column == 1
        if layer.activation is not None and (layer.kind != "Dense" or _bends(layer)):
            self.gradients[column] = f"{name}.delta"
            self._add(
                "backward",
                layer,
                f"{label}: back through {layer.activation.name}",
                "What reaches a unit is multiplied by the slope of its activation, at the sum it had. Where the curve is flat, the slope is "
                "near 0 and little gets through.",
                layer.formulas["delta"],
                [Focus(column, u, self._delta_lines(layer, u), self._one_to_one(column, layer, u)) for u in here.units],
            )
        elif layer.kind == "Dense":
            self.gradients[column] = f"{name}.delta"
        if layer.kind == "Dense" and layer.trainable:
            self.edges[column] = f"{name}.grad_weight"
            self._add(
                "backward",
                layer,
                f"{label}: blame each weight",
                "A weight's gradient is the number that came in through it times the delta of the unit it leads to"
                + (". The bias gets delta itself." if "bias" in layer.values else "."),
                layer.formulas["grad_weight"],
                [
                    Focus(column, u, self._gradient_lines(layer, u, before), tuple((column, i, u) for i in before.units))
                    for u in here.units
                ],
            )
            self.edges[column] = here.connected
        if layer.kind == "Residual":
            self.gradients[column - 1] = f"{name}.grad_y"
            self._add(
                "backward",
                layer,
                "Residual: the error goes both ways",
                "A sum hands its gradient on undiminished: to the block, and around it.",
                layer.formulas["grad_x"],
                [Focus(column - 1, u, (("dL/dblock", str(u + 1), " = ", self._at(f"{name}.grad_y", u)),), ((column, u, u),)) for u in here.units],
            )
            return
        if first and layer.kind == "Dense":
            return
        self.gradients[column - 1] = f"{name}.grad_x"
        self._add(
            "backward",
            layer,
            f"{label}: send the error back" if layer.kind == "Dense" else f"Back through {label}",
            "Each unit of the layer before collects the deltas of the units it fed, each times the weight between them."
            if layer.kind == "Dense"
            else "What arrives is multiplied by how the output depends on the input, as the formula says.",
            layer.formulas["grad_x"],
            [Focus(column - 1, i, (self._back_line(column, layer, i),), self._back_edges(column, layer, i)) for i in before.units],
            "backward",
        )
        for later, residual in zip(self.columns[1:], self.trace.layers, strict=True):
            if later.skip == column - 1 and name == f"{residual.name}.block.0":
                self._rejoin(column, layer, residual)

    def _rejoin(self, column: int, layer: LayerTrace, residual: LayerTrace) -> None:
        """Where a block begins, what came back through it meets what went around it."""
        before = self.columns[column - 1]
        self.gradients[column - 1] = f"{residual.name}.grad_x"
        lines = {
            u: (
                f"dL/da{u + 1} = ",
                self._at(f"{residual.name}.grad_y", u),
                " + ",
                self._at(f"{layer.name}.grad_x", u),
                " = ",
                self._at(f"{residual.name}.grad_x", u),
            )
            for u in before.units
        }
        self._add(
            "backward",
            residual,
            "Residual: both ways meet",
            "What went around the block is added to what came back through it.",
            residual.formulas["grad_x"],
            [Focus(column - 1, u, (lines[u],)) for u in before.units],
        )

    def _delta_lines(self, layer: LayerTrace, unit: int) -> tuple[Tokens, ...]:
        assert layer.activation is not None
        f, name = layer.activation.name, layer.name
        grad_a, delta = self._at(f"{name}.grad_a", unit), self._at(f"{name}.delta", unit)
        if "slope" not in layer.values:
            return ((f"delta{unit + 1} = ", delta),)
        slope, z, a = (self._at(f"{name}.{role}", unit) for role in ("slope", "z", "a"))
        left = fill(f"{f}'({{z}}) = ", z=z)
        if f in SLOPES:
            left = (*left, *fill(SLOPES[f], a=a), " = ")
        return (*left, slope), (f"delta{unit + 1} = ", grad_a, "*", slope, " = ", delta)

    def _gradient_lines(self, layer: LayerTrace, unit: int, before: Column) -> tuple[Tokens, ...]:
        name, rows = layer.name, range(len(self.trace.outputs))
        written, left_out = self._terms(before.units, before.size)
        lines: list[Tokens] = []
        for i in written:
            products = [
                fill("{x}*{d}", x=Ref(f"{name}.x", (row, i)), d=Ref(f"{name}.delta", (row, unit))) for row in rows
            ]
            lines.append((f"dL/dw[{i + 1},{unit + 1}] = ", *total(products), " = ", Ref(f"{name}.grad_weight", (i, unit))))
        if left_out:
            lines.append((f"({left_out} more weights)",))
        if "bias" in layer.values:
            deltas: list[Tokens] = [(Ref(f"{name}.delta", (row, unit)),) for row in rows]
            line = (f"dL/db{unit + 1} = ", *total(deltas))
            lines.append((*line, " = ", Ref(f"{name}.grad_bias", (unit,))) if len(deltas) > 1 else line)
        return tuple(lines)

    def _back_line(self, column: int, layer: LayerTrace, unit: int) -> Tokens:
        name = layer.name
        result = self._at(f"{name}.grad_x", unit)
        left = f"dL/d{'x' if column == 1 else 'a'}{unit + 1} = "
        if layer.kind == "Dense":
            here = self.columns[column]
            written, left_out = self._terms(here.units, here.size)
            terms = [
                fill("{d}*{w}", d=self._at(f"{name}.delta", j), w=Ref(f"{name}.weight", (unit, j))) for j in written
            ]
            return (left, *total(terms, left_out), " = ", result)
        if "mask" in layer.values:
            return (left, self._at(f"{name}.grad_y", unit), "*", self._at(f"{name}.mask", unit), " = ", result)
        return (left, result)

    def _back_edges(self, column: int, layer: LayerTrace, unit: int) -> tuple[tuple[int, int, int], ...]:
        if layer.kind == "Dense":
            return tuple((column, unit, j) for j in self.columns[column].units)
        return self._one_to_one(column, layer, unit)

    # --- update ---

    def _update(self, column: int, layer: LayerTrace) -> None:
        if not layer.parameters or not layer.trainable:
            return
        here, before = self.columns[column], self.columns[column - 1]
        self.edges[column] = f"{layer.name}.new_weight" if here.connected else None
        foci = []
        for unit in here.units:
            lines: list[Tokens] = []
            written, left_out = self._terms(before.units, before.size)
            if here.connected:
                lines += [self._update_line(layer, "weight", f"w[{i + 1},{unit + 1}]", (i, unit)) for i in written]
                if left_out:
                    lines.append((f"({left_out} more weights)",))
            elif layer.values.get("weight") is not None and layer.values["weight"].ndim == 1:
                lines.append(self._update_line(layer, "weight", f"w{unit + 1}", (unit,)))
            if "bias" in layer.parameters:
                lines.append(self._update_line(layer, "bias", f"b{unit + 1}", (unit,)))
            edges = tuple((column, i, unit) for i in before.units) if here.connected else ()
            foci.append(Focus(column, unit, tuple(lines), edges))
        self._add(
            "update",
            layer,
            f"{_title(here)}: the weights take a step",
            "Every weight moves a little against its gradient: down where the gradient is positive, up where it is negative.",
            layer.formulas.get("new_weight", self.trace.formulas.get("update", "")),
            foci,
        )

    def _update_line(self, layer: LayerTrace, role: str, symbol: str, index: tuple[int, ...]) -> Tokens:
        name = layer.name
        old, new = Ref(f"{name}.{role}", index), Ref(f"{name}.new_{role}", index)
        if self.trace.plain_sgd:
            return (f"{symbol} = ", old, " - ", Ref("lr"), "*", Ref(f"{name}.grad_{role}", index), " = ", new)
        return (f"{symbol} = ", old, " + ", Ref(f"{name}.update_{role}", index), " = ", new)

    def _after(self) -> None:
        last = len(self.columns) - 1
        line: Tokens = ("L: ", Ref("loss"), " before, ", Ref("new_loss"), " after")
        self._add(
            "update",
            None,
            "Was it a step in the right direction?",
            "The same example once more, through the new weights. Training repeats this for many examples, many times.",
            "",
            [Focus(last, unit, (line,)) for unit in self.columns[last].units[:1]],
        )


_WHAT = {
    "Dropout": "Some units are silenced at random, and the others are scaled up so that the sum stays the same on average.",
    "BatchNorm": "Each column is shifted and scaled to mean 0 and variance 1 over the batch, then scaled by a weight and moved by a bias.",
    "LayerNorm": "Each row is shifted and scaled to mean 0 and variance 1, then scaled by a weight and moved by a bias.",
    "Residual": "What went into the block is added to what came out of it.",
}


def _title(column: Column) -> str:
    return column.label[0].upper() + column.label[1:]


def _bends(layer: LayerTrace) -> bool:
    return layer.activation is not None and layer.activation.name != "identity"
