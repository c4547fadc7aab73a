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

from helpers.solver_inputs import known_rows, make_inputs, plain_loop, with_fit
from labelwise.cft.solvers.backprop import fit_backprop
from labelwise.cft.solvers.inputs import SolverInput
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


def adam(inputs: SolverInput, category: int, loss: str) -> Iterator[NDArray[Any]]:
    """Heads (D + 1,) after each step of torch's Adam on one category."""
    x, y = known_rows(inputs.fit, category)
    weight = torch.ones_like(y)
    if inputs.fit.weight is not None:
        weight = inputs.fit.weight[~torch.isnan(inputs.fit.labels[:, category]), category]
    head = nn.Linear(x.shape[1], 1)
    with torch.no_grad():
        head.weight.copy_(inputs.weight[category][None])
        head.bias.copy_(inputs.bias[category][None])
    optimizer = torch.optim.Adam(head.parameters(), lr=FAST["learning_rate"])
    while True:
        optimizer.zero_grad()
        reference_loss(loss, head(x)[:, 0], y, weight).backward()
        optimizer.step()
        yield torch.cat([head.weight[0], head.bias]).detach().numpy().copy()


def check_against_loop(inputs: SolverInput, objective: str, loss: str) -> None:
    found = fit_backprop(dataclasses.replace(inputs, objective=objective), loss=loss, **FAST)
    for c in range(len(inputs.bias)):
        best, best_step, steps, value = plain_loop(
            inputs, c, objective, adam(inputs, c, loss), FAST["steps"], FAST["patience"]
        )
        assert (int(found.best_step[c]), int(found.steps[c])) == (best_step, steps)
        assert found.score_after[c].item() == pytest.approx(value, abs=1e-9)
        np.testing.assert_allclose(np.append(found.weight[c], found.bias[c]), best, rtol=1e-4, atol=1e-5)
    assert (found.best_step >= 0).any() and len(set(found.steps.tolist())) > 1
    assert torch.isnan(found.fit_before).all()


@pytest.mark.parametrize("objective", ["ap", "auc"])
@pytest.mark.parametrize("loss", ["bce", "asl"])
def test_like_torch_adam_one_category_after_another(objective, loss):
    check_against_loop(make_inputs(1, known=0.3), objective, loss)  # packed rows


@pytest.mark.parametrize("case", ["shared rows", "own features", "small budget", "weights"])
def test_in_every_layout(case):
    inputs = make_inputs(2, own=case == "own features", known=0.9 if case == "shared rows" else 0.3)
    if case == "weights":
        inputs = with_fit(inputs, weight=torch.linspace(0.1, 2, inputs.fit.labels.numel()).view_as(inputs.fit.labels))
    if case == "small budget":
        inputs = dataclasses.replace(inputs, budget=400)
    check_against_loop(inputs, "ap", "bce")


def test_soft_labels_are_learnt_from():
    inputs = make_inputs(3)
    soft = inputs.fit.labels * 0.8 + 0.1
    check_against_loop(with_fit(inputs, labels=soft), "ap", "bce")


def test_a_category_that_cannot_be_fitted_keeps_its_head_and_select_never_falls():
    inputs = make_inputs(4, gap=True)
    found = fit_backprop(dataclasses.replace(inputs, objective="auc"), **FAST)
    assert torch.equal(found.weight[1], inputs.weight[1]) and found.bias[1] == inputs.bias[1]
    assert (int(found.best_step[1]), int(found.steps[1])) == (-1, 0)
    assert torch.isnan(found.score_before[1]) and torch.isnan(found.score_after[1])
    others = [0, 2, 3]
    assert (found.score_after[others] >= found.score_before[others]).all()
    assert (found.score_after[others] > found.score_before[others]).any()
    same = found.best_step == -1
    assert torch.equal(found.weight[same], inputs.weight[same])


def test_nothing_to_fit_at_all():
    inputs = make_inputs(5)
    found = fit_backprop(with_fit(inputs, labels=torch.full_like(inputs.fit.labels, torch.nan)), **FAST)
    assert torch.equal(found.weight, inputs.weight) and torch.equal(found.bias, inputs.bias)
    assert found.steps.tolist() == [0] * 4


@pytest.mark.parametrize("loss", ["bce", "asl"])
def test_huge_logits_stay_finite(loss):
    inputs = make_inputs(6)
    found = fit_backprop(dataclasses.replace(inputs, weight=inputs.weight * 1e4), loss=loss, **FAST)
    assert torch.isfinite(found.weight).all() and torch.isfinite(found.bias).all()


def test_steps_are_checked():
    with pytest.raises(ConfigError, match="patience 0"):
        fit_backprop(make_inputs(), patience=0)
