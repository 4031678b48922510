"""Trainers in files: a network's file, with the optimizer's moments and the counts that training needs to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import losses, optimizers
from ._evaluation import MetricSpec
from ._model_file import ModelFormatError, StrPath, complaints_about, expect, read_file, write_file
from .layers import Layer
from .losses import Loss, LossFunction
from .serialization import architecture, network_in

if TYPE_CHECKING:
    from .training import Trainer


def save_trainer(trainer: Trainer, path: StrPath) -> None:
    """Write a checkpoint."""
    for metric in trainer.metrics or ():
        if not isinstance(metric, str):
            raise TypeError(f"a metric that is a function ({metric!r}) cannot be saved; name those of backprop.metrics")
    state = trainer.optimizer.state_dict()
    moments = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    tensors = trainer.net.state_dict() | {f"optimizer.{key}": value for key, value in moments.items()}
    gathered, counts = trainer.progress_state()
    if gathered is not None:
        tensors["trainer.gathered"] = gathered
    content = {
        "kind": "checkpoint",
        "architecture": architecture(trainer.net),
        "metadata": {},
        "trainer": {
            "loss": None if trainer.loss.task == "custom" else trainer.loss.config(),
            "optimizer": trainer.optimizer.config(),
            "optimizer_state": {key: value for key, value in state.items() if key not in moments},
            "clip_norm": trainer.clip_norm,
            "clip_value": trainer.clip_value,
            "metrics": None if trainer.metrics is None else list(trainer.metrics),
            "accumulate_steps": trainer.accumulate_steps,
            **counts,
        },
    }
    write_file(path, tensors, content)


def load_trainer(
    kind: type[Trainer],
    path: StrPath,
    layers: Mapping[str, type[Layer]] | None,
    loss: str | Loss | LossFunction | None,
    metrics: Sequence[MetricSpec] | None,
) -> Trainer:
    """Make a trainer from a checkpoint."""
    tensors, content = read_file(path)
    if content["kind"] != "checkpoint":
        raise ModelFormatError(f"{path}: it holds a network only, not a Trainer; use backprop.load")
    net = network_in(path, tensors, content, layers)
    saved = content.get("trainer")
    if loss is None and isinstance(saved, dict) and saved.get("loss") is None:
        raise TypeError(f"{path}: it was trained with a loss function of its own, which is not saved: give it as loss=")
    with complaints_about(path):
        saved = expect(dict, saved, "its trainer")
        trainer = kind(
            net,
            loss=losses.get(saved["loss"]) if loss is None else loss,
            optimizer=optimizers.get(expect(dict, saved["optimizer"], "its optimizer")),
            clip_norm=saved["clip_norm"],
            clip_value=saved["clip_value"],
            metrics=saved["metrics"] if metrics is None else metrics,
            accumulate_steps=saved["accumulate_steps"],
        )
        moments = {key.removeprefix("optimizer."): value for key, value in tensors.items() if key.startswith("optimizer.")}
        trainer.optimizer.load_state_dict(expect(dict, saved["optimizer_state"], "its optimizer's state") | moments)
        trainer.load_progress_state(tensors.get("trainer.gathered"), saved)
        return trainer
