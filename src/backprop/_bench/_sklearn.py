"""scikit-learn."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .kernel_cases import KernelCase
from .long_runs import LongRun
from .network_cases import NetworkCase
from .peers import NotOfferedError
from .timing import Run


class ScikitLearn:
    """MLPClassifier, whose steps are calls of partial_fit; it checks its input at every call."""

    def __init__(self, threads: int) -> None:
        self.networks: Any = import_module("sklearn.neural_network")

    def step(self, case: NetworkCase) -> Run:
        """One call of partial_fit, with one batch."""
        x, y = case.data()
        classifier, classes = self._classifier(case), list(range(case.sizes[-1]))

        def run() -> object:
            return classifier.partial_fit(x, y, classes=classes).loss_

        return run

    def epoch(self, case: LongRun) -> Run:
        """Offer none."""
        raise NotOfferedError

    def predict(self, case: NetworkCase) -> Run:
        """One call of predict_proba."""
        x, y = case.data()
        classifier = self._classifier(case).partial_fit(x, y, classes=list(range(case.sizes[-1])))
        return lambda: classifier.predict_proba(x)

    def kernel(self, case: KernelCase, size: str) -> Run:
        """Offer none."""
        raise NotOfferedError

    def _classifier(self, case: NetworkCase) -> Any:
        return self.networks.MLPClassifier(
            hidden_layer_sizes=case.sizes[1:-1],
            activation=case.activation,
            batch_size=case.batch,
            alpha=0.0,
            learning_rate_init=case.lr,
            random_state=0,
        )
