"""What the story of a training step is made of: columns of units, steps, and each unit's part in a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._arrays import check_count
from .formulas import Tokens
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

    @property
    def title(self) -> str:
        """The label at the beginning of a sentence."""
        return self.label[0].upper() + self.label[1:]


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
    if not 0 <= check_count("row", row, 0) < len(trace.outputs):
        raise ValueError(f"row must be from 0 to {len(trace.outputs) - 1}, got {row}")
    result = [Column("input", "", _shown(trace["x"][row], limit), trace["x"].shape[1], "x")]
    positions = {}
    for number, layer in enumerate(trace.layers, 1):
        positions[layer.name] = number
        skip = None
        if layer.kind == "Residual":
            skip = positions[f"{layer.name}.block.0"] - 1
        label = layer.kind
        if layer.kind == "Dense":
            label = "output" if number == len(trace.layers) else f"layer {number}"
        connected = f"{layer.name}.weight" if layer.kind == "Dense" else None
        one_to_one = connected is None and layer.n_inputs == layer.n_outputs
        units = result[-1].units if one_to_one else _shown(layer.values[layer.output][row], limit)
        value = f"{layer.name}.{layer.output}"
        result.append(Column(label, bend(layer), units, layer.n_outputs, value, connected, skip))
    return tuple(result)


def bend(layer: LayerTrace) -> str:
    """The name of the layer's activation; empty where there is none or it is the identity."""
    return "" if layer.activation is None or layer.activation.name == "identity" else layer.activation.name


def _shown(values: Sequence[float], limit: int | None) -> tuple[int, ...]:
    if limit is None or len(values) <= limit:
        return tuple(range(len(values)))
    largest = sorted(range(len(values)), key=lambda unit: (-abs(float(values[unit])), unit))[:limit]
    return tuple(sorted(largest))
