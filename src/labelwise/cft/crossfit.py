"""Is adopting new heads worth it at all? Answered on labels that had no part in choosing them.

Shares found on a random half of ``select`` make a head that is scored on the other half, and the reverse. The mean gain
over all categories is an honest and slightly pessimistic estimate: half of the labels choose worse than all of them.
Where a network's head is as good as the known labels can make it, new heads look better on the labels that chose them
and are a little worse on others; this is what tells the two cases apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from labelwise.cft.adoption import adopt_mean
from labelwise.cft.candidate_heads import Heads, Objective, score_heads
from labelwise.cft.solvers.blocks import count_rows

SPLITS = 5
"""Random halvings, at most."""

CLEAR = 2.0
"""Standard errors, over the categories, between the mean gain and 0 from which no further halving is asked."""


def cross_fitted_gain(
    heads: Heads,
    x: Tensor,
    labels: Tensor,
    old: Tensor,
    categories: Tensor,
    objective: Objective,
    *,
    budget: int,
    seed: int,
) -> float | None:
    """Mean gain over the old heads of what :func:`labelwise.cft.adoption.adopt_mean` makes of ``heads``.

    Parameters
    ----------
    x, labels, old, categories, budget : of ``select``, as in :func:`labelwise.cft.candidate_heads.score_heads`
    seed : draws the halves

    Returns
    -------
    in units of the objective; None where no category has both kinds of label in both halves
    """
    generator = torch.Generator().manual_seed(seed)
    gains: list[Tensor] = []
    mean: float | None = None
    for _ in range(SPLITS if len(x) > 1 else 0):
        halves = [half.to(x.device) for half in torch.randperm(len(x), generator=generator).chunk(2)]
        parts = [(x[half], labels[half], old[half]) for half in halves]
        found = [score_heads(heads, *part, categories, objective, budget) for part in parts]
        for (score, deviation), (_, own, _), other in zip(found, parts, reversed(parts), strict=True):
            if torch.isnan(score).all():
                continue
            positives = count_rows(own, lambda part: part >= 0.5)
            mixed = heads.mix(adopt_mean(score, positives).share, deviation)
            judged, _ = score_heads(mixed, *other, categories, objective, budget)
            gains.append(judged[:, 1] - judged[:, 0])
        if not gains:
            continue
        of_category = torch.stack(gains).nanmean(0)
        of_category = of_category[~torch.isnan(of_category)]
        if len(of_category):
            mean = float(of_category.mean())
        if len(of_category) > 1 and abs(mean or 0.0) > CLEAR * float(of_category.std()) / len(of_category) ** 0.5:
            break
    return mean
