"""The results of a run on a terminal."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from labelwise.report.read import mapping, text
from labelwise.report.summary import (
    Column,
    Entry,
    Stat,
    cell,
    columns,
    entries_of,
    metric_of,
    regime_lines,
    verdict_of,
)


def results_table(results: dict[str, Any]) -> Table:
    """Return the table of a run: generations and controls, mean ± deviation over seeds.

    Parameters
    ----------
    results : dict
        The content of ``results.json``; optional keys may be missing.

    Returns
    -------
    rich.table.Table
        A star marks the best generation and the best control, both chosen on ``select``.
    """
    results = {**results, "rows": [row for row in results.get("rows") or [] if isinstance(row, dict)]}
    entries = entries_of(results)
    shown = [column for column in columns(results, entries) if column.key != "refined_label_accuracy"]
    seeds = max((entry.seeds for entry in entries), default=0)
    spread = f"mean ± std over {seeds} seeds" if seeds > 1 else "one seed"
    table = Table(
        title=Text(f"{metric_of(results)[1]} in %, {spread}"),
        caption=Text("★ best of its kind, chosen on select; test is only reported"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    cells = [[_cell(entry, column) for column in shown] for entry in entries]
    names = [("★ " if entry.marked else "  ") + entry.name for entry in entries]
    table.add_column("  network", no_wrap=True, overflow="ellipsis")
    for index, column in enumerate(shown):
        widest = max(len(word) for word in (*column.title.split(), *(line[index] for line in cells)))
        table.add_column(column.title.replace(" ", "\n"), justify="right", min_width=widest)
    role = entries[0].role if entries else ""
    for entry, name, line in zip(entries, names, cells, strict=True):
        if entry.role != role:
            role = entry.role
            table.add_section()
        style = "bold" if entry.marked else "dim" if entry.role == "control" else ""
        table.add_row(Text(name, style=style), *(Text(written, style=style, no_wrap=True) for written in line))
    return table


def _cell(entry: Entry, column: Column) -> str:
    """Write one number; only what is compared keeps its deviation, so that the table fits a terminal."""
    stat = entry.stats.get(column.key, Stat())
    compared = column.key.startswith(("select_", "test_")) and column.kind == "percent"
    return cell(stat if compared else Stat(stat.mean), column.kind)


def summary_lines(results: dict[str, Any]) -> list[str]:
    """Return what a run found, in a few plain lines: the verdict first, then the regime and its advice."""
    lines = [verdict_of(results).sentence]
    state = text(mapping(results.get("regime")).get("state"))
    advice = regime_lines(results)
    if state or advice:
        lines.append(f"Regime: {state or 'not known'}" + (f". {advice[0]}" if advice else "."))
    return lines


def scores_table(scores: dict[str, Any]) -> Table:
    """Return the table of ``labelwise evaluate``: overall scores, then every class.

    Parameters
    ----------
    scores : dict
        Top-1, top-5, NLL, ECE and ``per_class`` of one checkpoint on one split.
    """
    title = f"{text(scores.get('data'))} {text(scores.get('split'))}"
    overall = [f"top-1 {scores['top1']:.2%}"]
    overall += [f"top-5 {scores['top5']:.2%}"] if "top5" in scores else []
    overall += [f"NLL {scores['nll']:.4f}", f"ECE {scores['ece']:.2%}"]
    table = Table(title=Text(f"{title}: {', '.join(overall)}"), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("class")
    table.add_column("images", justify="right")
    table.add_column("top-1", justify="right")
    for entry in scores.get("per_class", []):
        known = entry["n"] > 0
        table.add_row(Text(entry["class"]), str(entry["n"]), f"{entry['top1']:.1%}" if known else "-")
    return table
