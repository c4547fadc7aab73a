"""The page of a run of `labelwise audit`: all that its template and its script fill in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwise.report import audit
from labelwise.report.read import Folder, read_thumbnails
from labelwise.results import AuditResults

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 10_000
MOST_TEXT = 1_500_000
"""Characters of ids on a page: with the pictures it stays under 5 MB."""

MOST_HEAT = 20
"""Classes of a transition matrix that is drawn; of more the commonest confusions are named."""

SORTS = {
    "rank": "rank",
    "id": "id",
    "category": "category",
    "given": "given",
    "suggested": "suggested",
    "score": "score",
    "verdict": "verdict",
    "p_given": "probability of the given label",
    "p_suggested": "probability of the suggestion",
    "agreement": "agreement",
    "decision": "decision",
}
NUMBERS = ("score", "p_given", "p_suggested", "agreement")


def audit_context(results: AuditResults, folder: Folder) -> dict[str, Any]:
    """Return what ``audit.html.j2`` fills in.

    Raises
    ------
    RunError
        If the list is missing or damaged.
    """
    from jinja2.utils import htmlsafe_json_dumps
    from markupsafe import Markup

    from labelwise.results.audit_table import CSV, read_audit_table

    frame = read_audit_table(folder.path)
    shown = _first_rows(frame)
    pictures = read_thumbnails(folder.path, folder.notes)
    data = page_data(results, shown, pictures) | {"key": _digest(folder.path / CSV)}
    many = results.task == "multi-label"
    sorts = {key: title for key, title in SORTS.items() if many or key != "category"}
    script = (resources.files("labelwise.report") / "templates" / "audit.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    heat = results.transition or ()
    return {
        "title": results.name or folder.name,
        "folder": folder,
        "facts": audit.facts_of(results),
        "verdict": audit.verdict_of(results),
        "lines": audit.said_lines(results),
        "tiles": audit.tiles_of(results),
        "warnings": [*results.warnings, *folder.notes],
        "many": many,
        "records": len(shown),
        "hidden": len(frame) - len(shown),
        "sorts": sorts,
        "heads": _heads(sorts, bool(data["pictures"])),
        "numbers": ("rank", *NUMBERS),
        "expected": audit.expected_table(results),
        "verdicts": audit.verdict_table(results),
        "classes": audit.class_table(results, "page"),
        "names": [one.name for one in results.classes],
        "heat": heat if len(heat) <= MOST_HEAT else (),
        "confusions": audit.confusion_table(results),
        "lineage": folder.about.lineage({"Answers": ", ".join(results.answers), "Seed": results.seed}),
        "data": htmlsafe_json_dumps(data, separators=(",", ":")),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
    }


def page_data(results: AuditResults, frame: pd.DataFrame, pictures: dict[str, str]) -> dict[str, Any]:
    """Return what the page's script reads: the rows by column, names and pictures by number, each of them once.

    Parameters
    ----------
    frame : the rows to show, as :func:`labelwise.results.audit_table.read_audit_table` returns them
    pictures : JPEG as base64 by id
    """
    many = results.task == "multi-label"
    classes = [one.name for one in results.classes]
    kinds = {
        "label": ["0", "1"] if many else _names(classes, frame["given"], frame["suggested"]),
        "verdict": _names([name for name in audit.MEANINGS if name in results.verdicts], frame["verdict"]),
        "split": _names([], frame["split"]),
        "category": _names(classes, frame["category"]) if many else [],
    }
    places = {kind: {name: place for place, name in enumerate(names)} for kind, names in kinds.items()}
    columns: dict[str, list[Any]] = {"id": frame["id"].tolist()}
    kind_of = {"given": "label", "suggested": "label", "verdict": "verdict", "split": "split", "category": "category"}
    for key, kind in kind_of.items():
        if key in frame:
            columns[key] = [places[kind].get(value, -1) for value in frame[key]]
    for key in NUMBERS:
        columns[key] = [None if value != value else round(value, 4) for value in frame[key].tolist()]
    there = [name for name in dict.fromkeys(columns["id"]) if name in pictures]
    place = {name: number for number, name in enumerate(there)}
    columns["picture"] = [place.get(name, -1) for name in columns["id"]]
    return {
        "task": results.task,
        "names": kinds,
        "columns": columns,
        "pictures": [pictures[name] for name in there],
        "meanings": audit.MEANINGS,
        "descending": NUMBERS,
    }


def _first_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """As many rows from the top as a page has room for."""
    fits = frame["id"].str.len().cumsum() <= MOST_TEXT
    return frame[fits].head(MOST_ROWS)


def _names(first: Sequence[str], *columns: pd.Series[str]) -> list[str]:
    """Every name once, those that are known before in their order; a blank is no name."""
    found = sorted({name for column in columns for name in column.unique() if name})
    return list(dict.fromkeys([*first, *found]))


def _heads(sorts: dict[str, str], pictures: bool) -> dict[str, str]:
    """The columns of the list; a probability stands as a bar under its label."""
    heads = {key: title for key, title in sorts.items() if not key.startswith("p_")} | {"rank": "#"}
    return {"rank": "#", **({"picture": ""} if pictures else {}), **heads}


def _digest(table: Path) -> str:
    """What a browser keeps decisions under: another list has another one, the same audit run again has the same."""
    return hashlib.sha256(table.read_bytes()).hexdigest()[:16]
