"""The tables of an experiment, cell by cell, for whatever writes them. Files and picture are in `experiment_page`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from labelwise.report.formats import DASH, Spread, duration, interval, percent2, points2, several, short_spread
from labelwise.report.table import Column, Row, Table
from labelwise.results import ExperimentResults
from labelwise.results.experiment import BASE, CellScore, Gain, TableCell

METRICS = {"top1": "top-1 accuracy", "map": "mAP", "mauc": "mean AUC"}
UNITS = {"sample": "", "study": " of studies", "group": " of groups"}
PERCENT = {"top1", "top5", "map", "mauc", "ece", "hidden_map", "refined_label_accuracy"}
"""Scores that are told in percent, as their differences are; all others as they are."""

SCORE = Spread(percent2)


@dataclass(frozen=True)
class TableColumn:
    """A column of the experiment, or the mean over those of an axis (``number`` None); ``cells`` by row and head."""

    axis: int
    number: int | None
    title: str
    value: str
    cells: dict[tuple[str, str], TableCell]

    @property
    def is_mean(self) -> bool:
        """Over the columns of its axis."""
        return self.number is None

    def cell(self, row: str, head: str = BASE) -> TableCell | None:
        """None for a head that an ensemble or a choice does not have."""
        return self.cells.get((row, head))

    def score(self, row: str, head: str = BASE) -> Any:
        """Mean and deviation on test."""
        cell = self.cell(row, head)
        return cell and cell.test

    def extra(self, row: str, name: str) -> Any:
        """Mean and deviation of a further score of the network."""
        cell = self.cell(row)
        return cell and cell.extra.get(name)


def columns_of(results: ExperimentResults) -> list[TableColumn]:
    """Return all columns, one axis after the other; where an axis has several, their mean is the last."""
    found = []
    for number, axis in enumerate(results.axis):
        own = [cell for cell in results.table if cell.axis == number]
        places = dict.fromkeys(cell.column for cell in own)
        for place in places:
            cells = {(cell.row, cell.head): cell for cell in own if cell.column == place}
            if place is not None:
                value = next(iter(cells.values())).value
                shown = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
                found.append(TableColumn(number, place, results.columns[place], shown, cells))
            elif len(places) > 2:
                title = f"mean over {axis.title or axis.key or 'columns'}"
                found.append(TableColumn(number, None, title, "mean", cells))
    return found


def last_columns(results: ExperimentResults) -> list[TableColumn]:
    """Return what sums an axis up: the mean over its columns, or its only column."""
    columns = columns_of(results)
    return [[column for column in columns if column.axis == axis][-1] for axis in range(len(results.axis))]


def metric_of(results: ExperimentResults) -> str:
    """Return what is scored, in words."""
    return METRICS[results.metric] + UNITS[results.unit]


def is_percent(name: str) -> bool:
    """Return whether a further score is told in percent: all its parts are fractions of samples, or means of such."""
    return all(part.rpartition(".")[2] in PERCENT for part in name.split(" - "))


def extra_title(name: str) -> str:
    """Return a further score as a heading."""
    return f"{name}, {'points' if ' - ' in name else '%'}" if is_percent(name) else name


def extra_column(name: str, title: str = "") -> Column:
    """Return a column of a further score."""
    return Column(title or extra_title(name), SCORE if is_percent(name) else short_spread)


def gain_text(found: Gain | None) -> str:
    """Write a difference in points with its interval."""
    if found is None:
        return ""
    low, high = found.interval
    if found.gain is None or low is None or high is None:
        return DASH
    return f"{points2(found.gain)} ({interval((low, high), 2)})"


def difference_text(cell: CellScore | None) -> str:
    """Write points over the reference row; of a head also over its network, of an ensemble over its networks."""
    if cell is None or cell.over_reference is None:
        return ""
    own = cell.over_base or cell.over_networks
    return gain_text(cell.over_reference) + (f" [{gain_text(own)}]" if own is not None else "")


def experiment_tables(results: ExperimentResults) -> list[Table]:
    """Return scores on test, what was chosen, differences, further scores; then those of groups and categories."""
    columns = columns_of(results)
    singles = [column for column in columns if not column.is_mean]
    tables = _scores(results, columns)
    tables += [_choices(results, columns)] if results.best else []
    tables += [_differences(results, columns)]
    tables += [_compared(results, columns)] if results.compared else []
    tables += [_predicted(results, singles)] if results.predicted else []
    tables += _further_scores(results, columns)
    for column in singles:
        for kind in ("groups", "categories"):
            if getattr(results, kind):
                tables += part_tables(results, column, kind)
    return tables


def terminal_tables(results: ExperimentResults) -> list[Table]:
    """Return a table for each axis without further scores: of the means over its columns, or of its only column."""
    found = []
    for column in last_columns(results):
        title = ", ".join(filter(None, [f"{metric_of(results)} on test in %", column.title]))
        rows = [Row([row, *(column.score(row, head) for head in results.heads)]) for row in _rows(results)]
        heads = [Column("", right=False), *(Column(head, SCORE) for head in _heads(results))]
        found.append(Table(heads, rows, title=f"{title}, {several(results.seeds, 'seed')}"))
    return found


def experiment_lines(results: ExperimentResults) -> list[str]:
    """Return what was found: the best cell of the means, chosen on nothing, so no claim; then what select chose."""
    lines = []
    for column in last_columns(results):
        own = [cell for cell in column.cells.values() if cell.row in results.rows]
        best = max(own, key=lambda cell: cell.test.mean or 0.0)
        name = best.row if best.head == BASE else f"{best.row} with {best.head}"
        lines.append(f"Highest{', ' if column.title else ''}{column.title}: {name}, {SCORE(best.test)}.")
    for choice in results.best:
        for column in columns_of(results):
            cell = column.cell(choice.name)
            if cell is None or cell.over_reference is None:
                continue
            of = "" if column.is_mean else f"{cell.chosen} (chosen on select, of {cell.candidates}), "
            lines.append(
                f"{', '.join(filter(None, [choice.name, column.title]))}: {of}{SCORE(cell.test)}, points over"
                f" {choice.reference}: {gain_text(cell.over_reference)}."
            )
    return [*lines, f"It took {duration(results.seconds)}."]


def _rows(results: ExperimentResults) -> list[str]:
    """Rows, ensembles, then choices."""
    return [*results.rows, *(choice.name for choice in results.best)]


def _heads(results: ExperimentResults) -> list[str]:
    """What the heads are called; a network that has no other is called by what is scored."""
    return list(results.heads) if len(results.heads) > 1 else [metric_of(results)]


def _by_score(results: ExperimentResults, columns: Sequence[TableColumn]) -> bool:
    """Several columns of networks without heads: a table a score; otherwise a table a column has all scores."""
    return len(results.heads) == 1 and len(columns) > 1


def _scores(results: ExperimentResults, columns: Sequence[TableColumn]) -> list[Table]:
    name = Column("", right=False)
    if _by_score(results, columns):
        rows = [Row([row, *(column.score(row) for column in columns)]) for row in _rows(results)]
        titles = [name, *(Column(column.title, SCORE) for column in columns)]
        return [Table(titles, rows, title=f"{metric_of(results)}, %")]
    found = []
    for column in columns:
        rows = [
            Row(
                [
                    row,
                    *(column.score(row, head) for head in results.heads),
                    *(column.extra(row, name) for name in results.extra),
                ]
            )
            for row in _rows(results)
        ]
        titles = [name, *(Column(head, SCORE) for head in _heads(results)), *map(extra_column, results.extra)]
        found.append(Table(titles, rows, title=column.title))
    return found


def _further_scores(results: ExperimentResults, columns: Sequence[TableColumn]) -> list[Table]:
    if not _by_score(results, columns):
        return []
    return [
        Table(
            [Column("", right=False), *(extra_column(name, column.title) for column in columns)],
            [Row([row, *(column.extra(row, name) for column in columns)]) for row in _rows(results)],
            title=extra_title(name),
        )
        for name in results.extra
    ]


def part_tables(results: ExperimentResults, column: TableColumn, kind: str) -> list[Table]:
    """Return scores, and points over the reference row, by ``groups`` or by ``categories``."""
    cells = [(name, cell) for name, row, head in _names(results) if (cell := column.cell(row, head)) is not None]
    parts: list[tuple[str, TableCell, dict[str, CellScore]]] = [(name, c, getattr(c, kind) or {}) for name, c in cells]
    named = next((list(own) for _, _, own in parts), [])  # another column may have others

    def table(write: Callable[[Any], str], title: str = "", before: str = "") -> Table:
        rows = [
            Row([name, *(own[part] for part in named), cell])
            for name, cell, own in parts
            if title or cell.over_reference is not None
        ]
        return Table([Column("", right=False), *(Column(part, write) for part in (*named, "all"))], rows, title, before)

    return [
        table(lambda cell: SCORE(cell.test), ", ".join(filter(None, [column.title, kind]))),
        table(difference_text, before=f'Points over "{results.reference}", as above:'),
    ]


def _choices(results: ExperimentResults, columns: Sequence[TableColumn]) -> Table:
    """Of every column which row was chosen, and what it gains on test."""
    candidates = {choice.name: len(choice.rows) for choice in results.best}
    rows = []
    for choice in results.best:
        over = choice.reference
        over += f" (of {candidates[over]})" if over in candidates else ""
        for column in columns:
            cell = column.cell(choice.name)
            if cell is None or (column.is_mean and cell.over_reference is None):
                continue
            chosen = [cell.chosen or DASH, cell.candidates or DASH, cell.select]
            name = ", ".join(filter(None, [choice.name, column.title]))
            rows.append(Row([name, *chosen, cell.test, cell.over_reference, over]))
    before = (
        f"The mean {metric_of(results)} on select over the seeds chose; test chose nothing. Points have a 95% paired"
        " bootstrap interval over groups of test samples and seeds. The choice is not made again in its draws."
    )
    titles = ["", "chosen", "candidates"]
    columns_ = [Column(title, right=title == "candidates") for title in titles]
    columns_ += [Column("select, %", SCORE), Column("test, %", SCORE), Column("points on test", gain_text)]
    return Table([*columns_, Column("over", right=False)], rows, "Chosen on select", before)


def _differences(results: ExperimentResults, columns: Sequence[TableColumn]) -> Table:
    found = [(name, [column.cell(row, head) for column in columns]) for name, row, head in _names(results)]
    rows = [Row([name, *cells]) for name, cells in found if any(map(difference_text, cells))]
    own = any(cell.over_base or cell.over_networks for cell in results.table)
    brackets = " In brackets: of a head over its own network, of an ensemble over the mean of its networks."
    before = (
        f'Points over "{results.reference}" as it is trained, with a 95% paired bootstrap interval over groups of test'
        f" samples and seeds.{brackets if own else ''}"
    )
    return Table(_value_columns(columns, difference_text), rows, "Differences on test", before)


def _compared(results: ExperimentResults, columns: Sequence[TableColumn]) -> Table:
    """The differences that were asked for beside those over the reference row."""
    found = {(entry.row, entry.over, entry.axis, entry.column): entry for entry in results.compared}
    pairs = dict.fromkeys((row, over) for row, over, _, _ in found)
    rows = [
        Row([f"{row}, over {over}", *(found.get((row, over, c.axis, c.number)) for c in columns)])
        for row, over in pairs
    ]
    return Table(_value_columns(columns, gain_text), rows, "Compared")


def _predicted(results: ExperimentResults, columns: Sequence[TableColumn]) -> Table:
    """Which numbers go with the score over the rows."""
    found = {(entry.name, entry.column): entry for entry in results.predicted}
    rows = [
        Row([name, *(found[name, column.number or 0] for column in columns)])
        for name in dict.fromkeys(name for name, _ in found)
    ]
    before = (
        f"Spearman's rank correlation with {metric_of(results)} on test over the rows that have the number, in each"
        " seed alone: mean ± sample standard deviation over the seeds."
    )
    titles = _value_columns(
        columns, lambda entry: f"{short_spread(entry.correlation)} ({entry.rows} rows)", "correlation"
    )
    return Table(titles, rows, "What goes with the score", before)


def _value_columns(
    columns: Sequence[TableColumn], write: Callable[[Any], str], otherwise: str = "points"
) -> list[Column]:
    return [Column("", right=False), *(Column(column.title or otherwise, write) for column in columns)]


def _names(results: ExperimentResults) -> list[tuple[str, str, str]]:
    """Every row and head but the choices, and what the pair is called."""
    return [(row if head == BASE else f"{row}, {head}", row, head) for row in results.rows for head in results.heads]
