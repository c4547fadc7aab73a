"""The table of a finished experiment: scores of every network, head, ensemble and choice, and their differences."""

from __future__ import annotations

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
    Entry,
    averages,
    by_seeds,
    comparisons,
    mean_columns,
    predictions,
    spread,
)
from labelwise.experiment.config import BASE, BestConfig, Cell, ExperimentConfig, all_cells, cell_folder, cell_recipe
from labelwise.experiment.results import TableResults
from labelwise.experiment.row_scores import mean_row, names_in, score_of
from labelwise.experiment.score import Board, Score, mean_of
from labelwise.refinery.context import PREDICTIONS
from labelwise.runs import RESULTS, read_json


@dataclass(frozen=True)
class _Network:
    """A network, head or ensemble: its score on test, and what is told of its making.

    ``select`` is what choosing saw: samples, all categories. ``own`` is the mean score of an ensemble's networks,
    ``extra`` further scores by name, of a network alone.
    """

    score: Score
    select: float | None = None
    seconds: float | None = None
    own: Score | None = None
    extra: dict[str, float | None] = field(default_factory=dict)


Networks = dict[tuple[str, str], list[_Network]]  # by row and head, in the order of the seeds


def board_of(config: ExperimentConfig, column: int) -> Board:
    """What scores a column. It looks at the labels alone, so nothing is decoded.

    Raises
    ------
    LabelwiseError
        If the data cannot be read, or lacks what is to be scored.
    """
    recipe = cell_recipe(config, Cell(config.reference_row, column, 0))
    return Board(load_dataset(recipe.data.model_copy(update={"memory": "no"})), recipe.data, config)


def make_table(config: ExperimentConfig, out: Path) -> TableResults:
    """Score every network of a finished experiment in ``out``.

    Raises
    ------
    LabelwiseError
        As :func:`board_of`, if a row has other test samples than the reference row, or if no network has a score of
        ``score.extra``.
    """
    runs = [read_json(cell_folder(config, cell, out) / RESULTS) for cell in all_cells(config)]
    _refuse_unknown_scores(config, runs)
    found: list[Entry] = []
    columns: list[ColumnScores] = []
    for column in range(len(config.columns)):
        board = board_of(config, column)
        networks = _networks(config, column, board, out)
        chosen = {best.name: _chosen(best, networks) for best in config.best}
        networks |= {(name, BASE): networks[row, BASE] for name, row in chosen.items()}
        found += _entries(config, column, board, networks, chosen)
        scores = {key: [network.score.over_all() for network in own] for key, own in networks.items()}
        columns.append(ColumnScores(column, config.columns[column].number, board, scores))
    means = mean_columns(columns)
    return {
        "groups": list(found[0]["groups"]),
        "categories": list(found[0]["categories"]),
        "table": found + averages(config, found, means),
        "compared": comparisons(config, [*columns, *means]),
        "predicted": predictions(config, found),
        "trained": _trained(runs),
    }


def last_generation(results: dict[str, Any]) -> Entry:
    """The network that a chain ends with, of the results of its run."""
    return dict([row for row in results["rows"] if row["role"] == "generation"][-1])


def labellers_of(results: dict[str, Any]) -> list[Entry]:
    """The networks of the run that labelled :func:`last_generation`."""
    names = last_generation(results).get("refineries", ())
    return [row for row in results["rows"] if names and row["name"] in names]


def scored_row(results: dict[str, Any]) -> Entry:
    """What :func:`last_generation` gives, with ``chain.seconds`` of all networks of the run, and as ``refinery`` the
    mean numbers of those that labelled it."""
    row = last_generation(results)
    labellers = labellers_of(results)
    more = {"refinery": mean_row(labellers)} if labellers else {}
    return row | {"chain": {"seconds": sum(other["seconds"] for other in results["rows"])}} | more


# What the cells hold


def _refuse_unknown_scores(config: ExperimentConfig, runs: list[Entry]) -> None:
    """A score that some networks lack is a gap in the table, such as the noise found in a column without any."""
    wanted = (*config.score.extra, *config.score.predictors)
    rows = [scored_row(run) for run in runs]
    there = [(row, {name for name in wanted if score_of(row, name) is not None}) for row in rows]
    for name in wanted:
        if not any(name in found for _, found in there):
            raise ConfigError(f"score: no network has {name!r}; there are {', '.join(names_in(there[0][0]))}")


def _trained(runs: list[Entry]) -> Entry:
    seconds = {row["weights_hash"]: row["seconds"] for run in runs for row in run["rows"]}
    return {"networks": len(seconds), "seconds": round(sum(seconds.values()), 1)}


def _chosen(best: BestConfig, networks: Networks) -> str:
    """The candidate with the highest mean score on select; the first of equals, and of those without a score."""

    def on_select(row: str) -> float:
        scores = [network.select for network in networks[row, BASE]]
        known = [score for score in scores if score is not None]
        return float(np.mean(known)) if len(known) == len(scores) else -np.inf

    return max(best.rows, key=on_select)


def _networks(config: ExperimentConfig, column: int, board: Board, out: Path) -> Networks:
    folders = {
        row: [cell_folder(config, Cell(row, column, seed), out) for seed in range(config.seeds)] for row in config.rows
    }
    heads, extra = (BASE, *config.heads), (*config.score.extra, *config.score.predictors)
    found: Networks = {
        (row, head): [_network(folder, head, board, extra) for folder in folders[row]]
        for row, head in product(folders, heads)
    }
    for ensemble in config.ensembles:
        name, rows = ensemble.name, ensemble.rows
        if ensemble.over == "members":
            by_seed = zip(*(folders[row] for row in rows), strict=True)
            found[name, BASE] = [
                _ensemble([logits for folder in own for logits in _labellers(folder)], board) for own in by_seed
            ]
            continue
        together = [range(config.seeds)] if ensemble.over == "seeds" else [[seed] for seed in range(config.seeds)]
        for head in heads:
            found[name, head] = [
                _ensemble([_prediction(folders[row][seed], head, board) for row, seed in product(rows, seeds)], board)
                for seeds in together
            ]
    return found


def _network(folder: Path, head: str, board: Board, extra: tuple[str, ...]) -> _Network:
    score = board(_prediction(folder, head, board))
    if head != BASE:
        results = read_json(folder / f"cft-{head}" / RESULTS)
        return _Network(score, results["mean"]["select"]["after"], results["seconds"])
    row = scored_row(read_json(folder / RESULTS))
    select = row["select"][board.metric] if "select" in row else None
    return _Network(score, select, row["seconds"], extra={name: score_of(row, name) for name in extra})


def _ensemble(logits: list[NDArray[np.floating]], board: Board) -> _Network:
    """The mean probability of several networks, taken before a study's views are put together."""
    return _Network(board(combine(logits, "probability")), own=mean_of([board(one) for one in logits]))


def _prediction(folder: Path, head: str, board: Board) -> NDArray[Any]:
    """Logits of a cell's network or head on test; of single-label data, which answers are right."""
    if head == BASE:
        key = "correct" if board.metric == "top1" else "logits"
        return _stored(folder / last_generation(read_json(folder / RESULTS))["path"], key)
    with np.load(folder / f"cft-{head}" / HEAD_PREDICTIONS) as stored:
        return np.asarray(stored["logits"][stored["split"] == "test"])


def _labellers(folder: Path) -> list[NDArray[Any]]:
    """Logits on test of the networks that labelled the last one of a cell."""
    return [_stored(folder / row["path"], "logits") for row in labellers_of(read_json(folder / RESULTS))]


def _stored(network: Path, key: str) -> NDArray[Any]:
    with np.load(network / PREDICTIONS) as stored:
        return np.asarray(stored[key])


# What is told


def _entries(
    config: ExperimentConfig, column: int, board: Board, networks: Networks, chosen: dict[str, str]
) -> list[Entry]:
    """An entry for each row and head; ``chosen`` says which row each choice is."""
    candidates = {best.name: len(best.rows) for best in config.best}
    found = []
    for (row, head), own in networks.items():
        scores = [network.score for network in own]
        others = {"over_reference": (config.reference_of(row), BASE), "over_base": (row, BASE)}
        gains = {
            name: board.gains([network.score for network in networks[other]], scores)
            for name, other in others.items()
            if other != (row, head)
        }
        if singles := [network.own for network in own if network.own is not None]:
            gains["over_networks"] = board.gains(singles, scores)
        told, *parts = _views(scores, gains)
        groups, categories = parts[: len(board.groups)], parts[len(board.groups) :]
        found.append(
            {
                "column": column,
                "axis": config.columns[column].number,
                "value": config.columns[column].value,
                "row": row,
                "head": head,
                **({"chosen": chosen[row], "candidates": candidates[row]} if row in chosen else {}),
                "metric": board.metric,
                "select": spread([network.select for network in own if network.select is not None]),
                **told,
                "seconds": spread([network.seconds for network in own if network.seconds is not None]),
                "extra": {name: by_seeds([network.extra[name] for network in own]) for name in own[0].extra},
                "groups": dict(zip(board.groups, groups, strict=True)),
                "categories": dict(zip(board.categories, categories, strict=True)),
            }
        )
    return found


def _views(scores: list[Score], gains: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of every view the scores and their differences."""
    found = []
    for view, by_seed in enumerate(np.stack([score.value for score in scores], axis=1).tolist()):
        own = {name: gain[view] for name, gain in gains.items()}
        found.append({"test": spread(by_seed), "by_seed": by_seed, **own})
    return found
