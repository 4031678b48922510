"""Which way a metric improves, read from its name."""

from __future__ import annotations

from ._arrays import check_choice

MODES = ("auto", "min", "max")

# The last word of a name decides: "val_loss" is a loss, "top_5_accuracy" an accuracy.
_DIRECTIONS = {
    **dict.fromkeys(("loss", "error", "mae", "mse", "rmse"), "min"),
    **dict.fromkeys(("accuracy", "precision", "recall", "f1", "auc", "r2"), "max"),
}


def direction_of(key: str) -> str | None:
    """Return "min" or "max" for the key of a loss or a known metric, with or without "val_"; None for any other."""
    return _DIRECTIONS.get(key.rpartition("_")[2])


def better_is(key: str, mode: str = "auto") -> str:
    """Return whether lower or higher values of a history's key are better.

    Parameters
    ----------
    key : str
    mode : {"auto", "min", "max"}
        "min" and "max" are returned as they are; "auto" goes by the last word of the key: loss, error, mae, mse and rmse are
        better when lower; accuracy, precision, recall, f1, auc and r2 when higher.

    Returns
    -------
    "min" or "max"

    Raises
    ------
    ValueError
        If ``mode`` is "auto" and the key names no known metric.

    Examples
    --------
    >>> better_is("val_top_5_accuracy"), better_is("profit", mode="max")
    ('max', 'max')
    """
    if check_choice("mode", mode, MODES) != "auto":
        return mode
    direction = direction_of(key)
    if direction is None:
        raise ValueError(f"mode='auto' does not know whether {key!r} is better when lower or higher: give mode='min' or mode='max'")
    return direction


def direction_of_metric(metric: str | None) -> str:
    """Return "min" or "max" for the loss (None or "loss") or the metric that an argument names.

    Raises
    ------
    ValueError
        If it is not known which values of it are better.
    """
    direction = direction_of(str(metric or "loss"))
    if direction is None:
        known = ", ".join(map(repr, _DIRECTIONS))
        raise ValueError(f"metric must be a name that ends with one of {known}, which say what is better, got {metric!r}")
    return direction
