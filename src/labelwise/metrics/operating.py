"""Decisions from scores: the threshold of every category by a rule, and what a fixed error rate leaves of the other.

Definitions. A label is decided positive where its score is at or above its category's threshold. Equal scores are
decided alike, so a threshold stands for one of the distinct scores of the known labels, and nothing is interpolated:
every value here is reached by a threshold that exists. Sensitivity is recall, the share of the positives that are
decided positive; specificity is the share of the negatives that are not. A category without a known positive or
without a known negative has no operating point: all of it is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from labelwise.config import check_choice
from labelwise.errors import ConfigError, DataError

RuleKind = Literal["max-f1", "precision", "recall", "sensitivity", "specificity"]

BLOCK_ELEMENTS = 1 << 21
"""Entries of one sort, about 50 bytes each."""


@dataclass(frozen=True)
class ThresholdRule:
    """``max-f1``, or ``precision`` / ``recall`` / ``sensitivity`` / ``specificity`` of at least ``target``.

    Max F1 takes the highest threshold of several equally good ones, recall and sensitivity (the same) the highest that
    reaches the target, precision and specificity the lowest, which finds most.

    Raises
    ------
    ConfigError
        For another rule, or a target outside (0, 1].
    """

    kind: RuleKind = "max-f1"
    target: float = 1.0

    def __post_init__(self) -> None:
        check_choice("threshold rule", self.kind, RuleKind)
        if not 0 < self.target <= 1:
            raise ConfigError(f"threshold rule {self.kind}: the target {self.target:g} is not within (0, 1]")

    def __str__(self) -> str:
        return self.kind if self.kind == "max-f1" else f"{self.kind}>={self.target:g}"


def parse_rule(text: str) -> ThresholdRule:
    """``max-f1``, ``precision=0.9``, ``recall=0.95`` (or ``sensitivity``, the same) or ``specificity=0.9``.

    Raises
    ------
    ConfigError
    """
    if text == "max-f1":
        return ThresholdRule()
    kinds: dict[str, RuleKind] = {
        **{"precision": "precision", "recall": "recall"},
        **{"sensitivity": "sensitivity", "specificity": "specificity"},
    }
    kind, _, number = text.partition("=")
    try:
        return ThresholdRule(kinds[kind], float(number))
    except (KeyError, ValueError, ConfigError):
        raise ConfigError(
            f"--threshold {text}: use max-f1, precision=X, recall=X, sensitivity=X or specificity=X with X in (0, 1]"
        ) from None


@dataclass(frozen=True)
class OperatingPoints:
    """The thresholds of C categories and what they give on the known labels they were found on.

    Attributes
    ----------
    threshold, precision, recall, specificity, f1 : (C,) float64; NaN where no threshold reaches the rule's target, or
        the category has no known positive or no known negative
    """

    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    specificity: NDArray[np.float64]
    f1: NDArray[np.float64]


def threshold_for(scores: NDArray[Any], labels: NDArray[Any], rule: ThresholdRule) -> OperatingPoints:
    """The threshold of every category by ``rule``.

    It lies half way from the lowest score that is decided positive to the next known one below, or to 1 below where
    there is none: the same decisions here, and less sensitive to where exactly a score fell.

    Parameters
    ----------
    scores : (N, C) floating, any real number or infinity
    labels : (N, C); 1 positive, 0 negative, NaN unknown

    Raises
    ------
    DataError
        For NaN scores, soft labels, or shapes that differ.

    Examples
    --------
    >>> scores = np.array([[3.0], [2.0], [1.0], [0.0]])
    >>> labels = np.array([[1.0], [1.0], [0.0], [0.0]])
    >>> threshold_for(scores, labels, ThresholdRule("max-f1")).threshold.tolist()
    [1.5]
    """
    values, known = _checked(scores, labels)
    found = np.full((5, values.shape[1]), np.nan)
    step = max(1, BLOCK_ELEMENTS // max(1, len(values)))
    for start in range(0, values.shape[1], step):
        block = slice(start, start + step)
        found[:, block] = _points(values[:, block].T, known[:, block].T, rule)
    return OperatingPoints(*found)


def sensitivity_at_specificity(scores: NDArray[Any], labels: NDArray[Any], target: float) -> NDArray[np.float64]:
    """The highest sensitivity of a threshold with a specificity of at least ``target``, (C,) float64.

    0 where only deciding nothing positive is that specific. Parameters and errors are those of `threshold_for`, and of
    `ThresholdRule` for the target.
    """
    ThresholdRule("specificity", target)
    values, label = _checked(scores, labels)
    return _share_beyond(values, label == 0, label == 1, target)


def specificity_at_sensitivity(scores: NDArray[Any], labels: NDArray[Any], target: float) -> NDArray[np.float64]:
    """The highest specificity of a threshold with a sensitivity of at least ``target``, (C,) float64.

    Parameters and errors are those of `sensitivity_at_specificity`.
    """
    ThresholdRule("sensitivity", target)
    values, label = _checked(scores, labels)
    return _share_beyond(-values, label == 1, label == 0, target)


def _share_beyond(
    scores: NDArray[Any], own: NDArray[np.bool_], other: NDArray[np.bool_], target: float
) -> NDArray[np.float64]:
    """Share of ``other`` above the lowest score that at least ``target`` of ``own`` do not exceed, (C,).

    One order statistic of one kind of label is all that a rate fixes: bare values are sorted, and no labels with them.
    """
    count, rest = own.sum(axis=0), other.sum(axis=0)
    needed = np.ceil(count * target).astype(np.int64)  # the fewest of which the share, as a float, is not below target
    with np.errstate(invalid="ignore", divide="ignore"):
        needed -= (needed - 1) / count >= target
        needed += needed / count < target
    found = np.full(scores.shape[1], np.nan)
    step = max(1, BLOCK_ELEMENTS // max(1, len(scores)))
    for start in range(0, scores.shape[1], step):
        block = slice(start, start + step)
        both = np.flatnonzero((count[block] > 0) & (rest[block] > 0)) + start
        ordered = np.where(own[:, both].T, scores[:, both].T, np.nan)
        ordered.sort(axis=1)  # NaN, all others, goes last
        edge = ordered[np.arange(len(both)), needed[both] - 1]
        found[both] = (other[:, both] & (scores[:, both] > edge)).sum(axis=0) / rest[both]
    return found


def _checked(scores: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    values, label = np.asarray(scores), np.asarray(labels)
    if values.ndim != 2 or values.shape != label.shape:
        raise DataError(f"labels {label.shape} and scores {values.shape} must have one shape (N, C)")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    if np.isnan(values).any():
        raise DataError("scores contain NaN: no threshold can be found; check the features and the head")
    if not ((label == 1) | (label == 0) | (label != label)).all():
        raise DataError("thresholds need labels 1, 0 or NaN (unknown): decide soft labels first")
    return values, label


def _points(scores: NDArray[Any], labels: NDArray[Any], rule: ThresholdRule) -> NDArray[np.float64]:
    """The fields of `OperatingPoints`, (5, C), of scores and labels (C, N)."""
    known = ~np.isnan(labels)
    count = known.sum(axis=1, keepdims=True)
    width = int(count.max(initial=0))
    if not width:
        return np.full((5, len(scores)), np.nan)
    order = np.argsort(np.where(known, -scores, np.nan), axis=1)[:, :width]  # NaN, the unknown, goes last
    values = np.take_along_axis(scores, order, axis=1)
    true = np.take_along_axis(labels == 1, order, axis=1).cumsum(axis=1, dtype=np.float64)
    place = np.arange(width)
    taken = place + 1.0
    last = place < count  # the last of each run of equal scores is a threshold
    last[:, :-1] &= (values[:, :-1] != values[:, 1:]) | (place[1:] == count)
    positives = (labels == 1).sum(axis=1, keepdims=True)
    negatives = count - positives
    with np.errstate(invalid="ignore", divide="ignore"):  # categories without one of the two are dropped at the end
        precision, recall = true / taken, true / positives
        specificity = (negatives - (taken - true)) / negatives
        f1 = 2 * true / (taken + positives)
    if rule.kind == "max-f1":
        at, reached = np.where(last, f1, -1.0).argmax(axis=1), np.ones(len(scores), dtype=bool)
    else:
        by_kind = {"precision": precision, "specificity": specificity}
        enough = last & (by_kind.get(rule.kind, recall) >= rule.target)
        reached = enough.any(axis=1)
        at = width - 1 - enough[:, ::-1].argmax(axis=1) if rule.kind in by_kind else enough.argmax(axis=1)
    row = np.arange(len(scores))
    lowest, follower = values[row, at], np.minimum(at + 1, width - 1)
    below = np.where(at + 1 < count[:, 0], values[row, follower], lowest - values.dtype.type(1))
    found = np.stack([_between(lowest, below), *(x[row, at] for x in (precision, recall, specificity, f1))])
    found[:, ~(reached & (positives > 0)[:, 0] & (negatives > 0)[:, 0])] = np.nan
    return found


def _between(lowest: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    """Half way in the scores' own precision, or ``lowest`` where nothing finite lies in between."""
    with np.errstate(invalid="ignore", over="ignore"):
        middle = (0.5 * lowest.astype(np.float64) + 0.5 * below.astype(np.float64)).astype(lowest.dtype)
        usable = (below < middle) & (middle <= lowest) & np.isfinite(below)
    return np.where(usable, middle, lowest).astype(np.float64)
