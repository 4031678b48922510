"""A pytest plugin: scikit-learn's own tests of its multi-layer perceptrons, on the estimators of this package.

``python -m pytest -p in_place_of_sklearn --pyargs sklearn.neural_network.tests.test_mlp`` runs them, with ``tests`` on the path.
"""

from __future__ import annotations

import pytest

LEFT_OUT = {
    "test_gradient": "it calls the private method _loss_grad_lbfgs",
}


def pytest_configure() -> None:
    """Put the estimators in the place of scikit-learn's; to import this file changes nothing."""
    import sklearn.neural_network

    from backprop import estimators

    sklearn.neural_network.MLPClassifier = estimators.MLPClassifier
    sklearn.neural_network.MLPRegressor = estimators.MLPRegressor


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what reads private attributes that only scikit-learn's classes have."""
    left_out = [item for item in items if item.name.split("[")[0] in LEFT_OUT]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
