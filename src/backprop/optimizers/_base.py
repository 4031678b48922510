"""The base of all optimizers: what is updated, how fast, and what is remembered between updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from math import inf
from typing import Any, ClassVar
from weakref import ref

import numpy as np
import numpy.typing as npt

from .. import kernels, schedules
from .._arrays import aligned_zeros, as_parameter, check_count, check_flag, check_nonnegative, check_positive, refuse_class
from .._forks import held_off
from .._overrides import Overridable
from .._settings import Converted, ReadOnlyDict, Settings, count, option
from .._spans import FlatNetwork, Treatment, build_spans, trainable_flags
from .._types import Array, Spans
from ..clipping import grad_norm, largest

LIMITS = {np.dtype(np.float32): 2.0**63, np.dtype(np.float64): 2.0**511}
"""The size of gradients from which their squares, or sums of a few, overflow."""
LearningRate = float | schedules.Schedule | Callable[[int], float]
Groups = Mapping[str, Mapping[str, float]]
_IN_SPANS = frozenset({"lr", "weight_decay", "l1", "groups", "steps"})  # what the spans of an update depend on
_WAYS = "update(self, parameter, gradient, moments, lr, step), or step(self, net)"


def check_lr(name: str, lr: Any) -> float | schedules.Schedule:
    """Return a learning rate as a float or a schedule."""
    if isinstance(lr, Mapping):
        return schedules.get(dict(lr))
    if isinstance(lr, schedules.Schedule):
        return lr._complete()
    refuse_class(name, lr, "a number, a Schedule or a function")
    return schedules.Function(lr) if callable(lr) else check_positive(name, lr)


def _check_groups(name: str, groups: Any) -> Mapping[str, Mapping[str, float]]:
    if groups is not None and not isinstance(groups, Mapping):
        raise TypeError(f"{name} must be a mapping of patterns to options, got {type(groups).__name__}")
    return ReadOnlyDict({pattern: _checked_options(pattern, given) for pattern, given in (groups or {}).items()})


class Optimizer(Settings, metaclass=Overridable):
    """What all optimizers share: the learning rate, decay, parameter groups, and the moments of one network.

    The moments and counts belong to the optimizer, which belongs to the first network it updates. Parameters of layers with
    ``trainable = False`` stay as they are, and so do their moments and the number of their updates, which bias corrections go by.

    A custom optimizer derives from this class and writes `update`, or `step`.

    Parameters
    ----------
    lr : float or Schedule
        The learning rate: a positive number, a `Schedule`, or any function of the number of updates made. A schedule counts from
        where it is assigned.
    weight_decay : float
        Adds ``weight_decay * parameter`` to the gradient (an L2 penalty).
    decoupled : bool
        Whether weight decay instead shrinks each parameter by the share ``lr * weight_decay``, past the moments.
    l1 : float
        Adds ``l1 * sign(parameter)`` to the gradient.
    groups : mapping of str to mapping
        Patterns over the names in ``net.state_dict()``, as `fnmatch` has them, each with its own ``lr``, ``weight_decay`` or
        ``l1``. Where several match a parameter, the later one wins, option by option. With a schedule, a group's ``lr``
        keeps its ratio to the schedule's base value. They are read-only: assign new groups.

    Attributes
    ----------
    name, kernel : str
        What `get` knows it by, and the kernel that updates the parameters.
    moment_names : tuple of str
        What a custom optimizer remembers of each parameter; see `update`.
    squares : bool
        Whether it squares gradients, so that very large ones are refused.
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
    moment_names: ClassVar[tuple[str, ...]] = ()
    squares: ClassVar[bool] = False
    lr: Converted[float | schedules.Schedule, LearningRate] = option(check_lr)
    groups: Converted[Mapping[str, Mapping[str, float]], Groups | None] = option(_check_groups)
    weight_decay: float = option(check_nonnegative)
    decoupled: bool = option(check_flag)
    l1: float = option(check_nonnegative)
    steps: int = count(check_count, 0)
    epoch: int = count(check_count, 0)
    _has_relative_rates = False  # whether groups have rates, which are relative to lr
    _takes_any_rate = False  # whether lr is a number and none are: another number leaves plans and spans valid

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
        self.weight_decay = weight_decay
        self.decoupled = decoupled
        self.l1 = l1
        self._moments: dict[str, Array] = {}
        self._net: ref[FlatNetwork] | None = None
        self._spans: Spans | None = None
        self._spans_key: tuple[Any, ...] = ()
        self._parts: list[tuple[int, Spans]] = []  # spans by how many updates they have missed
        self._missed: dict[str, int] = {}  # by parameters that were frozen, up to the count in `_frozen`
        self._frozen: tuple[tuple[str, ...], int] = ((), 0)  # which parameters are frozen, and the steps when that was noted
        self._lr_start = (0, 0)  # steps and epoch when the schedule was assigned
        self.lr = lr
        self.groups = groups

    def step(self, net: FlatNetwork) -> None:
        """Update the network's trainable parameters from its gradients.

        Raises
        ------
        ValueError
            If the optimizer belongs to another network, or a pattern of ``groups`` matches no parameter.
        RuntimeError
            If it is called by a loss or layer of the network at work.
        FloatingPointError
            If the optimizer squares gradients and one is so large that its square overflows; nothing is updated then.
        """
        spans = self.attach(net)
        excess = self._excess(net.gradients, spans)
        if excess:
            raise FloatingPointError(f"{excess} at update {self.steps + 1}; clip the gradients, or scale inputs and targets")
        net.begin_update()
        if self.kernel:
            update = getattr(kernels.active(), self.kernel)
            moments = [None if slot is None else self._moments[slot] for slot in self._slots()]
            lr = self.learning_rate
            parts = [(spans, self._scalars(self.steps + 1 - missed, lr)) for missed, spans in self._parts]
            with held_off:
                for spans, scalars in parts:
                    update(net.gradients, spans, net.parameters, *moments, *scalars, self.decoupled)
                self.steps += 1
        else:
            self._update_in_python(net)
            self.steps += 1

    def _excess(self, gradients: Array, spans: Spans) -> str:
        """Say what about these gradients overflows when the optimizer squares them; empty where nothing does."""
        limit = LIMITS[gradients.dtype]
        if not self.squares or grad_norm(gradients, spans) < limit:
            return ""
        size = largest(gradients, spans)
        return f"the largest gradient is {size:.3g}, whose square {gradients.dtype} cannot hold," if size >= limit else ""

    def update(self, parameter: Array, gradient: Array, moments: Mapping[str, Array], lr: float, step: int) -> None:
        """Update one parameter in place: what a custom optimizer writes.

        Weight decay and l1 are in the gradient already, and the learning rate of the parameter's group is in ``lr``.

        Parameters
        ----------
        parameter : array
            To be changed in place.
        gradient : array
            Of the same shape.
        moments : mapping of str to array
            An array of the same shape for each name in `moment_names`, zero at first, to be changed in place.
        lr : float
            The learning rate.
        step : int
            The number of this update of the parameter, counted from 1.
        """
        raise TypeError(f"{type(self).__name__} must define {_WAYS}")

    def _check_complete(self) -> None:
        """Raise a TypeError that says what is missing, if a custom class cannot serve as an optimizer."""
        kind = type(self)
        if not (self.kernel or kind.update is not Optimizer.update or kind.step is not Optimizer.step):
            raise TypeError(f"{kind.__name__} must define {_WAYS}")
        if not self._is_built():
            raise TypeError(f"{kind.__name__}.__init__ must call super().__init__(lr)")

    def _update_in_python(self, net: FlatNetwork) -> None:
        """Call `update` for each trainable parameter."""
        lr = self.learning_rate
        missed = self._missed_now()
        for entry in net.layout:
            if not entry.layer.trainable or not entry.length:
                continue
            part = slice(entry.offset, entry.offset + entry.length)
            treatment = self._treatment(entry.name)
            parameter = net.parameters[part].reshape(entry.shape)
            gradient = net.gradients[part].reshape(entry.shape) + treatment.l1 * np.sign(parameter)
            if self.decoupled:
                parameter *= 1 - lr * treatment.lr * treatment.weight_decay
            else:
                gradient += treatment.weight_decay * parameter
            moments = {name: moment[part].reshape(entry.shape) for name, moment in self._moments.items()}
            self.update(parameter, gradient, moments, lr * treatment.lr, self.steps + 1 - missed.get(entry.name, 0))

    @property
    def learning_rate(self) -> float:
        """The learning rate that the next update uses."""
        lr = self.lr
        if isinstance(lr, float):
            return lr
        rate = float(lr(self._counted(lr)))
        if not 0 <= rate < inf:
            raise ValueError(f"a schedule must give a finite number >= 0, got {rate} from {lr!r}")
        return rate

    def learning_rates(self, count: int) -> npt.NDArray[np.float64]:
        """Return the learning rates of the next updates."""
        lr = self.lr
        if isinstance(lr, float) or lr.per == "epoch":
            return np.full(count, self.learning_rate)
        rates = lr.values(self._counted(lr), count)
        if not ((rates >= 0) & (rates < inf)).all():
            raise ValueError(f"a schedule must give finite numbers >= 0, got {rates.tolist()} from {lr!r}")
        return rates

    def _counted(self, schedule: schedules.Schedule) -> int:
        """Return the updates, or epochs, since the schedule was assigned."""
        steps, epoch = self._lr_start
        return max(0, self.steps - steps if schedule.per == "step" else self.epoch - epoch)

    def _slots(self) -> tuple[str | None, ...]:
        """The names of the moments in the kernel's order, None for one that the options leave out."""
        return self.moment_names

    def _scalars(self, step: int, lr: float) -> tuple[float, ...]:
        """The kernel's scalars, except the last, for update number ``step`` of a parameter, counted from 1."""
        return (lr,)

    def _base_lr(self) -> float:
        """The learning rate that those of groups are relative to."""
        lr = self.lr if isinstance(self.lr, float) else self.lr.lr
        if lr == 0 and any("lr" in options for options in self.groups.values()):
            raise ValueError("groups with lr need a base value that is not 0; use schedules.Function(function, lr=...)")
        return lr

    def _check_options(self) -> None:
        self._base_lr()
        if (net := self._bound()) is not None:
            self._check_patterns(net)

    def _assigned(self, name: str) -> None:
        if name == "lr" and self._takes_any_rate and isinstance(self.lr, float):
            return
        super()._assigned(name)
        if name in ("lr", "groups"):
            relative = any("lr" in options for options in self.__dict__.get("groups", {}).values())
            self.__dict__.update(_has_relative_rates=relative, _takes_any_rate=isinstance(self.lr, float) and not relative)
        if not self._is_built():
            return
        if name == "lr":
            self._lr_start = self.steps, self.epoch
        elif name == "steps" and self.steps < self._frozen[1]:  # set back by hand: all parameters count from there
            self._missed, self._frozen = {}, ((), self.steps)
            self._renew_token()
        elif name in ("steps", "epoch"):
            return
        if name in _IN_SPANS or name not in self._options:
            self.__dict__["_spans"] = None
        self._renew_moments()

    def _bound(self) -> FlatNetwork | None:
        """Return the network that the optimizer belongs to."""
        return None if self._net is None else self._net()

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
        key = (self._base_lr() if self._has_relative_rates else None, trainable_flags(net))
        if self._spans is None or key != self._spans_key:
            frozen = tuple([entry.name for entry in net.layout if not entry.layer.trainable])
            self.__dict__.update(_missed=self._missed_now(), _frozen=(frozen, self.steps))
            spans = build_spans(net, self._treatments())
            self.__dict__.update(_spans=spans, _parts=self._parted(net, spans), _spans_key=key)
            return spans
        return self._spans

    def _missed_now(self) -> dict[str, int]:
        """Return how many updates each parameter has missed, for those that missed any."""
        frozen, since = self._frozen
        missed = dict(self._missed)
        if self.steps > since:
            missed |= {name: missed.get(name, 0) + self.steps - since for name in frozen}
        return missed

    def _parted(self, net: FlatNetwork, spans: Spans) -> list[tuple[int, Spans]]:
        """Return the spans of all trainable parameters, apart for each number of updates that they have missed."""
        missed = {self._missed.get(entry.name, 0) for entry in net.layout if entry.layer.trainable} if self._missed else {0}
        if len(missed) == 1:
            return [(missed.pop(), spans)]

        def spans_of(age: int) -> Spans:
            return build_spans(net, self._treatments(), lambda name: self._missed.get(name, 0) == age)

        return [(age, spans_of(age)) for age in sorted(missed)]

    def _renew_moments(self) -> None:
        """Drop moments that the options no longer use, and start those that they use now."""
        net, slots = self._bound(), [slot for slot in self._slots() if slot is not None]
        if slots == list(self._moments) or not (self._moments or net):
            return
        kept = {slot: self._moments[slot] for slot in slots if slot in self._moments}
        if slots and not kept and self.steps and net is not None:  # nothing is left of earlier updates
            self._missed, self._frozen = {entry.name: self.steps for entry in net.layout}, ((), self.steps)
            self._spans = None
        if net is not None:
            new = {slot: self._initial(slot, net) for slot in slots if slot not in kept}
        else:  # of a copy that is not bound yet
            new = {slot: np.zeros_like(moment) for moment in list(kept.values())[:1] for slot in slots if slot not in kept}
        self._moments = {slot: moment for slot in slots if (moment := kept.get(slot, new.get(slot))) is not None}
        self._renew_token()

    def _begin_again(self, slot: str) -> None:
        """Give a moment of parameters that have not been updated yet its first value anew, as what it follows from was assigned."""
        net = self._bound()
        if net is None or slot not in self._moments:
            return
        missed, first = self._missed_now(), self._initial(slot, net)
        for entry in net.layout:
            if missed.get(entry.name, 0) == self.steps:
                part = slice(entry.offset, entry.offset + entry.length)
                self._moments[slot][part] = first[part]

    def _bind(self, net: FlatNetwork) -> None:
        if self._net is not None and self.steps:
            raise ValueError(
                f"this {type(self).__name__} holds the moments of another network; make a new optimizer, or reset() this one"
            )
        self._check_complete()
        self._check_patterns(net)
        if unknown := sorted(self._missed.keys() - {entry.name for entry in net.layout}):
            raise ValueError(f"the optimizer has counted updates of {', '.join(unknown)}, which the network lacks")
        if self._net is not None:
            self._moments = {}  # those of a network that it never updated
        size, dtype = net.parameters.size, net.parameters.dtype
        for slot, moment in self._moments.items():
            if moment.size != size:
                raise ValueError(f"the moment {slot} is that of a network with {moment.size} parameters, not {size}")
        self._moments = {slot: moment.astype(dtype, copy=False) for slot, moment in self._moments.items()}
        self._net = ref(net)
        self._spans = None
        self._renew_moments()
        self._renew_token()

    def _check_patterns(self, net: FlatNetwork) -> None:
        if not self.groups:
            return
        names = [entry.name for entry in net.layout]
        for pattern in self.groups:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(f"groups has the pattern {pattern!r}, which matches none of the parameters {', '.join(names)}")

    def _treatments(self) -> Callable[[str], Treatment]:
        """Return `_treatment`, or the one that all parameters share."""
        if self.groups:
            return self._treatment
        shared = Treatment(1.0, self.weight_decay, self.l1)
        return lambda name: shared

    def _treatment(self, name: str) -> Treatment:
        """How the parameter of this name is treated."""
        options: dict[str, float] = {}
        for pattern, given in self.groups.items():
            if fnmatchcase(name, pattern):
                options |= given
        return Treatment(
            options["lr"] / self._base_lr() if "lr" in options else 1.0,
            options.get("weight_decay", self.weight_decay),
            options.get("l1", self.l1),
        )

    def _initial(self, slot: str, net: FlatNetwork) -> Array:
        """A moment before the first update."""
        return aligned_zeros(net.parameters.size, net.parameters.dtype)

    def reset(self) -> None:
        """Forget the network, its moments and all counts."""
        self.__dict__.update(steps=0, epoch=0)
        self._moments, self._missed = {}, {}
        self._frozen, self._lr_start = ((), 0), (0, 0)
        self._net = self._spans = None
        self._renew_token()

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, the state of the schedule and a copy of each moment: all that `load_state_dict` needs to continue."""
        if (net := self._bound()) is not None:
            self.attach(net)  # counts what frozen parameters have missed
        state: dict[str, Any] = {"steps": self.steps, "epoch": self.epoch}
        if missed := self._missed_now():
            state["missed"] = missed
        if self._lr_start != (0, 0):
            state["schedule_start"] = list(self._lr_start)
        if isinstance(self.lr, schedules.Schedule) and (schedule := self.lr.state_dict()):
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
        extra = state.keys() - {"steps", "epoch", "missed", "schedule_start", "schedule", *slots}
        if extra or (found and found != slots) or not {"steps", "epoch"} <= state.keys():
            keys = ", ".join(["steps", "epoch", *slots])
            raise ValueError(f"state for {type(self).__name__} must have the keys {keys}, got {', '.join(sorted(state))}")
        net = self._bound()
        moments: dict[str, Array] = {}
        for slot in found:
            dtype = np.asarray(state[slot]).dtype if net is None else net.parameters.dtype
            size = np.size(state[slot]) if net is None else net.parameters.size
            moments[slot] = aligned_zeros(size, dtype)
            moments[slot][...] = as_parameter(state[slot], f"state[{slot!r}]", (size,), dtype)
        steps, epoch = check_count("state['steps']", state["steps"], 0), check_count("state['epoch']", state["epoch"], 0)
        missed = {str(name): check_count("state['missed']", n, 0, steps) for name, n in dict(state.get("missed", {})).items()}
        start = [check_count("state['schedule_start']", n, 0) for n in state.get("schedule_start", (0, 0))]
        if len(start) != 2:
            raise ValueError(f"state['schedule_start'] must be two counts, got {start}")
        if net is not None and (unknown := sorted(missed.keys() - {entry.name for entry in net.layout})):
            raise ValueError(f"state['missed'] names parameters that the network lacks: {', '.join(unknown)}")
        if isinstance(self.lr, schedules.Schedule):
            self.lr.load_state_dict(dict(state.get("schedule", self.lr.state_dict())))
        self.__dict__.update(steps=steps, epoch=epoch)
        self._lr_start = start[0], start[1]
        self._missed, self._frozen = missed, ((), steps)
        self._spans = None
        self._moments = moments
        self._renew_moments()
        self._renew_token()

    def config(self) -> dict[str, Any]:
        """Return the name and the arguments, ready for JSON; `get` turns them back into an optimizer without moments."""
        arguments = self._arguments()
        arguments["groups"] = {pattern: dict(options) for pattern, options in self.groups.items()}
        if isinstance(self.lr, schedules.Schedule):
            arguments["lr"] = self.lr.config()
        return {"name": vars(type(self)).get("name") or type(self).__name__, **arguments}

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle keeps: all but the network; the copy binds to the network it is next used with."""
        missed, frozen = self._missed_now(), ((), self.steps)
        return self.__dict__ | {"_net": None, "_spans": None, "_parts": [], "_missed": missed, "_frozen": frozen}


def _checked_options(pattern: str, options: Mapping[str, float]) -> Mapping[str, float]:
    if not isinstance(options, Mapping):
        raise TypeError(f"groups[{pattern!r}] must be a mapping of options, got {options!r}")
    checks = {"lr": check_positive, "weight_decay": check_nonnegative, "l1": check_nonnegative}
    unknown = options.keys() - checks.keys()
    if unknown:
        raise ValueError(f"groups[{pattern!r}] may set lr, weight_decay and l1, got {', '.join(sorted(map(str, unknown)))}")
    return ReadOnlyDict({key: checks[key](f"groups[{pattern!r}][{key!r}]", value) for key, value in options.items()})
