"""Blocks hold every known label exactly once, and their products are those of a plain loop over categories."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from labelwise.cft.solvers.inputs import DENSE_SHARE, Block, blocks, known_deviation

BUDGETS = (1, 2_000, 10**9)
"""One category at a time, a few, all."""


def case(
    seed: int, n: int = 23, categories: int = 6, rank: int = 4, own: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates, labels and weights; categories are known from not at all to wholly."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, categories, rank) if own else (n, rank))
    labels = rng.choice([0.0, 1.0, 0.3], size=(n, categories))
    labels[rng.random((n, categories)) >= np.linspace(0, 1, categories)] = np.nan
    weight = rng.choice([0.0, 0.5, 2.0], size=(n, categories))
    return (
        torch.from_numpy(x.astype(np.float32)),
        torch.from_numpy(labels.astype(np.float32)),
        torch.from_numpy(weight.astype(np.float32)),
    )


def entries(block: Block, n: int) -> list[tuple[int, int, float, float]]:
    """(row, category, label, weight) of all that counts in a block."""
    found = []
    for i, category in enumerate(block.categories.tolist()):
        rows = torch.arange(n) if block.rows is None else block.rows[i]
        for j, row in enumerate(rows.tolist()):
            if float(block.weight[i, j]):
                found.append((row, category, float(block.label[i, j]), float(block.weight[i, j])))
    return found


def features_of(x: Tensor, category: int) -> Tensor:
    return x if x.ndim == 2 else x[:, category]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.sampled_from(BUDGETS), st.integers(1, 40))
def test_every_known_label_is_there_once(seed: int, own: bool, weighted: bool, budget: int, n: int) -> None:
    x, labels, weight = case(seed, n=n, own=own)
    found = list(blocks(x, labels, weight if weighted else None, torch.arange(6), 3, budget))
    assert sorted(int(c) for block in found for c in block.categories) == list(range(6))
    counts = weight if weighted else torch.ones_like(weight)
    expected = {
        (row, c, float(labels[row, c]), float(counts[row, c]))
        for row in range(n)
        for c in range(6)
        if not torch.isnan(labels[row, c]) and float(counts[row, c])
    }
    listed = [entry for block in found for entry in entries(block, n)]
    assert len(listed) == len(expected) and set(listed) == expected


@pytest.mark.parametrize("own", [False, True], ids=["shared features", "features of each category"])
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("dense_share", [0.0, DENSE_SHARE, 2.0], ids=["shared rows", "both", "gathered rows"])
def test_products_and_gradients_are_those_of_a_loop(
    own: bool, budget: int, dense_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelwise.cft.solvers.inputs.DENSE_SHARE", dense_share)
    x, labels, weight = case(1, own=own)
    n, columns = len(x), 3
    heads = torch.randn(6, 4, columns, generator=torch.Generator().manual_seed(2))
    kinds = set()
    for block in blocks(x, labels, weight, torch.arange(6), columns, budget):
        kinds.add(block.rows is None)
        logits = block.product(heads[block.categories])
        gradient = block.gradient((logits - block.label[..., None]) * block.weight[..., None])
        for i, category in enumerate(block.categories.tolist()):
            z = features_of(x, category)
            rows = torch.arange(n) if block.rows is None else block.rows[i]
            counts = block.weight[i] > 0
            np.testing.assert_allclose(logits[i][counts], (z @ heads[category])[rows[counts]], rtol=1e-4, atol=1e-5)
            known = ~torch.isnan(labels[:, category])
            residual = (z @ heads[category] - torch.nan_to_num(labels[:, category])[:, None]) * (
                weight[:, category] * known
            )[:, None]
            np.testing.assert_allclose(gradient[i], z.T @ residual, rtol=1e-4, atol=1e-4)
    if not own and dense_share != DENSE_SHARE:
        assert kinds == {dense_share == 0.0}


def test_gathered_and_shared_rows_sort_by_how_much_is_known() -> None:
    x, labels, _ = case(0, n=40)
    found = list(blocks(x, labels, None, torch.arange(6), 3, 10**9))
    counts = (~torch.isnan(labels)).sum(0)
    for block in found:
        for category in block.categories.tolist():
            assert (block.rows is None) == bool(counts[category] >= DENSE_SHARE * 40)
    assert {block.rows is None for block in found} == {True, False}
    sequence = torch.cat([counts[block.categories] for block in found])
    assert bool((sequence.diff() <= 0).all())


def test_take_follows_the_rows() -> None:
    x, labels, _ = case(3)
    values = torch.arange(labels.numel(), dtype=torch.float32).view(labels.shape)
    for block in blocks(x, labels, None, torch.arange(6), 1, 1):
        taken = block.take(values)
        assert taken.shape == block.label.shape
        for row, category, label, _ in entries(block, len(x)):
            place = row if block.rows is None else int(((block.rows[0] == row) & (block.weight[0] > 0)).nonzero()[0])
            assert taken[0, place] == values[row, category]
            assert label == labels[row, category]


@pytest.mark.parametrize("own", [False, True])
def test_labels_looked_at_a_few_rows_at_a_time_give_the_same_blocks(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels, weight = case(7, own=own)
    some = torch.tensor([3, 0, 5, 1])
    for budget in BUDGETS:
        whole = list(blocks(x, labels, weight, some, 2, budget))
        with monkeypatch.context() as patch:
            patch.setattr("labelwise.cft.solvers.inputs.LABEL_ENTRIES", 3 * len(some))
            parts = list(blocks(x, labels, weight, some, 2, budget))
        assert any(block.rows is not None for block in whole)
        for one, two in zip(whole, parts, strict=True):
            for field in ("categories", "x", "label", "weight", "rows"):
                a, b = getattr(one, field), getattr(two, field)
                assert a is b is None or torch.equal(a, b), field


@pytest.mark.parametrize("shape", [(3,), (2, 5)])
def test_deviation_is_that_of_the_known_entries(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    logits, weight = rng.normal(3, 2, (*shape, 40)), (rng.random((*shape[:1], *[1] * (len(shape) - 1), 40)) < 0.4)
    weight[0] = False
    expected = np.where(weight, logits, np.nan)[1:]
    found = known_deviation(torch.from_numpy(logits), torch.from_numpy(weight.astype(np.float64)))
    np.testing.assert_allclose(found[1:], np.nanstd(expected, axis=-1), rtol=1e-9)
    assert not found[0].any()


def test_only_the_categories_asked_for_and_none_at_all() -> None:
    x, labels, _ = case(0)
    found = list(blocks(x, labels, None, torch.tensor([4, 2]), 1, 10**9))
    assert sorted(int(c) for block in found for c in block.categories) == [2, 4]
    assert list(blocks(x, labels, None, torch.empty(0, dtype=torch.int64), 1, 10**9)) == []


def test_blocks_keep_to_the_budget() -> None:
    n, rank, columns, budget = 400, 8, 5, 60_000
    x, labels, _ = case(5, n=n, categories=30, rank=rank)
    for block in blocks(x, labels, None, torch.arange(30), columns, budget):
        working = block.label.numel() * 8 * columns + (0 if block.rows is None else block.x.numel())
        assert working <= budget or len(block.categories) == 1
