"""Tables and line charts as HTML, for notebooks; they need no other library and take the page's text colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("", "6 3", "2 3")
WIDTH, HEIGHT, LEFT, BOTTOM = 420, 200, 56, 34


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table of texts; the first row is the head, the first column names its rows."""
    head = "".join(f"<th style='text-align:right'>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for name, *cells in rows[1:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def line_chart(
    series: Mapping[str, Sequence[float]], *, x: Sequence[float] | None = None, xlabel: str = "epoch", marked: float | None = None
) -> str:
    """A chart with a line for each series over x, by default 1, 2, ...; values that are not finite leave gaps."""
    known = [value for values in series.values() for value in values if isfinite(value)]
    if not known:
        return "<p>There are no finite values to draw.</p>"
    most = max(map(len, series.values()))
    at = list(range(1, most + 1)) if x is None else list(x)
    left, right, low, high = float(min(at)), float(max(at)), min(known), max(known)
    right, high = (right if right > left else left + 1), (high if high > low else low + (abs(low) or 1.0))

    def place(across: float, up: float) -> str:
        px = LEFT + (across - left) / (right - left) * (WIDTH - LEFT - 12)
        py = 10 + (high - up) / (high - low) * (HEIGHT - BOTTOM - 16)
        return f"{px:.1f},{py:.1f}"

    parts = []
    for index, (name, values) in enumerate(series.items()):
        color, dash = COLORS[index % len(COLORS)], DASHES[index % len(DASHES)]
        for run in _runs(list(zip(at, values, strict=False))):
            points = " ".join(place(*point) for point in (run if len(run) > 1 else run * 2))
            parts.append(f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='2' stroke-dasharray='{dash}' "
                         "stroke-linecap='round'/>")  # fmt: skip
        parts.append(f"<text x='{LEFT + 8 + 100 * index}' y='{HEIGHT - 4}' fill='{color}'>{escape(name)} {values[-1]:.4g}</text>")
    if marked is not None:
        top, bottom = place(marked, high), place(marked, low)
        parts.append(f"<polyline points='{top} {bottom}' stroke='currentColor' stroke-dasharray='3 3'/>")
    axis = "".join(
        f"<text x='{LEFT - 6}' y='{y}' text-anchor='end' fill='currentColor'>{value:.3g}</text>"
        for y, value in ((14, high), (HEIGHT - BOTTOM, low))
    )
    base = HEIGHT - BOTTOM + 14
    axis += f"<text x='{LEFT}' y='{base}' fill='currentColor'>{xlabel} {at[0]:.3g}</text>"
    axis += f"<text x='{WIDTH - 12}' y='{base}' text-anchor='end' fill='currentColor'>{at[-1]:.3g}</text>"
    names = escape(", ".join(series), quote=True)
    return (
        f"<svg role='img' aria-label='{names} over {xlabel}' width='{WIDTH}' height='{HEIGHT}' font-size='12' "
        "font-family='sans-serif'>"
        f"{axis}{''.join(parts)}</svg>"
    )


def _runs(points: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The points between those that are not finite."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if isfinite(point[1]):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
