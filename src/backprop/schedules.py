"""Learning rates that change during training.

A schedule is a function of a count: the updates made so far, or with ``per="epoch"`` the epochs finished so far.
Both start at 0, so ``schedule(0)`` is the learning rate of the very first update. The values are PyTorch's (the closed
forms of ``torch.optim.lr_scheduler``) wherever PyTorch has the schedule; each class says where it differs.

An optimizer takes a schedule where it takes a number: ``Adam(lr=Cosine(3e-3, steps=2000, warmup=100))``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ._arrays import (
    check_choice,
    check_count,
    check_in,
    check_list,
    check_nonnegative,
    check_number,
    check_positive,
    refuse_class,
)
from ._direction import MODES, better_is
from ._overrides import Overridable, Shortcuts, missing, written
from ._registry import Registry
from ._settings import Converted, Settings, count, option, optional
from ._types import Numbers

__all__ = [
    "NAMES",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "Function",
    "InverseScaling",
    "MultiStep",
    "OneCycle",
    "Polynomial",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "get",
]


def __dir__() -> list[str]:
    return sorted(__all__)


Formula = Callable[[npt.NDArray[np.intp]], Any]  # of an array of counts: their values, or one for all
BLOCK = 256
_CALL = "__call__(self, step), which returns the learning rate after ``step`` updates (or epochs)"


class Schedule(Settings, metaclass=Overridable):
    """A learning rate as a function of the number of updates (or epochs) done.

    Parameters
    ----------
    lr : float
        The base value, which the learning rates of parameter groups are relative to.
    per : {"step", "epoch"}
        What is counted: updates or epochs.

    Attributes
    ----------
    name : str
        What `get` knows it by.

    Examples
    --------
    >>> schedule = Step(0.1, step_size=10, gamma=0.5)
    >>> isinstance(schedule, Schedule), schedule.lr, schedule.per, schedule(10)
    (True, 0.1, 'step', 0.05)
    """

    name: ClassVar[str] = ""
    lr: float = option(check_positive)
    per: str = option(check_choice, ("step", "epoch"))

    def __init__(self, lr: float, per: str) -> None:
        self.lr = lr
        self.per = per

    def __call__(self, step: int) -> float:
        """Return the learning rate after ``step`` updates (or epochs): what a custom schedule defines."""
        return self._value(step)

    def _complete(self) -> Self:
        """Return the schedule, or raise a TypeError that says what its class lacks."""
        kind = type(self)
        if kind.__call__ is Schedule.__call__ and kind._value is Schedule._value:
            raise TypeError(f"{kind.__name__} must define __call__(self, step), which returns the learning rate")
        if not self._is_built():
            raise TypeError(f"{kind.__name__}.__init__ must call super().__init__(lr, per)")
        return self

    def values(self, first: int, count: int) -> Numbers:
        """Return the learning rates of many counts at once.

        Parameters
        ----------
        first : int
            How many updates (or epochs) were done before the first value.
        count : int
            How many values to return.

        Returns
        -------
        array (count,)
        """
        return np.fromiter(map(written(self, "__call__"), range(first, first + count)), np.float64, count)

    def _call_by_values(self, step: int) -> float:
        """Return the learning rate after ``step`` updates (or epochs)."""
        return float(self.values(step, 1)[0])

    _SHORTCUTS: ClassVar[Shortcuts] = {
        "values": {"__call__": values, "_value": values},
        "__call__": {"values": _call_by_values},
    }

    def _value(self, step: int) -> float:
        raise missing(self, _CALL)

    def config(self) -> dict[str, Any]:
        """Return the name and the arguments, ready for JSON; `get` turns them back into a schedule.

        Raises
        ------
        TypeError
            For a custom schedule: code is never saved.
        """
        if type(self) not in _SCHEDULES:
            raise TypeError(f"a custom schedule ({type(self).__name__}) cannot be saved; use a schedule of backprop.schedules")
        return {"name": self.name, **{key: getattr(self, key) for key in signature(type(self)).parameters}}

    def state_dict(self) -> dict[str, Any]:
        """Return what has changed since the schedule was made: nothing, unless it reacts to results."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if state:
            raise ValueError(f"state for {type(self).__name__} must be empty, got the keys {sorted(state)}")

    def _check_options(self) -> None:
        min_lr = getattr(self, "min_lr", 0.0)
        if min_lr > self.lr:
            raise ValueError(f"min_lr must not be above lr ({self.lr:g}), got {min_lr!r}")


class _Piecewise(Schedule):
    """A schedule made of formulas, each of which holds over a range of counts.

    Values are computed in blocks of `BLOCK` counts, so that a single value and one of many are equal bit for bit.
    """

    _block: tuple[int, list[float]] = (-1, [])  # the first count of the block that was used last, and its values

    def _assigned(self, name: str) -> None:
        super()._assigned(name)
        self._block = (-1, [])

    def _piece(self, step: int) -> tuple[Formula, float]:
        """Return the formula that holds at ``step``, and the first count at which it no longer does."""
        raise missing(self, _CALL)

    __call__ = Schedule.__call__  # by the same formulas as `values`

    def _value(self, step: int) -> float:
        if type(step) is not int or step < 0:
            step = check_count("step", step, 0)
        first, values = self._block
        if not first <= step < first + len(values):
            first = step - step % BLOCK
            values = self._computed(first).tolist()
            self._block = first, values
        return values[step - first]

    def values(self, first: int, count: int) -> Numbers:
        """Return the learning rates after ``first`` updates (or epochs), after one more, and so on, ``count`` of them."""
        blocks = range(first - first % BLOCK, first + count, BLOCK)
        if not blocks:
            return np.empty(0)
        return np.concatenate([self._computed(block) for block in blocks])[first - blocks[0] :][:count]

    def _computed(self, first: int) -> Numbers:
        """Return the values of a block."""
        rates = np.empty(BLOCK)
        done = 0
        while done < BLOCK:
            formula, end = self._piece(first + done)
            stop = int(min(end - first, BLOCK))
            with np.errstate(over="ignore"):  # at counts of the block that training may never reach; optimizers refuse infinity
                rates[done:stop] = formula(np.arange(first + done, first + stop))
            done = stop
        return rates


class Constant(_Piecewise):
    """The same learning rate throughout."""

    name = "constant"

    def __init__(self, lr: float) -> None:
        super().__init__(lr, "step")

    def _piece(self, step: int) -> tuple[Formula, float]:
        return lambda step: self.lr, math.inf


class Step(_Piecewise):
    """``lr gamma^floor(step / step_size)``: PyTorch's StepLR.

    Parameters
    ----------
    lr : float
        The first value.
    step_size : int
        Updates (or epochs) between two reductions.
    gamma : float
        The factor of each reduction.
    per : {"step", "epoch"}
        What is counted: updates or epochs.

    Examples
    --------
    >>> schedule = Step(0.1, step_size=30, gamma=0.5, per="epoch")
    >>> [schedule(epoch) for epoch in (0, 29, 30, 60)]
    [0.1, 0.1, 0.05, 0.025]
    """

    name = "step"
    step_size: int = option(check_count, 1)
    gamma: float = option(check_positive)

    def __init__(self, lr: float, *, step_size: int, gamma: float = 0.1, per: str = "step") -> None:
        super().__init__(lr, per)
        self.step_size = step_size
        self.gamma = gamma

    def _piece(self, step: int) -> tuple[Formula, float]:
        return lambda step: self.lr * self.gamma ** (step // self.step_size), math.inf


def _check_milestones(name: str, milestones: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(check_count(name, milestone, 0) for milestone in check_list(name, milestones, "integers")))


class MultiStep(_Piecewise):
    """``lr gamma^(number of milestones reached)``: PyTorch's MultiStepLR.

    Parameters
    ----------
    lr : float
        The first value.
    milestones : sequence of int
        The counts at which it is reduced.
    gamma : float
        The factor of each reduction.
    per : {"step", "epoch"}
        What is counted: updates or epochs.

    Examples
    --------
    >>> schedule = MultiStep(0.1, milestones=[30, 80])
    >>> [round(schedule(step), 4) for step in (0, 30, 80)]
    [0.1, 0.01, 0.001]
    """

    name = "multi_step"
    milestones: Converted[tuple[int, ...], Sequence[int]] = option(_check_milestones)
    gamma: float = option(check_positive)

    def __init__(self, lr: float, *, milestones: Sequence[int], gamma: float = 0.1, per: str = "step") -> None:
        super().__init__(lr, per)
        self.milestones = milestones
        self.gamma = gamma

    def _piece(self, step: int) -> tuple[Formula, float]:
        reached = bisect_right(self.milestones, step)
        end = self.milestones[reached] if reached < len(self.milestones) else math.inf
        return lambda step: self.lr * self.gamma**reached, end


class Exponential(_Piecewise):
    """``lr gamma^step``: PyTorch's ExponentialLR.

    Parameters
    ----------
    lr : float
        The first value.
    gamma : float
        The factor of each update (or epoch).
    per : {"step", "epoch"}
        What is counted: updates or epochs.

    Examples
    --------
    >>> schedule = Exponential(0.1, gamma=0.5)
    >>> [round(schedule(step), 4) for step in (0, 1, 2)]
    [0.1, 0.05, 0.025]
    """

    name = "exponential"
    gamma: float = option(check_positive)

    def __init__(self, lr: float, *, gamma: float, per: str = "step") -> None:
        super().__init__(lr, per)
        self.gamma = gamma

    def _piece(self, step: int) -> tuple[Formula, float]:
        return lambda step: self.lr * self.gamma**step, math.inf


class InverseScaling(_Piecewise):
    """``lr / (step + 1)^power``: the "invscaling" of scikit-learn (which counts rows; here updates or epochs are counted).

    Parameters
    ----------
    lr : float
        The first value.
    power : float
        Positive.
    per : {"step", "epoch"}
        What is counted: updates or epochs.

    Examples
    --------
    >>> schedule = InverseScaling(0.1)
    >>> [round(schedule(step), 4) for step in (0, 3, 99)]
    [0.1, 0.05, 0.01]
    """

    name = "inverse_scaling"
    power: float = option(check_positive)

    def __init__(self, lr: float, *, power: float = 0.5, per: str = "step") -> None:
        super().__init__(lr, per)
        self.power = power

    def _piece(self, step: int) -> tuple[Formula, float]:
        return lambda step: self.lr / (step + 1) ** self.power, math.inf


class Polynomial(_Piecewise):
    """``min_lr + (lr - min_lr) (1 - step / steps)^power``, then ``min_lr``: with ``min_lr=0`` PyTorch's PolynomialLR.

    Parameters
    ----------
    lr : float
        The first value.
    steps : int
        The count at which ``min_lr`` is reached.
    power : float
        Positive; 1 is a straight line.
    min_lr : float
        The last value, in ``[0, lr]``.
    per : {"step", "epoch"}
        What is counted: updates or epochs.

    Examples
    --------
    >>> schedule = Polynomial(0.1, steps=100)
    >>> [round(schedule(step), 4) for step in (0, 50, 100, 1000)]
    [0.1, 0.05, 0.0, 0.0]
    """

    name = "polynomial"
    steps: int = option(check_count, 1)
    power: float = option(check_positive)
    min_lr: float = option(check_nonnegative)

    def __init__(self, lr: float, *, steps: int, power: float = 1.0, min_lr: float = 0.0, per: str = "step") -> None:
        super().__init__(lr, per)
        self.steps = steps
        self.power = power
        self.min_lr = min_lr

    def _piece(self, step: int) -> tuple[Formula, float]:
        if step < self.steps:
            return lambda step: self.min_lr + (self.lr - self.min_lr) * (1.0 - step / self.steps) ** self.power, self.steps
        return lambda step: self.min_lr, math.inf


class Cosine(_Piecewise):
    """Half a cosine from ``lr`` down to ``min_lr``, after a linear warmup.

    ``lr (step + 1) / (warmup + 1)`` during warmup; then ``min_lr + (lr - min_lr) (1 + cos(pi progress)) / 2``, where
    progress goes from 0 at ``step = warmup`` to 1 at ``step = steps``; ``min_lr`` afterwards. Without warmup it is
    PyTorch's CosineAnnealingLR up to its ``T_max = steps`` (where PyTorch rises again).

    Source: Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983, equation 5; warmup: Goyal et al., arXiv:1706.02677.

    Parameters
    ----------
    lr : float
        The highest value, reached at ``step = warmup``.
    steps : int
        The length of the whole schedule, warmup included.
    warmup : int
        Updates (or epochs) before ``lr`` is reached; less than ``steps``.
    min_lr : float
        The last value, in ``[0, lr]``.
    per : {"step", "epoch"}
        What is counted: updates or epochs.

    Examples
    --------
    >>> schedule = Cosine(0.01, steps=100, warmup=4)
    >>> [round(schedule(step), 4) for step in (0, 4, 52, 100, 1000)]
    [0.002, 0.01, 0.005, 0.0, 0.0]
    """

    name = "cosine"
    steps: int = option(check_count, 1)
    warmup: int = option(check_count, 0)
    min_lr: float = option(check_nonnegative)

    def __init__(self, lr: float, *, steps: int, warmup: int = 0, min_lr: float = 0.0, per: str = "step") -> None:
        super().__init__(lr, per)
        self.steps = steps
        self.warmup = warmup
        self.min_lr = min_lr

    def _check_options(self) -> None:
        super()._check_options()
        if self.warmup >= self.steps:
            raise ValueError(f"warmup must be less than steps ({self.steps}), got {self.warmup}")

    def _piece(self, step: int) -> tuple[Formula, float]:
        if step < self.warmup:
            return lambda step: self.lr * (step + 1) / (self.warmup + 1), self.warmup
        if step < self.steps:
            return lambda step: _cosine(self.lr, self.min_lr, (step - self.warmup) / (self.steps - self.warmup)), self.steps
        return lambda step: self.min_lr, math.inf


class CosineRestarts(_Piecewise):
    """Half cosines from ``lr`` to ``min_lr``, each ``factor`` times as long as the one before.

    PyTorch's CosineAnnealingWarmRestarts. Source: Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983.

    Parameters
    ----------
    lr : float
        The highest value, from which each cycle starts.
    steps : int
        The length of the first cycle.
    factor : int
        How much longer each next cycle is than the one before.
    min_lr : float
        The lowest value, in ``[0, lr]``.
    per : {"step", "epoch"}
        What is counted: updates or epochs.

    Examples
    --------
    >>> schedule = CosineRestarts(0.1, steps=10, factor=2)
    >>> [round(schedule(step), 4) for step in (0, 5, 10, 20, 30)]
    [0.1, 0.05, 0.1, 0.05, 0.1]
    """

    name = "cosine_restarts"
    steps: int = option(check_count, 1)
    factor: int = option(check_count, 1)
    min_lr: float = option(check_nonnegative)

    def __init__(self, lr: float, *, steps: int, factor: int = 1, min_lr: float = 0.0, per: str = "step") -> None:
        super().__init__(lr, per)
        self.steps = steps
        self.factor = factor
        self.min_lr = min_lr

    def _piece(self, step: int) -> tuple[Formula, float]:
        if self.factor == 1:
            return lambda step: _cosine(self.lr, self.min_lr, step % self.steps / self.steps), math.inf
        start, length = 0, self.steps
        while step >= start + length:
            start += length
            length *= self.factor
        return lambda step: _cosine(self.lr, self.min_lr, (step - start) / length), start + length


class OneCycle(_Piecewise):
    """Up from ``lr / div_factor`` to ``lr``, then down to ``lr / (div_factor final_div_factor)``, along half cosines.

    PyTorch's OneCycleLR with ``cycle_momentum=False``; after ``steps`` the last value stays.
    Source: Smith and Topin, arXiv:1708.07120.

    Parameters
    ----------
    lr : float
        The highest value (``max_lr`` in PyTorch).
    steps : int
        The length of the whole cycle (``total_steps``).
    pct_start : float
        The share of it that the learning rate rises, in (0, 1).
    div_factor : float
        The first value is ``lr / div_factor``.
    final_div_factor : float
        The last value is the first one over ``final_div_factor``.
    per : {"step", "epoch"}
        What is counted: updates or epochs.

    Examples
    --------
    >>> schedule = OneCycle(0.1, steps=100)
    >>> [round(schedule(step), 4) for step in (0, 29, 99)]
    [0.004, 0.1, 0.0]
    """

    name = "one_cycle"
    steps: int = option(check_count, 2)
    pct_start: float = option(check_in, 0.0, 1.0, closed="neither")
    div_factor: float = option(check_positive)
    final_div_factor: float = option(check_positive)

    def __init__(
        self,
        lr: float,
        *,
        steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        per: str = "step",
    ) -> None:
        super().__init__(lr, per)
        self.steps = steps
        self.pct_start = pct_start
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor

    def _piece(self, step: int) -> tuple[Formula, float]:
        first, last = self.lr / self.div_factor, self.steps - 1
        top = self.pct_start * self.steps - 1  # PyTorch puts both ends of the cycle on updates: 0 and steps - 1
        if step <= top:
            return lambda step: _cosine(first, self.lr, step / top if top > 0 else 1.0), math.floor(top) + 1
        if step < last:
            return lambda step: _cosine(self.lr, first / self.final_div_factor, (step - top) / (last - top)), last
        return lambda step: first / self.final_div_factor, math.inf


def _check_monitor(name: str, monitor: str | None) -> str | None:
    if monitor is not None and not isinstance(monitor, str):
        raise TypeError(f"{name} must be a key of the history, got {monitor!r}")
    return monitor


class ReduceOnPlateau(Schedule):
    """Multiply the learning rate by ``factor`` when a value has not improved for more than ``patience`` epochs.

    PyTorch's ReduceLROnPlateau, except that ``threshold`` is relative to the best value's size, so that values below 0 work too.
    `fit` calls `observe` after every epoch; a custom training loop calls it itself. When `fit` watches another key than before, as
    in the first run with validation data, the best value and the epochs without improvement begin anew.

    Parameters
    ----------
    lr : float
        The first value.
    monitor : str, optional
        The key of the history that is watched. By default ``"val_loss"`` where there are validation data, else ``"loss"``.
    factor : float
        In (0, 1).
    patience : int
        Epochs without improvement that are let pass.
    threshold : float
        The least improvement that counts, relative to the best value so far.
    cooldown : int
        Epochs after a reduction during which nothing is counted.
    min_lr : float
        The lowest value.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" goes by the name of what is monitored, see `metrics.better_is`.

    Attributes
    ----------
    current : float
        The learning rate now.
    best : float or None
        The best value so far.
    bad_epochs, cooling : int
        Epochs without improvement, and epochs that are not counted yet.

    Raises
    ------
    ValueError
        If ``mode`` is "auto" and ``monitor`` names no known metric.

    Examples
    --------
    >>> schedule = ReduceOnPlateau(0.1, patience=1, factor=0.5)
    >>> for loss in (1.0, 1.0, 1.0):
    ...     schedule.observe(loss)
    >>> schedule(3)
    0.05
    """

    name = "reduce_on_plateau"
    monitor: str | None = option(_check_monitor)
    factor: float = option(check_in, 0.0, 1.0, closed="neither")
    patience: int = option(check_count, 0)
    threshold: float = option(check_nonnegative)
    cooldown: int = option(check_count, 0)
    min_lr: float = option(check_nonnegative)
    mode: str = option(check_choice, MODES)
    current: float = count(check_positive)
    best: float | None = count(optional(check_number))
    bad_epochs: int = count(check_count, 0)
    cooling: int = count(check_count, 0)
    _first: float | None = None  # the lr that `current` began with
    _observed: str | None = None  # the key of the history that `best` is a value of, as far as it is known

    def __init__(
        self,
        lr: float,
        *,
        monitor: str | None = None,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        mode: str = "auto",
    ) -> None:
        super().__init__(lr, "epoch")
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.mode = mode
        self.current = self.lr
        self.best: float | None = None
        self.bad_epochs = 0
        self.cooling = 0

    def _check_options(self) -> None:
        super()._check_options()
        better_is(self.monitor or "loss", self.mode)

    def _assigned(self, name: str) -> None:
        super()._assigned(name)
        if name != "lr":
            return
        if self._is_built() and self.current == self._first:  # not reduced yet
            self.current = self.lr
        self._first = self.lr

    def _value(self, step: int) -> float:
        return self.current

    def observe(self, value: float) -> None:
        """Take note of an epoch's value and reduce the learning rate if it is time to."""
        if self._improved(value):
            self.best = float(value)
            self.bad_epochs = 0
        else:
            self.bad_epochs += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad_epochs = 0
        if self.bad_epochs > self.patience:
            reduced = max(self.current * self.factor, self.min_lr)
            if self.current - reduced > 1e-8:  # PyTorch's eps: smaller changes are not worth making
                self.current = reduced
            self.cooling = self.cooldown
            self.bad_epochs = 0

    def _observe_key(self, logs: Mapping[str, float]) -> None:
        """Take note of the epoch's value of the key that is watched."""
        key = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if self._observed not in (None, key):  # values of different keys are not comparable
            self.best = None
            self.bad_epochs = 0
        self._observed = key
        self.observe(logs[key])

    def _improved(self, value: float) -> bool:
        if self.best is None:
            return not math.isnan(value)
        margin = self.threshold * abs(self.best) if math.isfinite(self.best) else 0.0
        lower = better_is(self.monitor or "loss", self.mode) == "min"
        return value < self.best - margin if lower else value > self.best + margin

    def state_dict(self) -> dict[str, Any]:
        """Return the current learning rate, the best value and its key, and the counts."""
        return {key: getattr(self, key) for key in ("current", "best", "bad_epochs", "cooling")} | {"observed": self._observed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, here or in earlier versions, which did not save the key."""
        expected, state = self.state_dict().keys(), {"observed": None, **state}
        if state.keys() != expected:
            raise ValueError(f"state for ReduceOnPlateau must have the keys {sorted(expected)}, got {sorted(state)}")
        observed = _check_monitor("observed", state.pop("observed"))
        checked = {key: self._options[key].checked(key, value) if key in self._options else value for key, value in state.items()}
        for key, value in checked.items():
            setattr(self, key, value)
        self._observed = observed


def _check_function(name: str, function: Callable[[int], float]) -> Callable[[int], float]:
    if isinstance(function, type) and issubclass(function, Schedule):  # other classes, such as float, may be functions of a count
        refuse_class(name, function, "a function")
    if not callable(function):
        raise TypeError(f"{name} must be callable, got {type(function).__name__}")
    return function


class Function(Schedule):
    """A custom function, ``function(step) -> lr``; an optimizer wraps a plain function into this by itself.

    Parameters
    ----------
    function : callable
        Takes the count, an int, and returns the learning rate.
    lr : float, optional
        The base value, which the learning rates of parameter groups are relative to; ``function(0)`` by default.
    per : {"step", "epoch"}
        What is counted: updates or epochs.

    Examples
    --------
    >>> schedule = Function(lambda step: 0.1 / (1 + step))
    >>> schedule(0), schedule(1)
    (0.1, 0.05)
    """

    name = "function"
    function: Callable[[int], float] = option(_check_function)
    lr: float = option(check_nonnegative)  # a function may begin at 0

    def __init__(self, function: Callable[[int], float], *, lr: float | None = None, per: str = "step") -> None:
        self.function = function
        super().__init__(1.0 if lr is None else lr, per)
        if lr is None:
            self.lr = self(0)

    def _value(self, step: int) -> float:
        returned = self.function(step)
        try:
            value = float(returned)
        except (TypeError, ValueError):
            raise TypeError(f"a learning rate function must return a number, got {returned!r} at step {step}") from None
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"a learning rate function must return a finite number >= 0, got {value!r} at step {step}")
        return value

    def config(self) -> dict[str, Any]:
        """Refuse: code is never saved."""
        raise TypeError(f"a learning rate function ({self.function!r}) cannot be saved; use a schedule of backprop.schedules")

    def __repr__(self) -> str:
        """Return the call that makes this schedule."""
        return f"Function({self.function!r}, lr={self.lr}, per={self.per!r})"


_SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    [
        Constant,
        Step,
        MultiStep,
        Exponential,
        InverseScaling,
        Polynomial,
        Cosine,
        CosineRestarts,
        OneCycle,
        ReduceOnPlateau,
    ],
)
NAMES = _SCHEDULES.names


def get(spec: Schedule | dict[str, Any]) -> Schedule:
    """Return a schedule from its `Schedule.config`; a schedule is returned as it is.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    return spec if isinstance(spec, Schedule) else _SCHEDULES.make(spec)


def _cosine(start: float, end: float, progress: Any) -> Any:
    """Half a cosine from ``start`` at progress 0 to ``end`` at 1."""
    return end + (start - end) * (1 + np.cos(np.pi * progress)) / 2
