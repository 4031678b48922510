"""``backprop demo``: train on real digits, then time the backends side by side."""

from __future__ import annotations

from time import perf_counter

from .. import datasets, kernels
from ..network import Network, mlp
from ..optimizers import Adam
from ..schedules import Cosine

SIZES = [64, 128, 64, 10]
BATCH_SIZE = 32
ROUNDS = 2  # each backend trains this often, in turn; the quicker time counts


def demo(epochs: int, seed: int) -> None:
    """Train on the digits with a progress bar, print the test accuracy, then the time each backend takes."""
    (x_train, y_train), (x_test, y_test) = datasets.digits()
    steps = epochs * -(-len(x_train) // BATCH_SIZE)
    print(f"digits    {len(x_train)} training and {len(x_test)} test images of 8 x 8 pixels")

    def train(verbose: bool | None) -> Network:
        net = mlp(SIZES, activation="relu", dropout=0.1, seed=seed)
        optimizer = Adam(lr=Cosine(2e-3, steps=steps))
        net.fit(
            x_train,
            y_train,
            loss="cross_entropy",
            optimizer=optimizer,
            epochs=epochs,
            batch_size=BATCH_SIZE,
            seed=seed,
            verbose=verbose,
        )
        return net

    net = train(verbose=None)
    accuracy = net.evaluate(x_test, y_test)["accuracy"]
    print(f"network   {'-'.join(map(str, SIZES))}, relu, dropout; {net.parameters.size:,} parameters, {net.dtype}")
    print(f"training  {epochs} epochs, {steps} steps of {BATCH_SIZE} images, Adam with a cosine schedule")
    print(f"accuracy  {accuracy:.4f} on the test images ({round(accuracy * len(x_test))} of {len(x_test)})")
    print()
    seconds: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name in kernels.available():
            with kernels.use_backend(name):
                start = perf_counter()
                train(verbose=False)
                seconds[name] = min(seconds.get(name, float("inf")), perf_counter() - start)
    _print_times(seconds, steps)


def _print_times(seconds: dict[str, float], steps: int) -> None:
    print("backend    seconds   us/step")
    for name, time in sorted(seconds.items(), key=lambda item: item[1]):
        print(f"{name:<8} {time:9.2f} {time / steps * 1e6:9.0f}")
    if "cython" in seconds:
        print(f"Cython trains {seconds['numpy'] / seconds['cython']:.1f} times as fast as NumPy.")
    else:
        print("Only NumPy: the compiled extension is not installed. Reinstall with a C compiler present to get it.")
