"""The network as a drawing: units in columns, connections whose width is the weight and whose dash is its sign.

Colours come from a style sheet, so that the page can follow the reader's light or dark mode; a standalone drawing carries its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from .steps import Column, columns
from .trace import Trace

MAX_EDGE_WIDTH = 5.0
MIN_EDGE_WIDTH = 0.6


class Layout(NamedTuple):
    """Where everything stands, in the drawing's own units."""

    width: float
    height: float
    radius: float
    tall: bool
    units: tuple[tuple[tuple[float, float], ...], ...]
    """(x, y) of each unit of each column."""
    loss: tuple[float, float]


def arrange(shown: Sequence[Column], *, tall: bool = False) -> Layout:
    """Place the columns from left to right, or for narrow screens (`tall`) from top to bottom."""
    most = max(len(column.units) for column in shown)
    if tall:
        width = 360.0
        spacing = min(84.0, (width - 8) / most)
        radius = min(22.0, spacing * 0.46)
        step = radius * 2 + 50
        lanes = [radius + 18 + step * number for number in range(len(shown))]
        beside = len(shown[-1].units) <= 2  # room for the loss next to the outputs
        height = lanes[-1] + radius + (46 if beside else 112)
        centers = [width / 2] * (len(shown) - 1) + [width / 2 - 40 * beside]
        units = tuple(
            tuple((center + (k - (len(column.units) - 1) / 2) * spacing, lane) for k in range(len(column.units)))
            for column, lane, center in zip(shown, lanes, centers, strict=True)
        )
        return Layout(width, height, radius, tall, units, (width - 50, lanes[-1]) if beside else (width / 2, height - 28))
    spacing = 82.0 if most <= 5 else 66.0 if most <= 8 else 54.0
    radius = 25.0 if most <= 5 else 22.0 if most <= 8 else 19.0
    height = max(300.0, spacing * most + 64)
    width = max(670.0, 150.0 * len(shown) + 215)
    step = (width - 280) / (len(shown) - 1)
    middle = (height + 30) / 2
    units = tuple(
        tuple((56 + step * number, middle + (k - (len(column.units) - 1) / 2) * spacing) for k in range(len(column.units)))
        for number, column in enumerate(shown)
    )
    return Layout(width, height, radius, tall, units, (width - 58, middle))


def draw(shown: Sequence[Column], layout: Layout) -> str:
    """The drawing without numbers: every part has an address (``data-unit="1-0"``, ``data-edge="1-0-3"``) to be filled in by."""
    out = [
        f'<svg class="net {"tall" if layout.tall else "wide"}" viewBox="0 0 {layout.width:g} {layout.height:g}" role="group" '
        'aria-label="The network: units in columns, connected from one column to the next">'
    ]
    out.append('<g class="edges">')
    out += [
        f'<line class="edge" data-edge="{address}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'
        for address, x1, y1, x2, y2 in _edges(shown, layout)
    ]
    lx, ly = layout.loss
    for x, y in layout.units[-1]:
        below = ly > y + layout.radius + 24
        end = (x, y + layout.radius, lx, ly - 24) if below else (x + layout.radius, y, lx - 44, ly)
        out.append('<line class="edge plain" x1="{:g}" y1="{:g}" x2="{:g}" y2="{:g}"/>'.format(*end))
    out.append('</g><g class="flow" aria-hidden="true"></g>')
    out += [_heading(column, places, layout) for column, places in zip(shown, layout.units, strict=True)]
    for number, (column, places) in enumerate(zip(shown, layout.units, strict=True)):
        out += [_unit(number, unit, place, column, layout) for unit, place in zip(column.units, places, strict=True)]
    for unit, (x, y) in zip(shown[-1].units, layout.units[-1], strict=True):
        x, y = (x, y + layout.radius + 26) if layout.tall else (x + layout.radius + 7, y - 3)
        second = f'x="{x:g}" dy="14"'
        out.append(f'<text class="tag" data-tag="{unit}" x="{x:g}" y="{y:g}"><tspan></tspan><tspan {second}></tspan></text>')
    out.append(
        f'<g class="loss" transform="translate({lx:g} {ly:g})"><rect x="-44" y="-24" width="88" height="48" rx="8"/>'
        '<text class="name" y="-6">loss</text><text class="value" data-loss="" y="13"></text></g>'
    )
    out.append('<g class="labels"></g></svg>')
    return "".join(out)


def _edges(shown: Sequence[Column], layout: Layout) -> list[tuple[str, float, float, float, float]]:
    """(address, x1, y1, x2, y2) of every connection, from rim to rim."""
    result = []
    for number in range(1, len(shown)):
        before, here = shown[number - 1], shown[number]
        sources, ends = layout.units[number - 1], layout.units[number]
        for i, source in zip(before.units, sources, strict=True):
            for j, end in zip(here.units, ends, strict=True):
                if here.connected or i == j:
                    result.append((f"{number}-{i}-{j}", *_between(source, end, layout)))
        if here.skip is not None:
            for i, source in zip(shown[here.skip].units, layout.units[here.skip], strict=True):
                result += [
                    (f"{number}-skip-{i}", *_between(source, end, layout))
                    for j, end in zip(here.units, ends, strict=True)
                    if i == j
                ]
    return result


def _between(source: tuple[float, float], end: tuple[float, float], layout: Layout) -> tuple[float, float, float, float]:
    if layout.tall:
        return source[0], source[1] + layout.radius, end[0], end[1] - layout.radius
    return source[0] + layout.radius, source[1], end[0] - layout.radius, end[1]


def _heading(column: Column, places: Sequence[tuple[float, float]], layout: Layout) -> str:
    left_out = column.size - len(column.units)
    text = column.label + (f", {len(column.units)} of {column.size}" if left_out else "")
    text += f" · {column.detail}" if column.detail and (layout.tall or not left_out) else ""
    if layout.tall:
        return f'<text class="heading" x="4" y="{places[0][1] - layout.radius - 9:g}">{escape(text)}</text>'
    return f'<text class="heading" x="{places[0][0]:g}" y="16">{escape(text)}</text>'


def _unit(number: int, unit: int, place: tuple[float, float], column: Column, layout: Layout) -> str:
    radius = layout.radius
    return (
        f'<g class="unit" data-unit="{number}-{unit}" transform="translate({place[0]:g} {place[1]:g})" role="button" tabindex="-1" '
        f'aria-label="{escape(column.label)}, unit {unit + 1}"><circle r="{radius:g}"/>'
        f'<text class="value" dy=".35em"></text>'
        f'<text class="gradient" y="{radius + 12:g}"></text></g>'
    )


def standalone(trace: Trace, row: int = 0) -> str:
    """The drawing of one row as an SVG file of its own: values in the units, gradients below them, weights on the connections."""
    shown = columns(trace, limit=10, row=row)
    layout = arrange(shown)
    text = draw(shown, layout)
    spot = {address: place for address, *place in _edges(shown, layout)}
    labels: list[str] = []
    few = len(spot) <= 48
    for number, column in enumerate(shown):
        layer = trace.layers[number - 1] if number else None
        gradient = None
        if layer is not None:
            gradient = next((role for role in ("delta", "grad_y") if role in layer.values), None)
        for unit in column.units:
            value = trace[column.value][row, unit]
            text = _fill(text, f'data-unit="{number}-{unit}"', f"{value:.3g}")
            if layer is not None and gradient is not None:
                text = _fill(text, f'data-unit="{number}-{unit}"', f"δ {layer.values[gradient][row, unit]:.3g}", "gradient")
        if column.connected:
            weight = trace[column.connected]
            largest = float(np.nanmax(np.abs(weight), initial=0.0)) or 1.0
            for i in shown[number - 1].units:
                for j in column.units:
                    address = f"{number}-{i}-{j}"
                    sign = "negative" if weight[i, j] < 0 else "positive"
                    width = max(MIN_EDGE_WIDTH, MAX_EDGE_WIDTH * float(np.nan_to_num(abs(weight[i, j]))) / largest)
                    text = text.replace(
                        f'class="edge" data-edge="{address}"',
                        f'class="edge {sign}" data-edge="{address}" stroke-width="{width:.2f}"',
                    )
                    if few:
                        x1, y1, x2, y2 = spot[address]
                        x, y = x1 + 0.3 * (x2 - x1), y1 + 0.3 * (y2 - y1)
                        labels.append(f'<text class="label" x="{x:g}" y="{y:g}" dy=".35em">{weight[i, j]:.3g}</text>')
    text = text.replace('data-loss="" y="13">', f'data-loss="" y="13">{trace.loss:.4g}')
    text = text.replace('<g class="labels">', '<g class="labels">' + "".join(labels))
    style = files(__package__).joinpath("assets", "drawing.css").read_text(encoding="utf-8")
    return text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f"><style>{style}</style>", 1)


def _fill(text: str, address: str, number: str, what: str = "value") -> str:
    """Write a number into the part of one unit."""
    start = text.index(f'<text class="{what}"', text.index(address))
    end = text.index(">", start) + 1
    return text[:end] + escape(number) + text[end:]
