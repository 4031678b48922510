"""Files of Keras models, written by hand: what they hold is read by its full name, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backprop as bp

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.once


def dense(name: str, **options: Any) -> dict[str, Any]:
    return {"class_name": "Dense", "config": {"name": name, "use_bias": False, "activation": "linear"}, **options}


def sequential(name: str, *layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def write(path: Path, model: dict[str, Any], arrays: dict[str, dict[str, np.ndarray]]) -> Path:
    """Write an .h5 file: the arrays of each outermost layer by their names."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model)
        for layer, stored in arrays.items():
            group = file.create_group(f"model_weights/{layer}")
            group.attrs["weight_names"] = list(stored)
            for name, array in stored.items():
                group[name] = array
    return path


def scaled(factor: float) -> np.ndarray:
    return np.eye(2, dtype=np.float32) * factor


@pytest.mark.parametrize("outer", ["net/", ""])
def test_layers_of_one_name_in_nested_models_keep_their_own_arrays(outer: str, tmp_path: Path) -> None:
    inner = sequential("a", dense("d"), sequential("b", dense("d")))
    model = sequential("net", inner, dense("d"), sequential("c", dense("d")))
    arrays = {
        "a": {f"{outer}a/b/d/kernel": scaled(3), f"{outer}a/d/kernel": scaled(2)},
        "d": {f"{outer}d/kernel": scaled(5)},
        "c": {"d/kernel:0" if not outer else "net/c/d/kernel": scaled(7)},  # Keras 2 leaves the names of models out
    }
    net = bp.convert.from_keras(write(tmp_path / "model.h5", model, arrays))
    assert [float(layer.weight[0, 0]) for layer in net.layers] == [2, 3, 5, 7]


@pytest.mark.parametrize("surplus", ["kernel_scale", "lora_kernel_a"])
def test_arrays_that_change_what_a_layer_computes_are_not_left_out(surplus: str, tmp_path: Path) -> None:
    arrays = {"d": {"net/d/kernel": scaled(1).astype(np.int8), f"net/d/{surplus}": np.ones(2, np.float32)}}
    path = write(tmp_path / "model.h5", sequential("net", dense("d")), arrays)
    with pytest.raises(ValueError, match="d Dense must have the arrays kernel, has 2"):
        bp.convert.from_keras(path)


def test_a_flatten_that_exchanges_axes_is_refused(tmp_path: Path) -> None:
    for order in ("channels_last", "channels_first"):
        flatten = {"class_name": "Flatten", "config": {"name": "flat", "data_format": order}}
        path = write(tmp_path / "model.h5", sequential("net", flatten, dense("d")), {"d": {"net/d/kernel": scaled(1)}, "flat": {}})
        if order == "channels_last":
            assert len(bp.convert.from_keras(path).layers) == 1
        else:
            with pytest.raises(TypeError, match="flat Flatten has data_format='channels_first'"):
                bp.convert.from_keras(path)


class Dense:
    """A layer of the user's that is called as one of Keras."""

    name = "own"


class Sequential:
    """As much of a model as is looked at."""

    layers = (Dense(),)

    def get_config(self) -> dict[str, Any]:
        return {}


def test_a_class_from_outside_keras_is_refused_whatever_its_name(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="own Dense is a class from outside Keras"):
        bp.convert.from_keras(Sequential())
    for module in ("keras.layers", "my.layers", None):
        path = write(tmp_path / "model.h5", sequential("net", dense("d", module=module)), {"d": {"net/d/kernel": scaled(1)}})
        if module == "keras.layers":
            bp.convert.from_keras(path)
        else:
            with pytest.raises(TypeError, match="d Dense is a class from outside Keras"):
                bp.convert.from_keras(path)
