"""One training step with every number kept: `trace`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import activations, losses, optimizers
from .._arrays import as_matrix, check_flag
from .._class_weights import check_sample_weight
from .._files import replace_file
from .._overrides import is_built_in
from .._types import AnyArray
from ..losses import Loss
from ..network import Network
from ..optimizers import SGD, Adagrad, Adam, Optimizer, RMSprop
from .formulas import LOSSES, OPTIMIZERS
from .tape import LayerTrace, Tape


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Mapping[str, AnyArray]):
    """Every number of one forward pass, backward pass and update, by name.

    A mapping from names to arrays: ``"x"``, ``"targets"``, ``"outputs"``, ``"loss"``, ``"grad_outputs"``, and for each layer
    ``"layers.0.z"`` and so on, with the roles of `LayerTrace`. ``print(trace)`` walks through the arithmetic.

    Attributes
    ----------
    layers : tuple of LayerTrace
        Layer by layer, those inside others too.
    arrays, formulas : dict
        The arrays, and the formula that made each, by name.
    loss_name : str
        The loss.
    optimizer_name : str or None
        The optimizer, if there was an update.
    training : bool
        Whether the forward pass was one of training mode.
    plain_loss : bool
        Whether the loss is its bare formula: no weights of rows, classes or positives.
    plain_sgd : bool
        Whether the update is ``param - lr grad`` and nothing else.
    """

    layers: tuple[LayerTrace, ...]
    arrays: dict[str, AnyArray]
    formulas: dict[str, str]
    loss_name: str
    optimizer_name: str | None
    training: bool
    plain_loss: bool
    plain_sgd: bool

    def __getitem__(self, name: str) -> AnyArray:
        try:
            return self.arrays[name]
        except KeyError:
            close = [known for known in self.arrays if known.startswith(str(name).rpartition(".")[0])]
            raise KeyError(f"{name!r} is not in this trace; there are {', '.join(close or self.arrays)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def loss(self) -> float:
        """The loss before the update."""
        return float(self.arrays["loss"])

    @property
    def outputs(self) -> AnyArray:
        """What the network gave, (n, outputs)."""
        return self.arrays["outputs"]

    @property
    def n_parameters(self) -> int:
        """How many parameters the network has."""
        return sum(int(layer.values[role].size) for layer in self.layers for role in layer.parameters)

    @property
    def digits(self) -> int:
        """How many significant digits are printed: nine in float64, seven in float32."""
        return 9 if self.outputs.dtype == np.float64 else 7

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and strings, ready for `json.dumps` (which writes NaN where a number is not finite).

        Examples
        --------
        >>> import backprop as bp
        >>> trace = bp.trace(bp.mlp([2, 3, 1], seed=0), [[0.0, 1.0]], [[1.0]], loss="mse")
        >>> sorted(trace.as_dict())
        ['formulas', 'layers', 'loss', 'optimizer', 'training', 'values']
        """
        return {
            "loss": self.loss_name,
            "optimizer": self.optimizer_name,
            "training": self.training,
            "layers": [
                {"name": layer.name, "kind": layer.kind, "description": layer.description, "roles": list(layer.values)}
                for layer in self.layers
            ],
            "values": {name: value.tolist() for name, value in self.arrays.items()},
            "formulas": dict(self.formulas),
        }

    def __str__(self) -> str:
        from .text import render

        return render(self)

    def __repr__(self) -> str:
        return (
            f"<Trace of {len(self.layers)} layers, {self.n_parameters} parameters, {len(self.outputs)} rows, "
            f"{self.loss_name} {self.loss:.{self.digits}g}>"
        )

    def to_svg(self, path: str | PathLike[str] | None = None, *, row: int = 0) -> str:
        """Draw the network with the numbers of one row in it.

        Parameters
        ----------
        path : str or path, optional
            Where to write it.
        row : int
            The row of the batch.

        Returns
        -------
        str
            The SVG text.
        """
        from .svg import standalone

        text = standalone(self, row)
        if path is not None:
            replace_file(path, text.encode())
        return text

    def to_html(self, path: str | PathLike[str] | None = None, *, row: int = 0) -> str:
        """Make a self-contained page that steps through one row.

        Parameters
        ----------
        path : str or path, optional
            Where to write it.
        row : int
            The row of the batch.

        Returns
        -------
        str
            The HTML text.
        """
        from .recorded_page import trace_page

        text = trace_page(self, row)
        if path is not None:
            replace_file(path, text.encode())
        return text

    def _repr_html_(self) -> str:
        from html import escape

        arithmetic = f"<details><summary>The arithmetic</summary><pre>{escape(str(self))}</pre></details>"
        return f'<div style="max-width:60em">{self.to_svg()}{arithmetic}</div>'


def trace(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: Any = None,
    optimizer: Any = None,
    sample_weight: npt.ArrayLike | None = None,
    training: bool = True,
) -> Trace:
    """Run one forward and backward pass, and with an optimizer one update, on a copy of the network, and keep every number.

    Parameters
    ----------
    net : Network
        It is left as it is.
    x : array_like, (n, inputs)
        The rows to trace; one row is the easiest to read.
    y : array_like
        Their targets, as for `Network.fit`.
    loss : str, Loss or callable, optional
        The loss; the one the network was trained with when None.
    optimizer : str or Optimizer, optional
        The update to trace. A copy is used; an optimizer that has been training this network continues from its moments.
    sample_weight : array_like, (n,), optional
        One weight for each row.
    training : bool
        Whether dropout drops and batch normalization uses the batch, as in a training step; False for evaluation mode.

    Returns
    -------
    Trace
        A mapping from names to arrays that prints as a walk through the arithmetic.

    Raises
    ------
    TypeError
        Where `net` is no network.
    ValueError
        Where x, y or loss do not fit the network, or no loss is given and the network was never trained.

    Examples
    --------
    >>> import backprop as bp
    >>> net = bp.mlp([2, 2, 1], activation="tanh", dtype="float64", seed=0)
    >>> trace = bp.trace(net, [[0.0, 1.0]], [[1.0]], loss="half_mse", optimizer="sgd")
    >>> trace["layers.0.z"].shape
    (1, 2)
    >>> bool(abs(trace["layers.0.delta"] - trace["layers.0.grad_a"] * (1 - trace["layers.0.a"] ** 2)).max() < 1e-15)
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    loss, training = given_or_own(loss, net), check_flag("training", training)
    net = copy.deepcopy(net)
    if optimizer is not None:
        optimizer = copy.deepcopy(optimizers.get(optimizer))  # a copy is bound to no network, and keeps its moments
    x = as_matrix(x, "x", net.dtype, net.n_inputs)
    if not len(x):
        raise ValueError("x must have at least one row")
    targets = loss.prepare_targets(y, net.n_outputs, net.dtype)
    if len(targets) != len(x):
        raise ValueError(f"y has {len(targets)} rows, x has {len(x)}: they must have the same number")

    weight = None if sample_weight is None else check_sample_weight(sample_weight, len(x), net.dtype)

    tape = Tape()
    outputs = tape.forward(net.layers, "layers", x, training)
    value, grad_outputs = losses.loss_and_gradient(loss, outputs, targets, weight)
    tape.backward(net.layers, grad_outputs)
    values: dict[str, AnyArray] = {
        "x": x.copy(),
        "targets": np.array(targets),
        **_predictions(loss, outputs, targets),
        "outputs": outputs.copy(),
        "loss": np.asarray(value),
        **_row_losses(loss, outputs, targets),
        "grad_outputs": grad_outputs,
    }
    plain_sgd, rule = False, ""
    if optimizer is not None:
        plain_sgd, rule = _rule(optimizer)
        values["lr"] = np.asarray(optimizer.learning_rate)
        optimizer.step(net)
        tape.updated(rule)
        values["new_loss"] = np.asarray(
            loss.value(Tape().forward(net.layers, "layers", x, training), targets, sample_weight=weight)
        )
    text = LOSSES.get(loss.name) if is_built_in(loss) else None
    formulas = {
        "x": "given",
        "targets": "given",
        "probabilities": f"p = {loss.link}(outputs)",
        "target_probabilities": "the target as the probability of each class",
        "outputs": "what the last layer gives",
        "loss": text.formula if text else f"L = {loss!r}",
        "row_losses": "the loss of each row alone",
        "grad_outputs": _gradient_formula(loss, len(x), net.n_outputs),
        "lr": "the learning rate of this step",
        "new_loss": "the loss after the update",
    }
    formulas = {name: formulas[name] for name in values}
    for layer in tape.layers:
        values |= {f"{layer.name}.{role}": array for role, array in layer.values.items()}
        formulas |= {f"{layer.name}.{role}": text for role, text in layer.formulas.items()}
    plain_loss = is_built_in(loss) and weight is None and loss.class_weight is None and getattr(loss, "pos_weight", None) is None
    name = None if optimizer is None else short(optimizer)
    loss_name = loss.name if is_built_in(loss) else type(loss).__name__
    return Trace(tuple(tape.layers), values, formulas, loss_name, name, training, plain_loss, plain_sgd)


def given_or_own(loss: Any, net: Network) -> Loss:
    """The loss that was given, or else the one that the network was last trained with."""
    if loss is None:
        loss = net.loss
    if loss is None:
        raise ValueError("loss is needed: this network has not been trained, so it has none of its own")
    return losses.get(loss)


def _row_losses(loss: Loss, outputs: AnyArray, targets: AnyArray) -> dict[str, AnyArray]:
    """The loss of each row alone; a custom loss is not called on parts of the batch."""
    if loss.custom:
        return {}
    return {"row_losses": np.array([loss.value(outputs[row : row + 1], targets[row : row + 1]) for row in range(len(outputs))])}


def _predictions(loss: Loss, outputs: AnyArray, targets: AnyArray) -> dict[str, AnyArray]:
    """What the outputs mean where a link turns them into probabilities, and what they should have been."""
    if loss.link not in ("softmax", "sigmoid"):
        return {}
    values = {"probabilities": activations.get(loss.link)(outputs)}
    if loss.link == "softmax":
        wanted = targets if targets.ndim == 2 else np.eye(outputs.shape[1], dtype=outputs.dtype)[targets]
        smoothing = getattr(loss, "label_smoothing", 0.0)
        values["target_probabilities"] = (1 - smoothing) * wanted + smoothing / outputs.shape[1]
    return values


def _gradient_formula(loss: Loss, rows: int, n_outputs: int) -> str:
    text = LOSSES.get(loss.name) if is_built_in(loss) else None
    if text is None or text.gradient is None:
        return "dL/doutput, by the loss"
    gradient = text.gradient.format(o="output", t="target", p="p")
    divisor = " / ".join([str(n_outputs)] * (loss.reduction == "mean" and n_outputs > 1) + [f"{rows} rows"] * (rows > 1))
    return f"dL/doutput = ({gradient}) / {divisor}" if divisor else f"dL/doutput = {gradient}"


def _rule(optimizer: Optimizer) -> tuple[bool, str]:
    """Whether an update is nothing but ``param - lr grad``, and its formula."""
    if not is_built_in(optimizer):
        return False, f"param = param + update, by {type(optimizer).__name__}"
    key = optimizer.name
    if isinstance(optimizer, SGD) and optimizer.momentum:
        key = "sgd_nesterov" if optimizer.nesterov else "sgd_momentum"
    rule = OPTIMIZERS.get(key, f"param = param + update, by {type(optimizer).__name__}")
    if isinstance(optimizer, RMSprop) and optimizer.centered:
        rule = rule.replace("sqrt(v)", "sqrt(v - mean^2)") + ", mean the running mean of grad"
    if isinstance(optimizer, RMSprop) and optimizer.momentum:
        rule = rule.replace("param = param - lr grad", "velocity = momentum velocity + grad") + ";  param = param - lr velocity"
    if isinstance(optimizer, Adam) and not optimizer.eps_corrected:
        rule = rule.replace("+ eps)", "+ eps / sqrt(1 - beta2^t))")
    if isinstance(optimizer, Adam) and optimizer.amsgrad:
        rule = rule.replace("sqrt(v /", "sqrt(v_max /") + ", v_max the largest v so far"
    if isinstance(optimizer, SGD) and optimizer.momentum and optimizer.dampening:
        rule += ";  the first velocity is grad"
    if isinstance(optimizer, Adagrad) and optimizer.lr_decay:
        rule = rule.replace("lr grad", "lr / (1 + (t - 1) lr_decay) grad")
    decay = [f";  {note}" for note in _decay(optimizer)]
    return key == "sgd" and not decay, rule + "".join(decay)


def _decay(optimizer: Optimizer) -> Iterator[str]:
    """What weight decay, l1 and groups add to the rule of an optimizer."""

    def has(option: str) -> bool:
        return any((getattr(optimizer, option), *(group.get(option) for group in optimizer.groups.values())))

    if has("weight_decay") and optimizer.decoupled and optimizer.name != "adamw":  # whose rule has it
        yield "param shrinks by lr weight_decay param first"
    included = ["weight_decay param"] if has("weight_decay") and not optimizer.decoupled else []
    included += ["l1 sign(param)"] if has("l1") else []
    if included:
        yield f"grad includes {' and '.join(included)}"
    if optimizer.groups:
        yield "lr, weight_decay and l1 are those of its group"


def short(optimizer: Optimizer) -> str:
    """The call that makes this optimizer, without the arguments that have their default.

    Examples
    --------
    >>> import backprop as bp
    >>> short(bp.SGD(lr=0.5))
    'SGD(lr=0.5)'
    """
    parameters = signature(type(optimizer)).parameters.values()
    given = [(p.name, getattr(optimizer, p.name), p.default) for p in parameters]
    shown = [f"{name}={value!r}" for name, value, default in given if name == "lr" or (value or None) != (default or None)]
    return f"{type(optimizer).__name__}({', '.join(shown)})"
