"""Labels of a few classes: the same loss as a dense target, and how far it is from that of the whole label."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.losses import entropy, soft_cross_entropy, tempered
from labelwise.losses.sparse import SparseTarget, sparse_target

B = 6


def dense(target: SparseTarget, classes: int) -> torch.Tensor:
    """One entry after the other."""
    if target.ids is None:
        return target.q
    found = target.others[:, None].repeat(1, classes)
    for row in range(len(found)):
        for j in range(target.ids.shape[1]):
            if target.there is None or target.there[row, j]:
                found[row, target.ids[row, j]] = target.q[row, j]
    return found


def drawn(classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (B, K) and logits (B, K)."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.softmax(3 * torch.randn(B, classes, generator=generator), 1)
    return q, 4 * torch.randn(B, classes, generator=generator)


def cut(q: torch.Tensor, k: int, fewer: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The k likeliest classes; with ``fewer``, row i has at most i + 1 of them."""
    best = q.topk(k, dim=1)
    there = torch.arange(k) <= torch.arange(len(q))[:, None] if fewer else torch.ones(len(q), k, dtype=torch.bool)
    return torch.where(there, best.indices, 0), torch.where(there, best.values.log(), -torch.inf)


case = st.tuples(st.integers(3, 14), st.integers(0, 99), st.booleans(), st.sampled_from(["spread", "drop"]))


@settings(max_examples=40, deadline=None)
@given(case, st.integers(1, 13), st.sampled_from([1.0, 2.5]))
def test_loss_entropy_and_mixing_are_those_of_the_dense_label(drawn_case, k, temperature):
    classes, seed, fewer, rest = drawn_case
    q, logits = drawn(classes, seed)
    q = 0.9 * q + 0.1 / classes  # a rest of 1e-6 is a difference of float32 numbers near one: its root is mostly noise
    k = min(k, classes - 1)
    ids, log_q = cut(q, k, fewer)
    target = sparse_target(ids, log_q, classes, temperature=temperature, rest=rest)
    kept = torch.zeros_like(q).scatter_add_(1, ids, log_q.exp())
    left = 1 - kept.sum(1, keepdim=True)
    count = (kept == 0).sum(1, keepdim=True)
    whole = torch.where(kept > 0, kept, left / count if rest == "spread" else torch.zeros(()))
    whole = whole / whole.sum(1, keepdim=True)
    expected = tempered(whole, temperature)
    torch.testing.assert_close(dense(target, classes), expected, rtol=1e-4, atol=5e-6)
    partner, share = torch.tensor([1, 0, 3, 2, 5, 4]), torch.tensor([0.7, 0.7, 0.2, 0.2, 1.0, 0.5])
    mixed = share[:, None] * expected + (1 - share[:, None]) * expected[partner]
    weight = torch.rand(classes, generator=torch.Generator().manual_seed(seed)) + 0.1
    for ours, theirs in ((target, expected), (target.mixed(partner, share), mixed)):
        torch.testing.assert_close(dense(ours, classes), theirs, rtol=1e-4, atol=5e-6)
        torch.testing.assert_close(ours.entropy(classes), entropy(theirs), rtol=1e-5, atol=2e-5)
        for w in (None, weight):
            torch.testing.assert_close(
                ours.cross_entropy(logits, w), soft_cross_entropy(logits, theirs, w), rtol=1e-5, atol=1e-4
            )


@settings(max_examples=60, deadline=None)
@given(case, st.integers(1, 13))
def test_the_loss_is_within_its_bound_of_that_of_the_whole_label(drawn_case, k):
    classes, seed, _, rest = drawn_case
    q, logits = drawn(classes, seed)
    ids, log_q = cut(q, min(k, classes - 1))
    ours = sparse_target(ids, log_q, classes, rest=rest).cross_entropy(logits)
    left = 1 - log_q.exp().sum(1)
    unnamed = torch.ones_like(q, dtype=torch.bool).scatter_(1, ids, rest == "drop")
    high = logits.masked_fill(~unnamed, -torch.inf).amax(1)
    low = logits.masked_fill(~unnamed, torch.inf).amin(1)
    assert ((ours - soft_cross_entropy(logits, q)).abs() <= left.abs() * (high - low) + 1e-5).all()


def test_the_bound_is_reached():
    """The rest lies with one class, and the logits of the others are as far from its as they can be."""
    q = torch.tensor([[0.8, 0.2, 0.0]])
    logits = torch.tensor([[0.0, 5.0, -5.0]])
    ids, log_q = torch.tensor([[0]]), torch.tensor([[0.8]]).log()
    far = soft_cross_entropy(logits, q) - sparse_target(ids, log_q, 3).cross_entropy(logits)
    torch.testing.assert_close(far.abs(), torch.tensor([0.2 * 10 / 2]))
    far = soft_cross_entropy(logits, q) - sparse_target(ids, log_q, 3, rest="drop").cross_entropy(logits)
    torch.testing.assert_close(far.abs(), torch.tensor([0.2 * 5]))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 200), st.integers(0, 99))
def test_all_classes_in_half_floats_are_the_label_to_their_precision(classes, seed):
    """|q' - q| is at most 2^-11 q |log q| before q' is made to sum to one."""
    q, logits = drawn(classes, seed)
    log_q = q.log().half().float()
    ours = sparse_target(None, log_q, classes).cross_entropy(logits)
    bound = entropy(q) * 2**-11 * (logits.amax(1) - logits.amin(1)) * 1.01 + 1e-5
    assert ((ours - soft_cross_entropy(logits, q)).abs() <= bound).all()


def test_the_likeliest_classes():
    q, logits = drawn(7, 3)
    for ids, log_q in (cut(q, 3), (None, q.log())):
        target = sparse_target(ids, log_q, 7)
        hard = torch.nn.functional.one_hot(q.argmax(1), 7).float()
        torch.testing.assert_close(dense(target.hard(), 7), hard)
        halved = torch.zeros_like(q).scatter_(1, q.topk(2, dim=1).indices, 0.5)
        torch.testing.assert_close(dense(target.halved(), 7), halved)
        partner, share = torch.tensor([1, 0, 3, 2, 5, 4]), torch.full((B,), 0.7)
        mixed = target.hard().mixed(partner, share)
        assert mixed.there is None or mixed.there.dtype == torch.bool
        for ours, theirs in (
            (target.hard(), hard),
            (target.halved(), halved),
            (mixed, 0.7 * hard + (1 - 0.7) * hard[partner]),
        ):
            torch.testing.assert_close(ours.cross_entropy(logits), soft_cross_entropy(logits, theirs))
            torch.testing.assert_close(ours.entropy(7), entropy(theirs), atol=1e-6, rtol=1e-5)


def test_stored_probabilities_that_sum_to_more_than_one():
    """Half floats round up, too."""
    target = sparse_target(torch.tensor([[0, 1]]), torch.tensor([[0.7, 0.32]]).log(), 5)
    torch.testing.assert_close(target.q.sum(), torch.tensor(1.0))
    assert target.others.item() == 0
