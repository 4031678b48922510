"""The table of a network's layers."""

from __future__ import annotations

import backprop as bp

TABLE = """\
name              layer           shape    parameters  activation
layers.0          Dense (frozen)  5 -> 6           36  gelu
layers.1          BatchNorm       6 -> 6           12
layers.2          Residual        6 -> 6        1,110
layers.2.block.0  Dense           6 -> 92         552  relu
layers.2.block.1  Dropout         any               0
layers.2.block.2  Dense           92 -> 6         558  identity
layers.3          Activation      any               0  tanh
1,158 parameters, 1,122 trainable, float32, 4,632 bytes"""


def test_summary_shows_itself():
    net = bp.Network(
        [
            bp.Dense(5, 6, activation="gelu"),
            bp.BatchNorm(6),
            bp.Residual([bp.Dense(6, 92, activation="relu", bias=False), bp.Dropout(0.3), bp.Dense(92, 6)]),
            bp.Activation("tanh"),
        ]
    )
    net.layers[0].trainable = False
    summary = net.summary()
    assert repr(summary) == str(summary) == TABLE
