"""onnxruntime: predictions only."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from .kernel_cases import KernelCase
from .long_runs import LongRun
from .network_cases import NetworkCase
from .peers import NotOfferedError
from .timing import Run


class OnnxRuntime:
    """A session for the network as a graph of Gemm and activations."""

    def __init__(self, threads: int) -> None:
        self.runtime: Any = import_module("onnxruntime")
        self.threads = threads

    def step(self, case: NetworkCase) -> Run:
        """Offer none."""
        raise NotOfferedError

    def epoch(self, case: LongRun) -> Run:
        """Offer none."""
        raise NotOfferedError

    def predict(self, case: NetworkCase) -> Run:
        """One run of the session, on a NumPy array."""
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0" if self.threads == 1 else "1")
        session = self.runtime.InferenceSession(_model(case), options, providers=["CPUExecutionProvider"])
        x, _ = case.data()
        return lambda: session.run(None, {"x": x})[0]

    def kernel(self, case: KernelCase, size: str) -> Run:
        """Offer none."""
        raise NotOfferedError


def _model(case: NetworkCase) -> bytes:
    """The network as an ONNX file."""
    onnx: Any = import_module("onnx")
    layers = case.network().layers
    nodes, tensors = [], []
    for number, layer in enumerate(layers):
        weight, bias = f"weight{number}", f"bias{number}"
        tensors += [onnx.numpy_helper.from_array(layer.weight, weight), onnx.numpy_helper.from_array(layer.bias, bias)]
        last = number == len(layers) - 1
        z = "outputs" if last else f"z{number}"
        nodes.append(onnx.helper.make_node("Gemm", [f"a{number}" if number else "x", weight, bias], [z]))
        if not last:
            nodes.append(onnx.helper.make_node({"relu": "Relu", "tanh": "Tanh"}[case.activation], [z], [f"a{number + 1}"]))
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    inputs = [onnx.helper.make_tensor_value_info("x", kind, [None, case.sizes[0]])]
    outputs = [onnx.helper.make_tensor_value_info("outputs", kind, [None, case.sizes[-1]])]
    graph = onnx.helper.make_graph(nodes, "network", inputs, outputs, tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
