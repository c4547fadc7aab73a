"""Rules for labels that nobody gave, against slow rules written with lists."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from labelwise.errors import ConfigError, DataError
from labelwise.losses.partial import (
    boost_positive,
    boosted_logits,
    closeness,
    largest,
    most_confident,
    on_one_side,
    selective_ignore,
    splc_targets,
)


def draw(seed: int, ties: bool = False, b: int = 5, c: int = 7) -> tuple[Tensor, Tensor]:
    """Logits, some of them extreme, and which labels are unknown."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(b, c, generator=g) * 3
    if ties:
        logits = logits.round().clamp(-2, 2)
    else:
        logits[0, 0], logits[-1, -1] = 1e4, -1e4
    return logits, torch.rand(b, c, generator=g) < 0.6


def first_largest(values: Tensor, among: Tensor, count: int) -> Tensor:
    """Sorted with Python: largest first, then by position."""
    flat, eligible = values.flatten().tolist(), among.flatten().tolist()
    order = sorted((i for i in range(len(flat)) if eligible[i]), key=lambda i: (-flat[i], i))
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[order[: max(count, 0)]] = True
    return chosen.view_as(among)


cases = st.tuples(st.integers(0, 2**31), st.booleans())


@settings(max_examples=40, deadline=None)
@given(cases, st.integers(-1, 40))
def test_largest_are_the_first_of_a_stable_sort(case, count):
    loss, assumed = draw(*case)
    found = largest(loss, assumed, count)
    assert found.dtype == torch.bool and torch.equal(found, first_largest(loss, assumed, count))


def test_largest_of_nothing_and_of_infinite_losses():
    empty = torch.zeros(0, 3)
    assert largest(empty, empty.bool(), 4).shape == (0, 3)
    loss = torch.tensor([[torch.inf, 1.0, torch.inf], [0.0, 0.0, 0.0]])
    assumed = torch.tensor([[True, True, False], [False, True, True]])
    assert largest(loss, assumed, 1).nonzero().tolist() == [[0, 0]]
    assert largest(loss, assumed, 3).nonzero().tolist() == [[0, 0], [0, 1], [1, 1]]
    assert torch.equal(largest(loss, assumed, 99), assumed)


@settings(max_examples=20, deadline=None)
@given(cases, st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0]))
def test_selective_ignores_frequent_categories_and_likely_labels(case, top, threshold):
    logits, unknown = draw(*case)
    prior = torch.linspace(0, 1, 7)
    likely = first_largest(logits, unknown, top * 5)
    found = selective_ignore(logits, unknown, prior, top=top, prior_threshold=threshold)
    for b in range(5):
        for c in range(7):
            ignored = bool(unknown[b, c]) and (float(prior[c]) > threshold or bool(likely[b, c]))
            assert bool(found[b, c]) == ignored


def test_selective_needs_a_prior_of_every_category():
    logits, unknown = draw(0)
    with pytest.raises(DataError, match=r"prior: 7 categories need as many numbers, found shape \(5,\)"):
        selective_ignore(logits, unknown, torch.zeros(5), top=1, prior_threshold=0.5)


def test_splc_turns_likely_assumed_labels_positive():
    logits = torch.tensor([[1e4, 0.5, 0.3, 9.0, 9.0, -1e4]])  # sigmoid(0.405) is 0.6
    target = torch.tensor([[0.0, 0.2, 0.0, 0.0, torch.nan, 0.0]])
    assumed = torch.tensor([[True, True, True, False, False, True]])
    expected = torch.tensor([[1.0, 1.0, 0.0, 0.0, torch.nan, 0.0]])
    torch.testing.assert_close(splc_targets(logits, target, assumed, 0.6), expected, equal_nan=True)


@settings(max_examples=40, deadline=None)
@given(cases, st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 1.0]), st.booleans(), st.booleans())
def test_most_confident_share(case, share, per_category, positive_only):
    logits, unknown = draw(*case)
    among = unknown & (logits > 0) if positive_only else unknown
    expected = torch.zeros_like(among)
    if per_category:
        for c in range(7):
            column = among[:, c]
            count = math.ceil(round(share * int(column.sum()), 6))
            expected[:, c] = first_largest(logits[:, c].abs(), column, count)
    else:
        expected = first_largest(logits.abs(), among, math.ceil(round(share * int(among.sum()), 6)))
    found = most_confident(logits, unknown, share, per_category=per_category, positive_only=positive_only)
    assert found.dtype == torch.float32
    assert torch.equal(~torch.isnan(found), expected)
    assert torch.equal(found[expected], (logits[expected] > 0).float())


@pytest.mark.parametrize("per_category", [True, False])
def test_a_whole_number_of_entries_is_not_rounded_up(per_category):
    logits = torch.linspace(-3, 3, 100)[:, None]
    found = most_confident(logits, torch.ones(100, 1).bool(), 0.07, per_category=per_category)
    assert 0.07 * 100 > 7 and int((~torch.isnan(found)).sum()) == 7


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10_000), st.floats(0, 0.5), st.floats(0.5, 1))
def test_agreement_of_views_by_hand(views: int, seed: int, low: float, high: float) -> None:
    answers = torch.rand(views, 3, 4, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    answers[0, 0, 0] = low
    answers[0, 0, 1] = torch.nan
    side, near = on_one_side(answers, low, high), closeness(answers)
    for i in range(3):
        for j in range(4):
            said = answers[:, i, j].tolist()
            negative = all(p <= torch.tensor(low).item() for p in said)
            assert bool(side[i, j]) == (negative or all(p > torch.tensor(high).item() for p in said))
            if not any(map(math.isnan, said)):
                assert float(near[i, j]) == pytest.approx(1 - (max(said) - min(said)), abs=1e-6)
    assert not side[0, 1] and near[0, 1].isnan()


def test_wrong_shares_and_boosts_are_named():
    logits, unknown = draw(0)
    with pytest.raises(ConfigError, match=r"share must be in \[0, 1\], got 1\.5"):
        most_confident(logits, unknown, 1.5, per_category=True)
    with pytest.raises(ConfigError, match=r"alpha must be at least 1, got 0\.5"):
        boost_positive(logits, 0.5)


def test_boost_multiplies_positive_scores_alone():
    x = torch.tensor([-2.0, 0.0, 3.0, 1e4], requires_grad=True)
    boosted = boost_positive(x, 5.0)
    assert boosted.tolist() == [-2, 0, 15, 5e4]
    assert torch.autograd.grad(boosted.sum(), x)[0].tolist() == [1, 1, 5, 5]


def test_boosted_logits_by_hand_and_as_a_pooled_head():
    g = torch.Generator().manual_seed(0)
    features, weight, bias = (torch.randn(*shape, generator=g) for shape in ((3, 6, 2, 4), (5, 6), (5,)))
    torch.testing.assert_close(
        boosted_logits(features, weight, bias, 1.0), functional.linear(features.mean((2, 3)), weight, bias)
    )
    torch.testing.assert_close(
        boosted_logits(features, weight, None, 5.0), boosted_logits(features, weight, torch.zeros(5), 5.0)
    )
    found = boosted_logits(features, weight, bias, 5.0)
    for b in range(3):
        for c in range(5):
            scores = [float(features[b, :, i, j] @ weight[c] + bias[c]) for i in range(2) for j in range(4)]
            by_hand = sum(5 * score if score > 0 else score for score in scores) / 8
            assert float(found[b, c]) == pytest.approx(by_hand, abs=1e-5)
