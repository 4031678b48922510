"""Regression with uncertainty: one network for the mean, and one for the interval that holds 80 % of the values.

The data are a wave whose noise grows with x. Squared error learns the mean; the quantile loss learns, with one output for each
quantile, where the lowest 10 % and the highest 10 % begin. The second output is the step from the one to the other, so that they
cannot cross.

Run it with ``python examples/regression.py``.
"""

import numpy as np

import backprop as bp


def data(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x (n, 1) in [-2, 2] and y (n, 1)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, size=(n, 1))
    return x, np.sin(2 * x) + (0.1 + 0.1 * (x + 2)) * rng.normal(size=(n, 1))


def train(loss: str | bp.losses.Loss, outputs: int) -> tuple[bp.Network, bp.explain.diagnosis.Report]:
    """Return a trained network and what the monitor has to say about its training."""
    net, monitor = bp.mlp([1, 32, 32, outputs], activation="tanh", seed=0), bp.Monitor()
    x, y = data(2000, seed=0)
    targets = np.repeat(y, outputs, axis=1)
    net.fit(x, targets, loss=loss, optimizer=bp.Adam(lr=3e-3), epochs=60, validation_split=0.2, callbacks=[monitor], seed=0)
    return net, monitor.report()


def main() -> tuple[float, float, list[bp.explain.diagnosis.Report]]:
    """Print and return the error of the mean, the share of values inside the interval, and the monitors' reports."""
    x, y = data(2000, seed=1)
    mean, mean_report = train("mse", 1)
    error = float(np.sqrt(np.mean((mean.predict(x) - np.sin(2 * x)) ** 2)))
    print(f"the predicted mean is off the true one by {error:.3f} (the noise is {np.std(y - np.sin(2 * x)):.3f})")

    quantiles = bp.losses.NonCrossingQuantiles(q=[0.1, 0.9])
    interval, interval_report = train(quantiles, 2)
    low, high = quantiles.predictions(interval.predict(x)).T
    inside = float(np.mean((low <= y[:, 0]) & (y[:, 0] <= high)))
    print(f"{inside:.1%} of new values lie inside the 80 % interval")
    for at in (-1.5, 0.0, 1.5):
        bounds = quantiles.predictions(interval.predict([[at]]))[0]
        print(f"  at x = {at:4}: mean {mean.predict([[at]])[0, 0]:5.2f}, from {bounds[0]:5.2f} to {bounds[1]:5.2f}")
    print("monitor:", mean_report)
    return error, inside, [mean_report, interval_report]


if __name__ == "__main__":
    main()
