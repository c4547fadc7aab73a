"""Differences between networks on the test split, paired by sample and by seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.data.dataset import Dataset
from labelwise.metrics.bootstrap import paired_interval
from labelwise.metrics.multilabel import hard_labels
from labelwise.metrics.paired import MeanRanking
from labelwise.metrics.ranking import Metric
from labelwise.refine.bench import PREDICTIONS

Gain = tuple[float, tuple[float, float]]


class Comparison:
    """Top-1 of single-label data, mean AP (or AUC) of multi-label data, with 95% intervals over groups and seeds.

    Parameters
    ----------
    dataset : whose test split is looked at
    metric : of multi-label data
    """

    def __init__(self, dataset: Dataset, metric: Metric = "ap") -> None:
        rows = dataset.rows("test")
        self._groups = dataset.groups[rows]
        self._ranking: MeanRanking | None = None
        if dataset.table is not None:
            self._ranking = MeanRanking(hard_labels(dataset.table.take(rows)), self._groups, metric=metric)

    def read(self, folder: Path) -> NDArray[np.float64]:
        """Of a finished network: what :meth:`gain` compares."""
        with np.load(folder / PREDICTIONS) as stored:
            return self.measure(stored["correct" if self._ranking is None else "logits"])

    def measure(self, prediction: NDArray[Any]) -> NDArray[np.float64]:
        """Of right answers (N,), or of logits (N, C) on the test split."""
        return prediction.astype(np.float64) if self._ranking is None else self._ranking(prediction)

    def gain(self, before: list[NDArray[np.float64]], after: list[NDArray[np.float64]]) -> Gain:
        """Mean over seeds of after minus before, and its interval; both as :meth:`measure` gives them, by seed."""
        if self._ranking is None:
            difference = np.stack(after) - np.stack(before)
            return float(difference.mean()), paired_interval(difference, self._groups)
        found = self._ranking.gain(before, after)
        return found.gain, found.interval
