"""Mean AP or AUC of two models: rows that are really repeated, the same draws for all, seeds as a dimension of luck."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t
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


def test_seeds_are_a_dimension_of_luck():
    labels, scores = problem(c=2, models=4)
    resampled = MeanRanking(labels, draws=40)
    before, after = [resampled(x) for x in scores[:2]], [resampled(scores[2]), resampled(-scores[3])]  # seeds differ
    found = resampled.gain(before, after, level=0.5)
    difference = np.stack(after) - np.stack(before)
    assert found.gain == pytest.approx(difference[:, 0].mean())
    assert sum(found.interval) / 2 == pytest.approx(found.gain)
    shared, seeds = np.cov(difference[:, 1:], ddof=0)[0, 1].clip(0), difference[:, 0].var(ddof=1) / 2
    reach = (found.interval[1] - found.interval[0]) / 2
    weighed = (t.ppf(0.75, 1) * seeds + t.ppf(0.75, [10, 100]) * shared) / np.sqrt(seeds + shared)
    assert weighed.min() * 0.999 < reach < weighed.max() * 1.001
    same = resampled.gain(before, before)
    assert same.gain == 0 and same.interval == (0, 0)


@BOTH
def test_lone_positives_cost_degrees_of_freedom(metric):
    """Of four categories one has a lone positive: a quarter of the mean, and nearly all of its variance."""
    labels = np.zeros((60, 4), dtype=np.float32)
    labels[:20] = 1
    plain, rng = MeanRanking(labels, draws=40, metric=metric), np.random.default_rng(1)
    labels[1:, 0] = 0
    lone = MeanRanking(labels, draws=40, metric=metric)
    before, after = rng.normal(size=labels.shape), rng.normal(size=labels.shape) + labels
    wide, narrow = (of.gain([of(before)], [of(after)]).interval for of in (lone, plain))
    assert np.isnan(wide).all() and np.isfinite(narrow).all()
    fewer = labels.copy()
    fewer[8:] = 0
    told = MeanRanking(fewer, draws=40, metric=metric)
    low, high = told.gain([told(before)], [told(after)]).interval  # the others vary, too
    assert high - low > narrow[1] - narrow[0]


def test_lone_positives_alone_tell_nothing_where_they_are_few():
    labels, rng = np.zeros((60, 6), dtype=np.float32), np.random.default_rng(1)
    labels[range(6), range(6)] = 1
    for count in (5, 6):
        own = MeanRanking(labels[:, :count], draws=20)
        before, after = (own(rng.normal(size=(60, count))) for _ in range(2))
        assert np.isnan(own.gain([before], [after]).interval).all() == (count == 5)


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
