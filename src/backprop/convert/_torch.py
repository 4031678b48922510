"""Networks from PyTorch's modules and state dicts, and state dicts from networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from .. import activations
from .._overrides import is_built_in
from .._types import AnyArray
from ..activations import ActivationFunction
from ..layers import Activation, BatchNorm, Dense, Dropout, Layer, LayerNorm, Residual
from ..network import Network
from ._assembly import Assembly, LossSpec


def from_torch(model: Any, *, activation: str | ActivationFunction | None = None, loss: LossSpec | None = None) -> Network:
    """Return the network that a PyTorch module, or a state dict, describes.

    Parameters
    ----------
    model : torch.nn.Module or mapping of str to array
        A module: ``Sequential``, nested or not, of ``Linear``, ``BatchNorm1d``, ``LayerNorm``, ``Dropout``, activations with their
        options, ``Identity`` and ``Flatten``. Or what `state_dict` returns, of tensors or of arrays: matrices are dense layers,
        vectors with running statistics batch normalizations, other vectors layer normalizations, in the order of the mapping, with
        PyTorch's default options.
    activation : str or ActivationFunction, optional
        For a state dict, which holds none: what follows every dense layer but the last, after all normalizations that stand
        between.
    loss : str, Loss or callable, optional
        What becomes `Network.loss`, which `predict_proba`, `evaluate` and further training need. A loss that applies softmax or
        sigmoid itself takes the place of such a layer at the end.

    Returns
    -------
    Network
        In float64 if any of its arrays is, else in float32; layers without gradients are frozen.

    Raises
    ------
    TypeError
        For a module that has no counterpart, an option of one that has none, a module with hooks other than those of
        ``torch.nn.utils`` for its weights, or something that is no module; the message names the place, such as ``2.1``.
    ValueError
        When keys are missing or surplus, or shapes do not fit, naming the place; for a state dict of several layers without
        `activation`, or whose keys are not in the order of the layers, such as ``10.weight`` before ``2.weight`` in a file of
        safetensors.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop as bp
    >>> state = {"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3), "2.weight": np.ones((1, 3)), "2.bias": np.zeros(1)}
    >>> bp.convert.from_torch(state, activation="relu")
    Network([
        Dense(2, 3, activation='relu'),
        Dense(3, 1),
    ], dtype='float64', seed=0)
    """
    assembly = Assembly()
    if isinstance(model, Mapping):
        _add_state(assembly, model, activation)
    elif hasattr(model, "named_children") and hasattr(model, "state_dict"):
        if activation is not None:
            raise TypeError("activation is for state dicts; a module has its own")
        _add_module(assembly, model, "")
    else:
        raise TypeError(f"model must be a torch.nn.Module or a state dict, got {type(model).__name__}")
    return assembly.network(loss)


def _array(place: str, value: Any) -> AnyArray:
    """A tensor or array as an array; low precision becomes float32."""
    for method in ("detach", "cpu"):
        value = getattr(value, method)() if hasattr(value, method) else value
    if "float16" in str(value.dtype if hasattr(value, "dtype") else ""):  # and bfloat16
        value = value.float() if hasattr(value, "float") else np.asarray(value, np.float32)
    array = np.asarray(value)
    if array.dtype == object:
        raise TypeError(f"{place} must be a tensor or an array, got {type(value).__name__}")
    return array


def _parameter(place: str, module: Any, name: str) -> AnyArray | None:
    value = getattr(module, name, None)
    for hook in module._forward_pre_hooks.values():
        if _makes(hook) == name:
            value = _made(hook, module)
    return None if value is None else _array(f"{place}.{name}", value)


def _makes(hook: Any) -> str | None:
    """The parameter that a hook of ``torch.nn.utils`` computes before every forward: the attribute may be older."""
    if not type(hook).__module__.startswith("torch.nn.utils."):
        return None
    name: str | None = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
    return name


def _made(hook: Any, module: Any) -> Any:
    """The parameter as the forward in evaluation mode has it."""
    if hasattr(hook, "apply_mask"):  # of torch.nn.utils.prune
        return hook.apply_mask(module)
    return hook.compute_weight(module, False) if type(hook).__name__ == "SpectralNorm" else hook.compute_weight(module)


def _require_no_code(shown: str, module: Any) -> None:
    """Refuse a module with code of its own around its forward."""
    hooks = [hook for hook in module._forward_pre_hooks.values() if _makes(hook) is None]
    if hooks or module._forward_hooks:
        raise TypeError(f"{shown} has forward hooks, which are code: remove them, or convert the state_dict() with activation=")
    if "forward" in vars(module):
        raise TypeError(f"{shown} has a forward of its own, which is code: remove it, or convert the state_dict() with activation=")


def _linear(assembly: Assembly, place: str, module: Any) -> None:
    weight = _parameter(place, module, "weight")
    assert weight is not None
    assembly.dense(place, weight.T, _parameter(place, module, "bias"), _learns(module))


def _learns(module: Any) -> bool:
    parameters = list(module.parameters())
    return not parameters or any(parameter.requires_grad for parameter in parameters)


def _batch_norm(assembly: Assembly, place: str, module: Any) -> None:
    if module.momentum is None:
        raise TypeError(f"{place} BatchNorm1d has momentum=None, a cumulative average, which has no counterpart")
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = {name: _parameter(place, module, name) for name in names}
    assembly.batch_norm(place, arrays, module.momentum, module.eps, _learns(module))


def _layer_norm(assembly: Assembly, place: str, module: Any) -> None:
    if len(module.normalized_shape) != 1:
        raise TypeError(f"{place} LayerNorm normalizes over {tuple(module.normalized_shape)}; one axis has a counterpart")
    arrays = {name: _parameter(place, module, name) for name in ("weight", "bias")}
    assembly.layer_norm(place, module.normalized_shape[0], arrays, module.eps, _learns(module))


def _flatten(assembly: Assembly, place: str, module: Any) -> None:
    _require(place, module, start_dim=(1,), end_dim=(-1, 1))


def _require(place: str, module: Any, **allowed: tuple[Any, ...]) -> None:
    """Refuse a module whose options have no counterpart."""
    for name, values in allowed.items():
        value = getattr(module, name)
        if value not in values:
            wanted = " or ".join(map(repr, values))
            raise TypeError(f"{place} {type(module).__name__} has {name}={value!r}; {wanted} has a counterpart")


def _softplus(assembly: Assembly, place: str, module: Any) -> None:
    _require(place, module, beta=(1,))
    if module.threshold < 20:  # PyTorch's default, beyond which softplus is linear in float32
        raise TypeError(f"{place} Softplus has threshold={module.threshold!r}; 20 and more have a counterpart")
    assembly.activation(place, "softplus")


def _hardtanh(assembly: Assembly, place: str, module: Any) -> None:
    bounds = (module.min_val, module.max_val)
    names = {(-1, 1): "hardtanh", (0, 6): "relu6"}
    if bounds not in names:
        raise TypeError(f"{place} Hardtanh has bounds {bounds}; (-1, 1) and (0, 6) have a counterpart")
    assembly.activation(place, names[bounds])


def _gelu(assembly: Assembly, place: str, module: Any) -> None:
    assembly.activation(place, "gelu" if module.approximate == "tanh" else "gelu_exact")


def _softmax(assembly: Assembly, place: str, module: Any) -> None:
    _require(place, module, dim=(1, -1))
    assembly.activation(place, "softmax")


def _plain(name: str, option: str | None = None) -> Callable[[Assembly, str, Any], None]:
    """An activation without options, or with one that is our alpha."""

    def add(assembly: Assembly, place: str, module: Any) -> None:
        assembly.activation(place, name, None if option is None else getattr(module, option))

    return add


_MODULES: dict[str, Callable[[Assembly, str, Any], None]] = {
    "Linear": _linear,
    "BatchNorm1d": _batch_norm,
    "LayerNorm": _layer_norm,
    "Dropout": lambda assembly, place, module: assembly.dropout(place, module.p),
    "Identity": lambda assembly, place, module: None,
    "Flatten": _flatten,
    "ReLU": _plain("relu"),
    "ReLU6": _plain("relu6"),
    "LeakyReLU": _plain("leaky_relu", "negative_slope"),
    "ELU": _plain("elu", "alpha"),
    "SELU": _plain("selu"),
    "GELU": _gelu,
    "SiLU": _plain("silu"),
    "Mish": _plain("mish"),
    "Sigmoid": _plain("sigmoid"),
    "Tanh": _plain("tanh"),
    "Softplus": _softplus,
    "Softsign": _plain("softsign"),
    "Hardtanh": _hardtanh,
    "Softmax": _softmax,
}


def _add_module(assembly: Assembly, module: Any, place: str) -> None:
    kind = type(module)
    of_torch = kind.__module__.partition(".")[0] == "torch"
    shown = f"{place} {kind.__name__}".strip()
    if of_torch:
        _require_no_code(shown, module)
    if of_torch and kind.__name__ == "Sequential":
        for name, child in module._modules.items():  # named_children() leaves out a module that stands there twice
            _add_module(assembly, child, f"{place}.{name}" if place else name)
    elif of_torch and kind.__name__ in _MODULES:
        _MODULES[kind.__name__](assembly, place or kind.__name__, module)
    elif kind.__name__ == "LogSoftmax":
        raise TypeError(f"{shown} has no counterpart: leave it out and give loss='cross_entropy', which applies it to the outputs")
    elif of_torch:
        raise TypeError(f"{shown} has no counterpart; there are Sequential, {', '.join(_MODULES)}")
    else:
        raise TypeError(
            f"{shown} is a class of its own, whose forward is code: pass the Sequential of its layers, or its state_dict() with "
            "activation="
        )


def _groups(state: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, AnyArray]]]:
    """The arrays of each layer, by the part of their names before the last point, in order."""
    groups: dict[str, dict[str, AnyArray]] = {}
    for key, value in state.items():
        place, _, name = str(key).rpartition(".")
        groups.setdefault(place, {})[name] = _array(str(key), value)
    yield from groups.items()


_STATISTICS = ("running_mean", "running_var")


def _require_order(name: str, keys: Iterable[Any]) -> None:
    """Refuse keys that are sorted as texts, 10 before 2, as in files of safetensors: their order is not that of the layers."""
    last: dict[str, str] = {}
    for key in map(str, keys):
        parts = key.split(".")
        for at, part in enumerate(parts):
            place = ".".join(parts[:at])
            before = last.get(place, "")
            if part.isdecimal() and before.isdecimal() and int(part) < int(before):
                later = ".".join([*parts[:at], before])
                raise ValueError(
                    f"{name} has {later!r} before {key!r}, so it is not in the order of the layers: give its items in the order of "
                    "the module's state_dict()"
                )
            last[place] = part


def _add_state(assembly: Assembly, state: Mapping[str, Any], activation: str | ActivationFunction | None) -> None:
    _require_order("the state dict", state)
    groups = list(_groups(state))
    matrices = [place for place, arrays in groups if "weight" in arrays and arrays["weight"].ndim == 2]
    if not matrices:
        raise ValueError(f"the state dict has no matrix called weight; its keys are {', '.join(map(repr, list(state)[:20]))}")
    if activation is None and len(matrices) > 1:
        raise ValueError("a state dict does not say which activations there are: give activation=, 'identity' for none")
    function = activations.get("identity" if activation is None else activation)
    for index, (place, arrays) in enumerate(groups):
        is_dense = place in matrices
        allowed = ("weight", "bias") if is_dense or "running_mean" not in arrays else ("weight", "bias", *_STATISTICS)
        surplus = arrays.keys() - {*allowed, "num_batches_tracked"}
        if surplus:
            raise ValueError(f"the state dict has a key {_key(place, min(surplus))!r}, which is of no layer that has a counterpart")
        weight = arrays.get("weight")
        if is_dense:
            assert weight is not None
            assembly.dense(place, weight.T, arrays.get("bias"))
        elif "running_mean" in arrays or "running_var" in arrays:
            missing = [name for name in _STATISTICS if name not in arrays]
            if missing:
                raise ValueError(f"the state dict lacks {_key(place, missing[0])!r}")
            assembly.batch_norm(place, {name: arrays.get(name) for name in allowed}, 0.1, 1e-5)
        elif weight is not None and weight.ndim == 1:
            assembly.layer_norm(place, len(weight), {"weight": weight, "bias": arrays.get("bias")}, 1e-5)
        elif weight is None:
            raise ValueError(f"the state dict lacks {_key(place, 'weight')!r}")
        else:
            raise ValueError(f"{_key(place, 'weight')} must be a matrix or a vector, got shape {weight.shape}")
        before_matrix = index + 1 < len(groups) and groups[index + 1][0] in matrices
        if before_matrix and any(done in matrices for done, _ in groups[: index + 1]):
            assembly.function(function)


def _key(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def to_torch_state_dict(net: Network, *, like: Any = None) -> dict[str, Any]:
    """Return the parameters and statistics of a network as PyTorch's `load_state_dict` takes them.

    Parameters
    ----------
    net : Network
        A network of built-in layers.
    like : torch.nn.Module or state dict, optional
        What the arrays are to be loaded into: its names are used, in its order. Without it, the names are those of a ``Sequential``
        that has one module for each layer, and one for each activation after its dense layer: ``0.weight``, ``0.bias``,
        ``2.weight``, ... The layers of a `Residual` are called ``3.block.0.weight`` and so on.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    ImportError
        When PyTorch is not installed.
    TypeError
        For a custom layer, which the message names.
    ValueError
        When `like` has other arrays than the network, naming the first that differs.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([4, 8, 3], seed=0)
    >>> list(net.to_torch_state_dict())  # doctest: +SKIP
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    torch = import_module("torch")
    arrays = dict(_named_arrays(net.layers, "", "layers"))
    if like is not None:
        target = like.state_dict() if hasattr(like, "state_dict") else like
        if not isinstance(target, Mapping):
            raise TypeError(f"like must be a torch.nn.Module or a state dict, got {type(like).__name__}")
        _require_order("like", target)
        arrays = _renamed(arrays, target)
    return {name: torch.tensor(array) for name, array in arrays.items()}


def _named_arrays(layers: tuple[Layer, ...], prefix: str, ours: str) -> Iterator[tuple[str, AnyArray]]:
    number = 0
    for index, layer in enumerate(layers):
        place, name = f"{prefix}{number}", f"{ours}.{index}"
        if not is_built_in(layer) or not isinstance(layer, (Dense, Activation, Dropout, BatchNorm, LayerNorm, Residual)):
            raise TypeError(f"{name} {type(layer).__name__} is code from outside the library, which has no counterpart in PyTorch")
        if isinstance(layer, Residual):
            yield from _named_arrays(layer.block, f"{place}.block.", f"{name}.block")
        elif isinstance(layer, Dense):
            yield f"{place}.weight", layer.weight.T.copy()
            if layer.bias is not None:
                yield f"{place}.bias", layer.bias.copy()
            number += layer.activation.name != "identity"
        elif isinstance(layer, (BatchNorm, LayerNorm)):
            yield f"{place}.weight", layer.weight.copy()
            yield f"{place}.bias", layer.bias.copy()
            if isinstance(layer, BatchNorm):
                yield f"{place}.running_mean", layer.running_mean.copy()
                yield f"{place}.running_var", layer.running_var.copy()
                yield f"{place}.num_batches_tracked", np.array(0, np.int64)
        number += 1


def _renamed(arrays: dict[str, AnyArray], target: Mapping[str, Any]) -> dict[str, AnyArray]:
    """The arrays under the names of the target, one after another."""
    kinds = [(name, name.rpartition(".")[2], tuple(np.shape(value))) for name, value in target.items()]
    ours = [(name, name.rpartition(".")[2], array.shape) for name, array in arrays.items()]
    for theirs, own in zip(kinds, ours, strict=False):
        if theirs[1:] != own[1:]:
            raise ValueError(f"like has {theirs[0]} {theirs[2]} where the network has {own[0]} {own[2]}")
    if len(kinds) != len(ours):
        raise ValueError(f"like has {len(kinds)} arrays, but the network {len(ours)}")
    return {name: array for (name, *_), array in zip(kinds, arrays.values(), strict=True)}
