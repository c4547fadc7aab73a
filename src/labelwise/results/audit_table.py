"""The ranked list of an audit: ``audit.csv`` and ``audit.parquet``, one row a label, the likeliest wrong one first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from labelwise.errors import RunError
from labelwise.runs import atomic_write

CSV, PARQUET = "audit.csv", "audit.parquet"

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
        In one line, if the file is missing, damaged, or lacks a column.
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
    return frame
