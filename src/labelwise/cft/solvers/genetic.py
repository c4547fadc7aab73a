"""Our genetic algorithm for AP and AUC.

It differs from the published one (:mod:`labelwise.cft.solvers.genetic_paper`) in three things that were measured to
matter:

- genes are the leading principal coordinates of the *change* to the old head, in units of the old logit's deviation, so
  that a mutation means the same on all data; the bias is no gene, because AP and AUC do not depend on it;
- parents are drawn by rank; roulette on nearly equal scores draws almost uniformly;
- fitness is the objective of logits plus noise, drawn anew every generation. The old head ranks its own training labels
  almost perfectly, so the plain objective is flat. With noise it rewards margins.

All categories' populations are one product and one ranking per generation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from labelwise.cft.solvers.coordinates import linear_logits, principal_coordinates
from labelwise.cft.solvers.inputs import SMALLEST, Block, SolverInput, blocks, known_deviation
from labelwise.cft.solvers.iterate import IterativeResult, keep_best, refuse_soft_labels, subset
from labelwise.config import Metric
from labelwise.metrics.ranking import ranking

POPULATION, ELITE, TOURNAMENT = 48, 2, 3
MUTATION, DECAY = 0.1, 0.99
"""Standard deviation of a mutation, in units of the old logit's deviation, and its factor per generation."""

SPECTRUM = -0.5
"""Genes are scaled by deviation^SPECTRUM: coordinates of small variance change more than under ridge."""


def fit_genetic(
    inputs: SolverInput, *, rank: int = 32, noise: float = 1.0, steps: int = 400, patience: int = 150
) -> IterativeResult:
    """Evolve every category's head on the known ``fit`` labels, and keep what is best on ``select``.

    Parameters
    ----------
    rank : principal coordinates searched
    noise : standard deviation of the noise that fitness is measured under, in units of an individual's own logits; 0 is
        the plain objective
    steps, patience : generations, as in `labelwise.cft.solvers.iterate.keep_best`

    Raises
    ------
    DataError
        For soft labels in ``fit``.
    ConfigError
        For fewer than one step or patience.
    """
    refuse_soft_labels(inputs)
    coordinates = principal_coordinates(inputs.fit.features, rank, seed=inputs.seed, device=inputs.device)
    fit_x, select_x = (coordinates.transform(split.features) for split in (inputs.fit, inputs.select))
    old = linear_logits(inputs.fit.features, inputs.weight, inputs.bias)
    generator = torch.Generator(inputs.device).manual_seed(inputs.seed)
    fittable = inputs.fittable.nonzero()[:, 0]
    fit_before = torch.full((len(inputs.bias),), torch.nan, dtype=torch.float64, device=inputs.device)

    def start(block: Block) -> Population:
        population = Population(block, block.take(old), coordinates.deviation, inputs.objective, noise, generator)
        fit_before[block.categories] = population.plain_fitness()[:, 0]
        return population

    populations = map(start, blocks(fit_x, inputs.fit.labels, None, fittable, POPULATION, inputs.budget))
    origin = torch.zeros(len(inputs.bias), coordinates.rank, device=inputs.device)

    def to_heads(genes: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = coordinates.to_features(genes, torch.zeros_like(inputs.bias))
        return inputs.weight + weight, inputs.bias + bias

    return keep_best(
        inputs, populations, origin, select_x, to_heads, fit_before=fit_before, steps=steps, patience=patience
    )


class Population:
    """Individuals (c, P, R) of a block's categories: changes to the old head, zero at first."""

    def __init__(
        self,
        block: Block,
        old: Tensor,
        deviation: Tensor,
        objective: Metric,
        noise: float,
        generator: torch.Generator,
    ):
        self.categories = block.categories
        self._block, self._old, self._objective = block, old, objective
        self._noise, self._generator = noise, generator
        scale = deviation**SPECTRUM
        size = known_deviation(old, block.weight)
        size = torch.where(size > SMALLEST, size, 1.0)  # a head that is constant sets no scale
        # One unit along every gene moves the logit by one deviation of the old logit.
        self._unit = size[:, None] * (scale / (scale * deviation).norm())
        self._genes = torch.zeros(len(old), POPULATION, len(deviation), device=old.device)
        self._generation = 0

    def plain_fitness(self) -> Tensor:
        """Objective (c, P) on the known labels."""
        return self._rank(self._logits())

    def advance(self, count: int) -> Tensor:
        """The fittest (c, count, R) of this population and of the next ones, as changes on coordinates."""
        category = torch.arange(len(self._genes), device=self._genes.device)[:, None]
        out = self._genes.new_empty(len(self._genes), count, self._genes.shape[2])
        for column in range(count):
            order = self._fitness().argsort(dim=1, descending=True, stable=True)
            self._genes = self._genes[category, order]
            out[:, column] = self._genes[:, 0] * self._unit
            self._genes = self._children(category)
            self._generation += 1
        return out

    def narrow(self, keep: Tensor) -> None:
        """Go on with the categories in places ``keep`` alone."""
        self._block = subset(self._block, keep)
        self.categories = self._block.categories
        self._old, self._unit, self._genes = self._old[keep], self._unit[keep], self._genes[keep]

    def _logits(self) -> Tensor:
        change = self._block.product((self._genes * self._unit[:, None]).transpose(1, 2))
        return change.transpose(1, 2) + self._old[:, None]

    def _fitness(self) -> Tensor:
        logits = self._logits()
        if self._noise == 0:
            return self._rank(logits)
        deviation = known_deviation(logits, self._block.weight[:, None]).clamp_min(SMALLEST)
        # All individuals of a category meet the same noise: they are compared with each other.
        draws = torch.randn(logits.shape[0], 1, logits.shape[2], generator=self._generator, device=logits.device)
        return self._rank(logits / deviation[..., None] + self._noise * draws)

    def _rank(self, logits: Tensor) -> Tensor:
        found = ranking(logits, self._block.label[:, None], known=self._block.weight[:, None] > 0)
        return found.of(self._objective)

    def _children(self, category: Tensor) -> Tensor:
        """The next population of one that is sorted by fitness, the fittest first."""
        c, p, _ = self._genes.shape
        # The best of a tournament of t among p has rank p (1 - (1 - U)^(1 / t)), with U uniform in [0, 1).
        uniform = torch.rand(c, p, 2, generator=self._generator, device=self._genes.device)
        parents = (p * (1 - (1 - uniform) ** (1 / TOURNAMENT))).long().clamp_max(p - 1)
        first, second = (self._genes[category, parents[..., i]] for i in range(2))
        mask = torch.rand(first.shape, generator=self._generator, device=first.device) < 0.5
        size = MUTATION * DECAY**self._generation
        mutation = torch.randn(first.shape, generator=self._generator, device=first.device)
        children = torch.where(mask, first, second) + size * mutation
        children[:, :ELITE] = self._genes[:, :ELITE]
        return children
