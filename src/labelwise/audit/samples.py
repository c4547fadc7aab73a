"""Whose labels an audit looks at: the labelled samples of all splits whose labels were given and may be wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.wrong_labels import GivenLabels
from labelwise.data.dataset import Dataset, ImageFiles
from labelwise.data.folds import deal
from labelwise.data.splits import rarest_positive, stratified_order
from labelwise.errors import DataError
from labelwise.labels.table import LabelTable
from labelwise.runs import fingerprint


@dataclass(frozen=True)
class LabelledSamples:
    """n samples with one given label each, or with a table of labels.

    Parameters
    ----------
    name : of the data
    classes : K names
    ids : (n,), each once
    path : (n,) of the image file, blank where there is none
    split : (n,) ``fit``, ``select`` or ``test``
    groups : (n,) samples of one group are never on both sides of a fold
    label : (n,) int64, 0 to K - 1; of multi-label data the rarest positive category, -1 without one
    table : of multi-label data
    reviewed : labels that a person has looked at, (n,), or (n, C) of multi-label data; None where nobody has
    uncorrected : labels before any correction, (n,), or (n, C), as in a data set; None where there was none
    """

    name: str
    classes: tuple[str, ...]
    ids: NDArray[np.str_]
    path: NDArray[np.str_]
    split: NDArray[np.str_]
    groups: NDArray[np.str_]
    label: NDArray[np.int64]
    table: LabelTable | None = None
    reviewed: NDArray[np.bool_] | None = None
    uncorrected: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def given(self) -> GivenLabels:
        """The labels of single-label data, and what became of them."""
        if self.reviewed is None or self.uncorrected is None:
            return GivenLabels.plain(self.label)
        return GivenLabels(self.label, self.uncorrected.astype(np.int64), self.reviewed)

    def fingerprint(self) -> str:
        """Hash of ids, labels and classes."""
        return fingerprint([self.ids.tolist(), self.label.tolist(), list(self.classes)])


def audited_rows(dataset: Dataset) -> NDArray[np.int64]:
    """The rows of ``dataset`` that are audited: all with a label, but for those of ``test`` where the data know true
    labels, since ``test`` then has these."""
    labelled = dataset.label >= 0 if dataset.table is None else dataset.table.known.any(1)
    given = np.isin(dataset.split, ["fit", "select"] if dataset.true_label is not None else ["fit", "select", "test"])
    return np.flatnonzero(labelled & given)


def take_audited(dataset: Dataset) -> Dataset:
    """The audited samples alone, in their order, all of them in ``fit``: they are answered over folds of all."""
    rows = audited_rows(dataset)
    if len(rows) == len(dataset):
        return replace(dataset, split=np.full(len(rows), "fit", dtype="<U10"), votes=None)
    return replace(
        dataset,
        ids=dataset.ids[rows],
        groups=dataset.groups[rows],
        label=dataset.label[rows],
        split=np.full(len(rows), "fit", dtype="<U10"),
        source=dataset.source.take(rows),
        true_label=None if dataset.true_label is None else dataset.true_label[rows],
        table=None if dataset.table is None else dataset.table.take(rows),
        true_table=None if dataset.true_table is None else dataset.true_table.take(rows),
        votes=None,
        reviewed=None if dataset.reviewed is None else dataset.reviewed[rows],
        uncorrected=None if dataset.uncorrected is None else dataset.uncorrected[rows],
    )


def labelled_samples(dataset: Dataset, source: str) -> LabelledSamples:
    """The audited samples.

    Parameters
    ----------
    source : of the data, a folder below which files may have the samples' ids as their names

    Raises
    ------
    DataError
        If there are fewer than two classes among their labels, or no category of which both kinds of labels are known.
    """
    rows = audited_rows(dataset)
    label, table = dataset.label[rows], None
    if dataset.table is None:
        refuse_one_class(dataset.name, dataset.classes, label)
    else:
        table = dataset.table.take(rows)
        label = rarest_positive(table)
        positive = table.known & (table.values >= 0.5)
        if not (positive.any(0) & (table.known & ~positive).any(0)).any():
            raise DataError(f"{dataset.name}: an audit needs a category with known positive and known negative labels")
    return LabelledSamples(
        dataset.name,
        dataset.classes,
        dataset.ids[rows],
        _paths(dataset, rows, Path(source)),
        dataset.split[rows],
        dataset.groups[rows],
        label,
        table,
        None if dataset.reviewed is None else dataset.reviewed[rows],
        None if dataset.uncorrected is None else dataset.uncorrected[rows],
    )


def refuse_one_class(name: str, classes: tuple[str, ...], label: NDArray[np.int64]) -> None:
    """Where all labels are alike, none of them can be doubted."""
    found = np.unique(label)
    if len(found) < 2:
        what = f"all {len(label)} labels are {classes[found[0]]!r}" if len(found) else "no sample has a label"
        raise DataError(f"{name}: {what}; an audit needs labels of at least two classes")


def draw_folds(samples: LabelledSamples, count: int, seed: int) -> NDArray[np.int64]:
    """The fold (n,) of every sample, from 0: of about equal size, stratified by label, no group parted.

    Raises
    ------
    DataError
        If there are fewer groups than folds.
    """
    order = stratified_order(samples.label, samples.groups, seed, "folds")
    if len(order) < count:
        raise DataError(f"{samples.name}: --folds {count}: there are only {len(order)} groups of samples; set fewer")
    return deal(order, count)


def _paths(dataset: Dataset, rows: NDArray[np.int64], folder: Path) -> NDArray[np.str_]:
    """Decoded images have left their files; where ids are names below the source's folder, they lead back."""
    if isinstance(dataset.source, ImageFiles):
        return np.array([str(dataset.source.paths[row]) for row in rows], dtype=np.str_)
    ids = dataset.ids[rows].tolist()
    if folder.is_dir() and ids and (folder / ids[0]).is_file():
        return np.array([str(folder / name) for name in ids], dtype=np.str_)
    return np.full(len(rows), "", dtype=np.str_)
