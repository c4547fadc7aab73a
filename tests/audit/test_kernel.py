"""Kernel ridge regression without a sample's group is what a fit to all other samples says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelwise.audit import kernel
from labelwise.audit.embeddings import standardised
from labelwise.audit.kernel import UnseenKernelRidge, _blocks, _unseen
from labelwise.data.notes import tell
from labelwise.training.closed_form.kernel import RidgePath


def test_a_group_is_answered_by_the_regression_without_it():
    rng = np.random.default_rng(0)
    z, y = (torch.from_numpy(rng.normal(size=(12, columns))) for columns in (4, 3))
    group = np.array([0, 0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8])
    ends = np.flatnonzero(np.diff(group, append=-1)) + 1
    path = RidgePath.of(iter([(z, y)]))
    found = _unseen(path, path.along(z), y, ends, ridge=0.3)
    for number in range(9):
        others = torch.from_numpy(group != number)
        weight, bias = RidgePath.of(iter([(z[others], y[others])])).solution(0.3)
        torch.testing.assert_close(found[~others], z[~others] @ weight + bias)


def test_blocks_hold_every_sample_once_and_part_no_group():
    groups = np.repeat([f"g{i}" for i in range(1000)], np.random.default_rng(0).integers(1, 15, 1000))
    seen = []
    for rows, ends in _blocks(groups, seed=0):
        names = groups[rows]
        assert ends[-1] == len(rows) and np.array_equal(names[1:] != names[:-1], np.isin(np.arange(1, len(rows)), ends))
        seen.append(rows)
    assert len(seen) == 2 and not set(groups[seen[0]]) & set(groups[seen[1]])
    assert sorted(np.concatenate(seen)) == list(range(len(groups)))


def test_a_second_fit_to_other_targets_is_what_the_first_would_be():
    rng = np.random.default_rng(0)
    x, label = rng.standard_normal((300, 5)).astype(np.float32), rng.integers(0, 3, 300)
    groups, targets = np.arange(300).astype(str), np.eye(3, dtype=np.float32)[label]
    soft = (0.8 * targets + 0.2 / 3).astype(np.float32)
    ridge = UnseenKernelRidge(x, groups, 0)
    ridge.log_probability(soft, label)
    again = ridge.log_probability(targets, label)
    np.testing.assert_array_equal(again, UnseenKernelRidge(x, groups, 0).log_probability(targets, label))


def test_groups_that_were_not_fitted_are_answered_by_the_regression_on_the_others(monkeypatch):
    monkeypatch.setattr(kernel, "CENTRES", 100)
    monkeypatch.setattr(kernel, "BLOCK", 1024)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2200, 3)).astype(np.float32)
    label, groups = (x[:, 0] > 0).astype(int), np.repeat(np.arange(1100), 2).astype(str)
    whole = UnseenKernelRidge(x, groups, 0).log_probability(np.eye(2, dtype=np.float32)[label], label)
    monkeypatch.setattr(kernel, "FITTED", 1000)
    ridge = UnseenKernelRidge(x, groups, 0)
    fitted, others = (np.concatenate([rows for rows, _ in part]) for part in (ridge._blocks, ridge._others))
    assert len(fitted) + len(others) == 2200 and not set(groups[fitted]) & set(groups[others])
    targets = np.eye(2, dtype=np.float32)[label]
    found = ridge.log_probability(targets, label)
    targets[others] = 0.5  # labels that were not fitted are no matter
    np.testing.assert_array_equal(ridge.log_probability(targets, label), found)
    assert (found.argmax(1) == label)[others].mean() > 0.97
    assert np.abs(np.exp(found) - np.exp(whole)).mean() < 0.03


def test_coordinates_give_the_regression_of_the_features():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 5)).astype(np.float32), torch.from_numpy(rng.random((300, 3))).float()
    ridge = UnseenKernelRidge(x, np.arange(300).astype(str), 0)
    path = ridge._path(y)
    expected = RidgePath.of((ridge._nystroem(ridge._x[rows]), y[rows]) for rows, _ in ridge._blocks)
    for rows, _, along in ridge._coordinates():
        z = ridge._nystroem(ridge._x[rows])
        for strength in (0.1, 1.0, 10.0):
            weight, bias = expected.solution(strength)
            torch.testing.assert_close(path.answers(along, strength), z @ weight + bias, atol=2e-3, rtol=1e-3)


def test_one_column_or_row_does_not_decide_on_the_units_of_embeddings(capsys: pytest.CaptureFixture[str]) -> None:
    clean = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    plain = standardised(clean)
    np.testing.assert_allclose(plain, (clean - clean.mean(0)) / clean.std(0).mean(), atol=0.1)
    odd = clean.astype(np.float64)
    odd[:, 2] *= 1e6
    odd[7] = 1e30
    tell.cache_clear()
    found = standardised(odd)
    rest = np.arange(200) != 7
    np.testing.assert_allclose(found[rest], plain[rest], atol=0.35)
    assert np.linalg.norm(found[7]) < 2 * np.linalg.norm(found[rest], axis=1).mean()
    told = capsys.readouterr().err
    assert "audit: 1 columns" in told and "audit: 1 embeddings lie more than" in told
