"""The table of a network's layers."""

from __future__ import annotations

from collections.abc import Iterable

from ._types import Array
from .layers import Layer


class Summary(str):
    """A table that shows itself at a prompt, with or without ``print``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def rows_of(named_layers: Iterable[tuple[str, Layer]], parameters: Array) -> tuple[list[tuple[str, ...]], str]:
    """Return name, layer, shape, parameters and activation of each layer, below a head, and what they sum up to."""
    table: list[tuple[str, ...]] = [("name", "layer", "shape", "parameters", "activation")]
    trainable = 0
    for name, layer in named_layers:
        shape = "any" if layer.fan_in is None else f"{layer.fan_in} -> {layer.fan_out}"
        frozen = " (frozen)" if layer.n_parameters and not layer.trainable else ""
        activation = getattr(getattr(layer, "activation", None), "name", "")
        table.append((name, type(layer).__name__ + frozen, shape, f"{layer.n_parameters:,}", activation))
        if layer.trainable:
            trainable += layer.n_parameters - sum(child.n_parameters for child in layer.children().values())
    return table, f"{parameters.size:,} parameters, {trainable:,} trainable, {parameters.dtype}, {parameters.nbytes:,} bytes"


def summary_of(named_layers: Iterable[tuple[str, Layer]], parameters: Array) -> Summary:
    """Return the table of layers as text, and below it what they sum up to."""
    table, total = rows_of(named_layers, parameters)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        name, kind, shape, count, activation = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"{name}  {kind}  {shape}  {count.strip().rjust(widths[3])}  {activation}".rstrip())
    return Summary("\n".join([*lines, total]))
