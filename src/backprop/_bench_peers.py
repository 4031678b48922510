"""The same training steps in other libraries, each as its users would write them for speed.

PyTorch: eager, fused Adam. JAX: one jitted function whose buffers are donated. scikit-learn: MLP.partial_fit, which validates its
input at every call. A library that is not installed takes no part.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from ._bench_cases import StepCase

Run = Callable[[], object]


class Peer(Protocol):
    """A library that can do what a case asks."""

    def step(self, case: StepCase) -> Run:
        """Make one training step, ready to be timed."""

    def predict(self, case: StepCase) -> Run:
        """Make the prediction of one row, ready to be timed; it ends as a NumPy array."""


class PyTorch:
    """torch.nn.Sequential, torch.optim.Adam(fused=True)."""

    def __init__(self, threads: int) -> None:
        self.torch: Any = import_module("torch")
        self.torch.set_num_threads(threads)

    def _network(self, case: StepCase) -> Any:
        nn = self.torch.nn
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[case.activation]
        layers: list[Any] = []
        for fan_in, fan_out in zip(case.sizes, case.sizes[1:], strict=False):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        return nn.Sequential(*layers[:-1])

    def step(self, case: StepCase) -> Run:
        """Forward, backward and update."""
        net = self._network(case)
        optimizer = self.torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
        loss = self.torch.nn.CrossEntropyLoss()
        x, y = (self.torch.from_numpy(array) for array in case.data())

        def run() -> None:
            optimizer.zero_grad()
            loss(net(x), y).backward()
            optimizer.step()

        return run

    def predict(self, case: StepCase) -> Run:
        """Forward only, in inference mode."""
        net = self._network(case).eval()
        x = case.data(rows=1)[0]

        def run() -> object:
            with self.torch.inference_mode():
                return net(self.torch.from_numpy(x)).numpy()

        return run


class Jax:
    """A jitted function of parameters and moments, which it may overwrite."""

    def __init__(self, threads: int) -> None:
        if threads == 1:
            os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
        self.jax: Any = import_module("jax")

    def _outputs(self, activation: str, parameters: Any, x: Any) -> Any:
        act = {"relu": self.jax.nn.relu, "tanh": self.jax.numpy.tanh}[activation]
        for weight, bias in parameters[:-1]:
            x = act(x @ weight + bias)
        weight, bias = parameters[-1]
        return x @ weight + bias

    def _parameters(self, case: StepCase) -> Any:
        return [tuple(map(self.jax.numpy.array, (layer.weight, layer.bias))) for layer in case.network().layers]

    def step(self, case: StepCase) -> Run:
        """Forward, backward and update in one compiled call."""
        jax, tree = self.jax, self.jax.tree.map

        def loss(parameters: Any, x: Any, y: Any) -> Any:
            log_p = jax.nn.log_softmax(self._outputs(case.activation, parameters, x))
            return -jax.numpy.take_along_axis(log_p, y[:, None], axis=1).mean()

        def update(parameters: Any, m: Any, v: Any, t: Any, x: Any, y: Any) -> Any:
            value, grad = jax.value_and_grad(loss)(parameters, x, y)
            m = tree(lambda m, g: 0.9 * m + 0.1 * g, m, grad)
            v = tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, grad)
            bias1, bias2 = 1 - 0.9**t, 1 - 0.999**t
            parameters = tree(lambda p, m, v: p - 1e-3 / bias1 * m / ((v / bias2) ** 0.5 + 1e-8), parameters, m, v)
            return parameters, m, v, t + 1, value

        compiled = jax.jit(update, donate_argnums=(0, 1, 2, 3))
        parameters = self._parameters(case)
        zeros = [tree(jax.numpy.zeros_like, parameters) for _ in range(2)]
        state = [parameters, *zeros, jax.numpy.float32(1)]
        x, y = map(jax.numpy.array, case.data())

        def run() -> None:
            state[:], value = (result := compiled(*state, x, y))[:4], result[4]
            value.block_until_ready()

        return run

    def predict(self, case: StepCase) -> Run:
        """Forward only, compiled."""
        parameters = self._parameters(case)
        compiled = self.jax.jit(lambda x: self._outputs(case.activation, parameters, x))
        x = case.data(rows=1)[0]
        return lambda: compiled(x).__array__()


class ScikitLearn:
    """sklearn.neural_network.MLPClassifier."""

    def __init__(self, threads: int) -> None:
        self.networks: Any = import_module("sklearn.neural_network")

    def _classifier(self, case: StepCase) -> Any:
        return self.networks.MLPClassifier(case.sizes[1:-1], activation=case.activation, batch_size=case.batch)

    def step(self, case: StepCase) -> Run:
        """One call of partial_fit, with one batch."""
        classifier, classes = self._classifier(case), list(range(case.sizes[-1]))
        x, y = case.data()
        return lambda: classifier.partial_fit(x, y, classes=classes)

    def predict(self, case: StepCase) -> Run:
        """One call of predict_proba."""
        classifier, x = self._classifier(case), case.data(rows=1)[0]
        classifier.partial_fit(*case.data(), classes=list(range(case.sizes[-1])))
        return lambda: classifier.predict_proba(x)


_PEERS: dict[str, tuple[str, Callable[[int], Peer]]] = {
    "PyTorch": ("torch", PyTorch),
    "JAX": ("jax", Jax),
    "scikit-learn": ("sklearn", ScikitLearn),
}


def installed_peers(threads: int) -> dict[str, Peer]:
    """The libraries that are installed, told to use so many threads where they can be told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what others warn of when they are imported is not ours to show
        return {name: make(threads) for name, (module, make) in _PEERS.items() if find_spec(module)}
