"""A grid of convex problems per category, and the head that each category adopts from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from labelwise.cft.adoption import Adoption, adopt_best, adopt_mean, keep_old
from labelwise.cft.candidate_heads import Heads, Objective, score_heads
from labelwise.cft.crossfit import cross_fitted_gain
from labelwise.cft.solvers.blocks import blocks
from labelwise.cft.solvers.coordinates import Coordinates, principal_coordinates
from labelwise.cft.solvers.inputs import Problem, linear_logits
from labelwise.cft.solvers.logistic import Candidate, fit_logistic, grid

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
    expected_gain : of the rule ``mean``, what :func:`labelwise.cft.crossfit.cross_fitted_gain` says of it; all old
        heads stay unless it is above 0. None: nobody asked, or it cannot be told
    """

    weight: Tensor
    bias: Tensor
    score: Tensor
    adoption: Adoption
    names: tuple[str, ...]
    expected_gain: float | None = None


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
    heads = _fit(problem, candidates, coordinates, categories, budget, step)
    select_x = coordinates.transform(problem.select.features)
    old = linear_logits(problem.select.features, problem.weight, problem.bias)
    score, deviation = score_heads(heads, select_x, problem.select.labels, old, categories, objective, budget)
    names = ("old head", *map(str, candidates))
    if rule == "best":
        adoption, expected = adopt_best(score), None
    else:
        adoption = adopt_mean(score, problem.select.positives)
        expected = cross_fitted_gain(
            heads, select_x, problem.select.labels, old, categories, objective, budget=budget, seed=problem.seed
        )
        if expected is not None and expected <= 0:
            adoption = keep_old(adoption)
    mixed = heads.mix(adoption.share, deviation)
    weight, bias = coordinates.to_features(mixed.weight[..., 0], mixed.bias[:, 0])
    weight += mixed.pull * problem.weight
    bias += mixed.pull[:, 0] * problem.bias
    return Found(weight, bias, score, adoption, names, expected)


def _fit(
    problem: Problem,
    candidates: Sequence[Candidate],
    coordinates: Coordinates,
    categories: Tensor,
    budget: int,
    step: Step,
) -> Heads:
    """Every candidate of ``categories``; zeros for the others."""
    total, columns = len(problem.bias), len(candidates)
    x = coordinates.transform(problem.fit.features)
    pull = torch.tensor([candidate.pull for candidate in candidates], device=problem.device)
    old = linear_logits(problem.fit.features, problem.weight, problem.bias) if bool(pull.any()) else None
    weight = torch.zeros(total, coordinates.rank, columns, device=problem.device)
    bias = torch.zeros(total, columns, device=problem.device)
    done = 0
    for block in blocks(x, problem.fit.labels, problem.fit.weight, categories, columns, budget):
        known_old = None if old is None else block.take(old)
        found = fit_logistic(block, candidates, coordinates, known_old, max_steps=STEPS)
        weight[block.categories], bias[block.categories] = found.weight, found.bias
        done += len(block.categories)
        step(done, len(categories))
    return Heads(weight, bias, pull.expand(total, columns))
