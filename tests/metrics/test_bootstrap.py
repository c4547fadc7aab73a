"""The paired bootstrap: whole groups, right coverage, seeds as a dimension of luck."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import t

from labelwise.metrics.bootstrap import paired_interval


def test_coverage_on_simulated_pairs():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        low, high = paired_interval(rng.normal(0.03, 0.3, 300))
        covered += low <= 0.03 <= high
    assert 0.93 < covered / 400 < 0.98


@pytest.mark.parametrize(("skill", "samples", "seeds"), [((3.0, 4.0), 30, 1), ((1.0, 1.5), 300, 3)])
def test_coverage_of_right_answers(skill, samples, seeds):
    """Few samples that differ; seeds that differ. The percentile bootstrap held 71 and 75% here."""
    rng, covered, among = np.random.default_rng(1), 0, 0.4 * (seeds > 1)
    truth = np.diff(ndtr(np.array(skill) / np.sqrt(1.5**2 + 1 + among**2)))[0]
    for _ in range(300):
        easy = 1.5 * rng.normal(size=samples)
        first, second = (
            easy + own + among * rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, samples)) > 0 for own in skill
        )
        low, high = paired_interval(second.astype(float) - first)
        covered += low <= truth <= high
    assert covered / 300 > 0.92


def test_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).normal(0, 0.1, 400)
    low, high = paired_interval(values)
    half = t.ppf(0.975, 399) * np.sqrt(values.var(ddof=1) / 400 + 2 / 400**2)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half))
    narrow = paired_interval(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_networks_that_differ_on_no_sample_need_not_be_equal():
    low, high = paired_interval(np.zeros(100))
    assert -low == high and 0.027 < high < 0.029  # the rule of three


def test_groups_are_kept_whole():
    of_group = np.random.default_rng(2).normal(size=25) / 10
    values, groups = of_group.repeat(16), np.arange(25).repeat(16).astype(str)
    alone, together = paired_interval(values), paired_interval(values, groups)
    assert together == pytest.approx(paired_interval(of_group))
    assert (together[1] - together[0]) > 3 * (alone[1] - alone[0])  # sqrt(16) = 4


def test_groups_of_unequal_size_weigh_their_samples():
    values, groups = np.array([0.2] * 9 + [0.0] * 5), np.array([*"aaaaaaaaabcdef"])
    low, high = paired_interval(values, groups)
    mean = values.mean()
    of_group = np.array([9 * (0.2 - mean), *[-mean] * 5])
    half = t.ppf(0.975, 5) * np.sqrt((of_group**2).sum() / 14**2 * 6 / 5 + 2 / 6**2)
    assert (low, high) == pytest.approx((mean - half, mean + half))


def test_few_groups_tell_nothing():
    assert np.isnan(paired_interval(np.arange(40) / 40, np.arange(40) % 4)).all()
    assert np.isnan(paired_interval(np.zeros(40), np.full(40, "one"))).all()


def test_seeds_count_as_samples_do():
    noise = np.random.default_rng(3).normal(0, 0.01, 200)
    low, high = paired_interval(np.stack([noise + offset for offset in (-0.1, 0.0, 0.1)]))
    middle, half = noise.mean(), t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=0.02)
    assert paired_interval(np.stack([noise] * 3)) == pytest.approx(paired_interval(noise))
