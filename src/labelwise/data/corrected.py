"""Labels that say whence they are: the table that ``labelwise audit apply`` writes, as ``data.labels.file``.

===============  ====================================================================================================
single-label     columns ``id``, ``label`` (the name of a class), ``provenance`` and ``first``
multi-label      ``id``; for each category ``edema`` (1, 0, or blank: unknown), ``edema:provenance``, ``edema:first``
===============  ====================================================================================================

The provenance is ``given``, ``reviewed`` (a person has looked), ``inferred`` (by the audit alone), or blank where there
is no label. ``first`` is the label before any correction, blank where it is not known; the column may be missing. The
table is laid over a data set that is split already, so that corrections move no sample between splits.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.config import LabelColumnConfig
from labelwise.data.dataset import UNLABELLED, Dataset
from labelwise.data.files import as_strings, refuse_repeated
from labelwise.data.tables import read_table
from labelwise.errors import DataError
from labelwise.labels.table import GIVEN, INFERRED
from labelwise.results.audit_table import PROVENANCES

PROVENANCE, FIRST = "provenance", "first"

Rows = NDArray[np.int64]

_CELLS = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}


def provenance_column(category: str) -> str:
    """The name of the column that says whence the labels of ``category`` are."""
    return f"{category}:{PROVENANCE}"


def first_column(category: str) -> str:
    """The name of the column of the labels of ``category`` before any correction."""
    return f"{category}:{FIRST}"


def read_corrected(config: LabelColumnConfig | None) -> CorrectedLabels | None:
    """The table of ``data.labels``, if it has a provenance; None for any other file.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind.
    """
    if config is None or Path(config.file).suffix.lower() == ".npz":
        return None
    frame = read_table(Path(config.file))
    names = [str(name) for name in frame.columns]
    told = any(name == PROVENANCE or name.endswith(f":{PROVENANCE}") for name in names)
    return CorrectedLabels(Path(config.file), frame) if told else None


@dataclass(frozen=True)
class CorrectedLabels:
    """A table of labels with their provenance, as it is read; ``path`` is for messages."""

    path: Path
    frame: pd.DataFrame

    def lay_over(self, dataset: Dataset, all_ids: NDArray[np.str_]) -> Dataset:
        """``dataset`` with these labels.

        - Reviewed labels count in every split, but for ``test`` where its true labels are known. ``Dataset.reviewed``
          remembers them. An unlabelled sample that was reviewed joins ``fit``.
        - Other labels count in ``fit`` and ``select``. ``test`` is never scored against an inferred label.
        - Inferred labels of multi-label data are ``INFERRED`` in the table: they are learnt, and no score counts them.
        - Samples that the table does not name keep their labels. What was hidden or known as true stays so.
        - ``Dataset.uncorrected`` keeps what was given first: what the table says, or else the data. Without a word of
          the table, and if its given labels are others than those of the data, it is not known of corrected ones.

        Parameters
        ----------
        all_ids : (M,) of all samples of the source, also of those that limits leave out

        Raises
        ------
        DataError
            Naming the file and the column or the id: a missing column, a repeated id, a label that is no class, an
            unknown provenance, a class without a sample to learn from; if no id is one of the data.
        """
        ids = self._column("id")
        refuse_repeated(ids.tolist(), f"{self.path}: id")
        foreign = ~np.isin(ids, all_ids)
        if foreign.all():
            some = str(all_ids[0])
            raise DataError(f"{self.path}: no id is one of {dataset.name}, such as {some!r}; is it of other data?")
        if foreign.any():
            told = f"{foreign.sum():,} of {len(ids):,} ids are not in {dataset.name}"
            print(f"warning: {self.path}: {told}", file=sys.stderr)
        place = {name: row for row, name in enumerate(dataset.ids.tolist())}
        rows = np.array([place.get(name, -1) for name in ids.tolist()], dtype=np.int64)
        there = dataclasses.replace(self, frame=self.frame[rows >= 0])
        lay = there._classes if dataset.table is None else there._cells
        return lay(dataset, rows[rows >= 0])

    def _classes(self, dataset: Dataset, rows: Rows) -> Dataset:
        """The table has a line for each of ``rows`` (m,) of the data set."""
        names = self._column("label")
        kinds = self._kinds(PROVENANCE, names)
        own = self._indices(names, dataset, rows)
        counts = _counts(dataset, rows, kinds)
        label, uncorrected = dataset.label.copy(), dataset.label.copy()
        label[rows[counts]] = own[counts]
        reviewed = np.zeros(len(dataset), dtype=bool)
        reviewed[rows] = kinds == "reviewed"
        split = _with_reviewed(dataset, reviewed)
        before = set(dataset.label[dataset.split == "fit"].tolist()) - {-1}
        if lost := sorted(before - set(label[split == "fit"].tolist())):
            raise DataError(f"{self.path}: leaves no sample of class {dataset.classes[lost[0]]!r} to learn it from")
        given = rows[counts & (kinds == "given")]
        if FIRST in self.frame:
            uncorrected[rows[counts]] = self._indices(self._column(FIRST), dataset, rows)[counts]
        elif (label[given] != uncorrected[given]).any():
            uncorrected = label.copy()
            uncorrected[rows[counts & (kinds != "given")]] = -1
        return dataclasses.replace(dataset, label=label, split=split, reviewed=reviewed, uncorrected=uncorrected)

    def _indices(self, names: NDArray[np.str_], dataset: Dataset, rows: Rows) -> Rows:
        """Classes (m,) by name, -1 for a blank."""
        index = {"": -1, **{name: k for k, name in enumerate(dataset.classes)}}
        if (unknown := np.flatnonzero([name not in index for name in names.tolist()])).size:
            some = ", ".join(dataset.classes[:10]) + (", ..." if len(dataset.classes) > 10 else "")
            what, of = str(names[unknown[0]]), str(dataset.ids[rows[unknown[0]]])
            raise DataError(f"{self.path}: label {what!r} of {of!r} is not a class: {some}")
        return np.array([index[name] for name in names.tolist()], dtype=np.int64)

    def _cells(self, dataset: Dataset, rows: Rows) -> Dataset:
        """As :meth:`_classes`; given labels are those of the data, and only corrected ones are read."""
        assert dataset.table is not None
        values, source, uncorrected = dataset.table.values.copy(), dataset.table.source.copy(), dataset.table.given()
        reviewed = np.zeros(values.shape, dtype=bool)
        for c, category in enumerate(dataset.classes):
            cells = self._column(category)
            kinds = self._kinds(provenance_column(category), cells)
            changed = np.flatnonzero(_counts(dataset, rows, kinds) & np.isin(kinds, ["reviewed", "inferred"]))
            values[rows[changed], c] = self._values(cells[changed], category, dataset.ids[rows[changed]])
            if first_column(category) in self.frame:
                first = self._column(first_column(category))[changed]
                known = first != ""
                uncorrected[rows[changed], c] = np.nan
                uncorrected[rows[changed[known]], c] = self._values(
                    first[known], first_column(category), dataset.ids[rows[changed[known]]]
                )
            source[rows[changed], c] = np.where(kinds[changed] == "reviewed", GIVEN, INFERRED)
            reviewed[rows, c] = kinds == "reviewed"
        table = dataclasses.replace(dataset.table, values=values, source=source)
        split = _with_reviewed(dataset, reviewed)
        return dataclasses.replace(dataset, table=table, split=split, reviewed=reviewed, uncorrected=uncorrected)

    def _values(self, cells: NDArray[np.str_], column: str, ids: NDArray[np.str_]) -> list[float]:
        """Labels of one category as numbers."""
        for cell, name in zip(cells.tolist(), ids.tolist(), strict=True):
            if cell not in _CELLS:
                raise DataError(f"{self.path}: {column!r} of {name!r} is {cell!r}, expected 1 or 0")
        return [_CELLS[cell] for cell in cells.tolist()]

    def _column(self, name: str) -> NDArray[np.str_]:
        """A column as text (m,), blanks as ""."""
        if name not in self.frame:
            there = ", ".join(map(str, self.frame.columns[:10]))
            raise DataError(f"{self.path}: no column {name!r}; it has {there}")
        return as_strings(self.frame[name].astype(object).where(self.frame[name].notna(), ""))

    def _kinds(self, name: str, labels: NDArray[np.str_]) -> NDArray[np.str_]:
        """The provenances (m,) in column ``name`` of ``labels``."""
        kinds = self._column(name)
        if (bad := np.flatnonzero(~np.isin(kinds, ["", *PROVENANCES]))).size:
            raise DataError(f"{self.path}: {name} {str(kinds[bad[0]])!r}, expected {', '.join(PROVENANCES)} or blank")
        if (bad := np.flatnonzero((kinds == "") != (labels == ""))).size:
            of = str(self._column("id")[bad[0]])
            raise DataError(f"{self.path}: {of!r} has a label without its {name}, or the other way round")
        return kinds


def _counts(dataset: Dataset, rows: Rows, kinds: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which lines (m,) of the table count."""
    split = dataset.split[rows]
    truth = (split == "test") & (dataset.true_label is not None)
    return (np.isin(split, ["fit", "select"]) & (kinds != "")) | ((kinds == "reviewed") & ~truth)


def _with_reviewed(dataset: Dataset, reviewed: NDArray[np.bool_]) -> NDArray[np.str_]:
    """The split (N,) where unlabelled samples with a ``reviewed`` label have joined ``fit``."""
    looked_at = reviewed if reviewed.ndim == 1 else reviewed.any(axis=1)
    return np.where(looked_at & (dataset.split == UNLABELLED), "fit", dataset.split)
