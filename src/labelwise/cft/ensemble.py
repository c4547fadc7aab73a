"""Ensembles of fine-tuned models: the mean logit, probability or rank, scored as a single model is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.config import EnsembleMean, Metric, check_choice
from labelwise.data.files import read_arrays
from labelwise.errors import ConfigError, DataError, RunError
from labelwise.metrics.bootstrap import ranking_gain_intervals
from labelwise.metrics.ranking import mean_over_categories, ranking
from labelwise.results import CftResults, EnsembleResults, best_on_select, read_results_as
from labelwise.results.cft import EnsembleGain, EnsembleRow, EnsembleScores
from labelwise.runs import RESULTS, start_run
from labelwise.settings import Section

PREDICTIONS = "predictions.npz"


@dataclass(frozen=True)
class Predictions:
    """Logits (N, C) of one model on ``select`` and ``test``, with the labels (1, 0, NaN) they are scored against."""

    name: str
    logits: NDArray[np.float32]
    labels: NDArray[np.float32]
    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    split: NDArray[np.str_]
    categories: tuple[str, ...]


def combine(logits: Sequence[NDArray[np.floating]], how: EnsembleMean) -> NDArray[np.float64]:
    """The mean of several models' logits, probabilities, or ranks within each category (ties share a rank).

    Parameters
    ----------
    logits : each (N, C)
    how : what the mean is taken of

    Returns
    -------
    (N, C) scores, to be ranked within a category; of probabilities the logit of their mean, which still differs where
    probabilities are 1 to the last digit

    Raises
    ------
    ConfigError
        For another ``how``.
    """
    check_choice("how", how, EnsembleMean)
    parts = [np.asarray(values, np.float64) for values in logits]
    if how == "probability":
        values = torch.from_numpy(np.stack(parts))
        yes, no = (torch.logsumexp(torch.nn.functional.logsigmoid(sign * values), dim=0) for sign in (1, -1))
        found: NDArray[np.float64] = (yes - no).numpy()
        return found
    if how == "rank":
        parts = [np.column_stack([_ranks(column) for column in values.T]) for values in parts]
    return np.mean(parts, axis=0)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mid-ranks of (N,) values, scaled to (0, 1)."""
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    end = np.cumsum(count)
    return ((end - (count - 1) / 2) / (len(values) + 1))[index]


def read_predictions(run: Path) -> Predictions:
    """The predictions of a finished CFT run.

    Raises
    ------
    RunError
        If the folder holds none.
    """
    file = run / PREDICTIONS
    if not file.exists():
        raise RunError(f"{run}: no {PREDICTIONS}; expected the folder of a `labelwise cft` run")
    arrays = read_arrays(file)
    keys = ("logits", "labels", "ids", "groups", "split", "categories")
    if missing := [key for key in keys if key not in arrays]:
        raise RunError(f"{file}: no {missing[0]!r} in it")
    values = {key: arrays[key] for key in keys[:-1]}
    return Predictions(str(run), **values, categories=tuple(arrays["categories"].tolist()))


class EnsembleConfig(Section):
    """Options of ``labelwise ensemble``."""

    how: EnsembleMean = "rank"
    objective: Metric = "ap"


def run_ensemble(runs: Sequence[Path], out: Path, config: EnsembleConfig) -> EnsembleResults:
    """Score the mean of several runs beside each of them, and write ``results.json`` of kind ``ensemble``.

    The interval is that of the gain over the member that is best on ``select``.

    Raises
    ------
    LabelwiseError
        If fewer than two runs are named, they differ in samples, splits, labels, categories or objective, or ``out``
        holds anything else.
    """
    if len(runs) < 2:
        raise ConfigError("an ensemble needs at least two run folders")
    if len({run.resolve() for run in runs}) < len(runs):
        raise ConfigError(f"an ensemble of {', '.join(map(str, runs))}: needs different runs")
    how, objective = config.how, config.objective
    members = [read_predictions(run) for run in runs]
    first = members[0]
    _refuse_other_objectives(runs)
    aligned = [first.logits, *(_aligned(first, member) for member in members[1:])]
    hashes = {str(run): hashlib.sha256((run / PREDICTIONS).read_bytes()).hexdigest()[:16] for run in runs}
    run = start_run(out, "ensemble", config.model_dump() | {"members": hashes}, config)
    if run.finished:
        return read_results_as(out, EnsembleResults)
    mean = combine(aligned, how)
    rows = [_row(member.name, logits, first, objective) for member, logits in zip(members, aligned, strict=True)]
    best = rows.index(best_on_select(rows, lambda row: None if row.select is None else row.select.mean) or rows[0])
    row = _row(f"mean {how}", mean, first, objective)
    test = first.split == "test"
    if test.any():
        found = ranking_gain_intervals(
            aligned[best][test].astype(np.float64),
            mean[test],
            first.labels[test],
            metric=objective,
            groups=first.groups[test],
        )
        gain = EnsembleGain(over=rows[best].name, points=found.mean_gain, interval=found.mean_interval)
        row = row.model_copy(update={"gain": gain})
    results = EnsembleResults(
        kind="ensemble", how=how, objective=objective, rows=(*rows, row), categories=first.categories
    )
    run.finish(results)
    return results


def _aligned(first: Predictions, other: Predictions) -> NDArray[np.float32]:
    """Logits of ``other`` in the order of the first model's samples and categories."""
    if set(other.categories) != set(first.categories):
        odd = sorted(set(other.categories) ^ set(first.categories))[0]
        raise DataError(f"{other.name} and {first.name}: not the same categories ({odd!r} is in one of them only)")
    place = {name: i for i, name in enumerate(other.ids.tolist())}
    missing = [name for name in first.ids.tolist() if name not in place]
    if missing or len(place) != len(first.ids):
        example = missing[0] if missing else "extra ones"
        raise DataError(f"{other.name} and {first.name}: not the same samples ({example!r})")
    rows = np.array([place[name] for name in first.ids.tolist()], dtype=np.int64)
    columns = np.array([other.categories.index(name) for name in first.categories], dtype=np.int64)
    for what in ("split", "groups"):
        own, theirs = getattr(first, what), getattr(other, what)[rows]
        if (differ := own != theirs).any():
            row = int(differ.argmax())
            said = f"{str(theirs[row])!r} and {str(own[row])!r}"
            raise DataError(f"{other.name} and {first.name}: {what} of sample {str(first.ids[row])!r} is {said}")
    labels = other.labels[rows][:, columns]
    differ = (labels != first.labels) & ~(np.isnan(labels) & np.isnan(first.labels))
    if differ.any():
        row, column = np.argwhere(differ)[0].tolist()
        said = f"{labels[row, column]:g} and {first.labels[row, column]:g} (nan: unknown)"
        which = f"label of sample {str(first.ids[row])!r} in category {first.categories[column]!r}"
        raise DataError(f"{other.name} and {first.name}: the {which} is {said}")
    return other.logits[rows][:, columns]


def _refuse_other_objectives(runs: Sequence[Path]) -> None:
    """Raise DataError if runs that say what they were fine-tuned for differ in it."""
    objectives = {run: read_results_as(run, CftResults).objective for run in runs if (run / RESULTS).exists()}
    for run, objective in objectives.items():
        first = next(iter(objectives))
        if objective != objectives[first]:
            raise DataError(f"{run} and {first}: fine-tuned for {objective} and for {objectives[first]}")


def _row(name: str, scores: NDArray[np.floating], first: Predictions, objective: Metric) -> EnsembleRow:
    found: list[EnsembleScores | None] = []
    for split in ("select", "test"):
        rows = first.split == split
        if not rows.any():
            found.append(None)
            continue
        ranks = ranking(np.ascontiguousarray(scores[rows].T), np.ascontiguousarray(first.labels[rows].T))
        values = ranks.of(objective)
        mean, scored = mean_over_categories(values)
        found.append(EnsembleScores(mean=float(mean), scored=int(scored), categories=tuple(values.tolist())))
    return EnsembleRow(name=name, select=found[0], test=found[1])
