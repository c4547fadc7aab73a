"""The convex problem of category-wise fine-tuning, solved for all categories and a whole grid of priors at once.

For every category: logistic loss on its known labels plus a Gaussian prior on how far each principal coordinate may
move the logit. A candidate of the grid says how large that prior is (``variance`` of the logit), how it is spread over
the coordinates (``spectrum``, ``rank``), how the classes weigh (``balance``) and what it is centred on (``pull`` times
the trained head). All candidates of all categories are the columns of one product per step.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labelwise.cft.solvers.blocks import Block
from labelwise.cft.solvers.coordinates import Coordinates

MEMORY = 8
"""Pairs that L-BFGS remembers."""

_ARMIJO, _HALVINGS = 1e-4, 12


@dataclass(frozen=True)
class Candidate:
    """One regularised problem per category.

    Attributes
    ----------
    variance : prior variance of the logit (bias and pull aside) over the fit rows; small stays close to the prior
    spectrum : coordinate j has prior variance proportional to deviation_j^(2 spectrum): 0 is ridge on the features
        as they are, above 0 quiet directions are held back more, below 0 less
    balance : class weights are (inverse frequency)^balance: 0 as they come, 1 balanced
    pull : the prior is centred on ``pull`` x the trained head. Its in-sample logit is an offset: were its scale free,
        the head that already separates its own training labels would leave nothing to learn
    rank : principal coordinates used, from the loudest
    """

    variance: float
    spectrum: float = 0.0
    balance: float = 0.0
    pull: float = 0.0
    rank: int = 512

    def __str__(self) -> str:
        parts = [f"variance {self.variance:g}", f"spectrum {self.spectrum:g}"]
        parts += ["balanced"] if self.balance == 1 else [f"balance {self.balance:g}"] if self.balance else []
        parts += [f"pull {self.pull:g}"] if self.pull else []
        return ", ".join([*parts, f"rank {self.rank}"])


def grid(
    variance: Sequence[float],
    spectrum: Sequence[float] = (0.0,),
    balance: Sequence[float] = (0.0,),
    pull: Sequence[float] = (0.0,),
    rank: Sequence[int] = (512,),
) -> tuple[Candidate, ...]:
    """Every combination."""
    combinations = itertools.product(rank, pull, balance, spectrum, variance)
    return tuple(Candidate(v, s, b, p, r) for r, p, b, s, v in combinations)


@dataclass(frozen=True)
class Heads:
    """Heads on coordinates: ``weight`` (c, R, L), ``bias`` (c, L); a pulled one adds ``pull`` x the old logit.

    The bias is that of the classes as they come, whatever the balance. ``steps`` counts iterations; ``converged``
    (c, L) bool.
    """

    weight: Tensor
    bias: Tensor
    steps: int
    converged: Tensor


def prior_deviation(candidates: Sequence[Candidate], coordinates: Coordinates) -> Tensor:
    """(R, L) prior standard deviation of each coordinate's weight; 0 beyond a candidate's rank."""
    sigma = coordinates.deviation.double()
    columns = []
    for candidate in candidates:
        share = sigma ** (2 * candidate.spectrum)
        share = torch.where(torch.arange(len(sigma), device=sigma.device) < candidate.rank, share, 0.0)
        columns.append((candidate.variance * share / (share * sigma**2).sum()).sqrt())
    return torch.stack(columns, dim=1).float()


def fit_logistic(
    block: Block,
    candidates: Sequence[Candidate],
    coordinates: Coordinates,
    old_logit: Tensor | None = None,
    *,
    max_steps: int = 30,
    tolerance: float = 1e-3,
) -> Heads:
    """Minimise sum_i w_i BCE(x_i . v + b + pull * old_i, y_i) + |v / prior deviation|^2 / 2 for every column.

    L-BFGS (Nocedal and Wright 2006, algorithm 7.4), preconditioned by the diagonal that the Hessian has at the
    prevalence, with backtracking; every (category, candidate) has its own step length. The bias is free.

    Parameters
    ----------
    block : known rows of c categories; labels may be soft
    old_logit : (c, n) logit of the trained head on those rows; needed by candidates with a pull
    max_steps, tolerance : stop when the predicted decrease is below ``tolerance`` x the loss in every column
    """
    sigma = coordinates.deviation
    tau = prior_deviation(candidates, coordinates)
    up, down = _class_weights(block, candidates)  # (c, L) each
    label = block.label[..., None]
    weight = (label * (up - down)[:, None] + down[:, None]).mul_(block.weight[..., None])  # (c, n, L)
    total = weight.sum(1)
    prevalence = ((weight * label).sum(1) + 0.5) / (total + 1.0)
    offset = _offset(block, candidates, old_logit)

    spread = prevalence * (1 - prevalence) * total  # (c, L)
    curvature = spread[:, None] * (sigma[:, None] * tau)[None] ** 2 + 1.0
    curvature_bias = spread + 1e-3

    u = torch.zeros(len(block.label), *tau.shape, device=tau.device)
    b = torch.logit(prevalence)
    logits = b[:, None] + offset if offset is not None else b[:, None].expand_as(weight).contiguous()

    def loss(logits: Tensor, u: Tensor) -> Tensor:
        data = torch.nn.functional.softplus(logits).sub_(label * logits).mul_(weight)
        return data.sum(1) + 0.5 * (u * u).sum(1)

    def gradient(logits: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        residual = torch.sigmoid(logits).sub_(label).mul_(weight)
        return block.gradient(residual).mul_(tau).add_(u), residual.sum(1)

    value = loss(logits, u)
    g, g_bias = gradient(logits, u)
    pairs: list[tuple[Tensor, ...]] = []
    steps, converged = 0, torch.zeros_like(value, dtype=torch.bool)
    while steps < max_steps:
        d, d_bias = _direction(g, g_bias, curvature, curvature_bias, pairs)
        slope = (g * d).sum(1) + g_bias * d_bias
        converged = -slope <= tolerance * value.clamp_min(1e-3)
        if bool(converged.all()):
            break
        move = block.product(d * tau).add_(d_bias[:, None])
        length = torch.ones_like(value)
        for _ in range(_HALVINGS):
            new_logits = logits + length[:, None] * move
            new_u = u + length[:, None] * d
            new_value = loss(new_logits, new_u)
            # The slack is float32's: near the optimum sums of thousands of terms differ by rounding alone.
            worse = new_value > value + _ARMIJO * length * slope + 2e-6 * value
            if not bool(worse.any()):
                break
            length = torch.where(worse, length * 0.5, length)
        new_b = b + length * d_bias
        new_g, new_g_bias = gradient(new_logits, new_u)
        pairs.append(_pair(new_u - u, new_b - b, new_g - g, new_g_bias - g_bias))
        pairs = pairs[-MEMORY:]
        u, b, logits, value, g, g_bias = new_u, new_b, new_logits, new_value, new_g, new_g_bias
        steps += 1
    return Heads(u * tau, b - torch.log(up / down), steps, converged)


def _class_weights(block: Block, candidates: Sequence[Candidate]) -> tuple[Tensor, Tensor]:
    """Weights (c, L) of positive and negative labels under each candidate's balance; soft labels lie in between."""
    positive = (block.weight * block.label).sum(1).clamp_min(1e-6)
    negative = (block.weight * (1 - block.label)).sum(1).clamp_min(1e-6)
    total = positive + negative
    power = torch.tensor([c.balance for c in candidates], device=block.label.device)
    return (total / (2 * positive))[:, None] ** power, (total / (2 * negative))[:, None] ** power


def _offset(block: Block, candidates: Sequence[Candidate], old_logit: Tensor | None) -> Tensor | None:
    pull = torch.tensor([c.pull for c in candidates], device=block.label.device)
    if not bool(pull.any()):
        return None
    if old_logit is None:
        raise ValueError("candidates with a pull need the old logits")
    return old_logit[..., None] * pull


def _pair(s: Tensor, s_bias: Tensor, y: Tensor, y_bias: Tensor) -> tuple[Tensor, ...]:
    """Step, change of gradient, and 1 / (their product), 0 where the curvature is not positive."""
    product = (s * y).sum(1) + s_bias * y_bias
    return s, s_bias, y, y_bias, torch.where(product > 1e-12, 1 / product.clamp_min(1e-12), 0.0)


def _direction(
    g: Tensor, g_bias: Tensor, curvature: Tensor, curvature_bias: Tensor, pairs: list[tuple[Tensor, ...]]
) -> tuple[Tensor, Tensor]:
    """The two-loop recursion; a column whose direction would not descend takes the preconditioned gradient."""
    q, q_bias = g.clone(), g_bias.clone()
    factors = []
    for s, s_bias, y, y_bias, rho in reversed(pairs):
        factor = rho * ((s * q).sum(1) + s_bias * q_bias)
        factors.append(factor)
        q.sub_(factor[:, None] * y)
        q_bias.sub_(factor * y_bias)
    q.div_(curvature)
    q_bias.div_(curvature_bias)
    for (s, s_bias, y, y_bias, rho), factor in zip(pairs, reversed(factors), strict=True):
        rest = factor - rho * ((y * q).sum(1) + y_bias * q_bias)
        q.add_(rest[:, None] * s)
        q_bias.add_(rest * s_bias)
    descends = (g * q).sum(1) + g_bias * q_bias > 0
    q = torch.where(descends[:, None], q, g / curvature)
    q_bias = torch.where(descends, q_bias, g_bias / curvature_bias)
    return -q, -q_bias
