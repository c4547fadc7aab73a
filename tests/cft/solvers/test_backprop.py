"""All categories at once do what torch's Adam does to one after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from helpers.cft_problems import known_rows, make_problem, plain_loop, with_fit
from labelwise.cft.solvers.backprop import fit_backprop
from labelwise.cft.solvers.inputs import Problem
from labelwise.errors import ConfigError

FAST = {"learning_rate": 0.03, "steps": 70, "patience": 12}


def reference_loss(name: str, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The summed loss as the formula has it, in probabilities."""
    if name == "bce":
        return functional.binary_cross_entropy_with_logits(x, y, weight=weight, reduction="sum")
    p = torch.sigmoid(x)
    q = (1 - p + 0.05).clamp(max=1)
    focus = ((1 - q) ** 4).detach()
    return -(weight * (y * p.log() + (1 - y) * focus * q.log())).sum()


def adam(problem: Problem, category: int, loss: str) -> Iterator[NDArray[Any]]:
    """Heads (D + 1,) after each step of torch's Adam on one category."""
    x, y = known_rows(problem.fit, category)
    weight = torch.ones_like(y)
    if problem.fit.weight is not None:
        weight = problem.fit.weight[~torch.isnan(problem.fit.labels[:, category]), category]
    head = nn.Linear(x.shape[1], 1)
    with torch.no_grad():
        head.weight.copy_(problem.weight[category][None])
        head.bias.copy_(problem.bias[category][None])
    optimizer = torch.optim.Adam(head.parameters(), lr=FAST["learning_rate"])
    while True:
        optimizer.zero_grad()
        reference_loss(loss, head(x)[:, 0], y, weight).backward()
        optimizer.step()
        yield torch.cat([head.weight[0], head.bias]).detach().numpy().copy()


def check_against_loop(problem: Problem, objective: str, loss: str, **options: Any) -> None:
    found = fit_backprop(problem, objective, loss=loss, **FAST, **options)
    for c in range(len(problem.bias)):
        best, best_step, steps, value = plain_loop(
            problem, c, objective, adam(problem, c, loss), FAST["steps"], FAST["patience"]
        )
        assert (int(found.best_step[c]), int(found.steps[c])) == (best_step, steps)
        assert found.score_after[c].item() == pytest.approx(value, abs=1e-9)
        np.testing.assert_allclose(np.append(found.weight[c], found.bias[c]), best, rtol=1e-4, atol=1e-5)
    assert (found.best_step >= 0).any() and len(set(found.steps.tolist())) > 1
    assert torch.isnan(found.fit_before).all()


@pytest.mark.parametrize("objective", ["ap", "auc"])
@pytest.mark.parametrize("loss", ["bce", "asl"])
def test_like_torch_adam_one_category_after_another(objective, loss):
    check_against_loop(make_problem(1, known=0.3), objective, loss)  # packed rows


@pytest.mark.parametrize("case", ["shared rows", "own features", "small budget", "weights"])
def test_in_every_layout(case):
    problem = make_problem(2, own=case == "own features", known=0.9 if case == "shared rows" else 0.3)
    if case == "weights":
        problem = with_fit(
            problem, weight=torch.linspace(0.1, 2, problem.fit.labels.numel()).view_as(problem.fit.labels)
        )
    check_against_loop(problem, "ap", "bce", **({"budget": 400} if case == "small budget" else {}))


def test_soft_labels_are_learnt_from():
    problem = make_problem(3)
    soft = problem.fit.labels * 0.8 + 0.1
    check_against_loop(with_fit(problem, labels=soft), "ap", "bce")


def test_a_category_that_cannot_be_fitted_keeps_its_head_and_select_never_falls():
    problem = make_problem(4, gap=True)
    found = fit_backprop(problem, "auc", **FAST)
    assert torch.equal(found.weight[1], problem.weight[1]) and found.bias[1] == problem.bias[1]
    assert (int(found.best_step[1]), int(found.steps[1])) == (-1, 0)
    assert torch.isnan(found.score_before[1]) and torch.isnan(found.score_after[1])
    others = [0, 2, 3]
    assert (found.score_after[others] >= found.score_before[others]).all()
    assert (found.score_after[others] > found.score_before[others]).any()
    same = found.best_step == -1
    assert torch.equal(found.weight[same], problem.weight[same])


def test_nothing_to_fit_at_all():
    problem = make_problem(5)
    found = fit_backprop(with_fit(problem, labels=torch.full_like(problem.fit.labels, torch.nan)), "ap", **FAST)
    assert torch.equal(found.weight, problem.weight) and torch.equal(found.bias, problem.bias)
    assert found.steps.tolist() == [0] * 4


@pytest.mark.parametrize("loss", ["bce", "asl"])
def test_huge_logits_stay_finite(loss):
    problem = make_problem(6)
    found = fit_backprop(dataclasses.replace(problem, weight=problem.weight * 1e4), "ap", loss=loss, **FAST)
    assert torch.isfinite(found.weight).all() and torch.isfinite(found.bias).all()


def test_steps_are_checked():
    with pytest.raises(ConfigError, match="patience 0"):
        fit_backprop(make_problem(), "ap", patience=0)
