"""State dicts of plain arrays, which need no PyTorch."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backprop as bp


def state(**changes: Any) -> dict[str, Any]:
    arrays = {"a.weight": np.ones((3, 2)), "a.bias": np.ones(3), "b.weight": np.ones((1, 3)), "b.bias": np.ones(1)}
    changed = {**arrays, **{key.replace("__", "."): value for key, value in changes.items()}}
    return {key: value for key, value in changed.items() if value is not None}


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (state(), {}, "give activation="),
        (state(b__weight=None), {"activation": "relu"}, r"the state dict lacks 'b.weight'"),
        (state(b__scale=np.ones(1)), {"activation": "relu"}, r"the state dict has a key 'b.scale'"),
        (state(c=np.ones(1)), {"activation": "relu"}, r"the state dict has a key 'c'"),
        (state(b__weight=np.ones((1, 4))), {"activation": "relu"}, r"b takes 4 inputs but a gives 3"),
        (state(b__bias=np.ones(2)), {"activation": "relu"}, r"b.bias must have shape \(1,\), got \(2,\)"),
        (
            state(a__weight=np.ones((3, 2, 1))),
            {"activation": "relu"},
            r"a.weight must be a matrix or a vector, got shape \(3, 2, 1\)",
        ),
        (state(n__weight=np.ones(1), n__running_mean=np.ones(1)), {"activation": "relu"}, r"the state dict lacks 'n.running_var'"),
        (state(b__weight="x"), {"activation": "relu"}, r"b.weight must"),
        ({}, {}, "the state dict has no matrix called weight"),
        (state(), {"activation": "swish"}, "activation must be one of"),
    ],
)
def test_keys_and_shapes_that_do_not_fit_are_named(arrays: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        bp.convert.from_torch(arrays, **options)


def test_pairs_become_layers_in_order_with_the_activation_between() -> None:
    norm = {"n.weight": np.full(3, 2.0), "n.bias": np.ones(3), "n.running_mean": np.ones(3), "n.running_var": np.full(3, 4.0)}
    arrays = state()
    first, second = dict(list(arrays.items())[:2]), dict(list(arrays.items())[2:])
    net = bp.convert.from_torch({**first, **norm, **second}, activation="relu", loss="mse")
    assert [type(layer).__name__ for layer in net.layers] == ["Dense", "BatchNorm", "Activation", "Dense"]
    expected = 3 * max(0.0, 2 * (2 + 1 - 1) / np.sqrt(4 + 1e-5) + 1) + 1
    np.testing.assert_allclose(net.predict([[1.0, 1.0]]), [[expected]], rtol=1e-12)
    assert net.loss.name == "mse"


def test_the_activation_comes_once_after_all_that_stands_between_two_matrices() -> None:
    def layer_norm(name: str, width: int) -> dict[str, Any]:
        return {f"{name}.weight": np.ones(width), f"{name}.bias": np.zeros(width)}

    def batch_norm(name: str, width: int) -> dict[str, Any]:
        return {**layer_norm(name, width), f"{name}.running_mean": np.zeros(width), f"{name}.running_var": np.ones(width)}

    arrays = state()
    first, second = dict(list(arrays.items())[:2]), dict(list(arrays.items())[2:])
    whole = {**batch_norm("i", 2), **first, **batch_norm("j", 3), **layer_norm("k", 3), **layer_norm("l", 3), **second}
    net = bp.convert.from_torch({**whole, **layer_norm("m", 1), **batch_norm("n", 1)}, activation="tanh")
    kinds = [type(layer).__name__ for layer in net.layers]
    between = ["BatchNorm", "LayerNorm", "LayerNorm", "Activation"]
    assert kinds == ["BatchNorm", "Dense", *between, "Dense", "LayerNorm", "BatchNorm"]


def test_torch_is_not_imported_to_read_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    original: Callable[..., Any] = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        assert name.partition(".")[0] != "torch"
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    bp.convert.from_torch(state(), activation="relu")


def test_a_state_dict_sorted_by_the_text_of_its_names_is_refused() -> None:
    state = {f"{2 * index}.weight": np.full((3, 3), float(index)) for index in range(7)}
    net = bp.convert.from_torch(state, activation="tanh")
    assert [layer.weight[0, 0] for layer in net.layers] == list(range(7))
    shuffled = {name: state[name] for name in sorted(state)}  # as files of safetensors hold it
    with pytest.raises(ValueError, match=r"the state dict has '12' before '2.weight', so it is not in the order of the layers"):
        bp.convert.from_torch(shuffled, activation="tanh")
    nested = {f"body.{name}": array for name, array in shuffled.items()}
    with pytest.raises(ValueError, match=r"'body.12' before 'body.2.weight'"):
        bp.convert.from_torch(nested, activation="tanh")
