"""ONNX graphs in the making: values with arithmetic, which writes nodes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._types import AnyArray
from ._program import in_dtype

FLOAT, INT64, DOUBLE = 1, 7, 11  # of TensorProto.DataType


class Node(NamedTuple):
    """One operation of the graph."""

    op: str
    domain: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


class Value:
    """A tensor of the graph: an input, an initializer, or what a node gives.

    Arithmetic with other values, numbers and arrays adds nodes to the graph: ``x * graph.constant(scale) + 1``. Numbers take the
    dtype of the graph. Shapes broadcast as in NumPy.

    Parameters
    ----------
    graph : Graph
        The graph it belongs to.
    name : str
        Its name there.

    Examples
    --------
    >>> from backprop.export import Graph
    >>> graph = Graph("float32")
    >>> graph.add("Tanh", graph.add("Relu", graph.constant([1.0])) * 2)
    Value('tanh')
    """

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.name = name

    def __add__(self, other: Operand) -> Value:
        return self.graph.add("Add", self, other)

    def __radd__(self, other: float | AnyArray) -> Value:
        return self.graph.add("Add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return self.graph.add("Sub", self, other)

    def __rsub__(self, other: float | AnyArray) -> Value:
        return self.graph.add("Sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return self.graph.add("Mul", self, other)

    def __rmul__(self, other: float | AnyArray) -> Value:
        return self.graph.add("Mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return self.graph.add("Div", self, other)

    def __rtruediv__(self, other: float | AnyArray) -> Value:
        return self.graph.add("Div", other, self)

    def __neg__(self) -> Value:
        return self.graph.add("Neg", self)

    def __repr__(self) -> str:
        return f"Value({self.name!r})"


Operand = Value | float | int | AnyArray


class Graph:
    """The nodes and initializers of an ONNX graph in the making; a handler of a custom layer adds to it.

    Parameters
    ----------
    dtype : dtype
        Of the numbers that have none of their own: "float32" or "float64".

    Attributes
    ----------
    nodes : list
        The operations, in order.
    initializers : dict of str to array
        The constants by name.

    Examples
    --------
    >>> from backprop.export import Graph
    >>> graph = Graph("float32")
    >>> x = graph.constant([[1.0, 2.0]], name="x")
    >>> graph.add("Clip", x * 2, 0.0, 3.0)
    Value('clip')
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[Node] = []
        self.initializers: dict[str, AnyArray] = {}
        self._shared: dict[tuple[str, str], Value] = {}
        self._taken: set[str] = set()

    def add(self, op: str, *inputs: Operand | None, domain: str = "", **attributes: Any) -> Value:
        """Add a node and return its (first and only) output.

        Parameters
        ----------
        op : str
            The operator's name in ONNX, such as "Gemm".
        *inputs : Value, number, array or None
            Its inputs in order; None leaves an optional one out.
        domain : str
            "" for the operators of ONNX itself.
        **attributes : int, float, str or list
            Its attributes.

        Returns
        -------
        Value
        """
        return self._node(op, inputs, self.name(op.lower()), domain, attributes)

    def finish(self, value: Value, name: str) -> None:
        """Let a value be an output of the graph.

        Parameters
        ----------
        value : Value
            What the output is.
        name : str
            The name of the output, as `name` gave it.
        """
        self._node("Identity", [value], name, "", {})

    def _node(self, op: str, inputs: Iterable[Operand | None], output: str, domain: str, attributes: dict[str, Any]) -> Value:
        names = ["" if given is None else self._value(given).name for given in inputs]
        self.nodes.append(Node(op, domain, names, output, attributes))
        return Value(self, output)

    def constant(self, values: npt.ArrayLike, name: str | None = None) -> Value:
        """Return the value of an array of numbers, booleans or text.

        Parameters
        ----------
        values : array-like
            Floats are cast to the dtype of the graph.
        name : str, optional
            The name of the initializer; without it, equal arrays share one.

        Returns
        -------
        Value
        """
        array = np.asarray(values)
        if array.dtype.kind == "f":
            array = in_dtype(array, self.dtype, name or "a constant")
        return self.exact(array, name)

    def exact(self, array: AnyArray, name: str | None = None) -> Value:
        """Return the value of an array in its own dtype.

        Parameters
        ----------
        array : array
            The numbers or texts.
        name : str, optional
            As for `constant`.

        Returns
        -------
        Value
        """
        key = (f"{array.dtype}{array.shape}", repr(array.tolist()))
        if name is None and key in self._shared:
            return self._shared[key]
        value = Value(self, self.name("constant" if name is None else name))
        self.initializers[value.name] = array
        if name is None:
            self._shared[key] = value
        return value

    def name(self, wanted: str) -> str:
        """Return a name that nothing in the graph has yet, the wanted one if possible.

        Parameters
        ----------
        wanted : str
            The name.

        Returns
        -------
        str
        """
        found, count = wanted, 1
        while found in self._taken:
            count += 1
            found = f"{wanted}_{count}"
        self._taken.add(found)
        return found

    def _value(self, given: Operand) -> Value:
        if isinstance(given, Value):
            if given.graph is not self:
                raise ValueError(f"{given!r} belongs to another graph")
            return given
        array = np.asarray(given)
        return self.exact(in_dtype(array, self.dtype, "an operand")) if array.dtype.kind in "iuf" else self.exact(array)
