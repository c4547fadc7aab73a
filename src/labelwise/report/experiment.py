"""The table of an experiment: as Markdown, on a terminal, and as a picture. Everything comes from ``results.json``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from rich import box
from rich.table import Table
from rich.text import Text

from labelwise.report.summary import duration
from labelwise.runs import RUN, atomic_write, read_json

MARKDOWN, PICTURE = "table.md", "table.svg"
METRICS = {"top1": "top-1 accuracy", "map": "mAP", "mauc": "mean AUC"}

Entries = dict[tuple[str, str, int | None], dict[str, Any]]


def write_tables(results: dict[str, Any], out: Path) -> tuple[Path, Path]:
    """Write ``table.md`` and ``table.svg`` into the folder of a finished experiment and return their paths."""
    atomic_write(out / MARKDOWN, experiment_markdown(results, read_json(out / RUN)).encode())
    atomic_write(out / PICTURE, experiment_picture(results))
    return out / MARKDOWN, out / PICTURE


def experiment_markdown(results: dict[str, Any], run: dict[str, Any]) -> str:
    """Test scores, then differences with their intervals, by column; what made them first.

    Parameters
    ----------
    results, run : contents of ``results.json`` and ``run.json``
    """
    entries, machine = _entries(results), run["environment"]
    metric = METRICS[results["table"][0]["metric"]]
    lines = [
        f"{results['description'] or results['name']}.",
        "",
        f"`{run['command']}`",
        "",
        f"torch {machine['torch']}, {machine['device']}, {machine['cores']} cores, {run['jobs']} at once."
        f" {metric} on test in %, mean ± sample standard deviation over {results['seeds']} seed(s); select chose, test"
        " is only reported.",
    ]
    for column, title in _columns(results):
        lines += ["", f"**{title}**", "", "| " + " | ".join(["", *results["heads"]]) + " |"]
        lines.append("|---|" + "--:|" * len(results["heads"]))
        for row in results["rows"]:
            cells = [_score(entries[row, head, column]["test"]) for head in results["heads"]]
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines += ["", *_differences(results, entries)]
    return "\n".join(lines) + "\n"


def experiment_table(results: dict[str, Any]) -> Table:
    """The means over all columns, or the only column, for a terminal."""
    entries = _entries(results)
    column, title = _columns(results)[-1]
    metric = METRICS[results["table"][0]["metric"]]
    table = Table(
        title=Text(f"{metric} on test in %, {title}, {results['seeds']} seed(s)"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
    )
    table.add_column("")
    for head in results["heads"]:
        table.add_column(head, justify="right")
    for row in results["rows"]:
        table.add_row(Text(row), *(_score(entries[row, head, column]["test"]) for head in results["heads"]))
    return table


def experiment_picture(results: dict[str, Any]) -> bytes:
    """The score of every row over the columns, one panel a head, all on one scale; an SVG."""
    entries, heads = _entries(results), results["heads"]
    values = results["axis"]["values"]
    figure = Figure(figsize=(3.1 * len(heads) + 1.9, 3.4), layout="constrained")
    panels = figure.subplots(1, len(heads), sharey=True, squeeze=False)[0]
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for panel, head in zip(panels, heads, strict=True):
        for i, row in enumerate(results["rows"]):
            found = [entries[row, head, column]["test"] for column in range(len(values))]
            panel.errorbar(
                range(len(values)),
                [100 * score["mean"] for score in found],
                [100 * (score["std"] or 0) for score in found],
                label=row,
                color=colours[i % len(colours)],
                marker="o",
                markersize=4,
                linewidth=1.4,
                elinewidth=0.8,
            )
        panel.set_title(head, fontsize=10)
        panel.set_xticks(range(len(values)), [_value(value) for value in values])
        panel.set_xlabel(results["axis"]["title"] or results["axis"]["key"])
        panel.grid(axis="y", linewidth=0.4)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"{METRICS[results['table'][0]['metric']]} on test, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    return _svg(figure)


def experiment_lines(results: dict[str, Any]) -> list[str]:
    """What was found, in a sentence: the best cell of the means, chosen on nothing, so no claim."""
    column, title = _columns(results)[-1]
    best = max(
        (entry for entry in results["table"] if entry["column"] == column), key=lambda entry: entry["test"]["mean"]
    )
    name = best["row"] if best["head"] == "base" else f"{best['row']} with {best['head']}"
    return [f"Highest, {title}: {name}, {_score(best['test'])}. It took {duration(results['seconds'])}."]


def _differences(results: dict[str, Any], entries: Entries) -> list[str]:
    """Points over the reference row and, of heads, over their own network; 95% intervals over samples and seeds."""
    reference, columns = results["reference"], [pair for pair in _columns(results) if pair[0] is not None]
    lines = [
        f"Points over *{reference}* as it is trained (95% paired bootstrap over test samples and seeds); in brackets"
        " behind a head: over its own network.",
        "",
        "| | " + " | ".join(title for _, title in columns) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    for row in results["rows"]:
        for head in results["heads"]:
            name = row if head == "base" else f"{row}, {head}"
            found = [entries[row, head, column] for column, _ in columns]
            if any("over_reference" in entry for entry in found):
                lines.append(f"| {name} | " + " | ".join(_difference(entry, head) for entry in found) + " |")
    return lines


def _difference(entry: dict[str, Any], head: str) -> str:
    text = _gain(entry["over_reference"])
    return text if head == "base" or "over_base" not in entry else f"{text} [{_gain(entry['over_base'])}]"


def _gain(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['gain']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def _entries(results: dict[str, Any]) -> Entries:
    return {(entry["row"], entry["head"], entry["column"]): entry for entry in results["table"]}


def _columns(results: dict[str, Any]) -> list[tuple[int | None, str]]:
    """Places of the columns and what they are called; where there are several, their mean is the last."""
    title, values = results["axis"]["title"] or results["axis"]["key"], results["axis"]["values"]
    found: list[tuple[int | None, str]] = [(i, f"{title} {_value(value)}") for i, value in enumerate(values)]
    return [*found, (None, f"mean over {title}")] if len(values) > 1 else found


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _score(stat: dict[str, Any]) -> str:
    spread = "" if stat["std"] is None else f" ± {100 * stat['std']:.2f}"
    return f"{100 * stat['mean']:.2f}{spread}"


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "labelwise", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
