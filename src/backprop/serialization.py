"""Saving and loading networks: the architecture as JSON and the weights as tensors, in one file.

Loading runs no code from the file. Layers of the user's own are saved by the name of their class, and made again by the class that
the caller of `load` gives for that name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt

from . import layers as built_in
from . import losses
from ._arrays import check_dtype, check_seed
from ._model_file import ModelFormatError, StrPath, UnknownLayerError, complaints_about, expect, plain, read_file, write_file
from ._overrides import replaces
from .layers import Layer, Noise
from .network import Network

__all__ = ["ModelFormatError", "load", "read_metadata", "save"]


def __dir__() -> list[str]:
    return sorted(__all__)


LayerTypes = Mapping[str, type[Layer]]


def save(net: Network, path: StrPath, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a network's architecture and weights to one file.

    Whatever happens, the path holds either the old file or the complete new one.

    Parameters
    ----------
    net : Network
        The network. Layers of your own are saved by class name and `Layer.config`; a loss that is a function of your own is left
        out. `load` makes a plain `Network`.
    path : str or path
        By custom it ends in ``.safetensors``.
    metadata : mapping, optional
        Anything of yours that JSON can hold, for `read_metadata`.

    Raises
    ------
    TypeError
        When a layer's config or the metadata holds something that JSON cannot; when the network, or a layer, computes its outputs
        by a method that was assigned to it, or the network by one of a subclass.
    OSError
        When writing fails; an older file is then as it was.

    Examples
    --------
    >>> import os, tempfile
    >>> import backprop as bp
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> bp.mlp([4, 8, 3], seed=0).save(path, metadata={"classes": ["a", "b", "c"]})
    >>> bp.load(path)
    Network([
        Dense(4, 8, activation='relu'),
        Dense(8, 3),
    ], dtype='float32', seed=0)
    >>> bp.serialization.read_metadata(path)
    {'classes': ['a', 'b', 'c']}
    """
    content = {"kind": "model", "metadata": checked_metadata(metadata), "architecture": architecture(net)}
    write_file(path, net.state_dict(), content)


def load(path: StrPath, *, layers: LayerTypes | None = None) -> Network:
    """Read a network from a file that `Network.save` or `Trainer.save` wrote.

    Parameters
    ----------
    path : str or path
        The file.
    layers : mapping of str to type, optional
        The classes of your own layers, by name.

    Raises
    ------
    ModelFormatError
        When the file is damaged, is not a model, or holds a `backprop.tabular.TableModel`, which has a ``load`` of its own.
    TypeError
        When it holds a layer of your own and `layers` does not say which class that is, or `layers` is no mapping.
    FileNotFoundError
        When there is no such file.

    Examples
    --------
    >>> import os, tempfile
    >>> import backprop as bp
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> net = bp.mlp([4, 8, 3], seed=0)
    >>> net.save(path)
    >>> bool((bp.load(path).parameters == net.parameters).all())
    True
    """
    check_layer_types(layers)
    tensors, content = read_file(path)
    if content["kind"] == "table":
        raise ModelFormatError(
            f"{os.fspath(path)}: it holds a network with the encoding of its table: backprop.tabular.TableModel.load reads it, "
            "and `.network` of what that returns is the network"
        )
    if content["kind"] == "ensemble":
        raise ModelFormatError(f"{os.fspath(path)}: it holds an ensemble: backprop.Ensemble.load reads it")
    return network_in(path, tensors, content, layers)


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The caller's metadata as a dict."""
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping, got {metadata!r:.100}")
    return dict(metadata or {})


def check_layer_types(layers: LayerTypes | None) -> None:
    """Refuse what is no mapping, before the file is blamed for it."""
    if layers is not None and not isinstance(layers, Mapping):
        raise TypeError(f"layers must be a mapping of names to classes of layers, got {layers!r:.100}")


def read_metadata(path: StrPath) -> dict[str, Any]:
    """Return the metadata that was given when the file was saved."""
    _, content = read_file(path)
    with complaints_about(path):
        metadata: dict[str, Any] = expect(dict, content.get("metadata", {}), "its metadata")
        return metadata


def network_in(
    path: StrPath, tensors: Mapping[str, npt.NDArray[Any]], content: Mapping[str, Any], layers: LayerTypes | None = None
) -> Network:
    """Return the network in what `read_file` gave; a checkpoint has other tensors beside the network's."""
    with complaints_about(path):
        ours = {name: tensor for name, tensor in tensors.items() if content["kind"] != "checkpoint" or name.startswith("layers.")}
        return network_from(content["architecture"], ours, layers)


def architecture(net: Network) -> dict[str, Any]:
    """Return all that a network is but its numbers, ready for JSON; `network_from` makes the network again.

    Raises
    ------
    TypeError
        When outputs are computed by code that is in no class of layers, or a layer cannot be described.
    """
    replaced = [name for name in ("forward", "infer", "predict") if replaces(net, name, Network)]
    if replaced:
        raise TypeError(
            f"this {type(net).__name__} replaces {replaced[0]}, which is code and cannot be saved: put the code into a layer of "
            "your own, or save net.state_dict()"
        )
    return {
        "dtype": net.dtype.name,
        "seed": net.seed,
        "dropout_step": net.dropout_step,
        "loss": None if net.loss is None or not net.loss.is_saved else net.loss.config(),
        "layers": [_describe(layer) for layer in net.layers],
    }


def network_from(
    description: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], layers: LayerTypes | None = None
) -> Network:
    """Make a network from what `architecture` returned and the values of its parameters and buffers.

    Raises
    ------
    ValueError
        When the description makes no sense, or names, shapes or dtypes of the tensors do not fit it. That is known before anything
        of the described size is allocated.
    TypeError
        When a class of the user's is not in `layers`.
    """
    made = [_made(layer, layers or {}) for layer in expect(list, description["layers"], "the list of layers")]
    dtype = check_dtype(expect(str, description["dtype"], "the dtype"))
    _check_fit(dict(_expected_shapes(made)), dtype, tensors)
    noise = Noise(check_seed(expect(int, description["seed"], "the seed")))
    net = Network.__new__(Network)
    net._assemble(tuple(made), dtype, noise, initialize=False)
    net.dropout_step = expect(int, description["dropout_step"], "the dropout step")
    loss = description["loss"]
    net.loss = None if loss is None else losses.get(expect(dict, loss, "the loss"))
    net.load_state_dict(tensors)
    return net


def _expected_shapes(made: list[Layer]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, layer in built_in.walk(made, "layers"):
        for array, shape in {**layer.parameter_shapes(), **layer.buffer_shapes()}.items():
            yield f"{name}.{array}", tuple(shape)


def _check_fit(expected: dict[str, tuple[int, ...]], dtype: np.dtype[Any], tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise ValueError(f"the tensor {name} is missing")
        if name not in expected:
            raise ValueError(f"it has a tensor {name} that the architecture does not")
        if tensors[name].shape != expected[name]:
            raise ValueError(f"{name} has shape {tensors[name].shape} where the architecture says {expected[name]}")
        if tensors[name].dtype != dtype:
            raise ValueError(f"{name} is {tensors[name].dtype} in a network of {dtype}")


def _describe(layer: Layer) -> dict[str, Any]:
    """A layer as JSON has it: the name of its class and the keywords that make it."""
    layer._check_sizes()
    kind, config = type(layer), layer.config()
    for name in ("forward", "infer", "backward"):
        if name not in layer._TRANSIENT and replaces(layer, name, kind):
            raise TypeError(f"{layer!r} has a {name} that was assigned to it, which is code and cannot be saved: write a class")
    description: dict[str, Any] = {
        "layer": kind.__name__,
        "config": {key: _encoded(value, f"the config of {kind.__name__}") for key, value in config.items()},
    }
    if getattr(built_in, kind.__name__, None) is not kind:
        _check_makes(kind, config)
        description["custom"] = True
    if not layer.trainable and not isinstance(getattr(kind, "trainable", None), property):  # which leaves it to the layers inside
        description["trainable"] = False
    return description


def _check_makes(kind: type[Layer], config: Mapping[str, Any]) -> None:
    """Raise an error now if a layer could not be made again of its config, such as that of a base class with other arguments."""
    try:
        signature(kind).bind(**config)
    except TypeError as error:
        raise TypeError(
            f"{kind.__name__} cannot be made again of what its config() returns, {', '.join(config) or 'nothing'} ({error}): "
            "write a config() that returns the arguments of its __init__"
        ) from None


def _encoded(value: Any, owner: str) -> Any:
    if isinstance(value, Layer):
        return _describe(value)
    if isinstance(value, (list, tuple)):
        return [_encoded(item, owner) for item in value]
    return plain(value, owner)


def _made(description: Any, layers: LayerTypes) -> Layer:
    """The layer that `_describe` described."""
    name = expect(str, expect(dict, description, "a layer")["layer"], "a layer's class")
    if expect(bool, description.get("custom", False), "custom"):
        if name not in layers:
            raise UnknownLayerError(f"it has a layer of your own class {name}; say which that is: layers={{{name!r}: {name}}}")
        kind = layers[name]
    else:
        kind = getattr(built_in, name, None)  # type: ignore[assignment]
    if not (isinstance(kind, type) and issubclass(kind, Layer) and kind is not Layer):
        raise ValueError(f"{name!r} is not a layer")
    config = expect(dict, description["config"], "a layer's config")
    layer = kind(**{key: _decoded(value, layers) for key, value in config.items()})
    if not expect(bool, description.get("trainable", True), "trainable"):
        layer.trainable = False
    return layer


def _decoded(value: Any, layers: LayerTypes) -> Any:
    if isinstance(value, list):
        return [_decoded(item, layers) for item in value]
    if isinstance(value, dict) and {"layer", "config"} <= value.keys():
        return _made(value, layers)
    return value
