"""The gain on labels that chose nothing: against a loop over halves and categories, and what follows from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from labelwise.cft.adoption import HALVINGS, CandidateHeads, SelectRows, adopt_mean, cross_fitted_gain
from labelwise.cft.finetuner import CategoryWiseFineTuner
from labelwise.config import Metric

DIM, CATEGORIES, COLUMNS = 6, 4, 3


def case(rows: int, seed: int) -> tuple[CandidateHeads, torch.Tensor, torch.Tensor, torch.Tensor]:
    """CandidateHeads of which some rank better than the old one, on partly known labels; category 3 has no positive."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, DIM, generator=generator)
    truth = torch.randn(DIM, CATEGORIES, generator=generator)
    labels = (x @ truth + torch.randn(rows, CATEGORIES, generator=generator) > 0).float()
    labels[torch.rand(rows, CATEGORIES, generator=generator) < 0.3] = torch.nan
    labels[:, 3] = torch.where(labels[:, 3] == 1, torch.nan, labels[:, 3])
    weight = truth.T[..., None] + torch.randn(CATEGORIES, DIM, COLUMNS, generator=generator)
    pull = torch.tensor([0.0, 0.0, 1.0]).expand(CATEGORIES, COLUMNS)
    old = x @ (truth + 2 * torch.randn(DIM, CATEGORIES, generator=generator))
    return CandidateHeads(weight, torch.randn(CATEGORIES, COLUMNS, generator=generator), pull), x, labels, old


def by_hand(
    heads: CandidateHeads, x: torch.Tensor, labels: torch.Tensor, old: torch.Tensor, seed: int, objective: str
) -> float:
    """One category, one half, one candidate at a time; scikit-learn scores."""
    score_of = average_precision_score if objective == "ap" else roc_auc_score
    generator = torch.Generator().manual_seed(seed)
    gains: list[list[float]] = []

    def logits(c: int, rows: torch.Tensor) -> list[np.ndarray]:
        new = [
            x[rows] @ heads.weight[c, :, k] + heads.bias[c, k] + heads.pull[c, k] * old[rows, c] for k in range(COLUMNS)
        ]
        return [values.double().numpy() for values in (old[rows, c], *new)]

    for _ in range(HALVINGS):
        halves = torch.randperm(len(x), generator=generator).chunk(2)
        for own, other in (halves, halves[::-1]):
            score = torch.full((CATEGORIES, 1 + COLUMNS), torch.nan, dtype=torch.float64)
            spread = np.ones((CATEGORIES, 1 + COLUMNS))
            for c in range(3):
                rows = own[~torch.isnan(labels[own, c])]
                values = logits(c, rows)
                score[c] = torch.tensor([score_of(labels[rows, c], v) for v in values])
                spread[c] = [v.std() for v in values]
            positives = (labels[own] == 1).sum(0)
            share = adopt_mean(score, positives).share.numpy()
            gain = []
            for c in range(3):
                rows = other[~torch.isnan(labels[other, c])]
                mean = sum(s / d * v for s, d, v in zip(share[c], spread[c], logits(c, rows), strict=True))
                gain.append(score_of(labels[rows, c], mean) - score_of(labels[rows, c], logits(c, rows)[0]))
            gains.append(gain)
        mean_gain = np.mean(gains, axis=0)
        if abs(mean_gain.mean()) > 2 * mean_gain.std(ddof=1) / np.sqrt(3):
            break
    return float(mean_gain.mean())


@pytest.mark.parametrize("objective", ["ap", "auc"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_against_a_loop(objective: Metric, seed: int) -> None:
    heads, x, labels, old = case(101, seed)
    found = cross_fitted_gain(heads, SelectRows(x, labels, old, torch.arange(3), objective, 10**6), seed)
    assert found == pytest.approx(by_hand(heads, x, labels, old, seed, objective), abs=1e-5)


def test_what_cannot_be_told_is_none() -> None:
    heads, x, labels, old = case(40, 0)
    labels[:, :3] = torch.nan
    labels[0, :3], labels[1, :3] = 1.0, 0.0  # never both kinds in both halves
    assert cross_fitted_gain(heads, SelectRows(x, labels, old, torch.arange(3), "ap", 10**6), 0) is None
    one = SelectRows(x, labels, old, torch.arange(3), "ap", 10**6).take(torch.tensor([0]))
    assert cross_fitted_gain(heads, one, 0) is None


def data(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels of many categories, and the heads that made them."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(1).normal(size=(12, 30))
    z = rng.normal(size=(rows, 30)).astype(np.float32)
    return z, (z @ truth.T + 4 * rng.logistic(size=(rows, 12)) > 0).astype(np.float32), truth.astype(np.float32)


def test_heads_that_are_as_good_as_can_be_all_stay() -> None:
    z, labels, truth = data(120, 0)
    z_select, labels_select, _ = data(150, 2)
    tuner = CategoryWiseFineTuner().fit(
        z, labels, head_weight=truth, head_bias=np.zeros(12), select=(z_select, labels_select)
    )
    assert tuner.expected_gain_ is not None and tuner.expected_gain_ <= 0
    assert np.array_equal(tuner.weight_, truth)
    assert {report.status for report in tuner.report_} == {"unchanged"}
    assert {report.reason for report in tuner.report_} == {"the gain does not hold on other labels"}
    assert any(f"{100 * tuner.expected_gain_:+.2f} points of AP" in line for line in tuner.warnings_)


def test_heads_that_know_nothing_are_replaced() -> None:
    z, labels, truth = data(600, 0)
    z_select, labels_select, _ = data(150, 2)
    wrong = np.random.default_rng(5).normal(size=truth.shape).astype(np.float32)
    tuner = CategoryWiseFineTuner().fit(
        z, labels, head_weight=wrong, head_bias=np.zeros(12), select=(z_select, labels_select)
    )
    gain = np.mean([report.after - report.before for report in tuner.report_])
    assert tuner.expected_gain_ == pytest.approx(gain, abs=0.1) and gain > 0.1
    assert not any("stay" in line for line in tuner.warnings_)
