"""The base of all optimizers: what is updated, how fast, and what is remembered between updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from inspect import signature
from typing import Any, ClassVar
from weakref import ref

import numpy as np
import numpy.typing as npt

from . import kernels, schedules
from ._arrays import aligned_zeros, as_parameter, check_count, check_flag, check_nonnegative, check_positive
from ._settings import Settings
from ._spans import FlatNetwork, Treatment, build_spans, trainable_flags
from ._types import Array, Spans

LearningRate = float | schedules.Schedule | Callable[[int], float]
Groups = Mapping[str, Mapping[str, float]]


class Optimizer(Settings):
    """What all optimizers share: the learning rate, decay, parameter groups, and the moments of one network.

    The moments and counts belong to the optimizer, which belongs to the first network it updates. Parameters of layers with
    ``trainable = False`` stay as they are, and so do their moments.

    Parameters
    ----------
    lr : float or Schedule
        The learning rate: a positive number, a `Schedule`, or any function of the number of updates made.
    weight_decay : float
        Adds ``weight_decay * parameter`` to the gradient (an L2 penalty).
    decoupled : bool
        Whether weight decay instead shrinks each parameter by the share ``lr * weight_decay``, past the moments.
    l1 : float
        Adds ``l1 * sign(parameter)`` to the gradient.
    groups : mapping of str to mapping
        Patterns over the names in ``net.state_dict()``, as `fnmatch` has them, each with its own ``lr``, ``weight_decay`` or
        ``l1``. Where several match a parameter, the later one wins, option by option. With a schedule, a group's ``lr``
        keeps its ratio to the schedule's base value.

    Attributes
    ----------
    name, kernel : str
        What `get` knows it by, and the kernel that updates the parameters.
    steps : int
        The number of updates made.
    epoch : int
        The number of epochs finished; `fit` counts it, for schedules with ``per="epoch"``.

    Examples
    --------
    >>> import backprop as bp
    >>> optimizer = bp.Adam(lr=bp.schedules.Step(0.1, step_size=10, gamma=0.5), groups={"*.bias": {"lr": 0.01}})
    >>> isinstance(optimizer, bp.optimizers.Optimizer), optimizer.learning_rate, optimizer.steps
    (True, 0.1, 0)
    """

    name: ClassVar[str] = ""
    kernel: ClassVar[str] = ""
    _COUNTS = frozenset({"steps", "epoch"})

    def __init__(
        self,
        lr: LearningRate,
        *,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        self.steps = 0
        self.epoch = 0
        self.weight_decay = check_nonnegative("weight_decay", weight_decay)
        self.decoupled = check_flag("decoupled", decoupled)
        self.l1 = check_nonnegative("l1", l1)
        self._moments: dict[str, Array] = {}
        self._net: ref[FlatNetwork] | None = None
        self._spans: Spans | None = None
        self._spans_key: tuple[Any, ...] = ()
        self.lr = lr
        self.groups = groups

    def step(self, net: FlatNetwork) -> None:
        """Update the network's trainable parameters from its gradients.

        Raises
        ------
        ValueError
            If the optimizer belongs to another network, or a pattern of ``groups`` matches no parameter.
        """
        spans = self.attach(net)
        update = getattr(kernels.active(), self.kernel)
        moments = [None if slot is None else self._moments[slot] for slot in self._slots()]
        scalars = self._scalars(self.steps + 1, self.learning_rate)
        update(net.gradients, spans, net.parameters, *moments, *scalars, self.decoupled)
        self.steps += 1

    @property
    def learning_rate(self) -> float:
        """The learning rate that the next update uses."""
        if isinstance(self._lr, float):
            return self._lr
        return self._lr(self.steps if self._lr.per == "step" else self.epoch)

    def learning_rates(self, count: int) -> npt.NDArray[np.float64]:
        """Return the learning rates of the next updates."""
        if isinstance(self._lr, float) or self._lr.per == "epoch":
            return np.full(count, self.learning_rate)
        return self._lr.values(self.steps, count)

    def _slots(self) -> tuple[str | None, ...]:
        """The names of the moments in the kernel's order, None for one that the options leave out."""
        raise NotImplementedError

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        """The kernel's scalars, except the last, for update number ``step``, counted from 1."""
        raise NotImplementedError

    @property
    def lr(self) -> float | schedules.Schedule:
        """The learning rate: a number or a schedule. It can be set at any time."""
        return self._lr

    @lr.setter
    def lr(self, lr: LearningRate) -> None:
        self._lr = self._checked_lr(lr)
        self._spans = None

    def _checked_lr(self, lr: LearningRate) -> float | schedules.Schedule:
        if isinstance(lr, Mapping):
            return schedules.get(dict(lr))
        if isinstance(lr, schedules.Schedule):
            return lr
        return schedules.Function(lr) if callable(lr) else check_positive("lr", lr)

    @property
    def groups(self) -> dict[str, dict[str, float]]:
        """The parameter groups: patterns over parameter names, with the options that differ there."""
        return self._groups

    @groups.setter
    def groups(self, groups: Groups | None) -> None:
        self._groups = {pattern: _checked_options(pattern, options) for pattern, options in (groups or {}).items()}
        self._spans = None

    def attach(self, net: FlatNetwork) -> Spans:
        """Bind the optimizer to a network, if it is not yet, and return the spans that an update of it covers now.

        `step` calls it; calling it early shows mistakes early. The spans are kept until something that they depend on changes.

        Raises
        ------
        ValueError
            As for `step`.
        """
        if self._net is None or self._net() is not net:
            self._bind(net)
        key = (self.weight_decay, self.l1, trainable_flags(net))
        if self._spans is None or key != self._spans_key:
            self._spans = build_spans(net, self._treatment)
            self._spans_key = key
        return self._spans

    def _bind(self, net: FlatNetwork) -> None:
        if self._net is not None and self.steps:
            raise ValueError(
                f"this {type(self).__name__} holds the moments of another network; make a new optimizer, or reset() this one"
            )
        self._check_groups(net)
        if self._net is not None:
            self._moments = {}  # those of a network that it never updated
        size, dtype = net.parameters.size, net.parameters.dtype
        for slot, moment in self._moments.items():
            if moment.size != size:
                raise ValueError(f"the moment {slot} is that of a network with {moment.size} parameters, not {size}")
            self._moments[slot] = moment.astype(dtype, copy=False)
        if not self._moments:
            for slot in filter(None, self._slots()):
                self._moments[slot] = self._initial(slot, net)
        self._net = ref(net)
        self._spans = None

    def _check_groups(self, net: FlatNetwork) -> None:
        names = [entry.name for entry in net.layout]
        for pattern in self._groups:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(f"groups has the pattern {pattern!r}, which matches none of the parameters {', '.join(names)}")

    def _treatment(self, name: str) -> Treatment:
        """How the parameter of this name is treated."""
        options: dict[str, float] = {}
        for pattern, given in self._groups.items():
            if fnmatchcase(name, pattern):
                options |= given
        base = self._lr if isinstance(self._lr, float) else self._lr.lr
        if "lr" in options and base == 0:
            raise ValueError("groups with lr need a base value that is not 0; use schedules.Function(function, lr=...)")
        return Treatment(
            options["lr"] / base if "lr" in options else 1.0,
            options.get("weight_decay", self.weight_decay),
            options.get("l1", self.l1),
        )

    def _initial(self, slot: str, net: FlatNetwork) -> Array:
        """A moment before the first update."""
        return aligned_zeros(net.parameters.size, net.parameters.dtype)

    def reset(self) -> None:
        """Forget the network, its moments and all counts."""
        self.steps = self.epoch = 0
        self._moments = {}
        self._net = self._spans = None

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, the state of the schedule and a copy of each moment: all that `load_state_dict` needs to go on."""
        state: dict[str, Any] = {"steps": self.steps, "epoch": self.epoch}
        if isinstance(self._lr, schedules.Schedule) and (schedule := self._lr.state_dict()):
            state["schedule"] = schedule
        return state | {slot: moment.copy() for slot, moment in self._moments.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, bit for bit; the options have to be the same ones.

        Raises
        ------
        ValueError
            If the state is that of other options, or of a network of another size.
        """
        slots = [slot for slot in self._slots() if slot is not None]
        found = [slot for slot in slots if slot in state]
        extra = state.keys() - {"steps", "epoch", "schedule", *slots}
        if extra or (found and found != slots) or not {"steps", "epoch"} <= state.keys():
            keys = ", ".join(["steps", "epoch", *slots])
            raise ValueError(f"state for {type(self).__name__} must have the keys {keys}, got {', '.join(sorted(state))}")
        net = None if self._net is None else self._net()
        moments: dict[str, Array] = {}
        for slot in found:
            dtype = np.asarray(state[slot]).dtype if net is None else net.parameters.dtype
            size = np.size(state[slot]) if net is None else net.parameters.size
            moments[slot] = aligned_zeros(size, dtype)
            moments[slot][...] = as_parameter(state[slot], f"state[{slot!r}]", (size,), dtype)
        steps, epoch = check_count("state['steps']", state["steps"], 0), check_count("state['epoch']", state["epoch"], 0)
        if isinstance(self._lr, schedules.Schedule):
            self._lr.load_state_dict(dict(state.get("schedule", self._lr.state_dict())))
        self.steps, self.epoch = steps, epoch
        if net is not None and not moments:
            moments = {slot: self._initial(slot, net) for slot in slots}
        self._moments = moments

    def config(self) -> dict[str, Any]:
        """Return the name and the arguments, ready for JSON; `get` turns them back into an optimizer without moments."""
        arguments = {key: getattr(self, key) for key in signature(type(self)).parameters}
        if isinstance(self._lr, schedules.Schedule):
            arguments["lr"] = self._lr.config()
        return {"name": self.name, **arguments}

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle keeps: all but the network; the copy binds to the network it is next used with."""
        return self.__dict__ | {"_net": None, "_spans": None}

    def __repr__(self) -> str:
        """Return the call that makes this optimizer."""
        arguments = ", ".join(f"{key}={getattr(self, key)!r}" for key in signature(type(self)).parameters)
        return f"{type(self).__name__}({arguments})"


def _checked_options(pattern: str, options: Mapping[str, float]) -> dict[str, float]:
    checks = {"lr": check_positive, "weight_decay": check_nonnegative, "l1": check_nonnegative}
    unknown = options.keys() - checks.keys()
    if unknown:
        raise ValueError(f"groups[{pattern!r}] may set lr, weight_decay and l1, got {', '.join(sorted(map(str, unknown)))}")
    return {key: checks[key](f"groups[{pattern!r}][{key!r}]", value) for key, value in options.items()}
