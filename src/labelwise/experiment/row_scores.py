"""Further scores of a network, by their names in its row of ``results.json``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labelwise.results import RefineResults

Numbers = Mapping[str, Any]
"""Content of a row, or of a part of it."""

_NAME = re.compile(r"\w+(\.\w+)*( - \w+(\.\w+)*)?")


def is_name(name: str) -> bool:
    """Whether ``name`` is written as a dotted name, such as ``test.nll``, or as a difference of two."""
    return _NAME.fullmatch(name) is not None


def score_of(row: Numbers, name: str) -> float | None:
    """A number of a row: ``seconds``, ``test.nll``, or a difference such as ``fit.top1 - test.top1``.

    Returns
    -------
    None where the row has no such number
    """
    parts = [_number(row, part) for part in name.split(" - ")]
    if None in parts:
        return None
    first, *rest = [part for part in parts if part is not None]
    return first - sum(rest)


def scored_row(results: RefineResults) -> dict[str, Any]:
    """What the last generation of a run has, with ``chain.seconds`` of all networks of the run, and as ``refinery`` the
    mean numbers of those that labelled it."""
    row = results.last_generation
    refineries = [refinery.model_dump() for refinery in results.refineries_of(row)]
    found = row.model_dump() | {"chain": {"seconds": sum(other.seconds for other in results.rows)}}
    return found | ({"refinery": mean_row(refineries)} if refineries else {})


def names_in(row: Numbers, prefix: str = "") -> Iterator[str]:
    """The names of all numbers of a row."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from names_in(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + key


def mean_row(rows: Sequence[Numbers]) -> dict[str, Any]:
    """The mean of every number that all rows have, nested as they are."""
    found: dict[str, Any] = {}
    for key, value in rows[0].items():
        own = [row.get(key) for row in rows]
        if isinstance(value, Mapping):
            found[key] = mean_row([one if isinstance(one, Mapping) else {} for one in own])
        elif None not in (numbers := [_number(row, key) for row in rows]):
            found[key] = sum(number or 0.0 for number in numbers) / len(rows)
    return found


def _number(row: Numbers, name: str) -> float | None:
    value: Any = row
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
