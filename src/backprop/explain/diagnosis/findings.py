"""What can be wrong with a network, its data or its training: the catalogue, a `Finding`, and the `Report` that lists them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Severity = Literal["critical", "warning", "hint"]


class Sickness(NamedTuple):
    """Why something happens, what to try, and the section of the guide that explains it."""

    why: str
    cure: str
    section: str


# Causes stand before effects: of two findings of one severity, the one further up is the likelier reason and is named first.
CATALOGUE: dict[str, Sickness] = {
    "non-finite values": Sickness(
        "A value left the range of its dtype, or was never a number; everything computed from it is lost.",
        "Look at the first place that is named. In the data: remove or impute. In the weights: go back to a checkpoint, "
        "then lower the learning rate or clip gradients (clip_norm=1.0).",
        "Exploding gradients",
    ),
    "inputs not scaled": Sickness(
        "Inputs of very large or very small size put z far from where activations bend, and make the weight gradients, which "
        "are products with the inputs, as large or as small.",
        "Standardise each column: x = (x - mean) / std, with the mean and std of the training set.",
        "Debugging",
    ),
    "constant inputs": Sickness(
        "A column that never changes carries nothing to learn from.",
        "Leave the column out, or find out why it is constant.",
        "Debugging",
    ),
    "targets not scaled": Sickness(
        "Targets far from zero, or of large size, make the error and so every gradient large; the network spends its training "
        "on reaching the mean.",
        "Standardise the targets: y = (y - mean) / std, and undo it on predictions.",
        "Debugging",
    ),
    "symmetric weights": Sickness(
        "Units with equal weights give equal outputs, get equal gradients and stay equal: the layer acts as a single unit.",
        "Draw initial weights at random (init='he_normal' or 'glorot_uniform'); biases may stay zero.",
        "Vanishing gradients",
    ),
    "badly scaled weights": Sickness(
        "Signals grow or shrink by the same factor in every layer, so outputs and gradients end up far too large or too small.",
        "Use an initializer made for the activation: init='he_normal' for the relu family, 'glorot_uniform' for tanh and sigmoid.",
        "Vanishing gradients",
    ),
    "learning rate too high": Sickness(
        "Steps as large as the weights themselves jump over the minimum instead of approaching it.",
        "Divide the learning rate by 10 (lr_range_test suggests one), or warm it up with a schedule.",
        "Optimizing training",
    ),
    "learning rate too low": Sickness(
        "Steps this small against the weights change nothing within a reasonable number of epochs.",
        "Multiply the learning rate by 10 (lr_range_test suggests one), or use Adam.",
        "Optimizing training",
    ),
    "exploding gradients": Sickness(
        "Going backwards, each layer multiplies the error signal by its weights; factors above one compound with depth.",
        "Clip gradients (clip_norm=1.0); use an initializer made for the activation, or normalization layers.",
        "Exploding gradients",
    ),
    "dead relu units": Sickness(
        "Where z is negative for every row, relu gives 0 and passes no gradient back: the unit cannot recover.",
        "Lower the learning rate, start biases at 0, or use leaky_relu, elu or gelu.",
        "Vanishing gradients",
    ),
    "saturated units": Sickness(
        "At the flat ends of sigmoid and tanh the derivative is almost 0, so almost no gradient passes back.",
        "Scale the inputs, use smaller initial weights (init='glorot_uniform'), or use relu in hidden layers.",
        "Vanishing gradients",
    ),
    "vanishing gradients": Sickness(
        "Going backwards, each layer multiplies the error signal by its weights and by the activation's derivative (at most 1/4 "
        "for sigmoid); factors below one compound with depth, and the first layers hardly learn.",
        "Use relu with init='he_normal' in hidden layers, fewer layers, residual blocks, or normalization layers.",
        "Vanishing gradients",
    ),
    "tiny batches with batch norm": Sickness(
        "The mean and variance of a few rows are noise, and batch normalization adds that noise to every activation.",
        "Use batches of 16 rows or more, or LayerNorm, which does not look across rows.",
        "Debugging",
    ),
    "unused outputs": Sickness(
        "The network has outputs for classes that never occur among the labels: they only learn to be 0.",
        "Check the labels; give the network as many outputs as there are classes.",
        "Debugging",
    ),
    "class imbalance": Sickness(
        "The loss is dominated by the frequent classes; a network that ignores the rare ones looks good.",
        "Use class_weight='balanced', and judge by balanced metrics (f1, auc) rather than by accuracy.",
        "Debugging",
    ),
    "loss far from chance": Sickness(
        "The loss is well above that of always predicting the class frequencies: the network is confidently wrong.",
        "Check that labels and outputs match; standardise the inputs; use smaller initial weights, above all in the last layer.",
        "Debugging",
    ),
    "overfitting": Sickness(
        "The training loss goes on falling while the validation loss rises: the network learns the rows by heart.",
        "Stop early (EarlyStopping(restore_best_weights=True)), add Dropout or weight_decay, use a smaller network or more data.",
        "Choosing an architecture",
    ),
    "underfitting": Sickness(
        "Even on the training rows the loss stays near what is reached without looking at the inputs.",
        "Use a wider or deeper network, train longer, raise the learning rate, or weaken dropout and weight decay.",
        "Choosing an architecture",
    ),
    "plateau": Sickness(
        "The loss fell and then stopped, while still far from zero.",
        "Lower the learning rate when progress stops (schedules.ReduceOnPlateau), or use momentum or Adam to cross the flat part.",
        "Momentum",
    ),
}
_RANKS = {name: rank for rank, name in enumerate(CATALOGUE)}
_SEVERITIES: dict[Severity, int] = {"critical": 0, "warning": 1, "hint": 2}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with its evidence and its cure."""

    name: str
    """A key of `CATALOGUE`."""
    severity: Severity
    evidence: str
    """What was seen, in words and numbers."""
    layer: str | None = None
    """The layer where it shows, as in ``state_dict`` names; None where it is not in one layer."""
    numbers: dict[str, float] = field(default_factory=dict)
    """The numbers in `evidence`, by name."""

    @property
    def why(self) -> str:
        """Why this happens."""
        return CATALOGUE[self.name].why

    @property
    def cure(self) -> str:
        """What to try."""
        return CATALOGUE[self.name].cure

    @property
    def section(self) -> str:
        """The section of the guide "Understanding backpropagation" that explains it."""
        return CATALOGUE[self.name].section

    def __str__(self) -> str:
        place = f" in {self.layer}" if self.layer else ""
        lines = [f"{self.severity.upper()}: {self.name}{place}"]
        for label, text in (("seen", self.evidence), ("why", self.why), ("try", self.cure), ("guide", self.section)):
            lines.append(textwrap.fill(text, 100, initial_indent=f"  {label + ':':<7}", subsequent_indent=" " * 9))
        return "\n".join(lines)


@dataclass(frozen=True)
class Report:
    """What `diagnose` or a `Monitor` found, the likeliest reason first."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: list[Finding]) -> Report:
        """Sort the findings, critical ones first and causes before effects; of each name and layer only the first is kept."""
        unique = {(finding.name, finding.layer): finding for finding in reversed(findings)}
        return cls(tuple(sorted(unique.values(), key=lambda finding: (_SEVERITIES[finding.severity], _RANKS[finding.name]))))

    def __bool__(self) -> bool:
        return bool(self.findings)

    def __str__(self) -> str:
        if not self.findings:
            return "Nothing unusual was found."
        count = len(self.findings)
        return "\n\n".join([f"{count} finding{'s' * (count > 1)}, the likeliest reason first.", *map(str, self.findings)])
