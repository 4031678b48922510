"""The error of training that diverges."""

from __future__ import annotations

from typing import Literal

Cause = Literal["loss", "gradient", "parameters"]


class DivergenceError(FloatingPointError):
    """Training broke off because the loss, the gradient or the parameters were no longer finite.

    Raised by `Trainer.step` and `Trainer.backward_step`, it means that this call has made no update: everything is as the call
    before left it.

    Raised by `Trainer.fit` and `Network.fit`, it means that the network and the optimizer, with all counts, are as they were
    before the last update after which no finite loss was seen; if the last update was followed by a finite loss, they are as it
    left them. So the parameters are always some that gave a finite loss, except where the first loss of the run is not finite:
    then nothing has changed. The message tells which updates were undone; none is if a callback has replaced the optimizer since
    the epoch began. With ``accumulate_steps`` above 1, the gradients of steps that waited for an update that was not made are
    discarded, while running statistics and `Network.dropout_step` are as these steps left them. Callbacks may change the network
    afterwards, as `EarlyStopping` does to restore the best weights.

    Attributes
    ----------
    cause : {"loss", "gradient", "parameters"}
        What was not finite.
    found : str
        The same in words, with the update and the epoch.
    lr : float
        The learning rate of the update.
    """

    cause: Cause
    found: str
    lr: float

    @classmethod
    def _of(cls, cause: Cause, found: str, lr: float) -> DivergenceError:
        """Return the error for what was found, where no update was made since the call began."""
        error = cls()
        error.cause, error.found, error.lr = cause, found, lr
        error._conclude("This call has made no update")
        return error

    def _conclude(self, outcome: str) -> None:
        """Say in the message what has become of the updates."""
        self.args = (
            f"{self.found}: training has diverged. {outcome}. Try a lower learning rate (it was {self.lr:g}), clip_norm=1.0, or "
            "inputs and targets scaled to mean 0 and variance 1",
        )
