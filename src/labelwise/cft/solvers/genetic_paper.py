"""CFT_GA as its authors released it (arXiv 2401.16991, preset ``paper-2024``), for reproduction.

Its selection is roulette on raw fitness: AP and AUC differ so little between individuals that every parent is drawn
almost uniformly, and the elite and random mutation do all the work. `labelwise.cft.solvers.genetic` selects better.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from labelwise.cft.solvers.coordinates import as_float
from labelwise.cft.solvers.inputs import Block, SolverInput, blocks
from labelwise.cft.solvers.iterate import IterativeResult, keep_best, refuse_soft_labels, subset
from labelwise.config import Metric
from labelwise.metrics.ranking import ranking

POPULATION = 50
FROM_FIRST_PARENT = 0.2
MUTATION_PROBABILITY = 0.5
MUTATION_SIZE = 0.001


class Draws(NamedTuple):
    """Uniform numbers in [0, 1) for one generation of P children with G genes.

    ``parents`` (C, P, 2), ``crossover`` (C, P, G), ``mutates`` (C, P), ``shift`` (C, P, G); all float32.
    """

    parents: Tensor
    crossover: Tensor
    mutates: Tensor
    shift: Tensor


def draw(shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
    """Draws for (C, P, G), on the generator's device, in the order of the fields."""
    categories, individuals, _ = shape

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator, device=generator.device)

    return Draws(
        uniform(categories, individuals, 2), uniform(*shape), uniform(categories, individuals), uniform(*shape)
    )


def generation(population: Tensor, fitness: Tensor, draws: Draws) -> Tensor:
    """The next population (C, P, G): roulette, uniform crossover, mutation, one elite (CFT_GA).

    Parents come with replacement, with probability proportional to raw fitness (uniform where all fitness is 0); a gene
    is the first parent's with probability 0.2, else the second's; with probability 0.5 a child has every gene shifted
    by U(-0.001, 0.001); the fittest of the current population replaces child 0. Of several equally fit ones it is the
    last. The authors leave that to an unstable sort. The last one is seldom the elite of the generation before, so a
    population whose fitness cannot rise keeps wandering, as theirs does.

    Parameters
    ----------
    population : (C, P, G) float32
    fitness : (C, P) float64, at least 0
    """
    wheel = torch.where((fitness > 0).any(1, keepdim=True), fitness, 1.0).cumsum(1)
    spin = draws.parents.double() * wheel[:, -1:, None]
    parents = torch.searchsorted(wheel, spin.flatten(1), right=True).clamp_(max=fitness.shape[1] - 1)
    category = torch.arange(len(population), device=population.device)
    first, second = (population[category[:, None], chosen] for chosen in parents.view(draws.parents.shape).unbind(2))
    children = torch.where(draws.crossover < FROM_FIRST_PARENT, first, second)
    shift = (draws.shift * 2 - 1) * MUTATION_SIZE
    children += shift.mul_((draws.mutates < MUTATION_PROBABILITY)[..., None])
    elite = fitness.shape[1] - 1 - fitness.flip(1).argmax(1)
    children[:, 0] = population[category, elite]
    return children


def fit_genetic_paper(
    inputs: SolverInput, *, steps: int = 5000, patience: int = 300, keep_old_bias: bool = False
) -> IterativeResult:
    """Maximise the objective on the known ``fit`` labels by the authors' genetic algorithm.

    Genes are the weights and the bias. All individuals start as copies of the trained head, and each generation's
    fittest is judged on ``select``. Weights of labels play no part. Features are held in memory as float32.

    Parameters
    ----------
    steps, patience : generations, as in `labelwise.cft.solvers.iterate.keep_best`
    keep_old_bias : leave the biases as they were, as the authors' code does by mistake. Neither AP nor AUC sees them

    Raises
    ------
    DataError
        For soft labels in ``fit``.
    ConfigError
        For fewer than one step or patience.
    """
    refuse_soft_labels(inputs)
    fit_x, select_x = (as_float(split.features, inputs.device) for split in (inputs.fit, inputs.select))
    origin = torch.cat([inputs.weight, inputs.bias[:, None]], dim=1)
    generator = torch.Generator(inputs.device).manual_seed(inputs.seed)
    fittable = inputs.fittable.nonzero()[:, 0]
    fit_before = torch.full((len(origin),), torch.nan, dtype=torch.float64, device=inputs.device)

    def start(block: Block) -> PaperPopulation:
        population = PaperPopulation(block, origin[block.categories], inputs.objective, generator)
        fit_before[block.categories] = population.fitness()[:, 0]
        return population

    populations = map(start, blocks(fit_x, inputs.fit.labels, None, fittable, POPULATION, inputs.budget))

    def to_heads(genes: Tensor) -> tuple[Tensor, Tensor]:
        return genes[:, :-1], inputs.bias.clone() if keep_old_bias else genes[:, -1]

    return keep_best(
        inputs, populations, origin, select_x, to_heads, fit_before=fit_before, steps=steps, patience=patience
    )


class PaperPopulation:
    """Individuals (c, P, D + 1) of a block's categories, the bias last."""

    def __init__(self, block: Block, heads: Tensor, objective: Metric, generator: torch.Generator):
        self.categories = block.categories
        self._block, self._objective, self._generator = block, objective, generator
        self._individuals = heads[:, None].repeat(1, POPULATION, 1)

    def fitness(self) -> Tensor:
        """Objective (c, P) of every individual on the known labels; it does not depend on the bias."""
        logits = self._block.product(self._individuals[..., :-1].transpose(1, 2))
        found = ranking(logits.transpose(1, 2), self._block.label[:, None], known=self._block.weight[:, None] > 0)
        return found.of(self._objective)

    def advance(self, count: int) -> Tensor:
        """The fittest (c, count, D + 1) of this population and of the next ones."""
        shape = self._individuals.shape
        category = torch.arange(shape[0], device=self.categories.device)
        out = self._individuals.new_empty(shape[0], count, shape[2])
        for column in range(count):
            fitness = self.fitness()
            out[:, column] = self._individuals[category, fitness.argmax(1)]
            draws = draw((shape[0], shape[1], shape[2]), self._generator)
            self._individuals = generation(self._individuals, fitness, draws)
        return out

    def narrow(self, keep: Tensor) -> None:
        """Go on with the categories in these places alone."""
        self._block = subset(self._block, keep)
        self.categories, self._individuals = self._block.categories, self._individuals[keep]
