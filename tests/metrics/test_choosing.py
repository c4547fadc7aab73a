"""Choices between models: calibrated likelihoods, the stated order, and what one sample is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax

from labelwise.metrics.choosing import choose, known_likelihood, label_likelihood, mean_and_error, temperature


def drawn(seed: int, n: int = 300, k: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits, and labels drawn from their softmax."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * 2
    return logits, np.array([rng.choice(k, p=p) for p in np.exp(log_softmax(logits, axis=1))])


@pytest.mark.parametrize("factor", [0.2, 1.0, 7.0])
def test_temperature_undoes_a_factor_of_the_logits(factor: float) -> None:
    logits, label = drawn(0, 4000)
    assert temperature(logits * factor, label) == pytest.approx(factor, rel=0.1)


@given(st.floats(0.05, 20), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_confidence_has_no_part_in_the_likelihood(factor: float, seed: int) -> None:
    logits, label = drawn(seed)
    assert label_likelihood(logits * factor, label).mean() == pytest.approx(
        label_likelihood(logits, label).mean(), abs=0.01
    )


def test_the_temperature_is_the_best_of_a_grid() -> None:
    logits, label = drawn(3, 60)
    grid = np.exp(np.linspace(-3, 3, 2001))
    own = np.arange(len(label)), label
    loss = [0.5 * np.log(t) ** 2 - log_softmax(logits / t, axis=1)[own].sum() for t in grid]
    assert temperature(logits, label) == pytest.approx(grid[int(np.argmin(loss))], rel=0.01)


def test_extreme_logits_stay_finite() -> None:
    logits = np.array([[1e4, 0.0], [0.0, 1e4], [-1e4, 1e4]])
    for label in ([0, 1, 1], [1, 0, 0]):
        assert np.isfinite(label_likelihood(logits, np.array(label))).all()
    assert np.isfinite(known_likelihood(logits, np.array([[1.0, 0.0], [np.nan, 1.0], [1.0, np.nan]]))).all()


def test_unknown_labels_have_no_part() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 3)), rng.integers(0, 2, size=(50, 3)).astype(float)
    labels[rng.random(labels.shape) < 0.5] = np.nan
    other = np.where(np.isnan(labels), 100.0, logits)
    assert known_likelihood(other, labels) == pytest.approx(known_likelihood(logits, labels))
    labels[7] = np.nan
    assert known_likelihood(logits, labels)[7] == 0


def test_scale_and_bias_of_a_category_have_no_part() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2000, 3))
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-2 * logits))).astype(float)
    moved = 3 * logits + np.array([1.0, 0.0, -1.0])
    assert known_likelihood(moved, labels).mean() == pytest.approx(known_likelihood(logits, labels).mean(), abs=0.01)
    chance = known_likelihood(rng.normal(size=logits.shape), labels).mean()
    assert chance < known_likelihood(logits, labels).mean() - 0.2


def test_the_first_stays_unless_a_later_one_is_clearly_better() -> None:
    rng = np.random.default_rng(0)
    first, noise = rng.normal(size=100), rng.normal(size=100)
    noise = (noise - noise.mean()) / noise.std(ddof=1)  # a difference of d has d * 10 standard errors
    for shift, chosen in ((0.1, 0), (0.16, 0), (0.17, 1), (-1.0, 0)):
        found = choose([first, first + noise + shift])
        assert found.chosen == chosen and found.rival == 1 - chosen and found.samples == 100
        assert found.error == pytest.approx(0.1) and found.clear == (abs(shift) > 0.165)
        assert found.difference == pytest.approx(shift if chosen else -shift)
    assert choose([first]).rival is None


def test_samples_of_a_group_are_one_observation() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=30)
    groups = np.repeat(np.arange(30), 4)
    mean, error = mean_and_error(np.repeat(values, 4), groups)
    assert (mean, error) == pytest.approx(mean_and_error(values))
    assert mean_and_error(np.repeat(values, 4))[1] < 0.6 * error
    assert mean_and_error(values[:1])[1] == np.inf
