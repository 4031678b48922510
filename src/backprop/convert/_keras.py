"""Networks from Keras' sequential models, and from the files they are saved in."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import losses
from .._types import AnyArray
from ..losses import Loss
from ..network import Network
from ._assembly import Assembly


class _Item(NamedTuple):
    """A layer of the model: its class, its options, its arrays in Keras' order, its activation where this is at hand."""

    name: str
    kind: str
    config: Mapping[str, Any]
    arrays: list[AnyArray]
    function: Any = None


def from_keras(model: Any) -> Network:
    """Return the network of a Keras model, or of a file that it was saved in.

    Parameters
    ----------
    model : keras.Sequential, str or path
        A sequential model, nested or not, of ``Dense``, ``BatchNormalization``, ``LayerNormalization``, ``Dropout``, ``Activation``
        and layers of activations, ``Flatten`` and ``InputLayer``. Or a ``.keras`` or ``.h5`` file of one, for which h5py is needed.

    Returns
    -------
    Network
        In the dtype of the model. A softmax or sigmoid at the end is left to the loss: `Network.predict` then gives logits, and
        `Network.predict_proba` what the model predicts. `Network.loss` follows the loss that the model was compiled with, or its
        last activation; it is None where neither has a counterpart.

    Raises
    ------
    ImportError
        For a file, without h5py.
    TypeError
        When it is no such model; for a layer, an activation or an option that has no counterpart, naming the layer.
    ValueError
        When arrays are missing or their shapes do not fit, naming the layer; for a file that holds no model.
    OSError
        When a file cannot be read.

    Examples
    --------
    >>> net = bp.convert.from_keras("model.keras")  # doctest: +SKIP
    """
    if isinstance(model, (str, os.PathLike)):
        items, loss = _read(Path(model))
    elif hasattr(model, "layers") and hasattr(model, "get_config"):
        if type(model).__name__ != "Sequential":
            raise TypeError(f"model must be a Sequential, got a {type(model).__name__}, whose layers may not lie in a row")
        items, loss = list(_items(model)), getattr(model, "loss", None)
    else:
        raise TypeError(f"model must be a keras.Sequential or a file, got {type(model).__name__}")
    assembly = Assembly()
    for item in items:
        _add(assembly, item)
    return assembly.network(_loss(loss, assembly.last_activation()))


def _items(model: Any) -> Iterator[_Item]:
    for layer in model.layers:
        kind = type(layer)
        if _root(kind.__module__) not in _ROOTS:
            raise TypeError(f"{layer.name} {kind.__name__} is a class from outside Keras, which is code")
        if kind.__name__ == "Sequential":
            yield from _items(layer)
        else:
            arrays = [np.asarray(array) for array in layer.get_weights()]
            yield _Item(layer.name, kind.__name__, layer.get_config(), arrays, getattr(layer, "activation", None))


# Files


def _read(path: Path) -> tuple[list[_Item], Any]:
    try:
        h5py: Any = import_module("h5py")
    except ImportError as error:
        raise ImportError('reading files of Keras needs the package h5py: pip install "backprop[keras]"') from error
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file, h5py.File(file) as weights:
                described = json.loads(archive.read("config.json"))
                items = list(_items_of_archive(_sequential(described), weights, f"{path}"))
                return items, (described.get("compile_config") or {}).get("loss")
        with path.open("rb") as file, h5py.File(file) as weights:
            described = json.loads(weights.attrs["model_config"])
            training = json.loads(weights.attrs.get("training_config", "null")) or {}
            return list(_items_of_h5(_sequential(described), weights["model_weights"])), training.get("loss")
    except KeyError as error:
        raise ValueError(f"{path}: {error!s} is missing, so it is not the file of a Keras model") from error
    except (json.JSONDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path} is not the file of a Keras model: {error}") from error


def _sequential(described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The descriptions of the layers in a row."""
    if described["class_name"] != "Sequential":
        raise TypeError(
            f"model must be a Sequential, the file holds a {described['class_name']}, whose layers may not lie in a row"
        )
    config = described["config"]
    layers: list[Mapping[str, Any]] = config if isinstance(config, list) else config["layers"]
    for layer in layers:  # older files do not say where a class is from
        if _root(layer.get("module", "keras")) not in _ROOTS:
            name, kind = layer["config"].get("name"), layer["class_name"]
            raise TypeError(f"{name} {kind} is a class from outside Keras, which is code")
    return layers


def _items_of_archive(layers: list[Mapping[str, Any]], group: Any, place: str) -> Iterator[_Item]:
    """Layers of a ``.keras`` file, whose arrays lie under the class of the layer with a number."""
    counts: dict[str, int] = {}
    for layer in layers:
        kind, config = layer["class_name"], layer["config"]
        base = _snake_case(kind)
        number = counts.get(base, 0)
        counts[base] = number + 1
        key = f"layers/{base}_{number}" if number else f"layers/{base}"
        if kind == "Sequential":
            yield from _items_of_archive(_sequential(layer), group[key], f"{place}/{key}")
        else:
            stored = group[key]["vars"] if key in group and "vars" in group[key] else {}
            yield _Item(config["name"], kind, config, [np.asarray(stored[index]) for index in sorted(stored, key=int)])


def _items_of_h5(layers: list[Mapping[str, Any]], group: Any) -> Iterator[_Item]:
    """Layers of an ``.h5`` file, whose arrays lie under the outermost layer, as ``.../name of the layer/name of the array``."""
    for layer in layers:
        stored = group.get(layer["config"]["name"])
        names = [] if stored is None else [_text(name) for name in stored.attrs["weight_names"]]
        found = {name.partition(":")[0]: np.asarray(stored[name]) for name in names}
        yield from _items_by_name([layer], {tuple(name.split("/")): array for name, array in found.items()})


def _items_by_name(
    layers: list[Mapping[str, Any]], arrays: Mapping[tuple[str, ...], AnyArray], outer: tuple[str, ...] = ()
) -> Iterator[_Item]:
    """Layers whose arrays lie under their names, those of the models around them before, as far as the file has them."""
    for layer in layers:
        kind, config = layer["class_name"], layer["config"]
        place = (*outer, config["name"])
        if kind == "Sequential":
            yield from _items_by_name(_sequential(layer), arrays, place)
        else:
            yield _Item(place[-1], kind, config, _arrays_at(place, _wanted(kind, config), arrays))


def _arrays_at(place: tuple[str, ...], wanted: list[str], arrays: Mapping[tuple[str, ...], AnyArray]) -> list[AnyArray]:
    """The arrays of the layer at a place: those that are wanted first; a quantized layer, for one, has others."""
    folders = {path[:-1] for path in arrays if path[-2:-1] == place[-1:]}
    exact = {folder for folder in folders if folder[-len(place) :] == place}
    folder = min(exact or folders, key=len, default=())
    own = {path[-1]: array for path, array in arrays.items() if path[:-1] == folder} if folder else {}
    return [own[name] for name in (*wanted, *(own.keys() - set(wanted) if wanted else ())) if name in own]


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _snake_case(name: str) -> str:
    """The name of a class as Keras writes it in files: LeakyReLU is leaky_re_lu."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


# Layers


def _wanted(kind: str, config: Mapping[str, Any]) -> list[str]:
    """The arrays of a layer, in Keras' order."""
    if kind == "Dense":
        return ["kernel"] + ["bias"] * bool(config.get("use_bias", True))
    affine = ["gamma"] * bool(config.get("scale", True)) + ["beta"] * bool(config.get("center", True))
    if kind == "BatchNormalization":
        return [*affine, "moving_mean", "moving_variance"]
    return affine if kind == "LayerNormalization" else []


def _arrays(item: _Item) -> dict[str, AnyArray]:
    names = _wanted(item.kind, item.config)
    if len(names) != len(item.arrays):
        raise ValueError(f"{item.name} {item.kind} must have the arrays {', '.join(names) or 'none'}, has {len(item.arrays)}")
    return dict(zip(names, item.arrays, strict=True))


def _add(assembly: Assembly, item: _Item) -> None:
    if item.kind not in _LAYERS:
        raise TypeError(f"{item.name} {item.kind} has no counterpart; there are {', '.join(_LAYERS)}")
    _require(item, rms_scaling=(False,), noise_shape=(None,))
    arrays = _arrays(item)
    _LAYERS[item.kind](assembly, item, arrays)


def _dense(assembly: Assembly, item: _Item, arrays: dict[str, AnyArray]) -> None:
    trainable = bool(item.config.get("trainable", True))
    assembly.dense(item.name, arrays["kernel"], arrays.get("bias"), trainable)
    _activation(assembly, item, item.config.get("activation") or "linear")


def _batch_norm(assembly: Assembly, item: _Item, arrays: dict[str, AnyArray]) -> None:
    _require(item, axis=(-1, 1, [-1], [1]))
    ours = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    found = {name: arrays.get(theirs) for name, theirs in ours.items()}
    trainable = bool(item.config.get("trainable", True))
    assembly.batch_norm(item.name, found, 1 - item.config["momentum"], item.config["epsilon"], trainable)


def _layer_norm(assembly: Assembly, item: _Item, arrays: dict[str, AnyArray]) -> None:
    _require(item, axis=(-1, 1, [-1], [1]))
    given = next(iter(arrays.values()), None)
    width = assembly.width if given is None else len(given)
    if width is None:
        raise ValueError(f"{item.name} {item.kind} comes first and has no arrays, so nothing says how wide it is")
    found = {"weight": arrays.get("gamma"), "bias": arrays.get("beta")}
    assembly.layer_norm(item.name, width, found, item.config["epsilon"], bool(item.config.get("trainable", True)))


def _relu(assembly: Assembly, item: _Item, arrays: dict[str, AnyArray]) -> None:
    top, slope, threshold = item.config.get("max_value"), item.config.get("negative_slope") or 0, item.config.get("threshold") or 0
    if threshold or top not in (None, 6) or (top and slope):
        raise TypeError(f"{item.name} ReLU has max_value={top}, negative_slope={slope}, threshold={threshold}, without counterpart")
    if top:
        assembly.activation(item.name, "relu6")
    else:
        assembly.activation(item.name, "leaky_relu" if slope else "relu", slope or None)


def _softmax(assembly: Assembly, item: _Item, arrays: dict[str, AnyArray]) -> None:
    _require(item, axis=(-1, 1))
    assembly.activation(item.name, "softmax")


def _require(item: _Item, **allowed: tuple[Any, ...]) -> None:
    for name, values in allowed.items():
        if name in item.config and item.config[name] not in values:
            raise TypeError(f"{item.name} {item.kind} has {name}={item.config[name]!r}, which has no counterpart")


_ACTIVATIONS = {
    **{
        name: name
        for name in ("relu", "relu6", "elu", "selu", "mish", "silu", "sigmoid", "softmax", "softplus", "softsign", "tanh")
    },
    "linear": "identity",
    "gelu": "gelu_exact",
    "swish": "silu",
    "hard_tanh": "hardtanh",
    "leaky_relu": "leaky_relu",
}


def _activation(assembly: Assembly, item: _Item, spec: Any) -> None:
    """Add an activation given by name, by function, or as Keras writes one into a file."""
    name = spec if isinstance(spec, str) else getattr(spec, "__name__", None)
    if item.function is not None and not _of_keras(item.function):
        raise TypeError(f"{item.name} {item.kind} has the activation {name or spec!r} from outside Keras, which is code")
    if isinstance(spec, Mapping):
        config = spec.get("config")
        if isinstance(config, Mapping):
            _add(assembly, _Item(item.name, str(spec.get("class_name")), config, []))
            return
        name = config
    if name not in _ACTIVATIONS:
        raise TypeError(f"{item.name} {item.kind} has the activation {name or spec!r}; there are {', '.join(_ACTIVATIONS)}")
    assembly.activation(item.name, _ACTIVATIONS[name], 0.2 if name == "leaky_relu" else None)


_ROOTS = ("keras", "tf_keras", "tensorflow")


def _of_keras(value: Any) -> bool:
    """Whether a function or an object belongs to Keras, by the module of it or of its class."""
    return _root(getattr(value, "__module__", None) or type(value).__module__) in _ROOTS


def _root(module: str | None) -> str:
    return str(module).partition(".")[0]


def _slope(assembly: Assembly, item: _Item, arrays: dict[str, AnyArray]) -> None:
    slope = item.config.get("negative_slope", item.config.get("alpha"))
    assembly.activation(item.name, "leaky_relu", float(slope if slope is not None else 0.3))


_LAYERS: dict[str, Callable[[Assembly, _Item, dict[str, AnyArray]], None]] = {
    "InputLayer": lambda assembly, item, arrays: None,
    "Flatten": lambda assembly, item, arrays: _require(item, data_format=("channels_last", None)),
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Dropout": lambda assembly, item, arrays: assembly.dropout(item.name, item.config["rate"]),
    "Activation": lambda assembly, item, arrays: _activation(assembly, item, item.config["activation"]),
    "ReLU": _relu,
    "LeakyReLU": _slope,
    "ELU": lambda assembly, item, arrays: assembly.activation(item.name, "elu", float(item.config.get("alpha", 1.0))),
    "Softmax": _softmax,
}


# Losses


_OPTIONS: dict[str, tuple[Any, ...]] = {
    "reduction": ("sum_over_batch_size", "auto", "mean"),
    "axis": (-1, 1),
    "ignore_class": (None,),
}
"""What the options of a loss must be for the loss to have a counterpart."""


def _loss(spec: Any, last: str) -> Loss | None:
    """Our loss for the one a model was compiled with, given the model's last activation."""
    if spec is None:
        ends = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}
        return losses.get(ends[last]) if last in ends else None
    name, config = _described_loss(spec)
    if name is None or any(config.get(option, allowed[0]) not in allowed for option, allowed in _OPTIONS.items()):
        return None
    plain = re.sub("[^a-z]", "", name.lower())
    if plain in ("sparsecategoricalcrossentropy", "categoricalcrossentropy", "binarycrossentropy"):
        link = "sigmoid" if plain.startswith("binary") else "softmax"
        smoothing = float(config.get("label_smoothing") or 0.0)
        if last != ("identity" if config.get("from_logits") else link):
            return None
        if link == "softmax":
            return losses.CrossEntropy(label_smoothing=smoothing)
        return None if smoothing else losses.BinaryCrossEntropy()
    if plain == "huber":
        if config and "delta" not in config:  # files of Keras 3 leave it out
            return None
        return losses.Huber(delta=float(config.get("delta", 1.0)))
    known = {"mse": "mse", "meansquarederror": "mse", "mae": "mae", "meanabsoluteerror": "mae", "logcosh": "log_cosh"}
    return losses.get(known[plain]) if plain in known else None


def _described_loss(spec: Any) -> tuple[str | None, Mapping[str, Any]]:
    """The name and the options of a loss: a name, a function, an object, or what a file says of one; no name for other code."""
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping):
        config = spec.get("config")
        if "class_name" not in spec or _root(spec.get("module", "keras")) not in (*_ROOTS, "builtins"):
            return None, {}  # losses by output, or a class from outside Keras
        return (str(spec["class_name"]), config) if isinstance(config, Mapping) else (config, {})
    if not _of_keras(spec):
        return None, {}
    if hasattr(spec, "get_config"):  # which leaves options of some losses out
        return type(spec).__name__, {**spec.get_config(), **getattr(spec, "_fn_kwargs", {})}
    return getattr(spec, "__name__", None), {}
