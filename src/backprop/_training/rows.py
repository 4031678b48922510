"""Training data as a network takes it: checked, in its dtype, batch by batch; from arrays, memory maps or a stream of batches."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._arrays import as_matrix, as_real_array, as_table, check_count
from .._class_weights import ClassWeight, check_sample_weight, count_classes, weigh_rows
from .._frames import column_names
from .._types import Array, Labels
from ..data import Indices, check_same_rows, rows_differ
from .warnings import warn

if TYPE_CHECKING:
    from ..losses import Loss
    from ..network import Network

ClassVector = npt.NDArray[np.float64]
CHUNK = 65536  # rows of a memory map that are looked at together
LOST = 1e-3  # of the standard deviation of targets: rounding that is more than noise
NO_WEIGHT = "the weights of all rows are zero: there is nothing to learn from"
NO_WEIGHT_TO_EVALUATE = "the weights of all rows are zero: there is nothing to evaluate"
WEIGHT_OF_BATCHES = "sample_weight needs y; batches bring weights of their own"
DROP_LAST_OF_BATCHES = "drop_last needs y; the batches of an iterable are taken as they come"
_CONSUMED = "An iterator can be consumed only once: pass a list or a function that returns an iterator"


class Batch(NamedTuple):
    """Rows ready for one step.

    ``weight`` is what the loss weighs rows with, the class weight included; ``sample_weight`` leaves that out. ``mean_weight`` is
    the mean |weight| over all rows that are trained on; 0 for a batch that stands alone.
    """

    x: Array
    targets: Any
    weight: Array | None
    sample_weight: Array | None
    mean_weight: float = 0.0
    exact_targets: Any = None

    @property
    def measured(self) -> Any:
        """The targets for metrics: as they were given, where the network's dtype does not hold their differences."""
        return self.targets if self.exact_targets is None else self.exact_targets

    def total_weight(self) -> float:
        """Return what the batch counts for in a mean over batches: the sum of |weight|, or the number of rows."""
        return float(len(self.x)) if self.weight is None else float(np.abs(self.weight).sum(dtype=np.float64))

    def divisor(self) -> float:
        """Return what a training step divides the weighted sum of the rows' losses by.

        That is the number of rows times their mean weight over the training set, so that a row counts the same whatever batch it is
        in; for a batch that stands alone it is the weight of the batch.
        """
        if self.weight is None or not self.mean_weight:
            return self.total_weight()
        return len(self.x) * self.mean_weight


class Names(NamedTuple):
    """What error messages call the data: the iterable of batches, and the arrays."""

    batches: str = "x"
    x: str = "x"
    y: str = "y"
    sample_weight: str = "sample_weight"


class Converter:
    """Turns arrays as they were given into what one network and loss take."""

    def __init__(self, net: Network, loss: Loss, check_finite: bool = True) -> None:
        self.loss = loss
        self.n_inputs, self.n_outputs = net.n_inputs, net.n_outputs
        self.dtype = net.dtype
        self.check_finite = check_finite
        self.names = Names()

    def of(self, argument: str) -> Converter:
        """Return a converter whose errors say that the data are those of an argument."""
        other = copy(self)
        other.names = Names(argument, *(f"{name} of {argument}" for name in Names()[1:]))
        return other

    def with_loss(self, loss: Loss) -> Converter:
        """Return a converter of targets for another loss."""
        other = copy(self)
        other.loss = loss
        return other

    def inputs(self, x: npt.ArrayLike, columns: Sequence[str] | None = None) -> Array:
        """Return inputs as a matrix; messages name the columns."""
        return as_matrix(x, self.names.x, self.dtype, self.n_inputs, check_finite=self.check_finite, columns=columns)

    def targets(self, y: npt.ArrayLike) -> Array | Labels:
        """Return targets as the loss's kernel takes them."""
        return self.loss.prepare_targets(y, self.n_outputs, self.dtype, name=self.names.y, check_finite=self.check_finite)

    def exact_targets(self, y: npt.NDArray[Any]) -> Array | None:
        """Return checked targets in float64, for metrics; None where the network's dtype holds them, or they are not numbers."""
        if self.loss.task != "regression" or y.dtype.itemsize <= self.dtype.itemsize:
            return None
        return np.asarray(self.loss.prepare_targets(y, self.n_outputs, np.float64, name=self.names.y, check_finite=False))

    def sample_weight(self, sample_weight: npt.ArrayLike | None, rows: int) -> Array | None:
        """Return the weights of a number of rows as they were given."""
        return None if sample_weight is None else check_sample_weight(sample_weight, rows, self.dtype, self.names.sample_weight)

    def weigh(self, targets: Array | Labels, class_vector: ClassVector | None, sample_weight: Array | None) -> Array | None:
        """Return the rows' weights, those of their classes included."""
        return weigh_rows(targets, class_vector, sample_weight, self.dtype)

    def batch(
        self, x: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None, class_weight: ClassWeight | None
    ) -> Batch:
        """Return all rows of these arrays as one batch."""
        matrix, targets = self.inputs(x), self.targets(y)
        if len(matrix) != len(targets):
            raise rows_differ(self.names[1:3], [matrix.shape, np.shape(y)])
        if len(matrix) == 0:
            raise ValueError(f"{self.names.x} must have at least one row, got shape {matrix.shape}")
        weight = self.sample_weight(sample_weight, len(matrix))
        vector = None if class_weight is None else self.loss.class_weight_vector(class_weight, [targets], self.n_outputs)
        return Batch(matrix, targets, self.weigh(targets, vector, weight), weight)


class LazyMatrix(ABC):
    """A matrix whose rows are made when they are taken: what it stands for may be larger than memory."""

    ndim = 2
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @abstractmethod
    def __getitem__(self, rows: Indices | slice) -> Array:
        """Return these rows as an array."""

    def __len__(self) -> int:
        return self.shape[0]


class Rows:
    """Rows of arrays, any of which can be taken as a `Batch`.

    Arrays in memory are checked and converted at once. Memory maps stay where they are: their rows are checked and converted
    batch by batch, so that data may be larger than memory; so are those of a `LazyMatrix`.
    """

    def __init__(
        self,
        converter: Converter,
        x: npt.ArrayLike | LazyMatrix,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        warns: bool = False,
        may_be_empty: bool = False,
    ) -> None:
        self._converter = converter
        names = converter.names
        table: Any = x if isinstance(x, LazyMatrix) else as_table(x, names.x, converter.n_inputs)
        given = as_real_array(y, names.y)
        check_same_rows((table, given), names[1:3])
        self.count = len(table)
        if self.count == 0 and not may_be_empty:
            raise ValueError(f"{names.x} must have at least one row, got shape {table.shape}")
        self._x_mapped, self._y_mapped = is_mapped(table), is_mapped(given)
        self._x = table if self._x_mapped else converter.inputs(table, column_names(x))
        self._targets = given if self._y_mapped else converter.targets(given)
        if warns and not self._x_mapped:
            _warn_of(_lost_columns(table, self._x), names.x, self._x.dtype, column_names(x))
        exact = None if self._y_mapped or not self.count else converter.exact_targets(given)
        lost = None if exact is None else _lost_column(exact, self._targets)
        self._exact = None if lost is None else exact
        if warns:
            _warn_of(lost, names.y, self._targets.dtype, column_names(y))
        self._sample_weight = converter.sample_weight(sample_weight, self.count)
        self._class_vector: ClassVector | None = None
        self._weight = self._sample_weight
        self._mean_weight = 0.0
        self._index: Indices | None = None

    def subset(self, index: Indices) -> Rows:
        """Return the rows with these numbers; nothing is copied."""
        part = copy(self)
        part.__dict__.pop("first_row", None)
        part._index = index
        part.count = len(index)
        return part

    def labels(self) -> npt.NDArray[Any] | None:
        """Return the class of each row, where each row has one, to stratify by."""
        targets = self._targets
        if self._converter.loss.task == "classification" and targets.ndim == 1:
            return targets
        if self._converter.loss.task == "binary" and targets.size == len(targets):
            column = np.asarray(targets).reshape(-1)
            return column if np.isin(column, (0, 1)).all() else None
        return None

    def use_class_weight(self, class_weight: ClassWeight | None) -> ClassVector | None:
        """Weigh rows by their classes too, and return the weight of each class; balanced weights are those of these rows."""
        if class_weight is not None:
            parts = (self._take_targets(self._numbers(part)) for part in self.slices(CHUNK))
            vector = self._converter.loss.class_weight_vector(class_weight, parts, self._converter.n_outputs)
            self._class_vector = vector
            if not self._y_mapped:
                self._weight = self._converter.weigh(self._targets, vector, self._sample_weight)
        return self._class_vector

    def follow(self, loss: Loss, class_weight: ClassWeight | None) -> ClassVector | None:
        """Take targets as another loss does, weigh rows by these class weights alone, and return the weight of each class."""
        converter = self._converter.with_loss(loss)
        targets = self._targets if self._y_mapped else converter.targets(self._targets)
        self._converter, self._targets = converter, targets
        self._exact = self._exact if loss.task == "regression" else None
        self._class_vector, self._weight, self._mean_weight = None, self._sample_weight, 0.0
        return self.use_class_weight(class_weight)

    def check_same_targets(self, loss: Loss) -> None:
        """Raise an error unless a loss takes the targets in the form that they have."""
        part = self._take_targets(self._numbers(slice(0, 1)))
        _check_same_form(part, self._converter.with_loss(loss).targets(part))

    @property
    def class_weight(self) -> ClassWeight | None:
        """The weight of each class, where classes have weights."""
        return self._class_vector

    def count_classes(self) -> npt.NDArray[np.float64]:
        """Return how many rows each class has."""
        parts = (self._take_targets(self._numbers(part)) for part in self.slices(CHUNK))
        return count_classes(parts, self._converter.loss._n_classes(self._converter.n_outputs))

    def require_weight(self, message: str = NO_WEIGHT) -> None:
        """Raise a ValueError if the weights of all rows are known to be zero."""
        if self._weight is not None and not self._weight[self._numbers(slice(None))].any():
            raise ValueError(message)

    def share_weight(self) -> None:
        """Let batches be divided by their rows and the mean weight of all rows, and not by the weight of the batch."""
        if self.is_weighted:
            mean, smallest = self.total_weight() / self.count, float(np.finfo(self._converter.dtype).tiny)
            if mean < smallest and self._weight is not None and np.abs(self._weight).max() < smallest:
                raise ValueError(
                    f"the weights of all rows are below the numbers of {self._converter.dtype}; only their ratios count, so divide "
                    f"{self._converter.names.sample_weight} by its largest entry"
                )
            self.set_mean_weight(mean)

    @property
    def class_vector(self) -> ClassVector | None:
        """The weight of each class, where classes have weights."""
        return self._class_vector

    @property
    def has_sample_weight(self) -> bool:
        """Whether rows have weights of their own."""
        return self._sample_weight is not None

    @property
    def is_weighted(self) -> bool:
        """Whether rows have weights, of their own or by their classes."""
        return self._class_vector is not None or self._sample_weight is not None

    def total_weight(self) -> float:
        """Return the sum of |weight| of rows that have weights."""
        parts = (self._take_weight(self._numbers(part)) for part in self.slices(CHUNK))
        return sum(float(np.abs(part).sum(dtype=np.float64)) for part in parts if part is not None)

    def set_mean_weight(self, weight: float) -> None:
        """Let batches be divided by their rows and this mean |weight|."""
        if not weight:
            raise ValueError(NO_WEIGHT)
        self._mean_weight = weight

    def take(self, rows: Indices | slice) -> Batch:
        """Return the batch of these rows."""
        numbers = self._numbers(rows)
        x = self._x[numbers]
        if self._x_mapped:
            x = self._converter.inputs(x)
        targets = self._take_targets(numbers)
        sample_weight = None if self._sample_weight is None else self._sample_weight[numbers]
        weight = self._take_weight(numbers, targets)
        return Batch(x, targets, weight, sample_weight, self._mean_weight, self._take_exact(numbers))

    @cached_property
    def first_row(self) -> int:
        """The number in `arrays` of the first row that has a weight."""
        weight = self._sample_weight
        numbers = self.numbers(np.arange(1 if weight is None else self.count))
        return int(numbers[0] if weight is None else numbers[np.argmax(weight[numbers] != 0)])

    def arrays(self) -> Batch | None:
        """Return all of the data as one batch if rows can be taken from it as they lie; see `numbers`."""
        x = self._x
        if isinstance(x, LazyMatrix):
            return None
        flags = x.flags
        if self._y_mapped or x.dtype != self._converter.dtype or not (flags.c_contiguous and flags.aligned and x.dtype.isnative):
            return None
        return Batch(x, self._targets, self._weight, self._sample_weight, self._mean_weight, self._exact)

    def numbers(self, order: Indices) -> Indices:
        """Return the numbers that rows have in `arrays`."""
        return np.ascontiguousarray(order if self._index is None else self._index[order])

    @property
    def unchecked(self) -> bool:
        """Whether x has to be, and has not been, checked for NaN and infinities."""
        return self._x_mapped and self._converter.check_finite

    def take_measured(self, rows: Indices | slice) -> tuple[Array | Labels, Array | None]:
        """Return what metrics need beside outputs: targets and sample weights."""
        numbers = self._numbers(rows)
        exact = self._take_exact(numbers)
        targets = self._take_targets(numbers) if exact is None else exact
        return targets, None if self._sample_weight is None else self._sample_weight[numbers]

    def real_targets(self) -> Iterator[Array | Labels]:
        """Yield the targets that metrics need, part by part; none where they are labels or in a memory map."""
        if not self._y_mapped and self._targets.dtype.kind == "f":
            for part in self.slices(CHUNK):
                yield self.take_measured(part)[0]

    def _numbers(self, rows: Indices | slice) -> Indices | slice:
        return rows if self._index is None else self._index[rows]

    def _take_targets(self, numbers: Indices | slice) -> Array | Labels:
        targets: Array | Labels = self._targets[numbers]
        return self._converter.targets(targets) if self._y_mapped else targets

    def _take_exact(self, numbers: Indices | slice) -> Array | None:
        """Return the targets of these rows as they were given, where the network's dtype may not hold their differences."""
        if self._y_mapped:
            return self._converter.exact_targets(self._targets[numbers])
        return None if self._exact is None else self._exact[numbers]

    def _take_weight(self, numbers: Indices | slice, targets: Array | Labels | None = None) -> Array | None:
        """Return the weights of these rows, which have these targets."""
        if not self._y_mapped or self._class_vector is None:
            return None if self._weight is None else self._weight[numbers]
        sample_weight = None if self._sample_weight is None else self._sample_weight[numbers]
        targets = self._take_targets(numbers) if targets is None else targets
        return self._converter.weigh(targets, self._class_vector, sample_weight)

    def slices(self, batch_size: int) -> Iterator[slice]:
        """Yield all rows in their order, ``batch_size`` at a time."""
        for start in range(0, self.count, batch_size):
            yield slice(start, start + batch_size)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all rows in their order as batches."""
        return map(self.take, self.slices(batch_size))


class Stream:
    """Batches ``(x, y)`` or ``(x, y, sample_weight)`` from an iterable.

    ``rows`` are those that its batches are taken from, where they are known.

    Parameters
    ----------
    source : iterable, iterator, or callable that returns one
        Each epoch iterates over it again. An iterator continues where it stopped.
    steps_per_epoch : int, optional
        The number of batches in an epoch. None: all that the iterable yields.
    """

    rows: Rows | None = None
    _class_weight: ClassWeight | None = None

    def __init__(
        self,
        converter: Converter,
        source: Iterable[Any] | Callable[[], Iterable[Any]],
        steps_per_epoch: int | None = None,
        class_weight: ClassWeight | None = None,
    ) -> None:
        self._name = converter.names.batches
        if not (callable(source) or isinstance(source, Iterable)):
            whole = "a tuple (x, y)" if self._name != "x" else "an array with y"
            raise TypeError(f"{self._name} must be {whole}, or an iterable of batches (x, y), got {type(source).__name__}")
        if isinstance(source, list | tuple | str | np.ndarray):  # other iterables may make their batches as they are iterated over
            for item in source:
                self._check_form(item)
        self._converter = converter
        self.use_class_weight(class_weight)
        self._source = source
        self.steps = None if steps_per_epoch is None else check_count("steps_per_epoch", steps_per_epoch)
        self._iterator: Iterator[Any] | None = None

    def follow(self, loss: Loss, class_weight: ClassWeight | None) -> ClassVector | None:
        """Take the targets of the next batches as another loss does, and weigh rows by these class weights alone."""
        self.use_class_weight(class_weight)
        self._converter = self._converter.with_loss(loss)
        return None

    def check_same_targets(self, loss: Loss) -> None:
        """Do what the method of `Rows` does: batches are converted as they come, so any form will do from the next one on."""
        self._converter = self._converter.with_loss(loss)

    @property
    def class_weight(self) -> ClassWeight | None:
        """The class weights, if there are any."""
        return self._class_weight

    def use_class_weight(self, class_weight: ClassWeight | None) -> None:
        """Weigh rows by their classes too."""
        if isinstance(class_weight, str):
            raise ValueError("class_weight='balanced' needs y as an array; for an iterable of batches give the weights themselves")
        self._class_weight = class_weight

    def epoch(self) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Raises
        ------
        ValueError
            If there is no batch, or if a new iteration, too, ends before ``steps_per_epoch``.
        """
        if self.steps is None:
            count = 0
            for item in self._fresh():
                yield self._converted(item)
                count += 1
            if not count:
                raise ValueError(f"{self._name} yielded no batches. {_CONSUMED}")
            return
        for _ in range(self.steps):
            yield self._converted(self._next())

    def _next(self) -> Any:
        nothing = object()
        for _ in range(2):
            if self._iterator is None:
                self._iterator = iter(self._fresh())
            item = next(self._iterator, nothing)
            if item is not nothing:
                return item
            self._iterator = None
        raise ValueError(f"{self._name} yielded no more batches before steps_per_epoch={self.steps} were done. {_CONSUMED}")

    def _fresh(self) -> Iterable[Any]:
        return self._source() if callable(self._source) else self._source

    def _check_form(self, item: Any) -> None:
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            found = type(item).__name__ + (f" of {len(item)}" if isinstance(item, tuple | list) else "")
            whole = "a tuple (x, y)" if self._name != "x" else "x with y"
            raise ValueError(
                f"{self._name} must yield batches (x, y) or (x, y, sample_weight), got a {found}; arrays are given as {whole}"
            )

    def _converted(self, item: Any) -> Batch:
        self._check_form(item)
        x, y, *weight = item
        batch = self._converter.batch(x, y, weight[0] if weight else None, self._class_weight)
        exact = self._converter.exact_targets(as_real_array(y, self._converter.names.y))
        return batch._replace(mean_weight=1.0, exact_targets=exact)  # the mean of all batches is not known


def _check_same_form(targets: Array | Labels, others: Array | Labels) -> None:
    if targets.dtype != others.dtype or targets.shape != others.shape:
        raise ValueError(
            "a loss that a callback assigns in the middle of an epoch must take targets as the one before it, "
            f"{targets.dtype} of shape {('n', *targets.shape[1:])}, not {others.dtype} of shape {('n', *others.shape[1:])}; "
            "assign it in on_epoch_begin"
        )


class _Lost(NamedTuple):
    """A column whose differences a dtype does not hold: by how much rounding changes it, and how far its values are apart."""

    column: int
    rounding: float
    spread: str


def _lost_column(exact: Array, rounded: Array | Labels) -> _Lost | None:
    """Return the first column that rounding changes by more than `LOST` of its standard deviation.

    A column is constant if its values differ by no more than float64's own rounding.
    """
    origin = exact[:1]
    sums = np.zeros((3, exact.shape[1]))
    for start in range(0, len(exact), CHUNK):
        part = exact[start : start + CHUNK]
        error, distance = rounded[start : start + CHUNK] - part, part - origin
        sums += [distance.sum(axis=0), np.square(distance).sum(axis=0), np.square(error).sum(axis=0)]
    mean, square, squared_error = sums / len(exact)
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    lost = (np.sqrt(squared_error) > LOST * spread) & (spread > 1e-12 * np.abs(origin[0] + mean))
    if not lost.any():
        return None
    column = int(lost.argmax())
    return _Lost(column, float(np.sqrt(squared_error[column])), f"its standard deviation is {spread[column]:.3g}")


def _lost_columns(given: npt.NDArray[Any], rounded: Array) -> _Lost | None:
    """Return the first column of inputs that rounding changes by more than `LOST` of its range; quick where there is none."""
    if given.dtype.itemsize <= rounded.dtype.itemsize or not rounded.size:
        return None
    low, high = rounded.min(axis=0).astype(np.float64), rounded.max(axis=0).astype(np.float64)
    unit = float(np.finfo(rounded.dtype).eps) / 2
    for column in np.flatnonzero(unit * np.maximum(np.abs(low), np.abs(high)) > LOST * (high - low) / 2):
        exact = given[:, column].astype(np.float64)
        rounding, spread = float(np.abs(rounded[:, column] - exact).max()), float(np.ptp(exact))
        if rounding > LOST * spread and spread > 1e-12 * np.abs(exact).max():
            return _Lost(int(column), rounding, f"its values are at most {spread:.3g} apart")
    return None


def _warn_of(lost: _Lost | None, name: str, dtype: np.dtype[Any], columns: Sequence[str] | None) -> None:
    if lost is not None:
        column = f"column {lost.column if columns is None else repr(columns[lost.column])}"
        warn(
            f"{name} loses its differences in {dtype}: rounding changes {column} by {lost.rounding:.3g}, and {lost.spread}; "
            "subtract the mean, or use a network with dtype='float64'"
        )


def is_mapped(array: Any) -> bool:
    """Tell whether an array, or what it is a view of, is a memory map, or a matrix whose rows are made when they are taken."""
    if isinstance(array, LazyMatrix):
        return True
    while array is not None:
        if isinstance(array, np.memmap | mmap.mmap):
            return True
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return False


def as_data(validation_data: Any) -> tuple[Any, ...]:
    """Return the arguments that validation data consist of."""
    if isinstance(validation_data, np.ndarray):
        raise ValueError("validation_data must be (x, y) or (x, y, sample_weight), or an iterable of batches, got an array")
    if isinstance(validation_data, tuple):
        if len(validation_data) not in (2, 3):
            raise ValueError(f"validation_data must be (x, y) or (x, y, sample_weight), got a tuple of {len(validation_data)}")
        return validation_data
    return (validation_data,)
