"""A network with the encoding of its table: the one object that takes rows as they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .. import _table_defaults
from .._arrays import check_count, check_flag, check_in, check_list
from .._model_file import ModelFormatError, complaints_about, expect, read_file, write_file
from .._suggestions import suggests_options
from .._types import AnyArray
from ..callbacks import Callback, listed
from ..history import History
from ..network import Network
from ..optimizers import Optimizer
from ..serialization import architecture, network_in
from . import _fit
from ._columns import MISSING, Column, words_of
from ._encoded import by_parts
from ._encoder import TableEncoder
from ._judge import Judgement, judge, rows_to_judge
from ._kinds import MAX_CATEGORIES
from ._rows import Table, check_names, named_columns
from ._targets import ClassTarget, Label, Target, target_from_config

StrPath = str | os.PathLike[str]


class TableModel:
    """A trained network with all that it needs to take the rows of a table as they are.

    Made by `fit`, or read by `load` from a file that `save` or ``backprop train`` wrote. Any number of threads may predict at once.

    Parameters
    ----------
    network : Network
        Takes ``encoder.transform(rows)``.
    encoder : TableEncoder
        Makes the matrix of the rows.
    target : ClassTarget or NumberTarget
        Makes predictions of the network's outputs.
    metadata : mapping of str, optional
        Anything that JSON can hold; it is saved with the model.

    Attributes
    ----------
    network, encoder, target, metadata
        The same.
    history : History or None
        The epochs of `fit`; not saved.
    notes : tuple of str
        What `fit` noticed about the table, a sentence each; not saved.

    Examples
    --------
    >>> from backprop.tabular import TableModel
    >>> area = [40.0 + step for step in range(0, 120, 2)] * 2
    >>> town = ["Rome"] * 60 + ["Oslo"] * 60
    >>> price = [3.5 * a + 80 * (t == "Oslo") for a, t in zip(area, town)]
    >>> model = TableModel.fit({"area": area, "town": town, "price": price}, target="price", lr=0.01, seed=0)
    >>> model.predict({"area": 100, "town": "Rome"}).round(-1)
    array([350.])
    >>> model.predict([{"area": 100, "town": "Oslo"}, {"area": 60, "town": "Oslo"}]).round(-1)
    array([430., 290.])
    """

    def __init__(self, network: Network, encoder: TableEncoder, target: Target, metadata: Mapping[str, Any] | None = None) -> None:
        if network.n_inputs != len(encoder.names) or network.n_outputs != target.n_outputs:
            raise ValueError(
                f"the network must have {len(encoder.names)} inputs and {target.n_outputs} outputs to fit the table, "
                f"has {network.n_inputs} and {network.n_outputs}"
            )
        self.network = network
        self.encoder = encoder
        self.target = target
        self.metadata = dict(metadata or {})
        self.history: History | None = None
        self.notes: tuple[str, ...] = ()

    @classmethod
    @suggests_options
    def fit(
        cls,
        rows: Any,
        target: str,
        *,
        task: str = "auto",
        kinds: Mapping[str, str] | None = None,
        ignore: Iterable[str] = (),
        max_categories: int = MAX_CATEGORIES,
        dates: Mapping[str, str] | None = None,
        missing: Iterable[str] | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        hidden: Sequence[int] = (64, 32),
        activation: str = _table_defaults.ACTIVATION,
        dropout: float = _table_defaults.DROPOUT,
        batch_norm: bool = False,
        optimizer: str | Optimizer = _table_defaults.OPTIMIZER,
        lr: float | None = None,
        weight_decay: float | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        class_weight: Mapping[int, float] | Sequence[float] | str | None = None,
        validation: float = 0.2,
        patience: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = (),
        seed: int = 0,
        verbose: bool | None = None,
    ) -> Self:
        """Learn to predict one column of a table from the others.

        Rows without a value of the target are left out. A share of the rows is set apart; training stops when the loss on these
        has not improved for some epochs, and the best weights are kept.

        Parameters
        ----------
        rows : data frame, mapping of str to column, or list of dicts
            The table: a frame of pandas or polars, a table of pyarrow, a mapping of columns (lists or arrays), or a list with a
            dict for each row.
        target : str
            The column to predict.
        task : {"auto", "classification", "regression"}
            See `fit_target`.
        kinds, ignore, max_categories, dates, missing, decimal, thousands : optional
            How columns are read, see `TableEncoder.fit`.
        hidden : sequence of int
            Widths of the hidden layers; an empty one makes a linear model.
        activation : str
            Of the hidden layers: a name in `activations.NAMES`.
        dropout : float
            The probability of dropping a hidden unit in training, in [0, 1).
        batch_norm : bool
            Whether a batch normalization follows every hidden layer.
        optimizer : str or Optimizer
            A name in `optimizers.NAMES`, or an optimizer.
        lr : float, optional
            The learning rate of an optimizer that is given by name.
        weight_decay : float, optional
            The weight decay of an optimizer that is given by name; by default 0.1 for "adamw" and 0 for others.
        epochs : int, optional
            The largest number of passes over the rows; by default 200, or enough for 5,000 updates.
        batch_size : int
            Rows of a step.
        class_weight : mapping, sequence or "balanced", optional
            Weights of the classes, see `Network.fit`.
        validation : float
            The share of the rows that are set apart, in (0, 1).
        patience : int, optional
            The number of epochs without improvement that ends training; by default 20, or enough for 500 updates.
        callbacks : callback or sequence of callbacks
            See `backprop.callbacks`.
        seed : int
            Of the split, the weights and the order of the rows: the same seed gives the same model.
        verbose : bool, optional
            Whether to show a progress bar; None shows it on a terminal only.

        Returns
        -------
        TableModel

        Raises
        ------
        ValueError
            If the table has no such target, no column to learn from or fewer than two rows; if a column can be read in two ways.
        TypeError
            If the table has none of these forms, or a column holds something else than numbers, text, booleans, dates and times.
        """
        for option, value in (("lr", lr), ("weight_decay", weight_decay)):
            if value is not None and not isinstance(optimizer, str):
                raise ValueError(f"{option} is for an optimizer given by name; give it to the {type(optimizer).__name__} itself")
        hidden = [check_count(f"hidden[{index}]", width) for index, width in enumerate(check_list("hidden", hidden, "integers"))]
        check_flag("batch_norm", batch_norm)
        check_count("batch_size", batch_size)
        check_in("validation", validation, 0, 1, closed="neither")
        source = _fit.read_source(
            rows,
            target,
            task=task,
            kinds=kinds,
            ignore=ignore,
            max_categories=max_categories,
            dates=dates,
            missing=missing,
            decimal=decimal,
            thousands=thousands,
        )
        prepared = _fit.prepare(source, *_fit.divide(source, validation, seed))
        net = _fit.make_network(prepared, hidden=hidden, activation=activation, dropout=dropout, batch_norm=batch_norm, seed=seed)
        history, _ = _fit.train_network(
            net,
            prepared,
            optimizer=_fit.make_optimizer(optimizer, lr, weight_decay) if isinstance(optimizer, str) else optimizer,
            epochs=epochs,
            batch_size=batch_size,
            class_weight=class_weight,
            patience=patience,
            callbacks=listed(callbacks),
            seed=seed,
            verbose=verbose,
        )
        model = cls(net, prepared.encoder, prepared.target)
        model.history, model.notes = history, prepared.notes
        return model

    @property
    def classes(self) -> tuple[Label, ...] | None:
        """The classes in the order of `predict_proba`, of the type that the target had; None for a model of numbers."""
        return self.target.labels if isinstance(self.target, ClassTarget) else None

    def predict(self, rows: Any) -> npt.NDArray[Any]:
        """Return the prediction for each row.

        Parameters
        ----------
        rows : data frame, mapping of str to column, list of dicts, or one dict of values
            The columns that the model was trained on, in any order; others are passed over.

        Returns
        -------
        array (n,)
            Numbers (float64), or values of `classes`; one dict of values is one row.

        Raises
        ------
        ValueError
            If a column is missing or holds a value that it cannot, see `TableEncoder.transform`.
        """
        outputs = self._computed(self.network.predict, rows)
        if isinstance(self.target, ClassTarget):
            labels = self.target.labels
            found: npt.NDArray[Any] = np.array(labels, object if self.target.type == "str" else None)[outputs.argmax(axis=1)]
            return found.astype(str) if self.target.type == "str" else found
        return np.array(self.target.inverse(outputs), np.float64)

    def predict_proba(self, rows: Any) -> npt.NDArray[np.floating]:
        """Return the probability of each class for each row.

        Parameters
        ----------
        rows : data frame, mapping of str to column, list of dicts, or one dict of values
            See `predict`.

        Returns
        -------
        array (n, len(classes))

        Raises
        ------
        ValueError
            If the model predicts numbers, and as `predict` raises it.
        """
        if not isinstance(self.target, ClassTarget):
            raise ValueError(f"probabilities need classes, but the model predicts the number {self.target.name!r}")
        return self._computed(partial(self.network.predict_proba, link="softmax"), rows)

    def _computed(self, function: Callable[[AnyArray], AnyArray], rows: Any) -> AnyArray:
        """Apply a function to the encoded rows, few of which are in memory at once."""
        row = self.encoder._row(rows)
        if row is not None:
            return function(np.array([row], self.network.dtype))
        return by_parts(function, self.encoder._encoded(rows, self.network.dtype))

    def evaluate(self, rows: Any) -> Judgement:
        """Return how good the predictions for rows are whose target is known.

        Parameters
        ----------
        rows : data frame, mapping of str to column, or list of dicts
            The columns that the model was trained on and the target. Rows without a value of the target are left out, and, with a
            remark, those of a class that training did not see.

        Returns
        -------
        Judgement
            A mapping of metrics to numbers, such as ``{"accuracy": ..., "auc": ...}``, which prints as a table.

        Raises
        ------
        ValueError
            If no row has a value of the target, or none has one of the classes, and as `predict` raises it.
        """
        table = named_columns(rows)
        check_names(table, [self.target.name])
        x = self.encoder._encoded(table, self.network.dtype)
        known, y, remarks = self._rows_to_judge(table)
        return judge(self.target, by_parts(self.network.predict, x.part(known)), y, remarks)

    def _rows_to_judge(self, table: Mapping[str, Any]) -> tuple[npt.NDArray[np.intp], AnyArray, tuple[str, ...]]:
        """What `_judge.rows_to_judge` returns for the target's column of a table."""
        place = table if isinstance(table, Table) else None
        asked = self.encoder.missing is not MISSING  # by default words such as "none" are classes of a target from Python
        words = words_of(place, self.encoder.missing) if place is not None or asked else frozenset({""})
        return rows_to_judge(self.target, Column(self.target.name, table[self.target.name], missing=words, table=place))

    def save(self, path: StrPath) -> None:
        """Write the model to one safetensors file, whole or not at all.

        Parameters
        ----------
        path : str or path
            By custom it ends in ``.safetensors``.

        Raises
        ------
        TypeError
            If `metadata` holds something that JSON cannot.
        OSError
            If writing fails; an older file is then as it was.
        """
        content = {
            "kind": "table",
            "architecture": architecture(self.network),
            "table": {"encoder": self.encoder.config(), "target": self.target.config()},
            "metadata": self.metadata,
        }
        write_file(path, self.network.state_dict(), content)

    @classmethod
    def load(cls, path: StrPath) -> Self:
        """Read a model that `save` or ``backprop train`` wrote; no code from the file is run.

        Parameters
        ----------
        path : str or path
            The file.

        Raises
        ------
        ModelFormatError
            If the file is damaged or not a model of a table.
        FileNotFoundError
            If there is no such file.
        """
        tensors, content = read_file(path)
        if content["kind"] != "table":
            what = "a training checkpoint" if content["kind"] == "checkpoint" else "a network"
            raise ModelFormatError(
                f"{os.fspath(path)}: it holds {what}, but no description of a table; only TableModel.save and "
                "`backprop train` write one"
            )
        with complaints_about(path):
            table = expect(dict, content.get("table"), "the description of the table")
            encoder = TableEncoder.from_config(expect(dict, table.get("encoder"), "the description of the table"))
            target = target_from_config(expect(dict, table.get("target"), "the description of the target"))
            metadata = expect(dict, content.get("metadata", {}), "its metadata")
            return cls(network_in(path, tensors, content), encoder, target, metadata)

    def __repr__(self) -> str:
        """Return target and columns in one line."""
        what = f"{self.target.name}: {self.target.kind}" + (f", {len(self.classes)} classes" if self.classes else "")
        used = ", ".join(f"{feature.name}: {feature.kind}" for feature in self.encoder.features)
        return f"TableModel({what}; from {used})"
