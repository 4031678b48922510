"""The base class of all losses: their attributes, the call, the preparation of targets, and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from inspect import Parameter, signature
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from .. import _links, kernels
from .._arrays import as_contiguous, as_real_array
from .._class_weights import ClassWeight, check_class_weight, check_sample_weight, class_weight_vector, weigh_rows
from .._overrides import Overridable, Shortcuts, is_of_this_package, missing, written
from .._settings import Settings, fixed, option
from .._types import Array, Labels
from ._targets import Wanted, outputs_matrix, refuse, target_matrix, targets_as_given

if TYPE_CHECKING:
    from ..activations import ActivationFunction

LossFunction = Callable[..., tuple[float, npt.ArrayLike]]
_CALL = "__call__(self, outputs, targets, *, sample_weight=None), which returns the loss and dL/doutputs"


class Loss(Settings, metaclass=Overridable):
    """A loss on the network's raw outputs.

    A subclass with a ``__call__`` is a custom loss, and that is its whole definition: training, evaluation and `gradcheck` take
    value and gradient from it. Targets reach it as `prepare_targets` returns them. `FunctionLoss` is for losses that are functions.

    Attributes
    ----------
    name : str
        The name that `get` takes.
    task : {"classification", "binary", "regression", "custom"}
        What the targets are: one class of k, k independent binary labels, numbers, or whatever a custom loss function takes.
    link : {"softmax", "sigmoid", "exp", "mean", "quantiles", "identity"}
        What turns raw outputs into predictions; see `predictions`.
    custom : bool
        Whether a function or ``__call__`` from outside this package computes it.
    unbounded : bool
        Whether outputs are logits, log-rates or margins, which must be free to take any real value. The network must then not end
        in an activation that bounds them, such as softmax, relu or tanh; see `check_activation`.
    reduction : {"mean", "sum"}
        Whether the loss of a row is the mean or the sum over its outputs.
    target_range : (float, float)
        The bounds of targets that are numbers.
    open_range : bool
        Whether the bounds themselves are excluded.
    parameter, column : str
        The option that the kernel takes as a number, and the one that it takes as a number for each output; empty where there is
        none.
    class_weight : mapping, sequence, "balanced" or None
        Weights of the classes, where the loss has them.
    """

    name: ClassVar[str] = ""
    task: ClassVar[str] = "regression"
    link: ClassVar[str] = "identity"
    unbounded: ClassVar[bool] = False
    reduction: ClassVar[str] = "mean"
    target_range: ClassVar[tuple[float, float]] = (-inf, inf)
    open_range: ClassVar[bool] = False
    parameter: ClassVar[str] = ""
    column: ClassVar[str] = ""
    class_weight: ClassWeight | None = option(check_class_weight, default=None)

    def __call__(
        self, outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
    ) -> tuple[float, Array]:
        """Return the loss and its gradient.

        Parameters
        ----------
        outputs : array (n, k)
            The network's raw outputs, float32 or float64; other real dtypes are taken as float64.
        targets : array
            As `prepare_targets` takes them, n rows.
        sample_weight : array (n,), optional
            Finite weights of the rows; negative ones keep their sign.

        Returns
        -------
        loss : float
        grad_outputs : array (n, k)

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit each other or the loss; see `prepare_targets`.
        """
        matrix, prepared, weight = self._prepare(outputs, targets, sample_weight)
        grad = np.empty_like(matrix)
        return float(written(self, "compute")(matrix, prepared, weight, grad)), grad

    def value(self, outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return the loss alone.

        Parameters
        ----------
        outputs, targets, sample_weight : array
            As in a call.

        Returns
        -------
        float
        """
        return float(written(self, "compute")(*self._prepare(outputs, targets, sample_weight), None))

    def check_activation(self, activation: ActivationFunction) -> None:
        """Refuse an activation at the network's end that bounds outputs which the loss takes for logits, log-rates or margins.

        Raises
        ------
        ValueError
            If the loss is `unbounded` and the range of the activation is not all real numbers.

        Examples
        --------
        >>> from backprop import activations
        >>> from backprop.losses import MSE, Poisson
        >>> MSE().check_activation(activations.softplus)
        >>> Poisson().check_activation(activations.softplus)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: poisson takes any real number as its output and applies exp itself, but the network ends in softplus, ...
        """
        low, high = activation.range
        if not self.unbounded or (low == -inf and high == inf):
            return
        link = f" and applies {self.link} itself" if self.link in ("softmax", "sigmoid", "exp") else ""
        bounds = f"at least {low:g}" if high == inf else f"at most {high:g}" if low == -inf else f"in [{low:g}, {high:g}]"
        hint = " (predict_proba gives probabilities)" if self.link in ("softmax", "sigmoid") else ""
        raise ValueError(
            f"{self.name} takes any real number as its output{link}, but the network ends in {activation.name}, whose values are "
            f"{bounds}: give its last layer activation='identity'{hint}, or use a loss that compares values, such as mse"
        )

    def predictions(self, outputs: npt.ArrayLike) -> Array:
        """Return the predictions that raw outputs stand for.

        Probabilities after "softmax" and "sigmoid", e to the outputs after "exp"; for `Gaussian` the means, and for
        `NonCrossingQuantiles` the quantiles; the outputs themselves for all other losses.

        Parameters
        ----------
        outputs : array (n, k)
            What `Network.predict` returns.

        Returns
        -------
        array (n, k), or (n, k / 2) of means

        Examples
        --------
        >>> from backprop.losses import Poisson
        >>> Poisson().predictions([[0.0, 1.0]]).round(2)
        array([[1.  , 2.72]])
        """
        return _links.predictions(self.link, outputs_matrix(outputs))

    def _prepare(
        self, outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None
    ) -> tuple[Array, Any, Array | None]:
        matrix = outputs_matrix(outputs)
        rows, k = matrix.shape
        prepared = self.prepare_targets(targets, k, matrix.dtype)
        if len(prepared) != rows:
            raise ValueError(
                f"targets and outputs must have the same number of rows, got shapes {np.shape(targets)} and {matrix.shape}"
            )
        weight = None if sample_weight is None else check_sample_weight(sample_weight, rows, matrix.dtype)
        if self.class_weight is not None:
            weight = weigh_rows(prepared, self.class_weight_vector(self.class_weight, [prepared], k), weight, matrix.dtype)
        return matrix, prepared, weight

    def prepare_targets(
        self, targets: npt.ArrayLike, n_outputs: int, dtype: npt.DTypeLike, *, name: str = "targets", check_finite: bool = True
    ) -> Array | Labels:
        """Check targets and convert them to what the kernel takes: labels (n,) int64, or a matrix (n, n_outputs) of ``dtype``.

        Prepared targets may be prepared again; they come back as they are.

        Parameters
        ----------
        targets : array-like
        n_outputs : int
            The width of the network's output.
        dtype : dtype
            The network's dtype.
        name : str
            What error messages call the targets.
        check_finite : bool
            Whether to look for NaN and infinities.

        Raises
        ------
        TypeError
            If the dtype cannot be what the loss needs.
        ValueError
            If shape or values cannot.
        """
        return self._targets(as_real_array(targets, name), Wanted(n_outputs, np.dtype(dtype), name, check_finite))

    def compute(self, outputs: Array, targets: Any, weight: Array | None, grad: Array | None) -> float:
        """Return the loss of prepared arrays.

        Parameters
        ----------
        outputs : array (n, k)
            The network's raw outputs.
        targets : array
            As `prepare_targets` returns them.
        weight : array (n,) or None
            Weights of the rows, class weights included.
        grad : array (n, k) or None
            Where to write the gradient.

        Returns
        -------
        float
        """
        return self._run(kernels.active(), outputs, targets, weight, grad)

    def per_output(self, n_outputs: int, dtype: npt.DTypeLike) -> Array | None:
        """Return the option that has a value for each output, as the kernel takes it; None for losses without one.

        Parameters
        ----------
        n_outputs : int
            The width of the network's output.
        dtype : dtype
            The network's dtype.

        Returns
        -------
        array (n_outputs,) or None
        """
        option = getattr(self, self.column) if self.column else None
        return None if option is None else _per_output(self.column, option, n_outputs, dtype)

    @property
    def custom(self) -> bool:
        """Whether a function or ``__call__`` from outside this package computes the loss."""
        return type(self).__call__ is not Loss._written["__call__"]

    @property
    def is_saved(self) -> bool:
        """Whether `config` describes the loss: a class or function from outside this package is code, which is not saved."""
        return is_of_this_package(type(self))

    @property
    def row_class_weight(self) -> ClassWeight | None:
        """The class weights that training multiplies into the weights of rows; a ``__call__`` of a subclass applies them itself."""
        return None if self.custom else self.class_weight

    def _targets(self, given: npt.NDArray[Any], wanted: Wanted) -> Array | Labels:
        if self.custom:
            return targets_as_given(given, wanted)
        matrix = target_matrix(given, wanted)
        low, high = self.target_range
        if low == -inf and high == inf:
            return matrix
        bounds = f"in [{low:g}, {high:g}]" if high < inf else "positive" if self.open_range else "not negative"
        inside = (low < matrix) & (matrix < high) if self.open_range else (low <= matrix) & (matrix <= high)
        return refuse(matrix, ~(inside | np.isnan(matrix)), wanted.name, f"{bounds} for {self.name}")

    def _run(self, active: kernels.Kernels, outputs: Array, targets: Any, weight: Array | None, grad: Array | None) -> float:
        if not self._built_in_name():
            raise missing(self, _CALL)
        column = (self.per_output(outputs.shape[1], outputs.dtype),) if self.column else ()
        parameter = (getattr(self, self.parameter),) if self.parameter else ()
        loss: float = getattr(active, self._kernel(targets))(outputs, targets, weight, *column, grad, *parameter)
        return loss

    @classmethod
    def _built_in_name(cls) -> str:
        """Return the name of the built-in loss that this class is, or derives from; "" where there is none.

        Its kernel computes the loss of a subclass, which may have another name.
        """
        kinds = cls.__mro__[: cls.__mro__.index(Loss)]
        return next((kind.name for kind in kinds if issubclass(kind, Loss) and is_of_this_package(kind)), "")

    def _kernel(self, targets: Any) -> str:
        """Return the name of the kernel for these targets."""
        return self._built_in_name()

    def _value_by_call(
        self, outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return the loss alone; the arguments are those of a call."""
        matrix = outputs_matrix(outputs)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, len(matrix), matrix.dtype)
        return self._compute_by_call(matrix, targets, weight, None)

    def _compute_by_call(self, outputs: Array, targets: Any, weight: Array | None, grad: Array | None) -> float:
        """Return the loss of prepared arrays, and write its gradient into ``grad`` unless that is None."""
        takes_weight = weight is None or _takes_weight(type(self).__call__)
        return _called(self, f"{type(self).__name__}.__call__", takes_weight, outputs, targets, weight, grad)

    _SHORTCUTS: ClassVar[Shortcuts] = {"compute": {"__call__": _compute_by_call}, "value": {"__call__": _value_by_call}}

    def class_weight_vector(self, spec: ClassWeight, targets: Iterable[Array | Labels], n_outputs: int) -> npt.NDArray[np.float64]:
        """Return one weight for each class, from a mapping, a sequence or ``"balanced"``.

        Parameters
        ----------
        spec : mapping, sequence or "balanced"
        targets : iterable of arrays
            Prepared targets, in parts, which balanced weights are computed over.
        n_outputs : int

        Raises
        ------
        ValueError
            If the loss has no classes, or the weights are not valid.
        """
        return class_weight_vector(spec, targets, self._n_classes(n_outputs))

    def _n_classes(self, n_outputs: int) -> int:
        """Return the number of classes of which a row has one; a ValueError if the loss has none."""
        if self.task == "classification":
            return n_outputs
        if self.task == "binary" and n_outputs == 1:
            return 2
        raise ValueError(f"class_weight needs a loss with one target class per row; {self.name} with {n_outputs} outputs has none")

    def _check_options(self) -> None:
        built_in = is_of_this_package(type(self)) and not self.custom
        if self.class_weight is not None and built_in and "class_weight" not in signature(type(self)).parameters:
            raise ValueError(f"{self.name} has no option class_weight: give class_weight to fit")

    def config(self) -> dict[str, Any]:
        """Return the name and the options, ready for JSON; `get` turns them back into a loss.

        Raises
        ------
        TypeError
            For a loss that is a class or function from outside this package, as code is not saved.
        """
        if not self.is_saved:
            raise TypeError(f"a custom loss ({type(self).__name__}) cannot be saved; give it again when loading")
        return {"name": self.name, **{key: _plain(getattr(self, key)) for key in signature(type(self)).parameters}}

    def __repr__(self) -> str:
        """Return the call that makes this loss."""
        keys = [key for key in signature(type(self)).parameters if hasattr(self, key)]
        return f"{type(self).__name__}({', '.join(f'{key}={getattr(self, key)!r}' for key in keys)})"


def _checked_function(name: str, function: Any) -> LossFunction:
    if not callable(function):
        raise TypeError(f"loss must be a name, a Loss or a function, got {type(function).__name__}")
    checked: LossFunction = function
    return checked


class FunctionLoss(Loss):
    """A custom loss function: ``function(outputs, targets) -> (value, dL/doutputs)``.

    Targets reach it as they are given, except that floats are cast to the network's dtype and integers to int64, and that
    with one output ``(n,)`` becomes ``(n, 1)``. Weights reach it as ``sample_weight=``, divided by their mean size over the batch:
    ``np.mean(sample_weight * l)`` is then the weighted mean that other losses return. What a batch counts beside others in `fit` is
    not the function's business.
    """

    name = "function"
    task = "custom"

    function: LossFunction = fixed(_checked_function, remedy="make a new FunctionLoss")

    def __init__(self, function: LossFunction) -> None:
        self.function = function
        self.takes_weight = _takes_weight(function)

    def _run(self, active: kernels.Kernels, outputs: Array, targets: Any, weight: Array | None, grad: Array | None) -> float:
        who = f"the loss function {_name_of(self.function)}"
        return _called(self.function, who, self.takes_weight, outputs, targets, weight, grad)

    @property
    def custom(self) -> bool:
        """True."""
        return True

    @property
    def is_saved(self) -> bool:
        """False."""
        return False

    def config(self) -> dict[str, Any]:
        """Refuse: code is never saved."""
        raise TypeError(f"a custom loss function ({_name_of(self.function)}) cannot be saved; give it again when loading")

    def __repr__(self) -> str:
        """Return the name of the function."""
        return f"FunctionLoss({_name_of(self.function)})"


def check_complete(loss: Loss) -> None:
    """Refuse a subclass without a definition, or with one of the value and none of the gradient."""
    kind = type(loss)
    if not loss.custom and kind.compute is Loss.compute and kind._run is Loss._run and not loss._built_in_name():
        raise missing(loss, _CALL)
    value, *others = (
        -1 if name in vars(loss) else next(i for i, base in enumerate(kind.__mro__) if name in vars(base))
        for name in ("value", "__call__", "compute", "_run")
    )
    if value < min(others):
        raise missing(loss, f"{_CALL}: it defines value alone, which has no gradient")


def loss_and_gradient(loss: Loss, outputs: Array, targets: Any, sample_weight: npt.ArrayLike | None) -> tuple[float, Array]:
    """Call a loss; weights are passed on only where there are any, as a custom loss need not take them."""
    if sample_weight is None:
        return loss(outputs, targets)
    return loss(outputs, targets, sample_weight=sample_weight)


def _called(
    function: LossFunction,
    who: str,
    takes_weight: bool,
    outputs: Array,
    targets: Any,
    weight: Array | None,
    grad: Array | None,
) -> float:
    """Call a custom loss, check what it returns, write the gradient into ``grad`` unless that is None, and return the value."""
    if weight is None:
        result = function(outputs, targets)
    elif takes_weight:
        size = np.abs(weight).mean(dtype=np.float64)
        result = function(outputs, targets, sample_weight=(weight / size).astype(weight.dtype) if size else weight)
    else:
        raise TypeError(f"{who} must take sample_weight= to be used with weights")
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(f"{who} must return (value, grad_outputs), got {type(result).__name__}")
    value, gradient = np.asarray(result[0]), np.asarray(result[1])
    if value.ndim or value.dtype.kind not in "biuf":
        raise TypeError(f"{who} must return one real number as its value, got {result[0]!r}")
    if gradient.dtype.kind not in "biuf":
        raise TypeError(f"{who} must return a real gradient, got dtype {gradient.dtype}")
    if gradient.shape != outputs.shape:
        raise ValueError(f"{who} must return a gradient of the outputs' shape {outputs.shape}, got {gradient.shape}")
    if grad is not None:
        grad[...] = gradient
    return float(value)


@cache
def _takes_weight(function: LossFunction) -> bool:
    try:
        parameters = signature(function).parameters
    except ValueError:  # some callables written in C have no signature
        return False
    return "sample_weight" in parameters or any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())


def _per_output(name: str, option: float | tuple[float, ...], n_outputs: int, dtype: npt.DTypeLike) -> Array:
    """Return an option with one value for all outputs or one for each, as a vector."""
    if isinstance(option, float):
        return as_contiguous(np.full(n_outputs, option), name, np.dtype(dtype))
    if len(option) != n_outputs:
        raise ValueError(f"{name} must be one number or one for each of the network's {n_outputs} outputs, got {len(option)}")
    return as_contiguous(np.array(option), name, np.dtype(dtype))


def _plain(option: Any) -> Any:
    """Return an option as JSON has it."""
    if isinstance(option, tuple):
        return list(option)
    if isinstance(option, dict):
        return {str(key): float(value) for key, value in option.items()}
    return option


def _name_of(function: LossFunction) -> str:
    return getattr(function, "__name__", type(function).__name__)
