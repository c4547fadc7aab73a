"""What the scores of all labels add up to: the share of wrong labels, how many stand before each depth of the list,
and the health of each class. Scores are calibrated, so sums of them are expected numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelwise.data.counter_rng import generator
from labelwise.results.audit import ClassHealth, Expected, NoiseRate

DRAWS = 1000
LEVEL = (2.5, 97.5)

Scores = NDArray[np.float64]


def depths(count: int) -> list[int]:
    """50, 100, 200, 500, 1000, ... and the whole list.

    Examples
    --------
    >>> depths(700)
    [50, 100, 200, 500, 700]
    """
    found = [mantissa * 10**power for power in range(1, 12) for mantissa in (1, 2, 5)]
    return [*(depth for depth in found if 50 <= depth < count), count]


def noise_rate(score: Scores, seed: int) -> NoiseRate:
    """Mean score (n,) of all labels, with the interval of the number of wrong labels."""
    drawn = _wrong(score, np.array([len(score)]), seed)[:, 0] / len(score)
    low, high = np.percentile(drawn, LEVEL)
    return NoiseRate(estimate=float(score.mean()), interval=(float(low), float(high)))


def expected(score: Scores, seed: int) -> tuple[Expected, ...]:
    """Expected number of wrong labels among the first of the list, for ``score`` (n,) in falling order."""
    places = np.array(depths(len(score)))
    drawn = _wrong(score, places, seed)
    low, high = np.percentile(drawn, LEVEL, axis=0)
    wrong = np.cumsum(score)[places - 1]
    return tuple(
        Expected(depth=int(depth), wrong=float(w), interval=(float(a), float(b)))
        for depth, w, a, b in zip(places, wrong, low, high, strict=True)
    )


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


def _wrong(score: Scores, places: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Numbers of wrong labels before each place (draws, places), if each label is wrong with its score."""
    rng = generator(seed, "expected")
    steps = np.diff(places, prepend=0)
    variance = np.add.reduceat(score * (1 - score), places - steps)
    mean = np.add.reduceat(score, places - steps)
    drawn = rng.normal(mean, np.sqrt(variance), (DRAWS, len(places))).clip(0, steps)
    return np.rint(drawn.cumsum(1)).astype(np.int64)
