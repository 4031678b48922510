"""The public face: names that exist and are documented, and an import that is light."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import pytest

import backprop as bp
from backprop import cli


def public_modules(package: ModuleType) -> list[str]:
    """The modules of the package without an underscore in their names; of packages inside it, those that they list as public."""
    found = []
    for module in iter_modules(package.__path__, f"{package.__name__}."):
        name = module.name.rpartition(".")[2]
        listed = name in package.__all__ and inspect.ismodule(getattr(package, name))
        if listed or (package is bp and not name.startswith("_")):
            found.append(module.name)
            if module.ispkg:
                found += public_modules(import_module(module.name))
    return found


PUBLIC_MODULES = public_modules(bp)


@pytest.mark.parametrize("name", ["backprop", *PUBLIC_MODULES])
def test_dir_lists_the_public_names_and_no_others(name: str) -> None:
    module = import_module(name)
    listed = [name for name in dir(module) if not name.startswith("__") or name in module.__all__]
    assert listed == sorted(module.__all__)
    for public in module.__all__:
        assert hasattr(module, public)
        assert public == "__version__" or not public.startswith("_")


def test_every_public_name_exists_and_is_documented() -> None:
    assert len(set(bp.__all__)) == len(bp.__all__)
    for name in bp.__all__:
        assert name in dir(bp)
        value = getattr(bp, name)
        if inspect.ismodule(value) or callable(value):
            assert inspect.getdoc(value), name


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'backprop' has no attribute 'Conv2D'"):
        _ = bp.Conv2D  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names() -> None:
    stub = ast.parse(Path(bp.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    names = [alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(map(str, names)) == sorted(bp.__all__)


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh process has loaded after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_import_is_light_and_silent() -> None:
    run = subprocess.run([sys.executable, "-c", "import backprop"], capture_output=True, text=True, check=True)
    assert run.stdout == run.stderr == ""
    more = imported_by("import backprop") - imported_by("import numpy")
    heavy = {"argparse", "importlib.metadata", "json", "logging", "matplotlib", "numpy.random", "safetensors", "sklearn", "tqdm"}
    assert not more & heavy


def test_a_tour_of_the_library_costs_no_more_than_it_uses() -> None:
    loaded = imported_by("import backprop as bp; bp.mlp([2, 2], seed=0).predict([[1.0, 2.0]])")
    assert not loaded & {"tqdm", "safetensors", "matplotlib", "backprop.training", "backprop.tabular", "backprop.explain"}


def documented_objects() -> list[object]:
    """What the pages of the reference describe."""
    found = []
    for page in (Path(__file__).parent.parent / "docs" / "api").glob("*.md"):
        for directive, path in re.findall(r"^\.\. auto(\w+):: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            if directive == "module":
                found += [getattr(import_module(path), name) for name in getattr(import_module(path), "__all__", [])]
            else:
                module, _, name = path.rpartition(".")
                found.append(getattr(import_module(module), name))
    return found


@pytest.mark.parametrize("name", ["backprop", *PUBLIC_MODULES])
def test_the_reference_describes_every_public_function_and_class(name: str) -> None:
    described = documented_objects()
    module = import_module(name)
    for public in module.__all__:
        value = getattr(module, public)
        if (inspect.isfunction(value) or inspect.isclass(value)) and module is not cli:
            assert any(value is other for other in described), public


def arguments(function: Callable[..., object], *left_out: str) -> list[Parameter]:
    return [parameter for name, parameter in signature(function).parameters.items() if name not in ("self", *left_out)]


def test_the_ways_to_train_a_network_have_the_options_of_the_trainer() -> None:
    of_trainer, of_fit = arguments(bp.Trainer.__init__, "net"), arguments(bp.Trainer.fit)
    assert arguments(bp.Network.fit) == [*of_fit[:2], *of_trainer, *of_fit[2:]]
    assert arguments(bp.training.fit, "net") == arguments(bp.Network.fit)


def test_the_ways_to_evaluate_a_network_have_the_same_options() -> None:
    assert [str(p).replace("EVALUATION_BATCH", "_SLICE") for p in arguments(bp.training.evaluate, "net")] == [
        str(p) for p in arguments(bp.Network.evaluate)
    ]
    assert arguments(bp.Network.evaluate, "loss", "metrics") == arguments(bp.Trainer.evaluate)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: net.fit(x, x, loss="mse", epoch=3), "Network.fit has no option 'epoch'; did you mean 'epochs'?"),
        (lambda net, x: net.fit(x, x, loss="mse", qqq=3), "Network.fit has no option 'qqq'"),
        (lambda net, x: net.evaluate(x, x, metric=[]), "Network.evaluate has no option 'metric'; did you mean 'metrics'?"),
        (lambda net, x: bp.training.fit(net, x, x, losses="mse"), "fit has no option 'losses'; did you mean 'loss'?"),
        (lambda net, x: bp.training.evaluate(net, x, x, lost="mse"), "evaluate has no option 'lost'; did you mean 'loss'?"),
        (lambda net, x: bp.Trainer(net, loss="mse", clipnorm=1.0), "Trainer has no option 'clipnorm'; did you mean 'clip_norm'?"),
        (lambda net, x: bp.Trainer(net, loss="mse").fit(x, x, batchsize=1), "Trainer.fit has no option 'batchsize'; did you mean"),
        (lambda net, x: bp.Trainer(net, loss="mse").evaluate(x, x, weight=x), "Trainer.evaluate has no option 'weight'; did you"),
    ],
)
def test_an_unknown_option_is_named_with_the_one_that_was_meant(call: Callable[..., object], message: str) -> None:
    net = bp.mlp([1, 1], seed=0)
    before = net.parameters.copy()
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        call(net, [[1.0]])
    assert (net.parameters == before).all()


def shown() -> dict[str, object]:
    """Objects by how they show themselves."""
    net = bp.mlp([2, 1], seed=0)
    trainer, encoder = bp.Trainer(net, loss="mse", optimizer=bp.SGD(lr=0.1)), bp.tabular.TableEncoder
    return {
        "<Network 2 -> 1, 3 parameters>, loss=MSE(), optimizer=SGD(lr=0.1": trainer,
        "EarlyStopping(monitor=None, patience=3, ": bp.EarlyStopping(patience=3),
        "Checkpoint(path='run.safetensors', ": bp.Checkpoint("run.safetensors"),
        "CSVLogger(path=": bp.CSVLogger("run.csv"),
        "LambdaCallback(on_epoch_end=<built-in function print>, ...)": bp.LambdaCallback(on_epoch_end=print),
        "EMA(decay=0.99)": bp.EMA(0.99),
        "Monitor(rows=8, share=0.05)": bp.Monitor(rows=8, share=0.05),
        "History(2 epochs: loss=0.5)": trainer_history(),
        "Batches(2 of 3 rows, batch_size=2, in order)": bp.batches([[1.0], [2.0], [3.0]], batch_size=2, shuffle=False),
        "TableEncoder(age: numeric, city: categorical; 3 columns)": encoder.fit({"age": [1, 2], "city": ["a", "b"]}),
        "ClassTarget(name='city', classes=('a', 'b'))": bp.tabular.ClassTarget.fit("city", ["a", "b"]),
        "NumberTarget(name='age', ": bp.tabular.NumberTarget.fit("age", [1, 2]),
        "<LayerTrace of layers.0 Dense(2, 1): x, weight, bias, ": bp.trace(net, [[1.0, 2.0]], [[3.0]], loss="mse").layers[0],
        "<Recording of 2 moments in 1 epochs: ": bp.explain.record(net, [[1.0, 2.0]], [[3.0]], loss="mse", epochs=1),
        "CrossEntropy(label_smoothing=0.1, ": bp.losses.CrossEntropy(label_smoothing=0.1),
        "Cosine(lr=0.1, steps=10, ": bp.schedules.Cosine(0.1, steps=10),
        "Initializer(name='he_normal', ": bp.initializers.Initializer("he_normal"),
        "ActivationFunction('elu', alpha=1)": bp.activations.elu,
        "Backend(name=": bp.backend(),
    }


def trainer_history() -> bp.History:
    history = bp.History()
    for epoch in range(2):
        history.append(epoch, {"loss": 0.5})
    return history


def test_objects_show_what_they_are_in_one_line() -> None:
    for text, value in shown().items():
        assert text in repr(value)
        assert "\n" not in repr(value)
        assert len(repr(value)) < 250
