"""What a run says of its zero-shot network: the categories that it labels beside the refineries, and why not others."""

from __future__ import annotations

from labelwise.report.formats import several, short
from labelwise.report.table import Column, Row, Table
from labelwise.results import RefineResults
from labelwise.results.refine import ZeroShotCategory

MOST_NAMES = 12


def judged(results: RefineResults) -> tuple[str, tuple[ZeroShotCategory, ...]] | None:
    """Return the last generation that was offered the zero-shot network, and its judgement; None without one."""
    rows = [row for row in results.rows if row.role == "generation" and row.zero_shot is not None]
    return (rows[-1].name, rows[-1].zero_shot or ()) if rows else None


def zero_shot_lines(results: RefineResults) -> list[str]:
    """Return where the network is adopted, and a line for each reason of a refusal, with the categories."""
    found = judged(results)
    if found is None:
        return []
    name, categories = found
    adopted = [one.category for one in categories if one.adopted]
    where = f"labels {len(adopted)} of {several(len(categories), 'category', 'categories')} of {name}"
    lines = [f"Zero-shot network: {where}" + (f": {_names(adopted)}." if adopted else ".")]
    for reason in dict.fromkeys(one.reason for one in categories if not one.adopted):
        refused = [one.category for one in categories if not one.adopted and one.reason == reason]
        lines.append(f"Zero-shot network refused, {reason}: {_names(refused)}.")
    return lines


def zero_shot_table(results: RefineResults) -> Table | None:
    """Return what the adoption of every category rests on; None where there is no zero-shot network."""
    found = judged(results)
    if found is None:
        return None
    columns = [
        Column("category", right=False),
        Column("refused because", right=False),
        Column("fit", hint="known positives or negatives in fit, whichever are fewer, in groups"),
        Column("select", hint="the same in select"),
        Column("gain", short, hint="log-likelihood of a known label of select with the network minus without, in nats"),
        Column("± error", short, hint="standard error of the gain"),
        Column("errors needed", short, hint="how many standard errors the gain must be above zero"),
    ]
    rows = [
        Row(
            [one.category, one.reason, one.fit, one.select, one.difference, one.error, one.needed],
            marked=one.adopted,
        )
        for one in found[1]
    ]
    return Table(columns, rows, f"{found[0]}, last seed", mark="adopted")


def _names(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
