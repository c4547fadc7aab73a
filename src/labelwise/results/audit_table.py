"""The ranked list of an audit: ``audit.csv`` and ``audit.parquet``, one row a label, the likeliest wrong one first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from labelwise.errors import RunError
from labelwise.results.audit import AuditResults
from labelwise.results.files import read_results_as
from labelwise.runs import atomic_write

CSV, PARQUET = "audit.csv", "audit.parquet"

PROVENANCES = ("given", "reviewed", "inferred")

COLUMNS: dict[str, str] = {
    "rank": "int64",
    "id": "object",
    "path": "object",
    "split": "object",
    "category": "object",
    "given": "object",
    "suggested": "object",
    "score": "float64",
    "verdict": "object",
    "p_given": "float64",
    "p_suggested": "float64",
    "agreement": "float64",
    "provenance": "object",
    "first": "object",
}
"""Columns and their types. ``category`` is there for multi-label data alone, where a row is a cell and ``given`` and
``suggested`` are 1, 0 or, for an unknown label, blank. ``path`` is blank where a sample has no file. ``score`` is the
calibrated probability that the given label is wrong, blank for an unknown label; ``agreement`` the share of answers
(networks and views) for which ``suggested`` is the likeliest. ``provenance`` is ``given``, ``reviewed`` or
``inferred``, blank for an unknown label, and ``first`` the label before any correction, blank where it is not known."""


def write_audit_table(folder: Path, frame: pd.DataFrame) -> None:
    """Write both files, whole or not at all; the rows are in the order of ``rank``, from 1.

    Raises
    ------
    RunError
        If the folder cannot be written.
    """
    wanted = [name for name in COLUMNS if name in frame or name != "category"]
    frame = frame[wanted].astype({name: COLUMNS[name] for name in wanted})
    text = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    atomic_write(folder / CSV, text.encode("utf-8", errors="surrogateescape"))
    sound = frame.assign(**{name: frame[name].map(_sound) for name in ("id", "path")})
    atomic_write(folder / PARQUET, lambda file: sound.to_parquet(file, index=False))


def _sound(name: str) -> str:
    """A file name as Parquet can hold it: a byte that is no UTF-8 becomes a replacement character."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read_audit_table(folder: Path) -> pd.DataFrame:
    """The list of a finished audit, from its CSV file, with text as text (a class ``NA`` stays so).

    Raises
    ------
    RunError
        In one line, if the file is missing, damaged, or lacks a column, or if it is not the list that ``results.json``
        sums up: cut off, of another audit, or changed by hand in more than the order of its rows.
    """
    path = folder / CSV
    text: dict[Any, Any] = {name: object for name, kind in COLUMNS.items() if kind == "object"}
    blank = {name: [""] for name, kind in COLUMNS.items() if kind == "float64"}
    try:
        frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=blank, encoding_errors="surrogateescape")
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; is this the folder of `labelwise audit`?") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged ({error})") from None
    missing = [name for name in COLUMNS if name not in frame and name != "category"]
    if missing:
        raise RunError(f"{path}: no column {missing[0]!r}; it has {', '.join(map(str, frame.columns))}")
    if problem := _problem(frame, read_results_as(folder, AuditResults)):
        again = f"start the audit again, or take the list from a copy or from {PARQUET}"
        raise RunError(f"{path}: {problem}; {again}. Corrections are a table of their own")
    return frame


def _problem(frame: pd.DataFrame, results: AuditResults) -> str | None:
    """What is wrong with the list of an audit that ended in ``results``."""
    if len(frame) != (total := sum(results.verdicts.values())):
        return f"has {len(frame):,} labels, the audit had {total:,}"
    for name in (name for name, kind in COLUMNS.items() if kind != "object"):
        if not pd.api.types.is_numeric_dtype(frame[name]):
            return f"column {name!r} holds text"
    labels = {"1", "0"} if results.task == "multi-label" else {entry.name for entry in results.classes}
    allowed = {"given": labels, "suggested": labels, "verdict": set(results.verdicts), "provenance": set(PROVENANCES)}
    for name, values in allowed.items():
        if odd := sorted(set(frame[name]) - values - {""}):
            return f"{name} {odd[0]!r} is not one of this audit"
    own = [name for name in ("id", "category") if name in frame]
    if frame.duplicated(own).any():
        return f"the label of {frame['id'][frame.duplicated(own)].iloc[0]!r} is in it twice"
    return None
