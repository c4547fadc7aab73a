"""The files of an experiment's folder that tell it: table.md, table.svg and report.html."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from labelwise.report.experiment import TableColumn, columns_of, experiment_tables, extra_title, is_percent, metric_of
from labelwise.report.formats import duration, several
from labelwise.report.page import Picture, write_page
from labelwise.report.plots import Panel, Series, panel_figure, panel_plot
from labelwise.report.read import Folder
from labelwise.report.svg import svg_file
from labelwise.report.table import as_code, escape, markdown
from labelwise.results import ExperimentResults
from labelwise.runs import REPORT, atomic_write

TABLE, PICTURE = "table.md", "table.svg"
ACROSS = 3
"""Panels side by side, unless there are more heads."""

DOTS_ACROSS = 4
"""The same of pictures with names on the left."""

Picked = tuple[list[Panel | None], int, tuple[float, float], bool]


def write_experiment(results: ExperimentResults, folder: Folder) -> Path:
    """Write ``table.md``, ``table.svg`` and ``report.html`` into the folder of an experiment, and return the last."""
    out = folder.path
    picked = experiment_panels(results)
    atomic_write(out / TABLE, experiment_markdown(results, folder).encode())
    atomic_write(out / PICTURE, svg_file(panel_figure, *picked))
    alt = f"{metric_of(results)} of every row over the columns"
    context = {
        "title": results.name,
        "description": _title(results),
        "claim": results.claim,
        "command": folder.about.command,
        "how": _how(results, folder),
        "picture": Picture(f"{metric_of(results)} on test", panel_plot("scores", alt, *picked)),
        "tables": experiment_tables(results),
        "notes": folder.notes,
    }
    return write_page(out / REPORT, "experiment.html.j2", context)


def experiment_markdown(results: ExperimentResults, folder: Folder) -> str:
    """Return what made the tables, what is claimed, then the tables."""
    claim = [f"> {escape(results.claim)}"] if results.claim else []
    command = as_code(folder.about.command)
    tables = [markdown(table).strip() for table in experiment_tables(results)]
    return "\n\n".join([escape(_title(results)), *claim, *command, escape(_how(results, folder)), *tables]) + "\n"


def experiment_panels(results: ExperimentResults) -> Picked:
    """Return the panels of the picture, how many are side by side, its size in inches, whether values go sideways.

    Lines need columns that have an order: those of a key with numbers. Elsewhere there are dots, row by row.
    """
    values = [value for axis in results.axis for value in axis.values]
    ordered = all(len(axis.values) > 1 for axis in results.axis)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return _lines(results) if ordered and numbers else _dots(results)


def _lines(results: ExperimentResults) -> Picked:
    """The score of every row over the columns: of an axis a panel a head, on one scale, and one a further score."""
    heads, kinds = results.heads, [*results.heads, *results.extra]
    across = max(len(heads), min(ACROSS, len(kinds)))
    panels: list[Panel | None] = []
    for number, axis in enumerate(results.axis):
        columns = [column for column in columns_of(results) if column.axis == number and not column.is_mean]
        names, below = [column.value or column.title for column in columns], axis.title or axis.key or ""
        for place, kind in enumerate(kinds):
            is_head = place < len(heads)
            series = [_series(row, [(c, row) for c in columns], kind, is_head) for row in results.rows]
            title = extra_title(kind) if not is_head else kind if len(heads) > 1 and number == 0 else ""
            left = f"{metric_of(results)} on test, %" if place == 0 else ""
            panels.append(Panel(names, series, title, below, left, shares_scale=is_head and place > 0))
        panels += [None] * (-len(panels) % across)
    return panels, across, (3.1 * across + 1.9, 3.0 * len(panels) / across + 0.4), False


def _dots(results: ExperimentResults) -> Picked:
    """A panel a column; of a single column one a further score too. Rows from above; heads share a panel.

    The thin line is where the reference row is.
    """
    columns, rows = columns_of(results), results.rows
    kinds: list[tuple[str, TableColumn, str]] = [(column.title, column, "") for column in columns]
    if len(columns) == 1:
        kinds = [("", columns[0], ""), *((extra_title(name), columns[0], name) for name in results.extra)]
    panels: list[Panel | None] = []
    for title, column, extra in kinds:
        places = [(column, row) for row in rows]
        series = [_series(kind, places, kind, not extra) for kind in ([extra] if extra else results.heads)]
        first = dict(zip(series[0].places, series[0].values, strict=True))
        level = first.get(rows.index(results.reference)) if results.reference in rows else None
        below = "" if extra else f"{metric_of(results)} on test, %"
        panels.append(Panel(rows, series, title, value_label=below, level=level))
    down = math.ceil(len(panels) / DOTS_ACROSS)
    across = math.ceil(len(panels) / down)
    high = 0.17 * len(rows) * max(1, 0.6 * len(results.heads)) + 0.8
    return panels, across, (2.3 * across + 2.4, high * down), True


def _series(label: str, places: Sequence[tuple[TableColumn, str]], kind: str, is_head: bool) -> Series:
    """The score of a head, or a further score, at places that have it."""
    factor = 100 if is_head or is_percent(kind) else 1
    stats = [
        (place, stat)
        for place, (c, row) in enumerate(places)
        if (stat := c.score(row, kind) if is_head else c.extra(row, kind))
    ]
    known = [(place, factor * stat.mean, factor * (stat.std or 0)) for place, stat in stats if stat.mean is not None]
    at, values, errors = zip(*known, strict=True) if known else ((), (), ())
    return Series(label, at, values, errors)


def _title(results: ExperimentResults) -> str:
    said = results.description or results.name
    return said if said.endswith((".", "!", "?")) else f"{said}."


def _how(results: ExperimentResults, folder: Folder) -> str:
    machine, trained = folder.about.environment, results.trained
    where = ""
    if machine:
        where = (
            f"torch {machine['torch']}, {machine['device']}, {machine['cores']} cores, {folder.about.jobs} at once. "
        )
    return (
        f"{where}{metric_of(results)} on test in %, mean ± sample standard deviation over"
        f" {several(results.seeds, 'seed')}; select chose, test is only reported. {trained.networks} networks, trained"
        f" in {duration(trained.seconds)} of wall time together."
    )
