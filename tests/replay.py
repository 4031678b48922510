"""Train small networks in every way the library has, and tell whether the results are those of another time, bit for bit.

    python tests/replay.py record FILE       # before a change that must not change results
    python tests/replay.py compare FILE      # after it: exit code 1 and the names of what differs

Each combination of network, loss, optimizer, data and options trains for 50 steps. What is recorded of it are SHA-256 sums of its
losses, of its parameters and buffers, and of its predictions; for NumPy and for each instruction set that is installed, one process
each. Records hold for one machine and one version of NumPy only. Both commands take ``--only TEXT``, for combinations with this
text in their name, and ``--level NAME``, such as ``numpy`` or ``x86-64-v3``. All of it takes about half a minute on one core.

The combinations use public names alone, so that this file stays as it is while the inside of the library changes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Results = dict[str, dict[str, str]]
"""The sums of each combination, by name."""

LEVELS = ("x86-64", "x86-64-v3", "x86-64-v4")
ROWS, STEPS, BATCH, N_INPUTS = 75, 50, 16, 6
EPOCHS = STEPS // -(-ROWS // BATCH)


class Case(NamedTuple):
    """One combination.

    `network` and `optimizer` make a fresh one; `targets` is a key of `data`, `way` one of `WAYS`; `trainer` and `fit` are options.
    """

    name: str
    network: Callable[[str], Any]
    loss: Any = "mse"
    targets: str = "numbers"
    optimizer: Callable[[], Any] = lambda: "adam"
    way: str = "fit"
    dtype: str = "float32"
    threads: int = 1
    rows: int = ROWS
    trainer: Mapping[str, Any] = {}
    fit: Mapping[str, Any] = {}


def data(rows: int) -> dict[str, np.ndarray]:
    """Return inputs, targets of every kind and weights for so many rows; the networks have three outputs, or one."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(rows, N_INPUTS))
    scores = np.sin(x @ rng.normal(size=(N_INPUTS, 3)))
    exponentials = np.exp(scores)
    return {
        "x": x,
        "numbers": scores + 0.1 * rng.normal(size=scores.shape),
        "number": scores[:, 0],
        "labels": scores.argmax(axis=1),
        "probabilities": exponentials / exponentials.sum(axis=1, keepdims=True),
        "binary": (scores > 0).astype(np.int64),
        "counts": rng.poisson(exponentials),
        "positive": exponentials,
        "weights": rng.uniform(0.5, 2.0, size=rows),
    }


def make_networks() -> dict[str, Callable[[str], Any]]:
    """Return the networks by name, each a function of the dtype."""
    import backprop as bp

    class Scale(bp.Layer):
        """y = scale x, with one factor for each column: a layer in plain NumPy."""

        def __init__(self, width: int) -> None:
            self.width = self.fan_in = self.fan_out = width

        def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
            return {"scale": (self.width,)}

        def initialize(self, rng: np.random.Generator) -> None:
            self.scale[...] = rng.uniform(0.5, 1.5, self.width)

        def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
            self._x = x
            return x * self.scale

        def backward(self, grad_outputs: np.ndarray) -> np.ndarray:
            self.grad_scale[...] = (grad_outputs * self._x).sum(axis=0)
            return grad_outputs * self.scale

    def of(*layers: Callable[[], Any]) -> Callable[[str], Any]:
        return lambda dtype: bp.Network([make() for make in layers], dtype=dtype, seed=3)

    def dense(fan_in: int, fan_out: int, activation: str = "identity", **options: Any) -> Callable[[], Any]:
        return lambda: bp.Dense(fan_in, fan_out, activation=activation, **options)

    def frozen() -> Any:
        layer = bp.Dense(N_INPUTS, 12, activation="tanh")
        layer.trainable = False
        return layer

    hidden = [name for name in bp.activations.NAMES if name != "softmax"]
    first, last = dense(N_INPUTS, 12, "tanh"), dense(12, 3)
    return {
        "narrow": of(first, dense(12, 12, "relu"), last),
        "one layer": of(dense(N_INPUTS, 3)),
        "one output": of(first, dense(12, 1)),
        "wide": of(dense(N_INPUTS, 300, "gelu"), dense(300, 300, "relu"), dense(300, 3)),
        "every activation": of(first, *(dense(12, 12, name) for name in hidden), last),
        "softmax inside": of(first, lambda: bp.Activation("softmax"), last),
        "dropout": of(first, lambda: bp.Dropout(0.3), dense(12, 12, "silu"), lambda: bp.Dropout(0.1), last),
        "batch norm": of(dense(N_INPUTS, 12, bias=False), lambda: bp.BatchNorm(12), lambda: bp.Activation("relu"), last),
        "layer norm": of(first, lambda: bp.LayerNorm(12), dense(12, 12, "relu"), lambda: bp.LayerNorm(12), last),
        "residual": of(first, lambda: bp.Residual([bp.LayerNorm(12), bp.Dense(12, 12, activation="relu"), bp.Dense(12, 12)]), last),
        "custom layer": of(first, lambda: Scale(12), dense(12, 12, "relu"), last),
        "frozen layer": of(frozen, dense(12, 12, "relu"), last),
        "deep": of(first, *(dense(12, 12, "tanh") for _ in range(20)), last),
    }


def log_cosh(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """A loss in plain NumPy."""
    difference = outputs - targets
    return float(np.mean(np.log(np.cosh(difference)))), np.tanh(difference) / difference.size


def make_cases() -> list[Case]:
    """Return all combinations."""
    import backprop as bp

    networks, losses, schedules = make_networks(), bp.losses, bp.schedules
    narrow, one = networks["narrow"], networks["one output"]
    kinds = {"cross_entropy": "labels", "kl_divergence": "probabilities", "binary_cross_entropy": "binary"}
    kinds |= {"hinge": "binary", "poisson": "counts", "quantile": "numbers"}
    kinds |= {"focal": "labels", "binary_focal": "binary", "gamma": "positive", "non_crossing_quantiles": "number"}

    of_losses = [Case(f"loss {name}", narrow, name, kinds.get(name, "numbers")) for name in losses.NAMES if name != "gaussian"]
    of_losses += [
        Case("loss cross_entropy of probabilities", narrow, "cross_entropy", "probabilities"),
        Case("loss cross_entropy, smoothed", narrow, losses.CrossEntropy(label_smoothing=0.1), "labels"),
        Case("loss cross_entropy, class weights", narrow, losses.CrossEntropy(class_weight=[1.0, 2.0, 0.5]), "labels"),
        Case("loss cross_entropy, balanced", narrow, losses.CrossEntropy(class_weight="balanced"), "labels"),
        Case("loss binary_cross_entropy, pos_weight", narrow, losses.BinaryCrossEntropy(pos_weight=[1.0, 2.0, 3.0]), "binary"),
        Case("loss quantile, three", narrow, losses.Quantile(q=[0.1, 0.5, 0.9])),
        Case("loss gaussian", lambda dtype: bp.mlp([N_INPUTS, 12, 2], seed=0, dtype=dtype), "gaussian", "number"),
        Case("loss huber, delta", narrow, losses.Huber(delta=0.3)),
        Case("loss mse of one output", one, "mse", "number"),
        Case("loss custom", narrow, log_cosh),
    ]

    rules: dict[str, Callable[[], Any]] = {name: lambda name=name: name for name in bp.optimizers.NAMES}
    rules |= {
        "sgd, momentum": lambda: bp.SGD(lr=0.05, momentum=0.9, dampening=0.1),
        "sgd, nesterov": lambda: bp.SGD(lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
        "rmsprop, centered": lambda: bp.RMSprop(lr=1e-3, momentum=0.5, centered=True),
        "adam, amsgrad": lambda: bp.Adam(amsgrad=True, weight_decay=1e-3, l1=1e-4),
        "adamw, groups": lambda: bp.AdamW(groups={"*.bias": {"weight_decay": 0.0}, "layers.0.*": {"lr": 1e-4}}),
        "adam, cosine": lambda: bp.Adam(lr=schedules.Cosine(1e-2, steps=40, warmup=5)),
        "adam, one cycle": lambda: bp.Adam(lr=schedules.OneCycle(1e-2, steps=50)),
        "sgd, per epoch": lambda: bp.SGD(lr=schedules.Exponential(0.1, gamma=0.9, per="epoch")),
        "sgd, plateau": lambda: bp.SGD(lr=schedules.ReduceOnPlateau(0.1, patience=0, factor=0.5)),
    }
    of_rules = [Case(f"optimizer {name}", narrow, optimizer=make) for name, make in rules.items()]

    of_networks = [
        Case(f"network {name}, {way}", network, targets="number" if name == "one output" else "numbers", way=way)
        for name, network in networks.items()
        for way in WAYS
    ]

    norm = networks["batch norm"]
    of_options = [
        Case("clip_norm", narrow, trainer={"clip_norm": 0.1}),
        Case("clip_norm by steps", narrow, trainer={"clip_norm": 0.1}, way="step"),
        Case("clip_value", narrow, trainer={"clip_value": 0.01}),
        Case("sample_weight", narrow, fit={"sample_weight": "weights"}),
        Case("sample_weight of a classification", narrow, "cross_entropy", "labels", fit={"sample_weight": "weights"}),
        Case("class_weight", narrow, "cross_entropy", "labels", fit={"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}),
        Case("class_weight, balanced", narrow, "cross_entropy", "labels", fit={"class_weight": "balanced"}),
        Case("accumulate_steps", narrow, trainer={"accumulate_steps": 3}),
        Case("accumulate_steps, batch norm", norm, trainer={"accumulate_steps": 2}, fit={"drop_last": True}),
        Case("validation_split", norm, "cross_entropy", "labels", fit={"validation_split": 0.2, "batch_size": 15}),
        Case("rows in their order", narrow, fit={"shuffle": False, "drop_last": True}),
        Case("metrics", narrow, "cross_entropy", "labels", trainer={"metrics": ["accuracy", "f1", "top_2_accuracy"]}),
        Case("batches of one row", narrow, fit={"batch_size": 1, "epochs": 1}),
    ]

    large = [
        Case(f"{name}, batches of {batch}", network, loss, targets, rows=2 * batch + 300, fit={"batch_size": batch, "epochs": 17})
        for batch in (4096, 5000)
        for name, network, loss, targets in [
            ("narrow", narrow, "mse", "numbers"),
            ("narrow", narrow, "cross_entropy", "labels"),
            ("layer norm", networks["layer norm"], "mse", "numbers"),
        ]
    ]
    large += [Case("wide, batches of 128", networks["wide"], rows=500, fit={"batch_size": 128, "epochs": 13})]
    large += [Case("dropout, batches of 128", networks["dropout"], rows=500, fit={"batch_size": 128, "epochs": 13})]
    large = [
        case._replace(name=f"{case.name}, {case.loss}, {threads} threads", threads=threads) for case in large for threads in (1, 2)
    ]

    small = [*of_losses, *of_rules, *of_networks, *of_options]
    doubles = [case._replace(name=f"{case.name}, float64", dtype="float64") for case in [*small, *large[:4]]]
    return [*small, *large, *doubles]


def by_fit(trainer: Any, x: np.ndarray, y: np.ndarray, options: Mapping[str, Any]) -> list[float]:
    """Epochs of shuffled rows."""
    history = trainer.fit(x, y, **{"epochs": EPOCHS, "batch_size": BATCH, "seed": 1, "verbose": False, **options})
    return [value for values in history.history.values() for value in values]


def by_stream(trainer: Any, x: np.ndarray, y: np.ndarray, options: Mapping[str, Any]) -> list[float]:
    """Batches that an iterable yields."""
    batches = list(pairs(x, y))
    history = trainer.fit(batches, epochs=STEPS // len(batches), verbose=False, seed=1, **options)
    return list(history["loss"])


def by_steps(trainer: Any, x: np.ndarray, y: np.ndarray, options: Mapping[str, Any]) -> list[float]:
    """`Trainer.step`, batch by batch."""
    return [trainer.step(*batch, **options) for _ in range(EPOCHS) for batch in pairs(x, y)]


def by_hand(trainer: Any, x: np.ndarray, y: np.ndarray, options: Mapping[str, Any]) -> list[float]:
    """Forward, loss, backward and update in calls of their own."""
    losses = []
    for _ in range(EPOCHS):
        for inputs, targets in pairs(x, y):
            outputs = trainer.net.forward(inputs, training=True)
            loss, grad = trainer.loss(outputs, targets, **options)
            trainer.net.backward(grad)
            trainer.optimizer.step(trainer.net)
            losses.append(loss)
    return losses


def by_halves(trainer: Any, x: np.ndarray, y: np.ndarray, options: Mapping[str, Any]) -> list[float]:
    """`Trainer.forward` and `Trainer.backward_step`."""
    losses = []
    for _ in range(EPOCHS):
        for inputs, targets in pairs(x, y):
            loss, grad = trainer.loss(trainer.forward(inputs), targets, **options)
            trainer.backward_step(grad)
            losses.append(loss)
    return losses


WAYS = {"fit": by_fit, "stream": by_stream, "step": by_steps, "hand": by_hand, "halves": by_halves}


def pairs(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of rows in their order."""
    for start in range(0, len(x), BATCH):
        yield x[start : start + BATCH], y[start : start + BATCH]


def replay(case: Case) -> dict[str, str]:
    """Train, and return the sums of what came out."""
    import backprop as bp

    bp.set_num_threads(case.threads)
    arrays = data(case.rows)
    x = arrays["x"].astype(case.dtype)
    y = arrays[case.targets]
    net = case.network(case.dtype)
    trainer = bp.Trainer(net, loss=case.loss, optimizer=case.optimizer(), **case.trainer)
    options = {key: arrays[value] if key == "sample_weight" else value for key, value in case.fit.items()}
    losses = WAYS[case.way](trainer, x, y.astype(case.dtype) if y.dtype == np.float64 else y, options)
    rows = np.random.default_rng(8).normal(size=(2500, N_INPUTS)).astype(case.dtype)
    return {
        "losses": digest(np.array(losses)),
        "parameters": digest(net.parameters, net.buffers),
        "predictions": digest(net.predict(rows[:1]), net.predict(rows[:40]), net.predict(rows)),
    }


def digest(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of the arrays' bytes."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def run(only: str) -> Results:
    """Replay the combinations with this text in their name, here and now."""
    return {case.name: replay(case) for case in make_cases() if only in case.name}


def run_all(only: str, levels: list[str]) -> dict[str, Results]:
    """Replay with each of the levels that is installed, in a process of its own."""
    found = {}
    for level in levels:
        backend = {"BACKPROP_BACKEND": "numpy"} if level == "numpy" else {"BACKPROP_BACKEND": "cython", "BACKPROP_ISA": level}
        kept = {key: value for key, value in os.environ.items() if key not in ("BACKPROP_BACKEND", "BACKPROP_ISA")}
        environment = {**kept, **backend, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "run", "--only", only]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            found[level] = json.loads(result.stdout)
        elif "BACKPROP_ISA" not in result.stderr and "BACKPROP_BACKEND" not in result.stderr:  # those levels are not installed
            raise RuntimeError(f"{level}: {result.stderr}")
    return found


def installed_levels() -> list[str]:
    """Return the names of the levels to try: NumPy's, those of x86-64, and that of another processor."""
    from backprop import backend

    return ["numpy", *dict.fromkeys([*LEVELS, backend().isa] if backend().name == "cython" else [])]


def differences(before: Mapping[str, Results], after: Mapping[str, Results], only: str) -> Iterator[str]:
    """Yield a line for all that is not the same, or not there on one side."""
    for level in sorted({*before, *after}):
        if level not in before or level not in after:
            yield f"{level}: not {'recorded' if level in after else 'installed'}"
            continue
        one, other = before[level], after[level]
        for name in dict.fromkeys([*one, *other]):
            if only not in name:
                continue
            if name not in one or name not in other:
                yield f"{level}: {name}: not {'recorded' if name in other else 'replayed'}"
            elif one[name] != other[name]:
                yield f"{level}: {name}: {', '.join(key for key in one[name] if one[name][key] != other[name].get(key))}"


def main(argv: list[str] | None = None) -> int:
    """Record or compare; the exit code is 1 if anything differs."""
    parser = argparse.ArgumentParser(description="Train in every way; tell whether results are those of another time, bit for bit.")
    parser.add_argument("command", choices=("record", "compare", "run"))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--only", default="", metavar="TEXT", help="combinations with this in their name")
    parser.add_argument("--level", action="append", metavar="NAME", help="numpy, x86-64, x86-64-v3, x86-64-v4; several times")
    options = parser.parse_args(argv)
    if options.command == "run":
        print(json.dumps(run(options.only)))
        return 0
    if options.file is None:
        parser.error(f"{options.command} needs a FILE")
    found = run_all(options.only, options.level or installed_levels())
    count = sum(map(len, found.values()))
    if options.command == "record":
        options.file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"recorded {count} combinations: {', '.join(found)}")
        return 0
    recorded = json.loads(options.file.read_text(encoding="utf-8"))
    lines = list(differences({key: recorded[key] for key in recorded if key in (options.level or recorded)}, found, options.only))
    print("\n".join(lines) if lines else f"{count} combinations are the same, bit for bit: {', '.join(found)}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
