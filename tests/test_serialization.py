"""Networks come back from files as they were; whatever else a file says is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import backprop as bp
from backprop import losses, serialization
from backprop._model_file import read_file, write_file
from backprop.activations import ActivationFunction
from backprop.layers import walk
from backprop.serialization import ModelFormatError, architecture, network_from


class Scale(bp.Layer):
    """A layer of the user's own, with a parameter, a buffer and an option that is an array."""

    def __init__(self, width, offset):
        self.width = self.fan_in = self.fan_out = width
        self.offset = np.asarray(offset, float)
        self.scale = np.full(width, 2.0)

    def parameter_shapes(self):
        return {"scale": (self.width,)}

    def buffer_shapes(self):
        return {"count": (1,)}

    def forward(self, x, training):
        return x * self.scale + self.offset

    def backward(self, grad_outputs):
        return grad_outputs * self.scale


def rich(dtype="float32"):
    """A network with every kind of layer and option, none of its numbers as it started."""
    net = bp.Network(
        [
            bp.Dense(5, 6, activation=ActivationFunction("leaky_relu", alpha=0.2), init="orthogonal"),
            bp.BatchNorm(6, momentum=0.3, eps=1e-3),
            bp.Residual([bp.Dense(6, 6, bias=False), bp.Residual([bp.LayerNorm(6, eps=1e-4), bp.Dropout(0.25)])]),
            bp.Activation("gelu"),
            bp.Dense(6, 3),
        ],
        dtype=dtype,
        seed=2**64 - 1,
    )
    net.parameters = np.random.default_rng(0).normal(size=net.parameters.size)
    net.buffers = np.random.default_rng(1).uniform(1, 2, net.buffers.size)
    net.layers[0].trainable = False
    net.layers[2].block[0].trainable = False
    net.dropout_step = 12345
    net.loss = losses.get({"name": "cross_entropy", "label_smoothing": 0.125})
    return net


def test_what_is_saved_is_loaded(tmp_path, dtype, rng):
    net = rich(dtype)
    net.save(tmp_path / "model.safetensors")
    loaded = bp.load(tmp_path / "model.safetensors")
    assert repr(loaded) == repr(net)
    assert loaded.seed == net.seed
    assert loaded.dropout_step == 12345
    assert repr(loaded.loss) == repr(net.loss)
    assert loaded.loss.label_smoothing == 0.125
    assert [layer.trainable for _, layer in loaded._named] == [layer.trainable for _, layer in net._named]
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded.parameters, net.parameters)
    np.testing.assert_array_equal(loaded.buffers, net.buffers)
    x = rng.normal(size=(4, 5))
    np.testing.assert_array_equal(loaded.forward(x, training=True), net.forward(x, training=True))
    np.testing.assert_array_equal(loaded.predict(x), net.predict(x))
    assert np.shares_memory(loaded.layers[0].weight, loaded.parameters)


def test_weights_are_not_drawn_again(tmp_path, monkeypatch):
    net = bp.mlp([3, 3], seed=0)
    net.save(tmp_path / "model")
    monkeypatch.delattr(bp.Dense, "initialize")
    monkeypatch.delattr(bp.Layer, "initialize")
    np.testing.assert_array_equal(bp.load(tmp_path / "model").parameters, net.parameters)


def test_a_file_of_the_old_name_is_replaced(tmp_path):
    for seed in (0, 1):
        bp.mlp([3, 3], seed=seed).save(str(tmp_path / "model"))
    assert bp.load(str(tmp_path / "model")).seed == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_path_may_be_bytes(tmp_path):
    path, net = os.fsencode(tmp_path / "m.safetensors"), bp.mlp([2, 2], seed=0)
    net.save(path)
    np.testing.assert_array_equal(bp.load(path).parameters, net.parameters)


def test_metadata(tmp_path):
    metadata = {"classes": ["a", "b"], "mean": np.array([0.5, 1.5]), "n": 3}
    net = bp.mlp([3, 3], seed=0)
    net.save(tmp_path / "model", metadata=metadata)
    assert serialization.read_metadata(tmp_path / "model") == {"classes": ["a", "b"], "mean": [0.5, 1.5], "n": 3}
    net.save(tmp_path / "model")
    assert serialization.read_metadata(tmp_path / "model") == {}
    with pytest.raises(TypeError, match=r"metadata holds .* which JSON cannot"):
        net.save(tmp_path / "model", metadata={"code": print})


def test_other_tools_read_the_weights(tmp_path):
    from safetensors.numpy import load_file

    net = rich()
    net.save(tmp_path / "model")
    state = net.state_dict()
    tensors = load_file(tmp_path / "model")
    assert tensors.keys() == state.keys()
    assert all((tensors[name] == state[name]).all() for name in state)


def test_a_loss_of_ones_own_is_left_out(tmp_path):
    net = bp.mlp([3, 3], seed=0)
    net.loss = losses.get(lambda outputs, targets: (0.0, outputs))
    net.save(tmp_path / "model")
    assert bp.load(tmp_path / "model").loss is None


@pytest.fixture
def own(tmp_path):
    """A file with a layer of the user's own, inside a residual block too."""
    net = bp.Network([bp.Dense(2, 3), Scale(3, [1, 2, 3]), bp.Residual([Scale(3, 0.5)])], seed=0)
    net.layers[1].scale = [4, 5, 6]
    net.layers[1].count = [7]
    net.layers[1].trainable = False
    net.save(tmp_path / "own")
    return tmp_path / "own", net


def test_own_layers_are_loaded_by_name(own):
    path, net = own
    loaded = bp.load(path, layers={"Scale": Scale})
    assert type(loaded.layers[1]) is Scale
    assert not loaded.layers[1].trainable
    np.testing.assert_array_equal(loaded.parameters, net.parameters)
    np.testing.assert_array_equal(loaded.predict(np.ones((2, 2))), net.predict(np.ones((2, 2))))


def test_own_layers_need_their_class(own):
    path, _ = own
    for layers in (None, {}, {"Other": Scale}):
        with pytest.raises(TypeError, match=rf"{path}: it has a layer of your own class Scale; .* layers={{'Scale': Scale}}"):
            bp.load(path, layers=layers)
    for wrong in (dict, "Scale", bp.Layer):
        with pytest.raises(ModelFormatError, match="'Scale' is not a layer"):
            bp.load(path, layers={"Scale": wrong})


def test_a_class_with_a_name_of_ours_stays_itself(tmp_path):
    own_dense = type("Dense", (Scale,), {"__init__": lambda self, width: Scale.__init__(self, width, 0)})
    net = bp.Network([own_dense(3)], seed=0)
    net.save(tmp_path / "model")
    with pytest.raises(TypeError, match="layer of your own class Dense"):
        bp.load(tmp_path / "model")
    assert type(bp.load(tmp_path / "model", layers={"Dense": own_dense}).layers[0]) is own_dense


def test_a_config_that_json_cannot_hold(tmp_path):
    net = bp.Network([Scale(3, 0.0)], seed=0)
    net.layers[0].offset = {1, 2}
    with pytest.raises(TypeError, match=r"the config of Scale holds \{1, 2\}, which JSON cannot"):
        net.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def forged(path, change, net=None, kind="model"):
    """A file in every way correct but for what `change` does to the description and the tensors."""
    net = net or rich()
    description = json.loads(json.dumps(architecture(net)))
    tensors = net.state_dict()
    change(description, tensors)
    write_file(path, tensors, {"kind": kind, "architecture": description})
    return path


def set_config(layer, **config):
    return lambda description, tensors: description["layers"][layer]["config"].update(config)


def set_key(key, value):
    return lambda description, tensors: description.update({key: value})


def set_layer(layer, value):
    return lambda description, tensors: description["layers"].__setitem__(layer, value)


LIES = {
    "a layer too many": lambda d, t: d["layers"].append({"layer": "Dense", "config": {"fan_in": 3, "fan_out": 1}}),
    "a layer too few": lambda d, t: d["layers"].pop(),
    "no layers": set_key("layers", []),
    "layers that are an object": set_key("layers", {}),
    "layers that are text": set_key("layers", "Dense"),
    "no list of layers": lambda d, t: d.pop("layers"),
    "a layer that is text": set_layer(0, "Dense"),
    "a layer without class": set_layer(0, {"config": {}}),
    "a layer without config": set_layer(0, {"layer": "Dense"}),
    "an unknown layer": set_layer(0, {"layer": "Conv", "config": {}}),
    "a function for a layer": set_layer(0, {"layer": "walk", "config": {"layers": [], "prefix": ""}}),
    "a module for a layer": set_layer(0, {"layer": "_base", "config": {}}),
    "the base for a layer": set_layer(0, {"layer": "Layer", "config": {}}),
    "a number for a class": set_layer(0, {"layer": 3, "config": {}}),
    "an unknown option": set_config(0, hack=1),
    "a missing option": lambda d, t: d["layers"][0]["config"].pop("fan_in"),
    "a wrong width": set_config(0, fan_out=7),
    "a negative width": set_config(0, fan_in=-5),
    "a float width": set_config(0, fan_in=5.0),
    "an enormous width": set_config(0, fan_in=10**30),
    "a width that is infinite": set_config(0, fan_in=float("inf")),
    "a width that is NaN": set_config(0, fan_in=float("nan")),
    "a width that is a list": set_config(0, fan_in=[5]),
    "an unknown activation": set_config(0, activation="os.system"),
    "an activation that is a list": set_config(0, activation=["relu"]),
    "an activation with another option": set_config(0, activation={"name": "relu", "beta": 3}),
    "an infinite alpha": set_config(0, activation={"name": "elu", "alpha": float("inf")}),
    "an unknown initializer": set_config(0, init="eval"),
    "bias that is text": set_config(0, bias="yes"),
    "eps that is NaN": set_config(1, eps=float("nan")),
    "momentum too large": set_config(1, momentum=2),
    "a block that is no list": set_config(2, block=3),
    "a block of numbers": set_config(2, block=[3]),
    "an empty block": set_config(2, block=[]),
    "trainable that is text": lambda d, t: d["layers"][0].update(trainable=""),
    "custom that is a number": lambda d, t: d["layers"][0].update(custom=1),
    "an error as long as a book": set_config(0, fan_in="5" * 1_000_000),
    "another dtype": set_key("dtype", "float64"),
    "float16": set_key("dtype", "float16"),
    "objects": set_key("dtype", "O"),
    "a dtype that is a list": set_key("dtype", ["f4"]),
    "no dtype": lambda d, t: d.pop("dtype"),
    "a negative seed": set_key("seed", -1),
    "a seed too large": set_key("seed", 2**64),
    "a seed that is a float": set_key("seed", 1.5),
    "a seed that is true": set_key("seed", True),
    "a dropout step that is text": set_key("dropout_step", "1"),
    "a negative dropout step": set_key("dropout_step", -1),
    "an unknown loss": set_key("loss", {"name": "eval"}),
    "a loss with another option": set_key("loss", {"name": "mse", "x": 1}),
    "a loss that is text": set_key("loss", "mse"),
    "a tensor too few": lambda d, t: t.pop("layers.4.bias"),
    "a tensor too many": lambda d, t: t.update({"layers.9.weight": np.ones(3, np.float32)}),
    "a foreign tensor": lambda d, t: t.update({"optimizer.m": np.ones(3, np.float32)}),
    "a tensor of another shape": lambda d, t: t.update({"layers.4.bias": np.ones((3, 1), np.float32)}),
    "a tensor that would broadcast": lambda d, t: t.update({"layers.4.bias": np.ones(1, np.float32)}),
    "a tensor of another dtype": lambda d, t: t.update({"layers.4.bias": np.ones(3)}),
    "a tensor of integers": lambda d, t: t.update({"layers.4.bias": np.ones(3, np.int32)}),
}


@pytest.mark.parametrize("name", LIES)
def test_files_that_lie_in_earnest(name, tmp_path):
    path = forged(tmp_path / "forged", LIES[name])
    with pytest.raises(ModelFormatError) as error:
        bp.load(path)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < 2000


def test_the_forgery_without_a_change_is_fine(tmp_path):
    assert repr(bp.load(forged(tmp_path / "f", lambda description, tensors: None))) == repr(rich())


@pytest.mark.parametrize("depth", [50, 300, 5_000])
def test_deep_nesting_by_hand(depth, tmp_path):
    # Written as text, because Python's own encoder stops early.
    layer = '{"layer":"Dropout","config":{"rate":0.5}}'
    text = '{"layer":"Residual","config":{"block":[' * depth + layer + "]}}" * depth
    description = f'{{"dtype":"float32","seed":0,"dropout_step":0,"loss":null,"layers":[{text}]}}'
    from safetensors.numpy import save

    from backprop._model_file import _checksum

    texts = {"format": "backprop", "format_version": "1", "kind": '"model"', "architecture": description}
    texts["checksum"] = _checksum({}, texts)
    path = tmp_path / "deep"
    path.write_bytes(save({}, texts))
    with pytest.raises(ModelFormatError, match=r"nested too deeply|at least one layer that says how wide it is"):
        bp.load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
def test_a_described_giant_is_not_allocated(tmp_path):
    giant = {"layer": "Dense", "config": {"fan_in": 50_000, "fan_out": 50_000}}
    path = forged(tmp_path / "giant", lambda description, tensors: description["layers"].append(giant))
    script = """
        import resource, sys
        import backprop as bp
        from backprop.serialization import ModelFormatError
        bp.mlp([2, 2])
        resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
        try:
            bp.load(sys.argv[1])
        except ModelFormatError:
            print("refused")
    """
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.stdout.strip() == "refused", result.stderr


def test_a_checkpoint_gives_its_network(tmp_path):
    extra = lambda description, tensors: tensors.update({"optimizer.m": np.ones(7)})  # noqa: E731
    path = forged(tmp_path / "checkpoint", extra, kind="checkpoint")
    assert repr(bp.load(path)) == repr(rich())
    more = lambda description, tensors: tensors.update({"layers.9.weight": np.ones(7)})  # noqa: E731
    with pytest.raises(ModelFormatError, match=r"it has a tensor layers\.9\.weight that the architecture does not"):
        bp.load(forged(tmp_path / "checkpoint", more, kind="checkpoint"))


def test_a_missing_file_is_just_that(tmp_path):
    with pytest.raises(FileNotFoundError):
        bp.load(tmp_path / "missing")


def test_the_error_is_a_value_error():
    assert issubclass(ModelFormatError, ValueError)
    assert bp.ModelFormatError is ModelFormatError


def test_network_from_does_not_keep_the_tensors(tmp_path):
    rich().save(tmp_path / "model")
    tensors, content = read_file(tmp_path / "model")
    net = network_from(content["architecture"], tensors)
    assert not any(np.shares_memory(tensor, net.parameters) for tensor in tensors.values())


class Pair(bp.Layer):
    """Two layers, and a parameter of its own."""

    fan_in = fan_out = 3

    def __init__(self, first, second):
        self.first, self.second = first, second
        self.scale = np.ones(3)

    def parameter_shapes(self):
        return {"scale": (3,)}

    def children(self):
        return {"first": self.first, "second": self.second}

    def forward(self, x, training):
        return self.second.forward(self.first.forward(x, training), training) * self.scale

    def backward(self, grad_outputs):
        return self.first.backward(self.second.backward(grad_outputs * self.scale))


@pytest.mark.parametrize("frozen", [(), (0,), (1, 2), (0, 1)])
def test_a_layer_with_others_inside_is_frozen_by_itself(frozen, tmp_path):
    pair = Pair(bp.Dense(3, 3), bp.Dense(3, 3))
    for index in frozen:
        (pair, pair.first, pair.second)[index].trainable = False
    net = bp.Network([pair])
    net.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors", layers={"Pair": Pair})
    assert [layer.trainable for _, layer in walk(again.layers, "layers")] == [index not in frozen for index in range(3)]


class Unlike(bp.Dense):
    def __init__(self, n):
        super().__init__(n, n)


class Tripled(bp.Network):
    def predict(self, *arguments, **options):
        return 3 * super().predict(*arguments, **options)


def assigned(place):
    net = bp.mlp([2, 2], seed=0)
    at = net if place == "network" else net.layers[0]
    at.forward = lambda x, training=False: x
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: bp.Network([Unlike(2)]),
            "Unlike cannot be made again of what its config.. returns, fan_in, fan_out, .*write a config",
        ),
        (lambda: Tripled([bp.Dense(2, 2)]), "this Tripled replaces predict, which is code and cannot be saved"),
        (lambda: assigned("network"), "this Network replaces forward, which is code and cannot be saved"),
        (lambda: assigned("layer"), r"Dense\(2, 2\) has a forward that was assigned to it, which is code and cannot be saved"),
    ],
)
def test_what_could_not_be_loaded_as_it_is_is_not_saved(make, message, tmp_path):
    net = make()
    for save in (net.save, bp.Trainer(net, loss="mse").save):
        with pytest.raises(TypeError, match=message):
            save(tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_patch_that_was_undone_is_nothing_to_refuse(tmp_path, monkeypatch):
    net = bp.mlp([2, 2], seed=0)
    with monkeypatch.context() as patch:
        for at in (net, net.layers[0]):
            patch.setattr(at, "forward", lambda x, training=False: x)
    net.save(tmp_path / "m.safetensors")
    bp.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("metadata", [[1, 2], "text", 5], ids=repr)
def test_metadata_is_a_mapping(metadata, tmp_path):
    with pytest.raises(TypeError, match="metadata must be a mapping, got "):
        bp.mlp([2, 2]).save(tmp_path / "m.safetensors", metadata=metadata)


@pytest.mark.parametrize("read", [bp.load, bp.Trainer.load, bp.Ensemble.load])
def test_classes_of_layers_are_a_mapping(read, tmp_path):
    net = bp.mlp([2, 2], seed=0)
    bp.Trainer(net, loss="mse").save(tmp_path / "m.safetensors")
    with pytest.raises(TypeError, match=r"^layers must be a mapping of names to classes of layers, got <class"):
        read(tmp_path / "m.safetensors", layers=Scale)
