"""Several linear heads per category on the coordinates of the features: their scores, and their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from labelwise.cft.solvers.blocks import SMALLEST, blocks, known_deviation
from labelwise.metrics.ranking import ranking

Objective = Literal["ap", "auc"]


@dataclass(frozen=True)
class Heads:
    """L heads of each of C categories: logit = x . weight + bias + pull * old logit.

    Attributes
    ----------
    weight : (C, R, L) float32
    bias, pull : (C, L) float32
    """

    weight: Tensor
    bias: Tensor
    pull: Tensor

    def mix(self, share: Tensor, deviation: Tensor) -> Heads:
        """The mean of standardised heads, brought back to the mean of their scales, as one head per category.

        Parameters
        ----------
        share, deviation : (C, 1 + L) weights that sum to one, and standard deviations of the logits; column 0 is the
            old head
        """
        share = share.float()
        part = share / deviation * (share * deviation).sum(1, keepdim=True)  # factors of the heads as they were fitted
        weight = torch.einsum("crl,cl->cr", self.weight, part[:, 1:])
        bias = (self.bias * part[:, 1:]).sum(1)
        old = part[:, 0] + (part[:, 1:] * self.pull).sum(1)
        return Heads(weight[..., None], bias[:, None], old[:, None])


def score_heads(
    heads: Heads, x: Tensor, labels: Tensor, old: Tensor, categories: Tensor, objective: Objective, budget: int
) -> tuple[Tensor, Tensor]:
    """Scores of the old head and of every other, and the standard deviations of their logits on the known labels.

    Parameters
    ----------
    x : (M, R), or (M, C, R), coordinates
    labels, old : (M, C) labels, NaN where unknown, and logits of the old head
    categories : (c,) those that are scored
    budget : float32 values that the working arrays of a block may hold

    Returns
    -------
    score : (C, 1 + L) float64, column 0 the old head; NaN for other categories and where it is undefined
    deviation : (C, 1 + L) float32; 1 where a logit is constant
    """
    shape = len(heads.bias), 1 + heads.bias.shape[1]
    score = torch.full(shape, float("nan"), dtype=torch.float64, device=x.device)
    deviation = torch.ones(shape, device=x.device)
    for part in blocks(x, labels, None, categories, heads.bias.shape[1], budget):
        own = part.categories
        before = part.take(old)[..., None]
        logits = part.product(heads.weight[own]) + heads.bias[own][:, None] + before * heads.pull[own][:, None]
        logits = torch.cat([before, logits], dim=2).transpose(1, 2)
        score[own] = ranking(logits, part.label[:, None], known=part.weight[:, None] > 0).of(objective)
        spread = known_deviation(logits, part.weight[:, None])
        # A constant logit ranks nothing; divided by next to nothing it would drown the digits of all others.
        deviation[own] = torch.where(spread > SMALLEST, spread, 1.0)
    return score, deviation
