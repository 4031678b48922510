"""How weights start: independent random numbers whose spread is fitted to the layer's width.

With weights ``(fan_in, fan_out)``, a signal keeps its variance on the way forward when ``std = sqrt(1 / fan_in)``, its gradient on
the way back when ``std = sqrt(1 / fan_out)``, and relu, which drops half of the signal, needs twice the variance.
Formulas are PyTorch's (``torch.nn.init``); the normal ones are not truncated, unlike Keras'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._arrays import check_choice, check_nonnegative, refuse_class
from ._numpy.activations import ACTIVATIONS

if TYPE_CHECKING:
    from numpy.random import Generator  # only for types: numpy.random costs 15 ms to import

__all__ = ["NAMES", "Initializer", "default_for", "get"]


def __dir__() -> list[str]:
    return sorted(__all__)


Draw = Callable[[tuple[int, ...], "Generator"], npt.ArrayLike]


class _Entry(NamedTuple):
    distribution: str  # "normal", "uniform", "orthogonal" or "zeros"
    std: Callable[[int, int], float] | None  # of (fan_in, fan_out), at scale 1; None: not fitted to the layer's width
    scale: float  # the default
    source: str


def _lecun(fan_in: int, fan_out: int) -> float:
    return math.sqrt(1 / fan_in)


def _glorot(fan_in: int, fan_out: int) -> float:
    return math.sqrt(2 / (fan_in + fan_out))


def _he(fan_in: int, fan_out: int) -> float:
    return math.sqrt(2 / fan_in)


_TABLE = {
    "zeros": _Entry("zeros", None, 1.0, ""),
    "normal": _Entry("normal", None, 0.05, "mean 0, standard deviation `scale` (0.05: Keras)"),
    "uniform": _Entry("uniform", None, 0.05, "in [-scale, scale) (0.05: Keras)"),
    "glorot_uniform": _Entry("uniform", _glorot, 1.0, "Glorot and Bengio, AISTATS 2010, equation 16"),
    "glorot_normal": _Entry("normal", _glorot, 1.0, "Glorot and Bengio, AISTATS 2010, equation 12"),
    "he_uniform": _Entry("uniform", _he, 1.0, "He et al., ICCV 2015, arXiv:1502.01852, equation 10"),
    "he_normal": _Entry("normal", _he, 1.0, "He et al., ICCV 2015, arXiv:1502.01852, equation 10"),
    "lecun_uniform": _Entry("uniform", _lecun, 1.0, "LeCun et al., Efficient BackProp, 1998, section 4.6"),
    "lecun_normal": _Entry("normal", _lecun, 1.0, "LeCun et al., Efficient BackProp, 1998, section 4.6"),
    "orthogonal": _Entry("orthogonal", None, 1.0, "Saxe, McClelland and Ganguli, ICLR 2014, arXiv:1312.6120"),
}

NAMES = tuple(_TABLE)
"""The names that `get` takes."""


@dataclass(frozen=True, init=False)
class Initializer:
    """Draws the first values of a parameter.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    scale : float, optional
        Multiplies what is drawn: the standard deviation of "normal" (default 0.05), the half-width of "uniform" (default 0.05),
        the gain of the others (default 1).

    Raises
    ------
    ValueError
        For another name, or a scale that is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from backprop.initializers import Initializer
    >>> weight = Initializer("he_normal")((1000, 50), np.random.default_rng(0))
    >>> weight.shape, round(float(weight.std()), 3)
    ((1000, 50), 0.045)
    """

    name: str
    scale: float

    def __init__(self, name: str, scale: float | None = None) -> None:
        default = _TABLE[check_choice("init", name, NAMES)].scale
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "scale", default if scale is None else check_nonnegative(f"{name}'s scale", scale))

    @property
    def source(self) -> str:
        """The paper it comes from, or what it draws."""
        return _TABLE[self.name].source

    def __call__(self, shape: tuple[int, ...], rng: Generator) -> npt.NDArray[np.float64]:
        """An array of this shape in float64, so that a network starts from the same numbers in either dtype.

        Parameters
        ----------
        shape : tuple of int
            (fan_in, fan_out), where the spread is fitted to the layer's width.
        rng : numpy.random.Generator
            Where random numbers come from.

        Raises
        ------
        ValueError
            When the initializer is fitted to the layer's width and shape is not ``(fan_in, fan_out)``.
        """
        distribution, std, _, _ = _TABLE[self.name]
        scale = self.scale
        if std is not None or distribution == "orthogonal":
            if len(shape) != 2:
                raise ValueError(f"{self.name} needs a shape (fan_in, fan_out), got {shape}")
            if std is not None:
                # A uniform number in [-b, b) has the standard deviation b / sqrt(3).
                scale *= std(*shape) * (math.sqrt(3) if distribution == "uniform" else 1)
        if distribution == "zeros":
            return np.zeros(shape)
        if distribution == "normal":
            return scale * rng.standard_normal(shape)
        if distribution == "uniform":
            return rng.uniform(-scale, scale, shape)
        return scale * _orthogonal(shape, rng)

    def config(self) -> str | dict[str, Any]:
        """What `get` makes this initializer from again, ready for JSON: its name, or with a scale of its own a dict."""
        if self.scale == _TABLE[self.name].scale:
            return self.name
        return {"name": self.name, "scale": self.scale}


def get(spec: str | Mapping[str, Any] | Draw) -> Draw:
    """The initializer that `spec` names: a name, an `Initializer` or its config, or any callable ``(shape, rng) -> array``."""
    if isinstance(spec, Mapping):
        return Initializer(**spec)
    refuse_class("init", spec, "a name, an Initializer or a function")
    return spec if callable(spec) else Initializer(spec)


def default_for(activation: str) -> Initializer:
    """The initializer that suits an activation function.

    he_normal for relu and those that resemble it, lecun_normal for selu (whose fixed point asks for it), glorot_uniform elsewhere.
    """
    return Initializer(ACTIVATIONS[check_choice("activation", activation, ACTIVATIONS)].init)


def _orthogonal(shape: tuple[int, ...], rng: Generator) -> npt.NDArray[np.float64]:
    """A matrix with orthonormal rows or columns, whichever are fewer, uniform over all of them."""
    rows, columns = shape
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diagonal(r))  # without this QR prefers some directions (Mezzadri, Notices of the AMS 54, 2007, section 5)
    return q if rows >= columns else q.T
