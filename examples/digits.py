"""Handwritten digits: train, watch, judge, save, load.

Run it with ``python examples/digits.py``.
"""

import tempfile
from pathlib import Path

import numpy as np

import backprop as bp


def main() -> tuple[float, bp.explain.diagnosis.Report]:
    """Train a classifier; print and return its test accuracy and what the monitor has to say about the run."""
    (x_train, y_train), (x_test, y_test) = bp.datasets.digits()
    net = bp.Network(
        [
            bp.Dense(64, 128, activation="relu"),
            bp.BatchNorm(128),
            bp.Dropout(0.3),
            bp.Dense(128, 64, activation="relu"),
            bp.Dense(64, 10),
        ],
        seed=0,
    )
    print(net.summary())
    monitor = bp.Monitor()
    history = net.fit(
        x_train,
        y_train,
        loss="cross_entropy",
        optimizer=bp.AdamW(lr=2e-3, weight_decay=1e-2),
        epochs=60,
        validation_split=0.1,
        callbacks=[bp.EarlyStopping(patience=10, restore_best_weights=True), monitor],
        seed=0,
    )
    print(f"stopped after {len(history.epoch)} epochs; the best was {history.best('val_loss') + 1}")
    print("monitor:", report := monitor.report())

    accuracy = net.evaluate(x_test, y_test)["accuracy"]
    print(f"test accuracy {accuracy:.1%}")
    print("confusion (row: true digit, column: predicted)")
    print(bp.metrics.confusion_matrix(net.predict(x_test), y_test).astype(int))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.safetensors"
        net.save(path)
        again = bp.load(path)
        print(f"saved {path.stat().st_size:,} bytes, loaded:", np.array_equal(again.predict(x_test), net.predict(x_test)))
    return accuracy, report


if __name__ == "__main__":
    main()
