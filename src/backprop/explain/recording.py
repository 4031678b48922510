"""A training run with snapshots: at some moments, all that `trace` knows about a few examples, and what the network answers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._arrays import as_matrix, check_count, check_list, check_seed
from .._links import predicted_targets
from .._training.epochs import check_last_batch, check_schedule, count_epoch
from .._types import AnyArray
from ..data import check_same_rows
from ..layers import Dense, walk
from ..losses import Loss
from ..metrics import r2
from ..training import DivergenceError, Trainer
from .trace import Trace, short, trace

if TYPE_CHECKING:
    from ..network import Network
    from ..optimizers import Optimizer


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One moment of the training."""

    epoch: int
    loss: float
    """Over all rows, in evaluation mode."""
    accuracy: float | None
    """The share that is right; None for a regression."""
    r2: float | None
    """Of a regression, the share of the variance that is explained; else None."""
    norms: list[float]
    """The norm of grad_weight over all rows, layer by layer."""
    traces: tuple[Trace, ...]
    """One for each example, of the update that this one example would make."""
    answers: AnyArray
    """Probabilities (or raw outputs, for a regression) for the examples."""
    grid: AnyArray | None
    """The same for a grid of points over the plane, where there are two inputs."""


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """A training run: what was trained, on what, and its snapshots.

    Attributes
    ----------
    description, optimizer : str
        The network and the optimizer, in words.
    loss : Loss
        The loss.
    epochs, batch_size : int
        How it was trained.
    x, y : array
        On what.
    examples : tuple of int
        The rows of x that are traced.
    bounds : tuple or None
        The plane that the grid covers, (low, high) of both inputs.
    layers : tuple of str
        The names of the layers with weights.
    losses : list of float
        The loss over all rows before the training and after each epoch.
    snapshots : tuple of Snapshot
        The moments recorded.
    rows : int
        The number of rows that were trained on, where x holds the first of them only; 0 where it holds all.
    """

    description: str
    optimizer: str
    loss: Loss
    epochs: int
    batch_size: int
    x: AnyArray
    y: AnyArray
    examples: tuple[int, ...]
    bounds: tuple[tuple[float, float], tuple[float, float]] | None
    layers: tuple[str, ...]
    losses: list[float]
    snapshots: tuple[Snapshot, ...]
    rows: int = 0

    def __repr__(self) -> str:
        return f"<Recording of {len(self.snapshots)} moments in {self.epochs} epochs: {self.description}, {self.optimizer}>"


def record(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: str | Loss,
    optimizer: str | Optimizer = "adam",
    epochs: int = 200,
    batch_size: int = 16,
    examples: Sequence[int] = (0,),
    snapshots: int = 40,
    grid_size: int = 40,
    seed: int = 0,
) -> Recording:
    """Train a network and take snapshots of the way.

    Parameters
    ----------
    net : Network
        It is trained.
    x : array_like, (n, inputs)
        The training set. With two inputs, the answers over the plane are recorded too.
    y : array_like
        Its targets, as for `Network.fit`.
    loss : str or Loss
        What is made small.
    optimizer : str or Optimizer
        How.
    epochs, batch_size : int
        Passes over the data, and rows a step.
    examples : sequence of int
        The rows to trace in every snapshot.
    snapshots : int
        How many snapshots to take at most, close together at the start where most happens.
    grid_size : int
        The number of points, in each direction, at which the plane is recorded.
    seed : int
        Of the order of the rows.

    Returns
    -------
    Recording
        Which `write_page` makes a page of.

    Examples
    --------
    >>> import backprop as bp
    >>> from backprop.explain import record
    >>> recording = record(bp.mlp([2, 4, 1], activation="tanh", seed=0), [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0],
    ...                    loss="binary_cross_entropy", optimizer=bp.SGD(lr=0.5), epochs=20, snapshots=5)
    >>> [snapshot.epoch for snapshot in recording.snapshots]
    [0, 1, 5, 11, 20]
    """
    trainer = Trainer(net, loss=loss, optimizer=optimizer)
    x = as_matrix(x, "x", net.dtype, net.n_inputs)
    targets = trainer.loss.prepare_targets(y, net.n_outputs, net.dtype)
    check_same_rows((x, targets), ("x", "y"))
    if not len(x):
        raise ValueError("x must have at least one row")
    rows = [check_count("examples", row, 0, len(x) - 1) for row in check_list("examples", examples, "row numbers")]
    if not rows:
        raise ValueError("examples must hold at least one row")
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    check_count("snapshots", snapshots)
    check_count("grid_size", grid_size)
    check_last_batch(net, len(x), batch_size, "use another batch_size")
    monitored = check_schedule(trainer.optimizer, ("loss",))
    camera = Camera(x, targets, trainer.loss, rows, grid_size)
    at = moments(epochs, snapshots)
    taken: list[Snapshot] = []
    curve: list[float] = []
    rng = np.random.default_rng(check_seed(seed))
    for epoch in range(epochs + 1):
        curve.append(trainer.loss.value(net.predict(x), targets))
        if epoch > 0:
            count_epoch(trainer.optimizer, monitored, {"loss": curve[-1]})
        if epoch in at:
            taken.append(camera.take(net, trainer.optimizer, epoch))
        if epoch == epochs:
            break
        order = rng.permutation(len(x))
        try:
            for start in range(0, len(x), batch_size):
                part = order[start : start + batch_size]
                trainer.step(x[part], targets[part])
        except DivergenceError:  # the run ends here, and its last moment is the network as it was then
            if taken[-1].epoch < epoch:
                taken.append(camera.take(net, trainer.optimizer, epoch))
            break
    return camera.recording(net, trainer.optimizer, batch_size, curve, taken)


class Camera:
    """Takes snapshots of networks that learn the same rows."""

    def __init__(self, x: AnyArray, targets: AnyArray, loss: Loss, examples: Sequence[int], grid_size: int = 40) -> None:
        self.x, self.targets, self.loss = x, targets, loss
        self.examples = tuple(examples)
        self.bounds: tuple[tuple[float, float], tuple[float, float]] | None = None
        self.grid: AnyArray | None = None
        if x.shape[1] == 2:
            low, high = x.min(axis=0), x.max(axis=0)
            margin = 0.12 * (high - low) + 1e-9
            (x0, y0), (x1, y1) = (low - margin).tolist(), (high + margin).tolist()
            self.bounds = (x0, x1), (y0, y1)
            self.grid = _grid(self.bounds, grid_size, x.dtype)

    def take(self, net: Network, optimizer: Optimizer, epoch: int) -> Snapshot:
        """Everything about one moment; nothing is changed."""
        x, targets, loss = self.x, self.targets, self.loss
        outputs = net.predict(x)
        return Snapshot(
            epoch,
            loss.value(outputs, targets),
            correct_share(outputs, targets, loss) if loss.task in ("classification", "binary") else None,
            _determination(outputs, targets, loss) if loss.task == "regression" else None,
            gradient_norms(net, x, targets, loss),
            tuple(
                trace(net, x[row : row + 1], targets[row : row + 1], loss=loss, optimizer=optimizer, training=False)
                for row in self.examples
            ),
            _answers(net, x[list(self.examples)], loss),
            None if self.grid is None else _answers(net, self.grid, loss),
        )

    def recording(
        self, net: Network, optimizer: Optimizer, batch_size: int, curve: list[float], taken: Sequence[Snapshot], rows: int = 0
    ) -> Recording:
        """What `write_page` makes a page of."""
        return Recording(
            _description(net),
            short(optimizer),
            self.loss,
            len(curve) - 1,
            batch_size,
            self.x,
            self.targets,
            self.examples,
            self.bounds,
            tuple(name for name, layer in walk(net.layers, "layers") if "weight" in layer.parameter_shapes()),
            curve,
            tuple(taken),
            rows,
        )


def _description(net: Network) -> str:
    dense = [layer for _, layer in walk(net.layers, "layers") if isinstance(layer, Dense)]
    if not dense:
        return repr(net)
    sizes = "-".join(map(str, [net.n_inputs, *(layer.fan_out for layer in dense)]))
    return f"{sizes} units, {dense[0].activation.name}"


def moments(epochs: int, snapshots: int) -> list[int]:
    """The epochs to take snapshots at: the first and the last, and between them closer together at the start."""
    share = np.linspace(0, 1, max(2, snapshots))
    return sorted({round(float(epochs * s**2)) for s in share})


def gradient_norms(net: Network, x: AnyArray, targets: AnyArray, loss: Loss) -> list[float]:
    """The norm of grad_weight over these rows, for every layer that has weights; the network is left as it is."""
    copied = copy.deepcopy(net)
    _, grad = loss(copied.forward(x), targets)
    copied.backward(grad)
    return [
        float(np.linalg.norm(layer.grad_weight))
        for _, layer in walk(copied.layers, "layers")
        if "weight" in layer.parameter_shapes()
    ]


def correct_share(outputs: AnyArray, targets: AnyArray, loss: Loss) -> float:
    """The share of rows (for several yes-or-no outputs: of answers) that are right."""
    if loss.task == "binary":
        return float(np.mean((outputs > 0) == (targets > 0.5).reshape(outputs.shape)))
    wanted = targets if targets.ndim == 1 else targets.argmax(axis=1)
    return float(np.mean(outputs.argmax(axis=1) == wanted))


def _determination(outputs: AnyArray, targets: AnyArray, loss: Loss) -> float:
    predicted = loss.predictions(outputs)
    return r2(predicted, predicted_targets(predicted, targets))


def _answers(net: Network, x: AnyArray, loss: Loss) -> AnyArray:
    from .. import activations

    outputs = net.predict(x)
    return activations.get(loss.link)(outputs) if loss.link in ("softmax", "sigmoid") else outputs


def _grid(bounds: tuple[tuple[float, float], ...], size: int, dtype: Any) -> AnyArray:
    (x0, x1), (y0, y1) = bounds
    # The middle of each cell, from the lower left corner, row by row.
    steps = (np.arange(size) + 0.5) / size
    across, up = np.meshgrid(x0 + (x1 - x0) * steps, y0 + (y1 - y0) * steps)
    return np.ascontiguousarray(np.stack([across.ravel(), up.ravel()], axis=1), dtype)
