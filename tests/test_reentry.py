"""What code that a step calls may do to the network: nothing that disturbs the step, which is refused; anything between steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backprop as bp
from backprop import kernels, losses

WAYS = ["plan", "layer by layer", "numpy"]


class Same(bp.Layer):
    """A custom layer, y = x, which makes its network go layer by layer."""

    def forward(self, x, training):
        return x

    def backward(self, grad_outputs):
        return grad_outputs


@pytest.fixture(params=WAYS)
def way(request):
    """Run the test by plan, layer by layer with the compiled kernels, and with NumPy."""
    if request.param != "numpy" and kernels.compiled() is None:
        pytest.skip("the compiled backend is not there")
    with bp.use_backend("numpy" if request.param == "numpy" else "cython"):
        yield request.param


def network(way, seed=0, *more):
    layers = [bp.Dense(3, 4, activation="tanh"), bp.BatchNorm(4), bp.Dropout(0.25), *more, bp.Dense(4, 2)]
    return bp.Network(layers if way != "layer by layer" else [*layers, Same()], dtype="float64", seed=seed)


@pytest.fixture
def data(rng):
    return rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


Act = Callable[[bp.Trainer, Any, Any], Any]

REFUSED: dict[str, Act] = {
    "net.forward": lambda trainer, x, y: trainer.net.forward(x, training=True),
    "net.forward of fewer rows": lambda trainer, x, y: trainer.net.forward(x[:2]),
    "net.forward of more rows": lambda trainer, x, y: trainer.net.forward(np.repeat(x, 50, axis=0)),
    "net.backward": lambda trainer, x, y: trainer.net.backward(np.ones((6, 2))),
    "trainer.step": lambda trainer, x, y: trainer.step(x, y),
    "trainer.step of another trainer": lambda trainer, x, y: bp.Trainer(trainer.net, loss="mse").step(x, y),
    "trainer.forward": lambda trainer, x, y: trainer.forward(x),
    "trainer.backward_step": lambda trainer, x, y: trainer.backward_step(y),
    "trainer.fit": lambda trainer, x, y: trainer.fit(x, y),
    "net.fit": lambda trainer, x, y: trainer.net.fit(x, y, loss="mse"),
    "load_state_dict": lambda trainer, x, y: trainer.net.load_state_dict(trainer.net.state_dict()),
    "parameters": lambda trainer, x, y: setattr(trainer.net, "parameters", trainer.net.parameters * 2),
    "buffers": lambda trainer, x, y: setattr(trainer.net, "buffers", trainer.net.buffers * 2),
    "blend": lambda trainer, x, y: trainer.net.blend(network(WAYS[0]), 1.0),
    "optimizer.step": lambda trainer, x, y: trainer.optimizer.step(trainer.net),
}
REFUSED_IN_LOSS: dict[str, Act] = REFUSED | {
    "layer.weight": lambda trainer, x, y: setattr(trainer.net.layers[0], "weight", np.ones((3, 4))),
    "layer.trainable": lambda trainer, x, y: setattr(trainer.net.layers[0], "trainable", False),
    "dropout.rate": lambda trainer, x, y: setattr(trainer.net.layers[2], "rate", 0.5),
    "layer.forward": lambda trainer, x, y: setattr(trainer.net.layers[0], "forward", trainer.net.layers[0].forward),
}
ALLOWED: dict[str, Act] = {
    "predict": lambda trainer, x, y: trainer.net.predict(3 * x),
    "predict of other rows": lambda trainer, x, y: trainer.net.predict(np.repeat(x, 50, axis=0)),
    "predict_proba": lambda trainer, x, y: trainer.net.predict_proba(x, link="softmax"),
    "jacobian": lambda trainer, x, y: trainer.net.jacobian(x),
    "input_gradient": lambda trainer, x, y: trainer.net.input_gradient(x, y),
    "evaluate": lambda trainer, x, y: trainer.net.evaluate(x, y, loss="mse"),
    "trainer.evaluate": lambda trainer, x, y: trainer.evaluate(x, y) if trainer.loss.name == "mse" else None,
    "copy": lambda trainer, x, y: trainer.net.copy().forward(x, training=True),
    "trace": lambda trainer, x, y: bp.trace(trainer.net, x, y, loss="mse"),
    "gradcheck": lambda trainer, x, y: bp.gradcheck(trainer.net, x, y, loss="mse", max_entries=1),
    "state_dict": lambda trainer, x, y: trainer.net.state_dict(),
    "another network": lambda trainer, x, y: network(WAYS[0]).fit(x, y, loss="mse"),
}


def state(net):
    return net.parameters.copy(), net.buffers.copy(), net.dropout_step


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


class Acting(losses.Loss):
    """The mean squared error, which does something first."""

    act: Act | None = None
    trainer: bp.Trainer | None = None
    data: Any = None

    def __call__(self, outputs, targets, *, sample_weight=None):
        if self.act is not None:
            self.act(self.trainer, *self.data)
        diff = outputs - targets
        return float(np.mean(diff**2)), 2 * diff / diff.size


def acting(kind, act, data):
    """A loss, a function or a `Loss`, that acts; and how to tell it the trainer."""
    loss = Acting()
    object.__setattr__(loss, "data", data)
    object.__setattr__(loss, "act", act)

    def begin(trainer):
        object.__setattr__(loss, "trainer", trainer)

    return (loss if kind == "Loss" else lambda outputs, targets: loss(outputs, targets)), begin


CALLS: dict[str, Callable[[bp.Trainer, Any, Any], Any]] = {
    "step": lambda trainer, x, y: trainer.step(x, y),
    "step with conversions": lambda trainer, x, y: trainer.step(x.tolist(), y.tolist()),
    "fit": lambda trainer, x, y: trainer.fit(x, y, batch_size=6, shuffle=False),
    "fit on batches": lambda trainer, x, y: trainer.fit([(x, y)]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["function", "Loss"])
@pytest.mark.parametrize("name", REFUSED_IN_LOSS)
def test_a_loss_may_not_disturb_the_step_that_computes_it(name, kind, call, way, data):
    net = network(way)
    loss, begin = acting(kind, lambda trainer, x, y: REFUSED_IN_LOSS[name](trainer, x, y), data)
    trainer = bp.Trainer(net, loss=loss, optimizer=bp.SGD(lr=0.1))
    begin(trainer)
    before = state(net)
    with pytest.raises(RuntimeError, match=r"(is not possible|cannot be assigned) while the loss of a training step is computed"):
        CALLS[call](trainer, *data)
    assert_same(state(net), before)
    begin(None)
    net.forward(data[0])  # the network is free again
    net.backward(data[1])
    net.layers[0].trainable = True
    bp.Trainer(net, loss="mse").step(*data)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["function", "Loss"])
@pytest.mark.parametrize("name", ALLOWED)
def test_a_loss_may_look_at_the_network(name, kind, call, way, data):
    nets = [network(way) for _ in range(2)]
    for net, act in zip(nets, (lambda trainer, x, y: ALLOWED[name](trainer, x, y), None), strict=True):
        loss, begin = acting(kind, act, data)
        trainer = bp.Trainer(net, loss=loss, optimizer=bp.SGD(lr=0.1))
        begin(trainer)
        CALLS[call](trainer, *data)
    assert_same(state(nets[0]), state(nets[1]))


class Meddler(bp.Layer):
    """y = x; does something in its forward or backward."""

    def __init__(self, where, act):
        self.where, self._act = where, act

    def forward(self, x, training):
        if self.where == "forward" and self._act is not None:
            self._act()
        return x

    def backward(self, grad_outputs):
        if self.where == "backward" and self._act is not None:
            self._act()
        return grad_outputs


@pytest.mark.parametrize("backend_name", kernels.available())
@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_may_not_disturb_the_network_it_is_in(name, where, backend_name, data):
    with bp.use_backend(backend_name):
        meddler = Meddler(where, None)
        net = network(WAYS[0], 0, meddler)
        trainer = bp.Trainer(net, loss="mse", optimizer=bp.SGD(lr=0.1))
        meddler._act = lambda: REFUSED[name](trainer, *data)
        before = state(net)
        with pytest.raises(RuntimeError, match=f"is not possible while a {where} is under way"):
            trainer.step(*data)
        assert_same(state(net), before)
        meddler._act = None
        trainer.step(*data)


def test_layers_may_assign_their_own_arrays_and_attributes(data):
    class Normed(bp.Dense):
        def forward(self, x, training):
            self.weight = self.weight / np.linalg.norm(self.weight)
            self.rows = len(x)
            return super().forward(x, training)

        def backward(self, grad_outputs):
            self.norm = float(np.linalg.norm(grad_outputs))
            return super().backward(grad_outputs)

    net = bp.Network([Normed(3, 2)], dtype="float64", seed=0)
    net.fit(*data, loss="mse", epochs=2)
    net.forward(data[0])
    assert np.linalg.norm(net.layers[0].weight) == pytest.approx(1)


LOSING: dict[str, Act] = {
    "layer.trainable": REFUSED_IN_LOSS["layer.trainable"],
    "dropout.rate": REFUSED_IN_LOSS["dropout.rate"],
    "layer.weight": REFUSED_IN_LOSS["layer.weight"],
    "layer.forward": REFUSED_IN_LOSS["layer.forward"],
    "parameters": REFUSED["parameters"],
    "buffers": REFUSED["buffers"],
    "load_state_dict": REFUSED["load_state_dict"],
    "blend": lambda trainer, x, y: trainer.net.blend(trainer.net.copy(), 0.5),
    "optimizer.step": REFUSED["optimizer.step"],
    "a patched class": lambda trainer, x, y: setattr(bp.Dense, "forward", bp.Dense.forward),
}
RELAYING: dict[str, Act] = {
    "net.forward": lambda trainer, x, y: trainer.net.forward(x),
    "net.forward in training": lambda trainer, x, y: trainer.net.forward(x, training=True),
    "net.forward of other rows": lambda trainer, x, y: trainer.net.forward(np.repeat(x, 50, axis=0)),
    "step": lambda trainer, x, y: trainer.step(x, y),
    "fit": lambda trainer, x, y: trainer.fit(x, y),
}


@pytest.mark.parametrize("name", LOSING)
def test_a_network_that_changed_since_its_forward_has_no_backward(name, way, data):
    net = network(way)
    trainer = bp.Trainer(net, loss="mse", optimizer=bp.SGD(lr=0.1))
    if name == "a patched class" and way != "plan":
        pytest.skip("nothing was made of the class")
    for forward, backward in ((net.forward, net.backward), (trainer.forward, trainer.backward_step)):
        forward(data[0])
        LOSING[name](trainer, *data)
        before = state(net)[0]
        with pytest.raises(RuntimeError, match="the network changed since the forward"):
            backward(data[1])
        np.testing.assert_array_equal(net.parameters, before)
        forward(data[0])
        backward(data[1])


@pytest.mark.parametrize("name", RELAYING)
def test_backward_step_needs_the_forward_of_the_trainer(name, way, data):
    trainer = bp.Trainer(network(way), loss="mse", optimizer=bp.SGD(lr=0.1))
    trainer.forward(data[0])
    RELAYING[name](trainer, *data)
    before = trainer.net.parameters.copy()
    with pytest.raises(RuntimeError, match=r"went forward or backward since|needs a forward"):
        trainer.backward_step(data[1])
    np.testing.assert_array_equal(trainer.net.parameters, before)
    with pytest.raises(RuntimeError, match=r"call trainer\.forward\(x\) first"):
        trainer.backward_step(data[1])


def test_predictions_between_forward_and_backward_change_nothing(way, data):
    nets = [network(way) for _ in range(2)]
    for net, act in zip(nets, (True, False), strict=True):
        trainer = bp.Trainer(net, loss="mse", optimizer=bp.SGD(lr=0.1))
        trainer.forward(data[0])
        if act:
            for look in ALLOWED.values():
                look(trainer, *data)
        trainer.backward_step(data[1])
    assert_same(state(nets[0]), state(nets[1]))


@pytest.mark.skipif(kernels.compiled() is None, reason="by plan layers keep nothing")
def test_a_layer_that_went_forward_by_itself_is_noticed(data):
    with bp.use_backend("numpy"):
        net = network("numpy")
        net.forward(data[0])
        net.layers[0].forward(data[0], False)
        with pytest.raises(RuntimeError, match=r"layers\.0 Dense.* has had another forward since"):
            net.backward(data[1])


def test_a_learning_rate_function_may_not_disturb_the_step(way, data):
    net = network(way)
    trainer = bp.Trainer(
        net,
        loss=lambda outputs, targets: (float(np.mean((outputs - targets) ** 2)), (outputs - targets) / 6),
        optimizer=bp.SGD(lr=bp.schedules.Function(lambda step: net.forward(data[0][:2]).size * 0.0 + 0.1, lr=0.1)),
    )
    if way == "plan":  # where backward and update are one call, which needs the learning rate first
        with pytest.raises(RuntimeError, match="went forward or backward since"):
            trainer.step(*data)
    else:
        trainer.step(*data)


BETWEEN: dict[str, Act] = {
    "net.forward and backward": lambda trainer, x, y: (trainer.net.forward(x, training=True), trainer.net.backward(y)),
    "net.forward alone": lambda trainer, x, y: trainer.net.forward(x[:2], training=True),
    "trainer.step": lambda trainer, x, y: trainer.step(x, y),
    "trainer.forward": lambda trainer, x, y: (trainer.forward(x), trainer.backward_step(y)),
    "load_state_dict": lambda trainer, x, y: trainer.net.load_state_dict(
        {name: value / 2 for name, value in trainer.net.state_dict().items()}
    ),
    "parameters": REFUSED["parameters"],
    "layer.trainable": REFUSED_IN_LOSS["layer.trainable"],
    "dropout.rate": REFUSED_IN_LOSS["dropout.rate"],
    "optimizer.step": REFUSED["optimizer.step"],
    "predict": ALLOWED["predict"],
}


@pytest.mark.parametrize("loss", ["mse", "function"])
@pytest.mark.parametrize("name", BETWEEN)
def test_callbacks_may_do_anything_between_steps(name, loss, way, data):
    x, y = data

    def mse(outputs, targets):
        return losses.mse(outputs, targets)

    nets = [network(way) for _ in range(2)]
    fitted, by_hand = (bp.Trainer(net, loss=mse if loss == "function" else "mse", optimizer=bp.SGD(lr=0.1)) for net in nets)
    act = BETWEEN[name]
    fitted.fit(
        x, y, batch_size=3, shuffle=False, callbacks=[bp.LambdaCallback(on_train_batch_end=lambda batch, logs: act(fitted, x, y))]
    )
    for part in (slice(3), slice(3, 6)):
        by_hand.step(x[part], y[part])
        act(by_hand, x, y)
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(nets[0].buffers, nets[1].buffers, rtol=1e-9, atol=1e-12)
    assert nets[0].dropout_step == nets[1].dropout_step


def test_a_metric_may_use_the_network(way, data):
    x, y = data
    net = network(way)

    def probing(outputs, targets):
        net.forward(x, training=True)
        net.backward(y)
        return float(net.predict(x).sum())

    history = net.fit(x, y, loss="mse", epochs=2, metrics=[probing], validation_data=(x, y))
    assert np.isfinite(history["val_probing"]).all()


def test_another_thread_is_refused_while_a_loss_is_computed(way, data):
    from concurrent.futures import ThreadPoolExecutor

    net = network(way)
    found = []

    def loss(outputs, targets):
        with ThreadPoolExecutor(1) as pool:
            np.testing.assert_allclose(pool.submit(net.predict, data[0]).result(), net.predict(data[0]), rtol=1e-9)
            found.extend(pool.submit(call).exception() for call in (lambda: net.forward(data[0]), lambda: trainer.step(*data)))
        return losses.mse(outputs, targets)

    trainer = bp.Trainer(net, loss=loss)
    trainer.step(*data)
    assert [type(error) for error in found] == [RuntimeError] * 2
