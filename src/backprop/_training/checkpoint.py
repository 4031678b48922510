"""Trainers in files: a network's file, with the optimizer's moments and the counts that training needs to continue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import losses, optimizers
from .. import metrics as metric_functions
from .._model_file import ModelFormatError, StrPath, complaints_about, expect, plain, read_file, write_file
from .._overrides import is_of_this_package
from .._types import GradientHook
from ..layers import Layer
from ..losses import Loss, LossFunction
from ..metrics import MetricSpec
from ..optimizers import Optimizer
from ..schedules import Schedule
from ..serialization import architecture, check_layer_types, network_in
from .evaluation import make_metrics
from .state import TrainingState, _checked_metrics
from .step import _checked_hook

T = TypeVar("T", bound=TrainingState)


def save_trainer(trainer: TrainingState, path: StrPath) -> None:
    """Write a checkpoint."""
    state = trainer.optimizer.state_dict()
    moments = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    tensors = trainer.net.state_dict() | {f"optimizer.{key}": value for key, value in moments.items()}
    gathered, counts = trainer._progress_state()
    if gathered is not None:
        tensors["trainer.gathered"] = gathered
    callbacks: dict[str, dict[str, Any]] = {}
    states = trainer._callback_states if trainer._callbacks is None else trainer._callbacks.state_dict()
    for name, values in states.items():
        arrays = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
        tensors |= {f"callbacks.{name}.{key}": value for key, value in arrays.items()}
        callbacks[name] = {"values": {key: values[key] for key in values if key not in arrays}, "arrays": list(arrays)}
    counts["optimizer_state"] = {key: value for key, value in state.items() if key not in moments}
    write_file(path, tensors, _content(trainer) | {"trainer": _settings(trainer) | counts | {"callbacks": callbacks}})


def check_savable(trainer: TrainingState) -> None:
    """Raise the TypeError that `save_trainer` would raise for a setting that a file cannot hold."""
    for key, value in (_content(trainer) | {"trainer": _settings(trainer)}).items():
        plain(value, key)


def _content(trainer: TrainingState) -> dict[str, Any]:
    return {"kind": "checkpoint", "architecture": architecture(trainer.net), "metadata": {}}


def _settings(trainer: TrainingState) -> dict[str, Any]:
    return {
        "loss": trainer.loss.config() if trainer.loss.is_saved else None,
        "optimizer": _saved_optimizer(trainer.optimizer),
        "clip_norm": trainer.clip_norm,
        "clip_value": trainer.clip_value,
        "metrics": None if trainer.metrics is None else [_saved_metric(metric) for metric in trainer.metrics],
        "accumulate_steps": trainer.accumulate_steps,
        "l2": trainer.l2,
        "on_gradients": trainer.on_gradients is not None,
    }


def _saved_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimizer's config; of a custom class, which `load_trainer` asks for, the name alone."""
    if not is_of_this_package(type(optimizer)):
        return {"custom": type(optimizer).__name__}
    if isinstance(optimizer.lr, Schedule) and not is_of_this_package(type(optimizer.lr)):
        raise TypeError(f"a custom schedule ({type(optimizer.lr).__name__}) is code and cannot be saved")
    return optimizer.config()


def _saved_metric(metric: MetricSpec) -> str | dict[str, str]:
    """Return a metric's name; in a dict that of a custom function, which `load_trainer` asks for."""
    if isinstance(metric, str):
        return metric
    name = getattr(metric, "__name__", type(metric).__name__)
    return name if getattr(metric_functions, name, None) is metric else {"function": name}


def load_trainer(
    kind: type[T],
    path: StrPath,
    layers: Mapping[str, type[Layer]] | None,
    loss: str | Loss | LossFunction | None,
    optimizer: Optimizer | None,
    metrics: Sequence[MetricSpec] | None,
    on_gradients: GradientHook | None,
) -> T:
    """Make a trainer from a checkpoint."""
    check_layer_types(layers)
    tensors, content = read_file(path)
    if content["kind"] == "ensemble":
        raise ModelFormatError(f"{path}: it holds an ensemble, not a Trainer; use backprop.Ensemble.load")
    if content["kind"] != "checkpoint":
        raise ModelFormatError(f"{path}: it holds a network only, not a Trainer; use backprop.load")
    net = network_in(path, tensors, content, layers)
    saved = content.get("trainer")
    with complaints_about(path):
        saved = expect(dict, saved, "its trainer")
        custom = [expect(str, metric["function"], "a metric") for metric in saved["metrics"] or () if isinstance(metric, dict)]
    if loss is None and saved.get("loss") is None:
        raise TypeError(f"{path}: it was trained with a custom loss function, which is not saved: give it as loss=")
    with complaints_about(path):
        described = expect(dict, saved["optimizer"], "its optimizer")
    if optimizer is None and "custom" in described:
        raise TypeError(
            f"{path}: it was trained with a custom optimizer, {described['custom']!s:.50}, which is not saved: give optimizer="
        )
    if metrics is None and custom:
        raise TypeError(
            f"{path}: it was trained with custom metric functions, {', '.join(custom)}, which are not saved: give all metrics as "
            "metrics="
        )
    if on_gradients is None and saved.get("on_gradients"):
        raise TypeError(f"{path}: it was trained with a function on_gradients, which is not saved: give it as on_gradients=")
    with complaints_about(path):
        criterion = losses.get(saved["loss"]) if loss is None else None
    if criterion is None:  # errors of what the caller gives do not blame the file
        criterion = losses.get(loss)  # type: ignore[arg-type]
        criterion.check_activation(net.output_activation)
    if metrics is not None:
        metrics = _checked_metrics("metrics", metrics)
        make_metrics(metrics, criterion)
    if optimizer is not None:
        optimizer = optimizers.get(optimizer)
        optimizer.attach(net)
    if on_gradients is not None:
        on_gradients = _checked_hook("on_gradients", on_gradients)
    with complaints_about(path):
        trainer = kind(
            net,
            loss=criterion,
            optimizer=optimizers.get(described) if optimizer is None else optimizer,
            clip_norm=saved["clip_norm"],
            clip_value=saved["clip_value"],
            metrics=saved["metrics"] if metrics is None else metrics,
            accumulate_steps=saved["accumulate_steps"],
            l2=saved.get("l2", 0.0),
            on_gradients=on_gradients,
        )
        moments = {key.removeprefix("optimizer."): value for key, value in tensors.items() if key.startswith("optimizer.")}
        state = expect(dict, saved["optimizer_state"], "its optimizer's state") | moments
        if optimizer is None:
            trainer.optimizer.load_state_dict(state)
    if optimizer is not None:
        optimizer.load_state_dict(state)
    with complaints_about(path):
        trainer._load_progress_state(tensors.get("trainer.gathered"), saved if loss is None else saved | {"class_vector": None})
        for name, state in expect(dict, saved["callbacks"], "the state of its callbacks").items():
            arrays = {key: tensors[f"callbacks.{name}.{key}"] for key in expect(list, state["arrays"], f"the arrays of {name}")}
            trainer._callback_states[name] = expect(dict, state["values"], f"the state of {name}") | arrays
        return trainer
