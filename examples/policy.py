"""Policy gradients: a network learns to balance a pole on a cart, from nothing but how long it stayed up.

REINFORCE (R. J. Williams, 1992): play, then make each action that was followed by more reward than usual likelier, and the others
less likely. The gradient of that is the gradient of cross entropy with the action as the label and the advantage, which may be
negative, as the weight of the row. So one `Trainer.step` is one policy update.

Run it with ``python examples/policy.py``.
"""

import numpy as np

import backprop as bp

CARTS, LIMIT, DISCOUNT = 16, 200, 0.99


class Carts:
    """Carts with a pole each, side by side: the equations of A. G. Barto, R. S. Sutton and C. W. Anderson (1983), 0.02 s a step.

    A state is position, speed, angle and angular speed. An episode ends when the pole leans more than 12 degrees or the cart is
    2.4 m off.
    """

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self.state = rng.uniform(-0.05, 0.05, size=(count, 4))

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Push each cart to the left (0) or right (1); return which of them are still up."""
        _, v, angle, spin = self.state.T
        sin, cos = np.sin(angle), np.cos(angle)
        push = (np.where(actions == 1, 10.0, -10.0) + 0.05 * spin**2 * sin) / 1.1
        spin_rate = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        acceleration = push - 0.05 * spin_rate * cos / 1.1
        self.state = self.state + 0.02 * np.stack([v, acceleration, spin, spin_rate], axis=1)
        up: np.ndarray = (np.abs(self.state[:, 0]) < 2.4) & (np.abs(self.state[:, 2]) < np.radians(12))
        return up


def play(net: bp.Network, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Play one episode on each cart; return states (time, carts, 4), actions and whether the pole was up (time, carts)."""
    carts, up = Carts(CARTS, rng), np.ones(CARTS, dtype=bool)
    states, actions, alive = [], [], []
    while up.any() and len(states) < LIMIT:
        right = bp.activations.softmax(net.predict(carts.state))[:, 1]
        action = (rng.random(CARTS) < right).astype(int)
        states.append(carts.state)
        actions.append(action)
        alive.append(up)
        up = up & carts.step(action)
    return np.array(states), np.array(actions), np.array(alive)


def advantages(alive: np.ndarray) -> np.ndarray:
    """Return how much longer than usual the pole stayed up after each action: discounted returns, standardised."""
    returns, following = np.zeros(alive.shape), np.zeros(alive.shape[1])
    for t in range(len(alive) - 1, -1, -1):
        following = returns[t] = alive[t] + DISCOUNT * following
    played = returns[alive]
    return (returns - played.mean()) / (played.std() + 1e-9)


def main(updates: int = 80) -> list[float]:
    """Train, and print and return how many steps the poles stayed up on average before each update."""
    rng = np.random.default_rng(0)
    net = bp.mlp([4, 32, 2], activation="tanh", seed=0)
    trainer = bp.Trainer(net, loss="cross_entropy", optimizer=bp.Adam(lr=0.02), clip_norm=1.0)
    lengths = []
    for update in range(updates):
        states, actions, alive = play(net, rng)
        lengths.append(float(alive.sum(axis=0).mean()))
        trainer.step(states[alive], actions[alive], sample_weight=advantages(alive)[alive])
        if update % 10 == 0:
            print(f"update {update:3}: {lengths[-1]:5.1f} of {LIMIT} steps", flush=True)
    print(f"the last 10: {np.mean(lengths[-10:]):.1f} of {LIMIT} steps")
    return lengths


if __name__ == "__main__":
    main()
