"""The results of a run on a terminal."""

import math
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
    shown = [
        column for column in columns(results, entries) if column.key not in ("refined_label_accuracy", "hidden_map")
    ]
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
        Top-1, top-5, NLL, ECE and ``per_class`` of one checkpoint on one split; or, of ``task`` multi-label, what
        ``labelwise.metrics.multilabel`` measures.
    """
    if scores.get("task") == "multi-label":
        return _multilabel_table(scores)
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


def _multilabel_table(scores: dict[str, Any]) -> Table:
    """One line a category, within 80 columns; the numbers over all of them stand above."""
    tuned = ["tuned\nF1"] if scores["tuned"] else []
    at = scores["sensitivity_at_specificity"]["at"]
    best = "; tuned: at the threshold with the best F1 on select" if tuned else ""
    table = Table(
        title=Text("\n".join(_multilabel_lines(scores))),
        caption=Text(f"in %; P, R, F1: positive from a probability of 0.5 on{best}"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("category", overflow="fold")
    for title in ("known\n+/−", "AP", "AUC", "P", "R", "F1", *tuned, f"sens. at\nspec. {at:.2g}"):
        table.add_column(title, justify="right", no_wrap=True)
    for entry in scores["categories"]:
        values = [entry[key] for key in ("ap", "auc", "precision", "recall", "f1")]
        values += [entry["tuned"]["f1"]] if tuned else []
        numbers = ("–" if math.isnan(v) else f"{100 * v:.1f}" for v in (*values, entry["sensitivity_at_specificity"]))
        table.add_row(Text(entry["name"]), f"{entry['positives']:,}/{entry['negatives']:,}", *numbers)
    return table


def _multilabel_lines(scores: dict[str, Any]) -> list[str]:
    """The numbers over all categories, and what they are over."""
    known, counts = scores["known"], {kind: n for kind, n in scores["left_out"].items() if n}
    left_out = f"left out: {', '.join(f'{n:,} {kind}' for kind, n in counts.items())}" if counts else "none unknown"
    scored = f"{scores['scored']:,} of {len(scores['categories']):,} categories"
    lines = [
        f"{text(scores.get('data'))} {text(scores.get('split'))}: {_ranks(scores)} over {scored}",
        f"micro {_ranks(scores['micro'])}; weighted {_ranks(scores['weighted'])}",
        f"NLL {scores['nll']:.4f}, ECE {_percent(scores['ece'])}; {scores['samples']:,} samples,"
        f" {known['positive']:,} positive and {known['negative']:,} negative labels known, {left_out}",
    ]
    for name, found in (("at 0.5", scores["decisions"]), ("tuned on select", scores["tuned"])):
        if found:
            each = (f"{key.upper()} {_percent(found[key])}" for key in ("cp", "cr", "cf1", "op", "or", "of1"))
            lines.append(f"{name}: {', '.join(each)}")
    if studies := scores.get("studies"):
        five = _percent(studies["competition_mauc"])
        lines.append(f"{studies['number']:,} studies: {_ranks(studies)}; mean AUC of the competition's five: {five}")
    lines += [
        f"{group['name']}: {_ranks(group)} over {group['scored']:,} of {group['categories']:,} categories"
        for group in scores["groups"]
    ]
    return lines


def _ranks(scores: dict[str, Any]) -> str:
    if "map" in scores:
        return f"mAP {_percent(scores['map'])}, mean AUC {_percent(scores['mauc'])}"
    return f"AP {_percent(scores['ap'])}, AUC {_percent(scores['auc'])}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2%}"
