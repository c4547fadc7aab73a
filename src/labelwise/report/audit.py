"""What a run of `labelwise audit` says in words, numbers and tables: for the page, the terminal and Markdown.

The page is made in `audit_page`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from labelwise.report.formats import DASH, Ends, count, duration, percent, several, shorten
from labelwise.report.page import Tile, Verdict
from labelwise.report.read import Folder
from labelwise.report.table import Cell, Column, Row, Table, as_code, escape, markdown
from labelwise.results import AuditResults
from labelwise.results.audit import ClassHealth, Expected
from labelwise.results.record import Interval

MEANINGS = {
    "wrong": "the given label is likely wrong",
    "missing positive": "known as negative, looks positive",
    "false positive": "known as positive, looks negative",
    "ambiguous": "two classes share the probability",
    "several objects": "views are sure of different classes",
    "outlier": "far from its class and from all others",
    "suggestion": "not known; what the answers say",
    "correct": "nothing speaks against the given label",
}
"""What a verdict says, the most urgent first."""

MOST_CLASSES = {"terminal": 20, "markdown": 50, "page": 300}
MOST_CONFUSIONS = 15
MOST_WORST = 10
STOP = 0.5
"""Reading pays as long as at least this share of the labels that are read next is wrong."""

Writer = Literal["terminal", "markdown", "page"]


class Confusion(NamedTuple):
    """Share of the samples whose right class is ``right`` that were labelled ``given``."""

    right: str
    given: str
    share: float


def ends_of(interval: Interval) -> Ends:
    """Return both ends of an interval; None where one is not known."""
    low, high = interval
    return None if low is None or high is None else (low, high)


def verdict_of(results: AuditResults) -> Verdict:
    """Return how many labels are wrong, as far as the answers can say."""
    rate, known = results.noise_rate, f"{results.labels:,} known labels"
    if rate.estimate is None:
        return Verdict("open", "not estimated", f"How many of {known} are wrong could not be estimated.")
    ends = ends_of(rate.interval)
    sure = f", 95% interval {percent(ends[0])}% to {percent(ends[1])}%" if ends else ""
    said = f"About {count(rate.estimate * results.labels)} of {known} are wrong: {percent(rate.estimate)}%{sure}."
    return Verdict("mixed", "estimated without knowing the truth", said)


def said_lines(results: AuditResults) -> list[str]:
    """Return what is said under the verdict: how far to read, and what else was found."""
    return [line for line in (depth_line(results), stop_line(results), duplicate_line(results)) if line]


def depth_line(results: AuditResults) -> str:
    """Say how many labels are wrong among the first 500, or the first quarter of a short list."""
    most = min(500, results.labels // 4)
    deep = [one for one in results.expected if one.wrong is not None and one.depth <= most]
    return f"Of the first {deep[-1].depth:,} of the list {_wrong(deep[-1])}." if deep else ""


def stop_of(results: AuditResults) -> Expected | None:
    """Return the last depth up to which at least `STOP` of the labels that are read next is wrong.

    None where the very first stretch has fewer.
    """
    last, stop = 0.0, None
    depth = 0
    for one in results.expected:
        if one.wrong is None or one.wrong - last < STOP * (one.depth - depth):
            break
        last, depth, stop = one.wrong, one.depth, one
    return stop


def stop_line(results: AuditResults) -> str:
    """Say where to stop reading."""
    if not results.expected:
        return ""
    stop = stop_of(results)
    if stop is None:
        return "Even at the top of the list fewer than one label in two is wrong: read only as far as there is time."
    if stop is results.expected[-1]:
        return f"At least one label in two is wrong down to place {stop.depth:,}, the last one that was estimated."
    return (
        f"A place to stop: {stop.depth:,}. Up to there {_wrong(stop)}; of what follows fewer than one in two is wrong."
    )


def duplicate_line(results: AuditResults) -> str:
    """Say how many samples are nearly the same."""
    found = results.duplicates
    if found is None:
        return ""
    if not found.found:
        return f"No two samples are nearly the same ({found.method})."
    line = f"{several(found.found, 'pair')} of samples nearly the same ({found.method}): "
    return f"{line}{found.across_splits:,} across splits, {found.labels_differ:,} with different labels."


def summary_lines(results: AuditResults) -> list[str]:
    """Return what an audit found, in a few plain lines."""
    verdicts = ", ".join(f"{number:,} {verdict}" for verdict, number in ordered_verdicts(results) if number)
    lines = [verdict_of(results).sentence, *said_lines(results)]
    lines += [f"Verdicts: {verdicts}."] if verdicts else []
    return [*lines, *(f"Warning: {' '.join(warning.split())}" for warning in results.warnings)]


def facts_of(results: AuditResults) -> list[str]:
    """Return what was audited, in a few short phrases."""
    sizes = results.splits.model_dump()
    kind = "category" if results.task == "multi-label" else "class"
    return [
        results.task,
        several(len(results.classes), kind, "categories" if kind == "category" else "classes"),
        " · ".join(f"{size:,} {name}" for name, size in sizes.items() if size),
        f"answered by {', '.join(_answering(results.answers))}",
        f"seed {results.seed}",
        duration(results.seconds),
    ]


def _answering(answers: tuple[str, ...]) -> list[str]:
    """The names of answers, those of one network to several views as one."""
    views = Counter(name.partition(", view ")[0] for name in answers)
    return [f"{name} ({number} views)" if number > 1 else name for name, number in views.items()]


def ordered_verdicts(results: AuditResults) -> list[tuple[str, int]]:
    """Return (verdict, number of labels), in the order of `MEANINGS`."""
    places = list(MEANINGS)
    found = results.verdicts.items()
    return sorted(found, key=lambda pair: places.index(pair[0]) if pair[0] in places else len(places))


def tiles_of(results: AuditResults) -> list[Tile]:
    """Return the numbers that matter."""
    rate, ends = results.noise_rate, ends_of(results.noise_rate.interval)
    sure = f"95% interval {percent(ends[0])} to {percent(ends[1])}" if ends else "no interval"
    tiles = [Tile("Labels estimated wrong, in %", percent(rate.estimate), "", sure)]
    if stop := stop_of(results):
        tiles += [Tile("Read down to", count(stop.depth), "", f"{_wrong(stop)}; then fewer than one in two")]
    for verdict in ("wrong", "missing positive", "false positive"):
        if verdict in results.verdicts:
            tiles += [Tile(f"Verdict: {verdict}", count(results.verdicts[verdict]), "", MEANINGS[verdict])]
    if found := results.duplicates:
        remark = f"pairs; {found.across_splits:,} across splits, {found.labels_differ:,} with different labels"
        tiles += [Tile("Near duplicates", count(found.found), "", remark)]
    return tiles


def expected_table(results: AuditResults) -> Table:
    """Return how many labels are wrong among the first of the list, a line a depth."""
    columns = [Column("first of the list", count), Column("wrong, estimated", count), Column("95% interval", _between)]
    columns += [Column("wrong, in %", percent)]
    stop = stop_of(results)
    rows = []
    for one in results.expected:
        share = None if one.wrong is None or not one.depth else one.wrong / one.depth
        rows.append(Row([one.depth, one.wrong, ends_of(one.interval), share], marked=one is stop))
    after = "★ a place to stop: of what follows fewer than one in two is wrong" if stop else ""
    return Table(columns, rows, "Wrong labels by depth", after=after, mark="stop here")


def verdict_table(results: AuditResults) -> Table:
    """Return how many labels got each verdict."""
    columns = [Column("verdict", right=False), Column("labels", count), Column("meaning", right=False)]
    rows = [Row([name, number, MEANINGS.get(name, "")]) for name, number in ordered_verdicts(results)]
    return Table(columns, rows, "Verdicts")


def class_table(results: AuditResults, writer: Writer) -> Table:
    """Return one line a class or category, the one with most wrong labels first; of many the first."""
    most, many = MOST_CLASSES[writer], results.task == "multi-label"
    long = 24 if writer == "terminal" else 1000
    columns: list[tuple[bool, Column, Callable[[ClassHealth], Any]]] = [
        (True, Column("category" if many else "class", right=False), lambda one: shorten(one.name, long)),
        (True, Column("known labels" if many else "given labels", count), lambda one: one.given),
        (True, Column("wrong, estimated", count), lambda one: one.wrong),
        (True, Column("wrong, in %", percent), wrong_share),
        (many, Column("missing positives", count), lambda one: one.missing_positives),
        (many, Column("false positives", count), lambda one: one.false_positives),
        (many, Column("unknown", count), lambda one: one.unknown),
        (not many, Column("mostly suggested", right=False), lambda one: shorten(one.confused_with or DASH, long)),
    ]
    shown = [(column, value) for there, column, value in columns if there]
    order = sorted(results.classes, key=lambda one: (-(one.wrong or 0.0), one.name))
    rows = [Row([value(one) for _, value in shown]) for one in order[:most]]
    if hidden := order[most:]:
        rows.append(Row([Cell(f"… {len(hidden):,} more")]))
    return Table([column for column, _ in shown], rows, "Labels by category" if many else "Labels by class")


def wrong_share(one: ClassHealth) -> float | None:
    """Return the share of the labels of a class that is wrong."""
    return None if one.wrong is None or not one.given else one.wrong / one.given


def confusions(results: AuditResults) -> list[Confusion]:
    """Return which class is given for which, the commonest of the wrong ones first."""
    names = [one.name for one in results.classes]
    found = [
        Confusion(right, given, share)
        for right, row in zip(names, results.transition or (), strict=False)
        for given, share in zip(names, row, strict=False)
        if right != given and share is not None and share >= 0.0005
    ]
    return sorted(found, key=lambda one: -one.share)


def confusion_table(results: AuditResults) -> Table:
    """Return the commonest confusions as a table."""
    columns = [Column("right class", right=False), Column("given as", right=False), Column("in %", percent)]
    rows = [Row([shorten(one.right, 24), shorten(one.given, 24), one.share]) for one in confusions(results)]
    return Table(columns, rows[:MOST_CONFUSIONS], "Commonest confusions, of the samples of the right class")


def worst_table(folder: Path) -> Table:
    """Return the first labels of the list in the folder of a finished audit.

    Raises
    ------
    RunError
        If the list is missing or damaged.
    """
    from labelwise.results.audit_table import read_audit_table

    frame = read_audit_table(folder)
    names = ["category"] if "category" in frame else []
    columns = [Column(name, right=False) for name in ("id", *names, "given", "suggested")]
    columns += [Column("score", lambda value: f"{value:.3f}"), Column("verdict", right=False)]
    shown = [column.title for column in columns]
    rows = [Row(values) for values in frame[shown].head(MOST_WORST).itertuples(index=False, name=None)]
    return Table(columns, rows, f"First {len(rows)} of {len(frame):,} labels")


def terminal_tables(results: AuditResults) -> list[Table]:
    """Return the tables that a terminal shows."""
    tables = [class_table(results, "terminal"), expected_table(results)]
    return [table for table in tables if table.rows]


def audit_markdown(results: AuditResults, folder: Folder) -> str:
    """Return the verdict, the command and the tables as Markdown."""
    tables = [verdict_table(results), expected_table(results), class_table(results, "markdown")]
    parts = [
        f"**{escape(results.name or folder.name)}**: {escape(', '.join(facts_of(results)))}.",
        escape(" ".join([verdict_of(results).sentence, *said_lines(results)])),
        *as_code(folder.about.command),
        *(["\n".join(f"- {escape(warning)}" for warning in results.warnings)] if results.warnings else []),
        *(markdown(table).strip() for table in (*tables, confusion_table(results)) if table.rows),
    ]
    return "\n\n".join(parts) + "\n"


def _wrong(one: Expected) -> str:
    ends = ends_of(one.interval)
    return f"about {count(one.wrong)} are wrong" + (f" (95% interval {_between(ends)})" if ends else "")


def _between(ends: Ends) -> str:
    return DASH if ends is None else f"{count(ends[0])} to {count(ends[1])}"
