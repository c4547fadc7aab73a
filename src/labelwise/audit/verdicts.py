"""What is the matter with a label, in a word: from the answers of networks and views that have not seen it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelwise.results.audit import Verdict

WRONG = 0.5
"""A label is ``wrong`` from this score on: the score is the probability of just that."""

SECOND, BOTH = 0.3, 0.8
"""Two classes share the mass where the second has at least ``SECOND``, and both together ``BOTH``. Measured on the
10,000 test images of CIFAR-10 with 50 votes each: people gave one in nine of the images found at least a fifth of
their votes to a second class, three times as many as of all images, and in 77% of those it was the same pair of
classes (docs/results/audit.md)."""

CONFIDENT = 0.6
"""A view is sure of a class from this probability on. Measured on two Fashion-MNIST images side by side, four views:
19% of the pairs are found, in five of six cases with both their classes, and 1.2% of the single images."""

OUTLIER = 2.2
"""Upper standard deviations of a normal distribution (`labelwise.audit.neighbours.outlier_scores`). One in 10,000
embeddings of CIFAR-10 is beyond it and none of UC Merced, but more than nine in ten of 60 vectors of random numbers
with the same mean and variances."""


def verdicts(
    score: NDArray[np.float64],
    right: NDArray[np.floating],
    views: NDArray[np.floating] | None = None,
    outlier: NDArray[np.float64] | None = None,
    reviewed: NDArray[np.bool_] | None = None,
) -> list[Verdict]:
    """The verdict on each sample; where several hold, the first of outlier, several objects, ambiguous and wrong.

    Parameters
    ----------
    score : (n,) probability that the given label is wrong
    right : (n, K) probability of each class to be the right one, from the answers and the given label
    views : (V, n, K) probabilities, one answer for each view of an image; None without views
    outlier : (n,) from `labelwise.audit.neighbours.outlier_scores`; None where nobody looked
    reviewed : (n,) labels that a person has looked at, which are correct whatever else holds

    Examples
    --------
    >>> verdicts(np.array([0.1, 0.9, 0.6]), np.array([[0.9, 0.1, 0], [0.1, 0.9, 0], [0.4, 0.6, 0]]))
    ['correct', 'wrong', 'ambiguous']
    """
    first_two = np.sort(right, axis=1)[:, -2:]
    rules: list[tuple[Verdict, NDArray[np.bool_]]] = [
        ("wrong", score >= WRONG),
        ("ambiguous", (first_two[:, 0] >= SECOND) & (first_two.sum(1) >= BOTH)),
    ]
    if views is not None:
        rules.append(("several objects", (views >= CONFIDENT).any(0).sum(1) >= 2))
    if outlier is not None:
        rules.append(("outlier", outlier >= OUTLIER))
    if reviewed is not None:
        rules.append(("correct", reviewed))
    found: list[Verdict] = ["correct"] * len(score)
    for verdict, holds in rules:
        for sample in np.flatnonzero(holds):
            found[sample] = verdict
    return found
