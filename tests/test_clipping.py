"""Gradient clipping: PyTorch's formula, over trainable parameters only."""

from __future__ import annotations

import numpy as np
import pytest

import backprop as bp


@pytest.fixture
def net(dtype):
    """A network whose gradients are 3 and 4, and a frozen layer's that are large."""
    net = bp.Network([bp.Dense(1, 1), bp.Dense(1, 1)], dtype=dtype)
    net.layers[1].trainable = False
    net.gradients = [3.0, -4.0, 100.0, 100.0]
    return net


def test_norm_is_scaled_down_by_pytorchs_factor(net, backend, rtol):
    norm = bp.clip_grad_norm(net, 1.0)
    assert norm == pytest.approx(5.0, rel=rtol)
    np.testing.assert_allclose(net.gradients, [3 / (5 + 1e-6), -4 / (5 + 1e-6), 100, 100], rtol=rtol)


def test_a_norm_below_the_limit_is_left_alone(net, backend):
    assert bp.clip_grad_norm(net, 6.0) == pytest.approx(5.0)
    np.testing.assert_array_equal(net.gradients, [3, -4, 100, 100])


def test_values_are_cut(net, backend):
    bp.clip_grad_value(net, 3.5)
    np.testing.assert_array_equal(net.gradients, [3, -3.5, 100, 100])


def test_a_norm_that_is_not_finite_is_an_error(net, backend):
    net.gradients[0] = np.inf
    with pytest.raises(FloatingPointError, match="gradient norm is inf"):
        bp.clip_grad_norm(net, 1.0)
    assert net.gradients[1] == -4


@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan, np.inf])
def test_bad_limits_are_refused(net, limit):
    with pytest.raises(ValueError, match="max_norm must be positive"):
        bp.clip_grad_norm(net, limit)
    with pytest.raises(ValueError, match="limit must be positive"):
        bp.clip_grad_value(net, limit)
