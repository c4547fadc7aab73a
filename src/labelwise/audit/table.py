"""The ranked list of an audit of single-label data, and the numbers that come with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.audit.answers import Answers
from labelwise.audit.samples import LabelledSamples
from labelwise.audit.verdicts import WRONG


@dataclass(frozen=True)
class Judged:
    """What an audit says of n labels: ``score`` (n,) and what should stand there instead, ``suggested`` (n,)."""

    score: NDArray[np.float64]
    suggested: NDArray[np.int64]
    p_suggested: NDArray[np.float64]


def judge(right: NDArray[np.float32], label: NDArray[np.int64]) -> Judged:
    """Scores and suggestions from the probabilities ``right`` (n, K) of each class to be the right one.

    Of a label with a score from one half the likeliest other class is suggested, of all others the given one.
    """
    rows = np.arange(len(label))
    score = 1 - right[rows, label].astype(np.float64)
    others = right.copy()
    others[rows, label] = -1
    suggested = np.where(score >= WRONG, others.argmax(1), label)
    return Judged(score, suggested, right[rows, suggested].astype(np.float64))


def single_label_table(
    samples: LabelledSamples, judged: Judged, answers: Answers, verdicts: Sequence[str]
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The list, the likeliest wrong label first and reviewed ones last, and the order (n,) of the samples in it."""
    given = samples.given()
    order = np.lexsort((-judged.score, given.reviewed))
    names = np.array([*samples.classes, ""], dtype=object)  # -1 is no class
    provenance = np.select([given.reviewed, given.first != given.label], ["reviewed", "inferred"], "given")
    frame = pd.DataFrame(
        {
            "id": samples.ids,
            "path": samples.path,
            "split": samples.split,
            "given": names[samples.label],
            "suggested": names[judged.suggested],
            "score": judged.score,
            "verdict": np.array(verdicts, dtype=object),
            "p_given": 1 - judged.score,
            "p_suggested": judged.p_suggested,
            "agreement": answers.agreement(judged.suggested),
            "provenance": provenance.astype(object),
            "first": names[given.first],
        }
    ).iloc[order]
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame.reset_index(drop=True), order
