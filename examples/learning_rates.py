"""Learning rates: too low is slow, too high overshoots, and how to find one between.

Run it with ``python examples/learning_rates.py``.
"""

import numpy as np

import backprop as bp

RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def accuracies(lr: float | bp.schedules.Schedule, epochs: int = 5) -> list[float]:
    """Return the test accuracy after each epoch; it ends early where training diverges."""
    (x, y), test = bp.datasets.digits()
    seen: list[float] = []
    watch = bp.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["val_accuracy"]))
    net = bp.mlp([64, 32, 10], seed=0)
    try:
        net.fit(x, y, loss="cross_entropy", optimizer=bp.SGD(lr=lr), epochs=epochs, validation_data=test, callbacks=[watch], seed=0)
    except bp.DivergenceError:
        print(f"  (diverged in epoch {len(seen) + 1})")
    return seen


def roll_down(lr: float, steps: int = 10) -> float:
    """Return a weight that starts at 1 and is trained on the loss ``w^2 / 2``, whose gradient is w."""
    layer = bp.Dense(1, 1, bias=False)
    layer.weight = [[1.0]]
    trainer = bp.Trainer(bp.Network([layer], dtype="float64"), loss="half_mse", optimizer=bp.SGD(lr=lr))
    for _ in range(steps):
        trainer.step([[1.0]], [[0.0]])
    return float(layer.weight[0, 0])


def main() -> dict[str, float]:
    """Print the numbers, and return accuracies by what was tried, and the suggested learning rate."""
    print("One weight on the parabola w^2 / 2, from 1, after 10 steps:")
    for lr in (0.01, 0.5, 1.0, 1.9, 2.1):
        print(f"  lr {lr:4}: w = {roll_down(lr):.3g}")

    print("Test accuracy on the digits after each of 5 epochs of SGD:")
    results = {}
    for lr in RATES:
        row = accuracies(lr)
        results[f"{lr:g}"] = row[-1] if row else np.nan
        print(f"  lr {lr:6g}: " + "  ".join(f"{value:6.1%}" for value in row), flush=True)

    (x, y), _ = bp.datasets.digits()
    trainer = bp.Trainer(bp.mlp([64, 32, 10], seed=0), loss="cross_entropy", optimizer="sgd")
    suggestion = bp.lr_range_test(trainer, x, y, low=1e-4, high=100).suggestion
    results["suggestion"] = suggestion
    results["suggested"] = accuracies(suggestion)[-1]
    print(f"lr_range_test suggests {suggestion:.2g}: {results['suggested']:.1%}")

    print("Ten epochs with lr 1, the last four:")
    cosine = bp.schedules.Cosine(1.0, steps=10 * -(-len(x) // 32), warmup=20)
    for name, lr in (("constant", 1.0), ("cosine", cosine)):
        last = accuracies(lr, epochs=10)[-4:]
        results[name] = min(last)
        print(f"  {name:8}: " + "  ".join(f"{value:6.1%}" for value in last))
    return results


if __name__ == "__main__":
    main()
