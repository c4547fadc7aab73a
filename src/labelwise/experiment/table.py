"""The table of a finished experiment: scores of every network, head, ensemble and choice, and their differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.cft.ensemble import PREDICTIONS as HEAD_PREDICTIONS
from labelwise.cft.ensemble import combine
from labelwise.data.readers import load_dataset
from labelwise.errors import ConfigError
from labelwise.experiment.comparisons import (
    ColumnScores,
    RowHead,
    comparisons,
    mean_cells,
    mean_columns,
    predictions,
)
from labelwise.experiment.config import BestConfig, Cell, ExperimentConfig, all_cells, cell_folder, cell_recipe
from labelwise.experiment.row_scores import names_in, score_of, scored_row
from labelwise.experiment.scorer import DrawnScore, Scorer, mean_of
from labelwise.refinery.context import PREDICTIONS
from labelwise.results import (
    CftResults,
    ExperimentResults,
    RefineResults,
    Row,
    SeedStat,
    Stat,
    best_on_select,
    read_results_as,
)
from labelwise.results.experiment import BASE, Axis, CellScore, Choice, Gain, TableCell, Trained


@dataclass(frozen=True)
class ScoredNetwork:
    """A network, head or ensemble: its score on test, and what is told of its making.

    ``select`` is what choosing saw: samples, all categories. ``members`` is the mean score of an ensemble's networks,
    ``extra`` further scores by name, of a network alone.
    """

    score: DrawnScore
    select: float | None = None
    seconds: float | None = None
    members: DrawnScore | None = None
    extra: dict[str, float | None] = field(default_factory=dict)


Networks = dict[RowHead, list[ScoredNetwork]]  # in the order of the seeds


@dataclass(frozen=True)
class _FinishedCell:
    """The run of a cell: its folder and its results."""

    folder: Path
    results: RefineResults

    def prediction(self, head: str, scorer: Scorer) -> NDArray[Any]:
        """Logits of the network or a head on test; of single-label data, which answers are right."""
        if head == BASE:
            return self.stored(self.results.last_generation, "correct" if scorer.metric == "top1" else "logits")
        with np.load(self.folder / f"cft-{head}" / HEAD_PREDICTIONS) as stored:
            return np.asarray(stored["logits"][stored["split"] == "test"])

    def stored(self, row: Row, key: str) -> NDArray[Any]:
        """What a network of the run predicts on test."""
        with np.load(self.folder / row.path / PREDICTIONS) as stored:
            return np.asarray(stored[key])

    def scored(self, head: str, scorer: Scorer, extra: Iterable[str]) -> ScoredNetwork:
        """The network that the chain ends with, or one of its heads."""
        score = scorer(self.prediction(head, scorer))
        if head != BASE:
            results = read_results_as(self.folder / f"cft-{head}", CftResults)
            return ScoredNetwork(score, results.mean.select.after, results.seconds)
        row = self.results.last_generation
        select = None if row.select is None else getattr(row.select, scorer.metric)
        numbers = scored_row(self.results)
        return ScoredNetwork(score, select, row.seconds, extra={name: score_of(numbers, name) for name in extra})


Cells = Mapping[Cell, _FinishedCell]


def make_scorer(config: ExperimentConfig, column: int) -> Scorer:
    """What scores a column. It looks at the labels alone, so nothing is decoded.

    Raises
    ------
    LabelwiseError
        If the data cannot be read, or lacks what is to be scored.
    """
    recipe = cell_recipe(config, Cell(config.reference_row, column, 0))
    labels_alone = recipe.data.model_copy(update={"memory": "no", "unlabelled": None})
    return Scorer(load_dataset(labels_alone), recipe.data, config)


def make_table(config: ExperimentConfig, out: Path, seconds: float = 0.0) -> ExperimentResults:
    """Score every network of a finished experiment in ``out``.

    Parameters
    ----------
    config : of the experiment
    out : its folder
    seconds : that it took

    Raises
    ------
    LabelwiseError
        As :func:`make_scorer`, if a row has other test samples than the reference row, or if no network has a score of
        ``score.extra``.
    """
    folders = {cell: cell_folder(config, cell, out) for cell in all_cells(config)}
    cells = {cell: _FinishedCell(at, read_results_as(at, RefineResults)) for cell, at in folders.items()}
    _refuse_unknown_scores(config, [cell.results for cell in cells.values()])
    table: list[TableCell] = []
    columns: list[ColumnScores] = []
    for column in range(len(config.columns)):
        scorer = make_scorer(config, column)
        networks = _networks(config, column, scorer, cells)
        chosen = {best.name: _chosen(best, networks) for best in config.best}
        networks |= {(name, BASE): networks[row, BASE] for name, row in chosen.items()}
        table += _table_cells(config, column, scorer, networks, chosen)
        scores = {key: [network.score.over_all() for network in own] for key, own in networks.items()}
        columns.append(ColumnScores(column, config.columns[column].number, scorer, scores))
    means = mean_columns(columns)
    best = [Choice(name=one.name, rows=one.rows, reference=config.reference_of(one.name)) for one in config.best]
    return ExperimentResults(
        kind="experiment",
        name=config.name,
        description=config.description,
        claim=config.claim,
        axis=tuple(Axis.model_validate(axis.model_dump()) for axis in config.axis),
        columns=tuple(column.title for column in config.columns),
        rows=(*config.rows, *(ensemble.name for ensemble in config.ensembles)),
        heads=(BASE, *config.heads),
        best=tuple(best),
        extra=config.score.extra,
        reference=config.reference_row,
        seeds=config.seeds,
        metric=columns[0].scorer.metric,
        unit=config.score.unit,
        groups=columns[0].scorer.groups,
        categories=columns[0].scorer.categories,
        table=(*table, *mean_cells(config, table, means)),
        compared=tuple(comparisons(config, [*columns, *means])),
        predicted=tuple(predictions(config, table)),
        trained=_trained([cell.results for cell in cells.values()]),
        seconds=seconds,
    )


# What the cells hold


def _refuse_unknown_scores(config: ExperimentConfig, runs: list[RefineResults]) -> None:
    """A score that some networks lack is a gap in the table, such as the noise found in a column without any."""
    rows = [scored_row(run) for run in runs]
    for name in (*config.score.extra, *config.score.predictors):
        if all(score_of(row, name) is None for row in rows):
            raise ConfigError(f"score: no network has {name!r}; there are {', '.join(names_in(rows[0]))}")


def _trained(runs: list[RefineResults]) -> Trained:
    seconds = {row.weights_hash: row.seconds for run in runs for row in run.rows}
    return Trained(networks=len(seconds), seconds=round(sum(seconds.values()), 1))


def _chosen(best: BestConfig, networks: Networks) -> str:
    """The candidate with the highest mean score on select; the first of equals, and of those without a score."""

    def on_select(row: str) -> float | None:
        scores = [network.select for network in networks[row, BASE]]
        stat = Stat.over(scores)
        return None if stat is None or None in scores else stat.mean

    return best_on_select(best.rows, on_select) or best.rows[0]


def _networks(config: ExperimentConfig, column: int, scorer: Scorer, cells: Cells) -> Networks:
    own = {row: [cells[Cell(row, column, seed)] for seed in range(config.seeds)] for row in config.rows}
    heads, extra = (BASE, *config.heads), (*config.score.extra, *config.score.predictors)
    found: Networks = {
        (row, head): [cell.scored(head, scorer, extra) for cell in own[row]] for row, head in product(own, heads)
    }
    for ensemble in config.ensembles:
        rows = [own[row] for row in ensemble.rows]
        if ensemble.over == "members":
            found[ensemble.name, BASE] = [
                _ensemble([logits for cell in same for logits in _of_refineries(cell)], scorer)
                for same in zip(*rows, strict=True)
            ]
            continue
        together = [[cell for row in rows for cell in row]] if ensemble.over == "seeds" else zip(*rows, strict=True)
        for same in list(together):
            for head in heads:
                networks = [cell.prediction(head, scorer) for cell in same]
                found.setdefault((ensemble.name, head), []).append(_ensemble(networks, scorer))
    return found


def _of_refineries(cell: _FinishedCell) -> list[NDArray[Any]]:
    """Logits on test of the networks that labelled the last one of a cell."""
    return [cell.stored(row, "logits") for row in cell.results.refineries_of(cell.results.last_generation)]


def _ensemble(logits: list[NDArray[Any]], scorer: Scorer) -> ScoredNetwork:
    """The mean probability of several networks, taken before a study's views are put together."""
    return ScoredNetwork(scorer(combine(logits, "probability")), members=mean_of([scorer(one) for one in logits]))


# What is told


def _table_cells(
    config: ExperimentConfig, column: int, scorer: Scorer, networks: Networks, chosen: dict[str, str]
) -> list[TableCell]:
    """One for each row and head; ``chosen`` says which row each choice is."""
    candidates = {best.name: len(best.rows) for best in config.best}
    found = []
    for (row, head), own in networks.items():
        scores = [network.score for network in own]
        others = {"over_reference": (config.reference_of(row), BASE), "over_base": (row, BASE)}
        gains = {
            name: scorer.gains([network.score for network in networks[other]], scores)
            for name, other in others.items()
            if other != (row, head)
        }
        if members := [network.members for network in own if network.members is not None]:
            gains["over_networks"] = scorer.gains(members, scores)
        overall, *parts = _cell_scores(scores, gains)
        groups, categories = parts[: len(scorer.groups)], parts[len(scorer.groups) :]
        content = {
            "column": column,
            "axis": config.columns[column].number,
            "value": config.columns[column].value,
            "row": row,
            "head": head,
            "metric": scorer.metric,
            "select": Stat.over(network.select for network in own),
            "seconds": Stat.over(network.seconds for network in own),
            "extra": {name: SeedStat.of(network.extra[name] for network in own) for name in own[0].extra},
            "groups": dict(zip(scorer.groups, groups, strict=True)),
            "categories": dict(zip(scorer.categories, categories, strict=True)),
            **({"chosen": chosen[row], "candidates": candidates[row]} if row in chosen else {}),
            **{name: getattr(overall, name) for name in overall.model_fields_set},
        }
        found.append(TableCell.model_validate(content))
    return found


def _cell_scores(scores: list[DrawnScore], gains: dict[str, list[Gain]]) -> list[CellScore]:
    """Over every set of categories the scores and their differences."""
    found = []
    for place, by_seed in enumerate(np.stack([score.value for score in scores], axis=1).tolist()):
        test = Stat.over(by_seed) or Stat.unknown()
        own = {name: gain[place] for name, gain in gains.items()}
        found.append(CellScore.model_validate({"test": test, "by_seed": by_seed, **own}))
    return found
