"""Optimizers: how gradients become steps.

The definitions and defaults are PyTorch's, to the last detail; the formulas stand in `backprop.kernels.Kernels`. One update
of a whole network is one kernel call over its flat parameter buffer::

    optimizer = AdamW(lr=1e-3, weight_decay=1e-2, groups={"*.bias": {"weight_decay": 0.0}, "layers.0.*": {"lr": 1e-4}})
    optimizer.step(net)

What every optimizer takes beside its own options, `lr`, `weight_decay`, `decoupled`, `l1` and `groups`, is described in
`Optimizer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays import check_flag, check_in, check_nonnegative, check_number, check_positive, refuse_class
from .._registry import Registry
from .._settings import Converted, fixed, option
from .._spans import FlatNetwork, slices
from .._types import Array, Spans
from ..schedules import Schedule
from ._base import Groups, LearningRate, check_lr
from ._base import Optimizer as Optimizer

__all__ = [
    "NAMES",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "get",
]


def __dir__() -> list[str]:
    return sorted(__all__)


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if asked for.

    As in PyTorch the learning rate multiplies the velocity when it is applied, not when it is gathered (Sutskever et al. and
    Keras do the latter: the same for a constant lr only), and the first velocity is the gradient itself, not dampened.
    Source: Robbins and Monro, 1951; momentum: Polyak, 1964; Nesterov's: Sutskever et al., ICML 2013.

    Parameters
    ----------
    lr : float, Schedule or callable
        The learning rate.
    momentum : float
        In [0, 1]: how much of the velocity is kept.
    dampening : float
        In [0, 1]: ``1 - dampening`` of each gradient joins the velocity.
    nesterov : bool
        Whether to look one step ahead; needs momentum, and no dampening.
    weight_decay, decoupled, l1, groups : float, bool, float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.SGD(lr=0.1, momentum=0.9, nesterov=True)
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=20, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = kernel = "sgd"
    momentum: float = option(check_in, 0.0, 1.0)
    dampening: float = option(check_in, 0.0, 1.0)
    nesterov: bool = option(check_flag)

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, decoupled=decoupled, l1=l1, groups=groups)
        self.momentum = momentum
        self.dampening = dampening
        self.nesterov = nesterov

    def _check_options(self) -> None:
        super()._check_options()
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            given = f"momentum {self.momentum:g} and dampening {self.dampening:g}"
            raise ValueError(f"nesterov needs momentum > 0 and dampening 0, got {given}")

    def _slots(self) -> tuple[str | None, ...]:
        return ("velocity" if self.momentum else None,)

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        return lr, self.momentum, self.dampening, self.nesterov, step == 1


class RMSprop(Optimizer):
    """The gradient over the running root mean square of itself.

    As in PyTorch eps is added outside the root (Keras and Optax: inside). Source: Tieleman and Hinton, 2012, lecture 6.5;
    centered: Graves, arXiv:1308.0850.

    Parameters
    ----------
    lr : float, Schedule or callable
        The learning rate.
    alpha : float
        In [0, 1): how much of the running mean of squares is kept.
    momentum : float
        In [0, 1).
    centered : bool
        Whether to divide by the running standard deviation instead.
    eps : float
        Positive; keeps the division finite.
    weight_decay, decoupled, l1, groups : float, bool, float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.RMSprop(lr=0.05)
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=20, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = kernel = "rmsprop"
    squares = True
    alpha: float = option(check_in, 0.0, 1.0, closed="left")
    eps: float = option(check_positive)
    momentum: float = option(check_in, 0.0, 1.0, closed="left")
    centered: bool = option(check_flag)

    def __init__(
        self,
        lr: LearningRate = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, decoupled=decoupled, l1=l1, groups=groups)
        self.alpha = alpha
        self.eps = eps
        self.momentum = momentum
        self.centered = centered

    def _slots(self) -> tuple[str | None, ...]:
        return "v", "grad_mean" if self.centered else None, "velocity" if self.momentum else None

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        return lr, self.alpha, self.eps, self.momentum


class Adagrad(Optimizer):
    """The gradient over the root of the sum of all its squares: steps that shrink where gradients have been large.

    Source: Duchi, Hazan and Singer, JMLR 12, 2011.

    Parameters
    ----------
    lr : float, Schedule or callable
        The learning rate.
    lr_decay : float
        The learning rate of update t is ``lr / (1 + (t - 1) lr_decay)``.
    initial_accumulator_value : float
        What the sum of squares starts from.
    eps : float
        Positive; keeps the division finite.
    weight_decay, decoupled, l1, groups : float, bool, float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.Adagrad(lr=0.5)
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=20, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = kernel = "adagrad"
    squares = True
    lr_decay: float = option(check_nonnegative)
    initial_accumulator_value: float = option(check_nonnegative)
    eps: float = option(check_positive)

    def __init__(
        self,
        lr: LearningRate = 1e-2,
        *,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, decoupled=decoupled, l1=l1, groups=groups)
        self.lr_decay = lr_decay
        self.initial_accumulator_value = initial_accumulator_value
        self.eps = eps

    def _slots(self) -> tuple[str | None, ...]:
        return ("v",)

    def _assigned(self, name: str) -> None:
        super()._assigned(name)
        if name == "initial_accumulator_value" and self._is_built():
            self._begin_again("v")

    def _initial(self, slot: str, net: FlatNetwork) -> Array:
        moment = super()._initial(slot, net)
        moment.fill(self.initial_accumulator_value)
        return moment

    def _excess(self, gradients: Array, spans: Spans) -> str:
        excess = super()._excess(gradients, spans)
        if excess:
            return excess
        v = self._moments["v"]
        with np.errstate(all="ignore"):
            overflows = any(bool(np.isinf(v[part] + gradients[part] ** 2).any()) for part in slices(spans))
        return f"the sum of the squares of gradients, which Adagrad keeps, overflows {gradients.dtype}" if overflows else ""

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        return lr / (1 + (step - 1) * self.lr_decay), self.eps


class Adadelta(Optimizer):
    """RMSprop with the running size of its own steps in place of a learning rate; ``lr`` only scales them.

    Source: Zeiler, arXiv:1212.5701.

    Parameters
    ----------
    lr : float, Schedule or callable
        The learning rate.
    rho : float
        In [0, 1): how much of the running means is kept.
    eps : float
        Positive; keeps the division finite.
    weight_decay, decoupled, l1, groups : float, bool, float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.Adadelta(lr=20.0)
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=50, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = kernel = "adadelta"
    squares = True
    rho: float = option(check_in, 0.0, 1.0, closed="left")
    eps: float = option(check_positive)

    def __init__(
        self,
        lr: LearningRate = 1.0,
        *,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, decoupled=decoupled, l1=l1, groups=groups)
        self.rho = rho
        self.eps = eps

    def _slots(self) -> tuple[str | None, ...]:
        return "v", "u"

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        return lr, self.rho, self.eps


def _check_pair(name: str, pair: Sequence[float]) -> tuple[float, float]:
    try:
        first, second = pair
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be two numbers, got {pair!r}") from None
    return check_number(f"{name}[0]", first), check_number(f"{name}[1]", second)


def _check_betas(name: str, betas: Sequence[float]) -> tuple[float, float]:
    first, second = _check_pair(name, betas)
    return check_in(f"{name}[0]", first, 0.0, 1.0, closed="left"), check_in(f"{name}[1]", second, 0.0, 1.0, closed="left")


def _power(beta: float, step: int) -> float:
    """Return ``beta^step`` with the roundings of a plan, which keeps the powers up to a block and goes from block to block."""
    rest = step % _POWER_BLOCK
    return float(beta ** (step - rest) * beta**rest)


class _Betas(Optimizer):
    """Optimizers with two running means, of the gradient and of its size."""

    betas: tuple[float, float] = option(_check_betas)
    eps: float = option(check_positive)

    def __init__(self, lr: LearningRate, betas: tuple[float, float], eps: float, **shared: Any) -> None:
        super().__init__(lr, **shared)
        self.betas = betas
        self.eps = eps

    def _slots(self) -> tuple[str | None, ...]:
        return "m", "v"

    def _bias(self, step: int) -> tuple[float, float]:
        """How far the running means have filled after ``step`` updates: ``1 - beta^step``."""
        return 1 - _power(self.betas[0], step), 1 - _power(self.betas[1], step)


class Adam(_Betas):
    """The running mean of gradients over the root of the running mean of their squares, both corrected for starting at 0.

    As in PyTorch eps is added to the corrected root, ``sqrt(v / bias2) + eps``, unless ``eps_corrected`` is False, and weight
    decay is part of the gradient; `AdamW` keeps it apart. Source: Kingma and Ba, ICLR 2015, arXiv:1412.6980;
    AMSGrad: Reddi, Kale and Kumar, ICLR 2018 (the maximum over the uncorrected v).

    Parameters
    ----------
    lr : float, Schedule or callable
        The learning rate.
    betas : tuple of two floats
        Each in [0, 1): how much of the two running means is kept.
    eps : float
        Positive.
    amsgrad : bool
        Whether to divide by the largest v so far.
    eps_corrected : bool
        False adds eps to the uncorrected root, as Keras and scikit-learn do: ``eps / sqrt(bias2)`` in place of eps, which is
        larger in the first updates.
    weight_decay, decoupled, l1, groups : float, bool, float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.Adam(lr=0.05)
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=50, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = kernel = "adam"
    squares = True
    amsgrad: bool = option(check_flag)
    eps_corrected: bool = option(check_flag, default=True)

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        amsgrad: bool = False,
        eps_corrected: bool = True,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay=weight_decay, decoupled=decoupled, l1=l1, groups=groups)
        self.amsgrad = amsgrad
        self.eps_corrected = eps_corrected

    def _slots(self) -> tuple[str | None, ...]:
        return "m", "v", "v_max" if self.amsgrad else None

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        bias1, bias2 = self._bias(step)
        eps = self.eps if self.eps_corrected else self.eps / math.sqrt(bias2)
        return lr, *self.betas, eps, bias1, bias2


class AdamW(Adam):
    """`Adam` with decoupled weight decay: parameters shrink by ``lr * weight_decay`` apart from the gradient's step.

    Source: Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101; as in PyTorch the decay is multiplied by lr.

    Parameters
    ----------
    lr : float, Schedule or callable
        The learning rate.
    betas : tuple of two floats
        Each in [0, 1): how much of the two running means is kept.
    eps : float
        Positive; keeps the division finite.
    amsgrad : bool
        Whether to divide by the largest v so far.
    weight_decay : float
        The share of ``lr`` by which parameters shrink.
    l1, groups : float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.AdamW(lr=0.05, weight_decay=1e-3, groups={"*.bias": {"weight_decay": 0.0}})
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=50, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = "adamw"
    decoupled: bool = fixed(check_flag, remedy="AdamW decouples weight decay, Adam does not")

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        amsgrad: bool = False,
        weight_decay: float = 1e-2,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, betas=betas, eps=eps, amsgrad=amsgrad, weight_decay=weight_decay, decoupled=True, l1=l1, groups=groups)


class Adamax(_Betas):
    """`Adam` with the running maximum of the gradient's size in place of its root mean square.

    As in PyTorch eps joins the size before the maximum is taken. Source: Kingma and Ba, arXiv:1412.6980, section 7.1.

    Parameters
    ----------
    lr : float, Schedule or callable
        The learning rate.
    betas : tuple of two floats
        Each in [0, 1): how much of the two running means is kept.
    eps : float
        Positive; keeps the division finite.
    weight_decay, decoupled, l1, groups : float, bool, float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.Adamax(lr=0.1)
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=50, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = kernel = "adamax"

    def __init__(
        self,
        lr: LearningRate = 2e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay=weight_decay, decoupled=decoupled, l1=l1, groups=groups)

    def _slots(self) -> tuple[str | None, ...]:
        return "m", "u"

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        return lr, *self.betas, self.eps, self._bias(step)[0]


class NAdam(_Betas):
    """`Adam` with Nesterov's momentum, warmed up by ``mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)``.

    Source: Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016.

    Parameters
    ----------
    lr : float, Schedule or callable
        The learning rate.
    betas : tuple of two floats
        Each in [0, 1): how much of the two running means is kept.
    eps : float
        Positive; keeps the division finite.
    momentum_decay : float
        How fast the momentum warms up; not negative.
    weight_decay, decoupled, l1, groups : float, bool, float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.NAdam(lr=0.05)
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=50, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = kernel = "nadam"
    squares = True
    momentum_decay: float = option(check_nonnegative)

    def __init__(
        self,
        lr: LearningRate = 2e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        momentum_decay: float = 4e-3,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay=weight_decay, decoupled=decoupled, l1=l1, groups=groups)
        self.momentum_decay = momentum_decay
        self._products = [1.0]  # mu_1 mu_2 ... mu_t, by t, as far as they had to be multiplied out

    def _mu(self, step: int) -> float:
        return float(self.betas[0] * (1.0 - 0.5 * 0.96 ** (step * self.momentum_decay)))

    def _mu_product(self, step: int) -> float:
        """Return mu_1 mu_2 ... mu_step.

        At most a few thousand factors differ from beta1 and matter: from `_NEGLIGIBLE` on, 1 minus the product is 1.
        """
        products, beta = self._products, self.betas[0]
        while len(products) <= step and products[-1] > _NEGLIGIBLE and (mu := self._mu(len(products))) < beta:
            products.append(products[-1] * mu)
        known = min(step, len(products) - 1)
        return float(products[known] * beta ** (step - known))

    def _assigned(self, name: str) -> None:
        super()._assigned(name)
        if name in ("betas", "momentum_decay"):
            self._products = [1.0]

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        mu, mu_next, product = self._mu(step), self._mu(step + 1), self._mu_product(step)
        grad_factor = (1 - mu) / (1 - product)
        m_factor = mu_next / (1 - product * mu_next)
        return lr, *self.betas, self.eps, self._bias(step)[1], grad_factor, m_factor


class RAdam(_Betas):
    """`Adam` that waits with dividing by the root of v until its variance is tractable, then warms it up.

    Source: Liu et al., ICLR 2020, arXiv:1908.03265, algorithm 2. As in PyTorch, eps is added to the uncorrected root.

    Parameters
    ----------
    lr : float, Schedule or callable
        The learning rate.
    betas : tuple of two floats
        Each in [0, 1): how much of the two running means is kept.
    eps : float
        Positive; keeps the division finite.
    weight_decay, decoupled, l1, groups : float, bool, float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.RAdam(lr=0.1)
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=50, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = kernel = "radam"
    squares = True

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay=weight_decay, decoupled=decoupled, l1=l1, groups=groups)

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        beta2 = self.betas[1]
        bias1, bias2 = self._bias(step)
        longest = 2 / (1 - beta2) - 1  # rho_inf, the length of the average in the long run
        length = longest - 2 * step * _power(beta2, step) / bias2  # rho_t
        rectification = 0.0
        if length > 5:
            rectification = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
        return lr, *self.betas, self.eps, bias1, bias2, rectification


class Lion(Optimizer):
    """The sign of a mean of gradients: every parameter moves by ``lr``. Weight decay is decoupled, as in the paper.

    ``betas[0]`` mixes the gradient into the step, ``betas[1]`` into the running mean. It wants an lr about ten times smaller,
    and weight decay as much larger, than `AdamW`. Source: Chen et al., NeurIPS 2023, arXiv:2302.06675, algorithm 2.

    Parameters
    ----------
    lr : float, Schedule or callable
        The learning rate.
    betas : tuple of two floats
        Each in [0, 1): how much of the two running means is kept.
    weight_decay, decoupled, l1, groups : float, bool, float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.Lion(lr=0.05)
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=100, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = kernel = "lion"
    betas: tuple[float, float] = option(_check_betas)

    def __init__(
        self,
        lr: LearningRate = 1e-4,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        decoupled: bool = True,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, decoupled=decoupled, l1=l1, groups=groups)
        self.betas = betas

    def _slots(self) -> tuple[str | None, ...]:
        return ("m",)

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        return lr, *self.betas


_POWER_BLOCK = 64  # as in _kernels/plans/steps.pxi
_NEGLIGIBLE = 2.0**-60  # a product of NAdam's momentum factors that no longer changes a result


def _check_first_step(name: str, lr: Any) -> float:
    checked = check_lr(name, lr)
    if isinstance(checked, Schedule):
        raise ValueError(f"{name} of Rprop must be a number: it is the size of the first step only, got {lr!r}")
    return checked


def _check_etas(name: str, etas: Sequence[float]) -> tuple[float, float]:
    minus, plus = _check_pair(name, etas)
    if not 0 < minus < 1 < plus < math.inf:
        raise ValueError(f"etas must be 0 < etas[0] < 1 < etas[1], got {etas!r}")
    return minus, plus


def _check_step_sizes(name: str, step_sizes: Sequence[float]) -> tuple[float, float]:
    smallest, largest = _check_pair(name, step_sizes)
    if not 0 < smallest <= largest < math.inf:
        raise ValueError(f"step_sizes must be 0 < step_sizes[0] <= step_sizes[1], got {step_sizes!r}")
    return smallest, largest


class Rprop(Optimizer):
    """Steps of each parameter's own size, which grows while its gradient keeps its sign and shrinks when that turns.

    For full batches. A turned gradient counts as 0 once and the step before it is not taken back: PyTorch's variant, iRprop-.
    Source: Riedmiller and Braun, 1993; Igel and Huesken, 2000.

    Parameters
    ----------
    lr : float
        The size of the first step; a schedule has nothing to act on and is refused.
    etas : tuple of two floats
        The factors for shrinking, in (0, 1), and growing, above 1.
    step_sizes : tuple of two floats
        The least and the largest step.
    weight_decay, decoupled, l1, groups : float, bool, float, mapping
        As for every `Optimizer`.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([1, 1], seed=0)
    >>> optimizer = bp.Rprop()
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", optimizer=optimizer, epochs=50, seed=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    """

    name = kernel = "rprop"
    lr: Converted[float | Schedule, LearningRate] = option(_check_first_step)
    etas: tuple[float, float] = option(_check_etas)
    step_sizes: tuple[float, float] = option(_check_step_sizes)

    def __init__(
        self,
        lr: LearningRate = 1e-2,
        *,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, decoupled=decoupled, l1=l1, groups=groups)
        self.etas = etas
        self.step_sizes = step_sizes

    def _slots(self) -> tuple[str | None, ...]:
        return "previous", "step_size"

    def _assigned(self, name: str) -> None:
        super()._assigned(name)
        if name in ("lr", "groups") and self._is_built():
            self._begin_again("step_size")

    def _initial(self, slot: str, net: FlatNetwork) -> Array:
        moment = super()._initial(slot, net)
        if slot == "step_size":
            for entry in net.layout:
                moment[entry.offset : entry.offset + entry.length] = self.learning_rate * self._treatment(entry.name).lr
        return moment

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        return lr, *self.etas, *self.step_sizes


_OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer",
    [
        SGD,
        RMSprop,
        Adagrad,
        Adadelta,
        Adam,
        AdamW,
        Adamax,
        NAdam,
        RAdam,
        Lion,
        Rprop,
    ],
)
NAMES = _OPTIMIZERS.names


def get(spec: str | Optimizer | Mapping[str, Any]) -> Optimizer:
    """Return the optimizer that a name or an `Optimizer.config` stands for; an optimizer is returned as it is.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> get("lion")
    Lion(lr=0.0001, betas=(0.9, 0.99), weight_decay=0.0, decoupled=True, l1=0.0, groups={})
    """
    if isinstance(spec, Optimizer):
        spec._check_complete()
        return spec
    refuse_class("optimizer", spec, "a name or an Optimizer")
    if callable(getattr(spec, "step", None)):
        raise TypeError(
            f"optimizer must be a name or an Optimizer, got {type(spec).__name__}: derive it from backprop.optimizers.Optimizer "
            "and write update(self, parameter, gradient, moments, lr, step)"
        )
    return _OPTIMIZERS.make(spec)
