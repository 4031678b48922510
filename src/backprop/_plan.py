"""Plans: networks translated into the tables that the compiled backend runs without Python between the layers.

A plan exists for networks whose layers are all built in, with no method replaced. Custom layers, and the NumPy backend, go layer by
layer, which is the same arithmetic (tests hold the two together). Tables hold copies of what layers say of themselves, so a plan is
thrown away when a layer changes (`Network._changed`), and it is never copied or pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from . import kernels
from ._overrides import is_built_in
from ._spans import FlatNetwork
from .layers import Activation, BatchNorm, Dense, Dropout, Layer, LayerNorm, Residual

if TYPE_CHECKING:
    from ._core import Plan
    from ._types import Array

INPUT, OUTPUT = -1, -2  # where prediction reads x and writes the result; other places are registers


class LayeredNetwork(FlatNetwork, Protocol):
    """What a plan needs of a network."""

    @property
    def layers(self) -> Sequence[Layer]: ...
    @property
    def n_inputs(self) -> int: ...
    @property
    def buffers(self) -> Array: ...
    @property
    def seed(self) -> int: ...
    @property
    def _buffer_layout(self) -> Sequence[Any]: ...


class UntranslatableError(Exception):
    """A layer that only Python knows how to run."""


def translate(net: LayeredNetwork) -> Plan | None:
    """Return the `_core.Plan` of a network; None where there is none and it goes layer by layer.

    Asked for within `use_backend("numpy")`, the answer is None as well.
    """
    core = kernels.compiled()
    if core is None:
        return None
    table = _Table(core, net)
    try:
        table.add(net.layers)
    except UntranslatableError:
        return None
    if not table.rows:
        return None
    return table.plan(net, net.gradients)


def translate_probe(net: LayeredNetwork) -> Plan:
    """Return another plan of a network that has one, whose backward computes dL/dx alone and leaves the gradients as they are."""
    core = kernels.compiled()
    assert core is not None
    table = _Table(core, net)
    table.add(net.layers)
    for row in table.rows:
        row["trainable"] = False
    return table.plan(net, np.zeros_like(net.gradients))


class _Table:
    """The operations of a network, row by row."""

    def __init__(self, core: kernels.Compiled, net: LayeredNetwork) -> None:
        self.core = core
        self.rows: list[dict[str, Any]] = []
        self.width = net.n_inputs
        entries = (*net.layout, *net._buffer_layout)
        self.offsets = {(entry.layer, entry.name.rpartition(".")[2]): entry.offset for entry in entries}

    def plan(self, net: LayeredNetwork, gradients: Array) -> Plan:
        """Return the plan of these operations."""
        operations = np.zeros(len(self.rows), self.core.OPERATION)
        for operation, row in zip(operations, self.rows, strict=True):
            for name, value in row.items():
                operation[name] = value
        _assign_registers(operations, self.core.KINDS)
        return self.core.Plan(operations, net.parameters, gradients, net.buffers, net.seed, kernels.chosen)

    def add(self, layers: Iterable[Layer]) -> None:
        for layer in layers:
            write = _WRITERS.get(type(layer))
            if write is None or not is_built_in(layer):
                raise UntranslatableError(type(layer).__name__)
            write(self, layer)

    def write(self, kind: str, layer: Layer, width: int | None = None, **fields: Any) -> None:
        """Append an operation; what it has no use for stays -1 (offsets) or 0."""
        fan_in, self.width = self.width, self.width if width is None else width
        offsets = {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
        self.rows.append(
            {
                "kind": self.core.KINDS[kind],
                "fan_in": fan_in,
                "fan_out": self.width,
                "layer": layer._index,
                "trainable": layer.trainable and (layer, "weight") in self.offsets,
                **{field: self.offsets.get((layer, name), -1) for field, name in offsets.items()},
                **fields,
            }
        )

    def dense(self, layer: Dense) -> None:
        if layer.activation.name == "softmax":  # works on whole rows, so it is an operation of its own
            self.write("dense", layer, layer.fan_out)
            self.activation(layer)
        else:
            self.write("dense", layer, layer.fan_out, **self._function(layer))

    def activation(self, layer: Dense | Activation) -> None:
        if layer.activation.name != "identity" or not layer.activation.by_kernel:
            self.write("activation", layer, **self._function(layer), trainable=False, weight=-1, bias=-1)

    def _function(self, layer: Dense | Activation) -> dict[str, Any]:
        if not is_built_in(layer.activation):
            raise UntranslatableError(type(layer.activation).__name__)
        return {"activation": self.core.ACTIVATIONS[layer.activation.name], "alpha": layer.activation.alpha}

    def dropout(self, layer: Dropout) -> None:
        if layer.rate > 0:
            self.write("dropout", layer, rate=layer.rate)

    def batch_norm(self, layer: BatchNorm) -> None:
        self.write("batch_norm", layer, momentum=layer.momentum, eps=layer.eps)

    def layer_norm(self, layer: LayerNorm) -> None:
        self.write("layer_norm", layer, eps=layer.eps)

    def residual(self, layer: Residual) -> None:
        begin = len(self.rows)
        self.write("residual_begin", layer, trainable=False)
        self.add(layer.block)
        self.rows[begin]["partner"] = len(self.rows)
        self.write("residual_end", layer, trainable=False, partner=begin)


_WRITERS: dict[type[Layer], Callable[[_Table, Any], None]] = {
    Dense: _Table.dense,
    Activation: _Table.activation,
    Dropout: _Table.dropout,
    BatchNorm: _Table.batch_norm,
    LayerNorm: _Table.layer_norm,
    Residual: _Table.residual,
}


def _assign_registers(operations: npt.NDArray[np.void], kinds: dict[str, int]) -> None:
    """Give every operation the place that it reads in prediction, and the one that it writes.

    A place is free again when what it holds has been read; what goes into a block is held until the block's sum.
    """
    begin, end, dense, dropout = (kinds[name] for name in ("residual_begin", "residual_end", "dense", "dropout"))
    held: list[int] = []
    now, last = INPUT, None
    for operation in operations:
        operation["source"] = operation["target"] = now
        if operation["kind"] == dropout:  # does nothing in prediction
            continue
        if operation["kind"] == begin:
            held.append(now)
            continue
        if operation["kind"] == end:
            operation["skip"] = held.pop()
        if now == INPUT or now in held or operation["kind"] == dense:  # others may work in place
            now = next(register for register in range(len(operations)) if register not in (now, *held))
        operation["target"] = now
        last = operation
    if last is not None:
        last["target"] = OUTPUT
