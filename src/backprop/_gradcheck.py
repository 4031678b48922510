"""Check gradients with differences of the loss, entry by entry.

An entry t of a parameter or of x is checked by the slope ``(L(t + h) - L(t - h)) / 2h``. Where backward says something else, there
are three cases:

- The loss curves so much that the difference is not yet the slope. Extrapolation to h = 0 tells: Ridders, "Accurate computation of
  F'(x) and F'(x) F''(x)", Advances in Engineering Software 4, 1982.
- There is a kink within h, such as relu's at 0, where backward takes one of several derivatives. Differences over h and h/2 show
  it, in the loss or in the outputs of a layer. The entry is then checked at points nearby, which differ in all parameters and
  inputs, so that no kink is left within h.
- Backward is wrong.

Where several units share a kink, the gradient need not lie between the slopes of both sides: for ``relu(t) - relu(-t)`` at 0, which
is t, backward says 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import losses
from ._arrays import as_matrix, check_count, check_flag, check_nonnegative, check_positive
from ._class_weights import check_sample_weight
from ._types import Array
from .losses import Loss, LossFunction
from .network import Network

__all__ = ["GradientError", "gradcheck"]

ROUNDING = float(np.finfo(np.float64).eps)
NEARBY = (1e-2, 1e-2, 1e-2, 1e-2, 3e-2, 3e-2, 3e-2, 3e-2, 0.1, 0.1)  # how far points nearby are, relative to the size of the values
STEPS = [100 * 0.5**i for i in range(9)]  # of the extrapolation, in units of h

_Index = tuple[int, ...]


class GradientError(AssertionError):
    """A gradient that differences of the loss contradict; the message says where."""


class _Place(NamedTuple):
    """An array whose entries are varied, and the gradient that backward computed for it."""

    name: str
    values: Array
    gradient: Array


class _Tolerance(NamedTuple):
    """How far a gradient may be from the slope."""

    eps: float
    rtol: float
    atol: float
    noise: float  # what rounding does to the loss

    def step(self, value: float) -> float:
        """The step h for an entry."""
        return self.eps * max(1.0, abs(value))

    def allowed(self, gradient: float, slope: float, step: float) -> float:
        """How far the two may be apart, the slope being a difference of losses over such steps."""
        return self.atol + self.rtol * max(abs(gradient), abs(slope)) + self.noise / step


class _Finding(NamedTuple):
    """The slope at an entry, and how far its gradient is outside what is right: None where a kink leaves that open."""

    slope: float
    excess: float | None


class _Mistake(NamedTuple):
    """An entry whose gradient is wrong: what backward says and what differences say, there or at a point nearby."""

    entry: str
    gradient: float
    slope: float
    excess: float
    nearby: bool


def gradcheck(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: str | Loss | LossFunction,
    sample_weight: npt.ArrayLike | None = None,
    training: bool = True,
    eps: float = 1e-5,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    max_entries: int | None = None,
) -> bool:
    """Compare the gradient of every parameter and of x with differences of the loss.

    All is done in float64 on a copy; the network stays as it is. Dropout drops the same in every evaluation.

    An entry is right when its gradient differs from the slope of the loss by no more than ``atol + rtol |slope|`` and what rounding
    does to the loss. Where a kink, such as relu's at zero, leaves several derivatives to choose from, the entry is checked at
    points nearby, away from the kink.

    Parameters
    ----------
    net : Network
        The network, of any dtype.
    x, y : array
        Inputs (n, n_inputs) and targets; a few rows are enough.
    loss : str, Loss or callable
        A loss, its name, or a custom function: that is a check of the function's gradient, too.
    sample_weight : array (n,), optional
        One weight a row.
    training : bool
        Whether the forward is that of training (dropout drops, batch normalization uses the batch) or of evaluation.
    eps : float
        The step of differences is ``h = eps max(1, |value|)``.
    rtol, atol : float
        How far from the slope is still right.
    max_entries : int, optional
        Check that many entries of each parameter and of x, picked at random, instead of all. A check takes two forwards an entry,
        and more at kinks.

    Returns
    -------
    bool
        True.

    Raises
    ------
    GradientError
        Naming layer, parameter and entry where the gradient is furthest from right, with both values.
    ValueError, TypeError
        If x, y or loss do not fit the network.

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
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    criterion = losses.get(loss)
    criterion.check_activation(net.output_activation)
    inputs = as_matrix(x, "x", np.float64, net.n_inputs).copy()
    if not len(inputs):
        raise ValueError("x must have at least one row: without rows there is nothing to check")
    targets = criterion.prepare_targets(y, net.n_outputs, np.float64, name="y")
    if len(targets) != len(inputs):
        raise ValueError(f"x and y must have the same number of rows, got shapes {inputs.shape} and {np.shape(y)}")
    weight = None if sample_weight is None else check_sample_weight(sample_weight, len(inputs), np.dtype(np.float64))
    point = _Point(net.astype(np.float64), inputs, criterion, targets, weight, training)
    center = point.value()
    if not np.isfinite(center):
        raise GradientError(f"the loss is {center}, so it has no gradient to check")
    places = point.places()
    rng = np.random.default_rng(0)
    entries = [(number, index) for number, place in enumerate(places) for index in _indices(place.values, limit, rng)]
    with point.moved(NEARBY[0], rng):
        noise = point.noise(rng)
    tolerance = _Tolerance(eps, rtol, atol, noise + ROUNDING * abs(center))
    mistakes: list[_Mistake] = []

    def left_open(entries: list[tuple[int, _Index]], places: list[_Place], nearby: bool) -> list[tuple[int, _Index]]:
        undecided = []
        for number, index in entries:
            finding = point.judge(places[number], index, tolerance)
            if finding.excess is None:
                undecided.append((number, index))
            elif finding.excess > 0:
                mistakes.append(_mistake(places[number], index, finding, nearby))
        return undecided

    undecided = left_open(entries, places, nearby=False)
    for distance in NEARBY:
        if undecided:
            with point.moved(distance, rng):
                undecided = left_open(undecided, point.places(), nearby=True)
    for number, index in undecided:  # a kink wherever one looks: then any slope between those of both sides is right
        place = places[number]
        gradient, step = float(place.gradient[index]), tolerance.step(float(place.values[index]))
        left, right = point.one_sided(place, index, step)
        outside = max(min(left, right) - gradient, gradient - max(left, right))
        excess = outside - tolerance.allowed(gradient, max(abs(left), abs(right)), step)
        if not excess <= 0:
            mistakes.append(_mistake(place, index, _Finding((left + right) / 2, excess), nearby=False))
    if mistakes:
        raise _error(mistakes)
    return True


def _mistake(place: _Place, index: _Index, finding: _Finding, nearby: bool) -> _Mistake:
    assert finding.excess is not None
    entry = f"{place.name}[{', '.join(map(str, index))}]"
    return _Mistake(entry, float(place.gradient[index]), finding.slope, finding.excess, nearby)


class _Walk:
    """Goes forward with a copy of the network and notes the outputs of every layer and the loss of every row."""

    def __init__(self, point: _Point) -> None:
        self._point = point
        self._net = point.probe.copy()
        self._seen: list[Array] = []
        for _, layer in self._net._named:
            setattr(layer, "forward", self._noting(layer.forward))  # noqa: B010 (mypy refuses the assignment)

    def _noting(self, forward: Callable[[Array, bool], Array]) -> Callable[[Array, bool], Array]:
        def note(x: Array, training: bool) -> Array:
            outputs = forward(x, training)
            self._seen.append(np.array(outputs))
            return outputs

        return note

    def forward(self) -> list[Array]:
        """All of these arrays, for the parameters and inputs of the point as they are now."""
        point = self._point
        self._seen = []
        self._net.parameters[...] = point.probe.parameters
        self._net.buffers[...] = point.probe.buffers
        outputs = point.outputs_of(self._net)
        return [*self._seen, *map(np.asarray, point.losses_of(outputs))]


class _Point:
    """A network and inputs, whose loss is looked at along one entry at a time."""

    def __init__(self, probe: Network, inputs: Array, criterion: Loss, targets: Any, weight: Array | None, training: bool) -> None:
        self.probe = probe
        self._inputs = inputs
        self._criterion = criterion
        self._targets = targets
        self._weight = weight
        self._training = training
        self._step = probe.dropout_step
        self._walk: _Walk | None = None

    def outputs_of(self, net: Network) -> Array:
        """The outputs of a network for the inputs, with the same dropout every time."""
        net.dropout_step = self._step
        return net.forward(self._inputs, self._training)

    def losses_of(self, outputs: Array) -> list[float]:
        """The loss, and that of each row alone; a custom loss is not called on parts of the batch."""
        criterion, targets = self._criterion, self._targets
        rows = () if criterion.custom else range(len(outputs))
        whole = criterion.value(outputs, targets, sample_weight=self._weight)
        return [whole, *(criterion.value(outputs[row : row + 1], targets[row : row + 1]) for row in rows)]

    def value(self) -> float:
        """The loss."""
        return self._criterion.value(self.outputs_of(self.probe), self._targets, sample_weight=self._weight)

    def places(self) -> list[_Place]:
        """All parameters that are trained, and x, with their gradients by backward."""
        outputs = self.outputs_of(self.probe)
        _, grad_outputs = losses.loss_and_gradient(self._criterion, outputs, self._targets, self._weight)
        grad_x = self.probe.backward(grad_outputs)
        found = []
        for entry in self.probe.layout:
            if entry.layer.trainable:
                layer_name, _, name = entry.name.rpartition(".")
                values, gradient = getattr(entry.layer, name), getattr(entry.layer, f"grad_{name}")
                found.append(_Place(f"{layer_name} {entry.layer!r}: {name}", values, gradient.copy()))
        return [*found, _Place("x", self._inputs, grad_x)]

    @contextmanager
    def moved(self, distance: float, rng: np.random.Generator) -> Iterator[None]:
        """Move all parameters and inputs at random, as far as that relative to their size, and back at the end."""
        arrays = [*(_view(self.probe.parameters, entry) for entry in self.probe.layout), self._inputs]
        before = [array.copy() for array in arrays]
        for array in arrays:
            size = float(np.sqrt(np.mean(array**2))) if array.size else 0.0
            array += distance * (size or 1.0) * rng.normal(size=array.shape)
        try:
            yield
        finally:
            for array, values in zip(arrays, before, strict=True):
                array[...] = values

    def noise(self, rng: np.random.Generator) -> float:
        """What rounding does to the loss: the size of high differences over tiny steps, in which all that is smooth cancels.

        Moré and Wild, "Estimating computational noise", SIAM Journal on Scientific Computing 33, 2011.
        """
        start = self.probe.parameters.copy()
        way = 1e-9 * np.maximum(1.0, np.abs(start)) * rng.normal(size=start.shape)
        table = []
        for step in range(9):
            self.probe.parameters[...] = start + step * way
            table.append(self.value())
        self.probe.parameters[...] = start
        sizes = []
        for order in (4, 5, 6):
            differences = np.diff(table, order)
            share = math.factorial(order) ** 2 / math.factorial(2 * order)
            sizes.append(math.sqrt(share * float(np.mean(differences**2))))
        return 4 * max(sizes) if np.isfinite(sizes).all() else 0.0

    def judge(self, place: _Place, index: _Index, tolerance: _Tolerance) -> _Finding:
        """Compare the gradient of an entry with the slope of the loss."""
        gradient, step = float(place.gradient[index]), tolerance.step(float(place.values[index]))
        slope = self._slope(place, index, step)
        if not np.isfinite(gradient):
            return _Finding(slope, math.inf)
        if abs(gradient - slope) <= tolerance.allowed(gradient, slope, step):
            return _Finding(slope, 0.0)
        slope, error = self._extrapolated(place, index, step)
        allowed = tolerance.allowed(gradient, slope, step)
        if not error <= allowed:
            return _Finding(slope, None)
        excess = max(0.0, abs(gradient - slope) - allowed - error)
        return _Finding(slope, None if excess and self._has_kink(place, index, step) else excess)

    def one_sided(self, place: _Place, index: _Index, step: float) -> tuple[float, float]:
        """The slopes to the left and to the right of an entry."""
        below, here, above = self._along(place, index, (-step, 0.0, step))
        return (here - below) / step, (above - here) / step

    def _slope(self, place: _Place, index: _Index, step: float) -> float:
        below, above = self._along(place, index, (-step, step))
        return (above - below) / (2 * step)

    def _extrapolated(self, place: _Place, index: _Index, step: float) -> tuple[float, float]:
        """The limit of slopes over smaller and smaller steps, and how far it may be off."""
        best, error = math.nan, math.inf
        before: list[float] = []
        for factor in STEPS:
            row = [self._slope(place, index, factor * step)]
            for order, earlier in enumerate(before, 1):
                row.append(row[-1] + (row[-1] - earlier) / (4**order - 1))
                off = max(abs(row[-1] - row[-2]), abs(row[-1] - earlier))
                if off < error:
                    best, error = row[-1], off
            before = row
        return best, error

    def _along(self, place: _Place, index: _Index, offsets: Sequence[float]) -> list[float]:
        """The loss for values of an entry around its own."""
        with _restored(place.values, index) as here:
            values = []
            for offset in offsets:
                place.values[index] = here + offset
                values.append(self.value())
        return values

    def _has_kink(self, place: _Place, index: _Index, step: float) -> bool:
        """Whether the output of a layer or the loss of a row has a kink within a step of the entry.

        Of a smooth function's differences those over the whole step are four times those over half of it (second differences), or
        twice (first differences of both sides); of a function with a kink they are not.
        """
        if self._walk is None:
            self._walk = _Walk(self)
        with _restored(place.values, index) as here:
            walks = []
            for offset in (-step, -step / 2, 0.0, step / 2, step):
                place.values[index] = here + offset
                walks.append(self._walk.forward())
        for far_below, below, center, above, far_above in zip(*walks, strict=True):
            moved = np.maximum(np.abs(far_above - center), np.abs(far_below - center))
            even = (far_above - 2 * center + far_below) - 4 * (above - 2 * center + below)
            odd = (far_above - far_below) - 2 * (above - below)
            seen = 0.05 * moved + 256 * ROUNDING * np.max(np.abs(center), initial=0.0)
            if np.any(np.maximum(np.abs(even), np.abs(odd)) > seen):
                return True
        return False


@contextmanager
def _restored(values: Array, index: _Index) -> Iterator[float]:
    here = float(values[index])
    try:
        yield here
    finally:
        values[index] = here


def _view(flat: Array, entry: Any) -> Array:
    return flat[entry.offset : entry.offset + entry.length]


def _indices(values: Array, limit: int | None, rng: np.random.Generator) -> list[_Index]:
    entries = np.arange(values.size)
    if limit is not None and limit < len(entries):
        entries = np.sort(rng.choice(entries, limit, replace=False))
    return [tuple(int(i) for i in np.unravel_index(entry, values.shape)) for entry in entries]


def _error(mistakes: list[_Mistake]) -> GradientError:
    worst = max(mistakes, key=lambda mistake: (np.isnan(mistake.excess), mistake.excess))
    count = "1 entry is wrong" if len(mistakes) == 1 else f"{len(mistakes)} entries are wrong, this one the most"
    where = ", at a point nearby, away from a kink" if worst.nearby else ""
    return GradientError(
        f"{worst.entry}: backward says {worst.gradient:.10g}, differences of the loss say {worst.slope:.10g}{where} ({count})"
    )
