"""Mean AP or AUC of two models over several seeds, compared on the same test samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.metrics.bootstrap import weighted_ranking
from labelwise.metrics.ranking import Metric, mean_over_categories


@dataclass(frozen=True)
class MeanGain:
    """``gain`` of the mean over categories, averaged over seeds, and its ``interval`` (low, high)."""

    gain: float
    interval: tuple[float, float]


class MeanRanking:
    """Mean AP or AUC of any scores on fixed samples, as they are and in draws of the bootstrap.

    The draws are those of whole groups with replacement and the same for all scores, so differences are paired.

    Parameters
    ----------
    labels : (N, C); 1 positive, 0 negative, NaN unknown
    groups : (N,), optional; samples of one group are drawn together
    """

    def __init__(
        self,
        labels: NDArray[np.floating],
        groups: NDArray[Any] | None = None,
        *,
        metric: Metric = "ap",
        draws: int = 1000,
        seed: int = 0,
    ) -> None:
        n = len(labels)
        member = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
        count = int(member.max(initial=-1)) + 1
        rng = np.random.default_rng(seed)
        weights = np.ones((n, draws + 1), dtype=np.float32)  # the first column is the data as they are
        for column in weights[:, 1:].T:
            column[:] = np.bincount(rng.integers(count, size=count), minlength=count)[member]
        self._labels, self._metric, self._weights = labels, metric, torch.from_numpy(weights)
        self._rng_seed = seed

    def __call__(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """(1 + draws,) means over the categories that are defined, of scores (N, C)."""
        drawn = [
            weighted_ranking(np.ascontiguousarray(x), np.ascontiguousarray(y), self._weights, metric=self._metric)
            for x, y in zip(scores.T, self._labels.T, strict=True)
        ]
        found: NDArray[np.float64] = mean_over_categories(torch.stack(drawn))[0].numpy()
        return found

    def gain(
        self, before: list[NDArray[np.float64]], after: list[NDArray[np.float64]], level: float = 0.95
    ) -> MeanGain:
        """Mean of ``after`` minus ``before``, results of this object by seed; seeds are resampled too."""
        difference = np.stack(after) - np.stack(before)
        rng = np.random.default_rng(self._rng_seed)
        seeds = rng.integers(len(difference), size=(len(difference), difference.shape[1] - 1))
        drawn = np.take_along_axis(difference[:, 1:], seeds, axis=0).mean(0)
        low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        return MeanGain(float(difference[:, 0].mean()), (float(low), float(high)))
