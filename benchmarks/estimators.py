"""The estimators beside scikit-learn's: the table of docs/scikit-learn.md. ``python benchmarks/estimators.py`` prints it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

REPEATS = 5


def shortest(runs: list[Callable[[], object]], repeats: int = REPEATS) -> list[float]:
    """The shortest time of each of some runs, which take turns."""
    times = [[] for _ in runs]
    for _ in range(repeats):
        for run, found in zip(runs, times, strict=True):
            began = perf_counter()
            run()
            found.append(perf_counter() - began)
    return [min(found) for found in times]


def fits(kinds: list[type], x: np.ndarray, y: np.ndarray, options: dict[str, Any]) -> list[Callable[[], object]]:
    """Whole fits by each class in float64, then by each in float32."""
    return [
        lambda kind=kind, rows=rows: kind(random_state=0, **options).fit(rows, y)
        for rows in (x, x.astype(np.float32))
        for kind in kinds
    ]


def main() -> None:
    """Time fits and predictions, and print them."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier as Theirs

    from backprop.estimators import MLPClassifier as Ours

    warnings.simplefilter("ignore")  # some fits are cut short
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    large = rng.normal(size=(50_000, 100)), rng.integers(0, 5, 50_000)
    cases = [
        ("digits, (128, 64), batches of 32", x / 16, y, {"hidden_layer_sizes": (128, 64), "batch_size": 32}),
        ("digits, the defaults", x / 16, y, {}),
        ("50,000 x 100, (256,) * 3, 256, 2 epochs", *large, {"hidden_layer_sizes": (256,) * 3, "batch_size": 256, "max_iter": 2}),
    ]
    print(f"{'a whole fit':40}{'float64':>12}{'here':>12}{'ratio':>7}{'float32':>13}{'here':>12}{'ratio':>7}")
    for name, rows, labels, options in cases:
        times = shortest(fits([Theirs, Ours], rows, labels, options), 3 if len(rows) > 10_000 else REPEATS)
        columns = [f"{1e3 * a:9.0f} ms{1e3 * b:9.0f} ms{a / b:7.1f}" for a, b in (times[:2], times[2:])]
        print(f"{name:40}{' '.join(columns)}", flush=True)
    fitted = [kind(hidden_layer_sizes=(32, 32), max_iter=2, random_state=0).fit(x, y) for kind in (Theirs, Ours)]
    row = np.ascontiguousarray(x[:1])
    net, converted = fitted[1].network_, np.ascontiguousarray(row, dtype=fitted[1].network_.dtype)
    calls = [lambda: fitted[0].predict(row), lambda: fitted[1].predict(row), lambda: net.predict(converted)]
    theirs, ours, direct = (
        seconds / 1000 for seconds in shortest([lambda call=call: [call() for _ in range(1000)] for call in calls])
    )
    print(f"predict of one row: {1e6 * theirs:.1f} us, here {1e6 * ours:.1f} us, {1e6 * direct:.2f} us through network_")


if __name__ == "__main__":
    main()
