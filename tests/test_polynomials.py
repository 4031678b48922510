"""The polynomials in vmath.pxi are those that the script beside it derives."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("mpmath")

KERNELS = Path(__file__).parents[1] / "src" / "backprop" / "_kernels"
pytestmark = pytest.mark.skipif(not KERNELS.is_dir(), reason="needs the source tree")


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("polynomials", next(KERNELS.rglob("polynomials.py")))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _written(name: str) -> list[list[float]]:
    """The coefficients of a polynomial in vmath.pxi, for float32 and for float64."""
    source = next(KERNELS.rglob("vmath.pxi")).read_text(encoding="utf-8")
    body = source.split(f"cdef inline vector {name}(")[1].split("return p")[0]
    return [[float(number) for number in re.findall(r"like\(\w, ([^\s)]+)\)", part)] for part in body.split("else:")]


def test_coefficients_are_those_that_the_script_derives() -> None:
    script = _script()
    for polynomial in script.POLYNOMIALS:
        for dtype, written in zip(("float32", "float64"), _written(polynomial.name), strict=True):
            derived = [float(coefficient) for coefficient in polynomial.coefficients(dtype)]
            assert written == pytest.approx(derived, rel=1e-14, abs=1e-22), (polynomial.name, dtype)
