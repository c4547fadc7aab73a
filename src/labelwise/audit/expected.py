"""What the scores of all labels add up to: the share of wrong labels, how many stand before each depth of the list,
and the health of each class. Scores are calibrated, so sums of them are expected numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.wrong_labels import UNSHOWN, GivenLabels, NoiseModel, fit_noise_model
from labelwise.data.counter_rng import generator
from labelwise.results.audit import ClassHealth, Expected, NoiseRate

REFITS, REFITTED = 20, 2_000
"""Fits of the noise model to samples drawn again, for its standard error, and the number drawn, at most."""

LEVEL = 1.96

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Doubt:
    """How far the scores (n,) of all labels may be off: ``low`` and ``high`` (n,) are those at the ends of what no
    answer can tell (:mod:`labelwise.audit.wrong_labels`); ``error`` is the standard error of their mean."""

    low: Scores
    high: Scores
    error: float


def doubt_of(
    model: NoiseModel, log_p: NDArray[np.float32], given: GivenLabels, groups: NDArray[np.str_], seed: int
) -> Doubt:
    """How far scores may be off: by what no answer can tell, and by which groups of samples were drawn.

    Parameters
    ----------
    model : fitted to ``log_p`` (n, K) and the labels
    groups : (n,) samples of a group are drawn together
    """

    def score(found: NoiseModel, rows: NDArray[np.int64], follow: float, unshown: float) -> Scores:
        part = given.take(rows)
        right = found.right_class(log_p[rows], part, follow, unshown)
        return 1 - right[np.arange(len(rows)), part.label].astype(np.float64)

    def refitted(drawn: NDArray[np.int64]) -> float:
        return float(score(fit_noise_model(log_p[drawn], given.take(drawn), seed), drawn, 0, 0).mean())

    every = np.arange(len(log_p))
    low, high = score(model, every, 0, 2 * UNSHOWN), score(model, every, 1, 0)
    return Doubt(low, high, refit_error(groups, seed, refitted))


def refit_error(groups: NDArray[np.str_], seed: int, rate: Callable[[NDArray[np.int64]], float]) -> float:
    """Standard error of a mean score, from ``rate`` of rows of samples that are drawn again, whole groups (n,) at a
    time."""
    rng = generator(seed, "refits")
    names, group = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    count = max(2, round(min(1.0, REFITTED / len(group)) * len(names)))
    rates = [rate(np.concatenate([members[one] for one in rng.integers(0, len(names), count)])) for _ in range(REFITS)]
    return float(np.std(rates, ddof=1)) * (count / len(names)) ** 0.5


def noise_rate(score: Scores, doubt: Doubt) -> NoiseRate:
    """Mean score (n,) of all labels, and how far it may be off."""
    total = _interval(doubt, np.arange(len(score)), np.array([len(score)]), score)[0]
    return NoiseRate(estimate=float(score.mean()), interval=(total[0] / len(score), total[1] / len(score)))


def expected(score: Scores, order: NDArray[np.int64], doubt: Doubt) -> tuple[Expected, ...]:
    """Expected number of wrong labels among the first of the list.

    Parameters
    ----------
    score : (n,) of the samples
    order : (n,) the samples of the list, the likeliest wrong label first
    """
    places = np.array(depths(len(score)))
    wrong = np.cumsum(score[order])[places - 1]
    ends = _interval(doubt, order, places, score)
    return tuple(
        Expected(depth=int(depth), wrong=float(w), interval=interval)
        for depth, w, interval in zip(places, wrong, ends, strict=True)
    )


def depths(count: int) -> list[int]:
    """50, 100, 200, 500, 1000, ... and the whole list.

    Examples
    --------
    >>> depths(700)
    [50, 100, 200, 500, 700]
    """
    found = [mantissa * 10**power for power in range(1, 12) for mantissa in (1, 2, 5)]
    return [*(depth for depth in found if 50 <= depth < count), count]


def transition(right: NDArray[np.float32], label: NDArray[np.int64]) -> tuple[tuple[float | None, ...], ...]:
    """How samples of each class were labelled, rows by right class, from the probabilities ``right`` (n, K) of each
    class to be the right one; None in the row of a class that no sample may have."""
    count = right.shape[1]
    joint = np.zeros((count, count))
    np.add.at(joint.T, label, right)
    total = joint.sum(1)
    return tuple(tuple(float(x) / t if t > 0 else None for x in row) for row, t in zip(joint, total, strict=True))


def class_health(
    classes: tuple[str, ...], given: NDArray[np.int64], suggested: NDArray[np.int64], score: Scores
) -> tuple[ClassHealth, ...]:
    """Of every class its given labels, the expected number of wrong ones, and what they most often should be."""
    count = len(classes)
    wrong = np.bincount(given, weights=score, minlength=count)
    confused = np.zeros((count, count))
    doubted = given != suggested
    np.add.at(confused, (given[doubted], suggested[doubted]), score[doubted])
    return tuple(
        ClassHealth(
            name=name,
            given=int((given == k).sum()),
            wrong=float(wrong[k]),
            confused_with=classes[confused[k].argmax()] if confused[k].any() else None,
        )
        for k, name in enumerate(classes)
    )


def _interval(
    doubt: Doubt, order: NDArray[np.int64], places: NDArray[np.int64], score: Scores
) -> list[tuple[float, float]]:
    """Ends of the number of wrong labels before each place: each label is wrong or not, beside what ``doubt`` says."""
    low, high, spread = (
        np.cumsum(values[order])[places - 1] for values in (doubt.low, doubt.high, score * (1 - score))
    )
    margin = LEVEL * np.sqrt(spread + (doubt.error * places) ** 2)
    return [
        (max(0.0, float(a)), min(float(depth), float(b)))
        for depth, a, b in zip(places, low - margin, high + margin, strict=True)
    ]
