"""Scale and bias are SciPy's optimum; thresholds are those of a search over all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from labelwise.cft.calibrate import PRIOR, ThresholdRule, find_threshold, known_entries, parse_rule, scale_and_bias
from labelwise.errors import ConfigError

Floats = NDArray[np.float64]


def one(logits: Floats, label: Floats, weight: Floats | None = None, bias: float = 0.0) -> tuple[float, float]:
    tensors = [torch.from_numpy(np.asarray(v, np.float64))[None] for v in (logits, label)]
    counts = torch.ones_like(tensors[0]) if weight is None else torch.from_numpy(weight)[None]
    scale, shift = scale_and_bias(tensors[0], tensors[1], counts, torch.tensor([bias], dtype=torch.float64))
    return float(scale[0]), float(shift[0])


def loss(u: Floats, z: Floats, y: Floats, w: Floats, bias: float) -> float:
    """The prior on the bias holds where the logits are centred."""
    centre = (w * z).sum() / w.sum()
    x = np.exp(u[0]) * (z - centre) + u[1]
    prior = 0.5 * PRIOR * (u[0] ** 2 + (u[1] - bias - centre) ** 2)
    return float((w * (np.logaddexp(0, x) - y * x)).sum() + prior)


@pytest.mark.parametrize("seed", range(5))
def test_scale_and_bias_are_scipys_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=200) * rng.choice([0.3, 3.0]) + rng.normal() * 3
    y = (rng.random(200) < 1 / (1 + np.exp(2 - 1.5 * z))).astype(float)
    w = rng.choice([0.0, 1.0], 200)
    bias = float(rng.normal())
    scale, shift = one(z, y, w, bias)
    centre = (w * z).sum() / w.sum()
    found = np.array([np.log(scale), shift + scale * centre])
    best = minimize(loss, np.zeros(2), (z, y, w, bias), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    np.testing.assert_allclose(found, best.x, atol=1e-4)


def test_probabilities_fit_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=20_000) * 2
    y = (rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * z - 1)))).astype(float)
    scale, shift = one(z, y)
    assert scale == pytest.approx(0.5, abs=0.03) and shift == pytest.approx(-1, abs=0.05)


def test_ranks_never_turn_round() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=400) * 5
    y = (z < 0).astype(float)  # the head is exactly wrong
    scale, shift = one(z, y)
    assert 0 < scale < 0.05 and np.isfinite(shift)
    logits = torch.from_numpy(z)
    assert torch.equal((scale * logits + shift).argsort(), logits.argsort())


def test_without_labels_nothing_changes() -> None:
    rng = np.random.default_rng(0)
    scale, shift = one(rng.normal(size=9), np.zeros(9), np.zeros(9), bias=-2.5)
    assert (scale, shift) == (1.0, -2.5)


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e4, 1e8])
def test_separable_and_extreme_logits_stay_finite(size: float) -> None:
    z = np.linspace(-1, 1, 50) * size
    for y in ((z > 0).astype(float), np.ones(50), np.zeros(50), (np.arange(50) == 0).astype(float)):
        scale, shift = one(z, y)
        assert 0 < scale < np.inf and np.isfinite(shift)
    scale, shift = one(z, (z > 0).astype(float))
    assert float(np.logaddexp(0, np.where(z > 0, -1, 1) * (scale * z + shift)).mean()) < 0.75


def test_categories_do_not_see_each_other() -> None:
    rng = np.random.default_rng(1)
    z = torch.from_numpy(rng.normal(size=(4, 60)) * np.array([[0.1], [1], [9], [1e4]]))
    y = torch.from_numpy((rng.random((4, 60)) < 0.3).astype(float))
    w = torch.ones(4, 60)
    bias = torch.tensor([0.0, 1.0, -1.0, 3.0])
    scale, shift = scale_and_bias(z, y, w, bias)
    for c in range(4):
        alone = scale_and_bias(z[[c]], y[[c]], w[[c]], bias[[c]])
        assert float(scale[c]) == pytest.approx(float(alone[0]), rel=1e-4)
        assert float(shift[c]) == pytest.approx(float(alone[1]), rel=1e-4, abs=1e-6)


# thresholds


def brute_force(z: Floats, y: Floats, rule: ThresholdRule) -> list[tuple[float, ...]]:
    """What every threshold gives, highest first, and of those the ones that the rule may choose."""
    rows = []
    for threshold in sorted(set(z.tolist()), reverse=True):
        taken = z >= threshold
        true = float((y[taken] == 1).sum())
        precision, recall = true / taken.sum(), true / (y == 1).sum()
        negatives = (y == 0).sum()
        specificity = (negatives - (taken.sum() - true)) / negatives
        f1 = 2 * true / (taken.sum() + (y == 1).sum())
        rows.append((precision, recall, specificity, f1, float(taken.sum())))
    if rule.kind == "max-f1":
        return [max(rows, key=lambda row: row[3])]
    column = ("precision", "recall", "specificity").index(rule.kind)
    reached = [row for row in rows if row[column] >= rule.target]
    return reached[:1] if rule.kind == "recall" else reached[-1:]


RULES = ("max-f1", "precision=0.5", "precision=1", "recall=0.5", "recall=1", "specificity=0.1", "specificity=0.9")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=12),
    st.sampled_from(RULES),
    st.sampled_from([1.0, 1e-38, 1e38 / 2]),
)
@example([(i, False) for i in range(10)] + [(-5, True)], "specificity=0.1", 1.0)  # 1 - 9 / 10 is below 0.1
def test_thresholds_are_those_of_brute_force(samples: list[tuple[int, bool]], text: str, size: float) -> None:
    z = np.array([value * size for value, _ in samples], dtype=np.float32)
    y = np.array([float(positive) for _, positive in samples], dtype=np.float32)
    rule = parse_rule(text)
    found = find_threshold(z, y, rule)
    if y.min() == y.max():
        assert found is None
        return
    expected = brute_force(z, y, rule)
    if not expected:
        assert found is None
        return
    assert found is not None
    names = ("precision", "recall", "specificity", "f1")
    assert [found[name] for name in names] == pytest.approx(expected[0][:4])
    assert (z >= found["value"]).sum() == expected[0][4]  # the value gives what it says
    assert found["positives"] == (y == 1).sum()


def test_neighbouring_floats_are_told_apart() -> None:
    low = np.float32(1.0)
    while True:  # an odd last digit: halving rounds down to the neighbour
        high = np.nextafter(low, np.float32(2))
        if np.float32((low + high) / np.float32(2)) == low:
            break
        low = high
    z = np.array([high, low, low, -5], dtype=np.float32)
    found = find_threshold(z, np.array([1, 0, 0, 0], np.float32), parse_rule("precision=1"))
    assert found is not None
    assert (z >= found["value"]).tolist() == [True, False, False, False]


def test_infinite_and_equal_logits() -> None:
    y = np.array([1.0, 0.0, 1.0, 0.0])
    found = find_threshold(np.array([3.0, 3.0, 3.0, 3.0]), y, parse_rule("max-f1"))
    assert found is not None and found["recall"] == 1 and found["specificity"] == 0
    found = find_threshold(np.array([np.inf, -np.inf, 2.0, -np.inf]), y, parse_rule("precision=1"))
    assert found is not None and found["value"] == 2.0 and found["recall"] == 1


def test_a_target_out_of_reach() -> None:
    z, y = np.array([3.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.0])
    assert find_threshold(z, y, parse_rule("precision=0.9")) is None
    assert find_threshold(z, y, parse_rule("specificity=1")) is None
    assert find_threshold(z, np.ones(3), parse_rule("max-f1")) is None
    assert find_threshold(z, np.zeros(3), parse_rule("max-f1")) is None
    reached = find_threshold(z, y, parse_rule("recall=1"))
    assert reached is not None and reached["recall"] == 1


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


def test_known_entries_alone_give_the_same_scale_and_bias() -> None:
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(size=(4, 60)).astype(np.float32))
    labels = torch.from_numpy((rng.random((4, 60)) < 0.4).astype(np.float32))
    labels[torch.from_numpy(rng.random((4, 60)) < 0.7)] = torch.nan
    labels[3] = torch.nan  # nothing known at all
    packed = known_entries(logits, labels)
    assert packed[0].shape[1] == int((~labels.isnan()).sum(1).max()) < 60
    known = ~labels.isnan()
    dense = scale_and_bias(logits, torch.nan_to_num(labels), known.float(), torch.zeros(4))
    for found, expected in zip(scale_and_bias(*packed, torch.zeros(4)), dense, strict=True):
        torch.testing.assert_close(found, expected)
    assert torch.equal(packed[2].sum(1), known.sum(1).float())
