"""A plan for a terminal: what ``labelwise refine DATA --budget TIME --plan`` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from labelwise.refinery.plan import duration


def plan_table(content: dict[str, Any]) -> Group:
    """Networks, epochs and expected times of a plan, and what a larger budget would add.

    Parameters
    ----------
    content : of ``plan.json``
    """
    budget, seeds = content["budget"], content["seeds"]
    timed = budget["unit"] == "seconds"
    table = Table("network", "epochs", "labelled by", "expected time", title="plan", title_justify="left")
    if not timed:
        table = Table("network", "epochs", "labelled by", title="plan", title_justify="left")
    for one in content["networks"]:
        labels = f"{one['refineries']} network{'s' if one['refineries'] > 1 else ''}" if one["refineries"] else "given"
        epochs = str(one["epochs"]) if one["epochs"] else "closed form"
        table.add_row(one["name"], epochs, labels, *([duration(one["cost"])] if timed else []))
    total = duration(content["expected"]) if timed else f"{content['expected']:,.0f} epochs"
    each = f", {seeds} seeds" if seeds > 1 else ""
    lines = [f"total: {total} of {budget['given']}{each}"]
    if content["left_out"]:
        lines.append("a larger budget adds, in this order (keys of the recipe):")
        lines += [f"  {step['adds']} ({step['keys']})" for step in content["left_out"]]
    else:
        lines.append("this is the largest plan; a larger budget adds nothing")
    return Group(table, Text("\n".join(lines)))
