"""From views to studies: several images of one examination are scored as one.

CheXpert scores a study, which may have several radiographs, by the highest score among them
(https://stanfordmlgroup.github.io/competitions/chexpert/). A finding shows in some view; so the same rule, the maximum,
makes the label of a study from the labels of its views.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import DataError


def study_scores(scores: NDArray[np.floating[Any]], study: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """The highest score of every study's views, by category.

    Parameters
    ----------
    scores : (N, C) floating, of views; logits or probabilities
    study : (N,) names of the studies

    Returns
    -------
    (names, scores) : (S,) studies in ascending order and (S, C) in the dtype of the scores

    Raises
    ------
    DataError
        For NaN scores or shapes that do not fit.
    """
    scores = np.asarray(scores)
    if np.isnan(scores).any():
        raise DataError("scores contain NaN: no view is the highest of its study")
    return _reduce(np.maximum, scores, study, "scores")


def study_labels(labels: NDArray[np.floating[Any]], study: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """The label of every study, by category.

    Views of one study normally share their labels. Where they do not, a known label goes before an unknown one, and
    of several known ones the highest counts: positive in one view is positive in the study.

    Parameters
    ----------
    labels : (N, C) floating, of views, from 0 to 1; NaN unknown. Decide uncertain labels first
    study : (N,) names of the studies

    Returns
    -------
    (names, labels) : (S,) studies in ascending order and (S, C), NaN where no view has a known label

    Raises
    ------
    DataError
        For labels outside 0 to 1 or shapes that do not fit.
    """
    labels = np.asarray(labels)
    if (bad := (labels < 0) | (labels > 1)).any():
        raise DataError(f"labels must be 0 to 1 or NaN (unknown), not {labels[bad][0]:g}; decide uncertain ones first")
    return _reduce(np.fmax, labels, study, "labels")


def _reduce(largest: np.ufunc, values: NDArray[Any], study: ArrayLike, what: str) -> tuple[NDArray[Any], NDArray[Any]]:
    own = np.asarray(study)
    if values.ndim != 2 or own.shape != values.shape[:1]:
        raise DataError(f"{what} {values.shape} and studies {own.shape} do not fit: (N, C) and (N,) are needed")
    order = np.argsort(own, kind="stable")
    names, first = np.unique(own[order], return_index=True)
    return names, largest.reduceat(values[order], first, axis=0)
