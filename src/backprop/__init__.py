"""Dense neural networks on the CPU: build, train, understand and ship them.

Names are loaded when they are first used, so that ``import backprop`` costs little more than importing NumPy. Type checkers and
editors read them in ``__init__.pyi``.
"""

from importlib import import_module

from . import kernels  # noqa: F401  at once, so that a damaged installation is loud

_MODULES = (
    "activations",
    "callbacks",
    "convert",
    "data",
    "datasets",
    "distributed",
    "ensemble",
    "explain",
    "export",
    "initializers",
    "kernels",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
    "serialization",
    "tabular",
    "training",
)
_NAMES = {
    "_gradcheck": ("GradientError", "gradcheck"),
    "_version": ("__version__",),
    "callbacks": ("Callback", "Checkpoint", "CSVLogger", "EarlyStopping", "EMA", "LambdaCallback"),
    "clipping": ("clip_grad_norm", "clip_grad_value"),
    "data": ("batches",),
    "ensemble": ("Ensemble", "fit_many"),
    "explain.choosing": ("compare", "lr_range_test", "search"),
    "explain.diagnosis": ("Monitor", "diagnose"),
    "explain.trace": ("trace",),
    "history": ("History",),
    "kernels": ("Backend", "backend", "set_num_threads", "use_backend"),
    "layers": ("Activation", "BatchNorm", "Dense", "Dropout", "Layer", "LayerNorm", "Residual"),
    "network": ("Network", "mlp"),
    "optimizers": ("SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "NAdam", "RAdam", "RMSprop", "Rprop"),
    "serialization": ("ModelFormatError", "load"),
    "training": ("DivergenceError", "Trainer"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [*_MODULES, *_HOMES]


def __getattr__(name):
    """Load a public name when it is first asked for (PEP 562)."""
    if name in _MODULES:
        value = import_module(f".{name}", __name__)
    elif name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
