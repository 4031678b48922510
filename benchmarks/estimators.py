"""The estimators beside scikit-learn's: the table of docs/scikit-learn.md. ``python benchmarks/estimators.py`` prints it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

EPOCHS = {"digits": 5, "defaults": 10, "large": 1}


def seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """The shortest of some runs."""
    times = []
    for _ in range(repeats):
        began = perf_counter()
        run()
        times.append(perf_counter() - began)
    return min(times)


def fit_seconds(kind: type, x: np.ndarray, y: np.ndarray, epochs: int, options: dict[str, Any]) -> float:
    """The time of an epoch of ``fit``."""
    return seconds(lambda: kind(max_iter=epochs, random_state=0, **options).fit(x, y)) / epochs


def main() -> None:
    """Time fits and predictions, and print them."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier as Theirs

    from backprop.estimators import MLPClassifier as Ours

    warnings.simplefilter("ignore")  # the fits are cut short
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    large = rng.normal(size=(50_000, 100)), rng.integers(0, 5, 50_000)
    cases = [
        ("digits, (128, 64), batches of 32", x / 16, y, EPOCHS["digits"], {"hidden_layer_sizes": (128, 64), "batch_size": 32}),
        ("digits, the defaults", x / 16, y, EPOCHS["defaults"], {}),
        ("50,000 x 100, (256, 256, 256), 256", *large, EPOCHS["large"], {"hidden_layer_sizes": (256,) * 3, "batch_size": 256}),
    ]
    print(f"{'an epoch of fit':38} {'scikit-learn':>14} {'float64':>12} {'float32':>12}")
    for name, rows, labels, epochs, options in cases:
        times = [fit_seconds(kind, rows, labels, epochs, options) for kind in (Theirs, Ours)]
        times.append(fit_seconds(Ours, rows.astype(np.float32), labels, epochs, options))
        print(f"{name:38} {1e3 * times[0]:11.1f} ms {1e3 * times[1]:9.1f} ms {1e3 * times[2]:9.1f} ms")
    fitted = [kind(hidden_layer_sizes=(32, 32), max_iter=2, random_state=0).fit(x, y) for kind in (Theirs, Ours)]
    row = np.ascontiguousarray(x[:1])
    net, converted = fitted[1].network_, np.ascontiguousarray(row, dtype=fitted[1].network_.dtype)
    calls = [lambda: fitted[0].predict(row), lambda: fitted[1].predict(row), lambda: net.predict(converted)]
    theirs, ours, direct = (seconds(lambda call=call: [call() for _ in range(1000)]) / 1000 for call in calls)
    print(f"{'predict of one row':38} {1e6 * theirs:11.1f} us {1e6 * ours:9.1f} us {1e6 * direct:9.2f} us through network_")


if __name__ == "__main__":
    main()
