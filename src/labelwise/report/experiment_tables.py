"""What the tables of an experiment say, cell by cell, for whatever writes them. Start at `experiment_tables`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

BASE = "base"
METRICS = {"top1": "top-1 accuracy", "map": "mAP", "mauc": "mean AUC"}
UNITS = {"sample": "", "study": " of studies", "group": " of groups"}
PERCENT = {"top1", "top5", "map", "mauc", "ece", "hidden_map", "refined_label_accuracy"}
"""Scores that are told in percent, as their differences are; all others as they are."""
NOTHING = "–"

Entry = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """One table: ``rows`` are names with their cells, one for each of ``heads``; ``before`` is said above it."""

    title: str
    heads: list[str]
    rows: list[tuple[str, list[str]]]
    before: str = ""


@dataclass(frozen=True)
class Column:
    """A column, or the mean over those of an axis, with its entries by row and head."""

    axis: int
    number: int | None
    title: str
    value: str
    entries: dict[tuple[str, str], Entry]

    @property
    def is_mean(self) -> bool:
        """Over the columns of its axis."""
        return self.number is None

    def entry(self, row: str, head: str = BASE) -> Entry | None:
        """None for a head that an ensemble or a choice does not have."""
        return self.entries.get((row, head))


def experiment_tables(results: dict[str, Any]) -> list[Table]:
    """Scores on test, what was chosen, differences, further scores; then those of groups and categories.

    Parameters
    ----------
    results : content of ``results.json``
    """
    columns = columns_of(results)
    singles = [column for column in columns if not column.is_mean]
    parts = [
        table
        for column in singles
        for kind in ("groups", "categories")
        if results[kind]
        for table in _parts(results, column, kind)
    ]
    choices = [_choices(results, columns)] if results["best"] else []
    compared = [_compared(results, columns)] if results["compared"] else []
    predicted = [_predicted(results, singles)] if results["predicted"] else []
    further = _further_scores(results, columns)
    differences = [_differences(results, columns), *compared]
    return [*_scores(results, columns), *choices, *differences, *predicted, *further, *parts]


def columns_of(results: dict[str, Any]) -> list[Column]:
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
                title = f"mean over {axis['title'] or axis['key'] or 'columns'}"
                found.append(Column(number, None, title, "mean", entries))
            elif column is not None:
                shown = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
                found.append(Column(number, column, results["columns"][column], shown, entries))
    return found


def rows_of(results: dict[str, Any]) -> list[str]:
    """Rows, ensembles, then choices."""
    return [*results["rows"], *(best["name"] for best in results["best"])]


def heads_of(results: dict[str, Any]) -> list[str]:
    """What the heads are called; a network that has no other is called by what is scored."""
    return list(results["heads"]) if len(results["heads"]) > 1 else [metric_of(results)]


def metric_of(results: dict[str, Any]) -> str:
    """What is scored, in words."""
    return METRICS[results["metric"]] + UNITS[results["unit"]]


def is_percent(name: str) -> bool:
    """Whether a further score is told in percent: all its parts are fractions of samples, or means of such."""
    return all(part.rpartition(".")[2] in PERCENT for part in name.split(" - "))


def also_title(name: str) -> str:
    """A further score as a heading."""
    return f"{name}, {'points' if ' - ' in name else '%'}" if is_percent(name) else name


def score_cell(entry: Entry | None) -> str:
    """Mean and deviation on test in percent."""
    return NOTHING if entry is None else _cell(entry["test"], True)


def also_cell(entry: Entry | None, name: str) -> str:
    """Mean and deviation of a further score."""
    return NOTHING if entry is None else _cell(entry["extra"].get(name), is_percent(name))


def gain_cell(found: dict[str, Any]) -> str:
    """A difference in points with its interval."""
    if found["gain"] is None:
        return NOTHING
    low, high = found["interval"]
    return f"{100 * found['gain']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def _by_score(results: dict[str, Any], columns: list[Column]) -> bool:
    """Several columns of networks without heads: a table a score; otherwise a table a column has all scores."""
    return len(results["heads"]) == 1 and len(columns) > 1


def _scores(results: dict[str, Any], columns: list[Column]) -> list[Table]:
    if _by_score(results, columns):
        return [_one_score(results, columns, f"{metric_of(results)}, %", score_cell)]
    found = []
    for column in columns:
        rows = []
        for row in rows_of(results):
            cells = [score_cell(column.entry(row, head)) for head in results["heads"]]
            rows.append((row, cells + [also_cell(column.entry(row), name) for name in results["extra"]]))
        found.append(Table(column.title, [*heads_of(results), *map(also_title, results["extra"])], rows))
    return found


def _further_scores(results: dict[str, Any], columns: list[Column]) -> list[Table]:
    if not _by_score(results, columns):
        return []
    return [_one_score(results, columns, also_title(name), partial(also_cell, name=name)) for name in results["extra"]]


def _one_score(
    results: dict[str, Any], columns: list[Column], title: str, cell: Callable[[Entry | None], str]
) -> Table:
    rows = [(row, [cell(column.entry(row)) for column in columns]) for row in rows_of(results)]
    return Table(title, [column.title for column in columns], rows)


def _parts(results: dict[str, Any], column: Column, kind: str) -> list[Table]:
    """Scores, and points over the reference row, by group or by category."""
    entries = [(name, column.entry(row, head)) for name, row, head in _names(results)]
    named = next(iter(list(entry[kind]) for _, entry in entries if entry), [])  # another column may have others
    scores = [
        (name, [*(score_cell(entry[kind][part]) for part in named), score_cell(entry)])
        for name, entry in entries
        if entry
    ]
    gains = [
        (name, [*(_difference(entry[kind][part]) for part in named), _difference(entry)])
        for name, entry in entries
        if entry and "over_reference" in entry
    ]
    what = f"{column.title}, {kind}" if column.title else kind
    before = f'Points over "{results["reference"]}", as above:'
    return [Table(what, [*named, "all"], scores), Table("", [*named, "all"], gains, before)]


def _choices(results: dict[str, Any], columns: list[Column]) -> Table:
    """Of every column which row was chosen, and what it gains on test."""
    candidates = {best["name"]: len(best["rows"]) for best in results["best"]}
    rows = []
    for best in results["best"]:
        name, reference = best["name"], best["reference"]
        over = f"{reference} (of {candidates[reference]})" if reference in candidates else reference
        for column in columns:
            entry = column.entry(name)
            assert entry is not None  # of every column something is chosen
            if column.is_mean and "over_reference" not in entry:
                continue
            chosen = [NOTHING] * 3
            if not column.is_mean:
                chosen = [entry["chosen"], str(entry["candidates"]), _cell(entry["select"], True)]
            cells = [*chosen, score_cell(entry)]
            rows.append(
                (", ".join(filter(None, [name, column.title])), [*cells, gain_cell(entry["over_reference"]), over])
            )
    heads = ["chosen", "candidates", "select, %", "test, %", "points on test", "over"]
    before = (
        f"By the mean {metric_of(results)} on select over the seeds; test chose nothing. Points with a 95% paired"
        " bootstrap interval over groups of test samples and seeds; the choice is not made again in its draws."
    )
    return Table("Chosen on select", heads, rows, before)


def _differences(results: dict[str, Any], columns: list[Column]) -> Table:
    rows = [
        (name, found)
        for name, row, head in _names(results)
        if any(found := [_difference(column.entry(row, head)) for column in columns])
    ]
    own = any({"over_base", "over_networks"} & entry.keys() for entry in results["table"])
    brackets = "; in brackets behind a head: over its own network, behind an ensemble: over the mean of its networks"
    before = (
        f'Points over "{results["reference"]}" as it is trained (95% paired bootstrap over groups of test samples and'
        f" seeds){brackets if own else ''}."
    )
    return Table("Differences on test", [column.title or "points" for column in columns], rows, before)


def _compared(results: dict[str, Any], columns: list[Column]) -> Table:
    """The differences that were asked for beside those over the reference row."""
    found = {(entry["row"], entry["over"], entry["axis"], entry["column"]): entry for entry in results["compared"]}
    pairs = dict.fromkeys((row, over) for row, over, _, _ in found)
    rows = []
    for row, over in pairs:
        entries = [found.get((row, over, column.axis, column.number)) for column in columns]
        rows.append((f"{row}, over {over}", ["" if entry is None else gain_cell(entry) for entry in entries]))
    return Table("Compared", [column.title or "points" for column in columns], rows)


def _predicted(results: dict[str, Any], columns: list[Column]) -> Table:
    """Which numbers go with the score over the rows."""
    found = {(entry["name"], entry["column"]): entry for entry in results["predicted"]}
    rows = []
    for name in dict.fromkeys(name for name, _ in found):
        entries = [found[name, column.number] for column in columns]
        rows.append((name, [f"{_cell(entry['correlation'], False)} ({entry['rows']} rows)" for entry in entries]))
    before = (
        f"Spearman's rank correlation with {metric_of(results)} on test over the rows that have the number, in each"
        " seed alone: mean ± sample standard deviation over the seeds."
    )
    return Table("What goes with the score", [column.title or "correlation" for column in columns], rows, before)


def _names(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Every row and head but the choices, and what the pair is called."""
    return [
        (row if head == BASE else f"{row}, {head}", row, head) for row in results["rows"] for head in results["heads"]
    ]


def _difference(entry: Entry | None) -> str:
    """Points over the reference row; of a head in brackets over its network, of an ensemble over its networks."""
    if entry is None or "over_reference" not in entry:
        return ""
    own = entry.get("over_base", entry.get("over_networks"))
    text = gain_cell(entry["over_reference"])
    return text if own is None else f"{text} [{gain_cell(own)}]"


def _cell(stat: dict[str, Any] | None, percent: bool) -> str:
    if stat is None or stat["mean"] is None:
        return NOTHING
    factor, digits = (100, 2) if percent else (1, 3 if abs(stat["mean"]) < 10 else 1)
    spread = "" if stat["std"] is None else f" ± {factor * stat['std']:.{digits}f}"
    return f"{factor * stat['mean']:.{digits}f}{spread}"
