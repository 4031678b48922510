"""Trained networks for programs without Python: ONNX models, C files, JavaScript modules."""

from ._c import c
from ._graph import Graph, Value
from ._javascript import js
from ._onnx import onnx

__all__ = ["Graph", "Value", "c", "js", "onnx"]


def __dir__() -> list[str]:
    return sorted(__all__)
