"""What ``results.json`` of an experiment holds: written by one part, read by the reports."""

from __future__ import annotations

from typing import Any, TypedDict


class TableResults(TypedDict):
    """Scores and differences.

    ``groups`` and ``categories`` have scores of their own beside that of all. ``table`` has an entry for each column,
    row and head, then for each axis, row and head the mean over the columns of the axis (``column`` None). ``compared``
    and ``predicted`` are explained in :mod:`labelwise.experiment.comparisons`. ``trained`` says how many ``networks``
    all cells have, those that they share once, and the ``seconds`` of their training together.
    """

    groups: list[str]
    categories: list[str]
    table: list[dict[str, Any]]
    compared: list[dict[str, Any]]
    predicted: list[dict[str, Any]]
    trained: dict[str, Any]


class ExperimentResults(TableResults):
    """The table and what it is of; ``seconds`` are those of the last call alone."""

    schema: int
    kind: str
    name: str
    description: str
    claim: str
    axis: list[dict[str, Any]]
    columns: list[str]
    rows: list[str]
    heads: list[str]
    best: list[dict[str, Any]]
    extra: list[str]
    reference: str
    seeds: int
    metric: str
    unit: str
    seconds: float
