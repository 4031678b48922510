from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt

from ._numpy.activations import activation_backward as activation_backward
from ._numpy.activations import activation_forward as activation_forward
from ._numpy.dense import *
from ._numpy.dropout import dropout as dropout
from ._numpy.losses import *
from ._numpy.normalization import *
from ._numpy.optimizers import *
from ._training.accumulation import Accumulation
from ._types import Array, Labels, Spans
from .layers import Noise
from .metrics._tally import Tally
from .optimizers import Optimizer

ISA: str
PROCESSOR_LEVEL: int
TILE_NUMBERS: int
PRODUCT_TILE_NUMBERS: int
MOST_UPDATE_AGES: int  # how many different counts of updates a plan keeps apart

def multiply_add_tile(numbers: Array, steps: int) -> int: ...
def product_tile(numbers: Array, steps: int) -> int: ...
def parse_decimals(texts: list[Any], numbers: npt.NDArray[np.float64]) -> None: ...
def parse_padded_decimals(texts: npt.NDArray[np.uint8], numbers: npt.NDArray[np.float64]) -> int: ...

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
    def assign(self, layer: int, field: str, value: float) -> bool: ...
    def predict(self, x: object) -> Array | None: ...
    def takes(self, rows: int, training: bool) -> bool: ...
    def attempt(self, x: object, training: bool, noise: Noise, check_finite: bool) -> Array | None: ...
    def forward(self, x: Array, training: bool, step: int) -> Array: ...
    def backward(self, grad_outputs: Array, input_gradient: bool) -> Array | None: ...
    def pull_back(self, probe: Plan, x: Array, grad_outputs: Array) -> tuple[Array, Array]: ...

class TrainingPlan:
    has_loss: bool
    lr: float
    updated: bool
    awaited: bool
    pauses: bool
    whole: bool
    stale: bool
    def __init__(
        self, plan: Plan, loss: str | None, loss_state: dict[str, Any], optimizer: Optimizer, penalized: Spans
    ) -> None: ...
    def note_settings(self, has_formula: bool) -> None: ...
    def renew(
        self,
        loss_parameter: float,
        loss_column: Array | None,
        target_range: tuple[float, float],
        moments: tuple[Array | None, ...],
        spans: Spans,
        ages: list[tuple[int, Spans]],
        clip_norm: float,
        clip_value: float,
        l2: float,
        accumulate_steps: int,
        accumulation: Accumulation | None,
        class_weights: npt.NDArray[np.float64] | None,
        pauses: bool,
        has_formula: bool,
    ) -> None: ...
    def serves(self, plan: Plan, loss: str | None) -> bool: ...
    def is_current(self) -> bool: ...
    def takes(self, rows: int) -> bool: ...
    def step(self, x: object, y: object, sample_weight: object, noise: Noise) -> float | None: ...
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
        mean_weight: float,
        check_finite: bool,
        losses: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64],
        outputs: Array | None,
        tally: Tally | None,
    ) -> tuple[int, int, int, int]: ...
    def plain(self, x: object, y: object) -> bool: ...
    def update(self, lr: float) -> bool | None: ...
    def finish(self, grad_outputs: object, lr: float, divisor: float) -> bool | None: ...

def shuffle(order: npt.NDArray[np.intp], bit_generator: np.random.BitGenerator) -> None: ...
def num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def most_threads() -> tuple[int, str]: ...
def set_openmp_default(threads: int) -> None: ...
def before_fork() -> None: ...
def after_fork_in_parent() -> None: ...
def after_fork_in_child() -> None: ...
