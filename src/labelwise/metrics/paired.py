"""Mean AP or AUC of two models over several seeds, compared on the same test samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.config import Metric
from labelwise.metrics.bootstrap import group_draws, weighted_rankings
from labelwise.metrics.few import Support, gain_interval
from labelwise.metrics.ranking import ranking, to_tensor


@dataclass(frozen=True)
class MeanGain:
    """``gain`` of the mean over categories, averaged over seeds, and its ``interval`` (low, high)."""

    gain: float
    interval: tuple[float, float]


class MeanRanking:
    """Mean AP or AUC of any scores on fixed samples, as they are and in draws of the bootstrap.

    The draws are those of whole groups with replacement and the same for all scores, so differences are paired. Each
    model is looked at once, by a call; differences of the results cost next to nothing.

    Parameters
    ----------
    labels : (N, C); 1 positive, 0 negative, NaN unknown
    groups : (N,), optional; samples of one group are drawn together

    Raises
    ------
    DataError
        For groups of another shape; a call for NaN scores, soft labels, or shapes that differ.
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
        self._member, weights = group_draws(groups, len(labels), draws, seed)
        self._weights = list(weights)
        self._labels, self._metric = to_tensor(labels), metric
        support = Support.of(np.asarray(labels), self._member)
        self._scored = np.flatnonzero(support.groups)
        self._support = support.take(self._scored)
        lone = torch.from_numpy(self._support.lone)
        self._lone = torch.cat([block[lone] for block in self._weights], dim=1).double().numpy()

    def __call__(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """(1 + draws,) means over the categories that are defined, of scores (N, C); the draws are widened."""
        values = to_tensor(scores)
        plain = ranking(values.T, self._labels.T).of(self._metric).numpy()[self._scored]
        if not len(plain):
            return np.full(1 + self._lone.shape[1], np.nan)
        columns = [(values[:, c], self._labels[:, c]) for c in self._scored]
        drawn = torch.cat(list(weighted_rankings(columns, self._member, self._weights, metric=self._metric)), dim=1)
        wide = self._support.widened(plain, drawn.numpy(), self._lone)
        return np.append(plain.mean(), wide.mean(0))

    def gain(
        self, before: list[NDArray[np.float64]], after: list[NDArray[np.float64]], *, level: float = 0.95
    ) -> MeanGain:
        """Mean of ``after`` minus ``before``, results of this object by seed; its interval is over seeds, too."""
        difference = np.stack(after) - np.stack(before)
        gain, drawn = difference[:, 0], difference[:, 1:]
        variances = drawn.mean(axis=0).var(), drawn.var(axis=1).mean()
        low, high = gain_interval(gain, *variances, np.array(self._support.of_mean()), level).tolist()
        return MeanGain(float(gain.mean()), (low, high))
