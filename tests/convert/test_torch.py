"""PyTorch: modules and state dicts become networks that predict the same, and networks become state dicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backprop as bp
from backprop import activations
from backprop.activations import ActivationFunction

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def trained(module: Any) -> Any:
    """The module with weights and statistics that are not those of the start, in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) - 0.3 * (tensor.ndim > 1) + 0.2)
    return module.eval()


def assert_same(net: bp.Network, module: Any, columns: int, dtype: Any) -> None:
    x = torch.randn(20, columns, generator=torch.Generator().manual_seed(1), dtype=dtype)
    expected = module(x).detach().numpy()
    assert net.dtype == expected.dtype
    np.testing.assert_allclose(
        net.predict(x.numpy()), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * np.abs(expected).max()
    )


FUNCTIONS = [
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(0.3),
    nn.ELU(0.7),
    nn.SELU(),
    nn.GELU(),
    nn.GELU(approximate="tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Softplus(),
    nn.Softsign(),
    nn.Hardtanh(),
    nn.Hardtanh(0, 6),
    nn.Softmax(dim=1),
    nn.Identity(),
]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_a_module_predicts_the_same_and_its_state_dict_comes_back(function: Any, dtype: Any) -> None:
    module = nn.Sequential(
        nn.Linear(5, 7),
        function,
        nn.BatchNorm1d(7, eps=1e-3),
        function,
        nn.Dropout(0.3),
        nn.LayerNorm(7),
        nn.Linear(7, 3, bias=False),
    )
    module = trained(module.to(dtype))
    net = bp.convert.from_torch(module)
    assert_same(net, module, 5, dtype)
    back = net.to_torch_state_dict(like=module)
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == back[name].dtype
        assert name.endswith("num_batches_tracked") or torch.equal(back[name], tensor)
    module.load_state_dict(back)
    assert_same(net, module, 5, dtype)


def test_without_like_the_names_are_those_of_a_plain_sequential() -> None:
    net = bp.Network(
        [
            bp.Dense(4, 6, activation="relu"),
            bp.Dropout(0.1),
            bp.Dense(6, 6),
            bp.BatchNorm(6),
            bp.Activation("tanh"),
            bp.Dense(6, 2),
        ],
        dtype="float64",
        seed=0,
    )
    module = nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.1), nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)
    ).double()
    module.load_state_dict(net.to_torch_state_dict())
    assert_same(net, module.eval(), 4, torch.float64)
    assert_same(bp.convert.from_torch(module), module, 4, torch.float64)


def test_nested_modules_and_options() -> None:
    module = nn.Sequential(
        nn.Flatten(),
        nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.BatchNorm1d(6, affine=False, momentum=0.3), nn.ReLU())),
        nn.Sequential(nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 1)),
    )
    module = trained(module)
    net = bp.convert.from_torch(module, loss="mse")
    assert_same(net, module, 4, torch.float32)
    assert net.layers[1].momentum == 0.3
    assert net.loss.name == "mse"
    net.fit(np.zeros((4, 4)), np.zeros(4), loss=net.loss)
    module[1][0].requires_grad_(False)
    assert [layer.trainable for layer in bp.convert.from_torch(module).layers] == [False, True, True, True, True]


def test_a_lone_layer_is_a_network() -> None:
    module = trained(nn.Linear(3, 2))
    assert_same(bp.convert.from_torch(module), module, 3, torch.float32)


def test_a_loss_takes_the_place_of_the_activation_that_it_applies() -> None:
    module = trained(nn.Sequential(nn.Linear(3, 2), nn.Softmax(dim=-1)))
    net = bp.convert.from_torch(module, loss="cross_entropy")
    assert net.output_activation.name == "identity"
    x = torch.randn(5, 3)
    np.testing.assert_allclose(net.predict_proba(x.numpy()), module(x).detach().numpy(), rtol=1e-5)
    with pytest.raises(ValueError, match="cross_entropy takes any real number"):
        bp.convert.from_torch(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), loss="cross_entropy")


@pytest.mark.parametrize("as_arrays", [False, True])
def test_a_state_dict_takes_the_activation_that_it_is_given(as_arrays: bool) -> None:
    module = trained(
        nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 2))
    )
    state = module.state_dict()
    if as_arrays:
        state = {name: tensor.numpy() for name, tensor in state.items()}
    assert_same(bp.convert.from_torch(state, activation="tanh"), module, 4, torch.float32)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.last = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)

        def forward(self, x: Any) -> Any:
            return self.last(torch.nn.functional.leaky_relu(self.norm(self.first(x)), 0.2))

    own = trained(Net())
    net = bp.convert.from_torch(own.state_dict(), activation=ActivationFunction("leaky_relu", alpha=0.2))
    assert_same(net, own, 4, torch.float32)
    assert_same(net, own.load_state_dict(net.to_torch_state_dict(like=own)) and own, 4, torch.float32)


def test_low_precision_becomes_float32() -> None:
    module = nn.Linear(3, 2).bfloat16()
    assert bp.convert.from_torch(module).dtype == np.float32
    assert bp.convert.from_torch(nn.Linear(3, 2).half().state_dict()).dtype == np.float32


class Own(nn.Module):
    """A class whose forward is code."""

    def forward(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 2), nn.Conv1d(1, 1, 1))), r"^1\.1 Conv1d has no counterpart"),
        (nn.Sequential(nn.Linear(3, 3), Own()), r"^1 Own is a class of its own"),
        (Own(), r"^Own is a class of its own"),
        (nn.Sequential(nn.Linear(3, 3), nn.LogSoftmax(1)), r"^1 LogSoftmax .* loss='cross_entropy'"),
        (nn.Sequential(nn.Linear(3, 3), nn.Softplus(beta=2)), r"^1 Softplus has beta=2"),
        (nn.Sequential(nn.Linear(3, 3), nn.Softplus(threshold=1)), r"^1 Softplus has threshold=1"),
        (nn.Sequential(nn.Linear(3, 3), nn.Hardtanh(-2, 2)), r"^1 Hardtanh has bounds \(-2, 2\)"),
        (nn.Sequential(nn.Linear(3, 3), nn.Softmax(dim=0)), r"^1 Softmax has dim=0"),
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, momentum=None)), r"^1 BatchNorm1d has momentum=None"),
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)), r"^1 has no running statistics"),
        (nn.Sequential(nn.Linear(3, 3), nn.LayerNorm((2, 3))), r"^1 LayerNorm normalizes over \(2, 3\)"),
        (nn.Sequential(nn.Linear(3, 3), nn.Linear(4, 2)), r"^1 takes 4 inputs but 0 gives 3"),
        (nn.Sequential(nn.Linear(3, 3), nn.Dropout(1.0)), r"^1: rate must be"),
        (nn.Sequential(nn.ReLU()), r"^the model has no layer with weights"),
        (nn.Sequential(nn.Linear(3, 3), nn.Flatten(0)), r"^1 Flatten has start_dim=0"),
        ("model.pt", r"^model must be a torch.nn.Module or a state dict, got str"),
    ],
)
def test_what_has_no_counterpart_is_named_with_its_place(module: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        bp.convert.from_torch(module)


@pytest.mark.parametrize("place", ["", "0", "0.0", "0.1", "1"])
def test_a_module_with_hooks_or_a_forward_of_its_own_is_refused(place: str) -> None:
    def module() -> Any:
        return nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.Identity()), nn.Linear(3, 2))

    for method in ("register_forward_hook", "register_forward_pre_hook"):
        hooked = module()
        getattr(hooked.get_submodule(place), method)(lambda *given: None)
        with pytest.raises(TypeError, match=rf"^{place} ?\w+ has forward hooks"):
            bp.convert.from_torch(hooked)
    replaced = module()
    replaced.get_submodule(place).forward = lambda x: 2 * x
    with pytest.raises(TypeError, match=rf"^{place} ?\w+ has a forward of its own"):
        bp.convert.from_torch(replaced)


@pytest.mark.filterwarnings("ignore")  # weight_norm is deprecated
@pytest.mark.parametrize("make", ["spectral_norm", "weight_norm", "prune"])
def test_weights_that_hooks_of_torch_make_are_as_the_next_forward_has_them(make: str) -> None:
    from torch.nn.utils import prune

    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    for index in (0, 2):
        if make == "prune":
            prune.l1_unstructured(module[index], "weight", amount=0.3)
            prune.random_unstructured(module[index], "weight", amount=0.3)
            prune.l1_unstructured(module[index], "bias", amount=0.5)
        else:
            getattr(nn.utils, make)(module[index])
    module(torch.randn(3, 4))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 3
    module.eval()
    net = bp.convert.from_torch(module)
    assert_same(net, module, 4, torch.float32)


def test_activation_is_for_state_dicts() -> None:
    with pytest.raises(TypeError, match="activation is for state dicts"):
        bp.convert.from_torch(nn.Sequential(nn.Linear(2, 2)), activation="relu")


def test_what_does_not_fit_like_is_named() -> None:
    net = bp.mlp([4, 6, 2], seed=0)
    with pytest.raises(ValueError, match=r"like has 0.weight \(5, 4\) where the network has 0.weight \(6, 4\)"):
        net.to_torch_state_dict(like=nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2)))
    with pytest.raises(ValueError, match="like has 2 arrays, but the network 4"):
        net.to_torch_state_dict(like=nn.Linear(4, 6))
    with pytest.raises(TypeError, match="like must be"):
        net.to_torch_state_dict(like=3)
    many = bp.Network([bp.Dense(3, 3, bias=False) for _ in range(11)], seed=0)
    names = sorted(many.to_torch_state_dict())
    with pytest.raises(ValueError, match=r"like has '10' before '2.weight', so it is not in the order of the layers"):
        many.to_torch_state_dict(like={name: np.zeros((3, 3)) for name in names})


def test_a_residual_keeps_the_names_of_its_block() -> None:
    net = bp.Network([bp.Residual([bp.Dense(4, 4, activation="relu"), bp.Dense(4, 4)])], seed=0)
    assert list(net.to_torch_state_dict()) == ["0.block.0.weight", "0.block.0.bias", "0.block.2.weight", "0.block.2.bias"]


@pytest.mark.parametrize("name", activations.NAMES)
def test_every_activation_has_a_module(name: str) -> None:
    """A built-in activation without a counterpart would be missing from the conversion."""
    assert any(bp.convert.from_torch(trained(nn.Sequential(nn.Linear(2, 2), f))).output_activation.name == name for f in FUNCTIONS)
