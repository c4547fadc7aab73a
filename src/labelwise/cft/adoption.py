"""How much of every candidate a category adopts, and how much of its old head stays.

The winner's curse: the best of K noisy scores overstates itself, the more so the fewer positives stand behind a score.
Three remedies, measured in docs/results/partial.md:

- candidates are scored on more labels: those of ``select``, and the known labels of ``fit`` by heads that were fitted
  without them (`labelwise.cft.solvers.cross_fitting.cross_fit`);
- those that cannot be told apart are averaged: shares are a softmax at a temperature set by the score's noise;
- the old head has seen all labels of ``fit``, so it is compared on ``select`` alone, by `trust_in_new`: on answers of
  heads that were chosen without them. What is unclear is a mean of old and new.

For the other solvers `keep_better` decides. `scale_and_bias` re-fits the scale and the bias of the logit: AP and AUC do
not depend on them, and training with unknown labels as negatives makes the bias wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from labelwise.cft.solvers.coordinates import linear_logits
from labelwise.cft.solvers.inputs import SMALLEST, SolverInput, blocks, known_deviation
from labelwise.config import Metric
from labelwise.metrics.ranking import ranking

PRIOR_POSITIVES = 5.0
"""Known positives at which a category's own evidence weighs as much as that of all categories together."""

TEMPERATURE = 0.1
"""Softmax temperature in units of the score's binomial standard error. Candidates share their errors (same rows,
similar heads), so differences between them are far less noisy than one score."""

SMALLEST_SHARE = 1e-3

SMALLEST_TRUST = 0.05
"""Probability that new heads are better below which all old heads stay as they are."""

PRIOR = 1.0
"""Precision of the priors on log scale and on bias; about one labelled sample outweighs them."""

_NEWTON_STEPS = 30
_SETTLED = 1e-12
"""Predicted decrease of a Newton step, relative to the objective, below which a category is done."""


@dataclass(frozen=True)
class CandidateHeads:
    """L heads of each of C categories, on coordinates: logit = x . weight + bias + pull * old logit.

    Attributes
    ----------
    weight : (C, R, L) float32
    bias, pull : (C, L) float32
    """

    weight: Tensor
    bias: Tensor
    pull: Tensor

    def mix(self, share: Tensor, deviation: Tensor) -> CandidateHeads:
        """The mean of standardised heads, brought back to the mean of their scales, as one head per category.

        The mean of linear heads whose logits were divided by their standard deviation is one linear head again.

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
        return CandidateHeads(weight[..., None], bias[:, None], old[:, None])


@dataclass(frozen=True)
class SelectRows:
    """Rows of ``select`` as candidate heads meet them.

    Attributes
    ----------
    x : (M, R) or (M, C, R), coordinates
    labels, old_logits : (M, C) labels, NaN where unknown, and logits of the old head
    categories : (c,) those that are scored
    objective : average precision or ROC AUC
    budget : float32 values that the working arrays of a block may hold
    """

    x: Tensor
    labels: Tensor
    old_logits: Tensor
    categories: Tensor
    objective: Metric
    budget: int

    def standardised(self, heads: CandidateHeads) -> Tensor:
        """Logits (M, C) of one head per category, of mean 0 and deviation 1 over all rows, labelled or not."""
        product = "mr,cr->mc" if self.x.ndim == 2 else "mcr,cr->mc"
        logits = torch.einsum(product, self.x, heads.weight[..., 0]) + self.old_logits * heads.pull[:, 0]
        logits = logits - logits.mean(0)
        spread = logits.square().mean(0).sqrt()
        return logits / torch.where(spread > SMALLEST, spread, 1.0)

    def score(self, heads: CandidateHeads) -> tuple[Tensor, Tensor]:
        """Scores of the old head and of every candidate, and the standard deviations of their logits.

        Returns
        -------
        score : (C, 1 + L) float64, column 0 the old head; NaN for other categories and where it is undefined
        deviation : (C, 1 + L) float32 over the known labels; 1 where a logit is constant
        """
        shape = len(heads.bias), 1 + heads.bias.shape[1]
        score = torch.full(shape, float("nan"), dtype=torch.float64, device=self.x.device)
        deviation = torch.ones(shape, device=self.x.device)
        for part in blocks(self.x, self.labels, None, self.categories, heads.bias.shape[1], self.budget):
            own = part.categories
            before = part.take(self.old_logits)[..., None]
            logits = part.product(heads.weight[own]) + heads.bias[own][:, None] + before * heads.pull[own][:, None]
            logits = torch.cat([before, logits], dim=2).transpose(1, 2)
            score[own] = ranking(logits, part.label[:, None], known=part.weight[:, None] > 0).of(self.objective)
            spread = known_deviation(logits, part.weight[:, None])
            # A constant logit ranks nothing; divided by next to nothing it would drown the digits of all others.
            deviation[own] = torch.where(spread > SMALLEST, spread, 1.0)
        return score, deviation


@dataclass(frozen=True)
class Adoption:
    """How much of each category's head every candidate is.

    Attributes
    ----------
    share : (C, K) float64, rows sum to one; column 0 is the old head
    gain : (C, K) float64, the evidence that the shares rest on: gain over the old head, or over the mean candidate
    """

    share: Tensor
    gain: Tensor


def adopt_mean(score: Tensor, positives: Tensor) -> Adoption:
    """Average the candidates that cannot be told from the best; of the old head nothing.

    Parameters
    ----------
    score : (C, L) AP or AUC of each candidate on labels it was not fitted on; NaN rows where it is undefined
    positives : (C,) known positives among these labels
    """
    gain = score - score.mean(1, keepdim=True)
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
    nothing = torch.zeros_like(share[:, :1])
    return Adoption(torch.cat([nothing, share / share.sum(1, keepdim=True)], 1), torch.cat([nothing, shrunk], 1))


def adopt_best(score: Tensor) -> Adoption:
    """The candidate that is best on ``select``; the old head wins ties, as in the paper's loop.

    Parameters
    ----------
    score : as in `adopt_mean`
    """
    gain = torch.nan_to_num(score - score[:, :1], nan=0.0)
    best = gain.argmax(1)  # the first of equals
    return Adoption(torch.nn.functional.one_hot(best, score.shape[1]).to(score), gain)


def share_with_old(adoption: Adoption, trust: float) -> Adoption:
    """New heads get the part ``trust`` of every category, the old head the rest."""
    share = adoption.share * trust
    share[:, 0] += 1 - trust
    return Adoption(share, adoption.gain)


def trust_in_new(old: Tensor, new: Tensor, labels: Tensor, objective: Metric) -> float:
    """Probability that the new heads are better, from their answers to labels that chose nothing about them.

    Two gains are measured: in the objective, which is what is asked, and in the log-likelihood after both have got a
    scale and a bias, which every label has a part in (the AP of a handful of positives changes by leaps). Each is
    averaged over the categories and divided by its standard error over them. The normal probability of the mean of the
    two is the answer.

    Parameters
    ----------
    old, new : (M, C) logits
    labels : (M, C), NaN where unknown

    Returns
    -------
    in [0, 1]; 0.5 where fewer than two categories know both kinds of label
    """
    both = ((labels == 1).sum(0) > 0) & ((labels == 0).sum(0) > 0)
    if int(both.sum()) < 2:
        return 0.5
    sides = [(logits[:, both], labels[:, both]) for logits in (old, new)]
    before, after = (objective_of(*side, objective) for side in sides)
    loss_before, loss_after = (calibrated_loss(*side) for side in sides)
    statistic = (_over_error(after - before) + _over_error(loss_before - loss_after)) / 2
    return 0.5 * (1 + math.erf(statistic / math.sqrt(2)))


def _over_error(gain: Tensor) -> float:
    """The mean of (C,) over its standard error; differences by rounding alone are none."""
    return float(gain.mean() / (gain.std() / len(gain) ** 0.5).clamp_min(SMALLEST))


def calibrated_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """(C,) mean cross-entropy of logits (M, C) on the known labels, after `scale_and_bias` on the same labels."""
    z, label, weight = known_entries(logits.T, labels.T)
    count = weight.sum(1)
    spread = known_deviation(z, weight)
    # Twice the standardised logit is about the scale of a useful classifier, and where the prior of the scale stands.
    z = 2 * z / torch.where(spread > SMALLEST, spread, 1.0)[:, None]
    prevalence = ((label * weight).sum(1) + 0.5) / (count + 1)
    scale, bias = scale_and_bias(z, label, weight, torch.logit(prevalence) - (z * weight).sum(1) / count)
    fitted = scale[:, None] * z + bias[:, None]
    return ((torch.nn.functional.softplus(fitted) - label * fitted) * weight).sum(1) / count


@dataclass(frozen=True)
class Adopted:
    """The heads that stay.

    Attributes
    ----------
    weight, bias : (C, D) and (C,) float32
    before, after : (C,) float64, objective on ``select`` of the old head and of the head that stays
    new : (C,) bool, the new head stays
    """

    weight: Tensor
    bias: Tensor
    before: Tensor
    after: Tensor
    new: Tensor


def keep_better(
    inputs: SolverInput, weight: Tensor, bias: Tensor, *, calibrate: bool, decided: bool | None = None
) -> Adopted:
    """Keep a new head only where it is better on ``select``, or where it is decided that all or none are kept.

    Parameters
    ----------
    weight, bias : (C, D) and (C,), the new heads
    decided : whether all new heads stay; None: each is compared with its old head
    calibrate : give a new head that stays the scale and the bias of `scale_and_bias` on ``select``
    """
    select = inputs.select
    scores = torch.full((2, len(bias)), torch.nan, dtype=torch.float64, device=bias.device)
    found = Adopted(inputs.weight.clone(), inputs.bias.clone(), scores[0], scores[1], torch.zeros_like(inputs.fittable))
    for c in torch.arange(len(bias), device=bias.device).split(max(1, inputs.budget // (32 * len(select)))):
        labels = select.labels[:, c]
        old_logits = linear_logits(select.features, inputs.weight[c], inputs.bias[c], c)
        new_logits = linear_logits(select.features, weight[c], bias[c], c)
        before, after = (objective_of(logits, labels, inputs.objective) for logits in (old_logits, new_logits))
        better = inputs.fittable[c] & ((after > before) if decided is None else decided)
        scale, fitted = torch.ones_like(bias[c]), bias[c]
        if calibrate:
            plain = (new_logits - bias[c]).T  # the bias enters as the centre of its prior
            scale, fitted = (v.float() for v in scale_and_bias(*known_entries(plain, labels.T), bias[c]))
        found.weight[c] = torch.where(better[:, None], weight[c] * scale[:, None], inputs.weight[c])
        found.bias[c] = torch.where(better, fitted, inputs.bias[c])
        found.before[c], found.after[c], found.new[c] = before, torch.where(better, after, before), better
    return found


def objective_of(logits: Tensor, labels: Tensor, objective: Metric) -> Tensor:
    """(C,) float64 of logits and labels (N, C); soft labels, which only fit may have, are rounded."""
    hard = torch.where(torch.isnan(labels), labels, (labels >= 0.5).float())
    return ranking(logits.T.contiguous(), hard.T.contiguous()).of(objective)


def known_entries(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels and weights (C, m) of the known entries alone, padded to the category that knows most.

    Parameters
    ----------
    logits, labels : (C, n), labels NaN where unknown
    """
    known = ~torch.isnan(labels)
    most = max(1, int(known.sum(1).max()))
    if most < labels.shape[1]:
        first = (~known).to(torch.int8).argsort(dim=1, stable=True)[:, :most]
        logits, labels, known = logits.gather(1, first), labels.gather(1, first), known.gather(1, first)
    return logits, torch.nan_to_num(labels), known.float()


def scale_and_bias(logits: Tensor, label: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Platt scaling with a prior: p = sigmoid(exp(t) z + b), t ~ N(0, 1), b ~ N(bias, 1), for every category.

    The scale is always positive, so ranks never change. Solved by damped Newton steps in float64.

    Parameters
    ----------
    logits : (C, n), at the scale that the prior expects
    label, weight : (C, n) labels in [0, 1]; weight 0 where unknown
    bias : (C,), the bias that the prior expects

    Returns
    -------
    (C,) factors and (C,) biases
    """
    z, y, w = logits.double(), label.double(), weight.double()
    prior = bias.double()
    # Work with the bias at the centre of the logits, where it is nearly uncorrelated with the scale.
    centre = (w * z).sum(1) / w.sum(1).clamp_min(1e-12)
    z = z - centre[:, None]
    home = prior + centre
    t, b = torch.zeros_like(home), home.clone()

    def objective(t: Tensor, b: Tensor) -> Tensor:
        x = t.exp()[:, None] * z + b[:, None]
        loss = torch.nn.functional.softplus(x) - y * x
        return (w * loss).sum(1) + 0.5 * PRIOR * (t**2 + (b - home) ** 2)

    value = objective(t, b)
    for _ in range(_NEWTON_STEPS):
        slope = t.exp()[:, None] * z
        p = torch.sigmoid(slope + b[:, None])
        residual, curve = w * (p - y), w * p * (1 - p)
        g_t, g_b = (residual * slope).sum(1) + PRIOR * t, residual.sum(1) + PRIOR * (b - home)
        # Gauss-Newton in t: positive definite, unlike the exact second derivative.
        h_tt, h_tb = (curve * slope**2).sum(1) + PRIOR, (curve * slope).sum(1)
        h_bb = curve.sum(1) + PRIOR
        determinant = h_tt * h_bb - h_tb**2
        d_t, d_b = (h_bb * g_t - h_tb * g_b) / determinant, (h_tt * g_b - h_tb * g_t) / determinant
        # The predicted decrease of a full step. Where it is rounding alone, the step is not checked and is the last.
        settled = g_t * d_t + g_b * d_b <= _SETTLED * (1 + value.abs())
        length = torch.ones_like(t)
        for _ in range(20):
            new_t, new_b = (t - length * d_t).clamp(-10, 10), b - length * d_b
            new_value = objective(new_t, new_b)
            if not bool((worse := (new_value > value) & ~settled).any()):
                break
            length = torch.where(worse, length * 0.5, length)
        keep = settled | (new_value <= value)
        t, b = torch.where(keep, new_t, t), torch.where(keep, new_b, b)
        value = torch.where(keep, new_value, value)
        if bool(settled.all()):
            break
    scale = t.exp()
    return scale, b - scale * centre
