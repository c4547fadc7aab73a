"""Folds of the fit samples: each network of a cross-fitted generation is trained without one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelwise.data.dataset import Dataset
from labelwise.data.splits import rarest_positive, stratified_order
from labelwise.errors import DataError


def folds_of(dataset: Dataset, count: int, seed: int) -> NDArray[np.int64]:
    """The fold (N,) of every fit sample, from 0; -1 for the others.

    Folds are of about equal size, stratified by label (of multi-label samples by their rarest positive category), and
    no group is parted.

    Raises
    ------
    DataError
        If there are fewer groups than folds.

    Examples
    --------
    >>> from labelwise.config import DataConfig
    >>> from labelwise.data.readers import load_dataset
    >>> dataset = load_dataset(DataConfig(source="digits"))
    >>> np.unique(folds_of(dataset, 3, seed=0), return_counts=True)
    (array([-1,  0,  1,  2]), array([897, 300, 300, 300]))
    """
    rows = dataset.rows("fit")
    label = dataset.label if dataset.table is None else rarest_positive(dataset.table)
    order = stratified_order(label[rows], dataset.groups[rows], seed, "folds")
    if len(order) < count:
        raise DataError(f"chain.folds: {count} folds of {len(order)} groups of fit samples; set fewer")
    found = np.full(len(dataset), -1, dtype=np.int64)
    found[rows] = deal(order, count)
    return found


def deal(order: Sequence[NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    """The fold (n,) of every sample, from 0, of groups in stratified order, any stretch of which is stratified."""
    found = np.empty(sum(map(len, order)), dtype=np.int64)
    for place, members in enumerate(order):
        found[members] = place * count // len(order)
    return found


def rows_without(dataset: Dataset, folds: NDArray[np.int64] | None, fold: int | None) -> NDArray[np.int64]:
    """The fit rows, but for those of ``fold`` by :func:`folds_of`; None: all of them."""
    rows = dataset.rows("fit")
    return rows if fold is None or folds is None else rows[folds[rows] != fold]
