"""Which head a category adopts, judged on ``select``, without falling for the luckiest of many candidates.

The winner's curse: the best of K noisy scores overstates itself, the more so the fewer positives stand behind a score.
Two remedies, both measured with select and report swapped (docs/results/cft.md):

- a category's own evidence is shrunk towards what all categories say of a candidate, the more the fewer positives it
  has (empirical Bayes: own share P / (P + 60), so that below 20 positives the pooled view decides);
- candidates that cannot be told apart are averaged: shares are a softmax at a temperature set by the score's noise.

The mean of heads whose logits were divided by their standard deviation is one linear head again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PRIOR_POSITIVES = 60.0
"""Positives in ``select`` at which a category's own evidence weighs as much as the pooled evidence."""

TEMPERATURE = 0.05
"""Softmax temperature in units of the score's binomial standard error. Candidates share their errors (same rows,
similar heads), so differences between them are far less noisy than one score."""

SMALLEST_SHARE = 1e-3


@dataclass(frozen=True)
class Adoption:
    """``share`` (C, K) of every candidate in each category's head, rows sum to one; column 0 is the old head.

    ``gain`` (C, K) is the evidence that the shares rest on: gain over the old head, after pooling.
    """

    share: Tensor
    gain: Tensor


def adopt_mean(score: Tensor, positives: Tensor) -> Adoption:
    """Average the candidates that ``select`` cannot tell from the best.

    Parameters
    ----------
    score : (C, K) AP or AUC of each candidate on ``select``, column 0 the old head; NaN rows where it is undefined
    positives : (C,) known positives in ``select``
    """
    gain = score - score[:, :1]
    scored = ~torch.isnan(gain).any(1)
    pooled = gain[scored].mean(0) if bool(scored.any()) else torch.zeros_like(gain[0])
    own = (positives / (positives + PRIOR_POSITIVES)).to(gain)[:, None]
    shrunk = torch.where(scored[:, None], own * gain + (1 - own) * pooled, pooled)
    count = positives.to(score).clamp_min(1)
    best = torch.nan_to_num(score.amax(1), nan=0.5)
    best = (best * count + 0.5) / (count + 1)  # a score of exactly 1 is not without error
    noise = (best * (1 - best) / count).sqrt()
    share = torch.softmax(shrunk / (TEMPERATURE * noise)[:, None], dim=1)
    share = torch.where(share < SMALLEST_SHARE, 0.0, share)
    return Adoption(share / share.sum(1, keepdim=True), shrunk)


def adopt_best(score: Tensor) -> Adoption:
    """The candidate that is best on ``select``; the old head wins ties (the rule of the paper's loop)."""
    gain = torch.nan_to_num(score - score[:, :1], nan=0.0)
    best = gain.argmax(1)  # the first of equals
    return Adoption(torch.nn.functional.one_hot(best, score.shape[1]).to(score), gain)


def keep_old(adoption: Adoption) -> Adoption:
    """The old head alone, in every category."""
    share = torch.zeros_like(adoption.share)
    share[:, 0] = 1.0
    return Adoption(share, adoption.gain)
