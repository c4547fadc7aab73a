"""A grid of convex problems per category, and the head that each category adopts from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from labelwise.cft.coordinates import Coordinates, principal_coordinates
from labelwise.cft.known import SMALLEST, blocks, known_deviation
from labelwise.cft.logistic import Candidate, fit_logistic, grid
from labelwise.cft.problem import Problem, linear_logits
from labelwise.cft.select import Adoption, adopt_best, adopt_mean
from labelwise.metrics.ranking import ranking

Objective = Literal["ap", "auc"]

_VARIANCES = (0.25, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
THOROUGH = (
    *grid(_VARIANCES, spectrum=(-0.25, 0.0, 0.5, 1.0), balance=(0.0, 1.0)),
    *grid(_VARIANCES, pull=(1.0,)),
)
"""Candidates of ``auto`` and ``logistic``."""

FAST = grid((4.0, 16.0, 64.0, 256.0), spectrum=(-0.25, 0.25), balance=(0.0, 1.0), rank=(256,))
"""Candidates of the preset ``fast``."""

STEPS = 15
"""Solver steps. 60 change the test mAP of ``auto`` by less than 0.1 points from 30% known labels on, and cost it 0.8 at
10%, where stopping early is a prior of its own (docs/decisions.md, entry 18)."""

Step = Callable[[int, int], None]
"""Told how many categories of how many are done."""


@dataclass(frozen=True)
class Found:
    """A head per category, and why.

    Attributes
    ----------
    weight, bias : (C, D), (C,); the logit's scale is that of the candidates it was made of
    score : (C, 1 + L) objective on ``select`` of the old head and of every candidate
    adoption : shares of the same columns
    names : 1 + L
    """

    weight: Tensor
    bias: Tensor
    score: Tensor
    adoption: Adoption
    names: tuple[str, ...]


def search(
    problem: Problem,
    candidates: Sequence[Candidate],
    objective: Objective,
    rule: Literal["mean", "best"],
    *,
    budget: int,
    step: Step = lambda done, total: None,
) -> Found:
    """Solve every candidate for every category on ``fit``, score them on ``select``, adopt.

    Parameters
    ----------
    budget : float32 values that the working arrays of a block may hold
    """
    categories = problem.fittable().nonzero()[:, 0]
    rank = max(candidate.rank for candidate in candidates)
    coordinates = principal_coordinates(problem.fit.features, rank, seed=problem.seed, device=problem.device)
    fit_x = coordinates.transform(problem.fit.features)
    select_x = coordinates.transform(problem.select.features)
    pulled = any(candidate.pull for candidate in candidates)
    old_fit = linear_logits(problem.fit.features, problem.weight, problem.bias) if pulled else None
    old_select = linear_logits(problem.select.features, problem.weight, problem.bias)
    pull = torch.tensor([candidate.pull for candidate in candidates], device=problem.device)

    total, columns = len(problem.bias), len(candidates)
    weight = torch.zeros(total, coordinates.rank, columns, device=problem.device)
    bias = torch.zeros(total, columns, device=problem.device)
    deviation = torch.ones(total, 1 + columns, device=problem.device)
    score = torch.full((total, 1 + columns), float("nan"), dtype=torch.float64, device=problem.device)
    done = 0
    for block in blocks(fit_x, problem.fit.labels, problem.fit.weight, categories, columns, budget):
        chosen = block.categories
        known_old = None if old_fit is None else block.take(old_fit)
        heads = fit_logistic(block, candidates, coordinates, known_old, max_steps=STEPS)
        weight[chosen], bias[chosen] = heads.weight, heads.bias
        for part in blocks(select_x, problem.select.labels, None, chosen, columns, budget):
            own = part.categories
            old = part.take(old_select)[..., None]
            logits = part.product(weight[own]) + bias[own][:, None] + old * pull
            logits = torch.cat([old, logits], dim=2).transpose(1, 2)
            known = part.weight[:, None] > 0
            score[own] = ranking(logits, part.label[:, None], known=known).of(objective)
            spread = known_deviation(logits, part.weight[:, None])
            # A constant logit ranks nothing; divided by next to nothing it would drown the digits of all others.
            deviation[own] = torch.where(spread > SMALLEST, spread, 1.0)
        done += len(chosen)
        step(done, len(categories))
    adoption = adopt_mean(score, problem.select.positives) if rule == "mean" else adopt_best(score)
    names = ("old head", *map(str, candidates))
    return _combine(problem, coordinates, weight, bias, pull, deviation, score, adoption, names)


def _combine(
    problem: Problem,
    coordinates: Coordinates,
    weight: Tensor,
    bias: Tensor,
    pull: Tensor,
    deviation: Tensor,
    score: Tensor,
    adoption: Adoption,
    names: tuple[str, ...],
) -> Found:
    """The adopted mean of standardised heads, brought back to the mean of their scales, as heads on features."""
    share = adoption.share.float()
    standard = share / deviation
    scale = (share * deviation).sum(1, keepdim=True)
    part = standard * scale  # (C, 1 + L) factors of the heads as they were fitted
    mixed_weight = torch.einsum("crl,cl->cr", weight, part[:, 1:])
    mixed_bias = (bias * part[:, 1:]).sum(1)
    on_features, feature_bias = coordinates.to_features(mixed_weight, mixed_bias)
    old = part[:, 0] + (part[:, 1:] * pull).sum(1)
    return Found(on_features + old[:, None] * problem.weight, feature_bias + old * problem.bias, score, adoption, names)
