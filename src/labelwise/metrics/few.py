"""Intervals that hold where few positives stand behind a score: widened bootstrap deviations and Student's t.

A bootstrap of k positives has (k - 1) / k of the variance that it estimates, and its quantiles are those of a normal
distribution that is known exactly; with few positives both make intervals far too short. Deviations are multiplied by
sqrt(k / (k - 1)), and ends are k - 1 degrees of freedom of Student's t away (Hesterberg 2015, "What Teachers Should
Know About the Bootstrap", section 4). So are those of a few seeds. Coverage was measured: docs/results/cft.md, section
"Intervals". k counts groups (patients), and the scarcer of positives and negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]

FEWEST = 5
"""Groups with a positive (or negative) below which no interval of one category holds."""


@dataclass(frozen=True)
class Support:
    """The groups behind each category's score.

    Attributes
    ----------
    behind : of each category the groups (k,) that have a positive, or a negative if these are fewer; empty where there
        is no score
    """

    behind: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, labels: NDArray[np.floating], member: NDArray[np.int64]) -> Support:
        """Of labels (N, C), 1, 0 or NaN, and the group of every sample (N,)."""
        sides = ([np.flatnonzero(np.bincount(member[column == kind])) for kind in (1, 0)] for column in labels.T)
        return cls(tuple(min(two, key=len) for two in sides))

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """(C,) how many they are."""
        return np.array([len(found) for found in self.behind], dtype=np.int64)

    @property
    def lone(self) -> NDArray[np.int64]:
        """(C,) the group where there is one alone, else 0."""
        return np.array([found[0] if len(found) == 1 else 0 for found in self.behind], dtype=np.int64)

    def take(self, categories: NDArray[np.int64]) -> Support:
        """Of some categories."""
        return Support(tuple(self.behind[c] for c in categories))

    def widened(self, value: Floats, drawn: Floats, weight: Floats) -> Floats:
        """Scores in the draws of a bootstrap (C, D) as they would scatter if variances were not underestimated.

        What a draw leaves without a score stands at the value. A lone group cannot say how much its own score
        scatters; that is taken from the scatter of the scores over all categories.

        Parameters
        ----------
        value : (C,) scores, or differences of scores, on the data as they are; NaN where undefined
        weight : (C, D) how often the group ``lone`` was drawn
        """
        several = np.sqrt(self.groups / np.maximum(self.groups - 1, 1))[:, None]
        found = np.nan_to_num(drawn - value[:, None]) * np.where(self.groups[:, None] > 1, several, 1.0)
        alone = self.groups == 1
        if alone.any():
            found[alone] += (weight[alone] - 1) * (value[alone] - np.nanmean(value))[:, None]
        result: Floats = value[:, None] + found
        return result

    def of_each(self) -> Floats:
        """(C,) degrees of freedom of each category's variance; NaN below `FEWEST` groups, where no interval holds."""
        return np.where(self.groups < FEWEST, np.nan, self.groups - 1.0)

    def of_mean(self) -> float:
        """Degrees of freedom of the mean over the categories (Satterthwaite), each positive being as variable; at most
        those of all groups together, which categories may share. NaN where no interval holds: below one degree, below
        `FEWEST` groups, and at `FEWEST` where a positive is alone.

        The variance of lone positives is that of their scores around the mean of all C categories: each has
        (C - 1) / C degrees of freedom.
        """
        count = self.groups[self.groups > 0].astype(np.float64)
        together = len(np.unique(np.concatenate(self.behind))) if len(count) else 0
        if together < FEWEST or (together == FEWEST and (count == 1).any()):
            return np.nan
        single, more = int((count == 1).sum()), count[count > 1]
        variance = single + (1 / more).sum()
        squares = single * len(count) / max(len(count) - 1, 1) + (1 / (more**2 * (more - 1))).sum()
        found = min(float(variance**2 / squares), together - 1.0)
        return found if found >= 1 else np.nan


def gain_interval(by_seed: Floats, of_mean: Floats, of_each: Floats, freedom: Floats, level: float) -> Floats:
    """Ends of an interval around the mean of gains over seeds, for other test samples and other seeds.

    Two variances add up: that by seeds, and that by test samples as far as all seeds share it, which is the covariance
    of two seeds' gains. The quantile is the mean of Student's t of both, each weighted by its variance (Cochran 1964,
    "Approximate significance levels of the Behrens-Fisher test"). The degrees of freedom of the sum (Satterthwaite)
    held too seldom with two or three seeds: 87 and 92%. No interval is shorter than one over test samples alone.

    Parameters
    ----------
    by_seed : (S, ...) gains; one alone (S = 1) says nothing of other seeds
    of_mean, of_each : (...) variances by the choice of test samples, of the mean gain and, in the mean, of one seed's
    freedom : (...) degrees of freedom of those variances, NaN where they cannot be told

    Returns
    -------
    (..., 2), NaN where ``freedom`` is
    """
    seeds, value = len(by_seed), by_seed.mean(axis=0)
    alone = stdtrit(freedom, (1 + level) / 2) * np.sqrt(of_mean)
    if seeds == 1:
        reach = alone
    else:
        shared = np.maximum(0, (seeds * of_mean - of_each) / (seeds - 1))
        among = by_seed.var(axis=0, ddof=1) / seeds
        quantiles = [stdtrit(of, (1 + level) / 2) for of in (seeds - 1, freedom)]
        total = np.maximum(shared + among, np.finfo(np.float64).tiny)
        reach = np.maximum(alone, (quantiles[0] * among + quantiles[1] * shared) / np.sqrt(total))
    ends: Floats = np.stack([value - reach, value + reach], axis=-1).clip(-1, 1)
    return ends


def unseen_variance(groups: int) -> float:
    """Variance of a mean difference of right answers by what no group has shown: two more groups, one better and one
    worse (Bonett and Price 2012). Without it, the interval of networks that differ on no sample has no width."""
    return 2 / groups**2


def p_values(value: Floats, deviation: Floats, freedom: Floats) -> Floats:
    """(...) two-sided, of the hypothesis that a value is zero; NaN where ``freedom`` is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(value == 0, 0.0, np.abs(value) / deviation)
    found: Floats = 2 * stdtr(freedom, -statistic)
    return found


def discoveries(p_value: Floats, rate: float = 0.05) -> NDArray[np.bool_]:
    """Which hypotheses are rejected at a false discovery rate (Benjamini and Hochberg 1995); NaN never.

    Examples
    --------
    >>> discoveries(np.array([0.001, 0.02, 0.04, 0.9, np.nan]))
    array([ True,  True, False, False, False])
    """
    known = np.sort(p_value[~np.isnan(p_value)])
    below = np.flatnonzero(known <= rate * np.arange(1, len(known) + 1) / max(1, len(known)))
    limit = known[below[-1]] if len(below) else -1.0
    found: NDArray[np.bool_] = np.nan_to_num(p_value, nan=np.inf) <= limit
    return found
