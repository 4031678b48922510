"""What can be wrong with a network, its data or its training: the catalogue, a `Finding`, and the `Report` that lists findings."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field, replace
from html import escape
from typing import Literal, NamedTuple

Severity = Literal["critical", "warning", "hint"]
Stage = Literal["data", "start", "training"]


class Problem(NamedTuple):
    """Why it happens, what to try, the section of the guide that explains it, and which other problems it may cause."""

    why: str
    remedy: str
    section: str
    leads_to: tuple[str, ...] = ()


_STUCK = ("underfitting", "plateau", "learning rate too low")
_BLOCKED = ("vanishing gradients", *_STUCK)
_THROWN = ("exploding gradients", "non-finite values", "dead relu units", "saturated units", "loss far from chance", *_BLOCKED)

# Causes stand before effects: of findings that are alike otherwise, the one further up is named first.
CATALOGUE: dict[str, Problem] = {
    "outliers": Problem(
        "A few values far from all others dominate the mean, the standard deviation and the gradient: scaling squeezes the rest "
        "together, and each batch with such a row undoes what the others have taught.",
        "Look at these rows: correct or remove mistakes; clip or take logarithms of values that are right; for targets, use "
        "loss='huber' or loss='mae'.",
        "Debugging",
        ("inputs not scaled", "targets not scaled", "learning rate too high", "overfitting", *_THROWN),
    ),
    "inputs not scaled": Problem(
        "Inputs of very large or very small size put z far from where activations bend, and make the weight gradients, which "
        "are products with the inputs, as large or as small.",
        "Standardise each column: x = (x - mean) / std, with the mean and std of the training set.",
        "Debugging",
        ("learning rate too high", *_THROWN),
    ),
    "constant inputs": Problem(
        "A column that never changes carries nothing to learn from.",
        "Leave the column out, or find out why it is constant.",
        "Debugging",
        ("uninformative inputs", *_STUCK),
    ),
    "targets not scaled": Problem(
        "Targets far from zero, or of large size, make the error and so every gradient large; the network spends its training "
        "on reaching the mean.",
        "Standardise the targets: y = (y - mean) / std, and undo it on predictions.",
        "Debugging",
        ("learning rate too high", *_THROWN),
    ),
    "constant targets": Problem(
        "Where every row has the same target there is nothing to tell apart: the bias of the last layer alone can learn it.",
        "Look at how y was made: the wrong column, a filter that left one class, or one row only.",
        "Debugging",
        ("unused outputs", "loss far from chance", *_THROWN),
    ),
    "validation differs from training": Problem(
        "What holds for the training rows does not hold for the validation rows: they were scaled, labelled or chosen in another "
        "way, and the validation scores say nothing about the training.",
        "Split rows at random after labels are assigned; fit scalers on the training rows and apply the same ones to all rows.",
        "Debugging",
        ("overfitting",),
    ),
    "validation rows in training": Problem(
        "Rows that the network was trained on are known by heart; a validation score over them is too good.",
        "Remove duplicate rows before splitting, and split before drawing rows more than once; keep rows that belong together "
        "(of one person, one series) on one side.",
        "Debugging",
    ),
    "few validation rows": Problem(
        "The score of a handful of rows is mostly chance: another handful would give another one, and its best epoch is luck.",
        "Hold out more rows, a fifth of all or some hundred; where rows are few, use every row once: compare(folds=5).",
        "Debugging",
        ("overfitting",),
    ),
    "repeated rows": Problem(
        "The same few rows over and over: the network sees no others, and soon knows these by heart.",
        "Look at how the rows were put together (a join, a loop); use each row once, and find more of them. To let rare rows count "
        "more, use sample_weight or class_weight.",
        "Debugging",
        ("validation rows in training", "overfitting"),
    ),
    "weight on few rows": Problem(
        "Sample weights or class weights give nearly all weight to a small part of the rows: the loss says nothing about others.",
        "Use weights of the same size, or none; class_weight='balanced' gives all classes together the same weight.",
        "Debugging",
        ("overfitting", *_THROWN),
    ),
    "leaked target": Problem(
        "One input column gives the target away. Often it is a copy of the target, or was recorded after it, and is not known "
        "when the network is used.",
        "Leave the column out, unless it is known at the time of prediction.",
        "Debugging",
    ),
    "regression loss on classes": Problem(
        "A class number is a name, not a quantity: mse takes class 2 for the mean of classes 1 and 3. On one-hot targets the "
        "gradients of mse and mae are small where the network is wrong, and mae is content with answering 0 everywhere.",
        "Give the network one output for each class and use loss='cross_entropy' with the class numbers as targets; for two "
        "classes, one output and loss='binary_cross_entropy'.",
        "Debugging",
        ("targets not scaled", "targets out of reach", "loss far from chance", "dead relu units", "saturated units", *_BLOCKED),
    ),
    "rows not shuffled": Problem(
        "Rows are sorted by target and used in this order: each batch holds one kind of target, and undoes what the batches "
        "before have taught.",
        "Train with shuffle=True, or shuffle the rows once.",
        "Debugging",
        ("learning rate too high", "overfitting", *_THROWN),
    ),
    "uninformative inputs": Problem(
        "Nothing in the inputs says anything about the targets: neither a column alone, nor all of them in a linear model, nor "
        "the nearest rows. What the network learns of the training rows, it learns by heart.",
        "Look at how x and y were joined (rows shuffled apart, a wrong key), add inputs that bear on the target, or more rows.",
        "Debugging",
        ("overfitting", *_STUCK),
    ),
    "targets out of reach": Problem(
        "The activation of the last layer bounds what the network can answer, and some targets lie outside those bounds.",
        "Give the last layer the activation 'identity' for numbers without bounds, or scale the targets into its range.",
        "Debugging",
        ("dead relu units", "saturated units", *_BLOCKED),
    ),
    "label smoothing too strong": Problem(
        "With smoothing s the target of the right class is 1 - s + s / k: the network is taught to be unsure, and gradients of "
        "right and wrong answers become alike.",
        "Use label_smoothing of 0 to 0.1.",
        "Choosing an architecture",
        ("loss far from chance", *_STUCK),
    ),
    "frozen layers": Problem(
        "Parameters that are not trained stay as they were drawn, and the other layers have to make do with what comes out.",
        "Set layer.trainable = True; freeze only layers that have been trained.",
        "Debugging",
        ("dead relu units", "saturated units", *_BLOCKED),
    ),
    "narrow layer": Problem(
        "All that later layers know of the inputs goes through this layer; through one unit goes one number, through a dead one "
        "none.",
        "Use more units: at least as many as there are classes or relevant inputs; 16 to 64 to begin with.",
        "Choosing an architecture",
        ("dead relu units", "saturated units", *_BLOCKED),
    ),
    "no nonlinearity": Problem(
        "Layers without an activation, one after another, are a single linear layer, whatever their number.",
        "Give hidden layers an activation: relu or tanh.",
        "Choosing an architecture",
        _STUCK,
    ),
    "symmetric weights": Problem(
        "Units with equal weights give equal outputs, get equal gradients and stay equal: the layer acts as a single unit.",
        "Draw initial weights at random (init='he_normal' or 'glorot_uniform'); biases may stay zero.",
        "Vanishing gradients",
        ("dead relu units", "saturated units", *_BLOCKED),
    ),
    "badly scaled weights": Problem(
        "Signals grow or shrink by the same factor in every layer, so outputs and gradients end up far too large or too small.",
        "Use an initializer made for the activation: init='he_normal' for the relu family, 'glorot_uniform' for tanh and sigmoid.",
        "Vanishing gradients",
        ("learning rate too high", *_THROWN),
    ),
    "tiny batches with batch norm": Problem(
        "The mean and variance of a few rows are noise, and batch normalization adds that noise to every activation.",
        "Use batches of 16 rows or more, or LayerNorm, which does not look across rows.",
        "Debugging",
        ("learning rate too high", "plateau", "underfitting"),
    ),
    "batch norm statistics": Problem(
        "In training, batch normalization uses the mean and variance of the batch, and for predictions running ones, which have "
        "not come near them: predictions differ from the outputs in training.",
        "Use momentum=0.1, the default, and at least some ten times 1 / momentum updates.",
        "Debugging",
        ("overfitting", "loss far from chance"),
    ),
    "regularization too strong": Problem(
        "Weight decay pulls every weight towards 0, and dropout takes units away; where either outweighs what the data say, "
        "nothing is learned.",
        "Use less: weight_decay of 1e-4 to 1e-2, l2 up to 1, dropout of 0.1 to 0.5. Begin without, and add it against overfitting.",
        "Choosing an architecture",
        ("symmetric weights", "learning rate too high", *_THROWN),
    ),
    "clipping too strong": Problem(
        "Where the limit is far below the gradients of ordinary steps, every step is shortened, and training slows down as with "
        "a learning rate that is too low.",
        "Raise the limit above the usual gradient norm, so that it catches exceptions only, or raise the learning rate.",
        "Exploding gradients",
        ("vanishing gradients", *_STUCK),
    ),
    "changed gradients": Problem(
        "With the gradients as on_gradients leaves them the network does not learn; with the original gradients it would.",
        "Look at the function: zeros, a wrong sign, noise much larger than the gradient; train without it to compare.",
        "Debugging",
        ("vanishing gradients", "learning rate too high", *_STUCK),
    ),
    "learning rate too high": Problem(
        "Steps as large as the weights themselves jump over the minimum instead of approaching it.",
        "Divide the learning rate by 10 (lr_range_test suggests one), or warm it up with a schedule.",
        "Optimizing training",
        _THROWN,
    ),
    "too few updates": Problem(
        "Each step moves the weights a little, and there were few: large batches, accumulate_steps and few epochs all mean few "
        "steps.",
        "Use batches of 32 rows, no accumulate_steps, and more epochs.",
        "Optimizing training",
        _STUCK,
    ),
    "learning rate too low": Problem(
        "Steps this small against the weights change nothing within a reasonable number of epochs.",
        "Multiply the learning rate by 10 (lr_range_test suggests one), or use Adam.",
        "Optimizing training",
        ("underfitting", "plateau"),
    ),
    "exploding gradients": Problem(
        "Going backwards, each layer multiplies the error signal by its weights; factors above one compound with depth, and "
        "large inputs or errors make the gradient large from the start.",
        "Clip gradients (clip_norm=1.0); use an initializer made for the activation, or normalization layers.",
        "Exploding gradients",
        ("learning rate too high", *_THROWN),
    ),
    "non-finite values": Problem(
        "A value left the range of its dtype, or was never a number; everything computed from it is lost.",
        "Look at the first place that is named. In the data: remove or impute. In the weights: go back to a checkpoint, "
        "then lower the learning rate or clip gradients (clip_norm=1.0).",
        "Exploding gradients",
    ),
    "dead relu units": Problem(
        "Where z is negative for every row, relu gives 0 and passes no gradient back: the unit cannot recover.",
        "Lower the learning rate, start biases at 0, or use leaky_relu (elu and gelu have a flat end, too).",
        "Vanishing gradients",
        _BLOCKED,
    ),
    "saturated units": Problem(
        "At the flat ends of an activation (both of sigmoid and tanh, the lower one of gelu and elu) the derivative is almost 0, "
        "so almost no gradient passes back.",
        "Scale the inputs, use smaller initial weights (init='glorot_uniform'), or use relu in hidden layers.",
        "Vanishing gradients",
        _BLOCKED,
    ),
    "vanishing gradients": Problem(
        "Going backwards, each layer multiplies the error signal by its weights and by the activation's derivative (at most 1/4 "
        "for sigmoid); factors below one compound with depth, and the first layers hardly learn.",
        "Use relu with init='he_normal' in hidden layers, fewer layers, residual blocks, or normalization layers.",
        "Vanishing gradients",
        _STUCK,
    ),
    "unused outputs": Problem(
        "The network has outputs for classes that never occur among the labels: they only learn to be 0.",
        "Check the labels; give the network one output for each class.",
        "Debugging",
    ),
    "class imbalance": Problem(
        "The loss is dominated by the frequent classes; a network that ignores the rare ones looks good.",
        "Use class_weight='balanced', and judge by balanced metrics (f1, auc) rather than by accuracy.",
        "Debugging",
        ("loss far from chance", "underfitting"),
    ),
    "loss far from chance": Problem(
        "The loss is well above that of the best answer that is the same for every row: the network is confidently wrong.",
        "Check that labels and outputs match; standardise the inputs; use smaller initial weights, above all in the last layer.",
        "Debugging",
    ),
    "plateau": Problem(
        "The loss fell and then stopped, though it could fall further: steps are too long to follow a narrow valley, or too "
        "short to get anywhere.",
        "Where the learning rate was constant, lower it when progress stops (schedules.ReduceOnPlateau); where a schedule has "
        "brought it near 0, let it decay more slowly. Momentum or Adam cross flat parts.",
        "Momentum",
        ("underfitting",),
    ),
    "overfitting": Problem(
        "The training loss keeps falling while the validation loss rises: the network learns the rows by heart.",
        "Stop early (EarlyStopping(restore_best_weights=True)), add Dropout or weight_decay, use a smaller network or more data.",
        "Choosing an architecture",
    ),
    "underfitting": Problem(
        "Even on the training rows the loss stays near what is reached without looking at the inputs.",
        "Use a wider or deeper network, train longer, raise the learning rate, or weaken dropout and weight decay.",
        "Choosing an architecture",
    ),
}
SECTIONS: dict[str, str] = {
    "Debugging": (
        "First make sure that the network can learn a handful of rows by heart: if not, something is broken, and more data or"
        " layers do not help. Then look at the data (scales, gaps, labels, order), at the loss before training, which should "
        "be near that of guessing, at the gradients layer by layer, and only then at learning rates and sizes. Change one "
        "thing at a time."
    ),
    "Vanishing gradients": (
        "Going backwards, the error signal delta is multiplied in each layer by the weights and by the derivative of the "
        "activation. Where these factors are below one, as with sigmoid (at most 1/4), it shrinks with depth, and the first "
        "layers hardly learn. Activations with derivative 1, weights drawn to fit them, residual blocks and normalization "
        "keep the factors near one."
    ),
    "Exploding gradients": (
        "Where the factors of the backward pass are above one, delta grows with depth, a step throws the weights far off, and"
        " the loss jumps or is no number any more. Clipping limits the length of a step; weights drawn to fit the activation,"
        " scaled inputs and normalization keep the gradient small to begin with."
    ),
    "Choosing an architecture": (
        "Begin with one or two hidden layers of 32 to 128 relu units. If the loss on the training rows stays high, the "
        "network is too small or too tightly held (underfitting): widen it. If it is low there and high on other rows, the "
        "network knows the rows by heart (overfitting): more rows, early stopping, dropout or weight decay help. Compare on "
        "rows held out."
    ),
    "Optimizing training": (
        "The learning rate matters most: too high, and the loss jumps or grows; too low, and it crawls. Adam at 1e-3 is a "
        "good beginning; a range test finds a better one, and a schedule that warms up and decays gets more out of it. "
        "Batches of 32 to 128 rows give many updates an epoch."
    ),
    "Momentum": (
        "Momentum adds up the steps of the past: where they agree, along a valley, it gathers speed, and where they "
        "alternate, across it, they cancel. So it crosses flat parts that plain gradient descent hardly moves on."
    ),
}
"""What each section of the guide says, in short: for pages that are read without it."""
_MARKS: dict[Severity, str] = {"critical": "#D55E00", "warning": "#E69F00", "hint": "#56B4E9"}
_RANKS = {name: rank for rank, name in enumerate(CATALOGUE)}
_SEVERITIES: dict[Severity, int] = {"critical": 0, "warning": 1, "hint": 2}
_STAGES: dict[Stage, int] = {"data": 0, "start": 1, "training": 2}


@dataclass(frozen=True)
class Finding:
    """One problem, with its evidence and its remedy.

    Attributes
    ----------
    name : str
        A key of `CATALOGUE`.
    severity : {"critical", "warning", "hint"}
        How bad it is.
    evidence : str
        What was seen, in words and numbers.
    layer : str or None
        The layer where it shows, as in ``state_dict`` names; None where it is not in one layer.
    numbers : dict of str to float
        The numbers in `evidence`, by name.
    stage : {"data", "start", "training"}
        Where it comes from: the data, the network as training began, or what training made of it.
    advice : str
        What helps in this case, where that is known; `remedy` returns it then.
    """

    name: str
    severity: Severity
    evidence: str
    layer: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    stage: Stage = "training"
    advice: str = ""

    @property
    def why(self) -> str:
        """Why this happens."""
        return CATALOGUE[self.name].why

    @property
    def remedy(self) -> str:
        """What to try: what helps in this case, or else what helps as a rule."""
        return self.advice or CATALOGUE[self.name].remedy

    @property
    def section(self) -> str:
        """The section of the guide "Understanding backpropagation" that explains it."""
        return CATALOGUE[self.name].section

    def __str__(self) -> str:
        place = f" in {self.layer}" if self.layer else ""
        parts = (("seen", self.evidence), ("why", self.why), ("try", self.remedy), ("guide", self.section))
        return "\n".join([f"{self.severity.upper()}: {self.name}{place}", *(_paragraph(*part) for part in parts)])


@dataclass(frozen=True)
class Report:
    """What `diagnose` or a `Monitor` found, the likeliest reason first."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: list[Finding]) -> Report:
        """Sort findings by severity, and alike ones by cause before effect; of each name there is one, with all evidence.

        What stands in the data comes before how the network began, and that before what training made of it. A cause is as
        severe as the worst of its effects.
        """
        alike: dict[str, list[Finding]] = {}
        for finding in sorted(findings, key=lambda finding: (*_causal_order(finding), _SEVERITIES[finding.severity])):
            alike.setdefault(finding.name, []).append(finding)
        raised: list[Finding] = []
        for finding in reversed([_joined(group) for group in alike.values()]):
            effects = [later for later in raised if later.name in CATALOGUE[finding.name].leads_to]
            severity = min((finding.severity, *(effect.severity for effect in effects)), key=_SEVERITIES.__getitem__)
            raised.insert(0, replace(finding, severity=severity))
        return cls(tuple(sorted(raised, key=lambda finding: _SEVERITIES[finding.severity])))

    def effects(self, finding: Finding) -> tuple[str, ...]:
        """The names of those other findings that this one may have brought about."""
        leads_to = CATALOGUE[finding.name].leads_to
        later = (other for other in self.findings if _causal_order(other) > _causal_order(finding))
        return tuple(dict.fromkeys(other.name for other in later if other.name in leads_to))

    def __bool__(self) -> bool:
        return bool(self.findings)

    def _repr_html_(self) -> str:
        """Return a card for each finding for a notebook."""
        if not self.findings:
            return "<p>Nothing unusual was found.</p>"
        return "".join(_card(finding, self.effects(finding)) for finding in self.findings)

    def __str__(self) -> str:
        if not self.findings:
            return "Nothing unusual was found."
        count = len(self.findings)
        pages = [f"{count} finding{'s' * (count > 1)}, the likeliest reason first."]
        for finding in self.findings:
            effects = ", ".join(self.effects(finding))
            pages.append(f"{finding}\n{_paragraph('so', f'{effects} may come from this.')}" if effects else str(finding))
        return "\n\n".join(pages)


def _causal_order(finding: Finding) -> tuple[int, int]:
    return _STAGES[finding.stage], _RANKS[finding.name]


def _joined(alike: list[Finding]) -> Finding:
    """The first of some findings of one name, with the evidence of two more and the advice of the first that has any."""
    first, *others = alike
    places = {first.layer: first.evidence}
    for other in others:
        places.setdefault(other.layer, f"Also{f' in {other.layer}' if other.layer else ''}: {other.evidence}")
    evidence = list(places.values())
    rest = [f"And {len(evidence) - 3} more."] if len(evidence) > 3 else []
    advice = next((finding.advice for finding in alike if finding.advice), "")
    return replace(first, evidence=" ".join([*evidence[:3], *rest]), advice=advice)


def _card(finding: Finding, effects: tuple[str, ...]) -> str:
    place = f" in {finding.layer}" if finding.layer else ""
    parts = [("Seen", finding.evidence), ("Why", finding.why), ("Try", finding.remedy)]
    if effects:
        parts.append(("So", f"{', '.join(effects)} may come from this."))
    body = "".join(f"<p style='margin:.3em 0'><b>{label}:</b> {escape(text)}</p>" for label, text in parts)
    body += f"<div style='margin:.3em 0'>{guide(finding)}</div>"
    color = _MARKS[finding.severity]
    return (
        f"<div style='border-left:5px solid {color};padding:.2em .8em;margin:.6em 0'><b>{escape(finding.name + place)}</b> "
        f"({finding.severity}){body}</div>"
    )


def guide(finding: Finding) -> str:
    """Return, as HTML, the section of the guide that explains a finding, and what it says in short, folded."""
    section = finding.section
    return f"<details><summary>Understanding backpropagation, {escape(section)}</summary>{escape(SECTIONS[section])}</details>"


def _paragraph(label: str, text: str) -> str:
    return textwrap.fill(text, 100, initial_indent=f"  {label + ':':<7}", subsequent_indent=" " * 9)
