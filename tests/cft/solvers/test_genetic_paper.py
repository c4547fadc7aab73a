"""The authors' genetic algorithm against a slow one, written out over categories, individuals and genes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.solver_inputs import known_rows, make_inputs, plain_loop, score, with_fit
from labelwise.cft.solvers import genetic_paper
from labelwise.cft.solvers.genetic_paper import Draws, draw, fit_genetic_paper, generation
from labelwise.cft.solvers.inputs import SolverInput
from labelwise.errors import ConfigError, DataError
from labelwise.metrics.ranking import ranking

Floats = NDArray[np.float32]
ONE, TWO = np.float32(1), np.float32(2)
SIZE = 6


def slow_generation(population: Floats, fitness: NDArray[np.float64], draws: Draws, size: float = 0.001) -> Floats:
    """One category's next population (P, G) from its own draws; float32 genes, float64 roulette.

    Every operation is the one of the fast version, on the same types in the same order, so genes agree to the bit.
    """
    individuals, genes = population.shape
    children = np.empty_like(population)
    for child in range(individuals):
        parents = []
        for which in range(2):
            at = float(draws.parents[child, which]) * sum(fitness.tolist())
            total, chosen = 0.0, 0
            for chosen, share in enumerate(fitness.tolist()):  # noqa: B007
                total += share
                if at < total:
                    break
            parents.append(population[chosen])
        for gene in range(genes):
            first = float(draws.crossover[child, gene]) < 0.2
            value = parents[0][gene] if first else parents[1][gene]
            if float(draws.mutates[child]) < 0.5:
                value = value + (np.float32(draws.shift[child, gene].item()) * TWO - ONE) * np.float32(size)
            children[child, gene] = value
    best = max(range(individuals), key=lambda i: (fitness[i], i))  # the last of equals
    children[0] = population[best]
    return children


def of_category(draws: Draws, category: int) -> Draws:
    return Draws(*(field[category] for field in draws))


@pytest.mark.parametrize("kind", ["continuous", "tied", "zero"])
def test_populations_equal_the_slow_ones_generation_by_generation(kind):
    rng = np.random.default_rng(3)
    shape = (3, 9, 7)
    fast = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
    slow = fast.numpy().copy()
    generator = torch.Generator().manual_seed(4)
    for _ in range(12):
        fitness = {
            "continuous": rng.random(shape[:2]),
            "tied": np.round(rng.random(shape[:2]) * 2) / 2,
            "zero": np.zeros(shape[:2]),
        }[kind]
        draws = draw(shape, generator)
        fast = generation(fast, torch.from_numpy(fitness), draws)
        weights = np.ones(shape[:2]) if kind == "zero" else fitness
        slow = np.stack([slow_generation(slow[c], weights[c], of_category(draws, c)) for c in range(3)])
        assert np.array_equal(fast.numpy(), slow)


def slow_fittest(inputs: SolverInput, category: int, objective: str, draws: Iterator[Draws]) -> Iterator[Floats]:
    """Heads (D + 1,): the first of the fittest of every generation, before it reproduces."""
    x, y = known_rows(inputs.fit, category)
    head = np.append(inputs.weight[category].numpy(), inputs.bias[category].numpy())
    population = np.stack([head] * SIZE)
    for draw_ in draws:
        logits = x.double().numpy() @ population[:, :-1].T.astype(np.float64)
        fitness = np.array([float(ranking(column, y).of(objective)) for column in logits.T.copy()])
        yield population[fitness.argmax()].copy()
        population = slow_generation(population, fitness, draw_, 0.25)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("objective", ["ap", "auc"])
def test_a_whole_run_equals_the_slow_one(objective, own, monkeypatch):
    monkeypatch.setattr(genetic_paper, "POPULATION", SIZE)
    monkeypatch.setattr(genetic_paper, "MUTATION_SIZE", 0.25)
    recorded: list[Draws] = []

    def keep(shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        recorded.append(draw(shape, generator))
        return recorded[-1]

    monkeypatch.setattr(genetic_paper, "draw", keep)
    inputs = make_inputs(1, categories=2, rows=40, known=0.5, own=own)
    found = fit_genetic_paper(dataclasses.replace(inputs, objective=objective), steps=14, patience=14)
    order = (~torch.isnan(inputs.fit.labels)).sum(0).argsort(descending=True, stable=True).tolist()
    for c in range(2):
        fittest = slow_fittest(inputs, c, objective, (of_category(draws, order.index(c)) for draws in recorded))
        best, best_step, steps, value = plain_loop(inputs, c, objective, fittest, 14, 14)
        assert np.array_equal(np.append(found.weight[c], found.bias[c]), best)
        assert (int(found.best_step[c]), int(found.steps[c])) == (best_step, steps)
        assert found.score_after[c].item() == pytest.approx(value, abs=1e-9)
    assert (found.best_step > 0).any(), "generation 0 is the old head alone"


def test_defaults_are_the_published_ones():
    inputs = make_inputs(2)
    found = fit_genetic_paper(inputs, patience=3)
    population = genetic_paper.POPULATION, genetic_paper.FROM_FIRST_PARENT, genetic_paper.MUTATION_PROBABILITY
    assert (*population, genetic_paper.MUTATION_SIZE) == (50, 0.2, 0.5, 0.001)
    moved = (found.weight - inputs.weight).abs().max()
    assert moved <= 0.001 * int(found.best_step.max() + 1)


def test_parents_are_drawn_in_proportion_to_raw_fitness():
    fitness = torch.tensor([[0.0, 0.1, 0.0, 0.3, 0.6, 0.0]], dtype=torch.float64).expand(5000, 6)
    population = torch.arange(6.0)[None, :, None].repeat(5000, 1, 3)  # the gene says whose it was
    draws = draw((5000, 6, 3), torch.Generator().manual_seed(0))._replace(mutates=torch.ones(5000, 6))
    children = generation(population, fitness, draws)
    assert (children[:, 0] == 4).all(), "the elite"
    share = torch.bincount(children[:, 1:].flatten().long(), minlength=6) / children[:, 1:].numel()
    assert share[[0, 2, 5]].tolist() == [0, 0, 0]
    torch.testing.assert_close(share, fitness[0].float(), atol=0.01, rtol=0)


def test_the_bias_defect_is_a_switch(monkeypatch):
    monkeypatch.setattr(genetic_paper, "MUTATION_SIZE", 0.25)
    inputs = make_inputs(1)
    ours, theirs = (fit_genetic_paper(inputs, patience=4, keep_old_bias=keep) for keep in (False, True))
    assert torch.equal(ours.weight, theirs.weight) and torch.equal(theirs.bias, inputs.bias)
    changed = ours.best_step >= 0
    assert changed.any() and (ours.bias != inputs.bias)[changed].all()


def test_seeds_and_categories_that_cannot_be_fitted(monkeypatch):
    monkeypatch.setattr(genetic_paper, "MUTATION_SIZE", 0.25)
    inputs = make_inputs(4, gap=True)
    one, same = (fit_genetic_paper(inputs, patience=5) for _ in range(2))
    other = fit_genetic_paper(dataclasses.replace(inputs, seed=5), patience=5)
    assert torch.equal(one.weight, same.weight) and not torch.equal(one.weight, other.weight)
    assert torch.equal(one.weight[1], inputs.weight[1]) and int(one.steps[1]) == 0
    assert torch.isnan(one.fit_before[1]) and torch.isnan(one.score_after[1])
    for c in (0, 2, 3):
        x, y = known_rows(inputs.fit, c)
        head = np.append(inputs.weight[c], inputs.bias[c])
        assert one.fit_before[c].item() == pytest.approx(score("ap", x, y, head), abs=1e-9)
        assert one.score_after[c] >= one.score_before[c]


def test_bad_input():
    inputs = make_inputs()
    soft = inputs.fit.labels.clone()
    soft[0, 2] = 0.7
    with pytest.raises(DataError, match=r"row 0, category 2: soft label 0\.7") as caught:
        fit_genetic_paper(with_fit(inputs, labels=soft))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="steps 0"):
        fit_genetic_paper(inputs, steps=0)
