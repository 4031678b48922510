"""The page of ``backprop train --report``: data, training, result, importance and diagnosis in one HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from .._files import replace_file
from ..explain.diagnosis import diagnose
from ..tabular import CategoricalFeature, ClassTarget, DateFeature, Judgement, NumericFeature
from ..tabular._features import Feature
from .runs import Run

_WIDTH, _HEIGHT = 640, 260
_MARGIN, _TOP, _BOTTOM = 76, 32, 40  # beside, above and below the axes of a plot
_MOST_POINTS = 1500
_MOST_DIAGNOSED = 5000  # rows
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid #d5d5d5;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.warning{border-left:4px solid #b45309;padding:.2rem .8rem;margin:.5rem 0}
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#333}
@media(prefers-color-scheme:dark){body{color:#e8e8e8;background:#151515}svg text{fill:#ccc}td,th{border-color:#444}}
"""


def write_report(path: str, run: Run) -> None:
    """Write the page of a run; it needs nothing beside itself.

    Parameters
    ----------
    path : str
        The file to write or replace.
    run : Run
    """
    target = run.model.target
    judged, rows = (run.validation, "validation rows, by which the best epoch was chosen")
    if run.test is not None:
        judged, rows = run.test, "test rows, which nothing was chosen by"
    title = f"Predicting {target.name}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _paragraphs([*run.warnings, *judged.remarks], "warning"),
        "<h2>Result</h2>",
        f"<p>On {judged.rows:,} {rows}; the naive answer looks at no column.</p>",
        _metrics(judged),
        _folds(run.folds),
        _confusion(judged) if isinstance(target, ClassTarget) else _residuals(run),
        "<h2>Importance of the columns</h2>",
        "<p>By how much the loss grows when the values of a column are shuffled among the rows.</p>",
        _importance(run),
        "<h2>Training</h2>",
        _training(run),
        _curves(run),
        "<h2>Diagnosis</h2>",
        "<p>What is unusual about data, network and training, and what to try.</p>",
        _diagnosis(run),
        "<h2>Data</h2>",
        f"<p>{len(run.prepared.y_learn):,} rows to learn from, {len(run.prepared.y_judge):,} to choose the best epoch by, "
        f"{len(run.prepared.y_test):,} to test.</p>",
        _table(["column", "kind", "encoding"], [[f.name, f.kind, _encoding(f)] for f in run.model.encoder.features]),
        _table(["left out", "because it"], run.model.encoder.ignored.items()) if run.model.encoder.ignored else "",
        _paragraphs(run.prepared.notes, "note"),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    page = f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{"".join(parts)}</body></html>'
    replace_file(path, page.encode())


def _paragraphs(texts: Iterable[str], kind: str) -> str:
    return "".join(f'<p class="{kind}">{escape(text)}</p>' for text in texts)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def cell(value: Any, tag: str = "td") -> str:
        number = isinstance(value, int | float)
        text = str(value)
        if number:
            text = f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
        return f"<{tag}{' class=n' if number else ''}>{escape(text)}</{tag}>"

    head = "".join(cell(name, "th") for name in header)
    body = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _metrics(judged: Judgement) -> str:
    return _table(["metric", "model", "naive answer"], [[name, value, judged.naive[name]] for name, value in judged.items()])


def _folds(folds: Sequence[Judgement]) -> str:
    if not folds:
        return ""
    values = {name: np.array([judged[name] for judged in folds]) for name in folds[0]}
    rows = [[name, float(found.mean()), float(found.std(ddof=1))] for name, found in values.items()]
    return f"<p>Over {len(folds)} parts of the rows, each judged by a network that learned from the others:</p>" + _table(
        ["metric", "mean", "standard deviation"], rows
    )


def _confusion(judged: Judgement, most: int = 20) -> str:
    assert judged.confusion is not None
    names = list(judged.recall)
    shown = sorted(np.argsort(-judged.confusion.sum(axis=1), kind="stable")[:most].tolist())
    header = ["class", "recall", *(f"said {names[index]}" for index in shown)]
    rows = [[names[row], judged.recall[names[row]], *(int(judged.confusion[row, column]) for column in shown)] for row in shown]
    return _table(header, rows)


def _residuals(run: Run) -> str:
    part = "x_test", "y_test"
    if not len(run.prepared.y_test):
        part = "x_judge", "y_judge"
    x, y = (getattr(run.prepared, name)[:_MOST_POINTS] for name in part)
    target = run.model.target
    predicted, true = np.array(target.inverse(run.model.network.predict(x))), np.array(target.inverse(y))
    return "<h2>Predicted and true values</h2>" + _plot("predicted", "true", [("points", predicted, true)], diagonal=True)


def _importance(run: Run, most: int = 30) -> str:
    if run.importance is None:
        return "<p>There are too few rows to measure it.</p>"
    names, means = run.importance.names[:most], run.importance.mean[:most].tolist()
    largest = max(max(means), 1e-300)
    height = 22 * len(names)
    bars = [
        f'<text x="200" y="{22 * row + 15}" text-anchor="end">{escape(name[:30])}</text>'
        f'<rect x="208" y="{22 * row + 4}" width="{max(0.0, 300 * mean / largest):.1f}" height="14" fill="#2563eb"/>'
        f'<text x="{214 + max(0.0, 300 * mean / largest):.1f}" y="{22 * row + 15}">{mean:.3g}</text>'
        for row, (name, mean) in enumerate(zip(names, means, strict=True))
    ]
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="importance of the columns">{"".join(bars)}</svg>'


def _training(run: Run) -> str:
    progress = run.progress
    layers = ", ".join(repr(layer) for layer in run.model.network.layers)
    return (
        f"<p>{len(progress.losses):,} of at most {progress.epochs:,} epochs in {progress.seconds:.1f} s; "
        f"epoch {progress.best_epoch} was the best, {escape(progress.end)}. Network: {escape(layers)}.</p>"
    )


def _curves(run: Run) -> str:
    epochs = np.arange(1, 1 + len(run.progress.losses))
    losses = {"training": np.array(run.progress.training_losses), "validation": np.array(run.progress.losses)}
    with np.errstate(divide="ignore"):
        lines = [(name, epochs, np.log10(values)) for name, values in losses.items()]
    return _plot("epoch", "log10 of the loss", lines)


def _diagnosis(run: Run) -> str:
    """What `diagnose` finds, with the evidence and the remedy of each."""
    prepared = run.prepared
    learn, judge = (
        (x[:_MOST_DIAGNOSED], y[:_MOST_DIAGNOSED])
        for x, y in ((prepared.x_learn, prepared.y_learn), (prepared.x_judge, prepared.y_judge))
    )
    kept = slice(run.progress.best_epoch)  # what came later is not in the model
    history = {"loss": run.progress.training_losses[kept], "val_loss": run.progress.losses[kept]}
    report = diagnose(run.model.network, *learn, optimizer=run.optimizer, history=history, validation_data=judge)
    return report._repr_html_()


def _plot(x_name: str, y_name: str, series: Sequence[tuple[str, Any, Any]], diagonal: bool = False) -> str:
    """Lines with a name, or points, in axes from the least to the greatest value."""
    xs, ys = (np.concatenate([np.asarray(one[axis], np.float64) for one in series]) for axis in (1, 2))
    keep = np.isfinite(xs) & np.isfinite(ys)
    if not keep.any():
        return ""
    low_x, high_x, low_y, high_y = xs[keep].min(), xs[keep].max(), ys[keep].min(), ys[keep].max()
    if diagonal:
        low_x = low_y = min(low_x, low_y)
        high_x = high_y = max(high_x, high_y)

    def across(x: Any) -> Any:
        return _MARGIN + (x - low_x) / ((high_x - low_x) or 1) * (_WIDTH - 2 * _MARGIN)

    def down(y: Any) -> Any:
        return _HEIGHT - _BOTTOM - (y - low_y) / ((high_y - low_y) or 1) * (_HEIGHT - _TOP - _BOTTOM)

    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _MARGIN
    drawn = [f'<path d="M{_MARGIN} {_TOP}V{bottom}H{right}" fill="none" stroke="#888"/>']
    if diagonal:
        drawn.append(f'<path d="M{_MARGIN} {bottom}L{right} {_TOP}" stroke="#888" stroke-dasharray="4 4"/>')
    for number, (name, x, y) in enumerate(series):
        colour = ("#2563eb", "#b45309")[number % 2]
        points = [(a, b) for a, b in zip(across(x), down(y), strict=True) if np.isfinite(a) and np.isfinite(b)]
        if name == "points":
            drawn += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2" fill="{colour}" fill-opacity=".5"/>' for a, b in points]
        else:
            line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            drawn.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
            drawn.append(f'<text x="{right - 80}" y="{_TOP + 14 * number}" style="fill:{colour}">{escape(name)}</text>')
    drawn += [
        f'<text x="{_MARGIN}" y="{bottom + 16}">{_tick(low_x)}</text>',
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{_tick(high_x)}</text>',
        f'<text x="{_WIDTH / 2}" y="{bottom + 32}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text x="{_MARGIN - 4}" y="{bottom}" text-anchor="end">{_tick(low_y)}</text>',
        f'<text x="{_MARGIN - 4}" y="{_TOP + 4}" text-anchor="end">{_tick(high_y)}</text>',
        f'<text x="{_MARGIN}" y="{_TOP - 14}">{escape(y_name)}</text>',
    ]
    label = f"{y_name} by {x_name}"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(drawn)}</svg>'


def _encoding(feature: Feature) -> str:
    flag = "; missing values are flagged" if feature.flagged else ""
    if isinstance(feature, NumericFeature):
        bounded = ", bounded smoothly" if feature.clip else ""
        return f"(value - {feature.centre:.6g}) / {feature.scale:.6g}{bounded}{flag}"
    if isinstance(feature, CategoricalFeature):
        return f"{len(feature.categories)} of {feature.seen} values have an input of their own{flag}"
    if isinstance(feature, DateFeature):
        return f"{', '.join(feature.parts)}{flag}"
    return f"1 for true, 0 for false{flag}"


def _tick(value: float) -> str:
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
