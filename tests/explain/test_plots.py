"""Plots return labelled axes that hold the data they were given, on axes of the caller's or of a new figure."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

import backprop as bp

matplotlib = pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'backprop[plot]'")
matplotlib.use("agg")

from matplotlib import pyplot  # noqa: E402  after the backend is chosen

from backprop.explain import plots  # noqa: E402

NET = bp.mlp([2, 8, 3], activation="tanh", seed=0)
POINTS = np.random.default_rng(0).normal(size=(60, 2))
LABELS = (POINTS[:, 0] > 0).astype(int) + (POINTS[:, 1] > 0)
PATH = np.cumsum(np.random.default_rng(1).normal(size=(5, NET.parameters.size)), axis=0)
HISTORY = {"loss": [1.0, 0.5, 0.3], "val_loss": [1.1, 0.7, 0.8]}


def surface(net: bp.Network = NET, y: object = LABELS, path: np.ndarray = PATH, resolution: int = 8) -> plots.LossSurface:
    return plots.loss_surface(net, POINTS, y, loss="cross_entropy", path=path, resolution=resolution)


DRAWN = {
    "learning_curves": lambda ax: plots.learning_curves(HISTORY, ax=ax),
    "gradient_flow": lambda ax: plots.gradient_flow({"layers.0": 1e-3, "layers.1": 1e-1}, ax=ax),
    "gradient_flow_over_time": lambda ax: plots.gradient_flow({"layers.0": [1e-3, 0.0], "layers.1": [1.0, 2.0]}, ax=ax),
    "update_ratios": lambda ax: plots.update_ratios({"layers.0": [1e-3, 1e-4]}, ax=ax),
    "lr_curve": lambda ax: plots.lr_curve([1e-3, 1e-2, 1e-1], [1.0, 0.5, 2.0], [1.0, 0.8, 1.5], 1e-2, ax=ax),
    "curves": lambda ax: plots.curves({"relu": [1.0, 0.5], "tanh": [1.0, 0.7]}, ylabel="val_loss", ax=ax),
    "distributions": lambda ax: plots.distributions({"layers.0": POINTS, "layers.1": [np.nan, 1.0]}, ax=ax),
    "activation_functions": lambda ax: plots.activation_functions(ax=ax),
    "decision_boundary": lambda ax: plots.decision_boundary(NET, POINTS, LABELS, resolution=20, ax=ax),
    "confusion_matrix": lambda ax: plots.confusion_matrix(LABELS, NET.predict(POINTS), names=["a", "b", "c"], ax=ax),
    "predicted_vs_true": lambda ax: plots.predicted_vs_true(POINTS[:, 0], POINTS[:, 1], ax=ax),
    "residuals": lambda ax: plots.residuals(POINTS[:, 0], POINTS[:, 1], ax=ax),
    "roc_curve": lambda ax: plots.roc_curve(LABELS > 0, POINTS[:, 0], ax=ax),
    "precision_recall_curve": lambda ax: plots.precision_recall_curve(LABELS > 0, POINTS[:, 0], ax=ax),
    "calibration_curve": lambda ax: plots.calibration_curve(LABELS > 0, 1 / (1 + np.exp(-POINTS[:, 0])), ax=ax),
    "idle_shares": lambda ax: plots.idle_shares({"layers.0": [0.1, 0.4]}, epochs=[0, 5], ax=ax),
    "first_layer_weights": lambda ax: plots.first_layer_weights(bp.mlp([12, 7, 1], seed=0), shape=(3, 4), ax=ax),
    "scores_over_rows": lambda ax: plots.scores_over_rows([10, 20], [0.1, 0.2], [0.5, 0.4], ax=ax),
    "importance": lambda ax: bp.explain.permutation_importance(NET, POINTS, LABELS, loss="cross_entropy").plot(ax=ax),
    "loss_surface": lambda ax: plots.plot_loss_surface(surface(), ax=ax),
}


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    pyplot.close("all")


@pytest.mark.parametrize("name", DRAWN)
def test_plots_draw_on_the_given_axes_and_label_them(name: str) -> None:
    _, ax = pyplot.subplots()
    assert DRAWN[name](ax) is ax
    assert ax.get_xlabel()
    assert ax.has_data()
    ax.figure.canvas.draw()


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("size", [(2, 1.6), (12, 8)], ids=["small", "large"])
def test_plots_make_a_figure_of_their_own_that_can_be_resized(name: str, size: tuple[float, float]) -> None:
    figure = DRAWN[name](None).figure
    figure.set_size_inches(*size)
    figure.canvas.draw()


def test_every_public_plot_is_tested() -> None:
    drawing = {name for name in plots.__all__ if name not in ("LossSurface", "loss_surface")}
    assert drawing - {"network_diagram", "plot_loss_surface"} <= set(DRAWN)


def test_learning_curves_mark_the_best_epoch() -> None:
    texts = [text.get_text() for text in plots.learning_curves(HISTORY).get_legend().get_texts()]
    assert texts == ["training", "validation", "best: 0.7 in epoch 2"]
    with pytest.raises(ValueError, match="metric must be one of"):
        plots.learning_curves(HISTORY, "auc")


def test_a_history_plots_itself() -> None:
    history = bp.mlp([2, 4, 3], seed=0).fit(POINTS, LABELS, loss="cross_entropy", epochs=3, validation_split=0.3)
    assert history.plot().get_ylabel() == "loss"


def test_a_confusion_matrix_counts() -> None:
    ax = plots.confusion_matrix([0, 0, 1, 1, 1], [0, 1, 1, 1, 1])
    cells = {
        text.get_position()[::-1]: text.get_text() for text in ax.texts if all(place in (0, 1) for place in text.get_position())
    }
    assert cells == {(0, 0): "1", (0, 1): "1", (1, 1): "3"}
    assert {"2, 50%", "3, 100%", "1\n100%", "4\n75%"} <= {text.get_text() for text in ax.texts}
    with pytest.raises(ValueError, match="the same number of rows"):
        plots.confusion_matrix([0, 1], [0, 1, 1])


@pytest.mark.parametrize("name", ["decision_boundary", "confusion_matrix", "roc_curve", "calibration_curve", "predicted_vs_true"])
@pytest.mark.parametrize("argument", [0, 1])
def test_plots_name_the_argument_that_is_text(name: str, argument: int) -> None:
    draw = {
        "decision_boundary": (lambda x, labels: plots.decision_boundary(NET, x, labels), "x", "labels", np.ones((2, 2))),
        "confusion_matrix": (plots.confusion_matrix, "labels", "predicted", [0, 1]),
        "roc_curve": (plots.roc_curve, "labels", "scores", [0, 1]),
        "calibration_curve": (plots.calibration_curve, "labels", "probabilities", [0, 1]),
        "predicted_vs_true": (plots.predicted_vs_true, "targets", "outputs", [0, 1]),
    }
    function, *names, first = draw[name]
    given = [["a", "b"], [0, 1]] if argument == 0 else [first, ["a", "b"]]
    with pytest.raises(TypeError, match=f"^{names[argument]} must hold real numbers, got list"):
        function(*given)
    assert not pyplot.get_fignums()


@pytest.mark.parametrize("wrong", [0.5, np.nan, np.inf, -1])
def test_labels_that_are_no_classes_are_refused(wrong: float) -> None:
    labels = [0, 1, wrong]
    for argument, draw in (
        ("labels", lambda: plots.decision_boundary(NET, POINTS[:3], labels)),
        ("labels", lambda: plots.confusion_matrix(labels, [0, 1, 1])),
        ("predicted", lambda: plots.confusion_matrix([0, 1, 1], labels)),
    ):
        with pytest.raises(ValueError, match=f"^{argument} must be classes, integers from 0, got {wrong}.* in row 2"):
            draw()
    with pytest.raises(ValueError, match=r"^x and labels must have the same number of rows"):
        plots.decision_boundary(NET, POINTS, [0, 1])
    with pytest.raises(ValueError, match=r"^names must hold one for each of the 3 classes, got 2"):
        plots.confusion_matrix([0, 1, 2], [0, 1, 2], names=["a", "b"])
    assert plots.confusion_matrix([0.0, 1.0], [True, False]).has_data()


def test_the_diagram_tells_signs_apart_without_colour_and_says_what_it_leaves_out() -> None:
    net = bp.mlp([30, 4, 1], seed=0)
    ax = plots.network_diagram(net, max_units=6)
    positive, negative = (collection for collection in ax.collections[:2])
    assert len(positive.get_segments()) == (net.layers[0].weight[:6] > 0).sum()
    assert positive.get_linestyle() != negative.get_linestyle()
    assert "+ 24 more" in [text.get_text() for text in ax.texts]
    with pytest.raises(ValueError, match="no Dense layer"):
        plots.network_diagram(bp.Network([bp.Residual([bp.LayerNorm(3)])], seed=0))


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_a_network_whose_weights_have_one_sign_is_drawn(value: float) -> None:
    net = bp.mlp([2, 3, 1], seed=0)
    net.parameters = np.full(net.parameters.size, value)
    edges = [collection for collection in plots.network_diagram(net).collections if hasattr(collection, "get_segments")]
    assert len(edges) == (2 if value else 0)  # one for each pair of layers


def test_a_loss_surface_goes_through_the_end_of_the_path() -> None:
    slice_ = surface()
    assert np.allclose(slice_.path[-1], 0)
    probe = NET.copy()
    probe.parameters[:] = PATH[-1]
    nearest = np.abs(slice_.second).argmin(), np.abs(slice_.first).argmin()
    assert np.isfinite(slice_.loss).all()
    assert slice_.loss[nearest] == pytest.approx(bp.losses.CrossEntropy().value(probe.predict(POINTS), LABELS), rel=0.5)
    with pytest.raises(ValueError, match="path must have shape"):
        plots.loss_surface(NET, POINTS, LABELS, loss="cross_entropy", path=PATH[:1])


def test_a_decision_boundary_needs_two_inputs() -> None:
    with pytest.raises(ValueError, match="2 inputs"):
        plots.decision_boundary(bp.mlp([3, 2], seed=0), np.zeros((4, 3)), [0, 1, 0, 1])


def test_a_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"backprop\[plot\]"):
        plots.learning_curves(HISTORY)


@pytest.mark.parametrize("seed", range(3))
def test_areas_are_those_of_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 100)
    scores = np.round(rng.normal(size=100) + labels, 1)  # with ties
    roc, precision = (
        draw(labels, scores).get_legend().get_texts()[1].get_text() for draw in (plots.roc_curve, plots.precision_recall_curve)
    )
    assert roc == f"area {metrics.roc_auc_score(labels, scores):.4f}" == f"area {bp.metrics.auc(scores, labels):.4f}"
    assert precision == f"area {metrics.average_precision_score(labels, scores):.4f}"


def test_a_calibrated_prediction_lies_on_the_diagonal() -> None:
    share = np.repeat([0.25, 0.75], 40)
    labels = np.concatenate([np.arange(40) % 4 == 0, np.arange(40) % 4 != 0])
    line = plots.calibration_curve(labels, share, bins=2).lines[1]
    assert np.allclose(line.get_xdata(), line.get_ydata())


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.residuals([1.0], [1.0, 2.0]), "same number of values"),
        (lambda: plots.roc_curve([1, 1], [0.1, 0.2]), "both must occur"),
        (lambda: plots.roc_curve([0, 2], [0.1, 0.2]), "0 or 1"),
        (lambda: plots.precision_recall_curve([0, 0], [0.1, 0.2]), "both must occur"),
        (lambda: plots.calibration_curve([0, 1], [0.1, 1.2]), r"\[0, 1\]"),
        (lambda: plots.calibration_curve([-1, 1], [0.1, 0.2]), "labels must be 0 or 1"),
        (lambda: plots.roc_curve([0, 1, 1], [0.1, np.nan, 0.3]), "scores must have an order, got NaN in row 1"),
        (lambda: plots.precision_recall_curve([0, 1, 1], [0.1, np.nan, 0.3]), "scores must have an order"),
        (lambda: plots.first_layer_weights(bp.mlp([4, 1], seed=0), shape=(4,)), r"shape must be \(rows, columns\)"),
        (lambda: plots.network_diagram(NET, max_units=0), "max_units must be at least 1"),
        (lambda: plots.activation_functions([]), "at least one activation"),
        (lambda: plots.gradient_flow({"a": [1.0, 2.0]}, epochs=[0, 1, 2]), "epochs must have 2 entries"),
        (lambda: plots.decision_boundary(NET, POINTS, LABELS, resolution=1), "resolution must be at least 2"),
        (lambda: plots.decision_boundary(NET, POINTS[:0], LABELS[:0]), "at least one row"),
        (lambda: plots.decision_boundary(NET, POINTS * np.nan, LABELS), "x contains NaN"),
        (lambda: plots.confusion_matrix([0, 1], [[0.2, np.nan], [0.9, 0.1]]), "predicted contains NaN at row 0, column 1"),
        (lambda: plots.confusion_matrix([0, 1], [[0.2], [0.9]]), "for probabilities of one class give predicted > 0.5"),
        (lambda: surface(resolution=1), "resolution must be at least 2"),
        (lambda: surface(path=PATH * np.nan), "path contains NaN"),
        (lambda: surface(y=LABELS[:3]), "x and y must have the same number of rows"),
        (lambda: surface(net=bp.Network([bp.Dense(1, 1, bias=False)]), path=np.ones((2, 1))), "at least 2 parameters"),
        (lambda: plots.plot_loss_surface(surface()._replace(loss=np.full((8, 8), np.inf))), "a loss that is finite"),
        (lambda: plots.first_layer_weights(NET), "shape must have rows"),
        (lambda: plots.first_layer_weights(bp.Network([bp.LayerNorm(4)])), "begins with a Dense"),
    ],
)
def test_quality_plots_refuse_what_they_cannot_draw(draw: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


def test_first_layer_weights_are_images_side_by_side() -> None:
    net = bp.mlp([12, 3, 1], seed=0)
    sheet = plots.first_layer_weights(net, shape=(3, 4)).images[0].get_array()
    assert sheet.shape == (7, 9)
    assert np.array_equal(sheet[:3, 5:], net.layers[0].weight[:, 1].reshape(3, 4))
    assert np.ma.getmaskarray(sheet)[3].all()


def test_a_monitor_draws_its_run_over_epochs() -> None:
    monitor = bp.Monitor(share=0.9)
    with pytest.raises(ValueError, match="watched no epoch"):
        monitor.plot()
    net = bp.mlp([2, 64, 64, 3], seed=0)
    net.fit(POINTS, LABELS, loss="cross_entropy", epochs=300, batch_size=4, validation_split=0.3, callbacks=[monitor])
    assert monitor.epochs
    figure = monitor.plot()
    assert [ax.get_xlabel() for ax in figure.axes] == ["epoch"] * 4 + ["weight", "gradient"]
    line = figure.axes[1].lines[0]
    assert line.get_xdata().tolist() == [epoch + 1 for epoch in monitor.epochs]
    assert monitor.idle_shares["layers.0"]
    figure.canvas.draw()


def test_text_is_no_list_of_activations() -> None:
    with pytest.raises(TypeError, match="names must be a list of names of activations, got 'relu'"):
        plots.activation_functions("relu")


@pytest.mark.parametrize("values", [[0.5], [np.nan, 0.5, np.nan], [0.5, np.nan, 0.4, 0.3]])
def test_values_that_stand_alone_show(values: list[float]) -> None:
    for ax in (plots.learning_curves({"loss": values}), plots.curves({"a": values}, ylabel="loss")):
        assert ax.lines[0].get_marker() == "."
        assert all(tick == round(tick) for tick in ax.get_xticks())
    assert plots.learning_curves({"loss": [0.5, 0.4, np.nan]}).lines[0].get_marker() != "."


def test_a_single_output_has_two_classes() -> None:
    labels = [0, 0, 1, 1]
    outputs = np.array([[-1.5], [0.5], [2.0], [3.0]])
    for predicted in (outputs, outputs > 0, (outputs > 0).astype(int)):
        cells = {text.get_position(): text.get_text() for text in plots.confusion_matrix(labels, predicted).texts}
        assert cells[0, 0] == cells[1, 0] == "1"
        assert cells[1, 1] == "2"


def test_probabilities_are_divided_at_one_half() -> None:
    net = bp.Network([bp.Dense(2, 1, activation="sigmoid")], seed=0)
    net.layers[0].weight, net.layers[0].bias = [[4.0], [0.0]], [0.0]
    points = np.array([[-1.0, -1.0], [1.0, 1.0]])
    filled = plots.decision_boundary(net, points, [0, 1], resolution=10).collections[0]
    assert sum(bool(len(path.vertices)) for path in filled.get_paths()) == 2


@pytest.mark.parametrize("loss", [np.full((8, 8), 5e5), 5e5 + 1e-9 * np.eye(8), np.zeros((8, 8))])
def test_a_flat_loss_surface_is_drawn(loss: np.ndarray) -> None:
    plots.plot_loss_surface(surface()._replace(loss=loss)).figure.canvas.draw()


def test_weights_that_are_not_finite_are_drawn_as_gaps() -> None:
    net = bp.mlp([4, 3, 1], seed=0)
    net.parameters[...] = np.nan
    plots.first_layer_weights(net).figure.canvas.draw()
