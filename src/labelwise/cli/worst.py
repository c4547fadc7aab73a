"""The top of an audit's list, for a terminal."""

from __future__ import annotations

from pathlib import Path

from labelwise.report.table import Column, Row, Table
from labelwise.results.audit_table import read_audit_table

SHOWN = 10


def worst_table(folder: Path) -> Table:
    """The first labels of the list in the folder of a finished audit."""
    frame = read_audit_table(folder)
    names = ["category"] if "category" in frame else []
    columns = [Column(name, right=False) for name in ("id", *names, "given", "suggested")]
    columns += [Column("score", lambda value: f"{value:.3f}"), Column("verdict", right=False)]
    shown = [column.title for column in columns]
    rows = [Row(values) for values in frame[shown].head(SHOWN).itertuples(index=False, name=None)]
    return Table(columns, rows, f"First {len(rows)} of {len(frame):,} labels")
