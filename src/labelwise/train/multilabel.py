"""One step's mathematics for multi-label data: a sigmoid per category, and only labels that have a value count."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelwise.data.loaders import Batch
from labelwise.errors import DataError
from labelwise.labels.strategies import train_targets
from labelwise.labels.table import LabelTable
from labelwise.losses import binary_cross_entropy
from labelwise.metrics.ranking import mean_over_categories, ranking
from labelwise.train.task import Output


class MultiLabelTask:
    """Minimise the binary cross-entropy over given and inferred labels; unknown and uncertain ones count nothing.

    "Assume negative" and its like are strategies that fill the table in beforehand (``labelwise.labels.strategies``).
    The loss is a sum over labels, divided by the number of samples and by the mean weight that a sample's labels have
    over all of ``rows``. That divisor is the same for every batch, so that parts of a batch, on several ranks or one
    after the other, have together the gradient of the whole, however many of their labels are known.

    Parameters
    ----------
    table : labels of all samples of the data set, by row
    rows : (n,) the samples that are trained on
    size : the model's input size
    device : of the batches

    Raises
    ------
    DataError
        If no label of ``rows`` has a value.
    """

    names = ("bce",)

    def __init__(self, table: LabelTable, rows: NDArray[np.int64], size: int, device: torch.device) -> None:
        targets, weight = train_targets(table)
        self._per_sample = float(weight[rows].sum(dtype=np.float64) / max(len(rows), 1))
        if self._per_sample == 0:
            raise DataError("labels: no label of the fit split is known; there is nothing to train on")
        # Unknown labels are NaN to the loss, which gives them exactly no gradient; 0 x infinity would be NaN.
        targets = np.where(weight > 0, targets, np.float32(np.nan))
        self._targets, self._weight = (torch.from_numpy(array).to(device) for array in (targets, weight))
        self.sizes = (size,)

    def __call__(self, model: nn.Module, batch: Batch) -> Output:
        rows = torch.from_numpy(batch.rows).to(self._targets.device)
        # A mixed view's label is known where both of its parts' are.
        target, weight = (batch.mixed(labels.index_select(0, rows)) for labels in (self._targets, self._weight))
        logits = model(batch.inputs[self.sizes[0]])
        total = binary_cross_entropy(logits, target, weight).sum() / self._per_sample
        return Output(total / len(batch), total.detach()[None])


def ranking_scores(logits: Tensor, table: LabelTable) -> dict[str, float]:
    """How logits rank the known labels, and how sure they are.

    Parameters
    ----------
    logits : (N, C)
    table : labels of the same N samples; soft ones are left out of the ranking

    Returns
    -------
    ``map`` and ``auc``, means over the categories where they are defined (NaN if that is none), and ``nll``, the mean
    binary cross-entropy of a known label
    """
    labels = torch.from_numpy(table.given())
    hard = torch.where((labels == 0) | (labels == 1), labels, torch.nan)
    ranks = ranking(logits.T.contiguous(), hard.T.contiguous())
    known = ~torch.isnan(labels)
    return {
        "map": float(mean_over_categories(ranks.ap)[0]),
        "auc": float(mean_over_categories(ranks.auc)[0]),
        "nll": float(binary_cross_entropy(logits, labels)[known].double().mean()),
    }
