"""C files: strict compilers take them, and the programs compute what the network predicts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_networks import random_network

import backprop as bp
from backprop import activations
from backprop.activations import ActivationFunction
from backprop.export._c_text import literal, string

pytestmark = pytest.mark.once

STRICT = ["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Werror", "-O2"]
COMPILERS = {
    "gcc": ["gcc", "-std=c99"],
    "clang": ["clang", "-std=c99"],
    "sanitizers": ["gcc", "-std=c99", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "g++": ["g++", "-std=c++11", "-x", "c++"],
    "clang++": ["clang++", "-std=c++11", "-x", "c++"],
}

MAIN = """
#include <stdio.h>
{declarations}
int main(void) {{
    static float x[{inputs}];
    while (fread(x, sizeof(float), {inputs}, stdin) == {inputs}) {{
{calls}
    }}
    return {tests};
}}
"""


def compiler(name: str) -> list[str]:
    command = COMPILERS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return command


def run(texts: dict[str, str], outputs: dict[str, int], x: np.ndarray, folder: Path, command: list[str]) -> dict[str, np.ndarray]:
    """Compile models into one program and return what each gives for the rows of x, and its labels under name + "_label"."""
    declarations, calls, tests = [], [], ["0"]
    for name, text in texts.items():
        (folder / f"{name}.c").write_text(text)
        declarations.append(f'#define {name.upper()}_DECLARATIONS\n#define {name.upper()}_TEST\n#include "{name}.c"')
        calls.append(f"        {{ float y[{outputs[name]}]; {name}_predict(x, y); fwrite(y, 4, {outputs[name]}, stdout); }}")
        if f"{name}_label" in text:
            calls.append(f"        {{ int label = {name}_label(x); fwrite(&label, 4, 1, stdout); }}")
        tests.append(f"{name}_test()")
    values = {"declarations": "\n".join(declarations), "calls": "\n".join(calls), "tests": " + ".join(tests)}
    (folder / "main.c").write_text(MAIN.format(inputs=x.shape[1], **values))
    defines = [f"-D{name.upper()}_TEST" for name in texts] + [f"-D{name.upper()}_PROBABILITIES" for name in texts]
    objects = []
    for name in texts:
        subprocess.run([*command, *STRICT, *defines, "-c", f"{name}.c", "-o", f"{name}.o"], cwd=folder, check=True)
        objects.append(f"{name}.o")
    subprocess.run([*command, "-c", "main.c", "-o", "main.o"], cwd=folder, check=True)
    linker = [part for part in command if part not in ("-x", "c++")]
    subprocess.run([*linker, "main.o", *objects, "-o", "program", "-lm"], cwd=folder, check=True)
    done = subprocess.run(["./program"], input=x.astype(np.float32).tobytes(), cwd=folder, check=True, capture_output=True)
    words = {name: outputs[name] for name in texts}
    row = [(name, np.float32, words[name]) for name in texts]
    fields = []
    for name, kind, width in row:
        fields.append((name, kind, (width,)))
        if f"{name}_label" in texts[name]:
            fields.append((f"{name}_label", np.int32))
    found = np.frombuffer(done.stdout, np.dtype(fields))
    assert len(found) == len(x)
    return {name: found[name] for name in found.dtype.names}


FUNCTIONS = [*activations.NAMES, "leaky_relu 0.3", "leaky_relu 0", "elu 0.7", "elu 0"]


def activation(text: str) -> ActivationFunction:
    name, _, alpha = text.partition(" ")
    return ActivationFunction(name, alpha=float(alpha) if alpha else None)


@pytest.mark.parametrize("tool", COMPILERS)
def test_every_activation_agrees_at_extremes_in_one_program(tool: str, tmp_path: Path) -> None:
    points = [0.0, -0.0, 1e-6, -1e-6, 0.47, -0.47, 1, -1, 4, -4, 20, -20, 90, -90, 3e38, -3e38, np.inf, -np.inf, np.nan]
    x = np.array(points, np.float32)[:, None]
    nets = {}
    for text in FUNCTIONS:
        net = bp.Network([bp.Activation(activation(text)), bp.Dense(1, 1)], dtype="float32", seed=0)
        net.layers[1].weight = [[1.0]]
        nets[text.replace(" ", "_").replace(".", "_")] = net
    texts = {name: bp.export.c(net, name=name) for name, net in nets.items()}
    results = run(texts, dict.fromkeys(nets, 1), x, tmp_path, compiler(tool))
    for name, net in nets.items():
        with np.errstate(all="ignore"):
            expected = net.predict(x)
        np.testing.assert_allclose(results[name], expected, rtol=2e-6, atol=1e-30, err_msg=name)


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("buffers", ["stack", "static"])
def test_random_networks_predict_the_same_in_one_program(weights: str, buffers: str, tmp_path: Path) -> None:
    nets = {f"net{seed}": random_network(seed) for seed in range(40) if random_network(seed).n_inputs == 8}
    assert len(nets) > 5
    x = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    texts = {name: bp.export.c(net, name=name, weights=weights, buffers=buffers) for name, net in nets.items()}
    results = run(texts, {name: net.n_outputs for name, net in nets.items()}, x, tmp_path, compiler("sanitizers"))
    for name, net in nets.items():
        expected = net.predict(x)
        size = np.abs(expected).max()
        tolerance = 1e-4 if weights == "float32" else 0.2
        assert np.abs(results[name] - expected).max() < tolerance * size, name


OFF_CENTRE = ["batch_norm", "layer_norm", "activation", "twice"]


def off_centre(kind: str, dtype: str) -> tuple[bp.Network, np.ndarray, np.ndarray]:
    """A network that normalizes inputs whose mean exceeds their spread, such inputs, and its outputs in float64."""
    rng = np.random.default_rng(0)
    mean, std = 3e5 * rng.uniform(0.9, 1.1, 4), rng.uniform(0.5, 2.0, 4)
    first = bp.BatchNorm(4)
    inner = [first, bp.Dense(4, 8, activation="tanh"), bp.BatchNorm(8), bp.Dense(8, 2)]
    layers = {
        "layer_norm": [bp.LayerNorm(4), *inner[1:]],
        "activation": [bp.Activation("relu"), *inner],
        "twice": [first, bp.BatchNorm(4), *inner[1:]],
    }.get(kind, inner)
    net = bp.Network(layers, dtype=dtype, seed=0)
    if kind == "layer_norm":
        mean, std = np.full(4, 3e5), np.ones(4)
    else:
        first.running_mean, first.running_var = mean, std**2
    x = (mean + std * rng.normal(size=(30, 4))).astype(np.float32)
    return net, x, net.astype("float64").predict(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_normalized_inputs_keep_their_digits_where_the_mean_exceeds_the_spread(weights: str, dtype: str, tmp_path: Path) -> None:
    cases = {kind: off_centre(kind, dtype) for kind in OFF_CENTRE}
    for kind, (net, x, expected) in cases.items():
        text = bp.export.c(net, name="net", weights=weights)
        found = run({"net": text}, {"net": 2}, x, tmp_path, compiler("gcc"))["net"]
        assert np.abs(found - expected).max() < (2e-6 if weights == "float32" else 0.05) * np.abs(expected).max(), kind


def test_the_parity_vectors_notice_normalized_inputs_that_lose_digits(tmp_path: Path) -> None:
    net, _, _ = off_centre("batch_norm", "float32")
    text = bp.export.c(net, name="net")
    exact = "(x[i] - centre[i]) * scale[i] + shift[i]"
    assert exact in text
    (tmp_path / "net.c").write_text(text.replace(exact, "x[i] * scale[i] + (shift[i] - centre[i] * scale[i])"))
    (tmp_path / "main.c").write_text('#define NET_TEST\n#include "net.c"\nint main(void) { return net_test() == 0; }\n')
    subprocess.run([*compiler("gcc"), "main.c", "-o", "program", "-lm"], cwd=tmp_path, check=True)
    subprocess.run(["./program"], cwd=tmp_path, check=True)


def digits() -> tuple[bp.Network, np.ndarray, np.ndarray]:
    (x, y), (x_test, y_test) = bp.datasets.digits()
    net = bp.mlp([64, 32, 10], batch_norm=True, seed=0)
    net.fit(x, y, loss="cross_entropy", epochs=5, verbose=False)
    return net, x_test.astype(np.float32), y_test


@pytest.mark.parametrize("tool", ["gcc", "clang++"])
def test_a_classifier_gives_labels_and_loses_few_in_int8(tool: str, tmp_path: Path) -> None:
    net, x, _ = digits()
    texts = {"exact": bp.export.c(net, name="exact"), "small": bp.export.c(net, name="small", weights="int8")}
    assert "math.h" not in texts["exact"].replace("#ifdef EXACT_PROBABILITIES\n#include <math.h>\n#endif", "")
    results = run(texts, {"exact": 10, "small": 10}, x, tmp_path, compiler(tool))
    expected = net.predict(x)
    np.testing.assert_allclose(results["exact"], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert (results["exact_label"] == expected.argmax(axis=1)).all()
    assert np.mean(results["small_label"] == expected.argmax(axis=1)) > 0.98
    assert len(texts["small"]) < 0.5 * len(texts["exact"])


ENSEMBLES = [("mse", 2), ("mse", 1), ("cross_entropy", 3), ("binary_cross_entropy", 1), ("binary_cross_entropy", 3)]


def ensemble(loss: str, k: int) -> bp.Ensemble:
    """Three networks of equal layers, whose outputs differ."""

    def make(seed: int) -> bp.Network:
        block = bp.Residual([bp.Dense(6, 6, activation="tanh"), bp.Dense(6, 6)])
        return bp.Network([bp.Dense(4, 6, activation="gelu"), bp.BatchNorm(6), block, bp.Dense(6, k)], seed=seed)

    made = bp.Ensemble(make, members=3, seed=0)
    for net in made.members:
        net.parameters *= 2
        net.loss = loss
    return made


@pytest.mark.parametrize("tool", ["clang", "sanitizers", "g++"])
def test_ensembles_give_the_mean_of_their_members_in_one_program(tool: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    made = {f"{loss}_{k}": ensemble(loss, k) for loss, k in ENSEMBLES}
    texts = {name: bp.export.c(many, name=name) for name, many in made.items()}
    texts["still"] = bp.export.c(ensemble("mse", 2), name="still", buffers="static")
    texts["whole"] = bp.export.c(ensemble("mse", 2), name="whole", weights="int8")
    widths = {name: many.members[0].n_outputs for name, many in made.items()} | {"still": 2, "whole": 2}
    results = run(texts, widths, x, tmp_path, compiler(tool))
    for (loss, _), (name, many) in zip(ENSEMBLES, made.items(), strict=True):
        expected = many.predict(x) if loss == "mse" else many.predict_proba(x)
        np.testing.assert_allclose(results[name], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(), err_msg=name)
    numbers = made["mse_2"].predict(x)
    np.testing.assert_allclose(results["still"], numbers, atol=1e-5 * np.abs(numbers).max())
    np.testing.assert_allclose(results["whole"], numbers, atol=0.05 * np.abs(numbers).max())
    assert (results["cross_entropy_3_label"] == made["cross_entropy_3"].predict_proba(x).argmax(axis=1)).all()
    assert (results["binary_cross_entropy_1_label"] == (made["binary_cross_entropy_1"].predict_proba(x)[:, 0] > 0.5)).all()
    assert "the mean of 3 neural networks of 4 inputs, 2 outputs" in texts["mse_2"]


@pytest.mark.parametrize(
    ("loss", "k", "ends_in"), [("binary_cross_entropy", 1, "identity"), ("mse", 3, "softmax"), ("cross_entropy", 1, "identity")]
)
def test_labels_and_probabilities_follow_the_loss(loss: str, k: int, ends_in: str, tmp_path: Path) -> None:
    net = bp.mlp([4, 6, k], output_activation=ends_in, seed=0)
    net.loss = loss
    text = bp.export.c(net, name="net")
    (tmp_path / "net.c").write_text(text)
    width = 2 if loss == "binary_cross_entropy" else k
    main = f"""#include <stdio.h>
#include "net.c"
int main(void) {{
    float x[4], p[{width}];
    while (fread(x, 4, 4, stdin) == 4) {{
        int label = net_label(x);
        net_probabilities(x, p);
        fwrite(&label, 4, 1, stdout);
        fwrite(p, 4, {width}, stdout);
    }}
    return 0;
}}"""
    (tmp_path / "main.c").write_text(main)
    command = [*compiler("gcc"), *STRICT, "-DNET_PROBABILITIES", "main.c", "-o", "program", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    x[-1, 0] = np.nan
    out = subprocess.run(["./program"], input=x.tobytes(), cwd=tmp_path, check=True, capture_output=True).stdout
    found = np.frombuffer(out, np.dtype([("label", np.int32), ("p", np.float32, (width,))]))
    p = net.predict_proba(x)
    both = np.hstack([1 - p, p]) if width == 2 else p
    np.testing.assert_allclose(found["p"], both, rtol=1e-5, atol=1e-7)
    assert found["label"][:-1].tolist() == both[:-1].argmax(axis=1).tolist()
    assert found["label"][-1] == -1


def test_the_object_file_has_no_data_and_shows_only_the_face(tmp_path: Path) -> None:
    net = bp.mlp([4, 6, 3], activation="tanh", seed=0)
    net.loss = "cross_entropy"
    bp.export.c(net, tmp_path / "iris.c", buffers="static")
    subprocess.run([*compiler("gcc"), *STRICT, "-c", "iris.c"], cwd=tmp_path, check=True)

    def output(*command: str) -> str:
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert output("size", "iris.o").splitlines()[1].split()[1] == "0"
    symbols = output("nm", "--defined-only", "-g", "iris.o")
    assert sorted(line.split()[-1] for line in symbols.splitlines()) == ["iris_classes", "iris_label", "iris_predict"]


def test_the_file_says_what_it_costs_and_what_it_is(tmp_path: Path) -> None:
    net = bp.mlp([4, 6, 3], seed=0)
    text = bp.export.c(net, tmp_path / "my net.c")
    assert (tmp_path / "my net.c").read_text() == text
    assert f"Constants  {4 * net.parameters.size} bytes" in text
    assert f"Buffers    {4 * 6} bytes on the stack" in text
    assert bp.__version__ in text
    assert "void my_net_predict(const float x[4], float y[3]);" in text
    checksum = text.partition("sha256:")[2][:64]
    assert checksum in bp.export.c(net.copy())
    net.parameters[0] += 1
    assert checksum not in bp.export.c(net)


def test_numbers_are_the_shortest_that_read_back_the_same() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.integers(0, 2**32, 2000, dtype=np.uint32).view(np.float32), np.float32([0, -0.0, 1, 0.1, 1e5])])
    for value in values[np.isfinite(values)]:
        text = literal(value)
        assert text[-1] == "f"
        assert "." in text or "e" in text
        assert np.float32(text[:-1]).tobytes() == value.tobytes()
    assert literal(np.float32(0.1)) == "0.1f"


@pytest.mark.parametrize("place", ["outputs", "inputs"])
def test_the_parity_vectors_of_huge_numbers_compile(place: str, tmp_path: Path) -> None:
    net = bp.Network([bp.BatchNorm(2), bp.Dense(2, 2), bp.Dense(2, 2)], dtype="float64", seed=0)
    if place == "outputs":
        net.layers[1].weight[...] = net.layers[2].weight[...] = 1e30
    else:
        net.layers[0].running_var[...] = 1e100
    bp.export.c(net, tmp_path / "net.c")
    for tool in ("gcc", "g++"):
        subprocess.run([*compiler(tool), *STRICT, "-DNET_TEST", "-c", "net.c"], cwd=tmp_path, check=True)


def test_texts_are_ascii_strings_without_trigraphs() -> None:
    assert string('?"\\\n') == '"\\?\\"\\\\\\012"'
    assert string("é") == '"\\303\\251"'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a-b"}, "name must be an identifier"),
        ({"name": "float"}, "name must be an identifier"),
        ({"name": ""}, "name must be an identifier"),
        ({"weights": "int4"}, "weights must be"),
        ({"buffers": "heap"}, "buffers must be"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bp.export.c(bp.mlp([2, 2], seed=0), **options)


def test_an_ensemble_whose_members_mean_different_things_is_refused(tmp_path: Path) -> None:
    def make(loss: str, ends_in: str, k: int = 1) -> bp.Network:
        net = bp.mlp([4, 6, k], output_activation=ends_in, seed=0)
        net.loss = loss
        return net

    for first, second, message in [
        (make("mse", "identity", 3), make("cross_entropy", "identity", 3), "members.0 gives numbers, members.2 logits of softmax"),
        (make("mse", "softmax", 3), make("cross_entropy", "identity", 3), "0 gives probabilities, members.2 logits of softmax"),
        (
            make("binary_cross_entropy", "identity", 3),
            make("focal", "identity", 3),
            "logits of sigmoid, members.2 logits of softmax",
        ),
    ]:
        nets = iter([first, first.copy(), second])
        many = bp.Ensemble(lambda seed, nets=nets: next(nets), members=3, seed=0)
        for export in (bp.export.c, bp.export.js):
            with pytest.raises(ValueError, match=f"must mean the same, but .*{message}"):
                export(many, tmp_path / "net")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_numbers_that_float32_does_not_hold_are_refused_by_name(weights: str, tmp_path: Path) -> None:
    def make() -> bp.Network:
        return bp.Network([bp.BatchNorm(2), bp.Dense(2, 2, activation="relu"), bp.LayerNorm(2)], dtype="float64", seed=0)

    for place, name, written in [(1, "weight", "weight"), (1, "bias", "bias"), (2, "bias", "bias"), (0, "running_mean", "centre")]:
        net = make()
        getattr(net.layers[place], name)[...] = 1e39
        with pytest.raises(ValueError, match=rf"layers.{place}.{written} holds numbers up to 1e\+39, but float32 has none above"):
            bp.export.c(net, tmp_path / "net", weights=weights)
    net = make().astype("float32")
    net.layers[0].running_var[...] = 1e-30
    net.layers[0].eps = 1e-30
    net.layers[0].weight[...] = 1e30
    with pytest.raises(ValueError, match=r"layers.0.scale holds numbers up to"):
        bp.export.js(net, tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_what_c_cannot_hold_is_named_and_no_file_is_left(tmp_path: Path) -> None:
    class Twice(bp.Layer):
        def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
            return 2 * x

        def backward(self, grad_outputs: np.ndarray) -> np.ndarray:
            return 2 * grad_outputs

    for export in (bp.export.c, bp.export.js):
        path = tmp_path / "net"
        with pytest.raises(TypeError, match=r"layers.1 Twice is code from outside"):
            export(bp.Network([bp.Dense(2, 2), Twice()], seed=0), path)
        net = bp.mlp([2, 2], seed=0)
        net.parameters[1] = np.nan
        with pytest.raises(ValueError, match=r"layers.0.weight holds NaN"):
            export(net, path)
        with pytest.raises(TypeError, match="model must be a Network"):
            export(None, path)
        assert not list(tmp_path.iterdir())
