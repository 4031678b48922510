"""Flat state: the parameters, gradients and buffers of all layers in three flat arrays, of which each layer has views.

One array for all is what an optimizer, a norm or a file goes through at once; a layer reads and writes its own part.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._arrays import aligned_zeros, as_parameter, check_in
from ._overrides import Overridable
from ._settings import Options, as_given, fixed
from ._types import Array
from .layers import Layer

_BLOCK = 1 << 14  # values that blend works on together: few enough to stay in the cache


class ParameterEntry(NamedTuple):
    """Where one parameter lies in the flat buffers.

    Attributes
    ----------
    name : str
        As in `Network.state_dict`.
    layer : Layer
        The layer whose parameter it is.
    offset, length : int
        Where it begins, and its number of entries.
    shape : tuple of int
        Its shape.
    """

    name: str
    layer: Layer
    offset: int
    length: int
    shape: tuple[int, ...]


class FlatState(Options, metaclass=Overridable):
    """The numbers of a network: `Network` adds what is done with them."""

    dtype: np.dtype[Any] = fixed(as_given, remedy="net.astype(dtype) returns a copy in another dtype")
    layout: tuple[ParameterEntry, ...] = fixed(as_given)

    _named: tuple[tuple[str, Layer], ...]  # every layer, and where it is

    def _lay_out(self, dtype: np.dtype[Any]) -> None:
        """Make the flat arrays for all layers."""
        self.dtype = dtype
        self.layout = tuple(_entries(self._named, "_parameter_shapes"))
        self._buffer_layout = tuple(_entries(self._named, "_buffer_shapes"))
        self._shapes = [(entry.name, entry.shape) for entry in (*self.layout, *self._buffer_layout)]
        self._parameters = aligned_zeros(sum(entry.length for entry in self.layout), dtype)
        self._gradients = aligned_zeros(self._parameters.size, dtype)
        self._buffers = aligned_zeros(sum(entry.length for entry in self._buffer_layout), dtype)
        self._exact: tuple[Array, Array] | None = None  # parameters and buffers before `blend` rounded them

    def _views_of_layers(self) -> dict[Layer, dict[str, Array]]:
        """Return the views of each layer, by the names that they have there."""
        views: dict[Layer, dict[str, Array]] = {layer: {} for _, layer in self._named}
        for entry in self.layout:
            name = entry.name.rpartition(".")[2]
            views[entry.layer][name] = view(self._parameters, entry)
            views[entry.layer][f"grad_{name}"] = view(self._gradients, entry)
        for entry in self._buffer_layout:
            views[entry.layer][entry.name.rpartition(".")[2]] = view(self._buffers, entry)
        return views

    @abstractmethod
    def _check_idle(self, call: str) -> None:
        """Raise an error where a call that replaces values would disturb what the network is doing."""

    @abstractmethod
    def _lose_forward(self) -> None:
        """Discard the forward that awaits its backward, as values were replaced."""

    @property
    def parameters(self) -> Array:
        """All parameters, one after another."""
        return self._parameters

    @parameters.setter
    def parameters(self, values: npt.ArrayLike) -> None:
        self._check_idle("assigning net.parameters")
        _assign(self._parameters, values, "parameters")
        self._lose_forward()

    @property
    def gradients(self) -> Array:
        """The gradients of all parameters, in the same places; those of frozen layers are zero."""
        return self._gradients

    @gradients.setter
    def gradients(self, values: npt.ArrayLike) -> None:
        _assign(self._gradients, values, "gradients")

    @property
    def buffers(self) -> Array:
        """What else layers remember, one after another."""
        return self._buffers

    @buffers.setter
    def buffers(self, values: npt.ArrayLike) -> None:
        self._check_idle("assigning net.buffers")
        _assign(self._buffers, values, "buffers")
        self._lose_forward()

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers by name: ``layers.0.weight``, ``layers.3.block.0.weight``, ..."""
        return {entry.name: view(flat, entry).copy() for flat, entry in self._state()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Set all parameters and buffers from what `state_dict` gave.

        Raises
        ------
        TypeError
            When ``state`` is no mapping of names to arrays.
        ValueError
            When names are missing or unknown, or a shape is wrong; nothing is changed then.
        RuntimeError
            Within a loss or layer of this network, at work.
        """
        self._check_idle("net.load_state_dict")
        if not isinstance(state, Mapping):
            hint = f"; a network's is {type(state).__name__}.state_dict()" if isinstance(state, FlatState) else ""
            raise TypeError(f"state must be a mapping of names to arrays, got {type(state).__name__}{hint}")
        wanted = {entry.name for _, entry in self._state()}
        if wanted != state.keys():
            missing, unexpected = sorted(wanted - state.keys()), sorted(map(str, state.keys() - wanted))
            raise ValueError(f"state does not fit the network: missing {missing}, unexpected {unexpected}")
        values = {}
        for flat, entry in self._state():
            value = as_parameter(state[entry.name], entry.name, entry.shape, self.dtype)
            # Views of this network's own arrays, of two layers that change places, say, are read before any is written.
            values[entry.name] = value.copy() if np.may_share_memory(value, flat) else value
        for flat, entry in self._state():
            view(flat, entry)[...] = values[entry.name]
        self._lose_forward()

    def _state(self) -> list[tuple[Array, ParameterEntry]]:
        """Every parameter and buffer with the flat array it lies in, layer by layer."""
        both = [(self._parameters, entry) for entry in self.layout] + [(self._buffers, entry) for entry in self._buffer_layout]
        return sorted(both, key=lambda pair: pair[1].layer._index)

    def blend(self, other: FlatState, tau: float) -> None:
        """Move all parameters and buffers toward those of another network: ``own += tau (other - own)``.

        Target networks and moving averages do this at every step with a small tau; tau = 1 copies. A float32 network adds up
        in float64, so that steps too small for float32 are not lost: it keeps the exact sums, and continues from them as long as
        its values are these sums rounded. A value that was changed in another way starts a new sum. Copies and files hold the
        rounded values alone.

        Parameters
        ----------
        other : Network
            A network with the same layers and dtype.
        tau : float
            In [0, 1].

        Raises
        ------
        TypeError, ValueError
            If ``other`` is not such a network, or ``tau`` not such a number.

        Examples
        --------
        >>> import backprop as bp
        >>> net, target = (bp.mlp([1, 1], seed=seed) for seed in range(2))
        >>> net.parameters, target.parameters = [1.0, 1.0], [0.0, 0.0]
        >>> for _ in range(10):
        ...     target.blend(net, 0.1)
        >>> target.parameters.round(4)
        array([0.6513, 0.6513], dtype=float32)
        """
        self._check_idle("net.blend")
        tau = check_in("tau", tau, 0, 1)
        if not isinstance(other, FlatState):
            raise TypeError(f"other must be a Network, got {type(other).__name__}")
        if self._shapes != other._shapes or self.dtype != other.dtype:
            raise ValueError("other must have the same parameters, buffers and dtype as this network")
        self._lose_forward()
        flat = ((self._parameters, other._parameters), (self._buffers, other._buffers))
        if tau == 1:
            self._exact = None
            for own, theirs in flat:
                own[...] = theirs
            return
        for exact, (own, theirs) in zip(self._exact_values(), flat, strict=True):
            way = np.empty(min(len(own), _BLOCK))
            for start in range(0, len(own), _BLOCK):
                part, target, done = (flat[start : start + _BLOCK] for flat in (exact, theirs, own))
                step = way[: len(part)]
                step[...] = target
                step -= part
                step *= tau
                part += step
                done[...] = part

    def _exact_values(self) -> tuple[Array, Array]:
        """Return parameters and buffers in float64, as `blend` has summed them; in a float64 network they are its own arrays."""
        if self.dtype == np.float64:
            return self._parameters, self._buffers
        if self._exact is None:
            self._exact = self._parameters.astype(np.float64), self._buffers.astype(np.float64)
        for exact, own in zip(self._exact, (self._parameters, self._buffers), strict=True):
            for start in range(0, len(own), _BLOCK):
                block = slice(start, start + _BLOCK)
                changed = exact[block].astype(own.dtype) != own[block]
                if changed.any():
                    np.copyto(exact[block], own[block], where=changed)
        return self._exact

    def _set_exact_values(self, parameters: npt.ArrayLike, buffers: npt.ArrayLike) -> None:
        """Set parameters and buffers to what `_exact_values` returned."""
        exact = (
            as_parameter(parameters, "parameters", self._parameters.shape, np.dtype(np.float64)),
            as_parameter(buffers, "buffers", self._buffers.shape, np.dtype(np.float64)),
        )
        self._parameters[...], self._buffers[...] = exact
        self._exact = None if self.dtype == np.float64 else (exact[0].copy(), exact[1].copy())


def _entries(named: tuple[tuple[str, Layer], ...], shapes: str) -> Iterable[ParameterEntry]:
    offset = 0
    for layer_name, layer in named:
        for name, shape in getattr(layer, shapes).items():
            length = int(np.prod(shape, dtype=object))
            yield ParameterEntry(f"{layer_name}.{name}", layer, offset, length, shape)
            offset += length


def view(flat: Array, entry: ParameterEntry) -> Array:
    return flat[entry.offset : entry.offset + entry.length].reshape(entry.shape)


def _assign(flat: Array, values: npt.ArrayLike, name: str) -> None:
    if values is not flat:  # it is after `net.parameters -= step`
        flat[...] = as_parameter(values, name, flat.shape, flat.dtype)
