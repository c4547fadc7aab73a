"""The tables of an experiment, cell by cell, for whatever writes them. Files and picture are in `experiment_page`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from labelwise.report.formats import DASH, Spread, duration, interval, percent2, points2, several, short_spread
from labelwise.report.table import Column, Row, Table
from labelwise.results import ExperimentResults
from labelwise.results.experiment import BASE, CellScore, Gain, Predicted, TableCell

METRICS = {"top1": "top-1 accuracy", "map": "mAP", "mauc": "mean AUC"}
UNITS = {"sample": "", "study": " of studies", "group": " of groups"}
PERCENT = {"top1", "top5", "map", "mauc", "ece", "hidden_map", "refined_label_accuracy"}
"""Scores that are told in percent, as their differences are; all others as they are."""

SCORE = Spread(percent2)
Read = Callable[[str], Any]
"""What a column says of a row, by the name of the row."""


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
    kinds = [kind for kind in ("groups", "categories") if getattr(results, kind)]
    return [
        *_scores(results, columns),
        *([_choices(results, columns)] if results.best else []),
        _differences(results, columns),
        *([_compared(results, columns)] if results.compared else []),
        *([_predicted(results, singles)] if results.predicted else []),
        *_further_scores(results, columns),
        *(table for column in singles for kind in kinds for table in part_tables(results, column, kind)),
    ]


def terminal_tables(results: ExperimentResults) -> list[Table]:
    """Return a table for each axis without further scores: of the means over its columns, or of its only column."""
    found = []
    for column in last_columns(results):
        what = ", ".join(filter(None, [f"{metric_of(results)} on test in %", column.title]))
        title = f"{what}, {several(results.seeds, 'seed')}"
        found.append(_table(title, _rows(results), _score_columns(results, column)))
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
            cell, name = column.cell(choice.name), ", ".join(filter(None, [choice.name, column.title]))
            if cell is not None and cell.over_reference is not None:
                of = "" if column.is_mean else f"{cell.chosen} (chosen on select, of {cell.candidates}), "
                gain = f"points over {choice.reference}: {gain_text(cell.over_reference)}"
                lines.append(f"{name}: {of}{SCORE(cell.test)}, {gain}.")
    return [*lines, f"It took {duration(results.seconds)}."]


def _rows(results: ExperimentResults) -> list[str]:
    """Rows, ensembles, then choices."""
    return [*results.rows, *(choice.name for choice in results.best)]


def _table(title: str, rows: Sequence[str], columns: Sequence[tuple[Column, Read]], before: str = "") -> Table:
    """A table of named rows: what each column reads of a row, in its format."""
    cells = [Row([row, *(read(row) for _, read in columns)]) for row in rows]
    return Table([Column("", right=False), *(column for column, _ in columns)], cells, title, before)


def _score_columns(results: ExperimentResults, column: TableColumn) -> list[tuple[Column, Read]]:
    """A column a head; a network that has no other is called by what is scored."""
    names = results.heads if len(results.heads) > 1 else [metric_of(results)]
    pairs = zip(names, results.heads, strict=True)
    return [(Column(name, SCORE), partial(column.score, head=head)) for name, head in pairs]


def _extra_column(column: TableColumn, name: str, title: str) -> tuple[Column, Read]:
    return Column(title, SCORE if is_percent(name) else short_spread), partial(column.extra, name=name)


def _by_score(results: ExperimentResults, columns: Sequence[TableColumn]) -> bool:
    """Several columns of networks without heads: a table a score; otherwise a table a column has all scores."""
    return len(results.heads) == 1 and len(columns) > 1


def _scores(results: ExperimentResults, columns: Sequence[TableColumn]) -> list[Table]:
    if _by_score(results, columns):
        shown = [(Column(column.title, SCORE), column.score) for column in columns]
        return [_table(f"{metric_of(results)}, %", _rows(results), shown)]
    found = []
    for column in columns:
        extra = [_extra_column(column, name, extra_title(name)) for name in results.extra]
        found.append(_table(column.title, _rows(results), [*_score_columns(results, column), *extra]))
    return found


def _further_scores(results: ExperimentResults, columns: Sequence[TableColumn]) -> list[Table]:
    names = results.extra if _by_score(results, columns) else ()
    return [
        _table(extra_title(name), _rows(results), [_extra_column(column, name, column.title) for column in columns])
        for name in names
    ]


def part_tables(results: ExperimentResults, column: TableColumn, kind: str) -> list[Table]:
    """Return scores, and points over the reference row, by ``groups`` or by ``categories``."""
    cells = {name: cell for name, key in _names(results).items() if (cell := column.cell(*key)) is not None}
    parts = {name: {**(getattr(cell, kind) or {}), "all": cell} for name, cell in cells.items()}
    named = next(iter(parts.values()), {})  # another column may have others

    def columns(write: Callable[[Any], str]) -> list[tuple[Column, Read]]:
        return [(Column(part, write), lambda name, part=part: parts[name][part]) for part in named]  # type: ignore[misc]

    title = ", ".join(filter(None, [column.title, kind]))
    gained = [name for name, cell in cells.items() if cell.over_reference is not None]
    return [
        _table(title, list(parts), columns(lambda cell: SCORE(cell.test))),
        _table("", gained, columns(difference_text), f'Points over "{results.reference}", as above:'),
    ]


def _choices(results: ExperimentResults, columns: Sequence[TableColumn]) -> Table:
    """Of every column which row was chosen, and what it gains on test."""
    candidates = {choice.name: f" (of {len(choice.rows)})" for choice in results.best}
    rows = []
    for choice in results.best:
        over = choice.reference + candidates.get(choice.reference, "")
        for column in columns:
            cell = column.cell(choice.name)
            if cell is not None and not (column.is_mean and cell.over_reference is None):
                name = ", ".join(filter(None, [choice.name, column.title]))
                chosen = [cell.chosen or DASH, cell.candidates or DASH, cell.select]
                rows.append(Row([name, *chosen, cell.test, cell.over_reference, over]))
    before = (
        f"The mean {metric_of(results)} on select over the seeds chose; test chose nothing. Points have a 95% paired"
        " interval over groups of test samples and seeds. It does not make the choice again."
    )
    heads = [Column("", right=False), Column("chosen", right=False), Column("candidates"), Column("select, %", SCORE)]
    heads += [Column("test, %", SCORE), Column("points on test", gain_text), Column("over", right=False)]
    return Table(heads, rows, "Chosen on select", before)


def _differences(results: ExperimentResults, columns: Sequence[TableColumn]) -> Table:
    names = _names(results)
    told = [name for name, key in names.items() if any(difference_text(column.cell(*key)) for column in columns)]
    own = any(cell.over_base or cell.over_networks for cell in results.table)
    brackets = " In brackets: of a head over its own network, of an ensemble over the mean of its networks."
    before = (
        f'Points over "{results.reference}" as it is trained, with a 95% paired interval over groups of test'
        f" samples and seeds.{brackets if own else ''}"
    )
    shown = [(Column(c.title or "points", difference_text), lambda name, c=c: c.cell(*names[name])) for c in columns]
    return _table("Differences on test", told, shown, before)


def _compared(results: ExperimentResults, columns: Sequence[TableColumn]) -> Table:
    """The differences that were asked for beside those over the reference row."""
    found = {(f"{one.row}, over {one.over}", one.axis, one.column): one for one in results.compared}
    shown = [
        (Column(c.title or "points", gain_text), lambda name, c=c: found.get((name, c.axis, c.number))) for c in columns
    ]
    return _table("Compared", list(dict.fromkeys(name for name, _, _ in found)), shown)


def _predicted(results: ExperimentResults, columns: Sequence[TableColumn]) -> Table:
    """Which numbers go with the score over the rows."""
    found = {(one.name, one.column): one for one in results.predicted}

    def write(one: Predicted) -> str:
        return f"{short_spread(one.correlation)} ({one.rows} rows)"

    before = (
        f"Spearman's rank correlation with {metric_of(results)} on test over the rows that have the number, in each"
        " seed alone: mean ± sample standard deviation over the seeds."
    )
    shown = [(Column(c.title or "correlation", write), lambda name, c=c: found[name, c.number]) for c in columns]
    return _table("What goes with the score", list(dict.fromkeys(name for name, _ in found)), shown, before)


def _names(results: ExperimentResults) -> dict[str, tuple[str, str]]:
    """Every row and head but the choices, by what the pair is called."""
    pairs = [(row, head) for row in results.rows for head in results.heads]
    return {row if head == BASE else f"{row}, {head}": (row, head) for row, head in pairs}
