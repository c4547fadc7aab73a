"""Expected calibration error against a loop over bins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.metrics.calibration import expected_calibration_error


def brute_force(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    total = 0.0
    for i in range(bins):
        inside = (confidence > i / bins) & (confidence <= (i + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 200), st.integers(1, 20))
def test_against_a_loop(seed, n, bins):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.uniform(1e-9, 1, n), rng.random(n) < 0.5
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(
        brute_force(confidence, correct, bins)
    )


def test_extremes():
    assert expected_calibration_error(np.ones(5), np.ones(5, bool)) == 0
    assert expected_calibration_error(np.ones(5), np.zeros(5, bool)) == 1
    assert expected_calibration_error(np.zeros(2), np.array([True, False])) == 0.5
    # Over and under confidence of one bin cancel, of two bins they do not.
    assert expected_calibration_error(np.full(4, 0.5), np.array([1, 1, 0, 0], bool)) == 0
    assert expected_calibration_error(np.array([0.75, 0.25]), np.array([True, False]), 2) == pytest.approx(0.25)


def test_a_calibrated_classifier_scores_near_zero():
    rng = np.random.default_rng(0)
    confidence = rng.random(20000)
    assert expected_calibration_error(confidence, rng.random(20000) < confidence) < 0.02
