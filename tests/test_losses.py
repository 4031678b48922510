"""Losses: values by hand, gradients by differences, one reduction for both, weights, and what targets may be."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

import backprop as bp
from backprop import losses

TARGETS = {
    "cross_entropy": lambda rng, n, k: rng.integers(0, k, n),
    "kl_divergence": lambda rng, n, k: rng.dirichlet(np.ones(k), n),
    "binary_cross_entropy": lambda rng, n, k: rng.integers(0, 2, (n, k)),
    "hinge": lambda rng, n, k: rng.integers(0, 2, (n, k)),
    "poisson": lambda rng, n, k: rng.poisson(2.0, (n, k)),
    "focal": lambda rng, n, k: rng.integers(0, k, n),
    "binary_focal": lambda rng, n, k: rng.integers(0, 2, (n, k)),
    "gamma": lambda rng, n, k: rng.gamma(2.0, size=(n, k)),
    "gaussian": lambda rng, n, k: rng.normal(size=(n, k)),
    "non_crossing_quantiles": lambda rng, n, k: rng.normal(size=n),
}
OPTIONS = [
    ("cross_entropy", {}),
    ("cross_entropy", {"label_smoothing": 0.1, "class_weight": [0.5, 1.0, 2.0]}),
    ("binary_cross_entropy", {}),
    ("binary_cross_entropy", {"pos_weight": [0.5, 1.0, 3.0]}),
    ("mse", {}),
    ("half_mse", {}),
    ("mae", {}),
    ("huber", {"delta": 0.7}),
    ("log_cosh", {}),
    ("poisson", {}),
    ("quantile", {"q": 0.3}),
    ("quantile", {"q": [0.1, 0.5, 0.9]}),
    ("hinge", {}),
    ("kl_divergence", {}),
    ("focal", {}),
    ("focal", {"gamma": 0.5}),
    ("binary_focal", {"gamma": 1.0}),
    ("gamma", {}),
    ("gaussian", {}),
    ("non_crossing_quantiles", {"q": [0.1, 0.5, 0.9]}),
]
every_loss = pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda value: str(value))


def _case(name, rng, n=5, k=3):
    outputs = rng.normal(size=(n, 2 * k if name == "gaussian" else k))
    targets = TARGETS.get(name, lambda rng, n, k: rng.normal(size=(n, k)))(rng, n, k)
    return outputs, targets


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "expected"),
    [
        (losses.CrossEntropy(), [[0.0, np.log(3.0)]], [1], np.log(4 / 3)),
        (losses.CrossEntropy(label_smoothing=0.5), [[0.0, np.log(3.0)]], [1], 0.75 * np.log(4 / 3) + 0.25 * np.log(4)),
        (losses.CrossEntropy(), [[0.0, np.log(3.0)]], [[0.25, 0.75]], 0.25 * np.log(4) + 0.75 * np.log(4 / 3)),
        (losses.KLDivergence(), [[0.0, np.log(3.0)]], [[0.25, 0.75]], 0.0),
        (losses.BinaryCrossEntropy(), [[np.log(3.0), 0.0]], [[1, 0]], (np.log(4 / 3) + np.log(2)) / 2),
        (losses.BinaryCrossEntropy(pos_weight=3.0), [[np.log(3.0)]], [1], 3 * np.log(4 / 3)),
        (losses.MSE(), [[1.0, 2.0]], [[3.0, 1.0]], 2.5),
        (losses.HalfMSE(), [[1.0, 2.0], [0.0, 0.0]], [[3.0, 1.0], [0.0, 0.0]], 1.25),
        (losses.MAE(), [[1.0, 2.0]], [[3.0, 1.0]], 1.5),
        (losses.Huber(delta=1.0), [[1.0, 2.0]], [[4.0, 1.5]], (2.5 + 0.125) / 2),
        (losses.LogCosh(), [[1.0]], [[0.0]], np.log(np.cosh(1.0))),
        (losses.Poisson(), [[np.log(2.0)]], [[3.0]], 2 - 3 * np.log(2.0)),
        (losses.Quantile(q=0.9), [[1.0], [1.0]], [2.0, 0.0], (0.9 + 0.1) / 2),
        (losses.Quantile(q=[0.1, 0.9]), [[1.0, 1.0]], [2.0], (0.1 + 0.9) / 2),
        (losses.Hinge(), [[0.5], [2.0]], [0, 1], 0.75),
        (losses.Focal(gamma=2.0), [[0.0, np.log(3.0)]], [1], np.log(4 / 3) / 16),
        (losses.Focal(gamma=0.5), [[0.0, np.log(3.0)]], [0], 0.75**0.5 * np.log(4)),
        (losses.BinaryFocal(gamma=2.0), [[np.log(3.0), 0.0]], [[1, 0]], (np.log(4 / 3) / 16 + np.log(2) / 4) / 2),
        (losses.Gamma(), [[np.log(2.0)]], [[3.0]], 1.5 + np.log(2.0)),
        (losses.Gaussian(), [[1.0, np.log(4.0)]], [3.0], (np.log(4.0) + 1) / 2),
        (losses.Gaussian(), [[1.0, 0.0, 0.0, np.log(4.0)]], [[3.0, 4.0]], (4.0 + np.log(4.0) + 4.0) / 4),
        (losses.NonCrossingQuantiles(q=[0.1, 0.9]), [[1.0, np.log(np.e - 1)]], [4.0], (0.1 * 3 + 0.9 * 2) / 2),
    ],
    ids=lambda value: repr(value) if isinstance(value, losses.Loss) else "",
)
def test_values_by_hand(loss, outputs, targets, expected, backend):
    value, grad = loss(outputs, targets)
    assert value == pytest.approx(expected, rel=1e-13, abs=1e-15)
    assert loss.value(outputs, targets) == value
    assert grad.shape == np.shape(outputs)


@every_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_by_differences(name, options, weighted, rng, backend):
    loss = losses.get({"name": name, **options})
    outputs, targets = _case(name, rng)
    weight = np.array([1.0, 0.5, 0.0, 3.0, -1.0]) if weighted else None
    _, grad = loss(outputs, targets, sample_weight=weight)
    assert np.abs(grad).max() > 1e-3
    step = 1e-5
    for index in np.ndindex(outputs.shape):
        there, back = outputs.copy(), outputs.copy()
        there[index] += step
        back[index] -= step
        slope = (loss.value(there, targets, sample_weight=weight) - loss.value(back, targets, sample_weight=weight)) / (2 * step)
        assert grad[index] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@every_loss
def test_integer_weights_equal_repeated_rows(name, options, rng, backend):
    loss = losses.get({"name": name, **options})
    outputs, targets = _case(name, rng)
    weight = np.array([2, 0, 1, 3, 1])
    value, grad = loss(outputs, targets, sample_weight=weight)
    repeated, repeated_grad = loss(outputs.repeat(weight, axis=0), targets.repeat(weight, axis=0))
    assert value == pytest.approx(repeated, rel=1e-13)
    summed = np.array([repeated_grad[np.arange(5).repeat(weight) == row].sum(axis=0) for row in range(5)])
    np.testing.assert_allclose(grad, summed, rtol=1e-12, atol=1e-16)


@every_loss
def test_functions_and_names_are_the_classes(name, options, rng):
    outputs, targets = _case(name, rng)
    weight = rng.uniform(size=5)
    value, grad = getattr(losses, name)(outputs, targets, sample_weight=weight, **options)
    loss = losses.get({"name": name, **options})
    again, grad_again = loss(outputs, targets, sample_weight=weight)
    assert value == again
    np.testing.assert_array_equal(grad, grad_again)
    assert losses.get(getattr(losses, name)).name == losses.get(name).name == name
    assert repr(losses.get(json.loads(json.dumps(loss.config())))) == repr(loss)


def test_every_loss_is_tested():
    assert {name for name, _ in OPTIONS} == set(losses.NAMES)


@every_loss
def test_inputs_are_left_alone(name, options, rng, dtype):
    outputs, targets = _case(name, rng)
    outputs = outputs.astype(dtype)
    kept = copy.deepcopy((outputs, targets))
    _, grad = losses.get({"name": name, **options})(outputs, targets)
    np.testing.assert_array_equal(outputs, kept[0])
    np.testing.assert_array_equal(targets, kept[1])
    assert grad.dtype == dtype


def test_class_weights_multiply_sample_weights(rng, backend):
    outputs, labels = rng.normal(size=(6, 3)), np.array([0, 1, 2, 2, 1, 0])
    weight = rng.uniform(size=6)
    expected = losses.cross_entropy(outputs, labels, sample_weight=weight * np.array([1.0, 5.0, 2.0])[labels])
    for class_weight in ({1: 5, 2: 2.0}, [1, 5, 2], np.array([1.0, 5.0, 2.0])):
        value, grad = losses.cross_entropy(outputs, labels, sample_weight=weight, class_weight=class_weight)
        assert value == pytest.approx(expected[0], rel=1e-13)
        np.testing.assert_allclose(grad, expected[1], rtol=1e-12)


def test_balanced_is_scikit_learns(rng):
    labels = np.array([0, 0, 0, 1, 3, 3])
    vector = losses.CrossEntropy().class_weight_vector("balanced", [labels], 4)
    np.testing.assert_allclose(vector, [6 / (3 * 3), 6 / (3 * 1), 1.0, 6 / (3 * 2)])
    in_parts = losses.CrossEntropy().class_weight_vector("balanced", [labels[:2], labels[2:]], 4)
    np.testing.assert_array_equal(in_parts, vector)
    np.testing.assert_allclose(losses.CrossEntropy().class_weight_vector("balanced", [np.eye(4)[labels]], 4), vector)
    binary = losses.BinaryCrossEntropy().class_weight_vector("balanced", [np.array([[0.0], [0.0], [0.0], [1.0]])], 1)
    np.testing.assert_allclose(binary, [4 / 6, 4 / 2])


def test_a_distribution_has_its_expected_class_weight(rng):
    outputs, targets = rng.normal(size=(4, 3)), rng.dirichlet(np.ones(3), 4)
    value, _ = losses.cross_entropy(outputs, targets, class_weight=[1, 2, 4])
    assert value == pytest.approx(losses.cross_entropy(outputs, targets, sample_weight=targets @ [1, 2, 4])[0], rel=1e-13)


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ("balance", "'balanced', got 'balance'"),
        ({3: 1.0}, r"classes in \[0, 3\) as keys, got 3"),
        ({"a": 1.0}, "as keys, got 'a'"),
        ([1.0, 2.0], r"one weight for each of the 3 classes, got shape \(2,\)"),
        ([1.0, -2.0, 1.0], "zero or positive, and finite"),
        ([1.0, np.nan, 1.0], "zero or positive, and finite"),
    ],
)
def test_bad_class_weights_are_refused(class_weight, message):
    with pytest.raises(ValueError, match=message):
        losses.cross_entropy(np.zeros((2, 3)), [0, 1], class_weight=class_weight)


def test_losses_without_classes_refuse_class_weights():
    with pytest.raises(ValueError, match="class_weight needs a loss with one target class per row; mse"):
        losses.MSE().class_weight_vector([1.0], [np.zeros((2, 1))], 1)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", ">i2", "uint64", "int64", "list"])
def test_any_integers_are_labels(kind):
    labels = [0, 1, 1] if kind == "list" else np.array([0, 1, 1]).astype(kind)
    prepared = losses.CrossEntropy().prepare_targets(labels, 2, "float32")
    assert prepared.dtype == np.int64
    np.testing.assert_array_equal(prepared, [0, 1, 1])


@pytest.mark.parametrize("dtype_of_targets", ["float16", "float64", "longdouble", ">f4", "int16"])
def test_any_matrix_is_probabilities(dtype_of_targets, dtype):
    prepared = losses.CrossEntropy().prepare_targets(np.eye(3).astype(dtype_of_targets), 3, dtype)
    assert prepared.dtype == dtype
    np.testing.assert_array_equal(prepared, np.eye(3))


@pytest.mark.parametrize("loss", [losses.MSE(), losses.BinaryCrossEntropy(), losses.Poisson(), losses.Hinge(), losses.Quantile()])
def test_one_column_equals_no_column(loss, rng):
    outputs, targets = rng.normal(size=(4, 1)), np.array([0, 1, 1, 0])
    value, grad = loss(outputs, targets)
    again, grad_again = loss(outputs, targets[:, np.newaxis])
    assert value == again
    np.testing.assert_array_equal(grad, grad_again)


@pytest.mark.parametrize(
    ("loss", "targets", "k", "error", "message"),
    [
        (losses.CrossEntropy(), [0, 3], 3, ValueError, r"labels in \[0, 3\), got 3 in row 1"),
        (losses.CrossEntropy(), [0, -1], 3, ValueError, r"labels in \[0, 3\), got -1 in row 1"),
        (losses.CrossEntropy(), np.array([2**63], np.uint64), 3, ValueError, "got 9223372036854775808"),
        (losses.CrossEntropy(), [0, 1], 1, ValueError, "use binary_cross_entropy"),
        (losses.CrossEntropy(), [False, True], 1, ValueError, r"got 1 in row 1"),
        (losses.CrossEntropy(), [0.0, 1.0], 3, TypeError, r"integer class labels, got dtype float64; .*astype\(int\)"),
        (losses.CrossEntropy(), ["a", "b"], 3, TypeError, "real numbers"),
        (losses.CrossEntropy(), [1j], 3, TypeError, "real numbers"),
        (losses.CrossEntropy(), [[0], [1]], 3, ValueError, r"shape \(n, 3\).*got shape \(2, 1\)"),
        (losses.CrossEntropy(), [[0.5, 0.5]], 3, ValueError, r"shape \(n, 3\).*got shape \(1, 2\)"),
        (losses.CrossEntropy(), [[0.5, -0.5, 1.0]], 3, ValueError, "not negative, got -0.5 in row 0"),
        (losses.CrossEntropy(), [[0.5, np.nan, 1.0]], 3, ValueError, "NaN"),
        (losses.CrossEntropy(), 3, 3, ValueError, r"got shape \(\)"),
        (losses.KLDivergence(), [0, 1], 3, ValueError, "use cross_entropy"),
        (losses.BinaryCrossEntropy(), [0.0, 1.5], 1, ValueError, r"in \[0, 1\] .*got 1.5 in row 1"),
        (losses.BinaryCrossEntropy(), [0, -1], 1, ValueError, r"in \[0, 1\] .*got -1"),
        (losses.BinaryCrossEntropy(pos_weight=[1, 2]), [0, 1], 1, ValueError, "pos_weight must be one number or one for each"),
        (losses.Hinge(), [-1, 1], 1, ValueError, "0 or 1 for hinge, got -1"),
        (losses.Poisson(), [-1.0], 1, ValueError, "not negative for poisson"),
        (losses.Focal(), [[0.5, 0.5]], 2, ValueError, r"class labels of shape \(n,\) for focal, .*use binary_focal"),
        (losses.Focal(), [0, 3], 3, ValueError, r"labels in \[0, 3\), got 3 in row 1"),
        (losses.BinaryFocal(), [0.0, 1.5], 1, ValueError, r"in \[0, 1\] .*got 1.5 in row 1"),
        (losses.Gamma(), [1.0, 0.0], 1, ValueError, "positive for gamma, got 0.0 in row 1"),
        (losses.Gaussian(), [1.0], 3, ValueError, "two outputs for each target, .*the network has 3"),
        (losses.Gaussian(), [[1.0, 2.0]], 2, ValueError, r"shape \(n,\) or \(n, 1\) for gaussian .*got \(1, 2\)"),
        (losses.Gaussian(), [1.0, 2.0], 4, ValueError, r"shape \(n, 2\) for gaussian"),
        (losses.NonCrossingQuantiles(q=[0.1, 0.5, 0.9]), [1.0], 2, ValueError, "q must be one number or one for each"),
        (losses.MSE(), [1.0, 2.0], 2, ValueError, r"shape \(n, 2\) .*got shape \(2,\)"),
        (losses.MSE(), [[1.0], [2.0]], 2, ValueError, r"shape \(n, 2\) .*got shape \(2, 1\)"),
        (losses.MSE(), [[1.0, 2.0]], 1, ValueError, r"shape \(n,\) or \(n, 1\) .*got shape \(1, 2\)"),
        (losses.MSE(), [np.inf], 1, ValueError, "infinity"),
        (losses.Quantile(q=[0.1, 0.9]), [1.0], 3, ValueError, "q must be one number or one for each"),
    ],
    ids=str,
)
def test_bad_targets_are_refused(loss, targets, k, error, message):
    with pytest.raises(error, match=message):
        loss.prepare_targets(targets, k, "float32")


def test_too_large_for_float32_is_refused():
    with pytest.raises(ValueError, match="too large for float32"):
        losses.MSE().prepare_targets([1e300], 1, "float32")


@every_loss
def test_row_counts_that_differ_are_refused(name, options, rng):
    outputs, targets = _case(name, rng)
    with pytest.raises(ValueError, match=r"the same number of rows, got shapes \(4.*\) and \(5, [36]\)"):
        losses.get({"name": name, **options})(outputs, targets[:4])


@pytest.mark.parametrize("weight", [[1.0], np.ones((5, 1)), [1, 1, 1, 1, np.nan]])
def test_bad_sample_weights_are_refused(weight, rng):
    outputs, targets = _case("mse", rng)
    with pytest.raises(ValueError, match="sample_weight"):
        losses.mse(outputs, targets, sample_weight=weight)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cross_entropy", {"label_smoothing": 1.0}, "label_smoothing must be in"),
        ("binary_cross_entropy", {"pos_weight": 0.0}, "pos_weight must be positive"),
        ("huber", {"delta": 0.0}, "delta must be positive"),
        ("quantile", {"q": 1.0}, "q must be in"),
        ("quantile", {"q": [0.5, 0.0]}, "q must be in"),
        ("focal", {"gamma": -1.0}, "gamma must be"),
        ("binary_focal", {"gamma": np.nan}, "gamma must be"),
        ("non_crossing_quantiles", {"q": [0.5, 0.1]}, "q must be a sequence of numbers, each larger"),
        ("non_crossing_quantiles", {"q": [0.5, 0.5]}, "q must be a sequence of numbers, each larger"),
        ("non_crossing_quantiles", {"q": 0.5}, "q must be a sequence"),
        ("non_crossing_quantiles", {"q": []}, "q must be a sequence of numbers, each larger"),
        ("non_crossing_quantiles", {"q": [0.5, 1.0]}, "q must be in"),
        ("mes", {}, "loss must be one of"),
    ],
)
def test_bad_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        losses.get({"name": name, **options})


def _squares(outputs, targets):
    diff = outputs - targets
    return float((diff**2).mean()), 2 * diff / diff.size


def test_a_function_is_a_loss(rng, dtype):
    outputs, targets = rng.normal(size=(5, 1)).astype(dtype), rng.normal(size=5)
    value, grad = losses.get(_squares)(outputs, targets)
    expected, expected_grad = losses.mse(outputs, targets)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-6)
    assert grad.dtype == dtype


def test_weights_reach_functions_that_take_them_divided_by_their_mean_size():
    def weighted(outputs, targets, sample_weight):
        return float(sample_weight[1]), outputs

    assert losses.get(weighted)(np.zeros((2, 1)), [0, 1], sample_weight=[-1, 3])[0] == 1.5
    with pytest.raises(TypeError, match="_squares must take sample_weight="):
        losses.get(_squares)(np.zeros((2, 1)), [0, 1], sample_weight=[1, 2])


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (1.0, TypeError, r"must return \(value, grad_outputs\), got float"),
        ((1.0, np.zeros(2), 3), TypeError, "must return"),
        ((np.zeros(2), np.zeros((2, 1))), TypeError, "one real number"),
        (("a", np.zeros((2, 1))), TypeError, "one real number"),
        ((1.0, np.zeros(2)), ValueError, r"outputs' shape \(2, 1\), got \(2,\)"),
        ((1.0, np.zeros((2, 1), complex)), TypeError, "real gradient"),
    ],
)
def test_what_functions_return_is_checked(returned, error, message):
    with pytest.raises(error, match=message):
        losses.get(lambda outputs, targets: returned)(np.zeros((2, 1)), [0, 1])


def test_functions_are_not_saved():
    with pytest.raises(TypeError, match="cannot be saved"):
        losses.get(_squares).config()


def test_the_network_gets_the_same_gradient_as_gradcheck_says(rng):
    for name, options in OPTIONS:
        _, targets = _case(name, rng)
        net = bp.mlp([2, 4, 6 if name == "gaussian" else 3], activation="tanh", dtype="float64", seed=0)
        assert bp.gradcheck(net, rng.normal(size=(5, 2)), targets, loss=losses.get({"name": name, **options}))


SIZES = [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.88, 0.9, 1.0, 1.5, 3.0, 9.0, 17.0, 20.0, 50.0, 80.0, 100.0, 1e4, 1e15]
REGRESSION = ("mse", "half_mse", "mae", "huber", "log_cosh", "quantile")


def _focal(mp, o):
    return mp.log1p(mp.exp(-o)) / (1 + mp.exp(o)) ** 2


def _focal_slope(mp, o):
    p, q = 1 / (1 + mp.exp(-o)), 1 / (1 + mp.exp(o))
    return -2 * p * q**2 * mp.log1p(mp.exp(-o)) - q**3


EXACT = {  # the loss of one output with one target, and its derivative, in mpmath's numbers
    "mse": lambda mp, o, t: ((o - t) ** 2, 2 * (o - t)),
    "half_mse": lambda mp, o, t: ((o - t) ** 2 / 2, o - t),
    "mae": lambda mp, o, t: (abs(o - t), mp.sign(o - t)),
    "huber": lambda mp, o, t: (min(abs(o - t), 1) * (abs(o - t) - min(abs(o - t), 1) / 2), min(max(o - t, -1), 1)),
    "log_cosh": lambda mp, o, t: (abs(o - t) + mp.log1p(mp.exp(-2 * abs(o - t))) - mp.log(2), mp.tanh(o - t)),
    "poisson": lambda mp, o, t: (mp.exp(o) - t * o, mp.exp(o) - t),
    "gamma": lambda mp, o, t: (t * mp.exp(-o) + o, 1 - t * mp.exp(-o)),
    "binary_focal": lambda mp, o, t: (_focal(mp, o) if t else _focal(mp, -o), _focal_slope(mp, o) if t else -_focal_slope(mp, -o)),
    "quantile": lambda mp, o, t: (abs(o - t) / 2, mp.sign(o - t) / 2),
    "hinge": lambda mp, o, t: (max(0, 1 - (2 * t - 1) * o), -(2 * t - 1) if (2 * t - 1) * o < 1 else mp.mpf(0)),
    "binary_cross_entropy": lambda mp, o, t: (
        t * mp.log1p(mp.exp(-o)) + (1 - t) * mp.log1p(mp.exp(o)),
        (1 - t) / (1 + mp.exp(-o)) - t / (1 + mp.exp(o)),
    ),
}


def _assert_exact(found, exact, dtype, ulps=8):
    """Up to so many units in the last place, or that underflow takes them."""
    allowed = np.finfo(dtype)
    assert float(found) == pytest.approx(float(exact), rel=ulps * float(allowed.eps), abs=float(allowed.smallest_normal))


@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("name", EXACT)
def test_elementwise_losses_keep_their_digits_from_tiny_to_huge(name, target, dtype, backend):
    mp = pytest.importorskip("mpmath")
    sizes = SIZES + ([1e19, 1e25, 1e30] if name in REGRESSION else [])
    with mp.workdps(60):
        for size in sizes:
            for sign in (1, -1):
                output = np.array([[sign * size]], dtype)
                if name == "poisson" and (abs(output[0, 0]) > 80 or target == 1):  # e^o - 1 cancels around its zero
                    continue
                if name == "gamma" and (target == 0 or abs(output[0, 0]) > 80 or size < 0.5):  # no target; 1 - e^-o cancels
                    continue
                value, grad = losses.get(name)(output, np.array([[target]], dtype))
                d = mp.mpf(float(output[0, 0] - dtype.type(target)))  # the rounding of a difference is not the loss's
                o, t = (d, mp.mpf(0)) if name in REGRESSION else (mp.mpf(float(output[0, 0])), target)
                exact = EXACT[name](mp, o, t)
                ulps = 8 + 4 * size if name == "binary_focal" else 8  # e^-2b has 2b times the relative error of b
                _assert_exact(value, exact[0], dtype, ulps)
                _assert_exact(grad[0, 0], exact[1], dtype, ulps)


@pytest.mark.parametrize("kind", ["labels", "one-hot", "kl_divergence"])
@pytest.mark.parametrize("k", [2, 16, 50, 600])
def test_cross_entropies_keep_their_digits_when_nearly_certain(kind, k, dtype, backend):
    """The loss and the gradient of the right class are about the probability of the others, however small."""
    mp = pytest.importorskip("mpmath")
    loss = losses.KLDivergence() if kind == "kl_divergence" else losses.CrossEntropy()
    targets = np.array([k - 1]) if kind == "labels" else np.eye(k, dtype=dtype)[[k - 1]]
    for margin in (0.1, 1.0, 5.0, 10.0, 16.0, 17.5, 20.0, 40.0, 70.0, -3.0, -70.0):
        logits = np.zeros((1, k), dtype)
        logits[0, -1] = margin
        value, grad = loss(logits, targets)
        with mp.workdps(60):
            others = (k - 1) * mp.exp(-mp.mpf(margin))
            _assert_exact(value, mp.log1p(others), dtype, ulps=32)
            _assert_exact(grad[0, -1], -others / (1 + others), dtype, ulps=32)
            _assert_exact(grad[0, 0], mp.exp(-mp.mpf(margin)) / (1 + others), dtype, ulps=32)


def test_losses_of_large_numbers_are_finite_where_float32_is_not(backend):
    """Squares are formed in float64, and the gradient is finite where float32 holds it."""
    outputs, zeros = np.array([[3e38], [-3e38], [1e30], [2.0]], "f"), np.zeros((4, 1), "f")
    for name in ("mse", "half_mse"):
        value, grad = getattr(losses, name)(outputs, zeros)
        wide = outputs.astype(np.float64)
        assert value == pytest.approx((wide**2).mean() / (2 if name == "half_mse" else 1), rel=1e-6)
        np.testing.assert_allclose(grad, wide / (2 if name == "mse" else 4), rtol=1e-6)
    value, grad = losses.huber(outputs, zeros, delta=1e20)
    assert value == pytest.approx((6e58 + 1e50 - 1e40) / 4, rel=1e-6)
    value, _ = losses.cross_entropy(np.array([[3e38, -3e38]], "f"), [1])
    assert value == pytest.approx(6e38, rel=1e-6)


def test_targets_that_a_loss_refuses_are_refused_in_steps(rng, dtype, backend):
    """A plan takes targets as they are only if it need not look closer."""
    x = rng.normal(size=(4, 3)).astype(dtype)
    for loss, good, bad in (
        ("gamma", [[1.0]] * 4, [[1.0]] * 3 + [[0.0]]),
        ("gaussian", [[1.0, 1.0]] * 4, [[1.0, 2.0]] * 4),
        ("focal", [0, 1, 0, 1], [0.0, 1.0, 0.0, 1.0]),
    ):
        outputs = 1 if loss == "gamma" else 2
        trainer = bp.Trainer(bp.mlp([3, outputs], dtype=dtype, seed=0), loss=loss)
        targets = np.array(good) if loss == "focal" else np.array(good, dtype)
        for _ in range(2):
            trainer.step(x, targets)
        before = trainer.net.parameters.copy()
        with pytest.raises((ValueError, TypeError), match=r"targets|y must"):
            trainer.step(x, np.array(bad, dtype))
        np.testing.assert_array_equal(trainer.net.parameters, before)


@pytest.mark.parametrize("make", [losses.BinaryCrossEntropy, losses.Quantile, losses.NonCrossingQuantiles, losses.CrossEntropy])
def test_options_of_sequences_of_several_lengths_are_refused_by_name(make):
    name = {losses.BinaryCrossEntropy: "pos_weight", losses.CrossEntropy: "class_weight"}.get(make, "q")
    with pytest.raises(ValueError, match=f"{name} must be a .*, got "):
        make(**{name: [[0.1], [0.2, 0.3]]})


@pytest.mark.parametrize("pos_weight", [1e300, [1.0, 1e300]])
def test_a_positive_weight_that_float32_does_not_hold_is_refused(pos_weight):
    loss = losses.BinaryCrossEntropy(pos_weight=pos_weight)
    assert np.isfinite(loss.value(np.zeros((1, 2)), [[1, 0]]))
    with pytest.raises(ValueError, match="pos_weight holds a number too large for float32"):
        loss.value(np.zeros((1, 2), np.float32), [[1, 0]])
    with pytest.raises(ValueError, match="pos_weight holds a number too large for float32"):
        bp.Trainer(bp.mlp([3, 2], seed=0), loss=loss).step(np.zeros((1, 3)), [[1, 0]])
