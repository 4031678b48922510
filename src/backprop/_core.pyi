from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt

from ._types import Array, Labels, Spans

ISA: str
PROCESSOR_LEVEL: int
TILE_NUMBERS: int
MOST_UPDATE_AGES: int  # how many different counts of updates a plan keeps apart

def dense_forward(
    x: Array, weight: Array, bias: Array | None, z: Array | None, a: Array, activation: str, alpha: float
) -> None: ...
def dense_backward(
    x: Array, weight: Array, delta: Array, grad_weight: Array | None, grad_bias: Array | None, grad_x: Array | None
) -> None: ...
def activation_forward(z: Array, a: Array, activation: str, alpha: float) -> None: ...
def activation_backward(grad_a: Array, z: Array | None, a: Array, delta: Array, activation: str, alpha: float) -> None: ...
def cross_entropy(
    logits: Array, labels: Labels, sample_weight: Array | None, grad_logits: Array | None, label_smoothing: float
) -> float: ...
def cross_entropy_soft(
    logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None, label_smoothing: float
) -> float: ...
def kl_divergence(logits: Array, targets: Array, sample_weight: Array | None, grad_logits: Array | None) -> float: ...
def binary_cross_entropy(
    logits: Array, targets: Array, sample_weight: Array | None, pos_weight: Array | None, grad_logits: Array | None
) -> float: ...
def mse(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float: ...
def half_mse(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float: ...
def mae(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float: ...
def huber(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None, threshold: float) -> float: ...
def log_cosh(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float: ...
def poisson(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float: ...
def quantile(outputs: Array, targets: Array, sample_weight: Array | None, q: Array, grad_outputs: Array | None) -> float: ...
def hinge(outputs: Array, targets: Array, sample_weight: Array | None, grad_outputs: Array | None) -> float: ...
def squared_norm(grad: Array, spans: Spans) -> float: ...
def scale(spans: Spans, grad: Array, factor: float) -> None: ...
def clip_value(spans: Spans, grad: Array, limit: float) -> None: ...
def sgd(
    grad: Array,
    spans: Spans,
    param: Array,
    velocity: Array | None,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    first: bool,
    decoupled: bool,
) -> None: ...
def rmsprop(
    grad: Array,
    spans: Spans,
    param: Array,
    v: Array,
    grad_mean: Array | None,
    velocity: Array | None,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    decoupled: bool,
) -> None: ...
def adagrad(grad: Array, spans: Spans, param: Array, v: Array, lr: float, eps: float, decoupled: bool) -> None: ...
def adadelta(
    grad: Array, spans: Spans, param: Array, v: Array, u: Array, lr: float, rho: float, eps: float, decoupled: bool
) -> None: ...
def adam(
    grad: Array,
    spans: Spans,
    param: Array,
    m: Array,
    v: Array,
    v_max: Array | None,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    bias1: float,
    bias2: float,
    decoupled: bool,
) -> None: ...
def adamax(
    grad: Array,
    spans: Spans,
    param: Array,
    m: Array,
    u: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    bias1: float,
    decoupled: bool,
) -> None: ...
def nadam(
    grad: Array,
    spans: Spans,
    param: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    bias2: float,
    grad_factor: float,
    m_factor: float,
    decoupled: bool,
) -> None: ...
def radam(
    grad: Array,
    spans: Spans,
    param: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    bias1: float,
    bias2: float,
    rectification: float,
    decoupled: bool,
) -> None: ...
def lion(grad: Array, spans: Spans, param: Array, m: Array, lr: float, beta1: float, beta2: float, decoupled: bool) -> None: ...
def rprop(
    grad: Array,
    spans: Spans,
    param: Array,
    previous: Array,
    step_size: Array,
    lr: float,
    eta_minus: float,
    eta_plus: float,
    step_min: float,
    step_max: float,
    decoupled: bool,
) -> None: ...
def batch_norm_forward(
    x: Array,
    weight: Array,
    bias: Array,
    running_mean: Array,
    running_var: Array,
    x_hat: Array,
    inv_std: Array,
    y: Array,
    momentum: float,
    eps: float,
) -> None: ...
def batch_norm_backward(
    grad_y: Array, x_hat: Array, weight: Array, inv_std: Array, grad_weight: Array, grad_bias: Array, grad_x: Array
) -> None: ...
def batch_norm_inference(
    x: Array, weight: Array, bias: Array, running_mean: Array, running_var: Array, y: Array, eps: float
) -> None: ...
def batch_norm_inference_backward(
    grad_y: Array,
    x: Array,
    weight: Array,
    running_mean: Array,
    running_var: Array,
    grad_weight: Array,
    grad_bias: Array,
    grad_x: Array,
    eps: float,
) -> None: ...
def layer_norm_forward(x: Array, weight: Array, bias: Array, x_hat: Array, inv_std: Array, y: Array, eps: float) -> None: ...
def layer_norm_backward(
    grad_y: Array, x_hat: Array, weight: Array, inv_std: Array, grad_weight: Array, grad_bias: Array, grad_x: Array
) -> None: ...
def dropout(x: Array, y: Array, rate: float, seed: int, step: int, layer: int) -> None: ...
def multiply_add_tile(numbers: Array, steps: int) -> int: ...

# --- plans and threads, beside the kernels ---------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, int]
KINDS: dict[str, int]
OPERATION: np.dtype[np.void]

class Plan:
    allocations: int
    current: bool
    def __init__(
        self,
        operations: npt.NDArray[np.void],
        parameters: Array,
        gradients: Array,
        buffers: Array,
        seed: int,
        choice: ContextVar[str],
    ) -> None: ...
    def predict(self, x: object) -> Array | None: ...
    def takes(self, rows: int, training: bool) -> bool: ...
    def attempt(self, x: object, training: bool, noise: Any, check_finite: bool) -> Array | None: ...
    def forward(self, x: Array, training: bool, step: int) -> Array: ...
    def backward(self, grad_outputs: Array, input_gradient: bool) -> Array | None: ...
    def pull_back(self, probe: Plan, x: Array, grad_outputs: Array) -> tuple[Array, Array]: ...

class TrainingPlan:
    has_loss: bool
    lr: float
    def __init__(
        self,
        plan: Plan,
        loss: str | None,
        loss_parameter: float,
        loss_column: Array | None,
        loss_state: dict[str, Any],
        optimizer: Any,
        moments: tuple[Array | None, ...],
        spans: Spans,
        ages: list[tuple[int, Spans]],
        clip_norm: float,
        clip_value: float,
    ) -> None: ...
    def is_current(self) -> bool: ...
    def takes(self, rows: int) -> bool: ...
    def step(self, x: object, y: object, noise: Any) -> float | None: ...
    def run(
        self,
        x: Array,
        targets: Array | Labels,
        weight: Array | None,
        order: npt.NDArray[np.intp] | None,
        batch: int,
        lr: npt.NDArray[np.float64],
        updates: int,
        noise: int,
        check_finite: bool,
        losses: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64],
        outputs: Array | None,
        tally: tuple[Any, ...] | None,
    ) -> tuple[int, int, int]: ...
    def plain(self, x: object, y: object) -> bool: ...
    def finish(self, grad_outputs: object, lr: float) -> bool | None: ...

def shuffle(order: npt.NDArray[np.intp], bit_generator: np.random.BitGenerator) -> None: ...
def num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def most_threads() -> tuple[int, str]: ...
def set_openmp_default(threads: int) -> None: ...
def before_fork() -> None: ...
def after_fork_in_parent() -> None: ...
def after_fork_in_child() -> None: ...
