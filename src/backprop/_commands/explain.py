"""``backprop explain``: the laboratory, or a small network trained and the page that shows how it learned."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from .. import optimizers
from .._files import check_outputs
from ..explain.command import Task, load
from ..explain.comparisons import clipping, race, vanishing
from ..explain.live import DATA
from ..explain.live import laboratory as write_laboratory
from ..explain.recorded_page import write_page
from ..explain.recording import record
from ..network import mlp

MAX_NUMBERS = 60_000
"""About how many recorded numbers the page may hold: it stays well below two megabytes."""

# Rates at which a small network learns these small data sets well; elsewhere the optimizer's own default serves.
_RATES = {
    "sgd": 0.3,
    "rmsprop": 0.01,
    "adagrad": 0.1,
    "adam": 0.02,
    "adamw": 0.02,
    "adamax": 0.03,
    "nadam": 0.02,
    "radam": 0.03,
    "lion": 0.005,
}
# Where those are too long a step: spirals have a narrow way down, digits many inputs, and targets of a regression are not bounded.
_LOWER = {
    "spirals": {"adam": 0.005, "adamw": 0.005, "nadam": 0.005, "rmsprop": 0.005},
    "handwritten digits": {
        "sgd": 0.1,
        "rmsprop": 0.003,
        "adam": 0.005,
        "adamw": 0.005,
        "nadam": 0.005,
        "radam": 0.01,
        "lion": 0.001,
    },
    "mse": {"sgd": 0.05},
}


def run(
    laboratory: str | None = None,
    *,
    recorded: bool = False,
    data: str | None = None,
    out: str | None = None,
    open_page: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> None:
    """Do what the command line says; settings that are None were not given.

    Without a data set, ``--data`` and the options of a network ask for a recorded page, as they did before there was a laboratory.
    """
    if laboratory is not None and data is not None:
        raise ValueError(f"data is given twice: {laboratory!r} and --data {data!r}")
    given = {name: value for name, value in settings.items() if value is not None}
    network = given.keys() - {"seed"}
    if recorded or data is not None or (laboratory is None and network):
        explain(data or laboratory or "xor", **given, out=out or "backprop.html", open_page=open_page, quiet=quiet)
        return
    if "epochs" in given:
        raise ValueError("epochs is for a recorded page (--recorded); in the laboratory the reader presses play")
    target = given.pop("target", None)
    path = Path(out) if out is not None else Path(mkdtemp(prefix="backprop-")) / "laboratory.html"
    write_laboratory(path, laboratory or "xor", target=target, **given)
    if not quiet:
        print(f"Wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")
    if open_page or out is None:
        _open(path)


def _open(path: Path) -> None:
    import webbrowser

    webbrowser.open(path.resolve().as_uri())


def explain(
    data: str = "xor",
    *,
    hidden: Sequence[int] | None = None,
    activation: str = "tanh",
    optimizer: str = "sgd",
    lr: float | None = None,
    epochs: int | None = None,
    target: str | None = None,
    seed: int = 0,
    out: str = "backprop.html",
    open_page: bool = False,
    quiet: bool = False,
) -> None:
    """Train a network on a small data set and write the page.

    Parameters
    ----------
    data : str
        ``"xor"``, ``"circles"``, ``"spirals"``, ``"digits"`` or a CSV file with a header.
    hidden : sequence of int, optional
        Widths of the hidden layers; a choice that suits the data when None.
    activation, optimizer : str
        Their names.
    lr : float, optional
        The learning rate; one that suits small data when None.
    epochs : int, optional
        Passes over the data.
    target : str, optional
        The column of a CSV file to predict; the last one when None.
    seed : int
        Of the weights and of the order of the rows.
    out : str
        The file to write.
    open_page : bool
        Open it in the browser.
    quiet : bool
        Say nothing.

    Raises
    ------
    ValueError
        Where the data are none of the above.
    """
    check_outputs([out], [] if data in DATA else [data])
    task = load(data, target)
    sizes = [task.x.shape[1], *(_hidden(task, activation) if hidden is None else hidden), task.n_outputs]
    net = mlp(sizes, activation=activation, dtype="float64", seed=seed)
    rule = _rule(task, optimizer, lr)
    examples = _examples(task)
    if not quiet:
        print(f"Training {'-'.join(map(str, sizes))} ({activation}, {optimizer}) on {task.name} ...")
    recording = record(
        net,
        task.x,
        task.y,
        loss=task.loss,
        optimizer=optimizers.get(rule),
        epochs=epochs or task.epochs,
        batch_size=_batch_size(task, optimizer),
        examples=examples,
        snapshots=_snapshots(sizes, len(examples)),
        seed=seed,
    )
    if not quiet:
        right = recording.snapshots[-1].accuracy
        print(f"Loss {recording.losses[0]:.4g} -> {recording.losses[-1]:.4g}" + ("" if right is None else f", {right:.1%} right"))
    write_page(
        recording,
        out,
        comparisons={
            "vanishing": _vanishing(task, sizes, activation, seed),
            "clipping": clipping(),
            "race": race(),
        },
        title=task.task,
        image_shape=task.image_shape,
        class_names=task.class_names,
    )
    if not quiet:
        print(f"Wrote {out} ({Path(out).stat().st_size / 1e6:.2f} MB)")
    if open_page:
        _open(Path(out))


def _rule(task: Task, optimizer: str, lr: float | None) -> dict[str, Any]:
    """The optimizer with the learning rate that was given, or one that suits the data."""
    rates = _RATES | _LOWER.get(task.name, {}) | _LOWER.get(task.loss, {})
    rate = lr or rates.get(optimizer)
    return {"name": optimizer} | ({} if rate is None else {"lr": rate})


def _hidden(task: Task, activation: str) -> tuple[int, ...]:
    """Units that are 0 for every row do not come back: with activations that have a flat side it takes more of them."""
    few = activation in ("relu", "relu6", "hardtanh") and task.n_outputs == 1
    return tuple(max(8, width) for width in task.hidden) if few else task.hidden


def _batch_size(task: Task, optimizer: str) -> int:
    """Rprop compares the signs of one gradient and the next, which means nothing where they come from different rows."""
    return len(task.x) if optimizer == "rprop" else 16


def _vanishing(task: Task, sizes: Sequence[int], activation: str, seed: int) -> dict[str, Any]:
    """The user's data, and a network as wide as the user's but deep."""
    names = list(dict.fromkeys(["sigmoid", "tanh", "relu", activation]))
    rows = np.random.default_rng(seed).permutation(len(task.x))[:400]
    width = min(16, max(8, *sizes[1:-1])) if len(sizes) > 2 else 8
    return vanishing(
        task.x[rows], task.y[rows], loss=task.loss, n_outputs=task.n_outputs, activations=names, width=width, depth=8, seed=seed
    )


def _examples(task: Task) -> list[int]:
    """Up to four rows to trace: of each class as many, spread over the data."""
    if task.name == "xor":  # the corners come first
        return [0, 1, 2, 3]
    kinds = task.y.ravel() if task.loss != "mse" else np.zeros(len(task.y))
    groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)][:4]
    spread = (0.4, 0.8, 0.2, 0.6)[: 4 // len(groups)]
    return sorted({int(rows[int(share * len(rows))]) for rows in groups for share in spread})


def _snapshots(sizes: Sequence[int], examples: int) -> int:
    """As many snapshots as the page has room for."""
    widths = [min(size, 8) for size in sizes]
    connections = sum(a * b for a, b in pairwise(widths))
    numbers = 3 * connections + 9 * sum(widths)
    return int(np.clip(MAX_NUMBERS // (numbers * examples), 8, 40))
