"""Callbacks as scikit-learn has them since 1.9: a fit is a task, and each epoch, or iteration of lbfgs, a task within it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    CallbackSupport: Any
else:
    try:
        from sklearn.callback import CallbackSupportMixin as CallbackSupport
    except ImportError:  # before 1.9

        class CallbackSupport:
            """Stands in for scikit-learn's mixin."""


Attributes = Callable[[], dict[str, Any]]


class FitTask:
    """Tells callbacks about one fit.

    Parameters
    ----------
    estimator : estimator
    X, y : array-like
        What it is fitted to.
    attributes : callable
        Returns the attributes that make a copy of the estimator ready to predict, as it is now.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, attributes: Attributes) -> None:
        self._arguments = {"estimator": estimator, "X": X, "y": y}
        self._attributes = attributes
        self._epoch: Any = None
        self._fit = estimator._init_callback_context(max_subtasks=int(estimator.max_iter))
        self._fit.call_on_fit_task_begin(**self._arguments)

    def begin_epoch(self) -> None:
        """Tell that an epoch begins."""
        self._epoch = self._fit.subcontext(task_name="epoch").call_on_fit_task_begin(**self._arguments)

    def end_epoch(self) -> bool:
        """Tell that it ends, and return whether a callback wants to stop."""
        return bool(self._epoch.call_on_fit_task_end(**self._arguments, reconstruction_attributes=self._attributes))

    def end(self) -> None:
        """Tell that the fit has ended."""
        self._fit.call_on_fit_task_end(**self._arguments, reconstruction_attributes=self._attributes)
