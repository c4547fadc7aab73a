"""Calibration: whether predicted probabilities are the frequencies that are observed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import DataError


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: what was predicted and what came true, per bin of probability.

    Attributes
    ----------
    edges : (bins + 1,) float64; a bin is (low, high], the first one has its low edge too
    count : (..., bins) int64
    probability, positive : (..., bins) float64, mean prediction and share of positives; NaN in an empty bin
    """

    edges: NDArray[np.float64]
    count: NDArray[np.int64]
    probability: NDArray[np.float64]
    positive: NDArray[np.float64]


def expected_calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by their counts.

    Guo et al., "On calibration of modern neural networks" (2017), equation 3. Bins are (low, high].

    Parameters
    ----------
    confidence, correct : (N,)

    Examples
    --------
    >>> confidence = np.array([0.95, 0.95, 0.95, 0.95])
    >>> round(expected_calibration_error(confidence, np.array([True, True, True, False])), 2)
    0.2
    """
    index = np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(index, weights=np.asarray(correct, np.float64) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def binary_calibration_error(
    probability: NDArray[np.floating], labels: NDArray[np.floating], bins: int = 15
) -> NDArray[np.float64]:
    """Expected calibration error of every category, each a binary problem of its own.

    The mean gap between the predicted probability of the positive class and the share of positives over equal-width
    bins, weighted by their counts; bins are (low, high]. Labels that are not known do not count.

    Parameters
    ----------
    probability : (N, C) in [0, 1]
    labels : (N, C); 1 positive, 0 negative, NaN unknown

    Returns
    -------
    (C,) float64, NaN where nothing is known

    Raises
    ------
    DataError
        for a probability outside [0, 1], a soft label, or shapes that differ

    Examples
    --------
    >>> probability = np.array([[0.9], [0.9], [0.1], [0.1]])
    >>> labels = np.array([[1.0], [0.0], [0.0], [np.nan]])  # NaN: unknown, does not count
    >>> binary_calibration_error(probability, labels).round(2).tolist()
    [0.3]
    """
    count, predicted, positive = _bin_sums(probability, labels, bins)
    gap = np.abs(positive - predicted).sum(axis=1)
    known = count.sum(axis=1)
    return np.divide(gap, known, out=np.full(len(known), np.nan), where=known > 0)


def reliability(
    probability: NDArray[np.floating],
    labels: NDArray[np.floating],
    bins: int = 10,
    *,
    per_category: bool = False,
) -> Reliability:
    """The reliability diagram of all categories pooled, with (bins,) values, or of each, with (C, bins).

    Parameters and errors are those of `binary_calibration_error`.
    """
    count, predicted, positive = _bin_sums(probability, labels, bins)
    if not per_category:
        count, predicted, positive = count.sum(axis=0), predicted.sum(axis=0), positive.sum(axis=0)
    means = [np.divide(x, count, out=np.full(count.shape, np.nan), where=count > 0) for x in (predicted, positive)]
    return Reliability(np.linspace(0, 1, bins + 1), count, *means)


def _bin_sums(
    probability: NDArray[np.floating], labels: NDArray[np.floating], bins: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Number of known labels, sum of their probabilities and number of positives, each (C, bins)."""
    probability, labels = np.asarray(probability, np.float64), np.asarray(labels, np.float64)
    if probability.ndim != 2 or probability.shape != labels.shape:
        raise DataError(f"labels {labels.shape} and probabilities {probability.shape} must have one shape (N, C)")
    known = ~np.isnan(labels)
    category = np.nonzero(known)[1]
    value, label = probability[known], labels[known]
    if not ((value >= 0) & (value <= 1)).all():
        raise DataError("calibration needs probabilities between 0 and 1: pass the logits through a sigmoid first")
    if not np.isin(label, (0, 1)).all():
        raise DataError("calibration needs labels 1, 0 or NaN (unknown): decide soft labels first")
    index = category * bins + np.clip(np.ceil(value * bins).astype(np.int64) - 1, 0, bins - 1)
    shape, size = (labels.shape[1], bins), labels.shape[1] * bins
    count: NDArray[np.int64] = np.bincount(index, minlength=size)
    sums = (np.bincount(index, weights=x, minlength=size) for x in (value, label))
    predicted, positive = (np.asarray(x, np.float64).reshape(shape) for x in sums)
    return count.reshape(shape), predicted, positive
