"""The activation functions: formula, derivative and source of each; the arithmetic is in the kernels.

Every function is a ready-made attribute here, ``activations.relu``, and can be given by name: ``Dense(4, 8, activation="relu")``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from . import kernels
from ._arrays import as_real_array, check_choice, check_nonnegative, refuse_class
from ._numpy.activations import ACTIVATIONS
from ._overrides import Overridable, Shortcuts, missing
from ._types import Array

__all__ = [
    "NAMES",
    "ActivationFunction",
    "elu",
    "gelu",
    "gelu_exact",
    "get",
    "hardtanh",
    "identity",
    "leaky_relu",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]


def __dir__() -> list[str]:
    return sorted(__all__)


NAMES = tuple(ACTIVATIONS)
"""The names that `get` takes."""


@dataclass(frozen=True, init=False, repr=False)
class ActivationFunction(metaclass=Overridable):
    """An activation function ``a = f(z)``.

    A subclass is a custom function: it defines ``__call__(z)``, and ``derivative(z)`` or, where one number an element is not
    enough, ``backward(grad_a, z)``. It takes the name of the built-in function that it replaces.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    alpha : float, optional
        The slope of leaky_relu below zero (default 0.01), or the scale of elu (default 1); zero or positive. Other functions take
        none, and theirs reads 0.

    Raises
    ------
    ValueError
        For another name, a negative or non-finite alpha, or alpha where the function has none.

    Examples
    --------
    >>> import numpy as np
    >>> from backprop.activations import ActivationFunction
    >>> f = ActivationFunction("leaky_relu", alpha=0.2)
    >>> f(np.array([-1.0, 2.0])).tolist()
    [-0.2, 2.0]
    >>> f.derivative(np.array([-1.0, 2.0])).tolist()
    [0.2, 1.0]
    >>> f.formula
    'z if z > 0 else alpha z'
    """

    name: str
    alpha: float
    by_kernel: ClassVar[bool] = True  # whether the kernels compute it: not a custom function

    def __init__(self, name: str, alpha: float | None = None) -> None:
        default = ACTIVATIONS[check_choice("activation", name, NAMES)].alpha
        if alpha is None:
            alpha = default or 0.0
        elif default is None:
            raise ValueError(f"{name} takes no alpha, got alpha={alpha!r}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "alpha", check_nonnegative(f"{name}'s alpha", alpha))

    def __repr__(self) -> str:
        alpha = f", alpha={self.alpha:g}" if self.takes_alpha else ""
        return f"ActivationFunction({self.name!r}{alpha})"

    @property
    def takes_alpha(self) -> bool:
        """Whether the function has a parameter alpha."""
        return ACTIVATIONS[self.name].alpha is not None

    @property
    def uses_z(self) -> bool:
        """Whether the derivative needs z, the input; where not, a is enough."""
        return ACTIVATIONS[self.name].uses_z or not self.by_kernel

    @property
    def range(self) -> tuple[float, float]:
        """The bounds ``(low, high)`` of the values; -inf and inf where there are none, or for a custom function.

        Examples
        --------
        >>> from backprop import activations
        >>> activations.relu.range, activations.tanh.range
        ((0.0, inf), (-1.0, 1.0))
        """
        if not self.by_kernel:
            return -inf, inf
        low, high = map(float, ACTIVATIONS[self.name].range)
        if self.takes_alpha:
            low = low * self.alpha if self.alpha else 0.0
        return low, high

    @property
    def formula(self) -> str:
        """The function, in terms of z."""
        return ACTIVATIONS[self.name].formula

    @property
    def derivative_formula(self) -> str:
        """The derivative da/dz, in terms of a where that is enough."""
        return ACTIVATIONS[self.name].derivative

    @property
    def source(self) -> str:
        """The paper it comes from."""
        return ACTIVATIONS[self.name].source

    def __call__(self, z: npt.ArrayLike) -> Array:
        """``f(z)``, of z's shape; float32 stays float32, anything else is computed in float64. Softmax works on the last axis."""
        rows, shape = _as_rows(z, "z")
        a = np.empty_like(rows)
        kernels.active().activation_forward(rows, a, self.name, self.alpha)
        return a.reshape(shape)

    def backward(self, grad_a: npt.ArrayLike, z: npt.ArrayLike) -> Array:
        """Return ``delta = dL/dz``, given ``grad_a = dL/da``: the chain rule's step through this function.

        Parameters
        ----------
        grad_a : array-like
            dL/da, of the shape of z.
        z : array-like
            What the function was applied to.

        Returns
        -------
        array
            Of z's shape.

        Examples
        --------
        >>> from backprop import activations
        >>> activations.relu.backward([1.0, 1.0], [-0.5, 2.0])
        array([0., 1.])
        """
        rows, shape = _as_rows(z, "z")
        grad_rows, grad_shape = _as_rows(grad_a, "grad_a", rows.dtype)
        if grad_shape != shape:
            raise ValueError(f"grad_a must have the shape of z, {shape}, got {grad_shape}")
        a, delta = np.empty_like(rows), np.empty_like(rows)
        kernels.active().activation_forward(rows, a, self.name, self.alpha)
        kernels.active().activation_backward(grad_rows, rows, a, delta, self.name, self.alpha)
        return delta.reshape(shape)

    def derivative(self, z: npt.ArrayLike) -> Array:
        """``f'(z)``, elementwise.

        Raises
        ------
        ValueError
            For softmax, whose derivative is a matrix for each row; `backward` multiplies by it.
        """
        if self.name == "softmax":
            raise ValueError("softmax has a matrix of derivatives for each row, not one number an element; use backward(grad_a, z)")
        rows, shape = _as_rows(z, "z")
        return self.backward(np.ones_like(rows), rows).reshape(shape)

    def _backward_by_derivative(self, grad_a: npt.ArrayLike, z: npt.ArrayLike) -> Array:
        rows = np.asarray(self.derivative(z))
        return np.asarray(grad_a, rows.dtype) * rows

    _SHORTCUTS: ClassVar[Shortcuts] = {
        "by_kernel": {"__call__": False, "backward": False, "derivative": False},
        "backward": {"derivative": _backward_by_derivative},
    }

    def config(self) -> str | dict[str, Any]:
        """What `get` makes this function from again, ready for JSON: its name, or with another alpha than the default a dict.

        Raises
        ------
        TypeError
            For a custom function, which is code.
        """
        if type(self) is not ActivationFunction:
            raise TypeError(f"a custom activation function ({type(self).__name__}) cannot be saved")
        if self.alpha == (ACTIVATIONS[self.name].alpha or 0.0):
            return self.name
        return {"name": self.name, "alpha": self.alpha}


def get(spec: str | Mapping[str, Any] | ActivationFunction) -> ActivationFunction:
    """The activation function that `spec` names: a name, an `ActivationFunction`, or what `ActivationFunction.config` returned.

    Examples
    --------
    >>> from backprop import activations
    >>> activations.get("elu")
    ActivationFunction('elu', alpha=1)
    """
    if isinstance(spec, ActivationFunction):
        plain = ActivationFunction
        if type(spec).__call__ is not plain.__call__ and type(spec).backward is plain.backward:
            raise missing(spec, "derivative(self, z) or backward(self, grad_a, z), as it defines __call__")
        return spec
    if isinstance(spec, Mapping):
        return ActivationFunction(**spec)
    refuse_class("activation", spec, "a name or an ActivationFunction")
    return ActivationFunction(spec)


def _as_rows(z: npt.ArrayLike, name: str, dtype: npt.DTypeLike | None = None) -> tuple[Array, tuple[int, ...]]:
    """`z` as a contiguous matrix with the same last axis, and the shape to give the result."""
    array = as_real_array(z, name)
    if dtype is None:
        dtype = np.float32 if array.dtype == np.float32 else np.float64
    columns = array.shape[-1] if array.ndim else 1
    rows = np.array(array, dtype=dtype, order="C").reshape(-1, columns) if array.size else np.zeros((0, columns), dtype)
    return rows, array.shape


identity = ActivationFunction("identity")
relu = ActivationFunction("relu")
leaky_relu = ActivationFunction("leaky_relu")
elu = ActivationFunction("elu")
selu = ActivationFunction("selu")
gelu = ActivationFunction("gelu")
gelu_exact = ActivationFunction("gelu_exact")
silu = ActivationFunction("silu")
mish = ActivationFunction("mish")
sigmoid = ActivationFunction("sigmoid")
tanh = ActivationFunction("tanh")
softplus = ActivationFunction("softplus")
softsign = ActivationFunction("softsign")
hardtanh = ActivationFunction("hardtanh")
relu6 = ActivationFunction("relu6")
softmax = ActivationFunction("softmax")
