"""The page of a training run of any network on any data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import optimizers
from .._arrays import as_matrix, check_count, check_list
from ..layers import Dense, walk
from ..network import Network
from .comparisons import clipping, race, vanishing
from .diagnosis import Monitor, diagnose
from .inline import Page
from .recorded_page import COMPARISONS, MAX_UNITS, write_page
from .recording import Camera, Recording, record
from .trace import given_or_own

if TYPE_CHECKING:
    from ..losses import Loss
    from ..optimizers import Optimizer
    from .diagnosis.monitor import Moment

MAX_NUMBERS = 150_000
"""About how many recorded numbers the page may hold: it stays below two megabytes."""
MAX_ROWS = 2000
"""How many rows of the data of a monitor are looked at."""
MOMENTS = (8, 40)
"""How many moments of the training are recorded, at least where there are many rows and at most."""


def page(
    net: Network | Monitor,
    x: npt.ArrayLike | None = None,
    y: npt.ArrayLike | None = None,
    *,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer = "adam",
    epochs: int = 100,
    batch_size: int = 32,
    rows: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
    target_names: Sequence[str] | None = None,
    image_shape: tuple[int, int] | None = None,
    comparisons: Iterable[str] = (),
    title: str = "",
    seed: int = 0,
    out: str | PathLike[str] | None = None,
) -> Page:
    """Train a network and make a page of the run, or make a page of a run that a `Monitor` has watched.

    On the page, every number of a training step of any recorded row can be looked at, at any recorded moment; beside it stand
    the loss, the gradients by layer, and what `diagnose` found. Opened with ``#present``, the page fills a projector and goes by
    keys only: arrows for steps and units, Page Up and Page Down for the epoch, e for the next example, space to play.

    Parameters
    ----------
    net : Network or Monitor
        A network, which is trained; or the monitor of a run, which knows network, data, loss and optimizer.
    x : array_like, (n, inputs)
        The training set. Not with a monitor.
    y : array_like
        Its targets, as for `Network.fit`. Not with a monitor.
    loss : str or Loss, optional
        The loss; the one the network was last trained with when None.
    optimizer : str or Optimizer
        The optimizer.
    epochs, batch_size : int
        Passes over the data, and rows a step.
    rows : sequence of int, optional
        The rows to step through. When None, as many as the page has room for, spread over the data: all of a small data set.
    feature_names : sequence of str, optional
        What the inputs are called.
    target_names : sequence of str, optional
        What the classes are called.
    image_shape : (rows, columns), optional
        Draw the inputs as an image of gray levels.
    comparisons : iterable of str
        Further sections: ``"vanishing"`` (activations in a deep network on these data), ``"clipping"``, ``"race"`` (optimizers).
    title : str
        What there is to learn, in a sentence.
    seed : int
        Of the order of the rows.
    out : path, optional
        Where to write the page.

    Returns
    -------
    Page
        The HTML text; a notebook shows the page itself.

    Raises
    ------
    ValueError
        Where the data do not fit the network, names are not as many as inputs or classes, or a row is not in the data.
    TypeError
        For something that is neither a network nor a monitor, or data beside a monitor.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([2, 4, 1], activation="tanh", seed=0)
    >>> x, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> text = bp.explain.page(net, x, y, loss="binary_cross_entropy", optimizer=bp.SGD(lr=0.5), epochs=20,
    ...                        feature_names=["left", "right"])
    >>> text.startswith("<!doctype html>")
    True
    """
    chosen = tuple(check_list("comparisons", comparisons, "names"))
    if unknown := [name for name in chosen if name not in COMPARISONS]:
        raise ValueError(f"comparisons may hold {', '.join(COMPARISONS)}, got {', '.join(map(repr, unknown))}")
    if isinstance(net, Monitor):
        if x is not None or y is not None:
            raise TypeError("a monitor knows its data: give page a monitor, or a network with x and y")
        watched = net.moments()
        _check_names(feature_names, target_names, net.trainer.net)
        recording, report = _from_moments(net, watched, rows), net.report()
    elif isinstance(net, Network):
        if x is None or y is None:
            raise TypeError("page needs x and y with a network")
        loss, optimizer = given_or_own(loss, net), optimizers.get(optimizer)
        inputs = as_matrix(x, "x", net.dtype, net.n_inputs)
        if not len(inputs):
            raise ValueError("x must have at least one row")
        examples, moments = _room(net, len(inputs), rows)
        _check_names(feature_names, target_names, net)
        recording = record(
            net,
            inputs,
            y,
            loss=loss,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            examples=examples,
            snapshots=moments,
            seed=seed,
        )
        history = {"loss": recording.losses[1:]}
        report = diagnose(net, inputs, y, loss=loss, optimizer=optimizer, history=history, batch_size=batch_size)
    else:
        raise TypeError(f"page needs a Network or a Monitor, got {type(net).__name__}")
    return write_page(
        recording,
        out,
        comparisons={name: _compare(name, recording, seed) for name in chosen},
        report=report,
        title=title,
        image_shape=image_shape,
        class_names=target_names,
        feature_names=feature_names,
    )


def _room(net: Network, count: int, rows: Sequence[int] | None) -> tuple[list[int], int]:
    """The rows to trace, and at how many moments, so that the page has room for all."""
    widths = [min(net.n_inputs, MAX_UNITS)]
    widths += [min(layer.fan_out, MAX_UNITS) for _, layer in walk(net.layers, "layers") if isinstance(layer, Dense)]
    numbers = 3 * sum(a * b for a, b in pairwise(widths)) + 9 * sum(widths)
    most = max(1, MAX_NUMBERS // (numbers * MOMENTS[0]))
    if rows is None:
        chosen = np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist()
    else:
        chosen = [check_count("rows", row, 0, count - 1) for row in check_list("rows", rows, "row numbers")]
        if not 1 <= len(chosen) <= most:
            raise ValueError(f"rows must be from 1 to {most} rows, got {len(chosen)}: the page has no room for more")
    return chosen, int(np.clip(MAX_NUMBERS // (numbers * len(chosen)), *MOMENTS))


def _from_moments(monitor: Monitor, watched: Sequence[Moment], rows: Sequence[int] | None) -> Recording:
    """The recording of a run that a monitor has watched."""
    trainer, batch = monitor.trainer, monitor.first_rows(MAX_ROWS)
    examples, most = _room(trainer.net, len(batch.x), rows)
    camera = Camera(batch.x, batch.targets, trainer.loss, examples)
    chosen = [watched[k] for k in np.unique(np.linspace(0, len(watched) - 1, min(len(watched), most)).astype(int))]
    taken = [camera.take(moment.net, moment.optimizer, moment.epoch) for moment in chosen]
    curve = [taken[0].loss, *monitor.losses]
    count = len(batch.x) if monitor._data is None else monitor._data.count
    return camera.recording(trainer.net, trainer.optimizer, monitor._batch_size or count, curve, taken, count)


def _check_names(feature_names: Sequence[str] | None, target_names: Sequence[str] | None, net: Network) -> None:
    for name, given in (("feature_names", feature_names), ("target_names", target_names)):
        if given is not None:
            check_list(name, given, "names")
    if feature_names is not None and len(feature_names) != net.n_inputs:
        raise ValueError(f"feature_names must be {net.n_inputs} names, one for each input, got {len(feature_names)}")
    classes = max(2, net.n_outputs)
    if target_names is not None and len(target_names) not in (classes, net.n_outputs):
        raise ValueError(f"target_names must be {classes} names, one for each class, got {len(target_names)}")


def _compare(name: str, recording: Recording, seed: int) -> Any:
    if name == "race":
        return race()
    if name == "clipping":
        return clipping()
    rows = np.random.default_rng(seed).permutation(len(recording.x))[:400]
    names = ["sigmoid", "tanh", "relu"]
    outputs = recording.snapshots[-1].answers.shape[1]
    return vanishing(recording.x[rows], recording.y[rows], loss=recording.loss, n_outputs=outputs, activations=names, seed=seed)
