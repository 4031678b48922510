"""What the steps say to a reader who is new to backpropagation: a title and a sentence each."""

from __future__ import annotations

STEPS: dict[str, tuple[str, str]] = {
    "input": ("The example goes in", "These numbers are all the network sees. The target is kept for later."),
    "sums": (
        "{label}: weighted sums",
        "Each unit multiplies every number that reaches it by the weight of that connection and adds them up, then adds its bias.",
    ),
    "sums_without_bias": (
        "{label}: weighted sums",
        "Each unit multiplies every number that reaches it by the weight of that connection and adds them up.",
    ),
    "activation": (
        "{label}: {activation}",
        "Each sum goes through the activation function: the bend that lets the network learn more than straight lines.",
    ),
    "relu": (
        "{label}: relu",
        "Sums below zero become 0, the others pass: the bend that lets the network learn more than straight lines.",
    ),
    "leaky_relu": (
        "{label}: leaky_relu",
        "Sums above zero pass, those below are scaled down: the bend that lets the network learn more than straight lines.",
    ),
    "sigmoid": (
        "{label}: sigmoid",
        "Every sum is squeezed between 0 and 1: the bend that lets the network learn more than straight lines.",
    ),
    "tanh": (
        "{label}: tanh",
        "Every sum is squeezed between -1 and 1: the bend that lets the network learn more than straight lines.",
    ),
    "softmax": ("{label}: softmax", "The sums become probabilities: positive, and together 1."),
    "Dropout": (
        "{label}",
        "Some units are silenced at random, and the others are scaled up so that the sum stays the same on average.",
    ),
    "BatchNorm": (
        "{label}",
        "Each column is shifted and scaled to mean 0 and variance 1 over the batch, then scaled by a weight and moved by a bias.",
    ),
    "LayerNorm": (
        "{label}",
        "Each row is shifted and scaled to mean 0 and variance 1, then scaled by a weight and moved by a bias.",
    ),
    "Residual": ("{label}", "What went into the block is added to what came out of it."),
    "other": ("{label}", "A layer of your own: what comes out of it."),
    "loss": (
        "How wrong is it?",
        "The loss, {loss}, is one number for how far the output is from the target. Learning means making it smaller.",
    ),
    "grad_outputs": (
        "Which way would be better?",
        "The gradient says how the loss changes when an output changes: where it is positive, the output should go down; "
        "where it is negative, up.",
    ),
    "delta": (
        "{label}: back through {activation}",
        "What reaches a unit is multiplied by the slope of its activation, at the sum it had. Where the curve is flat, the slope "
        "is near 0 and little gets through.",
    ),
    "grad_weight": (
        "{label}: blame each weight",
        "A weight's gradient is the number that came in through it times the delta of the unit it leads to. "
        "The bias gets delta itself.",
    ),
    "grad_weight_without_bias": (
        "{label}: blame each weight",
        "A weight's gradient is the number that came in through it times the delta of the unit it leads to.",
    ),
    "grad_x": (
        "{label}: send the error back",
        "Each unit of the layer before collects the deltas of the units it fed, each times the weight between them.",
    ),
    "back": ("Back through {label}", "What arrives is multiplied by how the output depends on the input, as the formula says."),
    "both_ways": ("Residual: the error goes both ways", "A sum hands its gradient on undiminished: to the block, and around it."),
    "rejoin": ("Residual: both ways meet", "What went around the block is added to what came back through it."),
    "update": (
        "{label}: the weights take a step",
        "Every weight moves a little against its gradient: down where the gradient is positive, up where it is negative.",
    ),
    "after": (
        "Was it a step in the right direction?",
        "The same example once more, through the new weights. Training repeats this for many examples, many times.",
    ),
}


def say(kind: str, **names: str) -> tuple[str, str]:
    """Title and sentence of a step.

    Examples
    --------
    >>> say("tanh", label="Layer 1")[0]
    'Layer 1: tanh'
    """
    title, text = STEPS[kind]
    return title.format(**names), text.format(**names)
