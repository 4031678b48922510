"""C: numbers, texts and lists as source text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_LINE = 120
_QUOTIENTS = {"nan": "(0.0f / 0.0f)", "inf": "(1.0f / 0.0f)", "-inf": "(-1.0f / 0.0f)"}


def literal(value: float | np.floating[Any]) -> str:
    """Return the shortest decimal number that is this float32 again, as C writes it; a quotient for NaN and infinity.

    Examples
    --------
    >>> literal(np.float32(0.1)), literal(np.float32(3)), literal(np.float32(1e-20))
    ('0.1f', '3.0f', '1e-20f')
    """
    return literals(np.array([value]))[0]


def literals(values: npt.NDArray[Any]) -> list[str]:
    """Return `literal` of each number."""
    with np.errstate(over="ignore"):
        texts = values.astype(np.float32).ravel().astype(str).tolist()
    return [_QUOTIENTS.get(text, f"{text}f") for text in texts]


def string(text: str) -> str:
    r"""Return text as a C string in UTF-8, of ASCII characters.

    Examples
    --------
    >>> string('a "b" é')
    '"a \\"b\\" \\303\\251"'
    """
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{chr(byte)}" if byte in b'"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{plain}"'


def wrapped(items: Iterable[str], indent: str = "    ") -> str:
    """Return items separated by commas, in lines that are not too long."""
    lines, line = [], ""
    for item in items:
        if line and len(line) + len(item) + 2 > _LINE - len(indent):
            lines.append(line)
            line = ""
        line += f"{', ' if line else ''}{item}"
    return ",\n".join(indent + line for line in [*lines, line])
