"""The audit of partly known multi-label data: which known labels are wrong, and what unknown ones probably are.

A row of the list is a cell, the label of one sample in one category. Only known labels are judged; an unknown one gets
a suggestion with its probability, and is listed where that is positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.audit.answers import Answer, Answers, kept
from labelwise.audit.category_answers import Cells, EmbeddedCells, kernel_logistic, nearest_neighbours
from labelwise.audit.category_noise import CellNoise, fit_cell_noise, with_related
from labelwise.audit.expected import Doubt, refit_error
from labelwise.audit.samples import LabelledSamples
from labelwise.audit.verdicts import WRONG
from labelwise.labels.table import LabelTable
from labelwise.results.audit import ClassHealth

FEWEST = 5
"""Known positive and known negative labels that a category needs for suggestions."""

SUGGESTED = 0.5
"""Probability from which an unknown label is listed as positive."""

CLASSIFIERS: dict[str, Callable[[EmbeddedCells, int], NDArray[np.float32]]] = {
    "kernel logistic": kernel_logistic,
    "nearest neighbours": nearest_neighbours,
}

Array = NDArray[np.float32]


@dataclass(frozen=True)
class JudgedCells:
    """What an audit says of n x C cells.

    Attributes
    ----------
    values : (n, C) 1, 0, or NaN where unknown
    positive : (n, C) probability that the right label is positive
    score : (n, C) probability that the given label is wrong, NaN where unknown
    agreement : (n, C) share of the answers that say what ``positive`` says
    noise : of the known labels
    logits : (n, C) that ``positive`` was made of
    reviewed : (n, C) labels that a person has looked at: their score is 0, and they are listed last
    """

    values: Array
    positive: NDArray[np.float64]
    score: NDArray[np.float64]
    agreement: NDArray[np.float64]
    noise: CellNoise
    logits: Array
    reviewed: NDArray[np.bool_]


def given_cells(table: LabelTable) -> Array:
    """The given labels (n, C) as 1 and 0 (a soft one by rounding), NaN where there is none."""
    return np.where(table.known, table.values >= 0.5, np.nan).astype(np.float32)


def answer_cells(data: EmbeddedCells, folder: Path, seed: int, advance: Callable[[], None]) -> list[Answer]:
    """Out-of-sample logits (n, C) of each classifier; those that ``folder`` holds from an earlier run are read."""
    found = []
    for name, classifier in CLASSIFIERS.items():
        values = kept(folder, name.replace(" ", "_"), lambda ask=classifier: ask(data, seed))  # type: ignore[misc]
        found.append(Answer(name, name, values))
        advance()
    return found


def judge_cells(data: Cells, answers: Answers) -> JudgedCells:
    """Scores and probabilities from answers to all cells."""
    given = data.given()
    logits = with_related(answers.mean(), given, data.fold)
    noise = fit_cell_noise(logits, given)
    positive = noise.positive(logits, given)
    agreement = answers.agreement_of_cells(positive >= 0.5)
    return JudgedCells(data.values, positive, _score(data.values, positive), agreement, noise, logits, given.reviewed)


def doubt_of_cells(data: Cells, judged: JudgedCells, seed: int) -> tuple[NDArray[np.float64], Doubt]:
    """Scores (m,) of the known cells, row by row, and how far they may be off: by which groups were drawn."""
    score, given = judged.score[~np.isnan(data.values)], data.given()

    def refitted(rows: NDArray[np.int64]) -> float:
        logits, part = judged.logits[rows], given.take(rows)
        return float(np.nanmean(_score(part.values, fit_cell_noise(logits, part).positive(logits, part))))

    return score, Doubt(score, score, refit_error(data.groups, seed, refitted))


def cell_table(samples: LabelledSamples, judged: JudgedCells) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The list, the likeliest wrong label first and suggestions last; and the order (m,) of the known cells in it."""
    known = ~np.isnan(judged.values)
    order = np.lexsort((-judged.score[known], judged.reviewed[known]))
    enough = np.minimum(*_counts(judged.values)) >= FEWEST
    listed = np.argwhere(~known & (judged.positive >= SUGGESTED) & enough)
    listed = listed[np.argsort(-judged.positive[tuple(listed.T)], kind="stable")]
    row, category = np.concatenate([np.argwhere(known)[order], listed]).T
    given, positive, score = judged.values[row, category], judged.positive[row, category], judged.score[row, category]
    first = judged.values if samples.uncorrected is None else samples.uncorrected
    is_known = ~np.isnan(given)
    wrong = np.where(given >= 0.5, "false positive", "missing positive")
    verdict = np.where(is_known, np.where(score >= WRONG, wrong, "correct"), "suggestion")
    frame = pd.DataFrame(
        {
            "rank": np.arange(1, len(row) + 1),
            "id": samples.ids[row],
            "path": samples.path[row],
            "split": samples.split[row],
            "category": np.array(samples.classes, dtype=object)[category],
            "given": _written(given),
            "suggested": _written(positive),
            "score": score,
            "verdict": verdict,
            "p_given": 1 - score,
            "p_suggested": np.maximum(positive, 1 - positive),
            "agreement": judged.agreement[row, category],
            "provenance": np.where(judged.reviewed[row, category], "reviewed", np.where(is_known, "given", "")),
            "first": _written(first[row, category]),
        }
    )
    return frame, order


def _written(values: NDArray[Any]) -> NDArray[np.str_]:
    """1, 0, or blank where unknown."""
    return np.where(np.isnan(values), "", np.where(values >= 0.5, "1", "0"))


def cell_health(classes: tuple[str, ...], judged: JudgedCells) -> tuple[ClassHealth, ...]:
    """Of every category its known and unknown labels, and the expected number of wrong ones of both kinds."""
    known = ~np.isnan(judged.values)
    score = np.nan_to_num(judged.score)
    missing = (score * (judged.values < 0.5)).sum(0)
    false = (score * (judged.values >= 0.5)).sum(0)
    return tuple(
        ClassHealth(
            name=name,
            given=int(known[:, c].sum()),
            wrong=float(missing[c] + false[c]),
            confused_with=None,
            missing_positives=float(missing[c]),
            false_positives=float(false[c]),
            unknown=int((~known[:, c]).sum()),
        )
        for c, name in enumerate(classes)
    )


def cell_warnings(classes: tuple[str, ...], values: Array) -> tuple[str, ...]:
    """Categories about which too little is known."""
    few = [name for name, least in zip(classes, np.minimum(*_counts(values)), strict=True) if least < FEWEST]
    if not few:
        return ()
    names = ", ".join(few[:5]) + (", ..." if len(few) > 5 else "")
    count = "1 category has" if len(few) == 1 else f"{len(few)} categories have"
    return (f"{count} fewer than {FEWEST} known positive or negative labels: {names}",)


def _score(values: Array, positive: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.where(values >= 0.5, 1 - positive, positive)
    return np.where(np.isnan(values), np.nan, found)


def _counts(values: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(C,) known positive and known negative labels."""
    return (values >= 0.5).sum(0), (values < 0.5).sum(0)
