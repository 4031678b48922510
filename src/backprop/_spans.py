"""Which runs of a network's flat buffers an update treats alike: frozen layers left out, parameter groups told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ._types import SPAN, Array, Spans


class _Layer(Protocol):
    trainable: bool


class Entry(Protocol):
    """One parameter array inside the flat buffer (`ParameterEntry`, as optimizers see it)."""

    @property
    def name(self) -> str: ...
    @property
    def layer(self) -> _Layer: ...
    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


class FlatNetwork(Protocol):
    """What optimizers and clipping need of a network."""

    @property
    def parameters(self) -> Array: ...
    @property
    def gradients(self) -> Array: ...
    @property
    def layout(self) -> Sequence[Any]: ...
    def begin_update(self) -> None: ...


class Treatment(NamedTuple):
    """How an update treats a parameter: a factor on the learning rate, weight decay, and l1."""

    lr: float = 1.0
    weight_decay: float = 0.0
    l1: float = 0.0


def trainable_flags(net: FlatNetwork) -> tuple[bool, ...]:
    """Return for every entry of the layout whether it is trained; spans stay valid as long as this stays the same."""
    return tuple([entry.layer.trainable for entry in net.layout])


def weight_spans(net: FlatNetwork) -> Spans:
    """Return the spans of all trainable weight matrices, which a penalty is of: neither biases nor scales are."""
    matrices = {entry.name for entry in net.layout if len(entry.shape) > 1}
    return build_spans(net, chosen=matrices.__contains__)


def slices(spans: Spans) -> list[slice]:
    """Return the slices of the flat arrays that spans cover."""
    starts = spans["offset"].tolist()
    return [slice(start, start + length) for start, length in zip(starts, spans["length"].tolist(), strict=True)]


def build_spans(
    net: FlatNetwork,
    treatment: Callable[[str], Treatment] = lambda name: Treatment(),
    chosen: Callable[[str], bool] = lambda name: True,
) -> Spans:
    """Return the spans of all trainable parameters with chosen names; neighbours that are treated alike are merged into one."""
    spans: list[tuple[int, int, Treatment]] = []
    for entry in net.layout:
        if not entry.layer.trainable or entry.length == 0 or not chosen(entry.name):
            continue
        treated = treatment(entry.name)
        if spans and spans[-1][0] + spans[-1][1] == entry.offset and spans[-1][2] == treated:
            spans[-1] = (spans[-1][0], spans[-1][1] + entry.length, treated)
        else:
            spans.append((entry.offset, entry.length, treated))
    return np.array([(offset, length, *treated) for offset, length, treated in spans], dtype=SPAN)
