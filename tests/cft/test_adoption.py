"""Adoption: shares that answer to the evidence, and a combined head that is exactly the mean it claims to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from labelwise.cft.adoption import PRIOR_POSITIVES, adopt_best, adopt_mean, share_with_old
from labelwise.cft.solvers.coordinates import linear_logits, principal_coordinates
from labelwise.cft.solvers.cross_fitting import cross_fitted_search
from labelwise.cft.solvers.inputs import SolverInput, Split, blocks
from labelwise.cft.solvers.logistic import (
    STEPS,
    Hyperparameters,
    fit_logistic,
    grid_search,
    make_grid,
)
from labelwise.metrics.ranking import ranking

NAN = float("nan")


def scores(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_shares_are_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(50, 9, generator=generator, dtype=torch.float64)
    positives = torch.randint(0, 200, (50,), generator=generator)
    found = adopt_mean(score, positives)
    assert found.share.shape == (50, 10) and bool((found.share >= 0).all())
    assert not found.share[:, 0].any()  # of the old head nothing
    np.testing.assert_allclose(found.share.sum(1), 1)
    assert bool((found.share[found.share > 0] > 5e-4).all())


def test_what_is_clearly_best_gets_nearly_all() -> None:
    found = adopt_mean(scores([0.5, 0.6, 0.9, 0.7], [0.9, 0.6, 0.5, 0.7]), torch.tensor([2000, 2000]))
    assert found.share.argmax(1).tolist() == [3, 1]
    assert float(found.share[0, 3]) > 0.99 and float(found.share[1, 1]) > 0.99


def test_equal_scores_share_equally() -> None:
    found = adopt_mean(torch.full((3, 4), 0.7, dtype=torch.float64), torch.tensor([1, 50, 5000]))
    np.testing.assert_allclose(found.share[:, 1:], 0.25)
    perfect = adopt_mean(torch.ones(2, 4, dtype=torch.float64), torch.tensor([1, 5000]))
    np.testing.assert_allclose(perfect.share[:, 1:], 0.25)


def test_few_positives_follow_all_categories_and_many_their_own() -> None:
    """Nineteen categories say candidate 1; one says candidate 2."""
    score = torch.tensor([[0.5, 0.6, 0.5]] * 19 + [[0.5, 0.5, 0.6]], dtype=torch.float64)
    few = adopt_mean(score, torch.tensor([100] * 19 + [1]))
    many = adopt_mean(score, torch.tensor([100] * 19 + [3000]))
    assert int(few.share[-1].argmax()) == 2 and int(many.share[-1].argmax()) == 3
    own = 100 / (100 + PRIOR_POSITIVES)
    mean = 1.6 / 3
    pooled = (19 * (0.6 - mean) + 0.5 - mean) / 20
    assert float(few.gain[0, 2]) == pytest.approx(own * (0.6 - mean) + (1 - own) * pooled)
    assert not few.gain[:, 0].any()


def test_the_more_positives_the_sharper() -> None:
    score = torch.tensor([[0.50, 0.55, 0.60]] * 4, dtype=torch.float64)
    share = adopt_mean(score, torch.tensor([1, 10, 100, 1000])).share[:, 3]
    assert bool((share.diff() >= 0).all()) and float(share[-1]) > 0.99 and float(share[0]) < 0.9


def test_undefined_rows_take_the_pooled_view() -> None:
    found = adopt_mean(scores([0.5, 0.6, 0.9], [0.4, 0.5, 0.8], [NAN, NAN, NAN]), torch.tensor([90, 90, 0]))
    assert bool(torch.isfinite(found.share).all())
    np.testing.assert_allclose(found.gain[2, 1:] - found.gain[2, 1], [0, 0.1, 0.4])
    assert int(found.share[2].argmax()) == 3
    # they do not touch the others, even where one candidate alone is undefined
    half = adopt_mean(scores([0.5, 0.6, 0.9], [0.4, 0.5, 0.8], [0.1, NAN, 0.2]), torch.tensor([90, 90, 0]))
    assert torch.equal(half.share[:2], found.share[:2]) and bool(torch.isfinite(half.share).all())
    nothing = adopt_mean(scores([NAN, NAN]), torch.tensor([0]))
    np.testing.assert_allclose(nothing.share[:, 1:], 0.5)


def test_the_old_head_gets_what_the_new_ones_are_not_trusted_with() -> None:
    found = adopt_mean(scores([0.5, 0.6, 0.9], [0.7, 0.6, 0.7]), torch.tensor([10, 20]))
    half = share_with_old(found, 0.25)
    np.testing.assert_allclose(half.share[:, 0], 0.75)
    np.testing.assert_allclose(half.share[:, 1:], found.share[:, 1:] / 4)
    assert share_with_old(found, 0.0).share[:, 0].tolist() == [1.0, 1.0]
    assert not found.share[:, 0].any()  # what was given stays as it was


def test_the_order_of_categories_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(1)
    score = torch.rand(12, 5, generator=generator, dtype=torch.float64)
    score[3] = NAN
    positives = torch.randint(0, 99, (12,), generator=generator)
    order = torch.randperm(12, generator=generator)
    np.testing.assert_allclose(
        adopt_mean(score[order], positives[order]).share, adopt_mean(score, positives).share[order], atol=1e-12
    )
    assert torch.equal(adopt_best(score[order]).share, adopt_best(score).share[order])


def test_the_best_wins_and_the_old_head_wins_ties() -> None:
    found = adopt_best(scores([0.5, 0.6, 0.9], [0.7, 0.7, 0.7], [0.9, 0.6, 0.8], [NAN, NAN, NAN], [0.2, 0.4, 0.4]))
    assert found.share.argmax(1).tolist() == [2, 0, 0, 0, 1]
    assert found.share.sum(1).tolist() == [1.0] * 5


# the head that is made of them


def inputs(seed: int = 0, own: bool = False) -> SolverInput:
    rng = np.random.default_rng(seed)
    n, dim, categories = 120, 6, 4
    truth = rng.normal(size=(dim, categories))

    def split() -> Split:
        z = rng.normal(size=(n, categories, dim) if own else (n, dim)).astype(np.float32) + 1
        logit = np.einsum("ncd,dc->nc", z, truth) if own else z @ truth
        logit = logit - np.median(logit, axis=0) + 2 * rng.logistic(size=(n, categories))
        labels = np.where(rng.random((n, categories)) < 0.6, logit > 0, np.nan)
        labels[:, 3] = np.where(labels[:, 3] == 1, np.nan, labels[:, 3])  # no positive
        return Split(z, torch.from_numpy(labels.astype(np.float32)))

    weight = torch.from_numpy((truth.T + 1.5 * rng.normal(size=(categories, dim))).astype(np.float32))
    return SolverInput(split(), split(), weight, torch.tensor([0.5, -1.0, 0.0, 2.0]), seed)


CANDIDATES = make_grid((0.5, 16.0), spectrum=(0.0, 0.5), rank=(4, 512))
PULLED = make_grid((0.5, 16.0), spectrum=(0.0, 0.5), pull=(0.0, 1.0), rank=(4, 512))


@pytest.mark.parametrize("own", [False, True], ids=["shared features", "features of each category"])
def test_the_combined_head_is_the_mean_of_standardised_logits(own: bool) -> None:
    given = inputs(own=own)
    found = cross_fitted_search(given, CANDIDATES, 3)
    coordinates = principal_coordinates(given.fit.features, 512, seed=given.seed)
    x, at = coordinates.transform(given.fit.features), coordinates.transform(given.select.features)
    old = linear_logits(given.select.features, given.weight, given.bias)
    combined = linear_logits(given.select.features, found.weight, found.bias)
    assert bool((found.adoption.share[:3] > 0).sum(1).gt(2).all())  # a real mean
    for block in blocks(x, given.fit.labels, None, torch.arange(3), len(CANDIDATES), 10**7):
        heads = fit_logistic(block, CANDIDATES, coordinates, max_steps=STEPS)
        for place, c in enumerate(block.categories.tolist()):
            own_x = at[:, c] if own else at
            logits = [old[:, c]]
            for column in range(len(CANDIDATES)):
                logits.append(own_x @ heads.weight[place, :, column] + heads.bias[place, column])
            known = ~torch.isnan(given.select.labels[:, c])
            table = torch.stack(logits).double()
            label = given.select.labels[known, c]
            np.testing.assert_allclose(found.score[c], ranking(table[:, known], label[None]).ap, atol=1e-3)
            deviation = table[:, known].std(1, correction=0)
            share = found.adoption.share[c]
            mean = (share / deviation) @ table * (share @ deviation)
            np.testing.assert_allclose(combined[:, c], mean, atol=1e-4 * float(mean.abs().max()))
    assert found.names == ("old head", *map(str, CANDIDATES))


def test_the_best_head_is_one_candidate_as_it_was_fitted() -> None:
    given = inputs()
    found = grid_search(replace(given, objective="auc"), PULLED)
    logits = linear_logits(given.select.features, found.weight, found.bias)
    after = ranking(logits.T.contiguous(), given.select.labels.T.contiguous()).auc
    np.testing.assert_allclose(after[:3], found.score[:3].amax(1), atol=1e-6)
    assert bool(torch.isnan(found.score[3]).all())


@pytest.mark.parametrize("rule", ["mean", "best"])
def test_memory_does_not_change_the_result(rule: str) -> None:
    given = inputs(1)
    sizes = [replace(given, budget=budget) for budget in (10**8, 1)]
    large, small = (
        cross_fitted_search(one, CANDIDATES, 3) if rule == "mean" else grid_search(one, PULLED) for one in sizes
    )
    np.testing.assert_allclose(large.score, small.score, atol=2e-3)
    np.testing.assert_allclose(large.weight[:3], small.weight[:3], rtol=0.02, atol=0.02)


def test_an_old_head_without_weights_does_not_drown_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs(2)
    empty = SolverInput(given.fit, given.select, torch.zeros_like(given.weight), torch.full((4,), -3.0), 0)
    monkeypatch.setattr("labelwise.cft.solvers.cross_fitting.trust_in_new", lambda *args: 0.5)
    found = cross_fitted_search(empty, make_grid((1.0,)), 2)
    assert 0.01 < float(found.weight[:3].abs().max()) < 10
    assert float(found.bias.abs().max()) < 20


def test_progress_counts_the_categories_that_can_be_fitted() -> None:
    told: list[tuple[int, int]] = []
    given = replace(inputs(), budget=1, progress=lambda done, total: told.append((done, total)))
    grid_search(given, [Hyperparameters(1.0)])
    assert told == [(1, 3), (2, 3), (3, 3)]
