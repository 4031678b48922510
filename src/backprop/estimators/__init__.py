"""Estimators for scikit-learn: multi-layer perceptrons in place of its own.

They need scikit-learn 1.6 or later, which ``pip install 'backprop[sklearn]'`` brings along.
"""

try:
    import sklearn
except ImportError as error:
    raise ImportError("backprop.estimators needs scikit-learn 1.6 or later: pip install 'backprop[sklearn]'") from error

if tuple(int(part) for part in sklearn.__version__.split(".")[:2]) < (1, 6):
    raise ImportError(
        f"backprop.estimators needs scikit-learn 1.6 or later, found {sklearn.__version__}: pip install -U 'backprop[sklearn]'"
    )

from ._files import from_sklearn, load, save, to_sklearn
from ._mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn", "load", "save", "to_sklearn"]


def __dir__() -> list[str]:
    return sorted(__all__)
