"""Spans: what the kernels over the flat buffers accept, what they leave alone, and that only covered parameters matter."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from backprop import kernels
from backprop._types import Array, Spans
from backprop.kernels import SPAN, Kernels

SIZE = 5000  # more than two blocks of the compiled kernels

Update = Callable[[Kernels, Array, Spans, Array, list[Array]], None]
UPDATES: dict[str, tuple[int, Update]] = {
    "sgd": (1, lambda k, g, spans, p, s: k.sgd(g, spans, p, *s, 0.1, 0.9, 0.1, True, False, False)),
    "rmsprop": (3, lambda k, g, spans, p, s: k.rmsprop(g, spans, p, *s, 0.1, 0.99, 1e-8, 0.9, False)),
    "adagrad": (1, lambda k, g, spans, p, s: k.adagrad(g, spans, p, *s, 0.1, 1e-10, False)),
    "adadelta": (2, lambda k, g, spans, p, s: k.adadelta(g, spans, p, *s, 1.0, 0.9, 1e-6, False)),
    "adam": (3, lambda k, g, spans, p, s: k.adam(g, spans, p, *s, 0.1, 0.9, 0.999, 1e-8, 0.1, 0.001, True)),
    "adamax": (2, lambda k, g, spans, p, s: k.adamax(g, spans, p, *s, 0.1, 0.9, 0.999, 1e-8, 0.1, False)),
    "nadam": (2, lambda k, g, spans, p, s: k.nadam(g, spans, p, *s, 0.1, 0.9, 0.999, 1e-8, 0.001, 0.3, 0.7, True)),
    "radam": (2, lambda k, g, spans, p, s: k.radam(g, spans, p, *s, 0.1, 0.9, 0.999, 1e-8, 0.1, 0.001, 0.5, False)),
    "lion": (1, lambda k, g, spans, p, s: k.lion(g, spans, p, *s, 0.1, 0.9, 0.99, True)),
    "rprop": (2, lambda k, g, spans, p, s: k.rprop(g, spans, p, *s, 0.1, 0.5, 1.2, 1e-6, 50.0, False)),
}


def span(*runs: tuple[int, int]) -> Spans:
    """Spans at the given (offset, length), with both kinds of decay and a learning rate of their own."""
    return np.array([(offset, length, 0.5, 0.1, 0.01) for offset, length in runs], SPAN)


def buffers(rng: np.random.Generator, dtype: np.dtype, n_states: int) -> tuple[Array, Array, list[Array]]:
    """A gradient, parameters, and positive states."""
    return (
        rng.normal(size=SIZE).astype(dtype),
        rng.normal(size=SIZE).astype(dtype),
        [rng.uniform(1, 2, SIZE).astype(dtype) for _ in range(n_states)],
    )


@pytest.mark.parametrize(
    ("spans", "error", "words"),
    [
        ([(0, 1)], TypeError, "spans must be a NumPy array, got list"),
        (np.zeros(1), TypeError, "spans must be kernels.SPAN, got float64"),
        (np.zeros(1, SPAN.newbyteorder()), TypeError, "spans must be kernels.SPAN"),
        (np.zeros((1, 1), SPAN), ValueError, "spans must have shape"),
        (np.zeros(4, SPAN)[::2], ValueError, "spans must be C-contiguous"),
        (span((SIZE - 1, 2)), ValueError, f"inside the {SIZE} entries"),
        (span((SIZE + 1, 0)), ValueError, f"inside the {SIZE} entries"),
        (span((2**62, 2**62)), ValueError, f"inside the {SIZE} entries"),
        (span((1, 2**63 - 1)), ValueError, f"inside the {SIZE} entries"),
        (span((-1, 2)), ValueError, "spans must ascend"),
        (span((0, -1)), ValueError, "spans must ascend"),
        (span((0, 3), (2, 2)), ValueError, "spans must ascend without overlap"),
        (span((4, 2), (0, 2)), ValueError, "spans must ascend without overlap"),
    ],
)
def test_bad_spans_are_refused_before_anything_is_changed(
    backend: str, spans: Spans, error: type[Exception], words: str, rng: np.random.Generator
) -> None:
    grad, param, (velocity,) = buffers(rng, np.dtype("float32"), 1)
    before = grad.copy(), param.copy(), velocity.copy()
    calls: list[Callable[[], object]] = [
        lambda: kernels.active().squared_norm(grad, spans),
        lambda: kernels.active().scale(spans, grad, 2.0),
        lambda: kernels.active().clip_value(spans, grad, 0.1),
        lambda: UPDATES["sgd"][1](kernels.active(), grad, spans, param, [velocity]),
    ]
    for call in calls:
        with pytest.raises(error, match=words):
            call()
    for array, old in zip((grad, param, velocity), before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_spans_of_an_equal_dtype_serve(backend: str) -> None:
    restored = pickle.loads(pickle.dumps(span((0, 2))))
    assert kernels.active().squared_norm(np.array([3.0, 4.0, 5.0]), restored) == 25.0


def test_no_spans_touch_nothing(backend: str) -> None:
    grad = np.ones(3)
    empty = np.zeros(0, SPAN)
    assert kernels.active().squared_norm(grad, empty) == 0.0
    kernels.active().scale(empty, grad, 2.0)
    np.testing.assert_array_equal(grad, 1.0)


@pytest.mark.parametrize("name", UPDATES)
def test_what_no_span_covers_is_frozen(backend: str, name: str, dtype: np.dtype, rng: np.random.Generator) -> None:
    n_states, update = UPDATES[name]
    grad, param, states = buffers(rng, dtype, n_states)
    before = [array.copy() for array in (param, *states)]
    update(kernels.active(), grad, span((10, 20), (30, 0), (40, 4000)), param, states)
    covered = np.zeros(SIZE, bool)
    covered[10:30] = covered[40:4040] = True
    for array, old in zip((param, *states), before, strict=True):
        np.testing.assert_array_equal(array[~covered], old[~covered])
    assert (param[covered] != before[0][covered]).mean() > 0.3  # rprop leaves out where the gradient turned


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_does_not_depend_on_where_spans_are_cut(
    backend: str, name: str, dtype: np.dtype, rng: np.random.Generator
) -> None:
    n_states, update = UPDATES[name]
    grad, param, states = buffers(rng, dtype, n_states)
    results = []
    for spans in (span((0, SIZE)), span((0, 1), (1, 16), (17, 33), (50, 2047), (2097, SIZE - 2097))):
        arrays = [array.copy() for array in (param, *states)]
        update(kernels.active(), grad, spans, arrays[0], arrays[1:])
        results.append(arrays)
    for whole, cut in zip(*results, strict=True):
        np.testing.assert_array_equal(whole, cut)


def test_the_norm_is_accumulated_in_float64(backend: str) -> None:
    grad = np.full(SIZE, 1e25, np.float32)  # its squares overflow float32
    assert kernels.active().squared_norm(grad, span((0, SIZE))) == pytest.approx(SIZE * float(np.float32(1e25)) ** 2, rel=1e-12)


def test_clipping_by_value_keeps_nan(backend: str, dtype: np.dtype) -> None:
    grad = np.array([np.nan, np.inf, -np.inf, 0.5, -2.0], dtype)
    kernels.active().clip_value(span((0, 5)), grad, 1.0)
    np.testing.assert_array_equal(grad, np.array([np.nan, 1.0, -1.0, 0.5, -1.0], dtype))


def test_labels_out_of_range_name_the_value(backend: str) -> None:
    grad = np.full((3, 2), 7.0)
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\), got -1"):
        kernels.active().cross_entropy(np.zeros((3, 2)), np.array([0, 1, -1]), None, grad, 0.0)
    np.testing.assert_array_equal(grad, 7.0)
