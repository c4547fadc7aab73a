"""The table of an experiment: as Markdown, on a terminal, and as a picture. Everything comes from ``results.json``."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from labelwise.report.summary import duration
from labelwise.runs import RUN, atomic_write, read_json

MARKDOWN, PICTURE = "table.md", "table.svg"
METRICS = {"top1": "top-1 accuracy", "map": "mAP", "mauc": "mean AUC"}
UNITS = {"sample": "", "study": " of studies", "group": " of groups"}
NOTHING = "–"

Entry = dict[str, Any]


def write_tables(results: dict[str, Any], out: Path) -> tuple[Path, Path]:
    """Write ``table.md`` and ``table.svg`` into the folder of a finished experiment and return their paths."""
    atomic_write(out / MARKDOWN, experiment_markdown(results, read_json(out / RUN)).encode())
    atomic_write(out / PICTURE, experiment_picture(results))
    return out / MARKDOWN, out / PICTURE


def experiment_markdown(results: dict[str, Any], run: dict[str, Any]) -> str:
    """Test scores by column, of groups and categories too where these are told, then differences with their intervals;
    what made them first.

    Parameters
    ----------
    results, run : contents of ``results.json`` and ``run.json``
    """
    machine, columns = run["environment"], _columns(results)
    lines = [
        f"{results['description'] or results['name']}.",
        "",
        f"`{run['command']}`",
        "",
        f"torch {machine['torch']}, {machine['device']}, {machine['cores']} cores, {run['jobs']} at once."
        f" {_metric(results)} on test in %, mean ± sample standard deviation over {results['seeds']} seed(s); select"
        " chose, test is only reported.",
    ]
    for column in columns:
        cells = [(row, [_score(column.entry(row, head)) for head in results["heads"]]) for row in results["rows"]]
        lines += ["", *_table(column.title, results["heads"], cells)]
    for column in columns:
        for kind in ("groups", "categories"):
            if results[kind] and not column.is_mean:
                lines += ["", *_parts(results, column, kind)]
    singles = [column for column in columns if not column.is_mean]
    cells = [
        (name, found)
        for name, row, head in _names(results)
        if any(found := [_difference(column.entry(row, head)) for column in singles])
    ]
    lines += [
        "",
        f"Points over *{results['reference']}* as it is trained (95% paired bootstrap over groups of test samples and"
        " seeds); in brackets behind a head: over its own network, behind an ensemble: over the mean of its networks.",
        "",
        *_table("", [column.title for column in singles], cells),
    ]
    return "\n".join(lines) + "\n"


def experiment_table(results: dict[str, Any]) -> Group:
    """A table for a terminal: of every axis the means over its columns, or its only column."""
    tables = []
    for axis in range(len(results["axis"])):
        column = [column for column in _columns(results) if column.axis == axis][-1]
        title = ", ".join(filter(None, [f"{_metric(results)} on test in %", column.title]))
        table = Table(
            title=Text(f"{title}, {results['seeds']} seed(s)"),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
        )
        table.add_column("")
        for head in results["heads"]:
            table.add_column(head, justify="right")
        for row in results["rows"]:
            table.add_row(Text(row), *(_score(column.entry(row, head)) for head in results["heads"]))
        tables.append(table)
    return Group(*tables)


def experiment_picture(results: dict[str, Any]) -> bytes:
    """The score of every row over the columns: a line of panels an axis, a panel a head, all on one scale; an SVG."""
    heads, axes = results["heads"], results["axis"]
    figure = Figure(figsize=(3.1 * len(heads) + 1.9, 3.0 * len(axes) + 0.4), layout="constrained")
    panels = figure.subplots(len(axes), len(heads), sharey=True, squeeze=False)
    for axis, line in enumerate(panels):
        columns = [column for column in _columns(results) if column.axis == axis and not column.is_mean]
        for panel, head in zip(line, heads, strict=True):
            _draw(panel, columns, results["rows"], head)
            panel.set_xlabel(axes[axis]["title"] or axes[axis]["key"] or "")
            panel.set_title(head if axis == 0 else "", fontsize=10)
        line[0].set_ylabel(f"{_metric(results)} on test, %")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    return _svg(figure)


def experiment_lines(results: dict[str, Any]) -> list[str]:
    """What was found, in a sentence: the best cell of the means, chosen on nothing, so no claim."""
    lines = []
    for axis in range(len(results["axis"])):
        column = [column for column in _columns(results) if column.axis == axis][-1]
        best = max(column.entries.values(), key=lambda entry: float(entry["test"]["mean"] or 0))
        name = best["row"] if best["head"] == "base" else f"{best['row']} with {best['head']}"
        lines.append(f"Highest{', ' if column.title else ''}{column.title}: {name}, {_score(best)}.")
    return [*lines, f"It took {duration(results['seconds'])}."]


@dataclass(frozen=True)
class _Column:
    """A column, or the mean over those of an axis, with its entries by row and head."""

    axis: int
    title: str
    value: str
    is_mean: bool
    entries: dict[tuple[str, str], Entry]

    def entry(self, row: str, head: str) -> Entry | None:
        """None for a head that an ensemble does not have."""
        return self.entries.get((row, head))


def _columns(results: dict[str, Any]) -> list[_Column]:
    """All columns, one axis after the other; where an axis has several, their mean is the last."""
    places: dict[tuple[int, int | None], dict[tuple[str, str], Entry]] = {}
    for entry in results["table"]:
        places.setdefault((entry["axis"], entry["column"]), {})[entry["row"], entry["head"]] = entry
    found = []
    for number, axis in enumerate(results["axis"]):
        own = [(column, entries) for (of, column), entries in places.items() if of == number]
        for column, entries in own:
            value = next(iter(entries.values()))["value"]
            if column is None and len(own) > 2:
                title = f"mean over {axis['title'] or axis['key']}"
                found.append(_Column(number, title, "mean", True, entries))
            elif column is not None:
                shown = "" if axis["key"] is None else f"{value:g}" if isinstance(value, float) else str(value)
                found.append(_Column(number, results["columns"][column], shown, False, entries))
    return found


def _names(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Every row and head, and what the pair is called."""
    return [
        (row if head == "base" else f"{row}, {head}", row, head) for row in results["rows"] for head in results["heads"]
    ]


def _parts(results: dict[str, Any], column: _Column, kind: str) -> list[str]:
    """Scores, and points over the reference row, by group or by category."""
    entries = [(name, column.entry(row, head)) for name, row, head in _names(results)]
    named = results[kind]
    scores = [
        (name, [*(_score(entry[kind][part]) for part in named), _score(entry)]) for name, entry in entries if entry
    ]
    gains = [
        (name, [*(_difference(entry[kind][part]) for part in named), _difference(entry)])
        for name, entry in entries
        if entry and "over_reference" in entry
    ]
    what = f"{column.title}, {kind}" if column.title else kind
    return [
        *_table(what, [*named, "all"], scores),
        "",
        f"Points over *{results['reference']}*, as in the last table:",
        "",
        *_table("", [*named, "all"], gains),
    ]


def _table(title: str, heads: list[str], rows: list[tuple[str, list[str]]]) -> list[str]:
    lines = [f"**{title}**", ""] if title else []
    lines += ["| " + " | ".join(["", *heads]) + " |", "|---|" + "--:|" * len(heads)]
    return lines + [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]


def _draw(panel: Axes, columns: list[_Column], rows: list[str], head: str) -> None:
    """Lines over several columns; of a single one, points side by side."""
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for i, row in enumerate(rows):
        found = [(x, entry["test"]) for x, column in enumerate(columns) if (entry := column.entry(row, head))]
        shift = 0.0 if len(columns) > 1 else (i - (len(rows) - 1) / 2) / len(rows)
        panel.errorbar(
            [x + shift for x, _ in found],
            [100 * (score["mean"] or 0) for _, score in found],
            [100 * (score["std"] or 0) for _, score in found],
            label=row,
            color=colours[i % len(colours)],
            marker="os^D"[i // len(colours) % 4],
            linestyle=("-", "--", ":", "-.")[i // len(colours) % 4],
            markersize=4,
            linewidth=1.4,
            elinewidth=0.8,
        )
    panel.set_xticks(range(len(columns)), [column.value for column in columns])
    panel.grid(axis="y", linewidth=0.4)
    panel.spines[["top", "right"]].set_visible(False)


def _metric(results: dict[str, Any]) -> str:
    return METRICS[results["metric"]] + UNITS[results["unit"]]


def _difference(entry: Entry | None) -> str:
    """Points over the reference row; of a head in brackets over its network, of an ensemble over its networks."""
    if entry is None or "over_reference" not in entry:
        return ""
    own = entry.get("over_base", entry.get("over_networks"))
    text = _gain(entry["over_reference"])
    return text if own is None else f"{text} [{_gain(own)}]"


def _gain(found: dict[str, Any]) -> str:
    if found["gain"] is None:
        return NOTHING
    low, high = found["interval"]
    return f"{100 * found['gain']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def _score(entry: Entry | None) -> str:
    if entry is None or entry["test"]["mean"] is None:
        return NOTHING
    stat = entry["test"]
    spread = "" if stat["std"] is None else f" ± {100 * stat['std']:.2f}"
    return f"{100 * stat['mean']:.2f}{spread}"


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "labelwise", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
