"""Is the gradient right? The answer by central differences, entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import losses
from ._arrays import as_matrix, check_count, check_flag, check_nonnegative, check_positive
from ._types import Array
from .losses import Loss, LossFunction
from .network import Network


class GradientError(AssertionError):
    """A gradient that differences of the loss contradict; the message says where."""


class _Place(NamedTuple):
    """An array whose entries are varied, and the gradient that backward computed for it."""

    name: str
    values: Array
    gradient: Array


class _Mistake(NamedTuple):
    """An entry whose gradient is wrong: what backward says, what differences say, and how far it is outside what is right."""

    entry: str
    gradient: float
    slope: float
    excess: float


def gradcheck(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: str | Loss | LossFunction,
    sample_weight: npt.ArrayLike | None = None,
    training: bool = True,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    max_entries: int | None = None,
) -> bool:
    """Compare the gradient of every parameter and of x with differences of the loss.

    All is done in float64 on a copy; the network stays as it is. Dropout drops the same in every evaluation.

    An entry is right when its gradient g lies between the slopes to its left and to its right, ``(L - L(-h)) / h`` and
    ``(L(+h) - L) / h``, or no further outside than ``atol + rtol |slope|`` and what rounding does to the loss. For a smooth loss
    the interval is tiny; where it holds a kink, such as relu's at zero, every slope in between is a subgradient.

    Parameters
    ----------
    net
        The network, of any dtype.
    x, y
        Inputs (n, n_inputs) and targets; a few rows are enough.
    loss
        A loss, its name, or a function of your own: that is a check of the function's gradient, too.
    sample_weight
        One weight a row.
    training
        Whether the forward is that of training (dropout drops, batch normalization uses the batch) or of evaluation.
    eps
        ``h = eps max(1, |value|)``.
    rtol, atol
        How far outside the interval is still right.
    max_entries
        Check that many entries of each parameter and of x, picked at random, instead of all. A check takes two forwards an entry.

    Returns
    -------
    bool
        True.

    Raises
    ------
    GradientError
        Naming layer, parameter and entry where the gradient is furthest from right, with both values.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> net = bp.mlp([3, 5, 2], activation="tanh", seed=0)
    >>> bp.gradcheck(net, np.ones((4, 3)), [0, 1, 1, 0], loss="cross_entropy")
    True
    """
    training = check_flag("training", training)
    eps, rtol, atol = check_positive("eps", eps), check_nonnegative("rtol", rtol), check_nonnegative("atol", atol)
    limit = None if max_entries is None else check_count("max_entries", max_entries)
    criterion = losses.get(loss)
    criterion.check_activation(net.output_activation)
    probe = net.astype(np.float64)
    inputs = as_matrix(x, "x", np.float64, net.n_inputs).copy()
    targets = criterion.prepare_targets(y, net.n_outputs, np.float64)
    step = probe.dropout_step

    def outputs() -> Array:
        probe.dropout_step = step
        return probe.forward(inputs, training)

    def value() -> float:
        return criterion.value(outputs(), targets, sample_weight=sample_weight)

    _, grad_outputs = losses.loss_and_gradient(criterion, outputs(), targets, sample_weight)
    grad_x = probe.backward(grad_outputs)
    center = value()
    if not np.isfinite(center):
        raise GradientError(f"the loss is {center}, so it has no gradient to check")
    mistakes = [
        mistake for place in _places(probe, inputs, grad_x) for mistake in _mistakes(place, value, center, eps, rtol, atol, limit)
    ]
    if mistakes:
        worst = max(mistakes, key=lambda mistake: (np.isnan(mistake.excess), mistake.excess))
        count = "1 entry is wrong" if len(mistakes) == 1 else f"{len(mistakes)} entries are wrong, this one the most"
        raise GradientError(
            f"{worst.entry}: backward says {worst.gradient:.10g}, differences of the loss say {worst.slope:.10g} ({count})"
        )
    return True


def _places(probe: Network, inputs: Array, grad_x: Array) -> Iterator[_Place]:
    for entry in probe.layout:
        if entry.layer.trainable:
            layer_name, _, name = entry.name.rpartition(".")
            values, gradient = getattr(entry.layer, name), getattr(entry.layer, f"grad_{name}")
            yield _Place(f"{layer_name} {entry.layer!r}: {name}", values, gradient.copy())
    yield _Place("x", inputs, grad_x)


def _mistakes(
    place: _Place, value: Callable[[], float], center: float, eps: float, rtol: float, atol: float, limit: int | None
) -> Iterator[_Mistake]:
    entries = np.arange(place.values.size)
    if limit is not None and limit < len(entries):
        entries = np.sort(np.random.default_rng(0).choice(entries, limit, replace=False))
    for entry in entries:
        index = tuple(int(i) for i in np.unravel_index(entry, place.values.shape))
        before = float(place.values[index])
        above, below = before + eps * max(1.0, abs(before)), before - eps * max(1.0, abs(before))
        place.values[index] = above
        right = (value() - center) / (above - before)  # the step as it came out in floating point
        place.values[index] = below
        left = (center - value()) / (before - below)
        place.values[index] = before
        gradient = float(place.gradient[index])
        rounding = 32 * np.finfo(np.float64).eps * abs(center) / (above - before)
        excess = max(min(left, right) - gradient, gradient - max(left, right)) - rounding
        if not excess <= atol + rtol * max(abs(left), abs(right)):  # NaN is wrong, too
            yield _Mistake(f"{place.name}[{', '.join(map(str, index))}]", gradient, (left + right) / 2, excess)
