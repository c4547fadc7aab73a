"""Expected calibration error and reliability against a loop over bins."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.errors import DataError
from labelwise.metrics.calibration import binary_calibration_error, expected_calibration_error, reliability

NAN = float("nan")


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


def test_a_confidence_that_rounding_put_above_one_belongs_to_the_last_bin():
    """A softmax in float32 may end at 1 + 2^-23; in a bin of its own, its error would not cancel."""
    confidence = np.array([1 + 2**-23, 0.96])
    assert expected_calibration_error(confidence, np.array([False, True])) == pytest.approx((1 - 0.04) / 2, abs=1e-6)


def test_what_is_not_known_is_nan_without_a_warning():
    labels = np.array([[NAN, 1.0], [NAN, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error = binary_calibration_error(np.full((2, 2), 0.5), labels)
        diagram = reliability(np.full((2, 2), 0.5), labels, per_category=True)
    assert np.isnan(error).tolist() == [True, False] and np.isnan(diagram.positive).sum() == 19


def test_a_calibrated_classifier_scores_near_zero():
    rng = np.random.default_rng(0)
    confidence = rng.random(20000)
    assert expected_calibration_error(confidence, rng.random(20000) < confidence) < 0.02


def partly_known(seed: int, n: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = rng.choice([0.0, 1.0, 0.5, *rng.random(20)], (n, c))
    return probability, rng.choice([0, 1, NAN], (n, c))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 60), st.integers(1, 4), st.integers(1, 20))
def test_binary_error_and_reliability_against_a_loop(seed, n, c, bins):
    probability, labels = partly_known(seed, n, c)
    error = binary_calibration_error(probability, labels, bins)
    each = reliability(probability, labels, bins, per_category=True)
    pooled = reliability(probability, labels, bins)
    assert error.shape == (c,) and each.count.shape == (c, bins) and pooled.count.shape == (bins,)
    for k in range(c):
        known = ~np.isnan(labels[:, k])
        value, label, gap = probability[known, k], labels[known, k], 0.0
        for b in range(bins):
            inside = (value > b / bins) & (value <= (b + 1) / bins) | ((b == 0) & (value == 0))
            assert each.count[k, b] == inside.sum()
            if inside.any():
                gap += inside.mean() * abs(label[inside].mean() - value[inside].mean())
                assert each.probability[k, b] == pytest.approx(value[inside].mean())
                assert each.positive[k, b] == pytest.approx(label[inside].mean())
            else:
                assert np.isnan(each.probability[k, b]) and np.isnan(each.positive[k, b])
        assert error[k] == pytest.approx(gap if known.any() else NAN, nan_ok=True)
    assert np.array_equal(pooled.count, each.count.sum(0))
    total = np.nansum(each.positive * each.count, axis=0)
    assert np.nan_to_num(pooled.positive) * pooled.count == pytest.approx(total)


def test_binary_extremes():
    labels = np.array([[1.0, 0, NAN, 1], [1, 0, NAN, 0]])
    probability = np.array([[1.0, 1, 0.3, 0.5], [1, 1, 0.3, 0.5]])
    assert binary_calibration_error(probability, labels) == pytest.approx([0, 1, NAN, 0], nan_ok=True)
    assert binary_calibration_error(np.zeros((0, 2)), np.zeros((0, 2))) == pytest.approx([NAN, NAN], nan_ok=True)
    diagram = reliability(probability, labels)
    assert diagram.edges == pytest.approx(np.linspace(0, 1, 11)) and diagram.count.tolist() == [0] * 4 + [2] + [
        0
    ] * 4 + [4]
    assert diagram.positive[-1] == 0.5 and diagram.probability[4] == 0.5


def test_an_unknown_label_hides_its_probability():
    labels = np.array([[1.0], [NAN]])
    for hidden in (0.1, 7.0, NAN):
        assert binary_calibration_error(np.array([[0.9], [hidden]]), labels) == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("probability", "labels", "message"),
    [
        ([[1.5]], [[1.0]], "sigmoid"),
        ([[NAN]], [[1.0]], "sigmoid"),
        ([[0.5]], [[0.5]], "1, 0 or NaN"),
        ([[0.5]], [[1.0, 0.0]], "one shape"),
        ([0.5], [1.0], "one shape"),
    ],
)
def test_bad_input(probability, labels, message):
    for score in (binary_calibration_error, reliability):
        with pytest.raises(DataError, match=message):
            score(np.array(probability), np.array(labels))
