"""How problems show in what training made of a network: rules that yield findings.

The thresholds of a rule stand in it, chosen so that the healthy runs of the tests and the examples stay silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..._training.rows import Batch
from ..._types import AnyArray
from ...layers import Activation, BatchNorm, Dense, Dropout, LayerNorm, walk
from ...losses import Loss, loss_and_gradient
from ...network import Network
from ...optimizers import Optimizer
from .findings import Finding
from .step import rms


class Change(NamedTuple):
    """How far the weights of a layer are from where they began."""

    layer: str
    before: float
    """The root mean square of the initial weights."""
    now: float
    moved: float
    """The root mean square of what was added to them since."""
    fan_in: int = 1


def changes(initial: Network, net: Network) -> list[Change]:
    """The change of each weight matrix that is trained."""
    found = []
    for entry in net.layout:
        if entry.name.endswith(".weight") and len(entry.shape) == 2 and entry.layer.trainable:
            part = slice(entry.offset, entry.offset + entry.length)
            before, now = initial.parameters[part], net.parameters[part]
            found.append(Change(entry.name.removesuffix(".weight"), rms(before), rms(now), rms(now - before), entry.shape[0]))
    return found


def as_drawn(net: Network) -> Network:
    """A copy with parameters as they are drawn when the network is made: its beginning, unless values were assigned."""
    drawn = net.copy()
    rng = np.random.default_rng(net.seed)
    for _, layer in walk(drawn.layers, "layers"):
        if isinstance(layer, Dense | BatchNorm | LayerNorm | Activation | Dropout):  # other layers may have values of their own
            layer.initialize(rng)
    return drawn


def label_smoothing(loss: Loss) -> Iterator[Finding]:
    """Targets that are smoothed until little is left of them."""
    amount = float(getattr(loss, "label_smoothing", 0.0))
    if amount > 0.35:
        yield Finding(
            "label smoothing too strong", "critical" if amount > 0.6 else "warning",
            f"label_smoothing is {amount:g}: {amount:.0%} of each target are spread over all classes.",
            numbers={"label_smoothing": amount}, stage="start",
        )  # fmt: skip


def frozen_layers(net: Network, stands: bool) -> Iterator[Finding]:
    """Weights that are not trained and are as they were drawn, or with which the run stands still."""
    drawn, frozen, kept = as_drawn(net).parameters, [], 0
    for entry in net.layout:
        if entry.layer.trainable:
            continue
        part = slice(entry.offset, entry.offset + entry.length)
        kept += entry.length
        if entry.name.endswith(".weight") and (stands or np.array_equal(drawn[part], net.parameters[part])):
            frozen.append(entry.name.removesuffix(".weight"))
    if frozen:
        share = kept / net.parameters.size
        yield Finding(
            "frozen layers", "critical" if share > 0.95 else "warning",
            f"{share:.0%} of the parameters are not trained, among them the weights of {', '.join(frozen[:5])}"
            f"{' and others' if len(frozen) > 5 else ''}.",
            frozen[0], {"share": share}, stage="start",
        )  # fmt: skip


def narrow_layer(net: Network) -> Iterator[Finding]:
    """A hidden layer through which next to nothing passes."""
    dense = [(name, layer) for name, layer in walk(net.layers, "layers") if isinstance(layer, Dense)]
    for name, layer in dense[:-1]:
        if layer.fan_out == 1 or layer.fan_out <= net.n_outputs / 5:
            units = "1 unit" if layer.fan_out == 1 else f"{layer.fan_out} units"
            yield Finding(
                "narrow layer", "warning", f"{name} has {units}, for {net.n_inputs} inputs and {net.n_outputs} outputs.", name,
                {"units": layer.fan_out}, stage="start",
            )  # fmt: skip
            return


def growth(changed: Iterable[Change], learned: bool) -> Iterator[Finding]:
    """Weights far larger than at the beginning; small networks that learned well may have grown too."""
    for change in changed:
        size = max(change.before, 0.5 / change.fan_in**0.5)  # the weights of a small layer may be tiny by chance
        if change.before > 0 and change.now > (30 if learned else 8) * size:
            yield Finding(
                "learning rate too high", "critical",
                f"The weights' root mean square grew from {change.before:.3g} to {change.now:.3g} in training.",
                change.layer, {"before": change.before, "now": change.now},
            )  # fmt: skip
            return


def no_nonlinearity(net: Network) -> Iterator[Finding]:
    """A network of several layers that is linear, since none has an activation."""
    layers = [layer for _, layer in walk(net.layers, "layers")]
    if not all(isinstance(layer, Dense | Activation | Dropout | BatchNorm) for layer in layers):
        return
    dense = sum(isinstance(layer, Dense) for layer in layers)
    bends = any(layer.activation.name != "identity" for layer in layers if isinstance(layer, Dense | Activation))
    if dense > 1 and not bends:
        yield Finding(
            "no nonlinearity", "warning", f"None of the {dense} layers has an activation.",
            numbers={"layers": dense}, stage="start",
        )  # fmt: skip


def batch_norm_statistics(net: Network, loss: Loss, batch: Batch) -> Iterator[Finding]:
    """Running statistics with which the network predicts far worse than with those of these rows."""
    norms = [(name, layer) for name, layer in walk(net.layers, "layers") if isinstance(layer, BatchNorm)]
    if not norms or len(batch.x) < 32:
        return
    probe = net.copy()
    for _, layer in walk(probe.layers, "layers"):
        if isinstance(layer, Dropout):
            layer.rate = 0.0
    running = loss.value(probe.predict(batch.x), batch.targets, sample_weight=batch.weight)
    own = loss.value(probe.forward(batch.x, training=True), batch.targets, sample_weight=batch.weight)
    if running - own > max(0.5 * abs(own), 0.1):
        name, norm = norms[0]
        yield Finding(
            "batch norm statistics", "warning",
            f"On {len(batch.x)} training rows the loss is {own:.4g} with the mean and variance of these rows, as in training, and "
            f"{running:.4g} with the running ones, as in predictions; momentum is {norm.momentum:g}.",
            name, {"own": own, "running": running, "momentum": norm.momentum},
        )  # fmt: skip


def overdone(changed: Iterable[Change], net: Network, optimizer: Optimizer | None, l2: float = 0.0) -> Iterator[Finding]:
    """Weight decay that takes the weights away, and dropout that takes the units away."""
    for change in changed:
        if optimizer is not None and decays(optimizer, l2) and change.now < 0.1 * change.before:
            yield Finding(
                "regularization too strong", "critical",
                f"The weights' root mean square shrank from {change.before:.3g} to {change.now:.3g} with {_pull(optimizer, l2)}.",
                change.layer, {"before": change.before, "now": change.now},
            )  # fmt: skip
            break
    for name, layer in walk(net.layers, "layers"):
        if isinstance(layer, Dropout) and layer.rate > 0.8:
            yield Finding(
                "regularization too strong", "warning", f"Dropout takes {layer.rate:.0%} of the units away in each step.",
                name, {"rate": layer.rate},
            )  # fmt: skip
            break


def thrown_units(changed: Iterable[Change], before: Iterable[Finding], now: Iterable[Finding]) -> Iterator[Finding]:
    """Layers whose weights moved far, and whose units were well at the beginning and are nearly all dead or saturated now."""
    sick = {(finding.name, finding.layer) for finding in before}
    far = {change.layer for change in changed if change.moved > 0.3 * change.before}
    for finding in now:
        new = finding.layer in far and (finding.name, finding.layer) not in sick
        if new and finding.name in ("dead relu units", "saturated units") and finding.severity == "critical":
            seen = f"Updates threw the weights so far that they brought about {finding.name}: {finding.evidence}"
            yield Finding("learning rate too high", "critical", seen, finding.layer, finding.numbers)
            return


def small_movement(changed: list[Change], losses: AnyArray) -> Iterator[Finding]:
    """Weights that have hardly moved, with a loss that has hardly fallen."""
    moved = max((change.moved / change.before for change in changed if change.before > 0), default=1.0)
    if losses.size >= 4 and 0 <= moved < 0.03 and losses[0] - losses[-1] < 0.1 * abs(losses[0]):
        yield Finding(
            "learning rate too low", "warning",
            f"In {losses.size} epochs no layer's weights moved by more than {moved:.2g} of their size, and the loss went from "
            f"{losses[0]:.4g} to {losses[-1]:.4g}.",
            numbers={"moved": moved, "first": float(losses[0]), "last": float(losses[-1])},
        )  # fmt: skip


def decays(optimizer: Optimizer, l2: float) -> bool:
    """Whether the optimizer or the loss pulls weights towards 0."""
    return bool(optimizer.weight_decay or optimizer.l1 or optimizer.groups or l2)


def _pull(optimizer: Optimizer, l2: float) -> str:
    penalty = f", and l2 {l2:g} of the loss" if l2 else ""
    return f"weight_decay {optimizer.weight_decay:g} and l1 {optimizer.l1:g}{penalty}"


def held_back(net: Network, loss: Loss, batch: Batch, optimizer: Optimizer, l2: float) -> Iterator[Finding]:
    """A run that stands still where weight decay holds it: with all parameters larger, the loss would be lower."""
    probe = net.copy()
    here = loss.value(probe.forward(batch.x), batch.targets, sample_weight=batch.weight)
    for factor in (1.5, 2.0, 4.0):
        probe.parameters[...] = np.asarray(factor, net.dtype) * net.parameters
        there = loss.value(probe.forward(batch.x), batch.targets, sample_weight=batch.weight)
        if here - there > 0.05 * abs(here):
            yield Finding(
                "regularization too strong", "warning",
                f"The loss stands at {here:.4g}; with all parameters {factor:g} times as large it would be {there:.4g}, but "
                f"{_pull(optimizer, l2)} hold them down.",
                numbers={"loss": here, "factor": factor, "larger": there},
            )  # fmt: skip
            return


def room_below(net: Network, loss: Loss, batch: Batch) -> float:
    """The share of the loss on these rows that one step along their gradient, of the best of some lengths, takes away.

    At a minimum there is no such step. Where there is one, a run that stands still was stopped by its learning rate.
    """
    probe = net.copy()
    here, grad_outputs = loss_and_gradient(loss, probe.forward(batch.x), batch.targets, batch.weight)
    probe.backward(grad_outputs)
    start, gradient = probe.parameters.copy(), probe.gradients.copy()
    length = np.linalg.norm(start) / max(float(np.linalg.norm(gradient)), 1e-30)
    best = here
    for relative in np.geomspace(1e-3, 0.3, 8):
        probe.parameters[...] = start - relative * length * gradient
        there = loss.value(probe.forward(batch.x), batch.targets, sample_weight=batch.weight)
        best = min(best, there) if np.isfinite(there) else best
    return float((here - best) / here) if here > 0 else 0.0


def loss_curve(history: Mapping[str, Any], key: str) -> AnyArray:
    """One curve of a history as an array; empty where it is not there."""
    return np.asarray(dict(history).get(key, ()), dtype=np.float64)
