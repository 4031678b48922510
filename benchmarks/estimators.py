"""The estimators beside scikit-learn's: the table of docs/scikit-learn.md.

``python benchmarks/estimators.py`` prints it: processor time, which other programs disturb least, on one thread.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np

REPEATS = 5


def shortest(runs: list[Callable[[], object]], repeats: int = REPEATS) -> list[float]:
    """The least processor time of each of some runs, which take turns."""
    times = [[] for _ in runs]
    for _ in range(repeats):
        for run, found in zip(runs, times, strict=True):
            began = process_time()
            run()
            found.append(process_time() - began)
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
    from threadpoolctl import threadpool_limits

    import backprop as bp
    from backprop.estimators import MLPClassifier as Ours

    threadpool_limits(1)
    bp.set_num_threads(1)
    warnings.simplefilter("ignore")  # some fits are cut short
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    large = rng.normal(size=(50_000, 100)), rng.integers(0, 5, 50_000)
    wide = {"hidden_layer_sizes": (256, 256, 256), "batch_size": 256, "max_iter": 2}
    cases = [
        ("digits, hidden layers (128, 64), batches of 32", x / 16, y, {"hidden_layer_sizes": (128, 64), "batch_size": 32}),
        ("digits, as the defaults have it", x / 16, y, {}),
        ("50,000 rows of 100, hidden layers (256, 256, 256), batches of 256, 2 epochs", *large, wide),
    ]
    print("| a fit | scikit-learn, float64 | here, float64 | | scikit-learn, float32 | here, float32 | |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, rows, labels, options in cases:
        times = shortest(fits([Theirs, Ours], rows, labels, options), 3 if len(rows) > 10_000 else REPEATS)
        columns = [f"{a:.3g} s | {b:.3g} s | {a / b:.2g} x" for a, b in (times[:2], times[2:])]
        print(f"| {name} | {' | '.join(columns)} |", flush=True)
    fitted = [kind(hidden_layer_sizes=(32, 32), max_iter=2, random_state=0).fit(x, y) for kind in (Theirs, Ours)]
    row = np.ascontiguousarray(x[:1])
    net, converted = fitted[1].network_, np.ascontiguousarray(row, dtype=fitted[1].network_.dtype)
    calls = [lambda: fitted[0].predict(row), lambda: fitted[1].predict(row), lambda: net.predict(converted)]
    theirs, ours, direct = (
        1e3 * seconds for seconds in shortest([lambda call=call: [call() for _ in range(1000)] for call in calls])
    )  # microseconds
    print(f"predict of one row: scikit-learn {theirs:.0f} us, here {ours:.1f} us, {direct:.1f} us through network_")


if __name__ == "__main__":
    main()
