"""Weighted AP and AUC against scikit-learn, and the paired bootstrap against rows that are really repeated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, t
from sklearn.metrics import average_precision_score, roc_auc_score

from labelwise.config import Metric
from labelwise.errors import DataError
from labelwise.metrics import bootstrap
from labelwise.metrics.bootstrap import ranking_gain_intervals, weighted_rankings
from labelwise.metrics.few import discoveries
from labelwise.metrics.ranking import ranking

NAN = math.nan
METRICS = {"ap": average_precision_score, "auc": roc_auc_score}
BOTH = pytest.mark.parametrize("metric", list(METRICS))


def problem(seed: int, n: int, c: int, levels: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores before and after, with ties, and labels with unknowns."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, NAN], (n, c), p=[0.5, 0.3, 0.2])
    before = rng.integers(0, levels, (n, c)).astype(np.float32)
    return before, before + 3 * np.nan_to_num(labels) + rng.integers(0, levels, (n, c)), labels


def weighted(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray, metric: Metric) -> torch.Tensor:
    """Of one category, under one table with a row for each sample."""
    column = torch.from_numpy(scores), torch.from_numpy(labels)
    (found,) = weighted_rankings([column], np.arange(len(scores)), [torch.from_numpy(weights)], metric=metric)
    assert found.shape == (1, weights.shape[1]) and found.dtype == torch.float64
    return found[0]


@BOTH
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 40), st.sampled_from([3, 1000]))
def test_weighted_ranking_against_scikit_learn(metric, seed, n, levels):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, levels, n) - levels / 2, rng.choice([0, 1, NAN], n)
    labels[:2] = 0, 1
    weights = rng.random((n, 3))
    counts = rng.poisson(1.0, (n, 3)) + (np.arange(n) < 2)[:, None] * 1.0  # as in a bootstrap
    known = ~np.isnan(labels)
    for table, tolerance in (
        (weights, 1e-12),
        (counts, 1e-12),
        (weights.astype(np.float32), 1e-6),
        (counts.astype(np.float32), 1e-6),
    ):
        found = weighted(scores, labels, table, metric)
        for d in range(3):
            expected = METRICS[metric](labels[known], scores[known], sample_weight=table[known, d])
            assert found[d].item() == pytest.approx(expected, abs=tolerance)


@BOTH
def test_weights_of_one_are_the_plain_metric(metric):
    scores, _, labels = problem(0, 300, 1)
    found = weighted(scores[:, 0], labels[:, 0], np.ones((300, 2)), metric)
    assert found.numpy() == pytest.approx(getattr(ranking(scores.T, labels.T), metric).item(), abs=1e-12)


@BOTH
def test_a_side_that_weighs_nothing_is_nan(metric):
    weights = np.array([[1.0, 0, 1], [1, 1, 0], [1, 1, 0]])
    found = weighted(np.array([0.3, 0.2, 0.9]), np.array([1.0, 0, 0]), weights, metric)
    assert found.isnan().tolist() == [False, True, True]
    for label in (0.0, 1.0, NAN):
        assert weighted(np.zeros(3), np.full(3, label), weights, metric).isnan().all()


@BOTH
@pytest.mark.parametrize("grouped", [False, True])
def test_draws_are_rows_repeated(metric, grouped, monkeypatch):
    """Replays the draws of the seed, repeats rows by them, and asks scikit-learn."""
    n, c, draws = 60, 3, 7
    monkeypatch.setattr(bootstrap, "WEIGHT_ELEMENTS", 3 * n)  # a few draws at a time
    before, after, labels = problem(1, n, c)
    labels[:, 2] = NAN
    labels[[0, -1], 2] = 0, 1  # lost in many draws
    groups = np.array([f"g{i // 4}" for i in range(n)]) if grouped else None
    found = ranking_gain_intervals(before, after, labels, metric=metric, groups=groups, draws=draws, level=0.8, seed=5)

    names = np.arange(n) if groups is None else groups
    kinds, rng = np.unique(names), np.random.default_rng(5)
    gains = np.full((draws, c), NAN)
    for d in range(draws):
        drawn = kinds[rng.integers(len(kinds), size=len(kinds))]
        rows = np.concatenate([np.flatnonzero(names == name) for name in drawn])
        for k in range(c):
            own = rows[~np.isnan(labels[rows, k])]
            if 0 < labels[own, k].sum() < len(own):
                low, high = (METRICS[metric](labels[own, k], side[own, k]) for side in (before, after))
                gains[d, k] = high - low
    assert 0 < np.isnan(gains[:, 2]).sum() < draws
    plain = getattr(ranking(after.T, labels.T), metric) - getattr(ranking(before.T, labels.T), metric)
    assert np.array_equal(found.gain, plain.numpy()) and found.mean_gain == pytest.approx(plain.mean().item())
    assert np.isnan(found.interval[2]).all()  # one positive tells nothing
    for k in range(2):
        behind = min(len({names[i] for i in np.flatnonzero(labels[:, k] == kind)}) for kind in (0, 1))
        reach = t.ppf(0.9, behind - 1) * np.nanstd(gains[:, k]) * np.sqrt(behind / (behind - 1))
        assert found.interval[k] == pytest.approx([float(plain[k]) - reach, float(plain[k]) + reach], abs=1e-6)
        p = ttest_from_deviation(plain[k].item(), np.nanstd(gains[:, k]) * np.sqrt(behind / (behind - 1)), behind - 1)
        assert found.p_value[k] == pytest.approx(p, abs=1e-5)


def ttest_from_deviation(value: float, deviation: float, freedom: int) -> float:
    return float(2 * t.sf(abs(value) / deviation, freedom))


@pytest.mark.parametrize("metric", ["ap", "auc"])
@pytest.mark.parametrize("positives", [1, 2, 4, 5, 15])
def test_equal_heads_are_rarely_called_different(metric, positives):
    """300 replicates of two heads of equal skill: the interval holds zero in at least 93% of them, or is not given."""
    rng = np.random.default_rng(positives)
    labels = np.zeros((150, 300))
    labels[:positives] = 1
    signal = labels + rng.normal(size=labels.shape)
    before, after = (signal + rng.normal(size=labels.shape) for _ in range(2))
    found = ranking_gain_intervals(before, after, labels, metric=metric, draws=200)
    low, high = found.interval.T
    if positives < 5:
        assert np.isnan(found.interval).all() and np.isnan(found.p_value).all()
    else:
        assert np.mean((low <= 0) & (high >= 0)) > 0.93
        assert discoveries(found.p_value).sum() <= 2
    assert np.isnan(found.mean_interval[0]) == (positives < 5)  # all categories share their positives


def test_false_discoveries_are_controlled_as_scipy_does() -> None:
    rng = np.random.default_rng(0)
    for p_value in (rng.random(50), rng.random(50) ** 4, np.full(3, 0.04), np.array([np.nan, 0.01])):
        known = ~np.isnan(p_value)
        expected = np.zeros(len(p_value), dtype=bool)
        expected[known] = false_discovery_control(p_value[known]) <= 0.05
        assert np.array_equal(discoveries(p_value), expected)
    assert not discoveries(np.full(4, np.nan)).any()


@BOTH
def test_categories_without_a_score_are_left_out(metric):
    before, after, labels = problem(2, 50, 4)
    labels[:, 1], labels[:, 3] = 0, NAN
    found = ranking_gain_intervals(before, after, labels, metric=metric, draws=20)
    assert np.isnan(found.gain).tolist() == [False, True, False, True] and found.scored == 2
    assert np.array_equal(np.isnan(found.interval), np.isnan(found.gain)[:, None].repeat(2, axis=1))
    assert found.mean_gain == pytest.approx(found.gain[[0, 2]].mean())
    none = ranking_gain_intervals(before, after, np.full_like(labels, NAN), metric=metric, draws=20)
    assert none.scored == 0 and math.isnan(none.mean_gain) and np.isnan(none.mean_interval).all()
    empty = ranking_gain_intervals(*(np.zeros((0, 2)) for _ in range(3)), metric=metric, draws=20)
    assert empty.scored == 0 and np.isnan(empty.interval).all()
    single = ranking_gain_intervals(before[:, :1], after[:, :1], labels[:, :1], metric=metric, draws=20)
    assert single.interval[0] == pytest.approx(found.interval[0])  # the same draws for every category


@BOTH
def test_pairing_repeatability_and_groups(metric):
    before, after, labels = problem(3, 80, 2)
    same = ranking_gain_intervals(before, before * 2, labels, metric=metric, draws=50)
    assert not same.gain.any() and not same.interval.any()  # the ranking is the same, so no draw can differ
    first, again = (ranking_gain_intervals(before, after, labels, metric=metric, draws=50, seed=1) for _ in range(2))
    assert np.array_equal(first.interval, again.interval) and first.mean_interval == again.mean_interval
    assert (first.interval[:, 0] < first.gain).all() and (first.gain < first.interval[:, 1]).all()
    one = ranking_gain_intervals(before, after, labels, metric=metric, groups=np.full(80, "patient"), draws=9)
    assert np.isnan(one.interval).all() and np.isnan(one.mean_interval).all()  # one patient tells nothing


def test_threads_change_nothing_and_are_given_back():
    before, after, labels = problem(5, 40, 4)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(ranking_gain_intervals(before, after, labels, metric="ap", draws=30))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(found[0].interval, found[1].interval)


def test_coverage_of_a_gain_in_auc():
    """Two tests of equal worth: the true gain is 0, and most intervals hold it."""
    rng = np.random.default_rng(4)
    held = 0
    for trial in range(30):
        labels = (rng.random((150, 1)) < 0.3).astype(float)
        before, after = (labels + rng.normal(size=(150, 1)) for _ in range(2))
        low, high = ranking_gain_intervals(before, after, labels, metric="auc", draws=200, seed=trial).interval[0]
        held += low <= 0 <= high
    assert 25 <= held <= 30


def test_bad_input():
    scores, labels = np.zeros((4, 2)), np.zeros((4, 2))
    with pytest.raises(DataError, match=r"one shape \(N, C\)"):
        ranking_gain_intervals(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros((3, 1)), metric="ap")
    with pytest.raises(DataError, match=r"one shape \(N, C\)"):
        ranking_gain_intervals(scores, scores[:3], labels, metric="ap")
    with pytest.raises(DataError, match="NaN"):
        ranking_gain_intervals(scores, np.full((4, 2), NAN), labels, metric="ap")
    with pytest.raises(DataError, match=r"groups \(3,\)"):
        ranking_gain_intervals(scores, scores, labels, metric="ap", groups=np.zeros(3))
