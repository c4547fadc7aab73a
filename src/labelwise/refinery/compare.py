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
from labelwise.refinery.context import PREDICTIONS

Gain = tuple[float, tuple[float, float]]


def gain_on_test(dataset: Dataset, before: list[Path], after: list[Path]) -> Gain:
    """Mean over seeds of after minus before, and its 95% interval over groups and seeds.

    Top-1 of single-label data, mAP of multi-label data, of the predictions on test in the folders of finished networks.
    A network beside itself gains nothing, for certain.

    Parameters
    ----------
    dataset : whose test split is looked at
    before, after : folders, by seed
    """
    if before == after:
        return 0.0, (0.0, 0.0)
    rows = dataset.rows("test")
    groups = dataset.groups[rows]
    if dataset.table is None:
        difference = np.stack([_stored(folder, "correct") for folder in after]).astype(np.float64)
        difference -= np.stack([_stored(folder, "correct") for folder in before])
        return float(difference.mean()), paired_interval(difference, groups)
    ranks = MeanRanking(hard_labels(dataset.table.take(rows)), groups)
    found = ranks.gain(*([ranks(_stored(folder, "logits")) for folder in side] for side in (before, after)))
    return found.gain, found.interval


def _stored(folder: Path, key: str) -> NDArray[Any]:
    with np.load(folder / PREDICTIONS) as stored:
        return np.asarray(stored[key])
