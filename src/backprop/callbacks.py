"""Callbacks: what happens between the epochs of `fit`.

A callback is any object with some of these methods, which are Keras'; the ones it has are called::

    on_train_begin(logs)              logs is {}
    on_epoch_begin(epoch, logs)       logs is {}
    on_train_batch_end(batch, logs)   logs has the batch's loss; training then goes step by step, which costs a little speed
    on_epoch_end(epoch, logs)         logs has the numbers of the epoch, the keys of `History`
    on_train_end(logs)                logs has the numbers of the last whole epoch, {} if there was none

Epochs and batches count from 0; epochs continue where the trainer's last `fit` ended. ``trainer.stop_training = True`` ends
training after the epoch. Before the first ``on_train_begin``, all callbacks get two more calls, if they have the methods:
``set_trainer(trainer)``, which `Callback` has, and then ``check_run()``. It raises an error if the callback cannot serve in this
run, and training does not begin.

Callbacks may have a state that is saved with the trainer, as `Checkpoint` does it, so that an interrupted run can continue::

    state_dict()                      returns a dict of NumPy arrays and whatever JSON holds
    load_state_dict(state)            takes it back, after ``on_train_begin`` of the first `fit` of the trainer that was loaded

However training ends, every callback whose ``on_train_begin`` returned gets its ``on_train_end``: also after Ctrl-C, a
`DivergenceError`, or an exception of another callback. ``trainer.error`` is then the exception, which `fit` raises afterwards. What
``on_train_end`` itself raises keeps no other callback from its own.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ._arrays import as_parameter, check_choice, check_count, check_flag, check_in, check_nonnegative, check_number
from ._direction import MODES
from ._files import check_writable
from ._settings import Converted, Options, call_of, fixed, option, optional
from .metrics import better_is

if TYPE_CHECKING:
    from ._training.state import TrainingState
    from ._types import Array
    from .network import Network

__all__ = ["EMA", "CSVLogger", "Callback", "Checkpoint", "EarlyStopping", "LambdaCallback"]


def __dir__() -> list[str]:
    return sorted(__all__)


Logs = Mapping[str, float]


def _checked_key(name: str, key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{name} must be a key of the history, such as 'val_loss', got {key!r}")
    return key


def _checked_path(name: str, path: Any) -> str:
    try:
        return os.fsdecode(path)
    except TypeError:
        raise TypeError(f"{name} must be a path, got {path!r}") from None


def _checked_hook(name: str, hook: Any) -> Callable[..., Any]:
    if not callable(hook):
        raise TypeError(f"{name} must be a function, got {hook!r}")
    checked: Callable[..., Any] = hook
    return checked


class Callback(Options):
    """A base for custom callbacks.

    Attributes
    ----------
    trainer : Trainer
        The trainer that calls, from `set_trainer` on.
    """

    trainer: TrainingState
    _REMEDY: ClassVar[str] = "make a new callback"

    def set_trainer(self, trainer: TrainingState) -> None:
        """Take note of the trainer that calls."""
        self.trainer = trainer

    def __repr__(self) -> str:
        """Return the call that makes this callback."""
        return call_of(self)


class _Monitor:
    """Watches one key of the history for improvement."""

    def __init__(self, monitor: str | None, mode: str, min_delta: float = 0.0) -> None:
        self._monitor = monitor
        self._mode = mode
        self.min_delta = min_delta
        self.best: float | None = None

    def key(self, keys: Container[str]) -> str:
        """Return the key of the history that is watched, which has these keys."""
        return self._monitor or ("val_loss" if "val_loss" in keys else "loss")

    def check(self, keys: Sequence[str]) -> None:
        """Raise a ValueError unless the history of the run that begins has the key, and the direction is known."""
        key = self.key(keys)
        if key not in keys:
            raise ValueError(f"monitor must be one of {', '.join(keys)}, got {key!r}")
        better_is(key, self._mode)

    def state_dict(self, keys: Container[str]) -> dict[str, Any]:
        """Return the best value, and of what it is."""
        key = self.key(keys)
        return {"monitor": key, "mode": better_is(key, self._mode), "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any], keys: Container[str]) -> bool:
        """Take the best value back if it is one of what is watched now, and tell whether it is."""
        now = self.state_dict(keys)
        if any(state[name] != now[name] for name in ("monitor", "mode")):
            return False
        self.best = None if state["best"] is None else check_number("best", state["best"])
        return True

    def improved(self, logs: Logs) -> bool:
        """Tell whether the epoch has the best value so far, and remember it."""
        key = self.key(logs)
        sign = 1.0 if better_is(key, self._mode) == "min" else -1.0
        value = float(logs[key])
        if math.isnan(value) or (self.best is not None and not sign * value < sign * self.best - self.min_delta):
            return False
        self.best = value
        return True


class EarlyStopping(Callback):
    """Stop training when a value no longer improves.

    Parameters
    ----------
    monitor : str, optional
        The key of the history that is watched; by default ``"val_loss"`` where there are validation data, else ``"loss"``.
    patience : int
        The number of epochs without improvement that ends training.
    min_delta : float
        The smallest difference from the best value that counts as an improvement.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" goes by the name, and refuses the name of a custom metric.
    restore_best_weights : bool
        Whether the network has the best parameters and buffers afterwards, however training ends: early, after all epochs, or
        with an exception. See the notes for which these are.

    Attributes
    ----------
    best : float or None
        The best value.
    best_epoch, stopped_epoch : int or None
        The epoch that had it, and the one after which training was stopped.

    Notes
    -----
    A validation value belongs to the parameters at the end of its epoch; those of the best epoch are restored. A value over the
    training data is a mean over the updates of its epoch, each measured before the update. In an epoch with a single update it is
    the value of the parameters at the beginning of the epoch, so these are restored. With more updates no parameters have exactly
    that value; those at the end of the epoch are restored. Validation data give the better choice.

    Optimizer and epoch count stay as they are: training that continues uses the moments of the last update.

    Examples
    --------
    >>> import backprop as bp
    >>> (x, y), test = bp.datasets.digits()
    >>> stop = bp.EarlyStopping(patience=2, restore_best_weights=True)
    >>> history = bp.mlp([64, 16, 10], seed=0).fit(
    ...     x, y, loss="cross_entropy", optimizer=bp.Adam(lr=0.05), epochs=50, validation_data=test, callbacks=[stop], seed=0
    ... )
    >>> len(history.epoch) < 50, stop.best == min(history["val_loss"])
    (True, True)
    """

    monitor: str | None = fixed(optional(_checked_key))
    patience: int = option(check_count, 0)
    min_delta: float = option(check_nonnegative)
    mode: str = fixed(check_choice, MODES)
    restore_best_weights: bool = option(check_flag)

    def __init__(
        self,
        monitor: str | None = None,
        *,
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.restore_best_weights = restore_best_weights
        self._reset()

    def check_run(self) -> None:
        """Check that the monitored value will be there, and which direction is better."""
        _Monitor(self.monitor, self.mode).check(self.trainer.history_keys)

    def on_train_begin(self, logs: Logs) -> None:
        """Forget an earlier run."""
        self._reset()

    def _reset(self) -> None:
        self._watch = _Monitor(self.monitor, self.mode, self.min_delta)
        self._waited = 0
        self._first_state: tuple[Array, Array] | None = None  # at the beginning of the epoch
        self._first_update = 0
        self._best_state: tuple[Array, Array] | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._watch.best

    def _assigned(self, name: str) -> None:
        if name == "min_delta" and hasattr(self, "_watch"):
            self._watch.min_delta = self.min_delta

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Keep the parameters to which the value of this epoch may belong."""
        if self.restore_best_weights and self._watch.key(self.trainer.history_keys) in self.trainer._training_keys:
            self._first_state, self._first_update = self._state(), self.trainer.optimizer.steps

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Remember a better epoch, or stop if there has been none for long enough."""
        if self._watch.improved(logs):
            self._waited, self.best_epoch = 0, epoch
            if self.restore_best_weights:
                single = self._first_state is not None and self.trainer.optimizer.steps - self._first_update <= 1
                self._best_state = self._first_state if single else self._state()
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.stopped_epoch = epoch
            self.trainer.stop_training = True

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and epoch, the epochs without improvement since then, and what would be restored."""
        state = self._watch.state_dict(self.trainer.history_keys) | {"best_epoch": self.best_epoch, "waited": self._waited}
        if self._best_state is not None:
            state["parameters"], state["buffers"] = self._best_state
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; the state of another monitored value is left."""
        waited = check_count("waited", state["waited"], 0)
        best_epoch = None if state["best_epoch"] is None else check_count("best_epoch", state["best_epoch"], 0)
        best_state = self._best_state
        if self.restore_best_weights and "parameters" in state:
            net, given = self.trainer.net, (state["parameters"], state["buffers"])
            best_state = _like(given[0], net.parameters), _like(given[1], net.buffers)
        if self._watch.load_state_dict(state, self.trainer.history_keys):
            self._waited, self.best_epoch, self._best_state = waited, best_epoch, best_state

    def _state(self) -> tuple[Array, Array]:
        return self.trainer.net.parameters.copy(), self.trainer.net.buffers.copy()

    def on_train_end(self, logs: Logs) -> None:
        """Restore the best parameters, if asked for."""
        if self._best_state is not None:
            self.trainer.net.parameters[...], self.trainer.net.buffers[...] = self._best_state
        self._first_state = self._best_state = None


class Checkpoint(Callback):
    """Save the trainer after every epoch, so that training can continue from there: `Trainer.load`.

    The file has the state of the callbacks of the run, too, so that they continue as well. After an epoch, all callbacks that have
    a state come before it, whatever their place in the list.

    Parameters
    ----------
    path : str or path
        The file. ``{epoch}`` (counted from 1) and keys of the history in braces, such as ``{val_loss:.3f}``, are filled in; two
        braces stand for one.
    save_best_only : bool
        Whether to save only when the monitored value is the best so far.
    monitor, mode : str, optional
        As for `EarlyStopping`.
    every : int
        Save once in this number of epochs. With ``save_best_only`` the other epochs are not compared either: the file holds
        the best of the epochs after which saving is due.

    Raises
    ------
    ValueError, TypeError, OSError
        By `fit`, before training, if the path has a key that the history will not have, or a format that does not fit; if the
        folder does not exist or cannot be written to, or the path is a folder; if something in the trainer cannot be saved.

    Notes
    -----
    The best value is kept from run to run on the same network, and from a file that is loaded to the next run.

    Examples
    --------
    >>> import os, tempfile
    >>> import backprop as bp
    >>> folder = tempfile.mkdtemp()
    >>> saved = bp.Checkpoint(os.path.join(folder, "run-{epoch}.safetensors"), every=2)
    >>> _ = bp.mlp([1, 1], seed=0).fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", epochs=4, callbacks=[saved])
    >>> sorted(os.listdir(folder))
    ['run-2.safetensors', 'run-4.safetensors']
    >>> bp.Trainer.load(os.path.join(folder, "run-4.safetensors")).epoch
    4
    """

    path: Converted[str, str | os.PathLike[str]] = option(_checked_path)
    save_best_only: bool = option(check_flag)
    monitor: str | None = fixed(optional(_checked_key))
    mode: str = fixed(check_choice, MODES)
    every: int = option(check_count)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        save_best_only: bool = False,
        monitor: str | None = None,
        mode: str = "auto",
        every: int = 1,
    ) -> None:
        self.path = path
        self.save_best_only = save_best_only
        self.every = every
        self.monitor = monitor
        self.mode = mode
        self._watch = _Monitor(self.monitor, self.mode)
        self._watched: Network | None = None

    def check_run(self) -> None:
        """Check that what is monitored will be there, and that saving will be possible."""
        keys = self.trainer.history_keys
        _Monitor(self.monitor, self.mode).check(keys)
        try:
            path = self._path_after(0, dict.fromkeys(keys, 0.5))
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise ValueError(
                f"path must be a format of epoch, {', '.join(keys)}, with braces of its own doubled, got {self.path!r}: "
                f"{type(error).__name__} {error}"
            ) from None
        check_writable(path)
        self.trainer._check_savable()

    def on_train_begin(self, logs: Logs) -> None:
        """Forget the best value of another network."""
        net = getattr(self.trainer, "net", None)
        if self._watched is not net:
            self._watch, self._watched = _Monitor(self.monitor, self.mode), net

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save the trainer if it is time to."""
        if (epoch + 1) % self.every == 0 and (not self.save_best_only or self._watch.improved(logs)):
            self.trainer.save(self._path_after(epoch, logs))

    def _path_after(self, epoch: int, logs: Logs) -> str:
        return self.path.format(**{**logs, "epoch": epoch + 1})

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return self._watch.state_dict(self.trainer.history_keys)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; the state of another monitored value is left."""
        self._watch.load_state_dict(state, self.trainer.history_keys)


class CSVLogger(Callback):
    """Write the numbers of each epoch to a CSV file, line by line as they come.

    Parameters
    ----------
    path : str or path
        The file.
    append : bool
        Whether to append to an existing file, in its columns.

    Examples
    --------
    >>> import os, tempfile
    >>> from pathlib import Path
    >>> import backprop as bp
    >>> path = os.path.join(tempfile.mkdtemp(), "run.csv")
    >>> log = bp.CSVLogger(path)
    >>> _ = bp.mlp([1, 1], seed=0).fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", epochs=2, callbacks=[log])
    >>> Path(path).read_text().splitlines()[0]
    'epoch,loss,mae,rmse,r2,lr'
    """

    path: Converted[Path, str | os.PathLike[str]] = option(lambda name, path: Path(_checked_path(name, path)))
    append: bool = option(check_flag)

    def __init__(self, path: str | os.PathLike[str], *, append: bool = False) -> None:
        self.path = path
        self.append = append
        self._keys: list[str] = []

    def check_run(self) -> None:
        """Check that the file can be written, and, if it is appended to, that its columns are those of this run."""
        if self.path.exists():
            self.path.open("a", encoding="utf-8").close()
        else:
            check_writable(self.path)
        columns = self._columns() if self.append else []
        missing = [key for key in ("epoch", *self.trainer.history_keys) if columns and key not in columns]
        if missing:
            raise ValueError(f"{self.path} has no column for {', '.join(missing)}, only {', '.join(columns)}: give another path")

    def on_train_begin(self, logs: Logs) -> None:
        """Start the file."""
        if not (self.append and self.path.exists()):
            self.path.write_text("", encoding="utf-8")
        elif self.path.read_bytes()[-1:] not in (b"", b"\n"):  # its last line has no end yet
            self._write()
        self._keys = self._columns()

    def _columns(self) -> list[str]:
        """Return the columns of the file as it is."""
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8-sig", newline="") as file:  # a spreadsheet may have marked it as UTF-8
            return next(csv.reader(file), [])

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write a line."""
        if not self._keys:
            self._keys = ["epoch", *logs]
            self._write(*self._keys)
        cells = {"epoch": str(epoch), **{key: repr(float(value)) for key, value in logs.items()}}
        self._write(*(cells.get(key, "") for key in self._keys))

    def _write(self, *cells: str) -> None:
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(cells)


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_train_begin, on_train_end : callable, optional
        Functions of ``logs``.
    on_epoch_begin, on_epoch_end : callable, optional
        Functions of ``epoch`` and ``logs``.
    on_train_batch_end : callable, optional
        A function of ``batch`` and ``logs``.

    Examples
    --------
    >>> import backprop as bp
    >>> show = bp.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, sorted(logs)))
    >>> _ = bp.mlp([1, 1], seed=0).fit([[0.0], [1.0]], [1.0, 3.0], loss="mse", epochs=2, callbacks=[show])
    0 ['loss', 'lr', 'mae', 'r2', 'rmse']
    1 ['loss', 'lr', 'mae', 'r2', 'rmse']
    """

    on_train_begin: Callable[[Logs], Any] = option(_checked_hook)
    on_epoch_begin: Callable[[int, Logs], Any] = option(_checked_hook)
    on_train_batch_end: Callable[[int, Logs], Any] = option(_checked_hook)
    on_epoch_end: Callable[[int, Logs], Any] = option(_checked_hook)
    on_train_end: Callable[[Logs], Any] = option(_checked_hook)

    def __init__(
        self,
        *,
        on_train_begin: Callable[[Logs], Any] | None = None,
        on_epoch_begin: Callable[[int, Logs], Any] | None = None,
        on_train_batch_end: Callable[[int, Logs], Any] | None = None,
        on_epoch_end: Callable[[int, Logs], Any] | None = None,
        on_train_end: Callable[[Logs], Any] | None = None,
    ) -> None:
        hooks: dict[str, Callable[..., Any] | None] = {
            "on_train_begin": on_train_begin,
            "on_epoch_begin": on_epoch_begin,
            "on_train_batch_end": on_train_batch_end,
            "on_epoch_end": on_epoch_end,
            "on_train_end": on_train_end,
        }
        for name, hook in hooks.items():
            if hook is not None:
                setattr(self, name, hook)


class EMA(Callback):
    """Keep an exponential moving average of the network: ``average = decay average + (1 - decay) current`` after each update.

    The average often predicts better than the last update. It is summed in float64 (see `Network.blend`), so that any decay
    works. Batches that bring no update, such as those before the last of ``accumulate_steps``, do not count. In another run the
    average continues if the network is the same one, and starts again from any other network. After a `DivergenceError` the average
    still includes the update that was undone.
    Source: Polyak and Juditsky, SIAM J. Control Optim. 30, 1992.

    Parameters
    ----------
    decay : float
        In [0, 1).

    Attributes
    ----------
    network : Network
        The average, parameters and buffers; ``net.blend(ema.network, 1.0)`` copies it into the network that was trained.
    """

    network: Network

    decay: float = option(check_in, 0.0, 1.0, closed="left")

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = decay
        self._followed: Network | None = None
        self._updates = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Start from the network as it is, or continue its average."""
        if self._followed is not self.trainer.net:
            self._followed = self.trainer.net
            self.network = self._followed.copy()
        self._updates = self.trainer.optimizer.steps

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Follow the update, if there was one."""
        if self._updates != self.trainer.optimizer.steps:
            self._updates = self.trainer.optimizer.steps
            self.network.blend(self.trainer.net, 1.0 - self.decay)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Follow the update that ends an epoch with ``accumulate_steps``."""
        self.on_train_batch_end(0, logs)

    def state_dict(self) -> dict[str, Any]:
        """Return the average; nothing before training has begun."""
        if self._followed is None:
            return {}
        parameters, buffers = self.network._exact_values()
        return {"parameters": parameters.copy(), "buffers": buffers.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if state:
            self.network._set_exact_values(state["parameters"], state["buffers"])


class CallbackList:
    """The callbacks of one run, checked, and the calls of the hooks that they have.

    Raises
    ------
    TypeError, ValueError
        If something is not a callback, is listed twice, or cannot serve in this run.
    """

    HOOKS = ("on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end", "on_train_end")

    def __init__(self, callbacks: Any, trainer: TrainingState) -> None:
        self._trainer = trainer
        self._callbacks = listed(callbacks)
        self._begun: list[Any] = []
        self._awaited: dict[str, Mapping[str, Any]] = {}  # states that callbacks have not been given yet
        for callback in self._callbacks:
            _check_hooks(callback, self.HOOKS)
        for position, callback in enumerate(self._callbacks):
            if any(callback is other for other in self._callbacks[:position]):
                raise ValueError(f"callbacks has the same object twice: {callback!r}")
        for method, *arguments in (("set_trainer", trainer), ("check_run",)):
            for callback in self._callbacks:
                _call(callback, method, *arguments)
        classes = [type(callback).__name__ for callback in self._callbacks]
        self._names = [f"{name}.{classes[:position].count(name)}" for position, name in enumerate(classes)]
        self._hooks = {
            hook: [getattr(callback, hook) for callback in self._callbacks if callable(getattr(callback, hook, None))]
            for hook in self.HOOKS
        }
        self._hooks["on_epoch_end"] = [
            callback.on_epoch_end for callback in _savers_last(self._callbacks) if callable(getattr(callback, "on_epoch_end", None))
        ]

    def begin(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Call ``on_train_begin``, then ``load_state_dict`` where there is a state."""
        self._awaited = {name: states[name] for name in self._names if name in states}
        for name, callback in zip(self._names, self._callbacks, strict=True):
            _call(callback, "on_train_begin", {})
            self._begun.append(callback)
            if name in states:
                _call(callback, "load_state_dict", states[name])
                del self._awaited[name]

    def state_dict(self) -> dict[str, Mapping[str, Any]]:
        """Return the state of each callback that has one, by its class and its place among those of the class.

        In ``on_train_begin`` of one callback, others may not have been given theirs yet.
        """
        states = {
            name: self._awaited[name] if name in self._awaited else callback.state_dict()
            for name, callback in zip(self._names, self._callbacks, strict=True)
            if callable(getattr(callback, "state_dict", None))
        }
        for name, state in states.items():
            if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
                raise TypeError(f"state_dict() of the callback {name} must return a dict with strings as keys, got {state!r}")
        return states

    def call(self, hook: str, *arguments: Any) -> None:
        """Call a hook of all callbacks, in their order."""
        for function in self._hooks[hook]:
            function(*arguments)

    @property
    def may_change_state(self) -> bool:
        """Whether there is a callback that might change the network or the trainer between epochs."""
        return any(type(callback) not in (EarlyStopping, Checkpoint, CSVLogger, EMA) for callback in self._callbacks)

    def has(self, hook: str) -> bool:
        """Tell whether any callback has this hook."""
        return bool(self._hooks[hook])

    def end(self, logs: Logs, error: BaseException | None = None) -> None:
        """Call ``on_train_end`` of all callbacks that have begun.

        Parameters
        ----------
        logs
            The numbers of the last whole epoch.
        error
            The exception that ends training. What callbacks raise is noted on it. Without one, the first exception of a callback
            is raised at the end.
        """
        self._trainer.error = first = error
        try:
            for callback in self._begun:
                try:
                    _call(callback, "on_train_end", logs)
                except BaseException as raised:
                    if first is None:
                        first = raised
                    else:
                        first.add_note(f"Then on_train_end of {callback!r} raised {raised!r}")
        finally:
            self._trainer.error = None
        if error is None and first is not None:
            raise first


def listed(callbacks: Any) -> list[Any]:
    """Return the callbacks of an argument: several, a single one, or None."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]


def _check_hooks(callback: Any, hooks: Sequence[str]) -> None:
    """Refuse what has no hook, and a `Callback` with a method that looks like a hook and would never be called."""
    if isinstance(callback, type) or not any(callable(getattr(callback, hook, None)) for hook in hooks):
        raise TypeError(f"callbacks must be a list of objects with some of the methods {', '.join(hooks)}, got {callback!r}")
    unknown = [name for name in dir(callback) if name.startswith("on_") and name not in hooks]
    if isinstance(callback, Callback) and unknown:
        raise TypeError(f"{type(callback).__name__} has the method {unknown[0]}, but the hooks are {', '.join(hooks)}")


def _savers_last(callbacks: list[Any]) -> list[Any]:
    """Return callbacks with each `Checkpoint` behind those whose state it saves; the others keep their order."""
    stateful = [hasattr(callback, "state_dict") and not isinstance(callback, Checkpoint) for callback in callbacks]
    end = len(callbacks) - stateful[::-1].index(True) if any(stateful) else 0
    return sorted(callbacks[:end], key=lambda callback: isinstance(callback, Checkpoint)) + callbacks[end:]


def _like(values: Any, array: Array) -> Array:
    return as_parameter(values, "the saved values", array.shape, array.dtype)


def _call(callback: Any, method: str, *arguments: Any) -> None:
    """Call a method of a callback, if it has it."""
    function = getattr(callback, method, None)
    if callable(function):
        function(*arguments)
