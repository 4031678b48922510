"""The drawings of the guide, with numbers that the library computes. Sphinx runs this file when it builds the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

import backprop as bp

STYLE = """<style>
text{font:14px system-ui,sans-serif;fill:#1f2937} .small{font-size:12px;fill:#4b5563} .head{font-weight:600}
.node{fill:#f3f4f6;stroke:#6b7280;stroke-width:1.5} .line{fill:none;stroke:#9ca3af;stroke-width:1.5}
.forward{fill:none;stroke:#2563eb;stroke-width:2} .backward{fill:none;stroke:#c2410c;stroke-width:2}
.blue{fill:#1d4ed8} .red{fill:#b03a08} .tipf{fill:#2563eb} .tipb{fill:#c2410c}
@media (prefers-color-scheme:dark){text{fill:#e5e7eb}.small{fill:#b6bcc6}.node{fill:#1f2937;stroke:#9ca3af}.line{stroke:#6b7280}
.forward{stroke:#60a5fa}.backward{stroke:#fb923c}.blue{fill:#93c5fd}.red{fill:#fdba74}.tipf{fill:#60a5fa}.tipb{fill:#fb923c}}
</style><defs>
<marker id="f" viewBox="0 0 8 8" refX="7" refY="4" markerUnits="userSpaceOnUse" markerWidth="11" markerHeight="11" orient="auto">
<path class="tipf" d="M0 0L8 4L0 8Z"/></marker>
<marker id="b" viewBox="0 0 8 8" refX="7" refY="4" markerUnits="userSpaceOnUse" markerWidth="11" markerHeight="11" orient="auto">
<path class="tipb" d="M0 0L8 4L0 8Z"/></marker>
</defs>"""


def svg(width: float, height: float, parts: Iterable[str], title: str) -> str:
    """Return a drawing with a transparent background that follows the reader's light or dark mode."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, STYLE, *parts, "</svg>\n"])


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, *lines: str) -> str:
    """A box around its centre (x, y), with a line in bold and smaller ones below it."""
    top = y - 8 * (len(lines) - 1) + 5
    texts = [_text(x, top + 17 * number, line, "small" if number else "head") for number, line in enumerate(lines)]
    rectangle = f'<rect class="node" rx="7" x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}"/>'
    return rectangle + "".join(texts)


def _arrow(x1: float, y1: float, x2: float, y2: float, kind: str, width: float = 2.0) -> str:
    tip = f' marker-end="url(#{kind[0]})"' if kind != "line" else ""
    return f'<path class="{kind}" style="stroke-width:{width:.2f}" d="M{x1:g} {y1:g}L{x2:g} {y2:g}"{tip}/>'


def example() -> bp.Network:
    """The network of the worked example."""
    net = bp.mlp([2, 2, 2], activation="sigmoid", output_activation="sigmoid", dtype="float64", seed=0)
    net.parameters = [0.15, 0.25, 0.20, 0.30, 0.35, 0.35, 0.40, 0.50, 0.45, 0.55, 0.60, 0.60]
    return net


def traced() -> bp.explain.Trace:
    """One step of the worked example."""
    return bp.trace(example(), [[0.05, 0.10]], [[0.01, 0.99]], loss="half_mse", optimizer=bp.SGD(lr=0.5))


def loop() -> str:
    """The four parts of a training step, in a circle."""
    places = {
        "forward pass": (150, 60, "inputs become outputs"),
        "error": (450, 60, "how wrong are they?"),
        "backward pass": (450, 190, "whose share is it?"),
        "update": (150, 190, "each weight moves a little"),
    }
    parts = [_box(x, y, 220, 56, name, remark) for name, (x, y, remark) in places.items()]
    parts += [
        _arrow(262, 60, 336, 60, "forward"),
        _arrow(450, 90, 450, 160, "forward"),
        _arrow(338, 190, 264, 190, "backward"),
        _arrow(150, 160, 150, 92, "backward"),
        _text(300, 130, "again and again", "small"),
    ]
    return svg(600, 250, parts, "A training step: forward pass, error, backward pass, update, and again")


def both_ways() -> str:
    """The worked example with its activations forward and its error signals backward."""
    step = traced()
    xs, ys = (60.0, 250.0, 470.0), (70.0, 190.0)
    values = (np.array([[0.05, 0.10]]), step["layers.0.a"], step["layers.1.a"])
    parts: list[str] = []
    for left, right in ((0, 1), (1, 2)):
        for y1 in ys:
            for y2 in ys:
                parts.append(_arrow(xs[left] + 30, y1, xs[right] - 34, y2, "forward", 1.5))
    for column, (x, value) in enumerate(zip(xs, values, strict=True)):
        for row, y in enumerate(ys):
            parts.append(f'<circle class="node" cx="{x:g}" cy="{y:g}" r="30"/>')
            parts.append(_text(x, y + 5, f"{value[0, row]:.3f}", "blue"))
            if column:
                delta = step[f"layers.{column - 1}.delta"][0, row]
                parts.append(_text(x, y + 48, f"\u03b4 = {delta:+.4f}", "red"))
    parts += [_text(x, 24, name, "head") for x, name in zip(xs, ("inputs", "hidden", "outputs"), strict=True)]
    parts.append(_box(640, 130, 150, 60, f"loss {step.loss:.4f}", "wanted 0.01 and 0.99"))
    for y in ys:
        parts.append(_arrow(502, y, 563, 130 + (y - 130) / 4, "forward", 1.5))
    parts += [
        _arrow(600, 268, 100, 268, "backward"),
        _text(350, 290, "the error signal goes back, over the same weights", "red"),
        _arrow(100, 306, 600, 306, "forward"),
        _text(350, 328, "activations go forward", "blue"),
    ]
    return svg(720, 340, parts, "The worked example: activations go forward, error signals go back over the same weights")


def chain_rule() -> str:
    """The way from one weight to the loss, with a factor on each link."""
    step = traced()
    a, slope, error = step["layers.0.a"][0, 0], step["layers.1.slope"][0, 0], step["layers.1.grad_a"][0, 0]
    names = (("w5", "a weight"), ("z", "the sum"), ("a", "the output"), ("L", "the loss"))
    factors = (("dz/dw5 = hidden a", a), ("da/dz = a (1 - a)", slope), ("dL/da = a - target", error))
    parts = [_box(70 + 190 * number, 60, 92, 56, *lines) for number, lines in enumerate(names)]
    for number, (formula, value) in enumerate(factors):
        x = 165 + 190 * number
        parts += [
            _arrow(x - 47, 60, x + 45, 60, "forward"),
            _text(x, 112, formula, "small"),
            _text(x, 134, f"{value:.6f}", "red"),
        ]
    parts.append(_text(355, 176, f"dL/dw5 = {a:.6f} \u00d7 {slope:.6f} \u00d7 {error:.6f} = {a * slope * error:.6f}", "head"))
    return svg(710, 196, parts, "The chain rule: the derivative of the loss by a weight is the product of the factors on its way")


def shrinking() -> str:
    """How the largest possible error signal shrinks through layers of sigmoid, and does not through relu."""
    parts: list[str] = []
    for row, (name, factor) in enumerate((("sigmoid: at most 1/4 a layer", 0.25), ("relu: 1 where a unit is active", 1.0))):
        y = 60 + 100 * row
        parts.append(_text(20, y - 32, name, "head", "start"))
        for layer in range(8, 0, -1):
            x = 20 + 80 * (layer - 1)
            share = factor ** (8 - layer)
            parts.append(f'<circle class="node" cx="{x + 58:g}" cy="{y:g}" r="14"/>' + _text(x + 58, y + 5, str(layer), "small"))
            if layer > 1:
                parts.append(_arrow(x + 42, y, x - 6, y, "backward", max(0.25, 7 * share)))
            parts.append(_text(x + 58, y + 32, f"{share:.2g}" if share > 0.01 else f"{share:.0e}", "small"))
    parts.append(_text(655, 128, "from the loss", "small", "end"))
    return svg(680, 200, parts, "Through layers of sigmoid the error signal shrinks to nothing; through relu it keeps its size")


def order() -> str:
    """The order of a step: all of one pass, then all of the next."""
    lanes = ("forward", "error", "backward", "update")
    cells = (("layer 1", "layer 2", "layer 3"), ("loss, dL/da",), ("layer 3", "layer 2", "layer 1"), ("all weights",))
    parts: list[str] = []
    for row, (lane, steps) in enumerate(zip(lanes, cells, strict=True)):
        y = 34 + 58 * row
        kind = "backward" if row > 1 else "forward"
        parts.append(_text(14, y + 5, lane, "head", "start"))
        for number, name in enumerate(steps):
            x = 180 + 150 * number
            parts.append(_box(x, y, 116, 36, name))
            if number:
                parts.append(_arrow(x - 92, y, x - 60, y, kind))
    return svg(560, 240, parts, "The order of a step: forward through all layers, error, backward through all layers, update")


def valley() -> str:
    """Descent in a narrow valley, with and without momentum."""
    parts: list[str] = []
    for column, momentum in enumerate((0.0, 0.6)):
        cx, cy = 165 + 330 * column, 110
        for level in (0.25, 0.5, 0.75, 1.0):
            parts.append(f'<ellipse class="line" cx="{cx}" cy="{cy}" rx="{145 * level:g}" ry="{52 * level:g}"/>')
        w, velocity, points = np.array([-1.0, 0.75]), np.zeros(2), []
        for _ in range(14):
            points.append((cx + 140 * w[0], cy + 60 * w[1]))
            velocity = momentum * velocity + w * np.array([0.08, 1.0])
            w = w - (1.85 if momentum == 0 else 0.9) * velocity
        parts.append('<path class="backward" marker-end="url(#b)" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + '"/>')
        parts.append(_text(cx, 200, "plain descent zigzags" if momentum == 0 else "momentum cuts the corners", "head"))
    return svg(660, 214, parts, "Descent in a narrow valley: the plain way zigzags, momentum follows the valley")


def curves() -> str:
    """Four pairs of learning curves, and what they say."""
    t = np.linspace(0, 1, 40)
    kinds: Sequence[tuple[str, np.ndarray, np.ndarray]] = (
        ("healthy", np.exp(-4 * t), 0.08 + np.exp(-3.6 * t)),
        ("underfitting", 0.62 + 0.3 * np.exp(-6 * t), 0.66 + 0.3 * np.exp(-6 * t)),
        ("overfitting", np.exp(-5 * t), 0.25 + 0.75 * np.exp(-7 * t) + 0.6 * t**2),
        ("diverging", 0.5 + 0.02 * np.exp(6 * t**3) * (1 + 0.6 * np.sin(30 * t)), 0.55 + 0.02 * np.exp(6.2 * t**3)),
    )
    parts: list[str] = []
    for column, (name, training, validation) in enumerate(kinds):
        x0, y0 = 20 + 170 * column, 120
        parts.append(f'<path class="line" d="M{x0} 20V{y0}H{x0 + 145}"/>' + _text(x0 + 72, y0 + 24, name, "head"))
        for kind, values in (("forward", training), ("backward", validation)):
            points = "L".join(f"{x0 + 145 * a:.1f} {y0 - 85 * min(b, 1.15):.1f}" for a, b in zip(t, values, strict=True))
            parts.append(f'<path class="{kind}" d="M{points}"/>')
    parts += [_text(20, 176, "training loss", "blue", "start"), _text(130, 176, "validation loss", "red", "start")]
    return svg(700, 186, parts, "Learning curves of a healthy, an underfitting, an overfitting and a diverging run")


DRAWINGS = (loop, both_ways, chain_rule, shrinking, order, valley, curves)


def write(folder: Path) -> None:
    """Write every drawing."""
    folder.mkdir(parents=True, exist_ok=True)
    for drawing in DRAWINGS:
        (folder / f"{drawing.__name__}.svg").write_text(drawing(), encoding="utf-8")
