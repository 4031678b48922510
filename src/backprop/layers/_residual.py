"""The residual connection: a block of layers plus its input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._arrays import check_list
from .._settings import Converted, fixed
from .._types import Array
from ._base import Layer, apply, apply_backward, apply_infer, chain_widths


def _checked_block(name: str, layers: Iterable[Layer]) -> tuple[Layer, ...]:
    block = tuple(check_list(name, layers, "layers"))
    if not block:
        raise ValueError(f"{name} must have at least one layer")
    for layer in block:
        if not isinstance(layer, Layer):
            raise TypeError(f"{name} must hold layers, got {layer!r}")
    return block


class Residual(Layer):
    """Add what a block of layers makes of x to x itself: ``y = x + block(x)``.

    Parameters
    ----------
    block : iterable of Layer
        The layers, in order; what goes in and what comes out must be equally wide.

    Notes
    -----
    Its gradient is ``grad_x = grad_y + block.backward(grad_y)``: the sum hands it on undiminished, however deep the network.
    `trainable` speaks for all layers of the block.

    He et al., "Deep residual learning for image recognition", CVPR 2016, arXiv:1512.03385.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> dense = bp.Dense(2, 2)
    >>> dense.weight = [[1.0, 0.0], [0.0, 2.0]]
    >>> bp.Residual([dense]).infer(np.array([[3.0, 5.0]]))
    array([[ 6., 15.]])
    """

    block: Converted[tuple[Layer, ...], Iterable[Layer]] = fixed(_checked_block)

    def __init__(self, block: Iterable[Layer]) -> None:
        self.block = block
        self.fan_in, self.fan_out = chain_widths(self.block, "block")
        if self.fan_in != self.fan_out:
            raise ValueError(f"block must be equally wide at both ends, got {self.fan_in} inputs and {self.fan_out} outputs")

    def children(self) -> dict[str, Layer]:
        """Return the layers of the block."""
        return {f"block.{index}": layer for index, layer in enumerate(self.block)}

    @property
    def trainable(self) -> bool:
        """Whether optimizers change any parameter of the block."""
        return any(layer.trainable for layer in self.block)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.block:
            layer.trainable = value

    def forward(self, x: Array, training: bool) -> Array:
        """Return ``x + block(x)``."""
        y = x
        for layer in self.block:
            y = apply(layer, y, training)
        return x + y

    def infer(self, x: Array) -> Array:
        """Return ``x + block(x)``, keeping nothing."""
        y = x
        for layer in self.block:
            y = apply_infer(layer, y)
        return x + y

    def backward(self, grad_outputs: Array) -> Array:
        """Let the block fill its gradients and return dL/dx."""
        grad = grad_outputs
        for layer in reversed(self.block):
            grad_x = apply_backward(layer, grad)
            assert grad_x is not None
            grad = grad_x
        return grad_outputs + grad

    def config(self) -> dict[str, Any]:
        """Return the keywords that make this layer again."""
        return {"block": self.block}

    def __repr__(self) -> str:
        return f"Residual([{', '.join(map(repr, self.block))}])"
