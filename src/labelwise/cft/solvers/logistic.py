"""The convex problem of category-wise fine-tuning, solved for all categories and a whole grid of priors at once.

For every category: logistic loss on its known labels plus a Gaussian prior on how far each principal coordinate may
move the logit. A point of the grid says how large that prior is (``variance`` of the logit), how it is spread over the
coordinates (``spectrum``, ``rank``), how the classes weigh (``balance``) and what it is centred on (``pull`` times the
trained head). All points of all categories are the columns of one product per step. Start at `grid_search`, or
at `labelwise.cft.solvers.cross_fitting` for ``auto``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labelwise.cft.adoption import Adoption, CandidateHeads, SelectRows, adopt_best
from labelwise.cft.solvers.coordinates import Coordinates, linear_logits, principal_coordinates
from labelwise.cft.solvers.inputs import Block, SolverInput, blocks

MEMORY = 8
"""Pairs that L-BFGS remembers."""

STEPS = 15
"""Steps of `grid_search`. 60 change the test mAP of ``auto`` by less than 0.1 points from 30% known labels on, and cost
it 0.8 at 10%, where stopping early is a prior of its own (docs/decisions.md, entry 18)."""

_ARMIJO, _HALVINGS = 1e-4, 12


@dataclass(frozen=True)
class Hyperparameters:
    """Of one regularised logistic regression per category.

    Attributes
    ----------
    variance : prior variance of the logit (without bias and pull) over the fit rows; a small one stays close to the
        prior
    spectrum : coordinate j has prior variance proportional to deviation_j^(2 spectrum): 0 is ridge on the features
        as they are; above 0, directions of small variance are held back more, below 0 less
    balance : class weights are (inverse frequency)^balance: 0 as they come, 1 balanced
    pull : the prior is centred on ``pull`` x the trained head, whose logit is a fixed offset. With a free scale, a head
        that already separates its own training labels would leave nothing to learn
    rank : principal coordinates used, from the largest variance
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


def make_grid(
    variance: Sequence[float],
    spectrum: Sequence[float] = (0.0,),
    balance: Sequence[float] = (0.0,),
    pull: Sequence[float] = (0.0,),
    rank: Sequence[int] = (512,),
) -> tuple[Hyperparameters, ...]:
    """Every combination, the variance changing fastest."""
    combinations = itertools.product(rank, pull, balance, spectrum, variance)
    return tuple(Hyperparameters(v, s, b, p, r) for r, p, b, s, v in combinations)


_VARIANCES = (0.25, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
THOROUGH = (
    *make_grid(_VARIANCES, spectrum=(-0.25, 0.0, 0.5, 1.0), balance=(0.0, 1.0)),
    *make_grid(_VARIANCES, pull=(1.0,)),
)
"""Grid of the method ``logistic``."""

COARSE = make_grid((0.25, 4.0, 64.0, 1024.0), spectrum=(-0.25, 0.5), balance=(0.0, 1.0))
"""Grid of the method ``auto``. Every point is solved six times, and neighbours of a finer grid would be averaged.
None has a pull: the trained head has seen the labels that are held out of a fold."""

FAST = make_grid((4.0, 16.0, 64.0, 256.0), spectrum=(-0.25, 0.25), balance=(0.0, 1.0), rank=(256,))
"""Grid of the preset ``fast``."""


@dataclass(frozen=True)
class GridResult:
    """A head per category, and what it was made of.

    Attributes
    ----------
    weight, bias : (C, D), (C,); the logit's scale is that of the candidates it was made of
    score : (C, 1 + L) objective on ``select`` of the old head and of every candidate
    adoption : shares of the same columns
    names : 1 + L
    expected_gain : mean gain of the new heads on labels of ``select`` that had no part in choosing them, in units of
        the objective. None for `grid_search`
    trust : how much of every head is new, from `labelwise.cft.adoption.trust_in_new`; None for `grid_search`
    """

    weight: Tensor
    bias: Tensor
    score: Tensor
    adoption: Adoption
    names: tuple[str, ...]
    expected_gain: float | None = None
    trust: float | None = None


def grid_search(inputs: SolverInput, grid: Sequence[Hyperparameters]) -> GridResult:
    """Solve every point of the grid for every category on ``fit``; the best head on ``select`` is each category's."""
    problem = Problem.of(inputs, grid)
    score, deviation = problem.select.score(problem.heads)
    return problem.result(adopt_best(score), score, deviation)


@dataclass(frozen=True)
class Problem:
    """Candidates fitted on all of ``fit``, and the rows that judge them."""

    inputs: SolverInput
    grid: Sequence[Hyperparameters]
    coordinates: Coordinates
    categories: Tensor
    heads: CandidateHeads
    select: SelectRows

    @classmethod
    def of(cls, inputs: SolverInput, grid: Sequence[Hyperparameters]) -> Problem:
        categories = inputs.fittable.nonzero()[:, 0]
        rank = max(point.rank for point in grid)
        coordinates = principal_coordinates(inputs.fit.features, rank, seed=inputs.seed, device=inputs.device)
        heads = fit_candidates(inputs, grid, coordinates, categories, STEPS)
        old = linear_logits(inputs.select.features, inputs.weight, inputs.bias)
        x = coordinates.transform(inputs.select.features)
        select = SelectRows(x, inputs.select.labels, old, categories, inputs.objective, inputs.budget)
        return cls(inputs, grid, coordinates, categories, heads, select)

    def result(self, adoption: Adoption, score: Tensor, deviation: Tensor) -> GridResult:
        """The heads of these shares, on features."""
        mixed = self.heads.mix(adoption.share, deviation)
        weight, bias = self.coordinates.to_features(mixed.weight[..., 0], mixed.bias[:, 0])
        weight += mixed.pull * self.inputs.weight
        bias += mixed.pull[:, 0] * self.inputs.bias
        return GridResult(weight, bias, score, adoption, ("old head", *map(str, self.grid)))


def fit_candidates(
    inputs: SolverInput, grid: Sequence[Hyperparameters], coordinates: Coordinates, categories: Tensor, steps: int
) -> CandidateHeads:
    """A head for every point of the grid, fitted on ``fit``; zeros for categories outside ``categories`` (c,)."""
    total, columns = len(inputs.bias), len(grid)
    x = coordinates.transform(inputs.fit.features)
    pull = torch.tensor([point.pull for point in grid], device=inputs.device)
    old = linear_logits(inputs.fit.features, inputs.weight, inputs.bias) if bool(pull.any()) else None
    weight = torch.zeros(total, coordinates.rank, columns, device=inputs.device)
    bias = torch.zeros(total, columns, device=inputs.device)
    done = 0
    for block in blocks(x, inputs.fit.labels, inputs.fit.weight, categories, columns, inputs.budget):
        known_old = None if old is None else block.take(old)
        found = fit_logistic(block, grid, coordinates, known_old, max_steps=steps)
        weight[block.categories], bias[block.categories] = found.weight, found.bias
        done += len(block.categories)
        inputs.progress(done, len(categories))
    return CandidateHeads(weight, bias, pull.expand(total, columns))


@dataclass(frozen=True)
class LogisticFit:
    """Solutions of L problems for each of c categories, on coordinates.

    Attributes
    ----------
    weight, bias : (c, R, L), (c, L) float32; a pulled solution adds ``pull`` x the old logit. The bias is that of the
        classes as they come, whatever the balance
    steps : iterations
    converged : (c, L) bool
    """

    weight: Tensor
    bias: Tensor
    steps: int
    converged: Tensor


def prior_deviation(grid: Sequence[Hyperparameters], coordinates: Coordinates) -> Tensor:
    """(R, L) prior standard deviation of each coordinate's weight; 0 beyond the rank."""
    sigma = coordinates.deviation.double()
    columns = []
    for point in grid:
        share = sigma ** (2 * point.spectrum)
        share = torch.where(torch.arange(len(sigma), device=sigma.device) < point.rank, share, 0.0)
        columns.append((point.variance * share / (share * sigma**2).sum()).sqrt())
    return torch.stack(columns, dim=1).float()


def fit_logistic(
    block: Block,
    grid: Sequence[Hyperparameters],
    coordinates: Coordinates,
    old_logit: Tensor | None = None,
    *,
    max_steps: int = 30,
    tolerance: float = 1e-3,
) -> LogisticFit:
    """Minimise sum_i w_i BCE(x_i . v + b + pull * old_i, y_i) + |v / prior deviation|^2 / 2 for every column.

    L-BFGS (Nocedal and Wright 2006, algorithm 7.4), preconditioned by the diagonal that the Hessian has at the
    prevalence, with backtracking; every (category, point) has its own step length. The bias is free.

    Parameters
    ----------
    block : known rows of c categories; labels may be soft
    old_logit : (c, n) logit of the trained head on those rows; needed where there is a pull
    max_steps, tolerance : stop when the predicted decrease is below ``tolerance`` x the loss in every column
    """
    sigma = coordinates.deviation
    tau = prior_deviation(grid, coordinates)
    up, down = _class_weights(block, grid)  # (c, L) each
    label = block.label[..., None]
    weight = (label * (up - down)[:, None] + down[:, None]).mul_(block.weight[..., None])  # (c, n, L)
    total = weight.sum(1)
    prevalence = ((weight * label).sum(1) + 0.5) / (total + 1.0)
    offset = _offset(block, grid, old_logit)

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
    return LogisticFit(u * tau, b - torch.log(up / down), steps, converged)


def _class_weights(block: Block, grid: Sequence[Hyperparameters]) -> tuple[Tensor, Tensor]:
    """Weights (c, L) of positive and negative labels under each balance; soft labels lie in between."""
    positive = (block.weight * block.label).sum(1).clamp_min(1e-6)
    negative = (block.weight * (1 - block.label)).sum(1).clamp_min(1e-6)
    total = positive + negative
    power = torch.tensor([point.balance for point in grid], device=block.label.device)
    return (total / (2 * positive))[:, None] ** power, (total / (2 * negative))[:, None] ** power


def _offset(block: Block, grid: Sequence[Hyperparameters], old_logit: Tensor | None) -> Tensor | None:
    pull = torch.tensor([point.pull for point in grid], device=block.label.device)
    if not bool(pull.any()):
        return None
    if old_logit is None:
        raise ValueError("a pull needs the old logits")
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
