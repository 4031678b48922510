"""Train on Fashion-MNIST, 60,000 images of clothes, straight from memory-mapped files.

The files are those of Debian's package dataset-fashion-mnist (``apt-get install dataset-fashion-mnist``), of
https://github.com/zalandoresearch/fashion-mnist, or any others in MNIST's format. They are unpacked once, so that they can be
mapped: training then reads the rows of each batch and keeps nothing else in memory.

    python examples/fashion_mnist.py [FOLDER]
"""

import gzip
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import backprop as bp

FOLDER = Path("/usr/share/datasets/fashion-mnist")
UNPACKED = Path(tempfile.gettempdir()) / "backprop-fashion-mnist"
EPOCHS, BATCH_SIZE = 8, 128


def unpack(folder: Path, to: Path) -> Path:
    """Unpack the folder's .gz files, unless that has been done."""
    to.mkdir(parents=True, exist_ok=True)
    for packed in folder.glob("*-ubyte.gz"):
        target = to / packed.stem
        if not target.exists():
            part = target.with_suffix(".part")
            with gzip.open(packed) as source, part.open("wb") as file:
                shutil.copyfileobj(source, file)
            part.rename(target)
    return to


def report(epoch: int, logs: Mapping[str, float]) -> None:
    """Print the numbers of an epoch."""
    print(f"epoch {epoch + 1}  " + "  ".join(f"{name} {value:.4g}" for name, value in logs.items()), flush=True)


def main() -> None:
    """Train for 8 epochs and print how many of the test images are told right."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    if any(folder.glob("*-ubyte.gz")):
        folder = unpack(folder, UNPACKED)
    (x_train, y_train), (x_test, y_test) = bp.datasets.idx(folder)  # pixels from 0 to 255, a byte each
    net = bp.Network(
        [
            bp.BatchNorm(784),  # brings every pixel to mean 0 and variance 1: no scaled copy of the data is needed
            bp.Dense(784, 256, activation="relu"),
            bp.Dropout(0.2),
            bp.Dense(256, 128, activation="relu"),
            bp.Dense(128, 64, activation="relu"),
            bp.Dense(64, 10),
        ],
        seed=0,
    )
    print(net.summary())
    steps = EPOCHS * -(-len(x_train) // BATCH_SIZE)
    net.fit(
        x_train,
        y_train,
        loss="cross_entropy",
        optimizer=bp.AdamW(lr=bp.schedules.OneCycle(2e-3, steps=steps), weight_decay=1e-2),
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        callbacks=[bp.LambdaCallback(on_epoch_end=report)],
        seed=0,
    )
    print(f"test accuracy {net.evaluate(x_test, y_test)['accuracy']:.4f}")


if __name__ == "__main__":
    main()
