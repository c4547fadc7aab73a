"""A finished audit, as corrections and other tools see it: its list, its classes, and its samples by id or by file."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pandas as pd

from labelwise.errors import DataError
from labelwise.results import AuditResults
from labelwise.results.audit_table import read_audit_table
from labelwise.results.files import read_results_as

POSITIVE, NEGATIVE = "1", "0"
"""How a label of multi-label data is written."""

SURE = ("correct", "suggestion")
"""Verdicts that ask a reviewer for nothing."""


@dataclass(frozen=True)
class Correction:
    """What a reviewer says: the class of a sample; of multi-label data, 1 or 0 for one of its categories."""

    id: str
    label: str
    category: str = ""


@dataclass(frozen=True)
class FinishedAudit:
    """The folder of an audit that has ended; made by :func:`open_audit`.

    Parameters
    ----------
    table : the ranked list, see :mod:`labelwise.results.audit_table`
    """

    folder: Path
    multi_label: bool
    classes: tuple[str, ...]
    table: pd.DataFrame

    @cached_property
    def ids(self) -> frozenset[str]:
        """Ids of the audited samples."""
        return frozenset(self.table["id"])

    def listed(self, name: str, category: str, column: str) -> str:
        """What a column of the list says of a label; blank where the label is not in the list."""
        row = self._row.get((name, category))
        return "" if row is None else str(self.table[column].iloc[row])

    @cached_property
    def _row(self) -> dict[tuple[str, str], int]:
        categories = self.table["category"] if self.multi_label else [""] * len(self.table)
        return {key: row for row, key in enumerate(zip(self.table["id"], categories, strict=True))}

    @cached_property
    def files(self) -> dict[str, str]:
        """Id by path, of the samples that are image files."""
        return {path: name for path, name in zip(self.table["path"], self.table["id"], strict=True) if path}

    @cached_property
    def root(self) -> PurePosixPath:
        """The folder that all image files have in common; "." where there are none, or they have nothing in common."""
        folders = {str(PurePosixPath(path).parent) for path in self.files}
        absolute = {folder.startswith("/") for folder in folders}
        return PurePosixPath(os.path.commonpath(folders)) if len(absolute) == 1 else PurePosixPath()

    def find(self, name: str, where: str) -> str:
        """The id of a sample that another tool names: by its id, or by its file, with its extension or without.

        Parameters
        ----------
        name : an id, or a path of which the end is enough if no other image has the same
        where : is named in the message

        Raises
        ------
        DataError
            If no sample, or several, have that name.
        """
        if name in self.ids:
            return name
        given = PurePosixPath(name)
        exact, by_name = self._places
        if len(own := exact.get(given, set())) == 1:
            return next(iter(own))
        found = {known for parts, known in by_name[given.name] if _end_alike(parts, given.parts)}
        found = found or {known for parts, known in by_name[given.stem] if _end_alike(parts[:-1], given.parts[:-1])}
        if len(found) != 1:
            problem = "the name of several images" if found else "not a sample of the audit"
            raise DataError(f"{where}: {name!r} is {problem} ({self.folder})")
        return found.pop()

    @cached_property
    def _places(self) -> tuple[dict[PurePosixPath, set[str]], dict[str, list[tuple[tuple[str, ...], str]]]]:
        """Ids by the path from the root on, and by the name of the file, both with its extension and without."""
        exact: dict[PurePosixPath, set[str]] = defaultdict(set)
        by_name: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
        for path, known in self.files.items():
            whole = PurePosixPath(path)
            for one in (whole, whole.with_suffix("")):
                exact[one.relative_to(self.root)].add(known)
                by_name[one.name].append((one.parts, known))
        return exact, by_name

    def corrections(self, name: str, chosen: list[str], where: str) -> list[Correction]:
        """What it means that a reviewer has chosen some classes for the sample ``name``.

        Of multi-label data these are present. Absent are, of the others, those that were given as present and those
        whose label the audit doubts; nothing is said of the rest, which a reviewer may not have thought of.

        Raises
        ------
        DataError
            For a class that does not exist, or two of them for one sample of single-label data.
        """
        for label in chosen:
            if label not in self.classes:
                raise DataError(f"{where}: {label!r} of {name!r} is not one of {self._some_classes}")
        if not self.multi_label:
            if len(set(chosen)) > 1:
                raise DataError(f"{where}: {name!r} has several classes, {' and '.join(chosen[:2])}; choose one")
            return [Correction(name, label) for label in chosen[:1]]
        present = [Correction(name, POSITIVE, category) for category in dict.fromkeys(chosen)]
        absent = [category for category in self._questions.get(name, []) if category not in chosen]
        return present + [Correction(name, NEGATIVE, category) for category in absent]

    @cached_property
    def _questions(self) -> dict[str, list[str]]:
        """Categories by id that were given as present, or whose label is doubted."""
        doubted = (self.table["given"] == POSITIVE) | ~self.table["verdict"].isin(SURE)
        rows = self.table[doubted]
        found: dict[str, list[str]] = defaultdict(list)
        for name, category in zip(rows["id"], rows["category"], strict=True):
            found[name].append(category)
        return found

    def check(self, correction: Correction, where: str) -> None:
        """Refuse a correction of an unknown sample, category or label with a DataError; it begins with ``where``."""
        if correction.id not in self.ids:
            raise DataError(f"{where}: {correction.id!r} is not a sample of the audit ({self.folder})")
        if self.multi_label and correction.category not in self.classes:
            of = f"category {correction.category!r} of {correction.id!r}"
            raise DataError(f"{where}: {of} is not one of {self._some_classes}")
        labels = (POSITIVE, NEGATIVE) if self.multi_label else self.classes
        if correction.label not in labels:
            some = "1 or 0" if self.multi_label else self._some_classes
            raise DataError(f"{where}: label {correction.label!r} of {correction.id!r} is not one of {some}")

    @property
    def _some_classes(self) -> str:
        return ", ".join(self.classes[:10]) + (", ..." if len(self.classes) > 10 else "")


def open_audit(folder: Path) -> FinishedAudit:
    """Read the folder of ``labelwise audit``.

    Raises
    ------
    RunError
        In one line, if it is not that of a finished audit, or damaged.
    """
    results = read_results_as(folder, AuditResults)
    names = tuple(entry.name for entry in results.classes)
    return FinishedAudit(folder, results.task == "multi-label", names, read_audit_table(folder))


def _end_alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    length = min(len(one), len(other))
    return length == 0 or one[-length:] == other[-length:]
