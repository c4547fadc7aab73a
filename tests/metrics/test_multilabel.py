"""Multi-label scores against scikit-learn on complete labels, and against counting by hand on partial ones."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, log_loss, precision_recall_fscore_support, roc_auc_score

from labelwise.errors import DataError
from labelwise.labels.table import INFERRED, LabelTable
from labelwise.metrics import multilabel
from labelwise.metrics.calibration import binary_calibration_error
from labelwise.metrics.multilabel import decision_scores, hard_labels, multilabel_scores, probabilities
from labelwise.metrics.operating import sensitivity_at_specificity, specificity_at_sensitivity

NAN = math.nan
C = 4


def complete(seed: int, n: int = 40) -> tuple[np.ndarray, LabelTable]:
    """Logits with ties, and labels of which every category has both kinds."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, C)) < [0.5, 0.3, 0.1, 0.8]).astype(np.float32)
    labels[0], labels[1] = 1, 0
    logits = (np.round(rng.normal(size=(n, C)) * 4) / 4 + labels - 0.7).astype(np.float32)
    return logits, LabelTable.from_wire(labels, tuple("abcd"))


def partial(seed: int, n: int = 40) -> tuple[np.ndarray, LabelTable]:
    """The same with unknown, uncertain, soft and inferred labels, one category without a known negative."""
    logits, table = complete(seed, n)
    rng = np.random.default_rng(seed + 1)
    wire = rng.choice([0, 1, NAN, -1, 0.3], (n, C), p=[0.3, 0.3, 0.2, 0.1, 0.1]).astype(np.float32)
    wire[wire[:, 1] == 0, 1] = NAN
    wire[:2, (0, 2, 3)] = table.values[:2, (0, 2, 3)]
    wire[0, 1] = 1
    table = LabelTable.from_wire(wire, tuple("abcd"))
    blank = (table.source == 0) & (rng.random((n, C)) < 0.3)
    source = np.where(blank, np.uint8(INFERRED), table.source)
    return logits, dataclasses.replace(table, values=np.where(blank, np.float32(1), table.values), source=source)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.3, 0.5, 0.9]))
def test_complete_labels_against_scikit_learn(seed, threshold):
    logits, table = complete(seed)
    labels, p = table.values, probabilities(logits)
    found = multilabel_scores(torch.from_numpy(logits), table, thresholds=threshold)
    for average, scores in (("micro", found["micro"]), ("weighted", found["weighted"])):
        assert scores["ap"] == pytest.approx(average_precision_score(labels, logits, average=average))
        assert scores["auc"] == pytest.approx(roc_auc_score(labels, logits, average=average))
    assert found["map"] == pytest.approx(average_precision_score(labels, logits, average="macro"))
    assert found["mauc"] == pytest.approx(roc_auc_score(labels, logits, average="macro"))
    assert found["nll"] == pytest.approx(log_loss(labels.ravel(), p.ravel()))
    assert found["scored"] == C and not any(found["left_out"].values())
    each = precision_recall_fscore_support(labels, p >= threshold, zero_division=0)
    for c, entry in enumerate(found["categories"]):
        assert (entry["precision"], entry["recall"], entry["f1"]) == pytest.approx([x[c] for x in each[:3]])
        assert entry["positives"] == each[3][c] and entry["threshold"] == threshold
        assert entry["nll"] == pytest.approx(log_loss(labels[:, c], p[:, c]))
    macro, micro = (
        precision_recall_fscore_support(labels, p >= threshold, average=kind, zero_division=0)
        for kind in ("macro", "micro")
    )
    decisions = found["decisions"]
    assert (decisions["cp"], decisions["cr"], decisions["macro_f1"]) == pytest.approx(macro[:3])
    assert (decisions["op"], decisions["or"], decisions["of1"]) == pytest.approx(micro[:3])
    cp, cr = macro[:2]
    assert decisions["cf1"] == pytest.approx(2 * cp * cr / (cp + cr) if cp + cr else 0)


def by_hand(logits: np.ndarray, labels: list[list[float]], thresholds: list[float]) -> dict[str, Any]:
    """Decisions over the known labels, label by label."""
    counts = [{"tp": 0, "fp": 0, "fn": 0, "tn": 0} for _ in thresholds]
    for row, known in zip(logits.tolist(), labels, strict=True):
        for c, (z, y) in enumerate(zip(row, known, strict=True)):
            if not math.isnan(y):
                decided = 1 / (1 + math.exp(-z)) >= thresholds[c]
                counts[c][("tp" if y else "fp") if decided else ("fn" if y else "tn")] += 1
    scored = [k for k in counts if k["tp"] + k["fn"] and k["fp"] + k["tn"]]
    precision = [k["tp"] / (k["tp"] + k["fp"]) if k["tp"] + k["fp"] else 0 for k in scored]
    recall = [k["tp"] / (k["tp"] + k["fn"]) for k in scored]
    tp, fp, fn = (sum(k[kind] for k in counts) for kind in ("tp", "fp", "fn"))
    return {
        "cp": np.mean(precision),
        "cr": np.mean(recall),
        "op": tp / (tp + fp) if tp + fp else 0,
        "or": tp / (tp + fn),
        "scored": len(scored),
        "silent": sum(k["tp"] + k["fp"] == 0 for k in scored),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_partial_labels_against_counting(seed):
    logits, table = partial(seed)
    thresholds = np.random.default_rng(seed).random(C).round(2)
    thresholds[2] = 1.0  # nothing is that sure
    labels = hard_labels(table)
    found = multilabel_scores(logits, table, thresholds=thresholds)
    expected = by_hand(logits, labels.tolist(), thresholds.tolist())
    decisions = found["decisions"]
    assert {key: decisions[key] for key in expected} == pytest.approx(expected)
    assert decisions["silent"] >= 1 and decisions["scored"] == found["scored"] == 3
    aps, aucs = [], []
    for c, entry in enumerate(found["categories"]):
        known = ~np.isnan(labels[:, c])
        y, z = labels[known, c], logits[known, c]
        assert (entry["positives"], entry["negatives"]) == ((y == 1).sum(), (y == 0).sum())
        if c == 1:
            assert np.isnan([entry[key] for key in ("ap", "auc", "precision", "recall", "f1")]).all()
            continue
        aps.append(average_precision_score(y, z))
        aucs.append(roc_auc_score(y, z))
        assert (entry["ap"], entry["auc"]) == pytest.approx((aps[-1], aucs[-1]))
    assert found["map"] == pytest.approx(np.mean(aps)) and found["mauc"] == pytest.approx(np.mean(aucs))
    weight = [e["positives"] for e in found["categories"] if e["negatives"]]
    assert found["weighted"]["ap"] == pytest.approx(np.average(aps, weights=weight))
    known = ~np.isnan(labels)
    assert found["micro"]["ap"] == pytest.approx(average_precision_score(labels[known], logits[known]))
    assert found["nll"] == pytest.approx(log_loss(labels[known], probabilities(logits)[known]))
    kinds = found["left_out"]
    assert found["samples"] * C == known.sum() + sum(kinds.values()) and all(kinds.values())
    ece = binary_calibration_error(probabilities(logits), labels)
    assert found["ece"] == pytest.approx(np.nanmean(ece)) and found["categories"][0]["ece"] == pytest.approx(ece[0])
    for name, measure, at in (
        ("sensitivity_at_specificity", sensitivity_at_specificity, 0.9),
        ("specificity_at_sensitivity", specificity_at_sensitivity, 0.9),
    ):
        own = measure(logits, labels, at)
        assert found[name] == {"at": at, "mean": pytest.approx(np.nanmean(own))}
        np.testing.assert_array_equal([e[name] for e in found["categories"]], own)


def test_groups_of_categories():
    logits, table = partial(0)
    grouped = dataclasses.replace(table, category_groups={"rare": ("a", "b"), "lonely": ("b",), "rest": ("d", "c")})
    found = multilabel_scores(logits, grouped)
    ap = {entry["name"]: entry["ap"] for entry in found["categories"]}
    rare, lonely, rest = found["groups"]
    assert (rare["name"], rare["scored"], rare["categories"]) == ("rare", 1, 2) and rare["map"] == ap["a"]
    assert lonely["scored"] == 0 and math.isnan(lonely["map"]) and math.isnan(lonely["mauc"])
    assert rest["map"] == pytest.approx((ap["c"] + ap["d"]) / 2) and rest["scored"] == 2
    assert multilabel_scores(logits, table)["groups"] == []


def test_a_probability_at_the_threshold_is_positive():
    labels = np.array([[1.0], [0.0]], dtype=np.float32)
    found = decision_scores(np.array([[0.0], [-1e-7]], dtype=np.float32), labels, 0.5)
    assert found.overall["cp"] == found.overall["cr"] == 1
    nothing = decision_scores(np.array([[-1.0], [-1.0]], dtype=np.float32), labels, 0.5)
    assert (nothing.overall["cp"], nothing.overall["cf1"], nothing.overall["op"]) == (0, 0, 0)
    assert nothing.overall["silent"] == 1 and nothing.f1.tolist() == [0]


@pytest.mark.parametrize("value", [1e4, np.inf])
def test_any_logit(value):
    labels = LabelTable.from_wire([[1, 0], [0, 1]], ("a", "b"))
    right = np.where(labels.values == 1, value, -value).astype(np.float32)
    assert multilabel_scores(right, labels)["nll"] == 0 and multilabel_scores(right, labels)["map"] == 1
    wrong = multilabel_scores(-right, labels)
    assert wrong["nll"] == value and wrong["mauc"] == 0 and wrong["ece"] == 1


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_known(n):
    table = LabelTable.from_wire(np.full((n, 2), NAN), ("a", "b"))
    found = multilabel_scores(np.zeros((n, 2), np.float32), table)
    assert found["scored"] == 0 and found["left_out"]["unknown"] == 2 * n
    for value in (found["map"], found["nll"], found["ece"], *found["micro"].values(), *found["weighted"].values()):
        assert math.isnan(value)
    assert all(math.isnan(found["decisions"][key]) for key in ("cp", "cr", "cf1", "op", "or", "of1", "macro_f1"))


def test_blocks_do_not_matter(monkeypatch):
    logits, table = partial(3)
    whole = multilabel_scores(logits, table)
    monkeypatch.setattr(multilabel, "BLOCK_ELEMENTS", 1)
    parts = multilabel_scores(logits, table)
    for before, after in zip(
        [whole["decisions"], *whole["categories"]], [parts["decisions"], *parts["categories"]], strict=True
    ):
        assert after == {k: v if k == "name" else pytest.approx(v, nan_ok=True) for k, v in before.items()}


def test_bad_input():
    logits, table = complete(0)
    with pytest.raises(DataError, match=r"\(40, 4\) and logits \(40, 3\)"):
        multilabel_scores(logits[:, :3], table)
    with pytest.raises(DataError, match="NaN"):
        multilabel_scores(np.full_like(logits, NAN), table)
    with pytest.raises(DataError, match="do not fit 4 categories"):
        multilabel_scores(logits, table, thresholds=[0.5, 0.5])
    for bad in (1.5, -0.1, NAN):
        with pytest.raises(DataError, match="between 0 and 1"):
            multilabel_scores(logits, table, thresholds=bad)
