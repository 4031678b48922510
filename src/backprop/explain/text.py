"""A trace as text: the arithmetic of a small network with its numbers, shapes and histograms of a large one."""

from __future__ import annotations

import numpy as np

from .._types import AnyArray
from .formulas import Ref, Tokens
from .steps import PHASES, Step
from .trace import Trace
from .walk import walk

SMALL = 100
"""Up to this many parameters (and four rows) every operation is written out."""

_HEADINGS = {"forward": "Forward pass", "error": "Error", "backward": "Backward pass", "update": "Update"}
_BARS = " ▁▂▃▄▅▆▇█"


def render(trace: Trace) -> str:
    """The text that `print` shows."""
    if trace.n_parameters <= SMALL and len(trace.outputs) <= 4:
        return "\n".join(_story(trace))
    return "\n".join(_overview(trace))


def plain(tokens: Tokens, trace: Trace) -> str:
    """A line with the numbers looked up; a negative number inside an expression stands in parentheses.

    Examples
    --------
    >>> import backprop as bp
    >>> from backprop.explain.formulas import Ref
    >>> trace = bp.trace(bp.mlp([1, 1], seed=0), [[-2.0]], [[1.0]], loss="mse")
    >>> plain(("y = 3*", Ref("x", (0, 0))), trace)
    'y = 3*(-2)'
    """
    out: list[str] = []
    for token in tokens:
        if isinstance(token, Ref):
            number = format_number(float(trace[token.name][token.place]), trace.digits)
            inside = out and not out[-1].endswith(("= ", "(", ", ", ": ", "|"))
            out.append(f"({number})" if number.startswith("-") and inside else number)
        else:
            out.append(token)
    return "".join(out)


def format_number(value: float, digits: int) -> str:
    """A number with ``digits`` significant digits, without trailing zeros."""
    return f"{value + 0.0:.{digits}g}"


def _title(trace: Trace) -> list[str]:
    widths = [trace["x"].shape[1], *(layer.n_outputs for layer in trace.layers)]
    rows = len(trace.outputs)
    facts = [
        f"{rows} row{'s' * (rows > 1)}",
        f"loss {trace.loss_name}",
        trace.optimizer_name or "no update",
        str(trace.outputs.dtype),
    ]
    return [f"Trace of one step through {'-'.join(map(str, widths))}, {trace.n_parameters} parameters: {', '.join(facts)}"]


def _story(trace: Trace) -> list[str]:
    """Every operation of every row."""
    rows = len(trace.outputs)
    walks = [walk(trace, row) for row in range(rows)]
    lines = _title(trace)
    for phase in PHASES:
        if not any(step.phase == phase for step in walks[0]):
            continue
        lines += ["", _HEADINGS[phase]]
        # Gradients and updates of parameters are sums over the rows already: one row tells them all.
        for position, step in enumerate(walks[0]):
            if step.phase == phase:
                per_row = [walks[row][position] for row in range(rows)]
                lines += _step_lines(trace, per_row)
    return lines


def _step_lines(trace: Trace, per_row: list[Step]) -> list[str]:
    """One step, for every row: what is a sum over the rows already is the same for each, and is told once."""
    step = per_row[0]
    where = f" ({step.layer})" if step.layer else ""
    lines = [f"  {step.title}{where}" + (f":  {step.formula}" if step.formula else "")]
    told: list[list[str]] = []
    for row, same in enumerate(per_row):
        texts = [_without_log_of_0(plain(line, trace)) for focus in same.foci for line in focus.lines]
        if texts in told:
            continue
        told.append(texts)
        if _is_of_row(same, row) and len(per_row) > 1:
            lines.append(f"    row {row + 1}")
        lines += [f"    {text}" for text in texts]
    return lines


def _without_log_of_0(text: str) -> str:
    """A line without its middle where a probability is rounded to 0 or 1: the loss comes from the outputs, and is finite."""
    if "log(0)" not in text and "log(1 - 1)" not in text:
        return text
    left, *_, result = text.split(" = ")
    return f"{left} = {result}"


def _is_of_row(step: Step, row: int) -> bool:
    """Whether a step's numbers belong to one row, and are not sums over the rows."""
    if step.phase == "update":
        return False
    results = [line[-1] for focus in step.foci for line in focus.lines]
    return any(isinstance(ref, Ref) and ref.place[:1] == (row,) and "grad_weight" not in ref.name for ref in results)


def _overview(trace: Trace) -> list[str]:
    """One line for each array: shape, norm, range, and how its numbers are spread."""
    lines = _title(trace)
    width = max(len(name) for name in trace)
    lines.append(f"{'':{width}}  {'shape':>12} {'norm':>10} {'least':>10} {'mean':>10} {'most':>10}   zeros  spread")
    for name, value in trace.items():
        if value.ndim == 0:
            lines.append(f"{name:{width}}  {'':>12} {float(value):>10.4g}")
        else:
            lines.append(f"{name:{width}}  {_facts(value)}  {trace.formulas[name]}")
    return lines


def _facts(value: AnyArray) -> str:
    shape = "x".join(map(str, value.shape))
    numbers = value.astype(np.float64).ravel()
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return f"{shape:>12} no finite number among {numbers.size}"
    lost = f"  {numbers.size - finite.size} not finite" if finite.size < numbers.size else ""
    return (
        f"{shape:>12} {np.sqrt(np.sum(finite**2)):>10.4g} {finite.min():>10.4g} {finite.mean():>10.4g} {finite.max():>10.4g} "
        f"{np.mean(numbers == 0):>7.0%}  {_spread(finite)}{lost}"
    )


def _spread(numbers: AnyArray, bins: int = 12) -> str:
    """A histogram in one line, between the least and the most."""
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        return f"{'all the same':<{bins}}"
    shares = (numbers / 2 - low / 2) / (high / 2 - low / 2)  # halves, as a difference may overflow
    counts = np.bincount(np.minimum((bins * shares).astype(np.intp), bins - 1), minlength=bins)
    return "".join(_BARS[int(np.ceil(8 * count / counts.max()))] for count in counts)
