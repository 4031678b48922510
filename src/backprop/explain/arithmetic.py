"""The lines of a walk: each number of a trace as the expression that it came from, with addresses in place of numbers."""

from __future__ import annotations

from collections.abc import Sequence

from .. import losses
from .formulas import ACTIVATIONS, LOSSES, SLOPES, Ref, Tokens, fill, join, total
from .steps import Column
from .tape import LayerTrace
from .trace import Trace


class Arithmetic:
    """Writes the lines of one row.

    Parameters
    ----------
    trace : Trace
        What happened.
    row : int
        The row to follow.
    columns : sequence of Column
        What is shown.
    max_terms : int or None
        The most terms of a sum that are written out.
    """

    def __init__(self, trace: Trace, row: int, columns: Sequence[Column], max_terms: int | None) -> None:
        self.trace = trace
        self.row = row
        self.columns = columns
        self.max_terms = max_terms
        self.text = LOSSES.get(trace.loss_name)
        self.averages = self.text is not None and losses.get(trace.loss_name).reduction == "mean"  # over the outputs of a row

    def at(self, name: str, unit: int) -> Ref:
        """The address of one unit's number."""
        return Ref(name, (self.row, unit))

    def _terms(self, units: Sequence[int], size: int) -> tuple[Sequence[int], int]:
        """The units whose terms are written out, and how many are not."""
        written = units if self.max_terms is None else units[: self.max_terms]
        return written, size - len(written)

    def weighted_sum(self, layer: LayerTrace, unit: int, before: Column) -> Tokens:
        """``z1 = w*x + w*x + b``."""
        name = layer.name
        written, left_out = self._terms(before.units, before.size)
        terms = [fill("{w}*{x}", w=Ref(f"{name}.weight", (i, unit)), x=self.at(before.value, i)) for i in written]
        line = total(terms, left_out)
        if "bias" in layer.values:
            line = join([line, (Ref(f"{name}.bias", (unit,)),)], " + ")
        return (f"z{unit + 1} = ", *line, " = ", self.at(f"{name}.z", unit))

    def activation(self, layer: LayerTrace, unit: int) -> Tokens:
        """``a1 = sigmoid(z) = 1/(1 + exp(-z))``."""
        assert layer.activation is not None
        z, a = self.at(f"{layer.name}.z", unit), self.at(f"{layer.name}.a", unit)
        if layer.activation.name == "softmax":
            return (f"a{unit + 1} = softmax(z)[{unit + 1}] = ", a)
        call = fill(f"a{unit + 1} = {layer.activation.name}({{z}})", z=z)
        template = ACTIVATIONS.get(layer.activation.name)
        return (*call, " = ", a) if template is None else (*call, " = ", *fill(template, z=z), " = ", a)

    def other(self, column: int, layer: LayerTrace, unit: int) -> Tokens:
        """What a layer without activation gives."""
        name = layer.name
        left, y = f"y{unit + 1} = ", self.at(f"{name}.y", unit)
        if layer.kind == "Residual":
            skip, block = self.columns[self.columns[column].skip or 0], self.columns[column - 1]
            return (left, self.at(skip.value, unit), " + ", self.at(block.value, unit), " = ", y)
        if "x_hat" in layer.values:
            w, b = Ref(f"{name}.weight", (unit,)), Ref(f"{name}.bias", (unit,))
            return (left, *fill("{w}*{h} + {b}", w=w, h=self.at(f"{name}.x_hat", unit), b=b), " = ", y)
        if "mask" in layer.values:
            return (left, self.at(f"{name}.x", unit), "*", self.at(f"{name}.mask", unit), " = ", y)
        return (left, y)

    def probability(self, unit: int) -> Tokens:
        """``p1 = sigmoid(output)``."""
        p = self.at("probabilities", unit)
        if "target_probabilities" in self.trace:
            return (f"p{unit + 1} = softmax(outputs)[{unit + 1}] = ", p)
        return (f"p{unit + 1} = sigmoid(", self.at("outputs", unit), ") = ", p)

    def loss(self, units: Sequence[int]) -> list[Tokens]:
        """The row's loss, and with several rows their mean."""
        trace, rows, size = self.trace, len(self.trace.outputs), self.columns[-1].size
        result = Ref("loss") if rows == 1 or "row_losses" not in trace else Ref("row_losses", (self.row,))
        lines: list[Tokens] = [("L = ", result)]
        if self.text is not None and self.text.term is not None and trace.plain_loss:
            used = list(units)
            if self.text.skips_zero:  # no share in the loss, and log 0 is not to be written
                targets = trace["target_probabilities"][self.row]
                used, size = [unit for unit in units if targets[unit] != 0], int((targets != 0).sum())
            written, left_out = self._terms(used, size)
            terms = total([fill(self.text.term, **self._elements(unit)) for unit in written], left_out)
            if self.averages and size > 1:
                terms = ("(", *terms, f")/{size}")
            lines = [("L = ", *terms, " = ", result)]
        if rows > 1:
            lines.append((f"over {rows} rows: L = ", Ref("loss")))
        return lines

    def output_gradient(self, unit: int) -> Tokens:
        """``dL/do1 = output - target``."""
        rows, size = len(self.trace.outputs), self.columns[-1].size
        left, result = f"dL/do{unit + 1} = ", self.at("grad_outputs", unit)
        if self.text is None or self.text.gradient is None or not self.trace.plain_loss:
            return (left, result)
        line = fill(self.text.gradient, **self._elements(unit))
        divisor = rows * (size if self.averages else 1)
        if divisor > 1:
            line = ("(", *line, f")/{divisor}")
        return (left, *line, " = ", result)

    def _elements(self, unit: int) -> dict[str, Ref]:
        targets = "target_probabilities" if "target_probabilities" in self.trace else "targets"
        return {"o": self.at("outputs", unit), "t": self.at(targets, unit), "p": self.at("probabilities", unit)}

    def delta(self, layer: LayerTrace, unit: int) -> tuple[Tokens, ...]:
        """The slope, and ``delta1 = grad_a * slope``."""
        assert layer.activation is not None
        f, name = layer.activation.name, layer.name
        grad_a, delta = self.at(f"{name}.grad_a", unit), self.at(f"{name}.delta", unit)
        if "slope" not in layer.values:
            return ((f"delta{unit + 1} = ", delta),)
        slope, z, a = (self.at(f"{name}.{role}", unit) for role in ("slope", "z", "a"))
        left = fill(f"{f}'({{z}}) = ", z=z)
        if f in SLOPES:
            left = (*left, *fill(SLOPES[f], a=a), " = ")
        return (*left, slope), (f"delta{unit + 1} = ", grad_a, "*", slope, " = ", delta)

    def gradients(self, layer: LayerTrace, unit: int, before: Column) -> tuple[Tokens, ...]:
        """``dL/dw[1,1] = x*delta`` for each weight that leads to the unit, and its bias; sums over the rows."""
        name, rows = layer.name, range(len(self.trace.outputs))
        written, left_out = self._terms(before.units, before.size)
        lines: list[Tokens] = []
        for i in written:
            products = [fill("{x}*{d}", x=Ref(f"{name}.x", (row, i)), d=Ref(f"{name}.delta", (row, unit))) for row in rows]
            lines.append((f"dL/dw[{i + 1},{unit + 1}] = ", *total(products), " = ", Ref(f"{name}.grad_weight", (i, unit))))
        if left_out:
            lines.append((f"({left_out} more weights)",))
        if "bias" in layer.values:
            deltas: list[Tokens] = [(Ref(f"{name}.delta", (row, unit)),) for row in rows]
            line = (f"dL/db{unit + 1} = ", *total(deltas))
            lines.append((*line, " = ", Ref(f"{name}.grad_bias", (unit,))) if len(deltas) > 1 else line)
        return tuple(lines)

    def sent_back(self, column: int, layer: LayerTrace, unit: int) -> Tokens:
        """``dL/da1 = delta*w + delta*w``."""
        name, here = layer.name, self.columns[column]
        left, result = f"dL/d{'x' if column == 1 else 'a'}{unit + 1} = ", self.at(f"{layer.name}.grad_x", unit)
        if layer.kind == "Dense":
            written, left_out = self._terms(here.units, here.size)
            terms = [fill("{d}*{w}", d=self.at(f"{name}.delta", j), w=Ref(f"{name}.weight", (unit, j))) for j in written]
            return (left, *total(terms, left_out), " = ", result)
        if "mask" in layer.values:
            return (left, self.at(f"{name}.grad_y", unit), "*", self.at(f"{name}.mask", unit), " = ", result)
        return (left, result)

    def rejoined(self, first: LayerTrace, residual: LayerTrace, unit: int) -> Tokens:
        """``dL/da1 = around + through``, where a residual block begins."""
        around, through = self.at(f"{residual.name}.grad_y", unit), self.at(f"{first.name}.grad_x", unit)
        return (f"dL/da{unit + 1} = ", around, " + ", through, " = ", self.at(f"{residual.name}.grad_x", unit))

    def updates(self, layer: LayerTrace, unit: int, here: Column, before: Column) -> tuple[Tokens, ...]:
        """``w[1,1] = w - lr*grad`` for each weight that leads to the unit, and its bias."""
        lines: list[Tokens] = []
        if here.connected:
            written, left_out = self._terms(before.units, before.size)
            lines += [self._update(layer, "weight", f"w[{i + 1},{unit + 1}]", (i, unit)) for i in written]
            if left_out:
                lines.append((f"({left_out} more weights)",))
        else:
            for role in layer.parameters:
                if layer.values[role].shape == (here.size,) and role != "bias":
                    lines.append(self._update(layer, role, f"{'w' if role == 'weight' else role}{unit + 1}", (unit,)))
        if "bias" in layer.parameters:
            lines.append(self._update(layer, "bias", f"b{unit + 1}", (unit,)))
        return tuple(lines)

    def _update(self, layer: LayerTrace, role: str, symbol: str, index: tuple[int, ...]) -> Tokens:
        name = layer.name
        old, new = Ref(f"{name}.{role}", index), Ref(f"{name}.new_{role}", index)
        if self.trace.plain_sgd:
            return (f"{symbol} = ", old, " - ", Ref("lr"), "*", Ref(f"{name}.grad_{role}", index), " = ", new)
        return (f"{symbol} = ", old, " + ", Ref(f"{name}.update_{role}", index), " = ", new)
