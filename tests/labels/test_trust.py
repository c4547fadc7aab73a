"""How far given labels are trusted: against rules written with loops, and what must hold of any input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from labelwise.labels.trust import LEAST, Trust, keep_every_class, low_loss_probability, trust_weights


def draw(seed: int, n: int = 60, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Answers and given classes; the last class is given to nobody."""
    rng = np.random.default_rng(seed)
    answer = rng.dirichlet(np.full(k, 0.5), n).astype(np.float32)
    return answer, rng.integers(0, k - 1, n)


@pytest.mark.parametrize("rule", ["consensus", "graded"])
def test_weights_by_a_loop(rule: Trust) -> None:
    answer, given = draw(0)
    found = trust_weights(answer, given, rule)
    for i, k in enumerate(given):
        agrees = all(answer[i, k] > other for j, other in enumerate(answer[i]) if j != k)
        assert found[i] == (float(agrees) if rule == "consensus" else answer[i, k])
    assert {0, 1, 2} == set(given[found > 0].tolist())  # so that no class had to be kept


@settings(max_examples=40, deadline=None)
@drawn(st.integers(0, 10_000), st.floats(0.0, 1.0), st.floats(0.01, 1.0))
def test_no_class_is_lost(seed: int, zeros: float, least: float) -> None:
    rng = np.random.default_rng(seed)
    likelihood, given = rng.random(50).round(1), rng.integers(0, 5, 50)
    weight = rng.random(50) * (rng.random(50) >= zeros)
    weight[given == 3] = 0
    found = keep_every_class(weight, likelihood, given, least)
    mean = weight.mean() if weight.any() else 1.0
    for k in np.unique(given):
        rows = np.flatnonzero(given == k)
        raised = rows[found[rows] > weight[rows]]
        assert found[rows].mean() >= least * mean * (1 - 1e-9)
        if weight[rows].mean() >= least * mean:
            assert not len(raised)
            continue
        kept = rows[found[rows] >= mean]  # the likeliest of the class, by hand
        count = math.ceil(least * len(rows))
        order = sorted(rows.tolist(), key=lambda row: (-likelihood[row], row))
        assert set(order[:count]) <= set(kept.tolist()) and set(raised.tolist()) <= set(order[:count])
        assert (found[raised] == mean).all()
    assert (found >= weight).all() and found.sum() > 0


def test_a_class_that_nobody_agrees_with_keeps_its_likeliest_samples() -> None:
    answer = np.tile(np.float32([0.6, 0.3, 0.1]), (40, 1))
    answer[30] = 0.5, 0.4, 0.1
    given = np.repeat([0, 1], 20)
    found = trust_weights(answer, given, "consensus")
    assert (found[:20] == 1).all() and np.flatnonzero(found[20:]).tolist() == [0, 10]
    assert math.ceil(LEAST * 20) == 2 and set(found[20:].tolist()) == {0, 0.5}  # 0.5 is the mean over all samples
    nobody = trust_weights(answer, np.full(40, 2), "consensus")
    assert np.flatnonzero(nobody).tolist() == [0, 1, 2, 3]


@settings(max_examples=40, deadline=None)
@drawn(st.lists(st.floats(0, 90), min_size=2, max_size=60))
def test_a_smaller_loss_is_never_trusted_less(losses: list[float]) -> None:
    loss = np.array(losses)
    found = low_loss_probability(loss)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found[np.argsort(loss)]) <= 1e-9).all()


def test_two_groups_of_losses_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    wrong = np.arange(900) < 300
    loss = np.where(wrong, rng.normal(5, 0.8, 900), rng.normal(1, 0.3, 900)).clip(0)
    found = low_loss_probability(loss)
    assert ((found < 0.5) == wrong).mean() > 0.99
    low, high = loss[~wrong], loss[wrong]  # the posterior of the Gaussians that drew them, between their means
    between = np.linspace(low.mean(), high.mean(), 9)
    density = [
        share * np.exp(-((between - part.mean()) ** 2) / (2 * part.var())) / part.std()
        for share, part in ((2 / 3, low), (1 / 3, high))
    ]
    joined = np.concatenate([loss, between])
    expected = density[0] / (density[0] + density[1])
    np.testing.assert_allclose(low_loss_probability(joined)[900:], expected, atol=0.12)
    assert (low_loss_probability(np.full(5, 2.0)) == 1).all()


def test_the_mixture_trusts_likely_labels() -> None:
    answer = np.float32([[0.97, 0.03], [0.95, 0.05], [0.96, 0.04], [0.02, 0.98]] * 10)
    found = trust_weights(answer, np.zeros(40, dtype=np.int64), "mixture")
    assert found[:3].min() > 0.99 and found[3] < 0.01
    certain = trust_weights(np.float32([[1, 0], [0, 1], [1, 0]]), np.array([0, 0, 0]), "mixture")
    assert np.isfinite(certain).all() and certain[0] > certain[1]
