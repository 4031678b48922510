"""What every layer has: a width on either side, arrays that live in the network's flat buffers, forward and backward.

Shapes, throughout: x (n, fan_in), outputs and grad_outputs (n, fan_out), in the dtype of the network.
"""

from __future__ import annotations

import copy
import inspect
import math
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from .. import initializers
from .._arrays import aligned_zeros, as_matrix, as_parameter, check_count, check_flag
from .._overrides import Overridable, Shortcuts, assigned, follow_assignment, missing, written
from .._settings import UNSET, Options, fixed, option, optional
from .._types import Array

if TYPE_CHECKING:
    from numpy.random import Generator

Shapes = Mapping[str, tuple[int, ...]]
Sizes = tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]], int | None, int | None]
_SIZES = ("parameter_shapes()", "buffer_shapes()", "fan_in", "fan_out")


class Noise:
    """Where the network's random numbers stand: the seed, and how many forwards in training mode there have been."""

    __slots__ = ("seed", "step")

    def __init__(self, seed: int, step: int = 0) -> None:
        self.seed = seed
        self.step = step


class Layer(Options, metaclass=Overridable):
    """The base of all layers, and of custom ones.

    A custom layer defines `forward` and `backward`, names in `parameter_shapes` what it learns and in `buffer_shapes` what else
    is saved with it, and sets `fan_in` and `fan_out` if its width is fixed. Its parameters and buffers are then attributes
    (``self.scale``), and so are the gradients that `backward` fills (``self.grad_scale``).

    Sizes are fixed once the layer is made, and so is what `parameter_shapes` and `buffer_shapes` say of it.

    A layer owns its arrays, in float64, until it joins a network; then they are views into the network's flat buffers.
    Assigning to one copies into it. It can belong to one network only.

    A subclass of a built-in layer may replace `forward`, `backward` or both; prediction follows `forward` unless the subclass
    defines `infer`, too.

    Attributes
    ----------
    fan_in, fan_out : int or None
        The number of columns it takes and gives; None for "any number"; a fan_out of None equals the width of the input.
    trainable : bool
        False freezes its parameters: optimizers leave them as they are.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> class Scale(bp.Layer):
    ...     '''y = x * scale'''
    ...     def __init__(self, width):
    ...         self.width = self.fan_in = self.fan_out = width
    ...         self.scale = np.ones(width)
    ...     def parameter_shapes(self):
    ...         return {"scale": (self.width,)}
    ...     def forward(self, x, training):
    ...         self._x = x
    ...         return x * self.scale
    ...     def backward(self, grad_outputs):
    ...         self.grad_scale[...] = (grad_outputs * self._x).sum(axis=0)
    ...         return grad_outputs * self.scale
    >>> net = bp.Network([bp.Dense(3, 4, activation="tanh"), Scale(4)], seed=0)
    >>> net.layers[1].scale
    array([1., 1., 1., 1.], dtype=float32)
    >>> bp.gradcheck(net, np.ones((2, 3)), np.zeros((2, 4)), loss="mse")
    True
    """

    fan_in: int | None = fixed(optional(check_count), default=None)
    fan_out: int | None = fixed(optional(check_count), default=None)
    trainable: bool = option(check_flag, default=True)

    _REMEDY: ClassVar[str] = "make a new layer"

    _parameter_shapes: dict[str, tuple[int, ...]]
    _buffer_shapes: dict[str, tuple[int, ...]]
    _array_shapes: dict[str, tuple[int, ...]]  # parameters, their gradients, and buffers
    _made_with: Sizes
    _preset: dict[str, Array]  # values assigned before there are arrays
    _owner: weakref.ref[Any] | None = None
    _noise: Noise | None = None
    _index = 0  # its place among all layers of the network, depth first: part of the key of its random numbers
    _kept: Any = None  # what forward leaves for one backward
    _trusted = False  # whether what it returns needs no check
    _TRANSIENT: frozenset[str] = frozenset({"_owner", "_noise", "_index", "_kept", "_TRANSIENT"})  # attributes that copies lack

    def __init__(self) -> None:
        """Take nothing."""

    def parameter_shapes(self) -> Shapes:
        """Name and shape of each parameter, in the order they lie in the network's buffer."""
        return {}

    def buffer_shapes(self) -> Shapes:
        """Name and shape of what else is saved with the layer, such as running statistics."""
        return {}

    def initialize(self, rng: Generator) -> None:
        """Set the first values: here, matrices by glorot_uniform and all else zero. Values assigned before are kept."""
        for name, shape in self._parameter_shapes.items():
            setattr(self, name, initializers.Initializer("glorot_uniform" if len(shape) == 2 else "zeros")(shape, rng))

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse a class that does not define what a layer needs."""
        layer = super().__new__(cls)
        lacking = [how for method, how in _REQUIRED.items() if getattr(cls, method) is getattr(Layer, method)]
        if lacking:
            raise missing(layer, *lacking)
        return layer

    def forward(self, x: Array, training: bool) -> Array:
        """Return the outputs and keep what one `backward` needs.

        Parameters
        ----------
        x : array (n, fan_in)
            Inputs, in the network's dtype; not to be changed.
        training : bool
            Whether this is a training step, in which dropout drops and batch normalization uses the batch.

        Returns
        -------
        array (n, fan_out)
        """
        raise missing(self, _REQUIRED["forward"])

    def backward(self, grad_outputs: Array) -> Array:
        """Overwrite the gradients of the parameters and return dL/dx, given dL/doutputs of the last `forward`."""
        raise missing(self, _REQUIRED["backward"])

    def infer(self, x: Array) -> Array:
        """Return the outputs in evaluation mode, keeping nothing.

        Unless a class defines its own, this calls ``forward(x, False)`` on a temporary copy of the layer, which shares its arrays.
        What `forward` keeps on the layer stays that of the last call: prediction is safe from several threads at once and between
        a forward and its backward.
        """
        twin = twin_of(self)
        twin.__dict__["infer"] = written(twin, "infer")  # a forward of a base class may call it
        return twin.forward(x, False)

    def config(self) -> dict[str, Any]:
        """Return the keywords that make this layer again.

        This one takes the arguments of ``__init__`` from the attributes of the same names.

        Raises
        ------
        TypeError
            When there is no such attribute.
        """
        config = {}
        for name in inspect.signature(type(self)).parameters:
            if not hasattr(self, name):
                raise TypeError(
                    f"{type(self).__name__}.__init__ takes {name!r} but the layer has no attribute of that name: "
                    "set it there, or write config()"
                )
            config[name] = getattr(self, name)
        return config

    def children(self) -> dict[str, Layer]:
        """Return the layers inside this one, by what their parameters' names begin with."""
        return {}

    @property
    def n_parameters(self) -> int:
        """The number of parameters, those of the layers inside included."""
        own = sum(math.prod(shape) for shape in self._parameter_shapes.values())
        return own + sum(layer.n_parameters for layer in self.children().values())

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self)).parameters
        try:
            config = self.config()
        except TypeError:  # a layer of the user's that cannot say; its name must do
            config = {}
        if not parameters.keys() <= config.keys():  # nor can a config that is inherited, where __init__ takes something else
            return f"{type(self).__name__}(...)"
        parts = []
        for name, parameter in parameters.items():
            if parameter.default is parameter.empty:
                parts.append(repr(config[name]))
            elif repr(config[name]) != repr(parameter.default):
                parts.append(f"{name}={config[name]!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        init = cls.__init__

        @wraps(init)
        def init_and_declare(self: Layer, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            if type(self) is cls:  # the outermost __init__ is done: the sizes that shapes depend on are known
                self._declare_arrays()

        setattr(cls, "__init__", init_and_declare)  # noqa: B010 (mypy refuses the assignment)
        if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
            cls._trusted = True

    def _sizes(self) -> Sizes:
        """The shapes of parameters and buffers, and the widths, as the layer states them now."""
        shapes = _checked_shapes(self, "parameter_shapes"), _checked_shapes(self, "buffer_shapes")
        return *shapes, self.fan_in, self.fan_out

    def _check_sizes(self) -> None:
        """Raise an AttributeError if the layer states other sizes than when it was made, which its arrays have."""
        made, now = self._made_with, self._sizes()
        if now != made:
            what, before, after = next(row for row in zip(_SIZES, made, now, strict=True) if row[1] != row[2])
            raise AttributeError(
                f"the sizes of {type(self).__name__} cannot change any more, but {what} would be {after} where the layer was made "
                f"with {before}: {self._REMEDY}"
            )

    def _is_built(self) -> bool:
        return "_made_with" in self.__dict__

    def _declare_arrays(self) -> None:
        """Learn name and shape of every array; none is made yet."""
        sizes = self._sizes()
        parameters, buffers, *_ = sizes
        if both := parameters.keys() & buffers.keys():
            raise ValueError(f"{type(self).__name__} has a parameter and a buffer of one name, {min(both)!r}")
        state = self.__dict__
        preset = {name: state.pop(name) for name in (*parameters, *buffers) if name in state}
        state.update(_parameter_shapes=parameters, _buffer_shapes=buffers, _preset={})
        state["_array_shapes"] = {**parameters, **{f"grad_{name}": shape for name, shape in parameters.items()}, **buffers}
        state["_made_with"] = sizes
        for name, value in preset.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        # Reached for what the layer does not have, or not yet: a layer on its own makes its arrays when the first is asked for.
        if name in self.__dict__.get("_array_shapes", ()):
            shapes = self._array_shapes.items()
            arrays = {array: aligned_zeros(math.prod(shape), np.float64).reshape(shape) for array, shape in shapes}
            self._bind(arrays, np.random.default_rng())
            return arrays[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        shape = self.__dict__.get("_array_shapes", {}).get(name)
        network = None if self._owner is None else self._owner()
        is_value = shape is not None and not name.startswith("grad_")
        if network is not None and (is_value or name in self._options or name in _ENTRIES):
            network._check_unlocked(self, name)
        if shape is None:
            before = self.__dict__.get(name, UNSET)
            super().__setattr__(name, value)
            if not name.startswith("_") and not self._trusted and self._is_built():
                self._check_assignment(name, before)
            return
        label = f"{type(self).__name__}.{name}"
        if name in self.__dict__ or name.startswith("grad_"):
            array = getattr(self, name)
            if value is not array:  # it is after `layer.weight -= step`
                array[...] = as_parameter(value, label, shape, array.dtype)
            if network is not None and is_value:
                network._lose_forward()
        else:
            self._preset[name] = as_parameter(value, label, shape, np.float64).copy()

    def _check_assignment(self, name: str, before: Any) -> None:
        """Refuse the assignment, which is undone then, of an attribute that sizes of a custom layer depend on."""
        try:
            self._check_sizes()
        except BaseException:
            if before is UNSET:
                self.__dict__.pop(name, None)
            else:
                self.__dict__[name] = before
            raise

    def _assigned(self, name: str) -> None:
        if name in _ENTRIES:
            follow_assignment(self)
        if self._owner is not None and (network := self._owner()) is not None:
            network._layer_changed(self, name, name in _ENTRIES or name in self._options)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__.get("_array_shapes", ()):
            raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")
        super().__delattr__(name)
        if name in _ENTRIES:
            self._assigned(name)

    def _values(self) -> dict[str, Array]:
        """The parameters and buffers that have a value."""
        state = self.__dict__
        arrays = {name: state[name] for name in (*self._parameter_shapes, *self._buffer_shapes) if name in state}
        return arrays or self._preset

    def _bind(self, arrays: dict[str, Array], rng: Generator | None) -> None:
        """Take these arrays for its own: initialized where `rng` is given, then with the values it already had."""
        values = {
            name: as_parameter(value, f"{type(self).__name__}.{name}", arrays[name].shape, arrays[name].dtype)
            for name, value in self._values().items()
        }
        self.__dict__.update(arrays, _preset={}, _kept=None)
        if rng is not None:
            self.initialize(rng)
        for name, value in values.items():
            arrays[name][...] = value

    def __getstate__(self) -> dict[str, Any]:
        left_out = self._TRANSIENT | self._array_shapes.keys()
        state = {name: value for name, value in assigned(self).items() if name not in left_out}
        state["_preset"] = {name: value.copy() for name, value in self._values().items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not _ENTRIES.isdisjoint(state):
            follow_assignment(self)

    def _take_kept(self) -> Any:
        """What the last forward left; it serves one backward."""
        kept = self._kept
        if kept is None:
            raise RuntimeError(f"{self!r}: a backward needs a forward of its own before it")
        self._kept = None
        return kept

    def _backward(self, grad_outputs: Array, input_gradient: bool) -> Array | None:
        """`backward`, which may leave out dL/dx where it is not needed."""
        backward = self.backward
        if getattr(backward, "__func__", None) is Layer._backward_in_full:  # which would come back here
            backward = written(self, "backward")
        return backward(grad_outputs)

    def _backward_in_full(self, grad_outputs: Array) -> Array:
        grad_x = self._backward(grad_outputs, True)
        assert grad_x is not None
        return grad_x

    _SHORTCUTS: ClassVar[Shortcuts] = {
        "infer": {"forward": infer},
        "_backward": {"backward": _backward},
        "backward": {"_backward": _backward_in_full},
        "_trusted": {"forward": False, "infer": False, "backward": False, "_backward": False},
    }


_ENTRIES = frozenset({"forward", "infer", "backward", "_backward"})
_REQUIRED = {
    "forward": "forward(self, x, training), which returns the outputs and keeps what backward needs,",
    "backward": "backward(self, grad_outputs), which fills the gradients of the parameters and returns dL/dx",
}


def twin_of(layer: Layer) -> Layer:
    """Return a copy of a layer that shares its arrays and options, and those of the layers inside; it belongs to no network."""
    for name in layer._array_shapes:  # a layer on its own makes its arrays when the first is asked for
        getattr(layer, name)
        break
    twins = {id(child): twin_of(child) for child in layer.children().values()}
    twin = object.__new__(type(layer))
    twins[id(layer)] = twin
    twin.__dict__.update((name, _with_twins(value, twins)) for name, value in layer.__dict__.items())
    twin.__dict__["_owner"] = None
    if any(id(child) in twins for child in twin.children().values()):
        _replace_deeply(twin, layer, twins)
    return twin


def _replace_deeply(twin: Layer, layer: Layer, twins: Mapping[int, Layer]) -> None:
    """Put twins in place of layers that are held in some other way than in lists and dicts: in an OrderedDict, or an object."""
    arrays = (value for value in layer.__dict__.values() if isinstance(value, np.ndarray))
    shared = {**twins, **{id(array): array for array in arrays}}
    for name in layer.__dict__.keys() - layer._TRANSIENT:
        memo = _Memo(shared)
        with suppress(Exception):  # what cannot be copied, such as a lock, is shared
            copied = copy.deepcopy(layer.__dict__[name], memo)
            if memo.met_layers:
                twin.__dict__[name] = copied


class _Memo(dict[int, Any]):
    """What `copy.deepcopy` looks up; it notes whether there are layers in what is copied. All else stays shared."""

    met_layers = False

    def get(self, key: int, default: Any = None) -> Any:
        found = super().get(key, default)
        self.met_layers |= isinstance(found, Layer)
        return found


def _with_twins(value: Any, twins: Mapping[int, Layer]) -> Any:
    """The value of an attribute, with twins in place of layers."""
    if isinstance(value, Layer):
        return twins.get(id(value), value)
    if type(value) in (list, tuple):
        return type(value)(_with_twins(item, twins) for item in value)
    if type(value) is dict:
        return {key: _with_twins(item, twins) for key, item in value.items()}
    if isinstance(value, MethodType) and id(value.__self__) in twins:
        return MethodType(value.__func__, twins[id(value.__self__)])
    return value


def apply(layer: Layer, x: Array, training: bool) -> Array:
    """Return ``layer.forward(x, training)``; what comes from code outside this package is checked."""
    outputs = layer.forward(x, training)
    return outputs if layer._trusted else _checked_outputs(layer, x, outputs)


def apply_infer(layer: Layer, x: Array) -> Array:
    """Return ``layer.infer(x)``; what comes from code outside this package is checked."""
    outputs = layer.infer(x)
    return outputs if layer._trusted else _checked_outputs(layer, x, outputs)


def apply_backward(layer: Layer, grad_outputs: Array, input_gradient: bool = True) -> Array | None:
    """Return ``layer.backward(grad_outputs)``; what comes from code outside this package is checked."""
    grad_x = layer._backward(grad_outputs, input_gradient)
    if layer._trusted or (grad_x is None and not input_gradient):
        return grad_x
    columns = layer.fan_in
    if columns is None and layer.fan_out is None:
        columns = grad_outputs.shape[1]
    return _checked_rows(f"what {layer!r}.backward returned", grad_x, len(grad_outputs), columns, grad_outputs.dtype)


def walk(layers: Iterable[Layer], prefix: str) -> Iterator[tuple[str, Layer]]:
    """Yield every layer with its name, depth first: ``layers.0``, ``layers.1``, ``layers.1.block.0``, ..."""
    for index, layer in enumerate(layers):
        yield from _walk_one(f"{prefix}.{index}", layer)


def _walk_one(name: str, layer: Layer) -> Iterator[tuple[str, Layer]]:
    yield name, layer
    children = layer.children()
    if not isinstance(children, Mapping) or not all(isinstance(child, Layer) for child in children.values()):
        raise TypeError(f"{type(layer).__name__}.children() must return a mapping of names to layers, got {children!r:.100}")
    for child_name, child in children.items():
        yield from _walk_one(f"{name}.{child_name}", child)


def chain_widths(layers: Iterable[Layer], prefix: str) -> tuple[int | None, int | None]:
    """Return the width that goes into a chain of layers and the one that comes out, None where any will do.

    Raises
    ------
    ValueError
        When a layer takes another number of inputs than the one before it gives.
    """
    chain = list(layers)
    first: int | None = None
    width: int | None = None
    giver = 0
    for index, layer in enumerate(chain):
        if layer.fan_in is not None:
            if width is not None and width != layer.fan_in:
                taker, source = (f"{prefix}.{i} {chain[i]!r}" for i in (index, giver))
                raise ValueError(f"{taker} takes {layer.fan_in} inputs but {source} gives {width}")
            if width is None:
                first = layer.fan_in
            width, giver = layer.fan_in, index
        elif layer.fan_out is not None and width is None:
            raise ValueError(f"{prefix}.{index} {layer!r} has a fan_out but no fan_in, and no layer before it says how wide x is")
        if layer.fan_out is not None:
            width, giver = layer.fan_out, index
    return first, width


def _checked_shapes(layer: Layer, method: str) -> dict[str, tuple[int, ...]]:
    checked = {}
    shapes = getattr(layer, method)()
    if not isinstance(shapes, Mapping) or not all(isinstance(shape, Iterable) for shape in shapes.values()):
        wanted = "a mapping of names to shapes such as (3,) or (2, 3)"
        raise TypeError(f"{type(layer).__name__}.{method}() must return {wanted}, got {shapes!r:.100}")
    for name, shape in shapes.items():
        if not isinstance(name, str) or not name.isidentifier() or name.startswith(("_", "grad_")) or hasattr(type(layer), name):
            raise ValueError(f"{type(layer).__name__} cannot have a parameter or buffer named {name!r}")
        checked[name] = tuple(check_count(f"the shape of {type(layer).__name__}.{name}", size, minimum=0) for size in shape)
    return checked


def _checked_outputs(layer: Layer, x: Array, outputs: Array) -> Array:
    columns = layer.fan_out if layer.fan_out is not None else x.shape[1]
    return _checked_rows(f"what {layer!r} returned", outputs, len(x), columns, x.dtype)


def _checked_rows(name: str, array: Any, rows: int, columns: int | None, dtype: np.dtype[Any]) -> Array:
    matrix = as_matrix(array, name, dtype, columns, check_finite=False)
    if len(matrix) != rows:
        raise ValueError(f"{name} must have {rows} rows, got shape {matrix.shape}")
    return matrix
