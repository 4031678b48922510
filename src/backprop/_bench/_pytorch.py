"""PyTorch: eager, as most use it, and compiled."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .kernel_cases import KernelCase, make_array
from .long_runs import LongRun
from .network_cases import NetworkCase
from .peers import NotOfferedError
from .timing import Run


class PyTorch:
    """torch.nn.Sequential with torch.optim.Adam(fused=True); predictions in inference mode."""

    def __init__(self, threads: int) -> None:
        self.torch: Any = import_module("torch")
        self.torch.set_num_threads(threads)

    def network(self, case: NetworkCase) -> Any:
        """A network with the weights of ours."""
        torch = self.torch
        activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[case.activation]
        layers: list[Any] = []
        for ours in case.network().layers:
            layer = torch.nn.Linear(ours.fan_in, ours.fan_out, dtype=getattr(torch, case.dtype))
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(ours.weight.T))
                layer.bias.copy_(torch.from_numpy(ours.bias))
            layers += [layer, activation()]
        return torch.nn.Sequential(*layers[:-1])

    def data(self, case: NetworkCase) -> Any:
        """Inputs and labels as tensors."""
        return tuple(self.torch.from_numpy(array) for array in case.data())

    def step(self, case: NetworkCase) -> Run:
        """Forward, backward and update."""
        net = self.network(case)
        optimizer = self.torch.optim.Adam(net.parameters(), lr=case.lr, fused=True)
        cross_entropy = self.torch.nn.CrossEntropyLoss()
        x, y = self.data(case)

        def run() -> object:
            optimizer.zero_grad()
            loss = cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return run

    def epoch(self, case: LongRun) -> Run:
        """Every row once, in an order of its own each time."""
        net, torch = self.network(case.network), self.torch
        optimizer = torch.optim.Adam(net.parameters(), lr=case.network.lr, weight_decay=case.weight_decay, fused=True)
        cross_entropy = torch.nn.CrossEntropyLoss()
        x, y = (torch.from_numpy(array) for array in case.data())

        def run() -> None:
            for rows in torch.randperm(len(x)).split(case.network.batch):
                optimizer.zero_grad()
                cross_entropy(net(x[rows]), y[rows]).backward()
                optimizer.step()

        return run

    def predict(self, case: NetworkCase) -> Run:
        """Forward only."""
        net = self.network(case).eval()
        x, _ = self.data(case)
        inference_mode = self.torch.inference_mode

        def run() -> object:
            with inference_mode():
                return net(x)

        return run

    def kernel(self, case: KernelCase, size: str) -> Run:
        """Products, the activations it writes into a given tensor, and its fused Adam."""
        torch = self.torch
        demands = [demand for demand in case.arrays() if demand.dtype != "span"]
        arrays = {demand.name: torch.from_numpy(make_array(demand, case.letters(size))) for demand in demands}
        match case.name:
            case "dense_forward":
                return lambda: torch.addmm(arrays["bias"], arrays["x"], arrays["weight"], out=arrays["a"])
            case "dense_backward x.T @ delta":
                return lambda: torch.mm(arrays["x"].T, arrays["delta"], out=arrays["grad_weight"])
            case "dense_backward delta @ weight.T":
                return lambda: torch.mm(arrays["delta"], arrays["weight"].T, out=arrays["grad_x"])
            case "activation_forward tanh" | "activation_forward sigmoid" | "activation_forward softmax":
                z, a = arrays["z"], arrays["a"]
                function = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "softmax": _softmax(torch)}[case.name.split()[1]]
                return lambda: function(z, out=a)
            case "adam":
                param = torch.nn.Parameter(arrays["param"])
                param.grad = arrays["grad"]
                optimizer = torch.optim.Adam([param], lr=1e-6, fused=True)
                return lambda: optimizer.step()
        raise NotOfferedError


def _softmax(torch: Any) -> Any:
    return lambda z, out: torch.softmax(z, 1, out=out)


class CompiledPyTorch(PyTorch):
    """A whole step, from forward to Adam, as one graph compiled by Inductor; parameters flat: fewer arguments to check."""

    def step(self, case: NetworkCase) -> Run:
        """Forward, backward and update in one compiled call."""
        torch, functional = self.torch, self.torch.nn.functional
        x, y = self.data(case)
        layers = [layer for layer in self.network(case) if isinstance(layer, torch.nn.Linear)]
        tensors = [tensor.detach() for layer in layers for tensor in (layer.weight, layer.bias)]
        shapes, lengths = [tensor.shape for tensor in tensors], [tensor.numel() for tensor in tensors]
        act = {"relu": torch.relu, "tanh": torch.tanh}[case.activation]
        param = torch.cat([tensor.reshape(-1) for tensor in tensors])

        def loss(flat: Any) -> Any:
            *hidden, weight, bias = (part.view(shape) for part, shape in zip(flat.split(lengths), shapes, strict=True))
            a = x
            for number in range(0, len(hidden), 2):
                a = act(functional.linear(a, hidden[number], hidden[number + 1]))
            return functional.cross_entropy(functional.linear(a, weight, bias), y)

        def update(param: Any, m: Any, v: Any, t: Any) -> Any:
            grad, value = torch.func.grad_and_value(loss)(param)
            t.add_(1)
            m.lerp_(grad, 0.1)
            v.mul_(0.999).addcmul_(grad, grad, value=0.001)
            param.sub_(case.lr / (1 - 0.9**t) * m / ((v / (1 - 0.999**t)).sqrt() + 1e-8))
            return value

        compiled = self._compiled(update)
        state = (param, torch.zeros_like(param), torch.zeros_like(param), torch.zeros((), dtype=param.dtype))

        def run() -> object:
            with torch.no_grad():
                return compiled(*state)

        return self._tried(run)

    def epoch(self, case: LongRun) -> Run:
        """Not offered: eager PyTorch is measured."""
        raise NotOfferedError

    def predict(self, case: NetworkCase) -> Run:
        """Forward only."""
        net = self._compiled(self.network(case).eval())
        x, _ = self.data(case)

        def run() -> object:
            with self.torch.inference_mode():
                return net(x)

        return self._tried(run)

    def kernel(self, case: KernelCase, size: str) -> Run:
        """Not offered: eager PyTorch is measured."""
        raise NotOfferedError

    def _compiled(self, function: Any) -> Any:
        import_module("torch._dynamo").reset()  # after some variants of a function it would give up compiling
        config: Any = import_module("torch._inductor.config")
        config.cpp_wrapper, config.compile_threads = True, 1
        return self.torch.compile(function, fullgraph=True, dynamic=False)

    def _tried(self, run: Run) -> Run:
        try:
            run()
        except Exception as error:
            raise NotOfferedError(f"torch.compile: {type(error).__name__}: {str(error).strip().splitlines()[0]}") from error
        return run
