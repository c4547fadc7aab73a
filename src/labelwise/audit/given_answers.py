"""Somebody else's out-of-sample probabilities, from an .npz or .csv file, as samples and answers."""

from __future__ import annotations

from pathlib import Path
from zipfile import is_zipfile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.audit.answers import Answer, Answers, log_probability
from labelwise.audit.samples import LabelledSamples, refuse_one_class
from labelwise.data.files import as_strings, encode_labels, read_arrays, refuse_repeated
from labelwise.data.tables import read_table
from labelwise.errors import DataError

TOLERANCE = 0.01
"""How far the sum of a row of probabilities may be from one."""

GIVEN = ("given", "label")


def holds_answers(source: Path) -> bool:
    """Whether a file holds probabilities: ``probabilities`` in an .npz, or a column for each label in a .csv."""
    if not source.is_file():
        return False
    if source.suffix == ".npz" and is_zipfile(source):
        with np.load(source) as stored:
            return "probabilities" in stored
    if source.suffix == ".csv":
        columns = read_table(source)
        given = next((name for name in GIVEN if name in columns), None)
        return (
            "id" in columns and given is not None and len(columns.columns) > 3 and set(columns[given]) <= set(columns)
        )
    return False


def read_answers(source: Path) -> tuple[LabelledSamples, Answers]:
    """Samples, and what somebody's models say of them without their labels.

    Parameters
    ----------
    source : .npz with ``probabilities`` (n, K), ``labels`` (n,) and perhaps ``classes`` (K,), ``ids`` and ``groups``
        (n,); or .csv with ``id``, ``given`` (or ``label``) and a column of probabilities for each class

    Raises
    ------
    DataError
        In one line: an id twice, a label that is no class, probabilities that are not finite, not within 0 and 1, or
        do not sum to one; labels of one class alone.
    """
    ids, label, p, classes, groups = _read_npz(source) if source.suffix == ".npz" else _read_csv(source)
    if p.ndim != 2 or p.dtype.kind != "f" or len(p) != len(label) or len(ids) != len(label):
        raise DataError(f"{source}: expected probabilities (n, K) with n labels, found {p.shape} and {len(label)}")
    if p.shape[1] != len(classes):
        raise DataError(f"{source}: {p.shape[1]} columns of probabilities for {len(classes)} classes")
    refuse_repeated(ids.tolist(), f"{source}: id")
    for bad, what in (
        (label < 0, "has no label"),
        (~np.isfinite(p).all(1), "has a probability that is not a number"),
        (((p < 0) | (p > 1)).any(1), "has a probability outside 0 and 1"),
        (abs(p.sum(1) - 1) > TOLERANCE, "has probabilities that do not sum to one"),
    ):
        if bad.any():
            more = f" (and {int(bad.sum()) - 1} more)" if bad.sum() > 1 else ""
            raise DataError(f"{source}: row {int(bad.argmax())}, id {str(ids[bad.argmax()])!r}, {what}{more}")
    refuse_one_class(str(source), classes, label)
    blank = np.full(len(ids), "", dtype=np.str_)
    split = np.full(len(ids), "fit", dtype="<U6")
    samples = LabelledSamples(source.stem, classes, ids, blank, split, ids if groups is None else groups, label)
    return samples, Answers((Answer("given answers", "given answers", log_probability(p)),))


Parts = tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.floating], tuple[str, ...], NDArray[np.str_] | None]


def _read_npz(source: Path) -> Parts:
    arrays = read_arrays(source)
    if "labels" not in arrays:
        raise DataError(f"{source}: no key 'labels' beside 'probabilities'; it has {', '.join(sorted(arrays))}")
    p = arrays["probabilities"]
    width = p.shape[1] if p.ndim == 2 else 0
    names = as_strings(arrays.get("classes", np.arange(width)), f"{source}: classes: ")
    classes = tuple(names.tolist())
    label, _ = encode_labels(arrays["labels"], classes, f"{source}: labels")
    ids = as_strings(arrays["ids"] if "ids" in arrays else np.arange(len(label)), f"{source}: ids: ")
    return ids, label, p, classes, as_strings(arrays["groups"], f"{source}: groups: ") if "groups" in arrays else None


def _read_csv(source: Path) -> Parts:
    frame = read_table(source)
    given = next(name for name in GIVEN if name in frame)
    classes = tuple(name for name in frame if name not in ("id", "split", "group", given))
    numbers = frame[list(classes)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    names = {name: k for k, name in enumerate(classes)}
    label = np.array([names.get(name, -1) for name in frame[given]], dtype=np.int64)
    groups = as_strings(frame["group"]) if "group" in frame else None
    return as_strings(frame["id"]), label, numbers, classes, groups
