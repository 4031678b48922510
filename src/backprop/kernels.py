"""The contract every kernel keeps, and the choice of the backend that serves it.

Two modules implement the `Kernels` protocol: ``_core``, compiled from Cython, and ``_reference``, its twin in plain NumPy.
The formula and the shapes of a kernel are written here and only here.

Rules that hold for every kernel:

- Arguments stand in the order IN, INOUT, OUT, scalars. The caller allocates; the kernel returns None (losses and norms: a float).
- Arrays are C-contiguous, aligned, in native byte order, and all of one dtype, float32 or float64 (labels: int64, spans: `SPAN`).
  Anything else is a TypeError (not an array, wrong dtype) or ValueError (layout, shape, overlap) that names the argument; it is
  raised before any memory is touched.
- Inputs are never changed, outputs are overwritten whole. Zero rows are fine.
- Sums of losses and norms are accumulated in float64, whatever the dtype, and so are squares and the shares of weighted rows.

Symbols: ``n`` rows (the batch), ``p`` fan_in, ``k`` fan_out or columns, ``s`` the length of a flat parameter buffer.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from . import _reference
from ._types import SPAN as SPAN
from ._types import Array, Labels, Spans

if TYPE_CHECKING:
    from . import _core

__all__ = ["Backend", "Kernels", "active", "available", "backend", "set_num_threads", "use_backend"]


def __dir__() -> list[str]:
    return sorted(__all__)


class Kernels(Protocol):
    """What a backend provides: one function per kernel."""

    # Dense layers.

    def dense_forward(
        self, x: Array, weight: Array, bias: Array | None, z: Array | None, a: Array, activation: str, alpha: float
    ) -> None:
        """``z = x @ weight + bias``; ``a = activation(z)``.

        IN x (n, p), weight (p, k), bias (k,) or None. OUT z (n, k), or None where nobody needs it; a (n, k).
        """

    def dense_backward(
        self,
        x: Array,
        weight: Array,
        delta: Array,
        grad_weight: Array | None,
        grad_bias: Array | None,
        grad_x: Array | None,
    ) -> None:
        """``grad_weight = x.T @ delta``; ``grad_bias = delta.sum(axis=0)``; ``grad_x = delta @ weight.T``.

        IN x (n, p), weight (p, k), delta (n, k). OUT grad_weight (p, k), grad_bias (k,), grad_x (n, p), each skipped when None.
        """

    # Activations: elementwise, except softmax, which works on rows.

    def activation_forward(self, z: Array, a: Array, activation: str, alpha: float) -> None:
        """``a = activation(z)``; z and a are (n, k) and may be the same array.

        The formulas, with their derivatives in terms of a where a is enough (`_reference` computes them as written here)::

            identity     z                                      1
            relu         max(z, 0)                              a > 0
            leaky_relu   z > 0 ? z : alpha z   (alpha >= 0)     z > 0 ? 1 : alpha
            elu          z > 0 ? z : alpha (e^z - 1)            a > 0 ? 1 : a + alpha
            selu         l (z > 0 ? z : s (e^z - 1))            a > 0 ? l : a + l s
            gelu         z/2 (1 + tanh(c (z + 0.044715 z^3)))   of z;  c = sqrt(2/pi)
            gelu_exact   z/2 (1 + erf(z / sqrt 2))              of z
            silu         z sigmoid(z)                           of z
            mish         z tanh(softplus(z))                    of z
            sigmoid      1 / (1 + e^-z)                         a (1 - a)
            tanh         tanh z                                 1 - a^2
            softplus     log(1 + e^z)                           1 - e^-a
            softsign     z / (1 + |z|)                          (1 - |a|)^2
            hardtanh     min(max(z, -1), 1)                     -1 < a < 1
            relu6        min(max(z, 0), 6)                      0 < a < 6
            softmax      e^z_i / sum_j e^z_j                    delta = a (grad_a - sum(grad_a a))

        ``alpha`` is read by leaky_relu and elu only. selu: l = 1.0507009873554805, s = 1.6732632423543772.
        NaN stays NaN; at -inf and +inf every function has its limit.
        """

    def activation_backward(self, grad_a: Array, z: Array | None, a: Array, delta: Array, activation: str, alpha: float) -> None:
        """``delta = grad_a * activation'(z)``.

        IN grad_a, a (n, k); z (n, k), needed by gelu, gelu_exact, silu and mish and ignored (may be None) elsewhere.
        OUT delta (n, k), which may be the same array as grad_a.
        """

    # Losses: on the network's raw outputs.
    #
    # Each returns the loss and writes its gradient, both under one reduction. With l_i the loss of row i (for elementwise
    # losses: its mean over the k outputs; for half_mse, cross entropy and kl_divergence: the sum over them),
    #
    #     loss = sum_i w_i l_i / sum_i |w_i|        (w_i = 1 without sample_weight)
    #
    # so that an integer weight equals repeating the row, and negative weights (policy gradients) keep their sign. Where no row
    # has weight the loss is 0 and so is its gradient.
    #
    # IN outputs (n, k), targets (n, k) unless said otherwise, sample_weight (n,) or None. OUT grad_outputs (n, k) or None.

    def cross_entropy(
        self, logits: Array, labels: Labels, sample_weight: Array | None, grad_logits: Array | None, label_smoothing: float
    ) -> float:
        """``l = -sum_j t_j log softmax(logits)_j`` with ``t = (1 - label_smoothing) onehot(label) + label_smoothing / k``.

        IN labels (n,) int64, each in [0, k).
        """

    def cross_entropy_soft(
        self, logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None, label_smoothing: float
    ) -> float:
        """``l = -sum_j t_j log softmax(logits)_j`` with ``t = (1 - label_smoothing) targets + label_smoothing / k``."""

    def kl_divergence(self, logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None) -> float:
        """``l = sum_j t_j (log t_j - log softmax(logits)_j)`` with ``0 log 0 = 0``."""

    def binary_cross_entropy(
        self,
        logits: Array,
        targets: Array,
        sample_weight: Array | None,
        pos_weight: Array | None,
        grad_logits: Array | None,
    ) -> float:
        """``l = mean_j -(pos_j t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)))``. IN pos_weight (k,) or None."""

    def mse(self, outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
        """``l = mean_j d^2`` with ``d = output - target``."""

    def half_mse(self, outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
        """``l = sum_j d^2 / 2``."""

    def mae(self, outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
        """``l = mean_j |d|``; the gradient at 0 is 0."""

    def huber(
        self, outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None, threshold: float
    ) -> float:
        """``l = mean_j (|d| <= threshold ? d^2 / 2 : threshold (|d| - threshold / 2))``."""

    def log_cosh(self, outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
        """``l = mean_j log cosh d``, computed as ``log1p(2 sinh^2(d / 2))`` near 0 and as ``|d| + log1p(e^-2|d|) - log 2`` elsewhere.

        The gradient is ``tanh d``.
        """

    def poisson(self, outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
        """``l = mean_j (e^output - target output)``: outputs are log-rates."""

    def quantile(self, outputs: Array, targets: Array, sample_weight: Array | None, q: Array, grad_outputs: Array | None) -> float:
        """``l = mean_j max(q_j (t - o), (q_j - 1) (t - o))``; the gradient at 0 is 0. IN q (k,), each in (0, 1)."""

    def hinge(self, outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float:
        """``l = mean_j max(0, 1 - (2 t - 1) output)`` for targets 0 or 1; the gradient at the kink is 0."""

    # Gradients and optimizers: over the flat buffers.
    #
    # Every buffer is (s,). In each update, per span and element, before anything else:
    #
    #     lr = lr * span.lr
    #     decoupled:  param = param * (1 - lr * span.weight_decay);  g = grad + span.l1 sign(param)
    #     otherwise:  g = grad + span.weight_decay param + span.l1 sign(param)
    #
    # Factors such as 1 - beta are formed in float64 and then cast. bias1 = 1 - beta1^t, bias2 = 1 - beta2^t at step t = 1, 2, ...

    def squared_norm(self, grad: Array, spans: Spans) -> float:
        """The sum of squares over the spans."""

    def scale(self, spans: Spans, grad: Array, factor: float) -> None:
        """``grad *= factor`` within the spans. INOUT grad."""

    def clip_value(self, spans: Spans, grad: Array, limit: float) -> None:
        """``grad = min(max(grad, -limit), limit)`` within the spans. INOUT grad."""

    def sgd(
        self,
        grad: Array,
        spans: Spans,
        param: Array,
        velocity: Array | None,
        lr: float,
        momentum: float,
        dampening: float,
        nesterov: bool,
        first: bool,
        decoupled: bool,
    ) -> None:
        """``velocity = first ? g : momentum velocity + (1 - dampening) g``; ``param -= lr (nesterov ? g + momentum velocity : velocity)``.

        INOUT param; velocity, None when momentum is 0 (then ``param -= lr g``).
        """

    def rmsprop(
        self,
        grad: Array,
        spans: Spans,
        param: Array,
        v: Array,
        grad_mean: Array | None,
        velocity: Array | None,
        lr: float,
        alpha: float,
        eps: float,
        momentum: float,
        decoupled: bool,
    ) -> None:
        """``v = alpha v + (1 - alpha) g^2``; ``u = g / (sqrt(max(v - grad_mean^2, 0)) + eps)``; ``velocity = momentum velocity + u``; ``param -= lr velocity``.

        INOUT param, v; grad_mean, the running mean of g (``grad_mean += (1 - alpha) (g - grad_mean)``), None unless centered;
        velocity, None when momentum is 0 (then ``param -= lr u``).
        """

    def adagrad(self, grad: Array, spans: Spans, param: Array, v: Array, lr: float, eps: float, decoupled: bool) -> None:
        """``v += g^2``; ``param -= lr g / (sqrt(v) + eps)``. INOUT param, v."""

    def adadelta(
        self,
        grad: Array,
        spans: Spans,
        param: Array,
        v: Array,
        u: Array,
        lr: float,
        rho: float,
        eps: float,
        decoupled: bool,
    ) -> None:
        """``v = rho v + (1 - rho) g^2``; ``d = g sqrt(u + eps) / sqrt(v + eps)``; ``u = rho u + (1 - rho) d^2``; ``param -= lr d``.

        INOUT param, v, u.
        """

    def adam(
        self,
        grad: Array,
        spans: Spans,
        param: Array,
        m: Array,
        v: Array,
        v_max: Array | None,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        bias1: float,
        bias2: float,
        decoupled: bool,
    ) -> None:
        """``m += (1 - beta1) (g - m)``; ``v = beta2 v + (1 - beta2) g^2``; ``param -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps)``.

        INOUT param, m, v; v_max, the running maximum of v that takes its place under the root (AMSGrad), or None.
        """

    def adamax(
        self,
        grad: Array,
        spans: Spans,
        param: Array,
        m: Array,
        u: Array,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        bias1: float,
        decoupled: bool,
    ) -> None:
        """``m += (1 - beta1) (g - m)``; ``u = max(beta2 u, |g| + eps)``; ``param -= lr / bias1 * m / u``. INOUT param, m, u."""

    def nadam(
        self,
        grad: Array,
        spans: Spans,
        param: Array,
        m: Array,
        v: Array,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        bias2: float,
        grad_factor: float,
        m_factor: float,
        decoupled: bool,
    ) -> None:
        """M and v as in adam; ``param -= lr (grad_factor g + m_factor m) / (sqrt(v / bias2) + eps)``. INOUT param, m, v."""

    def radam(
        self,
        grad: Array,
        spans: Spans,
        param: Array,
        m: Array,
        v: Array,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        bias1: float,
        bias2: float,
        rectification: float,
        decoupled: bool,
    ) -> None:
        """M and v as in adam; ``param -= lr m / bias1 * rectification sqrt(bias2) / (sqrt(v) + eps)``.

        With ``rectification`` 0 (the variance is not yet tractable): ``param -= lr m / bias1``. INOUT param, m, v.
        """

    def lion(
        self,
        grad: Array,
        spans: Spans,
        param: Array,
        m: Array,
        lr: float,
        beta1: float,
        beta2: float,
        decoupled: bool,
    ) -> None:
        """``param -= lr sign(beta1 m + (1 - beta1) g)``; ``m = beta2 m + (1 - beta2) g``. INOUT param, m."""

    def rprop(
        self,
        grad: Array,
        spans: Spans,
        param: Array,
        previous: Array,
        step_size: Array,
        lr: float,
        eta_minus: float,
        eta_plus: float,
        step_min: float,
        step_max: float,
        decoupled: bool,
    ) -> None:
        """``step_size *= eta_plus`` where g kept its sign, ``eta_minus`` where it turned, clamped to [step_min, step_max];

        where it turned, ``g = 0``; ``param -= step_size sign(g)``; ``previous = g``. lr serves decoupled decay only.
        INOUT param, previous (the last g), step_size.
        """

    # Normalization and noise.

    def batch_norm_forward(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        running_mean: Array,
        running_var: Array,
        x_hat: Array,
        inv_std: Array,
        y: Array,
        momentum: float,
        eps: float,
    ) -> None:
        """``x_hat = (x - mean) * inv_std``; ``y = weight x_hat + bias``, with the batch's mean and biased variance of each column.

        IN x (n, k), n >= 2; weight, bias (k,). INOUT running_mean, running_var (k,):
        ``running += momentum (batch - running)``, with the unbiased variance. OUT x_hat, y (n, k); inv_std (k,) = 1 / sqrt(var + eps).
        """

    def batch_norm_backward(
        self,
        grad_y: Array,
        x_hat: Array,
        weight: Array,
        inv_std: Array,
        grad_weight: Array,
        grad_bias: Array,
        grad_x: Array,
    ) -> None:
        """``grad_x = weight inv_std (grad_y - mean(grad_y) - x_hat mean(grad_y x_hat))``, means over the rows.

        ``grad_weight = sum(grad_y x_hat)``; ``grad_bias = sum(grad_y)``. IN as written by the forward kernel; OUT the three gradients.
        """

    def batch_norm_inference(
        self, x: Array, weight: Array, bias: Array, running_mean: Array, running_var: Array, y: Array, eps: float
    ) -> None:
        """``y = weight (x - running_mean) / sqrt(running_var + eps) + bias``."""

    def batch_norm_inference_backward(
        self,
        grad_y: Array,
        x: Array,
        weight: Array,
        running_mean: Array,
        running_var: Array,
        grad_weight: Array,
        grad_bias: Array,
        grad_x: Array,
        eps: float,
    ) -> None:
        """The gradient of batch_norm_inference: ``grad_x = grad_y weight / sqrt(running_var + eps)``; running statistics are constants."""

    def layer_norm_forward(self, x: Array, weight: Array, bias: Array, x_hat: Array, inv_std: Array, y: Array, eps: float) -> None:
        """``x_hat = (x - mean) * inv_std``; ``y = weight x_hat + bias``, with each row's mean and biased variance.

        IN x (n, k); weight, bias (k,). OUT x_hat, y (n, k); inv_std (n,).
        """

    def layer_norm_backward(
        self,
        grad_y: Array,
        x_hat: Array,
        weight: Array,
        inv_std: Array,
        grad_weight: Array,
        grad_bias: Array,
        grad_x: Array,
    ) -> None:
        """``g = grad_y weight``; ``grad_x = inv_std (g - mean(g) - x_hat mean(g x_hat))``, means over the columns of each row."""

    def dropout(self, x: Array, y: Array, rate: float, seed: int, step: int, layer: int) -> None:
        """``y = x / (1 - rate)`` where ``hash(seed, step, layer, row, column) >= round(rate 2^32)``, else 0; its own gradient.

        IN x, OUT y (n, k), which may be the same array; rate in [0, 1); seed and step in [0, 2^64), layer in [0, 2^32).
        All arithmetic modulo 2^32, with ``mix`` the finalizer of C. Wellons' "lowbias32" hash::

            mix(h):  h ^= h >> 16;  h *= 0x7feb352d;  h ^= h >> 15;  h *= 0x846ca68b;  h ^= h >> 16
            key = 0;  for word in (seed low, seed high, step low, step high, layer):  key = mix(key + word + 0x9e3779b9)
            hash = mix(mix(key + row + 0x9e3779b9) + 0x9e3779b9 * column)
        """


@dataclass(frozen=True)
class Backend:
    """The backend in use: its name, the instruction set it was compiled for, and the number of threads.

    Attributes
    ----------
    name : str
        "cython" or "numpy".
    isa : str
        The instruction set, such as "x86-64-v3"; "numpy" without compiled kernels.
    threads : int
        How many threads large steps run on.
    """

    name: str
    isa: str
    threads: int


def active() -> Kernels:
    """The kernels of the backend in use here: inside `use_backend` that one, elsewhere the default."""
    return _backends[chosen.get()]


def compiled() -> Any | None:
    """The compiled module where it is the backend in use, else None: it has plans (`_plan`) beside the kernels."""
    return _backends["cython"] if chosen.get() == "cython" else None


def available() -> tuple[str, ...]:
    """The names of the backends that are installed."""
    return ("numpy", "cython") if _INSTALLED else ("numpy",)


def backend() -> Backend:
    """Which kernels serve now.

    Raises
    ------
    ValueError
        If BACKPROP_BACKEND, BACKPROP_ISA or BACKPROP_NUM_THREADS in the environment has a value that is not allowed. Every function
        that needs kernels raises it; importing the package does not.
    ImportError
        If the compiled extension is installed and cannot be loaded.

    Examples
    --------
    >>> import backprop as bp
    >>> with bp.use_backend("numpy"):
    ...     bp.backend()
    Backend(name='numpy', isa='numpy', threads=1)
    """
    core: Any = _backends[chosen.get()]
    return Backend("cython", core.ISA, core.num_threads()) if core is not _reference else Backend("numpy", "numpy", 1)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Use ``"cython"`` or ``"numpy"`` kernels within a ``with`` block, in this thread or task only.

    Raises
    ------
    ValueError
        For another name, or for "cython" where the compiled extension is not installed.
    ImportError
        For "cython" where the extension is installed and cannot be loaded.
    """
    _checked_name(name, "backend")
    _backends[name]  # loads it
    token = chosen.set(name)
    try:
        yield
    finally:
        chosen.reset(token)


def set_num_threads(threads: int) -> None:
    """Set how many threads a training step, or a prediction of many rows, may use at most.

    Results do not depend on it, bit for bit. Python threads that train or predict at the same time share this number, and work too
    small to gain runs on one thread.

    Without a call, the number is BACKPROP_NUM_THREADS; or else the smallest of the first number in OMP_NUM_THREADS, the number of
    processors in the affinity mask, and the time that control groups (containers) leave the process, rounded up to whole processors.
    Where another library has loaded an OpenMP runtime, that runtime can lower the number, whoever set it: ``threadpoolctl``, joblib
    and ``torch.set_num_threads`` do so, for the threads and as long as they limit OpenMP itself. A forked process begins with 1.

    Raises
    ------
    TypeError, ValueError
        If it is not an integer from 1 up, or more than 1 where there are no threads: on the NumPy backend alone, or on a system
        without POSIX threads.

    Examples
    --------
    >>> import backprop as bp
    >>> threads = bp.backend().threads
    >>> bp.set_num_threads(1)
    >>> bp.backend().threads
    1
    >>> bp.set_num_threads(threads)
    """
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise TypeError(f"threads must be an integer, got {threads!r}")
    if _backends.refusal is not None:
        raise ValueError(_backends.refusal)
    _set_num_threads(operator.index(threads), "threads")


def _set_num_threads(threads: int, source: str) -> None:
    most, why = (_MOST_THREADS, "") if _INSTALLED else (1, "the compiled extension is not installed")
    core: Any = _backends.get("cython")
    if core is not None:
        most, why = core.most_threads()
    if not 1 <= threads <= most:
        raise ValueError(f"{source} must be from 1 to {most}{f' ({why})' if why else ''}, got {threads}")
    _backends.threads = threads
    if core is not None:
        core.set_num_threads(threads)


def _checked_name(name: str, source: str) -> str:
    if name not in ("cython", "numpy"):
        raise ValueError(f"{source} must be 'cython' or 'numpy', got {name!r}")
    if name not in available():
        raise ValueError(
            f"{source} 'cython' is not available: the compiled extension is not installed (reinstall with a C compiler present)"
        )
    return name


class _Backends(dict[str, Kernels]):
    """The backends by name. The compiled one is loaded when it is first looked up: NumPy alone needs no extension that loads.

    Attributes
    ----------
    threads
        What `set_num_threads` was given, for the compiled backend if it is loaded later.
    refusal
        What is wrong in the environment, so that no backend serves by default.
    """

    threads: int | None = None
    refusal: str | None = None

    def __missing__(self, name: str) -> Kernels:
        if name == _REFUSED:
            raise ValueError(self.refusal)
        from ._compiled import core

        if self.threads is not None:
            core.set_num_threads(min(self.threads, core.most_threads()[0]))
        self[name] = core
        if TYPE_CHECKING:
            return _core  # keeps the contract, and so do the modules of other instruction sets
        return core


def _default() -> str:
    """Read the environment; return the backend that serves where the program has not chosen one."""
    name = os.environ.get("BACKPROP_BACKEND")
    if name is not None:
        _checked_name(name, "BACKPROP_BACKEND")
    if "BACKPROP_ISA" in os.environ and not _INSTALLED:
        raise ValueError("BACKPROP_ISA is set, but the compiled extension is not installed")
    if name is None and _INSTALLED:  # without vectors, NumPy is faster where it matters, in large products
        core: Any = _backends["cython"]
        name = "numpy" if core.ISA == "plain" else "cython"
    elif name == "cython":
        _backends[name]
    if "BACKPROP_NUM_THREADS" in os.environ:
        given = os.environ["BACKPROP_NUM_THREADS"]
        if not given.strip().isdecimal():
            raise ValueError(f"BACKPROP_NUM_THREADS must be a whole number from 1 up, got {given!r}")
        _set_num_threads(int(given), "BACKPROP_NUM_THREADS")
    return name or "numpy"


_MOST_THREADS = 1024  # as in _kernels/team.pxi
_REFUSED = ""  # the backend in use by default where the environment has no valid one
_INSTALLED = find_spec("backprop._core") is not None
_backends = _Backends(numpy=_reference)
try:
    _name = _default()
except ValueError as error:  # an error of the first use: a program must be able to import the package and report it
    _name, _backends.refusal = _REFUSED, str(error)
chosen: ContextVar[str] = ContextVar("backend", default=_name)
"""The name of the backend in use; plans look here at every call."""
