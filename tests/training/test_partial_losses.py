"""Schemes for assumed labels against slow formulas, one label at a time in float64, extreme logits among them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from labelwise.errors import ConfigError, RunError
from labelwise.losses.binary import asymmetric_loss, focal_loss, hill_loss
from labelwise.training.partial_losses import (
    LargeLoss,
    PartialLoss,
    PermanentCorrection,
    PlainLoss,
    SelectiveLoss,
    SelfPacedLoss,
)

B, C, N = 6, 9, 20
ROWS = torch.tensor([3, 17, 0, 8, 12, 19])
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def draw(seed: int) -> Batch:
    """Logits, targets, weights and what is unknown: given, assumed negative or otherwise inferred, NaN, weight 0."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, C, generator=g) * 4
    logits[0, :2], logits[1, :2] = 1e4, -1e4
    target = torch.randint(0, 2, (B, C), generator=g).float()
    unknown = torch.rand(B, C, generator=g) < 0.7
    kind = torch.rand(B, C, generator=g)
    target[unknown] = torch.where(kind[unknown] < 0.6, 0.0, torch.where(kind[unknown] < 0.75, 0.2, torch.nan))
    target[~unknown & (kind < 0.1)] = torch.nan
    weight = torch.rand(B, C, generator=g) + 0.5
    weight[torch.rand(B, C, generator=g) < 0.1] = 0
    return logits, target, weight, unknown


def log_p(x: float) -> float:
    """log sigmoid(x)."""
    return float(-np.logaddexp(0, -x))


def cross_entropy(x: float, y: float) -> float:
    return -y * log_p(x) - (1 - y) * log_p(-x)


def asymmetric(x: float, y: float, negative: float, positive: float = 0.0, margin: float = 0.05) -> float:
    p = math.exp(log_p(x))
    log_q = min(float(np.logaddexp(log_p(-x), math.log(margin) if margin else -math.inf)), 0.0)
    return -y * (1 - p) ** positive * log_p(x) - (1 - y) * max(p - margin, 0) ** negative * log_q


def focal_margin(x: float, y: float, gamma: float, margin: float) -> float:
    positive = -math.exp(gamma * log_p(margin - x)) * log_p(x - margin)
    return y * positive - (1 - y) * math.exp(gamma * log_p(x)) * log_p(-x)


def entry(batch: Batch, i: int, j: int) -> tuple[float, float, float, bool]:
    return float(batch[0][i, j]), float(batch[1][i, j]), float(batch[2][i, j]), bool(batch[3][i, j])


def total(batch: Batch, treat: Callable[[int, int], float]) -> Tensor:
    """``treat`` gives the unweighted loss of every label that has a weight."""
    return torch.tensor(
        [[float(batch[2][i, j]) * treat(i, j) if batch[2][i, j] > 0 else 0.0 for j in range(C)] for i in range(B)]
    )


def ranked(batch: Batch, standing: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """Places of the assumed labels, that of the largest cross-entropy first."""
    places = [(i, j) for i in range(B) for j in range(C)]
    entries = {place: entry(batch, *place) for place in places}
    assumed = [p for p in places if entries[p][3] and entries[p][2] > 0 and not math.isnan(entries[p][1])]
    return sorted((p for p in assumed if standing(*p)), key=lambda p: -cross_entropy(*entries[p][:2]))


def check(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 3))
def test_plain(seed, epoch):
    batch = draw(seed)

    def treat(i: int, j: int) -> float:
        x, y, _, _ = entry(batch, i, j)
        return 0.0 if math.isnan(y) else asymmetric(x, y, 4)

    check(PlainLoss(asymmetric_loss)(*batch, ROWS, epoch), total(batch, treat))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 3), st.floats(0, 5))
def test_selective(seed, top, gamma_unknown):
    batch = draw(seed)
    prior = torch.linspace(0, 1, C)
    unknown = [(i, j) for i in range(B) for j in range(C) if batch[3][i, j] and batch[2][i, j] > 0]
    likely = sorted(unknown, key=lambda p: -float(batch[0][p]))[: top * B]

    def treat(i: int, j: int) -> float:
        x, y, _, is_unknown = entry(batch, i, j)
        if is_unknown:
            ignored = (i, j) in likely or float(prior[j]) > 0.7
            return 0.0 if ignored else asymmetric(x, 0, gamma_unknown, margin=0.1)
        return 0.0 if math.isnan(y) else asymmetric(x, y, 1)

    partial_loss = SelectiveLoss(prior, partial(asymmetric_loss, gamma_negative=1), top, 0.7, gamma_unknown, margin=0.1)
    check(partial_loss(*batch, ROWS, 0), total(batch, treat))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["reject", "correct"]), st.integers(0, 3), st.sampled_from([0.01, 0.1]))
def test_large_loss(seed, kind, epoch, rate):
    batch = draw(seed)
    count = math.ceil(round(epoch * rate * B * C, 6))
    doubtful = ranked(batch, lambda i, j: True)[:count]

    def treat(i: int, j: int) -> float:
        x, y, _, _ = entry(batch, i, j)
        if math.isnan(y) or ((i, j) in doubtful and kind == "reject"):
            return 0.0
        return cross_entropy(x, 1 - y if (i, j) in doubtful else y)

    check(LargeLoss(kind, rate)(*batch, ROWS, epoch), total(batch, treat))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2))
def test_splc(seed, epoch):
    batch = draw(seed)

    def treat(i: int, j: int) -> float:
        x, y, _, is_unknown = entry(batch, i, j)
        if math.isnan(y):
            return 0.0
        if is_unknown and epoch >= 1 and math.exp(log_p(x)) > 0.65:
            y = 1.0
        return focal_margin(x, y, 2.5, 0.7)

    check(SelfPacedLoss(0.65, 0.7, 2.5)(*batch, ROWS, epoch), total(batch, treat))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_permanent_correction_over_epochs(seed):
    """Labels turned round stay so, in the same step and later; the next largest join them."""
    partial_loss = PermanentCorrection(N, C, rate=0.05)
    flipped: set[tuple[int, int]] = set()
    target, weight, unknown = draw(seed)[1:]
    for epoch in range(4):
        batch = (draw(seed + epoch)[0], target, weight, unknown)
        if epoch >= 1:
            flipped.update(ranked(batch, lambda i, j: (i, j) not in flipped)[: math.ceil(0.05 * B * C)])

        def treat(i: int, j: int, batch: Batch = batch) -> float:
            x, y, _, _ = entry(batch, i, j)
            return 0.0 if math.isnan(y) else cross_entropy(x, 1 - y if (i, j) in flipped else y)

        check(partial_loss(*batch, ROWS, epoch), total(batch, treat))
        expected = torch.zeros(N, C, dtype=torch.bool)
        for i, j in flipped:
            expected[ROWS[i], j] = True
        assert torch.equal(partial_loss.flipped, expected)
    assert flipped


def test_a_whole_number_of_labels_is_not_rounded_up():
    logits, target, ones = torch.linspace(-3, 3, 100).view(10, 10), torch.zeros(10, 10), torch.ones(10, 10)
    loss = LargeLoss("reject", 0.07)(logits, target, ones, ones.bool(), torch.arange(10), 1)
    assert 0.07 * 100 > 7 and int((loss == 0).sum()) == 7


def test_a_label_that_has_been_given_since_is_not_turned_round():
    logits, target, weight, _ = draw(3)
    partial_loss = PermanentCorrection(N, C)
    partial_loss.load_state_dict({"flipped": torch.ones(N, C, dtype=torch.bool)})
    found = partial_loss(logits, target, weight, torch.zeros(B, C, dtype=torch.bool), ROWS, 1)
    assert torch.equal(found, PlainLoss()(logits, target, weight, torch.zeros(B, C, dtype=torch.bool), ROWS, 1))


def test_a_sample_twice_in_a_batch_keeps_both_corrections():
    partial_loss = PermanentCorrection(2, 2, rate=0.5)
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    ones = torch.ones(2, 2)
    partial_loss(logits, torch.zeros(2, 2), ones, ones.bool(), torch.tensor([1, 1]), 1)
    assert partial_loss.flipped.tolist() == [[False, False], [True, True]]


def test_permanent_correction_goes_on_from_its_state():
    first, second = PermanentCorrection(N, C, rate=0.1), PermanentCorrection(N, C, rate=0.1)
    first(*draw(0), ROWS, 1)
    assert first.flipped.any()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(*draw(1), ROWS, 2), second(*draw(1), ROWS, 2))
    assert torch.equal(first.flipped, second.flipped) and first.flipped is not second.flipped
    with pytest.raises(RunError, match=r"expected bool \(20, 9\) under 'flipped', found torch.bool \(20, 8\)"):
        first.load_state_dict(PermanentCorrection(N, 8).state_dict())
    with pytest.raises(RunError, match="found nothing"):
        first.load_state_dict({})


SCHEMES: dict[str, Callable[[], PartialLoss]] = {
    "plain": PlainLoss,
    "plain hill": lambda: PlainLoss(hill_loss),
    "selective": lambda: SelectiveLoss(torch.full((C,), 0.1), top=1),
    "reject": lambda: LargeLoss("reject", 0.05, focal_loss),
    "correct": lambda: LargeLoss("correct", 0.05),
    "permanent": lambda: PermanentCorrection(N, C, rate=0.05),
    "splc": SelfPacedLoss,
}
every_partial_loss = pytest.mark.parametrize("make", SCHEMES.values(), ids=SCHEMES.keys())


@every_partial_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_and_silent_where_nothing_counts(make, dtype):
    logits, target, weight, unknown = draw(7)
    logits = logits.to(dtype).requires_grad_()
    loss = make()(logits, target, weight, unknown, ROWS, 2)
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.dtype == torch.float32 and loss.shape == (B, C)
    assert torch.isfinite(loss).all() and torch.isfinite(slope).all() and slope.any()
    silent = (torch.isnan(target) & ~unknown) | (weight == 0)
    assert silent.any() and not loss[silent].any() and not slope[silent].any()


@every_partial_loss
def test_given_labels_count_as_they_are(make):
    """With every label given, epochs and rules change nothing."""
    logits, target, weight, _ = draw(8)
    given_all = torch.zeros(B, C, dtype=torch.bool)
    partial_loss = make()
    first, later = (partial_loss(logits, target, weight, given_all, ROWS, epoch) for epoch in (0, 5))
    assert torch.equal(first, later) and first.any()


@every_partial_loss
def test_inputs_are_left_alone_and_nothing_unknown_is_no_trouble(make):
    batch = draw(9)
    before = [tensor.clone() for tensor in batch]
    make()(*batch, ROWS, 3)
    for tensor, copy in zip(batch, before, strict=True):
        assert torch.equal(tensor.nan_to_num(-1), copy.nan_to_num(-1))
    empty = tuple(tensor[:0] for tensor in batch)
    assert make()(*empty, ROWS[:0], 3).shape == (0, C)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LargeLoss("drop"), "reject or correct, got 'drop'"),
        (lambda: LargeLoss("reject", -0.1), r"\[0, 1\], got -0\.1"),
        (lambda: PermanentCorrection(2, 2, rate=2), r"\[0, 1\], got 2"),
        (lambda: SelfPacedLoss(threshold=1.5), r"threshold must be in \[0, 1\]"),
        (lambda: SelectiveLoss(torch.zeros(3), top=-1), "at least 0, got -1"),
    ],
)
def test_a_wrong_option_is_named(make, said):
    with pytest.raises(ConfigError, match=said):
        make()
