"""The story of one training step: which numbers appear when, and from which others.

`walk` turns a `Trace` into `Step` objects. They hold no numbers, only their addresses, so the same steps describe every row and
every moment of a training run; `text` prints them and `page` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence

from .arithmetic import Arithmetic
from .formulas import Ref, Tokens
from .steps import Column, Focus, Step, bend, columns
from .tape import LayerTrace
from .trace import Trace
from .words import STEPS, say


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


class _Walk:
    """Collects the steps while it keeps track of what is known by now."""

    def __init__(self, trace: Trace, row: int, shown: tuple[Column, ...], max_terms: int | None) -> None:
        self.trace = trace
        self.columns = shown
        self.write = Arithmetic(trace, row, shown, max_terms)
        self.known: list[str | None] = [None] * len(shown)
        self.gradients: list[str | None] = [None] * len(shown)
        self.edges: list[str | None] = [column.connected for column in shown]
        self.result: list[Step] = []

    def steps(self) -> list[Step]:
        """Everything in order."""
        self.known[0] = "x"
        inputs = [Focus(0, unit, ((f"x{unit + 1} = ", self.write.at("x", unit)),)) for unit in self.columns[0].units]
        self._add("forward", None, say("input"), "", inputs)
        numbered = list(enumerate(self.trace.layers, 1))
        for column, layer in numbered:
            self._forward(column, layer)
        self._error()
        for column, layer in reversed(numbered):
            self._backward(column, layer)
        if self.trace.optimizer_name is not None:
            for column, layer in numbered:
                self._update(column, layer)
            line: Tokens = ("L: ", Ref("loss"), " before, ", Ref("new_loss"), " after")
            last = len(self.columns) - 1
            self._add("update", None, say("after"), "", [Focus(last, unit, (line,)) for unit in self.columns[last].units[:1]])
        return self.result

    def _add(
        self,
        phase: str,
        layer: LayerTrace | None,
        words: tuple[str, str],
        formula: str,
        foci: Sequence[Focus],
        toward: str = "",
    ) -> None:
        units = tuple(zip(self.known, self.gradients, strict=True))
        name = None if layer is None else layer.name
        self.result.append(Step(phase, name, *words, formula, tuple(foci), units, toward, tuple(self.edges)))

    def _forward(self, column: int, layer: LayerTrace) -> None:
        here, before, write = self.columns[column], self.columns[column - 1], self.write
        f = bend(layer)
        if layer.kind == "Dense":
            self.known[column] = f"{layer.name}.z"
            words = say("sums" if "bias" in layer.values else "sums_without_bias", label=here.title)
            foci = [
                Focus(column, unit, (write.weighted_sum(layer, unit, before),), _all_to(column, before, unit))
                for unit in here.units
            ]
            self._add("forward", layer, words, layer.formulas["z"], foci, "forward")
            if not f:
                self.known[column] = f"{layer.name}.a"
                return
        self.known[column] = f"{layer.name}.{layer.output}"
        if layer.activation is not None:
            words = say(f if f in STEPS else "activation", label=here.title, activation=layer.activation.name)
            lines = [write.activation(layer, unit) for unit in here.units]
        else:
            words = say(layer.kind if layer.kind in STEPS else "other", label=here.title)
            lines = [write.other(column, layer, unit) for unit in here.units]
        foci = [Focus(column, unit, (line,), _straight(column, layer, unit)) for unit, line in zip(here.units, lines, strict=True)]
        self._add("forward", layer, words, layer.formulas[layer.output], foci, "forward")

    def _error(self) -> None:
        last = len(self.columns) - 1
        units = self.columns[last].units
        lines = [self.write.probability(unit) for unit in units] if "probabilities" in self.trace else []
        lines += self.write.loss(units)
        words = say("loss", loss=self.trace.loss_name)
        self._add("error", None, words, self.trace.formulas["loss"], [Focus(last, unit, tuple(lines)) for unit in units[:1]])
        self.gradients[last] = "grad_outputs"
        foci = [Focus(last, unit, (self.write.output_gradient(unit),)) for unit in units]
        self._add("error", None, say("grad_outputs"), self.trace.formulas["grad_outputs"], foci)

    def _backward(self, column: int, layer: LayerTrace) -> None:
        here, before, write, name = self.columns[column], self.columns[column - 1], self.write, layer.name
        if layer.activation is not None:
            self.gradients[column] = f"{name}.delta"
            if bend(layer) or layer.kind != "Dense":
                words = say("delta", label=here.title, activation=layer.activation.name)
                foci = [Focus(column, u, write.delta(layer, u), _straight(column, layer, u)) for u in here.units]
                self._add("backward", layer, words, layer.formulas["delta"], foci)
        if layer.kind == "Dense" and layer.trainable:
            self.edges[column] = f"{name}.grad_weight"
            words = say("grad_weight" if "bias" in layer.values else "grad_weight_without_bias", label=here.title)
            foci = [Focus(column, u, write.gradients(layer, u, before), _all_to(column, before, u)) for u in here.units]
            self._add("backward", layer, words, layer.formulas["grad_weight"], foci)
            self.edges[column] = here.connected
        if layer.kind == "Residual":
            self.gradients[column - 1] = f"{name}.grad_y"
            foci = [
                Focus(column - 1, u, ((f"dL/dblock{u + 1} = ", write.at(f"{name}.grad_y", u)),), ((column, u, u),))
                for u in here.units
            ]
            self._add("backward", layer, say("both_ways"), layer.formulas["grad_x"], foci, "backward")
            return
        if column == 1 and layer.kind == "Dense":  # no parameter is updated from the gradient of the inputs
            return
        self.gradients[column - 1] = f"{name}.grad_x"
        words = say("grad_x" if layer.kind == "Dense" else "back", label=here.title)
        foci = [
            Focus(column - 1, i, (write.sent_back(column, layer, i),), self._back_edges(column, layer, i)) for i in before.units
        ]
        self._add("backward", layer, words, layer.formulas["grad_x"], foci, "backward")
        for residual in self.trace.layers:
            if name == f"{residual.name}.block.0":
                self.gradients[column - 1] = f"{residual.name}.grad_x"
                foci = [Focus(column - 1, u, (write.rejoined(layer, residual, u),)) for u in before.units]
                self._add("backward", residual, say("rejoin"), residual.formulas["grad_x"], foci)

    def _back_edges(self, column: int, layer: LayerTrace, unit: int) -> tuple[tuple[int, int, int], ...]:
        if layer.kind == "Dense":
            return tuple((column, unit, j) for j in self.columns[column].units)
        return _straight(column, layer, unit)

    def _update(self, column: int, layer: LayerTrace) -> None:
        if not layer.parameters or not layer.trainable:
            return
        here, before = self.columns[column], self.columns[column - 1]
        foci = []
        for unit in here.units:
            edges = _all_to(column, before, unit) if here.connected else ()
            foci.append(Focus(column, unit, self.write.updates(layer, unit, here, before), edges))
        if here.connected:
            self.edges[column] = f"{layer.name}.new_weight"
        formula = layer.formulas[f"new_{layer.parameters[0]}"]
        self._add("update", layer, say("update", label=here.title), formula, foci)


def _all_to(column: int, before: Column, unit: int) -> tuple[tuple[int, int, int], ...]:
    """The connections from the column before to one unit."""
    return tuple((column, i, unit) for i in before.units)


def _straight(column: int, layer: LayerTrace, unit: int) -> tuple[tuple[int, int, int], ...]:
    """The connection of a unit with its like, where the layer works unit by unit."""
    mixes = layer.kind == "Dense" or layer.n_inputs != layer.n_outputs or bend(layer) == "softmax"
    return () if mixes else ((column, unit, unit),)
