"""Paired bootstrap: is the difference between two models more than the luck of the test set?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def paired_interval(
    difference: NDArray[np.floating],
    groups: NDArray[np.str_] | None = None,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the mean of paired differences, resampling whole groups.

    Parameters
    ----------
    difference : (N,) or (S, N) with S paired repetitions (seeds) over the same samples; repetitions are resampled too
    groups : (N,), optional; samples of one group are drawn together
    level : coverage

    Returns
    -------
    (low, high)
    """
    values = np.atleast_2d(np.asarray(difference, dtype=np.float64))
    if groups is None:
        index, count = np.arange(values.shape[1]), values.shape[1]
    else:
        names, index = np.unique(groups, return_inverse=True)
        count = len(names)
    sums = np.stack([np.bincount(index, weights=row, minlength=count) for row in values])
    sizes = np.bincount(index, minlength=count).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    for i in range(draws):
        weight = np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64)
        seeds = rng.integers(len(values), size=len(values))
        means[i] = (sums[seeds].mean(0) @ weight) / (sizes @ weight)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
