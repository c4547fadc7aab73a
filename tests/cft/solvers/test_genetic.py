"""Our genetic algorithm: what it climbs, how it breeds, and what it never does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from helpers.solver_inputs import known_rows, make_inputs, score, with_fit
from labelwise.cft.solvers import genetic
from labelwise.cft.solvers.genetic import Population, fit_genetic
from labelwise.cft.solvers.inputs import SolverInput, blocks
from labelwise.errors import ConfigError, DataError

SHORT = {"steps": 40, "patience": 15}


def population(inputs: SolverInput, noise: float = 0.0, seed: int = 0, rank: int = 6) -> Population:
    """All categories' individuals on coordinates that are the features themselves."""
    x = torch.as_tensor(inputs.fit.features)[..., :rank]
    (block,) = blocks(x, inputs.fit.labels, None, torch.arange(len(inputs.bias)), genetic.POPULATION, 10**9)
    old = torch.as_tensor(inputs.fit.features) @ inputs.weight.T + inputs.bias
    deviation = x.flatten(0, -2).std(0)
    return Population(block, block.take(old), deviation, "ap", noise, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("objective", ["ap", "auc"])
@pytest.mark.parametrize("own", [False, True])
def test_scores_are_those_of_the_heads_and_select_never_falls(objective, own):
    inputs = make_inputs(1, own=own, gap=True)
    found = fit_genetic(dataclasses.replace(inputs, objective=objective), **SHORT)
    fitted = [0, 2, 3]
    for c in fitted:
        heads = np.append(inputs.weight[c], inputs.bias[c]), np.append(found.weight[c], found.bias[c])
        values = [score(objective, *known_rows(inputs.select, c), head) for head in heads]
        assert found.score_before[c].item() == pytest.approx(values[0], abs=1e-9)
        assert found.score_after[c].item() == pytest.approx(values[1], abs=1e-9)
        on_fit = score(objective, *known_rows(inputs.fit, c), heads[0])
        assert found.fit_before[c].item() == pytest.approx(on_fit, abs=1e-9), "without the noise"
    assert (found.score_after[fitted] >= found.score_before[fitted]).all()
    assert (found.score_after[fitted] > found.score_before[fitted]).any()
    assert torch.equal(found.weight[1], inputs.weight[1]) and found.bias[1] == inputs.bias[1]
    assert (int(found.steps[1]), int(found.best_step[1])) == (0, -1) and torch.isnan(found.score_after[1])


def test_the_plain_objective_on_fit_never_falls_and_is_climbed():
    inputs = make_inputs(2, known=0.5)
    trial = population(inputs)
    before = trial.plain_fitness()[:, 0]
    best = [before]
    for _ in range(12):
        trial.advance(3)
        best.append(trial.plain_fitness().amax(1))
    climbed = torch.stack(best)
    assert (climbed[1:] >= climbed[:-1] - 1e-12).all(), "the fittest stay"
    assert (climbed[-1] > before + 0.02).all()


def test_the_fittest_is_shown_and_the_first_is_the_old_head():
    inputs = make_inputs(3)
    trial = population(inputs)
    assert trial.advance(1).abs().max() == 0
    fitness = trial.plain_fitness()
    expected = (trial._genes * trial._unit[:, None])[torch.arange(4), fitness.argmax(1)]
    assert torch.equal(trial.advance(1)[:, 0], expected)


def test_a_mutation_is_a_stated_share_of_the_old_logits_deviation():
    inputs = make_inputs(4, rows=400, known=1.0)
    for factor in (1.0, 1000.0):
        scaled = dataclasses.replace(inputs, weight=inputs.weight * factor)
        trial = population(scaled)
        trial.advance(1)
        change = trial._logits()[:, genetic.ELITE :] - trial._old[:, None]
        share = change.std(2).square().mean(1).sqrt() / trial._old.std(1)
        np.testing.assert_allclose(share, genetic.MUTATION, rtol=0.25)


def test_parents_are_drawn_by_rank(monkeypatch):
    monkeypatch.setattr(genetic, "MUTATION", 0.0)
    trial = population(make_inputs(5, categories=1), seed=1)
    trial._genes = torch.arange(float(genetic.POPULATION))[None, :, None].repeat(
        1, 1, 6
    )  # sorted: the gene is the rank
    counts = torch.zeros(genetic.POPULATION)
    for _ in range(300):
        children = trial._children(torch.zeros(1, 1, dtype=torch.int64))
        assert children[0, : genetic.ELITE, 0].tolist() == list(range(genetic.ELITE))
        counts += torch.bincount(children[0, genetic.ELITE :].flatten().long(), minlength=genetic.POPULATION)
    rng = np.random.default_rng(0)
    tournament = rng.integers(0, genetic.POPULATION, (200_000, genetic.TOURNAMENT)).min(1)
    expected = np.bincount(tournament, minlength=genetic.POPULATION) / len(tournament)
    np.testing.assert_allclose(np.cumsum((counts / counts.sum()).numpy()), np.cumsum(expected), atol=0.02)


def test_noise_unsaturates_fitness_alike_for_all_individuals():
    inputs = make_inputs(6, known=1.0)
    x, y = known_rows(inputs.fit, 0)
    inputs.weight[0] = torch.linalg.lstsq(x, 2 * y[:, None] - 1).solution[:, 0]
    trial = population(inputs, noise=2.0)
    noisy, plain = trial._fitness(), trial.plain_fitness()
    assert (noisy.mean(1) < plain.mean(1)).all()
    assert (noisy == noisy[:, :1]).all(), "copies of one head meet the same noise"
    assert not torch.equal(noisy, trial._fitness()), "drawn anew every time"


def test_seeds_scales_and_heads_of_zeros():
    inputs = make_inputs(7)
    one, same = (fit_genetic(inputs, **SHORT) for _ in range(2))
    other = fit_genetic(dataclasses.replace(inputs, seed=8), **SHORT)
    assert torch.equal(one.weight, same.weight) and not torch.equal(one.weight, other.weight)
    zero = dataclasses.replace(inputs, weight=torch.zeros_like(inputs.weight))
    found = fit_genetic(dataclasses.replace(zero, objective="auc"), **SHORT)
    assert (found.score_before == 0.5).all() and (found.score_after > 0.6).all()
    assert found.weight.abs().max() > 0.01, "a head of zeros is left by steps of a sensible size"


def test_bad_input():
    inputs = make_inputs()
    soft = inputs.fit.labels.clone()
    soft[0, 2] = 0.7
    with pytest.raises(DataError, match=r"row 0, category 2: soft label 0\.7"):
        fit_genetic(with_fit(inputs, labels=soft))
    with pytest.raises(ConfigError, match="patience 0"):
        fit_genetic(inputs, patience=0)
    with pytest.raises(DataError, match="equal"):
        fit_genetic(with_fit(inputs, features=np.ones_like(inputs.fit.features)))
