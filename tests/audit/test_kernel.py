"""Kernel ridge regression without a sample's group is what a fit to all other samples says."""

from __future__ import annotations

import numpy as np
import torch

from labelwise.audit.kernel import _blocks, _unseen
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
