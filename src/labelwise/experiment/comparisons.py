"""What is told across the cells of a table: means over columns, differences of two rows, what goes with the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from labelwise.experiment.config import BASE, ExperimentConfig
from labelwise.experiment.score import Board, Score, mean_of

Entry = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class ColumnScores:
    """Of one column, or of the mean over those of an axis (``column`` None), the scores over all categories by row and
    head, in the order of the seeds."""

    column: int | None
    axis: int
    board: Board
    scores: dict[Key, list[Score]]

    def gain(self, key: Key, over: Key) -> Entry:
        """Points of one row and head over another and their interval."""
        return self.board.gains(self.scores[over], self.scores[key])[0]


def mean_columns(columns: Sequence[ColumnScores]) -> list[ColumnScores]:
    """The mean column of every axis whose columns are all of the same test samples.

    A draw of the bootstrap takes the same samples in all of them, so what they have in common does not pass for
    independent evidence. The columns themselves are not drawn: an interval is for these columns.
    """
    found = []
    for axis in dict.fromkeys(column.axis for column in columns):
        first, *others = [column for column in columns if column.axis == axis]
        if all(first.board.has_the_draws_of(other.board) for other in others):
            scores = {
                key: [mean_of(same) for same in zip(own, *(other.scores[key] for other in others), strict=True)]
                for key, own in first.scores.items()
            }
            found.append(ColumnScores(None, axis, first.board, scores))
    return found


def averages(config: ExperimentConfig, table: Sequence[Entry], means: Sequence[ColumnScores]) -> list[Entry]:
    """Entries of the means over the columns of every axis, seed by seed, with intervals where ``means`` has them."""
    found = []
    for axis in range(len(config.axis)):
        mean = next((column for column in means if column.axis == axis), None)
        for key in dict.fromkeys((entry["row"], entry["head"]) for entry in table if entry["axis"] == axis):
            own = [entry for entry in table if (entry["axis"], entry["row"], entry["head"]) == (axis, *key)]
            values = np.mean([entry["by_seed"] for entry in own], axis=0).tolist()
            entry = {"column": None, "axis": axis, "value": "mean", "row": key[0], "head": key[1]}
            entry |= {"metric": own[0]["metric"], "test": spread(values), "by_seed": values}
            if mean is not None and (config.reference_of(key[0]), BASE) != key:
                entry["over_reference"] = mean.gain(key, (config.reference_of(key[0]), BASE))
            entry["extra"] = {}
            for name in own[0]["extra"]:
                by_column = [of["extra"][name]["by_seed"] for of in own]
                entry["extra"][name] = by_seeds([_mean(same) for same in zip(*by_column, strict=True)])
            found.append(entry)
    return found


def comparisons(config: ExperimentConfig, columns: Sequence[ColumnScores]) -> list[Entry]:
    """The differences of ``compare``: of each pair an entry a column, those of means among them."""
    return [
        {"column": column.column, "axis": column.axis, "row": pair.row, "over": pair.over}
        | column.gain((pair.row, BASE), (pair.over, BASE))
        for pair in config.compare
        for column in columns
    ]


def predictions(config: ExperimentConfig, table: Sequence[Entry]) -> list[Entry]:
    """How each of ``score.predictors`` goes with the score on test over the rows of a column.

    Returns
    -------
    for each column and number: how many ``rows`` have it, and Spearman's ``correlation`` over these, mean and deviation
    over the seeds
    """
    found = []
    for column in range(len(config.columns)):
        rows = [entry for entry in table if entry["column"] == column and entry["head"] == BASE]
        rows = [entry for entry in rows if entry["row"] in config.rows]
        for name in config.score.predictors:
            numbers = [(entry["extra"][name]["by_seed"], entry["by_seed"]) for entry in rows]
            numbers = [(own, score) for own, score in numbers if None not in own]
            correlation = [
                rank_correlation([own[seed] for own, _ in numbers], [score[seed] for _, score in numbers])
                for seed in range(config.seeds)
            ]
            told = by_seeds(correlation)
            found.append({"column": column, "name": name, "rows": len(numbers), "correlation": told})
    return found


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's: the correlation of the ranks, equal values sharing theirs; None where one side has a single value."""
    ranks = [pd.Series(values, dtype=float).rank() for values in (x, y)]
    if any(rank.nunique() < 2 for rank in ranks):
        return None
    return float(ranks[0].corr(ranks[1]))


def by_seeds(values: list[float | None]) -> Entry:
    """Mean and deviation over the seeds that have the number."""
    known = [value for value in values if value is not None]
    return {**(spread(known) or {"mean": None, "std": None}), "by_seed": values}


def spread(values: list[float]) -> dict[str, float | None] | None:
    """Mean and sample standard deviation; None without values."""
    if not values:
        return None
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _mean(values: Sequence[float | None]) -> float | None:
    """None unless all are there: a mean over some columns is not one over all."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
