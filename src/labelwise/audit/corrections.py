"""``labelwise audit apply``: the labels of an audit with a reviewer's corrections, or with the surest suggestions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.audit.exchange import read_export
from labelwise.audit.finished import NEGATIVE, POSITIVE, Correction, FinishedAudit
from labelwise.data.corrected import FIRST, PROVENANCE, first_column, provenance_column
from labelwise.data.files import as_strings
from labelwise.data.tables import read_table
from labelwise.errors import DataError, RunError
from labelwise.runs import write_new

DECISIONS = ("accept", "reject", "other", "skip", "")
"""What a column ``decision`` may say. The label may be left out with ``accept``, which means the suggested one, and
with ``reject``, which means the given one; ``skip`` leaves a row aside."""

_NUMBERS = {"1.0": POSITIVE, "0.0": NEGATIVE}  # where a Parquet column of numbers has blanks


@dataclass(frozen=True)
class CorrectedTable:
    """What is written, and how many labels differ from those of the audit or were confirmed by it, of how many."""

    frame: pd.DataFrame
    reviewed: int
    inferred: int
    confirmed: int
    total: int

    def in_words(self) -> str:
        """For the terminal."""
        both = f" ({self.reviewed:,} reviewed, {self.inferred:,} inferred)" if self.reviewed and self.inferred else ""
        changed = self.reviewed + self.inferred
        return f"{changed:,} labels changed{both}, {self.confirmed:,} confirmed, of {self.total:,}"


def read_corrections(path: Path, audit: FinishedAudit) -> list[Correction]:
    """Corrections from a table, or from what Label Studio or FiftyOne export (.json).

    A table has the columns ``id`` and ``label``, of multi-label data ``category`` too, and perhaps ``decision``. With a
    provenance it is a table of :func:`apply_corrections`, of which the reviewed labels are taken.

    Raises
    ------
    DataError
        In one line: a file that is missing, damaged, empty or of another kind, a missing column, an unknown id, class
        or decision.
    """
    if path.suffix.lower() == ".json":
        found = read_export(path, audit)
    else:
        frame = read_table(path)
        frame.columns = frame.columns.map(str)
        frame = frame.astype(object).where(frame.notna(), "")
        wide = [category for category in audit.classes if provenance_column(category) in frame]
        found = _reviewed_cells(frame, path, wide) if audit.multi_label and wide else _rows(frame, path, audit)
    if not found:
        raise DataError(f"{path}: holds no corrections")
    for correction in found:
        audit.check(correction, str(path))
    return found


def apply_corrections(audit: FinishedAudit, corrections: Sequence[Correction], above: float | None) -> CorrectedTable:
    """The labels of every audited sample, by id, with corrections.

    Parameters
    ----------
    corrections : of a reviewer, who has the last word
    above : where a score is at least that, the suggestion is taken; None: nowhere

    Raises
    ------
    DataError
        If one label is corrected in two ways.
    """
    if audit.multi_label and "id" in audit.classes:
        raise DataError(f"{audit.folder}: a category is called 'id', as the column of ids; rename it")
    table, categories = audit.table, audit.classes if audit.multi_label else ("",)
    rows, ids = pd.factorize(table["id"], sort=True)
    columns = table["category"].map({name: c for c, name in enumerate(categories)}) if audit.multi_label else rows * 0
    given, kind, first = (np.full((len(ids), len(categories)), "", dtype=object) for _ in range(3))
    for array, column in ((given, "given"), (kind, "provenance"), (first, "first")):
        array[rows, columns] = table[column]
    label, decided_here = given.copy(), np.zeros(given.shape, dtype=bool)
    if above is not None:
        sure = (
            (table["score"] >= above) & (table["suggested"] != "") & (table["suggested"] != table["given"])
        ).to_numpy()
        where = rows[sure], np.asarray(columns)[sure]
        label[where], kind[where] = table["suggested"][sure], "inferred"
    for (name, category), decided in _one_each(corrections).items():
        where = ids.get_loc(name), categories.index(category)
        label[where], kind[where], decided_here[where] = decided, "reviewed", True
    differs = label != given
    return CorrectedTable(
        _frame(ids, label, kind, first, audit),
        reviewed=int((differs & decided_here).sum()),
        inferred=int((differs & ~decided_here).sum()),
        confirmed=int((~differs & decided_here).sum()),
        total=len(table),
    )


def write_labels(found: CorrectedTable, out: Path) -> None:
    """Write ``labels.csv``, which ``data.labels.file`` of a recipe takes.

    Raises
    ------
    RunError
        If ``out`` is no .csv file, or holds anything else already.
    """
    content = found.frame.to_csv(index=False, lineterminator="\n").encode("utf-8", errors="surrogateescape")
    if out.suffix.lower() != ".csv":
        raise RunError(f"--out {out}: expected a .csv file")
    write_new({out: content})


def _rows(frame: pd.DataFrame, path: Path, audit: FinishedAudit) -> list[Correction]:
    """A correction for each row of a table, but for those that are skipped or were not reviewed."""
    for name in ("id", "category", "label") if audit.multi_label else ("id", "label"):
        if name not in frame:
            raise DataError(f"{path}: no column {name!r}; it has {', '.join(frame.columns[:10])}")
    if not audit.multi_label and "category" in frame:
        raise DataError(f"{path}: has a column 'category', but the audit is of one class per sample ({audit.folder})")
    if PROVENANCE in frame:
        frame = frame[frame[PROVENANCE] == "reviewed"]
    found = []
    columns = (_text(frame, name) for name in ("id", "label", "category", "decision"))
    for name, label, category, decision in zip(*columns, strict=True):
        if decision not in DECISIONS:
            raise DataError(f"{path}: decision {decision!r} of {name!r} is not one of {', '.join(DECISIONS[:-1])}")
        if label == "" and decision in ("accept", "reject"):
            label = audit.listed(name, category, "suggested" if decision == "accept" else "given")
        if decision != "skip":
            found.append(Correction(name, _NUMBERS.get(label, label) if audit.multi_label else label, category))
    return found


def _reviewed_cells(frame: pd.DataFrame, path: Path, categories: Sequence[str]) -> list[Correction]:
    """The reviewed labels of a table that :func:`apply_corrections` made of multi-label data."""
    found = []
    for category in categories:
        if "id" not in frame or category not in frame:
            raise DataError(f"{path}: has no column 'id', or none {category!r} beside {provenance_column(category)!r}")
        own = frame[frame[provenance_column(category)] == "reviewed"]
        pairs = zip(_text(own, "id"), _text(own, category), strict=True)
        found += [Correction(name, _NUMBERS.get(label, label), category) for name, label in pairs]
    return found


def _text(frame: pd.DataFrame, name: str) -> list[str]:
    """The column as text; blanks where there is none."""
    return as_strings(frame[name]).tolist() if name in frame else [""] * len(frame)


def _one_each(corrections: Sequence[Correction]) -> dict[tuple[str, str], str]:
    """The label by id and category."""
    found: dict[tuple[str, str], str] = {}
    for one in corrections:
        before = found.setdefault((one.id, one.category), one.label)
        if before != one.label:
            of = f"{one.category!r} of {one.id!r}" if one.category else repr(one.id)
            raise DataError(f"corrections: {of} is corrected to {before!r} and to {one.label!r}; keep one of them")
    return found


def _frame(
    ids: pd.Index,
    label: NDArray[np.object_],
    kind: NDArray[np.object_],
    first: NDArray[np.object_],
    audit: FinishedAudit,
) -> pd.DataFrame:
    columns = {"id": ids}
    for c, category in enumerate(audit.classes if audit.multi_label else ("label",)):
        of_kind, of_first = (
            (provenance_column(category), first_column(category)) if audit.multi_label else (PROVENANCE, FIRST)
        )
        columns |= {category: label[:, c], of_kind: kind[:, c], of_first: first[:, c]}
    return pd.DataFrame(columns)
