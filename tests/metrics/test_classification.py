"""Scores against scikit-learn, and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import log_loss, top_k_accuracy_score

from labelwise.errors import DataError
from labelwise.metrics.classification import human_scores, per_class, scores, topk_correct


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 60), st.integers(6, 12))
def test_against_scikit_learn(seed, n, k):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(n, k)).astype(np.float32) * 3)
    label = torch.from_numpy(rng.integers(k, size=n))
    out = scores(logits, label)
    probability = torch.softmax(logits.double(), 1).numpy()
    for name, top in (("top1", 1), ("top5", 5)):
        expected = top_k_accuracy_score(label.numpy(), logits.numpy(), k=top, labels=np.arange(k))
        assert out[name] == pytest.approx(expected)
    assert out["nll"] == pytest.approx(log_loss(label.numpy(), probability, labels=np.arange(k)), rel=1e-4)


def test_top5_only_where_there_are_more_than_five_classes():
    label = torch.zeros(3, dtype=torch.long)
    assert "top5" not in scores(torch.randn(3, 5), label)
    assert "top5" in scores(torch.randn(3, 6), label)


def test_a_constant_output_is_never_right():
    logits, label = torch.zeros(6, 6), torch.arange(6)
    assert scores(logits, label)["top1"] == 0 and scores(logits, label)["top5"] == 0
    assert scores(logits, label)["nll"] == pytest.approx(math.log(6))
    assert topk_correct(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([0]), 1).tolist() == [False]
    assert topk_correct(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([0]), 2).tolist() == [True]


def test_nan_logits_are_never_right():
    nan = math.nan
    logits = torch.tensor([[nan, nan, nan], [nan, 1.0, 0.0], [0.0, 1.0, nan], [0.0, 1.0, 2.0]])
    assert topk_correct(logits, torch.tensor([0, 0, 1, 2]), 1).tolist() == [False, False, False, True]
    assert topk_correct(logits, torch.tensor([0, 0, 1, 2]), 2).tolist() == [False, False, False, True]
    with np.errstate(invalid="ignore"):
        out = scores(logits, torch.tensor([0, 0, 1, 2]))
    assert out["top1"] == 0.25 and math.isnan(out["nll"]) and math.isnan(out["ece"])


def test_empty_input_is_nan():
    out = scores(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    assert all(math.isnan(value) for value in out.values()) and set(out) == {"top1", "nll", "ece"}


def test_per_class():
    table = per_class(np.array([True, False, True]), np.array([0, 0, 2]), ("a", "b", "c"))
    assert [row["n"] for row in table] == [2, 0, 1]
    assert table[0]["top1"] == 0.5 and math.isnan(table[1]["top1"]) and table[2]["top1"] == 1.0
    logits = torch.eye(3)[[0, 1, 2]]
    found = scores(logits, torch.tensor([0, 0, 2]), ("a", "b", "c"))["per_class"]
    assert [row["class"] for row in found] == ["a", "b", "c"] and found[0]["top1"] == 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(2, 7))
def test_human_scores_against_scipy(seed, n, k):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(n, k)).astype(np.float32) * 5)
    counts = rng.integers(0, 3, (n, k)) + np.eye(k, dtype=int)[rng.integers(k, size=n)]  # zeros, and never only zeros
    votes = (counts / counts.sum(1, keepdims=True)).astype(np.float32)
    silent = rng.random(n) < 0.3
    silent[0] = False
    votes[silent] = math.nan
    q = torch.softmax(logits.double(), 1).numpy()
    out = human_scores(logits, votes)
    divergence = [scipy_entropy(h, p) for h, p in zip(votes[~silent].astype(float), q[~silent], strict=True)]
    assert out["human_kl"] == pytest.approx(np.mean(divergence), rel=1e-5, abs=1e-6)
    own = np.mean([scipy_entropy(h) for h in votes[~silent].astype(float)])
    assert out["human_ce"] - out["human_kl"] == pytest.approx(own, rel=1e-5, abs=1e-6)
    total = 0.0
    for i in np.flatnonzero(~silent):
        total -= sum(votes[i, c] * math.log(q[i, c]) for c in range(k))
    assert out["human_ce"] == pytest.approx(total / (~silent).sum(), rel=1e-5)


def test_human_scores_at_the_edges():
    share = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], np.float32)
    exact = torch.log(torch.from_numpy(share) + 1e-30)
    assert human_scores(exact, share)["human_kl"] == pytest.approx(0, abs=1e-6)
    # A vote of one is the label: the cross-entropy is the NLL, and what the votes do not know costs nothing.
    logits, label = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    found = human_scores(logits, np.eye(3, dtype=np.float32)[label.numpy()])
    assert found["human_ce"] == found["human_kl"] == pytest.approx(scores(logits, label)["nll"], rel=1e-5)
    assert math.isfinite(human_scores(torch.tensor([[1e4, -1e4]]), np.array([[0.5, 0.5]], np.float32))["human_kl"])
    assert human_scores(torch.zeros(2, 3), np.full((2, 3), math.nan, np.float32)) == {}
    assert human_scores(torch.zeros(0, 3), np.zeros((0, 3), np.float32)) == {}
    with pytest.raises(DataError, match=r"votes \(2, 2\) and logits \(2, 3\)"):
        human_scores(torch.zeros(2, 3), np.zeros((2, 2), np.float32))
