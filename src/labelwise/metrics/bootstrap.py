"""Paired bootstrap: is the difference between two models more than the luck of the test set?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from labelwise.config import Metric
from labelwise.errors import DataError
from labelwise.metrics.few import FEWEST, Support, gain_interval, p_values, unseen_variance
from labelwise.metrics.ranking import Array, mean_over_categories, ranking, to_tensor

DRAWS_AT_ONCE = 128  # at least, memory allowing: rows of weights of 512 bytes, long enough to stream
CACHE_ELEMENTS = 1 << 18  # of weights that are gathered from, 1 MB: few groups are drawn more often at once
WEIGHT_ELEMENTS = 1 << 25  # of the weights held at once, 128 MB


@dataclass(frozen=True)
class RankingGains:
    """Gains of a ranking metric with intervals of the paired bootstrap.

    Attributes
    ----------
    gain : (C,) float64, after minus before on the data as they are; NaN for a category without positives or negatives
    interval : (C, 2) float64, low and high; NaN where the gain is, and where positives or negatives are in fewer than
        `labelwise.metrics.few.FEWEST` groups: too few to tell
    p_value : (C,) float64 of no gain, two-sided; NaN where the interval is
    mean_gain, mean_interval : of the mean over the scored categories
    scored : number of categories that have a gain
    """

    gain: NDArray[np.float64]
    interval: NDArray[np.float64]
    p_value: NDArray[np.float64]
    mean_gain: float
    mean_interval: tuple[float, float]
    scored: int


def paired_interval(
    difference: NDArray[np.floating], groups: NDArray[np.str_] | None = None, *, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of paired differences between -1 and 1, such as of right answers.

    Whole groups are the samples. Two more of them, one better and one worse, stand for what no sample has shown (Bonett
    and Price 2012, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired Data"):
    two networks that are right on the same samples need not be equal. They widen the interval, and leave its middle.

    Parameters
    ----------
    difference : (N,) or (S, N) with S paired repetitions (seeds) over the same samples
    groups : (N,), optional; samples of one group count as one
    level : coverage

    Returns
    -------
    (low, high), NaN with fewer than `labelwise.metrics.few.FEWEST` groups

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> better = rng.random(200) < 0.8  # whether each sample is right, after
    >>> worse = rng.random(200) < 0.6  # and before
    >>> low, high = paired_interval(better.astype(float) - worse)
    >>> 0 < low < high
    True
    """
    values = np.atleast_2d(np.asarray(difference, dtype=np.float64))
    member, count = _members(groups, values.shape[1])
    freedom = np.array(count - 1.0 if count >= FEWEST else np.nan)
    of_mean, *of_each = (_variance_of_mean(x, member, count) for x in (values.mean(axis=0), *values))
    ends = gain_interval(values.mean(axis=1), np.array(of_mean), np.array(np.mean(of_each)), freedom, level)
    low, high = ends.tolist()
    return low, high


def _variance_of_mean(values: NDArray[np.float64], member: NDArray[np.int64], count: int) -> float:
    """Of the mean of values (N,) by the choice of their ``count`` groups."""
    of_group = np.bincount(member, weights=values - values.mean(), minlength=count)
    return float(of_group @ of_group) / len(values) ** 2 * count / max(count - 1, 1) + unseen_variance(count)


def ranking_gain_intervals(
    before: Array,
    after: Array,
    labels: Array,
    *,
    metric: Metric,
    groups: NDArray[Any] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> RankingGains:
    """Intervals of AP or AUC gained, resampling whole groups.

    A draw takes as many groups as there are, with replacement, the same ones before and after and for every category.
    How far the ends are from the gain depends on the number of positives, see :mod:`labelwise.metrics.few`.

    Parameters
    ----------
    before, after : (N, C) scores, ranked as they are
    labels : (N, C); 1 positive, 0 negative, NaN unknown
    groups : (N,), optional; samples of one group are drawn together
    level : coverage

    Raises
    ------
    DataError
        as `ranking`

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = (rng.random((100, 2)) < 0.5).astype(float)
    >>> before = rng.normal(size=(100, 2))
    >>> gains = ranking_gain_intervals(before, before + labels, labels, metric="auc", draws=200)
    >>> gains.interval.shape
    (2, 2)
    """
    sides = [to_tensor(scores).cpu() for scores in (before, after)]
    table = to_tensor(labels).cpu()
    if not sides[0].shape == sides[1].shape == table.shape or table.ndim != 2:
        shapes = ", ".join(str(tuple(x.shape)) for x in (*sides, table))
        raise DataError(f"scores before, after and labels must have one shape (N, C), not {shapes}")
    first, second = (ranking(scores.T, table.T).of(metric) for scores in sides)
    gain = second - first
    scored = torch.nonzero(~gain.isnan())[:, 0].tolist()
    member, blocks = group_draws(groups, len(table), draws, seed)
    columns = [(scores[:, category], table[:, category]) for scores in sides for category in scored]
    support = Support.of(table.numpy(), member)
    lone: list[Tensor] = []
    drawn = np.full((len(gain), draws), np.nan)
    done = 0
    kept = _keep_rows(blocks, torch.from_numpy(support.lone), lone)
    for found in weighted_rankings(columns, member, kept, metric=metric) if scored else ():
        low, high = found.tensor_split(2)
        drawn[scored, done : done + found.shape[1]] = (high - low).numpy()
        done += found.shape[1]
    mean, _ = mean_over_categories(gain)
    if not scored:
        nothing = np.full(len(gain), np.nan)
        return RankingGains(gain.numpy(), np.stack([nothing] * 2, 1), nothing, math.nan, (math.nan, math.nan), 0)
    support, value = support.take(np.array(scored)), gain.numpy()[scored]
    wide = support.widened(value, drawn[scored], torch.cat(lone, dim=1).double().numpy()[scored])
    interval, p_value = np.full((len(gain), 2), np.nan), np.full(len(gain), np.nan)
    deviation = _deviation(wide, drawn[scored])
    interval[scored] = gain_interval(value[None], deviation**2, deviation**2, support.of_each(), level)
    p_value[scored] = p_values(value, deviation, support.of_each())
    of_mean = wide.mean(0).var()
    low, high = gain_interval(mean.numpy()[None], of_mean, of_mean, np.array(support.of_mean()), level).tolist()
    return RankingGains(gain.numpy(), interval, p_value, mean.item(), (low, high), len(scored))


def _keep_rows(blocks: Iterable[Tensor], rows: Tensor, kept: list[Tensor]) -> Iterator[Tensor]:
    """The blocks; some of their rows are kept."""
    for block in blocks:
        kept.append(block[rows])
        yield block


def _deviation(wide: NDArray[np.float64], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C,) standard deviations of the widened draws that have a score; 0 where none has."""
    there = ~np.isnan(drawn)
    count = np.maximum(there.sum(1), 1)
    centred = np.where(there, wide - (np.where(there, wide, 0).sum(1) / count)[:, None], 0)
    found: NDArray[np.float64] = np.sqrt(np.square(centred).sum(1) / count)
    return found


def group_draws(
    groups: NDArray[Any] | None, samples: int, draws: int, seed: int
) -> tuple[NDArray[np.int64], Iterator[Tensor]]:
    """Draws of whole groups with replacement, as many groups in each as there are.

    Parameters
    ----------
    groups : (samples,), or None where every sample is a group of its own

    Returns
    -------
    member : (samples,) the group of every sample, 0 to G - 1
    weights : (G, D) float32, how often each group was drawn; a few draws at a time, ``draws`` in all

    Raises
    ------
    DataError
        for groups of another shape
    """
    member, count = _members(groups, samples)
    step = max(1, min(max(DRAWS_AT_ONCE, CACHE_ELEMENTS // max(1, count)), WEIGHT_ELEMENTS // max(1, count)))

    def weights() -> Iterator[Tensor]:
        rng = np.random.default_rng(seed)
        for start in range(0, draws, step):
            block = torch.empty(count, min(step, draws - start))  # float32 holds counts exactly up to 2^24 samples
            for column in block.numpy().T:
                column[:] = np.bincount(rng.integers(count, size=count), minlength=count)
            yield block

    return member, weights()


def weighted_rankings(
    columns: Sequence[tuple[Tensor, Tensor]], member: NDArray[np.int64], weights: Iterable[Tensor], *, metric: Metric
) -> Iterator[Tensor]:
    """AP or AUC of several categories under many weightings of their samples, from one sort of each.

    The definitions are those of `ranking`, with sums of weights in place of counts.

    Parameters
    ----------
    columns : K pairs of scores (N,) and labels (N,), which `ranking` has taken: nothing is checked again
    member : (N,) the row of the weights that holds for each sample
    weights : tables (G, D), not negative; sums are taken in their precision

    Yields
    ------
    (K, D) float64 for every table, NaN where the positives or the negatives of a category weigh nothing
    """
    with _threads() as each:
        ranked = list(each(partial(_rank, member=member), columns))
        for table in weights:
            yield torch.stack(list(each(partial(_weighted, weights=table, metric=metric), ranked)))


def _members(groups: NDArray[Any] | None, samples: int) -> tuple[NDArray[np.int64], int]:
    """The group of every sample as a number, and how many groups there are."""
    if groups is None:
        return np.arange(samples), samples
    if np.shape(groups) != (samples,):
        raise DataError(f"groups {np.shape(groups)} do not fit {samples} samples")
    names, member = np.unique(groups, return_inverse=True)
    return member, len(names)


@dataclass(frozen=True)
class _Ranked:
    """Rows of weights in the order of one category's scores, highest first, cut at its S distinct positive scores."""

    positives: Tensor  # rows of the positives
    hits: Tensor  # (S,) where in `positives` each threshold starts
    negatives: Tensor  # rows of the negatives
    alarms: Tensor  # (S + 1,) cuts of `negatives`: piece k ends with the last one at or above threshold k
    above: Tensor  # (S + 1,) the same for those above it; equal to `alarms` when no negative ties with a positive


def _rank(column: tuple[Tensor, Tensor], member: NDArray[np.int64]) -> _Ranked:
    scores, labels = column
    values = (scores if scores.dtype == torch.float64 else scores.float()).numpy()
    sides = []
    for kind in (1, 0):
        rows = np.flatnonzero((labels == kind).numpy())
        order = np.argsort(-values[rows])
        sides.append((values[rows][order], member[rows][order]))
    (positive, positives), (negative, negatives) = sides
    thresholds, hits = np.unique(-positive, return_index=True)
    alarms, above = (np.searchsorted(-negative, thresholds, side=side) for side in ("right", "left"))
    cuts = (np.concatenate([[0], ends]) for ends in (alarms, above))
    return _Ranked(*(torch.from_numpy(x.astype(np.int32)) for x in (positives, hits, negatives, *cuts)))


def _weighted(ranked: _Ranked, weights: Tensor, metric: Metric) -> Tensor:
    """The metric under each column of weights (G, D); a sum over sorted rows is a bag of rows, D columns at a time."""
    hits = embedding_bag(ranked.positives, weights, ranked.hits, mode="sum")
    alarms = embedding_bag(ranked.negatives, weights, ranked.alarms, mode="sum").cumsum(0)
    positives, negatives = hits.sum(0, dtype=torch.float64), alarms[-1].double()
    if metric == "ap":
        found = hits.cumsum(0)
        precision = found / (found + alarms[:-1]).clamp(min=torch.finfo(hits.dtype).tiny)  # 0 / 0 only where hits is 0
        value = (hits * precision).sum(0, dtype=torch.float64) / positives
    else:
        wrong = alarms[:-1]
        if not torch.equal(ranked.alarms, ranked.above):
            above = embedding_bag(ranked.negatives, weights, ranked.above, mode="sum").cumsum(0)[:-1]
            wrong = (wrong + above) / 2
        value = (hits * (alarms[-1] - wrong)).sum(0, dtype=torch.float64) / (positives * negatives)
    return value.masked_fill((positives == 0) | (negatives == 0), torch.nan)


@contextmanager
def _threads() -> Iterator[Callable[..., Iterable[Any]]]:
    """A ``map`` over as many threads as torch uses; meanwhile every thread runs its operators alone.

    The operators here are so many and so short that splitting each over threads, which then wait for each other, costs
    more than it brings, on a busy machine 30 times more; whole categories are given to threads instead.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield map
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(threads)
