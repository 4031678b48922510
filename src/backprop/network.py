"""The network: layers in a row over flat buffers of parameters and gradients."""

from __future__ import annotations

import copy
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from . import activations, initializers, kernels, losses
from ._arrays import (
    as_matrix,
    as_parameter,
    as_table,
    check_choice,
    check_count,
    check_dtype,
    check_flag,
    check_in,
    check_list,
    check_seed,
    require_finite,
)
from ._flat import FlatState, ParameterEntry, view
from ._html import table
from ._overrides import Shortcuts, assigned, follow_assignment, on_replacement
from ._plan import translate, translate_probe
from ._settings import Converted, as_given, fixed, made_by, option, optional
from ._suggestions import suggests_options
from ._summary import Summary, rows_of, summary_of
from ._types import Array, Communicator, GradientHook
from ._version import __version__
from .activations import ActivationFunction
from .layers import (
    Activation,
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    Noise,
    apply,
    apply_backward,
    apply_infer,
    chain_widths,
    twin_of,
    walk,
)
from .losses import Loss

if TYPE_CHECKING:
    from ._class_weights import ClassWeight
    from ._core import Plan
    from .history import History
    from .losses import LossFunction
    from .metrics import MetricSpec
    from .optimizers import Optimizer

__all__ = ["Network", "ParameterEntry", "mlp"]


def __dir__() -> list[str]:
    return sorted(__all__)


_PICKLE_FORMAT = 1
_SLICE = 1024  # rows that predict takes at a time unless told otherwise
_WORK = 10**9  # multiply-adds that are done without a look at whether Ctrl-C was pressed
_LEAST_ROWS = 128  # rows that go through the layers together in any case: a product reads all weights


LOSS = "the loss of a training step is computed"
_FORWARD = "a forward is under way"
_BACKWARD = "a backward is under way"
_CHANGED = "the network changed since the forward"
_PREDICTED = "the forward assigned to the network has gone forward with it since, to predict"
_NO_DERIVATIVES = (
    "the forward assigned to the network goes forward with that network, not with the copy that derivatives are taken of: "
    "assign types.MethodType(function, net), with a function(self, x, training=False) that calls Network.forward(self, x, training)"
)

Pending = tuple[int, "Plan | None", tuple[Any, ...]]  # a forward: its rows, its plan if it had one, and what built-in layers kept


class Work:
    """What a network is doing.

    Apart from the network, so that assigning to it costs nothing: attributes of a network are looked at (`Options.__setattr__`).
    """

    __slots__ = ("pending", "thread", "under_way")

    def __init__(self) -> None:
        self.pending: Pending | str | None = None  # the forward that awaits its backward; or why it cannot have one any more
        self.under_way: str | None = None
        self.thread = 0  # in which it is


class UnderWay:
    """While it is entered, a network refuses calls that would disturb the forward, loss or backward at work."""

    __slots__ = ("_net", "_what")

    def __init__(self, net: Network, what: str) -> None:
        self._net = net
        self._what = what

    def __enter__(self) -> None:
        self._net._check_idle(self._what)
        self._net._work.under_way = self._what
        self._net._work.thread = threading.get_ident()

    def __exit__(self, *error: object) -> None:
        self._net._work.under_way = None


class Network(FlatState):
    """Layers applied one after another.

    Parameters
    ----------
    layers : iterable of Layer
        The layers, in order. Each joins this network: its parameters become views into the network's flat buffers, with the values
        it was given before, if any, or freshly initialized.
    dtype : dtype
        "float32" or "float64": of parameters, inputs and outputs.
    seed : int, optional
        An int in [0, 2**64) that fixes the initial weights and what dropout drops. None draws one; `seed` tells which.

    Attributes
    ----------
    layers : tuple of Layer
    parameters, gradients, buffers : 1-D array
        All parameters in one row, densely packed in the order of `layout`; their gradients likewise; and what else layers
        remember, such as running statistics. Assigning copies into them.
    layout : tuple of ParameterEntry
        Name, layer, offset, length and shape of each parameter.
    n_inputs, n_outputs : int
    dtype : dtype
        Of parameters, inputs and outputs.
    seed : int
        The seed of the initial weights and of dropout.
    dropout_step : int
        The number of forwards in training mode so far, which is the step of the next one in the key of dropout's random numbers.
    loss : Loss or None
        The loss it was last trained with; saved with it, and read by `predict_proba`. A name or function is converted, as in
        `Trainer`.

    Raises
    ------
    ValueError
        When widths do not fit, naming both layers; when a layer is there twice or belongs to another network.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> net = bp.Network([bp.Dense(2, 3, activation="tanh"), bp.Dense(3, 1)], seed=0)
    >>> net.parameters.size, net.layers[0].weight.shape
    (13, (2, 3))
    >>> outputs = net.forward(np.ones((5, 2)), training=True)
    >>> net.backward(np.ones_like(outputs)).shape
    (5, 2)
    >>> bp.Network([bp.Dense(2, 3), bp.Dense(4, 1)])
    Traceback (most recent call last):
    ValueError: layers.1 Dense(4, 1) takes 4 inputs but layers.0 Dense(2, 3) gives 3
    """

    layers: tuple[Layer, ...] = fixed(as_given)
    n_inputs: int = fixed(as_given)
    n_outputs: int = fixed(as_given)
    seed: int = fixed(as_given, remedy="make a new network with another seed")
    loss: Converted[Loss | None, str | Loss | LossFunction | None] = option(optional(made_by(losses.get)))

    _REMEDY: ClassVar[str] = "make a new network, of copies of the layers that it shall have"

    def __init__(self, layers: Iterable[Layer], *, dtype: npt.DTypeLike = "float32", seed: int | None = None) -> None:
        self._assemble(tuple(check_list("layers", layers, "layers")), check_dtype(dtype), Noise(check_seed(seed)), initialize=True)

    def _assemble(self, layers: tuple[Layer, ...], dtype: np.dtype[Any], noise: Noise, initialize: bool) -> None:
        self.layers = layers
        self.n_inputs, self.n_outputs = _checked_widths(layers)
        self._named = tuple(walk(layers, "layers"))
        _check_free(self._named)
        self.dtype = dtype
        self.seed = noise.seed
        self.loss = None
        self._noise = noise
        self._forget_threads()
        self._seeds = np.empty((0, self.n_outputs), dtype)  # identity matrices, for `jacobian`
        self._plan: Plan | None = None
        self._probes: list[Plan] = []  # more plans, for `jacobian` and its like
        self._translated = False  # whether it is known if there is a plan
        self._replaces_methods = False  # whether one was assigned to the network itself
        self._lay_out(dtype)
        views, rng = self._views_of_layers(), np.random.default_rng(noise.seed) if initialize else None
        free = [(layer, dict(vars(layer))) for _, layer in self._named]
        try:
            for index, (_, layer) in enumerate(self._named):
                layer._bind(views[layer], rng)
                layer._noise, layer._index, layer._owner = noise, index, weakref.ref(self)
        except BaseException:  # values that the dtype does not hold, or an initializer that fails
            for layer, state in free:
                vars(layer).clear()
                vars(layer).update(state)
            raise

    def _forget_threads(self) -> None:
        """Be in use by no thread: at first, and after a fork, as the threads that used the network stayed in the parent."""
        self._in_training = threading.RLock()  # held by the trainer at work
        self._work = Work()
        self._process = os.getpid()  # whose threads these two are about

    def _changed(self, since_forward: bool = True) -> None:
        """Forget the plan, as a layer has changed; with ``since_forward`` also the forward that awaits its backward."""
        if since_forward:
            self._lose_forward()
        if self._plan is not None:
            self._plan.current = False
        self._plan = None
        self._probes = []
        self._translated = False

    def _layer_changed(self, layer: Layer, name: str, since_forward: bool) -> None:
        """Follow the assignment of an attribute of a layer: the plan takes over a number, and ends with anything else."""
        plan = self._plan if name in ("rate", "momentum", "eps") else None
        if plan is not None and plan.assign(layer._index, name, layer.__dict__[name]):
            self._lose_forward()
            self._probes = []
        else:
            self._changed(since_forward)

    def begin_update(self) -> None:
        """Take note that an optimizer is about to change the parameters: the last forward has no backward any more.

        Raises
        ------
        RuntimeError
            Within a loss or layer of this network, at work.
        """
        self._check_idle("optimizer.step")
        self._lose_forward()

    def _lose_forward(self) -> None:
        if self._work.pending is not None:
            self._work.pending = _CHANGED

    def _check_idle(self, call: str) -> None:
        """Refuse a call that would disturb what the network is doing."""
        if self._work.under_way is not None and self._work.thread != threading.get_ident() and self._process != os.getpid():
            self._forget_threads()
        if self._work.under_way is not None:
            raise RuntimeError(f"{call} is not possible while {self._work.under_way}; net.predict(x) is, as it keeps nothing")

    def _check_unlocked(self, layer: Layer, name: str) -> None:
        """Refuse to change a layer between a forward and its backward within a training step."""
        if self._work.under_way == LOSS:
            what = f"{layer!r}.{name}"
            raise RuntimeError(f"{what} cannot be assigned while {LOSS}: the backward needs what the forward was made with")

    def _ready_plan(self) -> Plan | None:
        """Return the plan to run now, or None where the way is layer by layer."""
        if not self._translated and kernels.compiled() is not None:
            self._plan = None if self._replaces_methods else translate(self)
            self._translated = True
            _with_plans.add(self)
        return None if self._plan is None or kernels.compiled() is None else self._plan

    @property
    def dropout_step(self) -> int:
        """The number of forwards in training mode so far."""
        return self._noise.step

    @dropout_step.setter
    def dropout_step(self, step: int) -> None:
        self._noise.step = check_count("dropout_step", step, minimum=0, maximum=2**64 - 1)

    @property
    def output_activation(self) -> ActivationFunction:
        """The activation function that the outputs come out of: identity unless the network ends in one."""
        for layer in reversed(self.layers):
            if isinstance(layer, (Dense, Activation)) and layer._trusted:
                return layer.activation
            if not isinstance(layer, Dropout):
                break
        return activations.identity

    def forward(self, x: npt.ArrayLike, training: bool = False) -> Array:
        """Return the outputs for x and keep what one `backward` needs.

        Parameters
        ----------
        x : array-like (n, n_inputs)
            Anything that NumPy reads as numbers. It is copied: changing it afterwards has no effect.
        training : bool
            Whether dropout drops and batch normalization uses the batch.

        Returns
        -------
        array (n, n_outputs)
            Raw outputs, a fresh array.

        Raises
        ------
        RuntimeError
            Within a loss or layer of this network, at work: their backward needs the forward that is there.
        """
        if self._work.under_way is not None:
            self._check_idle("net.forward")
        if training is not True and training is not False:
            training = check_flag("training", training)
        plain = self._go_by_plan(x, training)
        if plain is not None:
            return plain
        rows = as_matrix(x, "x", self.dtype, self.n_inputs, check_finite=False)
        plan = self._ready_plan()
        # Neither a list nor a conversion to another dtype leaves an array that other code holds.
        if plan is None and (rows is x or rows.base is not None or not isinstance(x, np.ndarray | list | tuple)):
            rows = rows.copy()
        outputs = self._go_forward(rows, training)
        return outputs if plan is not None else outputs.copy()

    def _go_by_plan(self, x: npt.ArrayLike, training: bool, check_finite: bool = False) -> Array | None:
        """`forward` by plan, of an x that needs no conversion; None, and nothing is done, for any other."""
        plan = self._ready_plan()
        outputs: Array | None = None if plan is None else plan.attempt(x, training, self._noise, check_finite)
        if outputs is not None:
            self._work.pending = len(outputs), plan, ()
        return outputs

    def _go_forward(self, x: Array, training: bool) -> Array:
        """Like `forward`, for an array that already meets the kernel contract.

        Neither `x` nor the result may be modified before `backward`.
        """
        self._work.pending = None
        plan = self._ready_plan()
        kept: tuple[Any, ...] = ()
        if plan is not None and plan.takes(len(x), training):
            outputs: Array = plan.forward(x, training, self._noise.step)
        else:
            plan, outputs = None, x
            with UnderWay(self, _FORWARD):
                for layer in self.layers:
                    outputs = apply(layer, outputs, training)
            kept = tuple(layer._kept for _, layer in self._named)
        self._noise.step += training
        self._work.pending = len(x), plan, kept
        return outputs

    def backward(self, grad_outputs: npt.ArrayLike, accumulate: bool = False) -> Array:
        """Fill `gradients` and return dL/dx, given dL/doutputs of the last `forward`.

        Parameters
        ----------
        grad_outputs : array-like (n, n_outputs)
            dL/doutputs.
        accumulate : bool
            Add to the gradients that are there instead of overwriting them.

        Returns
        -------
        array (n, n_inputs)

        Raises
        ------
        RuntimeError
            When there was no forward since the last backward, or the network changed since: an option of a built-in layer, or
            parameters that were assigned. (What is written into the arrays goes unnoticed.)
        ValueError
            When grad_outputs has another shape than the outputs.
        """
        work = self._work
        if work.under_way is not None or type(work.pending) is not tuple:
            self._check_idle("net.backward")
            self._awaiting()
        if accumulate is not True and accumulate is not False:
            accumulate = check_flag("accumulate", accumulate)
        grad = as_matrix(grad_outputs, "grad_outputs", self.dtype, self.n_outputs, check_finite=False)
        before = self._gradients.copy() if accumulate else None
        _, plan, _ = self._awaiting()
        grad_x = self._go_backward(grad)
        assert grad_x is not None
        if before is not None:
            self._gradients += before
        return grad_x if plan is not None else grad_x.copy()  # a layer may return what it was given, or keeps

    def _go_backward(self, grad_outputs: Array, input_gradient: bool = True) -> Array | None:
        """Like `backward`, for an array that already meets the kernel contract; without `input_gradient` dL/dx may be left out."""
        rows, plan, kept = self._awaiting()
        if len(grad_outputs) != rows:
            shape = grad_outputs.shape
            raise ValueError(f"grad_outputs must have the shape of the outputs, ({rows}, {self.n_outputs}), got {shape}")
        self._work.pending = None
        if plan is not None:
            grad_x: Array | None = plan.backward(grad_outputs, input_gradient)
            return grad_x
        for (name, layer), what in zip(self._named, kept, strict=True):
            if layer._kept is not what:
                raise RuntimeError(f"{name} {layer!r} has had another forward since that of the network")
        grad: Array | None = grad_outputs
        with UnderWay(self, _BACKWARD):
            for layer in reversed(self.layers):
                assert grad is not None
                grad = apply_backward(layer, grad, input_gradient or layer is not self.layers[0])
        return grad

    def _awaiting(self) -> Pending:
        """Return the forward that awaits its backward."""
        pending = self._work.pending
        if isinstance(pending, tuple):
            return pending
        reason = "each backward needs a forward of its own before it" if pending is None else pending
        raise RuntimeError(f"{reason}: call net.forward(x) first")

    def predict(self, x: npt.ArrayLike, out: Array | None = None, *, batch_size: int = _SLICE, check_finite: bool = False) -> Array:
        """Return the raw outputs (logits) for x in evaluation mode.

        Keeps nothing, so any number of threads may predict with one network at once.

        Parameters
        ----------
        x : array-like (n, n_inputs)
            n may be zero.
        out : array (n, n_outputs), optional
            Of the network's dtype, to write into; it shares no memory with x.
        batch_size : int
            The number of rows that go through the layers at a time, which bounds the memory for what lies between them.
        check_finite : bool
            Refuse NaN and infinity in x. By default they go through the network like any number: a row with a NaN has NaN
            outputs, and ``outputs.argmax(axis=1)`` of these is 0, the first class.

        Returns
        -------
        array (n, n_outputs)
            `out`, or a fresh array.

        Raises
        ------
        TypeError, ValueError
            When x or `out` does not fit the network, or with `check_finite` x is not finite.
        """
        if self._plan is not None and out is None and batch_size is _SLICE and check_finite is False:
            outputs: Array | None = self._plan.predict(x)  # None for an x that takes more looking at
            if outputs is not None:
                return outputs
        return self._in_slices(self._go_through, x, out, batch_size, check_finite)

    def _in_slices(
        self,
        infer: Callable[[Array], Array],
        x: npt.ArrayLike,
        out: Array | None,
        batch_size: int,
        check_finite: bool,
    ) -> Array:
        """`predict` with the outputs that ``infer`` computes of ``batch_size`` rows at a time."""
        batch_size, check_finite = check_count("batch_size", batch_size), check_flag("check_finite", check_finite)
        table = x if type(x) is np.ndarray and x.dtype == self.dtype and x.ndim == 2 else as_table(x, "x", self.n_inputs)
        if out is None and len(table) <= batch_size:
            outputs = infer(as_matrix(table, "x", self.dtype, self.n_inputs, check_finite=check_finite))
            fresh = infer == self._go_through and self._computes_alone() and not np.may_share_memory(outputs, table)
            return outputs if fresh else outputs.copy()
        if table.shape[1] != self.n_inputs:
            as_table(table, "x", self.n_inputs)

        def prepared(start: int) -> Array:
            rows = as_matrix(table[start : start + batch_size], "x", self.dtype, self.n_inputs, check_finite=False)
            if check_finite:
                require_finite(rows, "x", first_row=start)
            return rows

        result = np.empty((len(table), self.n_outputs), self.dtype) if out is None else self._checked_out(out, table)
        starts = range(0, len(table), batch_size)
        if out is not None and (check_finite or table.dtype.itemsize > self.dtype.itemsize):
            for start in starts:  # an x that is refused leaves `out` as it is
                prepared(start)
        for start in starts:
            result[start : start + batch_size] = infer(prepared(start))
        return result

    def infer(self, x: Array) -> Array:
        """Return the outputs in evaluation mode for an array that already meets the kernel contract, unchecked, all rows at once.

        Keeps nothing. A network that changes nothing in evaluation mode (dropout alone) returns x itself.
        """
        return self._go_through(x)

    def _go_through(self, x: Array) -> Array:
        plan = self._ready_plan()
        outputs: Array | None = None if plan is None else plan.predict(x)
        if outputs is not None:
            return outputs
        if len(x) <= self._rows_at_once():
            return self._infer_layers(x)
        outputs = np.empty((len(x), self.n_outputs), self.dtype)
        for part in _even_slices(len(x), self._rows_at_once()):
            outputs[part] = self._infer_layers(x[part])
        return outputs

    def _infer_layers(self, x: Array) -> Array:
        for layer in self.layers:
            x = apply_infer(layer, x)
        return x

    def _computes_alone(self) -> bool:
        """Whether no code outside this package takes part, which may go on using an array that it returned."""
        return self._plan is not None or all(layer._trusted for _, layer in self._named)

    # What the trainer calls, and what takes its place where a subclass, or an assignment to the network, replaces a method above.

    _attempt = _go_by_plan
    _forward = _go_forward
    _backward = _go_backward

    def _no_attempt(self, x: npt.ArrayLike, training: bool, check_finite: bool = False) -> Array | None:
        return None

    def _forward_by_forward(self, x: Array, training: bool) -> Array:
        return self._checked_outputs(self.forward(x, training), x)

    def _backward_by_backward(self, grad_outputs: Array, input_gradient: bool = True) -> Array | None:
        grad_x = self.backward(grad_outputs)
        if not input_gradient:
            return grad_x
        return as_parameter(grad_x, f"what {type(self).__name__}.backward returned", (len(grad_outputs), self.n_inputs), self.dtype)

    def _infer_by_predict(self, x: Array) -> Array:
        return self._checked_outputs(self.predict(x), x)

    def _infer_by_forward(self, x: Array) -> Array:
        before = self._work.pending
        outputs = self._twin().forward(x, False)
        self._lose_forward_to_prediction(before)
        return self._checked_outputs(outputs, x)

    def _lose_forward_to_prediction(self, before: Pending | str | None) -> bool:
        """Lose the forward that awaits its backward if an assigned one has gone forward with this network, not with its twin.

        Tells whether it has; ``before`` is what was awaited before the prediction.
        """
        if "forward" not in self.__dict__ or self._work.pending is before:
            return False
        self._work.pending = _PREDICTED
        return True

    def _predict_by_infer(
        self, x: npt.ArrayLike, out: Array | None = None, *, batch_size: int = _SLICE, check_finite: bool = False
    ) -> Array:
        """Return the raw outputs (logits) for x in evaluation mode; see `Network.predict`."""
        return self._in_slices(self.infer, x, out, batch_size, check_finite)

    def _checked_outputs(self, outputs: Any, x: Array) -> Array:
        """The outputs that a method from outside this package returned for x."""
        return as_parameter(outputs, f"what {type(self).__name__} returned", (len(x), self.n_outputs), self.dtype)

    _trains_by_plan = True
    _SHORTCUTS: ClassVar[Shortcuts] = {
        "_attempt": {"forward": _no_attempt},
        "_forward": {"forward": _forward_by_forward},
        "_backward": {"backward": _backward_by_backward},
        "predict": {"forward": _predict_by_infer, "infer": _predict_by_infer},
        "infer": {"forward": _infer_by_forward, "predict": _infer_by_predict},
        "_trains_by_plan": {"forward": False, "backward": False, "_forward": False, "_backward": False},
    }

    def _assigned(self, name: str) -> None:
        if name in _METHODS:
            follow_assignment(self)
            self._replaces_methods = not _METHODS.isdisjoint(self.__dict__)
            self._changed()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._assigned(name)

    def _twin(self) -> Network:
        """Return a network that shares the parameters and options of this one, to go forward and backward beside it.

        Its gradients and buffers, and what its layers keep, are its own; its layers are frozen.
        """
        twin = object.__new__(type(self))
        for name, value in self.__dict__.items():
            bound = isinstance(value, MethodType) and value.__self__ is self
            twin.__dict__[name] = MethodType(value.__func__, twin) if bound else value
        twins = [twin_of(layer) for layer in self.layers]
        twin.__dict__.update(
            layers=tuple(twins),
            _named=tuple(walk(twins, "layers")),
            _gradients=np.zeros_like(self._gradients),
            _buffers=self._buffers.copy(),
            _noise=Noise(self.seed, self.dropout_step),
            _plan=None,
            _translated=True,
            _work=Work(),
        )
        theirs = {layer: other for (_, layer), (_, other) in zip(self._named, twin._named, strict=True)}
        for layer, other in theirs.items():
            if layer is other:
                raise TypeError(f"a layer must hold the layers inside it in its attributes, but none holds {layer!r}")
        for entry in self.layout:
            name = entry.name.rpartition(".")[2]
            theirs[entry.layer].__dict__[f"grad_{name}"] = view(twin._gradients, entry)
        for entry in self._buffer_layout:
            theirs[entry.layer].__dict__[entry.name.rpartition(".")[2]] = view(twin._buffers, entry)
        for layer in theirs.values():
            if not isinstance(type(layer).__dict__.get("trainable"), property):
                layer.__dict__["trainable"] = False
        return twin

    def _rows_at_once(self) -> int:
        """The number of rows that take a fraction of a second, after which Python looks whether Ctrl-C was pressed."""
        return max(_LEAST_ROWS, _WORK // max(self._parameters.size, 64 * self.n_inputs))

    def predict_proba(
        self, x: npt.ArrayLike, *, link: str | None = None, batch_size: int = _SLICE, check_finite: bool = False
    ) -> Array:
        """Return probabilities (n, n_outputs): the softmax or sigmoid of the outputs.

        Parameters
        ----------
        x, batch_size, check_finite : array-like, int, bool
            As for `predict`.
        link : str, optional
            "softmax" for one class of n_outputs, "sigmoid" for outputs that each are a positive or negative class. None takes the
            link of `loss`, the loss that the network was last trained with. A network that ends in softmax or sigmoid needs none.

        Raises
        ------
        ValueError
            When there is no link: `loss` is None, as after training by hand, or is not about probabilities. Also for a `link` where
            the network ends in softmax or sigmoid itself.

        Examples
        --------
        >>> import backprop as bp
        >>> net = bp.Network([bp.Dense(2, 1)], seed=0)
        >>> net.predict_proba([[0.0, 0.0]], link="sigmoid")
        array([[0.5]], dtype=float32)
        """
        chosen = self._link(link)
        outputs = self.predict(x, batch_size=batch_size, check_finite=check_finite)
        return outputs if chosen is None else activations.get(chosen)(outputs)

    def _link(self, link: str | None) -> str | None:
        """What turns the outputs into probabilities; None where they are probabilities."""
        last = self.output_activation.name
        if last in ("softmax", "sigmoid"):
            if link is not None:
                raise ValueError(f"link must be None where the network ends in {last} already, got {link!r}")
            return None
        if link is not None:
            return check_choice("link", link, ("softmax", "sigmoid"))
        if self.loss is not None and self.loss.link in ("softmax", "sigmoid"):
            return self.loss.link
        why = "the network has none (net.loss is None)" if self.loss is None else f"net.loss is {self.loss!r}"
        raise ValueError(
            f"predict_proba needs a loss on logits, such as cross_entropy or binary_cross_entropy, but {why}: give link='softmax' "
            "or link='sigmoid', or assign the loss that the network was trained with to net.loss"
        )

    def jacobian(self, x: npt.ArrayLike) -> Array:
        """Return d outputs / d inputs for every row, in evaluation mode.

        Gradients and a pending backward are left alone, and any number of threads may ask at once. The cost is that of one forward
        and backward of each row repeated n_outputs times, in which each copy asks for another output.

        Parameters
        ----------
        x : array (n, n_inputs)
            Inputs.

        Returns
        -------
        array (n, n_outputs, n_inputs)

        Examples
        --------
        >>> import backprop as bp
        >>> layer = bp.Dense(2, 1)
        >>> layer.weight = [[3.0], [4.0]]
        >>> bp.Network([layer]).jacobian([[0.0, 0.0]])
        array([[[3., 4.]]], dtype=float32)
        """
        return self.value_and_jacobian(x)[1]

    def value_and_jacobian(self, x: npt.ArrayLike) -> tuple[Array, Array]:
        """Return the outputs of `predict` and the `jacobian`, at the cost of the latter.

        Parameters
        ----------
        x : array (n, n_inputs)
            Inputs.

        Returns
        -------
        outputs : array (n, n_outputs)
        jacobian : array (n, n_outputs, n_inputs)

        Examples
        --------
        >>> import backprop as bp
        >>> layer = bp.Dense(2, 1, activation="relu")
        >>> layer.weight = [[3.0], [4.0]]
        >>> bp.Network([layer]).value_and_jacobian([[1.0, 1.0], [-1.0, -1.0]])
        (array([[7.],
               [0.]], dtype=float32), array([[[3., 4.]],
        <BLANKLINE>
               [[0., 0.]]], dtype=float32))
        """
        rows = as_matrix(x, "x", self.dtype, self.n_inputs, check_finite=False)
        n, k = len(rows), self.n_outputs
        outputs, jacobian = np.empty((n, k), self.dtype), np.empty((n, k, self.n_inputs), self.dtype)
        step = max(1, min(_SLICE, self._rows_at_once()) // k)
        for start in range(0, n, step):
            part = rows[start : start + step]
            values, slopes = self._pull_back(part.repeat(k, axis=0), self._each_output(len(part)))
            outputs[start : start + step] = values[::k]
            jacobian[start : start + step] = slopes.reshape(-1, k, self.n_inputs)
        return outputs, jacobian

    def input_gradient(self, x: npt.ArrayLike, v: npt.ArrayLike) -> Array:
        """Return the gradient of a weighted sum of the outputs with respect to the inputs, for every row: ``v @ jacobian``.

        The vector-Jacobian product in evaluation mode, at the cost of one forward and backward. Gradients and a pending backward
        are left alone, and any number of threads may ask at once.

        Parameters
        ----------
        x : array (n, n_inputs)
            Inputs.
        v : array (n, n_outputs)
            The weights of the outputs, or dL/doutputs.

        Returns
        -------
        array (n, n_inputs)

        Raises
        ------
        ValueError
            When x and v have other shapes.

        Examples
        --------
        >>> import backprop as bp
        >>> layer = bp.Dense(2, 2, bias=False)
        >>> layer.weight = [[3.0, 1.0], [4.0, 1.0]]
        >>> bp.Network([layer]).input_gradient([[0.0, 0.0]], [[1.0, -1.0]])
        array([[2., 3.]], dtype=float32)
        """
        rows = as_matrix(x, "x", self.dtype, self.n_inputs, check_finite=False)
        weights = as_matrix(v, "v", self.dtype, self.n_outputs, check_finite=False)
        if len(rows) != len(weights):
            raise ValueError(f"x and v must have the same number of rows, got shapes {rows.shape} and {weights.shape}")
        most = min(_SLICE, self._rows_at_once())
        if 0 < len(rows) <= most:
            return self._pull_back(rows, weights)[1]
        gradient = np.empty((len(rows), self.n_inputs), self.dtype)
        for part in _even_slices(len(rows), most):
            gradient[part] = self._pull_back(rows[part], weights[part])[1]
        return gradient

    def _each_output(self, rows: int) -> Array:
        """The identity matrix, ``rows`` times, one below the other."""
        seeds = self._seeds
        if len(seeds) < rows * self.n_outputs:
            self._seeds = seeds = np.tile(np.eye(self.n_outputs, dtype=self.dtype), (rows, 1))
        return seeds[: rows * self.n_outputs]

    def _pull_back(self, rows: Array, grad_outputs: Array) -> tuple[Array, Array]:
        """The outputs in evaluation mode, and dL/dx, given dL/doutputs; both arrays already meet the kernel contract."""
        plan = self._ready_plan() if self._trains_by_plan else None
        if plan is None:
            twin, before = self._twin(), self._work.pending
            outputs = twin._forward(rows, False)
            if self._lose_forward_to_prediction(before):
                raise RuntimeError(_NO_DERIVATIVES)
            grad_x = twin._backward(grad_outputs, True)
            assert grad_x is not None
            return outputs, grad_x.copy()  # a layer may return what it was given, or keeps
        probes = self._probes  # those that no thread is using; another list after the network has changed
        try:
            probe = probes.pop()
        except IndexError:
            probe = translate_probe(self)
        pulled = plan.pull_back(probe, rows, grad_outputs)
        probes.append(probe)
        return pulled

    @suggests_options
    def fit(
        self,
        x: Any,
        y: npt.ArrayLike | None = None,
        *,
        loss: str | Loss | LossFunction,
        optimizer: str | Optimizer = "adam",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        metrics: Sequence[MetricSpec] | None = None,
        accumulate_steps: int = 1,
        l2: float = 0.0,
        on_gradients: GradientHook | None = None,
        comm: Communicator | None = None,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: Any = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        drop_last: bool = False,
        class_weight: ClassWeight | None = None,
        sample_weight: npt.ArrayLike | None = None,
        callbacks: Any = (),
        seed: int | None = None,
        steps_per_epoch: int | None = None,
        verbose: bool | None = None,
        check_finite: bool = True,
    ) -> History:
        """Train the network: make a `Trainer` and call its `fit`.

        Parameters
        ----------
        x : array-like (n, n_inputs), or iterable of batches
            Inputs. Without y: an iterable (or a function that returns one) of batches ``(x, y)`` or ``(x, y, sample_weight)``.
        y : array-like
            Targets, as the loss takes them; n rows.
        loss : str, Loss or callable
            What training minimizes: a name in `losses.NAMES`, a `Loss`, or ``loss(outputs, targets) -> (value, dL/doutputs)``.
        optimizer : str or Optimizer
            A name starts fresh; an object keeps its moments and continues from them on the same network.
        clip_norm, clip_value : float, optional
            Upper bound of the gradients' global norm, or of the size of every gradient.
        metrics : sequence of str or callable, optional
            What is computed beside the loss; by default what fits the loss.
        accumulate_steps : int
            The number of steps in one update, which has the gradient of all their rows together.
        l2 : float
            The L2 penalty of the weights, divided by the rows of a batch; see `Trainer`.
        on_gradients : callable, optional
            Is called with the flat gradients between backward and update; see `Trainer`.
        comm : mpi4py.MPI.Comm, optional
            Trains on the rows of all ranks together; see `backprop.distributed.fit`.
        epochs : int
            The number of epochs.
        batch_size : int
            Rows of a step.
        validation_data : tuple (x, y) or (x, y, sample_weight), or iterable of batches, optional
            What is evaluated after each epoch.
        validation_split : float
            The share of the rows to keep for that instead, in [0, 1).
        shuffle : bool
            Whether rows come in a new random order each epoch.
        drop_last : bool
            Whether to leave out a last batch that is not full.
        class_weight : mapping, sequence or "balanced", optional
            Weights of the classes.
        sample_weight : array-like (n,), optional
            Weights of the rows.
        callbacks : callback or sequence of callbacks
            See `backprop.callbacks`.
        seed : int, optional
            Fixes the order of the rows; by default it follows from the network's seed.
        steps_per_epoch : int, optional
            Where x is an iterable: the number of batches of an epoch.
        verbose : bool, optional
            Whether to show a progress bar; None shows it on a terminal or in a notebook.
        check_finite : bool
            Whether to refuse NaN and infinity in x and y.

        Returns
        -------
        History
            The loss and the metrics of each epoch.

        Raises
        ------
        ValueError, TypeError
            When an argument is not valid, before anything changes; see `Trainer` and `Trainer.fit`.
        DivergenceError
            When the loss, the gradient or the parameters are no longer finite.

        Examples
        --------
        >>> import backprop as bp
        >>> net = bp.mlp([1, 1], seed=0)
        >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=bp.SGD(lr=0.3), epochs=100)
        >>> net.predict([[2.0]]).round(3)
        array([[5.]], dtype=float32)
        """
        from .training import Trainer

        trainer = Trainer(
            self,
            loss=loss,
            optimizer=optimizer,
            clip_norm=clip_norm,
            clip_value=clip_value,
            metrics=metrics,
            accumulate_steps=accumulate_steps,
            l2=l2,
            on_gradients=on_gradients,
            comm=comm,
        )
        return trainer.fit(
            x,
            y,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=validation_data,
            validation_split=validation_split,
            shuffle=shuffle,
            drop_last=drop_last,
            class_weight=class_weight,
            sample_weight=sample_weight,
            callbacks=callbacks,
            seed=seed,
            steps_per_epoch=steps_per_epoch,
            verbose=verbose,
            check_finite=check_finite,
        )

    @suggests_options
    def evaluate(
        self,
        x: Any,
        y: npt.ArrayLike | None = None,
        *,
        loss: str | Loss | LossFunction | None = None,
        metrics: Sequence[MetricSpec] | None = None,
        sample_weight: npt.ArrayLike | None = None,
        batch_size: int = _SLICE,
        check_finite: bool = True,
    ) -> dict[str, float]:
        """Return the loss and the metrics on data, in evaluation mode.

        Parameters
        ----------
        x : array-like (n, n_inputs), or iterable of batches
            Inputs. Without y: an iterable of batches ``(x, y)`` or ``(x, y, sample_weight)``.
        y : array-like
            Targets, as the loss takes them; n rows.
        loss : str, Loss or callable, optional
            By default the loss that the network was last trained with.
        metrics : sequence of str or callable, optional
            What is computed beside the loss; by default what fits the loss.
        sample_weight : array-like (n,), optional
            Weights of the rows.
        batch_size : int
            Rows that go through the network at a time.
        check_finite : bool
            Whether to refuse NaN and infinity in x and y.

        Returns
        -------
        dict of str to float
            ``{"loss": ..., "accuracy": ...}``; the loss without weight decay, averaged over rows.

        Examples
        --------
        >>> import backprop as bp
        >>> layer = bp.Dense(1, 1)
        >>> layer.weight, layer.bias = [[2.0]], [1.0]
        >>> bp.Network([layer]).evaluate([[0.0], [1.0]], [1.0, 4.0], loss="mse", metrics=["mae"])
        {'loss': 0.5, 'mae': 0.5}
        """
        from .training import evaluate

        return evaluate(
            self,
            x,
            y,
            loss=loss,
            metrics=metrics,
            sample_weight=sample_weight,
            batch_size=batch_size,
            check_finite=check_finite,
        )

    def save(self, path: str | os.PathLike[str], *, metadata: Mapping[str, Any] | None = None) -> None:
        """Write architecture and weights to one file, which `load` reads; see `backprop.serialization.save`.

        Parameters
        ----------
        path : str or path
            The file; by custom it ends in ``.safetensors``.
        metadata : mapping, optional
            Anything that JSON can hold, for `backprop.serialization.read_metadata`.
        """
        from .serialization import save

        save(self, path, metadata=metadata)

    def to_torch_state_dict(self, *, like: Any = None) -> dict[str, Any]:
        """Return parameters and statistics as PyTorch's `load_state_dict` takes them; see `backprop.convert.to_torch_state_dict`.

        Parameters
        ----------
        like : torch.nn.Module or state dict, optional
            What the arrays are to be loaded into: its names are used, in its order. Without it, the names are those of a
            ``Sequential`` that has one module for each layer, and one for each activation after its dense layer.

        Returns
        -------
        dict of str to torch.Tensor
        """
        from .convert import to_torch_state_dict

        return to_torch_state_dict(self, like=like)

    def copy(self) -> Network:
        """Return an independent network with the same layers and values, and with gradients zero."""
        return copy.deepcopy(self)

    def astype(self, dtype: npt.DTypeLike) -> Network:
        """Return an independent copy of this network in another dtype."""
        return self._copied({}, dtype=check_dtype(dtype).name)

    def __copy__(self) -> Network:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return self._copied(memo)

    def _copied(self, memo: dict[int, Any], **changes: Any) -> Network:
        network = Network.__new__(type(self))
        memo[id(self)] = network
        copied: dict[str, Any] = {"layers": copy.deepcopy(self.layers, memo), "loss": copy.deepcopy(self.loss, memo)}
        copied["attributes"] = copy.deepcopy(self._attributes(), memo)  # these may hold layers, or methods of the network
        network.__setstate__({**self.__getstate__(), **copied, **changes})
        return network

    def _attributes(self) -> dict[str, Any]:
        """What a subclass, or assignments to the network, have added to the attributes."""
        return {name: value for name, value in assigned(self).items() if name not in _own_attributes()}

    def __getstate__(self) -> dict[str, Any]:
        """Return the layers, which hold their values, and what else fixes the network's behaviour; never a view."""
        return {
            "format": _PICKLE_FORMAT,
            "version": __version__,
            "layers": self.layers,
            "dtype": self.dtype.name,
            "seed": self.seed,
            "dropout_step": self.dropout_step,
            # A custom loss is code: like a saved file, a pickle goes without it.
            "loss": None if self.loss is None or not self.loss.is_saved else self.loss,
            "attributes": self._attributes(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state.get("format") != _PICKLE_FORMAT:
            found = state.get("format")
            raise ValueError(f"backprop {__version__} reads pickles of format {_PICKLE_FORMAT}, this one has format {found!r}")
        if state["version"] != __version__:
            warnings.warn(
                f"this Network was pickled by backprop {state['version']} and is read by {__version__}; "
                "net.save and backprop.load are made to last between versions, pickles are not",
                stacklevel=3,
            )
        noise = Noise(state["seed"], state["dropout_step"])
        self._assemble(tuple(state["layers"]), np.dtype(state["dtype"]), noise, initialize=False)
        self.loss = state["loss"]
        self.__dict__.update(state.get("attributes", {}))
        if not _METHODS.isdisjoint(self.__dict__):
            self._assigned(next(iter(_METHODS & self.__dict__.keys())))

    def summary(self) -> Summary:
        """Return a table of the layers: name, layer, shape, parameters, activation.

        Examples
        --------
        >>> import backprop as bp
        >>> bp.mlp([4, 32, 2], activation="tanh", seed=0).summary()
        name      layer  shape    parameters  activation
        layers.0  Dense  4 -> 32         160  tanh
        layers.1  Dense  32 -> 2          66  identity
        226 parameters, 226 trainable, float32, 904 bytes
        """
        return summary_of(self._named, self._parameters)

    def _repr_html_(self) -> str:
        """Return the table of the layers for a notebook."""
        rows, total = rows_of(self._named, self._parameters)
        return f"{table(rows)}<p>{total}</p>"

    def __repr__(self) -> str:
        layers = "".join(f"    {layer!r},\n" for layer in self.layers)
        return f"Network([\n{layers}], dtype={self.dtype.name!r}, seed={self.seed})"

    def _checked_out(self, out: Array, x: npt.NDArray[Any]) -> Array:
        shape = (len(x), self.n_outputs)
        if not isinstance(out, np.ndarray) or out.dtype != self.dtype:
            given = f"dtype {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
            raise TypeError(f"out must be an array of {self.dtype}, got {given}")
        if out.shape != shape:
            raise ValueError(f"out must have shape {shape}, got {out.shape}")
        if not out.flags.writeable:
            raise ValueError("out must be writable")
        if np.may_share_memory(out, x):
            raise ValueError("out must share no memory with x")
        return out


_METHODS = frozenset({"forward", "backward", "predict", "infer"})
_with_plans: weakref.WeakSet[Network] = weakref.WeakSet()


@cache
def _own_attributes() -> frozenset[str]:
    """The attributes that every network has."""
    return frozenset(vars(Network([Dense(1, 1)], seed=0)))


def _forget_plans() -> None:
    for network in list(_with_plans):
        network._changed()


on_replacement(_forget_plans)


def mlp(
    sizes: Sequence[int],
    *,
    activation: str | ActivationFunction = "relu",
    output_activation: str | ActivationFunction = "identity",
    dropout: float = 0.0,
    batch_norm: bool = False,
    init: str | initializers.Draw | None = None,
    dtype: npt.DTypeLike = "float32",
    seed: int | None = None,
) -> Network:
    """Return a network of dense layers.

    Parameters
    ----------
    sizes : sequence of int
        The number of inputs, the width of each hidden layer, the number of outputs.
    activation : str or ActivationFunction
        Of the hidden layers.
    output_activation : str or ActivationFunction
        Of the last layer; "identity" gives the raw outputs that losses work on.
    dropout : float
        The rate of a `Dropout` after each hidden layer; 0 leaves it out.
    batch_norm : bool
        Normalize between the sum and the activation of each hidden layer, which then needs no bias.
    init : str, Initializer or callable, optional
        How weights start; None picks what suits the activation.
    dtype, seed : dtype, int
        As in `Network`.

    Examples
    --------
    >>> import backprop as bp
    >>> bp.mlp([64, 32, 10], dropout=0.5, seed=0)
    Network([
        Dense(64, 32, activation='relu'),
        Dropout(0.5),
        Dense(32, 10),
    ], dtype='float32', seed=0)
    """
    sizes = [check_count(f"sizes[{index}]", size) for index, size in enumerate(check_list("sizes", sizes, "integers"))]
    if len(sizes) < 2:
        raise ValueError(f"sizes must hold at least the number of inputs and of outputs, got {sizes}")
    rate, batch_norm = check_in("dropout", dropout, 0, 1, closed="left"), check_flag("batch_norm", batch_norm)
    hidden = activations.get(activation)
    layers: list[Layer] = []
    for fan_in, fan_out in pairwise(sizes[:-1]):
        if batch_norm:
            start = initializers.default_for(hidden.name) if init is None else init
            layers += [Dense(fan_in, fan_out, init=start, bias=False), BatchNorm(fan_out), Activation(hidden)]
        else:
            layers.append(Dense(fan_in, fan_out, activation=hidden, init=init))
        if rate > 0:
            layers.append(Dropout(rate))
    layers.append(Dense(sizes[-2], sizes[-1], activation=output_activation, init=init))
    return Network(layers, dtype=dtype, seed=seed)


def _even_slices(count: int, most: int) -> Iterator[slice]:
    """Yield slices of at most ``most`` rows, of nearly equal length: products of very few rows add up in another order."""
    parts = -(-count // most)
    for part in range(parts):
        yield slice(count * part // parts, count * (part + 1) // parts)


def _checked_widths(layers: tuple[Layer, ...]) -> tuple[int, int]:
    """Return how many inputs and outputs the layers have, after a look at whether they fit."""
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(f"layers must hold layers, got {layer!r}")
    n_inputs, n_outputs = chain_widths(layers, "layers")
    if n_inputs is None or n_outputs is None:
        raise ValueError("a network needs at least one layer that says how wide it is, such as Dense")
    return n_inputs, n_outputs


def _check_free(named: tuple[tuple[str, Layer], ...]) -> None:
    """Check that every layer is there once and belongs to no other network."""
    seen: dict[int, str] = {}
    for name, layer in named:
        if id(layer) in seen:
            raise ValueError(f"{seen[id(layer)]} and {name} are one and the same {layer!r}: make two layers")
        if layer._owner is not None and layer._owner() is not None:
            raise ValueError(f"{name} {layer!r} belongs to another network; copy.deepcopy(layer) makes one that is free")
        seen[id(layer)] = name
