"""How far training has come: what epochs, callbacks and checkpoints work with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from .._arrays import as_parameter, check_count, check_flag, check_list, check_nonnegative, check_seed
from .._model_file import StrPath
from .._settings import Converted, count, option, optional
from .._types import Array, Communicator, GradientHook
from ..losses import Loss, LossFunction
from ..metrics import MetricSpec
from ..network import Network
from ..optimizers import Optimizer
from .accumulation import Accumulation
from .divergence import DivergenceError
from .evaluation import Meter, evaluate_batches, make_metrics
from .interrupts import Interrupts
from .rows import NO_WEIGHT_TO_EVALUATE, WEIGHT_OF_BATCHES, Batch, ClassVector, Converter, Rows, Stream
from .step import TrainingStep, _Exclusively

EVALUATION_BATCH = 1024
_COMMUNICATOR = ("rank", "size", "allgather", "Allreduce", "Bcast", "Abort")
# Of this process, or None but during `fit` or between `forward` and `backward_step`, or made again
_PASSING = (
    "comm",
    *("training_data", "validation_data", "batch_size", "shuffle"),
    *("_callbacks", "error", "_diverged", "_step_plan", "_awaited", "_shows_gradients", "_ranks"),
)


class Diverged(NamedTuple):
    """The network when training diverged, before anything was undone, and the number of updates and whole epochs then."""

    updates: int
    epoch: int
    parameters: Array
    buffers: Array


class _WithStates(Protocol):
    """Callbacks whose states are saved with the trainer."""

    def state_dict(self) -> dict[str, Mapping[str, Any]]: ...


def _checked_metrics(name: str, metrics: Any) -> tuple[MetricSpec, ...]:
    return tuple(check_list(name, metrics, "names and functions"))


def checked_comm(name: str, comm: Any, parts: Sequence[str] = _COMMUNICATOR) -> Communicator:
    """Return a communicator, if it has what is used of it."""
    lacking = [part for part in parts if not hasattr(comm, part)]
    if lacking:
        raise TypeError(f"{name} must be a communicator of mpi4py, got {type(comm).__name__}, which has no {lacking[0]}")
    checked: Communicator = comm
    return checked


class TrainingState(TrainingStep):
    """A training step, and how far training with it has come: `Trainer` as epochs, callbacks and checkpoints see it."""

    metrics: Converted[tuple[MetricSpec, ...] | None, Sequence[MetricSpec] | None] = option(optional(_checked_metrics))
    comm: Communicator | None = option(optional(checked_comm))
    stop_training: bool = count(check_flag)

    def __init__(
        self,
        net: Network,
        loss: str | Loss | LossFunction,
        optimizer: str | Optimizer,
        clip_norm: float | None,
        clip_value: float | None,
        metrics: Sequence[MetricSpec] | None,
        accumulate_steps: int,
        l2: float,
        on_gradients: GradientHook | None,
        comm: Communicator | None = None,
    ) -> None:
        self.stop_training = False
        self.comm = comm
        self.metrics = metrics
        super().__init__(net, loss, optimizer, clip_norm, clip_value, accumulate_steps, l2, on_gradients)
        self.training_data: Rows | Stream | None = None
        self.validation_data: Rows | Stream | None = None
        self.shuffle: bool | None = None
        self.batch_size: int | None = None
        self.history_keys: tuple[str, ...] = ()
        self._training_keys: tuple[str, ...] = ()  # those of history_keys that are measured while the parameters change
        self.error: BaseException | None = None
        self._diverged: Diverged | None = None
        self._callbacks: _WithStates | None = None  # during `fit`
        self._callback_states: dict[str, Mapping[str, Any]] = {}  # read from a file, for the callbacks of the next `fit`
        self._seed: int | None = None
        self._split_seed: int | None = None  # of validation_split, instead of the network's seed
        self._class_vector: ClassVector | None = None  # the loss's class weights, over the training set of the last fit

    def _exclusively(self, call: str) -> _Exclusively:
        if self.comm is not None and call in ("trainer.step", "trainer.forward", "trainer.backward_step"):
            raise RuntimeError(f"{call} would train one rank alone: a trainer with comm trains by trainer.fit")
        return super()._exclusively(call)

    def _check_options(self) -> None:
        super()._check_options()
        make_metrics(self.metrics, self.loss, n_outputs=self.net.n_outputs)

    def _assigned(self, name: str) -> None:
        """Discard what was made of the options."""
        super()._assigned(name)
        if name == "loss":
            self.__dict__["_class_vector"] = None

    def _check_validation(self, loss: float) -> None:
        """Raise a DivergenceError if the validation loss is NaN."""
        if math.isnan(loss):
            found = f"the validation loss is nan after update {self.optimizer.steps} in epoch {self.epoch + 1}"
            raise DivergenceError._of("loss", found, self.last_lr)

    def _train_and_measure(self, batch: Batch, meter: Meter) -> float:
        """Train on a batch, uninterrupted, let the meter have its loss and outputs, and return the loss."""
        loss, outputs = self._train_on_uninterrupted(batch)
        if outputs is not None:
            meter.add(loss, outputs, batch)
        return loss

    def _evaluation_data(
        self,
        converter: Converter,
        x: Any,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        *,
        class_vector: ClassVector | None,
    ) -> Rows | Stream:
        """Check and convert what is evaluated; ``class_vector`` is what `fit` has made of the loss's class weights, if it has."""
        class_weight = self.loss.row_class_weight if class_vector is None else class_vector
        if y is None:
            if sample_weight is not None:
                raise ValueError(WEIGHT_OF_BATCHES)
            return Stream(converter, x, None, class_weight)
        data = Rows(converter, x, y, sample_weight)
        data.use_class_weight(class_weight)
        data.require_weight(NO_WEIGHT_TO_EVALUATE)
        return data

    def _evaluate_prepared(
        self, data: Rows | Stream, batch_size: int = EVALUATION_BATCH, *, joined: bool = False
    ) -> dict[str, float]:
        """Return the loss and the metrics on prepared data; ``joined`` means those of all ranks that train together."""
        batches = data.batches(batch_size) if isinstance(data, Rows) else data.epoch()
        join = self._ranks.join if joined and self._ranks is not None else None
        return evaluate_batches(self.net, self.loss, batches, make_metrics(self.metrics, self.loss), join)

    def _progress_state(self) -> tuple[Array | None, dict[str, Any]]:
        """Return the gradients that wait for their update, if any, and how far training has come, ready for JSON."""
        gathered, steps, weight = self._accumulated_state()
        counts = {
            "epoch": self.epoch,
            "last_lr": float(self.last_lr),
            "seed": self._seed,
            "split_seed": self._split_seed,
            "gathered_steps": steps,
            "gathered_weight": weight,
            "class_vector": None if self._class_vector is None else self._class_vector.tolist(),
        }
        return gathered, counts

    def _load_progress_state(self, gathered: Array | None, counts: Mapping[str, Any]) -> None:
        """Restore what `_progress_state` returned, here or in earlier versions, which left out ``last_lr``."""
        self.epoch = check_count("epoch", counts["epoch"], 0)
        self.last_lr = check_nonnegative("last_lr", counts.get("last_lr", self.last_lr))
        self._seed = None if counts["seed"] is None else check_seed(counts["seed"])
        self._split_seed = None if counts["split_seed"] is None else check_seed(counts["split_seed"])
        steps = check_count("gathered_steps", counts["gathered_steps"], 0)
        weight = check_nonnegative("gathered_weight", counts["gathered_weight"])
        vector = counts["class_vector"]
        self._class_vector = None if vector is None else self.loss.class_weight_vector(vector, (), self.net.n_outputs)
        if gathered is not None:
            gathered = as_parameter(gathered, "trainer.gathered", self.net.gradients.shape, self.net.dtype)
        self._load_accumulated_state(gathered, steps, weight)

    def save(self, path: StrPath) -> None:
        """Save all that training needs to continue bit for bit: network, optimizer and its moments, counts, random state.

        During `fit`, the state of the callbacks that have one is saved with it. Functions of a program are not saved: a custom loss
        and custom metrics have to be given to `load`. `backprop.load` reads the network alone from such a file.

        Raises
        ------
        TypeError
            If something is there that a file cannot hold, such as a learning rate that is a function.
        OSError
            If the file cannot be written; an older one is then as it was.
        """
        from .checkpoint import save_trainer

        save_trainer(self, path)

    def _check_savable(self) -> None:
        """Raise the error of `save` if there is something that a file cannot hold."""
        from .checkpoint import check_savable

        check_savable(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or pickle keeps: all but plans and what belongs to a `fit` under way."""
        kept = {key: value for key, value in self.__dict__.items() if key not in ("_interrupts", *_PASSING)}
        return kept | {"_accumulation": self._accumulation.copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned, here or in earlier versions, whose gradients waited in three attributes."""
        state = dict(state)
        waiting = [state.pop(f"_accumulated{part}", nothing) for part, nothing in (("", None), ("_steps", 0), ("_weight", 0.0))]
        if "_accumulation" not in state:
            state["_accumulation"] = Accumulation()
            state["_accumulation"].load(*waiting)
        self.__dict__.update(state, _interrupts=Interrupts(), **dict.fromkeys(_PASSING))
