"""Heads judged by labels they have not seen: against loops over folds, categories and candidates."""

from __future__ import annotations

from dataclasses import replace
from math import erf

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from labelwise.cft.adoption import adopt_mean, calibrated_loss, trust_in_new
from labelwise.cft.finetuner import CategoryWiseFineTuner
from labelwise.cft.solvers import cross_fitting
from labelwise.cft.solvers.coordinates import principal_coordinates
from labelwise.cft.solvers.cross_fitting import FOLDS, cross_fitted_search
from labelwise.cft.solvers.inputs import SolverInput, Split
from labelwise.cft.solvers.logistic import STEPS, Problem, fit_candidates, make_grid
from labelwise.config import Metric

GRID = make_grid((1.0, 64.0), balance=(0.0, 1.0))


def given(known: float, *, own: bool = False, rows: int = 90, objective: Metric = "ap") -> SolverInput:
    """Three categories that can be fitted and one without a positive."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(5, 4))

    def split() -> Split:
        z = rng.normal(size=(rows, 4, 5) if own else (rows, 5)).astype(np.float32)
        logit = np.einsum("ncd,dc->nc", z, truth) if own else z @ truth
        labels = np.where(rng.random(logit.shape) < known, logit + rng.logistic(size=logit.shape) > 0, np.nan)
        labels[:, 3] = np.where(labels[:, 3] == 1, np.nan, labels[:, 3])
        return Split(z, torch.from_numpy(labels.astype(np.float32)))

    weight = torch.from_numpy((truth.T + 3 * rng.normal(size=(4, 5))).astype(np.float32))
    return SolverInput(split(), split(), weight, torch.zeros(4), 0, objective)


@pytest.mark.parametrize("known", [0.2, 0.9], ids=["gathered", "shared rows"])
@pytest.mark.parametrize("own", [False, True], ids=["shared features", "features of each category"])
@pytest.mark.parametrize("objective", ["ap", "auc"])
def test_unseen_scores_against_a_loop(known: float, own: bool, objective: Metric) -> None:
    """Labels of a fold are taken away by hand, all categories are fitted again, and scikit-learn scores."""
    inputs = given(known, own=own, objective=objective)
    coordinates = principal_coordinates(inputs.fit.features, 512, seed=0)
    problem = Problem.of(inputs, GRID)
    fold_of_fit, fold_of_select = torch.arange(90) % 3, torch.arange(90) % FOLDS
    scores, positives = cross_fitting._unseen_scores(problem, fold_of_fit, fold_of_select)
    x, at = (coordinates.transform(split.features) for split in (inputs.fit, inputs.select))
    product = "ncr,crl->ncl" if own else "nr,crl->ncl"
    unseen = torch.zeros(90, 4, len(GRID))
    for fold in range(3):
        held = fold_of_fit == fold
        labels = inputs.fit.labels.clone()
        labels[held] = torch.nan
        heads = fit_candidates(
            replace(inputs, fit=Split(inputs.fit.features, labels)), GRID, coordinates, torch.arange(3), STEPS
        )
        unseen[held] = (torch.einsum(product, x, heads.weight) + heads.bias)[held]
    heads = fit_candidates(inputs, GRID, coordinates, torch.arange(3), STEPS)
    chosen = torch.einsum(product, at, heads.weight) + heads.bias
    score_of = average_precision_score if objective == "ap" else roc_auc_score
    for left_out in range(-1, FOLDS):
        kept = fold_of_select != left_out
        for c in range(3):
            own_fit, own_select = (~torch.isnan(split.labels[:, c]) for split in (inputs.fit, inputs.select))
            own_select &= kept
            label = torch.cat([inputs.fit.labels[own_fit, c], inputs.select.labels[own_select, c]])
            answer = torch.cat([unseen[own_fit, c], chosen[own_select, c]])
            place = int(own_fit.sum())
            for kind, start in ((0, 0), (1, place)):
                expected = [score_of(label[start:], column[start:]) for column in answer.T.double()]
                np.testing.assert_allclose(scores[kind, 1 + left_out, c], expected, atol=2e-3)
                assert int(positives[kind, 1 + left_out, c]) == int(label[start:].sum())
    assert bool(torch.isnan(scores[:, :, 3]).all())


def test_shares_rest_on_all_labels_and_on_those_of_select() -> None:
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(2, 6, 4, generator=generator, dtype=torch.float64)
    positives = torch.randint(1, 50, (2, 6), generator=generator)
    found = cross_fitting._adopt_both(score, positives).share
    np.testing.assert_allclose(
        found, (adopt_mean(score[0], positives[0]).share + adopt_mean(score[1], positives[1]).share) / 2
    )


def test_a_pull_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be cross-fitted"):
        cross_fitted_search(given(0.9), make_grid((1.0,), pull=(1.0,)), 2)


def answers(rows: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of a worse and a better head, and partly known labels; the last category has one kind alone."""
    generator = torch.Generator().manual_seed(2)
    truth = 2 * torch.randn(rows, 6, generator=generator)
    labels = (torch.rand(truth.shape, generator=generator) < torch.sigmoid(truth)).float()
    labels[torch.rand(truth.shape, generator=generator) < 0.4] = torch.nan
    labels[:, 5] = torch.where(labels[:, 5] == 1, torch.nan, labels[:, 5])
    better, worse = (truth + level * torch.randn(truth.shape, generator=generator) for level in (2.2, 2.5))
    return worse, better, labels


def test_loss_after_scale_and_bias() -> None:
    """The priors outweigh a label or two, so nearly the fit without them."""
    logits, _, labels = answers(3000)
    found = calibrated_loss(50 * logits[:, :5] - 7, labels[:, :5])
    for c in range(5):
        known = ~torch.isnan(labels[:, c])
        z, y = logits[known, c : c + 1].numpy(), labels[known, c].numpy()
        plain = LogisticRegression(C=np.inf).fit(z, y)
        assert float(found[c]) == pytest.approx(log_loss(y, plain.predict_proba(z)[:, 1]), abs=1e-3)


def test_trust_is_the_normal_probability_of_both_gains() -> None:
    old, new, labels = answers()
    gains: list[list[float]] = [[], []]
    for c in range(5):
        known = ~torch.isnan(labels[:, c])
        y = labels[known, c]
        before, after = (average_precision_score(y, logits[known, c]) for logits in (old, new))
        gains[0].append(after - before)
        before, after = (float(calibrated_loss(logits[:, c : c + 1], labels[:, c : c + 1])) for logits in (old, new))
        gains[1].append(before - after)
    statistic = np.mean([np.mean(gain) / (np.std(gain, ddof=1) / np.sqrt(5)) for gain in gains])
    found = trust_in_new(old, new, labels, "ap")
    assert found == pytest.approx(0.5 * (1 + erf(statistic / np.sqrt(2))), abs=1e-4) and found > 0.6
    assert trust_in_new(new, old, labels, "ap") == pytest.approx(1 - found, abs=1e-4)
    assert trust_in_new(3 * old + 1, old, labels, "auc") == pytest.approx(0.5, abs=0.05)
    assert trust_in_new(old, new, torch.full_like(labels, torch.nan), "ap") == 0.5
    assert trust_in_new(old[:, :1], new[:, :1], labels[:, :1], "ap") == 0.5


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
    assert tuner.trust_ == 0
    assert np.array_equal(tuner.weight_, truth)
    assert {report.status for report in tuner.report_} == {"unchanged"}
    assert {report.reason for report in tuner.report_} == {"a gain on other labels is unlikely"}
    assert any(f"{100 * tuner.expected_gain_:+.2f} points of AP" in line for line in tuner.warnings_)


def test_heads_that_know_nothing_are_replaced() -> None:
    z, labels, truth = data(600, 0)
    z_select, labels_select, _ = data(150, 2)
    wrong = np.random.default_rng(5).normal(size=truth.shape).astype(np.float32)
    tuner = CategoryWiseFineTuner().fit(
        z, labels, head_weight=wrong, head_bias=np.zeros(12), select=(z_select, labels_select)
    )
    assert tuner.trust_ is not None and tuner.trust_ > 0.99
    gain = np.mean([report.after - report.before for report in tuner.report_])
    assert tuner.expected_gain_ == pytest.approx(gain, abs=0.1) and gain > 0.1
    assert not any("stay" in line for line in tuner.warnings_)
