"""The known labels of each category, gathered so that many categories are one batched product.

Categories know different rows. A block packs some categories of similar counts: each one's known rows, padded to the
longest. Where most rows are known nothing is gathered: all categories then share the rows and unknown entries weigh 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from labelwise.features.shards import LABEL_BYTES

DENSE_SHARE = 0.35
"""Known share from which sharing all rows beats gathering: a shared product runs several times faster per row."""

SMALLEST = 1e-6
"""Standard deviation of a logit up to which it counts as constant."""


@dataclass(frozen=True)
class Block:
    """Known rows of c categories.

    Attributes
    ----------
    categories : (c,) int64
    x : (c, n, R) coordinates, or (n, R) when all categories share the rows
    label : (c, n) float32, 0 where ``weight`` is 0
    weight : (c, n) float32; 0 marks padding and unknown entries
    rows : (c, n) int64 row of each entry, or None when the rows are shared
    """

    categories: Tensor
    x: Tensor
    label: Tensor
    weight: Tensor
    rows: Tensor | None

    def product(self, heads: Tensor) -> Tensor:
        """x @ heads: (c, R, L) to (c, n, L)."""
        if self.x.ndim == 3:
            return torch.bmm(self.x, heads)
        c, r, columns = heads.shape
        # One product for all categories; the result keeps (n, c, L) in memory, which elementwise work does not mind.
        flat = heads.permute(1, 0, 2).reshape(r, c * columns)
        return (self.x @ flat).view(-1, c, columns).permute(1, 0, 2)

    def gradient(self, residual: Tensor) -> Tensor:
        """x^T @ residual: (c, n, L) to (c, R, L)."""
        if self.x.ndim == 3:
            # Residuals as rows: BLAS runs that up to four times faster than x^T times a few columns.
            return torch.bmm(residual.transpose(1, 2), self.x).transpose(1, 2).contiguous()
        c, n, columns = residual.shape
        flat = residual.permute(1, 0, 2).reshape(n, c * columns)
        return (self.x.T @ flat).view(-1, c, columns).permute(1, 0, 2)

    def take(self, values: Tensor) -> Tensor:
        """Entries (c, n) of a matrix (N, C) over rows and categories."""
        chosen = values[:, self.categories].T
        return chosen if self.rows is None else chosen.gather(1, self.rows)


def blocks(
    x: Tensor, labels: Tensor, weight: Tensor | None, categories: Tensor, columns: int, budget: int
) -> Iterator[Block]:
    """Blocks over ``categories``, those of similar counts together.

    Parameters
    ----------
    x : (N, R), or (N, C, R) for features of each category's own
    labels : (N, C), NaN where unknown
    weight : (N, C) weights of the known labels, or None for 1
    categories : (c,) indices to be covered, each once
    columns : heads that will be evaluated per category
    budget : float32 values that a block may hold, working arrays included
    """
    count = count_rows(labels, lambda part: ~torch.isnan(part[:, categories]))
    most = count.argsort(descending=True, stable=True)
    order, count = categories[most], count[most]
    rank = x.shape[-1]
    start = 0
    while start < len(order):
        dense = x.ndim == 2 and int(count[start]) >= DENSE_SHARE * len(x)
        n = len(x) if dense else max(1, int(count[start]))
        per_category = n * (8 * columns + (0 if dense else rank)) + 24 * rank * columns + len(x)
        stop = min(len(order), start + max(1, budget // per_category))
        if dense:  # only while the categories are known well enough to share all rows
            stop = start + int((count[start:stop] >= DENSE_SHARE * len(x)).sum())
        chosen = order[start:stop]
        yield _shared(x, labels, weight, chosen) if dense else _gathered(x, labels, weight, chosen, n)
        start = stop


def count_rows(labels: Tensor, wanted: Callable[[Tensor], Tensor]) -> Tensor:
    """(C,) int64: of how many rows of labels (N, C) ``wanted`` says True, asked about a few rows at a time."""
    step = max(1, LABEL_BYTES // (labels.element_size() * max(1, labels.shape[1])))
    return torch.stack([wanted(part).sum(0) for part in labels.split(step)]).sum(0)


def known_deviation(logits: Tensor, weight: Tensor) -> Tensor:
    """Standard deviation (...) of logits (..., n) over the known entries, those of ``weight`` 1 and not 0."""
    count = weight.sum(-1).clamp_min(1)
    mean = (logits * weight).sum(-1) / count
    return (((logits - mean[..., None]).square() * weight).sum(-1) / count).sqrt()


def _shared(x: Tensor, labels: Tensor, weight: Tensor | None, chosen: Tensor) -> Block:
    label = labels[:, chosen].T
    known = (~torch.isnan(label)).float()
    weights = known if weight is None else known * weight[:, chosen].T
    return Block(chosen, x, torch.nan_to_num(label), weights, None)


def _gathered(x: Tensor, labels: Tensor, weight: Tensor | None, chosen: Tensor, n: int) -> Block:
    rows = torch.zeros(len(chosen), n, dtype=torch.int64, device=x.device)
    label, weights = (torch.zeros(len(chosen), n, device=x.device) for _ in range(2))
    filled = torch.zeros(len(chosen), dtype=torch.int64, device=x.device)
    step = max(1, LABEL_BYTES // (labels.element_size() * len(chosen)))
    for start in range(0, len(labels), step):
        part = labels[start : start + step][:, chosen]
        category, row = (~torch.isnan(part.T)).nonzero(as_tuple=True)  # by category, rows ascending
        count = torch.bincount(category, minlength=len(chosen))
        slot = torch.arange(len(row), device=x.device) + (filled - count.cumsum(0) + count)[category]
        rows[category, slot] = row + start
        label[category, slot] = part[row, category]
        weights[category, slot] = 1.0 if weight is None else weight[row + start, chosen[category]]
        filled += count
    packed = x[rows] if x.ndim == 2 else x[rows, chosen[:, None]]
    # Padding repeats row 0 and weighs nothing.
    return Block(chosen, packed, label, weights, rows)
