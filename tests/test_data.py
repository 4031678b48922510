"""Batches, the order of rows, and splits."""

from __future__ import annotations

import numpy as np
import pytest

import backprop as bp
from backprop import data


def _gathered(batches):
    return [np.concatenate(part) for part in zip(*batches, strict=True)]


@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_give_every_row_once(drop_last):
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    made = bp.batches(x, y, batch_size=3, seed=0, drop_last=drop_last, sample_weight=y * 2.0)
    sizes = [len(batch[0]) for batch in made]
    assert sizes == [3, 3, 3] + [1] * (not drop_last)
    assert len(made) == len(sizes)
    rows, labels, weight = _gathered(made)
    assert len(set(labels)) == (9 if drop_last else 10)
    np.testing.assert_array_equal(rows[:, 0], labels * 2)
    np.testing.assert_array_equal(weight, labels * 2.0)


def test_seeds_fix_every_pass_and_passes_differ():
    x = np.arange(50)
    first, second = bp.batches(x, batch_size=8, seed=3), bp.batches(x, batch_size=8, seed=3)
    passes = [_gathered(first)[0] for _ in range(2)]
    np.testing.assert_array_equal(passes, [_gathered(second)[0] for _ in range(2)])
    assert (passes[0] != passes[1]).any()
    assert (_gathered(bp.batches(x, batch_size=8, seed=4))[0] != passes[0]).any()
    np.testing.assert_array_equal(_gathered(bp.batches(x, batch_size=8, shuffle=False))[0], x)


def test_batches_are_copies():
    x = np.zeros((4, 1))
    for (batch,) in bp.batches(x, batch_size=2, shuffle=False):
        batch[...] = 1
    assert not x.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": [[1.0]], "y": [1, 2]}, r"x and y must have the same number of rows, got shapes \(1, 1\) and \(2,\)"),
        ({"x": [[1.0]], "sample_weight": [1, 2]}, "x and sample_weight must have the same number of rows"),
        ({"x": [1], "y": [1], "sample_weight": [1, 2]}, "x, y and sample_weight must have the same number of rows"),
        ({"x": np.empty((0, 2))}, "at least one row"),
        ({"x": [[1.0]], "batch_size": 0}, "batch_size must be at least 1"),
        ({"x": [[1.0]], "seed": -1}, "seed must be"),
    ],
)
def test_bad_batches_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        bp.batches(**arguments)


@pytest.mark.parametrize("rows", [1, 7, 24, 100])
@pytest.mark.parametrize("batch_size", [1, 5, 8, 200])
@pytest.mark.parametrize("block", [4, 10, 1000])
@pytest.mark.parametrize("drop_last", [False, True])
def test_row_order_is_a_permutation_in_whole_batches(rows, batch_size, block, drop_last):
    kept = rows - rows % batch_size if drop_last else rows
    for rng in (None, np.random.default_rng(0)):
        parts = list(data.row_order(rows, batch_size, rng, drop_last, block))
        order = np.concatenate([np.empty(0, np.intp), *parts])
        assert all(len(part) % batch_size == 0 and len(part) for part in parts[:-1])
        assert len(order) == kept
        assert len(set(order.tolist())) == kept
        if rng is None:
            np.testing.assert_array_equal(order, np.arange(kept))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 63, 64, 65, 127, 128, 129, 1000, 70_001])
def test_an_order_is_numpys_whatever_the_backend(rows, backend):
    rng, numpys = np.random.default_rng(rows), np.random.default_rng(rows)
    for _ in range(3):
        (order,) = data.row_order(rows, 1, rng)
        np.testing.assert_array_equal(order, numpys.permutation(rows))
    assert rng.bit_generator.state == numpys.bit_generator.state


def test_blocks_mix_rows_and_move_from_epoch_to_epoch():
    rng = np.random.default_rng(0)
    orders = [np.concatenate(list(data.row_order(1000, 10, rng, block=100))) for _ in range(2)]
    assert (orders[0] != orders[1]).mean() > 0.9
    assert np.abs(orders[0] - np.arange(1000)).mean() > 100
    # Between fixed blocks the first hundred rows would always be neighbours.
    assert max(np.ptp(np.flatnonzero(order < 100)) for order in orders) > 99
    assert max(len(part) for part in data.row_order(1000, 10, rng, block=100)) <= 110


def test_a_split_has_every_row_once():
    first, second = data.split(10, 0.25, seed=0)
    assert len(second) == 2
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), np.arange(10))
    assert (np.diff(first) > 0).all()


def test_a_stratified_split_has_each_class_in_its_share():
    classes = np.repeat(["a", "b", "c"], [80, 15, 5])
    _, second = data.split(100, 0.2, stratify=classes, seed=1)
    assert dict(zip(*np.unique(classes[second], return_counts=True), strict=True)) == {"a": 16, "b": 3, "c": 1}


def test_a_class_of_one_row_stays_in_the_larger_part():
    classes = np.array([0] * 9 + [1])
    for seed in range(10):
        _, second = data.split(10, 0.3, stratify=classes, seed=seed)
        assert 9 not in second


def test_seeds_fix_the_split():
    np.testing.assert_array_equal(data.split(100, 0.3, seed=5)[1], data.split(100, 0.3, seed=5)[1])
    assert set(data.split(100, 0.3, seed=5)[1]) != set(data.split(100, 0.3, seed=6)[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 0.0), r"share must be in \(0, 1\), got 0.0"),
        ((10, 1.0), r"share must be in \(0, 1\)"),
        ((10, np.nan), r"share must be in \(0, 1\)"),
        ((1, 0.5), "rows must be at least 2"),
    ],
)
def test_bad_splits_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.split(*arguments)
    with pytest.raises(ValueError, match=r"one class per row, shape \(10,\), got shape \(3,\)"):
        data.split(10, 0.5, stratify=[1, 2, 3])


def test_batches_of_a_single_number_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="x must have rows, got the single number"):
        bp.batches(5)
    with pytest.raises(ValueError, match="y must have rows, got the single number"):
        bp.batches([[1.0]], 5)
