"""Mean AP or AUC of two models: rows that are really repeated, the same draws for all, seeds as a dimension of luck."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from labelwise.errors import DataError
from labelwise.metrics import bootstrap
from labelwise.metrics.bootstrap import ranking_gain_intervals
from labelwise.metrics.paired import MeanRanking

NAN = math.nan
METRICS = {"ap": average_precision_score, "auc": roc_auc_score}
BOTH = pytest.mark.parametrize("metric", list(METRICS))


def problem(n: int = 50, c: int = 3, models: int = 2) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels with unknowns, of which a third category is lost in many draws, and scores with ties."""
    rng = np.random.default_rng(1)
    labels = rng.choice([0, 1, NAN], (n, c), p=[0.5, 0.3, 0.2]).astype(np.float32)
    labels[:, 2:] = NAN
    labels[[0, -1], 2:] = [[0], [1]]
    scores = [(rng.integers(0, 9, (n, c)) + k * np.nan_to_num(labels)).astype(np.float32) for k in range(models)]
    return labels, scores


@BOTH
@pytest.mark.parametrize("grouped", [False, True])
def test_draws_are_rows_repeated(metric, grouped, monkeypatch):
    labels, (scores, _) = problem()
    labels = labels[:, :2]  # categories that have a score in every draw
    n, draws = len(labels), 7
    monkeypatch.setattr(bootstrap, "WEIGHT_ELEMENTS", 2 * n)  # a few draws at a time
    groups = np.array([f"g{i // 4}" for i in range(n)]) if grouped else None
    found = MeanRanking(labels, groups, metric=metric, draws=draws, seed=5)(scores[:, :2])
    names = np.arange(n) if groups is None else groups
    kinds, rng = np.unique(names), np.random.default_rng(5)
    plains: list[float] = []
    for d in range(1 + draws):
        drawn = kinds if d == 0 else kinds[rng.integers(len(kinds), size=len(kinds))]
        rows = np.concatenate([np.flatnonzero(names == name) for name in drawn])
        values = []
        for k in range(labels.shape[1]):
            own = rows[~np.isnan(labels[rows, k])]
            value = METRICS[metric](labels[own, k], scores[:, :2][own, k])
            behind = min(len({names[i] for i in np.flatnonzero(labels[:, k] == kind)}) for kind in (0, 1))
            plain = value if d == 0 else plains[k]
            values.append(plain + (value - plain) * np.sqrt(behind / (behind - 1)))
        plains = values if d == 0 else plains
        assert found[d] == pytest.approx(np.mean(values), abs=1e-6 if d else 1e-12)


@BOTH
def test_one_seed_is_the_bootstrap_of_two_models(metric):
    labels, (before, after) = problem(c=2)
    groups = np.arange(50) // 2
    resampled = MeanRanking(labels, groups, metric=metric, draws=60)
    found = resampled.gain([resampled(before)], [resampled(after)], level=0.9)
    expected = ranking_gain_intervals(before, after, labels, metric=metric, groups=groups, draws=60, level=0.9)
    assert found.gain == pytest.approx(expected.mean_gain, abs=1e-12)
    assert found.interval == pytest.approx(expected.mean_interval, abs=1e-12)
    assert found.interval[0] < found.gain < found.interval[1]


def test_seeds_are_resampled():
    labels, scores = problem(c=2, models=4)
    resampled = MeanRanking(labels, draws=40)
    before, after = [resampled(x) for x in scores[:2]], [resampled(x) for x in scores[2:]]
    found = resampled.gain(before, after, seed=3)
    difference = np.stack(after) - np.stack(before)
    assert found.gain == pytest.approx(difference[:, 0].mean())
    chosen = np.random.default_rng(3).integers(2, size=(2, 40))
    drawn = [(difference[chosen[0, d], 1 + d] + difference[chosen[1, d], 1 + d]) / 2 for d in range(40)]
    middle, reach = (found.interval[0] + found.interval[1]) / 2, (found.interval[1] - found.interval[0]) / 2
    assert middle == pytest.approx(found.gain) and 1.96 * np.std(drawn) < reach < 2.3 * np.std(drawn)
    same = resampled.gain(before, before)
    assert same.gain == 0 and same.interval == (0, 0)


def test_a_lone_positive_leaves_the_mean_without_an_interval():
    labels, (before, after) = problem()
    resampled = MeanRanking(labels, draws=20)
    found = resampled.gain([resampled(before)], [resampled(after)])
    assert math.isfinite(found.gain) and all(map(math.isnan, found.interval))


def test_bad_input():
    labels, (scores, _) = problem()
    resampled = MeanRanking(labels, draws=2)
    with pytest.raises(DataError, match="NaN"):
        resampled(np.full_like(scores, NAN))
    with pytest.raises(DataError, match="do not fit"):
        resampled(scores[:-1])
    with pytest.raises(DataError, match=r"not 0\.5"):
        MeanRanking(np.full_like(labels, 0.5), draws=2)(scores)
    with pytest.raises(DataError, match=r"groups \(3,\) do not fit 50 samples"):
        MeanRanking(labels, np.zeros(3), draws=2)
