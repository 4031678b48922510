"""The activation functions: formula, derivative and everything else that the package knows of each.

They are computed in forms that hold at any input.

Two habits recur. An exponential takes only arguments that are not positive, so nothing overflows. And where a formula meets
``inf * 0``, its argument is first held to a range beyond which the function has long reached its limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from math import inf
from typing import NamedTuple

import numpy as np

from .._types import Array
from .checks import checked
from .erf import erfc

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
GELU_C = math.sqrt(2 / math.pi)
FAR = 1000.0  # e^-1000 is 0 in float64, and 1000 z^3 is finite in float32


class Activation(NamedTuple):
    """Everything that the package knows about an activation function, but for its compiled kernel.

    Attributes
    ----------
    forward, backward : callable
        ``forward(z, alpha) -> a`` and ``backward(grad_a, z, a, alpha) -> delta``.
    formula, derivative : str
        a in terms of z, and da/dz, in terms of a where that is enough.
    source : str
        The paper that it comes from.
    range : (float, float)
        The bounds of the values; the lower one is multiplied by alpha where there is an alpha.
    uses_z : bool
        Whether the derivative needs z. Where it does not, z is not kept.
    alpha : float or None
        The default of the parameter; None for functions that have none.
    init : str
        The initializer that suits a layer which ends in it.
    """

    forward: Callable[[Array, float], Array]
    backward: Callable[[Array, Array, Array, float], Array]
    formula: str
    derivative: str
    source: str
    range: tuple[float, float] = (-inf, inf)
    uses_z: bool = False
    alpha: float | None = None
    init: str = "glorot_uniform"


def sigmoid(z: Array) -> Array:
    """``1 / (1 + e^-z)``."""
    e = np.exp(-np.abs(z))
    s: Array = np.where(z >= 0, 1, e) / (1 + e)
    return s


def softplus(z: Array) -> Array:
    """``log(1 + e^z)``."""
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _within(z: Array, limit: float) -> Array:
    """``min(max(z, -limit), limit)``."""
    held: Array = np.clip(z, -limit, limit)
    return held


def _leaky_relu(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * z if alpha != 0 else np.minimum(0, np.abs(z)))  # 0 times -inf is 0 here; NaN stays


def _elu(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _gelu_gate(z: Array) -> Array:
    """``(1 + tanh u) / 2``, which is ``sigmoid(2 u)`` but loses no digits where it is small."""
    return sigmoid(2 * GELU_C * (z + 0.044715 * z * z * z))


def _gelu(z: Array, alpha: float) -> Array:
    z_low = np.maximum(z, -FAR)
    return z_low * _gelu_gate(z_low)


def _gelu_backward(grad_a: Array, z: Array, a: Array, alpha: float) -> Array:
    z = _within(z, FAR)
    gate, rest = _gelu_gate(z), _gelu_gate(-z)  # rest is 1 - gate, with all its digits
    return grad_a * gate * (1 + z * rest * 2 * GELU_C * (1 + 3 * 0.044715 * z * z))


def _normal_cdf(z: Array) -> Array:
    return 0.5 * erfc(z.astype(np.float64) * -math.sqrt(0.5))


def _gelu_exact(z: Array, alpha: float) -> Array:
    z_low = np.maximum(z, -FAR)
    return z_low * _normal_cdf(z_low)


def _gelu_exact_backward(grad_a: Array, z: Array, a: Array, alpha: float) -> Array:
    z = _within(z, FAR)
    return grad_a * (_normal_cdf(z) + z * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))


def _silu(z: Array, alpha: float) -> Array:
    z_low = np.maximum(z, -FAR)
    return z_low * sigmoid(z_low)


def _silu_backward(grad_a: Array, z: Array, a: Array, alpha: float) -> Array:
    z = _within(z, FAR)
    return grad_a * sigmoid(z) * (1 + z * sigmoid(-z))


def _mish(z: Array, alpha: float) -> Array:
    z_low = np.maximum(z, -FAR)
    return z_low * np.tanh(softplus(z_low))


def _mish_backward(grad_a: Array, z: Array, a: Array, alpha: float) -> Array:
    z = _within(z, FAR)
    t = np.tanh(softplus(z))
    delta: Array = grad_a * (t + z * (1 - t * t) * sigmoid(z))
    return delta


def _softsign(z: Array, alpha: float) -> Array:
    z = _within(z, float(np.finfo(z.dtype).max))
    a: Array = z / (1 + np.abs(z))
    return a


def _softmax(z: Array, alpha: float) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True, initial=-np.inf))
    a: Array = e / e.sum(axis=1, keepdims=True)
    return a


def _softmax_backward(grad_a: Array, z: Array, a: Array, alpha: float) -> Array:
    delta: Array = a * (grad_a - np.sum(grad_a * a, axis=1, keepdims=True))
    return delta


ACTIVATIONS = {
    "identity": Activation(
        lambda z, alpha: z,
        lambda grad_a, z, a, alpha: grad_a,
        "z",
        "1",
        "the linear unit",
    ),
    "relu": Activation(
        lambda z, alpha: np.maximum(z, 0),
        lambda grad_a, z, a, alpha: grad_a * (a > 0),
        "max(z, 0)",
        "a > 0",
        "Nair and Hinton, ICML 2010; Glorot, Bordes and Bengio, AISTATS 2011",
        range=(0, inf),
        init="he_normal",
    ),
    "leaky_relu": Activation(
        _leaky_relu,
        lambda grad_a, z, a, alpha: grad_a * np.where(a > 0, 1, alpha),
        "z if z > 0 else alpha z",
        "1 if z > 0 else alpha",
        "Maas, Hannun and Ng, ICML 2013 (alpha = 0.01)",
        alpha=0.01,
        init="he_normal",
    ),
    "elu": Activation(
        _elu,
        lambda grad_a, z, a, alpha: grad_a * np.where(a > 0, 1, a + alpha),
        "z if z > 0 else alpha (e^z - 1)",
        "1 if z > 0 else a + alpha",
        "Clevert et al., ICLR 2016, arXiv:1511.07289",
        range=(-1, inf),
        alpha=1.0,
        init="he_normal",
    ),
    "selu": Activation(
        lambda z, alpha: SELU_SCALE * _elu(z, SELU_ALPHA),
        lambda grad_a, z, a, alpha: grad_a * np.where(a > 0, SELU_SCALE, a + SELU_SCALE * SELU_ALPHA),
        "l (z if z > 0 else s (e^z - 1)), l = 1.0507..., s = 1.6733...",
        "l if z > 0 else a + l s",
        "Klambauer et al., NeurIPS 2017, arXiv:1706.02515, equation 2",
        range=(-1.7581, inf),
        init="lecun_normal",
    ),
    "gelu": Activation(
        _gelu,
        _gelu_backward,
        "z/2 (1 + t), t = tanh(c (z + 0.044715 z^3)), c = sqrt(2/pi)",
        "(1 + t)/2 + z/2 (1 - t^2) c (1 + 0.134145 z^2)",
        "Hendrycks and Gimpel, arXiv:1606.08415, the tanh approximation of section 2",
        range=(-0.1701, inf),
        uses_z=True,
        init="he_normal",
    ),
    "gelu_exact": Activation(
        _gelu_exact,
        _gelu_exact_backward,
        "z P, P = (1 + erf(z / sqrt 2)) / 2",
        "P + z e^(-z^2 / 2) / sqrt(2 pi)",
        "Hendrycks and Gimpel, arXiv:1606.08415, section 2",
        range=(-0.17, inf),
        uses_z=True,
        init="he_normal",
    ),
    "silu": Activation(
        _silu,
        _silu_backward,
        "z s, s = sigmoid(z)",
        "s + a (1 - s)",
        "Elfwing, Uchibe and Doya, arXiv:1702.03118",
        range=(-0.2785, inf),
        uses_z=True,
        init="he_normal",
    ),
    "mish": Activation(
        _mish,
        _mish_backward,
        "z w, w = tanh(softplus(z))",
        "w + z sigmoid(z) (1 - w^2)",
        "Misra, arXiv:1908.08681",
        range=(-0.3089, inf),
        uses_z=True,
        init="he_normal",
    ),
    "sigmoid": Activation(
        lambda z, alpha: sigmoid(z),
        lambda grad_a, z, a, alpha: grad_a * (a * (1 - a)),
        "1 / (1 + e^-z)",
        "a (1 - a)",
        "Rumelhart, Hinton and Williams, Nature 323, 1986",
        range=(0, 1),
    ),
    "tanh": Activation(
        lambda z, alpha: np.tanh(z),
        lambda grad_a, z, a, alpha: grad_a * (1 - a * a),
        "tanh z",
        "1 - a^2",
        "LeCun et al., Efficient BackProp, 1998",
        range=(-1, 1),
    ),
    "softplus": Activation(
        lambda z, alpha: softplus(z),
        lambda grad_a, z, a, alpha: grad_a * -np.expm1(-a),
        "log(1 + e^z)",
        "1 - e^-a",
        "Dugas et al., NeurIPS 2000",
        range=(0, inf),
    ),
    "softsign": Activation(
        _softsign,
        lambda grad_a, z, a, alpha: grad_a * (1 - np.abs(a)) ** 2,
        "z / (1 + |z|)",
        "(1 - |a|)^2",
        "Glorot and Bengio, AISTATS 2010",
        range=(-1, 1),
    ),
    "hardtanh": Activation(
        lambda z, alpha: np.clip(z, -1, 1),
        lambda grad_a, z, a, alpha: grad_a * ((a > -1) & (a < 1)),
        "min(max(z, -1), 1)",
        "-1 < a < 1",
        "Collobert, PhD thesis, 2004",
        range=(-1, 1),
    ),
    "relu6": Activation(
        lambda z, alpha: np.clip(z, 0, 6),
        lambda grad_a, z, a, alpha: grad_a * ((a > 0) & (a < 6)),
        "min(max(z, 0), 6)",
        "0 < a < 6",
        "Krizhevsky, unpublished manuscript on CIFAR-10, 2010",
        range=(0, 6),
        init="he_normal",
    ),
    "softmax": Activation(
        _softmax,
        _softmax_backward,
        "e^z_i / sum_j e^z_j",
        "da_i/dz_j = a_i ((i == j) - a_j)",
        "Bridle, Neurocomputing, 1990",
        range=(0, 1),
    ),
}


def find(activation: str) -> Activation:
    """Look an activation up by its name; a ValueError lists the names."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    return ACTIVATIONS[activation]


@checked("z (n, k) -> a (n, k)", may_be_same=("z", "a"))
def activation_forward(z: Array, a: Array, activation: str, alpha: float) -> None:
    """``a = activation(z)``.

    The formula of each function is in `ACTIVATIONS`. Softmax works on rows, the others on single elements. ``alpha`` is read by
    leaky_relu and elu only. NaN stays NaN; at -inf and +inf every function has its limit.
    """
    a[...] = find(activation).forward(z, alpha)


@checked("grad_a (n, k), z? (n, k), a (n, k) -> delta (n, k)", may_be_same=("grad_a", "delta"))
def activation_backward(grad_a: Array, z: Array | None, a: Array, delta: Array, activation: str, alpha: float) -> None:
    """``delta = grad_a * activation'(z)``.

    gelu, gelu_exact, silu and mish need z; the others ignore it, and it may be None.
    """
    f = find(activation)
    if z is None:
        if f.uses_z:
            raise TypeError("z must be a NumPy array, got NoneType")
        z = a
    delta[...] = f.backward(grad_a, z, a, alpha)
