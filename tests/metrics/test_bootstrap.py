"""The paired bootstrap: whole groups, right coverage, seeds as a dimension of luck."""

from __future__ import annotations

import numpy as np
import pytest

from labelwise.metrics.bootstrap import paired_interval


def test_coverage_on_simulated_pairs():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        low, high = paired_interval(rng.normal(0.3, 1, 80), draws=300, seed=trial)
        covered += low <= 0.3 <= high
    assert 51 <= covered <= 60


def test_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).normal(0, 1, 400)
    low, high = paired_interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.015)
    assert high == pytest.approx(values.mean() + half, abs=0.015)
    assert paired_interval(values) == (low, high)
    narrow = paired_interval(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_groups_are_kept_whole():
    rng = np.random.default_rng(2)
    of_group = rng.normal(size=25)
    values = of_group.repeat(16)
    groups = np.arange(25).repeat(16).astype(str)
    alone, together = paired_interval(values), paired_interval(values, groups)
    assert together == pytest.approx(paired_interval(of_group), abs=0.12)
    assert (together[1] - together[0]) > 3 * (alone[1] - alone[0])  # sqrt(16) = 4
    # One group is one observation: nothing to resample.
    assert paired_interval(values, np.full(400, "one")) == pytest.approx((values.mean(), values.mean()))


def test_groups_of_unequal_size_weigh_their_samples():
    values = np.array([1.0] * 9 + [0.0])
    low, high = paired_interval(values, np.array(["a"] * 9 + ["b"]))
    assert (low, high) == (0.0, 1.0)


def test_seeds_are_resampled_too():
    noise = np.random.default_rng(3).normal(0, 0.01, 200)
    seeds = np.stack([noise + offset for offset in (-1.0, 0.0, 1.0)])
    low, high = paired_interval(seeds)
    assert low < -0.6 and high > 0.6
    low, high = paired_interval(np.stack([noise] * 3))
    assert high - low < 0.01
    assert paired_interval(noise) == pytest.approx((low, high), abs=1e-3)
