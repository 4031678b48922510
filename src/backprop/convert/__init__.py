"""Networks from PyTorch, scikit-learn and Keras, and back; none of them is imported unless a result needs it."""

from ._keras import from_keras
from ._sklearn import from_sklearn, to_sklearn
from ._torch import from_torch, to_torch_state_dict

__all__ = ["from_keras", "from_sklearn", "from_torch", "to_sklearn", "to_torch_state_dict"]


def __dir__() -> list[str]:
    return sorted(__all__)
