"""Thresholds and operating points against brute force over every threshold and scikit-learn's curves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve, roc_curve

from labelwise.errors import ConfigError, DataError
from labelwise.metrics import operating
from labelwise.metrics.operating import (
    OperatingPoints,
    ThresholdRule,
    parse_rule,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    threshold_for,
)

NAN = math.nan
KINDS = ("max-f1", "precision", "recall", "sensitivity", "specificity")
FIELDS = ("precision", "recall", "specificity", "f1")


def problem(seed: int, n: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N, 3) with ties or without, and labels of which some are unknown."""
    rng = np.random.default_rng(seed)
    scores = {
        "few": lambda: rng.integers(-2, 3, (n, 3)).astype(np.float32),
        "normal": lambda: rng.normal(size=(n, 3)).astype(np.float32),
        "normal64": lambda: rng.normal(size=(n, 3)),
        "odd": lambda: rng.choice([0.0, -0.0, 1e-45, 1.0, 1 + 2e-7, 1e30, np.inf, -np.inf], (n, 3)).astype(np.float32),
    }[kind]()
    labels = rng.choice([0.0, 1.0, NAN], (n, 3), p=[0.5, 0.3, 0.2])
    return scores, labels


def rates(decided: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    true, taken = int((decided & positive).sum()), int(decided.sum())
    negatives = int((~positive).sum())
    return {
        "precision": true / taken if taken else 0.0,
        "recall": true / int(positive.sum()),
        "specificity": (negatives - (taken - true)) / negatives,
        "f1": 2 * true / (taken + int(positive.sum())),
    }


def by_hand(scores: np.ndarray, label: np.ndarray, rule: ThresholdRule) -> dict[str, float] | None:
    """Try every distinct score of a known label as a threshold, highest first."""
    known = ~np.isnan(label)
    scores, positive = scores[known], label[known] == 1
    if not 0 < positive.sum() < len(positive):
        return None
    tried = [rates(scores >= threshold, positive) for threshold in sorted(set(scores.tolist()), reverse=True)]
    if rule.kind == "max-f1":
        return max(tried, key=lambda found: found["f1"])
    reached = [found for found in tried if found["recall" if rule.kind == "sensitivity" else rule.kind] >= rule.target]
    return (reached[0] if rule.kind in ("recall", "sensitivity") else reached[-1]) if reached else None


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 25),
    st.sampled_from(["few", "normal", "normal64", "odd"]),
    st.sampled_from(KINDS),
    st.sampled_from([0.1, 0.5, 0.8, 0.9, 1.0]),
)
def test_thresholds_against_brute_force(seed, n, kind, rule_kind, target):
    scores, labels = problem(seed, n, kind)
    rule = ThresholdRule(rule_kind, target)
    found = threshold_for(scores, labels, rule)
    for c in range(3):
        expected = by_hand(scores[:, c], labels[:, c], rule)
        own = {name: getattr(found, name)[c] for name in FIELDS}
        if expected is None:
            assert np.isnan([found.threshold[c], *own.values()]).all()
            continue
        assert own == pytest.approx(expected, abs=1e-12)
        known = ~np.isnan(labels[:, c])
        decided = scores[known, c] >= found.threshold[c]  # the threshold itself must give what is said of it
        assert rates(decided, labels[known, c] == 1) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 40), st.sampled_from(["few", "normal"]), st.sampled_from([0.5, 0.9, 1.0]))
def test_operating_points_against_scikit_learn(seed, n, kind, target):
    scores, labels = problem(seed, n, kind)
    sensitive, specific = (f(scores, labels, target) for f in (sensitivity_at_specificity, specificity_at_sensitivity))
    best = threshold_for(scores, labels, ThresholdRule("max-f1")).f1
    for c in range(3):
        known = ~np.isnan(labels[:, c])
        label, score = labels[known, c], scores[known, c]
        if not 0 < label.sum() < len(label):
            assert np.isnan([sensitive[c], specific[c], best[c]]).all()
            continue
        false, true, _ = roc_curve(label, score, drop_intermediate=False)
        assert sensitive[c] == pytest.approx(true[1 - false >= target - 1e-12].max())
        assert specific[c] == pytest.approx((1 - false)[true >= target - 1e-12].max())
        precision, recall, _ = precision_recall_curve(label, score)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        assert best[c] == pytest.approx(f1.max())


def test_the_threshold_lies_half_way_and_below_the_last():
    scores = np.array([[4.0, 1.0], [2.0, 1.0], [1.0, 1.0], [0.0, 1.0]], dtype=np.float32)
    labels = np.array([[1, 1], [1, 0], [0, 1], [0, 1]], dtype=np.float32)
    assert threshold_for(scores, labels, ThresholdRule()).threshold.tolist() == [1.5, 0.5]
    unknown_between = labels.copy()
    unknown_between[2, 0] = NAN
    assert threshold_for(scores, unknown_between, ThresholdRule()).threshold[0] == 1.0
    neighbours = np.array([[np.nextafter(np.float32(1), np.float32(2))], [1.0]], dtype=np.float32)
    assert threshold_for(neighbours, np.array([[1.0], [0.0]]), ThresholdRule()).threshold[0] == neighbours[0, 0]


def test_infinite_and_equal_scores():
    labels = np.array([[1.0], [0], [1], [0]])
    found = threshold_for(np.full((4, 1), 3.0), labels, ThresholdRule())
    assert (found.recall, found.specificity) == (1, 0)
    found = threshold_for(np.array([[np.inf], [-np.inf], [2.0], [-np.inf]]), labels, ThresholdRule("precision", 1))
    assert (found.threshold, found.recall) == (2.0, 1)


def test_shares_are_those_of_whole_counts():
    """1 - 9 / 10 is below 0.1 in floating point, 1 / 10 is not."""
    scores = np.append(np.arange(10), -5.0)[:, None]
    labels = np.append(np.zeros(10), 1.0)[:, None]
    assert threshold_for(scores, labels, ThresholdRule("specificity", 0.1)).specificity == 0.1


def test_specificity_that_only_deciding_nothing_reaches():
    scores, labels = np.array([[3.0], [2.0], [1.0]]), np.array([[0.0], [1.0], [0.0]])
    assert np.isnan(threshold_for(scores, labels, ThresholdRule("specificity", 0.9)).recall)
    assert sensitivity_at_specificity(scores, labels, 0.9).tolist() == [0.0]
    assert sensitivity_at_specificity(scores, labels, 0.5).tolist() == [1.0]
    assert specificity_at_sensitivity(scores, labels, 0.9).tolist() == [0.5]
    assert np.isnan(sensitivity_at_specificity(scores, np.ones((3, 1)), 0.9)).all()


@pytest.mark.parametrize("n", [7, 20, 50])
def test_a_target_that_is_met_exactly_is_met(n):
    """Though 0.55 x 20 is more than 11 in floating point."""
    scores = np.concatenate([np.arange(n) + 0.5, np.arange(n)])[:, None]  # positives just above negatives
    labels = np.repeat([1.0, 0.0], n)[:, None]
    for target in (np.arange(1, 101) / 100).tolist():
        fewest = min(m for m in range(n + 1) if m / n >= target)
        assert sensitivity_at_specificity(scores, labels, target).item() == (n - fewest + 1) / n
        assert specificity_at_sensitivity(scores, labels, target).item() == (n - fewest + 1) / n


def test_blocks_do_not_matter(monkeypatch):
    scores, labels = problem(5, 30, "few")
    whole = threshold_for(scores, labels, ThresholdRule())
    sensitive = sensitivity_at_specificity(scores, labels, 0.8)
    monkeypatch.setattr(operating, "BLOCK_ELEMENTS", 1)
    parts = threshold_for(scores, labels, ThresholdRule())
    np.testing.assert_array_equal(sensitivity_at_specificity(scores, labels, 0.8), sensitive)
    for name in ("threshold", *FIELDS):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize("shape", [(0, 2), (4, 2)])
def test_nothing_known(shape):
    found = threshold_for(np.zeros(shape), np.full(shape, NAN), ThresholdRule())
    assert isinstance(found, OperatingPoints) and found.threshold.shape == (2,) and np.isnan(found.threshold).all()


@pytest.mark.parametrize("dtype", [np.float16, np.int64])
def test_other_numbers(dtype):
    scores, labels = np.array([[2], [1], [0]], dtype=dtype), np.array([[1.0], [1.0], [0.0]])
    assert threshold_for(scores, labels, ThresholdRule()).threshold.tolist() == [0.5]


def test_bad_input():
    scores, labels = np.zeros((3, 2)), np.zeros((3, 2))
    with pytest.raises(DataError, match=r"\(3,\) and scores \(3, 2\)"):
        threshold_for(scores, labels[:, 0], ThresholdRule())
    with pytest.raises(DataError, match="NaN"):
        threshold_for(np.full((3, 2), NAN), labels, ThresholdRule())
    with pytest.raises(DataError, match="soft"):
        threshold_for(scores, labels + 0.5, ThresholdRule())
    with pytest.raises(ConfigError, match=r"one of max-f1.*'f2'"):
        ThresholdRule("f2")  # type: ignore[arg-type]
    for target in (0.0, 1.1, NAN):
        with pytest.raises(ConfigError, match=r"within \(0, 1\]"):
            ThresholdRule("precision", target)
    assert str(ThresholdRule("precision", 0.9)) == "precision>=0.9" and str(ThresholdRule()) == "max-f1"


def test_rules_are_read() -> None:
    assert parse_rule("max-f1") == ThresholdRule("max-f1") and str(parse_rule("max-f1")) == "max-f1"
    assert parse_rule("precision=0.9") == ThresholdRule("precision", 0.9)
    assert str(parse_rule("specificity=0.95")) == "specificity>=0.95"


@pytest.mark.parametrize(
    "text", ["", "f1", "max-f1=0.5", "precision", "precision=", "recall=0", "recall=1.1", "recall=nan", "auc=0.5"]
)
def test_wrong_rules_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="use max-f1, precision=X") as caught:
        parse_rule(text)
    assert "\n" not in str(caught.value)
