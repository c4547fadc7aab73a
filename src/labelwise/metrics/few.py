"""Intervals that hold where few positives stand behind a score: widened bootstrap deviations and Student's t.

A bootstrap of k positives has (k - 1) / k of the variance that it estimates, and its quantiles are those of a normal
distribution that is known exactly; with few positives both make intervals far too short. Deviations are multiplied by
sqrt(k / (k - 1)), and ends are k - 1 degrees of freedom of Student's t away (Hesterberg 2015, "What Teachers Should
Know About the Bootstrap", section 4). Coverage was measured: docs/results/cft.md, section "Intervals". k counts groups
(patients), and the scarcer of positives and negatives.
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

    def freedom(self) -> float:
        """Degrees of freedom of the mean over the categories (Satterthwaite), each positive being as variable; at most
        those of all groups together, which categories may share. Below `FEWEST` - 1 nothing can be told."""
        count = self.groups[self.groups > 0].astype(np.float64)
        if not len(count):
            return 0.0
        single, more = int((count == 1).sum()), count[count > 1]
        variance = single + (1 / more).sum()
        squares = single**2 / max(single - 1, 1e-9) + (1 / (more**2 * (more - 1))).sum()
        return min(float(variance**2 / squares), len(np.unique(np.concatenate(self.behind))) - 1.0)


def student_interval(value: Floats, deviation: Floats, freedom: Floats, level: float) -> Floats:
    """(..., 2) ends around values (...) of that standard deviation; NaN where degrees of freedom are too few."""
    reach = stdtrit(np.maximum(freedom, 1), (1 + level) / 2) * deviation
    ends = np.stack([value - reach, value + reach], axis=-1).clip(-1, 1)
    ends[np.asarray(freedom) < FEWEST - 1] = np.nan
    return ends


def p_values(value: Floats, deviation: Floats, freedom: Floats) -> Floats:
    """(...) two-sided, of the hypothesis that a value is zero; NaN where degrees of freedom are too few."""
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(value == 0, 0.0, np.abs(value) / deviation)
    found: Floats = 2 * stdtr(np.maximum(freedom, 1), -statistic)
    return np.where(np.asarray(freedom) < FEWEST - 1, np.nan, found)


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
