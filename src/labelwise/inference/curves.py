"""Precision, recall and false positive rate of chosen categories at every threshold: what a page draws as curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from labelwise.errors import DataError

LOWEST, LEAST_POSITIVES = 8, 5
"""Where no category is named, those with the lowest AP are drawn, of the ones with so many known positives."""

MOST_POINTS = 100


def check_categories(names: Sequence[str], categories: Sequence[str], data: str) -> None:
    """Refuse names that are no category of the data.

    Raises
    ------
    DataError
        In one line.
    """
    for name in names:
        if name not in categories:
            some = ", ".join(categories[:10]) + (", ..." if len(categories) > 10 else "")
            raise DataError(f"--curves {name}: is no category of {data}: {some}")


def category_curves(
    logits: NDArray[np.floating], labels: NDArray[np.floating], scored: Sequence[dict[str, Any]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """The curves of the categories ``names``; without names, of those with the lowest AP.

    Parameters
    ----------
    logits : (n, C)
    labels : (n, C) 1, 0, or NaN where unknown
    scored : of each category its ``name``, ``ap`` and number of ``positives``

    Returns
    -------
    of each category with known labels of both kinds {name, recall, precision, false_positive_rate}: lists of one
    length, from the highest threshold down, of at most `MOST_POINTS` thresholds
    """
    place = {one["name"]: c for c, one in enumerate(scored)}
    enough = [one for one in scored if one["positives"] >= LEAST_POSITIVES and np.isfinite(one["ap"])]
    lowest = [one["name"] for one in sorted(enough, key=lambda one: one["ap"])[:LOWEST]]
    found = []
    for name in dict.fromkeys(names or lowest):
        truth = labels[:, place[name]]
        known = ~np.isnan(truth)
        if len(np.unique(truth[known])) == 2:
            found.append({"name": name} | _curve(logits[known, place[name]], truth[known]))
    return found


def _curve(score: NDArray[np.floating], truth: NDArray[np.floating]) -> dict[str, list[float]]:
    false, true, _ = (values[1:] for values in roc_curve(truth, score, drop_intermediate=False))
    positives = truth.sum()
    hits, alarms = true * positives, false * (len(truth) - positives)
    kept = np.unique(np.linspace(0, len(true) - 1, MOST_POINTS).round().astype(int))
    rates = {"recall": true, "precision": hits / (hits + alarms), "false_positive_rate": false}
    return {key: values[kept].round(4).tolist() for key, values in rates.items()}
