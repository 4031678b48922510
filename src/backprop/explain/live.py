"""The laboratory: one self-contained HTML file in which a network is trained in the browser, and every number can be looked at."""

from __future__ import annotations

import csv
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from .._files import check_outputs, replace_file
from ..datasets import digits
from .inline import Page

DATA = ("xor", "circles", "spirals", "gauss", "moons", "regression", "digits")
"""The data sets that are part of the laboratory."""
MAX_TABLE = 400_000
"""The most characters of a table that the page takes."""

_SHARED = ("basics.js", "maps.js", "charts.js")
_SCRIPTS = (
    "say", "engine", "data", "session", "state", "formulas", "numbers", "drawing", "board", "walk", "chain", "story", "worksheet",
    "controls", "main",
)  # fmt: skip
_GLOSSARY = ("weight", "bias", "z", "loss", "gradient", "delta", "rate", "batch", "test", "r2")
_IMAGES = 900
"""How many of the digits the page holds."""


def _one_of(*names: str) -> Callable[[Any], str | None]:
    return lambda value: value if value in names else None


def _number(low: float, high: float) -> Callable[[Any], str | None]:
    def read(value: Any) -> str | None:
        fits = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and low <= value <= high
        return f"{float(value)!r}".removesuffix(".0") if fits else None

    return read


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _integer(low: int, high: int) -> Callable[[Any], str | None]:
    def read(value: Any) -> str | None:
        return str(int(value)) if _is_whole(value) and low <= value <= high else None

    return read


def _widths(value: Any) -> str | None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return None
    fits = len(value) <= 6 and all(_is_whole(n) and 1 <= n <= 16 for n in value)
    return ",".join(str(int(n)) for n in value) or "none" if fits else None


def _listed(value: Any) -> list[Any]:
    """Names in a list, or in a text with commas; None is none of them."""
    if isinstance(value, str):
        return value.split(",")
    return list(value) if isinstance(value, Iterable) else [None]


def _names(value: Any) -> str | None:
    parts = _listed(value)
    return ",".join(parts) if all(part in HIDE for part in parts) else None


HIDE = (
    "intro", "data", "features", "noise", "test", "seed", "hidden", "activation", "init", "loss", "optimizer", "lr", "batch", "l2",
    "clip", "speed", "steps", "output", "curves", "units", "expect", "walk", "ask", "nudge", "chain", "words", "summary", "reset",
    "settings",
)  # fmt: skip
"""The parts that ``hide`` can leave out."""

FEATURES = ("x1", "x2", "x1x1", "x2x2", "x1x2", "sinx1", "sinx2")
"""The inputs that a network may see of a point of the plane."""


def _features(value: Any) -> str | None:
    names = _listed(value)
    return ",".join(names) if names and len({*names}) == len(names) and {*names} <= {*FEATURES} else None


STATE: dict[str, tuple[Callable[[Any], str | None], str]] = {
    "features": (_features, f"some of {', '.join(FEATURES)}"),
    "noise": (_number(0, 0.6), "a number from 0 to 0.6"),
    "test": (_number(0, 0.5), "a share from 0 to 0.5"),
    "hidden": (_widths, "up to 6 whole numbers from 1 to 16"),
    "activation": (
        _one_of("tanh", "relu", "leaky_relu", "sigmoid", "gelu", "identity"),
        "tanh, relu, leaky_relu, sigmoid, gelu or identity",
    ),
    "init": (
        _one_of("auto", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal", "normal", "zeros"),
        "auto, glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_normal, normal or zeros",
    ),
    "loss": (_one_of("mse", "binary_cross_entropy", "cross_entropy"), "mse, binary_cross_entropy or cross_entropy"),
    "optimizer": (_one_of("sgd", "momentum", "rmsprop", "adam"), "sgd, momentum, rmsprop or adam"),
    "lr": (_number(1e-5, 100), "a number from 1e-5 to 100"),
    "batch": (_integer(1, 2000), "a whole number from 1 to 2000"),
    "l2": (_number(0, 1), "a number from 0 to 1"),
    "clip": (_number(0, 100), "a number from 0 (off) to 100"),
    "seed": (_integer(0, 10**9), "a whole number from 0 to 1e9"),
    "epoch": (_integer(0, 100_000), "a whole number from 0 to 100000"),
    "speed": (_one_of("1", "4", "15", "60", "1000"), "'1', '4', '15', '60' or '1000' epochs a second"),
    "example": (_integer(0, 10**6), "a row of the training set, from 0"),
    "step": (_integer(0, 1000), "a whole number from 0"),
    "unit": (_integer(0, 64), "a whole number from 0"),
    "weight": (lambda v: v if isinstance(v, str) and re.fullmatch(r"\d+\.\d+\.\d+", v) else None, "'layer.from.to', from 0"),
    "nudge": (_number(-1e6, 1e6), "a number"),
    "language": (_one_of("words", "math", "numpy"), "words, math or numpy"),
    "rows": (_one_of("one", "all"), "one or all"),
    "lens": (lambda v: v if isinstance(v, str) and re.fullmatch(r"\d+\.\d+", v) else None, "'layer.unit', layer 0 is the input"),
    "scene": (_one_of("train", "walk", "chain"), "train, walk or chain"),
    "hide": (_names, f"names out of {', '.join(HIDE)}"),
    "present": (lambda v: "" if v is True else None, "True"),
}
"""What a link to the laboratory can say, beside ``data``: how a value is read, and what is allowed."""


def laboratory(out: str | PathLike[str] | None = None, data: str = "xor", *, target: str | None = None, **state: Any) -> Page:
    """Make the laboratory, a page in which a network learns while one watches and changes it.

    The page is one file that loads nothing. All that can be chosen on it stands in its address, after ``#``, so that a lesson
    links to a state; `state` is the state that it opens in where its address says nothing.

    Parameters
    ----------
    out : path, optional
        Where to write the page.
    data : str
        ``"xor"``, ``"circles"``, ``"spirals"``, ``"gauss"``, ``"moons"``, ``"regression"``, ``"digits"``, or the name of a CSV
        file with a header, which becomes part of the page.
    target : str, optional
        The column of a CSV file to predict; the last one when None.
    **state : Any
        ``features`` (of points in the plane: x1, x2, x1x1, x2x2, x1x2, sinx1, sinx2), ``hidden`` (widths), ``activation``,
        ``init``, ``loss``, ``optimizer``, ``lr``, ``batch``, ``l2``, ``clip``, ``noise``,
        ``test`` (share), ``seed``; ``epoch``: how far the network is trained when the page opens; ``example``, ``step``, ``unit``,
        ``weight``, ``nudge``, ``language``, ``rows``, ``lens``: where the reader looks; ``hide``: parts to leave out;
        ``present=True``: for a projector.

    Returns
    -------
    Page
        The HTML text; a notebook shows the page itself.

    Raises
    ------
    TypeError
        For a name that is no part of the state.
    ValueError
        For a value that is not allowed, and for data that are none of the above; if `out` is the file of the data.

    Examples
    --------
    >>> from backprop.explain import laboratory
    >>> page = laboratory(data="spirals", optimizer="adam", hide=["seed", "init"])
    >>> page.startswith("<!doctype html>")
    True
    """
    check_outputs([out], [] if data in DATA else [data])
    config: dict[str, Any] = {"digits": _digits(), "hash": state_hash(data, **state)}
    if data not in DATA:
        config |= _table(data, target)
    elif target is not None:
        raise ValueError(f"target names a column of a CSV file; data {data!r} has none")
    text = Page(_page(config))
    if out is not None:
        replace_file(out, text.encode())
    return text


def state_hash(data: str = "xor", **state: Any) -> str:
    """What stands after the page's address for a state: ``#data=spirals&lr=0.1``.

    Examples
    --------
    >>> state_hash("circles", hidden=(4, 4), lr=0.1, present=True)
    '#data=circles&hidden=4,4&lr=0.1&present'
    """
    parts = [] if data == "xor" else [f"data={data if data in DATA else 'csv'}"]
    for name, value in state.items():
        if name not in STATE:
            raise TypeError(f"the laboratory has no {name!r}; its state has data, {', '.join(STATE)}")
        read, allowed = STATE[name]
        text = read(value)
        if text is None:
            raise ValueError(f"{name} must be {allowed}, got {value!r}")
        parts.append(f"{name}={quote(text, safe=',')}" if text else name)
    return f"#{'&'.join(parts)}" if parts else ""


def _table(path: str, target: str | None) -> dict[str, Any]:
    if not Path(path).suffix and not Path(path).exists():
        raise ValueError(f"data must be {', '.join(DATA)} or a CSV file, got {path!r}")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} must be a CSV file in UTF-8, the encoding that pages have") from None
    if len(text) > MAX_TABLE:
        raise ValueError(f"{path} has {len(text)} characters; the laboratory takes tables of up to {MAX_TABLE}")
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)  # as the page does it
    head = [name.strip() or f"column {number}" for number, name in enumerate(next(csv.reader([first], delimiter=separator), []), 1)]
    if target is not None and target not in head:
        raise ValueError(f"target must be one of the columns {', '.join(head)}, got {target!r}")
    return {"csv": text, "target": target}


def _digits() -> dict[str, Any]:
    """Images that ship with the package: 64 bytes each from 0 to 16."""
    (images, labels), _ = digits()
    pixels = np.rint(16 * images[:_IMAGES]).astype(np.uint8)
    return {
        "count": len(pixels),
        "pixels": b64encode(pixels.tobytes()).decode(),
        "labels": "".join(map(str, labels[:_IMAGES])),
    }


def _page(config: dict[str, Any]) -> str:
    words = json.loads(_asset("lab/words.json"))
    glossary = [f"    <dt>{escape(words[f'word.{key}'])}</dt><dd>{escape(words[f'word.{key}.text'])}</dd>" for key in _GLOSSARY]
    text = _asset("lab/page.html").replace("<!--glossary-->", "\n".join(glossary))
    text = re.sub(r"\{\{([\w.]+)\}\}", lambda found: escape(words[found[1]]), text)
    script = [_asset(name) for name in _SHARED] + [_asset(f"lab/{name}.js") for name in _SCRIPTS]
    parts = {
        "/*style*/": _asset("drawing.css") + _asset("page.css") + _asset("lab/lab.css"),
        "<!--words-->": _json(words),
        "<!--data-->": _json(config),
        "/*script*/": '"use strict";\n' + "\n".join(part.removeprefix('"use strict";\n') for part in script),
    }
    for hole, part in parts.items():
        text = text.replace(hole, part, 1)
    return text


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", *name.split("/")).read_text(encoding="utf-8")
