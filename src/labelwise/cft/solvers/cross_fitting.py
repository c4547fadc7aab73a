"""Candidates of a grid judged by labels that they were not fitted on. Start at `cross_fitted_search`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from labelwise.cft.adoption import (
    SMALLEST_TRUST,
    Adoption,
    adopt_mean,
    objective_of,
    share_with_old,
    trust_in_new,
)
from labelwise.cft.solvers.coordinates import Coordinates
from labelwise.cft.solvers.inputs import Block, SolverInput, Split, block_of, blocks
from labelwise.cft.solvers.logistic import STEPS, GridResult, Hyperparameters, Problem, fit_logistic
from labelwise.metrics.ranking import ranking

FOLDS = 5
"""Parts of the known labels of ``fit``, each answered by heads that were fitted without it; and of ``select``."""

FAST_FOLDS = 2
"""Parts of ``fit`` with the preset ``fast``."""


def cross_fitted_search(inputs: SolverInput, grid: Sequence[Hyperparameters], folds: int) -> GridResult:
    """Solve every point of the grid on ``fit``, and average heads by their answers to labels they have not seen.

    Candidates are scored on the labels of ``select`` and those of ``fit``, the latter by heads that were fitted without
    them. To compare the new heads with the old ones, each part of ``select`` is answered by a mean that was chosen
    without it.

    Parameters
    ----------
    grid : without a pull
    folds : parts of ``fit``; of ``select`` there are `FOLDS`
    """
    if any(point.pull for point in grid):
        raise ValueError("a head that has seen the labels of all folds cannot be cross-fitted")
    problem = Problem.of(inputs, grid)
    heads, select = problem.heads, problem.select
    reported, deviation = select.score(heads)
    generator = torch.Generator().manual_seed(inputs.seed)
    fold_of_fit, fold_of_select = (
        folds_of(split, count, generator).to(inputs.device)
        for split, count in ((inputs.fit, folds), (inputs.select, FOLDS))
    )
    scores, positives = _unseen_scores(problem, fold_of_fit, fold_of_select)
    answers = select.old_logits.clone()
    for fold in range(FOLDS):
        rows = (fold_of_select == fold).nonzero()[:, 0]
        share = _adopt_both(scores[:, 1 + fold], positives[:, 1 + fold]).share
        answers[rows] = select.standardised(heads.mix(share, deviation))[rows]
    own = problem.categories
    old, new, labels = (values[:, own] for values in (select.old_logits, answers, select.labels))
    trust = trust_in_new(old, new, labels, inputs.objective)
    trust = trust if trust >= SMALLEST_TRUST else 0.0
    before, after = (objective_of(logits, labels, inputs.objective) for logits in (old, new))
    found = problem.result(share_with_old(_adopt_both(scores[:, 0], positives[:, 0]), trust), reported, deviation)
    return replace(found, expected_gain=float((after - before).mean()) if len(own) else None, trust=trust)


def folds_of(split: Split, folds: int, generator: torch.Generator) -> Tensor:
    """(N,) the part of each row; parts are drawn at random, of equally many whole groups."""
    group = np.arange(len(split)) if split.groups is None else np.unique(split.groups, return_inverse=True)[1]
    part = torch.randperm(int(group.max()) + 1, generator=generator) % folds
    return part[torch.from_numpy(group)]


def _adopt_both(score: Tensor, positives: Tensor) -> Adoption:
    """The mean of what all labels say and what ``select`` alone says, whose features no network was trained on.

    Parameters
    ----------
    score, positives : (2, C, L) and (2, C)
    """
    both = [adopt_mean(*evidence) for evidence in zip(score, positives, strict=True)]
    return Adoption(*((getattr(both[0], name) + getattr(both[1], name)) / 2 for name in ("share", "gain")))


def _unseen_scores(problem: Problem, fold_of_fit: Tensor, fold_of_select: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of all candidates on labels they were not fitted on.

    Returns
    -------
    (2, 1 + FOLDS, C, L) float64 and (2, 1 + FOLDS, C): objective and number of positives, on the labels of ``fit``
    (each answered by heads fitted without it) and ``select`` together, and on those of ``select`` alone; first with all
    of ``select``, then without each of its parts; NaN for other categories
    """
    inputs, select = problem.inputs, problem.select
    shape = 2, 1 + FOLDS, len(inputs.bias)
    scores = torch.full((*shape, len(problem.grid)), torch.nan, dtype=torch.float64, device=inputs.device)
    positives = torch.zeros(shape, dtype=torch.int64, device=inputs.device)
    x = problem.coordinates.transform(inputs.fit.features)
    known = [int((split.positives + split.negatives).max()) for split in (inputs.fit, inputs.select)]
    budget = inputs.budget * known[0] // max(1, sum(known))
    for block in blocks(x, inputs.fit.labels, inputs.fit.weight, problem.categories, len(problem.grid), budget):
        own = block.categories
        part = block_of(select.x, select.labels, own)
        chosen = part.product(problem.heads.weight[own]) + problem.heads.bias[own][:, None]
        unseen = cross_fit(block, problem.grid, problem.coordinates, _of_entries(block, fold_of_fit))
        logits = torch.cat([unseen, chosen], dim=1).transpose(1, 2)
        label = (torch.cat([block.label, part.label], dim=1) >= 0.5).float()
        weight = torch.cat([block.weight, part.weight], dim=1) > 0
        in_select = torch.cat([torch.zeros_like(block.label), torch.ones_like(part.label)], dim=1) > 0
        fold = torch.cat([torch.full_like(block.label, FOLDS), _of_entries(part, fold_of_select)], dim=1)
        for kind, left_out in itertools.product(range(2), range(-1, FOLDS)):
            counted = weight & (fold != left_out) & (in_select | (kind == 0))
            found = ranking(logits, label[:, None], known=counted[:, None])
            scores[kind, 1 + left_out, own] = found.of(inputs.objective)
            positives[kind, 1 + left_out, own] = found.positives[:, 0]
    return scores, positives


def _of_entries(block: Block, values: Tensor) -> Tensor:
    """(c, n) of one value per row (N,)."""
    return values.expand(len(block.categories), -1) if block.rows is None else values[block.rows]


def cross_fit(block: Block, grid: Sequence[Hyperparameters], coordinates: Coordinates, fold: Tensor) -> Tensor:
    """Logits (c, n, L) of the rows of a block, each by heads that were fitted without the labels of its fold.

    Parameters
    ----------
    fold : (c, n)
    """
    out = torch.zeros(*block.label.shape, len(grid), device=block.label.device)
    for part in fold.unique().tolist():
        held_out = fold == part
        seen = replace(block, weight=torch.where(held_out, 0.0, block.weight))
        found = fit_logistic(seen, grid, coordinates, max_steps=STEPS)
        out = torch.where(held_out[..., None], block.product(found.weight) + found.bias[:, None], out)
    return out
