"""Average precision and ROC AUC of many rows of scores at once, with ties, with unknown labels, exactly.

Definitions. With thresholds at the distinct scores, highest first, average precision is the sum over thresholds of
(R_k - R_{k-1}) P_k, with R recall and P precision: no interpolation, and equal scores are one threshold, so the order
of the samples never matters. AUC is the Mann-Whitney statistic: the share of (positive, negative) pairs in the right
order, where a tie counts half. A row without a positive or without a negative has neither: both are NaN.

Scores are ranked as they are. Pass logits: a sigmoid maps distinct float32 logits to equal probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.config import Metric, check_choice
from labelwise.errors import DataError

Array = Tensor | NDArray[Any]
POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1
CACHE_ELEMENTS = 1 << 18  # rows of one task on a CPU: about 1 MB of float32, which stays in a core's own cache
DEVICE_ELEMENTS = 1 << 24  # of one step on an accelerator, about 80 bytes each


@dataclass(frozen=True)
class Ranking:
    """AP and AUC of every row; all tensors have the leading shape of the scores and live on their device.

    Attributes
    ----------
    ap, auc : (...,) float64, NaN where undefined
    positives, negatives : (...,) int64, of the known labels
    """

    ap: Tensor
    auc: Tensor
    positives: Tensor
    negatives: Tensor

    @property
    def scored(self) -> int:
        """How many rows have an AP and an AUC."""
        return int((~torch.isnan(self.ap)).sum())

    def of(self, metric: Metric) -> Tensor:
        """(...,) the values of one of the two."""
        check_choice("metric", metric, Metric)
        return self.ap if metric == "ap" else self.auc


def ranking(scores: Array, labels: Array, *, known: Array | None = None) -> Ranking:
    """AP and AUC along the last dimension, from one sort.

    Parameters
    ----------
    scores : (..., N) floating; any real number or infinity, NaN only where the label is unknown. Half
        precisions are ranked as float32, float64 as float64
    labels : broadcastable to scores; 1 positive, 0 negative, NaN unknown; or bool. Rows that share labels, such as the
        candidates of scores (C, P, N) with labels (C, 1, N), cost least when the labels are passed unexpanded
    known : bool, broadcastable to scores, optional; labels outside count as unknown whatever their value

    Raises
    ------
    DataError
        for NaN scores of known labels, soft labels, or shapes that do not fit

    Examples
    --------
    >>> import torch
    >>> scores = torch.tensor([0.9, 0.8, 0.3, 0.2])
    >>> found = ranking(scores, torch.tensor([1.0, 0.0, 1.0, 0.0]))
    >>> round(found.ap.item(), 4), found.auc.item()
    (0.8333, 0.75)
    >>> int(found.positives), int(found.negatives)
    (2, 2)
    """
    values = to_tensor(scores)
    if not values.is_floating_point():
        raise DataError(f"scores must be floating-point numbers, not {values.dtype}")
    state = _states(values, to_tensor(labels), None if known is None else to_tensor(known))
    if values.numel() and bool(values.amax().isnan()):
        if bool((values.isnan() & (state != UNKNOWN)).any()):
            raise DataError("scores contain NaN: nothing can be ranked; check the features and the head")
        values = values.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)  # of unknown labels alone
    own, shared = ([d for d in range(values.ndim - 1) if (state.shape[d] != 1) is split] for split in (True, False))
    groups, rows = (math.prod(values.shape[d] for d in dims) for dims in (own, shared))  # a group's rows share labels
    count = values.shape[-1]
    blocks = values.permute(*own, *shared, -1).reshape(groups, rows, count)
    state = state.permute(*own, *shared, -1).reshape(groups, count)
    ap, auc = _on_cpu(blocks, state) if values.device.type == "cpu" else _on_device(blocks, state)
    positives, negatives = ((state == kind).sum(1, keepdim=True) for kind in (POSITIVE, NEGATIVE))

    def restore(flat: Tensor) -> Tensor:
        table = flat.expand(groups, rows).reshape([values.shape[d] for d in own + shared])
        return table.permute(np.argsort(own + shared).tolist()).contiguous()

    return Ranking(restore(ap), restore(auc), restore(positives), restore(negatives))


def average_precision(scores: Array, labels: Array, *, known: Array | None = None) -> Tensor:
    """Average precision along the last dimension.

    Parameters
    ----------
    scores : (..., N) floating, any real number or infinity; pass logits rather than probabilities
    labels : broadcastable to scores; 1 positive, 0 negative, NaN unknown; or bool
    known : bool, broadcastable to scores, optional; labels outside count as unknown

    Returns
    -------
    (...,) float64; NaN without a positive or without a negative

    Raises
    ------
    DataError
        For NaN scores of known labels, soft labels, or shapes that do not fit.

    Examples
    --------
    >>> import torch
    >>> scores = torch.tensor([[0.9, 0.8, 0.3, 0.2], [0.9, 0.8, 0.3, 0.2]])  # two categories, four samples
    >>> labels = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, torch.nan, 0.0, 0.0]])  # NaN: unknown
    >>> average_precision(scores, labels)
    tensor([0.8333, 1.0000], dtype=torch.float64)
    """
    return ranking(scores, labels, known=known).ap


def roc_auc(scores: Array, labels: Array, *, known: Array | None = None) -> Tensor:
    """Area under the ROC curve along the last dimension; a tie counts half.

    Parameters
    ----------
    scores : (..., N) floating, any real number or infinity; pass logits rather than probabilities
    labels : broadcastable to scores; 1 positive, 0 negative, NaN unknown; or bool
    known : bool, broadcastable to scores, optional; labels outside count as unknown

    Returns
    -------
    (...,) float64; NaN without a positive or without a negative

    Raises
    ------
    DataError
        For NaN scores of known labels, soft labels, or shapes that do not fit.

    Examples
    --------
    >>> import torch
    >>> roc_auc(torch.tensor([0.9, 0.8, 0.3, 0.2]), torch.tensor([1.0, 0.0, 1.0, 0.0])).item()
    0.75
    """
    return ranking(scores, labels, known=known).auc


def mean_over_categories(values: Array) -> tuple[Tensor, Tensor]:
    """Mean over the first dimension of what is defined, and how many entries that were.

    Parameters
    ----------
    values : (C, ...) with NaN where undefined

    Returns
    -------
    (mean, count) : (...,) float64 (NaN where nothing is defined) and (...,) int64

    Examples
    --------
    >>> import torch
    >>> mean, count = mean_over_categories(torch.tensor([0.5, 1.0, torch.nan]))
    >>> mean.item(), count.item()
    (0.75, 2)
    """
    table = to_tensor(values).double()
    return table.nanmean(0), (~table.isnan()).sum(0)


def to_tensor(array: Array) -> Tensor:
    """Any array as a tensor outside the graph, without a copy where that is possible."""
    if isinstance(array, Tensor):
        return array.detach()
    plain = np.ascontiguousarray(array)  # torch takes neither negative strides nor, without a warning, read-only memory
    return torch.from_numpy(plain if plain.flags.writeable else plain.copy())


def _states(scores: Tensor, labels: Tensor, known: Tensor | None) -> Tensor:
    """Labels as int8 POSITIVE, NEGATIVE or UNKNOWN: as many dimensions as the scores, unexpanded but for the last."""
    shapes = f"labels {tuple(labels.shape)}" + ("" if known is None else f" and known {tuple(known.shape)}")
    misfit = DataError(f"{shapes} do not fit scores {tuple(scores.shape)}")
    labels = labels.to(scores.device)
    mask = ~labels.isnan()
    try:
        if known is not None:
            labels, mask = torch.broadcast_tensors(labels, mask & known.to(scores.device, torch.bool))
        fits = scores.ndim > 0 and np.broadcast_shapes(scores.shape, labels.shape) == scores.shape
    except (RuntimeError, ValueError):
        raise misfit from None
    if not fits:
        raise misfit
    positive = labels == 1
    soft = mask & ~positive & (labels != 0)
    if bool(soft.any()):
        example = labels[soft][0].item()
        raise DataError(f"ranking needs labels 1, 0 or NaN (unknown), not {example:g}; decide soft labels first")
    state = positive.to(torch.int8).masked_fill(~mask, UNKNOWN)
    state = state.reshape((1,) * (scores.ndim - state.ndim) + tuple(state.shape))
    return state.expand(*state.shape[:-1], scores.shape[-1])


def _on_cpu(blocks: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """AP and AUC (G, R) of blocks (G, R, N): the rows of a group share the labels state (G, N)."""
    groups, rows, count = blocks.shape
    out = np.full((2, groups, rows), np.nan)
    kinds = state.numpy()

    def work(task: tuple[int, int, int]) -> None:
        group, start, stop = task
        part = blocks[group, start:stop]
        table = (part if part.dtype == torch.float64 else part.float()).numpy()
        positive, negative = (np.flatnonzero(kinds[group] == kind) for kind in (POSITIVE, NEGATIVE))
        out[:, group, start:stop] = _rank_rows(table[:, positive], table[:, negative])

    def tasks() -> Iterator[tuple[int, int, int]]:
        for group, kind in enumerate(kinds):
            positives, negatives = (int(np.count_nonzero(kind == value)) for value in (POSITIVE, NEGATIVE))
            if positives and negatives:
                step = max(1, CACHE_ELEMENTS // (positives + negatives))
                yield from ((group, start, min(start + step, rows)) for start in range(0, rows, step))

    threads = torch.get_num_threads()
    if threads == 1 or groups * rows * count < CACHE_ELEMENTS:
        for task in tasks():
            work(task)
    else:  # sorting and searching release the interpreter lock
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, tasks()))
    ap, auc = torch.from_numpy(out)
    return ap, auc


def _rank_rows(positive: NDArray[Any], negative: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AP and AUC of rows that share their labels, from scores of positives (R, P) and negatives (R, Q), sorted here.

    Sorting bare values is three times cheaper than a sort that carries labels along, in keys or as a permutation,
    because NumPy does it with vector instructions; all that AP and AUC then ask for is how many negatives lie below and
    at each positive, a binary search whose next answer starts at the last one. Ties, signed zeros, infinities and
    float64 need no special case.
    """
    positive.sort(axis=1)
    negative.sort(axis=1)
    below = np.stack([row.searchsorted(keys) for row, keys in zip(negative, positive, strict=True)])
    not_above = below.copy()
    tied = np.take_along_axis(negative, np.minimum(below, negative.shape[1] - 1), axis=1) == positive
    for row in np.flatnonzero(tied.any(axis=1)):  # few rows, unless scores were rounded
        not_above[row, tied[row]] = negative[row].searchsorted(positive[row, tied[row]], side="right")
    first = np.broadcast_to(np.arange(positive.shape[1]), positive.shape).copy()
    first[:, 1:][positive[:, 1:] == positive[:, :-1]] = 0
    np.maximum.accumulate(first, axis=1, out=first)  # where the run of equal positives starts
    hits = positive.shape[1] - first
    precision = hits / (hits + (negative.shape[1] - below))
    pairs = positive.shape[1] * negative.shape[1]
    return precision.mean(axis=1), (below.sum(axis=1) + not_above.sum(axis=1)) / (2 * pairs)


def _on_device(blocks: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One sort and four scans per step, over as many rows as memory allows; no value is read back in between."""
    groups, rows, _ = blocks.shape
    ap, auc = (blocks.new_full((groups, rows), torch.nan, dtype=torch.float64) for _ in range(2))
    width = int((state != UNKNOWN).sum(1).max()) if state.numel() else 0
    if not width or not rows:
        return ap, auc
    columns = (state == UNKNOWN).to(torch.int8).argsort(dim=1, stable=True)[:, :width]  # known ones first
    kinds = state.gather(1, columns)
    step = max(1, DEVICE_ELEMENTS // width)
    for start in range(0, groups * rows, step):
        row = torch.arange(start, min(start + step, groups * rows), device=blocks.device)
        group = row // rows
        part = blocks.reshape(groups * rows, -1)[start : start + step].gather(1, columns[group])
        part = part if part.dtype == torch.float64 else part.float()
        ap.view(-1)[row], auc.view(-1)[row] = _rank_sorted(part, kinds[group])
    return ap, auc


def _rank_sorted(scores: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """AP and AUC of (B, K) scores with labels POSITIVE, NEGATIVE or UNKNOWN."""
    scores, order = scores.sort(dim=1, descending=True)
    kinds = kinds.gather(1, order)
    last = torch.ones_like(kinds, dtype=torch.bool)
    last[:, :-1] = scores[:, 1:] != scores[:, :-1]  # the last of each run of equal scores: a threshold
    hits, hits_here = _at_thresholds(kinds == POSITIVE, last)
    alarms, alarms_here = _at_thresholds(kinds == NEGATIVE, last)
    positives, negatives = hits[:, -1], alarms[:, -1]
    precision = hits.double() / (hits + alarms).clamp(min=1)  # integers alone would divide in float32
    ap = (hits_here * precision).sum(1) / positives
    pairs = (hits_here * (2 * (negatives[:, None] - alarms) + alarms_here)).sum(1)
    auc = pairs.double() / (2 * positives * negatives)
    undefined = (positives == 0) | (negatives == 0)
    return ap.masked_fill(undefined, torch.nan), auc.masked_fill(undefined, torch.nan)


def _at_thresholds(hit: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Counts up to each position, and those that each threshold adds (0 at positions that are none)."""
    total = hit.cumsum(1)
    before = torch.zeros_like(total)
    before[:, 1:] = torch.where(last, total, 0).cummax(1).values[:, :-1]
    return total, torch.where(last, total - before, 0)
