"""How problems show in one traced training step: rules that yield findings.

The thresholds of a rule stand in it, chosen so that the healthy runs of the tests and the examples stay silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ... import initializers
from ..._types import AnyArray
from ..tape import LayerTrace
from ..trace import Trace
from .findings import Finding, Severity


def rms(values: AnyArray) -> float:
    """The root mean square, 0 for no values; computed in float64."""
    if not values.size:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def non_finite_step(trace: Trace) -> Iterator[Finding]:
    """The first place where a number of the step is not finite: weights and forward, the loss, backward, the update."""
    forward = [(layer, role) for layer in trace.layers for role in (*layer.parameters, "z", "a", "y") if role in layer.values]
    backward = [(layer, f"grad_{role}") for layer in reversed(trace.layers) for role in layer.parameters]
    update = [(layer, f"new_{role}") for layer in trace.layers for role in layer.parameters]
    places = [
        *((layer.name, role, layer.values[role]) for layer, role in forward),
        (None, "the loss", trace["loss"]),
        *((layer.name, role, layer.values[role]) for layer, role in backward + update if role in layer.values),
    ]
    for layer, role, values in places:
        if not np.isfinite(values).all():
            count = values.size - np.count_nonzero(np.isfinite(values))
            seen = f"{count} of {values.size} values of {role} in {layer} are" if layer else "The loss is"
            numbers = {"count": float(count), "size": float(values.size)}
            yield Finding("non-finite values", "critical", f"{seen} not finite; everything computed before is.", layer, numbers)
            return


def symmetric_weights(trace: Trace) -> Iterator[Finding]:
    """Hidden layers whose units all have the same weights."""
    for layer in _dense(trace)[:-1]:
        weight = layer.values["weight"]
        if weight.shape[1] > 1 and np.ptp(weight, axis=1).max(initial=0.0) <= 1e-6 * rms(weight):
            yield Finding(
                "symmetric weights", "critical",
                f"All {weight.shape[1]} units have the same weights" + (" (zero)." if not weight.any() else "."),
                layer.name, {"units": weight.shape[1]},
            )  # fmt: skip


def weight_scale(trace: Trace) -> Iterator[Finding]:
    """Initial weights far from the scale that keeps signals even, where the signal indeed grows or shrinks."""
    for layer, following in pairwise(trace.layers):
        if layer.kind != "Dense" or following.kind in ("BatchNorm", "LayerNorm"):  # whatever comes, they scale it to 1
            continue
        weight, z, x = layer.values["weight"], layer.values["z"], layer.values["x"]
        factor, gain = rms(weight) / usual_size(layer), rms(z) / max(rms(x), 1e-300)
        too_large, too_small = factor > 4 and gain > 4, 0 < factor < 0.25 and gain < 0.25
        if too_large or too_small:
            yield Finding(
                "badly scaled weights", "critical" if factor > 10 or factor < 0.1 else "warning",
                f"The weights' root mean square is {rms(weight):.3g}, {factor:.3g} times what is usual for "
                f"{weight.shape[0]} inputs and {_activation(layer)}; z is {gain:.3g} times the size of the layer's input.",
                layer.name, {"rms": rms(weight), "factor": factor, "gain": gain},
            )  # fmt: skip
            return


def usual_size(layer: LayerTrace) -> float:
    """The root mean square of a dense layer's weights as the initializer made for its activation draws them."""
    return rms(initializers.default_for(_activation(layer))(layer.values["weight"].shape, np.random.default_rng(0)))


def dead_units(trace: Trace) -> Iterator[Finding]:
    """Relu units that are zero for every row."""
    if len(trace.outputs) < 16:
        return
    for layer in trace.layers:
        if _activation(layer) in ("relu", "relu6"):
            dead = np.asarray(~layer.values["a"].any(axis=0))
            share = float(np.mean(dead))
            if share > 0.5:  # a trained network may well leave a third of its units idle
                yield Finding(
                    "dead relu units", "critical" if share > 0.8 else "warning",
                    f"{share:.0%} of the {layer.n_outputs} units are 0 for all {len(trace.outputs)} rows.",
                    layer.name, {"share": share}, advice=_revival(layer, dead),
                )  # fmt: skip


# Activations with a flat end, and the largest derivative. Those that are flat on one side only are judged by units: like relu, a
# unit may well rest for most rows.
_FLAT_ON_BOTH_SIDES = {"sigmoid": 0.25, "tanh": 1.0, "hardtanh": 1.0, "softsign": 1.0}
_FLAT_ON_ONE_SIDE = ("gelu", "gelu_exact", "silu", "mish", "elu", "selu", "softplus")


def idle_share(layer: LayerTrace) -> float:
    """The share of a layer's relu units that are 0 for all rows, or of what is at the flat end of another activation."""
    name = _activation(layer)
    return float(np.mean(~layer.values["a"].any(axis=0))) if name == "relu" else _saturated_share(layer)


def _saturated_share(layer: LayerTrace, z: AnyArray | None = None) -> float:
    """The share of values, or of units, at a flat end; for other z than those of the step if they are given."""
    name, function = _activation(layer), layer.activation
    if function is None or "z" not in layer.values:
        return 0.0
    z = layer.values["z"] if z is None else z
    if name in _FLAT_ON_BOTH_SIDES:
        return float(np.mean(np.abs(function.derivative(z)) < 0.05 * _FLAT_ON_BOTH_SIDES[name]))
    if name in _FLAT_ON_ONE_SIDE and len(z) >= 16:
        return float(np.mean((np.abs(function.derivative(z)) < 0.05).all(axis=0)))
    return float(np.mean(z >= 6)) if name == "relu6" else 0.0


def _revival(layer: LayerTrace, dead: npt.NDArray[np.bool_]) -> str:
    """What helps dead units if their biases, or weights of one sign, are what keeps them below 0."""
    if "weight" not in layer.values:  # an `Activation`: what is added to its z belongs to another layer
        return ""
    weight, z, bias = layer.values["weight"][:, dead], layer.values["z"][:, dead], layer.values.get("bias")
    if bias is not None:
        alive = float(np.mean((z - bias[dead] > 0).any(axis=0)))
        if alive >= 0.5:
            return (
                f"Start the biases of {layer.name} at 0: those of the dead units are {bias[dead].mean():.3g} on average, and "
                f"without them {alive:.0%} of the units would be active. Another activation would leave the biases as they are."
            )
    if float(weight.mean()) < -0.5 * rms(weight):
        return (
            f"Draw the weights of {layer.name} around 0 (init='he_normal'): {np.mean(weight < 0):.0%} of those of the dead units "
            "are below 0, and so is z wherever the inputs are not."
        )
    return ""


def saturated_units(trace: Trace) -> Iterator[Finding]:
    """Layers that are mostly at the flat ends of their activation."""
    for layer in trace.layers:
        share = _saturated_share(layer)
        if share > 0.6:
            name = _activation(layer)
            seen = f"For {share:.0%} of the values {name}' is below 5 % of its maximum."
            if name in _FLAT_ON_ONE_SIDE:
                seen = f"For {share:.0%} of the {layer.n_outputs} units {name}' is below 0.05 in all {len(trace.outputs)} rows."
            yield Finding(
                "saturated units", "critical" if share > 0.9 else "warning", seen, layer.name, {"share": share},
                advice=_relief(layer, share),
            )  # fmt: skip


def _relief(layer: LayerTrace, share: float) -> str:
    """What helps saturated units if their biases are what holds them at the flat end."""
    bias = layer.values.get("bias")
    if bias is None:
        return ""
    without = _saturated_share(layer, layer.values["z"] - bias)
    if without > 0.5 * share:
        return ""
    return (
        f"Start the biases of {layer.name} at 0: their size is {rms(bias):.3g}, and without them {without:.0%} would be at the "
        "flat end. Another activation would leave the biases as they are."
    )


def gradients_along_depth(trace: Trace, clipped: bool) -> Iterator[Finding]:
    """The error signal delta at the first dense layer against the last one, and the size of the gradient if it is not clipped."""
    dense = _dense(trace)
    deltas = [rms(layer.values["delta"]) for layer in dense]
    if len(deltas) >= 3 and deltas[-1] > 1e-12:
        ratio = deltas[0] / deltas[-1]
        steps = (
            f"The error signal delta (dL/dz) has a root mean square of {deltas[-1]:.3g} in {dense[-1].name} and of "
            f"{deltas[0]:.3g} in {dense[0].name}: a factor of {ratio:.3g}."
        )
        if ratio < 1e-2:
            yield Finding("vanishing gradients", "critical" if ratio < 1e-3 else "warning", steps, dense[0].name, {"ratio": ratio})
        if ratio > 1e2:
            yield Finding("exploding gradients", "critical" if ratio > 1e3 else "warning", steps, dense[0].name, {"ratio": ratio})
            return
    if clipped:
        return
    gradient = np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in _gradients(trace)))
    weights = np.sqrt(sum(float(np.sum(np.square(layer.values["weight"], dtype=np.float64))) for layer in dense))
    if gradient > 100 * max(weights, 1.0):
        yield Finding(
            "exploding gradients", "critical" if gradient > 1e4 * max(weights, 1.0) else "warning",
            f"The gradient's norm is {gradient:.3g} where the weights' norm is {weights:.3g}.",
            numbers={"gradient": float(gradient), "weights": float(weights)},
        )  # fmt: skip


def update_size(trace: Trace, chance: float | None) -> Iterator[Finding]:
    """The size of the update against the size of the weights, or their usual initial size where they are smaller."""
    ratios = {
        layer.name: rms(layer.values["update_weight"]) / max(rms(layer.values["weight"]), usual_size(layer))
        for layer in _dense(trace)
        if "update_weight" in layer.values
    }
    if not ratios:
        return
    name, ratio = max(ratios.items(), key=lambda item: item[1])
    numbers = {"ratio": ratio}
    if ratio > 0.3:
        severity: Severity = "critical" if ratio > 1 else "warning"
        evidence = f"One update is {ratio:.3g} times the size of the weights."
        yield Finding("learning rate too high", severity, evidence, name, numbers)
    elif 0 < ratio < 1e-5 and (chance is None or trace.loss > 0.3 * chance):  # near the minimum updates are small and should be
        evidence = f"The largest update is {ratio:.3g} times the size of the weights: {0.01 / ratio:,.0f} such steps make 1 %."
        yield Finding("learning rate too low", "warning", evidence, name, numbers)


def batch_norm_rows(trace: Trace, batch_size: int | None) -> Iterator[Finding]:
    """Batch normalization over a handful of rows."""
    for layer in trace.layers:
        if layer.kind == "BatchNorm" and batch_size is not None and batch_size < 8:
            yield Finding(
                "tiny batches with batch norm", "warning", f"It normalizes over {batch_size} rows at a time.",
                layer.name, {"batch_size": batch_size},
            )  # fmt: skip
            return


def _dense(trace: Trace) -> list[LayerTrace]:
    return [layer for layer in trace.layers if layer.kind == "Dense"]


def _activation(layer: LayerTrace) -> str:
    return layer.activation.name if layer.activation is not None else "identity"


def _gradients(trace: Trace) -> Iterator[AnyArray]:
    for layer in trace.layers:
        for role in layer.parameters:
            if f"grad_{role}" in layer.values:
                yield layer.values[f"grad_{role}"]
