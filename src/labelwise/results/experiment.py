"""``results.json`` of ``labelwise experiment``: the cells of a table, their differences, and what they were made of."""

from __future__ import annotations

from typing import Any, Literal

from labelwise.config import Metric
from labelwise.results.record import Count, Interval, Number, Record, Seconds, SeedStat, Stat, Task

BASE = "base"
"""What the network itself is called among ``heads``."""

TableMetric = Literal["top1", "map", "mauc"]


def table_metric(task: Task, metric: Metric) -> TableMetric:
    """What a table is scored by, as the rows of its runs call it."""
    if task == "single-label":
        return "top1"
    return "map" if metric == "ap" else "mauc"


class Axis(Record):
    """Columns of a table that differ in one key, or in several."""

    key: str | None
    values: tuple[Any, ...]
    columns: dict[str, tuple[str, ...]]
    title: str
    overrides: tuple[str, ...]


class Choice(Record):
    """Rows of which the one is told that is best on ``select``, and what it is compared with."""

    name: str
    rows: tuple[str, ...]
    reference: str


class Gain(Record):
    """A difference on test and its 95% interval."""

    gain: Number
    interval: Interval


class CellScore(Record):
    """A score on test, over all categories or over some, and its differences.

    ``over_reference`` is over the network of the reference row, ``over_base`` over a head's own network,
    ``over_networks`` over the mean of an ensemble's networks.
    """

    test: Stat
    by_seed: tuple[Number, ...]
    over_reference: Gain | None = None
    over_base: Gain | None = None
    over_networks: Gain | None = None


class TableCell(CellScore):
    """One row and head in one column; ``column`` is None for the mean over the columns of an axis.

    ``extra`` are further scores by name. ``chosen`` and ``candidates`` are of a choice. The mean over columns has no
    ``select``, ``seconds``, ``groups`` and ``categories``.
    """

    column: Count | None
    axis: Count
    value: Any
    row: str
    head: str
    metric: TableMetric
    chosen: str | None = None
    candidates: Count | None = None
    select: Stat | None = None
    seconds: Stat | None = None
    extra: dict[str, SeedStat]
    groups: dict[str, CellScore] | None = None
    categories: dict[str, CellScore] | None = None


class Compared(Gain):
    """A difference that ``compare`` asks for, in one column or in the mean over those of an axis."""

    column: Count | None
    axis: Count
    row: str
    over: str


class Predicted(Record):
    """Spearman's rank correlation of a number with the score on test, over the ``rows`` of a column that have it."""

    column: Count
    name: str
    rows: Count
    correlation: SeedStat


class Trained(Record):
    """Networks of all cells, those that cells share once, and the seconds of their training together."""

    networks: Count
    seconds: Seconds


class ExperimentResults(Record):
    """A table. ``rows`` ends with the ensembles; ``seconds`` are those of the last call alone."""

    kind: Literal["experiment"]
    name: str
    description: str
    claim: str
    axis: tuple[Axis, ...]
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    heads: tuple[str, ...]
    best: tuple[Choice, ...]
    extra: tuple[str, ...]
    reference: str
    seeds: Count
    metric: TableMetric
    unit: Literal["sample", "study", "group"]
    groups: tuple[str, ...]
    categories: tuple[str, ...]
    table: tuple[TableCell, ...]
    compared: tuple[Compared, ...]
    predicted: tuple[Predicted, ...]
    trained: Trained
    seconds: Seconds
