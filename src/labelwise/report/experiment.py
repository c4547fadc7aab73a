"""The table of an experiment: as Markdown, as a page, on a terminal. Everything comes from ``results.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table as Terminal
from rich.text import Text

from labelwise.errors import RunError
from labelwise.experiment.results import ExperimentResults
from labelwise.report.experiment_plots import experiment_picture, experiment_svg
from labelwise.report.experiment_tables import (
    BASE,
    Table,
    columns_of,
    experiment_tables,
    gain_cell,
    heads_of,
    metric_of,
    rows_of,
    score_cell,
)
from labelwise.report.page import render
from labelwise.report.read import results_of_kind
from labelwise.report.summary import duration
from labelwise.runs import REPORT, RESULTS, RUN, atomic_write, read_json

MARKDOWN, PICTURE = "table.md", "table.svg"


def read_experiment(folder: Path) -> dict[str, Any] | None:
    """``results.json`` of a finished experiment; None for another kind of run, and for what cannot be read.

    Raises
    ------
    RunError
        If it is an experiment, but of another version or not whole.
    """
    results = results_of_kind(folder, "experiment")
    if results is None:
        return None
    if missing := sorted(ExperimentResults.__required_keys__ - results.keys()):
        raise RunError(
            f"{folder / RESULTS}: lacks {missing[0]!r}, so another version wrote it; run the experiment again"
        )
    return results


def write_tables(results: dict[str, Any], out: Path) -> tuple[Path, Path, Path]:
    """Write ``table.md``, ``table.svg`` and ``report.html`` into the folder of a finished experiment.

    Returns
    -------
    their paths
    """
    run = read_json(out / RUN)
    atomic_write(out / MARKDOWN, experiment_markdown(results, run).encode())
    atomic_write(out / PICTURE, experiment_picture(results))
    atomic_write(out / REPORT, experiment_page(results, run).encode())
    return out / MARKDOWN, out / PICTURE, out / REPORT


def experiment_markdown(results: dict[str, Any], run: dict[str, Any]) -> str:
    """What made the tables, what is claimed, then the tables.

    Parameters
    ----------
    results, run : contents of ``results.json`` and ``run.json``
    """
    claim = ["", f"> {results['claim']}"] if results["claim"] else []
    lines = [_title(results), *claim, "", f"`{run['command']}`", "", _how(results, run)]
    for table in experiment_tables(results):
        lines += ["", *_markdown(table)]
    return "\n".join(lines) + "\n"


def experiment_page(results: dict[str, Any], run: dict[str, Any]) -> str:
    """The same and the picture as one HTML file."""
    return render(
        "experiment.html.j2",
        {
            "title": results["name"],
            "description": _title(results),
            "claim": results["claim"],
            "command": run["command"],
            "how": _how(results, run),
            "picture": {"title": f"{metric_of(results)} on test", "svg": experiment_svg(results), "caption": ""},
            "tables": experiment_tables(results),
        },
    )


def experiment_table(results: dict[str, Any]) -> Group:
    """A table for a terminal, without further scores: of every axis the means over its columns, or its only column."""
    tables: list[Text | Terminal] = []
    for axis in range(len(results["axis"])):
        column = [column for column in columns_of(results) if column.axis == axis][-1]
        title = ", ".join(filter(None, [f"{metric_of(results)} on test in %", column.title]))
        table = Terminal(box=box.SIMPLE_HEAD, show_edge=False)
        table.add_column("")
        for head in heads_of(results):
            table.add_column(Text(head), justify="right")
        for row in rows_of(results):
            table.add_row(Text(row), *(score_cell(column.entry(row, head)) for head in results["heads"]))
        # Not the table's own title, which would be cut to the width of a narrow table.
        tables += [Text(f"{title}, {results['seeds']} seed(s)", style="italic"), table]
    return Group(*tables)


def experiment_lines(results: dict[str, Any]) -> list[str]:
    """What was found, in sentences: the best cell of the means, chosen on nothing, so no claim; what select chose."""
    lines = []
    for axis in range(len(results["axis"])):
        column = [column for column in columns_of(results) if column.axis == axis][-1]
        own = [entry for entry in column.entries.values() if entry["row"] in results["rows"]]
        best = max(own, key=lambda entry: float(entry["test"]["mean"] or 0))
        name = best["row"] if best["head"] == BASE else f"{best['row']} with {best['head']}"
        lines.append(f"Highest{', ' if column.title else ''}{column.title}: {name}, {score_cell(best)}.")
    for best in results["best"]:
        for column in columns_of(results):
            entry = column.entry(best["name"])
            if entry is None or "over_reference" not in entry:
                continue
            of = "" if column.is_mean else f"{entry['chosen']} (chosen on select, of {entry['candidates']}), "
            lines.append(
                f"{', '.join(filter(None, [best['name'], column.title]))}: {of}{score_cell(entry)}, points over"
                f" {best['reference']}: {gain_cell(entry['over_reference'])}."
            )
    return [*lines, f"It took {duration(results['seconds'])}."]


def _title(results: dict[str, Any]) -> str:
    return f"{results['description'] or results['name']}."


def _how(results: dict[str, Any], run: dict[str, Any]) -> str:
    machine = run["environment"]
    return (
        f"torch {machine['torch']}, {machine['device']}, {machine['cores']} cores, {run['jobs']} at once."
        f" {metric_of(results)} on test in %, mean ± sample standard deviation over {results['seeds']} seed(s); select"
        f" chose, test is only reported. {results['trained']['networks']} networks, trained in"
        f" {duration(results['trained']['seconds'])} of wall time together."
    )


def _markdown(table: Table) -> list[str]:
    lines = [f"**{table.title}**", ""] if table.title else []
    lines += [table.before, ""] if table.before else []
    lines += [_line("", table.heads), "|---|" + "--:|" * len(table.heads)]
    return lines + [_line(name, cells) for name, cells in table.rows]


def _line(name: str, cells: list[str]) -> str:
    """A row's name may have a bar, as KL(p||q)."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in [name, *cells]) + " |"
