"""Replace the given labels of the training samples by another column: CIFAR-10N beside CIFAR-10."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.config import LabelColumnConfig
from labelwise.data.dataset import Samples
from labelwise.data.files import as_strings, encode_labels, read_arrays, refuse_repeated
from labelwise.data.tables import read_table
from labelwise.errors import DataError

_ID_COLUMNS = ("id", "ids")


def replace_labels(samples: Samples, column: LabelColumnConfig, training: NDArray[np.int64]) -> Samples:
    """Samples with other given labels; what they had becomes ``true_label``.

    Parameters
    ----------
    samples : what a reader found, labelled
    column : file and column; its rows are matched by ``id`` where it has one, otherwise they are the training samples
        in the reader's order
    training : (M,) rows of the training samples; the others keep their labels

    Raises
    ------
    DataError
        Naming the file and the column: missing, of another length, without a training sample's id, repeated ids,
        labels out of range.
    """
    path = Path(column.file)
    columns = _read_columns(path)
    where = f"{path}: {column.column}"
    if column.column not in columns:
        raise DataError(f"{path}: no column {column.column!r}; it has {', '.join(sorted(columns))}")
    given, _ = encode_labels(columns[column.column], samples.classes, where)
    id_column = next((name for name in _ID_COLUMNS if name in columns), None)
    if id_column is not None:
        where = f"{path}: {id_column}"
        given = given[_match(as_strings(columns[id_column], f"{where}: "), samples.ids[training], len(given), where)]
    elif len(given) != len(training):
        raise DataError(
            f"{where} has {len(given)} labels, expected {len(training)}: one per training sample of {samples.name}"
        )
    label = samples.label.copy()
    label[training] = given
    return dataclasses.replace(samples, label=label, true_label=samples.label)


def _read_columns(path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".npz":
        return dict(read_arrays(path))
    table = read_table(path)
    return {str(name): table[name].to_numpy() for name in table.columns}


def _match(file_ids: NDArray[np.str_], ids: NDArray[np.str_], rows: int, where: str) -> NDArray[np.int64]:
    """Row of the file for every one of ``ids``; further ids of the file are left alone."""
    if len(file_ids) != rows:
        raise DataError(f"{where} has {len(file_ids)} entries for {rows} labels")
    refuse_repeated(file_ids.tolist(), where)
    place = {name: row for row, name in enumerate(file_ids.tolist())}
    missing = [name for name in ids.tolist() if name not in place]
    if missing:
        raise DataError(f"{where}: no label for training sample {missing[0]!r} ({len(missing)} missing)")
    return np.array([place[name] for name in ids.tolist()], dtype=np.int64)
