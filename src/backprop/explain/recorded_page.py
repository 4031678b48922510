"""One self-contained HTML file on which to watch backpropagation: a trace to step through, or a whole training run.

The file holds recorded numbers, a drawing and a script that looks numbers up; nothing is computed in the browser and nothing is
loaded from elsewhere.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from html import escape
from importlib.resources import files
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arrays import check_count
from .._files import replace_file
from . import svg
from .diagnosis import Report
from .diagnosis.findings import guide
from .formulas import Ref
from .inline import Page
from .recording import Recording, Snapshot
from .steps import Column, Step, columns
from .trace import Trace
from .walk import walk

DIGITS = 6
"""Significant digits of every number on the page."""
MAX_UNITS = 8
"""The most units of a layer that are drawn (of the last one: ten), and the most terms of a sum that are written out."""

COMPARISONS = ("vanishing", "clipping", "race")
"""The sections that compare, each with data of its own."""

_ROW_ARRAYS = ("x", "outputs", "targets", "probabilities", "target_probabilities", "grad_outputs")


def trace_page(trace: Trace, row: int = 0) -> str:
    """The page that steps through one row of a trace."""
    shown = _columns(trace, row)
    data = _walks([[trace]], shown, ["this row"], row)
    n_inputs = trace["x"].shape[1]
    sizes = "-".join(map(str, [n_inputs, *(layer.n_outputs for layer in trace.layers)]))
    facts = f"One step of a {sizes} network, loss {trace.loss_name}" + (f", {trace.optimizer_name}" if trace.optimizer_name else "")
    return _html(data, shown, facts, parts=())


def write_page(
    recording: Recording,
    path: str | PathLike[str] | None = None,
    *,
    comparisons: Mapping[str, Any] | None = None,
    report: Report | None = None,
    title: str = "",
    labels: Sequence[str] | None = None,
    image_shape: tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
) -> Page:
    """Make the page of a training run; returns the HTML text, and writes it where a path is given.

    Parameters
    ----------
    recording : Recording
        What `record` returned.
    path : path, optional
        Where to write.
    comparisons : mapping, optional
        Any of ``vanishing``, ``clipping`` and ``race``, as the functions of `comparisons` return them; each is a section.
    report : Report, optional
        What `diagnose` or a `Monitor` found; a section of its own.
    title : str
        What there is to learn, in a sentence, for the lines under the heading.
    labels : sequence of str, optional
        What the examples are called; from their numbers when None.
    image_shape : (rows, columns), optional
        Draw the inputs as an image of gray levels.
    class_names : sequence of str, optional
        What the classes are called.
    feature_names : sequence of str, optional
        What the inputs are called.

    Raises
    ------
    ValueError
        For comparisons of another name, a recording without examples, or an image that has not as many pixels as there are inputs.

    Examples
    --------
    >>> import backprop as bp
    >>> from backprop.explain import record, write_page
    >>> x, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> recording = record(bp.mlp([2, 3, 1], seed=0), x, y, loss="binary_cross_entropy", epochs=2)
    >>> page = write_page(recording)
    >>> page.startswith("<!doctype html>")
    True
    """
    comparisons = dict(comparisons or {})
    class_names = None if class_names is None else [str(name) for name in class_names]
    feature_names = None if feature_names is None else [str(name) for name in feature_names]
    if unknown := comparisons.keys() - set(COMPARISONS):
        raise ValueError(f"comparisons may hold {', '.join(COMPARISONS)}, got {', '.join(sorted(unknown))}")
    if not recording.examples:
        raise ValueError("recording must have at least one example")
    inputs = recording.x.shape[1]
    if image_shape is not None:
        if not isinstance(image_shape, Sequence) or len(image_shape) != 2:
            raise ValueError(f"image_shape must be (rows, columns), got {image_shape!r}")
        if check_count("image_shape", image_shape[0]) * check_count("image_shape", image_shape[1]) != inputs:
            raise ValueError(f"image_shape must have rows * columns = {inputs}, the number of inputs, got {image_shape!r}")
    last = recording.snapshots[-1]
    shown = _columns(last.traces[0], 0)
    data = _walks([snapshot.traces for snapshot in recording.snapshots], shown, labels or _labels(recording, class_names), 0)
    data["training"] = _training(recording, image_shape, class_names)
    data |= comparisons
    data["inputNames"] = feature_names
    data["outputNames"] = None if class_names is None or len(class_names) != last.answers.shape[1] else class_names
    rows = recording.rows or len(recording.x)
    size = min(recording.batch_size, rows)
    facts = (
        f"{title}{' ' if title else ''}The network: {recording.description}, trained with {recording.optimizer} on "
        f"{rows} examples, {size} at a time, for {recording.epochs} epochs. Loss: "
        f"{recording.loss.name}. Each step below is the update that one example alone would make; the training averages over "
        f"{size}."
    )
    parts = {"training", *comparisons, *([] if report is None else ["diagnosis"])}
    text = Page(_html(data, shown, facts, parts=parts, report=report))
    if path is not None:
        replace_file(path, text.encode())
    return text


def _columns(trace: Trace, row: int) -> tuple[Column, ...]:
    shown = list(columns(trace, limit=MAX_UNITS, row=row))
    if 8 < shown[-1].size <= 10:
        shown[-1] = columns(trace, limit=10, row=row)[-1]
    return tuple(shown)


def _walks(moments: Sequence[Sequence[Trace]], shown: Sequence[Column], labels: Sequence[str], row: int) -> dict[str, Any]:
    """Steps as JSON, with each number replaced by its place in a list; and that list for every moment and example."""
    ids: dict[Ref, int] = {}

    def place(ref: Ref) -> int:
        return ids.setdefault(ref, len(ids))

    steps: list[dict[str, Any]] = []
    known: dict[str, int] = {}
    examples = []
    for trace, label in zip(moments[-1], labels, strict=True):
        numbers = []
        for step in walk(trace, row, shown, MAX_UNITS):
            as_json = _step(step, place)
            numbers.append(known.setdefault(json.dumps(as_json), len(steps)))
            if numbers[-1] == len(steps):
                steps.append(as_json)
        examples.append({"label": label, "x": _rounded(trace["x"][row]), "steps": numbers})
    for ref in _drawn(steps, shown, moments[-1][0], row):
        place(ref)
    values = [[[_number(trace[ref.name][ref.place]) for ref in ids] for trace in traces] for traces in moments]
    return {
        "names": [f"{ref.name}[{','.join(map(str, ref.place))}]" if ref.place else ref.name for ref in ids],
        "row": row,
        "columns": [{"label": column.label, "units": list(column.units), "size": column.size} for column in shown],
        "connections": [
            [] if not column.connected else [[i, j] for i in shown[number - 1].units for j in column.units]
            for number, column in enumerate(shown)
        ],
        "steps": steps,
        "examples": examples,
        "values": values,
    }


def _step(step: Step, place: Any) -> dict[str, Any]:
    return {
        "phase": step.phase,
        "layer": step.layer,
        "title": step.title,
        "text": step.text,
        "formula": step.formula,
        "toward": step.toward,
        "units": [list(pair) for pair in step.units],
        "edges": list(step.edges),
        "foci": [
            {
                "column": focus.column,
                "unit": focus.unit,
                "lines": [[place(token) if isinstance(token, Ref) else token for token in line] for line in focus.lines],
                "edges": [list(edge) for edge in focus.edges],
            }
            for focus in step.foci
        ],
    }


def _drawn(steps: Sequence[Mapping[str, Any]], shown: Sequence[Column], trace: Trace, row: int) -> list[Ref]:
    """The numbers in the drawing."""
    refs = [Ref(name, (row, unit)) for name in _ROW_ARRAYS if name in trace and trace[name].ndim == 2 for unit in
            (shown[0] if name == "x" else shown[-1]).units]  # fmt: skip
    refs += [Ref(name) for name in ("loss", "new_loss") if name in trace]
    for step in steps:
        for column, names, edge in zip(shown, step["units"], step["edges"], strict=True):
            refs += [Ref(name, (row, unit)) for name in names if name for unit in column.units]
            if edge:
                before = shown[shown.index(column) - 1]
                refs += [Ref(edge, (i, j)) for i in before.units for j in column.units]
    return refs


def _number(value: Any) -> float | str | int:
    """A number with six significant digits, as JSON can hold it."""
    value = float(value)
    if not np.isfinite(value):
        return "nan" if np.isnan(value) else "inf" if value > 0 else "-inf"
    rounded = float(f"{value:.{DIGITS - 1}e}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e6 else rounded


def _rounded(value: Any) -> Any:
    """Everything in nested lists, mappings and arrays, as `_number` has it."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return _number(value) if isinstance(value, float | np.floating) else value


def _training(recording: Recording, image_shape: tuple[int, int] | None, class_names: Sequence[str] | None) -> dict[str, Any]:
    snapshots = recording.snapshots
    pace = -(-len(recording.losses) // 400)
    curve = {"name": "loss", "x": list(range(0, recording.epochs + 1, pace)), "y": recording.losses[::pace]}
    finite = [norm for snapshot in snapshots for norm in snapshot.norms if 0 < norm < np.inf]
    positive = [value for value in recording.losses if value > 0]
    data: dict[str, Any] = {
        "epochs": recording.epochs,
        "start": len(snapshots) // 3,
        "layers": [f"layer {k + 1}" for k in range(len(recording.layers) - 1)] + ["output"],
        "curves": [curve],
        "logLoss": bool(positive) and max(positive) > 50 * min(positive),
        "normRange": [min(finite, default=0.1) / 2, max(finite, default=1.0)],
        "snapshots": [
            {"epoch": s.epoch, "loss": s.loss, "norms": s.norms}
            | {name: value for name, value in (("accuracy", s.accuracy), ("r2", s.r2)) if value is not None}
            for s in snapshots
        ],
    }
    if recording.bounds is not None:
        data["grid"] = _grid(recording, class_names)
    if image_shape is not None:
        data["image"] = _image(recording, image_shape, class_names)
    return data


def _grid(recording: Recording, class_names: Sequence[str] | None) -> dict[str, Any]:
    """The answers over the plane, one byte for each point, and the training set."""
    assert recording.bounds is not None
    loss, n_outputs = recording.loss, recording.snapshots[-1].answers.shape[1]
    regression = loss.task not in ("classification", "binary")
    classes = 2 if n_outputs == 1 else n_outputs
    names = list(class_names or [f"class {k}" for k in range(classes)])
    shapes = ["circle", "square", "triangle", "diamond"]
    kinds = np.zeros(len(recording.y), int) if regression else _classes(recording)
    answers = [snapshot.grid for snapshot in recording.snapshots if snapshot.grid is not None]
    grid: dict[str, Any] = {
        "size": int(np.sqrt(len(answers[0]))),
        "x": list(recording.bounds[0]),
        "y": list(recording.bounds[1]),
        "classes": classes,
        "regression": regression,
        "points": [[float(a), float(b), int(kind)] for (a, b), kind in list(zip(recording.x, kinds, strict=True))[:400]],
    }
    if regression:
        low, high = min(float(a.min()) for a in answers), max(float(a.max()) for a in answers)
        shares = [(a[:, 0] - low) / ((high - low) or 1) for a in answers]
        grid["caption"] = "What the network answers, everywhere in the plane"
        grid["key"] = f"Shades run from {low:.3g} to {high:.3g}. Dots: the training set. Ring: the example."
    elif classes == 2:
        shares = [a[:, -1] for a in answers]
        grid["caption"] = "What the network answers, everywhere in the plane"
        grid["key"] = f"Circles: {names[0]}. Squares: {names[1]}. Thick line: p = 0.5. Ring: the example."
    else:
        shares = [a.max(axis=1) for a in answers]
        grid["winners"] = [_bytes(a.argmax(axis=1)) for a in answers]
        grid["caption"] = "The class of the largest probability, everywhere in the plane"
        grid["key"] = ". ".join(f"{shapes[k % 4].capitalize()}s: {name}" for k, name in enumerate(names)) + ". Ring: the example."
    grid["frames"] = [_bytes(np.rint(255 * np.clip(share, 0, 1))) for share in shares]
    return grid


def _classes(recording: Recording) -> npt.NDArray[np.int64]:
    y = recording.y
    if y.ndim == 1:
        return y.astype(np.int64)
    return (y[:, 0] > 0.5).astype(np.int64) if y.shape[1] == 1 else y.argmax(axis=1)


def _image(recording: Recording, shape: tuple[int, int], class_names: Sequence[str] | None) -> dict[str, Any]:
    """The examples as gray levels, and the probabilities that they get at each moment."""
    chosen = recording.x[list(recording.examples)]
    low, high = float(recording.x.min()), float(recording.x.max())
    kinds = _classes(recording)[list(recording.examples)]
    n_outputs = recording.snapshots[-1].answers.shape[1]
    return {
        "width": shape[1],
        "height": shape[0],
        "pixels": np.rint(255 * (chosen - low) / ((high - low) or 1)).astype(int).tolist(),
        "labels": kinds.tolist(),
        "names": list(class_names or map(str, range(n_outputs))),
        "answers": [_answers(snapshot) for snapshot in recording.snapshots],
    }


def _answers(snapshot: Snapshot) -> list[list[float]]:
    answers: list[list[float]] = snapshot.answers.tolist()
    return answers


def _bytes(values: npt.ArrayLike) -> str:
    return b64encode(np.asarray(values).astype(np.uint8).tobytes()).decode()


def _labels(recording: Recording, class_names: Sequence[str] | None) -> list[str]:
    """What the examples are called: their inputs where there are few, and their class."""
    kinds = None if recording.loss.task not in ("classification", "binary") else _classes(recording)
    labels = []
    for row in recording.examples:
        numbers = ", ".join(f"{value:.3g}" for value in recording.x[row]) if recording.x.shape[1] <= 3 else f"row {row + 1}"
        answer = f"{recording.y[row, 0]:.3g}" if kinds is None else str(class_names[kinds[row]] if class_names else kinds[row])
        label = f"({numbers}) → {answer}" if recording.x.shape[1] <= 3 else f"{numbers} → {answer}"
        labels.append(re.sub(r"-(?=[\d.])", "\u2212", label))
    return labels


def _html(
    data: Mapping[str, Any], shown: Sequence[Column], facts: str, *, parts: Collection[str], report: Report | None = None
) -> str:
    text = _asset("page.html")
    for part in ("training", "diagnosis", *COMPARISONS):
        if part in parts:
            text = text.replace(f"<!--{part}-->", "").replace(f"<!--/{part}-->", "")
        else:
            text = re.sub(f"<!--{part}-->.*?<!--/{part}-->", "", text, flags=re.DOTALL)
    drawing = svg.draw(shown, svg.arrange(shown)) + svg.draw(shown, svg.arrange(shown, tall=True))
    origin = (
        "Every number on this page was computed and recorded by backprop, a Python library; none is computed here. "
        f"Numbers are stored with {DIGITS} significant digits; drawings show fewer. "
        'Hold the pointer over a number in a formula to see its name: it is the one that <code>bp.trace(...)["name"]</code> gives.'
    )
    packed = json.dumps(_rounded(data), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    holes = {
        "/*style*/": _asset("drawing.css") + _asset("page.css"),
        "/*script*/": "".join(map(_asset, ("basics.js", "maps.js", "charts.js", "page.js"))),
        "<!--drawing-->": drawing,
        "<!--facts-->": escape(facts),
        "<!--origin-->": origin,
        "<!--findings-->": "" if report is None else _findings(report),
        "<!--data-->": packed,
    }
    for hole, filling in holes.items():
        text = text.replace(hole, filling, 1)
    return text


def _findings(report: Report) -> str:
    """What was found, as HTML."""
    if not report:
        return "<p>Nothing unusual was found.</p>"
    items = []
    for finding in report.findings:
        place = f" in {finding.layer}" if finding.layer else ""
        effects = ", ".join(report.effects(finding))
        lines = [("seen", finding.evidence), ("why", finding.why), ("try", finding.remedy)]
        lines += [("so", f"{effects} may come from this.")] if effects else []
        rows = "".join(f"<dt>{label}</dt><dd>{escape(text)}</dd>" for label, text in lines)
        rows += f"<dt>guide</dt><dd>{guide(finding)}</dd>"
        items.append(f"<h3>{escape(finding.severity)}: {escape(finding.name + place)}</h3><dl>{rows}</dl>")
    return "".join(items)


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")
