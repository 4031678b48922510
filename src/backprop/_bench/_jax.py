"""JAX."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .kernel_cases import KernelCase
from .long_runs import LongRun
from .network_cases import NetworkCase
from .peers import NotOfferedError
from .timing import Run


class Jax:
    """Jitted functions whose buffers are donated; parameters flat: fewer buffers, and faster where networks are small."""

    def __init__(self, threads: int) -> None:
        self.jax: Any = import_module("jax")
        self.jax.config.update("jax_enable_x64", True)
        self.jax.config.update("jax_cpu_enable_async_dispatch", False)  # no detour through another thread: 15 us a call, not 40

    def step(self, case: NetworkCase) -> Run:
        """Forward, backward and update in one compiled call."""
        jax, jnp = self.jax, self.jax.numpy
        param, tree = self._parameters(case)
        x, y = map(jnp.array, case.data())

        def loss(param: Any, x: Any, y: Any) -> Any:
            log_p = jax.nn.log_softmax(self._outputs(case.activation, tree(param), x))
            return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

        def update(param: Any, m: Any, v: Any, t: Any, x: Any, y: Any) -> Any:
            value, grad = jax.value_and_grad(loss)(param, x, y)
            m = 0.9 * m + 0.1 * grad
            v = 0.999 * v + 0.001 * grad * grad
            param = param - case.lr / (1 - 0.9**t) * m / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)
            return param, m, v, t + 1, value

        compiled = jax.jit(update, donate_argnums=(0, 1, 2, 3))
        state = [param, jnp.zeros_like(param), jnp.zeros_like(param), jnp.ones((), param.dtype)]

        def run() -> object:
            *state[:], value = compiled(*state, x, y)
            return value.block_until_ready()

        return run

    def epoch(self, case: LongRun) -> Run:
        """Offer none: its compiled step has one batch."""
        raise NotOfferedError

    def predict(self, case: NetworkCase) -> Run:
        """Forward only."""
        param, tree = self._parameters(case)
        x, _ = map(self.jax.numpy.array, case.data())
        compiled = self.jax.jit(lambda x: self._outputs(case.activation, tree(param), x))
        return lambda: compiled(x).block_until_ready()

    def kernel(self, case: KernelCase, size: str) -> Run:
        """Not offered: what is fast in JAX is whole steps."""
        raise NotOfferedError

    def _parameters(self, case: NetworkCase) -> Any:
        """All parameters in one array, and the function that gives each its shape."""
        tensors = [tuple(map(self.jax.numpy.array, (layer.weight, layer.bias))) for layer in case.network().layers]
        return import_module("jax.flatten_util").ravel_pytree(tensors)

    def _outputs(self, activation: str, parameters: Any, x: Any) -> Any:
        act = {"relu": self.jax.nn.relu, "tanh": self.jax.numpy.tanh}[activation]
        for weight, bias in parameters[:-1]:
            x = act(x @ weight + bias)
        weight, bias = parameters[-1]
        return x @ weight + bias
