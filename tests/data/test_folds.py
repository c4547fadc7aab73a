"""Folds of the fit samples: equal, stratified, whole groups, another split for another seed."""

from __future__ import annotations

import numpy as np
import pytest

from labelwise.data.dataset import Dataset, Features
from labelwise.data.folds import folds_of
from labelwise.errors import DataError
from labelwise.labels.table import GIVEN, LabelTable


def data(n: int = 100, groups: np.ndarray | None = None, split: np.ndarray | None = None) -> Dataset:
    ids = np.array([f"i{i}" for i in range(n)])
    label = np.arange(n) % 4
    part = np.full(n, "fit") if split is None else split
    return Dataset(
        "d", tuple("abcd"), ids, ids if groups is None else groups, label, part, Features(np.zeros((n, 2), np.float32))
    )


def test_folds_are_equal_and_stratified() -> None:
    dataset = data()
    folds = folds_of(dataset, 5, 0)
    assert np.bincount(folds).tolist() == [20] * 5
    for fold in range(5):
        assert np.bincount(dataset.label[folds == fold]).tolist() == [5] * 4


def test_no_group_is_parted_and_samples_outside_fit_have_none() -> None:
    groups = np.array([f"g{i // 5}" for i in range(100)])
    split = np.where(np.arange(100) < 80, "fit", "test")
    folds = folds_of(data(groups=groups, split=split), 4, 0)
    assert (folds[80:] == -1).all() and set(folds[:80]) == {0, 1, 2, 3}
    assert all(len(set(folds[groups == group])) == 1 for group in np.unique(groups))


def test_a_seed_is_a_split() -> None:
    assert np.array_equal(folds_of(data(), 5, 1), folds_of(data(), 5, 1))
    assert not np.array_equal(folds_of(data(), 5, 1), folds_of(data(), 5, 2))


def test_multi_label_samples_are_dealt_by_their_rarest_positive() -> None:
    values = np.zeros((40, 2), dtype=np.float32)
    values[:, 0] = 1
    values[:8, 1] = 1
    table = LabelTable(values, np.full(values.shape, GIVEN, dtype=np.uint8), ("common", "rare"))
    ids = np.array([f"i{i}" for i in range(40)])
    source = Features(np.zeros((40, 2), np.float32))
    dataset = Dataset("d", ("common", "rare"), ids, ids, np.full(40, -1), np.full(40, "fit"), source, table=table)
    folds = folds_of(dataset, 4, 0)
    assert np.bincount(folds[:8]).tolist() == [2] * 4


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(DataError, match=r"chain\.folds: 6 folds of 2 groups"):
        folds_of(data(groups=np.array([f"g{i % 2}" for i in range(100)])), 6, 0)
