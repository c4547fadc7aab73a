"""Widened deviations, degrees of freedom and discoveries, each beside its formula written out or SciPy's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, t

from labelwise.metrics.few import FEWEST, Support, discoveries, gain_interval, p_values

NAN = float("nan")


def support(*behind: int, shared: bool = False) -> Support:
    """Categories with so many groups behind each, all different ones unless ``shared``."""
    starts = np.zeros(len(behind), int) if shared else np.cumsum([0, *behind[:-1]])
    return Support(tuple(np.arange(start, start + count) for start, count in zip(starts, behind, strict=True)))


def test_the_scarcer_side_stands_behind_a_score_and_groups_count_once():
    labels = np.array([[1.0, 0, NAN], [1, 1, NAN], [0, 1, NAN], [0, 1, 0], [NAN, 1, 0], [0, NAN, 0]])
    found = Support.of(labels, np.array([0, 0, 1, 2, 3, 3]))
    assert [x.tolist() for x in found.behind] == [[0], [0], []]
    assert found.groups.tolist() == [1, 1, 0] and found.lone.tolist() == [0, 0, 0]
    assert Support.of(labels, np.arange(6)).lone.tolist() == [0, 0, 0]
    assert Support.of(labels[::-1], np.arange(6)).lone.tolist() == [0, 5, 0]
    assert [len(x) for x in Support.of(labels[::-1], np.arange(6)).take(np.array([1, 0])).behind] == [1, 2]


def test_draws_are_widened_around_the_value():
    value = np.array([0.5, 0.2, 0.8])
    drawn = np.array([[0.4, 0.7, NAN], [0.1, 0.3, 0.2], [0.9, 0.6, 0.8]])
    weight = np.array([[9.0, 9, 9], [0, 1, 3], [9, 9, 9]])
    found = support(2, 1, 5).widened(value, drawn, weight)
    apart = 0.2 - 0.5  # of the lone positive's score from the mean of all
    expected = [
        [0.5 - 0.1 * 2**0.5, 0.5 + 0.2 * 2**0.5, 0.5],
        [0.1 - apart, 0.3, 0.2 + 2 * apart],
        [0.8 + 0.1 * (5 / 4) ** 0.5, 0.8 - 0.2 * (5 / 4) ** 0.5, 0.8],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_degrees_of_freedom():
    np.testing.assert_array_equal(support(4, FEWEST, 9, 0).of_each(), [NAN, FEWEST - 1, 8, NAN])
    assert support(3, 4).of_mean() == pytest.approx((1 / 3 + 1 / 4) ** 2 / (1 / (9 * 2) + 1 / (16 * 3)))
    assert support(6, 6, 6, 6, shared=True).of_mean() == 5  # Satterthwaite would say 20, and there are six groups
    lone = (2 + 1 / 6) ** 2 / (2 * 3 / 2 + 1 / (36 * 5))
    assert support(1, 1, 6, 0).of_mean() == pytest.approx(lone)
    assert np.isnan(support(2, 2).of_mean()) and np.isnan(support(4, 1).of_mean()) and np.isnan(support(0).of_mean())
    assert support(5).of_mean() == 4


def test_an_interval_is_students():
    value, variance, freedom = np.array([0.1, -0.95, 0.9, 0.2]), np.full(4, 0.01), np.array([7.0, 7, 7, NAN])
    found = gain_interval(value[None], variance, variance, freedom, 0.9)
    reach = t.ppf(0.95, 7) * 0.1
    np.testing.assert_allclose(found, [[0.1 - reach, 0.1 + reach], [-1, -0.95 + reach], [0.9 - reach, 1], [NAN, NAN]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seeds in (1, 2):
            still = gain_interval(np.full((seeds, 2), 0.3), np.zeros(2), np.zeros(2), np.array([4.0, NAN]), 0.95)
            np.testing.assert_array_equal(still, [[0.3, 0.3], [NAN, NAN]])


def test_variances_of_seeds_and_of_what_they_share_add_up_each_with_its_own_t():
    seeds, freedom, of_mean = np.array([[0.1], [0.3], [0.2]]), np.array([9.0]), np.array([0.02])
    among = 0.01 / 3
    for of_each, shared in ((0.03, 0.015), (0.02, 0.02)):
        expected = (t.ppf(0.975, 2) * among + t.ppf(0.975, 9) * shared) / np.sqrt(among + shared)
        found = gain_interval(seeds, of_mean, np.array([of_each]), freedom, 0.95)
        np.testing.assert_allclose(found, [[0.2 - expected, 0.2 + expected]])


def test_an_interval_over_seeds_is_never_shorter_than_one_over_test_samples():
    alone = t.ppf(0.975, 9) * 0.1
    for seeds in ([[0.2]] * 3, [[0.2], [0.201]]):
        found = gain_interval(np.array(seeds), np.array([0.01]), np.array([0.03]), np.array([9.0]), 0.95)
        np.testing.assert_allclose(found, [[np.mean(seeds) - alone, np.mean(seeds) + alone]])


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("own", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("skill", [0.0, 0.3, 1.0, 3.0])
def test_intervals_over_seeds_hold_what_they_should(seeds, own, skill):
    """Of 8,000 means over seeds: what test samples do to all seeds alike, to each seed on its own (``own``, as a share
    of a variance of one in the mean), and what seeds do (``skill``, a deviation)."""
    rng = np.random.default_rng(0)
    shared = np.sqrt(1 - own) * rng.normal(size=8000)
    of_seed = np.sqrt(seeds * (own + skill**2)) * rng.normal(size=(seeds, 8000))
    of_each = np.full(8000, 1 - own + seeds * own)
    low, high = gain_interval(0.01 * (shared + of_seed), np.full(8000, 1e-4), 1e-4 * of_each, of_each + 1e3, 0.95).T
    assert 0.94 < ((low <= 0) & (high >= 0)).mean() < (0.995 if seeds == 2 else 0.99)


def test_p_values_are_students():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = p_values(
            np.array([0, 1.0, -0.2, 0.3, 0.1]), np.array([0, 0.5, 0.1, 0, 0.1]), np.array([5.0] * 4 + [NAN])
        )
    np.testing.assert_allclose(found, [1, 2 * t.sf(2, 5), 2 * t.sf(2, 5), 0, NAN])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.03, 0.04, 0.05, 0.5, 1.0]), max_size=12), st.integers(0, 3))
def test_discoveries_are_those_of_scipy(values, unknown):
    p = np.array([*values, *[NAN] * unknown])
    expected = np.zeros(len(p), bool)
    if values:
        expected[: len(values)] = false_discovery_control(values) <= 0.05 + 1e-12
    close = np.abs(false_discovery_control(values) - 0.05) < 1e-9 if values else np.zeros(0, bool)
    assert (discoveries(p) == expected)[: len(values)][~close].all() and not discoveries(p)[len(values) :].any()


def test_a_discovery_on_its_limit():
    assert discoveries(np.array([0.5, 0.25]), rate=0.5).tolist() == [True, True]
    assert discoveries(np.array([0.75, 0.25]), rate=0.5).tolist() == [False, True]
    assert discoveries(np.array([0.75, 0.5]), rate=0.5).tolist() == [False, False]
