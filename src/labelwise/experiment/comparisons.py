"""What is told across the cells of a table: means over columns, differences of two rows, what goes with the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labelwise.experiment.config import ExperimentConfig
from labelwise.experiment.scorer import DrawnScore, Scorer, mean_of
from labelwise.results import SeedStat, Stat
from labelwise.results.experiment import BASE, Compared, Gain, Predicted, TableCell

RowHead = tuple[str, str]
"""Name of a row and of a head."""


@dataclass(frozen=True)
class ColumnScores:
    """Of one column, or of the mean over those of an axis (``column`` None), the scores over all categories by row and
    head, in the order of the seeds."""

    column: int | None
    axis: int
    scorer: Scorer
    scores: dict[RowHead, list[DrawnScore]]

    def gain(self, one: RowHead, over: RowHead) -> Gain:
        """Gain of one row and head over another and its interval."""
        return self.scorer.gains(self.scores[over], self.scores[one])[0]


def mean_columns(columns: Sequence[ColumnScores]) -> list[ColumnScores]:
    """The mean column of every axis whose columns are all of the same test samples.

    A draw of the bootstrap takes the same samples in all of them, so what they have in common does not pass for
    independent evidence. The columns themselves are not drawn: an interval is for these columns.
    """
    found = []
    for axis in dict.fromkeys(column.axis for column in columns):
        first, *others = [column for column in columns if column.axis == axis]
        if all(first.scorer.has_the_draws_of(other.scorer) for other in others):
            scores = {
                key: [mean_of(same) for same in zip(own, *(other.scores[key] for other in others), strict=True)]
                for key, own in first.scores.items()
            }
            found.append(ColumnScores(None, axis, first.scorer, scores))
    return found


def mean_cells(config: ExperimentConfig, table: Sequence[TableCell], means: Sequence[ColumnScores]) -> list[TableCell]:
    """The means over the columns of every axis, seed by seed, with intervals where ``means`` has them."""
    found = []
    for axis in range(len(config.axis)):
        mean = next((column for column in means if column.axis == axis), None)
        for row, head in dict.fromkeys((cell.row, cell.head) for cell in table if cell.axis == axis):
            own = [cell for cell in table if (cell.axis, cell.row, cell.head) == (axis, row, head)]
            by_seed = _mean_of_all([cell.by_seed for cell in own])
            extra = {name: _mean_of_all([cell.extra[name].by_seed for cell in own]) for name in own[0].extra}
            cell = TableCell(
                column=None,
                axis=axis,
                value="mean",
                row=row,
                head=head,
                metric=own[0].metric,
                test=Stat.over(by_seed) or Stat.unknown(),
                by_seed=by_seed,
                extra={name: SeedStat.of(values) for name, values in extra.items()},
            )
            reference = (config.reference_of(row), BASE)
            if mean is not None and reference != (row, head):
                cell = cell.model_copy(update={"over_reference": mean.gain((row, head), reference)})
            found.append(cell)
    return found


def comparisons(config: ExperimentConfig, columns: Sequence[ColumnScores]) -> list[Compared]:
    """The differences of ``compare`` in every column, those of means among them."""
    found = []
    for pair in config.compare:
        for column in columns:
            gain = column.gain((pair.row, BASE), (pair.over, BASE))
            place = {"column": column.column, "axis": column.axis, "row": pair.row, "over": pair.over}
            found.append(Compared.model_validate(place | gain.model_dump()))
    return found


def predictions(config: ExperimentConfig, table: Sequence[TableCell]) -> list[Predicted]:
    """How each of ``score.predictors`` goes with the score on test over the rows of a column.

    Returns
    -------
    for each column and number: how many ``rows`` have it, and Spearman's ``correlation`` over these, mean and deviation
    over the seeds
    """
    found = []
    for column in range(len(config.columns)):
        cells = [cell for cell in table if cell.column == column and cell.head == BASE and cell.row in config.rows]
        for name in config.score.predictors:
            numbers = [(cell.extra[name].by_seed, cell.by_seed) for cell in cells]
            numbers = [(own, score) for own, score in numbers if None not in own]
            correlation = [
                rank_correlation([own[seed] for own, _ in numbers], [score[seed] for _, score in numbers])
                for seed in range(config.seeds)
            ]
            told = SeedStat.of(correlation)
            found.append(Predicted(column=column, name=name, rows=len(numbers), correlation=told))
    return found


def rank_correlation(x: Sequence[float | None], y: Sequence[float | None]) -> float | None:
    """Spearman's: the correlation of the ranks, equal values sharing theirs; None where one side has a single value."""
    ranks = [pd.Series(values, dtype=float).rank() for values in (x, y)]
    if any(rank.nunique() < 2 for rank in ranks):
        return None
    return float(ranks[0].corr(ranks[1]))


def _mean_of_all(columns: Sequence[Sequence[float | None]]) -> tuple[float | None, ...]:
    """Of every seed the mean over columns; None unless all have the number: a mean over some is not one over all."""
    known = [[value for value in same if value is not None] for same in zip(*columns, strict=True)]
    return tuple(float(np.mean(same)) if len(same) == len(columns) else None for same in known)
