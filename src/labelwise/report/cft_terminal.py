"""A run of category-wise fine-tuning on a terminal."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from labelwise.report import cft_summary
from labelwise.report.cft_read import STATUS_TITLES, Category, CftResults, parse_results
from labelwise.results import EnsembleResults

CFT_WIDTH = 100
"""Columns of a terminal that the table needs."""

MOST_ROWS = 40
MOST_WARNINGS = 8
MOST_REASONS = 3
MOST_NAMES = 5
STYLES = {"improved": "green", "unchanged": "dim", "not_fitted": "yellow"}


def cft_table(results: dict[str, Any]) -> Table:
    """Return the table of a run: one line a category, most gained first, within 100 columns.

    Parameters
    ----------
    results : dict
        The content of ``results.json`` of kind ``cft``; optional keys may be missing.

    Returns
    -------
    rich.table.Table
        Of more than 40 categories those that gained most and least, and one line about the others.
    """
    found = parse_results(results)
    tested = found.test is not None
    table = Table(
        title=Text(f"{found.metric} in %, before → after"),
        caption=Text(f"sorted by gain on {found.split}; pos.: positives in {found.split}; select chose the heads"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    first, hidden, last = _shown(found)
    head, tail = ([_cells(found, category) for category in part] for part in (first, last))
    table.add_column("category", no_wrap=True, overflow="ellipsis", max_width=26, min_width=8)
    titles = ["status", "known +/−", "select", *(["test"] if tested else []), "gain"]
    titles += [*(["95% interval"] if tested else []), "pos."]
    for place, title in enumerate(titles, 1):
        # Names give way, numbers never.
        widest = max(len(title), *(line[place].cell_len for line in head + tail), 0)
        table.add_column(title, justify="left" if place == 1 else "right", no_wrap=True, min_width=widest)
    for line in head:
        table.add_row(*line)
    if hidden:
        table.add_row(Text(f"… {len(hidden):,} more", style="italic"))
    for line in tail:
        table.add_row(*line)
    return table


def cft_summary_lines(results: dict[str, Any]) -> list[str]:
    """Return what a run found, in a few plain lines: the verdict first, then overstatement, counts and warnings."""
    found = parse_results(results)
    hidden = _shown(found)[1]
    warnings = cft_summary.warnings_of(found)
    lines = [
        cft_summary.verdict_of(found).sentence,
        cft_summary.overstatement_line(found),
        cft_summary.count_line(found),
        cft_summary.clear_line(found),
    ]
    for reason, count, names in cft_summary.reasons_of(found, "not_fitted")[:MOST_REASONS]:
        said = ", ".join(names[:MOST_NAMES])
        lines.append(f"Not fitted: {count:,} ({reason}): {said}{' …' if count > MOST_NAMES else ''}.")
    lines += [f"Warning: {' '.join(warning.split())}" for warning in warnings[:MOST_WARNINGS]]
    if len(warnings) > MOST_WARNINGS:
        lines.append(f"{len(warnings) - MOST_WARNINGS} more warnings stand in results.json.")
    if hidden:
        lines.append(f"The table leaves out {len(hidden):,} categories ({cft_summary.status_counts(hidden)}).")
    return [line for line in lines if line]


def _shown(results: CftResults) -> tuple[list[Category], list[Category], list[Category]]:
    """Return first, left out and last; the line that names what is left out counts as one."""
    return results.excerpt(MOST_ROWS - (len(results.categories) > MOST_ROWS))


def _cells(results: CftResults, category: Category) -> list[Text]:
    score = results.score(category)
    known = f"{cft_summary.count(category.known_positive)}/{cft_summary.count(category.known_negative)}"
    cells = [category.name, STATUS_TITLES[category.status], known, cft_summary.change(category.select)]
    cells += [cft_summary.change(category.test)] if results.test is not None else []
    cells.append(cft_summary.signed(score.gain))
    cells += [cft_summary.between(score.interval)] if results.test is not None else []
    cells.append(cft_summary.count(score.positives))
    style = STYLES[category.status]
    return [Text(cell, style=style if place == 1 or style == "dim" else "") for place, cell in enumerate(cells)]


def ensemble_table(results: EnsembleResults) -> Table:
    """Return the table of ``labelwise ensemble``: members, their mean, and what it gained over the best member."""
    metric = "mAP" if results.objective == "ap" else "mean AUC"
    gain = results.rows[-1].gain
    caption = ""
    if gain is not None:
        low, high = (cft_summary.signed(value, 2) for value in gain.interval)
        caption = (
            f"over {gain.over}, the best on select: {cft_summary.signed(gain.points, 2)} points on test"
            f" (95% interval {low} to {high})"
        )
    table = Table(title=Text(f"{metric} in %"), caption=Text(caption), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    for split in ("select", "test"):
        table.add_column(split, justify="right")
    for row in results.rows:
        means = [None if scores is None else scores.mean for scores in (row.select, row.test)]
        table.add_row(Text(row.name), *("–" if value is None else f"{100 * value:.2f}" for value in means))
    return table
