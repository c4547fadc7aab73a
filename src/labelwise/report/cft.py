"""What a run of `labelwise cft` says in words, numbers and tables: for the page, the terminal and Markdown.

`select` chose the heads, so its gain is too good by construction; `test` is what the words go by. The page is made in
`cft_page`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

from labelwise.report.formats import (
    DASH,
    Ends,
    count,
    duration,
    interval,
    interval2,
    percent,
    percent2,
    points,
    points2,
    several,
    shorten,
)
from labelwise.report.page import Verdict, tone_of
from labelwise.report.read import Folder
from labelwise.report.table import Cell, Column, Row, Table, as_code, escape, markdown
from labelwise.results import CftResults
from labelwise.results.cft import Category, CategoryScores, MeanScore

METRICS = {"ap": ("AP", "mAP"), "auc": ("AUC", "mean AUC")}
STATUS_TITLES = {"improved": "improved", "unchanged": "kept", "not_fitted": "not fitted"}
TONES = {"improved": "gain", "unchanged": "", "not_fitted": "mixed"}
WIDTH = 100
"""Columns of a terminal that the table needs."""

MOST_ROWS = {"terminal": 39, "markdown": 100, "page": 300}
MOST_WARNINGS, MOST_REASONS, MOST_NAMES = 8, 12, 12

Score = MeanScore | CategoryScores
Writer = Literal["terminal", "markdown", "page"]


class Run:
    """The results of a run, with what every writer asks of them.

    Attributes
    ----------
    results : as they are written
    metric, mean_name : the objective of one category and its mean over categories, in words
    test : the means on test; None where the run has no test split
    split : that gains are told of: test, or select where there is nothing else
    ranked : the categories by their gain, largest first, then those that could not be scored
    """

    def __init__(self, results: CftResults) -> None:
        self.results, self.test = results, results.mean.test
        self.metric, self.mean_name = METRICS[results.objective]
        self.split = "select" if self.test is None else "test"
        self.ranked = sorted(results.categories, key=self._place)

    def _place(self, category: Category) -> tuple[bool, float, int, str]:
        gain = self.gain(category)
        return gain is None, -(gain or 0.0), list(STATUS_TITLES).index(category.status), category.name

    def score(self, category: Category) -> CategoryScores:
        """What a category's gain is read from."""
        return category.test or category.select

    def gain(self, category: Category) -> float | None:
        """A category's gain on `split`."""
        return self.score(category).gain

    def excerpt(self, most: int) -> tuple[list[Category], list[Category], list[Category]]:
        """Return the first of `ranked`, those left out, and the last; all are first where they fit.

        Categories without a gain are the first to be left out.
        """
        found = self.ranked
        scored = sum(self.gain(category) is not None for category in found)
        if len(found) <= most or scored < most:
            return found[:most], found[most:], []
        head, tail = most - most // 2, scored - most // 2
        return found[:head], found[head:tail] + found[scored:], found[tail:scored]


def gain_of(score: Score | None) -> float | None:
    """Return after minus before."""
    return None if score is None or score.before is None or score.after is None else score.after - score.before


def ends_of(score: Score | None) -> Ends:
    """Return the 95% interval of a gain."""
    low, high = (score and score.gain_interval) or (None, None)
    return None if low is None or high is None else (low, high)


def change(score: Score | None, digits: int = 1) -> str:
    """Write before and after."""
    if score is None or (score.before is None and score.after is None):
        return DASH
    return f"{percent(score.before, digits)} → {percent(score.after, digits)}"


change2 = partial(change, digits=2)


def verdict_of(run: Run) -> Verdict:
    """Return whether the new heads are better on test, and how sure that is."""
    name, test, select = run.mean_name, run.test, run.results.mean.select
    if test is None:
        said = f"{name} on select: {_told(select)}. " if gain_of(select) is not None else ""
        said += "This run has no test split: select chose the heads and nothing independent was measured."
        return Verdict("open", "not measured independently", said)
    if gain_of(test) is None:
        return Verdict("open", "not scored", "No category could be scored on test, so nothing is known about the gain.")
    ends = ends_of(test)
    tone = tone_of(ends)
    if ends is None:
        return Verdict(
            tone,
            "too few to tell",
            f"{name} on test: {_told(test)}; test has too few positives or negatives for an interval.",
        )
    sentence = f"{name} on test: {_told(test)} (95% interval {interval2(ends)})."
    badges = {"gain": "better on test", "loss": "worse on test", "mixed": "no clear gain on test"}
    if ends == (0.0, 0.0):
        return Verdict(tone, "no change on test", f"{sentence} The scores are the same as before.")
    chance = " The interval includes 0: this may be chance." if tone == "mixed" else ""
    return Verdict(tone, badges[tone], sentence + chance)


def overstatement_of(run: Run) -> float | None:
    """Return the gain on select minus the gain on test; None where one of them is missing."""
    select, test = gain_of(run.results.mean.select), gain_of(run.test)
    return None if select is None or test is None else select - test


def overstatement_line(run: Run) -> str:
    """Say by how much the split that chose is too optimistic; nothing where that was not measured."""
    over, select, test = overstatement_of(run), run.results.mean.select, run.test
    if over is None or test is None:
        return ""
    said = f"select overstates the gain by {percent2(over)} points."
    if abs(over) < 5e-5:
        said = "as much as on test."
    elif over < 0:
        said = f"select understates it by {percent2(-over)} points here."
    line = f"On select, which chose the heads, {run.mean_name} gained {points2(gain_of(select))} points: {said}"
    others = f" The means are over {select.scored:,} categories on select and {test.scored:,} on test, so part of the"
    return line if select.scored == test.scored else f"{line}{others} difference is one of categories."


def count_line(run: Run) -> str:
    """Say how many categories got a new head, kept the old one or could not be fitted, and in what time."""
    counts, total = run.results.counts, len(run.results.categories)
    line = f"Of {several(total, 'category', 'categories')}, {counts.improved:,} got a new head, "
    line += f"{counts.unchanged:,} kept the old one and {counts.not_fitted:,} could not be fitted"
    return f"{line}, in {duration(run.results.seconds)}."


def clear_line(run: Run) -> str:
    """Say what test makes of the categories with a new head; nothing without a test split."""
    improved = [c.test for c in run.results.categories if c.status == "improved" and gain_of(c.test) is not None]
    known = [test.clear for test in improved if test is not None and ends_of(test) is not None]
    line = f"Of the {len(known):,} with a new head that test can judge, {known.count('better'):,} are clearly better "
    line += f"there (false discovery rate 5%), {known.count('worse'):,} clearly worse, {known.count(None):,} cannot be"
    line = f"{line} told from no change." if known else ""
    few = len(improved) - len(known)
    return " ".join([line, f"{few:,} have too few positives or negatives in test to tell."][: 1 + (few > 0)]).strip()


def said_lines(run: Run) -> list[str]:
    """Return all that is said under the verdict."""
    return [line for line in (overstatement_line(run), count_line(run), clear_line(run)) if line]


def summary_lines(results: CftResults) -> list[str]:
    """Return what a run found, in a few plain lines: the verdict first, then overstatement, counts and warnings."""
    run, warnings = Run(results), results.warnings
    lines = [verdict_of(run).sentence, *said_lines(run)]
    for reason, number, names in reasons_of(run, "not_fitted")[:3]:
        lines.append(f"Not fitted: {number:,} ({reason}): {', '.join(names[:5])}{' …' if number > 5 else ''}.")
    lines += [f"Warning: {' '.join(warning.split())}" for warning in warnings[:MOST_WARNINGS]]
    if len(warnings) > MOST_WARNINGS:
        lines.append(f"{len(warnings) - MOST_WARNINGS} more warnings stand in results.json.")
    if hidden := run.excerpt(MOST_ROWS["terminal"])[1]:
        lines.append(f"The table leaves out {len(hidden):,} categories ({status_counts(hidden)}).")
    return lines


def reasons_of(run: Run, status: str) -> list[tuple[str, int, list[str]]]:
    """Return (reason, how many categories, the first of their names) for one status, commonest reason first.

    Reasons beyond `MOST_REASONS` are put together in a last entry.
    """
    groups: dict[str, list[str]] = {}
    for category in run.results.categories:
        if category.status == status:
            groups.setdefault(category.reason or "no reason given", []).append(shorten(category.name, 60))
    order = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    found = [(reason, len(names), names[:MOST_NAMES]) for reason, names in order[:MOST_REASONS]]
    rest = [name for _, names in order[MOST_REASONS:] for name in names]
    return [*found, ("other reasons", len(rest), rest[:MOST_NAMES])] if rest else found


def facts_of(results: CftResults) -> list[str]:
    """Return what the run is, in a few short phrases."""
    sizes = results.splits.model_dump()
    return [
        f"objective {METRICS[results.objective][0]}",
        f"method {results.method}" + (f", preset {results.preset}" if results.preset else ""),
        "head as given" if results.base == "given" else f"head fitted first ({results.base})",
        several(len(results.categories), "category", "categories"),
        f"{results.dim:,} features",
        " · ".join(f"{size:,} {name}" for name, size in sizes.items() if size),
        f"seed {results.seed}",
    ]


def status_counts(categories: Iterable[Category]) -> str:
    """Write how many categories have each status, such as ``3 improved, 2 kept``."""
    own = [category.status for category in categories]
    return ", ".join(f"{own.count(status):,} {STATUS_TITLES[status]}" for status in STATUS_TITLES if status in own)


def mean_table(run: Run) -> Table:
    """Return the means of both ranking metrics, the objective first, on select beside test."""
    mean, other = run.results.mean, run.results.other
    columns = [Column("mean, in %", right=False), Column("select", change2), Column("gain", points2)]
    if run.test is not None:
        columns += [Column("test", change2), Column("gain", points2), Column("95% interval", interval2)]
    rows = []
    for name, found in ((run.mean_name, mean), (METRICS[other.metric][1], other)):
        values = [name, found.select, gain_of(found.select), found.test, gain_of(found.test), ends_of(found.test)]
        rows.append(Row(values[: len(columns)]))
    return Table(columns, rows)


def category_table(run: Run, writer: Writer) -> Table:
    """Return one line a category, most gained first; of many the first and the last.

    On a terminal it takes 100 columns. A page has room for notes below the numbers, Markdown says why.
    """
    found, tested = run.results.categories, run.test is not None
    most = 26 if writer == "terminal" else 1000
    tuned, measured = any(c.threshold for c in found), any(c.ece for c in found)
    columns: list[tuple[bool, Column, Callable[[Category], Any]]] = [
        (True, Column("category", right=False), lambda c: Cell(shorten(c.name, most), [c.reason])),
        (True, Column("status", STATUS_TITLES.__getitem__, right=False), _status),
        (True, Column("known +/−"), _known),
        (writer == "markdown", Column("unknown", count), lambda c: c.unknown),
        (True, Column("select", change), lambda c: _with_positives(c.select)),
        (tested, Column("test", change), lambda c: _with_positives(c.test)),
        (True, Column("gain", points), lambda c: Cell(run.gain(c), _interval_note(run.score(c)))),
        (tested and writer != "page", Column("95% interval", interval), lambda c: ends_of(c.test)),
        (writer != "page", Column("positives", count), lambda c: run.score(c).positives),
        (writer == "page" and measured, Column("ECE"), _ece),
        (writer == "page" and tuned, Column("threshold"), _threshold),
        (writer == "page" and tuned, Column("at threshold"), _at_threshold),
        (writer == "markdown", Column("why", right=False), lambda c: c.reason),
    ]
    shown = [(column, value) for there, column, value in columns if there]
    first, hidden, last = run.excerpt(MOST_ROWS[writer])
    head, tail = (
        [Row([value(c) for _, value in shown], quiet=c.status == "unchanged") for c in part] for part in (first, last)
    )
    gap = [Row([Cell(f"… {len(hidden):,} more", [status_counts(hidden)])])] if hidden else []
    after = f"sorted by gain on {run.split}; positives: in {run.split}; select chose the heads"
    return Table(
        [column for column, _ in shown], [*head, *gap, *tail], f"{run.metric} in %, before → after", after=after
    )


def cft_markdown(results: CftResults, folder: Folder) -> str:
    """Return the verdict, the command and two tables (fractions in percent) as Markdown."""
    run = Run(results)
    parts = [
        f"**{escape(results.name or folder.name)}**: {escape(', '.join(facts_of(results)))}.",
        escape(" ".join([verdict_of(run).sentence, *said_lines(run)])),
        *as_code(folder.about.command),
        *(["\n".join(f"- {escape(warning)}" for warning in results.warnings)] if results.warnings else []),
        markdown(mean_table(run)).strip(),
        markdown(category_table(run, "markdown")).strip(),
    ]
    return "\n\n".join(parts) + "\n"


def _status(category: Category) -> Cell:
    return Cell(category.status, [category.method], TONES[category.status])


def _known(category: Category) -> Cell:
    notes = [f"{category.unknown:,} unknown"] + ([f"{category.uncertain:,} uncertain"] if category.uncertain else [])
    return Cell(f"{category.known_positive:,}/{category.known_negative:,}", notes)


def _with_positives(scores: CategoryScores | None) -> Cell:
    return Cell(scores, [] if scores is None else [f"{scores.positives:,} positive"])


def _interval_note(scores: CategoryScores) -> list[str]:
    ends = ends_of(scores)
    return [] if ends in (None, (0.0, 0.0)) else [interval(ends)]


def _ece(category: Category) -> Cell:
    found = category.ece
    if found is None or found.after is None:
        return Cell(DASH)
    return Cell(f"{found.after:.3f}", [] if found.before is None else [f"was {found.before:.3f}"])


def _threshold(category: Category) -> Cell:
    found = category.threshold
    if found is None or found.probability is None or found.value is None:
        return Cell(DASH)
    return Cell(f"{found.probability:.3f}", [f"logit {found.value:.2f}".replace("-", "−"), found.rule])


def _at_threshold(category: Category) -> Cell:
    found = category.threshold
    if found is None:
        return Cell(DASH)
    notes = [f"specificity {percent(found.specificity)}", f"{found.positives:,} positive, {found.split}"]
    return Cell(f"P {percent(found.precision)} R {percent(found.recall)}", notes)


def _told(score: MeanScore) -> str:
    return f"{change2(score).replace(' → ', '% → ')}%, {points2(gain_of(score))} points"
