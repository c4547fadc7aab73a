"""What the solvers are given: counted and checked a few rows at a time, never a copy that nobody needs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial as bind
from typing import Any

import numpy as np
import pytest
import torch

from labelwise.cft.solvers import backprop, genetic
from labelwise.cft.solvers.cross_fitting import folds_of
from labelwise.cft.solvers.inputs import Split, as_array, blank_uncertain, check_labels, grouped
from labelwise.errors import DataError, InputError

RNG = np.random.default_rng(526)


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of 3 categories are looked at two rows at a time."""
    monkeypatch.setattr("labelwise.cft.solvers.inputs.LABEL_ENTRIES", 2 * 3)


def drawn(rows: int, values: tuple[float, ...] = (np.nan, 0, 1)) -> Any:
    return RNG.choice(values, (rows, 3)).astype(np.float32)


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 8])
def test_counts_are_those_of_the_whole(rows: int) -> None:
    labels = drawn(rows, (np.nan, 0, 0.25, 0.5, 1))
    split = Split(np.zeros((rows, 2), np.float32), torch.from_numpy(labels))
    assert split.positives.tolist() == (labels >= 0.5).sum(0).tolist()
    assert split.negatives.tolist() == (labels < 0.5).sum(0).tolist()
    assert split.positives.dtype == torch.int64


def test_labels_that_can_be_used_as_they_are_are_not_copied() -> None:
    labels = drawn(7)
    for given in (labels, np.asfortranarray(labels)):
        assert np.shares_memory(check_labels(given, 7, "fit labels", hard=True).numpy(), given)
    tensor = torch.from_numpy(labels)
    assert np.shares_memory(check_labels(tensor, 7, "fit labels", hard=True).numpy(), labels)


def test_what_has_to_change_is_copied_first() -> None:
    uncertain = drawn(9, (np.nan, 0, 1, -1))
    uncertain[8, 2] = -1
    before = uncertain.copy()
    found = check_labels(uncertain, 9, "fit labels", hard=True)
    np.testing.assert_array_equal(uncertain, before)
    np.testing.assert_array_equal(found, np.where(before == -1, np.nan, before))
    read_only = drawn(5)
    read_only.flags.writeable = False
    for given in (read_only, drawn(10)[::-2], drawn(5).astype(np.float64), drawn(5).tolist(), drawn(5) == 1):
        found = as_array(given)
        np.testing.assert_array_equal(found, np.asarray(given, np.float32))
        assert found.dtype == np.float32 and found.flags.writeable
        assert not np.shares_memory(found, np.asarray(given))


def test_the_solvers_never_write_to_the_callers_arrays(partial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genetic, "fit_genetic", bind(genetic.fit_genetic, steps=3))
    monkeypatch.setattr(backprop, "fit_backprop", bind(backprop.fit_backprop, steps=3))
    toy = partial(0, categories=2, dim=6)
    arrays = (*toy.fit, *toy.select, toy.weight, toy.bias)
    before = [array.copy() for array in arrays]
    for method in ("auto", "backprop", "genetic"):
        tuner = toy.fitted({"method": method})
        assert not np.shares_memory(tuner.weight_, toy.weight) and not np.shares_memory(tuner.bias_, toy.bias)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_uncertain_labels_become_unknown_in_place() -> None:
    labels = drawn(9, (np.nan, 0, 1, -1))
    expected = np.where(labels == -1, np.nan, labels)
    blank_uncertain(torch.from_numpy(labels))
    np.testing.assert_array_equal(labels, expected)


def test_the_first_misfit_is_named_wherever_it_is() -> None:
    for row, column in ((0, 1), (3, 2), (8, 0)):
        labels = drawn(9)
        labels[row, column] = labels[8, 2] = 2
        with pytest.raises(DataError, match=rf"fit labels: row {row}, category {column}: 2 is not 1, 0, NaN or -1"):
            check_labels(labels, 9, "fit labels", hard=True)
        labels[labels == 2] = 0.25
        with pytest.raises(DataError, match=rf"row {row}, category {column}: soft label 0.25"):
            check_labels(labels, 9, "fit labels", hard=True)
        np.testing.assert_array_equal(check_labels(labels, 9, "fit labels", hard=False), labels)


def test_a_group_is_in_one_fold() -> None:
    names = np.array([f"patient-{i // 3}" for i in range(60)])
    split = grouped(Split(np.zeros((60, 2), np.float32), torch.zeros(60, 1)), names, "groups")
    part = folds_of(split, 5, torch.Generator().manual_seed(0)).numpy()
    for name in np.unique(names):
        assert len(np.unique(part[names == name])) == 1
    assert np.bincount(part).tolist() == [12] * 5  # four groups each
    alone = folds_of(replace(split, groups=None), 5, torch.Generator().manual_seed(0)).numpy()
    assert np.bincount(alone).tolist() == [12] * 5 and (alone.reshape(-1, 3) != alone[::3, None]).any()
    with pytest.raises(InputError, match="groups of select: 59 entries for 60 rows"):
        grouped(split, names[1:], "groups of select")
