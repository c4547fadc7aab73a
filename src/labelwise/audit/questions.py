"""What a reviewer is asked in another tool: the samples at the top of an audit's list, each once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from labelwise.audit.finished import POSITIVE, FinishedAudit
from labelwise.errors import RunError


@dataclass(frozen=True)
class Question:
    """One sample.

    Parameters
    ----------
    path : of its image, from the root folder on
    given, suggested : classes; of multi-label data those that are present
    verdict : in words, of multi-label data by category
    score : the probability that a given label is wrong, of several the highest; None where none is known
    """

    id: str
    path: str
    given: tuple[str, ...]
    suggested: tuple[str, ...]
    verdict: str
    score: float | None


def questions(audit: FinishedAudit, root: Path, first: int | None = None) -> list[Question]:
    """The samples whose labels the audit does not call correct, the most doubtful first.

    Parameters
    ----------
    root : the folder that images are named from
    first : how many samples at most

    Raises
    ------
    RunError
        If there is nothing to ask, or a sample is no image file, or its file is outside ``root``.
    """
    table = audit.table
    wanted = (
        table.loc[table["verdict"] != "correct", "id"].drop_duplicates().head(len(table) if first is None else first)
    )
    if wanted.empty:
        raise RunError(f"{audit.folder}: every label is correct by its verdict; there is nothing to review")
    by_sample = dict(iter(table[table["id"].isin(set(wanted))].groupby("id", sort=False)))
    ask = _of_many if audit.multi_label else _of_one
    return [ask(name, _inside(audit, by_sample[name]["path"].iloc[0], root), by_sample[name]) for name in wanted]


def _of_one(name: str, path: str, rows: pd.DataFrame) -> Question:
    row = rows.iloc[0]
    given = (row["given"],) if row["given"] else ()
    return Question(name, path, given, (row["suggested"],), row["verdict"], _highest(rows))


def _of_many(name: str, path: str, rows: pd.DataFrame) -> Question:
    doubted = rows[rows["verdict"] != "correct"]
    best = rows["given"].where(rows["verdict"] == "correct", rows["suggested"])
    verdict = "; ".join(f"{row.category}: {row.verdict}" for row in doubted.itertuples())
    given, suggested = (tuple(rows.loc[label == POSITIVE, "category"]) for label in (rows["given"], best))
    return Question(name, path, given, suggested, verdict, _highest(doubted))


def _highest(rows: pd.DataFrame) -> float | None:
    score = rows["score"].max()
    return None if pd.isna(score) else float(score)


def _inside(audit: FinishedAudit, path: str, root: Path) -> str:
    """The path from the root folder on."""
    if not path:
        raise RunError(f"{audit.folder}: its samples are no image files, which other tools could show")
    try:
        return Path(path).absolute().relative_to(root.absolute()).as_posix()
    except ValueError:
        raise RunError(f"--root {root}: {path} is not in this folder") from None
