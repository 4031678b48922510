"""Callbacks: what happens between the epochs of `fit`.

A callback is any object with some of these methods, which are Keras'; the ones it has are called::

    on_train_begin(logs)              logs is {}
    on_epoch_begin(epoch, logs)       logs is {}
    on_train_batch_end(batch, logs)   logs has the batch's loss; training then goes step by step, which costs a little speed
    on_epoch_end(epoch, logs)         logs has the numbers of the epoch, the keys of `History`
    on_train_end(logs)                logs has the numbers of the last epoch; not called if training breaks off with an error

Epochs and batches count from 0; epochs go on where the trainer's last `fit` ended. If it has ``set_trainer(trainer)``, as all that
derive from `Callback` do, that is called first. ``trainer.stop_training = True`` ends training after the epoch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arrays import check_choice, check_count, check_flag, check_in, check_nonnegative
from .metrics import better_is

if TYPE_CHECKING:
    from ._types import Array
    from .network import Network
    from .training import Trainer

Logs = Mapping[str, float]


class Callback:
    """A base for callbacks of one's own, which brings the attribute `trainer`."""

    trainer: Trainer

    def set_trainer(self, trainer: Trainer) -> None:
        """Take note of the trainer that calls."""
        self.trainer = trainer


class _Monitor:
    """Watches one key of the history for improvement."""

    def __init__(self, monitor: str | None, mode: str, min_delta: float = 0.0) -> None:
        self._key = monitor
        self._mode = check_choice("mode", mode, ("auto", "min", "max"))
        self._min_delta = min_delta
        self.best: float | None = None

    def check(self, keys: Sequence[str]) -> None:
        """Raise a ValueError unless the history of the run that begins has the key."""
        if self._key is not None and self._key not in keys:
            raise ValueError(f"monitor must be one of {', '.join(keys)}, got {self._key!r}")

    def improved(self, logs: Logs) -> bool:
        """Tell whether the epoch has the best value so far, and remember it."""
        key = self._key or ("val_loss" if "val_loss" in logs else "loss")
        sign = 1.0 if better_is(key, self._mode) == "min" else -1.0
        value = float(logs[key])
        if math.isnan(value) or (self.best is not None and not sign * value < sign * self.best - self._min_delta):
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
        How many epochs without improvement end training.
    min_delta : float
        What a value has to better the best one by to count as an improvement.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" goes by the name.
    restore_best_weights : bool
        Whether the network has the parameters and buffers of the best epoch afterwards, even if all epochs were trained.

    Attributes
    ----------
    best : float or None
        The best value.
    best_epoch, stopped_epoch : int or None
        The epoch that had it, and the one after which training was stopped.
    """

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
        self.patience = check_count("patience", patience, 0)
        self.min_delta = check_nonnegative("min_delta", min_delta)
        self.mode = check_choice("mode", mode, ("auto", "min", "max"))
        self.restore_best_weights = check_flag("restore_best_weights", restore_best_weights)
        self._reset()

    def on_train_begin(self, logs: Logs) -> None:
        """Forget an earlier run."""
        self._reset()
        self._watch.check(self.trainer.history_keys)

    def _reset(self) -> None:
        self._watch = _Monitor(self.monitor, self.mode, self.min_delta)
        self._waited = 0
        self._best_state: tuple[Array, Array] | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._watch.best

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Remember a better epoch, or stop if there has been none for long enough."""
        if self._watch.improved(logs):
            self._waited, self.best_epoch = 0, epoch
            if self.restore_best_weights:
                self._best_state = self.trainer.net.parameters.copy(), self.trainer.net.buffers.copy()
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.stopped_epoch = epoch
            self.trainer.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        """Restore the best epoch, if asked for."""
        if self._best_state is not None:
            self.trainer.net.parameters[...], self.trainer.net.buffers[...] = self._best_state
            self._best_state = None


class Checkpoint(Callback):
    """Save the trainer after every epoch, so that training can go on from there: `Trainer.load`.

    Parameters
    ----------
    path : str or path
        Where to. ``{epoch}`` (counted from 1) and keys of the history in braces, such as ``{val_loss:.3f}``, are filled in.
    save_best_only : bool
        Whether to save only when the monitored value is the best so far.
    monitor, mode
        As for `EarlyStopping`.
    every : int
        Save after every so many epochs.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        save_best_only: bool = False,
        monitor: str | None = None,
        mode: str = "auto",
        every: int = 1,
    ) -> None:
        self.path = os.fspath(path)
        self.save_best_only = check_flag("save_best_only", save_best_only)
        self.every = check_count("every", every)
        self._watch = _Monitor(monitor, mode)

    def on_train_begin(self, logs: Logs) -> None:
        """Check that what is monitored will be there."""
        self._watch.check(self.trainer.history_keys)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save the trainer if it is time to."""
        if self.save_best_only and not self._watch.improved(logs):
            return
        if (epoch + 1) % self.every == 0:
            self.trainer.save(self.path.format(epoch=epoch + 1, **logs))


class CSVLogger(Callback):
    """Write the numbers of each epoch to a CSV file, line by line as they come.

    Parameters
    ----------
    path : str or path
        The file.
    append : bool
        Whether to go on with a file that is there (without a second header).
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool = False) -> None:
        self.path = Path(path)
        self.append = check_flag("append", append)
        self._keys: list[str] = []

    def on_train_begin(self, logs: Logs) -> None:
        """Start the file."""
        self._keys = []
        if not (self.append and self.path.exists()):
            self.path.write_text("", encoding="utf-8")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write a line."""
        if not self._keys:
            self._keys = list(logs)
            if self.path.stat().st_size == 0:
                self._write("epoch", *self._keys)
        self._write(str(epoch), *(repr(float(logs[key])) if key in logs else "" for key in self._keys))

    def _write(self, *cells: str) -> None:
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(",".join(cells) + "\n")


class LambdaCallback(Callback):
    """A callback made of functions: ``LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs))``."""

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
    average goes on if the network is the same one, and starts again from any other network.
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

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = check_in("decay", decay, 0.0, 1.0, closed="left")
        self._followed: Network | None = None
        self._updates = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Start from the network as it is, or go on with its average."""
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


class CallbackList:
    """Calls the hooks that callbacks have."""

    HOOKS = ("on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end", "on_train_end")

    def __init__(self, callbacks: Any, trainer: Trainer) -> None:
        callbacks = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        for callback in callbacks:
            if isinstance(callback, type) or not any(callable(getattr(callback, hook, None)) for hook in self.HOOKS):
                raise TypeError(f"callbacks must have one of the methods {', '.join(self.HOOKS)}, got {callback!r}")
        for callback in callbacks:
            if callable(getattr(callback, "set_trainer", None)):
                callback.set_trainer(trainer)
        self._hooks = {
            hook: [getattr(callback, hook) for callback in callbacks if callable(getattr(callback, hook, None))]
            for hook in self.HOOKS
        }

    def call(self, hook: str, *arguments: Any) -> None:
        """Call a hook of all callbacks, in their order."""
        for function in self._hooks[hook]:
            function(*arguments)

    def has(self, hook: str) -> bool:
        """Tell whether any callback has this hook."""
        return bool(self._hooks[hook])
